//! A running stream as the other threads see it: its mailbox, its doorbell, its counters, and how to take it off the call.
//!
//! Shared by the registry, the shard that runs the stream, the media bug and the event thread. The stream's task owns
//! everything else. Nothing here is held across a wait.

use std::any::Any;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use tokio::sync::{Notify, mpsc};

use super::action::CallAction;
use super::event::StreamEvent;
use super::spec::StreamSpec;
use super::status::{CallbackStatus, CaptureStatus, InjectStatus, StreamMode, StreamState, StreamStatus};
use crate::dsp::tone::ToneStep;
use crate::media::link::MediaLink;
use crate::peer::AiShared;
use crate::transport::OutboxStats;
use crate::units::{CallId, StreamName};

/// Commands a stream's mailbox holds; more at once are refused to the operator, who can repeat them.
const MAILBOX: usize = 64;

/// Number of a stream since the module was loaded; never given twice.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct StreamId(pub u64);

/// What may be asked of a stream's task.
#[derive(Clone, PartialEq, Debug)]
pub enum Order {
    /// Send the text if there is one, close the connection with 1000, end.
    Stop {
        /// Last text message.
        text: Option<String>,
        /// What the final event gives as the reason.
        reason: &'static str,
    },
    /// One text message, as it is.
    SendText(String),
    /// Drop queued playback; a conversation is interrupted.
    Clear,
    /// Mix tones into playback.
    Tones(Vec<ToneStep>),
    /// Have the conversation's agent say something.
    Say(String),
    /// The answer to a function call of the conversation.
    ToolResult {
        /// Which call.
        call_id: String,
        /// What the model is told.
        output: String,
    },
}

/// An order that could not be left in the mailbox.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum OrderError {
    /// The task has ended or is ending.
    #[error("the stream has ended")]
    Ended,
    /// The task does not keep up.
    #[error("the stream has {MAILBOX} orders waiting, try again")]
    Busy,
}

/// The media bug of a stream. Implemented by the host.
pub trait Attachment: Send + Sync {
    /// Takes the bug off the call. Idempotent. May wait for the session's locks: never on a worker or the media thread.
    fn detach(&self);
}

/// What the host remembers of a channel for events fired after it is gone.
pub trait Departed: Any + Send + Sync {
    /// For the host to recognise its own.
    fn as_any(&self) -> &dyn Any;
}

/// Takes a stream's events to the host's event thread.
pub trait EventSink: Send + Sync {
    /// Queues `event`; never waits. What does not fit is counted and logged by the implementation.
    fn emit(&self, stream: &Arc<StreamHandle>, event: StreamEvent);

    /// Queues something to be done to the stream's call. What cannot be done is logged. How it went comes back as the answer to
    /// the conversation's function call `call_id`, unless that is empty.
    fn act(&self, stream: &Arc<StreamHandle>, action: CallAction, call_id: String);

    /// Queues taking the stream's bug off its call, for the thread that may wait for FreeSWITCH's locks.
    fn detach(&self, stream: &Arc<StreamHandle>);
}

/// Written by the stream's task, read by `health`, `list` and the summaries.
#[derive(Debug, Default)]
pub struct TaskCounters {
    /// Messages of captured audio given to the socket.
    pub audio_messages: AtomicU64,
    /// Bytes of all messages given to the socket.
    pub bytes_sent: AtomicU64,
    /// Milliseconds of captured audio dropped because the far end did not read.
    pub send_dropped_ms: AtomicU64,
    /// Messages received.
    pub received: AtomicU64,
    /// Malformed or refused messages received.
    pub faults: AtomicU64,
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
    /// Its number.
    pub id: StreamId,
    /// What it was started with.
    pub spec: StreamSpec,
    /// When it was started.
    pub started: Instant,
    /// What it shares with the media thread.
    pub media: Arc<MediaLink>,
    /// What its task has counted.
    pub counters: TaskCounters,
    /// What its conversation shares, where it is one.
    pub ai: Mutex<AiShared>,
    /// Rung by the shard's tick, the mailbox and the media bug's end.
    pub doorbell: Notify,
    mailbox: mpsc::Sender<Order>,
    state: AtomicU8,
    bug_closed: AtomicBool,
    clocked: AtomicBool,
    attachment: OnceLock<Box<dyn Attachment>>,
    departed: OnceLock<Box<dyn Departed>>,
    ended: Mutex<Option<String>>,
    ended_signal: Condvar,
}

impl StreamHandle {
    /// A stream about to start, and the mailbox's other end for its task.
    pub fn new(id: StreamId, spec: StreamSpec, media: Arc<MediaLink>) -> (Arc<Self>, mpsc::Receiver<Order>) {
        let (mailbox, orders) = mpsc::channel(MAILBOX);
        let handle = Self {
            id,
            spec,
            started: Instant::now(),
            media,
            counters: TaskCounters::default(),
            ai: Mutex::default(),
            doorbell: Notify::new(),
            mailbox,
            state: AtomicU8::new(StreamState::Connecting as u8),
            bug_closed: AtomicBool::new(false),
            clocked: AtomicBool::new(false),
            attachment: OnceLock::new(),
            departed: OnceLock::new(),
            ended: Mutex::new(None),
            ended_signal: Condvar::new(),
        };
        (Arc::new(handle), orders)
    }

    /// How the stream stands now; of a recording it does not know.
    pub fn status(&self) -> StreamStatus {
        let Self { spec, media, counters, .. } = self;
        let latency = media.latency.snapshot();
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let ring_bytes = media.playout.level() as u64 * 2;
        StreamStatus {
            call: spec.call.clone(),
            name: spec.name.clone(),
            mode: spec.options.mode,
            state: self.state(),
            uptime_ms: self.started.elapsed().as_millis() as u64,
            endpoint: spec.endpoint.clone(),
            protocol: spec.options.protocol,
            mix: spec.options.mix,
            rate: spec.options.rate,
            capture: CaptureStatus {
                frames: media.capture.frames() + media.capture.dropped_frames(),
                frames_sent: read(&counters.audio_messages),
                dropped_frames: media.capture.dropped_frames(),
                last_frame_ms_ago: media.capture.last_frame_ago().map(|ago| ago.as_millis() as u64),
                send_dropped_ms: read(&counters.send_dropped_ms),
            },
            inject: InjectStatus {
                buffer_inuse_bytes: read(&counters.inject_bytes) + ring_bytes,
                buffer_capacity_bytes: read(&counters.inject_capacity),
                frames: media.playout.voiced_frames() + media.playout.starved_frames(),
                starved_frames: media.playout.starved_frames(),
                underruns: media.playout.underruns(),
                overflow_count: read(&counters.inject_overflows),
                played_ms: media.playout.played_time().as_millis() as u64,
            },
            callback: CallbackStatus {
                p50_ns: latency.p50().as_nanos() as u64,
                p99_ns: latency.p99().as_nanos() as u64,
                max_ns: latency.max().as_nanos() as u64,
            },
            ai: (spec.options.mode == StreamMode::Ai).then(|| self.ai.lock().status),
            record: None,
        }
    }

    /// The call.
    pub fn call(&self) -> &CallId {
        &self.spec.call
    }

    /// The stream's name on its call.
    pub fn name(&self) -> &StreamName {
        &self.spec.name
    }

    /// Leaves an order for the task. Never waits.
    pub fn order(&self, order: Order) -> Result<(), OrderError> {
        match self.mailbox.try_send(order) {
            Ok(()) => Ok(()),
            Err(mpsc::error::TrySendError::Full(_)) => Err(OrderError::Busy),
            Err(mpsc::error::TrySendError::Closed(_)) => Err(OrderError::Ended),
        }
    }

    /// Where the stream stands.
    pub fn state(&self) -> StreamState {
        match StreamState::from_u8(self.state.load(Ordering::Acquire)) {
            StreamState::Streaming if self.media.is_paused() => StreamState::Paused,
            state => state,
        }
    }

    /// Whether its connection is gone for good, and with it all but the playback that is left.
    pub fn is_disconnected(&self) -> bool {
        matches!(self.state(), StreamState::Disconnected | StreamState::Error)
    }

    /// Only for the stream's task.
    pub fn set_state(&self, state: StreamState) {
        self.state.store(state as u8, Ordering::Release);
    }

    /// Remembers the bug. Once, by whoever attached it.
    pub fn attached(&self, attachment: Box<dyn Attachment>) {
        // A second attachment would be a second bug for one stream, which nothing makes.
        let _ = self.attachment.set(attachment);
    }

    /// Takes the bug off the call; see [`Attachment::detach`].
    pub fn detach(&self) {
        if let Some(attachment) = self.attachment.get() {
            attachment.detach();
        }
    }

    /// The bug's CLOSE: no callback of it runs any more. `departed` is what later events are to say of the channel.
    pub fn bug_closed(&self, departed: Option<Box<dyn Departed>>) {
        if let Some(departed) = departed {
            // CLOSE comes once.
            let _ = self.departed.set(departed);
        }
        self.bug_closed.store(true, Ordering::Release);
        self.doorbell.notify_one();
    }

    /// Whether the bug has been closed: nothing more will be captured or played.
    pub fn is_bug_closed(&self) -> bool {
        self.bug_closed.load(Ordering::Acquire)
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

    /// What the host remembers of the channel, once the bug has been closed.
    pub fn departed(&self) -> Option<&dyn Departed> {
        self.departed.get().map(Box::as_ref)
    }

    /// The task's last act: `error` is empty when the stream ended as it should.
    pub fn finish(&self, error: String) {
        *self.ended.lock() = Some(error);
        self.ended_signal.notify_all();
    }

    /// Whether the task has ended.
    pub fn is_finished(&self) -> bool {
        self.ended.lock().is_some()
    }

    /// The error the stream ended with, empty for none; `None` while it runs.
    pub fn outcome(&self) -> Option<String> {
        self.ended.lock().clone()
    }

    /// Waits until the task has ended or `timeout` is over; whether it has. API and dialplan threads only.
    pub fn wait_finished(&self, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        let mut ended = self.ended.lock();
        while ended.is_none() {
            if self.ended_signal.wait_until(&mut ended, deadline).timed_out() {
                return ended.is_some();
            }
        }
        true
    }
}
