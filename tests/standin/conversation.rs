//! Conversations of the built module with the scripted Realtime server: what the caller hears, what the service receives.
//!
//! Frame by frame on the call's virtual clock. After each frame the service has heard it, and whatever it said to that has been
//! taken by the stream: so what the caller hears does not depend on how busy the machine is.

use std::cell::Cell;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crate::calls::{call, command, events, is, playing, states, switch, wait_detached};
use crate::host::{Call, CallOptions, Event};
use crate::realtime::*;
use crate::support::speech_server::{self, Service, SpeechServer};
use crate::support::websocket_server::PATIENCE;
use crate::support::{eventually, signal, wait_for};
use serde_json::{Value, json};

/// A call that talks with an agent.
struct Talk<'c> {
    call: &'c Call<'static>,
    server: &'c RealtimeServer,
    connection: Arc<Connection>,
    syncs: Cell<u32>,
    /// The call's frames since the service had heard so many samples.
    frames: Cell<u64>,
    before: u64,
}

/// `start_ai` with what the server wants, and these.
#[track_caller]
fn start(call: &Call<'_>, server: &RealtimeServer, arguments: &str) -> String {
    let line = format!(
        "uuid_audio_stream {} start_ai openai_base_url={} openai_api_key=sk-test openai_model=test-model \
         transcription_model=words transcript_deltas=true vad_silence_duration_ms=300 {arguments}",
        call.uuid(),
        server.base_url()
    );
    switch().api(&line).trim().to_owned()
}

#[track_caller]
fn wait_state(call: &Call<'_>, state: &str) {
    wait_for(&format!("the state {state}"), PATIENCE, || (states(call).last()? == state).then_some(()));
}

impl<'c> Talk<'c> {
    /// Connected and configured.
    #[track_caller]
    fn start(call: &'c Call<'static>, server: &'c RealtimeServer, arguments: &str) -> Self {
        assert_eq!(start(call, server, arguments), "+OK Success");
        let connection = server.connection(0);
        wait_state(call, "LISTENING");
        Self::over(call, server, connection)
    }

    fn over(call: &'c Call<'static>, server: &'c RealtimeServer, connection: Arc<Connection>) -> Self {
        let before = connection.record().samples;
        let talk = Self { call, server, connection, syncs: Cell::new(0), frames: Cell::new(0), before };
        talk.sync();
        talk
    }

    /// Waits until the stream has acted on everything that the service has said.
    #[track_caller]
    fn sync(&self) {
        self.syncs.set(self.syncs.get() + 1);
        let text = format!("sync {} {}", self.server.connections().len(), self.syncs.get());
        let kind = "conversation.item.input_audio_transcription.delta";
        let event = json!({"type": kind, "item_id": "sync", "content_index": 0, "delta": text});
        self.connection.order(Order::Event(event));
        let end = Instant::now() + PATIENCE;
        let heeded = |event: &&Event| event.header("Audio-Stream-Text") == Some(text.as_str());
        while !switch().look_at_call(self.call.uuid(), |events| events.iter().rev().any(heeded)) {
            assert!(Instant::now() < end, "{text} is not heeded: {}", command(self.call, "health"));
            thread::sleep(Duration::from_micros(500));
        }
    }

    /// Lets a frame pass: the service hears it, answers, and the answer is queued.
    #[track_caller]
    fn frame(&self) {
        self.call.tick(1);
        self.frames.set(self.frames.get() + 1);
        // A resampler keeps the end of a frame until the next one comes.
        let rate = u64::from(Coding::of(&self.connection.record().format).rate());
        let kept = u64::from(rate != 8_000);
        let wanted = self.before + (self.frames.get() - kept) * rate / 50;
        let heard = || self.connection.record().samples >= wanted;
        assert!(eventually(PATIENCE, heard), "a frame did not reach the service");
        self.sync();
    }

    #[track_caller]
    fn pass(&self, frames: u32) {
        (0..frames).for_each(|_| self.frame());
    }

    /// Lets frames pass until the conversation is in this state.
    #[track_caller]
    fn until(&self, state: &str) {
        for _ in 0..1_500 {
            if states(self.call).last().is_some_and(|last| last == state) {
                return;
            }
            self.frame();
        }
        panic!("not {state} within 30 s: {:?}", states(self.call));
    }

    fn speak(&self, rate: u32, ms: u32, seed: u64) {
        self.call.speak(&signal::speech(rate, ms, seed));
    }

    fn health(&self) -> Value {
        serde_json::from_str(&command(self.call, "health")).unwrap()
    }
}

#[test]
fn two_turns_with_an_interruption_are_heard_and_reported() {
    for (rate, audio) in [(8_000, "auto"), (8_000, "pcma"), (16_000, "auto"), (8_000, "pcm")] {
        let answers = [Answer { late: 4, ..Answer::chord(51, 8_000) }, Answer::chord(52, 600)];
        let server = RealtimeServer::start(Script::answering(answers));
        let call = call(CallOptions { rate, ..playing() });
        let talk = Talk::start(&call, &server, &format!("ai_audio={audio}"));
        let what = format!("{rate} Hz, {audio}");
        talk.speak(rate, 700, 3);
        talk.until("SPEAKING");
        talk.pass(60);
        talk.speak(rate, 700, 4);
        talk.until("LISTENING");
        let trigger = call.heard_count();
        talk.until("SPEAKING");
        talk.until("LISTENING");
        talk.pass(3);

        let heard = call.heard();
        let frame = signal::samples(rate, 20);
        let (start, first) = heard_ms(&heard, &chord(rate, 8_000, 51), rate).unwrap();
        let (_, second) = heard_ms(&heard, &chord(rate, 600, 52), rate).unwrap();
        assert!((585.0..=602.0).contains(&second), "{what}: {second}");
        let end = start + (first * f64::from(rate) / 1_000.0) as usize;
        assert!(end <= trigger + frame + frame / 4, "{what}: at most one more frame, not {}", end - trigger);
        let silent = &heard[trigger + 2 * frame..][..10 * frame];
        assert!(silent.iter().all(|sample| *sample == 0), "{what}: silence follows");

        let record = talk.connection.record();
        assert_eq!(record.complaints, [], "{what}");
        let truncated = record.told("conversation.item.truncate");
        assert_eq!(truncated.len(), 1, "{what}");
        let told = truncated[0]["audio_end_ms"].as_f64().unwrap();
        assert!((told - first).abs() <= 20.0, "{what}: heard {first} ms, told {told}");
        let session = &record.told("session.update")[0]["session"]["audio"];
        let format = match audio {
            "pcma" => json!({"type": "audio/pcma"}),
            "auto" if rate == 8_000 => json!({"type": "audio/pcmu"}),
            _ => json!({"type": "audio/pcm", "rate": 24_000}),
        };
        assert_eq!((&session["input"]["format"], &session["output"]["format"]), (&format, &format), "{what}");
        drop(record);
        let barge_in = events(&call, "ai_barge_in");
        assert_eq!(barge_in.len(), 1, "{what}");
        assert_eq!(barge_in[0].header("Audio-Stream-Cause"), Some("server_vad"));
        assert_eq!(barge_in[0].header("Audio-Stream-Heard-Ms"), Some(format!("{told}").as_str()), "{what}");
        assert_eq!(
            states(&call),
            ["CONNECTING", "LISTENING", "PROCESSING", "SPEAKING", "LISTENING", "PROCESSING", "SPEAKING", "LISTENING"]
        );
        // The end of what a resampler makes may come half a frame after the rest.
        if rate == 8_000 && audio != "pcm" {
            assert_eq!(talk.health()["inject"]["underrun_count"], 0, "{what}");
        }
    }
}

#[test]
fn the_callers_sentence_survives_a_lost_connection() {
    let server = RealtimeServer::start(Script::answering([Answer::chord(53, 500)]));
    let call = call(playing());
    let talk = Talk::start(&call, &server, "");
    let sentence = signal::speech(8_000, 6_000, 61);
    call.speak(&sentence);
    talk.pass(100);
    server.set_reachable(false);
    talk.connection.wait_end();
    // What was sent before the stream knows of the loss is lost.
    wait_state(&call, "RECONNECTING");
    let each = |frames: u32, taken: &dyn Fn() -> u64| {
        for _ in 0..frames {
            let before = taken();
            call.tick(1);
            assert!(eventually(PATIENCE, || taken() > before), "a frame is not taken: {}", talk.health());
        }
    };
    each(150, &|| talk.health()["ai"]["ring_buffer_ms"].as_u64().unwrap());
    wait_for("failed attempts", PATIENCE, || (server.accepted() >= 3).then_some(()));
    server.set_reachable(true);
    let second = wait_for("the second session", PATIENCE, || server.connections().get(1).cloned());
    wait_state_in(&call, &["LISTENING", "PROCESSING", "SPEAKING"]);
    each(160, &|| second.record().samples);
    let said = Coding::Pcmu.decode(&Coding::Pcmu.encode(&sentence)).unwrap();
    let received = || [talk.connection.record().audio.clone(), second.record().audio.clone()].concat();
    let whole = |peer: &[i16]| peer.windows(said.len()).any(|window| window == said);
    // The sentence has begun with the first frames of the call that are not silent.
    let found = eventually(PATIENCE, || received().len() > said.len() && whole(&received()));
    let where_it_breaks = || {
        let received = received();
        let (at, _) = crate::support::audio::find(&received, &said[..4_000]);
        let same = received[at..].iter().zip(&said).take_while(|(a, b)| a == b).count();
        let (again, alike) = crate::support::audio::find(&received[at..], &said[said.len() - 4_000..]);
        let moved = again as i64 - (said.len() as i64 - 4_000);
        let first = talk.connection.record().samples as i64 - at as i64;
        format!(
            "the first {same} of {} samples are there; the end is {moved} samples late ({alike}); the first session had {first} of it",
            said.len()
        )
    };
    assert!(found, "{}", where_it_breaks());
    assert_eq!(second.record().complaints, []);
    assert_eq!(events(&call, "ai_state").iter().filter(|e| e.header("Audio-Stream-Last") == Some("true")).count(), 0);
}

#[track_caller]
fn wait_state_in(call: &Call<'_>, wanted: &[&str]) {
    wait_for(&format!("one of {wanted:?}"), PATIENCE, || wanted.contains(&states(call).last()?.as_str()).then_some(()));
}

#[test]
fn a_refused_api_key_fails_in_one_event_and_the_call_goes_on() {
    for wrong_key in [WrongKey::Status, WrongKey::Event] {
        let script = Script { auth: Auth::Bearer("sk-another".into()), wrong_key, ..Script::default() };
        let server = RealtimeServer::start(script);
        let call = call(playing());
        assert_eq!(start(&call, &server, ""), "+OK Success");
        wait_state(&call, "FAILED");
        wait_detached(&call);
        thread::sleep(Duration::from_millis(1_500));
        assert_eq!(states(&call), ["CONNECTING", "FAILED"], "{wrong_key:?}");
        assert_eq!(server.accepted(), 1, "{wrong_key:?}: it was not tried again");
        let failed = &events(&call, "ai_state")[1];
        assert_eq!(failed.header("Audio-Stream-Last"), Some("true"));
        let code = if wrong_key == WrongKey::Status { "401" } else { "invalid_api_key" };
        assert_eq!(failed.header("Audio-Stream-Code"), Some(code));
        if wrong_key == WrongKey::Status {
            let why = failed.header("Audio-Stream-Reason").unwrap_or_default();
            assert!(why.contains("refused the key: HTTP 401; check openai_api_key"), "{why}");
        }
        assert_eq!(failed.header("Audio-Stream-Request-Id"), Some("req_0"), "{wrong_key:?}");
        call.tick(5);
        let shown = switch().look(|events, logs| {
            let event = events.iter().any(|event| format!("{event:?}").contains("sk-test"));
            event || logs.iter().any(|log| log.text.contains("sk-test"))
        });
        assert!(!shown, "the key is shown nowhere");
    }
}

#[test]
fn the_services_ids_are_in_the_log_and_in_errors() {
    let failing = Answer { voice: None, ending: Ending::Failed("server_error"), ..Answer::default() };
    let server = RealtimeServer::start(Script::answering([failing, Answer::chord(57, 500)]));
    let call = call(playing());
    let talk = Talk::start(&call, &server, "");
    talk.speak(8_000, 600, 3);
    talk.until("SPEAKING");
    talk.until("LISTENING");
    let record = talk.connection.record();
    let session = record.said("session.created")[0].1["session"]["id"].as_str().unwrap().to_owned();
    let responses: Vec<_> = record.said("response.created").into_iter().map(|(_, said)| said).collect();
    let response = |index: usize| responses[index]["response"]["id"].as_str().unwrap();
    let error = events(&call, "error").remove(0);
    for (header, id) in [("Session", session.as_str()), ("Request", "req_0"), ("Response", response(0))] {
        assert_eq!(error.header(&format!("Audio-Stream-{header}-Id")), Some(id));
    }
    let message = &error.json()["message"];
    assert_eq!((&message["session_id"], &message["response_id"]), (&json!(session), &json!(response(0))), "{message}");
    for line in [
        "WS_STREAM connect ok ".to_owned(),
        format!("OPENAI session ok stream=default session_id={session} request_id=req_0"),
        format!("response_id={} session_id={session} request_id=req_0", response(0)),
        format!("AI_ENGINE response ok stream=default response_id={}", response(1)),
    ] {
        let ours = |log: &crate::host::Log| log.text.contains(call.uuid()) && log.text.contains(&line);
        assert!(switch().look(|_, logs| logs.iter().any(ours)), "{line}");
    }
}

/// What the service has billed for responses, as the fields of `health`.
fn billed(connection: &Connection) -> [u64; 2] {
    let record = connection.record();
    let sum = |field: &str| {
        record.said("response.done").iter().filter_map(|(_, said)| said["response"]["usage"][field].as_u64()).sum()
    };
    [sum("input_tokens"), sum("output_tokens")]
}

#[test]
fn health_counts_what_happened_in_the_conversation() {
    let answers = [Answer::call("look_up", &json!({"order": 7})), Answer::chord(58, 8_000), Answer::chord(59, 400)];
    let server = RealtimeServer::start(Script::answering(answers));
    let call = call(playing());
    let tools = r#"tools='[{"name":"look_up","description":"Looks","parameters":{"type":"object"}}]'"#;
    let talk = Talk::start(&call, &server, tools);
    let ai = || talk.health()["ai"].clone();
    let fresh = ai();
    for (field, value) in fresh.as_object().unwrap() {
        match field.as_str() {
            "openai_connected" => assert_eq!(value, true),
            "tts_cache_hit_pct" => assert!(value.is_number()),
            "answer_ms" | "answer_max_ms" => assert!(value.is_null(), "{field}: {value}"),
            "usage" => assert!(value.as_object().unwrap().values().all(|tokens| tokens == 0), "{value}"),
            _ => assert_eq!(value, 0, "{field}"),
        }
    }
    talk.speak(8_000, 600, 3);
    for _ in 0..200 {
        talk.frame();
        if !events(&call, "ai_action").is_empty() {
            break;
        }
    }
    let action = events(&call, "ai_action").remove(0);
    let call_id = action.header("Audio-Stream-Call-Id").unwrap();
    assert_eq!(command(&call, &format!("ai_result {call_id} {{}}")), "+OK Success");
    talk.until("SPEAKING");
    talk.pass(40);
    talk.speak(8_000, 700, 4);
    talk.until("LISTENING");
    talk.until("SPEAKING");
    talk.until("LISTENING");
    let health = talk.health();
    let ai = &health["ai"];
    assert_eq!(
        (&health["mode"], &health["state"], &health["health"]),
        (&json!("ai"), &json!("LISTENING"), &json!("HEALTHY"))
    );
    for (field, times) in
        [("barge_in_count", 1), ("interruptions", 1), ("actions", 1), ("turns", 2), ("reconnect_attempts", 0)]
    {
        assert_eq!(ai[field], times, "{field}: {health}");
    }
    let (mean, longest) = (ai["answer_ms"].as_u64().unwrap(), ai["answer_max_ms"].as_u64().unwrap());
    assert!(mean <= longest, "{health}");
    let usage = &ai["usage"];
    assert_eq!(json!(billed(&talk.connection)), json!([usage["input_tokens"], usage["output_tokens"]]), "{health}");
    assert_eq!(usage["transcription_ms"], 2_000, "two turns of the caller: {health}");

    // While the service is away.
    server.set_reachable(false);
    talk.connection.wait_end();
    call.speak(&signal::speech(8_000, 3_000, 5));
    let away = wait_for("the loss", PATIENCE, || {
        call.tick(1);
        Some(talk.health()).filter(|health| health["ai"]["ring_buffer_ms"].as_u64() >= Some(200))
    });
    assert_eq!((&away["state"], &away["ai"]["openai_connected"]), (&json!("RECONNECTING"), &json!(false)), "{away}");
    assert_eq!((&away["health"], &away["health_reasons"]), (&json!("UNHEALTHY"), &json!(["reconnecting"])), "{away}");
    wait_for("an attempt", PATIENCE, || (talk.health()["ai"]["reconnect_attempts"].as_u64() >= Some(1)).then_some(()));
    server.set_reachable(true);
    let back = wait_for("the next session", PATIENCE, || {
        call.tick(1);
        thread::sleep(Duration::from_millis(5));
        Some(talk.health())
            .filter(|health| health["ai"]["openai_connected"] == true && health["ai"]["ring_buffer_ms"] == 0)
    });
    assert_eq!((&back["ai"]["turns"], &back["ai"]["actions"]), (&json!(2), &json!(1)), "the counts go on: {back}");
}

#[test]
fn a_function_call_is_reported_and_its_result_is_spoken() {
    let answers = [Answer::call("look_up", &json!({"order": 7})), Answer::chord(54, 500)];
    let server = RealtimeServer::start(Script::answering(answers));
    let call = call(playing());
    let tools = r#"tools='[{"name":"look_up","description":"Looks","parameters":{"type":"object"}}]'"#;
    let talk = Talk::start(&call, &server, tools);
    talk.speak(8_000, 600, 3);
    for _ in 0..200 {
        talk.frame();
        if !events(&call, "ai_action").is_empty() {
            break;
        }
    }
    let action = events(&call, "ai_action").remove(0);
    assert_eq!(action.header("Audio-Stream-Action"), Some("look_up"));
    let call_id = action.header("Audio-Stream-Call-Id").unwrap();
    assert_eq!(command(&call, &format!("ai_result {call_id} {{\"status\": \"shipped\"}}")), "+OK Success");
    talk.until("SPEAKING");
    talk.until("LISTENING");
    assert!(heard_ms(&call.heard(), &chord(8_000, 500, 54), 8_000).is_some());
    let record = talk.connection.record();
    assert_eq!(record.complaints, []);
    assert_eq!(record.told("conversation.item.create")[0]["item"]["output"], r#"{"status": "shipped"}"#);
}

#[test]
fn a_sentence_is_heard_as_soon_as_its_voice_is_there() {
    // The voice stops after 40 ms of it.
    let stall = speech_server::Answer { stall_after: Some(640), ..speech_server::Answer::default() };
    let synthesis = SpeechServer::start(Service::ElevenLabs("xi-test"), [stall]);
    let server = RealtimeServer::start(Script::default());
    let call = call(playing());
    let voice = format!(
        "ai_output=tts tts_provider=elevenlabs tts_elevenlabs_api_key=xi-test tts_voice=v1 tts_url={} \
         tts_output_format=pcm_8000 dsp_enabled=false",
        synthesis.url(false)
    );
    let talk = Talk::start(&call, &server, &voice);
    let say = || {
        talk.connection.order(Order::Respond(Answer::text("Please hold the line while I look that up.")));
        // No frame passes meanwhile: what is counted is what the module waits for, not how busy the machine is.
        wait_state(&call, "SPEAKING");
        // The event is fired before the voice is in the media thread's reach.
        talk.sync();
    };
    say();
    let from = call.heard_count();
    call.tick(2);
    assert!(
        call.heard_from(from).iter().any(|sample| *sample != 0),
        "not within two frames of the voice's first bytes"
    );
    synthesis.go_on();
    let asked = synthesis.wait_asked(1);
    wait_for("the whole sentence", PATIENCE, || {
        call.tick(1);
        (states(&call).last()? == "LISTENING").then_some(())
    });
    say();
    let from = call.heard_count();
    call.tick(1);
    let heard = call.heard_from(from);
    let first = &asked[0].samples[..heard.len()];
    assert!(heard.len() == 160 && heard.iter().any(|sample| *sample != 0), "not in the frame after the text");
    let off = heard.iter().zip(first).filter(|(heard, said)| heard != said).count();
    assert!(off <= 40, "{off} samples are not those of the sentence's beginning");
    assert_eq!(synthesis.asked().len(), 1, "it is not made again");
}

#[test]
fn a_hangup_ends_the_session_and_the_last_event_comes() {
    let server = RealtimeServer::start(Script::answering([Answer::chord(55, 3_000)]));
    let call = call(playing());
    let uuid = call.uuid().to_owned();
    let talk = Talk::start(&call, &server, "");
    talk.speak(8_000, 600, 3);
    talk.until("SPEAKING");
    talk.pass(10);
    let connection = Arc::clone(&talk.connection);
    drop(call);
    assert_eq!(connection.wait_end().1, "1000 ");
    let last = |event: &&Event| {
        event.header("Audio-Stream-UUID") == Some(uuid.as_str())
            && is(event, "ai_state")
            && event.header("Audio-Stream-Last") == Some("true")
    };
    let count = || switch().look(|events, _| events.iter().filter(last).count());
    wait_for("the last event", PATIENCE, || (count() > 0).then_some(()));
    assert_eq!((count(), server.connections().len()), (1, 1));
}

#[test]
fn a_session_that_the_service_closes_goes_on_in_the_next() {
    for (code, reason) in [(1_001, "Your session hit the maximum duration of 60 minutes."), (1_011, "")] {
        let server = RealtimeServer::start(Script::answering([Answer::chord(56, 500)]));
        let call = call(playing());
        let talk = Talk::start(&call, &server, "");
        talk.connection.order(Order::Trouble(What::Close(code, reason)));
        let second = server.connection(1);
        // Not for the first session's state.
        wait_for("the second session", PATIENCE, || {
            (states(&call).iter().filter(|state| *state == "LISTENING").count() == 2).then_some(())
        });
        drop(talk);
        let talk = Talk::over(&call, &server, second);
        talk.speak(8_000, 600, 3);
        talk.until("SPEAKING");
        talk.until("LISTENING");
        assert!(heard_ms(&call.heard(), &chord(8_000, 500, 56), 8_000).is_some(), "{code}");
        assert!(states(&call).contains(&"RECONNECTING".to_owned()), "{code}");
        assert_eq!(talk.server.connections().len(), 2, "{code}");
    }
    let server = RealtimeServer::start(Script::default());
    let call = call(playing());
    let talk = Talk::start(&call, &server, "");
    talk.connection.order(Order::Trouble(What::Close(4_000, "invalid_request_error.beta_api_shape_disabled")));
    wait_state(&call, "FAILED");
    wait_detached(&call);
    assert_eq!(server.accepted(), 1);
}
