//! A recording as the threads outside of the writer see it.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::levels::Level;
use crate::event::{Event, RecordStatus};
use crate::media::TapShared;
use crate::stream::handle::{Attachment, Departed};
use crate::units::{CallId, SampleRate, StreamName};

/// Told apart from every other recording since the module was loaded.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RecordingId(pub u64);

/// Takes a recording's events to the host's event thread.
pub trait RecordingSink: Send + Sync {
    /// Queues `event`; never waits.
    fn emit(&self, recording: &Arc<RecordingHandle>, event: Event);

    /// Queues taking the recording's bug off its call, for the thread that may wait for FreeSWITCH's locks.
    fn detach(&self, recording: &Arc<RecordingHandle>);
}

/// A recording that runs.
pub struct RecordingHandle {
    /// Its number.
    pub id: RecordingId,
    /// The call.
    pub call: CallId,
    /// Its name on the call; streams have names of their own.
    pub name: StreamName,
    /// The file.
    pub path: PathBuf,
    /// The file's rate.
    pub rate: SampleRate,
    /// When it began; times of frames count from here.
    pub started: Instant,
    /// What the callbacks have done: caller, heard.
    pub taps: [Arc<TapShared>; 2],
    /// What has been written: caller, heard.
    pub levels: [Level; 2],
    /// Instants in the file.
    written: AtomicU64,
    /// Frames that came too early to be written.
    early: AtomicU64,
    reason: OnceLock<&'static str>,
    bug_closed: AtomicBool,
    /// ns after `started`.
    closed_at: AtomicU64,
    attachment: OnceLock<Box<dyn Attachment>>,
    departed: OnceLock<Box<dyn Departed>>,
    finished: Mutex<bool>,
    finished_signal: Condvar,
}

impl RecordingHandle {
    /// A recording about to start.
    pub fn new(
        id: RecordingId,
        (call, name): (CallId, StreamName),
        path: PathBuf,
        rate: SampleRate,
        started: Instant,
        taps: [Arc<TapShared>; 2],
    ) -> Arc<Self> {
        Arc::new(Self {
            id,
            call,
            name,
            path,
            rate,
            started,
            taps,
            levels: Default::default(),
            written: AtomicU64::new(0),
            early: AtomicU64::new(0),
            reason: OnceLock::new(),
            bug_closed: AtomicBool::new(false),
            closed_at: AtomicU64::new(0),
            attachment: OnceLock::new(),
            departed: OnceLock::new(),
            finished: Mutex::new(false),
            finished_signal: Condvar::new(),
        })
    }

    /// How it stands now.
    pub fn status(&self) -> RecordStatus {
        RecordStatus {
            file: self.path.to_string_lossy().into_owned(),
            rate: self.rate,
            duration_ms: self.rate.duration_of(self.written.load(Ordering::Relaxed)).as_millis() as u64,
            dropped_frames: self.taps.iter().map(|tap| tap.dropped_frames()).sum::<u64>()
                + self.early.load(Ordering::Relaxed),
            caller: self.levels[0].read(),
            heard: self.levels[1].read(),
        }
    }

    /// Only for the writer's thread.
    pub(super) fn publish(&self, written: u64, early: u64) {
        self.written.store(written, Ordering::Relaxed);
        self.early.store(early, Ordering::Relaxed);
    }

    /// Why it ends, for the final event; the first who says so counts.
    pub fn end_because(&self, reason: &'static str) {
        // The first one was it.
        let _ = self.reason.set(reason);
    }

    /// What was said to [`end_because`](Self::end_because).
    pub fn reason(&self) -> Option<&'static str> {
        self.reason.get().copied()
    }

    /// Has the callbacks do nothing from now on. Any thread.
    pub fn leave(&self) {
        self.taps.iter().for_each(|tap| tap.leave());
    }

    /// Remembers the bug. Once, by whoever attached it.
    pub fn attached(&self, attachment: Box<dyn Attachment>) {
        // A second attachment would be a second bug for one recording, which nothing makes.
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
        let at = u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.closed_at.store(at, Ordering::Relaxed);
        self.bug_closed.store(true, Ordering::Release);
    }

    /// Whether the bug has been closed: nothing more will be recorded.
    pub fn is_bug_closed(&self) -> bool {
        self.bug_closed.load(Ordering::Acquire)
    }

    /// How long after the start the bug was closed.
    pub fn closed_at(&self) -> Option<Duration> {
        self.is_bug_closed().then(|| Duration::from_nanos(self.closed_at.load(Ordering::Relaxed)))
    }

    /// What the host remembers of the channel, once the bug has been closed.
    pub fn departed(&self) -> Option<&dyn Departed> {
        self.departed.get().map(Box::as_ref)
    }

    /// The writer's last act: the file is whole.
    pub(super) fn finish(&self) {
        *self.finished.lock() = true;
        self.finished_signal.notify_all();
    }

    /// Waits until the file is whole or `timeout` is over; whether it is. API and dialplan threads only.
    pub fn wait_finished(&self, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        let mut finished = self.finished.lock();
        while !*finished {
            if self.finished_signal.wait_until(&mut finished, deadline).timed_out() {
                break;
            }
        }
        *finished
    }
}
