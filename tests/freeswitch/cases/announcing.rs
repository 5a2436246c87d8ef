//! `say` on a stream to a server: the caller hears the text among what the server sends, and it is reported as other playback is.

use std::time::Duration;

use crate::harness::in_freeswitch;
use crate::harness::sip::{Dial, SipCall};
use crate::harness::stream::{LOUD, SERVER, SERVER_AGAIN, SOON, listen_to};
use crate::support::speech_server::{Answer, Service, SpeechServer};
use crate::support::websocket_server::{Action, Form, Play, Script, WebSocketServer};
use crate::support::{audio, eventually, signal, wait_for};

#[test]
fn what_the_operator_says_is_heard_on_a_stream_to_a_server() {
    in_freeswitch(|freeswitch| {
        let events = listen_to(freeswitch);
        let voice = SpeechServer::start(Service::ElevenLabs("xi-test"), [Answer::default()]);
        let speaks = format!(
            "tts_provider=elevenlabs tts_elevenlabs_api_key=xi-test tts_voice=v1 tts_url={} tts_output_format=pcm_8000 \
             tts_cache=false dsp_enabled=false",
            voice.url(false)
        );
        let call = SipCall::place(freeswitch, &Dial::to("park"));
        let server = WebSocketServer::start(Script::default());
        freeswitch.start_stream(&call.uuid, &server, &format!("mono 8k binary_rate=8k {speaks}"));
        let tone = |hz: f64| Play::mono(signal::tone(8_000, hz, 1_000, LOUD), 8_000).form(Form::Binary);
        let connection = server.connection(0);
        connection.order(Action::Play(tone(SERVER)));
        freeswitch.wait_played(&call.uuid, 200);
        freeswitch.stream(&call.uuid, "say Good morning. Your table is ready.");
        // Both are made at the same time.
        let spoken = |text: &str| {
            let asked = voice.asked().into_iter().find(|asked| asked.body["text"] == text);
            asked.map(|asked| asked.samples).filter(|samples| !samples.is_empty())
        };
        let sentence = |text: &str| wait_for(text, SOON, || spoken(text));
        let said = [sentence("Good morning."), sentence("Your table is ready.")].concat();
        let said_ms = said.len() as u64 / 8;
        // All of it is queued before the server's next words come.
        let waits = |ms: u64| {
            let health = freeswitch.json(&format!("{} health", call.uuid));
            let queued = health["inject"]["buffer_inuse_bytes"].as_u64().unwrap_or_default() / 16;
            queued + health["inject"]["played_ms"].as_u64().unwrap_or_default() >= ms
        };
        assert!(eventually(SOON, || waits(1_000 + said_ms - 20)), "what is said is not queued");
        connection.order(Action::Play(tone(SERVER_AGAIN)));
        freeswitch.wait_played(&call.uuid, 2_000 + said_ms);
        std::thread::sleep(Duration::from_millis(300));
        let heard = call.phone.heard();
        let place = |hz: f64| audio::tone_stretches(&heard, 8_000, hz, LOUD / 2.0, 80);
        let (before, after) = (place(SERVER), place(SERVER_AGAIN));
        let (at, alike) = audio::find(&heard, &said);
        assert!(alike > 0.97, "it is heard like it was made by {alike:.3}");
        assert!(before.iter().all(|stretch| stretch.start < at) && !before.is_empty(), "{before:?}, then {at}");
        assert!(
            after.iter().all(|stretch| stretch.start + 80 >= at + said.len()) && !after.is_empty(),
            "{at}, {after:?}"
        );
        let played = || -> Vec<String> {
            let played = events.stream_events("playback", &call.uuid);
            played.iter().map(|event| event.get("Audio-Stream-Status").unwrap_or_default().to_owned()).collect()
        };
        assert!(eventually(SOON, || played() == ["started", "finished"]), "{:?}", played());

        let silent = freeswitch.originate("null/x", "park()", "");
        freeswitch.start_stream(&silent, &server, "mono 8k tts_provider=elevenlabs");
        let refused = freeswitch.refused(&silent, "say Good morning.");
        assert!(refused.contains("no speech can be made") && refused.contains("tts_api_key"), "{refused}");
        assert!(events.stream_events("error", &call.uuid).is_empty());
    });
}
