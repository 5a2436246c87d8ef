//! How an agent's audio is coded: by its settings, of which only the session tells, and not the same in both directions.
//!
//! Pure.

use super::super::engine::InputFormat;
use crate::units::{Encoding, Law, SampleRate};

/// One of the service's formats, mono, by its name: `pcm_16000`, `ulaw_8000`, ….
pub(super) fn format(name: &str) -> Option<InputFormat> {
    let (encoding, rate) = name.split_once('_')?;
    match (encoding, SampleRate::from_hz(rate.parse().ok()?)?) {
        ("pcm", rate) => Some(InputFormat { rate, encoding: Encoding::S16Le }),
        ("ulaw", SampleRate::HZ_8000) => {
            Some(InputFormat { rate: SampleRate::HZ_8000, encoding: Encoding::G711(Law::Mu) })
        }
        _ => None,
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
            let format = format(name).unwrap();
            assert_eq!((format.rate.hz(), format.encoding.sample_bytes()), (hz, sample_bytes), "{name}");
        }
        for name in ["", "pcm", "ulaw_16000", "mp3_44100", "pcm_7999", "pcm_x", "opus_48000_32"] {
            assert!(format(name).is_none(), "{name}");
        }
    }
}
