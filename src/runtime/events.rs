//! The event thread: fires the streams' events, does what far ends may have done to their calls, and takes bugs off calls.
//!
//! One for the module. All of it may wait for FreeSWITCH's locks, which a worker must not. The queue is bounded; an event that
//! does not fit is dropped, counted and told about, but for final events, for which there is always room.

use std::collections::VecDeque;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use parking_lot::{Condvar, Mutex};

use super::host::Host;
use crate::control::events::render;
use crate::stream::action::CallAction;
use crate::stream::event::StreamEvent;
use crate::stream::handle::{EventSink, StreamHandle};
use crate::telemetry::rate_limit::RateLimit;

/// The thread's name, as `ps` shows it.
const THREAD: &str = "mas-events";
/// Events that may wait: two seconds of a thousand streams with two events a second each.
const QUEUE: usize = 4_096;

enum Job {
    Fire(StreamEvent),
    Act(CallAction),
    Detach,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<(Arc<StreamHandle>, Job)>,
    dropped: u64,
    limit: RateLimit,
    stopping: bool,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

/// The event thread.
pub struct EventThread {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl EventThread {
    /// Starts the thread.
    pub fn start(host: Arc<dyn Host>) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let of_thread = shared.clone();
        let thread = std::thread::Builder::new().name(THREAD.into()).spawn(move || {
            host.thread_started(THREAD);
            run(&of_thread, host.as_ref());
        })?;
        Ok(Self { shared, thread: Mutex::new(Some(thread)) })
    }

    /// Events dropped because the queue was full.
    pub fn dropped(&self) -> u64 {
        self.shared.state.lock().dropped
    }

    /// Fires what is queued, ends the thread and waits for it.
    pub fn stop(&self) {
        self.shared.state.lock().stopping = true;
        self.shared.changed.notify_one();
        if let Some(thread) = self.thread.lock().take() {
            // A panic of the thread was reported by the panic hook.
            let _ = thread.join();
        }
    }

    fn queue(&self, stream: &Arc<StreamHandle>, job: Job, always: bool) {
        let mut state = self.shared.state.lock();
        if state.jobs.len() >= QUEUE && !always {
            state.dropped += 1;
            if state.limit.due(Instant::now()).is_some() {
                let dropped = state.dropped;
                drop(state);
                tracing::warn!(target: "LIFECYCLE", call = %stream.call(), op = "event", outcome = "dropped", dropped,
                    advice = "FreeSWITCH takes events too slowly");
            }
            return;
        }
        state.jobs.push_back((stream.clone(), job));
        self.shared.changed.notify_one();
    }
}

impl EventSink for EventThread {
    fn emit(&self, stream: &Arc<StreamHandle>, event: StreamEvent) {
        let always = event.is_final();
        self.queue(stream, Job::Fire(event), always);
    }

    fn act(&self, stream: &Arc<StreamHandle>, action: CallAction) {
        // As bounded as events are: a far end that asks for more than is done loses what is too much.
        self.queue(stream, Job::Act(action), false);
    }

    fn detach(&self, stream: &Arc<StreamHandle>) {
        self.queue(stream, Job::Detach, true);
    }
}

fn run(shared: &Shared, host: &dyn Host) {
    loop {
        let mut state = shared.state.lock();
        let (stream, job) = loop {
            if let Some(job) = state.jobs.pop_front() {
                break job;
            }
            if state.stopping {
                return;
            }
            shared.changed.wait(&mut state);
        };
        drop(state);
        match job {
            Job::Fire(event) => {
                let event = render(stream.call(), stream.name(), &event);
                host.fire(&event, stream.departed());
            }
            Job::Act(action) => {
                if let Err(reason) = host.act(stream.call(), &action) {
                    tracing::warn!(target: "LIFECYCLE", call = %stream.call(), op = "call_action", outcome = "failed",
                        stream = %stream.name(), action = %action, reason);
                }
            }
            Job::Detach => stream.detach(),
        }
    }
}
