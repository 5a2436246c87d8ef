//! The event threads: one fires the events of streams and recordings, the other carries out servers' actions on their
//! calls and takes bugs off calls.
//!
//! One of each for the module. All of it may wait for FreeSWITCH's locks, which a worker must not; what is done to a call may
//! last (DTMF with pauses, another module's hung bug), so that no event waits for it. Each queue is bounded; a job that does not
//! fit is dropped, counted and reported, except final events and detaching, for which there is always room.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::host::Host;
use crate::call::{Attached, Sink};
use crate::event::Event;
use crate::stream::action::CallAction;
use crate::stream::handle::{EventSink, StreamCommand, StreamHandle};
use crate::telemetry::rate_limit::RateLimit;

/// The threads' names, as `ps` shows them.
const EVENTS: &str = "mas-events";
const CALLS: &str = "mas-calls";
/// Longest pauses in one command of DTMF: on some channels FreeSWITCH sleeps for them.
const MOST_PAUSE: Duration = Duration::from_secs(5);
/// Events that may wait: two seconds of a thousand streams with two events a second each.
const QUEUE: usize = 4_096;

enum Job {
    Fire(Arc<dyn Attached>, Event),
    Act {
        stream: Arc<StreamHandle>,
        action: CallAction,
        call_id: String,
    },
    /// Look whether the stream's call is on hold.
    Look(Arc<StreamHandle>),
    Detach(Arc<dyn Attached>),
}

impl Job {
    fn attached(&self) -> &dyn Attached {
        match self {
            Self::Fire(attached, _) | Self::Detach(attached) => attached.as_ref(),
            Self::Act { stream, .. } | Self::Look(stream) => stream.as_ref(),
        }
    }
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    dropped: u64,
    limit: RateLimit,
    stopping: bool,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

/// A queue and the thread that works it off.
struct Lane {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// The event threads.
pub struct EventThread {
    events: Lane,
    calls: Lane,
}

impl EventThread {
    /// Starts both threads. An error means that one could not be made; then neither is left.
    pub fn start(host: Arc<dyn Host>) -> std::io::Result<Self> {
        let events = Lane::start(EVENTS, host.clone())?;
        match Lane::start(CALLS, host) {
            Ok(calls) => Ok(Self { events, calls }),
            Err(error) => {
                events.stop();
                Err(error)
            }
        }
    }

    /// Events and commands dropped because a queue was full.
    pub fn dropped(&self) -> u64 {
        self.events.shared.state.lock().dropped + self.calls.shared.state.lock().dropped
    }

    /// Has the event thread look whether the stream's call is on hold, unless it is to look already.
    pub fn look(&self, stream: &Arc<StreamHandle>) {
        if stream.hold.ask() {
            // There is one at most for each stream, so that they need no bound.
            self.events.queue(Job::Look(stream.clone()), true);
        }
    }

    /// Does what is queued, ends the threads and waits for them.
    pub fn stop(&self) {
        // In this order: what is done to a call may have an event.
        self.calls.stop();
        self.events.stop();
    }
}

impl Lane {
    fn start(name: &'static str, host: Arc<dyn Host>) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let of_thread = shared.clone();
        let thread = std::thread::Builder::new().name(name.into()).spawn(move || {
            host.thread_started(name);
            run(&of_thread, host.as_ref());
        })?;
        Ok(Self { shared, thread: Mutex::new(Some(thread)) })
    }

    fn stop(&self) {
        self.shared.state.lock().stopping = true;
        self.shared.changed.notify_one();
        if let Some(thread) = self.thread.lock().take() {
            // A panic of the thread was reported by the panic hook.
            let _ = thread.join();
        }
    }

    fn queue(&self, job: Job, always: bool) {
        let mut state = self.shared.state.lock();
        if state.jobs.len() >= QUEUE && !always {
            state.dropped += 1;
            if state.limit.due(Instant::now()).is_some() {
                let dropped = state.dropped;
                drop(state);
                tracing::warn!(target: "LIFECYCLE", call = %job.attached().call(), op = "event", outcome = "dropped", dropped,
                    advice = "FreeSWITCH takes events too slowly");
            }
            return;
        }
        state.jobs.push_back(job);
        self.shared.changed.notify_one();
    }
}

impl<A: Attached> Sink<A> for EventThread {
    fn emit(&self, attached: &Arc<A>, event: Event) {
        let always = event.is_final();
        self.events.queue(Job::Fire(attached.clone(), event), always);
    }

    fn detach(&self, attached: &Arc<A>) {
        self.calls.queue(Job::Detach(attached.clone()), true);
    }
}

impl EventSink for EventThread {
    fn act(&self, stream: &Arc<StreamHandle>, action: CallAction, call_id: String) {
        // Bounded as events are: of a server that asks for more than can be done, the excess is dropped.
        self.calls.queue(Job::Act { stream: stream.clone(), action, call_id }, false);
    }
}

/// Does what the server wants done to the call, and tells it how that went where it asked by a function call.
fn act(host: &dyn Host, stream: &Arc<StreamHandle>, action: &CallAction, call_id: String) {
    let done = match action {
        CallAction::SendDtmf { digits } if pauses(digits) > MOST_PAUSE => {
            Err(format!("pauses of more than {} s in it", MOST_PAUSE.as_secs()))
        }
        _ => host.act(stream.call(), action),
    };
    if let Err(reason) = &done {
        tracing::warn!(target: "LIFECYCLE", call = %stream.call(), op = "call_action", outcome = "failed",
            stream = %stream.name(), action = %action, reason);
    }
    if !call_id.is_empty() {
        let output = match done {
            Ok(()) => r#"{"ok":true}"#.to_owned(),
            Err(why) => serde_json::json!({ "ok": false, "error": why }).to_string(),
        };
        // A stream that has ended needs no answer, and one that is overwhelmed gives the function call up in time.
        let _ = stream.command(StreamCommand::ToolResult { call_id, output });
    }
}

/// How long the pauses of these digits last: half a second for each `w`, a second for each `W`.
fn pauses(digits: &str) -> Duration {
    let ms = |key| match key {
        'w' => 500,
        'W' => 1_000,
        _ => 0,
    };
    Duration::from_millis(digits.chars().map(ms).sum())
}

fn run(shared: &Shared, host: &dyn Host) {
    loop {
        let mut state = shared.state.lock();
        let job = loop {
            if let Some(job) = state.jobs.pop_front() {
                break job;
            }
            if state.stopping {
                return;
            }
            shared.changed.wait(&mut state);
        };
        drop(state);
        // Work that a panic interrupts belongs to that job alone, and the panic hook has reported it. All calls need this
        // thread.
        let _ = catch_unwind(AssertUnwindSafe(|| perform(host, job)));
    }
}

fn perform(host: &dyn Host, job: Job) {
    match job {
        Job::Fire(attached, event) => {
            host.fire(&event.render(attached.call(), attached.name()), attached.channel());
        }
        Job::Act { stream, action, call_id } => act(host, &stream, &action, call_id),
        Job::Look(stream) => stream.looked(host.is_held(stream.call()), Instant::now()),
        Job::Detach(attached) => attached.detach(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::call::{AttachmentId, ChannelSnapshot};
    use crate::event::{FsEvent, Record};
    use crate::media::tap_ring;
    use crate::record::RecordingHandle;
    use crate::runtime::host::{Call, SilenceWriter, Written};
    use crate::tts::{Programs, Started};
    use crate::units::{CallId, SampleRate, StreamName};

    /// A switch that panics with the first event.
    #[derive(Default)]
    struct Fragile {
        fired: Mutex<u32>,
    }

    impl Host for Fragile {
        fn locate(&self, _id: &CallId) -> Option<Box<dyn Call + '_>> {
            None
        }

        fn thread_started(&self, _name: &str) {}

        fn media_thread_started(&self, _name: &str) {}

        fn fire(&self, _event: &FsEvent, _snapshot: Option<&dyn ChannelSnapshot>) {
            let fired = {
                let mut fired = self.fired.lock();
                *fired += 1;
                *fired
            };
            assert!(fired > 1, "on purpose");
        }

        fn act(&self, _call: &CallId, _action: &CallAction) -> Result<(), String> {
            Ok(())
        }

        fn is_held(&self, _call: &CallId) -> bool {
            false
        }

        fn silence_writer(&self) -> Box<dyn SilenceWriter> {
            Box::new(Nothing)
        }

        fn programs(&self) -> Arc<dyn Programs> {
            Arc::new(Nothing)
        }
    }

    struct Nothing;

    impl SilenceWriter for Nothing {
        fn write(&mut self, _call: &CallId) -> Written {
            Written::Gone
        }
    }

    impl Programs for Nothing {
        fn start(&self, _argv: &[String]) -> std::io::Result<Started> {
            Err(std::io::ErrorKind::Unsupported.into())
        }
    }

    #[test]
    fn an_event_that_panics_costs_none_of_the_others() {
        let host = Arc::new(Fragile::default());
        let events = EventThread::start(host.clone()).unwrap();
        let rate = SampleRate::HZ_8000;
        let taps = [(); 2].map(|()| tap_ring(800, Instant::now()).2);
        let key = (CallId::new("call"), StreamName::default());
        let recording =
            RecordingHandle::new(AttachmentId(1), key, PathBuf::from("/r/a.wav"), rate, Instant::now(), taps);
        for _ in 0..3 {
            let started = Record::Started { file: "/r/a.wav".to_owned(), rate };
            events.emit(&recording, started.into());
        }
        events.stop();
        assert_eq!(*host.fired.lock(), 3);
    }
}
