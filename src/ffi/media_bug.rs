//! The media bug of an attachment, whatever its kind: FreeSWITCH's callbacks on the call's audio, and the memory they use.
//!
//! Threads: READ on the thread that reads the session, WRITE_REPLACE on the thread that writes to it, under FreeSWITCH's
//! read lock on the session's bugs. The two overlap; each is serial with itself, since FreeSWITCH holds the codec's read,
//! respectively write, mutex around it. CLOSE on any thread, when neither of them runs or will run again.
//!
//! Owner: one [`Bug`] on the heap, made by [`attach`], owned by FreeSWITCH's user data from then on, freed in CLOSE. Both
//! [`Half`]s go with it; nothing of it is freed in READ or WRITE_REPLACE.

// What could wait or allocate has no place in a callback; what is done before and after says so.
#![cfg_attr(not(test), deny(clippy::disallowed_methods, clippy::disallowed_types, clippy::disallowed_macros))]

use std::cell::UnsafeCell;
use std::ffi::{CStr, c_void};
use std::ptr::{self, NonNull};
use std::sync::{Arc, Weak};

use super::bindings::{Host, switch_abc_type_t, switch_bool_t, switch_media_bug_t, switch_status_t};
use super::guard::guard;
use super::in_use::InUse;
use super::session::Session;
use super::{event, log};
use crate::call::{Attached, MediaBug};
use crate::units::fault;

/// What an attachment does in one of the two callbacks.
pub(super) trait Half {
    /// The callback. On a media thread: must not wait, allocate, log or panic.
    ///
    /// # Safety
    /// `bug` is the one whose READ, or for the other half WRITE_REPLACE, callback runs.
    unsafe fn run(&mut self, host: &'static Host, bug: *mut switch_media_bug_t);

    /// Stands in for [`run`](Self::run) once the attachment leaves the call, until CLOSE: for what others on the call wait for. Also after
    /// a panic in `run`.
    ///
    /// # Safety
    /// As for `run`.
    unsafe fn pass_on(&mut self, _host: &'static Host, _bug: *mut switch_media_bug_t) {}

    /// CLOSE, before the half is dropped. The session is still there.
    fn close(&mut self) {}
}

/// What FreeSWITCH carries for us as the bug's user data.
struct Bug<A, R, W> {
    host: &'static Host,
    /// Touched by the READ callback alone.
    read: UnsafeCell<R>,
    /// Touched by the WRITE_REPLACE callback alone.
    write: UnsafeCell<W>,
    attached: Arc<A>,
    /// Unload is refused until CLOSE.
    _in_use: InUse,
}

/// Puts a bug on the session whose READ callback runs `read` and whose WRITE_REPLACE callback runs `write`; `function` is its name
/// in FreeSWITCH.
///
/// An error means that nothing was attached; FreeSWITCH's log says why. May send a provisional answer, if the call has no
/// audio yet: API and dialplan threads only.
#[expect(clippy::disallowed_types, reason = "made before a callback has it")]
pub(super) fn attach<A: Attached, R: Half, W: Half>(
    session: &Session<'_>,
    (function, flags): (&CStr, u32),
    attached: &Arc<A>,
    (read, write): (R, W),
    in_use: InUse,
) -> Result<Box<dyn MediaBug>, &'static str> {
    let bug = Box::into_raw(Box::new(Bug {
        host: session.host(),
        read: UnsafeCell::new(read),
        write: UnsafeCell::new(write),
        attached: attached.clone(),
        _in_use: in_use,
    }));
    let target = log::c_string(attached.name().as_str());
    let mut added = ptr::null_mut();
    // SAFETY: the session is locked; the strings are copied; `bug` stays valid until CLOSE, which comes once and last.
    let status = unsafe {
        session.host().switch_core_media_bug_add(
            session.as_ptr(),
            function.as_ptr(),
            target.as_ptr(),
            Some(callback::<A, R, W>),
            bug.cast::<c_void>(),
            0,
            flags,
            &raw mut added,
        )
    };
    match NonNull::new(added).filter(|_| status == switch_status_t::SWITCH_STATUS_SUCCESS) {
        Some(bug) => Ok(Box::new(BugOnCall { host: session.host(), bug, attached: Arc::downgrade(attached) })),
        None => {
            // SAFETY: FreeSWITCH did not take the bug, so there is no CLOSE and the box is still ours.
            drop(unsafe { Box::from_raw(bug) });
            Err("FreeSWITCH refused the media bug")
        }
    }
}

/// A bug on a session, by its address there.
struct BugOnCall<A> {
    host: &'static Host,
    bug: NonNull<switch_media_bug_t>,
    attached: Weak<A>,
}

// SAFETY: the address is only handed back to FreeSWITCH, under the session's lock, and only while the bug is not closed.
unsafe impl<A: Attached> Send for BugOnCall<A> {}
// SAFETY: as above.
unsafe impl<A: Attached> Sync for BugOnCall<A> {}

impl<A: Attached> MediaBug for BugOnCall<A> {
    fn detach(&self) {
        let Some(attached) = self.attached.upgrade() else { return };
        // No session: it is being destroyed, and its bugs are closed on that way.
        let Some(session) = Session::locate(self.host, attached.call().as_str()) else { return };
        // With the session locked, an unclosed bug is on it, and its memory, the session's pool, stays.
        if !attached.is_bug_closed() {
            let mut bug = self.bug.as_ptr();
            attached.coming_off(true);
            // SAFETY: the session is locked. A bug that another thread is just closing is no longer in the list, and
            // FreeSWITCH does nothing to it then.
            unsafe { self.host.switch_core_media_bug_remove(session.as_ptr(), &raw mut bug) };
            attached.coming_off(false);
        }
    }
}

/// FreeSWITCH's callback.
///
/// READ and WRITE_REPLACE never return FALSE, which would have FreeSWITCH prune the bug: when two bugs of a session are pruned at
/// once, it can close one of them twice. The event thread takes bugs off calls instead.
#[expect(clippy::disallowed_types, reason = "CLOSE frees what the other callbacks have used")]
unsafe extern "C" fn callback<A: Attached, R: Half, W: Half>(
    bug: *mut switch_media_bug_t,
    user_data: *mut c_void,
    kind: switch_abc_type_t,
) -> switch_bool_t {
    let Some(data) = NonNull::new(user_data.cast::<Bug<A, R, W>>()) else { return switch_bool_t::SWITCH_FALSE };
    match kind {
        switch_abc_type_t::SWITCH_ABC_TYPE_READ => {
            // SAFETY: the box lives until CLOSE, which FreeSWITCH calls when no other callback runs.
            let this = unsafe { data.as_ref() };
            // SAFETY: READ is serial with itself, and nothing else touches this half.
            unsafe { this.run(&this.read, bug, "read") };
        }
        switch_abc_type_t::SWITCH_ABC_TYPE_WRITE_REPLACE => {
            // SAFETY: as for READ.
            let this = unsafe { data.as_ref() };
            // SAFETY: WRITE_REPLACE is serial with itself, and nothing else touches this half.
            unsafe { this.run(&this.write, bug, "write") };
        }
        switch_abc_type_t::SWITCH_ABC_TYPE_CLOSE => guard((), || {
            // SAFETY: CLOSE comes once, after the last other callback; the box was FreeSWITCH's since `attach`.
            let data = unsafe { Box::from_raw(data.as_ptr()) };
            data.close(bug);
        }),
        _ => {}
    }
    switch_bool_t::SWITCH_TRUE
}

impl<A: Attached, R: Half, W: Half> Bug<A, R, W> {
    /// Runs one half's callback; once the attachment leaves the call, what remains of it.
    ///
    /// # Safety
    /// `bug` is the one whose callback for this half runs, and nothing else touches the half.
    unsafe fn run(&self, half: &UnsafeCell<impl Half>, bug: *mut switch_media_bug_t, place: &str) {
        if self.attached.is_leaving() {
            guard((), || {
                // SAFETY: passed on to the caller.
                let half = unsafe { &mut *half.get() };
                // SAFETY: as above.
                unsafe { half.pass_on(self.host, bug) };
            });
            return;
        }
        let whole = guard(false, || {
            fault::point(self.attached.name(), place);
            // SAFETY: passed on to the caller.
            let half = unsafe { &mut *half.get() };
            // SAFETY: as above.
            unsafe { half.run(self.host, bug) };
            true
        });
        if !whole {
            self.attached.panicked();
        }
    }

    /// The bug's end: keeps what events say of the channel, and tells the attachment.
    fn close(self, bug: *mut switch_media_bug_t) {
        // The last binding falls first; the module stays in use until everything else has.
        let Self { _in_use, attached, host, read, write } = self;
        let (mut read, mut write) = (read.into_inner(), write.into_inner());
        read.close();
        write.close();
        // SAFETY: the bug still names its session in CLOSE.
        let session = unsafe { host.switch_core_media_bug_get_session(bug) };
        // SAFETY: sessions outlive their bugs.
        let channel = unsafe { Session::current(host, session) }.and_then(|session| event::snapshot(&session));
        // The rings' reader finds everything in them that there will be, before it hears of the end.
        drop((read, write));
        attached.bug_closed(channel);
    }
}
