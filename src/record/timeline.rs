//! Both directions of a call on one line of time: what belongs where in the file.
//!
//! Pure; on the writer's thread. In: frames of either direction with the time at which they were there, and with the turn of the
//! call in which they were. Out: both channels interleaved at the file's rate, which never changes; a direction of another rate is
//! resampled.
//!
//! Frames that follow each other are joined without a sample between, however unevenly the machine delivers them: that a burst
//! made up for a pause is seen by looking [`AHEAD_MS`] ahead. A direction that really gave no frames (on hold, parked, nobody
//! writes) is silent for as long, and what comes afterwards stands where its time says. A clock that runs differently from ours
//! is followed in steps of [`TOLERANCE_MS`](lane::TOLERANCE_MS). What runs ahead of the clock by more than [`TOO_EARLY_MS`](lane::TOO_EARLY_MS) is dropped and counted.
//!
//! An application that reads a frame and then writes one takes turns: both are of one moment, and stand at one position of the
//! file. No clock says so exactly enough: where no packet came FreeSWITCH reads 20 ms of nothing, an echo writes none of it, and 20 ms
//! are less than what a busy machine delays a frame by. But one thread reads and writes, so that the order of both is certain. The
//! caller's frames are placed by their time, and what the same thread writes in their turn ends where they end. Frames of different
//! threads have no turns; then each direction is placed by its own times.

mod lane;

use std::time::Duration;

use crate::media::FrameMark;
use crate::units::SampleRate;
use lane::{Lane, TOLERANCE_MS};

pub use lane::Direction;

/// How long a frame that seems late is kept back, to see whether those behind it make up for it. With what is not yet in the file
/// because of that, a crash costs less than a second.
const AHEAD_MS: u32 = 300;
/// See the [module](self).
#[derive(Debug)]
pub struct Timeline {
    rate: SampleRate,
    lanes: [Lane; 2],
    /// Where the next instant goes that leaves this: instants since the start.
    done: i64,
}

impl Timeline {
    /// A line of time at `rate`, which begins now.
    pub fn new(rate: SampleRate) -> Self {
        Self { rate, lanes: [Direction::Caller, Direction::Heard].map(|direction| Lane::new(rate, direction)), done: 0 }
    }

    /// Takes a whole frame, as its `mark` describes it.
    pub fn push(&mut self, direction: Direction, mark: &FrameMark, frame: &[i16]) {
        self.lanes[direction as usize].push(instants(self.rate, mark.at), mark, frame);
    }

    /// Appends to `out`, interleaved, what is certain at the time `now`.
    pub fn settle(&mut self, now: Duration, out: &mut Vec<i16>) {
        let horizon = instants(self.rate, now) - self.rate.samples_in_ms(AHEAD_MS) as i64;
        self.give(horizon, out);
    }

    /// Appends to `out` all there is; the recording ended at `end`.
    pub fn finish(&mut self, end: Duration, out: &mut Vec<i16>) {
        self.lanes.iter_mut().for_each(Lane::drain);
        self.place(i64::MAX);
        let last = self.lanes.iter().map(|lane| lane.position()).max().unwrap_or(0);
        let end = instants(self.rate, end);
        let silence_to = if end - last > self.rate.samples_in_ms(TOLERANCE_MS) as i64 { end } else { last };
        self.give(silence_to, out);
    }

    /// Frames of both directions that were dropped because they were far too early.
    pub fn early(&self) -> u64 {
        self.lanes.iter().map(|lane| lane.early()).sum()
    }

    /// Gives everything both directions have, and what is before `horizon` even if one has nothing.
    fn give(&mut self, horizon: i64, out: &mut Vec<i16>) {
        self.place(horizon);
        let both = self.lanes.iter().map(|lane| lane.position()).min().unwrap_or(0);
        let until = both.max(horizon).max(self.done);
        for lane in &mut self.lanes {
            lane.silence_until(until);
        }
        let count = usize::try_from(until - self.done).unwrap_or(0);
        let [left, right] = &mut self.lanes;
        out.extend(left.take(count).zip(right.take(count)).flat_map(|(left, right)| [left, right]));
        self.done = until;
    }

    /// Places every frame of which it is certain where it belongs, when no frame will come any more that was there before
    /// `horizon`.
    fn place(&mut self, horizon: i64) {
        let [caller, heard] = &mut self.lanes;
        // Each may wait for a frame of the other, which was there before it.
        while caller.place(heard, horizon) | heard.place(caller, horizon) {}
    }
}

/// How many instants there are in `time`.
fn instants(rate: SampleRate, time: Duration) -> i64 {
    i64::try_from(rate.samples_in(time)).unwrap_or(i64::MAX / 2)
}

#[cfg(test)]
mod tests;
