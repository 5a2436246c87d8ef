//! What streams take of the allocator: nothing is kept that is not used, and nothing after their end.
#![allow(unsafe_code)]

use crate::calls::{CONFIGURATION, parked};
use crate::host::{CallOptions, Host};
use crate::support::websocket_server::{Handshake, PATIENCE, Script, WebSocketServer};
use crate::support::{deaf_port, eventually};

/// Bytes in use, as the C library's allocator counts them for the whole process.
fn in_use() -> usize {
    // SAFETY: always allowed.
    let info = unsafe { libc::mallinfo2() };
    info.uordblks + info.hblkhd
}

fn streams(host: &Host) -> u64 {
    let health: serde_json::Value = serde_json::from_str(&host.api("uuid_audio_stream global_health")).unwrap();
    health["active_ws_sessions"].as_u64().unwrap()
}

#[test]
fn finding_003_a_stream_without_playback_has_no_ring_for_it() {
    const STREAMS: usize = 50;
    let host = Host::start(CONFIGURATION);
    host.load_module().unwrap();
    let server = WebSocketServer::start(Script::default());
    let calls: Vec<_> = (0..STREAMS).map(|_| host.call(CallOptions { rate: 48_000, ..parked() })).collect();
    let mut connected = 0;
    let mut taken = |options: &str| {
        host.forget_records();
        let before = in_use();
        for call in &calls {
            let reply = host.api(&format!("uuid_audio_stream {} start {} {options}", call.uuid(), server.url()));
            assert_eq!(reply, "+OK Success\n");
            server.connection(connected);
            connected += 1;
        }
        host.forget_records();
        let taken = in_use().saturating_sub(before);
        for call in &calls {
            host.api(&format!("uuid_audio_stream {} stop", call.uuid()));
        }
        assert!(eventually(PATIENCE, || streams(&host) == 0));
        taken / STREAMS
    };
    // The first round lets the allocator and the servers settle.
    taken("mono 8k");
    let (without, with) = (taken("mono 8k playback=false"), taken("mono 8k"));
    // 240 ms at 48 kHz are 23 KB.
    assert!(with > without + 20_000, "{with} bytes of a stream that plays, {without} of one that does not");
}

/// The reviewed module freed its list of headers on some ways out only.
#[test]
fn finding_017_headers_are_freed_on_every_way_out() {
    const ROUNDS: usize = 80;
    let host = Host::start(CONFIGURATION);
    host.load_module().unwrap();
    let value = "x".repeat(7_000);
    let (_reserved, nobody) = deaf_port();
    let measured = |rounds: usize| {
        // They keep what they were sent, so that they end before the count.
        let refusing = WebSocketServer::start(Script::default().with_handshake(Handshake::Refuse(503)));
        let slamming = WebSocketServer::start(Script::default().with_handshake(Handshake::Slam));
        let silent = WebSocketServer::start(Script::default().with_handshake(Handshake::Never));
        let listening = WebSocketServer::start(Script::default());
        let ways = [
            // The command is refused: after its headers, and because of one of them.
            (listening.url(), "buffer_ms=1", false),
            (listening.url(), "subprotocol=\u{7f}", false),
            // The connection is not made, in several phases; or made again and again.
            (format!("ws://127.0.0.1:{nobody}/"), "", true),
            ("ws://no-such-host.invalid/".to_owned(), "", true),
            (refusing.url(), "", true),
            (slamming.url(), "reconnect_max=2 reconnect_ms=10", true),
            (silent.url(), "", true),
            (listening.url(), "", true),
        ];
        let call = host.call(parked());
        for (url, options, accepted) in std::iter::repeat_n(&ways, rounds).flatten() {
            let headers = format!(r#"headers={{"X-Long":"{value}"}}"#);
            let reply = host.api(&format!("uuid_audio_stream {} start {url} mono 8k {headers} {options}", call.uuid()));
            assert_eq!(reply == "+OK Success\n", *accepted, "{options}: {reply}");
            call.tick(1);
            host.api(&format!("uuid_audio_stream {} stop", call.uuid()));
            assert!(eventually(PATIENCE, || streams(&host) == 0), "{url}");
        }
        drop((refusing, slamming, silent, listening, call));
        host.forget_records();
        in_use()
    };
    // Until the allocator's caches of threads that stay are full, which count as in use.
    measured(20);
    let before = measured(1);
    measured(ROUNDS);
    // The last threads of the servers end in their own time.
    let grown = || in_use().saturating_sub(before) / 1_000;
    let freed = eventually(PATIENCE, || grown() < ROUNDS * 5);
    assert!(freed, "{ROUNDS} rounds grew the process by {} KB, where one way out leaks 7 KB a round", grown());
}
