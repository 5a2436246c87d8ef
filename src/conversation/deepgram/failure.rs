//! What errors and warnings of the service mean.
//!
//! Pure. The codes are those of the vendor's documentation. An error ends the session; a warning does not.

use super::super::engine::{Failure, FailureClass, Loss, Refuses};
use super::super::loss::long_excerpt;
use crate::protocol::excerpt;

/// The same settings would be refused again.
const OF_SETTINGS: [&str; 2] = ["INVALID_SETTINGS", "UNPARSABLE_CLIENT_MESSAGE"];
/// Nothing helps but another configuration.
const FATAL: [&str; 5] = [
    "INVALID_AGENT_ID",
    "AGENT_ID_NOT_SUPPORTED",
    "USER_AUDIO_FORMAT",
    "NON_SETTINGS_MESSAGE_BEFORE_SETTINGS",
    "SETTINGS_ALREADY_APPLIED",
];
/// The session is about to reach its longest duration.
pub(super) const ENDS_SOON: &str = "MAXIMUM_SESSION_LENGTH_APPROACHING";
/// Words of ours are not said, since somebody speaks.
const NOT_SAID: &str = "INJECT_AGENT_MESSAGE_DURING_";
/// The recognition cannot end a turn at our word.
const NOT_ENDED: &str = "FORCE_END_TURN_UNSUPPORTED";

/// What an error means; `configured`: the session has its settings.
pub(super) fn error(code: &str, description: &str, configured: bool) -> Loss {
    let fatal = FATAL.contains(&code) || (!configured && OF_SETTINGS.contains(&code));
    let code = if code.is_empty() { "error".to_owned() } else { excerpt(code) };
    let words = if description.is_empty() { "the service gave no details" } else { description };
    Loss { fatal, code, message: long_excerpt(words) }
}

/// Whether a warning says that words of ours are not said.
pub(super) fn is_refusal(code: &str) -> bool {
    code.starts_with(NOT_SAID)
}

/// What any other warning means. The service tries again or does without it by itself, so an event is enough.
pub(super) fn warning(code: &str, description: &str) -> Failure {
    let (class, refuses) = match code {
        NOT_ENDED => (FailureClass::Permanent, Refuses::Commit),
        code if code.starts_with("SLOW_") || code.ends_with("_FAILED") => (FailureClass::Transient, Refuses::Nothing),
        _ => (FailureClass::Permanent, Refuses::Nothing),
    };
    let message = long_excerpt(if description.is_empty() { "the service warns" } else { description });
    Failure { class, refuses, retry_after: None, code: excerpt(code), message }
}

/// Words of ours are not said now.
pub(super) fn refusal(request: u64, message: &str) -> Failure {
    let refuses = Refuses::Response(Some(request));
    let message = long_excerpt(message);
    Failure { class: FailureClass::Busy, refuses, retry_after: None, code: "injection_refused".to_owned(), message }
}

/// A request of ours needs nothing to be done, or cannot be met.
pub(super) fn harmless(refuses: Refuses, code: &str, message: &str) -> Failure {
    let (code, message) = (code.to_owned(), message.to_owned());
    Failure { class: FailureClass::Harmless, refuses, retry_after: None, code, message }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_final_where_the_same_settings_would_fail_again() {
        for (code, configured, fatal) in [
            ("INVALID_SETTINGS", false, true),
            ("INVALID_SETTINGS", true, false),
            ("UNPARSABLE_CLIENT_MESSAGE", false, true),
            ("UNPARSABLE_CLIENT_MESSAGE", true, false),
            ("INVALID_AGENT_ID", false, true),
            ("USER_AUDIO_FORMAT", true, true),
            ("FAILED_TO_THINK", true, false),
            ("CLIENT_MESSAGE_TIMEOUT", true, false),
            ("SERVER_GOING_AWAY", true, false),
            ("MAXIMUM_SESSION_LENGTH_REACHED", true, false),
            ("SOMETHING_NEW", false, false),
        ] {
            assert_eq!(error(code, "", configured).fatal, fatal, "{code} {configured}");
        }
        let loss = error("", "Bad key sk-abc.\r\nNo", true);
        assert_eq!((loss.code.as_str(), loss.message.as_str()), ("error", "Bad key ***  No"));
    }

    #[test]
    fn a_warning_is_told_and_says_what_is_refused() {
        let warned = |code| (warning(code, "").class, warning(code, "").refuses);
        assert_eq!(warned("SLOW_THINK_REQUEST"), (FailureClass::Transient, Refuses::Nothing));
        assert_eq!(warned("THINK_REQUEST_FAILED"), (FailureClass::Transient, Refuses::Nothing));
        assert_eq!(warned("PROMPT_TOO_LONG"), (FailureClass::Permanent, Refuses::Nothing));
        assert_eq!(warned("FORCE_END_TURN_UNSUPPORTED"), (FailureClass::Permanent, Refuses::Commit));
        assert!(is_refusal("INJECT_AGENT_MESSAGE_DURING_USER_SPEECH") && !is_refusal("PROMPT_TOO_LONG"));
    }
}
