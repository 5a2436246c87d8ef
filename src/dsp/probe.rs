//! Measuring instruments of the tests: tones and what is left of them.

use std::f64::consts::TAU;

/// `len` samples of a sine of `amplitude` at `hz`.
pub(crate) fn tone(rate: u32, hz: f64, amplitude: f64, len: usize) -> Vec<i16> {
    (0..len).map(|n| (amplitude * (TAU * hz * n as f64 / f64::from(rate)).sin()).round() as i16).collect()
}

/// Sine and cosine parts of `hz` that fit `samples` best.
fn fit(samples: &[i16], rate: u32, hz: f64) -> (f64, f64) {
    let (mut ss, mut cc, mut sc, mut xs, mut xc) = (0.0, 0.0, 0.0, 0.0, 0.0);
    for (n, &x) in samples.iter().enumerate() {
        let (s, c) = (TAU * hz * n as f64 / f64::from(rate)).sin_cos();
        ss += s * s;
        cc += c * c;
        sc += s * c;
        xs += f64::from(x) * s;
        xc += f64::from(x) * c;
    }
    let det = ss * cc - sc * sc;
    ((xs * cc - xc * sc) / det, (xc * ss - xs * sc) / det)
}

/// Amplitude of `hz` in `samples`.
pub(crate) fn amplitude_at(samples: &[i16], rate: u32, hz: f64) -> f64 {
    let (a, b) = fit(samples, rate, hz);
    a.hypot(b)
}

/// How far everything that is not the tone of `hz` lies below it.
pub(crate) fn snr_db(samples: &[i16], rate: u32, hz: f64) -> f64 {
    let (a, b) = fit(samples, rate, hz);
    let (mut signal, mut noise) = (0.0, 0.0);
    for (n, &x) in samples.iter().enumerate() {
        let (s, c) = (TAU * hz * n as f64 / f64::from(rate)).sin_cos();
        let ideal = a * s + b * c;
        signal += ideal * ideal;
        noise += (f64::from(x) - ideal).powi(2);
    }
    10.0 * (signal / noise.max(1e-9)).log10()
}
