//! The caller's keys: FreeSWITCH's hook on the digits it receives.
//!
//! Threads: [`listen`] on API and dialplan threads; the hook on the thread that has the digit: the one that reads the
//! session for RTP, any for SIP INFO and commands, a media bug's callback for inband tones. Each holds the channel's DTMF
//! mutex and possibly the lock of the session's bugs, which is why the hook does not look at the bugs: it adds the key to the
//! call's ring, and READ takes it from there.
//!
//! Owner: the ring lies in the session's own memory and goes with it. A hook stays on its session until then: FreeSWITCH's
//! list has no lock, so nothing is ever taken out of it. After an unload it finds a ring that nobody reads, and its code is
//! still there, for the file stays mapped (`-z nodelete`).

// What could wait or allocate has no place in the hook; what is done before says so.
#![cfg_attr(not(test), deny(clippy::disallowed_methods, clippy::disallowed_types, clippy::disallowed_macros))]

use super::bindings::{
    switch_core_session_t, switch_dtmf_direction_t, switch_dtmf_source_t, switch_dtmf_t, switch_status_t,
};
use super::guard::guard;
use super::mask;
use super::session::Session;
use crate::media::{Dtmf, DtmfRing};
use std::ffi::CStr;
use std::ptr::NonNull;

/// Where a channel keeps its ring; the number changes with the ring's layout.
const RING: &CStr = c"mod_audio_stream:keys:1";

/// The unit of a digit's duration, except for one that came by RTP: a sample of 8 kHz.
const UNITS_PER_MS: u32 = 8;

/// The channel variable by which an operator keeps digits out of FreeSWITCH's log and events, and so out of ours.
const SENSITIVE: &CStr = c"sensitive_dtmf";

/// The ring of the session's keys, filled from now on. `None` when FreeSWITCH has no memory. Not two threads at once for one
/// session.
pub(super) fn listen(session: &Session<'_>) -> Option<NonNull<DtmfRing>> {
    let ring = session.kept::<DtmfRing>(RING).or_else(|| session.keep(RING))?;
    // SAFETY: the session is valid. One that has the hook already refuses it, which is as good.
    unsafe { session.host().switch_core_event_hook_add_recv_dtmf(session.as_ptr(), Some(received)) };
    Some(ring)
}

/// FreeSWITCH's hook on a key of the caller. Always SUCCESS: the key goes on.
unsafe extern "C" fn received(
    session: *mut switch_core_session_t,
    dtmf: *const switch_dtmf_t,
    _direction: switch_dtmf_direction_t,
) -> switch_status_t {
    guard(switch_status_t::SWITCH_STATUS_SUCCESS, || {
        // The table of functions outlives the module's state, as the hook does.
        let Ok(host) = super::host::resolve() else { return switch_status_t::SWITCH_STATUS_SUCCESS };
        // SAFETY: the session whose digit it is; it is there until the hook returns.
        let session = unsafe { Session::current(host, session) };
        // SAFETY: NULL, or FreeSWITCH's digit, for the time of the call.
        if let (Some(session), Some(dtmf)) = (session, unsafe { dtmf.as_ref() }) {
            note(&session, dtmf);
        }
        switch_status_t::SWITCH_STATUS_SUCCESS
    })
}

/// Adds a key of the caller to the call's ring, unless the caller is masked or an operator keeps digits out of the log.
fn note(session: &Session<'_>, dtmf: &switch_dtmf_t) {
    let Some(ring) = session.kept::<DtmfRing>(RING) else { return };
    let Some(key) = Dtmf::new(dtmf.digit.to_ne_bytes()[0], duration_ms(session, dtmf)) else { return };
    if !mask::is_on(session) && !session.is_set(SENSITIVE) {
        // SAFETY: in the session's memory.
        unsafe { ring.as_ref() }.push(key);
    }
}

/// RTP counts in the clock of its codec, and FreeSWITCH passes that on. A far end that has keys in another clock than its
/// audio gets wrong durations.
fn duration_ms(session: &Session<'_>, dtmf: &switch_dtmf_t) -> u32 {
    let clock = if dtmf.source == switch_dtmf_source_t::SWITCH_DTMF_RTP { session.rtp_clock_hz() } else { None };
    let units = clock.map_or(UNITS_PER_MS, |hz| hz / 1_000).max(1);
    dtmf.duration.div_ceil(units)
}
