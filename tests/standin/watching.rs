//! The watch over streams: what stands still, and how health changes. Each fault has an innocent call beside it.

use std::thread;
use std::time::{Duration, Instant};

use crate::calls::{Stream, api, call, command, events, health, parked, pass, pass_paced, playing, states};
use crate::host::{Call, flag};
use crate::realtime::{Order, RealtimeServer, Script as Service};
use crate::support::websocket_server::{Action, PATIENCE, Play};
use crate::support::{eventually, signal};
use serde_json::json;

/// What the watch has reported of a call: the parts that stood still or moved again, and the changes of its health.
fn reported(call: &Call<'_>) -> (Vec<String>, Vec<String>) {
    let header = |event: &crate::host::Event, name: &str| event.header(name).unwrap_or_default().to_owned();
    let stalled = events(call, "stalled").into_iter().map(|event| {
        assert_eq!(event.json()["part"], header(&event, "Audio-Stream-Part"));
        format!("{} {}", header(&event, "Audio-Stream-Part"), header(&event, "Audio-Stream-Stalled"))
    });
    let health = events(call, "health").into_iter().map(|event| {
        assert_eq!(event.json()["health"], header(&event, "Audio-Stream-Health"));
        format!("{} {}", header(&event, "Audio-Stream-Health"), header(&event, "Audio-Stream-Reasons"))
            .trim_end()
            .to_owned()
    });
    (stalled.collect(), health.collect())
}

#[test]
fn what_stands_still_is_reported_and_a_hold_is_not() {
    let (stuck, held, free) = (call(playing()), call(playing()), call(playing()));
    let stream = Stream::start(&stuck, "mono 8k");
    let (on_hold, innocent) = (Stream::start(&held, "mono 8k"), Stream::start(&free, "mono 8k"));
    held.set_flag(flag::HOLD, true);
    on_hold.wait_event("hold");
    on_hold.play(Play::mono(signal::speech(8_000, 5_000, 5), 8_000));
    // Nobody reads the first call any more, and nobody writes to it.
    pass(&stuck, &[&stream], 5);
    stream.play(Play::mono(signal::speech(8_000, 1_000, 3), 8_000));
    // The innocent call goes on all the time.
    let eventually = |wanted: &dyn Fn() -> bool| {
        eventually(PATIENCE, || {
            pass(&free, &[&innocent], 1);
            wanted()
        })
    };
    assert!(eventually(&|| reported(&stuck).1 == ["UNHEALTHY capture_stalled"]
        || reported(&stuck).1.last().is_some_and(|last| last.contains("playback_stalled"))));
    assert!(eventually(&|| reported(&stuck).0.len() == 2), "{:?}", reported(&stuck));
    let mut stalled = reported(&stuck).0;
    stalled.sort();
    assert_eq!(stalled, ["capture true", "playback true"]);
    let status = stream.health();
    assert_eq!(status["health_reasons"], json!(["capture_stalled", "playback_stalled"]), "{status}");
    pass(&stuck, &[&stream], 20);
    assert!(eventually(&|| {
        pass(&stuck, &[&stream], 1);
        reported(&stuck).1.last().is_some_and(|last| last == "HEALTHY")
    }));
    let mut moving = reported(&stuck).0.split_off(2);
    moving.sort();
    assert_eq!(moving, ["capture false", "playback false"]);
    held.set_flag(flag::HOLD, false);
    pass_paced(&held, &[&on_hold], 75, 20);
    for (name, call) in [("on hold", &held), ("innocent", &free)] {
        assert_eq!(reported(call), (vec![], vec![]), "{name}: {}", health(call));
    }
    assert!(api("metrics").contains("part=\"capture\"") && api("metrics").contains("part=\"playback\""));
    assert!(innocent.events("stalled").is_empty() && on_hold.events("stalled").is_empty());
}

#[test]
fn an_overflow_is_over_after_half_a_minute() {
    let (overflowing, free) = (call(playing()), call(playing()));
    let stream = Stream::start(&overflowing, "mono 8k inject_buffer_ms=500 inject_full=drop");
    let innocent = Stream::start(&free, "mono 8k");
    // Both calls go on all the time.
    let eventually = |wanted: &dyn Fn() -> bool| {
        eventually(PATIENCE, || {
            pass(&overflowing, &[&stream], 1);
            pass_paced(&free, &[&innocent], 1, 20);
            wanted()
        })
    };
    stream.play(Play::mono(signal::speech(8_000, 3_000, 7), 8_000).chunks(16_000));
    let began = Instant::now();
    assert!(eventually(&|| !reported(&overflowing).1.is_empty()));
    assert_eq!(reported(&overflowing).1, ["DEGRADED overflow"]);
    assert_eq!(stream.health()["health_reasons"], json!(["overflow"]));
    assert!(eventually(&|| reported(&overflowing).1.len() == 2));
    assert!(began.elapsed() >= Duration::from_secs(29), "it counts for 30 s, not {:?}", began.elapsed());
    assert_eq!(reported(&overflowing).1[1], "HEALTHY");
    let status = stream.health();
    assert_eq!((&status["health"], &status["inject"]["overflow_count"]), (&"HEALTHY".into(), &3.into()), "{status}");
    assert_eq!(reported(&free), (vec![], vec![]), "{}", innocent.health());
    // The last event of a stream is not followed by one of the watch.
    stream.connection.order(Action::Close(1_000, String::new()));
    stream.wait_event("disconnect");
    thread::sleep(Duration::from_millis(2_200));
    assert_eq!(reported(&overflowing).1.len(), 2);
}

#[test]
fn a_service_that_falls_silent_is_noticed() {
    let silent = RealtimeServer::start(Service::by_hand());
    let start = |call: &Call<'_>| {
        let line = format!(
            "start_ai openai_base_url={} openai_api_key=sk-test openai_model=test-model ai_stalled_s=5",
            silent.base_url()
        );
        assert_eq!(command(call, &line), "+OK Success");
    };
    let [speaks, says_nothing, muted] = [(); 3].map(|()| call(parked()));
    for (index, call) in [&speaks, &says_nothing, &muted].into_iter().enumerate() {
        start(call);
        let connection = silent.connection(index);
        connection.wait_told("session.update", 1);
        connection.order(Order::Event(json!({"type": "session.updated", "session": {"id": "sess"}})));
        assert!(eventually(PATIENCE, || states(call).last().is_some_and(|state| state == "LISTENING")));
    }
    assert_eq!(command(&muted, "mute caller"), "+OK Success");
    let speech = signal::speech(8_000, 12_000, 11);
    speaks.speak(&speech);
    muted.speak(&speech);
    // All calls go on at their pace, and the service hears each frame.
    let eventually = |wanted: &dyn Fn() -> bool| {
        eventually(PATIENCE, || {
            let due = Instant::now() + Duration::from_millis(20);
            for (index, call) in [&speaks, &says_nothing, &muted].into_iter().enumerate() {
                let samples = || silent.connection(index).record().samples;
                let before = samples();
                call.tick(1);
                assert!(eventually(PATIENCE, || samples() > before), "a frame did not reach the service");
            }
            thread::sleep(due.saturating_duration_since(Instant::now()));
            wanted()
        })
    };
    assert!(eventually(&|| reported(&speaks).0 == ["service true"]), "{:?}", reported(&speaks));
    assert!(eventually(&|| reported(&speaks).1 == ["UNHEALTHY service_stalled"]), "{:?}", reported(&speaks));
    assert_eq!((reported(&says_nothing), reported(&muted)), ((vec![], vec![]), (vec![], vec![])));
    // It says something again.
    let event = json!({"type": "input_audio_buffer.speech_started", "audio_start_ms": 0, "item_id": "i"});
    silent.connection(0).order(Order::Event(event));
    assert!(eventually(&|| reported(&speaks).0.len() == 2));
    assert!(eventually(&|| reported(&speaks).1.last().is_some_and(|last| last == "HEALTHY")));
}

#[test]
fn a_gap_in_what_a_server_sends_is_an_underrun() {
    // Where nobody else writes, packets pause with the audio, and nothing is missed.
    let [late, steady] = [(); 2].map(|()| call(playing()));
    let (stream, innocent) = (Stream::start(&late, "mono 8k"), Stream::start(&steady, "mono 8k"));
    let said = |ms: u32| Play::mono(signal::speech(8_000, ms, 3), 8_000);
    innocent.play(said(300));
    stream.play(said(150));
    // What comes after half a second of frames without audio is another utterance.
    pass(&late, &[&stream], 20);
    stream.play(said(150));
    for (call, stream) in [(&late, &stream), (&steady, &innocent)] {
        pass(call, &[stream], 30);
    }
    let told = stream.wait_event("underrun");
    assert_eq!(
        (told.json()["count"].as_u64(), told.header("Audio-Stream-Count")),
        (Some(1), Some("1")),
        "{:?}",
        told.body
    );
    let figures = [&stream, &innocent].map(|stream| {
        let inject = stream.health()["inject"].clone();
        (inject["played_ms"].clone(), inject["underrun_count"].clone())
    });
    assert_eq!(figures, [(json!(300), json!(1)), (json!(300), json!(0))]);
    assert_eq!((stream.events("underrun").len(), innocent.events("underrun").len()), (1, 0));
}
