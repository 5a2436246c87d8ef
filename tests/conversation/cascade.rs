//! A cascade on virtual time: turns, interruptions, functions and losses against strict parts.

use std::time::Duration;

use mod_audio_stream::conversation::agent::{Event, State};
use mod_audio_stream::conversation::{AiOptions, AiPlan, engines};
use mod_audio_stream::options::Options as _;
use mod_audio_stream::peer::Input;
use mod_audio_stream::units::SampleRate;
use serde_json::{Value, json};

use crate::parts::{KEY, Parts, Reply};
use crate::realtime::Script;
use crate::support::signal;
use crate::world::*;

const TOOLS: &str = r#"[{"name":"look_up","description":"Looks up an order.","parameters":{"type":"object"}}]"#;

fn world(parts: &Parts, given: &[(&str, &str)]) -> World {
    let mut options = AiOptions::default();
    let rows = AiOptions::rows();
    let own = [
        ("engine", "cascade"),
        ("stt_url", "http://stt.example"),
        ("stt_model", "words"),
        ("stt_api_key", KEY),
        ("llm_url", "http://llm.example"),
        ("llm_model", "test-model"),
        ("llm_api_key", KEY),
        ("tools", TOOLS),
        ("system_prompt", "Be brief."),
    ];
    for (key, value) in own.iter().chain(given) {
        let row = rows.iter().find(|row| row.key == *key).unwrap_or_else(|| panic!("no option {key}"));
        row.set(&mut options, value).unwrap_or_else(|why| panic!("{key}: {why}"));
    }
    let plan = AiPlan::new(engines::of(&options), &options, Vec::new(), SampleRate::HZ_16000, Some("G722")).unwrap();
    assert!(plan.caller.vad.is_some() && plan.speech.is_some(), "the module hears the caller and speaks for the model");
    let mut world = World::with(plan.engine, plan.agent, Script::default());
    world.parts = Some(parts.clone());
    world.input(Input::Start);
    world
}

/// The caller speaks for so long, and the module's detection hears them.
fn says(world: &mut World, ms: u32) {
    world.mouth.extend(signal::speech(16_000, ms, 3));
    world.pass(Duration::from_millis(80));
    world.input(Input::LocalSpeech(true));
    world.pass(Duration::from_millis(u64::from(ms) + 420));
    world.input(Input::LocalSpeech(false));
}

fn last_words(messages: &[Value]) -> String {
    messages.last().and_then(|last| last["content"].as_str()).unwrap_or_default().to_owned()
}

#[test]
fn a_cascade_holds_a_whole_conversation() {
    let parts =
        Parts::new(&["Where is my order?", "Stop.", "Thank you."], |messages| match last_words(messages).as_str() {
            "Where is my order?" => Reply::call("look_up", &json!({"order": 7})),
            words if words.contains("shipped") => {
                Reply::text("It has left our house. It comes tomorrow at noon. You can follow it on its way to you.")
            }
            "Stop." => Reply::text("Very well."),
            _ => Reply::text("Good day."),
        });
    let mut world = world(&parts, &[("greeting_instructions", "Greet the caller.")]);
    world.until("the greeting", |world| world.state() == State::Speaking);
    world.until("its end", |world| world.state() == State::Listening);
    assert_eq!(
        parts.record().asked[0]["messages"],
        json!([{"role": "system", "content": "Be brief.\n\nGreet the caller."}])
    );

    says(&mut world, 1_000);
    world.until("the call", |world| !world.calls().is_empty());
    let call_id = world.calls()[0].clone();
    world.input(Input::ToolResult { call_id, output: r#"{"status":"shipped"}"#.into() });
    world.until("the answer", |world| world.state() == State::Speaking);
    // A sentence lasts a second: the caller speaks in the second one.
    world.pass(Duration::from_millis(1_300));
    says(&mut world, 700);
    world.until("the second answer", |world| world.spoken.iter().any(|(_, text)| text == "Very well."));
    world.until("its end", |world| world.state() == State::Listening);
    let interrupted = world.events.iter().filter(|event| matches!(event, Event::BargeIn { .. })).count();
    assert_eq!(interrupted, 1);

    let record = parts.record();
    assert_eq!(record.complaints, [""; 0]);
    let last = record.asked.last().unwrap()["messages"].as_array().unwrap().clone();
    let heard = last[last.len() - 2]["content"].as_str().unwrap();
    assert!(heard.starts_with("It has left our house.") && !heard.contains("follow"), "{heard}");
    assert_eq!(last_words(&last), "Stop.");
    // Each turn is the caller's voice, from before its first sound.
    assert_eq!(record.turns.len(), 2);
    let voice = signal::speech(16_000, 1_000, 3);
    let (at, alike) = crate::support::audio::find(&record.turns[0], &voice[..14_000]);
    assert!(alike > 0.999 && at > 8_000, "{at} {alike}");
    let usage = world.conversation.policy().stats();
    assert!(usage.barge_in_count == 1 && world.faults.is_empty());
}

#[test]
fn a_part_that_fails_costs_one_turn_and_no_more() {
    let parts = Parts::new(&["Hello."], |messages| match messages.len() {
        2 => Reply { refusal: 503, ..Reply::default() },
        _ => Reply::text("Good day."),
    });
    let mut world = world(&parts, &[]);
    world.pass(Duration::from_millis(500));
    says(&mut world, 800);
    world.pass(Duration::from_secs(8));
    assert_eq!(parts.record().asked.len(), 2, "it is asked once more");
    let errors = |world: &World| world.events.iter().filter(|event| matches!(event, Event::Error { .. })).count();
    assert_eq!(errors(&world), 2);

    // The recognition cannot be reached: the turn is lost, and the next one is understood.
    world.parts_reachable = false;
    says(&mut world, 800);
    world.pass(Duration::from_secs(3));
    world.parts_reachable = true;
    let failed = world.events.iter().filter(|event| matches!(event, Event::TranscriptFailed { .. })).count();
    assert_eq!((failed, parts.record().turns.len()), (1, 1));
    says(&mut world, 800);
    world.pass(Duration::from_secs(5));
    let record = parts.record();
    assert_eq!((record.turns.len(), record.complaints.len()), (2, 0));
}

#[test]
fn a_cascade_with_a_wrong_key_ends_at_once() {
    let parts = Parts::new(&["Hello."], |_| Reply::text("Good day."));
    for key in ["stt_api_key", "llm_api_key"] {
        let mut world = world(&parts, &[(key, "another")]);
        world.pass(Duration::from_millis(500));
        says(&mut world, 800);
        world.pass(Duration::from_secs(5));
        let failed = |event: &Event| match event {
            Event::State { state: State::Failed, message, .. } => Some(message.clone()),
            _ => None,
        };
        let message = world.events.iter().find_map(failed).unwrap();
        assert!(message.contains(&format!("Incorrect API key provided.; check {key}")), "{message}");
        assert_eq!(world.last_events(), 1);
    }
}

#[test]
fn a_hundred_turns_of_a_cascade_keep_their_invariants() {
    let parts = Parts::new(&["Tell me more."], |messages| match messages.len() % 7 {
        3 if !last_words(messages).contains("done") => Reply::call("look_up", &json!({"n": messages.len()})),
        5 => Reply { breaks_after: Some(3), ..Reply::text("This one breaks in the middle of it.") },
        n => Reply::text(&"There is more to say about it. ".repeat(n + 1)),
    });
    let mut world = world(&parts, &[]);
    world.frame = FRAME * 2;
    let (mut seed, mut losses) = (23, 0);
    for _ in 0..100 {
        world.until("a pause", |world| !matches!(world.state(), State::Connecting | State::Reconnecting));
        says(&mut world, 400 + chance(&mut seed, 800) as u32);
        world.pass(Duration::from_millis(chance(&mut seed, 2_500)));
        match chance(&mut seed, 10) {
            0 => {
                losses += 1;
                world.parts_reachable = false;
                world.pass(Duration::from_millis(100 + chance(&mut seed, 1_500)));
                world.parts_reachable = true;
            }
            1 => world.input(Input::Interrupt),
            2 => world.input(Input::Say("The operator says a word.".into())),
            3..=5 => {}
            _ => world.pass(Duration::from_secs(4)),
        }
        world.answer_calls();
    }
    for _ in 0..3 {
        world.pass(Duration::from_secs(25));
        world.answer_calls();
    }
    assert!(matches!(world.state(), State::Listening | State::Error), "stuck in {}", world.state());
    assert!(world.is_silent() && world.late_played == 0 && losses > 3);
    assert!(world.faults.is_empty(), "{:?}", world.faults);
    let record = parts.record();
    assert_eq!(record.complaints, [""; 0]);
    let interrupted = world.conversation.policy().stats().barge_in_count;
    assert!(record.turns.len() > 80 && record.asked.len() > 80 && interrupted > 10, "{interrupted}");
    // What the model is told that it said, the caller has heard: no sentence more than was spoken.
    let spoken: Vec<_> = world.spoken.iter().map(|(_, text)| text.as_str()).collect();
    let said = record.asked.last().unwrap()["messages"].as_array().unwrap().clone();
    for message in said.iter().filter(|message| message["role"] == "assistant" && message["content"].is_string()) {
        for sentence in message["content"].as_str().unwrap().split_inclusive(". ").map(str::trim) {
            let known = spoken.iter().any(|text| text.starts_with(sentence.trim_end_matches('.')));
            assert!(known || sentence.contains('\n'), "{sentence}");
        }
    }
    drop(record);
    world.input(Input::Stop { text: None, call_ended: true });
    world.pass(Duration::from_millis(500));
    assert_eq!((world.last_events(), world.conversation_deadline()), (1, None));
}
