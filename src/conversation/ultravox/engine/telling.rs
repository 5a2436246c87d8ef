//! What the agent wants, as messages to the service.
//!
//! ```text
//! Message ─┬─ nobody is to answer ─► user_text_message, later
//!          └─ otherwise ─► held ─┐
//! Respond ───────────────────────┴─┬─ there are words ─► user_text_message, soon
//!                                  └─ the service answers by itself ─► nothing
//! Say ─► forced_agent_message
//! ```

use std::time::Instant;

use super::super::super::engine::{Command, Event, Outcome};
use super::super::message::{self, ClientMessage, Urgency};
use super::{MOST_HELD, OWED, Output, Ultravox};
use crate::peer::{Message, Speaker};

/// What asks for a response that has no words.
const GO_ON: &str = "Answer the caller now.";

impl Ultravox {
    pub(super) fn tell(&mut self, now: Instant, command: Command) {
        match command {
            Command::Respond { instructions, .. } => self.respond(now, instructions),
            Command::Say { text, .. } => {
                self.tell_held();
                self.owes = Some(now + OWED);
                self.send(&ClientMessage::ForcedAgentMessage { content: &text, urgency: Urgency::Soon });
            }
            Command::Cancel { response_id, tell } => self.cancel(&response_id, tell),
            Command::Message { speaker, text, respond: true, .. } if self.held.len() < MOST_HELD => {
                self.held.push((speaker, text));
            }
            Command::Message { speaker, text, .. } => self.write(&said(speaker, &text), Urgency::Later),
            // Calls of an earlier call of the service, of which this one knows nothing.
            Command::ToolCall { call_id, name, arguments } => {
                self.write(&message::instruction(&message::called(&call_id, &name, &arguments)), Urgency::Later);
            }
            Command::ToolOutput { call_id, output } if self.called.contains(&call_id) => {
                self.owes = Some(now + OWED);
                self.send(&ClientMessage::ClientToolResult { invocation_id: &call_id, result: &output });
            }
            Command::ToolOutput { call_id, output } => {
                self.write(&message::instruction(&message::returned(&call_id, &output)), Urgency::Later);
            }
            Command::Raw { event } => self.outputs.push_back(Output::Send(Message::Text(event))),
            // It cannot forget, asks for no approvals, and finds the turns itself: the agent does not ask for these.
            Command::Truncate { .. } | Command::Delete { .. } | Command::BeginTurn { .. } | Command::Commit => {}
            Command::Approve { .. } | Command::Connect { .. } | Command::Recall { .. } | Command::Close => {}
        }
    }

    fn write(&mut self, text: &str, urgency: Urgency) {
        self.send(&ClientMessage::UserTextMessage { text, urgency, defer_response: false });
    }

    /// A response is wanted. The service has to have words for that, unless it is about to respond anyway.
    fn respond(&mut self, now: Instant, instructions: Option<String>) {
        let held = std::mem::take(&mut self.held).into_iter().map(|(speaker, text)| said(speaker, &text));
        let words: Vec<_> = held.chain(instructions.map(|text| message::instruction(&text))).collect();
        let owes = self.owes.is_some_and(|until| now < until);
        let words = match words.is_empty() {
            true if owes => return,
            true => message::instruction(GO_ON),
            false => words.join("\n"),
        };
        self.owes = Some(now + OWED);
        self.write(&words, Urgency::Soon);
    }

    /// The service says something else first: it gets the texts that wait for an answer, so that its next one takes them into account.
    fn tell_held(&mut self) {
        for (speaker, text) in std::mem::take(&mut self.held) {
            self.write(&said(speaker, &text), Urgency::Later);
        }
    }

    /// An answer is not wanted any more.
    fn cancel(&mut self, response_id: &str, tell: bool) {
        let Some(answer) = self.answer.as_mut().filter(|answer| answer.response_id == response_id && !answer.given_up)
        else {
            return;
        };
        // More of it is known as part of it, and dropped with it.
        answer.given_up = true;
        if tell {
            self.stopping = true;
            self.send(&ClientMessage::STOP);
        }
        self.event(Event::ResponseDone { response_id: response_id.to_owned(), outcome: Outcome::Cancelled });
    }
}

/// A text as the model reads it.
fn said(speaker: Speaker, text: &str) -> String {
    match speaker {
        Speaker::Caller => text.to_owned(),
        Speaker::Agent => message::instruction(&format!("You have said to the caller: {text}")),
        Speaker::System => message::instruction(text),
    }
}
