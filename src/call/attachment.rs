//! One attachment to a call, as far as it does not depend on its kind: who it is, its media bug, its end.
//!
//! Shared by the registry, the thread that does the attachment's work, the media bug and the event threads. Locks are held to
//! set or read one value; only [`Attachment::wait_finished`] waits.

use std::any::Any;
use std::ops::Deref;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::event::Event;
use crate::units::{CallId, StreamName};

/// Number of an attachment within its kind, counted since the module was loaded. No number is given twice.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct AttachmentId(pub u64);

/// A media bug on a call. Implemented by the host.
pub trait MediaBug: Send + Sync {
    /// Takes the bug off the call. May be called more than once. May wait for the session's locks: not for workers and media
    /// threads.
    fn detach(&self);
}

/// What the host keeps of a channel for events that are fired after the channel is gone.
pub trait ChannelSnapshot: Any + Send + Sync {
    /// Lets the host recognise its own type.
    fn as_any(&self) -> &dyn Any;
}

/// An attachment of any kind.
pub trait Attached: Deref<Target = Attachment> + Send + Sync + 'static {
    /// Makes the media callbacks do nothing of their own from now on. Any thread.
    fn leave(&self);

    /// The bug is about to be taken off the call (`begun`), or has been. In between its callbacks may be over before its CLOSE has come,
    /// which others on the call may have to know.
    fn coming_off(&self, _begun: bool) {}

    /// Whether the media callbacks have nothing left to do.
    fn is_leaving(&self) -> bool;

    /// A media callback panicked, or the firing of an event: the attachment ends, the call goes on.
    fn panicked(&self);

    /// The bug's CLOSE: no callback runs any more. `channel` is what later events say of the call's channel. A kind that has to
    /// wake somebody then does it here.
    fn bug_closed(&self, channel: Option<Box<dyn ChannelSnapshot>>) {
        self.close(channel);
    }
}

/// A kind of attachment, as replies name it.
pub trait Kind: Attached {
    /// The word in replies.
    const WORD: &'static str;

    /// The refusal for a `name` that is taken; `holder` is `None` while the attachment that took it is still being attached.
    fn taken(name: &StreamName, holder: Option<&Self>) -> String;
}

/// Takes what happens to attachments of type `A` to the host's event threads.
pub trait Sink<A>: Send + Sync {
    /// Queues `event`. Never waits. The implementation counts and logs events for which there is no room.
    fn emit(&self, attached: &Arc<A>, event: Event);

    /// Has the thread that may wait for FreeSWITCH's locks take the bug off the call.
    fn detach(&self, attached: &Arc<A>);
}

/// What every attachment has.
pub struct Attachment {
    /// Its number.
    pub id: AttachmentId,
    /// When it was started.
    pub started: Instant,
    call: CallId,
    name: StreamName,
    bug: OnceLock<Box<dyn MediaBug>>,
    /// How long after `started` the bug was closed.
    closed_at: OnceLock<Duration>,
    channel: OnceLock<Box<dyn ChannelSnapshot>>,
    /// The error it ended with; `None` while it runs.
    ended: Mutex<Option<String>>,
    ended_signal: Condvar,
}

impl Attachment {
    /// An attachment about to start, without its bug.
    pub const fn new(id: AttachmentId, call: CallId, name: StreamName, started: Instant) -> Self {
        Self {
            id,
            started,
            call,
            name,
            bug: OnceLock::new(),
            closed_at: OnceLock::new(),
            channel: OnceLock::new(),
            ended: Mutex::new(None),
            ended_signal: Condvar::new(),
        }
    }

    /// The call.
    pub const fn call(&self) -> &CallId {
        &self.call
    }

    /// Its name on the call. Each kind has names of its own.
    pub const fn name(&self) -> &StreamName {
        &self.name
    }

    /// Keeps the bug that is now on the call.
    pub(super) fn attached(&self, bug: Box<dyn MediaBug>) {
        // Called once: only the reservation of the name does it, and that is used up by it.
        let _ = self.bug.set(bug);
    }

    /// Takes the bug off the call; see [`MediaBug::detach`].
    pub fn detach(&self) {
        if let Some(bug) = self.bug.get() {
            bug.detach();
        }
    }

    /// See [`Attached::bug_closed`], through which the host calls it. CLOSE comes once, so a second call changes nothing.
    pub fn close(&self, channel: Option<Box<dyn ChannelSnapshot>>) {
        if let Some(channel) = channel {
            let _ = self.channel.set(channel);
        }
        let _ = self.closed_at.set(self.started.elapsed());
    }

    /// Whether the bug has been closed: nothing more will be captured or played.
    pub fn is_bug_closed(&self) -> bool {
        self.closed_at.get().is_some()
    }

    /// How long after the start the bug was closed; `None` while it is open.
    pub fn closed_at(&self) -> Option<Duration> {
        self.closed_at.get().copied()
    }

    /// What the host keeps of the channel, once the bug has been closed.
    pub fn channel(&self) -> Option<&dyn ChannelSnapshot> {
        self.channel.get().map(Box::as_ref)
    }

    /// The last act of the thread that does the attachment's work; `error` is empty when it ended as it should.
    pub fn finish(&self, error: String) {
        *self.ended.lock() = Some(error);
        self.ended_signal.notify_all();
    }

    /// Whether [`finish`](Self::finish) has been called.
    pub fn is_finished(&self) -> bool {
        self.ended.lock().is_some()
    }

    /// The error it ended with, empty for none; `None` while it runs.
    pub fn outcome(&self) -> Option<String> {
        self.ended.lock().clone()
    }

    /// Waits until it has ended, at most for `timeout`; returns whether it has. API and dialplan threads only.
    pub fn wait_finished(&self, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        let mut ended = self.ended.lock();
        while ended.is_none() {
            if self.ended_signal.wait_until(&mut ended, deadline).timed_out() {
                return ended.is_some();
            }
        }
        true
    }
}
