//! `uuid_audio_stream` as FreeSWITCH calls it.

use std::ffi::{CStr, c_char};
use std::ptr::NonNull;

use super::bindings::{switch_core_session_t, switch_status_t, switch_stream_handle_t};
use super::giver;
use super::guard::guard;
use super::loaded;
use super::log::c_string;

/// What is said when a panic was caught.
const INTERNAL: &str = "-ERR internal error; FreeSWITCH's log has the details";

/// The API function. Always SUCCESS: how it went is said in the reply.
pub(super) unsafe extern "C" fn function(
    cmd: *const c_char,
    session: *mut switch_core_session_t,
    stream: *mut switch_stream_handle_t,
) -> switch_status_t {
    let reply = guard(INTERNAL.to_owned(), || {
        // SAFETY: `cmd` is NULL or a NUL-terminated string that FreeSWITCH keeps during the call.
        let line = if cmd.is_null() { &[][..] } else { unsafe { CStr::from_ptr(cmd) }.to_bytes() };
        match loaded::current() {
            Some(loaded) => {
                // SAFETY: `session` is NULL or the one whose thread this is, and `stream` NULL or FreeSWITCH's for this call of
                // the function; both live through it.
                let giver = || unsafe { giver::of(loaded.host, session, stream) };
                loaded.module.execute(line, &loaded.calls(), &giver)
            }
            None => "-ERR the module is not loaded".to_owned(),
        }
    });
    guard((), || write(stream, &reply));
    switch_status_t::SWITCH_STATUS_SUCCESS
}

/// Writes a reply of one line.
fn write(stream: *mut switch_stream_handle_t, reply: &str) {
    let Some(handle) = NonNull::new(stream) else { return };
    // SAFETY: FreeSWITCH's stream handle lives through the API call.
    let Some(write) = (unsafe { handle.as_ref() }).write_function else { return };
    let text = c_string(reply);
    // SAFETY: the handle is its own; the format takes exactly the one string that follows.
    unsafe { write(stream, c"%s\n".as_ptr(), text.as_ptr()) };
}
