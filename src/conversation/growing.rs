//! What the caller is saying, where a service writes it down again and again from its beginning.
//!
//! Pure; owned by an engine, one for each open turn.

/// A turn of the caller's that is not over.
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
        let new = text.strip_prefix(self.text.as_str()).filter(|new| !new.is_empty())?.to_owned();
        text.clone_into(&mut self.text);
        Some(new)
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
        assert_eq!(turn.into_item_id(), "c");
    }
}
