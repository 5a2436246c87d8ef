//! The module in a real FreeSWITCH, end to end: what the caller hears, what the server gets, what ESL reports.
//!
//! `FREESWITCH_PREFIX=<where it is installed>[:<another>…] cargo test --test freeswitch -- --test-threads=1`. Without one
//! the cases say `SKIPPED` and pass, with `REQUIRE_FREESWITCH=1` they fail. Nothing else is needed: the phones are ours.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../support/assemblyai/mod.rs"]
mod assemblyai_service;
mod cases;
#[path = "../support/deepgram/mod.rs"]
mod deepgram_service;
#[path = "mod.rs"]
mod harness;
#[path = "../support/live/mod.rs"]
mod live_service;
#[path = "../support/parts/mod.rs"]
mod parts;
#[path = "../support/openai/mod.rs"]
mod realtime;
#[path = "../support/mod.rs"]
mod support;
#[path = "../support/ultravox/mod.rs"]
mod ultravox_service;
