//! A service that speaks Deepgram's Voice Agent protocol, scripted: strict with its client, misbehaving to order.
//!
//! An implementation of its own, from the types of deepgram-sdk 7.17 (`agent/v1`) and the vendor's documentation: nothing of the
//! module's is used in it. What it says is real audio that can be found again in what a caller heard.
//!
//! | file | job |
//! |---|---|
//! | `shape` | what a client may say, field by field |
//! | `session` | a session without input or output, on any clock |
//!
//! Used as `#[path = "../support/deepgram/mod.rs"] mod deepgram_service;` next to `mod realtime;`, whose server, answers and records it shares.
#![allow(dead_code, unused_imports, unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod session;
mod shape;

pub use session::{Agent, KEY, WORDS_SEED};
pub use shape::check;
