//! mod_audio_stream.
#![deny(unsafe_code)]

pub mod control;
pub mod dsp;
pub mod ffi;
pub mod inject;
pub mod media;
pub mod protocol;
pub mod runtime;
pub mod stream;
pub mod telemetry;
pub mod transport;
pub mod units;
