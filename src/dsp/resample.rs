//! Changes the sampling rate of a stream without losing or adding a sample.
//!
//! On the worker's thread, owned by the code that converts one stream. Interleaved `i16` in chunks of any size in; out comes
//! the same sound at the other rate, its delay already cut off at the start, so that after [`Resampler::drain`] the number of
//! frames is exactly `round(frames in · to / from)` and the samples do not depend on how the input was cut into chunks. Nothing
//! is lost; up to one block (10 ms, up to 40 ms from 11 025 Hz) and the filter's delay wait inside until more arrives or the
//! stream is drained.
//!
//! The filter is rubato's FFT resampler with a Blackman window over 10 ms: flat to 3.4 kHz at 8 kHz, over 100 dB of stop
//! band, and the same number of samples from every block. Its block must hold a whole number of steps of both rates. Where that
//! would take longer than 50 ms (8 001 to 48 000 Hz) a windowed sinc of 256 taps takes over: ten times the work for rates
//! that nobody uses on purpose.

use audioadapter_buffers::direct::InterleavedSlice;
use rubato::{
    Async, Fft, FixedAsync, FixedSync, Resampler as Engine, SincInterpolationParameters, SincInterpolationType,
    WindowFunction,
};

use crate::units::SampleRate;

/// Blocks a second aimed at: 10 ms each.
const BLOCKS_PER_SECOND: usize = 100;
/// An FFT block longer than a second divided by this would be heard as delay: the sinc takes over.
const LONGEST_FFT_BLOCK: usize = 20;

/// A streaming change of rate; see the [module](self).
pub struct Resampler {
    from: SampleRate,
    to: SampleRate,
    channels: usize,
    /// Nothing where both rates are the same: samples pass as they are.
    filter: Option<Filter>,
}

/// What only a real change of rate needs.
struct Filter {
    engine: Box<dyn Engine<f32>>,
    /// Interleaved input of the block being filled; never more than one block.
    block: Vec<f32>,
    block_samples: usize,
    produced: Vec<f32>,
    /// Frames of delay still to be cut off the start.
    skip: usize,
    frames_in: u64,
    frames_out: u64,
}

impl Resampler {
    /// A resampler of `channels` interleaved channels. Some 20 µs and 20 kB where the rates differ, nothing where they are
    /// the same. `channels` of 0 counts as 1.
    pub fn new(from: SampleRate, to: SampleRate, channels: u16) -> Self {
        let channels = usize::from(channels.max(1));
        let filter = (from != to).then(|| Filter::new(from, to, channels));
        Self { from, to, channels, filter }
    }

    /// The rate of the input, in Hz.
    pub const fn from(&self) -> SampleRate {
        self.from
    }

    /// The rate of the output, in Hz.
    pub const fn to(&self) -> SampleRate {
        self.to
    }

    /// Appends to `out` what `input` (whole frames, any number of them) completes. 1 to 5 µs per 20 ms of one channel,
    /// least at 8 kHz, most at 48.
    pub fn process(&mut self, input: &[i16], out: &mut Vec<i16>) {
        match &mut self.filter {
            None => out.extend_from_slice(input),
            Some(filter) => filter.process(input, self.channels, out),
        }
    }

    /// Ends the stream: appends the frames still owed and stands as new for the next one.
    pub fn drain(&mut self, out: &mut Vec<i16>) {
        let owed = self.pending();
        if let Some(filter) = &mut self.filter {
            filter.drain(owed, self.channels, out);
            filter.reset();
        }
    }

    /// Forgets what is inside: the next sample starts a new stream.
    pub fn reset(&mut self) {
        if let Some(filter) = &mut self.filter {
            filter.reset();
        }
    }

    /// Frames that [`Self::drain`] would still give.
    pub fn pending(&self) -> usize {
        let Some(filter) = &self.filter else { return 0 };
        let (from, to) = (u128::from(self.from.hz()), u128::from(self.to.hz()));
        let total = (2 * u128::from(filter.frames_in) * to + from) / (2 * from);
        total.saturating_sub(u128::from(filter.frames_out)) as usize
    }
}

impl std::fmt::Debug for Resampler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Resampler({} to {} Hz, {} channels)", self.from, self.to, self.channels)
    }
}

impl Filter {
    fn new(from: SampleRate, to: SampleRate, channels: usize) -> Self {
        let engine = engine(from.hz() as usize, to.hz() as usize, channels);
        let block_samples = engine.input_frames_next() * channels;
        let produced = vec![0.0; engine.output_frames_max() * channels];
        let skip = engine.output_delay();
        Self {
            engine,
            block: Vec::with_capacity(block_samples),
            block_samples,
            produced,
            skip,
            frames_in: 0,
            frames_out: 0,
        }
    }

    fn process(&mut self, mut input: &[i16], channels: usize, out: &mut Vec<i16>) {
        self.frames_in += (input.len() / channels) as u64;
        while !input.is_empty() {
            let (now, later) = input.split_at(input.len().min(self.block_samples - self.block.len()));
            self.block.extend(now.iter().map(|&sample| f32::from(sample)));
            input = later;
            if self.block.len() == self.block_samples {
                self.run(channels, usize::MAX, out);
            }
        }
    }

    /// Feeds silence until the `owed` frames have come out.
    fn drain(&mut self, mut owed: usize, channels: usize, out: &mut Vec<i16>) {
        while owed > 0 {
            self.block.resize(self.block_samples, 0.0);
            owed -= self.run(channels, owed, out);
        }
    }

    /// Resamples the full block and appends at most `most` frames of it; returns how many.
    #[expect(clippy::expect_used, reason = "both buffers have the sizes the engine asked for, its only errors")]
    fn run(&mut self, channels: usize, most: usize, out: &mut Vec<i16>) -> usize {
        let (frames_in, frames_out) = (self.block.len() / channels, self.produced.len() / channels);
        let input = InterleavedSlice::new(&self.block, channels, frames_in).expect("block of whole frames");
        let mut output =
            InterleavedSlice::new_mut(&mut self.produced, channels, frames_out).expect("output of whole frames");
        let (_, made) = self.engine.process_into_buffer(&input, &mut output, None).expect("buffers of the right size");
        self.block.clear();

        let skipped = made.min(self.skip);
        self.skip -= skipped;
        let kept = (made - skipped).min(most);
        out.extend(self.produced[skipped * channels..(skipped + kept) * channels].iter().map(|&x| quantise(x)));
        self.frames_out += kept as u64;
        kept
    }

    fn reset(&mut self) {
        self.engine.reset();
        self.block.clear();
        self.skip = self.engine.output_delay();
        self.frames_in = 0;
        self.frames_out = 0;
    }
}

/// The engine for a pair of rates, in blocks of about 10 ms.
#[expect(
    clippy::expect_used,
    reason = "rubato refuses only rates, ratios and blocks of 0; SampleRate is 8 000 or more"
)]
fn engine(from: usize, to: usize, channels: usize) -> Box<dyn Engine<f32>> {
    let step = from / gcd(from, to);
    let block = (from / BLOCKS_PER_SECOND).div_ceil(step) * step;
    if block <= from / LONGEST_FFT_BLOCK {
        let fft = Fft::new_custom(from, to, block, 1, channels, WindowFunction::Blackman, FixedSync::Input);
        Box::new(fft.expect("rates and block above 0"))
    } else {
        let sinc = SincInterpolationParameters::new(256, WindowFunction::BlackmanHarris2)
            .oversampling_factor(128)
            .interpolation(SincInterpolationType::Cubic);
        let ratio = to as f64 / from as f64;
        let sinc = Async::new_sinc(ratio, 1.0, &sinc, from / BLOCKS_PER_SECOND, channels, FixedAsync::Input);
        Box::new(sinc.expect("ratio and block above 0"))
    }
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// The nearest `i16`, saturated. In integers after a shift to positive numbers, since `round` is a call per sample on
/// processors without SSE 4.1.
fn quantise(x: f32) -> i16 {
    ((x.clamp(-32_768.0, 32_767.0) + 32_768.5) as i32 - 32_768) as i16
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::dsp::probe::{amplitude_at, snr_db, tone};
    use proptest::prelude::*;

    const RATES: [u32; 9] = [8_000, 11_025, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 64_000];

    fn rate(hz: u32) -> SampleRate {
        SampleRate::new(hz).unwrap()
    }

    fn convert(from: u32, to: u32, channels: u16, chunks: &[&[i16]]) -> Vec<i16> {
        let mut resampler = Resampler::new(rate(from), rate(to), channels);
        let mut out = Vec::new();
        for chunk in chunks {
            resampler.process(chunk, &mut out);
        }
        resampler.drain(&mut out);
        out
    }

    fn expected(frames: usize, from: u32, to: u32) -> usize {
        (frames as f64 * f64::from(to) / f64::from(from)).round() as usize
    }

    fn all_pairs() -> impl Iterator<Item = (u32, u32)> {
        RATES.into_iter().flat_map(|from| RATES.into_iter().map(move |to| (from, to)))
    }

    #[test]
    fn a_tone_keeps_60_db_and_its_level_between_every_pair_of_rates() {
        for (from, to) in all_pairs() {
            let heard = convert(from, to, 1, &[&tone(from, 1_000.0, 12_000.0, from as usize)]);
            assert_eq!(heard.len(), to as usize, "{from} to {to}");
            let middle = &heard[to as usize / 4..to as usize * 3 / 4];
            let snr = snr_db(middle, to, 1_000.0);
            assert!(snr >= 60.0, "{from} to {to}: {snr:.1} dB");
            let level = amplitude_at(middle, to, 1_000.0);
            assert!((level - 12_000.0).abs() < 60.0, "{from} to {to}: {level:.0}");
        }
    }

    #[test]
    fn the_voice_band_of_a_telephone_passes_flat() {
        for (from, to) in [(8_000, 16_000), (16_000, 8_000), (24_000, 8_000), (8_000, 48_000), (48_000, 8_000)] {
            for hz in [300.0, 1_000.0, 3_000.0, 3_400.0] {
                let heard = convert(from, to, 1, &[&tone(from, hz, 10_000.0, from as usize)]);
                let level = amplitude_at(&heard[heard.len() / 4..heard.len() * 3 / 4], to, hz);
                assert!((level - 10_000.0).abs() < 60.0, "{from} to {to} at {hz} Hz: {level:.0}");
            }
        }
    }

    #[test]
    fn frequencies_above_the_lower_rate_are_removed_not_aliased() {
        for (from, to) in all_pairs().filter(|(from, to)| from > to) {
            let nyquist = f64::from(to) / 2.0;
            let above = (nyquist * 1.15).min(nyquist + (f64::from(from) / 2.0 - nyquist) * 0.5);
            if above < nyquist * 1.1 {
                continue; // 48 to 44.1 kHz: nothing between the two lies clear of the filter's edge.
            }
            let heard = convert(from, to, 1, &[&tone(from, above, 12_000.0, from as usize)]);
            let middle = &heard[heard.len() / 4..heard.len() * 3 / 4];
            let rms = (middle.iter().map(|&s| f64::from(s).powi(2)).sum::<f64>() / middle.len() as f64).sqrt();
            let left = 20.0 * (rms.max(0.1) / (12_000.0 / 2f64.sqrt())).log10();
            assert!(left <= -60.0, "{from} to {to}: a tone of {above:.0} Hz comes back at {left:.1} dB");
        }
    }

    #[test]
    fn equal_rates_pass_every_bit() {
        let all: Vec<i16> = (i16::MIN..=i16::MAX).collect();
        let mut resampler = Resampler::new(rate(8_000), rate(8_000), 1);
        let mut out = Vec::new();
        for chunk in all.chunks(77) {
            resampler.process(chunk, &mut out);
        }
        assert_eq!(out, all);
        assert_eq!(resampler.pending(), 0);
    }

    #[test]
    fn the_sound_is_neither_early_nor_late() {
        for (from, to) in [(8_000, 16_000), (24_000, 8_000), (16_000, 48_000), (44_100, 8_000)] {
            let mut click = vec![0_i16; from as usize / 5];
            click[from as usize / 10] = 20_000;
            let heard = convert(from, to, 1, &[&click]);
            let peak = heard.iter().enumerate().max_by_key(|(_, s)| s.unsigned_abs()).unwrap().0;
            assert_eq!(peak, to as usize / 10, "{from} to {to}");
        }
    }

    #[test]
    fn the_channels_stay_apart() {
        let (left, right) = (tone(48_000, 700.0, 9_000.0, 24_000), tone(48_000, 1_900.0, 5_000.0, 24_000));
        let both: Vec<i16> = left.iter().zip(&right).flat_map(|(&l, &r)| [l, r]).collect();
        let heard = convert(48_000, 16_000, 2, &[&both]);
        let alone = |channel: usize| heard.iter().skip(channel).step_by(2).copied().collect::<Vec<_>>();
        assert_eq!(alone(0), convert(48_000, 16_000, 1, &[&left]));
        assert_eq!(alone(1), convert(48_000, 16_000, 1, &[&right]));
    }

    #[test]
    fn full_scale_saturates_and_never_wraps() {
        let square: Vec<i16> = (0..8_000).map(|n| if n / 20 % 2 == 0 { i16::MAX } else { i16::MIN }).collect();
        let heard = convert(8_000, 48_000, 1, &[&square]);
        let wrong = heard.iter().enumerate().skip(200).take(46_000).filter(|(at, sample)| {
            let (period, within) = (at / 120 % 2, at % 120);
            (20..100).contains(&within) && (**sample > 0) != (period == 0)
        });
        assert_eq!(wrong.count(), 0);
        assert_eq!(
            (quantise(40_000.0), quantise(-40_000.0), quantise(0.4), quantise(-0.6)),
            (i16::MAX, i16::MIN, 0, -1)
        );
    }

    #[test]
    fn a_reset_forgets_and_a_drain_leaves_it_as_new() {
        let sound = tone(24_000, 440.0, 8_000.0, 5_003);
        let fresh = convert(24_000, 8_000, 1, &[&sound]);
        let mut used = Resampler::new(rate(24_000), rate(8_000), 1);
        let mut out = Vec::new();
        used.process(&tone(24_000, 3_000.0, 20_000.0, 1_234), &mut out);
        used.reset();
        assert_eq!(used.pending(), 0);
        for _ in 0..2 {
            out.clear();
            used.process(&sound, &mut out);
            used.drain(&mut out);
            assert_eq!(out, fresh);
        }
    }

    #[test]
    fn rates_without_a_common_step_are_exact_too() {
        for (from, to) in [(8_001, 48_000), (12_347, 8_000), (63_997, 8_000), (8_000, 63_997)] {
            let heard = convert(from, to, 1, &[&tone(from, 900.0, 12_000.0, from as usize)]);
            assert_eq!(heard.len(), to as usize, "{from} to {to}");
            let snr = snr_db(&heard[to as usize / 4..to as usize * 3 / 4], to, 900.0);
            assert!(snr >= 60.0, "{from} to {to}: {snr:.1} dB");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn counts_are_exact_and_chunking_is_not_heard(
            from in prop::sample::select(&RATES[..]),
            to in prop::sample::select(&RATES[..]),
            channels in 1_u16..=2,
            sizes in prop::collection::vec(0_usize..2_500, 0..12),
        ) {
            let frames: usize = sizes.iter().sum();
            let sound: Vec<i16> =
                (0..frames * usize::from(channels)).map(|n| ((n * 7_919) % 40_001) as i32 - 20_000).map(|s| s as i16).collect();
            let mut rest = &sound[..];
            let mut chunks = Vec::new();
            for size in sizes {
                let (chunk, later) = rest.split_at(size * usize::from(channels));
                chunks.push(chunk);
                rest = later;
            }
            let cut = convert(from, to, channels, &chunks);
            prop_assert_eq!(cut.len(), expected(frames, from, to) * usize::from(channels));
            prop_assert_eq!(cut, convert(from, to, channels, &[&sound]));
        }
    }
}
