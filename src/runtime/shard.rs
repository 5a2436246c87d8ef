//! A shard: one worker thread with a tokio runtime of its own, on which the tasks of some streams live.
//!
//! A stream stays on its shard, so that waking its task costs no crossing of threads. The shard's one tick looks at the
//! atomics of all its streams and rings the doorbell of those that have a message captured or room for playback; the media
//! thread itself wakes nobody, which would cost it 6 µs (p99 45 µs) a frame. With no stream there is no tick.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::runtime::{Builder, Handle};
use tokio::sync::Notify;
use tokio::time::MissedTickBehavior;

use super::clock::Clock;
use super::ending::Ending;
use super::events::EventThread;
use super::host::Host;
use crate::blocking;
use crate::call::AttachmentId;
use crate::media::link::MediaLink;
use crate::stream::handle::StreamHandle;
use crate::stream::hold::HoldWatch;
use crate::telemetry::metrics::Histogram;

/// The tick: at most this is added to a captured frame's way to the socket. Shorter ticks cost CPU, see the benches.
const TICK: Duration = Duration::from_millis(4);
/// A call to which nobody writes for this long is the playout clock's, if it has something to write. Long enough that a bridge or a player that is
/// late on a busy machine is not taken for absent: FreeSWITCH drops a packet with the timestamp of the one before, which two
/// writers come to. A channel that nobody writes to waits for it once, not for each utterance.
const UNCLAIMED: Duration = Duration::from_millis(200);
/// Of the time between two looks at most this counts: after a stall of the worker or of the whole machine, those who write to the
/// call get their time to be seen.
const MOST_OF_A_LOOK: Duration = Duration::from_millis(20);
/// A stream of which nothing is new is looked at so often: callers on hold and calls without a writer are found by time.
const QUIET: Duration = Duration::from_millis(16);

/// One worker thread and the streams on it.
pub struct Shard {
    shared: Arc<Shared>,
    runtime: Handle,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Default)]
struct Shared {
    streams: Mutex<Vec<Watched>>,
    count: AtomicUsize,
    changed: Notify,
    stop: Notify,
    /// The last tick; `None` without a stream.
    ticked: Mutex<Option<Instant>>,
}

/// A stream as the tick sees it.
struct Watched {
    stream: Arc<StreamHandle>,
    /// The stream's, held here as well: one pointer less to follow at each tick.
    media: Arc<MediaLink>,
    /// What the callbacks and the task had done at the last look.
    done: u64,
    /// When to look whether they have done something or not.
    look_at: Instant,
    writers: Writers,
    hold: HoldWatch,
}

/// Whether somebody other than the playout clock writes to a call.
struct Writers {
    /// Frames of theirs.
    written: u64,
    looked: Instant,
    /// How long none has been seen.
    absent: Duration,
}

impl Writers {
    const fn new(written: u64, now: Instant) -> Self {
        Self { written, looked: now, absent: Duration::ZERO }
    }

    /// Looks at how much they have written; whether there is nobody.
    fn are_absent(&mut self, written: u64, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.looked).min(MOST_OF_A_LOOK);
        self.looked = now;
        self.absent = if written == self.written { (self.absent + passed).min(UNCLAIMED) } else { Duration::ZERO };
        self.written = written;
        self.absent >= UNCLAIMED
    }
}

impl Shard {
    /// Starts the thread.
    pub fn start(
        number: usize,
        host: Arc<dyn Host>,
        (clock, events): (Arc<Clock>, Arc<EventThread>),
        lateness: Arc<Histogram>,
    ) -> std::io::Result<Self> {
        let blocking_host = host.clone();
        let runtime = Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .max_blocking_threads(blocking::THREADS)
            .thread_name("mas-blocking")
            .on_thread_start(move || blocking_host.thread_started("mas-blocking"))
            .build()?;
        let shared = Arc::new(Shared::default());
        let of_thread = shared.clone();
        let handle = runtime.handle().clone();
        let name = format!("mas-shard-{number}");
        let thread = std::thread::Builder::new().name(name.clone()).spawn(move || {
            host.thread_started(&name);
            runtime.block_on(run(&of_thread, (&clock, &events), &lateness));
            // What hangs in a resolver or on a disk is not waited for.
            runtime.shutdown_timeout(Duration::from_millis(100));
        })?;
        Ok(Self { shared, runtime: handle, thread: Mutex::new(Some(thread)) })
    }

    /// Streams on this shard.
    pub fn load(&self) -> usize {
        self.shared.count.load(Ordering::Relaxed)
    }

    /// Time since the last tick; zero without a stream.
    pub fn since_tick(&self, now: Instant) -> Duration {
        let ticked = *self.shared.ticked.lock();
        ticked.map_or(Duration::ZERO, |at| now.saturating_duration_since(at))
    }

    /// The streams on this shard.
    pub fn streams(&self) -> Vec<Arc<StreamHandle>> {
        self.shared.streams.lock().iter().map(|watched| watched.stream.clone()).collect()
    }

    /// Runs `task` for `stream` here, watched by the tick until it ends.
    pub fn adopt(&self, stream: Arc<StreamHandle>, task: impl Future<Output = ()> + Send + 'static) {
        let id = stream.id;
        let now = Instant::now();
        self.shared.streams.lock().push(Watched::new(stream, now));
        self.shared.count.fetch_add(1, Ordering::Relaxed);
        self.shared.ticked.lock().get_or_insert(now);
        self.shared.changed.notify_one();
        let shared = self.shared.clone();
        self.runtime.spawn(async move {
            let _watch = Watch { shared, id };
            task.await;
        });
    }

    /// Runs a task here that belongs to no stream.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.runtime.spawn(task);
    }

    /// Ends the thread and waits for it; tasks still running are dropped in mid-work.
    pub(super) fn stop(&self, ending: &Ending, rest: Duration) {
        self.shared.stop.notify_one();
        if let Some(thread) = self.thread.lock().take() {
            ending.join_named(rest, "of a shard", thread);
        }
    }
}

/// Takes a stream out of the tick when its task ends, in any way.
struct Watch {
    shared: Arc<Shared>,
    id: AttachmentId,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.shared.streams.lock().retain(|watched| watched.stream.id != self.id);
        self.shared.count.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn run(shared: &Shared, others: (&Clock, &EventThread), lateness: &Histogram) {
    tokio::select! {
        () = shared.stop.notified() => {}
        () = tick(shared, others, lateness) => {}
    }
}

async fn tick(shared: &Shared, others: (&Clock, &EventThread), lateness: &Histogram) {
    loop {
        while shared.count.load(Ordering::Relaxed) == 0 {
            shared.changed.notified().await;
        }
        let mut interval = tokio::time::interval(TICK);
        interval.set_missed_tick_behavior(MissedTickBehavior::Skip);
        while shared.count.load(Ordering::Relaxed) > 0 {
            let due = interval.tick().await.into_std();
            let now = Instant::now();
            lateness.record(now.saturating_duration_since(due));
            *shared.ticked.lock() = Some(now);
            for watched in shared.streams.lock().iter_mut() {
                watched.look(now, others);
            }
        }
        *shared.ticked.lock() = None;
    }
}

impl Watched {
    fn new(stream: Arc<StreamHandle>, now: Instant) -> Self {
        let media = stream.media.clone();
        let (writers, hold) = (Writers::new(media.foreign_writes(), now), HoldWatch::new(&media, now));
        Self { done: 0, look_at: now, media, writers, hold, stream }
    }

    /// Whether to look: the callbacks or the task have done something, or it is time. Of a stream with nothing new this is all that
    /// a tick reads, since all else costs a miss of the cache for each of its counters.
    fn is_due(&mut self, now: Instant) -> bool {
        let done = self.media.beat().wrapping_add(self.stream.counters.turns.load(Ordering::Relaxed));
        let due = done != self.done || now >= self.look_at;
        if due {
            (self.done, self.look_at) = (done, now + QUIET);
        }
        due
    }

    fn look(&mut self, now: Instant, (clock, events): (&Clock, &EventThread)) {
        if !self.is_due(now) {
            return;
        }
        let media = &self.media;
        // Nothing comes from callbacks after a panic, so that nothing else would wake the task.
        if media.capture.ready() || media.wants_playback() || media.dtmf.waiting() || media.panics() > 0 {
            self.stream.doorbell.notify_one();
        }
        if self.hold.is_due(now, media, self.stream.hold.is_on()) {
            events.look(&self.stream);
        }
        if self.writers.are_absent(media.foreign_writes(), now)
            && !media.is_leaving()
            && (media.playout.has_audio() || self.stream.sends_silence())
            && !self.stream.is_clocked()
        {
            clock.engage(&self.stream);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PTIME: Duration = Duration::from_millis(20);

    /// Looks every [`TICK`] for a second at a call that somebody writes to every [`PTIME`], or nobody, with a stall of the worker
    /// alone or of both; when the first time is that nobody is seen.
    fn absent_at(writes: bool, stall: Duration, of_both: bool) -> Option<Duration> {
        let begin = Instant::now();
        let mut writers = Writers::new(0, begin);
        let (mut now, mut written, mut stalled) = (begin, 0, Duration::ZERO);
        while now < begin + Duration::from_secs(1) {
            if stalled.is_zero() && now >= begin + Duration::from_millis(310) {
                stalled = stall;
                now += stall;
            }
            // Of a machine that stood still, the worker may run before the writer.
            let late = if of_both { stalled + TICK } else { Duration::ZERO };
            if writes {
                written = (now - begin).saturating_sub(late).as_nanos() as u64 / PTIME.as_nanos() as u64;
            }
            if writers.are_absent(written, now) {
                return Some(now - begin);
            }
            now += TICK;
        }
        None
    }

    #[test]
    fn a_stall_does_not_make_a_live_writer_absent() {
        for stall in [0, 100, 200, 500, 900].map(Duration::from_millis) {
            for of_both in [false, true] {
                assert_eq!(absent_at(true, stall, of_both), None, "{stall:?}, of both: {of_both}");
            }
        }
        assert_eq!(absent_at(false, Duration::ZERO, false), Some(UNCLAIMED));
    }
}
