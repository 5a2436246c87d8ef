//! The native protocol: the one existing mod_audio_stream servers speak.
//!
//! To the server: the metadata as the first text, then captured audio as binary S16LE messages (stereo interleaved,
//! left the caller), and texts of the operator verbatim. No framing on top.
//!
//! From the server: a `streamAudio` text ([`stream_audio`](super::stream_audio)) is played, other text becomes a
//! `json` event, binary is audio when a format was configured for it. Everything unusable is a [`Fault`] that names
//! the field; the stream goes on. Text that begins like a JSON object or list and is not JSON is such a fault; any
//! other text is passed on as it came.
//!
//! Runs on the stream's worker; owned by the stream's task. Nothing waits here but one partial frame of each kind of
//! incoming audio, dropped when the connection or the format changes.

use std::collections::VecDeque;
use std::sync::LazyLock;
use std::time::Instant;

use base64::Engine as _;
use base64::engine::GeneralPurposeConfig;

use super::pcm::{self, FrameReader};
use super::stream_audio::{self, AudioFields, Field};
use super::{Fault, Input, Output, Play, Protocol, ProtocolConfig, ProtocolEvent, excerpt};
use crate::units::{PcmFormat, SampleRate};

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
type Base64 = base64::engine::Simd;
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
type Base64 = base64::engine::GeneralPurpose;

/// The standard alphabet with its padding: a text cut short must be noticed.
static BASE64: LazyLock<Base64> = LazyLock::new(|| {
    let config = GeneralPurposeConfig::new();
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    return Base64::standard(config);
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    return Base64::new(&base64::alphabet::STANDARD, config);
});

/// The audio containers of the wire format that this version does not decode.
const CONTAINERS: [&str; 5] = ["wav", "mp3", "ogg", "pcmu", "pcma"];

/// Where the conversation stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// No connection yet.
    Idle,
    /// Connected.
    Open,
    /// The operator ended it.
    Stopped,
}

/// The native protocol's state.
#[derive(Debug)]
pub struct Native {
    config: ProtocolConfig,
    phase: Phase,
    outputs: VecDeque<Output>,
    binary: FrameReader,
    /// Format of the last message's audio, and what it left of a frame.
    message: Option<(PcmFormat, FrameReader)>,
    refused_binary: bool,
}

impl Native {
    /// Waits for [`Input::Opened`].
    pub fn new(config: ProtocolConfig) -> Self {
        let binary = FrameReader::new(config.binary.map_or(1, |format| format.channels));
        Self { config, phase: Phase::Idle, outputs: VecDeque::new(), binary, message: None, refused_binary: false }
    }

    fn opened(&mut self) {
        self.phase = Phase::Open;
        self.binary.reset();
        self.message = None;
        self.refused_binary = false;
        if let Some(metadata) = self.config.metadata.as_ref().filter(|text| !text.is_empty()) {
            self.outputs.push_back(Output::SendText(metadata.clone()));
        }
    }

    fn text(&mut self, text: &str) {
        let looks_like_json = text.trim_start().starts_with(['{', '[']);
        match stream_audio::parse(text) {
            Ok(Some(fields)) => self.stream_audio(text, &fields),
            Err(error) if looks_like_json => {
                self.fault(format!("the text is not JSON ({error}): {}", excerpt(text)));
            }
            Ok(None) | Err(_) => {
                self.outputs.push_back(Output::Event(ProtocolEvent::Json(text.to_owned())));
            }
        }
    }

    fn stream_audio(&mut self, text: &str, fields: &AudioFields<'_>) {
        let clear = match (&fields.clear, fields.clear.as_bool()) {
            (Field::Absent, _) => false,
            (_, Some(clear)) => clear,
            (_, None) => return self.fault("streamAudio: clear is neither true nor false"),
        };
        if clear {
            self.message = None;
        }
        match self.decode(fields) {
            Ok(Some((format, samples))) => {
                match stream_audio::without_audio(text, &fields.audio) {
                    Some(rest) => self.outputs.push_back(Output::Event(ProtocolEvent::Play(rest))),
                    None => self.fault("streamAudio: more than 64 KiB beside the audio; played, but no play event"),
                }
                self.outputs.push_back(Output::Play(Play { samples, format, clear }));
            }
            Ok(None) if clear => self.outputs.push_back(Output::Clear),
            Ok(None) => self.fault("streamAudio: audioData is missing"),
            // What asks for silence gets it, whatever is wrong with the rest.
            Err(reason) => {
                if clear {
                    self.outputs.push_back(Output::Clear);
                }
                self.fault(reason);
            }
        }
    }

    /// The samples of a message; `None` when it carries no audio.
    fn decode(&mut self, fields: &AudioFields<'_>) -> Result<Option<(PcmFormat, Vec<i16>)>, String> {
        if !fields.file.is_absent() {
            return Err("streamAudio: playing a file of the server's choice is not supported by this version".into());
        }
        let audio = match &fields.audio {
            Field::Absent => return Ok(None),
            Field::Text(audio) => audio,
            _ => return Err("streamAudio: audioData is not a string".into()),
        };
        match &fields.audio_type {
            Field::Text(kind) if kind == "raw" => {}
            Field::Text(kind) if CONTAINERS.contains(&&**kind) => {
                return Err(format!("streamAudio: audioDataType not supported yet by this version: {kind}"));
            }
            Field::Text(kind) => return Err(format!("streamAudio: unknown audioDataType '{}'", excerpt(kind))),
            Field::Absent => return Err("streamAudio: audioDataType is missing; raw is expected".into()),
            _ => return Err("streamAudio: audioDataType is not a string".into()),
        }
        let format = PcmFormat { rate: rate(&fields.sample_rate)?, channels: channels(&fields.channels)? };
        let most = self.config.max_audio_base64_len;
        if audio.len() > most {
            return Err(format!(
                "streamAudio: audioData of {} characters is more than max_audio_base64_len={most}",
                audio.len()
            ));
        }
        let bytes = BASE64
            .decode(audio.as_bytes())
            .map_err(|error| format!("streamAudio: audioData is not base64: {error}"))?;
        let reader = match &mut self.message {
            Some((of, reader)) if *of == format => reader,
            message => &mut message.insert((format, FrameReader::new(format.channels))).1,
        };
        Ok(Some((format, reader.push(&bytes))))
    }

    fn binary(&mut self, bytes: &[u8]) {
        let Some(format) = self.config.binary else {
            if !self.refused_binary {
                self.refused_binary = true;
                self.fault(
                    "binary messages are ignored on this stream: set binary_rate (STREAM_SAMPLE_RATE) to play them",
                );
            }
            return;
        };
        let samples = self.binary.push(bytes);
        if !samples.is_empty() {
            self.outputs.push_back(Output::Play(Play { samples, format, clear: false }));
        }
    }

    fn fault(&mut self, reason: impl Into<std::borrow::Cow<'static, str>>) {
        self.outputs.push_back(Output::Fault(Fault::new(reason)));
    }
}

impl Protocol for Native {
    fn handle(&mut self, _now: Instant, input: Input<'_>) {
        match (self.phase, input) {
            (Phase::Idle | Phase::Open, Input::Opened) => self.opened(),
            (Phase::Open, Input::Audio(samples)) if !samples.is_empty() => {
                self.outputs.push_back(Output::SendBinary(pcm::to_bytes(samples)));
            }
            (Phase::Open, Input::Text(text)) => self.text(text),
            (Phase::Open, Input::Binary(bytes)) => self.binary(bytes),
            (Phase::Open, Input::SendText(text)) => self.outputs.push_back(Output::SendText(text.to_owned())),
            (Phase::Idle | Phase::Open, Input::Stop { text }) => {
                if self.phase == Phase::Open
                    && let Some(text) = text
                {
                    self.outputs.push_back(Output::SendText(text.to_owned()));
                }
                self.phase = Phase::Stopped;
                self.outputs.push_back(Output::Close { code: 1000, reason: "Normal closure" });
            }
            // Nothing is said before the connection is open nor after it was ended.
            _ => {}
        }
    }

    fn poll(&mut self) -> Option<Output> {
        let output = self.outputs.pop_front();
        if self.outputs.is_empty() && self.outputs.capacity() > 8 {
            self.outputs = VecDeque::new();
        }
        output
    }

    fn deadline(&self) -> Option<Instant> {
        None
    }

    fn subprotocol(&self) -> Option<&'static str> {
        None
    }
}

fn rate(field: &Field<'_>) -> Result<SampleRate, String> {
    if field.is_absent() {
        return Err("streamAudio: sampleRate is missing; raw audio needs it".into());
    }
    field
        .as_u32()
        .and_then(|hz| SampleRate::new(hz).ok())
        .ok_or_else(|| "streamAudio: sampleRate is not a rate from 8000 to 64000".into())
}

fn channels(field: &Field<'_>) -> Result<u16, String> {
    match (field, field.as_u32()) {
        (Field::Absent, _) | (_, Some(1)) => Ok(1),
        (_, Some(2)) => Ok(2),
        _ => Err("streamAudio: channels is neither 1 nor 2".into()),
    }
}

/// Fuzz target: interprets `data` as a session of the native protocol and checks what must hold whatever arrives.
///
/// The first byte configures the stream; then each message is a kind byte, a length byte (times 8) and its bytes.
///
/// # Panics
/// When an invariant is broken: a partial frame, a value out of range, an output after the close.
#[expect(clippy::disallowed_methods, reason = "any instant does: the fuzzer drives the protocol from outside")]
pub fn fuzz_native(data: &[u8]) {
    let Some((&setup, mut rest)) = data.split_first() else { return };
    let format = |channels| PcmFormat { rate: SampleRate::HZ_8000, channels };
    let binary = [None, Some(format(1)), Some(format(2))][usize::from(setup % 3)];
    let most = 256;
    let metadata = (setup & 0x80 != 0).then(|| "metadata".to_owned());
    let mut native = Native::new(ProtocolConfig { metadata, wire: format(1), binary, max_audio_base64_len: most });
    let now = Instant::now();
    let mut closed = false;
    native.handle(now, Input::Opened);
    loop {
        while let Some(output) = native.poll() {
            assert!(!closed, "an output after the close");
            match output {
                Output::Play(play) => {
                    assert!((1..=2).contains(&play.format.channels));
                    assert_eq!(play.samples.len() % usize::from(play.format.channels), 0, "a partial frame");
                }
                Output::Fault(fault) => assert!(!fault.reason.is_empty() && fault.reason.len() < 1024),
                Output::Event(ProtocolEvent::Play(json)) => {
                    assert!(serde_json::from_str::<serde_json::Value>(&json).is_ok(), "a play event is JSON");
                }
                Output::Close { code, .. } => {
                    assert_eq!(code, 1000);
                    closed = true;
                }
                _ => {}
            }
        }
        let [kind, length, tail @ ..] = rest else { return };
        let (message, tail) = tail.split_at((usize::from(*length) * 8).min(tail.len()));
        rest = tail;
        let text = String::from_utf8_lossy(message);
        match kind % 8 {
            0..=2 => native.handle(now, Input::Text(&text)),
            3 => native.handle(now, Input::Binary(message)),
            4 => native.handle(now, Input::Opened),
            5 => native.handle(now, Input::SendText(&text)),
            6 => native.handle(now, Input::Timeout),
            _ => native.handle(now, Input::Stop { text: Some(&text) }),
        }
    }
}

#[cfg(test)]
#[path = "native_tests.rs"]
mod tests;
