//! OpenAI's Live API (GPT-Live) over WebSocket as an engine: a model that hears and speaks at the same time.
//!
//! ```text
//! session.start ─► session.started ─► audio both ways, all the time, silence included
//!                                     transcripts of both sides, in fragments
//!                                     delegations: tasks for a second model (which calls functions), or for the operator's server
//! ```
//! The service has no turns, no responses and no events of speech, and nothing can be taken back or flushed: the model itself falls silent
//! when the caller speaks over it. So the engine finds in the stream what the agent needs: where the model speaks (`gate`), what belongs
//! together (`answer`, `caller`), and what looks like an interruption. Silence of the model is not handed on.
//!
//! Facts: the types of OpenAI's Python SDK 3.54 (`types/live`); pipecat-ai 1.14.0 (`services/openai/live`). Account, address and errors are
//! those of [`openai`](super::openai).
//!
//! | file | job |
//! |---|---|
//! | `setup` | from an operator's options to the configuration |
//! | `profile` | what a session is to be, as JSON |
//! | `message` | commands to the service |
//! | `wire` | events of the service, borrowed from their text |
//! | `gate` | where the model speaks |
//! | `pace` | the caller's audio in step with the clock |
//! | `answer` | what the model says, as far as it has come |
//! | `caller` | what the caller says, as far as it has come |
//! | `backend` | delegated tasks and the functions that they call |
//! | `pieces` | texts in pieces that the service takes |
//! | `engine` | the state machine; below it the agent's commands, the service's events, and changes of a session that runs |

mod answer;
mod backend;
mod caller;
mod engine;
mod gate;
mod message;
mod pace;
mod pieces;
mod profile;
mod setup;
mod wire;

pub use setup::{BadOptions, check, make, place};
