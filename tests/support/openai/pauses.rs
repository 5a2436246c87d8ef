//! Conversations in which speech of the caller pauses the agent until it is known whether it interrupts (`false_interruption_ms`).
//! Each is one function that runs on any [`Stage`].

use serde_json::json;

use super::stage::{Stage, Start};

/// Gives the names of all conversations to a macro.
macro_rules! each_pause {
    ($run:ident) => {
        $run! {
            after_a_noise_playback_goes_on_at_the_sample,
            words_of_the_list_do_not_interrupt,
            a_word_interrupts_at_the_sample_of_the_pause,
            words_come_too_late_and_interrupt_nevertheless,
            without_a_transcript_a_short_sound_only_pauses,
            a_key_in_a_pause_interrupts,
        }
    };
}
pub(crate) use each_pause;

/// How long the agent's message is.
const LENGTH: u32 = 5_000;

const TRANSCRIBED: [(&str, &str); 3] =
    [("false_interruption_ms", "1000"), ("transcription_model", "test"), ("interruption_ignore", "mm-hm, yeah")];

/// Ready, and the agent has been heard for half a second.
fn speaking(stage: &mut Stage<'_>) {
    stage.open();
    stage.speak("u1", 300);
    let request = stage.expect("response.create");
    stage.answer(&request, "r1", "i1", LENGTH);
    stage.await_state("SPEAKING", 500);
    stage.pass(500);
}

/// What the service has understood.
fn understood(stage: &mut Stage<'_>, item: &str, words: &str) {
    stage.send(json!({"type": "conversation.item.input_audio_transcription.completed", "item_id": item,
        "content_index": 0, "transcript": words}));
}

/// The next turn is as any other.
fn the_next_turn_is_answered(stage: &mut Stage<'_>) {
    stage.speak("next", 300);
    let request = stage.expect("response.create");
    stage.answer(&request, "rn", "in", 500);
    stage.await_state("SPEAKING", 500);
    stage.await_state("LISTENING", 1_500);
    stage.pass(100);
    stage.heard_whole("in", 500);
}

/// A cough: nothing of the message is lost or heard twice, and the pause was silence.
pub fn after_a_noise_playback_goes_on_at_the_sample(start: Start<'_>) {
    let mut stage = start(&TRANSCRIBED);
    speaking(&mut stage);
    stage.speak("u2", 400);
    stage.silent(900);
    assert_eq!(stage.events("went_on"), [] as [&str; 0]);
    stage.within(400, "playback", |stage| stage.events("went_on") == [""]);
    stage.await_state("LISTENING", 6_000);
    stage.silent(200);
    let (first, pause) = stage.heard_in_two("i1", LENGTH);
    assert!((400..=900).contains(&first), "paused after {first} ms");
    assert!((1_360..=1_700).contains(&pause), "for {pause} ms");
    assert_eq!(stage.events("barge_in"), [] as [&str; 0]);
    the_next_turn_is_answered(&mut stage);
}

/// "Mm-hm": playback goes on as soon as that is known, and nobody answers it.
pub fn words_of_the_list_do_not_interrupt(start: Start<'_>) {
    let mut stage = start(&TRANSCRIBED);
    speaking(&mut stage);
    stage.speak("u2", 400);
    stage.pass(100);
    understood(&mut stage, "u2", "Mm-hmm.");
    stage.within(300, "playback", |stage| stage.events("went_on") == ["Mm-hmm."]);
    stage.await_state("LISTENING", 6_000);
    stage.silent(200);
    let (_, pause) = stage.heard_in_two("i1", LENGTH);
    assert!((460..=800).contains(&pause), "for {pause} ms");
    assert_eq!(stage.events("barge_in"), [] as [&str; 0]);
    the_next_turn_is_answered(&mut stage);
}

/// The service is told to the millisecond what was heard, although the decision came a second later.
pub fn a_word_interrupts_at_the_sample_of_the_pause(start: Start<'_>) {
    let mut stage = start(&TRANSCRIBED);
    speaking(&mut stage);
    stage.speak("u2", 700);
    stage.pass(300);
    understood(&mut stage, "u2", "Yeah, but not today.");
    let truncation = stage.expect("conversation.item.truncate");
    let request = stage.expect("response.create");
    stage.answer(&request, "r2", "i2", 800);
    stage.await_state("SPEAKING", 500);
    stage.await_state("LISTENING", 2_000);
    stage.silent(200);
    let heard = stage.heard_until("i1", LENGTH);
    assert_eq!(truncation["audio_end_ms"], heard, "told and heard");
    assert!((400..=900).contains(&heard), "{heard} ms");
    stage.heard_whole("i2", 800);
    assert_eq!((stage.events("barge_in").len(), stage.events("went_on").len()), (1, 0));
}

/// A transcript may take longer than playback waits.
pub fn words_come_too_late_and_interrupt_nevertheless(start: Start<'_>) {
    let mut stage = start(&TRANSCRIBED);
    speaking(&mut stage);
    stage.speak("u2", 400);
    stage.within(1_400, "playback", |stage| stage.events("went_on") == [""]);
    stage.pass(400);
    understood(&mut stage, "u2", "Stop.");
    stage.expect("conversation.item.truncate");
    let request = stage.expect("response.create");
    stage.answer(&request, "r2", "i2", 500);
    stage.await_state("LISTENING", 2_000);
    stage.pass(100);
    stage.heard_whole("i2", 500);
    assert_eq!(stage.events("barge_in").len(), 1);
}

/// The module hears by itself how long the caller speaks.
pub fn without_a_transcript_a_short_sound_only_pauses(start: Start<'_>) {
    for ms in [300, 1_500] {
        let mut stage = start(&[("false_interruption_ms", "600"), ("barge_in", "local")]);
        speaking(&mut stage);
        let at = stage.appended_ms();
        stage.speech_started("u2", at);
        stage.caller_says(ms);
        stage.speech_stopped("u2", at + u64::from(ms));
        stage.committed("u2");
        if ms < 800 {
            stage.within(1_500, "playback", |stage| stage.events("went_on") == [""]);
            stage.await_state("LISTENING", 6_000);
            stage.silent(200);
            stage.heard_in_two("i1", LENGTH);
            assert_eq!(stage.events("barge_in"), [] as [&str; 0]);
        } else {
            let truncation = stage.expect("conversation.item.truncate");
            stage.expect("response.create");
            stage.pass(100);
            assert_eq!(truncation["audio_end_ms"], stage.heard_until("i1", LENGTH));
            assert_eq!(stage.events("barge_in").len(), 1);
        }
    }
}

/// A key is no word.
pub fn a_key_in_a_pause_interrupts(start: Start<'_>) {
    let mut stage = start(&[("dtmf_to_model", "true"), TRANSCRIBED[0], TRANSCRIBED[1]]);
    speaking(&mut stage);
    let at = stage.appended_ms();
    stage.speech_started("u2", at);
    stage.pass(300);
    stage.operate(super::Command::Key('5'));
    let truncation = stage.expect("conversation.item.truncate");
    stage.pass(100);
    assert_eq!(truncation["audio_end_ms"], stage.heard_until("i1", LENGTH));
    stage.skip();
}
