//! Conversations about what the operator is told: tokens, transcripts. Each is one function that runs on any [`Stage`].

use serde_json::{Value, json};

use super::script::What;
use super::stage::{Command, Stage, Start};
use super::turns::{TOOLS, with_a_call};

/// Gives the names of all conversations to a macro.
macro_rules! each_report {
    ($run:ident) => {
        $run! {
            what_is_billed_is_told_whatever_became_of_it,
            transcripts_are_replayed_in_the_order_of_the_talk,
            a_second_confirmation_of_the_session_greets_nobody,
            idleness_counts_from_the_last_sound_that_was_heard,
        }
    };
}
pub(crate) use each_report;

/// A response that ends so and states what it cost.
fn billed(stage: &mut Stage<'_>, response: &str, status: &str, usage: &Value) {
    stage.begin(response, &format!("i-{response}"));
    stage.audio(response, &format!("i-{response}"), 400);
    stage.send(json!({"type": "response.done",
        "response": {"id": response, "status": status, "status_details": null, "output": [], "usage": usage}}));
    stage.await_state("SPEAKING", 500);
    stage.await_state("LISTENING", 1_500);
}

/// A response is billed with details, and one that was cancelled without.
pub fn what_is_billed_is_told_whatever_became_of_it(start: Start<'_>) {
    let mut stage = start(&[]);
    stage.open();
    stage.speak("u1", 500);
    let whole = json!({"input_tokens": 1459, "output_tokens": 396,
        "input_token_details": {"text_tokens": 1349, "audio_tokens": 110, "cached_tokens": 1408,
            "cached_tokens_details": {"text_tokens": 1344, "audio_tokens": 64}},
        "output_token_details": {"text_tokens": 97, "audio_tokens": 299}});
    billed(&mut stage, "r1", "completed", &whole);
    billed(&mut stage, "r2", "cancelled", &json!({"input_tokens": 100, "output_tokens": 20}));
    // Input, of which cached, and output: the sums so far.
    stage.within(1_500, "both ends", |stage| stage.events("usage").len() == 2);
    assert_eq!(stage.events("usage"), ["1459/1408/396", "1559/1408/416"]);
    let usage = stage.usage();
    let uncached = |kind: &str| {
        let count = |name: String| usage[name].as_u64().expect("a number");
        count(format!("input_{kind}_tokens")) - count(format!("cached_{kind}_tokens"))
    };
    assert_eq!((uncached("text"), uncached("audio")), (5, 46), "{usage}");
}

/// Transcripts come late, out of order, failed and empty; then the session is lost.
pub fn transcripts_are_replayed_in_the_order_of_the_talk(start: Start<'_>) {
    let mut stage = start(&[("transcription_model", "words")]);
    stage.open();
    let mut before = Value::Null;
    for turn in 1..=4 {
        let (caller, response, item) = (format!("u{turn}"), format!("r{turn}"), format!("i{turn}"));
        let at = stage.appended_ms();
        stage.speech_started(&caller, at);
        stage.pass(300);
        stage.speech_stopped(&caller, at + 300);
        stage.send(json!({"type": "input_audio_buffer.committed", "item_id": caller, "previous_item_id": before}));
        before = json!(item);
        stage.begin(&response, &item);
        stage.send(json!({"type": "response.output_audio_transcript.done", "response_id": response, "item_id": item,
            "output_index": 0, "content_index": 0, "transcript": format!("answer {turn}")}));
        stage.audio(&response, &item, 300);
        stage.end(&response);
        stage.await_state("SPEAKING", 500);
        stage.await_state("LISTENING", 1_500);
    }
    for (item, transcript) in [("u2", "second"), ("u1", "first"), ("u4", "")] {
        stage.send(json!({"type": "conversation.item.input_audio_transcription.completed", "item_id": item,
            "content_index": 0, "transcript": transcript}));
    }
    stage.send(json!({"type": "conversation.item.input_audio_transcription.failed", "item_id": "u3",
        "content_index": 0, "error": {"type": "transcription_error", "code": "audio_unintelligible",
            "message": "There are no words."}}));
    stage.within(1_500, "the failure", |stage| !stage.events("unheard").is_empty());
    assert_eq!(stage.events("unheard"), ["u3"], "the failure names what it is about");
    let of_caller: Vec<_> =
        stage.events("said").into_iter().filter(|told| told.starts_with('u') && !told.contains("u4")).collect();
    assert_eq!(of_caller, ["u2 after i1: second", "u1 after : first"]);
    stage.lose(What::Drop);
    stage.confirm();
    let mut replayed = Vec::new();
    for _ in 0..6 {
        let item = stage.expect("conversation.item.create")["item"].clone();
        let text = item["content"][0]["text"].as_str().expect("a text").to_owned();
        replayed.push((item["role"].as_str().expect("a role").to_owned(), text));
    }
    let expected = [
        ("user", "first"),
        ("assistant", "answer 1"),
        ("user", "second"),
        ("assistant", "answer 2"),
        ("assistant", "answer 3"),
        ("assistant", "answer 4"),
    ];
    assert_eq!(replayed, expected.map(|(role, text)| (role.to_owned(), text.to_owned())));
    stage.silent(500);
}

/// The service confirms the session again in mid-call.
pub fn a_second_confirmation_of_the_session_greets_nobody(start: Start<'_>) {
    let mut stage = start(&[("greeting", "Welcome.")]);
    stage.connected();
    stage.greets();
    stage.confirm();
    stage.silent(2_000);
    assert_eq!(stage.state(), "LISTENING");
    stage.heard_whole("ig", 500);
    stage.speak("u1", 300);
    stage.respond("r1", "i1", 500);
    stage.await_state("SPEAKING", 500);
    stage.confirm();
    stage.await_state("LISTENING", 1_500);
    stage.silent(500);
    stage.heard_whole("i1", 500);
}

/// The service sends faster than it is heard, and a function takes longer than the idle time.
pub fn idleness_counts_from_the_last_sound_that_was_heard(start: Start<'_>) {
    const IDLE: u64 = 2_500;
    let mut stage = start(&[TOOLS, ("idle_timeout_ms", "2500")]);
    with_a_call(&mut stage);
    stage.silent(IDLE + 1_500);
    assert_eq!(stage.events("idle"), [] as [&str; 0], "a function runs");
    stage.operate(Command::Result("c1", "{}"));
    stage.expect("conversation.item.create");
    let request = stage.expect("response.create");
    stage.answer(&request, "r2", "i2", 4_000);
    stage.await_state("SPEAKING", 500);
    stage.await_state("LISTENING", 4_500);
    assert_eq!(stage.events("idle"), [] as [&str; 0], "the agent speaks");
    let took = stage.within(IDLE + 500, "the idle timeout", |stage| !stage.events("idle").is_empty());
    assert!((IDLE - 150..=IDLE + 250).contains(&took), "{took} ms after the last sound");
}
