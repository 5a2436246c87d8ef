//! What a profile says about the conversation. Plain values; the defaults are those of the documentation.

use std::time::Duration;

use super::choices::{SpeechTrigger, VoiceMode};
use super::history::HistoryBounds;
use super::keypad::Keys;
use super::sentence::SentenceRules;
use super::tools::ToolPolicy;
use crate::conversation::engine::{Capabilities, TurnTaking};
use crate::peer::Retry;
use crate::units::Encoding;

/// What interrupts the agent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BargeIn {
    /// Speech, found by whom.
    pub speech: SpeechTrigger,
    /// How long the caller must speak without a long pause, as the module hears it; zero: at the first sign.
    pub min_speech: Duration,
    /// A key.
    pub dtmf: bool,
}

impl Default for BargeIn {
    fn default() -> Self {
        Self { speech: SpeechTrigger::Engine, min_speech: Duration::ZERO, dtmf: true }
    }
}

impl BargeIn {
    /// A shorter sound of the caller is a remark where their speech does not interrupt.
    const REMARK: Duration = Duration::from_millis(800);

    /// Whether the first sign of speech, as the engine hears it, interrupts. If not, the module decides which turns of the caller
    /// interrupt, and which are answered.
    pub const fn is_the_engines(&self) -> bool {
        matches!(self.speech, SpeechTrigger::Engine) && self.min_speech.is_zero()
    }

    /// From which length on speech counts, as the module must hear it; `None`: the first sign of it counts.
    pub fn lasting(&self) -> Option<Duration> {
        match (self.speech, self.min_speech) {
            (SpeechTrigger::Off, Duration::ZERO) => Some(Self::REMARK),
            (_, Duration::ZERO) => None,
            (_, min_speech) => Some(min_speech),
        }
    }
}

/// The agent speaks first.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Greeting {
    /// These words.
    Text(String),
    /// Something by these instructions.
    Instructions(String),
}

/// What happens when nobody says anything.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Idle {
    /// For how long.
    pub after: Duration,
    /// The model is to say something by these instructions; `None`: there is only the event.
    pub instructions: Option<String>,
    /// At this many times in a row the call is ended; 0: never.
    pub hang_up_at: u32,
}

/// How a lost session is replaced.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reconnect {
    /// How often and how soon.
    pub retry: Retry,
    /// Caller's audio kept meanwhile.
    pub audio: Duration,
    /// Caller's audio kept that was handed on already, for what had not left when the connection broke.
    pub handed_on: Duration,
}

impl Default for Reconnect {
    /// 5 s of audio, 2 s of what was handed on.
    fn default() -> Self {
        Self { retry: Retry::default(), audio: Duration::from_secs(5), handed_on: Duration::from_secs(2) }
    }
}

/// A conversation's policy.
#[derive(Clone, PartialEq, Debug)]
pub struct AgentConfig {
    /// Who speaks.
    pub voice: VoiceMode,
    /// Who ends the caller's turn.
    pub turns: TurnTaking,
    /// What the engine can do.
    pub engine: Capabilities,
    /// What interrupts.
    pub barge_in: BargeIn,
    /// Caller's audio before the module hears them begin that is part of their turn, where the module finds the turns.
    pub pre_roll: Duration,
    /// Who speaks first: with a greeting the agent.
    pub greeting: Option<Greeting>,
    /// When nobody speaks.
    pub idle: Option<Idle>,
    /// What the model is told before the conversation has lasted as long as it may.
    pub wind_down: Option<String>,
    /// How the keys that the caller presses become messages.
    pub keys: Keys,
    /// What the model may do.
    pub tools: ToolPolicy,
    /// How long a function call may take.
    pub tool_timeout: Duration,
    /// How long a response may take to show a sign of life.
    pub response_timeout: Duration,
    /// How long a sentence's synthesis may take to show one.
    pub speech_timeout: Duration,
    /// How a text becomes sentences to be spoken.
    pub sentences: SentenceRules,
    /// Said when a sentence could not be spoken, once a turn. Best a text that is in the cache.
    pub apology: Option<String>,
    /// How a lost session is replaced.
    pub reconnect: Reconnect,
    /// What the next session learns about the last one.
    pub history: HistoryBounds,
    /// Bytes a second of the caller's audio on the wire.
    pub caller_bytes_per_second: usize,
    /// Bytes of one sample of it.
    pub caller_sample_bytes: usize,
    /// How it is coded.
    pub caller_encoding: Encoding,
}

impl Default for AgentConfig {
    /// Speech of the engine, its turn detection, 24 kHz linear.
    fn default() -> Self {
        let turns = TurnTaking::Engine { responds: true, interrupts: true };
        Self {
            voice: VoiceMode::Engine,
            turns,
            engine: Capabilities { turns, truncates: true, takes_text: true, resumes: false },
            barge_in: BargeIn::default(),
            pre_roll: Duration::from_millis(500),
            greeting: None,
            idle: None,
            wind_down: None,
            keys: Keys::default(),
            tools: ToolPolicy::default(),
            tool_timeout: Duration::from_secs(30),
            response_timeout: Duration::from_secs(30),
            speech_timeout: Duration::from_secs(30),
            sentences: SentenceRules::default(),
            apology: None,
            reconnect: Reconnect::default(),
            history: HistoryBounds::default(),
            caller_bytes_per_second: 48_000,
            caller_sample_bytes: 2,
            caller_encoding: Encoding::S16Le,
        }
    }
}

impl AgentConfig {
    /// What the agent says first, and when something failed, in the form that the voice takes.
    pub fn expected_texts(&self) -> Vec<String> {
        let greeting = match &self.greeting {
            Some(Greeting::Text(text)) => self.sentences.sentences(text).into_iter().next(),
            _ => None,
        };
        let apology = self.apology.iter().map(|text| self.sentences.voiced(text).into_owned());
        greeting.into_iter().chain(apology).collect()
    }
}
