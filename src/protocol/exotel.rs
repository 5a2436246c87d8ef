//! Exotel AgentStream: <https://developer.exotel.com/docs/agentstream/websocket-protocol>.
//!
//! Twilio's messages in snake_case, every number a string. S16LE at 8, 16 or 24 kHz (the highest the options' rate reaches),
//! mono, in messages of 100 ms or more. The metadata's fields are the `custom_parameters`, all strings.
//!
//! From the server: `media` of any length is queued, half a sample waits for the next; `mark` is echoed when heard, and also
//! when `clear` drops it; `clear` drops what is queued. Unknown events are ignored.

use std::collections::BTreeMap;

use serde::Serialize;

use super::call::text_parameters;
use super::json::{Field, as_text, inner};
use super::marks::Marks;
use super::pcm::FrameReader;
use super::session::{CloseMode, Dialect, NoBinary, Outputs, message, payload};
use super::tracks::Tracks;
use super::twilio::MOST_MARKS;
use super::{Audio, MarkId, ProtocolConfig, WireFormat, highest_rate};
use crate::units::{Encoding, PcmFormat};

/// Least audio in a message, ms.
const LEAST_MS: u32 = 100;

/// Exotel's side of the conversation.
#[derive(Debug)]
pub(super) struct Exotel {
    config: ProtocolConfig,
    parameters: BTreeMap<String, String>,
    tracks: Tracks,
    sequence: u64,
    marks: Marks<String>,
    reader: FrameReader,
    binary: NoBinary,
}

#[derive(Serialize)]
struct Connected {
    event: &'static str,
}

/// Every message after `connected`.
#[derive(Serialize)]
struct Event<'a> {
    event: &'static str,
    #[serde(serialize_with = "as_text")]
    sequence_number: u64,
    stream_sid: &'a str,
    #[serde(flatten)]
    body: Body<'a>,
}

/// In the message under its own name.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Body<'a> {
    Start(Start<'a>),
    Media(Media<'a>),
    Dtmf(Dtmf),
    Mark(Mark<'a>),
    Stop(Stop<'a>),
}

#[derive(Serialize)]
struct Start<'a> {
    stream_sid: &'a str,
    call_sid: &'a str,
    account_sid: &'a str,
    from: &'a str,
    to: &'a str,
    custom_parameters: &'a BTreeMap<String, String>,
    media_format: MediaFormat,
}

#[derive(Serialize)]
struct MediaFormat {
    encoding: &'static str,
    #[serde(serialize_with = "as_text")]
    sample_rate: u32,
    bit_rate: &'static str,
}

#[derive(Serialize)]
struct Media<'a> {
    #[serde(serialize_with = "as_text")]
    chunk: u64,
    #[serde(serialize_with = "as_text")]
    timestamp: u64,
    payload: &'a str,
}

#[derive(Serialize)]
struct Dtmf {
    digit: char,
    #[serde(serialize_with = "as_text")]
    duration: u32,
}

#[derive(Serialize)]
struct Mark<'a> {
    name: &'a str,
}

#[derive(Serialize)]
struct Stop<'a> {
    call_sid: &'a str,
    account_sid: &'a str,
    reason: &'static str,
}

impl Exotel {
    pub(super) fn new(config: ProtocolConfig) -> Self {
        let pcm = PcmFormat { rate: highest_rate(config.wire.rate, &[8_000, 16_000, 24_000]), channels: 1 };
        let message_ms = config.buffer_ms.max(LEAST_MS);
        Self {
            parameters: text_parameters(config.metadata.as_deref()),
            config,
            tracks: Tracks::new(WireFormat { pcm, encoding: Encoding::S16Le, message_ms }),
            sequence: 0,
            marks: Marks::new(MOST_MARKS),
            reader: FrameReader::new(1),
            binary: NoBinary::default(),
        }
    }

    fn pcm(&self) -> PcmFormat {
        self.tracks.format().pcm
    }

    fn send(&mut self, event: &'static str, body: Body<'_>, out: &mut Outputs) {
        self.sequence += 1;
        let stream_sid = &self.config.call.stream_id;
        out.send_json(&Event { event, sequence_number: self.sequence, stream_sid, body });
    }
}

impl Dialect for Exotel {
    fn capture(&self) -> WireFormat {
        self.tracks.format()
    }

    fn opened(&mut self, out: &mut Outputs) {
        self.tracks.restart();
        self.marks.forget();
        self.reader.reset();
        self.binary = NoBinary::default();
        out.send_json(&Connected { event: "connected" });
        self.sequence = 1;
        let call = &self.config.call;
        out.send_json(&Event {
            event: "start",
            sequence_number: self.sequence,
            stream_sid: &call.stream_id,
            body: Body::Start(Start {
                stream_sid: &call.stream_id,
                call_sid: &call.call_id,
                account_sid: &call.account_id,
                from: &call.from,
                to: &call.to,
                custom_parameters: &self.parameters,
                media_format: MediaFormat {
                    encoding: "audio/x-raw",
                    sample_rate: self.pcm().rate.hz(),
                    bit_rate: "16",
                },
            }),
        });
    }

    fn audio(&mut self, bytes: &[u8], out: &mut Outputs) {
        let chunk = self.tracks.next(bytes);
        for (_, payload) in self.tracks.payloads(bytes) {
            let media = Media { chunk: chunk.number, timestamp: chunk.timestamp_ms, payload: &payload };
            self.send("media", Body::Media(media), out);
        }
    }

    fn text(&mut self, text: &str, out: &mut Outputs) {
        let Some([event, media, mark]) = message(text, ["event", "media", "mark"], out) else { return };
        match Field::of(event).as_str() {
            Some("media") => {
                let [audio] = inner(media, ["payload"]);
                if let Some(bytes) = payload(audio, "media: payload", self.config.max_audio_base64_len, out) {
                    let samples = self.reader.push(&bytes);
                    out.play(Audio::Pcm { samples, format: self.pcm() });
                }
            }
            Some("mark") => match Field::of(inner(mark, ["name"])[0]).as_str() {
                Some(name) if self.marks.add(name.to_owned(), name.len(), out) => {}
                Some(_) => out.fault("mark: too many marks are waiting; this one is not answered"),
                None => out.fault("mark: name is not a string"),
            },
            Some("clear") => {
                self.reader.reset();
                out.clear();
            }
            Some(_) => {}
            None => out.fault("event is not a string"),
        }
    }

    fn binary(&mut self, _: &[u8], out: &mut Outputs) {
        self.binary.refuse(out);
    }

    fn dtmf(&mut self, digit: char, duration_ms: u32, out: &mut Outputs) {
        self.send("dtmf", Body::Dtmf(Dtmf { digit, duration: duration_ms }), out);
    }

    fn mark(&mut self, id: MarkId, _heard: bool, out: &mut Outputs) {
        if let Some(name) = self.marks.take(id) {
            self.send("mark", Body::Mark(Mark { name: &name }), out);
        }
    }

    fn mark_name(&self, id: MarkId) -> Option<&str> {
        self.marks.get(id).map(String::as_str)
    }

    fn stop(&mut self, call_ended: bool, out: &mut Outputs) -> CloseMode {
        self.sequence += 1;
        let call = &self.config.call;
        let reason = if call_ended { "callended" } else { "stopped" };
        out.send_json(&Event {
            event: "stop",
            sequence_number: self.sequence,
            stream_sid: &call.stream_id,
            body: Body::Stop(Stop { call_sid: &call.call_id, account_sid: &call.account_id, reason }),
        });
        CloseMode::Close
    }
}
