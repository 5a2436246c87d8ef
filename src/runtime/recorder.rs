//! The recorder: one thread that writes the files of all recordings.
//!
//! It looks at every recording's rings ten times a second, which hold two seconds: a disk that stands still for longer costs
//! audio, which is counted, and never a media thread's time. Without a recording it sleeps.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::events::EventThread;
use super::host::Host;
use crate::record::{Progress, RecordRegistry, RecordingHandle, RecordingSink, Take};

/// The thread's name, as `ps` shows it.
const THREAD: &str = "mas-recorder";
/// Between two looks at the rings.
const ROUND: Duration = Duration::from_millis(100);

/// All recordings, and the thread that writes them.
pub struct Recorder {
    shared: Arc<Shared>,
    registry: Arc<RecordRegistry>,
    sink: Arc<dyn RecordingSink>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    arrivals: Vec<Take>,
    /// Somebody waits for the end of a recording.
    hurry: bool,
    stopping: bool,
}

impl Recorder {
    /// Starts the thread.
    pub fn start(host: Arc<dyn Host>, events: Arc<EventThread>) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let of_thread = shared.clone();
        let thread = std::thread::Builder::new().name(THREAD.into()).spawn(move || {
            host.thread_started(THREAD);
            run(&of_thread);
        })?;
        Ok(Self { shared, registry: Arc::default(), sink: events, thread: Mutex::new(Some(thread)) })
    }

    /// All recordings.
    pub const fn registry(&self) -> &Arc<RecordRegistry> {
        &self.registry
    }

    /// Where recordings tell what happens to them.
    pub const fn sink(&self) -> &Arc<dyn RecordingSink> {
        &self.sink
    }

    /// Has the thread write this take until its end; when the thread is ending, the take ends here and now.
    pub fn adopt(&self, mut take: Take) {
        let mut state = self.shared.state.lock();
        if state.stopping {
            drop(state);
            take.round(Instant::now(), true);
            return;
        }
        state.arrivals.push(take);
        self.shared.changed.notify_one();
    }

    /// Takes the recording's bug off its call and has its file finished. May wait for the session's locks, and for the disk as long
    /// as `patience`; whether the file is whole.
    pub fn end(&self, recording: &RecordingHandle, reason: &'static str, patience: Duration) -> bool {
        recording.end_because(reason);
        recording.detach();
        self.shared.state.lock().hurry = true;
        self.shared.changed.notify_one();
        recording.wait_finished(patience)
    }

    /// Takes no more recordings, and takes the bugs of those there are off their calls. Their files are finished by
    /// [`stop`](Self::stop).
    pub fn end_all(&self, reason: &'static str) {
        self.registry.close();
        for recording in self.registry.all() {
            self.end(&recording, reason, Duration::ZERO);
        }
    }

    /// Finishes every file, ends the thread and waits for it.
    pub fn stop(&self) {
        self.shared.state.lock().stopping = true;
        self.shared.changed.notify_one();
        if let Some(thread) = self.thread.lock().take() {
            // A panic of the thread was reported by the panic hook.
            let _ = thread.join();
        }
    }
}

fn run(shared: &Shared) {
    let mut takes: Vec<Take> = Vec::new();
    loop {
        let mut state = shared.state.lock();
        let next = Instant::now() + ROUND;
        while !(state.hurry || state.stopping) {
            if takes.is_empty() && state.arrivals.is_empty() {
                shared.changed.wait(&mut state);
            } else if shared.changed.wait_until(&mut state, next).timed_out() {
                break;
            }
        }
        state.hurry = false;
        takes.append(&mut state.arrivals);
        let last = state.stopping;
        drop(state);
        let now = Instant::now();
        takes.retain_mut(|take| take.round(now, last) == Progress::Running);
        if last {
            return;
        }
    }
}
