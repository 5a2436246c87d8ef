//! The wire protocols: what is said on a connection, without the connection.
//!
//! A protocol is a state machine without socket, clock or task (sans-IO): the stream's task hands it everything that
//! happens through [`Protocol::handle`] and then drains [`Protocol::poll`] before the next input. So a protocol is
//! tested by calling it, and one driving loop serves all of them.
//!
//! Runs on the stream's worker; owned by the stream's task, one value per connection attempt or re-used over
//! reconnects ([`Input::Opened`] starts it afresh). Captured audio comes in as bytes of [`Protocol::capture`]'s form, audio
//! for the caller goes out as [`Audio`]: companding, containers and files are other modules' work. Nothing is queued here
//! beyond the outputs of one input, the names of marks that wait, and, where a server may send frames out of order, a few
//! of those.
//!
//! A protocol only asks: whether a call is hung up, transferred or given DTMF because the server wants it is decided by
//! the code that takes the [`Output::Request`].
//!
//! | file | what |
//! |---|---|
//! | `native`, `stream_audio` | the existing mod_audio_stream servers' |
//! | `audio_fork` | drachtio's and jambonz's |
//! | `twilio`, `telnyx`, `plivo`, `vonage`, `exotel` | the vendors' media streams |
//! | `pipecat` | pipecat's protobuf frames |
//! | `asterisk` | Asterisk's chan_websocket |
//! | `session` | what all have in common: the phases of a connection, the outputs |
//! | `table` | all protocols by name |
//! | `call` | what a protocol may tell of the call |
//! | `tracks` | captured audio by leg, numbered |
//! | `marks`, `json`, `codec`, `pcm` | names that wait, JSON, base64, samples |
//!
//! A new protocol is one file with a `Dialect`, one row of [`PROTOCOLS`] in `table`, and its transcripts in `tests/golden/<name>/`.

// A protocol is given the time and waits for nothing; the tests may.
#![cfg_attr(not(test), deny(clippy::disallowed_methods))]

mod asterisk;
mod audio_fork;
mod call;
pub(crate) mod codec;
mod exotel;
mod json;
mod marks;
mod native;
pub(crate) mod pcm;
mod pipecat;
mod plivo;
mod session;
mod stream_audio;
mod table;
mod telnyx;
mod tracks;
pub mod transcription;
mod twilio;
mod vonage;

#[cfg(test)]
#[path = "session_tests.rs"]
mod any_session;
#[cfg(test)]
#[path = "transcript_tests.rs"]
mod transcript;

use std::borrow::Cow;
use std::fmt;
use std::time::{Duration, Instant};

use crate::units::choice::{Choice, choice};
use crate::units::{Encoding, Law, Mix, PcmFormat, SampleRate};

pub use call::{CallInfo, WallClock};
pub use table::{PROTOCOLS, ProtocolEntry, find, names};
pub use transcription::{Leg, Recognition, Service, Transcript, Word};

/// One wire protocol, from the client's side.
pub trait Protocol: Send {
    /// Takes one input at the time `now`. Its outputs wait in [`poll`](Self::poll) and must be drained before the
    /// next input.
    fn handle(&mut self, now: Instant, input: Input<'_>);

    /// The next output of the last input, in order; `None` when all are taken.
    fn poll(&mut self) -> Option<Output>;

    /// When [`Input::Timeout`] is wanted; `None` when never. Also after [`Input::Stop`], until the close.
    fn deadline(&self) -> Option<Instant>;

    /// Whether it wants [`Input::Queued`].
    fn follows_queue(&self) -> bool;

    /// The WebSocket subprotocol to offer in the handshake.
    fn subprotocol(&self) -> Option<&'static str>;

    /// The form captured audio must have in [`Input::Audio`]. Never changes.
    fn capture(&self) -> WireFormat;

    /// What the server calls a mark that has not been answered yet; `None` where it gave no name. The server's words.
    fn mark_name(&self, id: MarkId) -> Option<&str>;
}

/// The form of captured audio that a protocol wants, which is what the stream's options ask for where the protocol leaves
/// it open.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WireFormat {
    /// Rate and channels.
    pub pcm: PcmFormat,
    /// The bytes of a sample.
    pub encoding: Encoding,
    /// Duration of one message, ms. The last one before [`Input::Stop`] may be shorter.
    pub message_ms: u32,
}

impl WireFormat {
    /// Bytes of one sample of every channel.
    pub const fn frame_bytes(&self) -> usize {
        self.encoding.sample_bytes() * self.pcm.channels as usize
    }
}

/// An input of a protocol.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Input<'a> {
    /// The connection is up, for the first time or again. Everything half received before is forgotten.
    Opened,
    /// Captured audio for one message, in the form of [`Protocol::capture`], whole frames, channels interleaved.
    Audio(&'a [u8]),
    /// A text message arrived.
    Text(&'a str),
    /// A binary message arrived.
    Binary(&'a [u8]),
    /// The caller pressed a key.
    Dtmf {
        /// One of `0-9 A-D * #`.
        digit: char,
        /// How long, ms.
        duration_ms: u32,
    },
    /// Everything queued before [`Output::Mark`] has been heard by the caller, or there was nothing.
    MarkHeard(MarkId),
    /// Some of what was queued before [`Output::Mark`] has been dropped, by whatever clear, and will not be heard.
    MarkCleared(MarkId),
    /// How much audio waits to be heard: after every change, and at other times.
    Queued(Duration),
    /// An [`Output::Request`] is not done: why, in words for the server.
    Denied(&'a str),
    /// The operator sends a text.
    SendText(&'a str),
    /// The stream ends.
    Stop {
        /// The operator's last text, sent before everything else.
        text: Option<&'a str>,
        /// The call has ended, and the stream because of it; otherwise the operator ends the stream.
        call_ended: bool,
    },
    /// [`Protocol::deadline`] has passed.
    Timeout,
}

/// What a protocol wants done, in order.
#[derive(Clone, PartialEq, Debug)]
pub enum Output {
    /// Send one text message, never merged with another.
    SendText(String),
    /// Send one binary message, which may be empty.
    SendBinary(Vec<u8>),
    /// Queue audio for the caller.
    Play(Play),
    /// Drop all audio queued for the caller. Every mark that waits is then answered by [`Input::MarkCleared`], in order.
    Clear,
    /// Hold the audio that is queued, and what is queued later, back from the caller (`true`), or let it go on. The end of the
    /// connection ends it.
    Hold(bool),
    /// Tell when everything queued before this has been heard: each mark is answered once, in order, by
    /// [`Input::MarkHeard`] or [`Input::MarkCleared`], after the outputs have been drained.
    Mark(MarkId),
    /// The server wants this done to the call. Not done where the stream's profile does not allow it.
    Request(Request),
    /// Tell the operator.
    Event(ProtocolEvent),
    /// The server sent something unusable. The connection and the call go on; the caller of the protocol counts it,
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

/// A position in the audio queued for the caller. Never used twice by one protocol, reconnects included.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct MarkId(pub u64);

/// Audio for the caller.
#[derive(Clone, PartialEq, Debug)]
pub struct Play {
    /// The audio.
    pub audio: Audio,
    /// Drop what is queued before queueing this, as [`Output::Clear`] does.
    pub clear: bool,
}

/// Audio as it came.
#[derive(Clone, PartialEq, Debug)]
pub enum Audio {
    /// Samples.
    Pcm {
        /// Interleaved, whole frames only.
        samples: Vec<i16>,
        /// Their rate and channels.
        format: PcmFormat,
    },
    /// Bytes still to be decoded: one whole message, never [`AudioKind::Raw`].
    Encoded {
        /// What they are.
        kind: AudioKind,
        /// At most three quarters of `max_audio_base64_len`.
        bytes: Vec<u8>,
    },
    /// A file that the server named and the stream's profile allows it to name. Whether the path lies where it may is for
    /// the code that opens it to check.
    File {
        /// As it came: not to be trusted.
        path: String,
        /// What is said to be in it.
        kind: AudioKind,
    },
}

/// What encoded audio is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AudioKind {
    /// S16LE samples.
    Raw(PcmFormat),
    /// G.711, channels interleaved.
    G711(Law, PcmFormat),
    /// A WAV file.
    Wav,
    /// An MP3 file.
    Mp3,
    /// An Ogg file.
    Ogg,
}

impl fmt::Display for AudioKind {
    /// The word of the native protocol.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Raw(_) => "raw",
            Self::G711(Law::Mu, _) => "pcmu",
            Self::G711(Law::A, _) => "pcma",
            Self::Wav => "wav",
            Self::Mp3 => "mp3",
            Self::Ogg => "ogg",
        })
    }
}

/// What a server wants done to the call.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Request {
    /// Answer the call, if it is not answered yet.
    Answer,
    /// End the call.
    Hangup,
    /// Transfer the caller. The destination is at most 128 characters of printable ASCII without spaces, quotes, backslashes
    /// and any of `$ { } | , ; < > &`: still the server's, and never to be expanded.
    Transfer {
        /// Where to.
        destination: String,
    },
    /// Send DTMF to the caller: 1 to 64 of `0-9 A-D a-d * #`, and `w` or `W` for pauses of 0.5 and 1 s.
    SendDtmf {
        /// The digits.
        digits: String,
    },
}

impl fmt::Display for Request {
    /// In words that complete "the server wants to …".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answer => f.write_str("answer the call"),
            Self::Hangup => f.write_str("hang up the call"),
            Self::Transfer { destination } => write!(f, "transfer the call to {destination}"),
            Self::SendDtmf { digits } => write!(f, "send DTMF {digits}"),
        }
    }
}

/// What the server said that an operator listens for.
#[derive(Clone, PartialEq, Debug)]
pub enum ProtocolEvent {
    /// The server's text, as it came. Event `json`.
    Json(String),
    /// The playback message without its audio, as JSON. Event `play`.
    Play(String),
    /// What a service has understood. Event `transcript`.
    Transcript(Box<Transcript>),
}

/// Why a message of the server could not be used, in words for the operator.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fault {
    /// What was wrong, naming the field. Server text in it is cut short and free of control characters.
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

/// The codec a stream's options ask for, where its protocol leaves a choice.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Codec {
    /// What the protocol's vendor does by default.
    #[default]
    Auto,
    /// 16 bit linear, in the protocol's byte order.
    L16,
    /// G.711 at 8 kHz.
    G711(Law),
}

impl Choice for Codec {
    const WORDS: &'static [(&'static str, Self)] =
        &[("auto", Self::Auto), ("l16", Self::L16), ("pcmu", Self::G711(Law::Mu)), ("pcma", Self::G711(Law::A))];
}

/// What the binary messages of a server are, where its protocol leaves that to the stream's options.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum BinaryRate {
    /// Audio at the stream's own rate.
    #[default]
    Auto,
    /// No audio.
    Off,
    /// Audio at this rate.
    Rate(SampleRate),
}

choice! {
    /// The form of control messages, where a protocol has several.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub enum ControlFormat {
        /// A line of words.
        #[default]
        Plain = "plain",
        /// A JSON object.
        Json = "json",
    }
}

choice! {
    /// The order of the two bytes of a linear sample, where a vendor's documentation leaves it open.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub enum ByteOrder {
        /// As on most processors.
        #[default]
        Little = "little",
        /// As in RTP.
        Big = "big",
    }
}

/// What a stream's options say to its protocol.
#[derive(Clone, PartialEq, Debug)]
pub struct ProtocolConfig {
    /// The operator's own words to the server: the first text message, or the custom parameters of a protocol that has
    /// those; `None` or empty: none.
    pub metadata: Option<String>,
    /// The format of captured audio on the wire that the options ask for.
    pub wire: PcmFormat,
    /// Which legs are captured.
    pub mix: Mix,
    /// Captured audio in one message that the options ask for, ms.
    pub buffer_ms: u32,
    /// The codec that the options ask for.
    pub codec: Codec,
    /// The byte order of linear audio, where the protocol leaves it open.
    pub byte_order: ByteOrder,
    /// What binary messages from the server are, where the protocol does not say so.
    pub binary_rate: BinaryRate,
    /// Interleaved channels of binary messages that are audio, 1 or 2.
    pub binary_channels: u16,
    /// The form of control messages that the options ask for.
    pub control: ControlFormat,
    /// How much audio may wait for playback, ms.
    pub queue_ms: u32,
    /// Longest base64 text of one message's audio, in characters.
    pub max_audio_base64_len: usize,
    /// Whether the server may name files to be played.
    pub allow_files: bool,
    /// What a transcription service is asked for.
    pub recognition: Recognition,
    /// The call.
    pub call: CallInfo,
    /// The time of day.
    pub clock: WallClock,
}

impl ProtocolConfig {
    /// Every option at its default, of a call nothing is known of.
    pub fn new(wire: PcmFormat, clock: WallClock) -> Self {
        Self {
            metadata: None,
            wire,
            mix: if wire.channels == 2 { Mix::Stereo } else { Mix::Mono },
            buffer_ms: 20,
            codec: Codec::Auto,
            byte_order: ByteOrder::Little,
            binary_rate: BinaryRate::Auto,
            binary_channels: 1,
            control: ControlFormat::Plain,
            queue_ms: 120_000,
            max_audio_base64_len: 1_000_000,
            allow_files: false,
            recognition: Recognition::default(),
            call: CallInfo::default(),
            clock,
        }
    }
}

/// The highest of `rates` (ascending) that is no more than `asked`, or else the lowest.
fn highest_rate(asked: SampleRate, rates: &[u32]) -> SampleRate {
    let hz = rates.iter().rev().find(|hz| **hz <= asked.hz()).or(rates.first());
    hz.and_then(|hz| SampleRate::from_hz(*hz)).unwrap_or(asked)
}

/// Whether `digits` may be asked for by [`Request::SendDtmf`].
fn is_dtmf(digits: &str) -> bool {
    let known = |c: char| matches!(c, '0'..='9' | 'A'..='D' | 'a'..='d' | '*' | '#' | 'w' | 'W');
    (1..=64).contains(&digits.len()) && digits.chars().all(known)
}

/// Whether `text` may be the destination of a [`Request::Transfer`]: nothing in it means anything to a dialplan but itself.
fn is_destination(text: &str) -> bool {
    let plain = |c: char| {
        c.is_ascii_graphic()
            && !matches!(c, '"' | '\'' | '`' | '$' | '{' | '}' | '\\' | '|' | ',' | ';' | '<' | '>' | '&')
    };
    (1..=128).contains(&text.len()) && text.chars().all(plain)
}

/// At most 64 characters of text from the server, fit for a log line: control characters become spaces.
pub(crate) fn excerpt(text: &str) -> String {
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

    #[test]
    fn every_protocol_is_found_by_name_and_starts_silent() {
        for entry in PROTOCOLS {
            let mut protocol = find(entry.name).map(|entry| entry.make(transcript::config())).unwrap();
            assert_eq!(protocol.poll(), None, "{}", entry.name);
            assert!(!entry.summary.is_empty());
        }
        assert!(find("nonesuch").is_none());
    }

    /// Whatever the options ask for, the wire carries what the vendor's servers expect.
    #[test]
    fn a_protocol_sets_the_captured_format_where_its_vendor_does() {
        let format = |name: &str, hz: u32, channels: u16, codec: Codec| {
            let wire = PcmFormat { rate: SampleRate::new(hz).unwrap(), channels };
            let config = ProtocolConfig { wire, codec, buffer_ms: 60, ..transcript::config() };
            let WireFormat { pcm, encoding, message_ms } = find(name).unwrap().make(config).capture();
            (pcm.rate.hz(), pcm.channels, encoding, message_ms)
        };
        let (mu, a) = (Encoding::G711(Law::Mu), Encoding::G711(Law::A));
        for (asked, expected) in [
            (("native", 48_000, 2, Codec::Auto), (48_000, 2, Encoding::S16Le, 60)),
            (("native", 48_000, 2, Codec::G711(Law::Mu)), (8_000, 2, mu, 60)),
            (("native", 16_000, 1, Codec::G711(Law::A)), (8_000, 1, a, 60)),
            (("audio_fork", 16_000, 2, Codec::Auto), (16_000, 2, Encoding::S16Le, 60)),
            (("jambonz", 8_000, 1, Codec::Auto), (8_000, 1, Encoding::S16Le, 60)),
            (("twilio", 16_000, 1, Codec::L16), (8_000, 1, mu, 20)),
            (("twilio", 8_000, 2, Codec::Auto), (8_000, 2, mu, 20)),
            (("telnyx", 8_000, 1, Codec::Auto), (8_000, 1, mu, 20)),
            (("telnyx", 16_000, 1, Codec::Auto), (16_000, 1, Encoding::S16Le, 20)),
            (("telnyx", 48_000, 2, Codec::Auto), (24_000, 2, Encoding::S16Le, 20)),
            (("telnyx", 16_000, 1, Codec::G711(Law::A)), (8_000, 1, a, 20)),
            (("telnyx", 8_000, 1, Codec::L16), (8_000, 1, Encoding::S16Le, 20)),
            (("plivo", 8_000, 1, Codec::Auto), (8_000, 1, Encoding::S16Le, 20)),
            (("plivo", 24_000, 2, Codec::Auto), (16_000, 2, Encoding::S16Le, 20)),
            (("plivo", 16_000, 1, Codec::G711(Law::Mu)), (8_000, 1, mu, 20)),
            (("vonage", 8_000, 1, Codec::Auto), (8_000, 1, Encoding::S16Le, 20)),
            (("vonage", 48_000, 2, Codec::G711(Law::A)), (24_000, 1, Encoding::S16Le, 20)),
            (("exotel", 32_000, 2, Codec::Auto), (24_000, 1, Encoding::S16Le, 100)),
            (("asterisk", 8_000, 1, Codec::Auto), (8_000, 1, mu, 20)),
            (("asterisk", 24_000, 2, Codec::Auto), (24_000, 1, Encoding::S16Le, 20)),
            (("asterisk", 8_000, 1, Codec::L16), (8_000, 1, Encoding::S16Le, 20)),
            (("asterisk", 16_000, 1, Codec::G711(Law::A)), (8_000, 1, a, 20)),
            (("pipecat", 16_000, 2, Codec::G711(Law::A)), (16_000, 2, Encoding::S16Le, 60)),
            (("deepgram", 16_000, 2, Codec::Auto), (16_000, 2, Encoding::S16Le, 60)),
            (("deepgram", 16_000, 1, Codec::G711(Law::A)), (8_000, 1, a, 60)),
            (("assemblyai", 16_000, 2, Codec::G711(Law::Mu)), (8_000, 1, mu, 60)),
            (("assemblyai", 16_000, 1, Codec::G711(Law::A)), (16_000, 1, Encoding::S16Le, 60)),
            (("soniox", 16_000, 2, Codec::G711(Law::A)), (8_000, 1, a, 60)),
            (("openai_transcription", 8_000, 2, Codec::Auto), (24_000, 1, Encoding::S16Le, 60)),
            (("openai_transcription", 16_000, 1, Codec::G711(Law::Mu)), (8_000, 1, mu, 60)),
        ] {
            assert_eq!(format(asked.0, asked.1, asked.2, asked.3), expected, "{asked:?}");
        }
    }

    #[test]
    fn an_excerpt_is_short_and_without_control_characters() {
        assert_eq!(excerpt("a\r\nb\u{1b}[31m\0c"), "a  b [31m c");
        assert_eq!(excerpt(&"é".repeat(64)), "é".repeat(64));
        assert_eq!(excerpt(&"é".repeat(65)), format!("{}…", "é".repeat(64)));
    }
}
