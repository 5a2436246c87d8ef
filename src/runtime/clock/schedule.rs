//! When each call's next frame of the playout clock is due, and which streams still need it.
//!
//! Pure, except for the time that it is given; behind the clock's lock, which is held for no longer than a look at a call's
//! atomics.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::host::{Purpose, Written};
use crate::stream::handle::StreamHandle;
use crate::units::CallId;

/// How long an empty ring is still clocked: the glide after the last sample, and a server that pauses for breath.
const LINGER: Duration = Duration::from_millis(200);
/// When the next try is due on a channel that takes no audio at the moment (on hold, in a transfer).
const RETRY: Duration = Duration::from_millis(20);
/// A write that takes longer has waited for the tick of the call's own timer: encoding and sending take tens of microseconds.
const HELD_UP: Duration = Duration::from_micros(500);
/// How far behind such a timer's tick the clock keeps.
const BEHIND: Duration = Duration::from_millis(2);
/// Of so many writes in a row that take long one is taken for held up: the others are the work of a codec, or a busy machine.
const LONG_IN_A_ROW: u32 = 256;

/// A stream as the clock sees it.
pub trait Listening: Send + Sync + 'static {
    /// The call whose frames its audio goes into.
    fn call_id(&self) -> &CallId;
    /// Whether its ring holds audio.
    fn has_audio(&self) -> bool;
    /// Whether the caller is to be sent silence where there is no audio.
    fn sends_silence(&self) -> bool;
    /// Frames that others than the clock have written.
    fn foreign_writes(&self) -> u64;
    /// Whether its media bug is gone.
    fn is_off(&self) -> bool;
    /// Whether the clock writes its frames.
    fn set_clocked(&self, clocked: bool);
}

impl Listening for StreamHandle {
    fn call_id(&self) -> &CallId {
        self.call()
    }

    fn has_audio(&self) -> bool {
        self.media.playout.has_audio()
    }

    fn sends_silence(&self) -> bool {
        Self::sends_silence(self)
    }

    fn foreign_writes(&self) -> u64 {
        self.media.foreign_writes()
    }

    fn is_off(&self) -> bool {
        self.is_bug_closed()
    }

    fn set_clocked(&self, clocked: bool) {
        Self::set_clocked(self, clocked);
    }
}

/// The calls that the clock writes to.
pub(super) struct Schedule<S> {
    calls: HashMap<CallId, Call<S>>,
    /// Each call once, except those of which a frame is being written.
    due: BinaryHeap<Reverse<(Instant, CallId)>>,
}

struct Call<S> {
    rhythm: Rhythm,
    streams: Vec<Member<S>>,
}

/// A call's frame that is to be written now. Answer with [`Schedule::wrote`] or [`Schedule::failed`].
pub(super) struct Turn {
    pub(super) call: CallId,
    pub(super) purpose: Purpose,
    /// How late it is.
    pub(super) late: Duration,
    pub(super) began: Instant,
}

/// When a call's next frame is due.
struct Rhythm {
    due: Instant,
    /// Writes in a row that took longer than [`HELD_UP`].
    long: u32,
}

struct Member<S> {
    stream: Arc<S>,
    /// When it last had audio.
    played_at: Option<Instant>,
    foreign_writes: u64,
}

impl<S> Default for Schedule<S> {
    fn default() -> Self {
        Self { calls: HashMap::new(), due: BinaryHeap::new() }
    }
}

impl<S: Listening> Schedule<S> {
    /// A stream of a call that is written to already joins its frames.
    pub(super) fn add(&mut self, stream: Arc<S>, now: Instant) {
        let id = stream.call_id().clone();
        let due = &mut self.due;
        let call = self.calls.entry(id.clone()).or_insert_with(|| {
            due.push(Reverse((now, id)));
            Call { rhythm: Rhythm::new(now), streams: Vec::new() }
        });
        if !call.streams.iter().any(|member| Arc::ptr_eq(&member.stream, &stream)) {
            let foreign_writes = stream.foreign_writes();
            call.streams.push(Member { stream, played_at: None, foreign_writes });
        }
    }

    /// When the next frame is due of those that nobody writes yet.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.due.peek().map(|Reverse((due, _))| *due)
    }

    /// The frame that is due longest, if one is at `now`. A call that needs no more frames is left out from now on: another
    /// thread that writes to it then has the channel alone.
    pub(super) fn take(&mut self, now: Instant) -> Option<Turn> {
        while self.next_due()? <= now {
            let Reverse((due, id)) = self.due.pop()?;
            let Some(call) = self.calls.get_mut(&id) else { continue };
            call.streams.retain_mut(|member| member.still_needs(now));
            if !call.streams.is_empty() {
                let plays = call.streams.iter().any(|member| member.plays(now));
                let purpose = if plays { Purpose::Playback } else { Purpose::Packets };
                return Some(Turn { call: id, purpose, late: now.saturating_duration_since(due), began: now });
            }
            self.calls.remove(&id);
        }
        None
    }

    /// The frame was written, or was not, at the time `done`.
    pub(super) fn wrote(&mut self, turn: Turn, written: Written, done: Instant) {
        if let Some(call) = self.calls.get_mut(&turn.call) {
            call.rhythm.wrote(written, turn.began, done);
            self.due.push(Reverse((call.rhythm.due, turn.call)));
        }
    }

    /// Writing to this call failed inside of the module: it gets no more frames until it is engaged again.
    pub(super) fn failed(&mut self, turn: &Turn) {
        for member in self.calls.remove(&turn.call).into_iter().flat_map(|call| call.streams) {
            member.stream.set_clocked(false);
        }
    }
}

impl Rhythm {
    /// At once. As if a write had been held up before: how the call's timer stands is not known yet.
    const fn new(now: Instant) -> Self {
        Self { due: now, long: 1 }
    }

    /// A write was made.
    fn wrote(&mut self, written: Written, began: Instant, done: Instant) {
        let Written::Frame(ptime) = written else {
            // Gone: until its bugs are closed, which ends the engagement.
            self.due = done + RETRY;
            return;
        };
        let held_up = done.saturating_duration_since(began) > HELD_UP;
        self.long = if held_up { self.long.saturating_add(1) } else { 0 };
        // One alone may be the machine's doing; a timer that we are ahead of holds up the next one, too.
        self.due = if held_up && (self.long == 2 || self.long.is_multiple_of(LONG_IN_A_ROW)) {
            done + ptime + BEHIND
        } else if began.saturating_duration_since(self.due) < ptime / 2 {
            self.due + ptime
        } else {
            done + ptime
        };
    }
}

impl<S: Listening> Member<S> {
    fn still_needs(&mut self, now: Instant) -> bool {
        let others = self.stream.is_off() || self.stream.foreign_writes() != self.foreign_writes;
        if self.stream.has_audio() {
            self.played_at = Some(now);
        }
        let stays = !others && (self.plays(now) || self.stream.sends_silence());
        if !stays {
            self.stream.set_clocked(false);
        }
        stays
    }

    /// Whether there is playback, or was until a short while ago.
    fn plays(&self, now: Instant) -> bool {
        self.played_at.is_some_and(|at| now.saturating_duration_since(at) < LINGER)
    }
}

#[cfg(test)]
#[allow(clippy::expect_used)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

    use super::super::ROUND;
    use super::*;

    const PTIME: Duration = Duration::from_millis(20);

    /// A call with an RTP timer as FreeSWITCH makes them on Linux: a write waits until the timer has ticked since the last one.
    struct Timed {
        rhythm: Rhythm,
        first_tick: Instant,
        seen: u128,
        frames: u32,
    }

    impl Timed {
        /// Writes at `now`, which takes `work` beyond the timer; returns when it is done.
        fn write(&mut self, now: Instant, work: Duration) -> Instant {
            let ticks = now.saturating_duration_since(self.first_tick).as_nanos() / PTIME.as_nanos();
            let waited = if ticks > self.seen { now } else { self.first_tick + PTIME * (self.seen as u32 + 1) };
            self.seen = ticks.max(self.seen + 1);
            self.frames += 1;
            let done = waited + work;
            self.rhythm.wrote(Written::Frame(PTIME), now, done);
            done
        }
    }

    /// Frames of each of so many calls within 4 s after a pause of the clock's thread.
    fn frames_after_a_pause(calls: u32, pause: Duration, work: Duration) -> Vec<u32> {
        let begin = Instant::now();
        let mut now = begin + PTIME;
        let mut calls: Vec<_> = (0..calls)
            // Calls begin, and their timers tick, at any time.
            .map(|number| Timed {
                rhythm: Rhythm::new(now + PTIME * (number * 7 % 20) / 20),
                first_tick: begin + PTIME * (number * 13 % 19) / 19,
                seen: 0,
                frames: 0,
            })
            .collect();
        let (mut paused, end) = (false, now + Duration::from_secs(5));
        while now < end {
            if !paused && now >= begin + Duration::from_secs(1) {
                paused = true;
                now += pause;
                calls.iter_mut().for_each(|call| call.frames = 0);
            }
            let round = now;
            for call in calls.iter_mut().filter(|call| call.rhythm.due <= round) {
                now = call.write(now, work);
            }
            let next = calls.iter().map(|call| call.rhythm.due).min().unwrap_or(end);
            now = next.max(now + ROUND);
        }
        calls.iter().map(|call| call.frames).collect()
    }

    #[test]
    fn calls_with_a_timer_get_their_pace_back_after_a_busy_spell() {
        for (calls, pause) in [(1, 0), (1, 30), (30, 0), (30, 30), (100, 30), (100, 90), (300, 45)] {
            let frames = frames_after_a_pause(calls, Duration::from_millis(pause), Duration::from_micros(20));
            let fewest = frames.iter().min();
            assert!(fewest >= Some(&194), "{calls} calls, {pause} ms: {fewest:?} of some 200 frames");
        }
    }

    #[test]
    fn a_codec_that_takes_long_is_not_taken_for_a_timer() {
        let frames = frames_after_a_pause(3, Duration::ZERO, Duration::from_millis(1));
        assert!(frames.iter().all(|frames| *frames >= 196), "{frames:?} of some 200 frames");
    }

    #[test]
    fn a_call_whose_timer_is_behind_ours_is_delayed_only_once() {
        let now = Instant::now();
        let mut call = Timed { rhythm: Rhythm::new(now), first_tick: now + PTIME / 2, seen: 0, frames: 0 };
        let mut waits = Vec::new();
        for _ in 0..50 {
            let began = call.rhythm.due;
            waits.push(call.write(began, Duration::ZERO).saturating_duration_since(began) > HELD_UP);
        }
        assert_eq!(waits.iter().filter(|waited| **waited).count(), 1, "{waits:?}");
    }

    /// A stream on a call, as the test sets it.
    #[derive(Default)]
    struct Heard {
        call: Option<CallId>,
        audio: AtomicBool,
        silence: AtomicBool,
        off: AtomicBool,
        clocked: AtomicBool,
        foreign: AtomicU64,
    }

    impl Heard {
        fn with(audio: bool, silence: bool) -> Arc<Self> {
            let call = Some(CallId::new("call"));
            Arc::new(Self { call, audio: audio.into(), silence: silence.into(), ..Self::default() })
        }
    }

    impl Listening for Heard {
        fn call_id(&self) -> &CallId {
            self.call.as_ref().expect("it has one")
        }

        fn has_audio(&self) -> bool {
            self.audio.load(Ordering::Relaxed)
        }

        fn sends_silence(&self) -> bool {
            self.silence.load(Ordering::Relaxed)
        }

        fn foreign_writes(&self) -> u64 {
            self.foreign.load(Ordering::Relaxed)
        }

        fn is_off(&self) -> bool {
            self.off.load(Ordering::Relaxed)
        }

        fn set_clocked(&self, clocked: bool) {
            self.clocked.store(clocked, Ordering::Relaxed);
        }
    }

    /// Frames written for each purpose within `time` from `now` on.
    fn frames(schedule: &mut Schedule<Heard>, now: &mut Instant, time: Duration) -> (usize, usize) {
        let end = *now + time;
        let (mut playback, mut packets) = (0, 0);
        while *now < end {
            if let Some(turn) = schedule.take(*now) {
                let count = if turn.purpose == Purpose::Playback { &mut playback } else { &mut packets };
                *count += 1;
                schedule.wrote(turn, Written::Frame(PTIME), *now);
            }
            *now += Duration::from_millis(1);
        }
        (playback, packets)
    }

    #[test]
    fn silence_goes_on_after_playback_until_the_stream_ends() {
        let (mut schedule, mut now) = (Schedule::default(), Instant::now());
        let stream = Heard::with(true, true);
        schedule.add(stream.clone(), now);
        assert_eq!(frames(&mut schedule, &mut now, Duration::from_secs(1)), (50, 0));
        stream.audio.store(false, Ordering::Relaxed);
        assert_eq!(frames(&mut schedule, &mut now, Duration::from_secs(60)), (9, 2_991));
        stream.silence.store(false, Ordering::Relaxed);
        assert_eq!(frames(&mut schedule, &mut now, Duration::from_secs(1)), (0, 0));
    }

    #[test]
    fn without_playback_a_stream_gets_frames_only_if_it_asks() {
        let mut now = Instant::now();
        for (silence, expected) in [(false, (0, 0)), (true, (0, 50))] {
            let mut schedule = Schedule::default();
            schedule.add(Heard::with(false, silence), now);
            assert_eq!(frames(&mut schedule, &mut now, Duration::from_secs(1)), expected);
        }
    }

    #[test]
    fn silence_ends_when_another_writes_or_the_bug_goes() {
        let mut now = Instant::now();
        for foreign in [true, false] {
            let mut schedule = Schedule::default();
            let stream = Heard::with(false, true);
            stream.set_clocked(true);
            schedule.add(stream.clone(), now);
            assert_eq!(frames(&mut schedule, &mut now, Duration::from_secs(1)), (0, 50));
            if foreign {
                stream.foreign.store(1, Ordering::Relaxed);
            } else {
                stream.off.store(true, Ordering::Relaxed);
            }
            assert_eq!(frames(&mut schedule, &mut now, Duration::from_secs(1)), (0, 0));
            assert!(!stream.clocked.load(Ordering::Relaxed));
        }
    }
}
