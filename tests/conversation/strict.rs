//! The scripted server is as strict as the real one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::realtime::*;
use crate::support::{audio, signal};

/// A session on a clock of the test's, and what it has said.
struct Client {
    session: Session,
    record: Arc<Mutex<Record>>,
    now: Instant,
    ended: Option<(u16, String)>,
}

impl Client {
    fn new(script: Script) -> Self {
        Self::opening(script, &[("authorization", "Bearer sk-test")])
    }

    fn opening(script: Script, headers: &[(&str, &str)]) -> Self {
        let now = Instant::now();
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let uri = "/v1/realtime?model=test-model".to_owned();
        let opening = Opening { now, unix_seconds: 1_700_000_000, connection: 0, uri, headers };
        let record = Arc::new(Mutex::new(Record::default()));
        let session = Session::open(Arc::new(script), &opening, Arc::clone(&record));
        let mut client = Self { session, record, now, ended: None };
        client.drain();
        client
    }

    fn drain(&mut self) {
        while let Some(out) = self.session.poll() {
            if let Out::Close(code, reason) = out {
                self.ended = Some((code, reason));
            }
        }
    }

    fn tell(&mut self, event: Value) {
        self.session.take(self.now, &event.to_string());
        self.drain();
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self.session.deadline().filter(|at| *at <= end) {
            self.now = at;
            self.session.tick(at);
            self.drain();
        }
        self.now = end;
    }

    /// The caller's audio at its own pace, in µ-law.
    fn hear(&mut self, samples: &[i16]) {
        for frame in samples.chunks(160) {
            let audio = STANDARD.encode(Coding::Pcmu.encode(frame));
            self.tell(json!({"type": "input_audio_buffer.append", "audio": audio}));
            self.pass(Duration::from_millis(20));
        }
    }

    fn kinds(&self) -> Vec<String> {
        self.record.lock().said.iter().map(|(_, event)| event["type"].as_str().unwrap().to_owned()).collect()
    }

    fn take_kinds(&self) -> Vec<String> {
        let kinds = self.kinds();
        self.record.lock().said.clear();
        kinds
    }

    fn complaint(&self) -> Option<(&'static str, Option<String>)> {
        self.record.lock().complaints.last().map(|complaint| (complaint.code, complaint.param.clone()))
    }
}

fn telephone() -> Value {
    json!({"type": "session.update", "session": {"type": "realtime", "audio": {
        "input": {"format": {"type": "audio/pcmu"}, "transcription": {"model": "a"},
            "turn_detection": {"type": "server_vad", "silence_duration_ms": 300}},
        "output": {"format": {"type": "audio/pcmu"}}}}})
}

#[test]
fn a_client_without_key_path_or_model_is_not_let_in() {
    let script = Script::default();
    let key = vec![("authorization".to_owned(), "Bearer sk-test".to_owned())];
    assert_eq!(script.admit("/v1/realtime?model=test-model", &key), Ok(()));
    assert_eq!(script.admit("/v1/realtime?model=test-model", &[]), Err(401));
    let wrong = vec![("authorization".to_owned(), "Bearer sk-other".to_owned())];
    assert_eq!(script.admit("/v1/realtime?model=test-model", &wrong), Err(401));
    assert_eq!(script.admit("/v1/realtime?model=another", &key), Err(400));
    assert_eq!(script.admit("/v1/realtime", &key), Err(400));
    assert_eq!(script.admit("/realtime?model=test-model", &key), Err(404));
    let azure = Script { auth: Auth::ApiKey("k".into()), ..Script::default() };
    assert_eq!(azure.admit("/openai/v1/realtime?model=test-model", &[("api-key".into(), "k".into())]), Ok(()));
    assert_eq!(azure.admit("/openai/v1/realtime?model=test-model", &key), Err(401));
}

#[test]
fn the_beta_header_and_a_late_refused_key_prevent_a_session() {
    let beta =
        Client::opening(Script::default(), &[("authorization", "Bearer sk-test"), ("openai-beta", "realtime=v1")]);
    assert_eq!(beta.kinds(), ["error"]);
    assert_eq!(beta.ended, Some((4_000, "invalid_request_error.beta_api_shape_disabled".into())));
    let late = Script { wrong_key: WrongKey::Event, ..Script::default() };
    let late = Client::opening(late, &[]);
    assert_eq!(late.kinds(), ["error"]);
    assert_eq!(late.ended, Some((3_000, "invalid_request_error.invalid_api_key".into())));
}

#[test]
fn a_wrong_message_of_a_client_is_answered_with_its_wrong_field() {
    let session = |session: Value| json!({"type": "session.update", "session": session});
    let truncate = |ms: Value| json!({"type": "conversation.item.truncate", "item_id": "x", "content_index": 0, "audio_end_ms": ms});
    let item = |item: Value| json!({"type": "conversation.item.create", "item": item});
    let wrong = [
        (json!({"no": "type"}), "missing_required_parameter", "type"),
        (json!({"type": "conversation.update"}), "invalid_value", "type"),
        (json!({"type": "transcription_session.update", "session": {}}), "invalid_value", "type"),
        (json!({"type": 7}), "invalid_type", "type"),
        (json!({"type": "response.create", "event_id": 7}), "invalid_type", "event_id"),
        (json!({"type": "output_audio_buffer.clear"}), "invalid_value", "type"),
        (session(json!({"voice": "alloy"})), "missing_required_parameter", "session.type"),
        (
            session(json!({"type": "realtime", "modalities": ["text", "audio"]})),
            "unknown_parameter",
            "session.modalities",
        ),
        (session(json!({"type": "realtime", "temperature": 0.8})), "unknown_parameter", "session.temperature"),
        (
            session(json!({"type": "realtime", "output_modalities": ["audio", "text"]})),
            "invalid_value",
            "session.output_modalities",
        ),
        (
            session(json!({"type": "realtime", "audio": {"input": {"format": {"type": "audio/pcm", "rate": 16_000}}}})),
            "invalid_value",
            "session.audio.input.format.rate",
        ),
        (
            session(json!({"type": "realtime", "audio": {"input": {"format": {"type": "audio/pcm"}}}})),
            "missing_required_parameter",
            "session.audio.input.format.rate",
        ),
        (
            session(
                json!({"type": "realtime", "audio": {"output": {"format": {"type": "audio/pcmu", "rate": 8_000}}}}),
            ),
            "unknown_parameter",
            "session.audio.output.format.rate",
        ),
        (
            session(json!({"type": "realtime", "audio": {"input": {"turn_detection":
                {"type": "semantic_vad", "threshold": 0.5}}}})),
            "unknown_parameter",
            "session.audio.input.turn_detection.threshold",
        ),
        (
            session(json!({"type": "realtime", "audio": {"input": {"turn_detection": "server_vad"}}})),
            "invalid_type",
            "session.audio.input.turn_detection",
        ),
        (
            session(json!({"type": "realtime", "max_output_tokens": 5_000})),
            "invalid_value",
            "session.max_output_tokens",
        ),
        (
            session(json!({"type": "realtime", "audio": {"output": {"speed": 2.0}}})),
            "invalid_value",
            "session.audio.output.speed",
        ),
        (session(json!({"type": "realtime", "model": "another"})), "invalid_value", "session.model"),
        (truncate(json!("1000")), "invalid_type", "audio_end_ms"),
        (truncate(json!(10.5)), "invalid_type", "audio_end_ms"),
        (truncate(json!(-1)), "invalid_value", "audio_end_ms"),
        (truncate(json!(10)), "item_truncate_invalid_item_id", "item_id"),
        (json!({"type": "conversation.item.delete", "item_id": "x"}), "item_delete_invalid_item_id", "item_id"),
        (
            item(json!({"type": "message", "role": "assistant", "content": [{"type": "input_text", "text": "x"}]})),
            "invalid_value",
            "item.content[0].type",
        ),
        (
            item(json!({"type": "message", "role": "user", "content": [{"type": "text", "text": "x"}]})),
            "invalid_value",
            "item.content[0].type",
        ),
        (
            item(json!({"type": "function_call_output", "call_id": "none", "output": "x"})),
            "invalid_tool_call_id",
            "item.call_id",
        ),
        (
            item(json!({"type": "function_call_output", "call_id": "none", "output": {"a": 1}})),
            "invalid_type",
            "item.output",
        ),
        (json!({"type": "input_audio_buffer.append", "audio": "%%%"}), "invalid_value", "audio"),
        (json!({"type": "input_audio_buffer.append", "audio": "AAAA", "rate": 8_000}), "unknown_parameter", "rate"),
        (json!({"type": "input_audio_buffer.append", "audio": "AAAAAA=="}), "", ""),
        (json!({"type": "input_audio_buffer.append", "audio": "AAAA"}), "invalid_value", "audio"),
    ];
    for (event, code, param) in wrong {
        let mut client = Client::new(Script::default());
        let mut event = event;
        if event["event_id"].is_null() {
            event["event_id"] = json!("mine");
        }
        client.tell(event.clone());
        let wanted = Some((code, Some(param.to_owned()))).filter(|(code, _)| !code.is_empty());
        assert_eq!(client.complaint(), wanted, "{event}");
        if wanted.is_some() {
            let (_, error) = client.record.lock().said("error").pop().unwrap();
            assert_eq!((&error["error"]["event_id"], &error["error"]["param"]), (&event["event_id"], &json!(param)));
        }
        assert_eq!(client.ended, None, "the session goes on");
    }
    let mut client = Client::new(Script::default());
    client.session.take(client.now, "no JSON");
    client.session.take_binary(client.now);
    assert_eq!(client.record.lock().complaints.len(), 2);
    client.tell(json!({"type": "input_audio_buffer.commit"}));
    assert_eq!(client.complaint().unwrap().0, "input_audio_buffer_commit_empty");
    client.tell(json!({"type": "response.cancel"}));
    assert_eq!(client.complaint().unwrap().0, "response_cancel_not_active");
}

#[test]
fn a_callers_speech_makes_a_turn_and_a_turn_an_answer() {
    let answer = Answer { text: "Good day to you.".into(), ..Answer::chord(5, 450) };
    let mut client = Client::new(Script::answering([answer]));
    assert_eq!(client.take_kinds(), ["session.created"]);
    client.tell(telephone());
    assert_eq!(client.take_kinds(), ["session.updated"]);
    client.hear(&signal::silence(8_000, 400));
    assert_eq!(client.take_kinds(), Vec::<String>::new());
    client.hear(&signal::speech(8_000, 1_000, 9));
    assert_eq!(client.take_kinds(), ["input_audio_buffer.speech_started"]);
    client.hear(&signal::silence(8_000, 400));
    assert_eq!(
        client.kinds(),
        [
            "input_audio_buffer.speech_stopped",
            "input_audio_buffer.committed",
            "conversation.item.added",
            "conversation.item.done",
            "conversation.item.input_audio_transcription.delta",
            "conversation.item.input_audio_transcription.delta",
            "conversation.item.input_audio_transcription.completed",
            "response.created",
            "rate_limits.updated",
            "response.output_item.added",
            "conversation.item.added",
            "response.content_part.added",
            // A third of the words with each third of the sound; the first is none yet.
            "response.output_audio.delta",
            "response.output_audio_transcript.delta",
            "response.output_audio.delta",
            "response.output_audio_transcript.delta",
            "response.output_audio.delta",
            "response.output_audio_transcript.delta",
            "response.output_audio.delta",
            "response.output_audio_transcript.delta",
            "response.output_audio.delta",
            "response.output_audio.done",
            "response.output_audio_transcript.done",
            "response.content_part.done",
            "response.output_item.done",
            "conversation.item.done",
            "response.done",
        ]
    );
    let record = client.record.lock();
    assert_eq!(record.complaints, []);
    let (_, stopped) = record.said("input_audio_buffer.speech_stopped").remove(0);
    let end = stopped["audio_end_ms"].as_u64().unwrap();
    assert!((1_250..=1_400).contains(&end), "{end}");
    assert_eq!(record.samples, 1_800 * 8);
    let said: u64 =
        record.said("response.output_audio.delta").iter().map(|(_, e)| e["delta_ms"].as_u64().unwrap()).sum();
    assert!((450..455).contains(&said), "{said}");
}

#[test]
fn an_interruption_cancels_and_late_messages_still_arrive() {
    let answer = Answer { pace: Pace::Times(1.0), late: 4, ..Answer::chord(5, 5_000) };
    let mut client = Client::new(Script::answering([answer, Answer::chord(6, 500)]));
    client.tell(telephone());
    client.tell(json!({"type": "response.create"}));
    client.tell(json!({"type": "response.create"}));
    assert_eq!(client.complaint().unwrap().0, "conversation_already_has_active_response");
    client.pass(Duration::from_millis(950));
    client.take_kinds();
    client.hear(&signal::speech(8_000, 300, 9));
    let kinds = client.kinds();
    let at = |kind: &str| kinds.iter().position(|k| k == kind).unwrap();
    let started = at("input_audio_buffer.speech_started");
    let late = kinds[started..].iter().filter(|kind| *kind == "response.output_audio.delta").count();
    assert_eq!(late, 4);
    assert!(at("response.done") > started);
    assert_eq!(kinds.last().unwrap(), "response.output_audio.delta", "the last come when the response is over");
    let (_, done) = client.record.lock().said("response.done").remove(0);
    assert_eq!(done["response"]["status_details"], json!({"type": "cancelled", "reason": "turn_detected"}));
    // The item has what was sent of it, and no more.
    let id = done["response"]["output"][0]["id"].clone();
    let sent: u64 = client
        .record
        .lock()
        .said("response.output_audio.delta")
        .iter()
        .map(|(_, e)| e["delta_ms"].as_u64().unwrap())
        .sum();
    assert!(sent <= 1_000 + 400, "{sent}");
    let truncate =
        |ms: u64| json!({"type": "conversation.item.truncate", "item_id": id, "content_index": 0, "audio_end_ms": ms});
    client.tell(truncate(2_000));
    assert_eq!(client.complaint().unwrap(), ("invalid_value", Some("audio_end_ms".into())));
    client.tell(truncate(700));
    client.tell(truncate(701));
    assert_eq!(client.record.lock().said("conversation.item.truncated").len(), 1);
}

#[test]
fn without_turn_detection_nothing_happens_by_itself() {
    let mut client = Client::new(Script::answering([Answer::chord(5, 300)]));
    client.tell(json!({"type": "session.update", "session": {"type": "realtime", "audio": {
        "input": {"format": {"type": "audio/pcma"}, "turn_detection": null}}}}));
    client.take_kinds();
    for frame in signal::speech(8_000, 600, 9).chunks(160) {
        let audio = STANDARD.encode(Coding::Pcma.encode(frame));
        client.tell(json!({"type": "input_audio_buffer.append", "audio": audio}));
    }
    assert_eq!(client.take_kinds(), Vec::<String>::new());
    client.tell(json!({"type": "input_audio_buffer.commit"}));
    assert_eq!(
        client.take_kinds(),
        ["input_audio_buffer.committed", "conversation.item.added", "conversation.item.done"]
    );
    client.tell(json!({"type": "response.create"}));
    assert_eq!(client.kinds().last().unwrap(), "response.done");
    let heard = client.record.lock().audio.clone();
    let (at, alike) = audio::find(&heard, &signal::speech(8_000, 600, 9));
    assert!(at == 0 && alike > 0.99, "{at} {alike}");
}

#[test]
fn a_function_is_called_and_its_result_belongs_to_the_call() {
    let mut client =
        Client::new(Script::answering([Answer::call("look_up", &json!({"order": 7})), Answer::text("Ok")]));
    client.tell(json!({"type": "response.create", "response": {"instructions": "Look it up."}}));
    let (_, done) = client.record.lock().said("response.function_call_arguments.done").remove(0);
    assert_eq!(done["arguments"], r#"{"order":7}"#);
    let output = |call_id: &Value| {
        json!({"type": "conversation.item.create",
            "item": {"type": "function_call_output", "call_id": call_id, "output": "shipped"}})
    };
    client.tell(output(&json!("call_of_another")));
    assert_eq!(client.complaint().unwrap().0, "invalid_tool_call_id");
    client.tell(output(&done["call_id"]));
    assert_eq!(client.record.lock().complaints.len(), 1);
}

#[test]
fn the_heard_part_of_an_answer_is_found_to_a_few_milliseconds() {
    let said = chord(8_000, 3_000, 4);
    let mut heard = signal::silence(8_000, 777);
    heard.extend(&said[..signal::samples(8_000, 1_234)]);
    heard.extend(signal::silence(8_000, 500));
    heard.extend(chord(8_000, 1_000, 8));
    let (start, ms) = heard_ms(&heard, &said, 8_000).unwrap();
    assert_eq!(start, signal::samples(8_000, 777));
    assert!((ms - 1_234.0).abs() <= 3.0, "{ms}");
    assert_eq!(heard_ms(&heard, &chord(8_000, 2_000, 99), 8_000), None);
    // As a telephone hears it: in G.711.
    let coarse = Coding::Pcmu.decode(&Coding::Pcmu.encode(&heard)).unwrap();
    let (_, ms) = heard_ms(&coarse, &said, 8_000).unwrap();
    assert!((ms - 1_234.0).abs() <= 3.0, "{ms}");
    // What was made at another rate is the same.
    let other = Voice::Recorded { rate: 24_000, samples: Arc::new(chord(24_000, 3_000, 4)) }.samples(8_000);
    let (start, ms) = heard_ms(&other, &said, 8_000).unwrap();
    assert!(start == 0 && ms > 2_990.0, "{start} {ms}");
}
