//! A caller talks with each service that speaks the Realtime protocol in its own way: speech both ways, an interruption, a function,
//! and a lost connection.

use std::time::Duration;

use super::conversation::{
    LOOK_UP, answer_function, assert_cut_off_then_whole, assert_speech_arrives, heard_until_interrupted,
    interrupt_for_a_function, lose_connections, wait_heard_out, wait_state,
};
use crate::harness::in_freeswitch;
use crate::harness::sip::{Dial, SipCall};
use crate::harness::stream::{SOON, listen_to};
use crate::realtime::{Answer, Answers, Dialect, RealtimeServer, Script};
use crate::support::{signal, wait_for};
use serde_json::json;

/// Talks with the service of this dialect; its options begin with `prefix`.
fn conversation_with(engine: &str, prefix: &str, dialect: Dialect, own: &str) {
    in_freeswitch(|freeswitch| {
        let events = listen_to(freeswitch);
        let answers = vec![
            Answer { late: 4, ..Answer::chord(81, 8_000) },
            Answer::call("look_up", &json!({"order": 7})),
            Answer { text: "It has left.".into(), ..Answer::chord(82, 900) },
            Answer::chord(83, 700),
        ];
        let server = RealtimeServer::start(Script { answers: Answers::each(answers), ..Script::of(dialect) });
        let call = SipCall::place(freeswitch, &Dial::to("park"));
        freeswitch.stream(
            &call.uuid,
            &format!(
                "start_ai engine={engine} {prefix}_base_url={} {prefix}_api_key=sk-test {prefix}_model=test-model \
                 transcription_model=whisper-1 tools='{LOOK_UP}' {own}",
                server.base_url()
            ),
        );
        wait_state(&events, &call.uuid, "LISTENING", 1);
        let first = server.connection(0);

        let speech = signal::speech(8_000, 900, 3);
        call.phone.say(&speech);
        wait_state(&events, &call.uuid, "SPEAKING", 1);
        assert_speech_arrives(&first, &speech);
        assert_eq!(first.record().format, json!({"type": "audio/pcmu"}));

        // They interrupt, and the answer to that is a function.
        let action = interrupt_for_a_function(&events, &call, 900);
        answer_function(freeswitch, &call, &action);
        wait_state(&events, &call.uuid, "SPEAKING", 2);
        wait_state(&events, &call.uuid, "LISTENING", 3);
        let told = heard_until_interrupted(&events, &call.uuid);
        let truncated = first.record().told("conversation.item.truncate");
        match dialect {
            Dialect::Inworld => assert_eq!(truncated.len(), 0),
            _ => assert_eq!(truncated[0]["audio_end_ms"].as_f64(), Some(told)),
        }

        // The connection is lost; the next session knows what was said, and answers.
        lose_connections(&server, &call);
        let second = wait_for("the next session", SOON, || server.connections().get(1).cloned());
        wait_for("its history", SOON, || {
            let told = second.record().told("conversation.item.create");
            told.iter().any(|event| event.to_string().contains("It has left.")).then_some(())
        });
        call.phone.say(&signal::speech(8_000, 900, 5));
        wait_state(&events, &call.uuid, "SPEAKING", 3);
        wait_heard_out(&events, &call.uuid);
        call.phone.listen(Duration::from_millis(300));

        let heard = call.phone.heard();
        assert_cut_off_then_whole(&heard, told, [81, 82, 83]);
        for connection in server.connections() {
            assert_eq!(connection.record().complaints, []);
        }
    });
}

#[test]
fn a_caller_talks_with_xai_through_a_loss() {
    conversation_with("xai_realtime", "xai", Dialect::Xai, "voice=eve vad_silence_duration_ms=300");
}

#[test]
fn a_caller_talks_with_voice_live_through_a_loss() {
    let voice = "voice=en-US-Ava:DragonHDLatestNeural";
    conversation_with("voice_live", "voice_live", Dialect::VoiceLive, &format!("{voice} vad_silence_duration_ms=300"));
}

#[test]
fn a_caller_talks_with_inworld_through_a_loss() {
    conversation_with(
        "inworld_realtime",
        "inworld",
        Dialect::Inworld,
        "voice=Sarah turn_detection=semantic_vad vad_eagerness=high",
    );
}
