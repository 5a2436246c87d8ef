//! pipecat's protobuf frames, as its `ProtobufFrameSerializer` reads and writes them.
//!
//! Every WebSocket message is binary and is one `pipecat.Frame`: a choice of text, audio, transcription, message and
//! interruption. Audio is S16LE and states its rate and channels in each frame, so the bot's rate is the bot's choice.
//!
//! pipecat has no frame for the start, the keys or the end of a call. They go as message frames, whose data is JSON with the
//! label `mod_audio_stream`; pipecat's own RTVI processor ignores other labels. A text of the operator goes as a message frame:
//! JSON as it is, anything else in the same envelope.
//!
//! From the server: audio is queued; an interruption drops what is queued; texts, transcriptions and messages are `json`
//! events. A text message of the WebSocket is a fault, since the protocol has none.

use std::collections::BTreeMap;

use prost::Message as _;
use serde::Serialize;
use serde_json::value::RawValue;

use super::call::{CallInfo, parameters};
use super::pcm::FrameReader;
use super::session::{CloseMode, Dialect, Outputs};
use super::{Audio, ProtocolConfig, ProtocolEvent, WireFormat};
use crate::units::{Encoding, PcmFormat, SampleRate};

/// Marks our message frames: RTVI clients use `rtvi-ai`.
const LABEL: &str = "mod_audio_stream";

/// One WebSocket message. The tags are those of pipecat's `frames.proto`.
#[derive(Clone, PartialEq, prost::Message)]
struct Frame {
    #[prost(oneof = "Kind", tags = "1, 2, 3, 4, 5")]
    kind: Option<Kind>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Kind {
    #[prost(message, tag = "1")]
    Text(TextFrame),
    #[prost(message, tag = "2")]
    Audio(AudioFrame),
    #[prost(message, tag = "3")]
    Transcription(TranscriptionFrame),
    #[prost(message, tag = "4")]
    Message(MessageFrame),
    #[prost(message, tag = "5")]
    Interruption(InterruptionFrame),
}

#[derive(Clone, PartialEq, prost::Message)]
struct TextFrame {
    #[prost(string, tag = "3")]
    text: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct AudioFrame {
    #[prost(bytes = "vec", tag = "3")]
    audio: Vec<u8>,
    #[prost(uint32, tag = "4")]
    sample_rate: u32,
    #[prost(uint32, tag = "5")]
    num_channels: u32,
}

#[derive(Clone, PartialEq, prost::Message)]
struct TranscriptionFrame {
    #[prost(string, tag = "3")]
    text: String,
    #[prost(string, tag = "4")]
    user_id: String,
    #[prost(string, tag = "5")]
    timestamp: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct MessageFrame {
    #[prost(string, tag = "1")]
    data: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct InterruptionFrame {}

/// What a message frame of ours says.
#[derive(Serialize)]
struct Envelope<T> {
    label: &'static str,
    #[serde(rename = "type")]
    kind: &'static str,
    data: T,
}

#[derive(Serialize)]
struct Start<'a> {
    call_id: &'a str,
    stream_id: &'a str,
    from: &'a str,
    to: &'a str,
    direction: &'static str,
    parameters: &'a BTreeMap<String, Box<RawValue>>,
}

#[derive(Serialize)]
struct Dtmf {
    digit: char,
    duration_ms: u32,
}

#[derive(Serialize)]
struct Stop {
    call_ended: bool,
}

/// What a text or a transcription of the bot becomes as a `json` event.
#[derive(Serialize)]
struct Said<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    text: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    user_id: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    timestamp: &'a str,
}

/// pipecat's side of the connection.
#[derive(Debug)]
pub(super) struct Pipecat {
    call: CallInfo,
    parameters: BTreeMap<String, Box<RawValue>>,
    format: WireFormat,
    /// The form of the last audio frame, with what it left of a sample.
    reader: Option<(PcmFormat, FrameReader)>,
    /// The fault about text messages has been reported on this connection.
    text_reported: bool,
}

impl Pipecat {
    pub(super) fn new(config: ProtocolConfig) -> Self {
        Self {
            parameters: parameters(config.metadata.as_deref()),
            format: WireFormat { pcm: config.wire, encoding: Encoding::S16Le, message_ms: config.buffer_ms },
            call: config.call,
            reader: None,
            text_reported: false,
        }
    }

    fn audio_frame(&mut self, frame: &AudioFrame, out: &mut Outputs) {
        let AudioFrame { audio, sample_rate, num_channels } = frame;
        let channels = u16::try_from(*num_channels).ok().filter(|channels| matches!(channels, 1 | 2));
        let format =
            channels.zip(SampleRate::from_hz(*sample_rate)).map(|(channels, rate)| PcmFormat { rate, channels });
        let Some(format) = format else {
            return out
                .fault(format!("an audio frame with {num_channels} channels at {sample_rate} Hz cannot be played"));
        };
        let (_, reader) = match &mut self.reader {
            Some(same) if same.0 == format => same,
            // What is left of a sample in another format belongs to nothing.
            other => other.insert((format, FrameReader::new(format.channels))),
        };
        let samples = reader.push(audio);
        if !samples.is_empty() {
            out.play(Audio::Pcm { samples, format });
        }
    }
}

fn send(kind: Kind, out: &mut Outputs) {
    out.send_binary(Frame { kind: Some(kind) }.encode_to_vec());
}

/// A message frame of ours.
fn say(kind: &'static str, data: impl Serialize, out: &mut Outputs) {
    if let Some(data) = out.json(&Envelope { label: LABEL, kind, data }) {
        send(Kind::Message(MessageFrame { data }), out);
    }
}

fn event(said: &Said<'_>, out: &mut Outputs) {
    if let Some(text) = out.json(said) {
        out.event(ProtocolEvent::Json(text));
    }
}

impl Dialect for Pipecat {
    fn capture(&self) -> WireFormat {
        self.format
    }

    fn opened(&mut self, out: &mut Outputs) {
        self.reader = None;
        self.text_reported = false;
        let CallInfo { call_id, stream_id, from, to, outbound, .. } = &self.call;
        let direction = if *outbound { "outbound" } else { "inbound" };
        say("start", Start { call_id, stream_id, from, to, direction, parameters: &self.parameters }, out);
    }

    fn audio(&mut self, bytes: &[u8], out: &mut Outputs) {
        let PcmFormat { rate, channels } = self.format.pcm;
        let audio = AudioFrame { audio: bytes.to_vec(), sample_rate: rate.hz(), num_channels: channels.into() };
        send(Kind::Audio(audio), out);
    }

    fn text(&mut self, _text: &str, out: &mut Outputs) {
        if !self.text_reported {
            self.text_reported = true;
            out.fault("text messages are ignored: this protocol has binary messages only");
        }
    }

    fn binary(&mut self, bytes: &[u8], out: &mut Outputs) {
        match Frame::decode(bytes) {
            Ok(Frame { kind: Some(kind) }) => match kind {
                Kind::Audio(frame) => self.audio_frame(&frame, out),
                Kind::Interruption(_) => {
                    self.reader = None;
                    out.clear();
                }
                Kind::Message(message) => out.event(ProtocolEvent::Json(message.data)),
                Kind::Text(TextFrame { text }) => {
                    event(&Said { kind: "text", text: &text, user_id: "", timestamp: "" }, out);
                }
                Kind::Transcription(TranscriptionFrame { text, user_id, timestamp }) => {
                    let said = Said { kind: "transcription", text: &text, user_id: &user_id, timestamp: &timestamp };
                    event(&said, out);
                }
            },
            // A kind of frame that later versions of pipecat may add.
            Ok(Frame { kind: None }) => {}
            Err(error) => out.fault(format!("a binary message is not a pipecat frame: {error}")),
        }
    }

    fn dtmf(&mut self, digit: char, duration_ms: u32, out: &mut Outputs) {
        say("dtmf", Dtmf { digit, duration_ms }, out);
    }

    fn send_text(&mut self, text: &str, out: &mut Outputs) {
        // The serializer of the bot reads the data of a message as JSON.
        if serde_json::from_str::<&RawValue>(text).is_ok() {
            send(Kind::Message(MessageFrame { data: text.to_owned() }), out);
        } else {
            say("text", text, out);
        }
    }

    fn stop(&mut self, call_ended: bool, out: &mut Outputs) -> CloseMode {
        say("stop", Stop { call_ended }, out);
        CloseMode::Close
    }
}
