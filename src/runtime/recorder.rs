//! The recorder: one thread that writes the files of all recordings.
//!
//! It looks at every recording's rings ten times a second, which hold two seconds: a disk that stands still for longer costs
//! audio, which is counted, and never a media thread's time. Without a recording it sleeps.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::events::EventThread;
use super::host::Host;
use crate::record::{Progress, RecordRegistry, RecordingHandle, RecordingSink, RecordingWriter};

/// The thread's name, as `ps` shows it.
const THREAD: &str = "mas-recorder";
/// Between two looks at the rings.
const ROUND: Duration = Duration::from_millis(100);

/// All recordings, and the thread that writes them.
pub struct Recorder {
    shared: Arc<Shared>,
    registry: Arc<RecordRegistry>,
    sink: Arc<RecordingSink>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    arrivals: Vec<RecordingWriter>,
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
    pub const fn sink(&self) -> &Arc<RecordingSink> {
        &self.sink
    }

    /// Has the thread run this writer until its end. If the thread is ending, the recording ends here and now.
    pub fn adopt(&self, mut writer: RecordingWriter) {
        let mut state = self.shared.state.lock();
        if state.stopping {
            drop(state);
            writer.round(Instant::now(), true);
            return;
        }
        state.arrivals.push(writer);
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
    let mut writers: Vec<RecordingWriter> = Vec::new();
    loop {
        let mut state = shared.state.lock();
        let next = Instant::now() + ROUND;
        while !(state.hurry || state.stopping) {
            if writers.is_empty() && state.arrivals.is_empty() {
                shared.changed.wait(&mut state);
            } else if shared.changed.wait_until(&mut state, next).timed_out() {
                break;
            }
        }
        state.hurry = false;
        writers.append(&mut state.arrivals);
        let last = state.stopping;
        drop(state);
        let now = Instant::now();
        writers.retain_mut(|writer| round(writer, now, last) == Progress::Running);
        if last {
            return;
        }
    }
}

/// One round of a writer; a panic in it ends that recording, and none of the others.
fn round(writer: &mut RecordingWriter, now: Instant, last: bool) -> Progress {
    catch_unwind(AssertUnwindSafe(|| writer.round(now, last))).unwrap_or_else(|_| {
        // What the first has left behind: then the file stays as it is, and nothing is reported.
        let _ = catch_unwind(AssertUnwindSafe(|| writer.abandon()));
        Progress::Over
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::call::{Attached as _, MediaBug, RegisterError, Sink};
    use crate::event::Event;
    use crate::media::tap_ring;
    use crate::record::Storage;
    use crate::units::{CallId, SampleRate, StreamName};

    /// A disk whose first write panics, if it is `fragile`.
    struct Disk {
        fragile: bool,
    }

    impl Storage for Disk {
        fn write_at(&mut self, _bytes: &[u8], _offset: u64) -> std::io::Result<()> {
            assert!(!self.fragile, "on purpose");
            Ok(())
        }

        fn cut(&mut self, _length: u64) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// A media bug that is never taken off.
    struct Bug;

    impl MediaBug for Bug {
        fn detach(&self) {}
    }

    #[derive(Default)]
    struct Reported(Mutex<Vec<Event>>);

    impl Sink<RecordingHandle> for Reported {
        fn emit(&self, _recording: &Arc<RecordingHandle>, event: Event) {
            self.0.lock().push(event);
        }

        fn detach(&self, recording: &Arc<RecordingHandle>) {
            recording.bug_closed(None);
        }
    }

    #[test]
    fn a_recording_that_panics_ends_and_the_others_go_on() {
        let shared = Arc::new(Shared::default());
        let (registry, reported) = (Arc::new(RecordRegistry::default()), Arc::new(Reported::default()));
        let recordings = ["fragile", "sound"].map(|name| {
            let call = CallId::new(name);
            let reservation = registry.reserve(&call, &StreamName::default()).unwrap();
            let started = Instant::now();
            let (_, caller_out, caller) = tap_ring(800, started);
            let (_, heard_out, heard) = tap_ring(800, started);
            let (path, rate) = (PathBuf::from("/r/a.wav"), SampleRate::HZ_8000);
            let key = (call, StreamName::default());
            let handle = RecordingHandle::new(reservation.id, key, path, rate, started, [caller, heard]);
            reservation.attach(&handle, || Ok::<_, RegisterError>(Box::new(Bug))).unwrap();
            let disk = Box::new(Disk { fragile: name == "fragile" });
            let taps = [caller_out, heard_out];
            shared.state.lock().arrivals.push(RecordingWriter::new(
                handle.clone(),
                registry.clone(),
                reported.clone(),
                taps,
                disk,
            ));
            handle
        });
        let of_thread = shared.clone();
        let thread = std::thread::spawn(move || run(&of_thread));
        assert!(recordings[0].wait_finished(Duration::from_secs(30)), "the first write comes by itself");
        assert!(recordings[0].is_bug_closed());
        recordings[1].bug_closed(None);
        shared.state.lock().hurry = true;
        shared.changed.notify_one();
        assert!(recordings[1].wait_finished(Duration::from_secs(30)), "its file is finished");
        assert!(registry.all().is_empty(), "both names are free");
        shared.state.lock().stopping = true;
        shared.changed.notify_one();
        thread.join().unwrap();
        let failed = reported.0.lock().iter().filter(|event| matches!(event, Event::Error(_))).count();
        assert_eq!(failed, 1);
    }
}
