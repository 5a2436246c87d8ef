//! All running streams, by call and name.
//!
//! Looked up by API threads and by shutdown; the media thread and the workers reach their stream without it. One lock,
//! held for a look-up or an insertion only.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use super::handle::{StreamHandle, StreamId};
use crate::units::{CallId, StreamName};

type Key = (CallId, StreamName);

/// A name on a call that is taken.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RegisterError {
    /// A stream of this name runs on the call.
    #[error("stream '{0}' is already running on this call; stop it first or start this one with name=<other>")]
    Duplicate(StreamName),
    /// The module is being unloaded.
    #[error("the module is shutting down")]
    Closed,
}

/// All running streams.
#[derive(Default)]
pub struct Registry {
    streams: Mutex<Streams>,
    created: AtomicU64,
    destroyed: AtomicU64,
}

#[derive(Default)]
struct Streams {
    /// `None` while the stream is being attached: the name is taken but nothing can be asked of it.
    by_key: BTreeMap<Key, Option<Arc<StreamHandle>>>,
    /// Told to end: their names are free for others.
    ending: BTreeMap<StreamId, Arc<StreamHandle>>,
    closed: bool,
}

/// A name taken for a stream that is being attached. Dropped unused, the name is free again.
pub struct Reservation<'a> {
    registry: &'a Registry,
    key: Option<Key>,
    /// The stream's number.
    pub id: StreamId,
}

impl Registry {
    /// Takes `name` on `call`.
    pub fn reserve(&self, call: &CallId, name: &StreamName) -> Result<Reservation<'_>, RegisterError> {
        let mut streams = self.streams.lock();
        if streams.closed {
            return Err(RegisterError::Closed);
        }
        let key = (call.clone(), name.clone());
        if streams.by_key.contains_key(&key) {
            return Err(RegisterError::Duplicate(name.clone()));
        }
        streams.by_key.insert(key.clone(), None);
        let id = StreamId(self.created.fetch_add(1, Ordering::Relaxed) + 1);
        Ok(Reservation { registry: self, key: Some(key), id })
    }

    /// The stream of that name on the call.
    pub fn get(&self, call: &CallId, name: &StreamName) -> Option<Arc<StreamHandle>> {
        self.streams.lock().by_key.get(&(call.clone(), name.clone())).cloned().flatten()
    }

    /// The names in use on the call, for messages.
    pub fn names(&self, call: &CallId) -> Vec<StreamName> {
        let streams = self.streams.lock();
        streams.by_key.keys().filter(|(of, _)| of == call).map(|(_, name)| name.clone()).collect()
    }

    /// All streams, ordered by call and name.
    pub fn all(&self) -> Vec<Arc<StreamHandle>> {
        let streams = self.streams.lock();
        streams.by_key.values().flatten().chain(streams.ending.values()).cloned().collect()
    }

    /// Frees the name of a stream that was told to end; it stays among [`all`](Self::all) until it has.
    pub fn release_name(&self, stream: &StreamHandle) {
        let mut streams = self.streams.lock();
        if let Some(held) = streams.take(stream) {
            streams.ending.insert(stream.id, held);
        }
    }

    /// Forgets a stream that has ended.
    pub fn remove(&self, stream: &StreamHandle) {
        let mut streams = self.streams.lock();
        if streams.take(stream).is_some() || streams.ending.remove(&stream.id).is_some() {
            self.destroyed.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Takes no more streams.
    pub fn close(&self) {
        self.streams.lock().closed = true;
    }

    /// Streams started and ended since the module was loaded.
    pub fn totals(&self) -> (u64, u64) {
        (self.created.load(Ordering::Relaxed), self.destroyed.load(Ordering::Relaxed))
    }
}

impl Streams {
    /// Takes `stream` out of the named ones, if it is the one that has its name.
    fn take(&mut self, stream: &StreamHandle) -> Option<Arc<StreamHandle>> {
        let key = (stream.call().clone(), stream.name().clone());
        let is_it = self.by_key.get(&key).is_some_and(|held| held.as_ref().is_some_and(|held| held.id == stream.id));
        if is_it { self.by_key.remove(&key).flatten() } else { None }
    }
}

impl Reservation<'_> {
    /// Puts the attached stream in its place.
    ///
    /// An error when the module has begun to shut down meanwhile: then nobody would end the stream.
    pub fn fill(mut self, stream: Arc<StreamHandle>) -> Result<(), RegisterError> {
        let mut streams = self.registry.streams.lock();
        if streams.closed {
            drop(streams);
            return Err(RegisterError::Closed);
        }
        if let Some(key) = self.key.take() {
            streams.by_key.insert(key, Some(stream));
        }
        Ok(())
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        if let Some(key) = self.key.take() {
            self.registry.streams.lock().by_key.remove(&key);
            self.registry.destroyed.fetch_add(1, Ordering::Relaxed);
        }
    }
}
