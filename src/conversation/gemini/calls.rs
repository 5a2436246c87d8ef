//! Functions that the model calls, until it has the results.
//!
//! The model waits for the results of all calls that it makes at once, and then goes on by itself. So they are sent together, with
//! the request for its answer. Pure; at most [`MOST`] calls are open.

use serde_json::{Value, json};

use super::message;

/// Calls without a result.
const MOST: usize = 64;

#[derive(Debug)]
struct Call {
    id: String,
    name: String,
    response_id: String,
    output: Option<String>,
}

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Calls {
    open: Vec<Call>,
    /// Calls of an earlier session, of which this one knows from its history: id and name.
    told: Vec<(String, String)>,
}

/// Whose call has a result.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Of {
    /// One of this session.
    Session,
    /// One of the history, with this name.
    History(String),
    /// None that is open: it was taken back.
    Nobody,
}

impl Calls {
    /// A new session knows none.
    pub(super) fn clear(&mut self) {
        self.open.clear();
        self.told.clear();
    }

    /// The model calls a function; `false`: it did so already, or calls too many.
    pub(super) fn called(&mut self, response_id: &str, id: &str, name: &str) -> bool {
        if self.open.len() == MOST || self.open.iter().any(|call| call.id == id) {
            return false;
        }
        let (id, name, response_id) = (id.to_owned(), name.to_owned(), response_id.to_owned());
        self.open.push(Call { id, name, response_id, output: None });
        true
    }

    /// The history has a call without a result.
    pub(super) fn told(&mut self, id: &str, name: &str) {
        if self.told.len() == MOST {
            self.told.remove(0);
        }
        self.told.push((id.to_owned(), name.to_owned()));
    }

    /// A call has its result.
    pub(super) fn answered(&mut self, id: &str, output: String) -> Of {
        if let Some(call) = self.open.iter_mut().find(|call| call.id == id) {
            call.output = Some(output);
            return Of::Session;
        }
        match self.told.iter().position(|(told, _)| told == id) {
            Some(at) => Of::History(self.told.remove(at).1),
            None => Of::Nobody,
        }
    }

    /// The service takes a call back; whether it was open.
    pub(super) fn taken_back(&mut self, id: &str) -> bool {
        let before = self.open.len();
        self.open.retain(|call| call.id != id);
        self.open.len() < before
    }

    /// A response is given up: nobody carries its calls out.
    pub(super) fn give_up(&mut self, response_id: &str) {
        for call in self.open.iter_mut().filter(|call| call.response_id == response_id && call.output.is_none()) {
            call.output = Some(r#"{"error":"it was not done: the answer was given up"}"#.to_owned());
        }
    }

    /// Whether the model waits for a result that is not there yet.
    pub(super) fn is_waiting(&self) -> bool {
        self.open.iter().any(|call| call.output.is_none())
    }

    /// Whether the model waits for results, all of which are there.
    pub(super) fn has_results(&self) -> bool {
        !self.open.is_empty() && !self.is_waiting()
    }

    /// Whether the model waits.
    pub(super) const fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// The results, if all are there. What the model is to say goes with the last.
    pub(super) fn take(&mut self, instructions: Option<&str>) -> Option<Vec<Value>> {
        if !self.has_results() {
            return None;
        }
        let result = |call: Call| message::function_response(&call.id, &call.name, &call.output.unwrap_or_default());
        let mut results: Vec<_> = self.open.drain(..).map(result).collect();
        if let (Some(last), Some(instructions)) = (results.last_mut(), instructions) {
            last["response"]["instructions"] = json!(instructions);
        }
        Some(results)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_results_of_calls_go_together() {
        let mut calls = Calls::default();
        assert!(calls.called("r", "a", "look_up") && calls.called("r", "b", "book") && !calls.called("r", "a", "x"));
        assert_eq!(calls.answered("a", r#"{"n":1}"#.to_owned()), Of::Session);
        assert!(calls.is_waiting() && calls.take(None).is_none());
        assert_eq!(calls.answered("b", "done".to_owned()), Of::Session);
        let results = calls.take(Some("be brief")).unwrap_or_default();
        assert_eq!(
            results,
            [
                json!({"id": "a", "name": "look_up", "response": {"n": 1}}),
                json!({"id": "b", "name": "book", "response": {"output": "done", "instructions": "be brief"}}),
            ]
        );
        assert!(calls.is_empty() && calls.take(None).is_none());
    }

    #[test]
    fn a_call_that_is_taken_back_is_waited_for_no_more() {
        let mut calls = Calls::default();
        calls.called("r", "a", "look_up");
        assert!(calls.taken_back("a") && !calls.taken_back("a") && calls.is_empty());
        assert_eq!(calls.answered("a", String::new()), Of::Nobody);
        calls.told("c", "book");
        assert_eq!(calls.answered("c", String::new()), Of::History("book".to_owned()));
        assert_eq!(calls.answered("c", String::new()), Of::Nobody);
    }

    #[test]
    fn calls_of_an_answer_that_is_given_up_are_answered() {
        let mut calls = Calls::default();
        calls.called("r", "a", "look_up");
        calls.give_up("other");
        assert!(calls.is_waiting());
        calls.give_up("r");
        let results = calls.take(None).unwrap_or_default();
        assert!(results[0]["response"]["error"].is_string(), "{results:?}");
    }
}
