//! What the server waits for: names of positions in its audio, until the caller has heard that far.
//!
//! Owned by a protocol. Bounded in number and in bytes: beyond that a mark is refused, so that a server cannot fill the
//! memory with names. Identities are never used twice, so that a late answer to a mark of an earlier connection is nobody's.

use std::collections::VecDeque;

use serde::Serialize;

use super::MarkId;
use super::session::Outputs;

/// Bytes of all names that wait.
const MOST_BYTES: usize = 256 * 1024;

/// Marks that wait, in order; `T` is what has to be said when one is answered.
#[derive(Debug)]
pub(super) struct Marks<T> {
    next: u64,
    waiting: VecDeque<Waiting<T>>,
    bytes: usize,
    most: usize,
}

#[derive(Debug)]
struct Waiting<T> {
    id: MarkId,
    bytes: usize,
    what: T,
}

impl<T> Marks<T> {
    /// At most `most` at a time.
    pub(super) fn new(most: usize) -> Self {
        Self { next: 0, waiting: VecDeque::new(), bytes: 0, most }
    }

    /// Asks for a mark after everything queued so far; `bytes` is the length of its name. `false` when there are too many:
    /// then nothing was asked for.
    #[must_use]
    pub(super) fn add(&mut self, what: T, bytes: usize, out: &mut Outputs) -> bool {
        if self.waiting.len() >= self.most || self.bytes + bytes > MOST_BYTES {
            return false;
        }
        self.next += 1;
        let id = MarkId(self.next);
        self.bytes += bytes;
        self.waiting.push_back(Waiting { id, bytes, what });
        out.mark(id);
        true
    }

    /// The mark that was answered; `None` when it is none of this connection, or forgotten.
    pub(super) fn take(&mut self, id: MarkId) -> Option<T> {
        let at = self.waiting.iter().position(|waiting| waiting.id == id)?;
        let waiting = self.waiting.remove(at)?;
        self.bytes -= waiting.bytes;
        if self.waiting.is_empty() {
            self.waiting = VecDeque::new();
        }
        Some(waiting.what)
    }

    /// What waits for the mark; `None` when it is none of this connection, or forgotten.
    pub(super) fn get(&self, id: MarkId) -> Option<&T> {
        self.waiting.iter().find(|waiting| waiting.id == id).map(|waiting| &waiting.what)
    }

    /// Those that wait, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.waiting.iter().map(|waiting| &waiting.what)
    }

    /// Forgets those that `keep` refuses: their answers will be nobody's.
    pub(super) fn retain(&mut self, keep: impl Fn(&T) -> bool) {
        self.waiting.retain(|waiting| keep(&waiting.what));
        self.bytes = self.waiting.iter().map(|waiting| waiting.bytes).sum();
    }

    /// Forgets all.
    pub(super) fn forget(&mut self) {
        self.retain(|_| false);
    }
}

/// A message of the fork protocols and of the native one: `{"type": …, "data": …}`.
#[derive(Serialize)]
pub(super) struct Typed<D> {
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    pub(super) data: D,
}

/// See [`answer`].
#[derive(Serialize)]
pub(super) struct Answer<'a> {
    name: &'a str,
    event: &'static str,
}

/// The answer to a mark in these protocols: the caller has heard what was sent before it (`playout`), or it was dropped
/// (`cleared`).
pub(super) const fn answer(name: &str, heard: bool) -> Typed<Answer<'_>> {
    Typed { kind: "mark", data: Answer { name, event: if heard { "playout" } else { "cleared" } } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_bounded_in_number_and_bytes_and_room_comes_back() {
        let (mut marks, mut out) = (Marks::new(2), Outputs::default());
        assert!(marks.add('a', 1, &mut out) && marks.add('b', MOST_BYTES - 1, &mut out));
        assert!(!marks.add('c', 0, &mut out), "a third");
        assert_eq!(marks.take(MarkId(1)), Some('a'));
        assert_eq!(marks.take(MarkId(1)), None);
        assert!(!marks.add('c', 2, &mut out), "a byte too many");
        assert!(marks.add('c', 1, &mut out));
        marks.forget();
        assert!(marks.add('d', MOST_BYTES, &mut out));
        assert_eq!((marks.take(MarkId(2)), marks.take(MarkId(4))), (None, Some('d')));
    }
}
