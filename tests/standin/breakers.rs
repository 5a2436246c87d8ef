//! Servers that fail are not tried for a while: streams and conversations of the built module with servers that refuse.

use std::time::Duration;

use crate::calls::{api, call, events, playing, switch, wait_detached};
use crate::host::Event;
use crate::realtime::{Auth, RealtimeServer, Script, WrongKey};
use crate::support::wait_for;
use crate::support::websocket_server::{Handshake, PATIENCE, WebSocketServer};
use serde_json::{Value, json};

/// What `breakers` prints of a server.
fn breaker(origin: &str) -> Option<Value> {
    let printed = switch().api("uuid_audio_stream breakers");
    let mut printed: Value = serde_json::from_str(&printed).unwrap();
    let listed: Vec<Value> = serde_json::from_value(printed["breakers"].take()).unwrap();
    assert_eq!(printed["count"], listed.len());
    listed.into_iter().find(|breaker| breaker["endpoint"] == origin)
}

/// One call's conversation up to this state: all its states, and the last event.
#[track_caller]
fn converse(server: &RealtimeServer, key: &str, until: &str) -> (Vec<String>, Event) {
    let call = call(playing());
    let line = format!(
        "uuid_audio_stream {} start_ai openai_base_url={} openai_api_key={key} openai_model=test-model \
         ai_reconnect_ms=10 ai_reconnect_max=4",
        call.uuid(),
        server.base_url()
    );
    assert_eq!(switch().api(&line).trim(), "+OK Success");
    let state = |event: &Event| event.header("Audio-Stream-State").unwrap().to_owned();
    let last = wait_for(until, PATIENCE, || events(&call, "ai_state").pop().filter(|event| state(event) == until));
    if until == "FAILED" {
        wait_detached(&call);
    }
    (events(&call, "ai_state").iter().map(state).collect(), last)
}

#[test]
fn five_refused_streams_open_the_circuit_for_the_sixth() {
    let server = WebSocketServer::start(
        crate::support::websocket_server::Script::default().with_handshake(Handshake::Refuse(503)),
    );
    let origin = server.url().trim_end_matches("/call").to_owned();
    let refused = |at: &str| {
        let call = call(playing());
        let line = format!("uuid_audio_stream {} start {origin}/in?key=hunter2 mono 8k", call.uuid());
        assert_eq!(switch().api(&line).trim(), "+OK Success");
        let error = wait_for(at, PATIENCE, || events(&call, "error").pop()).json();
        wait_detached(&call);
        // The event comes from a worker and may come behind the detaching.
        wait_for("the end", PATIENCE, || events(&call, "disconnect").pop());
        assert_eq!(events(&call, "disconnect").len(), 1, "{at}");
        error["message"].clone()
    };
    for n in 1..=5 {
        let error = refused("the refusal");
        assert!(error["error"].as_str().unwrap().contains("503"), "{n}: {error}");
    }
    let before = server.accepted();
    let error = refused("the breaker");
    assert_eq!(server.accepted(), before, "nobody was sent there");
    assert_eq!(error["code"], 6);
    let text = error["error"].as_str().unwrap();
    assert!(text.contains(&origin) && text.contains("circuit breaker is open") && text.contains(" s more"), "{text}");
    let mut shown = breaker(&origin).unwrap();
    let left = shown["probe_in_sec"].take().as_u64().unwrap();
    assert!((1..=30).contains(&left), "{left}");
    let expected =
        json!({"endpoint": origin, "kind": "websocket", "state": "open", "failures": 5, "probe_in_sec": null});
    assert_eq!(shown, expected);
    assert!(!switch().api("uuid_audio_stream breakers").contains("hunter2"));
}

#[test]
fn a_conversation_fails_at_once_while_the_circuit_is_open() {
    let server = RealtimeServer::start(Script::default());
    server.set_reachable(false);
    let (states, _) = converse(&server, "sk-test", "FAILED");
    assert_eq!(states, ["CONNECTING", "RECONNECTING", "FAILED"]);
    assert_eq!(server.accepted(), 5);
    let (states, failed) = converse(&server, "sk-test", "FAILED");
    assert_eq!(states, ["CONNECTING", "FAILED"]);
    assert_eq!(failed.header("Audio-Stream-Code"), Some("breaker_open"));
    assert_eq!(failed.header("Audio-Stream-Last"), Some("true"));
    let reason = failed.header("Audio-Stream-Reason").unwrap();
    assert!(reason.contains(&server.base_url()) && reason.contains("circuit breaker is open"), "{reason}");
    assert_eq!(server.accepted(), 5, "nobody was sent there");
    let shown = breaker(&server.base_url()).unwrap();
    assert_eq!((&shown["kind"], &shown["state"], &shown["failures"]), (&json!("ai"), &json!("open"), &json!(5)));
    assert!((1..=60).contains(&shown["probe_in_sec"].as_u64().unwrap()), "{shown}");
}

#[test]
fn a_refused_key_leaves_the_server_to_others() {
    for wrong_key in [WrongKey::Status, WrongKey::Event] {
        let script = Script { auth: Auth::Bearer("sk-right".into()), wrong_key, ..Script::default() };
        let server = RealtimeServer::start(script);
        for _ in 0..6 {
            converse(&server, "sk-wrong", "FAILED");
        }
        assert_eq!(breaker(&server.base_url()), None, "{wrong_key:?}");
        converse(&server, "sk-right", "LISTENING");
    }
}

/// The states of the server's breaker that were told, with their causes.
fn told(origin: &str) -> Vec<(String, String)> {
    let of_server = |event: &&Event| {
        event.subclass == "mod_audio_stream::breaker" && event.header("Audio-Stream-Endpoint") == Some(origin)
    };
    let word = |event: &Event, name: &str| event.header(name).unwrap().to_owned();
    switch().look(|events, _| {
        let told = events.iter().filter(of_server);
        told.map(|event| (word(event, "Audio-Stream-Status"), word(event, "Audio-Stream-Cause"))).collect()
    })
}

#[test]
fn each_change_is_one_event_and_a_command_closes_it() {
    let server = WebSocketServer::start(
        crate::support::websocket_server::Script::default().with_handshake(Handshake::Refuse(503)),
    );
    let origin = server.url().trim_end_matches("/call").to_owned();
    let calls: Vec<_> = (0..8).map(|_| call(playing())).collect();
    // All at once: the breaker opens once, however many fail.
    for call in &calls {
        assert_eq!(api(&format!("{} start {} mono 8k", call.uuid(), server.url())), "+OK Success");
    }
    for call in &calls {
        wait_for("the end", PATIENCE, || events(call, "disconnect").pop());
    }
    let word = |word: &str| word.to_owned();
    wait_for("the event", PATIENCE, || (!told(&origin).is_empty()).then_some(()));
    assert_eq!(told(&origin), [(word("open"), word("failures"))]);
    let event = switch().wait_event(|event| {
        event.subclass == "mod_audio_stream::breaker" && event.header("Audio-Stream-Endpoint") == Some(&origin)
    });
    let body = event.json();
    assert_eq!((&body["status"], &body["kind"], &body["failures"]), (&json!("open"), &json!("websocket"), &json!(5)));
    assert_eq!((event.header("Audio-Stream-UUID"), event.header("Unique-ID")), (None, None), "it is of no call");

    let refused = api("breakers reset ws://nobody.invalid:1");
    assert!(refused.starts_with("-ERR no breaker of 'ws://nobody.invalid:1'"), "{refused}");
    assert_eq!(api(&format!("breakers reset {origin}")), "+OK Success: 1 reset");
    assert_eq!(breaker(&origin), None);
    wait_for("the reset", PATIENCE, || (told(&origin).len() == 2).then_some(()));
    assert_eq!(told(&origin)[1], (word("closed"), word("reset")));
    let before = server.accepted();
    let again = call(playing());
    assert_eq!(api(&format!("{} start {} mono 8k", again.uuid(), server.url())), "+OK Success");
    wait_for("the end", PATIENCE, || events(&again, "disconnect").pop());
    assert_eq!(server.accepted(), before + 1, "it is tried again");
}

#[test]
fn the_pause_a_server_asks_for_is_kept_by_all_calls() {
    let script = crate::support::websocket_server::Script::default().with_handshake(Handshake::BusyFor(1, 3));
    let server = WebSocketServer::start(script);
    let origin = server.url().trim_end_matches("/call").to_owned();
    let (patient, hasty) = (call(playing()), call(playing()));
    let start = |call: &crate::host::Call<'_>, options: &str| {
        assert_eq!(api(&format!("{} start {} mono 8k {options}", call.uuid(), server.url())), "+OK Success");
    };
    let began = std::time::Instant::now();
    start(&patient, "reconnect_max=3 reconnect_ms=10");
    let retry = wait_for("the refusal", PATIENCE, || events(&patient, "reconnecting").pop()).json();
    assert_eq!((&retry["code"], &retry["attempt"]), (&json!(429), &json!(1)));
    assert!(retry["delay_ms"].as_u64().unwrap() >= 2_900, "{retry}");
    let shown = breaker(&origin).unwrap();
    assert_eq!((&shown["state"], &shown["failures"]), (&json!("busy"), &json!(0)), "{shown}");
    // Another call: nobody asks the server meanwhile.
    start(&hasty, "");
    let error = wait_for("the error", PATIENCE, || events(&hasty, "error").pop()).json();
    let text = error["message"]["error"].as_str().unwrap();
    assert!(text.contains("too busy") && text.contains("not asked again for "), "{text}");
    assert_eq!(server.accepted(), 1);
    server.connection(0);
    assert!(began.elapsed() >= Duration::from_secs(3));
    assert_eq!(server.accepted(), 2, "the one that waited, after the pause");
    let word = |word: &str| word.to_owned();
    wait_for("the end of the pause", PATIENCE, || (told(&origin).len() == 2).then_some(()));
    assert_eq!(told(&origin), [(word("busy"), word("busy")), (word("closed"), word("success"))]);
    patient.hangup();
}
