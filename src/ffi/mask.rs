//! The mask of a call: where the session keeps it, and how the other leg of a bridge follows it.
//!
//! A masked caller is what the other leg hears: its streams and recordings withhold that. `mask` and the beginning and end of a bridge
//! decide it, so that the media callbacks, which must not look for another call, only read what is there.
//!
//! API and dialplan threads, and FreeSWITCH's event threads; the media callbacks and the hook on keys only read.

use std::ffi::CStr;
use std::ptr::NonNull;

use parking_lot::Mutex;

use super::bindings::Host;
use super::session::Session;
use crate::media::Mask;

/// Where a channel keeps its mask; the number changes with its layout.
const MASK: &CStr = c"mod_audio_stream:mask:2";

/// A command and an attachment may want the first mask of a call at the same time.
static MAKING: Mutex<()> = Mutex::new(());

/// What one leg is and what the other withholds are read and written as one: else a mask that is set while a bridge begins could be
/// overwritten by what was read before it. Held for some look-ups; taken before [`MAKING`].
static LEGS: Mutex<()> = Mutex::new(());

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

/// Masks the session's caller, or no longer, on both legs of a bridge; whether that is a change.
pub(super) fn set(session: &Session<'_>, on: bool) -> Result<bool, &'static str> {
    const NO_MEMORY: &str = "FreeSWITCH is out of memory";
    let _alone = LEGS.lock();
    let mask = of(session).ok_or(NO_MEMORY)?;
    // SAFETY: in the memory of the session, which is held.
    let changed = unsafe { mask.as_ref() }.set(on);
    // Behind the own mask: a bridge that begins meanwhile sees that.
    match other_leg(session) {
        Some(other) if !follow(&other, on) => Err(NO_MEMORY),
        _ => Ok(changed),
    }
}

/// A bridge of two calls begins: each leg withholds the other if that is masked.
pub(super) fn bridged(host: &'static Host, legs: [&str; 2]) {
    let [Some(one), Some(other)] = legs.map(|uuid| Session::locate(host, uuid)) else { return };
    let _alone = LEGS.lock();
    for (leg, of) in [(&one, &other), (&other, &one)] {
        if !follow(leg, is_on(of)) {
            tracing::error!(target: "LIFECYCLE", call = leg.uuid(), op = "mask", outcome = "failed",
                reason = "FreeSWITCH has no memory for the mask of the other leg");
        }
    }
}

/// A bridge of two calls has ended: neither leg withholds the other any more. One that is bridged with a third already withholds that
/// if it is masked.
pub(super) fn unbridged(host: &'static Host, [one, other]: [&str; 2]) {
    let _alone = LEGS.lock();
    for (uuid, before) in [(one, other), (other, one)] {
        let Some(session) = Session::locate(host, uuid) else { continue };
        let now = other_leg(&session).filter(|now| now.uuid() != before);
        follow(&session, now.is_some_and(|now| is_on(&now)));
    }
}

/// Has a call withhold its other leg, or no longer; false when FreeSWITCH has no memory.
fn follow(session: &Session<'_>, on: bool) -> bool {
    let mask = if on { of(session) } else { session.kept(MASK) };
    // SAFETY: in the session's memory, and the session is valid.
    let followed = mask.map(|mask| unsafe { mask.as_ref() }.set_other(on)).is_some();
    followed || !on
}

/// The call at the other end of the session's bridge, if each names the other: what is left of an earlier bridge does not.
fn other_leg(session: &Session<'_>) -> Option<Session<'static>> {
    let other = Session::locate(session.host(), &bond(session)?)?;
    (bond(&other)? == session.uuid()).then_some(other)
}

/// FreeSWITCH's name for it; it is there before the first frame passes.
fn bond(session: &Session<'_>) -> Option<String> {
    session.variable("signal_bond").or_else(|| session.variable("bridge_uuid"))
}
