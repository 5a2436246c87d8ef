//! What the media threads may not do: allocate, free, wait, wake; and what callbacks and messages cost, in instructions and
//! allocations. A process of its own, since its allocator counts.
#![allow(unsafe_code, unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod callbacks;
#[path = "../standin/calls.rs"]
mod calls;
#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod costs;
#[path = "../standin/host/mod.rs"]
mod host;
mod rings;
#[path = "../support/mod.rs"]
mod support;
