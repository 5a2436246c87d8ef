//! A transcription service on a bridged call: it hears each leg in its own channel, and what it understands are events,
//! interim and final.

use serde_json::json;

use crate::harness::callee::{Callee, Manner};
use crate::harness::in_freeswitch;
use crate::harness::sip::{Dial, SipCall};
use crate::harness::stream::{CALLER, LOUD, OTHER, SOON, THERE, listen_to};
use crate::support::transcript::{of_deepgram as result, words_of};
use crate::support::websocket_server::{Action, Script, WebSocketServer};
use crate::support::{audio, eventually, signal};

#[test]
fn a_bridged_call_is_transcribed_by_leg_to_its_last_word() {
    in_freeswitch(|freeswitch| {
        let events = listen_to(freeswitch);
        let callee = Callee::new(Manner::default());
        callee.phone.say_forever(&signal::tone(8_000, OTHER, 1_000, LOUD));
        let call = SipCall::place(freeswitch, &Dial::to(&format!("call-{}", callee.port())));
        call.phone.say_forever(&signal::tone(8_000, CALLER, 1_000, LOUD));
        let service = WebSocketServer::start(Script::default());
        let url = service.url();
        freeswitch.stream(
            &call.uuid,
            &format!("transcribe stereo 16k protocol=deepgram transcribe_key=hunter2 transcribe_url={url}"),
        );
        let connection = service.connection(0);
        assert!(
            connection
                .uri
                .ends_with("?encoding=linear16&sample_rate=16000&interim_results=true&channels=2&multichannel=true")
        );
        assert_eq!(connection.header("authorization"), Some("Token hunter2"));
        connection.wait_bytes(3 * 64_000);
        let heard = connection.audio().split_off(64_000 / 2);
        for (channel, there, not_there) in [(0, CALLER, OTHER), (1, OTHER, CALLER)] {
            let leg = audio::channel(&heard, 2, channel);
            let ms = audio::tone_ms(&leg, 16_000, there, THERE);
            assert!(ms >= 1_900, "of 2 s of leg {channel} the service hears {ms} ms");
            let ms = audio::tone_ms(&leg, 16_000, not_there, THERE);
            assert!(ms <= 40, "leg {channel} has {ms} ms of the other");
        }
        // What each leg says is told as it is understood, and again when it will not change any more.
        let said = [(0, "Where", false), (1, "On", false), (0, "Where is my order?", true), (1, "On its way.", true)];
        for (channel, text, is_final) in said {
            connection.order(result(channel, text, is_final));
        }
        let told = || events.stream_events("transcript", &call.uuid);
        assert!(eventually(SOON, || told().len() >= said.len()), "no event for what was said: {:?}", told());
        for ((channel, text, is_final), event) in said.into_iter().zip(told()) {
            let leg = ["caller", "other"][channel];
            let headers = [("Leg", leg), ("Text", text), ("Final", if is_final { "true" } else { "false" })];
            for (name, value) in headers {
                assert_eq!(event.get(&format!("Audio-Stream-{name}")), Some(value), "{text}");
            }
            let body = event.json();
            let seen = (&body["leg"], &body["text"], &body["final"], &body["end_of_turn"]);
            assert_eq!(seen, (&json!(leg), &json!(text), &json!(is_final), &json!(is_final)));
            assert_eq!(body["words"], words_of(text));
        }

        // The service is asked for its last words, which come when the call is gone.
        call.hang_up();
        connection.wait_text(|text| text == r#"{"type":"CloseStream"}"#);
        connection.order(result(0, "Thanks, bye.", true));
        connection.order(Action::Close(1_000, String::new()));
        assert!(eventually(SOON, || told().len() > said.len()), "the last words are lost");
        assert_eq!(told()[said.len()].json()["text"], "Thanks, bye.");
        events.wait_stream("disconnect", &call.uuid);
    });
}
