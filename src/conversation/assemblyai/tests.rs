//! Golden transcripts of the engine, nonsense from the service, audio in every coding.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use base64::Engine as _;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::setup;
use super::*;
use crate::conversation::golden::{self, described};
use crate::conversation::setup::Setup;
use crate::protocol::codec::BASE64;
use crate::units::SampleRate;

pub(in crate::conversation::assemblyai) const TOOLS: &str =
    r#"[{"name":"look_up","description":"Looks up an order.","parameters":{"type":"object"}}]"#;

type Given<'a> = &'a [(&'a str, &'a str)];

const PLAIN: Given<'_> = &[("system_prompt", "Be brief."), ("tools", TOOLS)];
const GREETS: Given<'_> = &[("system_prompt", "Be brief."), ("greeting", "Good day.")];
const STORED: Given<'_> = &[("assemblyai_agent", "a1b2"), ("tools", TOOLS)];
const FULL: Given<'_> = &[
    ("system_prompt", "Be brief."),
    ("greeting", "Good day."),
    ("tools", TOOLS),
    ("builtin_tools", "hang_up"),
    ("tool_timeout_ms", "200000"),
    ("voice", "ivy"),
    ("transcription_prompt", "Acme, Müller"),
    ("vad_threshold", "0.7"),
    ("vad_silence_duration_ms", "3500"),
    ("assemblyai_session", r#"{"input":{"turn_detection":{"interruption_delay":200}},"output":{"volume":80}}"#),
    ("ai_audio", "pcm"),
];

/// Options of a conversation with these changes.
pub(in crate::conversation::assemblyai) fn options(given: Given<'_>) -> AiOptions {
    golden::options(&[("engine", "assemblyai"), ("assemblyai_api_key", "aai-1")], given)
}

fn engine(given: Given<'_>, rate: SampleRate) -> AssemblyAi {
    let options = options(given);
    let policy = options.policy();
    AssemblyAi::new(
        setup::config(Setup { options: &options, headers: Vec::new(), policy: &policy, rate, codec: None }).unwrap(),
    )
}

macro_rules! transcripts {
    ($($name:ident: $options:ident),* $(,)?) => {
        $(#[test]
        fn $name() {
            let mut engine = engine($options, SampleRate::HZ_8000);
            let changed = |change: &str| {
                let (key, value) = change.split_once('=').unwrap();
                let given: Vec<_> = $options.iter().copied().chain([(key, value)]).collect();
                options(&given)
            };
            let transcript = include_str!(concat!("../../../tests/golden/assemblyai_agent/", stringify!($name), ".txt"));
            golden::run_with(&mut engine, stringify!($name), transcript, &changed);
        })*
    };
}

transcripts!(
    a_turn_is_heard_and_answered: PLAIN,
    every_option_stands_in_the_session: FULL,
    an_agent_greets_once_and_a_new_session_knows_the_talk: GREETS,
    a_lost_session_is_gone_on_with_or_begun_anew: PLAIN,
    the_caller_interrupts_what_is_said_and_asked: PLAIN,
    results_wait_until_nobody_speaks: PLAIN,
    answers_are_asked_for_with_what_is_to_be_said: PLAIN,
    a_stored_agent_is_named_and_coded_as_it_is_set: STORED,
    a_session_is_changed_and_a_change_refused: PLAIN,
    errors_of_the_service_end_what_they_have_to: PLAIN,
    a_session_is_renewed_before_it_expires: PLAIN,
);

/// An engine in a session.
fn ready(given: Given<'_>, rate: SampleRate, config: &Value) -> (AssemblyAi, Instant) {
    let (mut engine, now) = (engine(given, rate), Instant::now());
    engine.handle(now, Input::Opened { unix_seconds: 1_000_000 });
    engine.handle(now, Input::Command(Command::Recall { past: Vec::new() }));
    let ready = json!({"type": "session.ready", "session_id": "sess_1", "config": config});
    engine.handle(now, Input::Text(&ready.to_string()));
    described(&mut engine);
    assert_eq!(engine.phase, Phase::Ready);
    (engine, now)
}

#[test]
fn audio_is_coded_as_a_stored_agent_is_set_each_way() {
    for (input, output, input_rate, output_samples) in [
        ("audio/pcm", "audio/pcmu", 48_000, (480, 8_000)),
        ("audio/pcmu", "audio/pcm", 8_000, (240, 24_000)),
        ("audio/pcma", "audio/pcma", 8_000, (480, 8_000)),
    ] {
        let config = json!({"input": {"format": {"encoding": input}}, "output": {"format": {"encoding": output}}});
        let (mut engine, now) = ready(STORED, SampleRate::HZ_16000, &config);
        let (mut bytes, mut lasts) = (0, Duration::ZERO);
        for _ in 0..50 {
            engine.handle(now, Input::Audio(&[0; 640]));
            while let Some(sends) = engine.poll() {
                let Output::SendAudio { message: Message::Text(text), duration } = sends else { panic!("{sends:?}") };
                let message: Value = serde_json::from_str(&text).unwrap();
                bytes += BASE64.decode(message["audio"].as_str().unwrap()).unwrap().len();
                lasts += duration;
            }
        }
        assert!((input_rate * 94 / 100..=input_rate).contains(&bytes), "{input}: {bytes}");
        assert!((940..=1_000).contains(&lasts.as_millis()), "{input}: {lasts:?}");
        let audio = json!({"type": "reply.audio", "data": BASE64.encode([0; 480])});
        engine.handle(now, Input::Text(&audio.to_string()));
        let heard = std::iter::from_fn(|| engine.poll()).find_map(|output| match output {
            Output::Event(Event::Audio { audio, .. }) => Some(audio.duration()),
            _ => None,
        });
        let (samples, rate) = output_samples;
        assert_eq!(heard, Some(Duration::from_secs_f64(f64::from(samples) / f64::from(rate))), "{output}");
    }
}

#[test]
fn malformed_messages_are_faults_that_say_what_is_wrong() {
    let (mut engine, now) = ready(PLAIN, SampleRate::HZ_8000, &json!(null));
    for (message, part) in [
        ("", "no JSON object"),
        ("[]", "without a type"),
        ("7", "no JSON object"),
        ("{}", "without a type"),
        (r#"{"type":7}"#, "without a type"),
        (r#"{"type":"reply.audio","data":"?"}"#, "reply.audio: data is not base64"),
        (r#"{"type":"tool.call","name":"look_up"}"#, "tool.call: no call_id"),
        (r#"{"type":"session.ready"}"#, "session.ready: no session is to begin"),
    ] {
        engine.handle(now, Input::Text(message));
        let told = described(&mut engine);
        assert!(told.len() == 1 && told[0].starts_with("fault ") && told[0].contains(part), "{message}: {told:?}");
    }
    engine.handle(now, Input::Binary(&[1]));
    assert!(described(&mut engine)[0].starts_with("fault a binary message"));
}

#[test]
fn events_are_told_without_what_may_be_secret() {
    let given = [("raw_events", "on")];
    let (mut engine, now) = ready(&given, SampleRate::HZ_8000, &json!(null));
    let told = |engine: &mut AssemblyAi, text: &str| {
        engine.handle(now, Input::Text(text));
        described(engine).concat()
    };
    let secret = told(&mut engine, r#"{"type":"session.updated","resume_token":"hunter2","note":"kept"}"#);
    assert!(secret.contains("kept") && !secret.contains("hunter2"), "{secret}");
    assert!(!told(&mut engine, r#"{"type":"reply.audio","data":"AAAA"}"#).contains("Raw"));
}

/// A message of the service as it may be, and as it should not.
fn anything() -> impl Strategy<Value = String> {
    let kinds = [
        "session.ready",
        "session.updated",
        "session.error",
        "input.speech.started",
        "input.speech.stopped",
        "transcript.user.delta",
        "transcript.user",
        "reply.started",
        "reply.audio",
        "transcript.agent.delta",
        "transcript.agent",
        "reply.done",
        "tool.call",
        "",
    ];
    let value = prop_oneof![
        Just(json!(null)),
        Just(json!(-1)),
        Just(json!(1e300)),
        Just(json!(true)),
        Just(json!("interrupted")),
        Just(json!("AAAA")),
        Just(json!({"tools": [{"name": "abc", "http": {}}], "greeting": 7})),
        "[a-c]{0,2}".prop_map(|text| json!(text)),
    ];
    let fields = [
        "session_id",
        "expires_at",
        "config",
        "reply_id",
        "item_id",
        "data",
        "text",
        "delta",
        "end_ms",
        "interrupted",
        "status",
        "call_id",
        "name",
        "arguments",
        "code",
        "message",
        "param",
    ];
    let fields = proptest::collection::vec((proptest::sample::select(fields.to_vec()), value), 0..4);
    (proptest::sample::select(kinds.to_vec()), fields).prop_map(|(kind, fields)| {
        let mut message = json!({ "type": kind });
        for (name, value) in fields {
            message[name] = value;
        }
        message.to_string()
    })
}

/// What the agent may do between the messages.
fn commands() -> impl Strategy<Value = Option<Command>> {
    prop_oneof![
        Just(None),
        (0..9_u64).prop_map(|request| Some(Command::Respond { request, instructions: None })),
        (0..9_u64).prop_map(|request| Some(Command::Respond { request, instructions: Some("Say so.".into()) })),
        "[a-c]{0,2}".prop_map(|call_id| Some(Command::ToolOutput { call_id, output: "7".into() })),
    ]
}

proptest! {
    #[test]
    fn whatever_comes_an_answer_begins_and_ends_once(
        steps in proptest::collection::vec((anything(), commands(), 0..3_000_u64), 0..60)
    ) {
        let (mut engine, mut now) = ready(PLAIN, SampleRate::HZ_8000, &json!(null));
        let (mut open, mut lost) = (None, false);
        for (message, command, ms) in steps {
            now += Duration::from_millis(ms);
            engine.handle(now, Input::Timeout);
            engine.handle(now, Input::Text(&message));
            if let Some(command) = command {
                engine.handle(now, Input::Command(command));
            }
            while let Some(output) = engine.poll() {
                prop_assert!(!lost || matches!(output, Output::Close), "after the loss: {:?}", output);
                match output {
                    Output::Event(Event::ResponseStarted { response_id, .. }) => {
                        prop_assert_eq!(open.replace(response_id), None);
                    }
                    Output::Event(Event::ResponseDone { response_id, .. }) => {
                        prop_assert_eq!(open.take(), Some(response_id));
                    }
                    Output::Event(
                        Event::Audio { response_id, .. }
                        | Event::Transcript { response_id, .. }
                        | Event::ToolCall { response_id, .. }
                        | Event::Marks { response_id, .. },
                    ) => prop_assert_eq!(open.as_ref(), Some(&response_id)),
                    Output::Event(Event::Lost(_)) => lost = true,
                    // A request for an answer never crosses one.
                    Output::Send(Message::Text(text)) if text.contains("reply.create") => {
                        prop_assert!(open.is_none(), "asked for an answer within another");
                    }
                    _ => {}
                }
            }
            if let Some(due) = engine.deadline().filter(|_| !lost) {
                prop_assert!(due > now, "something that is due was not done");
            }
        }
    }
}
