//! A caller talks with Ultravox: a greeting word for word, speech both ways, an interruption, a function, and a lost connection after which
//! another call of the service knows what was said. Each is joined at an address of its own.

use std::time::Duration;

use serde_json::json;

use super::conversation::{
    LOOK_UP, answer_function, assert_cut_off_then_whole, assert_speech_arrives, heard_until_interrupted,
    interrupt_for_a_function, lose_connections, states, wait_heard_out, wait_state,
};
use crate::harness::in_freeswitch;
use crate::harness::sip::{Dial, SipCall};
use crate::harness::stream::{SOON, listen_to};
use crate::realtime::{Answer, Pace, RealtimeServer, chord, heard_ms};
use crate::support::{signal, wait_for};
use crate::ultravox_service::{Agent, JOIN, KEY, WORDS_SEED, words_ms};

const GREETING: &str = "Good day to you.";

#[test]
fn a_caller_talks_with_ultravox_through_a_loss() {
    in_freeswitch(|freeswitch| {
        let events = listen_to(freeswitch);
        let story = "It is a long story. It has a second part.";
        let answers = vec![
            Answer { text: story.into(), pace: Pace::Times(1.5), ..Answer::chord(91, 8_000) },
            Answer::call("look_up", &json!({"order": 7})),
            Answer { text: "It has left.".into(), ..Answer::chord(92, 900) },
            Answer { text: "Goodbye.".into(), ..Answer::chord(93, 700) },
        ];
        let words = vec!["Tell me a story.", "Where is my order?", "Thank you."];
        let agent = Agent { words, ..Agent::answering(answers) };
        let server = RealtimeServer::start(agent.clone());
        let call = SipCall::place(freeswitch, &Dial::to("park"));
        freeswitch.stream(
            &call.uuid,
            &format!(
                "start_ai engine=ultravox ultravox_base_url={} ultravox_api_key={KEY} voice=Mark tools='{LOOK_UP}' greeting='{GREETING}'",
                server.base_url()
            ),
        );
        let first = server.connection(0);
        wait_state(&events, &call.uuid, "SPEAKING", 1);
        wait_state(&events, &call.uuid, "LISTENING", 1);
        assert_eq!(agent.created.lock()[0]["voice"], "Mark");
        assert_eq!(first.record().told("forced_agent_message")[0]["content"], GREETING);

        let speech = signal::speech(8_000, 900, 3);
        call.phone.say(&speech);
        wait_state(&events, &call.uuid, "SPEAKING", 2);
        assert_speech_arrives(&first, &speech);

        // They interrupt, and the answer to that is a function.
        let action = interrupt_for_a_function(&events, &call, 900);
        answer_function(freeswitch, &call, &action);
        wait_state(&events, &call.uuid, "SPEAKING", 3);
        wait_heard_out(&events, &call.uuid);
        assert_eq!(events.stream_events("ai_barge_in", &call.uuid).len(), 1);
        let told = heard_until_interrupted(&events, &call.uuid);
        assert_eq!(first.record().told("client_tool_result")[0]["result"], "{\"status\": \"shipped\"}");
        assert_eq!(first.record().said("playback_clear_buffer").len(), 1);

        // The connection is lost; another call is created, which knows what was said, and nobody is greeted again.
        lose_connections(&server, &call);
        let second = wait_for("the next call", SOON, || server.connections().get(1).cloned());
        let past = agent.past(1);
        let said = |role: &str, text: &str| past.contains(&(format!("MESSAGE_ROLE_{role}"), text.to_owned()));
        assert!(said("AGENT", GREETING) && said("USER", "Where is my order?"), "{past:?}");
        assert!(said("TOOL_RESULT", "{\"status\": \"shipped\"}") && said("AGENT", "It has left."), "{past:?}");
        call.phone.listen(Duration::from_millis(500));
        call.phone.say(&signal::speech(8_000, 900, 5));
        let spoken = states(&events, &call.uuid).iter().filter(|state| *state == "SPEAKING").count();
        wait_state(&events, &call.uuid, "SPEAKING", spoken.max(3) + 1);
        wait_heard_out(&events, &call.uuid);
        call.phone.listen(Duration::from_millis(300));
        assert_eq!(second.record().told.len(), 0, "it knows everything from the beginning");

        let heard = call.phone.heard();
        let words = chord(8_000, words_ms(GREETING), WORDS_SEED);
        let (greeted, greeting) = heard_ms(&heard, &words, 8_000).unwrap();
        assert!((greeting - f64::from(words_ms(GREETING))).abs() <= 20.0, "{greeting}");
        assert!(heard_ms(&heard[greeted + 7_000..], &words, 8_000).is_none(), "greeted twice");
        assert_cut_off_then_whole(&heard, told, [91, 92, 93]);
        // The event of an interrupted answer has the words that the caller heard.
        let transcripts = events.stream_events("ai_transcript", &call.uuid);
        let interrupted = transcripts
            .iter()
            .filter_map(|event| serde_json::from_str::<serde_json::Value>(event.body.as_deref()?).ok())
            .find(|body| body["text"].as_str().is_some_and(|text| text.starts_with("It is")))
            .unwrap();
        let said = interrupted["heard_text"].as_str().unwrap();
        assert!(said.starts_with("It is") && !said.contains("second part"), "{said}");
        assert_eq!(*agent.refused.lock(), []);
        for connection in server.connections() {
            assert_eq!(connection.record().complaints, []);
            assert!(connection.opening.uri.contains(JOIN));
        }
        call.hang_up();
        let log = freeswitch.log();
        assert!(!log.contains(KEY), "the log has the key");
        assert!(!log.contains(JOIN), "the log has the address of a call");
    });
}
