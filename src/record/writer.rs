//! One file being written: from both rings to the disk, and its end.
//!
//! On the writer's thread, which owns it. The file is a valid one at every moment: samples are written behind those that are there,
//! then the header tells of them, at least every [`REFRESH`]. What cannot be written ends the recording with an `error` event, and
//! the file keeps what it has.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::handle::RecordingHandle;
use super::timeline::{Direction, Timeline};
use super::{RecordRegistry, RecordingSink, wav};
use crate::call::Attached as _;
use crate::dsp::pcm::write_le_bytes;
use crate::event::{Error, Record};
use crate::media::TapReader;
use crate::transport::ErrorCode;
use crate::units::fault;

/// How old what the header tells may be. With what the timeline keeps back and the writer's round, a crash costs less than a second.
const REFRESH: Duration = Duration::from_millis(400);
/// Bytes that are written at once without waiting for that.
const LARGE: usize = 65_536;
/// Why a recording ends that nobody stopped.
const CALL_ENDED: &str = "the call ended";
const FILE_FULL: &str = "the file has reached the 4 GiB that a WAV file can have";

/// What a recording is written to.
pub trait Storage: Send {
    /// Writes all of `bytes` at `offset`.
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Cuts off what is behind `length`.
    fn cut(&mut self, length: u64) -> io::Result<()>;
}

impl Storage for std::fs::File {
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        std::os::unix::fs::FileExt::write_all_at(self, bytes, offset)
    }

    fn cut(&mut self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }
}

/// Whether a recording goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Progress {
    /// Look again in the next round.
    Running,
    /// The file is complete and its end has been reported.
    Over,
}

/// See the [module](self).
pub struct RecordingWriter {
    handle: Arc<RecordingHandle>,
    registry: Arc<RecordRegistry>,
    sink: Arc<RecordingSink>,
    taps: [TapReader; 2],
    timeline: Timeline,
    storage: Box<dyn Storage>,
    /// The frame being read; kept for its capacity.
    frame: Vec<i16>,
    /// Both channels, not written yet.
    samples: Vec<i16>,
    /// Kept for its capacity.
    bytes: Vec<u8>,
    /// Bytes of samples in the file.
    data: u64,
    most_data: u64,
    written_at: Instant,
}

impl RecordingWriter {
    /// A writer into `storage`, which has a header without samples.
    pub fn new(
        handle: Arc<RecordingHandle>,
        registry: Arc<RecordRegistry>,
        sink: Arc<RecordingSink>,
        taps: [TapReader; 2],
        storage: Box<dyn Storage>,
    ) -> Self {
        Self {
            timeline: Timeline::new(handle.rate),
            written_at: handle.started,
            handle,
            registry,
            sink,
            taps,
            storage,
            frame: Vec::new(),
            samples: Vec::new(),
            bytes: Vec::new(),
            data: 0,
            most_data: wav::MAX_DATA,
        }
    }

    /// The recording as others see it.
    pub const fn handle(&self) -> &Arc<RecordingHandle> {
        &self.handle
    }

    /// Takes what the rings hold at `now`, and writes when it is time; `last` says that there will be no other round.
    ///
    /// Waits for the disk.
    pub fn round(&mut self, now: Instant, last: bool) -> Progress {
        // Before the rings are read: a thread that sees the bug closed sees all it recorded.
        fault::point(self.handle.name(), "recorder");
        let closed_at = self.handle.closed_at();
        let since_start = now.saturating_duration_since(self.handle.started);
        self.collect();
        let over = closed_at.is_some() || last;
        if over {
            self.timeline.finish(closed_at.unwrap_or(since_start), &mut self.samples);
        } else {
            self.timeline.settle(since_start, &mut self.samples);
        }
        let room = (self.most_data - self.data) / 2;
        let full = self.samples.len() as u64 > room;
        if full {
            self.samples.truncate(usize::try_from(room).unwrap_or(usize::MAX));
        }
        let due = now.saturating_duration_since(self.written_at) >= REFRESH || self.samples.len() * 2 >= LARGE;
        if over || full || due {
            self.written_at = now;
            if let Err(error) = self.write() {
                return self.fail(&format!("recording to {} ended: {error}", self.handle.path.display()));
            }
        }
        self.publish();
        if self.handle.taps.iter().any(|tap| tap.has_panicked()) {
            return self.fail("recording ended: a callback or an event of it failed inside of the module");
        }
        if full {
            self.handle.end_because(FILE_FULL);
        }
        if over || full {
            let reason = self.handle.reason().unwrap_or(CALL_ENDED);
            tracing::info!(target: "LIFECYCLE", call = %self.handle.call(), op = "record_stop", outcome = "ok",
                stream = %self.handle.name(), file = %self.handle.path.display(), reason, bytes = self.data);
            return self.end(Record::Stopped { reason: reason.into(), status: self.handle.status() });
        }
        Progress::Running
    }

    /// Ends the recording after a round that panicked; the file keeps what its header tells of.
    pub fn abandon(&mut self) {
        self.fail("recording ended: it failed inside of the module");
    }

    fn collect(&mut self) {
        for (direction, tap) in [Direction::Caller, Direction::Heard].into_iter().zip(&mut self.taps) {
            loop {
                self.frame.clear();
                let Some(mark) = tap.next(|_, part| self.frame.extend_from_slice(part)) else { break };
                self.timeline.push(direction, &mark, &self.frame);
            }
        }
    }

    /// Appends the new samples to the file, then writes the header.
    fn write(&mut self) -> io::Result<()> {
        self.bytes.clear();
        write_le_bytes(&self.samples, &mut self.bytes);
        self.storage.write_at(&self.bytes, wav::HEADER + self.data)?;
        let data = self.data + self.bytes.len() as u64;
        self.storage.write_at(&wav::header(self.handle.rate, data), 0)?;
        self.data = data;
        for (channel, level) in self.handle.levels.iter().enumerate() {
            level.add(self.samples.iter().skip(channel).step_by(2).copied());
        }
        self.samples.clear();
        Ok(())
    }

    fn publish(&self) {
        self.handle.publish(self.data / wav::FRAME_BYTES, self.timeline.early());
    }

    /// Ends the recording, not the call.
    fn fail(&mut self, message: &str) -> Progress {
        tracing::error!(target: "LIFECYCLE", call = %self.handle.call(), op = "record", outcome = "failed",
            stream = %self.handle.name(), file = %self.handle.path.display(), reason = message);
        // If the header could not be written, the old one still describes what was there before; a partial write is not part of
        // it.
        if let Err(error) = self.storage.cut(wav::HEADER + self.data) {
            tracing::warn!(target: "LIFECYCLE", call = %self.handle.call(), op = "record", outcome = "not_cut", error = %error);
        }
        self.sink.emit(&self.handle, Error::new(ErrorCode::Io, message).into());
        self.end(Record::Failed { reason: message.into(), status: self.handle.status() })
    }

    fn end(&mut self, event: Record) -> Progress {
        self.handle.leave();
        if !self.handle.is_bug_closed() {
            self.sink.detach(&self.handle);
        }
        // Before the event, on which somebody may start the next recording of this name.
        self.registry.remove(&self.handle);
        self.handle.finish(String::new());
        self.sink.emit(&self.handle, event.into());
        Progress::Over
    }
}

#[cfg(test)]
mod tests;
