//! Connections that are lost and made again: what the server and the caller get before, during and after.

use serde_json::{Value, json};

use crate::calls::{
    LOUD, SERVER, SERVER_AGAIN, Stream, call, events, parked, pass, pass_by_keys, playing, switch, wait_detached,
};
use crate::host::Call;
use crate::support::websocket_server::{Action, Form, Gate, Handshake, PATIENCE, Play, Script, WebSocketServer};
use crate::support::{audio, signal, wait_for};

/// The bodies of the call's events of a kind.
fn told(call: &Call<'_>, kind: &str) -> Vec<Value> {
    events(call, kind).iter().map(|event| event.json()).collect()
}

/// A server that lets in one connection, and the next when the gate is open.
fn gated() -> (Script, Gate) {
    let gate = Gate::after(1);
    (Script::default().with_handshake(Handshake::Gate(gate.clone())), gate)
}

#[test]
fn a_lost_connection_costs_neither_end_a_sample() {
    let (call, other) = (call(playing()), call(playing()));
    let (script, gate) = gated();
    let mut stream = Stream::start_as(
        &call,
        "default",
        script,
        r#"mono 8k reconnect_max=3 reconnect_ms=400 connect_timeout_ms=60000 inject_min_buffer_ms=0 {"caller":"1000"}"#,
    );
    let innocent = Stream::start(&other, "mono 8k");
    let said = signal::speech(8_000, 2_000, 5);
    call.speak(&said);
    other.speak(&said);
    let answer = signal::speech(8_000, 1_500, 6);
    stream.play(Play::mono(answer.clone(), 8_000).form(Form::Binary));
    pass(&call, &[&stream], 25);
    pass(&other, &[&innocent], 25);

    // The server dies in mid-answer: all of it has been received.
    stream.connection.order(Action::Reset);
    let event = stream.wait_event("reconnecting").json();
    let delay = event["delay_ms"].as_u64().unwrap();
    assert!((400..=500).contains(&delay), "{event}");
    let expected = json!({"status": "reconnecting", "attempt": 1, "attempts": 3, "delay_ms": delay, "code": 1006,
        "lost_messages": 0, "reason": "the server dropped the connection without a close (1006)"});
    assert_eq!(event, expected);
    assert_eq!((&stream.health()["state"], &stream.health()["health"]), (&json!("RECONNECTING"), &json!("UNHEALTHY")));
    stream.ok("send_text said meanwhile");
    pass_by_keys(&call, &stream, 25);
    pass(&other, &[&innocent], 25);

    gate.open();
    let before = std::mem::replace(&mut stream.connection, stream.server.connection(1));
    pass(&call, &[&stream], 50);
    pass(&other, &[&innocent], 50);
    let texts = stream.texts();
    assert_eq!(texts, [r#"{"caller":"1000"}"#, "said meanwhile"], "the metadata is first, then what waited");
    let heard_by_server = [before.audio(), stream.heard()].concat();
    assert_eq!(heard_by_server.len(), said.len());
    assert_eq!(heard_by_server, said, "before, during and after the loss");
    let heard = call.heard();
    let (at, _) = audio::find(&heard, &answer[..800]);
    assert_eq!(heard[at..at + answer.len()], answer, "what had been received is played to its end");
    assert_eq!(stream.health()["reconnects"], 1);
    assert_eq!((stream.events("connect").len(), stream.events("disconnect").len()), (2, 0));
    // And on it goes.
    let more = signal::tone(8_000, SERVER, 200, LOUD);
    stream.play(Play::mono(more.clone(), 8_000).form(Form::Binary));
    pass(&call, &[&stream], 25);
    let after = call.heard_from(heard.len());
    let (at, _) = audio::find(&after, &more);
    assert_eq!(after[at..at + more.len()], more);
    assert_eq!(innocent.stop(), said, "the other call has noticed nothing");
    stream.stop();
}

#[test]
fn audio_of_a_long_loss_is_bounded_and_the_oldest_goes() {
    let call = call(parked());
    let (script, gate) = gated();
    let line = "mono 8k reconnect_max=1 reconnect_ms=10 connect_timeout_ms=60000 max_queue_ms=1000";
    let mut stream = Stream::start_as(&call, "default", script, line);
    let said = signal::speech(8_000, 2_000, 9);
    stream.connection.order(Action::Drop);
    stream.wait_event("reconnecting");
    call.speak(&said);
    pass_by_keys(&call, &stream, 100);
    wait_for("a second is dropped", PATIENCE, || {
        (stream.health()["capture"]["send_dropped_ms"] == 1_000).then_some(())
    });
    let overflow = stream.wait_event("overflow").json();
    assert_eq!(overflow["queue"], "send");
    gate.open();
    stream.connection = stream.server.connection(1);
    assert_eq!(stream.heard(), said[8_000..], "the newest second");
    stream.stop();
}

#[test]
fn what_the_socket_had_not_taken_goes_with_the_next_connection() {
    let call = call(parked());
    let mut stream = Stream::start(&call, "mono 48k reconnect_max=1 reconnect_ms=100 max_queue_ms=60000 buffer_ms=100");
    let minute = signal::speech(8_000, 60_000, 3);
    stream.connection.order(Action::Freeze);
    // Until the sockets of both ends are full, and some audio waits behind them.
    let mut said = Vec::new();
    let waiting = || stream.health()["capture"]["delay_ms"].as_f64().unwrap_or_default();
    while waiting() < 6_000.0 {
        assert!(said.len() < 10 * minute.len() && stream.events("reconnecting").is_empty(), "{}", stream.health());
        let next = &minute[said.len() % minute.len()..][..8_000];
        call.speak(next);
        said.extend_from_slice(next);
        for _ in 0..10 {
            call.tick(4);
            pass_by_keys(&call, &stream, 1);
        }
    }
    stream.connection.order(Action::Reset);
    stream.wait_event("reconnecting");
    stream.connection = stream.server.connection(1);
    let after = signal::speech(8_000, 500, 4);
    call.speak(&after);
    said.extend_from_slice(&after);
    pass(&call, &[&stream], 25);
    let got = stream.stop();
    let got: Vec<i16> = got.iter().step_by(6).copied().collect();
    assert!(got.len() > 8_000 * 5, "{} samples", got.len());
    // The end of what was said, in one piece: nothing twice, nothing left out.
    let expected = &said[said.len() - got.len()..];
    let (at, likeness) = audio::find(&got, &expected[..4_000]);
    assert!(at < 80 && likeness > 0.95, "the beginning is at {at}, like {likeness:.2}");
    for from in (4_000..got.len() - 8_000).step_by(8_000) {
        let (at_there, likeness) = audio::find(&got[from..from + 5_000], &expected[from..from + 4_000]);
        assert!(at_there.abs_diff(at) <= 1 && likeness > 0.95, "at {from}: {at_there}, like {likeness:.2}");
    }
}

#[test]
fn a_stop_or_hangup_during_the_wait_ends_at_once() {
    for hangs_up in [false, true] {
        let call = call(parked());
        let stream = Stream::start(&call, "mono 8k reconnect_max=9 reconnect_ms=30000");
        stream.connection.order(Action::Drop);
        stream.wait_event("reconnecting");
        if hangs_up {
            call.hangup();
        } else {
            stream.ok("stop");
            wait_detached(&call);
        }
        let reason = if hangs_up { "the call ended" } else { "stopped" };
        let gone = stream.wait_event("disconnect").json();
        assert_eq!(gone["message"], json!({"code": 1000, "reason": reason}));
        assert!(stream.events("error").is_empty(), "it was asked to end");
        assert_eq!(stream.server.accepted(), 1);
    }
}

#[test]
fn a_close_that_is_meant_is_not_followed_by_an_attempt() {
    for code in [1_000, 1_002, 1_003, 1_007, 1_008, 1_009, 1_010] {
        let call = call(parked());
        let stream = Stream::start(&call, "mono 8k reconnect_max=9 reconnect_ms=10");
        stream.connection.order(Action::Close(code, "meant".into()));
        let gone = stream.wait_event("disconnect").json();
        assert_eq!(gone["message"], json!({"code": code, "reason": "meant"}));
        assert!(stream.events("reconnecting").is_empty(), "{code}");
        wait_detached(&call);
    }
    for (status, tries) in [(403, 1), (404, 1), (408, 3), (429, 3), (503, 3)] {
        let server = WebSocketServer::start(Script::default().with_handshake(Handshake::Refuse(status)));
        let call = call(playing());
        let line = format!("{} start {} mono 8k reconnect_max=2 reconnect_ms=10", call.uuid(), server.url());
        assert_eq!(crate::calls::api(&line), "+OK Success");
        wait_for("the end", PATIENCE, || told(&call, "disconnect").pop());
        assert_eq!(server.accepted(), tries, "{status}");
        let attempts: Vec<_> = told(&call, "reconnecting").into_iter().map(|event| event["attempt"].clone()).collect();
        assert_eq!(attempts, (1..tries).map(Value::from).collect::<Vec<_>>(), "{status}");
        assert_eq!((told(&call, "error").len(), told(&call, "disconnect").len()), (1, 1), "{status}: told once");
        wait_detached(&call);
    }
}

#[test]
fn a_mark_of_before_the_loss_is_told_the_operator_alone() {
    let call = call(playing());
    let line = "mono 8k protocol=twilio reconnect_max=2 reconnect_ms=100 inject_min_buffer_ms=0";
    let server = WebSocketServer::start(Script::default());
    let reply = switch().api(&format!("uuid_audio_stream {} start {} {line}", call.uuid(), server.url()));
    assert_eq!(reply, "+OK Success\n");
    let first = server.connection(0);
    first.wait_text(|text| text.contains(r#""event":"start""#));
    let media = |hz: f64| {
        let mulaw = signal::tone(8_000, hz, 400, LOUD).into_iter().map(mulaw).collect::<Vec<_>>();
        let payload = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, mulaw);
        Action::Text(format!(r#"{{"event":"media","media":{{"payload":"{payload}"}}}}"#))
    };
    let mark = |name: &str| Action::Text(format!(r#"{{"event":"mark","mark":{{"name":"{name}"}}}}"#));
    for action in [media(SERVER), mark("before"), Action::Drop] {
        first.order(action);
    }
    let second = server.connection(1);
    let start = second.wait_text(|text| text.contains(r#""event":"start""#));
    let start: Value = serde_json::from_str(&start).unwrap();
    assert_eq!((&start["sequenceNumber"], &start["streamSid"]), (&json!("1"), &json!(call.uuid())));
    assert_eq!(second.texts()[0], first.texts()[0], "it begins as the first one did");
    for action in [media(SERVER_AGAIN), mark("after")] {
        second.order(action);
    }
    let marks = || told(&call, "playback").into_iter().filter(|event| event["status"] == "mark").collect::<Vec<_>>();
    let both = wait_for("both marks", PATIENCE, || {
        call.tick(1);
        std::thread::sleep(std::time::Duration::from_millis(10));
        Some(marks()).filter(|marks| marks.len() == 2)
    });
    let named: Vec<_> = both.iter().map(|mark| (mark["mark"].clone(), mark["heard"].clone())).collect();
    assert_eq!(named, [(json!("before"), json!(true)), (json!("after"), json!(true))]);
    second.wait_text(|text| text.contains(r#""mark":{"name":"after"}"#));
    assert!(!second.texts().iter().any(|text| text.contains("before")), "the new connection knows nothing of it");
    call.hangup();
}

/// G.711 µ-law of a sample, by the definition.
fn mulaw(sample: i16) -> u8 {
    let sign = if sample < 0 { 0x80 } else { 0 };
    let magnitude = (i32::from(sample).abs() + 132).min(32_635);
    let exponent = (magnitude >> 7).ilog2().min(7);
    let mantissa = (magnitude >> (exponent + 3)) & 0x0f;
    !(sign | (exponent as u8) << 4 | mantissa as u8)
}
