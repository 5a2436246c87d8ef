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
        (None, Some((row, read)), _) => return read(row, rest).map_err(without_name),
        (None, None, next) => {
            return Err(match (call_verb(first), next) {
                (Some((row, _)), _) => CommandError::Missing { syntax: row.syntax(), missing: "the call's uuid" },
                (None, Some((verb, _))) => CommandError::UnknownVerb { given: shown(verb), known: known(|_| true) },
                (None, None) => CommandError::Missing {
                    syntax: format!("{API} {}", syntax()),
                    missing: "the command after the uuid",
                },
            });
        }
    };
    let (name, rest) = stream_name(rest)?;
    let mut context = Context { prefix: "<uuid> ", wait: None };
    let action = read(row, rest, &mut context)?;
    Ok(Command::Call { call: CallId::new(first), name, action })
}

/// The refusal of `name=` behind a command that has no stream.
fn without_name(error: CommandError) -> CommandError {
    match error {
        CommandError::NamePlace(verb) => CommandError::Surplus { verb, rest: "name=".to_owned() },
        error => error,
    }
}

/// What a line that is not a command was about, for the log: the call, if the line begins with one, and the verb.
pub fn subject(line: &[u8]) -> (Option<CallId>, Option<&'static str>) {
    let Some((first, rest)) = text_of(line).ok().and_then(Rest::word) else { return (None, None) };
    let like_a_uuid = first.len() <= 64 && first.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    let second = rest.word().map(|(word, _)| word);
    match (second.and_then(call_verb), any_verb(first)) {
        (Some((row, _)), _) => (like_a_uuid.then(|| CallId::new(first)), Some(row.verb)),
        (None, Some(verb)) => (None, Some(verb)),
        (None, None) => ((like_a_uuid && second.is_some()).then(|| CallId::new(first)), None),
    }
}

/// The verb of a dialplan application's data that could not be read, for the log.
pub fn verb_of_application(data: &[u8]) -> Option<&'static str> {
    let (first, rest) = text_of(data).ok()?.word()?;
    let word = if first.starts_with("name=") { rest.word()?.0 } else { first };
    if word.contains("://") { Some("start") } else { any_verb(word) }
}

fn any_verb(word: &str) -> Option<&'static str> {
    COMMANDS.iter().map(|row| row.verb).find(|verb| verb.eq_ignore_ascii_case(word))
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
    Ok(AppCommand { name: before.or(after), action, wait })
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
    Ok(AppCommand { name: before.or(after), action, wait })
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
