//! `protocol=asterisk` over the built module: flow control, marks and holds by what the caller has heard, and what the call does.

use std::thread;
use std::time::{Duration, Instant};

use crate::calls::{LOUD, Stream, call, has_stood_still, parked, playing, switch};
use crate::host::{CallOptions, flag};
use crate::support::websocket_server::{Action, Handshake, PATIENCE, Script};
use crate::support::{audio, signal};
use mod_audio_stream::units::Law;
use serde_json::{Value, json};

const FRAME: usize = 160;

fn server() -> Script {
    Script::default().with_handshake(Handshake::Subprotocol("media"))
}

fn order(stream: &Stream<'_>, command: &Value) {
    stream.connection.order(Action::Text(command.to_string()));
}

fn events(stream: &Stream<'_>, name: &str) -> Vec<Value> {
    let texts = stream.texts();
    texts.iter().map(|text| serde_json::from_str(text).unwrap()).filter(|json: &Value| json["event"] == name).collect()
}

/// The status once everything ordered so far has been handled.
#[track_caller]
fn status(stream: &Stream<'_>) -> Value {
    let before = events(stream, "STATUS").len();
    order(stream, &json!({"command": "GET_STATUS"}));
    let end = Instant::now() + PATIENCE;
    while events(stream, "STATUS").len() == before {
        assert!(Instant::now() < end, "no status comes: {:?}", stream.texts());
        thread::sleep(Duration::from_millis(1));
    }
    events(stream, "STATUS").pop().unwrap()
}

/// Lets `frames` frames pass, and the stream's worker look at each; events may come after its answer.
#[track_caller]
fn pass(stream: &Stream<'_>, frames: usize) {
    for _ in 0..frames {
        stream.call.tick(1);
        let text = format!("sync {}", stream.call.heard_count());
        stream.ok(&format!("send_text {text}"));
        stream.connection.wait_text(|received| received == text);
    }
}

fn ulaw(samples: &[i16]) -> Vec<u8> {
    let mut bytes = Vec::new();
    Law::Mu.encode(samples, &mut bytes);
    bytes
}

#[test]
fn an_asterisk_server_is_told_when_to_stop_and_what_was_heard() {
    let call = call(playing());
    call.set_variable("channel_name", "sofia/internal/1000@host");
    let options = r#"protocol=asterisk control_format=json inject_buffer_ms=2000 {"bot":"b"}"#;
    let stream = Stream::start_as(&call, "default", server(), options);
    call.speak(&signal::tone(8_000, 440.0, 100, LOUD));
    pass(&stream, 5);
    let start: Value = serde_json::from_str(&stream.texts()[0]).unwrap();
    assert_eq!(
        start,
        json!({
            "event": "MEDIA_START", "connection_id": call.uuid(), "channel": "sofia/internal/1000@host",
            "channel_id": call.uuid(), "format": "ulaw", "optimal_frame_size": 160, "ptime": 20,
            "channel_variables": {"bot": "b"},
        })
    );
    let captured = stream.connection.binaries();
    assert!(captured.len() >= 4 && captured.iter().all(|message| message.len() == FRAME), "{}", captured.len());

    // 600 ms in pieces of any size, and a mark in the middle.
    let said = ulaw(&signal::speech(8_000, 600, 17));
    let from = call.heard_count();
    order(&stream, &json!({"command": "START_MEDIA_BUFFERING"}));
    said[..2_400].chunks(777).for_each(|piece| stream.connection.order(Action::Binary(piece.to_vec())));
    order(&stream, &json!({"command": "MARK_MEDIA", "correlation_id": "half"}));
    said[2_400..].chunks(333).for_each(|piece| stream.connection.order(Action::Binary(piece.to_vec())));
    order(&stream, &json!({"command": "STOP_MEDIA_BUFFERING", "correlation_id": "whole"}));
    assert_eq!(status(&stream)["queue_length"], 30);
    let mut given = 0;
    while events(&stream, "MEDIA_MARK_PROCESSED").is_empty() {
        pass(&stream, 1);
        given = call.heard_count() - from;
        assert!(given < 16_000, "no mark comes");
    }
    let mut expected = Vec::new();
    Law::Mu.decode(&said, &mut expected);
    while events(&stream, "MEDIA_BUFFERING_COMPLETED").is_empty() {
        pass(&stream, 1);
        assert!(call.heard_count() - from < 16_000, "no end comes");
    }
    let heard = call.heard_from(from);
    let (at, _) = audio::find(&heard, &expected[..800]);
    assert_eq!(heard[at..at + expected.len()], expected[..]);
    assert!(
        (at + 2_400..=at + 2_400 + FRAME).contains(&given),
        "the mark comes after {given} samples, not {at} + 2400"
    );

    // Held, nothing is heard, and nothing is lost.
    order(&stream, &json!({"command": "PAUSE_MEDIA"}));
    stream.connection.order(Action::Binary(said.clone()));
    let held = status(&stream);
    assert_eq!((&held["queue_length"], &held["media_paused"]), (&json!(30), &json!(true)));
    let from = call.heard_count();
    pass(&stream, 20);
    let quiet = &call.heard_from(from)[FRAME..];
    assert!(quiet.iter().all(|sample| *sample == 0), "silence while the server holds its media: {quiet:?}");
    order(&stream, &json!({"command": "CONTINUE_MEDIA"}));
    order(&stream, &json!({"command": "REPORT_QUEUE_DRAINED"}));
    status(&stream);
    while events(&stream, "QUEUE_DRAINED").is_empty() {
        pass(&stream, 1);
        assert!(call.heard_count() - from < 16_000, "the queue does not end");
    }
    let heard = call.heard_from(from);
    let (at, _) = audio::find(&heard, &expected[800..1_600]);
    assert_eq!(heard[at..at + expected.len() - 800], expected[800..]);

    // 2 s fit: at 1.8 s the server is to stop, below 1.6 s to go on.
    let second = ulaw(&signal::tone(8_000, 700.0, 1_000, LOUD));
    stream.connection.order(Action::Binary(second[..6_400].to_vec()));
    status(&stream);
    assert_eq!(events(&stream, "MEDIA_XOFF").len(), 0);
    stream.connection.order(Action::Binary(second.clone()));
    stream.connection.wait_text(|text| text.contains("MEDIA_XOFF"));
    assert_eq!(status(&stream)["queue_full"], true);
    let from = call.heard_count();
    while events(&stream, "MEDIA_XON").is_empty() {
        pass(&stream, 1);
        assert!(call.heard_count() - from < 16_000, "no XON comes");
    }
    let given = (call.heard_count() - from) / FRAME;
    assert!((10..=25).contains(&given), "XON after {given} frames");

    // Flushed, a mark never comes.
    order(&stream, &json!({"command": "MARK_MEDIA", "correlation_id": "never"}));
    status(&stream);
    order(&stream, &json!({"command": "FLUSH_MEDIA"}));
    assert_eq!(status(&stream)["queue_length"], 0);
    pass(&stream, 2);
    let from = call.heard_count();
    pass(&stream, 5);
    assert!(call.heard_from(from).iter().all(|sample| *sample == 0), "silence after the flush");
    assert_eq!(events(&stream, "MEDIA_MARK_PROCESSED").len(), 1);
    assert_eq!(events(&stream, "ERROR"), Vec::<Value>::new());
}

#[test]
fn an_asterisk_server_answers_and_hangs_up_only_where_allowed() {
    let early = || {
        let call = call(CallOptions { answered: false, ..parked() });
        call.set_flag(flag::EARLY_MEDIA, true);
        call
    };
    let refused = early();
    let stream = Stream::start_as(&refused, "default", server(), "protocol=asterisk");
    for (command, words) in [("ANSWER", "answer the call"), ("HANGUP", "hang up the call")] {
        stream.connection.order(Action::Text(command.to_owned()));
        let error = format!("ERROR channel_id:{} error_text:not allowed to {words}", refused.uuid());
        stream.connection.wait_text(|text| text == error);
    }
    assert!(!refused.test_flag(flag::ANSWERED) && refused.bugs() == 1);
    let reason = stream.wait_event("error").header("Audio-Stream-Reason").unwrap_or_default().to_owned();
    assert!(reason.contains("allow=answer would let it"), "{reason}");

    let allowed = early();
    let stream = Stream::start_as(&allowed, "default", server(), "protocol=asterisk allow=answer,hangup");
    stream.connection.order(Action::Text("ANSWER".to_owned()));
    allowed.wait_until("it is answered", |call| call.test_flag(flag::ANSWERED));
    stream.connection.order(Action::Text("HANGUP".to_owned()));
    allowed.wait_ended();
    assert!(!refused.test_flag(flag::ANSWERED) && refused.bugs() == 1, "the other call goes on");
}

#[test]
fn media_that_a_server_held_is_heard_once_the_server_is_gone() {
    for attempt in 1.. {
        let call = call(playing());
        let stream = Stream::start_as(&call, "default", server(), "protocol=asterisk control_format=json");
        order(&stream, &json!({"command": "PAUSE_MEDIA"}));
        stream.connection.order(Action::Binary(ulaw(&signal::tone(8_000, 700.0, 400, LOUD))));
        assert_eq!(status(&stream)["queue_length"], 20);
        let from = switch().now();
        stream.connection.order(Action::Close(1_000, String::new()));
        stream.wait_event("disconnect");
        call.wait_until("the stream has left the call", |call| {
            call.tick(1);
            call.bugs() == 0
        });
        if attempt < 8 && has_stood_still(&call, from) {
            continue;
        }
        let loud = call.heard().iter().filter(|sample| sample.unsigned_abs() > 300).count();
        assert!(loud >= 2_500, "{loud} samples of 3200 are heard");
        return;
    }
}
