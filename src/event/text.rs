//! Texts of limited length: what a server or provider wrote, cut where it enters an event.
//!
//! So an event that waits in a queue has a bounded size.

use std::fmt;
use std::ops::Deref;

use serde::Serialize;

use super::{Headers, MAX_BODY};

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

/// A text message of a server, cut to the length of a body.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct ServerText {
    text: Text<MAX_BODY>,
    /// Bytes it had.
    length: usize,
}

impl<T: Into<String>> From<T> for ServerText {
    fn from(text: T) -> Self {
        let text = text.into();
        Self { length: text.len(), text: text.into() }
    }
}

impl ServerText {
    /// Bytes that are left of it.
    pub(super) fn len(&self) -> usize {
        self.text.len()
    }

    /// Adds the headers of an event whose body it is.
    pub(super) fn headers(&self, headers: &mut Headers) {
        headers.add("Audio-Stream-Message", &self.text);
        if self.length > self.text.len() {
            headers.add("Audio-Stream-Truncated", true).add("Audio-Stream-Length", self.length);
        }
    }

    /// The body: a NUL would end it in C.
    pub(super) fn body(&self) -> String {
        self.text.replace('\0', "\u{fffd}")
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
