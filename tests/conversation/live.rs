//! GPT-Live on virtual time: a stream that never pauses, interruptions that nobody announces, tasks, texts and losses, against a service that
//! takes only what the vendor's types take.

use std::time::Duration;

use mod_audio_stream::conversation::agent::{Event, Speaker, State};
use mod_audio_stream::conversation::{AiOptions, AiPlan, engines};
use mod_audio_stream::options::Options as _;
use mod_audio_stream::peer::{Input, Output, Tell};
use mod_audio_stream::units::SampleRate;
use serde_json::{Value, json};

use crate::live_service::{KEY, Model, check};
use crate::realtime::*;
use crate::support::{audio, signal};
use crate::world::*;

const TOOLS: &str = r#"[{"name":"look_up","description":"Looks up an order.","parameters":{"type":"object"}}]"#;
const BACKEND: [(&str, &str); 2] = [("openai_backend_model", "backend"), ("tools", TOOLS)];

fn options(given: &[(&str, &str)]) -> AiOptions {
    let mut options = AiOptions::default();
    let rows = AiOptions::rows();
    let own = [
        ("engine", "openai_live"),
        ("openai_api_key", KEY),
        ("openai_base_url", "http://live.example"),
        ("openai_model", "gpt-live-1"),
    ];
    for (key, value) in own.iter().chain(given) {
        let row = rows.iter().find(|row| row.key == *key).unwrap_or_else(|| panic!("no option {key}"));
        row.set(&mut options, value).unwrap_or_else(|why| panic!("{key}: {why}"));
    }
    options
}

fn world_at(rate: SampleRate, codec: &str, model: Model, given: &[(&str, &str)]) -> World {
    let options = options(given);
    let plan = AiPlan::new(engines::of(&options), &options, Vec::new(), rate, Some(codec)).unwrap();
    assert!(plan.caller.vad.is_none() && plan.speech.is_none(), "the service hears the caller and speaks");
    let mut world = World::with(plan.engine, plan.agent, Script::default());
    world.service = Some(std::sync::Arc::new(model));
    world.input(Input::Start);
    world
}

fn world(model: Model, given: &[(&str, &str)]) -> World {
    world_at(SampleRate::HZ_8000, "PCMU", model, given)
}

fn says(world: &mut World, ms: u32, seed: u64) {
    world.mouth.extend(signal::speech(8_000, ms, seed));
    world.pass(Duration::from_millis(u64::from(ms)));
}

fn calls(world: &World) -> Vec<(String, String)> {
    let call = |event: &Event| match event {
        Event::Action { call_id, arguments, .. } => Some((call_id.clone(), arguments.clone())),
        _ => None,
    };
    world.events.iter().filter_map(call).collect()
}

/// What the service of a connection was told of one type.
fn told(world: &World, connection: usize, kind: &str) -> Vec<String> {
    let text = |event: Value| event["content"].as_str().unwrap_or_default().to_owned();
    world.record(connection).told(kind).into_iter().map(text).collect()
}

/// The whole words of one side, in order.
fn words(world: &World, of: Speaker) -> Vec<String> {
    let whole = |event: &Event| match event {
        Event::Transcript { speaker, text, whole: true, .. } if *speaker == of => Some(text.trim().to_owned()),
        _ => None,
    };
    world.events.iter().filter_map(whole).collect()
}

#[test]
fn gpt_live_holds_a_whole_conversation() {
    let story = "It is a long story, and it has a second part, which nobody has ever heard to its end.";
    let answers = vec![
        Answer { text: "Hello, what can I do for you?".into(), ..Answer::chord(70, 1_000) },
        Answer { text: story.into(), ..Answer::chord(71, 8_000) },
        Answer::call("look_up", &json!({"order": 7})),
        Answer { text: "It has left.".into(), ..Answer::chord(72, 900) },
        Answer { text: "Good-bye.".into(), ..Answer::chord(73, 700) },
    ];
    let said = vec!["Tell me a story.", "Where is my order?", "Thank you."];
    let given = [&BACKEND[..], &[("greeting", "Hello, what can I do for you?")]].concat();
    let mut world = world(Model { words: said, ..Model::answering(answers) }, &given);
    world.until("the greeting", |world| world.state() == State::Speaking);
    world.until("its end", |world| world.state() == State::Listening);
    assert!(told(&world, 0, "session.commentary.append")[0].ends_with("Hello, what can I do for you?"));

    says(&mut world, 900, 3);
    world.until("the story", |world| world.state() == State::Speaking);
    world.pass(Duration::from_millis(2_000));
    says(&mut world, 900, 4);
    world.until("the call", |world| !calls(world).is_empty());
    assert_eq!((world.interruptions(), calls(&world)[0].1.as_str()), (1, r#"{"order":7}"#));
    let call_id = calls(&world)[0].0.clone();
    world.input(Input::ToolResult { call_id, output: r#"{"status":"shipped"}"#.into() });
    world.until("the answer", |world| world.state() == State::Speaking);
    world.until("its end", |world| world.state() == State::Listening);
    assert_eq!(world.record(0).told("response.item.create")[0]["item"]["output"], r#"{"status":"shipped"}"#);
    assert_eq!(world.record(0).told("response.create").len(), 1);

    // A new session begins with what was said and heard.
    world.cut_for(Duration::from_millis(700));
    world.until("the next session", |world| world.state() == State::Listening);
    world.pass(Duration::from_millis(1_500));
    let session = world.record(1).told("session.start")[0]["session"]["input"].to_string();
    for part in ["what can I do", "Tell me a story.", "Where is my order?", "shipped", "It has left."] {
        assert!(session.contains(part), "{part}: {session}");
    }
    assert!(!session.contains("ever heard"), "nobody has: {session}");
    says(&mut world, 900, 5);
    world.until("the last answer", |world| world.state() == State::Speaking);
    world.until("its end", |world| world.state() == State::Listening);
    world.input(Input::Stop { text: None, call_ended: true });
    world.pass(Duration::from_millis(200));

    // What is heard is what was said, and of the story what the model said before it fell silent.
    for (seed, ms) in [(70, 1_000), (72, 900), (73, 700)] {
        let (_, length) = heard_ms(&world.heard, &chord(8_000, ms, seed), 8_000).unwrap();
        assert!((f64::from(ms) - 25.0..=f64::from(ms) + 25.0).contains(&length), "{seed}: {length}");
    }
    let (_, length) = heard_ms(&world.heard, &chord(8_000, 8_000, 71), 8_000).unwrap();
    assert!((2_000.0..4_000.0).contains(&length), "{length}");
    assert_eq!(words(&world, Speaker::Caller), ["Tell me a story.", "Where is my order?", "Thank you."]);
    let agent = words(&world, Speaker::Agent);
    assert!(story.starts_with(&agent[1]) && agent[1].len() < story.len() / 2, "{agent:?}");
    assert_eq!(agent[2..], ["It has left.", "Good-bye."]);
    // Nothing is flushed but what the interruption found silent already.
    let flushes = world.log.iter().filter(|output| matches!(output, Output::Flush { .. })).count();
    assert_eq!((flushes, world.is_silent()), (1, true));
    let usage = world.conversation.policy().stats().usage;
    assert_eq!((usage.input_tokens, usage.output_tokens), (200, 40));
    assert!(usage.session_ms >= 5_000, "{usage:?}");
    assert_eq!((world.complaints(), world.faults.clone(), world.errors()), (vec![], vec![], vec![]));
    assert_eq!((world.record(1).told("session.close").len(), world.last_events()), (1, 1));
}

#[test]
fn a_remark_leaves_the_model_talking() {
    let mut world = world(Model::answering([Answer::chord(74, 5_000)]), &[]);
    world.until("the session", |world| world.state() == State::Listening);
    says(&mut world, 900, 3);
    world.until("the answer", |world| world.state() == State::Speaking);
    world.pass(Duration::from_millis(1_500));
    world.mouth.extend(signal::tone(8_000, 300.0, 120, 6_000.0));
    world.until("its end", |world| world.state() == State::Listening);
    let (_, length) = heard_ms(&world.heard, &chord(8_000, 5_000, 74), 8_000).unwrap();
    assert!((4_975.0..=5_025.0).contains(&length), "{length}");
    assert_eq!((world.interruptions(), words(&world, Speaker::Caller).len()), (0, 2));
    // Nobody waits for an answer to it.
    world.pass(Duration::from_secs(40));
    assert_eq!((world.state(), world.errors()), (State::Listening, vec![]));
}

#[test]
fn the_silence_of_the_model_is_not_played() {
    let mut world = world(Model::answering([Answer::chord(75, 600)]), &[("idle_timeout_ms", "5000")]);
    world.pass(Duration::from_secs(20));
    let idle = world.events.iter().filter(|event| matches!(event, Event::Idle { .. })).count();
    assert!((3..=4).contains(&idle) && world.heard_of.is_empty(), "{idle}");
    assert!(world.record(0).samples > 8_000 * 18, "the caller is heard all the time");
    says(&mut world, 900, 3);
    world.until("the answer", |world| world.state() == State::Speaking);
    world.until("its end", |world| world.state() == State::Listening);
    let played: usize = world.heard_of.iter().map(|(_, samples)| samples / 8).sum();
    // A little silence before and behind it.
    assert!((600..=920).contains(&played), "{played} ms");
}

#[test]
fn gpt_live_hears_the_caller_in_every_coding() {
    for (rate, codec, audio_option, coding) in [
        (SampleRate::HZ_8000, "PCMU", "auto", Coding::Pcmu),
        (SampleRate::HZ_8000, "PCMA", "auto", Coding::Pcma),
        (SampleRate::HZ_16000, "G722", "auto", Coding::Pcm16k),
        (SampleRate::HZ_48000, "opus", "auto", Coding::Pcm24k),
        (SampleRate::HZ_8000, "PCMU", "pcm", Coding::Pcm24k),
    ] {
        let model = Model::answering([Answer::chord(76, 1_500)]);
        let mut world = world_at(rate, codec, model, &[("ai_audio", audio_option)]);
        world.until("the session", |world| world.state() == State::Listening);
        let spoken = chord(coding.rate(), 1_200, 77);
        world.mouth.extend(&spoken);
        world.pass(Duration::from_millis(1_200));
        world.until("the answer", |world| world.state() == State::Speaking);
        world.until("its end", |world| world.state() == State::Listening);
        let heard = world.record(0).audio.clone();
        let (_, alike) = audio::find(&heard, &spoken[..coding.rate() as usize]);
        assert!(alike > 0.97, "{coding:?}: {alike}");
        let (_, length) = heard_ms(&world.heard, &chord(8_000, 1_500, 76), 8_000).unwrap();
        assert!((1_470.0..=1_530.0).contains(&length), "{coding:?}: {length}");
        assert_eq!(world.complaints(), [""; 0], "{coding:?}");
    }
}

#[test]
fn a_caller_who_speaks_during_a_loss_is_answered_in_step() {
    let model = Model::answering([Answer::chord(78, 600)]);
    let mut world = world(model, &[("ai_ring_buffer_ms", "10000"), ("ai_reconnect_max", "50")]);
    world.until("the session", |world| world.state() == State::Listening);
    world.cut();
    world.pass(Duration::from_millis(200));
    // Silence, words, silence: four seconds that go at once with the next session.
    world.pass(Duration::from_millis(1_500));
    says(&mut world, 1_000, 3);
    world.pass(Duration::from_millis(1_500));
    world.reachable = true;
    world.until("the next session", |world| world.records.len() == 2 && world.state() == State::Listening);
    world.until("the answer", |world| world.state() == State::Speaking);
    world.until("its end", |world| world.state() == State::Listening);
    world.pass(Duration::from_secs(5));
    // The service has heard the words, and what it has heard lasts as long as the session.
    let spoken = signal::speech(8_000, 1_000, 3);
    let heard = world.record(1).audio.clone();
    assert!(audio::find(&heard, &spoken[1_600..6_400]).1 > 0.97);
    let lasted = world.now.saturating_duration_since(world.record(1).told.first().unwrap().0).as_millis() as usize;
    assert!(heard.len() / 8 <= lasted + 400, "{} ms in {lasted} ms", heard.len() / 8);
    assert_eq!((world.complaints(), world.errors()), (vec![], vec![]));
}

#[test]
fn a_task_goes_to_a_server_of_the_operators() {
    let answers = [Answer::call("any", &json!({})), Answer { text: "It has left.".into(), ..Answer::chord(79, 900) }];
    let said = vec!["Where is my order?"];
    let mut world = world(
        Model { words: said, ..Model::answering(answers) },
        &[("tools", r#"[{"name":"delegate","description":"Takes a task."}]"#)],
    );
    world.until("the session", |world| world.state() == State::Listening);
    says(&mut world, 900, 3);
    world.until("the task", |world| !calls(world).is_empty());
    let (call_id, arguments) = calls(&world)[0].clone();
    assert_eq!(arguments, r#"{"conversation":[{"role":"user","text":"Where is my order?"}]}"#);
    world.input(Input::ToolResult { call_id: call_id.clone(), output: "It left on Monday.".into() });
    world.until("the answer", |world| world.state() == State::Speaking);
    world.until("its end", |world| world.state() == State::Listening);
    let commentary = world.record(0).told("session.commentary.append");
    assert_eq!((commentary.len(), &commentary[0]["delegation_id"]), (1, &json!(call_id)));
    assert_eq!((world.complaints(), world.errors()), (vec![], vec![]));
}

#[test]
fn texts_keys_and_clear_reach_gpt_live() {
    let answers = [80, 81, 82].map(|seed| Answer { text: "So be it.".into(), ..Answer::chord(seed, 4_000) });
    let mut world = world(Model::answering(answers), &[("dtmf_to_model", "true"), ("dtmf_length", "2")]);
    world.until("the session", |world| world.state() == State::Listening);
    let tell = |speaker, text, respond| Input::Tell(Tell { speaker, text, respond });
    world.input(tell(Speaker::Caller, "My order is 4711.", false));
    world.input(tell(Speaker::System, "The caller is a good customer.", false));
    world.pass(Duration::from_secs(2));
    assert_eq!(world.state(), State::Listening, "nobody has asked for an answer");
    for digit in ['4', '2'] {
        world.input(Input::Dtmf { digit, duration_ms: 100 });
    }
    world.until("the answer", |world| world.state() == State::Speaking);
    world.pass(Duration::from_millis(1_000));
    // What the operator clears is heard no more, though the model talks on.
    world.input(Input::Interrupt);
    let from = world.heard.len() + 160;
    world.pass(Duration::from_secs(4));
    assert!(audio::rms(&world.heard[from..]) < 1.0, "the rest of the answer is heard");
    assert_eq!(world.state(), State::Listening);
    world.input(Input::Say("The office closes soon.".into()));
    world.until("the words", |world| world.state() == State::Speaking);
    world.until("their end", |world| world.state() == State::Listening);
    let spoken = told(&world, 0, "session.commentary.append");
    assert!(spoken[0].contains("42") && spoken[1].ends_with("The office closes soon."), "{spoken:?}");
    let known = told(&world, 0, "session.thinking.append");
    assert_eq!(known[0], "The caller has written: My order is 4711.");
    assert!(known[1].starts_with("The caller does not hear"), "{known:?}");
    assert_eq!(told(&world, 0, "session.instructions.append"), ["The caller is a good customer."]);
    let (_, length) = heard_ms(&world.heard, &chord(8_000, 4_000, 81), 8_000).unwrap();
    assert!((3_975.0..=4_025.0).contains(&length), "{length}");
    assert_eq!((world.complaints(), world.errors()), (vec![], vec![]));
}

#[test]
fn gpt_live_ends_for_good_or_is_asked_again() {
    let mut refused = world(Model::answering([Answer::default()]), &[("openai_api_key", "sk-wrong")]);
    refused.pass(Duration::from_secs(3));
    assert_eq!((refused.state(), refused.last_events()), (State::Failed, 1));
    let failed = |event: &Event| matches!(event, Event::State { state: State::Failed, message, .. } if message.contains("openai_api_key"));
    assert!(refused.events.iter().any(failed), "{:?}", refused.events.last());

    // The session has lasted as long as it may, or is lost, or the service has trouble: another one goes on.
    for what in [What::GoAway(0), What::Close(1_011, ""), What::Error("server_error", "session_expired")] {
        let mut world = world(Model::answering([Answer::chord(83, 600)]), &[]);
        world.until("the session", |world| world.state() == State::Listening);
        world.order(Order::Trouble(what.clone()));
        world.until("the next", |world| world.records.len() == 2 && world.state() == State::Listening);
        assert_eq!(world.complaints(), [""; 0], "{what:?}");
    }
    // One that ends soon is replaced in a pause, and closed as the service wants it.
    let short = Model { lasts: Duration::from_secs(330), ..Model::answering([Answer::chord(84, 600)]) };
    let mut world = world(short, &[]);
    world.pass(Duration::from_secs(40));
    assert_eq!((world.records.len(), world.record(0).told("session.close").len()), (2, 1));
    assert_eq!((world.state(), world.complaints()), (State::Listening, vec![]));
    world.order(Order::Event(json!({"type": "session.closed", "reason": "content", "usage": {"seconds": 1}})));
    world.pass(Duration::from_secs(1));
    assert_eq!((world.state(), world.last_events()), (State::Failed, 1));
}

#[test]
fn whatever_is_not_refused_is_taken_by_gpt_live() {
    let mut taken = 0;
    for given in [
        &[("system_prompt", "Be brief."), ("voice", "cedar")][..],
        &[("voice", "voice_123"), ("openai_safety_identifier", "7")],
        &[("openai_backend_model", "b"), ("openai_backend_prompt", "x"), ("builtin_tools", "hang_up,send_dtmf")],
        &[("openai_backend_model", "b"), ("tools", TOOLS), ("tool_choice", "look_up"), ("parallel_tool_calls", "true")],
        &[("openai_backend_model", "b"), ("reasoning_effort", "xhigh"), ("max_response_tokens", "inf")],
        &[("openai_backend_model", "b"), ("tool_choice", "none")],
        &[("openai_session", r#"{"store":true,"delegation":{"acknowledgement_delay_ms":300}}"#)],
        &[("tools", r#"[{"name":"delegate"}]"#)],
        &[("ai_audio", "pcma")],
        &[("tools", TOOLS)],
        &[("speed", "1.2")],
        &[("turn_detection", "semantic_vad")],
    ] {
        let options = options(given);
        if engines::of(&options).check(&options, Vec::new()).is_err() {
            continue;
        }
        let mut world = world(Model::answering([Answer::default()]), given);
        world.pass(Duration::from_secs(1));
        assert_eq!((world.state(), world.complaints()), (State::Listening, vec![]), "{given:?}");
        taken += 1;
    }
    assert_eq!(taken, 9);
}

#[test]
fn the_live_service_refuses_what_its_types_refuse() {
    let start = json!({"type": "session.start", "session": {"model": "m", "audio":
        {"format": {"type": "audio/pcm", "rate": 16_000}, "output": {"voice": "marin"}}, "delegation":
        {"type": "responses", "responses": {"model": "b", "tools": [{"type": "function", "name": "f"}]}}, "input":
        [{"role": "user", "content": [{"type": "input_text", "text": "x"}]}]}});
    assert_eq!(check(&start), Ok(()));
    let with = |path: &str, value: Value| {
        let mut changed = start.clone();
        *changed.pointer_mut(path).unwrap() = value;
        check(&changed).is_err()
    };
    assert!(
        with("/session/audio/format/rate", json!(8_000)) && with("/session/audio/format/type", json!("audio/opus"))
    );
    assert!(with("/session/delegation", json!({"type": "responses"})) && with("/session/model", json!(7)));
    assert!(
        with("/session/input/0/content/0/type", json!("output_text")) && with("/session/input/0/content", json!([]))
    );
    assert!(with("/session/input/0/role", json!("system")) && with("/session/audio", json!({"input": {}})));
    for command in [
        json!({"type": "session.commentary.append", "content": "x"}),
        json!({"type": "session.commentary.append", "content": "", "delegation_id": null}),
        json!({"type": "session.thinking.append", "content": "x".repeat(2_100), "delegation_id": null}),
        json!({"type": "session.update", "session": {"instructions": "x"}}),
        json!({"type": "response.item.create", "item": {"type": "function_call_output", "output": "x"}}),
        json!({"type": "response.create", "response": {}}),
        json!({"type": "response.cancel"}),
        json!({"type": "input_audio_buffer.append", "audio": "AAAA"}),
        json!({"type": "session.input_audio.append"}),
    ] {
        assert!(check(&command).is_err(), "{command}");
    }
}

#[test]
fn a_hundred_turns_with_gpt_live_keep_their_invariants() {
    let answers = Answers::by(|asked| match asked.response % 6 {
        3 => Answer::call("look_up", &json!({})),
        n => Answer {
            text: format!("There is more to say about number {n}, and all of it is said here."),
            thinking: Duration::from_millis(40 * n as u64),
            ..Answer::chord(n as u64, 500 + 700 * n as u32)
        },
    });
    let given = [&BACKEND[..], &[("ai_reconnect_max", "100")]].concat();
    let mut world = world(Model { answers, ..Model::answering([Answer::default()]) }, &given);
    world.frame = FRAME * 2;
    let (mut seed, mut cuts) = (31, 0);
    for _ in 0..100 {
        world.until("a session", |world| !matches!(world.state(), State::Connecting | State::Reconnecting));
        // Some are remarks.
        says(&mut world, 150 + chance(&mut seed, 1_000) as u32, 7);
        world.pass(Duration::from_millis(chance(&mut seed, 2_500)));
        match chance(&mut seed, 14) {
            0 => {
                cuts += 1;
                world.cut_for(Duration::from_millis(100 + chance(&mut seed, 1_500)));
            }
            1 => world.input(Input::Interrupt),
            2 => world.input(Input::Say("The operator says a word.".into())),
            3 => world.input(Input::SendText("The caller has a question.")),
            4 => world.input(Input::Dtmf { digit: '7', duration_ms: 100 }),
            5 => {
                cuts += 1;
                world.order(Order::Trouble(What::Close(1_011, "")));
            }
            6 => {
                cuts += 1;
                world.order(Order::Trouble(What::GoAway(0)));
            }
            // The next turn comes over the model's words, if it answers this one.
            7 | 8 => {}
            _ => world.pass(Duration::from_secs(4)),
        }
        world.answer_calls();
    }
    for _ in 0..4 {
        world.pass(Duration::from_secs(25));
        world.answer_calls();
    }
    let state = world.state();
    assert!(matches!(state, State::Listening | State::Error), "stuck in {state}");
    assert!(world.is_silent() && world.faults.is_empty(), "{:?}", world.faults);
    assert_eq!(world.complaints(), [""; 0]);
    assert!(world.records.len() <= cuts + 1, "{} sessions, {cuts} losses", world.records.len());
    let given: usize = world.records.iter().map(|record| record.lock().answers.len()).sum();
    let interrupted = world.interruptions();
    assert!(given >= 70 && interrupted >= 10, "{given} answers, {interrupted} interruptions");
    // What is played is what the model has said, and little silence: nothing waits, and nothing is played twice.
    let said: usize = world
        .records
        .iter()
        .flat_map(|record| record.lock().answers.clone())
        .filter_map(|(_, answer)| answer.voice)
        .map(|voice| voice.samples(8_000).len())
        .sum();
    let heard: usize = world.heard_of.iter().map(|(_, samples)| samples).sum();
    assert!(heard <= said + 100 * 8 * 400, "{heard} of {said}");
    // What a session is told that the agent said, the caller has heard.
    for record in world.records.iter().skip(1) {
        for start in record.lock().told("session.start") {
            for message in start["session"]["input"].as_array().into_iter().flatten() {
                if message["role"] == "assistant" {
                    let words = message["content"][0]["text"].as_str().unwrap();
                    let heard = |event: &Event| match event {
                        Event::Transcript { speaker: Speaker::Agent, heard_text: Some(heard), .. } => {
                            heard.trim() == words
                        }
                        _ => false,
                    };
                    assert!(world.events.iter().any(heard), "never heard: {words}");
                }
            }
        }
    }
    world.input(Input::Stop { text: None, call_ended: true });
    world.pass(Duration::from_millis(500));
    assert_eq!((world.last_events(), world.conversation_deadline()), (1, None));
}
