//! The playout clock: writes frames to channels that have playback waiting, or a stream that sends silence, and nobody who writes.
//!
//! A parked channel is written to by nobody, and WRITE_REPLACE runs on written frames only. Shards [`engage`](Clock::engage) a
//! stream when its ring holds audio that no frame takes; the clock then writes silence at the call's ptime until the ring has
//! been empty for a while, or somebody else writes. For a stream that sends silence it goes on until the stream ends. The streams
//! of one call share its frames. Streams that are not engaged cost nothing.
//!
//! A write encodes the caller's packet, which takes 0.4 ms of a core with Opus, and may wait for the call's locks. So the calls
//! are not tied to a thread. One thread waits for the next frame that is due; another stands by and takes over what is late by
//! [`LATE`], because the first is at work or held up by a call. As many threads work at a time as there are cores: more would help
//! nothing against too much work. A write that does not come back, on a thread that sleeps, does not count as work, so a call that
//! blocks delays itself alone. A thread is added when none is left that waits for what is due or stands by: there are one
//! more than cores and calls that blocked at a time, [`SILENCE_WRITERS`] at most. One that has had nothing to do for [`IDLE`] ends, down to
//! one more than cores.
//!
//! A write holds the call's write lock, and where RTP has a timer of its own FreeSWITCH waits for its tick inside of the write.
//! So the clock keeps a little behind that tick: otherwise it would hold the lock nearly all the time, and others who write
//! would lose their frames without a trace. It does not catch up with missed frames either: the timer would hold each of
//! them up.

mod schedule;
mod work;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};

use super::ending::Ending;
use super::host::{SILENCE_WRITERS, SilenceWriter};
use crate::stream::handle::StreamHandle;
use crate::telemetry::metrics::Histogram;
use crate::telemetry::metrics::list::CLOCK_LATENESS;
use schedule::{Listening, Schedule};
use work::Work;

/// The threads' name, as `ps` shows it.
pub const THREAD: &str = "mas-clock";
/// Between two rounds, so that a thousand calls are not a thousand wake-ups per frame.
const ROUND: Duration = Duration::from_millis(1);
/// What is late by this much is not left to the thread that is at work. Longer than a round and the work of some ten calls.
const LATE: Duration = Duration::from_millis(3);
/// After so long without a role a thread that was added ends.
const IDLE: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 10 });

/// The playout clock.
pub struct Clock<S = StreamHandle> {
    shared: Arc<Shared<S>>,
}

/// Makes the calling thread one of the clock's.
type Join = dyn Fn() -> Box<dyn SilenceWriter> + Send + Sync;

struct Shared<S> {
    join: Box<Join>,
    /// Threads that may work at a time.
    cores: usize,
    metrics: Arc<ClockMetrics>,
    state: Mutex<State<S>>,
    /// For the thread that waits for the next frame.
    due: Condvar,
    /// For the thread that stands by.
    late: Condvar,
    /// For the others.
    spare: Condvar,
}

/// What the clock counts.
pub struct ClockMetrics {
    /// How late packets are written.
    pub lateness: Histogram,
    /// Writes that their calls held up.
    pub held_up: AtomicU64,
}

impl Default for ClockMetrics {
    fn default() -> Self {
        Self { lateness: Histogram::new(&CLOCK_LATENESS), held_up: AtomicU64::new(0) }
    }
}

struct State<S> {
    schedule: Schedule<S>,
    work: Work,
    threads: Vec<JoinHandle<()>>,
    /// Threads that have left and may not have ended yet.
    leaving: Vec<JoinHandle<()>>,
    /// Threads that were made and have not come to their first look.
    starting: usize,
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
    /// Starts the first thread. `join` is called on each thread of the clock, before anything else; so many threads work at a time as
    /// there are `cores`.
    pub fn start(
        join: impl Fn() -> Box<dyn SilenceWriter> + Send + Sync + 'static,
        cores: usize,
        metrics: Arc<ClockMetrics>,
    ) -> std::io::Result<Self> {
        let state = State {
            schedule: Schedule::default(),
            work: Work::default(),
            threads: Vec::new(),
            leaving: Vec::new(),
            starting: 1,
            watch: Sleeper::Nobody,
            standby: Sleeper::Nobody,
            spare: 0,
            refused: false,
            stopping: false,
        };
        let shared = Arc::new(Shared {
            join: Box::new(join),
            cores: cores.max(1),
            metrics,
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
            let mut threads = std::mem::take(&mut state.threads);
            threads.append(&mut state.leaving);
            threads
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
    let starting = Starting(shared);
    let mut writer = (shared.join)();
    let this = work::this_thread();
    drop(starting);
    let mut earliest = Instant::now();
    let mut state = shared.state.lock();
    let number = state.work.join(this);
    while !state.stopping {
        let may_work = state.work.count() < shared.cores;
        let Some(turn) = may_work.then(|| state.schedule.take(Instant::now())).flatten() else {
            if wait(shared, &mut state, earliest) == Wakes::Idle && leaves(shared, &mut state, number) {
                return;
            }
            continue;
        };
        state.work.begin(number, turn.began);
        let refused = has_nobody_else(shared, &state).then(|| add_thread(shared, &mut state)).flatten();
        drop(state);
        if let Some(error) = refused {
            tracing::warn!(target: "INJECT", op = "clock_thread", outcome = "failed", error = %error);
        }
        shared.metrics.lateness.record(turn.late);
        let written = catch_unwind(AssertUnwindSafe(|| writer.write(&turn.call, turn.purpose)));
        state = shared.state.lock();
        state.work.end(number);
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

/// A thread on its way to its first look, in whatever way that ends.
struct Starting<'a, S>(&'a Shared<S>);

impl<S> Drop for Starting<'_, S> {
    fn drop(&mut self) {
        self.0.state.lock().starting -= 1;
    }
}

/// Why a thread wakes.
#[derive(PartialEq, Eq)]
enum Wakes {
    /// There may be something to do.
    ToLook,
    /// It has had no role for [`IDLE`].
    Idle,
}

/// Waits until there may be something to do for this thread, at `earliest` for what is due in time.
fn wait<S: Listening>(shared: &Shared<S>, state: &mut MutexGuard<'_, State<S>>, earliest: Instant) -> Wakes {
    if state.watch == Sleeper::Nobody && state.work.count() < shared.cores {
        let until = state.schedule.next_due().map(|due| due.max(earliest));
        state.watch = Sleeper::Until(until);
        wait_until(&shared.due, state, until);
        state.watch = Sleeper::Nobody;
    } else if state.standby == Sleeper::Nobody {
        stand_by(shared, state);
    } else {
        rouse_standby(shared, state);
        state.spare += 1;
        let idle = shared.spare.wait_for(state, IDLE).timed_out();
        state.spare -= 1;
        if idle {
            return Wakes::Idle;
        }
    }
    Wakes::ToLook
}

/// The calling thread of this number leaves, unless it is needed. It has no role, so nobody waits for it.
fn leaves<S>(shared: &Shared<S>, state: &mut State<S>, number: usize) -> bool {
    if state.threads.len() <= shared.cores + 1 || state.stopping {
        return false;
    }
    let this = std::thread::current().id();
    let Some(at) = state.threads.iter().position(|thread| thread.thread().id() == this) else { return false };
    state.work.leave(number);
    // Joined at the end, unless they have long gone.
    state.leaving.retain(|thread| !thread.is_finished());
    let thread = state.threads.swap_remove(at);
    state.leaving.push(thread);
    true
}

/// Waits until something is late. Where as many threads work as there are cores, it finds out whether one of them is held up by its
/// call; only then there is something to do.
fn stand_by<S: Listening>(shared: &Shared<S>, state: &mut MutexGuard<'_, State<S>>) {
    let until = takeover(shared, state);
    state.standby = Sleeper::Until(until);
    wait_until(&shared.late, state, until);
    let now = Instant::now();
    if state.work.count() >= shared.cores && takeover(shared, state).is_some_and(|at| at <= now) {
        let mut suspects = state.work.suspects(now);
        MutexGuard::unlocked(state, || suspects.retain(work::Suspect::is_asleep));
        for _ in suspects.iter().filter(|suspect| state.work.is_held_up(suspect)) {
            shared.metrics.held_up.fetch_add(1, Ordering::Relaxed);
        }
        if state.work.count() >= shared.cores && !state.stopping {
            wait_until(&shared.late, state, Some(now + ROUND));
        }
    }
    state.standby = Sleeper::Nobody;
}

/// When the thread that stands by is needed, as it looks now.
fn takeover<S: Listening>(shared: &Shared<S>, state: &State<S>) -> Option<Instant> {
    let late = state.schedule.next_due()? + LATE;
    let overdue = state.work.next_overdue().filter(|_| state.work.count() >= shared.cores);
    Some(overdue.map_or(late, |overdue| overdue.max(late)))
}

/// Has the thread that stands by look again, if it would sleep for too long.
fn rouse_standby<S: Listening>(shared: &Shared<S>, state: &State<S>) {
    if takeover(shared, state).is_some_and(|at| state.standby.misses(at + ROUND)) {
        shared.late.notify_one();
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
    if state.watch != Sleeper::Nobody || state.starting > 0 {
        return false;
    }
    match state.standby {
        Sleeper::Until(_) => rouse_standby(shared, state),
        Sleeper::Nobody if state.spare > 0 => drop(shared.spare.notify_one()),
        Sleeper::Nobody => {
            // One that has left has its writer until it has ended.
            let ending = state.leaving.iter().filter(|thread| !thread.is_finished()).count();
            return state.threads.len() + ending < SILENCE_WRITERS && !state.stopping;
        }
    }
    false
}

/// With the lock held, so that there are never more than [`SILENCE_WRITERS`] and each is joined at the end. An error, the first
/// time, if there is none to be had: the others go on, and the next write tries again.
fn add_thread<S: Listening>(shared: &Arc<Shared<S>>, state: &mut State<S>) -> Option<std::io::Error> {
    match spawn(shared) {
        Ok(thread) => {
            state.starting += 1;
            state.threads.push(thread);
            None
        }
        Err(error) => (!std::mem::replace(&mut state.refused, true)).then_some(error),
    }
}

#[cfg(test)]
mod tests;
