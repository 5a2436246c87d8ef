//! A recording as the threads outside of the writer see it. What it shares with other attachments to a call is [`Attachment`]'s.

use std::ops::Deref;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use super::levels::Level;
use crate::call::{Attached, Attachment, AttachmentId, Kind};
use crate::event::RecordStatus;
use crate::media::TapShared;
use crate::units::{CallId, SampleRate, StreamName};

/// A recording that runs.
pub struct RecordingHandle {
    attachment: Attachment,
    /// The file.
    pub path: PathBuf,
    /// The file's rate.
    pub rate: SampleRate,
    /// What the callbacks have done: caller, heard.
    pub taps: [Arc<TapShared>; 2],
    /// What has been written: caller, heard.
    pub levels: [Level; 2],
    /// Instants in the file.
    written: AtomicU64,
    /// Frames that came too early to be written.
    early: AtomicU64,
    reason: OnceLock<&'static str>,
}

impl Deref for RecordingHandle {
    type Target = Attachment;

    fn deref(&self) -> &Attachment {
        &self.attachment
    }
}

impl Attached for RecordingHandle {
    fn leave(&self) {
        self.taps.iter().for_each(|tap| tap.leave());
    }

    fn is_leaving(&self) -> bool {
        self.taps.iter().any(|tap| tap.is_leaving())
    }

    fn panicked(&self) {
        self.taps.iter().for_each(|tap| tap.panicked());
    }
}

impl Kind for RecordingHandle {
    const WORD: &'static str = "recording";

    fn taken(name: &StreamName, holder: Option<&Self>) -> String {
        match holder {
            Some(holder) => {
                let file = holder.path.display();
                format!(
                    "recording '{name}' of this call is running already ({file}); stop it first or give this one name=<other>"
                )
            }
            None => format!(
                "recording '{name}' of this call is already about to start; stop it first or give this one name=<other>"
            ),
        }
    }
}

impl RecordingHandle {
    /// A recording about to start. The times of its frames count from `started`.
    pub fn new(
        id: AttachmentId,
        (call, name): (CallId, StreamName),
        path: PathBuf,
        rate: SampleRate,
        started: Instant,
        taps: [Arc<TapShared>; 2],
    ) -> Arc<Self> {
        Arc::new(Self {
            attachment: Attachment::new(id, call, name, started),
            path,
            rate,
            taps,
            levels: Default::default(),
            written: AtomicU64::new(0),
            early: AtomicU64::new(0),
            reason: OnceLock::new(),
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
}
