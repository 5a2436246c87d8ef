//! Golden transcripts of the engine, nonsense from the service, ends of sessions.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::conversation::engine::Memory;
use crate::conversation::setup::Setup;
use crate::peer::Speaker;
use crate::units::SampleRate;

const TOOLS: &str = r#"[{"name":"look_up","description":"Looks up an order.","parameters":{"type":"object"}}]"#;

/// Options of a conversation with these changes.
pub(in crate::conversation::deepgram) fn options(given: &[(&str, &str)]) -> AiOptions {
    crate::conversation::golden::options(
        &[("engine", "deepgram"), ("deepgram_api_key", "dg-1"), ("deepgram_model", "open_ai/m")],
        given,
    )
}

/// The options by their names in transcripts.
fn named(name: &str) -> AiOptions {
    match name {
        "plain" => options(&[("system_prompt", "Be brief."), ("tools", TOOLS)]),
        "full" => options(&[
            ("system_prompt", "Be brief."),
            ("tools", TOOLS),
            ("builtin_tools", "hang_up"),
            ("voice", "aura-2-thalia-en"),
            ("speed", "1.1"),
            ("reasoning_effort", "low"),
            ("transcription_model", "flux-general-multi"),
            ("transcription_language", "de"),
            ("transcription_prompt", "Acme, Müller"),
            ("turn_detection", "semantic_vad"),
            ("vad_eagerness", "high"),
            ("openai_session", r#"{"tags":["sales"],"agent":{"think":{"provider":{"temperature":0.4}}}}"#),
            ("ai_audio", "pcm"),
        ]),
        "local" => options(&[("turn_detection", "local"), ("transcription_model", "flux-general-en")]),
        "stored" => options(&[("deepgram_agent", "a1b2"), ("deepgram_model", ""), ("turn_detection", "local")]),
        _ => panic!("no options {name}"),
    }
}

fn engine(options: &AiOptions, rate: SampleRate) -> Deepgram {
    let policy = options.policy();
    let setup = Setup { options, headers: Vec::new(), policy: &policy, rate, codec: None };
    Deepgram::new(super::super::setup::config(setup).unwrap())
}

/// An output as text: what golden transcripts are written in.
fn described(engine: &mut Deepgram) -> Vec<String> {
    let mut all = Vec::new();
    while let Some(output) = engine.poll() {
        all.push(match output {
            Output::Connect(target) => format!("connect {}", target.url),
            Output::Send(Message::Text(text)) => format!("send {text}"),
            Output::SendAudio { message: Message::Binary(bytes), duration } => {
                format!("audio {}ms {} bytes", duration.as_millis(), bytes.len())
            }
            Output::Event(Event::Audio { response_id, item_id, audio, .. }) => {
                format!("play {response_id} {item_id} {audio:?}")
            }
            Output::Event(event) => format!("event {event:?}"),
            Output::Fault(fault) => format!("fault {fault}"),
            Output::Close => "close".to_owned(),
            other => panic!("{other:?}"),
        });
    }
    all
}

/// The input that a line of a transcript is.
fn take(engine: &mut Deepgram, now: &mut Instant, at: &str, verb: &str, argument: &str) {
    let words: Vec<_> = argument.split(' ').collect();
    let rest = |from: usize| words[from..].join(" ");
    let number = |at: usize| words[at].parse().unwrap();
    let (bytes, changed, recalled);
    let input = match verb {
        "opened" => Input::Opened { unix_seconds: 0 },
        "refused" => Input::Refused { status: Some(number(0) as u16), message: "refused" },
        "closed" => Input::Closed { code: number(0) as u16, reason: words.get(1).copied().unwrap_or_default() },
        "text" => Input::Text(argument),
        "binary" => {
            bytes = words.iter().map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect::<Vec<_>>();
            Input::Binary(&bytes)
        }
        "audio" => {
            bytes = vec![0; number(0) as usize];
            Input::Audio(&bytes)
        }
        "pass" => {
            *now += Duration::from_millis(number(0));
            Input::Timeout
        }
        "change" => {
            let (key, value) = argument.split_once('=').unwrap();
            changed = options(&[("system_prompt", "Be brief."), ("tools", TOOLS), (key, value)]);
            Input::Changed(&changed)
        }
        "recall" => {
            recalled = words.join(" ");
            let memory = |entry: &str| match entry.split_once(": ") {
                Some(("user", text)) => Memory::Words { speaker: Speaker::Caller, text: text.into() },
                Some(("agent", text)) => Memory::Words { speaker: Speaker::Agent, text: text.into() },
                Some(("system", text)) => Memory::Words { speaker: Speaker::System, text: text.into() },
                Some(("call", id)) => {
                    Memory::Call { call_id: id.into(), name: "look_up".into(), arguments: "{}".into() }
                }
                Some(("output", id)) => Memory::Output { call_id: id.into(), output: "7".into() },
                _ => panic!("{at}: {entry}"),
            };
            let past = recalled.split(" | ").filter(|entry| !entry.is_empty()).map(memory).collect();
            Input::Command(Command::Recall { past })
        }
        "connect" => Input::Command(Command::Connect { attempt: 0 }),
        "respond" => {
            let instructions = (words.len() > 1).then(|| rest(1));
            Input::Command(Command::Respond { request: number(0), instructions })
        }
        "say" => Input::Command(Command::Say { request: number(0), text: rest(1) }),
        "message" => {
            let speaker = match words[0] {
                "user" => Speaker::Caller,
                "agent" => Speaker::Agent,
                _ => Speaker::System,
            };
            Input::Command(Command::Message { speaker, text: rest(1), after: None, respond: false })
        }
        "result" => Input::Command(Command::ToolOutput { call_id: words[0].into(), output: rest(1) }),
        "cancel" => Input::Command(Command::Cancel { response_id: argument.into(), tell: true }),
        "commit" => Input::Command(Command::Commit),
        "raw" => Input::Command(Command::Raw { event: argument.into() }),
        "close" => Input::Command(Command::Close),
        _ => panic!("{at}: unknown input {verb}"),
    };
    engine.handle(*now, input);
}

/// Runs a transcript of `tests/golden/deepgram_agent`: `<` lines go in, `>` lines must come out, in order and no others.
fn run_transcript(name: &str, transcript: &str) {
    let mut now = Instant::now();
    let mut engine = engine(&named("plain"), SampleRate::HZ_8000);
    let mut waiting: VecDeque<String> = VecDeque::new();
    for (number, line) in transcript.lines().enumerate() {
        let at = format!("{name}:{}", number + 1);
        let (mark, rest) = line.split_at(line.len().min(1));
        let rest = rest.strip_prefix(' ').unwrap_or(rest);
        let (verb, argument) = rest.split_once(' ').unwrap_or((rest, ""));
        if matches!(mark, "<" | "=") {
            assert!(waiting.is_empty(), "{at}: not listed: {waiting:#?}");
        }
        match mark {
            "" | "#" => {}
            "=" => {
                let wide = if verb == "full" { SampleRate::HZ_16000 } else { SampleRate::HZ_8000 };
                engine = self::engine(&named(verb), wide);
            }
            ">" => assert_eq!(waiting.pop_front().as_deref(), Some(rest), "{at}"),
            "<" => {
                take(&mut engine, &mut now, &at, verb, argument);
                waiting = described(&mut engine).into();
            }
            _ => panic!("{at}: a line begins with #, =, < or >"),
        }
    }
    assert!(waiting.is_empty(), "{name}: not listed at the end: {waiting:#?}");
}

macro_rules! transcripts {
    ($($name:ident),* $(,)?) => {
        $(#[test]
        fn $name() {
            run_transcript(
                stringify!($name),
                include_str!(concat!("../../../tests/golden/deepgram_agent/", stringify!($name), ".txt")),
            );
        })*
    };
}

transcripts!(
    a_turn_is_heard_and_answered,
    every_option_is_where_the_service_has_it,
    the_caller_interrupts_and_nothing_late_is_heard,
    functions_are_called_cancelled_and_carried_out_elsewhere,
    words_are_said_exactly_and_again_if_refused,
    texts_are_injected_or_noted_in_the_prompt,
    a_new_session_knows_what_was_said,
    changes_are_sent_and_confirmed,
    turns_can_be_ended_by_the_module,
    a_stored_agent_is_named_alone,
    a_silent_session_is_kept_alive_and_renewed,
    errors_and_warnings_are_told_apart,
);

/// A message of the service as it may be, and as it should not.
fn anything() -> impl Strategy<Value = String> {
    let kinds = [
        "Welcome",
        "SettingsApplied",
        "ConversationText",
        "UserStartedSpeaking",
        "EndOfTurn",
        "AgentStartedSpeaking",
        "AgentAudioDone",
        "FunctionCallRequest",
        "FunctionCallCancelled",
        "InjectionRefused",
        "PromptUpdated",
        "LatencyReport",
        "Warning",
        "Error",
        "",
    ];
    let value = prop_oneof![
        Just(json!(null)),
        Just(json!(-1)),
        Just(json!(1e300)),
        Just(json!([{"id": "f1", "name": "look_up", "arguments": "{}", "client_side": true}])),
        Just(json!([{"id": 7}, 7])),
        "[a-z]{0,8}".prop_map(|text| json!(text)),
    ];
    let fields = ["role", "content", "functions", "code", "description", "message", "tts_latency", "request_id"];
    let fields = proptest::collection::vec((proptest::sample::select(fields.to_vec()), value), 0..4);
    (proptest::sample::select(kinds.to_vec()), fields).prop_map(|(kind, fields)| {
        let mut message = json!({ "type": kind });
        for (name, value) in fields {
            message[name] = value;
        }
        message.to_string()
    })
}

proptest! {
    #[test]
    fn whatever_comes_answers_begin_and_end_once(messages in proptest::collection::vec(anything(), 0..60)) {
        let now = Instant::now();
        let mut engine = engine(&named("plain"), SampleRate::HZ_8000);
        engine.handle(now, Input::Opened { unix_seconds: 0 });
        let (mut open, mut lost) = (None, false);
        for message in ["{\"type\":\"Welcome\"}".to_owned()].into_iter().chain(messages) {
            engine.handle(now, Input::Text(&message));
            engine.handle(now, Input::Command(Command::Recall { past: Vec::new() }));
            engine.handle(now, Input::Binary(&[1, 2]));
            while let Some(output) = engine.poll() {
                prop_assert!(!lost || matches!(output, Output::Close), "after the loss: {:?}", output);
                match output {
                    Output::Event(Event::ResponseStarted { response_id, .. }) => {
                        prop_assert_eq!(open.replace(response_id), None);
                    }
                    Output::Event(Event::ResponseDone { response_id, .. }) => {
                        prop_assert_eq!(open.take(), Some(response_id));
                    }
                    Output::Event(Event::Audio { response_id, .. } | Event::Transcript { response_id, .. }) => {
                        prop_assert_eq!(open.as_ref(), Some(&response_id));
                    }
                    Output::Event(Event::Lost(_)) => lost = true,
                    _ => {}
                }
            }
        }
    }
}
