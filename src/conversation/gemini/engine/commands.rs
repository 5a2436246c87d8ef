//! What the agent wants: answers, words for the model, results of functions, turns of the caller.

use std::time::{Duration, Instant};

use super::super::super::engine::{Command, Event, FailureClass, Outcome, Output, Refuses};
use super::super::calls::Of;
use super::super::message;
use super::super::profile::Turns;
use super::super::texts;
use super::{Gemini, Phase};
use crate::peer::Speaker;

/// How long a text waits for a request that it may go with.
const WITH_REQUEST: Duration = Duration::from_millis(100);
/// How long results wait for a request that they may go with.
const RESULTS: Duration = Duration::from_secs(1);

impl Gemini {
    pub(super) fn command(&mut self, now: Instant, command: Command) {
        match command {
            Command::Connect { .. } => self.outputs.push_back(Output::Connect(self.config.target.clone())),
            Command::Close => {
                if self.is_open() {
                    self.outputs.push_back(Output::Close);
                }
                self.phase = Phase::Ended;
            }
            _ if self.phase != Phase::Ready => {}
            Command::Respond { request, instructions } => self.respond(request, instructions.as_deref()),
            Command::Cancel { response_id, tell } => self.cancel(&response_id, tell),
            Command::Message { speaker, text, .. } => self.message(now, speaker, text),
            Command::ToolCall { call_id, name, arguments } => {
                self.calls.told(&call_id, &name);
                self.message(now, Speaker::Agent, format!("(I called the function {name} with {arguments}.)"));
            }
            Command::ToolOutput { call_id, output } => self.tool_output(now, &call_id, output),
            Command::BeginTurn { audio } => {
                self.tell_history();
                let steps = self.activity.begin(&audio);
                self.act(steps);
            }
            Command::Commit => self.commit(),
            // It cannot forget, it has no tools of its own, and events of the operator's are refused before.
            Command::Truncate { .. } | Command::Delete { .. } | Command::Approve { .. } | Command::Raw { .. } => {}
            // It says nothing word for word, and is told the past once it is ready.
            Command::Say { .. } | Command::Recall { .. } => {}
        }
    }

    fn respond(&mut self, request: u64, instructions: Option<&str>) {
        self.tell_history();
        if self.calls.is_waiting() {
            let why = "the model waits for a function";
            return self.fail(FailureClass::Busy, Refuses::Response(Some(request)), "busy", why);
        }
        // With words of its own it is no answer to the caller's turn, whose answer has been given up.
        let owes_answer = self.model.owes_answer && instructions.is_none();
        let with = instructions.map(texts::instructions);
        if let Some(results) = self.calls.take(with.as_deref()) {
            self.results_due = None;
            self.news(message::tool_response(&results));
        } else if !owes_answer {
            self.texts_due = None;
            let (before, text) = self.texts.request(instructions);
            if !before.is_empty() {
                self.news(message::content(&before, false));
            }
            self.model.disturbed = true;
            // Where the module finds the turns, a text is one, too.
            let turn = matches!(self.config.profile.turns, Turns::Module { .. }) && !self.activity.is_open();
            if turn {
                self.send(message::activity_start());
            }
            self.news(message::text(&text));
            if turn {
                self.send(message::activity_end());
            }
        }
        self.model.asked = Some(request);
    }

    /// The service cannot be told. What it still says of the response is dropped, and its calls are not carried out.
    fn cancel(&mut self, response_id: &str, tell: bool) {
        if tell && self.model.give_up(response_id) {
            self.event(Event::ResponseDone { response_id: response_id.to_owned(), outcome: Outcome::Cancelled });
        }
        self.calls.give_up(response_id);
        self.results();
    }

    /// Results that nobody will ask an answer to.
    pub(super) fn results(&mut self) {
        if let Some(results) = self.calls.take(None) {
            self.news(message::tool_response(&results));
        }
    }

    fn message(&mut self, now: Instant, speaker: Speaker, text: String) {
        if self.texts.add(speaker, text) {
            self.fault("too many texts wait for the model: the oldest was dropped");
        }
        if !self.texts.owes_history() {
            self.texts_due = Some(now + WITH_REQUEST);
        }
    }

    fn tool_output(&mut self, now: Instant, call_id: &str, output: String) {
        let text = output.clone();
        match self.calls.answered(call_id, output) {
            Of::Session if self.calls.has_results() => self.results_due = Some(now + RESULTS),
            Of::Session => {}
            Of::History(name) => {
                self.message(now, Speaker::Caller, format!("(The function {name} has returned: {text})"));
            }
            Of::Nobody => {}
        }
    }

    /// The caller's turn is over, as the module finds; the model answers it by itself.
    fn commit(&mut self) {
        self.tell_history();
        let steps = self.activity.commit();
        if steps.is_empty() {
            return self.fail(FailureClass::Harmless, Refuses::Commit, "empty_turn", "there is no audio in the turn");
        }
        self.act(steps);
        self.commit_caller();
    }
}
