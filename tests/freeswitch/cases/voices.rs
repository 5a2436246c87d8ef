//! The voices of the providers of speech, on a real call: what the caller hears is what the provider has made.

use std::sync::Arc;

use super::conversation_turns::Telephone;
use crate::harness::in_freeswitch;
use crate::realtime::Stage;
use crate::support::audio;
use crate::support::speech_server::{Answer, Service, SpeechServer};

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
