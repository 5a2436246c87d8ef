//! Conversations against the scripted Realtime server, on virtual time and over a socket; that server itself; and an engine of
//! another kind.
#![allow(unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod assemblyai;
#[path = "../support/assemblyai/mod.rs"]
mod assemblyai_service;
mod cascade;
mod cascade_live;
mod chaos;
mod conversation;
mod deepgram;
#[path = "../support/deepgram/mod.rs"]
mod deepgram_service;
mod dialects;
mod gemini;
mod hosted;
mod live;
#[path = "../support/live/mod.rs"]
mod live_service;
mod parrot;
#[path = "../support/parts/mod.rs"]
mod parts;
#[path = "../support/openai/mod.rs"]
mod realtime;
mod socket;
mod strict;
#[path = "../support/mod.rs"]
mod support;
mod turns;
mod ultravox;
#[path = "../support/ultravox/mod.rs"]
mod ultravox_service;
mod world;
