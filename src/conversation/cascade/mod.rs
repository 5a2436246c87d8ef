//! An agent of parts that the operator chooses: a recognition writes down each turn of the caller, a language model answers, and
//! the module's own speech synthesis speaks.
//!
//! ```text
//! caller ─► turn (local voice activity detection) ─► POST /audio/transcriptions ─► words
//! words, history ─► POST /chat/completions (streamed) ─► text ─► the agent's sentences ─► synthesis
//! ```
//! There is no connection that lasts: each step is a request of its own. What was said is kept here and sent with each request.
//! Facts: OpenAI's API reference for both requests, as llama.cpp, vLLM, Ollama and whisper servers speak them.
//!
//! | file | job |
//! |---|---|
//! | `engine` | the state machine |
//! | `turn` | the caller's audio of one turn |
//! | `recognition` | a turn as a request, and the words in its answer |
//! | `dialogue` | what was said, as the messages of a request |
//! | `completion` | a request to the language model, and its answer as it comes |
//! | `answer` | what an answer is made of so far |
//! | `failure` | what a refusal means |
//! | `setup` | from an operator's options to the engine |

mod answer;
mod completion;
mod dialogue;
mod engine;
mod failure;
mod recognition;
mod setup;
mod turn;

pub use setup::{BadOptions, check, make, places};
