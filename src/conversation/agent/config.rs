//! What a profile says about the conversation. Plain values; the defaults are those of the documentation.

use std::time::Duration;

use super::choices::{SpeechTrigger, VoiceMode};
use super::history::HistoryBounds;
use super::keypad::Keys;
use super::remarks::Remarks;
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
    /// The first sign of speech only pauses playback, which goes on where it stopped unless words follow within this time after
    /// the speech; zero: speech interrupts for good.
    pub false_interruption: Duration,
}

impl Default for BargeIn {
    fn default() -> Self {
        Self {
            speech: SpeechTrigger::Engine,
            min_speech: Duration::ZERO,
            dtmf: true,
            false_interruption: Duration::ZERO,
        }
    }
}

impl BargeIn {
    /// A shorter sound of the caller is a remark where their speech does not interrupt.
    const REMARK: Duration = Duration::from_millis(800);

    /// Whether the first sign of speech, as the engine hears it, interrupts. If not, the module decides which turns of the caller
    /// interrupt, and which are answered.
    pub const fn is_the_engines(&self) -> bool {
        matches!(self.speech, SpeechTrigger::Engine) && self.is_at_once()
    }

    /// Whether the first sign of speech interrupts for good, whether the engine or the module hears it.
    pub const fn is_at_once(&self) -> bool {
        self.min_speech.is_zero() && !self.pauses()
    }

    /// Whether speech pauses playback until it is known whether it interrupts.
    pub const fn pauses(&self) -> bool {
        !self.false_interruption.is_zero() && !matches!(self.speech, SpeechTrigger::Off)
    }

    /// From which length on speech counts, as the module must hear it; `None`: the first sign of it counts, or its words do.
    /// `transcribes`: the engine writes down what the caller says.
    pub fn lasting(&self, transcribes: bool) -> Option<Duration> {
        match (self.speech, self.min_speech) {
            (SpeechTrigger::Off, Duration::ZERO) => Some(Self::REMARK),
            (_, Duration::ZERO) => (self.pauses() && !transcribes).then_some(Self::REMARK),
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
    /// [`Recording::Greeting`](crate::peer::Recording::Greeting), at once; it needs no service.
    Recorded {
        /// What it says, for the model, and to be said if it cannot be played; may be empty.
        words: String,
    },
}

/// What the caller hears while a function of the operator's runs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Filler {
    /// After so much silence.
    pub after: Duration,
    /// The words, once until all functions have returned.
    pub text: String,
}

/// The last words, when the service has failed for good.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fallback {
    /// [`Recording::Fallback`](crate::peer::Recording::Fallback) is played; otherwise the words are synthesised.
    pub recorded: bool,
    /// What it says; may be empty where it is recorded.
    pub words: String,
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
    /// Words that do not interrupt where speech only pauses playback.
    pub remarks: Remarks,
    /// Caller's audio before the module hears them begin that is part of their turn, where the module finds the turns.
    pub pre_roll: Duration,
    /// Who speaks first: with a greeting the agent.
    pub greeting: Option<Greeting>,
    /// When nobody speaks.
    pub idle: Option<Idle>,
    /// Instructions for the model shortly before the conversation has lasted as long as it may.
    pub wind_down: Option<String>,
    /// How the keys that the caller presses become messages.
    pub keys: Keys,
    /// There is a sound for the time in which the agent thinks.
    pub thinking_sound: bool,
    /// When a function takes its time.
    pub filler: Option<Filler>,
    /// When the service has failed.
    pub fallback: Option<Fallback>,
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
            engine: Capabilities {
                turns,
                full_duplex: false,
                truncates: true,
                takes_text: true,
                resumes: false,
                transcribes: true,
                says: false,
                greets: false,
            },
            barge_in: BargeIn::default(),
            remarks: Remarks::default(),
            pre_roll: Duration::from_millis(500),
            greeting: None,
            idle: None,
            wind_down: None,
            keys: Keys::default(),
            thinking_sound: false,
            filler: None,
            fallback: None,
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
    /// What the synthesis is to say first, and when something failed, in the form that the voice takes.
    pub fn expected_texts(&self) -> Vec<String> {
        let synthesised = self.voice == VoiceMode::Synthesis;
        let greeting = match &self.greeting {
            Some(Greeting::Text(text)) if synthesised => self.sentences.sentences(text).into_iter().next(),
            _ => None,
        };
        let apology = self.apology.iter().filter(|_| synthesised);
        let apology = apology.map(|text| self.sentences.voiced(text).into_owned());
        let fallback = self.spoken_fallback().into_iter().flat_map(|text| self.sentences.sentences(text));
        greeting.into_iter().chain(apology).chain(fallback).collect()
    }

    /// The last words, if they are to be synthesised.
    pub fn spoken_fallback(&self) -> Option<&str> {
        self.fallback.as_ref().filter(|fallback| !fallback.recorded).map(|fallback| fallback.words.as_str())
    }
}
