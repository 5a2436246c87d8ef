//! The native protocol: the one existing mod_audio_stream servers speak.
//!
//! To the server: the metadata as the first text, then captured audio as binary S16LE messages (stereo interleaved,
//! left the caller), and texts of the operator verbatim. No framing on top.
//!
//! From the server: a `streamAudio` text ([`stream_audio`]) is played; a `mark` is answered when everything before it has been
//! heard or dropped; other text becomes a `json` event, and so do marks and `clear_playback`. Binary is audio in the format of
//! the captured audio unless `binary_rate` gives a rate. Everything unusable is a [`Fault`](super::Fault) that names the field;
//! the stream goes on. Text that begins like a JSON object or list and is not JSON is such a fault; any
//! other text is passed on as it came.
//!
//! | `audioDataType` | `sampleRate` | what is played |
//! |---|---|---|
//! | `raw` | needed | S16LE, cut anywhere: half a frame waits for the next message |
//! | `pcmu`, `pcma` | 8000 where missing | G.711 |
//! | `wav`, `mp3`, `ogg` | ignored | one whole file in each message |
//!
//! With `codec=pcmu` or `codec=pcma`, binary messages are G.711 at 8 kHz in both directions.
//!
//! `channels` (1 where missing) says how `raw`, `pcmu` and `pcma` are interleaved, `clear` drops what is queued before,
//! `file` names a file instead of `audioData` and is refused unless the stream's profile allows it.
//!
//! Runs on the stream's worker; owned by the stream's task. Nothing waits here but one partial frame of each kind of
//! incoming audio, dropped when the connection or the format changes.

use super::codec;
use super::json::Field;
use super::marks::{self, Marks};
use super::pcm::FrameReader;
use super::session::{Dialect, Outputs};
use super::stream_audio::{self, AudioFields, Message};
use super::{Audio, AudioKind, BinaryRate, Codec, MarkId, Play, ProtocolConfig, ProtocolEvent, WireFormat, excerpt};
use crate::units::{Encoding, Law, PcmFormat, SampleRate};

/// Longest path of a file, as everywhere else.
const MOST_PATH: usize = 4_096;

/// Marks that may wait.
const MOST_MARKS: usize = 1_000;

/// The native protocol's state.
#[derive(Debug)]
pub(super) struct Native {
    config: ProtocolConfig,
    capture: WireFormat,
    /// What binary messages are; `None`: they are ignored.
    binary: Option<Binary>,
    marks: Marks<String>,
    /// Format of the last message's raw audio, and what it left of a frame.
    message: Option<(PcmFormat, FrameReader)>,
    refused_binary: bool,
}

/// Binary messages of the server, cut anywhere.
#[derive(Debug)]
struct Binary {
    format: PcmFormat,
    /// `None`: S16LE.
    law: Option<Law>,
    reader: FrameReader,
}

impl Binary {
    fn samples(&mut self, bytes: &[u8]) -> Vec<i16> {
        let Some(law) = self.law else { return self.reader.push(bytes) };
        let mut linear = Vec::with_capacity(bytes.len());
        law.decode(bytes, &mut linear);
        // Through the reader all the same: it keeps the left sample of a pair that was cut.
        if self.format.channels == 1 {
            return linear;
        }
        self.reader.push(&linear.iter().flat_map(|sample| sample.to_le_bytes()).collect::<Vec<_>>())
    }
}

impl Native {
    pub(super) fn new(config: ProtocolConfig) -> Self {
        let (rate, encoding) = match config.codec {
            Codec::G711(law) => (SampleRate::HZ_8000, Encoding::G711(law)),
            Codec::Auto | Codec::L16 => (config.wire.rate, Encoding::S16Le),
        };
        let pcm = PcmFormat { rate, channels: config.wire.channels };
        let capture = WireFormat { pcm, encoding, message_ms: config.buffer_ms };
        let binary = match (config.binary_rate, config.codec) {
            (BinaryRate::Off, _) => None,
            (BinaryRate::Auto, Codec::G711(law)) => Some((rate, Some(law))),
            (BinaryRate::Auto, _) => Some((rate, None)),
            (BinaryRate::Rate(rate), _) => Some((rate, None)),
        };
        let channels = config.binary_channels;
        let binary = binary.map(|(rate, law)| Binary {
            format: PcmFormat { rate, channels },
            law,
            reader: FrameReader::new(channels),
        });
        Self { config, capture, binary, marks: Marks::new(MOST_MARKS), message: None, refused_binary: false }
    }

    fn add_mark(&mut self, name: &Field<'_>, out: &mut Outputs) {
        let Some(name) = name.as_str() else { return out.fault("mark: name is not a string") };
        if !self.marks.add(name.to_owned(), name.len(), out) {
            out.fault(format!(
                "mark: {MOST_MARKS}, or 256 KiB of names, are waiting already; this one is not answered"
            ));
        }
    }

    fn stream_audio(&mut self, text: &str, fields: &AudioFields<'_>, out: &mut Outputs) {
        let clear = match (&fields.clear, fields.clear.as_bool()) {
            (Field::Absent, _) => false,
            (_, Some(clear)) => clear,
            (_, None) => return out.fault("streamAudio: clear is not true or false"),
        };
        if clear {
            self.message = None;
        }
        match self.decode(fields) {
            Ok(Some(audio)) => {
                match stream_audio::without_audio(text, &fields.audio, "audioData") {
                    Some(rest) => out.event(ProtocolEvent::Play(rest)),
                    None => out.fault("streamAudio: more than 64 KiB beside the audio; played, but no play event"),
                }
                out.push_play(Play { audio, clear });
            }
            Ok(None) if clear => out.clear(),
            Ok(None) => out.fault("streamAudio: audioData is missing"),
            // What asks for silence gets it, whatever is wrong with the rest.
            Err(reason) => {
                if clear {
                    out.clear();
                }
                out.fault(reason);
            }
        }
    }

    /// The audio of a message; `None` when it carries none.
    fn decode(&mut self, fields: &AudioFields<'_>) -> Result<Option<Audio>, String> {
        if !fields.file.is_absent() {
            return self.file(fields).map(Some);
        }
        if fields.audio.is_absent() {
            return Ok(None);
        }
        if fields.audio.as_str().is_none() {
            return Err("streamAudio: audioData is not a string".into());
        }
        let kind = kind(fields)?;
        let bytes = codec::decode(&fields.audio, "streamAudio: audioData", self.config.max_audio_base64_len)?;
        let AudioKind::Raw(format) = kind else { return Ok(Some(Audio::Encoded { kind, bytes })) };
        let reader = match &mut self.message {
            Some((of, reader)) if *of == format => reader,
            message => &mut message.insert((format, FrameReader::new(format.channels))).1,
        };
        Ok(Some(Audio::Pcm { samples: reader.push(&bytes), format }))
    }

    fn file(&self, fields: &AudioFields<'_>) -> Result<Audio, String> {
        if !self.config.allow_files {
            return Err("streamAudio: playing a file of the server's choice is not allowed on this stream".into());
        }
        let path = fields.file.as_str().ok_or("streamAudio: file is not a string")?;
        if path.is_empty() || path.len() > MOST_PATH || path.contains('\0') {
            return Err("streamAudio: file is not a path".into());
        }
        Ok(Audio::File { path: path.to_owned(), kind: kind(fields)? })
    }
}

impl Dialect for Native {
    fn capture(&self) -> WireFormat {
        self.capture
    }

    fn opened(&mut self, out: &mut Outputs) {
        if let Some(binary) = &mut self.binary {
            binary.reader.reset();
        }
        self.marks.forget();
        self.message = None;
        self.refused_binary = false;
        if let Some(metadata) = self.config.metadata.as_ref().filter(|text| !text.is_empty()) {
            out.send_text(metadata.clone());
        }
    }

    fn audio(&mut self, bytes: &[u8], out: &mut Outputs) {
        out.send_binary(bytes.to_vec());
    }

    fn text(&mut self, text: &str, out: &mut Outputs) {
        let looks_like_json = text.trim_start().starts_with(['{', '[']);
        match stream_audio::parse(text) {
            Ok(Message::Audio(fields)) => self.stream_audio(text, &fields, out),
            Err(error) if looks_like_json => {
                out.fault(format!("the text is not JSON ({error}): {}", excerpt(text)));
            }
            Ok(Message::ClearPlayback) => {
                self.message = None;
                out.clear();
                out.event(ProtocolEvent::Json(text.to_owned()));
            }
            Ok(Message::Mark(name)) => {
                out.event(ProtocolEvent::Json(text.to_owned()));
                self.add_mark(&name, out);
            }
            Ok(Message::Other) | Err(_) => out.event(ProtocolEvent::Json(text.to_owned())),
        }
    }

    fn binary(&mut self, bytes: &[u8], out: &mut Outputs) {
        let Some(binary) = &mut self.binary else {
            if !self.refused_binary {
                self.refused_binary = true;
                out.fault(
                    "binary messages are ignored on this stream: set binary_rate (STREAM_SAMPLE_RATE) to play them",
                );
            }
            return;
        };
        let samples = binary.samples(bytes);
        if !samples.is_empty() {
            out.play(Audio::Pcm { samples, format: binary.format });
        }
    }

    fn mark(&mut self, id: MarkId, heard: bool, out: &mut Outputs) {
        if let Some(name) = self.marks.take(id) {
            out.send_json(&marks::answer(&name, heard));
        }
    }

    fn mark_name(&self, id: MarkId) -> Option<&str> {
        self.marks.get(id).map(String::as_str)
    }
}

/// What the audio of a message, or of the file it names, is.
fn kind(fields: &AudioFields<'_>) -> Result<AudioKind, String> {
    let kind = match &fields.audio_type {
        Field::Text(kind) => kind,
        Field::Absent => {
            return Err("streamAudio: audioDataType is missing; give raw, wav, mp3, ogg, pcmu or pcma".into());
        }
        _ => return Err("streamAudio: audioDataType is not a string".into()),
    };
    let g711 = |law| {
        let rate = if fields.sample_rate.is_absent() { SampleRate::HZ_8000 } else { rate(&fields.sample_rate)? };
        Ok(AudioKind::G711(law, PcmFormat { rate, channels: channels(&fields.channels)? }))
    };
    match &**kind {
        "raw" => {
            let (rate, channels) = (rate(&fields.sample_rate)?, channels(&fields.channels)?);
            Ok(AudioKind::Raw(PcmFormat { rate, channels }))
        }
        "pcmu" => g711(Law::Mu),
        "pcma" => g711(Law::A),
        "wav" => Ok(AudioKind::Wav),
        "mp3" => Ok(AudioKind::Mp3),
        "ogg" => Ok(AudioKind::Ogg),
        _ => Err(format!("streamAudio: unknown audioDataType '{}'", excerpt(kind))),
    }
}

fn rate(field: &Field<'_>) -> Result<SampleRate, String> {
    if field.is_absent() {
        return Err("streamAudio: sampleRate is missing; raw audio needs it".into());
    }
    field
        .as_u32()
        .and_then(SampleRate::from_hz)
        .ok_or_else(|| "streamAudio: sampleRate is not a rate from 8000 to 64000".into())
}

fn channels(field: &Field<'_>) -> Result<u16, String> {
    match (field, field.as_u32()) {
        (Field::Absent, _) | (_, Some(1)) => Ok(1),
        (_, Some(2)) => Ok(2),
        _ => Err("streamAudio: channels is not 1 or 2".into()),
    }
}

#[cfg(test)]
#[path = "native_tests.rs"]
mod tests;
