//! What a frame costs the media thread: 160 samples, 20 ms at 8 kHz.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

use std::hint::black_box;
use std::time::Duration;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};

use std::sync::Arc;

use mod_audio_stream::dsp::Gain;
use mod_audio_stream::dsp::tone::{DigitTiming, digits};
use mod_audio_stream::media::conceal::Conceal;
use mod_audio_stream::media::flush::marked;
use mod_audio_stream::media::link::{MediaLink, WriteHalf};
use mod_audio_stream::media::{
    CallMix, CaptureFormat, InjectMode, LatencyHistogram, PlayoutWriter, capture_ring, playout_ring,
};
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

/// Streams on one call, in the order of their bugs.
fn streams(modes: &[InjectMode]) -> Vec<(PlayoutWriter, WriteHalf, Arc<MediaLink>)> {
    let call = CallMix::new();
    let join = |mode: &InjectMode| {
        let (writer, reader, shared) = playout_ring(SampleRate::HZ_8000, FRAME * 8);
        let (_, _, capture) = capture_ring(1);
        let link = Arc::new(MediaLink::in_call(capture, shared, call.clone()));
        (writer, WriteHalf::new(reader, *mode, link.clone()), link)
    };
    let mut streams: Vec<_> = modes.iter().map(join).collect();
    streams.reverse();
    streams
}

/// The WRITE_REPLACE callbacks of one frame, each with the worker's write of what it plays.
fn mixing(c: &mut Criterion) {
    use InjectMode::{Duck, Mix, Replace};
    let mut group = c.benchmark_group("mixing");
    let voice = [1_000_i16; FRAME];
    for (name, modes, speaking) in [
        ("1 stream", &[Replace][..], 1),
        ("3 streams, 1 speaks", &[Replace, Replace, Replace], 1),
        ("3 streams, all speak", &[Replace, Duck, Mix], 3),
    ] {
        group.bench_function(format!("frame of 160, {name}"), |b| {
            let mut streams = streams(modes);
            let mut frame = [5_i16; FRAME];
            b.iter(|| {
                for (writer, ..) in streams.iter_mut().take(speaking) {
                    writer.push(black_box(&voice));
                }
                frame.fill(5);
                for (_, half, _) in &mut streams {
                    half.frame(8_000, 1, black_box(&mut frame), false);
                }
            });
        });
    }
    group.bench_function("frame of 160, 3 streams speak, gains that change, a tone", |b| {
        let mut streams = streams(&[Replace, Duck, Mix]);
        let steps = digits("5", DigitTiming::new(10_000, 40).unwrap()).unwrap();
        let gains = [Gain::from_db(-3.0).unwrap(), Gain::from_db(3.0).unwrap()];
        let mut frame = [5_i16; FRAME];
        let mut turn = 0;
        b.iter(|| {
            turn += 1;
            for (writer, _, link) in &mut streams {
                writer.push(black_box(&voice));
                link.mixer.agent.set_gain(gains[turn % 2]);
                if link.playout.tones_waiting() == 0 {
                    writer.push_tones(&steps);
                }
            }
            frame.fill(5);
            for (_, half, _) in &mut streams {
                half.frame(8_000, 1, black_box(&mut frame), false);
            }
        });
    });
    for rate in [8_000, 48_000] {
        group.bench_function(format!("the begin of a gap at {rate} Hz"), |b| {
            let mut conceal = Conceal::default();
            let past: Vec<i16> = (0..rate / 20).map(|n| ((n * 37) % 2_000) as i16 - 1_000).collect();
            conceal.remember(rate, &past);
            b.iter(|| black_box(&mut conceal).start());
        });
    }
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

criterion_group!(benches, capture, playout, mixing, ring, histogram);
criterion_main!(benches);
