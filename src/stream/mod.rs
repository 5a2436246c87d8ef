//! One stream: what it is asked to do, what happens to it, how it stands, and the task that runs it.

pub mod action;
pub mod call_mixes;
mod capture;
pub mod event;
pub mod handle;
mod playback;
pub mod registry;
pub mod spec;
pub mod status;
pub mod task;
