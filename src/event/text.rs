//! Texts of limited length: what a server or provider wrote, cut where it enters an event.
//!
//! So an event that waits in a queue has a bounded size.

use std::fmt;
use std::ops::Deref;

use serde::Serialize;

/// A text of at most `MAX` bytes. A longer one is cut at the end of a character.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize)]
pub struct Text<const MAX: usize>(String);

impl<const MAX: usize> From<String> for Text<MAX> {
    fn from(mut text: String) -> Self {
        text.truncate(text.floor_char_boundary(MAX));
        Self(text)
    }
}

impl<const MAX: usize> From<&str> for Text<MAX> {
    fn from(text: &str) -> Self {
        Self(text[..text.floor_char_boundary(MAX)].to_owned())
    }
}

impl<const MAX: usize> Deref for Text<MAX> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl<const MAX: usize> fmt::Display for Text<MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<const MAX: usize> PartialEq<str> for Text<MAX> {
    fn eq(&self, other: &str) -> bool {
        self.0 == other
    }
}

/// `text` with spaces for control characters. FreeSWITCH splits a header value that begins with `ARRAY::`; a space before it
/// prevents that.
pub(super) fn one_line(text: &str) -> String {
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if line.starts_with("ARRAY::") { format!(" {line}") } else { line }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_never_splits_a_character() {
        assert_eq!(*Text::<2>::from("aé"), *"a");
        assert_eq!(*Text::<2>::from("aé".to_owned()), *"a");
        assert_eq!(*Text::<3>::from("aé"), *"aé");
        assert_eq!(*Text::<99>::from("aé"), *"aé");
    }
}
