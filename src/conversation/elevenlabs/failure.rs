//! What the service's errors, closes and refusals mean.
//!
//! Pure. The kinds are those of the vendor's schema. The service's words are cut short and freed of control characters.

use super::super::engine::Loss;
use super::wire::ErrorBody;
use crate::protocol::excerpt;

/// What the end of a connection is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum End {
    /// The service has ended the conversation as it is meant to.
    Ended(String),
    /// The connection is of no use any more.
    Lost(Loss),
}

/// The same conversation would fail again: what it was begun with does not fit the agent, or the agent cannot be called.
const FATAL: [&str; 9] = [
    "override_error",
    "missing_dynamic_variable",
    "missing_dynamic_variable_transfer",
    "missing_fields",
    "value_error",
    "invalid_message",
    "telephony_agent_error",
    "mcp_tool_error",
    "mcp_https_error",
];

/// Words of a close that name a lasting refusal.
const LASTING: [&str; 4] = ["quota", "credits", "payment", "not authorized"];

/// An `error`, after which the service closes.
pub(super) fn of_error(error: &ErrorBody<'_>) -> End {
    let code = error.code.whole().unwrap_or_default();
    let kind = error.error_type.as_str();
    let words = [error.message.as_str(), error.reason.as_str(), kind].into_iter().find(|words| !words.is_empty());
    let words = words.unwrap_or("the service gave no details");
    if code == 1_000 || kind == "max_duration_exceeded" {
        return End::Ended(excerpt(words));
    }
    let fatal = FATAL.contains(&kind) || code == 1_008 || lasts(words);
    let code = if kind.is_empty() { code.to_string() } else { excerpt(kind) };
    End::Lost(Loss { fatal, code, message: excerpt(words) })
}

/// A closed connection; `ready`: the conversation had begun.
pub(super) fn of_close(code: u16, reason: &str, ready: bool) -> End {
    if code == 1_000 && ready && !lasts(reason) {
        return End::Ended(excerpt(reason));
    }
    // 1002 is what the service calls its own failures; 1008 is what it calls ours.
    let fatal = code == 1_008 || code == 3_000 || lasts(reason);
    let words = if reason.is_empty() { "the service closed the connection" } else { reason };
    End::Lost(Loss { fatal, code: code.to_string(), message: excerpt(words) })
}

/// A refused attempt, of a connection or of a request for a signed URL.
pub(super) fn of_refusal(status: Option<u16>, message: &str) -> Loss {
    let fatal = match status {
        Some(408 | 409 | 425 | 429 | 500..) | None => false,
        Some(_) => true,
    };
    let check = match status {
        Some(401 | 403) => "; check elevenlabs_api_key and what the key may use",
        Some(400 | 404 | 422) => "; check elevenlabs_agent_id and elevenlabs_base_url",
        _ => "",
    };
    let code = status.map_or_else(|| "connect".to_owned(), |status| status.to_string());
    Loss { fatal, code, message: format!("{}{check}", excerpt(message)) }
}

fn lasts(words: &str) -> bool {
    let words = words.to_ascii_lowercase();
    LASTING.iter().any(|known| words.contains(known))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::super::wire::ServerMessage;
    use super::*;

    /// What an end means, in a word.
    fn word(end: &End) -> &'static str {
        match end {
            End::Ended(_) => "ended",
            End::Lost(Loss { fatal: true, .. }) => "fatal",
            End::Lost(_) => "lost",
        }
    }

    #[test]
    fn errors_are_told_apart_by_what_to_do_next() {
        for (error, wanted) in [
            (
                r#"{"code":1008,"error_type":"override_error","message":"Override for field 'prompt' is not allowed."}"#,
                "fatal",
            ),
            (r#"{"code":1008}"#, "fatal"),
            (r#"{"code":1002,"error_type":"llm_timeout"}"#, "lost"),
            (r#"{"code":1002,"message":"This request exceeds your quota limit."}"#, "fatal"),
            (r#"{"code":1011,"error_type":"unknown_websocket_crash"}"#, "lost"),
            (r#"{"code":1000,"error_type":"max_duration_exceeded"}"#, "ended"),
            ("{}", "lost"),
        ] {
            let text = format!(r#"{{"type":"error","error_event":{error}}}"#);
            let message: ServerMessage<'_> = serde_json::from_str(&text).unwrap();
            assert_eq!(word(&of_error(&message.error.0)), wanted, "{error}");
        }
    }

    #[test]
    fn a_normal_close_ends_a_conversation_that_had_begun() {
        for (code, reason, ready, wanted) in [
            (1_000, "", true, "ended"),
            (1_000, "", false, "lost"),
            (1_000, "Quota exceeded.", true, "fatal"),
            (1_002, "LLM failed", true, "lost"),
            (1_006, "", true, "lost"),
            (1_008, "", true, "fatal"),
            (3_000, "Could not authorize.", false, "fatal"),
            (1_011, "", true, "lost"),
        ] {
            assert_eq!(word(&of_close(code, reason, ready)), wanted, "{code} {reason}");
        }
    }

    #[test]
    fn a_refusal_names_the_options_to_look_at() {
        let refused = |status| of_refusal(status, "no");
        assert!(refused(Some(401)).fatal && refused(Some(401)).message.contains("elevenlabs_api_key"));
        assert!(refused(Some(404)).fatal && refused(Some(404)).message.contains("elevenlabs_agent_id"));
        for passes in [None, Some(429), Some(503)] {
            assert!(!refused(passes).fatal, "{passes:?}");
        }
    }
}
