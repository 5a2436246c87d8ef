//! What waits for FreeSWITCH: events that are fired, actions of servers on their calls, media bugs to be taken off calls.
//!
//! All of it may wait for FreeSWITCH's locks, which a worker must not. Events have a thread; actions, which may last (a call
//! that hangs, a disk), have a small pool. A pause between digits is a time at which the rest of them is due, and no thread waits for
//! it. Each stream and recording has a share of the queue for events, each
//! call one of the pool's, and the shares are served in turn: a server that floods fills its own share. What does not fit is
//! dropped, counted and reported, except final events and detaching, for which there is always room.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::ending::Ending;
use super::fair::{Job, Limits};
use super::host::Host;
use super::lane::{Design, Dropped, Lane, Left};
use crate::call::{Attached, Attachment, Sink};
use crate::event::{Breaker, Event};
use crate::peer;
use crate::stream::action::{CallAction, HandOver, Rest, pauses};
use crate::stream::handle::{EventSink, StreamCommand, StreamHandle};
use crate::transport::{BreakerChange, BreakerWatch};
use crate::units::{CallId, fault};

/// Longest pauses in one command of DTMF: meanwhile the call's other actions wait.
const MOST_PAUSE: Duration = Duration::from_secs(5);
/// One thread: events of one stream keep their order, and firing one takes microseconds. A stream's share is what a server may
/// send in a second.
const EVENTS: Design =
    Design { name: "mas-events", threads: 1, slow: 1, limits: Limits { jobs: 1_024, bytes: 4 << 20 } };
/// Kept for the last events when the module ends and a call hangs.
const FOR_EVENTS: Duration = Duration::from_millis(300);
/// Two of the threads are never in work for a disk.
const CALLS: Design = Design { name: "mas-calls", threads: 4, slow: 2, limits: Limits { jobs: 64, bytes: 1 << 20 } };

/// What the event thread does for a stream or recording.
enum EventJob {
    Fire(Arc<dyn Attached>, Event),
    /// Look whether the stream's call is on hold.
    Look(Arc<StreamHandle>),
    /// A server's breaker has changed.
    Breaker(BreakerChange),
}

impl EventJob {
    fn attached(&self) -> Option<&dyn Attached> {
        match self {
            Self::Fire(attached, _) => Some(attached.as_ref()),
            Self::Look(stream) => Some(stream.as_ref()),
            Self::Breaker(_) => None,
        }
    }
}

impl Job for EventJob {
    /// Where the attachment is: it stays there while an event of it waits. What is of none has a share, too.
    type Owner = usize;

    fn owner(&self) -> usize {
        self.attached().map_or(0, |attached| std::ptr::from_ref::<Attachment>(attached).addr())
    }

    fn call(&self) -> Option<CallId> {
        self.attached().map(|attached| attached.call().clone())
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Fire(_, event) => event.bytes(),
            Self::Look(_) | Self::Breaker(_) => 0,
        }
    }

    fn is_urgent(&self) -> bool {
        match self {
            Self::Fire(_, event) => event.is_alarm(),
            Self::Look(_) => true,
            Self::Breaker(_) => false,
        }
    }

    fn is_owed(&self) -> bool {
        match self {
            Self::Fire(_, event) => event.is_final(),
            // There is one at most for each stream.
            Self::Look(_) => true,
            Self::Breaker(_) => false,
        }
    }
}

/// Something to be done to a call.
enum CallJob {
    Act {
        stream: Arc<StreamHandle>,
        action: CallAction,
        call_id: String,
    },
    Detach(Arc<dyn Attached>),
    /// Work for a call that may wait for a disk.
    Work(CallId, Work),
}

/// Anything that is done once.
pub(super) type Work = Box<dyn FnOnce() + Send>;

impl Job for CallJob {
    type Owner = CallId;

    fn owner(&self) -> CallId {
        match self {
            Self::Act { stream, .. } => stream.call().clone(),
            Self::Detach(attached) => attached.call().clone(),
            Self::Work(call, _) => call.clone(),
        }
    }

    fn call(&self) -> Option<CallId> {
        Some(self.owner())
    }

    /// A stream that ends does not wait for what it has asked for.
    fn is_urgent(&self) -> bool {
        matches!(self, Self::Detach(_))
    }

    /// Of work for a disk there are no more than starts that wait.
    fn is_owed(&self) -> bool {
        matches!(self, Self::Detach(_) | Self::Work(..))
    }

    fn is_slow(&self) -> bool {
        matches!(self, Self::Work(..))
    }
}

/// The threads that events and actions on calls wait for.
pub struct EventThread {
    events: Lane<EventJob>,
    calls: Lane<CallJob>,
}

impl EventThread {
    /// Starts the threads. An error means that one could not be made; then none is left.
    pub fn start(host: Arc<dyn Host>) -> std::io::Result<Self> {
        let events = Lane::start(EVENTS, &host, of_event)?;
        match Lane::start(CALLS, &host, perform) {
            Ok(calls) => Ok(Self { events, calls }),
            Err(error) => {
                events.stop(&Ending::within(Duration::from_secs(1)), Duration::ZERO);
                Err(error)
            }
        }
    }

    /// Events and actions dropped because a share was full.
    pub fn dropped(&self) -> u64 {
        self.events.dropped() + self.calls.dropped()
    }

    /// Has the event thread look whether the stream's call is on hold, unless it is to look already.
    pub fn look(&self, stream: &Arc<StreamHandle>) {
        if stream.hold.ask() {
            // There is always room for it.
            let _ = self.events.queue(EventJob::Look(stream.clone()));
        }
    }

    /// Has the pool for calls do work that may wait for a disk. Never waits; there is always room for it.
    pub(super) fn work(&self, call: &CallId, work: Work) {
        let _ = self.calls.queue(CallJob::Work(call.clone(), work));
    }

    /// Does what is queued and ends the threads. What hangs is left and named.
    pub(super) fn stop(&self, ending: &Ending) {
        // In this order: what is done to a call may have an event.
        self.calls.stop(ending, FOR_EVENTS);
        self.events.stop(ending, Duration::ZERO);
    }
}

impl<A: Attached> Sink<A> for EventThread {
    fn emit(&self, attached: &Arc<A>, event: Event) {
        if let Err(Dropped { total, due: true }) = self.events.queue(EventJob::Fire(attached.clone(), event)) {
            tracing::warn!(target: "LIFECYCLE", call = %attached.call(), op = "event", outcome = "dropped",
                stream = %attached.name(), total,
                advice = "the server causes more events than FreeSWITCH takes; those of other streams are not affected");
        }
    }

    fn detach(&self, attached: &Arc<A>) {
        // There is always room for it.
        let _ = self.calls.queue(CallJob::Detach(attached.clone()));
    }
}

impl BreakerWatch for EventThread {
    fn changed(&self, change: BreakerChange) {
        // A change that finds no room is in `breakers`, and the next one follows.
        let _ = self.events.queue(EventJob::Breaker(change));
    }
}

impl EventSink for EventThread {
    fn act(&self, stream: &Arc<StreamHandle>, action: CallAction, call_id: String) {
        let job = CallJob::Act { stream: stream.clone(), action, call_id };
        if let Err(Dropped { total, due: true }) = self.calls.queue(job) {
            tracing::warn!(target: "LIFECYCLE", call = %stream.call(), op = "call_action", outcome = "dropped",
                stream = %stream.name(), total, advice = "the server asks for more than can be done to the call");
        }
    }
}

fn of_event(host: &dyn Host, job: EventJob) -> Option<Left<EventJob>> {
    match job {
        EventJob::Fire(attached, event) => {
            let fired = catch_unwind(AssertUnwindSafe(|| {
                if matches!(event, Event::Json(_)) {
                    fault::point(attached.name(), "event");
                }
                host.fire(&event.render(attached.call(), attached.name()), attached.channel());
            }));
            if fired.is_err() {
                attached.panicked();
            }
        }
        EventJob::Look(stream) => stream.looked(host.hold(stream.call()), Instant::now()),
        EventJob::Breaker(change) => {
            let (server, kind) = (&change.place, change.kind.as_str());
            let wait_ms = change.wait.unwrap_or_default().as_millis() as u64;
            tracing::warn!(target: "WS_STREAM", op = "breaker", outcome = change.state.as_str(), server, kind,
                failures = change.failures, wait_ms, cause = change.cause.as_str());
            host.fire(&Event::from(Breaker::from(change)).render_alone(), None);
        }
    }
    None
}

fn perform(host: &dyn Host, job: CallJob) -> Option<Left<CallJob>> {
    match job {
        CallJob::Act { stream, action, call_id } => return act(host, stream, &action, call_id),
        CallJob::Detach(attached) => attached.detach(),
        CallJob::Work(_, work) => work(),
    }
    None
}

/// Does what the server wants done to the call, up to its first pause. A server that asked by a function call gets its result
/// once all is done.
fn act(host: &dyn Host, stream: Arc<StreamHandle>, action: &CallAction, call_id: String) -> Option<Left<CallJob>> {
    let done = match action {
        CallAction::SendDtmf { digits } if pauses(digits) > MOST_PAUSE => {
            Err(format!("pauses of more than {} s in it", MOST_PAUSE.as_secs()))
        }
        _ => host.act(stream.call(), stream.name(), action),
    };
    if let Ok(Some(Rest { after, action })) = done {
        return Some(Left { after, job: CallJob::Act { stream, action, call_id } });
    }
    if let Err(reason) = &done {
        tracing::warn!(target: "LIFECYCLE", call = %stream.call(), op = "call_action", outcome = "failed",
            stream = %stream.name(), action = %action, reason);
    }
    let told_later = done.is_ok() && matches!(action, CallAction::HandOver(HandOver { announced: true, .. }));
    if !call_id.is_empty() && !told_later {
        let output = match done {
            Ok(_) => peer::DONE.to_owned(),
            Err(why) => serde_json::json!({ "ok": false, "error": why }).to_string(),
        };
        // A stream that has ended needs no answer, and one that is overwhelmed gives the function call up in time.
        let _ = stream.command(StreamCommand::ToolResult { call_id, output });
    }
    None
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use std::path::PathBuf;
    use std::sync::mpsc;

    use parking_lot::{Mutex, RwLock, RwLockReadGuard};

    use super::*;
    use crate::call::{AttachmentId, ChannelSnapshot};
    use crate::event::{FsEvent, HoldCause, Json, Overflow, Queue, Record, Severity};
    use crate::media::capture_ring;
    use crate::media::link::MediaLink;
    use crate::media::{playout_ring, tap_ring};
    use crate::record::RecordingHandle;
    use crate::runtime::host::{Call, Purpose, SilenceWriter, Written};
    use crate::stream::action::until_pause;
    use crate::stream::options::StreamOptions;
    use crate::stream::spec::{EndpointUrl, StreamSpec};
    use crate::telemetry::metrics::{AllSeries, SeriesKey};
    use crate::tts::{Programs, Started};
    use crate::units::{SampleRate, StreamName};

    const PATIENCE: Duration = Duration::from_secs(30);

    /// A switch that panics with its first event, and can be held up.
    #[derive(Default)]
    struct Switch {
        panics: Mutex<bool>,
        /// Held by a test, no event is fired and nothing is done to the calls named `hung`.
        gate: RwLock<()>,
        fired: Mutex<Vec<FsEvent>>,
        acted: Mutex<Option<mpsc::Sender<String>>>,
    }

    impl Host for Switch {
        fn locate(&self, _id: &CallId) -> Option<Box<dyn Call + '_>> {
            None
        }

        fn thread_started(&self, _name: &str) {}

        fn media_thread_started(&self, _name: &str) {}

        fn fire(&self, event: &FsEvent, _snapshot: Option<&dyn ChannelSnapshot>) {
            let _open: RwLockReadGuard<'_, ()> = self.gate.read();
            self.fired.lock().push(event.clone());
            assert!(!std::mem::take(&mut *self.panics.lock()), "on purpose");
        }

        fn act(&self, call: &CallId, _stream: &StreamName, action: &CallAction) -> Result<Option<Rest>, String> {
            if call.as_str().starts_with("hung") {
                let _open = self.gate.read();
            }
            let (what, rest) = match action {
                CallAction::SendDtmf { digits } => {
                    let (digits, rest) = until_pause(digits);
                    (digits.to_owned(), rest)
                }
                action => (action.to_string(), None),
            };
            if let Some(acted) = &*self.acted.lock() {
                acted.send(format!("{call}: {what}")).unwrap();
            }
            Ok(rest)
        }

        fn hold(&self, _call: &CallId) -> Option<HoldCause> {
            None
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
        fn write(&mut self, _call: &CallId, _purpose: Purpose) -> Written {
            Written::Gone
        }
    }

    impl Programs for Nothing {
        fn start(&self, _argv: &[String]) -> std::io::Result<Started> {
            Err(std::io::ErrorKind::Unsupported.into())
        }
    }

    fn recording(call: &str) -> Arc<RecordingHandle> {
        let taps = [(); 2].map(|()| tap_ring(800, Instant::now()).2);
        let key = (CallId::new(call), StreamName::default());
        let rate = SampleRate::HZ_8000;
        RecordingHandle::new(AttachmentId(1), key, PathBuf::from("/r/a.wav"), rate, Instant::now(), taps)
    }

    fn started() -> Event {
        Record::Started { file: "/r/a.wav".to_owned(), rate: SampleRate::HZ_8000 }.into()
    }

    fn stream(call: &str) -> Arc<StreamHandle> {
        let spec = StreamSpec {
            call: CallId::new(call),
            name: StreamName::default(),
            profile: None,
            endpoint: EndpointUrl::parse("ws://127.0.0.1:1/").unwrap(),
            metadata: None,
            options: StreamOptions::default(),
        };
        let (capture, playout) = (capture_ring(160).2, playout_ring(SampleRate::HZ_8000, 160).2);
        let key = SeriesKey { protocol: "native", profile: "none".into(), server: "ws://127.0.0.1:1".into() };
        let series = AllSeries::default().of(key);
        StreamHandle::new(AttachmentId(1), spec, Arc::new(MediaLink::new(capture, playout)), series).0
    }

    #[test]
    fn an_event_that_panics_costs_none_of_the_others() {
        let host = Arc::new(Switch::default());
        *host.panics.lock() = true;
        let events = EventThread::start(host.clone()).unwrap();
        let recording = recording("call");
        for _ in 0..3 {
            events.emit(&recording, started());
        }
        events.stop(&Ending::within(PATIENCE));
        assert_eq!(host.fired.lock().len(), 3);
    }

    #[test]
    fn a_flood_of_events_fills_its_own_share_and_delays_no_other() {
        let host = Arc::new(Switch::default());
        let events = EventThread::start(host.clone()).unwrap();
        let (flooding, innocent) = (stream("flooding"), stream("innocent"));
        let closed = host.gate.write();
        for number in 0..3_000 {
            events.emit(&flooding, Json(number.to_string().into()).into());
        }
        let alarm = Overflow {
            queue: Queue::Inject,
            severity: Severity::Warning,
            drops: 1,
            dropped_ms: 20,
            total_dropped_ms: 20,
        };
        events.emit(&flooding, alarm.into());
        events.emit(&flooding, crate::event::Disconnect { code: 1_000, reason: "".into() }.into());
        events.emit(&innocent, Json("1".into()).into());
        events.emit(&innocent, Json("2".into()).into());
        // One may be with the switch already.
        let dropped = events.dropped();
        assert!((3_000 - 1_025..=3_000 - 1_024).contains(&dropped), "{dropped} are dropped");
        drop(closed);
        events.stop(&Ending::within(PATIENCE));
        let fired = host.fired.lock();
        let kind = |event: &FsEvent| event.subclass.trim_start_matches("mod_audio_stream::").to_owned();
        let place = |wanted: &dyn Fn(&FsEvent) -> bool| fired.iter().position(wanted).unwrap();
        let is_innocent = |event: &FsEvent| event.call.as_ref().is_some_and(|call| call.as_str() == "innocent");
        let of_innocent: Vec<_> = fired.iter().filter(|event| is_innocent(event)).collect();
        assert_eq!(of_innocent.len(), 2);
        assert!(place(&|event| event.body.as_deref() == Some("2") && is_innocent(event)) < 10);
        assert!(place(&|event| kind(event) == "overflow") < 5, "an alarm does not wait behind texts");
        assert_eq!(kind(fired.last().unwrap()), "disconnect", "the last event of a stream stays the last");
    }

    #[test]
    fn a_share_of_long_texts_is_bounded_in_bytes() {
        let host = Arc::new(Switch::default());
        let events = EventThread::start(host.clone()).unwrap();
        let stream = stream("long");
        let closed = host.gate.write();
        for _ in 0..100 {
            events.emit(&stream, Json("x".repeat(1 << 20).into()).into());
        }
        drop(closed);
        events.stop(&Ending::within(PATIENCE));
        // Each is cut to 256 KiB, and 4 MiB of them wait at most, besides the one that is being fired.
        let fired = host.fired.lock().len();
        assert!((16..=17).contains(&fired), "{fired}");
    }

    #[test]
    fn calls_that_hang_delay_nothing_that_is_done_to_others() {
        let host = Arc::new(Switch::default());
        let (acted, done) = mpsc::channel();
        *host.acted.lock() = Some(acted);
        let threads = EventThread::start(host.clone()).unwrap();
        let closed = host.gate.write();
        let hung = stream("hung");
        for _ in 0..3 {
            threads.act(&hung, CallAction::HangUp, String::new());
        }
        let innocent = stream("innocent");
        threads.act(&innocent, CallAction::HangUp, String::new());
        assert_eq!(done.recv_timeout(PATIENCE).unwrap(), "innocent: hang up the call");
        drop(closed);
        threads.stop(&Ending::within(PATIENCE));
        assert_eq!(done.try_iter().count(), 3, "what hung is done in the end");
    }

    #[test]
    fn pauses_of_dtmf_keep_their_calls_order_and_no_thread() {
        let host = Arc::new(Switch::default());
        let (acted, done) = mpsc::channel();
        *host.acted.lock() = Some(acted);
        let threads = EventThread::start(host.clone()).unwrap();
        let calls: Vec<_> = (0..20).map(|number| stream(&format!("call-{number}"))).collect();
        for stream in &calls {
            threads.act(stream, CallAction::SendDtmf { digits: "1W2".into() }, String::new());
            threads.act(stream, CallAction::HangUp, String::new());
        }
        let order: Vec<_> = (0..3 * calls.len()).map(|_| done.recv_timeout(PATIENCE).unwrap()).collect();
        // Four threads that waited for the pauses would have sent the second key of some calls before the first one of others.
        assert!(order[..calls.len()].iter().all(|what| what.ends_with(": 1")), "{order:?}");
        for stream in &calls {
            let of_call = order.iter().filter_map(|what| what.strip_prefix(&format!("{}: ", stream.call())));
            assert_eq!(of_call.collect::<Vec<_>>(), ["1", "2", "hang up the call"]);
        }
        threads.act(&calls[0], CallAction::SendDtmf { digits: "3W4".into() }, String::new());
        assert_eq!(done.recv_timeout(PATIENCE).unwrap(), "call-0: 3");
        let ending = Ending::within(PATIENCE);
        threads.stop(&ending);
        assert_eq!(ending.left(), ["the rest of 1 jobs of thread mas-calls that paused"], "nobody waits for a pause");
        assert_eq!(done.try_iter().count(), 0);
    }

    #[test]
    fn an_unload_leaves_calls_that_hang_and_names_them() {
        let host = Arc::new(Switch::default());
        let threads = EventThread::start(host.clone()).unwrap();
        let closed = host.gate.write();
        let (hung, innocent) = (stream("hung"), stream("innocent"));
        for _ in 0..3 {
            threads.act(&hung, CallAction::HangUp, String::new());
        }
        let taken = || threads.calls.waiting() == 2;
        while !taken() {
            std::thread::yield_now();
        }
        threads.detach(&innocent);
        let ending = Ending::within(Duration::from_secs(1));
        threads.stop(&ending);
        assert_eq!(ending.left(), ["thread mas-calls at call hung", "2 jobs of thread mas-calls"]);
        drop(closed);
    }
}
