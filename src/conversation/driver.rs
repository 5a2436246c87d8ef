//! The driver of a conversation: the engine and the agent together, as the peer of a stream.
//!
//! ```text
//! connection, messages ─► Engine ─► events ─► Agent ◄─ caller, playback, synthesis, operator
//! send, connect ◄─ Engine ◄─ commands ◄───── Agent ─► speak, flush, synthesize, act, events
//! ```
//! Sans-IO: one [`Input`], one [`Output`], those of every [`Peer`]. Owned by the stream's task. It keeps what only the two
//! together know: texts that wait for a session, function calls that the operator is to answer, the playback position last
//! reported.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::agent::{self, Agent, AgentConfig, TurnTaking, tool_failure};
use super::changes::Changes;
use super::engine::{self, Command, Engine, Failure, Loss};
use super::options::AiOptions;
use super::queue;
use super::webhook::{Answer, Webhook};
use crate::peer::{
    AiEvent, AiStatus, Component, Connect, End, Event, Fetched, Input, Output, Peer, Report, Session, Speaker, State,
    Tell,
};
use crate::protocol::{Fault, WireFormat};
use crate::units::{PcmFormat, least};

/// Texts for the model that wait for a session.
const EARLY_TEXTS: usize = 64;
/// A received text that is longer is audio, or as little to be read.
const LONGEST_READABLE: usize = 1_000;

/// One conversation.
#[derive(Debug)]
pub struct Conversation {
    engine: Box<dyn Engine>,
    agent: Agent,
    outputs: VecDeque<Output>,
    capture: WireFormat,
    /// The turns are found here, and so are the operator's events about them.
    local_turns: bool,
    transcript_deltas: bool,
    /// There is a connection.
    connected: bool,
    /// There was a session: a caller is being talked with.
    begun: bool,
    /// Captured audio in the outbox.
    unsent: Duration,
    /// What the model is to be told and came while there was no session, and whether it is to answer.
    early: Vec<(Speaker, String)>,
    early_respond: bool,
    /// Instructions shortly before the end.
    wind_down: Option<String>,
    /// The playback position last reported.
    position: Option<(Duration, bool)>,
    /// Function calls that the operator is to answer, as long as the agent waits for them.
    awaited: Vec<String>,
    changes: Changes,
    /// What carries them out, where that is a server.
    webhook: Option<Webhook>,
}

impl Conversation {
    /// A conversation that waits for [`Input::Start`], with captured audio in messages of `message_ms`. The policy is made to fit
    /// the engine. `seed` tells it from others in its chances.
    pub fn new(engine: Box<dyn Engine>, mut policy: AgentConfig, message_ms: u32, seed: u64) -> Self {
        policy.fit(engine.as_ref());
        let wind_down = policy.wind_down.take();
        let input = engine.input();
        let pcm = PcmFormat { rate: input.rate, channels: 1 };
        Self {
            capture: WireFormat { pcm, encoding: input.encoding, message_ms },
            local_turns: policy.turns == TurnTaking::Local,
            transcript_deltas: true,
            engine,
            agent: Agent::new(policy, seed),
            outputs: VecDeque::new(),
            connected: false,
            begun: false,
            unsent: Duration::ZERO,
            early: Vec::new(),
            early_respond: false,
            wind_down,
            position: None,
            awaited: Vec::new(),
            changes: Changes::new(Arc::default()),
            webhook: None,
        }
    }

    /// The operator's functions are carried out there.
    #[must_use]
    pub fn with_webhook(mut self, webhook: Option<Webhook>) -> Self {
        self.webhook = webhook;
        self
    }

    /// Whether the operator also gets events for partial transcripts; on by default.
    #[must_use]
    pub const fn with_transcript_deltas(mut self, deltas: bool) -> Self {
        self.transcript_deltas = deltas;
        self
    }

    /// With the options that it was made of, which can be changed then.
    #[must_use]
    pub fn with_options(mut self, options: Arc<AiOptions>) -> Self {
        self.changes = Changes::new(options);
        self
    }

    /// The policy, for its state and counts.
    pub const fn policy(&self) -> &Agent {
        &self.agent
    }

    /// Passes an input to the engine, its outputs to the agent, and so on until neither has an output.
    fn tell_engine(&mut self, now: Instant, input: engine::Input<'_>) {
        self.engine.handle(now, input);
        self.drain_engine(now);
    }

    fn drain_engine(&mut self, now: Instant) {
        // What the engine sends goes before what follows from its events.
        let mut events = Vec::new();
        while let Some(output) = self.engine.poll() {
            match output {
                engine::Output::Event(event) => events.push(event),
                engine::Output::SendAudio { message, duration } => {
                    self.outputs.push_back(Output::SendAudio { message, duration });
                }
                engine::Output::Send(message) => self.outputs.push_back(Output::Send(message)),
                engine::Output::Connect(target) => {
                    let connect = Connect { target: Some(target), caller_waits: self.begun };
                    self.outputs.push_back(Output::Connect(connect));
                }
                engine::Output::Close => self.outputs.push_back(Output::Disconnect),
                engine::Output::Fetch(fetch) => self.outputs.push_back(Output::Fetch(fetch)),
                engine::Output::AbortFetch { id } => self.outputs.push_back(Output::AbortFetch { id }),
                engine::Output::Fault(fault) => self.outputs.push_back(Output::Fault(fault)),
            }
        }
        for event in events {
            self.event(now, event);
        }
    }

    fn event(&mut self, now: Instant, event: engine::Event) {
        match event {
            engine::Event::Lost(loss) => return self.lost(now, loss),
            engine::Event::Named { session_id } => {
                return self.outputs.push_back(Output::Session(Session::Named(session_id)));
            }
            engine::Event::RateLimits(limits) => return self.outputs.push_back(Output::RateLimits(limits)),
            engine::Event::Ready => {
                self.begun = true;
                self.outputs.push_back(Output::Session(Session::Up));
            }
            engine::Event::Ended { .. } => self.connected = false,
            engine::Event::Link(lost) => return self.link(lost),
            engine::Event::Changed(refusal) => return self.changed(now, refusal),
            engine::Event::Raw(text) => {
                return self.outputs.push_back(Output::Event(Event::Ai(AiEvent::Raw(text))));
            }
            engine::Event::SpeechStarted { .. } => self.outputs.push_back(Output::Event(Event::Speech(true))),
            engine::Event::SpeechStopped => self.outputs.push_back(Output::Event(Event::Speech(false))),
            _ => {}
        }
        self.agent.event(now, event);
        self.drain_agent(now);
    }

    /// Asks for the changes that wait, if none is under way.
    fn ask_for_changes(&mut self, now: Instant) {
        match self.changes.next() {
            Some(Ok(options)) => self.engine.handle(now, engine::Input::Changed(options)),
            // It was checked before: only what is asked for at the same time can be in the way of it.
            Some(Err(message)) => return self.failed("change_refused", message),
            None => return,
        }
        self.drain_engine(now);
    }

    /// The changes asked for are in force, or refused.
    fn changed(&mut self, now: Instant, refusal: Option<Failure>) {
        if let Some(options) = self.changes.settle(refusal.is_none()) {
            self.agent.set_tools(options.policy().tools);
        }
        if let Some(Failure { code, message, .. }) = refusal {
            self.failed(
                &code,
                format!("the service refuses a change of the session, which stays as it was: {message}"),
            );
        }
        self.ask_for_changes(now);
    }

    /// The engine's connection is lost, and the session goes on without it, or it is there again.
    fn link(&mut self, lost: Option<Loss>) {
        let Some(Loss { code, message, .. }) = lost else {
            return self.outputs.push_back(Output::Session(Session::Up));
        };
        let connected = std::mem::take(&mut self.connected);
        let lost = Session::Lost { fatal: false, connected, code: code.clone(), message: message.clone() };
        self.outputs.push_back(Output::Session(lost));
        self.failed(&code, message);
    }

    /// The server asks for a pause before the next attempt to connect. The agent or, while a session lasts, the engine makes that attempt.
    fn not_before(&mut self, at: Instant) {
        if self.agent.stats().connected {
            self.engine.not_before(at);
        } else {
            self.agent.not_before(at);
        }
    }

    /// Tells the operator.
    fn failed(&mut self, code: &str, message: String) {
        let event = AiEvent::Error { component: Component::Engine, response_id: None, code: code.to_owned(), message };
        self.outputs.push_back(Output::Event(Event::Ai(event)));
    }

    fn lost(&mut self, now: Instant, loss: Loss) {
        let undelivered = self.engine.input().bytes_in(std::mem::take(&mut self.unsent));
        self.outputs.push_back(Output::Session(Session::Lost {
            fatal: loss.fatal,
            connected: std::mem::take(&mut self.connected),
            code: loss.code.clone(),
            message: loss.message.clone(),
        }));
        self.agent.lost(now, loss, undelivered);
        self.drain_agent(now);
    }

    fn tell_agent(&mut self, now: Instant, input: Input<'_>) {
        self.agent.handle(now, input);
        self.drain_agent(now);
    }

    fn drain_agent(&mut self, now: Instant) {
        while let Some(output) = self.agent.poll() {
            match output {
                agent::Output::Peer(output) => self.pass_on(now, output),
                agent::Output::Append(audio) => self.tell_engine(now, engine::Input::Audio(&audio)),
                agent::Output::Command(Command::Close) => {
                    let before = self.outputs.len();
                    self.connected = false;
                    self.tell_engine(now, engine::Input::Command(Command::Close));
                    // An engine that has no connection yet says nothing: the attempt is given up.
                    if self.outputs.len() == before {
                        self.outputs.push_back(Output::Disconnect);
                    }
                }
                agent::Output::Command(command) => self.tell_engine(now, engine::Input::Command(command)),
            }
        }
    }

    /// What the agent wants of the stream.
    fn pass_on(&mut self, now: Instant, mut output: Output) {
        let (mut end, mut fetch) = (None, None);
        match &mut output {
            Output::Event(Event::Ai(AiEvent::Transcript { whole: false, .. })) if !self.transcript_deltas => return,
            Output::Event(Event::Ai(AiEvent::Action {
                call_id,
                builtin: false,
                name,
                arguments,
                webhook,
                mcp_server,
            })) => {
                self.awaited.push(call_id.clone());
                let hook = self.webhook.as_mut().filter(|_| mcp_server.is_none());
                fetch = hook.map(|hook| Output::Fetch(hook.call(now, call_id, name, arguments)));
                *webhook = fetch.is_some();
            }
            Output::Event(Event::Ai(AiEvent::State { state: State::Failed, last: true, code, message })) => {
                end = Some(End::ByItself(reason(code, message)));
            }
            Output::Event(Event::Ai(AiEvent::State { last: true, .. })) => end = Some(End::ByItself(String::new())),
            _ => {}
        }
        self.outputs.push_back(output);
        self.outputs.extend(fetch);
        self.outputs.extend(end.map(Output::End));
    }

    /// Something has come of a request for a function.
    fn function_answered(&mut self, now: Instant, id: u64, piece: Fetched<'_>) {
        let answer = self.webhook.as_mut().and_then(|webhook| webhook.fetched(id, piece));
        let Some(Answer { call_id, result, abort }) = answer else { return };
        self.outputs.extend(abort.map(|id| Output::AbortFetch { id }));
        if !self.agent.awaits(&call_id) {
            return;
        }
        let output = result.unwrap_or_else(|(code, message)| {
            let told = format!("no result of function call {call_id}: {message}");
            let event =
                AiEvent::Error { component: Component::Tool, response_id: None, code: code.clone(), message: told };
            self.outputs.push_back(Output::Event(Event::Ai(event)));
            tool_failure(format!("the function failed ({code})"))
        });
        self.tell_agent(now, Input::ToolResult { call_id, output });
    }

    /// There is a session for what waited: what one speaker says in a row goes as one message, and the last is answered.
    fn tell_early(&mut self, now: Instant) {
        let early = std::mem::take(&mut self.early);
        let answered = std::mem::take(&mut self.early_respond);
        let mut runs = early.chunk_by(|(one, _), (next, _)| one == next).peekable();
        while let Some(run) = runs.next() {
            let text = run.iter().map(|(_, text)| text.as_str()).collect::<Vec<_>>().join("\n");
            let speaker = run.first().map_or(Speaker::Caller, |(speaker, _)| *speaker);
            let respond = answered && runs.peek().is_none();
            self.tell_agent(now, Input::Tell(Tell { speaker, text: &text, respond }));
        }
    }

    /// A text for the model. What comes while there is no session waits for it and goes together, so that there is one answer.
    fn told(&mut self, now: Instant, tell: Tell<'_>) {
        if self.agent.stats().connected {
            self.tell_agent(now, Input::Tell(tell));
        } else if self.early.len() < EARLY_TEXTS {
            self.early_respond |= tell.respond;
            self.early.push((tell.speaker, tell.text.to_owned()));
        } else {
            let reason = "a text was dropped: too many wait for the connection".into();
            self.outputs.push_back(Output::Fault(Fault { reason }));
        }
    }
}

impl Peer for Conversation {
    fn handle(&mut self, now: Instant, input: Input<'_>) {
        match input {
            // Captured audio changes nothing but the backlog, so nothing follows from it.
            Input::Audio(audio) => {
                if self.agent.captured(audio) {
                    self.tell_engine(now, engine::Input::Audio(audio));
                }
                return;
            }
            Input::Playback { played, idle, .. } if self.position == Some((played, idle)) => return,
            Input::Text(text) => self.tell_engine(now, engine::Input::Text(text)),
            Input::Binary(bytes) => self.tell_engine(now, engine::Input::Binary(bytes)),
            Input::Opened { unix_seconds } => {
                self.connected = true;
                self.tell_engine(now, engine::Input::Opened { unix_seconds });
            }
            Input::Refused { status, after, message, .. } => {
                self.not_before(now + after);
                self.tell_engine(now, engine::Input::Refused { status, message });
            }
            Input::Closed { code, reason } => self.tell_engine(now, engine::Input::Closed { code, reason }),
            Input::NotAttempted { after, message } if self.agent.stats().connected => {
                // The session goes on without the connection.
                self.not_before(now + after);
                self.tell_engine(now, engine::Input::Refused { status: None, message });
            }
            Input::NotAttempted { after, message } => {
                self.agent.not_before(now + after);
                // Nobody waits for a conversation that has not begun: it ends instead of trying again.
                let (code, message) = ("breaker_open".to_owned(), message.to_owned());
                self.agent.lost(now, Loss { fatal: !self.begun, code, message }, 0);
                self.drain_agent(now);
            }
            Input::SendText(text) => self.told(now, Tell::by_caller(text)),
            Input::Tell(tell) => self.told(now, tell),
            Input::Change(changes) => {
                self.changes.want(changes);
                self.ask_for_changes(now);
            }
            Input::Raw(event) => {
                self.agent.send_raw(event);
                self.drain_agent(now);
            }
            Input::EndsSoon => {
                if let Some(text) = self.wind_down.take() {
                    self.told(now, Tell { speaker: Speaker::System, text: &text, respond: true });
                }
            }
            Input::Stop { text, call_ended } => {
                if let Some(text) = text {
                    self.told(now, Tell::by_caller(text));
                }
                self.tell_agent(now, Input::Stop { text: None, call_ended });
            }
            Input::ToolResult { call_id, output } => {
                if self.agent.awaits(&call_id) {
                    self.tell_agent(now, Input::ToolResult { call_id, output });
                }
            }
            Input::Fetched { id, piece } if Webhook::owns(id) => self.function_answered(now, id, piece),
            Input::Fetched { id, piece } => self.tell_engine(now, engine::Input::Fetched { id, piece }),
            Input::LocalSpeech(speaking) => {
                self.tell_engine(now, engine::Input::LocalSpeech(speaking));
                if self.local_turns {
                    self.outputs.push_back(Output::Event(Event::Speech(speaking)));
                }
                self.tell_agent(now, Input::LocalSpeech(speaking));
            }
            Input::Playback { played, idle, waiting } => {
                self.position = Some((played, idle));
                self.tell_agent(now, Input::Playback { played, idle, waiting });
            }
            Input::Timeout => {
                self.tell_engine(now, engine::Input::Timeout);
                self.tell_agent(now, Input::Timeout);
            }
            input => self.tell_agent(now, input),
        }
        let agent = &self.agent;
        self.awaited.retain(|call_id| agent.awaits(call_id));
        if let Some(webhook) = &mut self.webhook {
            let settled = webhook.settled(now, |call_id| agent.awaits(call_id));
            self.outputs.extend(settled.into_iter().map(|id| Output::AbortFetch { id }));
        }
        if !self.early.is_empty() && self.agent.stats().connected {
            self.tell_early(now);
        }
    }

    fn poll(&mut self) -> Option<Output> {
        queue::pop(&mut self.outputs)
    }

    fn deadline(&self) -> Option<Instant> {
        let webhook = self.webhook.as_ref().and_then(Webhook::deadline);
        least([self.engine.deadline(), self.agent.deadline(), webhook])
    }

    fn capture(&self) -> WireFormat {
        self.capture
    }

    /// What is said while there is no session is kept, and sent with the next.
    fn listens(&self) -> bool {
        true
    }

    fn set_unsent(&mut self, unsent: Duration) {
        self.unsent = unsent;
    }

    fn is_readable(&self, text: &str) -> bool {
        text.len() <= LONGEST_READABLE
    }

    fn report(&self) -> Option<Report<'_>> {
        let status = AiStatus { state: self.agent.state(), stats: self.agent.stats(), ..AiStatus::default() };
        Some(Report { status, awaited: &self.awaited, changes: self.changes.in_force() })
    }
}

/// Why a conversation failed, in one line that is never empty.
fn reason(code: &str, message: &str) -> String {
    match (code, message) {
        ("", "") => "the conversation failed".to_owned(),
        ("", message) => message.to_owned(),
        (code, "") => code.to_owned(),
        (code, message) if message.contains(code) => message.to_owned(),
        (code, message) => format!("{message} ({code})"),
    }
}

#[cfg(test)]
#[path = "driver_tests.rs"]
mod tests;
