//! Snapshots of a stream and of the module, as numbers: what `health`, `global_health` and `list` are printed from.
//!
//! Taken by the API thread from atomics and the registry; plain copies, true for the moment they were taken. The JSON and the
//! judgement are `control::health`'s.

use crate::peer::AiStatus;
use crate::stream::spec::EndpointUrl;
use crate::units::{CallId, Mix, SampleRate, StreamName};

/// One stream at one moment.
#[derive(Clone, PartialEq, Debug)]
pub struct StreamStatus {
    /// Its call.
    pub call: CallId,
    /// Its name on the call.
    pub name: StreamName,
    /// What kind of stream it is.
    pub mode: StreamMode,
    /// Where it stands.
    pub state: StreamState,
    /// Since it was attached, ms.
    pub uptime_ms: u64,
    /// Where it connects to.
    pub endpoint: EndpointUrl,
    /// The wire protocol.
    pub protocol: &'static str,
    /// Which legs are captured.
    pub mix: Mix,
    /// Rate of captured audio on the wire.
    pub rate: SampleRate,
    /// From the call to the far end.
    pub capture: CaptureStatus,
    /// From the far end to the call.
    pub inject: InjectStatus,
    /// Time spent in the media thread's callbacks.
    pub callback: CallbackStatus,
    /// The recording of the stream's name on its call, if there is one.
    pub record: Option<RecordStatus>,
    /// The conversation, where it is one.
    pub ai: Option<AiStatus>,
}

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

/// What kind of stream it is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum StreamMode {
    /// Audio to and from a WebSocket server.
    Ws,
    /// A conversation with an AI.
    Ai,
}

impl StreamMode {
    /// The word in the JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ws => "ws",
            Self::Ai => "ai",
        }
    }
}

/// Where a stream stands.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum StreamState {
    /// Attached, not connected yet.
    Connecting = 0,
    /// Connected, captured audio flows.
    Streaming,
    /// Connected, captured audio is held back by `pause`.
    Paused,
    /// Told to end; sending what is left.
    Closing,
    /// The connection is gone.
    Disconnected,
    /// Ended by a fault.
    Error,
}

impl StreamState {
    /// The state of a number kept in an atomic; anything unknown is an error.
    pub(super) const fn from_u8(number: u8) -> Self {
        match number {
            0 => Self::Connecting,
            1 => Self::Streaming,
            2 => Self::Paused,
            3 => Self::Closing,
            4 => Self::Disconnected,
            _ => Self::Error,
        }
    }

    /// The word in the JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connecting => "CONNECTING",
            Self::Streaming => "STREAMING",
            Self::Paused => "PAUSED",
            Self::Closing => "CLOSING",
            Self::Disconnected => "DISCONNECTED",
            Self::Error => "ERROR",
        }
    }
}

/// The capture side of a stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CaptureStatus {
    /// Frames FreeSWITCH offered.
    pub frames: u64,
    /// Messages of audio handed to the socket.
    pub frames_sent: u64,
    /// Frames lost to a full ring.
    pub dropped_frames: u64,
    /// Since the last frame was offered, ms; `None`: there was none yet. Frames are offered while paused, too.
    pub last_frame_ms_ago: Option<u64>,
    /// Captured audio lost because the far end did not read, ms.
    pub send_dropped_ms: u64,
}

/// The playback side of a stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct InjectStatus {
    /// Playback waiting, bytes.
    pub buffer_inuse_bytes: u64,
    /// Bound of that, bytes.
    pub buffer_capacity_bytes: u64,
    /// Frames in which playback was heard or should have been.
    pub frames: u64,
    /// Of these, frames that playback could not fill.
    pub starved_frames: u64,
    /// Gaps within an utterance; several starved frames in a row are one.
    pub underruns: u64,
    /// How often audio was dropped because the queue was full.
    pub overflow_count: u64,
    /// Playback the caller was given, ms.
    pub played_ms: u64,
}

/// Time spent in the media thread's callbacks, ns.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CallbackStatus {
    /// Half of the calls took at most this.
    pub p50_ns: u64,
    /// All but one in a hundred took at most this.
    pub p99_ns: u64,
    /// The longest.
    pub max_ns: u64,
}

/// The module at one moment, apart from its live streams.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ModuleStatus {
    /// Streams ever attached.
    pub sessions_created: u64,
    /// Streams ever gone.
    pub sessions_destroyed: u64,
    /// Since the module was loaded, s.
    pub uptime_s: u64,
}

/// Where this build comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BuildInfo {
    /// Version of the module.
    pub version: &'static str,
    /// Commit of the source.
    pub commit: &'static str,
    /// When it was built.
    pub date: &'static str,
    /// `debug` or `release`.
    pub profile: &'static str,
    /// The compiler.
    pub rustc: &'static str,
    /// The module interface version of FreeSWITCH it was built for, and whose declarations.
    pub freeswitch_abi: &'static str,
}
