//! The watch over streams: a call that nobody reads, losses that pass, a service that falls silent.

use std::time::Duration;

use serde_json::json;

use crate::harness::esl::Esl;
use crate::harness::in_freeswitch;
use crate::harness::sip::{Dial, SipCall};
use crate::harness::stream::{CALLER, LOUD, SOON, listen_to};
use crate::realtime::{Order, RealtimeServer, Script as Service};
use crate::support::websocket_server::{Action, Form, Play, Script, WebSocketServer};
use crate::support::{eventually, signal};

/// What was reported of a call: what stood still or moved again, and the changes of its health.
fn reported(events: &Esl, uuid: &str) -> [Vec<String>; 2] {
    [("stalled", ["Part", "Stalled"]), ("health", ["Health", "Reasons"])].map(|(kind, headers)| {
        let shown = |event: &crate::harness::esl::Event| {
            let of = headers.map(|name| event.get(&format!("Audio-Stream-{name}")).unwrap_or_default().to_owned());
            of.join(" ").trim_end().to_owned()
        };
        events.stream_events(kind, uuid).iter().map(shown).collect()
    })
}

#[test]
fn a_call_that_nobody_reads_is_reported_until_somebody_does() {
    in_freeswitch(|freeswitch| {
        let events = listen_to(freeswitch);
        let [blocked, innocent] = [(); 2].map(|()| SipCall::place(freeswitch, &Dial::to("park")));
        let servers = [&blocked, &innocent].map(|call| {
            call.phone.say_forever(&signal::tone(8_000, CALLER, 1_000, LOUD));
            let server = WebSocketServer::start(Script::default());
            freeswitch.start_stream(&call.uuid, &server, "mono 8k");
            server.connection(0).wait_bytes(3_200);
            server
        });
        // The application blocks the call's thread: it reads nothing.
        freeswitch.ok(&format!("uuid_transfer {} 'system:sleep 9,park' inline", blocked.uuid));
        let stalled = events.wait_stream("stalled", &blocked.uuid).json();
        assert_eq!((&stalled["part"], &stalled["stalled"]), (&"capture".into(), &true.into()), "{stalled}");
        let health = freeswitch.json(&format!("{} health", blocked.uuid));
        assert_eq!(
            (&health["health"], &health["health_reasons"]),
            (&"UNHEALTHY".into(), &json!(["capture_stalled"])),
            "{health}"
        );
        let whole = [
            vec!["capture true".to_owned(), "capture false".to_owned()],
            vec!["UNHEALTHY capture_stalled".to_owned(), "HEALTHY".to_owned()],
        ];
        let told = eventually(SOON, || reported(&events, &blocked.uuid) == whole);
        assert!(told, "{:?}", reported(&events, &blocked.uuid));
        assert_eq!(reported(&events, &innocent.uuid), [Vec::<String>::new(), vec![]]);
        drop(servers);
    });
}

#[test]
fn an_overflow_degrades_a_stream_for_half_a_minute() {
    in_freeswitch(|freeswitch| {
        let events = listen_to(freeswitch);
        let call = SipCall::place(freeswitch, &Dial::to("park"));
        let server = WebSocketServer::start(Script::default());
        freeswitch.start_stream(&call.uuid, &server, "mono 8k binary_rate=8k inject_buffer_ms=500 inject_full=drop");
        let said = signal::tone(8_000, CALLER, 3_000, LOUD);
        server.connection(0).order(Action::Play(Play::mono(said, 8_000).form(Form::Binary).chunks(16_000)));
        events.wait_stream("health", &call.uuid);
        let whole = ["DEGRADED overflow".to_owned(), "HEALTHY".to_owned()];
        let told = eventually(4 * SOON, || reported(&events, &call.uuid)[1] == whole);
        assert!(told, "{:?}", reported(&events, &call.uuid));
        let health = freeswitch.json(&format!("{} health", call.uuid));
        assert!(health["inject"]["overflow_count"].as_u64() > Some(0), "the count stays: {health}");
    });
}

#[test]
fn a_service_that_says_nothing_to_a_speaking_caller_is_told() {
    in_freeswitch(|freeswitch| {
        let events = listen_to(freeswitch);
        let service = RealtimeServer::start(Service::by_hand());
        let [speaks, listens] = [(); 2].map(|()| SipCall::place(freeswitch, &Dial::to("park")));
        for (index, call) in [&speaks, &listens].into_iter().enumerate() {
            let url = service.base_url();
            let options = "openai_api_key=sk-test openai_model=test-model ai_stalled_s=5";
            freeswitch.stream(&call.uuid, &format!("start_ai openai_base_url={url} {options}"));
            let connection = service.connection(index);
            connection.wait_told("session.update", 1);
            connection.order(Order::Event(json!({"type": "session.updated", "session": {"id": "sess"}})));
        }
        speaks.phone.say_forever(&signal::tone(8_000, CALLER, 1_000, LOUD));
        let stalled = events.wait_event(2 * SOON, |event| {
            event.subclass() == "mod_audio_stream::stalled" && event.uuid() == speaks.uuid
        });
        assert_eq!(stalled.expect("it is noticed").json()["part"], "service");
        std::thread::sleep(Duration::from_secs(2));
        assert_eq!(reported(&events, &listens.uuid), [Vec::<String>::new(), vec![]]);
    });
}

#[test]
fn speech_that_comes_too_late_is_an_underrun_and_no_stall() {
    in_freeswitch(|freeswitch| {
        let events = listen_to(freeswitch);
        // Where nobody else writes, packets pause with the audio, and nothing is missed.
        let [late, steady] = [(); 2].map(|()| SipCall::place(freeswitch, &Dial::to("tone-700")));
        let said = |ms: u32| Action::Play(Play::mono(signal::tone(8_000, CALLER, ms, LOUD), 8_000).form(Form::Binary));
        // What comes more than half a second after the last message is another utterance.
        let scripts = [
            (&late, Script::of([said(150), Action::Wait(Duration::from_millis(320)), said(150)])),
            (&steady, Script::of([said(300)])),
        ];
        let servers = scripts.map(|(call, script)| {
            let server = WebSocketServer::start(script);
            freeswitch.start_stream(&call.uuid, &server, "mono 8k binary_rate=8k");
            server
        });
        let told = events.wait_stream("underrun", &late.uuid);
        assert_eq!(told.get("Audio-Stream-Count"), Some("1"), "{:?}", told.body);
        freeswitch.wait_played(&late.uuid, 300);
        freeswitch.wait_played(&steady.uuid, 300);
        let figure =
            |call: &SipCall| freeswitch.json(&format!("{} health", call.uuid))["inject"]["underrun_count"].clone();
        assert_eq!((figure(&late), figure(&steady)), (1.into(), 0.into()));
        assert!(events.stream_events("underrun", &steady.uuid).is_empty());
        assert_eq!(
            [&late, &steady].map(|call| reported(&events, &call.uuid)[0].clone()),
            [Vec::<String>::new(), vec![]]
        );
        drop(servers);
    });
}
