#![doc = include_str!("../docs/architecture.md")]
#![deny(unsafe_code)]

#[cfg(not(loom))]
pub mod blocking;
#[cfg(not(loom))]
pub mod call;
#[cfg(not(loom))]
pub mod control;
#[cfg(not(loom))]
pub mod conversation;
pub mod dsp;
#[cfg(not(loom))]
pub mod event;
#[cfg(not(loom))]
pub mod ffi;
#[cfg(not(loom))]
pub mod inject;
pub mod media;
#[cfg(not(loom))]
pub mod options;
#[cfg(not(loom))]
pub mod peer;
#[cfg(not(loom))]
pub mod protocol;
#[cfg(not(loom))]
pub mod record;
#[cfg(not(loom))]
pub mod runtime;
#[cfg(not(loom))]
pub mod stream;
#[cfg(not(loom))]
pub mod telemetry;
#[cfg(not(loom))]
pub mod transport;
#[cfg(not(loom))]
pub mod tts;
pub mod units;
