//! A call as the runtime needs it: its variables, its audio, a place for a media bug.
//!
//! On API and dialplan threads.

use std::ffi::CStr;
use std::sync::Arc;

use super::bindings::{Host, switch_channel_flag_t, switch_channel_state_t};
use super::in_use::{InUse, InterfaceLock};
use super::log::c_string;
use super::session::{Codec, Session};
use super::{mask, recorder, stream, xml};
use crate::call::MediaBug;
use crate::control::ConfigDoc;
use crate::control::variables::Variables;
use crate::media::TapWriter;
use crate::media::link::{ReadHalf, WriteHalf};
use crate::record::RecordingHandle;
use crate::runtime::host::{Call, CallAudio, Calls, NoAudio};
use crate::stream::handle::StreamHandle;
use crate::units::CallId;

/// The channel variables that show the dialplan how its stream stands.
pub(super) const STATUS: &CStr = c"audio_stream_status";
pub(super) const ERROR: &CStr = c"audio_stream_error";

/// The calls of the FreeSWITCH that loaded the module.
pub(super) struct FreeSwitchCalls {
    pub(super) host: &'static Host,
    pub(super) interface: Arc<InterfaceLock>,
}

impl Calls for FreeSwitchCalls {
    fn locate(&self, id: &CallId) -> Option<Box<dyn Call + '_>> {
        let session = Session::locate(self.host, id.as_str())?;
        Some(Box::new(SessionCall { session, interface: &self.interface }))
    }

    fn configuration_file(&self, file: Option<&str>) -> Result<(String, ConfigDoc), String> {
        xml::file(self.host, file)
    }
}

/// One call, for as long as its session is held.
pub(super) struct SessionCall<'a> {
    pub(super) session: Session<'a>,
    pub(super) interface: &'a Arc<InterfaceLock>,
}

impl Variables for SessionCall<'_> {
    fn get(&self, name: &str) -> Option<String> {
        self.session.variable(name)
    }
}

impl Call for SessionCall<'_> {
    fn id(&self) -> CallId {
        CallId::new(&self.session.uuid())
    }

    fn audio(&self) -> Result<(CallAudio, CallAudio), NoAudio> {
        let session = &self.session;
        if session.state().0 >= switch_channel_state_t::CS_HANGUP.0 {
            return Err(NoAudio::Ending);
        }
        if session.has_flag(switch_channel_flag_t::CF_PROXY_MODE) {
            return Err(NoAudio::Never(
                "the call's media does not pass through FreeSWITCH (bypass_media); run uuid_media first",
            ));
        }
        if session.has_flag(switch_channel_flag_t::CF_PROXY_MEDIA) {
            return Err(NoAudio::Never(
                "the call's media passes through undecoded (proxy_media); it cannot be streamed",
            ));
        }
        if session.passes_audio_through() {
            return Err(NoAudio::Never(
                "this FreeSWITCH passes the call's codec through undecoded; it cannot be streamed",
            ));
        }
        // Otherwise FreeSWITCH would answer the call with early media to put a media bug on it.
        if !session.has_media() {
            return Err(NoAudio::NotYet);
        }
        match (session.read_codec(), session.write_codec()) {
            (Some(read), Some(write)) => Ok((audio(read), audio(write))),
            _ => Err(NoAudio::NotYet),
        }
    }

    fn report(&self, status: &str, error: &str) {
        self.session.set_variable(STATUS, Some(status));
        if !error.is_empty() {
            self.session.set_variable(ERROR, Some(error));
        }
    }

    fn note(&self, name: &str, value: &str) {
        self.session.set_variable(&c_string(name), Some(value));
    }

    fn reported(&self) -> Option<String> {
        self.get(&STATUS.to_string_lossy())
    }

    fn mask(&self, on: bool) -> Result<bool, &'static str> {
        mask::set(&self.session, on)
    }

    fn is_masked(&self) -> bool {
        mask::is_on(&self.session)
    }

    fn attach(
        &self,
        stream: &Arc<StreamHandle>,
        read: ReadHalf,
        write: WriteHalf,
    ) -> Result<Box<dyn MediaBug>, String> {
        self.put(|in_use| stream::attach(&self.session, stream, read, write, in_use))
    }

    fn attach_recorder(
        &self,
        recording: &Arc<RecordingHandle>,
        caller: TapWriter,
        heard: TapWriter,
    ) -> Result<Box<dyn MediaBug>, String> {
        self.put(|in_use| recorder::attach(&self.session, recording, caller, heard, in_use))
    }
}

impl SessionCall<'_> {
    /// Puts a media bug on the call, which keeps the module in use until the bug is closed.
    fn put(
        &self,
        attach: impl FnOnce(InUse) -> Result<Box<dyn MediaBug>, &'static str>,
    ) -> Result<Box<dyn MediaBug>, String> {
        let in_use = self.interface.enter().ok_or("the module is being unloaded")?;
        attach(in_use).map_err(|why| format!("{why}; FreeSWITCH's log has its reason"))
    }
}

fn audio(codec: Codec) -> CallAudio {
    CallAudio { rate: codec.rate, ptime_ms: codec.ptime_ms, channels: codec.channels }
}
