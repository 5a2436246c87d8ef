//! The event of recordings, and the state of a recording as the event and `health` give it.

use serde::ser::{Serialize, SerializeStruct, Serializer};

use super::{Headers, MAX_REASON, OperatorEvent, Text};
use crate::units::{SampleRate, two_decimals};

/// A recording at one moment.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize)]
pub struct RecordStatus {
    /// Path of the file.
    pub file: String,
    /// Sampling rate of the file.
    pub rate: SampleRate,
    /// Length of the audio in the file, ms.
    pub duration_ms: u64,
    /// Frames that are missing because the disk was too slow or they came far too early.
    pub dropped_frames: u64,
    /// Left channel: the caller.
    pub caller: ChannelLevel,
    /// Right channel: what the caller heard.
    pub heard: ChannelLevel,
}

/// Level of one channel of a recording. Serialised in dB of full scale.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ChannelLevel {
    /// Greatest absolute sample, 0 to 32 768.
    pub peak: u16,
    /// Mean of the squares of the samples, rounded down: the square of the RMS.
    pub mean_square: u64,
}

impl ChannelLevel {
    /// Peak in dB of full scale with two decimals. `None`: silence.
    fn peak_dbfs(self) -> Option<f64> {
        (self.peak > 0).then(|| two_decimals(20.0 * (f64::from(self.peak) / 32_768.0).log10()))
    }

    /// RMS in dB of full scale with two decimals: 0 for a square wave of full scale, -3 for a sine. `None`: silence.
    fn rms_dbfs(self) -> Option<f64> {
        (self.mean_square > 0).then(|| two_decimals(10.0 * (self.mean_square as f64 / f64::from(1_u32 << 30)).log10()))
    }
}

impl Serialize for ChannelLevel {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut level = serializer.serialize_struct("ChannelLevel", 2)?;
        level.serialize_field("peak_dbfs", &self.peak_dbfs())?;
        level.serialize_field("rms_dbfs", &self.rms_dbfs())?;
        level.end()
    }
}

/// A recording started or ended.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize)]
#[serde(untagged)]
pub enum Record {
    /// It started.
    Started {
        /// Path of the file.
        file: String,
        /// Sampling rate of the file.
        rate: SampleRate,
    },
    /// It ended and the file is complete.
    Stopped {
        /// Who or what ended it.
        reason: Text<MAX_REASON>,
        /// The finished recording.
        #[serde(flatten)]
        status: RecordStatus,
    },
    /// It could not go on. The file keeps what was written.
    Failed {
        /// What went wrong.
        reason: Text<MAX_REASON>,
        /// What was recorded.
        #[serde(flatten)]
        status: RecordStatus,
    },
}

impl OperatorEvent for Record {
    const SUBCLASS: &'static str = "mod_audio_stream::record";
    const DOC: &'static str = "A recording started (`started`), ended (`stopped`), or could not go on (`failed`, after an `error` \
        event). The name is that of the recording. Levels are in dB of full scale; `null` is silence. Fired even when the call is \
        gone.";

    fn example() -> Self {
        let status = RecordStatus {
            file: "/var/lib/freeswitch/recordings/a.wav".into(),
            rate: SampleRate::HZ_8000,
            duration_ms: 61_500,
            dropped_frames: 0,
            caller: ChannelLevel { peak: 16_423, mean_square: 1_073_741 },
            heard: ChannelLevel { peak: 8_231, mean_square: 536_870 },
        };
        Self::Stopped { reason: "stopped".into(), status }
    }

    fn status(&self) -> &'static str {
        match self {
            Self::Started { .. } => "started",
            Self::Stopped { .. } => "stopped",
            Self::Failed { .. } => "failed",
        }
    }

    fn headers(&self, headers: &mut Headers) {
        match self {
            Self::Started { file, rate } => {
                headers.add("Audio-Stream-File", file).add("Audio-Stream-Rate", rate);
            }
            Self::Stopped { reason, status } | Self::Failed { reason, status } => {
                let db = |level: Option<f64>| level.map(|db| db.to_string()).unwrap_or_default();
                headers
                    .add("Audio-Stream-File", &status.file)
                    .add("Audio-Stream-Reason", reason)
                    .add("Audio-Stream-Rate", status.rate)
                    .add("Audio-Stream-Duration-Ms", status.duration_ms)
                    .add("Audio-Stream-Dropped-Frames", status.dropped_frames)
                    .add("Audio-Stream-Caller-Peak-Dbfs", db(status.caller.peak_dbfs()))
                    .add("Audio-Stream-Caller-Rms-Dbfs", db(status.caller.rms_dbfs()))
                    .add("Audio-Stream-Heard-Peak-Dbfs", db(status.heard.peak_dbfs()))
                    .add("Audio-Stream-Heard-Rms-Dbfs", db(status.heard.rms_dbfs()));
            }
        }
    }

    fn is_final(&self) -> bool {
        !matches!(self, Self::Started { .. })
    }
}
