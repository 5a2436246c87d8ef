//! What servers send, in every protocol, transcription services included.

use std::time::{Duration, Instant};

use mod_audio_stream::protocol::{
    Audio, AudioKind, BinaryRate, ByteOrder, CallInfo, Codec, ControlFormat, Input, MarkId, Output, PROTOCOLS,
    Protocol, ProtocolConfig, ProtocolEntry, ProtocolEvent, Recognition, Request, WallClock,
};
use mod_audio_stream::units::{Mix, PcmFormat, SampleRate};

use crate::engine::{Seeds, run};
use crate::steps::{AUDIO, BINARY, CLEARED, CLOSED, DENIED, FULL, HEARD, KEY, LATER, Step, steps, transcripts};

/// Longest base64 text of one message's audio.
const MOST_BASE64: usize = 1 << 20;

/// The options of a stream, by the bits of one byte.
fn config(setup: u8) -> ProtocolConfig {
    let bit = |number: u8| setup >> number & 1 == 1;
    let rate = if bit(0) { SampleRate::HZ_16000 } else { SampleRate::HZ_8000 };
    let stereo = bit(1);
    ProtocolConfig {
        metadata: bit(2).then(|| r#"{"event":"x","a b":[1.10]}"#.to_owned()),
        wire: PcmFormat { rate, channels: u16::from(stereo) + 1 },
        mix: if stereo { Mix::Stereo } else { Mix::Mono },
        buffer_ms: 20,
        codec: if bit(3) { Codec::L16 } else { Codec::Auto },
        byte_order: if bit(4) { ByteOrder::Big } else { ByteOrder::Little },
        binary_rate: if bit(5) { BinaryRate::Rate(SampleRate::HZ_24000) } else { BinaryRate::Auto },
        binary_channels: u16::from(bit(5)) + 1,
        control: if bit(6) { ControlFormat::Json } else { ControlFormat::Plain },
        queue_ms: if bit(7) { 100 } else { 120_000 },
        max_audio_base64_len: MOST_BASE64,
        allow_files: true,
        recognition: Recognition::default(),
        call: CallInfo {
            call_id: "call-1".into(),
            stream_id: "stream-1".into(),
            account_id: "account-1".into(),
            from: "+15550001".into(),
            to: "1000".into(),
            channel: "sofia/internal/1000@host".into(),
            outbound: false,
        },
        clock: WallClock { at: Instant::now(), since_epoch: Duration::from_secs(1_795_000_000) },
    }
}

/// A stream with its server.
struct Talk {
    protocol: Box<dyn Protocol>,
    now: Instant,
    /// Marks that wait for an answer.
    marks: Vec<MarkId>,
    last: Option<MarkId>,
}

impl Talk {
    fn tell(&mut self, input: Input<'_>) {
        self.protocol.handle(self.now, input);
        let mut outputs = 0;
        while let Some(output) = self.protocol.poll() {
            outputs += 1;
            assert!(outputs < 10_000, "one input has ever more outputs");
            check(&output);
            if let Output::Mark(id) = output {
                assert!(self.last.is_none_or(|last| last < id), "marks are new and in order");
                self.last = Some(id);
                self.marks.push(id);
            }
        }
    }

    fn answer(&mut self, how: fn(MarkId) -> Input<'static>) {
        if !self.marks.is_empty() {
            let id = self.marks.remove(0);
            self.tell(how(id));
        }
    }

    fn take(&mut self, step: Step<'_>) {
        match step {
            Step::Text(text) => self.tell(Input::Text(&text)),
            Step::Bytes(BINARY, bytes) => self.tell(Input::Binary(bytes)),
            Step::Happens(HEARD) => self.answer(Input::MarkHeard),
            Step::Happens(CLEARED) => self.answer(Input::MarkCleared),
            Step::Happens(LATER) => {
                self.now += Duration::from_secs(1);
                if self.protocol.deadline().is_some_and(|due| due <= self.now) {
                    self.tell(Input::Timeout);
                }
            }
            Step::Happens(AUDIO) => {
                let form = self.protocol.capture();
                let samples = form.pcm.samples_in_ms(form.message_ms);
                self.tell(Input::Audio(&vec![0x55; samples * form.encoding.sample_bytes()]));
            }
            // The connection is lost, and made again.
            Step::Happens(CLOSED) => {
                self.marks.clear();
                self.tell(Input::Opened);
            }
            Step::Happens(KEY) => self.tell(Input::Dtmf { digit: '5', duration_ms: 100 }),
            Step::Happens(FULL) => self.tell(Input::Queued(Duration::from_secs(100))),
            Step::Happens(DENIED) => self.tell(Input::Denied("not allowed")),
            Step::Bytes(..) | Step::Happens(_) => {}
        }
    }
}

fn talk(entry: &ProtocolEntry, data: &[u8]) {
    let Some((setup, data)) = data.split_first() else { return };
    let config = config(*setup);
    let now = config.clock.at;
    let mut talk = Talk { protocol: entry.make(config), now, marks: Vec::new(), last: None };
    talk.tell(Input::Opened);
    steps(data).for_each(|step| talk.take(step));
    talk.tell(Input::Stop { text: None, call_ended: true });
}

fn check(output: &Output) {
    match output {
        Output::Play(play) => match &play.audio {
            Audio::Pcm { samples, format } => {
                assert!(samples.len().is_multiple_of(usize::from(format.channels)), "whole frames only");
            }
            Audio::Encoded { kind, bytes } => {
                assert!(!matches!(kind, AudioKind::Raw(_)), "samples are decoded at once");
                assert!(bytes.len() <= MOST_BASE64 / 4 * 3, "more audio than is allowed");
            }
            Audio::File { path, .. } => assert!(!path.is_empty() && !path.contains('\0'), "{path:?}"),
        },
        Output::Fault(fault) => {
            assert!(!fault.reason.is_empty() && fault.reason.len() < 1_024, "{} bytes", fault.reason.len());
            assert!(!fault.reason.contains(char::is_control), "{:?}", fault.reason);
        }
        Output::Request(Request::Transfer { destination }) => {
            let refused = |c: char| !c.is_ascii_graphic() || "${}|,;<>&\"'`\\".contains(c);
            assert!(destination.len() <= 128 && !destination.contains(refused), "{destination:?}");
        }
        Output::Request(Request::SendDtmf { digits }) => {
            let is_key = |c: char| matches!(c, '0'..='9' | 'A'..='D' | 'a'..='d' | '*' | '#' | 'w' | 'W');
            assert!((1..=64).contains(&digits.len()) && digits.chars().all(is_key), "{digits:?}");
        }
        Output::Event(ProtocolEvent::Transcript(transcript)) => {
            assert!(transcript.text.len() <= 128 << 10 && transcript.words.len() <= 2_000, "{transcript:?}");
        }
        Output::Event(ProtocolEvent::Play(json)) => {
            assert!(serde_json::from_str::<serde_json::Value>(json).is_ok(), "{json}");
        }
        Output::Close { reason, .. } => assert!(reason.len() <= 123),
        _ => {}
    }
}

#[test]
fn messages_of_servers_in_every_protocol() {
    for entry in PROTOCOLS {
        // Each with the usual options, and once with all others.
        let golden = transcripts(entry.name).into_iter();
        let golden = golden.flat_map(|steps| [0, 0xff].map(|setup| [&[setup][..], &steps].concat()));
        let seeds = Seeds::of("protocol").and(golden);
        run(&format!("protocol-{}", entry.name), seeds, |data| talk(entry, data));
    }
}
