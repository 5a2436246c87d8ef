//! Starts on calls that have no media yet: they wait, attach as soon as there is some, and leave nothing behind when there is none.

use std::path::Path;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::calls::{Stream, api, call, command, events, health, is, parked, switch};
use crate::host::{Call, CallOptions, Event, flag};
use crate::realtime::{self, RealtimeServer};
use crate::support::eventually;
use crate::support::websocket_server::{PATIENCE, Script, WebSocketServer};

const WAITS: &str = "+OK Success; waiting for the call's media";

/// A call that rings.
fn ringing() -> Call<'static> {
    call(CallOptions { answered: false, ..parked() })
}

/// A call whose codec is not negotiated yet.
fn without_codec() -> Call<'static> {
    call(CallOptions { answered: false, codec_unsettled: true, ..parked() })
}

/// Starts a stream that has to wait.
#[track_caller]
fn wait_for_media(call: &Call<'_>, server: &WebSocketServer, arguments: &str) {
    assert_eq!(command(call, &format!("start {} {arguments}", server.url())), WAITS);
}

/// This call's streams in `list`.
fn listed(call: &Call<'_>) -> Vec<Value> {
    let list: Value = serde_json::from_str(&api("list")).unwrap();
    let streams = list["streams"].as_array().unwrap().iter();
    streams.filter(|stream| stream["session_uuid"] == call.uuid()).cloned().collect()
}

#[track_caller]
fn wait_event_of(call: &Call<'_>, kind: &str) -> Event {
    switch().wait_event(|event| is(event, kind) && event.header("Unique-ID") == Some(call.uuid()))
}

/// What the event says besides its status.
fn message(event: &Event) -> Value {
    event.json()["message"].clone()
}

#[track_caller]
fn wait_streaming(call: &Call<'_>, server: &WebSocketServer) {
    server.connection(0);
    wait_event_of(call, "connect");
    assert_eq!(call.bugs(), 1);
    assert_eq!(health(call)["state"], "STREAMING");
}

#[test]
fn a_stream_started_while_a_call_rings_begins_with_its_answer() {
    let (call, server) = (ringing(), WebSocketServer::start(Script::default()));
    wait_for_media(&call, &server, "mono 8k");
    let status = health(&call);
    assert_eq!((&status["state"], &status["health"]), (&"WAITING".into(), &"HEALTHY".into()), "{status}");
    assert_eq!(listed(&call)[0]["endpoint"], server.url());
    let again = command(&call, &format!("start {}", server.url()));
    assert!(again.starts_with("-ERR stream 'default' is already about to start on this call"), "{again}");
    for verb in ["pause", "clear", "send_text hello", "mute caller"] {
        let reply = command(&call, verb);
        assert_eq!(
            reply,
            "-ERR stream 'default' waits for the call's media; until then only stop and health are possible"
        );
    }
    // Longer than between two tries.
    thread::sleep(Duration::from_millis(300));
    assert_eq!((call.bugs(), server.accepted()), (0, 0), "nothing begins before there is media");
    assert_eq!((&health(&call)["masked"], &listed(&call)[0]["masked"]), (&json!(false), &Value::Null));
    assert_eq!(command(&call, "mask on"), "+OK Success");
    assert_eq!(health(&call)["masked"], true, "the call is masked, whether or not it has media");
    call.answer();
    wait_streaming(&call, &server);
    assert_eq!(health(&call)["masked"], true, "before its first frame");
    assert_eq!(command(&call, "mask off"), "+OK Success");
    call.speak(&[7; 160]);
    call.tick(1);
    let connection = server.connection(0);
    connection.wait_bytes(320);
    assert_eq!(connection.audio(), [7; 160]);
    assert_eq!(command(&call, "stop"), "+OK Success");
}

#[test]
fn a_codec_that_comes_after_the_early_media_is_waited_for() {
    let call = without_codec();
    let server = WebSocketServer::start(Script::default());
    call.pre_answer();
    wait_for_media(&call, &server, "mono 8k");
    thread::sleep(Duration::from_millis(150));
    assert_eq!((call.bugs(), server.accepted()), (0, 0));
    call.settle_codec();
    wait_streaming(&call, &server);
}

#[test]
fn early_media_is_media() {
    let (call, server) = (ringing(), WebSocketServer::start(Script::default()));
    wait_for_media(&call, &server, "mono 8k");
    call.pre_answer();
    wait_streaming(&call, &server);
    call.answer();
    call.tick(2);
    assert_eq!((call.bugs(), server.accepted()), (1, 1), "the answer attaches it no second time");
}

#[test]
fn a_waiting_stream_that_is_stopped_never_begins() {
    let (call, server) = (ringing(), WebSocketServer::start(Script::default()));
    wait_for_media(&call, &server, "");
    assert_eq!(command(&call, "stop"), "+OK Success");
    let end = wait_event_of(&call, "disconnect");
    assert_eq!(message(&end), json!({"code": 1000, "reason": "stopped"}));
    assert!(listed(&call).is_empty());
    assert!(command(&call, "stop").starts_with("-ERR no stream 'default' on this call"));
    call.answer();
    thread::sleep(Duration::from_millis(200));
    assert_eq!((call.bugs(), server.accepted(), events(&call, "disconnect").len()), (0, 0, 1));
    Stream::start(&call, "").stop();
}

#[test]
fn a_waiting_stream_ends_with_its_call() {
    let (call, other, server) = (ringing(), ringing(), WebSocketServer::start(Script::default()));
    let others = WebSocketServer::start(Script::default());
    wait_for_media(&call, &server, "");
    wait_for_media(&other, &others, "");
    call.hangup();
    call.wait_ended();
    let end = wait_event_of(&call, "disconnect");
    assert_eq!(message(&end)["reason"], "the call ended before it had media");
    assert!(listed(&call).is_empty());
    assert_eq!((server.accepted(), events(&call, "error").len()), (0, 0));
    other.answer();
    wait_streaming(&other, &others);
}

#[test]
fn a_call_that_turns_out_to_be_bypassed_ends_the_waiting() {
    let (call, server) = (ringing(), WebSocketServer::start(Script::default()));
    wait_for_media(&call, &server, "");
    call.set_flag(flag::PROXY_MODE, true);
    call.answer();
    let error = wait_event_of(&call, "error");
    assert_eq!(message(&error)["code"], 4, "{:?}", error.json());
    assert!(message(&error)["error"].as_str().unwrap().contains("bypass_media"));
    assert_eq!(message(&wait_event_of(&call, "disconnect"))["reason"], message(&error)["error"]);
    assert_eq!((listed(&call).len(), call.bugs(), server.accepted()), (0, 0, 0));
}

#[test]
fn a_call_without_media_in_time_ends_the_waiting() {
    let (call, other, server) = (ringing(), ringing(), WebSocketServer::start(Script::default()));
    wait_for_media(&call, &server, "media_wait_s=1");
    let others = WebSocketServer::start(Script::default());
    wait_for_media(&other, &others, "");
    let error = wait_event_of(&call, "error");
    let why = "the call had no media for 1 s; the start is given up";
    assert_eq!(message(&error), json!({"code": 10, "error": why}));
    assert_eq!(message(&wait_event_of(&call, "disconnect")), json!({"code": 1006, "reason": why}));
    assert!(listed(&call).is_empty());
    call.answer();
    other.answer();
    wait_streaming(&other, &others);
    assert_eq!((call.bugs(), server.accepted()), (0, 0));
}

#[test]
fn a_start_that_may_not_wait_is_refused() {
    let (call, server) = (ringing(), WebSocketServer::start(Script::default()));
    let refused = command(&call, &format!("start {} media_wait_s=0", server.url()));
    assert_eq!(refused, "-ERR the call has no audio yet; answer or pre_answer it first");
    call.set_variable("AUDIO_STREAM_MEDIA_WAIT_S", "0");
    assert_eq!(command(&call, "record start /tmp/never.wav"), refused);
    assert!(listed(&call).is_empty());
    call.answer();
    Stream::start(&call, "").stop();
}

#[test]
fn one_call_cannot_fill_the_table_for_the_others() {
    let (call, other, server) = (ringing(), ringing(), WebSocketServer::start(Script::default()));
    let names: Vec<_> = (0..16).map(|number| format!("s{number}")).collect();
    let start = |call: &Call<'_>, name: &str| command(call, &format!("start name={name} {}", server.url()));
    for name in &names {
        assert_eq!(start(&call, name), WAITS);
    }
    assert_eq!(start(&call, "one-more"), "-ERR 16 starts are already waiting for the media of this call");
    assert_eq!(start(&other, "one"), WAITS);
    assert_eq!(command(&call, "stop name=s3"), "+OK Success");
    assert_eq!(start(&call, "one-more"), WAITS);
    drop((call, other));
    assert!(eventually(PATIENCE, || !api("list").contains("WAITING") || !api("list").contains(&server.url())));
}

#[test]
fn the_application_says_that_it_waits_and_what_becomes_of_it() {
    let (call, server) = (without_codec(), WebSocketServer::start(Script::default()));
    let status = |call: &Call<'_>| call.variable("audio_stream_status").unwrap_or_default();
    call.execute("audio_stream", &server.url());
    call.wait_until("the application has returned", |call| call.executed() == 1);
    assert_eq!(status(&call), "waiting");
    call.settle_codec();
    wait_streaming(&call, &server);
    call.wait_until("the dialplan has its status", |call| status(call) == "started");
    command(&call, "stop");

    let bypassed = without_codec();
    bypassed.execute("audio_stream", &server.url());
    bypassed.wait_until("the application has returned", |call| call.executed() == 1);
    bypassed.set_flag(flag::PROXY_MODE, true);
    bypassed.wait_until("the dialplan has its status", |call| status(call) == "error");
    assert!(bypassed.variable("audio_stream_error").is_some_and(|error| error.contains("bypass_media")));
}

#[test]
fn with_wait_the_application_does_not_wait_for_media() {
    let (call, server) = (without_codec(), WebSocketServer::start(Script::default()));
    call.execute("audio_stream", &format!("{} wait=true", server.url()));
    call.wait_until("the application has returned", |call| call.executed() == 1);
    assert_eq!(call.variable("audio_stream_status").as_deref(), Some("error"));
    let error = call.variable("audio_stream_error").unwrap();
    assert!(error.starts_with("the call has no audio yet; answer or pre_answer it first"), "{error}");
    call.settle_codec();
    thread::sleep(Duration::from_millis(150));
    assert_eq!((call.bugs(), server.accepted()), (0, 0));
}

#[test]
fn a_conversation_waits_for_media_too() {
    let (call, server) = (ringing(), RealtimeServer::start(realtime::Script::default()));
    let start = |arguments: &str| {
        let options = "transcription_model=words openai_model=test-model";
        command(&call, &format!("start_ai openai_base_url={} {options} {arguments}", server.base_url()))
    };
    let refused = start("tool_timeout_ms=nonsense");
    assert!(refused.starts_with("-ERR"), "{refused}");
    assert_eq!(start("openai_api_key=sk-test"), WAITS);
    assert_eq!((health(&call)["state"].clone(), server.connections().len()), ("WAITING".into(), 0));
    call.answer();
    server.connection(0);
    call.wait_until("the conversation begins", |call| {
        events(call, "ai_state").iter().any(|event| event.header("Audio-Stream-State") == Some("LISTENING"))
    });
    command(&call, "stop");
}

#[test]
fn a_recording_waits_for_media_and_makes_no_file_before() {
    let call = call(CallOptions { answered: false, ..CallOptions::default() });
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("waiting-{}", call.uuid()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("a.wav");
    let start = format!("record start {}", file.display());
    let nowhere = command(&call, "record start /nowhere/at/all.wav");
    assert!(nowhere.starts_with("-ERR there is no folder"), "{nowhere}");
    assert_eq!(command(&call, &start), WAITS);
    assert!(command(&call, &start).starts_with("-ERR recording 'default' of this call is already about to start"));
    assert_eq!(command(&call, "record stop"), "+OK Success");
    assert_eq!(command(&call, &start), WAITS);
    thread::sleep(Duration::from_millis(150));
    assert!(!file.exists());
    call.answer();
    assert_eq!(wait_event_of(&call, "record").header("Audio-Stream-Status"), Some("started"));
    assert!(
        file.exists() && command(&call, &format!("record name=b start {}", file.display())).contains("already exists")
    );
    thread::sleep(Duration::from_millis(200));
    assert_eq!(command(&call, "record stop"), "+OK Success");
    assert!(eventually(PATIENCE, || events(&call, "record").len() == 2));
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn starts_answers_stops_and_hangups_at_once_leave_nothing() {
    let server = WebSocketServer::start(Script::default());
    for round in 0..60 {
        let call = ringing();
        let reply = thread::scope(|scope| {
            let start = scope.spawn(|| command(&call, &format!("start {}", server.url())));
            scope.spawn(|| call.answer());
            if round % 3 == 0 {
                scope.spawn(|| call.hangup());
            } else if round % 3 == 1 {
                scope.spawn(|| command(&call, "stop"));
            }
            start.join().unwrap()
        });
        let over = ["hanging up", "No such channel", "refused the media bug"];
        assert!(reply.starts_with("+OK") || over.iter().any(|why| reply.contains(why)), "{reply}");
        call.hangup();
        call.wait_ended();
        assert!(eventually(PATIENCE, || listed(&call).is_empty()), "{:?}", listed(&call));
        let last = events(&call, "disconnect").len();
        let expected = usize::from(reply.starts_with("+OK"));
        assert!(
            last == expected || eventually(PATIENCE, || events(&call, "disconnect").len() == expected),
            "{reply}: {last} last events"
        );
    }
}
