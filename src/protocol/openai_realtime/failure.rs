//! What went wrong, and whether another attempt is worth it.
//!
//! Pure. Codes as OpenAI's reference, its close frames and LiveKit's list of what is never retried have them; the
//! far end's words are cut short and freed of control characters here, once.

use super::super::excerpt;

/// What the far end says of an error: `error`, a failed response, a close frame.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ApiError {
    /// What it means for the session.
    pub class: ErrorClass,
    /// The far end's code or, where it has none, its type; may be empty.
    pub code: String,
    /// The far end's words.
    pub message: String,
    /// Which of our requests it answers.
    pub operation: Option<Operation>,
}

/// What an error means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ErrorClass {
    /// Of no consequence: what was asked for is already so. Not to be shown as a failure.
    Harmless,
    /// This request failed; the session goes on.
    Request,
    /// The far end is busy or limits us; the session goes on, the same may work later.
    Transient,
    /// The session is over; a new one may work.
    Session,
    /// No attempt can work until the configuration or the account changes.
    Fatal,
}

/// The requests whose errors are told apart, by the prefix of their event ids.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Operation {
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

/// Why a connection is of no more use.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Loss {
    /// No attempt can work until the configuration or the account changes: do not retry.
    pub fatal: bool,
    /// HTTP status, WebSocket close code or the far end's own code.
    pub code: String,
    /// In words for the operator.
    pub message: String,
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
/// Later perhaps.
const TRANSIENT: [&str; 6] =
    ["rate_limit_exceeded", "server_error", "internal_error", "overloaded_error", "service_unavailable", "timeout"];

impl ApiError {
    /// Of the far end's fields; `event_id` is that of our request, if it names one.
    pub(super) fn new(kind: &str, code: &str, message: &str, event_id: &str) -> Self {
        let operation = Operation::of(event_id);
        let is = |list: &[&str]| list.contains(&code) || (code.is_empty() && list.contains(&kind));
        let class = if is(&FATAL) || ["authentication_error", "permission_error", "insufficient_quota"].contains(&kind)
        {
            ErrorClass::Fatal
        } else if is(&HARMLESS)
            || matches!(operation, Some(Operation::Cancel | Operation::Truncate | Operation::Delete))
        {
            // What was to be cancelled, cut or deleted is gone already, or was never there.
            ErrorClass::Harmless
        } else if is(&SESSION) {
            ErrorClass::Session
        } else if is(&TRANSIENT) || TRANSIENT.contains(&kind) {
            ErrorClass::Transient
        } else if operation == Some(Operation::Configure) {
            // The same profile will be refused again.
            ErrorClass::Fatal
        } else {
            ErrorClass::Request
        };
        let code = if code.is_empty() { kind } else { code };
        Self { class, code: excerpt(code), message: long_excerpt(message), operation }
    }

    /// The loss this error is.
    pub(super) fn into_loss(self) -> Loss {
        Loss { fatal: self.class == ErrorClass::Fatal, code: self.code, message: self.message }
    }
}

impl Loss {
    /// Of a connection attempt that failed.
    pub(super) fn refused(status: Option<u16>, message: &str) -> Self {
        let fatal = match status {
            // Time-out, conflict, too early, too many requests, and what the server has to repair.
            Some(408 | 409 | 425 | 429 | 500..) | None => false,
            Some(400..=499) => true,
            // Redirections and the like: this is no Realtime endpoint.
            Some(_) => true,
        };
        let code = status.map_or_else(|| "connect".to_owned(), |status| status.to_string());
        Self { fatal, code, message: long_excerpt(message) }
    }

    /// Of a connection that was closed.
    pub(super) fn closed(code: u16, reason: &str) -> Self {
        // Close frames carry the error as `type.code`.
        let named = reason.rsplit('.').next().is_some_and(|last| FATAL.contains(&last)) || FATAL.contains(&reason);
        // 1000: the far end wanted it so. 1002…1010: it takes this client for broken. 4000: the protocol is refused.
        let fatal = named || matches!(code, 1000 | 1002 | 1003 | 1007 | 1008 | 1010 | 4000);
        let words = if reason.is_empty() { "the far end closed the connection" } else { reason };
        Self { fatal, code: code.to_string(), message: long_excerpt(words) }
    }
}

/// At most 256 characters of the far end's words, fit for a log line.
fn long_excerpt(text: &str) -> String {
    const MOST: usize = 256;
    let mut short: String = text.chars().take(MOST).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(MOST).is_some() {
        short.push('…');
    }
    redact(short)
}

/// Keys the far end quotes back (`Incorrect API key provided: sk-…`) are not for the log.
fn redact(text: String) -> String {
    if !text.contains("sk-") {
        return text;
    }
    text.split(' ').map(|word| if word.contains("sk-") { "***" } else { word }).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(kind: &str, code: &str, event_id: &str) -> ErrorClass {
        ApiError::new(kind, code, "", event_id).class
    }

    #[test]
    fn errors_are_told_apart_by_what_to_do_next() {
        for code in ["insufficient_quota", "invalid_api_key", "account_deactivated", "beta_api_shape_disabled"] {
            assert_eq!(class("invalid_request_error", code, ""), ErrorClass::Fatal, "{code}");
        }
        assert_eq!(class("insufficient_quota", "", ""), ErrorClass::Fatal);
        assert_eq!(class("authentication_error", "whatever", ""), ErrorClass::Fatal);
        assert_eq!(class("invalid_request_error", "response_cancel_not_active", ""), ErrorClass::Harmless);
        assert_eq!(class("invalid_request_error", "invalid_value", "truncate_7"), ErrorClass::Harmless);
        assert_eq!(class("invalid_request_error", "invalid_value", "configure_1"), ErrorClass::Fatal);
        assert_eq!(class("server_error", "", "configure_1"), ErrorClass::Transient);
        assert_eq!(class("invalid_request_error", "invalid_value", "create_2"), ErrorClass::Request);
        assert_eq!(class("invalid_request_error", "session_expired", ""), ErrorClass::Session);
        assert_eq!(class("requests", "rate_limit_exceeded", "respond_2"), ErrorClass::Transient);
        assert_eq!(class("something_new", "", "their-own"), ErrorClass::Request);
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
    fn refusals_of_the_handshake_are_final_where_another_attempt_would_be_the_same() {
        for status in [301, 400, 401, 402, 403, 404, 426] {
            assert!(Loss::refused(Some(status), "").fatal, "{status}");
        }
        for status in [Some(408), Some(429), Some(500), Some(502), Some(503), None] {
            assert!(!Loss::refused(status, "").fatal, "{status:?}");
        }
    }

    #[test]
    fn closes_are_final_where_another_attempt_would_be_the_same() {
        for (code, reason) in
            [(4000, ""), (3000, "invalid_request_error.invalid_api_key"), (1000, ""), (1008, "policy")]
        {
            assert!(Loss::closed(code, reason).fatal, "{code} {reason}");
        }
        for (code, reason) in [
            (1001, "Your session hit the maximum duration of 60 minutes."),
            (1006, ""),
            (1011, "keepalive ping timeout"),
            (1012, ""),
            (1013, ""),
        ] {
            assert!(!Loss::closed(code, reason).fatal, "{code} {reason}");
        }
    }

    #[test]
    fn a_key_in_the_far_ends_words_is_not_repeated() {
        let error = ApiError::new("invalid_request_error", "invalid_api_key", "Incorrect key: sk-abc123. See\r\nx", "");
        assert_eq!(error.message, "Incorrect key: *** See  x");
    }
}
