//! The wire protocols: what is said on a connection, without the connection.
//!
//! A protocol is a state machine without socket, clock or task (sans-IO): the stream's task hands it everything that
//! happens through [`Protocol::handle`] and then drains [`Protocol::poll`] before the next input. So a protocol is
//! tested by calling it, and one driving loop serves all of them.
//!
//! Runs on the stream's worker; owned by the stream's task, one value per connection attempt or re-used over
//! reconnects ([`Input::Opened`] starts it afresh). Audio is S16, interleaved, in the format of its [`PcmFormat`].
//! Nothing is queued here beyond the outputs of one input.

// A protocol is given the time and waits for nothing; the tests may.
#![cfg_attr(not(test), deny(clippy::disallowed_methods))]

mod native;
mod pcm;
mod stream_audio;

use std::borrow::Cow;
use std::fmt;
use std::time::Instant;

use crate::units::PcmFormat;

pub use native::{Native, fuzz_native};

/// One wire protocol, from the client's side.
pub trait Protocol: Send {
    /// Takes one input at the time `now`. Its outputs wait in [`poll`](Self::poll) and must be drained before the
    /// next input.
    fn handle(&mut self, now: Instant, input: Input<'_>);

    /// The next output of the last input, in order; `None` when all are taken.
    fn poll(&mut self) -> Option<Output>;

    /// When [`Input::Timeout`] is wanted; `None` when never.
    fn deadline(&self) -> Option<Instant>;

    /// The WebSocket subprotocol to offer in the handshake.
    fn subprotocol(&self) -> Option<&'static str>;
}

/// What a protocol is told.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Input<'a> {
    /// The connection is up, for the first time or again. Everything half received before is forgotten.
    Opened,
    /// Captured audio for one message, interleaved, in the configured wire format.
    Audio(&'a [i16]),
    /// A text message arrived.
    Text(&'a str),
    /// A binary message arrived.
    Binary(&'a [u8]),
    /// The operator sends a text.
    SendText(&'a str),
    /// The operator ends the stream, perhaps with a last text.
    Stop {
        /// Sent before the close.
        text: Option<&'a str>,
    },
    /// [`Protocol::deadline`] has passed.
    Timeout,
}

/// What a protocol wants done, in order.
#[derive(Clone, PartialEq, Debug)]
pub enum Output {
    /// Send one text message, never merged with another.
    SendText(String),
    /// Send one binary message.
    SendBinary(Vec<u8>),
    /// Queue audio for the caller.
    Play(Play),
    /// Drop all audio queued for the caller.
    Clear,
    /// Tell the operator.
    Event(ProtocolEvent),
    /// The far end sent something unusable. The connection and the call go on; the caller of the protocol counts it,
    /// logs it (rate-limited) and fires an `error` event.
    Fault(Fault),
    /// Close the connection, after everything sent before.
    Close {
        /// The WebSocket close code.
        code: u16,
        /// The reason sent with it, at most 123 bytes.
        reason: &'static str,
    },
}

/// Audio for the caller.
#[derive(Clone, PartialEq, Debug)]
pub struct Play {
    /// Interleaved samples, whole frames only.
    pub samples: Vec<i16>,
    /// Their rate and channels.
    pub format: PcmFormat,
    /// Drop what is queued before queueing this.
    pub clear: bool,
}

/// What the far end said that an operator listens for.
#[derive(Clone, PartialEq, Debug)]
pub enum ProtocolEvent {
    /// The far end's text, as it came. Event `json`.
    Json(String),
    /// The playback message without its audio, as JSON. Event `play`.
    Play(String),
}

/// Why a message of the far end could not be used, in words for the operator.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fault {
    /// What was wrong, naming the field. Far-end text in it is cut short and free of control characters.
    pub reason: Cow<'static, str>,
}

impl Fault {
    pub(crate) fn new(reason: impl Into<Cow<'static, str>>) -> Self {
        Self { reason: reason.into() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

/// What a stream's options say to its protocol.
#[derive(Clone, PartialEq, Debug)]
pub struct ProtocolConfig {
    /// The first text message of each connection, sent byte for byte; `None` or empty: none is sent.
    pub metadata: Option<String>,
    /// The format of captured audio on the wire.
    pub wire: PcmFormat,
    /// The format of binary messages from the far end; `None`: they are not audio and are refused.
    pub binary: Option<PcmFormat>,
    /// Longest base64 text of one message's audio, in characters.
    pub max_audio_base64_len: usize,
}

/// One line of the table of protocols.
#[derive(Clone, Copy)]
pub struct ProtocolEntry {
    /// The value of the option `protocol`.
    pub name: &'static str,
    /// One line for the documentation.
    pub summary: &'static str,
    make: fn(ProtocolConfig) -> Box<dyn Protocol>,
}

impl ProtocolEntry {
    /// A protocol in its initial state, waiting for [`Input::Opened`].
    pub fn make(&self, config: ProtocolConfig) -> Box<dyn Protocol> {
        (self.make)(config)
    }
}

impl fmt::Debug for ProtocolEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// Every protocol this module speaks. The first is the default.
pub const PROTOCOLS: &[ProtocolEntry] = &[ProtocolEntry {
    name: "native",
    summary: "binary S16LE audio out; streamAudio JSON or raw binary audio in; any other text is an event",
    make: |config| Box::new(Native::new(config)),
}];

/// The protocol of that name; `None` when there is none.
pub fn find(name: &str) -> Option<&'static ProtocolEntry> {
    PROTOCOLS.iter().find(|entry| entry.name == name)
}

/// At most 64 characters of text from the far end, fit for a log line: control characters become spaces.
fn excerpt(text: &str) -> String {
    const MOST: usize = 64;
    let mut short: String =
        text.chars().take(MOST).map(|c| if c.is_control() { ' ' } else { c }).collect::<String>().trim().to_owned();
    if text.chars().nth(MOST).is_some() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::units::SampleRate;

    #[test]
    fn every_protocol_in_the_table_is_found_by_its_name_and_starts_silent() {
        let wire = PcmFormat { rate: SampleRate::HZ_8000, channels: 1 };
        for entry in PROTOCOLS {
            let config = ProtocolConfig { metadata: None, wire, binary: None, max_audio_base64_len: 1_000_000 };
            let mut protocol = find(entry.name).map(|entry| entry.make(config)).unwrap();
            assert_eq!(protocol.poll(), None, "{}", entry.name);
            assert!(!entry.summary.is_empty());
        }
        assert!(find("nonesuch").is_none());
    }

    #[test]
    fn an_excerpt_is_short_and_without_control_characters() {
        assert_eq!(excerpt("a\r\nb\u{1b}[31m\0c"), "a  b [31m c");
        assert_eq!(excerpt(&"é".repeat(64)), "é".repeat(64));
        assert_eq!(excerpt(&"é".repeat(65)), format!("{}…", "é".repeat(64)));
    }
}
