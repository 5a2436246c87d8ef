//! Listens to S16 mono audio the way the assertions need it: which tone, how loud, how clean, where, with what gaps.

use std::f64::consts::TAU;
use std::ops::Range;

/// Peak amplitude of the component at `hz` (Goertzel; a full-scale sine of that frequency gives 32 767). Frequencies
/// nearer to `hz` than `rate / samples.len()` leak into it.
pub fn amplitude(samples: &[i16], rate: u32, hz: f64) -> f64 {
    if samples.is_empty() {
        return 0.0;
    }
    let step = TAU * hz / f64::from(rate);
    let coefficient = 2.0 * step.cos();
    let (mut s1, mut s2) = (0.0_f64, 0.0_f64);
    for &sample in samples {
        let s0 = f64::from(sample) + coefficient * s1 - s2;
        s2 = s1;
        s1 = s0;
    }
    let power = s1 * s1 + s2 * s2 - coefficient * s1 * s2;
    2.0 * power.max(0.0).sqrt() / samples.len() as f64
}

/// Root mean square.
pub fn rms(samples: &[i16]) -> f64 {
    if samples.is_empty() {
        return 0.0;
    }
    (samples.iter().map(|&s| f64::from(s).powi(2)).sum::<f64>() / samples.len() as f64).sqrt()
}

/// The share of the energy, 0 to 1, that the tone at `hz` has.
pub fn share_of_tone(samples: &[i16], rate: u32, hz: f64) -> f64 {
    let total = rms(samples).powi(2);
    if total == 0.0 { 0.0 } else { (amplitude(samples, rate, hz).powi(2) / 2.0 / total).min(1.0) }
}

/// Signal to noise of a sine of exactly `hz`, in dB: the best-fitting sine and constant against all that remains.
pub fn snr_of_tone(samples: &[i16], rate: u32, hz: f64) -> f64 {
    // Least squares of [sin, cos, 1] by the 3x3 normal equations, exact for any length.
    let step = TAU * hz / f64::from(rate);
    let basis = |n: usize| {
        let (sin, cos) = (step * n as f64).sin_cos();
        [sin, cos, 1.0]
    };
    let mut matrix = [[0.0_f64; 4]; 3];
    for (n, &sample) in samples.iter().enumerate() {
        let b = basis(n);
        for row in 0..3 {
            for column in 0..3 {
                matrix[row][column] += b[row] * b[column];
            }
            matrix[row][3] += b[row] * f64::from(sample);
        }
    }
    let fit = solve(matrix);
    let (mut signal, mut noise) = (0.0, 0.0);
    for (n, &sample) in samples.iter().enumerate() {
        let b = basis(n);
        let tone = fit[0] * b[0] + fit[1] * b[1];
        signal += tone * tone;
        noise += (f64::from(sample) - tone - fit[2]).powi(2);
    }
    10.0 * (signal / noise.max(1e-9)).log10()
}

fn solve(mut m: [[f64; 4]; 3]) -> [f64; 3] {
    for pivot in 0..3 {
        let best = (pivot..3).max_by(|&a, &b| m[a][pivot].abs().total_cmp(&m[b][pivot].abs())).unwrap_or(pivot);
        m.swap(pivot, best);
        if m[pivot][pivot].abs() < 1e-12 {
            return [0.0; 3];
        }
        let pivot_row = m[pivot];
        for (index, row) in m.iter_mut().enumerate() {
            if index != pivot {
                let factor = row[pivot] / pivot_row[pivot];
                for (cell, above) in row.iter_mut().zip(pivot_row) {
                    *cell -= factor * above;
                }
            }
        }
    }
    [m[0][3] / m[0][0], m[1][3] / m[1][1], m[2][3] / m[2][2]]
}

/// Where a sine of `hz` is not one wave: the starts of blocks of `block` samples whose phase is off, by more than a tenth
/// of a turn, from where the block before leads. Samples lost, repeated or put in between do that.
pub fn seams(samples: &[i16], rate: u32, hz: f64, block: usize) -> Vec<usize> {
    let step = TAU * hz / f64::from(rate);
    let phase = |start: usize| {
        let parts = samples[start..start + block].iter().enumerate().map(|(n, &sample)| {
            let (sin, cos) = (step * (start + n) as f64).sin_cos();
            (f64::from(sample) * cos, f64::from(sample) * sin)
        });
        let (re, im) = parts.fold((0.0, 0.0), |sum, part| (sum.0 + part.0, sum.1 + part.1));
        f64::atan2(im, re)
    };
    let starts: Vec<_> = (0..samples.len() / block).map(|index| index * block).collect();
    let off = |pair: &&[usize]| {
        let turn = (phase(pair[1]) - phase(pair[0])).rem_euclid(TAU);
        turn.min(TAU - turn) > TAU / 10.0
    };
    starts.windows(2).filter(off).map(|pair| pair[1]).collect()
}

/// Where `needle` lies in `haystack` (its first sample's index) and how alike they are there: the normalised
/// cross-correlation, 1 for the same wave at any volume. Looked for by the needle's loudest 2 000
/// samples, so the needle must not be periodic.
pub fn find(haystack: &[i16], needle: &[i16]) -> (usize, f64) {
    assert!(!needle.is_empty() && haystack.len() >= needle.len(), "the needle must fit into the haystack");
    const EXCERPT: usize = 2_000;
    let excerpts = needle.chunks(EXCERPT).enumerate();
    let (index, excerpt) = excerpts.max_by(|a, b| rms(a.1).total_cmp(&rms(b.1))).unwrap_or((0, needle));
    let offset = index * EXCERPT;
    let lags = 0..=haystack.len() - needle.len();
    let score = |lag: usize| (lag, alike(&haystack[lag + offset..][..excerpt.len()], excerpt));
    let best = lags.map(score).max_by(|a, b| a.1.total_cmp(&b.1)).map_or(0, |(lag, _)| lag);
    (best, alike(&haystack[best..][..needle.len()], needle))
}

/// The normalised cross-correlation of two signals of the same length.
fn alike(a: &[i16], b: &[i16]) -> f64 {
    let (mut product, mut energy_a, mut energy_b) = (0_i64, 0_i64, 0_i64);
    for (&a, &b) in a.iter().zip(b) {
        let (a, b) = (i64::from(a), i64::from(b));
        product += a * b;
        energy_a += a * a;
        energy_b += b * b;
    }
    product as f64 / ((energy_a as f64).sqrt() * (energy_b as f64).sqrt()).max(1.0)
}

/// The largest difference between neighbours: a click is a step no wave of the signal makes.
pub fn max_step(samples: &[i16]) -> i32 {
    samples.windows(2).map(|pair| (i32::from(pair[1]) - i32::from(pair[0])).abs()).max().unwrap_or(0)
}

/// The stretches of at least `min` samples in which no sample is louder than `threshold`.
pub fn silences(samples: &[i16], threshold: i16, min: usize) -> Vec<Range<usize>> {
    stretches(samples.iter().map(|s| s.unsigned_abs() <= threshold.unsigned_abs()), min)
}

/// The stretches in which the tone at `hz` is there with at least `floor` of amplitude, looked at in blocks of
/// `block` samples: bounds are exact to one block.
pub fn tone_stretches(samples: &[i16], rate: u32, hz: f64, floor: f64, block: usize) -> Vec<Range<usize>> {
    stretches(samples.chunks(block).map(|chunk| amplitude(chunk, rate, hz) >= floor), 1)
        .into_iter()
        .map(|blocks| blocks.start * block..(blocks.end * block).min(samples.len()))
        .collect()
}

/// How many milliseconds of the tone at `hz` there are, in blocks of 20 ms with at least `floor` of amplitude.
pub fn tone_ms(samples: &[i16], rate: u32, hz: f64, floor: f64) -> u32 {
    let block = (rate / 50) as usize;
    let heard: usize = tone_stretches(samples, rate, hz, floor, block).iter().map(Range::len).sum();
    (heard as u64 * 1_000 / u64::from(rate)) as u32
}

fn stretches(holds: impl Iterator<Item = bool>, min: usize) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut start = None;
    let mut end = 0;
    for (index, holds) in holds.enumerate() {
        end = index + 1;
        match (holds, start) {
            (true, None) => start = Some(index),
            (false, Some(from)) => {
                found.push(from..index);
                start = None;
            }
            _ => {}
        }
    }
    found.extend(start.map(|from| from..end));
    found.retain(|stretch: &Range<usize>| stretch.len() >= min);
    found
}

/// One channel of interleaved samples.
pub fn channel(samples: &[i16], channels: usize, index: usize) -> Vec<i16> {
    samples.iter().skip(index).step_by(channels).copied().collect()
}
