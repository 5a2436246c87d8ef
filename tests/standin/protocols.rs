//! The protocols over the built module: what their servers get, and what the caller hears of what they send.
//!
//! The messages themselves are in `tests/golden/`; here a whole stream speaks them.

use std::thread;
use std::time::{Duration, Instant};

use crate::calls::{ABSENT, CALLER, LOUD, Stream, call, parked, playing};
use crate::support::websocket_server::{Action, Handshake, PATIENCE, Received, Script};
use crate::support::{audio, signal};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mod_audio_stream::units::Law;
use serde_json::{Value, json};

fn messages(stream: &Stream<'_>, event: &str) -> Vec<Value> {
    let texts = stream.texts();
    texts.iter().map(|text| serde_json::from_str(text).unwrap()).filter(|json: &Value| json["event"] == event).collect()
}

fn order(stream: &Stream<'_>, message: &Value) {
    stream.connection.order(Action::Text(message.to_string()));
}

/// Waits until the stream has taken what the server sent for the caller.
#[track_caller]
fn wait_queued(stream: &Stream<'_>) {
    let end = Instant::now() + PATIENCE;
    while stream.health()["inject"]["buffer_inuse_bytes"] == 0 {
        assert!(Instant::now() < end, "nothing is queued: {}", stream.health());
        thread::sleep(Duration::from_millis(1));
    }
}

/// Lets `frames` frames pass, and the stream's worker look at each: like [`crate::calls::pass`], where captured audio is text, too.
#[track_caller]
fn pass(stream: &Stream<'_>, frames: usize) {
    for _ in 0..frames {
        stream.call.tick(1);
        let text = format!("sync {}", stream.call.heard_count());
        stream.ok(&format!("send_text {text}"));
        stream.connection.wait_text(|received| received == text);
    }
}

#[test]
fn a_twilio_server_hears_the_caller_and_gets_its_marks_back() {
    let call = call(playing());
    let stream = Stream::start(&call, r#"mono 16k protocol=twilio {"bot":"\"x\""}"#);
    call.speak(&signal::tone(8_000, CALLER, 400, LOUD));
    pass(&stream, 20);

    let connected: Value = serde_json::from_str(&stream.texts()[0]).unwrap();
    assert_eq!(connected, json!({"event": "connected", "protocol": "Call", "version": "1.0.0"}));
    let start = &messages(&stream, "start")[0];
    assert_eq!(start["start"]["callSid"], call.uuid());
    assert_eq!(start["start"]["customParameters"], json!({"bot": "\"x\""}));
    let media = messages(&stream, "media");
    let mut heard = Vec::new();
    for (index, message) in media.iter().enumerate() {
        let bytes = STANDARD.decode(message["media"]["payload"].as_str().unwrap()).unwrap();
        assert_eq!(bytes.len(), 160);
        assert_eq!(message["media"]["timestamp"], (index * 20).to_string());
        Law::Mu.decode(&bytes, &mut heard);
    }
    assert!(media.len() >= 18, "{} messages", media.len());
    let amplitude = audio::amplitude(&heard[320..], 8_000, CALLER);
    assert!((amplitude - LOUD).abs() < ABSENT, "{amplitude}");

    let mut said = Vec::new();
    Law::Mu.encode(&signal::speech(8_000, 300, 17), &mut said);
    let from = call.heard_count();
    order(&stream, &json!({"event": "media", "media": {"payload": STANDARD.encode(&said)}}));
    order(&stream, &json!({"event": "mark", "mark": {"name": "said"}}));
    wait_queued(&stream);
    let mut given = 0;
    while messages(&stream, "mark").is_empty() {
        pass(&stream, 1);
        given = call.heard_count() - from;
        assert!(given < 16_000, "no mark comes");
    }
    assert_eq!(messages(&stream, "mark")[0]["mark"]["name"], "said");
    let mut expected = Vec::new();
    Law::Mu.decode(&said, &mut expected);
    pass(&stream, 3);
    let heard = call.heard_from(from);
    let (at, _) = audio::find(&heard, &expected[..800]);
    assert_eq!(heard[at..at + expected.len()], expected[..]);
    let end = at + expected.len();
    assert!((end..=end + 160).contains(&given), "the mark comes after {given} samples; what it marks ends with {end}");
    assert_eq!(messages(&stream, "mark").len(), 1);

    said = said.repeat(10);
    order(&stream, &json!({"event": "media", "media": {"payload": STANDARD.encode(&said)}}));
    order(&stream, &json!({"event": "mark", "mark": {"name": "never \"heard\""}}));
    wait_queued(&stream);
    pass(&stream, 10);
    order(&stream, &json!({"event": "clear"}));
    stream.connection.wait_text(|text| text.contains("never"));
    let from = call.heard_count();
    pass(&stream, 10);
    let rest = call.heard_from(from);
    assert!(rest[160..].iter().all(|sample| *sample == 0), "silence within a frame of the clear");

    stream.ok("stop");
    assert!(matches!(stream.connection.wait_end(), Received::Close(1_000, _)));
    assert_eq!(messages(&stream, "stop").len(), 1);
}

#[test]
fn an_operators_clear_answers_the_marks_too() {
    let call = call(playing());
    let stream = Stream::start(&call, "protocol=exotel");
    order(&stream, &json!({"event": "media", "media": {"payload": STANDARD.encode([1; 32_000])}}));
    order(&stream, &json!({"event": "mark", "mark": {"name": "m"}}));
    wait_queued(&stream);
    pass(&stream, 5);
    assert_eq!(messages(&stream, "mark").len(), 0);
    stream.ok("clear");
    stream.connection.wait_text(|text| text.contains("\"mark\""));
    assert_eq!(messages(&stream, "mark")[0]["mark"]["name"], "m");
}

#[test]
fn an_audio_fork_server_gets_its_subprotocol_and_an_end_message() {
    let call = call(playing());
    let script = Script::default().with_handshake(Handshake::Subprotocol("audio.drachtio.org"));
    let stream = Stream::start_as(&call, "default", script, r#"protocol=audio_fork {"a": 1}"#);
    call.speak(&[7; 160]);
    pass(&stream, 1);
    assert_eq!(stream.texts(), [r#"{"a": 1}"#]);
    let said = signal::speech(8_000, 300, 31);
    stream.connection.order(Action::Binary(signal::to_bytes(&said)));
    wait_queued(&stream);
    pass(&stream, 20);
    let heard = call.heard();
    let (at, _) = audio::find(&heard, &said[..800]);
    assert_eq!(heard[at..at + said.len()], said[..]);
    stream.ok("stop");
    // This server does not close by itself.
    assert!(matches!(stream.connection.wait_end(), Received::Close(1_000, _)));
    let binaries = stream.connection.binaries();
    assert_eq!(binaries.last().unwrap(), &Vec::<u8>::new());
    assert!(binaries[..binaries.len() - 1].iter().all(|message| !message.is_empty()));
}

#[test]
fn a_request_that_is_not_allowed_is_refused_and_reported() {
    let call = call(parked());
    let stream = Stream::start(&call, "protocol=plivo");
    order(&stream, &json!({"event": "sendDTMF", "dtmf": "123"}));
    let error = stream.wait_event("error");
    let words = error.header("Audio-Stream-Reason").unwrap_or_default().to_owned();
    assert!(words.contains("send 3 keys of DTMF") && words.contains("allow=dtmf would let it"), "{words}");
    assert_eq!((call.bugs(), call.variable("host_sent_dtmf")), (1, None));
}

#[test]
fn what_the_server_may_ask_is_done() {
    let call = call(parked());
    let stream = Stream::start(&call, "protocol=plivo allow=dtmf");
    order(&stream, &json!({"event": "sendDTMF", "dtmf": "12#"}));
    call.wait_until("the digits", |call| call.variable("host_sent_dtmf").as_deref() == Some("12#"));
    let script = Script::default().with_handshake(Handshake::Subprotocol("audio.drachtio.org"));
    let bot = Stream::start_as(&call, "bot", script, "protocol=audio_fork allow=transfer,hangup");
    order(&bot, &json!({"type": "transfer", "data": {"destination": "1000"}}));
    call.wait_until("the transfer", |call| call.variable("host_transferred_to").as_deref() == Some("1000"));
    order(&bot, &json!({"type": "disconnect"}));
    call.wait_ended();
}
