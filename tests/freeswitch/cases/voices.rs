//! The voices of the providers of speech, on a real call: what the caller hears is what the provider has made.

use std::sync::Arc;

use serde_json::json;

use super::conversation_turns::Telephone;
use crate::harness::in_freeswitch;
use crate::realtime::{Stage, heard_ms};
use crate::support::audio;
use crate::support::speech_server::{Answer, Service, SpeechServer};
use crate::support::stream_input_server::{Manner, StreamInputServer, lasts};

#[test]
fn callers_hear_the_voices_of_deepgram_and_cartesia() {
    in_freeswitch(|freeswitch| {
        for (service, provider, own) in [
            (Service::Deepgram("dg-test"), "deepgram", [("tts_voice", "aura-2-thalia-en"), ("tts_speed", "1.1")]),
            (Service::Cartesia("dg-test"), "cartesia", [("tts_voice", "694f9389"), ("tts_model", "sonic-3")]),
        ] {
            let voice = SpeechServer::start(service, [Answer::default()]);
            let url = voice.url(false);
            let options = [
                ("ai_output", "tts"),
                ("tts_provider", provider),
                ("tts_api_key", "dg-test"),
                ("tts_url", url.as_str()),
                ("dsp_enabled", "false"),
                own[0],
                own[1],
            ];
            let place = Telephone::place(freeswitch, &options);
            let call = Arc::clone(&place.call);
            let mut stage = Stage::new(place);
            stage.open();
            stage.speak("u1", 300);
            stage.create("r1");
            stage.message("r1", "i1");
            stage.text("r1", "i1", "The first sentence is here. The second one follows it.");
            stage.within(20_000, "both sentences", |_| voice.asked().len() >= 2);
            stage.end("r1");
            stage.await_state("LISTENING", 8_000);
            let asked = voice.asked();
            let heard = call.phone.heard();
            let mut after = 0;
            for asked in &asked {
                assert_eq!(asked.objection, None, "{provider}");
                let (at, alike) = audio::find(&heard[after..], &asked.samples);
                assert!(alike > 0.97, "{provider}: {} is heard like it was made by {alike:.3}", asked.body);
                after += at + asked.samples.len() - 80;
            }
            assert_eq!(stage.events("error"), [] as [&str; 0]);
        }
    });
}

/// The words of `text` that have been spoken whole after so many milliseconds.
fn words_within(text: &str, ms: f64) -> String {
    let mut sum = 0;
    let within = |word: &&str| {
        sum += word.chars().map(lasts).sum::<u32>();
        f64::from(sum) <= ms
    };
    text.split(' ').filter(|word| !word.is_empty()).take_while(within).collect::<Vec<_>>().join(" ")
}

#[test]
fn speech_begins_before_its_sentence_ends_and_is_cut_exactly() {
    const BEGINNING: &str =
        "I have found the order that you asked me about, and, as it seems, it will be with you by Friday in the ";
    const REST: &str =
        "afternoon, unless the weather keeps the ferry from sailing, in which case it will be a day later.";
    in_freeswitch(|freeswitch| {
        let voice = StreamInputServer::start("xi-test", Manner::Well);
        let url = voice.url();
        let options = [
            ("ai_output", "tts"),
            ("tts_provider", "elevenlabs_ws"),
            ("tts_api_key", "xi-test"),
            ("tts_voice", "v1"),
            ("tts_url", url.as_str()),
            ("dsp_enabled", "false"),
        ];
        let place = Telephone::place(freeswitch, &options);
        let call = Arc::clone(&place.call);
        let mut stage = Stage::new(place);
        stage.open();
        stage.speak("u1", 300);
        stage.create("r1");
        stage.message("r1", "i1");
        let delta = |text: &str| {
            json!({"type": "response.output_text.delta", "response_id": "r1", "item_id": "i1", "output_index": 0,
                "content_index": 0, "delta": text})
        };
        stage.send(delta(BEGINNING));
        stage.await_state("SPEAKING", 3_000);
        stage.send(delta(REST));
        stage
            .send(json!({"type": "response.output_text.done", "response_id": "r1", "item_id": "i1", "output_index": 0,
            "content_index": 0, "text": format!("{BEGINNING}{REST}")}));
        stage.end("r1");
        stage.within(10_000, "the second piece", |_| voice.spoken().len() >= 3);
        stage.pass(700);
        let at = stage.appended_ms();
        stage.speech_started("u2", at);
        stage.within(3_000, "what was heard", |stage| !stage.events("heard").is_empty());
        stage.pass(300);

        let heard = call.phone.heard();
        let (mut expected, mut cut) = (Vec::new(), 0);
        for piece in voice.spoken() {
            let Some((_, ms)) = heard_ms(&heard, &piece.samples, 8_000) else { break };
            let whole = piece.samples.len() as f64 / 8.0;
            cut += usize::from(ms + 20.0 < whole);
            // A frame more or less is the limit of what can be measured here.
            let words = [ms - 20.0, ms + 20.0].map(|ms| words_within(&piece.text, ms));
            expected.push(if ms + 20.0 < whole {
                words
            } else {
                [piece.text.trim().to_owned(), piece.text.trim().to_owned()]
            });
        }
        assert!(cut == 1 && expected.len() >= 2, "{cut} of {} pieces are cut", expected.len());
        let text = |which: usize| {
            let pieces: Vec<_> =
                expected.iter().map(|words| words[which].as_str()).filter(|text| !text.is_empty()).collect();
            pieces.join(" ")
        };
        let told = stage.events("heard").pop().unwrap_or_default();
        assert!(told == text(0) || told == text(1), "told '{told}', heard '{}' to '{}'", text(0), text(1));
        assert_eq!((voice.objections(), voice.connections()), (vec![], 1));
    });
}
