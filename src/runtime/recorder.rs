//! The recorder: the threads that write the files of all recordings.
//!
//! One thread leads: it looks at every recording's rings ten times a second, which hold two seconds. A disk that stands still keeps
//! it, and costs that recording audio, which is counted, and never a media thread's time. A second thread stands by while there are
//! recordings: if one is due and nobody looks at it, that thread leads from then on, and another stands by. So a recording on a disk
//! that hangs delays no other, up to [`MOST_THREADS`] such disks. A thread that comes back from such a disk ends. Without a
//! recording one thread sleeps.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};

use super::ending::Ending;
use super::events::EventThread;
use super::host::Host;
use crate::record::{Progress, RecordRegistry, RecordingHandle, RecordingSink, RecordingWriter};

/// The threads' name, as `ps` shows it.
const THREAD: &str = "mas-recorder";
/// Between two looks at the rings.
const ROUND: Duration = Duration::from_millis(100);
/// A recording that is due for so long is looked at by another thread.
const LATE: Duration = Duration::from_millis(100);
/// Threads that may hang on disks, and one that leads.
const MOST_THREADS: usize = 16;

/// All recordings, and the threads that write them.
pub struct Recorder {
    shared: Arc<Shared>,
    registry: Arc<RecordRegistry>,
    sink: Arc<RecordingSink>,
}

struct Shared {
    /// Called first on each thread.
    begin: Box<dyn Fn() + Send + Sync>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Recordings that nobody works at, and when each is due.
    waiting: Vec<(Instant, RecordingWriter)>,
    /// Recordings that are being written.
    busy: Vec<Arc<RecordingHandle>>,
    handles: Vec<JoinHandle<()>>,
    /// Threads that there are, and the number of the next.
    threads: usize,
    numbers: usize,
    /// Who leads.
    leader: usize,
    /// Threads that stand by.
    standing_by: usize,
    stopping: bool,
}

impl State {
    fn next_due(&self) -> Option<Instant> {
        self.waiting.iter().map(|(due, _)| *due).min()
    }

    /// There is no recording.
    fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.busy.is_empty()
    }

    /// The recording that is due first.
    fn take(&mut self) -> Option<RecordingWriter> {
        let first = (0..self.waiting.len()).min_by_key(|at| self.waiting.get(*at).map(|(due, _)| *due))?;
        let (_, writer) = self.waiting.swap_remove(first);
        self.busy.push(writer.handle().clone());
        Some(writer)
    }

    /// All recordings are looked at at once.
    fn hurry(&mut self) {
        let now = Instant::now();
        self.waiting.iter_mut().for_each(|(due, _)| *due = now);
    }
}

impl Recorder {
    /// Starts the first thread.
    pub fn start(host: Arc<dyn Host>, events: Arc<EventThread>) -> std::io::Result<Self> {
        let shared = Shared::new(move || host.thread_started(THREAD));
        add_thread(&shared, &mut shared.state.lock())?;
        Ok(Self { shared, registry: Arc::default(), sink: events })
    }

    /// All recordings.
    pub const fn registry(&self) -> &Arc<RecordRegistry> {
        &self.registry
    }

    /// Where recordings tell what happens to them.
    pub const fn sink(&self) -> &Arc<RecordingSink> {
        &self.sink
    }

    /// Has the threads run this writer until its end. If they are ending, the recording ends here and now.
    pub fn adopt(&self, mut writer: RecordingWriter) {
        let mut state = self.shared.state.lock();
        if state.stopping {
            drop(state);
            writer.round(Instant::now(), true);
            return;
        }
        state.waiting.push((Instant::now() + ROUND, writer));
        drop(state);
        self.shared.changed.notify_all();
    }

    /// Takes the recording's bug off its call and has its file finished. May wait for the session's locks, and for the disk as long
    /// as `patience`; whether the file is whole.
    pub fn end(&self, recording: &RecordingHandle, reason: &'static str, patience: Duration) -> bool {
        recording.end_because(reason);
        recording.detach();
        self.hurry();
        recording.wait_finished(patience)
    }

    fn hurry(&self) {
        self.shared.state.lock().hurry();
        self.shared.changed.notify_all();
    }

    /// Takes no more recordings, and ends those there are, as far as calls and disks let it before `until`.
    pub(super) fn end_all(&self, reason: &'static str, until: Instant) {
        self.registry.close();
        let recordings = self.registry.all();
        for recording in &recordings {
            recording.end_because(reason);
            self.sink.detach(recording);
        }
        for recording in &recordings {
            while !recording.is_bug_closed() && Instant::now() < until {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        self.hurry();
        for recording in &recordings {
            recording.wait_finished(until.saturating_duration_since(Instant::now()));
        }
    }

    /// Finishes every file and ends the threads. What hangs on its disk is left and named.
    pub(super) fn stop(&self, ending: &Ending, rest: Duration) {
        let handles = {
            let mut state = self.shared.state.lock();
            state.stopping = true;
            state.hurry();
            std::mem::take(&mut state.handles)
        };
        self.shared.changed.notify_all();
        let hung = handles.into_iter().filter_map(|thread| (!ending.join(rest, thread)).then_some(())).count();
        if hung > 0 {
            let mut state = self.shared.state.lock();
            let waiting = state.waiting.drain(..).map(|(_, writer)| writer.handle().clone()).collect::<Vec<_>>();
            for recording in state.busy.iter().chain(&waiting) {
                let (call, file) = (recording.call(), recording.path.display());
                ending.leave(format!("recording of call {call} to {file}"));
            }
        }
    }
}

impl Shared {
    fn new(begin: impl Fn() + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self { begin: Box::new(begin), state: Mutex::default(), changed: Condvar::new() })
    }
}

fn add_thread(shared: &Arc<Shared>, state: &mut MutexGuard<'_, State>) -> std::io::Result<()> {
    let (of_thread, number) = (shared.clone(), state.numbers);
    let thread = std::thread::Builder::new().name(THREAD.into()).spawn(move || {
        (of_thread.begin)();
        run(&of_thread, number);
    })?;
    state.numbers += 1;
    state.threads += 1;
    state.handles.retain(|thread| !thread.is_finished());
    state.handles.push(thread);
    Ok(())
}

fn run(shared: &Arc<Shared>, number: usize) {
    let mut state = shared.state.lock();
    loop {
        let leads = state.leader == number;
        let due = state.next_due();
        let patience = if leads || state.stopping { Duration::ZERO } else { LATE };
        match due.map(|due| due + patience) {
            Some(at) if at <= Instant::now() => {
                state.leader = number;
                if state.standing_by == 0 && state.threads < MOST_THREADS && !state.stopping {
                    // Where there is none to be had, a disk that hangs delays the others, as it would without it.
                    let _ = add_thread(shared, &mut state);
                }
                let last = state.stopping;
                let Some(mut writer) = state.take() else { continue };
                drop(state);
                let progress = round(&mut writer, Instant::now(), last);
                state = shared.state.lock();
                let handle = writer.handle().clone();
                state.busy.retain(|busy| !Arc::ptr_eq(busy, &handle));
                if progress == Progress::Running {
                    state.waiting.push((Instant::now() + ROUND, writer));
                } else if state.is_idle() {
                    // Nothing is left to stand by for.
                    shared.changed.notify_all();
                }
            }
            None if state.stopping => return,
            _ if !leads && (state.is_idle() || state.standing_by > 0) => {
                state.threads -= 1;
                return;
            }
            until => {
                state.standing_by += usize::from(!leads);
                match until {
                    Some(until) => drop(shared.changed.wait_until(&mut state, until)),
                    None => shared.changed.wait(&mut state),
                }
                state.standing_by -= usize::from(!leads);
            }
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
    use std::sync::atomic::{AtomicU64, Ordering};

    use parking_lot::RwLock;

    use super::*;
    use crate::call::{Attached as _, MediaBug, RegisterError, Sink};
    use crate::event::Event;
    use crate::media::tap_ring;
    use crate::record::Storage;
    use crate::units::{CallId, SampleRate, StreamName};

    /// A disk whose first write panics, if it is `fragile`, and that stands still while the gate is closed, if it has one.
    #[derive(Clone, Default)]
    struct Disk {
        fragile: bool,
        gate: Option<Arc<RwLock<()>>>,
        written: Arc<AtomicU64>,
    }

    impl Storage for Disk {
        fn write_at(&mut self, _bytes: &[u8], _offset: u64) -> std::io::Result<()> {
            assert!(!self.fragile, "on purpose");
            drop(self.gate.as_ref().map(|gate| gate.read()));
            self.written.fetch_add(1, Ordering::Relaxed);
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

    const PATIENCE: Duration = Duration::from_secs(30);

    /// A recorder without a switch.
    fn recorder() -> (Recorder, Arc<Reported>) {
        let (shared, reported) = (Shared::new(|| {}), Arc::new(Reported::default()));
        add_thread(&shared, &mut shared.state.lock()).unwrap();
        (Recorder { shared, registry: Arc::default(), sink: reported.clone() }, reported)
    }

    fn record(recorder: &Recorder, name: &str, disk: Disk) -> Arc<RecordingHandle> {
        let call = CallId::new(name);
        let reservation = recorder.registry.reserve(&call, &StreamName::default()).unwrap();
        let started = Instant::now();
        let (_, caller_out, caller) = tap_ring(800, started);
        let (_, heard_out, heard) = tap_ring(800, started);
        let (path, rate) = (PathBuf::from(format!("/r/{name}.wav")), SampleRate::HZ_8000);
        let key = (call, StreamName::default());
        let handle = RecordingHandle::new(reservation.id, key, path, rate, started, [caller, heard]);
        reservation.attach(&handle, || Ok::<_, RegisterError>(Box::new(Bug))).unwrap();
        let (registry, sink) = (recorder.registry.clone(), recorder.sink.clone());
        let taps = [caller_out, heard_out];
        recorder.adopt(RecordingWriter::new(handle.clone(), registry, sink, taps, Box::new(disk)));
        handle
    }

    fn eventually(condition: impl Fn() -> bool) -> bool {
        let until = Instant::now() + PATIENCE;
        while !condition() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(2));
        }
        condition()
    }

    #[test]
    fn a_recording_that_panics_ends_and_the_others_go_on() {
        let (recorder, reported) = recorder();
        let fragile = record(&recorder, "fragile", Disk { fragile: true, ..Disk::default() });
        let sound = record(&recorder, "sound", Disk::default());
        assert!(fragile.wait_finished(PATIENCE), "the first write comes by itself");
        assert!(fragile.is_bug_closed());
        sound.bug_closed(None);
        assert!(recorder.end(&sound, "stopped", PATIENCE), "its file is finished");
        assert!(recorder.registry.all().is_empty(), "both names are free");
        let ending = Ending::within(PATIENCE);
        recorder.stop(&ending, Duration::ZERO);
        assert!(ending.left().is_empty());
        let failed = reported.0.lock().iter().filter(|event| matches!(event, Event::Error(_))).count();
        assert_eq!(failed, 1);
    }

    #[test]
    fn a_disk_that_hangs_stalls_only_its_own_recordings() {
        let (recorder, _) = recorder();
        let gate = Arc::new(RwLock::new(()));
        let closed = gate.write();
        let hanging = || Disk { gate: Some(gate.clone()), ..Disk::default() };
        let hung: Vec<_> = (0..5).map(|n| record(&recorder, &format!("hung-{n}"), hanging())).collect();
        let disk = Disk::default();
        let sound = record(&recorder, "sound", disk.clone());
        assert!(eventually(|| recorder.shared.state.lock().busy.len() == 5), "all five hang");
        // Two files were written twice over by now, were it not for the others: header and samples each time.
        let before = disk.written.load(Ordering::Relaxed);
        assert!(eventually(|| disk.written.load(Ordering::Relaxed) >= before + 4), "the innocent one goes on");
        sound.bug_closed(None);
        assert!(recorder.end(&sound, "stopped", PATIENCE), "and ends when asked to");
        // And one that begins now.
        let disk = Disk::default();
        record(&recorder, "late", disk.clone());
        assert!(eventually(|| disk.written.load(Ordering::Relaxed) >= 2));
        drop(closed);
        hung.iter().for_each(|hung| hung.bug_closed(None));
        assert!(
            hung.iter().all(|hung| recorder.end(hung, "stopped", PATIENCE)),
            "they end, too, when the disk is back"
        );
        assert!(eventually(|| recorder.shared.state.lock().threads == 2), "the threads are gone that were needed");
        recorder.stop(&Ending::within(PATIENCE), Duration::ZERO);
    }

    #[test]
    fn an_unload_leaves_a_recording_whose_disk_hangs_and_names_it() {
        let (recorder, _) = recorder();
        let gate = Arc::new(RwLock::new(()));
        let closed = gate.write();
        record(&recorder, "hung", Disk { gate: Some(gate.clone()), ..Disk::default() });
        let sound = record(&recorder, "sound", Disk::default());
        assert!(eventually(|| recorder.shared.state.lock().busy.len() == 1));
        let ending = Ending::within(Duration::from_secs(1));
        recorder.end_all("module unloaded", ending.keeping(Duration::from_millis(500)));
        recorder.stop(&ending, Duration::ZERO);
        assert!(sound.is_finished(), "the other file is whole");
        assert_eq!(ending.left(), ["recording of call hung to /r/hung.wav"]);
        drop(closed);
        assert!(eventually(|| recorder.registry.all().is_empty()), "it ends when its disk is back");
    }
}
