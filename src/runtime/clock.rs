//! The playout clock: one thread that writes frames to channels that have playback waiting and nobody who writes.
//!
//! A parked channel is written to by nobody, and WRITE_REPLACE runs on written frames only. Shards [`engage`](Clock::engage) a
//! stream when its ring holds audio that no frame takes; the clock then writes silence at the call's ptime until the ring has
//! been empty for a while, or somebody else writes. The streams of one call share its frames. Streams that are not engaged cost
//! nothing.
//!
//! A write holds the call's write lock, and where RTP has a timer of its own FreeSWITCH waits for its tick inside of the write.
//! So the clock keeps a little behind that tick: otherwise it would hold the lock nearly all the time, and others who write
//! would lose their frames without a trace.

use std::collections::HashMap;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::host::{Host, SilenceWriter, Written};
use crate::stream::handle::StreamHandle;
use crate::units::CallId;

/// The thread's name, as `ps` shows it.
const THREAD: &str = "mas-clock";
/// How long an empty ring is still clocked: the glide after the last sample, and a far end that pauses for breath.
const LINGER: Duration = Duration::from_millis(200);
/// When the next try is due on a channel that takes no audio at the moment (on hold, in a transfer).
const RETRY: Duration = Duration::from_millis(20);
/// Further behind than this the clock starts afresh instead of catching up.
const MAX_LAG: Duration = Duration::from_millis(100);
/// A write that takes longer has waited for the tick of the call's own timer: encoding and sending take tens of microseconds.
const HELD_UP: Duration = Duration::from_micros(500);
/// How far behind such a timer's tick the clock keeps.
const BEHIND: Duration = Duration::from_millis(2);
/// Between two rounds, so that a thousand calls are not a thousand wake-ups per frame.
const ROUND: Duration = Duration::from_millis(1);

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

impl Clock {
    /// Starts the thread.
    pub fn start(host: Arc<dyn Host>) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let of_thread = shared.clone();
        let thread = std::thread::Builder::new().name(THREAD.into()).spawn(move || {
            host.media_thread_started(THREAD);
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
    let mut engaged = Engaged::default();
    let mut next = None;
    loop {
        let mut state = shared.state.lock();
        while state.arrivals.is_empty() && !state.stopping {
            match next {
                None => shared.changed.wait(&mut state),
                Some(due) => {
                    if shared.changed.wait_until(&mut state, due).timed_out() {
                        break;
                    }
                }
            }
        }
        if state.stopping {
            return;
        }
        let arrivals = std::mem::take(&mut state.arrivals);
        drop(state);
        let now = Instant::now();
        for stream in arrivals {
            engaged.add(stream, now);
        }
        next = engaged.round(now, writer).map(|due| due.max(Instant::now() + ROUND));
    }
}

/// The calls the clock writes to.
#[derive(Default)]
struct Engaged {
    calls: HashMap<CallId, Call>,
}

struct Call {
    due: Instant,
    streams: Vec<Member>,
}

struct Member {
    stream: Arc<StreamHandle>,
    idle_since: Option<Instant>,
    foreign_writes: u64,
}

impl Engaged {
    /// A stream of a call that is written to already joins its schedule.
    fn add(&mut self, stream: Arc<StreamHandle>, now: Instant) {
        let call = self.calls.entry(stream.call().clone()).or_insert_with(|| Call { due: now, streams: Vec::new() });
        if !call.streams.iter().any(|member| member.stream.id == stream.id) {
            let foreign_writes = stream.media.foreign_writes();
            call.streams.push(Member { stream, idle_since: None, foreign_writes });
        }
    }

    /// Writes what is due at `now`; returns when the next frame is.
    fn round(&mut self, now: Instant, writer: &mut dyn SilenceWriter) -> Option<Instant> {
        self.calls.retain(|id, call| {
            if call.due <= now {
                // Before the write: whoever else writes has the channel for himself from now on.
                call.streams.retain_mut(|member| member.still_needs(now));
                if call.streams.is_empty() {
                    return false;
                }
                call.due = next_due(call.due, now, || writer.write(id));
            }
            true
        });
        self.calls.values().map(|call| call.due).min()
    }
}

/// Makes one write and says when the next is due.
fn next_due(due: Instant, now: Instant, write: impl FnOnce() -> Written) -> Instant {
    let began = Instant::now();
    let written = write();
    let done = Instant::now();
    match written {
        Written::Frame(ptime) if done.saturating_duration_since(began) > HELD_UP => done + ptime + BEHIND,
        Written::Frame(ptime) if now.saturating_duration_since(due) < MAX_LAG => due + ptime,
        Written::Frame(ptime) => now + ptime,
        // Gone: until its bugs are closed, which ends the engagement.
        Written::NotNow | Written::Gone => now + RETRY,
    }
}

impl Member {
    fn still_needs(&mut self, now: Instant) -> bool {
        let media = &self.stream.media;
        let others = self.stream.is_bug_closed() || media.foreign_writes() != self.foreign_writes;
        let idle = if media.playout.has_audio() {
            self.idle_since = None;
            false
        } else {
            now.saturating_duration_since(*self.idle_since.get_or_insert(now)) >= LINGER
        };
        let stays = !others && !idle;
        if !stays {
            self.stream.set_clocked(false);
        }
        stays
    }
}
