//! What a row of the command table is, and how its arguments are read and written.

use super::action::{Action, Direction, Source};
use super::error::CommandError;
use super::rest::Rest;
use super::{Command, Wait};
use crate::options::in_words;
use crate::units::choice::Choice;
use crate::units::text::shown;

/// A command: its words and its reader.
pub struct CommandRow {
    /// The verb.
    pub verb: &'static str,
    /// What it takes, as in the syntax string.
    pub arguments: &'static str,
    /// What it does, for the documentation.
    pub doc: &'static str,
    pub(super) read: Read,
}

/// How a command goes on after its verb, and with that to what it applies.
#[derive(Clone, Copy)]
pub(super) enum Read {
    /// After a uuid and, in the dialplan, without.
    Call(fn(&CommandRow, Rest<'_>, &mut Context) -> Result<Action, CommandError>),
    /// At the beginning of the line.
    Module(fn(&CommandRow, Rest<'_>) -> Result<Command, CommandError>),
}

/// What reading a command knows and learns besides its action.
pub(super) struct Context {
    /// How the line begins, for the syntax in a reply.
    pub(super) prefix: &'static str,
    /// In the dialplan: the value of `wait=`.
    pub(super) wait: Option<Option<Wait>>,
}

impl CommandRow {
    /// A word out of a few.
    pub(super) fn choice<T: Choice>(&self, word: &str) -> Result<T, CommandError> {
        T::named(word).ok_or_else(|| CommandError::Word {
            verb: self.verb,
            given: shown(word),
            known: in_words(T::WORDS.iter().map(|(word, _)| *word), "or"),
        })
    }

    /// Whether it applies to a call, not to the module.
    pub const fn is_for_call(&self) -> bool {
        matches!(self.read, Read::Call(_))
    }

    /// How it is written after the name of the API command.
    pub fn syntax(&self) -> String {
        if self.is_for_call() {
            self.syntax_after("<uuid> ")
        } else {
            format!("{} {}", self.verb, self.arguments).trim_end().to_owned()
        }
    }

    pub(super) fn syntax_after(&self, prefix: &str) -> String {
        let space = if self.arguments.is_empty() { "" } else { " " };
        format!("{prefix}{} [name=<id>]{space}{}", self.verb, self.arguments)
    }

    /// Which way: capture if nothing is given.
    pub(super) fn direction(&self, rest: Rest<'_>) -> Result<Direction, CommandError> {
        let Some((word, rest)) = rest.word() else { return Ok(Direction::Capture) };
        if word.starts_with("name=") {
            return Err(CommandError::NamePlace(self.verb));
        }
        rest.end(self.verb, self.choice(word)?)
    }

    /// Whose audio, and what follows.
    pub(super) fn source<'a>(&self, rest: Rest<'a>, context: &Context) -> Result<(Source, Rest<'a>), CommandError> {
        let (word, rest) = rest.word().ok_or_else(|| context.missing(self, "caller, agent or leg"))?;
        Ok((self.choice(word)?, rest))
    }
}

impl Context {
    pub(super) fn missing(&self, row: &CommandRow, missing: &'static str) -> CommandError {
        CommandError::Missing { syntax: row.syntax_after(self.prefix), missing }
    }
}
