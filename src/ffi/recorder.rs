//! The media bug of a recording: what the caller says and hears, on its way to the recorder's thread.
//!
//! Threads and ownership as with a stream's bug: READ and WRITE_REPLACE overlap, each serial with itself; one [`Recorder`] on the
//! heap, FreeSWITCH's from [`attach`] on, freed in CLOSE. It changes nothing. Not `SMBF_FIRST`, which streams are: so it stands
//! behind every one of them, and sees the frame as they all have left it.

use std::cell::UnsafeCell;
use std::ffi::c_void;
use std::ptr::{self, NonNull};
use std::sync::{Arc, Weak};

use super::bindings::{
    Host, SMBF_NO_PAUSE, SMBF_READ_STREAM, SMBF_WRITE_REPLACE, switch_abc_type_t, switch_bool_t, switch_media_bug_t,
    switch_status_t,
};
use super::guard::guard;
use super::in_use::InUse;
use super::session::Session;
use super::{event, frames};
use crate::media::{CaptureFormat, TapWriter};
use crate::record::RecordingHandle;
use crate::stream::handle::Attachment;

/// What FreeSWITCH carries for us as the bug's user data.
struct Recorder {
    host: &'static Host,
    /// Touched by the READ callback alone.
    caller: UnsafeCell<TapWriter>,
    /// Touched by the WRITE_REPLACE callback alone.
    heard: UnsafeCell<TapWriter>,
    recording: Arc<RecordingHandle>,
    /// Unload is refused until CLOSE.
    _in_use: InUse,
}

/// Puts a bug on the session that feeds `recording`.
///
/// An error means that nothing was attached; FreeSWITCH's log says why. API and dialplan threads only.
pub(super) fn attach(
    session: &Session<'_>,
    recording: &Arc<RecordingHandle>,
    caller: TapWriter,
    heard: TapWriter,
    in_use: InUse,
) -> Result<Box<dyn Attachment>, &'static str> {
    let recorder = Box::into_raw(Box::new(Recorder {
        host: session.host(),
        caller: UnsafeCell::new(caller),
        heard: UnsafeCell::new(heard),
        recording: recording.clone(),
        _in_use: in_use,
    }));
    let target = super::log::c_string(recording.name.as_str());
    let mut added = ptr::null_mut();
    // SAFETY: the session is locked; the strings are copied; `recorder` stays valid until CLOSE, which comes once and last.
    let status = unsafe {
        session.host().switch_core_media_bug_add(
            session.as_ptr(),
            c"mod_audio_stream_record".as_ptr(),
            target.as_ptr(),
            Some(callback),
            recorder.cast::<c_void>(),
            0,
            SMBF_READ_STREAM | SMBF_WRITE_REPLACE | SMBF_NO_PAUSE,
            &raw mut added,
        )
    };
    match NonNull::new(added).filter(|_| status == switch_status_t::SWITCH_STATUS_SUCCESS) {
        Some(bug) => Ok(Box::new(AttachedRecorder { host: session.host(), bug, recording: Arc::downgrade(recording) })),
        None => {
            // SAFETY: FreeSWITCH did not take the bug, so there is no CLOSE and the box is still ours.
            drop(unsafe { Box::from_raw(recorder) });
            Err("FreeSWITCH refused the media bug")
        }
    }
}

/// A recorder's bug on a session, by its address there.
struct AttachedRecorder {
    host: &'static Host,
    bug: NonNull<switch_media_bug_t>,
    recording: Weak<RecordingHandle>,
}

// SAFETY: the address is only handed back to FreeSWITCH, under the session's lock, and only while the bug is not closed.
unsafe impl Send for AttachedRecorder {}
// SAFETY: as above.
unsafe impl Sync for AttachedRecorder {}

impl Attachment for AttachedRecorder {
    fn detach(&self) {
        let Some(recording) = self.recording.upgrade() else { return };
        // No session: it is being destroyed, and its bugs are closed on that way.
        let Some(session) = Session::locate(self.host, recording.call.as_str()) else { return };
        // With the session locked, an unclosed bug is on it, and its memory, the session's pool, stays.
        if !recording.is_bug_closed() {
            let mut bug = self.bug.as_ptr();
            // SAFETY: the session is locked. A bug that another thread is just closing is no longer in the list, and is
            // then left alone by FreeSWITCH.
            unsafe { self.host.switch_core_media_bug_remove(session.as_ptr(), &raw mut bug) };
        }
    }
}

/// FreeSWITCH's callback. Never FALSE for READ and WRITE_REPLACE, as with a stream's bug.
unsafe extern "C" fn callback(
    bug: *mut switch_media_bug_t,
    user_data: *mut c_void,
    kind: switch_abc_type_t,
) -> switch_bool_t {
    let Some(data) = NonNull::new(user_data.cast::<Recorder>()) else { return switch_bool_t::SWITCH_FALSE };
    match kind {
        switch_abc_type_t::SWITCH_ABC_TYPE_READ => {
            // SAFETY: the box lives until CLOSE, which FreeSWITCH calls when no other callback runs.
            unsafe { data.as_ref() }.guarded(0, |this| this.read(bug))
        }
        switch_abc_type_t::SWITCH_ABC_TYPE_WRITE_REPLACE => {
            // SAFETY: as for READ.
            unsafe { data.as_ref() }.guarded(1, |this| this.write(bug))
        }
        switch_abc_type_t::SWITCH_ABC_TYPE_CLOSE => {
            guard(switch_bool_t::SWITCH_TRUE, || {
                // SAFETY: CLOSE comes once, after the last other callback; the box was FreeSWITCH's since `attach`.
                let data = unsafe { Box::from_raw(data.as_ptr()) };
                data.close(bug);
                switch_bool_t::SWITCH_TRUE
            })
        }
        _ => switch_bool_t::SWITCH_TRUE,
    }
}

impl Recorder {
    /// Runs a media callback; does nothing more once the recording leaves the call.
    fn guarded(&self, tap: usize, body: impl FnOnce(&Self)) -> switch_bool_t {
        let Some(tap) = self.recording.taps.get(tap) else { return switch_bool_t::SWITCH_TRUE };
        if !tap.is_leaving() {
            let whole = guard(false, || {
                body(self);
                true
            });
            if !whole {
                tap.panicked();
            }
        }
        switch_bool_t::SWITCH_TRUE
    }

    fn read(&self, bug: *mut switch_media_bug_t) {
        // SAFETY: READ is serial with itself and nothing else touches this half.
        let caller = unsafe { &mut *self.caller.get() };
        let ([_, heard], thread) = (&self.recording.taps, super::thread::this());
        let mut take = |format, samples: &[i16]| {
            caller.frame(thread, heard.frames_on(thread), format, samples);
        };
        // SAFETY: `bug` is the one whose READ callback runs.
        unsafe { frames::read(self.host, bug, true, &mut take) };
    }

    fn write(&self, bug: *mut switch_media_bug_t) {
        // SAFETY: WRITE_REPLACE is serial with itself and nothing else touches this half.
        let heard = unsafe { &mut *self.heard.get() };
        let ([caller, _], thread) = (&self.recording.taps, super::thread::this());
        let take = |rate, channels, audio: &mut [i16]| {
            let format = CaptureFormat { rate, channels: u8::try_from(channels).unwrap_or(u8::MAX) };
            heard.frame(thread, caller.frames_on(thread), format, audio);
        };
        // SAFETY: `bug` is the one whose WRITE_REPLACE callback runs.
        unsafe { frames::written(self.host, bug, take) };
    }

    /// The bug's end: what events are to say of the channel is kept, and the recorder's thread told.
    fn close(self, bug: *mut switch_media_bug_t) {
        // SAFETY: the bug still names its session in CLOSE.
        let session = unsafe { self.host.switch_core_media_bug_get_session(bug) };
        // SAFETY: sessions outlive their bugs.
        let departed = unsafe { Session::current(self.host, session) }.and_then(|session| event::remember(&session));
        let Self { caller, heard, recording, .. } = self;
        // First the rings' ends, so that the writer finds everything in them that there will be.
        drop((caller, heard));
        recording.bug_closed(departed);
    }
}
