//! What a client of Gemini Live may say, field by field: from the types of Google's Python SDK google-genai 3.6.1
//! (`types.LiveClientMessage`, and `_live_converters` for what `setup` has besides), as far as a conversation of speech needs them.
//! What is none of these is refused. Pure.

use serde_json::{Value, json};

use super::shape::{ANY, Complaint, Field, Shape, check_events, may, must};

const PARTS: Shape = Shape::List(&Shape::Object(&[must("text", Shape::Text)]));
const CONTENT: Shape = Shape::Object(&[may("role", Shape::Word(&["user", "model"])), must("parts", PARTS)]);
const INSTRUCTION: Shape = Shape::Object(&[must("parts", PARTS)]);
const TOOLS: Shape = Shape::List(&Shape::Object(&[must(
    "functionDeclarations",
    Shape::List(&Shape::Object(&[
        must("name", Shape::Text),
        may("description", Shape::Text),
        may("parameters", Shape::AnyObject),
        may("behavior", Shape::Word(&["BLOCKING", "NON_BLOCKING"])),
    ])),
)]));
const MS: Shape = Shape::Whole(0, 60_000);

const GENERATION: Shape = Shape::Object(&[
    must("responseModalities", Shape::List(&Shape::Word(&["AUDIO", "TEXT"]))),
    may("maxOutputTokens", Shape::Whole(1, ANY)),
    may("temperature", Shape::Number(0.0, 2.0)),
    may(
        "speechConfig",
        Shape::Object(&[
            may("languageCode", Shape::Text),
            may(
                "voiceConfig",
                Shape::Object(&[must("prebuiltVoiceConfig", Shape::Object(&[must("voiceName", Shape::Text)]))]),
            ),
        ]),
    ),
    may(
        "thinkingConfig",
        Shape::Object(&[may("thinkingLevel", Shape::Word(&["MINIMAL", "LOW", "MEDIUM", "HIGH", "XHIGH"]))]),
    ),
]);

const REALTIME_INPUT_CONFIG: Shape = Shape::Object(&[
    may(
        "automaticActivityDetection",
        Shape::Object(&[
            may("disabled", Shape::Flag),
            may("startOfSpeechSensitivity", Shape::Word(&["START_SENSITIVITY_HIGH", "START_SENSITIVITY_LOW"])),
            may("endOfSpeechSensitivity", Shape::Word(&["END_SENSITIVITY_HIGH", "END_SENSITIVITY_LOW"])),
            may("prefixPaddingMs", MS),
            may("silenceDurationMs", MS),
        ]),
    ),
    may("activityHandling", Shape::Word(&["START_OF_ACTIVITY_INTERRUPTS", "NO_INTERRUPTION"])),
    may("turnCoverage", Shape::Word(&["TURN_INCLUDES_ONLY_ACTIVITY", "TURN_INCLUDES_ALL_INPUT"])),
]);

const TRANSCRIPTION: Shape = Shape::Object(&[
    may("languageCodes", Shape::List(&Shape::Text)),
    may("customVocabulary", Shape::List(&Shape::Text)),
    may("mode", Shape::Word(&["VERBATIM", "SMART"])),
]);

const SETUP: Shape = Shape::Object(&[
    must("model", Shape::Text),
    may("generationConfig", GENERATION),
    may("systemInstruction", INSTRUCTION),
    may("tools", TOOLS),
    may("realtimeInputConfig", REALTIME_INPUT_CONFIG),
    may("sessionResumption", Shape::Object(&[may("handle", Shape::Text)])),
    may(
        "contextWindowCompression",
        Shape::Object(&[
            may("triggerTokens", Shape::Whole(1, ANY)),
            may("slidingWindow", Shape::Object(&[may("targetTokens", Shape::Whole(1, ANY))])),
        ]),
    ),
    may("inputAudioTranscription", TRANSCRIPTION),
    may("outputAudioTranscription", TRANSCRIPTION),
    may("historyConfig", Shape::Object(&[may("initialHistoryInClientContent", Shape::Flag)])),
    may("labels", Shape::AnyObject),
]);

const MESSAGES: &[(&str, &[Field])] = &[
    ("setup", &[must("setup", SETUP)]),
    (
        "clientContent",
        &[must(
            "clientContent",
            Shape::Object(&[may("turns", Shape::List(&CONTENT)), may("turnComplete", Shape::Flag)]),
        )],
    ),
    (
        "realtimeInput",
        &[must(
            "realtimeInput",
            Shape::Object(&[
                may(
                    "audio",
                    Shape::Object(&[
                        must("data", Shape::Text),
                        must("mimeType", Shape::Word(&["audio/pcm;rate=16000"])),
                    ]),
                ),
                may("audioStreamEnd", Shape::Flag),
                may("text", Shape::Text),
                may("activityStart", Shape::Object(&[])),
                may("activityEnd", Shape::Object(&[])),
            ]),
        )],
    ),
    (
        "toolResponse",
        &[must(
            "toolResponse",
            Shape::Object(&[must(
                "functionResponses",
                Shape::List(&Shape::Object(&[
                    must("id", Shape::Text),
                    must("name", Shape::Text),
                    must("response", Shape::AnyObject),
                ])),
            )]),
        )],
    ),
    (
        "contextUpdate",
        &[must(
            "contextUpdate",
            Shape::Object(&[
                may("systemInstruction", INSTRUCTION),
                may("tools", Shape::Object(&[must("tools", TOOLS)])),
            ]),
        )],
    ),
];

/// Words of a schema, and what they are.
const SCHEMA: &[Field] = &[
    may("title", Shape::Text),
    may("description", Shape::Text),
    may("format", Shape::Text),
    may("pattern", Shape::Text),
    may("type", Shape::Word(&["STRING", "NUMBER", "INTEGER", "BOOLEAN", "ARRAY", "OBJECT", "NULL"])),
    may("nullable", Shape::Flag),
    may("enum", Shape::List(&Shape::Text)),
    may("required", Shape::List(&Shape::Text)),
    may("minimum", Shape::Number(f64::MIN, f64::MAX)),
    may("maximum", Shape::Number(f64::MIN, f64::MAX)),
];

/// What is wrong with a message, if anything is; it has its kind as `type` besides.
pub(super) fn check(message: &Value) -> Result<(), Complaint> {
    check_events(message, MESSAGES)?;
    let input = message["realtimeInput"].as_object();
    if input.is_some_and(|input| input.len() != 1) {
        return Err(Complaint::of("invalid_value", "realtimeInput", "Only one argument can be set."));
    }
    let tools = [&message["setup"]["tools"], &message["contextUpdate"]["tools"]["tools"]];
    for tool in tools.into_iter().flat_map(|tools| tools.as_array().into_iter().flatten()) {
        for declaration in tool["functionDeclarations"].as_array().into_iter().flatten() {
            let parameters = &declaration["parameters"];
            if !parameters.is_null() {
                if parameters["properties"].as_object().is_none_or(serde_json::Map::is_empty) {
                    return Err(Complaint::of("invalid_value", "parameters", "properties: should be non-empty."));
                }
                check_schema(parameters)?;
            }
        }
    }
    Ok(())
}

fn check_schema(schema: &Value) -> Result<(), Complaint> {
    let Some(fields) = schema.as_object() else {
        return Err(Complaint::of("invalid_type", "parameters", "A schema is an object."));
    };
    let mut flat = json!({"type": "schema", "schema": {}});
    for (name, value) in fields {
        match name.as_str() {
            "properties" => {
                value.as_object().into_iter().flat_map(serde_json::Map::values).try_for_each(check_schema)?
            }
            "items" => check_schema(value)?,
            "anyOf" => value.as_array().into_iter().flatten().try_for_each(check_schema)?,
            _ => flat["schema"][name] = value.clone(),
        }
    }
    const EVENTS: &[(&str, &[Field])] = &[("schema", &[must("schema", Shape::Object(SCHEMA))])];
    check_events(&flat, EVENTS)
}
