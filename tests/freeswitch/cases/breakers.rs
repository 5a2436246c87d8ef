//! A server that fails: its breaker keeps all calls from it, says so, and is closed by command. Other servers are not affected.

use serde_json::json;

use crate::harness::esl::{Esl, Event};
use crate::harness::in_freeswitch;
use crate::harness::stream::{SOON, listen_to};
use crate::support::eventually;
use crate::support::websocket_server::{Handshake, Script, WebSocketServer};

/// The states of the server's breaker that were told, with their causes.
fn told(events: &Esl, origin: &str) -> Vec<String> {
    let of_server = |event: &Event| {
        event.subclass() == "mod_audio_stream::breaker" && event.get("Audio-Stream-Endpoint") == Some(origin)
    };
    let word = |event: &Event, name: &str| event.get(name).unwrap_or_default().to_owned();
    let told = events.events().into_iter().filter(of_server);
    told.map(|event| format!("{} {}", word(&event, "Audio-Stream-Status"), word(&event, "Audio-Stream-Cause")))
        .collect()
}

#[test]
fn a_server_that_fails_is_left_alone_until_its_breaker_is_reset() {
    in_freeswitch(|freeswitch| {
        let events = listen_to(freeswitch);
        let fails = WebSocketServer::start(Script::default().with_handshake(Handshake::Refuse(503)));
        let works = WebSocketServer::start(Script::default());
        let origin = fails.url().trim_end_matches("/call").to_owned();
        let attempt = || {
            let uuid = freeswitch.originate("null/x", "park()", "");
            freeswitch.start_stream(&uuid, &fails, "mono 8k");
            let error = events.wait_stream("error", &uuid).json();
            events.wait_stream("disconnect", &uuid);
            assert!(freeswitch.exists(&uuid), "the call itself goes on");
            error["message"].clone()
        };
        let innocent = freeswitch.originate("null/x", "park()", "");
        freeswitch.start_stream(&innocent, &works, "mono 8k");
        works.connection(0).wait_bytes(3_200);
        for number in 1..=5 {
            let error = attempt();
            assert!(error["error"].as_str().is_some_and(|error| error.contains("503")), "{number}: {error}");
        }
        assert!(eventually(SOON, || told(&events, &origin) == ["open failures"]), "{:?}", told(&events, &origin));
        let tried = fails.accepted();
        let kept = attempt();
        assert_eq!((&kept["code"], fails.accepted()), (&json!(6), tried), "nobody is sent there: {kept}");
        let breakers = freeswitch.json("breakers");
        let breaker =
            breakers["breakers"].as_array().and_then(|all| all.iter().find(|one| one["endpoint"] == origin.as_str()));
        let breaker = breaker.unwrap_or_else(|| panic!("it is not in {breakers}"));
        assert_eq!((&breaker["state"], &breaker["failures"]), (&json!("open"), &json!(5)), "{breaker}");

        let other = freeswitch.originate("null/x", "park()", "");
        freeswitch.start_stream(&other, &works, "mono 8k");
        works.connection(1).wait_bytes(3_200);
        let from = works.connection(0).audio_bytes();
        assert!(eventually(SOON, || works.connection(0).audio_bytes() > from + 3_200), "other streams go on");

        let unknown = freeswitch.api("uuid_audio_stream breakers reset ws://nobody.invalid:1");
        assert!(unknown.starts_with("-ERR no breaker of"), "{unknown}");
        let reset = freeswitch.ok(&format!("uuid_audio_stream breakers reset {origin}"));
        assert!(reset.contains("1 reset"), "{reset}");
        assert!(
            eventually(SOON, || told(&events, &origin) == ["open failures", "closed reset"]),
            "{:?}",
            told(&events, &origin)
        );
        attempt();
        assert_eq!(fails.accepted(), tried + 1, "it is tried again");
        freeswitch.ok(&format!("uuid_audio_stream breakers reset {origin}"));
    });
}
