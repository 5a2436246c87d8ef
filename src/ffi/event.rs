//! Events into FreeSWITCH.
//!
//! On the event thread, which may wait for a session's locks; [`snapshot`] on the thread that closes a media bug.

use std::any::Any;
use std::ffi::CStr;
use std::ptr::{self, NonNull};

use super::bindings::{Host, switch_event_t, switch_event_types_t, switch_stack_t, switch_status_t};
use super::host::text_of;
use super::log::c_string;
use super::session::Session;
use crate::call::ChannelSnapshot;
use crate::control::options;
use crate::event::FsEvent;
use crate::units::CallId;

/// Whom FreeSWITCH lists as the owner of our subclasses; only the same name can free them.
const OWNER: &CStr = c"mod_audio_stream";

/// The value of an event's header.
///
/// # Safety
/// `event` is NULL or an event that nobody changes meanwhile.
pub(super) unsafe fn header(table: &'static Host, event: *mut switch_event_t, name: &CStr) -> Option<String> {
    let event = NonNull::new(event)?;
    // SAFETY: valid by the caller's word; the name is a constant.
    let value = unsafe { table.switch_event_get_header_idx(event.as_ptr(), name.as_ptr(), -1) };
    // SAFETY: NULL, or a string of the event's.
    unsafe { text_of(value) }
}

/// An event of FreeSWITCH's that has not been fired.
struct Event {
    host: &'static Host,
    event: NonNull<switch_event_t>,
}

// SAFETY: an unfired event is plain heap memory with one owner; FreeSWITCH itself hands events from thread to thread.
unsafe impl Send for Event {}
// SAFETY: shared, it is only read: its headers are copied into another event.
unsafe impl Sync for Event {}

impl Event {
    fn new(host: &'static Host, kind: switch_event_types_t, subclass: Option<&str>) -> Option<Self> {
        let subclass = subclass.map(c_string);
        let subclass = subclass.as_ref().map_or(ptr::null(), |subclass| subclass.as_ptr());
        let mut event = ptr::null_mut();
        // SAFETY: the strings live through the call, and `event` is where FreeSWITCH puts the new event.
        let status = unsafe {
            host.switch_event_create_subclass_detailed(
                c"mod_audio_stream".as_ptr(),
                c"event".as_ptr(),
                0,
                &raw mut event,
                kind,
                subclass,
            )
        };
        let event = NonNull::new(event).filter(|_| status == switch_status_t::SWITCH_STATUS_SUCCESS)?;
        Some(Self { host, event })
    }

    fn header(&self, name: &str, value: &str) {
        let (name, value) = (c_string(name), c_string(value));
        // SAFETY: the event is ours; FreeSWITCH copies both strings.
        unsafe {
            self.host.switch_event_add_header_string(
                self.event.as_ptr(),
                switch_stack_t::SWITCH_STACK_BOTTOM,
                name.as_ptr(),
                value.as_ptr(),
            );
        }
    }

    fn body(&self, body: &str) {
        let body = c_string(body);
        // SAFETY: the event is ours; FreeSWITCH copies the string and formats nothing.
        unsafe { self.host.switch_event_set_body(self.event.as_ptr(), body.as_ptr()) };
    }

    fn channel(&self, session: &Session<'_>) {
        // SAFETY: the session's channel is valid while `session` is, and the event is ours.
        unsafe { self.host.switch_channel_event_set_data(session.channel(), self.event.as_ptr()) };
    }

    /// Takes out what the channel's variables would tell of credentials given to the module.
    fn without_secrets(&self) {
        for name in secret_variables() {
            let header = c_string(&format!("variable_{name}"));
            // SAFETY: the event is ours; with no value all headers of the name are removed.
            unsafe { self.host.switch_event_del_header_val(self.event.as_ptr(), header.as_ptr(), ptr::null()) };
        }
    }

    fn headers_of(&self, other: &Self) {
        // SAFETY: both events are ours; the headers are copied.
        unsafe { self.host.switch_event_merge(self.event.as_ptr(), other.event.as_ptr()) };
    }

    fn fire(self) {
        let mut event = self.event.as_ptr();
        // SAFETY: the event is ours and FreeSWITCH takes it over, whatever the result: so it must not be destroyed again.
        unsafe {
            self.host.switch_event_fire_detailed(
                c"mod_audio_stream".as_ptr(),
                c"event".as_ptr(),
                0,
                &raw mut event,
                ptr::null_mut(),
            );
        }
        std::mem::forget(self);
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        let mut event = self.event.as_ptr();
        // SAFETY: ours, and not fired: `fire` forgets it.
        unsafe { self.host.switch_event_destroy(&raw mut event) };
    }
}

/// Channel variables that may hold a secret of ours: those of secret options, and what the application was called with.
fn secret_variables() -> impl Iterator<Item = &'static str> {
    let options =
        options::all().filter(|row| row.secret).flat_map(|row| &row.variables).map(|variable| variable.name.as_str());
    options.chain(["current_application_data"])
}

/// The headers of a channel whose media bug was closed.
struct ClosedChannel(Event);

impl ChannelSnapshot for ClosedChannel {
    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// Keeps what events say of the session's channel, for events fired after it is gone.
///
/// Allocates and takes the channel's own locks, as FreeSWITCH's event for the removed bug does right after CLOSE.
pub(super) fn snapshot(session: &Session<'_>) -> Option<Box<dyn ChannelSnapshot>> {
    // CLONE: an event without the headers that each real event is given when it is made.
    let event = Event::new(session.host(), switch_event_types_t::SWITCH_EVENT_CLONE, None)?;
    event.channel(session);
    Some(Box::new(ClosedChannel(event)))
}

/// Fires `event` with the channel's data: of the channel while it lives, else of the `snapshot`, else the uuid alone.
pub(super) fn fire(host: &'static Host, event: &FsEvent, snapshot: Option<&dyn ChannelSnapshot>) {
    let made = Event::new(host, switch_event_types_t::SWITCH_EVENT_CUSTOM, Some(event.subclass));
    let Some(made) = made else {
        tracing::error!(target: "LIFECYCLE", call = event.call.as_ref().map_or("", CallId::as_str), op = "event", outcome = "lost", subclass = event.subclass);
        return;
    };
    let session = event.call.as_ref().and_then(|call| Session::locate(host, call.as_str()));
    match (session, snapshot.and_then(|snapshot| snapshot.as_any().downcast_ref())) {
        (Some(session), _) => {
            for (name, value) in &event.variables {
                session.set_variable(&c_string(name), Some(value));
            }
            made.channel(&session);
        }
        (None, Some(ClosedChannel(channel))) => made.headers_of(channel),
        (None, None) => {
            if let Some(call) = &event.call {
                made.header("Unique-ID", call.as_str());
            }
        }
    }
    made.without_secrets();
    for (name, value) in &event.headers {
        made.header(name, value);
    }
    if let Some(body) = &event.body {
        made.body(body);
    }
    made.fire();
}

/// Reserves the module's subclasses. On an error those reserved so far are freed again.
pub(super) fn reserve(host: &'static Host, subclasses: &[&str]) -> Result<(), String> {
    for (done, subclass) in subclasses.iter().enumerate() {
        let name = c_string(subclass);
        // SAFETY: the strings live through the call; FreeSWITCH copies them.
        let status = unsafe { host.switch_event_reserve_subclass_detailed(OWNER.as_ptr(), name.as_ptr()) };
        if status != switch_status_t::SWITCH_STATUS_SUCCESS {
            free(host, &subclasses[..done]);
            return Err(format!("the event subclass {subclass} is taken by another module"));
        }
    }
    Ok(())
}

/// Frees the module's subclasses.
pub(super) fn free(host: &'static Host, subclasses: &[&str]) {
    for subclass in subclasses {
        let name = c_string(subclass);
        // SAFETY: as in `reserve`; the owner is the one that reserved it.
        unsafe { host.switch_event_free_subclass_detailed(OWNER.as_ptr(), name.as_ptr()) };
    }
}
