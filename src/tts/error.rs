//! Why a sentence could not be spoken: who says so, in their own words, and whether another attempt makes sense.
//!
//! Pure; any thread. Everything a provider wrote is cut, put on one line and cleaned of the key before it gets here.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use super::wav::BadAudio;
use crate::transport::{ConnectError, HttpError, Pause};
use crate::units::Secret;

/// Most characters kept of a provider's code and of its message.
const MOST_CODE: usize = 64;
const MOST_MESSAGE: usize = 300;
/// Bytes of an answer that are read for its message.
pub(super) const MOST_ERROR_BODY: usize = 8 * 1024;

/// What a failure says about the next request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Severity {
    /// It may succeed without anybody changing anything.
    Retryable,
    /// This text will not be spoken; the next one may.
    Text,
    /// Nothing will be spoken until somebody changes something: the key, the voice, the account, the command.
    Fatal,
}

/// A sentence was not spoken. Never shows the key.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "{provider}: {}{message} ({code}){}",
    status.map(|status| format!("HTTP {status}: ")).unwrap_or_default(),
    request_id.as_ref().map(|id| format!("; request id {id}")).unwrap_or_default()
)]
pub struct SpeechError {
    /// The provider's name.
    pub provider: &'static str,
    /// The HTTP status, where there was an answer.
    pub status: Option<u16>,
    /// What the provider calls the request, where there was an answer that says so.
    pub request_id: Option<String>,
    /// The provider's own code, or ours: `timeout`, `connect_failed`, `connection_lost`, `bad_audio`, `too_long`, `no_audio`,
    /// `command_failed`, `breaker_open`, `speech_off`, `queue_full`, `internal`.
    pub code: String,
    /// In words.
    pub message: String,
    /// What it means for the next.
    pub severity: Severity,
    /// The provider asks for a pause.
    pub pause: Option<Pause>,
    /// This machine lacks something, or the time limit is too short: it does not count against the provider.
    pub is_ours: bool,
}

impl SpeechError {
    pub(super) fn new(
        provider: &'static str,
        severity: Severity,
        code: &str,
        message: impl AsRef<str>,
        key: Option<&Secret>,
    ) -> Self {
        Self {
            provider,
            status: None,
            request_id: None,
            code: clean(code, MOST_CODE, key),
            message: clean(message.as_ref(), MOST_MESSAGE, key),
            severity,
            pause: None,
            is_ours: false,
        }
    }

    /// No answer, or half of one.
    pub(super) fn http(provider: &'static str, error: &HttpError, key: Option<&Secret>) -> Self {
        let (severity, code) = match error {
            HttpError::Connect(ConnectError::TlsSetup(_)) => (Severity::Fatal, "tls_setup"),
            HttpError::Connect(ConnectError::NotAllowed(_)) => (Severity::Fatal, "not_allowed"),
            HttpError::Connect(ConnectError::Timeout { .. }) => (Severity::Retryable, "timeout"),
            HttpError::Connect(_) => (Severity::Retryable, "connect_failed"),
            HttpError::Broken { .. } => (Severity::Retryable, "connection_lost"),
            HttpError::Request(_) => (Severity::Fatal, "bad_request"),
        };
        let is_ours = matches!(error, HttpError::Connect(error) if !error.blames_server());
        Self { is_ours, ..Self::new(provider, severity, code, error.to_string(), key) }
    }

    pub(super) fn audio(provider: &'static str, error: &BadAudio) -> Self {
        let (severity, code) = match error {
            BadAudio::Empty => (Severity::Retryable, "no_audio"),
            BadAudio::Short { .. } => (Severity::Retryable, "connection_lost"),
            _ => (Severity::Fatal, "bad_audio"),
        };
        Self::new(provider, severity, code, error.to_string(), None)
    }

    /// Its breaker lets nobody through.
    pub(super) fn not_now(provider: &'static str, wait: Duration, busy: bool) -> Self {
        let why = if busy { "has said that it is too busy" } else { "failed too often" };
        let message = format!("it {why} and is not tried for {} s more", wait.as_secs() + 1);
        Self::new(provider, Severity::Retryable, "breaker_open", message, None)
    }

    /// A refusal in a message.
    pub(super) fn said(provider: &'static str, code: &str, message: &str, key: Option<&Secret>) -> Self {
        let busy = ["busy", "concurren", "rate", "timeout", "internal"].iter().any(|part| code.contains(part));
        let text = ["character", "input", "text"].iter().any(|part| code.contains(part));
        let severity = match (busy, text) {
            (true, _) => Severity::Retryable,
            (false, true) => Severity::Text,
            (false, false) => Severity::Fatal,
        };
        Self::new(provider, severity, code, message, key)
    }

    /// An answer that is a refusal; `body` is the start of it.
    pub(super) fn refused(provider: &'static str, status: u16, body: &str, key: Option<&Secret>) -> Self {
        let error = ProviderError::read(body);
        let says = |text: &String| !clean(text, MOST_MESSAGE, key).is_empty();
        let code = error.code.filter(says).unwrap_or_else(|| format!("http_{status}"));
        let message = error.message.filter(says).unwrap_or_else(|| {
            let words = http::StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason());
            words.unwrap_or("refused without a reason").to_owned()
        });
        let severity = severity(status, &code);
        Self { status: Some(status), ..Self::new(provider, severity, &code, message, key) }
    }
}

/// What a refusal means: a bad key or voice will stay bad, a bad text is bad itself, anything else may pass.
fn severity(status: u16, code: &str) -> Severity {
    if ["quota", "voice_not_found", "billing", "account", "model_not_found"].iter().any(|part| code.contains(part)) {
        return Severity::Fatal;
    }
    match status {
        408 | 409 | 425 | 429 | 500.. => Severity::Retryable,
        400 | 413 | 414 | 422 => Severity::Text,
        _ => Severity::Fatal,
    }
}

/// What the providers say in the bodies of their refusals.
#[derive(Default, Debug)]
struct ProviderError {
    code: Option<String>,
    message: Option<String>,
}

#[derive(Deserialize)]
struct Body {
    error: Option<Value>,
    detail: Option<Value>,
    #[serde(alias = "err_msg")]
    message: Option<String>,
    #[serde(alias = "err_code", alias = "category", alias = "error_code")]
    code: Option<Value>,
}

impl ProviderError {
    /// `{"error": {…}}` (OpenAI), `{"detail": …}` (ElevenLabs, and what FastAPI makes of a bad request), `{"err_code", "err_msg"}`
    /// or `{"category", "message"}` (Deepgram), `{"error_code", "message"}` (Cartesia), or plain text.
    fn read(body: &str) -> Self {
        let Ok(parsed) = serde_json::from_str::<Body>(body) else {
            let text = body.trim();
            // A page of a proxy says nothing in its tags.
            let plain = !text.is_empty() && !text.starts_with(['<', '{', '[']);
            return Self { code: None, message: plain.then(|| text.to_owned()) };
        };
        if let Some(of) = parsed.error.or(parsed.detail) {
            return Self::of(&of);
        }
        Self { code: parsed.code.as_ref().and_then(text), message: parsed.message }
    }

    fn of(value: &Value) -> Self {
        match value {
            Value::String(message) => Self { code: None, message: Some(message.clone()) },
            Value::Array(list) => Self::of(list.first().unwrap_or(&Value::Null)),
            Value::Object(fields) => {
                let field = |names: &[&str]| names.iter().find_map(|name| fields.get(*name).and_then(text));
                let mut message = field(&["message", "msg"]);
                if let (Some(message), Some(Value::Array(place))) = (&mut message, fields.get("loc")) {
                    let place: Vec<_> = place.iter().filter_map(text).collect();
                    *message = format!("{}: {message}", place.join("."));
                }
                Self { code: field(&["code", "status", "type"]), message }
            }
            _ => Self::default(),
        }
    }
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// `text` without the key, on one line, of at most `most` characters.
fn clean(text: &str, most: usize, key: Option<&Secret>) -> String {
    let key = key.map(Secret::expose).filter(|key| !key.is_empty());
    let text = key.map_or_else(|| text.to_owned(), |key| text.replace(key, "***"));
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let line = line.trim();
    if line.chars().count() <= most { line.to_owned() } else { line.chars().take(most - 1).chain(['…']).collect() }
}

/// Fuzz target: `data` as the body of a provider's refusal, whose status the first byte decides; checks what is said of it.
///
/// # Panics
/// When it says nothing, too much, or the key.
pub fn fuzz_refusal(data: &[u8]) {
    const KEY: &str = "sk-s3cret";
    let Some((&setup, body)) = data.split_first() else { return };
    let status = [400, 401, 404, 413, 422, 429, 500, 999][usize::from(setup) % 8];
    let error = SpeechError::refused("openai", status, &String::from_utf8_lossy(body), Some(&Secret::new(KEY)));
    assert!(!error.code.is_empty() && !error.message.is_empty(), "{error:?}");
    assert!(error.code.chars().count() <= MOST_CODE && error.message.chars().count() <= MOST_MESSAGE, "{error:?}");
    let said = format!("{error} {error:?}");
    assert!(!said.contains(KEY) && !error.to_string().contains(char::is_control), "{said}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_providers_own_code_and_message_are_reported() {
        for (status, body, code, message, severity) in [
            (
                401,
                r#"{"detail":{"status":"invalid_api_key","message":"Invalid API key"}}"#,
                "invalid_api_key",
                "Invalid API key",
                Severity::Fatal,
            ),
            (
                401,
                r#"{"detail":{"status":"quota_exceeded","message":"0 left"}}"#,
                "quota_exceeded",
                "0 left",
                Severity::Fatal,
            ),
            (400, r#"{"detail":{"status":"voice_not_found","message":"x"}}"#, "voice_not_found", "x", Severity::Fatal),
            (
                422,
                r#"{"detail":[{"loc":["body","text"],"msg":"field required","type":"missing"}]}"#,
                "missing",
                "body.text: field required",
                Severity::Text,
            ),
            (403, r#"{"detail":"not allowed"}"#, "http_403", "not allowed", Severity::Fatal),
            (
                429,
                r#"{"error":{"message":"slow down","type":"requests","code":"rate_limit_exceeded"}}"#,
                "rate_limit_exceeded",
                "slow down",
                Severity::Retryable,
            ),
            (
                429,
                r#"{"error":{"message":"pay","type":"insufficient_quota","code":"insufficient_quota"}}"#,
                "insufficient_quota",
                "pay",
                Severity::Fatal,
            ),
            (
                500,
                r#"{"error":{"message":"oops","type":"server_error","code":null}}"#,
                "server_error",
                "oops",
                Severity::Retryable,
            ),
            (
                401,
                r#"{"err_code":"INVALID_AUTH","err_msg":"Invalid credentials.","request_id":"r"}"#,
                "INVALID_AUTH",
                "Invalid credentials.",
                Severity::Fatal,
            ),
            (
                404,
                r#"{"error_code":"voice_not_found","title":"No voice","message":"There is none.","request_id":"r"}"#,
                "voice_not_found",
                "There is none.",
                Severity::Fatal,
            ),
            (503, "<html>busy</html>", "http_503", "Service Unavailable", Severity::Retryable),
            (404, "no such thing", "http_404", "no such thing", Severity::Fatal),
            (302, "", "http_302", "Found", Severity::Fatal),
        ] {
            let error = SpeechError::refused("x", status, body, None);
            assert_eq!(
                (error.code.as_str(), error.message.as_str(), error.severity),
                (code, message, severity),
                "{body}"
            );
        }
    }

    #[test]
    fn neither_the_key_nor_a_flood_gets_into_a_message() {
        let key = Secret::new("sk-geheim");
        let body = format!(
            r#"{{"error":{{"message":"Incorrect API key provided: sk-geheim\r\n{}","code":"sk-geheim"}}}}"#,
            "x".repeat(9_000)
        );
        let error = SpeechError::refused("openai", 401, &body, Some(&key));
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains("geheim") && !shown.contains('\n'), "{shown}");
        assert!(error.message.chars().count() <= MOST_MESSAGE);
        assert!(error.to_string().starts_with("openai: HTTP 401: Incorrect API key provided: ***"));
    }

    proptest::proptest! {
        #[test]
        fn any_body_of_a_refusal_is_bounded(status in 300_u16..600, body in ".{0,400}") {
            let error = SpeechError::refused("x", status, &body, None);
            proptest::prop_assert!(!error.code.is_empty() && error.code.chars().count() <= MOST_CODE);
            proptest::prop_assert!(!error.message.is_empty() && error.message.chars().count() <= MOST_MESSAGE);
        }
    }
}
