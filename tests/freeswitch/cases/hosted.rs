//! A caller talks with an agent of ElevenLabs: speech both ways, an interruption, a function, and a lost connection, each connection by a
//! signed URL of its own.

use std::time::Duration;

use serde_json::json;

use super::conversation::{
    LOOK_UP, answer_function, assert_cut_off_then_whole, assert_speech_arrives, heard_until_interrupted,
    interrupt_for_a_function, lose_connections, states, wait_heard_out, wait_state,
};
use crate::harness::in_freeswitch;
use crate::harness::sip::{Dial, SipCall};
use crate::harness::stream::{SOON, listen_to};
use crate::realtime::{AGENT, AGENT_KEY, Answer, Answers, Hosted, RealtimeServer, SIGNATURE, Script, chord, heard_ms};
use crate::support::{signal, wait_for};

#[test]
fn a_caller_talks_with_a_hosted_agent_through_a_loss() {
    in_freeswitch(|freeswitch| {
        let events = listen_to(freeswitch);
        let answers = vec![
            Answer { late: 4, text: "It is a long story with a second part.".into(), ..Answer::chord(61, 8_000) },
            Answer::call("look_up", &json!({"order": 7})),
            Answer { text: "It has left.".into(), ..Answer::chord(62, 900) },
            Answer::chord(63, 700),
        ];
        let hosted = Hosted { greeting: Some(Answer::chord(60, 800)), ..Hosted::default() };
        let script = Script { hosted: Some(hosted), answers: Answers::each(answers), ..Script::default() };
        let server = RealtimeServer::start(script);
        let call = SipCall::place(freeswitch, &Dial::to("park"));
        freeswitch.stream(
            &call.uuid,
            &format!(
                "start_ai engine=elevenlabs elevenlabs_base_url={} elevenlabs_api_key={AGENT_KEY} \
                 elevenlabs_agent_id={AGENT} tools='{LOOK_UP}'",
                server.base_url()
            ),
        );
        wait_state(&events, &call.uuid, "SPEAKING", 1);
        // Listening, as before it greets.
        wait_state(&events, &call.uuid, "LISTENING", 2);
        let first = server.connection(0);

        // The caller speaks.
        let speech = signal::speech(8_000, 900, 3);
        call.phone.say(&speech);
        wait_state(&events, &call.uuid, "SPEAKING", 2);
        // They interrupt, and the answer to that is a function.
        let action = interrupt_for_a_function(&events, &call, 900);
        answer_function(freeswitch, &call, &action);
        wait_state(&events, &call.uuid, "SPEAKING", 3);
        wait_heard_out(&events, &call.uuid);
        let told = heard_until_interrupted(&events, &call.uuid);
        assert_eq!(first.record().told("client_tool_result")[0]["is_error"], false);

        // The connection is lost; the next conversation knows what was said, and greets nobody again.
        lose_connections(&server, &call);
        let second = wait_for("the next conversation", SOON, || server.connections().get(1).cloned());
        wait_for("its history", SOON, || {
            let told = second.record().told("contextual_update");
            told.iter().any(|event| event["text"] == "You have said: It has left.").then_some(())
        });
        call.phone.listen(Duration::from_millis(1_200));
        call.phone.say(&signal::speech(8_000, 900, 5));
        let spoken = states(&events, &call.uuid).iter().filter(|state| *state == "SPEAKING").count();
        wait_state(&events, &call.uuid, "SPEAKING", spoken.max(3) + 1);
        wait_heard_out(&events, &call.uuid);
        call.phone.listen(Duration::from_millis(300));

        assert_speech_arrives(&first, &speech);

        let heard = call.phone.heard();
        let (greeted, greeting) = heard_ms(&heard, &chord(8_000, 800, 60), 8_000).unwrap();
        assert!((780.0..=820.0).contains(&greeting), "{greeting}");
        assert!(heard_ms(&heard[greeted + 7_000..], &chord(8_000, 800, 60), 8_000).is_none(), "greeted twice");
        assert_cut_off_then_whole(&heard, told, [61, 62, 63]);
        for connection in server.connections() {
            assert_eq!(connection.record().complaints, []);
            assert!(connection.opening.uri.contains(SIGNATURE));
        }
        let log = freeswitch.log();
        assert!(!log.contains(SIGNATURE) && !log.contains(AGENT_KEY), "the log has a secret");
    });
}
