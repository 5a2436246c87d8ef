//! Deepgram's Voice Agent as an engine: recognition, language model and voice of one service, over one WebSocket.
//!
//! ```text
//! options ─► setup ─► Config ─► Deepgram ─ Welcome ─► Opening, Recall ─► Settings ─► SettingsApplied ─► Ready
//! ```
//! Audio goes as binary messages in both directions, everything else as JSON. The service finds the caller's turns, answers
//! them and interrupts itself. It has no ids for turns and answers, so they are made up here; it cannot be asked for an answer, so
//! texts that are to be answered are injected as words of the caller, and others go into the prompt. Facts: deepgram-sdk 7.17
//! (`agent/v1`) and the vendor's documentation.
//!
//! | file | job |
//! |---|---|
//! | `setup` | from an operator's options to the configuration |
//! | `profile` | what an agent is to be, as the JSON of the service |
//! | `told` | what the model gets beside the caller's speech |
//! | `change` | a change of the session that is under way |
//! | `failure` | what errors and warnings mean |
//! | `engine` | the state machine; below it the messages of the service, those to it, and changes of a session that runs |

mod change;
mod engine;
mod failure;
mod profile;
mod setup;
mod told;

pub use setup::{BadOptions, check, make, place};
