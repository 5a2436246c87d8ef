//! The conversations of `support/openai/turns.rs`, `sessions.rs`, `changes.rs`, `tools.rs`, `remarks.rs` and `pauses.rs` on virtual time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use mod_audio_stream::control::options;
use mod_audio_stream::conversation::AiPlan;
use mod_audio_stream::conversation::agent::Event;
use mod_audio_stream::conversation::engines::ENGINES;
use mod_audio_stream::peer::{Input, Speaker, Tell};
use mod_audio_stream::stream::options::StreamOptions;
use mod_audio_stream::units::SampleRate;
use serde_json::Value;

use crate::realtime::*;
use crate::support::signal;
use crate::world::*;

/// The module's own ear needs so long to be sure, and waits so long for more.
const HANGOVER: Duration = Duration::from_millis(700);

impl Place for World {
    fn now(&self) -> Instant {
        self.now
    }

    fn pass(&mut self, time: Duration) {
        World::pass(self, time);
    }

    fn order(&mut self, connection: usize, order: Order) {
        assert_eq!(connection + 1, self.records.len(), "there is one connection at a time");
        World::order(self, order);
    }

    fn connections(&self) -> usize {
        self.records.len()
    }

    fn told(&self, connection: usize) -> Vec<(Instant, Value)> {
        self.record(connection).told.clone()
    }

    fn appended_ms(&self, connection: usize) -> u64 {
        self.record(connection).samples / 8
    }

    fn turns_ms(&self, connection: usize) -> Vec<u64> {
        self.record(connection).turns_ms.clone()
    }

    fn complaints(&self, connection: usize) -> Vec<Complaint> {
        self.record(connection).complaints.clone()
    }

    fn operate(&mut self, command: Command<'_>) {
        if let Command::Update(changes) = command {
            let changes: Vec<_> = changes.iter().map(|(key, text)| ((*key).to_owned(), (*text).to_owned())).collect();
            return self.input(Input::Change(&changes));
        }
        self.input(match command {
            Command::Update(_) => unreachable!("taken above"),
            Command::Tell(role, respond, text) => {
                let speaker = if role == "system" { Speaker::System } else { Speaker::Caller };
                Input::Tell(Tell { speaker, text, respond })
            }
            Command::Raw(event) => Input::Raw(event),
            Command::Say(text) => Input::Say(text.into()),
            Command::Result(call_id, output) => Input::ToolResult { call_id: call_id.into(), output: output.into() },
            Command::Text(text) => Input::SendText(text),
            Command::Clear => Input::Interrupt,
            Command::Key(digit) => Input::Dtmf { digit, duration_ms: 100 },
        });
    }

    fn caller_says(&mut self, ms: u32) {
        self.mouth.extend(signal::speech(8_000, ms, 3));
        World::pass(self, Duration::from_millis(ms.into()) + HANGOVER);
    }

    fn events(&self) -> Vec<(String, String)> {
        let event = |event: &Event| -> Vec<(&str, String)> {
            match event {
                Event::State { state, .. } => vec![("state", state.to_string())],
                Event::Error { code, .. } => vec![("error", code.clone())],
                Event::BargeIn { .. } => vec![("barge_in", String::new())],
                Event::FalseInterruption { text, .. } => vec![("went_on", text.clone())],
                Event::Idle { count } => vec![("idle", count.to_string())],
                Event::Action { name, .. } => vec![("action", name.clone())],
                Event::Response { text, usage, .. } => {
                    let sums = format!("{}/{}/{}", usage.input_tokens, usage.cached_tokens, usage.output_tokens);
                    vec![("response", text.clone()), ("usage", sums)]
                }
                Event::Turn(report) => {
                    let figures = &report.figures;
                    let ms = |time: Option<Duration>| time.map(|time| time.as_millis().to_string()).unwrap_or_default();
                    vec![
                        ("answer_ms", ms(figures.answer)),
                        ("model_ms", ms(figures.model)),
                        ("speech_ms", ms(figures.speech)),
                        ("silence_ms", ms(figures.silence)),
                    ]
                }
                Event::Summary { reason, .. } => {
                    vec![("summary", (*reason).to_owned())]
                }
                Event::Transcript { item_id, previous_item_id, text, heard_text, .. } => {
                    let previous = previous_item_id.as_deref().unwrap_or_default();
                    let mut told = vec![("said", format!("{item_id} after {previous}: {text}"))];
                    if let Some(heard) = heard_text {
                        told.extend([("transcript", text.clone()), ("heard", heard.clone())]);
                    }
                    told
                }
                Event::Raw(text) => vec![("raw", text.clone())],
                Event::TranscriptFailed { item_id, .. } => vec![("unheard", item_id.clone())],
                Event::SpeechFailed { .. } => vec![],
            }
        };
        self.events.iter().flat_map(event).map(|(kind, detail)| (kind.to_owned(), detail)).collect()
    }

    fn usage(&self) -> Value {
        serde_json::to_value(self.conversation.policy().stats().usage).unwrap()
    }

    fn heard(&self) -> Vec<i16> {
        self.heard.clone()
    }

    fn is_fast(&self) -> bool {
        true
    }
}

/// A call with a conversation with these options, not started yet.
fn start_world(given: &[(&str, &str)], script: Script) -> World {
    let mut options = StreamOptions::default();
    for (key, value) in [("openai_api_key", "sk-test"), ("openai_model", "test-model")].iter().chain(given) {
        let row = options::ai_row(key).unwrap_or_else(|| panic!("no option {key}"));
        row.set(&mut options, value).unwrap_or_else(|why| panic!("{key}: {why}"));
    }
    let options = Arc::unwrap_or_clone(options.ai);
    let plan = AiPlan::new(&ENGINES[0], &options, Vec::new(), SampleRate::HZ_8000, Some("PCMU")).unwrap();
    World::with(plan.engine, plan.agent, script).with_ears(plan.caller).with_options(options)
}

/// A conversation with these options, on its way to the service.
fn on_virtual_time(given: &[(&str, &str)]) -> Stage<'static> {
    let mut world = start_world(given, Script::by_hand());
    world.latency = Duration::from_millis(1);
    world.input(Input::Start);
    Stage::new(world)
}

macro_rules! tests {
    ($($name:ident),* $(,)?) => {
        $(#[test]
        fn $name() {
            crate::realtime::turns::$name(&on_virtual_time);
        })*
    };
}

crate::realtime::turns::each_turn!(tests);

macro_rules! session_tests {
    ($($name:ident),* $(,)?) => {
        $(#[test]
        fn $name() {
            crate::realtime::sessions::$name(&on_virtual_time);
        })*
    };
}

crate::realtime::sessions::each_session!(session_tests);

macro_rules! report_tests {
    ($($name:ident),* $(,)?) => {
        $(#[test]
        fn $name() {
            crate::realtime::reports::$name(&on_virtual_time);
        })*
    };
}

crate::realtime::reports::each_report!(report_tests);

macro_rules! change_tests {
    ($($name:ident),* $(,)?) => {
        $(#[test]
        fn $name() {
            crate::realtime::changes::$name(&on_virtual_time);
        })*
    };
}

crate::realtime::changes::each_change!(change_tests);

macro_rules! remark_tests {
    ($($name:ident),* $(,)?) => {
        $(#[test]
        fn $name() {
            crate::realtime::remarks::$name(&on_virtual_time);
        })*
    };
}

crate::realtime::remarks::each_remark!(remark_tests);

macro_rules! tool_tests {
    ($($name:ident),* $(,)?) => {
        $(#[test]
        fn $name() {
            crate::realtime::tools::$name(&on_virtual_time);
        })*
    };
}

crate::realtime::tools::each_tool!(tool_tests);

macro_rules! pause_tests {
    ($($name:ident),* $(,)?) => {
        $(#[test]
        fn $name() {
            crate::realtime::pauses::$name(&on_virtual_time);
        })*
    };
}

crate::realtime::pauses::each_pause!(pause_tests);

#[test]
fn a_second_failure_is_apologised_for_by_the_synthesis() {
    let options = [("ai_output", "tts"), ("tts_provider", "command"), ("apology", "Sorry about that.")];
    let mut stage = on_virtual_time(&options);
    stage.open();
    stage.speak("u1", 500);
    stage.create("r1");
    stage.failed("r1", "server_error", "The server had an error.");
    stage.expect_within("response.create", 3_000);
    assert!(!stage.events("state").contains(&"SPEAKING".to_owned()));
    stage.create("r2");
    stage.failed("r2", "server_error", "The server had an error.");
    stage.await_state("SPEAKING", 1_000);
    stage.pass(2_000);
    stage.skip();
    stage.silent(10_000);
    assert_eq!(stage.events("error"), ["server_error"; 2]);
}

#[test]
fn text_that_is_synthesised_is_transcribed_as_it_was_heard() {
    let mut stage = on_virtual_time(&[("ai_output", "tts"), ("tts_provider", "command"), ("greeting", "Welcome.")]);
    stage.connected();
    stage.confirm();
    stage.await_state("SPEAKING", 500);
    stage.await_state("LISTENING", 2_000);
    stage.expect("conversation.item.create");
    assert_eq!((stage.events("transcript"), stage.events("heard")), (vec!["Welcome.".into()], vec!["Welcome.".into()]));
    stage.speak("u1", 500);
    stage.create("r1");
    let text = "It is on its way. It will be there tomorrow at noon. Shall I call you then?";
    stage.text("r1", "i1", text);
    stage.end("r1");
    stage.await_state("SPEAKING", 500);
    // Each sentence lasts a second.
    stage.pass(1_500);
    let at = stage.appended_ms();
    stage.speech_started("u2", at);
    stage.pass(100);
    assert_eq!(stage.events("transcript")[1..], [text]);
    let heard = &stage.events("heard")[1];
    assert!(heard.starts_with("It is on its way. It will") && !heard.contains("noon"), "{heard}");
}

#[test]
fn the_end_of_the_call_tells_what_was_heard_of_the_last_words() {
    for output in ["audio", "tts"] {
        let mut world = start_world(&[("ai_output", output), ("tts_provider", "command")], Script::default());
        world.input(Input::Start);
        world.pass(Duration::from_secs(1));
        world.order(Order::Respond(Answer { text: "One two three four five six seven.".into(), ..Answer::default() }));
        world.pass(Duration::from_millis(900));
        world.input(Input::Stop { text: None, call_ended: true });
        let [
            Event::Transcript { text, heard_text: Some(heard), .. },
            Event::Turn(report),
            Event::Summary { reason: "call_ended", talk, usage },
            Event::State { last: true, .. },
        ] = &world.events[world.events.len() - 4..]
        else {
            panic!("{output}: {:?}", world.events)
        };
        assert_eq!((talk.turns, talk.interruptions, talk.answer_ms), (1, 0, None), "nobody has spoken to it");
        let figures = &report.figures;
        assert!(figures.heard > Duration::from_millis(300) && figures.usage == *usage, "{figures:?}");
        assert_eq!(text, "One two three four five six seven.");
        assert!(heard.starts_with("One two") && !heard.contains("seven"), "{output}: {heard}");
    }
}
