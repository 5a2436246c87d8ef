//! Conversations with Deepgram's Voice Agent on virtual time, against a service that is as strict as its vendor's own types.

use std::sync::Arc;
use std::time::Duration;

use mod_audio_stream::control::options;
use mod_audio_stream::conversation::agent::{Event, Source, Speaker, State};
use mod_audio_stream::conversation::{AiOptions, AiPlan, engines};
use mod_audio_stream::peer::{Input, Peer, Tell};
use mod_audio_stream::stream::options::StreamOptions;
use mod_audio_stream::units::SampleRate;
use serde_json::json;

use crate::deepgram_service::{Agent, KEY, WORDS_SEED, check};
use crate::realtime::*;
use crate::support::signal;
use crate::world::*;

const LOOK_UP: &str = r#"[{"name":"look_up","description":"Looks up an order.","parameters":{"type":"object"}}]"#;

fn options(given: &[(&str, &str)]) -> AiOptions {
    let mut options = StreamOptions::default();
    let own = [
        ("engine", "deepgram"),
        ("deepgram_api_key", KEY),
        ("deepgram_model", "open_ai/gpt-4.1-mini"),
        ("system_prompt", "Be brief."),
        ("tools", LOOK_UP),
    ];
    for (key, value) in own.iter().chain(given) {
        let row = options::ai_row(key).unwrap_or_else(|| panic!("no option {key}"));
        row.set(&mut options, value).unwrap_or_else(|why| panic!("{key}: {why}"));
    }
    Arc::unwrap_or_clone(options.ai)
}

fn world_at(rate: SampleRate, agent: Agent, given: &[(&str, &str)]) -> World {
    let options = options(given);
    let plan = AiPlan::new(engines::of(&options), &options, Vec::new(), rate, Some("PCMU")).unwrap();
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

#[test]
fn a_whole_conversation_with_deepgram_is_held() {
    let story = "It is a long story. It has a second part. It has a third one too.";
    let answers = vec![
        Answer { text: story.into(), late: 4, ..Answer::chord(81, 6_000) },
        Answer::call("look_up", &json!({"order": 7})),
        Answer { text: "It has left.".into(), ..Answer::chord(82, 900) },
        Answer { text: "Goodbye.".into(), ..Answer::chord(83, 700) },
    ];
    let agent =
        Agent { words: vec!["Tell me a story.", "Where is my order?", "Thank you."], ..Agent::answering(answers) };
    let mut world = world(agent, &[("greeting", "Good day."), ("deepgram_auth", "auto")]);
    // The greeting, word for word: the service says it in a voice of its own.
    world.until("the greeting", |world| world.state() == State::Speaking);
    world.until("its end", |world| world.state() == State::Listening);
    let (_, greeted) = heard_ms(&world.heard, &chord(8_000, 450, WORDS_SEED), 8_000).unwrap();
    assert!((430.0..=470.0).contains(&greeted), "{greeted}");
    assert_eq!(world.record(0).told("InjectAgentMessage")[0]["message"], "Good day.");

    // An answer that the caller interrupts: what was heard of it, and silence from then on.
    says(&mut world, 900, 3);
    world.until("the story", |world| world.state() == State::Speaking);
    world.pass(Duration::from_millis(2_500));
    says(&mut world, 900, 4);
    world.until("the call", |world| !world.calls().is_empty());
    let heard = |event: &Event| match event {
        Event::Transcript { speaker: Speaker::Agent, text, heard_text: Some(heard), .. } if text == story => {
            Some(heard.clone())
        }
        _ => None,
    };
    let words = world.events.iter().find_map(heard).unwrap();
    assert!(words.starts_with("It is a long story.") && !words.contains("third"), "{words}");
    let (at, interrupted) = heard_ms(&world.heard, &chord(8_000, 6_000, 81), 8_000).unwrap();
    let after = &world.heard[at + (interrupted * 8.0) as usize + 160..];
    assert!(interrupted < 4_500.0 && crate::support::audio::rms(after) < 50.0, "{interrupted}");

    // A function, and its result.
    let call_id = world.calls()[0].clone();
    world.input(Input::ToolResult { call_id: call_id.clone(), output: r#"{"status":"shipped"}"#.into() });
    world.until("the answer", |world| world.state() == State::Speaking);
    world.until("its end", |world| world.state() == State::Listening);
    let result = world.record(0).told("FunctionCallResponse");
    assert_eq!(
        result,
        [json!({"type": "FunctionCallResponse", "id": call_id, "name": "look_up",
        "content": r#"{"status":"shipped"}"#})]
    );
    let (_, whole) = heard_ms(&world.heard, &chord(8_000, 900, 82), 8_000).unwrap();
    assert!((880.0..=920.0).contains(&whole), "{whole}");

    // The connection is lost: the next session knows what was said and heard, from its settings.
    world.cut_for(Duration::from_millis(300));
    world.until("the next session", |world| world.records.len() == 2 && world.state() == State::Listening);
    let settings = world.record(1).told("Settings")[0].clone();
    let messages = settings["agent"]["context"]["messages"].as_array().unwrap();
    let said = |role: &str, words: &str| messages.contains(&json!({"type": "History", "role": role, "content": words}));
    assert!(said("assistant", "Good day.") && said("user", "Tell me a story.") && said("assistant", &words));
    assert!(said("user", "Where is my order?") && said("assistant", "It has left."), "{messages:?}");
    let call = messages.iter().find(|message| message["function_calls"].is_array()).unwrap();
    assert_eq!(call["function_calls"][0]["response"], r#"{"status":"shipped"}"#);
    says(&mut world, 900, 5);
    world.until("the goodbye", |world| world.state() == State::Speaking);
    world.until("its end", |world| world.state() == State::Listening);
    assert_eq!(world.complaints(), [""; 0]);
    assert_eq!((world.errors(), world.faults.len(), world.late_played), (vec![], 0, 0));
    assert_eq!(world.conversation.policy().stats().barge_in_count, 1);
    // The service's own time for its voice is in the numbers of a turn.
    let speech =
        |event: &Event| matches!(event, Event::Turn(turn) if turn.figures.speech == Some(Duration::from_millis(100)));
    assert!(world.events.iter().any(speech));
}

#[test]
fn the_caller_is_heard_in_every_coding() {
    for (rate, given, format) in [
        (SampleRate::HZ_8000, ("ai_audio", "auto"), json!({"encoding": "mulaw", "sample_rate": 8_000})),
        (SampleRate::HZ_8000, ("ai_audio", "pcma"), json!({"encoding": "alaw", "sample_rate": 8_000})),
        (SampleRate::HZ_16000, ("ai_audio", "auto"), json!({"encoding": "linear16", "sample_rate": 16_000})),
        (SampleRate::HZ_24000, ("ai_audio", "pcm"), json!({"encoding": "linear16", "sample_rate": 24_000})),
    ] {
        let mut world = world_at(rate, Agent::answering([Answer::chord(81, 800)]), &[given]);
        world.until("the session", |world| world.state() == State::Listening);
        let hz = rate.hz();
        let speech = signal::speech(hz, 900, 3);
        world.mouth.extend(&speech);
        world.pass(Duration::from_millis(1_400));
        world.until("the answer", |world| world.state() == State::Speaking);
        let record = world.record(0);
        assert_eq!(record.format, format);
        let (_, alike) = crate::support::audio::find(&record.audio, &speech[..speech.len() / 2]);
        assert!(alike > 0.99, "{format}: {alike}");
        assert_eq!(record.complaints, []);
    }
}

#[test]
fn texts_keys_and_the_end_of_a_call_are_answered() {
    let answers = vec![Answer { text: "Very well.".into(), ..Answer::chord(81, 600) }];
    let mut world = world(Agent::answering(answers), &[("dtmf_to_model", "true"), ("dtmf_length", "2")]);
    world.until("the session", |world| world.state() == State::Listening);
    for digit in ['1', '2'] {
        world.input(Input::Dtmf { digit, duration_ms: 100 });
    }
    world.until("the answer", |world| world.state() == State::Speaking);
    world.until("its end", |world| world.state() == State::Listening);
    let injected = world.record(0).told("InjectUserMessage");
    assert!(injected.len() == 1 && injected[0]["content"].as_str().unwrap().contains("12"), "{injected:?}");
    // What the module has injected is no transcript of the caller.
    let caller = |event: &Event| matches!(event, Event::Transcript { speaker: Speaker::Caller, .. });
    assert!(!world.events.iter().any(caller));

    // A text that nobody answers is in the prompt before the caller's next turn is over.
    world.input(Input::Tell(Tell { speaker: Speaker::System, text: "They are a member.", respond: false }));
    world.pass(Duration::from_millis(500));
    assert_eq!(world.record(0).told("UpdatePrompt").len(), 0);
    says(&mut world, 900, 3);
    let prompt = world.record(0).told("UpdatePrompt")[0]["prompt"].clone();
    assert_eq!(prompt, "Be brief.\n\nThey are a member.");

    // Words of the operator's, while the agent speaks: behind what it says.
    world.until("the answer", |world| world.state() == State::Speaking);
    world.input(Input::Say("The line is closing.".into()));
    world.until("the words", |world| !world.record(0).told("InjectAgentMessage").is_empty());
    world.until("their end", |world| world.state() == State::Listening);
    let (_, said) = heard_ms(&world.heard, &chord(8_000, 1_000, WORDS_SEED), 8_000).unwrap();
    assert!((980.0..=1_020.0).contains(&said), "{said}");
    assert_eq!((world.complaints(), world.errors()), (vec![], vec![]));
}

#[test]
fn a_function_that_the_caller_interrupts_is_void() {
    let answers = vec![Answer::call("look_up", &json!({})), Answer { text: "Good.".into(), ..Answer::chord(81, 500) }];
    let mut world = world(Agent::answering(answers), &[]);
    world.until("the session", |world| world.state() == State::Listening);
    says(&mut world, 900, 3);
    world.until("the call", |world| !world.calls().is_empty());
    says(&mut world, 900, 4);
    world.until("the answer", |world| world.state() == State::Speaking);
    assert!(world.errors().iter().any(|error| error.starts_with("cancelled: ")), "{:?}", world.errors());
    // A later result is none of that call: the model learns of it as a text.
    let call_id = world.calls()[0].clone();
    world.input(Input::ToolResult { call_id, output: "{}".into() });
    world.until("the end", |world| world.state() == State::Listening);
    assert_eq!(world.record(0).told("FunctionCallResponse").len(), 0);
    world.until("the text", |world| !world.record(0).told("InjectUserMessage").is_empty());
    assert_eq!(world.complaints(), [""; 0]);
}

#[test]
fn a_call_on_hold_keeps_its_session() {
    let mut world = world(Agent::answering([Answer::chord(81, 500)]), &[]);
    world.until("the session", |world| world.state() == State::Listening);
    world.skips_silence = true;
    world.pass(Duration::from_secs(60));
    assert_eq!((world.records.len(), world.state()), (1, State::Listening));
    assert_eq!(world.record(0).told("KeepAlive").len(), 7);
    assert_eq!(world.complaints(), [""; 0]);
}

#[test]
fn a_session_is_changed_as_its_options_are() {
    let mut world = world(Agent::answering([Answer::chord(81, 500)]), &[]);
    world.until("the session", |world| world.state() == State::Listening);
    let mut change = |key: &str, value: &str| {
        world.input(Input::Change(&[(key.to_owned(), value.to_owned())]));
        world.pass(Duration::from_millis(300));
    };
    change("system_prompt", "Be quick.");
    change("voice", "aura-2-thalia-en");
    change("tools", "[]");
    assert_eq!(world.record(0).told("UpdatePrompt")[0]["prompt"], "Be quick.");
    assert_eq!(world.record(0).told("UpdateSpeak")[0]["speak"]["provider"]["model"], "aura-2-thalia-en");
    assert_eq!(world.record(0).told("UpdateThink")[0]["think"]["functions"], json!(null));
    let changes = world.conversation.report().unwrap().changes.len();
    assert_eq!((changes, world.complaints(), world.errors()), (3, vec![], vec![]));
    // The next session has them from its beginning.
    world.cut();
    world.reachable = true;
    world.until("the next session", |world| world.records.len() == 2 && world.state() == State::Listening);
    let agent = world.record(1).told("Settings")[0]["agent"].clone();
    assert_eq!((&agent["think"]["prompt"], &agent["think"]["functions"]), (&json!("Be quick."), &json!(null)));
    assert_eq!(agent["speak"]["provider"]["model"], "aura-2-thalia-en");
}

#[test]
fn a_refused_key_ends_and_a_failed_agent_comes_back() {
    let mut world = world(Agent::answering([Answer::chord(81, 500)]), &[("deepgram_api_key", "another")]);
    world.pass(Duration::from_secs(30));
    assert_eq!((world.state(), world.connects), (State::Failed, 1));
    let failed = |event: &Event| match event {
        Event::State { state: State::Failed, message, .. } => Some(message.clone()),
        _ => None,
    };
    let message = world.events.iter().find_map(failed).unwrap();
    assert!(message.contains("check deepgram_api_key, deepgram_auth"), "{message}");

    let thinking = Duration::from_secs(2);
    let answers = vec![Answer { text: "Very well.".into(), thinking, ..Answer::chord(82, 700) }];
    let mut world = self::world(Agent::answering(answers), &[]);
    world.until("the session", |world| world.state() == State::Listening);
    says(&mut world, 900, 3);
    // Before it has said anything: the words of the caller are answered in the next session.
    world.order(Order::Trouble(What::Error("", "FAILED_TO_THINK")));
    world.until("the answer", |world| world.records.len() == 2 && world.state() == State::Speaking);
    world.until("its end", |world| world.state() == State::Listening);
    assert_eq!(world.record(1).told("InjectUserMessage")[0]["content"], "What the caller says.");
    assert_eq!(world.complaints(), [""; 0]);
}

#[test]
fn the_module_can_end_the_turns_of_deepgram() {
    let given = [("turn_detection", "local"), ("transcription_model", "flux-general-en")];
    let answers = vec![Answer { text: "Very well.".into(), ..Answer::chord(82, 700) }];
    let mut world = world(Agent::answering(answers), &given);
    world.until("the session", |world| world.state() == State::Listening);
    world.mouth.extend(signal::speech(8_000, 900, 3));
    world.pass(Duration::from_millis(80));
    world.input(Input::LocalSpeech(true));
    world.pass(Duration::from_millis(1_500));
    assert_eq!(world.state(), State::Listening, "the service ends no turn by itself");
    world.input(Input::LocalSpeech(false));
    world.until("the answer", |world| world.state() == State::Speaking);
    world.until("its end", |world| world.state() == State::Listening);
    assert_eq!(world.record(0).told("ForceEndTurn").len(), 1);
    // A noise is no turn: nothing comes of it, and nobody waits.
    world.input(Input::LocalSpeech(true));
    world.input(Input::LocalSpeech(false));
    world.pass(Duration::from_secs(3));
    assert_eq!(world.state(), State::Listening);
    assert_eq!((world.complaints(), world.errors()), (vec![], vec![]));
}

#[test]
fn whatever_is_not_refused_is_taken_by_deepgram() {
    let mut taken = 0;
    for given in [
        &[("voice", "flux-kit-en"), ("speed", "0.85")][..],
        &[("transcription_model", "nova-3"), ("transcription_language", "multi"), ("transcription_prompt", "a, b")],
        &[("transcription_model", "flux-general-multi"), ("transcription_language", "de")],
        &[("transcription_language", "es")],
        &[("transcription_model", "flux-general-en"), ("turn_detection", "semantic_vad"), ("vad_eagerness", "low")],
        &[("turn_detection", "semantic_vad")],
        &[("deepgram_model", "anthropic/claude-sonnet-5"), ("builtin_tools", "hang_up,send_dtmf")],
        &[("deepgram_model", "groq/openai/gpt-oss-20b"), ("reasoning_effort", "low")],
        &[("deepgram_model", "anthropic/claude-sonnet-5"), ("reasoning_effort", "low")],
        &[("deepgram_agent", "a1b2c3"), ("deepgram_model", ""), ("system_prompt", "")],
        &[("openai_session", r#"{"tags":["a"],"mip_opt_out":true,"flags":{"history":false}}"#)],
        &[("turn_detection", "local")],
        &[("noise_reduction", "far_field")],
        &[("tool_choice", "none")],
    ] {
        let options = options(given);
        if engines::of(&options).check(&options, Vec::new()).is_err() {
            continue;
        }
        let mut world = world(Agent::answering([Answer::default()]), given);
        world.pass(Duration::from_secs(1));
        assert_eq!((world.state(), world.complaints()), (State::Listening, vec![]), "{given:?}");
        taken += 1;
    }
    assert_eq!(taken, 10);
}

#[test]
fn deepgram_refuses_what_its_own_types_refuse() {
    let audio = json!({"input": {"encoding": "mulaw", "sample_rate": 8_000}});
    let think = json!({"provider": {"type": "open_ai", "model": "m"}});
    let settings = json!({"type": "Settings", "audio": audio, "agent": {"think": think}});
    assert_eq!(check(&settings), Ok(()));
    let with = |path: &str, value: serde_json::Value| {
        let mut changed = settings.clone();
        *changed.pointer_mut(path).unwrap() = value;
        check(&changed).is_err()
    };
    assert!(with("/audio/input/encoding", json!("pcm")) && with("/audio/input/sample_rate", json!("8000")));
    assert!(with("/agent/think/provider", json!({"type": "xai", "model": "m"})) && with("/agent", json!(7)));
    assert!(with("/agent/think/provider", json!({"type": "open_ai"})) && with("/agent", json!({"endpointing": 300})));
    for message in [
        json!({"type": "SettingsConfiguration"}),
        json!({"type": "InjectAgentMessage", "content": "x"}),
        json!({"type": "InjectAgentMessage", "message": "x", "behavior": "now"}),
        json!({"type": "InjectUserMessage", "content": 7}),
        json!({"type": "FunctionCallResponse", "name": "look_up", "content": "x"}),
        json!({"type": "UpdateListen", "listen": {"provider": {"type": "deepgram", "version": "v2", "model": "nova-3"}}}),
        json!({"type": "UpdatePrompt"}),
        json!({"prompt": "x"}),
    ] {
        assert!(check(&message).is_err(), "{message}");
    }
}

#[test]
fn a_hundred_turns_with_deepgram_keep_their_invariants() {
    for first in [17, 18, 19] {
        let answers = Answers::by(|asked| match asked.response % 7 {
            3 => Answer::call("look_up", &json!({})),
            5 => Answer { pace: Pace::Times(2.0), ..Answer::chord(5, 3_000) },
            n => Answer {
                late: n as u32 % 3,
                text: format!("This is number {n}. And there is more of it."),
                ..Answer::chord(n as u64, 400 + 500 * n as u32)
            },
        });
        let mut world =
            world(Agent { answers, ..Agent::answering([Answer::default()]) }, &[("ai_reconnect_max", "100")]);
        world.frame = FRAME * 2;
        let cuts = world.hundred_turns(first, |seed| {
            let codes = ["FAILED_TO_SPEAK", "SERVER_GOING_AWAY", "ASR_CONNECTION_CLOSED"];
            What::Error("", codes[chance(seed, 3) as usize])
        });
        let state = world.state();
        let why = world.events.iter().filter(|event| matches!(event, Event::State { code, .. } if !code.is_empty()));
        let why: Vec<_> = why.collect();
        assert!(matches!(state, State::Listening | State::Error), "{first}: stuck in {state}: {why:?}");
        assert!(world.is_silent() && world.late_played == 0 && world.faults.is_empty(), "{first}: {:?}", world.faults);
        assert_eq!(world.complaints(), [""; 0], "{first}");
        assert!(world.records.len() <= cuts + 1, "{first}: {} sessions, {cuts} losses", world.records.len());
        let given: usize = world.records.iter().map(|record| record.lock().answers.len()).sum();
        let interrupted = world.conversation.policy().stats().barge_in_count;
        assert!(given >= 70 && interrupted >= 15, "{first}: {given} answers, {interrupted} interruptions");
        // Nothing that was given up is waited for: no request has run into its time limit.
        let late: Vec<_> = world.errors().into_iter().filter(|error| error.starts_with("timeout")).collect();
        assert_eq!(late, [""; 0], "{first}");
        // What a session is told that the agent said, the caller has heard.
        for record in world.records.iter().skip(1) {
            for settings in record.lock().told("Settings") {
                for message in settings["agent"]["context"]["messages"].as_array().into_iter().flatten() {
                    if message["role"] == "assistant" {
                        let words = message["content"].as_str().unwrap();
                        let heard = |event: &Event| match event {
                            Event::Transcript { speaker: Speaker::Agent, heard_text: Some(heard), .. } => {
                                heard.trim() == words
                            }
                            _ => false,
                        };
                        assert!(world.events.iter().any(heard), "{first}: never heard: {words}");
                    }
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
