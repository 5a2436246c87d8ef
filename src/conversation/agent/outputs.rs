//! What the agent wants done, in order. Every part writes here.
//!
//! Commands for the engine are dropped while there is no session, and those that the engine cannot carry out always.

use std::collections::VecDeque;

use super::{Action, Event};
use crate::conversation::engine::{Capabilities, Command, Memory};
use crate::conversation::queue;
use crate::peer::{self, Usage};

/// What the agent wants done.
#[derive(Clone, PartialEq, Debug)]
pub enum Output {
    /// For the engine.
    Command(Command),
    /// Caller's audio that has waited for the session, for the engine.
    Append(Vec<u8>),
    /// For the stream.
    Peer(peer::Output),
}

/// The outputs that wait to be taken.
#[derive(Debug)]
pub(super) struct Outputs {
    queue: VecDeque<Output>,
    engine: Capabilities,
    session: bool,
    /// What the conversation has used so far.
    usage: Usage,
    /// Why the call ends, if this side ends it.
    ending: Option<&'static str>,
}

impl Outputs {
    pub(super) fn new(engine: Capabilities) -> Self {
        Self { queue: VecDeque::new(), engine, session: false, usage: Usage::default(), ending: None }
    }

    /// Whether there is a session to give commands to.
    pub(super) fn set_session(&mut self, session: bool) {
        self.session = session;
    }

    pub(super) fn has_session(&self) -> bool {
        self.session
    }

    pub(super) fn push(&mut self, output: peer::Output) {
        match &output {
            // The idle timer acts without a function call.
            peer::Output::Act { call_id, action: Action::HangUp { .. } } if call_id.is_empty() => {
                self.ending = Some("idle")
            }
            peer::Output::Act { action: Action::HangUp { .. }, .. } => self.ending = Some("agent_hang_up"),
            peer::Output::Act { action: Action::Transfer { .. }, .. } => self.ending = Some("agent_transfer"),
            _ => {}
        }
        self.queue.push_back(Output::Peer(output));
    }

    pub(super) fn event(&mut self, event: Event) {
        self.push(peer::Output::Event(peer::Event::Ai(event)));
    }

    /// The service has billed this.
    pub(super) fn used(&mut self, usage: Usage) {
        self.usage.add(&usage);
        self.push(peer::Output::Used(usage));
    }

    /// Why the call ends, if this side ends it.
    pub(super) fn ending(&self) -> Option<&'static str> {
        self.ending
    }

    /// What the conversation has used so far.
    pub(super) fn usage(&self) -> Usage {
        self.usage
    }

    /// A response of the model is over. `heard_text`: of one that the caller interrupted.
    pub(super) fn response(
        &mut self,
        response_id: String,
        text: String,
        interrupted: bool,
        heard_text: Option<String>,
    ) {
        self.event(Event::Response { response_id, text, interrupted, heard_text, usage: self.usage });
    }

    /// A command within the session.
    pub(super) fn command(&mut self, command: Command) {
        let able = match &command {
            Command::Truncate { .. } | Command::Delete { .. } => self.engine.truncates,
            Command::Message { .. } | Command::ToolCall { .. } => self.engine.takes_text,
            _ => true,
        };
        if self.session && able {
            self.queue.push_back(Output::Command(command));
        }
    }

    pub(super) fn append(&mut self, audio: Vec<u8>) {
        self.queue.push_back(Output::Append(audio));
    }

    pub(super) fn connect(&mut self, attempt: u32) {
        self.queue.push_back(Output::Command(Command::Connect { attempt }));
    }

    /// What a session that is not there yet has to know.
    pub(super) fn recall(&mut self, past: Vec<Memory>) {
        self.queue.push_back(Output::Command(Command::Recall { past }));
    }

    pub(super) fn close(&mut self) {
        self.queue.push_back(Output::Command(Command::Close));
    }

    pub(super) fn pop(&mut self) -> Option<Output> {
        queue::pop(&mut self.queue)
    }
}
