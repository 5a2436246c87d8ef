//! The voices: espeak-ng's where it is installed, else stored speech.

use std::process::{Command, Stdio};
use std::sync::Arc;

use crate::line::RATE;
use crate::realtime::Voice;
use crate::support::wav::Wav;
use crate::{ANSWERS, CALLER};

/// Who says what.
pub struct Voices {
    /// Whose they are, for the reader.
    pub whose: String,
    /// The agent's answers.
    pub agent: [Voice; 2],
    /// The caller's sentences at the phone's rate. The first is stored speech in any case.
    pub caller: [Vec<i16>; 2],
}

impl Voices {
    /// Both voices by espeak-ng, or neither: half of a conversation in another voice would be taken for a fault.
    pub fn make(stored: &Wav) -> Self {
        let spoken = [("en-us+f3", ANSWERS[0]), ("en-us+f3", ANSWERS[1]), ("en-gb", CALLER[1])];
        let made: Result<Vec<Voice>, String> = spoken.iter().map(|(voice, text)| espeak(voice, text)).collect();
        match made.as_deref() {
            Ok([first, second, interruption]) => Self {
                whose: "espeak-ng".to_owned(),
                agent: [first.clone(), second.clone()],
                caller: [stored.samples.clone(), interruption.samples(RATE)],
            },
            other => {
                let why = other.err().cloned().unwrap_or_default();
                let recorded =
                    |samples: &[i16]| Voice::Recorded { rate: stored.rate, samples: Arc::new(samples.to_vec()) };
                let whole = &stored.samples;
                Self {
                    whose: format!(
                        "stored speech that says something else ({why}: install espeak-ng to hear the words)"
                    ),
                    agent: [recorded(&[&whole[..], &whole[..]].concat()), recorded(whole)],
                    caller: [whole.clone(), whole[..whole.len() / 2].to_vec()],
                }
            }
        }
    }
}

/// The words in one of espeak-ng's voices.
fn espeak(voice: &str, text: &str) -> Result<Voice, String> {
    let output = Command::new("espeak-ng")
        .args(["-v", voice, "-s", "165", "--stdout", "--", text])
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("espeak-ng: {error}"))?;
    if !output.status.success() {
        return Err(format!("espeak-ng: {}", output.status));
    }
    // Written to a pipe its header has no lengths: the format is read from it, the samples are all that follows.
    let bytes = output.stdout;
    let rate = bytes.get(24..28).map(|rate| u32::from_le_bytes([rate[0], rate[1], rate[2], rate[3]]));
    let (Some(rate), Some(audio)) = (rate, bytes.get(44..)) else { return Err("espeak-ng: no audio".to_owned()) };
    let samples: Vec<i16> = audio.chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]])).collect();
    if !bytes.starts_with(b"RIFF") || samples.len() < rate as usize / 2 {
        return Err("espeak-ng: no audio".to_owned());
    }
    Ok(Voice::Recorded { rate, samples: Arc::new(samples) })
}
