//! Conversations in which the service asks MCP servers: approvals by the operator, by an option and by nobody, and what follows. Each
//! is one function that runs on any [`Stage`].

use serde_json::{Value, json};

use super::stage::{Command, Stage, Start};

/// One server; the operator decides.
const SERVERS: (&str, &str) = (
    "mcp_servers",
    r#"[{"server_label":"orders","server_url":"https://mcp.example/sse","authorization":"s3cret","require_approval":"always"}]"#,
);

/// Gives the names of all conversations to a macro.
macro_rules! each_tool {
    ($run:ident) => {
        $run! {
            the_operator_approves_a_tool_and_the_model_goes_on,
            a_tool_is_rejected_with_a_reason_or_by_silence,
            an_option_decides_on_every_tool,
            a_tool_without_an_approval_is_spoken_of,
            a_lost_session_takes_its_approvals_along,
        }
    };
}
pub(crate) use each_tool;

/// The model asks to call a tool; the operator's event is there.
fn with_a_request(stage: &mut Stage<'_>, request: &str, arguments: &str) {
    stage.speak(&format!("u_{request}"), 300);
    let response = format!("r_{request}");
    stage.create(&response);
    let before = stage.events("action").len();
    stage.asks_approval(&response, request, "find", arguments);
    stage.end(&response);
    stage.within(1_500, "the action", |stage| stage.events("action").len() > before);
}

/// What the service is told of a request.
fn decision(stage: &mut Stage<'_>, request: &str, ms: u64) -> Value {
    let told = stage.expect_within("conversation.item.create", ms);
    let item = &told["item"];
    assert_eq!((&item["type"], &item["approval_request_id"]), (&json!("mcp_approval_response"), &json!(request)));
    json!([item["approve"], item["reason"]])
}

fn spoken_of(stage: &mut Stage<'_>, item: &str) {
    let request = stage.expect("response.create");
    assert_eq!(request["response"]["instructions"], Value::Null);
    stage.answer(&request, &format!("a_{item}"), item, 500);
    stage.await_state("SPEAKING", 500);
    stage.await_state("LISTENING", 1_500);
    stage.heard_whole(item, 500);
}

/// A request waits for the operator, and what they say of it reaches the service.
pub fn the_operator_approves_a_tool_and_the_model_goes_on(start: Start<'_>) {
    let mut stage = start(&[SERVERS]);
    stage.open();
    let tools = &stage.told("session.update")[0]["session"]["tools"];
    assert_eq!(tools[0]["type"], "mcp");
    assert_eq!((&tools[0]["server_label"], &tools[0]["authorization"]), (&json!("orders"), &json!("s3cret")));
    with_a_request(&mut stage, "m1", r#"{"order":7}"#);
    stage.silent(500);
    stage.operate(Command::Result("m1", "approve"));
    assert_eq!(decision(&mut stage, "m1", 1_500), json!([true, null]));
    // The service calls the tool in the response that is asked for, and the model speaks in the one after it.
    let request = stage.expect("response.create");
    stage.create_for("r2", &request);
    stage.ends_with_tool("r2", "call_1", "find");
    spoken_of(&mut stage, "i1");
    stage.silent(1_000);
    assert_eq!(stage.events("error"), [] as [&str; 0]);
}

/// The operator says no, or nothing.
pub fn a_tool_is_rejected_with_a_reason_or_by_silence(start: Start<'_>) {
    let mut stage = start(&[SERVERS, ("tool_timeout_ms", "1000")]);
    stage.open();
    with_a_request(&mut stage, "m1", "{}");
    stage.operate(Command::Result("m1", "reject not without a PIN"));
    assert_eq!(decision(&mut stage, "m1", 1_500), json!([false, "not without a PIN"]));
    spoken_of(&mut stage, "i1");
    with_a_request(&mut stage, "m2", "{}");
    assert_eq!(decision(&mut stage, "m2", 2_500), json!([false, "no answer in time"]));
    spoken_of(&mut stage, "i2");
    assert_eq!(stage.events("error"), ["timeout"]);
    // What nobody can read is not approved.
    with_a_request(&mut stage, "m3", "[1]");
    assert_eq!(decision(&mut stage, "m3", 1_500), json!([false, "the arguments are not a JSON object"]));
    spoken_of(&mut stage, "i3");
}

/// Nobody is asked.
pub fn an_option_decides_on_every_tool(start: Start<'_>) {
    for (word, told) in [("approve", json!([true, null])), ("reject", json!([false, "it is not allowed"]))] {
        let mut stage = start(&[SERVERS, ("mcp_approval", word)]);
        stage.open();
        with_a_request(&mut stage, "m1", "{}");
        assert_eq!(decision(&mut stage, "m1", 1_500), told);
        spoken_of(&mut stage, "i1");
        stage.silent(500);
    }
}

/// A tool that needs no approval ends a response: the model speaks of it in the next, and only of the last.
pub fn a_tool_without_an_approval_is_spoken_of(start: Start<'_>) {
    let mut stage = start(&[SERVERS]);
    stage.open();
    stage.speak("u1", 300);
    stage.create("r1");
    stage.ends_with_tool("r1", "call_1", "find");
    spoken_of(&mut stage, "i1");
    stage.silent(1_000);
    assert_eq!(stage.events("action"), [] as [&str; 0], "there is nothing to decide");
}

/// A request of a session that is lost means nothing in the next.
pub fn a_lost_session_takes_its_approvals_along(start: Start<'_>) {
    let mut stage = start(&[SERVERS, ("ai_reconnect_ms", "100"), ("tool_timeout_ms", "1500")]);
    stage.open();
    with_a_request(&mut stage, "m1", "{}");
    stage.reconnect();
    stage.confirm();
    stage.await_state("LISTENING", 1_500);
    stage.silent(2_500);
    stage.speak("u2", 300);
    stage.respond("r2", "i2", 500);
    stage.await_state("SPEAKING", 500);
    stage.await_state("LISTENING", 1_500);
    stage.heard_whole("i2", 500);
    assert_eq!(stage.events("error"), [] as [&str; 0]);
}
