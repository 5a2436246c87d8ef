//! However and whenever a stream ends: the call goes on, the end is reported, and nothing is left of the stream.

use std::thread;
use std::time::{Duration, Instant};

use crate::calls::{
    LOUD, SERVER, Stream, api, call, has_stood_still, is, parked, pass, pass_by_keys, pass_paced, playing, switch,
    wait_detached,
};
use crate::host::{CallKind, CallOptions, Event, Log, level};
use crate::support::websocket_server::{
    Action, Echo, Gate, Handshake, PATIENCE, Play, Received, Script, WebSocketServer,
};
use crate::support::{deaf_port, eventually, signal};
use serde_json::json;

/// The call streams again, under the same name.
#[track_caller]
fn streams_again(call: &crate::host::Call<'static>) {
    call.wait_until("the stream has left the call", |call| {
        call.tick(1);
        call.bugs() == 0
    });
    let next = Stream::start(call, "mono 8k");
    call.speak(&[77; 160]);
    pass(call, &[&next], 1);
    assert_eq!(next.stop(), [77; 160]);
}

#[test]
fn final_events_have_the_channels_data_after_the_hangup() {
    let call = call(playing());
    call.set_variable("greeting", "hello");
    let stream = Stream::start(&call, "mono 8k");
    stream.wait_event("connect");
    pass(&call, &[&stream], 5);
    call.hangup();
    call.wait_ended();
    let end = stream.connection.wait_end();
    assert!(matches!(end, Received::Close(1000, _)), "{end:?}");
    let event = stream.wait_event("disconnect");
    assert_eq!(event.header("Unique-ID"), Some(call.uuid()));
    assert_eq!(event.header("variable_greeting"), Some("hello"));
    assert!(event.header("Channel-Name").is_some());
    assert_eq!(event.json()["message"]["code"], 1000);
}

#[test]
fn what_was_said_before_the_hangup_is_sent() {
    let call = call(parked());
    let stream = Stream::start(&call, "mono 8k buffer_ms=100");
    let said = signal::speech(8_000, 340, 73);
    call.speak(&said);
    pass(&call, &[&stream], 10);
    call.tick(7);
    call.hangup();
    stream.connection.wait_end();
    assert_eq!(stream.connection.audio(), said, "the last, incomplete message included");
}

#[test]
fn a_hangup_never_waits_for_a_server_that_does_not_read() {
    let call = call(playing());
    let silent = Script { never_read: true, ..Script::default() };
    let stream = Stream::start_as(&call, "default", silent, "stereo 48k max_queue_ms=1000");
    for _ in 0..60 {
        call.tick(5);
        thread::sleep(Duration::from_millis(2));
    }
    call.hangup();
    call.wait_ended();
    assert!(stream.events("disconnect").is_empty(), "the call ends before the stream gives its server up");
    stream.wait_event("disconnect");
}

#[test]
fn stop_during_connect_ends_the_stream_and_not_the_call() {
    let call = call(playing());
    let server = WebSocketServer::start(Script::default().with_handshake(Handshake::Never));
    assert_eq!(api(&format!("{} start {} mono 8k", call.uuid(), server.url())), "+OK Success");
    assert!(eventually(PATIENCE, || server.accepted() == 1));
    call.tick(3);
    let reply = api(&format!("{} stop good bye", call.uuid()));
    assert_eq!(reply, "+OK Success; the text is not sent, as there is no connection");
    let event = switch().wait_event(|event| is(event, "disconnect") && event.header("Unique-ID") == Some(call.uuid()));
    assert_eq!(event.json()["message"]["code"], 1000);
    streams_again(&call);
}

#[test]
fn a_hangup_during_connect_is_reported() {
    let call = call(parked());
    call.set_variable("greeting", "hello");
    let server = WebSocketServer::start(Script::default().with_handshake(Handshake::Never));
    assert_eq!(api(&format!("{} start {} mono 8k", call.uuid(), server.url())), "+OK Success");
    call.hangup();
    call.wait_ended();
    let event = switch().wait_event(|event| is(event, "disconnect") && event.header("Unique-ID") == Some(call.uuid()));
    assert_eq!(event.header("variable_greeting"), Some("hello"));
}

#[test]
fn a_server_that_opens_after_the_streams_end_gets_a_close() {
    for hangup in [false, true] {
        let call = call(parked());
        let gate = Gate::after(0);
        let server = WebSocketServer::start(Script::default().with_handshake(Handshake::Gate(gate.clone())));
        assert_eq!(api(&format!("{} start {} mono 8k", call.uuid(), server.url())), "+OK Success");
        assert!(eventually(PATIENCE, || server.at_gate() == 1), "the WebSocket is asked for");
        if hangup {
            call.hangup();
        } else {
            api(&format!("{} stop", call.uuid()));
        }
        // The end of the stream does not wait for the server.
        switch().wait_event(|event| is(event, "disconnect") && event.header("Unique-ID") == Some(call.uuid()));
        gate.open();
        let connection = server.connection(0);
        assert_eq!(connection.wait_end(), Received::Close(1_000, String::new()), "hangup: {hangup}");
        assert!(connection.texts().is_empty() && connection.audio_bytes() == 0, "nothing but the close is sent");
    }
}

#[test]
fn what_a_closing_server_leaves_is_heard_whole_on_a_slow_call() {
    for attempt in 1.. {
        let call = call(playing());
        let stream = Stream::start(&call, "mono 8k");
        let said = signal::speech(8_000, 1_000, 47);
        stream.play(Play::mono(said.clone(), 8_000));
        let from = switch().now();
        stream.connection.order(Action::Close(1_000, "done".into()));
        stream.wait_event("disconnect");
        // A third of the pace at which a call is due.
        for _ in 0..60 {
            pass_by_keys(&call, &stream, 1);
            thread::sleep(Duration::from_millis(60));
        }
        wait_detached(&call);
        if attempt < 8 && has_stood_still(&call, from) {
            continue;
        }
        let heard = call.heard();
        assert!(heard.windows(said.len()).any(|part| part == said), "the end is not heard: {}", heard.len());
        return;
    }
}

#[test]
fn a_failed_connection_is_an_error_event_and_the_call_goes_on() {
    let (_reserved, nobody) = deaf_port();
    let refuse = WebSocketServer::start(Script::default().with_handshake(Handshake::Refuse(503)));
    let slam = WebSocketServer::start(Script::default().with_handshake(Handshake::Slam));
    let garbage = WebSocketServer::start(Script::default().with_handshake(Handshake::Garbage));
    let never = WebSocketServer::start(Script::default().with_handshake(Handshake::Never));
    for (url, codes) in [
        (format!("ws://127.0.0.1:{nobody}/"), &[6][..]),
        ("ws://no-such-host.invalid/".to_owned(), &[6][..]),
        (refuse.url(), &[2, 6][..]),
        (slam.url(), &[1, 2, 6][..]),
        (garbage.url(), &[2][..]),
        (format!("{} mono 8k connect_timeout_ms=200", never.url()), &[10][..]),
    ] {
        let call = call(playing());
        assert_eq!(api(&format!("{} start {url}", call.uuid())), "+OK Success");
        let of_call = |kind: &'static str| {
            switch().wait_event(|event| is(event, kind) && event.header("Unique-ID") == Some(call.uuid()))
        };
        let error = of_call("error").json();
        let code = error["message"]["code"].as_u64().unwrap();
        assert!(codes.contains(&code), "{url}: {error}");
        assert!(error["message"]["error"].as_str().is_some_and(|text| text.len() > 5), "{url}: {error}");
        assert_eq!(of_call("disconnect").json()["message"]["code"], 1006, "{url}");
        streams_again(&call);
    }
}

#[test]
fn a_close_by_the_server_is_reported_with_its_code_and_reason() {
    let call = call(playing());
    let close = Script::of([Action::AfterBytes(640), Action::Close(4_001, "enough \"said\"".into())]);
    let stream = Stream::start_as(&call, "default", close, "mono 8k");
    call.tick(3);
    let event = stream.wait_event("disconnect");
    let expected = json!({"status": "disconnected", "message": {"code": 4001, "reason": "enough \"said\""}});
    assert_eq!(event.json(), expected);
    assert_eq!(
        (event.header("Audio-Stream-Code"), event.header("Audio-Stream-Reason")),
        (Some("4001"), Some("enough \"said\""))
    );
    assert!(stream.events("error").is_empty(), "which is no error");
    streams_again(&call);
}

#[test]
fn a_name_is_free_again_at_the_disconnect_event() {
    for round in 0..20 {
        let call = call(playing());
        let play = Action::Play(Play::mono(signal::tone(8_000, SERVER, 3_000, LOUD), 8_000));
        let end = [Action::Close(1000, "done".into()), Action::Reset][round % 2].clone();
        let first = Stream::start_as(&call, "default", Script::of([play, end]), "mono 8k");
        first.wait_event("disconnect");
        let next = Stream::start(&call, "mono 8k");
        let (said, answer) = (signal::speech(8_000, 100, 113), signal::speech(8_000, 200, 127));
        let from = call.heard_count();
        next.play(Play::mono(answer.clone(), 8_000));
        call.speak(&said);
        pass(&call, &[&next], 12);
        assert_eq!(call.heard_from(from)[..answer.len()], answer[..], "nothing of the first is heard any more");
        assert_eq!(next.stop()[..said.len()], said[..]);
        assert_eq!(call.bugs(), 0);
    }
}

#[test]
fn a_server_that_vanishes_is_reported_and_the_call_goes_on() {
    let half_a_frame = || Action::Raw([&[0x81, 126, 0x03, 0xe8][..], b"{\"type"].concat());
    let no_such_opcode = || Action::Raw(vec![0x83, 0x00]);
    for actions in
        [vec![Action::Reset], vec![Action::Drop], vec![half_a_frame(), Action::Reset], vec![no_such_opcode()]]
    {
        let call = call(playing());
        let script = Script::of([vec![Action::AfterBytes(640)], actions].concat());
        let stream = Stream::start_as(&call, "default", script, "mono 8k");
        call.tick(3);
        let event = stream.wait_event("disconnect").json();
        assert_ne!(event["message"]["code"], 1000, "{event}");
        streams_again(&call);
    }
}

#[test]
fn a_server_that_no_longer_answers_pings_is_given_up() {
    let call = call(playing());
    let stream = Stream::start_as(&call, "default", Script::of([Action::Freeze]), "mono 8k heartbeat_s=1");
    call.tick(1);
    assert_eq!(stream.wait_event("error").json()["message"]["code"], 5);
    stream.wait_event("disconnect");
    streams_again(&call);
}

#[test]
fn the_text_of_stop_arrives_even_when_the_worker_is_busy() {
    // The order and the bug's end come within microseconds, and now and then the worker sees the end first.
    for round in 0..60 {
        let call = call(parked());
        let stream = Stream::start(&call, "mono 8k");
        stream.wait_event("connect");
        call.tick(2);
        stream.ok("stop bye");
        stream.connection.wait_end();
        assert_eq!(stream.texts(), ["bye"], "round {round}");
        assert_eq!(stream.connection.audio_bytes(), 640, "round {round}");
    }
}

#[test]
fn the_last_log_line_of_a_stream_has_its_totals() {
    let call = call(playing());
    let stream = Stream::start(&call, "mono 8k");
    stream.play(Play::mono(signal::tone(8_000, SERVER, 100, LOUD), 8_000));
    pass(&call, &[&stream], 10);
    stream.stop();
    wait_detached(&call);
    let uuid = call.uuid().to_owned();
    let ours = |log: &Log| log.uuid.as_deref() == Some(&*uuid);
    let last = switch().wait_log(|log| ours(log) && log.text.contains("LIFECYCLE stream_closed ok"));
    assert_eq!(last.level, level::NOTICE);
    for total in ["stream=default", "frames=10", "dropped_frames=0", "messages=10", "played_ms=100", "uptime_ms="] {
        assert!(last.text.contains(total), "{total} in {}", last.text);
    }
}

#[test]
fn a_busy_stream_logs_fewer_than_ten_lines_a_second() {
    let call = call(playing());
    let stream = Stream::start(&call, "mono 8k max_queue_ms=1000");
    stream.wait_event("connect");
    let uuid = call.uuid().to_owned();
    let lines = || {
        let ours = |log: &Log| log.uuid.as_deref() == Some(&*uuid) && log.level <= level::INFO;
        switch().logs().iter().filter(|log| ours(log)).count()
    };
    let (before, began) = (lines(), Instant::now());
    // Each second: marks, keys, texts that are no JSON, messages that cannot be played.
    const SECONDS: usize = 2;
    for round in 0..SECONDS * 10 {
        stream.connection.order(Action::Text(format!("no JSON {round}")));
        stream.connection.order(Action::Text(r#"{"type":"playAudio","data":{}}"#.to_owned()));
        stream.play(Play::mono(signal::tone(8_000, SERVER, 60, LOUD), 8_000));
        pass_paced(&call, &[&stream], 5, 20);
    }
    // The test's own commands are lines, too.
    let (lines, seconds) = (lines() - before, began.elapsed().as_secs() as usize + 1);
    assert!(lines < seconds * 10, "{lines} lines in {seconds} s");
}

#[test]
fn each_stream_of_a_call_has_its_own_end() {
    let call = call(playing());
    let names = ["a", "b", "c", "d"];
    let streams = names.map(|name| Stream::start_as(&call, name, Script::default(), "mono 8k"));
    streams[1].connection.order(Action::Close(4_002, "b".into()));
    streams[2].connection.order(Action::Reset);
    streams[0].ok("stop");
    streams[1].wait_event("disconnect");
    streams[2].wait_event("disconnect");
    call.wait_until("three have left", |call| {
        call.tick(1);
        call.bugs() == 1
    });
    streams[3].sync();
    call.hangup();
    streams[3].wait_event("disconnect");
    for stream in &streams {
        assert_eq!(stream.wait_events("disconnect", 1).len(), 1, "{}", stream.name);
    }
}

/// A number from 0 to `limit` that differs each time and not from run to run.
fn next(state: &mut u64, limit: u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state % limit
}

#[test]
fn hangups_stops_and_closes_at_any_moment_leave_nothing_behind() {
    const CALLERS: u64 = 6;
    const CALLS: usize = 16;
    let echoing = || WebSocketServer::start(Script::echo(Echo::StreamAudio { rate: 16_000, channels: 1 }));
    let servers = [
        echoing(),
        WebSocketServer::start(Script::of([Action::Play(Play::mono(signal::tone(8_000, SERVER, 4_000, LOUD), 8_000))])),
        WebSocketServer::start(Script { never_read: true, ..Script::default() }),
        WebSocketServer::start(Script::of([Action::Wait(Duration::from_millis(60)), Action::Reset])),
        WebSocketServer::start(Script::of([
            Action::Wait(Duration::from_millis(90)),
            Action::Close(1000, String::new()),
        ])),
        WebSocketServer::start(Script::default().with_handshake(Handshake::Late(Duration::from_millis(80)))),
        WebSocketServer::start(Script::default().with_handshake(Handshake::Never)),
        WebSocketServer::start(Script::of([Action::Flood("{\"type\":1}".into(), Duration::from_millis(200))])),
    ];
    let caller = |number: u64| {
        let mut random = 0x9e37_79b9_7f4a_7c15 ^ (number + 1) << 17;
        let mut random = move |limit: u64| next(&mut random, limit);
        let mut uuids = Vec::new();
        for _ in 0..CALLS {
            let kind = [CallKind::Parked, CallKind::Playing, CallKind::Echo][random(3) as usize];
            let rate = [8_000, 16_000, 48_000][random(3) as usize];
            let ptime_ms = [10, 20][random(2) as usize];
            let call = call(CallOptions { kind, rate, ptime_ms, ..CallOptions::default() });
            call.speak(&signal::tone(rate, 300.0, 2_000, LOUD));
            for _ in 0..3 + random(9) {
                let name = ["one", "two"][random(2) as usize];
                let server = &servers[random(servers.len() as u64) as usize];
                let mix = ["mono", "mixed", "stereo"][random(3) as usize];
                let command = match random(9) {
                    0..=3 => format!("start name={name} {} {mix} 16k", server.url()),
                    4 => format!("stop name={name} bye"),
                    5 => format!("pause name={name}"),
                    6 => format!("resume name={name}"),
                    7 => format!("clear name={name}"),
                    _ => format!("send_text name={name} {{}}"),
                };
                let reply = api(&format!("{} {command}", call.uuid()));
                assert!(reply.starts_with("+OK") || reply.starts_with("-ERR "), "{command}: {reply}");
                match random(12) {
                    0 => call.set_codec([8_000, 16_000][random(2) as usize], 20, 1),
                    1 => call.hold(random(2) == 0),
                    2 => call.set_kind(CallKind::Playing),
                    _ => {}
                }
                thread::sleep(Duration::from_millis(random(40)));
            }
            uuids.push(call.uuid().to_owned());
            // Dropping it hangs up, and waits for the session to be gone.
        }
        uuids
    };
    let uuids: Vec<String> = thread::scope(|scope| {
        let callers: Vec<_> = (0..CALLERS).map(|number| scope.spawn(move || caller(number))).collect();
        callers.into_iter().flat_map(|caller| caller.join().unwrap()).collect()
    });
    let mine = |text: &str| uuids.iter().any(|uuid| text.contains(uuid.as_str()));
    assert!(eventually(PATIENCE, || !mine(&api("list"))), "{}", api("list"));
    let logs = switch().logs();
    let started = logs.iter().filter(|log| log.text.contains("stream_start ok") && mine(&log.text)).count();
    assert!(started > 100, "{started} streams were started");
    let last = |event: &&Event| is(event, "disconnect") && event.header("Unique-ID").is_some_and(&mine);
    let ended = || switch().look(|events, _| events.iter().filter(last).count());
    eventually(PATIENCE, || ended() >= started);
    assert_eq!(ended(), started, "each has one final event");
    let events = switch().events();
    assert!(events.iter().all(|event| !event.in_media_callback));
    assert!(logs.iter().all(|log| !log.in_media_callback && !log.text.contains(" panic ")));
}

#[test]
fn stopping_a_stream_does_not_affect_the_others() {
    let (one, two) = (call(parked()), call(parked()));
    let (first, second) = (Stream::start(&one, "mono 8k"), Stream::start(&two, "mono 8k"));
    first.stop();
    wait_detached(&one);
    let said = signal::speech(8_000, 200, 79);
    two.speak(&said);
    pass(&two, &[&second], 10);
    assert_eq!(second.stop(), said);
}
