#![allow(clippy::unwrap_used)]

use super::*;
use crate::dsp::probe::{amplitude_at, snr_db, tone};
use crate::media::CaptureFormat;
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

/// A frame that has no turn.
fn mark(at: Duration, format: CaptureFormat, frame: &[i16]) -> FrameMark {
    FrameMark { at, format, samples: frame.len(), after: None }
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
                timeline.push(lane.direction, &mark(*at, lane.format, frame), frame);
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
fn both_directions_align_to_the_sample_at_any_ptimes() {
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
fn a_call_without_frames_is_recorded_as_silence_of_its_length() {
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

/// What one tick of an application brings that reads a frame and writes it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Turn {
    /// Both directions.
    Echoed,
    /// A frame that FreeSWITCH made up, of samples of -1, since no packet had come; an echo does not write it.
    MadeUp,
    /// None of either: on hold.
    Nothing,
}

/// A recording of an application that takes turns, on virtual time.
struct Turns {
    timeline: Timeline,
    out: Vec<i16>,
    /// Frames of each direction so far.
    frames: [u64; 2],
    /// What both directions gave, frame by frame.
    echoed: Vec<i16>,
    now: Duration,
    looked: Duration,
}

impl Turns {
    fn new(rate: SampleRate) -> Self {
        let timeline = Timeline::new(rate);
        Self { timeline, out: Vec::new(), frames: [0; 2], echoed: Vec::new(), now: ms(0), looked: ms(0) }
    }

    fn push(&mut self, direction: Direction, format: CaptureFormat, frame: &[i16]) {
        let after = Some(self.frames[1 - direction as usize]);
        let mark = FrameMark { after, ..mark(self.now, format, frame) };
        self.timeline.push(direction, &mark, frame);
        self.frames[direction as usize] += 1;
    }

    /// The writer's thread looks every 100 ms.
    fn pass(&mut self, to: Duration) {
        self.now = self.now.max(to);
        if self.now - self.looked >= ms(100) {
            self.looked = self.now;
            self.timeline.settle(self.now, &mut self.out);
        }
    }

    /// The turn that is there at `at`, and what is written in it so much later.
    fn turn(&mut self, turn: Turn, format: CaptureFormat, ptime: u32, at: Duration, later: Duration) {
        self.pass(at);
        let samples = format.rate.samples_in_ms(ptime);
        match turn {
            Turn::Nothing => {}
            Turn::MadeUp => self.push(Direction::Caller, format, &vec![-1; samples]),
            Turn::Echoed => {
                let frame: Vec<i16> = (0..samples).map(|at| ((self.echoed.len() + at) % 30_000) as i16 + 1).collect();
                self.push(Direction::Caller, format, &frame);
                self.pass(at + later);
                self.push(Direction::Heard, format, &frame);
                self.echoed.extend(&frame);
            }
        }
    }

    /// Both channels.
    fn finish(mut self) -> (Vec<i16>, Vec<i16>) {
        self.timeline.finish(self.now, &mut self.out);
        split(&self.out)
    }
}

/// Says that all was recorded once, in its order, and each sample of it at one position of both channels.
#[track_caller]
fn assert_echoed(echoed: &[i16], left: &[i16], right: &[i16]) {
    let left: Vec<i16> = left.iter().map(|&sample| sample.max(0)).collect();
    let apart = left.iter().zip(right).position(|(left, right)| left != right);
    assert_eq!(apart, None, "there the channels differ");
    assert_eq!(right.iter().copied().filter(|&sample| sample != 0).collect::<Vec<_>>(), echoed);
}

#[test]
fn an_echo_stays_aligned_where_no_packet_came_for_a_frame() {
    let mut turns = Turns::new(RATE);
    for tick in 0..100_u64 {
        let turn = if tick == 7 || (50..52).contains(&tick) { Turn::MadeUp } else { Turn::Echoed };
        turns.turn(turn, MONO, 20, ms(33 + 20 * tick), Duration::from_micros(90));
    }
    let (echoed, now) = (turns.echoed.clone(), turns.now);
    let (left, right) = turns.finish();
    assert_echoed(&echoed, &left, &right);
    assert!(left.len().abs_diff(instants(RATE, now) as usize) <= 160, "{} samples of {now:?}", left.len());
}

#[test]
fn a_recording_started_within_a_turn_aligns_both_directions() {
    let mut turns = Turns::new(RATE);
    turns.pass(ms(3));
    turns.push(Direction::Heard, MONO, &[7; 160]);
    for tick in 1..50 {
        turns.turn(Turn::Echoed, MONO, 20, ms(3 + 20 * tick), Duration::from_micros(90));
    }
    let echoed = turns.echoed.clone();
    let (left, right) = turns.finish();
    let begin = right.iter().position(|&sample| sample == 1).unwrap();
    assert_eq!(right[begin - 160..begin], [7; 160]);
    assert_echoed(&echoed, &left[begin..], &right[begin..]);
}

#[test]
fn turns_begin_where_the_caller_is_and_keep_their_pauses() {
    // The caller speaks all the time; an application plays 1 s, says nothing for 700 ms, and plays again.
    let mut turns = Turns::new(RATE);
    let mut expected = [Vec::new(), Vec::new()];
    for tick in 0..200_u64 {
        turns.pass(ms(20 * (tick + 1)) + Duration::from_micros(tick * 7_919 % 3_000));
        let said = numbered(160 * (tick as usize + 1)).split_off(160 * tick as usize);
        turns.push(Direction::Caller, MONO, &said);
        let plays = (20..70).contains(&tick) || (105..200).contains(&tick);
        let heard = if plays { said.clone() } else { vec![0; 160] };
        if plays {
            turns.push(Direction::Heard, MONO, &heard);
        }
        expected[0].extend(said);
        expected[1].extend(heard);
    }
    let (left, right) = turns.finish();
    let begin = left.iter().position(|&sample| sample != 0).unwrap();
    assert!(begin < 24, "the caller's first frame is {begin} samples late");
    assert_eq!((&left[begin..], &right[begin..]), (&expected[0][..], &expected[1][..]));
}

#[test]
fn a_frame_that_was_not_read_is_silence_where_it_is_missing() {
    let mut turns = Turns::new(RATE);
    for tick in 0..100_u64 {
        turns.pass(ms(20 * (tick + 1)));
        let frame = [tick as i16 + 1; 160];
        if tick != 30 {
            turns.push(Direction::Caller, MONO, &frame);
        }
        turns.push(Direction::Heard, MONO, &frame);
    }
    let (left, right) = turns.finish();
    let expected: Vec<i16> = right.iter().map(|&sample| if sample == 31 { 0 } else { sample }).collect();
    assert_eq!(left, expected);
}

#[test]
fn directions_of_different_threads_are_not_moved_by_each_other() {
    // The other leg writes 9 ms behind the caller, and later and later: it is 30 ms behind at the end.
    let said = numbered(8_000 * 20);
    let caller = Frames::of(Direction::Caller, MONO, &said, 0, 20);
    let heard =
        Frames::of(Direction::Heard, MONO, &said, 0, 20).late(|index| ms(9) + Duration::from_micros(21 * index as u64));
    let (left, right) = split(&record(&[caller, heard], 20_030).0);
    assert_eq!(left[..said.len()], said);
    assert_eq!(right[..72 + said.len()], [vec![0; 72], said].concat());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// For every delay of the thread, and for missing packets anywhere.
    #[test]
    fn an_echo_is_recorded_at_one_position_at_any_times(
        phase in 0_u64..20_000,
        wide in prop::bool::ANY,
        long in prop::bool::ANY,
        ticks in prop::collection::vec((
            prop_oneof![12 => Just(Turn::Echoed), 2 => Just(Turn::MadeUp), 1 => Just(Turn::Nothing)],
            prop_oneof![6 => 0_u64..300, 3 => 0_u64..6_000, 1 => 0_u64..250_000],
            prop_oneof![20 => 20_u64..400, 2 => 0_u64..30_000],
        ), 1..250),
        // On hold for so many ticks somewhere.
        hold in (0_usize..250, 0_usize..200),
    ) {
        let rate = if wide { SampleRate::HZ_16000 } else { RATE };
        let format = CaptureFormat { rate, channels: 1 };
        let ptime = if long { 30 } else { 20 };
        let mut turns = Turns::new(rate);
        let mut spent = 0;
        let ticks = ticks.into_iter().enumerate().flat_map(|(index, tick)| {
            let pause = if index == hold.0 { hold.1 } else { 0 };
            std::iter::repeat_n((Turn::Nothing, 0, 0), pause).chain([tick])
        });
        for (turn, late, later) in ticks {
            spent += 1;
            let at = Duration::from_micros(phase + 1_000 * u64::from(ptime) * spent + late);
            turns.turn(turn, format, ptime, at.max(turns.now), Duration::from_micros(later));
        }
        let (echoed, now) = (turns.echoed.clone(), turns.now);
        let (left, right) = turns.finish();
        assert_echoed(&echoed, &left, &right);
        let off = left.len().abs_diff(instants(rate, now) as usize);
        prop_assert!(off <= rate.samples_in_ms(60 + 250 + 30), "{} samples of {:?}", left.len(), now);
    }

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
                    timeline.push(direction, &mark(ms(times[index].min(now)), MONO, &frame), &frame);
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
