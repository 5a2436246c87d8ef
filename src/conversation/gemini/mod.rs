//! Google's Gemini Live over WebSocket as an engine.
//!
//! ```text
//! setup ─► setupComplete ─► (history) ─► realtimeInput: audio 16 kHz, activity, text ─► serverContent: audio 24 kHz, transcripts
//! ```
//! The service has no responses, no items and no ids for them: what the model generates from one `turnComplete` to the next is a
//! response here. Nor does it forget on command: what the caller has not heard stays in its memory. Facts: Google's Python SDK
//! google-genai 3.6.1 (`types`, `live`, `_live_converters`), and what livekit-plugins-google 1.8.9 and pipecat-ai 1.14.0 say to it.
//!
//! | file | job |
//! |---|---|
//! | `setup`, `profile` | from an operator's options to what a session is to be |
//! | `message`, `schema` | messages of the client as JSON; the parameters of functions as it takes them |
//! | `wire` | messages of the service, borrowed from their text |
//! | `failure` | what is worth another attempt and what is not |
//! | `usage` | what the service states that it has used |
//! | `activity` | the caller's turns, where the module finds them |
//! | `generation` | what the model is saying, and which request it answers |
//! | `texts` | what the service is told in words, and when |
//! | `calls` | functions that the model calls |
//! | `caller` | what the caller says, in writing |
//! | `change` | a change of the session that is under way |
//! | `engine` | the state machine; below it the service's content, the agent's commands, and changes of a session that runs |

mod activity;
mod caller;
mod calls;
mod change;
mod engine;
mod failure;
mod fuzz;
mod generation;
mod message;
mod profile;
mod schema;
mod setup;
mod texts;
mod usage;
mod wire;

pub use fuzz::fuzz_gemini_live;
pub use setup::{BadOptions, check, make, place};
