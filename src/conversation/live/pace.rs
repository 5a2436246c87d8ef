//! The caller's audio in step with the clock: the service hears as fast as the caller speaks, and audio that comes faster would put off
//! every answer by as much for the rest of the session.
//!
//! So much comes faster after a loss, when what the caller said meanwhile is sent at once. Their words are sent; their silence is left
//! out until the audio is in step again.
//!
//! Pure; one for each session.

use std::time::{Duration, Instant};

use super::super::engine::InputFormat;
use super::gate::rms;

/// How far the audio may be ahead of the clock: packets that come in a heap.
const SLACK: Duration = Duration::from_millis(300);
/// Silence is left out in pieces of this length.
const BLOCK: Duration = Duration::from_millis(20);
/// Silence that stays: a shorter one is within words.
const WITHIN_WORDS: Duration = Duration::from_millis(200);
/// Root mean square below which the caller is silent: -50 dB of full scale.
const SILENT: f64 = 100.0;

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Pace {
    format: InputFormat,
    /// Until when what has been sent lasts.
    until: Instant,
    /// How long the caller has been silent.
    silent: Duration,
}

impl Pace {
    /// A session that begins now.
    pub(super) const fn new(now: Instant, format: InputFormat) -> Self {
        Self { format, until: now, silent: Duration::ZERO }
    }

    /// What is to be sent of this audio.
    pub(super) fn admit(&mut self, now: Instant, audio: &[u8]) -> Vec<u8> {
        // Where no audio has come for a while, nobody has fallen behind.
        self.until = self.until.max(now);
        let block = self.format.bytes_in(BLOCK).max(1);
        let mut sent = Vec::with_capacity(audio.len());
        for block in audio.chunks(block) {
            let (ahead, length) = (self.until.saturating_duration_since(now), self.format.duration_of(block.len()));
            let silent = rms(self.format.encoding, block) < SILENT;
            self.silent = if silent { self.silent + length } else { Duration::ZERO };
            if ahead > SLACK && self.silent > WITHIN_WORDS {
                continue;
            }
            sent.extend_from_slice(block);
            self.until += length;
        }
        sent
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::{Encoding, SampleRate};

    const FORMAT: InputFormat = InputFormat { rate: SampleRate::HZ_16000, encoding: Encoding::S16Le };

    /// So many ms at this level.
    fn audio(level: i16, ms: usize) -> Vec<u8> {
        (0..16 * ms).flat_map(|_| level.to_le_bytes()).collect()
    }

    fn sent(pace: &mut Pace, now: Instant, audio: &[u8]) -> u128 {
        FORMAT.duration_of(pace.admit(now, audio).len()).as_millis()
    }

    #[test]
    fn audio_that_comes_as_it_is_spoken_is_sent_whole() {
        let mut now = Instant::now();
        let mut pace = Pace::new(now, FORMAT);
        for frame in 0..500 {
            // Ten frames in a heap, and then none for as long.
            now += if frame % 10 == 0 { Duration::from_millis(200) } else { Duration::ZERO };
            assert_eq!(sent(&mut pace, now, &audio(0, 20)), 20);
        }
    }

    #[test]
    fn of_what_comes_at_once_the_silence_is_left_out() {
        let now = Instant::now();
        let mut pace = Pace::new(now, FORMAT);
        // Words of a second, with silence around them, all at once.
        let all: u128 = [0, 2_000, 0].into_iter().map(|level| sent(&mut pace, now, &audio(level, 1_000))).sum();
        assert_eq!(all, 320 + 1_000 + 200);
        // In the caller's next silence the audio comes into step.
        let mut later = now;
        let mut left_out = 0;
        for _ in 0..100 {
            later += Duration::from_millis(20);
            left_out += 20 - sent(&mut pace, later, &audio(0, 20));
        }
        assert_eq!(left_out, 1_200);
        // A pause of the call is no reason to be ahead.
        assert_eq!(sent(&mut pace, later + Duration::from_secs(60), &audio(0, 400)), 320);
    }
}
