#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;

const MONO_8K: CaptureFormat = CaptureFormat { rate: SampleRate::HZ_8000, channels: 1 };
const STEREO_16K: CaptureFormat = CaptureFormat { rate: SampleRate::HZ_16000, channels: 2 };

/// Everything that waits, each sample with its format.
fn drain(reader: &mut CaptureReader) -> Vec<(CaptureFormat, i16)> {
    let mut heard = Vec::new();
    reader.read_with(usize::MAX, |format, samples| heard.extend(samples.iter().map(|sample| (format, *sample))));
    heard
}

fn all_of(format: CaptureFormat, samples: impl IntoIterator<Item = i16>) -> Vec<(CaptureFormat, i16)> {
    samples.into_iter().map(|sample| (format, sample)).collect()
}

#[test]
fn a_full_ring_drops_the_newest_frame_whole_and_counts_it() {
    let (mut writer, mut reader, shared) = capture_ring(400);
    assert!(writer.push(MONO_8K, &[1; 160]));
    assert!(writer.push(MONO_8K, &[2; 160]));
    assert!(!writer.push(MONO_8K, &[3; 160]), "80 samples of room are no room for a frame");
    assert_eq!((shared.frames(), shared.dropped_frames(), shared.dropped_samples()), (2, 1, 160));
    assert_eq!(drain(&mut reader), all_of(MONO_8K, [[1; 160], [2; 160]].concat()));
    assert!(writer.push(MONO_8K, &[4; 160]));
    assert_eq!(drain(&mut reader), all_of(MONO_8K, [4; 160]));
    assert_eq!(shared.written(), 480);
}

#[test]
fn the_callers_gain_glides_within_a_frame_on_their_leg_only() {
    for (mut gained, other_leg) in [(Gained::every_lane(), 100), (Gained::every_other_lane(), 1_000)] {
        let (mut writer, mut reader, shared) = capture_ring(4_000);
        let frame = [1_000; 640];
        assert!(writer.push_gained(STEREO_16K, &frame, &mut gained));
        assert_eq!(drain(&mut reader), all_of(STEREO_16K, frame), "a gain of 1 changes no bit");
        gained.set_level(0.1, STEREO_16K);
        assert!(writer.push_gained(STEREO_16K, &frame, &mut gained));
        let heard: Vec<i16> = drain(&mut reader).into_iter().map(|(_, sample)| sample).collect();
        let callers: Vec<i16> = heard.iter().step_by(2).copied().collect();
        assert_eq!((callers[0], callers[80], callers[319]), (1_000, 100, 100));
        assert!(callers.windows(2).all(|pair| (0..=13).contains(&(pair[0] - pair[1]))), "{callers:?}");
        assert_eq!((heard[161], heard[639]), (other_leg, other_leg));
        // Muted, and the counts of a frame that does not fit.
        gained.set_level(0.0, STEREO_16K);
        assert!(writer.push_gained(STEREO_16K, &[1_000; 3_200], &mut gained));
        assert!(!writer.push_gained(STEREO_16K, &[1_000; 3_200], &mut gained));
        assert!(!writer.push_gained(STEREO_16K, &[1_000; 3], &mut gained));
        assert_eq!((shared.frames(), shared.dropped_frames()), (3, 2));
        assert_eq!(drain(&mut reader).last(), Some(&(STEREO_16K, if other_leg == 100 { 0 } else { 1_000 })));
    }
}

#[test]
fn every_sample_is_read_with_the_format_it_was_captured_in() {
    let (mut writer, mut reader, _) = capture_ring(2_000);
    let wide = CaptureFormat { rate: SampleRate::HZ_48000, channels: 4 };
    let frames = [(MONO_8K, 1_i16, 161), (STEREO_16K, 2, 640), (MONO_8K, 3, 80), (wide, 4, 400), (wide, 5, 400)];
    let mut expected = Vec::new();
    for (format, sample, count) in frames {
        assert!(writer.push(format, &vec![sample; count]));
        expected.extend(all_of(format, vec![sample; count]));
    }
    assert_eq!(drain(&mut reader), expected);
}

#[test]
fn the_lanes_of_one_instant_are_never_parted_by_the_rings_end() {
    let (mut writer, mut reader, _) = capture_ring(7);
    writer.push(MONO_8K, &[0]);
    drain(&mut reader);
    for round in 0..50_i16 {
        let frame = [round, -round, round + 1, -round - 1];
        assert!(writer.push(STEREO_16K, &frame));
        let mut heard = Vec::new();
        reader.read_with(usize::MAX, |_, samples| {
            assert!(samples.len().is_multiple_of(2), "{samples:?}");
            heard.extend_from_slice(samples);
        });
        assert_eq!(heard, frame);
    }
}

#[test]
fn a_bounded_read_gives_whole_instants_and_leaves_the_rest() {
    let (mut writer, mut reader, _) = capture_ring(100);
    writer.push(STEREO_16K, &[1, 2, 3, 4, 5, 6]);
    assert_eq!(reader.read_with(5, |_, samples| assert_eq!(samples, [1, 2, 3, 4])), 4);
    assert_eq!(reader.read_with(1, |_, _| panic!("half an instant")), 0);
    assert_eq!((reader.available(), reader.position()), (2, 4));
}

#[test]
fn what_is_no_whole_frame_is_refused_and_counted() {
    let (mut writer, mut reader, shared) = capture_ring(100);
    assert!(!writer.push(STEREO_16K, &[1, 2, 3]));
    assert!(!writer.push(CaptureFormat { channels: 0, ..MONO_8K }, &[1]));
    assert!(!writer.push(CaptureFormat { channels: 5, ..MONO_8K }, &[1; 5]));
    assert_eq!((shared.dropped_frames(), reader.available()), (3, 0));
    assert_eq!(drain(&mut reader), []);
}

#[test]
fn a_discard_drops_all_before_it_and_the_format_after_is_right() {
    let (mut writer, mut reader, _) = capture_ring(1_000);
    writer.push(MONO_8K, &[1; 160]);
    writer.push(STEREO_16K, &[2; 320]);
    assert_eq!(reader.discard_all(), 480);
    writer.push(STEREO_16K, &[3; 4]);
    assert_eq!(drain(&mut reader), all_of(STEREO_16K, [3; 4]));
    for round in 0..100 {
        let format = if round % 2 == 0 { MONO_8K } else { STEREO_16K };
        assert!(writer.push(format, &[round; 2]), "format changes pile up while paused");
        assert_eq!(reader.discard_all(), 2);
    }
}

#[test]
fn too_many_format_changes_drop_frames_but_mislabel_none() {
    let (mut writer, mut reader, shared) = capture_ring(10_000);
    let mut expected = Vec::new();
    for round in 0..40_i16 {
        let format = if round % 2 == 0 { MONO_8K } else { STEREO_16K };
        if writer.push(format, &[round; 2]) {
            expected.extend(all_of(format, [round; 2]));
        }
    }
    assert!(shared.dropped_frames() > 0 && shared.frames() >= 16);
    assert_eq!(drain(&mut reader), expected);
}

#[test]
fn the_tick_sees_a_full_message_and_the_end_of_the_call() {
    let (mut writer, reader, shared) = capture_ring(1_000);
    shared.want(reader.position() + 320);
    writer.push(MONO_8K, &[0; 160]);
    assert!(!shared.ready());
    writer.push(MONO_8K, &[0; 160]);
    assert!(shared.ready());
    shared.want(1_000);
    assert!(!shared.ready() && !reader.is_closed());
    drop(writer);
    assert!(shared.ready() && shared.is_closed() && reader.is_closed());
    assert_eq!(reader.available(), 320, "what was captured before the end can still be sent");
}

#[test]
fn the_age_of_the_last_frame_is_known_once_there_was_one() {
    let (mut writer, _reader, shared) = capture_ring(10);
    assert_eq!(shared.last_frame_ago(Instant::now()), None);
    writer.push(MONO_8K, &[0; 160]);
    assert!(shared.last_frame_ago(Instant::now()).is_some(), "a frame that was dropped shows that the call is alive");
}

#[test]
fn finding_014_capture_goes_on_after_the_stream_has_ended() {
    let (mut writer, reader, shared) = capture_ring(320);
    writer.push(MONO_8K, &[1; 160]);
    drop(reader);
    assert!(writer.push(MONO_8K, &[2; 160]));
    assert!(!writer.push(MONO_8K, &[3; 160]));
    assert_eq!((shared.written(), shared.dropped_frames()), (320, 1));
}

#[test]
fn finding_004_a_thread_that_sees_the_close_sees_all_samples() {
    for round in 0..200 {
        let (mut writer, mut reader, _) = capture_ring(4_096);
        let count = 1 + round % 20;
        std::thread::scope(|scope| {
            scope.spawn(move || (0..count).for_each(|frame| assert!(writer.push(MONO_8K, &[frame as i16; 160]))));
            scope.spawn(move || {
                let mut heard = Vec::new();
                loop {
                    let last = reader.is_closed();
                    reader.read_with(usize::MAX, |_, samples| heard.extend_from_slice(samples));
                    if last {
                        break;
                    }
                    std::hint::spin_loop();
                }
                let expected: Vec<i16> = (0..count).flat_map(|frame| [frame as i16; 160]).collect();
                assert_eq!(heard, expected);
            });
        });
    }
}

#[derive(Clone, Debug)]
enum Step {
    Push { lanes: u8, rate: u32, instants: usize },
    Read(usize),
    Discard,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (prop_oneof![Just(1_u8), Just(2), Just(4)], prop_oneof![Just(8_000_u32), Just(16_000)], 0_usize..40)
            .prop_map(|(lanes, rate, instants)| Step::Push { lanes, rate, instants }),
        4 => (0_usize..120).prop_map(Step::Read),
        1 => Just(Step::Discard),
    ]
}

proptest! {
    /// Any mixture of frames, formats, partial reads and discards, on a ring of any size, is what a queue would do.
    #[test]
    fn the_ring_is_a_bounded_queue_of_whole_frames(capacity in 1_usize..200, steps in prop::collection::vec(step(), 1..120)) {
        let (mut writer, mut reader, shared) = capture_ring(capacity);
        let mut model: VecDeque<(CaptureFormat, i16)> = VecDeque::new();
        let (mut next, mut dropped) = (0_i16, 0);
        for step in steps {
            match step {
                Step::Push { lanes, rate, instants } => {
                    let format = CaptureFormat { rate: SampleRate::new(rate).unwrap(), channels: lanes };
                    let count = instants * usize::from(lanes);
                    let frame: Vec<i16> = (0..count).map(|_| { next = next.wrapping_add(1); next }).collect();
                    let queued = writer.push(format, &frame);
                    if queued {
                        model.extend(all_of(format, frame));
                        prop_assert!(model.len() <= capacity);
                    } else {
                        dropped += 1;
                        let changes = model.iter().zip(model.iter().skip(1)).filter(|(a, b)| a.0 != b.0).count();
                        prop_assert!(model.len() + count > capacity || changes + 2 >= WAITING_FORMATS);
                    }
                }
                Step::Read(max) => {
                    let mut heard = Vec::new();
                    let mut whole = true;
                    let count = reader.read_with(max, |format, samples| {
                        whole &= samples.len().is_multiple_of(usize::from(format.channels));
                        heard.extend(all_of(format, samples.iter().copied()));
                    });
                    prop_assert!(whole && count == heard.len() && count <= max);
                    prop_assert!(count == model.len() || count + MAX_LANES > max);
                    let expected: Vec<_> = model.drain(..count).collect();
                    prop_assert_eq!(heard, expected);
                }
                Step::Discard => prop_assert_eq!(reader.discard_all(), model.drain(..).count()),
            }
            prop_assert_eq!(reader.available(), model.len());
            prop_assert_eq!(shared.written() - reader.position(), model.len() as u64);
            prop_assert_eq!(shared.dropped_frames(), dropped);
        }
    }
}

#[test]
fn a_reader_that_wants_too_much_wakes_before_the_ring_is_full() {
    let (mut writer, mut reader, shared) = capture_ring(320);
    let format = CaptureFormat { rate: SampleRate::HZ_8000, channels: 1 };
    let mut read = 0;
    for _ in 0..50 {
        shared.want(reader.position() + 4_160);
        assert!(writer.push(format, &[7; 160]), "a frame is dropped");
        if shared.ready() {
            read += reader.read_with(usize::MAX, |_, _| {});
        }
    }
    assert_eq!((read, shared.dropped_frames()), (8_000, 0));
}

#[test]
fn a_masked_frame_is_silent_or_dropped_beside_a_fast_reader() {
    let (mut writer, mut reader, shared) = capture_ring(320);
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reading = scope.spawn(|| {
            let mut raw = 0;
            while !stop.load(Ordering::Relaxed) {
                reader.read_with(usize::MAX, |_, samples| raw += samples.iter().filter(|sample| **sample != 0).count());
            }
            raw
        });
        let mut gained = Gained::every_lane();
        for _ in 0..300_000 {
            gained.silence();
            writer.push_gained(MONO_8K, &[1_000; 160], &mut gained);
        }
        stop.store(true, Ordering::Relaxed);
        assert_eq!(reading.join().unwrap(), 0, "samples of the caller");
    });
    assert!(shared.frames() > 0 && shared.dropped_frames() > 0, "it is a race");
}

#[test]
fn a_group_of_lanes_in_three_parts_is_read_as_one() {
    const FOUR: CaptureFormat = CaptureFormat { rate: SampleRate::HZ_8000, channels: 4 };
    let (mut writer, mut reader, _) = capture_ring(RingSize { usual: 3, spare: 8 });
    assert!(writer.push(CaptureFormat { channels: 1, ..FOUR }, &[7]));
    assert_eq!(reader.read_with(1, |_, samples| assert_eq!(samples, [7])), 1);
    // Two samples before the end of the usual ring, one behind it, and one in the spare ring.
    assert!(writer.push(FOUR, &[1, 2, 3, 4]) && writer.push(FOUR, &[5, 6, 7, 8]));
    let mut heard = Vec::new();
    reader.read_with(8, |_, samples| {
        assert_eq!(samples.len() % 4, 0);
        heard.extend_from_slice(samples);
    });
    assert_eq!(heard, [1, 2, 3, 4, 5, 6, 7, 8]);
}
