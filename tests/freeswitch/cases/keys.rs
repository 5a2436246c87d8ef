//! Keys the caller presses reach the server and the dialplan.

use std::time::Duration;

use serde_json::Value;

use crate::harness::in_freeswitch;
use crate::harness::rtp::Codec;
use crate::harness::sip::{Dial, SipCall};
use crate::harness::stream::{SOON, listen_to};
use crate::support::eventually;
use crate::support::websocket_server::{Connection, Script, WebSocketServer};

/// The digits that a twilio server received.
fn told(connection: &Connection) -> String {
    let texts = connection.texts();
    let messages = texts.iter().filter_map(|text| serde_json::from_str::<Value>(text).ok());
    messages.filter_map(|message| message["dtmf"]["digit"].as_str().map(str::to_owned)).collect()
}

#[test]
fn rtp_digits_reach_each_server_the_events_and_the_dialplan() {
    in_freeswitch(|freeswitch| {
        for codec in [Codec::Pcmu, Codec::L16] {
            let call = SipCall::place(freeswitch, &Dial::to("park").codec(codec));
            let events = listen_to(freeswitch);
            events.subscribe("plain DTMF");
            let (one, two) = (WebSocketServer::start(Script::default()), WebSocketServer::start(Script::default()));
            freeswitch.stream(&call.uuid, &format!("start name=one {} protocol=twilio", one.url()));
            freeswitch.stream(&call.uuid, &format!("start name=two {} protocol=plivo", two.url()));
            for server in [&one, &two] {
                server.connection(0).wait_text(|text| text.contains("start"));
            }
            call.phone.press("15#D", 160);
            for server in [&one, &two] {
                let heard = eventually(SOON, || told(&server.connection(0)).len() >= 4);
                assert!(heard, "{codec:?}: the server received '{}'", told(&server.connection(0)));
                assert_eq!(told(&server.connection(0)), "15#D");
            }
            let named = |name: &str| {
                let mine = |event: &&crate::harness::esl::Event| event.get("Audio-Stream-Name") == Some(name);
                let events = events.stream_events("dtmf", &call.uuid);
                let of_name = events.iter().filter(mine);
                of_name.map(|event| event.get("Audio-Stream-Digit").unwrap_or_default().to_owned()).collect::<String>()
            };
            assert!(eventually(SOON, || named("one") == "15#D" && named("two") == "15#D"), "{}", named("one"));
            let first = &events.stream_events("dtmf", &call.uuid)[0];
            let ms: u32 = first.get("Audio-Stream-Duration-Ms").expect("it says how long").parse().expect("a number");
            assert!((120..=200).contains(&ms), "{codec:?}: a key of 160 ms is reported as {ms}");
            // What FreeSWITCH's own event tells has come out of the dialplan's queue.
            let mut seen = String::new();
            let all = eventually(SOON, || {
                let dtmf =
                    events.events().into_iter().filter(|event| event.name() == "DTMF" && event.uuid() == call.uuid);
                seen = dtmf.map(|event| event.get("DTMF-Digit").unwrap_or_default().to_owned()).collect();
                seen.len() >= 4
            });
            assert!(all && seen == "15#D", "the dialplan has seen '{seen}'");
            freeswitch.hang_up_all();
        }
    });
}

#[test]
fn keys_from_inside_of_freeswitch_are_reported_and_none_twice() {
    in_freeswitch(|freeswitch| {
        // A loopback leg hands keys to its other leg on the thread that sends them. The tilde: to be treated as any other.
        let server = WebSocketServer::start(Script::default());
        let near = freeswitch.originate("loopback/park/tests", "park()", "loopback_bowout=false");
        let other = freeswitch.variable(&near, "other_loopback_leg_uuid").expect("a loopback call has another leg");
        for round in 0..3 {
            // No stream leaves anything behind on the call that would report keys twice.
            freeswitch.stream(&other, &format!("start {} protocol=twilio", server.url()));
            let connection = server.connection(round);
            connection.wait_text(|text| text.contains("start"));
            freeswitch.ok(&format!("uuid_send_dtmf {near} ~42"));
            assert!(eventually(SOON, || told(&connection).len() >= 2), "received '{}'", told(&connection));
            std::thread::sleep(Duration::from_millis(200));
            assert_eq!(told(&connection), "42");
            freeswitch.stream(&other, "stop");
            connection.wait_end();
        }
    });
}
