//! The atomics of the media path: `std`'s, or loom's when the models of `tests/loom_flush.rs` are built (`--cfg loom`).
//!
//! Everything two threads share under `media/` goes through these names, so that what loom explores is what ships.

use std::ops::Deref;

#[cfg(loom)]
pub use loom::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
};
#[cfg(not(loom))]
pub use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
};

/// Gives what one thread writes a cache line of its own, so that the other thread's stores never slow it down.
///
/// 128 bytes: x86 prefetches lines in pairs, and some ARM cores have lines of 128.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct CacheLine<T>(pub T);

impl<T> Deref for CacheLine<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}
