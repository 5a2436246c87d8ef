//! What a client may say, field by field: the messages of the vendor's own types as tables, and what is wrong with one that does not
//! fit. Where those types leave a field open, the documentation decides; an unknown field is refused. Pure.

use serde_json::Value;

use crate::realtime::Complaint;
use crate::realtime::shape::{ANY, Field, Shape, check_tagged, may, must};

const RATES: Shape = Shape::Whole(8_000, 48_000);
const INPUT: &[Field] = &[
    must(
        "encoding",
        Shape::Word(&[
            "linear16", "linear32", "flac", "alaw", "mulaw", "amr-nb", "amr-wb", "opus", "ogg-opus", "speex", "g729",
        ]),
    ),
    must("sample_rate", RATES),
];
const OUTPUT: &[Field] = &[
    may("encoding", Shape::Word(&["linear16", "mulaw", "alaw", "mp3", "opus", "flac", "aac"])),
    may("sample_rate", RATES),
    may("bitrate", Shape::Whole(0, ANY)),
    may("container", Shape::Word(&["none", "wav", "ogg"])),
];

const REASONING: Shape = Shape::Word(&["none", "minimal", "low", "medium", "high"]);
const TEMPERATURE: Shape = Shape::Number(0.0, 2.0);
const V1: Shape = Shape::Word(&["v1"]);
const THINK_PROVIDER: Shape = Shape::Tagged(&[
    (
        "open_ai",
        &[
            may("version", V1),
            must("model", Shape::Text),
            may("temperature", TEMPERATURE),
            may("reasoning_mode", REASONING),
        ],
    ),
    (
        "aws_bedrock",
        &[must("model", Shape::Text), may("temperature", TEMPERATURE), may("credentials", Shape::AnyObject)],
    ),
    ("anthropic", &[may("version", V1), must("model", Shape::Text), may("temperature", TEMPERATURE)]),
    ("google", &[may("version", Shape::Text), must("model", Shape::Text), may("temperature", TEMPERATURE)]),
    (
        "groq",
        &[
            may("version", V1),
            must("model", Shape::Word(&["openai/gpt-oss-20b"])),
            may("temperature", TEMPERATURE),
            may("reasoning_mode", REASONING),
        ],
    ),
    (
        "deepgram",
        &[
            may("version", V1),
            must("model", Shape::Text),
            may("temperature", TEMPERATURE),
            may("reasoning_mode", REASONING),
            may("voice_prompt_opt_out", Shape::Flag),
        ],
    ),
]);
const ENDPOINT: Shape = Shape::Object(&[may("url", Shape::Text), may("headers", Shape::AnyObject)]);
const FUNCTION: Shape = Shape::Object(&[
    must("name", Shape::Text),
    may("description", Shape::Text),
    may("parameters", Shape::AnyObject),
    may("defer_until_eot", Shape::Flag),
    may(
        "endpoint",
        Shape::Object(&[may("url", Shape::Text), may("method", Shape::Text), may("headers", Shape::AnyObject)]),
    ),
]);
const THINK: Shape = Shape::Object(&[
    must("provider", THINK_PROVIDER),
    may("endpoint", ENDPOINT),
    may("functions", Shape::List(&FUNCTION)),
    may("prompt", Shape::Text),
    may("context_length", Shape::Either(&[Shape::Word(&["max"]), Shape::Number(0.0, 1e9)])),
]);
const SPEAK: Shape = Shape::Object(&[
    must(
        "provider",
        Shape::Tagged(&[(
            "deepgram",
            &[
                may("version", Shape::Word(&["v1", "v2"])),
                must("model", Shape::Text),
                may("speed", Shape::Number(0.5, 1.5)),
                may("expressivity", Shape::Whole(-2, 2)),
            ],
        )]),
    ),
    may("endpoint", ENDPOINT),
]);
const LISTEN: Shape = Shape::Object(&[must(
    "provider",
    Shape::Tagged(&[(
        "deepgram",
        &[
            must("version", Shape::Word(&["v1", "v2"])),
            may("model", Shape::Text),
            may("language", Shape::Text),
            may("keyterms", Shape::List(&Shape::Text)),
            may("smart_format", Shape::Flag),
            may("language_hints", Shape::List(&Shape::Text)),
            may("eot_threshold", Shape::Number(0.5, 1.0)),
            may("eager_eot_threshold", Shape::Number(0.3, 0.9)),
            may("eot_timeout_ms", Shape::Whole(500, 60_000)),
        ],
    )]),
)]);
/// Fields that only one version of the recognition has.
const ONLY: [(&str, &[&str]); 2] = [
    ("v1", &["language", "smart_format"]),
    ("v2", &["language_hints", "eot_threshold", "eager_eot_threshold", "eot_timeout_ms"]),
];

const CALL: Shape = Shape::Object(&[
    must("id", Shape::Text),
    must("name", Shape::Text),
    must("client_side", Shape::Flag),
    must("arguments", Shape::Text),
    must("response", Shape::Text),
    may("thought_signature", Shape::Text),
]);
const CONTEXT: Shape = Shape::Object(&[may(
    "messages",
    Shape::List(&Shape::Tagged(&[(
        "History",
        &[
            may("role", Shape::Word(&["user", "assistant"])),
            may("content", Shape::Text),
            may("function_calls", Shape::List(&CALL)),
        ],
    )])),
)]);
const AGENT: Shape = Shape::Either(&[
    Shape::Text,
    Shape::Object(&[
        may("context", CONTEXT),
        may("listen", LISTEN),
        must("think", THINK),
        may("speak", SPEAK),
        may("greeting", Shape::Text),
    ]),
]);

const MESSAGES: &[(&str, &[Field])] = &[
    (
        "Settings",
        &[
            may("tags", Shape::List(&Shape::Text)),
            may("experimental", Shape::Flag),
            may("flags", Shape::Object(&[may("history", Shape::Flag)])),
            may("mip_opt_out", Shape::Flag),
            must("audio", Shape::Object(&[may("input", Shape::Object(INPUT)), may("output", Shape::Object(OUTPUT))])),
            must("agent", AGENT),
        ],
    ),
    ("UpdateListen", &[must("listen", LISTEN)]),
    ("UpdateThink", &[must("think", THINK)]),
    ("UpdateSpeak", &[must("speak", SPEAK)]),
    ("UpdatePrompt", &[must("prompt", Shape::Text)]),
    ("InjectUserMessage", &[must("content", Shape::Text)]),
    (
        "InjectAgentMessage",
        &[must("message", Shape::Text), may("behavior", Shape::Word(&["default", "queue", "interrupt"]))],
    ),
    ("FunctionCallResponse", &[must("id", Shape::Text), must("name", Shape::Text), must("content", Shape::Text)]),
    ("KeepAlive", &[]),
    ("ForceEndTurn", &[]),
];

/// What is wrong with a message of the client's, if anything.
pub fn check(message: &Value) -> Result<(), Complaint> {
    check_tagged(message, MESSAGES, "")?;
    check_listen(&message["agent"]["listen"])?;
    check_listen(&message["listen"])?;
    for entry in message["agent"]["context"]["messages"].as_array().into_iter().flatten() {
        // One of the two kinds of history, and whole.
        let words = entry["role"].is_string() && entry["content"].is_string();
        if words == entry["function_calls"].is_array() {
            return Err(Complaint::of("invalid_value", "agent.context.messages", "neither words nor calls"));
        }
    }
    for (path, text) in [("content", &message["content"]), ("message", &message["message"])] {
        if message["type"] != "FunctionCallResponse" && text.as_str().is_some_and(|text| text.trim().is_empty()) {
            return Err(Complaint::of("invalid_value", path, "there are no words"));
        }
    }
    Ok(())
}

fn check_listen(listen: &Value) -> Result<(), Complaint> {
    let provider = &listen["provider"];
    let Some(version) = provider["version"].as_str() else { return Ok(()) };
    let flux = provider["model"].as_str().is_some_and(|model| model.starts_with("flux"));
    if flux != (version == "v2") {
        return Err(Complaint::of("invalid_value", "listen.provider.model", "a model of the other version"));
    }
    let other = ONLY.iter().filter(|(of, _)| *of != version).flat_map(|(_, fields)| *fields);
    match other.into_iter().find(|field| !provider[**field].is_null()) {
        Some(field) => Err(Complaint::of("unknown_parameter", field, "a field of the other version")),
        None => Ok(()),
    }
}
