//! Servers that fail are not tried for a while: streams and conversations of the built module with servers that refuse.

use std::time::Duration;

use crate::calls::{call, events, playing, switch, wait_detached};
use crate::host::Event;
use crate::realtime::{Auth, RealtimeServer, Script, WrongKey};
use crate::support::wait_for;
use crate::support::websocket_server::{Handshake, WebSocketServer};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(15);

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
