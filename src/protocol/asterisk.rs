//! Asterisk's chan_websocket: <https://docs.asterisk.org/Configuration/Channel-Drivers/WebSocket/>.
//!
//! Audio is binary both ways, mono, in frames of 20 ms: µ-law at 8 kHz (A-law where the options ask for it), or little-endian
//! L16 (`slin`) at 8, 16, 24, 32 or 48 kHz (where the options ask for it or for more than 8 kHz); a shorter last frame is filled
//! with silence. Commands and events are texts, as `control_format` says: lines of words, or JSON. The first event is MEDIA_START;
//! the metadata's fields are its `channel_variables`, which only JSON has.
//!
//! From the server: audio of any length is queued. Between START_MEDIA_BUFFERING and STOP_MEDIA_BUFFERING a sample may be cut by
//! the end of a message; otherwise each message begins with a sample. MARK_MEDIA and STOP_MEDIA_BUFFERING are answered when the
//! audio before them was heard, and never when FLUSH_MEDIA drops them. What waits to be heard is counted in frames: at 90 % of
//! what fits the server gets MEDIA_XOFF, below 80 % MEDIA_XON; a message that comes when the queue is full is dropped.
//!
//! A command that is not carried out is answered by ERROR, which Asterisk does for some commands only.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::call::text_parameters;
use super::json::{self, Field};
use super::marks::Marks;
use super::pcm::FrameReader;
use super::session::{Dialect, Outputs};
use super::{
    Audio, AudioKind, CallInfo, Codec, ControlFormat, MarkId, ProtocolConfig, Request, WireFormat, excerpt,
    highest_rate,
};
use crate::units::{Encoding, Law, PcmFormat};

/// Duration of a frame, ms.
const FRAME_MS: u32 = 20;
/// Frames that fit into Asterisk's queue.
const MOST_FRAMES: u32 = 1_000;
/// Answers that may wait for audio to be heard.
const MOST_MARKS: usize = 400;
/// Longest correlation id, bytes.
const MOST_ID: usize = 4_096;

/// Asterisk's side of the connection.
#[derive(Debug)]
pub(super) struct Asterisk {
    call: CallInfo,
    variables: BTreeMap<String, String>,
    control: ControlFormat,
    format: WireFormat,
    /// Longest media message, bytes.
    most_bytes: usize,
    levels: Levels,
    marks: Marks<Answer>,
    reader: FrameReader,
    direction: Direction,
    /// Audio that waits to be heard: as last reported, and what was queued since.
    waiting: Duration,
    /// MEDIA_XOFF was sent, and no MEDIA_XON since.
    is_full: bool,
    /// A message was dropped since, and the server knows.
    has_dropped: bool,
    is_bulk: bool,
    is_paused: bool,
    /// The server waits for the end of the queue.
    reports_drained: bool,
}

/// Lengths of the queue in frames.
#[derive(Clone, Copy, Debug)]
struct Levels {
    most: u32,
    xoff: u32,
    xon: u32,
}

impl Levels {
    fn new(queue_ms: u32) -> Self {
        let most = (queue_ms / FRAME_MS).clamp(5, MOST_FRAMES);
        Self { most, xoff: most * 9 / 10, xon: most * 8 / 10 }
    }
}

/// Which way media flow, from the server's point of view.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Direction {
    Both,
    /// The server only sends.
    Out,
    /// The server only receives.
    In,
}

/// What is sent when the audio before it has been heard.
#[derive(Debug)]
enum Answer {
    Mark(String),
    Buffered(String),
}

/// An event to the server. The fields have the names and the order of both formats.
#[derive(Serialize)]
#[serde(tag = "event", rename_all = "SCREAMING_SNAKE_CASE")]
enum Event<'a> {
    MediaStart {
        connection_id: &'a str,
        channel: &'a str,
        channel_id: &'a str,
        format: Cow<'static, str>,
        optimal_frame_size: usize,
        ptime: u32,
        channel_variables: &'a BTreeMap<String, String>,
    },
    MediaXon {
        channel_id: &'a str,
    },
    MediaXoff {
        channel_id: &'a str,
    },
    QueueDrained {
        channel_id: &'a str,
    },
    MediaBufferingCompleted {
        channel_id: &'a str,
        correlation_id: &'a str,
    },
    MediaMarkProcessed {
        channel_id: &'a str,
        correlation_id: &'a str,
    },
    DtmfEnd {
        channel_id: &'a str,
        digit: char,
    },
    Status {
        channel_id: &'a str,
        queue_length: u32,
        xon_level: u32,
        xoff_level: u32,
        queue_full: bool,
        bulk_media: bool,
        media_paused: bool,
    },
    Error {
        channel_id: &'a str,
        error_text: &'a str,
    },
}

impl fmt::Display for Event<'_> {
    /// The line of words.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let with_id = |name: &str, id: &str| if id.is_empty() { name.to_owned() } else { format!("{name} {id}") };
        match self {
            Self::MediaStart { connection_id, channel, channel_id, format, optimal_frame_size, ptime, .. } => {
                // The server splits the line at its spaces.
                let channel: String =
                    channel.chars().map(|c| if c.is_whitespace() || c.is_control() { '_' } else { c }).collect();
                write!(
                    f,
                    "MEDIA_START connection_id:{connection_id} channel:{channel} channel_id:{channel_id} \
                     format:{format} optimal_frame_size:{optimal_frame_size} ptime:{ptime}"
                )
            }
            Self::MediaXon { .. } => f.write_str("MEDIA_XON"),
            Self::MediaXoff { .. } => f.write_str("MEDIA_XOFF"),
            Self::QueueDrained { .. } => f.write_str("QUEUE_DRAINED"),
            Self::MediaBufferingCompleted { correlation_id, .. } => {
                f.write_str(&with_id("MEDIA_BUFFERING_COMPLETED", correlation_id))
            }
            Self::MediaMarkProcessed { correlation_id, .. } => {
                f.write_str(&with_id("MEDIA_MARK_PROCESSED", correlation_id))
            }
            Self::DtmfEnd { channel_id, digit } => write!(f, "DTMF_END digit:{digit} channel_id:{channel_id}"),
            Self::Status { channel_id, queue_length, xon_level, xoff_level, queue_full, bulk_media, media_paused } => {
                write!(
                    f,
                    "STATUS channel_id:{channel_id} queue_length:{queue_length} xon_level:{xon_level} \
                     xoff_level:{xoff_level} queue_full:{queue_full} bulk_media:{bulk_media} media_paused:{media_paused}"
                )
            }
            Self::Error { channel_id, error_text } => {
                write!(f, "ERROR channel_id:{channel_id} error_text:{error_text}")
            }
        }
    }
}

/// A command of the server, with its parameters.
struct Command<'a> {
    name: Cow<'a, str>,
    /// `correlation_id`, or what follows the name.
    id: Cow<'a, str>,
    /// Only JSON has it.
    direction: Option<Cow<'a, str>>,
}

impl<'a> Command<'a> {
    /// In words why `text` is none.
    fn read(text: &'a str, control: ControlFormat) -> Result<Self, String> {
        let text = text.trim();
        if control == ControlFormat::Plain {
            let (name, id) = text.split_once(' ').unwrap_or((text, ""));
            return Ok(Self { name: name.into(), id: id.into(), direction: None });
        }
        let words = |raw| match Field::of(raw) {
            Field::Text(text) => Some(text),
            _ => None,
        };
        match json::object(text, ["command", "correlation_id", "direction"]) {
            Ok(Some([command, id, direction])) => Ok(Self {
                name: words(command).ok_or("command is not a string")?,
                id: words(id).unwrap_or_default(),
                direction: words(direction),
            }),
            _ => Err(format!("Unable to parse JSON command: {}", excerpt(text))),
        }
    }
}

impl Asterisk {
    pub(super) fn new(config: ProtocolConfig) -> Self {
        let encoding = match config.codec {
            Codec::G711(law) => Encoding::G711(law),
            Codec::L16 => Encoding::S16Le,
            Codec::Auto if config.wire.rate.hz() > 8_000 => Encoding::S16Le,
            Codec::Auto => Encoding::G711(Law::Mu),
        };
        let rates = if encoding == Encoding::S16Le { &[8_000, 16_000, 24_000, 32_000, 48_000][..] } else { &[8_000] };
        let pcm = PcmFormat { rate: highest_rate(config.wire.rate, rates), channels: 1 };
        Self {
            variables: text_parameters(config.metadata.as_deref()),
            call: config.call,
            control: config.control,
            format: WireFormat { pcm, encoding, message_ms: FRAME_MS },
            most_bytes: config.max_audio_base64_len / 4 * 3,
            levels: Levels::new(config.queue_ms),
            marks: Marks::new(MOST_MARKS),
            reader: FrameReader::new(1),
            direction: Direction::Both,
            waiting: Duration::ZERO,
            is_full: false,
            has_dropped: false,
            is_bulk: false,
            is_paused: false,
            reports_drained: false,
        }
    }

    fn send(&self, event: &Event<'_>, out: &mut Outputs) {
        match self.control {
            ControlFormat::Plain => out.send_text(event.to_string()),
            ControlFormat::Json => out.send_json(event),
        }
    }

    /// A command that is not carried out: the server and the operator learn why.
    fn error(&self, reason: String, out: &mut Outputs) {
        self.send(&Event::Error { channel_id: &self.call.call_id, error_text: &reason }, out);
        out.fault(reason);
    }

    fn frame_bytes(&self) -> usize {
        self.format.pcm.samples_in_ms(FRAME_MS) * self.format.encoding.sample_bytes()
    }

    /// Frames that wait to be heard, the one that has begun included.
    fn queue_length(&self) -> u32 {
        self.waiting.as_micros().div_ceil(u128::from(FRAME_MS) * 1_000).min(u128::from(u32::MAX)) as u32
    }

    fn command(&mut self, command: &Command<'_>, out: &mut Outputs) {
        let name = &*command.name;
        let needs_media = matches!(
            name,
            "START_MEDIA_BUFFERING" | "STOP_MEDIA_BUFFERING" | "MARK_MEDIA" | "PAUSE_MEDIA" | "CONTINUE_MEDIA"
        );
        if needs_media && self.direction == Direction::In {
            return self.error(format!("{name} not supported while media direction is 'in'"), out);
        }
        match name {
            "ANSWER" => out.request(Request::Answer),
            "HANGUP" => out.request(Request::Hangup),
            "START_MEDIA_BUFFERING" if self.is_bulk => {}
            "START_MEDIA_BUFFERING" => {
                // What the last message left of a sample belongs to nothing.
                self.reader.reset();
                self.is_bulk = true;
            }
            "STOP_MEDIA_BUFFERING" => {
                self.is_bulk = false;
                self.reader.reset();
                self.mark(name, &command.id, Answer::Buffered, out);
            }
            "MARK_MEDIA" => self.mark(name, &command.id, Answer::Mark, out),
            "FLUSH_MEDIA" => {
                self.is_bulk = false;
                self.reader.reset();
                out.clear();
                self.queued(Duration::ZERO, out);
            }
            "REPORT_QUEUE_DRAINED" => self.reports_drained = true,
            "GET_STATUS" => {
                let status = Event::Status {
                    channel_id: &self.call.call_id,
                    queue_length: self.queue_length(),
                    xon_level: self.levels.xon,
                    xoff_level: self.levels.xoff,
                    queue_full: self.is_full,
                    bulk_media: self.is_bulk,
                    media_paused: self.is_paused,
                };
                self.send(&status, out);
            }
            "PAUSE_MEDIA" => self.pause(true, out),
            "CONTINUE_MEDIA" => self.pause(false, out),
            "SET_MEDIA_DIRECTION" => self.set_direction(command, out),
            _ => {
                let is_json = self.control == ControlFormat::Plain && name.starts_with('{');
                let advice = if is_json { "; control_format=json reads JSON" } else { "" };
                self.error(format!("{} command unknown{advice}", excerpt(name)), out);
            }
        }
    }

    fn mark(&mut self, name: &str, id: &str, answer: fn(String) -> Answer, out: &mut Outputs) {
        if id.len() > MOST_ID {
            self.error(format!("{name}: an id of {} bytes is more than {MOST_ID}", id.len()), out);
        } else if !self.marks.add(answer(id.to_owned()), id.len(), out) {
            self.error(format!("{name}: too many marks are waiting; this one is not answered"), out);
        }
    }

    fn pause(&mut self, paused: bool, out: &mut Outputs) {
        self.is_paused = paused;
        out.hold(paused);
    }

    fn set_direction(&mut self, command: &Command<'_>, out: &mut Outputs) {
        if self.control == ControlFormat::Plain {
            return self.error("SET_MEDIA_DIRECTION only supports JSON format".to_owned(), out);
        }
        self.direction = match command.direction.as_deref() {
            Some("both") => Direction::Both,
            Some("out") => Direction::Out,
            Some("in") => Direction::In,
            Some(other) => {
                let reason = format!("'{}' is not a valid direction for SET_MEDIA_DIRECTION", excerpt(other));
                return self.error(reason, out);
            }
            None => return self.error("SET_MEDIA_DIRECTION requires a 'direction' parameter".to_owned(), out),
        };
    }
}

impl Dialect for Asterisk {
    fn capture(&self) -> WireFormat {
        self.format
    }

    fn subprotocol(&self) -> Option<&'static str> {
        Some("media")
    }

    fn opened(&mut self, out: &mut Outputs) {
        self.marks.forget();
        self.reader.reset();
        self.direction = Direction::Both;
        (self.is_full, self.has_dropped, self.is_bulk, self.is_paused, self.reports_drained) =
            (false, false, false, false, false);
        let start = Event::MediaStart {
            connection_id: &self.call.stream_id,
            channel: &self.call.channel,
            channel_id: &self.call.call_id,
            format: match self.format.encoding {
                Encoding::G711(Law::Mu) => "ulaw".into(),
                Encoding::G711(Law::A) => "alaw".into(),
                Encoding::S16Le | Encoding::S16Be => match self.format.pcm.rate.hz() {
                    8_000 => "slin".into(),
                    hz => format!("slin{}", hz / 1_000).into(),
                },
            },
            optimal_frame_size: self.frame_bytes(),
            ptime: FRAME_MS,
            channel_variables: &self.variables,
        };
        self.send(&start, out);
    }

    fn audio(&mut self, bytes: &[u8], out: &mut Outputs) {
        if self.direction == Direction::Out {
            return;
        }
        let silence = match self.format.encoding {
            Encoding::G711(law) => law.silence(),
            Encoding::S16Le | Encoding::S16Be => 0,
        };
        for frame in bytes.chunks(self.frame_bytes()) {
            let mut frame = frame.to_vec();
            frame.resize(self.frame_bytes(), silence);
            out.send_binary(frame);
        }
    }

    fn text(&mut self, text: &str, out: &mut Outputs) {
        match Command::read(text, self.control) {
            Ok(command) => self.command(&command, out),
            Err(reason) => self.error(reason, out),
        }
    }

    fn binary(&mut self, bytes: &[u8], out: &mut Outputs) {
        if self.direction == Direction::In {
            return;
        }
        if bytes.len() > self.most_bytes {
            return self.error(format!("media of {} bytes is more than {}", bytes.len(), self.most_bytes), out);
        }
        if self.queue_length() >= self.levels.most {
            if !self.has_dropped {
                self.has_dropped = true;
                self.error("the queue is full: media is dropped until MEDIA_XON".to_owned(), out);
            }
            return;
        }
        if !self.is_bulk {
            self.reader.reset();
        }
        let format = self.format.pcm;
        let (audio, samples) = match self.format.encoding {
            Encoding::G711(law) => {
                (Audio::Encoded { kind: AudioKind::G711(law, format), bytes: bytes.to_vec() }, bytes.len())
            }
            Encoding::S16Le | Encoding::S16Be => {
                let samples = self.reader.push(bytes);
                let count = samples.len();
                (Audio::Pcm { samples, format }, count)
            }
        };
        if samples > 0 {
            self.waiting += format.rate.duration_of(samples as u64);
            out.play(audio);
        }
    }

    fn dtmf(&mut self, digit: char, _duration_ms: u32, out: &mut Outputs) {
        self.send(&Event::DtmfEnd { channel_id: &self.call.call_id, digit }, out);
    }

    const FOLLOWS_QUEUE: bool = true;

    fn queued(&mut self, waiting: Duration, out: &mut Outputs) {
        self.waiting = waiting;
        let (length, channel_id) = (self.queue_length(), &*self.call.call_id);
        if !self.is_full && length >= self.levels.xoff {
            self.send(&Event::MediaXoff { channel_id }, out);
            self.is_full = true;
        } else if self.is_full && length < self.levels.xon {
            self.send(&Event::MediaXon { channel_id }, out);
            (self.is_full, self.has_dropped) = (false, false);
        }
        if length == 0 && self.reports_drained && !self.is_paused {
            self.send(&Event::QueueDrained { channel_id: &self.call.call_id }, out);
            self.reports_drained = false;
        }
    }

    fn denied(&mut self, reason: &str, out: &mut Outputs) {
        self.send(&Event::Error { channel_id: &self.call.call_id, error_text: reason }, out);
    }

    fn mark(&mut self, id: MarkId, heard: bool, out: &mut Outputs) {
        let Some(answer) = self.marks.take(id).filter(|_| heard) else { return };
        let channel_id = &*self.call.call_id;
        let event = match &answer {
            Answer::Mark(id) => Event::MediaMarkProcessed { channel_id, correlation_id: id },
            Answer::Buffered(id) => Event::MediaBufferingCompleted { channel_id, correlation_id: id },
        };
        self.send(&event, out);
    }

    fn mark_name(&self, id: MarkId) -> Option<&str> {
        let (Answer::Mark(name) | Answer::Buffered(name)) = self.marks.get(id)?;
        Some(name).filter(|name| !name.is_empty()).map(String::as_str)
    }
}
