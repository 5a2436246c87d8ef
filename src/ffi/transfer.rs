//! A caller is handed over to a person who is called first: on the session's own thread.
//!
//! The application `audio_stream_transfer` is queued for the session where an agent asks for it, and runs wherever the session
//! looks at its commands: parked, in this module's own application, while something is played. It runs FreeSWITCH's `bridge`, which
//! plays the music and calls. If nobody takes the caller, they are where they were, and the conversation, which has stayed on the call,
//! goes on.
//!
//! It lasts as long as the two people talk. Meanwhile it keeps nothing of the stream and the module, either of which may end, and
//! nobody who unloads the module by force waits for it: the people go on talking.

use std::ffi::{CStr, CString, c_char};
use std::sync::Arc;

use super::bindings::switch_core_session_t;
use super::guard::guard;
use super::loaded::{self, Loaded};
use super::log::c_string;
use super::session::Session;
use crate::stream::hand_over::{Calling, refusal};
use crate::stream::handle::StreamCommand;
use crate::units::{CallId, StreamName};

/// The application `audio_stream_transfer`; `data` is the stream's name.
pub(super) unsafe extern "C" fn function(session: *mut switch_core_session_t, data: *const c_char) {
    guard((), || {
        let Some(loaded) = loaded::current() else { return };
        // SAFETY: the session runs this application on its own thread and cannot end before it returns.
        let Some(session) = (unsafe { Session::current(loaded.host, session) }) else { return };
        // SAFETY: `data` is NULL or a NUL-terminated string that FreeSWITCH keeps during the call.
        let name = if data.is_null() { "" } else { unsafe { CStr::from_ptr(data) }.to_str().unwrap_or_default() };
        run(loaded, &session, name);
        // FreeSWITCH leaves them, and hangs up each call that still names an application when its module is unloaded.
        session.set_variable(c"current_application", None);
        session.set_variable(c"current_application_data", None);
    });
}

fn run(loaded: Loaded, session: &Session<'_>, name: &str) {
    let call = CallId::new(&session.uuid());
    let stream = name.parse::<StreamName>().ok().and_then(|name| loaded.module.registry().get(&call, &name));
    let Some(stream) = stream else { return };
    let Some(to) = stream.hand_over.begin() else { return };
    let exports = session.variable("export_vars");
    let calling = Calling::new(&stream.spec.options.ai, &to, exports.as_deref());
    let before: Vec<_> = calling.variables.iter().map(|(name, _)| (c_string(name), session.variable(name))).collect();
    for (name, value) in &calling.variables {
        // The operator's: unlike a server's text it may have variables.
        session.set_own_variable(&c_string(name), Some(value));
    }
    tracing::info!(target: "AI_ENGINE", call = %call, op = "transfer", outcome = "calling", stream = %stream.name(), to = to.name);
    let waiting = Arc::downgrade(&stream);
    let lock = loaded.applications.hand_over;
    drop((stream, loaded));
    let dial = c_string(&calling.dial);
    let bridge = || execute(session, c"bridge", &dial);
    match lock {
        // SAFETY: this is that application, on its call's thread.
        Some(lock) => unsafe { lock.without(bridge) },
        None => bridge(),
    }
    for (name, value) in before {
        session.set_own_variable(&name, value.as_deref());
    }
    // Connected, the conversation has ended, and with `hangup_after_bridge` the call has as well.
    let Some(stream) = waiting.upgrade() else { return };
    let Some(call_id) = stream.hand_over.ended() else { return };
    let disposition = session.variable("originate_disposition").unwrap_or_default();
    tracing::info!(target: "AI_ENGINE", call = %call, op = "transfer", outcome = "not_taken", stream = %stream.name(),
        to = to.name, cause = disposition);
    let output = serde_json::json!({ "ok": false, "error": refusal(&disposition) }).to_string();
    // A stream that has ended needs no answer, and one that is overwhelmed gives the function call up in time.
    let _ = stream.command(StreamCommand::ToolResult { call_id, output });
}

/// Runs an application to its end.
fn execute(session: &Session<'_>, application: &CStr, argument: &CString) {
    // SAFETY: this is the session's own thread; the strings live through the call, and NULL is taken for flags that nobody wants.
    unsafe {
        session.host().switch_core_session_execute_application_get_flags(
            session.as_ptr(),
            application.as_ptr(),
            argument.as_ptr(),
            std::ptr::null_mut(),
        )
    };
}
