//! What the media threads may not do: allocate, free, wait, wake. A process of its own, since its allocator counts.
#![allow(unsafe_code, unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod callbacks;
#[path = "../standin/calls.rs"]
mod calls;
#[path = "../standin/host/mod.rs"]
mod host;
mod rings;
#[path = "../support/mod.rs"]
mod support;
