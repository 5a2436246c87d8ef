//! What went wrong, and whether another attempt is worth it.
//!
//! Pure. The codes are those of OpenAI's reference, of its close frames and of LiveKit's list of errors that are never
//! retried. The server's words are cut short and freed of control characters here, once.

use super::super::engine::{Failure, FailureClass, Loss};
use crate::protocol::excerpt;

/// What an error of the server means: `error`, a failed response.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum ApiError {
    /// The session goes on.
    Request(Failure),
    /// The session is over, or can never begin.
    Session(Loss),
}

/// The requests whose errors are distinguished, by the prefix of their event ids.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Operation {
    /// `session.update`.
    Configure,
    /// `input_audio_buffer.append`.
    Append,
    /// `input_audio_buffer.commit` and `.clear`.
    Input,
    /// `response.create`.
    Respond,
    /// `response.cancel`.
    Cancel,
    /// `conversation.item.truncate`.
    Truncate,
    /// `conversation.item.delete`.
    Delete,
    /// `conversation.item.create`.
    Create,
}

impl Operation {
    const ALL: [(Self, &'static str); 8] = [
        (Self::Configure, "configure"),
        (Self::Append, "append"),
        (Self::Input, "input"),
        (Self::Respond, "respond"),
        (Self::Cancel, "cancel"),
        (Self::Truncate, "truncate"),
        (Self::Delete, "delete"),
        (Self::Create, "create"),
    ];

    /// The event id of the `number`th request.
    pub(super) fn event_id(self, number: u64) -> String {
        let prefix = Self::ALL.iter().find(|(operation, _)| *operation == self).map_or("", |(_, prefix)| prefix);
        format!("{prefix}_{number}")
    }

    /// The request an event id is of.
    pub(super) fn of(event_id: &str) -> Option<Self> {
        let (prefix, _) = event_id.split_once('_')?;
        Self::ALL.iter().find(|(_, known)| *known == prefix).map(|(operation, _)| *operation)
    }
}

/// Never retried: key, account, money, a model or protocol that is not there.
const FATAL: [&str; 14] = [
    "insufficient_quota",
    "credit_balance_exhausted",
    "invalid_api_key",
    "incorrect_api_key",
    "account_deactivated",
    "billing_hard_limit_reached",
    "beta_api_shape_disabled",
    "model_not_found",
    "deployment_not_found",
    "unsupported_country_region_territory",
    "authentication_error",
    "permission_error",
    "permission_denied",
    "mismatched_organization",
];

/// What was asked for is already so.
const HARMLESS: [&str; 2] = ["response_cancel_not_active", "input_audio_buffer_commit_empty"];
/// The session is over.
const SESSION: [&str; 2] = ["session_expired", "session_closed"];
/// A response was asked for while another one was running.
const BUSY: &str = "conversation_already_has_active_response";
/// The same may work later.
const TRANSIENT: [&str; 6] =
    ["rate_limit_exceeded", "server_error", "internal_error", "overloaded_error", "service_unavailable", "timeout"];

/// The error of the server's fields; `event_id` is that of our request, if the server names one.
pub(super) fn api_error(kind: &str, code: &str, message: &str, event_id: &str) -> ApiError {
    let operation = Operation::of(event_id);
    let is = |list: &[&str]| list.contains(&code) || (code.is_empty() && list.contains(&kind));
    let fatal = is(&FATAL) || ["authentication_error", "permission_error", "insufficient_quota"].contains(&kind);
    let words = (excerpt(if code.is_empty() { kind } else { code }), long_excerpt(message));
    let harmless =
        is(&HARMLESS) || matches!(operation, Some(Operation::Cancel | Operation::Truncate | Operation::Delete));
    let class = if fatal {
        return session_error(true, words);
    } else if harmless {
        // What was to be cancelled, cut or deleted is gone already, or was never there.
        FailureClass::Harmless
    } else if is(&SESSION) {
        return session_error(false, words);
    } else if is(&TRANSIENT) || TRANSIENT.contains(&kind) {
        FailureClass::Transient
    } else if operation == Some(Operation::Configure) {
        // The same profile will be refused again.
        return session_error(true, words);
    } else if code == BUSY {
        FailureClass::Busy
    } else {
        FailureClass::Permanent
    };
    let (code, message) = words;
    let refuses_response = operation == Some(Operation::Respond);
    ApiError::Request(Failure { class, refuses_response, code, message })
}

fn session_error(fatal: bool, (code, message): (String, String)) -> ApiError {
    ApiError::Session(Loss { fatal, code, message })
}

/// The loss that a failed attempt to connect is.
pub(super) fn refused(status: Option<u16>, message: &str) -> Loss {
    let fatal = match status {
        // Time-out, conflict, too early, too many requests, and what the server has to repair.
        Some(408 | 409 | 425 | 429 | 500..) | None => false,
        Some(400..=499) => true,
        // Redirections and the like: this is no Realtime endpoint.
        Some(_) => true,
    };
    let code = status.map_or_else(|| "connect".to_owned(), |status| status.to_string());
    Loss { fatal, code, message: long_excerpt(message) }
}

/// The loss that a closed connection is.
pub(super) fn closed(code: u16, reason: &str) -> Loss {
    // Close frames carry the error as `type.code`.
    let named = reason.rsplit('.').next().is_some_and(|last| FATAL.contains(&last)) || FATAL.contains(&reason);
    // 1000 alone says nothing: services end a session so at its limit, for maintenance, for idleness, and the caller is still
    // there. 1002…1010: it takes this client for broken. 4000: the protocol is refused.
    let fatal = named || matches!(code, 1002 | 1003 | 1007 | 1008 | 1010 | 4000);
    let words = if reason.is_empty() { "the service closed the connection" } else { reason };
    Loss { fatal, code: code.to_string(), message: long_excerpt(words) }
}

/// At most 256 characters of the server's words, fit for a log line.
fn long_excerpt(text: &str) -> String {
    const MOST: usize = 256;
    let mut short: String = text.chars().take(MOST).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(MOST).is_some() {
        short.push('…');
    }
    redact(short)
}

/// Keys the server quotes back (`Incorrect API key provided: sk-…`) do not belong into the log.
fn redact(text: String) -> String {
    if !text.contains("sk-") {
        return text;
    }
    text.split(' ').map(|word| if word.contains("sk-") { "***" } else { word }).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What an error means, in a word.
    fn class(kind: &str, code: &str, event_id: &str) -> &'static str {
        match api_error(kind, code, "", event_id) {
            ApiError::Session(Loss { fatal: true, .. }) => "fatal",
            ApiError::Session(_) => "session",
            ApiError::Request(Failure { class, .. }) => match class {
                FailureClass::Harmless => "harmless",
                FailureClass::Busy => "busy",
                FailureClass::Transient => "transient",
                FailureClass::Permanent => "request",
            },
        }
    }

    #[test]
    fn errors_are_distinguished_by_what_to_do_next() {
        for code in ["insufficient_quota", "invalid_api_key", "account_deactivated", "beta_api_shape_disabled"] {
            assert_eq!(class("invalid_request_error", code, ""), "fatal", "{code}");
        }
        assert_eq!(class("insufficient_quota", "", ""), "fatal");
        assert_eq!(class("authentication_error", "whatever", ""), "fatal");
        assert_eq!(class("invalid_request_error", "response_cancel_not_active", ""), "harmless");
        assert_eq!(class("invalid_request_error", "invalid_value", "truncate_7"), "harmless");
        assert_eq!(class("invalid_request_error", "invalid_value", "configure_1"), "fatal");
        assert_eq!(class("server_error", "", "configure_1"), "transient");
        assert_eq!(class("invalid_request_error", "invalid_value", "create_2"), "request");
        assert_eq!(class("invalid_request_error", "session_expired", ""), "session");
        assert_eq!(class("requests", "rate_limit_exceeded", "respond_2"), "transient");
        assert_eq!(class("something_new", "", "their-own"), "request");
        assert_eq!(class("invalid_request_error", "conversation_already_has_active_response", "respond_3"), "busy");
    }

    #[test]
    fn every_request_is_known_again_by_its_event_id() {
        for (operation, _) in Operation::ALL {
            assert_eq!(Operation::of(&operation.event_id(42)), Some(operation));
        }
        assert_eq!(Operation::of("event_1"), None);
        assert_eq!(Operation::of(""), None);
    }

    #[test]
    fn a_refusal_is_final_where_another_attempt_would_be_the_same() {
        for status in [301, 400, 401, 402, 403, 404, 426] {
            assert!(refused(Some(status), "").fatal, "{status}");
        }
        for status in [Some(408), Some(429), Some(500), Some(502), Some(503), None] {
            assert!(!refused(status, "").fatal, "{status:?}");
        }
    }

    #[test]
    fn closes_are_final_where_another_attempt_would_be_the_same() {
        for (code, reason) in [
            (4000, ""),
            (3000, "invalid_request_error.invalid_api_key"),
            (1000, "insufficient_quota"),
            (1011, "invalid_request_error.model_not_found"),
            (1008, "policy"),
        ] {
            assert!(closed(code, reason).fatal, "{code} {reason}");
        }
        for (code, reason) in [
            (1000, ""),
            (1000, "session ended"),
            (1001, "Your session hit the maximum duration of 60 minutes."),
            (1006, ""),
            (1011, "keepalive ping timeout"),
            (1012, ""),
            (1013, ""),
        ] {
            assert!(!closed(code, reason).fatal, "{code} {reason}");
        }
    }

    #[test]
    fn a_key_in_the_services_words_is_not_repeated() {
        let error = api_error("invalid_request_error", "invalid_api_key", "Incorrect key: sk-abc123. See\r\nx", "");
        assert!(matches!(error, ApiError::Session(Loss { message, .. }) if message == "Incorrect key: *** See  x"));
    }
}
