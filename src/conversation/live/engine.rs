//! The state machine of a session, once for each connection.
//!
//! ```text
//! Idle ─Opened─► Recalling ─Recall─► Starting ─session.started─► Ready ─closed, session.closed, fatal error─► Ended
//!                                       └── no answer within READY ──────────────────────────────────────────┘
//! ```
//! Nothing is sent before `session.start`, which has what was said so far, and nothing but that before `session.started`. Answers and turns
//! have numbers of the engine's own. The service cannot be asked for a response but by something that it may speak about
//! (`session.commentary.append`). Owned by the stream's task. Bounded: [`MOST_HELD`] texts wait for their response; the rest by its parts.

mod changing;
mod commands;
mod service;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::super::address;
use super::super::engine::{
    Capabilities, Engine, Event, Failure, FailureClass, Input, InputFormat, Loss, Outcome, Output, Refuses, TurnTaking,
};
use super::super::expiry::Expiry;
use super::super::loss;
use super::super::openai::{self, Operation};
use super::super::options::{AiOptions, RawEvents};
use super::super::queue;
use super::answer::{Answer, Ends};
use super::backend::Tasks;
use super::caller::Caller;
use super::gate::Gate;
use super::message::{self, ClientEvent};
use super::pace::Pace;
use super::profile::{Format, Profile};
use crate::peer::{Message, Speaker, Target};
use crate::protocol::Fault;
use crate::units::least;

/// How long the service may take to begin a session, and to confirm a change of it.
const READY: Duration = Duration::from_secs(10);
/// Longest audio of the caller in one message, bytes.
const MAX_AUDIO: usize = 1 << 20;
/// Texts that wait until a response to them is asked for.
const MOST_HELD: usize = 64;

/// What the engine needs to know.
#[derive(Clone, Debug)]
pub(super) struct Config {
    /// Where the sessions are.
    pub(super) target: Target,
    pub(super) profile: Profile,
    /// Which events of the service become events for the operator.
    pub(super) raw_events: Option<RawEvents>,
    /// Makes the profile of options that are changed.
    pub(super) profile_of: fn(&AiOptions, Format) -> Profile,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// No connection.
    Idle,
    /// The agent is asked what was said so far.
    Recalling,
    /// `session.start` is sent.
    Starting {
        /// When that has taken too long.
        until: Instant,
    },
    Ready,
    /// The connection is of no use any more, or we ended it.
    Ended,
}

/// What the model owes for results that it was given.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Owed {
    /// Nothing.
    #[default]
    Nothing,
    /// The second model goes on with them.
    Work,
    /// Speech: its answer is there.
    Speech,
    /// Nothing any more: it has spoken before the agent asked for that.
    Spoken,
}

/// A change of the session that is under way.
#[derive(Debug)]
struct Change {
    /// The session as it was.
    before: Box<Profile>,
    /// When its confirmation has taken too long; `None`: it is not sent yet.
    until: Option<Instant>,
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Live {
    config: Config,
    phase: Phase,
    outputs: VecDeque<Output>,
    /// Counts answers and commands.
    number: u64,
    /// When the connection was opened, and the same as seconds since 1970.
    opened_at: Option<(Instant, u64)>,
    expiry: Expiry,
    gate: Gate,
    pace: Option<Pace>,
    answer: Option<Answer>,
    caller: Caller,
    tasks: Tasks,
    owed: Owed,
    /// A request for a response is outstanding.
    asked: bool,
    /// Texts for which a response is going to be asked for.
    held: Vec<(Speaker, String)>,
    change: Option<Change>,
    /// Of this session, what has been counted as billed, ms.
    billed_ms: u64,
}

impl Engine for Live {
    fn handle(&mut self, now: Instant, input: Input<'_>) {
        match input {
            Input::Opened { unix_seconds } => self.opened(now, unix_seconds),
            Input::Refused { status, message } if !self.is_open() => {
                self.phase = Phase::Idle;
                let message = address::refusal(&self.config.target, openai::LIVE.vendor.prefix, status, message);
                self.lost(loss::refused(status, &message));
            }
            Input::Closed { code, reason } if self.is_open() => self.lost(openai::closed(code, reason)),
            Input::Timeout => self.timeout(now),
            Input::Text(text) if self.is_open() => self.text(now, text),
            Input::Binary(_) if self.is_open() => self.fault("a binary message: this protocol has none"),
            Input::Audio(audio) => self.capture(now, audio),
            Input::Changed(options) => self.changed(now, options),
            Input::Command(command) => self.command(now, command),
            _ => {}
        }
    }

    fn poll(&mut self) -> Option<Output> {
        queue::pop(&mut self.outputs)
    }

    fn deadline(&self) -> Option<Instant> {
        match self.phase {
            Phase::Starting { until } => Some(until),
            Phase::Ready => {
                let answer = self.answer.as_ref().map(Answer::ends_at);
                let change = self.change.as_ref().and_then(|change| change.until);
                least([self.expiry.deadline(), answer, self.caller.deadline(), change])
            }
            _ => None,
        }
    }

    fn input(&self) -> InputFormat {
        self.config.profile.format.wire()
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            turns: TurnTaking::Engine { responds: true, interrupts: true },
            full_duplex: true,
            truncates: false,
            takes_text: true,
            resumes: false,
            transcribes: true,
            says: false,
            greets: false,
        }
    }
}

impl Live {
    /// Waits for [`Command::Connect`](super::super::engine::Command::Connect).
    pub(super) fn new(config: Config) -> Self {
        Self {
            gate: Gate::new(config.profile.format.wire()),
            config,
            phase: Phase::Idle,
            outputs: VecDeque::new(),
            number: 0,
            opened_at: None,
            expiry: Expiry::default(),
            pace: None,
            answer: None,
            caller: Caller::default(),
            tasks: Tasks::default(),
            owed: Owed::default(),
            asked: false,
            held: Vec::new(),
            change: None,
            billed_ms: 0,
        }
    }

    fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Recalling | Phase::Starting { .. } | Phase::Ready)
    }

    fn opened(&mut self, now: Instant, unix_seconds: u64) {
        self.phase = Phase::Recalling;
        self.opened_at = Some((now, unix_seconds));
        self.expiry = Expiry::default();
        self.gate = Gate::new(self.input());
        self.pace = None;
        self.answer = None;
        self.tasks = Tasks::default();
        (self.owed, self.asked) = (Owed::default(), false);
        self.held.clear();
        self.billed_ms = 0;
        self.event(Event::Opening);
    }

    fn timeout(&mut self, now: Instant) {
        if let Phase::Starting { until } = self.phase {
            if now >= until {
                let message = "the service did not start the session in time".to_owned();
                self.end(Loss { fatal: false, code: "timeout".to_owned(), message });
            }
            return;
        }
        if self.phase != Phase::Ready {
            return;
        }
        let events = self.caller.due(now);
        self.tell(events);
        if self.answer.as_ref().is_some_and(|answer| now >= answer.ends_at()) {
            self.answer_over(Ends::Whole);
        }
        if let Some(now) = self.expiry.due(now) {
            self.event(Event::ExpiresSoon { now });
        }
        self.change_due(now);
    }

    fn capture(&mut self, now: Instant, audio: &[u8]) {
        let Some(pace) = self.pace.as_mut().filter(|_| self.phase == Phase::Ready) else { return };
        if audio.len() > MAX_AUDIO {
            return self.fault("more audio at once than one message can carry was dropped");
        }
        let audio = pace.admit(now, audio);
        if !audio.is_empty() {
            let duration = self.input().duration_of(audio.len());
            self.outputs.push_back(Output::SendAudio { message: Message::Text(message::audio(&audio)), duration });
        }
    }

    /// The answer in progress, which begins if there is none.
    fn answer(&mut self, now: Instant) -> &mut Answer {
        if self.answer.is_none() {
            // What the caller has said stands before it.
            let events = self.caller.answered();
            self.tell(events);
            let response_id = Answer::new(now, self.number + 1).response_id;
            self.event(Event::ResponseStarted { response_id, request: None });
            self.asked = false;
            self.number += 1;
        }
        let number = self.number;
        self.answer.get_or_insert_with(|| Answer::new(now, number))
    }

    /// The answer in progress, if there is one, is over.
    fn answer_over(&mut self, ends: Ends) {
        let Some(answer) = self.answer.take().filter(|answer| !answer.muted) else { return };
        let outcome = match ends {
            Ends::Whole => Outcome::Completed,
            Ends::Interrupted => {
                self.event(Event::Interrupted);
                Outcome::Cancelled
            }
        };
        self.event(Event::ResponseDone { response_id: answer.response_id, outcome });
    }

    /// Something has happened that the model answers.
    fn supersede(&mut self) {
        if let Some(answer) = &mut self.answer {
            answer.superseded = true;
        }
    }

    fn next(&mut self) -> u64 {
        self.number += 1;
        self.number
    }

    fn send(&mut self, event: &ClientEvent<'_>) {
        self.outputs.push_back(Output::Send(Message::Text(event.to_json())));
    }

    fn event(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }

    fn tell(&mut self, events: Vec<Event>) {
        self.outputs.extend(events.into_iter().map(Output::Event));
    }

    fn fault(&mut self, reason: impl Into<std::borrow::Cow<'static, str>>) {
        self.outputs.push_back(Output::Fault(Fault::new(reason)));
    }

    fn fail(&mut self, class: FailureClass, refuses: Refuses, code: &str, message: impl Into<String>) {
        let (code, message) = (code.to_owned(), message.into());
        self.event(Event::Failed(Failure { class, refuses, retry_after: None, code, message }));
    }

    /// The connection is gone, or never was.
    fn lost(&mut self, mut loss: Loss) {
        if self.phase == Phase::Ended {
            return;
        }
        if self.phase == Phase::Ready {
            let events = self.caller.over();
            self.tell(events);
        }
        self.change_lost(&mut loss);
        self.phase = Phase::Ended;
        self.event(Event::Lost(loss));
    }

    /// The connection is there and of no use.
    fn end(&mut self, loss: Loss) {
        self.lost(loss);
        self.outputs.push_back(Output::Close);
    }

    /// An event id of this operation, by which the service names it in an error.
    fn event_id(&mut self, operation: Operation) -> String {
        let number = self.next();
        operation.event_id(number)
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
