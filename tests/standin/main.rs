//! The built module in the stand-in FreeSWITCH: one switch, with the module loaded once, for all tests.
//!
//! They run side by side, each with calls of its own. A test that loads, unloads or configures the module belongs in
//! `tests/standin_exclusive`, one that replaces the allocator in `tests/media_thread`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod announcing;
mod asterisk;
mod bad_input;
mod breakers;
mod calls;
mod capture;
mod commands;
mod conversation;
mod conversation_speech;
mod dialplan;
mod dtmf;
mod ending;
mod examples;
mod host;
mod instruments;
mod members;
mod playback;
mod protocols;
#[path = "../support/openai/mod.rs"]
mod realtime;
mod reconnecting;
mod recording;
#[path = "../support/mod.rs"]
mod support;
mod transcription;
mod waiting;
mod watching;
