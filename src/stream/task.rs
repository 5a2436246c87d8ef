//! The task of one stream: the one loop that drives protocol, connection, capture and playback.
//!
//! Runs on the stream's shard from start to end and owns everything of the stream but the media bug's halves. It sleeps until
//! its doorbell (a message captured, room for playback, the bug's end), its mailbox, its socket or a deadline wakes it, handles
//! that one thing, and passes on what follows from it. What is bounded: captured audio waiting for the socket
//! (`max_queue_ms`, oldest first out), playback waiting for the caller (`inject_buffer_ms`), orders (the mailbox).
//!
//! A stream ends in this order: capture is drained to its last sample, the connection is closed, what the far end had sent
//! is played to its end, the media bug leaves the call. One `disconnect` event is the last of every stream.

mod conversation;

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::time::Sleep;

use super::action::{CallAction, Grant};
use super::ai::{Ears, Talk};
use super::capture::Capture;
use super::handle::{EventSink, Order, StreamHandle};
use super::playback::{Decoded, Happened, Playback};
use super::spec::EndpointUrl;
use super::state::StreamState;
use crate::event::{
    Connect, Disconnect, Dtmf, Error, Event, Json, Overflow, Play, Playback as Played, Queue, Severity, Underrun,
};
use crate::inject::{Injector, OverflowAlarm, PlayOutcome, PlaybackEvent};
use crate::media::keys::KEPT;
use crate::media::{CaptureReader, Key};
use crate::protocol::{Fault, Input, MarkId, Output, ProtocolEvent, Request};
use crate::telemetry::rate_limit::RateLimit;
use crate::transport::{
    ABNORMAL_CLOSE, Attempt, BreakerKind, Breakers, ConnectError, ConnectOptions, Connection, ErrorCode, Incoming,
    Outbox, OutboxLimits, Payload, TlsProfiles, connect,
};
use crate::tts::SpeechEvent;

/// How long a stopped stream waits for the last captured frames, which the API thread's removal of the bug ends.
const BUG_CLOSE: Duration = Duration::from_millis(500);
/// How long the far end has for its side of the close; the connection itself gives up after two seconds.
const CLOSE: Duration = Duration::from_secs(5);
/// How long the end of playback may take beyond what is buffered: a channel on hold takes no frames.
const PLAYOUT_SLACK: Duration = Duration::from_secs(1);
/// Characters of a received text that the log shows.
const LOGGED_TEXT: usize = 200;
/// A text of a conversation that is longer is audio, or as little to be read.
const LONGEST_LOGGED: usize = 1_000;
/// Texts ordered before the connection is up that are kept for it.
const EARLY_TEXTS: usize = 64;
/// The close code of a connection that ends as it should.
const NORMAL_CLOSE: u16 = 1_000;

/// What a stream's task is made of.
pub struct Parts {
    /// The stream as others see it.
    pub handle: Arc<StreamHandle>,
    /// The mailbox.
    pub orders: mpsc::Receiver<Order>,
    /// Where events go.
    pub sink: Arc<dyn EventSink>,
    /// What is captured.
    pub capture: CaptureReader,
    /// What is played.
    pub injector: Injector,
    /// What is done to captured audio first.
    pub ears: Ears,
    /// What is said on the connection.
    pub protocol: Talk,
    /// How it is reached.
    pub connect: ConnectOptions,
    /// TLS configurations, shared by all streams.
    pub tls: TlsProfiles,
    /// What keeps streams from servers that fail, shared by all.
    pub breakers: Arc<Breakers>,
}

/// Runs a stream from its connection to its end.
///
/// Boxed, since a future within a future would hold the task twice.
pub fn run(parts: Parts) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    let (handle, sink) = (parts.handle.clone(), parts.sink.clone());
    let task = Box::new(Task::new(parts));
    Box::pin(supervise(task, handle, sink))
}

/// Runs the task and, however it ends, takes the stream off its call.
async fn supervise(task: Box<Task>, handle: Arc<StreamHandle>, sink: Arc<dyn EventSink>) {
    let whole = futures_util::FutureExt::catch_unwind(std::panic::AssertUnwindSafe(task.run())).await;
    let error = whole.unwrap_or_else(|_| {
        let message = "the stream's task failed inside of the module; the call goes on without it".to_owned();
        sink.emit(&handle, Error::new(ErrorCode::Protocol, &*message).into());
        sink.emit(&handle, handle.spec.options.mode.last_event(ABNORMAL_CLOSE, &message));
        message
    });
    handle.media.leave();
    if !handle.is_bug_closed() {
        sink.detach(&handle);
    }
    handle.finish(error);
}

/// Where the stream's own life stands.
enum Phase {
    Connecting,
    Open,
    /// Told to end; waits for the last captured frame.
    Draining {
        text: Option<String>,
        until: Instant,
    },
    /// The close has been sent; waits for the far end's.
    Closing {
        until: Instant,
    },
    /// The connection is gone; what had been received is played.
    PlayingOut {
        until: Instant,
    },
    Over,
}

/// What woke the task.
enum Turn {
    Order(Option<Order>),
    Doorbell,
    Connected(Box<Result<Connection, ConnectError>>),
    Incoming(Incoming),
    Decoded(Decoded),
    Spoken(SpeechEvent),
    Parted,
    Deadline,
}

/// What a connection is made with.
struct Dial {
    endpoint: EndpointUrl,
    how: ConnectOptions,
    tls: TlsProfiles,
}

impl Dial {
    fn connect(self: &Arc<Self>) -> Connecting {
        let dial = self.clone();
        Box::pin(async move { connect(dial.endpoint.endpoint(), &dial.how, &dial.tls).await })
    }
}

type Parting = Pin<Box<dyn Future<Output = ()> + Send>>;
type Connecting = Pin<Box<dyn Future<Output = Result<Connection, ConnectError>> + Send>>;

struct Task {
    handle: Arc<StreamHandle>,
    orders: mpsc::Receiver<Order>,
    sink: Arc<dyn EventSink>,
    capture: Capture,
    playback: Playback,
    protocol: Talk,
    /// How to connect, and to connect again.
    dial: Arc<Dial>,
    breakers: Arc<Breakers>,
    /// What the breaker is to be told of: until the connection is up, of a conversation until the session is.
    attempt: Option<Attempt>,
    connecting: Option<Connecting>,
    connection: Option<Connection>,
    outbox: Outbox,
    /// The last connection, on its way to its close beside the next one.
    parting: Option<Parting>,
    /// Ordered before the connection was up; they follow the metadata.
    early_texts: Vec<String>,
    /// Pressed before it was up.
    early_keys: VecDeque<Key>,
    phase: Phase,
    /// Why the stream ends, for the final event.
    reason: &'static str,
    /// It ends because the call did.
    call_ended: bool,
    error: String,
    faults: RateLimit,
    restarts: RateLimit,
    drops: Drops,
    underruns: Underruns,
    /// Speech of an agent that had no room.
    unplayed: Drops,
    summary_at: Option<Instant>,
}

impl Task {
    fn new(parts: Parts) -> Self {
        let Parts { handle, orders, sink, capture, injector, ears, protocol, connect: how, tls, breakers } = parts;
        let options = &handle.spec.options;
        let limits = OutboxLimits {
            max_audio: Duration::from_millis(u64::from(options.max_queue_ms)),
            ..OutboxLimits::default()
        };
        let summary = (options.log_every_ms > 0).then(|| Duration::from_millis(u64::from(options.log_every_ms)));
        let dial = Arc::new(Dial { endpoint: handle.spec.endpoint.clone(), how, tls });
        // A conversation asks for its connections itself, and is open to the call from its start to its end.
        let waits = !protocol.is_conversation();
        let playback = Playback::new(injector, options);
        let capture = Capture::new(capture, handle.media.capture.clone(), options, protocol.capture(), ears);
        Self {
            outbox: Outbox::new(limits),
            summary_at: summary.map(|every| Instant::now() + every),
            handle,
            orders,
            sink,
            capture,
            playback,
            protocol,
            breakers,
            attempt: None,
            connecting: None,
            dial,
            connection: None,
            parting: None,
            early_texts: Vec::new(),
            early_keys: VecDeque::new(),
            phase: if waits { Phase::Connecting } else { Phase::Open },
            reason: "",
            call_ended: false,
            error: String::new(),
            faults: RateLimit::default(),
            restarts: RateLimit::default(),
            drops: Drops::default(),
            underruns: Underruns::default(),
            unplayed: Drops::default(),
        }
    }

    /// The loop. Returns the error the stream ended with, empty for none.
    async fn run(mut self: Box<Self>) -> String {
        let mut timer = pin!(tokio::time::sleep_until(Instant::now().into()));
        let mut timer_at = None;
        self.begin(Instant::now());
        loop {
            self.settle(Instant::now());
            if matches!(self.phase, Phase::Over) {
                return self.error;
            }
            set_timer(timer.as_mut(), &mut timer_at, self.deadline());
            let turn = self.next_turn(timer.as_mut(), timer_at.is_some()).await;
            if matches!(turn, Turn::Deadline) {
                timer_at = None;
            }
            self.take(turn, Instant::now());
        }
    }

    async fn next_turn(&mut self, timer: Pin<&mut Sleep>, timed: bool) -> Turn {
        let Self { handle, orders, connecting, connection, outbox, playback, parting, protocol, .. } = self;
        tokio::select! {
            biased;
            order = orders.recv() => Turn::Order(order),
            () = handle.doorbell.notified() => Turn::Doorbell,
            result = poll_fn(|cx| match connecting {
                Some(connecting) => connecting.as_mut().poll(cx),
                None => std::task::Poll::Pending,
            }) => Turn::Connected(Box::new(result)),
            incoming = poll_fn(|cx| match connection {
                Some(connection) => {
                    let driven = connection.poll_drive(cx, outbox);
                    handle.counters.sent(&outbox.stats());
                    driven
                }
                None => std::task::Poll::Pending,
            }) => Turn::Incoming(incoming),
            decoded = poll_fn(|cx| playback.poll_decoded(cx)) => Turn::Decoded(decoded),
            spoken = poll_fn(|cx| protocol.poll_speech(cx)) => Turn::Spoken(spoken),
            () = poll_fn(|cx| match parting {
                Some(parting) => parting.as_mut().poll(cx),
                None => std::task::Poll::Pending,
            }) => Turn::Parted,
            () = timer, if timed => Turn::Deadline,
        }
    }

    fn deadline(&self) -> Option<Instant> {
        let phase = match &self.phase {
            Phase::Draining { until, .. } | Phase::Closing { until } | Phase::PlayingOut { until } => Some(*until),
            _ => None,
        };
        let protocol = self.speaks().then(|| self.protocol.deadline()).flatten();
        [phase, protocol, self.playback.deadline(), self.summary_at].into_iter().flatten().min()
    }

    /// Whether the protocol may still have something to say, if only the close.
    fn speaks(&self) -> bool {
        let open = matches!(self.phase, Phase::Open | Phase::Draining { .. } | Phase::Closing { .. });
        open && (self.connection.is_some() || self.protocol.is_conversation())
    }

    fn take(&mut self, turn: Turn, now: Instant) {
        match turn {
            Turn::Order(Some(order)) => self.obey(order, now),
            // The handle holds the sender and this task holds the handle.
            Turn::Order(None) | Turn::Doorbell => {}
            Turn::Connected(result) => match *result {
                Ok(connection) => self.connected(connection, now),
                Err(error) => self.not_connected(&error, now),
            },
            Turn::Incoming(incoming) => self.received(incoming, now),
            Turn::Decoded(decoded) => self.playback.decoded(now, decoded),
            Turn::Spoken(spoken) => self.spoken(spoken, now),
            Turn::Parted => self.parting = None,
            Turn::Deadline => {
                if self.speaks() && self.protocol.deadline().is_some_and(|due| due <= now) {
                    self.protocol.set_unsent(self.outbox.stats().waiting);
                    self.tell(Input::Timeout, now);
                }
                if self.summary_at.is_some_and(|due| due <= now) {
                    self.summarise(now);
                }
            }
        }
    }

    /// What has to be looked at after every turn: captured audio, playback, and the phases that wait for something.
    fn settle(&mut self, now: Instant) {
        self.take_keys(now);
        self.send_captured(now);
        self.follow_playback(now);
        self.tell_playback(now);
        if self.handle.media.panics() > 0 && self.error.is_empty() {
            self.fail(ErrorCode::Protocol, "the media callback failed inside of the module".to_owned());
            self.reason = "internal error";
            // Nothing more comes from the callbacks; the call goes on without the bug.
            self.sink.detach(&self.handle);
            if matches!(self.phase, Phase::Connecting | Phase::Open) {
                self.phase = Phase::Draining { text: None, until: now + BUG_CLOSE };
                self.set_state(StreamState::Closing);
            }
        }
        let bug_closed = self.handle.is_bug_closed();
        if bug_closed && matches!(self.phase, Phase::Connecting | Phase::Open) {
            // A stop is ordered before it takes the bug off: without looking, this would be taken for the call's end.
            while let Ok(order) = self.orders.try_recv() {
                self.obey(order, now);
            }
        }
        match &mut self.phase {
            Phase::Connecting | Phase::Open if bug_closed => {
                self.call_ended = self.error.is_empty();
                self.reason = if self.call_ended { "the call ended" } else { self.reason };
                self.phase = Phase::Draining { text: None, until: now };
                self.set_state(StreamState::Closing);
                self.settle(now);
            }
            Phase::Draining { text, until } if bug_closed || *until <= now => {
                let text = text.take();
                self.finish_capture(text, now);
            }
            // A protocol that answers the stop with no close, or a connection that does not keep to its own time limit.
            Phase::Closing { until } if *until <= now => self.gone(ABNORMAL_CLOSE, "the far end did not close", now),
            Phase::PlayingOut { until }
                if *until <= now || (self.parting.is_none() && (bug_closed || self.playback.is_idle())) =>
            {
                self.phase = Phase::Over;
            }
            _ => {}
        }
        self.publish();
    }

    fn obey(&mut self, order: Order, now: Instant) {
        match order {
            Order::Stop { text, reason } => match self.phase {
                Phase::Connecting | Phase::Open => {
                    self.reason = reason;
                    self.phase = Phase::Draining { text, until: now + BUG_CLOSE };
                    self.set_state(StreamState::Closing);
                }
                Phase::PlayingOut { .. } => self.phase = Phase::Over,
                Phase::Draining { .. } | Phase::Closing { .. } | Phase::Over => {}
            },
            Order::SendText(text) if matches!(self.phase, Phase::Connecting) => {
                if self.early_texts.len() < EARLY_TEXTS {
                    self.early_texts.push(text);
                } else {
                    self.fault("a text was dropped: too many wait for the connection", now);
                }
            }
            Order::SendText(text) => self.tell(Input::SendText(&text), now),
            Order::Clear => match self.protocol.conversation() {
                Some(conversation) => {
                    conversation.interrupt(now);
                    self.perform(now, false);
                }
                None => self.playback.clear(),
            },
            Order::Say(text) => {
                if let Some(conversation) = self.protocol.conversation() {
                    conversation.say(now, text);
                    self.perform(now, false);
                }
            }
            Order::ToolResult { call_id, output } => {
                // One that nobody waits for any more came too late, which was told when it was given up.
                if let Some(conversation) = self.protocol.conversation() {
                    conversation.tool_result(now, call_id, output);
                    self.perform(now, false);
                }
            }
            Order::Tones(steps) => {
                if let Err(error) = self.playback.play_tones(&steps) {
                    self.fault(&error.to_string(), now);
                }
            }
        }
    }

    /// Begins to connect, unless the server is left alone: then how long.
    fn reach(&mut self, kind: BreakerKind, caller_waits: bool, now: Instant) -> Result<(), ConnectError> {
        let endpoint = self.dial.endpoint.endpoint();
        // Before the next is asked for: it may be the probe.
        self.attempt = None;
        let attempt = self.breakers.admit(now, kind, endpoint, caller_waits);
        let left_alone = |wait| ConnectError::LeftAlone { origin: endpoint.origin(), wait };
        self.attempt = Some(attempt.map_err(left_alone)?);
        self.connecting = Some(self.dial.connect());
        Ok(())
    }

    /// The attempt has succeeded, as far as the server is concerned, or failed.
    fn tell_breaker(&mut self, succeeded: bool, now: Instant) {
        let Some(attempt) = self.attempt.take() else { return };
        let changed = if succeeded { attempt.succeeded() } else { attempt.failed(now) };
        if !changed {
            return;
        }
        let outcome = if succeeded { "closed" } else { "opened" };
        tracing::warn!(target: "WS_STREAM", call = %self.handle.call(), op = "breaker", outcome,
            stream = %self.handle.name(), server = self.dial.endpoint.endpoint().origin());
    }

    fn connected(&mut self, connection: Connection, now: Instant) {
        self.connecting = None;
        if !self.protocol.is_conversation() {
            self.tell_breaker(true, now);
        }
        self.connection = Some(connection);
        tracing::info!(target: "WS_STREAM", call = %self.handle.call(), op = "connect", outcome = "ok",
            stream = %self.handle.name(), url = %self.handle.spec.endpoint,
            ms = self.handle.started.elapsed().as_millis() as u64);
        // First, so that whoever asks on the event finds the stream streaming.
        if matches!(self.phase, Phase::Connecting | Phase::Open) {
            self.phase = Phase::Open;
            self.set_state(StreamState::Streaming);
        }
        if !self.protocol.is_conversation() {
            self.emit(Connect {});
        }
        self.tell(Input::Opened, now);
        for text in std::mem::take(&mut self.early_texts) {
            self.tell(Input::SendText(&text), now);
        }
    }

    fn not_connected(&mut self, error: &ConnectError, now: Instant) {
        self.connecting = None;
        if !error.blames_server() {
            self.attempt = None;
        }
        if self.protocol.is_conversation() {
            return self.refused(error, now);
        }
        self.tell_breaker(false, now);
        self.fail(error.code(), error.to_string());
        self.gone(ABNORMAL_CLOSE, &error.to_string(), now);
    }

    fn received(&mut self, incoming: Incoming, now: Instant) {
        self.protocol.set_unsent(self.outbox.stats().waiting);
        match incoming {
            Incoming::Closed(_) | Incoming::Failed(_) if self.protocol.is_conversation() => self.lost(&incoming, now),
            Incoming::Text(text) => {
                self.handle.counters.received.fetch_add(1, Ordering::Relaxed);
                self.log_text(text.as_str());
                self.tell(Input::Text(text.as_str()), now);
            }
            Incoming::Binary(bytes) => {
                self.handle.counters.received.fetch_add(1, Ordering::Relaxed);
                self.tell(Input::Binary(&bytes), now);
            }
            Incoming::Rejected(rejected) => self.fault(&rejected.to_string(), now),
            Incoming::Closed(closure) => {
                let reason =
                    if closure.reason.is_empty() { self.reason.to_owned() } else { closure.reason.to_string() };
                self.gone(closure.code, &reason, now);
            }
            Incoming::Failed(error) => {
                self.fail(error.code, error.to_string());
                self.gone(ABNORMAL_CLOSE, &error.to_string(), now);
            }
        }
    }

    /// The beginning of a received text, for those who debug their server; `suppress_log` keeps it out.
    fn log_text(&self, text: &str) {
        // Audio of a conversation is nothing to read.
        let audio = self.protocol.is_conversation() && text.len() > LONGEST_LOGGED;
        if !self.handle.spec.options.suppress_log && !audio {
            let shown: String = text.chars().take(LOGGED_TEXT).collect();
            tracing::debug!(target: "WS_STREAM", call = %self.handle.call(), op = "receive", outcome = "ok",
                stream = %self.handle.name(), bytes = text.len(), text = shown);
        }
    }

    /// `text` for the log, unless what the far end says is to stay out of it.
    fn loggable<'a>(&self, text: &'a str) -> &'a str {
        if self.handle.spec.options.suppress_log { "(suppressed)" } else { text }
    }

    /// Hands complete messages of captured audio to the protocol, once there is a connection.
    fn send_captured(&mut self, now: Instant) {
        self.capture.collect();
        // A conversation keeps what is said while there is no connection.
        let heard = self.connection.is_some() || self.protocol.is_conversation();
        let open = heard && matches!(self.phase, Phase::Open | Phase::Draining { .. });
        if open {
            while let Some(message) = self.capture.next_message() {
                self.protocol.handle(now, Input::Audio(message));
                self.perform(now, true);
            }
            self.tell_speech(now);
        } else if matches!(self.phase, Phase::Connecting) {
            let lost = self.capture.trim_backlog();
            self.dropped(lost, now);
        } else {
            self.capture.discard();
        }
    }

    /// Tells of the keys that were pressed. Those pressed before the connection is up wait for it, as the audio does.
    fn take_keys(&mut self, now: Instant) {
        while let Some(key) = self.handle.media.keys.take() {
            let Key { digit, duration_ms } = key;
            self.emit(Dtmf { digit, duration_ms });
            if self.early_keys.len() == KEPT {
                self.early_keys.pop_front();
            }
            self.early_keys.push_back(key);
        }
        while !matches!(self.phase, Phase::Connecting)
            && let Some(Key { digit, duration_ms }) = self.early_keys.pop_front()
        {
            self.tell(Input::Dtmf { digit, duration_ms }, now);
        }
    }

    /// The last captured audio, the last text, the close.
    fn finish_capture(&mut self, text: Option<String>, now: Instant) {
        self.phase = Phase::Closing { until: now + CLOSE };
        if self.connection.is_none() && !self.protocol.is_conversation() {
            // Still connecting: nothing was said, so there is nobody to say good-bye to.
            self.connecting = None;
            self.gone(NORMAL_CLOSE, self.reason, now);
            return;
        }
        self.capture.finish();
        while let Some(message) = self.capture.next_message() {
            self.protocol.handle(now, Input::Audio(message));
            self.perform(now, true);
        }
        if let Some(message) = self.capture.last_message() {
            self.protocol.handle(now, Input::Audio(&message));
            self.perform(now, true);
        }
        self.tell(Input::Stop { text: text.as_deref(), call_ended: self.call_ended }, now);
    }

    /// Tells the protocol anything but captured audio, and does what it wants.
    fn tell(&mut self, input: Input<'_>, now: Instant) {
        self.protocol.handle(now, input);
        self.perform(now, false);
    }

    /// Does what the protocol wants after an input; `audio` says that the input was captured audio.
    fn perform(&mut self, now: Instant, audio: bool) {
        // A message of captured audio may become one for each leg: together they last no longer.
        let mut lasts = audio.then(|| self.capture.message_duration());
        while let Some(output) = self.protocol.poll() {
            let payload = match output {
                Output::SendText(text) => Payload::Text(text),
                Output::SendBinary(bytes) => Payload::Binary(bytes),
                output => {
                    self.carry_out(output, now);
                    continue;
                }
            };
            self.send(payload, lasts, now);
            lasts = lasts.map(|_| Duration::ZERO);
        }
        self.judge(now);
        while let Some(effect) = self.protocol.poll_effect() {
            self.effect(effect, now);
        }
    }

    /// Everything the protocol wants but sending.
    fn carry_out(&mut self, output: Output, now: Instant) {
        match output {
            Output::SendText(_) | Output::SendBinary(_) => {}
            Output::Play(play) => self.playback.play(now, play),
            Output::Clear => self.playback.clear(),
            Output::Mark(id) => self.playback.mark(id),
            Output::Request(request) => self.requested(request, now),
            Output::Event(ProtocolEvent::Json(text)) => self.emit(Json(text)),
            Output::Event(ProtocolEvent::Play(text)) => self.emit(Play(text)),
            Output::Fault(Fault { reason }) => self.fault(&reason, now),
            Output::Close { code, reason } => {
                if let Some(connection) = &mut self.connection {
                    connection.close(code, reason);
                }
                self.phase = Phase::Closing { until: now + CLOSE };
                self.set_state(StreamState::Closing);
            }
        }
    }

    /// What the far end wants done to the call is done where the stream's options let it.
    fn requested(&mut self, request: Request, now: Instant) {
        let (grant, action) = match request {
            Request::Hangup => (Grant::Hangup, CallAction::HangUp),
            Request::Transfer { destination } => (Grant::Transfer, CallAction::Transfer { destination }),
            Request::SendDtmf { digits } => (Grant::Dtmf, CallAction::SendDtmf { digits }),
        };
        if !self.handle.spec.options.allow.contains(&grant) {
            return self.fault(&format!("the far end wants to {action}; allow={grant} would let it"), now);
        }
        tracing::info!(target: "LIFECYCLE", call = %self.handle.call(), op = "far_end_request", outcome = "granted",
            stream = %self.handle.name(), action = self.loggable(&action.to_string()));
        self.sink.act(&self.handle, action, String::new());
    }

    /// Moves playback on, and tells the protocol and the operator what has become of it.
    fn follow_playback(&mut self, now: Instant) {
        self.playback.pump(now);
        while let Some(happened) = self.playback.next() {
            match happened {
                Happened::Event(event) => self.played(event, now),
                Happened::Overflowed(outcome) => self.overflowed(outcome, now),
                Happened::Refused(reason) => self.fault(&reason, now),
            }
        }
    }

    fn played(&mut self, event: PlaybackEvent, now: Instant) {
        let event = match event {
            PlaybackEvent::Started { played_ms } => Played::Started { played_ms },
            PlaybackEvent::Finished { played_ms } => Played::Finished { played_ms },
            PlaybackEvent::Cleared { played_ms } => {
                self.flushed(played_ms, now);
                Played::Cleared { played_ms }
            }
            PlaybackEvent::MarkHeard { id, played_ms } => return self.marked(id, true, played_ms, now),
            PlaybackEvent::MarkCleared { id, played_ms } => return self.marked(id, false, played_ms, now),
            PlaybackEvent::Underrun { count, played_ms } => return self.underran(count, played_ms, now),
        };
        self.emit(event);
    }

    /// Answers a mark, and tells of one that has a name.
    fn marked(&mut self, id: MarkId, heard: bool, played_ms: u64, now: Instant) {
        let name = self.protocol.mark_name(id).map(str::to_owned);
        self.tell(if heard { Input::MarkHeard(id) } else { Input::MarkCleared(id) }, now);
        if let Some(name) = name {
            self.emit(Played::Mark { name: name.into(), heard, played_ms });
        }
    }

    /// Gaps in the midst of what the far end sent.
    fn underran(&mut self, count: u64, played_ms: u64, now: Instant) {
        let Some(count) = self.underruns.note(count, now) else { return };
        let prebuffer_ms = self.playback.status().prebuffer_ms;
        tracing::warn!(target: "INJECT", call = %self.handle.call(), op = "playback", outcome = "underrun",
            stream = %self.handle.name(), count, played_ms, prebuffer_ms,
            advice = "the far end sent too late; a larger inject_min_buffer_ms, or auto, rides that out");
        self.emit(Underrun { count, played_ms });
    }

    /// `lasts` is the duration of captured audio.
    fn send(&mut self, payload: Payload, lasts: Option<Duration>, now: Instant) {
        if let Some(lasts) = lasts {
            let before = self.outbox.stats().dropped;
            self.outbox.push_audio(payload, lasts);
            let lost = self.outbox.stats().dropped.saturating_sub(before);
            self.dropped(lost, now);
        } else if let Err(full) = self.outbox.push(payload) {
            self.fault(&full.to_string(), now);
        }
    }

    /// Playback that did not fit.
    fn overflowed(&mut self, outcome: PlayOutcome, now: Instant) {
        let status = self.playback.status();
        if let Some(dropped_ms) = outcome.restarted_ms
            && self.restarts.due(now).is_some()
        {
            tracing::warn!(target: "INJECT", call = %self.handle.call(), op = "buffer_overflow", outcome = "restarted",
                stream = %self.handle.name(), overflows = status.overflow_count, dropped_ms,
                advice = "the far end sends faster than real time; what waited was too old to be heard");
        }
        let Some(alarm) = outcome.alarm else { return };
        let severity = match alarm {
            OverflowAlarm::Warning => Severity::Warning,
            OverflowAlarm::Persistent => Severity::Error,
        };
        let dropped_ms = outcome.dropped_ms + outcome.restarted_ms.unwrap_or(0);
        match severity {
            Severity::Warning => tracing::warn!(target: "INJECT", call = %self.handle.call(), op = "buffer_overflow",
                outcome = "dropped", stream = %self.handle.name(), overflows = status.overflow_count, dropped_ms,
                total_dropped_ms = status.dropped_ms, advice = "raise inject_buffer_ms or send slower"),
            Severity::Error => tracing::error!(target: "INJECT", call = %self.handle.call(), op = "buffer_overflow",
                outcome = "persists", stream = %self.handle.name(), overflows = status.overflow_count, dropped_ms,
                total_dropped_ms = status.dropped_ms, advice = "the far end sends faster than real time"),
        }
        let overflow = Overflow {
            queue: Queue::Inject,
            severity,
            drops: status.overflow_count,
            dropped_ms,
            total_dropped_ms: status.dropped_ms,
        };
        self.emit(overflow);
    }

    /// Captured audio that the far end was too slow for.
    fn dropped(&mut self, lost: Duration, now: Instant) {
        let Some(overflow) = self.drops.note(lost, now) else { return };
        tracing::warn!(target: "CAPTURE", call = %self.handle.call(), op = "send_queue", outcome = "dropped",
            stream = %self.handle.name(), dropped_ms = overflow.dropped_ms, total_dropped_ms = overflow.total_dropped_ms,
            advice = "the far end does not read fast enough");
        self.emit(overflow);
    }

    /// Something unusable from the far end: counted, and told about once in five seconds.
    fn fault(&mut self, reason: &str, now: Instant) {
        self.handle.counters.faults.fetch_add(1, Ordering::Relaxed);
        if let Some(more) = self.faults.due(now) {
            tracing::warn!(target: "WS_STREAM", call = %self.handle.call(), op = "receive", outcome = "refused",
                stream = %self.handle.name(), reason = self.loggable(reason), more);
            let message = if more == 0 { reason.to_owned() } else { format!("{reason} (and {more} before)") };
            self.emit(Error::new(ErrorCode::Protocol, message));
        }
    }

    /// An error that ends the stream.
    fn fail(&mut self, code: ErrorCode, message: String) {
        tracing::error!(target: "WS_STREAM", call = %self.handle.call(), op = "connection", outcome = "failed",
            stream = %self.handle.name(), url = %self.handle.spec.endpoint, code = code.as_str(), reason = %message);
        self.emit(Error::new(code, &*message));
        self.error = message;
    }

    /// The connection is gone, or never was: the final event, and playback to its end.
    fn gone(&mut self, code: u16, reason: &str, now: Instant) {
        self.connection = None;
        tracing::info!(target: "WS_STREAM", call = %self.handle.call(), op = "disconnect", outcome = "ok",
            stream = %self.handle.name(), code, reason = self.loggable(reason));
        // Before the event, on which somebody may start the next stream of this name.
        let state = if self.error.is_empty() { StreamState::Disconnected } else { StreamState::Error };
        self.set_state(state);
        self.emit(Disconnect { code, reason: reason.into() });
        let told_to_end = matches!(self.phase, Phase::Closing { .. } | Phase::Draining { .. });
        self.phase = if told_to_end && self.handle.is_bug_closed() {
            Phase::Over
        } else {
            let buffered = Duration::from_millis(self.playback.status().buffered_ms);
            Phase::PlayingOut { until: now + buffered + PLAYOUT_SLACK }
        };
    }

    fn emit(&self, event: impl Into<Event>) {
        self.sink.emit(&self.handle, event.into());
    }

    fn set_state(&self, state: StreamState) {
        self.handle.set_state(state);
    }

    /// Lets others see how the queues stand.
    fn publish(&mut self) {
        let counters = &self.handle.counters;
        counters.send_dropped_ms.store(self.drops.total.as_millis() as u64, Ordering::Relaxed);
        let inject = self.playback.status();
        counters.inject_bytes.store(inject.inuse_bytes, Ordering::Relaxed);
        counters.inject_capacity.store(inject.capacity_bytes, Ordering::Relaxed);
        counters.inject_overflows.store(inject.overflow_count, Ordering::Relaxed);
        self.publish_conversation();
    }

    /// The periodic line of the log.
    fn summarise(&mut self, now: Instant) {
        let every = Duration::from_millis(u64::from(self.handle.spec.options.log_every_ms));
        self.summary_at = Some(now + every);
        let media = &self.handle.media;
        let (sent, inject) = (self.outbox.stats(), self.playback.status());
        let latency = media.latency.snapshot();
        tracing::info!(target: "CAPTURE", call = %self.handle.call(), op = "summary", outcome = "ok",
            stream = %self.handle.name(), frames = media.capture.frames(), dropped_frames = media.capture.dropped_frames(),
            messages = sent.audio_sent, bytes = sent.bytes_sent, waiting_ms = sent.waiting.as_millis() as u64,
            send_dropped_ms = self.drops.total.as_millis() as u64, played_ms = inject.played_ms, buffered_ms = inject.buffered_ms,
            underruns = media.playout.underruns(), overflows = inject.overflow_count,
            callback_p99_us = latency.p99().as_micros() as u64, uptime_s = self.handle.started.elapsed().as_secs());
    }
}

fn set_timer(timer: Pin<&mut Sleep>, set_to: &mut Option<Instant>, deadline: Option<Instant>) {
    if *set_to != deadline {
        if let Some(deadline) = deadline {
            timer.reset(deadline.into());
        }
        *set_to = deadline;
    }
}

/// Sums up gaps for one event in five seconds.
#[derive(Default)]
struct Underruns {
    limit: RateLimit,
    since_told: u64,
}

impl Underruns {
    fn note(&mut self, count: u64, now: Instant) -> Option<u64> {
        self.since_told += count;
        self.limit.due(now)?;
        Some(std::mem::take(&mut self.since_told))
    }
}

/// Sums up dropped audio for one event in five seconds.
#[derive(Default)]
struct Drops {
    limit: RateLimit,
    total: Duration,
    told: Duration,
    since_told: u64,
}

impl Drops {
    fn note(&mut self, lost: Duration, now: Instant) -> Option<Overflow> {
        if lost.is_zero() {
            return None;
        }
        self.total += lost;
        self.since_told += 1;
        self.limit.due(now)?;
        let dropped = self.total.saturating_sub(self.told);
        self.told = self.total;
        Some(Overflow {
            queue: Queue::Send,
            severity: Severity::Warning,
            drops: std::mem::take(&mut self.since_told),
            dropped_ms: dropped.as_millis() as u64,
            total_dropped_ms: self.total.as_millis() as u64,
        })
    }
}
