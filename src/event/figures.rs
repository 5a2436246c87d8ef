//! The events with the numbers of conversations, and the channel variables that outlive them.

use std::time::Duration;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::{Headers, OperatorEvent};
use crate::peer::{TalkFigures, TurnFigures, TurnReport, Usage};

/// A turn of the agent is over.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AiTurn(pub Box<TurnReport>);

impl AiTurn {
    /// The times that were measured, by name.
    fn times(&self) -> [(&'static str, Option<u64>); 4] {
        let ms = |time: Option<Duration>| time.map(|time| time.as_millis() as u64);
        let TurnFigures { answer, model, speech, silence, .. } = self.0.figures;
        [("answer_ms", ms(answer)), ("model_ms", ms(model)), ("speech_ms", ms(speech)), ("silence_ms", ms(silence))]
    }
}

impl Serialize for AiTurn {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("turn", &self.0.talk.turns)?;
        map.serialize_entry("interrupted", &self.0.figures.interrupted)?;
        for (name, ms) in self.times() {
            if let Some(ms) = ms {
                map.serialize_entry(name, &ms)?;
            }
        }
        map.serialize_entry("heard_ms", &(self.0.figures.heard.as_millis() as u64))?;
        map.serialize_entry("usage", &self.0.figures.usage)?;
        map.end()
    }
}

impl OperatorEvent for AiTurn {
    const SUBCLASS: &'static str = "mod_audio_stream::ai_turn";
    const DOC: &'static str = "A turn of the agent is over: it was heard to its end, or interrupted. Times in ms, each only if it was \
        measured: `answer_ms` from the caller's last sound to the first sound of the answer that the caller heard; `model_ms` from the \
        request for the response, or the end of the caller's turn, to the model's first word or sound; `speech_ms` from the request for \
        the first sentence's speech to its first sound; `silence_ms` from an interruption to silence. `usage`: what was billed since the \
        turn before. See [numbers](conversations.md#numbers).";

    fn example() -> Self {
        let ms = |ms| Some(Duration::from_millis(ms));
        let usage = Usage { input_tokens: 152, input_audio_tokens: 152, output_tokens: 96, ..Usage::default() };
        Self(Box::new(TurnReport {
            figures: TurnFigures {
                answer: ms(1_130),
                model: ms(480),
                silence: ms(18),
                heard: Duration::from_millis(2_340),
                interrupted: true,
                usage,
                ..TurnFigures::default()
            },
            talk: TalkFigures { turns: 3, ..TalkFigures::default() },
            usage,
        }))
    }

    fn headers(&self, headers: &mut Headers) {
        let [answer, model, speech, silence] =
            self.times().map(|(_, ms)| ms.map(|ms| ms.to_string()).unwrap_or_default());
        headers
            .add("Audio-Stream-Turn", self.0.talk.turns)
            .add("Audio-Stream-Interrupted", self.0.figures.interrupted)
            .add("Audio-Stream-Answer-Ms", answer)
            .add("Audio-Stream-Model-Ms", model)
            .add("Audio-Stream-Speech-Ms", speech)
            .add("Audio-Stream-Silence-Ms", silence)
            .add("Audio-Stream-Heard-Ms", self.0.figures.heard.as_millis());
    }

    fn variables(&self) -> Vec<(&'static str, String)> {
        variables(&self.0.talk, &self.0.usage)
    }
}

/// A conversation is over.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct AiSummary {
    /// Why: `call_ended`, `stopped`, `agent_hang_up`, `agent_transfer`, `agent_ended`, `idle` or `failed`.
    pub reason: &'static str,
    /// The numbers of all turns.
    #[serde(flatten)]
    pub talk: TalkFigures,
    /// What the service has billed.
    pub usage: Usage,
}

impl OperatorEvent for AiSummary {
    const SUBCLASS: &'static str = "mod_audio_stream::ai_summary";
    const DOC: &'static str = "A conversation is over; the `ai_state` event with `last` follows. `reason`: `call_ended`, `stopped` (by \
        `stop`), `agent_hang_up`, `agent_transfer`, `agent_ended` (the service has ended it), `idle` (by `idle_hang_up_at`) or `failed`. `turns` of the agent, `interruptions`, \
        `false_interruptions` (pauses) and `actions` (functions called) are counts; `answer_ms` and `answer_max_ms` are the mean and the longest time to an answer. `usage`: \
        all that was billed. The channel has the numbers in [variables](conversations.md#numbers).";

    fn example() -> Self {
        let usage = Usage { input_tokens: 1_459, output_tokens: 396, ..Usage::default() };
        let (answer_ms, answer_max_ms) = (Some(1_090), Some(1_480));
        let talk =
            TalkFigures { turns: 7, interruptions: 2, false_interruptions: 1, actions: 1, answer_ms, answer_max_ms };
        Self { reason: "call_ended", talk, usage }
    }

    fn headers(&self, headers: &mut Headers) {
        let or_empty = |ms: Option<u64>| ms.map(|ms| ms.to_string()).unwrap_or_default();
        headers
            .add("Audio-Stream-Reason", self.reason)
            .add("Audio-Stream-Turns", self.talk.turns)
            .add("Audio-Stream-Interruptions", self.talk.interruptions)
            .add("Audio-Stream-False-Interruptions", self.talk.false_interruptions)
            .add("Audio-Stream-Actions", self.talk.actions)
            .add("Audio-Stream-Answer-Ms", or_empty(self.talk.answer_ms))
            .add("Audio-Stream-Answer-Max-Ms", or_empty(self.talk.answer_max_ms))
            .add("Audio-Stream-Input-Tokens", self.usage.input_tokens)
            .add("Audio-Stream-Output-Tokens", self.usage.output_tokens);
    }

    fn variables(&self) -> Vec<(&'static str, String)> {
        let mut variables = variables(&self.talk, &self.usage);
        variables.push(("audio_stream_ai_reason", self.reason.to_owned()));
        variables
    }
}

/// What the channel keeps for call records. It is set after each turn, since a call that has ended takes no variables.
fn variables(talk: &TalkFigures, usage: &Usage) -> Vec<(&'static str, String)> {
    [
        ("audio_stream_ai_turns", Some(talk.turns)),
        ("audio_stream_ai_interruptions", Some(talk.interruptions)),
        ("audio_stream_ai_false_interruptions", Some(talk.false_interruptions)),
        ("audio_stream_ai_actions", Some(talk.actions)),
        ("audio_stream_ai_answer_ms", talk.answer_ms),
        ("audio_stream_ai_answer_max_ms", talk.answer_max_ms),
        ("audio_stream_ai_input_tokens", Some(usage.input_tokens)),
        ("audio_stream_ai_output_tokens", Some(usage.output_tokens)),
        ("audio_stream_ai_transcription_ms", Some(usage.transcription_ms)),
        ("audio_stream_ai_session_ms", Some(usage.session_ms)),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name, value?.to_string())))
    .collect()
}
