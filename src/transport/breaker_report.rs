//! What is told of the breakers of servers: their kinds, the answer of `breakers`, and each change.
//!
//! Plain data; any thread.

use std::time::Duration;

use serde::{Serialize, Serializer};

use super::breaker::{Breaker, BreakerState, Trip};
use crate::units::serialize_as_str;

serialize_as_str!(BreakerKind, BreakerState, Cause);

/// What a server is used for. Each has its own rule.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum BreakerKind {
    /// Streams: five failures within a minute, then none for half a minute.
    WebSocket,
    /// Conversations: five failures in a row, then none for a minute.
    Ai,
    /// Speech synthesis: as for streams.
    Speech,
}

impl BreakerKind {
    /// The word of reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::WebSocket => "websocket",
            Self::Ai => "ai",
            Self::Speech => "speech",
        }
    }

    /// A new breaker of this kind.
    pub const fn breaker(self) -> Breaker {
        match self {
            Self::Ai => Breaker::new(Trip::Consecutive(5), Duration::from_secs(60)),
            Self::WebSocket | Self::Speech => {
                let trip = Trip::Within { failures: 5, window: Duration::from_secs(60) };
                Breaker::new(trip, Duration::from_secs(30))
            }
        }
    }
}

/// A breaker as the answer of `breakers` gives it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct BreakerReport {
    /// The server, or what else is asked; without secrets.
    #[serde(rename = "endpoint")]
    pub place: String,
    /// What the server is used for.
    pub kind: BreakerKind,
    /// Whether requests pass.
    pub state: BreakerState,
    /// Failures that opened it, or count towards that.
    pub failures: usize,
    /// How long until one request passes as a test; `None`: the breaker is closed and all pass.
    #[serde(rename = "probe_in_sec", serialize_with = "seconds_rounded_up")]
    pub probe_in: Option<Duration>,
}

fn seconds_rounded_up<S: Serializer>(wait: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    wait.map(|wait| wait.as_millis().div_ceil(1_000) as u64).serialize(serializer)
}

/// Why a breaker has changed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Cause {
    /// Too many failures, or that of the attempt that was to see.
    Failures,
    /// An attempt is let through, to see.
    Probe,
    /// The server has served a call.
    Success,
    /// The server has asked for a pause.
    Busy,
    /// An operator's command.
    Reset,
}

impl Cause {
    /// The word of the event.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Failures => "failures",
            Self::Probe => "probe",
            Self::Success => "success",
            Self::Busy => "busy",
            Self::Reset => "reset",
        }
    }
}

/// A change of a breaker.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BreakerChange {
    /// The server, as [`BreakerReport::place`].
    pub place: String,
    /// What it is used for.
    pub kind: BreakerKind,
    /// Its state from now on.
    pub state: BreakerState,
    /// Failures that count.
    pub failures: usize,
    /// How long until the next attempt passes; `None`: all pass.
    pub wait: Option<Duration>,
    /// Why.
    pub cause: Cause,
}

/// Learns of changes of breakers: called in their order, with a lock held, so it must not wait or ask the breakers.
pub trait BreakerWatch: Send + Sync {
    /// A breaker has changed.
    fn changed(&self, change: BreakerChange);
}
