//! Log lines into FreeSWITCH's log.
//!
//! The text is an argument of a constant format, never the format: it may come from the network. May wait and allocates;
//! API threads, workers and the event thread only.

use std::ffi::CString;

use super::bindings::{Host, switch_log_level_t, switch_text_channel_t};
use crate::telemetry::log::{Severity, Sink};

/// Writes to the log of the FreeSWITCH that loaded the module.
pub(crate) struct FreeSwitchLog(pub(crate) &'static Host);

impl Sink for FreeSwitchLog {
    fn line(&self, severity: Severity, call: Option<&str>, line: &str) {
        let level = match severity {
            Severity::Error => switch_log_level_t::SWITCH_LOG_ERROR,
            Severity::Warning => switch_log_level_t::SWITCH_LOG_WARNING,
            Severity::Notice => switch_log_level_t::SWITCH_LOG_NOTICE,
            Severity::Info => switch_log_level_t::SWITCH_LOG_INFO,
            Severity::Debug => switch_log_level_t::SWITCH_LOG_DEBUG,
        };
        let text = c_string(line);
        let call = call.map(c_string);
        // With a uuid the line belongs to the call, for `fs_cli`'s filters and for logs that print uuids.
        let uuid = call.as_ref().map_or(std::ptr::null(), |uuid| uuid.as_ptr());
        // SAFETY: all pointers are NUL-terminated strings that live through the call. With CHANNEL_ID_LOG the user data is a
        // uuid or NULL (with CHANNEL_ID_SESSION it would be a session); the format takes exactly one string.
        unsafe {
            (self.0.switch_log_printf)(
                switch_text_channel_t::SWITCH_CHANNEL_ID_LOG,
                c"mod_audio_stream".as_ptr(),
                c"mod_audio_stream".as_ptr(),
                0,
                uuid,
                level,
                c"%s\n".as_ptr(),
                text.as_ptr(),
            );
        }
    }
}

/// `text` for C; a NUL in it, which C would take for the end, is replaced.
pub(crate) fn c_string(text: &str) -> CString {
    CString::new(text).unwrap_or_else(|_| CString::new(text.replace('\0', "\u{fffd}")).unwrap_or_default())
}
