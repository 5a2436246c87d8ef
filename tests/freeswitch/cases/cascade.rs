//! A caller talks with a cascade of local servers: speech both ways, an interruption, a function, and a server that is away; with a recogniser
//! that is asked turn by turn, and with one that hears the caller all the time.

use std::time::Duration;

use serde_json::json;

use super::conversation::{LOOK_UP, answer_function, wait_heard_out, wait_state};
use crate::harness::esl::Esl;
use crate::harness::in_freeswitch;
use crate::harness::sip::{Dial, SipCall};
use crate::harness::stream::{SOON, listen_to};
use crate::parts::recogniser::spoken;
use crate::parts::{KEY, Parts, PartsServer, RecogniserServer, Reply};
use crate::realtime::{chord, heard_ms};
use crate::support::{audio, eventually, signal, wait_for, wav};

/// How long each sentence of the voice lasts.
const SENTENCE_MS: u32 = 2_000;

/// The voice: whatever the sentence, the same chord. The file goes with it.
struct Voice {
    file: std::path::PathBuf,
    chord: Vec<i16>,
}

impl Voice {
    fn new(name: &str) -> Self {
        let file = std::env::temp_dir().join(format!("cascade-{name}-{:?}.wav", std::thread::current().id()));
        let chord = chord(8_000, SENTENCE_MS, 91);
        wav::write(&file, 8_000, 1, &chord).unwrap();
        Self { file, chord }
    }

    /// The options of a conversation in which it speaks what the model of this server says.
    fn options(&self, model: &PartsServer) -> String {
        format!(
            "engine=cascade llm_url={} llm_model=test-model llm_api_key={KEY} tts_provider=command tts_command='cat {}' \
             dsp_enabled=false tools='{LOOK_UP}'",
            model.url(),
            self.file.display(),
        )
    }

    /// The caller has heard the beginning of one sentence and silence since they spoke, and interrupted once, as the operator was told.
    #[track_caller]
    fn assert_interrupted(&self, events: &Esl, call: &SipCall) {
        let heard = call.phone.heard();
        let (at, interrupted) = heard_ms(&heard, &self.chord, 8_000).unwrap();
        let after = &heard[at + (interrupted * 8.0) as usize + 160..];
        assert!(interrupted < f64::from(SENTENCE_MS) - 200.0, "{interrupted} ms of the first sentence were heard");
        assert!(audio::rms(after) < 50.0, "it is not silent after the interruption: {}", audio::rms(after));
        assert_eq!(events.stream_events("ai_barge_in", &call.uuid).len(), 1);
    }

    /// The caller has heard a whole sentence since `from`.
    #[track_caller]
    fn assert_whole(&self, call: &SipCall, from: usize) {
        let (_, whole) = heard_ms(&call.phone.heard()[from..], &self.chord, 8_000).unwrap();
        assert!((f64::from(SENTENCE_MS) - 40.0..=f64::from(SENTENCE_MS) + 40.0).contains(&whole), "{whole}");
    }
}

impl Drop for Voice {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.file);
    }
}

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
        let voice = Voice::new("written");
        let call = SipCall::place(freeswitch, &Dial::to("park"));
        freeswitch.stream(
            &call.uuid,
            &format!("start_ai {} stt_url={} stt_model=words stt_api_key={KEY}", voice.options(&server), server.url()),
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
        voice.assert_interrupted(&events, &call);
        let from = call.phone.heard().len();
        answer_function(freeswitch, &call, &action);
        wait_state(&events, &call.uuid, "SPEAKING", 2);
        wait_heard_out(&events, &call.uuid);
        call.phone.listen(Duration::from_millis(300));
        voice.assert_whole(&call, from);

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
        voice.assert_whole(&call, from);
        let record = server.parts().record();
        assert_eq!(record.complaints, [""; 0]);
        // What was not heard of the story is not in the model's memory.
        let told = record.asked.last().unwrap()["messages"].to_string();
        assert!(told.contains("shipped") && !told.contains("third one"), "{told}");
    });
}

#[test]
fn a_recogniser_hears_a_caller_through_a_loss() {
    in_freeswitch(|freeswitch| {
        let events = listen_to(freeswitch);
        // Each word of the caller's is a tone, so what the model is told is what the recogniser heard.
        let model = PartsServer::start(Parts::new(&[], |messages| {
            match messages.last().and_then(|last| last["content"].as_str()).unwrap_or_default() {
                words if words.contains("bravo") => {
                    Reply::text("It is a long story. It has a second part. It has a third one too.")
                }
                words if words.contains("delta") => Reply::call("look_up", &json!({"order": 7})),
                _ => Reply::text("It has left."),
            }
        }));
        let recogniser = RecogniserServer::start();
        let voice = Voice::new("heard");
        let call = SipCall::place(freeswitch, &Dial::to("park"));
        freeswitch.stream(
            &call.uuid,
            &format!(
                "start_ai {} stt_provider=deepgram stt_url={} stt_model=nova-3 stt_api_key={KEY}",
                voice.options(&model),
                recogniser.url()
            ),
        );
        wait_state(&events, &call.uuid, "LISTENING", 1);
        let told = || model.parts().record().asked.last().map(|asked| asked["messages"].clone()).unwrap_or_default();
        // Every word that the model was told the caller has said. FreeSWITCH makes up a frame where a packet comes late, which may cut a
        // tone in two: that is the same word again.
        let words = || {
            let told = told();
            let told = told.as_array().into_iter().flatten().filter(|message| message["role"] == "user");
            let text = told.filter_map(|message| message["content"].as_str()).collect::<Vec<_>>().join(" ");
            let mut words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
            words.dedup();
            words
        };

        call.phone.say(&spoken(8_000, &["alpha", "bravo"]));
        wait_state(&events, &call.uuid, "SPEAKING", 1);
        assert_eq!(words(), ["alpha", "bravo"]);

        // They interrupt in the first sentence, and the answer to that is a function.
        call.phone.listen(Duration::from_millis(600));
        call.phone.say(&spoken(8_000, &["charlie", "delta"]));
        let action =
            wait_for("the function", SOON, || events.stream_events("ai_action", &call.uuid).into_iter().next());
        voice.assert_interrupted(&events, &call);
        let from = call.phone.heard().len();
        answer_function(freeswitch, &call, &action);
        wait_state(&events, &call.uuid, "SPEAKING", 2);
        wait_heard_out(&events, &call.uuid);
        call.phone.listen(Duration::from_millis(300));
        voice.assert_whole(&call, from);

        // The recogniser's connection is lost in the middle of what they say: the next one is told it, and no word is missing.
        let from = call.phone.heard().len();
        call.phone.say(&spoken(8_000, &["echo", "foxtrot", "golf", "hotel", "india", "juliet"]));
        call.phone.listen(Duration::from_millis(700));
        recogniser.reset();
        wait_state(&events, &call.uuid, "SPEAKING", 3);
        wait_heard_out(&events, &call.uuid);
        call.phone.listen(Duration::from_millis(300));
        voice.assert_whole(&call, from);
        let said =
            ["alpha", "bravo", "charlie", "delta", "echo", "foxtrot", "golf", "hotel", "india", "juliet"].as_slice();
        assert_eq!(words(), said);
        // What was not heard of the story is not in the model's memory.
        let told = told().to_string();
        assert!(told.contains("shipped") && !told.contains("third one"), "{told}");

        call.hang_up();
        let closed = || recogniser.recogniser().record().closed == 1;
        assert!(eventually(SOON, closed), "the recogniser is not told that the caller is gone");
        let record = recogniser.recogniser().record();
        assert_eq!((record.connections.len(), &record.complaints), (2, &Vec::new()));
        assert_eq!(model.parts().record().complaints, [""; 0]);
        drop(record);
        events.wait_stream("ai_summary", &call.uuid);
        assert!(!freeswitch.log().lines().any(|line| line.contains(" mod_audio_stream:") && line.contains(KEY)));
    });
}
