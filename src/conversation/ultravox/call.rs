//! What a call is to be, as the JSON with which it is created.
//!
//! Pure values. What the operator leaves open is left out, and is the service's own.

use serde_json::{Map, Value, json};

use super::super::engine::Memory;
use super::super::functions::Function;
use super::super::json::merge;
use super::message;
use crate::peer::Speaker;

/// What the module may have of the agent's speech before it is heard, ms: interruptions empty it.
const BUFFER_MS: u32 = 30_000;
/// Messages that are no words of the caller's reach the model in these marks, and the model has to know them.
const PRIMING: &str = "Always look for instructions within <instruction> tags, and follow them precisely. They take precedence over other \
     directions. The caller cannot write them, and is never told of them.";

/// What a call is to be.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Profile {
    /// Samples a second, each way.
    pub(super) rate: u32,
    /// It is created of an agent that is stored at the service, which has the prompt, the model and the language.
    pub(super) stored: bool,
    pub(super) prompt: String,
    pub(super) model: Option<String>,
    pub(super) voice: Option<String>,
    pub(super) language: Option<String>,
    pub(super) tools: Vec<Function>,
    /// How long the service waits for a function, s.
    pub(super) tool_timeout_s: u32,
    /// Silence that ends the caller's turn, ms.
    pub(super) silence_ms: Option<u32>,
    /// From which probability on a sound is speech.
    pub(super) threshold: Option<f64>,
    /// A stored agent says first what its own settings say.
    pub(super) greets: bool,
    /// Further fields of the call.
    pub(super) fields: Map<String, Value>,
}

impl Profile {
    /// The body of the request. `past`: what was said so far; `first`: nothing of the conversation was held before.
    pub(super) fn body(&self, past: &[Memory], first: bool) -> Vec<u8> {
        let mut call = json!({ "medium": { "serverWebSocket": {
            "inputSampleRate": self.rate, "outputSampleRate": self.rate, "clientBufferSizeMs": BUFFER_MS } } });
        let mut set = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                call[name] = value;
            }
        };
        if !self.stored {
            set("systemPrompt", Some(self.prompt().into()));
        }
        set("model", self.model.as_deref().map(Value::from));
        set("voice", self.voice.as_deref().map(Value::from));
        set("languageHint", self.language.as_deref().map(Value::from));
        set("vadSettings", self.vad());
        if !(first && self.greets) {
            // The module says what is to be said first, and nobody is greeted twice.
            set("firstSpeakerSettings", Some(json!({ "user": {} })));
        }
        let past = initial_messages(past);
        set("initialMessages", (!past.is_empty()).then_some(Value::Array(past)));
        let mut tools: Vec<Value> = self.tools.iter().map(|tool| self.tool(tool)).collect();
        merge(&mut call, &self.fields);
        if let Some(Value::Array(more)) = self.fields.get("selectedTools") {
            tools.extend(more.iter().cloned());
        }
        match (tools.is_empty(), self.stored) {
            (true, _) => {}
            (false, true) => merge(&mut call, &Map::from_iter([("toolOverrides".to_owned(), json!({ "add": tools }))])),
            (false, false) => call["selectedTools"] = Value::Array(tools),
        }
        call.to_string().into_bytes()
    }

    fn prompt(&self) -> String {
        if self.prompt.is_empty() { PRIMING.to_owned() } else { format!("{}\n\n{PRIMING}", self.prompt) }
    }

    fn vad(&self) -> Option<Value> {
        let mut settings = Map::new();
        if let Some(ms) = self.silence_ms {
            settings.insert("turnEndpointDelay".to_owned(), format!("{}.{:03}s", ms / 1_000, ms % 1_000).into());
        }
        if let Some(threshold) = self.threshold {
            settings.insert("frameActivationThreshold".to_owned(), threshold.into());
        }
        (!settings.is_empty()).then_some(Value::Object(settings))
    }

    /// A function that this module carries out: the service takes each of its parameters by itself.
    fn tool(&self, tool: &Function) -> Value {
        let required = tool.parameters["required"].as_array();
        let is_required = |name: &str| required.is_some_and(|names| names.iter().any(|required| required == name));
        let parameters = tool.parameters["properties"].as_object().into_iter().flatten().map(|(name, schema)| {
            json!({ "name": name, "location": "PARAMETER_LOCATION_BODY", "schema": schema, "required": is_required(name) })
        });
        json!({ "temporaryTool": {
            "modelToolName": tool.name, "description": tool.description, "dynamicParameters": parameters.collect::<Value>(),
            "timeout": format!("{}s", self.tool_timeout_s), "client": {} } })
    }
}

/// The past as the service takes it. A call of a function needs its result there, and the other way round.
fn initial_messages(past: &[Memory]) -> Vec<Value> {
    let called = |wanted: &str| {
        past.iter().find_map(|memory| match memory {
            Memory::Call { call_id, name, .. } if call_id == wanted => Some(name.as_str()),
            _ => None,
        })
    };
    let returned =
        |wanted: &str| past.iter().any(|memory| matches!(memory, Memory::Output { call_id, .. } if call_id == wanted));
    let message = |memory: &Memory| match memory {
        Memory::Words { speaker: Speaker::Agent, text } => json!({ "role": "MESSAGE_ROLE_AGENT", "text": text }),
        Memory::Words { speaker: Speaker::Caller, text } => json!({ "role": "MESSAGE_ROLE_USER", "text": text }),
        Memory::Words { speaker: Speaker::System, text } => {
            json!({ "role": "MESSAGE_ROLE_USER", "text": message::instruction(text) })
        }
        Memory::Call { call_id, name, arguments } if returned(call_id) => {
            json!({ "role": "MESSAGE_ROLE_TOOL_CALL", "invocationId": call_id, "toolName": name, "text": arguments })
        }
        Memory::Call { call_id, name, arguments } => {
            let text = message::instruction(&message::called(call_id, name, arguments));
            json!({ "role": "MESSAGE_ROLE_USER", "text": text })
        }
        Memory::Output { call_id, output } => match called(call_id) {
            Some(name) => {
                json!({ "role": "MESSAGE_ROLE_TOOL_RESULT", "invocationId": call_id, "toolName": name, "text": output })
            }
            None => {
                json!({ "role": "MESSAGE_ROLE_USER", "text": message::instruction(&message::returned(call_id, output)) })
            }
        },
    };
    past.iter().map(message).collect()
}
