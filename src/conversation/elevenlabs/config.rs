//! What the engine of one call needs to know. Made by `setup`, read by `engine`.

use super::super::options::RawEvents;
use super::super::setup::HeaderList;
use super::message::Initiation;
use super::place::Addresses;
use crate::units::{SampleRate, Secret};

/// What the engine needs to know.
#[derive(Clone, Debug)]
pub(super) struct Config {
    pub(super) addresses: Addresses,
    /// The key for a signed URL; `None`: the agent is public.
    pub(super) key: Option<Secret>,
    /// The operator's headers.
    pub(super) headers: HeaderList,
    pub(super) initiation: Initiation,
    /// What the agent says first, in place of what its settings say; empty: nothing; `None`: its settings decide.
    pub(super) greeting: Option<String>,
    /// Which messages of the service become events for the operator.
    pub(super) raw_events: Option<RawEvents>,
    /// The rate at which the caller is heard.
    pub(super) rate: SampleRate,
}
