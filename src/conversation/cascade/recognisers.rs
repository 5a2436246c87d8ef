//! The services that write down the caller while they speak, as a table.
//!
//! Pure.

use super::super::services::SttProvider;
use super::deepgram;
use super::recogniser::{Asked, Recogniser};

/// One row of the table.
pub(super) struct Row {
    pub(super) provider: SttProvider,
    /// Its own servers, for a model.
    pub(super) url: fn(&str) -> &'static str,
    /// What stands before the key in the header `Authorization`.
    pub(super) key_scheme: &'static str,
    /// Parameters of the URL's query, unless the URL has them already.
    pub(super) query: fn(&Asked) -> Vec<(&'static str, String)>,
    /// What it cannot do of what is asked; `None`: it can do all.
    pub(super) refuses: fn(&Asked) -> Option<&'static str>,
    pub(super) make: fn(&Asked) -> Box<dyn Recogniser>,
}

const ROWS: &[Row] = &[Row {
    provider: SttProvider::Deepgram,
    url: deepgram::url,
    key_scheme: deepgram::KEY_SCHEME,
    query: deepgram::query,
    refuses: deepgram::refuses,
    make: deepgram::make,
}];

/// The row of a provider; `None`: it is asked for each turn by itself.
pub(super) fn find(provider: SttProvider) -> Option<&'static Row> {
    ROWS.iter().find(|row| row.provider == provider)
}
