//! The events of the watch that is kept over streams, and the words they share with `health`.

use serde::Serialize;

use super::{Headers, OperatorEvent};
use crate::units::serialize_as_str;

serialize_as_str!(Health, Trouble, Part);

/// Whether a stream works.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Health {
    /// Nothing is wrong.
    Healthy,
    /// It works, but audio was lost or late.
    Degraded,
    /// It does not work.
    Unhealthy,
}

impl Health {
    /// The word in `health` and in the event.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "HEALTHY",
            Self::Degraded => "DEGRADED",
            Self::Unhealthy => "UNHEALTHY",
        }
    }
}

/// What is wrong with a stream.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Trouble {
    /// The connection has ended.
    Disconnected,
    /// The conversation's connection is lost, and made again.
    Reconnecting,
    /// The stream, its conversation, or the conversation's last turn has failed.
    Failed,
    /// Something stands still that should move.
    Stalled(Part),
    /// Gaps in what the caller was given.
    Underruns,
    /// Playback was dropped because its queue was full.
    Overflow,
    /// Captured frames were lost in the module.
    CaptureDrops,
    /// Captured audio was lost because the server read too slowly.
    SendDrops,
}

impl Trouble {
    /// The word in `health` and in the event.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Disconnected => "disconnected",
            Self::Reconnecting => "reconnecting",
            Self::Failed => "failed",
            Self::Stalled(Part::Capture) => "capture_stalled",
            Self::Stalled(Part::Playback) => "playback_stalled",
            Self::Stalled(Part::Worker) => "worker_stalled",
            Self::Stalled(Part::Service) => "service_stalled",
            Self::Underruns => "underruns",
            Self::Overflow => "overflow",
            Self::CaptureDrops => "capture_drops",
            Self::SendDrops => "send_drops",
        }
    }

    /// How bad it is.
    pub const fn health(self) -> Health {
        match self {
            Self::Disconnected | Self::Reconnecting | Self::Failed | Self::Stalled(_) => Health::Unhealthy,
            Self::Underruns | Self::Overflow | Self::CaptureDrops | Self::SendDrops => Health::Degraded,
        }
    }
}

/// A part of a stream that can stand still.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Part {
    /// FreeSWITCH gives no frame of the call.
    Capture,
    /// Playback waits, and FreeSWITCH takes none of it.
    Playback,
    /// The worker thread of the stream does nothing.
    Worker,
    /// The service of a conversation says nothing while the caller speaks.
    Service,
}

impl Part {
    /// Every part.
    pub const ALL: [Self; 4] = [Self::Capture, Self::Playback, Self::Worker, Self::Service];

    /// The word in the event and in the metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Capture => "capture",
            Self::Playback => "playback",
            Self::Worker => "worker",
            Self::Service => "service",
        }
    }
}

/// The health of a stream has changed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct HealthChanged {
    /// Now.
    pub health: Health,
    /// Until now.
    pub before: Health,
    /// What is wrong now.
    pub reasons: Vec<Trouble>,
}

impl HealthChanged {
    /// The reasons in one line.
    pub fn why(&self) -> String {
        self.reasons.iter().map(|trouble| trouble.as_str()).collect::<Vec<_>>().join(",")
    }
}

impl OperatorEvent for HealthChanged {
    const SUBCLASS: &'static str = "mod_audio_stream::health";
    const DOC: &'static str = "The health of a stream has changed, as `health` shows it: HEALTHY, DEGRADED or UNHEALTHY. The first \
        change is one from HEALTHY. `reasons` has what is wrong now: `disconnected`, `reconnecting`, `failed`, `capture_stalled`, \
        `playback_stalled`, `worker_stalled`, `service_stalled`; of the last 30 s `underruns`, `overflow`, `capture_drops`, \
        `send_drops`. Looked at every second.";

    fn example() -> Self {
        Self { health: Health::Degraded, before: Health::Healthy, reasons: vec![Trouble::Underruns] }
    }

    fn status(&self) -> &'static str {
        match self.health {
            Health::Healthy => "healthy",
            Health::Degraded => "degraded",
            Health::Unhealthy => "unhealthy",
        }
    }

    fn headers(&self, headers: &mut Headers) {
        headers
            .add("Audio-Stream-Health", self.health.as_str())
            .add("Audio-Stream-Health-Before", self.before.as_str())
            .add("Audio-Stream-Reasons", self.why());
    }

    fn is_alarm(&self) -> bool {
        true
    }
}

/// Something stands still, or moves again.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Stalled {
    /// What.
    pub part: Part,
    /// Whether it does.
    pub stalled: bool,
    /// How long it has, or had, stood still, ms.
    pub stalled_ms: u64,
}

impl OperatorEvent for Stalled {
    const SUBCLASS: &'static str = "mod_audio_stream::stalled";
    const DOC: &'static str = "Something stands still (`stalled` is true), or moves again. `part` is `capture`: FreeSWITCH has given \
        no frame of the call for 5 s; `playback`: playback waits, and FreeSWITCH has taken none of it for 5 s; `worker`: the stream's \
        thread has done nothing for 2 s; `service`: the caller speaks, and the service of the conversation has said nothing for \
        `ai_stalled_s`. Time on hold, a paused stream and a muted caller are no stall.";

    fn example() -> Self {
        Self { part: Part::Capture, stalled: true, stalled_ms: 5_320 }
    }

    fn status(&self) -> &'static str {
        if self.stalled { "stalled" } else { "moving" }
    }

    fn headers(&self, headers: &mut Headers) {
        headers
            .add("Audio-Stream-Part", self.part.as_str())
            .add("Audio-Stream-Stalled", self.stalled)
            .add("Audio-Stream-Stalled-Ms", self.stalled_ms);
    }

    fn is_alarm(&self) -> bool {
        true
    }
}
