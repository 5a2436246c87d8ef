//! What the engine wants done, in order, and the numbers that tell its requests and items apart.
//!
//! Pure. The outputs of one input wait here until they are taken.

use std::collections::VecDeque;

use super::super::engine::{Event, Failure, FailureClass, Output, Refuses};
use crate::peer::Usage;

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Out {
    queue: VecDeque<Output>,
    number: u64,
}

impl Out {
    /// A number that was never used.
    pub(super) fn next(&mut self) -> u64 {
        self.number += 1;
        self.number
    }

    pub(super) fn push(&mut self, output: Output) {
        self.queue.push_back(output);
    }

    pub(super) fn pop(&mut self) -> Option<Output> {
        self.queue.pop_front()
    }

    pub(super) fn event(&mut self, event: Event) {
        self.push(Output::Event(event));
    }

    /// A service has billed this.
    pub(super) fn used(&mut self, usage: Usage) {
        if usage != Usage::default() {
            self.event(Event::Used(usage));
        }
    }

    /// A request is not wanted any more.
    pub(super) fn abort(&mut self, id: u64) {
        self.push(Output::AbortFetch { id });
    }

    pub(super) fn fail(&mut self, class: FailureClass, refuses: Refuses, code: &str, message: &str) {
        let (code, message) = (code.to_owned(), message.to_owned());
        self.event(Event::Failed(Failure { class, refuses, retry_after: None, code, message }));
    }

    /// A turn of the caller is not taken, for there is not a word in it.
    pub(super) fn no_words(&mut self) {
        self.fail(FailureClass::Harmless, Refuses::Commit, "no_words", "the recognition has found no words");
    }

    /// A turn of the caller is not taken, for too many wait.
    pub(super) fn too_many_turns(&mut self) {
        self.fail(FailureClass::Transient, Refuses::Commit, "overflow", "too many turns wait for the recognition");
    }
}
