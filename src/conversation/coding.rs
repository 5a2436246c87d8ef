//! Audio that is coded as a service says in the session, each direction by itself.
//!
//! Pure; one of each for every connection. Up to 10 ms of the caller's audio wait in a change of rate, and half a sample of the agent's.

use std::fmt;
use std::time::Duration;

use super::engine::InputFormat;
use crate::dsp::Resampler;
use crate::dsp::pcm::{ByteCarry, write_encoded};
use crate::peer::MonoAudio;
use crate::units::{Encoding, Law, SampleRate};

/// Codes the caller's audio as the service expects it.
pub(in crate::conversation) struct Coder {
    format: InputFormat,
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
    pub(in crate::conversation) fn new(from: SampleRate, format: InputFormat) -> Self {
        Self { format, resampler: Resampler::new(from, format.rate, 1), carry: ByteCarry::new() }
    }

    /// What S16LE `bytes` complete, coded, and how long that lasts.
    pub(in crate::conversation) fn push(&mut self, bytes: &[u8]) -> (Vec<u8>, Duration) {
        let (mut linear, mut samples, mut coded) = (Vec::new(), Vec::new(), Vec::new());
        self.carry.push(bytes, &mut linear);
        self.resampler.process(&linear, &mut samples);
        write_encoded(self.format.encoding, &samples, &mut coded);
        (coded, self.format.rate.duration_of(samples.len() as u64))
    }
}

/// Reads the agent's audio.
#[derive(Debug)]
pub(in crate::conversation) struct Decoder {
    format: InputFormat,
    carry: ByteCarry,
}

impl Decoder {
    pub(in crate::conversation) const fn new(format: InputFormat) -> Self {
        Self { format, carry: ByteCarry::new() }
    }

    /// The audio that `bytes` complete.
    pub(in crate::conversation) fn push(&mut self, bytes: Vec<u8>) -> MonoAudio {
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
    pub(in crate::conversation) const fn reset(&mut self) {
        self.carry.reset();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ULAW: InputFormat = InputFormat { rate: SampleRate::HZ_8000, encoding: Encoding::G711(Law::Mu) };

    fn pcm(rate: SampleRate) -> InputFormat {
        InputFormat { rate, encoding: Encoding::S16Le }
    }

    #[test]
    fn the_callers_audio_lasts_as_long_in_every_format() {
        let second: Vec<u8> = (0..16_000_i32).flat_map(|n| ((n * 37 % 8_000) as i16).to_le_bytes()).collect();
        let rates = [8_000, 16_000, 22_050, 24_000, 44_100, 48_000].into_iter().filter_map(SampleRate::from_hz);
        for format in rates.map(pcm).chain([ULAW]) {
            let mut coder = Coder::new(SampleRate::HZ_16000, format);
            let (mut bytes, mut lasts) = (0, Duration::ZERO);
            for frame in second.chunks(633) {
                let (coded, duration) = coder.push(frame);
                bytes += coded.len();
                lasts += duration;
            }
            let of_bytes = format.rate.duration_of((bytes / format.encoding.sample_bytes()) as u64);
            assert!(lasts.abs_diff(of_bytes) < Duration::from_micros(100), "{format:?}: {lasts:?} {of_bytes:?}");
            assert!((940..=1_000).contains(&lasts.as_millis()), "{format:?}: {lasts:?}");
        }
    }

    #[test]
    fn what_is_of_the_calls_rate_passes_as_it_is() {
        let law: Vec<u8> = (0..=255).collect();
        let mut linear = Vec::new();
        Law::Mu.decode(&law, &mut linear);
        let bytes: Vec<u8> = linear.iter().flat_map(|sample| sample.to_le_bytes()).collect();
        let mut coder = Coder::new(SampleRate::HZ_8000, ULAW);
        let (coded, _) = coder.push(&bytes);
        // Both zeros are one in linear samples.
        let same = coded.iter().zip(&law).filter(|(coded, law)| coded != law).map(|(_, law)| *law).collect::<Vec<_>>();
        assert!(same.is_empty() || same == [0x7f], "{same:?}");
        let mut coder = Coder::new(SampleRate::HZ_8000, pcm(SampleRate::HZ_8000));
        assert_eq!(coder.push(&bytes).0, bytes);
    }

    #[test]
    fn a_sample_divided_between_two_messages_is_put_together() {
        let mut decoder = Decoder::new(pcm(SampleRate::HZ_24000));
        let mut heard = Vec::new();
        for part in [vec![1_u8], vec![2, 3], vec![4, 5, 6]] {
            let MonoAudio::Pcm { samples, rate } = decoder.push(part) else { unreachable!() };
            assert_eq!(rate, SampleRate::HZ_24000);
            heard.extend(samples);
        }
        assert_eq!(heard, [0x0201, 0x0403, 0x0605]);
    }
}
