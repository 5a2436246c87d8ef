//! A service that speaks Ultravox's protocol, scripted: strict with its client, misbehaving to order.
//!
//! An implementation of its own, from the vendor's OpenAPI schema and its documentation of data messages: nothing of the module's is used in
//! it. Calls are created over HTTP and joined once. What it says is real audio that can be found again in what a caller heard.
//!
//! | file | job |
//! |---|---|
//! | `shape` | what a client may ask for and say, field by field |
//! | `agent` | what the service does, and the calls that were created |
//! | `session` | a call without input or output, on any clock |
//!
//! Used as `#[path = "../support/ultravox/mod.rs"] mod ultravox_service;` next to `mod realtime;`, whose server, answers and records it
//! shares.
#![allow(dead_code, unused_imports, unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod agent;
mod session;
mod shape;

pub use agent::{Agent, JOIN, KEY, STORED, WORDS_SEED, words_ms};
pub use shape::{check, check_call};
