//! Texts that were probably meant for another stream of the call: `stop leg` in place of `stop name=leg`.
//!
//! A command without `name=` is for the stream `default`, and `stop`, `send_text` and `say` take any text. So the name of another stream at
//! the beginning of the text would be sent or spoken on the wrong one, or would end it. Such a command is refused; `name=default` makes
//! the same text possible. Pure; on the API or dialplan thread.

use super::action::{Action, SendText};
use super::error::CommandError;
use crate::units::StreamName;

/// Refuses an action without `name=` whose text begins with the name of one of `others`, the other streams of the call, or with a
/// word such as `nmae=leg` that gives one.
pub fn astray(action: &Action, others: &[StreamName]) -> Result<(), CommandError> {
    let text = match action {
        Action::Stop { text: Some(text) } | Action::SendText(SendText { whole: text, .. }) | Action::Say(text) => text,
        _ => return Ok(()),
    };
    let Some(word) = text.split_ascii_whitespace().next() else { return Ok(()) };
    let named = word.split_once('=').map_or(word, |(_, name)| name);
    match others.iter().find(|name| name.as_str().eq_ignore_ascii_case(named)) {
        Some(name) => Err(CommandError::Astray { verb: action.verb(), name: name.clone() }),
        None => Ok(()),
    }
}
