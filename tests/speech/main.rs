//! Speech synthesis, voice activity detection and the cancellation of echo.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod echo;
mod stream_input;
#[path = "../support/mod.rs"]
mod support;
mod synthesis;
mod voice_activity;
