//! Function calls of the model, from the call to its answer, and actions that wait until the caller has heard everything.
//!
//! Pure; owned by the agent. A call that nobody answers is given up after the profile's time.

use std::time::{Duration, Instant};

use super::outputs::Outputs;
use super::tools::{self, ToolPolicy, Verdict};
use super::{Action, Component, Event};
use crate::conversation::engine::Command;
use crate::peer;

/// A function call without an answer.
#[derive(Debug)]
struct Call {
    id: String,
    until: Instant,
    /// The response with the call.
    response_id: String,
    /// That response has failed: the model gets the result, but no response is asked for.
    orphan: bool,
}

/// The function calls of one conversation.
#[derive(Debug)]
pub(super) struct ToolCalls {
    policy: ToolPolicy,
    timeout: Duration,
    calls: Vec<Call>,
    /// Once all are answered, the model is to go on.
    respond_after: bool,
    /// An action that waits until all is said.
    deferred: Option<(String, Action)>,
}

impl ToolCalls {
    pub(super) fn new(policy: ToolPolicy, timeout: Duration) -> Self {
        Self { policy, timeout, calls: Vec::new(), respond_after: false, deferred: None }
    }

    /// The model calls a function in a response.
    pub(super) fn called(
        &mut self,
        now: Instant,
        response_id: &str,
        (call_id, name, arguments): (String, String, String),
        out: &mut Outputs,
    ) {
        if self.awaits(&call_id) {
            return;
        }
        let (id, until, response_id) = (call_id.clone(), now + self.timeout, response_id.to_owned());
        self.calls.push(Call { id, until, response_id, orphan: false });
        match self.policy.judge(&name, &arguments) {
            Verdict::Ask => out.event(Event::Action { call_id, name, arguments, builtin: false }),
            Verdict::Act(action) => {
                out.event(Event::Action { call_id: call_id.clone(), name, arguments, builtin: true });
                if !waits_for_speech(&action) {
                    out.push(peer::Output::Act { call_id, action });
                } else if self.deferred.is_none() {
                    self.deferred = Some((call_id, action));
                } else {
                    self.answered(&call_id, tools::failure("another one is under way"), out);
                }
            }
            Verdict::Refuse(why) => {
                let message = format!("function call '{}' refused: {why}", name.escape_debug());
                out.event(Event::Error { component: Component::Tool, code: "refused".into(), message });
                self.answered(&call_id, tools::failure(why), out);
            }
        }
    }

    /// A call has its answer.
    pub(super) fn answered(&mut self, call_id: &str, output: String, out: &mut Outputs) {
        let Some(at) = self.calls.iter().position(|call| call.id == call_id) else { return };
        let call = self.calls.remove(at);
        out.command(Command::ToolOutput { call_id: call_id.to_owned(), output });
        self.respond_after |= !call.orphan;
    }

    /// A response has failed: no response is asked for after the results of its calls, and its deferred action is not done.
    pub(super) fn response_failed(&mut self, response_id: &str, out: &mut Outputs) {
        for call in self.calls.iter_mut().filter(|call| call.response_id == response_id) {
            call.orphan = true;
        }
        let calls = &self.calls;
        let orphan = |id: &String| calls.iter().any(|call| call.orphan && call.id == *id);
        if let Some((call_id, _)) = self.deferred.take_if(|(call_id, _)| orphan(call_id)) {
            self.answered(&call_id, tools::failure("the response failed; it was not done"), out);
        }
    }

    /// The caller interrupts: what waited for the end of the agent's words is not done.
    pub(super) fn interrupted(&mut self, out: &mut Outputs) {
        if let Some((call_id, _)) = self.deferred.take() {
            let why = "the caller spoke before you had finished; it was not done";
            self.answered(&call_id, tools::failure(why), out);
        }
    }

    /// Gives up the calls whose time is over.
    pub(super) fn give_up_late(&mut self, now: Instant, out: &mut Outputs) {
        let late: Vec<String> =
            self.calls.iter().filter(|call| now >= call.until).map(|call| call.id.clone()).collect();
        for call_id in late {
            let message = format!("no answer to function call {call_id} in time");
            out.event(Event::Error { component: Component::Tool, code: "timeout".into(), message });
            self.deferred.take_if(|(id, _)| *id == call_id);
            self.answered(&call_id, tools::failure("no answer in time"), out);
        }
    }

    /// The action that waited until everything was said and heard.
    pub(super) fn act_deferred(&mut self, out: &mut Outputs) {
        if let Some((call_id, action)) = self.deferred.take() {
            out.push(peer::Output::Act { call_id, action });
        }
    }

    /// Whether all calls are answered and the model is to go on; said once.
    pub(super) fn take_respond(&mut self) -> bool {
        let respond = self.respond_after && !self.is_waiting();
        self.respond_after &= !respond;
        respond
    }

    /// Whether a call with this id waits for its answer.
    pub(super) fn awaits(&self, call_id: &str) -> bool {
        self.calls.iter().any(|call| call.id == call_id)
    }

    /// Whether the model waits for an answer to go on.
    pub(super) fn is_waiting(&self) -> bool {
        self.calls.iter().any(|call| !call.orphan)
    }

    /// The session is gone. A goodbye that was begun is still finished; its result is nobody's any more.
    pub(super) fn session_gone(&mut self) {
        self.calls.clear();
        self.respond_after = false;
    }

    /// When the first call is given up.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.calls.iter().map(|call| call.until).min()
    }
}

/// Whether the caller should first hear what is being said.
const fn waits_for_speech(action: &Action) -> bool {
    matches!(action, Action::HangUp { .. } | Action::Transfer { .. })
}
