//! Every option of a stream, looked up by its key, and options as texts from one source.
//!
//! The options themselves are declared in [`stream::options`](crate::stream::options) and
//! [`stream::ai`](crate::stream::ai). How the sources combine is [`resolve`](super::resolve)'s.
//!
//! Pure; on the API or dialplan thread. No error, warning or debug print contains a secret.

use std::fmt;
use std::sync::{Arc, LazyLock};

use super::secret_file;
use crate::conversation::{AiOptions, Speaking};
use crate::options::{Options as _, Row, values};
use crate::stream::options::StreamOptions;

/// An option of a stream.
pub type OptionRow = Row<StreamOptions>;

/// Every option that any stream has, but those of speech, which are in [`SPEECH_OPTIONS`]. Those of conversations go on in
/// [`AI_OPTIONS`].
pub static OPTIONS: LazyLock<Vec<OptionRow>> = LazyLock::new(StreamOptions::rows);

/// Every option of speech that is made from text: any stream has them, for `say`.
pub static SPEECH_OPTIONS: LazyLock<Vec<OptionRow>> = LazyLock::new(|| {
    Speaking::rows()
        .into_iter()
        .map(|row| row.within(|options: &mut StreamOptions| &mut Arc::make_mut(&mut options.ai).speaking))
        .collect()
});

/// Every option that only a conversation has.
pub static AI_OPTIONS: LazyLock<Vec<OptionRow>> = LazyLock::new(|| {
    AiOptions::rows()
        .into_iter()
        .map(|row| row.within(|options: &mut StreamOptions| Arc::make_mut(&mut options.ai)))
        .collect()
});

/// Every option there is.
pub fn all() -> impl Iterator<Item = &'static OptionRow> {
    OPTIONS.iter().chain(SPEECH_OPTIONS.iter()).chain(AI_OPTIONS.iter())
}

/// The option `key`, of whatever kind of stream.
pub fn row(key: &str) -> Option<&'static OptionRow> {
    all().find(|row| row.key == key)
}

/// The option `key`, if streams to servers have it.
pub fn server_row(key: &str) -> Option<&'static OptionRow> {
    OPTIONS.iter().chain(SPEECH_OPTIONS.iter()).find(|row| row.key == key)
}

/// The option `key`, if conversations have it.
pub fn ai_row(key: &str) -> Option<&'static OptionRow> {
    row(key).filter(|row| !row.server_only)
}

/// The option `key`, if a conversation that runs can change it.
pub fn live_row(key: &str) -> Option<&'static OptionRow> {
    AI_OPTIONS.iter().find(|row| row.live && row.key == key)
}

/// An argument that cannot be used. The command is refused with this text.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum OptionError {
    /// Out of range or not understood; `value` is `***` for a secret.
    #[error("bad value '{value}' for {key}: {why}")]
    Value {
        /// The option.
        key: &'static str,
        /// What was given, cut and on one line.
        value: String,
        /// What is wrong or allowed.
        why: String,
    },
    /// Given twice, positions included.
    #[error("{0} is given twice; give it once")]
    Duplicate(&'static str),
    /// A quote or brace without its end.
    #[error("the value of {0} has no end: close its quote or brace, and put a space after it")]
    Unclosed(&'static str),
    /// A value in double quotes, which do not keep it together.
    #[error("the value of {0} begins with a double quote: put it in single quotes")]
    DoubleQuotes(&'static str),
    /// No such profile.
    #[error("no profile '{name}' in audio_stream.conf.xml; it has {known}")]
    UnknownProfile {
        /// What was given.
        name: String,
        /// What there is.
        known: String,
    },
    /// A key of the configuration would go to a server that the configuration does not name.
    #[error(
        "{0} of a command or channel variable leads to another server than the configured one: give a key of its own as well, since the \
         keys of audio_stream.conf.xml and of the environment stay with their servers; allow_key_to adds servers"
    )]
    KeyElsewhere(String),
    /// Two options that only make sense together.
    #[error("{0}")]
    Combination(&'static str),
}

/// Something an operator should know that does not stop anything. Its text names the source, the value and what is used instead.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Warning(pub String);

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A variable of the older modules that asks for something this module does not do.
pub struct NoEffect {
    /// Its name.
    pub variable: &'static str,
    /// The value that asks for what happens anyway, in the words of the older module.
    pub harmless: &'static str,
    /// What happens instead.
    pub why: &'static str,
}

/// Accepted, and warned about where the value asks for more than this version does.
pub static NO_EFFECT: &[NoEffect] = &[
    NoEffect { variable: "STREAM_MESSAGE_DEFLATE", harmless: "true", why: "messages are never compressed" },
    NoEffect {
        variable: "STREAM_NO_RECONNECT",
        harmless: "true",
        why: "a lost connection is made again only where reconnect_max says so",
    },
    NoEffect { variable: "AUDIO_STREAM_AI_TEMPERATURE", harmless: "0.8", why: "the GA protocol has no temperature" },
    NoEffect { variable: "AI_TEMPERATURE", harmless: "0.8", why: "the GA protocol has no temperature" },
    NoEffect {
        variable: "AI_CALL_TRANSFER_HOST",
        harmless: "",
        why: "a transfer goes through the dialplan, which knows the host",
    },
    NoEffect { variable: "STREAM_DEBUG_JSON", harmless: "false", why: "messages are logged at level DEBUG" },
];

impl NoEffect {
    /// Whether it is a conversation's.
    pub(super) fn is_of_ai(&self) -> bool {
        self.variable.starts_with("AI_") || self.variable.starts_with("AUDIO_STREAM_AI_")
    }

    /// Whether `value` asks for what happens anyway.
    pub(super) fn is_harmless(&self, value: &str) -> bool {
        value.is_empty()
            || value.eq_ignore_ascii_case(self.harmless)
            || values::flag(value).is_some_and(|on| values::flag(self.harmless) == Some(on))
    }
}

/// Options with their texts, each checked when it was added and there once. Printing it shows the names alone.
#[derive(Clone, Default)]
pub struct OptionValues(Vec<(&'static OptionRow, String)>);

impl OptionValues {
    /// Adds an option of a command; refuses a bad value, the name of a secret's file, and an option that is there already.
    pub fn add(&mut self, row: &'static OptionRow, text: &str) -> Result<(), OptionError> {
        if self.get(&row.key).is_some() {
            return Err(OptionError::Duplicate(&row.key));
        }
        if secret_file::is_named(row.secret, text) {
            let (value, why) = (row.shown(text), secret_file::NOT_HERE.to_owned());
            return Err(OptionError::Value { key: &row.key, value, why });
        }
        check(row, text)?;
        self.0.push((row, text.to_owned()));
        Ok(())
    }

    /// Puts an option in place of what was there; refuses a bad value. Whether something was there.
    pub fn replace(&mut self, row: &'static OptionRow, text: &str) -> Result<bool, OptionError> {
        check(row, text)?;
        let before = self.0.len();
        self.0.retain(|(other, _)| other.key != row.key);
        let replaced = self.0.len() < before;
        self.0.push((row, text.to_owned()));
        Ok(replaced)
    }

    /// The text of an option.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(row, _)| row.key == key).map(|(_, text)| text.as_str())
    }

    /// Names and texts, secrets included, in the order they were added.
    pub fn iter(&self) -> impl Iterator<Item = (&'static OptionRow, &str)> {
        self.0.iter().map(|(row, text)| (*row, text.as_str()))
    }

    pub(super) fn apply(&self, options: &mut StreamOptions) -> Result<(), OptionError> {
        self.0.iter().try_for_each(|(row, text)| set(row, options, text))
    }
}

impl PartialEq for OptionValues {
    fn eq(&self, other: &Self) -> bool {
        self.0.len() == other.0.len() && self.iter().all(|(row, text)| other.get(&row.key) == Some(text))
    }
}

impl Eq for OptionValues {}

impl fmt::Debug for OptionValues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(row, _)| &row.key)).finish()
    }
}

fn set(row: &'static OptionRow, options: &mut StreamOptions, text: &str) -> Result<(), OptionError> {
    row.set(options, text).map_err(|why| OptionError::Value { key: &row.key, value: row.shown(text), why })
}

fn check(row: &'static OptionRow, text: &str) -> Result<(), OptionError> {
    set(row, &mut StreamOptions::default(), text)
}

#[cfg(test)]
mod tests;
