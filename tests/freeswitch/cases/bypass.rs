//! Calls whose media does not pass FreeSWITCH.

use std::time::Duration;

use crate::harness::callee::{Callee, Manner};
use crate::harness::in_freeswitch;
use crate::harness::sip::{Dial, SipCall};
use crate::harness::stream::{CALLER, LOUD, SERVER, SOON, THERE, listen_to};
use crate::support::websocket_server::{Action, Form, Play, Script, WebSocketServer};
use crate::support::{audio, eventually, signal};

#[test]
fn a_stream_of_a_bypassed_call_is_refused_with_the_reason() {
    in_freeswitch(|freeswitch| {
        let callee = Callee::new(Manner::default());
        let call = SipCall::place(freeswitch, &Dial::to(&format!("bypass-{}", callee.port())));
        let server = WebSocketServer::start(Script::default());
        let refused = freeswitch.refused(&call.uuid, &format!("start {} mono 8k", server.url()));
        assert!(refused.contains("bypass"), "{refused}");
        assert_eq!(freeswitch.streams(), 0);
    });
}

#[test]
fn media_taken_away_is_reported_and_the_stream_goes_on() {
    in_freeswitch(|freeswitch| {
        let events = listen_to(freeswitch);
        let callee = Callee::new(Manner::default());
        let call = SipCall::place(freeswitch, &Dial::to(&format!("call-{}", callee.port())));
        call.phone.say_forever(&signal::tone(8_000, CALLER, 1_000, LOUD));
        let server = WebSocketServer::start(Script::default());
        freeswitch.start_stream(&call.uuid, &server, "mono 8k");
        let connection = server.connection(0);
        connection.wait_bytes(16_000);
        freeswitch.ok(&format!("uuid_media off {}", call.uuid));
        let gone = events.wait_stream("hold", &call.uuid).json();
        assert_eq!((&gone["held"], &gone["cause"]), (&true.into(), &"bypass".into()), "{gone}");
        std::thread::sleep(Duration::from_secs(3));
        freeswitch.ok(&format!("uuid_media {}", call.uuid));
        let back = || events.stream_events("hold", &call.uuid).iter().any(|event| event.json()["held"] == false);
        assert!(eventually(SOON, back), "nothing says that the media is back");
        let from = connection.audio().len();
        connection.wait_bytes(from as u64 * 2 + 32_000);
        let captured = connection.audio().split_off(from);
        let ms = audio::tone_ms(&captured, 8_000, CALLER, THERE);
        assert!(ms >= 1_800, "of 2 s after the return the server hears {ms} ms");
        assert_eq!(server.accepted(), 1, "the stream kept its connection");
        let health = freeswitch.json(&format!("{} health", call.uuid));
        assert!((2_500..6_000).contains(&health["held_ms"].as_u64().unwrap_or_default()), "{health}");
    });
}

#[test]
fn a_start_while_media_is_away_is_refused_and_then_works() {
    in_freeswitch(|freeswitch| {
        let callee = Callee::new(Manner::default());
        let call = SipCall::place(freeswitch, &Dial::to(&format!("call-{}", callee.port())));
        call.phone.say_forever(&signal::tone(8_000, CALLER, 1_000, LOUD));
        freeswitch.ok(&format!("uuid_media off {}", call.uuid));
        let server = WebSocketServer::start(Script::default());
        let refused = freeswitch.refused(&call.uuid, &format!("start {} mono 8k", server.url()));
        assert!(refused.contains("bypass"), "{refused}");
        assert_eq!((freeswitch.streams(), server.accepted()), (0, 0));
        freeswitch.ok(&format!("uuid_media {}", call.uuid));
        freeswitch.start_stream(&call.uuid, &server, "mono 8k");
        let connection = server.connection(0);
        // Both phones are told where to send again.
        connection.wait_bytes(16_000);
        let from = connection.audio().len();
        connection.wait_bytes(from as u64 * 2 + 16_000);
        let ms = audio::tone_ms(&connection.audio().split_off(from), 8_000, CALLER, THERE);
        assert!(ms >= 900, "of a second the server hears {ms} ms");
        freeswitch.hang_up_all();
    });
}

#[test]
fn playback_waits_until_the_media_is_back() {
    in_freeswitch(|freeswitch| {
        let callee = Callee::new(Manner::default());
        let call = SipCall::place(freeswitch, &Dial::to(&format!("call-{}", callee.port())));
        let events = listen_to(freeswitch);
        let server = WebSocketServer::start(Script::default());
        freeswitch.start_stream(&call.uuid, &server, "mono 8k binary_rate=8k");
        let said = Play::mono(signal::tone(8_000, SERVER, 4_000, LOUD), 8_000).form(Form::Binary);
        server.connection(0).order(Action::Play(said));
        freeswitch.wait_played(&call.uuid, 1_000);
        freeswitch.ok(&format!("uuid_media off {}", call.uuid));
        events.wait_stream("hold", &call.uuid);
        std::thread::sleep(Duration::from_millis(300));
        let heard = || audio::tone_ms(&call.phone.heard(), 8_000, SERVER, THERE);
        let played = || freeswitch.json(&format!("{} health", call.uuid))["inject"]["played_ms"].as_u64();
        let (before, heard_before) = (played(), heard());
        std::thread::sleep(Duration::from_secs(2));
        assert_eq!((played(), heard()), (before, heard_before), "nothing counts as heard meanwhile");
        freeswitch.ok(&format!("uuid_media {}", call.uuid));
        freeswitch.wait_played(&call.uuid, 4_000);
        std::thread::sleep(Duration::from_millis(500));
        let ms = heard();
        // What is under way when the media goes and comes may be lost: FreeSWITCH's sockets are closed and opened.
        assert!((3_800..=4_040).contains(&ms), "of 4000 ms the caller hears {ms}, {heard_before} of it before");
        freeswitch.hang_up_all();
    });
}
