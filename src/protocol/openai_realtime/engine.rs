//! The state machine of a Realtime session: from the open connection to its loss, once for each connection.
//!
//! ```text
//! Idle ─Opened─► Configuring ─session.updated─► Ready ─closed, refused, fatal error, expired─► Ended
//!                     └── no answer within ready_timeout ──────────────────────────────────────────┘
//! ```
//! Nothing but `session.update` is said before the far end has confirmed it: audio in a format it does not expect yet
//! would be noise to it. Owned by the stream's task. Nothing waits here but the outputs of one input, one message of
//! audio, and half a sample of an audio delta. Unknown events are counted and ignored; malformed ones are faults.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use base64::Engine as _;

use super::super::codec::BASE64;
use super::super::pcm::FrameReader;
use super::super::{Fault, excerpt};
use super::failure::{ApiError, ErrorClass, Loss, Operation};
use super::message::{AppendBuffer, ClientEvent, Session};
use super::profile::{AudioFormat, SessionProfile};
use super::wire::{ErrorBody, ItemBody, KindOnly, ServerEvent, short_id};
use super::{Audio, Command, Event, Input, Output, RateLimit, ResponseStatus};

/// Ids of given-up responses and items that are remembered; the far end is behind by one or two.
const REMEMBERED: usize = 64;
/// Longest audio of one message, in bytes: the far end takes 15 MiB of base64.
const MAX_APPEND: usize = 8 << 20;
/// Longest arguments of a function call: far beyond any sense.
const MAX_ARGUMENTS: usize = 64 << 10;

/// What the engine needs to know.
#[derive(Clone, PartialEq, Debug)]
pub struct EngineConfig {
    /// Sent as `session.update` on every connection.
    pub profile: SessionProfile,
    /// How long the far end may take to confirm it.
    pub ready_timeout: Duration,
    /// How long a session lasts where the far end does not say: 60 minutes at OpenAI.
    pub max_session: Duration,
    /// How long before its end a pause is looked for.
    pub recycle_before: Duration,
    /// How long before its end no pause is waited for any longer.
    pub recycle_at_last: Duration,
}

impl EngineConfig {
    /// With 10 s to confirm, 60 minutes, 5 minutes, 15 s.
    pub fn new(profile: SessionProfile) -> Self {
        Self {
            profile,
            ready_timeout: Duration::from_secs(10),
            max_session: Duration::from_secs(3_600),
            recycle_before: Duration::from_secs(300),
            recycle_at_last: Duration::from_secs(15),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// No connection.
    Idle,
    /// `session.update` is sent.
    Configuring {
        /// When that has taken too long.
        until: Instant,
    },
    /// Configured.
    Ready,
    /// The connection is of no more use, or was ended by us.
    Ended,
}

/// The next thing to say about the session's end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Expiry {
    Soon(Instant),
    Now(Instant),
    Said,
}

/// A set of the ids last seen.
#[derive(Debug, Default)]
struct Recent(VecDeque<String>);

impl Recent {
    fn contains(&self, id: &str) -> bool {
        !id.is_empty() && self.0.iter().any(|known| known == short_id(id))
    }

    fn insert(&mut self, id: &str) {
        if id.is_empty() || self.contains(id) {
            return;
        }
        if self.0.len() == REMEMBERED {
            self.0.pop_front();
        }
        self.0.push_back(short_id(id).to_owned());
    }
}

/// A function call of which the name came before the arguments.
#[derive(Debug)]
struct Call {
    item_id: String,
    call_id: String,
    name: String,
}

/// The Realtime protocol of one conversation.
#[derive(Debug)]
pub struct RealtimeEngine {
    config: EngineConfig,
    phase: Phase,
    outputs: VecDeque<Owned>,
    append: AppendBuffer,
    requests: u64,
    session_id: String,
    opened_at: Option<(Instant, u64)>,
    expiry: Expiry,
    /// Responses and items given up.
    dropped: Recent,
    /// Calls already told.
    called: Recent,
    calls: VecDeque<Call>,
    /// The content whose audio came last, and half a sample of it.
    half: Option<(String, u32, FrameReader)>,
    unknown: u64,
}

/// An [`Output`] that borrows nothing; audio stands for the message in the buffer.
#[derive(Debug)]
enum Owned {
    Send(String),
    SendAudio,
    Event(Event),
    Fault(Fault),
    Close { code: u16, reason: &'static str },
}

impl RealtimeEngine {
    /// Waits for [`Input::Opened`]. The profile should have passed its check.
    pub fn new(config: EngineConfig) -> Self {
        Self {
            config,
            phase: Phase::Idle,
            outputs: VecDeque::new(),
            append: AppendBuffer::default(),
            requests: 0,
            session_id: String::new(),
            opened_at: None,
            expiry: Expiry::Said,
            dropped: Recent::default(),
            called: Recent::default(),
            calls: VecDeque::new(),
            half: None,
            unknown: 0,
        }
    }

    /// Takes one input at the time `now`. Drain [`poll`](Self::poll) before the next.
    ///
    /// A frame of audio costs one pass of base64 and no allocation.
    pub fn handle(&mut self, now: Instant, input: Input<'_>) {
        match input {
            Input::Opened { unix_seconds } => self.opened(now, unix_seconds),
            Input::Refused { status, message } if !self.is_open() => {
                self.phase = Phase::Idle;
                self.lost(Loss::refused(status, message));
            }
            Input::Closed { code, reason } if self.is_open() => self.lost(Loss::closed(code, reason)),
            Input::Timeout => self.timeout(now),
            Input::Text(text) if self.is_open() => self.text(now, text),
            Input::Binary if self.is_open() => self.fault("a binary message: this protocol has none"),
            Input::Audio(bytes) if self.phase == Phase::Ready && !bytes.is_empty() => {
                if bytes.len() > MAX_APPEND {
                    return self.fault("more audio at once than one message can carry was dropped");
                }
                self.append.fill(bytes, self.config.profile.input.duration_of(bytes.len()));
                self.outputs.push_back(Owned::SendAudio);
            }
            Input::Samples(samples) if self.phase == Phase::Ready && !samples.is_empty() => {
                if self.config.profile.input != AudioFormat::Pcm24k || samples.len() > MAX_APPEND / 2 {
                    return self.fault("samples that this session's input format cannot carry were dropped");
                }
                self.append.fill_samples(samples, AudioFormat::Pcm24k.duration_of(samples.len() * 2));
                self.outputs.push_back(Owned::SendAudio);
            }
            Input::Command(command) => self.command(&command),
            _ => {}
        }
    }

    /// The next output of the last input, in order; `None` when all are taken.
    pub fn poll(&mut self) -> Option<Output<'_>> {
        let Some(output) = self.outputs.pop_front() else {
            if self.outputs.capacity() > 32 {
                self.outputs = VecDeque::new();
            }
            return None;
        };
        Some(match output {
            Owned::Send(text) => Output::Send(text),
            Owned::SendAudio => {
                let (message, duration) = self.append.take()?;
                Output::SendAudio { message, duration }
            }
            Owned::Event(event) => Output::Event(event),
            Owned::Fault(fault) => Output::Fault(fault),
            Owned::Close { code, reason } => Output::Close { code, reason },
        })
    }

    /// When [`Input::Timeout`] is wanted; `None` when never.
    pub fn deadline(&self) -> Option<Instant> {
        match (self.phase, self.expiry) {
            (Phase::Configuring { until }, _) => Some(until),
            (Phase::Ready, Expiry::Soon(at) | Expiry::Now(at)) => Some(at),
            _ => None,
        }
    }

    /// Whether audio and commands are taken.
    pub fn is_ready(&self) -> bool {
        self.phase == Phase::Ready
    }

    /// Events of kinds unknown here, since the engine was made.
    pub const fn unknown_events(&self) -> u64 {
        self.unknown
    }

    /// The profile of the sessions.
    pub const fn profile(&self) -> &SessionProfile {
        &self.config.profile
    }

    fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Configuring { .. } | Phase::Ready)
    }

    fn opened(&mut self, now: Instant, unix_seconds: u64) {
        self.phase = Phase::Configuring { until: now + self.config.ready_timeout };
        self.session_id.clear();
        self.opened_at = Some((now, unix_seconds));
        self.dropped = Recent::default();
        self.called = Recent::default();
        self.calls.clear();
        self.half = None;
        self.expires_in(now, self.config.max_session);
        let event_id = self.event_id(Operation::Configure);
        let update =
            ClientEvent::SessionUpdate { event_id: &event_id, session: Box::new(Session::of(&self.config.profile)) };
        let text = update.to_json();
        self.outputs.push_back(Owned::Send(text));
    }

    fn event_id(&mut self, operation: Operation) -> String {
        self.requests += 1;
        operation.event_id(self.requests)
    }

    fn timeout(&mut self, now: Instant) {
        if let Phase::Configuring { until } = self.phase {
            if now >= until {
                let message = "the far end did not confirm the session in time".to_owned();
                self.end(Loss { fatal: false, code: "timeout".to_owned(), message });
            }
            return;
        }
        if self.phase != Phase::Ready {
            return;
        }
        match self.expiry {
            Expiry::Soon(at) if now >= at => {
                let rest = self.config.recycle_before.saturating_sub(self.config.recycle_at_last);
                self.expiry = Expiry::Now(at + rest);
                self.event(Event::ExpiresSoon { now: false });
            }
            Expiry::Now(at) if now >= at => {
                self.expiry = Expiry::Said;
                self.event(Event::ExpiresSoon { now: true });
            }
            _ => {}
        }
    }

    fn expires_in(&mut self, now: Instant, left: Duration) {
        self.expiry = Expiry::Soon(now + left.saturating_sub(self.config.recycle_before));
    }

    fn command(&mut self, command: &Command) {
        match command {
            Command::Cancel { response_id, .. } => self.dropped.insert(response_id),
            Command::Truncate { item_id, .. } | Command::Delete { item_id } => self.dropped.insert(item_id),
            Command::Close => {
                if self.is_open() {
                    self.outputs.push_back(Owned::Close { code: 1000, reason: "Normal closure" });
                }
                self.phase = Phase::Ended;
                return;
            }
            _ => {}
        }
        if self.phase != Phase::Ready {
            return;
        }
        let operation = match command {
            Command::Respond { .. } => Operation::Respond,
            Command::Cancel { .. } => Operation::Cancel,
            Command::Truncate { .. } => Operation::Truncate,
            Command::Delete { .. } => Operation::Delete,
            Command::Message { .. } | Command::FunctionOutput { .. } => Operation::Create,
            Command::Commit | Command::ClearInput | Command::Close => Operation::Input,
        };
        let event_id = self.event_id(operation);
        if let Some(event) = ClientEvent::of(command, &event_id) {
            let text = event.to_json();
            self.outputs.push_back(Owned::Send(text));
        }
    }

    fn text(&mut self, now: Instant, text: &str) {
        match serde_json::from_str::<ServerEvent<'_>>(text) {
            Ok(event) => self.server_event(now, &event),
            Err(error) => match serde_json::from_str::<KindOnly<'_>>(text) {
                Ok(KindOnly { kind }) if !kind.is_absent() && !is_used(kind.as_str()) => self.unknown += 1,
                Ok(KindOnly { kind }) => {
                    self.fault(format!("{}: unusable fields ({error})", excerpt(kind.as_str())));
                }
                Err(error) => self.fault(format!("the text is no JSON object ({error}): {}", excerpt(text))),
            },
        }
    }

    fn server_event(&mut self, now: Instant, event: &ServerEvent<'_>) {
        match event.kind.as_str() {
            "session.created" => self.session(now, event, false),
            "session.updated" => self.session(now, event, true),
            "error" => self.error(event.error.as_ref()),
            "input_audio_buffer.speech_started" => self.event(Event::SpeechStarted {
                item_id: event.item_id.id().unwrap_or_default(),
                audio_start_ms: event.audio_start_ms.whole().unwrap_or_default(),
            }),
            "input_audio_buffer.speech_stopped" => {
                self.event(Event::SpeechStopped { audio_end_ms: event.audio_end_ms.whole().unwrap_or_default() });
            }
            "input_audio_buffer.committed" => {
                self.event(Event::Committed { item_id: event.item_id.id().unwrap_or_default() });
            }
            "input_audio_buffer.timeout_triggered" => self.event(Event::IdleTimeout),
            "conversation.item.added" | "conversation.item.created" => {
                if let Some(item_id) = event.item.as_ref().and_then(|item| item.id.id()) {
                    self.event(Event::ItemPlaced { item_id, previous_item_id: event.previous_item_id.id() });
                }
            }
            "conversation.item.input_audio_transcription.delta" => self.user_transcript(event, false),
            "conversation.item.input_audio_transcription.completed" => self.user_transcript(event, true),
            "conversation.item.input_audio_transcription.failed" => {
                let error = api_error(event.error.as_ref());
                self.event(Event::UserTranscriptFailed { item_id: event.item_id.id().unwrap_or_default(), error });
            }
            "response.created" => {
                if let Some(response_id) = event.response.as_ref().and_then(|response| response.id.id()) {
                    self.event(Event::ResponseStarted { response_id });
                } else {
                    self.fault("response.created: the response has no id");
                }
            }
            "response.done" => self.response_done(event),
            "response.output_item.added" => self.item_added(event),
            "response.output_item.done" => {
                if let Some(item) = &event.item {
                    self.function_call(&event.response_id.id().unwrap_or_default(), item);
                }
            }
            "response.output_audio.delta" => self.audio(event),
            "response.output_audio.done" => self.half = None,
            "response.output_text.delta" => self.assistant_text(event, event.delta.as_str(), false, false),
            "response.output_text.done" => self.assistant_text(event, event.text.as_str(), true, false),
            "response.output_audio_transcript.delta" => self.assistant_text(event, event.delta.as_str(), false, true),
            "response.output_audio_transcript.done" => {
                self.assistant_text(event, event.transcript.as_str(), true, true);
            }
            "response.function_call_arguments.done" => self.arguments_done(event),
            "rate_limits.updated" => {
                let limits = event.rate_limits.iter().flatten().take(16).map(|limit| RateLimit {
                    name: excerpt(limit.name.as_str()),
                    limit: limit.limit.0.unwrap_or_default(),
                    remaining: limit.remaining.0.unwrap_or_default(),
                    reset_seconds: limit.reset_seconds.0.unwrap_or_default(),
                });
                let limits = limits.collect();
                self.event(Event::RateLimits(limits));
            }
            kind if is_ignored(kind) => {}
            "" => self.fault("a message without a type"),
            _ => self.unknown += 1,
        }
    }

    fn session(&mut self, now: Instant, event: &ServerEvent<'_>, configured: bool) {
        if let Some(session) = &event.session {
            if let Some(id) = session.id.id() {
                self.session_id = id;
            }
            if let (Some(expires_at), Some((opened, unix_seconds))) = (session.expires_at.whole(), self.opened_at)
                && let Some(left) = expires_at.checked_sub(unix_seconds)
                // A clock that is wrong by days must not end the session at once or never.
                && (60..=86_400).contains(&left)
                && (self.phase != Phase::Ready || matches!(self.expiry, Expiry::Soon(_)))
            {
                self.expires_in(opened, Duration::from_secs(left));
            }
        }
        if configured && matches!(self.phase, Phase::Configuring { .. }) {
            self.phase = Phase::Ready;
            let session_id = self.session_id.clone();
            self.event(Event::Ready { session_id });
            // A session that is shorter than the margin is recycled as soon as there is a pause.
            self.timeout(now);
        }
    }

    fn error(&mut self, body: Option<&ErrorBody<'_>>) {
        let error = api_error(body);
        match error.class {
            ErrorClass::Fatal | ErrorClass::Session => self.end(error.into_loss()),
            // Not configured it is of no use; the same may work with another connection.
            ErrorClass::Transient | ErrorClass::Request if self.phase != Phase::Ready => self.end(error.into_loss()),
            _ => self.event(Event::Error(error)),
        }
    }

    fn user_transcript(&mut self, event: &ServerEvent<'_>, whole: bool) {
        let text = if whole { event.transcript.as_str() } else { event.delta.as_str() };
        let item_id = event.item_id.id().unwrap_or_default();
        self.event(Event::UserTranscript { item_id, text: text.to_owned(), whole });
    }

    fn is_dropped(&self, event: &ServerEvent<'_>) -> bool {
        self.dropped.contains(event.response_id.as_str()) || self.dropped.contains(event.item_id.as_str())
    }

    fn audio(&mut self, event: &ServerEvent<'_>) {
        if self.is_dropped(event) {
            return;
        }
        let bytes = match BASE64.decode(event.delta.as_str()) {
            Ok(bytes) => bytes,
            Err(error) => return self.fault(format!("response.output_audio.delta: delta is not base64: {error}")),
        };
        let item_id = event.item_id.id().unwrap_or_default();
        let content_index = event.content_index.whole().and_then(|index| u32::try_from(index).ok()).unwrap_or_default();
        let audio = match self.config.profile.output {
            AudioFormat::Pcmu => Audio::Mulaw(bytes),
            AudioFormat::Pcma => Audio::Alaw(bytes),
            AudioFormat::Pcm24k => {
                let same = |half: &(String, u32, FrameReader)| half.0 == item_id && half.1 == content_index;
                let reader = match &mut self.half {
                    Some(half) if same(half) => &mut half.2,
                    half => &mut half.insert((item_id.clone(), content_index, FrameReader::new(1))).2,
                };
                Audio::Pcm { samples: reader.push(&bytes), rate: AudioFormat::Pcm24k.rate() }
            }
        };
        if !audio.duration().is_zero() {
            let response_id = event.response_id.id().unwrap_or_default();
            self.event(Event::Audio { response_id, item_id, content_index, audio });
        }
    }

    fn assistant_text(&mut self, event: &ServerEvent<'_>, text: &str, whole: bool, spoken: bool) {
        if self.is_dropped(event) {
            return;
        }
        let response_id = event.response_id.id().unwrap_or_default();
        let item_id = event.item_id.id().unwrap_or_default();
        let text = text.to_owned();
        self.event(if spoken {
            Event::Transcript { response_id, item_id, text, whole }
        } else {
            Event::Text { response_id, item_id, text, whole }
        });
    }

    fn item_added(&mut self, event: &ServerEvent<'_>) {
        let Some(item) = &event.item else { return };
        let (Some(item_id), Some(response_id)) = (item.id.id(), event.response_id.id()) else { return };
        match item.kind.as_str() {
            "message" if !self.dropped.contains(&response_id) => {
                self.event(Event::ItemStarted { response_id, item_id });
            }
            "function_call" => {
                if let (Some(call_id), Some(name)) = (item.call_id.id(), item.name.id()) {
                    if self.calls.len() == REMEMBERED {
                        self.calls.pop_front();
                    }
                    self.calls.push_back(Call { item_id, call_id, name });
                }
            }
            _ => {}
        }
    }

    /// The arguments are complete; the name came with the item, or comes with this.
    fn arguments_done(&mut self, event: &ServerEvent<'_>) {
        if self.is_dropped(event) {
            return;
        }
        let known = self.calls.iter().find(|call| call.item_id == short_id(event.item_id.as_str()));
        let call_id = event.call_id.id().or_else(|| known.map(|call| call.call_id.clone()));
        let name = event.name.id().or_else(|| known.map(|call| call.name.clone()));
        // Without a name the item's end, which has everything, is waited for.
        if let (Some(call_id), Some(name)) = (call_id, name) {
            self.call(event.response_id.id().unwrap_or_default(), call_id, name, event.arguments.as_str());
        }
    }

    fn function_call(&mut self, response_id: &str, item: &ItemBody<'_>) {
        let whole = matches!(item.status.as_str(), "completed" | "");
        let dropped = self.dropped.contains(response_id) || self.dropped.contains(item.id.as_str());
        if item.kind.as_str() != "function_call" || !whole || dropped {
            return;
        }
        if let (Some(call_id), Some(name)) = (item.call_id.id(), item.name.id()) {
            self.call(response_id.to_owned(), call_id, name, item.arguments.as_str());
        }
    }

    fn call(&mut self, response_id: String, call_id: String, name: String, arguments: &str) {
        if self.called.contains(&call_id) {
            return;
        }
        self.called.insert(&call_id);
        // What is too long to be meant is handed on empty, so that the agent refuses it and the model learns of it.
        let arguments = if arguments.len() > MAX_ARGUMENTS { String::new() } else { arguments.to_owned() };
        self.event(Event::FunctionCall { response_id, call_id, name, arguments });
    }

    fn response_done(&mut self, event: &ServerEvent<'_>) {
        let Some(response) = &event.response else { return self.fault("response.done: no response in it") };
        let Some(response_id) = response.id.id() else { return self.fault("response.done: the response has no id") };
        let details = response.status_details.as_ref();
        let reason = || excerpt(details.map_or("", |details| details.reason.as_str()));
        let status = match response.status.as_str() {
            "cancelled" => ResponseStatus::Cancelled { reason: reason() },
            "incomplete" => ResponseStatus::Incomplete { reason: reason() },
            "failed" => {
                let error = api_error(details.and_then(|details| details.error.as_ref()));
                if error.class == ErrorClass::Fatal {
                    return self.end(error.into_loss());
                }
                ResponseStatus::Failed(error)
            }
            _ => ResponseStatus::Completed,
        };
        if status == ResponseStatus::Completed {
            for item in response.output.iter().flatten() {
                self.function_call(&response_id, item);
            }
        }
        self.calls.clear();
        self.event(Event::ResponseDone { response_id, status });
    }

    fn event(&mut self, event: Event) {
        self.outputs.push_back(Owned::Event(event));
    }

    fn fault(&mut self, reason: impl Into<std::borrow::Cow<'static, str>>) {
        self.outputs.push_back(Owned::Fault(Fault::new(reason)));
    }

    /// The connection is gone, or never was.
    fn lost(&mut self, loss: Loss) {
        if self.phase == Phase::Ended {
            return;
        }
        self.phase = Phase::Ended;
        self.event(Event::Lost(loss));
    }

    /// The connection is there and of no use.
    fn end(&mut self, loss: Loss) {
        self.lost(loss);
        self.outputs.push_back(Owned::Close { code: 1000, reason: "Normal closure" });
    }
}

fn api_error(body: Option<&ErrorBody<'_>>) -> ApiError {
    body.map_or_else(
        || ApiError::new("", "", "the far end gave no details", ""),
        |body| ApiError::new(body.kind.as_str(), body.code.as_str(), body.message.as_str(), body.event_id.as_str()),
    )
}

/// Events that are known and of no interest here, with the reason.
const IGNORED: &[&str] = &[
    // What this side asked for is done; it acted when it asked.
    "conversation.item.deleted",
    "conversation.item.truncated",
    "conversation.item.retrieved",
    "input_audio_buffer.cleared",
    // Said again by others that are handled.
    "conversation.created",
    "conversation.item.done",
    "response.content_part.added",
    "response.content_part.done",
    "response.function_call_arguments.delta",
    "conversation.item.input_audio_transcription.segment",
    // WebRTC and SIP only.
    "output_audio_buffer.started",
    "output_audio_buffer.stopped",
    "output_audio_buffer.cleared",
    "input_audio_buffer.dtmf_event_received",
];

/// Tools on the far end's side run without us.
const IGNORED_PREFIXES: [&str; 2] = ["response.mcp_call", "mcp_list_tools."];

/// Events whose fields are used.
const USED: &[&str] = &[
    "session.created",
    "session.updated",
    "error",
    "input_audio_buffer.speech_started",
    "input_audio_buffer.speech_stopped",
    "input_audio_buffer.committed",
    "input_audio_buffer.timeout_triggered",
    "conversation.item.added",
    "conversation.item.created",
    "conversation.item.input_audio_transcription.delta",
    "conversation.item.input_audio_transcription.completed",
    "conversation.item.input_audio_transcription.failed",
    "response.created",
    "response.done",
    "response.output_item.added",
    "response.output_item.done",
    "response.output_audio.delta",
    "response.output_audio.done",
    "response.output_text.delta",
    "response.output_text.done",
    "response.output_audio_transcript.delta",
    "response.output_audio_transcript.done",
    "response.function_call_arguments.done",
    "rate_limits.updated",
];

fn is_used(kind: &str) -> bool {
    USED.contains(&kind)
}

fn is_ignored(kind: &str) -> bool {
    IGNORED.contains(&kind) || IGNORED_PREFIXES.iter().any(|prefix| kind.starts_with(prefix))
}

/// Fuzz target: `data`, cut at its line ends, as texts of the far end, and checks what must hold whatever arrives.
///
/// # Panics
/// When an invariant is broken: an output after the loss but the close, audio of something given up, an endless id.
#[allow(clippy::disallowed_methods, reason = "any instant does: the fuzzer drives the protocol from outside")]
pub fn fuzz_openai_realtime(data: &[u8]) {
    let now = Instant::now();
    let mut engine = RealtimeEngine::new(EngineConfig::new(SessionProfile::default()));
    engine.handle(now, Input::Opened { unix_seconds: 0 });
    while engine.poll().is_some() {}
    let mut lost = 0;
    let mut cancelled: Option<String> = None;
    for line in data.split(|byte| *byte == b'\n') {
        engine.handle(now, Input::Text(&String::from_utf8_lossy(line)));
        let mut cancel = None;
        while let Some(output) = engine.poll() {
            assert!(lost == 0 || matches!(output, Output::Close { .. }), "an output after the loss");
            match output {
                Output::Event(Event::Lost(_)) => lost += 1,
                Output::Event(Event::Audio { response_id, item_id, audio, .. }) => {
                    assert!(response_id.chars().count() <= 128 && item_id.chars().count() <= 128);
                    assert!(!audio.duration().is_zero());
                    assert!(cancelled.as_ref() != Some(&response_id), "audio of a response given up");
                    cancel = Some(response_id);
                }
                Output::Fault(fault) => assert!(!fault.reason.is_empty() && fault.reason.len() < 1_024),
                _ => {}
            }
        }
        if let Some(response_id) = cancel.filter(|id| !id.is_empty()) {
            engine.handle(now, Input::Command(Command::Cancel { response_id: response_id.clone(), tell: true }));
            while engine.poll().is_some() {}
            cancelled = Some(response_id);
        }
    }
    assert!(lost <= 1, "lost twice");
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
