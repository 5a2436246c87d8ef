//! What refusals and closes of the service mean.
//!
//! Pure. The service's words are cut short and freed of control characters.

use super::super::engine::Loss;
use super::super::loss;
use super::super::ticket::words_of;

/// What the end of a connection is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum End {
    /// The service has ended the call as it is meant to.
    Ended(String),
    /// The connection is of no use any more.
    Lost(Loss),
}

/// A call that was not created.
pub(super) fn not_created(status: u16, body: &[u8]) -> Loss {
    let check = match status {
        401 | 403 => "; check ultravox_api_key and what the key may use",
        402 => "; check the account",
        400 | 404 | 422 => "; check ultravox_agent, ultravox_model, voice, ultravox_call and ultravox_base_url",
        _ => "",
    };
    loss::refused(Some(status), &format!("the call was not created: HTTP {status}: {}{check}", words_of(body)))
}

/// A call that could not be joined: the next attempt creates another.
pub(super) fn not_joined(status: Option<u16>, message: &str) -> Loss {
    Loss { fatal: false, ..loss::refused(status, message) }
}

/// A closed connection. The service closes with 1000 when its agent hangs up, and at the end of a call.
pub(super) fn of_close(code: u16, reason: &str) -> End {
    if code == 1_000 {
        return End::Ended(loss::long_excerpt(reason));
    }
    End::Lost(loss::closed(code, reason, false))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_the_options_to_look_at() {
        let refused = |status| not_created(status, br#"{"detail":"No."}"#);
        for (status, option) in
            [(401, "ultravox_api_key"), (402, "account"), (404, "ultravox_agent"), (400, "ultravox_call")]
        {
            let Loss { fatal, message, .. } = refused(status);
            assert!(
                fatal && message.starts_with("the call was not created: HTTP 4") && message.contains(option),
                "{message}"
            );
        }
        assert!(!refused(429).fatal && !refused(503).fatal);
        assert!(!not_joined(Some(404), "gone").fatal, "another call can be joined");
    }

    #[test]
    fn a_normal_close_ends_the_conversation() {
        assert_eq!(of_close(1_000, "agent hangup"), End::Ended("agent hangup".to_owned()));
        for code in [1_001, 1_006, 1_011] {
            assert!(matches!(of_close(code, ""), End::Lost(Loss { fatal: false, .. })), "{code}");
        }
        assert!(matches!(of_close(1_008, "no"), End::Lost(Loss { fatal: true, .. })));
    }
}
