//! The asynchronous half of playback: from what the server sent to the short ring that the media thread plays from.
//!
//! ```text
//! play ─► queue (source rate, up to inject_buffer_ms) ─► pace ─► resample ─► playout ring (call's rate, 120 ms) ─► media thread
//! clear ──► empties everything here, and flushes the ring
//! ```
//!
//! On the worker's thread; the stream's task owns the one [`Injector`]. Servers send minutes of audio in seconds, so the long
//! queue is here, in the rate it came in, and is freed as it plays. What does not fit is refused, newest first, and counted:
//! what was accepted is heard, in its order, unless it is cleared. No clock inside: time comes as `now`.
//!
//! | file | job |
//! |---|---|
//! | `injector` | the one owner: fills the ring, follows the call's rate, clears, accounts |
//! | `queue` | bounded queue of mono audio of several rates |
//! | `pace` | when an utterance may start: the prebuffer |
//! | `arrivals` | how irregularly audio arrives: what the prebuffer adapts to |
//! | `progress` | what has been heard: utterances, marks, clears, as events |
//! | `in_flight` | source of what has not been heard yet, for when the call's rate changes |
//! | `decode` | files and compressed audio into samples; may block, so it is for a thread of its own |
//! | `sounds` | recordings and backgrounds of the operator's, decoded once for all calls |
//! | `overflow` | rate of overflows: when to start afresh, when to raise an alarm |

pub mod arrivals;
pub mod decode;
pub mod in_flight;
pub mod injector;
pub mod overflow;
pub mod pace;
pub mod progress;
pub mod queue;
pub mod sounds;

pub use decode::{DecodeError, DecodeLimits, decode};
pub use injector::{InjectConfig, Injector, InjectorStatus, PlayOutcome, TooManyTones};
pub use overflow::{OverflowAlarm, WhenFull};
pub use pace::Prebuffer;
pub use progress::{PlaybackEvent, TooManyMarks};
pub use sounds::{Sound, SoundLibrary};
