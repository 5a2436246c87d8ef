//! All recordings, by call and name.
//!
//! Looked up by API threads and by shutdown. One lock, held for a look-up or an insertion only.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;

use super::handle::{RecordingHandle, RecordingId};
use crate::units::{CallId, StreamName};

type Key = (CallId, StreamName);

/// A recording that cannot be begun. The text completes `-ERR `.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RecordTaken {
    /// One of this name runs on the call.
    #[error("recording '{0}' of this call is running already ({file}); stop it first or give this one name=<other>", file = .1.display())]
    Duplicate(StreamName, PathBuf),
    /// One of this name is just being begun.
    #[error("recording '{0}' of this call is just being started")]
    Starting(StreamName),
    /// The module is being unloaded.
    #[error("the module is shutting down")]
    Closed,
}

/// All recordings.
#[derive(Default)]
pub struct RecordRegistry {
    recordings: Mutex<Recordings>,
}

#[derive(Default)]
struct Recordings {
    /// `None` while it is being attached: the name is taken but nothing can be asked of it.
    by_key: BTreeMap<Key, Option<Arc<RecordingHandle>>>,
    /// Told to end, and their files not whole yet.
    ending: BTreeMap<RecordingId, Arc<RecordingHandle>>,
    begun: u64,
    closed: bool,
}

/// A name taken for a recording that is being attached. Dropped unused, the name is free again.
pub struct RecordReservation<'a> {
    registry: &'a RecordRegistry,
    key: Option<Key>,
    /// The recording's number.
    pub id: RecordingId,
}

impl RecordRegistry {
    /// Takes `name` on `call`.
    pub fn reserve(&self, call: &CallId, name: &StreamName) -> Result<RecordReservation<'_>, RecordTaken> {
        let mut recordings = self.recordings.lock();
        if recordings.closed {
            return Err(RecordTaken::Closed);
        }
        let key = (call.clone(), name.clone());
        match recordings.by_key.get(&key) {
            Some(Some(other)) => return Err(RecordTaken::Duplicate(name.clone(), other.path.clone())),
            Some(None) => return Err(RecordTaken::Starting(name.clone())),
            None => {}
        }
        recordings.by_key.insert(key.clone(), None);
        recordings.begun += 1;
        Ok(RecordReservation { registry: self, key: Some(key), id: RecordingId(recordings.begun) })
    }

    /// The recording of that name on the call.
    pub fn get(&self, call: &CallId, name: &StreamName) -> Option<Arc<RecordingHandle>> {
        self.recordings.lock().by_key.get(&(call.clone(), name.clone())).cloned().flatten()
    }

    /// The names in use on the call, for messages.
    pub fn names(&self, call: &CallId) -> Vec<StreamName> {
        let recordings = self.recordings.lock();
        recordings.by_key.keys().filter(|(of, _)| of == call).map(|(_, name)| name.clone()).collect()
    }

    /// Takes out the recording of that name, to end it: the name is free for another.
    pub fn take(&self, call: &CallId, name: &StreamName) -> Option<Arc<RecordingHandle>> {
        let mut recordings = self.recordings.lock();
        let key = (call.clone(), name.clone());
        let taken = recordings.by_key.get(&key).cloned().flatten()?;
        recordings.by_key.remove(&key);
        recordings.ending.insert(taken.id, taken.clone());
        Some(taken)
    }

    /// All recordings whose files are not whole yet.
    pub fn all(&self) -> Vec<Arc<RecordingHandle>> {
        let recordings = self.recordings.lock();
        recordings.by_key.values().flatten().chain(recordings.ending.values()).cloned().collect()
    }

    /// Forgets a recording whose file is whole.
    pub fn remove(&self, recording: &RecordingHandle) {
        let mut recordings = self.recordings.lock();
        let key = (recording.call.clone(), recording.name.clone());
        let is_it = |held: &Option<Arc<RecordingHandle>>| held.as_ref().is_some_and(|held| held.id == recording.id);
        if recordings.by_key.get(&key).is_some_and(is_it) {
            recordings.by_key.remove(&key);
        }
        recordings.ending.remove(&recording.id);
    }

    /// Takes no more recordings.
    pub fn close(&self) {
        self.recordings.lock().closed = true;
    }
}

impl RecordReservation<'_> {
    /// Puts the attached recording in its place.
    ///
    /// An error when the module has begun to shut down meanwhile: then nobody would end it.
    pub fn fill(mut self, recording: Arc<RecordingHandle>) -> Result<(), RecordTaken> {
        let mut recordings = self.registry.recordings.lock();
        if recordings.closed {
            drop(recordings);
            return Err(RecordTaken::Closed);
        }
        if let Some(key) = self.key.take() {
            recordings.by_key.insert(key, Some(recording));
        }
        Ok(())
    }
}

impl Drop for RecordReservation<'_> {
    fn drop(&mut self) {
        if let Some(key) = self.key.take() {
            self.registry.recordings.lock().by_key.remove(&key);
        }
    }
}
