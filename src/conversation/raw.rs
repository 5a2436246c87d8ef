//! The service's events in its own words, for an operator who asks for them: without audio unless that is asked for as well, and
//! never with what may be secret.
//!
//! Pure. A message that is no event is left to the engine, which reports it as a fault.

use serde_json::Value;

use super::json::KindOnly;
use super::options::RawEvents;

/// Fields whose values are withheld, wherever they are.
const SECRET: [&str; 12] = [
    "client_secret",
    "secret",
    "authorization",
    "api_key",
    "api-key",
    "x-api-key",
    "token",
    "access_token",
    "auth_token",
    "resume_token",
    "password",
    "headers",
];

/// What is shown in their place.
const WITHHELD: &str = "***";

/// How keys begin.
const KEYS: [&str; 2] = ["sk-", "sk_"];

/// What an operator gets of this text of the service. `is_audio`: whether events of a type carry audio.
pub(super) fn told(which: RawEvents, is_audio: impl Fn(&str) -> bool, text: &str) -> Option<String> {
    let KindOnly { kind } = serde_json::from_str(text).ok()?;
    let audio = is_audio(kind.as_str());
    if audio && which != RawEvents::WithAudio {
        return None;
    }
    if audio { Some(text.to_owned()) } else { shown(text) }
}

/// An event without what may be secret; `None` if it is no JSON.
pub(in crate::conversation) fn shown(text: &str) -> Option<String> {
    // Most events have nothing to withhold and stay as they are, word for word.
    let lower = text.to_ascii_lowercase();
    let suspicious = SECRET.iter().any(|name| lower.contains(&format!("\"{name}\"")))
        || KEYS.iter().any(|begin| lower.contains(begin))
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
            let is_key = |word: &str| KEYS.iter().any(|begin| word.starts_with(begin));
            if text.starts_with("Bearer ") || words.clone().any(is_key) {
                let shown: Vec<_> = words
                    .map(|word| if is_key(word) || text.starts_with("Bearer ") { WITHHELD } else { word })
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

    use super::*;

    const AUDIO: &str = "response.output_audio.delta";

    fn is_audio(kind: &str) -> bool {
        kind == AUDIO
    }

    #[test]
    fn an_event_is_told_word_for_word() {
        let text = r#"{"type": "response.done",  "response": {"usage": {"total_tokens": 7}}}"#;
        assert_eq!(told(RawEvents::On, is_audio, text).unwrap(), text);
        assert_eq!(told(RawEvents::On, is_audio, "no event"), None);
    }

    #[test]
    fn audio_is_told_only_if_it_is_asked_for() {
        let text = json!({"type": AUDIO, "delta": "c2stAAAA"}).to_string();
        assert_eq!(told(RawEvents::On, is_audio, &text), None);
        assert_eq!(told(RawEvents::WithAudio, is_audio, &text), Some(text.clone()));
    }

    #[test]
    fn what_may_be_secret_is_withheld() {
        let event = json!({"type": "session.updated", "session": {"client_secret": {"value": "ek_1"}, "tools": [
            {"type": "mcp", "authorization": "abc", "headers": {"X-Key": "hunter2"}, "server_label": "s"}]},
            "message": "Incorrect API key provided: sk-abc. sk_abc. Bearer tokens are fine.", "note": "Bearer abc"});
        let told = told(RawEvents::On, is_audio, &event.to_string()).unwrap();
        for secret in ["ek_1", "abc", "hunter2"] {
            assert!(!told.contains(secret), "{told}");
        }
        assert!(told.contains(r#""server_label":"s""#) && told.contains("tokens are fine."), "{told}");
    }
}
