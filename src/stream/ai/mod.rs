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
//! | `options` | what an operator can ask for, as plain values |
//! | `plan` | the same, made into the configurations of protocol and policy for one call |
//! | `link` | what happens to the stream into the conversation, and what the conversation wants out of it |
//! | `talk` | a conversation where a stream to a server has its protocol |
//! | `status` | what others see of it |

mod link;
mod options;
mod plan;
mod status;
mod talk;

pub use link::{AiLink, Effect};
pub use options::{AiOptions, Detection, KeyUse, WireAudio};
pub use plan::{AiPlan, BadPlan};
pub use status::{AiShared, AiStatus};
pub use talk::Talk;
