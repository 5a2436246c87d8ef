//! Runs the transcripts of `tests/golden/<protocol>/`: conversations word for word, in both directions.
//!
//! A line says by its first character what it is:
//! - `#` a remark;
//! - `=` a setting, before the first input: `metadata …`, `wire <Hz> <channels>`, `codec l16|pcmu|pcma`, `buffer_ms <ms>`,
//!   `byte_order little|big`, `control_format plain|json`, `mixed`, `model …`, `language …`, `queue_ms <ms>`, `binary <Hz> <channels>|off`, `max_audio_base64_len <n>`, `allow_files`, `outbound`;
//! - `<` an input: `opened`, `audio <samples>`, `captured <hex>` (bytes as they are), `text …`, `binary <hex>`, `dtmf <digit> <ms>`,
//!   `queued <ms>`, `denied <reason>`, `heard <mark>`, `cleared <mark>`, `send_text …`, `stop [text]`, `hangup`, `wait <ms>` (which passes, then the deadline if it is
//!   due);
//! - `>` an output. All of an input's follow it, in order.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::{
    Audio, AudioKind, BinaryRate, ByteOrder, CallInfo, Codec, ControlFormat, Input, MarkId, Output, PROTOCOLS, Play,
    Protocol, ProtocolConfig, ProtocolEntry, ProtocolEvent, Recognition, Request, Transcript, WallClock, Word,
};
use crate::dsp::pcm::write_encoded;
use crate::units::choice::Choice as _;
use crate::units::{Mix, PcmFormat, SampleRate};

/// A call as the transcripts have it.
pub(super) fn config() -> ProtocolConfig {
    ProtocolConfig {
        metadata: None,
        wire: PcmFormat { rate: SampleRate::HZ_8000, channels: 1 },
        mix: Mix::Mono,
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
        call: CallInfo {
            call_id: "call-1".into(),
            channel: "sofia/internal/1000@host".into(),
            stream_id: "stream-1".into(),
            account_id: "account-1".into(),
            from: "+15550001".into(),
            to: "1000".into(),
            outbound: false,
        },
        clock: WallClock { at: Instant::now(), since_epoch: Duration::from_millis(1_795_169_100_000) },
    }
}

struct Run {
    entry: &'static ProtocolEntry,
    config: ProtocolConfig,
    protocol: Option<Box<dyn Protocol>>,
    now: Instant,
}

impl Run {
    fn set(&mut self, verb: &str, argument: &str) -> Option<()> {
        let format = |argument: &str| {
            let (rate, channels) = argument.split_once(' ')?;
            Some(PcmFormat { rate: SampleRate::from_hz(rate.parse().ok()?)?, channels: channels.parse().ok()? })
        };
        match verb {
            "metadata" => self.config.metadata = Some(argument.to_owned()),
            "wire" => {
                self.config.wire = format(argument)?;
                self.config.mix = if self.config.wire.channels == 2 { Mix::Stereo } else { Mix::Mono };
            }
            "codec" => {
                self.config.codec = Codec::named(argument)?;
            }
            "binary" if argument == "off" => self.config.binary_rate = BinaryRate::Off,
            "binary" => {
                let PcmFormat { rate, channels } = format(argument)?;
                (self.config.binary_rate, self.config.binary_channels) = (BinaryRate::Rate(rate), channels);
            }
            "mixed" => self.config.mix = Mix::Mixed,
            "model" => self.config.recognition.model = Some(argument.to_owned()),
            "language" => self.config.recognition.language = Some(argument.to_owned()),
            "byte_order" => self.config.byte_order = ByteOrder::named(argument)?,
            "control_format" => self.config.control = ControlFormat::named(argument)?,
            "queue_ms" => self.config.queue_ms = argument.parse().ok()?,
            "buffer_ms" => self.config.buffer_ms = argument.parse().ok()?,
            "max_audio_base64_len" => self.config.max_audio_base64_len = argument.parse().ok()?,
            "allow_files" => self.config.allow_files = true,
            "outbound" => self.config.call.outbound = true,
            _ => return None,
        }
        Some(())
    }

    fn input(&mut self, verb: &str, argument: &str) -> Option<VecDeque<String>> {
        let protocol = self.protocol.get_or_insert_with(|| self.entry.make(self.config.clone()));
        let mut bytes = Vec::new();
        let id = || argument.parse().ok().map(MarkId);
        let input = match verb {
            "opened" => Input::Opened,
            "text" => Input::Text(argument),
            "send_text" => Input::SendText(argument),
            "stop" => Input::Stop { text: (!argument.is_empty()).then_some(argument), call_ended: false },
            "hangup" => Input::Stop { text: None, call_ended: true },
            "queued" => Input::Queued(Duration::from_millis(argument.parse().ok()?)),
            "denied" => Input::Denied(argument),
            "heard" => Input::MarkHeard(id()?),
            "cleared" => Input::MarkCleared(id()?),
            "audio" => {
                let samples: Option<Vec<i16>> = argument.split(' ').map(|sample| sample.parse().ok()).collect();
                write_encoded(protocol.capture().encoding, &samples?, &mut bytes);
                Input::Audio(&bytes)
            }
            "captured" => {
                bytes = from_hex(argument)?;
                Input::Audio(&bytes)
            }
            "binary" => {
                bytes = from_hex(argument)?;
                Input::Binary(&bytes)
            }
            "dtmf" => {
                let (digit, ms) = argument.split_once(' ')?;
                Input::Dtmf { digit: digit.chars().next()?, duration_ms: ms.parse().ok()? }
            }
            "wait" => {
                self.now += Duration::from_millis(argument.parse().ok()?);
                if protocol.deadline().is_none_or(|due| due > self.now) {
                    return Some(VecDeque::new());
                }
                Input::Timeout
            }
            _ => return None,
        };
        protocol.handle(self.now, input);
        Some(std::iter::from_fn(|| protocol.poll()).map(|output| describe(&output)).collect())
    }
}

/// Runs one transcript.
fn run(entry: &'static ProtocolEntry, name: &str, transcript: &str) {
    let config = config();
    let mut run = Run { entry, now: config.clock.at, config, protocol: None };
    let mut waiting: VecDeque<String> = VecDeque::new();
    let nothing = VecDeque::<String>::new();
    for (number, line) in transcript.lines().enumerate() {
        let at = format!("{name}:{}", number + 1);
        let (mark, rest) = line.split_at(line.len().min(1));
        let rest = rest.strip_prefix(' ').unwrap_or(rest);
        let (verb, argument) = rest.split_once(' ').unwrap_or((rest, ""));
        match mark {
            "" | "#" => {}
            "=" => run.set(verb, argument).unwrap_or_else(|| panic!("{at}: unknown setting {rest}")),
            "<" => {
                assert_eq!(waiting, nothing, "{at}: not all outputs of the last input are listed");
                waiting = run.input(verb, argument).unwrap_or_else(|| panic!("{at}: unknown input {rest}"));
            }
            ">" => assert_eq!(waiting.pop_front().as_deref(), Some(rest), "{at}"),
            _ => panic!("{at}: a line begins with #, =, < or >"),
        }
    }
    assert_eq!(waiting, nothing, "{name}: outputs at the end are not listed");
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    text.split(' ').filter(|byte| !byte.is_empty()).map(|byte| u8::from_str_radix(byte, 16).ok()).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!(" {byte:02x}")).collect()
}

fn describe(output: &Output) -> String {
    match output {
        Output::SendText(text) => format!("send_text {text}"),
        Output::SendBinary(bytes) => format!("send_binary{}", hex(bytes)),
        Output::Play(Play { audio, clear }) => {
            let clear = if *clear { " clear" } else { "" };
            match audio {
                Audio::Pcm { samples, format } => {
                    let samples: String = samples.iter().map(|sample| format!(" {sample}")).collect();
                    format!("play {} {}{clear}{samples}", format.rate, format.channels)
                }
                Audio::Encoded { kind, bytes } => format!("play {}{clear}{}", describe_kind(*kind), hex(bytes)),
                Audio::File { path, kind } => format!("play {}{clear} file {path}", describe_kind(*kind)),
            }
        }
        Output::Clear => "clear".into(),
        Output::Hold(hold) => format!("hold {hold}"),
        Output::Mark(MarkId(id)) => format!("mark {id}"),
        Output::Request(Request::Answer) => "request answer".into(),
        Output::Request(Request::Hangup) => "request hangup".into(),
        Output::Request(Request::Transfer { destination }) => format!("request transfer {destination}"),
        Output::Request(Request::SendDtmf { digits }) => format!("request send_dtmf {digits}"),
        Output::Event(ProtocolEvent::Json(text)) => format!("json {text}"),
        Output::Event(ProtocolEvent::Play(text)) => format!("play_event {text}"),
        Output::Event(ProtocolEvent::Transcript(transcript)) => describe_transcript(transcript),
        Output::Fault(fault) => format!("fault {fault}"),
        Output::Close { code, reason } => format!("close {code} {reason}"),
    }
}

/// `transcript caller final end 400-1180 'Good morning.' Good@400-640 morning.@640-1180`
fn describe_transcript(transcript: &Transcript) -> String {
    let Transcript { leg, text, is_final, end_of_turn, span_ms, confidence: _, words } = transcript;
    let span = span_ms.map(|(start, end)| format!(" {start}-{end}")).unwrap_or_default();
    let word = |word: &Word| {
        let speaker = word.speaker.as_ref().map(|speaker| format!("/{speaker}")).unwrap_or_default();
        format!(" {}{speaker}@{}-{}", word.word, word.start_ms, word.end_ms)
    };
    format!(
        "transcript {}{}{}{span} '{text}'{}",
        leg.as_str(),
        if *is_final { " final" } else { "" },
        if *end_of_turn { " end" } else { "" },
        words.iter().map(word).collect::<String>()
    )
}

fn describe_kind(kind: AudioKind) -> String {
    match kind {
        AudioKind::Raw(format) | AudioKind::G711(_, format) => format!("{kind} {} {}", format.rate, format.channels),
        AudioKind::Wav | AudioKind::Mp3 | AudioKind::Ogg => kind.to_string(),
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn every_protocol_speaks_as_its_transcripts_say() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    for entry in PROTOCOLS {
        let transcripts = files(&golden.join(entry.name));
        assert!(!transcripts.is_empty(), "{} has no transcript", entry.name);
        for file in transcripts {
            let name = format!("{}/{}", entry.name, file.file_name().unwrap().to_string_lossy());
            run(entry, &name, &std::fs::read_to_string(&file).unwrap());
        }
    }
}

#[test]
fn every_transcript_is_some_protocols() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    for folder in files(&golden) {
        let name = folder.file_name().unwrap().to_string_lossy().into_owned();
        // A conversation's protocol has more inputs than a stream's: its engine's tests run its transcripts.
        let engines = [
            "openai_realtime",
            "xai_realtime",
            "voice_live",
            "inworld_realtime",
            "cascade",
            "gemini",
            "deepgram_agent",
            "elevenlabs",
            "assemblyai_agent",
            "openai_live",
            "ultravox",
        ];
        assert!(super::find(&name).is_some() || engines.contains(&name.as_str()), "{name}");
    }
}
