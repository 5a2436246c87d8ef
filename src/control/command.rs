//! The command language of `uuid_audio_stream` and of the dialplan application `audio_stream`.
//!
//! A line is read from left to right: uuid, verb, `name=<id>`, then what the verb takes. Words are separated by white space. A
//! text at the end (metadata, a message) is the rest of the line byte for byte; only the one separator before it is consumed.
//! So JSON with spaces and quotes arrives as it was typed.
//!
//! Pure; on the API or dialplan thread, in time linear in the line. [`COMMANDS`] drives the parser, the syntax FreeSWITCH shows,
//! tab completion and the documentation. Any bytes may come in: what is no command is a [`CommandError`], whose text is the reply.
//!
//! | file | job |
//! |---|---|
//! | here | what a line becomes |
//! | `table`, `row` | every command, with its syntax |
//! | `parse`, `rest`, `start` | the readers |
//! | `action`, `request`, `error` | what they give |
//! | `slip` | arguments that became metadata |
//! | `astray` | texts without `name=` that were meant for another stream |

mod action;
mod astray;
mod error;
mod parse;
mod request;
mod rest;
mod row;
mod slip;
mod start;
mod table;

pub use action::{Action, BreakerOrder, Direction, DrainOrder, Role, SendText, Source};
pub use astray::astray;
pub use error::CommandError;
pub use parse::{parse, parse_ai_application, parse_application, subject, verb_of_application};
pub use request::{StartAiRequest, StartRequest};
pub use row::CommandRow;
pub use table::{COMMANDS, ai_application_syntax, application_syntax, completion_removal, completions, syntax};

use crate::units::choice::choice;
use crate::units::{CallId, StreamName};

/// Name of the API command.
pub const API: &str = "uuid_audio_stream";
/// Name of the dialplan application.
pub const APPLICATION: &str = "audio_stream";
/// Name of the dialplan application for conversations.
pub const AI_APPLICATION: &str = "audio_stream_ai";
/// Longest line, bytes.
pub const MAX_LINE: usize = 65_536;

/// A line of the API, understood.
#[derive(Clone, PartialEq, Debug)]
pub enum Command {
    /// About a stream of one call.
    Call {
        /// The call.
        call: CallId,
        /// Which of its streams; `None`: nothing was said, which is the default one.
        name: Option<StreamName>,
        /// What to do.
        action: Action,
    },
    /// Health of the module, as JSON.
    GlobalHealth,
    /// Every stream, as JSON.
    List,
    /// Every circuit breaker, as JSON, or closed.
    Breakers(BreakerOrder),
    /// Version and build, as JSON.
    Version,
    /// The metrics, as text.
    Metrics,
    /// About draining.
    Drain(DrainOrder),
    /// What is wrong in a configuration file, as text.
    CheckConfig {
        /// Which file; `None`: the one that FreeSWITCH has.
        file: Option<String>,
    },
    /// The values in force, as JSON.
    Config {
        /// The profile to look at, in place of that of the settings.
        profile: Option<String>,
    },
}

impl Command {
    /// The words for it.
    pub const fn verb(&self) -> &'static str {
        match self {
            Self::Call { action, .. } => action.verb(),
            Self::GlobalHealth => "global_health",
            Self::List => "list",
            Self::Breakers(BreakerOrder::Report) => "breakers",
            Self::Breakers(BreakerOrder::Reset { .. }) => "breakers reset",
            Self::Version => "version",
            Self::Metrics => "metrics",
            Self::Drain(DrainOrder::On { .. }) => "drain on",
            Self::Drain(DrainOrder::Off) => "drain off",
            Self::Drain(DrainOrder::Status) => "drain status",
            Self::CheckConfig { .. } => "config check",
            Self::Config { .. } => "config",
        }
    }

    /// Whether it does more than report.
    pub const fn changes(&self) -> bool {
        match self {
            Self::Call { action, .. } => !matches!(action, Action::Health),
            Self::Breakers(BreakerOrder::Reset { .. }) | Self::Drain(DrainOrder::On { .. } | DrainOrder::Off) => true,
            _ => false,
        }
    }
}

choice! {
    /// What the dialplan application waits for before it returns.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub enum Wait {
        /// Nothing.
        #[default]
        No = "false",
        /// The server is ready, or the stream has ended.
        Ready = "ready",
        /// The stream has ended.
        End = "true",
    }
}

/// The argument of the dialplan application, understood.
#[derive(Clone, PartialEq, Debug)]
pub struct AppCommand {
    /// Which stream of the call; `None`: nothing was said, which is the default one.
    pub name: Option<StreamName>,
    /// What to do.
    pub action: Action,
    /// What the application waits for.
    pub wait: Wait,
}

/// Runs both parsers on any bytes, and what they understood through everything that prints. For fuzzing.
pub fn fuzz_command(data: &[u8]) {
    let _ = (subject(data), verb_of_application(data));
    let replies = [
        parse(data).map(|command| format!("{command:?}")),
        parse_application(data).map(|app| format!("{app:?}")),
        parse_ai_application(data).map(|app| format!("{app:?}")),
    ];
    for reply in replies.into_iter().filter_map(Result::err) {
        let reply = reply.to_string();
        assert!(reply.starts_with("-ERR ") || reply.starts_with("-USAGE: "), "a reply begins otherwise: {reply}");
        assert!(!reply.contains(['\r', '\n']), "a reply has more than one line: {reply}");
    }
}

#[cfg(test)]
mod tests;
