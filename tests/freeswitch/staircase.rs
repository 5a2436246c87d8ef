//! An answer in which one hears which second is heard: each has a tone of its own, the staircase.

use super::stream::{LOUD, THERE};
use crate::support::{audio, signal};

/// The tone of a second, counted from 0, Hz.
pub fn hz(step: u32) -> f64 {
    f64::from(300 + 100 * step)
}

/// So many seconds at `rate`: 300, 400, 500 … Hz.
pub fn of(rate: u32, steps: u32) -> Vec<i16> {
    (0..steps).flat_map(|step| signal::tone(rate, hz(step), 1_000, LOUD)).collect()
}

/// Every second is heard for a second, in order.
#[track_caller]
pub fn assert_heard(heard: &[i16], rate: u32, steps: u32, what: &str) {
    let block = rate as usize / 100;
    let mut end = 0;
    for step in 0..steps {
        let stretches = audio::tone_stretches(heard, rate, hz(step), THERE, block);
        let ms: usize = stretches.iter().map(|stretch| stretch.len() * 10 / block).sum();
        assert!((960..=1_040).contains(&ms), "{what}: of second {step} {ms} ms are heard, {stretches:?}");
        let start = stretches.first().map_or(0, |stretch| stretch.start);
        assert!(start + 2 * block >= end, "{what}: second {step} is heard at {start}, before the one that precedes it");
        end = stretches.last().map_or(end, |stretch| stretch.end);
    }
}
