//! An agent of parts that the operator chooses: a recognition writes down what the caller says, a language model answers, and the
//! module's own speech synthesis speaks.
//!
//! ```text
//! caller ─┬► transcribing: turn (local voice activity detection) ─► POST /audio/transcriptions ─┬─► words
//!         └► live: WebSocket to a recogniser, all the time ─► words as they are said, turns ────┘
//! words, history ─► POST /chat/completions (streamed) ─► text ─► the agent's sentences ─► synthesis
//! ```
//! What was said is kept here and sent with each request. Only a recogniser that hears the caller all the time has a connection that
//! lasts; the conversation goes on while that is lost and made again.
//! Facts: OpenAI's API reference for both requests, as llama.cpp, vLLM, Ollama and whisper servers speak them; deepgram-sdk.
//!
//! | file | job |
//! |---|---|
//! | `engine` | the state machine |
//! | `hearing`, `note` | what both ways of writing down have in common, and tell |
//! | `transcribing`, `turn`, `recognition` | one request for each turn: the turns that wait, a turn's audio, the request |
//! | `live`, `kept`, `open_turn` | a recogniser's connection, the audio it may be sent again, the words of the turn so far |
//! | `recognisers`, `recogniser`, `deepgram` | the table of recognisers, what one has to say, and each of them |
//! | `dialogue` | what was said, as the messages of a request |
//! | `completion` | a request to the language model, and its answer as it comes |
//! | `answer`, `early` | what an answer is made of so far; one that is made before the turn is over |
//! | `failure` | what a refusal means |
//! | `out` | outputs and numbers |
//! | `setup` | from an operator's options to the engine |

mod answer;
mod completion;
mod deepgram;
mod dialogue;
mod early;
mod engine;
mod failure;
mod hearing;
mod kept;
mod live;
mod note;
mod open_turn;
mod out;
mod recogniser;
mod recognisers;
mod recognition;
mod setup;
mod transcribing;
mod turn;

pub use setup::{BadOptions, check, finds_turns, make, places};
