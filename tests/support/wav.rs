//! 16-bit WAV files in and out.

use std::path::Path;

/// The contents of a WAV file.
#[derive(Clone, Debug)]
pub struct Wav {
    /// Samples a second of each channel.
    pub rate: u32,
    /// Interleaved channels.
    pub channels: u16,
    /// S16, interleaved.
    pub samples: Vec<i16>,
}

impl Wav {
    /// The samples of one channel, counted from 0 (left).
    pub fn channel(&self, index: u16) -> Vec<i16> {
        assert!(index < self.channels, "asked for channel {index} of {}", self.channels);
        self.samples.iter().skip(usize::from(index)).step_by(usize::from(self.channels)).copied().collect()
    }
}

/// Reads a 16-bit WAV file. A header whose length field was never finished (the writer is still at it) is an error.
pub fn read(path: &Path) -> Result<Wav, hound::Error> {
    let mut reader = hound::WavReader::open(path)?;
    let spec = reader.spec();
    let samples = reader.samples::<i16>().collect::<Result<Vec<_>, _>>()?;
    Ok(Wav { rate: spec.sample_rate, channels: spec.channels, samples })
}

/// Writes interleaved samples as a 16-bit WAV file.
pub fn write(path: &Path, rate: u32, channels: u16, samples: &[i16]) -> Result<(), hound::Error> {
    let spec =
        hound::WavSpec { channels, sample_rate: rate, bits_per_sample: 16, sample_format: hound::SampleFormat::Int };
    let mut writer = hound::WavWriter::create(path, spec)?;
    for &sample in samples {
        writer.write_sample(sample)?;
    }
    writer.finalize()
}
