//! A caller talks with GPT-Live: a stream that never pauses, an interruption that nobody announces, a function of the second model, and a
//! lost connection.

use std::time::Duration;

use serde_json::json;

use super::conversation::{
    LOOK_UP, answer_function, assert_speech_arrives, heard_until_interrupted, interrupt_for_a_function,
    lose_connections, wait_heard_out, wait_state,
};
use crate::harness::in_freeswitch;
use crate::harness::sip::{Dial, SipCall};
use crate::harness::stream::{SOON, listen_to};
use crate::live_service::{KEY, Model};
use crate::realtime::{Answer, RealtimeServer, chord, heard_ms};
use crate::support::{audio, signal, wait_for};

#[test]
fn a_caller_talks_with_gpt_live_through_a_loss() {
    in_freeswitch(|freeswitch| {
        let events = listen_to(freeswitch);
        let answers = vec![
            Answer { text: "Good day to you.".into(), ..Answer::chord(90, 800) },
            Answer { text: "It is a long story with a second part that goes on".into(), ..Answer::chord(91, 8_000) },
            Answer::call("look_up", &json!({"order": 7})),
            Answer { text: "It has left.".into(), ..Answer::chord(92, 900) },
            Answer { text: "Goodbye.".into(), ..Answer::chord(93, 700) },
        ];
        let words = vec!["Tell me a story.", "Where is my order?", "Thank you."];
        // A machine that is busy delivers unevenly: the stream is ahead by more than that.
        let ahead = Duration::from_millis(300);
        let server = RealtimeServer::start(Model { words, ahead, ..Model::answering(answers) });
        let call = SipCall::place(freeswitch, &Dial::to("park"));
        freeswitch.stream(
            &call.uuid,
            &format!(
                "start_ai engine=openai_live openai_base_url={} openai_api_key={KEY} openai_model=gpt-live-1 \
                 openai_backend_model=backend tools='{LOOK_UP}' greeting='Good day to you.'",
                server.base_url()
            ),
        );
        let first = server.connection(0);
        wait_state(&events, &call.uuid, "SPEAKING", 1);
        wait_heard_out(&events, &call.uuid);
        assert_eq!(first.record().format, json!({"type": "audio/pcmu", "rate": 8_000}));

        let speech = signal::speech(8_000, 900, 3);
        call.phone.say(&speech);
        wait_state(&events, &call.uuid, "SPEAKING", 2);
        // They speak over the story until the model falls silent, and what follows is a function.
        let action = interrupt_for_a_function(&events, &call, 1_200);
        assert_eq!(events.stream_events("ai_barge_in", &call.uuid).len(), 1);
        let told = heard_until_interrupted(&events, &call.uuid);
        answer_function(freeswitch, &call, &action);
        wait_state(&events, &call.uuid, "SPEAKING", 3);
        wait_heard_out(&events, &call.uuid);
        assert_eq!(first.record().told("response.item.create")[0]["item"]["output"], "{\"status\": \"shipped\"}");

        // The connection is lost; the next session begins with what was said and heard.
        lose_connections(&server, &call);
        let second = wait_for("the next session", SOON, || server.connections().get(1).cloned());
        let past = second.wait_told("session.start", 1)["session"]["input"].to_string();
        for part in ["Good day to you.", "Where is my order?", "shipped", "It has left."] {
            assert!(past.contains(part), "{part}: {past}");
        }
        assert!(!past.contains("goes on"), "it was not heard: {past}");
        call.phone.listen(Duration::from_millis(300));
        call.phone.say(&signal::speech(8_000, 900, 5));
        wait_state(&events, &call.uuid, "SPEAKING", 4);
        wait_heard_out(&events, &call.uuid);
        call.phone.listen(Duration::from_millis(300));

        assert_speech_arrives(&first, &speech);

        let heard = call.phone.heard();
        let length = |ms: u32, seed: u64| heard_ms(&heard, &chord(8_000, ms, seed), 8_000).unwrap();
        for (ms, seed) in [(800, 90), (900, 92), (700, 93)] {
            let (_, length) = length(ms, seed);
            assert!((f64::from(ms) - length).abs() <= 20.0, "{seed}: {length}");
        }
        // Of the story what the model has said; the figure has the silence around it that was played, too.
        let (at, story) = length(8_000, 91);
        assert!((1_500.0..7_000.0).contains(&story) && (60.0..=360.0).contains(&(told - story)), "{story} {told}");
        let (next, _) = length(900, 92);
        let between = heard.get(at + (story * 8.0) as usize + 160..next.saturating_sub(160)).unwrap_or_default();
        assert!(!between.is_empty() && audio::rms(between) < 50.0, "{}", audio::rms(between));
        for connection in server.connections() {
            assert_eq!(connection.record().complaints, []);
        }
    });
}
