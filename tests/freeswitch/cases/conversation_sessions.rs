//! Conversations whose session is lost, whose answers are cut short, or whose functions take long, and what is told of them, on a
//! real call.

use std::sync::Arc;

use super::conversation::LOOK_UP;
use super::conversation_turns::{Telephone, on_a_call};
use crate::harness::in_freeswitch;
use crate::realtime::{Command, Stage, reports, sessions, tools};

macro_rules! cases {
    ($($name:ident),* $(,)?) => {
        $(#[test]
        fn $name() {
            on_a_call(sessions::$name);
        })*
    };
}

macro_rules! report_cases {
    ($($name:ident),* $(,)?) => {
        $(#[test]
        fn $name() {
            on_a_call(reports::$name);
        })*
    };
}

macro_rules! tool_cases {
    ($($name:ident),* $(,)?) => {
        $(#[test]
        fn $name() {
            on_a_call(tools::$name);
        })*
    };
}

sessions::each_session!(cases);
reports::each_report!(report_cases);
tools::each_tool!(tool_cases);

#[test]
fn the_service_hears_the_caller_through_a_long_function() {
    in_freeswitch(|freeswitch| {
        let place = Telephone::place(freeswitch, &[("tools", LOOK_UP), ("tool_timeout_ms", "90000")]);
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
