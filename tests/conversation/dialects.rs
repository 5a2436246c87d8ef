//! The services that speak the Realtime protocol with differences, each on virtual time against its own strict service.

use std::sync::Arc;
use std::time::Duration;

use mod_audio_stream::control::options;
use mod_audio_stream::conversation::agent::{Event, Source, State};
use mod_audio_stream::conversation::engines::{self, ENGINES};
use mod_audio_stream::conversation::{AiOptions, AiPlan};
use mod_audio_stream::peer::Input;
use mod_audio_stream::stream::options::StreamOptions;
use mod_audio_stream::units::SampleRate;
use serde_json::json;

use crate::realtime::*;
use crate::support::signal;
use crate::world::*;

/// A service: its engine, its prefix, its dialect.
const SERVICES: [(&str, &str, Dialect); 3] = [
    ("xai_realtime", "xai", Dialect::Xai),
    ("voice_live", "voice_live", Dialect::VoiceLive),
    ("inworld_realtime", "inworld", Dialect::Inworld),
];

const LOOK_UP: &str = r#"[{"name":"look_up","description":"Looks up an order.","parameters":{"type":"object"}}]"#;

fn options(engine: &str, prefix: &str, given: &[(&str, &str)]) -> AiOptions {
    let mut options = StreamOptions::default();
    let own = [("api_key", "sk-test"), ("model", "test-model"), ("base_url", "ws://service.example")];
    let own = own.map(|(key, value)| (format!("{prefix}_{key}"), value));
    let own = own.iter().map(|(key, value)| (key.as_str(), *value));
    for (key, value) in
        own.chain([("engine", engine), ("transcription_model", "whisper-1")]).chain(given.iter().copied())
    {
        let row = options::ai_row(key).unwrap_or_else(|| panic!("no option {key}"));
        row.set(&mut options, value).unwrap_or_else(|why| panic!("{key}: {why}"));
    }
    Arc::unwrap_or_clone(options.ai)
}

fn world(engine: &str, prefix: &str, script: Script, given: &[(&str, &str)]) -> World {
    let options = options(engine, prefix, given);
    let plan = AiPlan::new(engines::of(&options), &options, Vec::new(), SampleRate::HZ_8000, Some("PCMU")).unwrap();
    let mut world = World::with(plan.engine, plan.agent, script);
    world.input(Input::Start);
    world
}

fn says(world: &mut World, ms: u32, seed: u64) {
    world.mouth.extend(signal::speech(8_000, ms, seed));
    world.pass(Duration::from_millis(u64::from(ms) + 300));
}

#[test]
fn each_service_holds_a_whole_conversation() {
    for (engine, prefix, dialect) in SERVICES {
        let answers = [
            Answer { text: "Good day.".into(), ..Answer::chord(1, 600) },
            Answer { late: 3, ..Answer::chord(2, 6_000) },
            Answer::call("look_up", &json!({"order": 7})),
            Answer { text: "It has left.".into(), ..Answer::chord(3, 800) },
        ];
        let script = Script { answers: Answers::each(answers.into()), ..Script::of(dialect) };
        let mut world =
            world(engine, prefix, script, &[("greeting", "Good day."), ("tools", LOOK_UP), ("voice", "marin")]);
        world.until("the greeting", |world| world.state() == State::Speaking);
        world.until("its end", |world| world.state() == State::Listening);

        // An answer that the caller interrupts: within a frame it is silent, and nothing of it comes any more.
        says(&mut world, 800, 3);
        world.until("the answer", |world| world.state() == State::Speaking);
        world.pass(Duration::from_secs(1));
        says(&mut world, 800, 4);
        let interrupted = |world: &World| world.events.iter().any(|event| matches!(event, Event::BargeIn { .. }));
        world.until("the interruption", interrupted);

        // What follows it is a function, and the answer to its result.
        world.until("the call", |world| !world.calls().is_empty());
        let call_id = world.calls()[0].clone();
        world.input(Input::ToolResult { call_id, output: r#"{"status":"shipped"}"#.into() });
        world.until("the result's answer", |world| world.state() == State::Speaking);
        world.until("its end", |world| world.state() == State::Listening);
        let (_, heard) = heard_ms(&world.heard, &chord(8_000, 800, 3), 8_000).unwrap();
        assert!(heard > 750.0, "{engine}: {heard}");

        // The connection is lost, and the next session learns what was said.
        world.cut_for(Duration::from_millis(200));
        world.until("the next session", |world| world.records.len() == 2 && world.state() == State::Listening);
        world.pass(Duration::from_secs(1));
        let told = world.record(1).told("conversation.item.create");
        let said = |words: &str| told.iter().any(|event| event.to_string().contains(words));
        assert!(said("Good day.") && said("look_up") && said("It has left."), "{engine}: {told:?}");
        assert_eq!((world.late_played, &world.faults[..]), (0, &[][..]), "{engine}");
        for record in &world.records {
            assert_eq!(record.lock().complaints, [], "{engine}");
        }
        let truncated = world.record(0).told("conversation.item.truncate").len();
        assert_eq!(truncated, usize::from(dialect != Dialect::Inworld), "{engine}");
        let whole =
            |event: &Event| matches!(event, Event::Transcript { text, whole: true, .. } if text == "Hello there.");
        assert!(world.events.iter().any(whole), "{engine}: {:?}", world.events);
    }
}

/// What a client may receive from a service that is ahead of it by the time on the way.
const RACES: [&str; 2] = ["response_cancel_not_active", "conversation_already_has_active_response"];

#[test]
fn a_hundred_turns_with_each_service_keep_their_invariants() {
    for (engine, prefix, dialect) in SERVICES {
        let answers = Answers::by(|asked| match asked.response % 7 {
            3 if !asked.last.contains("done") => Answer::call("look_up", &json!({})),
            n => Answer { late: n as u32 % 3, ..Answer::chord(n as u64, 400 + 500 * n as u32) },
        });
        let mut world = world(engine, prefix, Script { answers, ..Script::of(dialect) }, &[("tools", LOOK_UP)]);
        world.frame = FRAME * 2;
        let (mut seed, mut answered, mut cuts) = (17, 0, 0);
        for turn in 0..100 {
            world.until("a session", |world| world.state() == State::Listening || world.state() == State::Speaking);
            world.mouth.extend(signal::tone(8_000, 300.0, 400 + chance(&mut seed, 600) as u32, 6_000.0));
            world.pass(Duration::from_millis(1_800 + chance(&mut seed, 1_200)));
            match chance(&mut seed, 10) {
                0 => {
                    cuts += 1;
                    world.cut_for(Duration::from_millis(100 + chance(&mut seed, 900)));
                }
                1 => world.input(Input::Interrupt),
                // The next turn interrupts, if this one is being answered.
                2..=5 => {}
                _ => world.pass(Duration::from_secs(5)),
            }
            world.answer_calls();
            answered += u32::from(turn % 10 == 9);
        }
        world.pass(Duration::from_secs(20));
        world.answer_calls();
        world.pass(Duration::from_secs(20));
        assert_eq!((world.state(), answered), (State::Listening, 10), "{engine}");
        assert!(world.is_silent() && world.late_played == 0, "{engine}");
        assert_eq!(world.records.len(), cuts + 1, "{engine}");
        let given: usize = world.records.iter().map(|record| record.lock().answers.len()).sum();
        let interrupted = world.conversation.policy().stats().barge_in_count;
        assert!(given >= 90 && interrupted >= 15, "{engine}: {given} answers, {interrupted} interruptions");
        for record in &world.records {
            let record = record.lock();
            let wrong: Vec<_> = record.complaints.iter().filter(|complaint| !RACES.contains(&complaint.code)).collect();
            assert!(wrong.is_empty(), "{engine}: {wrong:?}");
            for truncated in record.told("conversation.item.truncate") {
                let source = Source::Item(truncated["item_id"].as_str().unwrap().to_owned());
                let heard = world.heard_of(&source).as_millis() as u64;
                let told = truncated["audio_end_ms"].as_u64().unwrap();
                assert!(told.abs_diff(heard) <= 40, "{engine}: told {told}, heard {heard}");
            }
        }
    }
}

#[test]
fn what_a_service_cannot_do_is_refused_with_advice() {
    let refused = |engine: &str, prefix: &str, given: &[(&str, &str)]| {
        let options = options(engine, prefix, given);
        engines::of(&options).check(&options, Vec::new()).map(|_| ()).unwrap_err()
    };
    for (engine, prefix, name, given, advice) in [
        ("xai_realtime", "xai", "xAI", ("ai_output", "tts"), "ai_output=tts: its model only speaks"),
        ("xai_realtime", "xai", "xAI", ("barge_in", "off"), "barge_in, barge_in_min_ms and"),
        ("xai_realtime", "xai", "xAI", ("barge_in_min_ms", "300"), "barge_in, barge_in_min_ms and"),
        ("xai_realtime", "xai", "xAI", ("noise_reduction", "near_field"), "noise_reduction: use noise_suppression"),
        ("xai_realtime", "xai", "xAI", ("max_response_tokens", "100"), "max_response_tokens: remove it"),
        ("xai_realtime", "xai", "xAI", ("turn_detection", "semantic_vad"), "turn_detection: only server_vad"),
        ("xai_realtime", "xai", "xAI", ("turn_detection", "local"), "turn_detection: only server_vad"),
        ("xai_realtime", "xai", "xAI", ("vad_threshold", "0.95"), "vad_threshold: give 0.1 to 0.9"),
        ("xai_realtime", "xai", "xAI", ("speed", "0.5"), "speed: give 0.7 to 1.5"),
        ("xai_realtime", "xai", "xAI", ("reasoning_effort", "low"), "reasoning_effort: give high or none"),
        (
            "voice_live",
            "voice_live",
            "Azure Voice Live",
            ("vad_idle_timeout_ms", "6000"),
            "vad_idle_timeout_ms: use idle",
        ),
        ("voice_live", "voice_live", "Azure Voice Live", ("speed", "1.2"), "speed: remove it"),
        ("inworld_realtime", "inworld", "Inworld", ("ai_output", "tts"), "ai_output=tts: its model only speaks"),
        ("inworld_realtime", "inworld", "Inworld", ("vad_silence_duration_ms", "300"), "vad_threshold, vad_prefix"),
        ("inworld_realtime", "inworld", "Inworld", ("transcription_language", "de"), "transcription_language and"),
        ("inworld_realtime", "inworld", "Inworld", ("reasoning_effort", "low"), "reasoning_effort: remove it"),
    ] {
        let said = refused(engine, prefix, &[given]);
        assert!(said.starts_with(&format!("{name} cannot do what is asked: {advice}")), "{given:?}: {said}");
    }
    let eager = [("turn_detection", "semantic_vad"), ("vad_eagerness", "medium")];
    assert!(refused("voice_live", "voice_live", &eager).contains("vad_eagerness: give auto, low or high"));
    assert!(refused("xai_realtime", "xai", &[("xai_api_key", "")]).starts_with("no API key: set xai_api_key in "));
    assert!(refused("xai_realtime", "xai", &[("xai_model", "")]).starts_with("no model: set xai_model, "));
    let nowhere = refused("voice_live", "voice_live", &[("voice_live_base_url", "")]);
    assert!(
        nowhere.contains("needs the base URL of the resource: https://<resource>.services.ai.azure.com"),
        "{nowhere}"
    );
}

#[test]
fn whatever_is_not_refused_is_taken_by_the_service() {
    for (engine, prefix, dialect) in SERVICES {
        for (key, value) in [
            ("turn_detection", "semantic_vad"),
            ("turn_detection", "local"),
            ("barge_in", "local"),
            ("barge_in_min_ms", "300"),
            ("ai_output", "tts"),
            ("noise_reduction", "far_field"),
            ("voice", "en-US-Ava:DragonHDLatestNeural"),
            ("reasoning_effort", "high"),
            ("max_response_tokens", "inf"),
            ("transcription_prompt", "Müller, Meier"),
            ("builtin_tools", "hang_up,send_dtmf"),
            ("ai_audio", "pcm"),
            ("system_prompt", "Be brief."),
        ] {
            let given = [(key, value), ("tts_provider", "command")];
            let options = options(engine, prefix, &given);
            let entry = ENGINES.iter().find(|entry| entry.name == engine).unwrap();
            if entry.check(&options, Vec::new()).is_err() {
                continue;
            }
            let mut world = world(engine, prefix, Script::of(dialect), &given);
            world.pass(Duration::from_secs(1));
            assert_eq!(world.state(), State::Listening, "{engine} {key}={value}");
            assert_eq!(world.record(0).complaints, [], "{engine} {key}={value}");
        }
    }
}

#[test]
fn a_service_refuses_a_wrong_key_and_what_its_clients_lack() {
    for (engine, prefix, dialect) in SERVICES {
        let given = format!("{prefix}_api_key");
        let mut world = world(engine, prefix, Script::of(dialect), &[(&given, "another")]);
        world.pass(Duration::from_secs(30));
        assert_eq!((world.state(), world.connects), (State::Failed, 1), "{engine}");
        let failed = |event: &Event| match event {
            Event::State { state: State::Failed, message, .. } => Some(message.clone()),
            _ => None,
        };
        let message = world.events.iter().find_map(failed).unwrap();
        assert!(message.contains(&format!("check {prefix}_api_key, {prefix}_auth")), "{message}");

        let ga = json!({"type": "session.update", "session": {"type": "realtime", "max_output_tokens": 5,
            "audio": {"input": {"noise_reduction": null}}}});
        assert!(dialect.check(&ga).is_err(), "{engine} takes OpenAI's session");
        assert!(dialect.check(&json!({"type": "output_audio_buffer.clear"})).is_err(), "{engine}");
        let metadata = json!({"type": "response.create", "response": {"metadata": {"request": "1"}}});
        assert_eq!(dialect.check(&metadata).is_ok(), dialect == Dialect::VoiceLive, "{engine}");
    }
}
