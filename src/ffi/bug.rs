//! The media bug of a stream: FreeSWITCH's callbacks on the call's audio, and the memory they use.
//!
//! Threads: READ on the thread that reads the session, WRITE_REPLACE on whichever thread writes to it, under FreeSWITCH's
//! read lock on the session's bugs. The two overlap; each is serial with itself, since FreeSWITCH holds the codec's read,
//! respectively write, mutex around it. CLOSE on any thread, when neither runs nor will.
//!
//! Owner: one [`Bug`] on the heap, made by [`attach`], owned by FreeSWITCH's user data from then on, freed in CLOSE. The
//! halves of the rings go with it; nothing of it is freed in READ or WRITE_REPLACE.

use std::cell::UnsafeCell;
use std::ffi::c_void;
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::time::Instant;

use super::bindings::{
    Host, SMBF_FIRST, SMBF_NO_PAUSE, SMBF_READ_STREAM, SMBF_STEREO, SMBF_WRITE_REPLACE, SMBF_WRITE_STREAM,
    switch_abc_type_t, switch_bool_t, switch_media_bug_t, switch_status_t,
};
use super::clock;
use super::dtmf;
use super::event;
use super::frames;
use super::guard::guard;
use super::in_use::InUse;
use super::session::Session;
use crate::media::link::{ReadHalf, WriteHalf};
use crate::media::{KeyCursor, KeyRing};
use crate::stream::handle::{Attachment, StreamHandle};
use crate::units::Mix;

/// What FreeSWITCH carries for us as the bug's user data.
struct Bug {
    host: &'static Host,
    /// Touched by the READ callback alone.
    read: UnsafeCell<(ReadHalf, KeyCursor, frames::Shape)>,
    /// In the session's memory, which outlives its bugs.
    keys: NonNull<KeyRing>,
    /// Touched by the WRITE_REPLACE callback alone.
    write: UnsafeCell<WriteHalf>,
    stream: Arc<StreamHandle>,
    /// Unload is refused until CLOSE.
    _in_use: InUse,
}

/// Puts a bug on the session that feeds and plays `stream`.
///
/// An error means that nothing was attached; FreeSWITCH's log says why. May send a provisional answer, if the call has no
/// audio yet: API and dialplan threads only.
pub(super) fn attach(
    session: &Session<'_>,
    stream: &Arc<StreamHandle>,
    read: ReadHalf,
    write: WriteHalf,
    in_use: InUse,
) -> Result<Box<dyn Attachment>, &'static str> {
    // NO_PAUSE: mod_fifo pauses the bugs of callers that wait in a queue; a stream goes on there.
    let legs = match stream.spec.options.mix {
        Mix::Mono => 0,
        Mix::Mixed => SMBF_WRITE_STREAM,
        Mix::Stereo => SMBF_WRITE_STREAM | SMBF_STEREO,
    };
    // FIRST: recordings of the call hear what we play.
    let flags = SMBF_READ_STREAM | SMBF_WRITE_REPLACE | SMBF_FIRST | SMBF_NO_PAUSE | legs;
    let keys = dtmf::listen(session).ok_or("the call's DTMF cannot be listened to")?;
    // SAFETY: in the memory of the session, which is locked.
    let cursor = KeyCursor::at_end(unsafe { keys.as_ref() });
    let bug = Box::into_raw(Box::new(Bug {
        host: session.host(),
        read: UnsafeCell::new((read, cursor, frames::Shape::default())),
        keys,
        write: UnsafeCell::new(write),
        stream: stream.clone(),
        _in_use: in_use,
    }));
    let target = super::log::c_string(stream.name().as_str());
    let mut added = ptr::null_mut();
    // SAFETY: the session is locked; the strings are copied; `bug` stays valid until CLOSE, which comes once and last.
    let status = unsafe {
        session.host().switch_core_media_bug_add(
            session.as_ptr(),
            c"mod_audio_stream".as_ptr(),
            target.as_ptr(),
            Some(callback),
            bug.cast::<c_void>(),
            0,
            flags,
            &raw mut added,
        )
    };
    match NonNull::new(added).filter(|_| status == switch_status_t::SWITCH_STATUS_SUCCESS) {
        Some(added) => Ok(Box::new(AttachedBug { host: session.host(), bug: added, stream: Arc::downgrade(stream) })),
        None => {
            // SAFETY: FreeSWITCH did not take the bug, so there is no CLOSE and the box is still ours.
            drop(unsafe { Box::from_raw(bug) });
            Err("FreeSWITCH refused the media bug")
        }
    }
}

/// A bug on a session, by its address there.
struct AttachedBug {
    host: &'static Host,
    bug: NonNull<switch_media_bug_t>,
    stream: std::sync::Weak<StreamHandle>,
}

// SAFETY: the address is only handed back to FreeSWITCH, under the session's lock, and only while the bug is not closed.
unsafe impl Send for AttachedBug {}
// SAFETY: as above.
unsafe impl Sync for AttachedBug {}

impl Attachment for AttachedBug {
    fn detach(&self) {
        let Some(stream) = self.stream.upgrade() else { return };
        // No session: it is being destroyed, and its bugs are closed on that way.
        let Some(session) = Session::locate(self.host, stream.call().as_str()) else { return };
        // With the session locked, an unclosed bug is on it, and its memory, the session's pool, stays.
        if !stream.is_bug_closed() {
            let mut bug = self.bug.as_ptr();
            // SAFETY: the session is locked. A bug that another thread is just closing is no longer in the list, and is
            // then left alone by FreeSWITCH.
            unsafe { self.host.switch_core_media_bug_remove(session.as_ptr(), &raw mut bug) };
        }
    }
}

/// FreeSWITCH's callback.
///
/// READ and WRITE_REPLACE never return FALSE, which would have FreeSWITCH prune the bug: when two bugs of a session are pruned at
/// once, it can close one of them twice. The event thread takes bugs off calls instead.
unsafe extern "C" fn callback(
    bug: *mut switch_media_bug_t,
    user_data: *mut c_void,
    kind: switch_abc_type_t,
) -> switch_bool_t {
    let Some(data) = NonNull::new(user_data.cast::<Bug>()) else { return switch_bool_t::SWITCH_FALSE };
    match kind {
        switch_abc_type_t::SWITCH_ABC_TYPE_READ => {
            // SAFETY: the box lives until CLOSE, which FreeSWITCH calls when no other callback runs.
            unsafe { data.as_ref() }.timed(|this| this.read(bug))
        }
        switch_abc_type_t::SWITCH_ABC_TYPE_WRITE_REPLACE => {
            // SAFETY: as for READ.
            unsafe { data.as_ref() }.timed(|this| this.write(bug))
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

impl Bug {
    /// Runs a media callback and records how long it took; does nothing more once the stream leaves the call.
    fn timed(&self, body: impl FnOnce(&Self)) -> switch_bool_t {
        let media = &self.stream.media;
        if media.is_leaving() {
            return switch_bool_t::SWITCH_TRUE;
        }
        let began = Instant::now();
        let whole = guard(false, || {
            body(self);
            true
        });
        if !whole {
            media.panicked();
            return switch_bool_t::SWITCH_TRUE;
        }
        media.latency.record(began.elapsed());
        switch_bool_t::SWITCH_TRUE
    }

    /// The caller's frame, and the other leg's where the stream wants it, into the capture ring; before it the keys pressed.
    fn read(&self, bug: *mut switch_media_bug_t) {
        // SAFETY: READ is serial with itself and nothing else touches this half.
        let (half, cursor, shape) = unsafe { &mut *self.read.get() };
        // SAFETY: in the memory of the session, which outlives its bugs.
        half.keys(unsafe { self.keys.as_ref() }, cursor);
        let one_leg = self.stream.spec.options.mix == Mix::Mono;
        if !one_leg {
            // SAFETY: `bug` is the one whose READ callback runs.
            unsafe { frames::flush_if_changed(self.host, bug, shape) };
        }
        // SAFETY: `bug` is the one whose READ callback runs.
        unsafe { frames::read(self.host, bug, one_leg, |format, samples| half.frame(format, samples)) };
    }

    /// The frame on its way to the caller, changed in place.
    ///
    /// In place, because FreeSWITCH uses the frame after the callback without a lock on the bug: a frame of ours could be
    /// freed under it.
    fn write(&self, bug: *mut switch_media_bug_t) {
        // SAFETY: WRITE_REPLACE is serial with itself and nothing else touches this half.
        let half = unsafe { &mut *self.write.get() };
        // SAFETY: `bug` is the one whose WRITE_REPLACE callback runs.
        unsafe {
            frames::written(self.host, bug, |rate, channels, audio| {
                half.frame(rate.hz(), channels, audio, clock::is_writing());
            });
        }
    }

    /// The bug's end: what events are to say of the channel is kept, and the stream's task told.
    fn close(self, bug: *mut switch_media_bug_t) {
        // SAFETY: the bug still names its session in CLOSE.
        let session = unsafe { self.host.switch_core_media_bug_get_session(bug) };
        // SAFETY: sessions outlive their bugs.
        let departed = unsafe { Session::current(self.host, session) }.and_then(|session| event::remember(&session));
        let Self { read, write, stream, keys, .. } = self;
        let (mut read, mut cursor, _) = read.into_inner();
        // SAFETY: in the memory of the session, which is there in CLOSE.
        read.keys(unsafe { keys.as_ref() }, &mut cursor);
        // First the rings' ends, so that the task finds everything in them that there will be.
        drop((read, write));
        stream.bug_closed(departed);
    }
}
