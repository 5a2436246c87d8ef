//! What is left of a line while it is read, and how its next part is read.

use super::error::CommandError;
use crate::control::options::{OptionError, OptionRow};
use crate::units::text::shown;

type FindRow = fn(&str) -> Option<&'static OptionRow>;

/// What is left of a line: empty, or beginning with the white space after the last word (at the start of the line with the
/// first word).
#[derive(Clone, Copy)]
pub(super) struct Rest<'a>(pub(super) &'a str);

impl<'a> Rest<'a> {
    /// The next word and what follows it.
    pub(super) fn word(self) -> Option<(&'a str, Self)> {
        let text = self.0.trim_ascii_start();
        let end = text.find(|c: char| c.is_ascii_whitespace()).unwrap_or(text.len());
        (end > 0).then(|| (&text[..end], Self(&text[end..])))
    }

    /// Everything after the one separator; none where that is nothing but white space.
    pub(super) fn text(self) -> Option<&'a str> {
        let mut chars = self.0.chars();
        if chars.clone().next().is_some_and(|c| c.is_ascii_whitespace()) {
            chars.next();
        }
        let text = chars.as_str();
        (!text.trim_ascii().is_empty()).then_some(text)
    }

    /// `command`, if nothing follows.
    pub(super) fn end<T>(self, verb: &'static str, command: T) -> Result<T, CommandError> {
        match self.word() {
            Some((word, _)) if word.starts_with("name=") => Err(CommandError::NamePlace(verb)),
            Some((word, _)) => Err(CommandError::Surplus { verb, rest: shown(word) }),
            None => Ok(command),
        }
    }

    /// The option that comes next, known to `find`, its value, and what follows.
    pub(super) fn option(self, find: FindRow) -> Result<Option<(&'static OptionRow, &'a str, Self)>, OptionError> {
        let known = self.word().and_then(|(word, _)| word.split_once('=')).and_then(|(key, _)| find(key));
        let Some(row) = known else { return Ok(None) };
        let text = &self.0.trim_ascii_start()[row.key.len() + 1..];
        let (value, end) = if let Some(quoted) = text.strip_prefix('\'') {
            let length = quoted.find('\'').ok_or(OptionError::Unclosed(&row.key))?;
            (&quoted[..length], length + 2)
        } else if text.starts_with('"') {
            return Err(OptionError::DoubleQuotes(&row.key));
        } else if row.json && text.starts_with(['{', '[']) {
            let length = json_length(text).ok_or(OptionError::Unclosed(&row.key))?;
            (&text[..length], length)
        } else {
            let length = text.find(|c: char| c.is_ascii_whitespace()).unwrap_or(text.len());
            (&text[..length], length)
        };
        let rest = &text[end..];
        if rest.chars().next().is_some_and(|c| !c.is_ascii_whitespace()) {
            return Err(OptionError::Unclosed(&row.key));
        }
        Ok(Some((row, value, Self(rest))))
    }
}

/// Length of the JSON object or array at the beginning of `text`; none where its braces do not close.
fn json_length(text: &str) -> Option<usize> {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => depth += 1,
            b'}' | b']' if !in_string => {
                depth -= 1;
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            _ => {}
        }
    }
    None
}
