//! What a session is to be, as JSON: fixed at its beginning, but for the second model's instructions to itself and its functions.
//!
//! Pure values.

use serde_json::{Map, Value, json};

use super::super::engine::{InputFormat, Memory};
use super::super::functions::Function;
use super::super::json::merge;
use crate::peer::Speaker;
use crate::units::{Encoding, Law, SampleRate};

/// Most messages that a session begins with.
const MOST_PAST: usize = 128;
/// The function by which a server of the operator's takes the tasks of the model itself.
pub(super) const DELEGATE: &str = "delegate";

/// How audio is coded, in both directions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Format {
    Pcm16k,
    Pcm24k,
    Pcmu,
    Pcma,
}

impl Format {
    /// The same for the agent.
    pub(super) const fn wire(self) -> InputFormat {
        let (rate, encoding) = match self {
            Self::Pcm16k => (SampleRate::HZ_16000, Encoding::S16Le),
            Self::Pcm24k => (SampleRate::HZ_24000, Encoding::S16Le),
            Self::Pcmu => (SampleRate::HZ_8000, Encoding::G711(Law::Mu)),
            Self::Pcma => (SampleRate::HZ_8000, Encoding::G711(Law::A)),
        };
        InputFormat { rate, encoding }
    }

    fn to_json(self) -> Value {
        let kind = match self {
            Self::Pcm16k | Self::Pcm24k => "audio/pcm",
            Self::Pcmu => "audio/pcmu",
            Self::Pcma => "audio/pcma",
        };
        json!({"type": kind, "rate": self.wire().rate.hz()})
    }
}

/// Who takes the tasks that the model hands on.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Delegate {
    /// Nobody.
    Nobody,
    /// The operator's function [`DELEGATE`].
    Operator,
    /// A second model at the service.
    Backend(Backend),
}

/// The second model.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Backend {
    pub(super) model: String,
    pub(super) instructions: Option<String>,
    pub(super) functions: Vec<Function>,
    /// `auto`, `none`, `required` or the name of a function.
    pub(super) choice: Option<String>,
    pub(super) parallel: Option<bool>,
    pub(super) max_output_tokens: Option<u32>,
    pub(super) effort: Option<String>,
}

impl Backend {
    fn to_json(&self) -> Map<String, Value> {
        let function = |function: &Function| {
            let (name, description) = (&function.name, &function.description);
            json!({"type": "function", "name": name, "description": description, "parameters": function.parameters})
        };
        let mut fields = Map::new();
        fields.insert("model".to_owned(), json!(self.model));
        fields.insert("tools".to_owned(), self.functions.iter().map(function).collect());
        let choice = self.choice.as_deref().map(|choice| match choice {
            "auto" | "none" | "required" => json!(choice),
            name => json!({"type": "function", "name": name}),
        });
        for (name, value) in [
            ("instructions", self.instructions.as_ref().map(|text| json!(text))),
            ("tool_choice", choice),
            ("parallel_tool_calls", self.parallel.map(Value::from)),
            ("max_output_tokens", self.max_output_tokens.map(Value::from)),
            ("reasoning", self.effort.as_ref().map(|effort| json!({"effort": effort}))),
        ] {
            if let Some(value) = value {
                fields.insert(name.to_owned(), value);
            }
        }
        fields
    }
}

/// What a session is to be.
#[derive(Clone, PartialEq)]
pub(super) struct Profile {
    pub(super) model: String,
    pub(super) instructions: String,
    /// A name, or the id of a voice of the account's own.
    pub(super) voice: Option<String>,
    pub(super) format: Format,
    pub(super) delegate: Delegate,
    pub(super) safety_identifier: Option<String>,
    /// Further fields.
    pub(super) fields: Map<String, Value>,
}

impl std::fmt::Debug for Profile {
    /// What was written for the model is not shown.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Profile").field("model", &self.model).field("format", &self.format).finish_non_exhaustive()
    }
}

impl Profile {
    /// The session, which begins with this past.
    pub(super) fn session(&self, past: &[Memory]) -> Value {
        let mut audio = json!({"format": self.format.to_json()});
        if let Some(voice) = &self.voice {
            let id = voice.starts_with("voice_");
            audio["output"] = json!({"voice": if id { json!({"id": voice}) } else { json!(voice) }});
        }
        let delegation = match &self.delegate {
            Delegate::Nobody | Delegate::Operator => json!({"type": "client"}),
            Delegate::Backend(backend) => json!({"type": "responses", "responses": backend.to_json()}),
        };
        let mut session = json!({"model": self.model, "audio": audio, "delegation": delegation});
        if !self.instructions.is_empty() {
            session["instructions"] = json!(self.instructions);
        }
        if let Some(identifier) = &self.safety_identifier {
            session["safety_identifier"] = json!(identifier);
        }
        let past = past[past.len().saturating_sub(MOST_PAST)..].iter().filter_map(message).collect::<Vec<_>>();
        if !past.is_empty() {
            session["input"] = Value::Array(past);
        }
        merge(&mut session, &self.fields);
        session
    }

    /// What a running session is told to be this one, which was `before`; `None`: nothing differs that it takes.
    pub(super) fn update(&self, before: &Self) -> Option<Value> {
        let (Delegate::Backend(now), Delegate::Backend(before)) = (&self.delegate, &before.delegate) else {
            return None;
        };
        let before = before.to_json();
        let changed: Map<_, _> =
            now.to_json().into_iter().filter(|(name, value)| before.get(name) != Some(value)).collect();
        let changes = json!({"delegation": {"type": "responses", "responses": changed}});
        (!changed.is_empty()).then_some(changes)
    }
}

/// Something of the past as a message; the service takes only words.
fn message(past: &Memory) -> Option<Value> {
    let (role, text) = match past {
        Memory::Words { speaker: Speaker::Caller, text } => ("user", text.clone()),
        Memory::Words { speaker: Speaker::Agent, text } => ("assistant", text.clone()),
        Memory::Words { speaker: Speaker::System, text } => ("developer", text.clone()),
        Memory::Call { call_id, name, arguments } => {
            ("developer", format!("The function {name} was called (call {call_id}) with {arguments}."))
        }
        Memory::Output { call_id, output } => {
            ("developer", format!("The function of call {call_id} has returned: {output}"))
        }
    };
    let kind = if role == "assistant" { "output_text" } else { "input_text" };
    let content = json!([{"type": kind, "text": text}]);
    (!text.trim().is_empty()).then(|| json!({"type": "message", "role": role, "content": content}))
}
