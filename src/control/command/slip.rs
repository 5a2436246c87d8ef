//! Arguments that were mistyped and became metadata.

use crate::control::options::{self, Warning};
use crate::units::choice::Choice as _;
use crate::units::text::shown;
use crate::units::{Mix, SampleRate};

/// Metadata that begins like an argument that was mistyped or stands too late.
pub(super) struct Slip {
    /// For the log. The value is not shown: metadata may be secret.
    pub(super) warning: Warning,
    /// It is for the reply, too: it is an argument in the wrong place, or has the name of an option or one that is made like it.
    pub(super) is_argument: bool,
    /// That option is secret.
    pub(super) is_secret: bool,
}

pub(super) fn slip(metadata: &str) -> Option<Slip> {
    let word = metadata.split_ascii_whitespace().next()?;
    if Mix::named(word).is_some() || word.parse::<SampleRate>().is_ok() {
        let text = format!("'{word}' counts as metadata: mix and rate come right after the URL, before all options");
        return Some(Slip { warning: Warning(text), is_argument: true, is_secret: false });
    }
    let (key, _) = word.split_once('=')?;
    let like_a_name = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let near = closest(key).filter(|_| like_a_name);
    let is_secret = near.or(Some(key)).and_then(options::row).is_some_and(|row| row.secret);
    let (advice, is_argument) = match near {
        _ if key == "name" => ("name=<id> comes right after the verb".to_owned(), true),
        Some(known) => (format!("did you mean {known}?"), true),
        None if !like_a_name || key.bytes().any(|byte| byte.is_ascii_digit()) => return None,
        None if options::row(key).is_some() => ("it is an option of start_ai".to_owned(), true),
        None => ("options stand before the metadata".to_owned(), key.contains('_')),
    };
    let text = format!("'{}=…' is not an option here and counts as metadata; {advice}", shown(key));
    Some(Slip { warning: Warning(text), is_argument, is_secret })
}

/// The option of streams to servers that `key` was probably meant to be: at most two letters differ, or one in a short name.
fn closest(key: &str) -> Option<&'static str> {
    let key = key.to_ascii_lowercase();
    let known = options::OPTIONS.iter().chain(options::SPEECH_OPTIONS.iter());
    let near = known.map(|row| (distance(&key, &row.key), row.key.as_str()));
    near.filter(|(apart, known)| *apart <= known.len().min(8) / 4).min().map(|(_, known)| known)
}

/// How many letters must be added, removed or replaced to make `b` of `a`.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.bytes().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row.last().copied().unwrap_or_default()
}
