//! Events about connections to servers that fail.

use serde::Serialize;

use super::{Headers, MAX_REASON, OperatorEvent, Text};
use crate::transport::{BreakerChange, BreakerKind, BreakerState, Cause};

/// The server is ready for the caller.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Ready {
    /// Time since the start of the stream, ms.
    pub after_ms: u64,
}

impl OperatorEvent for Ready {
    const SUBCLASS: &'static str = "mod_audio_stream::ready";
    const DOC: &'static str = "The server is there as the option `ready` has it, once for each stream with that option. From here on the \
        caller's audio is sent. `after_ms`: time since the stream started.";

    fn example() -> Self {
        Self { after_ms: 240 }
    }

    fn status(&self) -> &'static str {
        "ready"
    }

    fn headers(&self, headers: &mut Headers) {
        headers.add("Audio-Stream-After-Ms", self.after_ms);
    }
}

/// The connection is lost, or could not be made, and another attempt follows.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Reconnecting {
    /// Which attempt it is, from 1.
    pub attempt: u32,
    /// How many there may be in a row.
    pub attempts: u32,
    /// How long until it is made, ms.
    pub delay_ms: u64,
    /// HTTP status of the refusal or WebSocket close code; 1006 if there was neither.
    pub code: u16,
    /// Messages besides audio that were lost with the connection.
    pub lost_messages: u64,
    /// Why there is no connection.
    pub reason: Text<MAX_REASON>,
}

impl OperatorEvent for Reconnecting {
    const SUBCLASS: &'static str = "mod_audio_stream::reconnecting";
    const DOC: &'static str = "The connection of a stream with `reconnect_max` is lost, or could not be made, and `attempt` of at most \
        `attempts` follows after `delay_ms`. A `connect` event follows when it succeeds. `code`: HTTP status or WebSocket close code; \
        1006 if there was neither. `lost_messages`: texts, marks and keys that had not been sent; captured audio is kept.";

    fn example() -> Self {
        let reason = "the server dropped the connection without a close (1006)".into();
        Self { attempt: 1, attempts: 5, delay_ms: 562, code: 1_006, lost_messages: 0, reason }
    }

    fn status(&self) -> &'static str {
        "reconnecting"
    }

    fn headers(&self, headers: &mut Headers) {
        headers
            .add("Audio-Stream-Attempt", self.attempt)
            .add("Audio-Stream-Attempts", self.attempts)
            .add("Audio-Stream-Delay-Ms", self.delay_ms)
            .add("Audio-Stream-Code", self.code)
            .add("Audio-Stream-Lost-Messages", self.lost_messages)
            .add("Audio-Stream-Reason", &self.reason);
    }

    fn is_alarm(&self) -> bool {
        true
    }
}

/// The circuit breaker of a server has changed. It is about no single call.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Breaker {
    /// Its state, which is the event's status.
    #[serde(skip)]
    pub state: BreakerState,
    /// The server, as `breakers` prints it.
    pub endpoint: String,
    /// What the server is used for.
    pub kind: BreakerKind,
    /// Failures that count.
    pub failures: usize,
    /// How long until the next attempt passes, ms; absent: all pass.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wait_ms: Option<u64>,
    /// Why it has changed.
    pub cause: Cause,
}

impl From<BreakerChange> for Breaker {
    fn from(BreakerChange { place, kind, state, failures, wait, cause }: BreakerChange) -> Self {
        Self { state, endpoint: place, kind, failures, wait_ms: wait.map(|wait| wait.as_millis() as u64), cause }
    }
}

impl OperatorEvent for Breaker {
    const SUBCLASS: &'static str = "mod_audio_stream::breaker";
    const DOC: &'static str = "The circuit breaker of a server has changed: `open` (nobody is sent there for `wait_ms`), `half_open` (one \
        attempt is made, to see), `busy` (the server has asked for a pause by HTTP 429 or `Retry-After`) or `closed`. Once for each \
        change, and of no call: without channel data, `Audio-Stream-UUID` and `Audio-Stream-Name`. `cause`: `failures`, `probe`, \
        `busy`, `success` or `reset`.";

    fn example() -> Self {
        let (endpoint, kind) = ("wss://api.openai.com".to_owned(), BreakerKind::Ai);
        Self { state: BreakerState::Open, endpoint, kind, failures: 5, wait_ms: Some(60_000), cause: Cause::Failures }
    }

    fn status(&self) -> &'static str {
        self.state.as_str()
    }

    fn headers(&self, headers: &mut Headers) {
        headers
            .add("Audio-Stream-Endpoint", &self.endpoint)
            .add("Audio-Stream-Kind", self.kind.as_str())
            .add("Audio-Stream-Failures", self.failures)
            .add("Audio-Stream-Cause", self.cause.as_str());
        if let Some(wait_ms) = self.wait_ms {
            headers.add("Audio-Stream-Wait-Ms", wait_ms);
        }
    }

    fn is_alarm(&self) -> bool {
        true
    }
}
