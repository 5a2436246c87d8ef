//! Conversations whose session is lost or whose answers end the call, and functions that take long, on a real call.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::conversation_turns::{Telephone, on_a_call};
use crate::harness::in_freeswitch;
use crate::realtime::{Command, Stage, sessions};

macro_rules! cases {
    ($($name:ident),* $(,)?) => {
        $(#[test]
        fn $name() {
            on_a_call(sessions::$name);
        })*
    };
}

cases!(
    a_normal_close_is_followed_by_a_new_session,
    a_result_after_a_loss_is_answered_once,
    an_answer_cut_off_by_a_loss_goes_on_after_it,
    the_item_in_progress_is_cut_and_the_next_deleted,
    an_answer_that_is_complete_is_cut_and_not_cancelled,
    an_interrupted_answer_is_transcribed_as_it_was_heard,
    the_numbers_of_a_turn_are_those_of_the_audio,
);

/// How long the goodbye lasts.
const GOODBYE_MS: u32 = 7_000;

#[test]
fn a_goodbye_is_heard_to_its_end_before_the_call_ends() {
    in_freeswitch(|freeswitch| {
        for in_the_next_response in [false, true] {
            let place = Telephone::place(freeswitch, &[("builtin_tools", "hang_up")]);
            let call = Arc::clone(&place.call);
            let mut stage = Stage::new(place);
            stage.open();
            stage.speak("u1", 300);
            stage.begin("r1", "goodbye");
            stage.audio("r1", "goodbye", GOODBYE_MS);
            if in_the_next_response {
                stage.end("r1");
                stage.await_state("SPEAKING", 1_000);
                stage.create("r2");
                stage.call("r2", "c1", "hang_up", "{\"reason\":\"done\"}");
                stage.end("r2");
            } else {
                stage.call("r1", "c1", "hang_up", "{\"reason\":\"done\"}");
                stage.end("r1");
            }
            let begun = Instant::now();
            while !call.ended() {
                assert!(begun.elapsed() < Duration::from_secs(15), "the call does not end");
                std::thread::sleep(Duration::from_millis(5));
            }
            let ended = Instant::now();
            let first = stage.heard_whole("goodbye", GOODBYE_MS);
            let packets = call.phone.packets();
            let first_packet = &packets[(first / 20) as usize];
            let lasted = ended.duration_since(first_packet.at).as_millis();
            assert!((6_980..=7_400).contains(&lasted), "the call ended {lasted} ms after the first sound");
        }
    });
}

#[test]
fn the_service_hears_the_caller_through_a_long_function() {
    in_freeswitch(|freeswitch| {
        let tools = r#"[{"name":"look_up","description":"Looks up.","parameters":{"type":"object"}}]"#;
        let place = Telephone::place(freeswitch, &[("tools", tools), ("tool_timeout_ms", "90000")]);
        let call = Arc::clone(&place.call);
        let mut stage = Stage::new(place);
        stage.open();
        stage.speak("u1", 300);
        stage.create("r1");
        stage.call("r1", "c1", "look_up", "{}");
        stage.end("r1");
        stage.within(1_500, "the call", |stage| !stage.events("action").is_empty());
        let (appended, packets) = (stage.appended_ms(), call.phone.packets().len());
        stage.silent(60_000);
        let packets = call.phone.packets().len() - packets;
        assert!((2_950..=3_050).contains(&packets), "{packets} packets reached the caller in a minute");
        let appended = stage.appended_ms() - appended;
        assert!((59_000..=61_000).contains(&appended), "{appended} ms reached the service in a minute");
        stage.operate(Command::Result("c1", "{}"));
        stage.expect("conversation.item.create");
        stage.expect("response.create");
        stage.respond("r2", "i2", 500);
        stage.await_state("SPEAKING", 1_000);
        stage.await_state("LISTENING", 1_500);
        stage.heard_whole("i2", 500);
    });
}
