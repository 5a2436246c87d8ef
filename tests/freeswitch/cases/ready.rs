//! What a caller says to a server that is not there yet, and to one that is: from when on it is sent, and what the dialplan waits for.

use std::time::{Duration, Instant};

use crate::harness::in_freeswitch;
use crate::harness::sip::{Dial, SipCall};
use crate::harness::stream::{CALLER, LOUD, SERVER, SOON, THERE, listen_to};
use crate::realtime::{RealtimeServer, Script as Realtime};
use crate::support::websocket_server::{Action, Connection, Form, Handshake, Play, Script, WebSocketServer};
use crate::support::{audio, eventually, signal};

/// How long the servers are not there.
const AWAY: Duration = Duration::from_millis(1_500);
/// Said to no server.
const EARLY: f64 = 620.0;

/// Milliseconds of a tone in what a server was sent.
fn heard(connection: &Connection, hz: f64) -> u32 {
    audio::tone_ms(&connection.audio(), 8_000, hz, THERE)
}

#[test]
fn what_is_said_before_the_server_is_ready_is_not_sent() {
    in_freeswitch(|freeswitch| {
        let events = listen_to(freeswitch);
        // A server that takes its time to accept, one that takes it to say something, and one without a gate.
        let late = || Script::default().with_handshake(Handshake::Late(AWAY));
        let hello = Action::Play(Play::mono(signal::tone(8_000, SERVER, 400, LOUD), 8_000).form(Form::Binary));
        let slow = Script::of(vec![Action::Wait(AWAY), hello]);
        for (gate, script, early) in
            [("ready=connect", late(), false), ("ready=first_message", slow, false), ("ready=off", late(), true)]
        {
            let call = SipCall::place(freeswitch, &Dial::to("park"));
            call.phone.say_forever(&signal::tone(8_000, EARLY, 1_000, LOUD));
            let server = WebSocketServer::start(script);
            freeswitch.start_stream(&call.uuid, &server, &format!("mono 8k {gate} {{\"who\": 1}}"));
            let connection = server.connection(0);
            assert_eq!(connection.wait_text(|_| true), r#"{"who": 1}"#, "{gate}: the metadata waits for nothing");
            events.wait_stream("connect", &call.uuid);
            if early {
                connection.wait_bytes(32_000);
                assert!(heard(&connection, EARLY) >= 1_000, "{gate}: what was said before is sent");
                assert_eq!(events.stream_events("ready", &call.uuid).len(), 0);
                continue;
            }
            let ready = events.wait_stream("ready", &call.uuid).json();
            assert!(ready["after_ms"].as_u64().is_some_and(|ms| ms >= AWAY.as_millis() as u64 - 50), "{gate} {ready}");
            // From here on all of it, to the packet.
            call.phone.say_forever(&signal::tone(8_000, CALLER, 1_000, LOUD));
            connection.wait_bytes(24_000);
            let (before, after) = (heard(&connection, EARLY), heard(&connection, CALLER));
            assert!(before <= 600, "{gate}: {before} ms of what was said before are sent");
            assert!(after >= 700, "{gate}: {after} ms");
            assert_eq!(freeswitch.json(&format!("{} health", call.uuid))["capture"]["send_dropped_ms"], 0);
            if gate == "ready=first_message" {
                // Its first message is itself heard.
                let spoken = || audio::tone_ms(&call.phone.heard(), 8_000, SERVER, THERE) >= 360;
                assert!(eventually(SOON, spoken), "the first message is not heard");
            }
        }
    });
}

#[test]
fn a_server_that_never_says_anything_ends_the_stream() {
    in_freeswitch(|freeswitch| {
        let events = listen_to(freeswitch);
        let calls = [(); 2].map(|()| SipCall::place(freeswitch, &Dial::to("park")));
        let server = WebSocketServer::start(Script::default());
        freeswitch.start_stream(&calls[0].uuid, &server, "mono 8k ready=first_message ready_timeout_ms=800");
        freeswitch.start_stream(&calls[1].uuid, &server, "mono 8k");
        let error = events.wait_stream("error", &calls[0].uuid).json();
        assert_eq!(error["message"]["code"], 10, "{error}");
        assert_eq!(error["message"]["error"], "the server sent no message within 800 ms");
        events.wait_stream("disconnect", &calls[0].uuid);
        assert_eq!(server.connection(0).audio_bytes(), 0);
        assert!(freeswitch.exists(&calls[0].uuid));
        // The other call has no gate, and notices nothing.
        server.connection(1).wait_bytes(16_000);
        assert_eq!(events.stream_events("error", &calls[1].uuid).len(), 0);
    });
}

#[test]
fn the_dialplan_goes_on_when_the_server_is_ready() {
    in_freeswitch(|freeswitch| {
        let server = WebSocketServer::start(Script::of(vec![Action::Wait(AWAY), Action::Text("{}".into())]));
        let arguments = format!("{} mono 8k ready=first_message wait=ready", server.url());
        let begun = Instant::now();
        let call = SipCall::place(freeswitch, &Dial::to("stream_wait").header("X-Stream", arguments));
        let tone = || audio::tone_ms(&call.phone.heard(), 8_000, 1_400.0, THERE);
        assert!(eventually(SOON, || tone() >= 100), "the dialplan does not go on");
        assert!(begun.elapsed() >= AWAY, "it did not wait");
        assert_eq!(freeswitch.variable(&call.uuid, "audio_stream_status").as_deref(), Some("ready"));
        // The stream goes on beside the dialplan.
        let had = server.connection(0).audio_bytes();
        server.connection(0).wait_bytes(had + 8_000);

        // Without a server there is nothing to wait for.
        let refused = WebSocketServer::start(Script::default().with_handshake(Handshake::Refuse(403)));
        let arguments = format!("{} mono 8k wait=ready", refused.url());
        let call = SipCall::place(freeswitch, &Dial::to("stream_wait").header("X-Stream", arguments));
        let status = || freeswitch.variable(&call.uuid, "audio_stream_status");
        assert!(eventually(SOON, || status().as_deref() == Some("error")), "{:?}", status());
    });
}

#[test]
fn a_conversation_begins_with_its_session() {
    in_freeswitch(|freeswitch| {
        let events = listen_to(freeswitch);
        let service = RealtimeServer::start(Realtime::by_hand());
        let call = SipCall::place(freeswitch, &Dial::to("park"));
        call.phone.say_forever(&signal::tone(8_000, EARLY, 1_000, LOUD));
        freeswitch.stream(
            &call.uuid,
            &format!(
                "start_ai openai_base_url={} openai_api_key=sk-test openai_model=test-model ready=connect",
                service.base_url()
            ),
        );
        let connection = service.connection(0);
        connection.wait_told("session.update", 1);
        std::thread::sleep(AWAY);
        connection.order(crate::realtime::Order::Event(
            serde_json::json!({"type": "session.updated", "session": {"id": "s"}}),
        ));
        let ready = events.wait_stream("ready", &call.uuid).json();
        assert!(ready["after_ms"].as_u64() >= Some(AWAY.as_millis() as u64), "{ready}");
        call.phone.say_forever(&signal::tone(8_000, CALLER, 1_000, LOUD));
        let tone = |hz: f64| audio::tone_ms(&connection.record().audio.clone(), 8_000, hz, THERE);
        assert!(eventually(SOON, || tone(CALLER) >= 1_000), "the caller is not heard");
        assert!(tone(EARLY) <= 600, "{} ms of what was said before", tone(EARLY));
    });
}
