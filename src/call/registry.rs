//! All attachments of a kind, by call and name.
//!
//! API threads and shutdown look attachments up here; media threads and workers reach theirs without it. One lock, held for a
//! look-up or an insertion only.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use super::attachment::{AttachmentId, Kind, MediaBug};
use crate::units::{CallId, StreamName};

type Key = (CallId, StreamName);

/// Why a name cannot be taken. The text completes `-ERR `.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RegisterError {
    /// The name is in use on the call; the text is [`Kind::taken`]'s.
    #[error("{0}")]
    Taken(String),
    /// The module is being unloaded.
    #[error("the module is shutting down")]
    Closed,
}

/// All attachments of a kind.
pub struct Registry<A> {
    entries: Mutex<Entries<A>>,
    created: AtomicU64,
    destroyed: AtomicU64,
}

struct Entries<A> {
    /// `None` while it is being attached: the name is taken, but there is nothing to talk to yet.
    by_key: BTreeMap<Key, Option<Arc<A>>>,
    /// Asked to end and not ended yet: their names are free for others.
    ending: BTreeMap<AttachmentId, Arc<A>>,
    closed: bool,
}

/// A name taken for something that is being attached. When it is dropped unused, the name is free again.
pub struct Reservation<'a, A> {
    registry: &'a Registry<A>,
    key: Option<Key>,
    /// The number of what is being attached.
    pub id: AttachmentId,
}

impl<A> Default for Registry<A> {
    fn default() -> Self {
        let entries = Entries { by_key: BTreeMap::new(), ending: BTreeMap::new(), closed: false };
        Self { entries: Mutex::new(entries), created: AtomicU64::new(0), destroyed: AtomicU64::new(0) }
    }
}

impl<A: Kind> Registry<A> {
    /// Takes `name` on `call`.
    pub fn reserve(&self, call: &CallId, name: &StreamName) -> Result<Reservation<'_, A>, RegisterError> {
        let mut entries = self.entries.lock();
        if entries.closed {
            return Err(RegisterError::Closed);
        }
        let key = (call.clone(), name.clone());
        if let Some(holder) = entries.by_key.get(&key) {
            return Err(RegisterError::Taken(A::taken(name, holder.as_deref())));
        }
        entries.by_key.insert(key.clone(), None);
        let id = AttachmentId(self.created.fetch_add(1, Ordering::Relaxed) + 1);
        Ok(Reservation { registry: self, key: Some(key), id })
    }

    /// The attachment of that name on the call.
    pub fn get(&self, call: &CallId, name: &StreamName) -> Option<Arc<A>> {
        self.entries.lock().by_key.get(&(call.clone(), name.clone())).cloned().flatten()
    }

    /// The reply for a name that the call does not have; it lists the names there are.
    pub fn unknown(&self, call: &CallId, name: &StreamName) -> String {
        let entries = self.entries.lock();
        let names: Vec<_> = entries.by_key.keys().filter(|(of, _)| of == call).map(|(_, name)| name.as_str()).collect();
        let advice =
            if names.is_empty() { "start one first".to_owned() } else { format!("it has {}", names.join(", ")) };
        format!("-ERR no {} '{name}' on this call; {advice}", A::WORD)
    }

    /// All that have not ended: first those with a name, ordered by call and name, then those that are ending.
    pub fn all(&self) -> Vec<Arc<A>> {
        let entries = self.entries.lock();
        entries.by_key.values().flatten().chain(entries.ending.values()).cloned().collect()
    }

    /// Frees the name of an attachment that is asked to end. It stays among [`all`](Self::all) until it has ended. Returns whether
    /// it had its name until now: of several threads that end it, one gets `true`.
    pub fn release_name(&self, attached: &A) -> bool {
        let mut entries = self.entries.lock();
        let held = entries.take(attached);
        let had_it = held.is_some();
        entries.ending.extend(held.map(|held| (attached.id, held)));
        had_it
    }

    /// Forgets an attachment that has ended.
    pub fn remove(&self, attached: &A) {
        let mut entries = self.entries.lock();
        if entries.take(attached).is_some() || entries.ending.remove(&attached.id).is_some() {
            self.destroyed.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Accepts no more attachments.
    pub fn close(&self) {
        self.entries.lock().closed = true;
    }

    /// How many were started and how many ended since the module was loaded.
    pub fn totals(&self) -> (u64, u64) {
        (self.created.load(Ordering::Relaxed), self.destroyed.load(Ordering::Relaxed))
    }
}

impl<A: Kind> Entries<A> {
    /// Takes `attached` out of those with a name, unless another attachment has its name by now.
    fn take(&mut self, attached: &A) -> Option<Arc<A>> {
        let key = (attached.call().clone(), attached.name().clone());
        let is_it = self.by_key.get(&key).is_some_and(|held| held.as_ref().is_some_and(|held| held.id == attached.id));
        if is_it { self.by_key.remove(&key).flatten() } else { None }
    }
}

impl<A: Kind> Reservation<'_, A> {
    /// Has `attach` put the media bug on the call, then enters the attachment under its name.
    ///
    /// After an error nothing is left of the attempt: `attach` failed, or the module has begun to shut down and nobody would end
    /// the attachment; then the bug is taken off again.
    pub fn attach<E: From<RegisterError>>(
        mut self,
        attached: &Arc<A>,
        attach: impl FnOnce() -> Result<Box<dyn MediaBug>, E>,
    ) -> Result<(), E> {
        attached.attached(attach()?);
        let mut entries = self.registry.entries.lock();
        if entries.closed {
            drop(entries);
            attached.leave();
            attached.detach();
            return Err(RegisterError::Closed.into());
        }
        if let Some(key) = self.key.take() {
            entries.by_key.insert(key, Some(attached.clone()));
        }
        Ok(())
    }
}

impl<A> Drop for Reservation<'_, A> {
    fn drop(&mut self) {
        if let Some(key) = self.key.take() {
            self.registry.entries.lock().by_key.remove(&key);
            self.registry.destroyed.fetch_add(1, Ordering::Relaxed);
        }
    }
}
