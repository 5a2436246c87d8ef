//! Test signals, the same on every run.

use std::f64::consts::TAU;

/// `ms` milliseconds of a sine of `hz`, peak `amplitude`, starting at 0.
pub fn tone(rate: u32, hz: f64, ms: u32, amplitude: f64) -> Vec<i16> {
    let step = TAU * hz / f64::from(rate);
    (0..samples(rate, ms)).map(|n| (amplitude * (step * n as f64).sin()).round() as i16).collect()
}

/// `ms` milliseconds of silence.
pub fn silence(rate: u32, ms: u32) -> Vec<i16> {
    vec![0; samples(rate, ms)]
}

/// Speech-like sound: syllables of harmonics on a wandering pitch under two formants, with pauses, its loudest sample
/// at 0.6 of full scale. No stretch resembles another, so cross-correlation finds one place only.
pub fn speech(rate: u32, ms: u32, seed: u64) -> Vec<i16> {
    let mut random = Random(seed | 1);
    let total = samples(rate, ms);
    let mut out = Vec::with_capacity(total + rate as usize);
    let mut phase = 0.0_f64;
    while out.len() < total {
        let length = samples(rate, 120 + random.below(180));
        let pitch_from = 90.0 + f64::from(random.below(60));
        let pitch_to = pitch_from * (0.8 + f64::from(random.below(40)) / 100.0);
        let formants = [300.0 + f64::from(random.below(500)), 1_000.0 + f64::from(random.below(1_400))];
        for n in 0..length {
            let at = n as f64 / length as f64;
            let pitch = pitch_from + (pitch_to - pitch_from) * at;
            phase = (phase + TAU * pitch / f64::from(rate)) % TAU;
            let envelope = (std::f64::consts::PI * at).sin();
            let harmonics = (1..)
                .map(|harmonic| (harmonic, pitch * f64::from(harmonic)))
                .take_while(|(_, hz)| *hz < 3_400.0)
                .map(|(harmonic, hz)| {
                    let gain: f64 = formants.iter().map(|f| 1.0 / (1.0 + ((hz - f) / 120.0).powi(2))).sum();
                    gain * (phase * f64::from(harmonic)).sin()
                });
            out.push(envelope * harmonics.sum::<f64>());
        }
        out.resize(out.len() + samples(rate, 20 + random.below(60)), 0.0);
    }
    out.truncate(total);
    let peak = out.iter().fold(1e-9_f64, |peak, x| peak.max(x.abs()));
    out.into_iter().map(|x| (x / peak * 0.6 * f64::from(i16::MAX)).round() as i16).collect()
}

/// Interleaves two channels of the same length.
pub fn interleave(left: &[i16], right: &[i16]) -> Vec<i16> {
    assert_eq!(left.len(), right.len(), "both channels have the same length");
    left.iter().zip(right).flat_map(|(&l, &r)| [l, r]).collect()
}

/// S16LE, as it travels on the wire.
pub fn to_bytes(samples: &[i16]) -> Vec<u8> {
    samples.iter().flat_map(|sample| sample.to_le_bytes()).collect()
}

/// The samples of S16LE bytes; panics at an odd length.
pub fn from_bytes(bytes: &[u8]) -> Vec<i16> {
    assert!(bytes.len().is_multiple_of(2), "{} bytes are no whole number of samples", bytes.len());
    bytes.chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]])).collect()
}

/// Samples of one channel in `ms` milliseconds.
pub fn samples(rate: u32, ms: u32) -> usize {
    (u64::from(rate) * u64::from(ms) / 1_000) as usize
}

/// xorshift64*: enough to make a signal, or a test, irregular and the same again.
pub struct Random(u64);

impl Random {
    /// The numbers of this seed.
    pub fn new(seed: u64) -> Self {
        // Spread over all bits, so that neighbours among seeds have nothing in common; never 0.
        Self(seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number below `limit`.
    pub fn below(&mut self, limit: u32) -> u32 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        ((self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % u64::from(limit)) as u32
    }
}
