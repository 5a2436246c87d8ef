//! A caller talks with a cascade of local servers: speech both ways, an interruption, a function, and a server that is away.

use std::time::Duration;

use serde_json::json;

use super::conversation::{LOOK_UP, states, wait_state};
use crate::harness::in_freeswitch;
use crate::harness::sip::{Dial, SipCall};
use crate::harness::stream::{SOON, listen_to};
use crate::parts::{KEY, Parts, PartsServer, Reply};
use crate::realtime::{chord, heard_ms};
use crate::support::{audio, signal, wait_for, wav};

/// How long each sentence of the voice lasts.
const SENTENCE_MS: u32 = 2_000;

#[test]
fn a_caller_talks_with_a_cascade_through_an_outage() {
    in_freeswitch(|freeswitch| {
        let events = listen_to(freeswitch);
        let words = ["Tell me a story.", "Where is my order?", "Hello?"];
        let server = PartsServer::start(Parts::new(&words, |messages| {
            match messages.last().and_then(|last| last["content"].as_str()).unwrap_or_default() {
                "Tell me a story." => Reply::text("It is a long story. It has a second part. It has a third one too."),
                "Where is my order?" => Reply::call("look_up", &json!({"order": 7})),
                _ => Reply::text("It has left."),
            }
        }));
        // The voice: whatever the sentence, the same chord.
        let file = std::env::temp_dir().join(format!("cascade-voice-{}.wav", std::process::id()));
        let voice = chord(8_000, SENTENCE_MS, 91);
        wav::write(&file, 8_000, 1, &voice).unwrap();
        let call = SipCall::place(freeswitch, &Dial::to("park"));
        freeswitch.stream(
            &call.uuid,
            &format!(
                "start_ai engine=cascade stt_url={url} stt_model=words stt_api_key={KEY} llm_url={url} llm_model=test-model \
                 llm_api_key={KEY} tts_provider=command tts_command='cat {}' dsp_enabled=false tools='{LOOK_UP}'",
                file.display(),
                url = server.url()
            ),
        );
        wait_state(&events, &call.uuid, "LISTENING", 1);

        let speech = signal::speech(8_000, 1_200, 3);
        call.phone.say(&speech);
        wait_state(&events, &call.uuid, "SPEAKING", 1);
        // The recognition has the caller's voice, at twice the rate of the call.
        let turn: Vec<i16> = server.parts().record().turns[0].iter().step_by(2).copied().collect();
        let alike = speech.chunks_exact(1_600).map(|part| audio::find(&turn, part).1).fold(0.0, f64::max);
        assert!(alike > 0.97, "the recognition does not have the caller's words: {alike}");

        // They interrupt in the first sentence, and the answer to that is a function.
        call.phone.listen(Duration::from_millis(600));
        call.phone.say(&signal::speech(8_000, 1_200, 4));
        let action =
            wait_for("the function", SOON, || events.stream_events("ai_action", &call.uuid).into_iter().next());
        let heard = call.phone.heard();
        let (at, interrupted) = heard_ms(&heard, &voice, 8_000).unwrap();
        let after = &heard[at + (interrupted * 8.0) as usize + 160..];
        assert!(interrupted < f64::from(SENTENCE_MS) - 200.0, "{interrupted} ms of the first sentence were heard");
        assert!(audio::rms(after) < 50.0, "it is not silent after the interruption: {}", audio::rms(after));
        assert_eq!(events.stream_events("ai_barge_in", &call.uuid).len(), 1);
        let from = heard.len();
        let call_id = action.get("Audio-Stream-Call-Id").unwrap().to_owned();
        freeswitch.stream(&call.uuid, &format!("ai_result {call_id} {{\"status\": \"shipped\"}}"));
        wait_state(&events, &call.uuid, "SPEAKING", 2);
        let listening = states(&events, &call.uuid).iter().filter(|state| *state == "LISTENING").count();
        wait_state(&events, &call.uuid, "LISTENING", listening + 1);
        call.phone.listen(Duration::from_millis(300));
        let (_, whole) = heard_ms(&call.phone.heard()[from..], &voice, 8_000).unwrap();
        assert!((f64::from(SENTENCE_MS) - 40.0..=f64::from(SENTENCE_MS) + 40.0).contains(&whole), "{whole}");

        // The servers are away for one turn; the next one is understood and answered.
        server.set_reachable(false);
        call.phone.say(&signal::speech(8_000, 1_000, 5));
        wait_for("the failure", SOON, || events.stream_events("error", &call.uuid).into_iter().next());
        server.set_reachable(true);
        call.phone.listen(Duration::from_millis(500));
        let from = call.phone.heard().len();
        call.phone.say(&signal::speech(8_000, 1_000, 6));
        wait_state(&events, &call.uuid, "SPEAKING", 3);
        call.phone.listen(Duration::from_millis(u64::from(SENTENCE_MS) + 500));
        let (_, again) = heard_ms(&call.phone.heard()[from..], &voice, 8_000).unwrap();
        assert!((f64::from(SENTENCE_MS) - 40.0..=f64::from(SENTENCE_MS) + 40.0).contains(&again), "{again}");
        let record = server.parts().record();
        assert_eq!(record.complaints, [""; 0]);
        // What was not heard of the story is not in the model's memory.
        let told = record.asked.last().unwrap()["messages"].to_string();
        assert!(told.contains("shipped") && !told.contains("third one"), "{told}");
        drop(record);
        std::fs::remove_file(&file).unwrap();
    });
}
