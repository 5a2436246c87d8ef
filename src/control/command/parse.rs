//! The parsers: from a line to a command.

use super::action::Action;
use super::error::CommandError;
use super::rest::Rest;
use super::row::{CommandRow, Context, Read};
use super::table::{COMMANDS, ai_application_syntax, application_syntax, syntax};
use super::{API, APPLICATION, AppCommand, Command, MAX_LINE};
use crate::units::text::shown;
use crate::units::{BadName, CallId, StreamName};

type ReadCall = fn(&CommandRow, Rest<'_>, &mut Context) -> Result<Action, CommandError>;

/// Reads a line of the API: what follows `uuid_audio_stream`. FreeSWITCH gives no line as NULL, which is the empty line here.
/// The error's text is the reply.
pub fn parse(line: &[u8]) -> Result<Command, CommandError> {
    let rest = text_of(line)?;
    let (first, rest) = rest.word().ok_or_else(|| CommandError::Usage(format!("{API} {}", syntax())))?;
    let module = COMMANDS.iter().find_map(|row| match row.read {
        Read::Module(read) if row.verb.eq_ignore_ascii_case(first) => Some((row, read)),
        _ => None,
    });
    let next = rest.word();
    let (row, read, rest) = match (next.and_then(|(verb, rest)| Some((call_verb(verb)?, rest))), module, next) {
        (Some(((row, read), rest)), ..) => (row, read, rest),
        (None, Some((row, read)), _) => return read(row, rest),
        (None, None, Some((verb, _))) => {
            return Err(CommandError::UnknownVerb { given: shown(verb), known: known(|_| true) });
        }
        (None, None, None) => return Err(CommandError::Usage(format!("{API} {}", syntax()))),
    };
    let (name, rest) = stream_name(rest)?;
    let mut context = Context { prefix: "<uuid> ", wait: None };
    let action = read(row, rest, &mut context)?;
    Ok(Command::Call { call: CallId::new(first), name: name.unwrap_or_default(), action })
}

/// Reads the data of the dialplan application: a URL and what else `start` takes, or a verb as in the API without the uuid.
/// The error's text is for the log and for `audio_stream_error`.
pub fn parse_application(data: &[u8]) -> Result<AppCommand, CommandError> {
    let usage = || CommandError::Usage(format!("{APPLICATION} {}", application_syntax()));
    let rest = text_of(data)?;
    let (before, rest) = stream_name(rest)?;
    let (first, after_first) = rest.word().ok_or_else(usage)?;
    let (row, read, rest) = match call_verb(first) {
        Some((row, read)) => (row, read, after_first),
        None if first.contains("://") => {
            let (row, read) = call_verb("start").ok_or_else(usage)?;
            (row, read, rest)
        }
        None => {
            let known = format!("a WebSocket URL, {}", known(CommandRow::is_for_call));
            return Err(CommandError::UnknownVerb { given: shown(first), known });
        }
    };
    let (after, rest) = if before.is_none() { stream_name(rest)? } else { (None, rest) };
    let mut context = Context { prefix: "", wait: Some(None) };
    let action = read(row, rest, &mut context)?;
    let wait = context.wait.flatten().unwrap_or_default();
    Ok(AppCommand { name: before.or(after).unwrap_or_default(), action, wait })
}

/// Reads the data of the dialplan application for conversations: what `start_ai` takes, or a verb as in the API without the
/// uuid. Nothing at all starts a conversation too.
pub fn parse_ai_application(data: &[u8]) -> Result<AppCommand, CommandError> {
    let rest = text_of(data)?;
    let (before, rest) = stream_name(rest)?;
    let verb = rest.word().and_then(|(word, after)| Some((call_verb(word)?, after)));
    let ((row, read), rest) = match verb {
        Some(found) => found,
        None => (call_verb("start_ai").ok_or_else(|| CommandError::Usage(ai_application_syntax()))?, rest),
    };
    let (after, rest) = if before.is_none() { stream_name(rest)? } else { (None, rest) };
    let mut context = Context { prefix: "", wait: Some(None) };
    let action = read(row, rest, &mut context)?;
    let wait = context.wait.flatten().unwrap_or_default();
    Ok(AppCommand { name: before.or(after).unwrap_or_default(), action, wait })
}

fn call_verb(word: &str) -> Option<(&'static CommandRow, ReadCall)> {
    COMMANDS.iter().find_map(|row| match row.read {
        Read::Call(read) if row.verb.eq_ignore_ascii_case(word) => Some((row, read)),
        _ => None,
    })
}

fn known(which: impl Fn(&CommandRow) -> bool) -> String {
    COMMANDS.iter().filter(|row| which(row)).map(|row| row.verb).collect::<Vec<_>>().join(", ")
}

fn text_of(line: &[u8]) -> Result<Rest<'_>, CommandError> {
    if line.len() > MAX_LINE {
        return Err(CommandError::TooLong(line.len()));
    }
    std::str::from_utf8(line).map(Rest).map_err(|error| CommandError::NotUtf8(error.valid_up_to()))
}

/// `name=<id>` if the next word is that.
fn stream_name(rest: Rest<'_>) -> Result<(Option<StreamName>, Rest<'_>), CommandError> {
    match rest.word() {
        Some((word, after)) => match word.strip_prefix("name=") {
            Some(name) => Ok((Some(name.parse().map_err(|_| BadName(shown(name)))?), after)),
            None => Ok((None, rest)),
        },
        None => Ok((None, rest)),
    }
}
