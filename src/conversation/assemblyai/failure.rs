//! What the errors of the service mean.
//!
//! Pure. The codes are those of the vendor's documentation.

use super::super::engine::{Failure, FailureClass, Loss, Refuses};
use super::super::loss::long_excerpt;
use crate::protocol::excerpt;

/// Nothing helps but another key.
const OF_THE_KEY: [&str; 2] = ["unauthorized", "forbidden"];
/// Nothing helps but another configuration, if the session was to begin with it.
const OF_THE_CONFIGURATION: [&str; 5] =
    ["invalid_format", "invalid_value", "invalid_config", "immutable_field", "agent_not_found"];
/// They end a session that is held, and another one can follow.
const ENDS: [&str; 3] = ["session_expired", "session_not_found", "session_forbidden"];
/// The service itself has failed: the same may work later.
const OF_THE_SERVICE: [&str; 4] = ["server_error", "internal_error", "agent_init_failed", "agent_timeout"];

/// The loss that an error is; `None` where a session that is held goes on. `held`: it is held.
pub(super) fn loss(code: &str, message: &str, held: bool) -> Option<Loss> {
    let known = code.to_ascii_lowercase();
    let is_of = |codes: &[&str]| codes.contains(&known.as_str());
    let of_the_key = is_of_the_key(code);
    if held && !of_the_key && !is_of(&ENDS) {
        return None;
    }
    let fatal = of_the_key || (!held && is_of(&OF_THE_CONFIGURATION));
    let advice = if of_the_key { "; check assemblyai_api_key" } else { "" };
    Some(Loss { fatal, code: named(code), message: format!("{}{advice}", words(message)) })
}

/// Whether nothing helps but another key.
pub(super) fn is_of_the_key(code: &str) -> bool {
    OF_THE_KEY.contains(&code.to_ascii_lowercase().as_str())
}

/// Whether a change of the session may be what is refused.
pub(super) fn is_of_a_change(code: &str) -> bool {
    code != "invalid_audio"
}

/// What an error in a session that goes on is to the operator and the agent.
pub(super) fn failure(code: &str, message: &str, refuses: Refuses) -> Failure {
    let transient = OF_THE_SERVICE.contains(&code.to_ascii_lowercase().as_str());
    let class = if transient { FailureClass::Transient } else { FailureClass::Permanent };
    Failure { class, refuses, retry_after: None, code: named(code), message: words(message) }
}

/// The caller speaks: what was asked for is not said now.
pub(super) fn interrupted(request: u64) -> Failure {
    let refuses = Refuses::Response(Some(request));
    let (code, message) = ("interrupted".to_owned(), "the caller speaks".to_owned());
    Failure { class: FailureClass::Busy, refuses, retry_after: None, code, message }
}

fn named(code: &str) -> String {
    if code.is_empty() { "session.error".to_owned() } else { excerpt(code) }
}

fn words(message: &str) -> String {
    long_excerpt(if message.is_empty() { "the service gave no details" } else { message })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_final_where_the_same_session_would_fail_again() {
        for (code, held, fatal) in [
            ("UNAUTHORIZED", false, Some(true)),
            ("FORBIDDEN", true, Some(true)),
            ("invalid_value", false, Some(true)),
            ("invalid_value", true, None),
            ("immutable_field", true, None),
            ("invalid_audio", true, None),
            ("server_error", false, Some(false)),
            ("server_error", true, None),
            ("INTERNAL_ERROR", false, Some(false)),
            ("agent_timeout", false, Some(false)),
            ("session_expired", true, Some(false)),
            ("session_not_found", false, Some(false)),
            ("something_new", false, Some(false)),
        ] {
            assert_eq!(loss(code, "", held).map(|loss| loss.fatal), fatal, "{code} {held}");
        }
        let refused = loss("UNAUTHORIZED", "Bad key sk-abc.\nNo", false).unwrap_or_else(|| unreachable!());
        assert_eq!(refused.message, "Bad key *** No; check assemblyai_api_key");
    }

    #[test]
    fn the_service_may_do_later_what_it_could_not_now() {
        assert_eq!(failure("server_error", "", Refuses::Nothing).class, FailureClass::Transient);
        let refused = failure("", "", Refuses::Response(None));
        assert_eq!((refused.class, refused.code.as_str()), (FailureClass::Permanent, "session.error"));
    }
}
