//! Conversations whose model writes and whose voice is a synthesis, and those that listen with the module's own ears.
//!
//! On calls with a clock of their own: what is compared is what was heard, never when.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod host;
#[path = "support/realtime/mod.rs"]
mod realtime;
mod standin;
mod support;

use std::path::Path;
use std::time::Duration;

use host::{Call, CallOptions, Event};
use realtime::{Answer, Order, RealtimeServer, Script};
use serde_json::{Value, json};
use standin::{call, is, switch, wait_detached};
use support::speech_server::{self, Service, SpeechServer};
use support::{audio, wait_for, wav};

const PATIENCE: Duration = Duration::from_secs(20);

/// `start_ai` with what the server wants, and these.
#[track_caller]
fn start(call: &Call<'_>, server: &RealtimeServer, arguments: &str) {
    let line = format!(
        "uuid_audio_stream {} start_ai openai_base_url={} openai_api_key=sk-test openai_model=test-model {arguments}",
        call.uuid(),
        server.base_url()
    );
    assert_eq!(switch().api(&line).trim(), "+OK Success");
}

fn command(call: &Call<'_>, verb: &str) -> String {
    switch().api(&format!("uuid_audio_stream {} {verb}", call.uuid())).trim().to_owned()
}

fn events(call: &Call<'_>, kind: &str) -> Vec<Event> {
    let mine = |event: &&Event| event.header("Audio-Stream-UUID") == Some(call.uuid()) && is(event, kind);
    switch().look(|events, _| events.iter().filter(mine).cloned().collect())
}

fn states(call: &Call<'_>) -> Vec<String> {
    events(call, "ai_state").iter().map(|event| event.header("Audio-Stream-State").unwrap().to_owned()).collect()
}

/// Waits until a state was come to so often.
#[track_caller]
fn wait_state(call: &Call<'_>, state: &str, times: usize) {
    let come = || states(call).iter().filter(|come| *come == state).count() >= times;
    wait_for(&format!("{state}, {times} times"), PATIENCE, || come().then_some(()));
}

fn health(call: &Call<'_>) -> Value {
    serde_json::from_str(&command(call, "health")).unwrap()
}

/// ElevenLabs' voice at the call's own rate, as it is: what is heard can be compared sample for sample.
fn voice(server: &SpeechServer) -> String {
    format!(
        "ai_output=tts tts_provider=elevenlabs tts_elevenlabs_api_key=xi-test tts_voice=v1 tts_url={} \
         tts_output_format=pcm_8000 dsp_enabled=false",
        server.url(false)
    )
}

fn elevenlabs() -> SpeechServer {
    SpeechServer::start(Service::ElevenLabs("xi-test"), [speech_server::Answer::default()])
}

/// That `said` was heard, sample for sample, and from where on. A starved machine lets the caller hear gaps, with a fade around
/// each, so that not every tenth of a second of it can be asked for.
#[track_caller]
fn assert_heard(heard: &[i16], said: &[i16]) -> usize {
    let (at, likeness) = audio::find(heard, &said[..1_600]);
    let mut from = at;
    let found = said.chunks_exact(800).filter(|piece| {
        let place = heard[from..].windows(piece.len()).position(|heard| heard == *piece);
        from += place.map_or(0, |place| place + piece.len());
        place.is_some()
    });
    let (found, all) = (found.count(), said.len() / 800);
    assert!(found * 10 >= all * 7, "{found} of {all} pieces were heard from {at} on (likeness {likeness})");
    at
}

#[test]
fn what_the_model_writes_is_spoken_sentence_by_sentence_and_made_once() {
    let synthesis = elevenlabs();
    let text = "Your parcel left us this morning. It will be with you tomorrow.";
    let server = RealtimeServer::start(Script::answering([Answer::text(text)]));
    let call = call(CallOptions::default());
    start(&call, &server, &voice(&synthesis));
    wait_state(&call, "LISTENING", 1);
    let connection = server.connection(0);
    connection.order(Order::Respond(Answer::text(text)));
    wait_state(&call, "LISTENING", 2);
    let asked = synthesis.wait_asked(2);
    let texts: Vec<_> = asked.iter().map(|asked| asked.body["text"].as_str().unwrap()).collect();
    assert_eq!(texts, ["Your parcel left us this morning.", "It will be with you tomorrow."]);
    let heard = call.heard();
    let first = assert_heard(&heard, &asked[0].samples);
    assert!(first + asked[0].samples.len() <= assert_heard(&heard, &asked[1].samples), "one after the other");

    let from = call.heard_count();
    connection.order(Order::Respond(Answer::text(text)));
    wait_state(&call, "LISTENING", 3);
    assert_heard(&call.heard_from(from), &asked[1].samples);
    assert_eq!(synthesis.asked().len(), 2, "nothing is made twice");
    assert!(health(&call)["ai"]["tts_cache_hit_pct"].as_f64().unwrap() > 0.0);
    assert_eq!(connection.record().told("response.create").len(), 0);
    assert_eq!(command(&call, "stop"), "+OK Success");
    wait_detached(&call);
}

#[test]
fn the_operator_has_the_agent_say_something_and_interrupts_it() {
    let stall = speech_server::Answer { stall_after: Some(8_000), ..speech_server::Answer::default() };
    let synthesis = SpeechServer::start(Service::ElevenLabs("xi-test"), [stall]);
    let server = RealtimeServer::start(Script::default());
    let call = call(CallOptions::default());
    start(&call, &server, &format!("{} tts_cache=false", voice(&synthesis)));
    wait_state(&call, "LISTENING", 1);
    assert_eq!(command(&call, "say Please hold the line while I look that up for you."), "+OK Success");
    wait_state(&call, "SPEAKING", 1);
    wait_for("a second of it", PATIENCE, || (health(&call)["inject"]["played_ms"].as_u64()? >= 400).then_some(()));
    assert_eq!(health(&call)["ai"]["tts_queue_depth"], 1);
    assert_eq!(command(&call, "clear"), "+OK Success");
    synthesis.wait_dropped(0);
    wait_state(&call, "LISTENING", 2);
    let cut = wait_for("the interruption", PATIENCE, || events(&call, "ai_barge_in").pop());
    assert_eq!(cut.header("Audio-Stream-Cause"), Some("operator"));
    // What the far end is told the agent has said are whole words of it, and not all.
    let told = server.connection(0).wait_told("conversation.item.create", 1);
    let words = told["item"]["content"][0]["text"].as_str().unwrap();
    assert!("Please hold the line while I look that up for you.".starts_with(words) && words.len() < 50, "{words}");
    let from = call.heard_count();
    // Nobody writes to a parked channel any more once nothing waits to be heard.
    assert_eq!(health(&call)["inject"]["buffer_inuse_bytes"], 0);
    assert!(call.heard_from(from).iter().all(|sample| *sample == 0), "it is silent");
}

#[test]
fn a_provider_that_fails_is_told_of_and_the_next_one_speaks() {
    let refusal = r#"{"detail":{"status":"quota_exceeded","message":"No credits are left."}}"#;
    let synthesis = SpeechServer::start(Service::ElevenLabs("xi-test"), [speech_server::Answer::refuse(401, refusal)]);
    let server = RealtimeServer::start(Script::default());
    let call = call(CallOptions::default());
    let arguments = voice(&synthesis).replace("tts_provider=elevenlabs", "tts_provider=elevenlabs,command");
    // A program that speaks without a voice: a second of noise.
    start(&call, &server, &format!("{arguments} tts_command='head -c 16000 /dev/urandom' tts_command_rate=8000"));
    wait_state(&call, "LISTENING", 1);
    assert_eq!(command(&call, "say Is anybody there to speak for me?"), "+OK Success");
    wait_state(&call, "SPEAKING", 1);
    wait_state(&call, "LISTENING", 2);
    assert!(audio::rms(&call.heard()) > 500.0, "the second one is heard");
    assert_eq!(events(&call, "error").len(), 0, "the sentence was spoken");
    let logged = |text: &str| switch().look(|_, logs| logs.iter().any(|log| log.text.contains(text)));
    assert!(logged("quota_exceeded") && !logged("xi-test"));

    let nobody = standin::call(CallOptions::default());
    start(&nobody, &server, &format!("{} tts_cache=false", voice(&synthesis)));
    wait_state(&nobody, "LISTENING", 1);
    assert_eq!(command(&nobody, "say This will not be heard."), "+OK Success");
    let error = wait_for("the error", PATIENCE, || events(&nobody, "error").pop());
    assert_eq!(error.header("Audio-Stream-Component"), Some("tts"));
    assert_eq!(error.header("Audio-Stream-Provider-Code"), Some("quota_exceeded"));
    let body: Value = serde_json::from_str(error.body.as_ref().unwrap()).unwrap();
    assert_eq!(body["message"]["sentence"], "This will not be heard.");
    assert!(!error.body.unwrap().contains("xi-test"));
}

#[test]
fn a_conversation_without_what_its_voice_needs_is_refused_and_says_what_that_is() {
    let call = call(CallOptions::default());
    let refused = |arguments: &str| {
        let line = "start_ai openai_base_url=ws://127.0.0.1:1 openai_api_key=k openai_model=m ai_output=tts";
        command(&call, &format!("{line} {arguments}"))
    };
    let missing = refused("tts_provider=elevenlabs tts_voice=v");
    assert!(missing.starts_with("-ERR elevenlabs needs tts_api_key"), "{missing}");
    // OpenAI's key is for OpenAI alone, and this conversation is elsewhere.
    let missing = refused("tts_provider=openai tts_voice=v tts_model=m");
    assert!(missing.starts_with("-ERR openai needs tts_api_key"), "{missing}");
    assert_eq!(call.bugs(), 0);
}

#[test]
fn the_modules_own_ears_end_the_callers_turn_and_interrupt() {
    let server = RealtimeServer::start(Script::answering([Answer::chord(61, 20_000)]));
    let call = call(CallOptions::default());
    start(&call, &server, "turn_detection=local local_vad_hangover_ms=300 noise_suppression=low");
    wait_state(&call, "LISTENING", 1);
    let connection = server.connection(0);
    assert_eq!(connection.wait_told("session.update", 1)["session"]["audio"]["input"]["turn_detection"], json!(null));
    let voice = wav::read(Path::new("tests/demo/voice.wav")).unwrap().channel(0);
    call.speak(&voice);
    connection.wait_told("input_audio_buffer.commit", 1);
    connection.wait_told("response.create", 1);
    wait_state(&call, "SPEAKING", 1);
    assert_eq!(events(&call, "speech")[0].header("Audio-Stream-Status"), Some("started"));
    call.speak(&voice);
    let cut = wait_for("the interruption", PATIENCE, || events(&call, "ai_barge_in").pop());
    assert_eq!(cut.header("Audio-Stream-Cause"), Some("local_vad"));
    let heard_ms: u64 = cut.header("Audio-Stream-Heard-Ms").unwrap().parse().unwrap();
    let truncate = connection.wait_told("conversation.item.truncate", 1);
    assert_eq!(truncate["audio_end_ms"], json!(heard_ms));
    assert_eq!(connection.record().complaints, []);
}

#[test]
fn the_model_does_with_the_call_what_the_profile_lists_and_nothing_else() {
    let goodbye = Answer { calls: Answer::call("hang_up", &json!({})).calls, ..Answer::chord(71, 600) };
    let server = RealtimeServer::start(Script::answering([Answer::chord(70, 200)]));
    let call = call(CallOptions::default());
    start(&call, &server, "builtin_tools=set_variable,hang_up");
    wait_state(&call, "LISTENING", 1);
    let connection = server.connection(0);
    let output = |number: usize| {
        let told = wait_for("a result", PATIENCE, || {
            let items = connection.record().told("conversation.item.create");
            items.iter().filter(|told| told["item"]["type"] == "function_call_output").nth(number).cloned()
        });
        serde_json::from_str::<Value>(told["item"]["output"].as_str().unwrap()).unwrap()
    };
    for (number, (value, ok)) in [("content", true), ("${system reboot}", false)].into_iter().enumerate() {
        let arguments = json!({"name": "ai_mood", "value": value});
        connection.order(Order::Respond(Answer::call("set_variable", &arguments)));
        assert_eq!(output(number)["ok"], ok, "{value}");
    }
    assert_eq!(call.variable("ai_mood").as_deref(), Some("content"));
    wait_for("quiet", PATIENCE, || (states(&call).last()? == "LISTENING").then_some(()));
    // What it is not given does not exist for it, and before it hangs up what it says is heard.
    connection.order(Order::Respond(Answer::call("transfer", &json!({"destination": "1000"}))));
    assert_eq!(output(2)["error"], "there is no such function");
    wait_for("quiet", PATIENCE, || (states(&call).last()? == "LISTENING").then_some(()));
    let from = call.heard_count();
    connection.order(Order::Respond(goodbye));
    call.wait_ended();
    let heard = realtime::heard_ms(&call.heard_from(from), &realtime::chord(8_000, 600, 71), 8_000);
    assert!(heard.is_some_and(|(_, ms)| ms > 500.0), "the goodbye is heard: {heard:?}");
    wait_state(&call, "IDLE", 1);
}
