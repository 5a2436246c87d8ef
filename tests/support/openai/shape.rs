//! What a client may say, field by field: the eleven events of the GA protocol as tables, and what is wrong with one that
//! does not fit. Written from the API reference, not from this module's own messages. Pure.

use serde_json::Value;

/// A complaint as the API words it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Complaint {
    /// `unknown_parameter`, `missing_required_parameter`, `invalid_type`, `invalid_value`, ….
    pub code: &'static str,
    /// The field, as a path from the event.
    pub param: Option<String>,
    /// In words.
    pub message: String,
}

impl Complaint {
    /// About a field.
    pub fn of(code: &'static str, param: &str, message: impl Into<String>) -> Self {
        Self { code, param: Some(param.to_owned()), message: message.into() }
    }

    /// About no field.
    pub fn plain(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, param: None, message: message.into() }
    }
}

/// What a value may be.
pub enum Shape {
    Null,
    Flag,
    Text,
    Word(&'static [&'static str]),
    /// A whole number within these bounds.
    Whole(i64, i64),
    /// A number within these bounds.
    Number(f64, f64),
    /// An object whatever is in it.
    AnyObject,
    Object(&'static [Field]),
    List(&'static Shape),
    /// The first that fits its kind of JSON value.
    Either(&'static [Shape]),
    /// An object that its `type` tells apart.
    Tagged(&'static [(&'static str, &'static [Field])]),
}

pub struct Field {
    name: &'static str,
    needed: bool,
    shape: Shape,
}

pub const fn must(name: &'static str, shape: Shape) -> Field {
    Field { name, needed: true, shape }
}

pub const fn may(name: &'static str, shape: Shape) -> Field {
    Field { name, needed: false, shape }
}

pub(super) const EVENT_ID: Field = may("event_id", Shape::Text);
pub const ANY: i64 = i64::MAX;

const FORMAT: Shape = Shape::Tagged(&[
    ("audio/pcm", &[must("rate", Shape::Whole(24_000, 24_000))]),
    ("audio/pcmu", &[]),
    ("audio/pcma", &[]),
]);

const TURN_DETECTION: Shape = Shape::Tagged(&[
    (
        "server_vad",
        &[
            may("threshold", Shape::Number(0.0, 1.0)),
            may("prefix_padding_ms", Shape::Whole(0, 10_000)),
            may("silence_duration_ms", Shape::Whole(0, 10_000)),
            may("create_response", Shape::Flag),
            may("interrupt_response", Shape::Flag),
            may("idle_timeout_ms", Shape::Either(&[Shape::Whole(5_000, 30_000), Shape::Null])),
        ],
    ),
    (
        "semantic_vad",
        &[
            may("eagerness", Shape::Word(&["low", "medium", "high", "auto"])),
            may("create_response", Shape::Flag),
            may("interrupt_response", Shape::Flag),
        ],
    ),
]);

const NOISE: &[Field] = &[may("strength", Shape::Number(0.0, 1.0))];
const TRANSCRIPTION: &[Field] = &[
    must("model", Shape::Text),
    may("language", Shape::Text),
    may("languages", Shape::List(&Shape::Text)),
    may("keywords", Shape::List(&Shape::Text)),
    may("prompt", Shape::Text),
    may("delay", Shape::Text),
];

const INPUT: &[Field] = &[
    may("format", FORMAT),
    may(
        "noise_reduction",
        Shape::Either(&[Shape::Null, Shape::Tagged(&[("near_field", NOISE), ("far_field", NOISE)])]),
    ),
    may("transcription", Shape::Either(&[Shape::Null, Shape::Object(TRANSCRIPTION)])),
    may("turn_detection", Shape::Either(&[Shape::Null, TURN_DETECTION])),
];

const VOICE: Shape = Shape::Either(&[
    Shape::Word(&["alloy", "ash", "ballad", "coral", "echo", "sage", "shimmer", "verse", "marin", "cedar"]),
    Shape::Object(&[must("id", Shape::Text)]),
]);
const OUTPUT: &[Field] = &[may("format", FORMAT), may("voice", VOICE), may("speed", Shape::Number(0.25, 1.5))];
const RESPONSE_OUTPUT: &[Field] = &[may("format", FORMAT), may("voice", VOICE)];

const MODALITIES: Shape = Shape::List(&Shape::Word(&["audio", "text"]));
const MAX_TOKENS: Shape = Shape::Either(&[Shape::Whole(1, 4_096), Shape::Word(&["inf"])]);
pub(super) const TOOLS: Shape = Shape::List(&Shape::Tagged(&[
    ("function", &[must("name", Shape::Text), may("description", Shape::Text), may("parameters", Shape::AnyObject)]),
    (
        "mcp",
        &[
            must("server_label", Shape::Text),
            may("server_url", Shape::Text),
            may("connector_id", Shape::Text),
            may("tunnel_id", Shape::Text),
            may("authorization", Shape::Text),
            may("headers", Shape::AnyObject),
            may("allowed_tools", Shape::Either(&[Shape::List(&Shape::Text), Shape::AnyObject])),
            may("require_approval", Shape::Either(&[Shape::Word(&["always", "never"]), Shape::AnyObject])),
            may("server_description", Shape::Text),
        ],
    ),
]));
const TOOL_CHOICE: Shape = Shape::Either(&[
    Shape::Word(&["none", "auto", "required"]),
    Shape::Tagged(&[("function", &[must("name", Shape::Text)]), ("mcp", &[must("server_label", Shape::Text)])]),
]);
const REASONING: Shape = Shape::Object(&[may("effort", Shape::Word(&["minimal", "low", "medium", "high", "xhigh"]))]);
const PROMPT: Shape = Shape::Either(&[
    Shape::Null,
    Shape::Object(&[must("id", Shape::Text), may("version", Shape::Text), may("variables", Shape::AnyObject)]),
]);

const SESSION: Shape = Shape::Tagged(&[(
    "realtime",
    &[
        may("model", Shape::Text),
        may("instructions", Shape::Text),
        may("output_modalities", MODALITIES),
        may("max_output_tokens", MAX_TOKENS),
        may("audio", Shape::Object(&[may("input", Shape::Object(INPUT)), may("output", Shape::Object(OUTPUT))])),
        may("tools", TOOLS),
        may("tool_choice", TOOL_CHOICE),
        may("parallel_tool_calls", Shape::Flag),
        may("reasoning", REASONING),
        may("truncation", Shape::Either(&[Shape::Word(&["auto", "disabled"]), Shape::AnyObject])),
        may("tracing", Shape::Either(&[Shape::Null, Shape::Word(&["auto"]), Shape::AnyObject])),
        may("include", Shape::List(&Shape::Word(&["item.input_audio_transcription.logprobs"]))),
        may("prompt", PROMPT),
    ],
)]);

const CONTENT: Shape = Shape::Tagged(&[
    ("input_text", &[must("text", Shape::Text)]),
    ("output_text", &[must("text", Shape::Text)]),
    ("input_audio", &[must("audio", Shape::Text), may("transcript", Shape::Text)]),
    ("output_audio", &[may("audio", Shape::Text), may("transcript", Shape::Text)]),
]);
pub(super) const STATUS: Shape = Shape::Word(&["completed", "incomplete", "in_progress"]);
const ITEM: Shape = Shape::Tagged(&[
    (
        "message",
        &[
            may("id", Shape::Text),
            may("object", Shape::Word(&["realtime.item"])),
            may("status", STATUS),
            must("role", Shape::Word(&["user", "assistant", "system"])),
            must("content", Shape::List(&CONTENT)),
        ],
    ),
    (
        "function_call",
        &[
            may("id", Shape::Text),
            may("object", Shape::Word(&["realtime.item"])),
            may("status", STATUS),
            may("call_id", Shape::Text),
            must("name", Shape::Text),
            must("arguments", Shape::Text),
        ],
    ),
    (
        "function_call_output",
        &[
            may("id", Shape::Text),
            may("object", Shape::Word(&["realtime.item"])),
            may("status", STATUS),
            must("call_id", Shape::Text),
            must("output", Shape::Text),
        ],
    ),
    (
        "mcp_approval_response",
        &[
            must("id", Shape::Text),
            must("approval_request_id", Shape::Text),
            must("approve", Shape::Flag),
            may("reason", Shape::Text),
        ],
    ),
]);

const RESPONSE: &[Field] = &[
    may("instructions", Shape::Text),
    may("output_modalities", MODALITIES),
    may("max_output_tokens", MAX_TOKENS),
    may("audio", Shape::Object(&[may("output", Shape::Object(RESPONSE_OUTPUT))])),
    may("tools", TOOLS),
    may("tool_choice", TOOL_CHOICE),
    may("parallel_tool_calls", Shape::Flag),
    may("conversation", Shape::Word(&["auto", "none"])),
    may("input", Shape::List(&Shape::AnyObject)),
    may("metadata", Shape::Either(&[Shape::Null, Shape::AnyObject])),
    may("reasoning", REASONING),
    may("prompt", PROMPT),
];

/// The events of the client, all of them.
pub(super) const EVENTS: &[(&str, &[Field])] = &[
    ("session.update", &[EVENT_ID, must("session", SESSION)]),
    ("input_audio_buffer.append", &[EVENT_ID, must("audio", Shape::Text)]),
    ("input_audio_buffer.commit", &[EVENT_ID]),
    ("input_audio_buffer.clear", &[EVENT_ID]),
    (
        "conversation.item.create",
        &[EVENT_ID, may("previous_item_id", Shape::Either(&[Shape::Text, Shape::Null])), must("item", ITEM)],
    ),
    ("conversation.item.retrieve", &[EVENT_ID, must("item_id", Shape::Text)]),
    (
        "conversation.item.truncate",
        &[
            EVENT_ID,
            must("item_id", Shape::Text),
            must("content_index", Shape::Whole(0, ANY)),
            must("audio_end_ms", Shape::Whole(0, ANY)),
        ],
    ),
    ("conversation.item.delete", &[EVENT_ID, must("item_id", Shape::Text)]),
    ("response.create", &[EVENT_ID, may("response", Shape::Object(RESPONSE))]),
    ("response.cancel", &[EVENT_ID, may("response_id", Shape::Text)]),
    ("output_audio_buffer.clear", &[EVENT_ID]),
];

/// What is wrong with an event of the client's, if anything is: the first thing met.
pub fn check(event: &Value) -> Result<(), Complaint> {
    check_events(event, EVENTS)?;
    check_content(event, &["output_text", "output_audio"])?;
    for (path, modalities) in [("session", &event["session"]), ("response", &event["response"])] {
        let modalities = &modalities["output_modalities"];
        if modalities.as_array().is_some_and(|list| list.len() != 1) {
            let message =
                format!("Invalid modalities: {modalities}. Supported combinations are: ['text'] and ['audio'].");
            return Err(Complaint::of("invalid_value", &format!("{path}.output_modalities"), message));
        }
    }
    Ok(())
}

/// Whether it is one of these events, with the fields that it may have.
pub(super) fn check_events(event: &Value, events: &[(&'static str, &'static [Field])]) -> Result<(), Complaint> {
    check_tagged(event, events, "")
}

/// Whether the contents of a message are those of its role; `assistant`: those of the agent.
pub(super) fn check_content(event: &Value, assistant: &[&'static str]) -> Result<(), Complaint> {
    let content = &event["item"]["content"];
    let role = event["item"]["role"].as_str().unwrap_or_default();
    let kinds: &[&str] = match role {
        "user" => &["input_text", "input_audio"],
        "system" => &["input_text"],
        _ => assistant,
    };
    for (at, part) in content.as_array().into_iter().flatten().enumerate() {
        let kind = part["type"].as_str().unwrap_or_default();
        if !kinds.contains(&kind) {
            return Err(unsupported(&format!("item.content[{at}].type"), kind, kinds));
        }
    }
    Ok(())
}

fn below(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

fn unsupported(path: &str, found: &str, words: &[&str]) -> Complaint {
    let words: Vec<_> = words.iter().map(|word| format!("'{word}'")).collect();
    let message = format!("Invalid value: '{found}'. Supported values are: {}.", words.join(", "));
    Complaint::of("invalid_value", path, message)
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(number) if number.is_f64() => "a decimal number",
        Value::Number(_) => "an integer",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

impl Shape {
    fn wants(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Flag => "a boolean",
            Self::Text | Self::Word(_) => "a string",
            Self::Whole(..) => "an integer",
            Self::Number(..) => "a decimal",
            Self::AnyObject | Self::Object(_) | Self::Tagged(_) => "an object",
            Self::List(_) => "an array",
            Self::Either(_) => "one of several types",
        }
    }

    /// Whether it is the right kind of JSON value, whatever is in it.
    fn is_kind(&self, value: &Value) -> bool {
        match self {
            Self::Null => value.is_null(),
            Self::Flag => value.is_boolean(),
            Self::Text | Self::Word(_) => value.is_string(),
            Self::Whole(..) => value.is_i64() || value.is_u64(),
            Self::Number(..) => value.is_number(),
            Self::AnyObject | Self::Object(_) | Self::Tagged(_) => value.is_object(),
            Self::List(_) => value.is_array(),
            Self::Either(shapes) => shapes.iter().any(|shape| shape.is_kind(value)),
        }
    }

    fn check(&self, value: &Value, path: &str) -> Result<(), Complaint> {
        if !self.is_kind(value) {
            let message =
                format!("Invalid type for '{path}': expected {}, but got {} instead.", self.wants(), kind(value));
            return Err(Complaint::of("invalid_type", path, message));
        }
        let outside = |low: &dyn std::fmt::Display, high: &dyn std::fmt::Display| {
            let message = format!("Invalid '{path}': {value} is not between {low} and {high}.");
            Err(Complaint::of("invalid_value", path, message))
        };
        match self {
            Self::Word(words) => match value.as_str() {
                Some(word) if words.contains(&word) => Ok(()),
                word => Err(unsupported(path, word.unwrap_or_default(), words)),
            },
            Self::Whole(low, high) if !value.as_i64().is_some_and(|number| (*low..=*high).contains(&number)) => {
                outside(low, high)
            }
            Self::Number(low, high) if !value.as_f64().is_some_and(|number| (*low..=*high).contains(&number)) => {
                outside(low, high)
            }
            Self::Object(fields) => check_fields(value, fields, path, false),
            Self::List(shape) => {
                let mut items = value.as_array().into_iter().flatten().enumerate();
                items.try_for_each(|(at, item)| shape.check(item, &format!("{path}[{at}]")))
            }
            Self::Either(shapes) => match shapes.iter().find(|shape| shape.is_kind(value)) {
                Some(shape) => shape.check(value, path),
                None => Ok(()),
            },
            Self::Tagged(kinds) => check_tagged(value, kinds, path),
            _ => Ok(()),
        }
    }
}

/// What is wrong with an object that its `type` tells apart, if anything.
pub fn check_tagged(value: &Value, kinds: &[(&'static str, &'static [Field])], path: &str) -> Result<(), Complaint> {
    let param = below(path, "type");
    if !value.is_object() {
        return Err(Complaint::plain("invalid_type", "The event is no JSON object."));
    }
    let Some(found) = value.get("type") else {
        let message = format!("Missing required parameter: '{param}'.");
        return Err(Complaint::of("missing_required_parameter", &param, message));
    };
    Shape::Text.check(found, &param)?;
    let found = found.as_str().unwrap_or_default();
    match kinds.iter().find(|(name, _)| *name == found) {
        Some((_, fields)) => check_fields(value, fields, path, true),
        None => Err(unsupported(&param, found, &kinds.iter().map(|(name, _)| *name).collect::<Vec<_>>())),
    }
}

fn check_fields(value: &Value, fields: &[Field], path: &str, tagged: bool) -> Result<(), Complaint> {
    for field in fields.iter().filter(|field| field.needed) {
        if value.get(field.name).is_none() {
            let param = below(path, field.name);
            let message = format!("Missing required parameter: '{param}'.");
            return Err(Complaint::of("missing_required_parameter", &param, message));
        }
    }
    for (name, value) in value.as_object().into_iter().flatten() {
        let param = below(path, name);
        match fields.iter().find(|field| field.name == name) {
            Some(field) => field.shape.check(value, &param)?,
            None if tagged && name == "type" => {}
            None => {
                let message = format!("Unknown parameter: '{param}'.");
                return Err(Complaint::of("unknown_parameter", &param, message));
            }
        }
    }
    Ok(())
}
