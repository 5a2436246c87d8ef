//! What went wrong, and whether another attempt is worth it.
//!
//! Pure. The codes are those of OpenAI's reference, of its close frames and of LiveKit's list of errors that are never
//! retried. The server's words are cut short and freed of control characters here, once.

use std::time::Duration;

use super::super::engine::{Failure, FailureClass, Loss, Refuses};
use super::super::loss::{self, long_excerpt};
use crate::protocol::excerpt;

/// What an error of the server means: `error`, a failed response.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::conversation) enum ApiError {
    /// The session goes on.
    Request(Failure),
    /// The session is over, or can never begin.
    Session(Loss),
}

/// The requests whose errors are distinguished, by the prefix of their event ids.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::conversation) enum Operation {
    /// `session.update` at the beginning of a session.
    Configure,
    /// `session.update` in the middle of one.
    Change,
    /// `input_audio_buffer.append`.
    Append,
    /// `input_audio_buffer.clear`.
    Clear,
    /// `input_audio_buffer.commit`.
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
    const ALL: [(Self, &'static str); 10] = [
        (Self::Configure, "configure"),
        (Self::Change, "change"),
        (Self::Append, "append"),
        (Self::Clear, "clear"),
        (Self::Input, "input"),
        (Self::Respond, "respond"),
        (Self::Cancel, "cancel"),
        (Self::Truncate, "truncate"),
        (Self::Delete, "delete"),
        (Self::Create, "create"),
    ];

    /// The event id of the `number`th request.
    pub(in crate::conversation) fn event_id(self, number: u64) -> String {
        let prefix = Self::ALL.iter().find(|(operation, _)| *operation == self).map_or("", |(_, prefix)| prefix);
        format!("{prefix}_{number}")
    }

    /// The request an event id is of, and its number.
    pub(in crate::conversation) fn of(event_id: &str) -> Option<(Self, u64)> {
        let (prefix, number) = event_id.split_once('_')?;
        let operation = Self::ALL.iter().find(|(_, known)| *known == prefix).map(|(operation, _)| *operation)?;
        Some((operation, number.parse().ok()?))
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
const HARMLESS: [&str; 3] = ["response_cancel_not_active", "item_already_truncated", EMPTY];
/// There is less audio than makes a turn.
const EMPTY: &str = "input_audio_buffer_commit_empty";
/// The session is over.
const SESSION: [&str; 2] = ["session_expired", "session_closed"];
/// A response was asked for while another one was running.
const BUSY: &str = "conversation_already_has_active_response";
/// The same may work later.
const TRANSIENT: [&str; 6] =
    ["rate_limit_exceeded", "server_error", "internal_error", "overloaded_error", "service_unavailable", "timeout"];

/// The error of the server's fields; `event_id` is that of our request, if the server names one.
pub(in crate::conversation) fn api_error(kind: &str, code: &str, message: &str, event_id: &str) -> ApiError {
    let (operation, number) = Operation::of(event_id).unzip();
    let is = |list: &[&str]| list.contains(&code) || (code.is_empty() && list.contains(&kind));
    let fatal = is(&FATAL) || ["authentication_error", "permission_error", "insufficient_quota"].contains(&kind);
    let words = (excerpt(if code.is_empty() { kind } else { code }), long_excerpt(message));
    let harmless = is(&HARMLESS)
        || matches!(operation, Some(Operation::Cancel | Operation::Truncate | Operation::Delete | Operation::Clear));
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
    let refuses = match operation {
        Some(Operation::Respond) => Refuses::Response(number),
        Some(Operation::Input) => Refuses::Commit,
        None if code == BUSY => Refuses::Response(None),
        None if code == EMPTY => Refuses::Commit,
        _ => Refuses::Nothing,
    };
    let retry_after = (class == FailureClass::Transient).then(|| stated_delay(message)).flatten();
    let (code, message) = words;
    ApiError::Request(Failure { class, refuses, retry_after, code, message })
}

/// The delay that a message names, as `Please try again in 1.2s`, `in 350ms`, `in 1m2.5s`, `in 20 seconds`; at most an hour.
fn stated_delay(message: &str) -> Option<Duration> {
    let mut rest = message.split_once("try again in ")?.1;
    let mut seconds: Option<f64> = None;
    loop {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let Ok(number) = rest[..digits].parse::<f64>() else { break };
        rest = rest[digits..].trim_start();
        let letters = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
        let unit = match &rest[..letters] {
            "ms" | "millisecond" | "milliseconds" => 0.001,
            "s" | "sec" | "second" | "seconds" => 1.0,
            "m" | "min" | "minute" | "minutes" => 60.0,
            _ => break,
        };
        seconds = Some(seconds.unwrap_or_default() + number * unit);
        rest = &rest[letters..];
    }
    Duration::try_from_secs_f64(seconds?.min(3_600.0)).ok()
}

fn session_error(fatal: bool, (code, message): (String, String)) -> ApiError {
    ApiError::Session(Loss { fatal, code, message })
}

/// The loss that a closed connection is.
pub(in crate::conversation) fn closed(code: u16, reason: &str) -> Loss {
    // Close frames carry the error as `type.code`.
    let named = reason.rsplit('.').next().is_some_and(|last| FATAL.contains(&last)) || FATAL.contains(&reason);
    loss::closed(code, reason, named)
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
            assert_eq!(Operation::of(&operation.event_id(42)), Some((operation, 42)));
        }
        assert_eq!(Operation::of("event_1"), None);
        assert_eq!(Operation::of("respond_x"), None);
        assert_eq!(Operation::of(""), None);
    }

    #[test]
    fn an_error_tells_what_of_ours_is_refused() {
        let refuses = |code, event_id| match api_error("invalid_request_error", code, "", event_id) {
            ApiError::Request(failure) => Some(failure.refuses),
            ApiError::Session(_) => None,
        };
        assert_eq!(refuses(BUSY, "respond_7"), Some(Refuses::Response(Some(7))));
        assert_eq!(refuses(BUSY, ""), Some(Refuses::Response(None)), "a service may not name the request");
        assert_eq!(refuses("invalid_value", "respond_7"), Some(Refuses::Response(Some(7))));
        assert_eq!(refuses(EMPTY, ""), Some(Refuses::Commit));
        assert_eq!(refuses("invalid_value", "input_3"), Some(Refuses::Commit));
        assert_eq!(refuses("invalid_value", "create_3"), Some(Refuses::Nothing));
    }

    #[test]
    fn the_delay_that_a_service_states_is_read() {
        let ms = |message| stated_delay(message).map(|delay| delay.as_millis());
        assert_eq!(ms("Limit 30000, Used 30000. Please try again in 1.2s. Visit https://x.io"), Some(1_200));
        assert_eq!(ms("Please try again in 350ms."), Some(350));
        assert_eq!(ms("try again in 1m2.5s"), Some(62_500));
        assert_eq!(ms("Please try again in 20 seconds."), Some(20_000));
        assert_eq!(ms("try again in 999999999999999999999999m"), Some(3_600_000));
        for other in ["", "try again later", "try again in a while", "try again in 5", "try again in .s"] {
            assert_eq!(ms(other), None, "{other}");
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
