//! A caller talks with AssemblyAI's Voice Agent: a greeting word for word, speech both ways, an interruption, a function, and a lost
//! connection over which the session goes on.

use std::time::Duration;

use serde_json::json;

use super::conversation::{
    LOOK_UP, answer_function, assert_cut_off_then_whole, assert_speech_arrives, heard_until_interrupted,
    interrupt_for_a_function, lose_connections, states, wait_heard_out, wait_state,
};
use crate::assemblyai_service::{Agent, KEY, WORDS_SEED};
use crate::harness::in_freeswitch;
use crate::harness::sip::{Dial, SipCall};
use crate::harness::stream::{SOON, listen_to};
use crate::realtime::{Answer, Pace, RealtimeServer, chord, heard_ms};
use crate::support::{signal, wait_for};

/// The greeting, and how long the service's voice takes for it, ms.
const GREETING: (&str, f64) = ("Good day to you.", 800.0);

#[test]
fn a_caller_talks_with_assemblyai_through_a_loss() {
    in_freeswitch(|freeswitch| {
        let events = listen_to(freeswitch);
        let story = "It is a long story. It has a second part.";
        let answers = vec![
            Answer { text: story.into(), late: 4, pace: Pace::Times(1.5), ..Answer::chord(91, 8_000) },
            Answer::call("look_up", &json!({"order": 7})),
            Answer { text: "It has left.".into(), ..Answer::chord(92, 900) },
            Answer { text: "Goodbye.".into(), ..Answer::chord(93, 700) },
        ];
        let words = vec!["Tell me a story.", "Where is my order?", "Thank you."];
        let server = RealtimeServer::start(Agent { words, ..Agent::answering(answers) });
        let call = SipCall::place(freeswitch, &Dial::to("park"));
        freeswitch.stream(
            &call.uuid,
            &format!(
                "start_ai engine=assemblyai assemblyai_base_url={} assemblyai_api_key={KEY} voice=ivy tools='{LOOK_UP}' greeting='{}'",
                server.base_url(),
                GREETING.0
            ),
        );
        let first = server.connection(0);
        wait_state(&events, &call.uuid, "SPEAKING", 1);
        // Listening, as before it greets.
        wait_state(&events, &call.uuid, "LISTENING", 2);
        let session = first.record().told("session.update")[0]["session"].clone();
        assert_eq!((&session["greeting"], &session["output"]["voice"]), (&json!(GREETING.0), &json!("ivy")));

        let speech = signal::speech(8_000, 900, 3);
        call.phone.say(&speech);
        wait_state(&events, &call.uuid, "SPEAKING", 2);
        assert_speech_arrives(&first, &speech);
        assert_eq!(first.record().format, json!({"encoding": "audio/pcmu"}));

        // They interrupt, and the answer to that is a function.
        let action = interrupt_for_a_function(&events, &call, 900);
        answer_function(freeswitch, &call, &action);
        wait_state(&events, &call.uuid, "SPEAKING", 3);
        wait_heard_out(&events, &call.uuid);
        assert_eq!(events.stream_events("ai_barge_in", &call.uuid).len(), 1);
        let told = heard_until_interrupted(&events, &call.uuid);
        assert_eq!(first.record().told("tool.result")[0]["result"], "{\"status\": \"shipped\"}");
        assert_eq!(
            first.record().said("reply.done").iter().filter(|(_, done)| done["status"] == "interrupted").count(),
            1
        );

        // The connection is lost; the session goes on over the next one, and nobody is greeted again.
        lose_connections(&server, &call);
        let second = wait_for("the next connection", SOON, || server.connections().get(1).cloned());
        assert_eq!(second.wait_told("session.resume", 1)["session_id"], "sess_0");
        call.phone.listen(Duration::from_millis(500));
        call.phone.say(&signal::speech(8_000, 900, 5));
        let spoken = states(&events, &call.uuid).iter().filter(|state| *state == "SPEAKING").count();
        wait_state(&events, &call.uuid, "SPEAKING", spoken.max(3) + 1);
        wait_heard_out(&events, &call.uuid);
        call.phone.listen(Duration::from_millis(300));

        let heard = call.phone.heard();
        let words = chord(8_000, GREETING.1 as u32, WORDS_SEED);
        let (greeted, greeting) = heard_ms(&heard, &words, 8_000).unwrap();
        assert!((greeting - GREETING.1).abs() <= 20.0, "{greeting}");
        assert!(heard_ms(&heard[greeted + 7_000..], &words, 8_000).is_none(), "greeted twice");
        assert_cut_off_then_whole(&heard, told, [91, 92, 93]);
        // The event of an interrupted answer has the words that the caller heard.
        let transcripts = events.stream_events("ai_transcript", &call.uuid);
        let interrupted =
            transcripts.iter().filter_map(|event| event.body.as_deref()).find(|body| body.contains(story));
        let body: serde_json::Value = serde_json::from_str(interrupted.unwrap()).unwrap();
        let said = body["heard_text"].as_str().unwrap();
        assert!(said.starts_with("It is") && !said.contains("second part"), "{said}");
        for connection in server.connections() {
            assert_eq!(connection.record().complaints, []);
        }
        // A session that is ended costs nothing any more.
        call.hang_up();
        wait_for("the end of the session", SOON, || (!second.record().told("session.end").is_empty()).then_some(()));
        assert!(!freeswitch.log().contains(KEY), "the log has the key");
    });
}
