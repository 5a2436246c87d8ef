//! Starts that wait for their call's media: a stream or a recording that was asked for before the call is answered or has early
//! media.
//!
//! The file of a recording is made once its call has media, whose rate it has, by the pool for calls: a disk that hangs holds up no other
//! start. What panics costs its own start.
//!
//! The thread `mas-starts` tries each start again every [`ROUND`], and at once when FreeSWITCH tells of the call's media. A start
//! leaves the table when it is attached, stopped, or given up: because its call ends, cannot be streamed, or has no media
//! in time. Until then it holds its name on the call. API and dialplan threads add, look up and stop starts.
//!
//! The table is bounded: at most [`MOST_OF_A_CALL`] starts of one call and [`MOST`] in all. A start for which there is no room
//! is refused.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::ending::Ending;
use super::events::Work;
use super::host::{Call, Host};
use crate::call::{Attached, Attachment, AttachmentId, Reservation};
use crate::record::RecordingHandle;
use crate::record::place::NewFile;
use crate::stream::handle::StreamHandle;
use crate::stream::spec::StreamSpec;
use crate::transport::{ConnectOptions, ErrorCode};
use crate::units::{CallId, SampleRate, StreamName};

/// The thread's name, as `ps` shows it.
const THREAD: &str = "mas-starts";
/// Between two tries of one start.
const ROUND: Duration = Duration::from_millis(100);
/// Starts of one call that may wait.
const MOST_OF_A_CALL: usize = 16;
/// Starts that may wait.
const MOST: usize = 4_096;

/// What waits. Each kind has names of its own.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Kind {
    /// A stream.
    Stream,
    /// A recording.
    Recording,
}

/// A stream as asked for, before anything is known of its call's audio.
pub(super) struct Prepared {
    pub(super) spec: StreamSpec,
    pub(super) connect: ConnectOptions,
    /// `buffer_ms` is an argument of the command.
    pub(super) asked_for_buffer: bool,
}

/// What a start has led to.
pub enum Begun {
    /// The stream is on the call.
    Stream(Arc<StreamHandle>),
    /// It waits for the call's media.
    Waiting,
}

type Key = (Kind, CallId, StreamName);

/// What is needed to attach: used up by a try, which gives it back if the call has no media yet.
pub(super) enum Start {
    /// A stream, and its name.
    Stream(Box<Prepared>, Reservation<StreamHandle>),
    /// A recording: its file, and its name.
    Recording(Target, Reservation<RecordingHandle>),
}

/// The file of a recording.
pub(super) enum Target {
    /// It does not exist yet.
    Path(PathBuf),
    /// It has been made.
    File(NewFile),
}

/// The result of a try.
pub(super) enum Tried {
    /// It is on the call; the stream, if it is one.
    Attached(Option<Arc<StreamHandle>>),
    /// The call has no media yet.
    NotYet(Start),
    /// It has, of this rate, and the recording's file is to be made.
    NoFile(PathBuf, SampleRate, Reservation<RecordingHandle>),
    /// It cannot be attached.
    Failed(ErrorCode, String),
    /// The call is over. With what was to be started, if that is left.
    CallEnded(Option<Start>),
}

/// Carries out what the thread decides. Called without a lock of the table.
pub(super) trait Starter: Send + Sync {
    /// Attaches what waits, if the call has media by now.
    fn attempt(&self, call: &dyn Call, start: Start) -> Tried;

    /// Does work that may wait for a disk, on another thread.
    fn work(&self, call: &CallId, work: Work);

    /// A start is on the call now.
    fn attached(&self, call: Option<&dyn Call>);

    /// A start was stopped while it was being attached: `stream`, or the recording of that name, ends.
    fn stop_attached(&self, waiting: &Waiting, stream: Option<&Arc<StreamHandle>>);

    /// A start was stopped before it was attached.
    fn stopped(&self, waiting: &Arc<Waiting>, call: Option<&dyn Call>);

    /// A start cannot be attached. An `error` event says why, unless the call ended (`code` is `None`).
    fn give_up(&self, waiting: &Arc<Waiting>, call: Option<&dyn Call>, code: Option<ErrorCode>, reason: &str);
}

/// A start that waits, as other threads see it.
pub(super) struct Waiting {
    attachment: Attachment,
    spec: Option<StreamSpec>,
}

impl Deref for Waiting {
    type Target = Attachment;

    fn deref(&self) -> &Attachment {
        &self.attachment
    }
}

/// It has no media bug, and so no callbacks.
impl Attached for Waiting {
    fn leave(&self) {}

    fn is_leaving(&self) -> bool {
        true
    }

    fn panicked(&self) {}
}

impl Waiting {
    /// A start about to wait; `spec` is that of the stream, if it is one.
    pub(super) fn new(id: AttachmentId, call: CallId, name: StreamName, spec: Option<StreamSpec>) -> Arc<Self> {
        Arc::new(Self { attachment: Attachment::new(id, call, name, Instant::now()), spec })
    }

    /// What the stream is started with; `None` for a recording.
    pub(super) const fn spec(&self) -> Option<&StreamSpec> {
        self.spec.as_ref()
    }
}

/// There is no room for another start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NoRoom {
    /// The call has its share.
    #[error("{MOST_OF_A_CALL} starts are already waiting for the media of this call")]
    OfCall,
    /// The table is full.
    #[error("{MOST} starts are already waiting for media")]
    AtAll,
    /// Nobody would try it.
    #[error("the module is shutting down")]
    Closed,
}

struct Entry {
    waiting: Arc<Waiting>,
    /// `None` while it is being tried.
    start: Option<Start>,
    due: Instant,
    until: Instant,
}

#[derive(Default)]
struct State {
    entries: BTreeMap<Key, Entry>,
    stopping: bool,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

/// All starts that wait, and the thread that tries them.
#[derive(Default)]
pub(super) struct Starts {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Starts {
    /// Starts the thread.
    pub(super) fn run<M>(&self, module: Weak<M>, host: Arc<dyn Host>) -> std::io::Result<()>
    where
        M: Send + Sync + 'static,
        Arc<M>: Starter,
    {
        let shared = self.shared.clone();
        let thread = std::thread::Builder::new().name(THREAD.into()).spawn(move || {
            host.thread_started(THREAD);
            run(&shared, &module, &host);
        })?;
        *self.thread.lock() = Some(thread);
        Ok(())
    }

    /// Has `start` wait, at most for `limit`; it is tried for the first time at once. Its name is held by the reservation in it.
    pub(super) fn add(&self, waiting: Arc<Waiting>, start: Start, limit: Duration) -> Result<(), NoRoom> {
        let now = Instant::now();
        let mut state = self.shared.state.lock();
        if state.stopping {
            return Err(NoRoom::Closed);
        }
        if state.entries.len() >= MOST {
            return Err(NoRoom::AtAll);
        }
        if state.entries.keys().filter(|(_, call, _)| call == waiting.call()).count() >= MOST_OF_A_CALL {
            return Err(NoRoom::OfCall);
        }
        let kind = match start {
            Start::Stream(..) => Kind::Stream,
            Start::Recording(..) => Kind::Recording,
        };
        let key = (kind, waiting.call().clone(), waiting.name().clone());
        state.entries.insert(key, Entry { waiting, start: Some(start), due: now, until: now + limit });
        self.shared.changed.notify_one();
        Ok(())
    }

    /// The start of that kind and name that waits.
    pub(super) fn get(&self, kind: Kind, call: &CallId, name: &StreamName) -> Option<Arc<Waiting>> {
        let key = (kind, call.clone(), name.clone());
        self.shared.state.lock().entries.get(&key).map(|entry| entry.waiting.clone())
    }

    /// How many starts wait.
    pub(super) fn count(&self) -> usize {
        self.shared.state.lock().entries.len()
    }

    /// All streams that wait, ordered by call and name.
    pub(super) fn streams(&self) -> Vec<Arc<Waiting>> {
        let state = self.shared.state.lock();
        state.entries.values().map(|entry| entry.waiting.clone()).filter(|waiting| waiting.spec.is_some()).collect()
    }

    /// Takes a start out of the table, and with it the hold on its name. `Some` if there was one; with `false` while it is just
    /// being tried: then the thread that tries it ends what it has attached.
    pub(super) fn take(&self, kind: Kind, call: &CallId, name: &StreamName) -> Option<(Arc<Waiting>, bool)> {
        let key = (kind, call.clone(), name.clone());
        let entry = self.shared.state.lock().entries.remove(&key)?;
        Some((entry.waiting, entry.start.is_some()))
    }

    /// Takes all starts out of the table, each as [`take`](Self::take) does.
    pub(super) fn take_all(&self) -> Vec<(Arc<Waiting>, bool)> {
        let entries = std::mem::take(&mut self.shared.state.lock().entries);
        entries.into_values().map(|entry| (entry.waiting, entry.start.is_some())).collect()
    }

    /// The call may have media now: its starts are tried at once. Never waits for a try.
    pub(super) fn wake(&self, call: &CallId) {
        let mut state = self.shared.state.lock();
        let mut found = false;
        for (_, entry) in state.entries.iter_mut().filter(|((_, of, _), _)| of == call) {
            entry.due = entry.waiting.started;
            found = true;
        }
        if found {
            self.shared.changed.notify_one();
        }
    }

    /// Ends the thread and waits for it; gives what still waited, but for recordings whose file is just being made: those are ended by
    /// the thread that makes it. Nothing is added afterwards.
    pub(super) fn stop(&self, ending: &Ending, rest: Duration) -> Vec<Arc<Waiting>> {
        self.shared.state.lock().stopping = true;
        self.shared.changed.notify_one();
        if let Some(thread) = self.thread.lock().take() {
            ending.join_named(rest, "mas-starts, which attaches to a call", thread);
        }
        let left = std::mem::take(&mut self.shared.state.lock().entries);
        left.into_values().filter(|entry| entry.start.is_some()).map(|entry| entry.waiting).collect()
    }
}

fn run<M>(shared: &Arc<Shared>, module: &Weak<M>, host: &Arc<dyn Host>)
where
    M: Send + Sync + 'static,
    Arc<M>: Starter,
{
    loop {
        let mut state = shared.state.lock();
        let due = loop {
            if state.stopping {
                return;
            }
            let now = Instant::now();
            let next = state.entries.values().map(|entry| entry.due).min();
            match next {
                Some(due) if due <= now => break take_due(&mut state, now),
                Some(due) => drop(shared.changed.wait_until(&mut state, due)),
                None => shared.changed.wait(&mut state),
            }
        };
        drop(state);
        for (key, waiting, start, late) in due {
            Attempt { shared, module, host, key, waiting }.run(start, late);
        }
    }
}

/// The starts to be tried now, each with whether this is its last try.
fn take_due(state: &mut State, now: Instant) -> Vec<(Key, Arc<Waiting>, Start, bool)> {
    let due = state.entries.iter_mut().filter(|(_, entry)| entry.due <= now);
    due.filter_map(|(key, entry)| {
        entry.due = now + ROUND;
        Some((key.clone(), entry.waiting.clone(), entry.start.take()?, entry.until <= now))
    })
    .collect()
}

/// What is said last of a start.
enum Word {
    Attached(Option<Arc<StreamHandle>>),
    GivenUp(Option<ErrorCode>, String),
    Stopped,
}

/// A start that was taken out of its entry to be tried.
struct Attempt<'a, M> {
    shared: &'a Arc<Shared>,
    module: &'a Weak<M>,
    host: &'a Arc<dyn Host>,
    key: Key,
    waiting: Arc<Waiting>,
}

impl<M> Attempt<'_, M>
where
    M: Send + Sync + 'static,
    Arc<M>: Starter,
{
    fn run(self, start: Start, late: bool) {
        // What a panic leaves half done is that start's alone: the others need this thread.
        let tried = catch_unwind(AssertUnwindSafe(|| {
            let module = self.module.upgrade()?;
            let call = self.host.locate(self.waiting.call());
            Some(call.map_or(Tried::CallEnded(None), |call| module.attempt(call.as_ref(), start)))
        }));
        let (code, why) = match tried {
            Ok(Some(Tried::Attached(stream))) => return self.say(Word::Attached(stream)),
            Ok(Some(Tried::NotYet(start))) if !late => return self.put_back(start, false),
            Ok(Some(Tried::NotYet(start))) => {
                self.discard(start);
                let seconds = self.waiting.started.elapsed().as_secs();
                (Some(ErrorCode::Timeout), format!("the call had no media for {seconds} s; the start is given up"))
            }
            Ok(Some(Tried::NoFile(path, rate, name))) => return self.have_file_made(path, rate, name),
            Ok(Some(Tried::Failed(code, why))) => (Some(code), why),
            Ok(Some(Tried::CallEnded(left))) => {
                left.into_iter().for_each(|start| self.discard(start));
                (None, "the call ended before it had media".to_owned())
            }
            // The module is gone, and nobody is left to tell.
            Ok(None) => return,
            Err(_) => (Some(ErrorCode::Protocol), "the start failed inside of the module".to_owned()),
        };
        self.say(Word::GivenUp(code, why));
    }

    /// It waits on; `now` for the next try at once.
    fn put_back(&self, start: Start, now: bool) {
        let mut state = self.shared.state.lock();
        let waits = state.entries.get_mut(&self.key).filter(|entry| Arc::ptr_eq(&entry.waiting, &self.waiting));
        if let Some(entry) = waits {
            entry.start = Some(start);
            if now {
                entry.due = entry.waiting.started;
                self.shared.changed.notify_one();
            }
            return;
        }
        drop(state);
        // Stopped meanwhile. Without the start the name is free.
        self.discard(start);
        self.say(Word::Stopped);
    }

    /// Takes a file back that may be in it, not on this thread.
    fn discard(&self, start: Start) {
        if let (Start::Recording(Target::File(file), _name), Some(module)) = (start, self.module.upgrade()) {
            module.work(self.waiting.call(), Box::new(move || drop(file)));
        }
    }

    /// The entry stays as one that is being tried until the file is there.
    fn have_file_made(self, path: PathBuf, rate: SampleRate, name: Reservation<RecordingHandle>) {
        let (shared, of_module, host) = (self.shared.clone(), self.module.clone(), self.host.clone());
        let (key, waiting) = (self.key, self.waiting);
        let call = waiting.call().clone();
        let work = move || {
            let this = Attempt { shared: &shared, module: &of_module, host: &host, key, waiting };
            match catch_unwind(|| NewFile::create(path, rate)) {
                Ok(Ok(file)) => this.put_back(Start::Recording(Target::File(file), name), true),
                failed => {
                    drop(name);
                    let why = match failed {
                        Ok(Err(error)) => error.to_string(),
                        _ => "the start failed inside of the module".to_owned(),
                    };
                    this.say(Word::GivenUp(Some(ErrorCode::NotSupported), why));
                }
            }
        };
        if let Some(module) = self.module.upgrade() {
            module.work(&call, Box::new(work));
        }
    }

    /// The start leaves the table, if nobody has taken it out, and the operator learns what became of it.
    fn say(&self, word: Word) {
        let mut state = self.shared.state.lock();
        let waits = state.entries.get(&self.key).is_some_and(|entry| Arc::ptr_eq(&entry.waiting, &self.waiting));
        if waits {
            state.entries.remove(&self.key);
        }
        drop(state);
        let _ = catch_unwind(AssertUnwindSafe(|| {
            let Some(module) = self.module.upgrade() else { return };
            let call = self.host.locate(self.waiting.call());
            let call = call.as_deref();
            match word {
                Word::Attached(_) if waits => module.attached(call),
                // Stopped while it was being attached.
                Word::Attached(stream) => module.stop_attached(&self.waiting, stream.as_ref()),
                Word::GivenUp(code, why) if waits => module.give_up(&self.waiting, call, code, &why),
                Word::GivenUp(..) | Word::Stopped => module.stopped(&self.waiting, call),
            }
        }));
    }
}

#[cfg(test)]
mod tests;
