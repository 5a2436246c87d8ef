//! Log lines into FreeSWITCH's log.
//!
//! The text is an argument of a constant format, never the format: it may come from the network. May wait and allocates;
//! API threads, workers and the event thread only.

use std::ffi::{CString, c_int, c_void};
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::bindings::{Host, switch_log_level_t, switch_session_ctl_t, switch_text_channel_t};
use crate::telemetry::log::{Severity, Sink};

/// Writes to the log of the FreeSWITCH that loaded the module.
pub(crate) struct FreeSwitchLog {
    host: &'static Host,
    since: Instant,
    /// When FreeSWITCH was last asked for its level, ms after `since`.
    asked: AtomicU64,
    /// Lines above it are thrown away, whoever listens.
    level: AtomicI32,
}

/// How long a level counts: an operator who sets another one sees what follows a second later.
const REFRESH: Duration = Duration::from_secs(1);

/// Asks for the level and sets none.
const ONLY_ASK: c_int = -2;

impl FreeSwitchLog {
    pub(crate) fn new(host: &'static Host) -> Self {
        let this = Self { host, since: Instant::now(), asked: AtomicU64::new(0), level: AtomicI32::new(c_int::MAX) };
        this.ask();
        this
    }

    /// Reads a word of FreeSWITCH's, without a lock.
    fn ask(&self) {
        let mut level = ONLY_ASK;
        // SAFETY: the place is ours, and FreeSWITCH writes an int to it.
        unsafe {
            self.host.switch_core_session_ctl(switch_session_ctl_t::SCSC_LOGLEVEL, (&raw mut level).cast::<c_void>())
        };
        // It says nothing while it shuts down.
        if level != ONLY_ASK {
            self.level.store(level, Ordering::Relaxed);
        }
    }
}

impl Sink for FreeSwitchLog {
    fn wants(&self, severity: Severity) -> bool {
        let now = self.since.elapsed().as_millis() as u64;
        if now.saturating_sub(self.asked.load(Ordering::Relaxed)) >= REFRESH.as_millis() as u64 {
            self.asked.store(now, Ordering::Relaxed);
            self.ask();
        }
        i64::from(level_of(severity).0) <= i64::from(self.level.load(Ordering::Relaxed))
    }

    fn line(&self, severity: Severity, call: Option<&str>, line: &str) {
        let level = level_of(severity);
        let text = c_string(line);
        let call = call.map(c_string);
        // With a uuid the line belongs to the call, for `fs_cli`'s filters and for logs that print uuids.
        let uuid = call.as_ref().map_or(std::ptr::null(), |uuid| uuid.as_ptr());
        // SAFETY: all pointers are NUL-terminated strings that live through the call. With CHANNEL_ID_LOG the user data is a
        // uuid or NULL (with CHANNEL_ID_SESSION it would be a session); the format takes exactly one string.
        unsafe {
            (self.host.switch_log_printf)(
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

const fn level_of(severity: Severity) -> switch_log_level_t {
    match severity {
        Severity::Error => switch_log_level_t::SWITCH_LOG_ERROR,
        Severity::Warning => switch_log_level_t::SWITCH_LOG_WARNING,
        Severity::Notice => switch_log_level_t::SWITCH_LOG_NOTICE,
        Severity::Info => switch_log_level_t::SWITCH_LOG_INFO,
        Severity::Debug => switch_log_level_t::SWITCH_LOG_DEBUG,
    }
}

/// `text` for C; a NUL in it, which C would take for the end, is replaced.
pub(crate) fn c_string(text: &str) -> CString {
    CString::new(text).unwrap_or_else(|_| CString::new(text.replace('\0', "\u{fffd}")).unwrap_or_default())
}
