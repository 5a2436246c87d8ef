//! Frames that FreeSWITCH makes up: the hook on what a session reads, which keeps surplus ones from the media bugs.
//!
//! Thread: the one that reads the session, with no lock of FreeSWITCH's; the media bugs see the frame right after. What a bug's READ
//! is given looks like a packet: where the call conceals losses a made-up frame continues the voice, else all of its
//! samples are -1. The hook knows it by the frame's flag.
//!
//! Owner: the account lies in the session's own memory and goes with it. A hook stays on its session until then, as that of [`dtmf`](super::dtmf)
//! does. Once no attachment measures packets any more, nothing is lent and the hook lets everything through.
//!
//! The look-up of the account takes a lock of the channel's that threads of ordinary priority hold while they copy its variables. So
//! the hook looks it up for a made-up frame only, and only while some call owes one.

// What could wait or allocate has no place in a callback; what is done before and after says so.
#![cfg_attr(not(test), deny(clippy::disallowed_methods, clippy::disallowed_types, clippy::disallowed_macros))]

use std::ffi::{CStr, c_int};
use std::ptr::NonNull;

use super::bindings::{
    SFF_CNG, SFF_NOT_AUDIO, SFF_PROXY_PACKET, switch_core_session_t, switch_frame_t, switch_io_flag_t, switch_status_t,
};
use super::guard::guard;
use super::session::Session;
use crate::media::{Fillers, Owing, Seen};

/// Where a channel keeps its account; the number changes with its layout.
const ACCOUNT: &CStr = c"mod_audio_stream:fillers:2";

/// Two attachments of one call may be put on it at the same time, and share one account.
#[expect(clippy::disallowed_types, reason = "taken when an attachment is made, never in a callback")]
static MAKING: parking_lot::Mutex<()> = parking_lot::Mutex::new(());

/// Of all calls: a debt of one has the hooks of all look.
static OWING: Owing = Owing::new();

/// An attachment's part in the account of its call. Dropped in CLOSE at the latest, when the session is still there.
pub(super) struct Measure {
    /// In the session's memory.
    account: NonNull<Fillers>,
    seen: Seen,
}

// SAFETY: what it points to is made of atomics and outlives it.
unsafe impl Send for Measure {}

impl Measure {
    /// Puts the hook on the session. `None` when FreeSWITCH has no memory. Not for the media thread.
    pub(super) fn of(session: &Session<'_>) -> Option<Self> {
        let _alone = MAKING.lock();
        let account = session.kept::<Fillers>(ACCOUNT).or_else(|| session.keep(ACCOUNT))?;
        // SAFETY: the session is valid. One that has the hook already refuses it, which is as good.
        unsafe { session.host().switch_core_event_hook_add_read_frame(session.as_ptr(), Some(has_read)) };
        // SAFETY: in the memory of the session, which the caller has.
        let seen = unsafe { account.as_ref() }.measure();
        Some(Self { account, seen })
    }

    /// The attachment is given a frame of `length` ns, where `agreed` ns are a packet.
    pub(super) fn frame(&mut self, length: u64, agreed: u64) {
        // SAFETY: in the memory of the session, which is there in every callback.
        unsafe { self.account.as_ref() }.measured(&mut self.seen, length, agreed, &OWING);
    }
}

impl Drop for Measure {
    fn drop(&mut self) {
        // SAFETY: in the memory of the session, which outlives its bugs.
        unsafe { self.account.as_ref() }.stop(&OWING);
    }
}

/// FreeSWITCH's hook. SUCCESS: the frame goes on to the media bugs. BREAK: it goes past them, to who reads the session; FreeSWITCH itself
/// answers so where a reading brought nothing, on hold.
unsafe extern "C" fn has_read(
    session: *mut switch_core_session_t,
    frame: *mut *mut switch_frame_t,
    _flags: switch_io_flag_t,
    _stream: c_int,
) -> switch_status_t {
    guard(switch_status_t::SWITCH_STATUS_SUCCESS, || {
        // SAFETY: the place of FreeSWITCH's pointer to the frame, for the time of the call.
        let frame = unsafe { frame.as_ref() }.copied().unwrap_or_default();
        // SAFETY: NULL, or the endpoint's frame, which this thread has just read.
        let made_up = unsafe { frame.as_ref() }
            .is_some_and(|frame| frame.flags & (SFF_CNG | SFF_PROXY_PACKET | SFF_NOT_AUDIO) == SFF_CNG);
        // SAFETY: the session that is being read; it is there until the hook returns.
        if made_up && OWING.any() && unsafe { is_surplus(session) } {
            switch_status_t::SWITCH_STATUS_BREAK
        } else {
            switch_status_t::SWITCH_STATUS_SUCCESS
        }
    })
}

/// Whether the session, of which a frame has been made up, owes one.
///
/// # Safety
/// `session` is valid.
unsafe fn is_surplus(session: *mut switch_core_session_t) -> bool {
    // The table of functions outlives the module's state, as the hook does.
    let Ok(host) = super::host::resolve() else { return false };
    // SAFETY: valid by the caller's word.
    let account = unsafe { Session::current(host, session) }.and_then(|session| session.kept::<Fillers>(ACCOUNT));
    // SAFETY: in the session's memory.
    account.is_some_and(|account| unsafe { account.as_ref() }.is_surplus(&OWING))
}
