//! A panic inside of the module costs the stream or the recording that it happens in: an error event tells, the call and everything
//! else on it go on. The built module fails where a name says so, if it has debug assertions.
#![cfg(debug_assertions)]

use std::fs;

use crate::calls::{CONFIGURATION, LOUD, SERVER, Stream, is, pass, playing};
use crate::host::{Event, Host, level};
use crate::support::websocket_server::{Action, PATIENCE, Play, Script};
use crate::support::{eventually, signal, wav};

fn loaded() -> Host {
    let host = Host::start(CONFIGURATION);
    host.load_module().unwrap();
    host
}

fn start<'c>(host: &'c Host, call: &'c crate::host::Call<'c>, name: &'static str) -> Stream<'c> {
    // Nothing but what the test does wakes the stream.
    Stream::start_on(host, call, name, Script::default(), "mono 8k heartbeat_s=0 log_every_ms=0")
}

/// What an innocent stream sends and plays is exact.
#[track_caller]
fn goes_on(stream: &Stream<'_>, seed: u64) {
    let (said, answer) = (signal::speech(8_000, 200, seed), signal::speech(8_000, 200, seed + 1));
    let (from, sent) = (stream.call.heard_count(), stream.heard().len());
    stream.play(Play::mono(answer.clone(), 8_000));
    stream.call.speak(&said);
    pass(stream.call, &[stream], 12);
    assert_eq!(stream.call.heard_from(from)[..answer.len()], answer[..], "the caller hears the server");
    assert_eq!(stream.heard()[sent..sent + said.len()], said[..], "the server hears the caller");
}

/// The module has said where it failed.
#[track_caller]
fn is_logged(host: &Host) {
    let log = host.wait_log(|log| log.text.contains("panic caught") && log.text.contains("on purpose"));
    assert_eq!(log.level, level::ERROR);
}

/// A stream `name` beside an innocent one on the same call, and one on another call; `trigger` makes the first fail.
#[track_caller]
fn fails(name: &'static str, trigger: impl Fn(&Stream<'_>), reason: &str) {
    let host = loaded();
    let (call, other) = (host.call(playing()), host.call(playing()));
    let (innocent, elsewhere) = (start(&host, &call, "innocent"), start(&host, &other, "default"));
    let failing = start(&host, &call, name);
    trigger(&failing);
    let error = failing.wait_event("error").json();
    assert!(error["message"]["error"].as_str().unwrap().contains(reason), "{error}");
    let end = failing.wait_event("disconnect");
    assert_eq!(end.header("Unique-ID"), Some(call.uuid()));
    call.wait_until("the failed stream has left the call", |call| {
        call.tick(1);
        call.bugs() == 1
    });
    failing.connection.wait_end();
    let list = || host.api("uuid_audio_stream list");
    assert!(eventually(PATIENCE, || !list().contains(name)), "it is no stream any more: {}", list());
    is_logged(&host);
    for (number, stream) in [&innocent, &elsewhere].into_iter().enumerate() {
        goes_on(stream, 31 + number as u64);
        assert!(stream.events("error").is_empty() && stream.events("disconnect").is_empty());
    }
    // The call takes another stream in its place.
    let next = start(&host, &call, "next");
    goes_on(&next, 41);
    assert_eq!((failing.events("error").len(), failing.events("disconnect").len()), (1, 1), "each once");
    // Of panics that nobody asked for, the end of every stream tells.
    host.forget_records();
}

const OUTSIDE: &str = "a callback or an event of the stream failed inside of the module";

#[test]
fn a_task_that_panics_costs_its_own_stream() {
    let says = |stream: &Stream<'_>| stream.connection.order(Action::Text("anything".into()));
    fails("fails-in-task", says, "the stream's task failed inside of the module");
}

#[test]
fn an_event_that_panics_costs_its_own_stream() {
    let says = |stream: &Stream<'_>| stream.connection.order(Action::Text("for the operator".into()));
    fails("fails-in-event", says, OUTSIDE);
}

#[test]
fn a_callback_that_panics_costs_its_own_stream() {
    for name in ["fails-in-read", "fails-in-write"] {
        fails(name, |stream| stream.call.tick(1), OUTSIDE);
    }
}

#[test]
fn a_recording_that_panics_ends_alone_and_is_reported() {
    for name in ["fails-in-recorder", "fails-in-read", "fails-in-write"] {
        let host = loaded();
        let call = host.call(playing());
        let folder = std::env::temp_dir().join(format!("mas-failing-{}-{name}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let file = |name: &str| folder.join(format!("{name}.wav"));
        let record = |name: &str, what: &str| {
            let rest = if what == "start" { file(name).display().to_string() } else { String::new() };
            host.api(&format!("uuid_audio_stream {} record name={name} {what} {rest}", call.uuid()))
        };
        assert_eq!(record("good", "start"), "+OK Success\n");
        let stream = start(&host, &call, "default");
        assert_eq!(record(name, "start"), "+OK Success\n");
        call.tick(1);
        let of = |event: &Event, kind: &str| is(event, kind) && event.header("Audio-Stream-Name") == Some(name);
        let error = host.wait_event(|event| of(event, "error")).json();
        assert!(error["message"]["error"].as_str().unwrap().contains("inside of the module"), "{error}");
        let last =
            host.wait_event(|event| of(event, "record") && event.header("Audio-Stream-Status") != Some("started"));
        assert!(last.body.as_ref().unwrap().contains("inside of the module"), "{last:?}");
        call.wait_until("the failed recording has left the call", |call| {
            call.tick(1);
            call.bugs() == 2
        });
        is_logged(&host);
        goes_on(&stream, 51);
        assert!(stream.events("error").is_empty());
        call.play(&signal::tone(8_000, SERVER, 500, LOUD));
        pass(&call, &[&stream], 25);
        assert_eq!(record("good", "stop"), "+OK Success\n");
        let whole = || wav::read(&file("good")).is_ok_and(|wav| wav.samples.len() > 8_000);
        assert!(eventually(PATIENCE, whole), "{name}: the other recording has its file");
        assert!(wav::read(&file(name)).is_ok(), "{name}: what there is of the failed one is a valid file");
        fs::remove_dir_all(&folder).unwrap();
        host.forget_records();
    }
}
