//! A stream that is a conversation with an AI: what it is asked for, and how the stream's task drives it.
//!
//! ```text
//! options ─► plan ─► Conversation (protocol and policy, without input or output)
//!                        ▲ │
//!                inputs  │ ▼  effects
//!                       AiLink ◄────► the stream's task: socket, capture, playback, events
//! ```
//! Everything here belongs to the stream's task, on its shard; nothing waits, and nothing but the conversation itself is kept.
//!
//! | file | job |
//! |---|---|
//! | `options`, `functions` | what an operator can ask for, declared; the operator's own functions |
//! | `plan` | the same, made into the configurations of protocol and policy for one call |
//! | `link` | what happens to the stream into the conversation, and what the conversation wants out of it |
//! | `voice` | synthesised speech, polished, for an agent that writes |
//! | `ears` | the caller's side: noise off, voices up, and whether somebody speaks |
//! | `talk` | a conversation where a stream to a server has its protocol |
//! | `status` | what others see of it |

mod ears;
mod functions;
mod link;
mod options;
mod plan;
mod status;
mod talk;
mod voice;

pub use ears::{EarSettings, Ears};
pub use functions::Function;
pub use link::{AiLink, Effect};
pub use options::{AiOptions, Polish};
pub use plan::{AiPlan, BadPlan};
pub use status::{AiShared, AiStatus};
pub use talk::Talk;
pub use voice::Voice;
