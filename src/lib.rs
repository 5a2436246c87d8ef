//! mod_audio_stream.
#![deny(unsafe_code)]

#[cfg(not(loom))]
pub mod control;
#[cfg(not(loom))]
pub mod dsp;
#[cfg(not(loom))]
pub mod ffi;
#[cfg(not(loom))]
pub mod inject;
pub mod media;
#[cfg(not(loom))]
pub mod protocol;
#[cfg(not(loom))]
pub mod runtime;
#[cfg(not(loom))]
pub mod stream;
#[cfg(not(loom))]
pub mod telemetry;
#[cfg(not(loom))]
pub mod transport;
pub mod units;
