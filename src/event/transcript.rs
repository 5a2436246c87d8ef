//! The event of transcription services.

use serde::Serialize;

use super::{Headers, MAX_BODY, OperatorEvent, Text};
use crate::protocol::transcription::Confidence;
use crate::protocol::{self, Leg, Word};
use crate::units::serialize_as_str;

serialize_as_str!(Leg);

/// What a transcription service has understood.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Transcript {
    /// Who said it.
    pub leg: Leg,
    /// The words.
    pub text: Text<MAX_BODY>,
    /// They will not change any more.
    #[serde(rename = "final")]
    pub is_final: bool,
    /// They have finished what they were saying.
    pub end_of_turn: bool,
    /// Beginning in the audio that was sent, ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_ms: Option<u64>,
    /// End in the audio that was sent, ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_ms: Option<u64>,
    /// How sure the service is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confidence: Option<Confidence>,
    /// The words one by one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub words: Vec<Word>,
}

impl From<protocol::Transcript> for Transcript {
    fn from(transcript: protocol::Transcript) -> Self {
        let protocol::Transcript { leg, text, is_final, end_of_turn, span_ms, confidence, words } = transcript;
        let (start_ms, end_ms) = span_ms.unzip();
        Self { leg, text: text.into(), is_final, end_of_turn, start_ms, end_ms, confidence, words }
    }
}

impl OperatorEvent for Transcript {
    const SUBCLASS: &'static str = "mod_audio_stream::transcript";
    const DOC: &'static str = "A transcription service has understood something. `leg` is who said it: `caller`, `other` or `both` (both \
        legs were sent in one channel). With `final` false, the next event has the same words again, or better ones. `end_of_turn`: \
        they have finished what they were saying; some services say so in an event without text. Times are of the audio that was \
        sent, from its beginning. `words` has each word with its times, and its speaker if the service tells speakers apart.";

    fn example() -> Self {
        let word = |word: &str, start_ms, end_ms| Word {
            word: word.to_owned(),
            start_ms,
            end_ms,
            confidence: Some(0.98.into()),
            speaker: None,
        };
        Self {
            leg: Leg::Caller,
            text: "Good morning.".into(),
            is_final: true,
            end_of_turn: true,
            start_ms: Some(400),
            end_ms: Some(1_180),
            confidence: Some(0.97.into()),
            words: vec![word("Good", 400, 640), word("morning.", 640, 1_180)],
        }
    }

    fn headers(&self, headers: &mut Headers) {
        headers
            .add("Audio-Stream-Leg", self.leg)
            .add("Audio-Stream-Text", &self.text)
            .add("Audio-Stream-Final", self.is_final)
            .add("Audio-Stream-End-Of-Turn", self.end_of_turn);
    }

    fn bytes(&self) -> usize {
        // A word has its text and some 100 bytes of numbers.
        self.text.len() + self.words.iter().map(|word| word.word.len() + 100).sum::<usize>()
    }
}
