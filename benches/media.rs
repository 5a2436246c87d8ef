//! What a frame costs the media thread: 160 samples, 20 ms at 8 kHz.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

use std::hint::black_box;
use std::time::Duration;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};

use mod_audio_stream::media::flush::marked;
use mod_audio_stream::media::{CaptureFormat, InjectMode, LatencyHistogram, capture_ring, playout_ring};
use mod_audio_stream::units::SampleRate;

const FRAME: usize = 160;
const FORMAT: CaptureFormat = CaptureFormat { rate: SampleRate::HZ_8000, channels: 1 };

fn capture(c: &mut Criterion) {
    let mut group = c.benchmark_group("capture");
    let samples = [1_000_i16; FRAME];
    let (mut writer, mut reader, _shared) = capture_ring(FRAME * 8);
    group.bench_function("push and read 160", |b| {
        b.iter(|| {
            writer.push(FORMAT, black_box(&samples));
            reader.read_with(FRAME, |_, samples| {
                black_box(samples);
            })
        });
    });
    group.bench_function("push 160", |b| {
        b.iter_batched_ref(
            || capture_ring(FRAME * 2),
            |(writer, _, _)| writer.push(FORMAT, black_box(&samples)),
            BatchSize::SmallInput,
        );
    });
    group.bench_function("push 160, ring full", |b| {
        let (mut writer, _reader, _shared) = capture_ring(FRAME);
        writer.push(FORMAT, &samples);
        b.iter(|| writer.push(FORMAT, black_box(&samples)));
    });
    group.finish();
}

fn playout(c: &mut Criterion) {
    let mut group = c.benchmark_group("playout");
    let voice = [1_000_i16; FRAME];
    group.bench_function("render 160, idle", |b| {
        let (_writer, mut reader, _shared) = playout_ring(SampleRate::HZ_8000, FRAME * 8);
        let mut frame = [5_i16; FRAME];
        b.iter(|| reader.render(8_000, 1, black_box(&mut frame), InjectMode::Replace));
    });
    for (name, mode) in [("playing", InjectMode::Replace), ("mixing", InjectMode::Mix)] {
        group.bench_function(format!("render 160, {name} (with its write)"), |b| {
            let (mut writer, mut reader, _shared) = playout_ring(SampleRate::HZ_8000, FRAME * 8);
            let mut frame = [5_i16; FRAME];
            b.iter(|| {
                writer.push(black_box(&voice));
                reader.render(8_000, 1, black_box(&mut frame), mode)
            });
        });
    }
    group.bench_function("render 160, flushed and gliding (with its write)", |b| {
        let (mut writer, mut reader, shared) = playout_ring(SampleRate::HZ_8000, FRAME * 8);
        let mut frame = [5_i16; FRAME];
        b.iter(|| {
            writer.push(black_box(&voice));
            shared.flush();
            writer.push(black_box(&voice));
            frame.fill(5);
            reader.render(8_000, 1, black_box(&mut frame), InjectMode::Replace)
        });
    });
    group.finish();
}

fn ring(c: &mut Criterion) {
    let samples = [1_000_i16; FRAME];
    let (sink, source) = rtrb::RingBuffer::new(FRAME * 8);
    let (mut writer, mut reader, _mark) = marked(sink, source, 8_000);
    c.bench_function("ring: write and read 160", |b| {
        b.iter(|| {
            writer.push(black_box(&samples));
            let seen = reader.observe();
            reader.read(seen.available, |samples| {
                black_box(samples);
            });
            reader.publish();
        });
    });
}

fn histogram(c: &mut Criterion) {
    let histogram = LatencyHistogram::default();
    c.bench_function("histogram: record", |b| b.iter(|| histogram.record(black_box(Duration::from_nanos(1_234)))));
}

criterion_group!(benches, capture, playout, ring, histogram);
criterion_main!(benches);
