//! OpenAI's Realtime protocol (GA) over WebSocket as an engine, and whatever is compatible with it.
//!
//! ```text
//! options ─► setup ─► EngineConfig ─► OpenAi ─ Connect: url, headers ─► (transport connects) ─► Opened
//! ```
//! Only the GA protocol is spoken: the beta is shut down, its header is never sent. Facts: OpenAI's API reference and its Python
//! SDK 3.51.
//!
//! | file | job |
//! |---|---|
//! | `setup` | from an operator's options to the configuration |
//! | `endpoint` | URL and headers of OpenAI, of Azure, of compatible servers |
//! | `profile` | what a session is to be, with the ranges of its fields |
//! | `message` | events of the client as JSON |
//! | `wire` | events of the server, borrowed from their text |
//! | `failure` | what is worth another attempt and what is not |
//! | `usage` | what a response and a transcript have used |
//! | `engine` | the state machine |

mod endpoint;
mod engine;
mod failure;
mod message;
mod profile;
mod setup;
mod usage;
mod wire;

pub use endpoint::{Auth, BadEndpoint, Endpoint};
pub use engine::{EngineConfig, OpenAi, fuzz_openai_realtime};
pub use profile::{
    AudioFormat, BadProfile, Modality, NoiseReduction, SemanticVad, ServerVad, SessionProfile, ToolChoice,
    Transcription, TurnDetection, Voice,
};
pub use setup::{BadOptions, check, make};
