//! Conversations in which the module decides what interrupts, and so which turns are answered: `barge_in=off`, `barge_in=local` and
//! `barge_in_min_ms`. Each is one function that runs on any [`Stage`].

use serde_json::{Value, json};

use super::stage::{Stage, Start};

/// Gives the names of all conversations to a macro.
macro_rules! each_remark {
    ($run:ident) => {
        $run! {
            a_remark_is_neither_answered_nor_an_interruption,
            speech_that_lasts_interrupts_and_is_answered,
            a_service_that_hears_a_pause_late_makes_no_interruption,
            where_speech_does_not_interrupt_a_long_turn_waits,
            a_noise_that_only_the_service_hears_is_not_answered,
        }
    };
}
pub(crate) use each_remark;

/// Ready, in a session whose service does nothing by itself.
fn open(stage: &mut Stage<'_>) {
    stage.open();
    let updates = stage.told("session.update");
    let turns = &updates[0]["session"]["audio"]["input"]["turn_detection"];
    assert_eq!((&turns["create_response"], &turns["interrupt_response"]), (&json!(false), &json!(false)), "{turns}");
}

/// A turn while the agent is silent is answered, whatever its length.
fn answered(stage: &mut Stage<'_>, turn: &str) -> Value {
    stage.speak(turn, 300);
    stage.expect("response.create")
}

/// The caller speaks for so long. The service hears that, and the end as late as services do.
fn says(stage: &mut Stage<'_>, turn: &str, ms: u32) {
    let at = stage.appended_ms();
    stage.speech_started(turn, at);
    stage.caller_says(ms);
    stage.speech_stopped(turn, at + u64::from(ms));
    stage.committed(turn);
}

/// "Mm-hm" behind the agent's words is no turn.
pub fn a_remark_is_neither_answered_nor_an_interruption(start: Start<'_>) {
    for options in [&[("barge_in_min_ms", "500")], &[("barge_in", "off")]] {
        let mut stage = start(options);
        open(&mut stage);
        let request = answered(&mut stage, "u1");
        stage.answer(&request, "r1", "i1", 4_000);
        stage.await_state("SPEAKING", 500);
        stage.pass(300);
        says(&mut stage, "u2", 250);
        stage.silent(100);
        assert_eq!(stage.state(), "SPEAKING", "{options:?}");
        stage.await_state("LISTENING", 4_000);
        stage.silent(2_500);
        assert_eq!(stage.state(), "LISTENING", "{options:?}");
        stage.heard_whole("i1", 4_000);
        assert_eq!(stage.events("barge_in"), [] as [&str; 0]);
        // The next turn is as any other.
        let request = answered(&mut stage, "u3");
        stage.answer(&request, "r2", "i2", 500);
        stage.await_state("SPEAKING", 500);
        stage.await_state("LISTENING", 1_500);
        stage.heard_whole("i2", 500);
    }
}

/// Whoever goes on speaking gets the floor, and an answer.
pub fn speech_that_lasts_interrupts_and_is_answered(start: Start<'_>) {
    for options in [&[("barge_in_min_ms", "500")][..], &[("barge_in", "local"), ("barge_in_min_ms", "500")]] {
        let mut stage = start(options);
        open(&mut stage);
        let request = answered(&mut stage, "u1");
        stage.answer(&request, "r1", "i1", 6_000);
        stage.await_state("SPEAKING", 500);
        stage.pass(500);
        says(&mut stage, "u2", 1_500);
        let truncation = stage.expect("conversation.item.truncate");
        let heard = truncation["audio_end_ms"].as_u64().unwrap();
        // From 500 ms on the caller speaks, and 500 ms later that counts.
        assert!((950..=1_500).contains(&heard), "{options:?}: {heard} ms");
        let request = stage.expect("response.create");
        stage.answer(&request, "r2", "i2", 800);
        stage.await_state("SPEAKING", 500);
        stage.await_state("LISTENING", 1_500);
        stage.silent(500);
        stage.heard_whole("i2", 800);
        assert_eq!(stage.events("barge_in").len(), 1, "{options:?}");
    }
}

/// The service states the end of speech only after its time of silence, which may be longer than the minimum.
pub fn a_service_that_hears_a_pause_late_makes_no_interruption(start: Start<'_>) {
    let mut stage = start(&[("barge_in_min_ms", "400")]);
    open(&mut stage);
    let request = answered(&mut stage, "u1");
    stage.answer(&request, "r1", "i1", 3_500);
    stage.await_state("SPEAKING", 500);
    let at = stage.appended_ms();
    stage.speech_started("u2", at);
    stage.caller_says(200);
    stage.silent(800);
    stage.speech_stopped("u2", at + 200);
    stage.committed("u2");
    stage.await_state("LISTENING", 4_000);
    stage.silent(500);
    stage.heard_whole("i1", 3_500);
    assert_eq!(stage.events("barge_in"), [] as [&str; 0]);
}

/// The agent says what it has to say. Then it answers what was more than a remark.
pub fn where_speech_does_not_interrupt_a_long_turn_waits(start: Start<'_>) {
    let mut stage = start(&[("barge_in", "off")]);
    open(&mut stage);
    let request = answered(&mut stage, "u1");
    stage.answer(&request, "r1", "i1", 4_000);
    stage.await_state("SPEAKING", 500);
    says(&mut stage, "u2", 1_500);
    let request = stage.expect("response.create");
    stage.answer(&request, "r2", "i2", 800);
    stage.await_state("LISTENING", 6_000);
    stage.silent(500);
    let (first, second) = (stage.heard_whole("i1", 4_000), stage.heard_whole("i2", 800));
    assert!(second >= first + 3_980, "{first} and {second}");
    assert_eq!(stage.events("barge_in"), [] as [&str; 0]);
}

/// The module's own detection decides, so what it does not hear is no turn while the agent speaks.
pub fn a_noise_that_only_the_service_hears_is_not_answered(start: Start<'_>) {
    let mut stage = start(&[("barge_in", "local")]);
    open(&mut stage);
    let request = answered(&mut stage, "u1");
    stage.answer(&request, "r1", "i1", 3_000);
    stage.await_state("SPEAKING", 500);
    stage.speak("u2", 900);
    stage.silent(500);
    stage.await_state("LISTENING", 3_000);
    stage.silent(500);
    stage.heard_whole("i1", 3_000);
    // What it hears interrupts at once.
    let request = answered(&mut stage, "u3");
    stage.answer(&request, "r3", "i3", 4_000);
    stage.await_state("SPEAKING", 500);
    says(&mut stage, "u4", 600);
    stage.expect("conversation.item.truncate");
    stage.expect("response.create");
    assert_eq!(stage.events("barge_in").len(), 1);
}
