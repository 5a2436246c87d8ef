//! Compares what was said with what arrived, sample by sample: what is missing, and what is not of it.
//!
//! The signal is noise in which G.711 changes nothing and no sample is 0, so that a few samples of it are found in one place
//! only.

use std::ops::Range;

use audio_codec_algorithms::decode_ulaw;

use super::signal::Random;

/// Samples a second.
pub const RATE: usize = 8_000;
/// Samples that say where they are.
const WINDOW: usize = 24;
/// The longest stretch that may be missing and still be found behind, samples.
const REACH: usize = 10 * RATE;

/// So many samples of noise, up to -18 dB of full scale.
pub fn noise(seed: u64, samples: usize) -> Vec<i16> {
    let mut random = Random::new(seed);
    // A byte of µ-law: a sign, and one of the lower levels.
    let mut sample = || decode_ulaw(!(random.below(2) << 7 | (1 + random.below(79))) as u8);
    (0..samples).map(|_| sample()).collect()
}

/// How a signal has passed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Passage {
    /// Samples that arrived, in order.
    pub arrived: usize,
    /// Samples missing between the first and the last that arrived.
    pub lost: usize,
    /// Samples that arrived and are neither of the signal nor silence.
    pub foreign: usize,
    /// The first sample of the signal that arrived.
    pub from: usize,
}

impl Passage {
    /// Where in the signal the last sample that arrived is, exclusive.
    pub fn to(&self) -> usize {
        self.from + self.arrived + self.lost
    }
}

/// Follows `said` in `heard`. Silence between its parts is no fault. Gives up after a second of something else.
pub fn follow(said: &[i16], heard: &[i16]) -> Passage {
    trace(said, heard).0
}

/// The same, and which stretches of `said` arrived.
pub fn trace(said: &[i16], heard: &[i16]) -> (Passage, Vec<Range<usize>>) {
    let (mut passage, mut stretches) = (Passage::default(), Vec::<Range<usize>>::new());
    let mut begun = false;
    let (mut at, mut next) = (0, 0);
    while at < heard.len() && passage.foreign <= RATE {
        if begun && said.get(next) == Some(&heard[at]) {
            passage.arrived += 1;
            (at, next) = (at + 1, next + 1);
            if let Some(stretch) = stretches.last_mut() {
                stretch.end = next;
            }
            continue;
        }
        if heard[at] == 0 {
            at += 1;
            continue;
        }
        let window = &heard[at..heard.len().min(at + WINDOW)];
        let Some(further) = find(&said[next..], window) else {
            passage.foreign += window.len();
            at += window.len();
            continue;
        };
        // It may have begun within the last window, of which only the end was like it.
        let alike = |back: &usize| heard[at - back] == said[next + further - back] && heard[at - back] != 0;
        let back = (1..=further.min(at).min(passage.foreign)).take_while(alike).count();
        passage.foreign -= back;
        passage.arrived += back;
        let missing = if begun { &mut passage.lost } else { &mut passage.from };
        *missing += further - back;
        begun = true;
        next += further;
        stretches.push(next - back..next);
    }
    (passage, stretches)
}

/// How many samples are in the stretches of `delivered` and not in those of `arrived`, up to the end of the latter.
pub fn missing(delivered: &[Range<usize>], arrived: &[Range<usize>]) -> usize {
    let overlap =
        |one: &Range<usize>, other: &Range<usize>| one.end.min(other.end).saturating_sub(one.start.max(other.start));
    let reach = 0..arrived.last().map_or(0, |last| last.end);
    let of = |stretch: &Range<usize>| {
        let there: usize = arrived.iter().map(|other| overlap(stretch, other)).sum();
        overlap(stretch, &reach) - there
    };
    delivered.iter().map(of).sum()
}

fn find(said: &[i16], window: &[i16]) -> Option<usize> {
    let said = &said[..said.len().min(REACH)];
    (window.len() == WINDOW).then(|| said.windows(WINDOW).position(|place| place == window)).flatten()
}
