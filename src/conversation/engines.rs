//! The table of engines: what a conversation can be held with.
//!
//! A new engine is one file or folder that implements [`Engine`], one row here, the rows of its options, and its golden
//! transcripts.

use super::engine::Engine;
use super::openai;
use super::options::AiOptions;
use super::setup::{HeaderList, Setup};
use crate::peer::Target;

/// One row of the table.
#[derive(Clone, Copy)]
pub struct EngineEntry {
    /// The name of its protocol, in events and in health.
    pub name: &'static str,
    check: fn(&AiOptions, HeaderList) -> Result<Target, String>,
    make: fn(Setup<'_>) -> Result<Box<dyn Engine>, String>,
}

impl EngineEntry {
    /// Where the conversation will connect to, for the log and the reply; the operator's `headers` go with the engine's own.
    ///
    /// Errors where the options cannot make a conversation; the text is the reply to the operator.
    pub fn check(&self, options: &AiOptions, headers: HeaderList) -> Result<Target, String> {
        (self.check)(options, headers)
    }

    /// An engine for one call, waiting for its first command. Errors as [`check`](Self::check).
    pub fn make(&self, setup: Setup<'_>) -> Result<Box<dyn Engine>, String> {
        (self.make)(setup)
    }
}

/// Every engine. The first is the default.
pub const ENGINES: &[EngineEntry] = &[EngineEntry {
    name: "openai_realtime",
    check: |options, headers| openai::check(options, headers).map_err(|error| error.to_string()),
    make: |setup| openai::make(setup).map_err(|error| error.to_string()),
}];

/// The engine of that name.
pub fn find(name: &str) -> Option<&'static EngineEntry> {
    ENGINES.iter().find(|entry| entry.name == name)
}
