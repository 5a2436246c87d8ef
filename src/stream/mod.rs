//! One stream: what it is asked to do, what happens to it, how it stands, and the task that runs it.

pub mod action;
pub mod backgrounds;
pub mod call_mixes;
mod capture;
pub mod correlation;
mod files;
pub mod hand_over;
pub mod handle;
pub mod hold;
pub mod meter;
pub mod options;
mod playback;
mod sounds;
pub mod spec;
pub mod state;
pub mod status;
pub mod task;
pub mod totals;
pub mod watch;
