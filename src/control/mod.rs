//! What an operator says and reads: the command grammar, options, configuration and health.
//!
//! Runs on FreeSWITCH's API, dialplan and event threads; owns nothing that lives longer than a call of it, except `Config`,
//! which a reload replaces as a whole. No FreeSWITCH in here: text in, typed values out, and back.
//! Three tables ([`command::COMMANDS`], [`options::OPTIONS`] with [`options::SPEECH_OPTIONS`] and [`options::AI_OPTIONS`], [`config::MODULE_SETTINGS`]) each drive
//! the code, the reply texts and the documentation of their subject.

pub mod command;
pub mod config;
pub mod docs;
mod giver;
pub mod health;
pub mod in_force;
pub mod keys;
pub mod options;
pub mod resolve;
mod review;
mod secret_file;
pub mod unused;
pub mod variables;
pub mod web;

pub use command::{Action, AppCommand, Command, CommandError, StartAiRequest, StartRequest};
pub use config::{Config, ConfigDoc};
pub use giver::Giver;
pub use options::{OptionError, Warning};
pub use review::review;
pub use variables::Variables;

pub use crate::stream::options::StreamOptions;
pub use crate::stream::spec::StreamSpec;
