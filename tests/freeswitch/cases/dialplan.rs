//! The dialplan application.

use std::time::Duration;

use crate::harness::in_freeswitch;
use crate::harness::sip::{Dial, SipCall};
use crate::harness::stream::{CALLER, LOUD, OTHER, SERVER, THERE, listen_to};
use crate::support::websocket_server::{Action, Play, Script, WebSocketServer};
use crate::support::{audio, eventually, signal};

#[test]
fn the_application_returns_and_the_dialplan_goes_on() {
    in_freeswitch(|freeswitch| {
        let server = WebSocketServer::start(Script::default());
        let arguments = format!("{} mono 8k {{\"from\": \"the dialplan\"}}", server.url());
        let call = SipCall::place(freeswitch, &Dial::to("stream-700").header("X-Stream", arguments));
        call.phone.say_forever(&signal::tone(8_000, CALLER, 1_000, LOUD));
        let connection = server.connection(0);
        assert_eq!(connection.wait_text(|_| true), r#"{"from": "the dialplan"}"#);
        connection.wait_bytes(16_000);
        connection.order(Action::Play(Play::mono(signal::tone(8_000, SERVER, 1_000, LOUD), 8_000)));
        let heard = call.phone.listen(Duration::from_secs(3));
        assert!(audio::tone_ms(&heard, 8_000, SERVER, THERE) >= 940);
        assert!(audio::tone_ms(&heard, 8_000, OTHER, THERE) >= 1_000);
    });
}

#[test]
fn with_wait_the_dialplan_learns_how_the_stream_ended() {
    in_freeswitch(|freeswitch| {
        let server = WebSocketServer::start(Script::default());
        let arguments = format!("{} mono 8k wait=true", server.url());
        let call = SipCall::place(freeswitch, &Dial::to("stream_wait").header("X-Stream", arguments));
        call.phone.say_forever(&signal::tone(8_000, CALLER, 1_000, LOUD));
        let connection = server.connection(0);
        connection.wait_bytes(8_000);
        connection.order(Action::Play(Play::mono(signal::tone(8_000, SERVER, 1_000, LOUD), 8_000)));
        let heard = call.phone.listen(Duration::from_secs(2));
        assert!(audio::tone_ms(&heard, 8_000, SERVER, THERE) >= 940);
        assert_eq!(audio::tone_ms(&heard, 8_000, 1_400.0, THERE), 0, "the dialplan waits");
        connection.order(Action::Close(1_000, "done".into()));
        let goes_on = || audio::tone_ms(&call.phone.heard(), 8_000, 1_400.0, THERE) >= 200;
        assert!(eventually(Duration::from_secs(5), goes_on), "the dialplan does not go on");
        assert!(freeswitch.variable(&call.uuid, "audio_stream_status").is_some());
    });
}

#[test]
fn with_wait_a_hangup_ends_the_stream() {
    in_freeswitch(|freeswitch| {
        let events = listen_to(freeswitch);
        let server = WebSocketServer::start(Script::default());
        let arguments = format!("{} mono 8k wait=true", server.url());
        let dial = Dial::to("stream_wait").header("X-Stream", arguments).hangup_after(Duration::from_secs(1));
        let call = SipCall::place(freeswitch, &dial);
        server.connection(0).wait_end();
        events.wait_stream("disconnect", &call.uuid);
        assert!(eventually(Duration::from_secs(5), || !freeswitch.exists(&call.uuid)));
    });
}

#[test]
fn a_refusal_is_in_a_variable_and_the_dialplan_goes_on() {
    in_freeswitch(|freeswitch| {
        let call = SipCall::place(freeswitch, &Dial::to("stream-700").header("X-Stream", "nonsense mono 8k"));
        call.phone.say_forever(&signal::tone(8_000, CALLER, 1_000, LOUD));
        let heard = call.phone.listen(Duration::from_secs(1));
        assert!(audio::tone_ms(&heard, 8_000, OTHER, THERE) >= 500);
        let error = freeswitch.variable(&call.uuid, "audio_stream_error").unwrap_or_default();
        assert!(error.contains("nonsense") && !error.starts_with('-'), "audio_stream_error is '{error}'");
        assert_eq!(freeswitch.variable(&call.uuid, "audio_stream_status").as_deref(), Some("error"));
    });
}
