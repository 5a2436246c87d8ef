//! A service that speaks OpenAI's Realtime protocol (GA), scripted: strict with its client, misbehaving to order.
//!
//! An implementation of its own, from the API's reference: nothing of the module's is used in it, so that both can be wrong in
//! the same way only if the reference is. What it answers is real audio that can be found again in what a caller heard.
//!
//! | file | job |
//! |---|---|
//! | `script` | what it answers, and what goes wrong when |
//! | `shape` | what a client may say, field by field |
//! | `dialects` | the same for the services that differ, and how their events are called |
//! | `gemini`, `gemini_shape` | Gemini Live on the same session, and what its client may say |
//! | `session` | a session without input or output, on any clock |
//! | `ear` | where the caller begins and stops, by level |
//! | `voice` | what it says as samples, G.711, finding it again |
//! | `server` | the WebSocket server, its connections and their records |
//! | `stage` | a notation for conversations of which a test says every event of the service |
//! | `reports` | such conversations: what the operator is told |
//! | `hosted` | another service beside it: an agent that is called by its id, as ElevenLabs has them |
//! | `changes` | such conversations: an operator changes them, tells the model something, sees the service's events; keys |
//! | `pauses` | such conversations: speech of the caller pauses the agent until it is known whether it interrupts |
//! | `remarks` | such conversations: the module decides which turns interrupt and are answered |
//! | `sessions` | such conversations: sessions that are lost, answers that are cut short |
//! | `turns` | such conversations: turns that cross, fail, are refused, are lost |
//!
//! Used as `#[path = "support/openai/mod.rs"] mod realtime;` next to `mod support;` by the tests that talk to it.
#![allow(
    dead_code,
    unused_imports,
    unused_macros,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic
)]

pub mod changes;
mod dialects;
pub mod ear;
mod gemini_shape;
mod hosted;
pub mod pauses;
pub mod remarks;
pub mod reports;
mod script;
mod server;
mod session;
pub mod sessions;
pub mod shape;
mod stage;
pub mod tools;
pub mod turns;
mod voice;

pub use dialects::Dialect;
pub use hosted::{AGENT, AGENT_KEY, Hosted, HostedSession, SIGNATURE, check_message};
pub use script::{Answer, Answers, Asked, Auth, Call, Ending, Pace, Script, Trouble, What, When, WrongKey};
pub use server::{Connection, RealtimeServer};
pub use session::{Far, Opening, Order, Out, Record, Request, Service, Session, admit_by_header};
pub use shape::{Complaint, check};
pub use stage::{Command, Place, Stage, Start, sound};
pub use voice::{Coding, Voice, chord, heard_ms};
