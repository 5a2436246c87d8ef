//! One stream: what it is asked to do, what happens to it, how it stands.

pub mod event;
pub mod spec;
pub mod status;
