//! What a connection that failed or ended means for the next attempt, and a service's words in the form for a log line.
//!
//! Pure; what all services have in common.

use super::engine::Loss;

/// The loss that a failed attempt to connect is.
pub(super) fn refused(status: Option<u16>, message: &str) -> Loss {
    let fatal = match status {
        // Time-out, conflict, too early, too many requests, and what the server has to repair.
        Some(408 | 409 | 425 | 429 | 500..) | None => false,
        Some(400..=499) => true,
        // Redirections and the like: there is no such service there.
        Some(_) => true,
    };
    let code = status.map_or_else(|| "connect".to_owned(), |status| status.to_string());
    Loss { fatal, code, message: long_excerpt(message) }
}

/// The loss that a closed connection is; `named`: its reason names something that another attempt would meet again.
pub(super) fn closed(code: u16, reason: &str, named: bool) -> Loss {
    // 1000 alone says nothing: services end a session so at its limit, for maintenance, for idleness, and the caller is still
    // there. 1002…1010: it takes this client for broken. 4000: the protocol is refused.
    let fatal = named || matches!(code, 1002 | 1003 | 1007 | 1008 | 1010 | 4000);
    let words = if reason.is_empty() { "the service closed the connection" } else { reason };
    Loss { fatal, code: code.to_string(), message: long_excerpt(words) }
}

/// At most 256 characters of the server's words, fit for a log line.
pub(super) fn long_excerpt(text: &str) -> String {
    const MOST: usize = 256;
    let mut short: String = text.chars().take(MOST).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(MOST).is_some() {
        short.push('…');
    }
    redact(short)
}

/// How keys begin that services quote back.
const KEYS: [&str; 2] = ["sk-", "AIza"];

/// Keys the server quotes back (`Incorrect API key provided: sk-…`) do not belong into the log.
fn redact(text: String) -> String {
    let has_key = |text: &str| KEYS.iter().any(|key| text.contains(key));
    if !has_key(&text) {
        return text;
    }
    text.split(' ').map(|word| if has_key(word) { "***" } else { word }).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn no_key_of_a_service_is_repeated() {
        assert_eq!(long_excerpt("the key AIzaSyX is no key\n"), "the key *** is no key ");
        assert_eq!(long_excerpt("Incorrect: sk-abc."), "Incorrect: ***");
        assert_eq!(long_excerpt(&"x".repeat(300)).chars().count(), 257);
    }
}
