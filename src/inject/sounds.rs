//! Recordings and backgrounds of the operator's, decoded once for all calls.
//!
//! One library for the module, used from any thread; the lock is held for a look-up and never across a wait. [`SoundLibrary::load`]
//! reads and decodes, so it is for a thread that may block; [`SoundLibrary::get`] gives what is there already. Bounded: beyond
//! [`MOST_BYTES`] of samples the sounds that were used longest ago are forgotten; calls that still play one keep it.

use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::Mutex;

use super::decode::{DecodeLimits, decode};
use crate::protocol::AudioKind;
use crate::units::SampleRate;
use crate::units::sound::SoundSource;

/// Samples that are kept, bytes: an hour at 8 kHz.
const MOST_BYTES: usize = 64 << 20;
/// Length of the comfort noise before it repeats, ms.
const NOISE_MS: u32 = 8_000;
/// Its loudest sample; its mean level is about 50 dB below full scale.
const NOISE_PEAK: i32 = 320;

fn kind_of(path: &Path) -> Option<AudioKind> {
    let extension = path.extension()?.to_str()?.to_ascii_lowercase();
    [AudioKind::Wav, AudioKind::Mp3, AudioKind::Ogg].into_iter().find(|kind| kind.to_string() == extension)
}

/// A decoded sound, mono.
#[derive(PartialEq, Eq, Debug)]
pub struct Sound {
    /// Never empty.
    pub samples: Box<[i16]>,
    /// Samples a second.
    pub rate: SampleRate,
}

/// What tells a file from the one that was there before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Stamp {
    bytes: u64,
    changed: Option<SystemTime>,
}

struct Known {
    source: SoundSource,
    stamp: Option<Stamp>,
    sound: Arc<Sound>,
}

/// The sounds that have been decoded.
#[derive(Default)]
pub struct SoundLibrary {
    /// The last used one last.
    known: Mutex<Vec<Known>>,
}

impl SoundLibrary {
    /// The sound, if it has been loaded before. Whether its file has changed since is for [`load`](Self::load) to find out.
    pub fn get(&self, source: &SoundSource) -> Option<Arc<Sound>> {
        let mut known = self.known.lock();
        let at = known.iter().position(|known| known.source == *source)?;
        let found = known.remove(at);
        let sound = found.sound.clone();
        known.push(found);
        Some(sound)
    }

    /// The sound as its file has it now. Blocks: it waits for the disk and, the first time, decodes. The error says in words why there
    /// is none.
    pub fn load(&self, source: &SoundSource) -> Result<Arc<Sound>, String> {
        let (stamp, path) = match source {
            SoundSource::ComfortNoise => (None, None),
            SoundSource::File(path) => {
                let about = std::fs::metadata(path).map_err(|error| format!("{source}: {error}"))?;
                if !about.is_file() {
                    return Err(format!("{source} is not a file"));
                }
                let most = DecodeLimits::default().bytes;
                if about.len() > most as u64 {
                    return Err(format!("{source} has {} bytes, more than {most}", about.len()));
                }
                (Some(Stamp { bytes: about.len(), changed: about.modified().ok() }), Some(path))
            }
        };
        let same = |known: &Known| known.source == *source && known.stamp == stamp;
        if let Some(found) = self.known.lock().iter().find(|known| same(known)) {
            return Ok(found.sound.clone());
        }
        let sound = Arc::new(match path {
            Some(path) => read(path).map_err(|error| format!("{source}: {error}"))?,
            None => comfort_noise(),
        });
        let mut known = self.known.lock();
        known.retain(|known| known.source != *source);
        known.push(Known { source: source.clone(), stamp, sound: sound.clone() });
        let bytes = |known: &[Known]| known.iter().map(|known| known.sound.samples.len() * 2).sum::<usize>();
        while known.len() > 1 && bytes(&known) > MOST_BYTES {
            known.remove(0);
        }
        Ok(sound)
    }
}

fn read(path: &Path) -> Result<Sound, String> {
    let kind = kind_of(path).ok_or("no wav, mp3 or ogg file")?;
    let bytes = std::fs::read(path).map_err(|error| error.to_string())?;
    let (samples, format) = decode(kind, &bytes, DecodeLimits::default()).map_err(|error| error.to_string())?;
    let samples = match format.channels {
        1 => samples,
        channels => {
            let mean = |instant: &[i16]| instant.iter().map(|s| i32::from(*s)).sum::<i32>() / i32::from(channels);
            samples.chunks_exact(usize::from(channels)).map(|instant| mean(instant) as i16).collect()
        }
    };
    Ok(Sound { samples: samples.into_boxed_slice(), rate: format.rate })
}

/// Noise without its highest tones, the same each time.
fn comfort_noise() -> Sound {
    let rate = SampleRate::HZ_8000;
    let (mut state, mut level) = (0x2545_f491_u32, 0);
    let samples = (0..rate.samples_in_ms(NOISE_MS)).map(|_| {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        let white = (state >> 16) as i32 % (4 * NOISE_PEAK) - 2 * NOISE_PEAK;
        level = (level + white) / 2;
        level.clamp(-NOISE_PEAK, NOISE_PEAK) as i16
    });
    Sound { samples: samples.collect(), rate }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn golden(name: &str) -> SoundSource {
        SoundSource::file(&format!("{}/tests/audio/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
    }

    #[test]
    fn a_sound_is_decoded_once_and_again_when_its_file_changes() {
        let library = SoundLibrary::default();
        let folder = std::env::temp_dir().join(format!("mas-sounds-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("tone.wav");
        let SoundSource::File(from) = golden("tone-1000hz-8k-pcmu.wav") else { unreachable!("a file") };
        std::fs::copy(&from, &path).unwrap();
        let source = SoundSource::File(path.clone());
        assert!(library.get(&source).is_none());
        let first = library.load(&source).unwrap();
        assert!(Arc::ptr_eq(&first, &library.load(&source).unwrap()));
        assert!(Arc::ptr_eq(&first, &library.get(&source).unwrap()));
        let mut bytes = std::fs::read(&from).unwrap();
        bytes.truncate(bytes.len() - 160);
        std::fs::write(&path, bytes).unwrap();
        assert_eq!(library.load(&source).unwrap().samples.len() + 160, first.samples.len());
        std::fs::remove_dir_all(&folder).unwrap();
        assert!(library.load(&source).is_err(), "the file is gone");
    }

    #[test]
    fn two_channels_become_one_and_other_files_are_refused() {
        let library = SoundLibrary::default();
        let stereo = library.load(&golden("tones-24k-stereo-id3.mp3")).unwrap();
        assert_eq!(stereo.rate.hz(), 24_000);
        for path in ["tone.wav", "/tmp/tone.flac", "/tmp/wav", ""] {
            assert!(SoundSource::file(path).is_err(), "{path}");
        }
        assert!(library.load(&SoundSource::file("/nowhere/tone.wav").unwrap()).is_err());
    }

    #[test]
    fn comfort_noise_is_soft_and_has_no_constant_part() {
        let noise = SoundLibrary::default().load(&SoundSource::ComfortNoise).unwrap();
        let mean = noise.samples.iter().map(|s| i64::from(*s)).sum::<i64>() / noise.samples.len() as i64;
        let power = noise.samples.iter().map(|s| f64::from(*s).powi(2)).sum::<f64>() / noise.samples.len() as f64;
        let dbfs = 10.0 * (power / 32_768.0_f64.powi(2)).log10();
        assert!(mean.abs() < 8 && (-52.0..=-42.0).contains(&dbfs), "mean {mean}, {dbfs:.1} dBFS");
    }
}
