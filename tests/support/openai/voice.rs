//! What the service says as samples, how it is coded on the wire, and how much of it a caller has heard.

use std::f64::consts::TAU;
use std::sync::Arc;

use audio_codec_algorithms::{decode_alaw, decode_ulaw, encode_alaw, encode_ulaw};
use serde_json::Value;

use crate::support::{audio, signal};

/// How audio is coded on the wire.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Coding {
    /// S16LE at 24 kHz.
    Pcm24k,
    /// S16LE at 16 kHz, which no session has, but the parts of a cascade and hosted agents.
    Pcm16k,
    /// S16LE at 8 kHz, which hosted agents have.
    Pcm8k,
    /// G.711 µ-law at 8 kHz.
    Pcmu,
    /// G.711 A-law at 8 kHz.
    Pcma,
}

impl Coding {
    /// Of a session's `format`, which has been checked.
    pub fn of(format: &Value) -> Self {
        match format["type"].as_str() {
            Some("audio/pcmu") => Self::Pcmu,
            Some("audio/pcma") => Self::Pcma,
            _ => Self::Pcm24k,
        }
    }

    /// Samples a second.
    pub fn rate(self) -> u32 {
        match self {
            Self::Pcm24k => 24_000,
            Self::Pcm16k => 16_000,
            Self::Pcm8k | Self::Pcmu | Self::Pcma => 8_000,
        }
    }

    /// Bytes of a sample.
    pub fn sample_bytes(self) -> usize {
        if matches!(self, Self::Pcmu | Self::Pcma) { 1 } else { 2 }
    }

    /// Bytes of this many milliseconds.
    pub fn bytes(self, ms: u64) -> usize {
        (u64::from(self.rate()) * ms / 1_000) as usize * self.sample_bytes()
    }

    /// Milliseconds that this many bytes last, cut.
    pub fn ms(self, bytes: usize) -> u64 {
        (bytes / self.sample_bytes()) as u64 * 1_000 / u64::from(self.rate())
    }

    /// The samples of whole bytes; half a sample at the end is an error of the client's.
    pub fn decode(self, bytes: &[u8]) -> Option<Vec<i16>> {
        match self {
            Self::Pcm24k | Self::Pcm16k | Self::Pcm8k if !bytes.len().is_multiple_of(2) => None,
            Self::Pcm24k | Self::Pcm16k | Self::Pcm8k => Some(signal::from_bytes(bytes)),
            Self::Pcmu => Some(bytes.iter().map(|&byte| decode_ulaw(byte)).collect()),
            Self::Pcma => Some(bytes.iter().map(|&byte| decode_alaw(byte)).collect()),
        }
    }

    /// The bytes of samples.
    pub fn encode(self, samples: &[i16]) -> Vec<u8> {
        match self {
            Self::Pcm24k | Self::Pcm16k | Self::Pcm8k => signal::to_bytes(samples),
            Self::Pcmu => samples.iter().map(|&sample| encode_ulaw(sample)).collect(),
            Self::Pcma => samples.iter().map(|&sample| encode_alaw(sample)).collect(),
        }
    }
}

/// Something that can be said.
#[derive(Clone, Debug)]
pub enum Voice {
    /// A sine.
    Tone {
        /// Hz.
        hz: f64,
        /// Milliseconds.
        ms: u32,
    },
    /// A chord without a period, another for each seed: any part of it is found in one place only, and it never pauses, so
    /// that where it was cut is seen to a few milliseconds.
    Chord {
        /// Which.
        seed: u64,
        /// Milliseconds.
        ms: u32,
    },
    /// Stored audio.
    Recorded {
        /// Its rate.
        rate: u32,
        /// Mono.
        samples: Arc<Vec<i16>>,
    },
}

impl Voice {
    /// The samples at this rate.
    pub fn samples(&self, rate: u32) -> Vec<i16> {
        match self {
            Self::Tone { hz, ms } => signal::tone(rate, *hz, *ms, 8_000.0),
            Self::Chord { seed, ms } => chord(rate, *ms, *seed),
            Self::Recorded { rate: own, samples } if *own == rate => samples.to_vec(),
            Self::Recorded { rate: own, samples } => resample(samples, *own, rate),
        }
    }
}

/// Two dozen sines between 300 and 3300 Hz, the same at every rate.
pub fn chord(rate: u32, ms: u32, seed: u64) -> Vec<i16> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut random = || {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        (state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11) as f64 / (1_u64 << 53) as f64
    };
    let sines: Vec<(f64, f64)> = (0..24).map(|_| (300.0 + 3_000.0 * random(), TAU * random())).collect();
    let at = |n: usize| -> f64 {
        let time = n as f64 / f64::from(rate);
        sines.iter().map(|(hz, phase)| 900.0 * (TAU * hz * time + phase).sin()).sum()
    };
    (0..signal::samples(rate, ms)).map(|n| at(n).round() as i16).collect()
}

/// Windowed sinc, 32 zero crossings wide: slow, and good enough for a voice.
fn resample(samples: &[i16], from: u32, to: u32) -> Vec<i16> {
    let step = f64::from(from) / f64::from(to);
    let cutoff = (1.0 / step).min(1.0) * 0.95;
    let reach = (16.0 / cutoff).ceil();
    let length = (samples.len() as f64 / step) as usize;
    let at = |n: usize| {
        let centre = n as f64 * step;
        let first = (centre - reach).ceil().max(0.0) as usize;
        let last = ((centre + reach).floor() as usize).min(samples.len().saturating_sub(1));
        let sum: f64 = (first..=last)
            .map(|k| {
                let x = k as f64 - centre;
                let window = 0.5 + 0.5 * (std::f64::consts::PI * x / reach).cos();
                let y = std::f64::consts::PI * x * cutoff;
                let sinc = if y.abs() < 1e-9 { 1.0 } else { y.sin() / y };
                f64::from(samples[k]) * sinc * window * cutoff
            })
            .sum();
        sum.clamp(-32_768.0, 32_767.0) as i16
    };
    (0..length).map(at).collect()
}

/// How much of `said` is in `recording`, both of this rate, from its beginning on without a gap: the first sample of it in the
/// recording, and how many milliseconds follow before something else or nothing does. `None` where not even its first 60 ms
/// are there. Exact to 2 ms, where `said` is not silent there.
pub fn heard_ms(recording: &[i16], said: &[i16], rate: u32) -> Option<(usize, f64)> {
    let opening = &said[..said.len().min(rate as usize * 3 / 50)];
    let start = locate(recording, opening)?;
    let block = rate as usize / 500;
    // Short blocks are compared by what is left when one is taken from the other, against the loudness around.
    let around = audio::rms(said) / 10.0;
    let mut end = opening.len();
    for (at, wanted) in said.chunks_exact(block).enumerate() {
        let from = start + at * block;
        let Some(heard) = recording.get(from..from + block) else { break };
        let left: Vec<i16> = heard.iter().zip(wanted).map(|(a, b)| a.saturating_sub(*b)).collect();
        let level = audio::rms(wanted);
        // Its beginning is there: it may have been faded in.
        if level < around || (at + 1) * block <= opening.len() {
            continue;
        }
        if audio::rms(&left) > level * 0.5 {
            break;
        }
        end = (at + 1) * block;
    }
    Some((start, end as f64 * 1_000.0 / f64::from(rate)))
}

/// Where `needle` lies in `haystack`, by normalised cross-correlation of at least 0.9; what is a lot quieter is not looked at.
fn locate(haystack: &[i16], needle: &[i16]) -> Option<usize> {
    let energy = |samples: &[i16]| samples.iter().map(|&s| i64::from(s) * i64::from(s)).sum::<i64>();
    let own = energy(needle);
    let mut here = energy(haystack.get(..needle.len())?);
    let mut best = (0, 0.0);
    for lag in 0..=haystack.len() - needle.len() {
        if lag > 0 {
            let (gone, come) = (i64::from(haystack[lag - 1]), i64::from(haystack[lag + needle.len() - 1]));
            here += come * come - gone * gone;
        }
        if here < own / 16 {
            continue;
        }
        let pairs = haystack[lag..].iter().zip(needle);
        let product: i64 = pairs.map(|(&a, &b)| i64::from(a) * i64::from(b)).sum();
        let alike = product as f64 / ((here as f64).sqrt() * (own as f64).sqrt()).max(1.0);
        if alike > best.1 {
            best = (lag, alike);
        }
    }
    (best.1 > 0.9).then_some(best.0)
}
