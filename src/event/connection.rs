//! Events about connections to servers that fail.

use serde::Serialize;

use super::{Headers, MAX_REASON, OperatorEvent, Text};

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
