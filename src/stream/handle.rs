//! A running stream as the other threads see it: its mailbox, its doorbell, its counters. What it shares with other attachments
//! to a call is [`Attachment`]'s.
//!
//! Shared by the registry, the shard that runs the stream, the media bug and the event thread. The stream's task owns
//! everything else. Nothing here is held across a wait.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc};

use super::action::CallAction;
use super::hand_over::HandOverInProgress;
use super::hold::Hold;
use super::meter::Meter;
use super::spec::StreamSpec;
use super::state::{StreamMode, StreamState};
use super::watch::{Counts, LOUD_DBFS, Vitals, Watch};
use crate::call::{Attached, Attachment, AttachmentId, ChannelSnapshot, Kind, Sink};
use crate::dsp::tone::ToneStep;
use crate::event::{Event, HoldCause, Trouble};
use crate::media::link::MediaLink;
use crate::peer::{AiShared, Change, Speaker};
use crate::telemetry::metrics::Series;
use crate::transport::OutboxStats;
use crate::units::StreamName;

/// Commands a stream's mailbox holds; more at once are refused to the operator, who can repeat them.
const MAILBOX: usize = 64;

/// What may be asked of a stream's task.
#[derive(Clone, PartialEq, Debug)]
pub enum StreamCommand {
    /// Send the text if there is one, close the connection with 1000, end.
    Stop {
        /// Last text message.
        text: Option<String>,
        /// What the final event gives as the reason.
        reason: &'static str,
    },
    /// Close the connection with 1000 and end, because a limit is reached.
    Expire {
        /// Its word, for the final event and the metrics.
        limit: &'static str,
    },
    /// One text message, unchanged.
    SendText(String),
    /// Drop queued playback; a conversation is interrupted.
    Clear,
    /// Mix tones into playback.
    Tones(Vec<ToneStep>),
    /// Tell the conversation's model something.
    Tell {
        /// In whose words.
        speaker: Speaker,
        /// The words.
        text: String,
        /// It is to answer.
        respond: bool,
    },
    /// Change options of the conversation, which were checked.
    Change(Vec<Change>),
    /// Send an event to the conversation's service, as it is.
    Raw(String),
    /// Have something said to the caller.
    Say(String),
    /// The answer to a function call of the conversation.
    ToolResult {
        /// Which call.
        call_id: String,
        /// Text for the model.
        output: String,
    },
}

/// A command for which the mailbox has no place.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum StreamCommandError {
    /// The task has ended or is ending.
    #[error("the stream has ended")]
    Ended,
    /// The task does not keep up.
    #[error("the stream has {MAILBOX} commands waiting; try again")]
    Busy,
}

/// Takes a stream's events, and the actions on its call, to the host's event threads.
pub trait EventSink: Sink<StreamHandle> {
    /// Queues something to be done to the stream's call. What cannot be done is logged. The outcome comes back as the answer to
    /// the conversation's function call `call_id`, unless that is empty.
    fn act(&self, stream: &Arc<StreamHandle>, action: CallAction, call_id: String);
}

/// Written by the stream's task, read by `health`, `list` and the summaries.
#[derive(Debug, Default)]
pub struct TaskCounters {
    /// Times the task has run: what it waits for may have changed, as the worker's tick sees by this.
    pub turns: AtomicU64,
    /// Messages of captured audio given to the socket.
    pub audio_messages: AtomicU64,
    /// Bytes of all messages given to the socket.
    pub bytes_sent: AtomicU64,
    /// Milliseconds of captured audio dropped because the server did not read.
    pub send_dropped_ms: AtomicU64,
    /// Times the connection was lost, or could not be made, and is to be made again.
    pub reconnects: AtomicU64,
    /// Messages received.
    pub received: AtomicU64,
    /// Malformed or refused messages received.
    pub faults: AtomicU64,
    /// Times the server sent faster than `max_messages_per_s` for a second.
    pub floods: AtomicU64,
    /// Times the server was slowed down because its audio had no room.
    pub slowed: AtomicU64,
    /// Bytes of audio waiting to be played, the media side's ring included.
    pub inject_bytes: AtomicU64,
    /// Bytes of audio that may wait.
    pub inject_capacity: AtomicU64,
    /// Times received audio did not fit.
    pub inject_overflows: AtomicU64,
}

impl TaskCounters {
    /// Takes over what has been given to the socket.
    pub(super) fn sent(&self, stats: &OutboxStats) {
        self.audio_messages.store(stats.audio_sent, Ordering::Relaxed);
        self.bytes_sent.store(stats.bytes_sent, Ordering::Relaxed);
    }
}

/// A running stream as the other threads see it.
pub struct StreamHandle {
    attachment: Attachment,
    /// What it was started with.
    pub spec: StreamSpec,
    /// What it shares with the media thread.
    pub media: Arc<MediaLink>,
    /// What its task has counted.
    pub counters: TaskCounters,
    /// From the call to the server.
    pub capture_meter: Meter,
    /// From the server to the call.
    pub playback_meter: Meter,
    /// What it and the streams like it count for the metrics.
    pub series: Arc<Series>,
    /// What its conversation shares, where it is one.
    pub ai: Mutex<AiShared>,
    /// Rung by the shard's tick, the mailbox and the media bug's end.
    pub doorbell: Notify,
    mailbox: mpsc::Sender<StreamCommand>,
    state: AtomicU8,
    clocked: AtomicBool,
    end_told: AtomicBool,
    ready: AtomicBool,
    /// Whether its call is on hold.
    pub hold: Hold,
    /// Its caller is being handed over.
    pub hand_over: HandOverInProgress,
    /// Held for a look, in which nothing waits; and by the task when it ends, so that the last event is the last.
    watch: Mutex<Watch>,
}

impl Deref for StreamHandle {
    type Target = Attachment;

    fn deref(&self) -> &Attachment {
        &self.attachment
    }
}

impl Attached for StreamHandle {
    fn leave(&self) {
        self.media.leave();
    }

    fn is_leaving(&self) -> bool {
        self.media.is_leaving()
    }

    fn coming_off(&self, begun: bool) {
        self.media.call().coming_off(begun);
    }

    fn panicked(&self) {
        self.media.panicked();
    }

    fn bug_closed(&self, channel: Option<Box<dyn ChannelSnapshot>>) {
        self.close(channel);
        self.doorbell.notify_one();
    }
}

impl Kind for StreamHandle {
    const WORD: &'static str = "stream";

    fn taken(name: &StreamName, holder: Option<&Self>) -> String {
        let holder =
            if holder.is_some() { "is already running on this call" } else { "is already about to start on this call" };
        format!("stream '{name}' {holder}; stop it first or start this one with name=<other>")
    }
}

impl StreamHandle {
    /// A stream about to start, and the mailbox's other end for its task.
    pub fn new(
        id: AttachmentId,
        spec: StreamSpec,
        media: Arc<MediaLink>,
        series: Arc<Series>,
    ) -> (Arc<Self>, mpsc::Receiver<StreamCommand>) {
        let (mailbox, commands) = mpsc::channel(MAILBOX);
        let started = Instant::now();
        let service = Duration::from_secs(spec.options.ai.stalled_s.into());
        let handle = Self {
            attachment: Attachment::new(id, spec.call.clone(), spec.name.clone(), started),
            spec,
            media,
            counters: TaskCounters::default(),
            capture_meter: Meter::new(started),
            playback_meter: Meter::new(started),
            series,
            ai: Mutex::default(),
            doorbell: Notify::new(),
            mailbox,
            state: AtomicU8::new(StreamState::Connecting as u8),
            clocked: AtomicBool::new(false),
            end_told: AtomicBool::new(false),
            ready: AtomicBool::new(false),
            hold: Hold::default(),
            hand_over: HandOverInProgress::default(),
            watch: Mutex::new(Watch::new(started, service)),
        };
        (Arc::new(handle), commands)
    }

    /// Leaves a command for the task. Never waits.
    pub fn command(&self, command: StreamCommand) -> Result<(), StreamCommandError> {
        match self.mailbox.try_send(command) {
            Ok(()) => Ok(()),
            Err(mpsc::error::TrySendError::Full(_)) => Err(StreamCommandError::Busy),
            Err(mpsc::error::TrySendError::Closed(_)) => Err(StreamCommandError::Ended),
        }
    }

    /// Where the stream stands.
    pub fn state(&self) -> StreamState {
        match StreamState::from_u8(self.state.load(Ordering::Acquire)) {
            StreamState::Streaming if self.media.is_paused() => StreamState::Paused,
            state => state,
        }
    }

    /// Whether its connection has ended without a reconnect, so that only the remaining playback is left.
    pub fn is_disconnected(&self) -> bool {
        matches!(self.state(), StreamState::Disconnected | StreamState::Error)
    }

    /// Only for the stream's task.
    pub fn set_state(&self, state: StreamState) {
        self.state.store(state as u8, Ordering::Release);
        if matches!(state, StreamState::Closing | StreamState::Disconnected | StreamState::Error) {
            self.watch.lock().end();
        }
    }

    /// How the stream is now; `worker`: the time since its worker's last tick.
    fn vitals(&self, worker: Duration, now: Instant) -> Vitals {
        let relaxed = Ordering::Relaxed;
        let (capture, playout, counters) = (&self.media.capture, &self.media.playout, &self.counters);
        let talk = (self.spec.options.mode == StreamMode::Ai).then(|| self.ai.lock().status.state);
        let withheld = self.media.not_sent().wrapping_add(playout.withheld_time().as_nanos() as u64);
        // A tone takes no sample out of the ring.
        let sounding = if playout.tones_waiting() > 0 { playout.frames() } else { 0 };
        Vitals {
            state: self.state(),
            talk,
            held: self.hold.is_on(),
            still: capture.last_frame_ago(now).unwrap_or_else(|| now.saturating_duration_since(self.started)),
            counts: Counts {
                captured: capture.frames(),
                dropped: capture.dropped_frames(),
                send_dropped_ms: counters.send_dropped_ms.load(relaxed),
                voiced: playout.voiced_frames(),
                starved: playout.starved_frames(),
                overflows: counters.inject_overflows.load(relaxed),
            },
            waits: playout.has_audio(),
            taken: playout.consumed().wrapping_add(withheld).wrapping_add(sounding),
            received: counters.received.load(relaxed),
            sent: counters.audio_messages.load(relaxed),
            loud: self.capture_meter.level_dbfs(now).is_some_and(|dbfs| dbfs > LOUD_DBFS),
            worker,
        }
    }

    /// Only for the thread that watches streams: looks at this one, whose worker ticked last so long ago, and reports what has
    /// changed.
    pub fn look_after(&self, worker: Duration, now: Instant, report: impl FnMut(Event)) {
        let vitals = self.vitals(worker, now);
        let mut watch = self.watch.lock();
        watch.look(now, &vitals).into_iter().for_each(report);
    }

    /// What is wrong with the stream. Any thread.
    pub(super) fn troubles(&self, now: Instant) -> Vec<Trouble> {
        let vitals = self.vitals(Duration::ZERO, now);
        self.watch.lock().troubles(now, &vitals)
    }

    /// Only for the event thread: whether the call is on hold.
    pub fn looked(&self, held: Option<HoldCause>, now: Instant) {
        if self.hold.answer(held, now) {
            if held.is_some() {
                self.media.playout.frames_stop();
            }
            self.doorbell.notify_one();
        }
    }

    /// Whether the caller is to be sent silence where nobody writes to the call: until the stream ends.
    pub fn sends_silence(&self) -> bool {
        self.spec.options.sends_silence() && !self.media.is_leaving() && !self.is_disconnected()
    }

    /// Whether the server has been there, as the option `ready` has it.
    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }

    /// Only for the stream's task.
    pub(super) fn set_ready(&self) {
        self.ready.store(true, Ordering::Release);
    }

    /// Whether the event of its end is still to be fired: true once. The task fires it, or supervises a task that failed; if the
    /// module ends before the task does, the module fires it.
    pub fn begin_end(&self) -> bool {
        !self.end_told.swap(true, Ordering::AcqRel)
    }

    /// Whether the playout clock writes this stream's frames.
    pub fn is_clocked(&self) -> bool {
        self.clocked.load(Ordering::Acquire)
    }

    /// Only for the playout clock.
    pub fn set_clocked(&self, clocked: bool) {
        if !clocked {
            self.media.playout.frames_stop();
        }
        self.clocked.store(clocked, Ordering::Release);
    }
}
