//! What was said so far, as the messages of a request to the language model, which remembers nothing itself.
//!
//! Pure. At most [`MOST_ITEMS`] and [`MOST_BYTES`] are kept; the oldest go first.

use std::collections::VecDeque;

use serde_json::{Value, json};

use crate::peer::Speaker;

/// Most items that are kept.
const MOST_ITEMS: usize = 400;
/// Most bytes of text that are kept.
const MOST_BYTES: usize = 256 << 10;

/// Something that was said or done.
#[derive(Debug)]
struct Item {
    id: String,
    what: What,
}

#[derive(Debug)]
enum What {
    Words { speaker: Speaker, text: String },
    Call { name: String, arguments: String, output: Option<String> },
}

impl Item {
    fn bytes(&self) -> usize {
        match &self.what {
            What::Words { text, .. } => text.len(),
            What::Call { name, arguments, output } => {
                name.len() + arguments.len() + output.as_ref().map_or(0, String::len)
            }
        }
    }
}

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Dialogue {
    items: VecDeque<Item>,
}

impl Dialogue {
    /// Words, behind the item `after`; without one, or without that one, at the end.
    pub(super) fn words(&mut self, id: String, speaker: Speaker, text: String, after: Option<&str>) {
        let behind = after.and_then(|after| self.items.iter().position(|item| item.id == after));
        let item = Item { id, what: What::Words { speaker, text } };
        self.items.insert(behind.map_or(self.items.len(), |at| at + 1), item);
        self.bound();
    }

    /// More words of an item.
    pub(super) fn add(&mut self, id: &str, more: &str) {
        if let Some(Item { what: What::Words { text, .. }, .. }) =
            self.items.iter_mut().rev().find(|item| item.id == id)
        {
            text.push_str(more);
        }
        self.bound();
    }

    /// A function call; its item has its id.
    pub(super) fn call(&mut self, call_id: String, name: String, arguments: String) {
        self.items.push_back(Item { id: call_id, what: What::Call { name, arguments, output: None } });
        self.bound();
    }

    /// The result of a call.
    pub(super) fn output(&mut self, call_id: &str, result: String) {
        let known = self.items.iter_mut().rev().find(|item| item.id == call_id);
        if let Some(Item { what: What::Call { output, .. }, .. }) = known {
            *output = Some(result);
        }
        self.bound();
    }

    /// Forgets an item.
    pub(super) fn delete(&mut self, id: &str) {
        self.items.retain(|item| item.id != id);
    }

    fn bound(&mut self) {
        let mut bytes: usize = self.items.iter().map(Item::bytes).sum();
        while (self.items.len() > MOST_ITEMS || bytes > MOST_BYTES) && self.items.len() > 1 {
            bytes -= self.items.pop_front().map_or(0, |item| item.bytes());
        }
    }

    /// The messages of a request. `system` comes first. Several words of one speaker in a row are one message, since some
    /// models take no others; a call without its result is left out, since the service refuses it.
    pub(super) fn messages(&self, system: &str) -> Vec<Value> {
        self.messages_and(system, None)
    }

    /// The same, as if the caller had said these words last.
    pub(super) fn messages_and(&self, system: &str, words: Option<&str>) -> Vec<Value> {
        let mut messages: Vec<Value> = Vec::new();
        if !system.is_empty() {
            messages.push(json!({"role": "system", "content": system}));
        }
        let (mut calls, mut results): (Vec<Value>, Vec<Value>) = (Vec::new(), Vec::new());
        let flush = |messages: &mut Vec<Value>, calls: &mut Vec<Value>, results: &mut Vec<Value>| {
            if !calls.is_empty() {
                messages.push(json!({"role": "assistant", "content": null, "tool_calls": std::mem::take(calls)}));
                messages.append(results);
            }
        };
        for item in &self.items {
            match &item.what {
                What::Call { name, arguments, output: Some(output) } => {
                    let function = json!({"name": name, "arguments": arguments});
                    calls.push(json!({"id": item.id, "type": "function", "function": function}));
                    results.push(json!({"role": "tool", "tool_call_id": item.id, "content": output}));
                }
                What::Call { output: None, .. } => {}
                What::Words { text, .. } if text.trim().is_empty() => {}
                What::Words { speaker, text } => {
                    flush(&mut messages, &mut calls, &mut results);
                    say(&mut messages, *speaker, text);
                }
            }
        }
        flush(&mut messages, &mut calls, &mut results);
        if let Some(words) = words {
            say(&mut messages, Speaker::Caller, words);
        }
        messages
    }
}

/// Adds what a speaker says, to their message if the last is theirs.
fn say(messages: &mut Vec<Value>, speaker: Speaker, text: &str) {
    let role = match speaker {
        Speaker::Caller => "user",
        Speaker::Agent => "assistant",
        Speaker::System => "system",
    };
    match messages.last_mut() {
        Some(last) if last["role"] == role && last["content"].is_string() => {
            let before = last["content"].as_str().unwrap_or_default();
            last["content"] = json!(format!("{before}\n{text}"));
        }
        _ => messages.push(json!({"role": role, "content": text})),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_said_becomes_messages_in_its_order() {
        let mut dialogue = Dialogue::default();
        let words = |dialogue: &mut Dialogue, id: &str, speaker, text: &str, after| {
            dialogue.words(id.into(), speaker, text.into(), after);
        };
        words(&mut dialogue, "u1", Speaker::Caller, "Hello.", None);
        words(&mut dialogue, "a1", Speaker::Agent, "It is a long story.", None);
        words(&mut dialogue, "u2", Speaker::Caller, "Where is", None);
        words(&mut dialogue, "u3", Speaker::Caller, "my order?", None);
        dialogue.call("c1".into(), "look_up".into(), "{}".into());
        dialogue.call("c2".into(), "look_up".into(), "{\"n\":2}".into());
        dialogue.output("c1", "gone".into());
        // What was heard takes the place of what was written.
        words(&mut dialogue, "a2", Speaker::Agent, "It is", Some("a1"));
        dialogue.delete("a1");
        let call = json!({"id": "c1", "type": "function", "function": {"name": "look_up", "arguments": "{}"}});
        let expected = [
            json!({"role": "system", "content": "Be brief."}),
            json!({"role": "user", "content": "Hello."}),
            json!({"role": "assistant", "content": "It is"}),
            json!({"role": "user", "content": "Where is\nmy order?"}),
            json!({"role": "assistant", "content": null, "tool_calls": [call]}),
            json!({"role": "tool", "tool_call_id": "c1", "content": "gone"}),
        ];
        assert_eq!(dialogue.messages("Be brief."), expected);
    }

    #[test]
    fn the_oldest_words_go_first() {
        let mut dialogue = Dialogue::default();
        for n in 0..500 {
            dialogue.words(format!("u{n}"), Speaker::Caller, format!("{n}"), None);
        }
        let messages = dialogue.messages("");
        assert!(messages[0]["content"].as_str().is_some_and(|text| text.starts_with("100\n")), "{messages:?}");
        dialogue.words("long".into(), Speaker::Agent, "x".repeat(MOST_BYTES + 1), None);
        assert_eq!(dialogue.items.len(), 1);
    }
}
