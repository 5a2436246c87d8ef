//! FreeSWITCH's own events that the module follows: `reloadxml`, a call's media, bridges and end, and who is muted in a conference.
//!
//! On FreeSWITCH's event threads, which deliver to everybody: nothing here waits for a call, nor for the configuration, which a
//! thread of its own reads.

use std::ffi::CStr;
use std::ptr;
use std::sync::Arc;

use parking_lot::Mutex;

use super::bindings::{Host, switch_event_node_t, switch_event_t, switch_event_types_t, switch_status_t};
use super::event;
use super::guard::guard;
use super::loaded;
use super::session::Session;
use super::{mask, thread, xml};
use crate::runtime::members::MemberNews;
use crate::units::CallId;

type Callback = unsafe extern "C" fn(*mut switch_event_t);

/// What FreeSWITCH gave for our listening to one kind of event.
struct Node(*mut switch_event_node_t);

// SAFETY: the pointer is only handed back to FreeSWITCH, once.
unsafe impl Send for Node {}

static NODES: Mutex<Vec<Node>> = Mutex::new(Vec::new());

/// Listens, until [`end`].
pub(super) fn begin(table: &'static Host) {
    let advice = "changes of the configuration need a reload of the module";
    bind(table, switch_event_types_t::SWITCH_EVENT_RELOADXML, None, reloaded, advice);
    let advice = "a stream that waits for its call's media is attached up to 100 ms later";
    bind(table, switch_event_types_t::SWITCH_EVENT_CHANNEL_PROGRESS_MEDIA, None, has_media, advice);
    bind(table, switch_event_types_t::SWITCH_EVENT_CHANNEL_ANSWER, None, has_media, advice);
    let advice =
        "a conversation goes on beside the person to whom its caller was handed over; a mask covers its own leg only";
    bind(table, switch_event_types_t::SWITCH_EVENT_CHANNEL_BRIDGE, None, is_bridged, advice);
    let advice = "streams of a leg that was bridged with a masked one stay masked until the mask ends";
    bind(table, switch_event_types_t::SWITCH_EVENT_CHANNEL_UNBRIDGE, None, is_unbridged, advice);
    let advice = "streams send the audio of members whom a conference has muted";
    bind(table, switch_event_types_t::SWITCH_EVENT_CUSTOM, Some(c"conference::maintenance"), member_changed, advice);
    bind(table, switch_event_types_t::SWITCH_EVENT_CHANNEL_DESTROY, None, is_gone, advice);
}

/// No callback runs afterwards.
pub(super) fn end(table: &'static Host) {
    for Node(mut node) in std::mem::take(&mut *NODES.lock()) {
        // SAFETY: bound by `bind`, unbound once.
        unsafe { table.switch_event_unbind(&raw mut node) };
    }
}

fn bind(
    table: &'static Host,
    event: switch_event_types_t,
    subclass: Option<&'static CStr>,
    callback: Callback,
    advice: &'static str,
) {
    let mut node = ptr::null_mut();
    // SAFETY: the strings are constants; the callback stays mapped, and is unbound in `end`.
    let status = unsafe {
        table.switch_event_bind_removable(
            c"mod_audio_stream".as_ptr(),
            event,
            subclass.map_or(ptr::null(), CStr::as_ptr),
            Some(callback),
            ptr::null_mut(),
            &raw mut node,
        )
    };
    if status == switch_status_t::SWITCH_STATUS_SUCCESS {
        NODES.lock().push(Node(node));
    } else {
        tracing::warn!(target: "LIFECYCLE", op = "listen", outcome = "refused", event = event.0, advice);
    }
}

/// Has the configuration read again after each `reloadxml`, for streams that start afterwards.
unsafe extern "C" fn reloaded(_event: *mut switch_event_t) {
    guard((), || {
        let mut reload = RELOAD.lock();
        if matches!(*reload, Reload::Idle) {
            match std::thread::Builder::new().name(RELOADER.into()).spawn(read_again) {
                // It ends by itself; what it reads for a module that is not loaded any more is dropped.
                Ok(_) => *reload = Reload::Asked,
                Err(error) => {
                    tracing::warn!(target: "LIFECYCLE", op = "reloadxml", outcome = "failed", error = %error,
                        advice = "the configuration is as before; try again");
                }
            }
        } else {
            *reload = Reload::Asked;
        }
    });
}

/// The thread that reads the configuration, as `ps` shows it. It exists while it has something to read.
const RELOADER: &str = "mas-reload";

/// Whether the configuration is being read, which may last: FreeSWITCH may ask a web server for it.
enum Reload {
    Idle,
    /// It is to be read, from the beginning.
    Asked,
    Reading,
}

static RELOAD: Mutex<Reload> = Mutex::new(Reload::Idle);

/// Reads the configuration as long as somebody asks. One thread at a time; of several requests the last one counts.
fn read_again() {
    thread::ordinary(RELOADER);
    loop {
        let mut reload = RELOAD.lock();
        if !matches!(*reload, Reload::Asked) {
            *reload = Reload::Idle;
            return;
        }
        *reload = Reload::Reading;
        drop(reload);
        guard((), || {
            let Some(before) = loaded::current() else { return };
            let config = xml::configuration(before.host);
            // Reading may have outlasted the module, or the load of it that it was read for.
            if loaded::current().is_some_and(|now| Arc::ptr_eq(&now.module, &before.module)) {
                before.module.reconfigure(config);
                tracing::info!(target: "LIFECYCLE", op = "reloadxml", outcome = "ok");
            }
        });
    }
}

/// A call is answered or has early media: starts that wait for it are tried.
unsafe extern "C" fn has_media(event: *mut switch_event_t) {
    guard((), || {
        let Some(loaded) = loaded::current() else { return };
        // SAFETY: FreeSWITCH's event lives through the callback.
        if let Some(uuid) = unsafe { event::header(loaded.host, event, c"Unique-ID") } {
            loaded.module.media_is_expected(&CallId::new(&uuid));
        }
    });
}

/// A conference mutes a member or lets them be heard, or somebody joins or leaves.
unsafe extern "C" fn member_changed(event: *mut switch_event_t) {
    const ACTIONS: [&str; 6] =
        ["add-member", "mute-member", "unmute-member", "hold-member", "unhold-member", "del-member"];
    guard((), || {
        let Some(loaded) = loaded::current() else { return };
        // SAFETY: FreeSWITCH's event lives through the callback.
        let header = |name| unsafe { event::header(loaded.host, event, name) };
        let Some(action) = header(c"Action").filter(|action| ACTIONS.contains(&action.as_str())) else { return };
        // Members without a call have no uuid.
        let Some(uuid) = header(c"Unique-ID") else { return };
        let sequence = header(c"Event-Sequence").and_then(|text| text.parse().ok()).unwrap_or_default();
        let is = |name, value: &str| header(name).as_deref() == Some(value);
        let muted = action != "del-member" && (is(c"Speak", "false") || is(c"Hold", "true"));
        let lives = |call: &CallId| Session::locate(loaded.host, call.as_str()).is_some();
        loaded.module.members().follow(&CallId::new(&uuid), MemberNews { sequence, muted }, lives);
    });
}

/// The two calls of a bridge.
///
/// # Safety
/// `event` is FreeSWITCH's, and lives through the call.
unsafe fn legs(host: &'static Host, event: *mut switch_event_t) -> Option<[String; 2]> {
    // SAFETY: by the caller's word.
    let header = |name| unsafe { event::header(host, event, name) };
    let one = header(c"Bridge-A-Unique-ID").or_else(|| header(c"Unique-ID"))?;
    let other = header(c"Bridge-B-Unique-ID").or_else(|| header(c"Other-Leg-Unique-ID"))?;
    Some([one, other])
}

/// A bridge has ended.
unsafe extern "C" fn is_unbridged(event: *mut switch_event_t) {
    guard((), || {
        let Some(loaded) = loaded::current() else { return };
        // SAFETY: FreeSWITCH's event lives through the callback.
        if let Some([one, other]) = unsafe { legs(loaded.host, event) } {
            mask::unbridged(loaded.host, [&one, &other]);
        }
    });
}

/// A call is bridged: what is masked on one leg is masked on the other, and a conversation whose caller is being handed over ends.
unsafe extern "C" fn is_bridged(event: *mut switch_event_t) {
    guard((), || {
        let Some(loaded) = loaded::current() else { return };
        // SAFETY: FreeSWITCH's event lives through the callback.
        if let Some([one, other]) = unsafe { legs(loaded.host, event) } {
            mask::bridged(loaded.host, [&one, &other]);
        }
        // SAFETY: FreeSWITCH's event lives through the callback.
        if let Some(uuid) = unsafe { event::header(loaded.host, event, c"Unique-ID") } {
            loaded.module.is_bridged(&CallId::new(&uuid));
        }
    });
}

/// A call is gone.
unsafe extern "C" fn is_gone(event: *mut switch_event_t) {
    guard((), || {
        let Some(loaded) = loaded::current() else { return };
        // SAFETY: FreeSWITCH's event lives through the callback.
        if let Some(uuid) = unsafe { event::header(loaded.host, event, c"Unique-ID") } {
            loaded.module.members().forget(&CallId::new(&uuid));
        }
    });
}
