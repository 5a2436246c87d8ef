//! Where the model speaks: its audio is a stream that never pauses, and only what is no silence is handed on.
//!
//! ```text
//! stream   ····▁▁▁▁██████▁▁████████▁▁▁▁▁▁▁▁▁▁····
//! heard        [lead ██████▁▁████████ hangover]
//! ```
//! A little of the silence before a sound goes with it, so that no soft beginning is lost, and playback has a reserve against a network
//! that delivers unevenly. What is silent for longer takes its time by itself, since the stream comes as fast as it is heard.
//!
//! Pure; one for each connection. Holds less than one block, and the silence of one message or [`LEAD`].

use std::time::Duration;

use super::super::engine::InputFormat;
use crate::units::Encoding;

/// The stream is judged in pieces of this length.
const BLOCK: Duration = Duration::from_millis(20);
/// Silence before a sound that goes with it.
const LEAD: Duration = Duration::from_millis(100);
/// Silence after a sound that goes with it.
const HANGOVER: Duration = Duration::from_millis(200);
/// Root mean square above which a block is no silence: -64 dB of full scale, as livekit-agents 1.8.9 has it for this service.
const SOUND: f64 = 20.0;

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Gate {
    format: InputFormat,
    /// Bytes that make no block yet.
    rest: Vec<u8>,
    /// Silence that goes with the next sound.
    lead: Vec<u8>,
    open: bool,
    quiet: Duration,
}

impl Gate {
    /// For a stream in this format, which begins silent.
    pub(super) const fn new(format: InputFormat) -> Self {
        Self { format, rest: Vec::new(), lead: Vec::new(), open: false, quiet: Duration::ZERO }
    }

    /// What is to be heard of the next part of the stream.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Vec<u8> {
        let keep = self.format.bytes_in(LEAD);
        self.lead.drain(..self.lead.len().saturating_sub(keep));
        self.rest.extend_from_slice(bytes);
        let block = self.format.bytes_in(BLOCK).max(1);
        let whole = self.rest.len() / block * block;
        let stream: Vec<u8> = self.rest.drain(..whole).collect();
        let mut heard = Vec::new();
        for block in stream.chunks(block) {
            if rms(self.format.encoding, block) >= SOUND {
                heard.append(&mut self.lead);
                heard.extend_from_slice(block);
                (self.open, self.quiet) = (true, Duration::ZERO);
                continue;
            }
            self.quiet += BLOCK;
            self.open &= self.quiet <= HANGOVER;
            if self.open {
                heard.extend_from_slice(block);
            } else {
                self.lead.extend_from_slice(block);
            }
        }
        heard
    }

    /// Whether the model speaks, or did just now.
    pub(super) const fn is_open(&self) -> bool {
        self.open
    }

    /// How much of the stream has been silent since the last sound.
    pub(super) const fn quiet(&self) -> Duration {
        self.quiet
    }
}

/// How loud audio is, of 32,767.
pub(super) fn rms(encoding: Encoding, bytes: &[u8]) -> f64 {
    let pairs = || bytes.as_chunks::<2>().0.iter().copied();
    let samples: Vec<i16> = match encoding {
        Encoding::S16Le => pairs().map(i16::from_le_bytes).collect(),
        Encoding::S16Be => pairs().map(i16::from_be_bytes).collect(),
        Encoding::G711(law) => {
            let mut samples = Vec::with_capacity(bytes.len());
            law.decode(bytes, &mut samples);
            samples
        }
    };
    let power: f64 = samples.iter().map(|sample| f64::from(*sample).powi(2)).sum();
    (power / samples.len().max(1) as f64).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::{Law, SampleRate};

    const PCMU: InputFormat = InputFormat { rate: SampleRate::HZ_8000, encoding: Encoding::G711(Law::Mu) };
    const PCM: InputFormat = InputFormat { rate: SampleRate::HZ_16000, encoding: Encoding::S16Le };

    /// So many ms at this level.
    fn audio(format: InputFormat, level: i16, ms: usize) -> Vec<u8> {
        let samples: Vec<i16> =
            (0..format.rate.hz() as usize * ms / 1_000).map(|n| if n % 2 == 0 { level } else { -level }).collect();
        let mut bytes = Vec::new();
        crate::dsp::pcm::write_encoded(format.encoding, &samples, &mut bytes);
        bytes
    }

    fn ms(format: InputFormat, bytes: &[u8]) -> u128 {
        format.duration_of(bytes.len()).as_millis()
    }

    #[test]
    fn silence_is_not_heard_and_speech_keeps_its_edges() {
        for format in [PCMU, PCM] {
            let mut gate = Gate::new(format);
            assert_eq!((gate.push(&audio(format, 0, 3_000)).len(), gate.is_open()), (0, false));
            let heard = gate.push(&audio(format, 2_000, 100));
            // All of the silence of one message is heard that is in the middle of it, and of the message before it a little.
            assert_eq!((ms(format, &heard), gate.is_open()), (200, true));
            let pause = gate.push(&[audio(format, 0, 700), audio(format, 2_000, 100)].concat());
            assert_eq!(ms(format, &pause), 800, "a pause within one message is as long as it is");
            assert_eq!(ms(format, &gate.push(&audio(format, 0, 500))), 200);
            assert_eq!((gate.is_open(), gate.quiet().as_millis()), (false, 500));
        }
    }

    #[test]
    fn messages_may_be_cut_anywhere() {
        let stream = [audio(PCM, 0, 200), audio(PCM, 900, 300), audio(PCM, 0, 400)].concat();
        let mut gate = Gate::new(PCM);
        let heard: Vec<u8> = stream.chunks(333).flat_map(|part| gate.push(part)).collect();
        let at = stream.windows(heard.len()).position(|window| window == heard);
        // 100 ms before the speech, and 200 ms behind it.
        assert_eq!((at, ms(PCM, &heard)), (Some(PCM.bytes_in(Duration::from_millis(100))), 600));
    }

    #[test]
    fn the_codes_of_g711_next_to_silence_are_silence() {
        let mut gate = Gate::new(PCMU);
        assert_eq!(gate.push(&[0xff, 0x7f, 0xfe, 0x7e].repeat(4_000)), [0; 0]);
        assert!(rms(Encoding::G711(Law::A), &[0xd5, 0x55].repeat(80)) < SOUND);
    }
}
