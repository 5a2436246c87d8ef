//! What a client may say, field by field: the messages of the vendor's schema as tables, and what is wrong with one that does not fit. Where
//! the schema leaves a field open, the documentation decides; an unknown field is refused. Pure.

use serde_json::Value;

use crate::realtime::Complaint;
use crate::realtime::shape::{Field, Shape, check_tagged, may, must};

const FORMAT: Shape = Shape::Object(&[must("encoding", Shape::Word(&["audio/pcm", "audio/pcmu", "audio/pcma"]))]);
const SILENCE: Shape = Shape::Whole(50, 10_000);
const INPUT: Shape = Shape::Object(&[
    may("format", FORMAT),
    may("keyterms", Shape::List(&Shape::Text)),
    may(
        "turn_detection",
        Shape::Object(&[
            may("vad_threshold", Shape::Number(0.0, 1.0)),
            may("min_silence", SILENCE),
            may("max_silence", SILENCE),
            may("interrupt_response", Shape::Flag),
            may("interruption_delay", Shape::Whole(0, 10_000)),
        ]),
    ),
    may("transcription_prompt", Shape::Text),
]);
const OUTPUT: Shape = Shape::Object(&[
    may("voice", Shape::Word(&["ivy", "james", "tyler", "winter", "bella", "alba", "eve", "george", "jane"])),
    may("format", FORMAT),
    may("volume", Shape::Whole(0, 100)),
]);
const TOOLS: Shape = Shape::List(&Shape::Tagged(&[(
    "function",
    &[
        must("name", Shape::Text),
        must("description", Shape::Text),
        must("parameters", Shape::AnyObject),
        may("execution_mode", Shape::Word(&["interactive", "hold"])),
        may("timeout_seconds", Shape::Number(1.0, 300.0)),
    ],
)]));
const SESSION: Shape = Shape::Object(&[
    may("agent_id", Shape::Text),
    may("system_prompt", Shape::Text),
    may("greeting", Shape::Text),
    may("tools", TOOLS),
    may("input", INPUT),
    may("output", OUTPUT),
]);

const MESSAGES: &[(&str, &[Field])] = &[
    ("session.update", &[must("session", SESSION)]),
    ("session.resume", &[must("session_id", Shape::Text)]),
    ("session.end", &[]),
    ("input.audio", &[must("audio", Shape::Text)]),
    ("tool.result", &[must("call_id", Shape::Text), must("result", Shape::Text), may("is_error", Shape::Flag)]),
    ("reply.create", &[may("instructions", Shape::Text)]),
    ("conversation.message", &[must("role", Shape::Word(&["user", "system"])), must("content", Shape::Text)]),
];

/// The most words to expect.
const MOST_TERMS: usize = 100;

/// What is wrong with a message of the client's, if anything.
pub fn check(message: &Value) -> Result<(), Complaint> {
    check_tagged(message, MESSAGES, "")?;
    let session = &message["session"];
    if session["agent_id"].is_string() && session.as_object().is_some_and(|fields| fields.len() > 1) {
        return Err(Complaint::of("invalid_config", "session.agent_id", "a stored agent is named alone"));
    }
    let terms = session["input"]["keyterms"].as_array().map_or(0, Vec::len);
    if terms > MOST_TERMS {
        return Err(Complaint::of("invalid_value", "session.input.keyterms", "too many"));
    }
    let turns = &session["input"]["turn_detection"];
    let silence = |name: &str, usual: u64| turns[name].as_u64().unwrap_or(usual);
    if silence("min_silence", 1_000) >= silence("max_silence", 3_000) {
        let path = "session.input.turn_detection.min_silence";
        return Err(Complaint::of("invalid_value", path, "min_silence must be less than max_silence"));
    }
    for name in ["instructions", "content"] {
        if message[name].as_str().is_some_and(|text| text.trim().is_empty()) {
            return Err(Complaint::of("invalid_value", name, "there are no words"));
        }
    }
    Ok(())
}

/// What of a change cannot be changed in a session.
pub fn check_change(session: &Value) -> Result<(), Complaint> {
    let fixed = ["/agent_id", "/greeting", "/input/format", "/output/voice", "/output/format"];
    match fixed.into_iter().find(|path| session.pointer(path).is_some()) {
        Some(path) => Err(Complaint::of("immutable_field", path, "it cannot be changed in a session")),
        None => Ok(()),
    }
}
