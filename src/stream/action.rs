//! Actions of a server on its call, as far as the stream's options allow them: plain data.
//!
//! Decided on the stream's worker, carried out on the event thread, which may wait for FreeSWITCH's locks. Every text in it is the
//! server's: never expanded, never a format, never a shell's.

use std::fmt;
use std::time::Duration;

use crate::conversation::agent::CONFERENCE;
use crate::units::choice::choice;

/// One thing to be done to the call.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CallAction {
    /// Answer it, if it is not answered yet.
    Answer,
    /// End it, as one that ended normally.
    HangUp,
    /// Send the caller to an extension of the dialplan and context it is in.
    Transfer {
        /// 1 to 128 printable ASCII characters, none of which means anything to a dialplan.
        destination: String,
    },
    /// An agent hands the caller over to somebody.
    HandOver(HandOver),
    /// DTMF to the caller, in the form its leg has agreed on.
    SendDtmf {
        /// 1 to 64 of `0-9 A-D a-d * #`, `w` and `W` for pauses.
        digits: String,
    },
    /// Set a channel variable. A value that FreeSWITCH could expand later is refused.
    SetVariable {
        /// Letters, digits and `_`.
        name: String,
        /// Printable.
        value: String,
    },
}

/// To whom an agent hands the caller over, and what that person is to know.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HandOver {
    /// What the operator calls the destination.
    pub name: String,
    /// 1 to 64 of `A-Z a-z 0-9 + * # . _ -`; or a room of a conference, as [`room`](Self::room) finds it.
    pub number: String,
    /// Printable; may be empty.
    pub summary: String,
    /// The person is called first, and the caller waits; otherwise the caller is sent there.
    pub announced: bool,
}

impl HandOver {
    /// The room in which the caller is to meet somebody, with its profile; `None` if the destination is a number.
    pub fn room(&self) -> Option<String> {
        let room = self.number.strip_prefix(CONFERENCE)?;
        Some(if room.contains('@') { room.to_owned() } else { format!("{room}@default") })
    }

    /// The channel variables that tell of it.
    pub fn variables(&self) -> [(&'static str, &str); 2] {
        [("audio_stream_ai_transfer_to", &self.name), ("audio_stream_ai_transfer_summary", &self.summary)]
    }
}

impl fmt::Display for CallAction {
    /// In words that complete "the server wants to …". A variable's value stays out of it, and so do keys: they may be
    /// a PIN.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answer => f.write_str("answer the call"),
            Self::HangUp => f.write_str("hang up the call"),
            Self::Transfer { destination } => write!(f, "transfer the call to {destination}"),
            Self::HandOver(HandOver { name, .. }) => write!(f, "hand the caller over to {name}"),
            Self::SendDtmf { digits } => write!(f, "send {} keys of DTMF", digits.chars().count()),
            Self::SetVariable { name, .. } => write!(f, "set the variable {name}"),
        }
    }
}

/// What is left of an action that pauses: to be done so much later.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rest {
    /// The pause.
    pub after: Duration,
    /// The same action from there on.
    pub action: CallAction,
}

/// The digits before the first pause, perhaps none; and what is left, if there is a pause.
pub fn until_pause(digits: &str) -> (&str, Option<Rest>) {
    let Some(at) = digits.find(|key| pause(key).is_some()) else { return (digits, None) };
    let (before, behind) = digits.split_at(at);
    let left = behind.trim_start_matches(|key| pause(key).is_some());
    let after = pauses(&behind[..behind.len() - left.len()]);
    (before, Some(Rest { after, action: CallAction::SendDtmf { digits: left.to_owned() } }))
}

/// How long the pauses of these digits last: half a second for each `w`, a second for each `W`.
pub fn pauses(digits: &str) -> Duration {
    digits.chars().filter_map(pause).sum()
}

const fn pause(key: char) -> Option<Duration> {
    match key {
        'w' => Some(Duration::from_millis(500)),
        'W' => Some(Duration::from_secs(1)),
        _ => None,
    }
}

choice! {
    /// What a server may do with the call.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub enum Grant {
        /// Answer it.
        Answer = "answer",
        /// End it.
        Hangup = "hangup",
        /// Transfer the caller.
        Transfer = "transfer",
        /// Send DTMF to the caller.
        Dtmf = "dtmf",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_cut_at_each_pause_and_none_is_lost() {
        let rest = |ms, digits: &str| {
            Some(Rest { after: Duration::from_millis(ms), action: CallAction::SendDtmf { digits: digits.to_owned() } })
        };
        for (digits, before, left) in [
            ("", "", None),
            ("12#", "12#", None),
            ("12w3W4", "12", rest(500, "3W4")),
            ("3W4", "3", rest(1_000, "4")),
            ("wWw5", "", rest(2_000, "5")),
            ("9w", "9", rest(500, "")),
        ] {
            assert_eq!(until_pause(digits), (before, left), "{digits}");
        }
        assert_eq!(pauses("1w2W3ww"), Duration::from_millis(2_500));
    }
}
