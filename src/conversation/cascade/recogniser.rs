//! A service that writes down the caller while they speak: what it is asked, and what it has to say.
//!
//! Pure. A new one is one file that implements [`Recogniser`], one row in `recognisers` and its word in `SttProvider`.

use std::fmt;
use std::time::Duration;

use super::super::engine::InputFormat;
use super::super::options::{AiOptions, Detection, Eagerness};

/// What the options ask of a recogniser.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) model: String,
    pub(super) language: String,
    /// Words to expect.
    pub(super) prompt: String,
    pub(super) format: InputFormat,
    /// Who finds the caller's turns: the module, or the recogniser by silence or by meaning.
    pub(super) turns: Detection,
    /// Silence that ends a turn.
    pub(super) silence: Duration,
    pub(super) eagerness: Eagerness,
    /// It is of use to know that a turn may be over.
    pub(super) early: bool,
}

impl Asked {
    pub(super) fn of(options: &AiOptions, format: InputFormat) -> Self {
        Self {
            model: options.parts.stt.model.clone(),
            language: options.transcription_language.clone(),
            prompt: options.transcription_prompt.clone(),
            format,
            turns: options.turn_detection,
            silence: Duration::from_millis(options.vad_silence_duration_ms.into()),
            eagerness: options.vad_eagerness,
            early: options.parts.recogniser.early,
        }
    }

    /// Whether the module finds the turns.
    pub(super) fn locally(&self) -> bool {
        self.turns == Detection::Local
    }
}

/// A service that writes down the caller while they speak: its messages, without the connection.
pub(super) trait Recogniser: fmt::Debug + Send {
    /// What a message says; `None`: nothing of use. The error says why it is none of its messages.
    fn read(&self, text: &str) -> Result<Option<Said>, String>;

    /// It listens from the opening of the connection on; else it says when.
    fn listens_at_once(&self) -> bool;

    /// It says itself when a turn may be over; else words to which more audio adds nothing say so.
    fn tells_early(&self) -> bool;

    /// The message after which it gives the words of everything that it was sent.
    fn finish(&self) -> &'static str;

    /// The message for a time without audio; `None`: it wants silence.
    fn keep_alive(&self) -> Option<&'static str>;

    /// The last message.
    fn goodbye(&self) -> &'static str;

    /// The longest time from the last words of a turn to its end, if the service ends it.
    fn patience(&self) -> Duration;
}

/// What a recogniser says. Times are of the audio that its connection was sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Said {
    /// It listens.
    Listens,
    /// The caller begins to speak.
    Began { at_ms: u64 },
    /// Words.
    Words(Words),
    /// The caller has been silent for long enough.
    Silence,
    /// It refuses something, and goes on.
    Refuses { code: String, message: String },
}

/// Words of the caller.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(super) struct Words {
    /// In place of every word since the last final ones. May be empty.
    pub(super) text: String,
    /// The audio that was listened to for them.
    pub(super) span_ms: (u64, u64),
    /// Of the first word's beginning and the last one's end; as far as they are known.
    pub(super) spoken_ms: (u64, u64),
    /// They do not change any more, nor does anything before.
    pub(super) is_final: bool,
    /// The turn may be over.
    pub(super) seems_over: bool,
    /// It is not over, although it seemed so.
    pub(super) resumed: bool,
    /// It is over.
    pub(super) is_over: bool,
    /// These are the last words of what it was sent before it was asked to finish.
    pub(super) finished: bool,
}
