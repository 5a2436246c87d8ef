//! The playout clock: one thread that writes frames to channels that have playback waiting and nobody who writes.
//!
//! A parked channel is written to by nobody, and WRITE_REPLACE runs on written frames only. Shards [`engage`](Clock::engage) a
//! stream when its ring holds audio that no frame takes; the clock then writes silence at the call's ptime until the ring has
//! been empty for a while, or somebody else writes. Streams that are not engaged cost nothing.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::host::{Host, SilenceWriter, Written};
use crate::stream::handle::{StreamHandle, StreamId};

/// The thread's name, as `ps` shows it.
const THREAD: &str = "mas-clock";
/// How long an empty ring is still clocked: the glide after the last sample, and a far end that pauses for breath.
const LINGER: Duration = Duration::from_millis(200);
/// When the next try is due on a channel that takes no audio at the moment (on hold, in a transfer).
const RETRY: Duration = Duration::from_millis(20);
/// Further behind than this the clock starts afresh instead of catching up.
const MAX_LAG: Duration = Duration::from_millis(100);

/// The playout clock.
pub struct Clock {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    arrivals: Vec<Arc<StreamHandle>>,
    stopping: bool,
}

struct Engaged {
    stream: Arc<StreamHandle>,
    due: Instant,
    idle_since: Option<Instant>,
    foreign_writes: u64,
}

impl Clock {
    /// Starts the thread.
    pub fn start(host: Arc<dyn Host>) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let of_thread = shared.clone();
        let thread = std::thread::Builder::new().name(THREAD.into()).spawn(move || {
            host.thread_started(THREAD);
            run(&of_thread, host.silence_writer().as_mut());
        })?;
        Ok(Self { shared, thread: Mutex::new(Some(thread)) })
    }

    /// Writes frames for `stream` until it needs them no more. Never waits for the clock's work.
    pub fn engage(&self, stream: &Arc<StreamHandle>) {
        stream.set_clocked(true);
        self.shared.state.lock().arrivals.push(stream.clone());
        self.shared.changed.notify_one();
    }

    /// Ends the thread and waits for it.
    pub fn stop(&self) {
        self.shared.state.lock().stopping = true;
        self.shared.changed.notify_one();
        if let Some(thread) = self.thread.lock().take() {
            // A panic of the thread was reported by the panic hook.
            let _ = thread.join();
        }
    }
}

fn run(shared: &Shared, writer: &mut dyn SilenceWriter) {
    let mut engaged: Vec<Engaged> = Vec::new();
    loop {
        {
            let mut state = shared.state.lock();
            while state.arrivals.is_empty() && !state.stopping {
                match engaged.iter().map(|one| one.due).min() {
                    None => shared.changed.wait(&mut state),
                    Some(due) => {
                        if due <= Instant::now() || shared.changed.wait_until(&mut state, due).timed_out() {
                            break;
                        }
                    }
                }
            }
            if state.stopping {
                return;
            }
            let now = Instant::now();
            for stream in state.arrivals.drain(..) {
                if !engaged.iter().any(|one| one.stream.id == stream.id) {
                    let foreign_writes = stream.media.foreign_writes();
                    engaged.push(Engaged { stream, due: now, idle_since: None, foreign_writes });
                }
            }
        }
        serve(&mut engaged, writer);
    }
}

/// Writes what is due. Several streams of one call share its frames: one write serves all of them.
fn serve(engaged: &mut Vec<Engaged>, writer: &mut dyn SilenceWriter) {
    let now = Instant::now();
    let mut served: Vec<(StreamId, Instant)> = Vec::new();
    for at in 0..engaged.len() {
        let one = &engaged[at];
        if one.due > now || served.iter().any(|(id, _)| *id == one.stream.id) {
            continue;
        }
        let next = match writer.write(one.stream.call()) {
            Written::Frame(ptime) if now.saturating_duration_since(one.due) < MAX_LAG => one.due + ptime,
            Written::Frame(ptime) => now + ptime,
            // Gone: until its bugs are closed, which ends the engagement.
            Written::NotNow | Written::Gone => now + RETRY,
        };
        let call = one.stream.call().clone();
        served.extend(engaged.iter().filter(|other| *other.stream.call() == call).map(|other| (other.stream.id, next)));
    }
    for (id, next) in served {
        if let Some(one) = engaged.iter_mut().find(|one| one.stream.id == id) {
            one.due = next;
        }
    }
    engaged.retain_mut(|one| {
        let stays = one.still_needed(now);
        if !stays {
            one.stream.set_clocked(false);
        }
        stays
    });
}

impl Engaged {
    fn still_needed(&mut self, now: Instant) -> bool {
        let media = &self.stream.media;
        if self.stream.is_bug_closed() || media.foreign_writes() != self.foreign_writes {
            return false;
        }
        if media.playout.level() > 0 {
            self.idle_since = None;
            return true;
        }
        let idle_since = *self.idle_since.get_or_insert(now);
        now.saturating_duration_since(idle_since) < LINGER
    }
}
