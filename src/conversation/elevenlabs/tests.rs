//! Tests of the engine: golden transcripts, the list of the service's messages, malformed messages.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::setup;
use super::*;
use crate::conversation::golden::{self, described};
use crate::conversation::options::AiOptions;
use crate::options::Options as _;
use crate::units::SampleRate;

fn options(given: &[(&str, &str)]) -> AiOptions {
    golden::options(&[("engine", "elevenlabs"), ("elevenlabs_agent_id", "agent_7")], given)
}

fn engine(given: &[(&str, &str)]) -> ElevenLabs {
    let options = options(given);
    let headers = vec![("X-Tenant".to_owned(), crate::units::Secret::new("7"))];
    ElevenLabs::new(setup::config(&options, headers, &options.policy(), SampleRate::HZ_8000).unwrap())
}

const PUBLIC: &[(&str, &str)] = &[("elevenlabs_public", "true")];
const PRIVATE: &[(&str, &str)] = &[("elevenlabs_api_key", "sk_s3cret")];
const FULL: &[(&str, &str)] = &[
    ("elevenlabs_public", "true"),
    ("system_prompt", "Be \"brief\"."),
    ("greeting", "Good day."),
    ("voice", "v1"),
    ("speed", "1.1"),
    ("transcription_language", "de"),
    ("transcription_prompt", "Innsbruck, Zillertal"),
    ("reasoning_effort", "low"),
    ("elevenlabs_model", "gemini-3.8-flash"),
    ("elevenlabs_overrides", r#"{"tts":{"stability":0.5}}"#),
    ("elevenlabs_variables", r#"{"name":"Ann","orders":2}"#),
    ("elevenlabs_llm_body", r#"{"tenant":7}"#),
    ("elevenlabs_user_id", "u1"),
];

macro_rules! transcripts {
    ($($options:ident: $($name:ident),* $(,)?;)*) => {
        $($(#[test]
        fn $name() {
            golden::run(
                &mut engine($options),
                stringify!($name),
                include_str!(concat!("../../../tests/golden/elevenlabs/", stringify!($name), ".txt")),
            );
        })*)*
    };
}

transcripts!(
    PUBLIC:
        a_public_agent_is_called_by_its_id,
        a_caller_interrupts_an_answer,
        a_tool_is_called_and_its_error_is_told,
        texts_are_asked_or_only_told,
        the_end_of_an_answer_is_told_or_guessed,
        an_agent_ends_the_conversation,
        a_conversation_that_goes_on_greets_nobody_again,
        what_cannot_be_done_is_said;
    PRIVATE:
        a_private_agent_is_called_by_a_signed_url,
        no_signed_url_no_conversation;
    FULL:
        every_setting_is_where_the_service_has_it;
);

/// A conversation that is held.
fn ready(given: &[(&str, &str)], input: &str, output: &str) -> (ElevenLabs, Instant) {
    let (mut engine, now) = (engine(given), Instant::now());
    engine.handle(now, Input::Command(Command::Connect { attempt: 0 }));
    engine.handle(now, Input::Opened { unix_seconds: 0 });
    say(&mut engine, now, &metadata(input, output));
    assert!(engine.is_ready());
    (engine, now)
}

fn metadata(input: &str, output: &str) -> Value {
    json!({"type": "conversation_initiation_metadata", "conversation_initiation_metadata_event":
        {"conversation_id": "conv_1", "user_input_audio_format": input, "agent_output_audio_format": output}})
}

fn say(engine: &mut ElevenLabs, now: Instant, message: &Value) -> Vec<String> {
    engine.handle(now, Input::Text(&message.to_string()));
    described(engine)
}

#[test]
fn no_output_has_the_key_or_the_signed_url() {
    let (mut engine, now) = (engine(PRIVATE), Instant::now());
    let mut shown = format!("{engine:?}");
    let mut handle = |engine: &mut ElevenLabs, input: Input<'_>| {
        engine.handle(now, input);
        while let Some(output) = engine.poll() {
            shown += &format!("{output:?}");
        }
        shown += &format!("{engine:?}");
    };
    handle(&mut engine, Input::Command(Command::Connect { attempt: 0 }));
    handle(&mut engine, Input::Fetched { id: 1, piece: Fetched::Head { status: 200, request_id: None } });
    let body =
        br#"{"signed_url":"wss://api.elevenlabs.io/v1/convai/conversation?agent_id=a&conversation_signature=s1gned"}"#;
    handle(&mut engine, Input::Fetched { id: 1, piece: Fetched::End });
    handle(&mut engine, Input::Command(Command::Connect { attempt: 1 }));
    handle(&mut engine, Input::Fetched { id: 2, piece: Fetched::Head { status: 200, request_id: None } });
    engine.handle(now, Input::Fetched { id: 2, piece: Fetched::Body(body) });
    handle(&mut engine, Input::Fetched { id: 2, piece: Fetched::End });
    assert!(shown.contains("Connect(") && shown.contains("***"), "{shown}");
    assert!(!shown.contains("s3cret") && !shown.contains("s1gned"), "{shown}");
}

#[test]
fn every_message_of_the_service_is_handled_or_ignored() {
    // The client events of the vendor's Python SDK 2.78 (types/client_event.py), and those of its schema besides.
    let all = [
        "conversation_initiation_metadata",
        "asr_initiation_metadata",
        "ping",
        "audio",
        "interruption",
        "user_transcript",
        "tentative_user_transcript",
        "agent_response",
        "agent_response_correction",
        "client_tool_call",
        "mcp_tool_call",
        "mcp_connection_status",
        "agent_tool_request",
        "agent_tool_response",
        "agent_tool_response_full_payload",
        "agent_response_metadata",
        "vad_score",
        "agent_chat_response_part",
        "client_error",
        "guardrail_triggered",
        "dtmf_request",
        "agent_response_complete",
        "context_usage",
        "internal_turn_probability",
        "internal_tentative_agent_response",
        "agent_reasoning_response_part",
        "rich_content",
        "agent_typing",
        "external_agent_connected",
        "external_agent_disconnected",
        "error",
    ];
    // Of these nothing follows, whatever is in them.
    let ignored = [
        "asr_initiation_metadata",
        "mcp_connection_status",
        "agent_tool_request",
        "agent_tool_response",
        "agent_tool_response_full_payload",
        "agent_response_metadata",
        "vad_score",
        "agent_chat_response_part",
        "context_usage",
        "internal_turn_probability",
        "internal_tentative_agent_response",
        "agent_reasoning_response_part",
        "rich_content",
        "agent_typing",
        "external_agent_connected",
        "external_agent_disconnected",
    ];
    for kind in all {
        let (mut engine, now) = ready(PUBLIC, "pcm_16000", "pcm_16000");
        say(
            &mut engine,
            now,
            &json!({"type": "agent_response", "agent_response_event": {"agent_response": "Yes.", "event_id": 1}}),
        );
        let outputs = say(
            &mut engine,
            now,
            &json!({"type": kind,
            "audio_event": {"audio_base_64": "AAAA", "event_id": 1},
            "agent_response_event": {"agent_response": "No.", "event_id": 2},
            "agent_response_correction_event": {"original_agent_response": "Yes.", "corrected_agent_response": "Y", "event_id": 1},
            "user_transcription_event": {"user_transcript": "Hello?", "event_id": 3},
            "tentative_user_transcription_event": {"user_transcript": "Hello?", "event_id": 3},
            "interruption_event": {"event_id": 4}, "ping_event": {"event_id": 5, "ping_ms": null},
            "client_tool_call": {"tool_name": "f", "tool_call_id": "c", "parameters": {}, "event_id": 6},
            "mcp_tool_call": {"service_id": "s", "tool_name": "f", "tool_call_id": "c", "parameters": {}, "state": "awaiting_approval"}}),
        );
        assert_eq!(outputs.is_empty(), ignored.contains(&kind), "{kind}: {outputs:?}");
    }
}

#[test]
fn audio_is_coded_as_the_metadata_says_each_way() {
    for (input, output) in [("ulaw_8000", "pcm_24000"), ("pcm_16000", "ulaw_8000"), ("pcm_44100", "pcm_48000")] {
        let (mut engine, now) = ready(PUBLIC, input, output);
        described(&mut engine);
        let mut sent = (0, Duration::ZERO);
        for _ in 0..50 {
            engine.handle(now, Input::Audio(&[0; 320]));
            while let Some(sends) = engine.poll() {
                let Output::SendAudio { message: Message::Text(text), duration } = sends else { panic!("{sends:?}") };
                let message: Value = serde_json::from_str(&text).unwrap();
                let bytes = BASE64.decode(message["user_audio_chunk"].as_str().unwrap()).unwrap();
                sent = (sent.0 + bytes.len(), sent.1 + duration);
            }
        }
        let format = super::super::audio::format(input).unwrap();
        let second = format.rate.hz() as usize * format.encoding.sample_bytes();
        assert!((second * 94 / 100..=second).contains(&sent.0), "{input}: {} bytes", sent.0);
        assert!((940..=1_000).contains(&sent.1.as_millis()), "{input}: {:?}", sent.1);
        let chunk = BASE64.encode([0; 480]);
        let audio = json!({"type": "audio", "audio_event": {"audio_base_64": chunk, "event_id": 1}});
        engine.handle(now, Input::Text(&audio.to_string()));
        let heard = std::iter::from_fn(|| engine.poll()).find_map(|output| match output {
            Output::Event(Event::Audio { audio, .. }) => Some(audio.duration()),
            _ => None,
        });
        let format = super::super::audio::format(output).unwrap();
        assert_eq!(heard, Some(format.rate.duration_of((480 / format.encoding.sample_bytes()) as u64)), "{output}");
    }
}

#[test]
fn malformed_messages_are_faults_that_name_what_is_wrong() {
    let (mut engine, now) = ready(PUBLIC, "pcm_16000", "pcm_16000");
    described(&mut engine);
    for (message, part) in [
        ("", "no JSON object"),
        ("{}", "without a type"),
        (r#"{"type":7}"#, "without a type"),
        (r#"{"type":"ping"}"#, "ping: no event_id"),
        (r#"{"type":"audio","audio_event":{"audio_base_64":"AAAA"}}"#, "audio: no event_id"),
        (r#"{"type":"audio","audio_event":{"audio_base_64":"*","event_id":1}}"#, "not base64"),
        (r#"{"type":"interruption"}"#, "interruption: no event_id"),
        (r#"{"type":"client_tool_call"}"#, "no call in it"),
        (r#"{"type":"client_tool_call","client_tool_call":{"tool_name":"f"}}"#, "no tool_call_id"),
        (r#"{"type":"client_tool_call","client_tool_call":7}"#, "client_tool_call: unusable fields"),
        (r#"{"type":"conversation_initiation_metadata"}"#, "has begun already"),
    ] {
        engine.handle(now, Input::Text(message));
        let outputs = described(&mut engine);
        let [fault] = &outputs[..] else { panic!("{message}: {outputs:?}") };
        assert!(fault.starts_with("fault ") && fault.contains(part), "{message}: {fault}");
    }
    engine.handle(now, Input::Binary(&[0]));
    assert!(described(&mut engine)[0].starts_with("fault "));
    assert!(engine.is_ready());
}

#[test]
fn what_only_other_services_have_is_refused_by_name() {
    let refused = |given: &[(&str, &str)]| {
        let mut all = vec![("elevenlabs_public", "true")];
        all.extend(given);
        super::super::check(&options(&all), Vec::new()).unwrap_err().to_string()
    };
    for (key, value, advice) in [
        ("ai_output", "tts", "ai_output=tts: its model only speaks"),
        ("barge_in", "local", "barge_in, barge_in_min_ms and"),
        ("turn_detection", "local", "turn_detection: the agent finds"),
        ("vad_silence_duration_ms", "300", "vad_threshold, vad_prefix_padding_ms and"),
        ("ai_audio", "pcmu", "ai_audio: the agent's settings"),
        ("transcription_model", "m", "transcription_model: remove it"),
        ("greeting_instructions", "Greet.", "greeting_instructions: use greeting"),
        ("tool_choice", "none", "tool_choice and"),
        ("max_response_tokens", "9", "max_response_tokens: remove it"),
        ("openai_session", r#"{"a":1}"#, "openai_session: use elevenlabs_overrides"),
        ("speed", "1.4", "speed: give 0.7 to 1.2"),
    ] {
        let said = refused(&[(key, value)]);
        assert!(said.starts_with(&format!("ElevenLabs cannot do what is asked: {advice}")), "{key}: {said}");
    }
    let check = |given: &[(&str, &str)]| super::super::check(&options(given), Vec::new()).map(|target| target.url);
    assert!(check(&[]).unwrap_err().to_string().starts_with("no API key: set elevenlabs_api_key in"));
    assert!(check(&[("elevenlabs_agent_id", "")]).unwrap_err().to_string().starts_with("no agent: set"));
    assert!(check(&[("elevenlabs_public", "true"), ("elevenlabs_base_url", "ftp://h")]).is_err());
    assert_eq!(check(PRIVATE).unwrap(), "wss://api.elevenlabs.io/v1/convai/conversation?agent_id=agent_7");
    // A public agent gets no key, though there is one.
    let place = super::super::place(&options(&[PRIVATE, PUBLIC].concat()));
    assert!(!place.has_key && super::super::place(&options(PRIVATE)).has_key);
    let bad = |key: &str, value: &str| {
        AiOptions::rows().iter().any(|row| row.key == key && row.set(&mut AiOptions::default(), value).is_err())
    };
    assert!(bad("elevenlabs_variables", r#"{"a":[1]}"#) && bad("elevenlabs_variables", "[]"));
    assert!(bad("elevenlabs_overrides", r#"{"agent":{"first_message":"x"}}"#));
}

proptest! {
    #[test]
    fn no_text_breaks_an_invariant(
        lines in proptest::collection::vec((0usize..11, 0usize..8, 0u64..6, 0u64..900), 0..40),
    ) {
        let kinds = ["audio", "interruption", "agent_response", "user_transcript", "client_tool_call",
            "agent_response_complete", "agent_response_correction", "tentative_user_transcript", "agent_tool_response", "ping", "mcp_tool_call"];
        let values = [json!(null), json!(true), json!(-1), json!("AAAA"), json!([{}]), json!({"event_id": "x"}),
            json!({"tool_name": "skip_turn", "tool_call_id": "c", "state": "awaiting_approval", "user_transcript": "Hi", "agent_response": "Yes"}),
            json!({"audio_base_64": "AAAA", "alignment": 7})];
        let (mut engine, mut now) = ready(PUBLIC, "pcm_16000", "ulaw_8000");
        let mut open: Option<String> = None;
        for (kind, value, event_id, ms) in lines {
            let mut body = values[value].clone();
            if let Some(fields) = body.as_object_mut() {
                fields.entry("event_id").or_insert(json!(event_id));
            }
            let mut message = json!({"type": kinds[kind]});
            for name in ["audio_event", "interruption_event", "agent_response_event", "user_transcription_event", "client_tool_call",
                "agent_response_correction_event", "tentative_user_transcription_event", "agent_tool_response", "ping_event", "mcp_tool_call"] {
                message[name] = body.clone();
            }
            engine.handle(now, Input::Text(&message.to_string()));
            now += Duration::from_millis(ms);
            let mut outputs: Vec<Output> = std::iter::from_fn(|| engine.poll()).collect();
            engine.handle(now, Input::Timeout);
            outputs.extend(std::iter::from_fn(|| engine.poll()));
            for output in outputs {
                // Answers come one after the other, and everything of one is between its beginning and its end.
                match output {
                    Output::Event(Event::ResponseStarted { response_id, .. }) => {
                        prop_assert_eq!(open.replace(response_id), None);
                    }
                    Output::Event(Event::ResponseDone { response_id, .. }) => prop_assert_eq!(open.take(), Some(response_id)),
                    Output::Event(Event::Audio { response_id, audio, .. }) => {
                        prop_assert_eq!(open.as_ref(), Some(&response_id));
                        prop_assert!(!audio.duration().is_zero());
                    }
                    Output::Event(Event::ToolCall { response_id, .. } | Event::Transcript { response_id, .. }) => {
                        prop_assert_eq!(open.as_ref(), Some(&response_id));
                    }
                    _ => {}
                }
            }
        }
        now += Duration::from_secs(60);
        engine.handle(now, Input::Timeout);
        prop_assert_eq!(engine.deadline(), None);
    }

    #[test]
    fn any_bytes_are_survived(data in proptest::collection::vec(any::<u8>(), 0..1_000)) {
        let (mut engine, now) = ready(PUBLIC, "pcm_16000", "pcm_16000");
        engine.handle(now, Input::Text(&String::from_utf8_lossy(&data)));
        engine.handle(now, Input::Binary(&data));
        while engine.poll().is_some() {}
    }
}
