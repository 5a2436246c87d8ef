//! Where a sound that an operator has prepared comes from.

use std::fmt;
use std::path::PathBuf;

/// Where a sound comes from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SoundSource {
    /// A WAV, MP3 or Ogg Vorbis file.
    File(PathBuf),
    /// Soft noise, as of a line on which nobody speaks.
    ComfortNoise,
}

impl SoundSource {
    /// A file by its absolute path. The error completes "bad value: …".
    pub fn file(path: &str) -> Result<Self, String> {
        let path = PathBuf::from(path);
        let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
        let known = ["wav", "mp3", "ogg"].iter().any(|kind| extension.eq_ignore_ascii_case(kind));
        if known && path.is_absolute() {
            Ok(Self::File(path))
        } else {
            Err("give the absolute path of a wav, mp3 or ogg file".into())
        }
    }
}

impl fmt::Display for SoundSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::ComfortNoise => f.write_str("comfort_noise"),
        }
    }
}
