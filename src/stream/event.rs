//! What happens to a stream that somebody outside wants to know: plain data, turned into FreeSWITCH events by `control`.
//!
//! Made on the stream's worker, carried to the event thread by value. Texts may come from the far end: they are data, never a
//! format and never expanded.

use super::status::StreamMode;
use crate::conversation::agent;
use crate::transport::ErrorCode;
use crate::units::SampleRate;

use super::status::RecordStatus;

/// One thing that happened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum StreamEvent {
    /// The far end accepted the connection.
    Connected,
    /// The connection ended, from whichever side.
    Disconnected {
        /// WebSocket close code; 1006 where there was none.
        code: u16,
        /// The closing side's words.
        reason: String,
    },
    /// Something failed; whether the stream goes on is told by the `Disconnected` that follows, or does not.
    Error {
        /// What failed.
        code: ErrorCode,
        /// In words an operator can act on.
        message: String,
    },
    /// The far end sent a text that is no command of the protocol; verbatim.
    Json(String),
    /// The far end sent audio in a text message; the message without the audio.
    Play(String),
    /// Audio was lost because a queue was full.
    Overflow(Overflow),
    /// What the caller hears of the far end began, ended, was dropped, or came to a mark.
    Playback(Playback),
    /// The caller heard gaps within what the far end sent.
    Underrun {
        /// How many since the last such event.
        count: u64,
        /// What the caller has been given of the stream by now, ms.
        played_ms: u64,
    },
    /// The caller pressed a key.
    Dtmf {
        /// One of `0-9 A-D * #`.
        digit: char,
        /// How long, ms.
        duration_ms: u32,
    },
    /// A recording began or ended.
    Record(RecordEvent),
    /// The caller of a conversation begins to speak, or stops.
    Speech {
        /// Begins.
        speaking: bool,
    },
    /// Something happened in a conversation.
    Ai(agent::Event),
}

/// What happens to a recording.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RecordEvent {
    /// It began.
    Started {
        /// The file.
        file: String,
        /// The file's rate.
        rate: SampleRate,
    },
    /// It ended; the file is whole.
    Stopped {
        /// What there is in it.
        status: RecordStatus,
        /// Who or what ended it.
        reason: String,
    },
    /// It ended because it could not go on; the file keeps what it has.
    Failed {
        /// What there is in it.
        status: RecordStatus,
        /// In words an operator can act on.
        reason: String,
    },
}

impl StreamEvent {
    /// The last event of a stream of that kind that did not end by itself.
    pub fn ended(mode: StreamMode, code: u16, reason: &str) -> Self {
        match mode {
            StreamMode::Ws => Self::Disconnected { code, reason: reason.to_owned() },
            StreamMode::Ai => Self::Ai(agent::Event::State {
                state: agent::State::Failed,
                last: true,
                code: String::new(),
                message: reason.to_owned(),
            }),
        }
    }

    /// Whether this ends a stream's story, so that it must reach its readers even when the call is gone.
    pub const fn is_final(&self) -> bool {
        matches!(
            self,
            Self::Disconnected { .. }
                | Self::Error { .. }
                | Self::Record(RecordEvent::Stopped { .. } | RecordEvent::Failed { .. })
                | Self::Ai(agent::Event::State { last: true, .. })
        )
    }
}

/// What became of what the far end sent to be heard. `played_ms` is what the caller had been given of the stream by then, exact
/// to the sample.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Playback {
    /// The first sample of an utterance is heard.
    Started {
        /// Before it.
        played_ms: u64,
    },
    /// Everything has been heard, and no more comes.
    Finished {
        /// With it.
        played_ms: u64,
    },
    /// What waited to be heard has been dropped.
    Cleared {
        /// Up to the cut.
        played_ms: u64,
    },
    /// A mark of the far end's was come to, or dropped with what was before it.
    Mark {
        /// The far end's name of it.
        name: String,
        /// Whether everything before it has been heard.
        heard: bool,
        /// Up to the mark, or the cut.
        played_ms: u64,
    },
}

/// Audio lost to a full queue, summed up since the last such event.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Overflow {
    /// Which queue.
    pub queue: Queue,
    /// How bad.
    pub severity: Severity,
    /// How often audio was dropped since the last such event.
    pub drops: u64,
    /// How much audio that was, ms.
    pub dropped_ms: u64,
    /// How much since the stream started, ms.
    pub total_dropped_ms: u64,
}

/// A queue that can overflow.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Queue {
    /// Playback waiting to be heard, bounded by `inject_buffer_ms`.
    Inject,
    /// Captured audio waiting for the socket, bounded by `max_queue_ms`.
    Send,
}

impl Queue {
    /// The word in the event.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Inject => "inject",
            Self::Send => "send",
        }
    }
}

/// How bad an alarm is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Severity {
    /// It began.
    Warning,
    /// It lasts.
    Error,
}

impl Severity {
    /// The word in the event.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}
