//! What hangs for some calls: a disk with files and programs on it, pauses between keys. The call beside them notices nothing.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use crate::harness::disk::HangingDisk;
use crate::harness::in_freeswitch_alone;
use crate::harness::server::FreeSwitch;
use crate::harness::sip::{Dial, SipCall};
use crate::harness::stream::{LOUD, SERVER, SOON, THERE, listen_to};
use crate::support::speech_server::{Answer, Service, SpeechServer};
use crate::support::websocket_server::{Action, Script, WebSocketServer};
use crate::support::{audio, eventually, signal, wait_for, wav};

/// Calls of each kind of trouble: more than any kind of work has places.
const TROUBLED: usize = 6;

/// A call whose endpoint has FreeSWITCH sleep through pauses between keys, with a server that may send keys.
fn with_keys(freeswitch: &FreeSwitch) -> (String, WebSocketServer) {
    let uuid = freeswitch.originate("null/x", "park()", "");
    let server = WebSocketServer::start(Script::default());
    freeswitch.start_stream(&uuid, &server, "mono 8k protocol=plivo allow=dtmf");
    server.connection(0);
    (uuid, server)
}

fn send_keys(server: &WebSocketServer, keys: &str) {
    server.connection(0).order(Action::Text(json!({"event": "sendDTMF", "dtmf": keys}).to_string()));
}

#[track_caller]
fn wait_keys(freeswitch: &FreeSwitch, uuid: &str, keys: &str) {
    let sent = || freeswitch.variable(uuid, "null_channel_dtmf_queued").unwrap_or_default();
    assert!(eventually(SOON, || sent() == keys), "{} are sent, not {keys}", sent());
}

/// A metric of the module with this label, as printed.
fn metric(freeswitch: &FreeSwitch, sample: &str) -> Option<u64> {
    let page = freeswitch.api("uuid_audio_stream metrics");
    page.lines().find_map(|line| line.strip_prefix(sample)?.trim().parse().ok())
}

#[test]
fn what_hangs_for_some_calls_delays_nothing_of_another() {
    in_freeswitch_alone(|freeswitch| {
        let Some(disk) = HangingDisk::mount() else { return };
        let folder = disk.folder().display().to_string();
        let events = listen_to(freeswitch);

        // Calls whose servers have files played that lie on the disk that hangs.
        let files = format!("mono 8k allow_file_injection=true file_injection_dir={folder}");
        let on_disk: Vec<_> = (0..TROUBLED)
            .map(|_| {
                let uuid = freeswitch.originate("null/x", "park()", "");
                let server = WebSocketServer::start(Script::default());
                freeswitch.start_stream(&uuid, &server, &files);
                let data = json!({"audioDataType": "wav", "file": "hello.wav"});
                server.connection(0).order(Action::Text(json!({"type": "streamAudio", "data": data}).to_string()));
                // Calls whose program of speech lies there.
                freeswitch.stream(
                    &uuid,
                    &format!("start name=speaks {} tts_command={folder}/speak tts_cache=false", server.url()),
                );
                freeswitch.stream(&uuid, "say name=speaks One moment.");
                (uuid, server)
            })
            .collect();
        for kind in ["files", "programs"] {
            let waits = format!("audio_stream_blocking_jobs{{kind=\"{kind}\",state=\"waiting\"}}");
            assert!(eventually(SOON, || metric(freeswitch, &waits) > Some(0)), "no {kind} wait");
        }
        // Calls that are sent keys with pauses in between.
        let pausing: Vec<_> = (0..TROUBLED).map(|_| with_keys(freeswitch)).collect();
        for (uuid, server) in &pausing {
            send_keys(server, "1WWWWW2");
            wait_keys(freeswitch, uuid, "1");
        }

        // The calls beside them: keys, servers that are looked up by name, audio in a file of a message, speech.
        let keyed = with_keys(freeswitch);
        send_keys(&keyed.1, "3w4");
        wait_keys(freeswitch, &keyed.0, "34");
        for (uuid, _) in &pausing {
            assert_eq!(freeswitch.variable(uuid, "null_channel_dtmf_queued").as_deref(), Some("1"), "they pause still");
        }
        let call = SipCall::place(freeswitch, &Dial::to("park"));
        let server = WebSocketServer::start(Script::default());
        let voice = SpeechServer::start(Service::ElevenLabs("xi-test"), [Answer::default()]);
        let speaks = format!(
            "tts_provider=elevenlabs tts_elevenlabs_api_key=xi-test tts_voice=v1 tts_url={} tts_output_format=pcm_8000 \
             tts_cache=false dsp_enabled=false",
            voice.url(false).replace("127.0.0.1", "localhost")
        );
        freeswitch.stream(&call.uuid, &format!("start {} mono 8k {speaks}", server.url_for("localhost")));
        let connection = server.connection(0);
        let file = freeswitch.folder.join("temp/message.wav");
        wav::write(&file, 8_000, 1, &signal::tone(8_000, SERVER, 1_000, LOUD)).expect("our folder");
        let bytes = STANDARD.encode(std::fs::read(&file).expect("just written"));
        let data = json!({"audioDataType": "wav", "audioData": bytes});
        connection.order(Action::Text(json!({"type": "streamAudio", "data": data}).to_string()));
        freeswitch.wait_played(&call.uuid, 200);
        freeswitch.stream(&call.uuid, "say Your table is ready.");
        let spoken = || voice.asked().pop().map(|asked| asked.samples).filter(|samples| !samples.is_empty());
        let said = wait_for("speech", SOON, spoken);
        freeswitch.wait_played(&call.uuid, 1_000 + said.len() as u64 / 8);
        std::thread::sleep(Duration::from_millis(300));
        let heard = call.phone.heard();
        let ms = audio::tone_ms(&heard, 8_000, SERVER, THERE);
        assert!((960..=1_040).contains(&ms), "of 1000 ms of the server {ms} are heard");
        let (_, alike) = audio::find(&heard, &said);
        assert!(alike > 0.97, "what is said is heard like it was made by {alike:.3}");
        assert!(events.stream_events("error", &call.uuid).is_empty());

        // Each of the others goes on, and ends.
        for (uuid, _) in &pausing {
            wait_keys(freeswitch, uuid, "12");
        }
        drop(disk);
        for (uuid, _) in &on_disk {
            events.wait_stream("error", uuid);
            assert!(freeswitch.exists(uuid), "the call itself goes on");
        }
        drop((on_disk, pausing, keyed));
        freeswitch.hang_up_all();
        assert!(eventually(SOON, || freeswitch.streams() == 0), "{}", freeswitch.api("uuid_audio_stream list"));
        for kind in ["names", "files", "decoding", "programs", "ends"] {
            let runs = format!("audio_stream_blocking_jobs{{kind=\"{kind}\",state=\"running\"}}");
            assert!(eventually(SOON, || metric(freeswitch, &runs) == Some(0)), "{kind} keep places");
        }
    });
}
