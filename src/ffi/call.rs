//! A call as the runtime needs it: its variables, its audio, a place for a media bug.
//!
//! On API and dialplan threads.

use std::sync::Arc;

use super::bindings::{Host, switch_channel_flag_t, switch_channel_state_t};
use super::in_use::{InUse, InterfaceLock};
use super::session::{Codec, Session};
use super::{recorder, stream};
use crate::call::MediaBug;
use crate::control::variables::Variables;
use crate::media::TapWriter;
use crate::media::link::{ReadHalf, WriteHalf};
use crate::record::RecordingHandle;
use crate::runtime::host::{Call, CallAudio, Calls};
use crate::stream::handle::StreamHandle;
use crate::units::CallId;

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

    fn audio(&self) -> Result<(CallAudio, CallAudio), String> {
        let session = &self.session;
        if session.state().0 >= switch_channel_state_t::CS_HANGUP.0 {
            return Err("the call is hanging up".to_owned());
        }
        if session.has_flag(switch_channel_flag_t::CF_PROXY_MODE) {
            return Err(
                "the call's media does not pass through FreeSWITCH (bypass_media); run uuid_media first".to_owned()
            );
        }
        if session.has_flag(switch_channel_flag_t::CF_PROXY_MEDIA) {
            return Err("the call's media passes through undecoded (proxy_media); it cannot be streamed".to_owned());
        }
        let early = session.has_flag(switch_channel_flag_t::CF_EARLY_MEDIA);
        if !early && !session.has_flag(switch_channel_flag_t::CF_ANSWERED) {
            return Err("the call has no audio yet; answer or pre_answer it first".to_owned());
        }
        if session.passes_audio_through() {
            return Err("this FreeSWITCH passes the call's codec through undecoded; it cannot be streamed".to_owned());
        }
        match (session.read_codec(), session.write_codec()) {
            (Some(read), Some(write)) => Ok((audio(read), audio(write))),
            _ => Err("the call has no audio codec yet; answer or pre_answer it first".to_owned()),
        }
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
