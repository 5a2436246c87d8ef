//! What a provider is asked with: a voice with all its settings, a sentence, and the way to ask.
//!
//! Pure. Two voices with the same [cache key](Voice::cache_key) speak a text in the same way.

use super::error::SpeechError;
use super::wav::Expected;
use crate::options::values;
use crate::transport::{Endpoint, HttpRequest, TlsOptions};
use crate::units::{SampleRate, Secret};

/// Words a minute of espeak-ng at speed 1.
const WORDS_PER_MINUTE: f32 = 175.0;

/// How a provider is asked.
#[derive(Clone, Copy, Debug)]
pub(super) enum How {
    /// A request, and what its answer will be.
    Http(fn(&Ask<'_>) -> Result<(HttpRequest, Expected), SpeechError>),
    /// A turn over one WebSocket; the request is for what is known beforehand.
    Stream(fn(&Ask<'_>) -> Result<(HttpRequest, Expected), SpeechError>),
    /// A program on this machine.
    Program,
}

/// What is asked for.
pub(super) struct Ask<'a> {
    pub(super) voice: &'a Voice,
    pub(super) text: &'a str,
    /// What was said before, for the melody.
    pub(super) previous: Option<&'a str>,
    /// The call's.
    pub(super) rate: SampleRate,
    pub(super) timeout: std::time::Duration,
}

/// A provider with all its parameters except the text.
#[derive(Clone, Debug)]
pub(super) struct Voice {
    pub(super) provider: &'static str,
    pub(super) how: How,
    pub(super) url: String,
    pub(super) voice: String,
    pub(super) model: Option<String>,
    /// Whether the model can be given the text before a sentence.
    pub(super) takes_previous: bool,
    pub(super) language: Option<String>,
    pub(super) instructions: Option<String>,
    pub(super) speed: Option<f32>,
    pub(super) stability: Option<f32>,
    pub(super) similarity_boost: Option<f32>,
    pub(super) style: Option<f32>,
    pub(super) format: OutputFormat,
    pub(super) api_key: Option<Secret>,
    pub(super) tls: TlsOptions,
    /// Of the program; the text is not in it yet.
    pub(super) argv: Vec<String>,
    pub(super) raw_rate: Option<SampleRate>,
}

impl Voice {
    /// Everything that decides how `text` sounds, as one text: equal keys, equal speech. The key of the account is not in it.
    pub(super) fn cache_key(&self, text: &str, rate: SampleRate) -> String {
        // Debug prints quote, so that no two different lists look the same.
        format!(
            "{} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {} {text}",
            self.provider,
            self.url,
            self.voice,
            self.model,
            self.language,
            self.instructions,
            self.speed,
            self.stability,
            self.similarity_boost,
            self.style,
            self.format,
            self.argv,
            self.raw_rate,
            rate.hz(),
        )
    }

    /// The model at its server, which takes the text before a sentence or does not.
    pub(super) fn model_at(&self) -> String {
        format!("{} {:?}", self.url, self.model)
    }

    /// What its breaker is known by: the server, or the program.
    pub(super) fn place(&self) -> String {
        match self.how {
            How::Http(_) | How::Stream(_) => {
                let endpoint = Endpoint::parse_http(&self.url);
                format!("{} {}", self.provider, endpoint.map_or_else(|_| self.url.clone(), |at| at.authority()))
            }
            How::Program => format!("{} {}", self.provider, self.argv.first().map_or("", String::as_str)),
        }
    }

    /// The program's arguments, and what it reads: the text, unless that is among them.
    pub(super) fn command_line(&self, text: &str, rate: SampleRate) -> (Vec<String>, Option<String>) {
        let speed = self.speed.unwrap_or(1.0);
        // A leading dash would make an option of it.
        let spoken = if text.starts_with('-') { format!(" {text}") } else { text.to_owned() };
        let values: [(&str, &str); 5] = [
            ("{voice}", &self.voice),
            ("{language}", self.language.as_deref().unwrap_or("en")),
            ("{rate}", &self.raw_rate.unwrap_or(rate).to_string()),
            ("{speed}", &speed.to_string()),
            ("{wpm}", &format!("{:.0}", WORDS_PER_MINUTE * speed)),
        ];
        let filled = self.argv.iter().map(|argument| {
            if argument == "{text}" {
                return spoken.clone();
            }
            values.iter().fold(argument.clone(), |filled, (name, value)| filled.replace(name, value))
        });
        let read = (!self.argv.iter().any(|argument| argument == "{text}")).then(|| text.to_owned());
        (filled.collect(), read)
    }
}

/// The form in which audio is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum OutputFormat {
    /// The provider's best for the call's rate.
    #[default]
    Auto,
    /// A WAV file.
    Wav,
    /// G.711 at 8 kHz.
    Mulaw,
    /// Linear, at this rate.
    Pcm(SampleRate),
}

impl OutputFormat {
    /// Reads the word in capitals or not.
    pub(super) fn read(text: &str) -> Option<Self> {
        match text.to_ascii_lowercase().as_str() {
            "auto" => Some(Self::Auto),
            "wav" => Some(Self::Wav),
            "ulaw_8000" => Some(Self::Mulaw),
            other => other.strip_prefix("pcm_").and_then(pcm_rate).map(Self::Pcm),
        }
    }
}

/// A rate of linear audio.
pub(super) fn pcm_rate(text: &str) -> Option<SampleRate> {
    values::number(text).filter(|hz| (8_000..=48_000).contains(hz)).and_then(SampleRate::from_hz)
}
