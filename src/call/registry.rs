//! All attachments of a kind, by call and name.
//!
//! API threads and shutdown look attachments up here; media threads and workers reach theirs without it. One lock, held for a
//! look-up or an insertion only.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use super::attachment::{AttachmentId, Kind, MediaBug};
use super::limits::{LimitReached, Limits};
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
    /// There is no room.
    #[error(transparent)]
    Limit(#[from] LimitReached),
}

/// All attachments of a kind.
pub struct Registry<A> {
    entries: Mutex<Entries<A>>,
    created: AtomicU64,
    destroyed: AtomicU64,
}

/// What has a name.
struct Entry<A> {
    /// The server it is for, if limits count that.
    server: String,
    /// `None` while it waits for the call's media or is being attached: the name is taken, but there is nothing to talk to yet.
    held: Option<Arc<A>>,
}

struct Entries<A> {
    by_key: BTreeMap<Key, Entry<A>>,
    /// Asked to end and not ended yet: their names are free for others.
    ending: BTreeMap<AttachmentId, Arc<A>>,
    closed: bool,
}

/// A name taken for something that is being attached, or waits for it. When it is dropped unused, the name is free again.
pub struct Reservation<A> {
    registry: Arc<Registry<A>>,
    key: Key,
    /// Until the attachment is entered under its name.
    unused: bool,
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
    pub fn reserve(self: &Arc<Self>, call: &CallId, name: &StreamName) -> Result<Reservation<A>, RegisterError> {
        self.reserve_within(&Limits::default(), call, name, "")
    }

    /// The same for something that connects to `server`, where the limits leave room for it.
    pub fn reserve_within(
        self: &Arc<Self>,
        limits: &Limits,
        call: &CallId,
        name: &StreamName,
        server: &str,
    ) -> Result<Reservation<A>, RegisterError> {
        let mut entries = self.entries.lock();
        if entries.closed {
            return Err(RegisterError::Closed);
        }
        let key = (call.clone(), name.clone());
        if let Some(holder) = entries.by_key.get(&key) {
            return Err(RegisterError::Taken(A::taken(name, holder.held.as_deref())));
        }
        let on_call = entries.by_key.keys().filter(|(of, _)| of == call).count();
        let to_server = entries.by_key.values().filter(|entry| entry.server == server).count();
        limits.admit(entries.by_key.len(), on_call, to_server, server)?;
        entries.by_key.insert(key.clone(), Entry { server: server.to_owned(), held: None });
        let id = AttachmentId(self.created.fetch_add(1, Ordering::Relaxed) + 1);
        Ok(Reservation { registry: self.clone(), key, unused: true, id })
    }

    /// Whether nothing can be attached any more.
    pub fn is_closed(&self) -> bool {
        self.entries.lock().closed
    }

    /// The attachment of that name on the call.
    pub fn get(&self, call: &CallId, name: &StreamName) -> Option<Arc<A>> {
        self.entries.lock().by_key.get(&(call.clone(), name.clone()))?.held.clone()
    }

    /// The names in use on the call, those that wait for its media included.
    pub fn names(&self, call: &CallId) -> Vec<StreamName> {
        let entries = self.entries.lock();
        entries.by_key.keys().filter(|(of, _)| of == call).map(|(_, name)| name.clone()).collect()
    }

    /// The reply for a name that the call does not have; it lists the names there are.
    pub fn unknown(&self, call: &CallId, name: &StreamName) -> String {
        let names = self.names(call);
        let names: Vec<_> = names.iter().map(StreamName::as_str).collect();
        let advice =
            if names.is_empty() { "start one first".to_owned() } else { format!("it has {}", names.join(", ")) };
        format!("-ERR no {} '{name}' on this call; {advice}", A::WORD)
    }

    /// All that have not ended: first those with a name, ordered by call and name, then those that are ending.
    pub fn all(&self) -> Vec<Arc<A>> {
        let entries = self.entries.lock();
        entries
            .by_key
            .values()
            .filter_map(|entry| entry.held.as_ref())
            .chain(entries.ending.values())
            .cloned()
            .collect()
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
        let is_it = |entry: &Entry<A>| entry.held.as_ref().is_some_and(|held| held.id == attached.id);
        if self.by_key.get(&key).is_some_and(is_it) { self.by_key.remove(&key)?.held } else { None }
    }
}

impl<A: Kind> Reservation<A> {
    /// The call and the name.
    pub fn key(&self) -> (CallId, StreamName) {
        self.key.clone()
    }

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
        if let Some(entry) = entries.by_key.get_mut(&self.key) {
            entry.held = Some(attached.clone());
        }
        drop(entries);
        self.unused = false;
        Ok(())
    }
}

impl<A> Drop for Reservation<A> {
    fn drop(&mut self) {
        if self.unused {
            self.registry.entries.lock().by_key.remove(&self.key);
            self.registry.destroyed.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::ops::Deref;
    use std::sync::atomic::AtomicBool;
    use std::time::Instant;

    use super::*;
    use crate::call::{Attached, Attachment};

    /// A kind that only this test has.
    struct Probe {
        attachment: Attachment,
        leaving: AtomicBool,
    }

    impl Deref for Probe {
        type Target = Attachment;

        fn deref(&self) -> &Attachment {
            &self.attachment
        }
    }

    impl Attached for Probe {
        fn leave(&self) {
            self.leaving.store(true, Ordering::Relaxed);
        }

        fn is_leaving(&self) -> bool {
            self.leaving.load(Ordering::Relaxed)
        }

        fn panicked(&self) {
            self.leave();
        }
    }

    impl Kind for Probe {
        const WORD: &'static str = "probe";

        fn taken(name: &StreamName, holder: Option<&Self>) -> String {
            format!("probe '{name}' is {}", if holder.is_some() { "there" } else { "coming" })
        }
    }

    /// A media bug that counts how often it is taken off.
    struct Bug(Arc<AtomicU64>);

    impl MediaBug for Bug {
        fn detach(&self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn probe(id: AttachmentId) -> Arc<Probe> {
        let attachment = Attachment::new(id, CallId::new("call"), StreamName::default(), Instant::now());
        Arc::new(Probe { attachment, leaving: AtomicBool::new(false) })
    }

    fn add(registry: &Arc<Registry<Probe>>, detached: &Arc<AtomicU64>) -> Result<Arc<Probe>, RegisterError> {
        let reservation = registry.reserve(&CallId::new("call"), &StreamName::default())?;
        let probe = probe(reservation.id);
        reservation.attach(&probe, || Ok::<_, RegisterError>(Box::new(Bug(detached.clone()))))?;
        Ok(probe)
    }

    #[test]
    fn a_name_is_taken_until_its_holder_is_asked_to_end() {
        let (registry, detached) = (Arc::<Registry<Probe>>::default(), Arc::default());
        let (call, name) = (CallId::new("call"), StreamName::default());
        assert_eq!(registry.unknown(&call, &name), "-ERR no probe 'default' on this call; start one first");
        let coming = registry.reserve(&call, &name).unwrap();
        let refused = registry.reserve(&call, &name).err();
        assert_eq!(refused, Some(RegisterError::Taken("probe 'default' is coming".into())));
        drop(coming);
        let first = add(&registry, &detached).unwrap();
        let refused = registry.reserve(&call, &name).err();
        assert_eq!(refused, Some(RegisterError::Taken("probe 'default' is there".into())));
        assert!(registry.release_name(&first) && !registry.release_name(&first), "one thread ends it");
        let second = add(&registry, &detached).unwrap();
        assert_eq!(registry.all().iter().map(|probe| probe.id).collect::<Vec<_>>(), [second.id, first.id]);
        registry.remove(&first);
        registry.remove(&first);
        assert_eq!(registry.get(&call, &name).map(|probe| probe.id), Some(second.id));
        assert_eq!(registry.totals(), (3, 2), "a dropped reservation counts as started and ended");
    }

    #[test]
    fn limits_count_what_has_a_name_and_is_not_asked_to_end() {
        let (registry, detached) = (Arc::<Registry<Probe>>::default(), Arc::default());
        let limits = Limits { total: 0, per_call: 2, per_server: 1 };
        let reserve = |call: &str, name: &str, server: &str| {
            registry.reserve_within(&limits, &CallId::new(call), &name.parse().unwrap(), server)
        };
        let first = add(&registry, &detached).unwrap();
        let second = reserve("call", "b", "s").unwrap();
        assert_eq!(
            reserve("call", "c", "t").err(),
            Some(LimitReached::PerCall(2).into()),
            "one is just being attached"
        );
        let to_server = LimitReached::PerServer { limit: 1, server: "s".into() };
        assert_eq!(reserve("other", "a", "s").err(), Some(to_server.into()));
        drop(reserve("other", "a", "t").unwrap());
        drop(second);
        drop(reserve("other", "a", "s").unwrap());
        registry.release_name(&first);
        let (_b, _c) = (reserve("call", "b", "s").unwrap(), reserve("call", "c", "t").unwrap());
    }

    /// The reviewed mixer left a leg in its list whose thread could not be started.
    #[test]
    fn mixer_009_a_refused_bug_leaves_its_name_free() {
        let registry = Arc::<Registry<Probe>>::default();
        let (call, name) = (CallId::new("call"), StreamName::default());
        for _ in 0..2 {
            let reservation = registry.reserve(&call, &name).unwrap();
            let probe = probe(reservation.id);
            let refused = reservation.attach(&probe, || Err(RegisterError::Closed));
            assert_eq!(refused, Err(RegisterError::Closed));
            assert!(registry.all().is_empty() && registry.get(&call, &name).is_none());
        }
        assert_eq!(registry.totals(), (2, 2));
    }

    #[test]
    fn a_shutdown_while_a_bug_is_put_on_takes_it_off_again() {
        let (registry, detached) = (Arc::<Registry<Probe>>::default(), Arc::new(AtomicU64::new(0)));
        let (call, name) = (CallId::new("call"), StreamName::default());
        let reservation = registry.reserve(&call, &name).unwrap();
        let probe = probe(reservation.id);
        let attached = reservation.attach(&probe, || {
            registry.close();
            Ok::<_, RegisterError>(Box::new(Bug(detached.clone())))
        });
        assert_eq!(attached, Err(RegisterError::Closed));
        assert_eq!((probe.is_leaving(), detached.load(Ordering::Relaxed)), (true, 1));
        assert!(registry.all().is_empty() && registry.get(&call, &name).is_none());
        assert_eq!(add(&registry, &detached).err(), Some(RegisterError::Closed));
    }
}
