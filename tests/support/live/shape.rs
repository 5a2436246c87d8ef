//! What a client may say, field by field: the commands of the vendor's own types as tables, and what is wrong with one that does not fit.
//! Where those types leave a value open, their documentation decides; an unknown field is refused. Pure.

use serde_json::Value;

use crate::realtime::Complaint;
use crate::realtime::shape::{ANY, Field, Shape, check_tagged, may, must};

/// Most tokens of a text that is appended, and most messages of the past.
const MOST_TOKENS: usize = 500;
const MOST_PAST: usize = 128;

const RATE: Shape = Shape::Whole(8_000, 24_000);
const FORMAT: Shape = Shape::Tagged(&[
    ("audio/pcm", &[must("rate", RATE)]),
    ("audio/pcmu", &[must("rate", Shape::Whole(8_000, 8_000))]),
    ("audio/pcma", &[must("rate", Shape::Whole(8_000, 8_000))]),
]);
const VOICE: Shape = Shape::Either(&[Shape::Text, Shape::Object(&[must("id", Shape::Text)])]);
const AUDIO: Shape = Shape::Object(&[may("format", FORMAT), may("output", Shape::Object(&[may("voice", VOICE)]))]);
const TOOL: Shape = Shape::Tagged(&[
    (
        "function",
        &[
            must("name", Shape::Text),
            may("description", Shape::Text),
            may("parameters", Shape::AnyObject),
            may("strict", Shape::Flag),
        ],
    ),
    ("web_search", &[]),
    ("file_search", &[]),
    ("mcp", &[]),
]);
const CHOICE: Shape = Shape::Either(&[
    Shape::Word(&["auto", "none", "required"]),
    Shape::Tagged(&[
        ("function", &[must("name", Shape::Text)]),
        ("mcp", &[must("name", Shape::Text), must("server_label", Shape::Text)]),
    ]),
]);
const REASONING: Shape = Shape::Object(&[
    may("effort", Shape::Word(&["none", "minimal", "low", "medium", "high", "xhigh"])),
    may("summary", Shape::Word(&["concise", "detailed", "auto"])),
]);

/// The fields of the second model; its name is needed at the beginning only.
macro_rules! responses {
    ($model:expr) => {
        Shape::Object(&[
            $model,
            may("instructions", Shape::Text),
            may("max_output_tokens", Shape::Whole(1, ANY)),
            may("parallel_tool_calls", Shape::Flag),
            may("reasoning", REASONING),
            may("service_tier", Shape::Word(&["auto", "default", "flex", "priority", "ultrafast"])),
            may("text", Shape::Object(&[may("verbosity", Shape::Word(&["low", "medium", "high"]))])),
            may("tool_choice", CHOICE),
            may("tools", Shape::List(&TOOL)),
        ])
    };
}

const DELAY: Field = may("acknowledgement_delay_ms", Shape::Whole(0, ANY));
const START_DELEGATION: Shape = Shape::Either(&[
    Shape::Null,
    Shape::Tagged(&[
        ("client", &[may("acknowledgement_delay_ms", Shape::Whole(0, ANY))]),
        ("responses", &[must("responses", responses!(must("model", Shape::Text))), DELAY]),
    ]),
]);
const UPDATE_DELEGATION: Shape = Shape::Tagged(&[
    ("client", &[may("acknowledgement_delay_ms", Shape::Whole(0, ANY))]),
    ("responses", &[may("responses", responses!(may("model", Shape::Text))), DELAY]),
]);
const PART: Shape = Shape::Tagged(&[
    ("input_text", &[must("text", Shape::Text)]),
    ("output_text", &[must("text", Shape::Text)]),
    ("text", &[must("text", Shape::Text)]),
]);
const MESSAGE: Shape = Shape::Object(&[
    may("type", Shape::Word(&["message"])),
    must("role", Shape::Word(&["developer", "user", "assistant"])),
    must("content", Shape::List(&PART)),
    may("id", Shape::Text),
    may("status", Shape::Word(&["incomplete", "completed"])),
]);

const ID: Field = may("event_id", Shape::Text);
const TASK: Field = must("delegation_id", Shape::Either(&[Shape::Null, Shape::Text]));
const COMMANDS: &[(&str, &[Field])] = &[
    (
        "session.start",
        &[
            ID,
            must(
                "session",
                Shape::Object(&[
                    must("model", Shape::Text),
                    may("audio", AUDIO),
                    may("delegation", START_DELEGATION),
                    may("input", Shape::List(&MESSAGE)),
                    may("instructions", Shape::Text),
                    may("safety_identifier", Shape::Text),
                    may("store", Shape::Flag),
                ]),
            ),
        ],
    ),
    ("session.update", &[ID, must("session", Shape::Object(&[may("delegation", UPDATE_DELEGATION)]))]),
    ("session.close", &[ID]),
    ("session.input_audio.append", &[ID, must("audio", Shape::Text)]),
    ("session.input_audio.mute", &[ID]),
    ("session.input_audio.unmute", &[ID]),
    ("session.commentary.append", &[ID, must("content", Shape::Text), TASK]),
    ("session.thinking.append", &[ID, must("content", Shape::Text), TASK]),
    ("session.instructions.append", &[ID, must("content", Shape::Text), TASK]),
    (
        "response.item.create",
        &[
            ID,
            must(
                "item",
                Shape::Tagged(&[(
                    "function_call_output",
                    &[must("call_id", Shape::Text), must("output", Shape::Text), may("id", Shape::Text)],
                )]),
            ),
        ],
    ),
    ("response.create", &[ID]),
];

/// What is wrong with a command of the client's, if anything.
pub fn check(command: &Value) -> Result<(), Complaint> {
    check_tagged(command, COMMANDS, "")?;
    if let Some(content) = command["content"].as_str() {
        // Four letters are a token, roughly.
        if content.trim().is_empty() || content.chars().count() > MOST_TOKENS * 4 {
            return Err(Complaint::of("invalid_value", "content", "no words, or more than 500 tokens"));
        }
    }
    let format = &command["session"]["audio"]["format"];
    if format["type"] == "audio/pcm" && ![16_000, 24_000].contains(&format["rate"].as_u64().unwrap_or_default()) {
        return Err(Complaint::of("invalid_value", "session.audio.format.rate", "16000 or 24000"));
    }
    let past = command["session"]["input"].as_array().map(Vec::as_slice).unwrap_or_default();
    if past.len() > MOST_PAST {
        return Err(Complaint::of("invalid_value", "session.input", "more than 128 messages"));
    }
    for message in past {
        let parts = message["content"].as_array().map(Vec::as_slice).unwrap_or_default();
        let [part] = parts else {
            return Err(Complaint::of("invalid_value", "session.input.content", "exactly one part"));
        };
        if (message["role"] == "assistant") == (part["type"] == "input_text") {
            return Err(Complaint::of("invalid_value", "session.input.content.type", "of another role"));
        }
    }
    Ok(())
}
