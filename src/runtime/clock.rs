//! The playout clock: one thread that writes frames to channels that have playback waiting and nobody who writes.
//!
//! A parked channel is written to by nobody, and WRITE_REPLACE runs on written frames only. Shards [`engage`](Clock::engage) a
//! stream when its ring holds audio that no frame takes; the clock then writes silence at the call's ptime until the ring has
//! been empty for a while, or somebody else writes. The streams of one call share its frames. Streams that are not engaged cost
//! nothing.
//!
//! A write holds the call's write lock, and where RTP has a timer of its own FreeSWITCH waits for its tick inside of the write.
//! So the clock keeps a little behind that tick: otherwise it would hold the lock nearly all the time, and others who write
//! would lose their frames without a trace. It does not catch up with missed frames either: the timer would hold each of
//! them up, one call after the other, and so make all the others late.

use std::collections::HashMap;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::host::{Host, SilenceWriter, Written};
use crate::stream::handle::StreamHandle;
use crate::telemetry::metrics::Histogram;
use crate::units::CallId;

/// The thread's name, as `ps` shows it.
const THREAD: &str = "mas-clock";
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
/// Between two rounds, so that a thousand calls are not a thousand wake-ups per frame.
const ROUND: Duration = Duration::from_millis(1);

/// The playout clock.
pub struct Clock {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    arrivals: Vec<Arc<StreamHandle>>,
    stopping: bool,
}

impl Clock {
    /// Starts the thread.
    pub fn start(host: Arc<dyn Host>, lateness: Arc<Histogram>) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let of_thread = shared.clone();
        let thread = std::thread::Builder::new().name(THREAD.into()).spawn(move || {
            host.media_thread_started(THREAD);
            run(&of_thread, host.silence_writer().as_mut(), &lateness);
        })?;
        Ok(Self { shared, thread: Mutex::new(Some(thread)) })
    }

    /// Writes frames for `stream` until it needs them no more. Never waits for the clock's work.
    pub fn engage(&self, stream: &Arc<StreamHandle>) {
        stream.set_clocked(true);
        self.shared.state.lock().arrivals.push(stream.clone());
        self.shared.changed.notify_one();
    }

    /// Ends the thread and waits for it.
    pub fn stop(&self) {
        self.shared.state.lock().stopping = true;
        self.shared.changed.notify_one();
        if let Some(thread) = self.thread.lock().take() {
            // A panic of the thread was reported by the panic hook.
            let _ = thread.join();
        }
    }
}

fn run(shared: &Shared, writer: &mut dyn SilenceWriter, lateness: &Histogram) {
    let mut engaged = Engaged::default();
    let mut next = None;
    loop {
        let mut state = shared.state.lock();
        while state.arrivals.is_empty() && !state.stopping {
            match next {
                None => shared.changed.wait(&mut state),
                Some(due) => {
                    if shared.changed.wait_until(&mut state, due).timed_out() {
                        break;
                    }
                }
            }
        }
        if state.stopping {
            return;
        }
        let arrivals = std::mem::take(&mut state.arrivals);
        drop(state);
        let now = Instant::now();
        for stream in arrivals {
            engaged.add(stream, now);
        }
        next = engaged.round(now, writer, lateness).map(|due| due.max(Instant::now() + ROUND));
    }
}

/// The calls the clock writes to.
#[derive(Default)]
struct Engaged {
    calls: HashMap<CallId, Call>,
}

struct Call {
    rhythm: Rhythm,
    streams: Vec<Member>,
}

/// When a call's next frame is due.
struct Rhythm {
    due: Instant,
    /// Writes in a row that took longer than [`HELD_UP`].
    long: u32,
}

struct Member {
    stream: Arc<StreamHandle>,
    idle_since: Option<Instant>,
    foreign_writes: u64,
}

impl Engaged {
    /// A stream of a call that is written to already joins its schedule.
    fn add(&mut self, stream: Arc<StreamHandle>, now: Instant) {
        let call = self
            .calls
            .entry(stream.call().clone())
            .or_insert_with(|| Call { rhythm: Rhythm::new(now), streams: Vec::new() });
        if !call.streams.iter().any(|member| member.stream.id == stream.id) {
            let foreign_writes = stream.media.foreign_writes();
            call.streams.push(Member { stream, idle_since: None, foreign_writes });
        }
    }

    /// Writes what is due at `now`; returns when the next frame is.
    fn round(&mut self, now: Instant, writer: &mut dyn SilenceWriter, lateness: &Histogram) -> Option<Instant> {
        self.calls.retain(|id, call| {
            if call.rhythm.due <= now {
                // Before the write: from now on another writer has the channel alone.
                call.streams.retain_mut(|member| member.still_needs(now));
                if call.streams.is_empty() {
                    return false;
                }
                let began = Instant::now();
                lateness.record(began.saturating_duration_since(call.rhythm.due));
                let written = writer.write(id);
                call.rhythm.wrote(written, began, Instant::now());
            }
            true
        });
        self.calls.values().map(|call| call.rhythm.due).min()
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

impl Member {
    fn still_needs(&mut self, now: Instant) -> bool {
        let media = &self.stream.media;
        let others = self.stream.is_bug_closed() || media.foreign_writes() != self.foreign_writes;
        let idle = if media.playout.has_audio() {
            self.idle_since = None;
            false
        } else {
            now.saturating_duration_since(*self.idle_since.get_or_insert(now)) >= LINGER
        };
        let stays = !others && !idle;
        if !stays {
            self.stream.set_clocked(false);
        }
        stays
    }
}

#[cfg(test)]
mod tests {
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
}
