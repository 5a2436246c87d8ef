//! Threads that work off a queue with a share for each owner.
//!
//! For work that may wait for FreeSWITCH's locks, which a worker must not. Queueing never waits. A job that panics costs no
//! other: the panic hook has reported it, and the thread goes on. A job that is to pause gives back what is left of it, so that no
//! thread waits for the pause; at the end of the lane that is given up.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::ending::Ending;
use super::fair::{Fair, Job, Limits};
use super::host::Host;
use crate::telemetry::rate_limit::RateLimit;
use crate::units::CallId;

/// How a lane is made.
#[derive(Clone, Copy)]
pub(super) struct Design {
    /// The threads' name, as `ps` shows it.
    pub(super) name: &'static str,
    pub(super) threads: usize,
    /// Threads that may be in slow jobs at the same time.
    pub(super) slow: usize,
    /// Of each owner.
    pub(super) limits: Limits,
}

/// What is left of a job, to be done after a pause.
pub(super) struct Left<J> {
    pub(super) after: Duration,
    pub(super) job: J,
}

/// Does a job, or as much of it as can be done before its pause.
type Perform<J> = fn(&dyn Host, J) -> Option<Left<J>>;

struct State<J: Job> {
    jobs: Fair<J>,
    slow_running: usize,
    dropped: u64,
    limit: RateLimit,
    /// The calls of the jobs that are being done.
    running: Vec<Option<CallId>>,
    stopping: bool,
    /// Jobs whose rest was given up at the end.
    cut_short: usize,
    /// A job has hung for too long at the end: nothing that waits is done any more.
    abandoned: bool,
}

struct Shared<J: Job> {
    state: Mutex<State<J>>,
    changed: Condvar,
    slow: usize,
    name: &'static str,
    perform: Perform<J>,
}

/// A queue and its threads.
pub(super) struct Lane<J: Job> {
    shared: Arc<Shared<J>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// A job that was dropped.
pub(super) struct Dropped {
    /// How many were in all.
    pub(super) total: u64,
    /// Whether it is time to log it again.
    pub(super) due: bool,
}

impl<J: Job> Lane<J> {
    /// Starts the threads. An error means that one could not be made; then none is left.
    pub(super) fn start(design: Design, host: &Arc<dyn Host>, perform: Perform<J>) -> std::io::Result<Self> {
        let state = State {
            jobs: Fair::new(design.limits),
            slow_running: 0,
            dropped: 0,
            limit: RateLimit::default(),
            running: Vec::new(),
            stopping: false,
            cut_short: 0,
            abandoned: false,
        };
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            changed: Condvar::new(),
            slow: design.slow,
            name: design.name,
            perform,
        });
        let lane = Self { shared, threads: Mutex::default() };
        for _ in 0..design.threads {
            let (shared, host) = (lane.shared.clone(), host.clone());
            let thread = std::thread::Builder::new().name(design.name.into()).spawn(move || {
                host.thread_started(design.name);
                shared.run(host.as_ref());
            });
            match thread {
                Ok(thread) => lane.threads.lock().push(thread),
                Err(error) => {
                    lane.stop(&Ending::within(Duration::from_secs(1)), Duration::ZERO);
                    return Err(error);
                }
            }
        }
        Ok(lane)
    }

    /// Queues a job; never waits. An error means that it was dropped, since its owner's share is full.
    pub(super) fn queue(&self, job: J) -> Result<(), Dropped> {
        let mut state = self.shared.state.lock();
        if state.jobs.push(job).is_err() {
            state.dropped += 1;
            return Err(Dropped { total: state.dropped, due: state.limit.due(Instant::now()).is_some() });
        }
        drop(state);
        self.shared.changed.notify_one();
        Ok(())
    }

    /// Jobs that wait.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.shared.state.lock().jobs.len()
    }

    /// Jobs dropped so far.
    pub(super) fn dropped(&self) -> u64 {
        self.shared.state.lock().dropped
    }

    /// Does what is queued and ends the threads. What hangs is left and named, and what waits behind it or pauses is given up.
    pub(super) fn stop(&self, ending: &Ending, rest: Duration) {
        let mut state = self.shared.state.lock();
        state.stopping = true;
        state.cut_short += state.jobs.give_up_pauses();
        drop(state);
        self.shared.changed.notify_all();
        let threads = std::mem::take(&mut *self.threads.lock());
        let hung = threads.into_iter().filter_map(|thread| (!ending.join(rest, thread)).then_some(())).count();
        let mut state = self.shared.state.lock();
        let name = self.shared.name;
        let cut_short = std::mem::take(&mut state.cut_short);
        if cut_short > 0 {
            ending.leave(format!("the rest of {cut_short} jobs of thread {name} that paused"));
        }
        if hung == 0 {
            return;
        }
        state.abandoned = true;
        let waiting = state.jobs.len();
        for call in &state.running {
            let call = call.as_ref().map_or("", |call| call.as_str());
            ending.leave(format!("thread {name} at call {call}"));
        }
        if waiting > 0 {
            ending.leave(format!("{waiting} jobs of thread {name}"));
        }
    }
}

impl<J: Job> Shared<J> {
    fn run(&self, host: &dyn Host) {
        let mut state = self.state.lock();
        loop {
            let (now, slow_may) = (Instant::now(), state.slow_running < self.slow);
            let Some((owner, job)) = state.jobs.next(now, slow_may) else {
                if state.stopping && state.jobs.is_empty() {
                    return;
                }
                match state.jobs.next_pause_end(now) {
                    Some(end) => {
                        self.changed.wait_until(&mut state, end);
                    }
                    None => self.changed.wait(&mut state),
                }
                continue;
            };
            let slow = usize::from(job.is_slow());
            state.slow_running += slow;
            let call = job.call();
            state.running.push(call.clone());
            drop(state);
            // Work that a panic interrupts belongs to that job alone, and the panic hook has reported it.
            let left = catch_unwind(AssertUnwindSafe(|| (self.perform)(host, job))).unwrap_or_default();
            state = self.state.lock();
            state.slow_running -= slow;
            if let Some(at) = state.running.iter().position(|running| *running == call) {
                state.running.swap_remove(at);
            }
            if state.abandoned {
                return;
            }
            match left {
                Some(Left { after, job }) if !state.stopping => state.jobs.pause(owner, job, Instant::now() + after),
                left => {
                    state.cut_short += usize::from(left.is_some());
                    state.jobs.done(owner);
                }
            }
            // Another job of this owner, or a slow one, may go on another thread now; and a lane that stops may be empty.
            self.changed.notify_all();
        }
    }
}
