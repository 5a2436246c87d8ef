//! A transcription service on a bridged call: it hears each leg in its own channel, and what it understands are events.

use serde_json::json;

use crate::harness::callee::{Callee, Manner};
use crate::harness::in_freeswitch;
use crate::harness::sip::{Dial, SipCall};
use crate::harness::stream::{CALLER, LOUD, OTHER, SOON, THERE, listen_to};
use crate::support::websocket_server::{Action, Script, WebSocketServer};
use crate::support::{audio, eventually, signal};

fn result(channel: usize, text: &str) -> Action {
    let alternative = json!({"transcript": text, "confidence": 0.9, "words": []});
    let result = json!({"type": "Results", "channel_index": [channel, 2], "start": 0.0, "duration": 1.0, "is_final": true,
        "speech_final": true, "channel": {"alternatives": [alternative]}, "metadata": {"request_id": "r"}});
    Action::Text(result.to_string())
}

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
        connection.order(result(0, "Where is my order?"));
        connection.order(result(1, "On its way."));
        let told = |text: &str| {
            let transcripts = events.stream_events("transcript", &call.uuid);
            transcripts.into_iter().map(|event| event.json()).find(|body| body["text"] == text)
        };
        assert!(eventually(SOON, || told("On its way.").is_some()), "no event for what the other leg said");
        assert_eq!(told("Where is my order?").map(|body| body["leg"].clone()), Some("caller".into()));
        assert_eq!(told("On its way.").map(|body| body["leg"].clone()), Some("other".into()));

        // The service is asked for its last words, which come when the call is gone.
        call.hang_up();
        connection.wait_text(|text| text == r#"{"type":"CloseStream"}"#);
        connection.order(result(0, "Thanks, bye."));
        connection.order(Action::Close(1_000, String::new()));
        assert!(eventually(SOON, || told("Thanks, bye.").is_some()), "the last words are lost");
        events.wait_stream("disconnect", &call.uuid);
    });
}
