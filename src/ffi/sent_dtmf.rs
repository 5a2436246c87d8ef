//! Keys for a caller: where the SIP endpoint takes them over from FreeSWITCH's core.
//!
//! FreeSWITCH calls its hook on sent keys for those that a bridge relays and for `uuid_send_dtmf` with `~`, and for no others. All
//! of them reach the endpoint's `send_dtmf`. So the endpoint's table of functions is replaced by a copy in which this one is
//! [`send`]: it hands each key on, and notes those that are accepted for the streams of the call.
//!
//! Threads: [`listen`] on API and dialplan threads; [`send`] on the thread that sends the key, which may be a media thread of
//! another leg. The media threads of the call read what is noted and pay nothing else.
//!
//! Owner: what a call is sent lies in the session's own memory, as in [`dtmf`](super::dtmf). The copy is made once for each load of
//! the endpoint's module and stays in place after an unload of ours, since another thread may be about to call it: it then finds no
//! streams, and its code is still there (`-z nodelete`).

use std::ffi::{CStr, c_void};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicPtr, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::bindings::{
    Host, switch_core_session_t, switch_dtmf_t, switch_endpoint_interface_t, switch_io_routines_t, switch_status_t,
};
use super::guard::guard;
use super::session::Session;
use crate::media::{OfferedDtmf, SentDtmf};

/// Where a channel keeps until when it is sent keys; the number changes with its layout.
const SENT: &CStr = c"mod_audio_stream:sent_keys:2";

/// The endpoint that sends keys as events of RTP.
const SIP: &CStr = c"sofia";

/// The endpoint's own table.
static ORIGINAL: AtomicPtr<switch_io_routines_t> = AtomicPtr::new(ptr::null_mut());

/// Two streams may be put on calls at the same time.
static REPLACING: Mutex<()> = Mutex::new(());

/// Until when the session is sent keys, told from now on. `None` when FreeSWITCH has no memory. Not two threads at once for one
/// session.
pub(super) fn listen(session: &Session<'_>) -> Option<NonNull<SentDtmf>> {
    let sent = session.kept::<SentDtmf>(SENT).or_else(|| session.keep(SENT))?;
    if let Some(endpoint) = Endpoint::in_use(session.host(), SIP) {
        endpoint.replace_send_dtmf();
    }
    Some(sent)
}

/// Stands in for the endpoint's `send_dtmf`.
unsafe extern "C" fn send(session: *mut switch_core_session_t, dtmf: *const switch_dtmf_t) -> switch_status_t {
    let offered = guard(None, || {
        let host = super::host::resolve().ok()?;
        // SAFETY: the session that is sent the key; it is there until the function returns.
        let session = unsafe { Session::current(host, session) }?;
        let sent = session.kept::<SentDtmf>(SENT)?;
        // SAFETY: NULL, or FreeSWITCH's digit, for the time of the call.
        let key = Key::new(&session, unsafe { dtmf.as_ref() }?)?;
        // SAFETY: in the session's memory.
        Some((unsafe { sent.as_ref() }.offer(), key))
    });
    // SAFETY: NULL, or the table of the endpoint's module, which is loaded as long as a session of it lives.
    let original = unsafe { ORIGINAL.load(Ordering::Acquire).as_ref() };
    let Some(original) = original.and_then(|routines| routines.send_dtmf) else {
        return switch_status_t::SWITCH_STATUS_FALSE;
    };
    // SAFETY: the endpoint's own function, with what it was to be called with.
    let status = unsafe { original(session, dtmf) };
    if let Some((offered, key)) = offered
        && status == switch_status_t::SWITCH_STATUS_SUCCESS
    {
        key.accepted(offered);
    }
    status
}

/// A key on its way to the events of RTP.
struct Key {
    ptime: Duration,
    length: Duration,
}

impl Key {
    /// `None` where the session's keys do not become events of RTP.
    ///
    /// The thread that reads the session sends a packet of the key's event for each packet it waits for, until the events have
    /// lasted as long as the key in the clock of RTP, and takes the next key out of its queue one packet, or the agreed pause, later.
    fn new(session: &Session<'_>, dtmf: &switch_dtmf_t) -> Option<Self> {
        let pause = Duration::from_millis(session.rtp_keys_pause_ms()?.into());
        let codec = session.read_codec()?;
        let clock = session.rtp_clock_hz()?;
        let ptime = Duration::from_millis(codec.ptime_ms.max(1).into());
        let per_packet = (clock / 1_000 * codec.ptime_ms).max(1);
        let length = match dtmf.digit.to_ne_bytes()[0] {
            // Audio is sent in a pause, but the next key begins at its end, and not before.
            b'w' => Duration::from_millis(500),
            b'W' => Duration::from_secs(1),
            _ => {
                let packets = u32::try_from(pause.as_nanos().div_ceil(ptime.as_nanos())).unwrap_or(1).max(1);
                ptime * (dtmf.duration.div_ceil(per_packet).saturating_sub(1) + packets)
            }
        };
        Some(Self { ptime, length })
    }

    /// The endpoint has it in its queue.
    fn accepted(self, offered: OfferedDtmf<'_>) {
        offered.accepted(Instant::now(), 2 * self.ptime, self.length);
    }
}

/// An endpoint of FreeSWITCH's, whose module is not unloaded meanwhile.
struct Endpoint {
    host: &'static Host,
    interface: NonNull<switch_endpoint_interface_t>,
}

impl Endpoint {
    fn in_use(host: &'static Host, name: &CStr) -> Option<Self> {
        // SAFETY: the string lives through the call. What comes back is in use, which `Drop` undoes.
        let interface = unsafe { host.switch_loadable_module_get_endpoint_interface(name.as_ptr()) };
        NonNull::new(interface).map(|interface| Self { host, interface })
    }

    /// Puts [`send`] in front of the endpoint's own function, unless something is there already.
    fn replace_send_dtmf(&self) {
        let _alone = REPLACING.lock();
        // SAFETY: the interface is in use.
        let place = unsafe { &raw mut (*self.interface.as_ptr()).io_routines };
        // SAFETY: FreeSWITCH never writes to this field of a registered interface, and reads it as one word.
        let place = unsafe { AtomicPtr::from_ptr(place) };
        let current = place.load(Ordering::Acquire);
        // SAFETY: NULL, or the table that is in force, which is not changed.
        let Some(mut routines) = unsafe { current.as_ref() }.copied() else { return };
        // SAFETY: in use.
        let own = unsafe { (*self.interface.as_ptr()).state_handler }.cast::<c_void>();
        // Once for each load: behind a function of another module ours may be in place already, and would call itself.
        if routines.send_dtmf.is_some_and(|function| same_file(function as *const c_void, own)) {
            routines.send_dtmf = Some(send);
            ORIGINAL.store(current, Ordering::Release);
            // Some 200 bytes for each load of the endpoint's module: a thread may use the table at any time.
            place.store(Box::leak(Box::new(routines)), Ordering::Release);
        }
    }
}

impl Drop for Endpoint {
    /// As FreeSWITCH's `UNPROTECT_INTERFACE`.
    fn drop(&mut self) {
        let interface = self.interface.as_ptr();
        // SAFETY: in use until here, so that it, its locks and its parent exist.
        let (reflock, rwlock) = (unsafe { (*interface).reflock }, unsafe { (*interface).rwlock });
        // SAFETY: as above.
        let parent = unsafe { (*interface).parent };
        // SAFETY: as above.
        let parent_rwlock = unsafe { (*parent).rwlock };
        // SAFETY: as above.
        unsafe { self.host.switch_mutex_lock(reflock) };
        // SAFETY: counted up by `in_use`, and changed under this lock only.
        unsafe { (*interface).refs -= 1 };
        // SAFETY: as above.
        unsafe { (*parent).refs -= 1 };
        // SAFETY: locked above.
        unsafe { self.host.switch_mutex_unlock(reflock) };
        for lock in [rwlock, parent_rwlock] {
            // SAFETY: locked for reading by `in_use`, on this thread.
            unsafe { self.host.switch_thread_rwlock_unlock(lock) };
        }
    }
}

/// Whether both addresses belong to the same loaded file.
fn same_file(one: *const c_void, other: *const c_void) -> bool {
    let base = |address| {
        // SAFETY: a structure of pointers, for which zero is a value.
        let mut file = unsafe { std::mem::zeroed::<libc::Dl_info>() };
        // SAFETY: any address may be asked for; the structure is ours.
        let found = unsafe { libc::dladdr(address, &raw mut file) } != 0;
        (found && !file.dli_fbase.is_null()).then_some(file.dli_fbase)
    };
    base(one).is_some() && base(one) == base(other)
}
