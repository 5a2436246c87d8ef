//! How an agent's audio is coded: by its settings, of which only the session tells, and not the same in both directions.
//!
//! Pure; one of each for every connection. Up to 10 ms of the caller's audio wait in a change of rate, and half a sample of the agent's.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::dsp::Resampler;
use crate::dsp::pcm::{ByteCarry, write_encoded};
use crate::peer::MonoAudio;
use crate::units::{Encoding, Law, SampleRate};

/// One of the service's formats, mono: `pcm_16000`, `ulaw_8000`, ….
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct AudioFormat {
    pub(super) rate: SampleRate,
    pub(super) encoding: Encoding,
}

impl FromStr for AudioFormat {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        let (encoding, rate) = name.split_once('_').ok_or(())?;
        let rate = rate.parse().ok().and_then(SampleRate::from_hz).ok_or(())?;
        match (encoding, rate) {
            ("pcm", rate) => Ok(Self { rate, encoding: Encoding::S16Le }),
            ("ulaw", SampleRate::HZ_8000) => Ok(Self { rate, encoding: Encoding::G711(Law::Mu) }),
            _ => Err(()),
        }
    }
}

/// Codes the caller's audio as the agent expects it.
pub(super) struct Coder {
    format: AudioFormat,
    resampler: Resampler,
    carry: ByteCarry,
}

impl fmt::Debug for Coder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Coder({:?} to {:?})", self.resampler, self.format)
    }
}

impl Coder {
    /// From linear samples of this rate.
    pub(super) fn new(from: SampleRate, format: AudioFormat) -> Self {
        Self { format, resampler: Resampler::new(from, format.rate, 1), carry: ByteCarry::new() }
    }

    /// What S16LE `bytes` complete, coded, and how long that lasts.
    pub(super) fn push(&mut self, bytes: &[u8]) -> (Vec<u8>, Duration) {
        let (mut linear, mut samples, mut coded) = (Vec::new(), Vec::new(), Vec::new());
        self.carry.push(bytes, &mut linear);
        self.resampler.process(&linear, &mut samples);
        write_encoded(self.format.encoding, &samples, &mut coded);
        (coded, self.format.rate.duration_of(samples.len() as u64))
    }
}

/// Reads the agent's audio.
#[derive(Debug)]
pub(super) struct Decoder {
    format: AudioFormat,
    carry: ByteCarry,
}

impl Decoder {
    pub(super) const fn new(format: AudioFormat) -> Self {
        Self { format, carry: ByteCarry::new() }
    }

    /// The audio that `bytes` complete.
    pub(super) fn push(&mut self, bytes: Vec<u8>) -> MonoAudio {
        match self.format.encoding {
            Encoding::G711(Law::Mu) => MonoAudio::Mulaw(bytes),
            Encoding::G711(Law::A) => MonoAudio::Alaw(bytes),
            Encoding::S16Le | Encoding::S16Be => {
                let mut samples = Vec::with_capacity(bytes.len() / 2);
                self.carry.push(&bytes, &mut samples);
                MonoAudio::Pcm { samples, rate: self.format.rate }
            }
        }
    }

    /// What the agent was saying is over: the next byte begins a sample.
    pub(super) const fn reset(&mut self) {
        self.carry.reset();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn every_format_of_the_service_is_known_and_no_other() {
        for (name, hz, sample_bytes) in [
            ("pcm_8000", 8_000, 2),
            ("pcm_16000", 16_000, 2),
            ("pcm_22050", 22_050, 2),
            ("pcm_24000", 24_000, 2),
            ("pcm_44100", 44_100, 2),
            ("pcm_48000", 48_000, 2),
            ("ulaw_8000", 8_000, 1),
        ] {
            let format: AudioFormat = name.parse().unwrap();
            assert_eq!((format.rate.hz(), format.encoding.sample_bytes()), (hz, sample_bytes), "{name}");
        }
        for name in ["", "pcm", "ulaw_16000", "mp3_44100", "pcm_7999", "pcm_x", "opus_48000_32"] {
            assert!(name.parse::<AudioFormat>().is_err(), "{name}");
        }
    }

    #[test]
    fn the_callers_audio_lasts_as_long_in_every_format() {
        let second: Vec<u8> = (0..16_000_i32).flat_map(|n| ((n * 37 % 8_000) as i16).to_le_bytes()).collect();
        for name in ["pcm_8000", "pcm_16000", "pcm_22050", "pcm_24000", "pcm_44100", "pcm_48000", "ulaw_8000"] {
            let format: AudioFormat = name.parse().unwrap();
            let mut coder = Coder::new(SampleRate::HZ_16000, format);
            let (mut bytes, mut lasts) = (0, Duration::ZERO);
            for frame in second.chunks(633) {
                let (coded, duration) = coder.push(frame);
                bytes += coded.len();
                lasts += duration;
            }
            let of_bytes = format.rate.duration_of((bytes / format.encoding.sample_bytes()) as u64);
            assert!(lasts.abs_diff(of_bytes) < Duration::from_micros(100), "{name}: {lasts:?} {of_bytes:?}");
            assert!((940..=1_000).contains(&lasts.as_millis()), "{name}: {lasts:?}");
        }
    }

    #[test]
    fn what_is_of_the_calls_rate_passes_as_it_is() {
        let law: Vec<u8> = (0..=255).collect();
        let mut linear = Vec::new();
        Law::Mu.decode(&law, &mut linear);
        let bytes: Vec<u8> = linear.iter().flat_map(|sample| sample.to_le_bytes()).collect();
        let mut coder = Coder::new(SampleRate::HZ_8000, "ulaw_8000".parse().unwrap());
        let (coded, _) = coder.push(&bytes);
        // Both zeros are one in linear samples.
        let same = coded.iter().zip(&law).filter(|(coded, law)| coded != law).map(|(_, law)| *law).collect::<Vec<_>>();
        assert!(same.is_empty() || same == [0x7f], "{same:?}");
        let mut coder = Coder::new(SampleRate::HZ_8000, "pcm_8000".parse().unwrap());
        assert_eq!(coder.push(&bytes).0, bytes);
    }

    #[test]
    fn a_sample_divided_between_two_messages_is_put_together() {
        let mut decoder = Decoder::new("pcm_24000".parse().unwrap());
        let mut heard = Vec::new();
        for part in [vec![1_u8], vec![2, 3], vec![4, 5, 6]] {
            let MonoAudio::Pcm { samples, rate } = decoder.push(part) else { unreachable!() };
            assert_eq!(rate, SampleRate::HZ_24000);
            heard.extend(samples);
        }
        assert_eq!(heard, [0x0201, 0x0403, 0x0605]);
    }
}
