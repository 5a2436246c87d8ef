//! What a session is to be, and the messages that make it so.
//!
//! Pure values. What the operator leaves open is left out, and is the service's own.

use serde_json::{Map, Value, json};

use super::super::engine::InputFormat;
use super::super::functions::Function;
use super::super::json::merge;
use crate::units::{Encoding, Law};

/// The service's own times, which a change goes back to: silence that may end a turn and silence that does, ms, and the threshold.
const USUAL_MIN_MS: u32 = 1_000;
const USUAL_MAX_MS: u32 = 3_000;
const USUAL_THRESHOLD: f64 = 0.5;

/// What a session is to be.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Profile {
    /// The audio of both directions.
    pub(super) audio: InputFormat,
    /// An agent that is stored at the service; all below is its own then.
    pub(super) agent: Option<String>,
    pub(super) prompt: String,
    pub(super) tools: Vec<Function>,
    /// How long the service waits for a function, s.
    pub(super) tool_timeout_s: Option<u32>,
    pub(super) voice: Option<String>,
    /// Words to expect.
    pub(super) terms: Vec<String>,
    pub(super) turns: Turns,
    /// Further fields of the session.
    pub(super) fields: Map<String, Value>,
}

/// How the service finds the caller's turns.
#[derive(Clone, Copy, PartialEq, Default, Debug)]
pub(super) struct Turns {
    pub(super) threshold: Option<f64>,
    /// Silence after which a turn may be over, and after which it is, ms.
    pub(super) min_silence_ms: Option<u32>,
    pub(super) max_silence_ms: Option<u32>,
}

impl Turns {
    /// As the service has it; what is not asked for, but was `before`, is set to the service's own. `None`: there is nothing to say.
    fn json(self, before: Self) -> Option<Value> {
        let mut object = Map::new();
        let mut set = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                object.insert(name.to_owned(), value);
            }
        };
        set("vad_threshold", self.threshold.or(before.threshold.map(|_| USUAL_THRESHOLD)).map(Value::from));
        let ms = |own: Option<u32>, before: Option<u32>, usual: u32| own.or(before.map(|_| usual)).map(Value::from);
        set("min_silence", ms(self.min_silence_ms, before.min_silence_ms, USUAL_MIN_MS));
        set("max_silence", ms(self.max_silence_ms, before.max_silence_ms, USUAL_MAX_MS));
        (!object.is_empty()).then_some(Value::Object(object))
    }
}

impl Profile {
    /// The message with which a session begins. `prompt` is the profile's with what has been added to it; `greeting` is said first.
    pub(super) fn begin(&self, prompt: &str, greeting: Option<&str>) -> String {
        if let Some(agent) = &self.agent {
            return update(json!({ "agent_id": agent }));
        }
        let format = json!({ "encoding": match self.audio.encoding {
            Encoding::S16Le | Encoding::S16Be => "audio/pcm",
            Encoding::G711(Law::Mu) => "audio/pcmu",
            Encoding::G711(Law::A) => "audio/pcma",
        }});
        let mut session = json!({ "input": { "format": format }, "output": { "format": format } });
        if !prompt.is_empty() {
            session["system_prompt"] = prompt.into();
        }
        if let Some(greeting) = greeting {
            session["greeting"] = greeting.into();
        }
        if !self.tools.is_empty() {
            session["tools"] = self.tools();
        }
        if !self.terms.is_empty() {
            session["input"]["keyterms"] = json!(self.terms);
        }
        if let Some(turns) = self.turns.json(Turns::default()) {
            session["input"]["turn_detection"] = turns;
        }
        if let Some(voice) = &self.voice {
            session["output"]["voice"] = voice.as_str().into();
        }
        merge(&mut session, &self.fields);
        update(session)
    }

    fn tools(&self) -> Value {
        let tool = |tool: &Function| {
            let mut tool = json!({ "type": "function", "name": tool.name, "description": tool.description,
                                   "parameters": tool.parameters });
            if let Some(timeout) = self.tool_timeout_s {
                tool["timeout_seconds"] = timeout.into();
            }
            tool
        };
        self.tools.iter().map(tool).collect()
    }

    /// The message that makes a session of `before` one of `self`; `None` where nothing differs that a session can change. `prompt` as with
    /// [`begin`](Self::begin).
    pub(super) fn change(&self, before: &Self, prompt: &str) -> Option<String> {
        let mut session = json!({});
        if self.agent.is_some() {
            // Its functions are its own; the module only knows which of them it carries out.
            return None;
        }
        if self.prompt != before.prompt {
            session["system_prompt"] = prompt.into();
        }
        if self.tools != before.tools {
            session["tools"] = self.tools();
        }
        if self.turns != before.turns
            && let Some(turns) = self.turns.json(before.turns)
        {
            session["input"] = json!({ "turn_detection": turns });
        }
        let differs = session.as_object().is_some_and(|session| !session.is_empty());
        differs.then(|| update(session))
    }
}

fn update(session: Value) -> String {
    json!({ "type": "session.update", "session": session }).to_string()
}
