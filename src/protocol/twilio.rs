//! Twilio Media Streams: <https://www.twilio.com/docs/voice/media-streams/websocket-messages>.
//!
//! Text messages only, camelCase; `sequenceNumber`, `chunk` and `timestamp` are strings. µ-law at 8 kHz in messages of
//! 20 ms, mono; where both legs are captured apart, one message for each track. The metadata's fields are the
//! `customParameters`, all strings.
//!
//! From the server: `media` of any length is queued, `mark` is echoed when heard, and also when `clear` drops it, `clear`
//! drops what is queued. Unknown events are ignored; a `streamSid` is not checked, for a connection has one stream only.

use std::collections::BTreeMap;

use serde::Serialize;

use super::call::text_parameters;
use super::json::{Field, as_text, inner};
use super::marks::Marks;
use super::session::{CloseMode, Dialect, NoBinary, Outputs, message, payload};
use super::tracks::Tracks;
use super::{Audio, AudioKind, MarkId, ProtocolConfig, WireFormat};
use crate::units::{Encoding, Law, PcmFormat, SampleRate};

/// Marks that may wait: one for every 20 ms of ten minutes would be 30 000, one for every sentence a few.
pub(super) const MOST_MARKS: usize = 10_000;

/// Twilio's side of the conversation.
#[derive(Debug)]
pub(super) struct Twilio {
    config: ProtocolConfig,
    parameters: BTreeMap<String, String>,
    tracks: Tracks,
    sequence: u64,
    marks: Marks<String>,
    binary: NoBinary,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Connected {
    event: &'static str,
    protocol: &'static str,
    version: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Start<'a> {
    event: &'static str,
    #[serde(serialize_with = "as_text")]
    sequence_number: u64,
    start: StartBody<'a>,
    stream_sid: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct StartBody<'a> {
    account_sid: &'a str,
    stream_sid: &'a str,
    call_sid: &'a str,
    tracks: &'a [&'static str],
    media_format: MediaFormat,
    custom_parameters: &'a BTreeMap<String, String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct MediaFormat {
    encoding: &'static str,
    sample_rate: u32,
    channels: u16,
}

/// Every message after `start`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Event<'a> {
    event: &'static str,
    #[serde(serialize_with = "as_text")]
    sequence_number: u64,
    #[serde(flatten)]
    body: Body<'a>,
    stream_sid: &'a str,
}

/// In the message under its own name.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
enum Body<'a> {
    Media(Media<'a>),
    Dtmf(Dtmf),
    Mark(Mark<'a>),
    Stop(Stop<'a>),
}

#[derive(Serialize)]
struct Media<'a> {
    track: &'static str,
    #[serde(serialize_with = "as_text")]
    chunk: u64,
    #[serde(serialize_with = "as_text")]
    timestamp: u64,
    payload: &'a str,
}

#[derive(Serialize)]
struct Dtmf {
    track: &'static str,
    digit: char,
}

#[derive(Serialize)]
struct Mark<'a> {
    name: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Stop<'a> {
    account_sid: &'a str,
    call_sid: &'a str,
}

impl Twilio {
    pub(super) fn new(config: ProtocolConfig) -> Self {
        let pcm = PcmFormat { rate: SampleRate::HZ_8000, channels: config.wire.channels };
        let format = WireFormat { pcm, encoding: Encoding::G711(Law::Mu), message_ms: 20 };
        Self {
            parameters: text_parameters(config.metadata.as_deref()),
            config,
            tracks: Tracks::new(format),
            sequence: 0,
            marks: Marks::new(MOST_MARKS),
            binary: NoBinary::default(),
        }
    }

    fn send(&mut self, event: &'static str, body: Body<'_>, out: &mut Outputs) {
        self.sequence += 1;
        let stream_sid = &self.config.call.stream_id;
        out.send_json(&Event { event, sequence_number: self.sequence, body, stream_sid });
    }
}

impl Dialect for Twilio {
    fn capture(&self) -> WireFormat {
        self.tracks.format()
    }

    fn opened(&mut self, out: &mut Outputs) {
        self.tracks.restart();
        self.marks.forget();
        self.binary = NoBinary::default();
        out.send_json(&Connected { event: "connected", protocol: "Call", version: "1.0.0" });
        self.sequence = 1;
        let call = &self.config.call;
        out.send_json(&Start {
            event: "start",
            sequence_number: self.sequence,
            start: StartBody {
                account_sid: &call.account_id,
                stream_sid: &call.stream_id,
                call_sid: &call.call_id,
                tracks: self.tracks.names(),
                media_format: MediaFormat { encoding: "audio/x-mulaw", sample_rate: 8_000, channels: 1 },
                custom_parameters: &self.parameters,
            },
            stream_sid: &call.stream_id,
        });
    }

    fn audio(&mut self, bytes: &[u8], out: &mut Outputs) {
        let chunk = self.tracks.next(bytes);
        for (track, payload) in self.tracks.payloads(bytes) {
            let media = Media { track, chunk: chunk.number, timestamp: chunk.timestamp_ms, payload: &payload };
            self.send("media", Body::Media(media), out);
        }
    }

    fn text(&mut self, text: &str, out: &mut Outputs) {
        let Some([event, media, mark]) = message(text, ["event", "media", "mark"], out) else { return };
        let event = Field::of(event);
        match event.as_str() {
            Some("media") => {
                let [audio] = inner(media, ["payload"]);
                if let Some(bytes) = payload(audio, "media: payload", self.config.max_audio_base64_len, out) {
                    let format = PcmFormat { rate: SampleRate::HZ_8000, channels: 1 };
                    out.play(Audio::Encoded { kind: AudioKind::G711(Law::Mu, format), bytes });
                }
            }
            Some("mark") => match Field::of(inner(mark, ["name"])[0]).as_str() {
                Some(name) if self.marks.add(name.to_owned(), name.len(), out) => {}
                Some(_) => out.fault("mark: too many marks are waiting; this one is not answered"),
                None => out.fault("mark: name is not a string"),
            },
            Some("clear") => out.clear(),
            Some(_) => {}
            None => out.fault("event is not a string"),
        }
    }

    fn binary(&mut self, _: &[u8], out: &mut Outputs) {
        self.binary.refuse(out);
    }

    fn dtmf(&mut self, digit: char, _: u32, out: &mut Outputs) {
        self.send("dtmf", Body::Dtmf(Dtmf { track: "inbound_track", digit }), out);
    }

    fn mark(&mut self, id: MarkId, _heard: bool, out: &mut Outputs) {
        if let Some(name) = self.marks.take(id) {
            self.send("mark", Body::Mark(Mark { name: &name }), out);
        }
    }

    fn mark_name(&self, id: MarkId) -> Option<&str> {
        self.marks.get(id).map(String::as_str)
    }

    fn stop(&mut self, _call_ended: bool, out: &mut Outputs) -> CloseMode {
        self.sequence += 1;
        let call = &self.config.call;
        out.send_json(&Event {
            event: "stop",
            sequence_number: self.sequence,
            body: Body::Stop(Stop { account_sid: &call.account_id, call_sid: &call.call_id }),
            stream_sid: &call.stream_id,
        });
        CloseMode::Close
    }
}
