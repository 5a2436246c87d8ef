//! The kind of a stream and its state.

use serde::Serialize;

use crate::event::{AiState, Disconnect, Event, ServiceIds};
use crate::peer::State;
use crate::units::choice::choice;

/// The close code of an end that was asked for.
const NORMAL_CLOSE: u16 = 1000;

/// The kind of a stream.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum StreamMode {
    /// Audio to and from a WebSocket server.
    Ws,
    /// A conversation with an AI.
    Ai,
}

impl StreamMode {
    /// The last event of a start that waited for its call's media and ended without a fault.
    pub fn quiet_end(self, reason: &str) -> Event {
        match self {
            Self::Ws => self.last_event(NORMAL_CLOSE, reason),
            Self::Ai => AiState {
                state: State::Idle,
                last: true,
                code: "".into(),
                message: reason.into(),
                ids: ServiceIds::default(),
            }
            .into(),
        }
    }

    /// The last event of a stream whose task did not fire one.
    pub fn last_event(self, code: u16, reason: &str) -> Event {
        match self {
            Self::Ws => Disconnect { code, reason: reason.into() }.into(),
            Self::Ai => {
                let (state, code) = (State::Failed, "".into());
                AiState { state, last: true, code, message: reason.into(), ids: ServiceIds::default() }.into()
            }
        }
    }
}

choice! {
    /// When the server counts as ready for the caller.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub enum Ready {
        /// With its connection; in a conversation with the session.
        Connect = "connect",
        /// With its first message.
        FirstMessage = "first_message",
    }
}

/// The state of a stream.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum StreamState {
    /// Attached, not connected yet.
    Connecting = 0,
    /// Connected; captured audio is sent.
    Streaming,
    /// Connected; `pause` holds captured audio back.
    Paused,
    /// Asked to end; sends what is left.
    Closing,
    /// The connection is gone.
    Disconnected,
    /// Ended by a fault.
    Error,
    /// The connection is lost and is made again.
    Reconnecting,
}

impl StreamState {
    /// Whether there is a connection on which a text can be sent.
    pub const fn is_connected(self) -> bool {
        matches!(self, Self::Streaming | Self::Paused)
    }

    /// The state for a number kept in an atomic. An unknown number is an error.
    pub(super) const fn from_u8(number: u8) -> Self {
        match number {
            0 => Self::Connecting,
            1 => Self::Streaming,
            2 => Self::Paused,
            3 => Self::Closing,
            4 => Self::Disconnected,
            6 => Self::Reconnecting,
            _ => Self::Error,
        }
    }

    /// The word in `health` and in the log.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connecting => "CONNECTING",
            Self::Streaming => "STREAMING",
            Self::Paused => "PAUSED",
            Self::Closing => "CLOSING",
            Self::Disconnected => "DISCONNECTED",
            Self::Error => "ERROR",
            Self::Reconnecting => "RECONNECTING",
        }
    }
}
