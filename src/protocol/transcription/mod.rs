//! Services that write down what is said: each is a protocol whose server plays nothing and sends transcripts.
//!
//! | protocol | service | what it is asked for |
//! |---|---|---|
//! | [`deepgram`] | Deepgram's live transcription, Flux included | by the URL's query |
//! | [`assemblyai`] | AssemblyAI's Universal Streaming | by the URL's query |
//! | [`soniox`] | Soniox's real-time transcription | by the first message |
//! | [`openai`] | OpenAI's realtime transcription, and servers compatible with it | by `session.update` |
//!
//! Each reads its service's results into [`Transcript`]s, which the operator gets as events. Times are of the audio that the
//! service was sent, from its beginning. Runs on the stream's worker; owned by the stream's task. Nothing waits here but the
//! words of one utterance, as far as the service gives them in pieces: at most [`MOST_WORDS`] words and [`MOST_TEXT`] bytes.

pub(super) mod assemblyai;
pub mod deepgram;
pub(super) mod openai;
pub(super) mod soniox;

use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use serde::{Serialize, Serializer};

use super::session::Outputs;
use super::{Codec, ProtocolConfig, ProtocolEvent, WireFormat, excerpt, highest_rate};
use crate::units::choice::choice;
use crate::units::{Encoding, Mix, PcmFormat, SampleRate};

/// Words of one transcript.
const MOST_WORDS: usize = 2_000;
/// Bytes of the text of one utterance that is put together here.
const MOST_TEXT: usize = 64 * 1024;
/// How long a service has for its last results after the end of the audio.
const LAST_RESULTS: Duration = Duration::from_secs(3);
/// A service hears at least so often from a stream whose audio is paused or whose call is on hold. Deepgram closes after 10 s of
/// silence, Soniox after 20 s.
const KEEP_ALIVE: Duration = Duration::from_secs(5);

choice! {
    /// Whose words a transcript has.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub enum Leg {
        /// The caller's.
        Caller = "caller",
        /// The other leg's.
        Other = "other",
        /// Either's: both were sent in one channel.
        Both = "both",
    }
}

/// How sure a service is: thousandths, 0 to 1,000; written as a number from 0 to 1.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Confidence(u16);

impl From<f64> for Confidence {
    fn from(share: f64) -> Self {
        Self((share.clamp(0.0, 1.0) * 1_000.0).round() as u16)
    }
}

impl Serialize for Confidence {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(f64::from(self.0) / 1_000.0)
    }
}

/// What a service has understood.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Transcript {
    /// Who said it.
    pub leg: Leg,
    /// The words, with punctuation where the service writes any.
    pub text: String,
    /// It will not change any more.
    pub is_final: bool,
    /// They have finished what they were saying.
    pub end_of_turn: bool,
    /// Beginning and end in the audio that was sent, ms, where the service gives them.
    pub span_ms: Option<(u64, u64)>,
    /// How sure the service is, where it says so.
    pub confidence: Option<Confidence>,
    /// The words one by one, where the service gives them; the first [`MOST_WORDS`].
    pub words: Vec<Word>,
}

/// A word of a transcript.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Word {
    /// The word.
    pub word: String,
    /// Its beginning in the audio that was sent, ms.
    pub start_ms: u64,
    /// Its end.
    pub end_ms: u64,
    /// How sure the service is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confidence: Option<Confidence>,
    /// Which of several speakers of the leg, where the service tells them apart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub speaker: Option<String>,
}

/// Which service a protocol is made for, and how its URL and handshake are completed.
#[derive(Clone, Copy, Debug)]
pub struct Service {
    /// Where it is.
    pub url: &'static str,
    /// What stands before the key in the header `Authorization`.
    pub key_scheme: &'static str,
    /// The stream's metadata are fields of its first message.
    pub takes_settings: bool,
    /// Parameters of the URL's query, unless the URL has them already.
    pub query: fn(&ProtocolConfig) -> Vec<(&'static str, String)>,
}

/// What the options ask a service for.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Recognition {
    /// The service's name of its model; `None`: the service's default.
    pub model: Option<String>,
    /// The language, as the service writes it; `None`: the service's default.
    pub language: Option<String>,
}

/// Whose words come from a channel of the audio.
const fn leg(mix: Mix, channels: u16, channel: usize) -> Leg {
    match (mix, channels, channel) {
        (Mix::Mono, ..) => Leg::Caller,
        (Mix::Stereo, 2, 0) => Leg::Caller,
        (Mix::Stereo, 2, _) => Leg::Other,
        _ => Leg::Both,
    }
}

/// The captured audio that a service is sent: G.711 where the options ask for it and the service takes it.
fn capture(config: &ProtocolConfig, channels: u16, rates: &[u32], laws: bool, least_ms: u32) -> WireFormat {
    let (rate, encoding) = match config.codec {
        Codec::G711(law) if laws => (SampleRate::HZ_8000, Encoding::G711(law)),
        _ => (highest_rate(config.wire.rate, rates), Encoding::S16Le),
    };
    let pcm = PcmFormat { rate, channels };
    // Whole messages of the length asked for, as many as the service wants at a time.
    let message_ms = config.buffer_ms * least_ms.div_ceil(config.buffer_ms.max(1)).max(1);
    WireFormat { pcm, encoding, message_ms }
}

/// Seconds in a service's message as ms; nonsense is 0.
fn ms(seconds: f64) -> u64 {
    // A cast saturates, and NaN is 0.
    (seconds * 1_000.0).round() as u64
}

/// Tells the operator, unless there is nothing in it.
fn report(mut transcript: Transcript, out: &mut Outputs) {
    transcript.words.truncate(MOST_WORDS);
    if !transcript.text.is_empty() || transcript.end_of_turn {
        out.event(ProtocolEvent::Transcript(Box::new(transcript)));
    }
}

/// When a service that hears no audio is to hear something else.
#[derive(Debug, Default)]
struct KeepAlive {
    due: Option<Instant>,
}

impl KeepAlive {
    /// Something was sent.
    fn sent(&mut self, out: &Outputs) {
        self.due = out.now().map(|now| now + KEEP_ALIVE);
    }

    /// Nothing was: `kind` is the service's message for that.
    fn send(&mut self, kind: &'static str, out: &mut Outputs) {
        out.send_json(&Control { kind });
        self.sent(out);
    }
}

/// A message to a service that is nothing but its name.
#[derive(Serialize)]
struct Control {
    #[serde(rename = "type")]
    kind: &'static str,
}

/// A text of `service` as one of its messages; `None`, and a fault, when it is none.
fn message<M: DeserializeOwned>(service: &str, text: &str, out: &mut Outputs) -> Option<M> {
    match serde_json::from_str(text) {
        Ok(message) => Some(message),
        Err(error) => {
            out.fault(format!("the text is not a message of {service} ({error}): {}", excerpt(text)));
            None
        }
    }
}

/// A binary message of `service`, which has none.
fn no_binary(service: &str, out: &mut Outputs) {
    out.fault(format!("a binary message; {service} sends none"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_are_legs_as_the_mix_has_them() {
        for (mix, channels, channel, expected) in [
            (Mix::Mono, 1, 0, Leg::Caller),
            (Mix::Mixed, 1, 0, Leg::Both),
            (Mix::Stereo, 2, 0, Leg::Caller),
            (Mix::Stereo, 2, 1, Leg::Other),
            (Mix::Stereo, 1, 0, Leg::Both),
        ] {
            assert_eq!(leg(mix, channels, channel), expected, "{mix:?} {channels} {channel}");
        }
    }

    #[test]
    fn times_are_whole_milliseconds_whatever_the_service_sends() {
        for (seconds, expected) in [(1.2345, 1_235), (-1.0, 0), (f64::NAN, 0), (f64::INFINITY, u64::MAX)] {
            assert_eq!(ms(seconds), expected);
        }
    }
}
