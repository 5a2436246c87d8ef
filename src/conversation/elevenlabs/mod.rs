//! ElevenLabs Agents: an agent that is made at the service, and called by its id.
//!
//! ```text
//! public agent:  Connect ─► wss://…/v1/convai/conversation?agent_id=…
//! private agent: Connect ─► GET …/get-signed-url (key) ─► signed URL ─► the same with a signature, which is never shown
//! ```
//! The agent's own settings decide the language model, the voice, the tools, the turns and how audio is coded; a conversation may override
//! some of them. Facts: the vendor's AsyncAPI schema (`agent.asyncapi.yaml` of its packages) and its Python SDK 2.78
//! (`conversational_ai/conversation.py`, `types/`).
//!
//! | file | job |
//! |---|---|
//! | `setup` | from an operator's options to the configuration |
//! | `config` | what the engine needs to know |
//! | `place` | where the agent is: URLs, and what a signed URL must be |
//! | `message` | messages to the service |
//! | `wire` | messages of the service, borrowed from their text |
//! | `audio` | how audio is coded, in each direction |
//! | `answer` | what the agent says, as far as it has come |
//! | `failure` | what the service's errors and closes mean |
//! | `engine` | the state machine |

mod answer;
mod audio;
mod config;
mod engine;
mod failure;
mod message;
mod place;
mod setup;
mod wire;

pub use setup::{BadOptions, check, make, place};
