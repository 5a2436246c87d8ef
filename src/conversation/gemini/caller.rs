//! What the caller says, in writing. The service writes it down at any time, in pieces, and does not say of which turn.
//!
//! Pure. A turn has an item from the first piece, or from the beginning of the answer to it, whichever comes first.

/// Longest transcript of one turn, bytes: an hour's.
const MOST: usize = 64 << 10;

/// A turn of the caller.
#[derive(Debug)]
struct Turn {
    item_id: String,
    text: String,
    /// It is part of the conversation: the model answers it.
    committed: bool,
}

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Caller {
    turn: Option<Turn>,
    number: u64,
}

/// A piece of a transcript: its item, and what is new.
pub(super) type Piece = (String, String);

impl Caller {
    fn turn(&mut self) -> &mut Turn {
        let number = &mut self.number;
        self.turn.get_or_insert_with(|| {
            *number += 1;
            Turn { item_id: format!("caller_{number}"), text: String::new(), committed: false }
        })
    }

    /// The next piece. A space before the first is none.
    pub(super) fn heard(&mut self, text: &str) -> Option<Piece> {
        let turn = self.turn();
        let text = if turn.text.is_empty() { text.trim_start() } else { text };
        if text.is_empty() || turn.text.len() + text.len() > MOST {
            return None;
        }
        turn.text.push_str(text);
        Some((turn.item_id.clone(), text.to_owned()))
    }

    /// Whether there are words that nobody has begun to answer.
    pub(super) fn is_speaking(&self) -> bool {
        self.turn.as_ref().is_some_and(|turn| !turn.committed && !turn.text.is_empty())
    }

    /// The turn becomes part of the conversation: its item, and what is whole now of the one before.
    pub(super) fn commit(&mut self) -> (String, Option<Piece>) {
        let before = if self.turn.as_ref().is_some_and(|turn| turn.committed) { self.whole() } else { None };
        let turn = self.turn();
        turn.committed = true;
        (turn.item_id.clone(), before)
    }

    /// Nothing more comes of the turn; what it is as a whole, if anything.
    pub(super) fn whole(&mut self) -> Option<Piece> {
        let turn = self.turn.take()?;
        let text = turn.text.trim_end();
        (!text.is_empty()).then(|| (turn.item_id, text.to_owned()))
    }

    /// The same of a turn that the model has answered.
    pub(super) fn whole_if_committed(&mut self) -> Option<Piece> {
        if self.turn.as_ref().is_some_and(|turn| turn.committed) { self.whole() } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(item_id: &str, text: &str) -> Option<Piece> {
        Some((item_id.to_owned(), text.to_owned()))
    }

    #[test]
    fn words_are_of_the_turn_in_which_they_come() {
        let mut caller = Caller::default();
        assert_eq!(caller.heard(" Where is"), piece("caller_1", "Where is"));
        assert_eq!(caller.whole_if_committed(), None, "nobody has answered it");
        assert_eq!(caller.commit(), ("caller_1".to_owned(), None));
        assert_eq!(caller.heard(" my order? "), piece("caller_1", " my order? "));
        assert_eq!(caller.whole_if_committed(), piece("caller_1", "Where is my order?"));
        // The next answer begins before any words have come, and the one after without any.
        assert_eq!(caller.commit(), ("caller_2".to_owned(), None));
        assert_eq!(caller.heard("Thanks."), piece("caller_2", "Thanks."));
        assert_eq!(caller.commit(), ("caller_3".to_owned(), piece("caller_2", "Thanks.")));
        assert_eq!(caller.whole(), None);
    }

    #[test]
    fn a_transcript_without_an_end_is_cut() {
        let mut caller = Caller::default();
        let told = (0..100).filter(|_| caller.heard(&"x".repeat(1_000)).is_some()).count();
        assert_eq!(told, 65);
    }
}
