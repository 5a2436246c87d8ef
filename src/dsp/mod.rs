//! Sound as numbers: resampling, byte forms and channel layouts; the polish on synthesised speech; what is done to the
//! caller's side, and when the caller speaks.
//!
//! Pure state machines on the worker's thread, one owner each: no lock, clock, socket or task. They allocate, so nothing
//! here runs on the media thread but the tone generator, which does not. Samples are `i16`, channels interleaved; a *frame*
//! is one sample of every channel. The models of the media path need the gains and tones alone.

#[cfg(not(loom))]
pub mod caller;
#[cfg(not(loom))]
pub mod capture;
#[cfg(not(loom))]
pub mod chain;
pub mod g711;
pub mod gain;
#[cfg(not(loom))]
pub mod pcm;
#[cfg(not(loom))]
pub mod resample;
pub mod tone;
#[cfg(not(loom))]
pub mod vad;

#[cfg(all(test, not(loom)))]
pub(crate) mod probe;

#[cfg(not(loom))]
pub use caller::{CallerChain, CallerSettings, Suppression};
#[cfg(not(loom))]
pub use capture::CaptureConverter;
#[cfg(not(loom))]
pub use chain::{Chain, ChainSettings};
pub use gain::{BadGain, Gain};
#[cfg(not(loom))]
pub use pcm::ByteCarry;
#[cfg(not(loom))]
pub use resample::Resampler;
#[cfg(not(loom))]
pub use vad::{Vad, VadEvent, VadSettings};
