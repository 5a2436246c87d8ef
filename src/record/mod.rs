//! Recordings of calls: what the caller said and what he heard, side by side in a WAV file.
//!
//! ```text
//! READ          ─► media::TapWriter ═ring═► timeline (left)  ─┐
//!                                                             ├─► take ─► file
//! WRITE_REPLACE ─► media::TapWriter ═ring═► timeline (right) ─┘
//! ```
//!
//! A recording has a media bug of its own, behind those of the streams, so that it hears what they have made of a frame; it needs
//! no stream and outlives every one. Everything here but the [`handle`] runs on the module's one writer thread, which is
//! `runtime`'s. Files are the only thing waited for, and nobody waits for that thread but whoever stops a recording, and he not
//! for long.
//!
//! | file | job |
//! |---|---|
//! | `handle` | a recording as other threads see it |
//! | `registry` | all recordings, by call and name |
//! | `place` | where a file may be, and its making |
//! | `wav` | the header |
//! | `timeline` | both directions by the clock and by the turns of the call: order, gaps, rates |
//! | `levels` | peak and RMS |
//! | `take` | one file being written, and its end |

pub mod handle;
pub mod levels;
pub mod place;
pub mod registry;
pub mod take;
pub mod timeline;
pub mod wav;

pub use handle::{RecordingHandle, RecordingId, RecordingSink};
pub use registry::{RecordRegistry, RecordReservation, RecordTaken};
pub use take::{Progress, Storage, Take};
