//! Sound as numbers: resampling, byte forms and channel layouts; the polish on synthesised speech; what is done to the
//! caller's side, and when the caller speaks.
//!
//! Pure state machines on the worker's thread, one owner each: no lock, clock, socket or task. They allocate, so nothing
//! here runs on the media thread but the tone generator, which does not. Samples are `i16`, channels interleaved; a *frame*
//! is one sample of every channel.

pub mod caller;
pub mod capture;
pub mod chain;
pub mod g711;
pub mod gain;
pub mod pcm;
pub mod resample;
pub mod tone;
pub mod vad;

#[cfg(test)]
pub(crate) mod probe;

pub use caller::{CallerChain, CallerSettings, Suppression};
pub use capture::CaptureConverter;
pub use chain::{Chain, ChainSettings};
pub use gain::{BadGain, Gain};
pub use pcm::ByteCarry;
pub use resample::Resampler;
pub use vad::{Vad, VadEvent, VadSettings};
