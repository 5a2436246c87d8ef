//! Conversations with Ultravox on virtual time, against a service that is as strict as its vendor's own schema.

use std::sync::Arc;
use std::time::Duration;

use mod_audio_stream::control::options;
use mod_audio_stream::conversation::agent::{Event, Source, Speaker, State};
use mod_audio_stream::conversation::{AiOptions, AiPlan, engines};
use mod_audio_stream::peer::{Input, Tell};
use mod_audio_stream::stream::options::StreamOptions;
use mod_audio_stream::units::SampleRate;
use serde_json::{Value, json};

use crate::realtime::*;
use crate::support::{audio, signal};
use crate::ultravox_service::{Agent, KEY, STORED, WORDS_SEED, check, check_call, words_ms};
use crate::world::*;

const LOOK_UP: &str = r#"[{"name":"look_up","description":"Looks up an order.","parameters":{"type":"object"}}]"#;

fn options(given: &[(&str, &str)]) -> AiOptions {
    let mut options = StreamOptions::default();
    let own = [
        ("engine", "ultravox"),
        ("ultravox_api_key", KEY),
        ("ultravox_base_url", "http://ultravox.example"),
        ("system_prompt", "Be brief."),
        ("tools", LOOK_UP),
    ];
    for (key, value) in own.iter().chain(given) {
        let row = options::ai_row(key).unwrap_or_else(|| panic!("no option {key}"));
        row.set(&mut options, value).unwrap_or_else(|why| panic!("{key}: {why}"));
    }
    Arc::unwrap_or_clone(options.ai)
}

fn world_at(rate: SampleRate, agent: &Agent, given: &[(&str, &str)]) -> World {
    let options = options(given);
    let plan = AiPlan::new(engines::of(&options), &options, Vec::new(), rate, Some("PCMU")).unwrap();
    assert!(plan.caller.vad.is_none() && plan.speech.is_none(), "the service hears the caller and speaks");
    let mut world = World::with(plan.engine, plan.agent, Script::default()).with_options(options);
    world.service = Some(Arc::new(agent.clone()));
    world.input(Input::Start);
    world
}

fn world(agent: &Agent, given: &[(&str, &str)]) -> World {
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

fn nothing_went_wrong(world: &World, agent: &Agent) {
    assert_eq!((world.complaints(), world.errors()), (vec![], vec![]));
    assert_eq!(*agent.refused.lock(), []);
    assert!(world.faults.is_empty() && world.late_played == 0, "{:?}", world.faults);
}

fn answered(seed: u64, ms: u32, text: &str) -> Answer {
    Answer { text: text.into(), ..Answer::chord(seed, ms) }
}

#[track_caller]
fn heard_whole(world: &World, seed: u64, ms: u32) {
    let (_, length) = heard_ms(&world.heard, &chord(8_000, ms, seed), 8_000).unwrap();
    assert!((f64::from(ms) - 25.0..=f64::from(ms) + 25.0).contains(&length), "{seed}: {length}");
}

/// What the caller heard of the message that the agent wrote so, as the events have it.
fn heard_of(world: &World, wrote: &str) -> Option<String> {
    world.events.iter().find_map(|event| match event {
        Event::Transcript { speaker: Speaker::Agent, text, heard_text: Some(heard), .. } if wrote.starts_with(text) => {
            Some(heard.clone())
        }
        _ => None,
    })
}

#[test]
fn a_whole_conversation_with_ultravox_is_held() {
    let story = "It is a long story. It has a second part. It has a third one too.";
    for (pace, speaks_while_heard, words_first) in
        [(Pace::Times(1.5), true, false), (Pace::Burst, false, false), (Pace::Burst, true, true)]
    {
        let answers = vec![
            Answer { pace, ..answered(91, 6_000, story) },
            Answer::call("look_up", &json!({"order": 7})),
            answered(92, 900, "It has left."),
            answered(93, 700, "Goodbye."),
        ];
        let words = vec!["Tell me a story.", "Where is my order?", "Thank you."];
        let agent = Agent { words, speaks_while_heard, words_first, ..Agent::answering(answers) };
        let mut world = world(&agent, &[("greeting", "Good day.")]);
        // The greeting, word for word.
        spoken_to_the_end(&mut world);
        heard_whole(&world, WORDS_SEED, words_ms("Good day."));

        // An answer that the caller interrupts: what was heard of it, and silence from then on.
        says(&mut world, 900, 3);
        world.until("the story", |world| world.state() == State::Speaking);
        world.pass(Duration::from_millis(2_500));
        says(&mut world, 900, 4);
        world.until("the call", |world| !world.calls().is_empty());
        let heard = heard_of(&world, story).unwrap();
        assert!(heard.starts_with("It is a long") && !heard.contains("third"), "{heard}");
        let (at, interrupted) = heard_ms(&world.heard, &chord(8_000, 6_000, 91), 8_000).unwrap();
        let after = &world.heard[at + (interrupted * 8.0) as usize + 160..];
        assert!(interrupted < 4_500.0 && audio::rms(after) < 50.0, "{interrupted}");

        // A function, and its result.
        let call_id = world.calls()[0].clone();
        world.input(Input::ToolResult { call_id: call_id.clone(), output: r#"{"status":"shipped"}"#.into() });
        spoken_to_the_end(&mut world);
        let result =
            json!({"type": "client_tool_result", "invocationId": call_id, "result": r#"{"status":"shipped"}"#});
        assert_eq!(world.record(0).told("client_tool_result"), [result]);
        heard_whole(&world, 92, 900);

        // The connection is lost: the next call begins with what was said, and greets nobody.
        world.cut_for(Duration::from_millis(300));
        world.until("the next call", |world| world.records.len() == 2 && world.state() == State::Listening);
        world.pass(Duration::from_secs(1));
        let past = agent.past(1);
        let said = |role: &str, text: &str| past.contains(&(format!("MESSAGE_ROLE_{role}"), text.to_owned()));
        assert!(said("AGENT", "Good day.") && said("AGENT", &heard), "{past:?}");
        assert!(said("USER", "Where is my order?") && said("AGENT", "It has left."), "{past:?}");
        assert!(said("TOOL_CALL", r#"{"order":7}"#) && said("TOOL_RESULT", r#"{"status":"shipped"}"#), "{past:?}");
        assert_eq!(world.record(1).told.len(), 0);
        says(&mut world, 900, 5);
        spoken_to_the_end(&mut world);
        heard_whole(&world, 93, 700);
        assert_eq!(world.interruptions(), 1);
        nothing_went_wrong(&world, &agent);
        world.input(Input::Stop { text: None, call_ended: true });
        world.pass(Duration::from_millis(500));
        assert_eq!((world.last_events(), world.conversation_deadline()), (1, None));
    }
}

#[test]
fn words_that_nobody_answered_are_answered_after_a_loss() {
    let answers = vec![
        answered(91, 700, "It has left."),
        Answer { thinking: Duration::from_secs(2), ..answered(92, 700, "Soon.") },
    ];
    let words = vec!["Where is my order?", "And when does it come?"];
    let agent = Agent { words, ..Agent::answering(answers) };
    let mut world = world(&agent, &[]);
    world.until("the call", |world| world.state() == State::Listening);
    says(&mut world, 900, 3);
    spoken_to_the_end(&mut world);
    // Before the second answer begins.
    says(&mut world, 900, 4);
    world.pass(Duration::from_millis(300));
    world.cut();
    world.reachable = true;
    world.until("the answer", |world| world.records.len() == 2 && world.state() == State::Speaking);
    world.until("its end", |world| world.state() == State::Listening);
    let past = agent.past(1);
    assert_eq!(past.last().unwrap().1, "And when does it come?", "{past:?}");
    assert_eq!(world.record(1).told("user_text_message").len(), 1, "it is asked to answer");
    heard_whole(&world, 92, 700);
    nothing_went_wrong(&world, &agent);
}

#[test]
fn ultravox_hears_and_speaks_at_the_rate_of_the_call() {
    for rate in [SampleRate::HZ_8000, SampleRate::HZ_16000, SampleRate::HZ_24000] {
        let agent = Agent { tells_beginning: false, ..Agent::answering([Answer::chord(91, 800)]) };
        let mut world = world_at(rate, &agent, &[]);
        world.until("the call", |world| world.state() == State::Listening);
        let speech = signal::speech(rate.hz(), 900, 3);
        world.mouth.extend(&speech);
        world.pass(Duration::from_millis(1_400));
        spoken_to_the_end(&mut world);
        assert_eq!(world.record(0).format, json!(rate.hz()));
        let (_, alike) = audio::find(&world.record(0).audio, &speech[..speech.len() / 2]);
        assert!(alike > 0.99, "{rate:?}: {alike}");
        heard_whole(&world, 91, 800);
        nothing_went_wrong(&world, &agent);
    }
}

#[test]
fn a_stored_agent_of_ultravox_greets_once() {
    let greeting = Some(answered(90, 600, "Hello from afar."));
    let agent = Agent { greeting, ..Agent::answering([answered(91, 800, "Very well.")]) };
    let given =
        [("ultravox_agent", STORED), ("system_prompt", ""), ("ultravox_call", r#"{"templateContext":{"a":"b"}}"#)];
    let mut world = world(&agent, &given);
    spoken_to_the_end(&mut world);
    says(&mut world, 900, 3);
    spoken_to_the_end(&mut world);
    world.cut_for(Duration::from_millis(300));
    world.until("the next call", |world| world.records.len() == 2 && world.state() == State::Listening);
    world.pass(Duration::from_secs(2));
    let past: Vec<_> = agent.past(1).into_iter().map(|(_, text)| text).collect();
    assert_eq!(past, ["Hello from afar.", "What the caller says.", "Very well."]);
    let first = chord(8_000, 600, 90);
    let (at, _) = heard_ms(&world.heard, &first, 8_000).unwrap();
    assert!(heard_ms(&world.heard[at + 4_800..], &first, 8_000).is_none(), "greeted twice");
    nothing_went_wrong(&world, &agent);
}

#[test]
fn texts_keys_and_clear_reach_ultravox() {
    let answers = [91, 92].map(|seed| answered(seed, 1_500, "Very well.")).to_vec();
    let agent = Agent::answering(answers);
    let mut world = world(&agent, &[("dtmf_to_model", "true"), ("dtmf_length", "2")]);
    world.until("the call", |world| world.state() == State::Listening);
    for digit in ['1', '2'] {
        world.input(Input::Dtmf { digit, duration_ms: 100 });
    }
    spoken_to_the_end(&mut world);
    let texts = |world: &World| world.record(0).told("user_text_message");
    let asked = texts(&world)[0].clone();
    assert!(asked["text"].as_str().unwrap().contains("12") && asked["urgency"] == "soon", "{asked}");
    // What the module tells is no transcript of the caller.
    let caller = |event: &Event| matches!(event, Event::Transcript { speaker: Speaker::Caller, .. });
    assert!(!world.events.iter().any(caller));

    world.input(Input::Tell(Tell { speaker: Speaker::System, text: "They are a member.", respond: false }));
    world.pass(Duration::from_millis(500));
    let told = json!({"type": "user_text_message", "text": "<instruction>They are a member.</instruction>", "urgency": "later"});
    assert_eq!(texts(&world)[1], told);
    assert_eq!(world.state(), State::Listening, "nobody has asked for an answer");

    // Words of the operator's, while the agent speaks: behind what it says, and word for word.
    says(&mut world, 900, 3);
    world.until("the answer", |world| world.state() == State::Speaking);
    world.input(Input::Say("The line is closing.".into()));
    world.until("the words", |world| world.record(0).told("forced_agent_message").len() == 1);
    world.until("their end", |world| world.is_silent() && world.state() == State::Listening);
    heard_whole(&world, 92, 1_500);
    heard_whole(&world, WORDS_SEED, words_ms("The line is closing."));

    // What is cleared is not heard later, and the service knows.
    says(&mut world, 900, 4);
    world.until("the answer", |world| world.state() == State::Speaking);
    world.pass(Duration::from_millis(500));
    world.input(Input::Interrupt);
    let from = world.heard.len() + 160;
    world.pass(Duration::from_secs(3));
    assert!(audio::rms(&world.heard[from..]) < 1.0, "the rest of the answer is heard");
    assert_eq!(texts(&world).last().unwrap()["urgency"], "immediate");
    assert_eq!((world.record(0).said("playback_clear_buffer").len(), world.state()), (1, State::Listening));
    nothing_went_wrong(&world, &agent);
}

#[test]
fn a_call_of_ultravox_is_renewed_in_a_pause() {
    let agent = Agent { lasts: Duration::from_secs(400), ..Agent::answering([answered(91, 500, "Yes.")]) };
    let mut world = world(&agent, &[]);
    world.until("the call", |world| world.state() == State::Listening);
    says(&mut world, 900, 3);
    spoken_to_the_end(&mut world);
    world.pass(Duration::from_secs(110));
    assert_eq!((world.records.len(), world.state()), (2, State::Listening));
    let past: Vec<_> = agent.past(1).into_iter().map(|(_, text)| text).collect();
    assert_eq!(past, ["What the caller says.", "Yes."]);
    nothing_went_wrong(&world, &agent);
}

#[test]
fn ultravox_ends_for_good_or_is_asked_again() {
    // An agent that hangs up is heard out.
    let agent = Agent::answering([answered(91, 3_000, "Goodbye.")]);
    let mut held = world(&agent, &[]);
    held.until("the call", |world| world.state() == State::Listening);
    says(&mut held, 900, 3);
    held.until("the answer", |world| world.state() == State::Speaking);
    held.order(Order::Trouble(What::Close(1_000, "agent hangup")));
    held.until("the end", |world| world.conversation.policy().is_over());
    heard_whole(&held, 91, 3_000);
    assert_eq!((held.connects, held.last_events(), held.state()), (1, 1, State::Idle));
    assert!(held.events.iter().any(|event| matches!(event, Event::Summary { reason: "agent_ended", .. })));

    // Nothing helps against a wrong key, or an agent that does not exist.
    for (given, part) in [
        ([("ultravox_api_key", "another"), ("system_prompt", "")], "HTTP 403: Invalid API key; check ultravox_api_key"),
        ([("ultravox_agent", "nobody"), ("system_prompt", "")], "HTTP 404: Not found.; check ultravox_agent"),
    ] {
        let mut world = world(&agent, &given);
        world.pass(Duration::from_secs(30));
        let failed = |event: &Event| match event {
            Event::State { state: State::Failed, message, .. } => Some(message.clone()),
            _ => None,
        };
        let message = world.events.iter().find_map(failed).unwrap();
        assert!(message.contains(part) && !message.contains("another"), "{message}");
        assert_eq!((world.state(), world.connects, world.last_events()), (State::Failed, 0, 1));
    }

    // A call that is gone before it is joined is replaced.
    let agent = Agent::answering([answered(91, 500, "Yes.")]);
    let mut world = world(&agent, &[]);
    world.until("the address", |_| !agent.created.lock().is_empty());
    agent.open.lock().clear();
    world.until("the next call", |world| world.state() == State::Listening);
    assert_eq!((agent.created.lock().len(), world.records.len()), (2, 1));
    assert_eq!(world.complaints(), [""; 0]);
}

#[test]
fn whatever_is_not_refused_is_taken_by_ultravox() {
    let mut taken = 0;
    for given in [
        &[("voice", "Mark"), ("ultravox_model", "ultravox-v0.7"), ("transcription_language", "de-DE")][..],
        &[("vad_threshold", "0.1"), ("vad_silence_duration_ms", "9999")],
        &[("vad_threshold", "1"), ("vad_silence_duration_ms", "50")],
        &[("builtin_tools", "hang_up,send_dtmf"), ("tool_timeout_ms", "35000")],
        &[(
            "ultravox_call",
            r#"{"temperature":0.4,"recordingEnabled":true,"vadSettings":{"minimumTurnDuration":"0.1s"}}"#,
        )],
        &[("ultravox_call", r#"{"selectedTools":[{"toolName":"queryCorpus"}]}"#)],
        &[("ultravox_agent", STORED), ("system_prompt", ""), ("voice", "Mark")],
        &[("ultravox_agent", STORED), ("system_prompt", ""), ("greeting", "Good day."), ("tools", "[]")],
        &[("tool_choice", "auto"), ("noise_suppression", "low"), ("greeting_instructions", "Greet the caller.")],
        &[("turn_detection", "local")],
        &[("tool_choice", "none")],
        &[("speed", "1.1")],
    ] {
        let options = options(given);
        if engines::of(&options).check(&options, Vec::new()).is_err() {
            continue;
        }
        let agent = Agent::answering([Answer::default()]);
        let mut world = world(&agent, given);
        world.until("the call", |world| matches!(world.state(), State::Listening | State::Speaking));
        world.pass(Duration::from_secs(4));
        assert_eq!((world.state(), world.complaints()), (State::Listening, vec![]), "{given:?}");
        assert_eq!(*agent.refused.lock(), [], "{given:?}");
        taken += 1;
    }
    assert_eq!(taken, 9);
}

#[test]
fn ultravox_refuses_what_its_own_schema_refuses() {
    let call = json!({"systemPrompt": "Be brief.", "voice": "Mark", "medium": {"serverWebSocket": {"inputSampleRate": 8_000}},
        "vadSettings": {"turnEndpointDelay": "0.5s", "frameActivationThreshold": 0.3}, "firstSpeakerSettings": {"user": {}},
        "selectedTools": [{"temporaryTool": {"modelToolName": "f", "description": "", "client": {}, "timeout": "20s"}}],
        "initialMessages": [{"role": "MESSAGE_ROLE_TOOL_CALL", "text": "{}", "invocationId": "a", "toolName": "f"},
            {"role": "MESSAGE_ROLE_TOOL_RESULT", "text": "", "invocationId": "a", "toolName": "f"}]});
    assert_eq!(check_call(&call, false), Ok(()));
    assert!(check_call(&call, true).is_err(), "a stored agent has its own prompt");
    let with = |path: &str, value: Value| {
        let mut changed = call.clone();
        *changed.pointer_mut(path).unwrap() = value;
        check_call(&changed, false).is_err()
    };
    assert!(with("/medium", json!({})) && with("/medium/serverWebSocket/inputSampleRate", json!("8000")));
    assert!(with("/vadSettings/turnEndpointDelay", json!("500ms")) && with("/vadSettings", json!({"silence": 1})));
    assert!(with("/firstSpeakerSettings", json!({})) && with("/systemPrompt", json!(7)));
    assert!(with("/selectedTools/0/temporaryTool/timeout", json!("60s")) && with("/selectedTools/0", json!({})));
    assert!(with("/selectedTools/0/temporaryTool/client", json!({"a": 1})));
    assert!(with("/initialMessages/1/invocationId", json!("b")) && with("/initialMessages/0/role", json!("user")));
    for message in [
        json!({"type": "user_text_message", "text": "", "urgency": "immediate", "deferResponse": true}),
        json!({"type": "forced_agent_message", "content": "Good day.", "urgency": "soon"}),
        json!({"type": "client_tool_result", "invocationId": "a", "result": ""}),
    ] {
        assert_eq!(check(&message), Ok(()), "{message}");
    }
    for message in [
        json!({"type": "user_text_message", "text": "", "urgency": "soon"}),
        json!({"type": "user_text_message", "text": "x", "urgency": "now"}),
        json!({"type": "user_text_message", "content": "x"}),
        json!({"type": "forced_agent_message", "content": " "}),
        json!({"type": "forced_agent_message", "content": "x", "urgency": "later"}),
        json!({"type": "client_tool_result", "result": "x"}),
        json!({"type": "client_tool_result", "invocationId": "a", "result": {"a": 1}}),
        json!({"type": "set_output_medium", "medium": "audio"}),
        json!({"type": "response.create"}),
        json!({"text": "x"}),
    ] {
        assert!(check(&message).is_err(), "{message}");
    }
}

#[test]
fn a_hundred_turns_with_ultravox_keep_their_invariants() {
    for (first, speaks_while_heard, words_first) in [(17, true, false), (18, false, false), (19, true, true)] {
        let answers = Answers::by(|asked| match asked.response % 7 {
            3 => Answer::call("look_up", &json!({})),
            4 => Answer {
                calls: Answer::call("look_up", &json!({})).calls,
                text: format!("I look up number {}.", asked.response),
                ..Answer::chord(asked.response as u64, 900)
            },
            5 => Answer { pace: Pace::Times(2.0), ..Answer::chord(5, 3_000) },
            n => Answer {
                text: format!("This is number {n}. And there is more of it."),
                pace: if n % 2 == 0 { Pace::Burst } else { Pace::Times(1.3) },
                thinking: Duration::from_millis(n as u64 * 100),
                ..Answer::chord(n as u64, 400 + 500 * n as u32)
            },
        });
        let agent = Agent { answers, speaks_while_heard, words_first, ..Agent::answering([Answer::default()]) };
        let mut world = world(&agent, &[("ai_reconnect_max", "100")]);
        world.frame = FRAME * 2;
        let cuts = world.hundred_turns(first, |_| What::Close(1_011, ""));
        let state = world.state();
        assert!(matches!(state, State::Listening | State::Error), "{first}: stuck in {state}");
        assert!(world.is_silent() && world.late_played == 0 && world.faults.is_empty(), "{first}: {:?}", world.faults);
        assert_eq!((world.complaints(), agent.refused.lock().len()), (vec![], 0), "{first}");
        assert!(cuts > 3 && world.records.len() <= cuts + 1, "{first}: {} calls, {cuts} losses", world.records.len());
        let given: usize = world.records.iter().map(|record| record.lock().answers.len()).sum();
        let interrupted = world.interruptions();
        assert!(given >= 70 && interrupted >= 15, "{first}: {given} answers, {interrupted} interruptions");
        // Nothing that was given up is waited for: no request has run into its time limit.
        let late: Vec<_> = world.errors().into_iter().filter(|error| error.starts_with("timeout")).collect();
        assert_eq!(late, [""; 0], "{first}");
        // A call begins with the words that the caller has heard of the agent, and with no others.
        let told = |event: &Event| match event {
            Event::Transcript { speaker: Speaker::Agent, heard_text: Some(heard), .. } => Some(heard.trim().to_owned()),
            _ => None,
        };
        let heard: Vec<String> = world.events.iter().filter_map(told).collect();
        let calls = agent.created.lock().len();
        for (_, said) in (0..calls).flat_map(|call| agent.past(call)).filter(|(role, _)| role == "MESSAGE_ROLE_AGENT") {
            assert!(heard.contains(&said), "{first}: never heard: {said}");
        }
        for (source, _) in &world.heard_of {
            assert!(matches!(source, Source::Item(_)), "{source:?}");
        }
        world.input(Input::Stop { text: None, call_ended: true });
        world.pass(Duration::from_millis(500));
        assert_eq!((world.last_events(), world.conversation_deadline()), (1, None), "{first}");
    }
}
