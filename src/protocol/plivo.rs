//! Plivo audio streaming: <https://www.plivo.com/docs/voice-agents/audio-streaming/concepts/audio-streaming-reference>.
//!
//! Text messages only, camelCase; `sequenceNumber` and `chunk` are numbers, `timestamp` is the time of day in ms as a string.
//! S16LE at 8 or 16 kHz (the highest the options' rate reaches), or µ-law at 8 kHz where the options ask for it, in messages
//! of 20 ms; where both legs are captured apart, one message for each track. The metadata's fields are the `extra_headers`,
//! one string of `name=value;…`.
//!
//! From the server: `playAudio` of any length is queued, half a sample waits for the next; a `checkpoint` is answered by
//! `playedStream` when heard, and never when it was cleared; `clearAudio` drops what is queued and is confirmed; `sendDTMF`
//! is asked for. Unknown events are ignored. There is no message for the end: the connection closes.

use serde::Serialize;

use super::call::text_parameters;
use super::json::{Field, inner};
use super::marks::Marks;
use super::pcm::FrameReader;
use super::session::{Dialect, NoBinary, Outputs, message, payload};
use super::tracks::Tracks;
use super::twilio::MOST_MARKS;
use super::{Audio, AudioKind, Codec, MarkId, ProtocolConfig, Request, WireFormat, excerpt, highest_rate, is_dtmf};
use crate::units::{Encoding, Law, PcmFormat, SampleRate};

/// Plivo's side of the conversation.
#[derive(Debug)]
pub(super) struct Plivo {
    config: ProtocolConfig,
    extra_headers: String,
    tracks: Tracks,
    sequence: u64,
    marks: Marks<String>,
    /// Rate of the last L16 message, and half a sample of it.
    reader: (SampleRate, FrameReader),
    binary: NoBinary,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Start<'a> {
    event: &'static str,
    sequence_number: u64,
    start: StartBody<'a>,
    #[serde(rename = "extra_headers")]
    extra_headers: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct StartBody<'a> {
    call_id: &'a str,
    stream_id: &'a str,
    account_id: &'a str,
    tracks: &'a [&'static str],
    media_format: MediaFormat,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct MediaFormat {
    encoding: &'static str,
    sample_rate: u32,
}

/// Every message after `start`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Event<'a, B> {
    event: &'static str,
    sequence_number: u64,
    stream_id: &'a str,
    #[serde(flatten)]
    body: B,
}

#[derive(Serialize)]
struct Media<'a> {
    media: MediaBody<'a>,
    extra_headers: &'a str,
}

#[derive(Serialize)]
struct MediaBody<'a> {
    track: &'static str,
    timestamp: &'a str,
    chunk: u64,
    payload: &'a str,
}

#[derive(Serialize)]
struct Dtmf<'a> {
    dtmf: DtmfBody<'a>,
}

#[derive(Serialize)]
struct DtmfBody<'a> {
    track: &'static str,
    digit: char,
    timestamp: &'a str,
}

#[derive(Serialize)]
struct Name<'a> {
    name: &'a str,
}

#[derive(Serialize)]
struct Nothing {}

impl Plivo {
    pub(super) fn new(config: ProtocolConfig) -> Self {
        let (encoding, rates) = match config.codec {
            Codec::Auto | Codec::L16 => (Encoding::S16Le, &[8_000, 16_000][..]),
            // A-law is not among the vendor's formats.
            Codec::G711(_) => (Encoding::G711(Law::Mu), &[8_000][..]),
        };
        let pcm = PcmFormat { rate: highest_rate(config.wire.rate, rates), channels: config.wire.channels };
        let parameters = text_parameters(config.metadata.as_deref());
        let headers = parameters.iter().map(|(name, value)| {
            // The format has no escape; these two would move what follows into another header.
            format!("{}={}", name.replace(';', "%3B").replace('=', "%3D"), value.replace(';', "%3B"))
        });
        Self {
            extra_headers: headers.collect::<Vec<_>>().join(";"),
            config,
            tracks: Tracks::new(WireFormat { pcm, encoding, message_ms: 20 }),
            sequence: 0,
            marks: Marks::new(MOST_MARKS),
            reader: (pcm.rate, FrameReader::new(1)),
            binary: NoBinary::default(),
        }
    }

    fn send(&mut self, event: &'static str, body: impl Serialize, out: &mut Outputs) {
        self.sequence += 1;
        let stream_id = &self.config.call.stream_id;
        out.send_json(&Event { event, sequence_number: self.sequence, stream_id, body });
    }

    /// The time of day, as a string.
    fn timestamp(&self, out: &Outputs) -> String {
        out.now().map(|now| self.config.clock.unix_ms(now).to_string()).unwrap_or_default()
    }

    fn play(&mut self, fields: [Option<&serde_json::value::RawValue>; 3], out: &mut Outputs) {
        let [content_type, rate, audio] = fields;
        let own = self.tracks.format();
        let law = match Field::of(content_type) {
            Field::Absent => own.encoding != Encoding::S16Le,
            // The stream's own form has a rate behind a semicolon, the message's has not; servers mix them up.
            Field::Text(text) => match text.split(';').next().unwrap_or_default().trim() {
                "audio/x-mulaw" => true,
                "audio/x-l16" => false,
                other => return out.fault(format!("playAudio: unknown contentType '{}'", excerpt(other))),
            },
            _ => return out.fault("playAudio: contentType is not a string"),
        };
        let rate = match Field::of(rate) {
            Field::Absent if law => Some(SampleRate::HZ_8000),
            Field::Absent => Some(own.pcm.rate),
            rate => rate.as_u32().and_then(SampleRate::from_hz),
        };
        let Some(rate) = rate else { return out.fault("playAudio: sampleRate is not a rate from 8000 to 64000") };
        let Some(bytes) = payload(audio, "playAudio: payload", self.config.max_audio_base64_len, out) else { return };
        let format = PcmFormat { rate, channels: 1 };
        out.play(if law {
            Audio::Encoded { kind: AudioKind::G711(Law::Mu, format), bytes }
        } else {
            if self.reader.0 != rate {
                self.reader = (rate, FrameReader::new(1));
            }
            Audio::Pcm { samples: self.reader.1.push(&bytes), format }
        });
    }
}

impl Dialect for Plivo {
    fn capture(&self) -> WireFormat {
        self.tracks.format()
    }

    fn opened(&mut self, out: &mut Outputs) {
        self.tracks.restart();
        self.marks.forget();
        self.reader.1.reset();
        self.binary = NoBinary::default();
        self.sequence = 1;
        let (call, format) = (&self.config.call, self.tracks.format());
        let encoding = if format.encoding == Encoding::S16Le { "audio/x-l16" } else { "audio/x-mulaw" };
        out.send_json(&Start {
            event: "start",
            sequence_number: self.sequence,
            start: StartBody {
                call_id: &call.call_id,
                stream_id: &call.stream_id,
                account_id: &call.account_id,
                tracks: self.tracks.names(),
                media_format: MediaFormat { encoding, sample_rate: format.pcm.rate.hz() },
            },
            extra_headers: &self.extra_headers,
        });
    }

    fn audio(&mut self, bytes: &[u8], out: &mut Outputs) {
        let chunk = self.tracks.next(bytes).number;
        let timestamp = self.timestamp(out);
        for (track, payload) in self.tracks.payloads(bytes) {
            self.sequence += 1;
            let media = MediaBody { track, timestamp: &timestamp, chunk, payload: &payload };
            out.send_json(&Event {
                event: "media",
                sequence_number: self.sequence,
                stream_id: &self.config.call.stream_id,
                body: Media { media, extra_headers: &self.extra_headers },
            });
        }
    }

    fn text(&mut self, text: &str, out: &mut Outputs) {
        let Some([event, media, name, dtmf]) = message(text, ["event", "media", "name", "dtmf"], out) else { return };
        match Field::of(event).as_str() {
            Some("playAudio") => self.play(inner(media, ["contentType", "sampleRate", "payload"]), out),
            Some("checkpoint") => match Field::of(name).as_str() {
                Some(name) if self.marks.add(name.to_owned(), name.len(), out) => {}
                Some(_) => out.fault("checkpoint: too many checkpoints are waiting; this one is not answered"),
                None => out.fault("checkpoint: name is not a string"),
            },
            Some("clearAudio") => {
                self.reader.1.reset();
                out.clear();
                self.send("clearedAudio", Nothing {}, out);
            }
            Some("sendDTMF") => match Field::of(dtmf).as_str() {
                Some(digits) if is_dtmf(digits) => out.request(Request::SendDtmf { digits: digits.to_owned() }),
                Some(digits) => out.fault(format!("sendDTMF: '{}' is not 1 to 64 of 0-9 A-D * # w W", excerpt(digits))),
                None => out.fault("sendDTMF: dtmf is not a string"),
            },
            Some(_) => {}
            None => out.fault("event is not a string"),
        }
    }

    fn binary(&mut self, _: &[u8], out: &mut Outputs) {
        self.binary.refuse(out);
    }

    fn dtmf(&mut self, digit: char, _: u32, out: &mut Outputs) {
        let timestamp = self.timestamp(out);
        let dtmf = DtmfBody { track: "inbound", digit, timestamp: &timestamp };
        self.send("dtmf", Dtmf { dtmf }, out);
    }

    fn mark(&mut self, id: MarkId, heard: bool, out: &mut Outputs) {
        if let Some(name) = self.marks.take(id).filter(|_| heard) {
            self.send("playedStream", Name { name: &name }, out);
        }
    }

    fn mark_name(&self, id: MarkId) -> Option<&str> {
        self.marks.get(id).map(String::as_str)
    }
}
