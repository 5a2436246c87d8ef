//! What the module says about itself: log lines and metrics.
//!
//! Everything here runs on workers and API threads; the media thread only bumps the atomics of [`crate::media`].

mod budget;
pub mod log;
pub mod metrics;
pub mod rate_limit;
