//! Many calls at once.

use std::collections::HashMap;
use std::time::Duration;

use crate::harness::stream::listen_to;
use crate::harness::{in_freeswitch, in_freeswitch_alone, process};
use crate::support::websocket_server::{Action, Play, Received, Script, WebSocketServer};
use crate::support::{eventually, signal};

const CALLS: usize = 200;

#[test]
fn two_hundred_calls_stream_at_once_on_no_more_threads() {
    in_freeswitch_alone(|freeswitch| {
        let events = listen_to(freeswitch);
        let play = Play::mono(signal::tone(8_000, 1_000.0, 60_000, 5_000.0), 8_000).paced();
        let server = WebSocketServer::start(Script::of([Action::Play(play)]));
        let calls: Vec<_> = (0..CALLS).map(|_| freeswitch.originate("null/x", "park()", "")).collect();
        let before = process::threads(freeswitch.pid()).len();
        for uuid in &calls {
            freeswitch.start_stream(uuid, &server, &format!("mono 8k connect_timeout_ms=30000 {uuid}"));
        }
        let open = eventually(Duration::from_secs(30), || server.connections().len() == CALLS);
        assert!(open, "{} of {CALLS} connections are open", server.connections().len());
        let after = process::threads(freeswitch.pid());
        let (clock, after): (Vec<_>, Vec<_>) = after.into_iter().partition(|thread| thread.name == "mas-clock");
        assert!(after.len() < before + 4, "{before} threads have become {} with {CALLS} streams", after.len());
        // As many at work as there are cores, one that stands by, and one for each call that held a write up.
        let metrics = freeswitch.api("uuid_audio_stream metrics");
        let held_up = metrics.lines().find_map(|line| line.strip_prefix("audio_stream_playout_clock_held_up_total "));
        let held_up: usize = held_up.and_then(|count| count.parse().ok()).expect("it is counted");
        let most = std::thread::available_parallelism().map_or(1, usize::from) + 1 + held_up;
        assert!(clock.len() <= most.min(16), "{} threads write silence, {held_up} writes were held up", clock.len());
        assert_eq!(freeswitch.streams(), CALLS as u64);

        let connections = server.connections();
        let fed = eventually(Duration::from_secs(30), || connections.iter().all(|c| c.audio_bytes() >= 32_000));
        let least = connections.iter().map(|connection| connection.audio_bytes()).min();
        assert!(fed, "the slowest stream has sent {least:?} bytes");
        let by_uuid: HashMap<_, _> = connections.iter().map(|c| (c.texts().concat(), c)).collect();
        assert!(calls.iter().all(|uuid| by_uuid.contains_key(uuid)), "each stream's first message is its own");
        let health = freeswitch.json(&format!("{} health", calls[0]));
        assert_eq!(health["capture"]["dropped_frames"], 0, "{health}");

        freeswitch.hang_up_all();
        for uuid in &calls {
            events.wait_stream("disconnect", uuid);
            assert!(matches!(by_uuid[uuid].wait_end(), Received::Close(1_000..=1_001, _)));
        }
        assert!(eventually(Duration::from_secs(5), || freeswitch.streams() == 0));
        let health = freeswitch.json("global_health");
        assert_eq!(health["total_sessions_created"], health["total_sessions_destroyed"], "{health}");
    });
}

#[test]
fn starts_and_stops_in_quick_succession_leave_nothing_behind() {
    in_freeswitch(|freeswitch| {
        let server = WebSocketServer::start(Script::default());
        let uuid = freeswitch.originate("null/x", "park()", "");
        for round in 0..100 {
            freeswitch.stream(&uuid, &format!("start name=r{round} {} mono 8k", server.url()));
            freeswitch.stream(&uuid, &format!("stop name=r{round}"));
        }
        assert!(eventually(Duration::from_secs(15), || freeswitch.streams() == 0));
        assert!(freeswitch.exists(&uuid));
    });
}
