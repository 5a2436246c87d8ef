//! Every interleaving of the flush watermark, the change of rate and the end of life, explored by loom.
//!
//! `make loom`. The code under test is `media/flush.rs` as it ships;
//! only the ring beneath it is a model, since rtrb's atomics are not loom's. A sample's value is its position, so that what
//! is heard tells what was lost; the model's slots are relaxed atomics, so that a missing ordering reads a stale one.
#![cfg(loom)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use loom::model::Builder;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, AtomicUsize, Ordering};
use loom::thread;

use mod_audio_stream::media::flush::{MarkedReader, MarkedWriter, Watermark, marked};
use mod_audio_stream::media::ring::{Gathering, SampleSink, SampleSource, Spilling};

struct Slots {
    slots: Vec<AtomicU16>,
    head: AtomicUsize,
    tail: AtomicUsize,
}

struct Sink {
    ring: Arc<Slots>,
    tail: usize,
}

struct Source {
    ring: Arc<Slots>,
    head: usize,
}

impl SampleSink for Sink {
    fn free(&self) -> usize {
        self.ring.slots.len() - (self.tail - self.ring.head.load(Ordering::Acquire))
    }

    fn write(&mut self, samples: &[i16]) -> usize {
        let count = self.free().min(samples.len());
        for sample in &samples[..count] {
            self.ring.slots[self.tail % self.ring.slots.len()].store(*sample as u16, Ordering::Relaxed);
            self.tail += 1;
        }
        self.ring.tail.store(self.tail, Ordering::Release);
        count
    }
}

impl Source {
    /// What the watermark promises must be in the ring.
    fn assert_there(&self, count: usize) {
        assert!(self.ring.tail.load(Ordering::Acquire) - self.head >= count);
    }
}

impl SampleSource for Source {
    fn held(&self) -> usize {
        self.ring.tail.load(Ordering::Acquire) - self.head
    }

    fn read(&mut self, count: usize, mut visit: impl FnMut(&[i16])) {
        self.assert_there(count);
        for _ in 0..count {
            visit(&[self.ring.slots[self.head % self.ring.slots.len()].load(Ordering::Relaxed) as i16]);
            self.head += 1;
        }
        self.ring.head.store(self.head, Ordering::Release);
    }

    fn skip(&mut self, count: usize) {
        self.assert_there(count);
        self.head += count;
        self.ring.head.store(self.head, Ordering::Release);
    }
}

type Writer = MarkedWriter<Sink>;
type Reader = MarkedReader<Source>;

fn model(capacity: usize) -> (Sink, Source) {
    let slots = (0..capacity).map(|_| AtomicU16::new(u16::MAX)).collect();
    let ring = Arc::new(Slots { slots, head: AtomicUsize::new(0), tail: AtomicUsize::new(0) });
    (Sink { ring: ring.clone(), tail: 0 }, Source { ring, head: 0 })
}

fn ring(capacity: usize) -> (Writer, Reader, Arc<Watermark>) {
    let (sink, source) = model(capacity);
    marked(sink, source, 8_000)
}

/// Two rings in the order in which the module uses them.
fn with_spare(
    usual: usize,
    spare: usize,
) -> (MarkedWriter<Spilling<Sink>>, MarkedReader<Gathering<Source>>, Arc<Watermark>) {
    let ((usual_in, usual_out), (spare_in, spare_out)) = (model(usual), model(spare));
    marked(Spilling::new(usual_in, spare_in), Gathering::new(usual_out, spare_out), 8_000)
}

fn explore(preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(model);
}

/// One frame of `size`: the flush, then what there is.
fn frame(reader: &mut MarkedReader<impl SampleSource>, size: usize, heard: &mut Vec<i16>) {
    let seen = reader.observe();
    let (void, before) = (reader.flushed_to(), heard.len());
    reader.read(seen.available.min(size), |samples| heard.extend_from_slice(samples));
    assert!(heard[before..].iter().all(|position| *position as u64 >= void), "{heard:?} of {void}");
    reader.publish();
}

/// What was heard is in order, and with what was flushed it is all that was written.
fn assert_complete(heard: &[i16], mark: &Watermark, flushed_to: u64) {
    assert!(heard.is_sorted_by(|a, b| a < b), "{heard:?}");
    let written = mark.written();
    assert_eq!(mark.consumed(), written);
    assert_eq!(mark.discarded() + heard.len() as u64, written, "{heard:?}");
    for position in flushed_to..written {
        assert!(heard.contains(&(position as i16)), "{position} was queued after the last flush: {heard:?}");
    }
}

#[test]
fn several_requesters_flush_what_was_queued_and_nothing_else() {
    explore(2, || {
        let (mut writer, mut reader, mark) = ring(4);
        let void = Arc::new(AtomicU64::new(0));
        let producer = thread::spawn(move || {
            for position in 0..2 {
                assert_eq!(writer.push(&[position]), 1);
            }
        });
        let requesters = [(); 2].map(|()| {
            let (mark, void) = (mark.clone(), void.clone());
            thread::spawn(move || {
                void.fetch_max(mark.flush(), Ordering::AcqRel);
            })
        });
        let mut heard = Vec::new();
        for _ in 0..2 {
            let void = void.load(Ordering::Acquire);
            let before = heard.len();
            frame(&mut reader, 1, &mut heard);
            assert!(heard[before..].iter().all(|position| *position as u64 >= void), "{heard:?} of {void}");
        }
        producer.join().unwrap();
        for requester in requesters {
            requester.join().unwrap();
        }
        frame(&mut reader, 4, &mut heard);
        assert_complete(&heard, &mark, void.load(Ordering::Acquire));
    });
}

#[test]
fn what_the_producer_queues_after_its_own_flush_is_heard() {
    explore(4, || {
        let (mut writer, mut reader, mark) = ring(2);
        let producer = thread::spawn(move || {
            let mut position = writer.push(&[0, 1]) as i16;
            let flushed_to = writer.mark().flush();
            for _ in 0..2 {
                // The ring may still be full of what is flushed.
                position += writer.push(&[position]) as i16;
            }
            flushed_to
        });
        let mut heard = Vec::new();
        for _ in 0..2 {
            frame(&mut reader, 2, &mut heard);
        }
        let flushed_to = producer.join().unwrap();
        frame(&mut reader, 2, &mut heard);
        assert_complete(&heard, &mark, flushed_to);
    });
}

#[test]
fn who_sees_a_pause_end_sees_the_flush_before_it() {
    explore(4, || {
        let (mut writer, mut reader, mark) = ring(2);
        let paused = Arc::new(AtomicBool::new(true));
        assert_eq!(writer.push(&[0, 1]), 2);
        let worker = thread::spawn({
            let (mark, paused) = (mark.clone(), paused.clone());
            move || {
                mark.flush();
                paused.store(false, Ordering::Release);
            }
        });
        let mut heard = Vec::new();
        for _ in 0..2 {
            // In this order, as `PlayoutReader::render_with` has it: else a frame of what is flushed could be heard.
            let plays = !paused.load(Ordering::Acquire);
            let seen = reader.observe();
            if plays {
                reader.read(seen.available, |samples| heard.extend_from_slice(samples));
            }
        }
        worker.join().unwrap();
        assert_eq!(heard, []);
    });
}

#[test]
fn a_flush_may_come_while_the_ring_wraps() {
    explore(2, || {
        let (mut writer, mut reader, mark) = ring(2);
        let producer = thread::spawn(move || {
            let mut position = 0;
            for _ in 0..3 {
                position += writer.push(&[position, position + 1]) as i16;
            }
        });
        let requester = {
            let mark = mark.clone();
            thread::spawn(move || mark.flush())
        };
        let mut heard = Vec::new();
        for _ in 0..3 {
            frame(&mut reader, 1, &mut heard);
        }
        producer.join().unwrap();
        let flushed_to = requester.join().unwrap();
        frame(&mut reader, 2, &mut heard);
        assert_complete(&heard, &mark, flushed_to);
    });
}

#[test]
fn two_rings_keep_the_order_when_one_spills() {
    explore(3, || {
        let (mut writer, mut reader, mark) = with_spare(1, 1);
        let producer = thread::spawn(move || {
            let mut position = 0;
            for _ in 0..3 {
                position += writer.push(&[position, position + 1]) as i16;
            }
            position
        });
        let mut heard = Vec::new();
        for size in [1, 2, 1] {
            frame(&mut reader, size, &mut heard);
        }
        let written = producer.join().unwrap();
        frame(&mut reader, 2, &mut heard);
        assert_complete(&heard, &mark, 0);
        assert_eq!(heard.len(), written as usize);
    });
}

#[test]
fn a_flush_reaches_what_has_spilled_and_nothing_after_it() {
    explore(3, || {
        let (mut writer, mut reader, mark) = with_spare(1, 1);
        let producer = thread::spawn(move || {
            let mut position = writer.push(&[0, 1]) as i16;
            let flushed_to = writer.mark().flush();
            for _ in 0..2 {
                position += writer.push(&[position]) as i16;
            }
            flushed_to
        });
        let mut heard = Vec::new();
        for _ in 0..2 {
            frame(&mut reader, 2, &mut heard);
        }
        let flushed_to = producer.join().unwrap();
        frame(&mut reader, 2, &mut heard);
        assert_complete(&heard, &mark, flushed_to);
    });
}

#[test]
fn no_sample_is_read_at_another_rate_than_its_own() {
    explore(4, || {
        let (mut writer, mut reader, _mark) = ring(4);
        let producer = thread::spawn(move || {
            writer.push(&[8]);
            writer.set_rate(16_000);
            writer.push(&[16]);
            // And back: the rate alone would look as if nothing had happened.
            writer.set_rate(8_000);
            writer.push(&[80]);
        });
        let mut heard = Vec::new();
        let mut look = |reader: &mut Reader| {
            let seen = reader.observe();
            reader.read(seen.available, |samples| {
                for sample in samples {
                    let rate = if *sample == 16 { 16_000 } else { 8_000 };
                    assert_eq!(seen.rate_hz, Some(rate), "{sample}");
                    heard.push(*sample);
                }
            });
        };
        look(&mut reader);
        look(&mut reader);
        producer.join().unwrap();
        look(&mut reader);
        assert_eq!(heard.last(), Some(&80), "what was queued at the last rate is never lost: {heard:?}");
        assert!(heard.is_sorted_by(|a, b| a < b), "{heard:?}");
    });
}

#[test]
fn the_producer_knows_what_a_change_of_rate_left_unplayed() {
    explore(4, || {
        let (mut writer, mut reader, mark) = ring(4);
        let played = Arc::new(AtomicU64::new(0));
        writer.push(&[0, 1, 2]);
        let producer = {
            let (mark, played) = (mark.clone(), played.clone());
            thread::spawn(move || {
                let from = writer.set_rate(16_000);
                if mark.consumed() >= from {
                    assert_eq!(mark.discarded() + played.load(Ordering::Relaxed), from);
                }
            })
        };
        for _ in 0..3 {
            let seen = reader.observe();
            if seen.rate_hz == Some(8_000) && seen.available > 0 {
                reader.read(1, |_| ());
                played.store(played.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
            }
            reader.publish();
        }
        producer.join().unwrap();
        reader.observe();
        reader.publish();
        assert_eq!(mark.consumed(), 3);
        assert_eq!(mark.discarded() + played.load(Ordering::Relaxed), 3);
    });
}

#[test]
fn who_sees_the_writer_gone_sees_all_it_wrote() {
    explore(4, || {
        let (mut writer, mut reader, mark) = ring(2);
        let producer = thread::spawn(move || {
            writer.push(&[0]);
            writer.push(&[1]);
        });
        let mut heard = Vec::new();
        for _ in 0..2 {
            let gone = mark.writer_gone();
            frame(&mut reader, 2, &mut heard);
            assert!(!gone || heard == [0, 1], "{heard:?}");
        }
        // The reader may be dropped before the writer, or after.
        drop(reader);
        producer.join().unwrap();
        assert!(mark.writer_gone() && mark.reader_gone());
    });
}

#[test]
fn who_sees_the_reader_gone_sees_its_last_position() {
    explore(4, || {
        let (mut writer, mut reader, mark) = ring(3);
        writer.push(&[0, 1]);
        let consumer = thread::spawn(move || {
            let mut heard = Vec::new();
            frame(&mut reader, 1, &mut heard);
            let _ = reader.observe();
            reader.position()
        });
        writer.push(&[2]);
        mark.flush();
        let seen = mark.reader_gone().then(|| mark.consumed());
        drop(writer);
        let last = consumer.join().unwrap();
        assert!(seen.is_none_or(|seen| seen == last), "{seen:?} of {last}");
        assert_eq!(mark.consumed(), last);
    });
}

#[test]
fn an_onlooker_never_sees_a_position_run_backwards_or_ahead() {
    explore(2, || {
        let (mut writer, mut reader, mark) = ring(2);
        let producer = thread::spawn(move || {
            writer.push(&[0]);
            writer.push(&[1]);
        });
        let onlooker = {
            let mark = mark.clone();
            thread::spawn(move || {
                let first = (mark.consumed(), mark.written());
                let level = mark.level();
                let second = (mark.consumed(), mark.written());
                assert!(first.0 <= first.1 && level <= 2);
                assert!(first.0 <= second.0 && first.1 <= second.1);
            })
        };
        let mut heard = Vec::new();
        frame(&mut reader, 1, &mut heard);
        mark.flush();
        frame(&mut reader, 1, &mut heard);
        producer.join().unwrap();
        onlooker.join().unwrap();
    });
}
