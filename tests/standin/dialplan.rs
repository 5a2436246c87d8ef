//! The dialplan application: on the session's own thread, at once or until the stream ends, its result in two variables.

use std::sync::Arc;

use crate::calls::{LOUD, SERVER, call, is, parked, playing, switch, wait_detached, wait_events};
use crate::host::{Call, CallOptions, flag};
use crate::support::websocket_server::{Action, Connection, Handshake, Play, Received, Script, WebSocketServer};
use crate::support::{audio, signal};

/// The application's result: `audio_stream_status` and `audio_stream_error`.
fn result(call: &Call<'_>) -> (Option<String>, Option<String>) {
    (call.variable("audio_stream_status"), call.variable("audio_stream_error"))
}

fn status(text: &str) -> (Option<String>, Option<String>) {
    (Some(text.to_owned()), None)
}

/// Runs the application, and waits until it has returned.
#[track_caller]
fn run(call: &Call<'_>, data: &str) -> (Option<String>, Option<String>) {
    let before = call.executed();
    call.execute("audio_stream", data);
    call.wait_until("the application has returned", |call| call.executed() > before);
    result(call)
}

/// Runs the application with `wait=true`, and waits until its stream is connected.
#[track_caller]
fn run_waiting(call: &Call<'_>, server: &WebSocketServer) -> Arc<Connection> {
    call.execute("audio_stream", &format!("{} mono 8k wait=true metadata", server.url()));
    let connection = server.connection(0);
    switch().wait_event(|event| is(event, "connect") && event.header("Unique-ID") == Some(call.uuid()));
    assert_eq!(call.executed(), 0, "the application waits");
    connection
}

#[test]
fn without_wait_the_application_returns_and_the_stream_goes_on() {
    let call = call(parked());
    let server = WebSocketServer::start(Script::default());
    assert_eq!(run(&call, &format!("{} mono 8k {{\"from\": \"the  dialplan\"}}", server.url())), status("started"));
    let connection = server.connection(0);
    assert_eq!(connection.wait_text(|_| true), r#"{"from": "the  dialplan"}"#);
    let said = signal::speech(8_000, 100, 103);
    call.speak(&said);
    call.tick(5);
    assert_eq!(run(&call, "stop bye"), status("ok"));
    connection.wait_end();
    assert_eq!(connection.audio(), said);
    assert_eq!(connection.texts().last().unwrap(), "bye");
}

#[test]
fn with_wait_the_call_is_kept_going_until_the_server_closes() {
    let call = call(CallOptions::default());
    let server = WebSocketServer::start(Script::default());
    let said = signal::speech(8_000, 400, 107);
    call.speak(&said);
    let connection = run_waiting(&call, &server);
    assert_eq!(result(&call), status("started"));
    connection.wait_bytes(8_000);
    // A tone: on a busy machine the module's clock may make a gap in it.
    let answer = signal::tone(8_000, SERVER, 400, LOUD);
    connection.order(Action::Play(Play::mono(answer, 8_000)));
    connection.order(Action::Close(1000, "done".into()));
    call.wait_until("the application has returned", |call| call.executed() == 1);
    assert_eq!(result(&call), status("ended"));
    wait_detached(&call);
    let sounding = call.heard().iter().filter(|sample| **sample != 0).count();
    let ms = audio::tone_ms(&call.heard(), 8_000, SERVER, LOUD / 2.0);
    assert!(
        ms >= 300 && sounding >= 3_100,
        "what the server said before it closed is heard: {ms} ms, {sounding} samples"
    );
}

#[test]
fn with_wait_a_stop_from_elsewhere_ends_the_waiting() {
    let call = call(CallOptions::default());
    let server = WebSocketServer::start(Script::default());
    let connection = run_waiting(&call, &server);
    let reply = switch().api(&format!("uuid_audio_stream {} stop", call.uuid()));
    assert_eq!(reply, "+OK Success\n");
    call.wait_until("the application has returned", |call| call.executed() == 1);
    assert_eq!(result(&call), status("ended"));
    assert!(matches!(connection.wait_end(), Received::Close(1000, _)));
}

#[test]
fn with_wait_the_dialplan_learns_of_a_failed_connection() {
    let server = WebSocketServer::start(Script::default().with_handshake(Handshake::Refuse(503)));
    let call = call(CallOptions::default());
    let (status, error) = run(&call, &format!("{} wait=true", server.url()));
    assert_eq!(status.as_deref(), Some("error"));
    assert!(error.as_deref().is_some_and(|error| error.contains("503")), "{error:?}");
    wait_detached(&call);
}

#[test]
fn with_wait_a_hangup_ends_application_stream_and_call() {
    let call = call(CallOptions::default());
    call.set_variable("greeting", "hello");
    let server = WebSocketServer::start(Script::default());
    let connection = run_waiting(&call, &server);
    call.hangup();
    call.wait_ended();
    assert!(matches!(connection.wait_end(), Received::Close(1000, _)));
    let event = switch().wait_event(|event| is(event, "disconnect") && event.header("Unique-ID") == Some(call.uuid()));
    assert_eq!(event.header("variable_greeting"), Some("hello"));
    assert_eq!(event.header("variable_audio_stream_status"), Some("running"));
}

#[test]
fn with_wait_a_transfer_ends_the_application_not_the_stream() {
    let call = call(CallOptions::default());
    let server = WebSocketServer::start(Script::default());
    let connection = run_waiting(&call, &server);
    call.set_flag(flag::TRANSFER, true);
    call.wait_until("the application has returned", |call| call.executed() == 1);
    assert_eq!(result(&call), status("running"));
    call.set_flag(flag::TRANSFER, false);
    let before = connection.audio_bytes();
    connection.wait_bytes(before + 3_200);
}

#[test]
fn a_refusal_is_in_the_variables_and_the_call_goes_on() {
    let call = call(playing());
    let server = WebSocketServer::start(Script::default());
    for (data, word) in [
        ("", "audio_stream"),
        ("nonsense", "no command 'nonsense'"),
        ("http://127.0.0.1/", "ws://"),
        ("ws://127.0.0.1:1/ mono 11k", "11k"),
        ("ws://127.0.0.1:1/ mono 8k wait=perhaps", "wait"),
        ("ws://127.0.0.1:1/ mono 8k buffer_ms=1", "buffer_ms"),
        ("stop", "no stream 'default'"),
        ("pause name=other", "no stream 'other'"),
        ("ws://127.0.0.1:1/${secret} quadro", "quadro"),
    ] {
        let (status, error) = run(&call, data);
        assert_eq!(status.as_deref(), Some("error"), "{data}");
        let error = error.unwrap_or_default();
        assert!(error.contains(word) && !error.starts_with('-'), "{data}: {error}");
    }
    assert_eq!(call.bugs(), 0);
    assert_eq!(run(&call, &server.url()), status("started"), "an earlier error does not stay");
    let twice = run(&call, &server.url());
    assert!(twice.1.is_some_and(|error| error.contains("already running")));
}

#[test]
fn each_verb_works_from_the_dialplan() {
    let call = call(parked());
    let server = WebSocketServer::start(Script::default());
    assert_eq!(run(&call, &format!("name=one {} mono 8k", server.url())), status("started"));
    let connection = server.connection(0);
    wait_events(&call, "connect", 1);
    for verb in
        ["pause name=one", "resume name=one", "clear name=one", "send_text name=one two  words", "stop name=one"]
    {
        assert_eq!(run(&call, verb), status("ok"), "{verb}");
    }
    connection.wait_end();
    assert_eq!(connection.texts(), ["two  words"]);
}

#[test]
fn channel_variables_set_what_the_arguments_leave_open() {
    let call = call(parked());
    call.set_variable("STREAM_BUFFER_SIZE", "60");
    call.set_variable("AUDIO_STREAM_MIX", "stereo");
    call.set_variable("AUDIO_STREAM_RATE", "16k");
    call.set_variable("AUDIO_STREAM_HEARTBEAT_S", "soon");
    let server = WebSocketServer::start(Script::default());
    assert_eq!(run(&call, &format!("{} mono", server.url())), status("started"));
    call.tick(9);
    server.connection(0).wait_bytes(2 * 1_920);
    let messages = server.connection(0).binaries();
    assert!(messages.iter().all(|message| message.len() == 1_920), "60 ms of 16 kHz, one channel: the argument wins");
    let warning = switch().wait_log(|log| log.uuid.as_deref() == Some(call.uuid()) && log.text.contains("'soon'"));
    assert!(
        warning.text.contains("AUDIO_STREAM_HEARTBEAT_S") && warning.text.contains("heartbeat_s=15"),
        "{warning:?}"
    );
    assert_eq!(warning.level, crate::host::level::WARNING);
}

#[test]
fn the_application_is_registered_with_its_syntax() {
    let (_, syntax) = switch().applications().into_iter().find(|(name, _)| name == "audio_stream").unwrap();
    assert!(syntax.contains("<ws-url>") && syntax.contains("[wait=true|ready]") && syntax.contains("stop"), "{syntax}");
}
