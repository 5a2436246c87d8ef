//! The state machine of a session with AssemblyAI's Voice Agent, once for each connection.
//!
//! ```text
//! Idle ─Opened─┬─► Recalling ─Recall─► Beginning ─session.ready─► Ready ─closed, session.ended, session.error─► Ended
//!              └─ a session was lost ─► Resuming ─┘ └─ refused ─► Ended: the next connection begins a new session
//! ```
//! Nothing but its configuration is sent before `session.ready`. Owned by the stream's task. An *answer* is what the service says from
//! `reply.started` to `reply.done`. A request for an answer waits while one is said or owed, and results of functions wait until nobody
//! speaks ([`calls`](super::calls)). What is bounded, and what goes then: calls ([`calls`](super::calls)), messages that wait for an
//! answer ([`texts`](super::texts)), one request.

mod changing;
mod service;
mod telling;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::super::coding::{Coder, Decoder};
use super::super::engine::{
    Capabilities, Command, Engine, Event, Failure, Input, InputFormat, Loss, Outcome, Output, TurnTaking,
};
use super::super::expiry::Expiry;
use super::super::growing::Growing;
use super::super::loss;
use super::super::options::{AiOptions, RawEvents};
use super::super::queue;
use super::calls::Calls;
use super::kept::Kept;
use super::message::{self, ClientMessage};
use super::profile::Profile;
use super::reply::Reply;
use super::texts::Texts;
use crate::peer::{Message, Target};
use crate::protocol::Fault;
use crate::units::least;

/// How long the service may take to be ready, and to confirm a change.
const READY: Duration = Duration::from_secs(15);
/// Longest session; shorter where the service says when it ends.
const LONGEST: Duration = Duration::from_secs(3 * 3_600);
/// How long the service may owe an answer. It was none then.
const OWED: Duration = Duration::from_secs(10);

/// What the engine needs to know.
#[derive(Clone, Debug)]
pub(super) struct Config {
    /// Where the sessions are.
    pub(super) target: Target,
    pub(super) profile: Profile,
    /// What the agent says first in the first session.
    pub(super) greeting: Option<String>,
    /// The caller hears a greeting from the module.
    pub(super) greeted: bool,
    /// Which events of the service become events for the operator; `None`: none.
    pub(super) raw_events: Option<RawEvents>,
    /// Makes the profile of options that are changed.
    pub(super) profile_of: fn(&AiOptions, InputFormat) -> Profile,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// No connection.
    Idle,
    /// The agent is asked for the past; the session is to begin; one is to go on.
    Recalling(Instant),
    Beginning(Instant),
    Resuming(Instant),
    Ready,
    /// The connection is of no use any more, or we ended it.
    Ended,
}

/// What the service is about to say by itself, and until when that is believed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Owed {
    /// A greeting that nobody is to hear.
    Greeting(Instant),
    /// The answer to a turn of the caller, or to the result of a function.
    Turn(Instant),
    Result(Instant),
}

impl Owed {
    const fn until(self) -> Instant {
        match self {
            Self::Greeting(until) | Self::Turn(until) | Self::Result(until) => until,
        }
    }
}

/// The request for an answer that is outstanding.
#[derive(Debug)]
struct Asked {
    request: u64,
    how: How,
}

/// How an answer comes about.
#[derive(PartialEq, Eq, Debug)]
enum How {
    /// It is to be asked for by these instructions, once nobody speaks.
    Waits(Option<String>),
    /// It is asked for.
    Sent,
    /// The service owes it.
    Owed,
}

/// A change of the session that is under way.
#[derive(Debug)]
struct Change {
    /// The session as it was.
    before: Box<Profile>,
    /// Until when the service is to confirm it; `None`: it is not told yet, or the session begins with it.
    until: Option<Instant>,
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct AssemblyAi {
    config: Config,
    phase: Phase,
    outputs: VecDeque<Output>,
    /// Counts answers and turns that the service has given no id.
    number: u64,
    /// Seconds since 1970 when the connection was made.
    opened_at: u64,
    expiry: Expiry,
    kept: Kept,
    /// There has been a session.
    begun: bool,
    /// How the caller's audio is coded, where the service decides that, and the agent's.
    coder: Option<Coder>,
    decoder: Decoder,
    /// Functions that the service carries out.
    elsewhere: Vec<String>,
    reply: Option<Reply>,
    /// The answer before, of which the words may come late.
    last: Option<Reply>,
    /// What comes belongs to an answer that is over.
    muted: bool,
    /// The caller speaks, as the service hears.
    speaking: bool,
    /// Their turn that is not over.
    turn: Option<Growing>,
    calls: Calls,
    texts: Texts,
    asked: Option<Asked>,
    owed: Option<Owed>,
    change: Option<Change>,
}

impl Engine for AssemblyAi {
    fn handle(&mut self, now: Instant, input: Input<'_>) {
        match input {
            Input::Opened { unix_seconds } => self.opened(now, unix_seconds),
            Input::Refused { status, message } if !self.is_open() => {
                self.phase = Phase::Idle;
                let check = if matches!(status, Some(401 | 403)) { "; check assemblyai_api_key" } else { "" };
                self.lost(loss::refused(status, &format!("{message}{check}")));
            }
            Input::Closed { code, reason } if self.is_open() => self.closed(now, code, reason),
            Input::Timeout => self.timeout(now),
            Input::Text(text) if self.is_open() => self.text(now, text),
            Input::Binary(_) if self.is_open() => self.fault("a binary message: this protocol has none"),
            Input::Audio(audio) if self.phase == Phase::Ready && !audio.is_empty() => self.capture(audio),
            Input::Changed(options) => self.changed(now, options),
            Input::Command(command) => self.command(now, command),
            _ => {}
        }
        self.settle(now);
    }

    fn poll(&mut self) -> Option<Output> {
        queue::pop(&mut self.outputs)
    }

    fn deadline(&self) -> Option<Instant> {
        match self.phase {
            Phase::Recalling(until) | Phase::Beginning(until) | Phase::Resuming(until) => Some(until),
            Phase::Ready => {
                let change = self.change.as_ref().and_then(|change| change.until);
                let bridge = self.calls.due().filter(|_| self.is_quiet());
                least([self.expiry.deadline(), change, bridge, self.owed.map(Owed::until)])
            }
            Phase::Idle | Phase::Ended => None,
        }
    }

    fn input(&self) -> InputFormat {
        self.config.profile.audio
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            turns: TurnTaking::Engine { responds: true, interrupts: true },
            full_duplex: false,
            truncates: false,
            takes_text: true,
            // A session that goes on says so.
            resumes: false,
            transcribes: true,
            says: false,
            greets: true,
        }
    }
}

impl AssemblyAi {
    /// Waits for [`Command::Connect`].
    pub(super) fn new(config: Config) -> Self {
        let decoder = Decoder::new(config.profile.audio);
        Self {
            config,
            phase: Phase::Idle,
            outputs: VecDeque::new(),
            number: 0,
            opened_at: 0,
            expiry: Expiry::default(),
            kept: Kept::default(),
            begun: false,
            coder: None,
            decoder,
            elsewhere: Vec::new(),
            reply: None,
            last: None,
            muted: false,
            speaking: false,
            turn: None,
            calls: Calls::default(),
            texts: Texts::default(),
            asked: None,
            owed: None,
            change: None,
        }
    }

    fn is_open(&self) -> bool {
        !matches!(self.phase, Phase::Idle | Phase::Ended)
    }

    /// Whether nobody speaks, and the service is not about to.
    fn is_quiet(&self) -> bool {
        let owes = matches!(self.owed, Some(Owed::Turn(_) | Owed::Greeting(_)));
        self.reply.is_none() && !self.speaking && !owes
    }

    fn next(&mut self, what: &str) -> String {
        self.number += 1;
        format!("{what}_{}", self.number)
    }

    fn opened(&mut self, now: Instant, unix_seconds: u64) {
        self.opened_at = unix_seconds;
        self.expiry = Expiry::of(now, LONGEST);
        (self.reply, self.last, self.muted) = (None, None, false);
        (self.speaking, self.turn) = (false, None);
        (self.asked, self.owed) = (None, None);
        if let Some(session_id) = self.kept.session(now).map(str::to_owned) {
            self.phase = Phase::Resuming(now + READY);
            return self.send(&ClientMessage::Resume { session_id: &session_id });
        }
        self.kept.forget();
        self.calls.begin();
        self.texts.begin();
        self.phase = Phase::Recalling(now + READY);
        if self.config.profile.agent.is_none() {
            return self.event(Event::Opening);
        }
        // A stored agent keeps its own prompt, so messages carry the past.
        self.begin(now);
    }

    /// The session's configuration.
    fn begin(&mut self, now: Instant) {
        self.phase = Phase::Beginning(now + READY);
        let prompt = self.texts.prompt(&self.config.profile.prompt);
        // In a conversation that goes on nobody is greeted again.
        let greeting = self.config.greeting.as_deref().filter(|_| !self.begun);
        let message = self.config.profile.begin(&prompt, greeting);
        self.outputs.push_back(Output::Send(Message::Text(message)));
    }

    fn closed(&mut self, now: Instant, code: u16, reason: &str) {
        let loss = loss::closed(code, reason, false);
        match self.phase {
            Phase::Ready => {
                self.kept.lost(now);
                // What is final the service says in words; 1008 is behind all of its errors.
                self.lost(Loss { fatal: false, ..loss });
            }
            // It is not tried a second time.
            Phase::Resuming(_) => self.not_resumed(loss),
            _ => self.lost(loss),
        }
    }

    /// A session cannot be gone on with: the next connection begins a new one.
    fn not_resumed(&mut self, loss: Loss) {
        self.kept.forget();
        self.lost(Loss { fatal: false, ..loss });
    }

    fn timeout(&mut self, now: Instant) {
        let late = || Loss {
            fatal: false,
            code: "timeout".to_owned(),
            message: "the service was not ready in time".to_owned(),
        };
        match self.phase {
            Phase::Recalling(until) | Phase::Beginning(until) if now >= until => return self.end(late()),
            Phase::Resuming(until) if now >= until => {
                self.not_resumed(late());
                return self.outputs.push_back(Output::Close);
            }
            Phase::Ready => {}
            _ => return,
        }
        self.change_due(now);
        if let Some(now) = self.expiry.due(now) {
            self.event(Event::ExpiresSoon { now });
        }
    }

    /// Sends what has waited for its moment: results of functions, and the request for an answer.
    fn settle(&mut self, now: Instant) {
        if self.phase != Phase::Ready {
            return;
        }
        if self.owed.take_if(|owed| now >= owed.until()).is_some()
            && let Some(asked) = self.asked.as_mut().filter(|asked| asked.how == How::Owed)
        {
            asked.how = How::Waits(None);
        }
        if self.is_quiet() {
            self.send_results(now);
            self.ask();
        }
    }

    fn capture(&mut self, audio: &[u8]) {
        let (text, duration) = match &mut self.coder {
            None => (message::audio(audio), self.input().duration_of(audio.len())),
            Some(coder) => {
                let (coded, duration) = coder.push(audio);
                if coded.is_empty() {
                    return;
                }
                (message::audio(&coded), duration)
            }
        };
        self.outputs.push_back(Output::SendAudio { message: Message::Text(text), duration });
    }

    /// The answer in progress is over, if there is one.
    fn answered(&mut self, outcome: Outcome) {
        self.decoder.reset();
        let Some(reply) = self.reply.take() else { return };
        if !reply.unwanted {
            let response_id = reply.response_id.clone();
            self.event(Event::ResponseDone { response_id, outcome });
        }
        self.last = Some(reply);
    }

    fn send(&mut self, message: &ClientMessage<'_>) {
        self.outputs.push_back(Output::Send(Message::Text(message.to_json())));
    }

    fn event(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }

    fn failed(&mut self, failure: Failure) {
        self.event(Event::Failed(failure));
    }

    fn fault(&mut self, reason: impl Into<std::borrow::Cow<'static, str>>) {
        self.outputs.push_back(Output::Fault(Fault::new(reason)));
    }

    /// The connection is gone, or never was.
    fn lost(&mut self, loss: Loss) {
        if self.phase != Phase::Ended {
            self.phase = Phase::Ended;
            self.event(Event::Lost(loss));
        }
    }

    /// The connection is there and of no use.
    fn end(&mut self, loss: Loss) {
        self.lost(loss);
        self.outputs.push_back(Output::Close);
    }

    fn command(&mut self, now: Instant, command: Command) {
        match command {
            Command::Connect { .. } => self.outputs.push_back(Output::Connect(self.config.target.clone())),
            Command::Close => self.close(),
            Command::Recall { past } if matches!(self.phase, Phase::Recalling(_)) => {
                self.texts.recall(past);
                self.begin(now);
            }
            _ if self.phase != Phase::Ready => {}
            command => self.tell(command),
        }
    }

    /// A session without an end costs until the service gives it up.
    fn close(&mut self) {
        if self.is_open() {
            if self.phase == Phase::Ready {
                self.send(&ClientMessage::End);
            }
            self.outputs.push_back(Output::Close);
        }
        self.kept.forget();
        self.phase = Phase::Ended;
    }
}

#[cfg(test)]
#[path = "tests.rs"]
pub(super) mod tests;
