//! Calls whose media does not pass FreeSWITCH.

use std::time::Duration;

use crate::harness::callee::{Callee, Manner};
use crate::harness::in_freeswitch;
use crate::harness::sip::{Dial, SipCall};
use crate::harness::stream::{CALLER, LOUD, SOON, THERE, listen_to};
use crate::support::websocket_server::{Script, WebSocketServer};
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
