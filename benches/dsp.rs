//! What a 20 ms message costs a worker: resampling, layout, base64 and JSON. One thread, warm caches.
#![allow(missing_docs, clippy::unwrap_used)]

use std::borrow::Cow;
use std::hint::black_box;

use base64::Engine;
use base64::engine::Simd;
use base64::engine::general_purpose::PAD;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use mod_audio_stream::dsp::pcm::write_le_bytes;
use mod_audio_stream::dsp::{
    ByteCarry, CallerChain, CallerSettings, CaptureConverter, Chain, ChainSettings, Resampler, Suppression, Vad,
    VadSettings,
};
use mod_audio_stream::units::{Mix, PcmFormat, SampleRate};
use serde::Deserialize;

fn sound(len: usize) -> Vec<i16> {
    (0..len).map(|n| ((n as f64 * 0.37).sin() * 12_000.0) as i16).collect()
}

fn rate(hz: u32) -> SampleRate {
    SampleRate::new(hz).unwrap()
}

fn resample(c: &mut Criterion) {
    for (from, to) in [(8_000, 16_000), (24_000, 8_000), (8_000, 48_000), (48_000, 16_000)] {
        let input = sound(from as usize / 50);
        let mut resampler = Resampler::new(rate(from), rate(to), 1);
        let mut out = Vec::with_capacity(4_096);
        c.bench_function(&format!("resample 20 ms {from} to {to}"), |b| {
            b.iter(|| {
                out.clear();
                resampler.process(black_box(&input), &mut out);
                black_box(out.len())
            });
        });
    }
    c.bench_function("make a resampler 24000 to 8000", |b| {
        b.iter(|| Resampler::new(black_box(rate(24_000)), rate(8_000), 1));
    });
}

fn capture(c: &mut Criterion) {
    let cases = [
        ("mono 8 kHz as it is", Mix::Mono, 8_000, 1, 8_000),
        ("mono 8 to 16 kHz", Mix::Mono, 8_000, 1, 16_000),
        ("stereo 8 to 16 kHz", Mix::Stereo, 8_000, 2, 16_000),
        ("stereo of a 48 kHz stereo codec to 16 kHz", Mix::Stereo, 48_000, 4, 16_000),
    ];
    for (name, mix, from, lanes, to) in cases {
        let input = sound(from as usize / 50 * usize::from(lanes));
        let mut converter = CaptureConverter::new(mix, PcmFormat { rate: rate(to), channels: mix.channels() });
        let mut out = Vec::with_capacity(4_096);
        c.bench_function(&format!("capture 20 ms {name}"), |b| {
            b.iter(|| {
                out.clear();
                converter.push(rate(from), lanes, black_box(&input), &mut out);
                black_box(out.len())
            });
        });
    }
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    data: Data<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Data<'a> {
    sample_rate: u32,
    #[serde(borrow)]
    audio_data: Cow<'a, str>,
}

/// A `streamAudio` message of raw audio, from its text to samples.
fn stream_audio(c: &mut Criterion) {
    let engine = Simd::standard(PAD);
    let mut group = c.benchmark_group("streamAudio raw, text to samples");
    for (name, hz, ms) in [("20 ms 8 kHz", 8_000, 20), ("20 ms 24 kHz", 24_000, 20), ("10 KB", 24_000, 160)] {
        let mut bytes = Vec::new();
        write_le_bytes(&sound(hz * ms / 1_000), &mut bytes);
        let audio = engine.encode(&bytes);
        let text = format!(
            r#"{{"type":"streamAudio","data":{{"audioDataType":"raw","sampleRate":{hz},"audioData":"{audio}"}}}}"#
        );
        let (mut decoded, mut samples) = (Vec::new(), Vec::new());
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function(name, |b| {
            b.iter(|| {
                decoded.clear();
                samples.clear();
                let message: Message<'_> = serde_json::from_str(black_box(&text)).unwrap();
                engine.decode_vec(message.data.audio_data.as_bytes(), &mut decoded).unwrap();
                ByteCarry::default().push(&decoded, &mut samples);
                black_box((message.data.sample_rate, samples.len()))
            });
        });
    }
    group.finish();
}

/// What a conversation adds to each 20 ms: the polish on the agent's voice, the caller's side, and listening for speech.
fn conversation(c: &mut Criterion) {
    for hz in [8_000, 16_000, 24_000, 48_000] {
        let input = sound(hz as usize / 50);
        let mut chain = Chain::new(rate(hz), ChainSettings::default());
        let mut samples = input.clone();
        c.bench_function(&format!("polish 20 ms of {hz}"), |b| {
            b.iter(|| {
                samples.copy_from_slice(black_box(&input));
                chain.process(&mut samples);
                black_box(samples[0])
            });
        });
        let mut vad = Vad::new(rate(hz), VadSettings::default());
        c.bench_function(&format!("listen for speech in 20 ms of {hz}"), |b| {
            b.iter(|| {
                vad.process(black_box(&input), |event| {
                    black_box(event);
                })
            });
        });
        let suppression = Some(Suppression::Moderate);
        for (name, gain_control) in [("suppress noise", false), ("suppress noise and control gain", true)] {
            let mut caller =
                CallerChain::new(rate(hz), CallerSettings { suppression, gain_control, ..CallerSettings::OFF });
            let mut out = Vec::with_capacity(4_096);
            c.bench_function(&format!("{name} in 20 ms of {hz}"), |b| {
                b.iter(|| {
                    out.clear();
                    caller.process(black_box(&input), &mut out);
                    black_box(out.len())
                });
            });
        }
    }
}

criterion_group!(benches, resample, capture, stream_audio, conversation);
criterion_main!(benches);
