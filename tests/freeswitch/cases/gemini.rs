//! A caller talks with Gemini Live: speech both ways, an interruption, a function, and a session that goes on in the next connection.

use std::time::Duration;

use serde_json::{Value, json};

use super::conversation::{
    LOOK_UP, answer_function, assert_cut_off_then_whole, heard_until_interrupted, interrupt_for_a_function,
    wait_heard_out, wait_state,
};
use crate::harness::in_freeswitch;
use crate::harness::sip::{Dial, SipCall};
use crate::harness::stream::{SOON, listen_to};
use crate::realtime::{Answer, Order, RealtimeServer, Script, What};
use crate::support::{audio, signal, wait_for};

#[test]
fn a_caller_talks_with_gemini_over_two_connections() {
    in_freeswitch(|freeswitch| {
        let events = listen_to(freeswitch);
        let answers = vec![
            Answer { late: 4, ..Answer::chord(81, 8_000) },
            Answer::call("look_up", &json!({"order": 7})),
            Answer { text: "It has left.".into(), ..Answer::chord(82, 900) },
            Answer::chord(83, 700),
        ];
        let server = RealtimeServer::start(Script::gemini(answers));
        let call = SipCall::place(freeswitch, &Dial::to("park"));
        freeswitch.stream(
            &call.uuid,
            &format!(
                "start_ai engine=gemini gemini_base_url={} gemini_api_key=sk-test gemini_model=test-model voice=Puck \
                 vad_silence_duration_ms=300 tools='{LOOK_UP}'",
                server.base_url()
            ),
        );
        wait_state(&events, &call.uuid, "LISTENING", 1);
        let first = server.connection(0);

        // The caller is heard as they speak, at twice the rate of the call.
        let speech = signal::speech(8_000, 900, 3);
        call.phone.say(&speech);
        wait_state(&events, &call.uuid, "SPEAKING", 1);
        let told: Vec<i16> = first.record().audio.iter().step_by(2).copied().collect();
        let alike = speech.chunks_exact(1_600).map(|part| audio::find(&told, part).1).fold(0.0, f64::max);
        assert!(alike > 0.97, "the service does not have the caller's words: {alike}");

        // They interrupt, and the answer to that is a function.
        let action = interrupt_for_a_function(&events, &call, 900);
        answer_function(freeswitch, &call, &action);
        wait_state(&events, &call.uuid, "SPEAKING", 2);
        wait_heard_out(&events, &call.uuid);
        let results = first.record().told("toolResponse");
        assert_eq!(results[0]["toolResponse"]["functionResponses"][0]["response"], json!({"status": "shipped"}));
        assert_eq!(events.stream_events("ai_barge_in", &call.uuid).len(), 1);
        let told = heard_until_interrupted(&events, &call.uuid);

        // The service announces the end of the connection: the session goes on in the next one, which is told nothing again.
        first.order(Order::Trouble(What::GoAway(50)));
        let second = server.connection(1);
        let setup = wait_for("the setup", SOON, || second.record().told("setup").into_iter().next());
        assert!(setup["setup"]["sessionResumption"]["handle"].is_string(), "{setup}");
        wait_for("the session", SOON, || (!second.record().said("setupComplete").is_empty()).then_some(()));
        call.phone.listen(Duration::from_millis(300));
        call.phone.say(&signal::speech(8_000, 900, 5));
        wait_state(&events, &call.uuid, "SPEAKING", 3);
        wait_heard_out(&events, &call.uuid);
        call.phone.listen(Duration::from_millis(300));
        assert_eq!(second.record().told("clientContent"), [] as [Value; 0]);

        let heard = call.phone.heard();
        assert_cut_off_then_whole(&heard, told, [81, 82, 83]);
        for connection in server.connections() {
            assert_eq!(connection.record().complaints, []);
        }
    });
}
