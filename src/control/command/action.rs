//! What may be asked of a stream: the actions of commands.

use std::fmt;
use std::time::Duration;

use super::error::CommandError;
use super::request::{StartAiRequest, StartRequest};
use crate::control::options::OptionValues;
use crate::dsp::gain::Gain;
use crate::dsp::tone::ToneStep;
use crate::peer::Speaker;
use crate::units::choice::choice;

/// What to do with a stream.
#[derive(Clone, PartialEq)]
pub enum Action {
    /// Attach and connect.
    Start(Box<StartRequest>),
    /// Attach a conversation with an AI.
    StartAi(Box<StartAiRequest>),
    /// Send the text, close, detach.
    Stop {
        /// Last text message.
        text: Option<String>,
    },
    /// Hold back captured audio, or stop playback where it is.
    Pause(Direction),
    /// Let it go on.
    Resume(Direction),
    /// Send one text message, or tell a model something.
    SendText(SendText),
    /// Drop queued playback.
    Clear,
    /// Make a source louder or softer.
    Gain(Source, Gain),
    /// Silence a source.
    Mute(Source),
    /// Let it be heard again.
    Unmute(Source),
    /// Mix DTMF tones into playback.
    Dtmf(Vec<ToneStep>),
    /// Record what the caller says and hears into this file.
    RecordStart {
        /// As given: relative to the folder for recordings, or absolute.
        file: String,
    },
    /// End the recording.
    RecordStop,
    /// Withhold the caller from every stream and recording of the call (`true`), or no longer.
    Mask(bool),
    /// Have something said to the caller.
    Say(String),
    /// Answer a function call of the agent.
    AiResult {
        /// Which call.
        call_id: String,
        /// Text for the model.
        output: String,
    },
    /// Change options of a conversation that runs.
    AiUpdate(OptionValues),
    /// Send an event to the service of a conversation.
    AiSend(String),
    /// Report, as JSON.
    Health,
}

/// What `send_text` was given.
#[derive(Clone, PartialEq, Eq)]
pub struct SendText {
    /// Everything: what a server receives.
    pub whole: String,
    /// Without the options before it: what a model receives. Empty if there is nothing else.
    pub text: String,
    /// In whose words.
    pub role: Role,
    /// The model is to answer.
    pub respond: bool,
    /// Why a model must not receive it: what begins it was meant as an option. A server receives the whole text in any case.
    pub slip: Option<CommandError>,
}

choice! {
    /// In whose words a model receives a text.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub enum Role {
        /// The caller's.
        #[default]
        User = "user",
        /// The operator's: instructions and facts.
        System = "system",
        /// The agent's.
        Assistant = "assistant",
    }
}

impl From<Role> for Speaker {
    fn from(role: Role) -> Self {
        match role {
            Role::User => Self::Caller,
            Role::System => Self::System,
            Role::Assistant => Self::Agent,
        }
    }
}

/// What to do about draining.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DrainOrder {
    /// Start nothing new; end what is live after the limit.
    On {
        /// How long what is live may last; `None`: until it ends by itself.
        limit: Option<Duration>,
    },
    /// Back to normal.
    Off,
    /// Report, as JSON.
    Status,
}

/// What `breakers` is to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum BreakerOrder {
    /// Report, as JSON.
    Report,
    /// Close them.
    Reset {
        /// Which server's; `None`: all.
        server: Option<String>,
    },
}

choice! {
    /// The words of `drain`.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub(super) enum DrainWord {
        /// Begin.
        On = "on",
        /// End.
        Off = "off",
        /// Report.
        Status = "status",
    }
}

choice! {
    /// The words of `mask`.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub(super) enum MaskWord {
        /// Begin.
        On = "on",
        /// End.
        Off = "off",
    }
}

choice! {
    /// Which way audio goes.
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
    pub enum Direction {
        /// From the call to the server.
        Capture = "capture",
        /// From the server to the caller.
        Playback = "playback",
    }
}

choice! {
    /// Whose audio.
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
    pub enum Source {
        /// The caller's, on the way to the server.
        Caller = "caller",
        /// The server's, on the way to the caller.
        Agent = "agent",
        /// The other leg's, on the way to the caller. One for all streams of the call.
        Leg = "leg",
    }
}

impl Action {
    /// The word for it.
    pub const fn verb(&self) -> &'static str {
        match self {
            Self::Start(start) if start.endpoint.is_none() => "transcribe",
            Self::Start(_) => "start",
            Self::StartAi(_) => "start_ai",
            Self::Stop { .. } => "stop",
            Self::Pause(_) => "pause",
            Self::Resume(_) => "resume",
            Self::SendText(_) => "send_text",
            Self::Clear => "clear",
            Self::Gain(..) => "gain",
            Self::Mute(_) => "mute",
            Self::Unmute(_) => "unmute",
            Self::Dtmf(_) => "dtmf",
            Self::RecordStart { .. } | Self::RecordStop => "record",
            Self::Mask(_) => "mask",
            Self::Say(_) => "say",
            Self::AiResult { .. } => "ai_result",
            Self::AiUpdate(_) => "ai_update",
            Self::AiSend(_) => "ai_send",
            Self::Health => "health",
        }
    }
}

impl fmt::Debug for Action {
    /// What callers and servers say to each other stays out of logs: texts print as their length.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start(start) => fmt::Debug::fmt(start, f),
            Self::StartAi(start) => fmt::Debug::fmt(start, f),
            Self::Stop { text: Some(text) }
            | Self::SendText(SendText { whole: text, .. })
            | Self::AiSend(text)
            | Self::Say(text)
            | Self::AiResult { output: text, .. } => {
                write!(f, "{}({} bytes)", self.verb(), text.len())
            }
            _ => f.write_str(self.verb()),
        }
    }
}
