//! The policy of a conversation: turns, barge-in, speech, tools, reconnects. It decides; others do.
//!
//! ```text
//!              engine        local VAD, DTMF      playback position      speech synthesis      API, timers
//!                 │                 │                     │                     │                  │
//!                 └─────────────────┴────────► Agent ◄────┴─────────────────────┴──────────────────┘
//!                                                │
//!        commands for the engine · speak · flush · request or abort speech · actions on the call · events
//! ```
//! Sans-IO as an engine is: [`Agent::handle`], [`Agent::event`] or [`Agent::lost`], then [`Agent::poll`] until `None`;
//! `Input::Timeout` at [`Agent::deadline`]. No clock, no socket, no task, no lock; chance comes in as a seed. It knows no
//! protocol either: an engine speaks its language.
//!
//! Runs on the stream's worker; owned by the stream's task, one for each conversation, sharing nothing with others.
//! Bounded: the caller's audio in ms, sentences and history in number and bytes. Audio of the model passes through.
//!
//! The parts own their state and their deadlines and know nothing of each other; `policy` puts them together.
//!
//! | file | job |
//! |---|---|
//! | `policy` | the agent itself: what an input or a deadline means for which part, and the state that results |
//! | `turns` | the caller's turns; responses of the model: begun, given up, over |
//! | `requests` | requests for responses: which wait, which is outstanding, which response belongs to which |
//! | `hearing` | whether the caller speaks, and when that interrupts |
//! | `judgement`, `remarks` | whether speech interrupts: playback that is paused until it is known; words that do not interrupt |
//! | `interruption` | interruptions until it is known how much was heard |
//! | `memory` | the engine's memory is corrected to what was heard |
//! | `utterance` | what the agent is saying in this turn |
//! | `tool_calls`, `tools` | function calls that wait for an answer; what the model may do with the call |
//! | `destinations` | where the model may transfer the caller to |
//! | `keypad` | keys that become a message |
//! | `idle` | nobody says anything |
//! | `filler` | the caller waits for a function |
//! | `figures` | the numbers of each turn |
//! | `link` | connecting, losing, coming back, renewing |
//! | `backlog` | the caller's audio while there is no session |
//! | `playback` | what was heard of what |
//! | `speech`, `sentence` | text becomes sentences becomes requests for speech |
//! | `history` | what was said, for the next session |
//! | `outputs` | what the agent wants done, in order |
//! | `config`, `choices` | what a profile says about all this |

mod backlog;
mod choices;
mod config;
mod destinations;
mod figures;
mod filler;
mod hearing;
mod history;
mod idle;
mod interruption;
mod judgement;
mod keypad;
mod link;
mod memory;
mod outputs;
mod pending;
mod playback;
mod policy;
mod remarks;
mod requests;
mod sentence;
mod speech;
mod tool_calls;
mod tools;
mod turns;
mod utterance;

pub use crate::conversation::engine::TurnTaking;
pub use crate::peer::{
    Action, AgentStats, AiEvent as Event, BargeInCause, Component, Recording, Source, Speaker, State,
};
pub use choices::{SpeechTrigger, VoiceMode};
pub use config::{AgentConfig, BargeIn, Fallback, Filler, Greeting, Idle, Reconnect};
pub use destinations::{CONFERENCE, Destination, Destinations};
pub use history::HistoryBounds;
pub use keypad::{Keys, MOST_KEYS};
pub use outputs::Output;
pub use policy::Agent;
pub use remarks::Remarks;
pub use sentence::{Abbreviations, SentenceBounds, SentenceRules, SentenceSplitter};
pub use tools::{Builtin, ToolPolicy, failure as tool_failure};
