//! One direction of a recording: its frames at the file's rate, and the position of each.

use std::collections::VecDeque;

use crate::dsp::resample::Resampler;
use crate::media::FrameMark;
use crate::units::SampleRate;

/// Frames whose ends are kept for the other direction: five seconds of the shortest, of 10 ms.
const ENDS: usize = 512;
/// A frame is not moved for less against the frame of its turn: where a resampler is at work, either may end some instants off.
const TURN_SLACK_MS: u32 = 2;

/// How far a direction may be behind the clock before silence is put in: three frames of 20 ms.
pub(super) const TOLERANCE_MS: u32 = 60;
/// How far a direction may be ahead of the clock.
pub(super) const TOO_EARLY_MS: u32 = 1_000;

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
pub(super) struct Lane {
    /// Of the file.
    rate: SampleRate,
    direction: Direction,
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
    /// Pieces placed or dropped since the start.
    count: u64,
    /// Of the last of them.
    ends: VecDeque<End>,
    /// Where the next sample goes.
    position: i64,
    /// Silence came before, so that there is nothing the next sample must follow without a gap.
    after_silence: bool,
    early: u64,
}

/// A frame at the file's rate.
#[derive(Clone, Copy, Debug)]
struct Piece {
    /// Where the frame's end belongs by its time.
    time: i64,
    samples: i64,
    /// Instants at the frame's end that the resampler still has.
    kept: i64,
    /// Instants of the frame.
    length: i64,
    /// How many frames of the other direction came before it in the turns of one thread.
    after: Option<u64>,
}

/// A frame that has been placed, or dropped where it would have been.
#[derive(Clone, Copy, Debug)]
struct End {
    /// Where its end belonged by its time.
    time: i64,
    /// Where its end is.
    position: i64,
    dropped: bool,
}

/// How far a frame is behind where it belongs, in instants; negative where it is ahead.
#[derive(Clone, Copy)]
struct Lag {
    by_time: i64,
    /// Against the frame of its turn.
    by_turn: Option<i64>,
}

impl Lane {
    pub(super) const fn new(rate: SampleRate, direction: Direction) -> Self {
        Self {
            rate,
            direction,
            resampler: None,
            mono: Vec::new(),
            resampled: Vec::new(),
            pieces: VecDeque::new(),
            waiting: VecDeque::new(),
            placed: VecDeque::new(),
            count: 0,
            ends: VecDeque::new(),
            position: 0,
            after_silence: true,
            early: 0,
        }
    }

    /// Where the next sample goes.
    pub(super) const fn position(&self) -> i64 {
        self.position
    }

    /// Frames dropped because they were far too early.
    pub(super) const fn early(&self) -> u64 {
        self.early
    }

    /// Takes a frame whose end belongs at `time`.
    pub(super) fn push(&mut self, time: i64, mark: &FrameMark, frame: &[i16]) {
        let rate = mark.format.rate;
        let from = self.resampler.as_ref().map_or(self.rate, Resampler::from);
        if rate != from {
            self.drain();
            self.resampler = (rate != self.rate).then(|| Resampler::new(rate, self.rate, 1));
        }
        self.mono.clear();
        to_mono(mark.format.channels, frame, &mut self.mono);
        let length = self.mono.len() as i64 * i64::from(self.rate.hz()) / i64::from(rate.hz());
        let (samples, kept) = match &mut self.resampler {
            None => {
                self.waiting.extend(&self.mono);
                (self.mono.len(), 0)
            }
            Some(resampler) => {
                self.resampled.clear();
                resampler.process(&self.mono, &mut self.resampled);
                self.waiting.extend(&self.resampled);
                (self.resampled.len(), resampler.pending() as i64)
            }
        };
        self.pieces.push_back(Piece { time, samples: samples as i64, kept, length, after: mark.after });
    }

    /// Gets the last samples out of the resampler.
    pub(super) fn drain(&mut self) {
        let Some(resampler) = &mut self.resampler else { return };
        self.resampled.clear();
        resampler.drain(&mut self.resampled);
        let samples = self.resampled.len() as i64;
        match self.pieces.back_mut() {
            Some(last) => {
                last.samples += samples;
                last.kept = 0;
                self.waiting.extend(&self.resampled);
            }
            None => {
                self.placed.extend(&self.resampled);
                self.position += samples;
            }
        }
    }

    /// Places the frames of which it is certain where they belong, when none will come any more that was there before
    /// `horizon`; whether there was one.
    pub(super) fn place(&mut self, other: &Self, horizon: i64) -> bool {
        let before = self.count;
        while let Some(&piece) = self.pieces.front()
            && let Some(gap) = self.gap_before(&piece, other, horizon)
        {
            let dropped = self.is_early(&piece, other);
            self.pieces.pop_front();
            let count = usize::try_from(piece.samples).unwrap_or(0);
            if dropped {
                self.waiting.drain(..count);
                self.early += 1;
            } else {
                self.silence(gap);
                self.placed.extend(self.waiting.drain(..count));
                self.position += piece.samples;
                self.after_silence &= count == 0;
            }
            self.count += 1;
            if self.ends.len() == ENDS {
                self.ends.pop_front();
            }
            self.ends.push_back(End { time: piece.time, position: self.position + piece.kept, dropped });
        }
        self.count > before
    }

    /// The silence that belongs before the first waiting piece; `None` while that is not certain.
    fn gap_before(&self, piece: &Piece, other: &Self, horizon: i64) -> Option<i64> {
        let first = self.lag(piece, self.position, other);
        let is_on_time = !self.after_silence && first.by_time <= piece.length / 2;
        if self.direction == Direction::Caller && is_on_time {
            return Some(0);
        }
        if piece.after.is_some_and(|after| after > other.count)
            && (horizon < i64::MAX || other.end_of(piece.after).is_some())
        {
            return None;
        }
        if self.gap_for(first, piece.length) == 0 {
            return Some(0);
        }
        let gap = self.gap_for(self.least_lag(other), piece.length);
        // Not later than what is before the horizon leaves: its place would be taken.
        let begin = (piece.time - piece.kept - piece.samples).min(self.position + gap);
        (gap == 0 || horizon >= begin).then_some(gap)
    }

    /// The silence that puts right a frame of `length` instants with this lag, and all behind it.
    fn gap_for(&self, lag: Lag, length: i64) -> i64 {
        let tolerance = self.rate.samples_in_ms(TOLERANCE_MS) as i64;
        let Lag { by_time, by_turn } = lag;
        let (gap, allowed) = match (self.direction, by_turn) {
            (Direction::Heard, Some(by_turn)) => (by_turn, self.rate.samples_in_ms(TURN_SLACK_MS) as i64),
            // The caller's frames make the turns, so their time must agree.
            (Direction::Caller, Some(by_turn)) if self.after_silence && by_turn.abs_diff(by_time) < length as u64 => {
                (by_turn, 0)
            }
            (Direction::Caller, Some(by_turn))
                if !self.after_silence && by_turn < by_time + length / 2 && by_time - by_turn <= tolerance =>
            {
                (by_turn, length / 2)
            }
            _ => (by_time, tolerance),
        };
        if gap > if self.after_silence { 0 } else { allowed } { gap } else { 0 }
    }

    /// How far behind the least late of the waiting frames would be, were they all put right here.
    fn least_lag(&self, other: &Self) -> Lag {
        let mut position = self.position;
        let lags = self.pieces.iter().map(|piece| {
            let lag = self.lag(piece, position, other);
            position += piece.samples;
            lag
        });
        let least = lags.reduce(|least, lag| Lag {
            by_time: least.by_time.min(lag.by_time),
            // What comes after turns that ended, or before they begin, says nothing of them.
            by_turn: least.by_turn.map(|by_turn| by_turn.min(lag.by_turn.unwrap_or(by_turn))),
        });
        least.unwrap_or(Lag { by_time: 0, by_turn: None })
    }

    /// How late a piece is that begins at `position`.
    fn lag(&self, piece: &Piece, position: i64, other: &Self) -> Lag {
        let end = position + piece.samples + piece.kept;
        let by_turn = self.turn(piece, other).map(|turn| match self.direction {
            // Read after what was written in the turn before.
            Direction::Caller => turn.position + piece.length - end,
            Direction::Heard => turn.position - end,
        });
        Lag { by_time: piece.time - end, by_turn }
    }

    /// The frame of the other direction that came before this one in the turns of one thread; none when that is too long ago
    /// to be of the same moment.
    fn turn(&self, piece: &Piece, other: &Self) -> Option<End> {
        let recently = piece.time - piece.length - self.rate.samples_in_ms(TOLERANCE_MS) as i64;
        other.end_of(piece.after).filter(|end| end.time >= recently)
    }

    /// Where the frame ends that is the `number`th, counted from 1; of those waiting, where it would without silence before it.
    fn end_of(&self, number: Option<u64>) -> Option<End> {
        let number = number.filter(|number| *number > 0)?;
        if let Some(back) = self.count.checked_sub(number) {
            let index = self.ends.len().checked_sub(usize::try_from(back).ok()? + 1)?;
            return self.ends.get(index).copied();
        }
        let index = usize::try_from(number - self.count - 1).ok()?;
        let last = self.pieces.get(index)?;
        let samples: i64 = self.pieces.iter().take(index + 1).map(|piece| piece.samples).sum();
        Some(End { time: last.time, position: self.position + samples + last.kept, dropped: false })
    }

    /// Whether the first waiting piece runs so far ahead that it is dropped. What is written in a turn goes with what is read
    /// in it.
    fn is_early(&self, piece: &Piece, other: &Self) -> bool {
        let lag = self.lag(piece, self.position, other);
        let too_early = -(self.rate.samples_in_ms(TOO_EARLY_MS) as i64);
        match (self.direction, self.turn(piece, other)) {
            (Direction::Heard, Some(turn)) => turn.dropped || lag.by_turn < Some(too_early),
            _ => lag.by_time < too_early,
        }
    }

    /// Has the lane reach `until`.
    pub(super) fn silence_until(&mut self, until: i64) {
        if self.position < until && self.pieces.is_empty() {
            // What the resampler kept belongs before the silence.
            self.drain();
        }
        self.silence(until - self.position);
    }

    /// Takes out the next samples.
    pub(super) fn take(&mut self, count: usize) -> impl Iterator<Item = i16> {
        self.placed.drain(..count)
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
