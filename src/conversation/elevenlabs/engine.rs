//! The state machine of a conversation with an agent: from the request for a connection to its end, once for each connection.
//!
//! ```text
//! Idle ─Connect─► Signing (private agents) ─signed URL─► Connecting ─Opened─► Beginning ─metadata─► Ready ─closed, error─► Ended
//! ```
//! The service tells neither when the caller begins to speak nor, unless the agent is set so, where an answer ends; it interrupts by
//! itself. Answers and turns have numbers of the engine's own. It cannot be asked to respond: it answers turns, results and messages of the
//! caller, so a response that is asked for without words is a message that says [`GO_ON`].
//!
//! Owned by the stream's task. Bounded: [`MOST_HELD`] texts wait for their response, [`REMEMBERED`] calls are known again.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use base64::Engine as _;

use super::super::coding::{Coder, Decoder};
use super::super::engine::{
    Capabilities, Command, Engine, Event, Failure, FailureClass, Input, InputFormat, Loss, Outcome, Output, Refuses,
    TurnTaking,
};
use super::super::functions::is_failure;
use super::super::growing::Growing;
use super::super::json::KindOnly;
use super::super::queue;
use super::super::raw;
use super::super::ticket::{Answered, Ticket, words_of};
use super::answer::{Answer, Said};
use super::config::Config;
use super::failure::{self, End};
use super::message::{self, ClientMessage};
use super::wire::{Alignment, Audio, Correction, ErrorBody, Metadata, ServerMessage, ToolCall};
use crate::peer::{Fetch, Fetched, Message, Speaker, Target, is_success};
use crate::protocol::codec::BASE64;
use crate::protocol::{Fault, excerpt};
use crate::units::Encoding;

/// How long the service may take to begin.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Calls that are remembered.
const REMEMBERED: usize = 64;
/// Longest arguments of a function call: far beyond any sense.
const MAX_ARGUMENTS: usize = 64 << 10;
/// Texts that wait until a response to them is asked for.
const MOST_HELD: usize = 64;
/// Words of the caller's that ask for a response which has none.
const GO_ON: &str = "Please go on.";

#[derive(Debug)]
enum Phase {
    /// No connection.
    Idle,
    /// A signed URL is asked for.
    Signing(Ticket),
    /// A connection is being made.
    Connecting,
    /// It is there; the agent has been told how to begin.
    Beginning { until: Instant },
    /// The conversation is held.
    Ready { coder: Coder, decoder: Decoder },
    /// The connection is of no use any more, or we ended it.
    Ended,
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct ElevenLabs {
    config: Config,
    phase: Phase,
    outputs: VecDeque<Output>,
    /// Counts requests, answers and turns.
    number: u64,
    /// There has been a conversation.
    begun: bool,
    /// This one continues the one before.
    resumes: bool,
    /// The agent speaks first by its own settings: so it will in each new conversation.
    greets: bool,
    /// In this conversation the agent has begun to speak or to act, or the caller has spoken.
    opened_up: bool,
    /// The service was sent words that it is to answer.
    asked: bool,
    answer: Option<Answer>,
    said: Said,
    /// Audio up to this number is of what the caller has interrupted.
    interrupted: Option<u64>,
    /// The service says the end of its answers.
    told_ends: bool,
    /// Calls of this conversation that were reported.
    called: VecDeque<String>,
    /// The service is about to say something by itself: it has a turn of the caller, or a result.
    owes: bool,
    /// A response that is asked for when what the agent says has been heard: a message of the caller's would interrupt it.
    pending: Option<Option<String>>,
    /// Until when what has come is being heard, by the clock.
    speaks_until: Option<Instant>,
    /// Texts for which a response is going to be asked for.
    held: Vec<(Speaker, String)>,
    /// The caller's turn that is not over, and what they have said so far.
    turn: Option<Growing>,
}

impl Engine for ElevenLabs {
    fn handle(&mut self, now: Instant, input: Input<'_>) {
        match input {
            Input::Command(command) => self.command(now, command),
            Input::Opened { .. } => self.opened(now),
            Input::Refused { status, message } if !self.is_open() => self.lost(failure::of_refusal(status, message)),
            Input::Closed { code, reason } if self.is_open() => {
                let ready = matches!(self.phase, Phase::Ready { .. });
                self.over(failure::of_close(code, reason, ready));
            }
            Input::Fetched { id, piece } => self.fetched(id, piece),
            Input::Timeout => self.timeout(now),
            Input::Text(text) if self.is_open() => self.text(now, text),
            Input::Binary(_) if self.is_open() => self.fault("a binary message: this protocol has none"),
            Input::Audio(audio) => self.append(audio),
            // Nothing of an agent can be changed while it talks; the command is refused before.
            Input::Changed(_) => {
                let message = "nothing of an agent can be changed while it talks".to_owned();
                self.event(Event::Changed(Some(failed("unsupported", message))));
            }
            _ => {}
        }
        if self.pending.is_some()
            && self.is_ready()
            && !self.is_speaking(now)
            && let Some(instructions) = self.pending.take()
        {
            self.ask(instructions);
        }
    }

    fn poll(&mut self) -> Option<Output> {
        queue::pop(&mut self.outputs)
    }

    fn deadline(&self) -> Option<Instant> {
        match &self.phase {
            Phase::Signing(ticket) => Some(ticket.until()),
            Phase::Beginning { until } => Some(*until),
            Phase::Ready { .. } => {
                let pending = self.speaks_until.filter(|_| self.pending.is_some());
                self.answer.as_ref().map(|answer| answer.ends_at(self.told_ends)).or(pending)
            }
            _ => None,
        }
    }

    fn input(&self) -> InputFormat {
        InputFormat { rate: self.config.rate, encoding: Encoding::S16Le }
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            turns: TurnTaking::Engine { responds: true, interrupts: true },
            full_duplex: false,
            truncates: false,
            takes_text: true,
            resumes: false,
            transcribes: true,
            says: false,
            greets: true,
        }
    }
}

impl ElevenLabs {
    /// Waits for [`Command::Connect`].
    pub(super) fn new(config: Config) -> Self {
        Self {
            config,
            phase: Phase::Idle,
            outputs: VecDeque::new(),
            number: 0,
            begun: false,
            resumes: false,
            greets: false,
            opened_up: false,
            asked: false,
            answer: None,
            said: Said::default(),
            interrupted: None,
            told_ends: false,
            called: VecDeque::new(),
            owes: false,
            pending: None,
            speaks_until: None,
            held: Vec::new(),
            turn: None,
        }
    }

    fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Beginning { .. } | Phase::Ready { .. })
    }

    fn is_ready(&self) -> bool {
        matches!(self.phase, Phase::Ready { .. })
    }

    fn next(&mut self) -> u64 {
        self.number += 1;
        self.number
    }

    fn event(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }

    fn fault(&mut self, reason: impl Into<std::borrow::Cow<'static, str>>) {
        self.outputs.push_back(Output::Fault(Fault::new(reason)));
    }

    fn send(&mut self, message: &ClientMessage<'_>) {
        self.outputs.push_back(Output::Send(Message::Text(message.to_json())));
    }

    /// The connection is gone, or never was.
    fn lost(&mut self, loss: Loss) {
        self.over(End::Lost(loss));
    }

    fn over(&mut self, end: End) {
        if matches!(self.phase, Phase::Idle | Phase::Ended) {
            return;
        }
        self.phase = Phase::Ended;
        self.event(match end {
            End::Ended(message) => Event::Ended { message },
            End::Lost(loss) => Event::Lost(loss),
        });
    }

    /// The connection is there and of no use.
    fn end(&mut self, end: End) {
        self.over(end);
        self.outputs.push_back(Output::Close);
    }

    fn connect(&mut self, now: Instant) {
        let Some(key) = self.config.key.clone() else {
            self.phase = Phase::Connecting;
            let (url, headers) = (self.config.addresses.conversation.clone(), self.config.headers.clone());
            return self.outputs.push_back(Output::Connect(Target { url, headers, secret: None }));
        };
        let id = self.next();
        self.phase = Phase::Signing(Ticket::new(now, id));
        let mut headers = self.config.headers.clone();
        headers.insert(0, ("xi-api-key".to_owned(), key));
        let target = Target { url: self.config.addresses.signed_url.clone(), headers, secret: None };
        self.outputs.push_back(Output::Fetch(Fetch { id, target, body: None }));
    }

    /// Something has come of the request for a signed URL.
    fn fetched(&mut self, id: u64, piece: Fetched<'_>) {
        let Phase::Signing(ticket) = &mut self.phase else { return };
        match ticket.fetched(id, piece) {
            Some(Answered::With { status, body }) => self.signed(status, &body),
            Some(Answered::Nothing(message)) => self.lost(failure::of_refusal(None, &message)),
            None => {}
        }
    }

    fn signed(&mut self, status: u16, body: &[u8]) {
        if !is_success(status) {
            let message = format!("no signed URL: HTTP {status}: {}", words_of(body));
            return self.lost(failure::of_refusal(Some(status), &message));
        }
        #[derive(serde::Deserialize)]
        struct Signed {
            signed_url: String,
        }
        let target = serde_json::from_slice(body)
            .map_err(|_| "the answer has no signed URL".to_owned())
            .and_then(|Signed { signed_url }| self.config.addresses.signed(&signed_url));
        match target {
            Err(why) => self.lost(Loss { fatal: false, code: "signed_url".to_owned(), message: why }),
            Ok(mut target) => {
                if self.config.addresses.is_same_server(&target) {
                    target.headers.clone_from(&self.config.headers);
                }
                self.phase = Phase::Connecting;
                self.outputs.push_back(Output::Connect(target));
            }
        }
    }

    fn opened(&mut self, now: Instant) {
        self.phase = Phase::Beginning { until: now + TIMEOUT };
        self.answer = None;
        self.said.clear();
        self.interrupted = None;
        self.called.clear();
        self.owes = false;
        self.resumes = self.begun;
        (self.opened_up, self.asked) = (false, false);
        self.held.clear();
        (self.pending, self.speaks_until) = (None, None);
        self.turn = None;
        // In a conversation that goes on nobody is greeted again.
        let first = self.config.greeting.as_deref().map(|words| if self.resumes { "" } else { words });
        let text = self.config.initiation.to_json(first);
        self.outputs.push_back(Output::Send(Message::Text(text)));
    }

    fn timeout(&mut self, now: Instant) {
        match &self.phase {
            Phase::Signing(ticket) if now >= ticket.until() => {
                let id = ticket.id();
                self.outputs.push_back(Output::AbortFetch { id });
                let message = "no signed URL in time".to_owned();
                self.lost(Loss { fatal: false, code: "timeout".to_owned(), message });
            }
            Phase::Beginning { until } if now >= *until => {
                let message = "the service did not begin the conversation in time".to_owned();
                self.end(End::Lost(Loss { fatal: false, code: "timeout".to_owned(), message }));
            }
            Phase::Ready { .. } => {
                let ends = |answer: &Answer| answer.ends_at(self.told_ends) <= now;
                if self.answer.as_ref().is_some_and(ends) {
                    self.answer_over(Outcome::Completed);
                }
            }
            _ => {}
        }
    }

    fn append(&mut self, audio: &[u8]) {
        let Phase::Ready { coder, .. } = &mut self.phase else { return };
        let (coded, duration) = coder.push(audio);
        if !coded.is_empty() {
            let message = Message::Text(message::audio(&coded));
            self.outputs.push_back(Output::SendAudio { message, duration });
        }
    }

    fn command(&mut self, now: Instant, command: Command) {
        match command {
            Command::Connect { .. } => self.connect(now),
            Command::Close => self.close(),
            _ if !self.is_ready() => {}
            Command::Respond { instructions, .. } => self.pending = Some(instructions),
            Command::Cancel { response_id, tell } => self.cancel(&response_id, tell),
            Command::Message { speaker, text, respond: true, .. } if self.held.len() < MOST_HELD => {
                self.held.push((speaker, text));
            }
            Command::Message { speaker, text, .. } => self.tell(speaker, &text),
            Command::ToolCall { call_id, name, arguments } => {
                let arguments = if arguments.trim().is_empty() { "{}" } else { &arguments };
                let text = format!("You have called the function {name} (call {call_id}) with {arguments}.");
                self.send(&ClientMessage::ContextualUpdate { text: &text });
            }
            Command::ToolOutput { call_id, output } if self.called.contains(&call_id) => {
                let is_error = is_failure(&output);
                self.owes = true;
                self.send(&ClientMessage::ClientToolResult { tool_call_id: &call_id, result: &output, is_error });
            }
            // Of a conversation before this one.
            Command::ToolOutput { call_id, output } => {
                let text = format!("The function of call {call_id} has returned: {output}");
                self.send(&ClientMessage::ContextualUpdate { text: &text });
            }
            Command::Approve { request_id, approve, .. } => {
                self.owes = true;
                self.send(&ClientMessage::McpToolApprovalResult { tool_call_id: &request_id, is_approved: approve });
            }
            Command::Raw { event } => self.outputs.push_back(Output::Send(Message::Text(event))),
            // It cannot forget, says nothing exactly, and finds the turns itself: the agent does not ask for these.
            Command::Say { .. } | Command::Recall { .. } => {}
            Command::Truncate { .. } | Command::Delete { .. } | Command::BeginTurn { .. } | Command::Commit => {}
        }
    }

    fn close(&mut self) {
        match &self.phase {
            Phase::Signing(ticket) => {
                let id = ticket.id();
                self.outputs.extend([Output::AbortFetch { id }, Output::Close]);
            }
            Phase::Beginning { .. } | Phase::Ready { .. } => self.outputs.push_back(Output::Close),
            Phase::Idle | Phase::Connecting | Phase::Ended => {}
        }
        self.phase = Phase::Ended;
    }

    /// Whether the agent speaks, or is still heard.
    fn is_speaking(&self, now: Instant) -> bool {
        let answers = self.answer.as_ref().is_some_and(|answer| !answer.given_up);
        answers || self.speaks_until.is_some_and(|until| now < until)
    }

    /// A response is wanted. The service has to have words of the caller for that, unless it is about to respond anyway.
    fn ask(&mut self, instructions: Option<String>) {
        let held = std::mem::take(&mut self.held);
        let words = match instructions {
            // What was to be answered besides goes before.
            Some(instructions) => {
                held.iter().for_each(|(speaker, text)| self.tell(*speaker, text));
                instructions
            }
            None if !held.is_empty() => held.into_iter().map(|(_, text)| text).collect::<Vec<_>>().join("\n"),
            None if self.owes => return,
            None => GO_ON.to_owned(),
        };
        (self.asked, self.owes) = (true, true);
        self.send(&ClientMessage::UserMessage { text: &words });
    }

    /// Something that nobody is to answer.
    fn tell(&mut self, speaker: Speaker, text: &str) {
        let text = match speaker {
            Speaker::Caller => format!("The caller has said: {text}"),
            Speaker::Agent => format!("You have said: {text}"),
            Speaker::System => text.to_owned(),
        };
        self.send(&ClientMessage::ContextualUpdate { text: &text });
    }

    /// The service goes on by itself: it gets the texts that wait for an answer, so that its next answer takes them into account.
    fn tell_held(&mut self) {
        for (speaker, text) in std::mem::take(&mut self.held) {
            self.tell(speaker, &text);
        }
    }

    /// An answer is not wanted any more. The service cannot be told so; that the caller is active is the nearest there is.
    fn cancel(&mut self, response_id: &str, tell: bool) {
        let Some(answer) = self.answer.as_mut().filter(|answer| answer.response_id == response_id && !answer.given_up)
        else {
            return;
        };
        // More of it is known as part of it, and dropped with it.
        answer.given_up = true;
        self.speaks_until = None;
        if tell {
            self.send(&ClientMessage::UserActivity);
        }
        self.event(Event::ResponseDone { response_id: response_id.to_owned(), outcome: Outcome::Cancelled });
    }

    fn text(&mut self, now: Instant, text: &str) {
        if let Some(told) = self.config.raw_events.and_then(|which| raw::told(which, |kind| kind == "audio", text)) {
            self.event(Event::Raw(told));
        }
        match serde_json::from_str::<ServerMessage<'_>>(text) {
            Ok(message) => self.message(now, &message),
            Err(error) => match serde_json::from_str::<KindOnly<'_>>(text) {
                Ok(KindOnly { kind }) => {
                    self.fault(format!("{}: unusable fields ({error})", excerpt(kind.as_str())));
                }
                Err(error) => self.fault(format!("the text is no JSON object ({error}): {}", excerpt(text))),
            },
        }
    }

    fn message(&mut self, now: Instant, message: &ServerMessage<'_>) {
        match message.kind.as_str() {
            "ping" => match message.ping.0.event_id.whole() {
                Some(event_id) => self.send(&ClientMessage::Pong { event_id }),
                None => self.fault("ping: no event_id"),
            },
            "conversation_initiation_metadata" => self.begin(&message.metadata.0),
            "error" => self.end(failure::of_error(&message.error.0)),
            kind if !self.is_ready() && IGNORED.contains(&kind) => {}
            kind if !self.is_ready() => {
                self.fault(format!("{}: before the conversation has begun", excerpt(kind)));
            }
            "audio" => self.audio(now, &message.audio.0),
            "agent_response" => {
                let body = &message.response.0;
                self.agent_response(now, body.agent_response.as_str().trim(), body.event_id.whole());
            }
            "agent_response_correction" => self.correction(&message.correction.0),
            "agent_response_complete" => {
                self.told_ends = true;
                self.answer_over(Outcome::Completed);
            }
            "interruption" => self.interruption(message.interruption.0.event_id.whole()),
            "user_transcript" => self.user_transcript(message.transcript.0.user_transcript.as_str().trim()),
            "tentative_user_transcript" => self.tentative(message.tentative.0.user_transcript.as_str().trim()),
            "client_tool_call" => match &message.client_tool_call {
                Some(call) => self.tool_call(now, call),
                None => self.fault("client_tool_call: no call in it"),
            },
            "mcp_tool_call" => self.mcp_call(now, message.mcp_tool_call.as_ref()),
            "agent_tool_response" => self.tool_response(now, message.agent_tool_response.0.tool_name.as_str()),
            "client_error" => {
                let bodies = [&message.client_error_event.0, &message.client_error.0, &message.error.0];
                let said = bodies.into_iter().find(|body| !body.message.is_absent() || !body.reason.is_absent());
                self.client_error(said);
            }
            "guardrail_triggered" => {
                let message = "a guardrail of the agent was triggered".to_owned();
                self.event(Event::Failed(failed("guardrail_triggered", message)));
            }
            "dtmf_request" => {
                let message = "the agent asks for keys by its own tool, which is not supported: remove it from the agent and \
                     give it the client tool send_dtmf (builtin_tools)";
                self.event(Event::Failed(failed("dtmf_request", message.to_owned())));
            }
            "" => self.fault("a message without a type"),
            // What is new, and what is of no interest.
            _ => {}
        }
    }

    /// The conversation begins.
    fn begin(&mut self, metadata: &Metadata<'_>) {
        if !matches!(self.phase, Phase::Beginning { .. }) {
            return self.fault("conversation_initiation_metadata: the conversation has begun already");
        }
        let format = |name: &str| super::audio::format(name).ok_or_else(|| excerpt(name));
        let formats = format(metadata.user_input_audio_format.as_str())
            .and_then(|input| format(metadata.agent_output_audio_format.as_str()).map(|output| (input, output)));
        let (input, output) = match formats {
            Ok(formats) => formats,
            Err(name) => {
                let message = format!(
                    "the agent's audio format '{name}' is not supported: set it to pcm_8000, pcm_16000, pcm_22050, pcm_24000, \
                     pcm_44100, pcm_48000 or ulaw_8000 in the agent's settings"
                );
                return self.end(End::Lost(Loss { fatal: true, code: "audio_format".to_owned(), message }));
            }
        };
        self.phase = Phase::Ready { coder: Coder::new(self.config.rate, input), decoder: Decoder::new(output) };
        self.begun = true;
        if let Some(session_id) = metadata.conversation_id.id() {
            self.event(Event::Named { session_id });
        }
        self.event(Event::Ready);
    }

    /// The answer in progress, which may begin with this; `None` where it is of no use.
    fn answer(&mut self, now: Instant) -> Option<&mut Answer> {
        if self.answer.is_none() {
            let number = self.next();
            let mut answer = Answer::new(now, number);
            // What the agent says before anything else, by its settings, the caller knows in a conversation that goes on.
            let first = !std::mem::replace(&mut self.opened_up, true) && self.config.greeting.is_none();
            answer.unwanted = first && self.resumes && self.greets;
            answer.given_up = answer.unwanted;
            self.greets |= first && !self.resumes && !self.asked;
            if !answer.unwanted {
                self.owes = false;
                self.tell_held();
                let response_id = answer.response_id.clone();
                self.event(Event::ResponseStarted { response_id, request: None });
            }
            self.answer = Some(answer);
        }
        let answer = self.answer.as_mut()?;
        answer.touch(now);
        Some(answer).filter(|answer| !answer.unwanted)
    }

    /// The answer in progress, if there is one, is over.
    fn answer_over(&mut self, outcome: Outcome) {
        if let Phase::Ready { decoder, .. } = &mut self.phase {
            decoder.reset();
        }
        let Some(answer) = self.answer.take() else { return };
        // The agent learned of the end when it gave the answer up.
        if !answer.given_up {
            self.event(Event::ResponseDone { response_id: answer.response_id, outcome });
        }
    }

    fn audio(&mut self, now: Instant, body: &Audio<'_>) {
        let Some(event_id) = body.event_id.whole() else { return self.fault("audio: no event_id") };
        if self.interrupted.is_some_and(|until| event_id <= until) {
            return;
        }
        let bytes = match BASE64.decode(body.audio_base_64.as_str()) {
            Ok(bytes) => bytes,
            Err(error) => return self.fault(format!("audio: audio_base_64 is not base64: {error}")),
        };
        let Phase::Ready { decoder, .. } = &mut self.phase else { return };
        let audio = decoder.push(bytes);
        let duration = audio.duration();
        if duration.is_zero() {
            return;
        }
        let alignment = body.alignment.and_then(|raw| serde_json::from_str::<Alignment>(raw.get()).ok());
        let Some(answer) = self.answer(now) else { return };
        let marks = answer.audio(now, duration, alignment.as_ref());
        let (response_id, item_id) = (answer.response_id.clone(), answer.item_id.clone());
        if !answer.given_up {
            self.speaks_until = Some(self.speaks_until.map_or(now, |until| until.max(now)) + duration);
        }
        self.event(Event::Audio {
            response_id: response_id.clone(),
            item_id: item_id.clone(),
            content_index: 0,
            audio,
        });
        if !marks.is_empty() {
            self.event(Event::Marks { response_id, item_id, marks });
        }
    }

    /// The words of an answer, all of them, about when its first audio comes.
    fn agent_response(&mut self, now: Instant, text: &str, event_id: Option<u64>) {
        let stale =
            self.answer.is_none() && self.interrupted.is_some_and(|until| event_id.is_some_and(|id| id <= until));
        if text.is_empty() || stale {
            return;
        }
        if self.answer.as_ref().is_some_and(|answer| answer.worded) {
            self.answer_over(Outcome::Completed);
        }
        let Some(answer) = self.answer(now) else {
            // What is not to be heard has its words, too, so that the next words begin another answer.
            self.answer.iter_mut().for_each(|answer| answer.worded = true);
            return;
        };
        answer.worded = true;
        let (response_id, item_id) = (answer.response_id.clone(), answer.item_id.clone());
        self.said.note(&item_id, text);
        self.event(Event::Transcript { response_id, item_id, text: text.to_owned(), whole: true });
    }

    fn correction(&mut self, body: &Correction<'_>) {
        let (text, said) =
            (body.original_agent_response.as_str().trim(), body.corrected_agent_response.as_str().trim());
        // Words that are not known are of an answer that was not to be heard, or of a conversation before.
        if let Some(item_id) = self.said.item_of(text).map(str::to_owned) {
            // The service marks where it has cut.
            let said = said.trim_end_matches("...").trim_end().to_owned();
            self.event(Event::Corrected { item_id, text: text.to_owned(), said });
        }
    }

    fn interruption(&mut self, event_id: Option<u64>) {
        let Some(event_id) = event_id else { return self.fault("interruption: no event_id") };
        self.interrupted = Some(self.interrupted.map_or(event_id, |before| before.max(event_id)));
        self.speaks_until = None;
        self.event(Event::Interrupted);
        self.answer_over(Outcome::Cancelled);
    }

    /// The caller's turn is over.
    fn user_transcript(&mut self, text: &str) {
        let turn = self.turn.take();
        // The service writes a silence as dots.
        if text.chars().all(|c| matches!(c, '.' | '…')) {
            return;
        }
        self.answer_over(Outcome::Completed);
        self.tell_held();
        (self.opened_up, self.owes) = (true, true);
        let item_id = turn.map_or_else(|| format!("caller_{}", self.next()), Growing::into_item_id);
        self.event(Event::Committed { item_id: item_id.clone(), previous: None });
        self.event(Event::CallerTranscript { item_id, text: text.to_owned(), whole: true });
    }

    /// What the caller has said so far, again and again: what is new is handed on. Words that have changed come at the end.
    fn tentative(&mut self, text: &str) {
        if self.turn.is_none() {
            self.turn = Some(Growing::new(format!("caller_{}", self.next())));
        }
        if let Some(turn) = &mut self.turn
            && let Some(text) = turn.more(text)
        {
            let item_id = turn.item_id().to_owned();
            self.event(Event::CallerTranscript { item_id, text, whole: false });
        }
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

    fn tool_call(&mut self, now: Instant, call: &ToolCall<'_>) {
        let (Some(call_id), Some(name)) = (call.tool_call_id.id(), call.tool_name.id()) else {
            return self.fault("client_tool_call: no tool_name or no tool_call_id");
        };
        if !self.is_new(&call_id) {
            return;
        }
        let arguments = arguments(call);
        self.within_an_answer(now, |response_id| Event::ToolCall { response_id, call_id, name, arguments });
    }

    /// The agent wants to call a tool of a server that the service asks, and waits for an approval.
    fn mcp_call(&mut self, now: Instant, call: Option<&ToolCall<'_>>) {
        let Some(call) = call.filter(|call| call.state.as_str() == "awaiting_approval") else { return };
        let (Some(request_id), Some(name)) = (call.tool_call_id.id(), call.tool_name.id()) else {
            return self.fault("mcp_tool_call: no tool_name or no tool_call_id");
        };
        if !self.is_new(&request_id) {
            return;
        }
        let (server, arguments) = (excerpt(call.service_id.as_str()), arguments(call));
        self.within_an_answer(now, |response_id| Event::Approval { response_id, request_id, server, name, arguments });
    }

    /// A tool of the service's own has run. One of them is that the agent says nothing.
    fn tool_response(&mut self, now: Instant, name: &str) {
        if name == "skip_turn" && self.answer.is_none() {
            self.answer(now);
            self.answer_over(Outcome::Completed);
        }
    }

    /// Tells of something that the agent does, in its answer or, between answers, in one without words.
    fn within_an_answer(&mut self, now: Instant, event: impl FnOnce(String) -> Event) {
        let alone = self.answer.as_ref().is_none_or(|answer| answer.given_up);
        if alone {
            self.answer = None;
            // This is not what it says first.
            self.opened_up = true;
        }
        let Some(response_id) = self.answer(now).map(|answer| answer.response_id.clone()) else { return };
        self.event(event(response_id));
        if alone {
            self.answer_over(Outcome::Completed);
        }
    }

    fn client_error(&mut self, body: Option<&ErrorBody<'_>>) {
        let words =
            body.map_or("", |body| if body.message.is_absent() { body.reason.as_str() } else { body.message.as_str() });
        let words = if words.is_empty() { "the service gave no details" } else { words };
        self.event(Event::Failed(failed("client_error", excerpt(words))));
    }
}

/// What the operator is told of; the conversation goes on.
fn failed(code: &str, message: String) -> Failure {
    let (class, refuses) = (FailureClass::Permanent, Refuses::Nothing);
    Failure { class, refuses, retry_after: None, code: code.to_owned(), message }
}

/// The arguments as the agent gives them. What is too long to be meant is handed on empty, so that it is refused.
fn arguments(call: &ToolCall<'_>) -> String {
    call.parameters.map(|raw| raw.get()).filter(|text| text.len() <= MAX_ARGUMENTS).unwrap_or_default().to_owned()
}

/// Messages that may come before the conversation has begun, and are of no interest.
const IGNORED: &[&str] = &["asr_initiation_metadata", "mcp_connection_status", "vad_score", "context_usage"];

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
