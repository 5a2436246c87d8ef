//! The state machine of a Realtime session: from the open connection to its loss, once for each connection.
//!
//! ```text
//! Idle ─Opened─► Configuring ─session.updated─► Ready ─closed, refused, fatal error, expired─► Ended
//!                     └── no answer within ready_timeout ──────────────────────────────────────────┘
//! ```
//! Nothing but `session.update` is said before the server has confirmed it: audio in a format it does not expect yet would be
//! noise to it. Owned by the stream's task. Nothing waits here but the outputs of one input and half a sample of an audio
//! delta. Unknown events are counted and ignored; malformed ones are faults.

mod changing;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use base64::Engine as _;

use super::super::address;
use super::super::engine::{
    Capabilities, Command, Engine, Event, Failure, FailureClass, Input, InputFormat, Loss, Outcome, Output, Refuses,
};
use super::super::expiry::Expiry;
use super::super::json::{KindOnly, short_id};
use super::super::loss;
use super::super::options::{AiOptions, RawEvents};
use super::super::queue;
use super::super::raw;
use super::change::Change;
use super::dialect::{Dialect, OPENAI, ResponseForm};
use super::failure::{self, ApiError, Operation, api_error};
use super::message::{self, ClientEvent};
use super::profile::{AudioFormat, SessionProfile};
use super::usage;
use super::wire::{ErrorBody, ItemBody, ServerEvent};
use crate::peer::{Message, MonoAudio, RateLimit, Target, Usage};
use crate::protocol::codec::BASE64;
use crate::protocol::pcm::FrameReader;
use crate::protocol::{Fault, excerpt};
use crate::units::least;

/// Calls that are remembered; a response has one or two.
const REMEMBERED: usize = 64;
/// Longest audio of one message, in bytes: the server takes 15 MiB of base64.
const MAX_APPEND: usize = 8 << 20;
/// Longest arguments of a function call: far beyond any sense.
const MAX_ARGUMENTS: usize = 64 << 10;

/// Longest transcript of one turn of the caller, bytes: an hour's.
const MAX_TRANSCRIPT: usize = 64 << 10;

/// What the engine needs to know.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// Whose protocol it is.
    pub dialect: &'static Dialect,
    /// Where the sessions are.
    pub target: Target,
    /// Sent as `session.update` on every connection.
    pub profile: SessionProfile,
    /// How long the server may take to confirm it.
    pub ready_timeout: Duration,
    /// How long a session lasts where the server does not say; `None`: nobody knows.
    pub max_session: Option<Duration>,
    /// Tells the names of this call's sessions from those of others.
    pub seed: u64,
    /// Which events of the service become events for the operator; `None`: none.
    pub raw_events: Option<RawEvents>,
    /// What makes the session of options that are changed while a conversation runs; `None`: they are never changed.
    pub profile_of: Option<ProfileOf>,
}

/// Makes a session of options, for audio in this format.
pub type ProfileOf = fn(&'static Dialect, &AiOptions, AudioFormat) -> SessionProfile;

impl EngineConfig {
    /// Of OpenAI, with 10 s to confirm, 60 minutes, 5 minutes, 15 s; the target is still to be set.
    pub fn new(profile: SessionProfile) -> Self {
        Self::of(&OPENAI, profile)
    }

    /// The same of another service.
    pub fn of(dialect: &'static Dialect, profile: SessionProfile) -> Self {
        Self {
            dialect,
            target: Target::default(),
            profile,
            ready_timeout: Duration::from_secs(10),
            max_session: dialect.max_session,
            seed: 0,
            raw_events: None,
            profile_of: None,
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
    /// The connection is of no use any more, or we ended it.
    Ended,
}

/// A function call of which the name came before the arguments.
#[derive(Debug)]
struct NamedCall {
    response_id: String,
    item_id: String,
    call_id: String,
    name: String,
}

/// The Realtime protocol of one conversation.
#[derive(Debug)]
pub struct OpenAi {
    config: EngineConfig,
    phase: Phase,
    outputs: VecDeque<Output>,
    requests: u64,
    opened_at: Option<(Instant, u64)>,
    /// What the service calls the session, once it has said so.
    session_id: Option<String>,
    expiry: Expiry,
    /// Calls already reported.
    called: VecDeque<String>,
    calls: VecDeque<NamedCall>,
    /// The content whose audio came last, and half a sample of it.
    half: Option<(String, u32, FrameReader)>,
    /// The caller's item, and behind it what was said in it so far, where the service says it again and again.
    heard: (String, String),
    unknown: u64,
    change: Option<Change>,
}

impl Engine for OpenAi {
    fn handle(&mut self, now: Instant, input: Input<'_>) {
        match input {
            Input::Opened { unix_seconds } => self.opened(now, unix_seconds),
            Input::Refused { status, message } if !self.is_open() => {
                self.phase = Phase::Idle;
                let prefix = self.config.dialect.vendor.prefix;
                let message = address::refusal(&self.config.target, prefix, status, message);
                self.lost(loss::refused(status, &message));
            }
            Input::Closed { code, reason } if self.is_open() => self.lost(failure::closed(code, reason)),
            Input::Timeout => self.timeout(now),
            Input::Text(text) if self.is_open() => self.text(now, text),
            Input::Binary(_) if self.is_open() => self.fault("a binary message: this protocol has none"),
            Input::Audio(audio) if self.phase == Phase::Ready && !audio.is_empty() => self.append(audio),
            Input::Changed(options) => self.changed(now, options),
            Input::Command(command) => self.command(command),
            _ => {}
        }
    }

    fn poll(&mut self) -> Option<Output> {
        queue::pop(&mut self.outputs)
    }

    fn deadline(&self) -> Option<Instant> {
        let change = self.change.as_ref().and_then(Change::due);
        match self.phase {
            Phase::Configuring { until } => Some(until),
            Phase::Ready => least([self.expiry.deadline(), change]),
            _ => None,
        }
    }

    fn input(&self) -> InputFormat {
        self.config.profile.input.wire()
    }

    fn capabilities(&self) -> Capabilities {
        let turns = self.config.profile.turn_detection.turns();
        Capabilities {
            turns,
            full_duplex: false,
            truncates: self.config.dialect.truncates,
            takes_text: true,
            resumes: false,
            transcribes: self.config.profile.transcription.is_some(),
            says: false,
            greets: false,
        }
    }
}

impl OpenAi {
    /// Waits for [`Command::Connect`]. The profile should have passed its check.
    pub fn new(config: EngineConfig) -> Self {
        Self {
            config,
            phase: Phase::Idle,
            outputs: VecDeque::new(),
            requests: 0,
            opened_at: None,
            session_id: None,
            expiry: Expiry::default(),
            called: VecDeque::new(),
            calls: VecDeque::new(),
            half: None,
            heard: Default::default(),
            unknown: 0,
            change: None,
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

    fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Configuring { .. } | Phase::Ready)
    }

    fn opened(&mut self, now: Instant, unix_seconds: u64) {
        self.phase = Phase::Configuring { until: now + self.config.ready_timeout };
        self.opened_at = Some((now, unix_seconds));
        self.session_id = None;
        self.called.clear();
        self.calls.clear();
        self.half = None;
        self.heard = Default::default();
        self.expiry = self.config.max_session.map(|lasts| Expiry::of(now, lasts)).unwrap_or_default();
        if let Some(change) = &mut self.change {
            change.goes_with_the_session();
        }
        let event_id = self.event_id(Operation::Configure);
        let text = message::session_update(&event_id, self.config.dialect, &self.config.profile);
        self.outputs.push_back(Output::Send(Message::Text(text)));
    }

    fn event_id(&mut self, operation: Operation) -> String {
        self.requests += 1;
        operation.event_id(self.requests)
    }

    fn timeout(&mut self, now: Instant) {
        if let Phase::Configuring { until } = self.phase {
            if now >= until {
                let message = "the service did not confirm the session in time".to_owned();
                self.end(Loss { fatal: false, code: "timeout".to_owned(), message });
            }
            return;
        }
        if self.phase != Phase::Ready {
            return;
        }
        self.change_due(now);
        if let Some(now) = self.expiry.due(now) {
            self.event(Event::ExpiresSoon { now });
        }
    }

    fn append(&mut self, audio: &[u8]) {
        if audio.len() > MAX_APPEND {
            return self.fault("more audio at once than one message can carry was dropped");
        }
        let duration = self.input().duration_of(audio.len());
        self.outputs.push_back(Output::SendAudio { message: Message::Text(message::append(audio)), duration });
    }

    fn command(&mut self, command: Command) {
        let operation = match &command {
            Command::Connect { .. } => return self.connect(),
            Command::Close => {
                if self.is_open() {
                    self.outputs.push_back(Output::Close);
                }
                self.phase = Phase::Ended;
                return;
            }
            Command::Respond { .. } | Command::Say { .. } => Operation::Respond,
            Command::Cancel { .. } => Operation::Cancel,
            Command::Truncate { .. } => Operation::Truncate,
            Command::Delete { .. } => Operation::Delete,
            Command::Message { .. }
            | Command::ToolCall { .. }
            | Command::ToolOutput { .. }
            | Command::Recall { .. }
            | Command::Approve { .. } => Operation::Create,
            Command::BeginTurn { .. } => Operation::Clear,
            Command::Commit => Operation::Input,
            Command::Raw { event } => {
                if self.phase == Phase::Ready {
                    self.outputs.push_back(Output::Send(Message::Text(event.clone())));
                }
                return;
            }
        };
        if self.phase != Phase::Ready {
            return;
        }
        // A response has the number of its request, by which it is known again.
        let event_id = match command {
            Command::Respond { request, .. } => operation.event_id(request),
            _ => self.event_id(operation),
        };
        let dialect = self.config.dialect;
        if let Command::Respond { instructions: Some(instructions), .. } = &command
            && dialect.response == ResponseForm::Bare
        {
            let create = self.event_id(Operation::Create);
            let text = ClientEvent::system(&create, instructions).to_json();
            self.outputs.push_back(Output::Send(Message::Text(text)));
        }
        if let Some(event) = ClientEvent::of(&command, &event_id, &self.config.profile.instructions, dialect) {
            let text = event.to_json();
            self.outputs.push_back(Output::Send(Message::Text(text)));
        }
        if let Command::BeginTurn { audio } = &command
            && !audio.is_empty()
        {
            self.append(audio);
        }
    }

    /// Asks for a connection; where sessions have names, with a new one.
    fn connect(&mut self) {
        let mut target = self.config.target.clone();
        if let Some(name) = self.config.dialect.session_name {
            self.requests += 1;
            let and = if target.url.contains('?') { '&' } else { '?' };
            target.url = format!("{}{and}{name}={:016x}-{}", target.url, self.config.seed, self.requests);
        }
        self.outputs.push_back(Output::Connect(target));
    }

    fn text(&mut self, now: Instant, text: &str) {
        let dialect = self.config.dialect;
        let is_audio = |kind: &str| dialect.event(kind) == "response.output_audio.delta";
        if let Some(told) = self.config.raw_events.and_then(|which| raw::told(which, is_audio, text)) {
            self.event(Event::Raw(told));
        }
        match serde_json::from_str::<ServerEvent<'_>>(text) {
            Ok(event) => self.server_event(now, &event),
            Err(error) => match serde_json::from_str::<KindOnly<'_>>(text) {
                Ok(KindOnly { kind }) if !kind.is_absent() && !is_used(self.config.dialect.event(kind.as_str())) => {
                    self.unknown += 1;
                }
                Ok(KindOnly { kind }) => {
                    self.fault(format!("{}: unusable fields ({error})", excerpt(kind.as_str())));
                }
                Err(error) => self.fault(format!("the text is not a JSON object ({error}): {}", excerpt(text))),
            },
        }
    }

    fn server_event(&mut self, now: Instant, event: &ServerEvent<'_>) {
        let dialect = self.config.dialect;
        match dialect.event(event.kind.as_str()) {
            "session.created" => self.session(now, event, false),
            "session.updated" => self.session(now, event, true),
            "error" => self.error(now, event.error.as_ref()),
            "input_audio_buffer.speech_started" => {
                self.event(Event::SpeechStarted { start_ms: event.audio_start_ms.whole() });
            }
            "input_audio_buffer.speech_stopped" => self.event(Event::SpeechStopped),
            "input_audio_buffer.committed" => {
                let previous = event.previous_item_id.id();
                self.event(Event::Committed { item_id: event.item_id.id().unwrap_or_default(), previous });
            }
            "input_audio_buffer.timeout_triggered" => self.event(Event::IdleTimeout),
            "conversation.item.input_audio_transcription.delta" => self.caller_transcript(event, false),
            "conversation.item.input_audio_transcription.updated" => self.caller_so_far(event),
            // Where the words come so far and again, they come so also under this name.
            "conversation.item.input_audio_transcription.completed" if event.status.as_str() == "in_progress" => {
                self.caller_so_far(event);
            }
            "conversation.item.input_audio_transcription.completed" => {
                self.used(usage::of_transcript(&event.usage.0));
                self.caller_transcript(event, true);
            }
            "conversation.item.input_audio_transcription.failed" => {
                let item_id = event.item_id.id().unwrap_or_default();
                let failure = as_failure(read_error(dialect, event.error.as_ref()));
                self.event(Event::CallerTranscriptFailed { item_id, failure });
            }
            "response.created" => {
                if let Some((response_id, response)) = event.response.as_ref().and_then(|r| Some((r.id.id()?, r))) {
                    let request = response.metadata.as_ref().and_then(|metadata| request_of(metadata.request.as_str()));
                    self.event(Event::ResponseStarted { response_id, request });
                } else {
                    self.fault("response.created: the response has no id");
                }
            }
            "response.done" => self.response_done(event),
            "response.output_item.added" => self.item_added(event),
            "response.output_item.done" => {
                if let Some(item) = &event.item {
                    let response_id = event.response_id.id().unwrap_or_default();
                    self.function_call(&response_id, item);
                    self.approval(&response_id, item);
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
            kind if is_ignored(kind) || dialect.ignores(event.kind.as_str()) => {}
            "" => self.fault("a message without a type"),
            _ => self.unknown += 1,
        }
    }

    fn session(&mut self, now: Instant, event: &ServerEvent<'_>, configured: bool) {
        let named = event.session.as_ref().and_then(|session| session.id.id());
        if named.is_some() && named != self.session_id {
            self.session_id.clone_from(&named);
            self.outputs.extend(named.map(|session_id| Output::Event(Event::Named { session_id })));
        }
        if let Some(session) = &event.session
            && let (Some(expires_at), Some((opened, unix_seconds))) = (session.expires_at.whole(), self.opened_at)
            && let Some(left) = expires_at.checked_sub(unix_seconds)
            // A clock that is wrong by days must not end the session at once or never.
            && (60..=86_400).contains(&left)
            && (self.phase != Phase::Ready || self.expiry.is_ahead())
        {
            self.expiry = Expiry::of(opened, Duration::from_secs(left));
        }
        if configured {
            self.confirmed(now);
        }
    }

    fn confirmed(&mut self, now: Instant) {
        let configuring = matches!(self.phase, Phase::Configuring { .. });
        if !configuring {
            return self.change_confirmed();
        }
        // What was changed meanwhile comes first.
        if !self.send_change(now) {
            self.change_settled(None);
            self.ready(now);
        }
    }

    fn ready(&mut self, now: Instant) {
        self.phase = Phase::Ready;
        self.event(Event::Ready);
        // A session that is shorter than the margin is recycled as soon as there is a pause.
        self.timeout(now);
    }

    fn error(&mut self, now: Instant, body: Option<&ErrorBody<'_>>) {
        let error = read_error(self.config.dialect, body);
        let event_id = body.map_or("", |body| body.event_id.as_str());
        if let Some((operation @ (Operation::Change | Operation::Configure), _)) = Operation::of(event_id)
            && self.change_refused(now, operation, &error)
        {
            return;
        }
        match error {
            ApiError::Session(loss) => self.end(loss),
            // A session that is not configured is useless; the same settings may work with another connection.
            ApiError::Request(failure) if failure.class != FailureClass::Harmless && self.phase != Phase::Ready => {
                self.end(Loss { fatal: false, code: failure.code, message: failure.message });
            }
            ApiError::Request(failure) => self.event(Event::Failed(failure)),
        }
    }

    /// What the caller has said so far, again and again: what is new is handed on. Words that have changed come at the end.
    fn caller_so_far(&mut self, event: &ServerEvent<'_>) {
        let (item_id, text) = (event.item_id.id().unwrap_or_default(), event.transcript.as_str());
        let known = if self.heard.0 == item_id { self.heard.1.as_str() } else { "" };
        let Some(new) = text.strip_prefix(known).filter(|new| !new.is_empty() && text.len() < MAX_TRANSCRIPT) else {
            return;
        };
        let new = new.to_owned();
        self.heard = (item_id.clone(), text.to_owned());
        self.event(Event::CallerTranscript { item_id, text: new, whole: false });
    }

    fn caller_transcript(&mut self, event: &ServerEvent<'_>, whole: bool) {
        let text = if whole { event.transcript.as_str() } else { event.delta.as_str() };
        let item_id = event.item_id.id().unwrap_or_default();
        self.event(Event::CallerTranscript { item_id, text: text.to_owned(), whole });
    }

    fn audio(&mut self, event: &ServerEvent<'_>) {
        let bytes = match BASE64.decode(event.delta.as_str()) {
            Ok(bytes) => bytes,
            Err(error) => return self.fault(format!("response.output_audio.delta: delta is not base64: {error}")),
        };
        let item_id = event.item_id.id().unwrap_or_default();
        let content_index = event.content_index.whole().and_then(|index| u32::try_from(index).ok()).unwrap_or_default();
        let audio = match self.config.profile.output {
            AudioFormat::Pcmu => MonoAudio::Mulaw(bytes),
            AudioFormat::Pcma => MonoAudio::Alaw(bytes),
            AudioFormat::Pcm24k => {
                let same = |half: &(String, u32, FrameReader)| half.0 == item_id && half.1 == content_index;
                let reader = match &mut self.half {
                    Some(half) if same(half) => &mut half.2,
                    half => &mut half.insert((item_id.clone(), content_index, FrameReader::new(1))).2,
                };
                MonoAudio::Pcm { samples: reader.push(&bytes), rate: AudioFormat::Pcm24k.rate() }
            }
        };
        if !audio.duration().is_zero() {
            let response_id = event.response_id.id().unwrap_or_default();
            self.event(Event::Audio { response_id, item_id, content_index, audio });
        }
    }

    fn assistant_text(&mut self, event: &ServerEvent<'_>, text: &str, whole: bool, spoken: bool) {
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
            "message" => self.event(Event::ItemStarted { response_id, item_id }),
            "function_call" => {
                if let (Some(call_id), Some(name)) = (item.call_id.id(), item.name.id()) {
                    if self.calls.len() == REMEMBERED {
                        self.calls.pop_front();
                    }
                    self.calls.push_back(NamedCall { response_id, item_id, call_id, name });
                }
            }
            _ => {}
        }
    }

    /// The arguments are complete; the name came with the item, or comes with this.
    fn arguments_done(&mut self, event: &ServerEvent<'_>) {
        let (item_id, call_id) = (short_id(event.item_id.as_str()), event.call_id.id());
        let is_it = |call: &&NamedCall| call.item_id == item_id || Some(&call.call_id) == call_id.as_ref();
        let known = self.calls.iter().find(is_it);
        let response_id = event.response_id.id().or_else(|| known.map(|call| call.response_id.clone()));
        let call_id = call_id.or_else(|| known.map(|call| call.call_id.clone()));
        let name = event.name.id().or_else(|| known.map(|call| call.name.clone()));
        // Without a name or a response the item's end, which has everything, is waited for.
        if let (Some(response_id), Some(call_id), Some(name)) = (response_id, call_id, name) {
            self.call(response_id, call_id, name, event.arguments.as_str());
        }
    }

    fn function_call(&mut self, response_id: &str, item: &ItemBody<'_>) {
        let whole = matches!(item.status.as_str(), "completed" | "");
        if item.kind.as_str() != "function_call" || !whole {
            return;
        }
        if let (Some(call_id), Some(name)) = (item.call_id.id(), item.name.id()) {
            self.call(response_id.to_owned(), call_id, name, item.arguments.as_str());
        }
    }

    fn call(&mut self, response_id: String, call_id: String, name: String, arguments: &str) {
        if !self.is_new(&call_id) {
            return;
        }
        // What is too long to be meant is handed on empty, so that the agent refuses it and the model learns of it.
        let arguments = if arguments.len() > MAX_ARGUMENTS { String::new() } else { arguments.to_owned() };
        self.event(Event::ToolCall { response_id, call_id, name, arguments });
    }

    /// The model asks whether it may call a tool of a server that the service asks.
    fn approval(&mut self, response_id: &str, item: &ItemBody<'_>) {
        if item.kind.as_str() != "mcp_approval_request" {
            return;
        }
        let (Some(request_id), Some(name)) = (item.id.id(), item.name.id()) else { return };
        if !self.is_new(&request_id) {
            return;
        }
        let (server, arguments) = (excerpt(item.server_label.as_str()), item.arguments.as_str());
        // Nobody can judge what they do not see: the agent rejects a call without arguments that are an object.
        let arguments = if arguments.len() > MAX_ARGUMENTS { String::new() } else { arguments.to_owned() };
        self.event(Event::Approval { response_id: response_id.to_owned(), request_id, server, name, arguments });
    }

    /// Whether a call was not reported yet. It is from now on.
    fn is_new(&mut self, call_id: &str) -> bool {
        if self.called.iter().any(|called| called == call_id) {
            return false;
        }
        if self.called.len() == REMEMBERED {
            self.called.pop_front();
        }
        self.called.push_back(call_id.to_owned());
        true
    }

    fn response_done(&mut self, event: &ServerEvent<'_>) {
        let Some(response) = &event.response else { return self.fault("response.done: no response in it") };
        // However it ended, it is billed.
        let used = usage::of_response(&response.usage.0);
        self.used(if used == Usage::default() { usage::of_response(&event.usage.0) } else { used });
        let Some(response_id) = response.id.id() else { return self.fault("response.done: the response has no id") };
        let details = response.status_details.as_ref();
        let reason = || excerpt(details.map_or("", |details| details.reason.as_str()));
        let outcome = match response.status.as_str() {
            "cancelled" => Outcome::Cancelled,
            "incomplete" => Outcome::Incomplete(reason()),
            "failed" => match read_error(self.config.dialect, details.and_then(|details| details.error.as_ref())) {
                ApiError::Session(loss) if loss.fatal => return self.end(loss),
                error => Outcome::Failed(as_failure(error)),
            },
            _ => Outcome::Completed,
        };
        if outcome == Outcome::Completed {
            for item in response.output.iter().flatten() {
                self.function_call(&response_id, item);
                self.approval(&response_id, item);
            }
            let last = response.output.iter().flatten().last();
            if last.is_some_and(|item| item.kind.as_str() == "mcp_call") {
                self.event(Event::ToolsRan { response_id: response_id.clone() });
            }
        }
        self.calls.clear();
        self.event(Event::ResponseDone { response_id, outcome });
    }

    fn used(&mut self, usage: Usage) {
        if usage != Usage::default() {
            self.event(Event::Used(usage));
        }
    }

    fn event(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }

    fn fault(&mut self, reason: impl Into<std::borrow::Cow<'static, str>>) {
        self.outputs.push_back(Output::Fault(Fault::new(reason)));
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
        self.outputs.push_back(Output::Close);
    }
}

fn read_error(dialect: &Dialect, body: Option<&ErrorBody<'_>>) -> ApiError {
    body.map_or_else(
        || api_error("", "", "the service gave no details", ""),
        |body| {
            let code = dialect.error_code(body.code.as_str(), body.message.as_str());
            api_error(body.kind.as_str(), code, body.message.as_str(), body.event_id.as_str())
        },
    )
}

/// The request that an event id of ours is of.
fn request_of(event_id: &str) -> Option<u64> {
    Operation::of(event_id).filter(|(operation, _)| *operation == Operation::Respond).map(|(_, number)| number)
}

/// An error that does not end the session where it was found, whatever its code.
fn as_failure(error: ApiError) -> Failure {
    match error {
        ApiError::Request(failure) => failure,
        ApiError::Session(Loss { code, message, .. }) => {
            let class = FailureClass::Permanent;
            Failure { class, refuses: Refuses::Nothing, retry_after: None, code, message }
        }
    }
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
    "conversation.item.added",
    "conversation.item.created",
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

/// Tools on the server's side run without us.
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

/// Fuzz target: `data`, cut at its line ends, as texts of the server, and checks what must hold whatever arrives.
///
/// # Panics
/// When an invariant is broken: an output after the loss but the close, empty audio, an endless id.
#[allow(clippy::disallowed_methods, reason = "any instant does: the fuzzer drives the protocol from outside")]
pub fn fuzz_openai_realtime(data: &[u8]) {
    let now = Instant::now();
    let mut engine = OpenAi::new(EngineConfig::new(SessionProfile::default()));
    engine.handle(now, Input::Opened { unix_seconds: 0 });
    while engine.poll().is_some() {}
    let mut lost = 0;
    for line in data.split(|byte| *byte == b'\n') {
        engine.handle(now, Input::Text(&String::from_utf8_lossy(line)));
        while let Some(output) = engine.poll() {
            assert!(lost == 0 || matches!(output, Output::Close), "an output after the loss");
            match output {
                Output::Event(Event::Lost(_)) => lost += 1,
                Output::Event(Event::Audio { response_id, item_id, audio, .. }) => {
                    assert!(response_id.chars().count() <= 128 && item_id.chars().count() <= 128);
                    assert!(!audio.duration().is_zero());
                }
                Output::Fault(fault) => assert!(!fault.reason.is_empty() && fault.reason.len() < 1_024),
                _ => {}
            }
        }
    }
    assert!(lost <= 1, "lost twice");
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
