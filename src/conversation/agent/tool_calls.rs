//! Function calls of the model, from the call to its answer, and actions that wait until the caller has heard everything.
//!
//! A call outlives the session in which the model made it: the next session learns of the call, and its result goes there.
//!
//! Pure; owned by the agent. A call that nobody answers is given up after the profile's time. A result that comes later goes to the
//! model as a message; the last [`MOST_LATE`] such calls are remembered.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::history::History;
use super::outputs::Outputs;
use super::tools::{self, ToolPolicy, Verdict};
use super::{Action, Component, Event, Speaker};
use crate::conversation::engine::{Command, Memory};
use crate::conversation::mcp::{self, Approval};
use crate::peer;

/// Calls that were given up and are remembered.
const MOST_LATE: usize = 16;

/// A function call without an answer.
#[derive(Debug)]
struct Call {
    id: String,
    name: String,
    arguments: String,
    until: Instant,
    /// The response with the call.
    response_id: String,
    /// That response has failed: the model gets the result, but no response is asked for.
    orphan: bool,
    /// The service itself carries it out, if it is approved: the result is the decision, and another session knows nothing of it.
    by_service: bool,
}

/// The function calls of one conversation.
#[derive(Debug)]
pub(super) struct ToolCalls {
    policy: ToolPolicy,
    timeout: Duration,
    calls: Vec<Call>,
    /// Results that came without a session, for a service that resumes and knows the calls.
    untold: Vec<Command>,
    /// Calls that were given up, id and name: their results may still come.
    late: VecDeque<(String, String)>,
    /// Once all are answered, the model is to go on.
    respond_after: bool,
    /// An action that waits until all is said.
    deferred: Option<(String, Action)>,
    /// The call by which the caller is being transferred.
    transfer: Option<String>,
}

impl ToolCalls {
    pub(super) fn new(policy: ToolPolicy, timeout: Duration) -> Self {
        Self {
            policy,
            timeout,
            calls: Vec::new(),
            untold: Vec::new(),
            late: VecDeque::new(),
            respond_after: false,
            deferred: None,
            transfer: None,
        }
    }

    /// What the model may do from now on.
    pub(super) fn set_policy(&mut self, policy: ToolPolicy) {
        self.policy = policy;
    }

    /// The model calls a function in a response.
    pub(super) fn called(
        &mut self,
        now: Instant,
        response_id: &str,
        (call_id, name, arguments): (String, String, String),
        (history, out): (&mut History, &mut Outputs),
    ) {
        if self.awaits(&call_id) {
            return;
        }
        history.call(&call_id, &name, &arguments);
        self.open(now, response_id, (&call_id, &name, &arguments), false);
        match self.policy.judge(&name, &arguments) {
            Verdict::Ask => {
                out.event(Event::Action { call_id, name, arguments, builtin: false, webhook: false, mcp_server: None });
            }
            Verdict::Act(action) => {
                let (builtin, webhook, mcp_server) = (true, false, None);
                out.event(Event::Action { call_id: call_id.clone(), name, arguments, builtin, webhook, mcp_server });
                if !waits_for_speech(&action) {
                    out.push(peer::Output::Act { call_id, action });
                } else if self.deferred.is_none() {
                    self.deferred = Some((call_id, action));
                } else {
                    self.answered(&call_id, tools::failure("another one is under way"), history, out);
                }
            }
            Verdict::Refuse(why) => {
                let message = format!("function call '{}' refused: {why}", name.escape_debug());
                out.event(Event::Error {
                    component: Component::Tool,
                    response_id: None,
                    code: "refused".into(),
                    message,
                });
                self.answered(&call_id, tools::failure(why), history, out);
            }
        }
    }

    /// Waits for the answer to a call from now on.
    fn open(&mut self, now: Instant, response_id: &str, (id, name, arguments): (&str, &str, &str), by_service: bool) {
        self.calls.push(Call {
            id: id.to_owned(),
            name: name.to_owned(),
            arguments: arguments.to_owned(),
            until: now + self.timeout,
            response_id: response_id.to_owned(),
            orphan: false,
            by_service,
        });
    }

    /// The model asks whether it may call a tool that the service carries out.
    pub(super) fn approval_asked(
        &mut self,
        now: Instant,
        response_id: &str,
        (id, server, name, arguments): (String, String, String, String),
        (history, out): (&mut History, &mut Outputs),
    ) {
        if self.awaits(&id) {
            return;
        }
        self.open(now, response_id, (&id, &name, &arguments), true);
        let decision = match self.policy.approval {
            _ if !tools::is_object(&arguments) => Some("reject the arguments are not a JSON object"),
            Approval::Ask => None,
            Approval::Approve => Some("approve"),
            Approval::Reject => Some("reject it is not allowed"),
        };
        let (builtin, webhook, mcp_server) = (decision.is_some(), false, Some(server));
        out.event(Event::Action { call_id: id.clone(), name, arguments, builtin, webhook, mcp_server });
        if let Some(decision) = decision {
            self.answered(&id, decision.to_owned(), history, out);
        }
    }

    /// Tools that the service carries out have ended a response: the model has yet to speak of them.
    pub(super) fn ran_elsewhere(&mut self) {
        self.respond_after = true;
    }

    /// A call has its answer.
    pub(super) fn answered(&mut self, call_id: &str, output: String, history: &mut History, out: &mut Outputs) {
        let Some(at) = self.calls.iter().position(|call| call.id == call_id) else {
            return self.answered_late(call_id, &output, history, out);
        };
        let call = self.calls.remove(at);
        self.transfer.take_if(|id| *id == call_id);
        if call.by_service {
            let (approve, reason) = mcp::decision(&output);
            out.command(Command::Approve { request_id: call_id.to_owned(), approve, reason });
            self.respond_after |= !call.orphan;
            return;
        }
        history.output(call_id, &output);
        let result = Command::ToolOutput { call_id: call_id.to_owned(), output };
        if out.has_session() {
            out.command(result);
        } else {
            self.untold.push(result);
        }
        self.respond_after |= !call.orphan;
    }

    /// A call has its answer, and with it words for the caller: the model gets the answer and is not asked to speak. Returns whether the call
    /// waited for it.
    pub(super) fn answered_for_the_caller(
        &mut self,
        call_id: &str,
        output: String,
        history: &mut History,
        out: &mut Outputs,
    ) -> bool {
        let (waited, respond) = (self.awaits(call_id), self.respond_after);
        self.answered(call_id, output, history, out);
        self.respond_after = respond;
        waited
    }

    /// A call that was given up has its result after all. The model has a result of the call already, so this one is a message.
    fn answered_late(&mut self, call_id: &str, output: &str, history: &mut History, out: &mut Outputs) {
        let Some(at) = self.late.iter().position(|(id, _)| id == call_id) else { return };
        let Some((_, name)) = self.late.remove(at) else { return };
        let text = format!("(The function {name}, which had not answered in time, has returned after all: {output})");
        history.said(Speaker::Caller, &text);
        out.command(Command::Message { speaker: Speaker::Caller, text, after: None, respond: true });
        self.respond_after = true;
    }

    /// A response has failed: no response is asked for after the results of its calls, and its deferred action is not done.
    pub(super) fn response_failed(&mut self, response_id: &str, history: &mut History, out: &mut Outputs) {
        for call in self.calls.iter_mut().filter(|call| call.response_id == response_id) {
            call.orphan = true;
        }
        let calls = &self.calls;
        let orphan = |id: &String| calls.iter().any(|call| call.orphan && call.id == *id);
        if let Some((call_id, _)) = self.deferred.take_if(|(call_id, _)| orphan(call_id)) {
            self.answered(&call_id, tools::failure("the response failed; it was not done"), history, out);
        }
    }

    /// The caller interrupts: what waited for the end of the agent's words is not done.
    pub(super) fn interrupted(&mut self, history: &mut History, out: &mut Outputs) {
        if let Some((call_id, _)) = self.deferred.take() {
            let why = "the caller spoke before you had finished; it was not done";
            self.answered(&call_id, tools::failure(why), history, out);
        }
    }

    /// The service itself carries out a function: the operator learns of it.
    pub(super) fn called_elsewhere(
        &self,
        server: String,
        (call_id, name, arguments): (String, String, String),
        out: &mut Outputs,
    ) {
        let (builtin, webhook, mcp_server) = (true, false, Some(server));
        out.event(Event::Action { call_id, name, arguments, builtin, webhook, mcp_server });
    }

    /// Gives up the calls whose time is over.
    pub(super) fn give_up_late(&mut self, now: Instant, history: &mut History, out: &mut Outputs) {
        let late: Vec<String> =
            self.calls.iter().filter(|call| now >= call.until).map(|call| call.id.clone()).collect();
        for call_id in late {
            let message = format!("no answer to function call {call_id} in time");
            out.event(Event::Error { component: Component::Tool, response_id: None, code: "timeout".into(), message });
            self.deferred.take_if(|(id, _)| *id == call_id);
            let name = self.calls.iter().find(|call| call.id == call_id).map(|call| call.name.clone());
            if let Some(name) = name.filter(|name| self.policy.custom.contains(name)) {
                self.remember(call_id.clone(), name);
            }
            let by_service = self.calls.iter().any(|call| call.id == call_id && call.by_service);
            let why = "no answer in time";
            let output = if by_service { format!("reject {why}") } else { tools::failure(why) };
            self.answered(&call_id, output, history, out);
        }
    }

    /// The service takes a call back: the model wants no result of it, and an action that has not begun is not done. A function of
    /// the operator's may have run nevertheless; its result goes to the model as a message.
    pub(super) fn cancelled(&mut self, call_id: &str, history: &mut History, out: &mut Outputs) {
        let Some(at) = self.calls.iter().position(|call| call.id == call_id) else { return };
        let call = self.calls.remove(at);
        self.deferred.take_if(|(id, _)| id == call_id);
        history.output(call_id, &tools::failure("the caller spoke, and the call was taken back"));
        let message = format!("the service has taken function call {call_id} back, since the caller spoke");
        out.event(Event::Error { component: Component::Tool, response_id: None, code: "cancelled".into(), message });
        if self.policy.custom.contains(&call.name) {
            self.remember(call.id, call.name);
        }
    }

    /// The result of a call may come late.
    fn remember(&mut self, call_id: String, name: String) {
        if self.late.len() == MOST_LATE {
            self.late.pop_front();
        }
        self.late.push_back((call_id, name));
    }

    /// The action that waited until everything was said and heard.
    pub(super) fn act_deferred(&mut self, now: Instant, out: &mut Outputs) {
        if let Some((call_id, action)) = self.deferred.take() {
            if matches!(action, Action::Transfer { .. }) {
                self.transfer = Some(call_id.clone());
            }
            if let (Action::Transfer { .. }, Some(limit)) = (&action, self.policy.announced) {
                for call in self.calls.iter_mut().filter(|call| call.id == call_id) {
                    call.until = now + limit;
                }
            }
            out.push(peer::Output::Act { call_id, action });
        }
    }

    /// Whether all calls are answered and the model is to go on; said once.
    pub(super) fn take_respond(&mut self) -> bool {
        let respond = self.respond_after && !self.is_waiting();
        self.respond_after &= !respond;
        respond
    }

    /// Whether an answer to this call is of use: it waits, or was given up.
    pub(super) fn awaits(&self, call_id: &str) -> bool {
        self.calls.iter().any(|call| call.id == call_id) || self.late.iter().any(|(id, _)| id == call_id)
    }

    /// Whether the model waits for an answer to go on.
    pub(super) fn is_waiting(&self) -> bool {
        self.calls.iter().any(|call| !call.orphan)
    }

    /// Whether a function of the operator's runs, for which the model waits.
    pub(super) fn runs(&self) -> bool {
        self.calls.iter().any(|call| !call.orphan && self.policy.custom.contains(&call.name))
    }

    /// Whether the caller waits for somebody else, and nothing that the agent could say is to be heard.
    pub(super) fn hands_over(&self) -> bool {
        self.transfer.is_some() && self.policy.announced.is_some()
    }

    /// Whether this is the answer to the call by which the caller has been transferred.
    pub(super) fn has_transferred(&self, call_id: &str, output: &str) -> bool {
        self.transfer.as_deref() == Some(call_id) && output == peer::DONE
    }

    /// A service that resumes knows the calls, and not the results that came meanwhile.
    pub(super) fn tell_results(&mut self, out: &mut Outputs) {
        self.untold.drain(..).for_each(|result| out.command(result));
    }

    /// The next session has to know the calls that are still to be answered, and `history` may have forgotten them. Those that
    /// began in the session before have no response there that could fail.
    pub(super) fn open_calls(&mut self, history: &History) -> Vec<Memory> {
        self.untold.clear();
        self.calls.retain(|call| !call.by_service);
        let unknown = self.calls.iter().filter(|call| !history.has_call(&call.id));
        unknown
            .map(|call| {
                let (call_id, name, arguments) = (call.id.clone(), call.name.clone(), call.arguments.clone());
                Memory::Call { call_id, name, arguments }
            })
            .collect()
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
