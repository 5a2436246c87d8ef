//! Conversations that an operator changes while they run, and keys that become one entry. Each is one function that runs on any
//! [`Stage`].

use serde_json::{Value, json};

use super::stage::{Command, Stage, Start};

/// Gives the names of all conversations to a macro.
macro_rules! each_change {
    ($run:ident) => {
        $run! {
            a_change_is_sent_alone_and_kept_after_a_reconnect,
            a_change_before_the_session_precedes_the_greeting,
            a_refused_change_leaves_the_conversation_as_it_was,
            functions_given_later_are_called_and_answered,
            the_turn_detection_is_changed_as_a_whole,
            context_is_told_without_an_answer,
            what_is_told_early_comes_in_order_and_is_answered_once,
            an_event_of_the_operators_reaches_the_service_as_it_is,
            events_of_the_service_are_told_without_audio,
            a_number_of_keys_is_one_entry_at_once,
            a_key_of_the_operators_choice_ends_an_entry,
        }
    };
}
pub(crate) use each_change;

/// The service answers the caller's turn, and the caller hears it.
#[track_caller]
fn turn(stage: &mut Stage<'_>, number: u32) {
    let (turn, response, item) = (format!("u{number}"), format!("r{number}"), format!("i{number}"));
    stage.speak(&turn, 300);
    stage.respond(&response, &item, 600);
    heard(stage, &item);
}

/// The caller hears this answer of 600 ms.
#[track_caller]
fn heard(stage: &mut Stage<'_>, item: &str) {
    stage.await_state("SPEAKING", 1_000);
    stage.await_state("LISTENING", 2_000);
    stage.pass(200);
    stage.heard_whole(item, 600);
}

/// The session of the next `session.update`.
#[track_caller]
fn update(stage: &mut Stage<'_>) -> (Value, Value) {
    let event = stage.expect("session.update");
    (event["session"].clone(), event)
}

/// Only what differs is sent, and the next session has it from its beginning.
pub fn a_change_is_sent_alone_and_kept_after_a_reconnect(start: Start<'_>) {
    let mut stage = start(&[("system_prompt", "Be kind."), ("voice", "marin")]);
    stage.open();
    stage.operate(Command::Update(&[("system_prompt", "Be brief."), ("voice", "cedar"), ("speed", "1.25")]));
    let (session, _) = update(&mut stage);
    let expected = json!({"type": "realtime", "instructions": "Be brief.",
        "audio": {"output": {"voice": "cedar", "speed": 1.25}}});
    assert_eq!(session, expected);
    stage.confirm();
    turn(&mut stage, 1);
    // A response with instructions of its own has the new ones before them.
    stage.operate(Command::Say("One moment."));
    let said = stage.expect("response.create");
    let instructions = said["response"]["instructions"].as_str().unwrap_or_default();
    assert!(instructions.starts_with("Be brief.\n\n"), "{instructions}");
    stage.answer(&said, "r2", "i2", 600);
    heard(&mut stage, "i2");
    stage.operate(Command::Update(&[("max_response_tokens", "200")]));
    assert_eq!(update(&mut stage).0, json!({"type": "realtime", "max_output_tokens": 200}));
    stage.confirm();
    stage.pass(100);
    stage.reconnect();
    let session = stage.told("session.update")[0]["session"].clone();
    assert_eq!((&session["instructions"], &session["max_output_tokens"]), (&json!("Be brief."), &json!(200)));
    assert_eq!(session["audio"]["output"]["voice"], "cedar");
    stage.confirm();
    stage.await_state("LISTENING", 1_500);
    stage.pass(200);
    stage.skip();
    turn(&mut stage, 3);
    assert_eq!(stage.events("error"), [] as [&str; 0]);
}

/// The agent does not say its first words by what is not valid any more.
pub fn a_change_before_the_session_precedes_the_greeting(start: Start<'_>) {
    let mut stage = start(&[("voice", "marin"), ("greeting", "Good morning.")]);
    stage.connected();
    stage.operate(Command::Update(&[("voice", "cedar")]));
    stage.silent(300);
    stage.confirm();
    assert_eq!(update(&mut stage).0, json!({"type": "realtime", "audio": {"output": {"voice": "cedar"}}}));
    stage.silent(300);
    stage.confirm();
    let greeting = stage.expect("response.create");
    stage.answer(&greeting, "r1", "i1", 600);
    heard(&mut stage, "i1");
    assert_eq!(stage.events("error"), [] as [&str; 0]);
}

/// A refusal is told, and neither ends the session nor comes back with the next.
pub fn a_refused_change_leaves_the_conversation_as_it_was(start: Start<'_>) {
    let mut stage = start(&[("speed", "1.0")]);
    stage.open();
    stage.operate(Command::Update(&[("speed", "1.5")]));
    let (_, refused) = update(&mut stage);
    // What is asked for meanwhile waits.
    stage.operate(Command::Update(&[("system_prompt", "Be brief.")]));
    stage.silent(300);
    stage.error("invalid_value", "No speed.", &refused);
    assert_eq!(update(&mut stage).0, json!({"type": "realtime", "instructions": "Be brief."}));
    stage.confirm();
    turn(&mut stage, 1);
    assert_eq!(stage.events("error"), ["invalid_value"]);
    // The service never answers this one.
    stage.operate(Command::Update(&[("speed", "1.4")]));
    update(&mut stage);
    stage.within(12_000, "a time limit", |stage| stage.events("error") == ["invalid_value", "timeout"]);
    stage.reconnect();
    let session = stage.told("session.update")[0]["session"].clone();
    assert_eq!((&session["audio"]["output"]["speed"], &session["instructions"]), (&json!(1.0), &json!("Be brief.")));
    stage.confirm();
    stage.await_state("LISTENING", 1_500);
    stage.pass(200);
    stage.skip();
    turn(&mut stage, 2);
}

/// The model may call what it is given, and nothing else.
pub fn functions_given_later_are_called_and_answered(start: Start<'_>) {
    let mut stage = start(&[("tools", r#"[{"name": "first"}]"#)]);
    stage.open();
    stage.operate(Command::Update(&[("tools", r#"[{"name": "second"}]"#)]));
    let (session, _) = update(&mut stage);
    assert_eq!(session["tools"][0]["name"], "second");
    assert_eq!(session.as_object().map(|fields| fields.len()), Some(2), "{session}");
    stage.confirm();
    stage.pass(100);
    for (number, name, output) in [(1, "second", "42"), (2, "first", "refused")] {
        let (turn, response, call) = (format!("u{number}"), format!("r{number}"), format!("c{number}"));
        stage.speak(&turn, 300);
        stage.create(&response);
        stage.call(&response, &call, name, "{}");
        stage.end(&response);
        if number == 1 {
            stage.within(1_500, "the call", |stage| stage.events("action") == ["second"]);
            stage.operate(Command::Result(&call, output));
        }
        let told = stage.expect("conversation.item.create");
        let said = told["item"]["output"].as_str().unwrap_or_default();
        assert!(if number == 1 { said == output } else { said.contains("no such function") }, "{said}");
        let request = stage.expect("response.create");
        let item = format!("i{number}");
        stage.answer(&request, &format!("a{number}"), &item, 600);
        heard(&mut stage, &item);
    }
    stage.operate(Command::Update(&[("tools", "")]));
    assert_eq!(update(&mut stage).0, json!({"type": "realtime", "tools": []}));
}

/// The fields of one kind of detection are none of the other's.
pub fn the_turn_detection_is_changed_as_a_whole(start: Start<'_>) {
    let mut stage = start(&[]);
    stage.open();
    stage.operate(Command::Update(&[("turn_detection", "semantic_vad"), ("vad_eagerness", "low")]));
    let detection = json!({"type": "semantic_vad", "eagerness": "low", "create_response": true,
        "interrupt_response": true});
    let expected = json!({"type": "realtime", "audio": {"input": {"turn_detection": detection}}});
    assert_eq!(update(&mut stage).0, expected);
    stage.confirm();
    turn(&mut stage, 1);
    stage.operate(Command::Update(&[("turn_detection", "server_vad"), ("vad_silence_duration_ms", "900")]));
    let (session, _) = update(&mut stage);
    let detection = &session["audio"]["input"]["turn_detection"];
    assert_eq!((&detection["type"], &detection["silence_duration_ms"]), (&json!("server_vad"), &json!(900)));
    stage.confirm();
    turn(&mut stage, 2);
}

/// The model knows more, and says nothing.
pub fn context_is_told_without_an_answer(start: Start<'_>) {
    let mut stage = start(&[]);
    stage.open();
    stage.operate(Command::Tell("system", false, "The order is 4711."));
    let told = stage.expect("conversation.item.create");
    let content = json!([{"type": "input_text", "text": "The order is 4711."}]);
    assert_eq!((&told["item"]["role"], &told["item"]["content"]), (&json!("system"), &content));
    stage.silent(1_000);
    assert_eq!(stage.state(), "LISTENING");
    turn(&mut stage, 1);
    stage.skip();
    stage.operate(Command::Tell("system", true, "Ask for the address."));
    assert_eq!(stage.expect("conversation.item.create")["item"]["role"], "system");
    let request = stage.expect("response.create");
    stage.answer(&request, "r2", "i2", 600);
    heard(&mut stage, "i2");
    // The next session knows both, in whose words they were.
    stage.reconnect();
    stage.confirm();
    let replayed = |text: &str, told: &[Value]| {
        told.iter().any(|event| event["item"]["role"] == "system" && event["item"]["content"][0]["text"] == text)
    };
    stage.await_state("LISTENING", 1_500);
    stage.pass(200);
    let told = stage.told("conversation.item.create");
    for text in ["The order is 4711.", "Ask for the address."] {
        assert!(replayed(text, &told), "{told:?}");
    }
}

/// Nothing of what comes too early is lost or answered by itself.
pub fn what_is_told_early_comes_in_order_and_is_answered_once(start: Start<'_>) {
    let mut stage = start(&[]);
    stage.connected();
    for (role, respond, text) in [("system", false, "One."), ("user", true, "Two."), ("user", false, "Three.")] {
        stage.operate(Command::Tell(role, respond, text));
    }
    stage.silent(300);
    stage.confirm();
    for (role, text) in [("system", "One."), ("user", "Two.\nThree.")] {
        let told = stage.expect("conversation.item.create");
        assert_eq!((&told["item"]["role"], &told["item"]["content"][0]["text"]), (&json!(role), &json!(text)));
    }
    let request = stage.expect("response.create");
    stage.answer(&request, "r1", "i1", 600);
    heard(&mut stage, "i1");
    stage.silent(1_000);
}

/// What the module does not know can be said all the same.
pub fn an_event_of_the_operators_reaches_the_service_as_it_is(start: Start<'_>) {
    let mut stage = start(&[]);
    stage.open();
    let event = r#"{"type": "conversation.item.create", "event_id": "mine_1", "item": {"type": "message", "role": "system", "content": [{"type": "input_text", "text": "a  b"}]}}"#;
    stage.operate(Command::Raw(event));
    let told = stage.expect("conversation.item.create");
    assert_eq!(told, serde_json::from_str::<Value>(event).expect("JSON"));
    // An error about it is the operator's.
    stage.error("invalid_value", "No such thing.", &told);
    stage.within(1_500, "the error", |stage| stage.events("error") == ["invalid_value"]);
    turn(&mut stage, 1);
}

/// The operator sees what the service says, but not the audio and no secrets.
pub fn events_of_the_service_are_told_without_audio(start: Start<'_>) {
    for (which, audio) in [("on", false), ("with_audio", true)] {
        let mut stage = start(&[("raw_events", which)]);
        stage.open();
        stage.send(json!({"type": "some.new.event", "note": "new", "client_secret": {"value": "ek_hidden"}}));
        turn(&mut stage, 1);
        let told = stage.events("raw");
        let has = |text: &str| told.iter().any(|event| event.contains(text));
        assert!(has("some.new.event") && has("response.done") && !has("ek_hidden"), "{told:?}");
        assert_eq!(has("response.output_audio.delta"), audio, "{which}");
    }
    let mut stage = start(&[]);
    stage.open();
    turn(&mut stage, 1);
    assert_eq!(stage.events("raw"), [] as [&str; 0]);
}

/// The entry that comes next, and its answer.
#[track_caller]
fn entry(stage: &mut Stage<'_>, keys: &str, number: u32) {
    let told = stage.expect("conversation.item.create");
    let text = format!("(The caller pressed {keys} on the telephone's keypad.)");
    assert_eq!(told["item"]["content"][0]["text"], text);
    let request = stage.expect("response.create");
    let item = format!("i{number}");
    stage.answer(&request, &format!("r{number}"), &item, 600);
    heard(stage, &item);
}

fn press(stage: &mut Stage<'_>, keys: &str) {
    for key in keys.chars() {
        stage.operate(Command::Key(key));
        stage.pass(250);
    }
}

/// With a length, nobody waits for more keys.
pub fn a_number_of_keys_is_one_entry_at_once(start: Start<'_>) {
    let keys =
        [("dtmf_to_model", "true"), ("dtmf_length", "4"), ("dtmf_timeout_ms", "6000"), ("dtmf_terminator", "none")];
    let mut stage = start(&keys);
    stage.open();
    press(&mut stage, "12");
    stage.silent(1_500);
    press(&mut stage, "3#");
    entry(&mut stage, "123#", 1);
    // Fewer keys wait for their time.
    press(&mut stage, "99");
    stage.silent(3_000);
    let told = stage.expect_within("conversation.item.create", 5_000);
    assert_eq!(told["item"]["content"][0]["text"], "(The caller pressed 99 on the telephone's keypad.)");
}

/// Any key can be the last one.
pub fn a_key_of_the_operators_choice_ends_an_entry(start: Start<'_>) {
    let keys = [("dtmf_to_model", "true"), ("dtmf_terminator", "*"), ("dtmf_timeout_ms", "6000")];
    let mut stage = start(&keys);
    stage.open();
    press(&mut stage, "4#2*");
    entry(&mut stage, "4#2*", 1);
}
