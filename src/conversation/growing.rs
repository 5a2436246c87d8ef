//! What somebody is saying, where a service writes it down bit by bit, or again and again from its beginning.
//!
//! Pure; owned by an engine, one for each message that is not over. Bounded: [`MOST`] bytes, the rest is lost.

/// Longest words of a message: an hour's.
const MOST: usize = 64 << 10;

/// A message that is not over.
#[derive(Debug)]
pub(super) struct Growing {
    item_id: String,
    text: String,
}

impl Growing {
    /// Nothing has been said in it.
    pub(super) const fn new(item_id: String) -> Self {
        Self { item_id, text: String::new() }
    }

    pub(super) fn item_id(&self) -> &str {
        &self.item_id
    }

    pub(super) fn into_item_id(self) -> String {
        self.item_id
    }

    /// Everything so far: what is new of it, if anything is. Words that have changed come at the end, with the whole.
    pub(super) fn more(&mut self, text: &str) -> Option<String> {
        let text = &text[..text.floor_char_boundary(MOST)];
        let new = text.strip_prefix(self.text.as_str()).filter(|new| !new.is_empty())?.to_owned();
        text.clone_into(&mut self.text);
        Some(new)
    }

    /// The next bit: what is handed on of it, if anything is.
    pub(super) fn add(&mut self, bit: &str) -> Option<String> {
        let bit = &bit[..bit.floor_char_boundary(MOST.saturating_sub(self.text.len()))];
        self.text.push_str(bit);
        (!bit.is_empty()).then(|| bit.to_owned())
    }

    /// Everything so far.
    pub(super) fn text(&self) -> &str {
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_words_that_come_again_the_new_ones_are_handed_on() {
        let mut turn = Growing::new("c".to_owned());
        let texts = ["Where", "Where is", "Where is", "There is", "Where is it?"].map(|text| turn.more(text));
        assert_eq!(texts.map(Option::unwrap_or_default), ["Where", " is", "", "", " it?"]);
        assert_eq!(
            (turn.add(""), turn.add(" Yes.").as_deref(), turn.text()),
            (None, Some(" Yes."), "Where is it? Yes.")
        );
        assert_eq!(turn.into_item_id(), "c");
    }

    #[test]
    fn words_without_an_end_are_bounded() {
        let mut turn = Growing::new("c".to_owned());
        let long = "é".repeat(MOST);
        assert!(turn.add(&long[..MOST - 2]).is_some() && turn.add("xé").is_some_and(|bit| bit == "x"));
        assert!(turn.add("é").is_none() && turn.more(&long).is_none() && turn.text().len() < MOST);
    }
}
