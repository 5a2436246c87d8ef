//! The service's events in its own words, for an operator who asks for them: without audio unless that is asked for as well, and
//! never with what may be secret.
//!
//! Pure. A message that is no event is left to the engine, which reports it as a fault.

use serde_json::Value;

use super::super::options::RawEvents;
use super::dialect::Dialect;
use super::wire::KindOnly;

/// Fields whose values are withheld, wherever they are.
const SECRET: [&str; 11] = [
    "client_secret",
    "secret",
    "authorization",
    "api_key",
    "api-key",
    "x-api-key",
    "token",
    "access_token",
    "auth_token",
    "password",
    "headers",
];

/// What is shown in their place.
const WITHHELD: &str = "***";

/// What an operator gets of this text of the service.
pub(super) fn told(which: RawEvents, dialect: &Dialect, text: &str) -> Option<String> {
    let KindOnly { kind } = serde_json::from_str(text).ok()?;
    let kind = dialect.event(kind.as_str());
    if kind == "response.output_audio.delta" && which != RawEvents::WithAudio {
        return None;
    }
    if kind == "response.output_audio.delta" { Some(text.to_owned()) } else { shown(text) }
}

/// An event without what may be secret; `None` if it is no JSON.
pub(in crate::conversation) fn shown(text: &str) -> Option<String> {
    // Most events have nothing to withhold and stay as they are, word for word.
    let lower = text.to_ascii_lowercase();
    let suspicious = SECRET.iter().any(|name| lower.contains(&format!("\"{name}\"")))
        || lower.contains("sk-")
        || lower.contains("bearer");
    if !suspicious {
        return Some(text.to_owned());
    }
    let mut event: Value = serde_json::from_str(text).ok()?;
    withhold(&mut event);
    Some(event.to_string())
}

fn withhold(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                if SECRET.contains(&name.to_ascii_lowercase().as_str()) && !value.is_null() {
                    *value = WITHHELD.into();
                } else {
                    withhold(value);
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(withhold),
        Value::String(text) => {
            let words = text.split(' ');
            if text.starts_with("Bearer ") || words.clone().any(|word| word.starts_with("sk-")) {
                let shown: Vec<_> = words
                    .map(|word| if word.starts_with("sk-") || text.starts_with("Bearer ") { WITHHELD } else { word })
                    .collect();
                *value = shown.join(" ").into();
            }
        }
        _ => {}
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::super::dialect::{OPENAI, VOICE_LIVE};
    use super::*;

    #[test]
    fn an_event_is_told_word_for_word() {
        let text = r#"{"type": "response.done",  "response": {"usage": {"total_tokens": 7}}}"#;
        assert_eq!(told(RawEvents::On, &OPENAI, text).unwrap(), text);
        assert_eq!(told(RawEvents::On, &OPENAI, "no event"), None);
    }

    #[test]
    fn audio_is_told_only_if_it_is_asked_for() {
        for (dialect, kind) in [(&OPENAI, "response.output_audio.delta"), (&VOICE_LIVE, "response.audio.delta")] {
            let text = json!({"type": kind, "delta": "c2stAAAA"}).to_string();
            assert_eq!(told(RawEvents::On, dialect, &text), None, "{kind}");
            assert_eq!(told(RawEvents::WithAudio, dialect, &text), Some(text.clone()), "{kind}");
        }
    }

    #[test]
    fn what_may_be_secret_is_withheld() {
        let event = json!({"type": "session.updated", "session": {"client_secret": {"value": "ek_1"}, "tools": [
            {"type": "mcp", "authorization": "abc", "headers": {"X-Key": "hunter2"}, "server_label": "s"}]},
            "message": "Incorrect API key provided: sk-abc. Bearer tokens are fine.", "note": "Bearer abc"});
        let told = told(RawEvents::On, &OPENAI, &event.to_string()).unwrap();
        for secret in ["ek_1", "abc", "hunter2"] {
            assert!(!told.contains(secret), "{told}");
        }
        assert!(told.contains(r#""server_label":"s""#) && told.contains("tokens are fine."), "{told}");
    }
}
