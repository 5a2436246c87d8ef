//! Conversations whose model writes and whose voice is a synthesis, and those that listen with the module's own ears.
//!
//! On calls whose frames come when the test says so, none before the agent's voice for the frame is there: what the caller
//! hears does not depend on how busy the machine is, and is compared whole, to the sample.

use std::cell::Cell;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crate::calls::{assert_heard, call, command, events, health, playing, states, switch, wait_detached};
use crate::host::{Call, Event};
use crate::realtime::{Answer, Connection, Order, RealtimeServer, Script, What};
use crate::support::speech_server::{self, Service, SpeechServer};
use crate::support::websocket_server::PATIENCE;
use crate::support::{module, signal, wait_for, wav};
use serde_json::{Value, json};

/// `start_ai` with what the server wants, and these.
#[track_caller]
fn start(call: &Call<'_>, server: &RealtimeServer, arguments: &str) {
    let line = format!(
        "uuid_audio_stream {} start_ai openai_base_url={} openai_api_key=sk-test openai_model=test-model \
         transcription_model=words transcript_deltas=true {arguments}",
        call.uuid(),
        server.base_url()
    );
    assert_eq!(switch().api(&line).trim(), "+OK Success");
}

/// ElevenLabs' voice at the call's own rate, unchanged: what is heard can be compared sample for sample.
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

/// Samples of a frame.
const FRAME: usize = 160;

/// A call whose time the test is in charge of, and the conversation on it.
struct Talk<'c> {
    call: &'c Call<'static>,
    connection: Arc<Connection>,
    syncs: Cell<u32>,
}

impl<'c> Talk<'c> {
    /// Connected and configured.
    #[track_caller]
    fn start(call: &'c Call<'static>, server: &RealtimeServer, arguments: &str) -> Self {
        let before = server.connections().len();
        start(call, server, arguments);
        let connection = server.connection(before);
        wait_for("a conversation that listens", PATIENCE, || (states(call).last()? == "LISTENING").then_some(()));
        let talk = Self { call, connection, syncs: Cell::new(0) };
        talk.sync();
        talk
    }

    /// Waits until the stream has acted on everything that the service has said, and looked at what the call has done; false when
    /// the conversation is over.
    #[track_caller]
    fn sync(&self) -> bool {
        self.syncs.set(self.syncs.get() + 1);
        let text = format!("sync {}", self.syncs.get());
        let kind = "conversation.item.input_audio_transcription.delta";
        self.connection
            .order(Order::Event(json!({"type": kind, "item_id": "sync", "content_index": 0, "delta": text})));
        let end = Instant::now() + PATIENCE;
        let heeded = |event: &&Event| event.header("Audio-Stream-Text") == Some(text.as_str());
        while !switch().look_at_call(self.call.uuid(), |events| events.iter().rev().any(heeded)) {
            if self.connection.ended().is_some() {
                return false;
            }
            assert!(Instant::now() < end, "{text} is not heeded: {}", command(self.call, "health"));
            thread::sleep(Duration::from_micros(500));
        }
        true
    }

    /// Lets a frame pass, as soon as there is a whole one of the agent's voice for it, or nothing is being made.
    #[track_caller]
    fn frame(&self) {
        let end = Instant::now() + PATIENCE;
        while self.sync() {
            // None where the conversation has just ended.
            let Ok(health) = serde_json::from_str::<Value>(&command(self.call, "health")) else { break };
            let queued = health["inject"]["buffer_inuse_bytes"].as_u64().unwrap();
            if queued >= 2 * FRAME as u64 || health["ai"]["tts_queue_depth"] == 0 {
                break;
            }
            assert!(Instant::now() < end, "no voice comes for the next frame: {health}");
            thread::sleep(Duration::from_micros(500));
        }
        // What came last is within the media thread's reach now.
        self.sync();
        self.call.tick(1);
    }

    /// Lets frames pass until it is so.
    #[track_caller]
    fn until(&self, what: &str, wanted: impl Fn() -> bool) {
        let end = Instant::now() + 2 * PATIENCE;
        while !wanted() {
            assert!(Instant::now() < end, "not {what}: {:?}; {}", states(self.call), command(self.call, "health"));
            self.frame();
        }
    }

    /// Lets frames pass until a state was come to so often.
    #[track_caller]
    fn until_state(&self, state: &str, times: usize) {
        let come = || states(self.call).iter().filter(|come| *come == state).count() >= times;
        self.until(&format!("{state}, {times} times"), come);
    }
}

#[test]
fn the_models_text_is_spoken_by_sentence_and_made_once() {
    let synthesis = elevenlabs();
    let text = "Your parcel left us this morning. It will be with you tomorrow.";
    let server = RealtimeServer::start(Script::answering([Answer::text(text)]));
    let call = call(playing());
    let talk = Talk::start(&call, &server, &voice(&synthesis));
    talk.connection.order(Order::Respond(Answer::text(text)));
    talk.until_state("LISTENING", 2);
    let asked = synthesis.asked();
    let texts: Vec<_> = asked.iter().map(|asked| asked.body["text"].as_str().unwrap()).collect();
    assert_eq!(texts, ["Your parcel left us this morning.", "It will be with you tomorrow."]);
    // One after the other, without a gap.
    let said = [&asked[0].samples[..], &asked[1].samples].concat();
    assert_heard(&call.heard(), &said);

    let from = call.heard_count();
    talk.connection.order(Order::Respond(Answer::text(text)));
    talk.until_state("LISTENING", 3);
    assert_heard(&call.heard_from(from), &said);
    assert_eq!(synthesis.asked().len(), 2, "nothing is made twice");
    assert!(health(&call)["ai"]["tts_cache_hit_pct"].as_f64().unwrap() > 0.0);
    assert_eq!(talk.connection.record().told("response.create").len(), 0);
    assert_eq!(talk.connection.record().complaints, []);
    assert_eq!(command(&call, "stop"), "+OK Success");
    wait_detached(&call);
}

#[test]
fn health_tells_of_sentences_that_wait_and_of_the_cache() {
    let waits = speech_server::Answer { stall_after: Some(0), ..speech_server::Answer::default() };
    let synthesis = SpeechServer::start(Service::ElevenLabs("xi-test"), [waits, speech_server::Answer::default()]);
    let text = "One sentence waits for this one. It is not made before.";
    let server = RealtimeServer::start(Script::answering([Answer::text(text)]));
    let call = call(playing());
    let talk = Talk::start(&call, &server, &voice(&synthesis));
    let ai = || health(&call)["ai"].clone();
    assert_eq!(ai()["tts_queue_depth"], 0);
    talk.connection.order(Order::Respond(Answer::text(text)));
    wait_for("two sentences that wait", PATIENCE, || (ai()["tts_queue_depth"] == 2).then_some(()));
    synthesis.go_on();
    talk.until_state("LISTENING", 2);
    assert_eq!(ai()["tts_queue_depth"], 0);
    let before = synthesis.asked().len();
    talk.connection.order(Order::Respond(Answer::text(text)));
    talk.until_state("LISTENING", 3);
    assert_eq!(synthesis.asked().len(), before, "both come out of the cache");
    assert!(ai()["tts_cache_hit_pct"].as_f64() > Some(0.0), "{}", ai());
}

#[test]
fn the_operator_has_the_agent_say_something_and_interrupts_it() {
    let stall = speech_server::Answer { stall_after: Some(8_000), ..speech_server::Answer::default() };
    let synthesis = SpeechServer::start(Service::ElevenLabs("xi-test"), [stall]);
    let server = RealtimeServer::start(Script::default());
    let call = call(playing());
    let talk = Talk::start(&call, &server, &format!("{} tts_cache=false", voice(&synthesis)));
    assert_eq!(command(&call, "say Please hold the line while I look that up for you."), "+OK Success");
    talk.until_state("SPEAKING", 1);
    let played_ms = || health(&call)["inject"]["played_ms"].as_u64().unwrap();
    talk.until("400 ms of it", || played_ms() >= 400);
    assert_eq!(health(&call)["ai"]["tts_queue_depth"], 1);
    assert_eq!(command(&call, "clear"), "+OK Success");
    synthesis.wait_dropped(0);
    talk.until_state("LISTENING", 2);
    let cut = wait_for("the interruption", PATIENCE, || events(&call, "ai_barge_in").pop());
    assert_eq!(cut.header("Audio-Stream-Cause"), Some("operator"));
    // The service learns that the agent said whole words of the text, and not all.
    let told = talk.connection.wait_told("conversation.item.create", 1);
    let words = told["item"]["content"][0]["text"].as_str().unwrap();
    assert!(!words.is_empty() && words.len() < 50, "{words}");
    assert!("Please hold the line while I look that up for you.".starts_with(words), "{words}");
    // Not a frame more, and then nothing.
    talk.until("ten frames more", || call.heard_count() >= 30 * FRAME);
    assert_eq!(played_ms(), 400);
    assert_eq!(cut.header("Audio-Stream-Heard-Ms"), Some("400"));
    assert_heard(&call.heard(), &synthesis.asked()[0].samples[..400 * 8]);
    assert_eq!(health(&call)["inject"]["buffer_inuse_bytes"], 0);
}

#[test]
fn a_failed_provider_is_reported_and_the_next_one_speaks() {
    let refusal = r#"{"detail":{"status":"quota_exceeded","message":"No credits are left."}}"#;
    let synthesis = SpeechServer::start(Service::ElevenLabs("xi-test"), [speech_server::Answer::refuse(401, refusal)]);
    let server = RealtimeServer::start(Script::default());
    let call = call(playing());
    let arguments = voice(&synthesis).replace("tts_provider=elevenlabs", "tts_provider=elevenlabs,command");
    // A program that knows one sentence.
    let sentence = signal::speech(8_000, 1_000, 19);
    let file = module::scratch_folder().join(format!("sentence-{}.raw", std::process::id()));
    fs::write(&file, signal::to_bytes(&sentence)).unwrap();
    let program = format!("tts_command='cat {}' tts_command_rate=8000", file.display());
    let talk = Talk::start(&call, &server, &format!("{arguments} {program}"));
    assert_eq!(command(&call, "say Is anybody there to speak for me?"), "+OK Success");
    talk.until_state("SPEAKING", 1);
    talk.until_state("LISTENING", 2);
    assert_heard(&call.heard(), &sentence);
    fs::remove_file(file).unwrap();
    assert_eq!(events(&call, "error").len(), 0, "the sentence was spoken");
    let logged = |text: &str| switch().look(|_, logs| logs.iter().any(|log| log.text.contains(text)));
    assert!(logged("quota_exceeded") && !logged("xi-test"));

    let nobody = crate::calls::call(playing());
    let _talk = Talk::start(&nobody, &server, &format!("{} tts_cache=false", voice(&synthesis)));
    assert_eq!(command(&nobody, "say This will not be heard."), "+OK Success");
    let error = wait_for("the error", PATIENCE, || events(&nobody, "error").pop());
    assert_eq!(error.header("Audio-Stream-Component"), Some("tts"));
    assert_eq!(error.header("Audio-Stream-Provider-Code"), Some("quota_exceeded"));
    let body: Value = serde_json::from_str(error.body.as_ref().unwrap()).unwrap();
    assert_eq!(body["message"]["sentence"], "This will not be heard.");
    let said = body["message"]["error"].as_str().unwrap();
    assert!(said.contains("; request id tts_"), "{said}");
    assert!(logged("TTS synthesize failed") && logged(r#"sentence="This will not be heard.""#));
    assert!(!error.body.unwrap().contains("xi-test"));
}

#[test]
fn a_conversation_without_what_its_voice_needs_is_refused() {
    let call = call(playing());
    let refused = |arguments: &str| {
        let line = "start_ai openai_base_url=ws://127.0.0.1:1 openai_api_key=k openai_model=m ai_output=tts";
        command(&call, &format!("{line} {arguments}"))
    };
    let missing = refused("tts_provider=elevenlabs tts_voice=v");
    assert!(missing.starts_with("-ERR elevenlabs needs tts_api_key"), "{missing}");
    // OpenAI's key is for OpenAI alone, and this conversation is elsewhere.
    let missing = refused("tts_provider=openai tts_voice=v tts_model=m");
    assert!(missing.starts_with("-ERR openai needs tts_openai_api_key"), "{missing}");
    assert_eq!(call.bugs(), 0);
}

#[test]
fn the_modules_own_ears_end_the_callers_turn_and_interrupt() {
    let server = RealtimeServer::start(Script::answering([Answer::chord(61, 20_000)]));
    let call = call(playing());
    let talk = Talk::start(&call, &server, "turn_detection=local local_vad_hangover_ms=300 noise_suppression=low");
    let connection = &talk.connection;
    assert_eq!(connection.wait_told("session.update", 1)["session"]["audio"]["input"]["turn_detection"], json!(null));
    let voice = wav::read(Path::new("tests/demo/voice.wav")).unwrap().channel(0);
    call.speak(&voice);
    let told = |kind: &str| connection.record().told(kind).len();
    talk.until("the end of the turn", || told("input_audio_buffer.commit") == 1);
    connection.wait_told("response.create", 1);
    talk.until_state("SPEAKING", 1);
    assert_eq!(events(&call, "speech")[0].header("Audio-Stream-Status"), Some("started"));
    call.speak(&voice);
    talk.until("the interruption", || !events(&call, "ai_barge_in").is_empty());
    let cut = events(&call, "ai_barge_in").remove(0);
    assert_eq!(cut.header("Audio-Stream-Cause"), Some("local_vad"));
    talk.until("the service's news of it", || told("conversation.item.truncate") == 1);
    let told_ms = connection.wait_told("conversation.item.truncate", 1)["audio_end_ms"].as_f64().unwrap();
    assert_eq!(cut.header("Audio-Stream-Heard-Ms"), Some(format!("{told_ms}").as_str()));
    (0..10).for_each(|_| talk.frame());
    let heard = call.heard();
    let (at, heard_ms) = crate::realtime::heard_ms(&heard, &crate::realtime::chord(8_000, 20_000, 61), 8_000).unwrap();
    assert!((told_ms - heard_ms).abs() <= 20.0, "heard {heard_ms} ms, told {told_ms}");
    let rest = &heard[at + (heard_ms * 8.0) as usize..];
    assert!(rest.len() > 2 * FRAME && rest[FRAME..].iter().all(|sample| *sample == 0), "silence within a frame");
    assert_eq!(connection.record().complaints, []);
}

#[test]
fn a_conversation_shares_only_speech_with_one_in_trouble() {
    const SHARED: &str = "Your parcel left us this morning.";
    let synthesis = elevenlabs();
    let server = RealtimeServer::start(Script::default());
    let [steady, troubled] = [(); 2].map(|()| call(playing()));
    let of = |who: &str| {
        let tools = r#"tools='[{"name":"look_up","description":"Looks","parameters":{"type":"object"}}]'"#;
        format!("{} system_prompt='I am the {who}.' ai_reconnect_ms=10 {tools}", voice(&synthesis))
    };
    let (first, second) = (Talk::start(&steady, &server, &of("first")), Talk::start(&troubled, &server, &of("second")));
    let asked =
        |text: &str| synthesis.asked().into_iter().filter(|asked| asked.body["text"] == text).collect::<Vec<_>>();

    // The second one is interrupted, has its caller press keys, calls a function that nobody answers, and loses its connection,
    // all while the first one speaks.
    first.connection.order(Order::Respond(Answer::text(&format!("{SHARED} It will be with you tomorrow."))));
    first.until_state("SPEAKING", 1);
    second.connection.order(Order::Respond(Answer::text("The meeting is on Monday. Please bring your badge along.")));
    second.until_state("SPEAKING", 1);
    assert_eq!(command(&troubled, "clear"), "+OK Success");
    second.until("the interruption", || !events(&troubled, "ai_barge_in").is_empty());
    troubled.press("7", 100);
    second.connection.order(Order::Respond(Answer::call("look_up", &json!({"order": 7}))));
    second.until("the function call", || !events(&troubled, "ai_action").is_empty());
    second.connection.order(Order::Trouble(What::Drop));
    wait_for("the loss", PATIENCE, || states(&troubled).contains(&"RECONNECTING".to_owned()).then_some(()));
    first.until_state("LISTENING", 2);
    let said: Vec<_> =
        [SHARED, "It will be with you tomorrow."].iter().flat_map(|text| asked(text).remove(0).samples).collect();
    assert_heard(&steady.heard(), &said);

    // The second one is back, and what the first one has said is in the cache for it.
    wait_for("the next session", PATIENCE, || (server.connections().len() == 3).then_some(()));
    let back = server.connection(2);
    back.wait_told("session.update", 1);
    back.order(Order::Respond(Answer::text(SHARED)));
    let spoken = || metric("audio_stream_tts_sentences_total", "outcome=\"cached\"");
    wait_for("the cached sentence", PATIENCE, || (spoken() >= 1).then_some(()));
    assert_eq!(asked(SHARED).len(), 1, "it is made once for both");

    // The end of one is not the end of the other.
    troubled.hangup();
    wait_detached(&troubled);
    let from = steady.heard_count();
    first.connection.order(Order::Respond(Answer::text("Is there anything else?")));
    first.until_state("LISTENING", 3);
    assert_heard(&steady.heard_from(from), &asked("Is there anything else?").remove(0).samples);
    let turn = ["PROCESSING", "SPEAKING", "LISTENING"];
    assert_eq!(states(&steady), [&["CONNECTING", "LISTENING"][..], &turn, &turn].concat());
    for kind in ["error", "ai_barge_in", "ai_action", "dtmf", "overflow"] {
        assert!(events(&steady, kind).is_empty(), "{kind}: {:?}", events(&steady, kind));
    }
    let record = first.connection.record();
    let told = serde_json::to_string(&record.told.iter().map(|(_, event)| event).collect::<Vec<_>>()).unwrap();
    assert!(told.contains("I am the first.") && record.complaints.is_empty(), "{:?}", record.complaints);
    for foreign in ["second", "look_up\",\"call_id", "Monday", "\"7\"", "truncate"] {
        assert!(!told.contains(foreign), "{foreign} is in {told}");
    }
}

/// The sum of a metric's samples that have this label.
fn metric(name: &str, label: &str) -> u64 {
    let page = switch().api("uuid_audio_stream metrics");
    let samples = page.lines().filter(|line| line.starts_with(name) && line.contains(label));
    samples.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
}

#[test]
fn the_model_may_use_only_the_tools_that_the_profile_lists() {
    let goodbye = Answer { calls: Answer::call("hang_up", &json!({})).calls, ..Answer::chord(71, 600) };
    let server = RealtimeServer::start(Script::answering([Answer::chord(70, 200)]));
    let call = call(playing());
    let talk = Talk::start(&call, &server, "builtin_tools=set_variable,hang_up");
    let connection = &talk.connection;
    let quiet = || states(&call).last().is_some_and(|state| state == "LISTENING");
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
    talk.until("quiet", quiet);
    // A tool that it was not given does not exist for it, and its words are heard before it hangs up.
    connection.order(Order::Respond(Answer::call("transfer", &json!({"destination": "1000"}))));
    assert_eq!(output(2)["error"], "there is no such function");
    talk.until("quiet", quiet);
    let from = call.heard_count();
    connection.order(Order::Respond(goodbye));
    talk.until("hung up", || connection.ended().is_some());
    call.wait_ended();
    let heard = crate::realtime::heard_ms(&call.heard_from(from), &crate::realtime::chord(8_000, 600, 71), 8_000);
    assert!(heard.is_some_and(|(_, ms)| (585.0..=602.0).contains(&ms)), "the goodbye is heard: {heard:?}");
    wait_for("the end", PATIENCE, || (states(&call).last()? == "IDLE").then_some(()));
}
