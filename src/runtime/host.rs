//! What the module asks of the switch that loaded it. Implemented by `ffi`, and by the tests of this layer.

use std::time::Duration;

use crate::call::{ChannelSnapshot, MediaBug};
use crate::control::ConfigDoc;
use crate::control::variables::Variables;
use crate::event::{FsEvent, HoldCause};
use crate::media::TapWriter;
use crate::media::link::{ReadHalf, WriteHalf};
use crate::record::RecordingHandle;
use crate::stream::action::{CallAction, Rest};
use crate::stream::handle::StreamHandle;
use crate::tts::Programs;
use crate::units::{CallId, SampleRate, StreamName};
use std::sync::Arc;

/// The most [`SilenceWriter`]s there are at once: as many calls may block without delaying the others.
pub const SILENCE_WRITERS: usize = 16;

/// The switch.
pub trait Host: Send + Sync {
    /// The call of that uuid; `None` when there is none.
    fn locate(&self, id: &CallId) -> Option<Box<dyn Call + '_>>;

    /// Called first on every other thread of the module, with the thread's name: gives it ordinary priority.
    fn thread_started(&self, name: &str);

    /// The same on a thread that holds locks of calls while it runs: it keeps the priority of the switch's own media threads,
    /// which may have to wait for it.
    fn media_thread_started(&self, name: &str);

    /// Fires an event with the data of its call's channel, or of `snapshot` where the channel is gone. Event thread only.
    fn fire(&self, event: &FsEvent, snapshot: Option<&dyn ChannelSnapshot>);

    /// Does something to a call for one of its streams, up to its first pause: what is left then is the caller's to do later. In
    /// words why it could not. May wait for the session's locks: threads for calls only.
    fn act(&self, call: &CallId, stream: &StreamName, action: &CallAction) -> Result<Option<Rest>, String>;

    /// Why the call is on hold or without media, if it is; a call that is gone is not. May wait for the session's locks: event
    /// thread only.
    fn hold(&self, call: &CallId) -> Option<HoldCause>;

    /// What starts programs, for the speech synthesis.
    fn programs(&self) -> Arc<dyn Programs>;

    /// Writes silence to channels; called once on each thread of the playout clock, at most [`SILENCE_WRITERS`].
    fn silence_writer(&self) -> Box<dyn SilenceWriter>;
}

/// Writes frames of silence for the playout clock.
pub trait SilenceWriter {
    /// Writes one frame to the call's channel, which passes through its media bugs. May wait for the session's locks.
    fn write(&mut self, call: &CallId, purpose: Purpose) -> Written;
}

/// What a frame of silence is written for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purpose {
    /// Playback waits for a frame.
    Playback,
    /// The packets alone: not to a call that is bridged or in a conference, where others write whenever they have something.
    Packets,
}

/// What became of a frame of silence.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Written {
    /// Written; the next one is due after this.
    Frame(Duration),
    /// The call takes no audio at the moment.
    NotNow,
    /// There is no such call.
    Gone,
}

/// One direction of a call's audio.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CallAudio {
    /// Samples a second of each channel.
    pub rate: SampleRate,
    /// Length of a frame; 0 where the switch reports none.
    pub ptime_ms: u32,
    /// Interleaved channels.
    pub channels: u32,
}

/// Why a call's audio cannot be had. The text completes `-ERR `.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NoAudio {
    /// It is not answered and has no early media, or its codec is not settled: that may come.
    #[error("the call has no audio yet; answer or pre_answer it first")]
    NotYet,
    /// It is over.
    #[error("the call is hanging up")]
    Ending,
    /// As the call is, it cannot be had at all.
    #[error("{0}")]
    Never(&'static str),
}

/// A call as an API or dialplan thread sees it; it exists for as long as this does.
pub trait Call: Variables {
    /// Its uuid.
    fn id(&self) -> CallId;

    /// Audio from the caller and to the caller, or why there is none.
    fn audio(&self) -> Result<(CallAudio, CallAudio), NoAudio>;

    /// Sets the channel variables that show the dialplan how its stream stands. An empty `error` sets none.
    fn report(&self, status: &str, error: &str);

    /// Sets another channel variable. A value that FreeSWITCH could expand later is refused by it.
    fn note(&self, name: &str, value: &str);

    /// The status they show.
    fn reported(&self) -> Option<String>;

    /// Withholds the caller from every stream and recording of the call and of the leg it is bridged with, present and future, or no
    /// longer; whether that is a change. An error says why not.
    fn mask(&self, on: bool) -> Result<bool, &'static str>;

    /// Whether the caller is masked.
    fn is_masked(&self) -> bool;

    /// Puts the stream's media bug on the call. An error says why not; then nothing was attached.
    fn attach(&self, stream: &Arc<StreamHandle>, read: ReadHalf, write: WriteHalf)
    -> Result<Box<dyn MediaBug>, String>;

    /// Puts the recording's media bug on the call, behind those of the streams there are and will be. An error says why not; then
    /// nothing was attached.
    fn attach_recorder(
        &self,
        recording: &Arc<RecordingHandle>,
        caller: TapWriter,
        heard: TapWriter,
    ) -> Result<Box<dyn MediaBug>, String>;
}

/// Finds what commands are about.
pub trait Calls {
    /// The call of that uuid.
    fn locate(&self, id: &CallId) -> Option<Box<dyn Call + '_>>;

    /// Reads a configuration file from the disk, without one the file that the switch reads at `reloadxml`; its path, and what is
    /// in it. In words why it cannot be read. Waits for the disk.
    fn configuration_file(&self, file: Option<&str>) -> Result<(String, ConfigDoc), String>;
}
