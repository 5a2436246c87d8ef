//! Speech synthesis and voice activity detection.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod stream_input;
#[path = "../support/mod.rs"]
mod support;
mod synthesis;
mod voice_activity;
