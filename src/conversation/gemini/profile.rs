//! What a session is to be, and the `setup` that says so.
//!
//! Pure values.

use serde_json::{Map, Value, json};

use super::super::functions::Function;
use super::super::json::merge;
use super::super::services::Sensitivity;
use super::schema;

/// Who finds the caller's turns.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Turns {
    /// The service.
    Service(Detection),
    /// The module; `streams`: the service gets a turn while it lasts, since every turn counts. Otherwise it gets a turn once it is
    /// over and counts.
    Module { streams: bool },
}

/// How the service finds turns; `None`: as it does by itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Detection {
    /// How likely a sound is the beginning of speech.
    pub(super) start: Option<Sensitivity>,
    /// How likely a pause is the end of it.
    pub(super) end: Option<Sensitivity>,
    /// Speech after which a turn has begun.
    pub(super) speech_ms: Option<u32>,
    /// Silence that ends a turn.
    pub(super) silence_ms: Option<u32>,
}

/// What a session is to be.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Profile {
    /// With its path: `models/…`.
    pub(super) model: String,
    /// The system prompt; empty: none.
    pub(super) system: String,
    pub(super) voice: Option<String>,
    pub(super) max_output_tokens: Option<u32>,
    /// `LOW`, …
    pub(super) thinking_level: Option<String>,
    pub(super) tools: Vec<Function>,
    pub(super) turns: Turns,
    /// The caller's turn interrupts the model.
    pub(super) interrupts: bool,
    /// Tokens at which the context is shortened; `None`: the service's own number.
    pub(super) compression_tokens: Option<u32>,
    /// Of the caller, where it is known.
    pub(super) language: Option<String>,
    /// Words to expect of the caller.
    pub(super) vocabulary: Vec<String>,
    /// It has `historyConfig`, `behavior` and a handle of a session: Google's own, not Vertex AI.
    pub(super) developer: bool,
    /// Merged into the setup, last.
    pub(super) fields: Map<String, Value>,
}

impl Profile {
    /// The first message of a connection. With `handle` it goes on with an earlier session. Otherwise the history comes first.
    pub(super) fn setup(&self, handle: Option<&str>) -> String {
        let mut generation = json!({"responseModalities": ["AUDIO"]});
        if let Some(most) = self.max_output_tokens {
            generation["maxOutputTokens"] = json!(most);
        }
        if let Some(voice) = &self.voice {
            generation["speechConfig"] = json!({"voiceConfig": {"prebuiltVoiceConfig": {"voiceName": voice}}});
        }
        if let Some(level) = &self.thinking_level {
            generation["thinkingConfig"] = json!({"thinkingLevel": level});
        }
        let compression = match self.compression_tokens {
            Some(most) => json!({"triggerTokens": most, "slidingWindow": {}}),
            None => json!({"slidingWindow": {}}),
        };
        let mut setup = json!({
            "model": self.model,
            "generationConfig": generation,
            "realtimeInputConfig": self.realtime_input(),
            "inputAudioTranscription": self.transcription(),
            "outputAudioTranscription": {},
            "sessionResumption": handle.map_or_else(|| json!({}), |handle| json!({"handle": handle})),
            "contextWindowCompression": compression,
        });
        if !self.system.is_empty() {
            setup["systemInstruction"] = self.system_instruction();
        }
        if !self.tools.is_empty() {
            setup["tools"] = self.declarations();
        }
        if self.takes_history(handle) {
            setup["historyConfig"] = json!({"initialHistoryInClientContent": true});
        }
        merge(&mut setup, &self.fields);
        json!({"setup": setup}).to_string()
    }

    /// Whether a session that is begun so waits for the history, and hears nothing before.
    pub(super) const fn takes_history(&self, handle: Option<&str>) -> bool {
        self.developer && handle.is_none()
    }

    /// What makes a session like this of one like `before`; `None`: nothing differs that can be changed.
    pub(super) fn update(&self, before: &Self) -> Option<String> {
        let mut update = Map::new();
        if self.system != before.system {
            update.insert("systemInstruction".to_owned(), self.system_instruction());
        }
        if self.tools != before.tools {
            update.insert("tools".to_owned(), json!({"tools": self.declarations()}));
        }
        (!update.is_empty()).then(|| json!({"contextUpdate": update}).to_string())
    }

    fn realtime_input(&self) -> Value {
        let sensitivity = |what: &str, sensitivity| match sensitivity {
            Sensitivity::High => format!("{what}_SENSITIVITY_HIGH"),
            Sensitivity::Low => format!("{what}_SENSITIVITY_LOW"),
        };
        let mut detection = json!({});
        match self.turns {
            Turns::Module { .. } => detection["disabled"] = json!(true),
            Turns::Service(Detection { start, end, speech_ms, silence_ms }) => {
                if let Some(start) = start {
                    detection["startOfSpeechSensitivity"] = json!(sensitivity("START", start));
                }
                if let Some(end) = end {
                    detection["endOfSpeechSensitivity"] = json!(sensitivity("END", end));
                }
                if let Some(ms) = speech_ms {
                    detection["prefixPaddingMs"] = json!(ms);
                }
                if let Some(ms) = silence_ms {
                    detection["silenceDurationMs"] = json!(ms);
                }
            }
        }
        let handling = if self.interrupts { "START_OF_ACTIVITY_INTERRUPTS" } else { "NO_INTERRUPTION" };
        json!({"automaticActivityDetection": detection, "activityHandling": handling})
    }

    fn transcription(&self) -> Value {
        let mut transcription = json!({});
        if let Some(language) = &self.language {
            transcription["languageCodes"] = json!([language]);
        }
        if !self.vocabulary.is_empty() {
            transcription["customVocabulary"] = json!(self.vocabulary);
        }
        transcription
    }

    fn system_instruction(&self) -> Value {
        json!({"parts": [{"text": self.system}]})
    }

    fn declarations(&self) -> Value {
        let declaration = |tool: &Function| {
            let mut declaration = json!({"name": tool.name});
            if !tool.description.is_empty() {
                declaration["description"] = json!(tool.description);
            }
            if let Some(parameters) = schema::parameters(&tool.parameters) {
                declaration["parameters"] = parameters;
            }
            // Some models go on talking otherwise, and the module has them wait for the result.
            if self.developer {
                declaration["behavior"] = json!("BLOCKING");
            }
            declaration
        };
        let declarations: Vec<_> = self.tools.iter().map(declaration).collect();
        if declarations.is_empty() { json!([]) } else { json!([{"functionDeclarations": declarations}]) }
    }
}
