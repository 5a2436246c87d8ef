//! The transport against real sockets on the loopback interface: WebSocket servers of another library, and raw
//! sockets for everything a proper server would not do.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, unreachable_pub)]

mod closing;
mod connecting;
mod driving;
mod flooding;
mod malformed;
mod peers;
mod tls;
#[path = "../support/wire.rs"]
mod wire;
