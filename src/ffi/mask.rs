//! The mask of a call: where the session keeps it.
//!
//! API and dialplan threads; the media callbacks and the hook on keys only read what is there.

use std::ffi::CStr;
use std::ptr::NonNull;

use parking_lot::Mutex;

use super::session::Session;
use crate::media::Mask;

/// Where a channel keeps its mask; the number changes with its layout.
const MASK: &CStr = c"mod_audio_stream:mask:1";

/// A command and an attachment may want the first mask of a call at the same time.
static MAKING: Mutex<()> = Mutex::new(());

/// The session's mask. `None` when FreeSWITCH has no memory. Not for the media thread.
pub(super) fn of(session: &Session<'_>) -> Option<NonNull<Mask>> {
    let _alone = MAKING.lock();
    session.kept::<Mask>(MASK).or_else(|| session.keep(MASK))
}

/// Whether the session's caller is masked.
pub(super) fn is_on(session: &Session<'_>) -> bool {
    // SAFETY: in the session's memory, and the session is valid.
    session.kept::<Mask>(MASK).is_some_and(|mask| unsafe { mask.as_ref() }.is_on())
}
