//! What a recording does in its media bug's callbacks: what the caller says and hears, on its way to the recorder's thread.
//!
//! On media threads, inside of the callbacks of [`media_bug`]. It changes nothing. Not `SMBF_FIRST`, which streams are: so it
//! stands behind every one of them, and sees the frame as they all have left it.

use std::sync::Arc;

use super::bindings::{Host, SMBF_NO_PAUSE, SMBF_READ_STREAM, SMBF_WRITE_REPLACE, switch_media_bug_t};
use super::frames;
use super::in_use::InUse;
use super::media_bug::{self, Half};
use super::session::Session;
use crate::call::MediaBug;
use crate::media::{CaptureFormat, TapWriter};
use crate::record::RecordingHandle;

/// Puts a bug on the session that feeds `recording`; see [`media_bug::attach`].
pub(super) fn attach(
    session: &Session<'_>,
    recording: &Arc<RecordingHandle>,
    caller: TapWriter,
    heard: TapWriter,
    in_use: InUse,
) -> Result<Box<dyn MediaBug>, &'static str> {
    let flags = SMBF_READ_STREAM | SMBF_WRITE_REPLACE | SMBF_NO_PAUSE;
    let halves = (Caller(caller), Heard(heard));
    media_bug::attach(session, (c"mod_audio_stream_record", flags), recording, halves, in_use)
}

/// READ: what the caller says.
struct Caller(TapWriter);

impl Half for Caller {
    unsafe fn run(&mut self, host: &'static Host, bug: *mut switch_media_bug_t) {
        let mut take = |format, samples: &[i16]| {
            self.0.frame(format, samples);
        };
        // SAFETY: passed on to the caller.
        unsafe { frames::read(host, bug, true, &mut take) };
    }
}

/// WRITE_REPLACE: what the caller hears.
struct Heard(TapWriter);

impl Half for Heard {
    unsafe fn run(&mut self, host: &'static Host, bug: *mut switch_media_bug_t) {
        let take = |rate, channels, audio: &mut [i16]| {
            self.0.frame(CaptureFormat { rate, channels: u8::try_from(channels).unwrap_or(u8::MAX) }, audio);
        };
        // SAFETY: passed on to the caller.
        unsafe { frames::written(host, bug, take) };
    }
}
