//! The conversations of `support/openai/turns.rs`, `sessions.rs` and `remarks.rs` on virtual time.

use std::time::{Duration, Instant};

use mod_audio_stream::conversation::agent::Event;
use mod_audio_stream::conversation::engines::ENGINES;
use mod_audio_stream::conversation::{AiOptions, AiPlan};
use mod_audio_stream::options::Options as _;
use mod_audio_stream::peer::Input;
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

    fn complaints(&self, connection: usize) -> Vec<Complaint> {
        self.record(connection).complaints.clone()
    }

    fn operate(&mut self, command: Command<'_>) {
        self.input(match command {
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
        let event = |event: &Event| {
            let (kind, detail) = match event {
                Event::State { state, .. } => ("state", state.to_string()),
                Event::Error { code, .. } => ("error", code.clone()),
                Event::BargeIn { .. } => ("barge_in", String::new()),
                Event::Idle { count } => ("idle", count.to_string()),
                Event::Action { name, .. } => ("action", name.clone()),
                Event::Response { text, .. } => ("response", text.clone()),
                Event::Transcript { .. } | Event::TranscriptFailed { .. } | Event::SpeechFailed { .. } => return None,
            };
            Some((kind.to_owned(), detail))
        };
        self.events.iter().filter_map(event).collect()
    }

    fn heard(&self) -> Vec<i16> {
        self.heard.clone()
    }

    fn is_fast(&self) -> bool {
        true
    }
}

/// A conversation with these options, on its way to the service.
fn on_virtual_time(given: &[(&str, &str)]) -> Stage<'static> {
    let mut options = AiOptions::default();
    let rows = AiOptions::rows();
    for (key, value) in [("openai_api_key", "sk-test"), ("openai_model", "test-model")].iter().chain(given) {
        let row = rows.iter().find(|row| row.key == *key).unwrap_or_else(|| panic!("no option {key}"));
        row.set(&mut options, value).unwrap_or_else(|why| panic!("{key}: {why}"));
    }
    let plan = AiPlan::new(&ENGINES[0], &options, Vec::new(), SampleRate::HZ_8000, Some("PCMU")).unwrap();
    let mut world = World::with(plan.engine, plan.agent, Script::by_hand()).with_ears(plan.caller);
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

macro_rules! remark_tests {
    ($($name:ident),* $(,)?) => {
        $(#[test]
        fn $name() {
            crate::realtime::remarks::$name(&on_virtual_time);
        })*
    };
}

crate::realtime::remarks::each_remark!(remark_tests);

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
