//! Conversations whose session is lost, and whose answers are cut short, last long or end the call. Each is one function that runs on
//! any [`Stage`].

use serde_json::{Value, json};

use super::script::What;
use super::stage::{Command, Stage, Start};
use super::turns::{TOOLS, with_a_call};

/// Gives the names of all conversations to a macro.
macro_rules! each_session {
    ($run:ident) => {
        $run! {
            a_close_in_mid_call_is_followed_by_a_new_session,
            a_result_after_a_loss_is_answered_once,
            an_answer_cut_off_by_a_loss_goes_on_after_it,
            the_item_in_progress_is_cut_and_the_next_deleted,
            a_gap_in_the_audio_does_not_count_as_heard,
            nothing_is_cut_before_the_first_sound,
            an_answer_that_is_complete_is_cut_and_not_cancelled,
            two_functions_are_followed_by_one_answer,
            results_during_an_interruption_are_answered_once,
            an_interrupted_answer_is_transcribed_as_it_was_heard,
            the_numbers_of_a_turn_are_those_of_the_audio,
        }
    };
}
pub(crate) use each_session;

/// Waits for the client's next truncation, which is of this item; gives the end of what is kept, ms.
#[track_caller]
fn truncated(stage: &mut Stage<'_>, item: &str) -> u64 {
    let truncation = stage.expect("conversation.item.truncate");
    assert_eq!(truncation["item_id"], item);
    truncation["audio_end_ms"].as_u64().expect("a number")
}

/// The model was told as much of a message of `ms` as the caller has heard.
#[track_caller]
fn assert_heard(stage: &Stage<'_>, item: &str, ms: u32, told: u64) {
    let (_, heard) = stage.heard(item, ms).expect("its beginning was heard");
    assert!(told.abs_diff(heard) <= 20, "of {item} {heard} ms were heard, and {told} told");
}

/// The service ends a session as if all were over, or because it restarts, and the caller is still there.
pub fn a_close_in_mid_call_is_followed_by_a_new_session(start: Start<'_>) {
    for code in [1000, 1011, 1012] {
        closed(start, code);
    }
}

fn closed(start: Start<'_>, code: u16) {
    let mut stage = start(&[("greeting", "Welcome.")]);
    stage.connected();
    stage.greets();
    stage.lose(What::Close(code, ""));
    stage.confirm();
    stage.await_state("LISTENING", 1_000);
    stage.silent(500);
    stage.speak("u1", 500);
    stage.respond("r1", "i1", 800);
    stage.await_state("SPEAKING", 500);
    stage.await_state("LISTENING", 1_500);
    stage.heard_whole("i1", 800);
    assert!(stage.events("state").contains(&"RECONNECTING".to_owned()));
    assert!(!stage.events("state").contains(&"FAILED".to_owned()));
}

/// The session is lost while a function runs; its result comes afterwards.
pub fn a_result_after_a_loss_is_answered_once(start: Start<'_>) {
    let mut stage = start(&[TOOLS]);
    with_a_call(&mut stage);
    stage.lose(What::Drop);
    stage.confirm();
    let call = stage.expect("conversation.item.create");
    assert_eq!((&call["item"]["type"], &call["item"]["call_id"]), (&json!("function_call"), &json!("c1")));
    stage.silent(500);
    stage.operate(Command::Result("c1", r#"{"x":1}"#));
    let output = stage.expect("conversation.item.create");
    assert_eq!((&output["item"]["type"], &output["item"]["call_id"]), (&json!("function_call_output"), &json!("c1")));
    let request = stage.expect("response.create");
    stage.answer(&request, "r2", "i2", 1_000);
    stage.await_state("SPEAKING", 500);
    stage.await_state("LISTENING", 2_000);
    stage.silent(2_000);
    stage.heard_whole("i2", 1_000);
}

/// The session is lost in the middle of an answer.
pub fn an_answer_cut_off_by_a_loss_goes_on_after_it(start: Start<'_>) {
    let mut stage = start(&[]);
    stage.open();
    stage.speak("u1", 500);
    stage.begin("r1", "i1");
    let text = "Your order of twelve red chairs was shipped on Monday and will";
    stage.send(json!({"type": "response.output_audio_transcript.delta", "response_id": "r1", "item_id": "i1",
        "output_index": 0, "content_index": 0, "delta": text}));
    stage.audio("r1", "i1", 1_500);
    stage.await_state("SPEAKING", 500);
    stage.pass(500);
    stage.lose(What::Drop);
    stage.confirm();
    let heard = stage.expect_within("conversation.item.create", 2_500);
    assert_eq!(heard["item"]["content"], json!([{"type": "output_text", "text": "Your order of twelve"}]));
    let request = stage.expect_within("response.create", 1_000);
    stage.answer(&request, "r2", "i2", 1_000);
    stage.await_state("SPEAKING", 500);
    stage.await_state("LISTENING", 2_000);
    stage.silent(2_000);
    stage.heard_whole("i1", 1_500);
    stage.heard_whole("i2", 1_000);
    assert_eq!(stage.events("response")[0], text);
}

/// Two responses are queued when the caller interrupts the first.
pub fn the_item_in_progress_is_cut_and_the_next_deleted(start: Start<'_>) {
    let mut stage = start(&[TOOLS]);
    stage.open();
    stage.speak("u1", 500);
    stage.begin("r1", "iA");
    stage.audio("r1", "iA", 3_000);
    stage.call("r1", "c1", "look_up", "{}");
    stage.end("r1");
    stage.await_state("SPEAKING", 500);
    stage.operate(Command::Result("c1", "{}"));
    stage.expect("conversation.item.create");
    let request = stage.expect("response.create");
    stage.answer(&request, "r2", "iB", 2_000);
    stage.pass(900);
    let at = stage.appended_ms();
    stage.speech_started("u2", at);
    let told = truncated(&mut stage, "iA");
    assert_eq!(stage.expect("conversation.item.delete")["item_id"], "iB");
    stage.silent(1_000);
    assert_heard(&stage, "iA", 3_000, told);
    assert!(stage.heard("iB", 2_000).is_none(), "the second was never heard");
    assert_eq!(stage.events("error"), [] as [&str; 0]);
}

/// The audio of an answer pauses, and the caller hears silence meanwhile.
pub fn a_gap_in_the_audio_does_not_count_as_heard(start: Start<'_>) {
    let mut stage = start(&[]);
    stage.open();
    stage.speak("u1", 500);
    stage.begin("r1", "i1");
    stage.audio("r1", "i1", 400);
    stage.await_state("SPEAKING", 500);
    stage.pass(1_200);
    stage.audio("r1", "i2", 3_000);
    stage.pass(1_000);
    let at = stage.appended_ms();
    stage.speech_started("u2", at);
    // Its response is not over, so the service may still have more of the first.
    assert_eq!(truncated(&mut stage, "i1"), 400);
    let told = truncated(&mut stage, "i2");
    stage.silent(500);
    assert!(told < 1_200, "{told} ms: the gap counts");
    assert_heard(&stage, "i2", 3_000, told);
}

/// The caller speaks before the answer has a sound.
pub fn nothing_is_cut_before_the_first_sound(start: Start<'_>) {
    let mut stage = start(&[]);
    stage.open();
    stage.speak("u1", 500);
    stage.begin("r1", "i1");
    let at = stage.appended_ms();
    stage.speech_started("u2", at);
    stage.pass(200);
    stage.cancelled("r1");
    stage.pass(200);
    assert_eq!(stage.told("conversation.item.truncate"), [] as [Value; 0]);
    // A service without the audio refuses to delete what has none.
    for delete in stage.told("conversation.item.delete") {
        stage.error("unsupported_content_type", "There is no audio.", &delete);
    }
    stage.pass(100);
    stage.speech_stopped("u2", at + 400);
    stage.committed("u2");
    stage.skip();
    stage.respond("r2", "i2", 500);
    stage.await_state("SPEAKING", 500);
    stage.await_state("LISTENING", 1_500);
    stage.heard_whole("i2", 500);
    assert_eq!(stage.events("error"), [] as [&str; 0]);
}

/// The caller speaks when the response is over and most of it waits to be heard.
pub fn an_answer_that_is_complete_is_cut_and_not_cancelled(start: Start<'_>) {
    let mut stage = start(&[]);
    stage.open();
    stage.speak("u1", 500);
    stage.respond("r1", "i1", 10_000);
    stage.await_state("SPEAKING", 500);
    stage.pass(3_000);
    let at = stage.appended_ms();
    stage.speech_started("u2", at);
    let told = truncated(&mut stage, "i1");
    // A cancel that crosses the end of its response is refused; that ends nothing.
    stage.error("response_cancel_not_active", "There is none.", &Value::Null);
    stage.silent(500);
    assert_heard(&stage, "i1", 10_000, told);
    stage.speech_stopped("u2", at + 500);
    stage.committed("u2");
    stage.respond("r2", "i2", 500);
    stage.await_state("SPEAKING", 500);
    stage.await_state("LISTENING", 1_500);
    stage.heard_whole("i2", 500);
    assert_eq!(stage.events("error"), [] as [&str; 0]);
}

/// One response calls two functions.
pub fn two_functions_are_followed_by_one_answer(start: Start<'_>) {
    let mut stage = start(&[TOOLS]);
    stage.open();
    stage.speak("u1", 500);
    stage.create("r1");
    stage.call("r1", "c1", "look_up", "{}");
    stage.call("r1", "c2", "look_up", "{}");
    stage.end("r1");
    stage.within(1_500, "both calls", |stage| stage.events("action").len() == 2);
    stage.operate(Command::Result("c1", "{}"));
    assert_eq!(stage.expect("conversation.item.create")["item"]["call_id"], "c1");
    stage.silent(800);
    stage.operate(Command::Result("c2", "{}"));
    assert_eq!(stage.expect("conversation.item.create")["item"]["call_id"], "c2");
    let request = stage.expect("response.create");
    stage.answer(&request, "r2", "i2", 500);
    stage.await_state("SPEAKING", 500);
    stage.await_state("LISTENING", 1_500);
    stage.silent(2_000);
}

/// The results come while the caller interrupts and is answered.
pub fn results_during_an_interruption_are_answered_once(start: Start<'_>) {
    let mut stage = start(&[TOOLS]);
    with_a_call(&mut stage);
    let at = stage.appended_ms();
    stage.speech_started("u2", at);
    stage.pass(100);
    stage.operate(Command::Result("c1", "{}"));
    assert_eq!(stage.expect("conversation.item.create")["item"]["call_id"], "c1");
    stage.silent(400);
    stage.speech_stopped("u2", at + 400);
    stage.committed("u2");
    stage.begin("r2", "i2");
    stage.audio("r2", "i2", 1_000);
    stage.silent(500);
    stage.end("r2");
    // The answer to the caller was made with the result.
    stage.await_state("LISTENING", 2_000);
    stage.heard_whole("i2", 1_000);
    assert!(stage.told("response.create").len() <= 1, "{:?}", stage.told("response.create"));
}

/// The model has written more than the caller heard, and its end never comes.
pub fn an_interrupted_answer_is_transcribed_as_it_was_heard(start: Start<'_>) {
    let mut stage = start(&[]);
    stage.open();
    stage.speak("u1", 500);
    stage.respond_saying("r1", "i1", 800, "Good morning.");
    stage.await_state("SPEAKING", 500);
    stage.await_state("LISTENING", 1_500);
    assert_eq!(
        (stage.events("transcript"), stage.events("heard")),
        (vec!["Good morning.".into()], vec!["Good morning.".into()])
    );
    stage.speak("u2", 500);
    stage.begin("r2", "i2");
    let text = "Your order of twelve red chairs was shipped on Monday and will be there tomorrow at noon";
    stage.words("r2", "i2", text);
    stage.audio("r2", "i2", 3_000);
    stage.await_state("SPEAKING", 500);
    stage.pass(1_500);
    assert_eq!(stage.events("transcript").len(), 1, "nobody knows yet how much is heard");
    let at = stage.appended_ms();
    stage.speech_started("u3", at);
    stage.cancelled("r2");
    stage.within(500, "the interruption", |stage| stage.events("barge_in").len() == 1);
    stage.within(500, "the transcript", |stage| stage.events("transcript").len() == 2);
    assert_eq!(stage.events("transcript")[1], text);
    let heard = &stage.events("heard")[1];
    assert!(heard.starts_with("Your order of") && !heard.contains("Monday"), "{heard}");
    assert_eq!(stage.events("response")[1], text);
}

/// How long the caller waited, for whom, and how soon an interruption was silence.
pub fn the_numbers_of_a_turn_are_those_of_the_audio(start: Start<'_>) {
    let mut stage = start(&[("transcript_deltas", "true")]);
    stage.open();
    let at = stage.appended_ms();
    stage.speech_started("u1", at);
    // The service hears the end of speech some 700 ms late.
    stage.caller_says(600);
    stage.speech_stopped("u1", at + 600);
    stage.committed("u1");
    stage.pass(300);
    stage.begin("r1", "i1");
    stage.audio("r1", "i1", 4_000);
    stage.end("r1");
    stage.await_state("SPEAKING", 500);
    stage.pass(1_000);
    let at = stage.appended_ms();
    stage.speech_started("u2", at);
    stage.within(1_000, "the numbers", |stage| !stage.events("answer_ms").is_empty());
    let ms = |kind: &str| stage.events(kind)[0].parse::<u64>().unwrap_or_else(|_| panic!("no {kind}"));
    let (answer, model, silence) = (ms("answer_ms"), ms("model_ms"), ms("silence_ms"));
    // The pause of the caller, of the service, and the way of the audio. The last sound of the speech may come earlier.
    assert!((950..=1_500).contains(&answer), "{answer} ms from the last sound to the answer");
    assert!((290..=600).contains(&model), "{model} ms to the model's first sound");
    assert!(silence <= 100, "{silence} ms to silence");
}
