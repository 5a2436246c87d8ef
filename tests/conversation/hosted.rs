//! A hosted agent on virtual time: turns, interruptions, tools, texts and losses against a service that takes only what the vendor's types
//! take.

use std::time::Duration;

use mod_audio_stream::conversation::agent::{Event, Speaker, State};
use mod_audio_stream::conversation::{AiOptions, AiPlan, engines};
use mod_audio_stream::options::Options as _;
use mod_audio_stream::peer::{Input, Tell};
use mod_audio_stream::units::SampleRate;
use serde_json::{Value, json};

use crate::realtime::*;
use crate::support::{audio, signal};
use crate::world::*;

const TOOLS: &str = r#"[{"name":"look_up","description":"Looks up an order.","parameters":{"type":"object"}}]"#;

fn options(given: &[(&str, &str)]) -> AiOptions {
    let mut options = AiOptions::default();
    let rows = AiOptions::rows();
    let own = [
        ("engine", "elevenlabs"),
        ("elevenlabs_agent_id", AGENT),
        ("elevenlabs_api_key", AGENT_KEY),
        ("elevenlabs_base_url", "http://agents.example"),
        ("tools", TOOLS),
    ];
    for (key, value) in own.iter().chain(given) {
        let row = rows.iter().find(|row| row.key == *key).unwrap_or_else(|| panic!("no option {key}"));
        row.set(&mut options, value).unwrap_or_else(|why| panic!("{key}: {why}"));
    }
    options
}

fn world(script: Script, given: &[(&str, &str)]) -> World {
    let options = options(given);
    let plan = AiPlan::new(engines::of(&options), &options, Vec::new(), SampleRate::HZ_8000, Some("PCMU")).unwrap();
    assert!(plan.caller.vad.is_none() && plan.speech.is_none(), "the service hears the caller and speaks");
    let mut world = World::with(plan.engine, plan.agent, script);
    world.input(Input::Start);
    world
}

fn agent(hosted: Hosted, answers: Vec<Answer>) -> Script {
    Script { hosted: Some(hosted), ..Script::answering(answers) }
}

fn says(world: &mut World, ms: u32, seed: u64) {
    world.mouth.extend(signal::speech(8_000, ms, seed));
    world.pass(Duration::from_millis(u64::from(ms)));
}

/// What the service of a connection was told of one type.
fn told(world: &World, connection: usize, kind: &str) -> Vec<String> {
    let text = |event: Value| event["text"].as_str().unwrap_or_default().to_owned();
    world.record(connection).told(kind).into_iter().map(text).collect()
}

/// The heard texts of the agent's messages that are known, by what the agent wrote.
fn heard_texts(world: &World, wrote: &str) -> Vec<String> {
    let heard = |event: &Event| match event {
        Event::Transcript { speaker: Speaker::Agent, text, heard_text: Some(heard), .. } if text == wrote => {
            Some(heard.clone())
        }
        _ => None,
    };
    world.events.iter().filter_map(heard).collect()
}

#[test]
fn a_hosted_agent_holds_a_whole_conversation() {
    let story = "It is a long story, and it has a second part, which nobody has ever heard to its end.";
    let answers = vec![
        Answer { late: 4, text: story.into(), ..Answer::chord(71, 8_000) },
        Answer::call("look_up", &json!({"order": 7})),
        Answer { text: "It has left.".into(), ..Answer::chord(72, 900) },
        Answer { text: "Good-bye.".into(), ..Answer::chord(73, 700) },
    ];
    let greeting = Answer { text: "Hello, what can I do for you?".into(), ..Answer::chord(70, 1_000) };
    let hosted = Hosted { greeting: Some(greeting), ..Hosted::default() };
    let mut world = world(agent(hosted, answers), &[]);
    world.until("the greeting", |world| world.state() == State::Speaking);
    world.until("its end", |world| world.state() == State::Listening);

    says(&mut world, 900, 3);
    world.until("the story", |world| world.state() == State::Speaking);
    world.pass(Duration::from_millis(1_500));
    says(&mut world, 700, 4);
    world.until("the call", |world| !world.calls().is_empty());
    let interrupted = world.events.iter().filter(|event| matches!(event, Event::BargeIn { .. })).count();
    assert_eq!((interrupted, world.late_played), (1, 0));
    let heard = heard_texts(&world, story);
    assert!(story.starts_with(heard.last().unwrap()) && heard.last().unwrap().len() < 40, "{heard:?}");
    let call_id = world.calls()[0].clone();
    world.input(Input::ToolResult { call_id, output: r#"{"error":"no such order"}"#.into() });
    world.until("the answer", |world| world.state() == State::Speaking);
    world.until("its end", |world| world.state() == State::Listening);
    assert_eq!(world.record(0).told("client_tool_result")[0]["is_error"], true);

    // A new conversation knows what was said, and its first words are not heard again.
    world.cut_for(Duration::from_millis(700));
    world.until("the next conversation", |world| world.state() == State::Listening);
    world.pass(Duration::from_millis(1_500));
    let context = told(&world, 1, "contextual_update");
    assert!(context.iter().any(|text| text == "You have said: It has left."), "{context:?}");
    assert!(context.iter().any(|text| text == "The caller has said: Hello there."), "{context:?}");
    assert_eq!(world.state(), State::Listening);
    says(&mut world, 900, 5);
    world.until("the last answer", |world| world.state() == State::Speaking);
    world.until("its end", |world| world.state() == State::Listening);
    world.input(Input::Stop { text: None, call_ended: true });
    world.pass(Duration::from_millis(200));

    for (seed, ms) in [(70, 1_000), (72, 900), (73, 700)] {
        let (_, length) = heard_ms(&world.heard, &chord(8_000, ms, seed), 8_000).unwrap();
        assert!((f64::from(ms) - 25.0..=f64::from(ms) + 25.0).contains(&length), "{seed}: {length}");
    }
    let greeted = world.heard.len();
    let (at, _) = heard_ms(&world.heard, &chord(8_000, 1_000, 70), 8_000).unwrap();
    assert!(heard_ms(&world.heard[at + 8_000..greeted], &chord(8_000, 1_000, 70), 8_000).is_none(), "greeted twice");
    assert_eq!((world.complaints(), world.faults.clone()), (Vec::new(), Vec::new()));
    assert_eq!(world.last_events(), 1);
    let pings: usize = world.records.iter().map(|record| record.lock().told("pong").len()).sum();
    assert_eq!(pings, 2);
}

#[test]
fn audio_goes_each_way_as_the_agent_is_set() {
    for (input, output) in [("pcm_16000", "pcm_24000"), ("ulaw_8000", "pcm_16000"), ("pcm_24000", "ulaw_8000")] {
        let hosted = Hosted { input, output, private: false, ..Hosted::default() };
        let script = agent(hosted, vec![Answer::chord(75, 1_500)]);
        let mut world = world(script, &[("elevenlabs_public", "true")]);
        world.until("the conversation", |world| world.state() == State::Listening);
        world.mouth.extend(chord(8_000, 1_200, 76));
        world.pass(Duration::from_millis(1_200));
        world.until("the answer", |world| world.state() == State::Speaking);
        world.until("its end", |world| world.state() == State::Listening);
        let rate = if input == "ulaw_8000" { 8_000 } else { input[4..].parse().unwrap() };
        let heard = world.record(0).audio.clone();
        let (_, alike) = audio::find(&heard, &chord(rate, 1_200, 76)[..rate as usize]);
        assert!(alike > 0.97, "{input}: {alike}");
        let (_, length) = heard_ms(&world.heard, &chord(8_000, 1_500, 75), 8_000).unwrap();
        assert!((1_470.0..=1_530.0).contains(&length), "{output}: {length}");
        assert_eq!(world.complaints(), [""; 0]);
    }
}

#[test]
fn an_agent_that_ends_the_conversation_is_heard_out() {
    let hosted = Hosted { tells_ends: false, ..Hosted::default() };
    let mut world = world(agent(hosted, vec![Answer::chord(77, 3_000)]), &[]);
    world.until("the conversation", |world| world.state() == State::Listening);
    says(&mut world, 800, 3);
    world.until("the answer", |world| world.state() == State::Speaking);
    world.pass(Duration::from_millis(300));
    world.order(Order::Trouble(What::Close(1_000, "Call ended")));
    world.until("the end", |world| world.conversation.policy().is_over());
    let (_, length) = heard_ms(&world.heard, &chord(8_000, 3_000, 77), 8_000).unwrap();
    assert!(length > 2_950.0, "{length}");
    assert_eq!((world.connects, world.last_events(), world.state()), (1, 1, State::Idle));
    assert!(world.events.iter().any(|event| matches!(event, Event::Summary { reason: "agent_ended", .. })));
    let said = |event: &Event| matches!(event, Event::State { last: true, message, .. } if message == "Call ended");
    assert!(world.events.iter().any(said), "{:?}", world.events.last());
}

#[test]
fn an_agent_that_cannot_be_called_fails_the_conversation_once() {
    for (key, value, part) in [
        ("elevenlabs_api_key", "sk_wrong", "HTTP 401: Invalid API key; check elevenlabs_api_key"),
        ("elevenlabs_agent_id", "agent_other", "HTTP 404: There is no such agent.; check elevenlabs_agent_id"),
    ] {
        let mut world = world(agent(Hosted::default(), vec![Answer::default()]), &[(key, value)]);
        world.pass(Duration::from_secs(3));
        let failed = |event: &Event| match event {
            Event::State { state: State::Failed, message, .. } => Some(message.clone()),
            _ => None,
        };
        let message = world.events.iter().find_map(failed).unwrap();
        assert!(message.contains(part) && !message.contains("sk_wrong"), "{message}");
        assert_eq!((world.connects, world.last_events()), (0, 1));
    }
}

#[test]
fn texts_make_the_agent_speak_or_are_context() {
    let answers = [78, 84].map(|seed| Answer { text: "So be it.".into(), ..Answer::chord(seed, 600) }).to_vec();
    let mut world = world(agent(Hosted::default(), answers), &[]);
    world.until("the conversation", |world| world.state() == State::Listening);
    let tell = |speaker, text, respond| Input::Tell(Tell { speaker, text, respond });
    world.input(tell(Speaker::Caller, "My order is 4711.", false));
    world.input(tell(Speaker::System, "The caller is a good customer.", false));
    world.pass(Duration::from_secs(2));
    assert_eq!(world.state(), State::Listening, "nobody has asked for an answer");
    world.input(Input::SendText("Where is it?"));
    world.until("the answer", |world| world.state() == State::Speaking);
    // While the agent speaks nothing interrupts it but the caller: the next answer is asked for when this one has been heard.
    world.input(Input::Say("The office closes soon.".into()));
    world.until("its end", |world| world.state() == State::Processing);
    assert_eq!(told(&world, 0, "user_message"), ["Where is it?"]);
    world.until("the next answer", |world| world.state() == State::Speaking);
    world.until("its end", |world| world.state() == State::Listening);
    assert_eq!(world.record(0).said("interruption").len(), 0);
    for seed in [78, 84] {
        let (_, length) = heard_ms(&world.heard, &chord(8_000, 600, seed), 8_000).unwrap();
        assert!((575.0..=625.0).contains(&length), "{seed}: {length}");
    }
    assert_eq!(
        told(&world, 0, "contextual_update"),
        ["The caller has said: My order is 4711.", "The caller is a good customer."]
    );
    let asked = told(&world, 0, "user_message");
    assert!(
        asked[0] == "Where is it?" && asked[1].ends_with("The office closes soon.") && asked.len() == 2,
        "{asked:?}"
    );
    assert_eq!(world.complaints(), [""; 0]);
}

#[test]
fn what_the_operator_clears_is_not_heard_later() {
    let slow = Answer { pace: Pace::Times(1.5), ..Answer::chord(79, 6_000) };
    let mut world = world(agent(Hosted::default(), vec![slow]), &[]);
    world.until("the conversation", |world| world.state() == State::Listening);
    says(&mut world, 800, 3);
    world.until("the answer", |world| world.state() == State::Speaking);
    world.pass(Duration::from_millis(1_000));
    world.input(Input::Interrupt);
    let from = world.heard.len() + 160;
    world.pass(Duration::from_secs(6));
    assert!(audio::rms(&world.heard[from..]) < 1.0, "the rest of the answer is heard");
    assert_eq!(world.record(0).told("user_activity").len(), 1);
    assert_eq!((world.state(), world.complaints()), (State::Listening, Vec::new()));
}

#[test]
fn words_heard_are_exact_where_the_service_says_the_times() {
    let words = "One two three four five six seven eight nine ten.";
    let hosted = Hosted { aligns: true, corrects: false, ..Hosted::default() };
    let script = agent(hosted, vec![Answer { text: words.into(), ..Answer::chord(80, 5_000) }, Answer::chord(81, 500)]);
    let mut world = world(script, &[]);
    world.until("the conversation", |world| world.state() == State::Listening);
    says(&mut world, 800, 3);
    world.until("the answer", |world| world.state() == State::Speaking);
    world.pass(Duration::from_millis(2_000));
    world.input(Input::Interrupt);
    world.pass(Duration::from_millis(200));
    // 49 characters in 5 s: after 2 s the fourth word has just been said, and the fifth has not.
    assert_eq!(heard_texts(&world, words), ["One two three four"]);
}

#[test]
fn the_scripted_service_refuses_what_the_types_refuse() {
    for message in [
        json!({"user_audio_chunk": "AAAA"}),
        json!({"type": "pong", "event_id": 1}),
        json!({"type": "user_message", "text": null}),
        json!({"type": "user_activity"}),
        json!({"type": "client_tool_result", "tool_call_id": "c", "result": "", "is_error": false}),
        json!({"type": "conversation_initiation_client_data", "conversation_config_override": {"tts": {"speed": 1.1}}}),
    ] {
        assert_eq!(check_message(&message), Ok(()), "{message}");
    }
    for message in [
        json!({}),
        json!({"user_audio_chunk": 7}),
        json!({"user_audio_chunk": "AAAA", "event_id": 1}),
        json!({"type": "user_audio_chunk", "user_audio_chunk": "AAAA"}),
        json!({"type": "pong"}),
        json!({"type": "pong", "event_id": "1"}),
        json!({"type": "contextual_update"}),
        json!({"type": "client_tool_result", "tool_call_id": "c", "result": {}, "is_error": false}),
        json!({"type": "client_tool_result", "tool_call_id": "c", "result": ""}),
        json!({"type": "response.create"}),
        json!({"type": "conversation_initiation_client_data", "conversation_config_override": {"tts": {"speed": 9.0}}}),
        json!({"type": "conversation_initiation_client_data", "conversation_config_override": {"voice": "v"}}),
    ] {
        assert!(check_message(&message).is_err(), "{message}");
    }
}

#[test]
fn a_hundred_turns_of_a_hosted_agent_keep_their_invariants() {
    let answers: Vec<_> = (0..40)
        .map(|n| match n % 5 {
            3 => Answer::call("look_up", &json!({"n": n})),
            _ => Answer {
                text: format!("There is more to say about number {n}, and it is said here."),
                late: n % 4,
                pace: if n % 2 == 0 { Pace::Burst } else { Pace::Times(2.0) },
                thinking: Duration::from_millis(u64::from(n) * 20),
                ..Answer::chord(u64::from(n), 300 + n * 60)
            },
        })
        .collect();
    let hosted = Hosted { greeting: Some(Answer::chord(99, 800)), aligns: true, ..Hosted::default() };
    let answers = Answers::by(move |asked| answers[(asked.response * 7 + asked.connection) % answers.len()].clone());
    let mut world = world(Script { hosted: Some(hosted), answers, ..Script::default() }, &[("ai_reconnect_max", "50")]);
    world.frame = FRAME * 2;
    let (mut seed, mut losses) = (29, 0);
    for _ in 0..100 {
        world.until("a conversation", |world| !matches!(world.state(), State::Connecting | State::Reconnecting));
        says(&mut world, 300 + chance(&mut seed, 900) as u32, 7);
        world.pass(Duration::from_millis(chance(&mut seed, 2_500)));
        match chance(&mut seed, 12) {
            0 => {
                losses += 1;
                world.cut_for(Duration::from_millis(100 + chance(&mut seed, 1_500)));
            }
            1 => world.input(Input::Interrupt),
            2 => world.input(Input::Say("The operator says a word.".into())),
            3 => world.input(Input::SendText("The caller has a question.")),
            4 => world.order(Order::Trouble(What::Close(1_011, ""))),
            5 => world.order(Order::Trouble(What::Error("llm_timeout", "The model was too slow."))),
            6 | 7 => {}
            _ => world.pass(Duration::from_secs(4)),
        }
        world.answer_calls();
    }
    for _ in 0..4 {
        world.pass(Duration::from_secs(25));
        world.answer_calls();
    }
    assert!(matches!(world.state(), State::Listening | State::Error), "stuck in {}", world.state());
    assert!(world.is_silent() && losses > 3, "{losses}");
    assert_eq!((world.late_played, world.faults.clone(), world.complaints()), (0, Vec::new(), Vec::new()));
    let interrupted = world.conversation.policy().stats().barge_in_count;
    let turns: usize = world.records.iter().map(|record| record.lock().said("user_transcript").len()).sum();
    assert!(turns > 70 && interrupted > 15 && world.records.len() > 8, "{turns} {interrupted} {}", world.records.len());
    world.input(Input::Stop { text: None, call_ended: true });
    world.pass(Duration::from_millis(500));
    assert_eq!((world.last_events(), world.conversation_deadline()), (1, None));
}
