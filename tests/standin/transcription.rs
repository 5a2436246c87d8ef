//! A transcription service on a call: what it is sent of both legs, and what it understood as events.

use serde_json::{Value, json};

use crate::calls::{CALLER, LOUD, OTHER, Stream, api, call, events, parked, pass, playing, switch, wait_events};
use crate::support::transcript::{of_deepgram as result, words_of};
use crate::support::websocket_server::{Action, PATIENCE, Received, Script, WebSocketServer};
use crate::support::{audio, eventually, signal};

#[test]
fn both_legs_are_transcribed_and_reported_as_events() {
    let service = WebSocketServer::start(Script::default());
    let call = call(playing());
    let (said, other) = (signal::tone(8_000, CALLER, 600, LOUD), signal::tone(8_000, OTHER, 600, LOUD));
    let line = format!(
        "{} transcribe stereo 16k protocol=deepgram transcribe_model=nova-3 transcribe_key=hunter2 transcribe_url={}",
        call.uuid(),
        service.url()
    );
    assert_eq!(api(&line), "+OK Success");
    let connection = service.connection(0);
    let query =
        "/call?encoding=linear16&sample_rate=16000&interim_results=true&channels=2&multichannel=true&model=nova-3";
    assert_eq!((connection.uri.as_str(), connection.header("authorization")), (query, Some("Token hunter2")));

    call.speak(&said);
    call.play(&other);
    for frame in 1..=40 {
        // A key is an event when the worker has looked at its frame.
        call.press("5", 100);
        call.tick(1);
        wait_events(&call, "dtmf", frame);
    }
    connection.wait_bytes(16 * 2 * 2 * 700);
    let heard = connection.audio();
    for (channel, there, not_there) in [(0, CALLER, OTHER), (1, OTHER, CALLER)] {
        let leg = audio::channel(&heard, 2, channel);
        assert!(audio::tone_ms(&leg, 16_000, there, LOUD / 2.0) >= 560, "channel {channel} has its leg");
        assert_eq!(audio::tone_ms(&leg, 16_000, not_there, LOUD / 10.0), 0, "channel {channel} has no other");
    }

    for message in [result(0, "Where", false), result(0, "Where is it?", true), result(1, "Here.", true)] {
        connection.order(message);
    }
    assert!(eventually(PATIENCE, || events(&call, "transcript").len() == 3));
    let bodies: Vec<Value> = events(&call, "transcript").iter().map(|event| event.json()).collect();
    let seen: Vec<_> = bodies.iter().map(|body| (&body["leg"], &body["text"], &body["final"])).collect();
    let (caller, other) = (json!("caller"), json!("other"));
    let (where_, whole, here) = (json!("Where"), json!("Where is it?"), json!("Here."));
    let (yes, no) = (json!(true), json!(false));
    assert_eq!(seen, [(&caller, &where_, &no), (&caller, &whole, &yes), (&other, &here, &yes)]);
    assert_eq!(bodies[2]["words"], words_of("Here."));

    // What is said last is still understood.
    assert_eq!(api(&format!("{} stop", call.uuid())), "+OK Success");
    connection.wait_text(|text| text == r#"{"type":"CloseStream"}"#);
    connection.order(result(0, "Bye.", true));
    connection.order(Action::Close(1_000, String::new()));
    assert!(matches!(connection.wait_end(), Received::Close(1_000, _)), "{:?}", connection.ended());
    assert!(eventually(PATIENCE, || events(&call, "transcript").len() == 4), "the last words");
    assert!(eventually(PATIENCE, || events(&call, "disconnect").len() == 1));
}

#[test]
fn a_service_that_talks_nonsense_costs_neither_call() {
    let innocent = call(parked());
    let beside = Stream::start(&innocent, "mono 8k");
    let service = WebSocketServer::start(Script::default());
    let call = call(parked());
    let url = service.url();
    let line = format!("{} transcribe mono protocol=soniox transcribe_url={url}", call.uuid());
    assert_eq!(api(&line), "+OK Success");
    let connection = service.connection(0);
    connection.wait_text(|text| text.contains("\"audio_format\":\"pcm_s16le\""));
    for text in
        ["{}", "[]", r#"{"tokens":[{"text":7}]}"#, r#"{"tokens":[{"text":"ok","is_final":true},{"text":"<end>"}]}"#]
    {
        connection.order(Action::Text(text.to_owned()));
    }
    connection.order(Action::Binary(vec![1, 2, 3]));
    assert!(eventually(PATIENCE, || events(&call, "transcript").len() == 1));
    assert_eq!(events(&call, "transcript")[0].json()["text"], "ok");
    assert!(!events(&call, "error").is_empty(), "the nonsense is reported");
    let said = signal::speech(8_000, 400, 3);
    innocent.speak(&said);
    pass(&innocent, &[&beside], 20);
    assert_eq!(beside.heard()[..said.len()], said[..]);
    assert!(switch().look_at_call(innocent.uuid(), |events| {
        events.iter().all(|event| !event.header("Event-Subclass").is_some_and(|subclass| subclass.ends_with("::error")))
    }));
}

#[test]
fn a_transcription_without_key_or_with_bad_settings_is_refused() {
    let call = call(parked());
    for (arguments, reply) in [
        ("protocol=deepgram", "-ERR no key for protocol=deepgram: set transcribe_key "),
        ("protocol=deepgram transcribe_key=hunter2 mono", "-ERR protocol=deepgram takes no settings, but got 'mono'; "),
        (
            "protocol=soniox transcribe_key=hunter2 {\"a\": }",
            "-ERR the settings for protocol=soniox must be one JSON object: ",
        ),
        ("protocol=soniox transcribe_url=https://u:hunter2@h/", "-ERR bad value 'https://h' for transcribe_url: "),
    ] {
        let answer = api(&format!("{} transcribe {arguments}", call.uuid()));
        assert!(answer.starts_with(reply) && !answer.contains("hunter2"), "{arguments}: {answer}");
    }
    assert_eq!(call.bugs(), 0);
    assert!(events(&call, "error").is_empty(), "the reply has said everything");
}
