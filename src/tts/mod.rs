//! Speech synthesis: sentences become audio, spoken by the first provider of a chain that can, made once and kept.
//!
//! ```text
//! Speech (one stream) ─► chain: whom to ask ─► SpeechShared ─┬─ cache ────────────────────────► Listener ─► Speech ─► events
//!                                                            └─ SharedSynthesis, a task ─► HTTP, program ─► WAV, PCM ─┘
//! ```
//! | file | what |
//! |---|---|
//! | `settings`, `voice` | what an operator may say of voices; what that comes to for one provider |
//! | `provider` | one row and, for servers, one request for each provider |
//! | `speech`, `chain` | one stream's sentences in order, its fallbacks, its failures |
//! | `shared`, `synthesis`, `cache` | what streams share: each sentence is made once, for all who want it |
//! | `line`, `stream_input` | a provider that speaks a turn over one WebSocket |
//! | `wav`, `program` | bytes to samples as they come; a program of this machine as a provider |
//!
//! On the workers. The sockets are transport's, the processes ffi's. The audio is mono at the provider's rate; the
//! stream's playback resamples it. Keys are in requests and nowhere else.

mod cache;
mod chain;
mod error;
mod line;
mod program;
mod provider;
mod settings;
mod shared;
mod speech;
mod stream_input;
mod synthesis;
mod voice;
mod wav;

pub use cache::{CacheLimits, CacheStats};
pub use error::{Severity, SpeechError, fuzz_refusal};
pub use program::{Exit, Launcher, Process, Programs, Started};
pub use settings::{
    MissingSetting, OwnVoices, SpeechOptions, SpeechSettings, VoiceOptions, places, provider_of_option,
};
pub use shared::SpeechShared;
pub use speech::{Speech, SpeechEvent, SpeechReport};
pub use wav::fuzz_speech;
