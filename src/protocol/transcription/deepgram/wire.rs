//! Deepgram's live transcription on the wire: what it is asked for, what it is told, and what its messages are.
//!
//! Pure. Streams (`protocol=deepgram`) and the recognition of conversations (`stt_provider=deepgram`) both speak by this file.
//! Facts: the types of deepgram-sdk 7.17 (`listen/v1`, `listen/v2`).

use serde::Deserialize;

use super::super::{Recognition, Word, ms};
use crate::units::{Encoding, Law, PcmFormat};

/// Deepgram's own servers, for the Nova models.
pub const URL: &str = "wss://api.deepgram.com/v1/listen";
/// The same for Flux.
pub const FLUX_URL: &str = "wss://api.deepgram.com/v2/listen";
/// What stands before the key in the header `Authorization`.
pub const KEY_SCHEME: &str = "Token ";

/// There is no audio now, and the connection is to stay. Flux has no such message: it wants audio.
pub const KEEP_ALIVE: &str = r#"{"type":"KeepAlive"}"#;
/// What was heard so far is to be written down at once. Of the Nova models; answered by results with `from_finalize`, in most cases.
pub const FINALIZE: &str = r#"{"type":"Finalize"}"#;
/// The turn is over. Of Flux; answered by the end of the turn, where there is one.
pub const FORCE_END_TURN: &str = r#"{"type":"ForceEndTurn"}"#;
/// There is no more audio. Answered by the last results and the close.
pub const CLOSE_STREAM: &str = r#"{"type":"CloseStream"}"#;

/// Whether a model is one of Flux, which finds turns by meaning, and has an address and messages of its own.
pub fn is_flux(model: &str) -> bool {
    model.starts_with("flux")
}

/// The parameters of the URL's query for audio of this form. Flux has fewer.
pub fn query(encoding: Encoding, pcm: PcmFormat, asked: &Recognition) -> Vec<(&'static str, String)> {
    let flux = asked.model.as_deref().is_some_and(is_flux);
    let encoding = match encoding {
        Encoding::G711(Law::Mu) => "mulaw",
        Encoding::G711(Law::A) => "alaw",
        Encoding::S16Le | Encoding::S16Be => "linear16",
    };
    let mut query = vec![("encoding", encoding.to_owned()), ("sample_rate", pcm.rate.to_string())];
    if !flux {
        query.push(("interim_results", "true".to_owned()));
    }
    if pcm.channels == 2 {
        query.extend([("channels", "2".to_owned()), ("multichannel", "true".to_owned())]);
    }
    query.extend(asked.model.clone().map(|model| ("model", model)));
    let language = if flux { "language_hint" } else { "language" };
    query.extend(asked.language.clone().map(|value| (language, value)));
    query
}

/// 100 ms of silence: what Flux is sent while there is no audio.
pub fn silence(encoding: Encoding, pcm: PcmFormat) -> Vec<u8> {
    let byte = match encoding {
        Encoding::G711(Law::Mu) => 0xff,
        Encoding::G711(Law::A) => 0xd5,
        Encoding::S16Le | Encoding::S16Be => 0,
    };
    vec![byte; pcm.samples_in_ms(100) * encoding.sample_bytes()]
}

/// A message of the service, as far as it is of use.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(tag = "type")]
pub(crate) enum Message {
    /// Nova: words of some of the audio.
    Results(Results),
    /// Flux: the words of the turn so far.
    TurnInfo(TurnInfo),
    /// Nova, where asked for: somebody begins to speak.
    SpeechStarted {
        /// In the audio that was sent, seconds.
        timestamp: f64,
    },
    /// Nova, where asked for: nobody has said a word for a while.
    UtteranceEnd {
        /// The channel and how many there are.
        channel: Vec<usize>,
    },
    /// Flux: it listens.
    Connected,
    /// It refuses.
    Error {
        /// In words.
        description: String,
        /// Its code, if it has one.
        #[serde(default)]
        code: Option<String>,
    },
    /// Any other.
    #[serde(other)]
    Other,
}

/// Words of some of the audio.
#[derive(Clone, PartialEq, Debug, Deserialize)]
pub struct Results {
    /// The channel and how many there are.
    #[serde(default)]
    pub channel_index: Vec<usize>,
    start: f64,
    duration: f64,
    #[serde(default)]
    is_final: Option<bool>,
    #[serde(default)]
    speech_final: Option<bool>,
    #[serde(default)]
    from_finalize: Option<bool>,
    channel: Channel,
}

#[derive(Clone, PartialEq, Debug, Deserialize)]
struct Channel {
    alternatives: Vec<Alternative>,
}

#[derive(Clone, PartialEq, Debug, Default, Deserialize)]
struct Alternative {
    transcript: String,
    confidence: f64,
    words: Vec<Heard>,
}

impl Results {
    /// Beginning and end of the audio in all that was sent, ms.
    pub fn span_ms(&self) -> (u64, u64) {
        (ms(self.start), ms(self.start + self.duration))
    }

    /// They will not change any more.
    pub fn is_final(&self) -> bool {
        self.is_final == Some(true)
    }

    /// The speech was followed by silence of the length that was asked for.
    pub fn speech_final(&self) -> bool {
        self.speech_final == Some(true)
    }

    /// They answer [`FINALIZE`].
    pub fn from_finalize(&self) -> bool {
        self.from_finalize == Some(true)
    }

    /// The best guess: text, how sure the service is, and the words one by one.
    pub fn best(self) -> (String, f64, Vec<Word>) {
        let best = self.channel.alternatives.into_iter().next().unwrap_or_default();
        (best.transcript, best.confidence, best.words.into_iter().map(Word::from).collect())
    }
}

/// The words of a turn so far.
#[derive(Clone, PartialEq, Debug, Deserialize)]
pub struct TurnInfo {
    /// `StartOfTurn`, `Update`, `EagerEndOfTurn`, `TurnResumed` or `EndOfTurn`.
    pub event: String,
    audio_window_start: f64,
    audio_window_end: f64,
    /// The text of the whole turn.
    pub transcript: String,
    words: Vec<Heard>,
}

impl TurnInfo {
    /// Beginning and end of the audio in all that was sent, ms.
    pub fn span_ms(&self) -> (u64, u64) {
        (ms(self.audio_window_start), ms(self.audio_window_end))
    }

    /// The turn is over.
    pub fn ends(&self) -> bool {
        self.event == "EndOfTurn"
    }

    /// The words one by one.
    pub fn words(self) -> Vec<Word> {
        self.words.into_iter().map(Word::from).collect()
    }
}

#[derive(Clone, PartialEq, Debug, Deserialize)]
struct Heard {
    word: String,
    #[serde(default)]
    punctuated_word: Option<String>,
    #[serde(default)]
    start: Option<f64>,
    #[serde(default)]
    end: Option<f64>,
    confidence: f64,
    #[serde(default)]
    speaker: Option<u32>,
}

impl From<Heard> for Word {
    fn from(heard: Heard) -> Self {
        Self {
            word: heard.punctuated_word.unwrap_or(heard.word),
            start_ms: ms(heard.start.unwrap_or_default()),
            end_ms: ms(heard.end.unwrap_or_default()),
            confidence: Some(heard.confidence.into()),
            speaker: heard.speaker.map(|speaker| speaker.to_string()),
        }
    }
}
