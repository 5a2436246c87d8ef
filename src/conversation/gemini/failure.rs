//! What went wrong, and whether another attempt is worth it.
//!
//! Pure. Codes of closes: 1007 is a message that the service takes for wrong, or an exhausted context; 1008 a model or a key that
//! it does not know; 1011 is its own trouble.

use super::super::engine::{Failure, FailureClass, Loss, Outcome, Refuses};
use super::super::loss;
use crate::protocol::excerpt;

/// Words of the service that another attempt would meet again.
const FATAL: [&str; 5] =
    ["API key not valid", "API_KEY_INVALID", "PERMISSION_DENIED", "UNAUTHENTICATED", "is not found for API version"];

/// The loss that a closed connection is, and what to look at.
pub(super) fn closed(code: u16, reason: &str) -> Loss {
    let mut loss = loss::closed(code, reason, FATAL.iter().any(|words| reason.contains(words)));
    let advice = match code {
        1007 => "; the service takes a message for wrong, or the talk is too long: check gemini_model and gemini_setup",
        1008 => "; check gemini_model, gemini_api_key and what the key may use",
        _ => "",
    };
    loss.message.push_str(advice);
    loss
}

/// The loss that an error in place of an answer is.
pub(super) fn told(status: Option<u64>, name: &str, message: &str) -> Loss {
    let status = status.and_then(|status| u16::try_from(status).ok());
    let fatal = loss::refused(status, "").fatal || FATAL.contains(&name);
    let code = if name.is_empty() { status.unwrap_or_default().to_string() } else { excerpt(name) };
    Loss { fatal, code, message: loss::long_excerpt(message) }
}

/// How a turn of the model ended, by the reason that the service gives; mostly it gives none.
pub(super) fn outcome(reason: &str) -> Outcome {
    match reason {
        "" | "TURN_COMPLETE_REASON_UNSPECIFIED" | "NEED_MORE_INPUT" => Outcome::Completed,
        "MALFORMED_FUNCTION_CALL" => Outcome::Failed(Failure {
            class: FailureClass::Transient,
            refuses: Refuses::Nothing,
            retry_after: None,
            code: "malformed_function_call".to_owned(),
            message: "the model called a function in a form that the service does not understand".to_owned(),
        }),
        reason => Outcome::Incomplete(excerpt(&reason.to_lowercase())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closes_are_final_where_another_attempt_would_be_the_same() {
        for (code, reason) in [
            (1007, "Request contains an invalid argument."),
            (1007, "API key not valid. Please pass a valid API key."),
            (1008, "models/x is not found for API version v1beta"),
            (1011, "PERMISSION_DENIED"),
            (1002, ""),
        ] {
            assert!(closed(code, reason).fatal, "{code} {reason}");
        }
        for (code, reason) in [
            (1000, ""),
            (1001, ""),
            (1006, ""),
            (1011, "Internal error encountered."),
            (1011, "Resource has been exhausted (e.g. check quota)."),
            (1012, ""),
            (1013, ""),
        ] {
            assert!(!closed(code, reason).fatal, "{code} {reason}");
        }
        assert!(closed(1008, "x").message.ends_with("check gemini_model, gemini_api_key and what the key may use"));
        let message = closed(1007, "The key AIzaSyFake is wrong.").message;
        assert!(message.starts_with("The key *** is wrong.; "), "{message}");
    }

    #[test]
    fn an_error_in_place_of_an_answer_has_its_status() {
        assert!(told(Some(403), "PERMISSION_DENIED", "no").fatal);
        let busy = told(Some(503), "UNAVAILABLE", "The model is overloaded.");
        assert_eq!((busy.fatal, busy.code.as_str()), (false, "UNAVAILABLE"));
        assert_eq!(told(None, "", "").code, "0");
    }

    #[test]
    fn a_turn_ends_as_its_reason_says() {
        assert_eq!(outcome(""), Outcome::Completed);
        assert_eq!(outcome("NEED_MORE_INPUT"), Outcome::Completed);
        assert_eq!(outcome("RESPONSE_REJECTED"), Outcome::Incomplete("response_rejected".to_owned()));
        assert!(matches!(outcome("MALFORMED_FUNCTION_CALL"), Outcome::Failed(_)));
    }
}
