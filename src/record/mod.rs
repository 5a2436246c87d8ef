//! Recordings of calls: what the caller said and what they heard, side by side in a WAV file.
//!
//! ```text
//! READ          ─► media::TapWriter ═ring═► timeline (left)  ─┐
//!                                                             ├─► writer ─► file
//! WRITE_REPLACE ─► media::TapWriter ═ring═► timeline (right) ─┘
//! ```
//!
//! A recording has a media bug of its own, behind those of the streams, so that it hears what they have made of a frame; it needs
//! no stream and outlives every one. Everything here but the [`handle`] runs on the module's one writer thread, which is
//! `runtime`'s. It waits for files and for nothing else. Only the thread that stops a recording waits
//! for it, and not for long.
//!
//! | file | job |
//! |---|---|
//! | `handle` | a recording as other threads see it |
//! | `place` | where a file may be, and its making |
//! | `wav` | the header |
//! | `timeline` | both directions by the clock and by the turns of the call: order, gaps, rates |
//! | `levels` | peak and RMS |
//! | `writer` | one file being written, and its end |

pub mod handle;
pub mod levels;
pub mod place;
pub mod timeline;
pub mod wav;
pub mod writer;

pub use handle::RecordingHandle;
pub use writer::{Progress, RecordingWriter, Storage};

use crate::call::{Registry, Sink};

/// All recordings.
pub type RecordRegistry = Registry<RecordingHandle>;
/// Takes what happens to recordings to the host's event threads.
pub type RecordingSink = dyn Sink<RecordingHandle>;
