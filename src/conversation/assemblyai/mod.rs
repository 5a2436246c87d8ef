//! AssemblyAI's Voice Agent as an engine: recognition, language model and voice of one service, over one WebSocket.
//!
//! ```text
//! options ─► setup ─► Config ─► AssemblyAi ─┬─ Opening, Recall ─► session.update ─┬─► session.ready ─► Ready
//!                                           └─ lost 30 s ago at most ─► session.resume ─┘
//! ```
//! Everything is JSON, audio is base64 in it. The service finds the caller's turns, answers them and interrupts itself; it can be asked for
//! an answer by instructions, and says a greeting word for word. Facts: the vendor's AsyncAPI schema of the protocol, its documentation and
//! its own clients.
//!
//! | file | job |
//! |---|---|
//! | `setup` | from an operator's options to the configuration |
//! | `profile` | what a session is to be, as the JSON of the service |
//! | `message` | the other messages to the service |
//! | `wire` | messages of the service, borrowed from their text |
//! | `reply` | what the agent says, as far as it has come |
//! | `calls` | function calls, and results that wait for their moment |
//! | `kept` | the session that another connection may go on with |
//! | `texts` | texts for the model beside the caller's speech |
//! | `failure` | what the service's errors mean |
//! | `engine` | the state machine; below it the messages of the service, those to it, and changes of a session that runs |

mod calls;
mod engine;
mod failure;
mod kept;
mod message;
mod profile;
mod reply;
mod setup;
mod texts;
mod wire;

pub use setup::{BadOptions, check, make, place};
