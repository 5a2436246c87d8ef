//! Keys the caller presses, over the built module: what servers and event subscribers receive, and what the dialplan sees.

use crate::calls::{Stream, call, parked, wait_events};
use crate::host::{Call, CallOptions, Event};
use crate::support::websocket_server::{Action, Gate, Handshake, Script};
use serde_json::{Value, json};

/// The digits that a twilio server received.
fn told(stream: &Stream<'_>) -> String {
    let texts = stream.texts();
    let messages = texts.iter().map(|text| serde_json::from_str::<Value>(text).unwrap());
    let digits = messages.filter(|message| message["event"] == "dtmf");
    digits.map(|message| message["dtmf"]["digit"].as_str().unwrap().to_owned()).collect()
}

fn digits(events: &[Event]) -> String {
    events.iter().filter_map(|event| event.header("Audio-Stream-Digit")).collect()
}

/// Lets a frame pass, and each stream look at it: a text is answered before what came with the frame, a second one after it.
fn pass(call: &Call<'_>, streams: &[&Stream<'_>]) {
    call.tick(1);
    for stream in streams {
        for order in ["first", "second"] {
            let text = format!("sync {order} {}", call.frames_read());
            stream.ok(&format!("send_text {text}"));
            stream.connection.wait_text(|received| received == text);
        }
    }
}

#[test]
fn each_digit_reaches_every_stream_and_the_dialplan() {
    let call = call(parked());
    let bot = Stream::start_as(&call, "bot", Script::default(), "protocol=twilio");
    let drachtio = Script::default().with_handshake(Handshake::Subprotocol("audio.drachtio.org"));
    let fork = Stream::start_as(&call, "fork", drachtio, "protocol=audio_fork");
    call.press("1#a", 120);
    pass(&call, &[&bot, &fork]);
    assert_eq!(told(&bot), "1#A");
    let texts: Vec<Value> = fork.texts().iter().filter_map(|text| serde_json::from_str(text).ok()).collect();
    assert_eq!(texts[0], json!({"event": "dtmf", "dtmf": "1", "duration": "960"}), "in its protocol's form");
    for stream in [&bot, &fork] {
        let events = stream.wait_events("dtmf", 3);
        assert_eq!(digits(&events), "1#A");
        let body: Value = serde_json::from_str(events[0].body.as_deref().unwrap()).unwrap();
        assert_eq!(body, json!({"status": "dtmf", "digit": "1", "duration_ms": 120}));
    }
    assert_eq!(call.digits(), "1#a");

    // A stream that ends takes nothing from the other, and one that begins gets no earlier keys.
    bot.stop();
    let late = Stream::start_as(&call, "late", Script::default(), "protocol=twilio");
    call.press("9", 120);
    pass(&call, &[&fork, &late]);
    assert_eq!(
        (digits(&fork.wait_events("dtmf", 4)), told(&late), told(&bot)),
        ("1#A9".into(), "9".into(), "1#A".into())
    );
    assert_eq!(call.digits(), "1#a9");
}

#[test]
fn a_key_from_the_signalling_comes_with_the_next_frame() {
    let call = call(parked());
    let stream = Stream::start(&call, "protocol=twilio");
    call.press_by_signalling("42", 100);
    // Pauses and flashes are FreeSWITCH's own business.
    call.press_by_signalling("wWF", 100);
    pass(&call, &[&stream]);
    assert_eq!((told(&stream).as_str(), call.digits().as_str()), ("42", "42wWF"));
}

#[test]
fn a_key_lasts_as_long_at_every_rate() {
    for rate in [8_000, 16_000, 48_000] {
        let call = call(CallOptions { rate, ..parked() });
        let stream = Stream::start(&call, "protocol=twilio");
        call.press("7", 240);
        call.press_by_signalling("8", 240);
        pass(&call, &[&stream]);
        let lasted: Vec<_> = stream
            .wait_events("dtmf", 2)
            .iter()
            .map(|event| event.header("Audio-Stream-Duration-Ms").unwrap().to_owned())
            .collect();
        assert_eq!(lasted, ["240", "240"], "at {rate} Hz");
    }
}

#[test]
fn keys_of_a_pause_and_sensitive_ones_are_not_reported() {
    let call = call(parked());
    let stream = Stream::start(&call, "protocol=twilio");
    stream.ok("pause");
    call.press("4111", 100);
    pass(&call, &[&stream]);
    stream.ok("resume");
    pass(&call, &[&stream]);
    call.set_variable("sensitive_dtmf", "true");
    call.press("1234", 100);
    pass(&call, &[&stream]);
    call.set_variable("sensitive_dtmf", "false");
    call.press("0", 100);
    pass(&call, &[&stream]);
    assert_eq!((told(&stream).as_str(), digits(&stream.wait_events("dtmf", 1)).as_str()), ("0", "0"));
    assert_eq!(call.digits(), "411112340");
}

#[test]
fn pauses_between_sent_keys_delay_no_other_call() {
    let calls: Vec<_> = (0..5).map(|_| call(parked())).collect();
    let sent = |call: &Call<'_>| call.variable("host_sent_dtmf").unwrap_or_default();
    let streams: Vec<_> = calls
        .iter()
        .map(|call| {
            // By SIP INFO: FreeSWITCH would sleep through the pauses.
            call.set_variable("dtmf_type", "info");
            Stream::start(call, "protocol=plivo allow=dtmf")
        })
        .collect();
    let order = |stream: &Stream<'_>, keys: &str| {
        stream.connection.order(Action::Text(json!({"event": "sendDTMF", "dtmf": keys}).to_string()));
    };
    let (innocent, pausing) = streams.split_last().unwrap();
    for stream in pausing {
        order(stream, "1WWW2");
        stream.call.wait_until("the first key", |call| sent(call) == "1");
    }
    order(innocent, "3w4");
    innocent.call.wait_until("both keys", |call| sent(call) == "34");
    for stream in pausing {
        assert_eq!(sent(stream.call), "1", "none of the others had to end first");
    }
    for stream in pausing {
        stream.call.wait_until("the second key", |call| sent(call) == "12");
    }
}

#[test]
fn keys_pressed_before_the_connection_is_up_are_sent_later() {
    let call = call(parked());
    let gate = Gate::after(0);
    let script = Script::default().with_handshake(Handshake::Gate(gate.clone()));
    let server = crate::support::websocket_server::WebSocketServer::start(script);
    let start = format!("uuid_audio_stream {} start {} protocol=twilio", call.uuid(), server.url());
    assert_eq!(crate::calls::switch().api(&start), "+OK Success\n");
    call.press("12", 100);
    call.tick(1);
    wait_events(&call, "dtmf", 2);
    gate.open();
    let connection = server.connection(0);
    connection.wait_text(|text| text.contains(r#""digit":"2""#));
    let events: Vec<_> = connection.texts().iter().map(|text| serde_json::from_str::<Value>(text).unwrap()).collect();
    let names: Vec<_> = events.iter().map(|event| event["event"].as_str().unwrap()).take(4).collect();
    assert_eq!(names, ["connected", "start", "dtmf", "dtmf"]);
}
