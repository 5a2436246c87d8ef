//! The playout clock: writes frames to channels that have playback waiting, or a stream that sends silence, and nobody who writes.
//!
//! A parked channel is written to by nobody, and WRITE_REPLACE runs on written frames only. Shards [`engage`](Clock::engage) a
//! stream when its ring holds audio that no frame takes; the clock then writes silence at the call's ptime until the ring has
//! been empty for a while, or somebody else writes. For a stream that sends silence it goes on until the stream ends. The streams
//! of one call share its frames. Streams that are not engaged cost nothing.
//!
//! A write encodes the caller's packet, which takes 0.2 ms of a core with Opus, and may wait for the call's locks. So the calls
//! are not tied to a thread. One thread waits for the next frame that is due; another stands by and takes over what is late by
//! [`LATE`], because the first is at work or held up by a call. A thread is added when all are busy, [`SILENCE_WRITERS`] at most: so
//! there are as many as there is work for, every core takes its share, and a call that blocks delays itself alone.
//!
//! A write holds the call's write lock, and where RTP has a timer of its own FreeSWITCH waits for its tick inside of the write.
//! So the clock keeps a little behind that tick: otherwise it would hold the lock nearly all the time, and others who write
//! would lose their frames without a trace. It does not catch up with missed frames either: the timer would hold each of
//! them up.

mod schedule;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};

use super::ending::Ending;
use super::host::{SILENCE_WRITERS, SilenceWriter};
use crate::stream::handle::StreamHandle;
use crate::telemetry::metrics::Histogram;
use schedule::{Listening, Schedule};

/// The threads' name, as `ps` shows it.
pub const THREAD: &str = "mas-clock";
/// Between two rounds, so that a thousand calls are not a thousand wake-ups per frame.
const ROUND: Duration = Duration::from_millis(1);
/// What is late by this much is not left to the thread that is at work. Longer than a round and the work of some ten calls.
const LATE: Duration = Duration::from_millis(3);

/// The playout clock.
pub struct Clock<S = StreamHandle> {
    shared: Arc<Shared<S>>,
}

/// Makes the calling thread one of the clock's.
type Join = dyn Fn() -> Box<dyn SilenceWriter> + Send + Sync;

struct Shared<S> {
    join: Box<Join>,
    lateness: Arc<Histogram>,
    state: Mutex<State<S>>,
    /// For the thread that waits for the next frame.
    due: Condvar,
    /// For the thread that stands by.
    late: Condvar,
    /// For the others.
    spare: Condvar,
}

struct State<S> {
    schedule: Schedule<S>,
    threads: Vec<JoinHandle<()>>,
    /// The thread that waits for the next frame. It never sleeps longer than until that is due.
    watch: Sleeper,
    /// The thread that takes over what is late.
    standby: Sleeper,
    /// Threads without a role.
    spare: usize,
    /// A thread could not be made, and the log says so.
    refused: bool,
    stopping: bool,
}

/// A role, and until when the thread sleeps that has it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sleeper {
    Nobody,
    /// It looks again then, or when it is woken.
    Until(Option<Instant>),
}

impl Sleeper {
    /// Whether there is one that would sleep through `at`.
    fn misses(self, at: Instant) -> bool {
        match self {
            Self::Nobody => false,
            Self::Until(until) => until.is_none_or(|until| until > at),
        }
    }
}

impl<S: Listening> Clock<S> {
    /// Starts the first thread. `join` is called on each thread of the clock, before anything else.
    pub fn start(
        join: impl Fn() -> Box<dyn SilenceWriter> + Send + Sync + 'static,
        lateness: Arc<Histogram>,
    ) -> std::io::Result<Self> {
        let state = State {
            schedule: Schedule::default(),
            threads: Vec::new(),
            watch: Sleeper::Nobody,
            standby: Sleeper::Nobody,
            spare: 0,
            refused: false,
            stopping: false,
        };
        let shared = Arc::new(Shared {
            join: Box::new(join),
            lateness,
            state: Mutex::new(state),
            due: Condvar::new(),
            late: Condvar::new(),
            spare: Condvar::new(),
        });
        let first = spawn(&shared)?;
        shared.state.lock().threads.push(first);
        Ok(Self { shared })
    }

    /// Writes frames for `stream` until it needs them no more. Never waits for a write.
    pub fn engage(&self, stream: &Arc<S>) {
        stream.set_clocked(true);
        let mut state = self.shared.state.lock();
        state.schedule.add(stream.clone(), Instant::now());
        // Where all threads are at work, the first that is done sees it.
        let whom = match (state.watch, state.standby) {
            (Sleeper::Until(_), _) => &self.shared.due,
            (Sleeper::Nobody, Sleeper::Until(_)) => &self.shared.late,
            (Sleeper::Nobody, Sleeper::Nobody) => &self.shared.spare,
        };
        whom.notify_one();
    }

    /// Ends the threads and waits for them.
    pub(super) fn stop(&self, ending: &Ending, rest: Duration) {
        let threads = {
            let mut state = self.shared.state.lock();
            state.stopping = true;
            for condition in [&self.shared.due, &self.shared.late, &self.shared.spare] {
                condition.notify_all();
            }
            std::mem::take(&mut state.threads)
        };
        for thread in threads {
            ending.join_named(rest, "mas-clock, which writes to a call", thread);
        }
    }
}

/// From a thread of the clock or the one that loads the module: so it has the priority of the switch's media threads.
fn spawn<S: Listening>(shared: &Arc<Shared<S>>) -> std::io::Result<JoinHandle<()>> {
    let shared = shared.clone();
    std::thread::Builder::new().name(THREAD.into()).spawn(move || run(&shared))
}

fn run<S: Listening>(shared: &Arc<Shared<S>>) {
    let mut writer = (shared.join)();
    let mut earliest = Instant::now();
    let mut state = shared.state.lock();
    while !state.stopping {
        let Some(turn) = state.schedule.take(Instant::now()) else {
            wait(shared, &mut state, earliest);
            continue;
        };
        let refused = has_nobody_else(shared, &state).then(|| add_thread(shared, &mut state)).flatten();
        drop(state);
        if let Some(error) = refused {
            tracing::warn!(target: "INJECT", op = "clock_thread", outcome = "failed", error = %error);
        }
        shared.lateness.record(turn.late);
        let written = catch_unwind(AssertUnwindSafe(|| writer.write(&turn.call, turn.purpose)));
        state = shared.state.lock();
        match written {
            Ok(written) => {
                state.schedule.wrote(turn, written, Instant::now());
                // While all calls were being written to, there was nothing to wait for.
                if state.schedule.next_due().is_some_and(|due| state.watch.misses(due + ROUND)) {
                    shared.due.notify_one();
                }
            }
            // The panic hook has reported it. Work that it interrupts belongs to that call alone.
            Err(_) => state.schedule.failed(&turn),
        }
        earliest = Instant::now() + ROUND;
    }
}

/// Waits until there may be something to do for this thread, at `earliest` for what is due in time.
fn wait<S: Listening>(shared: &Shared<S>, state: &mut MutexGuard<'_, State<S>>, earliest: Instant) {
    let next = state.schedule.next_due();
    if state.watch == Sleeper::Nobody {
        let until = next.map(|due| due.max(earliest));
        state.watch = Sleeper::Until(until);
        wait_until(&shared.due, state, until);
        state.watch = Sleeper::Nobody;
    } else if state.standby == Sleeper::Nobody {
        let until = next.map(|due| due + LATE);
        state.standby = Sleeper::Until(until);
        wait_until(&shared.late, state, until);
        state.standby = Sleeper::Nobody;
    } else {
        state.spare += 1;
        shared.spare.wait(state);
        state.spare -= 1;
    }
}

fn wait_until<S>(condition: &Condvar, state: &mut MutexGuard<'_, State<S>>, until: Option<Instant>) {
    match until {
        Some(until) => drop(condition.wait_until(state, until)),
        None => condition.wait(state),
    }
}

/// Before a write, which may take long: has another thread look after what comes next. Whether there is none.
fn has_nobody_else<S: Listening>(shared: &Shared<S>, state: &State<S>) -> bool {
    if state.watch != Sleeper::Nobody {
        return false;
    }
    match state.standby {
        Sleeper::Until(_) => {
            if state.schedule.next_due().is_some_and(|next| state.standby.misses(next + LATE)) {
                shared.late.notify_one();
            }
        }
        Sleeper::Nobody if state.spare > 0 => drop(shared.spare.notify_one()),
        Sleeper::Nobody => return state.threads.len() < SILENCE_WRITERS && !state.stopping,
    }
    false
}

/// With the lock held, so that there are never more than [`SILENCE_WRITERS`] and each is joined at the end. An error, the first
/// time, if there is none to be had: the others go on, and the next write tries again.
fn add_thread<S: Listening>(shared: &Arc<Shared<S>>, state: &mut State<S>) -> Option<std::io::Error> {
    match spawn(shared) {
        Ok(thread) => {
            state.threads.push(thread);
            None
        }
        Err(error) => (!std::mem::replace(&mut state.refused, true)).then_some(error),
    }
}

#[cfg(test)]
#[allow(clippy::panic, clippy::expect_used)]
mod tests {
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

    use super::super::host::{Purpose, Written};
    use super::*;
    use crate::telemetry::metrics::list::CLOCK_LATENESS;
    use crate::units::CallId;

    const PTIME: Duration = Duration::from_millis(5);

    /// A call on which audio always waits.
    struct Talk {
        call: CallId,
        clocked: AtomicBool,
        frames: Arc<AtomicU64>,
    }

    impl Talk {
        fn on(call: &str, frames: &Arc<AtomicU64>) -> Arc<Self> {
            Arc::new(Self { call: CallId::new(call), clocked: AtomicBool::new(false), frames: frames.clone() })
        }

        fn hears(&self, frames: u64) -> bool {
            let target = self.frames.load(Ordering::SeqCst) + frames;
            eventually(|| self.frames.load(Ordering::SeqCst) >= target)
        }
    }

    impl Listening for Talk {
        fn call_id(&self) -> &CallId {
            &self.call
        }

        fn has_audio(&self) -> bool {
            true
        }

        fn sends_silence(&self) -> bool {
            false
        }

        fn foreign_writes(&self) -> u64 {
            0
        }

        fn is_off(&self) -> bool {
            false
        }

        fn set_clocked(&self, clocked: bool) {
            self.clocked.store(clocked, Ordering::SeqCst);
        }
    }

    fn eventually(mut holds: impl FnMut() -> bool) -> bool {
        (0..5_000).any(|_| {
            std::thread::sleep(Duration::from_millis(1));
            holds()
        })
    }

    /// Writes by this function.
    struct Writer<F>(Arc<F>);

    impl<F: Fn(&str)> SilenceWriter for Writer<F> {
        fn write(&mut self, call: &CallId, _: Purpose) -> Written {
            (self.0)(call.as_str());
            Written::Frame(PTIME)
        }
    }

    fn clock(write: impl Fn(&str) + Send + Sync + 'static) -> Clock<Talk> {
        let write = Arc::new(write);
        let lateness = Arc::new(Histogram::new(&CLOCK_LATENESS));
        Clock::start(move || Box::new(Writer(write.clone())), lateness).expect("a thread")
    }

    #[test]
    fn calls_that_block_delay_no_other() {
        let (frames, stuck) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let gate = Arc::new(AtomicBool::new(false));
        let (of_writer, of_stuck, closed) = (frames.clone(), stuck.clone(), gate.clone());
        let clock = clock(move |call| {
            if call == "free" {
                of_writer.fetch_add(1, Ordering::SeqCst);
                return;
            }
            of_stuck.fetch_add(1, Ordering::SeqCst);
            while !closed.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        let free = Talk::on("free", &frames);
        clock.engage(&free);
        for number in 1..SILENCE_WRITERS as u64 {
            clock.engage(&Talk::on(&format!("stuck-{number}"), &stuck));
            assert!(eventually(|| stuck.load(Ordering::SeqCst) == number), "{number} calls block");
            assert!(free.hears(20), "the free call beside {number} that block");
        }
        gate.store(true, Ordering::SeqCst);
        clock.stop(&Ending::within(Duration::from_secs(30)), Duration::ZERO);
    }

    #[test]
    fn a_call_engaged_while_another_blocks_is_written_to() {
        let frames = Arc::new(AtomicU64::new(0));
        let (blocked, gate) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let (of_writer, blocks, open) = (frames.clone(), blocked.clone(), gate.clone());
        let clock = clock(move |call| {
            if call == "free" {
                of_writer.fetch_add(1, Ordering::SeqCst);
                return;
            }
            blocks.store(true, Ordering::SeqCst);
            while !open.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        clock.engage(&Talk::on("stuck", &frames));
        assert!(eventually(|| blocked.load(Ordering::SeqCst)));
        let free = Talk::on("free", &frames);
        clock.engage(&free);
        assert!(free.hears(20));
        gate.store(true, Ordering::SeqCst);
        clock.stop(&Ending::within(Duration::from_secs(30)), Duration::ZERO);
    }

    #[test]
    fn a_call_that_blocks_later_delays_no_other() {
        let frames = Arc::new(AtomicU64::new(0));
        // Both calls block in their first write, so a thread that waits meanwhile knows of no frame.
        let (first, open) = (Arc::new(Barrier::new(3)), Arc::new(AtomicBool::new(false)));
        let (of_writer, together, closed) = (frames.clone(), first.clone(), open.clone());
        let writes = [AtomicU64::new(0), AtomicU64::new(0)];
        let clock = clock(move |call| {
            let number = writes[usize::from(call == "stuck")].fetch_add(1, Ordering::SeqCst);
            if number == 0 {
                together.wait();
                // The next threads find their places.
                std::thread::sleep(Duration::from_millis(50));
            } else if call == "stuck" {
                while !closed.load(Ordering::SeqCst) {
                    std::thread::sleep(Duration::from_millis(1));
                }
            } else {
                of_writer.fetch_add(1, Ordering::SeqCst);
            }
        });
        let calls = ["stuck", "free"].map(|call| Talk::on(call, &frames));
        calls.iter().for_each(|call| clock.engage(call));
        first.wait();
        assert!(calls[1].hears(20));
        open.store(true, Ordering::SeqCst);
        clock.stop(&Ending::within(Duration::from_secs(30)), Duration::ZERO);
    }

    #[test]
    fn frames_of_two_calls_are_encoded_at_the_same_time() {
        let frames = Arc::new(AtomicU64::new(0));
        let (of_writer, both) = (frames.clone(), Arc::new(Barrier::new(2)));
        let (meeting, met) = (both.clone(), Arc::new(AtomicBool::new(false)));
        let over = met.clone();
        let clock = clock(move |_| {
            // One thread would wait here without end.
            if !over.load(Ordering::SeqCst) {
                meeting.wait();
                over.store(true, Ordering::SeqCst);
            }
            of_writer.fetch_add(1, Ordering::SeqCst);
        });
        let calls = ["one", "two"].map(|call| Talk::on(call, &frames));
        calls.iter().for_each(|call| clock.engage(call));
        assert!(eventually(|| met.load(Ordering::SeqCst)));
        clock.stop(&Ending::within(Duration::from_secs(30)), Duration::ZERO);
    }

    #[test]
    fn a_panic_costs_one_call() {
        let frames = Arc::new(AtomicU64::new(0));
        let of_writer = frames.clone();
        let clock = clock(move |call| {
            assert!(call != "broken", "on purpose");
            of_writer.fetch_add(1, Ordering::SeqCst);
        });
        let (free, broken) = (Talk::on("free", &frames), Talk::on("broken", &frames));
        clock.engage(&free);
        clock.engage(&broken);
        assert!(eventually(|| !broken.clocked.load(Ordering::SeqCst)), "the broken call is left out");
        assert!(free.hears(20));
        clock.stop(&Ending::within(Duration::from_secs(30)), Duration::ZERO);
    }
}
