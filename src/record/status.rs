//! A recording's state and what happens to it, as plain data: `health` and the events are made from it.

use crate::transport::ErrorCode;
use crate::units::SampleRate;

/// A recording at one moment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RecordStatus {
    /// The file.
    pub file: String,
    /// The file's rate.
    pub rate: SampleRate,
    /// What is in the file, ms.
    pub duration_ms: u64,
    /// Frames that are not, because the disk was too slow for them or they came far too early.
    pub dropped_frames: u64,
    /// The left channel, as far as it is in the file.
    pub caller: ChannelLevel,
    /// The right channel.
    pub heard: ChannelLevel,
}

/// How loud a channel of a recording is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ChannelLevel {
    /// Greatest absolute sample, 0 to 32 768.
    pub peak: u16,
    /// Mean of the squares of the samples, rounded down: the square of the RMS.
    pub mean_square: u64,
}

impl ChannelLevel {
    /// The peak in dB of full scale; `None` for silence.
    pub fn peak_dbfs(self) -> Option<f64> {
        (self.peak > 0).then(|| 20.0 * (f64::from(self.peak) / 32_768.0).log10())
    }

    /// The RMS in dB of full scale (a square wave of full scale has 0, a sine -3); `None` for silence.
    pub fn rms_dbfs(self) -> Option<f64> {
        (self.mean_square > 0).then(|| 10.0 * (self.mean_square as f64 / f64::from(1_u32 << 30)).log10())
    }
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
    /// Something failed; `Failed` follows.
    Error {
        /// What failed.
        code: ErrorCode,
        /// In words an operator can act on.
        message: String,
    },
}

impl RecordEvent {
    /// Whether it tells of the end, so that it must reach its readers even when the call is gone.
    pub const fn is_final(&self) -> bool {
        !matches!(self, Self::Started { .. })
    }
}
