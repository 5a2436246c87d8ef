//! Sessions of any bytes in every protocol, and what must hold in all of them.
//!
//! `data` is a byte of settings, then messages: a byte for their kind, a byte for their length (times 8), their bytes. The
//! target plays the stream's task: it drains the outputs, answers marks in order, and keeps the deadline.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use serde_json::value::RawValue;

use super::{
    Audio, AudioKind, BinaryRate, ByteOrder, CallInfo, Codec, ControlFormat, Input, MarkId, Output, PROTOCOLS, Play,
    Protocol, ProtocolConfig, ProtocolEvent, Recognition, Request, WallClock, find, is_destination, is_dtmf,
};
use crate::units::{Encoding, Law, Mix, PcmFormat, SampleRate};

/// Longest base64 text of the sessions here.
const MOST_BASE64: usize = 256;

/// Runs one session of the protocol `name`.
///
/// # Panics
/// When an invariant is broken: see [`Peer::take`].
fn session(name: &str, data: &[u8]) {
    let (Some(entry), Some((&setup, mut rest))) = (find(name), data.split_first()) else { return };
    let start = Instant::now();
    let config = config(setup, start);
    let says_lines = name == "asterisk" && config.control == ControlFormat::Plain;
    let mut peer = Peer::new(entry.make(config), says_lines, start);
    peer.tell(Input::Opened, usize::MAX);
    while let [kind, length, tail @ ..] = rest {
        let (message, tail) = tail.split_at((usize::from(*length) * 8).min(tail.len()));
        rest = tail;
        peer.now += Duration::from_millis(7);
        let text = String::from_utf8_lossy(message);
        match kind % 16 {
            0..=4 => peer.tell(Input::Text(&text), message.len()),
            5 => peer.tell(Input::Binary(message), message.len()),
            6 => peer.tell(Input::Opened, usize::MAX),
            7 => peer.tell(Input::SendText(&text), usize::MAX),
            8 => {
                let capture = peer.protocol.capture();
                let whole = message.len() - message.len() % capture.frame_bytes();
                peer.tell(Input::Audio(&message[..whole]), message.len());
            }
            9 => peer.tell(Input::Dtmf { digit: '5', duration_ms: u32::from(*length) }, 0),
            10 => peer.answer(Input::MarkHeard),
            11 => peer.clear(),
            12 => peer.tell(Input::MarkHeard(MarkId(u64::from(*length))), 0),
            13 => {
                peer.tell(Input::Timeout, 0);
                peer.tell(Input::Queued(Duration::from_millis(u64::from(*length) * 100)), 0);
                peer.tell(Input::Denied(&text), message.len());
            }
            14 => {
                if let Some(due) = peer.protocol.deadline() {
                    peer.now = peer.now.max(due);
                    peer.tell(Input::Timeout, 0);
                    assert!(peer.protocol.deadline().is_none_or(|next| next > due), "a deadline that does not pass");
                }
            }
            _ => peer.tell(Input::Stop { text: Some(&text), call_ended: *length == 0 }, usize::MAX),
        }
    }
}

fn config(setup: u8, at: Instant) -> ProtocolConfig {
    let format = |rate, channels| PcmFormat { rate, channels };
    ProtocolConfig {
        metadata: (setup & 0x80 != 0).then(|| r#"{"event":"x","a b":[1.10,"\u0000"],"type":null}"#.to_owned()),
        wire: format(
            if setup & 0x40 != 0 { SampleRate::HZ_16000 } else { SampleRate::HZ_8000 },
            u16::from(setup & 0x20 != 0) + 1,
        ),
        mix: if setup & 0x20 != 0 { Mix::Stereo } else { Mix::Mono },
        buffer_ms: 20,
        codec: [Codec::Auto, Codec::L16, Codec::G711(Law::A), Codec::G711(Law::Mu)][usize::from(setup >> 3 & 3)],
        byte_order: if setup & 0x40 != 0 { ByteOrder::Big } else { ByteOrder::Little },
        binary_rate: [BinaryRate::Off, BinaryRate::Auto, BinaryRate::Rate(SampleRate::HZ_48000)]
            [usize::from(setup % 3)],
        binary_channels: u16::from(setup % 3 == 2) + 1,
        control: if setup & 2 != 0 { ControlFormat::Json } else { ControlFormat::Plain },
        queue_ms: if setup & 1 != 0 { 120_000 } else { 100 },
        max_audio_base64_len: MOST_BASE64,
        allow_files: setup & 4 != 0,
        recognition: Recognition::default(),
        call: CallInfo { call_id: "call \"1\"".into(), stream_id: "stream\n1".into(), ..CallInfo::default() },
        clock: WallClock { at, since_epoch: Duration::from_secs(1_800_000_000) },
    }
}

/// The stream's task, in a test.
struct Peer {
    protocol: Box<dyn Protocol>,
    now: Instant,
    waiting: VecDeque<MarkId>,
    last: MarkId,
    closed: bool,
    /// Its own texts are lines of words instead of JSON.
    says_lines: bool,
}

impl Peer {
    fn new(protocol: Box<dyn Protocol>, says_lines: bool, now: Instant) -> Self {
        assert_eq!(protocol.deadline(), None, "a deadline before the connection");
        Self { protocol, now, waiting: VecDeque::new(), last: MarkId(0), closed: false, says_lines }
    }

    /// Hands over an input and takes what follows; `bytes` is what the outputs may be in proportion to, `usize::MAX` where
    /// the operator's own words may be among them.
    fn tell(&mut self, input: Input<'_>, bytes: usize) {
        if matches!(input, Input::Opened) {
            self.waiting.clear();
        }
        self.protocol.handle(self.now, input);
        let mut outputs = 0;
        let mut cleared = false;
        while let Some(output) = self.protocol.poll() {
            outputs += 1;
            assert!(outputs <= 64, "outputs without end");
            cleared |= matches!(&output, Output::Clear | Output::Play(Play { clear: true, .. }));
            self.take(output, bytes);
        }
        if cleared {
            self.clear();
        }
        let format = self.protocol.capture();
        assert!(format.message_ms >= 20 && format.pcm.rate.is_wire_rate() && (1..=2).contains(&format.pcm.channels));
    }

    /// Answers the oldest mark that waits.
    fn answer(&mut self, how: fn(MarkId) -> Input<'static>) {
        if let Some(id) = self.waiting.pop_front() {
            self.tell(how(id), usize::MAX);
        }
    }

    /// Answers every mark that waits as cleared.
    fn clear(&mut self) {
        while !self.waiting.is_empty() {
            self.answer(Input::MarkCleared);
        }
    }

    fn take(&mut self, output: Output, bytes: usize) {
        assert!(!self.closed, "an output after the close");
        match output {
            Output::Play(play) => match play.audio {
                Audio::Pcm { samples, format } => {
                    assert!((1..=2).contains(&format.channels));
                    assert_eq!(samples.len() % usize::from(format.channels), 0, "a partial frame");
                }
                Audio::Encoded { kind, bytes } => {
                    assert!(!matches!(kind, AudioKind::Raw(_)));
                    assert!(bytes.len() <= MOST_BASE64 / 4 * 3, "more audio than is allowed");
                }
                Audio::File { path, .. } => assert!(!path.is_empty() && !path.contains('\0')),
            },
            Output::Fault(fault) => {
                assert!(!fault.reason.is_empty() && fault.reason.len() < 1_024);
                assert!(!fault.reason.contains(char::is_control), "{:?}", fault.reason);
            }
            Output::Event(ProtocolEvent::Play(json)) => {
                assert!(serde_json::from_str::<serde_json::Value>(&json).is_ok(), "a play event is JSON");
            }
            Output::Event(ProtocolEvent::Transcript(transcript)) => {
                assert!(transcript.text.len() <= 128 * 1024 && transcript.words.len() <= 2_000);
                assert!(!transcript.text.is_empty() || transcript.end_of_turn, "an event that says nothing");
            }
            Output::Event(ProtocolEvent::Json(text)) => assert!(text.len() <= 3 * bytes.min(4_096)),
            Output::Mark(id) => {
                assert!(id > self.last, "a mark that was there before");
                self.last = id;
                self.waiting.push_back(id);
            }
            Output::Request(Request::SendDtmf { digits }) => assert!(is_dtmf(&digits)),
            Output::Request(Request::Transfer { destination }) => assert!(is_destination(&destination)),
            Output::SendText(text) if bytes < usize::MAX => {
                // By the grammar: what is only passed back may hold numbers that no type has.
                let object = serde_json::from_str::<BTreeMap<String, &RawValue>>(&text);
                assert!(object.is_ok() != self.says_lines, "{text}");
                assert!(text.len() <= 2_048 + 2 * bytes, "more than was given");
            }
            Output::SendBinary(sent) => {
                let format = self.protocol.capture();
                let frame = format.pcm.samples_in_ms(format.message_ms) * Encoding::S16Le.sample_bytes();
                assert!(sent.len() <= bytes.saturating_add(frame));
            }
            Output::Close { code, .. } => {
                assert_eq!(code, 1_000);
                self.closed = true;
            }
            Output::SendText(_)
            | Output::Clear
            | Output::Hold(_)
            | Output::Request(Request::Answer | Request::Hangup) => {}
        }
    }
}

/// Messages that lead far into each protocol, and near misses of them.
const TEXTS: &[&str] = &[
    r#"{"type":"streamAudio","data":{"audioDataType":"raw","sampleRate":8000,"audioData":"AAEC"}}"#,
    r#"{"audioDataType":"raw","sampleRate":48000,"channels":2,"clear":true,"audioData":"AAECAwQ="}"#,
    r#"{"audioDataType":"wav","audioData":"UklGRg=="}"#,
    r#"{"audioDataType":"pcma","sampleRate":"8000","audioData":"\u0041AAA"}"#,
    r#"{"audioDataType":"mp3","file":"/tmp/x\u0000.mp3"}"#,
    r#"{"type":"streamAudio","data":null}"#,
    r#"{"type":"streamAudio","data":[[[]]]}"#,
    r#"{"type":"clear_playback"}"#,
    r#"{"type":"playAudio","data":{"audioContentType":"raw","sampleRate":8000,"audioContent":"AAEC","id":"1","queuePlay":true}}"#,
    r#"{"type":"playAudio","data":{"audioContentType":"wave","audioContent":"UklGRg=="}}"#,
    r#"{"type":"mark","data":{"name":"\"\\\u0000é"}}"#,
    r#"{"type":"killAudio"}"#,
    r#"{"type":"clearMarks"}"#,
    r#"{"type":"transfer","data":{"destination":"${system(rm)}"}}"#,
    r#"{"type":"transfer","data":"1000"}"#,
    r#"{"type":"disconnect"}"#,
    r#"{"event":"media","streamSid":"x","media":{"payload":"f/8A","chunk":"3"}}"#,
    r#"{"event":"media","media":{"payload":"f/8A","chunk":1}}"#,
    r#"{"event":"media","media":"f/8A"}"#,
    r#"{"event":"mark","mark":{"name":"a\nb\""}}"#,
    r#"{"event":"clear"}"#,
    r#"{"event":7,"media":null}"#,
    r#"{"event":"playAudio","media":{"contentType":"audio/x-l16;rate=8000","sampleRate":8000,"payload":"AAEC"}}"#,
    r#"{"event":"playAudio","media":{"contentType":"audio/x-mulaw","payload":"AAEC"}}"#,
    r#"{"event":"checkpoint","name":"<&\">"}"#,
    r#"{"event":"clearAudio"}"#,
    r#"{"event":"sendDTMF","dtmf":"12#w"}"#,
    r#"{"event":"sendDTMF","dtmf":"1;rm"}"#,
    r#"{"action":"clear"}"#,
    r#"{"action":"notify","payload":{"a":[1.10,1e400,"\ud800"]}}"#,
    r#"{"action":"notify"}"#,
    "MARK_MEDIA a\u{0} \"b\"",
    "START_MEDIA_BUFFERING",
    "STOP_MEDIA_BUFFERING",
    "FLUSH_MEDIA",
    "GET_STATUS",
    "REPORT_QUEUE_DRAINED",
    r#"{"command":"MARK_MEDIA","correlation_id":"a\n\"b"}"#,
    r#"{"command":"STOP_MEDIA_BUFFERING","correlation_id":7}"#,
    r#"{"command":"SET_MEDIA_DIRECTION","direction":"in"}"#,
    r#"{"command":"PAUSE_MEDIA"}"#,
    r#"{"command":"HANGUP"}"#,
    "\u{0}\u{feff}{}",
    "[1",
    "null",
];

#[test]
fn seeds_hold_in_every_protocol() {
    let mut seeds: Vec<Vec<u8>> = vec![vec![], vec![0], vec![255; 40], vec![1, 5, 1, 1, 2, 3, 5, 1, 4, 5]];
    for (index, text) in TEXTS.iter().enumerate() {
        for setup in [0, 1, 2 | 4, 0x80, 0x40 | 0x20, 0x10, 0x08 | 0x20, 0xff] {
            let mut seed = vec![setup];
            for (kind, text) in [
                (0, *text),
                (8, "audio of the caller"),
                (9, ""),
                (0, TEXTS[(index + 1) % TEXTS.len()]),
                (0, text),
                (10, ""),
                (14, ""),
                (12, ""),
                (6, ""),
                (0, text),
                (11, ""),
                (5, text),
                (15, "bye"),
                (0, text),
                (14, ""),
                (0, text),
            ] {
                let length = text.len().div_ceil(8);
                seed.extend([kind, length as u8]);
                seed.extend(format!("{text:<width$}", width = length * 8).bytes().take(length * 8));
            }
            seeds.push(seed);
        }
    }
    for entry in PROTOCOLS {
        for seed in &seeds {
            session(entry.name, seed);
            // Cut in the midst of the first message's bytes and later.
            for end in (0..seed.len()).step_by(11) {
                session(entry.name, &seed[..end]);
            }
        }
    }
}

/// A session out of the texts above, whole, cut and glued.
fn any_session() -> impl Strategy<Value = Vec<u8>> {
    let text = prop_oneof![
        4 => proptest::sample::select(TEXTS).prop_map(|text| text.as_bytes().to_vec()),
        1 => (proptest::sample::select(TEXTS), 0_usize..200, any::<u8>()).prop_map(|(text, at, byte)| {
            let mut bytes = text.as_bytes().to_vec();
            let at = at % bytes.len();
            bytes[at] = byte;
            bytes
        }),
        1 => proptest::collection::vec(any::<u8>(), 0..100),
    ];
    let message = (0_u8..16, text).prop_map(|(kind, mut text)| {
        let length = text.len().div_ceil(8).min(255);
        text.resize(length * 8, b' ');
        [vec![kind, length as u8], text].concat()
    });
    (any::<u8>(), proptest::collection::vec(message, 0..40))
        .prop_map(|(setup, messages)| [vec![setup], messages.concat()].concat())
}

/// A way for a server to send bytes of audio: the protocol, the codec asked for, and the message around the base64 text,
/// or none where the message is binary.
type Way = (&'static str, Codec, Option<[&'static str; 2]>);

const WAYS: &[Way] = &[
    ("native", Codec::Auto, None),
    ("native", Codec::Auto, Some([r#"{"audioDataType":"raw","sampleRate":8000,"audioData":""#, r#""}"#])),
    ("native", Codec::Auto, Some([r#"{"audioDataType":"pcma","audioData":""#, r#""}"#])),
    ("audio_fork", Codec::Auto, None),
    (
        "jambonz",
        Codec::Auto,
        Some([r#"{"type":"playAudio","data":{"audioContentType":"raw","sampleRate":8000,"audioContent":""#, r#""}}"#]),
    ),
    ("twilio", Codec::Auto, Some([r#"{"event":"media","media":{"payload":""#, r#""}}"#])),
    ("telnyx", Codec::L16, Some([r#"{"event":"media","media":{"payload":""#, r#""}}"#])),
    ("telnyx", Codec::G711(Law::A), Some([r#"{"event":"media","media":{"payload":""#, r#""}}"#])),
    ("plivo", Codec::Auto, Some([r#"{"event":"playAudio","media":{"payload":""#, r#""}}"#])),
    ("exotel", Codec::Auto, Some([r#"{"event":"media","media":{"payload":""#, r#""}}"#])),
    ("vonage", Codec::Auto, None),
];

/// The audio that comes of `pieces`, as bytes of whole samples.
fn played(&(name, codec, around): &Way, pieces: &[&[u8]]) -> Vec<u8> {
    let mono = PcmFormat { rate: SampleRate::HZ_8000, channels: 1 };
    let clock = WallClock { at: Instant::now(), since_epoch: Duration::ZERO };
    let config = ProtocolConfig { codec, ..ProtocolConfig::new(mono, clock) };
    let mut protocol = find(name).unwrap().make(config);
    let mut out = Vec::new();
    protocol.handle(clock.at, Input::Opened);
    while protocol.poll().is_some() {}
    for piece in pieces {
        match around {
            None => protocol.handle(clock.at, Input::Binary(piece)),
            Some([before, after]) => {
                let text = format!("{before}{}{after}", crate::protocol::codec::encode(piece));
                protocol.handle(clock.at, Input::Text(&text));
            }
        }
        while let Some(output) = protocol.poll() {
            match output {
                Output::Play(Play { audio: Audio::Pcm { samples, .. }, .. }) => {
                    out.extend(samples.iter().flat_map(|sample| sample.to_le_bytes()));
                }
                Output::Play(Play { audio: Audio::Encoded { bytes, .. }, .. }) => out.extend(bytes),
                Output::Fault(fault) => unreachable!("{name}: {fault}"),
                _ => {}
            }
        }
    }
    out
}

proptest! {
    #[test]
    fn any_split_of_the_servers_audio_is_the_same_audio(
        bytes in proptest::collection::vec(any::<u8>(), 1..600),
        cuts in proptest::collection::vec(1_usize..40, 1..80),
    ) {
        let mut pieces = Vec::new();
        let mut rest = &bytes[..];
        for cut in cuts.iter().cycle() {
            if rest.is_empty() { break; }
            let (piece, tail) = rest.split_at((*cut).min(rest.len()));
            pieces.push(piece);
            rest = tail;
        }
        for way in WAYS {
            let whole = played(way, &[&bytes]);
            prop_assert!(whole.len() + 1 >= bytes.len(), "{:?}", way);
            prop_assert_eq!(played(way, &pieces), whole, "{:?}", way);
        }
    }

    #[test]
    fn no_session_of_any_bytes_breaks_an_invariant(data in proptest::collection::vec(any::<u8>(), 0..2_000)) {
        for entry in PROTOCOLS {
            session(entry.name, &data);
        }
    }

    #[test]
    fn no_session_of_known_messages_breaks_an_invariant(data in any_session()) {
        for entry in PROTOCOLS {
            session(entry.name, &data);
        }
    }
}
