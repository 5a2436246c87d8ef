//! Tests of the engine: golden transcripts, the list of server events, malformed messages, ends of sessions.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::dialect;
use super::super::profile::{
    Modality, NoiseReduction, SemanticVad, ServerVad, ToolChoice, Transcription, TurnDetection, Voice,
};
use super::*;
use crate::conversation::functions::Function;
use crate::conversation::openai::profile::MaxTokens;
use crate::conversation::options::{Eagerness, NoiseKind};
use crate::peer::Speaker;

/// An output as text: what golden transcripts are written in.
fn described(engine: &mut OpenAi) -> Vec<String> {
    let mut all = Vec::new();
    while let Some(output) = engine.poll() {
        all.push(match output {
            Output::Connect(target) => format!("connect {}", target.url),
            Output::Send(Message::Text(text)) => format!("send {text}"),
            Output::SendAudio { message: Message::Text(text), duration } => {
                format!("audio {}ms {text}", duration.as_millis())
            }
            Output::Send(Message::Binary(_)) | Output::SendAudio { .. } => panic!("nothing is binary here"),
            Output::Event(event) => format!("event {event:?}"),
            Output::Fault(fault) => format!("fault {fault}"),
            Output::Fetch(_) | Output::AbortFetch { .. } => panic!("nothing is asked over HTTP here"),
            Output::Close => "close 1000 Normal closure".to_owned(),
        });
    }
    all
}

fn say(engine: &mut OpenAi, now: Instant, input: Input<'_>) -> Vec<String> {
    engine.handle(now, input);
    described(engine)
}

fn text(engine: &mut OpenAi, now: Instant, message: &Value) -> Vec<String> {
    say(engine, now, Input::Text(&message.to_string()))
}

/// Everything a profile can say.
fn full_profile() -> SessionProfile {
    SessionProfile {
        model: "a-model".into(),
        instructions: "Be \"brief\".\nSpeak German.".into(),
        modality: Modality::Audio,
        voice: Some(Voice::Named("marin".into())),
        speed: Some(1.1),
        input: AudioFormat::Pcmu,
        output: AudioFormat::Pcm24k,
        turn_detection: TurnDetection::Server(ServerVad {
            threshold: Some(0.5),
            prefix_padding_ms: Some(300),
            silence_duration_ms: Some(500),
            create_response: true,
            interrupt_response: false,
            idle_timeout_ms: Some(6_000),
        }),
        noise_reduction: Some(NoiseReduction { kind: NoiseKind::NearField, strength: Some(1.0) }),
        transcription: Some(Transcription {
            model: "a-transcriber".into(),
            language: Some("en".into()),
            prompt: Some("names".into()),
        }),
        mcp_servers: Vec::new(),
        tools: vec![Function::new(
            "look_up",
            "Looks up an order.",
            json!({"type": "object", "properties": {"id": {"type": "integer"}}}),
        )],
        tool_choice: ToolChoice::Function("look_up".into()),
        parallel_tool_calls: Some(false),
        max_output_tokens: MaxTokens::Count(4_096),
        reasoning_effort: Some("low".into()),
        fields: serde_json::Map::new(),
    }
}

fn g711_text_profile() -> SessionProfile {
    SessionProfile {
        modality: Modality::Text,
        voice: Some(Voice::Named("unused".into())),
        input: AudioFormat::Pcma,
        output: AudioFormat::Pcma,
        turn_detection: TurnDetection::Semantic(SemanticVad { eagerness: Eagerness::High, ..SemanticVad::default() }),
        ..SessionProfile::default()
    }
}

fn manual_profile() -> SessionProfile {
    SessionProfile {
        voice: Some(Voice::Custom("voice_1".into())),
        turn_detection: TurnDetection::Off,
        ..SessionProfile::default()
    }
}

fn opened(profile: SessionProfile, now: Instant) -> OpenAi {
    assert_eq!(profile.check(), Ok(()));
    let mut engine = OpenAi::new(EngineConfig::new(profile));
    engine.handle(now, Input::Opened { unix_seconds: 1_000_000 });
    engine
}

fn ready(profile: SessionProfile, now: Instant) -> OpenAi {
    let mut engine = opened(profile, now);
    described(&mut engine);
    let events = text(&mut engine, now, &json!({"type": "session.updated", "session": {"id": "sess_1"}}));
    assert_eq!(events, ["event Named { session_id: \"sess_1\" }", "event Ready"]);
    engine
}

/// Runs a transcript of `tests/golden/openai_realtime`: `<` lines go in, `>` lines must come out, in order and no others.
fn run_transcript(dialect: &'static Dialect, name: &str, transcript: &str) {
    let now = Instant::now();
    let mut engine: Option<OpenAi> = None;
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
                let profile = match verb {
                    "default" => SessionProfile::default(),
                    "full" => full_profile(),
                    "g711-text" => g711_text_profile(),
                    "manual" => manual_profile(),
                    _ => panic!("{at}: unknown profile {verb}"),
                };
                engine = Some(OpenAi::new(EngineConfig::of(dialect, profile)));
            }
            "<" => {
                let engine = engine.as_mut().unwrap();
                let bytes: Vec<u8>;
                let string = |text: &str| text.to_owned();
                let words = argument.split(' ').collect::<Vec<_>>();
                let input = match (verb, words.as_slice()) {
                    ("opened", _) => Input::Opened { unix_seconds: 1_000_000 },
                    ("text", _) => Input::Text(argument),
                    ("closed", [code, ..]) => {
                        Input::Closed { code: code.parse().unwrap(), reason: argument[code.len()..].trim_start() }
                    }
                    ("audio", _) => {
                        bytes = words.iter().map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect();
                        Input::Audio(&bytes)
                    }
                    ("respond", [request]) => {
                        Input::Command(Command::Respond { request: request.parse().unwrap(), instructions: None })
                    }
                    ("respond", [request, ..]) => Input::Command(Command::Respond {
                        request: request.parse().unwrap(),
                        instructions: Some(string(argument[request.len()..].trim_start())),
                    }),
                    ("cancel", [id]) => Input::Command(Command::Cancel { response_id: string(id), tell: true }),
                    ("forget", [id]) => Input::Command(Command::Cancel { response_id: string(id), tell: false }),
                    ("truncate", [id, index, end]) => Input::Command(Command::Truncate {
                        item_id: string(id),
                        content_index: index.parse().unwrap(),
                        audio_end_ms: end.parse().unwrap(),
                    }),
                    ("delete", [id]) => Input::Command(Command::Delete { item_id: string(id) }),
                    ("message", [role, after, ..]) => Input::Command(Command::Message {
                        speaker: if *role == "user" { Speaker::Caller } else { Speaker::Agent },
                        text: words[2..].join(" "),
                        after: (*after != "-").then(|| string(after)),
                        respond: false,
                    }),
                    ("call", [id, name, arguments]) => Input::Command(Command::ToolCall {
                        call_id: string(id),
                        name: string(name),
                        arguments: string(arguments),
                    }),
                    ("result", [id, output]) => {
                        Input::Command(Command::ToolOutput { call_id: string(id), output: string(output) })
                    }
                    ("connect", _) => Input::Command(Command::Connect { attempt: 0 }),
                    ("commit", _) => Input::Command(Command::Commit),
                    ("close", _) => Input::Command(Command::Close),
                    _ => panic!("{at}: unknown input {verb}"),
                };
                waiting = say(engine, now, input).into();
            }
            ">" => assert_eq!(waiting.pop_front().as_deref(), Some(rest), "{at}"),
            _ => panic!("{at}: a line begins with #, =, < or >"),
        }
    }
    assert!(waiting.is_empty(), "{name}: not listed at the end: {waiting:#?}");
}

macro_rules! transcripts {
    ($dialect:ident, $folder:literal: $($name:ident),* $(,)?) => {
        $(#[test]
        fn $name() {
            run_transcript(
                &dialect::$dialect,
                stringify!($name),
                include_str!(concat!("../../../tests/golden/", $folder, "/", stringify!($name), ".txt")),
            );
        })*
    };
}

transcripts!(OPENAI, "openai_realtime":
    every_field_of_a_profile_is_where_the_ga_protocol_has_it,
    what_a_profile_leaves_open_is_left_out,
    every_command_is_an_event_of_the_client,
    a_response_is_known_again_by_its_request,
    a_turn_of_speech,
    what_was_given_up_is_passed_on_for_the_agent_to_drop,
    a_function_call_is_reported_once,
    the_beta_protocol_is_refused_for_good,
    harmless_and_other_errors_leave_the_session_open,
    nothing_is_sent_outside_a_confirmed_session,
);

transcripts!(XAI, "xai_realtime":
    the_session_of_xai_has_voice_and_turns_at_the_top,
    xai_repeats_the_callers_words_and_pings,
);

transcripts!(VOICE_LIVE, "voice_live":
    the_session_of_voice_live_is_flat,
    voice_live_has_older_names_of_events,
);

transcripts!(INWORLD, "inworld_realtime":
    the_session_of_inworld_has_the_model,
    inworld_gets_instructions_as_a_message,
);

#[test]
fn every_event_of_the_server_is_handled_or_ignored_on_purpose() {
    // The list of the GA protocol.
    let all = [
        "session.created",
        "session.updated",
        "conversation.created",
        "conversation.item.added",
        "conversation.item.created",
        "conversation.item.done",
        "conversation.item.deleted",
        "conversation.item.retrieved",
        "conversation.item.truncated",
        "conversation.item.input_audio_transcription.delta",
        "conversation.item.input_audio_transcription.completed",
        "conversation.item.input_audio_transcription.failed",
        "conversation.item.input_audio_transcription.segment",
        "input_audio_buffer.committed",
        "input_audio_buffer.cleared",
        "input_audio_buffer.speech_started",
        "input_audio_buffer.speech_stopped",
        "input_audio_buffer.timeout_triggered",
        "input_audio_buffer.dtmf_event_received",
        "response.created",
        "response.done",
        "response.output_item.added",
        "response.output_item.done",
        "response.content_part.added",
        "response.content_part.done",
        "response.output_audio.delta",
        "response.output_audio.done",
        "response.output_audio_transcript.delta",
        "response.output_audio_transcript.done",
        "response.output_text.delta",
        "response.output_text.done",
        "response.function_call_arguments.delta",
        "response.function_call_arguments.done",
        "response.mcp_call_arguments.delta",
        "response.mcp_call_arguments.done",
        "response.mcp_call.in_progress",
        "response.mcp_call.completed",
        "response.mcp_call.failed",
        "mcp_list_tools.in_progress",
        "mcp_list_tools.completed",
        "mcp_list_tools.failed",
        "output_audio_buffer.started",
        "output_audio_buffer.stopped",
        "output_audio_buffer.cleared",
        "rate_limits.updated",
        "error",
    ];
    assert_eq!(all.len(), 46);
    let now = Instant::now();
    for kind in all {
        assert!(is_used(kind) != is_ignored(kind), "{kind}");
        let mut engine = ready(SessionProfile::default(), now);
        text(&mut engine, now, &json!({"type": kind, "response": {"id": "r"}, "item": {"id": "i"}, "delta": ""}));
        assert_eq!(engine.unknown_events(), 0, "{kind}");
    }
    let mut engine = ready(SessionProfile::default(), now);
    assert_eq!(text(&mut engine, now, &json!({"type": "response.hologram.delta", "delta": 7})), [""; 0]);
    assert_eq!(engine.unknown_events(), 1);
    for used in USED.iter().chain(IGNORED) {
        assert!(all.contains(used), "{used} is no event of the GA protocol");
    }
}

#[test]
fn the_callers_audio_is_base64_of_pcm_or_unchanged_g711() {
    let now = Instant::now();
    let mut engine = ready(SessionProfile::default(), now);
    let samples: Vec<i16> = (0..480).map(|n| (n * 61 - 14_000) as i16).collect();
    let bytes: Vec<u8> = samples.iter().flat_map(|sample| sample.to_le_bytes()).collect();
    let wanted =
        format!("audio 20ms {{\"type\":\"input_audio_buffer.append\",\"audio\":\"{}\"}}", STANDARD.encode(&bytes));
    assert_eq!(say(&mut engine, now, Input::Audio(&bytes)), [wanted]);
    let mut engine = ready(g711_text_profile(), now);
    let message = &say(&mut engine, now, Input::Audio(&[0xd5; 160]))[0];
    assert!(message.starts_with("audio 20ms ") && message.contains(&STANDARD.encode([0xd5; 160])));
}

#[test]
fn a_sample_divided_between_two_deltas_is_put_together() {
    let now = Instant::now();
    let mut engine = ready(SessionProfile::default(), now);
    let mut heard: Vec<i16> = Vec::new();
    for part in [&[1u8][..], &[2, 3], &[4, 5, 6]] {
        let delta = STANDARD.encode(part);
        engine.handle(
            now,
            Input::Text(
                &json!({"type": "response.output_audio.delta", "response_id": "r", "item_id": "i", "delta": delta})
                    .to_string(),
            ),
        );
        while let Some(output) = engine.poll() {
            let Output::Event(Event::Audio { audio: MonoAudio::Pcm { samples, .. }, .. }) = output else { panic!() };
            heard.extend(samples);
        }
    }
    assert_eq!(heard, [0x0201, 0x0403, 0x0605]);
}

#[test]
fn a_session_that_is_not_confirmed_is_lost_after_its_time() {
    let now = Instant::now();
    let mut engine = opened(SessionProfile::default(), now);
    described(&mut engine);
    let at = engine.deadline().unwrap();
    assert_eq!(at - now, Duration::from_secs(10));
    assert_eq!(say(&mut engine, now, Input::Timeout), [""; 0]);
    let outputs = say(&mut engine, at, Input::Timeout);
    assert!(outputs[0].starts_with("event Lost(Loss { fatal: false") && outputs[1].starts_with("close 1000"));
    assert_eq!(engine.deadline(), None);
}

#[test]
fn the_end_of_a_session_is_announced_before_it_comes() {
    let now = Instant::now();
    let mut engine = opened(SessionProfile::default(), now);
    // 30 minutes from the wall clock's time at which the connection was opened.
    text(&mut engine, now, &json!({"type": "session.created", "session": {"expires_at": 1_000_000 + 1_800}}));
    text(&mut engine, now, &json!({"type": "session.updated", "session": {}}));
    let soon = engine.deadline().unwrap();
    assert_eq!(soon - now, Duration::from_secs(1_500));
    assert_eq!(say(&mut engine, soon, Input::Timeout), ["event ExpiresSoon { now: false }"]);
    let last = engine.deadline().unwrap();
    assert_eq!(last - now, Duration::from_secs(1_785));
    assert_eq!(say(&mut engine, last, Input::Timeout), ["event ExpiresSoon { now: true }"]);
    assert_eq!(engine.deadline(), None);
    // Where the service says nothing, or nonsense, it is an hour.
    for expires_at in [json!(null), json!(5), json!(9e12), json!("soon")] {
        let mut engine = opened(SessionProfile::default(), now);
        text(&mut engine, now, &json!({"type": "session.updated", "session": {"expires_at": expires_at}}));
        assert_eq!(engine.deadline().unwrap() - now, Duration::from_secs(3_300), "{expires_at}");
    }
}

#[test]
fn a_refused_attempt_is_a_loss_also_after_a_session() {
    let now = Instant::now();
    let mut engine = ready(SessionProfile::default(), now);
    assert!(say(&mut engine, now, Input::Closed { code: 1001, reason: "60 minutes" })[0].contains("fatal: false"));
    assert_eq!(say(&mut engine, now, Input::Closed { code: 1006, reason: "" }), [""; 0], "once");
    assert!(say(&mut engine, now, Input::Refused { status: Some(503), message: "" })[0].contains("fatal: false"));
    assert!(say(&mut engine, now, Input::Refused { status: Some(401), message: "" })[0].contains("fatal: true"));
    assert!(
        say(&mut engine, now, Input::Opened { unix_seconds: 0 })[0].starts_with("send {\"type\":\"session.update\"")
    );
}

#[test]
fn malformed_messages_are_faults_that_name_what_is_wrong() {
    let now = Instant::now();
    let mut engine = ready(SessionProfile::default(), now);
    for (message, part) in [
        ("", "not a JSON object"),
        ("hello", "not a JSON object: hello"),
        ("{\"type\":\"error\"", "not a JSON object"),
        ("{}", "without a type"),
        ("{\"type\":7}", "without a type"),
        ("{\"type\":\"response.created\"}", "no id"),
        ("{\"type\":\"response.done\",\"response\":\"x\"}", "response.done: unusable fields"),
        ("{\"type\":\"response.output_audio.delta\",\"delta\":\"*\"}", "not base64"),
    ] {
        let outputs = say(&mut engine, now, Input::Text(message));
        let [fault] = &outputs[..] else { panic!("{message}: {outputs:?}") };
        let part = part.replace("object: hello", "object");
        assert!(fault.starts_with("fault ") && fault.contains(&part), "{message}: {fault}");
    }
    assert!(say(&mut engine, now, Input::Binary(&[0]))[0].starts_with("fault "));
    assert!(engine.is_ready());
}

#[test]
fn seeds_of_the_fuzz_target_hold() {
    let deltas =
        "{\"type\":\"response.output_audio.delta\",\"response_id\":\"r\",\"item_id\":\"i\",\"delta\":\"AAAA\"}\n"
            .repeat(3);
    let long = "x".repeat(200);
    let long = format!("{{\"type\":\"response.output_audio.delta\",\"response_id\":\"{long}\",\"delta\":\"AAAA\"}}\n")
        .repeat(2);
    let ready = "{\"type\":\"session.updated\"}\n";
    for seed in [
        format!("{ready}{deltas}"),
        format!("{ready}{long}{{\"type\":\"error\",\"error\":{{\"code\":\"session_expired\"}}}}\n{deltas}"),
        format!("{ready}{{\"type\":\"error\",\"error\":null}}\n[]\n\"x\"\n{{\"type\":\"response.done\"}}"),
        "{\"type\":\"error\",\"error\":{\"code\":\"invalid_api_key\"}}\n{}".to_owned(),
    ] {
        for end in 0..=seed.len() {
            fuzz_openai_realtime(&seed.as_bytes()[..end]);
        }
    }
}

proptest! {
    #[test]
    fn no_text_breaks_an_invariant(
        lines in proptest::collection::vec((any::<proptest::sample::Index>(), any::<proptest::sample::Index>(), 0usize..8), 0..30),
    ) {
        let values = [
            json!(null), json!(true), json!(-1), json!(1e300), json!("r"), json!("AAAA"), json!([{}]),
            json!({"id": "r", "type": "function_call", "call_id": "c", "name": "n", "status": "cancelled", "code": "session_expired"}),
        ];
        let fields = ["response_id", "item_id", "delta", "response", "item", "session", "error", "name", "call_id", "rate_limits"];
        let mut data = String::from("{\"type\":\"session.updated\"}\n");
        for (kind, field, value) in lines {
            let kind = kind.get(USED);
            let field = field.get(&fields);
            data += &format!("{}\n", json!({"type": kind, "response_id": "r", "delta": "AAAA", *field: values[value]}));
        }
        fuzz_openai_realtime(data.as_bytes());
    }

    #[test]
    fn any_bytes_are_survived(data in proptest::collection::vec(any::<u8>(), 0..1_000)) {
        fuzz_openai_realtime(&data);
    }
}
