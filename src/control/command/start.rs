//! Readers of `start`, `transcribe` and `start_ai`, the commands with options.

use super::Wait;
use super::action::Action;
use super::error::CommandError;
use super::request::{StartAiRequest, StartRequest};
use super::rest::Rest;
use super::row::{CommandRow, Context};
use super::slip::slip;
use crate::control::options::{self, OptionError, OptionValues};
use crate::options::values;
use crate::stream::spec::EndpointUrl;
use crate::transport::BadUrl;
use crate::units::choice::Choice as _;
use crate::units::text::{looks_like_token, shown};
use crate::units::{BadMix, BadRate, Mix, SampleRate};

pub(super) fn start(row: &CommandRow, rest: Rest<'_>, context: &mut Context) -> Result<Action, CommandError> {
    let (url, rest) = rest.word().ok_or_else(|| context.missing(row, "the URL"))?;
    let endpoint = EndpointUrl::parse(url).map_err(|error| match error {
        BadUrl::Scheme => CommandError::NoUrl(beginning(url)),
        error => CommandError::Url(error),
    })?;
    to_server(Some(endpoint), rest, context)
}

pub(super) fn transcribe(_row: &CommandRow, rest: Rest<'_>, context: &mut Context) -> Result<Action, CommandError> {
    to_server(None, rest, context)
}

/// What stands behind the URL.
fn to_server(endpoint: Option<EndpointUrl>, mut rest: Rest<'_>, context: &mut Context) -> Result<Action, CommandError> {
    let mut given = OptionValues::default();
    if let Some((word, after)) = rest.word() {
        if let Some(mix) = Mix::named(word) {
            add(&mut given, "mix", mix.as_str())?;
            rest = after;
        } else if looks_like_mix(word, after) {
            return Err(CommandError::Mix(BadMix(shown(word))));
        }
    }
    if let Some((word, after)) = rest.word().filter(|(word, _)| looks_like_rate(word)) {
        word.parse::<SampleRate>().map_err(|_| CommandError::Rate(BadRate(shown(word))))?;
        add(&mut given, "rate", word)?;
        rest = after;
    }
    loop {
        if let Some((wait, after)) = context.wait_option(rest)? {
            context.wait = Some(Some(wait));
            rest = after;
        } else if let Some((row, value, after)) = rest.option(options::server_row)? {
            given.add(row, value)?;
            rest = after;
        } else {
            break;
        }
    }
    let metadata = rest.text().map(str::to_owned);
    if metadata.as_deref().and_then(slip).is_some_and(|slip| slip.is_secret) {
        let word = rest.word().map_or("", |(word, _)| word);
        return Err(CommandError::SecretMetadata(shown(word.split_once('=').map_or(word, |(key, _)| key))));
    }
    Ok(Action::Start(Box::new(StartRequest { endpoint, options: given, metadata })))
}

pub(super) fn start_ai(row: &CommandRow, mut rest: Rest<'_>, context: &mut Context) -> Result<Action, CommandError> {
    let mut given = OptionValues::default();
    while let Some((word, _)) = rest.word() {
        if let Some((wait, after)) = context.wait_option(rest)? {
            context.wait = Some(Some(wait));
            rest = after;
        } else if let Some((row, value, after)) = rest.option(options::ai_row)? {
            given.add(row, value)?;
            rest = after;
        } else if word.starts_with("name=") {
            return Err(CommandError::NamePlace(row.verb));
        } else {
            // What stands behind the '=' may be secret.
            return Err(CommandError::NoOption(match word.split_once('=') {
                Some((key, _)) if !key.contains("://") => shown(key),
                _ => beginning(word),
            }));
        }
    }
    Ok(Action::StartAi(Box::new(StartAiRequest { options: given })))
}

/// What shows an operator which word was meant, without what may be secret: of a URL scheme and host, 32 characters at most.
fn beginning(word: &str) -> String {
    const LONGEST: usize = 32;
    if word.split("://").last().is_some_and(looks_like_token) {
        return "***".to_owned();
    }
    let scheme = match word.find(":/") {
        Some(colon) if word[..colon].bytes().all(|byte| byte.is_ascii_alphanumeric()) => {
            word[colon + 1..].find(|c| c != '/').map_or(word.len(), |slashes| colon + 1 + slashes)
        }
        _ => 0,
    };
    // A password may have any character, so everything up to the last '@' is taken for credentials.
    let host = word.rfind('@').map_or(scheme, |at| scheme.max(at + 1));
    let end = word[host..].find(['/', '?', '#', '=', ':']).map_or(word.len(), |length| host + length);
    let text = format!("{}{}", &word[..scheme], &word[host..end]);
    let cut = text.chars().nth(LONGEST).is_some() || end < word.len();
    let text: String = text.chars().take(LONGEST).collect();
    format!("{}{}", shown(&text), if cut { "…" } else { "" })
}

fn add(given: &mut OptionValues, key: &str, text: &str) -> Result<(), OptionError> {
    options::row(key).map_or(Ok(()), |row| given.add(row, text))
}

impl Context {
    /// `wait=…`, which is an option in the dialplan only.
    fn wait_option<'a>(&self, rest: Rest<'a>) -> Result<Option<(Wait, Rest<'a>)>, OptionError> {
        let Some(before) = self.wait else { return Ok(None) };
        let Some((text, after)) = rest.word().and_then(|(word, after)| Some((word.strip_prefix("wait=")?, after)))
        else {
            return Ok(None);
        };
        if before.is_some() {
            return Err(OptionError::Duplicate("wait"));
        }
        let wait = match values::flag(text) {
            Some(true) => Some(Wait::End),
            Some(false) => Some(Wait::No),
            None => Wait::named(text),
        };
        let why = "give true, false or ready".to_owned();
        wait.map(|wait| Some((wait, after))).ok_or(OptionError::Value { key: "wait", value: shown(text), why })
    }
}

/// Whether a word that is no mix was meant as one: letters alone, and then nothing, a rate, an option or JSON. Metadata is free to
/// begin with a word after the URL, so it takes that much to tell a slip from it.
fn looks_like_mix(word: &str, after: Rest<'_>) -> bool {
    let next_is_argument = after.word().is_none_or(|(next, _)| {
        looks_like_rate(next)
            || next.starts_with(['{', '['])
            || next.split_once('=').is_some_and(|(key, _)| options::server_row(key).is_some())
    });
    word.bytes().all(|byte| byte.is_ascii_alphabetic()) && next_is_argument
}

/// Whether a word was meant as a rate: a number, with or without `k`, `Hz` or `kHz`.
fn looks_like_rate(word: &str) -> bool {
    let lower = word.to_ascii_lowercase();
    let digits = lower.strip_suffix("hz").unwrap_or(&lower);
    let digits = digits.strip_suffix('k').unwrap_or(digits).trim_start_matches(['+', '-']);
    digits.bytes().next().is_some_and(|byte| byte.is_ascii_digit())
        && digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
}
