//! FreeSWITCH's log file: who gave which command, the ids of the service, and how many lines there are.

use std::collections::BTreeMap;
use std::time::Duration;

use super::conversation::wait_state;
use crate::harness::server::{FreeSwitch, Launch};
use crate::harness::sip::{Dial, SipCall};
use crate::harness::stream::{SOON, listen_to};
use crate::harness::{in_freeswitch, in_fresh_freeswitch};
use crate::realtime::{Answer, RealtimeServer, Script as Service};
use crate::support::speech_server::{self, SpeechServer};
use crate::support::websocket_server::{Script, WebSocketServer};
use crate::support::{eventually, signal};

/// Waits until the log has a line that ends so.
#[track_caller]
fn logged(freeswitch: &FreeSwitch, end: &str) {
    let there = || freeswitch.log().lines().any(|line| line.trim_end().ends_with(end));
    assert!(eventually(SOON, there), "no line ends with: {end}\n{}", freeswitch.last_words());
}

#[test]
fn the_log_says_who_gave_each_command() {
    in_freeswitch(|freeswitch| {
        let server = WebSocketServer::start(Script::default());
        let call = SipCall::place(freeswitch, &Dial::to("park"));
        let uuid = &call.uuid;
        let line = |text: &str| logged(freeswitch, &format!("[{uuid}] LIFECYCLE {text}"));
        freeswitch.start_stream(uuid, &server, "mono 8k");
        line("start ok stream=default by=mod_event_socket");
        freeswitch.bgapi(&format!("uuid_audio_stream {uuid} mute agent"));
        line("mute ok stream=default what=agent by=mod_event_socket");
        freeswitch.api(&format!("expand uuid_audio_stream {uuid} pause"));
        line("pause ok stream=default what=capture by=mod_event_socket>mod_commands");
        freeswitch.ok(&format!("sched_api +1 none uuid_audio_stream {uuid} resume"));
        line("resume ok stream=default what=capture by=mod_commands");
        freeswitch.ok(&format!("uuid_setvar {uuid} api_hangup_hook uuid_audio_stream breakers reset"));
        call.hang_up();
        logged(freeswitch, &format!("LIFECYCLE breakers reset ok by=channel by_call={uuid}"));

        let dial = |extension: &str| Dial::to(extension).header("X-Url", server.url()).header("X-Stream", server.url());
        let expanded = SipCall::place(freeswitch, &dial("eval-pre-answer"));
        let uuid = &expanded.uuid;
        logged(freeswitch, &format!("[{uuid}] LIFECYCLE start ok stream=default by=channel by_call={uuid}"));
        let applied = SipCall::place(freeswitch, &dial("stream-700"));
        logged(freeswitch, &format!("[{}] LIFECYCLE start ok stream=default by=dialplan", applied.uuid));
    });
}

/// FreeSWITCH carries `api_on_startup` out as what is typed at its console: on its own thread, by the console's function.
#[test]
fn a_command_of_the_console_is_logged_as_one() {
    in_fresh_freeswitch(Launch { loads_module: true, ..Launch::default() }, |freeswitch| {
        logged(&freeswitch, "LIFECYCLE drain off ok by=console");
    });
}

#[test]
fn a_busy_conversation_logs_fewer_than_ten_lines_a_second() {
    in_freeswitch(|freeswitch| {
        let events = listen_to(freeswitch);
        let voice = SpeechServer::start(
            speech_server::Service::ElevenLabs("xi-test"),
            [speech_server::Answer::refuse(
                401,
                r#"{"detail":{"status":"quota_exceeded","message":"No credits are left."}}"#,
            )],
        );
        let text = "One. Two words. And three words. Now four more words. And so on and on. It does not end.";
        let service = RealtimeServer::start(Service::answering([Answer::text(text)]));
        let call = SipCall::place(freeswitch, &Dial::to("park"));
        let uuid = &call.uuid;
        freeswitch.stream(
            uuid,
            &format!(
                "start_ai openai_base_url={} openai_api_key=sk-test openai_model=test-model \
                 transcription_model=words vad_silence_duration_ms=200 log_every_ms=1000 ai_output=tts \
                 tts_provider=elevenlabs tts_elevenlabs_api_key=xi-test tts_voice=v1 tts_url={}",
                service.base_url(),
                voice.url(false)
            ),
        );
        wait_state(&events, uuid, "LISTENING", 1);
        // Every sentence fails, the caller goes on talking, and an operator does not leave it alone.
        for turn in 0..6 {
            call.phone.say(&signal::speech(8_000, 500, turn));
            for _ in 0..10 {
                freeswitch.api(&format!("uuid_audio_stream {uuid} send_text Go on."));
                call.phone.listen(Duration::from_millis(100));
            }
        }
        freeswitch.stream(uuid, "stop");
        logged(freeswitch, "by=mod_event_socket");
        let closed = || freeswitch.log().contains(&format!("[{uuid}] LIFECYCLE stream_closed ok"));
        assert!(eventually(SOON, closed), "{}", freeswitch.last_words());
        let log = freeswitch.log();
        let mut seconds = BTreeMap::<&str, Vec<&str>>::new();
        for line in log.lines().filter(|line| line.contains(&format!("[{uuid}] ")) && !line.contains("[DEBUG]")) {
            let time = line.split_whitespace().find(|word| word.matches(':').count() == 2).unwrap_or_default();
            seconds.entry(time.split('.').next().unwrap_or_default()).or_default().push(line);
        }
        assert!(seconds.len() >= 4, "the conversation is logged: {seconds:#?}");
        // The line of the end comes whatever there was before.
        let most = seconds.values().max_by_key(|lines| lines.len()).expect("there are lines");
        let counted = most.iter().filter(|line| !line.contains("stream_closed")).count();
        assert!(counted < 10, "{counted} lines in one second:\n{}", most.join("\n"));
        assert!(log.contains("held_back="), "what is not shown is counted");
        for part in ["TTS synthesize failed", "DSP chain ok", "OPENAI session ok", "LIFECYCLE stream_start ok"] {
            assert!(log.contains(&format!("[{uuid}] {part}")), "{part} is not in the log");
        }
    });
}
