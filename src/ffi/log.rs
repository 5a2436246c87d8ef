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
        // With a uuid the line belongs to the session, for `fs_cli`'s filters and for logs that print uuids.
        let (channel, uuid) = match &call {
            Some(uuid) => (switch_text_channel_t::SWITCH_CHANNEL_ID_SESSION, uuid.as_ptr()),
            None => (switch_text_channel_t::SWITCH_CHANNEL_ID_LOG, std::ptr::null()),
        };
        // SAFETY: all pointers are NUL-terminated strings that live through the call (`uuid` may be NULL, as for lines
        // without session); the format takes exactly one string.
        unsafe {
            (self.0.switch_log_printf)(
                channel,
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
