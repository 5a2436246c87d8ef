//! Conversations in which requests and turns cross, fail, are refused or are lost. Each is one function that runs on any
//! [`Stage`].

use serde_json::Value;

use super::stage::{Command, Stage, Start};

/// The functions of the conversations in which the model calls one.
pub(super) const TOOLS: (&str, &str) =
    ("tools", r#"[{"name":"look_up","description":"Looks up.","parameters":{"type":"object"}}]"#);
const MINUTE: u64 = 60_000;

/// Gives the names of all conversations to a macro.
macro_rules! each_turn {
    ($run:ident) => {
        $run! {
            the_services_own_answer_is_not_taken_for_ours,
            an_early_hello_leaves_the_greeting_whole,
            sound_from_before_the_session_interrupts_nothing,
            a_cough_before_the_answer_does_not_lose_it,
            a_text_of_the_operator_is_spoken_during_a_function,
            two_texts_of_the_operator_are_spoken_in_order,
            a_refused_text_is_asked_for_again,
            a_refusal_may_come_behind_the_end_of_a_response,
            a_greeting_outlives_its_connection,
            a_commit_behind_its_response_wedges_nothing,
            a_failed_response_is_asked_for_once_more,
            a_second_failure_is_reported_and_not_repeated,
            a_function_of_a_failed_response_asks_for_nothing,
            a_blip_is_committed_and_not_answered,
            a_local_turn_is_answered_once_it_is_committed,
            a_key_does_not_silence_the_agent,
            clear_does_not_lose_the_answer_to_a_result,
            a_key_does_not_lose_the_answer_to_a_result,
            instructions_come_behind_the_system_prompt,
            a_late_result_is_still_spoken_of,
            words_of_a_result_are_said_at_once,
            further_fields_of_the_session_reach_the_service,
        }
    };
}
pub(crate) use each_turn;

fn instructions(create: &Value) -> &str {
    create["response"]["instructions"].as_str().unwrap_or_default()
}

/// The model has called a function, and nothing else.
pub(super) fn with_a_call(stage: &mut Stage<'_>) {
    stage.open();
    stage.speak("u1", 500);
    stage.create("r1");
    stage.call("r1", "c1", "look_up", "{}");
    stage.end("r1");
    stage.within(1_500, "the call", |stage| !stage.events("action").is_empty());
}

/// While a request is outstanding, the service answers the caller by itself and refuses the request.
pub fn the_services_own_answer_is_not_taken_for_ours(start: Start<'_>) {
    let mut stage = start(&[TOOLS]);
    with_a_call(&mut stage);
    stage.operate(Command::Result("c1", r#"{"x":1}"#));
    assert_eq!(stage.expect("conversation.item.create")["item"]["call_id"], "c1");
    let request = stage.expect("response.create");
    let at = stage.appended_ms();
    stage.speech_started("u2", at);
    stage.pass(400);
    stage.speech_stopped("u2", at + 400);
    stage.committed("u2");
    stage.begin("r2", "i2");
    stage.refuse(&request);
    stage.audio("r2", "i2", 2_000);
    stage.end("r2");
    stage.await_state("SPEAKING", 500);
    stage.await_state("LISTENING", 3_000);
    // r2 was made with the result: there is nothing more to ask.
    stage.silent(2_000);
    stage.heard_whole("i2", 2_000);
    assert_eq!(stage.told("response.cancel"), [] as [Value; 0]);
    assert_eq!(stage.events("error"), [] as [&str; 0]);
}

/// The caller speaks before the session is ready, and the service answers that before the greeting.
pub fn an_early_hello_leaves_the_greeting_whole(start: Start<'_>) {
    let mut stage = start(&[("greeting", "Welcome to the clinic.")]);
    stage.connected();
    stage.pass(1_000);
    stage.confirm();
    let request = stage.expect("response.create");
    assert!(instructions(&request).contains("Welcome to the clinic."), "{request}");
    assert!(stage.appended_ms() >= 900, "what the caller said is kept");
    stage.speech_started("u1", 100);
    stage.speech_stopped("u1", 700);
    stage.committed("u1");
    stage.begin("r1", "i1");
    stage.refuse(&request);
    stage.audio("r1", "i1", 1_500);
    stage.end("r1");
    let again = stage.expect("response.create");
    assert!(instructions(&again).contains("Welcome to the clinic."), "{again}");
    stage.answer(&again, "g", "ig", 2_000);
    stage.silent(5_000);
    assert_eq!(stage.state(), "LISTENING");
    let (answer, greeting) = (stage.heard_whole("i1", 1_500), stage.heard_whole("ig", 2_000));
    assert!(greeting >= answer + 1_480 || answer >= greeting + 1_980, "both at once: {answer} and {greeting}");
}

/// The same, but the service hears it while the greeting plays.
pub fn sound_from_before_the_session_interrupts_nothing(start: Start<'_>) {
    let mut stage = start(&[("greeting", "Welcome to the clinic.")]);
    stage.connected();
    stage.pass(1_000);
    stage.confirm();
    stage.expect("response.create");
    stage.respond("g", "ig", 2_000);
    stage.pass(60);
    stage.speech_started("u1", 100);
    stage.silent(3_000);
    stage.heard_whole("ig", 2_000);
    assert_eq!(stage.events("barge_in"), [] as [&str; 0]);
    // What they say from now on does interrupt.
    stage.speech_stopped("u1", 700);
    stage.committed("u1");
    stage.respond("r1", "i1", 4_000);
    stage.await_state("SPEAKING", 500);
    stage.pass(500);
    let at = stage.appended_ms();
    stage.speech_started("u2", at);
    stage.within(300, "the interruption", |stage| stage.events("barge_in").len() == 1);
}

/// A noise ends the response before its first sound, and no turn follows.
pub fn a_cough_before_the_answer_does_not_lose_it(start: Start<'_>) {
    let mut stage = start(&[]);
    stage.open();
    stage.speak("u1", 500);
    stage.begin("r1", "i1");
    stage.pass(200);
    let at = stage.appended_ms();
    stage.speech_started("u2", at);
    stage.pass(200);
    stage.cancelled("r1");
    stage.speech_stopped("u2", at + 200);
    stage.pass(100);
    stage.skip();
    stage.expect_within("response.create", 2_900);
    stage.respond("r2", "i2", 1_000);
    stage.await_state("SPEAKING", 500);
    stage.await_state("LISTENING", 2_000);
    stage.silent(2_000);
    stage.heard_whole("i2", 1_000);
    assert_eq!(stage.events("error"), [] as [&str; 0]);
}

/// The operator uses `say` while a function runs.
pub fn a_text_of_the_operator_is_spoken_during_a_function(start: Start<'_>) {
    let mut stage = start(&[TOOLS]);
    with_a_call(&mut stage);
    stage.pass(100);
    stage.operate(Command::Say("One moment, please."));
    let request = stage.expect_within("response.create", 100);
    assert!(instructions(&request).contains("One moment, please."), "{request}");
    stage.answer(&request, "r2", "i2", 1_000);
    stage.silent(3_000);
    stage.operate(Command::Result("c1", "{}"));
    stage.expect("conversation.item.create");
    let answer = stage.expect("response.create");
    assert_eq!(instructions(&answer), "");
    stage.answer(&answer, "r3", "i3", 1_000);
    stage.await_state("SPEAKING", 500);
    stage.await_state("LISTENING", 2_000);
    stage.silent(1_000);
    stage.heard_whole("i2", 1_000);
    stage.heard_whole("i3", 1_000);
}

/// The operator uses `say` twice while a response runs.
pub fn two_texts_of_the_operator_are_spoken_in_order(start: Start<'_>) {
    let mut stage = start(&[]);
    stage.open();
    stage.speak("u1", 500);
    stage.begin("r1", "i1");
    stage.audio("r1", "i1", 600);
    stage.operate(Command::Say("The first."));
    stage.operate(Command::Say("The second."));
    stage.silent(200);
    stage.end("r1");
    for (n, text) in [(2, "The first."), (3, "The second.")] {
        let request = stage.expect("response.create");
        assert!(instructions(&request).contains(text), "{request}");
        stage.silent(200);
        stage.answer(&request, &format!("r{n}"), &format!("i{n}"), 800);
    }
    stage.silent(3_000);
    let at = ["i1", "i2", "i3"].map(|item| stage.heard_whole(item, if item == "i1" { 600 } else { 800 }));
    assert!(at.is_sorted(), "{at:?}");
    assert_eq!(stage.state(), "LISTENING");
}

/// The service refuses a `say`, because it has just begun a response by itself.
pub fn a_refused_text_is_asked_for_again(start: Start<'_>) {
    let mut stage = start(&[]);
    stage.open();
    stage.operate(Command::Say("First."));
    let request = stage.expect("response.create");
    stage.refuse(&request);
    stage.begin("r2", "i2");
    stage.audio("r2", "i2", 500);
    stage.silent(1_000);
    stage.end("r2");
    let again = stage.expect_within("response.create", 1_000);
    assert!(instructions(&again).contains("First."), "{again}");
    assert_ne!(again["event_id"], request["event_id"], "another request");
    stage.answer(&again, "r3", "i3", 500);
    stage.silent(3_000);
    stage.heard_whole("i3", 500);
}

/// The same, but the refusal comes after the end of that response.
pub fn a_refusal_may_come_behind_the_end_of_a_response(start: Start<'_>) {
    let mut stage = start(&[]);
    stage.open();
    stage.operate(Command::Say("First."));
    let request = stage.expect("response.create");
    stage.respond("r2", "i2", 500);
    stage.refuse(&request);
    let again = stage.expect_within("response.create", 1_000);
    assert!(instructions(&again).contains("First."), "{again}");
    stage.answer(&again, "r3", "i3", 500);
    stage.silent(3_000);
    stage.heard_whole("i2", 500);
    stage.heard_whole("i3", 500);
}

/// The connection breaks before the greeting has begun.
pub fn a_greeting_outlives_its_connection(start: Start<'_>) {
    let mut stage = start(&[("greeting", "Welcome.")]);
    stage.connected();
    stage.confirm();
    let request = stage.expect("response.create");
    assert!(instructions(&request).contains("Welcome."), "{request}");
    stage.reconnect();
    stage.confirm();
    let again = stage.expect("response.create");
    assert!(instructions(&again).contains("Welcome."), "{again}");
    stage.answer(&again, "g", "ig", 1_000);
    stage.silent(3_000);
    stage.heard_whole("ig", 1_000);
}

/// The commit of a turn comes after its response has begun.
pub fn a_commit_behind_its_response_wedges_nothing(start: Start<'_>) {
    let mut stage = start(&[("idle_timeout_ms", "5000")]);
    stage.open();
    let at = stage.appended_ms();
    stage.speech_started("u1", at);
    stage.pass(500);
    stage.speech_stopped("u1", at + 500);
    stage.begin("r1", "i1");
    stage.committed("u1");
    stage.audio("r1", "i1", 1_000);
    stage.end("r1");
    stage.await_state("SPEAKING", 500);
    let took = stage.await_state("LISTENING", 1_500);
    assert!(took <= 1_150, "{took} ms after the first sound");
    stage.within(7_000, "the idle timeout", |stage| !stage.events("idle").is_empty());
    stage.operate(Command::Say("Are you there?"));
    let request = stage.expect("response.create");
    stage.create_for("r2", &request);
    stage.end("r2");
    stage.silent(if stage.is_fast() { MINUTE } else { 3_000 });
    assert_eq!(stage.events("error"), [] as [&str; 0]);
}

const LIMITED: &str = "Rate limit reached for tokens. Please try again in 1.2s. Visit the account page.";

/// A response fails before its first audio, and the service states when to try again.
pub fn a_failed_response_is_asked_for_once_more(start: Start<'_>) {
    let mut stage = start(&[]);
    stage.open();
    stage.speak("u1", 500);
    stage.begin("r1", "i1");
    stage.failed("r1", "rate_limit_exceeded", LIMITED);
    stage.silent(1_150);
    stage.expect_within("response.create", 1_800);
    stage.respond("r2", "i2", 1_000);
    stage.await_state("SPEAKING", 500);
    stage.await_state("LISTENING", 2_000);
    stage.silent(500);
    stage.heard_whole("i2", 1_000);
    assert_eq!(stage.events("error"), ["rate_limit_exceeded"]);
}

/// The second attempt fails too.
pub fn a_second_failure_is_reported_and_not_repeated(start: Start<'_>) {
    let mut stage = start(&[]);
    stage.open();
    stage.speak("u1", 500);
    stage.begin("r1", "i1");
    stage.failed("r1", "rate_limit_exceeded", LIMITED);
    stage.expect_within("response.create", 3_000);
    stage.begin("r2", "i2");
    stage.failed("r2", "rate_limit_exceeded", LIMITED);
    stage.await_state("ERROR", 500);
    stage.silent(10_000);
    assert_eq!(stage.events("error"), ["rate_limit_exceeded"; 2]);
    // The next turn is as any other.
    stage.speak("u2", 500);
    stage.respond("r3", "i3", 500);
    stage.await_state("SPEAKING", 500);
    stage.await_state("LISTENING", 1_500);
}

/// A response with a call fails: the model gets the result, but no response is asked for.
pub fn a_function_of_a_failed_response_asks_for_nothing(start: Start<'_>) {
    let mut stage = start(&[TOOLS]);
    stage.open();
    stage.speak("u1", 500);
    stage.create("r1");
    stage.call("r1", "c1", "look_up", "{}");
    stage.failed("r1", "content_policy", "This cannot be done.");
    stage.within(1_500, "the call", |stage| !stage.events("action").is_empty());
    stage.operate(Command::Result("c1", "{}"));
    stage.expect("conversation.item.create");
    stage.silent(5_000);
    stage.speak("u2", 500);
    stage.respond("r2", "i2", 500);
    stage.await_state("SPEAKING", 500);
    stage.await_state("LISTENING", 1_500);
}

/// The module commits a turn that is too short for the service.
pub fn a_blip_is_committed_and_not_answered(start: Start<'_>) {
    let mut stage = start(&[("turn_detection", "local")]);
    stage.open();
    stage.caller_says(80);
    stage.expect("input_audio_buffer.clear");
    let commit = stage.expect_within("input_audio_buffer.commit", 3_000);
    stage.error("input_audio_buffer_commit_empty", "The buffer is too small.", &commit);
    stage.await_state("LISTENING", 200);
    stage.silent(3_000);
    assert_eq!(stage.events("error"), [] as [&str; 0]);
}

/// The module asks for one response, after the service has confirmed the commit.
pub fn a_local_turn_is_answered_once_it_is_committed(start: Start<'_>) {
    let mut stage = start(&[("turn_detection", "local")]);
    stage.open();
    stage.pass(2_000);
    stage.caller_says(600);
    stage.expect("input_audio_buffer.clear");
    stage.expect_within("input_audio_buffer.commit", 3_000);
    // 600 ms of speech, 300 ms before it and 500 ms of silence that ends it, and what it takes to be sure.
    let turn = stage.turns_ms()[0];
    assert!((1_300..=1_700).contains(&turn), "{turn} ms are billed");
    stage.silent(300);
    stage.committed("u1");
    stage.expect_within("response.create", 200);
    stage.respond("r1", "i1", 500);
    stage.await_state("SPEAKING", 500);
    stage.await_state("LISTENING", 1_500);
    stage.silent(1_000);
    assert_eq!(stage.told("response.create").len(), 1);
}

/// The caller presses a key while the agent speaks. The agent stops and answers that.
pub fn a_key_does_not_silence_the_agent(start: Start<'_>) {
    let mut stage = start(&[]);
    stage.open();
    stage.speak("u1", 500);
    stage.begin("r1", "i1");
    stage.audio("r1", "i1", 5_000);
    stage.await_state("SPEAKING", 500);
    stage.pass(1_000);
    stage.operate(Command::Key('5'));
    stage.within(500, "the interruption", |stage| stage.events("barge_in").len() == 1);
    stage.cancelled("r1");
    stage.expect("response.cancel");
    stage.expect("conversation.item.truncate");
    let told = stage.expect_within("conversation.item.create", 1_900);
    let text = told["item"]["content"][0]["text"].as_str().unwrap_or_default();
    assert!(text.contains("pressed a key") && !text.contains('5'), "the model is not to know which: {text}");
    stage.expect("response.create");
    stage.respond("r2", "i2", 500);
    stage.await_state("SPEAKING", 500);
    stage.await_state("LISTENING", 1_500);
    stage.silent(3_000);
    stage.heard_whole("i2", 500);
}

/// The operator clears while the answer to a function's result waits for the end of the agent's words.
pub fn clear_does_not_lose_the_answer_to_a_result(start: Start<'_>) {
    let mut stage = start(&[TOOLS]);
    stage.open();
    stage.speak("u1", 500);
    stage.begin("r1", "i1");
    stage.audio("r1", "i1", 5_000);
    stage.call("r1", "c1", "look_up", "{}");
    stage.await_state("SPEAKING", 500);
    stage.operate(Command::Result("c1", "{}"));
    stage.expect("conversation.item.create");
    stage.pass(500);
    stage.operate(Command::Clear);
    stage.expect("response.cancel");
    stage.expect("conversation.item.truncate");
    stage.cancelled("r1");
    stage.expect_within("response.create", 2_500);
    stage.respond("r2", "i2", 500);
    stage.await_state("SPEAKING", 500);
    stage.await_state("LISTENING", 1_500);
    stage.silent(3_000);
    stage.heard_whole("i2", 500);
}

/// The caller presses a key while the request for that answer is outstanding.
pub fn a_key_does_not_lose_the_answer_to_a_result(start: Start<'_>) {
    let mut stage = start(&[TOOLS]);
    with_a_call(&mut stage);
    stage.operate(Command::Result("c1", "{}"));
    stage.expect("conversation.item.create");
    let request = stage.expect("response.create");
    stage.operate(Command::Key('5'));
    stage.pass(300);
    stage.answer(&request, "r2", "i2", 1_000);
    stage.await_state("SPEAKING", 500);
    stage.await_state("LISTENING", 2_000);
    stage.silent(3_000);
    stage.heard_whole("i2", 1_000);
}

/// The instructions of a response replace those of the session, so they have to include them.
pub fn instructions_come_behind_the_system_prompt(start: Start<'_>) {
    let mut stage = start(&[("system_prompt", "You are Ada."), ("greeting_instructions", "Say hello.")]);
    stage.connected();
    stage.confirm();
    let request = stage.expect("response.create");
    let text = instructions(&request);
    assert!(text.starts_with("You are Ada.") && text.ends_with("Say hello."), "{text}");
}

/// A function takes longer than its time limit. The model is told so, and of the result when it comes.
pub fn a_late_result_is_still_spoken_of(start: Start<'_>) {
    let mut stage = start(&[TOOLS, ("tool_timeout_ms", "500")]);
    with_a_call(&mut stage);
    let output = stage.expect_within("conversation.item.create", 1_500);
    assert!(output["item"]["output"].as_str().unwrap_or_default().contains("no answer in time"), "{output}");
    let request = stage.expect("response.create");
    stage.answer(&request, "r2", "i2", 600);
    stage.await_state("SPEAKING", 500);
    stage.await_state("LISTENING", 1_500);
    stage.operate(Command::Result("c1", "{\"table\":7}"));
    let late = stage.expect("conversation.item.create");
    let text = late["item"]["content"][0]["text"].as_str().unwrap_or_default();
    assert!(text.contains("look_up") && text.contains("{\"table\":7}"), "{late}");
    let request = stage.expect("response.create");
    stage.answer(&request, "r3", "i3", 600);
    stage.await_state("SPEAKING", 500);
    stage.await_state("LISTENING", 1_500);
    stage.heard_whole("i3", 600);
    // Once.
    stage.silent(1_000);
    assert_eq!(stage.events("error"), ["timeout"]);
}

/// A function returns words for the caller: they are said without waiting for the model, which learns of them.
pub fn words_of_a_result_are_said_at_once(start: Start<'_>) {
    let mut stage = start(&[TOOLS]);
    with_a_call(&mut stage);
    stage.operate(Command::Result("c1", r#"{"status":"booked","say":"It is booked for nine."}"#));
    let output = stage.expect("conversation.item.create");
    assert_eq!(output["item"]["output"], r#"{"status":"booked","say":"It is booked for nine."}"#);
    let request = stage.expect("response.create");
    let text = instructions(&request);
    assert!(text.contains("exactly") && text.ends_with("It is booked for nine."), "{text}");
    stage.answer(&request, "r2", "i2", 800);
    stage.await_state("SPEAKING", 500);
    stage.await_state("LISTENING", 2_000);
    stage.heard_whole("i2", 800);
    // Nothing else is asked for because of the result.
    stage.silent(1_000);
}

/// What the service has and the module has no option for, and how functions are called.
pub fn further_fields_of_the_session_reach_the_service(start: Start<'_>) {
    let fields = r#"{"truncation":"disabled","audio":{"input":{"noise_reduction":{"type":"far_field"}}}}"#;
    let options = [TOOLS, ("openai_session", fields), ("tool_choice", "look_up"), ("parallel_tool_calls", "false")];
    let mut stage = start(&options);
    stage.open();
    let update = &stage.told("session.update")[0]["session"];
    assert_eq!(update["truncation"], "disabled");
    assert_eq!(update["audio"]["input"]["noise_reduction"]["type"], "far_field");
    assert_eq!(update["audio"]["input"]["format"]["type"], "audio/pcmu", "the rest stays");
    assert_eq!(update["tool_choice"]["name"], "look_up");
    assert_eq!(update["parallel_tool_calls"], false);
    stage.speak("u1", 300);
    stage.respond("r1", "i1", 500);
    stage.await_state("SPEAKING", 500);
    stage.await_state("LISTENING", 1_500);
    stage.heard_whole("i1", 500);
}
