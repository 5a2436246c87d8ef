//! A cascade whose recogniser hears the caller all the time, on virtual time: turns by either side, early answers, lost connections.
//! The recogniser understands what is in the audio, so each word that the model is told was heard once and in its order.

use std::time::Duration;

use mod_audio_stream::conversation::agent::{Event, State};
use mod_audio_stream::conversation::{AiOptions, AiPlan, engines};
use mod_audio_stream::options::Options as _;
use mod_audio_stream::peer::Input;
use mod_audio_stream::units::SampleRate;
use serde_json::{Value, json};

use crate::parts::recogniser::{Recogniser, WORDS, spoken};
use crate::parts::{KEY, Parts, Reply};
use crate::realtime::Script;
use crate::support::signal::Random;
use crate::world::*;

const TOOLS: &str = r#"[{"name":"look_up","description":"Looks up an order.","parameters":{"type":"object"}}]"#;
const LOCAL: (&str, &str) = ("turn_detection", "local");
const EARLY: (&str, &str) = ("early_answer", "on");

fn world(parts: &Parts, recogniser: &Recogniser, given: &[(&str, &str)]) -> World {
    let mut options = AiOptions::default();
    let rows = AiOptions::rows();
    let own = [
        ("engine", "cascade"),
        ("stt_provider", "deepgram"),
        ("stt_model", "nova-3"),
        ("stt_api_key", KEY),
        ("llm_url", "http://llm.example"),
        ("llm_model", "test-model"),
        ("llm_api_key", KEY),
        ("tools", TOOLS),
        ("system_prompt", "Be brief."),
        ("ai_reconnect_max", "20"),
    ];
    for (key, value) in own.iter().chain(given) {
        let row = rows.iter().find(|row| row.key == *key).unwrap_or_else(|| panic!("no option {key}"));
        row.set(&mut options, value).unwrap_or_else(|why| panic!("{key}: {why}"));
    }
    let plan = AiPlan::new(engines::of(&options), &options, Vec::new(), SampleRate::HZ_16000, Some("G722")).unwrap();
    assert_eq!(plan.caller.vad.is_some(), given.contains(&LOCAL), "the module listens where it finds the turns");
    let mut world = World::with(plan.engine, plan.agent, Script::default());
    (world.parts, world.recogniser) = (Some(parts.clone()), Some(recogniser.clone()));
    world.input(Input::Start);
    world.until("the recogniser", |world| world.state() == State::Listening);
    world
}

/// The caller says these words; where the module finds the turns, it hears them.
fn says(world: &mut World, words: &[&str], local: bool) {
    let speech = spoken(16_000, words);
    let ms = Duration::from_millis(speech.len() as u64 / 16);
    world.mouth.extend(speech);
    if local {
        world.pass(Duration::from_millis(80));
        world.input(Input::LocalSpeech(true));
        world.pass(ms + Duration::from_millis(420));
        world.input(Input::LocalSpeech(false));
    } else {
        world.pass(ms);
    }
}

fn last_words(messages: &[Value]) -> &str {
    messages.last().and_then(|last| last["content"].as_str()).and_then(|text| text.lines().last()).unwrap_or_default()
}

/// What the model was told last.
fn told(parts: &Parts) -> Vec<Value> {
    parts.record().asked.last().map(|asked| asked["messages"].as_array().unwrap().clone()).unwrap_or_default()
}

/// Every word of the caller that the model was told last.
fn callers_words(parts: &Parts) -> Vec<String> {
    let told = told(parts);
    let words =
        told.iter().filter(|message| message["role"] == "user").filter_map(|message| message["content"].as_str());
    words.flat_map(str::split_whitespace).map(str::to_owned).collect()
}

/// A model that repeats what it has understood.
fn repeats() -> Parts {
    Parts::new(&[], |messages| match last_words(messages) {
        words if words.contains("status") => Reply::text("It has left. It comes tomorrow."),
        words if words.ends_with("echo") => Reply::call("look_up", &json!({"order": 7})),
        words => Reply::text(&format!("Heard {words}. There is more to say about it. It is a long story.")),
    })
}

#[test]
fn a_recogniser_hears_a_whole_conversation() {
    for turns in [LOCAL, ("turn_detection", "server_vad")] {
        let (parts, recogniser) = (repeats(), Recogniser::default());
        let mut world = world(&parts, &recogniser, &[turns]);
        let local = turns == LOCAL;
        says(&mut world, &["alpha", "bravo", "echo"], local);
        world.until("the call", |world| !world.calls().is_empty());
        let call_id = world.calls()[0].clone();
        world.input(Input::ToolResult { call_id, output: r#"{"status":"shipped"}"#.into() });
        world.until("the answer", |world| world.state() == State::Speaking);
        world.until("its end", |world| world.state() == State::Listening);

        says(&mut world, &["golf", "hotel"], local);
        world.until("the second answer", |world| world.state() == State::Speaking);
        // A sentence lasts a second: the caller speaks in the second one.
        world.pass(Duration::from_millis(1_300));
        says(&mut world, &["india", "kilo"], local);
        world.until("the third answer", |world| world.spoken.iter().any(|(_, text)| text == "Heard india kilo."));
        world.until("its end", |world| world.state() == State::Listening);
        let interrupted = world.events.iter().filter(|event| matches!(event, Event::BargeIn { .. })).count();
        assert_eq!(interrupted, 1, "{turns:?}");
        assert_eq!(callers_words(&parts), ["alpha", "bravo", "echo", "golf", "hotel", "india", "kilo"]);
        let told = told(&parts);
        let heard = told[told.len() - 2]["content"].as_str().unwrap();
        assert!(heard.starts_with("Heard golf hotel.") && !heard.contains("long story"), "{heard}");

        // On hold nothing is captured, and the connection stays.
        world.skips_silence = true;
        world.pass(Duration::from_secs(25));
        world.skips_silence = false;
        let usage = world.conversation.policy().stats().usage;
        assert!(usage.output_tokens > 0 && usage.transcription_ms > 5_000, "{usage:?}");
        let record = recogniser.record();
        assert_eq!(record.complaints, [""; 0]);
        assert!(record.kept_alive >= 4 && record.connections.len() == 1);
        assert_eq!(record.finished, if local { 3 } else { 0 });
        assert_eq!((parts.record().complaints.len(), world.faults.len()), (0, 0));
    }
}

#[test]
fn an_early_answer_is_heard_or_leaves_no_trace() {
    let (parts, recogniser) = (repeats(), Recogniser::default());
    let mut world = world(&parts, &recogniser, &[EARLY, ("vad_silence_duration_ms", "900")]);
    says(&mut world, &["alpha", "bravo"], false);
    // They pause for long enough to be answered early, and go on.
    world.until("an early answer", |_| parts.record().asked.len() == 1);
    world.pass(Duration::from_millis(200));
    says(&mut world, &["charlie", "delta"], false);
    world.until("the answer", |world| world.state() == State::Speaking);
    // The model was asked before the turn was over, and not again.
    assert_eq!(parts.record().asked.len(), 2);
    assert_eq!(last_words(&told(&parts)), "alpha bravo charlie delta");
    assert_eq!(world.spoken[0].1, "Heard alpha bravo charlie delta.");
    let responses = |world: &World| world.events.iter().filter(|event| matches!(event, Event::Response { .. })).count();
    world.until("its end", |world| world.state() == State::Listening);
    assert_eq!(responses(&world), 1);
    // Both have cost what the model says.
    assert_eq!(world.conversation.policy().stats().usage.output_tokens, 10);

    says(&mut world, &["lima"], false);
    world.until("the next answer", |world| world.state() == State::Speaking);
    let told = told(&parts);
    assert_eq!(told.len(), 4, "{told:?}");
    assert!(!told.iter().any(|message| message["content"].as_str().is_some_and(|text| text.contains("bravo. There"))));
    assert_eq!((recogniser.record().complaints.len(), parts.record().complaints.len()), (0, 0));
    // The answer was there when the turn was over.
    let turn = world.events.iter().find_map(|event| match event {
        Event::Turn(report) => report.figures.model,
        _ => None,
    });
    assert!(turn.is_some_and(|model| model <= FRAME), "{turn:?}");
}

#[test]
fn a_lost_recogniser_costs_neither_words_nor_the_answer() {
    for turns in [LOCAL, ("turn_detection", "server_vad")] {
        let (parts, recogniser) = (repeats(), Recogniser::default());
        let mut world = world(&parts, &recogniser, &[turns, EARLY]);
        let local = turns == LOCAL;
        // In the middle of the turn, until after its end.
        let speech = ["alpha", "bravo", "charlie", "delta", "foxtrot", "golf"];
        world.mouth.extend(spoken(16_000, &speech));
        world.pass(Duration::from_millis(100));
        if local {
            world.input(Input::LocalSpeech(true));
        }
        world.pass(Duration::from_millis(700));
        world.cut();
        assert_eq!(world.state(), State::Listening, "the conversation goes on");
        world.pass(Duration::from_millis(1_200));
        if local {
            world.input(Input::LocalSpeech(false));
        }
        world.pass(Duration::from_millis(500));
        world.reachable = true;
        world.until("the answer", |world| world.state() == State::Speaking);
        assert_eq!(callers_words(&parts), speech, "{turns:?}");
        // What the agent says is heard to its end without the recogniser.
        world.cut();
        world.reachable = true;
        world.until("its end", |world| world.state() == State::Listening);
        let heard: Duration =
            world.heard_of.iter().map(|(_, samples)| Duration::from_micros(*samples as u64 * 125)).sum();
        assert_eq!(heard, Duration::from_secs(3), "three sentences");
        let error =
            |event: &&Event| matches!(event, Event::Error { message, .. } if message.contains("is made again in"));
        assert_eq!(world.events.iter().filter(error).count(), world.connects as usize - 1);
        assert!(!world.states().contains(&State::Reconnecting));
        world.pass(Duration::from_secs(3));
        says(&mut world, &["kilo"], local);
        world.until("the next answer", |world| world.state() == State::Speaking);
        assert_eq!(callers_words(&parts).last().map(String::as_str), Some("kilo"));
        assert_eq!((recogniser.record().complaints.len(), parts.record().complaints.len()), (0, 0));
    }
}

#[test]
fn a_recogniser_that_stays_away_ends_the_conversation() {
    let (parts, recogniser) = (repeats(), Recogniser::default());
    let mut world = world(&parts, &recogniser, &[("ai_reconnect_max", "3")]);
    world.cut();
    world.until("the end", |world| world.conversation.policy().is_over());
    assert_eq!((world.state(), world.last_events(), world.connects), (State::Failed, 1, 4));
    assert_eq!(world.conversation_deadline(), None);
}

#[test]
fn a_hundred_turns_with_a_recogniser_lose_no_word() {
    for (turns, seed) in [(LOCAL, 5), (("turn_detection", "server_vad"), 6)] {
        let parts = Parts::new(&[], |messages| match messages.len() % 9 {
            3 if last_words(messages).contains("done") => Reply::text("Done it. There is no more."),
            3 => Reply::call("look_up", &json!({"n": messages.len()})),
            7 => Reply { breaks_after: Some(3), ..Reply::text("Heard this one breaks in the middle.") },
            n => {
                Reply::text(&format!("Heard {}. {}", last_words(messages), "There is more to say about it. ".repeat(n)))
            }
        });
        let recogniser = Recogniser::default();
        let mut world = world(&parts, &recogniser, &[turns, EARLY]);
        let (local, mut random, mut losses) = (turns == LOCAL, Random::new(seed), 0);
        let mut said = Vec::new();
        for _ in 0..100 {
            let words: Vec<&str> = (0..=random.below(4)).map(|_| WORDS[random.below(12) as usize]).collect();
            // The same word twice in a row is one tone with a pause in it, which is two words, too.
            said.extend(words.iter().copied());
            if random.below(8) == 0 {
                losses += 1;
                world.cut();
            }
            says(&mut world, &words, local);
            world.pass(Duration::from_millis(u64::from(random.below(1_500))));
            world.reachable = true;
            match random.below(10) {
                0 => world.input(Input::Interrupt),
                1 => {
                    losses += 1;
                    world.cut_for(Duration::from_millis(u64::from(random.below(2_000))));
                }
                2 => {
                    world.parts_reachable = false;
                    world.pass(Duration::from_millis(500));
                    world.parts_reachable = true;
                }
                3..=5 => {}
                _ => world.pass(Duration::from_secs(4)),
            }
            world.answer_calls();
        }
        for _ in 0..3 {
            world.pass(Duration::from_secs(25));
            world.answer_calls();
        }
        says(&mut world, &["lima"], local);
        said.push("lima");
        world.pass(Duration::from_secs(20));
        world.answer_calls();
        world.pass(Duration::from_secs(20));
        assert!(matches!(world.state(), State::Listening | State::Error), "stuck in {}", world.state());
        assert!(world.is_silent() && world.late_played == 0 && losses > 5);
        assert!(world.faults.is_empty(), "{:?}", world.faults);
        assert_eq!((&recogniser.record().complaints, &parts.record().complaints), (&Vec::new(), &Vec::new()));
        assert_eq!(callers_words(&parts), said, "{turns:?}");
        assert!(world.conversation.policy().stats().barge_in_count > 5);
        // Each answer in the history is to the words before it, and was spoken.
        let told = told(&parts);
        for pair in told.windows(2).filter(|pair| pair[0]["role"] == "user" && pair[1]["role"] == "assistant") {
            let (Some(user), Some(answer)) = (pair[0]["content"].as_str(), pair[1]["content"].as_str()) else {
                continue;
            };
            let expected = format!("Heard {}.", user.lines().last().unwrap());
            let first = answer.split_inclusive('.').next().unwrap_or_default();
            let fits = first == expected
                || expected.starts_with(first)
                || first.contains("this one")
                || first.contains("Done");
            assert!(fits || answer.contains('\n'), "{answer} is no answer to {user}");
        }
        world.input(Input::Stop { text: None, call_ended: true });
        world.pass(Duration::from_millis(500));
        assert_eq!((world.last_events(), world.conversation_deadline()), (1, None));
    }
}

#[test]
fn a_recogniser_with_a_wrong_key_ends_it_at_once() {
    let (parts, recogniser) = (repeats(), Recogniser::default());
    let mut options = AiOptions::default();
    let rows = AiOptions::rows();
    for (key, value) in [
        ("engine", "cascade"),
        ("stt_provider", "deepgram"),
        ("stt_model", "nova-3"),
        ("stt_api_key", "another"),
        ("llm_url", "http://llm.example"),
        ("llm_model", "test-model"),
    ] {
        rows.iter().find(|row| row.key == key).unwrap().set(&mut options, value).unwrap();
    }
    let plan = AiPlan::new(engines::of(&options), &options, Vec::new(), SampleRate::HZ_16000, None).unwrap();
    let mut world = World::with(plan.engine, plan.agent, Script::default());
    (world.parts, world.recogniser) = (Some(parts), Some(recogniser));
    world.input(Input::Start);
    world.pass(Duration::from_secs(2));
    let failed = |event: &Event| match event {
        Event::State { state: State::Failed, message, .. } => Some(message.clone()),
        _ => None,
    };
    let message = world.events.iter().find_map(failed).unwrap();
    assert!(message.contains("check stt_api_key"), "{message}");
    assert_eq!((world.last_events(), world.connects), (1, 1));
}
