//! drachtio's mod_audio_fork and jambonz's `listen`, which is built on it.
//!
//! To the server: one text first (audio_fork: the metadata as it is; jambonz: one JSON object of the call's attributes,
//! `sampleRate`, `mixType` and the metadata's fields), then captured audio as binary S16LE messages, stereo interleaved.
//! DTMF, the end of an utterance and marks are JSON texts. The end is an empty binary message, after which the server
//! closes; if it does not within [`GRACE`], we do.
//!
//! From the server: binary is S16LE audio, mono at the rate of the captured audio unless `binary_rate` gives a rate, cut
//! anywhere. Texts are JSON:
//!
//! | `type` | what is done |
//! |---|---|
//! | `playAudio` | the audio in it is queued, a `play` event fired; `playDone` is sent when it has been heard or cleared: always to jambonz, to others where there is an `id` |
//! | `killAudio` | what is queued is dropped; marks that wait are answered `cleared` |
//! | `mark` | answered `playout` when everything queued before has been heard |
//! | `clearMarks` | marks that wait are forgotten |
//! | `transcription`, `error`, `json`, none at all | `json` event |
//! | `transfer` | `json` event; where `data` is or has a `destination`, a transfer is asked for |
//! | `disconnect` | `json` event; a jambonz stream ends, otherwise a hangup is asked for |
//!
//! `playAudio` messages are heard one after the other; of those with `queuePlay`, ten may wait behind the one that plays. Of
//! marks, thirty may wait. Anything else is a [`Fault`](super::Fault).

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use super::call::{CallInfo, parameters};
use super::codec;
use super::json::{self, Field, as_text, inner};
use super::marks::{self, Marks, Typed};
use super::pcm::FrameReader;
use super::session::{CloseMode, Dialect, Outputs};
use super::stream_audio::without_audio;
use super::{
    Audio, AudioKind, BinaryRate, MarkId, ProtocolConfig, ProtocolEvent, Request, WireFormat, excerpt, is_destination,
};
use crate::units::{Encoding, PcmFormat, SampleRate};

/// Marks that may wait.
const MOST_MARKS: usize = 30;
/// `queuePlay` messages that may wait, the one that plays included.
const MOST_QUEUED: usize = 11;
/// `playAudio` messages that may wait until their end is reported.
const MOST_PLAYS: usize = 1_000;
/// Longest `id` of a `playAudio`, bytes of JSON.
const MOST_ID: usize = 1_024;
/// How long the server has for its close.
const GRACE: Duration = Duration::from_secs(1);

/// Whose server is spoken to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Flavour {
    Drachtio,
    Jambonz,
}

/// What an answered mark is for.
#[derive(Debug)]
enum Waiting {
    /// A mark of the server's.
    Mark(String),
    /// The end of a `playAudio`.
    Play { id: Option<Box<RawValue>>, queued: bool },
}

/// audio_fork's side of the conversation.
#[derive(Debug)]
pub(super) struct AudioFork {
    config: ProtocolConfig,
    flavour: Flavour,
    marks: Marks<Waiting>,
    binary_format: PcmFormat,
    binary: FrameReader,
    /// Rate of the last message's raw audio, and half a sample of it.
    message: (SampleRate, FrameReader),
}

/// jambonz's first message: what a call has by itself, over which the metadata's fields have the last word.
struct Attributes<'a> {
    config: &'a ProtocolConfig,
    metadata: BTreeMap<String, Box<RawValue>>,
}

impl Serialize for Attributes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap as _;
        let CallInfo { call_id, account_id, from, to, outbound, .. } = &self.config.call;
        let direction = if *outbound { "outbound" } else { "inbound" };
        let own: [(&str, &str); 7] = [
            ("mixType", self.config.mix.as_str()),
            ("callSid", call_id),
            ("callId", call_id),
            ("direction", direction),
            ("from", from),
            ("to", to),
            ("accountSid", account_id),
        ];
        let given = |name: &str| self.metadata.contains_key(name);
        let mut map = serializer.serialize_map(None)?;
        if !given("sampleRate") {
            map.serialize_entry("sampleRate", &self.config.wire.rate.hz())?;
        }
        for (name, value) in own.iter().filter(|(name, _)| !given(name)) {
            map.serialize_entry(name, value)?;
        }
        for (name, value) in &self.metadata {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

#[derive(Serialize)]
struct Dtmf {
    event: &'static str,
    dtmf: char,
    /// Samples at 8 kHz.
    #[serde(serialize_with = "as_text")]
    duration: u64,
}

#[derive(Serialize)]
struct PlayDone<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a RawValue>,
}

impl AudioFork {
    /// For servers of drachtio's module.
    pub(super) fn drachtio(config: ProtocolConfig) -> Self {
        Self::new(config, Flavour::Drachtio)
    }

    /// For servers of jambonz's `listen`.
    pub(super) fn jambonz(config: ProtocolConfig) -> Self {
        Self::new(config, Flavour::Jambonz)
    }

    fn new(config: ProtocolConfig, flavour: Flavour) -> Self {
        let binary_format = match config.binary_rate {
            BinaryRate::Rate(rate) => PcmFormat { rate, channels: config.binary_channels },
            BinaryRate::Auto | BinaryRate::Off => PcmFormat { rate: config.wire.rate, channels: 1 },
        };
        let binary = FrameReader::new(binary_format.channels);
        let message = (config.wire.rate, FrameReader::new(1));
        Self { config, flavour, marks: Marks::new(MOST_MARKS + MOST_PLAYS), binary_format, binary, message }
    }

    fn play_audio(&mut self, text: &str, data: Option<&RawValue>, out: &mut Outputs) -> Result<(), String> {
        let names = ["audioContentType", "sampleRate", "audioContent", "id", "queuePlay"];
        let [content_type, rate, content, id, queued] = inner(data, names);
        let queued = Field::of(queued).as_bool().unwrap_or(false);
        let waiting = self.marks.iter().filter(|mark| matches!(mark, Waiting::Play { queued: true, .. })).count();
        if queued && waiting >= MOST_QUEUED {
            return Err(format!("playAudio: {} are waiting already; this one is not played", MOST_QUEUED - 1));
        }
        if id.is_some_and(|id| id.get().len() > MOST_ID) {
            return Err(format!("playAudio: an id of more than {MOST_ID} bytes"));
        }
        let content = Field::of(content);
        let decode = || codec::decode(&content, "playAudio: audioContent", self.config.max_audio_base64_len);
        let content_type = Field::of(content_type);
        let audio = match content_type.as_str() {
            Some("raw") => {
                let rate = Field::of(rate).as_u32().and_then(SampleRate::from_hz);
                let rate = rate.ok_or("playAudio: sampleRate is not a rate from 8000 to 64000")?;
                let bytes = decode()?;
                if self.message.0 != rate {
                    self.message = (rate, FrameReader::new(1));
                }
                let format = PcmFormat { rate, channels: 1 };
                Audio::Pcm { samples: self.message.1.push(&bytes), format }
            }
            Some("wav" | "wave") => Audio::Encoded { kind: AudioKind::Wav, bytes: decode()? },
            Some(other) => return Err(format!("playAudio: unknown audioContentType '{}'", excerpt(other))),
            None => return Err("playAudio: audioContentType is not a string".to_owned()),
        };
        match without_audio(text, &content, "audioContent") {
            Some(rest) => out.event(ProtocolEvent::Play(rest)),
            None => out.fault("playAudio: more than 64 KiB beside the audio; played, but no play event"),
        }
        out.play(audio);
        let id = id.map(ToOwned::to_owned);
        let bytes = id.as_ref().map_or(0, |id| id.get().len());
        if !self.marks.add(Waiting::Play { id, queued }, bytes, out) {
            return Err("playAudio: too many are waiting; the end of this one is not reported".to_owned());
        }
        Ok(())
    }

    fn add_mark(&mut self, data: Option<&RawValue>, out: &mut Outputs) {
        let name = Field::of(inner(data, ["name"])[0]);
        let Some(name) = name.as_str() else { return out.fault("mark: name is not a string") };
        let waiting = self.marks.iter().filter(|mark| matches!(mark, Waiting::Mark(_))).count();
        if waiting >= MOST_MARKS || !self.marks.add(Waiting::Mark(name.to_owned()), name.len(), out) {
            out.fault(format!("mark: {waiting} are waiting already; this one is not answered"));
        }
    }
}

impl Dialect for AudioFork {
    fn capture(&self) -> WireFormat {
        WireFormat { pcm: self.config.wire, encoding: Encoding::S16Le, message_ms: self.config.buffer_ms }
    }

    fn subprotocol(&self) -> Option<&'static str> {
        Some(match self.flavour {
            Flavour::Drachtio => "audio.drachtio.org",
            Flavour::Jambonz => "audio.jambonz.org",
        })
    }

    fn opened(&mut self, out: &mut Outputs) {
        self.marks.forget();
        self.binary.reset();
        self.message.1.reset();
        let metadata = self.config.metadata.as_deref().filter(|text| !text.is_empty());
        match self.flavour {
            Flavour::Jambonz => out.send_json(&Attributes { config: &self.config, metadata: parameters(metadata) }),
            Flavour::Drachtio => {
                if let Some(metadata) = metadata {
                    out.send_text(metadata.to_owned());
                }
            }
        }
    }

    fn audio(&mut self, bytes: &[u8], out: &mut Outputs) {
        out.send_binary(bytes.to_vec());
    }

    fn text(&mut self, text: &str, out: &mut Outputs) {
        let json = |out: &mut Outputs| out.event(ProtocolEvent::Json(text.to_owned()));
        let [kind, data] = match json::object(text, ["type", "data"]) {
            Ok(Some(fields)) => fields,
            Ok(None) => return json(out),
            Err(error) => return out.fault(format!("the text is not JSON ({error}): {}", excerpt(text))),
        };
        match Field::of(kind).as_str() {
            Some("playAudio") => {
                if let Err(reason) = self.play_audio(text, data, out) {
                    out.fault(reason);
                }
            }
            Some("killAudio") => {
                self.binary.reset();
                self.message.1.reset();
                out.clear();
            }
            Some("mark") => self.add_mark(data, out),
            Some("clearMarks") => self.marks.retain(|waiting| !matches!(waiting, Waiting::Mark(_))),
            Some("transcription" | "error" | "json") | None => json(out),
            Some("transfer") => {
                json(out);
                let (whole, [part]) = (Field::of(data), inner(data, ["destination"]));
                let part = Field::of(part);
                match whole.as_str().or(part.as_str()) {
                    Some(destination) if is_destination(destination) => {
                        out.request(Request::Transfer { destination: destination.to_owned() });
                    }
                    Some(destination) => {
                        out.fault(format!("transfer: '{}' is not a destination", excerpt(destination)));
                    }
                    // What else is in there, the operator knows.
                    None => {}
                }
            }
            Some("disconnect") => {
                json(out);
                match self.flavour {
                    Flavour::Jambonz => out.end(),
                    Flavour::Drachtio => out.request(Request::Hangup),
                }
            }
            Some(other) => out.fault(format!("unknown type '{}'", excerpt(other))),
        }
    }

    fn binary(&mut self, bytes: &[u8], out: &mut Outputs) {
        let samples = self.binary.push(bytes);
        if !samples.is_empty() {
            let format = self.binary_format;
            out.play(Audio::Pcm { samples, format });
        }
    }

    fn dtmf(&mut self, digit: char, duration_ms: u32, out: &mut Outputs) {
        out.send_json(&Dtmf { event: "dtmf", dtmf: digit, duration: u64::from(duration_ms) * 8 });
    }

    fn mark(&mut self, id: MarkId, heard: bool, out: &mut Outputs) {
        match self.marks.take(id) {
            Some(Waiting::Mark(name)) => out.send_json(&marks::answer(&name, heard)),
            Some(Waiting::Play { id, .. }) if id.is_some() || self.flavour == Flavour::Jambonz => {
                out.send_json(&Typed { kind: "playDone", data: PlayDone { id: id.as_deref() } });
            }
            Some(Waiting::Play { .. }) | None => {}
        }
    }

    fn mark_name(&self, id: MarkId) -> Option<&str> {
        match self.marks.get(id)? {
            Waiting::Mark(name) => Some(name),
            Waiting::Play { id, .. } => id.as_deref().map(RawValue::get),
        }
    }

    fn stop(&mut self, _call_ended: bool, out: &mut Outputs) -> CloseMode {
        out.send_binary(Vec::new());
        CloseMode::Await(GRACE)
    }
}
