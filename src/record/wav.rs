//! The header of a WAV file: two channels of S16LE.
//!
//! Pure. 44 bytes, the form every reader knows. Sizes in it are 32 bits wide, which bounds a file at [`MAX_DATA`] bytes of samples:
//! 37 hours at 8 kHz, 6 at 48 kHz.

use crate::units::SampleRate;

/// Channels of a recording: left the caller, right what the caller heard.
const CHANNELS: u16 = 2;
/// Bytes of one instant, both channels.
pub const FRAME_BYTES: u64 = 2 * CHANNELS as u64;
/// Bytes of the header.
pub const HEADER: u64 = 44;
/// Most bytes of samples: the size in the header counts 36 bytes more.
pub const MAX_DATA: u64 = (u32::MAX as u64 - 36) / FRAME_BYTES * FRAME_BYTES;

/// The header of a file with `data` bytes of samples, [`MAX_DATA`] at most: more is cut to that.
pub fn header(rate: SampleRate, data: u64) -> [u8; HEADER as usize] {
    let data = u32::try_from(data.min(MAX_DATA)).unwrap_or(u32::MAX);
    let frame = FRAME_BYTES as u32;
    let mut out = [0; HEADER as usize];
    let fields: [&[u8]; 13] = [
        b"RIFF",
        &(data + 36).to_le_bytes(),
        b"WAVE",
        b"fmt ",
        &16_u32.to_le_bytes(),
        &1_u16.to_le_bytes(),
        &CHANNELS.to_le_bytes(),
        &rate.hz().to_le_bytes(),
        &(rate.hz() * frame).to_le_bytes(),
        &(frame as u16).to_le_bytes(),
        &16_u16.to_le_bytes(),
        b"data",
        &data.to_le_bytes(),
    ];
    for (to, from) in out.iter_mut().zip(fields.into_iter().flatten()) {
        *to = *from;
    }
    out
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_header_is_what_other_readers_understand() {
        let mut file = header(SampleRate::HZ_16000, 8).to_vec();
        file.extend([1, 0, 2, 0, 255, 255, 254, 255]);
        let mut reader = hound::WavReader::new(&file[..]).unwrap();
        let spec = reader.spec();
        assert_eq!((spec.channels, spec.sample_rate, spec.bits_per_sample), (2, 16_000, 16));
        assert_eq!(reader.samples::<i16>().collect::<Result<Vec<_>, _>>().unwrap(), [1, 2, -1, -2]);
    }

    #[test]
    fn no_size_in_the_header_wraps() {
        let largest = header(SampleRate::HZ_48000, u64::MAX);
        let size = |at: usize| u32::from_le_bytes([largest[at], largest[at + 1], largest[at + 2], largest[at + 3]]);
        assert_eq!((u64::from(size(40)), size(4)), (MAX_DATA, size(40) + 36));
        assert!(MAX_DATA.is_multiple_of(FRAME_BYTES) && u64::from(u32::MAX) - MAX_DATA < 40 + FRAME_BYTES);
    }
}
