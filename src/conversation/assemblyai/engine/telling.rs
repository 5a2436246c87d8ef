//! What the agent wants, as messages to the service.
//!
//! ```text
//! Message ─► conversation.message, and if it is to be answered, a part of the instructions of the next answer
//! Respond ─┬─ the service answers by itself ─► nothing
//!          └─ otherwise, once nobody speaks ─► reply.create
//! result ─► tool.result, once nobody speaks
//! ```

use std::time::Instant;

use super::super::super::engine::Command;
use super::super::super::functions::is_failure;
use super::super::failure;
use super::super::message::ClientMessage;
use super::super::texts::Texts;
use super::{Asked, AssemblyAi, How, OWED, Output, Owed};
use crate::peer::{Message, Speaker};

impl AssemblyAi {
    pub(super) fn tell(&mut self, command: Command) {
        match command {
            Command::Respond { request, instructions } => self.respond(request, instructions),
            Command::Message { speaker, text, respond, .. } => {
                self.send_message(speaker, &text);
                if respond {
                    self.texts.hold(speaker, text);
                }
            }
            // A call of an earlier session, of which this one knows nothing.
            Command::ToolCall { call_id, name, arguments } => {
                let text = format!("You have called the function {name} with {arguments}: call {call_id}.");
                self.send_message(Speaker::System, &text);
            }
            Command::ToolOutput { call_id, output } => {
                if !self.calls.returned(&call_id, &output) {
                    self.send_message(Speaker::System, &format!("Call {call_id} has returned: {output}"));
                }
            }
            Command::Raw { event } => self.outputs.push_back(Output::Send(Message::Text(event))),
            // The service has no word for these: it gives up an answer by itself where the caller speaks, and what comes of one that
            // nobody wants is dropped by the agent.
            Command::Cancel { .. } | Command::BeginTurn { .. } => {}
            // Not among its capabilities, or not in a session.
            Command::Say { .. } | Command::Commit | Command::Truncate { .. } | Command::Delete { .. } => {}
            Command::Approve { .. } | Command::Connect { .. } | Command::Recall { .. } | Command::Close => {}
        }
    }

    pub(super) fn send_message(&mut self, speaker: Speaker, text: &str) {
        let (role, content) = Texts::message(speaker, text);
        self.send(&ClientMessage::Message { role, content: &content });
    }

    /// An answer is wanted. The service answers turns and results by itself; for words of the agent's own it has to be asked.
    fn respond(&mut self, request: u64, instructions: Option<String>) {
        let owes = matches!(self.owed, Some(Owed::Turn(_) | Owed::Result(_))) || self.calls.wait();
        let how = match self.texts.instructions(instructions) {
            None if owes => How::Owed,
            instructions => How::Waits(instructions),
        };
        self.asked = Some(Asked { request, how });
    }

    /// Nobody speaks: asks for the answer that waits, unless the service owes one.
    pub(super) fn ask(&mut self) {
        if self.owed.is_some() || self.calls.wait() {
            return;
        }
        let Some(asked) = self.asked.as_mut().filter(|asked| matches!(asked.how, How::Waits(_))) else { return };
        if let How::Waits(instructions) = std::mem::replace(&mut asked.how, How::Sent) {
            self.send(&ClientMessage::Reply { instructions: instructions.as_deref() });
        }
    }

    /// Nobody speaks: the results that wait.
    pub(super) fn send_results(&mut self, now: Instant) {
        for (call_id, output) in self.calls.take(now) {
            self.owed = Some(Owed::Result(now + OWED));
            let is_error = is_failure(&output);
            self.send(&ClientMessage::Result { call_id: &call_id, result: &output, is_error });
        }
    }

    /// The caller speaks: what was asked for and has not begun is to be asked for again.
    pub(super) fn unasked(&mut self) {
        if let Some(Asked { request, .. }) = self.asked.take() {
            self.failed(failure::interrupted(request));
        }
    }

    /// The caller's turn is over, and the service answers it: so it is with what was asked for without words.
    pub(super) fn turn_is_answered(&mut self) {
        match &mut self.asked {
            Some(Asked { how: how @ How::Waits(None), .. }) => *how = How::Owed,
            Some(Asked { how: How::Owed, .. }) | None => {}
            Some(_) => self.unasked(),
        }
    }
}
