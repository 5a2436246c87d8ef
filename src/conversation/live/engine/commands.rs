//! What the agent wants: a session, responses, words for the model, results of functions, silence.

use std::time::Instant;

use super::super::super::engine::{Command, Event, FailureClass, Memory, Outcome, Output, Refuses};
use super::super::super::openai::Operation;
use super::super::backend::Given;
use super::super::message::{self, ClientEvent};
use super::super::pieces::pieces;
use super::{Live, MOST_HELD, Owed, Phase, READY};
use crate::peer::{Message, Speaker};

/// What makes the model speak where there is nothing new to speak about.
const GO_ON: &str = "Go on with the conversation, from what the caller has heard.";
/// What the model learns when the caller hears no more of what it is saying.
const UNHEARD: &str = "The caller does not hear the rest of what I am saying now.";

impl Live {
    pub(super) fn command(&mut self, now: Instant, command: Command) {
        match command {
            Command::Connect { .. } => self.outputs.push_back(Output::Connect(self.config.target.clone())),
            Command::Close => self.close(),
            Command::Recall { past } if self.phase == Phase::Recalling => self.start(now, &past),
            _ if self.phase != Phase::Ready => {}
            Command::Respond { request, instructions } => self.respond(request, instructions.as_deref()),
            Command::Cancel { response_id, tell } => self.cancel(&response_id, tell),
            Command::Message { speaker, text, respond: true, .. } if self.held.len() < MOST_HELD => {
                self.held.push((speaker, text));
            }
            Command::Message { speaker, text, .. } => self.append(speaker, &text),
            Command::ToolCall { call_id, name, arguments } => {
                let text = format!("I have called the function {name} (call {call_id}) with {arguments}.");
                self.append(Speaker::Agent, &text);
            }
            Command::ToolOutput { call_id, output } => self.result(&call_id, &output),
            Command::Raw { event } => self.outputs.push_back(Output::Send(Message::Text(event))),
            // It says nothing word for word, cannot forget, finds the turns itself and asks for no approvals.
            Command::Say { .. } | Command::Recall { .. } | Command::Truncate { .. } | Command::Delete { .. } => {}
            Command::BeginTurn { .. } | Command::Commit | Command::Approve { .. } => {}
        }
    }

    fn start(&mut self, now: Instant, past: &[Memory]) {
        self.phase = Phase::Starting { until: now + READY };
        let session = self.config.profile.session(past);
        let event_id = self.event_id(Operation::Configure);
        self.send(&ClientEvent::Start { event_id: &event_id, session });
    }

    fn close(&mut self) {
        if self.phase == Phase::Ready {
            // The service counts a session that is only cut off as lost.
            self.send(&ClientEvent::Close);
        }
        if self.is_open() {
            self.outputs.push_back(Output::Close);
        }
        self.phase = Phase::Ended;
    }

    /// The model is to speak: about this, about texts that wait for an answer, or about results that it has.
    fn respond(&mut self, request: u64, instructions: Option<&str>) {
        let held = std::mem::take(&mut self.held);
        self.asked = true;
        let event_id = Operation::Respond.event_id(request);
        match instructions {
            Some(instructions) => {
                // What was to be answered besides goes before.
                held.iter().for_each(|(speaker, text)| self.append(*speaker, text));
                self.comment(Some(&event_id), None, instructions);
            }
            None if !held.is_empty() => {
                let words: Vec<_> = held.iter().map(|(speaker, text)| to_be_answered(*speaker, text)).collect();
                self.comment(Some(&event_id), None, &words.join("\n"));
            }
            None if matches!(self.owed, Owed::Work | Owed::Speech) => {}
            None if self.owed == Owed::Spoken => {
                (self.owed, self.asked) = (Owed::Nothing, false);
                let refuses = Refuses::Response(Some(request));
                self.fail(FailureClass::Harmless, refuses, "spoken", "the model has spoken of it already");
            }
            None => self.comment(Some(&event_id), None, GO_ON),
        }
    }

    /// The model gets something that it is to speak about, in words of its own.
    pub(super) fn comment(&mut self, event_id: Option<&str>, delegation_id: Option<&str>, text: &str) {
        self.supersede();
        for (at, content) in pieces(text).into_iter().enumerate() {
            self.send(&ClientEvent::Commentary { event_id: event_id.filter(|_| at == 0), content, delegation_id });
        }
    }

    /// Something that nobody is to answer.
    fn append(&mut self, speaker: Speaker, text: &str) {
        let text = match speaker {
            Speaker::Caller => format!("The caller has written: {text}"),
            Speaker::Agent | Speaker::System => text.to_owned(),
        };
        for content in pieces(&text) {
            self.send(&match speaker {
                Speaker::System => ClientEvent::Instructions { content, delegation_id: None },
                Speaker::Caller | Speaker::Agent => ClientEvent::Thinking { content, delegation_id: None },
            });
        }
    }

    /// An answer is not wanted any more. The service cannot be stopped: the caller hears no more of it, and the model learns that.
    fn cancel(&mut self, response_id: &str, tell: bool) {
        let wanted = |answer: &&mut super::Answer| answer.response_id == response_id && !answer.muted;
        let Some(answer) = self.answer.as_mut().filter(wanted) else { return };
        answer.muted = true;
        if tell {
            self.send(&ClientEvent::Thinking { content: UNHEARD, delegation_id: None });
        }
        self.event(Event::ResponseDone { response_id: response_id.to_owned(), outcome: Outcome::Cancelled });
    }

    /// There is the result of a function.
    fn result(&mut self, call_id: &str, output: &str) {
        match self.tasks.given(call_id) {
            Given::Backend { goes_on } => {
                self.send(&ClientEvent::Item { item: message::Output { call_id, output } });
                self.owed = Owed::Work;
                if goes_on {
                    self.send(&ClientEvent::Respond);
                }
            }
            Given::Operator => {
                self.owed = Owed::Speech;
                self.comment(None, Some(call_id), output);
            }
            // Of a session before this one.
            Given::Unknown if self.held.len() < MOST_HELD => {
                let text = format!("The function of call {call_id} has returned: {output}");
                self.held.push((Speaker::System, text));
            }
            Given::Unknown => self.fault("too many texts wait for an answer: a result was dropped"),
        }
    }
}

/// A text that the model is to answer.
fn to_be_answered(speaker: Speaker, text: &str) -> String {
    match speaker {
        Speaker::Caller => format!("The caller has just entered this; answer it: {text}"),
        Speaker::Agent | Speaker::System => text.to_owned(),
    }
}
