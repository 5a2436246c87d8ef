//! Any order of turns, interruptions, answers, errors, lost connections and hangups, through the wire protocol of both sides on
//! virtual time: nothing stale is heard, nothing is stuck, one event is the last, and the service is never spoken to wrongly.

use std::time::Duration;

use mod_audio_stream::conversation::Function;
use mod_audio_stream::conversation::agent::{
    AgentConfig, BargeIn, Builtin, Event, Greeting, Keys, Source, SpeechTrigger, State, VoiceMode,
};
use mod_audio_stream::conversation::openai::{ServerVad, TurnDetection};
use mod_audio_stream::peer::{Input, Peer};
use proptest::prelude::*;
use proptest::test_runner::{FileFailurePersistence, TestCaseError};
use serde_json::json;

use crate::realtime::*;
use crate::support::signal;
use crate::world::*;

/// One thing that happens.
#[derive(Clone, Debug)]
enum Step {
    /// The caller says something, and pauses long enough for a turn to end.
    Speak(u32),
    Pass(u16),
    Key,
    LocalSpeech(bool),
    ToolResult,
    Say,
    UserText,
    /// The service responds though nobody has asked.
    Unasked,
    Trouble(What),
    /// The network is gone, or back.
    Network(bool),
    HangUp,
}

fn trouble() -> impl Strategy<Value = What> {
    prop_oneof![
        4 => Just(What::Error("server_error", "server_error")),
        2 => Just(What::Error("rate_limit_exceeded", "rate_limit_exceeded")),
        2 => Just(What::Error("invalid_request_error", "response_cancel_not_active")),
        1 => Just(What::Error("invalid_request_error", "session_expired")),
        1 => Just(What::Error("invalid_request_error", "insufficient_quota")),
        3 => Just(What::Close(1_001, "Your session hit the maximum duration of 60 minutes.")),
        2 => Just(What::Close(1_011, "")),
        1 => Just(What::Close(4_000, "invalid_request_error.beta_api_shape_disabled")),
        3 => Just(What::Drop),
        1 => Just(What::Text("{\"type\":\"response.output_audio.delta\",\"delta\":7}".into())),
        1 => Just(What::Text("no JSON".into())),
        1 => Just(What::Binary(vec![0; 9])),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (80u32..1_500).prop_map(Step::Speak),
        12 => (0u16..2_500).prop_map(Step::Pass),
        2 => Just(Step::Key),
        3 => any::<bool>().prop_map(Step::LocalSpeech),
        3 => Just(Step::ToolResult),
        1 => Just(Step::Say),
        1 => Just(Step::UserText),
        1 => Just(Step::Unasked),
        2 => trouble().prop_map(Step::Trouble),
        2 => any::<bool>().prop_map(Step::Network),
        1 => Just(Step::Pass(40_000)),
    ]
}

fn answer() -> impl Strategy<Value = Answer> {
    let pace = prop_oneof![Just(Pace::Burst), (0.5..4.0_f64).prop_map(Pace::Times)];
    let ending = prop_oneof![
        8 => Just(Ending::Completed),
        1 => Just(Ending::Failed("server_error")),
        1 => Just(Ending::Incomplete("max_output_tokens")),
        1 => Just(Ending::Never),
    ];
    let calls = prop_oneof![4 => Just(""), 1 => Just("look_up"), 1 => Just("hang_up"), 1 => Just("unheard_of")];
    (0u32..4_000, pace, ending, calls, 0u32..6, 0u64..600).prop_map(|(ms, pace, ending, call, late, thinking)| {
        let calls = if call.is_empty() { Vec::new() } else { Answer::call(call, &json!({})).calls };
        Answer {
            voice: (ms > 200).then_some(Voice::Tone { hz: 500.0, ms }),
            text: "This is what there is to say. And this too, Sir. Then there is not much more.".into(),
            calls,
            thinking: Duration::from_millis(thinking),
            pace,
            late,
            ending,
            ..Answer::default()
        }
    })
}

#[derive(Clone, Debug)]
struct Case {
    text: bool,
    turns: u8,
    min_speech: u64,
    local: bool,
    greeting: bool,
    latency: u64,
    answers: Vec<Answer>,
    steps: Vec<Step>,
    hang_up: Option<usize>,
}

fn case() -> impl Strategy<Value = Case> {
    let profile = (any::<bool>(), 0u8..4, prop_oneof![Just(0), Just(300)], any::<bool>(), any::<bool>(), 5u64..150);
    let answers = proptest::collection::vec(answer(), 1..4);
    let steps = proptest::collection::vec(step(), 1..30);
    (profile, answers, steps, proptest::option::of(0usize..30)).prop_map(
        |((text, turns, min_speech, local, greeting, latency), answers, steps, hang_up)| Case {
            text,
            turns,
            min_speech,
            local,
            greeting,
            latency,
            answers,
            steps,
            hang_up,
        },
    )
}

fn world(case: &Case) -> World {
    let mut engine = telephone();
    let vad = ServerVad { silence_duration_ms: Some(200), ..ServerVad::default() };
    engine.profile.turn_detection = match case.turns {
        0 => TurnDetection::Server(vad),
        1 => TurnDetection::Server(ServerVad { create_response: false, ..vad }),
        2 => TurnDetection::Server(ServerVad { interrupt_response: false, ..vad }),
        _ => TurnDetection::Off,
    };
    let parameters = json!({"type": "object"});
    engine.profile.tools.push(Function::new("look_up", "", parameters));
    let mut agent = AgentConfig {
        voice: if case.text { VoiceMode::Synthesis } else { VoiceMode::Engine },
        barge_in: BargeIn {
            speech: if case.local { SpeechTrigger::Local } else { SpeechTrigger::Engine },
            min_speech: Duration::from_millis(case.min_speech),
            dtmf: true,
            ..BargeIn::default()
        },
        greeting: case.greeting.then(|| Greeting::Text("Good day to you.".into())),
        keys: Keys { named: true, ..Keys::default() },
        ..AgentConfig::default()
    };
    agent.tools.builtin.push(Builtin::HangUp);
    let mut world = World::new(engine, agent, Script::answering(answers(case)));
    world.latency = Duration::from_millis(case.latency);
    world.frame = FRAME * 2;
    world.skips_silence = true;
    world
}

fn apply(world: &mut World, step: &Step) {
    match step {
        Step::Speak(ms) => {
            world.mouth.extend(signal::tone(8_000, 300.0, *ms, 6_000.0));
            world.mouth.extend(signal::silence(8_000, 280));
        }
        Step::Pass(ms) => world.pass(Duration::from_millis(u64::from(*ms))),
        Step::Key => world.input(Input::Dtmf { digit: '7', duration_ms: 100 }),
        Step::LocalSpeech(speaking) => world.input(Input::LocalSpeech(*speaking)),
        Step::ToolResult => {
            let calls: Vec<String> = world.events.iter().filter_map(called).collect();
            for call_id in calls {
                world.input(Input::ToolResult { call_id, output: "{}".into() });
            }
        }
        Step::Say => world.input(Input::Say("The operator says a word. Then another one.".into())),
        Step::UserText => world.input(Input::SendText("The caller is a good customer.")),
        Step::Unasked => world.order(Order::Respond(Answer::default())),
        Step::Trouble(what) => world.order(Order::Trouble(what.clone())),
        Step::Network(false) => world.cut(),
        Step::Network(true) => world.reachable = true,
        Step::HangUp => world.input(Input::Stop { text: None, call_ended: true }),
    }
}

fn called(event: &Event) -> Option<String> {
    match event {
        Event::Action { call_id, .. } => Some(call_id.clone()),
        _ => None,
    }
}

/// Everything is answered, heard and given its time.
fn settle(world: &mut World) {
    world.reachable = true;
    world.input(Input::LocalSpeech(false));
    world.frame = FRAME * 5;
    // What waits behind an answer without an end takes the time limit of a response, each.
    for round in 0..32 {
        let rests = world.conversation.policy().is_over() || matches!(world.state(), State::Listening | State::Error);
        if round >= 8 && rests {
            break;
        }
        world.pass(Duration::from_secs(18));
        apply(world, &Step::ToolResult);
    }
}

/// What the client may receive from a service that is ahead of it by the time on the way.
const RACES: [&str; 3] =
    ["response_cancel_not_active", "conversation_already_has_active_response", "input_audio_buffer_commit_empty"];

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 1_000,
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct("proptest-regressions/conversation.txt"))),
        ..ProptestConfig::default()
    })]

    #[test]
    fn no_order_on_the_wire_plays_stale_audio_or_gets_stuck(case in case()) {
        holds(world(&case), &case)?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 300,
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct("proptest-regressions/gemini.txt"))),
        ..ProptestConfig::default()
    })]

    #[test]
    fn no_order_on_geminis_wire_plays_stale_audio_or_gets_stuck(case in case()) {
        holds(gemini(&case), &case)?;
    }
}

/// The same call with Gemini Live, in which some of a case cannot be.
fn gemini(case: &Case) -> World {
    let local = case.turns == 3;
    let min_speech = case.min_speech.to_string();
    let mut given = vec![("vad_silence_duration_ms", "200"), ("builtin_tools", "hang_up"), ("dtmf_to_model", "true")];
    if local {
        given.extend([("turn_detection", "local"), ("barge_in_min_ms", min_speech.as_str())]);
    } else if case.local {
        given.push(("barge_in", "local"));
    } else if case.turns == 2 {
        given.push(("barge_in", "off"));
    }
    if case.greeting {
        given.push(("greeting", "Good day to you."));
    }
    let mut world = crate::gemini::call(Script::gemini(answers(case)), &given);
    world.latency = Duration::from_millis(case.latency);
    world.frame = FRAME * 2;
    world.skips_silence = true;
    world
}

/// What there is to be said; in the end it has nothing more to ask.
fn answers(case: &Case) -> Vec<Answer> {
    let last = Answer { voice: Some(Voice::Tone { hz: 500.0, ms: 500 }), ..Answer::default() };
    case.answers.iter().cloned().chain([last]).collect()
}

/// Plays a case, and checks what must hold.
fn holds(mut world: World, case: &Case) -> Result<(), TestCaseError> {
    world.input(Input::Start);
    for (at, step) in case.steps.iter().enumerate() {
        if case.hang_up == Some(at) {
            apply(&mut world, &Step::HangUp);
        }
        apply(&mut world, step);
    }
    settle(&mut world);
    let state = world.state();
    if world.conversation.policy().is_over() {
        prop_assert!(matches!(state, State::Idle | State::Failed));
    } else {
        prop_assert!(matches!(state, State::Listening | State::Error), "stuck in {}", state);
        prop_assert!(world.session().is_some(), "no session, and {}", state);
    }
    world.input(Input::Stop { text: None, call_ended: true });
    world.pass(Duration::from_millis(500));
    prop_assert_eq!(world.last_events(), 1);
    let ends_with_it = matches!(world.events.last(), Some(Event::State { last: true, .. }));
    prop_assert!(ends_with_it);
    prop_assert_eq!(world.conversation.deadline(), None);
    prop_assert!(world.is_silent());
    prop_assert_eq!(world.late_played, 0);
    for record in &world.records {
        let record = record.lock();
        let wrong: Vec<_> = record.complaints.iter().filter(|c| !RACES.contains(&c.code)).collect();
        prop_assert!(wrong.is_empty(), "{:?}", wrong);
        for truncated in record.told("conversation.item.truncate") {
            let source = Source::Item(truncated["item_id"].as_str().unwrap().to_owned());
            let heard = world.heard_of(&source).as_millis() as u64;
            let told = truncated["audio_end_ms"].as_u64().unwrap();
            prop_assert!(told.abs_diff(heard) <= 40, "told {}, heard {}", told, heard);
        }
    }
    Ok(())
}
