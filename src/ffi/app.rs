//! `audio_stream` and `audio_stream_ai` in the dialplan: on the session's own thread.
//!
//! Returns at once, or keeps the call's audio running: with `wait=true` until the stream ends or the caller hangs up, with
//! `wait=ready` until the server is ready. The result is in `${audio_stream_status}` and `${audio_stream_error}`.

use std::ffi::{CStr, c_char};
use std::ptr;
use std::sync::Arc;

use super::bindings::{SWITCH_IO_FLAG_NONE, switch_core_session_t, switch_status_t};
use super::call::{ERROR, STATUS, SessionCall};
use super::guard::guard;
use super::in_use::ApplicationLock;
use super::loaded::{self, Applications, Loaded};
use super::session::Session;
use crate::control::Giver;
use crate::control::command::{self, Action, AppCommand, CommandError, Wait};
use crate::peer::State;
use crate::runtime::host::{Call as _, NoAudio};
use crate::runtime::starts::Begun;
use crate::runtime::waiting::WAITING;
use crate::stream::handle::StreamHandle;

/// The application `audio_stream`.
pub(super) unsafe extern "C" fn function(session: *mut switch_core_session_t, data: *const c_char) {
    // SAFETY: as FreeSWITCH calls it.
    unsafe { application(session, data, command::parse_application, |of| of.stream) };
}

/// The application `audio_stream_ai`.
pub(super) unsafe extern "C" fn ai_function(session: *mut switch_core_session_t, data: *const c_char) {
    // SAFETY: as FreeSWITCH calls it.
    unsafe { application(session, data, command::parse_ai_application, |of| of.conversation) };
}

type Parse = fn(&[u8]) -> Result<AppCommand, CommandError>;

/// Which of the module's applications it is.
type Which = fn(&Applications) -> Option<ApplicationLock>;

/// # Safety
/// `session` runs an application of ours, the one that `which` chooses, on its own thread; `data` is NULL or a string of FreeSWITCH's.
unsafe fn application(session: *mut switch_core_session_t, data: *const c_char, parse: Parse, which: Which) {
    guard((), || {
        let Some(loaded) = loaded::current() else { return };
        // SAFETY: the session runs this application on its own thread and cannot end before it returns.
        let Some(session) = (unsafe { Session::current(loaded.host, session) }) else { return };
        // SAFETY: `data` is NULL or a NUL-terminated string that FreeSWITCH keeps during the call.
        let line = if data.is_null() { &[][..] } else { unsafe { CStr::from_ptr(data) }.to_bytes() };
        // SAFETY: passed on to the caller.
        unsafe { run(&loaded, session, line, parse, which) };
    });
    guard((), || {
        let Some(loaded) = loaded::current() else { return };
        // SAFETY: as above.
        let Some(session) = (unsafe { Session::current(loaded.host, session) }) else { return };
        // FreeSWITCH leaves these standing, hangs up every call that still names an application when its module is unloaded, and
        // tells the arguments, which may hold credentials, in every event of the channel.
        session.set_variable(c"current_application", None);
        session.set_variable(c"current_application_data", None);
    });
}

/// # Safety
/// On the thread of `session`, inside of the application that `which` chooses.
unsafe fn run(loaded: &Loaded, session: Session<'_>, line: &[u8], parse: Parse, which: Which) {
    session.set_variable(STATUS, None);
    session.set_variable(ERROR, None);
    let call = SessionCall { session, interface: &loaded.interface };
    let AppCommand { name, action, wait } = match parse(line) {
        Ok(command) => command,
        Err(error) => {
            let error = error.to_string();
            let reason = error.strip_prefix("-ERR ").or_else(|| error.strip_prefix("-USAGE: ")).unwrap_or(&error);
            let op = command::verb_of_application(line).unwrap_or("audio_stream");
            tracing::error!(target: "LIFECYCLE", call = %call.id(), op, outcome = "refused", reason, by = "dialplan");
            return call.report("error", reason);
        }
    };
    if wait != Wait::No && call.audio() == Err(NoAudio::NotYet) {
        // It would hold up the dialplan that has yet to answer the call.
        tracing::warn!(target: "LIFECYCLE", call = %call.id(), op = "audio_stream", outcome = "refused", reason = %NoAudio::NotYet);
        return call.report("error", &format!("{}; only a start without wait=true waits for it", NoAudio::NotYet));
    }
    // A conversation's states go into the same variable; the first before any of them can come.
    let is_conversation = matches!(action, Action::StartAi(_));
    if is_conversation {
        call.report(State::Connecting.as_str(), "");
    } else if matches!(action, Action::Start(_)) {
        // Before the thread that attaches it may say that it has.
        call.report(WAITING, "");
    }
    let (reply, begun) = loaded.module.act(&call, name, action, &Giver::dialplan);
    match (reply.strip_prefix("-ERR ").or_else(|| reply.strip_prefix("-USAGE: ")), begun) {
        (Some(error), _) => call.report("error", error),
        (None, Some(Begun::Stream(stream))) if wait != Wait::No => {
            if !is_conversation {
                call.report("started", "");
            }
            let keep = || keep_audio_running(&call.session, &stream, wait);
            match which(&loaded.applications) {
                // SAFETY: passed on to the caller.
                Some(lock) => unsafe { lock.without(keep) },
                None => keep(),
            }
            match stream.outcome() {
                None if wait == Wait::Ready && stream.is_ready() => {
                    if !is_conversation {
                        call.report("ready", "");
                    }
                }
                Some(error) if error.is_empty() => call.report("ended", ""),
                Some(error) => call.report("error", &error),
                // The call ends, or was transferred, before the stream.
                None => call.report("running", ""),
            }
        }
        (None, Some(Begun::Waiting)) => {}
        (None, Some(Begun::Stream(_))) if is_conversation => {}
        (None, Some(Begun::Stream(_))) => call.report("started", ""),
        (None, None) => call.report("ok", ""),
    }
}

/// Reads the caller's frames until what is waited for is there, the stream has ended or the call leaves this application.
///
/// Nothing is written: playback is, when there is any, by the playout clock.
fn keep_audio_running(session: &Session<'_>, stream: &Arc<StreamHandle>, wait: Wait) {
    let host = session.host();
    while session.is_ready() && !stream.is_finished() && !(wait == Wait::Ready && stream.is_ready()) {
        // SAFETY: this is the session's own thread.
        unsafe { host.switch_ivr_parse_all_events(session.as_ptr()) };
        let mut frame = ptr::null_mut();
        // SAFETY: as above; the frame stays the session's and is not looked at.
        let status =
            unsafe { host.switch_core_session_read_frame(session.as_ptr(), &raw mut frame, SWITCH_IO_FLAG_NONE, 0) };
        // What FreeSWITCH itself goes on after: a frame, an interruption, an empty packet.
        if status != switch_status_t::SWITCH_STATUS_SUCCESS
            && status != switch_status_t::SWITCH_STATUS_BREAK
            && status != switch_status_t::SWITCH_STATUS_INUSE
        {
            break;
        }
    }
}
