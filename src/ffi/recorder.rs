//! What a recording does in its media bug's callbacks: what the caller says and hears, on its way to the recorder's thread.
//!
//! On media threads, inside of the callbacks of [`media_bug`]. It changes nothing. Not `SMBF_FIRST`, which streams are: so it
//! stands behind every one of them, and sees the frame as they all have left it.

// What could wait or allocate has no place in a callback; what is done before and after says so.
#![cfg_attr(not(test), deny(clippy::disallowed_methods, clippy::disallowed_types, clippy::disallowed_macros))]

use std::ptr::NonNull;
use std::sync::Arc;

use super::bindings::{Host, SMBF_NO_PAUSE, SMBF_READ_STREAM, SMBF_WRITE_REPLACE, switch_media_bug_t};
use super::in_use::InUse;
use super::media_bug::{self, Half};
use super::session::Session;
use super::{frames, mask, thread};
use crate::call::MediaBug;
use crate::media::{CaptureFormat, Mask, TapShared, TapWriter};
use crate::record::RecordingHandle;

/// Puts a bug on the session that feeds `recording`; see [`media_bug::attach`].
#[expect(clippy::disallowed_types, reason = "made before a callback has it")]
pub(super) fn attach(
    session: &Session<'_>,
    recording: &Arc<RecordingHandle>,
    caller: TapWriter,
    heard: TapWriter,
    in_use: InUse,
) -> Result<Box<dyn MediaBug>, &'static str> {
    let flags = SMBF_READ_STREAM | SMBF_WRITE_REPLACE | SMBF_NO_PAUSE;
    let [said, written] = recording.taps.clone();
    let reader = frames::Reader::new(session, true).ok_or("FreeSWITCH is out of memory")?;
    let mask = mask::of(session).ok_or("FreeSWITCH is out of memory")?;
    let halves = (Caller { reader, mask, tap: caller, other: written }, Heard { mask, tap: heard, other: said });
    media_bug::attach(session, (c"mod_audio_stream_record", flags), recording, halves, in_use)
}

/// READ: what the caller says.
struct Caller {
    reader: frames::Reader,
    /// In the session's memory, which outlives its bugs.
    mask: NonNull<Mask>,
    tap: TapWriter,
    /// What the caller hears.
    other: Arc<TapShared>,
}

impl Half for Caller {
    unsafe fn run(&mut self, host: &'static Host, bug: *mut switch_media_bug_t) {
        let thread = thread::this();
        // SAFETY: in the memory of the session, which is there in every callback.
        let mask = unsafe { self.mask.as_ref() };
        let mut take = |format, samples: &[i16]| {
            self.tap.frame(thread, self.other.frames_on(thread), format, mask.seen(samples));
        };
        // SAFETY: passed on to the caller.
        unsafe { self.reader.read(host, bug, &mut take) };
    }
}

/// WRITE_REPLACE: what the caller hears.
struct Heard {
    /// In the session's memory, too.
    mask: NonNull<Mask>,
    tap: TapWriter,
    /// What the caller says.
    other: Arc<TapShared>,
}

impl Half for Heard {
    unsafe fn run(&mut self, host: &'static Host, bug: *mut switch_media_bug_t) {
        let thread = thread::this();
        // SAFETY: in the memory of the session, which is there in every callback.
        let mask = unsafe { self.mask.as_ref() };
        let take = |rate, channels, audio: &mut [i16]| {
            let format = CaptureFormat { rate, channels: u8::try_from(channels).unwrap_or(u8::MAX) };
            self.tap.frame(thread, self.other.frames_on(thread), format, mask.heard(audio));
        };
        // SAFETY: passed on to the caller.
        unsafe { frames::written(host, bug, take) };
    }
}
