//! Answers behind which the model ends or transfers the call: the caller hears them whole first, and may object.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::conversation_turns::Telephone;
use crate::harness::in_freeswitch;
use crate::harness::server::FreeSwitch;
use crate::harness::sip::SipCall;
use crate::harness::stream::THERE;
use crate::realtime::Stage;
use crate::support::{audio, eventually};

/// How long the goodbye lasts.
const GOODBYE_MS: u32 = 7_000;
/// The tone of the extension to which the caller is transferred, Hz.
const NEXT: u32 = 3_350;

/// What the model does behind its goodbye.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Does {
    HangUp,
    Transfer,
}

impl Does {
    fn name(self) -> &'static str {
        if self == Self::HangUp { "hang_up" } else { "transfer" }
    }

    fn arguments(self) -> String {
        match self {
            Self::HangUp => r#"{"reason":"done"}"#.to_owned(),
            Self::Transfer => r#"{"destination":"somebody"}"#.to_owned(),
        }
    }
}

/// The model says goodbye and calls the function, in the same response or in the next one, while the goodbye is heard.
fn say_goodbye<'f>(freeswitch: &'f FreeSwitch, does: Does, in_the_next: bool) -> (Stage<'f>, Arc<SipCall>) {
    let somebody = format!("somebody=tone-{NEXT}");
    let place = Telephone::place(freeswitch, &[("builtin_tools", does.name()), ("transfer_destinations", &somebody)]);
    let call = Arc::clone(&place.call);
    let mut stage = Stage::new(place);
    stage.open();
    stage.speak("u1", 300);
    stage.begin("r1", "goodbye");
    stage.audio("r1", "goodbye", GOODBYE_MS);
    if in_the_next {
        stage.end("r1");
        stage.await_state("SPEAKING", 1_000);
        stage.create("r2");
        stage.call("r2", "c1", does.name(), &does.arguments());
        stage.end("r2");
    } else {
        stage.call("r1", "c1", does.name(), &does.arguments());
        stage.end("r1");
        stage.await_state("SPEAKING", 1_000);
    }
    (stage, call)
}

/// Where the tone of the other extension begins in what the caller has heard, as a sample.
fn next_begins(call: &SipCall) -> Option<usize> {
    let heard = call.phone.heard();
    let stretches = audio::tone_stretches(&heard, 8_000, NEXT.into(), THERE / 4.0, 80);
    stretches.iter().find(|stretch| stretch.len() > 800).map(|stretch| stretch.start)
}

#[test]
fn a_goodbye_is_heard_to_its_end_before_the_call_ends() {
    in_freeswitch(|freeswitch| {
        for in_the_next in [false, true] {
            let (stage, call) = say_goodbye(freeswitch, Does::HangUp, in_the_next);
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
fn an_announcement_is_heard_to_its_end_before_the_transfer() {
    in_freeswitch(|freeswitch| {
        for in_the_next in [false, true] {
            let (stage, call) = say_goodbye(freeswitch, Does::Transfer, in_the_next);
            assert!(eventually(Duration::from_secs(15), || next_begins(&call).is_some()), "there is no transfer");
            let first = stage.heard_whole("goodbye", GOODBYE_MS) as usize;
            // By the packets' times: what was heard has no gap where no packet was sent.
            let packets = call.phone.packets();
            let next = next_begins(&call).unwrap_or_default();
            let at = |sample: usize| packets[(sample / 160).min(packets.len() - 1)].at;
            let lasted = at(next).duration_since(at(first * 8)).as_millis();
            assert!((6_980..=7_500).contains(&lasted), "it is transferred {lasted} ms after the first sound");
            assert!(!call.ended());
            call.hang_up();
        }
    });
}

#[test]
fn a_caller_who_objects_to_the_goodbye_keeps_the_call() {
    in_freeswitch(|freeswitch| {
        for does in [Does::HangUp, Does::Transfer] {
            let (mut stage, call) = say_goodbye(freeswitch, does, false);
            stage.pass(2_900);
            let at = stage.appended_ms();
            stage.speech_started("u2", at);
            let output = stage.expect("conversation.item.create");
            assert_eq!(output["item"]["call_id"], "c1", "{output}");
            let text = output["item"]["output"].as_str().unwrap_or_default();
            assert!(text.contains("was not done"), "{does:?}: the model is told: {text}");
            let cut = stage.expect("conversation.item.truncate");
            let told = cut["audio_end_ms"].as_u64().expect("a number");
            stage.pass(500);
            stage.speech_stopped("u2", at + 500);
            stage.committed("u2");
            stage.respond("r3", "i3", 1_000);
            stage.await_state("SPEAKING", 500);
            stage.await_state("LISTENING", 2_000);
            stage.silent(5_000);
            let (_, heard) = stage.heard("goodbye", GOODBYE_MS).expect("its beginning was heard");
            assert!(told.abs_diff(heard) <= 20, "{does:?}: {heard} ms were heard, and {told} told");
            stage.heard_whole("i3", 1_000);
            assert!(!call.ended() && next_begins(&call).is_none(), "{does:?} is not done");
            assert!(freeswitch.exists(&call.uuid));
        }
    });
}
