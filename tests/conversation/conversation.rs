//! Whole conversations of the module's with the scripted service, on virtual time.

use std::time::Duration;

use mod_audio_stream::conversation::agent::{
    Action, AgentConfig, BargeIn, Builtin, Event, Greeting, Idle, Keys, Source, State, VoiceMode,
};
use mod_audio_stream::conversation::openai::{AudioFormat, ServerVad, TurnDetection};
use mod_audio_stream::conversation::{CallerProcessing, Function};
use mod_audio_stream::dsp::VadSettings;
use mod_audio_stream::peer::{Input, Output};
use serde_json::{Value, json};

use crate::realtime::*;
use crate::support::signal;
use crate::world::*;

const SECOND: Duration = Duration::from_secs(1);

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn speech(world: &mut World, ms: u32, seed: u64) {
    world.mouth.extend(signal::speech(8_000, ms, seed));
}

/// The µ-law or A-law samples that arrive of what was said.
fn coded(samples: &[i16], coding: Coding) -> Vec<i16> {
    coding.decode(&coding.encode(samples)).unwrap()
}

#[test]
fn after_an_interruption_the_service_has_what_was_heard() {
    for format in [AudioFormat::Pcmu, AudioFormat::Pcma, AudioFormat::Pcm24k] {
        let mut engine = telephone();
        engine.profile.output = format;
        let answers = [Answer { late: 3, ..Answer::chord(21, 6_000) }, Answer::chord(22, 1_000)];
        let mut world = World::ready(engine, AgentConfig::default(), Script::answering(answers));
        speech(&mut world, 1_200, 3);
        world.until("the answer", |world| world.state() == State::Speaking);
        world.pass(ms(1_500));
        let before = world.heard.len();
        speech(&mut world, 900, 4);
        world.until("the interruption", |world| world.state() != State::Speaking);
        let trigger = world.heard.len();
        world.until("the second answer", |world| world.state() == State::Speaking);
        world.until("its end", |world| world.state() == State::Listening);
        world.pass(ms(200));

        let (_, first) = heard_ms(&world.heard, &chord(8_000, 6_000, 21), 8_000).unwrap();
        let (_, second) = heard_ms(&world.heard, &chord(8_000, 1_000, 22), 8_000).unwrap();
        assert!(second > 950.0, "{format:?}: {second}");
        assert!(world.heard[trigger + 160..][..1_600].iter().all(|s| *s == 0), "{format:?}: one more frame, silence");
        assert!(trigger > before);
        let record = world.record(0);
        assert_eq!(record.complaints, [], "{format:?}");
        let truncated = record.told("conversation.item.truncate");
        assert_eq!(truncated.len(), 1, "{format:?}");
        let told = truncated[0]["audio_end_ms"].as_f64().unwrap();
        assert!((told - first).abs() <= 20.0, "{format:?}: heard {first}, told {told}");
        let source = Source::Item(truncated[0]["item_id"].as_str().unwrap().to_owned());
        let exactly = world.heard_of(&source).as_millis() as f64;
        assert!((told - exactly).abs() <= 20.0, "{format:?}: heard {exactly}, told {told}");
        assert_eq!(record.told("response.cancel").len(), 0, "the service has cancelled by itself");
    }
}

#[test]
fn a_sentence_arrives_whole_over_a_network_outage_of_3_s() {
    for coding in [AudioFormat::Pcmu, AudioFormat::Pcma] {
        let mut engine = telephone();
        engine.profile.input = coding;
        let mut world = World::ready(engine, AgentConfig::default(), Script::answering([Answer::chord(5, 500)]));
        let sentence = signal::speech(8_000, 7_000, 31);
        world.mouth.extend(&sentence);
        world.pass(ms(2_500));
        world.cut();
        world.pass(ms(3_000));
        assert_eq!(world.state(), State::Reconnecting);
        world.reachable = true;
        world.until("the answer", |world| world.state() == State::Speaking);
        world.until("its end", |world| world.state() == State::Listening);
        assert_eq!(world.records.len(), 2);
        // From the second connection's first sample the service's ear begins anew; what it has heard is all of it.
        let heard = world.service_heard();
        let coding = if coding == AudioFormat::Pcmu { Coding::Pcmu } else { Coding::Pcma };
        let said = coded(&world.said, coding);
        // A few frames are on their way.
        assert!(heard.len() + 10 * 160 > said.len() && heard.len() <= said.len(), "{} of {}", heard.len(), said.len());
        assert!(heard == said[..heard.len()], "not what the caller said");
        assert_eq!(world.conversation.policy().stats().ring_dropped_ms, 0);
        assert_eq!(world.record(1).complaints, []);
    }
}

#[test]
fn a_refused_key_is_reported_once_and_not_tried_again() {
    for wrong_key in [WrongKey::Status, WrongKey::Event] {
        let script = Script { auth: Auth::Bearer("sk-other".into()), wrong_key, ..Script::default() };
        let mut world = World::new(telephone(), AgentConfig::default(), script);
        world.input(Input::Start);
        world.pass(60 * SECOND);
        assert_eq!(world.states(), [State::Connecting, State::Failed], "{wrong_key:?}");
        assert_eq!((world.connects, world.last_events()), (1, 1), "{wrong_key:?}");
    }
}

#[test]
fn the_service_has_nothing_to_complain_of_in_any_profile() {
    let vad = ServerVad { silence_duration_ms: Some(300), ..ServerVad::default() };
    let turns = [
        TurnDetection::Server(vad),
        TurnDetection::Server(ServerVad { interrupt_response: false, create_response: false, ..vad }),
        TurnDetection::Semantic(Default::default()),
        TurnDetection::Off,
    ];
    for turns in turns {
        for voice in [VoiceMode::Engine, VoiceMode::Synthesis] {
            for min_speech in [Duration::ZERO, ms(200)] {
                let mut engine = telephone();
                engine.profile.turn_detection = turns;
                let barge_in = BargeIn { min_speech, ..BargeIn::default() };
                let greeting = Some(Greeting::Text("Good day.".into()));
                let keys = Keys { named: true, ..Keys::default() };
                let agent = AgentConfig { voice, barge_in, greeting, keys, ..AgentConfig::default() };
                let answer = Answer { pace: Pace::Times(3.0), ..Answer::chord(5, 4_000) };
                let vad = Some(VadSettings::default().telling_after(min_speech.max(ms(100))));
                let ears = CallerProcessing { vad, ..CallerProcessing::default() };
                let mut world = World::new(engine, agent, Script::answering([answer])).with_ears(ears);
                world.input(Input::Start);
                world.pass(6 * SECOND);
                for turn in 0..3 {
                    speech(&mut world, 1_500, turn + 10);
                    world.pass(ms(1_600));
                    world.pass(ms(if turn == 1 { 6_000 } else { 1_500 }));
                }
                world.input(Input::Dtmf { digit: '5', duration_ms: 100 });
                world.pass(20 * SECOND);
                let name = format!("{turns:?} {voice:?} {min_speech:?}");
                assert_eq!(world.state(), State::Listening, "{name}");
                assert_eq!(world.records.len(), 1, "{name}");
                let record = world.record(0);
                // A response may end while its cancellation is on its way.
                let wrong = record.complaints.iter().filter(|complaint| complaint.code != "response_cancel_not_active");
                assert_eq!(wrong.count(), 0, "{name}: {:?}", record.complaints);
                assert_eq!((&world.faults[..], world.late_played), (&[][..], 0), "{name}");
                assert!(record.answers.len() >= 3, "{name}: {}", record.answers.len());
                let errors = world.events.iter().filter(|event| matches!(event, Event::Error { .. })).count();
                assert_eq!(errors, 0, "{name}: {:?}", world.events);
            }
        }
    }
}

#[test]
fn text_is_spoken_by_sentence_and_what_was_said_is_kept() {
    let agent = AgentConfig { voice: VoiceMode::Synthesis, ..AgentConfig::default() };
    let answer = Answer::text("This is the first sentence of all. Here is the second one. And this is the third.");
    let mut world = World::ready(telephone(), agent, Script::answering([answer, Answer::text("Very well then.")]));
    speech(&mut world, 800, 3);
    world.until("the answer", |world| world.state() == State::Speaking);
    world.pass(ms(1_300));
    speech(&mut world, 800, 4);
    world.until("the second answer", |world| world.spoken.iter().any(|(_, text)| text == "Very well then."));
    world.until("its end", |world| world.state() == State::Listening);
    let spoken: Vec<_> = world.spoken.iter().map(|(_, text)| text.as_str()).collect();
    assert_eq!(spoken[..2], ["This is the first sentence of all.", "Here is the second one."]);
    let record = world.record(0);
    assert_eq!(record.complaints, []);
    let created = record.told("conversation.item.create");
    assert_eq!(created.len(), 1, "{created:?}");
    let kept = created[0]["item"]["content"][0]["text"].as_str().unwrap();
    assert!(kept.starts_with("This is the first sentence of all.") && !kept.contains("third"), "{kept}");
    assert_eq!(record.told("conversation.item.delete").len(), 1);
    assert_eq!(record.told("conversation.item.truncate").len(), 0);
}

#[test]
fn functions_are_called_answered_and_talked_about() {
    let mut engine = telephone();
    let parameters = json!({"type": "object", "properties": {"order": {"type": "integer"}}});
    engine.profile.tools.push(Function::new("look_up", "Looks up an order.", parameters));
    let mut agent = AgentConfig::default();
    agent.tools.builtin.push(Builtin::HangUp);
    let answers = [
        Answer::call("look_up", &json!({"order": 7})),
        Answer::chord(9, 800),
        Answer { calls: Answer::call("hang_up", &json!({"reason": "done"})).calls, ..Answer::chord(10, 1_000) },
    ];
    let mut world = World::ready(engine, agent, Script::answering(answers));
    speech(&mut world, 800, 3);
    let action = |event: &Event| match event {
        Event::Action { call_id, arguments, builtin: false, .. } => Some((call_id.clone(), arguments.clone())),
        _ => None,
    };
    world.until("the call", |world| world.events.iter().any(|event| action(event).is_some()));
    let (call_id, arguments) = world.events.iter().find_map(action).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&arguments).unwrap(), json!({"order": 7}));
    world.input(Input::ToolResult { call_id, output: r#"{"status":"shipped"}"#.into() });
    world.until("the answer", |world| world.state() == State::Speaking);
    world.until("its end", |world| world.state() == State::Listening);
    speech(&mut world, 800, 4);
    let hung_up = |world: &World| {
        let act = |output: &Output| matches!(output, Output::Act { action: Action::HangUp { .. }, .. });
        world.log.iter().any(act)
    };
    world.until("the goodbye", hung_up);
    assert!(world.is_silent(), "the goodbye is heard before the call ends");
    let (_, heard) = heard_ms(&world.heard, &chord(8_000, 1_000, 10), 8_000).unwrap();
    assert!(heard > 950.0, "{heard}");
    assert_eq!(world.record(0).complaints, []);
}

#[test]
fn a_session_that_ends_for_its_length_goes_on_in_the_next_one() {
    let closed = "Your session hit the maximum duration of 60 minutes.";
    let trouble = Trouble::at(When::After(8 * SECOND), What::Close(1_001, closed));
    let script = Script::answering([Answer { text: "Your order has left.".into(), ..Answer::chord(5, 900) }]);
    let mut world = World::ready(telephone(), AgentConfig::default(), script.with(trouble));
    speech(&mut world, 900, 3);
    world.until("the second session", |world| world.records.len() == 2 && world.state() == State::Listening);
    world.pass(SECOND);
    assert_eq!(world.connects, 2);
    let said: Vec<_> = world.record(1).told("conversation.item.create");
    let words = |at: usize| {
        let item: &Value = &said[at]["item"];
        (item["role"].as_str().unwrap().to_owned(), item["content"][0]["text"].as_str().unwrap().to_owned())
    };
    assert_eq!(words(0), ("user".into(), "Hello there.".into()));
    assert_eq!(words(1), ("assistant".into(), "Your order has left.".into()));
    assert_eq!(world.record(1).complaints, []);
}

#[test]
fn a_session_that_announces_its_end_is_replaced_in_a_pause() {
    let script = Script { expires_after: Some(Duration::from_secs(320)), ..Script::answering([Answer::chord(5, 900)]) };
    let mut world = World::ready(telephone(), AgentConfig::default(), script);
    world.pass(Duration::from_secs(19));
    speech(&mut world, 2_500, 3);
    world.until("the second session", |world| world.records.len() == 2 && world.state() == State::Listening);
    // It is due in the caller's sentence, and comes after the answer to it.
    assert_eq!(world.record(0).answers.len(), 1);
    let (_, heard) = heard_ms(&world.heard, &chord(8_000, 900, 5), 8_000).unwrap();
    assert!(heard > 850.0, "{heard}");
    assert_eq!(coded(&world.said, Coding::Pcmu)[..world.service_heard().len()], world.service_heard());
}

#[test]
fn errors_that_end_a_session_for_good_and_those_that_do_not() {
    let code = |world: &World| {
        world.events.iter().find_map(|event| match event {
            Event::State { state: State::Failed, code, .. } => Some(code.clone()),
            _ => None,
        })
    };
    for fatal in ["insufficient_quota", "invalid_api_key", "account_deactivated", "billing_hard_limit_reached"] {
        let trouble = Trouble::at(When::After(SECOND), What::Error("invalid_request_error", fatal));
        let mut world = World::ready(telephone(), AgentConfig::default(), Script::default().with(trouble));
        world.pass(30 * SECOND);
        assert_eq!((code(&world).as_deref(), world.connects, world.last_events()), (Some(fatal), 1, 1));
    }
    let trouble = Trouble::at(When::After(SECOND), What::Close(4_000, "invalid_request_error.beta_api_shape_disabled"));
    let mut world = World::ready(telephone(), AgentConfig::default(), Script::default().with(trouble));
    world.pass(30 * SECOND);
    assert_eq!((world.state(), world.connects), (State::Failed, 1));
    for passing in
        [What::Error("server_error", "server_error"), What::Text("{\"type\":\"response.unheard_of\"}".into())]
    {
        let trouble = Trouble::at(When::After(SECOND), passing);
        let mut world = World::ready(telephone(), AgentConfig::default(), Script::default().with(trouble));
        world.pass(10 * SECOND);
        speech(&mut world, 800, 3);
        world.until("the answer", |world| world.state() == State::Speaking);
        assert_eq!(world.records.len(), 1);
    }
    for ending in [Ending::Failed("server_error"), Ending::Incomplete("max_output_tokens"), Ending::Never] {
        let answer = Answer { ending: ending.clone(), ..Answer::chord(5, 400) };
        let script = Script::answering([answer, Answer::chord(6, 600)]);
        let mut world = World::ready(telephone(), AgentConfig::default(), script);
        speech(&mut world, 800, 3);
        world.pass(60 * SECOND);
        speech(&mut world, 800, 4);
        world.pass(10 * SECOND);
        assert_eq!(world.state(), State::Listening, "{ending:?}");
        let (_, heard) = heard_ms(&world.heard, &chord(8_000, 600, 6), 8_000).unwrap();
        assert!(heard > 550.0, "{ending:?}: {heard}");
    }
}

#[test]
fn silence_of_the_caller_is_noticed_by_the_service_or_by_us() {
    let mut engine = telephone();
    let vad = ServerVad { idle_timeout_ms: Some(6_000), ..ServerVad::default() };
    engine.profile.turn_detection = TurnDetection::Server(vad);
    let mut world = World::ready(engine, AgentConfig::default(), Script::answering([Answer::chord(5, 900)]));
    speech(&mut world, 800, 3);
    world.pass(20 * SECOND);
    assert!(world.events.contains(&Event::Idle { count: 1 }), "{:?}", world.events);
    assert!(world.record(0).answers.len() >= 2);
    assert_eq!(world.record(0).complaints, []);

    let idle =
        Some(Idle { after: 5 * SECOND, instructions: Some("Ask whether they are there.".into()), hang_up_at: 3 });
    let agent = AgentConfig { idle, ..AgentConfig::default() };
    let mut world = World::ready(telephone(), agent, Script::answering([Answer::chord(5, 900)]));
    world.pass(25 * SECOND);
    let asked = world.record(0).told("response.create");
    assert_eq!(asked.len(), 2);
    assert_eq!(asked[0]["response"]["instructions"], "Ask whether they are there.");
    let act = |output: &Output| matches!(output, Output::Act { action: Action::HangUp { .. }, .. });
    assert!(world.log.iter().any(act));
}

#[test]
fn a_short_word_does_not_interrupt_where_speech_must_last() {
    // The service tells the end of a word only after its silence.
    let vad = ServerVad { silence_duration_ms: Some(200), ..ServerVad::default() };
    let mut engine = telephone();
    engine.profile.turn_detection = TurnDetection::Server(vad);
    let barge_in = BargeIn { min_speech: ms(500), ..BargeIn::default() };
    let agent = AgentConfig { barge_in, ..AgentConfig::default() };
    let script = Script::answering([Answer::chord(5, 6_000), Answer::chord(6, 600)]);
    let mut world = World::ready(engine, agent, script);
    speech(&mut world, 800, 3);
    world.until("the answer", |world| world.state() == State::Speaking);
    world.pass(SECOND);
    world.mouth.extend(signal::tone(8_000, 300.0, 150, 8_000.0));
    world.pass(2 * SECOND);
    assert_eq!(world.state(), State::Speaking);
    let (_, heard) = heard_ms(&world.heard, &chord(8_000, 6_000, 5), 8_000).unwrap();
    assert!(heard > 2_700.0, "{heard}");
    assert_eq!(world.conversation.policy().stats().barge_in_count, 0);
}
