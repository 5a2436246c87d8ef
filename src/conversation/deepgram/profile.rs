//! What an agent is to be, and the messages that make it so.
//!
//! Pure values. What the operator leaves open is left out, and is the service's own.

use serde_json::{Map, Value, json};

use super::super::engine::InputFormat;
use super::super::functions::Function;
use super::super::json::merge;
use crate::protocol::transcription::deepgram::wire::is_flux;
use crate::units::{Encoding, Law};

/// Longest that a turn may wait for its end where the module ends it, ms: the longest that the service takes.
const NEVER_MS: u32 = 60_000;

/// The service's own time for that, ms.
const USUAL_MS: u32 = 5_000;

/// What an agent is to be.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Profile {
    /// The audio of both directions.
    pub(super) audio: InputFormat,
    /// An agent that is stored at the service; all below is its own then.
    pub(super) agent: Option<String>,
    pub(super) prompt: String,
    /// The provider of the language model, and the model.
    pub(super) provider: String,
    pub(super) model: String,
    pub(super) reasoning: Option<String>,
    pub(super) functions: Vec<Function>,
    pub(super) voice: Option<String>,
    pub(super) speed: Option<f32>,
    pub(super) listen: Listen,
    /// Further fields of the settings.
    pub(super) fields: Map<String, Value>,
}

/// The recognition.
#[derive(Clone, PartialEq, Default, Debug)]
pub(super) struct Listen {
    /// Empty: the service's own.
    pub(super) model: String,
    pub(super) language: String,
    pub(super) terms: Vec<String>,
    /// Time after speech that ends a turn in any case, ms.
    pub(super) timeout_ms: Option<u32>,
    /// Turns are ended by the module alone.
    pub(super) manual: bool,
}

impl Listen {
    /// Whether it is of the models that find turns by their meaning.
    pub(super) fn is_flux(&self) -> bool {
        is_flux(&self.model)
    }

    /// As the service has it; `None`: the service's own.
    fn json(&self) -> Option<Value> {
        if *self == Self::default() {
            return None;
        }
        let mut provider = json!({ "type": "deepgram", "version": if self.is_flux() { "v2" } else { "v1" } });
        let mut set = |name: &str, value: Value| provider[name] = value;
        if !self.model.is_empty() {
            set("model", self.model.as_str().into());
        }
        match self.is_flux() {
            _ if self.language.is_empty() => {}
            true => set("language_hints", json!([self.language])),
            false => set("language", self.language.as_str().into()),
        }
        if !self.terms.is_empty() {
            set("keyterms", json!(self.terms));
        }
        if self.manual {
            set("eot_threshold", json!(1.0));
            set("eot_timeout_ms", NEVER_MS.into());
        } else if let Some(timeout_ms) = self.timeout_ms {
            set("eot_timeout_ms", timeout_ms.into());
        }
        Some(json!({ "provider": provider }))
    }
}

impl Profile {
    /// The message that configures a session. `prompt` is the profile's with what has been added to it; `past`: what was said and done.
    pub(super) fn settings(&self, prompt: &str, past: Vec<Value>) -> String {
        let encoding = match self.audio.encoding {
            Encoding::G711(Law::Mu) => "mulaw",
            Encoding::G711(Law::A) => "alaw",
            Encoding::S16Le | Encoding::S16Be => "linear16",
        };
        let rate = self.audio.rate.hz();
        let mut settings = json!({
            "type": "Settings",
            "audio": {
                "input": { "encoding": encoding, "sample_rate": rate },
                "output": { "encoding": encoding, "sample_rate": rate, "container": "none" },
            },
        });
        settings["agent"] = match &self.agent {
            Some(id) => id.as_str().into(),
            None => {
                let mut agent = json!({ "think": self.think(prompt) });
                if let Some(listen) = self.listen.json() {
                    agent["listen"] = listen;
                }
                if let Some(speak) = self.speak() {
                    agent["speak"] = speak;
                }
                if !past.is_empty() {
                    agent["context"] = json!({ "messages": past });
                }
                agent
            }
        };
        merge(&mut settings, &self.fields);
        settings.to_string()
    }

    fn think(&self, prompt: &str) -> Value {
        let mut think = json!({ "provider": { "type": self.provider, "model": self.model } });
        if let Some(reasoning) = &self.reasoning {
            think["provider"]["reasoning_mode"] = reasoning.as_str().into();
        }
        if !prompt.is_empty() {
            think["prompt"] = prompt.into();
        }
        if !self.functions.is_empty() {
            // A call waits until the caller's turn is sure to be over: what a function does cannot be taken back.
            let function = |function: &Function| {
                json!({ "name": function.name, "description": function.description,
                        "parameters": function.parameters, "defer_until_eot": true })
            };
            think["functions"] = self.functions.iter().map(function).collect();
        }
        think
    }

    fn speak(&self) -> Option<Value> {
        let voice = self.voice.as_deref()?;
        let version = if voice.starts_with("flux") { "v2" } else { "v1" };
        let mut provider = json!({ "type": "deepgram", "version": version, "model": voice });
        if let Some(speed) = self.speed {
            // As it was written, and not as the next number of twice the precision.
            provider["speed"] = speed.to_string().parse::<f64>().unwrap_or_else(|_| speed.into()).into();
        }
        Some(json!({ "provider": provider }))
    }

    /// The part of the settings at `path` that an operator adds or replaces.
    fn with_fields(&self, name: &str, mut part: Value) -> Value {
        let own = self.fields.get("agent").and_then(|agent| agent.get(name));
        if let Some(Value::Object(fields)) = own {
            merge(&mut part, fields);
        }
        part
    }

    /// The messages that make a session of `before` one of `self`, and the confirmation of each.
    pub(super) fn changes(&self, before: &Self, prompt: &str) -> Vec<(&'static str, String)> {
        let mut messages = Vec::new();
        let thinks = |profile: &Self| Self { prompt: String::new(), ..profile.clone() }.think("");
        if thinks(self) != thinks(before) {
            let think = self.with_fields("think", self.think(prompt));
            messages.push(("ThinkUpdated", json!({ "type": "UpdateThink", "think": think }).to_string()));
        } else if self.prompt != before.prompt {
            messages.push(("PromptUpdated", update_prompt(prompt)));
        }
        if let Some(speak) = self.speak().filter(|_| self.speak() != before.speak()) {
            let speak = self.with_fields("speak", speak);
            messages.push(("SpeakUpdated", json!({ "type": "UpdateSpeak", "speak": speak }).to_string()));
        }
        if let Some(mut listen) = self.listen.json().filter(|_| self.listen != before.listen) {
            // What is left out stays as it was.
            if self.listen.timeout_ms.is_none() && before.listen.timeout_ms.is_some() {
                listen["provider"]["eot_timeout_ms"] = USUAL_MS.into();
            }
            let listen = self.with_fields("listen", listen);
            messages.push(("ListenUpdated", json!({ "type": "UpdateListen", "listen": listen }).to_string()));
        }
        messages
    }
}

/// The message with another prompt.
pub(super) fn update_prompt(prompt: &str) -> String {
    json!({ "type": "UpdatePrompt", "prompt": prompt }).to_string()
}
