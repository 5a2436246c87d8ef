//! Headers that an operator or a provider adds to a request: checked when they are added, bounded, never printed.
//!
//! Pure. Names and values are checked here and nowhere else, both for a stream's `headers` and for what a request is made with.

use std::fmt;

use http::header::{self, HeaderMap, HeaderName, HeaderValue, SEC_WEBSOCKET_PROTOCOL};
use serde::de::{Deserializer, MapAccess, Visitor};

use crate::units::Secret;

/// Most headers of one request.
pub(super) const MAX_HEADERS: usize = 64;
/// Most bytes of their names and values together. Common servers refuse more.
pub(super) const MAX_HEADER_BYTES: usize = 8_192;

/// Headers that the WebSocket client sets itself.
const RESERVED: [HeaderName; 10] = [
    header::HOST,
    header::CONNECTION,
    header::UPGRADE,
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
    header::SEC_WEBSOCKET_KEY,
    header::SEC_WEBSOCKET_VERSION,
    header::SEC_WEBSOCKET_ACCEPT,
    header::SEC_WEBSOCKET_EXTENSIONS,
    header::SEC_WEBSOCKET_PROTOCOL,
];

/// A header that cannot be sent with the handshake.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadHeader {
    /// Not a header name.
    #[error("'{0}' is not a header name")]
    Name(String),
    /// A control character in the value. The value is not shown: it may be a key.
    #[error("the value of header '{0}' has a line break or a control character")]
    Value(String),
    /// A header of the handshake itself.
    #[error("the module sets header '{0}' itself{instead}", instead = if *.0 == SEC_WEBSOCKET_PROTOCOL { "; use the option subprotocol" } else { "" })]
    Reserved(HeaderName),
    /// The same name again.
    #[error("header '{0}' is given twice")]
    Twice(String),
    /// Not a JSON object of strings.
    #[error("give a JSON object of strings (it fails at column {column})")]
    Json {
        /// Where the reader stumbled.
        column: usize,
    },
    /// Too many headers, or too long together.
    #[error("too many headers: give at most {MAX_HEADERS}, and at most {MAX_HEADER_BYTES} bytes in total")]
    TooMany,
}

/// Extra headers of a request. Their values are never printed.
#[derive(Clone, Default)]
pub struct Headers {
    map: HeaderMap,
    bytes: usize,
}

impl Headers {
    /// Adds one header. An equal name replaces.
    ///
    /// Refuses a header that cannot be sent, or one too many. The error names the header and never shows the value.
    pub fn insert(&mut self, name: &str, value: &Secret) -> Result<(), BadHeader> {
        let shown = || name.chars().take(64).map(|c| if c.is_control() { '?' } else { c }).collect::<String>();
        let parsed = HeaderName::from_bytes(name.as_bytes()).map_err(|_| BadHeader::Name(shown()))?;
        if RESERVED.contains(&parsed) {
            return Err(BadHeader::Reserved(parsed));
        }
        let mut value = HeaderValue::from_bytes(value.expose().as_bytes()).map_err(|_| BadHeader::Value(shown()))?;
        value.set_sensitive(true);
        self.bytes += name.len() + value.len();
        if self.map.len() >= MAX_HEADERS || self.bytes > MAX_HEADER_BYTES {
            return Err(BadHeader::TooMany);
        }
        self.map.insert(parsed, value);
        Ok(())
    }

    /// Names and values, for the request that sends them.
    pub(super) const fn map(&self) -> &HeaderMap {
        &self.map
    }

    /// The names, for logs.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.map.keys().map(HeaderName::as_str)
    }
}

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.map.keys()).finish()
    }
}

/// Headers from a JSON object of strings, in its order. Empty text is no headers.
///
/// Refuses what [`Headers::insert`] refuses, and the same name twice. The error never shows a value.
pub fn read_headers(text: &str) -> Result<Vec<(String, Secret)>, BadHeader> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    if text.len() > 2 * MAX_HEADER_BYTES {
        return Err(BadHeader::TooMany);
    }
    // serde_json's own messages quote what they stumble over, which may be a credential: only the place is reported.
    let mut reader = serde_json::Deserializer::from_str(text);
    let pairs = reader
        .deserialize_map(Pairs)
        .and_then(|pairs| reader.end().map(|()| pairs))
        .map_err(|error| BadHeader::Json { column: error.column() })?;
    let mut checked = Headers::default();
    let mut out: Vec<(String, Secret)> = Vec::with_capacity(pairs.len());
    for (name, value) in pairs {
        if out.iter().any(|(other, _)| other.eq_ignore_ascii_case(&name)) {
            return Err(BadHeader::Twice(name));
        }
        let value = Secret::new(value);
        checked.insert(&name, &value)?;
        out.push((name, value));
    }
    Ok(out)
}

/// Collects an object's members in order, duplicates included, which a map would swallow.
struct Pairs;

impl<'de> Visitor<'de> for Pairs {
    type Value = Vec<(String, String)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of strings")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut pairs = Vec::new();
        while let Some(pair) = map.next_entry()? {
            pairs.push(pair);
        }
        Ok(pairs)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_checked_when_added_and_hidden() {
        let mut headers = Headers::default();
        headers.insert("X-Api-Key", &Secret::new("s3cr3t")).unwrap();
        headers.insert("x-name", &Secret::new("Müller")).unwrap();
        assert!(!format!("{headers:?}").contains("s3cr3t"));
        assert_eq!(headers.names().collect::<Vec<_>>(), ["x-api-key", "x-name"]);
        let refused = |name: &str, value: &str| Headers::default().insert(name, &Secret::new(value)).unwrap_err();
        assert_eq!(refused("a b", "x"), BadHeader::Name("a b".into()));
        assert_eq!(refused("", "x"), BadHeader::Name(String::new()));
        assert_eq!(refused("x\r\ny", "x"), BadHeader::Name("x??y".into()));
        assert_eq!(refused("x", "a\r\nEvil: 1"), BadHeader::Value("x".into()));
        assert_eq!(refused("Sec-WebSocket-Key", "x"), BadHeader::Reserved(header::SEC_WEBSOCKET_KEY));
        assert_eq!(refused("host", "x"), BadHeader::Reserved(header::HOST));
    }

    #[test]
    fn one_limit_holds_for_the_option_and_the_request() {
        let value = "y".repeat(MAX_HEADER_BYTES - 3);
        assert_eq!(Headers::default().insert("X-A", &Secret::new(&value)), Ok(()));
        assert!(read_headers(&format!(r#"{{"X-A":"{value}"}}"#)).is_ok());
        assert_eq!(Headers::default().insert("X-AB", &Secret::new(&value)), Err(BadHeader::TooMany));
        assert_eq!(read_headers(&format!(r#"{{"X-AB":"{value}"}}"#)), Err(BadHeader::TooMany));
    }

    #[test]
    fn headers_keep_their_order_and_their_values() {
        let read = read_headers(r#" {"X-B": "1, 2", "Authorization":"Bearer a b", "x-é-no": "" }"#);
        assert_eq!(read.unwrap_err().to_string(), "'x-é-no' is not a header name");
        let read = read_headers(r#"{"X-B": "é 1, 2", "Authorization":"Bearer a b", "X-E": ""}"#).unwrap();
        let plain: Vec<_> = read.iter().map(|(name, value)| (name.as_str(), value.expose())).collect();
        assert_eq!(plain, [("X-B", "é 1, 2"), ("Authorization", "Bearer a b"), ("X-E", "")]);
    }

    #[test]
    fn header_injection_is_refused_without_the_value() {
        let many = format!("{{{}}}", (0..65).map(|i| format!("\"X-{i}\":\"s3cret\"")).collect::<Vec<_>>().join(","));
        for (text, why) in [
            (r#"{"X-A":"s3cret\r\nX-B: 1"}"#, "the value of header 'X-A' has a line break or a control character"),
            (r#"{"X-A":"s3cret\n"}"#, "the value of header 'X-A' has a line break or a control character"),
            (r#"{"X-A":"s3cret\u0000"}"#, "the value of header 'X-A' has a line break or a control character"),
            (r#"{"X-A\r\nX-B":"s3cret"}"#, "'X-A??X-B' is not a header name"),
            (r#"{"X A":"s3cret"}"#, "'X A' is not a header name"),
            (r#"{"X-A:":"s3cret"}"#, "'X-A:' is not a header name"),
            (r#"{"":"s3cret"}"#, "'' is not a header name"),
            (r#"{"x-a":"s3cret","X-A":"s3cret"}"#, "header 'X-A' is given twice"),
            (r#"{"Host":"s3cret"}"#, "the module sets header 'host' itself"),
            (
                r#"{"Sec-WebSocket-Protocol":"s3cret"}"#,
                "the module sets header 'sec-websocket-protocol' itself; use the option subprotocol",
            ),
            (r#"{"X-A":17}"#, "give a JSON object of strings (it fails at column 9)"),
            (r#"["s3cret"]"#, "give a JSON object of strings (it fails at column 0)"),
            (r#"{"X-A":"s3cret"} x"#, "give a JSON object of strings (it fails at column 18)"),
            ("s3cret", "give a JSON object of strings (it fails at column 1)"),
            (&many, "too many headers: give at most 64, and at most 8192 bytes in total"),
        ] {
            let refusal = read_headers(text).unwrap_err();
            assert_eq!(refusal.to_string(), why, "{text}");
            assert!(!format!("{refusal:?}").contains("s3cret"));
        }
    }
}
