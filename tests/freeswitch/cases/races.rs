//! Starts, hang-ups and answers in the same instant: nothing is left behind, and first things come first.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use crate::harness::in_freeswitch;
use crate::harness::server::FreeSwitch;
use crate::harness::stream::{LOUD, SERVER, SOON, listen_to};
use crate::support::websocket_server::{Action, Form, Handshake, Play, Received, Script, WebSocketServer};
use crate::support::{eventually, signal};

/// Sockets of FreeSWITCH to ports of this machine's servers, and threads.
fn resources(freeswitch: &FreeSwitch) -> (usize, usize) {
    let pid = freeswitch.pid();
    let entries = |what: &str| fs::read_dir(format!("/proc/{pid}/{what}")).map_or(0, Iterator::count);
    (entries("fd"), entries("task"))
}

fn calls(freeswitch: &FreeSwitch) -> String {
    freeswitch.api("show channels count").lines().find(|line| line.contains("total")).unwrap_or_default().to_owned()
}

#[test]
fn a_call_killed_while_its_stream_starts_leaves_nothing_behind() {
    in_freeswitch(|freeswitch| {
        let scripts = [
            Script::default(),
            Script::default().with_handshake(Handshake::Never),
            Script::default().with_handshake(Handshake::Refuse(503)),
        ];
        let second = freeswitch.subscribe("plain HEARTBEAT");
        let mut before = None;
        for script in scripts {
            let server = WebSocketServer::start(script);
            for round in 0..60 {
                let uuid = freeswitch.new_uuid();
                freeswitch.ok(&format!("originate {{origination_uuid={uuid}}}loopback/park/tests &park"));
                freeswitch.bgapi(&format!("uuid_audio_stream {uuid} start {} mono 8k", server.url()));
                std::thread::sleep(Duration::from_micros(round % 6 * 1_000));
                second.bgapi(&format!("uuid_kill {uuid}"));
            }
            let empty = || calls(freeswitch).starts_with("0 ") && freeswitch.streams() == 0;
            assert!(eventually(2 * SOON, empty), "{}, {} streams", calls(freeswitch), freeswitch.streams());
            drop(server);
            std::thread::sleep(Duration::from_millis(500));
            let now = resources(freeswitch);
            let (fds, threads) = *before.get_or_insert(now);
            assert!(now.0 <= fds + 4 && now.1 <= threads + 4, "fds, threads: {now:?} after {fds}, {threads}");
        }
    });
}

#[test]
fn a_playing_call_killed_while_the_server_floods_is_gone() {
    in_freeswitch(|freeswitch| {
        let flood = Action::Flood("{}".to_owned(), Duration::from_secs(20));
        for _ in 0..20 {
            let server = WebSocketServer::start(Script::of([flood.clone()]));
            let uuid = freeswitch.originate("null/x", "playback(tone_stream://%(60000,0,440))", "");
            freeswitch.bgapi(&format!("uuid_audio_stream {uuid} start {} mono 8k", server.url()));
            std::thread::sleep(Duration::from_millis(20));
            freeswitch.ok(&format!("uuid_kill {uuid}"));
            assert!(eventually(SOON, || !freeswitch.exists(&uuid)), "the call stays");
        }
        let empty = || calls(freeswitch).starts_with("0 ") && freeswitch.streams() == 0;
        assert!(eventually(SOON, empty), "{}, {} streams", calls(freeswitch), freeswitch.streams());
    });
}

#[test]
fn the_metadata_comes_first_and_a_hasty_server_loses_nothing() {
    in_freeswitch(|freeswitch| {
        let events = listen_to(freeswitch);
        let said = Action::Play(Play::mono(signal::tone(8_000, SERVER, 1_000, LOUD), 8_000).form(Form::Binary));
        let hasty = |close: bool| {
            let mut actions = vec![Action::Text(r#"{"hello":1}"#.to_owned()), said.clone()];
            if close {
                actions.push(Action::Close(1_000, "done".to_owned()));
            }
            WebSocketServer::start(Script::of(actions))
        };
        let servers = [hasty(false), hasty(false), hasty(true)];
        let mut started = Vec::new();
        for number in 0..60_usize {
            let uuid = freeswitch.originate("loopback/park/tests", "park()", "");
            let server = &servers[number % 3];
            let metadata = format!(r#"{{"n":{number}}}"#);
            freeswitch.ok(&format!("uuid_audio_stream {uuid} start {} mono 8k {metadata}", server.url()));
            started.push((number, uuid));
        }
        std::thread::sleep(Duration::from_secs(2));
        let mut seen = BTreeSet::new();
        for server in &servers {
            for connection in server.connections() {
                let arrivals = connection.arrivals();
                let first = &arrivals.first().expect("a connection says something").message;
                let Received::Text(text) = first else { panic!("first comes {first:?}") };
                assert_eq!(connection.texts().len(), 1, "the metadata comes once");
                assert!(seen.insert(text.clone()), "{text} came twice");
            }
        }
        assert_eq!(seen.len(), 60);
        for (number, uuid) in started {
            assert_eq!(events.stream_events("json", &uuid).len(), 1, "call {number}: the server's text is an event");
            let ended = events.stream_events("disconnect", &uuid).len();
            assert_eq!(ended, usize::from(number % 3 == 2), "call {number}");
        }
    });
}
