//! What the agent wants, as messages to the service.
//!
//! ```text
//! Respond ─┬─ texts wait, or instructions ─► InjectUserMessage
//!          ├─ the service answers by itself ─► nothing
//!          ├─ the caller has cut something off ─► the same again
//!          └─ otherwise it has answered already ─► refused, harmless
//! Say ─► InjectAgentMessage      Commit ─► ForceEndTurn      results ─► FunctionCallResponse
//! ```

use std::time::Instant;

use serde_json::json;

use super::super::super::engine::{Command, Event, Memory, Refuses};
use super::super::failure;
use super::super::profile::update_prompt;
use super::{COMMIT, Cut, Deepgram, Phase, READY};
use crate::peer::Speaker;

impl Deepgram {
    /// The settings, with what was said and done so far.
    pub(super) fn configure(&mut self, now: Instant, past: Vec<Memory>) {
        self.phase = Phase::Configuring(now + READY);
        let messages = self.told.recall(past, self.config.profile.agent.is_none());
        let prompt = self.told.prompt(&self.config.profile.prompt);
        let settings = self.config.profile.settings(&prompt, messages);
        self.send(settings);
    }

    pub(super) fn tell(&mut self, now: Instant, command: Command) {
        match command {
            Command::Respond { request, instructions } => self.respond(request, instructions),
            Command::Say { request, text } => self.say(request, &text),
            Command::Message { speaker: Speaker::Agent, text, .. } if self.has_prompt() => {
                self.told.note(Speaker::Agent, &text);
                self.send_prompt();
            }
            Command::Message { speaker, text, .. } => self.told.wait(speaker, text),
            Command::ToolCall { call_id, name, arguments } => self.told.call(call_id, name, arguments),
            Command::ToolOutput { call_id, output } => self.result(&call_id, &output),
            Command::Commit => {
                self.commit = Some(now + COMMIT);
                self.send(r#"{"type":"ForceEndTurn"}"#.to_owned());
            }
            Command::Raw { event } => self.send(event),
            // The service has no word for these: it gives up an answer by itself where the caller speaks, what comes of one that
            // nobody wants is dropped by the agent, and no audio can be taken back.
            Command::Cancel { .. } | Command::BeginTurn { .. } => {}
            // Not among its capabilities, or not in a session.
            Command::Truncate { .. } | Command::Delete { .. } | Command::Approve { .. } => {}
            Command::Connect { .. } | Command::Recall { .. } | Command::Close => {}
        }
    }

    /// Whether the prompt is ours; that of a stored agent is not known.
    fn has_prompt(&self) -> bool {
        self.config.profile.agent.is_none()
    }

    /// The prompt with its notes.
    pub(super) fn prompt(&self) -> String {
        self.told.prompt(&self.config.profile.prompt)
    }

    fn send_prompt(&mut self) {
        self.prompts += 1;
        let prompt = self.prompt();
        self.send(update_prompt(&prompt));
    }

    /// Nothing is answered before the caller's own words.
    pub(super) fn note_what_waits(&mut self) {
        if self.has_prompt() && self.told.note_waiting() {
            self.send_prompt();
        }
    }

    fn respond(&mut self, request: u64, instructions: Option<String>) {
        let waiting = self.told.take_waiting();
        let text = match (waiting, instructions) {
            (Some(waiting), Some(instructions)) => Some(format!("{waiting}\n{instructions}")),
            (waiting, instructions) => waiting.or(instructions),
        };
        match (text, self.owed, self.cut.take()) {
            (Some(text), ..) | (None, false, Some(Cut::Injected(text))) => self.inject(request, text),
            (None, true, _) => self.asked = Some(request),
            (None, false, Some(Cut::Agent(text))) => self.say(request, &text),
            (None, false, None) => {
                let words = "the service has answered already, and cannot be asked again";
                self.failed(failure::harmless(Refuses::Response(Some(request)), "answered", words));
            }
        }
    }

    /// A text is to be answered as if the caller had said it.
    fn inject(&mut self, request: u64, text: String) {
        self.muted = false;
        self.told.injected(&text);
        self.send(json!({ "type": "InjectUserMessage", "content": text }).to_string());
        (self.asked, self.injected, self.owed, self.result) = (Some(request), Some(text), true, false);
    }

    /// Words of ours. During a function they are said behind what is being said; in place of an answer to its result they cut that off.
    fn say(&mut self, request: u64, text: &str) {
        let behavior = match () {
            () if !self.calls.is_empty() => "queue",
            () if self.result => "interrupt",
            () => "default",
        };
        self.muted = false;
        self.send(json!({ "type": "InjectAgentMessage", "message": text, "behavior": behavior }).to_string());
        (self.asked, self.saying) = (Some(request), Some(request));
        if std::mem::take(&mut self.result) {
            self.owed = false;
        }
    }

    fn result(&mut self, call_id: &str, output: &str) {
        let Some(at) = self.calls.iter().position(|(id, _)| id == call_id) else {
            return self.told.result(call_id, output);
        };
        if let Some((id, name)) = self.calls.remove(at) {
            let response = json!({ "type": "FunctionCallResponse", "id": id, "name": name, "content": output });
            self.send(response.to_string());
            if self.calls.is_empty() {
                (self.owed, self.result) = (true, true);
            }
        }
    }

    /// A turn that the module has ended has no words.
    pub(super) fn no_turn(&mut self) {
        self.failed(failure::harmless(Refuses::Commit, "no_words", "the service has heard no words"));
    }

    /// Words of ours are not said now, or what was asked for has been cut off: it is to be asked for again.
    pub(super) fn refuse(&mut self, request: u64, message: &str) {
        self.asked = None;
        self.failed(failure::refusal(request, message));
    }

    /// The caller speaks: the service gives up what it says and what it was going to say.
    pub(super) fn interrupted(&mut self) {
        let text = self.answer.as_ref().map(|answer| answer.text.clone()).filter(|text| !text.is_empty());
        self.cut = text.map(Cut::Agent).or_else(|| self.injected.take().map(Cut::Injected));
        self.event(Event::SpeechStarted { start_ms: None });
        self.answered(super::Outcome::Cancelled);
        if let Some(request) = self.asked.take() {
            self.refuse(request, "the caller speaks");
        }
        (self.injected, self.saying, self.muted) = (None, None, true);
        (self.owed, self.result) = (false, false);
    }
}
