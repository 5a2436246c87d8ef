//! Tests of the engine: golden transcripts, the list of the service's events, changes, malformed events.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::super::engine::Command;
use super::super::profile::Format;
use super::super::setup;
use super::*;
use crate::conversation::golden::{self, described};
use crate::protocol::codec::BASE64;
use base64::Engine as _;

const TOOLS: &str = r#"[{"name":"look_up","description":"Looks up an order.","parameters":{"type":"object"}}]"#;

fn options(given: &[(&str, &str)]) -> AiOptions {
    golden::options(
        &[("engine", "openai_live"), ("openai_api_key", "sk-s3cret"), ("openai_model", "gpt-live-1")],
        given,
    )
}

fn engine(given: &[(&str, &str)]) -> Live {
    let options = options(given);
    Live::new(setup::config(&options, Vec::new(), &options.policy(), Format::Pcmu).unwrap())
}

const PLAIN: &[(&str, &str)] = &[];
const BACKEND: &[(&str, &str)] = &[("openai_backend_model", "b"), ("tools", TOOLS)];
const OPERATOR: &[(&str, &str)] = &[("tools", r#"[{"name":"delegate"}]"#)];
const FULL: &[(&str, &str)] = &[
    ("system_prompt", "Be \"brief\"."),
    ("voice", "voice_7"),
    ("openai_safety_identifier", "caller-7"),
    ("openai_backend_model", "gpt-5.4-mini"),
    ("openai_backend_prompt", "Look up every order."),
    ("tools", TOOLS),
    ("builtin_tools", "hang_up"),
    ("tool_choice", "look_up"),
    ("parallel_tool_calls", "false"),
    ("max_response_tokens", "800"),
    ("reasoning_effort", "low"),
    ("openai_session", r#"{"store":true,"delegation":{"acknowledgement_delay_ms":500}}"#),
];

/// An event with so much of the model's stream, loud or silent.
fn stream(loud: bool, ms: usize) -> String {
    let bytes = vec![if loud { 0x20 } else { 0xff }; 8 * ms];
    json!({"type": "session.output_audio.delta", "delta": BASE64.encode(bytes)}).to_string()
}

/// A transcript in which `< speech 100` and `< silence 100` are so many ms of the model's stream.
fn written_out(transcript: &str) -> String {
    let line = |line: &str| {
        let ms = |text: &str| text.parse().unwrap();
        match (line.strip_prefix("< speech "), line.strip_prefix("< silence ")) {
            (Some(length), _) => format!("< text {}\n", stream(true, ms(length))),
            (_, Some(length)) => format!("< text {}\n", stream(false, ms(length))),
            _ => format!("{line}\n"),
        }
    };
    transcript.lines().map(line).collect()
}

macro_rules! transcripts {
    ($($options:ident: $($name:ident),* $(,)?;)*) => {
        $($(#[test]
        fn $name() {
            let transcript = include_str!(concat!("../../../tests/golden/openai_live/", stringify!($name), ".txt"));
            golden::run(&mut engine($options), stringify!($name), &written_out(transcript));
        })*)*
    };
}

transcripts!(
    PLAIN:
        speech_is_found_in_a_stream_that_never_pauses,
        a_caller_speaks_over_the_model,
        a_task_that_nobody_takes_is_declined,
        texts_are_spoken_about_or_only_known,
        an_answer_that_is_given_up_is_not_heard,
        a_session_ends_in_many_ways;
    BACKEND:
        the_second_model_calls_functions;
    OPERATOR:
        a_task_goes_to_the_operators_function;
    FULL:
        a_session_begins_with_what_was_said;
);

/// A session that is held.
fn ready(given: &[(&str, &str)]) -> (Live, Instant) {
    let (mut engine, now) = (engine(given), Instant::now());
    engine.handle(now, Input::Command(Command::Connect { attempt: 0 }));
    engine.handle(now, Input::Opened { unix_seconds: 0 });
    engine.handle(now, Input::Command(Command::Recall { past: Vec::new() }));
    say(&mut engine, now, &json!({"type": "session.started", "session": {"id": "live_1"}}));
    assert_eq!(engine.phase, Phase::Ready);
    (engine, now)
}

fn say(engine: &mut Live, now: Instant, event: &Value) -> Vec<String> {
    engine.handle(now, Input::Text(&event.to_string()));
    described(engine)
}

#[test]
fn every_event_of_the_service_is_handled_or_ignored() {
    // The server events of the vendor's Python SDK 3.54 (types/live/connect_server_event.py).
    let handled = [
        "session.started",
        "session.output_audio.delta",
        "session.output_transcript.delta",
        "session.input_transcript.delta",
        "session.delegation.created",
        "response.event",
        "session.usage.updated",
        "session.closed",
        "error",
    ];
    let ignored = [
        "session.updated",
        "session.input_audio.muted",
        "session.input_audio.unmuted",
        "session.output_audio.fixture.playing",
        "session.output_audio.fixture.played",
        "session.instructions.appended",
        "session.thinking.appended",
        "session.commentary.appended",
        "decision.event",
        "decision.item.created",
        "decision.item.deleted",
        "info",
        "session.input_audio.append",
        "transport.dtmf.received",
        "transport.dtmf.send",
        "transport.dtmf.sent",
        "transport.ringing",
        "transport.answered",
        "transport.failed",
    ];
    let loud: Value = serde_json::from_str(&stream(true, 100)).unwrap();
    for kind in handled.into_iter().chain(ignored) {
        let (mut engine, now) = ready(BACKEND);
        let item = json!({"type": "function_call", "call_id": "c", "name": "look_up", "arguments": "{}"});
        let delta = if kind == "session.output_audio.delta" { loud["delta"].clone() } else { json!("Hello.") };
        let outputs = say(
            &mut engine,
            now,
            &json!({"type": kind, "delta": delta, "start_ms": 0, "end_ms": 200, "delegation_id": "d",
                "delegation": {"id": "d", "target": "client"}, "session": {"id": "live_1"}, "usage": {"seconds": 2.5},
                "event": {"type": "response.output_item.done", "item": item}, "reason": "expired",
                "error": {"code": "invalid_value", "message": "No."}}),
        );
        assert_eq!(outputs.is_empty(), ignored.contains(&kind), "{kind}: {outputs:?}");
    }
}

#[test]
fn no_output_has_the_key() {
    let mut engine = engine(FULL);
    let mut shown = format!("{engine:?}");
    engine.handle(Instant::now(), Input::Command(Command::Connect { attempt: 0 }));
    while let Some(output) = engine.poll() {
        shown += &format!("{output:?}");
    }
    assert!(shown.contains("Connect(") && !shown.contains("s3cret"), "{shown}");
}

#[test]
fn the_functions_change_in_the_session_that_runs() {
    let (mut engine, now) = ready(BACKEND);
    described(&mut engine);
    let more = r#"[{"name":"look_up"},{"name":"cancel"}]"#;
    let changed = options(&[("openai_backend_model", "b"), ("tools", more), ("max_response_tokens", "100")]);
    engine.handle(now, Input::Changed(&changed));
    let sent = described(&mut engine);
    let update: Value = serde_json::from_str(sent[0].strip_prefix("send ").unwrap()).unwrap();
    let responses = &update["session"]["delegation"]["responses"];
    assert_eq!((update["type"].as_str(), sent.len()), (Some("session.update"), 1));
    assert_eq!(
        (responses["tools"][1]["name"].as_str(), responses["max_output_tokens"].as_u64()),
        (Some("cancel"), Some(100))
    );
    assert_eq!((&responses["model"], &responses["reasoning"]), (&Value::Null, &Value::Null));
    assert_eq!(say(&mut engine, now, &json!({"type": "session.updated"})), ["event Changed(None)"]);
    // One that the service refuses leaves everything as it was.
    engine.handle(now, Input::Changed(&options(BACKEND)));
    let sent = described(&mut engine);
    let update: Value = serde_json::from_str(sent[0].strip_prefix("send ").unwrap()).unwrap();
    let refused = say(
        &mut engine,
        now,
        &json!({"type": "error", "error": {"type": "invalid_request_error", "code": "invalid_value",
            "message": "No such tool.", "client_event_id": update["event_id"]}}),
    );
    assert!(
        refused[0].starts_with("event Changed(Some(Failure") && refused[0].contains("No such tool."),
        "{refused:?}"
    );
    // Nothing differs: nothing is sent.
    engine.handle(now, Input::Changed(&changed));
    assert_eq!(described(&mut engine), ["event Changed(None)"]);
    // One without an answer is refused, too; and one that a lost session had not confirmed is in the next.
    engine.handle(now, Input::Changed(&options(BACKEND)));
    described(&mut engine);
    engine.handle(now + READY, Input::Timeout);
    assert!(described(&mut engine)[0].contains("\"timeout\""));
    engine.handle(now, Input::Changed(&options(BACKEND)));
    described(&mut engine);
    engine.handle(now, Input::Closed { code: 1_006, reason: "" });
    let lost = described(&mut engine);
    assert!(lost[0] == "event Changed(None)" && lost[1].starts_with("event Lost("), "{lost:?}");
}

#[test]
fn a_session_is_renewed_before_its_end() {
    let (mut engine, now) = (engine(PLAIN), Instant::now());
    engine.handle(now, Input::Opened { unix_seconds: 1_000 });
    engine.handle(now, Input::Command(Command::Recall { past: Vec::new() }));
    say(&mut engine, now, &json!({"type": "session.started", "session": {"id": "live_1", "expires_at": 4_600}}));
    let at = now + Duration::from_secs(3_300);
    assert_eq!(engine.deadline(), Some(at));
    engine.handle(at, Input::Timeout);
    assert_eq!(described(&mut engine), ["event ExpiresSoon { now: false }"]);
    engine.handle(now + Duration::from_secs(3_585), Input::Timeout);
    assert_eq!(described(&mut engine), ["event ExpiresSoon { now: true }"]);
}

#[test]
fn malformed_events_are_faults_that_name_what_is_wrong() {
    let (mut engine, now) = ready(BACKEND);
    described(&mut engine);
    for (event, part) in [
        ("", "no JSON object"),
        ("{}", "without a type"),
        (r#"{"type":7}"#, "without a type"),
        (r#"{"type":"session.output_audio.delta","delta":"*"}"#, "not base64"),
        (r#"{"type":"session.delegation.created"}"#, "no id"),
        (r#"{"type":"session.started"}"#, "has started already"),
        (
            r#"{"type":"response.event","event":{"type":"response.output_item.done","item":{"type":"function_call"}}}"#,
            "without call_id",
        ),
    ] {
        engine.handle(now, Input::Text(event));
        let outputs = described(&mut engine);
        let [fault] = &outputs[..] else { panic!("{event}: {outputs:?}") };
        assert!(fault.starts_with("fault ") && fault.contains(part), "{event}: {fault}");
    }
    engine.handle(now, Input::Binary(&[0]));
    assert!(described(&mut engine)[0].starts_with("fault "));
    assert_eq!(engine.phase, Phase::Ready);
}

#[test]
fn what_gpt_live_cannot_do_is_refused_by_name() {
    let check = |given: &[(&str, &str)]| setup::check(&options(given), Vec::new()).map(|target| target.url);
    for (key, value, advice) in [
        ("ai_output", "tts", "ai_output=tts: its model only speaks"),
        ("barge_in", "local", "barge_in, barge_in_min_ms and"),
        ("turn_detection", "local", "turn_detection: the model hears and speaks"),
        ("vad_silence_duration_ms", "300", "vad_threshold, vad_prefix_padding_ms and"),
        ("transcription_model", "m", "transcription_model, transcription_language and"),
        ("noise_reduction", "far_field", "noise_reduction: use noise_suppression"),
        ("openai_service", "azure", "openai_service: the Live API is OpenAI's own"),
        ("speed", "1.2", "speed: remove it"),
        ("mcp_servers", r#"[{"server_label":"s","server_url":"https://s.example"}]"#, "mcp_servers: use tools"),
        ("reasoning_effort", "huge", "reasoning_effort: give none,"),
    ] {
        let mut given = vec![("openai_backend_model", "b"), (key, value)];
        if key == "openai_service" {
            given.push(("openai_base_url", "https://r.openai.azure.com"));
        }
        let said = check(&given).unwrap_err().to_string();
        assert!(said.starts_with(&format!("GPT-Live cannot do what is asked: {advice}")), "{key}: {said}");
    }
    for (given, said) in [
        (
            &[("tools", TOOLS)][..],
            "tools and builtin_tools need a second model that calls them: set openai_backend_model",
        ),
        (&[("builtin_tools", "hang_up")], "tools and builtin_tools need"),
        (&[("tools", r#"[{"name":"delegate"}]"#), ("builtin_tools", "hang_up")], "tools and builtin_tools need"),
        (&[("openai_backend_prompt", "x")], "openai_backend_prompt is for the second model: set openai_backend_model"),
        (&[("reasoning_effort", "low")], "reasoning_effort is for the second model"),
        (&[("max_response_tokens", "9")], "max_response_tokens is for the second model"),
        (&[("openai_backend_model", "b"), ("tool_choice", "f")], "tool_choice: there is no function 'f'"),
        (&[("openai_session", r#"{"input":[]}"#)], "openai_session: the field 'input' follows from"),
        (&[("openai_model", "")], "no model: set openai_model"),
        (&[("openai_api_key", "")], "no API key: set openai_api_key"),
    ] {
        let refused = check(given).unwrap_err().to_string();
        assert!(refused.starts_with(said), "{given:?}: {refused}");
    }
    for (base, url) in [
        ("", "wss://api.openai.com/v1/live/sessions"),
        ("ws://h:1", "ws://h:1/v1/live/sessions"),
        ("https://h/gate/v1", "wss://h/gate/v1/live/sessions"),
        ("https://h/v1/live/sessions", "wss://h/v1/live/sessions"),
    ] {
        assert_eq!(check(&[("openai_base_url", base)]).unwrap(), url, "{base}");
    }
    assert!(check(OPERATOR).is_ok());
}

proptest! {
    #[test]
    fn no_order_of_events_breaks_an_invariant(
        steps in proptest::collection::vec((0usize..12, 0usize..6, 1usize..900), 0..60),
    ) {
        let (mut engine, mut now) = ready(BACKEND);
        described(&mut engine);
        let (mut open, mut last): (Option<String>, Option<String>) = (None, None);
        for (kind, which, ms) in steps {
            let (call, task) = (format!("c{which}"), format!("d{}", which % 2));
            let second = |event: Value| json!({"type": "response.event", "delegation_id": task, "event": event}).to_string();
            let event = match kind {
                0 | 1 => stream(true, ms),
                2 | 3 => stream(false, ms),
                4 => json!({"type": "session.output_transcript.delta", "delta": " some words"}).to_string(),
                5 => json!({"type": "session.output_transcript.delta", "delta": " at its end."}).to_string(),
                6 => json!({"type": "session.input_transcript.delta", "delta": "Hello", "start_ms": ms, "end_ms": ms}).to_string(),
                7 => second(json!({"type": "response.created"})),
                8 => second(json!({"type": "response.output_item.done", "item":
                    {"type": "function_call", "call_id": call, "name": "look_up", "arguments": "{}"}})),
                9 => second(json!({"type": "response.completed"})),
                _ => String::new(),
            };
            match (kind, &last) {
                (10, _) => engine.handle(now, Input::Command(Command::ToolOutput { call_id: call, output: "{}".into() })),
                (11, Some(id)) => {
                    engine.handle(now, Input::Command(Command::Cancel { response_id: id.clone(), tell: true }));
                }
                (11, None) => engine.handle(now, Input::Command(Command::Respond { request: 1, instructions: None })),
                _ => engine.handle(now, Input::Text(&event)),
            }
            now += Duration::from_millis(ms as u64);
            let mut outputs: Vec<Output> = std::iter::from_fn(|| engine.poll()).collect();
            engine.handle(now, Input::Timeout);
            outputs.extend(std::iter::from_fn(|| engine.poll()));
            for output in outputs {
                // Answers come one after the other, and everything of one is between its beginning and its end.
                match output {
                    Output::Event(Event::ResponseStarted { response_id, .. }) => {
                        last = Some(response_id.clone());
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
                    Output::Fault(fault) => prop_assert!(false, "{fault}"),
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
        let (mut engine, now) = ready(BACKEND);
        engine.handle(now, Input::Text(&String::from_utf8_lossy(&data)));
        engine.handle(now, Input::Binary(&data));
        engine.handle(now, Input::Audio(&data));
        while engine.poll().is_some() {}
    }
}
