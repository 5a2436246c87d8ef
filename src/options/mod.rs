//! Options declared once: the field of a struct, its default, what may be written, its variables and its help text.
//!
//! [`options!`] declares a struct whose fields are options. Each field is one declaration: the doc comment is the help text, the
//! expression says what the option takes and its default:
//!
//! ```text
//! options! {
//!     /// The options of one stream.
//!     pub struct StreamOptions, variables "AUDIO_STREAM_" {
//!         /// Audio in one message, a multiple of the call's ptime.
//!         buffer_ms: u32 = number(20..=1_000, "ms").default("20").also("STREAM_BUFFER_SIZE");
//!     }
//! }
//! ```
//! The key is the field's name, the channel variable the prefix and the key in capitals; [`Opt`] has a method for each exception.
//! `Default` and [`Options::rows`] follow. From the rows follow the parser, the configuration file and the documentation.
//!
//! | file | what |
//! |---|---|
//! | `declare` | [`Opt`]: what an option takes, and everything else that a declaration says |
//! | `row` | [`Row`]: a declared option that reads text into its struct; the macro |
//! | `values` | text to numbers, switches, names |
//!
//! Pure; on FreeSWITCH's API and dialplan threads. A refusal never quotes the value, which may be secret.

mod declare;
mod row;
pub mod values;

pub use declare::{
    FileKind, Form, Opt, Show, Variable, checked, choice, choice_or, choices, decimal, in_words, list, name, number,
    optional, path, secret, switch, text, url, words,
};
pub(crate) use row::options;
pub use row::{Declare, Field, Fixed, Group, Options, Row};
