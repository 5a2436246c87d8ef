//! OpenAI's Realtime protocol (GA) over WebSocket as an engine, and the services that speak it with differences.
//!
//! ```text
//! options ─► setup ─► EngineConfig ─► OpenAi ─ Connect: url, headers ─► (transport connects) ─► Opened
//! ```
//! OpenAI itself is spoken to in the GA protocol only: its beta is shut down, and the beta's header is never sent. Facts: OpenAI's
//! API reference and its Python SDK 3.51. What other services do differently is a table.
//!
//! | file | job |
//! |---|---|
//! | `setup` | from an operator's options to the configuration |
//! | `dialect`, `reshape` | the table of services and their differences; a session made into theirs |
//! | `endpoint` | URL and headers |
//! | `profile` | what a session is to be, with the ranges of its fields |
//! | `message` | events of the client as JSON |
//! | `wire` | events of the server, borrowed from their text |
//! | `failure` | what is worth another attempt and what is not |
//! | `usage` | what a response and a transcript have used |
//! | `change` | a change of the session that is under way |
//! | `engine` | the state machine; below it the changes of a session that runs |

mod change;
mod dialect;
mod endpoint;
mod engine;
mod failure;
mod message;
mod profile;
mod reshape;
mod setup;
mod usage;
mod wire;

// What other engines use, too.
pub(super) use failure::{ApiError, Operation, api_error, closed};
pub(super) use setup::{Account, wire_format};

pub use dialect::{AZURE, Dialect, INWORLD, LIVE, OPENAI, VOICE_LIVE, XAI};
pub use endpoint::{Auth, BadEndpoint, Endpoint};
pub use engine::{EngineConfig, OpenAi, ProfileOf, fuzz_openai_realtime};
pub use profile::{
    AudioFormat, BadProfile, Modality, NoiseReduction, SemanticVad, ServerVad, SessionProfile, ToolChoice,
    Transcription, TurnDetection, Voice,
};
pub use setup::{BadOptions, check, make, place};
