//! Function calls of a session, and results that wait for their moment.
//!
//! ```text
//! tool.call ─► open ─ result ─► waiting ─┬─ nobody speaks or is about to ─► tool.result
//!                                        └─ the caller interrupts ─► a message, since the service has dropped the call
//! ```
//! The service bridges the wait for a function with a phrase, and takes a result only between two answers. Pure; owned by the engine. Bounded:
//! [`MOST`] calls are remembered, the oldest go.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Calls that are remembered, and calls without a result.
const MOST: usize = 64;
/// How soon after a call the phrase that bridges the wait begins, if it comes.
const BRIDGE: Duration = Duration::from_secs(1);

/// A call without a result, or with one that waits.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Call {
    id: String,
    name: String,
}

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Calls {
    known: VecDeque<String>,
    open: VecDeque<Call>,
    waiting: Vec<(Call, String)>,
    /// Until when a phrase may begin that bridges the wait.
    bridge: Option<Instant>,
}

impl Calls {
    /// A new session begins, which knows nothing of them.
    pub(super) fn begin(&mut self) {
        *self = Self::default();
    }

    /// Whether a call was not reported yet. It is from now on.
    pub(super) fn is_new(&mut self, id: &str) -> bool {
        if self.known.iter().any(|known| known == id) {
            return false;
        }
        if self.known.len() == MOST {
            self.known.pop_front();
        }
        self.known.push_back(id.to_owned());
        true
    }

    /// Somebody else carries a function out, and its result is awaited.
    pub(super) fn called(&mut self, now: Instant, id: &str, name: &str) {
        if self.open.len() == MOST {
            self.open.pop_front();
        }
        self.open.push_back(Call { id: id.to_owned(), name: name.to_owned() });
        self.bridge = Some(now + BRIDGE);
    }

    /// A function has returned; `false` where this session does not wait for it.
    pub(super) fn returned(&mut self, id: &str, output: &str) -> bool {
        let Some(call) = self.open.iter().position(|call| call.id == id).and_then(|at| self.open.remove(at)) else {
            return false;
        };
        self.waiting.push((call, output.to_owned()));
        true
    }

    /// The agent begins to say something: what bridges the wait, if anything does.
    pub(super) const fn bridged(&mut self) {
        self.bridge = None;
    }

    /// Whether results wait.
    pub(super) fn wait(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// When results can be sent that only wait for the phrase.
    pub(super) fn due(&self) -> Option<Instant> {
        self.bridge.filter(|_| self.wait())
    }

    /// The results that can be sent now, where nobody speaks: id and output.
    pub(super) fn take(&mut self, now: Instant) -> Vec<(String, String)> {
        if self.bridge.is_some_and(|until| now < until) {
            return Vec::new();
        }
        std::mem::take(&mut self.waiting).into_iter().map(|(call, output)| (call.id, output)).collect()
    }

    /// The caller interrupts: the service wants no result that waits any more. The functions and what they have returned.
    pub(super) fn interrupted(&mut self) -> Vec<(String, String)> {
        std::mem::take(&mut self.waiting).into_iter().map(|(call, output)| (call.name, output)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_waits_for_the_phrase_that_bridges_its_wait() {
        let (now, mut calls) = (Instant::now(), Calls::default());
        assert!(calls.is_new("c1") && !calls.is_new("c1"));
        calls.called(now, "c1", "look_up");
        assert!(!calls.returned("c0", "x") && calls.returned("c1", "7") && !calls.returned("c1", "8"));
        assert_eq!((calls.take(now), calls.due()), (vec![], Some(now + BRIDGE)));
        assert_eq!(calls.take(now + BRIDGE), [("c1".to_owned(), "7".to_owned())], "no phrase has come");
        calls.called(now, "c2", "look_up");
        calls.bridged();
        assert!(calls.returned("c2", "9") && calls.due().is_none());
        assert_eq!(calls.take(now).len(), 1);
    }

    #[test]
    fn what_waits_when_the_caller_interrupts_is_told_otherwise() {
        let (now, mut calls) = (Instant::now(), Calls::default());
        for id in ["c1", "c2"] {
            calls.called(now, id, "look_up");
        }
        assert!(calls.returned("c1", "7"));
        assert_eq!(calls.interrupted(), [("look_up".to_owned(), "7".to_owned())]);
        assert!(!calls.wait() && calls.returned("c2", "8"), "one that still runs is awaited");
    }

    #[test]
    fn calls_are_bounded() {
        let (now, mut calls) = (Instant::now(), Calls::default());
        for n in 0..1_000 {
            assert!(calls.is_new(&n.to_string()));
            calls.called(now, &n.to_string(), "f");
        }
        assert!(!calls.returned("935", "") && calls.returned("936", "") && calls.is_new("935"));
    }
}
