//! Events as an ESL subscriber sees them.

use std::time::Duration;

use crate::harness::esl::Event;
use crate::harness::in_freeswitch;
use crate::harness::stream::listen_to;
use crate::support::eventually;
use crate::support::websocket_server::{Action, Script, WebSocketServer, stream_audio};

#[test]
fn connect_json_and_disconnect_keep_the_older_modules_bodies() {
    in_freeswitch(|freeswitch| {
        let uuid = freeswitch.originate("null/x", "park()", "");
        let events = listen_to(freeswitch);
        let said = r#"{"type": "transcript",  "text": "ä \"quoted\""}"#;
        let server =
            WebSocketServer::start(Script::of([Action::Text(said.into()), Action::Text("no json at all".into())]));
        freeswitch.start_stream(&uuid, &server, "mono 8k");
        let connected = events.wait_stream("connect", &uuid);
        assert_eq!(connected.json(), serde_json::json!({"status": "connected"}));
        assert_eq!(events.wait_stream("json", &uuid).body.as_deref(), Some(said));
        freeswitch.stream(&uuid, "stop");
        let gone = events.wait_stream("disconnect", &uuid);
        assert_eq!((&gone.json()["status"], &gone.json()["message"]["code"]), (&"disconnected".into(), &1_000.into()));
        assert!(gone.json()["message"]["reason"].is_string());
        // Channel data comes along, and what matters is in headers, too.
        assert!(gone.get("Channel-State").is_some() && gone.get("Caller-Unique-ID").is_some(), "{:?}", gone.headers);
        assert!(gone.headers.iter().any(|(_, value)| value == "1000"), "{:?}", gone.headers);
    });
}

#[test]
fn a_played_message_is_reported_without_its_audio() {
    in_freeswitch(|freeswitch| {
        let uuid = freeswitch.originate("null/x", "park()", "");
        let events = listen_to(freeswitch);
        let message = stream_audio(&[0; 3_200], 8_000, 1);
        let server = WebSocketServer::start(Script::of([Action::Text(message)]));
        freeswitch.start_stream(&uuid, &server, "mono 8k");
        let play = events.wait_stream("play", &uuid);
        let body = play.body.unwrap_or_default();
        assert!(body.len() < 1_000 && !body.contains("AAAAAAAA"), "{body}");
        assert!(body.contains("8000"), "{body}");
    });
}

#[test]
fn json_subscribers_get_the_same_events() {
    in_freeswitch(|freeswitch| {
        let uuid = freeswitch.originate("null/x", "park()", "");
        let events = freeswitch.subscribe("json CUSTOM mod_audio_stream::connect");
        let server = WebSocketServer::start(Script::default());
        freeswitch.start_stream(&uuid, &server, "mono 8k");
        assert_eq!(events.wait_stream("connect", &uuid).json(), serde_json::json!({"status": "connected"}));
    });
}

#[test]
fn malformed_messages_are_errors_and_the_stream_goes_on() {
    in_freeswitch(|freeswitch| {
        let uuid = freeswitch.originate("null/x", "park()", "");
        let events = listen_to(freeswitch);
        let server = WebSocketServer::start(Script::default());
        freeswitch.start_stream(&uuid, &server, "mono 8k binary_rate=8000 max_audio_base64_len=1000");
        let connection = server.connection(0);
        let data = |data: &str| Action::Text(format!(r#"{{"type":"streamAudio","data":{data}}}"#));
        for bad in [
            data(r#"{"audioDataType":"raw","sampleRate":8000,"audioData":"@@@@"}"#),
            data(r#"{"audioDataType":"raw","audioData":"AAAA"}"#),
            data(r#"{"audioDataType":"raw","sampleRate":-1,"audioData":"AAAA"}"#),
            data(r#"{"audioDataType":"raw","sampleRate":8000,"channels":99,"audioData":"AAAA"}"#),
            data(r#"{"audioDataType":17,"sampleRate":8000,"audioData":"AAAA"}"#),
            data(r#"{"sampleRate":8000}"#),
            data("[]"),
            Action::Text(stream_audio(&[0; 2_000], 8_000, 1)),
            Action::Text("{\"type\":\"streamAudio\",".into()),
            Action::Text("%s%n%s ${hangup} \u{0}".into()),
            Action::Binary(vec![]),
            Action::Binary(vec![1]),
        ] {
            connection.order(bad);
        }
        let error = events.wait_stream("error", &uuid);
        assert_eq!(error.json()["status"], "error");
        let before = connection.audio_bytes();
        connection.wait_bytes(before + 16_000);
        connection.order(Action::Text("still here".into()));
        let json = |event: &Event| event.subclass() == "mod_audio_stream::json" && event.uuid() == uuid;
        let answered = eventually(Duration::from_secs(5), || {
            events.events().iter().any(|event| json(event) && event.body.as_deref() == Some("still here"))
        });
        assert!(answered, "the stream no longer takes messages");
        assert_eq!(freeswitch.streams(), 1);
    });
}
