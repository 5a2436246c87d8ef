//! The caller's side before the server: cancellation of the agent's echo, noise suppression and gain control, all optional.
//!
//! On the worker's thread, owned by the stream. One channel of `i16` in chunks of any size in; as many samples out, those that
//! still wait given by [`CallerChain::drain`]. Both are WebRTC's in Rust (sonora), which works on blocks of 10 ms: what comes
//! out is neither early nor late, but a block and the filter's delay (6 to 9 ms) wait inside. It allocates a little for each
//! block with gain control, so that the media thread is no place for it.
//!
//! | rate | how |
//! |---|---|
//! | 8, 16, 24, 32, 44.1, 48 kHz | as it is; inside, the library works at 16, 32 or 48 kHz in one to three bands |
//! | any other | resampled to 16 kHz and back: 7 kHz are left, as much as a voice needs |
//!
//! **Echo.** A telephone line, or a phone's microphone, sends back some of what the caller is played, 15 to 30 dB lower and up to some
//! 100 ms later. The canceller (AEC3) gets each block that the caller is [played](CallerChain::played): it finds the delay by
//! correlating it with what is captured, follows the echo's path with an adaptive filter, subtracts what the filter makes of it,
//! and suppresses the rest in the bands where the caller says nothing. Both sides are counted in samples, so no clock is involved:
//! a block captured is paired with the next block played, or silence. The figures are in `docs/performance.md`.
//!
//! A change of [settings](CallerSettings) is not heard as a click: the new state listens along for 200 ms, in which it learns the noise,
//! then the sound passes over to it within 50 ms. Off is the sound as it came, equally late.

use std::collections::VecDeque;
use std::fmt;

use sonora::config::{
    AdaptiveDigital, Config, EchoCanceller, GainController2, NoiseSuppression, NoiseSuppressionLevel,
};
use sonora::{AudioProcessing, StreamConfig};

use super::resample::Resampler;
use crate::units::SampleRate;
use crate::units::choice::choice;

/// Blocks a second: 10 ms each.
const BLOCKS_PER_SECOND: usize = 100;
/// Blocks for which a new state listens along, and over which the sound then passes to it.
const LEARNING: u32 = 20;
const PASSING: u32 = 5;
/// What was played may be ahead of what was captured by so much, ms; if it is more, the rest is dropped down to the second.
const MOST_EARLY_MS: usize = 100;
const EARLY_MS: usize = 20;

choice! {
    /// How much noise is taken off.
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
    pub enum Suppression {
        /// About 6 dB.
        Low = "low",
        /// About 12 dB.
        Moderate = "moderate",
        /// About 18 dB.
        High = "high",
        /// About 21 dB.
        VeryHigh = "very_high",
    }
}

impl Suppression {
    const fn level(self) -> NoiseSuppressionLevel {
        match self {
            Self::Low => NoiseSuppressionLevel::Low,
            Self::Moderate => NoiseSuppressionLevel::Moderate,
            Self::High => NoiseSuppressionLevel::High,
            Self::VeryHigh => NoiseSuppressionLevel::VeryHigh,
        }
    }
}

/// What is done to the caller's side. Nothing, where nothing is said.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct CallerSettings {
    /// Noise is taken off.
    pub suppression: Option<Suppression>,
    /// Soft voices are made louder, by up to 30 dB and 6 dB a second; loud ones are limited below full scale.
    pub gain_control: bool,
    /// What the caller is [played](CallerChain::played) is taken out of what they send back.
    pub echo_cancellation: bool,
}

impl CallerSettings {
    /// The sound as it came.
    pub const OFF: Self = Self { suppression: None, gain_control: false, echo_cancellation: false };

    /// The library's settings.
    fn config(self) -> Config {
        Config {
            echo_canceller: self.echo_cancellation.then(EchoCanceller::default),
            noise_suppression: self.suppression.map(|suppression| NoiseSuppression {
                level: suppression.level(),
                analyze_linear_aec_output_when_available: false,
            }),
            gain_controller2: self.gain_control.then(|| GainController2 {
                adaptive_digital: Some(AdaptiveDigital {
                    max_gain_db: 30.0,
                    initial_gain_db: 0.0,
                    ..AdaptiveDigital::default()
                }),
                ..GainController2::default()
            }),
            ..Config::default()
        }
    }
}

/// One way of treating the sound.
struct Path {
    /// Nothing: the sound as it came.
    engine: Option<Box<AudioProcessing>>,
    /// Samples by which its input is late, so that all ways are equally late.
    lead: usize,
    out: Vec<i16>,
}

impl Path {
    fn new(settings: CallerSettings, rate: usize, latest: usize) -> Self {
        let block = rate / BLOCKS_PER_SECOND;
        let engine = (settings != CallerSettings::OFF).then(|| {
            let stream = StreamConfig::new(rate as u32, 1);
            let builder = AudioProcessing::builder().config(settings.config());
            Box::new(builder.capture_config(stream).render_config(stream).build())
        });
        Self { engine, lead: latest - delay(settings, rate), out: vec![0; block] }
    }

    /// Treats the newest block of `history`.
    fn run(&mut self, history: &[i16]) {
        let end = history.len() - self.lead;
        let input = &history[end - self.out.len()..end];
        let treated =
            self.engine.as_mut().is_some_and(|engine| engine.process_capture_i16(input, &mut self.out).is_ok());
        if !treated {
            self.out.copy_from_slice(input);
        }
    }

    /// Is told what the caller is played, a block before each that is treated. `unused` is overwritten.
    fn played(&mut self, block: &[i16], unused: &mut [i16]) {
        if let Some(engine) = &mut self.engine {
            // Fails for a block of another length, and there is none.
            let _ = engine.process_render_i16(block, unused);
        }
    }
}

/// The rates given to the library as they are, in Hz, with the samples by which it is late with noise suppression, with the
/// cancellation of echo and without both: measured, `every_setting_is_as_late_as_the_sound_it_replaces` holds them.
const DELAYS: [(usize, usize, usize, usize); 6] = [
    (8_000, 72, 87, 24),
    (16_000, 96, 127, 0),
    (24_000, 174, 221, 29),
    (32_000, 194, 257, 0),
    (44_100, 308, 394, 32),
    (48_000, 332, 426, 0),
];
/// Blocks of 8 ms by which the cancellation of echo makes noise suppression later.
const ECHO_BLOCKS_PER_SECOND: usize = 125;

/// Samples by which the library is late at one of its rates.
fn delay(settings: CallerSettings, rate: usize) -> usize {
    let (_, suppressing, cancelling, not) = DELAYS.into_iter().find(|(hz, ..)| *hz == rate).unwrap_or_default();
    match settings {
        CallerSettings { suppression: Some(_), echo_cancellation: true, .. } => {
            suppressing + rate / ECHO_BLOCKS_PER_SECOND
        }
        CallerSettings { suppression: Some(_), .. } => suppressing,
        CallerSettings { echo_cancellation: true, .. } => cancelling,
        CallerSettings { gain_control: true, .. } => not,
        _ => 0,
    }
}

/// The blocks at a rate the library takes.
struct Blocks {
    rate: usize,
    path: Path,
    /// What takes over, and for how many blocks it has been there.
    next: Option<(Path, u32)>,
    /// The last samples before the block, and the block as it fills.
    history: Vec<i16>,
    /// How many they are before the block: the longest delay of all settings.
    latest: usize,
    /// Samples still to be cut off the start.
    skip: usize,
    /// What the caller was played and is not paired with what they sent.
    reference: VecDeque<i16>,
    /// A block of it, and room for another.
    played: (Vec<i16>, Vec<i16>),
}

impl Blocks {
    fn new(rate: usize, settings: CallerSettings) -> Self {
        let everything = CallerSettings {
            suppression: Some(Suppression::Moderate),
            gain_control: true,
            echo_cancellation: settings.echo_cancellation,
        };
        let latest = delay(everything, rate);
        let mut history = Vec::with_capacity(latest + rate / BLOCKS_PER_SECOND);
        history.resize(latest, 0);
        let block = rate / BLOCKS_PER_SECOND;
        Self {
            rate,
            path: Path::new(settings, rate, latest),
            next: None,
            history,
            latest,
            skip: latest,
            reference: VecDeque::new(),
            played: (vec![0; block], vec![0; block]),
        }
    }

    fn set(&mut self, settings: CallerSettings) {
        // Of a change that is not complete, what is heard more stays.
        if let Some((path, blocks)) = self.next.take()
            && blocks > LEARNING
        {
            self.path = path;
        }
        self.next = Some((Path::new(settings, self.rate, self.latest), 0));
    }

    fn process(&mut self, mut samples: &[i16], out: &mut Vec<i16>) {
        let full = self.latest + self.rate / BLOCKS_PER_SECOND;
        while !samples.is_empty() {
            let (now, later) = samples.split_at(samples.len().min(full - self.history.len()));
            self.history.extend_from_slice(now);
            samples = later;
            if self.history.len() == full {
                self.run();
                let skipped = self.skip.min(self.path.out.len());
                self.skip -= skipped;
                out.extend_from_slice(&self.path.out[skipped..]);
                self.pass();
                self.history.drain(..full - self.latest);
            }
        }
        // More than may be early by: the call has given nothing to hear for a while, or the clocks differ.
        if self.reference.len() > self.rate * MOST_EARLY_MS / 1_000 {
            self.reference.drain(..self.reference.len() - self.rate * EARLY_MS / 1_000);
        }
    }

    /// Pairs the next block with what was played at its time.
    fn hear(&mut self) {
        let (block, unused) = &mut self.played;
        for sample in block.iter_mut() {
            *sample = self.reference.pop_front().unwrap_or(0);
        }
        self.path.played(block, unused);
        if let Some((next, _)) = &mut self.next {
            next.played(block, unused);
        }
    }

    /// One block, through the old way and, where there is one, the new.
    fn run(&mut self) {
        self.hear();
        self.path.run(&self.history);
        let Some((next, blocks)) = &mut self.next else { return };
        next.run(&self.history);
        *blocks += 1;
        let Some(passing) = blocks.checked_sub(LEARNING + 1) else { return };
        let total = (next.out.len() as u32 * PASSING) as f32;
        let at = passing * next.out.len() as u32;
        for (n, (old, new)) in (at + 1..).zip(self.path.out.iter_mut().zip(&next.out)) {
            let (from, to) = (f32::from(*old), f32::from(*new));
            *old = (from + (to - from) * (n as f32 / total)).round() as i16;
        }
    }

    /// Ends a change that is complete.
    fn pass(&mut self) {
        if let Some((path, _)) = self.next.take_if(|(_, blocks)| *blocks == LEARNING + PASSING) {
            self.path = path;
        }
    }
}

/// Noise suppression and gain control of one stream; see the [module](self).
pub struct CallerChain {
    rate: SampleRate,
    settings: CallerSettings,
    /// To a rate the library takes and back, where the stream's is none.
    around: Option<Around>,
    blocks: Blocks,
    samples_in: u64,
    samples_out: u64,
}

/// The way to another rate and back.
struct Around {
    there: Resampler,
    back: Resampler,
    /// There, for what the caller is played.
    reference: Resampler,
    narrow: Vec<i16>,
    treated: Vec<i16>,
}

impl CallerChain {
    /// A chain for one channel at `rate`. Costs up to some 1 ms and some 100 kB, by what is on.
    pub fn new(rate: SampleRate, settings: CallerSettings) -> Self {
        let hz = rate.hz() as usize;
        let fits = DELAYS.iter().any(|(rate, ..)| *rate == hz);
        let inner = if fits { rate } else { SampleRate::HZ_16000 };
        let around = (!fits).then(|| Around {
            there: Resampler::new(rate, inner, 1),
            back: Resampler::new(inner, rate, 1),
            reference: Resampler::new(rate, inner, 1),
            narrow: Vec::new(),
            treated: Vec::new(),
        });
        let blocks = Blocks::new(inner.hz() as usize, settings);
        Self { rate, settings, around, blocks, samples_in: 0, samples_out: 0 }
    }

    /// The rate of its sound.
    pub const fn rate(&self) -> SampleRate {
        self.rate
    }

    /// The settings last applied.
    pub const fn settings(&self) -> CallerSettings {
        self.settings
    }

    /// Changes what it does, within the next 250 ms of sound; whether echo is cancelled stays as it was made. Costs what a new chain
    /// costs.
    pub fn set(&mut self, settings: CallerSettings) {
        let settings = CallerSettings { echo_cancellation: self.settings.echo_cancellation, ..settings };
        if settings != self.settings {
            self.settings = settings;
            self.blocks.set(settings);
        }
    }

    /// The caller is played `samples`, at the rate of the chain: before [`process`](Self::process) of what they send at the same time.
    /// Does nothing where echo is not cancelled.
    pub fn played(&mut self, samples: &[i16]) {
        if !self.settings.echo_cancellation {
            return;
        }
        match &mut self.around {
            None => self.blocks.reference.extend(samples),
            Some(Around { reference, narrow, .. }) => {
                narrow.clear();
                reference.process(samples, narrow);
                self.blocks.reference.extend(narrow.iter());
            }
        }
    }

    /// Appends to `out` what `samples` complete. For each 10 ms 14 to 27 µs with noise suppression, 32 to 55 µs with gain control
    /// too.
    pub fn process(&mut self, samples: &[i16], out: &mut Vec<i16>) {
        self.samples_in += samples.len() as u64;
        let before = out.len();
        match &mut self.around {
            None => self.blocks.process(samples, out),
            Some(Around { there, back, narrow, treated, .. }) => {
                narrow.clear();
                treated.clear();
                there.process(samples, narrow);
                self.blocks.process(narrow, treated);
                back.process(treated, out);
            }
        }
        self.samples_out += (out.len() - before) as u64;
    }

    /// Ends the stream: appends the samples still owed and stands as new for the next one.
    pub fn drain(&mut self, out: &mut Vec<i16>) {
        let (owed, start) = (self.samples_in - self.samples_out, out.len());
        let end = start + owed as usize;
        let silence = [0; 480];
        while out.len() < end {
            self.process(&silence, out);
        }
        out.truncate(end);
        *self = Self::new(self.rate, self.settings);
    }
}

impl fmt::Debug for CallerChain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CallerChain({} Hz, {:?})", self.rate, self.settings)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use proptest::prelude::*;

    const RATES: [u32; 8] = [8_000, 11_025, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000];
    const NS: CallerSettings = CallerSettings { suppression: Some(Suppression::Moderate), ..CallerSettings::OFF };
    const AGC: CallerSettings = CallerSettings { gain_control: true, ..CallerSettings::OFF };
    const BOTH: CallerSettings = CallerSettings { suppression: Some(Suppression::Moderate), ..AGC };
    const AEC: CallerSettings = CallerSettings { echo_cancellation: true, ..CallerSettings::OFF };
    const ALL: CallerSettings = CallerSettings { echo_cancellation: true, ..BOTH };

    fn rate(hz: u32) -> SampleRate {
        SampleRate::new(hz).unwrap()
    }

    /// A voice at a rate: one of the telephone's band.
    fn voice(hz: u32) -> Vec<i16> {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/demo/voice.wav");
        let samples: Vec<i16> = hound::WavReader::open(path).unwrap().samples().map(Result::unwrap).collect();
        let mut out = Vec::new();
        let mut resampler = Resampler::new(SampleRate::HZ_8000, rate(hz), 1);
        resampler.process(&samples, &mut out);
        resampler.drain(&mut out);
        out.iter().map(|sample| sample / 2).collect()
    }

    fn noise(len: usize, amplitude: i32) -> Vec<i16> {
        let mut state = 4_711_u32;
        (0..len)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                ((state >> 16) as i32 % (2 * amplitude + 1) - amplitude) as i16
            })
            .collect()
    }

    fn treated(hz: u32, settings: CallerSettings, sound: &[i16]) -> Vec<i16> {
        let mut chain = CallerChain::new(rate(hz), settings);
        let mut out = Vec::new();
        sound.chunks(333).for_each(|chunk| chain.process(chunk, &mut out));
        chain.drain(&mut out);
        out
    }

    fn rms(samples: &[i16]) -> f64 {
        (samples.iter().map(|&s| f64::from(s).powi(2)).sum::<f64>() / samples.len() as f64).sqrt()
    }

    /// By how many samples `late` is behind `sound`, to the nearest.
    fn behind(sound: &[i16], late: &[i16], most: i64) -> i64 {
        let score = |lag: i64| {
            let at = |n: usize| late.get((n as i64 + lag) as usize).copied().map_or(0.0, f64::from);
            (most as usize..sound.len() - most as usize).map(|n| f64::from(sound[n]) * at(n)).sum::<f64>()
        };
        (-most..=most).max_by(|&a, &b| score(a).total_cmp(&score(b))).unwrap()
    }

    #[test]
    fn every_setting_is_as_late_as_the_sound_it_replaces() {
        for hz in RATES {
            let sound = &voice(hz)[..hz as usize / 2];
            for settings in [NS, AGC, BOTH, AEC, ALL] {
                let heard = treated(hz, settings, sound);
                assert_eq!(heard.len(), sound.len(), "{hz} {settings:?}");
                let behind = behind(sound, &heard, 24);
                assert!(behind.abs() <= 2, "{hz} {settings:?}: {behind} samples");
            }
        }
    }

    #[test]
    fn off_is_the_sound_as_it_came() {
        for (hz, ..) in DELAYS {
            let sound = noise(hz / 2 + 77, 32_767);
            assert!(treated(hz as u32, CallerSettings::OFF, &sound) == sound, "{hz}");
        }
    }

    #[test]
    fn noise_is_taken_off_and_the_voice_is_kept_at_every_rate() {
        for hz in RATES {
            let second = hz as usize;
            let mut sound = vec![0; 2 * second];
            sound.extend(voice(hz));
            let hiss = noise(sound.len(), 300);
            let mixed: Vec<i16> = sound.iter().zip(&hiss).map(|(&a, &b)| a.saturating_add(b)).collect();
            let heard = treated(hz, NS, &mixed);
            let db = |part: std::ops::Range<usize>| 20.0 * (rms(&heard[part.clone()]) / rms(&mixed[part])).log10();
            let (alone, voice) = (db(second..2 * second), db(2 * second..sound.len()));
            assert!(alone < -6.0, "noise alone {alone:.1} dB at {hz}");
            assert!((-3.0..1.0).contains(&voice), "voice {voice:.1} dB at {hz}");
        }
    }

    #[test]
    fn a_soft_voice_is_made_louder_and_a_loud_one_is_not() {
        for hz in [8_000, 16_000, 48_000] {
            let level = |divisor: i16| {
                let sound: Vec<i16> = voice(hz).repeat(4).iter().map(|sample| sample / divisor).collect();
                let heard = treated(hz, AGC, &sound);
                let last = sound.len() * 3 / 4;
                20.0 * (rms(&heard[last..]) / rms(&sound[last..])).log10()
            };
            let (soft, loud) = (level(16), level(1));
            assert!(soft > 6.0, "{soft:.1} dB at {hz}");
            assert!((-3.0..6.0).contains(&loud), "{loud:.1} dB at {hz}");
        }
    }

    #[test]
    fn no_change_of_settings_is_heard_as_a_click() {
        let edge = |sound: &[i16]| {
            let bend = |x: &[i16]| (i32::from(x[0]) - 2 * i32::from(x[1]) + i32::from(x[2])).abs();
            sound.windows(3).map(bend).max().unwrap()
        };
        let sound = crate::dsp::probe::tone(16_000, 200.0, 6_000.0, 48_000);
        for (before, after) in [(CallerSettings::OFF, BOTH), (BOTH, CallerSettings::OFF), (NS, AGC), (AGC, NS)] {
            let mut chain = CallerChain::new(rate(16_000), before);
            let mut out = Vec::new();
            chain.process(&sound[..24_000], &mut out);
            chain.set(after);
            chain.process(&sound[24_000..], &mut out);
            chain.drain(&mut out);
            let (all, calm) = (edge(&out[8_000..47_000]), edge(&sound));
            assert!(all <= 2 * calm + 60, "{before:?} to {after:?}: {all}, the tone {calm}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn cutting_is_not_heard_and_nothing_is_lost(
            chunks in prop::collection::vec(1_usize..900, 1..10), hz in prop::sample::select(RATES.to_vec()), len in 0_usize..9_000,
        ) {
            let sound = noise(len, 5_000);
            let mut lengths = chunks.iter().cycle();
            let run = |lengths: &mut dyn FnMut() -> usize| {
                let mut chain = CallerChain::new(rate(hz), NS);
                let (mut out, mut rest) = (Vec::new(), &sound[..]);
                while !rest.is_empty() {
                    let (now, later) = rest.split_at(rest.len().min(lengths()));
                    chain.process(now, &mut out);
                    rest = later;
                }
                chain.drain(&mut out);
                out
            };
            let whole = run(&mut || usize::MAX);
            prop_assert_eq!(whole.len(), len);
            prop_assert!(run(&mut || *lengths.next().unwrap()) == whole);
        }
    }
}
