//! Streams that are started before the call has media: they attach as soon as there is some.

use std::time::Duration;

use crate::harness::callee::{Callee, Manner};
use crate::harness::in_freeswitch;
use crate::harness::server::FreeSwitch;
use crate::harness::sip::{Dial, SipCall};
use crate::harness::stream::{CALLER, LOUD, SERVER, SOON, THERE};
use crate::support::websocket_server::{Action, Form, Play, Script, WebSocketServer};
use crate::support::{audio, eventually, signal};

/// A server that greets for two seconds as soon as somebody connects.
fn greeting_server(rate: u32) -> WebSocketServer {
    let greeting = signal::tone(rate, SERVER, 2_000, LOUD);
    WebSocketServer::start(Script::of([Action::Play(Play::mono(greeting, rate).form(Form::Binary))]))
}

/// The greeting is heard once, whole and in one piece, and the server hears the caller from then on.
#[track_caller]
fn assert_talks(call: &SipCall, server: &WebSocketServer, what: &str) {
    let connection = server.connection(0);
    std::thread::sleep(Duration::from_millis(3_500));
    let heard = call.phone.heard();
    let stretches = audio::tone_stretches(&heard, 8_000, SERVER, THERE, 80);
    let ms: usize = stretches.iter().map(|stretch| stretch.len() / 8).sum();
    assert!((1_960..=2_040).contains(&ms) && stretches.len() == 1, "{what}: of a greeting of 2 s: {stretches:?}");
    let from = connection.audio().len();
    std::thread::sleep(Duration::from_secs(2));
    let captured = connection.audio().split_off(from);
    let ms = captured.len() as u64 * 1_000 / 16_000;
    assert!((1_850..=2_150).contains(&ms), "{what}: in 2 s the server gets {ms} ms");
    let ms = audio::tone_ms(&captured, 16_000, CALLER, THERE);
    assert!(ms >= 1_850, "{what}: in 2 s the server hears {ms} ms of the caller");
}

#[test]
fn a_stream_started_before_the_answer_greets_the_caller() {
    in_freeswitch(|freeswitch| {
        for extension in ["eval-answer", "eval-pre-answer", "eval-ringing"] {
            let server = greeting_server(16_000);
            let call = SipCall::place(freeswitch, &Dial::to(extension).header("X-Url", server.url()));
            call.phone.say_forever(&signal::tone(8_000, CALLER, 1_000, LOUD));
            assert_talks(&call, &server, extension);
            freeswitch.hang_up_all();
        }
    });
}

#[test]
fn a_stream_started_while_a_call_rings_waits_for_its_media() {
    in_freeswitch(|freeswitch| {
        let callee = Callee::new(Manner { rings: Duration::from_secs(2), ..Manner::default() });
        callee.phone.say_forever(&signal::tone(8_000, CALLER, 1_000, LOUD));
        let server = greeting_server(16_000);
        let uuid = freeswitch.new_uuid();
        let endpoint = callee.endpoint();
        freeswitch.bgapi(&format!("originate {{origination_uuid={uuid}}}{endpoint} &park"));
        assert!(eventually(SOON, || callee.rings()), "the phone does not ring");
        freeswitch.start_stream(&uuid, &server, "mono 16k binary_rate=16k");
        let connection = server.connection(0);
        connection.wait_bytes(64_000);
        assert_eq!(callee.answered(), 1, "the stream began before there was media");
        let captured = connection.audio();
        let ms = audio::tone_ms(&captured, 16_000, CALLER, THERE);
        assert!(ms >= 1_900, "of 2 s the server hears {ms} ms of the other side");
        std::thread::sleep(Duration::from_secs(1));
        let ms = audio::tone_ms(&callee.phone.heard(), 8_000, SERVER, THERE);
        assert!((1_960..=2_040).contains(&ms), "of a greeting of 2 s {ms} ms are heard");
    });
}

/// Originates to a phone with early media, with a hook that starts a stream, and gives what the server heard.
fn originate_with(
    freeswitch: &FreeSwitch,
    manner: Manner,
    hook: &str,
    early: bool,
) -> (Callee, WebSocketServer, String) {
    let callee = Callee::new(manner);
    callee.phone.say_forever(&signal::tone(8_000, CALLER, 1_000, LOUD));
    let server = WebSocketServer::start(Script::default());
    let uuid = freeswitch.new_uuid();
    let hook = hook.replace("UUID", &uuid).replace("URL", &server.url());
    let variables = format!("origination_uuid={uuid},ignore_early_media={},{hook}", !early);
    freeswitch.bgapi(&format!("originate {{{variables}}}{} &park", callee.endpoint()));
    (callee, server, uuid)
}

#[test]
fn a_stream_of_a_media_hook_captures_the_called_side() {
    in_freeswitch(|freeswitch| {
        let manner = Manner { early_media: true, rings: Duration::from_secs(2), answer: 200 };
        let hooks = [
            "api_on_media='uuid_audio_stream UUID start URL mono 8k'",
            "execute_on_media='audio_stream URL mono 8k'",
            "api_on_answer='uuid_audio_stream UUID start URL mono 8k'",
            "execute_on_answer='audio_stream URL mono 8k'",
        ];
        for hook in hooks {
            for early in [false, true] {
                let (_callee, server, uuid) = originate_with(freeswitch, manner, hook, early);
                let connection = server.connection(0);
                connection.wait_bytes(32_000);
                let ms = audio::tone_ms(&connection.audio(), 8_000, CALLER, THERE);
                assert!(ms >= 1_850, "{hook}, early {early}: of 2 s the server hears {ms} ms");
                freeswitch.api(&format!("uuid_kill {uuid}"));
                connection.wait_end();
                freeswitch.hang_up_all();
            }
        }
    });
}

#[test]
fn a_call_that_is_refused_after_early_media_leaves_no_stream() {
    in_freeswitch(|freeswitch| {
        let manner = Manner { early_media: true, rings: Duration::from_secs(1), answer: 486 };
        let hook = "api_on_media='uuid_audio_stream UUID start URL mono 8k'";
        for early in [false, true] {
            let (_callee, _server, uuid) = originate_with(freeswitch, manner, hook, early);
            assert!(eventually(SOON, || freeswitch.exists(&uuid)), "the call does not begin");
            assert!(eventually(SOON, || !freeswitch.exists(&uuid)), "the refused call stays");
            assert!(eventually(SOON, || freeswitch.streams() == 0), "the refused call's stream stays");
        }
    });
}

#[test]
fn a_waiting_stream_can_be_stopped_and_ends_with_its_call() {
    in_freeswitch(|freeswitch| {
        for hang_up in [false, true] {
            let callee = Callee::new(Manner { rings: Duration::from_secs(60), ..Manner::default() });
            let server = WebSocketServer::start(Script::default());
            let uuid = freeswitch.new_uuid();
            freeswitch.bgapi(&format!("originate {{origination_uuid={uuid}}}{} &park", callee.endpoint()));
            assert!(eventually(SOON, || callee.rings()), "the phone does not ring");
            freeswitch.start_stream(&uuid, &server, "mono 8k");
            let again = freeswitch.refused(&uuid, &format!("start {} mono 8k", server.url()));
            assert!(again.contains("already"), "{again}");
            if hang_up {
                freeswitch.api(&format!("uuid_kill {uuid}"));
                assert!(eventually(SOON, || callee.ended() == 1), "the phone rings on");
            } else {
                freeswitch.stream(&uuid, "stop");
            }
            assert!(eventually(SOON, || freeswitch.streams() == 0));
            assert_eq!(server.accepted(), 0, "the server was connected to before there was media");
            freeswitch.hang_up_all();
        }
    });
}
