//! Gemini Live on virtual time: turns, interruptions, functions, sessions that go on, and losses, against a strict service.

use std::sync::Arc;
use std::time::Duration;

use mod_audio_stream::control::options;
use mod_audio_stream::conversation::agent::{Event, Source, State};
use mod_audio_stream::conversation::{AiOptions, AiPlan, engines};
use mod_audio_stream::peer::{Input, Output};
use mod_audio_stream::stream::options::StreamOptions;
use mod_audio_stream::units::SampleRate;
use serde_json::{Value, json};

use crate::realtime::*;
use crate::support::signal;
use crate::world::*;

const TOOLS: &str = r#"[{"name":"look_up","description":"Looks up an order.",
    "parameters":{"type":"object","properties":{"order":{"type":"integer"}},"additionalProperties":false}}]"#;

fn options(given: &[(&str, &str)]) -> AiOptions {
    let mut options = StreamOptions::default();
    let own = [
        ("engine", "gemini"),
        ("gemini_api_key", "sk-test"),
        ("gemini_model", "test-model"),
        ("gemini_base_url", "ws://service.example"),
        ("tools", TOOLS),
        ("system_prompt", "Be brief."),
    ];
    for (key, value) in own.iter().chain(given) {
        let row = options::ai_row(key).unwrap_or_else(|| panic!("no option {key}"));
        row.set(&mut options, value).unwrap_or_else(|why| panic!("{key}: {why}"));
    }
    Arc::unwrap_or_clone(options.ai)
}

/// A call that waits for its start.
pub fn call(script: Script, given: &[(&str, &str)]) -> World {
    let options = options(given);
    let plan = AiPlan::new(engines::of(&options), &options, Vec::new(), SampleRate::HZ_8000, Some("PCMU")).unwrap();
    let world = World::with(plan.engine, plan.agent, script).with_options(options);
    if plan.caller.vad.is_some() { world.with_ears(plan.caller) } else { world }
}

fn started(answers: impl Into<Vec<Answer>>, given: &[(&str, &str)]) -> World {
    let mut world = call(Script::gemini(answers), given);
    world.input(Input::Start);
    world.until("the session", |world| !matches!(world.state(), State::Connecting));
    world
}

fn says(world: &mut World, ms: u32, seed: u64) {
    world.mouth.extend(signal::speech(16_000, ms, seed));
    world.pass(Duration::from_millis(u64::from(ms) + 300));
}

fn has_no_complaints(world: &World) {
    for record in &world.records {
        assert_eq!(record.lock().complaints, []);
    }
    assert_eq!((&world.faults[..], world.late_played), (&[][..], 0));
}

/// The texts of the history that a session was told.
fn history(record: &Record) -> Vec<(String, String)> {
    let turn = |turn: &Value| {
        (turn["role"].as_str().unwrap().to_owned(), turn["parts"][0]["text"].as_str().unwrap().to_owned())
    };
    let told = record.told("clientContent");
    told.iter()
        .flat_map(|told| told["clientContent"]["turns"].as_array().cloned().unwrap_or_default())
        .map(|it| turn(&it))
        .collect()
}

#[test]
fn gemini_holds_a_whole_conversation_in_either_detection() {
    for given in [&[][..], &[("turn_detection", "local")], &[("turn_detection", "local"), ("barge_in_min_ms", "200")]] {
        let answers = [
            Answer { text: "Good day.".into(), ..Answer::chord(1, 600) },
            Answer { late: 4, ..Answer::chord(2, 6_000) },
            Answer::call("look_up", &json!({"order": 7})),
            Answer { text: "It has left.".into(), ..Answer::chord(3, 800) },
        ];
        let options: Vec<_> = given.iter().copied().chain([("greeting", "Good day.")]).collect();
        let mut world = started(answers, &options);
        world.until("the greeting", |world| world.state() == State::Speaking);
        world.until("its end", |world| world.state() == State::Listening);
        let asked = world.record(0).told("text");
        assert!(asked[0]["realtimeInput"]["text"].as_str().unwrap().contains("Good day."), "{asked:?}");

        // An answer that the caller interrupts: within a frame it is silent, and nothing of it comes any more.
        says(&mut world, 800, 3);
        world.until("the answer", |world| world.state() == State::Speaking);
        world.pass(Duration::from_secs(1));
        says(&mut world, 800, 4);
        world.until("the interruption", |world| world.interruptions() == 1);

        // What follows it is a function, and the answer to its result.
        world.until("the call", |world| !world.calls().is_empty());
        let call_id = world.calls()[0].clone();
        world.input(Input::ToolResult { call_id, output: r#"{"status":"shipped"}"#.into() });
        world.until("the result's answer", |world| world.state() == State::Speaking);
        world.until("its end", |world| world.state() == State::Listening);
        let (_, heard) = heard_ms(&world.heard, &chord(8_000, 800, 3), 8_000).unwrap();
        assert!(heard > 750.0, "{given:?}: {heard}");
        let (at, cut) = heard_ms(&world.heard, &chord(8_000, 6_000, 2), 8_000).unwrap();
        assert!(cut < 3_000.0, "{given:?}: {cut}");
        let after = &world.heard[at + (cut * 8.0) as usize + 160..][..1_600];
        assert!(after.iter().all(|sample| *sample == 0), "{given:?}: it is not silent within a frame");
        let told: Vec<_> = world
            .events
            .iter()
            .filter_map(|event| match event {
                Event::BargeIn { heard_ms, .. } => Some(*heard_ms as f64),
                _ => None,
            })
            .collect();
        assert!((told[0] - cut).abs() <= 20.0, "{given:?}: heard {cut}, told {told:?}");
        // Both sides are written down, and the turns are the caller's voice.
        let words = |wanted: &str| {
            let is_it = |event: &Event| matches!(event, Event::Transcript { text, whole: true, .. } if text == wanted);
            world.events.iter().any(is_it)
        };
        assert!(words("Hello there.") && words("It has left."), "{given:?}: {:?}", world.events);
        let voice = signal::speech(16_000, 800, 3);
        let (_, alike) = crate::support::audio::find(&world.record(0).audio, &voice[..9_600]);
        assert!(alike > 0.999, "{given:?}: {alike}");
        assert!(world.conversation.policy().stats().usage.output_tokens > 0);
        has_no_complaints(&world);
    }
}

#[test]
fn a_session_goes_on_by_its_handle_before_the_cut() {
    let mut world = started([Answer { text: "It has left.".into(), ..Answer::chord(5, 900) }], &[]);
    says(&mut world, 900, 3);
    world.until("the answer", |world| world.state() == State::Speaking);
    world.order(Order::Trouble(What::GoAway(50)));
    // It is announced during the answer, and comes after it.
    world.until("the next session", |world| world.records.len() == 2 && world.state() == State::Listening);
    let (_, heard) = heard_ms(&world.heard, &chord(8_000, 900, 5), 8_000).unwrap();
    assert!(heard > 850.0, "{heard}");
    let handle = world.record(1).told("setup")[0]["setup"]["sessionResumption"]["handle"].clone();
    assert!(handle.as_str().is_some_and(|handle| handle.starts_with("handle_0_")), "{handle}");
    says(&mut world, 900, 4);
    world.until("the next answer", |world| world.state() == State::Speaking);
    assert_eq!(history(&world.record(1)), [], "it knows the talk");
    // Nothing of the caller is lost.
    let heard = world.service_heard();
    assert!(heard.len() + 16_000 > world.said.len() && heard == world.said[..heard.len()]);
    has_no_complaints(&world);
}

#[test]
fn a_session_that_was_not_saved_is_told_the_talk() {
    let answers = [Answer { text: "It has left.".into(), ..Answer::chord(5, 900) }, Answer::chord(6, 4_000)];
    let mut world = started(answers, &[]);
    says(&mut world, 900, 3);
    world.until("the answer", |world| world.state() == State::Speaking);
    world.until("its end", |world| world.state() == State::Listening);
    says(&mut world, 900, 4);
    world.until("the next answer", |world| world.state() == State::Speaking);
    world.cut_for(Duration::from_secs(1));
    world.until("the next session", |world| world.records.len() == 2 && world.state() != State::Reconnecting);
    world.pass(Duration::from_secs(1));
    let told = history(&world.record(1));
    assert_eq!(told[..2], [("user".into(), "Hello there.".into()), ("model".into(), "It has left.".into())]);
    let setup = world.record(1).told("setup")[0].clone();
    assert_eq!(setup["setup"]["historyConfig"]["initialHistoryInClientContent"], true);
    world.until("everything", |world| world.state() == State::Listening);
    has_no_complaints(&world);
}

#[test]
fn a_function_is_taken_back_when_the_caller_speaks() {
    let answers = [Answer::call("look_up", &json!({"order": 7})), Answer::chord(3, 800), Answer::chord(4, 700)];
    let mut world = started(answers, &[]);
    says(&mut world, 900, 3);
    world.until("the call", |world| !world.calls().is_empty());
    says(&mut world, 900, 4);
    world.until("the answer to that", |world| world.state() == State::Speaking);
    let taken_back = |event: &Event| matches!(event, Event::Error { code, .. } if code == "cancelled");
    assert!(world.events.iter().any(taken_back), "{:?}", world.events);
    world.until("its end", |world| world.state() == State::Listening);
    // Its result comes after all, and the model speaks of it.
    let call_id = world.calls()[0].clone();
    world.input(Input::ToolResult { call_id, output: r#"{"status":"shipped"}"#.into() });
    world.until("an answer", |world| world.state() == State::Speaking);
    assert_eq!(world.record(0).told("toolResponse"), [] as [Value; 0]);
    let told = world.record(0).told("text");
    assert!(told[0]["realtimeInput"]["text"].as_str().unwrap().contains("shipped"), "{told:?}");
    has_no_complaints(&world);
}

#[test]
fn a_key_cuts_an_answer_off_and_is_answered_at_once() {
    let answers = [Answer::chord(2, 8_000), Answer::chord(3, 800)];
    let mut world = started(answers, &[("dtmf_to_model", "true"), ("dtmf_length", "1")]);
    says(&mut world, 900, 3);
    world.until("the answer", |world| world.state() == State::Speaking);
    world.pass(Duration::from_secs(1));
    world.input(Input::Dtmf { digit: '7', duration_ms: 100 });
    world.pass(Duration::from_secs(2));
    let (_, heard) = heard_ms(&world.heard, &chord(8_000, 800, 3), 8_000).unwrap();
    assert!(heard > 750.0, "{heard}");
    let (_, cut) = heard_ms(&world.heard, &chord(8_000, 8_000, 2), 8_000).unwrap();
    assert!(cut < 1_200.0, "{cut}");
    assert_eq!(world.interruptions(), 1);
    has_no_complaints(&world);
}

#[test]
fn gemini_ends_for_good_or_is_asked_again() {
    let failed = |world: &World| {
        world.events.iter().find_map(|event| match event {
            Event::State { state: State::Failed, code, .. } => Some(code.clone()),
            _ => None,
        })
    };
    for code in [1_007, 1_008] {
        let trouble = Trouble::at(When::After(Duration::from_secs(1)), What::Close(code, "x"));
        let mut world = call(Script::gemini([Answer::default()]).with(trouble), &[]);
        world.input(Input::Start);
        world.pass(Duration::from_secs(30));
        assert_eq!((failed(&world), world.connects, world.last_events()), (Some(code.to_string()), 1, 1));
    }
    for code in [1_000, 1_011] {
        let trouble =
            Trouble::at(When::After(Duration::from_secs(1)), What::Close(code, "Internal error encountered."));
        let mut world = call(Script::gemini([Answer::default()]).with(trouble), &[]);
        world.input(Input::Start);
        world.pass(Duration::from_secs(10));
        assert_eq!((world.state(), world.connects, failed(&world)), (State::Listening, 2, None));
    }
    for given in [("gemini_api_key", "another"), ("gemini_model", "another")] {
        let mut world = call(Script::gemini([Answer::default()]), &[given]);
        world.input(Input::Start);
        world.pass(Duration::from_secs(30));
        assert_eq!((world.states().last(), world.connects), (Some(&State::Failed), 1), "{given:?}");
    }
}

#[test]
fn the_prompt_and_the_functions_change_while_gemini_talks() {
    let mut world = started([Answer::chord(2, 800)], &[]);
    let changes = [("system_prompt".to_owned(), "Speak German.".to_owned()), ("tools".to_owned(), String::new())];
    world.input(Input::Change(&changes));
    world.pass(Duration::from_secs(3));
    let updates = world.record(0).told("contextUpdate");
    assert_eq!(
        updates[0]["contextUpdate"],
        json!({"systemInstruction": {"parts": [{"text": "Speak German."}]}, "tools": {"tools": []}})
    );
    world.cut();
    world.reachable = true;
    world.until("the next session", |world| world.records.len() == 2 && world.state() == State::Listening);
    let setup = world.record(1).told("setup")[0]["setup"].clone();
    assert_eq!(setup["systemInstruction"]["parts"][0]["text"], "Speak German.");
    assert!(setup["tools"].is_null());
    let errors = world.events.iter().filter(|event| matches!(event, Event::Error { .. })).count();
    assert_eq!(errors, 0);
    has_no_complaints(&world);
}

#[test]
fn a_hundred_turns_with_gemini_keep_their_invariants() {
    for given in [&[][..], &[("turn_detection", "local")]] {
        let mut answers: Vec<_> =
            (0..12).map(|n| Answer { late: n % 5, ..Answer::chord(u64::from(n), 500 + 400 * n) }).collect();
        for at in [3, 7, 11] {
            answers[at] = Answer::call("look_up", &json!({"order": at}));
        }
        answers[5].ending = Ending::Incomplete("content_filter");
        let script = Script {
            answers: Answers::by(move |asked| answers[(asked.connection * 5 + asked.response) % answers.len()].clone()),
            ..Script::of(Dialect::Gemini)
        };
        let options: Vec<_> = given.iter().copied().chain([("vad_silence_duration_ms", "300")]).collect();
        let mut world = call(script, &options);
        world.frame = FRAME * 2;
        world.input(Input::Start);
        let (mut seed, mut losses) = (41, 0);
        let answer_calls = |world: &mut World| {
            world.answer_calls();
        };
        for turn in 0..100 {
            world.until("a session", |world| !matches!(world.state(), State::Connecting | State::Reconnecting));
            says(&mut world, 400 + chance(&mut seed, 900) as u32, turn);
            world.pass(Duration::from_millis(chance(&mut seed, 2_500)));
            match chance(&mut seed, 12) {
                0 => {
                    losses += 1;
                    world.cut_for(Duration::from_millis(100 + chance(&mut seed, 1_500)));
                }
                1 => world.order(Order::Trouble(What::GoAway(20))),
                2 => world.order(Order::Trouble(What::Close(1_011, "Internal error encountered."))),
                3 => world.input(Input::Interrupt),
                4 => world.input(Input::Say("The operator says a word.".into())),
                5 => world.input(Input::Dtmf { digit: '5', duration_ms: 100 }),
                6..=8 => {}
                _ => world.pass(Duration::from_secs(4)),
            }
            answer_calls(&mut world);
        }
        for _ in 0..5 {
            world.pass(Duration::from_secs(25));
            answer_calls(&mut world);
        }
        assert!(matches!(world.state(), State::Listening | State::Error), "{given:?}: stuck in {}", world.state());
        assert!(world.is_silent() && losses > 3);
        has_no_complaints(&world);
        let given_answers: usize = world.records.iter().map(|record| record.lock().answers.len()).sum();
        assert!(
            given_answers > 80 && world.interruptions() > 10,
            "{given:?}: {given_answers} {}",
            world.interruptions()
        );
        // What one session is told that the model said, the caller has heard or was to hear.
        let heard: Vec<_> = world.heard_of.iter().filter(|(source, _)| matches!(source, Source::Item(_))).collect();
        assert!(heard.len() > 50);
        world.input(Input::Stop { text: None, call_ended: true });
        world.pass(Duration::from_millis(500));
        assert_eq!((world.last_events(), world.conversation_deadline()), (1, None));
        assert!(
            matches!(world.log.last(), Some(Output::End(_) | Output::Event(_) | Output::Disconnect)),
            "{:?}",
            world.log.last()
        );
    }
}
