//! Telnyx media streaming: <https://developers.telnyx.com/api-reference/websockets/stream-call-media-over-websocket>.
//!
//! Text messages only, snake_case; `sequence_number`, `chunk` and `timestamp` are strings. Audio as RTP carries it, in
//! messages of 20 ms: µ-law at 8 kHz (A-law where the options ask for it), or L16 at 8, 16 or 24 kHz (where the options ask for it
//! or for more than 8 kHz), little-endian unless the options say big: the documentation leaves it open, RTP would be big-endian,
//! and servers that have tried it on real calls report little-endian; where both legs are captured apart, one message for each track. The
//! metadata's fields are the `custom_parameters`, all strings.
//!
//! From the server: `media` in the same codec is queued, or a whole MP3 file, which is recognised by its frames; `mark` comes
//! back when heard, and also when `clear` drops it; `clear` drops what is queued. Media that carry a `chunk` number may come
//! out of order ([`Reorder`]). What cannot be used is answered by `error`. Unknown events are ignored.
//!
//! Opus, G.722 and AMR-WB payloads cannot be recognised and are not decoded.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::call::text_parameters;
use super::json::{self, Field, as_text, inner};
use super::marks::Marks;
use super::pcm::FrameReader;
use super::session::{CloseMode, Dialect, NoBinary, Outputs};
use super::tracks::Tracks;
use super::twilio::MOST_MARKS;
use super::{Audio, AudioKind, ByteOrder, Codec, MarkId, ProtocolConfig, WireFormat, codec, excerpt, highest_rate};
use crate::units::{Encoding, Law, PcmFormat};

/// Telnyx's side of the conversation.
#[derive(Debug)]
pub(super) struct Telnyx {
    config: ProtocolConfig,
    parameters: BTreeMap<String, String>,
    tracks: Tracks,
    sequence: u64,
    marks: Marks<String>,
    order: Reorder,
    reader: FrameReader,
    binary: NoBinary,
}

#[derive(Serialize)]
struct Connected {
    event: &'static str,
    version: &'static str,
}

/// Every message after `connected` but `dtmf` and `error`.
#[derive(Serialize)]
struct Event<'a> {
    event: &'static str,
    #[serde(serialize_with = "as_text")]
    sequence_number: u64,
    #[serde(flatten)]
    body: Body<'a>,
    stream_id: &'a str,
}

/// In the message under its own name.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Body<'a> {
    Start(Start<'a>),
    Media(Media<'a>),
    Mark(Mark<'a>),
    Stop(Stop<'a>),
}

#[derive(Serialize)]
struct Start<'a> {
    user_id: &'a str,
    call_control_id: &'a str,
    call_session_id: &'a str,
    from: &'a str,
    to: &'a str,
    tags: [&'static str; 0],
    client_state: &'static str,
    custom_parameters: &'a BTreeMap<String, String>,
    media_format: MediaFormat,
}

#[derive(Serialize)]
struct MediaFormat {
    encoding: &'static str,
    sample_rate: u32,
    channels: u16,
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
struct Mark<'a> {
    name: &'a str,
}

#[derive(Serialize)]
struct Stop<'a> {
    user_id: &'a str,
    call_control_id: &'a str,
}

#[derive(Serialize)]
struct Dtmf<'a> {
    event: &'static str,
    stream_id: &'a str,
    occurred_at: &'a str,
    #[serde(serialize_with = "as_text")]
    sequence_number: u64,
    dtmf: Digit,
}

#[derive(Serialize)]
struct Digit {
    digit: char,
}

#[derive(Serialize)]
struct Error<'a> {
    event: &'static str,
    payload: ErrorBody<'a>,
    stream_id: &'a str,
}

#[derive(Serialize)]
struct ErrorBody<'a> {
    code: u32,
    title: &'static str,
    detail: &'a str,
}

/// The vendor's number and name of an error.
type ErrorKind = (u32, &'static str);
const MALFORMED_FRAME: ErrorKind = (100_003, "malformed_frame");
const INVALID_MEDIA: ErrorKind = (100_004, "invalid_media");
const RATE_LIMIT_REACHED: ErrorKind = (100_005, "rate_limit_reached");

impl Telnyx {
    pub(super) fn new(config: ProtocolConfig) -> Self {
        let linear = match config.byte_order {
            ByteOrder::Little => Encoding::S16Le,
            ByteOrder::Big => Encoding::S16Be,
        };
        let encoding = match config.codec {
            Codec::G711(law) => Encoding::G711(law),
            Codec::L16 => linear,
            Codec::Auto if config.wire.rate.hz() > 8_000 => linear,
            Codec::Auto => Encoding::G711(Law::Mu),
        };
        let rates = if encoding == linear { &[8_000, 16_000, 24_000][..] } else { &[8_000] };
        let pcm = PcmFormat { rate: highest_rate(config.wire.rate, rates), channels: config.wire.channels };
        Self {
            parameters: text_parameters(config.metadata.as_deref()),
            reader: FrameReader::ordered(1, config.byte_order),
            config,
            tracks: Tracks::new(WireFormat { pcm, encoding, message_ms: 20 }),
            sequence: 0,
            marks: Marks::new(MOST_MARKS),
            order: Reorder::default(),
            binary: NoBinary::default(),
        }
    }

    fn send(&mut self, event: &'static str, body: Body<'_>, out: &mut Outputs) {
        self.sequence += 1;
        let stream_id = &self.config.call.stream_id;
        out.send_json(&Event { event, sequence_number: self.sequence, body, stream_id });
    }

    /// A fault that is also reported to the server.
    fn error(&self, (code, title): ErrorKind, reason: String, out: &mut Outputs) {
        let payload = ErrorBody { code, title, detail: &reason };
        out.send_json(&Error { event: "error", payload, stream_id: &self.config.call.stream_id });
        out.fault(reason);
    }

    fn media(&mut self, raw: json::Fields<'_, 2>, out: &mut Outputs) {
        let [audio, chunk] = raw.map(Field::of);
        match codec::decode(&audio, "media: payload", self.config.max_audio_base64_len) {
            // A number that is none is as good as none.
            Ok(bytes) => {
                self.order.push(chunk.as_u32(), bytes, out.now());
                self.play_ready(out);
            }
            Err(reason) => self.error(INVALID_MEDIA, reason, out),
        }
    }

    fn play_ready(&mut self, out: &mut Outputs) {
        while let Some(bytes) = self.order.pop() {
            let WireFormat { pcm, encoding, .. } = self.tracks.format();
            let format = PcmFormat { rate: pcm.rate, channels: 1 };
            out.play(match encoding {
                _ if is_mp3(&bytes) => Audio::Encoded { kind: AudioKind::Mp3, bytes },
                Encoding::G711(law) => Audio::Encoded { kind: AudioKind::G711(law, format), bytes },
                Encoding::S16Le | Encoding::S16Be => Audio::Pcm { samples: self.reader.push(&bytes), format },
            });
        }
    }
}

impl Dialect for Telnyx {
    fn capture(&self) -> WireFormat {
        self.tracks.format()
    }

    fn opened(&mut self, out: &mut Outputs) {
        self.tracks.restart();
        self.marks.forget();
        self.order = Reorder::default();
        self.reader.reset();
        self.binary = NoBinary::default();
        out.send_json(&Connected { event: "connected", version: "1.0.0" });
        self.sequence = 1;
        let (call, format) = (&self.config.call, self.tracks.format());
        let encoding = match format.encoding {
            Encoding::G711(Law::Mu) => "PCMU",
            Encoding::G711(Law::A) => "PCMA",
            Encoding::S16Le | Encoding::S16Be => "L16",
        };
        out.send_json(&Event {
            event: "start",
            sequence_number: self.sequence,
            body: Body::Start(Start {
                user_id: &call.account_id,
                call_control_id: &call.call_id,
                call_session_id: &call.call_id,
                from: &call.from,
                to: &call.to,
                tags: [],
                client_state: "",
                custom_parameters: &self.parameters,
                media_format: MediaFormat { encoding, sample_rate: format.pcm.rate.hz(), channels: 1 },
            }),
            stream_id: &call.stream_id,
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
        let [event, media, mark] = match json::object(text, ["event", "media", "mark"]) {
            Ok(Some(fields)) => fields,
            Ok(None) => {
                return self.error(MALFORMED_FRAME, format!("the text is JSON but no object: {}", excerpt(text)), out);
            }
            Err(error) => {
                return self.error(MALFORMED_FRAME, format!("the text is not JSON ({error}): {}", excerpt(text)), out);
            }
        };
        match Field::of(event).as_str() {
            Some("media") => self.media(inner(media, ["payload", "chunk"]), out),
            Some("mark") => {
                // What came before the mark stays before it.
                self.order.release();
                self.play_ready(out);
                match Field::of(inner(mark, ["name"])[0]).as_str() {
                    Some(name) if self.marks.add(name.to_owned(), name.len(), out) => {}
                    Some(_) => {
                        let reason = "mark: too many marks are waiting; this one is not answered";
                        self.error(RATE_LIMIT_REACHED, reason.to_owned(), out);
                    }
                    None => self.error(MALFORMED_FRAME, "mark: name is not a string".to_owned(), out),
                }
            }
            Some("clear") => {
                self.order = Reorder::default();
                self.reader.reset();
                out.clear();
            }
            Some(_) => {}
            None => self.error(MALFORMED_FRAME, "event is not a string".to_owned(), out),
        }
    }

    fn binary(&mut self, _: &[u8], out: &mut Outputs) {
        self.binary.refuse(out);
    }

    fn dtmf(&mut self, digit: char, _: u32, out: &mut Outputs) {
        self.sequence += 1;
        let occurred_at = out.now().map(|now| self.config.clock.iso_8601(now)).unwrap_or_default();
        out.send_json(&Dtmf {
            event: "dtmf",
            stream_id: &self.config.call.stream_id,
            occurred_at: &occurred_at,
            sequence_number: self.sequence,
            dtmf: Digit { digit },
        });
    }

    fn mark(&mut self, id: MarkId, _heard: bool, out: &mut Outputs) {
        if let Some(name) = self.marks.take(id) {
            self.send("mark", Body::Mark(Mark { name: &name }), out);
        }
    }

    fn mark_name(&self, id: MarkId) -> Option<&str> {
        self.marks.get(id).map(String::as_str)
    }

    fn deadline(&self) -> Option<Instant> {
        self.order.until
    }

    fn timeout(&mut self, out: &mut Outputs) {
        self.order.release();
        self.play_ready(out);
    }

    fn stop(&mut self, _call_ended: bool, out: &mut Outputs) -> CloseMode {
        self.order.release();
        self.play_ready(out);
        self.sequence += 1;
        let call = &self.config.call;
        out.send_json(&Event {
            event: "stop",
            sequence_number: self.sequence,
            body: Body::Stop(Stop { user_id: &call.account_id, call_control_id: &call.call_id }),
            stream_id: &call.stream_id,
        });
        CloseMode::Close
    }
}

/// Puts frames that carry a number into their order.
///
/// A frame ahead of the one that is due waits for it, with at most [`MOST_AHEAD`] others and for at most [`PATIENCE`]; then the
/// gap is skipped. A frame behind is played where it comes rather than lost: servers that number badly, or every frame alike,
/// are played anyway. A frame far ahead or behind begins a new count.
#[derive(Debug, Default)]
struct Reorder {
    /// The number that is due; `None` before the first.
    due: Option<u32>,
    /// Numbered frames ahead of it.
    ahead: BTreeMap<u32, Vec<u8>>,
    /// Frames that may be played.
    ready: VecDeque<Vec<u8>>,
    /// When the gap is skipped.
    until: Option<Instant>,
}

/// Frames that wait for an earlier one.
const MOST_AHEAD: u32 = 16;
/// Bytes of them.
const MOST_BYTES_AHEAD: usize = 256 * 1024;
/// How long they wait.
const PATIENCE: Duration = Duration::from_millis(60);
/// A frame this far behind is no late one.
const FAR_BEHIND: u32 = 64;

impl Reorder {
    fn push(&mut self, number: Option<u32>, frame: Vec<u8>, now: Option<Instant>) {
        let Some(number) = number else {
            self.release();
            self.ready.push_back(frame);
            return;
        };
        let due = *self.due.get_or_insert(number);
        let (ahead, behind) = (number.wrapping_sub(due), due.wrapping_sub(number));
        if ahead == 0 {
            self.ready.push_back(frame);
            self.due = Some(due.wrapping_add(1));
            self.advance();
        } else if ahead <= MOST_AHEAD && !self.ahead.contains_key(&number) {
            self.ahead.insert(number, frame);
            if self.ahead.values().map(Vec::len).sum::<usize>() > MOST_BYTES_AHEAD {
                return self.release();
            }
            if self.until.is_none() {
                self.until = now.map(|now| now + PATIENCE);
            }
        } else {
            if behind > FAR_BEHIND {
                self.release();
                self.due = Some(number.wrapping_add(1));
            }
            self.ready.push_back(frame);
        }
    }

    /// Frames that have become due.
    fn advance(&mut self) {
        while let Some(frame) = self.due.and_then(|due| self.ahead.remove(&due)) {
            self.ready.push_back(frame);
            self.due = self.due.map(|due| due.wrapping_add(1));
        }
        if self.ahead.is_empty() {
            self.until = None;
        }
    }

    /// Waits no longer: what is ahead is played with its gaps skipped.
    fn release(&mut self) {
        // By distance, so that a count that wraps stays in order.
        while let Some(due) = self.due
            && let Some(next) = self.ahead.keys().copied().min_by_key(|number| number.wrapping_sub(due))
        {
            self.due = Some(next);
            self.advance();
        }
        self.until = None;
    }

    fn pop(&mut self) -> Option<Vec<u8>> {
        let frame = self.ready.pop_front();
        if self.ready.is_empty() {
            self.ready = VecDeque::new();
        }
        frame
    }
}

/// Whether `bytes` are an MP3 file: an ID3 tag, or three MPEG audio frames of one kind, one right after the other, which
/// speech in another codec has about never.
fn is_mp3(bytes: &[u8]) -> bool {
    let id3 = |tag: &[u8]| {
        tag.starts_with(b"ID3")
            && (2..=4).contains(&tag[3])
            && tag[4] < 0xff
            && tag[6..].iter().all(|byte| *byte < 0x80)
    };
    if bytes.get(..10).is_some_and(id3) {
        return true;
    }
    let mut rest = bytes;
    let mut kind = None;
    for _ in 0..3 {
        let Some((this, length)) = rest.first_chunk().and_then(|header| mpeg_frame(*header)) else { return false };
        if *kind.get_or_insert(this) != this {
            return false;
        }
        let Some(after) = rest.get(length..) else { return false };
        rest = after;
    }
    true
}

/// Version, layer and rate of an MPEG audio frame of layer III, and its length in bytes.
fn mpeg_frame(header: [u8; 4]) -> Option<((u8, u8), usize)> {
    const V1_KBPS: [usize; 14] = [32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320];
    const V2_KBPS: [usize; 14] = [8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160];
    let [0xff, kind, rates, _] = header else { return None };
    let version = (kind >> 3) & 3;
    if kind & 0xe0 != 0xe0 || (kind >> 1) & 3 != 1 {
        return None;
    }
    let (kbps, hz, samples) = match version {
        3 => (&V1_KBPS, [44_100, 48_000, 32_000], 1_152),
        2 => (&V2_KBPS, [22_050, 24_000, 16_000], 576),
        0 => (&V2_KBPS, [11_025, 12_000, 8_000], 576),
        _ => return None,
    };
    let kbps = kbps.get(usize::from(rates >> 4).checked_sub(1)?)?;
    let rate = (rates >> 2) & 3;
    let hz = hz.get(usize::from(rate))?;
    Some(((kind & 0xfe, rate), samples / 8 * kbps * 1_000 / hz + usize::from((rates >> 1) & 1)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use proptest::prelude::*;

    fn heard(order: &mut Reorder) -> Vec<u8> {
        std::iter::from_fn(|| order.pop()).flatten().collect()
    }

    #[test]
    fn frames_are_put_in_order_and_none_is_lost() {
        let now = Instant::now();
        for (numbers, played) in [
            (&[1, 2, 3][..], &[1, 2, 3][..]),
            (&[5, 7, 6, 8], &[5, 6, 7, 8]),
            (&[1, 4, 3, 2, 5], &[1, 2, 3, 4, 5]),
            (&[1, 1, 1], &[1, 1, 1]),
            (&[50, 51, 2, 3, 52], &[50, 51, 2, 3, 52]),
            (&[90, 91, 1, 3, 2], &[90, 91, 1, 2, 3]),
            (&[1, 60, 61], &[1, 60, 61]),
        ] {
            let mut order = Reorder::default();
            let mut out = Vec::new();
            for number in numbers {
                order.push(Some(u32::from(*number)), vec![*number], Some(now));
                out.extend(heard(&mut order));
            }
            assert_eq!(out, *played, "{numbers:?}");
            assert_eq!(order.until, None, "{numbers:?}");
        }
    }

    #[test]
    fn a_gap_is_skipped_after_a_while() {
        let now = Instant::now();
        let mut order = Reorder::default();
        for number in [u32::MAX - 1, 1, 0] {
            order.push(Some(number), vec![number as u8], Some(now));
        }
        assert_eq!(heard(&mut order), [254]);
        assert_eq!(order.until, Some(now + PATIENCE));
        order.release();
        assert_eq!((heard(&mut order), order.until, order.due), (vec![0, 1], None, Some(2)));
    }

    fn mp3(header: [u8; 4], frames: usize) -> Vec<u8> {
        let length = mpeg_frame(header).unwrap().1;
        let mut file = Vec::new();
        for _ in 0..frames {
            file.extend(header);
            file.resize(file.len() + length - 4, 0);
        }
        file
    }

    #[test]
    fn an_mp3_file_is_known_by_its_frames() {
        for header in [[0xff, 0xfb, 0x90, 0x64], [0xff, 0xf3, 0x44, 0xc4], [0xff, 0xe3, 0x18, 0xc4]] {
            assert!(is_mp3(&mp3(header, 3)), "{header:x?}");
            assert!(!is_mp3(&mp3(header, 2)), "{header:x?}");
        }
        assert!(is_mp3(b"ID3\x04\0\0\0\0\x02\x01rest"));
        assert_eq!(mpeg_frame([0xff, 0xfb, 0x90, 0x64]).unwrap().1, 417);
        for bytes in [&b"ID3"[..], b"ID3\x09\0\0\0\0\0\0", &[0xff; 4_000], &[0x7f; 4_000], &[0; 4_000], &[]] {
            assert!(!is_mp3(bytes));
        }
    }

    proptest! {
        #[test]
        fn any_order_within_the_window_is_undone(
            offsets in proptest::collection::vec(0_u32..8, 1..100), start in any::<u32>(),
        ) {
            // Each frame is delayed by its offset, which moves it by less than 8 places.
            let mut sent: Vec<(u32, u32)> =
                offsets.iter().enumerate().map(|(index, offset)| (index as u32 + offset, index as u32)).collect();
            sent.sort_by_key(|(at, _)| *at);
            let first = sent[0].1;
            let mut order = Reorder { due: Some(start), ..Reorder::default() };
            let mut out = Vec::new();
            for (_, index) in &sent {
                order.push(Some(start.wrapping_add(*index)), vec![*index as u8], None);
                out.extend(heard(&mut order));
            }
            prop_assert!(first < 8);
            prop_assert_eq!(out, (0..offsets.len() as u8).collect::<Vec<_>>());
        }

        #[test]
        fn no_frame_is_lost_whatever_the_numbers(
            numbers in proptest::collection::vec(proptest::option::of(prop_oneof![0_u32..100, any::<u32>()]), 0..200),
        ) {
            let mut order = Reorder::default();
            let mut out = Vec::new();
            for (index, number) in numbers.iter().enumerate() {
                order.push(*number, vec![index as u8], Some(Instant::now()));
                prop_assert!(order.ahead.len() <= MOST_AHEAD as usize);
                prop_assert_eq!(order.until.is_some(), !order.ahead.is_empty());
                out.extend(heard(&mut order));
            }
            order.release();
            out.extend(heard(&mut order));
            out.sort_unstable();
            prop_assert_eq!(out, (0..numbers.len() as u8).collect::<Vec<_>>());
        }
    }
}
