//! What an engine is made of, for one call.
//!
//! Plain values, borrowed; on the API or dialplan thread.

use super::agent::AgentConfig;
use super::options::AiOptions;
use crate::units::{SampleRate, Secret};

/// What an engine is made of.
#[derive(Debug)]
pub struct Setup<'a> {
    /// What the operator asks for.
    pub options: &'a AiOptions,
    /// The operator's headers for the handshake.
    pub headers: HeaderList,
    /// The agent it is to serve.
    pub policy: &'a AgentConfig,
    /// The rate at which the caller is heard.
    pub rate: SampleRate,
    /// FreeSWITCH's name of the caller's codec, if known.
    pub codec: Option<&'a str>,
}

/// Headers for a handshake, in their order.
pub type HeaderList = Vec<(String, Secret)>;
