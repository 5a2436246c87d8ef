//! What a server calls a request of ours: the id that its operators look for in their logs.
//!
//! Pure. It is text of the server's: taken only if it is short and printable.

use http::HeaderMap;

/// Headers in which services give it: OpenAI and most others, Azure, ElevenLabs, Deepgram.
const NAMES: [&str; 5] = ["x-request-id", "apim-request-id", "x-ms-request-id", "request-id", "dg-request-id"];
/// Longest id.
const MOST: usize = 128;

/// The id in the headers of an answer, if there is one.
pub(super) fn request_id(headers: &HeaderMap) -> Option<String> {
    let usable = |id: &&str| (1..=MOST).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic());
    NAMES.iter().find_map(|name| headers.get(*name)?.to_str().ok().filter(usable).map(str::to_owned))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_request_id_is_short_and_printable() {
        let id = |name: &'static str, value: &str| {
            request_id(&HeaderMap::from_iter([(name.parse().unwrap(), value.parse().unwrap())]))
        };
        assert_eq!(id("x-request-id", "req_1").as_deref(), Some("req_1"));
        assert_eq!(id("dg-request-id", "2479c8c8-8185").as_deref(), Some("2479c8c8-8185"));
        for (name, value) in
            [("x-request-id", ""), ("x-request-id", "a b"), ("x-request-id", &"x".repeat(129)), ("x-id", "1")]
        {
            assert_eq!(id(name, value), None, "{name}: {value}");
        }
    }
}
