//! A server that sends what it should not, too much of it, or takes nothing: that is reported and bounded, and the call goes
//! on.

use std::thread;
use std::time::{Duration, Instant};

use crate::calls::{LOUD, SERVER, Stream, call, parked, pass, playing, switch};
use crate::host::CallOptions;
use crate::support::websocket_server::{Action, Form, PATIENCE, Play, Script, stream_audio};
use crate::support::{eventually, signal};

/// Both directions still work.
#[track_caller]
fn goes_on(stream: &Stream<'_>, what: &str) {
    let (said, answer) = (signal::speech(8_000, 200, 83), signal::speech(8_000, 200, 89));
    let (from, sent) = (stream.call.heard_count(), stream.heard().len());
    stream.play(Play::mono(answer.clone(), 8_000));
    stream.call.speak(&said);
    // And past the 60 ms that are made up where more is expected of a server: what follows them would glide in.
    pass(stream.call, &[stream], 16);
    assert_eq!(stream.call.heard_from(from)[..answer.len()], answer[..], "{what}");
    assert_eq!(stream.heard()[sent..sent + said.len()], said[..], "{what}");
    assert!(stream.events("disconnect").is_empty(), "{what}");
}

/// Reports of something that is told once in five seconds, at most, since it began.
fn most_reports(began: Instant) -> usize {
    began.elapsed().as_secs() as usize / 5 + 1
}

#[test]
fn each_malformed_message_is_an_error_event_and_nothing_more() {
    let audio = |fields: &str| format!(r#"{{"type":"streamAudio","data":{{{fields}}}}}"#);
    let raw = r#""audioDataType":"raw","sampleRate":8000"#;
    let text = |text: &str| Action::Text(text.to_owned());
    let cases: Vec<(Action, &str)> = vec![
        (text(r#"{"type":"streamAudio","data":"#), "JSON"),
        (text("{oops}"), "JSON"),
        (text(&audio(&format!(r#"{raw},"audioData":"!!!!""#))), "base64"),
        (text(&audio(&format!(r#"{raw},"audioData":"AAA""#))), "base64"),
        (text(&audio(&format!(r#"{raw},"audioData":7"#))), "audioData"),
        (text(&audio(raw)), "audioData is missing"),
        (text(&audio(r#""sampleRate":8000,"audioData":"AAAA""#)), "audioDataType is missing"),
        (text(&audio(r#""audioDataType":"raw","audioData":"AAAA""#)), "sampleRate is missing"),
        (text(&audio(r#""audioDataType":"raw","sampleRate":0,"audioData":"AAAA""#)), "sampleRate"),
        (text(&audio(r#""audioDataType":"raw","sampleRate":-8000,"audioData":"AAAA""#)), "sampleRate"),
        (text(&audio(r#""audioDataType":"raw","sampleRate":1e30,"audioData":"AAAA""#)), "sampleRate"),
        (text(&audio(r#""audioDataType":"raw","sampleRate":"fast","audioData":"AAAA""#)), "sampleRate"),
        (text(&audio(&format!(r#"{raw},"channels":7,"audioData":"AAAA""#))), "channels"),
        (text(&audio(r#""audioDataType":"flac","sampleRate":8000,"audioData":"AAAA""#)), "audioDataType"),
        (text(&audio(r#""audioDataType":"%s%n%s","sampleRate":8000,"audioData":"AAAA""#)), "%s%n%s"),
        (text(&audio(&format!(r#"{raw},"audioData":"{}""#, "A".repeat(2_000)))), "max_audio_base64_len"),
        (text(&audio(r#""file":"/etc/passwd""#)), "file"),
        (text(&"x".repeat(80_000)), "more than the limit"),
        (Action::Raw(vec![0x81, 3, b'a', 0xff, 0xfe]), "UTF-8"),
        (Action::Binary(vec![1, 2, 3]), "binary"),
        (Action::Binary(vec![0; 80_000]), "more than the limit"),
    ];
    for (action, word) in cases {
        let call = call(playing());
        let stream = Stream::start(&call, "mono 8k binary_rate=off max_audio_base64_len=1000");
        stream.connection.order(action);
        let event = stream.wait_event("error");
        let (body, header) = (event.json(), event.header("Audio-Stream-Reason").unwrap().to_owned());
        let error = body["message"]["error"].as_str().unwrap();
        assert!(error.contains(word) && header.contains(word), "'{word}': {error}");
        assert_eq!((body["status"].as_str(), body["message"]["code"].as_u64()), (Some("error"), Some(11)), "{word}");
        assert!(stream.events("play").is_empty(), "{word}: nothing of it is played");
        let warned = |log: &crate::host::Log| {
            log.uuid.as_deref() == Some(call.uuid()) && log.level == crate::host::level::WARNING
        };
        switch().wait_log(|log| warned(log) && log.text.contains("WS_STREAM receive refused"));
    }
}

#[test]
fn after_malformed_messages_both_directions_work() {
    let call = call(playing());
    let stream = Stream::start(&call, "mono 8k binary_rate=off");
    for action in [
        Action::Text("{".into()),
        Action::Text(
            r#"{"type":"streamAudio","data":{"audioDataType":"raw","sampleRate":8000,"audioData":"A"}}"#.into(),
        ),
        Action::Binary(vec![0; 999]),
        Action::Raw(vec![0x81, 1, 0xff]),
        Action::Text("x".repeat(2_000_000)),
        Action::Ping,
    ] {
        stream.connection.order(action);
        stream.heed();
        goes_on(&stream, "after something malformed");
    }
}

#[test]
fn what_is_no_audio_is_a_json_event_verbatim() {
    let call = call(parked());
    let stream = Stream::start(&call, "mono 8k");
    let texts = [
        r#"{"type":"transcription", "text": "a  \"b\" %s %n ${uuid} é"}"#,
        "just words: 100%s",
        "[1, 2]",
        "null",
        "ARRAY::one|:two",
        &format!("{}1{}", "[".repeat(300), "]".repeat(300)),
    ];
    for text in texts {
        stream.connection.order(Action::Text(text.into()));
    }
    stream.heed();
    let bodies: Vec<_> = stream.events("json").into_iter().map(|event| event.body.unwrap_or_default()).collect();
    assert_eq!(bodies[..texts.len()], texts);
    assert!(stream.events("error").is_empty());
}

#[test]
fn a_flood_of_bad_messages_is_reported_once_in_five_seconds() {
    let call = call(playing());
    let stream = Stream::start(&call, "mono 8k");
    let began = Instant::now();
    for _ in 0..3_000 {
        stream.connection.order(Action::Text("{not json".into()));
    }
    stream.heed();
    goes_on(&stream, "after the flood");
    let errors = stream.events("error").len();
    assert!((1..=most_reports(began)).contains(&errors), "{errors} events");
    let lines = switch().look(|_, logs| {
        logs.iter().filter(|log| log.uuid.as_deref() == Some(call.uuid()) && log.text.contains("refused")).count()
    });
    assert!((1..=most_reports(began)).contains(&lines), "{lines} lines");
}

#[test]
fn a_flood_of_texts_keeps_nobody_from_being_heard() {
    let call = call(playing());
    let flood = vec![Action::Text(r#"{"type":"noise"}"#.into()); 4_000];
    let stream = Stream::start_as(&call, "default", Script::of(flood), "mono 8k");
    let said = signal::speech(8_000, 600, 97);
    call.speak(&said);
    pass(&call, &[&stream], 30);
    let health = stream.health();
    assert_eq!(health["capture"]["dropped_frames"], 0, "{health}");
    assert_eq!(stream.heard()[..said.len()], said[..]);
    stream.heed();
    goes_on(&stream, "after the flood");
}

/// Ten seconds of audio a message, a quarter of an hour in all, as fast as the socket takes them.
fn flood_of_audio() -> Script {
    let message = stream_audio(&signal::to_bytes(&signal::tone(8_000, SERVER, 10_000, LOUD)), 8_000, 1);
    Script::of(vec![Action::Text(message); 90])
}

#[test]
fn a_flood_of_audio_costs_bounded_memory_and_loses_nothing() {
    let (call, innocent) = (call(playing()), call(playing()));
    let beside = Stream::start(&innocent, "mono 8k");
    let stream = Stream::start_as(&call, "default", flood_of_audio(), "mono 8k inject_buffer_ms=1000");
    let waiting = || stream.health()["inject"]["buffer_inuse_bytes"].as_u64().unwrap();
    assert!(eventually(PATIENCE, || waiting() >= 66_000 * 16), "{}", stream.health());
    goes_on(&beside, "beside the flood");
    // The call goes on: one without a frame for five seconds is no healthy one.
    pass(&call, &[&stream], 1);
    let health = stream.health();
    // A second, the MiB that is read ahead, a message, and the ring.
    assert!(waiting() <= 77_000 * 16, "{health}");
    assert_eq!((&health["inject"]["overflow_count"], &health["health"]), (&0.into(), &"HEALTHY".into()), "{health}");
    stream.connection.order(Action::Text("end".into()));
    // What is left of the flood lies in the sockets, and each clear makes room for more of it.
    let ended = || stream.events("json").iter().any(|event| event.header("Audio-Stream-Message") == Some("end"));
    let cleared = eventually(PATIENCE, || {
        stream.ok("clear");
        pass(&call, &[&stream], 1);
        ended()
    });
    assert!(cleared, "{}", stream.health());
    stream.ok("clear");
    pass(&call, &[&stream], 2);
    goes_on(&stream, "after the flood");
}

#[test]
fn a_flood_of_audio_that_is_dropped_is_an_overflow_event() {
    let call = call(playing());
    let stream = Stream::start_as(&call, "default", flood_of_audio(), "mono 8k inject_buffer_ms=1000 inject_full=drop");
    stream.wait_event("overflow");
    stream.heed();
    // The call goes on: one without a frame for five seconds is no healthy one.
    pass(&call, &[&stream], 1);
    let health = stream.health();
    assert!(health["inject"]["overflow_count"].as_u64().unwrap() > 5, "{health}");
    assert!(health["inject"]["buffer_inuse_bytes"].as_u64().unwrap() <= 1_240 * 16, "{health}");
    assert_eq!(health["health"], "DEGRADED");
    stream.ok("clear");
    stream.sync();
    pass(&call, &[&stream], 2);
    goes_on(&stream, "after the flood");
}

#[test]
fn a_server_that_never_reads_costs_at_most_max_queue_ms() {
    let call = call(CallOptions { rate: 48_000, ..playing() });
    let silent = Script { never_read: true, ..Script::default() };
    let stream = Stream::start_as(&call, "default", silent, "stereo 48k max_queue_ms=1000");
    let began = Instant::now();
    let end = began + PATIENCE;
    let mut frames = 0;
    while stream.events("overflow").is_empty() {
        assert!(Instant::now() < end, "no overflow after {frames} frames: {}", stream.health());
        call.tick(5);
        frames += 5;
        thread::sleep(Duration::from_millis(8));
    }
    let body = stream.wait_event("overflow").json();
    assert_eq!((&body["queue"], &body["severity"]), (&"send".into(), &"warning".into()), "{body}");
    assert!(body["dropped_ms"].as_u64().unwrap() >= 20, "{body}");
    while stream.health()["capture"]["send_dropped_ms"].as_u64().unwrap() < 3_000 {
        assert!(Instant::now() < end, "{}", stream.health());
        call.tick(5);
        frames += 5;
        thread::sleep(Duration::from_millis(8));
    }
    let waiting = || {
        let health = stream.health();
        let number = |key: &str| health["capture"][key].as_u64().unwrap();
        (20 * (frames - number("dropped_frames") - number("frames_sent"))).saturating_sub(number("send_dropped_ms"))
    };
    assert!(eventually(PATIENCE, || waiting() <= 1_100), "{} ms wait: {}", waiting(), stream.health());
    let reports = stream.events("overflow").len();
    assert!(reports <= most_reports(began), "{reports} reports, once in five seconds");
    assert!(
        stream.health()["health_reasons"].as_array().unwrap().contains(&"send_drops".into()),
        "{}",
        stream.health()
    );
    // The caller can still be spoken to.
    let answer = signal::speech(48_000, 200, 101);
    let from = call.heard_count();
    stream.play(Play::mono(answer.clone(), 48_000));
    for _ in 0..12 {
        call.tick(1);
        // Each frame is looked at by then.
        stream.heed();
    }
    assert_eq!(call.heard_from(from)[..answer.len()], answer[..]);
    // Too many texts for a server that does not read are refused, not kept.
    for _ in 0..40 {
        stream.command(&format!("send_text {}", "x".repeat(60_000)));
    }
    let refused = stream.wait_event("error").json();
    assert!(refused["message"]["error"].as_str().unwrap().contains("not reading"), "{refused}");
}

#[test]
fn binary_messages_that_are_off_are_named_once() {
    let call = call(playing());
    let stream = Stream::start(&call, "mono 8k binary_rate=off");
    stream.play(Play::mono(signal::tone(8_000, SERVER, 400, LOUD), 8_000).form(Form::Binary).chunks(320));
    pass(&call, &[&stream], 5);
    assert!(call.heard().iter().all(|sample| *sample == 0));
    let errors = stream.events("error");
    assert_eq!(errors.len(), 1);
    assert!(errors[0].json()["message"]["error"].as_str().unwrap().contains("binary_rate"));
}
