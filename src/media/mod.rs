//! The media thread's half of a stream: what runs inside FreeSWITCH's READ and WRITE_REPLACE callbacks.
//!
//! ```text
//! READ          ─► capture::CaptureWriter ─► [ring] ─► capture::CaptureReader   (worker)
//! WRITE_REPLACE ◄─ playout::PlayoutReader ◄─ [ring] ◄─ playout::PlayoutWriter   (worker)
//!                            ▲ flush::Watermark ◄─────── anybody
//! ```
//!
//! The two callbacks of one bug overlap, each on a thread that may change over the call: so the capture writer and the
//! playout reader are two values with an owner each, and nothing here borrows both. Neither waits, allocates, frees, logs
//! or panics, whatever the other side does; `tests/media_thread/` counts the allocations. What is shared are atomics,
//! each written by one side and on a cache line of that side.
//!
//! | file | job |
//! |---|---|
//! | `capture` | frames out, with the format they came in |
//! | `playout` | audio in, added to the other leg's; position, underruns, tones |
//! | `call_mix` | what several streams of one call do to one frame together |
//! | `mixer` | gains as they are set, and as they are applied |
//! | `conceal` | what is heard in a gap of the voice |
//! | `dtmf` | the keys the caller presses, to every stream of the call |
//! | `mask` | whether the caller is withheld from everything on the call |
//! | `fillers` | which of the frames that FreeSWITCH makes up are withheld |
//! | `recording` | both directions into a recording, each frame with its time |
//! | `link` | the two halves as the callbacks use them; switches and timings beside the rings |
//! | `flush` | positions, the flush watermark, change of rate, end of life: all that needs an ordering |
//! | `declick` | the 5 ms glide of a voice at every join |
//! | `ring` | what is asked of a ring of samples |
//! | `counters` | counters and the callback histogram |
//! | `sync` | the atomics, `std`'s or loom's |

// What could wait or allocate has no place here; the tests may.
#![cfg_attr(not(test), deny(clippy::disallowed_methods, clippy::disallowed_types, clippy::disallowed_macros))]

pub mod call_mix;
pub mod capture;
pub mod conceal;
pub mod counters;
pub mod declick;
pub mod dtmf;
pub mod fillers;
pub mod flush;
pub mod link;
pub mod mask;
pub mod mixer;
pub mod playout;
pub mod recording;
pub mod ring;
pub mod sync;

pub use call_mix::{CallMix, InjectMode};
pub use capture::{CaptureFormat, CaptureReader, CaptureShared, CaptureWriter, Gained, capture_ring};
pub use counters::{LatencyHistogram, LatencySnapshot};
pub use dtmf::{Dtmf, DtmfCursor, DtmfQueue, DtmfRing, OfferedDtmf, SentDtmf};
pub use fillers::{Fillers, Owing, Seen};
pub use mask::{Mask, Withheld};
pub use mixer::{Fader, MixerControls};
pub use playout::{PlayoutReader, PlayoutShared, PlayoutWriter, Rendered, Voicing, playout_ring};
pub use recording::{FrameMark, TapReader, TapShared, TapWriter, tap_ring};
