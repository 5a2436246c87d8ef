//! Callers who are muted: by their conference, or by FreeSWITCH's own `uuid_audio`.

use std::sync::Arc;
use std::time::Duration;

use crate::harness::esl::Event;
use crate::harness::in_freeswitch;
use crate::harness::sip::{Dial, SipCall};
use crate::harness::stream::{ABSENT, CALLER, LOUD, SOON, THERE};
use crate::support::websocket_server::{Connection, Script, WebSocketServer};
use crate::support::{audio, signal};

/// How much of the caller's tone the server hears in the next second on the left channel, ms; above the amplitude `least`.
fn heard_ms(connection: &Arc<Connection>, least: f64) -> u32 {
    // What is under way from before.
    std::thread::sleep(Duration::from_millis(300));
    let from = connection.audio().len();
    std::thread::sleep(Duration::from_secs(1));
    let captured = audio::channel(&connection.audio().split_off(from), 2, 0);
    let length = captured.len() / 8;
    assert!((850..=1_150).contains(&length), "in a second the server gets {length} ms");
    audio::tone_ms(&captured, 8_000, CALLER, least)
}

#[track_caller]
fn assert_heard(connection: &Arc<Connection>, what: &str) {
    let ms = heard_ms(connection, THERE);
    assert!(ms >= 850, "{what}: the server hears {ms} ms of a second");
}

#[track_caller]
fn assert_silent(connection: &Arc<Connection>, what: &str) {
    let ms = heard_ms(connection, ABSENT);
    assert_eq!(ms, 0, "{what}: the server hears the caller");
}

#[test]
fn a_muted_member_of_a_conference_is_silent_to_the_server() {
    in_freeswitch(|freeswitch| {
        let events = freeswitch.subscribe("plain CUSTOM conference::maintenance");
        let [muted, other] = [(); 2].map(|()| SipCall::place(freeswitch, &Dial::to("conference-muted")));
        for call in [&muted, &other] {
            call.phone.say_forever(&signal::tone(8_000, CALLER, 1_000, LOUD));
        }
        let added = |event: &Event| event.uuid() == muted.uuid && event.get("Action") == Some("add-member");
        let member = events.wait_event(SOON, added).expect("the member is added");
        let member = member.get("Member-ID").expect("it has a number").to_owned();
        let conference = |verb: &str| freeswitch.api(&format!("conference muted {verb} {member}"));
        let servers = [(); 4].map(|()| WebSocketServer::start(Script::default()));
        let stream = |number: usize, call: &SipCall, options: &str| {
            let url = servers[number].url();
            freeswitch.stream(&call.uuid, &format!("start name=s{number} {url} stereo 8k {options}"));
            let connection = servers[number].connection(0);
            connection.wait_bytes(8_000);
            connection
        };
        let following = stream(0, &muted, "");
        let open = stream(1, &muted, "follow_mute=false");
        let others = stream(2, &other, "");
        assert_heard(&following, "before");
        for (verb, back) in [("mute", "unmute"), ("tmute", "tmute"), ("hold", "unhold")] {
            conference(verb);
            assert_silent(&following, verb);
            assert_heard(&open, verb);
            assert_heard(&others, verb);
            conference(back);
            assert_heard(&following, back);
        }
        conference("mute");
        let late = stream(3, &muted, "");
        assert_silent(&late, "started while muted");
        freeswitch.ok(&format!("uuid_transfer {} park XML tests", muted.uuid));
        assert_heard(&late, "outside of the conference");
    });
}

#[test]
fn a_caller_muted_by_uuid_audio_is_silent_to_the_server() {
    in_freeswitch(|freeswitch| {
        let call = SipCall::place(freeswitch, &Dial::to("park"));
        call.phone.say_forever(&signal::tone(8_000, CALLER, 1_000, LOUD));
        let server = WebSocketServer::start(Script::default());
        freeswitch.start_stream(&call.uuid, &server, "stereo 8k");
        let connection = server.connection(0);
        connection.wait_bytes(16_000);
        assert_heard(&connection, "before");
        freeswitch.api(&format!("uuid_audio {} start read mute 1", call.uuid));
        assert_silent(&connection, "muted");
        freeswitch.api(&format!("uuid_audio {} stop", call.uuid));
        assert_heard(&connection, "afterwards");
    });
}
