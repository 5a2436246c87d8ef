#![allow(clippy::unwrap_used)]

use std::f64::consts::{PI, TAU};

use super::stages::AtRest;
use super::*;
use crate::dsp::probe::{amplitude_at, tone};
use proptest::prelude::*;

const RATES: [u32; 8] = [8_000, 11_025, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000];

fn rate(hz: u32) -> SampleRate {
    SampleRate::new(hz).unwrap()
}

fn treated(hz: u32, settings: ChainSettings, sound: &[i16]) -> Vec<i16> {
    let mut out = sound.to_vec();
    Chain::new(rate(hz), settings).process(&mut out);
    out
}

fn db(factor: f64) -> f64 {
    20.0 * factor.log10()
}

fn dc_blocker() -> ChainSettings {
    ChainSettings { dc_blocker: true, ..ChainSettings::BYPASS }
}

fn gate(threshold_db: f32) -> ChainSettings {
    ChainSettings { gate: Some(Gate::new(threshold_db).unwrap()), ..ChainSettings::BYPASS }
}

fn compressor(threshold_db: f32, ratio: f32, makeup_db: f32) -> ChainSettings {
    let compressor = Some(Compressor::new(threshold_db, ratio, makeup_db).unwrap());
    ChainSettings { compressor, ..ChainSettings::BYPASS }
}

fn shelf(hz: f32, gain_db: f32) -> ChainSettings {
    ChainSettings { high_shelf: Some(HighShelf::new(hz, gain_db).unwrap()), ..ChainSettings::BYPASS }
}

fn low_pass(hz: f32) -> ChainSettings {
    ChainSettings { low_pass: Some(LowPass::new(hz).unwrap()), ..ChainSettings::BYPASS }
}

fn clip(knee: f32) -> ChainSettings {
    ChainSettings { soft_clip: Some(SoftClip::new(knee).unwrap()), ..ChainSettings::BYPASS }
}

/// What a tone loses or gains, in dB, once the filters have settled.
fn measured_db(rate: u32, settings: ChainSettings, hz: f64, amplitude: f64) -> f64 {
    let heard = treated(rate, settings, &tone(rate, hz, amplitude, rate as usize));
    db(amplitude_at(&heard[heard.len() / 2..], rate, hz) / amplitude)
}

/// The tangent of half the turn per sample: what the bilinear transform makes of a frequency.
fn warped(rate: u32, hz: f64) -> f64 {
    (PI * hz / f64::from(rate)).tan()
}

/// A wave that is at `level_db` of full scale in each of its samples.
fn square(rate: u32, level_db: f64, len: usize) -> Vec<i16> {
    let level = 32_768.0 * 10f64.powf(level_db / 20.0);
    let half = rate as usize / 400;
    (0..len).map(|n| if (n / half).is_multiple_of(2) { level } else { -level }.round() as i16).collect()
}

fn noise(len: usize, amplitude: i32) -> Vec<i16> {
    let mut state = 12_345_u32;
    (0..len)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            ((state >> 16) as i32 % (2 * amplitude + 1) - amplitude) as i16
        })
        .collect()
}

#[test]
fn the_dc_blocker_follows_its_curve_at_every_rate() {
    for rate in RATES {
        let pole = (-TAU * 20.0 / f64::from(rate)).exp();
        for hz in [10.0, 20.0, 50.0, 100.0, 300.0, 1_000.0, 3_400.0] {
            let (sin, cos) = (TAU * hz / f64::from(rate)).sin_cos();
            let rise = (1.0 - cos).hypot(sin) * (1.0 + pole) / 2.0;
            let expected = db(rise / (1.0 - pole * cos).hypot(pole * sin));
            let measured = measured_db(rate, dc_blocker(), hz, 12_000.0);
            assert!((measured - expected).abs() < 0.05, "{hz} Hz at {rate}: {measured:.3} for {expected:.3} dB");
        }
        assert!((measured_db(rate, dc_blocker(), 20.0, 12_000.0) + 3.0).abs() < 0.1);
    }
}

#[test]
fn the_high_shelf_follows_its_curve_at_every_rate() {
    for rate in RATES {
        for (corner, gain_db) in [(3_000.0, 3.0), (3_000.0, -12.0), (1_000.0, 12.0)] {
            for hz in [100.0, 700.0, 1_000.0, 2_000.0, 3_000.0, 3_500.0, 3_800.0] {
                // The analogue shelf of slope 1 at the frequency that the transform leads there.
                let a = 10f64.powf(gain_db / 40.0);
                let s = warped(rate, hz) / warped(rate, corner);
                let middle = (2.0 * a).sqrt() * s;
                let expected = db(a * (1.0 - a * s * s).hypot(middle) / (a - s * s).hypot(middle));
                let measured = measured_db(rate, shelf(corner as f32, gain_db as f32), hz, 6_000.0);
                assert!(
                    (measured - expected).abs() < 0.05,
                    "{hz} Hz at {rate}, {gain_db} dB from {corner}: {measured:.3} for {expected:.3} dB"
                );
            }
        }
        assert!((measured_db(rate, shelf(3_000.0, 3.0), 3_000.0, 6_000.0) - 1.5).abs() < 0.05, "half at the corner");
    }
}

#[test]
fn the_low_pass_follows_its_curve_at_every_rate() {
    for rate in RATES {
        let nyquist = f64::from(rate) / 2.0;
        for cutoff in [100.0, 1_000.0, 3_400.0, 7_500.0] {
            let clamped = f64::min(cutoff, f64::from(rate) * 0.49);
            for hz in [50.0, 100.0, 300.0, 1_000.0, 2_500.0, 3_400.0, 7_500.0, 12_000.0] {
                let expected = -db((warped(rate, hz) / warped(rate, clamped)).powi(2).hypot(1.0));
                if hz >= 0.95 * nyquist || expected < -60.0 {
                    continue; // Nothing left that 16 bits would show.
                }
                let measured = measured_db(rate, low_pass(cutoff as f32), hz, 25_000.0);
                assert!(
                    (measured - expected).abs() < 0.1,
                    "{hz} Hz at {rate}, cutoff {cutoff}: {measured:.3} for {expected:.3} dB"
                );
            }
        }
    }
}

#[test]
fn a_cutoff_above_half_of_the_rate_is_clamped() {
    for rate in RATES {
        let sound = noise(rate as usize, 20_000);
        let highest = treated(rate, low_pass((rate as f32 * 0.495).min(20_000.0)), &sound);
        for beyond in [0.5, 0.51, 1.0, 2.4].map(|part| rate as f32 * part).into_iter().filter(|hz| *hz <= 20_000.0) {
            assert!(treated(rate, low_pass(beyond), &sound) == highest, "{beyond} at {rate}");
        }
        // It lets the whole band pass that the rate carries.
        let loss = measured_db(rate, low_pass(20_000.0), f64::from(rate) * 0.425, 12_000.0);
        assert!(loss > -0.15 || rate > 40_000, "{loss:.2} dB at {rate}");
        // And a shelf up there is nothing that a telephone hears, and stable.
        let shelved = treated(rate, shelf(20_000.0, 12.0), &noise(rate as usize, 1_000));
        assert!(shelved.iter().all(|sample| sample.unsigned_abs() < 32_767), "{rate}");
    }
}

#[test]
fn the_compressor_follows_its_static_curve_at_every_rate() {
    for rate in RATES {
        for (threshold, ratio, makeup) in [(-20.0, 3.0, 6.0), (-40.0, 2.0, 0.0), (-30.0, 20.0, 12.0), (0.0, 3.0, 0.0)] {
            for level in [-60.0, -45.0, -33.0, -23.0, -21.5, -20.0, -18.5, -17.0, -10.0, -3.0, -0.1] {
                // The textbook's curve, a parabola over the 6 dB of the knee.
                let over: f64 = level - threshold;
                let out = if over <= -3.0 {
                    level
                } else if over >= 3.0 {
                    threshold + over / ratio
                } else {
                    level + (1.0 / ratio - 1.0) * (over + 3.0).powi(2) / 12.0
                };
                let expected = out + makeup;
                if expected > -0.2 {
                    continue; // Beyond full scale.
                }
                let settings = compressor(threshold as f32, ratio as f32, makeup as f32);
                let heard = treated(rate, settings, &square(rate, level, rate as usize));
                let last = f64::from(heard.last().unwrap().unsigned_abs());
                let steps = 20.0 * (1.0 + 1.0 / last).log10();
                let measured = db(last / 32_768.0);
                assert!(
                    (measured - expected).abs() < 0.05 + 2.0 * steps,
                    "{level} dB into {threshold}/{ratio}:1/{makeup} at {rate}: {measured:.2} for {expected:.2} dB"
                );
            }
        }
    }
}

#[test]
fn the_compressor_treats_a_tone_by_its_peak() {
    for rate in RATES {
        for level in [-40.0, -23.0, -14.0, -8.0, -2.0] {
            let amplitude = 32_768.0 * 10f64.powf(level / 20.0);
            let gain = measured_db(rate, compressor(-20.0, 3.0, 6.0), 437.0, amplitude);
            let expected = 6.0 - f64::max(level + 20.0, 0.0) * 2.0 / 3.0;
            assert!((gain - expected).abs() < 0.3, "{level} dB at {rate}: {gain:.2} for {expected:.2} dB");
        }
    }
}

#[test]
fn the_gate_silences_what_is_below_and_lets_words_begin_and_end() {
    for rate in RATES {
        let second = rate as usize;
        let (soft, loud) = (32_768.0 * 10f64.powf(-55.0 / 20.0), 32_768.0 * 10f64.powf(-30.0 / 20.0));
        let mut sound = tone(rate, 400.0, soft, second);
        sound.extend(tone(rate, 400.0, loud, second));
        sound.extend(tone(rate, 400.0, soft, second));
        let heard = treated(rate, gate(-45.0), &sound);
        let silent = |samples: &[i16]| samples.iter().all(|sample| sample.unsigned_abs() <= 1);
        assert!(silent(&heard[second / 3..second]), "hiss before the word at {rate}");
        // 5 ms into the word it is there, 20 ms into it to the last bit, and stays for 40 ms after it.
        let (begun, there) = (second + second / 200, second + second / 50);
        for (heard, said) in heard[begun..there].iter().zip(&sound[begun..there]) {
            assert!((heard - said).unsigned_abs() <= said.unsigned_abs() / 10 + 5, "{heard} for {said} at {rate}");
        }
        assert_eq!(heard[there..2 * second], sound[there..2 * second]);
        assert_eq!(heard[2 * second..][..second / 30], sound[2 * second..][..second / 30]);
        assert!(silent(&heard[2 * second + second * 3 / 10..]), "hiss after the word at {rate}");
        // Between the thresholds it stays as it is: a voice that becomes softer is not cut to pieces.
        let between = tone(rate, 400.0, 32_768.0 * 10f64.powf(-48.0 / 20.0), second);
        let heard = treated(rate, gate(-45.0), &between);
        assert_eq!(heard, between, "open at the start, so open on");
        let mut from_silence = vec![0; second];
        from_silence.extend(&between);
        assert!(silent(&treated(rate, gate(-45.0), &from_silence)[second..]), "closed before, so closed");
    }
}

#[test]
fn an_offset_is_gone_within_a_tenth_of_a_second() {
    for rate in RATES {
        let sound: Vec<i16> = tone(rate, 300.0, 3_000.0, rate as usize).iter().map(|sample| sample + 5_000).collect();
        let heard = treated(rate, ChainSettings { gate: None, ..dc_blocker() }, &sound);
        let settled = &heard[rate as usize / 10..];
        let mean = settled.iter().map(|&s| f64::from(s)).sum::<f64>() / settled.len() as f64;
        assert!(mean.abs() < 5.0, "{mean:.1} at {rate}");
    }
}

#[test]
fn the_clipper_is_straight_below_bends_above_and_never_wraps() {
    let rising: Vec<i16> = (0..=i16::MAX).step_by(7).collect();
    let falling: Vec<i16> = rising.iter().map(|sample| -sample).collect();
    for knee in [0.1, 0.5, 0.85, 1.0] {
        let (up, down) = (treated(8_000, clip(knee), &rising), treated(8_000, clip(knee), &falling));
        for ((&x, &y), &mirrored) in rising.iter().zip(&up).zip(&down) {
            assert!((i32::from(y) + i32::from(mirrored)).abs() <= 1);
            if f32::from(x) <= knee * 32_768.0 {
                assert_eq!(x, y);
            }
        }
        assert!(up.windows(2).all(|pair| pair[0] <= pair[1]));
    }
    // 24 dB beyond full scale.
    let settings = ChainSettings { soft_clip: clip(0.85).soft_clip, ..compressor(0.0, 1.0, 24.0) };
    let sound = tone(8_000, 437.0, 30_000.0, 8_000);
    let heard = treated(8_000, settings, &sound);
    assert!(sound.iter().zip(&heard).all(|(&x, &y)| x.signum() == y.signum()));
    assert!(heard.iter().any(|sample| *sample > 32_700));
}

#[test]
fn everything_off_is_bit_for_bit() {
    let all: Vec<i16> = (i16::MIN..=i16::MAX).collect();
    for rate in RATES {
        assert_eq!(treated(rate, ChainSettings::BYPASS, &all), all);
    }
}

#[test]
fn the_whole_chain_brings_soft_and_loud_speech_together() {
    for rate in RATES {
        let gain = |amplitude| measured_db(rate, ChainSettings::default(), 1_000.0, amplitude);
        let (soft, loud) = (gain(2_000.0), gain(30_000.0));
        assert!((5.5..6.6).contains(&soft), "{soft:.2} dB at {rate}");
        assert!((-7.5..-5.5).contains(&loud), "{loud:.2} dB at {rate}");
    }
}

/// The second difference of a sound: next to nothing for a low tone, all of the step for a click.
fn edge(sound: &[i16]) -> i32 {
    let bend = |x: &[i16]| (i32::from(x[0]) - 2 * i32::from(x[1]) + i32::from(x[2])).abs();
    sound.windows(3).map(bend).max().unwrap()
}

#[test]
fn no_change_of_settings_is_heard_as_a_click() {
    let all = ChainSettings::default();
    let changes = [
        (ChainSettings::BYPASS, all),
        (all, ChainSettings::BYPASS),
        (compressor(-20.0, 3.0, 6.0), compressor(-60.0, 20.0, 0.0)),
        (compressor(-60.0, 20.0, 0.0), ChainSettings::BYPASS),
        (shelf(500.0, 12.0), shelf(500.0, -12.0)),
        (shelf(500.0, -12.0), shelf(20_000.0, 0.0)),
        (low_pass(20_000.0), low_pass(100.0)),
        (low_pass(100.0), ChainSettings::BYPASS),
        (clip(1.0), clip(0.1)),
        (clip(0.1), ChainSettings::BYPASS),
        (dc_blocker(), ChainSettings::BYPASS),
        (ChainSettings::BYPASS, dc_blocker()),
        (gate(-90.0), gate(0.0)),
        (gate(0.0), gate(-90.0)),
        (gate(0.0), ChainSettings::BYPASS),
    ];
    for rate in [8_000, 16_000, 48_000] {
        let second = rate as usize;
        let sound = tone(rate, 100.0, 6_000.0, 2 * second);
        for (before, after) in changes {
            // At the crest and at the zero of the wave; 60 is a hundredth of it.
            for at in [second, second + second / 400] {
                let mut heard = sound.clone();
                let mut chain = Chain::new(self::rate(rate), before);
                chain.process(&mut heard[..at]);
                chain.set(after);
                chain.process(&mut heard[at..]);
                let around = edge(&heard[at - second / 100..][..second / 5]);
                let apart = edge(&heard[second / 2..at]).max(edge(&heard[second * 3 / 2..]));
                assert!(around <= apart + apart / 2 + 60, "{before:?} to {after:?} at {rate}: {around}, else {apart}");
            }
        }
    }
    // The measure hears what it should: half of the volume at once, at the crest.
    let mut abrupt = tone(8_000, 100.0, 6_000.0, 8_000);
    let calm = edge(&abrupt);
    abrupt[4_020..].iter_mut().for_each(|sample| *sample /= 2);
    assert!(edge(&abrupt) > 10 * calm);
}

#[test]
fn a_change_is_complete_after_30_ms() {
    for rate in RATES {
        let sound = noise(rate as usize, 8_000);
        let mut chain = Chain::new(self::rate(rate), clip(1.0));
        let mut heard = sound.clone();
        chain.set(clip(0.2));
        chain.process(&mut heard);
        let done = rate as usize * 3 / 100 + 1;
        assert_eq!(heard[done..], treated(rate, clip(0.2), &sound)[done..]);
        assert_eq!(chain.settings(), &clip(0.2));
    }
}

#[test]
fn silence_after_sound_leaves_no_denormals_behind() {
    for rate in RATES {
        let mut chain = Chain::new(self::rate(rate), ChainSettings::default());
        chain.process(&mut tone(rate, 440.0, 30_000.0, rate as usize));
        let mut silence = vec![0; rate as usize];
        for _ in 0..5 {
            silence.fill(0);
            chain.process(&mut silence);
            let states = [&chain.dc as &dyn AtRest, &chain.gate, &chain.compressor, &chain.shelf, &chain.low_pass];
            for number in states.iter().flat_map(|stage| stage.decaying()) {
                assert!(!number.is_subnormal(), "{number:e} at {rate}");
            }
        }
        let states = [&chain.dc as &dyn AtRest, &chain.gate, &chain.compressor, &chain.shelf, &chain.low_pass];
        for number in states.iter().flat_map(|stage| stage.decaying()) {
            assert_eq!(number, 0.0, "{rate}");
        }
        assert!(silence.iter().all(|sample| *sample == 0));
    }
}

#[test]
fn after_a_change_of_rate_the_filters_are_those_of_the_new_rate() {
    for (from, to) in [(8_000, 48_000), (48_000, 8_000), (16_000, 11_025)] {
        let mut chain = Chain::new(rate(from), low_pass(2_000.0));
        chain.process(&mut tone(from, 300.0, 9_000.0, from as usize));
        chain.set_rate(rate(to));
        let mut heard = tone(to, 3_000.0, 9_000.0, to as usize);
        chain.process(&mut heard);
        let level = db(amplitude_at(&heard[to as usize / 2..], to, 3_000.0) / 9_000.0);
        let expected = measured_db(to, low_pass(2_000.0), 3_000.0, 9_000.0);
        assert!((level - expected).abs() < 0.01, "{from} to {to}: {level:.2} for {expected:.2} dB");
        assert_eq!(chain.rate(), rate(to));
    }
}

#[test]
fn a_reset_lets_nothing_of_before_through() {
    let mut chain = Chain::new(rate(8_000), ChainSettings::default());
    chain.process(&mut noise(8_000, 32_000));
    chain.reset();
    let sound = noise(4_000, 9_000);
    let mut heard = sound.clone();
    chain.process(&mut heard);
    assert_eq!(heard, treated(8_000, ChainSettings::default(), &sound));
}

#[test]
fn values_out_of_range_are_refused_by_name() {
    for bad in [-90.5, 0.5, f32::NAN, f32::INFINITY] {
        assert_eq!(Gate::new(bad).unwrap_err().bounds, &GATE_THRESHOLD_DB, "{bad}");
    }
    let bad = Compressor::new(-61.0, 3.0, 6.0).unwrap_err();
    assert_eq!(bad.to_string(), "bad compressor_threshold_db -61: give -60 to 0");
    assert_eq!(Compressor::new(-20.0, 0.9, 6.0).unwrap_err().bounds, &COMPRESSOR_RATIO);
    assert_eq!(Compressor::new(-20.0, 3.0, -1.0).unwrap_err().bounds, &COMPRESSOR_MAKEUP_DB);
    assert_eq!(HighShelf::new(499.0, 3.0).unwrap_err().bounds, &HIGH_SHELF_HZ);
    assert_eq!(HighShelf::new(3_000.0, 13.0).unwrap_err().bounds, &HIGH_SHELF_GAIN_DB);
    assert_eq!(LowPass::new(99.0).unwrap_err().bounds, &LPF_CUTOFF_HZ);
    assert_eq!(LowPass::new(20_001.0).unwrap_err().bounds, &LPF_CUTOFF_HZ);
    assert_eq!(SoftClip::new(0.0).unwrap_err().bounds, &SOFT_CLIP);
    // What is there when nothing is said is in range, too.
    let default = ChainSettings::default();
    assert_eq!(default.gate, Gate::new(-45.0).ok());
    assert_eq!(default.compressor, Compressor::new(-20.0, 3.0, 6.0).ok());
    assert_eq!(default.high_shelf, HighShelf::new(3_000.0, 3.0).ok());
    assert_eq!(default.low_pass, LowPass::new(7_500.0).ok());
    assert_eq!(default.soft_clip, SoftClip::new(0.85).ok());
}

/// Settings of every kind, each stage on or off.
fn any_settings() -> impl Strategy<Value = ChainSettings> {
    let between = |bounds: &'static Bounds| bounds.min..=bounds.max;
    (
        any::<bool>(),
        prop::option::of(between(&GATE_THRESHOLD_DB)),
        prop::option::of((
            between(&COMPRESSOR_THRESHOLD_DB),
            between(&COMPRESSOR_RATIO),
            between(&COMPRESSOR_MAKEUP_DB),
        )),
        prop::option::of((between(&HIGH_SHELF_HZ), between(&HIGH_SHELF_GAIN_DB))),
        prop::option::of(between(&LPF_CUTOFF_HZ)),
        prop::option::of(between(&SOFT_CLIP)),
    )
        .prop_map(|(dc_blocker, gate, compressor, shelf, low_pass, clip)| ChainSettings {
            dc_blocker,
            gate: gate.map(|db| Gate::new(db).unwrap()),
            compressor: compressor.map(|(db, ratio, makeup)| Compressor::new(db, ratio, makeup).unwrap()),
            high_shelf: shelf.map(|(hz, db)| HighShelf::new(hz, db).unwrap()),
            low_pass: low_pass.map(|hz| LowPass::new(hz).unwrap()),
            soft_clip: clip.map(|knee| SoftClip::new(knee).unwrap()),
        })
}

proptest! {
    /// Three settings in turn, each for the same samples, cut in any way.
    #[test]
    fn cutting_is_not_heard_whatever_the_settings(
        settings in prop::array::uniform3(any_settings()),
        rate_hz in 8_000_u32..=48_000,
        chunks in prop::collection::vec(1_usize..700, 1..12),
        seed in 1_i32..32_767,
    ) {
        let sound = noise(4_000, seed);
        let mut whole = sound.clone();
        let mut cut = sound;
        let mut once = Chain::new(rate(rate_hz), settings[0]);
        let mut often = Chain::new(rate(rate_hz), settings[0]);
        let mut lengths = chunks.iter().cycle();
        // The second change falls into the first one's ramp.
        for (part, setting) in [(0..1_500, 0), (1_500..1_600, 1), (1_600..4_000, 2)].into_iter() {
            once.set(settings[setting]);
            often.set(settings[setting]);
            once.process(&mut whole[part.clone()]);
            let mut rest = &mut cut[part];
            while !rest.is_empty() {
                let (now, later) = rest.split_at_mut(rest.len().min(*lengths.next().unwrap()));
                often.process(now);
                rest = later;
            }
        }
        prop_assert_eq!(whole, cut);
    }

    #[test]
    fn any_settings_at_any_rate_are_stable(settings in any_settings(), rate_hz in 8_000_u32..=64_000) {
        let mut chain = Chain::new(rate(rate_hz), settings);
        chain.process(&mut noise(8_000, 32_767));
        let mut silence = vec![0; rate_hz as usize];
        chain.process(&mut silence);
        prop_assert!(silence[rate_hz as usize / 2..].iter().all(|sample| sample.unsigned_abs() <= 1));
    }
}
