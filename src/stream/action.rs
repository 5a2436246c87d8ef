//! Actions of a server on its call, as far as the stream's options allow them: plain data.
//!
//! Decided on the stream's worker, carried out on the event thread, which may wait for FreeSWITCH's locks. Every text in it is the
//! server's: never expanded, never a format, never a shell's.

use std::fmt;

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
    /// 1 to 64 of `A-Z a-z 0-9 + * # . _ -`.
    pub number: String,
    /// Printable; may be empty.
    pub summary: String,
    /// The person is called first, and the caller waits; otherwise the caller is sent there.
    pub announced: bool,
}

impl HandOver {
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
