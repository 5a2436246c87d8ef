//! The scripted Realtime server itself, and the module's conversation against it: on virtual time, and over a socket.
#![allow(unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod chaos;
mod conversation;
#[path = "../support/openai/mod.rs"]
mod far;
mod socket;
mod strict;
#[path = "../support/mod.rs"]
mod support;
mod world;
