//! A service that speaks OpenAI's Live protocol (GPT-Live), scripted: strict with its client, misbehaving to order.
//!
//! An implementation of its own, from the types of OpenAI's Python SDK 3.54 (`types/live`): nothing of the module's is used in it. It sends
//! one stream of audio that never pauses, in which it speaks, is silent and lets itself be interrupted. What it says is real audio that can
//! be found again in what a caller heard.
//!
//! | file | job |
//! |---|---|
//! | `shape` | what a client may say, field by field |
//! | `session` | a session without input or output, on any clock |
//!
//! Used as `#[path = "../support/live/mod.rs"] mod live_service;` next to `mod realtime;`, whose server, answers and records it shares.
#![allow(dead_code, unused_imports, unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod session;
mod shape;

pub use session::{KEY, Model};
pub use shape::check;
