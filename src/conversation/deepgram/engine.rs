//! The state machine of a session with Deepgram's Voice Agent, once for each connection.
//!
//! ```text
//! Idle ─Opened─► Greeting ─Welcome─► Recalling ─Recall─► Configuring ─SettingsApplied─► Ready ─closed, Error─► Ended
//!                    └────────────── no answer within READY ──────────────┘
//! ```
//! Nothing is sent before `Welcome`, and nothing but `Settings` before `SettingsApplied`. Owned by the stream's task. An *answer* is
//! what the service says until `AgentAudioDone`, until it asks for a function, or until the caller speaks. What is bounded, and what
//! goes then: function calls that are open ([`MOST_CALLS`], the oldest), texts and notes (`told`).

mod changing;
mod service;
mod telling;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::super::engine::{
    Capabilities, Command, Engine, Event, Failure, Input, InputFormat, Loss, Outcome, Output, TurnTaking,
};
use super::super::expiry::Expiry;
use super::super::options::{AiOptions, RawEvents};
use super::super::queue;
use super::super::services::DEEPGRAM;
use super::super::{address, loss};
use super::change::Change;
use super::profile::Profile;
use super::told::Told;
use crate::peer::{Message, Target};
use crate::protocol::Fault;
use crate::protocol::pcm::FrameReader;
use crate::units::least;

/// How long the service may take for its part of the beginning, and to confirm a change.
const READY: Duration = Duration::from_secs(10);
/// A session without audio is kept alive so often, as the vendor says.
const KEEP_ALIVE: Duration = Duration::from_secs(8);
/// Longest session.
const LONGEST: Duration = Duration::from_secs(2 * 3_600);
/// The service does not say that the caller has stopped. Speech without words is over after this.
const SPEECH: Duration = Duration::from_secs(10);
/// How long a turn that the module ends may take to be written down. Without words it was none.
const COMMIT: Duration = Duration::from_millis(1_500);
/// Calls of a session without a result.
const MOST_CALLS: usize = 64;

/// What the engine needs to know.
#[derive(Clone, Debug)]
pub(super) struct Config {
    /// Where the sessions are.
    pub(super) target: Target,
    pub(super) profile: Profile,
    /// The module ends the caller's turns.
    pub(super) local: bool,
    /// Which events of the service become events for the operator; `None`: none.
    pub(super) raw_events: Option<RawEvents>,
    /// Makes the profile of options that are changed.
    pub(super) profile_of: fn(&AiOptions, InputFormat) -> Profile,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// No connection.
    Idle,
    /// The service is to welcome us, or to apply the settings.
    Greeting(Instant),
    Configuring(Instant),
    Ready,
    /// The connection is of no use any more, or we ended it.
    Ended,
}

/// The answer in progress.
#[derive(Debug)]
struct Answer {
    response_id: String,
    item_id: String,
    /// Its words so far.
    text: String,
}

/// What the caller has cut off before it was said.
#[derive(Debug)]
enum Cut {
    /// Words of the agent.
    Agent(String),
    /// An injected text.
    Injected(String),
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Deepgram {
    config: Config,
    phase: Phase,
    outputs: VecDeque<Output>,
    /// Counts answers and turns.
    number: u64,
    expiry: Expiry,
    /// When the service is to hear of us again.
    keep_alive: Option<Instant>,
    told: Told,
    change: Option<Change>,
    /// Prompts sent for notes, of which the confirmations are to come.
    prompts: u32,
    answer: Option<Answer>,
    /// What comes belongs to an answer that the caller has cut off.
    muted: bool,
    /// Half a sample of an answer.
    half: FrameReader,
    /// The caller speaks, as the service hears, and is believed to at most until then.
    hears: Option<Instant>,
    /// Until when a turn of ours is to be written down.
    commit: Option<Instant>,
    /// The request that is outstanding.
    asked: Option<u64>,
    /// What was injected for it as words of the caller.
    injected: Option<String>,
    /// The request whose words were injected last, and may still be refused.
    saying: Option<u64>,
    /// The service will answer by itself: to the caller, to a result, to an injected text.
    owed: bool,
    /// What it answers is a result.
    result: bool,
    cut: Option<Cut>,
    /// Calls of this session without a result: id and name.
    calls: VecDeque<(String, String)>,
}

impl Engine for Deepgram {
    fn handle(&mut self, now: Instant, input: Input<'_>) {
        match input {
            Input::Opened { .. } => self.opened(now),
            Input::Refused { status, message } if !self.is_open() => {
                self.phase = Phase::Idle;
                let message = address::refusal(&self.config.target, DEEPGRAM.prefix, status, message);
                self.lost(loss::refused(status, &message));
            }
            Input::Closed { code, reason } if self.is_open() => self.lost(loss::closed(code, reason, false)),
            Input::Timeout => self.timeout(now),
            Input::Text(text) if self.is_open() => self.text(now, text),
            Input::Binary(bytes) if self.is_open() => self.audio(bytes),
            Input::Audio(audio) if self.phase == Phase::Ready && !audio.is_empty() => self.capture(now, audio),
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
            Phase::Greeting(until) | Phase::Configuring(until) => Some(until),
            Phase::Ready => {
                let change = self.change.as_ref().and_then(Change::due);
                least([self.expiry.deadline(), self.keep_alive, self.hears, self.commit, change])
            }
            Phase::Idle | Phase::Ended => None,
        }
    }

    fn input(&self) -> InputFormat {
        self.config.profile.audio
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            turns: match self.config.local {
                true => TurnTaking::Local,
                false => TurnTaking::Engine { responds: true, interrupts: true },
            },
            full_duplex: false,
            truncates: false,
            takes_text: true,
            resumes: false,
            transcribes: true,
            says: true,
            greets: false,
        }
    }
}

impl Deepgram {
    /// Waits for [`Command::Connect`].
    pub(super) fn new(config: Config) -> Self {
        Self {
            config,
            phase: Phase::Idle,
            outputs: VecDeque::new(),
            number: 0,
            expiry: Expiry::default(),
            keep_alive: None,
            told: Told::default(),
            change: None,
            prompts: 0,
            answer: None,
            muted: false,
            half: FrameReader::new(1),
            hears: None,
            commit: None,
            asked: None,
            injected: None,
            saying: None,
            owed: false,
            result: false,
            cut: None,
            calls: VecDeque::new(),
        }
    }

    fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Greeting(_) | Phase::Configuring(_) | Phase::Ready)
    }

    fn opened(&mut self, now: Instant) {
        self.phase = Phase::Greeting(now + READY);
        self.expiry = Expiry::of(now, LONGEST);
        self.told.begin();
        self.prompts = 0;
        self.answer = None;
        self.muted = false;
        self.half = FrameReader::new(1);
        (self.hears, self.commit) = (None, None);
        (self.asked, self.injected, self.saying, self.cut) = (None, None, None, None);
        (self.owed, self.result) = (false, false);
        self.calls.clear();
        if let Some(change) = &mut self.change {
            change.goes_with_the_session();
        }
    }

    fn timeout(&mut self, now: Instant) {
        match self.phase {
            Phase::Greeting(until) | Phase::Configuring(until) if now >= until => {
                let message = "the service did not confirm the session in time".to_owned();
                return self.end(Loss { fatal: false, code: "timeout".to_owned(), message });
            }
            Phase::Ready => {}
            _ => return,
        }
        if self.keep_alive.is_some_and(|at| now >= at) {
            self.keep_alive = Some(now + KEEP_ALIVE);
            self.send(r#"{"type":"KeepAlive"}"#.to_owned());
        }
        if self.hears.take_if(|until| now >= *until).is_some() {
            self.event(Event::SpeechStopped);
        }
        if self.commit.take_if(|until| now >= *until).is_some() {
            self.no_turn();
        }
        self.change_due(now);
        if let Some(now) = self.expiry.due(now) {
            self.event(Event::ExpiresSoon { now });
        }
    }

    /// The session is about to reach its longest duration.
    fn ends_soon(&mut self, now: Instant) {
        if self.expiry.comes_soon(now) {
            self.event(Event::ExpiresSoon { now: false });
        }
    }

    fn capture(&mut self, now: Instant, audio: &[u8]) {
        self.keep_alive = Some(now + KEEP_ALIVE);
        let duration = self.input().duration_of(audio.len());
        self.outputs.push_back(Output::SendAudio { message: Message::Binary(audio.to_vec()), duration });
    }

    /// The answer in progress, which begins if there is none.
    fn answer(&mut self) -> &mut Answer {
        let (number, outputs) = (&mut self.number, &mut self.outputs);
        if self.answer.is_none() {
            *number += 1;
            let (response_id, item_id) = (format!("answer_{number}"), format!("agent_{number}"));
            (self.asked, self.injected, self.cut) = (None, None, None);
            (self.owed, self.result) = (false, false);
            self.half = FrameReader::new(1);
            for event in [
                Event::ResponseStarted { response_id: response_id.clone(), request: None },
                Event::ItemStarted { response_id, item_id },
            ] {
                outputs.push_back(Output::Event(event));
            }
        }
        let number = *number;
        self.answer.get_or_insert_with(|| Answer {
            response_id: format!("answer_{number}"),
            item_id: format!("agent_{number}"),
            text: String::new(),
        })
    }

    /// The answer in progress is over, if there is one.
    fn answered(&mut self, outcome: Outcome) {
        if let Some(Answer { response_id, .. }) = self.answer.take() {
            self.event(Event::ResponseDone { response_id, outcome });
        }
    }

    fn send(&mut self, text: String) {
        self.outputs.push_back(Output::Send(Message::Text(text)));
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
            Command::Close => {
                if self.is_open() {
                    self.outputs.push_back(Output::Close);
                }
                self.phase = Phase::Ended;
            }
            Command::Recall { past } if matches!(self.phase, Phase::Greeting(_)) => self.configure(now, past),
            _ if self.phase != Phase::Ready => {}
            command => self.tell(now, command),
        }
    }
}

#[cfg(test)]
#[path = "tests.rs"]
pub(super) mod tests;
