//! Tests of the engine: golden transcripts, malformed messages, refusals, secrets, any order of messages.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::setup;
use super::*;
use crate::conversation::golden::{self, described};
use crate::conversation::options::AiOptions;
use crate::options::Options as _;

fn options(given: &[(&str, &str)]) -> AiOptions {
    golden::options(&[("engine", "ultravox"), ("ultravox_api_key", "uv_s3cret")], given)
}

fn engine(given: &[(&str, &str)]) -> Ultravox {
    let options = options(given);
    let headers = vec![("X-Tenant".to_owned(), Secret::new("7"))];
    Ultravox::new(setup::config(&options, headers, &options.policy(), SampleRate::HZ_8000).unwrap())
}

const TOOLS: &str = r#"[{"name":"look_up","description":"Looks up an order.","parameters":{"type":"object","properties":
    {"order":{"type":"integer"},"note":{"type":"string"}},"required":["order"]}}]"#;
const PLAIN: &[(&str, &str)] = &[];
const FULL: &[(&str, &str)] = &[
    ("system_prompt", "Be \"brief\"."),
    ("greeting", "Good day."),
    ("voice", "Mark"),
    ("ultravox_model", "ultravox-v0.7"),
    ("transcription_language", "de"),
    ("vad_silence_duration_ms", "1250"),
    ("vad_threshold", "0.3"),
    ("tools", TOOLS),
    ("builtin_tools", "hang_up"),
    ("tool_timeout_ms", "4500"),
    (
        "ultravox_call",
        r#"{"temperature":0.4,"vadSettings":{"minimumTurnDuration":"0.1s"},"selectedTools":[{"toolName":"queryCorpus"}]}"#,
    ),
];
const STORED: &[(&str, &str)] = &[
    ("ultravox_agent", "agent-7"),
    ("tools", r#"[{"name":"look_up","description":"Looks up."}]"#),
    ("ultravox_call", r#"{"templateContext":{"name":"Ann"},"toolOverrides":{"remove":["x"]}}"#),
];

macro_rules! transcripts {
    ($($options:ident: $($name:ident),* $(,)?;)*) => {
        $($(#[test]
        fn $name() {
            golden::run(
                &mut engine($options),
                stringify!($name),
                include_str!(concat!("../../../tests/golden/ultravox/", stringify!($name), ".txt")),
            );
        })*)*
    };
}

transcripts!(
    PLAIN:
        a_call_is_created_and_joined,
        a_turn_is_heard_and_answered,
        a_caller_interrupts_an_answer,
        what_the_agent_gives_up_is_not_heard,
        functions_are_called_and_return,
        texts_are_asked_or_only_told,
        no_call_no_conversation,
        an_agent_hangs_up,
        a_call_is_renewed_before_its_end;
    FULL:
        every_option_stands_in_the_call;
    STORED:
        a_stored_agent_is_called;
);

const CREATED: &[u8] = br#"{"callId":"c1","joinUrl":"wss://voice.ultravox.ai/calls/j01n/server_web_socket"}"#;

/// A call that is held.
fn ready() -> (Ultravox, Instant) {
    let (mut engine, now) = (engine(PLAIN), Instant::now());
    engine.handle(now, Input::Command(Command::Connect { attempt: 0 }));
    engine.handle(now, Input::Command(Command::Recall { past: Vec::new() }));
    engine.handle(now, Input::Fetched { id: 1, piece: Fetched::Head { status: 201, request_id: None } });
    engine.handle(now, Input::Fetched { id: 1, piece: Fetched::Body(CREATED) });
    engine.handle(now, Input::Fetched { id: 1, piece: Fetched::End });
    engine.handle(now, Input::Opened { unix_seconds: 0 });
    engine.handle(now, Input::Text(r#"{"type":"call_started","callId":"c1"}"#));
    assert!(engine.is_ready());
    described(&mut engine);
    (engine, now)
}

#[test]
fn no_output_has_the_key_or_the_join_url() {
    let (mut engine, now) = (engine(PLAIN), Instant::now());
    let mut shown = format!("{engine:?}");
    for input in [
        Input::Command(Command::Connect { attempt: 0 }),
        Input::Command(Command::Recall { past: Vec::new() }),
        Input::Fetched { id: 1, piece: Fetched::Head { status: 201, request_id: None } },
        Input::Fetched { id: 1, piece: Fetched::Body(CREATED) },
        Input::Fetched { id: 1, piece: Fetched::End },
        Input::Refused { status: Some(403), message: "no" },
    ] {
        engine.handle(now, input);
        // While an answer comes, its bytes are numbers.
        shown += &format!("{engine:?}");
        while let Some(output) = engine.poll() {
            shown += &format!("{output:?}");
        }
    }
    assert!(shown.contains("Connect(") && shown.contains("***"), "{shown}");
    assert!(!shown.contains("s3cret") && !shown.contains("j01n"), "{shown}");
}

#[test]
fn malformed_messages_are_faults_that_name_what_is_wrong() {
    let (mut engine, now) = ready();
    for (message, part) in [
        ("", "no JSON object"),
        ("[]", ""),
        ("{}", "without a type"),
        (r#"{"type":7}"#, "without a type"),
        (r#"{"type":"transcript","role":"agent","text":"x","final":true}"#, "transcript: no ordinal"),
        (r#"{"type":"transcript","role":"system","text":"x","final":true,"ordinal":1}"#, "neither user nor agent"),
        (r#"{"type":"client_tool_invocation","toolName":"f"}"#, "no invocationId"),
        (r#"{"type":"client_tool_invocation","invocationId":"f","parameters":7}"#, "no toolName"),
    ] {
        engine.handle(now, Input::Text(message));
        let outputs = described(&mut engine);
        let [fault] = &outputs[..] else { panic!("{message}: {outputs:?}") };
        assert!(fault.starts_with("fault ") && fault.contains(part), "{message}: {fault}");
    }
    assert!(engine.is_ready());
}

#[test]
fn what_only_other_services_have_is_refused_by_name() {
    let check = |given: &[(&str, &str)]| setup::check(&options(given), Vec::new()).map(|target| target.url);
    for (key, value, advice) in [
        ("ai_output", "tts", "ai_output=tts: it speaks with a voice of its own"),
        ("barge_in", "local", "barge_in, barge_in_min_ms and"),
        ("turn_detection", "local", "turn_detection: it finds"),
        ("turn_detection", "semantic_vad", "turn_detection: it finds"),
        ("vad_prefix_padding_ms", "100", "vad_prefix_padding_ms:"),
        ("vad_threshold", "0.05", "vad_threshold: give 0.1 to 1"),
        ("ai_audio", "pcmu", "ai_audio: remove it"),
        ("tool_choice", "none", "tool_choice: its model"),
        ("reasoning_effort", "low", "reasoning_effort: choose"),
        ("transcription_model", "m", "transcription_model: remove it"),
        ("transcription_prompt", "Acme", "transcription_prompt: put"),
        ("tool_timeout_ms", "35001", "tool_timeout_ms: it waits"),
        ("max_response_tokens", "9", "max_response_tokens: remove it"),
        ("openai_session", r#"{"a":1}"#, "openai_session: use ultravox_call"),
        ("speed", "1.1", "speed: remove it"),
    ] {
        let said = check(&[(key, value)]).unwrap_err().to_string();
        assert!(said.starts_with(&format!("Ultravox cannot do what is asked: {advice}")), "{key}: {said}");
    }
    for (key, value) in [("system_prompt", "Be brief."), ("ultravox_model", "m"), ("vad_silence_duration_ms", "900")] {
        let said = check(&[("ultravox_agent", "a"), (key, value)]).unwrap_err().to_string();
        assert!(said.contains("ultravox_agent has its own instructions"), "{key}: {said}");
    }
    let none = check(&[("ultravox_api_key", " ")]).unwrap_err().to_string();
    assert!(none.starts_with("no API key: set ultravox_api_key in"), "{none}");
    let bad = check(&[("ultravox_base_url", "ftp://h")]).unwrap_err().to_string();
    assert!(bad.starts_with("ultravox_base_url: scheme 'ftp'"), "{bad}");
    assert_eq!(check(PLAIN).unwrap(), "https://api.ultravox.ai/api/calls");
    assert_eq!(check(STORED).unwrap(), "https://api.ultravox.ai/api/agents/agent-7/calls");
    let refuses = |key: &str, value: &str| {
        AiOptions::rows().iter().any(|row| row.key == key && row.set(&mut AiOptions::default(), value).is_err())
    };
    assert!(refuses("ultravox_agent", "a/b") && refuses("ultravox_call", r#"{"medium":{}}"#));
}

proptest! {
    #[test]
    fn whatever_comes_an_answer_begins_and_ends_once(
        steps in proptest::collection::vec((0usize..10, 0u64..6, any::<bool>(), 0u64..700), 0..60),
    ) {
        let (mut engine, mut now) = ready();
        let mut open: Option<String> = None;
        for (kind, ordinal, flag, ms) in steps {
            let transcript = |role: &str, medium: &str| {
                let (name, text) = if flag { ("text", "So it is.") } else { ("delta", " so") };
                let mut message = json!({"type": "transcript", "role": role, "medium": medium, "final": ms % 2 == 0, "ordinal": ordinal});
                message[name] = Value::from(text);
                message.to_string()
            };
            let states = ["idle", "listening", "thinking", "speaking"];
            let state = |at: u64| json!({"type": "state", "state": states[at as usize % 4]}).to_string();
            let text = match kind {
                0..=2 => state(ordinal),
                3 | 4 => transcript("agent", "voice"),
                5 => transcript("user", if flag { "voice" } else { "text" }),
                6 => r#"{"type":"playback_clear_buffer"}"#.to_owned(),
                7 => json!({"type": "client_tool_invocation", "toolName": "f", "invocationId": ordinal.to_string(), "parameters": {}}).to_string(),
                _ => String::new(),
            };
            match kind {
                8 => engine.handle(now, Input::Binary(if flag { &[7; 321] } else { &[0; 320] })),
                9 => {
                    let response_id = open.clone().unwrap_or_default();
                    engine.handle(now, Input::Command(Command::Cancel { response_id, tell: flag }));
                }
                _ => engine.handle(now, Input::Text(&text)),
            }
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
                    Output::Fault(fault) => prop_assert!(false, "{}", fault),
                    _ => {}
                }
            }
        }
        // Once the service does not speak any more, nothing is open for long.
        engine.handle(now, Input::Text(r#"{"type":"state","state":"listening"}"#));
        engine.handle(now + GRACE, Input::Timeout);
        prop_assert!(engine.answer.is_none());
    }

    #[test]
    fn any_bytes_are_survived(data in proptest::collection::vec(any::<u8>(), 0..1_000)) {
        let (mut engine, now) = ready();
        engine.handle(now, Input::Text(&String::from_utf8_lossy(&data)));
        engine.handle(now, Input::Binary(&data));
        while engine.poll().is_some() {}
    }
}
