//! Both directions of a call on one line of time: what belongs where in the file.
//!
//! Pure; on the writer's thread. In: frames of either direction with the time at which they were there. Out: both channels
//! interleaved at the file's rate, which never changes; a direction of another rate is resampled.
//!
//! Frames that follow each other are joined without a sample between, however unevenly the machine delivers them: that a burst
//! made up for a pause is seen by looking [`AHEAD_MS`] ahead. A direction that really gave no frames (on hold, parked, nobody
//! writes) is silent for as long, and what comes afterwards stands where its time says. A clock that runs differently from ours
//! is followed in steps of [`TOLERANCE_MS`]. What runs ahead of the clock by more than [`TOO_EARLY_MS`] is dropped and counted.

use std::collections::VecDeque;
use std::time::Duration;

use crate::dsp::resample::Resampler;
use crate::media::CaptureFormat;
use crate::units::SampleRate;

/// How long a frame that seems late is kept back, to see whether those behind it make up for it. With what is not yet in the file
/// because of that, a crash costs less than a second.
pub const AHEAD_MS: u32 = 300;
/// How far a direction may be behind the clock before silence is put in: three frames of 20 ms.
pub const TOLERANCE_MS: u32 = 60;
/// How far a direction may be ahead of the clock.
pub const TOO_EARLY_MS: u32 = 1_000;

/// A direction of the call, and its channel in the file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// Left: what the caller said.
    Caller = 0,
    /// Right: what the caller heard.
    Heard = 1,
}

/// See the [module](self).
#[derive(Debug)]
pub struct Timeline {
    rate: SampleRate,
    lanes: [Lane; 2],
    /// Where the next instant goes that leaves this: instants since the start.
    done: i64,
}

/// One direction.
#[derive(Debug)]
struct Lane {
    rate: SampleRate,
    resampler: Option<Resampler>,
    /// Of one channel, at the direction's rate; kept for its capacity.
    mono: Vec<i16>,
    /// At the file's rate; kept for its capacity.
    resampled: Vec<i16>,
    pieces: VecDeque<Piece>,
    /// The samples of the pieces.
    waiting: VecDeque<i16>,
    /// Placed, and not yet met by the other direction.
    placed: VecDeque<i16>,
    /// Where the next sample goes.
    position: i64,
    /// Silence came before, so that there is nothing the next sample must follow without a gap.
    after_silence: bool,
    early: u64,
}

/// A frame at the file's rate.
#[derive(Clone, Copy, Debug)]
struct Piece {
    /// Where its end belongs by its time.
    end: i64,
    samples: i64,
}

impl Timeline {
    /// A line of time at `rate`, which begins now.
    pub fn new(rate: SampleRate) -> Self {
        Self { rate, lanes: [Lane::new(rate), Lane::new(rate)], done: 0 }
    }

    /// Takes a whole frame that was there at `at`.
    pub fn push(&mut self, direction: Direction, at: Duration, format: CaptureFormat, frame: &[i16]) {
        let end = instants(self.rate, at);
        self.lanes[direction as usize].push(end, format, frame);
    }

    /// Appends to `out`, interleaved, what is certain at the time `now`.
    pub fn settle(&mut self, now: Duration, out: &mut Vec<i16>) {
        let horizon = instants(self.rate, now) - self.rate.samples_in_ms(AHEAD_MS) as i64;
        self.give(horizon, out);
    }

    /// Appends to `out` all there is; the recording ended at `end`.
    pub fn finish(&mut self, end: Duration, out: &mut Vec<i16>) {
        for lane in &mut self.lanes {
            lane.drain();
            lane.place(i64::MAX);
        }
        let last = self.lanes.iter().map(|lane| lane.position).max().unwrap_or(0);
        let end = instants(self.rate, end);
        let silence_to = if end - last > self.rate.samples_in_ms(TOLERANCE_MS) as i64 { end } else { last };
        self.give(silence_to, out);
    }

    /// Frames of both directions that were dropped because they were far too early.
    pub fn early(&self) -> u64 {
        self.lanes.iter().map(|lane| lane.early).sum()
    }

    /// Gives everything both directions have, and what is before `horizon` even if one has nothing.
    fn give(&mut self, horizon: i64, out: &mut Vec<i16>) {
        for lane in &mut self.lanes {
            lane.place(horizon);
        }
        let both = self.lanes.iter().map(|lane| lane.position).min().unwrap_or(0);
        let until = both.max(horizon).max(self.done);
        for lane in &mut self.lanes {
            lane.silence_until(until);
        }
        let count = usize::try_from(until - self.done).unwrap_or(0);
        let [left, right] = &mut self.lanes;
        let pairs = left.placed.drain(..count).zip(right.placed.drain(..count));
        out.extend(pairs.flat_map(|(left, right)| [left, right]));
        self.done = until;
    }
}

/// How many instants there are in `time`.
fn instants(rate: SampleRate, time: Duration) -> i64 {
    i64::try_from(time.as_nanos() * u128::from(rate.hz()) / 1_000_000_000).unwrap_or(i64::MAX / 2)
}

impl Lane {
    const fn new(rate: SampleRate) -> Self {
        Self {
            rate,
            resampler: None,
            mono: Vec::new(),
            resampled: Vec::new(),
            pieces: VecDeque::new(),
            waiting: VecDeque::new(),
            placed: VecDeque::new(),
            position: 0,
            after_silence: true,
            early: 0,
        }
    }

    fn push(&mut self, end: i64, format: CaptureFormat, frame: &[i16]) {
        let from = self.resampler.as_ref().map_or(self.rate, Resampler::from);
        if format.rate != from {
            self.drain();
            self.resampler = (format.rate != self.rate).then(|| Resampler::new(format.rate, self.rate, 1));
        }
        self.mono.clear();
        to_mono(format.channels, frame, &mut self.mono);
        let Some(resampler) = &mut self.resampler else {
            self.waiting.extend(&self.mono);
            return self.piece(end, self.mono.len());
        };
        self.resampled.clear();
        resampler.process(&self.mono, &mut self.resampled);
        // What is still inside of the resampler belongs behind what came out.
        let end = end - resampler.pending() as i64;
        self.waiting.extend(&self.resampled);
        self.piece(end, self.resampled.len());
    }

    fn piece(&mut self, end: i64, samples: usize) {
        if samples > 0 {
            self.pieces.push_back(Piece { end, samples: samples as i64 });
        }
    }

    /// Gets the last samples out of the resampler.
    fn drain(&mut self) {
        let Some(resampler) = &mut self.resampler else { return };
        self.resampled.clear();
        resampler.drain(&mut self.resampled);
        self.waiting.extend(&self.resampled);
        let samples = self.resampled.len() as i64;
        match self.pieces.back_mut() {
            Some(last) => {
                last.end += samples;
                last.samples += samples;
            }
            None => self.piece(self.position + samples, self.resampled.len()),
        }
    }

    /// Places every frame of which it is certain where it belongs, when no frame will come any more that was there before
    /// `horizon`.
    fn place(&mut self, horizon: i64) {
        let (tolerance, too_early) =
            (self.rate.samples_in_ms(TOLERANCE_MS) as i64, self.rate.samples_in_ms(TOO_EARLY_MS) as i64);
        while let Some(&Piece { end, samples }) = self.pieces.front() {
            let lag = end - (self.position + samples);
            let allowed = if self.after_silence { 0 } else { tolerance };
            let mut gap = 0;
            if lag > allowed {
                let least = self.least_lag();
                if least > allowed {
                    if horizon < end - samples {
                        return;
                    }
                    gap = least;
                }
            }
            self.pieces.pop_front();
            let count = usize::try_from(samples).unwrap_or(0);
            if lag < -too_early {
                self.waiting.drain(..count);
                self.early += 1;
                continue;
            }
            self.silence(gap);
            self.placed.extend(self.waiting.drain(..count));
            self.position += samples;
            self.after_silence = false;
        }
    }

    /// How far behind its time the least late of the waiting frames would be, were they all put right here.
    fn least_lag(&self) -> i64 {
        let mut position = self.position;
        let lags = self.pieces.iter().map(|piece| {
            position += piece.samples;
            piece.end - position
        });
        lags.min().unwrap_or(0)
    }

    /// Has the lane reach `until`.
    fn silence_until(&mut self, until: i64) {
        if self.position < until && self.pieces.is_empty() {
            // What the resampler kept belongs before the silence.
            self.drain();
            self.place(i64::MAX);
        }
        self.silence(until - self.position);
    }

    fn silence(&mut self, instants: i64) {
        let count = usize::try_from(instants).unwrap_or(0);
        self.placed.extend(std::iter::repeat_n(0, count));
        self.position += count as i64;
        self.after_silence |= count > 0;
    }
}

/// The mean of the channels.
fn to_mono(channels: u8, samples: &[i16], out: &mut Vec<i16>) {
    match channels {
        0 | 1 => out.extend_from_slice(samples),
        channels => out.extend(samples.chunks_exact(channels.into()).map(|instant| {
            let sum: i32 = instant.iter().map(|&sample| i32::from(sample)).sum();
            (sum.div_euclid(i32::from(channels))) as i16
        })),
    }
}

#[cfg(test)]
mod tests;
