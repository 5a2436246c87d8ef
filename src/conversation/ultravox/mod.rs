//! Ultravox as an engine: a model that hears speech, and a voice, as one service.
//!
//! ```text
//! Connect ─► Opening, Recall ─► POST …/api/calls (key) ─► joinUrl, which is never shown ─► WebSocket ─► call_started ─► Ready
//! ```
//! A call of the service is created over HTTP, with everything that it is to be, and joined over a WebSocket once: a lost connection ends it,
//! and the next one begins with what was said. Audio is raw S16LE at the rate of the call, each way; everything else is JSON. The service
//! finds the caller's turns, answers them and interrupts itself. Facts: the vendor's OpenAPI schema and its documentation of data messages,
//! its own WebSocket client and SDKs.
//!
//! | file | job |
//! |---|---|
//! | `setup` | from an operator's options to the configuration |
//! | `place` | where calls are created, and where one is joined |
//! | `call` | what a call is to be, as the JSON of the service |
//! | `message` | messages to the service |
//! | `wire` | messages of the service, borrowed from their text |
//! | `answer` | what the agent says, as far as it has come |
//! | `failure` | what refusals and closes mean |
//! | `engine` | the state machine; below it the messages of the service, and those to it |

mod answer;
mod call;
mod engine;
mod failure;
mod message;
mod place;
mod setup;
mod wire;

pub use setup::{BadOptions, check, make, place};
