//! Messages of the client as JSON. Each carries one thing.
//!
//! Pure.

use serde_json::{Value, json};

use crate::protocol::codec::base64_between;

/// The caller's audio, S16LE at 16 kHz.
pub(super) fn audio(bytes: &[u8]) -> String {
    base64_between(r#"{"realtimeInput":{"audio":{"mimeType":"audio/pcm;rate=16000","data":""#, bytes, r#""}}}"#)
}

/// The caller's audio pauses: what the service holds of it is not to wait for more.
pub(super) fn audio_stream_end() -> String {
    json!({"realtimeInput": {"audioStreamEnd": true}}).to_string()
}

/// The caller begins to speak, as the module finds.
pub(super) fn activity_start() -> String {
    json!({"realtimeInput": {"activityStart": {}}}).to_string()
}

/// The caller has stopped.
pub(super) fn activity_end() -> String {
    json!({"realtimeInput": {"activityEnd": {}}}).to_string()
}

/// A text that the model answers.
pub(super) fn text(text: &str) -> String {
    json!({"realtimeInput": {"text": text}}).to_string()
}

/// Turns of the conversation, each a role and a text. `complete`: they are the history and all of it.
pub(super) fn content(turns: &[(&'static str, String)], complete: bool) -> String {
    let turns: Vec<_> = turns.iter().map(|(role, text)| json!({"role": role, "parts": [{"text": text}]})).collect();
    let content = match turns.is_empty() {
        true => json!({"turnComplete": complete}),
        false => json!({"turns": turns, "turnComplete": complete}),
    };
    json!({"clientContent": content}).to_string()
}

/// Results of functions.
pub(super) fn tool_response(results: &[Value]) -> String {
    json!({"toolResponse": {"functionResponses": results}}).to_string()
}

/// One of them. What is no object is under `output`.
pub(super) fn function_response(id: &str, name: &str, output: &str) -> Value {
    let response = match serde_json::from_str::<Value>(output) {
        Ok(object @ Value::Object(_)) => object,
        Ok(value) => json!({"output": value}),
        Err(_) => json!({"output": output}),
    };
    json!({"id": id, "name": name, "response": response})
}
