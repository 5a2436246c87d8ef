//! Answers longer than there is room for, and turns of the caller that do not end.

use super::*;
use crate::conversation::agent::Idle;

const MINUTE: u32 = 50 * 60;

fn talk(agent: AgentConfig) -> Call {
    let mut call = Call::new(Call::telephone(), agent);
    call.input(Input::Start);
    call.connect();
    call.told.clear();
    call.log.clear();
    call
}

impl Call {
    fn errors(&self) -> Vec<&str> {
        let code = |output| match output {
            &Output::Event(Event::Ai(AiEvent::Error { ref code, .. })) => Some(code.as_str()),
            _ => None,
        };
        self.log.iter().filter_map(code).collect()
    }

    /// Three minutes of a message in deltas of 200 ms, all at once.
    fn three_minutes(&mut self) {
        self.service(json!({"type": "response.created", "response": {"id": "r1"}}));
        self.service(json!({"type": "response.output_audio_transcript.delta", "response_id": "r1", "item_id": "a1",
            "delta": "word ".repeat(180).trim_end()}));
        for _ in 0..900 {
            self.audio("r1", "a1", 200);
        }
        self.service(json!({"type": "response.done", "response": {"id": "r1", "status": "completed"}}));
    }

    fn truncations(&self) -> Vec<(&str, u64)> {
        let truncation = |message: &Value| message["type"] == "conversation.item.truncate";
        let told = self.told.iter().filter(|message| truncation(message));
        told.map(|message| (message["item_id"].as_str().unwrap(), message["audio_end_ms"].as_u64().unwrap())).collect()
    }
}

#[test]
fn three_minutes_in_one_burst_are_heard_whole_where_they_fit() {
    let mut call = talk(AgentConfig::default());
    call.three_minutes();
    call.pass(3 * MINUTE + 50);
    assert_eq!(call.played, Duration::from_secs(180));
    assert!(call.told.is_empty(), "{:?}", call.told);
    assert_eq!(call.conversation.policy().state(), State::Listening);
}

#[test]
fn the_model_learns_of_what_had_no_room() {
    let mut call = talk(AgentConfig::default());
    call.most = Duration::from_millis(120_100);
    call.three_minutes();
    assert_eq!(call.truncations(), [("a1", 120_100)]);
    let unplayed = call.log.iter().filter_map(|output| match output {
        Output::NoRoom(length) => Some(*length),
        _ => None,
    });
    // Half of the delta at the bound was refused there.
    assert_eq!(unplayed.sum::<Duration>(), Duration::from_millis(59_800));
    call.pass(MINUTE);
    call.audio("r1", "a1", 200);
    call.pass(MINUTE + 50);
    assert_eq!(call.played, Duration::from_millis(120_100), "no gap in it, and nothing behind it");
    // Nothing else was cut, and the history has as much.
    assert_eq!(call.truncations().len(), 1);
    call.drop_connection(1006, "");
    call.pass(100);
    call.told.clear();
    call.connect();
    let words = call.told[1]["item"]["content"][0]["text"].as_str().unwrap().split(' ').count();
    assert!((118..=121).contains(&words), "{words} of 180");
    // There is room for the next answer.
    call.response("r2", "a2", 1_000);
    call.pass(60);
    assert_eq!(call.played, Duration::from_millis(121_100));
}

#[test]
fn a_long_answer_is_cut_at_the_interruption() {
    for most in [Duration::MAX, Duration::from_secs(160)] {
        let mut call = talk(AgentConfig::default());
        call.most = most;
        call.three_minutes();
        call.told.clear();
        call.pass(150 * 50);
        call.service(json!({"type": "input_audio_buffer.speech_started", "audio_start_ms": 150000, "item_id": "u2"}));
        call.pass(2);
        let [("a1", ms)] = call.truncations()[..] else { panic!("{:?}", call.truncations()) };
        assert!((149_980..=150_020).contains(&ms), "{ms}");
    }
}

#[test]
fn an_endless_turn_is_reported_and_holds_nothing_up() {
    let idle = Idle { after: Duration::from_secs(10), instructions: None, hang_up_at: 2 };
    let mut call = talk(AgentConfig { idle: Some(idle), ..AgentConfig::default() });
    call.service(json!({"type": "input_audio_buffer.speech_started", "audio_start_ms": 0, "item_id": "u1"}));
    call.pass(MINUTE - 50);
    call.input(Input::Say("Are you there?".into()));
    assert_eq!((call.errors(), call.told.len()), (vec![], 0), "the caller may still be speaking");
    call.pass(100);
    assert_eq!(call.errors(), ["endless_turn"]);
    assert_eq!(call.told_kinds(), ["response.create"], "nothing waits for the end any more");
    call.response("r1", "a1", 1_000);
    call.pass(50 * 25);
    assert!(call.log.iter().any(|output| matches!(output, Output::Act { action: Action::HangUp { .. }, .. })));
    // The end comes after all: it is a turn like any other.
    call.service(json!({"type": "input_audio_buffer.speech_stopped", "audio_end_ms": 90000, "item_id": "u1"}));
    call.service(json!({"type": "input_audio_buffer.committed", "item_id": "u1"}));
    assert_eq!(call.conversation.policy().state(), State::Processing);
    assert_eq!(call.errors().len(), 1);
}

#[test]
fn local_turns_end_at_a_bound_in_music() {
    let mut engine = Call::telephone();
    engine.profile.turn_detection = TurnDetection::Off;
    let mut call = Call::new(engine, AgentConfig::default());
    call.input(Input::Start);
    call.connect();
    call.told.clear();
    call.log.clear();
    call.input(Input::LocalSpeech(true));
    assert_eq!(call.told_kinds(), ["input_audio_buffer.clear"]);
    call.told.clear();
    call.pass(MINUTE + 5);
    assert_eq!((call.told_kinds(), call.errors()), (vec!["input_audio_buffer.commit"], vec!["endless_turn"]));
    call.service(json!({"type": "input_audio_buffer.committed", "item_id": "u1"}));
    assert_eq!(call.told_kinds(), ["input_audio_buffer.commit", "response.create"]);
    call.response("r1", "a1", 500);
    call.pass(3 * MINUTE);
    assert_eq!(call.told.len(), 2, "the agent does not talk with the music");
    // What came after the bound is a turn when it ends.
    call.input(Input::LocalSpeech(false));
    call.service(json!({"type": "input_audio_buffer.committed", "item_id": "u2"}));
    assert_eq!(call.told_kinds()[2..], ["input_audio_buffer.commit", "response.create"]);
}
