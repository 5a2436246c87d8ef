//! A caller talks with Deepgram's Voice Agent: words said exactly, speech both ways, an interruption, a function, and a lost
//! connection.

use std::time::Duration;

use serde_json::json;

use super::conversation::{
    LOOK_UP, answer_function, assert_cut_off_then_whole, assert_speech_arrives, heard_until_interrupted,
    interrupt_for_a_function, lose_connections, wait_heard_out, wait_state,
};
use crate::deepgram_service::{Agent, KEY, WORDS_SEED};
use crate::harness::in_freeswitch;
use crate::harness::sip::{Dial, SipCall};
use crate::harness::stream::{SOON, listen_to};
use crate::realtime::{Answer, RealtimeServer, chord, heard_ms};
use crate::support::{signal, wait_for};

/// The greeting, and how long the service's voice takes for it, ms.
const GREETING: (&str, f64) = ("Good day to you.", 800.0);

#[test]
fn a_caller_talks_with_deepgram_through_a_loss() {
    in_freeswitch(|freeswitch| {
        let events = listen_to(freeswitch);
        let answers = vec![
            Answer { text: "It is a long story. It has a second part.".into(), late: 4, ..Answer::chord(81, 8_000) },
            Answer::call("look_up", &json!({"order": 7})),
            Answer { text: "It has left.".into(), ..Answer::chord(82, 900) },
            Answer { text: "Goodbye.".into(), ..Answer::chord(83, 700) },
        ];
        let words = vec!["Tell me a story.", "Where is my order?", "Thank you."];
        let server = RealtimeServer::start(Agent { words, ..Agent::answering(answers) });
        let call = SipCall::place(freeswitch, &Dial::to("park"));
        freeswitch.stream(
            &call.uuid,
            &format!(
                "start_ai engine=deepgram deepgram_base_url={} deepgram_api_key={KEY} deepgram_model=open_ai/test-model \
                 voice=aura-2-thalia-en tools='{LOOK_UP}' greeting='{}'",
                server.base_url(),
                GREETING.0
            ),
        );
        let first = server.connection(0);
        wait_state(&events, &call.uuid, "SPEAKING", 1);
        wait_state(&events, &call.uuid, "LISTENING", 1);
        let told = first.record().told("InjectAgentMessage");
        assert_eq!(told[0]["message"], GREETING.0);

        let speech = signal::speech(8_000, 900, 3);
        call.phone.say(&speech);
        wait_state(&events, &call.uuid, "SPEAKING", 2);
        assert_speech_arrives(&first, &speech);
        assert_eq!(first.record().format, json!({"encoding": "mulaw", "sample_rate": 8_000}));

        // They interrupt, and the answer to that is a function.
        let action = interrupt_for_a_function(&events, &call, 900);
        answer_function(freeswitch, &call, &action);
        wait_state(&events, &call.uuid, "SPEAKING", 3);
        wait_heard_out(&events, &call.uuid);
        assert_eq!(events.stream_events("ai_barge_in", &call.uuid).len(), 1);
        let told = heard_until_interrupted(&events, &call.uuid);
        assert_eq!(first.record().told("FunctionCallResponse")[0]["content"], "{\"status\": \"shipped\"}");

        // The connection is lost; the next session knows from its settings what was said and heard, and answers.
        lose_connections(&server, &call);
        let second = wait_for("the next session", SOON, || server.connections().get(1).cloned());
        let settings = second.wait_told("Settings", 1);
        let past = settings["agent"]["context"]["messages"].to_string();
        assert!(past.contains("Good day to you.") && past.contains("Where is my order?"), "{past}");
        assert!(past.contains("shipped") && past.contains("It has left."), "{past}");
        assert!(!past.contains("second part"), "it was not heard: {past}");
        call.phone.listen(Duration::from_millis(300));
        call.phone.say(&signal::speech(8_000, 900, 5));
        wait_state(&events, &call.uuid, "SPEAKING", 4);
        wait_heard_out(&events, &call.uuid);
        call.phone.listen(Duration::from_millis(300));

        let heard = call.phone.heard();
        let (_, greeting) = heard_ms(&heard, &chord(8_000, GREETING.1 as u32, WORDS_SEED), 8_000).unwrap();
        assert!((greeting - GREETING.1).abs() <= 20.0, "{greeting}");
        assert_cut_off_then_whole(&heard, told, [81, 82, 83]);
        for connection in server.connections() {
            assert_eq!(connection.record().complaints, []);
        }
    });
}
