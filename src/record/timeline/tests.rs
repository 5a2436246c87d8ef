#![allow(clippy::unwrap_used)]

use super::*;
use crate::dsp::probe::{amplitude_at, snr_db, tone};
use proptest::prelude::*;

const RATE: SampleRate = SampleRate::HZ_8000;
const MONO: CaptureFormat = CaptureFormat { rate: RATE, channels: 1 };

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// The two channels.
fn split(out: &[i16]) -> (Vec<i16>, Vec<i16>) {
    (out.iter().step_by(2).copied().collect(), out.iter().skip(1).step_by(2).copied().collect())
}

/// Samples that are never 0 and tell where they stand.
fn numbered(count: usize) -> Vec<i16> {
    (0..count).map(|at| (at % 30_000) as i16 + 1).collect()
}

/// Frames of `sound` with the times at which they are there.
struct Frames {
    direction: Direction,
    format: CaptureFormat,
    frames: Vec<(Duration, Vec<i16>)>,
}

impl Frames {
    /// `sound` in frames of `ptime` ms from `from` ms on.
    fn of(direction: Direction, format: CaptureFormat, sound: &[i16], from: u64, ptime: u32) -> Self {
        let samples = format.rate.samples_in_ms(ptime) * usize::from(format.channels);
        let at = |index: usize| ms(from + u64::from(ptime) * (index as u64 + 1));
        let frames = sound.chunks(samples).enumerate().map(|(index, frame)| (at(index), frame.to_vec())).collect();
        Self { direction, format, frames }
    }

    /// The same where each frame comes later by what `late` says of its number; none overtakes another.
    fn late(mut self, late: impl Fn(usize) -> Duration) -> Self {
        let mut last = Duration::ZERO;
        for (index, (at, _)) in self.frames.iter_mut().enumerate() {
            *at = last.max(*at + late(index));
            last = *at;
        }
        self
    }
}

/// What is recorded of them until `end` ms when the writer looks every 100 ms.
fn record(all: &[Frames], end: u64) -> (Vec<i16>, Timeline) {
    let mut timeline = Timeline::new(RATE);
    let mut out = Vec::new();
    let mut next = vec![0; all.len()];
    let mut take = |timeline: &mut Timeline, now: Duration| {
        for (lane, next) in all.iter().zip(&mut next) {
            while let Some((at, frame)) = lane.frames.get(*next).filter(|(at, _)| *at <= now) {
                timeline.push(lane.direction, *at, lane.format, frame);
                *next += 1;
            }
        }
    };
    for now in (100..end).step_by(100) {
        take(&mut timeline, ms(now));
        timeline.settle(ms(now), &mut out);
    }
    take(&mut timeline, ms(end));
    timeline.finish(ms(end), &mut out);
    (out, timeline)
}

#[test]
fn both_directions_are_side_by_side_sample_for_sample_whatever_their_ptimes() {
    for (left_ms, right_ms) in [(20, 20), (10, 60), (30, 20), (40, 10)] {
        let (said, heard) = (numbered(24_000), numbered(24_000).into_iter().rev().collect::<Vec<_>>());
        let frames = [
            Frames::of(Direction::Caller, MONO, &said, 0, left_ms),
            Frames::of(Direction::Heard, MONO, &heard, 0, right_ms),
        ];
        let (left, right) = split(&record(&frames, 3_000).0);
        assert_eq!((left, right), (said, heard), "{left_ms} and {right_ms} ms");
    }
}

#[test]
fn a_burst_that_makes_up_for_a_pause_is_joined_without_a_gap() {
    let said = numbered(13 * 12 * 160);
    // Thirteen frames at once, up to 240 ms late, again and again.
    let caller = Frames::of(Direction::Caller, MONO, &said, 0, 20).late(|index| ms(20 * (12 - index as u64 % 13)));
    let heard = Frames::of(Direction::Heard, MONO, &said, 0, 20);
    let (left, right) = split(&record(&[caller, heard], 3_120).0);
    assert_eq!((left == said, right == said), (true, true));
}

#[test]
fn a_direction_that_gives_no_frames_is_silent_for_as_long() {
    let (said, answer) = (numbered(40_000), numbered(8_000));
    let caller = Frames::of(Direction::Caller, MONO, &said, 0, 20);
    let first = Frames::of(Direction::Heard, MONO, &answer, 1_000, 20);
    let second = Frames::of(Direction::Heard, MONO, &answer, 3_500, 20);
    let (left, right) = split(&record(&[caller, first, second], 5_000).0);
    assert_eq!(left, said);
    let expected = [vec![0; 8_000], answer.clone(), vec![0; 12_000], answer, vec![0; 4_000]].concat();
    assert_eq!(right, expected);
}

#[test]
fn a_call_that_gives_nothing_is_recorded_as_silence_of_its_length() {
    let (out, _) = record(&[], 2_345);
    assert_eq!(out, vec![0; 2 * RATE.samples_in_ms(2_345)]);
    assert!(record(&[], 0).0.is_empty());
}

#[test]
fn a_hold_of_both_directions_leaves_them_aligned() {
    let said = numbered(8_000);
    let frames = [
        Frames::of(Direction::Caller, MONO, &said, 0, 20),
        Frames::of(Direction::Heard, MONO, &said, 0, 20),
        Frames::of(Direction::Caller, MONO, &said, 10_000, 20),
        Frames::of(Direction::Heard, MONO, &said, 10_000, 20).late(|_| ms(7)),
    ];
    let (left, right) = split(&record(&frames, 11_007).0);
    let silence = vec![0; 9 * 8_000];
    assert_eq!(left[..88_000], [said.clone(), silence.clone(), said.clone()].concat());
    assert_eq!(right[..88_056], [said.clone(), silence, vec![0; 56], said].concat(), "as late as it came");
}

#[test]
fn another_rate_and_a_change_of_it_keep_the_time_and_the_tone() {
    // Left 16 kHz of two channels, right 8 kHz that becomes 48 kHz, in a file of 8 kHz.
    let wide = CaptureFormat { rate: SampleRate::HZ_16000, channels: 2 };
    let left: Vec<i16> = tone(16_000, 1_000.0, 8_000.0, 64_000).into_iter().flat_map(|sample| [sample; 2]).collect();
    let full = CaptureFormat { rate: SampleRate::HZ_48000, channels: 1 };
    let frames = [
        Frames::of(Direction::Caller, wide, &left, 0, 20),
        Frames::of(Direction::Heard, MONO, &tone(8_000, 1_000.0, 8_000.0, 16_000), 0, 20),
        Frames::of(Direction::Heard, full, &tone(48_000, 1_000.0, 8_000.0, 96_000), 2_000, 20),
    ];
    let (left, right) = split(&record(&frames, 4_000).0);
    assert_eq!((left.len(), right.len()), (32_000, 32_000));
    for (name, part) in
        [("left", &left[800..31_000]), ("before", &right[800..15_000]), ("after", &right[17_000..31_000])]
    {
        let snr = snr_db(part, 8_000, 1_000.0);
        assert!(snr > 60.0, "{name}: {snr:.1} dB");
        assert!((amplitude_at(part, 8_000, 1_000.0) - 8_000.0).abs() < 60.0, "{name}");
    }
    assert!(left.iter().zip(&right).skip(1_000).take(14_000).all(|(l, r)| l.abs_diff(*r) < 60), "they stay aligned");
}

#[test]
fn a_clock_that_runs_slow_is_followed_within_the_tolerance() {
    // 1 % slow for a minute: 600 ms behind at its end.
    let said = numbered(60 * 8_000);
    let caller =
        Frames::of(Direction::Caller, MONO, &said, 0, 20).late(|index| Duration::from_micros(200 * index as u64));
    let heard = Frames::of(Direction::Heard, MONO, &said, 0, 20);
    let (left, right) = split(&record(&[caller, heard], 60_600).0);
    assert_eq!(right[..said.len()], said);
    assert_eq!(left.iter().copied().filter(|&sample| sample != 0).collect::<Vec<_>>(), said, "nothing is lost");
    let end = left.iter().rposition(|&sample| sample != 0).unwrap();
    assert!(end.abs_diff(60_600 * 8) <= RATE.samples_in_ms(TOLERANCE_MS + 20), "its last sample is at {end}");
}

#[test]
fn what_runs_far_ahead_of_the_clock_is_dropped_and_counted() {
    let said = numbered(8_000 * 10);
    let mut flood = Frames::of(Direction::Caller, MONO, &said, 0, 20);
    flood.frames.iter_mut().for_each(|(at, _)| *at = ms(20));
    let (out, timeline) = record(&[flood], 2_000);
    let (left, _) = split(&out);
    let kept = left.iter().filter(|&&sample| sample != 0).count();
    assert_eq!(kept as u64 + 160 * timeline.early(), said.len() as u64);
    assert_eq!(left[..kept], said[..kept]);
    assert!((1_000..=1_060).contains(&(kept / 8)), "{} ms are kept", kept / 8);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever the times: nothing is lost but what is counted, nothing is repeated, and the order stays.
    #[test]
    fn nothing_is_lost_or_repeated_whatever_the_times(
        left in prop::collection::vec((0_u64..700, 1_usize..500), 0..60),
        right in prop::collection::vec((0_u64..700, 1_usize..500), 0..60),
        looks in prop::collection::vec(1_u64..900, 0..60),
    ) {
        let mut timeline = Timeline::new(RATE);
        let mut out = Vec::new();
        let mut expected: [Vec<i16>; 2] = [Vec::new(), Vec::new()];
        let mut times = [0, 0];
        let mut lanes = [left.into_iter(), right.into_iter()];
        let mut now = 0;
        for look in looks {
            now += look;
            for (direction, index) in [(Direction::Caller, 0), (Direction::Heard, 1)] {
                while times[index] <= now {
                    let Some((pause, count)) = lanes[index].next() else { break };
                    times[index] += pause;
                    let frame: Vec<i16> =
                        (0..count).map(|at| ((expected[index].len() + at) % 30_000) as i16 + 1).collect();
                    expected[index].extend(&frame);
                    timeline.push(direction, ms(times[index].min(now)), MONO, &frame);
                }
            }
            timeline.settle(ms(now), &mut out);
            prop_assert!(out.len() % 2 == 0);
        }
        timeline.finish(ms(now), &mut out);
        let (left, right) = split(&out);
        let mut lost = 0;
        for (got, expected) in [left, right].iter().zip(&expected) {
            let got: Vec<i16> = got.iter().copied().filter(|&sample| sample != 0).collect();
            // What was dropped is missing whole; the rest is there in its order.
            let mut from = expected.iter();
            prop_assert!(got.iter().all(|sample| from.any(|other| other == sample)));
            lost += expected.len() - got.len();
        }
        prop_assert_eq!(lost > 0, timeline.early() > 0);
        prop_assert!(out.len() as u64 / 2 >= (now * 8).saturating_sub(8 * u64::from(TOLERANCE_MS)));
    }
}
