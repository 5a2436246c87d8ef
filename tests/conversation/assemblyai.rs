//! Conversations with AssemblyAI's Voice Agent on virtual time, against a service that is as strict as its vendor's own schema.

use std::sync::Arc;
use std::time::Duration;

use mod_audio_stream::control::options;
use mod_audio_stream::conversation::agent::{Event, Source, Speaker, State};
use mod_audio_stream::conversation::{AiOptions, AiPlan, engines};
use mod_audio_stream::peer::{Input, Peer, Tell};
use mod_audio_stream::stream::options::StreamOptions;
use mod_audio_stream::units::SampleRate;
use serde_json::{Value, json};

use crate::assemblyai_service::{Agent, KEY, STORED, WORDS_SEED, check};
use crate::realtime::*;
use crate::support::{audio, signal};
use crate::world::*;

const LOOK_UP: &str = r#"[{"name":"look_up","description":"Looks up an order.","parameters":{"type":"object"}}]"#;

fn options(given: &[(&str, &str)]) -> AiOptions {
    let mut options = StreamOptions::default();
    let own =
        [("engine", "assemblyai"), ("assemblyai_api_key", KEY), ("system_prompt", "Be brief."), ("tools", LOOK_UP)];
    for (key, value) in own.iter().chain(given) {
        let row = options::ai_row(key).unwrap_or_else(|| panic!("no option {key}"));
        row.set(&mut options, value).unwrap_or_else(|why| panic!("{key}: {why}"));
    }
    Arc::unwrap_or_clone(options.ai)
}

fn world_at(rate: SampleRate, agent: Agent, given: &[(&str, &str)]) -> World {
    let options = options(given);
    let plan = AiPlan::new(engines::of(&options), &options, Vec::new(), rate, Some("PCMU")).unwrap();
    assert!(plan.caller.vad.is_none() && plan.speech.is_none(), "the service hears the caller and speaks");
    let mut world = World::with(plan.engine, plan.agent, Script::default()).with_options(options);
    world.service = Some(Arc::new(agent));
    world.input(Input::Start);
    world
}

fn world(agent: Agent, given: &[(&str, &str)]) -> World {
    world_at(SampleRate::HZ_8000, agent, given)
}

fn says(world: &mut World, ms: u32, seed: u64) {
    world.mouth.extend(signal::speech(8_000, ms, seed));
    world.pass(Duration::from_millis(u64::from(ms) + 400));
}

fn spoken_to_the_end(world: &mut World) {
    world.until("an answer", |world| world.state() == State::Speaking);
    world.until("its end", |world| world.state() == State::Listening);
}

fn nothing_went_wrong(world: &World) {
    assert_eq!((world.complaints(), world.errors()), (vec![], vec![]));
    assert!(world.faults.is_empty() && world.late_played == 0, "{:?}", world.faults);
}

/// What the caller heard of the message that the agent wrote so, as the events have it.
fn heard_of(world: &World, wrote: &str) -> Option<String> {
    world.events.iter().find_map(|event| match event {
        Event::Transcript { speaker: Speaker::Agent, text, heard_text: Some(heard), .. } if text == wrote => {
            Some(heard.clone())
        }
        _ => None,
    })
}

#[test]
fn a_whole_conversation_with_assemblyai_is_held() {
    let story = "It is a long story. It has a second part. It has a third one too.";
    let answers = vec![
        Answer { text: story.into(), late: 4, pace: Pace::Times(1.5), ..Answer::chord(91, 6_000) },
        Answer::call("look_up", &json!({"order": 7})),
        Answer { text: "It has left.".into(), ..Answer::chord(92, 900) },
        Answer { text: "Goodbye.".into(), ..Answer::chord(93, 700) },
    ];
    let agent =
        Agent { words: vec!["Tell me a story.", "Where is my order?", "Thank you."], ..Agent::answering(answers) };
    let mut world = world(agent, &[("greeting", "Good day.")]);
    // The greeting, word for word: the service says it by itself.
    spoken_to_the_end(&mut world);
    let (_, greeted) = heard_ms(&world.heard, &chord(8_000, 450, WORDS_SEED), 8_000).unwrap();
    assert!((430.0..=470.0).contains(&greeted), "{greeted}");
    assert_eq!(heard_of(&world, "Good day.").as_deref(), Some("Good day."));

    // An answer that the caller interrupts: what was heard of it, and silence from then on.
    says(&mut world, 900, 3);
    world.until("the story", |world| world.state() == State::Speaking);
    world.pass(Duration::from_millis(2_500));
    says(&mut world, 900, 4);
    world.until("the call", |world| !world.calls().is_empty());
    let words = heard_of(&world, story).unwrap();
    assert!(words.starts_with("It is a long story.") && !words.contains("third"), "{words}");
    let (at, interrupted) = heard_ms(&world.heard, &chord(8_000, 6_000, 91), 8_000).unwrap();
    let after = &world.heard[at + (interrupted * 8.0) as usize + 160..];
    assert!(interrupted < 4_500.0 && audio::rms(after) < 50.0, "{interrupted}");

    // A function, and its result.
    let call_id = world.calls()[0].clone();
    world.input(Input::ToolResult { call_id: call_id.clone(), output: r#"{"status":"shipped"}"#.into() });
    spoken_to_the_end(&mut world);
    let result = json!({"type": "tool.result", "call_id": call_id, "result": r#"{"status":"shipped"}"#});
    assert_eq!(world.record(0).told("tool.result"), [result]);
    let (_, whole) = heard_ms(&world.heard, &chord(8_000, 900, 92), 8_000).unwrap();
    assert!((880.0..=920.0).contains(&whole), "{whole}");

    // The connection is lost: the same session goes on, and is told nothing again.
    world.cut_for(Duration::from_millis(300));
    world.until("the session", |world| world.records.len() == 2 && world.state() == State::Listening);
    world.pass(Duration::from_secs(1));
    assert_eq!(world.record(1).told_kinds(), ["session.resume"]);
    says(&mut world, 900, 5);
    spoken_to_the_end(&mut world);
    let (_, whole) = heard_ms(&world.heard, &chord(8_000, 700, 93), 8_000).unwrap();
    assert!((680.0..=720.0).contains(&whole), "{whole}");
    assert_eq!(world.conversation.policy().stats().barge_in_count, 1);
    nothing_went_wrong(&world);

    // A session is ended, so that it costs nothing any more.
    world.input(Input::Stop { text: None, call_ended: true });
    world.pass(Duration::from_millis(500));
    assert_eq!(world.record(1).told("session.end").len(), 1);
}

#[test]
fn assemblyai_that_kept_no_session_is_told_the_talk() {
    let answers = vec![
        Answer { text: "It has left.".into(), ..Answer::chord(91, 700) },
        Answer { thinking: Duration::from_secs(2), ..Answer::chord(92, 700) },
    ];
    let words = vec!["Where is my order?", "And when does it come?"];
    let agent = Agent { resumes: false, words, ..Agent::answering(answers) };
    let mut world = world(agent, &[("greeting", "Good day.")]);
    spoken_to_the_end(&mut world);
    says(&mut world, 900, 3);
    spoken_to_the_end(&mut world);
    // Before the second answer begins.
    says(&mut world, 900, 4);
    world.pass(Duration::from_millis(300));
    world.cut();
    world.reachable = true;
    world.until("the answer", |world| world.records.len() == 3 && world.state() == State::Speaking);
    world.until("its end", |world| world.state() == State::Listening);
    assert_eq!(world.record(1).told_kinds(), ["session.resume"]);
    let session = world.record(2).told("session.update")[0]["session"].clone();
    let prompt = session["system_prompt"].as_str().unwrap();
    let past = "Be brief.\n\nThe conversation so far:\nYou: Good day.\nCaller: Where is my order?\nYou: It has left.\nCaller: And when \
                does it come?";
    assert_eq!((prompt, &session["greeting"]), (past, &Value::Null), "nobody is greeted again");
    // The words that nobody has answered are to be answered.
    let asked = world.record(2).told("reply.create")[0]["instructions"].clone();
    assert!(asked.as_str().unwrap().contains("And when does it come?"), "{asked}");
    nothing_went_wrong(&world);
}

#[test]
fn assemblyai_hears_the_caller_in_every_coding() {
    for (rate, given, encoding) in [
        (SampleRate::HZ_8000, ("ai_audio", "auto"), "audio/pcmu"),
        (SampleRate::HZ_8000, ("ai_audio", "pcma"), "audio/pcma"),
        (SampleRate::HZ_24000, ("ai_audio", "auto"), "audio/pcm"),
    ] {
        let mut world = world_at(rate, Agent::answering([Answer::chord(91, 800)]), &[given]);
        world.until("the session", |world| world.state() == State::Listening);
        let speech = signal::speech(rate.hz(), 900, 3);
        world.mouth.extend(&speech);
        world.pass(Duration::from_millis(1_400));
        world.until("the answer", |world| world.state() == State::Speaking);
        let record = world.record(0);
        assert_eq!(record.format, json!({ "encoding": encoding }));
        let (_, alike) = audio::find(&record.audio, &speech[..speech.len() / 2]);
        assert!(alike > 0.99, "{encoding}: {alike}");
        assert_eq!(record.complaints, []);
    }
}

#[test]
fn a_stored_agent_greets_once_and_is_coded_as_it_is_set() {
    let greeting = Answer { text: "Hello from afar.".into(), ..Answer::chord(90, 600) };
    for coded in [("audio/pcmu", "audio/pcmu"), ("audio/pcma", "audio/pcm")] {
        let agent = Agent {
            greeting: Some(greeting.clone()),
            resumes: false,
            coded,
            ..Agent::answering([Answer { text: "Very well.".into(), ..Answer::chord(91, 800) }])
        };
        let mut world = world(agent, &[("assemblyai_agent", STORED), ("system_prompt", "")]);
        spoken_to_the_end(&mut world);
        assert_eq!(world.record(0).told("session.update")[0]["session"], json!({ "agent_id": STORED }));
        let speech = signal::speech(8_000, 900, 3);
        world.mouth.extend(&speech);
        world.pass(Duration::from_millis(1_300));
        spoken_to_the_end(&mut world);
        let (_, alike) = audio::find(&world.record(0).audio, &speech[..speech.len() / 2]);
        assert!(alike > 0.97, "{coded:?}: {alike}");
        // The next session begins with the greeting, which is not heard again, and learns of the talk by messages.
        world.cut();
        world.reachable = true;
        world.until("the next session", |world| world.records.len() == 3 && world.state() == State::Listening);
        world.pass(Duration::from_secs(2));
        let told = world.record(2).told("conversation.message");
        let told: Vec<_> = told.iter().map(|message| message["content"].as_str().unwrap()).collect();
        let wanted = [
            "You have said to the caller: Hello from afar.",
            "What the caller says.",
            "You have said to the caller: Very well.",
        ];
        assert_eq!(told, wanted);
        says(&mut world, 900, 4);
        spoken_to_the_end(&mut world);
        let chord = chord(8_000, 600, 90);
        let (at, _) = heard_ms(&world.heard, &chord, 8_000).unwrap();
        assert!(heard_ms(&world.heard[at + 4_800..], &chord, 8_000).is_none(), "greeted twice");
        nothing_went_wrong(&world);
    }
}

#[test]
fn texts_and_keys_are_answered_by_assemblyai() {
    let answers = vec![Answer { text: "Very well.".into(), ..Answer::chord(91, 1_500) }];
    let mut world = world(Agent::answering(answers), &[("dtmf_to_model", "true"), ("dtmf_length", "2")]);
    world.until("the session", |world| world.state() == State::Listening);
    for digit in ['1', '2'] {
        world.input(Input::Dtmf { digit, duration_ms: 100 });
    }
    spoken_to_the_end(&mut world);
    let message = world.record(0).told("conversation.message")[0].clone();
    assert!(message["content"].as_str().unwrap().contains("12"), "{message}");
    let asked = world.record(0).told("reply.create")[0]["instructions"].clone();
    assert!(asked.as_str().unwrap().contains("12"), "the model need not look at the message: {asked}");
    // What the module tells is no transcript of the caller.
    let caller = |event: &Event| matches!(event, Event::Transcript { speaker: Speaker::Caller, .. });
    assert!(!world.events.iter().any(caller));

    world.input(Input::Tell(Tell { speaker: Speaker::System, text: "They are a member.", respond: false }));
    world.pass(Duration::from_millis(500));
    let told = world.record(0).told("conversation.message")[1].clone();
    assert_eq!(told, json!({"type": "conversation.message", "role": "system", "content": "They are a member."}));
    assert_eq!(world.record(0).told("reply.create").len(), 1);

    // Words of the operator's, while the agent speaks: behind what it says.
    says(&mut world, 900, 3);
    world.until("the answer", |world| world.state() == State::Speaking);
    world.input(Input::Say("The line is closing.".into()));
    world.until("the words", |world| world.record(0).told("reply.create").len() == 2);
    world.until("their end", |world| world.state() == State::Listening);
    let asked = world.record(0).told("reply.create")[1]["instructions"].clone();
    assert!(asked.as_str().unwrap().contains("The line is closing."), "{asked}");
    nothing_went_wrong(&world);
}

#[test]
fn a_result_waits_for_the_phrase_that_bridges_it() {
    let answers = vec![
        Answer::call("look_up", &json!({})),
        Answer { text: "It has left.".into(), ..Answer::chord(92, 700) },
        Answer {
            calls: Answer::call("look_up", &json!({})).calls,
            text: "I look that up. One moment.".into(),
            pace: Pace::Times(2.0),
            ..Answer::chord(93, 2_000)
        },
        Answer { text: "So it is.".into(), ..Answer::chord(94, 700) },
    ];
    let bridge = Answer { text: "One moment.".into(), pace: Pace::Times(2.0), ..Answer::chord(95, 1_200) };
    let mut world = world(Agent { bridge: Some(bridge), ..Agent::answering(answers) }, &[]);
    world.until("the session", |world| world.state() == State::Listening);
    for (turn, heard) in [[95, 92], [93, 94]].into_iter().enumerate() {
        says(&mut world, 900, 3 + turn as u64);
        world.until("the call", |world| world.calls().len() > turn);
        // The function returns at once.
        world.answer_calls();
        world.until("the result", |world| world.record(0).told("tool.result").len() > turn);
        world.until("the answer", |world| heard_ms(&world.heard, &chord(8_000, 700, heard[1]), 8_000).is_some());
        world.until("its end", |world| world.state() == State::Listening);
        let phrase = if turn == 0 { 1_200 } else { 2_000 };
        let (_, whole) = heard_ms(&world.heard, &chord(8_000, phrase, heard[0]), 8_000).unwrap();
        assert!(whole > f64::from(phrase) - 30.0, "{whole}");
    }
    nothing_went_wrong(&world);
}

#[test]
fn a_result_that_the_caller_overtakes_is_told_as_a_message() {
    let answers = vec![
        Answer {
            calls: Answer::call("look_up", &json!({})).calls,
            text: "I look that up.".into(),
            pace: Pace::Times(1.2),
            ..Answer::chord(91, 3_000)
        },
        Answer { text: "As you like.".into(), ..Answer::chord(92, 700) },
    ];
    let mut world = world(Agent::answering(answers), &[]);
    world.until("the session", |world| world.state() == State::Listening);
    says(&mut world, 900, 3);
    world.until("the phrase", |world| world.state() == State::Speaking);
    world.order(Order::Event(json!({"type": "tool.call", "call_id": "call_x", "name": "look_up", "arguments": {}})));
    world.until("the call", |world| !world.calls().is_empty());
    world.answer_calls();
    world.pass(Duration::from_millis(300));
    assert_eq!(world.record(0).told("tool.result").len(), 0, "the service is speaking");
    says(&mut world, 900, 4);
    spoken_to_the_end(&mut world);
    let told = world.record(0).told("conversation.message")[0]["content"].clone();
    assert_eq!(told, r#"The function look_up has returned: {"done":true}"#);
    assert_eq!(world.record(0).told("tool.result").len(), 0, "the service has dropped the call");
    nothing_went_wrong(&world);
}

#[test]
fn a_session_of_assemblyai_is_changed_as_its_options_are() {
    let mut world = world(Agent { resumes: false, ..Agent::answering([Answer::chord(91, 500)]) }, &[]);
    world.until("the session", |world| world.state() == State::Listening);
    let mut change = |key: &str, value: &str| {
        world.input(Input::Change(&[(key.to_owned(), value.to_owned())]));
        world.pass(Duration::from_millis(300));
    };
    change("system_prompt", "Be quick.");
    change("vad_silence_duration_ms", "800");
    change("vad_silence_duration_ms", "500");
    change("tools", "[]");
    let told: Vec<_> =
        world.record(0).told("session.update").into_iter().skip(1).map(|it| it["session"].clone()).collect();
    let silence = |ms: u32| json!({"input": {"turn_detection": {"min_silence": ms}}});
    assert_eq!(told, [json!({"system_prompt": "Be quick."}), silence(800), silence(1_000), json!({"tools": []})]);
    assert_eq!(world.conversation.report().unwrap().changes.len(), 3);
    nothing_went_wrong(&world);
    // The next session has them from its beginning.
    world.cut();
    world.reachable = true;
    world.until("the next session", |world| world.records.len() == 3 && world.state() == State::Listening);
    let session = world.record(2).told("session.update")[0]["session"].clone();
    assert_eq!((&session["system_prompt"], &session["tools"]), (&json!("Be quick."), &Value::Null));
}

#[test]
fn a_session_of_assemblyai_is_renewed_in_a_pause() {
    let agent = Agent { lasts: Some(Duration::from_secs(400)), ..Agent::answering([Answer::chord(91, 500)]) };
    let mut world = world(agent, &[]);
    world.until("the session", |world| world.state() == State::Listening);
    says(&mut world, 900, 3);
    spoken_to_the_end(&mut world);
    world.pass(Duration::from_secs(110));
    assert_eq!((world.records.len(), world.state()), (2, State::Listening));
    assert_eq!(world.record(0).told("session.end").len(), 1, "it does not go on");
    let prompt = world.record(1).told("session.update")[0]["session"]["system_prompt"].clone();
    assert!(prompt.as_str().unwrap().contains("Caller: What the caller says."), "{prompt}");
    nothing_went_wrong(&world);
}

#[test]
fn a_refused_key_ends_assemblyai_and_an_error_does_not() {
    let mut world = world(Agent::answering([Answer::chord(91, 500)]), &[("assemblyai_api_key", "another")]);
    world.pass(Duration::from_secs(30));
    assert_eq!((world.state(), world.connects), (State::Failed, 1));
    let failed = |event: &Event| match event {
        Event::State { state: State::Failed, message, .. } => Some(message.clone()),
        _ => None,
    };
    let message = world.events.iter().find_map(failed).unwrap();
    assert!(message.contains("check assemblyai_api_key") && !message.contains("another"), "{message}");

    for code in ["session_expired", "server_error"] {
        let answers = vec![Answer { thinking: Duration::from_secs(2), ..Answer::chord(92, 700) }];
        let mut world = self::world(Agent::answering(answers), &[]);
        world.until("the session", |world| world.state() == State::Listening);
        says(&mut world, 900, 3);
        // Before it has said anything: the words of the caller are answered in the next session.
        world.order(Order::Trouble(What::Error("", code)));
        world.until("the answer", |world| world.records.len() >= 2 && world.state() == State::Speaking);
        world.until("its end", |world| world.state() == State::Listening);
        assert_eq!(world.complaints(), [""; 0], "{code}");
    }
}

#[test]
fn whatever_is_not_refused_is_taken_by_assemblyai() {
    let mut taken = 0;
    for given in [
        &[("voice", "ivy"), ("transcription_prompt", "Acme, Müller")][..],
        &[("turn_detection", "semantic_vad"), ("vad_eagerness", "low")],
        &[("turn_detection", "semantic_vad"), ("vad_eagerness", "high")],
        &[("vad_threshold", "0.7"), ("vad_silence_duration_ms", "9999")],
        &[("vad_silence_duration_ms", "50")],
        &[("builtin_tools", "hang_up,send_dtmf"), ("tool_timeout_ms", "295000")],
        &[("assemblyai_session", r#"{"input":{"turn_detection":{"max_silence":4000}},"output":{"volume":80}}"#)],
        &[("assemblyai_agent", STORED), ("system_prompt", "")],
        &[("greeting", "Good day."), ("ai_audio", "pcm")],
        &[("tool_choice", "auto"), ("noise_suppression", "low")],
        &[("turn_detection", "local")],
        &[("tool_choice", "none")],
        &[("speed", "1.1")],
    ] {
        let options = options(given);
        if engines::of(&options).check(&options, Vec::new()).is_err() {
            continue;
        }
        let mut world = world(Agent::answering([Answer::default()]), given);
        world.until("the session", |world| matches!(world.state(), State::Listening | State::Speaking));
        world.pass(Duration::from_secs(2));
        assert_eq!((world.state(), world.complaints()), (State::Listening, vec![]), "{given:?}");
        taken += 1;
    }
    assert_eq!(taken, 10);
}

#[test]
fn assemblyai_refuses_what_its_own_schema_refuses() {
    let session = json!({"type": "session.update", "session": {"system_prompt": "Be brief.",
        "input": {"format": {"encoding": "audio/pcmu"}, "turn_detection": {"vad_threshold": 0.5}},
        "output": {"format": {"encoding": "audio/pcmu"}, "voice": "ivy"},
        "tools": [{"type": "function", "name": "f", "description": "", "parameters": {}}]}});
    assert_eq!(check(&session), Ok(()));
    let with = |path: &str, value: Value| {
        let mut changed = session.clone();
        *changed.pointer_mut(path).unwrap() = value;
        check(&changed).is_err()
    };
    assert!(with("/session/input/format/encoding", json!("pcm")) && with("/session/output/voice", json!("autumn")));
    assert!(with("/session/input/turn_detection", json!({"min_silence": 3_000})));
    assert!(with("/session/input/turn_detection", json!({"type": "server_vad"})));
    assert!(with("/session/tools/0", json!({"type": "function", "name": "f", "parameters": {}})));
    assert!(with("/session/output", json!({"speed": 1.0})) && with("/session/input", json!({"keyterms": [7]})));
    for message in [
        json!({"type": "session.update", "config": {}}),
        json!({"type": "session.update", "session": {"agent_id": "a", "greeting": "Hi"}}),
        json!({"type": "session.update", "session": {"model": "m"}}),
        json!({"type": "session.resume"}),
        json!({"type": "input.audio", "data": "AAAA"}),
        json!({"type": "tool.result", "call_id": "c", "result": {"a": 1}}),
        json!({"type": "tool.result", "result": "x"}),
        json!({"type": "reply.create", "instructions": " "}),
        json!({"type": "conversation.message", "role": "assistant", "content": "x"}),
        json!({"type": "response.create"}),
        json!({"session": {}}),
    ] {
        assert!(check(&message).is_err(), "{message}");
    }
}

#[test]
fn a_hundred_turns_with_assemblyai_keep_their_invariants() {
    for (first, resumes) in [(17, true), (18, true), (19, false)] {
        let answers = Answers::by(|asked| match asked.response % 7 {
            3 => Answer::call("look_up", &json!({})),
            4 => Answer {
                calls: Answer::call("look_up", &json!({})).calls,
                text: format!("I look up number {}.", asked.response),
                ..Answer::chord(asked.response as u64, 900)
            },
            5 => Answer { pace: Pace::Times(2.0), ..Answer::chord(5, 3_000) },
            n => Answer {
                late: n as u32 % 3,
                text: format!("This is number {n}. And there is more of it."),
                pace: if n % 2 == 0 { Pace::Burst } else { Pace::Times(1.3) },
                ..Answer::chord(n as u64, 400 + 500 * n as u32)
            },
        });
        let bridge = Some(Answer { text: "One moment.".into(), ..Answer::chord(95, 600) });
        let agent = Agent { answers, resumes, bridge, ..Agent::answering([Answer::default()]) };
        let mut world = world(agent, &[("ai_reconnect_max", "100")]);
        world.frame = FRAME * 2;
        let cuts = world.hundred_turns(first, |seed| {
            let codes = ["session_expired", "session_forbidden", "INTERNAL_ERROR"];
            What::Error("", codes[chance(seed, 3) as usize])
        });
        let state = world.state();
        let why = world.events.iter().filter(|event| matches!(event, Event::State { code, .. } if !code.is_empty()));
        let why: Vec<_> = why.collect();
        assert!(matches!(state, State::Listening | State::Error), "{first}: stuck in {state}: {why:?}");
        assert!(world.is_silent() && world.late_played == 0 && world.faults.is_empty(), "{first}: {:?}", world.faults);
        assert_eq!(world.complaints(), [""; 0], "{first}");
        // Of a session that is not kept each loss costs one attempt more.
        assert!(world.records.len() <= 2 * cuts + 1, "{first}: {} connections, {cuts} losses", world.records.len());
        let given: usize = world.records.iter().map(|record| record.lock().answers.len()).sum();
        let interrupted = world.conversation.policy().stats().barge_in_count;
        assert!(given >= 70 && interrupted >= 15, "{first}: {given} answers, {interrupted} interruptions");
        // Nothing that was given up is waited for: no request has run into its time limit.
        let late: Vec<_> = world.errors().into_iter().filter(|error| error.starts_with("timeout")).collect();
        assert_eq!(late, [""; 0], "{first}");
        // What a session is told that the agent said, the caller has heard.
        let told = |event: &Event| match event {
            Event::Transcript { speaker: Speaker::Agent, heard_text: Some(heard), .. } => Some(heard.trim().to_owned()),
            _ => None,
        };
        let heard: Vec<String> = world.events.iter().filter_map(told).collect();
        for record in &world.records {
            for update in record.lock().told("session.update") {
                let prompt = update["session"]["system_prompt"].as_str().unwrap_or_default().to_owned();
                for said in prompt.lines().filter_map(|line| line.strip_prefix("You: ")) {
                    assert!(heard.iter().any(|heard| heard == said), "{first}: never heard: {said}");
                }
            }
        }
        for (source, _) in &world.heard_of {
            assert!(matches!(source, Source::Item(_)), "{source:?}");
        }
        world.input(Input::Stop { text: None, call_ended: true });
        world.pass(Duration::from_millis(500));
        assert_eq!((world.last_events(), world.conversation_deadline()), (1, None), "{first}");
    }
}
