//! A service that speaks AssemblyAI's Voice Agent protocol, scripted: strict with its client, misbehaving to order.
//!
//! An implementation of its own, from the vendor's AsyncAPI schema and documentation: nothing of the module's is used in it. What it says is
//! real audio that can be found again in what a caller heard.
//!
//! | file | job |
//! |---|---|
//! | `shape` | what a client may say, field by field |
//! | `agent` | what the service does, and the sessions that it keeps |
//! | `session` | a session without input or output, on any clock |
//! | `speaking` | what a session says, piece by piece |
//!
//! Used as `#[path = "../support/assemblyai/mod.rs"] mod assemblyai_service;` next to `mod realtime;`, whose server, answers and records it
//! shares.
#![allow(dead_code, unused_imports, unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod agent;
mod session;
mod shape;
mod speaking;

pub use agent::{Agent, KEY, STORED, WORDS_SEED};
pub use shape::check;
