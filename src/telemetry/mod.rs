//! What the module says about itself: log lines now, counters where things happen.
//!
//! Everything here runs on workers and API threads; the media thread only bumps the atomics of [`crate::media`].

pub mod log;
pub mod rate_limit;
