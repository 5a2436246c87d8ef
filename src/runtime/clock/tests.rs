//! The clock with writers that take long, block or panic.

#![allow(clippy::panic, clippy::expect_used)]

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::super::host::{Purpose, Written};
use super::*;
use crate::units::CallId;

const PTIME: Duration = Duration::from_millis(5);

/// A call on which audio always waits.
struct Talk {
    call: CallId,
    clocked: AtomicBool,
    off: AtomicBool,
    frames: Arc<AtomicU64>,
}

impl Talk {
    fn on(call: &str, frames: &Arc<AtomicU64>) -> Arc<Self> {
        let (clocked, off) = (AtomicBool::new(false), AtomicBool::new(false));
        Arc::new(Self { call: CallId::new(call), clocked, off, frames: frames.clone() })
    }

    fn hears(&self, frames: u64) -> bool {
        let target = self.frames.load(Ordering::SeqCst) + frames;
        eventually(|| self.frames.load(Ordering::SeqCst) >= target)
    }
}

impl Listening for Talk {
    fn call_id(&self) -> &CallId {
        &self.call
    }

    fn has_audio(&self) -> bool {
        true
    }

    fn sends_silence(&self) -> bool {
        false
    }

    fn foreign_writes(&self) -> u64 {
        0
    }

    fn is_off(&self) -> bool {
        self.off.load(Ordering::SeqCst)
    }

    fn set_clocked(&self, clocked: bool) {
        self.clocked.store(clocked, Ordering::SeqCst);
    }
}

fn eventually(holds: impl FnMut() -> bool) -> bool {
    eventually_within(5_000, holds)
}

fn eventually_within(ms: u32, mut holds: impl FnMut() -> bool) -> bool {
    (0..ms).any(|_| {
        std::thread::sleep(Duration::from_millis(1));
        holds()
    })
}

/// Writes by this function.
struct Writer<F>(Arc<F>);

impl<F: Fn(&str)> SilenceWriter for Writer<F> {
    fn write(&mut self, call: &CallId, _: Purpose) -> Written {
        (self.0)(call.as_str());
        Written::Frame(PTIME)
    }
}

const CORES: usize = 2;

fn clock(write: impl Fn(&str) + Send + Sync + 'static) -> Clock<Talk> {
    let write = Arc::new(write);
    Clock::start(move || Box::new(Writer(write.clone())), CORES, Arc::default()).expect("a thread")
}

#[test]
fn too_much_work_is_done_by_as_many_threads_as_cores() {
    let (frames, at_a_time) = (Arc::new(AtomicU64::new(0)), Arc::new([AtomicU64::new(0), AtomicU64::new(0)]));
    let (of_writer, working) = (frames.clone(), at_a_time.clone());
    let clock = clock(move |_| {
        let [now, most] = &*working;
        most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        // A codec that takes long, and does not sleep.
        let began = Instant::now();
        while began.elapsed() < Duration::from_millis(1) {
            std::hint::spin_loop();
        }
        now.fetch_sub(1, Ordering::SeqCst);
        of_writer.fetch_add(1, Ordering::SeqCst);
    });
    // Ten times what two cores can do.
    let calls: Vec<_> = (0..100).map(|number| Talk::on(&format!("call-{number}"), &frames)).collect();
    calls.iter().for_each(|call| clock.engage(call));
    assert!(calls[0].hears(1_000));
    assert_eq!(at_a_time[1].load(Ordering::SeqCst), CORES as u64);
    assert_eq!(clock.shared.state.lock().threads.len(), CORES + 1, "and one that stands by");
    assert_eq!(clock.shared.metrics.held_up.load(Ordering::Relaxed), 0);
    clock.stop(&Ending::within(Duration::from_secs(30)), Duration::ZERO);
}

#[test]
fn calls_that_block_delay_no_other() {
    let (frames, stuck) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let gate = Arc::new(AtomicBool::new(false));
    let (of_writer, of_stuck, closed) = (frames.clone(), stuck.clone(), gate.clone());
    let clock = clock(move |call| {
        if call == "free" {
            of_writer.fetch_add(1, Ordering::SeqCst);
            return;
        }
        of_stuck.fetch_add(1, Ordering::SeqCst);
        while !closed.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(1));
        }
    });
    let free = Talk::on("free", &frames);
    clock.engage(&free);
    let mut calls = vec![free.clone()];
    for number in 1..SILENCE_WRITERS as u64 {
        calls.push(Talk::on(&format!("stuck-{number}"), &stuck));
        clock.engage(&calls[calls.len() - 1]);
        assert!(eventually(|| stuck.load(Ordering::SeqCst) == number), "{number} calls block");
        assert!(free.hears(20), "the free call beside {number} that block");
    }
    gate.store(true, Ordering::SeqCst);
    // With nothing to do beyond one call, the threads that were added end, and the others go on.
    let threads = || clock.shared.state.lock().threads.len();
    assert_eq!(threads(), SILENCE_WRITERS);
    (1..SILENCE_WRITERS).for_each(|number| calls[number].off.store(true, Ordering::SeqCst));
    assert!(eventually_within(30_000, || threads() == CORES + 1), "{} threads", threads());
    assert!(free.hears(20));
    clock.stop(&Ending::within(Duration::from_secs(30)), Duration::ZERO);
}

#[test]
fn a_call_engaged_while_another_blocks_is_written_to() {
    let frames = Arc::new(AtomicU64::new(0));
    let (blocked, gate) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let (of_writer, blocks, open) = (frames.clone(), blocked.clone(), gate.clone());
    let clock = clock(move |call| {
        if call == "free" {
            of_writer.fetch_add(1, Ordering::SeqCst);
            return;
        }
        blocks.store(true, Ordering::SeqCst);
        while !open.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(1));
        }
    });
    clock.engage(&Talk::on("stuck", &frames));
    assert!(eventually(|| blocked.load(Ordering::SeqCst)));
    let free = Talk::on("free", &frames);
    clock.engage(&free);
    assert!(free.hears(20));
    gate.store(true, Ordering::SeqCst);
    clock.stop(&Ending::within(Duration::from_secs(30)), Duration::ZERO);
}

#[test]
fn a_call_that_blocks_later_delays_no_other() {
    let frames = Arc::new(AtomicU64::new(0));
    // Both calls block in their first write, so a thread that waits meanwhile knows of no frame.
    let (first, open) = (Arc::new(Barrier::new(3)), Arc::new(AtomicBool::new(false)));
    let (of_writer, together, closed) = (frames.clone(), first.clone(), open.clone());
    let writes = [AtomicU64::new(0), AtomicU64::new(0)];
    let clock = clock(move |call| {
        let number = writes[usize::from(call == "stuck")].fetch_add(1, Ordering::SeqCst);
        if number == 0 {
            together.wait();
            // The next threads find their places.
            std::thread::sleep(Duration::from_millis(50));
        } else if call == "stuck" {
            while !closed.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(1));
            }
        } else {
            of_writer.fetch_add(1, Ordering::SeqCst);
        }
    });
    let calls = ["stuck", "free"].map(|call| Talk::on(call, &frames));
    calls.iter().for_each(|call| clock.engage(call));
    first.wait();
    assert!(calls[1].hears(20));
    open.store(true, Ordering::SeqCst);
    clock.stop(&Ending::within(Duration::from_secs(30)), Duration::ZERO);
}

#[test]
fn frames_of_two_calls_are_encoded_at_the_same_time() {
    let frames = Arc::new(AtomicU64::new(0));
    let (of_writer, both) = (frames.clone(), Arc::new(Barrier::new(2)));
    let (meeting, met) = (both.clone(), Arc::new(AtomicBool::new(false)));
    let over = met.clone();
    let clock = clock(move |_| {
        // One thread would wait here without end.
        if !over.load(Ordering::SeqCst) {
            meeting.wait();
            over.store(true, Ordering::SeqCst);
        }
        of_writer.fetch_add(1, Ordering::SeqCst);
    });
    let calls = ["one", "two"].map(|call| Talk::on(call, &frames));
    calls.iter().for_each(|call| clock.engage(call));
    assert!(eventually(|| met.load(Ordering::SeqCst)));
    clock.stop(&Ending::within(Duration::from_secs(30)), Duration::ZERO);
}

#[test]
fn a_panic_costs_one_call() {
    let frames = Arc::new(AtomicU64::new(0));
    let of_writer = frames.clone();
    let clock = clock(move |call| {
        assert!(call != "broken", "on purpose");
        of_writer.fetch_add(1, Ordering::SeqCst);
    });
    let (free, broken) = (Talk::on("free", &frames), Talk::on("broken", &frames));
    clock.engage(&free);
    clock.engage(&broken);
    assert!(eventually(|| !broken.clocked.load(Ordering::SeqCst)), "the broken call is left out");
    assert!(free.hears(20));
    clock.stop(&Ending::within(Duration::from_secs(30)), Duration::ZERO);
}
