//! The state machine of a session: from the open connection to its loss, once for each connection.
//!
//! ```text
//! Idle ─Opened─► Configuring ─setupComplete─► Ready ─closed, refused, fatal error─► Ended
//!                     └── no answer within the time limit ─────────────────────────────┘
//! ```
//! Nothing but `setup` is said before the service has confirmed it, and nothing before the history where it waits for that. A
//! session goes on in the next connection where the service has said that it has saved all of it; otherwise the agent tells the
//! next one what was said. Owned by the stream's task. Nothing waits here but the outputs of one input, texts, a turn of the caller
//! and half a sample. Unknown messages are ignored; malformed ones are faults.

mod changing;
mod commands;
mod content;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::super::address::authority;
use super::super::engine::{
    Capabilities, Engine, Event, Failure, FailureClass, Input, InputFormat, Loss, Output, Refuses, TurnTaking,
};
use super::super::loss;
use super::super::options::AiOptions;
use super::super::queue;
use super::activity::{Activity, Step};
use super::caller::Caller;
use super::calls::Calls;
use super::change::Change;
use super::failure;
use super::generation::Model;
use super::message;
use super::profile::{Profile, Turns};
use super::texts::Texts;
use super::usage;
use super::wire::{self, ServerMessage};
use crate::peer::{Message, Target, Usage};
use crate::protocol::{Fault, excerpt};
use crate::units::{Encoding, SampleRate, Secret};

/// How the caller's audio is coded: the service takes nothing else.
const FORMAT: InputFormat = InputFormat { rate: SampleRate::HZ_16000, encoding: Encoding::S16Le };
/// Longest audio of one message, in bytes.
const MAX_AUDIO: usize = 1 << 20;
/// How long before its end a session is replaced without waiting for a pause.
const AT_LAST: Duration = Duration::from_secs(5);
/// After so long without audio of the caller the service is told that it pauses.
const PAUSE: Duration = Duration::from_secs(1);

/// What the engine needs to know.
#[derive(Clone, Debug)]
pub(super) struct Config {
    /// Where the sessions are.
    pub(super) target: Target,
    /// What they are to be.
    pub(super) profile: Profile,
    /// How long the service may take to confirm one.
    pub(super) ready_timeout: Duration,
    /// What makes a profile of options that are changed.
    pub(super) profile_of: fn(&AiOptions) -> Profile,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// No connection.
    Idle,
    /// `setup` is sent.
    Configuring {
        /// When that has taken too long.
        until: Instant,
    },
    /// Confirmed.
    Ready,
    /// The connection is of no use any more, or we ended it.
    Ended,
}

/// One conversation with the service.
#[derive(Debug)]
pub(super) struct Gemini {
    config: Config,
    phase: Phase,
    outputs: VecDeque<Output>,
    /// With what the next connection goes on: the service has saved everything until now.
    handle: Option<Secret>,
    /// This connection goes on with an earlier session.
    resumes: bool,
    /// When the session is to be replaced at last.
    go_away: Option<Instant>,
    /// It is to be replaced as soon as the service has saved everything.
    leaves: bool,
    model: Model,
    calls: Calls,
    texts: Texts,
    caller: Caller,
    activity: Activity,
    /// The caller's audio that was sent last, where the service finds the turns.
    audio_at: Option<Instant>,
    /// When texts that wait are told.
    texts_due: Option<Instant>,
    /// When results that nobody has asked an answer to are told.
    results_due: Option<Instant>,
    change: Option<Change>,
    /// Counts calls that the service has given no id.
    calls_made: u64,
}

impl Engine for Gemini {
    fn handle(&mut self, now: Instant, input: Input<'_>) {
        match input {
            Input::Opened { .. } => self.opened(now),
            Input::Refused { status, message } if !self.is_open() => {
                self.phase = Phase::Idle;
                let message = self.refusal(status, message);
                self.lost(loss::refused(status, &message));
            }
            Input::Closed { code, reason } if self.is_open() => self.closed(now, code, reason),
            Input::Timeout => self.timeout(now),
            Input::Text(text) if self.is_open() => self.text(now, text),
            // The service writes its JSON as binary messages.
            Input::Binary(bytes) if self.is_open() => match std::str::from_utf8(bytes) {
                Ok(text) => self.text(now, text),
                Err(_) => self.fault("a binary message that is no text"),
            },
            Input::Audio(audio) if self.phase == Phase::Ready && !audio.is_empty() => self.audio(now, audio),
            Input::LocalSpeech(speaking) => self.activity.speech(speaking),
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
            Phase::Configuring { until } => Some(until),
            Phase::Ready => [
                self.go_away,
                self.model.ends_by(),
                self.texts_due,
                self.results_due,
                self.audio_at.map(|at| at + PAUSE),
                self.change.as_ref().and_then(Change::due),
            ]
            .into_iter()
            .flatten()
            .min(),
            _ => None,
        }
    }

    fn input(&self) -> InputFormat {
        FORMAT
    }

    fn capabilities(&self) -> Capabilities {
        let turns = match self.config.profile.turns {
            Turns::Service(_) => TurnTaking::Engine { responds: true, interrupts: self.config.profile.interrupts },
            Turns::Module { .. } => TurnTaking::Local,
        };
        // Where the module finds the turns, their words come after the answer to them has begun, so that nothing can go by them.
        let transcribes = matches!(turns, TurnTaking::Engine { .. });
        // Each new session says for itself whether it goes on with the last.
        Capabilities {
            turns,
            full_duplex: false,
            truncates: false,
            takes_text: true,
            resumes: false,
            transcribes,
            says: false,
            greets: false,
        }
    }
}

impl Gemini {
    /// Waits for [`Command::Connect`].
    pub(super) fn new(config: Config) -> Self {
        let streams = matches!(config.profile.turns, Turns::Module { streams: true });
        Self {
            config,
            phase: Phase::Idle,
            outputs: VecDeque::new(),
            handle: None,
            resumes: false,
            go_away: None,
            leaves: false,
            model: Model::default(),
            calls: Calls::default(),
            texts: Texts::default(),
            caller: Caller::default(),
            activity: Activity::new(FORMAT, streams),
            audio_at: None,
            texts_due: None,
            results_due: None,
            change: None,
            calls_made: 0,
        }
    }

    fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Configuring { .. } | Phase::Ready)
    }

    /// Why there is no connection, and which options to look at.
    fn refusal(&self, status: Option<u16>, message: &str) -> String {
        match status {
            Some(status @ (401 | 403)) => {
                let server = authority(&self.config.target);
                format!(
                    "{server} refused the key: HTTP {status}; check gemini_api_key, gemini_auth and what the key may use"
                )
            }
            Some(404) => format!("{message}; check gemini_base_url"),
            _ => message.to_owned(),
        }
    }

    fn opened(&mut self, now: Instant) {
        self.phase = Phase::Configuring { until: now + self.config.ready_timeout };
        self.resumes = self.handle.is_some();
        (self.go_away, self.leaves) = (None, false);
        self.model.reset();
        self.activity.gone();
        (self.audio_at, self.texts_due, self.results_due) = (None, None, None);
        if !self.resumes {
            self.calls.clear();
        }
        let setup = self.config.profile.setup(self.handle.as_ref().map(Secret::expose));
        self.send(setup);
    }

    fn closed(&mut self, now: Instant, code: u16, reason: &str) {
        let mut loss = failure::closed(code, reason);
        if matches!(self.phase, Phase::Configuring { .. }) && self.resumes {
            // The session that it was to go on with may be gone: the next attempt begins anew.
            self.handle = None;
            loss.fatal &= !matches!(code, 1007 | 1008);
        }
        loss.fatal &= !self.change_refused(now, code, &loss);
        self.lost(loss);
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
        let due = |at: &mut Option<Instant>| at.take_if(|at| now >= *at).is_some();
        if due(&mut self.go_away) {
            self.event(Event::ExpiresSoon { now: true });
        }
        if self.model.ends_by().is_some_and(|at| now >= at) {
            self.turn_over("");
        }
        if due(&mut self.texts_due) {
            self.tell();
            self.change_owed(now);
        }
        if due(&mut self.results_due) {
            self.results();
        }
        if self.audio_at.is_some_and(|at| now >= at + PAUSE) {
            self.audio_at = None;
            self.send(message::audio_stream_end());
        }
        self.change_due(now);
    }

    fn audio(&mut self, now: Instant, audio: &[u8]) {
        if audio.len() > MAX_AUDIO {
            return self.fault("more audio at once than one message can carry was dropped");
        }
        self.tell();
        if matches!(self.config.profile.turns, Turns::Module { .. }) {
            let steps = self.activity.audio(now, audio);
            return self.act(steps);
        }
        self.audio_at = Some(now);
        self.send_audio(audio);
    }

    fn send_audio(&mut self, audio: &[u8]) {
        let duration = FORMAT.duration_of(audio.len());
        self.outputs.push_back(Output::SendAudio { message: Message::Text(message::audio(audio)), duration });
    }

    /// The caller's turn, as the module finds it.
    fn act(&mut self, steps: Vec<Step>) {
        for step in steps {
            match step {
                Step::Start => {
                    self.model.disturbed = true;
                    self.send(message::activity_start());
                }
                Step::Audio(audio) => self.send_audio(&audio),
                Step::End => {
                    self.model.owes_answer = true;
                    self.news(message::activity_end());
                }
            }
        }
    }

    /// Tells the service what waits to be told and wants no answer: the history at once, anything else while the model is silent,
    /// since a text interrupts it.
    fn tell(&mut self) {
        self.tell_history();
        if self.model.is_silent() && self.calls.is_empty() && !self.texts.is_empty() {
            self.texts_due = None;
            let turns = self.texts.take();
            self.news(message::content(&turns, false));
        }
    }

    /// The history comes before everything else.
    fn tell_history(&mut self) {
        if let Some(turns) = self.texts.take_history() {
            self.news(message::content(&turns, true));
        }
    }

    fn text(&mut self, now: Instant, text: &str) {
        let message = match serde_json::from_str::<ServerMessage<'_>>(text) {
            Ok(message) if message.is_known() => message,
            // New kinds of messages are of no interest.
            Ok(_) => return,
            Err(error) => return self.fault(format!("unusable message ({error}): {}", excerpt(text))),
        };
        if let Some(error) = &message.error {
            let error = &error.0;
            return self.end(failure::told(error.code.whole(), error.status.as_str(), error.message.as_str()));
        }
        if let Some(complete) = &message.setup_complete {
            self.confirmed(now, complete.0.session_id.id());
        }
        if let Some(update) = &message.session_resumption_update {
            // A session that waits for results may have been saved without its calls: the next one is told of them instead.
            let saved =
                update.resumable == Some(true) && !update.new_handle.as_str().is_empty() && self.calls.is_empty();
            self.handle = saved.then(|| Secret::new(update.new_handle.as_str().to_owned()));
            self.leave();
        }
        if let Some(activity) = &message.voice_activity {
            self.heard(&activity.0);
        }
        let usage = message.usage_metadata.as_ref().map(|usage| usage::of_turn(&usage.0));
        let usage = usage.filter(|usage| *usage != Usage::default());
        if let Some(usage) = usage {
            self.event(Event::Used(usage));
        }
        if let Some(content) = &message.server_content {
            self.content(now, content);
        }
        if let Some(call) = &message.tool_call {
            self.tool_call(call);
        }
        if let Some(cancellation) = &message.tool_call_cancellation {
            self.tool_call_cancellation(cancellation);
        }
        if let Some(go_away) = &message.go_away {
            let left = wire::duration(go_away.0.time_left.as_str()).unwrap_or_default();
            self.goes_away(now, left);
        }
    }

    fn confirmed(&mut self, now: Instant, session_id: Option<String>) {
        if !matches!(self.phase, Phase::Configuring { .. }) {
            return;
        }
        self.phase = Phase::Ready;
        self.outputs.extend(session_id.map(|session_id| Output::Event(Event::Named { session_id })));
        if !self.resumes {
            self.texts.begin(self.config.profile.takes_history(None));
        }
        if !self.texts.is_empty() || self.change.is_some() {
            // What the agent tells of the talk comes first.
            self.texts_due = Some(now);
        }
        self.activity.ready(now);
        if self.resumes {
            self.event(Event::Resumed);
        }
        self.event(Event::Ready);
    }

    /// The connection ends in so long.
    fn goes_away(&mut self, now: Instant, left: Duration) {
        self.go_away = left.checked_sub(AT_LAST).map(|left| now + left);
        if self.go_away.is_none() {
            return self.event(Event::ExpiresSoon { now: true });
        }
        self.leaves = true;
        self.leave();
    }

    /// The session that is to be replaced can go on in another connection now.
    fn leave(&mut self) {
        if self.leaves && self.handle.is_some() {
            self.leaves = false;
            self.event(Event::ExpiresSoon { now: false });
        }
    }

    /// Sends something that the session has not saved: another connection could not go on with it now.
    fn news(&mut self, text: String) {
        self.handle = None;
        self.send(text);
    }

    fn send(&mut self, text: String) {
        self.outputs.push_back(Output::Send(Message::Text(text)));
    }

    fn event(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }

    fn fault(&mut self, reason: impl Into<std::borrow::Cow<'static, str>>) {
        self.outputs.push_back(Output::Fault(Fault::new(reason)));
    }

    fn fail(&mut self, class: FailureClass, refuses: Refuses, code: &str, message: &str) {
        let (code, message) = (code.to_owned(), message.to_owned());
        self.event(Event::Failed(Failure { class, refuses, retry_after: None, code, message }));
    }

    /// The connection is gone, or never was.
    fn lost(&mut self, loss: Loss) {
        if self.phase == Phase::Ended {
            return;
        }
        if self.phase == Phase::Ready {
            let words = self.caller.whole();
            self.caller_words(words, true);
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

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
