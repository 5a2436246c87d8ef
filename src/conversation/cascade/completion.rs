//! The request to the language model, and its answer line by line as it comes.
//!
//! Pure. `POST …/chat/completions` with `stream`: server-sent events, one JSON for each, `[DONE]` at the end.

use serde::Deserialize;
use serde_json::{Value, json};

use super::super::functions::Function;
use crate::peer::Usage;

/// Longest line of an answer.
const MOST_LINE: usize = 256 << 10;

/// What every request of a conversation has in common.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct Model {
    pub(super) name: String,
    pub(super) tools: Vec<Function>,
    pub(super) max_tokens: Option<u32>,
    pub(super) reasoning_effort: Option<String>,
}

impl Model {
    /// The body of a request with these messages.
    pub(super) fn body(&self, messages: &[Value]) -> String {
        let mut body = json!({
            "model": self.name, "messages": messages, "stream": true, "stream_options": {"include_usage": true},
        });
        if let Some(most) = self.max_tokens {
            body["max_tokens"] = json!(most);
        }
        if let Some(effort) = &self.reasoning_effort {
            body["reasoning_effort"] = json!(effort);
        }
        if !self.tools.is_empty() {
            let tool = |tool: &Function| {
                let function =
                    json!({"name": tool.name, "description": tool.description, "parameters": tool.parameters});
                json!({"type": "function", "function": function})
            };
            body["tools"] = self.tools.iter().map(tool).collect();
        }
        body.to_string()
    }
}

/// Reads server-sent events from pieces of any size.
#[derive(Debug, Default)]
pub(super) struct Lines {
    line: Vec<u8>,
    over: bool,
}

impl Lines {
    /// The data of the events that `piece` completes.
    pub(super) fn push(&mut self, piece: &[u8]) -> Vec<Data> {
        let mut events = Vec::new();
        for part in piece.split_inclusive(|byte| *byte == b'\n') {
            if self.line.len() + part.len() <= MOST_LINE {
                self.line.extend_from_slice(part);
            } else {
                self.over = true;
            }
            if part.ends_with(b"\n") {
                let line = std::mem::take(&mut self.line);
                if std::mem::take(&mut self.over) {
                    events.push(Data::Unusable);
                } else {
                    events.extend(Data::read(&line));
                }
            }
        }
        events
    }
}

/// The data of one event.
#[derive(Debug, PartialEq)]
pub(super) enum Data {
    /// Some of the answer.
    Chunk(Box<Chunk>),
    /// Its end.
    Done,
    /// What is neither.
    Unusable,
}

impl Data {
    fn read(line: &[u8]) -> Option<Self> {
        let line = String::from_utf8_lossy(line);
        // Names and comments of events are of no interest.
        let data = line.strip_prefix("data:")?.trim();
        match data {
            "" => None,
            "[DONE]" => Some(Self::Done),
            data => Some(serde_json::from_str(data).map_or(Self::Unusable, |chunk| Self::Chunk(Box::new(chunk)))),
        }
    }
}

/// Some of an answer.
#[derive(Debug, PartialEq, Default, Deserialize)]
pub(super) struct Chunk {
    #[serde(default)]
    pub(super) choices: Vec<Choice>,
    #[serde(default)]
    usage: Option<Value>,
    /// An error in place of an answer.
    #[serde(default)]
    pub(super) error: Option<Value>,
}

#[derive(Debug, PartialEq, Default, Deserialize)]
pub(super) struct Choice {
    #[serde(default)]
    pub(super) delta: Delta,
    #[serde(default)]
    pub(super) finish_reason: Option<String>,
}

#[derive(Debug, PartialEq, Default, Deserialize)]
pub(super) struct Delta {
    #[serde(default)]
    pub(super) content: Option<String>,
    #[serde(default)]
    pub(super) tool_calls: Option<Vec<CallPart>>,
}

/// Some of a function call.
#[derive(Debug, PartialEq, Default, Deserialize)]
pub(super) struct CallPart {
    #[serde(default)]
    pub(super) index: usize,
    #[serde(default)]
    pub(super) id: Option<String>,
    #[serde(default)]
    pub(super) function: FunctionPart,
}

#[derive(Debug, PartialEq, Default, Deserialize)]
pub(super) struct FunctionPart {
    #[serde(default)]
    pub(super) name: Option<String>,
    #[serde(default)]
    pub(super) arguments: Option<String>,
}

impl Chunk {
    /// What the answer has cost, if this says so.
    pub(super) fn usage(&self) -> Option<Usage> {
        let usage = self.usage.as_ref().filter(|usage| usage.is_object())?;
        let input = usage["prompt_tokens"].as_u64().unwrap_or_default();
        let output = usage["completion_tokens"].as_u64().unwrap_or_default();
        let cached = usage["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap_or_default().min(input);
        Some(Usage {
            input_tokens: input,
            input_text_tokens: input,
            cached_tokens: cached,
            cached_text_tokens: cached,
            output_tokens: output,
            output_text_tokens: output,
            ..Usage::default()
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn events_are_read_however_they_are_cut() {
        let text = "event: x\r\ndata: {\"choices\":[{\"delta\":{\"content\":\"Grüß\"}}]}\r\n\r\n: comment\ndata:{\"choices\":[]}\n\n\
                    data: no JSON\n\ndata: [DONE]\n\n";
        let whole = Lines::default().push(text.as_bytes());
        for size in 1..9 {
            let mut lines = Lines::default();
            let cut: Vec<_> = text.as_bytes().chunks(size).flat_map(|piece| lines.push(piece)).collect();
            assert_eq!(cut, whole, "{size}");
        }
        let [Data::Chunk(first), Data::Chunk(_), Data::Unusable, Data::Done] = &whole[..] else { unreachable!() };
        assert_eq!(first.choices[0].delta.content.as_deref(), Some("Grüß"));
    }

    #[test]
    fn a_line_without_an_end_is_not_kept() {
        let mut lines = Lines::default();
        for _ in 0..10 {
            assert_eq!(lines.push(&[b'x'; 100_000]), []);
        }
        assert!(lines.line.len() <= MOST_LINE);
        assert_eq!(lines.push(b"\ndata: [DONE]\n"), [Data::Unusable, Data::Done]);
    }

    #[test]
    fn a_request_names_what_the_operator_has_set() {
        let model = Model {
            name: "m".into(),
            tools: vec![Function::new("look_up", "Looks up.", json!({"type": "object"}))],
            max_tokens: Some(9),
            reasoning_effort: None,
        };
        let body: Value = serde_json::from_str(&model.body(&[json!({"role": "user", "content": "Hi."})])).unwrap();
        let function = json!({"name": "look_up", "description": "Looks up.", "parameters": {"type": "object"}});
        let expected = json!({"model": "m", "messages": [{"role": "user", "content": "Hi."}], "stream": true,
            "stream_options": {"include_usage": true}, "max_tokens": 9,
            "tools": [{"type": "function", "function": function}]});
        assert_eq!(body, expected);
    }
}
