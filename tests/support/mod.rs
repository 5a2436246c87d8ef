//! What the integration tests share: audio analysis, test signals, WAV files, a scriptable server, and speech
//! servers.
//!
//! Used as `mod support;` by each test binary, which takes what it needs of it. Nothing here touches FreeSWITCH.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub mod audio;
pub mod flood;
pub mod hook_server;
pub mod module;
pub mod passage;
pub mod signal;
pub mod speech_server;
pub mod stream_input_server;
pub mod tap;
pub mod tls;
pub mod transcript;
pub mod wav;
pub mod websocket_server;
pub mod wire;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

/// A port of 127.0.0.1 on which nobody listens, and nobody will while the socket is kept.
pub fn deaf_port() -> (Socket, u16) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("a free port");
    let port = socket.local_addr().ok().and_then(|address| address.as_socket()).expect("it is bound").port();
    (socket, port)
}

/// Polls `condition` every 5 ms until it holds, and gives whether it did within `limit`.
pub fn eventually(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + limit;
    loop {
        if condition() {
            return true;
        }
        if Instant::now() >= end {
            return false;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Polls `probe` every 5 ms until it gives a value; panics, naming `what`, after `limit`.
#[track_caller]
pub fn wait_for<T>(what: &str, limit: Duration, mut probe: impl FnMut() -> Option<T>) -> T {
    let mut found = None;
    eventually(limit, || {
        found = probe();
        found.is_some()
    });
    found.unwrap_or_else(|| panic!("waited {limit:?} for {what}"))
}
