//! Conversations with a model: the engine that speaks a service's protocol, the agent that holds the conversation, and the
//! driver that makes both the peer of a stream.
//!
//! ```text
//! options ─► plan ─► engine, policy, voice, processing of the caller's audio
//!
//! the stream's task ◄─ Input, Output ─► Conversation (driver) ─┬─ Engine ─ openai, deepgram, cascade
//!                                                              └─ Agent
//! ```
//! An *engine* is a service that hears the caller and answers; a *session* is what it keeps of a conversation over one
//! connection; a *response* is one answer of the model, made of *items*; a *turn* is what one side says until the other begins.
//!
//! | file | job |
//! |---|---|
//! | `engine` | what every engine is to the agent |
//! | `engines`, `setup` | the table of engines; what each is made of |
//! | `openai/` | OpenAI's Realtime protocol, and the services that speak it with differences |
//! | `cascade/` | recognition, language model and voice, each by itself |
//! | `gemini/` | Google's Gemini Live |
//! | `deepgram/` | Deepgram's Voice Agent |
//! | `elevenlabs/` | agents of ElevenLabs |
//! | `assemblyai/` | AssemblyAI's Voice Agent |
//! | `live/` | OpenAI's Live API: GPT-Live |
//! | `ultravox/` | Ultravox |
//! | `expiry` | the end of a session that lasts only so long |
//! | `queue` | what an engine, the agent or the driver has to say, in order |
//! | `refusal` | what services cannot do of what an operator can ask for |
//! | `raw` | a service's events as events for the operator |
//! | `ticket` | an address that a service hands out over HTTP before a connection can be made |
//! | `coding`, `growing` | audio that is coded as a session says; transcripts that come again from their beginning |
//! | `agent/` | the policy: turns, barge-in, tools, reconnects |
//! | `driver` | both together as a peer |
//! | `options`, `functions` | what an operator can ask for, declared; the operator's own functions |
//! | `plan` | the same, made into the parts for one call |
//! | `changes` | options that are changed while a conversation runs |
//! | `address`, `loss`, `json` | what engines have in common: where a service is, what a loss means, its JSON read leniently |
//! | `mcp` | servers of tools that the service asks |
//! | `speaking` | the options of speech that is made from text |
//! | `services` | the engines by name; of each service its key and its place |
//! | `webhook` | functions that a server of the operator's carries out |
//! | `synthesis` | synthesised speech, polished, for a model that writes |
//! | `caller` | the caller's audio: noise off, voices up, and whether somebody speaks |
//!
//! Engines, agent and driver have no socket, clock or task; `synthesis` is driven by the stream's task like a connection.

// A conversation is given the time and waits for nothing; the tests may.
#![cfg_attr(not(test), deny(clippy::disallowed_methods))]

pub mod address;
pub mod agent;
pub mod assemblyai;
pub mod caller;
pub mod cascade;
pub mod changes;
mod coding;
pub mod deepgram;
pub mod driver;
pub mod elevenlabs;
pub mod engine;
pub mod engines;
mod expiry;
pub mod functions;
pub mod gemini;
#[cfg(test)]
mod golden;
mod growing;
mod json;
pub mod live;
mod loss;
pub mod mcp;
pub mod openai;
pub mod options;
pub mod plan;
mod queue;
mod raw;
mod refusal;
pub mod services;
pub mod setup;
pub mod speaking;
pub mod synthesis;
mod ticket;
pub mod ultravox;
pub mod webhook;

pub use agent::VoiceMode;
pub use caller::{CallerProcessing, CallerProcessor, Heard};
pub use driver::Conversation;
pub use engine::Engine;
pub use functions::Function;
pub use options::AiOptions;
pub use plan::{AiPlan, BadPlan};
pub use speaking::Speaking;
pub use synthesis::Synthesis;
pub use webhook::{Webhook, WebhookConfig};
