//! The media thread allocates and frees nothing, whatever the other side does.
//!
//! A counting allocator sees every call of the thread under watch; each branch of the two callbacks runs under it.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use std::sync::Arc;

use mod_audio_stream::dsp::chain::{ChainSettings, LowPass};
use mod_audio_stream::dsp::tone::{DigitTiming, digits};
use mod_audio_stream::dsp::{Chain, Gain, Vad, VadSettings};
use mod_audio_stream::media::link::{Background, MediaLink, ReadHalf, WriteHalf};
use mod_audio_stream::media::{
    CallMix, CaptureFormat, CaptureWriter, InjectMode, LatencyHistogram, PlayoutReader, PlayoutWriter, Withheld,
    capture_ring, playout_ring, tap_ring,
};
use mod_audio_stream::units::SampleRate;

struct Counting;

thread_local! {
    static CALLS: Cell<Option<u64>> = const { Cell::new(None) };
}

fn count() {
    // Gone while the thread ends: nothing is watched then.
    let _ = CALLS.try_with(|calls| calls.set(calls.get().map(|count| count + 1)));
}

// SAFETY: every call is the system allocator's own; the counter is a `Cell` in constant thread-local storage.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps `alloc`'s contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        count();
        // SAFETY: `block` came from `alloc` above, so from the system allocator, with this layout.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: as for `dealloc`.
        unsafe { System.realloc(block, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Allocations and frees of this thread during `callback`.
fn calls_during(callback: impl FnOnce()) -> u64 {
    CALLS.set(Some(0));
    callback();
    CALLS.take().unwrap()
}

const MONO: CaptureFormat = CaptureFormat { rate: SampleRate::HZ_8000, channels: 1 };
const WIDE: CaptureFormat = CaptureFormat { rate: SampleRate::HZ_48000, channels: 4 };

fn capture(writer: &mut CaptureWriter, format: CaptureFormat, samples: &[i16]) -> bool {
    let mut queued = false;
    assert_eq!(calls_during(|| queued = writer.push(format, samples)), 0, "{format:?}, {} samples", samples.len());
    queued
}

/// Renders one frame under watch and returns how much of it was ours.
fn render(reader: &mut PlayoutReader, rate: u32, channels: u16, instants: usize, mode: InjectMode) -> usize {
    let mut frame = vec![3; instants * usize::from(channels)];
    let mut played = 0;
    let calls = calls_during(|| played = reader.render(rate, channels, &mut frame, mode).played);
    assert_eq!(calls, 0, "{rate} Hz, {channels} channels, {instants} samples, {mode:?}");
    played
}

fn playing(capacity: usize, queued: usize) -> (PlayoutWriter, PlayoutReader, impl Fn()) {
    let (mut writer, reader, shared) = playout_ring(SampleRate::HZ_8000, capacity);
    assert_eq!(writer.push(&vec![9_000; queued]), queued);
    (writer, reader, move || {
        shared.flush();
    })
}

#[test]
fn the_watch_sees_an_allocation_and_a_free() {
    assert_eq!(calls_during(|| drop(std::hint::black_box(Box::new(1)))), 2);
}

#[test]
fn capturing_allocates_nothing() {
    let (mut writer, mut reader, _shared) = capture_ring(1_000);
    assert!(capture(&mut writer, MONO, &[1; 160]));
    assert!(capture(&mut writer, WIDE, &[1; 480]), "another format");
    assert!(!capture(&mut writer, WIDE, &[1; 480]), "full");
    assert!(!capture(&mut writer, WIDE, &[1; 3]), "torn");
    assert_eq!(reader.read_with(usize::MAX, |_, _| ()), 640);
    assert!(capture(&mut writer, MONO, &[1; 800]), "around the ring's end");
    reader.discard_all();
    let queued = (0..20).filter(|turn| capture(&mut writer, if turn % 2 == 0 { WIDE } else { MONO }, &[1; 4])).count();
    assert!(queued < 20, "there were more changes of format than can wait");
    drop(reader);
    assert!(!capture(&mut writer, MONO, &[1; 1_000]), "the reader is gone");
}

#[test]
fn playing_allocates_nothing() {
    for mode in [InjectMode::Replace, InjectMode::Mix, InjectMode::Duck] {
        for channels in [1, 2] {
            let (mut writer, mut reader, flush) = playing(400, 400);
            assert_eq!(render(&mut reader, 8_000, channels, 160, mode), 160, "from a full ring");
            assert_eq!(render(&mut reader, 8_000, channels, 160, mode), 160);
            assert_eq!(render(&mut reader, 8_000, channels, 160, mode), 80, "a partial frame");
            assert_eq!(render(&mut reader, 8_000, channels, 160, mode), 0, "underrun");
            writer.push(&[9_000; 300]);
            assert_eq!(render(&mut reader, 8_000, channels, 160, mode), 160, "its end");
            flush();
            assert_eq!(render(&mut reader, 8_000, channels, 160, mode), 0, "flush");
            writer.push(&[9_000; 300]);
            assert_eq!(render(&mut reader, 8_000, channels, 160, mode), 160, "around the ring's end");
            flush();
            writer.push(&[-9_000; 100]);
            assert_eq!(render(&mut reader, 8_000, channels, 160, mode), 100, "flush with audio behind it");
            writer.push(&[9_000; 200]);
            assert_eq!(render(&mut reader, 16_000, channels, 320, mode), 0, "another rate");
            writer.set_rate(SampleRate::HZ_16000);
            assert_eq!(writer.push(&[9_000; 200]), 200);
            assert_eq!(render(&mut reader, 16_000, channels, 160, mode), 160, "followed");
            assert_eq!(render(&mut reader, 16_000, 0, 160, mode), 0, "no channel");
            assert_eq!(render(&mut reader, 1, channels, 160, mode), 0, "no rate");
            drop(writer);
            assert_eq!(render(&mut reader, 16_000, channels, 160, mode), 40, "the writer is gone");
        }
    }
}

/// The reviewed mixer allocated its buffers in its media threads, and slept and tried again where that failed.
#[test]
fn mixer_019_mixing_gains_and_concealment_allocate_nothing() {
    let call = CallMix::new();
    let mut streams: Vec<_> = [InjectMode::Replace, InjectMode::Duck, InjectMode::Mix]
        .into_iter()
        .map(|mode| {
            let (capture_in, capture_out, capture) = capture_ring(10_000);
            let (writer, reader, shared) = playout_ring(SampleRate::HZ_8000, 4_000);
            let link = Arc::new(MediaLink::in_call(capture, shared, call.clone()));
            let (mut behind, background, _) = playout_ring(SampleRate::HZ_8000, 40_000);
            assert_eq!(behind.push(&[700; 20_000]), 20_000);
            let background = Box::new(Background::new(background, Gain::from_db(-3.0).unwrap(), 0.25));
            let write = WriteHalf::new(reader, mode, link.clone()).with_backgrounds([Some(background), None]);
            let halves = (ReadHalf::new(capture_in, link.clone()), write);
            (writer, halves, link, capture_out)
        })
        .collect();
    let steps = digits("12w3", DigitTiming::default()).unwrap();
    for turn in 0..200_usize {
        for (at, (writer, (read, _), link, _)) in streams.iter_mut().enumerate() {
            // Voices that begin, run dry, are concealed, paused and flushed, each at other times.
            writer.expect_more(turn % 3 > 0);
            if (turn / 10 + at).is_multiple_of(2) {
                writer.push(&[5_000; 130]);
            }
            if turn % 40 == 7 * at {
                assert!(writer.push_tones(&steps));
            }
            if turn % 23 == at {
                link.playout.flush();
                link.playout.stop_tones();
            }
            link.playout.set_paused(turn % 31 == at);
            read.withhold(Withheld { caller: turn % 13 == at, other: turn % 7 == at });
            for (fader, db) in [(&link.mixer.agent, -3.0), (&link.mixer.caller, 3.0), (&call.leg, -6.0)] {
                fader.set_gain(Gain::from_db(if turn % 9 == at { db } else { 0.0 }).unwrap());
                fader.set_muted(turn % 17 == at);
            }
        }
        let mut frame = [3_000; 160];
        let captured = [1_000; 160];
        let calls = calls_during(|| {
            for (_, (read, write), ..) in streams.iter_mut().rev() {
                read.frame(MONO, &captured);
                write.frame(8_000, 1, &mut frame, false);
            }
        });
        assert_eq!(calls, 0, "frame {turn}");
    }
    assert!(streams.iter().all(|(_, _, link, _)| link.playout.played() > 1_000));
}

#[test]
fn recorder_004_recording_allocates_nothing_and_takes_no_lock() {
    let (mut writer, mut reader, shared) = tap_ring(2_000, std::time::Instant::now());
    let mut record = |format: CaptureFormat, samples: &[i16]| {
        let calls = calls_during(|| {
            writer.frame(1, shared.frames_on(1), format, samples);
        });
        assert_eq!(calls, 0, "{format:?}, {} samples", samples.len());
    };
    for turn in 0..40 {
        record(MONO, &[1; 160]);
        record(WIDE, &[1; 480]);
        record(WIDE, &[1; 3]);
        if turn % 7 == 0 {
            while reader.next(|_, _| ()).is_some() {}
        }
    }
    assert!(shared.frames() > 20 && shared.dropped_frames() > 50, "full, torn, and around the ring's end");
    drop(reader);
    record(MONO, &[1; 160]);
}

#[test]
fn finding_016_a_frame_larger_than_any_before_needs_no_scratch() {
    let (_writer, mut reader, _flush) = playing(12_000, 12_000);
    for instants in [80, 160, 960, 2_880, 5_760] {
        assert_eq!(render(&mut reader, 8_000, 2, instants, InjectMode::Mix), instants);
    }
    let (mut writer, _reader, _shared) = capture_ring(30_000);
    for samples in [80, 160, 960, 5_760, 23_040] {
        assert!(capture(&mut writer, WIDE, &vec![1; samples]));
    }
}

#[test]
fn timing_a_callback_allocates_nothing() {
    let histogram = LatencyHistogram::default();
    let calls = calls_during(|| {
        let started = std::time::Instant::now();
        histogram.record(started.elapsed());
        histogram.record_ns(u64::MAX);
    });
    assert_eq!((calls, histogram.snapshot().count()), (0, 2));
}

/// On the worker, which may allocate, but not fifty times a second for each call.
#[test]
fn polishing_speech_and_listening_for_it_allocate_nothing() {
    for hz in [8_000, 16_000, 24_000, 48_000] {
        let rate = SampleRate::new(hz).unwrap();
        let mut chain = Chain::new(rate, ChainSettings::default());
        let mut vad = Vad::new(rate, VadSettings::default());
        let mut sound: Vec<i16> = (0..hz).map(|n| ((n * n) % 20_000) as i16 - 10_000).collect();
        let narrow = ChainSettings { low_pass: LowPass::new(500.0).ok(), ..ChainSettings::default() };
        let calls = calls_during(|| {
            for _ in 0..5 {
                vad.process(&sound, |_| ());
                chain.set(narrow);
                sound.chunks_mut(hz as usize / 50).for_each(|frame| chain.process(frame));
                chain.set(ChainSettings::BYPASS);
            }
        });
        assert_eq!(calls, 0, "{hz} Hz");
    }
}
