//! What a client may ask for and say, field by field: the vendor's schema as tables, and what is wrong with what does not fit. Where the
//! schema leaves a field open, the documentation decides; an unknown field is refused. Pure.

use serde_json::Value;

use crate::realtime::Complaint;
use crate::realtime::shape::{ANY, Field, Shape, check_tagged, may, must};

const NOTHING: Shape = Shape::Object(&[]);
const MEDIUM: Shape = Shape::Object(&[must(
    "serverWebSocket",
    Shape::Object(&[
        must("inputSampleRate", Shape::Whole(8_000, 48_000)),
        may("outputSampleRate", Shape::Whole(8_000, 48_000)),
        may("clientBufferSizeMs", Shape::Whole(1, ANY)),
    ]),
)]);
const PARAMETER: Shape = Shape::Object(&[
    must("name", Shape::Text),
    must("location", Shape::Word(&["PARAMETER_LOCATION_BODY", "PARAMETER_LOCATION_QUERY", "PARAMETER_LOCATION_PATH"])),
    must("schema", Shape::AnyObject),
    may("required", Shape::Flag),
]);
const TOOLS: Shape = Shape::List(&Shape::Object(&[
    may("toolId", Shape::Text),
    may("toolName", Shape::Text),
    may("nameOverride", Shape::Text),
    may("descriptionOverride", Shape::Text),
    may("parameterOverrides", Shape::AnyObject),
    may(
        "temporaryTool",
        Shape::Object(&[
            must("modelToolName", Shape::Text),
            must("description", Shape::Text),
            may("dynamicParameters", Shape::List(&PARAMETER)),
            may("timeout", Shape::Text),
            may("precomputable", Shape::Flag),
            must("client", NOTHING),
        ]),
    ),
]));
const PAST: Shape = Shape::List(&Shape::Object(&[
    must(
        "role",
        Shape::Word(&["MESSAGE_ROLE_USER", "MESSAGE_ROLE_AGENT", "MESSAGE_ROLE_TOOL_CALL", "MESSAGE_ROLE_TOOL_RESULT"]),
    ),
    must("text", Shape::Text),
    may("invocationId", Shape::Text),
    may("toolName", Shape::Text),
    may("medium", Shape::Word(&["MESSAGE_MEDIUM_VOICE", "MESSAGE_MEDIUM_TEXT"])),
]));
const VAD: Shape = Shape::Object(&[
    may("turnEndpointDelay", Shape::Text),
    may("minimumTurnDuration", Shape::Text),
    may("minimumInterruptionDuration", Shape::Text),
    may("frameActivationThreshold", Shape::Number(0.1, 1.0)),
]);
const FIRST_SPEAKER: Shape = Shape::Object(&[may("user", Shape::AnyObject), may("agent", Shape::AnyObject)]);

/// What a call may be that has its own parts, and one of a stored agent.
const CALL: &[Field] = &[
    may("systemPrompt", Shape::Text),
    may("model", Shape::Text),
    may("voice", Shape::Text),
    may("languageHint", Shape::Text),
    may("temperature", Shape::Number(0.0, 1.0)),
    may("maxDuration", Shape::Text),
    may("joinTimeout", Shape::Text),
    may("selectedTools", TOOLS),
    may("initialMessages", PAST),
    may("firstSpeakerSettings", FIRST_SPEAKER),
    may("vadSettings", VAD),
    may("recordingEnabled", Shape::Flag),
    may("metadata", Shape::AnyObject),
    must("medium", MEDIUM),
];
const CALL_OF_AGENT: &[Field] = &[
    may("templateContext", Shape::AnyObject),
    may("voice", Shape::Text),
    may("maxDuration", Shape::Text),
    may("joinTimeout", Shape::Text),
    may("toolOverrides", Shape::Object(&[may("remove", Shape::List(&Shape::Text)), may("add", TOOLS)])),
    may("initialMessages", PAST),
    may("firstSpeakerSettings", FIRST_SPEAKER),
    may("recordingEnabled", Shape::Flag),
    may("metadata", Shape::AnyObject),
    must("medium", MEDIUM),
];

const MESSAGES: &[(&str, &[Field])] = &[
    (
        "user_text_message",
        &[
            must("text", Shape::Text),
            may("urgency", Shape::Word(&["immediate", "soon", "later"])),
            may("deferResponse", Shape::Flag),
        ],
    ),
    (
        "forced_agent_message",
        &[
            may("content", Shape::Text),
            may("toolCalls", Shape::List(&Shape::AnyObject)),
            may("uninterruptible", Shape::Flag),
            may("urgency", Shape::Word(&["immediate", "soon"])),
        ],
    ),
    (
        "client_tool_result",
        &[
            must("invocationId", Shape::Text),
            may("result", Shape::Text),
            may("responseType", Shape::Word(&["tool-response", "hang-up", "new-stage"])),
            may("agentReaction", Shape::Word(&["speaks", "listens", "speaks-once"])),
            may("errorType", Shape::Word(&["undefined", "implementation-error"])),
            may("errorMessage", Shape::Text),
            may("updateCallState", Shape::AnyObject),
        ],
    ),
    ("set_output_medium", &[must("medium", Shape::Word(&["voice", "text"]))]),
    ("hang_up", &[may("message", Shape::Text)]),
    ("ping", &[must("timestamp", Shape::Number(0.0, f64::MAX))]),
];

/// What is wrong with a message of the client's, if anything.
pub fn check(message: &Value) -> Result<(), Complaint> {
    check_tagged(message, MESSAGES, "")?;
    let is_empty = |name: &str| message[name].as_str().is_some_and(|text| text.trim().is_empty());
    // A text without words stops the agent, and asks for nothing.
    if is_empty("text") && message["deferResponse"] != true {
        return Err(Complaint::of("invalid_value", "text", "there are no words to answer"));
    }
    if is_empty("content") {
        return Err(Complaint::of("invalid_value", "content", "there are no words to say"));
    }
    Ok(())
}

/// What is wrong with the call that a client asks for, if anything. `stored`: of an agent that is stored.
pub fn check_call(call: &Value, stored: bool) -> Result<(), Complaint> {
    let mut tagged = call.clone();
    if let Some(fields) = tagged.as_object_mut() {
        if fields.contains_key("type") {
            return Err(Complaint::of("unknown_parameter", "type", "a call has no type"));
        }
        fields.insert("type".to_owned(), Value::from("call"));
    }
    check_tagged(&tagged, &[("call", if stored { CALL_OF_AGENT } else { CALL })], "")?;
    let durations =
        ["/maxDuration", "/joinTimeout", "/vadSettings/turnEndpointDelay", "/vadSettings/minimumTurnDuration"];
    for path in durations {
        if let Some(text) = call.pointer(path).and_then(Value::as_str) {
            seconds(text).ok_or_else(|| Complaint::of("invalid_value", path, "a duration is seconds with an s"))?;
        }
    }
    let speakers = call["firstSpeakerSettings"].as_object().map_or(1, serde_json::Map::len);
    if speakers != 1 {
        return Err(Complaint::of("invalid_value", "firstSpeakerSettings", "one of both speaks first"));
    }
    let tools =
        [&call["selectedTools"], &call["toolOverrides"]["add"]].into_iter().filter_map(Value::as_array).flatten();
    for tool in tools {
        let named = ["toolId", "toolName", "temporaryTool"].iter().filter(|name| tool.get(**name).is_some()).count();
        let temporary = &tool["temporaryTool"];
        let name = temporary["modelToolName"].as_str().unwrap_or("f");
        if named != 1 || name.is_empty() || name.len() > 40 {
            return Err(Complaint::of(
                "invalid_value",
                "selectedTools",
                "a tool has one name of at most 40 characters",
            ));
        }
        let timeout = temporary["timeout"].as_str().map_or(Some(20.0), seconds);
        if !timeout.is_some_and(|seconds| seconds > 0.0 && seconds <= 40.0) {
            return Err(Complaint::of("invalid_value", "timeout", "a tool may take 40 s"));
        }
    }
    check_past(&call["initialMessages"])
}

/// Each call of a tool in the past has its result, and each result its call.
fn check_past(past: &Value) -> Result<(), Complaint> {
    let messages: Vec<_> = past.as_array().into_iter().flatten().collect();
    let ids = |role: &str| -> Vec<&str> {
        let of = messages.iter().filter(|message| message["role"] == role);
        of.map(|message| message["invocationId"].as_str().unwrap_or_default()).collect()
    };
    let (mut called, mut returned) = (ids("MESSAGE_ROLE_TOOL_CALL"), ids("MESSAGE_ROLE_TOOL_RESULT"));
    called.sort_unstable();
    returned.sort_unstable();
    if called != returned || called.contains(&"") || called.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(Complaint::of(
            "invalid_value",
            "initialMessages",
            "a call of a tool and its result belong together",
        ));
    }
    Ok(())
}

fn seconds(text: &str) -> Option<f64> {
    text.strip_suffix('s')?.parse().ok().filter(|seconds: &f64| seconds.is_finite() && *seconds >= 0.0)
}
