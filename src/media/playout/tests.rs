#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::VecDeque;
use std::f64::consts::TAU;

use proptest::prelude::*;

use super::*;

use InjectMode::{Mix, Replace};

const RATE: SampleRate = SampleRate::HZ_8000;
/// Samples of a glide at 8 kHz.
const GLIDE: usize = 40;

/// A sine that begins at 0.
fn tone(rate: SampleRate, hz: f64, amplitude: f64, count: usize) -> Vec<i16> {
    (0..count).map(|at| (amplitude * (TAU * hz * at as f64 / f64::from(rate.hz())).sin()).round() as i16).collect()
}

/// The largest difference of neighbours in such a sine, its rounding included.
fn slope(rate: SampleRate, hz: f64, amplitude: f64) -> i32 {
    (2.0 * amplitude * (TAU / 2.0 * hz / f64::from(rate.hz())).sin()).ceil() as i32 + 1
}

fn largest_step(samples: &[i16]) -> i32 {
    samples.windows(2).map(|pair| (i32::from(pair[1]) - i32::from(pair[0])).abs()).max().unwrap_or(0)
}

/// What the caller hears of frames of silence.
fn hear(reader: &mut PlayoutReader, frames: usize) -> Vec<i16> {
    let mut heard = Vec::new();
    for _ in 0..frames {
        let mut frame = [0; 160];
        reader.render(8_000, 1, &mut frame, Replace);
        heard.extend_from_slice(&frame);
    }
    heard
}

fn ring(capacity: usize) -> (PlayoutWriter, PlayoutReader, Arc<PlayoutShared>) {
    playout_ring(RATE, capacity)
}

#[test]
fn what_is_withheld_waits_without_a_click() {
    let (mut writer, mut reader, shared) = playout_ring(RATE, 1_600);
    let said = tone(RATE, 300.0, 8_000.0, 800);
    writer.push(&said);
    assert!(writer.push_tones(&[ToneStep::tone(700.0, -12.0, 100, 0)]));
    let mut heard = hear(&mut reader, 1);
    for _ in 0..5 {
        let mut frame = [0; 160];
        let how = Voicing { withheld: true, ..Voicing::plain(Replace) };
        assert_eq!(reader.render_with(8_000, 1, &mut frame, &how).played, 0);
        heard.extend_from_slice(&frame);
    }
    assert_eq!((shared.played(), shared.withheld_time(), shared.underruns()), (160, Duration::from_millis(100), 0));
    assert_eq!(shared.tones_waiting(), 1);
    heard.extend(hear(&mut reader, 4));
    assert_eq!(shared.played(), 800);
    assert!(heard[200..960].iter().all(|sample| *sample == 0), "after a glide of 5 ms");
}

#[test]
fn what_is_not_sent_waits_and_a_flush_of_it_works() {
    let (mut writer, mut reader, shared) = playout_ring(SampleRate::HZ_8000, 1_600);
    writer.push(&[1_000; 800]);
    let mut frame = [0; 160];
    reader.render(8_000, 1, &mut frame, InjectMode::Replace);
    for _ in 0..50 {
        reader.wait();
    }
    assert_eq!((shared.played(), shared.level(), shared.underruns()), (160, 640, 0));
    reader.render(8_000, 1, &mut frame, InjectMode::Replace);
    assert_eq!((shared.played(), frame[100]), (320, 1_000), "it goes on where it was");
    shared.flush();
    reader.wait();
    assert_eq!((shared.played(), shared.level(), shared.flushed(), shared.flushes()), (320, 0, 480, 1));
}

#[test]
fn a_tone_after_silence_is_heard_bit_for_bit_and_back_to_back() {
    let (mut writer, mut reader, shared) = ring(1_600);
    let voice = tone(RATE, 1_000.0, 12_000.0, 1_600);
    assert_eq!(writer.push(&voice), 1_600);
    assert_eq!(hear(&mut reader, 10), voice);
    assert_eq!((shared.played(), shared.played_time()), (1_600, Duration::from_millis(200)));
}

#[test]
fn a_frame_is_not_touched_when_there_is_nothing_to_play() {
    let (_writer, mut reader, shared) = ring(1_600);
    let mut frame = *b"what the other leg says".map(i16::from).first_chunk::<20>().unwrap();
    let before = frame;
    for mode in [Replace, Mix] {
        assert_eq!(reader.render(8_000, 1, &mut frame, mode), Rendered { played: 0, changed: false });
        assert_eq!(frame, before);
    }
    assert_eq!((shared.frames(), shared.voiced_frames(), shared.underruns()), (2, 0, 0));
}

#[test]
fn a_flush_in_mid_tone_is_silence_within_5_ms_and_no_click() {
    let (mut writer, mut reader, shared) = ring(8_000);
    // Cut at the crest: 250 Hz, 8 samples after a zero.
    writer.push(&tone(RATE, 250.0, 20_000.0, 8_000)[..]);
    let mut heard = hear(&mut reader, 1);
    let mut odd = [0; 8 + 1];
    reader.render(8_000, 1, &mut odd, Replace);
    heard.extend_from_slice(&odd);
    assert_eq!(odd[8], 20_000);
    assert_eq!(shared.flush(), 8_000);
    heard.extend(hear(&mut reader, 2));
    assert_eq!(heard[169..169 + GLIDE].iter().filter(|sample| **sample == 0).count(), 0);
    assert!(heard[169 + GLIDE..].iter().all(|sample| *sample == 0), "{:?}", &heard[169..]);
    assert!(largest_step(&heard) <= slope(RATE, 250.0, 20_000.0), "{}", largest_step(&heard));
    assert_eq!((shared.played(), shared.flushed(), shared.consumed()), (169, 7_831, 8_000));
    assert_eq!((shared.flushes(), shared.underruns()), (1, 0));
}

#[test]
fn audio_queued_after_a_flush_is_whole_and_joins_without_click() {
    let (mut writer, mut reader, shared) = ring(8_000);
    let (old, new) = (tone(RATE, 200.0, 15_000.0, 4_000), tone(RATE, 300.0, 15_000.0, 480));
    writer.push(&old);
    let mut heard = hear(&mut reader, 1);
    let mut odd = [0; 10];
    reader.render(8_000, 1, &mut odd, Replace);
    heard.extend_from_slice(&odd);
    shared.flush();
    writer.push(&new);
    heard.extend(hear(&mut reader, 4));
    assert_eq!(heard[170 + GLIDE..170 + 480], new[GLIDE..]);
    assert!(heard[170 + 480..].iter().skip(GLIDE).all(|sample| *sample == 0));
    let glide = 15_000 / GLIDE as i32 + 1;
    assert!(largest_step(&heard) <= slope(RATE, 300.0, 15_000.0) + glide, "{}", largest_step(&heard));
    assert_eq!(shared.played(), 170 + 480);
}

#[test]
fn an_underrun_and_its_end_have_no_click_and_lose_no_sample() {
    let (mut writer, mut reader, shared) = ring(8_000);
    let voice = tone(RATE, 250.0, 18_000.0, 800);
    // Dry in the crest of the 6th period, for one whole frame and two partial ones.
    writer.push(&voice[..168]);
    let mut heard = hear(&mut reader, 3);
    writer.push(&voice[168..]);
    heard.extend(hear(&mut reader, 5));
    assert_eq!(heard[..168], voice[..168]);
    assert!(heard[168 + GLIDE..480].iter().all(|sample| *sample == 0));
    assert_eq!(heard[480 + GLIDE..480 + 632], voice[168 + GLIDE..]);
    let bound = slope(RATE, 250.0, 18_000.0) + 18_000 / GLIDE as i32 + 1;
    assert!(largest_step(&heard) <= bound, "{} > {bound}", largest_step(&heard));
    assert_eq!((shared.underruns(), shared.starved_frames()), (1, 2));
    assert_eq!(shared.played(), 800);
}

#[test]
fn the_end_of_an_utterance_is_no_underrun() {
    let (mut writer, mut reader, shared) = ring(8_000);
    writer.push(&[100; 160]);
    hear(&mut reader, 1 + 26);
    writer.push(&[100; 160]);
    hear(&mut reader, 1);
    assert_eq!((shared.underruns(), shared.starved_frames()), (0, 0), "520 ms of silence");
    hear(&mut reader, 25);
    writer.push(&[100; 160]);
    hear(&mut reader, 1);
    assert_eq!((shared.underruns(), shared.starved_frames()), (1, 25), "500 ms of silence");
}

#[test]
fn an_utterance_after_a_pause_without_frames_is_no_underrun() {
    let (mut writer, mut reader, shared) = ring(8_000);
    writer.push(&[100; 160]);
    // The glide, and the pause after which the module's clock stops.
    hear(&mut reader, 1 + 10);
    shared.frames_stop();
    writer.push(&[100; 160]);
    hear(&mut reader, 1);
    assert_eq!((shared.underruns(), shared.starved_frames()), (0, 0));
}

#[test]
fn a_gap_that_a_flush_asked_for_is_no_underrun() {
    let (mut writer, mut reader, shared) = ring(8_000);
    writer.push(&[100; 400]);
    hear(&mut reader, 1);
    shared.flush();
    hear(&mut reader, 2);
    writer.push(&[100; 160]);
    hear(&mut reader, 1);
    assert_eq!((shared.underruns(), shared.starved_frames(), shared.flushes()), (0, 0, 1));
}

#[test]
fn replace_covers_the_other_leg_and_gives_it_back() {
    let (mut writer, mut reader, shared) = ring(8_000);
    let (leg, voice) = (tone(RATE, 400.0, 9_000.0, 1_600), tone(RATE, 1_000.0, 9_000.0, 700));
    let mut heard = Vec::new();
    for (index, frame) in leg.chunks(160).enumerate() {
        if index == 3 {
            writer.push(&voice);
        }
        let mut frame = frame.to_vec();
        reader.render(8_000, 1, &mut frame, Replace);
        heard.extend(frame);
    }
    assert_eq!(heard[..480], leg[..480]);
    assert_eq!(heard[480 + GLIDE..1_180], voice[GLIDE..]);
    assert_eq!(heard[1_180 + GLIDE..], leg[1_180 + GLIDE..]);
    // In the joins both are heard.
    let bound = slope(RATE, 1_000.0, 9_000.0) + slope(RATE, 400.0, 9_000.0) + 18_000 / GLIDE as i32;
    assert!(largest_step(&heard) <= bound, "{} > {bound}", largest_step(&heard));
    assert_eq!(shared.voiced_frames(), 5);
}

#[test]
fn mix_adds_the_voice_to_the_other_leg_and_distorts_neither() {
    let (mut writer, mut reader, _) = ring(8_000);
    let (leg, voice) = (tone(RATE, 400.0, 9_000.0, 800), tone(RATE, 1_000.0, 9_000.0, 480));
    writer.push(&voice);
    let mut heard = leg.clone();
    for (index, frame) in heard.chunks_mut(160).enumerate() {
        assert_eq!(reader.render(8_000, 1, frame, Mix).played, if index < 3 { 160 } else { 0 });
    }
    for at in (0..480).chain(480 + GLIDE..800) {
        assert_eq!(heard[at], leg[at] + voice.get(at).copied().unwrap_or(0), "at {at}");
    }
    let ends: Vec<i32> = (480..520).map(|at| (i32::from(heard[at]) - i32::from(leg[at])).abs()).collect();
    assert!(ends.is_sorted_by(|a, b| a >= b) && ends[0] == i32::from(voice[479].abs()), "{ends:?}");
}

#[test]
fn mix_saturates_and_never_wraps() {
    let (mut writer, mut reader, _) = ring(8_000);
    writer.push(&[30_000; 320]);
    writer.push(&[-30_000; 320]);
    let mut heard = Vec::new();
    for leg in [20_000_i16, -20_000, -20_000, 20_000, 32_767, -32_768] {
        let mut frame = [leg; 160];
        reader.render(8_000, 1, &mut frame, Mix);
        heard.push(frame);
    }
    assert_eq!(heard[0][GLIDE..], [32_767; 160 - GLIDE]);
    assert_eq!(heard[1], [10_000; 160]);
    assert_eq!(heard[2], [-32_768; 160]);
    assert_eq!(heard[3], [-10_000; 160]);
    // The end of the voice glides from −30 000 to 0 beneath a leg at full scale.
    assert!(heard[4].iter().all(|sample| *sample > 0), "{:?}", heard[4]);
    assert_eq!(heard[5], [-32_768; 160]);
}

#[test]
fn both_channels_of_a_stereo_frame_get_the_voice() {
    for mode in [Replace, Mix] {
        let (mut writer, mut reader, shared) = ring(8_000);
        let voice = tone(RATE, 1_000.0, 9_000.0, 320);
        writer.push(&voice);
        let mut heard = vec![0; 640];
        for frame in heard.chunks_mut(320) {
            assert_eq!(reader.render(8_000, 2, frame, mode), Rendered { played: 160, changed: true });
        }
        let (left, right): (Vec<i16>, Vec<i16>) = heard.chunks(2).map(|pair| (pair[0], pair[1])).unzip();
        assert_eq!((&left, &right), (&voice, &voice));
        assert_eq!(shared.played(), 320, "a position counts one channel");
    }
}

#[test]
fn each_channel_of_a_stereo_frame_glides_back_to_its_own() {
    let (mut writer, mut reader, _) = ring(8_000);
    writer.push(&[8_000; 160]);
    let mut frame = [0; 320];
    reader.render(8_000, 2, &mut frame, Replace);
    let mut frame: [i16; 320] = std::array::from_fn(|at| if at % 2 == 0 { 1_000 } else { -1_000 });
    assert_eq!(reader.render(8_000, 2, &mut frame, Replace), Rendered { played: 0, changed: true });
    assert_eq!(frame[..2], [8_000, 8_000]);
    assert_eq!(frame[2..4], [8_000 - 175, 8_000 - 225]);
    assert_eq!(frame[2 * GLIDE..][..2], [1_000, -1_000]);
    assert!(!reader.render(8_000, 2, &mut frame, Replace).changed, "the glide is over");
}

#[test]
fn a_change_of_mode_while_speaking_has_no_click() {
    let (mut writer, mut reader, _) = ring(8_000);
    writer.push(&[3_000; 480]);
    let mut heard = Vec::new();
    for mode in [Replace, Mix, Replace] {
        let mut frame = [4_000; 160];
        reader.render(8_000, 1, &mut frame, mode);
        heard.extend(frame);
    }
    assert!(largest_step(&heard) <= 101, "{heard:?}");
    assert_eq!((heard[159], heard[319], heard[479]), (3_000, 7_000, 3_000));
}

#[test]
fn a_codec_change_plays_nothing_at_the_wrong_rate() {
    let (mut writer, mut reader, shared) = ring(8_000);
    writer.push(&[100; 1_600]);
    shared.want(1_600);
    hear(&mut reader, 2);
    assert!(!shared.ready());
    let mut wide = [0; 320];
    let rendered = reader.render(16_000, 1, &mut wide, Replace);
    assert_eq!((rendered.played, shared.consumed(), shared.wanted_rate()), (0, 320, SampleRate::HZ_16000));
    assert!(shared.ready() && wide[80..].iter().all(|sample| *sample == 0), "only the end glides out");

    let before = shared.flushed();
    let from = writer.set_rate(shared.wanted_rate());
    writer.push(&[200; 3_200]);
    assert_eq!((from, writer.rate()), (1_600, SampleRate::HZ_16000));
    wide.fill(0);
    assert_eq!(reader.render(16_000, 1, &mut wide, Replace).played, 320);
    assert_eq!(wide[80..], [200; 240]);
    assert!(shared.consumed() >= from && shared.flushed() - before == 1_280);
    assert_eq!(shared.played_time(), Duration::from_millis(40 + 20));
    assert_eq!(shared.underruns(), 0);
}

#[test]
fn a_frame_of_an_impossible_shape_is_not_touched_but_counted() {
    let (mut writer, mut reader, shared) = ring(8_000);
    writer.push(&[100; 1_600]);
    for (rate, channels) in [(8_000, 0), (8_000, 9), (0, 1), (96_000, 1)] {
        let mut frame = [7; 160];
        assert_eq!(reader.render(rate, channels, &mut frame, Replace), Rendered::default());
        assert_eq!(frame, [7; 160]);
    }
    assert_eq!((shared.refused_frames(), shared.played(), shared.wanted_rate()), (4, 0, RATE));
    assert_eq!(reader.render(8_000, 2, &mut [1; 5], Replace).played, 2, "half a sample of a pair is left");
    assert_eq!(reader.render(8_000, 2, &mut [], Replace), Rendered::default());
}

#[test]
fn a_flush_with_a_refused_frame_still_joins_without_a_click() {
    let (mut writer, mut reader, shared) = ring(8_000);
    writer.push(&[10_000; 320]);
    let mut heard = hear(&mut reader, 1);
    shared.flush();
    reader.render(8_000, 0, &mut [], Replace);
    writer.push(&[-10_000; 160]);
    heard.extend(hear(&mut reader, 1));
    assert!(largest_step(&heard) <= 501, "{heard:?}");
}

#[test]
fn the_writer_wakes_when_there_is_room_or_the_call_is_gone() {
    let (mut writer, mut reader, shared) = ring(320);
    assert_eq!((writer.push(&[1; 500]), writer.free(), shared.level()), (320, 0, 320));
    shared.want(160);
    assert!(!shared.ready());
    hear(&mut reader, 1);
    assert!(shared.ready());
    assert_eq!((writer.free(), shared.level()), (160, 160));
    shared.want(1_000);
    drop(reader);
    assert!(shared.ready() && shared.is_closed() && writer.is_closed());
}

#[test]
fn finding_001_audio_after_the_end_of_the_call_harms_nothing() {
    let (mut writer, mut reader, shared) = ring(320);
    writer.push(&[1; 160]);
    hear(&mut reader, 1);
    drop(reader);
    assert_eq!(writer.push(&[2; 500]), 320);
    shared.flush();
    writer.set_rate(SampleRate::HZ_16000);
    assert_eq!((shared.played(), shared.consumed()), (160, 160));
    drop(writer);
    assert_eq!(shared.written(), 480, "the counts outlive both halves");
}

#[test]
fn audio_queued_before_the_server_went_away_is_played_out() {
    let (mut writer, mut reader, _) = ring(320);
    writer.push(&[0, 5, 0]);
    drop(writer);
    assert_eq!(hear(&mut reader, 1)[..3], [0, 5, 0]);
}

#[test]
fn finding_005_flush_only_by_consumer() {
    let (mut writer, mut reader, shared) = ring(1_600);
    writer.push(&[1; 1_600]);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..100).for_each(|_| assert_eq!(shared.flush(), 1_600)));
        }
    });
    assert_eq!((shared.consumed(), shared.flushed(), shared.level()), (0, 0, 1_600), "requests move nothing");
    assert_eq!(writer.push(&[2; 160]), 0, "and give the producer no room");
    assert_eq!(hear(&mut reader, 1), [0; 160]);
    assert_eq!((shared.flushed(), shared.flushes(), writer.free()), (1_600, 1, 1_600));
}

#[test]
fn finding_010_a_partial_frame_is_played_once_and_in_order() {
    let (mut writer, mut reader, shared) = ring(400);
    let voice = tone(RATE, 500.0, 4_000.0, 1_000);
    let (mut sent, mut heard, mut starts) = (0, Vec::new(), vec![0]);
    for count in [70, 250, 0, 90, 310, 17, 160, 103] {
        assert_eq!(writer.push(&voice[sent..sent + count]), count);
        sent += count;
        let mut frame = [0; 160];
        let played = reader.render(8_000, 1, &mut frame, Replace).played;
        heard.extend_from_slice(&frame[..played]);
        if played < 160 {
            starts.push(heard.len());
        }
    }
    assert_eq!((sent, heard.len() as u64, shared.level()), (1_000, shared.played(), sent - heard.len()));
    // Outside of the glides after each gap every sample is heard at its place.
    for (at, (heard, voice)) in heard.iter().zip(&voice).enumerate() {
        if !starts.iter().any(|start| (*start..start + GLIDE).contains(&at)) {
            assert_eq!(heard, voice, "at {at}");
        }
    }
}

/// Writer, requester and media thread at once: a flushed sample is never heard, an unflushed one never lost, none is torn.
#[test]
fn finding_011_a_flush_while_the_producer_writes_mixes_nothing() {
    let (mut writer, mut reader, shared) = ring(512);
    let done = std::sync::atomic::AtomicBool::new(false);
    let flushed_to = AtomicU64::new(0);
    let total = 300_000_u64;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut at = 0_u64;
            while at < total {
                // A sample tells its position; a drop of the level would look like a lost sample.
                let chunk: Vec<i16> = (at..at + 1 + at % 97).map(|position| position as i16).collect();
                let pushed = writer.push(&chunk) as u64;
                at += pushed;
                if pushed == 0 {
                    std::thread::yield_now();
                }
            }
            done.store(true, Ordering::Release);
        });
        let flushing = scope.spawn(|| {
            let mut flushes = 0;
            while !done.load(Ordering::Acquire) {
                flushed_to.store(shared.flush(), Ordering::Release);
                flushes += 1;
                (0..200).for_each(|_| std::hint::spin_loop());
                std::thread::yield_now();
            }
            flushes
        });
        let mut last_played = 0_u64;
        let mut positions = (0, 0, 0);
        loop {
            let finished = done.load(Ordering::Acquire);
            let void = flushed_to.load(Ordering::Acquire);
            let mut heard = [0; 64];
            let played = reader.render(8_000, 1, &mut heard, Replace).played as u64;
            let consumed = shared.consumed();
            assert_eq!(consumed, shared.played() + shared.flushed());
            assert!(consumed >= positions.0 && shared.played() >= positions.1 && shared.flushed() >= positions.2);
            positions = (consumed, shared.played(), shared.flushed());
            // Where no glide is under way, each sample is the one of its position.
            let position = consumed - played;
            assert!(played == 0 || position >= void, "position {position} was flushed up to {void}");
            if played == 64 && last_played == 64 {
                for (offset, sample) in heard.iter().enumerate().skip(GLIDE) {
                    assert_eq!(*sample, (position + offset as u64) as i16);
                }
            }
            last_played = played;
            if finished && shared.level() == 0 {
                break;
            }
        }
        assert!(flushing.join().unwrap() > 0);
        assert_eq!(shared.consumed(), shared.written());
    });
}

/// What `render` is meant to do, one sample after the other and in floating point.
struct Model {
    queue: VecDeque<i16>,
    flushed: bool,
    playing: bool,
    cut: bool,
    last_own: f64,
    jump: f64,
    left: usize,
    length: usize,
    leg: f64,
    leg_target: f64,
    leg_step: f64,
    leg_left: usize,
    played: u64,
    consumed: u64,
}

impl Default for Model {
    fn default() -> Self {
        Self {
            queue: VecDeque::new(),
            flushed: false,
            playing: false,
            cut: false,
            last_own: 0.0,
            jump: 0.0,
            left: 0,
            length: 1,
            leg: 1.0,
            leg_target: 1.0,
            leg_step: 0.0,
            leg_left: 0,
            played: 0,
            consumed: 0,
        }
    }
}

impl Model {
    fn residual(&self) -> f64 {
        self.jump * self.left as f64 / self.length as f64
    }

    /// Checks `heard` against `leg`, the frame before it.
    fn check(&mut self, playable: bool, rate: u32, lanes: usize, leg: &[i16], heard: &[i16], mode: InjectMode) {
        if self.flushed {
            self.cut |= !self.queue.is_empty();
            self.consumed += self.queue.drain(..).count() as u64;
            self.flushed = false;
        }
        let glide = (rate / 200) as usize;
        for (leg, heard) in leg.chunks_exact(lanes).zip(heard.chunks_exact(lanes)) {
            let own = if playable { self.queue.pop_front() } else { None };
            let voice = own.map_or(0.0, f64::from);
            if own.is_some() != self.playing || (self.cut && own.is_some()) {
                self.jump = self.last_own + self.residual() - voice;
                (self.length, self.left) = (glide, glide);
            }
            let target = if own.is_some() && mode == Replace { 0.0 } else { 1.0 };
            if target != self.leg_target {
                (self.leg_target, self.leg_left) = (target, glide);
                self.leg_step = (target - self.leg) / glide as f64;
            }
            self.cut = false;
            self.playing = own.is_some();
            self.last_own = voice;
            let voice = (voice + self.residual()).clamp(-32_768.0, 32_767.0);
            for (leg, heard) in leg.iter().zip(heard) {
                let expected = (f64::from(*leg) * self.leg + voice).clamp(-32_768.0, 32_767.0);
                let got = f64::from(*heard);
                // One for each rounding: of the leg, of the glide, of the glide that a new glide took over.
                assert!((got - expected).abs() <= 2.5, "{got}, not {expected}");
                assert!(self.left > 0 || self.leg_left > 0 || got == expected, "bit-exact outside of the glides");
            }
            self.left = self.left.saturating_sub(1);
            if self.leg_left > 0 {
                self.leg_left -= 1;
                self.leg = if self.leg_left == 0 { self.leg_target } else { self.leg + self.leg_step };
            }
            self.played += u64::from(own.is_some());
            self.consumed += u64::from(own.is_some());
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Push(Vec<i16>),
    Flush,
    SetRate(u32),
    Render { rate: u32, instants: usize, leg: Vec<i16>, mode: InjectMode },
}

fn rate() -> impl Strategy<Value = u32> {
    prop_oneof![9 => Just(8_000_u32), 1 => Just(16_000), 1 => Just(48_000)]
}

fn step() -> impl Strategy<Value = Step> {
    let mode = prop_oneof![Just(Replace), Just(Mix)];
    prop_oneof![
        8 => prop::collection::vec(any::<i16>(), 0..300).prop_map(Step::Push),
        2 => Just(Step::Flush),
        1 => rate().prop_map(Step::SetRate),
        10 => (rate(), 0_usize..200, prop::collection::vec(any::<i16>(), 400), mode)
            .prop_map(|(rate, instants, leg, mode)| Step::Render { rate, instants, leg, mode }),
    ]
}

proptest! {
    /// Any chunks through any frames, bit for bit, as long as the ring never runs dry.
    #[test]
    fn a_tone_in_random_chunks_is_bit_exact(
        chunks in prop::collection::vec(1_usize..400, 1..60),
        frames in prop::collection::vec(1_usize..330, 1..200),
        capacity in 400_usize..900,
    ) {
        let (mut writer, mut reader, shared) = ring(capacity);
        let total: usize = chunks.iter().sum();
        let voice = tone(RATE, 1_000.0, 12_000.0, total);
        let (mut sent, mut heard) = (0, Vec::new());
        let (mut chunks, mut frames) = (chunks.iter(), frames.iter().cycle());
        while heard.len() < total {
            if writer.free() >= 400 && let Some(chunk) = chunks.next() {
                prop_assert_eq!(writer.push(&voice[sent..sent + chunk]), *chunk);
                sent += chunk;
                continue;
            }
            let count = (*frames.next().unwrap()).min(shared.level());
            let mut frame = vec![0; count];
            prop_assert_eq!(reader.render(8_000, 1, &mut frame, Replace).played, count);
            heard.extend(frame);
            prop_assert_eq!(shared.played(), heard.len() as u64);
        }
        prop_assert_eq!(heard, voice);
        prop_assert_eq!(shared.underruns(), 0);
    }

    /// Any mixture of writes, flushes, frames, modes and rates is what the model says; positions only grow.
    #[test]
    fn playout_is_its_model(
        lanes in 1_usize..=2,
        capacity in 1_usize..1_000,
        steps in prop::collection::vec(step(), 1..80),
    ) {
        let (mut writer, mut reader, shared) = ring(capacity);
        let mut model = Model::default();
        // What the ring still holds physically: flushed samples keep their room until the next frame.
        let mut occupied = 0;
        let mut last = 0;
        for step in steps {
            match step {
                Step::Push(samples) => {
                    let pushed = writer.push(&samples);
                    prop_assert_eq!(pushed, samples.len().min(capacity - occupied));
                    occupied += pushed;
                    if model.flushed {
                        // The model flushes at once, so that what comes later stays.
                        model.check(false, 8_000, lanes, &[], &[], Replace);
                    }
                    model.queue.extend(&samples[..pushed]);
                }
                Step::Flush => {
                    if model.flushed {
                        model.check(false, 8_000, lanes, &[], &[], Replace);
                    }
                    shared.flush();
                    model.flushed = true;
                }
                Step::SetRate(rate) => {
                    if model.flushed {
                        model.check(false, 8_000, lanes, &[], &[], Replace);
                    }
                    prop_assert_eq!(writer.set_rate(SampleRate::new(rate).unwrap()), shared.written());
                    model.flushed = true;
                }
                Step::Render { rate, instants, leg, mode } => {
                    let leg = &leg[..instants * lanes];
                    let mut heard = leg.to_vec();
                    let rendered = reader.render(rate, lanes as u16, &mut heard, mode);
                    let playable = rate == writer.rate().hz();
                    let before = model.played;
                    model.check(playable, rate, lanes, leg, &heard, mode);
                    occupied = model.queue.len();
                    prop_assert_eq!(rendered.played as u64, model.played - before);
                    prop_assert!(rendered.changed || heard == leg);
                    prop_assert_eq!(shared.wanted_rate().hz(), rate);
                    prop_assert_eq!(shared.consumed(), model.consumed);
                    prop_assert_eq!(shared.played(), model.played);
                    prop_assert_eq!(shared.flushed(), model.consumed - model.played);
                }
            }
            prop_assert_eq!(shared.level(), occupied);
            prop_assert!(shared.consumed() >= last);
            last = shared.consumed();
        }
    }
}
