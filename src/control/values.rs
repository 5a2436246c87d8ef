//! Reads the values of options from text: numbers in a range, switches, headers, names.
//!
//! Pure. A refusal is the sentence that completes "bad value for …": what is allowed, and never the value itself, which may
//! be secret.

use std::fmt;

use http::header::{HeaderName, HeaderValue};
use serde::de::{Deserializer, MapAccess, Visitor};

use crate::control::text::shown;
use crate::conversation::agent::Builtin;
use crate::conversation::options::{Tool, check_tools};
use crate::units::{SampleRate, Secret};

/// Most headers one stream may add.
pub const MAX_HEADERS: usize = 64;
/// Most bytes of their names and values together; common servers refuse more.
pub const MAX_HEADER_BYTES: usize = 8_192;
/// Longest text for a model, bytes.
pub const MAX_WORDS: usize = 32_768;
/// Longest text of a plain option, bytes.
pub const MAX_TEXT: usize = 1_024;

/// Headers of the upgrade that are the WebSocket client's own.
const OWN_HEADERS: [&str; 10] = [
    "host",
    "connection",
    "upgrade",
    "content-length",
    "transfer-encoding",
    "sec-websocket-key",
    "sec-websocket-version",
    "sec-websocket-accept",
    "sec-websocket-extensions",
    "sec-websocket-protocol",
];

/// A whole number of decimal digits.
pub fn number(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if digits { text.parse().ok() } else { None }
}

/// A number in decimal digits, with a sign and a fraction if need be.
pub fn decimal(text: &str) -> Option<f32> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'-'));
    if plain { text.parse().ok().filter(|value: &f32| value.is_finite()) } else { None }
}

/// A number within bounds, or `off` for none.
pub fn decimal_or_off(text: &str, min: f32, max: f32) -> Option<Option<f32>> {
    if text.eq_ignore_ascii_case("off") {
        return Some(None);
    }
    decimal(text).filter(|value| (min..=max).contains(value)).map(Some)
}

/// Words separated by commas, each understood by `one`; none where one is not.
pub fn list<T>(text: &str, one: impl Fn(&str) -> Option<T>) -> Option<Vec<T>> {
    text.split(',').map(str::trim).filter(|word| !word.is_empty()).map(one).collect()
}

/// A number or extension that a call may be sent to.
pub fn is_number(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '*' | '#' | '.' | '_' | '-');
    (1..=64).contains(&text.len()) && text.chars().all(plain) && !text.starts_with('-')
}

/// The name of a channel variable.
pub fn is_variable(text: &str) -> bool {
    let first = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_');
    first && text.len() <= 64 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// Text for a model or a voice, of at most [`MAX_WORDS`] bytes; line breaks and tabs are the only control characters. Empty
/// is none.
pub fn words(text: &str) -> Result<Option<&str>, String> {
    if text.len() > MAX_WORDS {
        Err(format!("give at most {MAX_WORDS} bytes"))
    } else if text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t')) {
        Err("it has a control character; leave it out".into())
    } else {
        Ok((!text.trim().is_empty()).then_some(text))
    }
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Function {
    #[serde(default, rename = "type")]
    kind: Option<String>,
    name: String,
    #[serde(default)]
    description: String,
    #[serde(default = "no_parameters")]
    parameters: serde_json::Value,
}

fn no_parameters() -> serde_json::Value {
    serde_json::json!({ "type": "object", "properties": {} })
}

/// Functions for a model from a JSON array, as OpenAI writes them. Empty text is none.
pub fn tools(text: &str) -> Result<Vec<Tool>, String> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    if text.len() > MAX_WORDS {
        return Err(format!("give at most {MAX_WORDS} bytes"));
    }
    let functions: Vec<Function> = serde_json::from_str(text)
        .map_err(|error| format!("give a JSON array of functions with name, description and parameters: {error}"))?;
    let mut tools = Vec::with_capacity(functions.len());
    for function in functions {
        let name = shown(&function.name);
        if function.kind.is_some_and(|kind| kind != "function") {
            return Err(format!("'{name}' is no function; no other type can be used"));
        }
        if Builtin::named(&function.name).is_some() {
            return Err(format!("'{name}' is the name of a built-in function; see builtin_tools"));
        }
        let Function { name, description, parameters, .. } = function;
        tools.push(Tool { name, description, parameters });
    }
    check_tools(&tools).map_err(|(field, problem)| format!("{field}: {problem}"))?;
    Ok(tools)
}

/// A switch, in the words FreeSWITCH itself accepts.
pub fn flag(text: &str) -> Option<bool> {
    let is = |words: &[&str]| words.iter().any(|word| text.eq_ignore_ascii_case(word));
    if is(&["true", "yes", "on", "t", "enabled", "active", "allow", "1"]) {
        Some(true)
    } else if is(&["false", "no", "off", "f", "disabled", "inactive", "disallow", "0"]) {
        Some(false)
    } else {
        None
    }
}

/// A rate of raw audio from the far end: Hz or with `k`, or `off`.
pub fn binary_rate(text: &str) -> Result<Option<SampleRate>, String> {
    if text.is_empty() || text.eq_ignore_ascii_case("off") {
        return Ok(None);
    }
    let hz = match text.strip_suffix(['k', 'K']) {
        Some(kilo) => number(kilo).and_then(|kilo| kilo.checked_mul(1_000)),
        None => number(text),
    };
    match hz.and_then(|hz| SampleRate::new(hz).ok()) {
        Some(rate) => Ok(Some(rate)),
        None => Err("give 8000 to 64000 Hz, or off".into()),
    }
}

/// A text of at most [`MAX_TEXT`] bytes without control characters; empty is none.
pub fn plain(text: &str) -> Result<Option<&str>, String> {
    if text.len() > MAX_TEXT {
        Err(format!("give at most {MAX_TEXT} bytes"))
    } else if text.chars().any(char::is_control) {
        Err("it has a control character; leave it out".into())
    } else {
        Ok((!text.is_empty()).then_some(text))
    }
}

/// A name as HTTP has them (RFC 9110 `token`).
pub fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

/// Headers from a JSON object of strings, in its order. Empty text is no headers.
///
/// Refuses, naming the header but never its value: names that are no token, values with a line break or another control
/// character, the same name twice, headers the WebSocket client sets itself, and more than [`MAX_HEADERS`] or
/// [`MAX_HEADER_BYTES`].
pub fn headers(text: &str) -> Result<Vec<(String, Secret)>, String> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    if text.len() > 2 * MAX_HEADER_BYTES {
        return Err(format!("they are over the limit of {MAX_HEADER_BYTES} bytes"));
    }
    // serde_json's own messages quote what they stumble over, which may be a credential: only the place is told.
    let mut reader = serde_json::Deserializer::from_str(text);
    let pairs = reader
        .deserialize_map(Pairs)
        .and_then(|pairs| reader.end().map(|()| pairs))
        .map_err(|error| format!("give a JSON object of strings (it fails at column {})", error.column()))?;
    if pairs.len() > MAX_HEADERS {
        return Err(format!("give at most {MAX_HEADERS} headers"));
    }
    let mut out: Vec<(String, Secret)> = Vec::with_capacity(pairs.len());
    let mut bytes = 0;
    for (name, value) in pairs {
        if !is_token(&name) || HeaderName::from_bytes(name.as_bytes()).is_err() {
            return Err(format!("'{}' is no header name", shown(&name)));
        }
        if OWN_HEADERS.iter().any(|own| name.eq_ignore_ascii_case(own)) {
            let instead = if name.eq_ignore_ascii_case("sec-websocket-protocol") { "; use subprotocol=" } else { "" };
            return Err(format!("header '{name}' is set by the module itself{instead}"));
        }
        if out.iter().any(|(other, _)| other.eq_ignore_ascii_case(&name)) {
            return Err(format!("header '{name}' is given twice"));
        }
        if value.contains(['\r', '\n']) {
            return Err(format!("the value of header '{name}' has a line break"));
        }
        if HeaderValue::from_bytes(value.as_bytes()).is_err() {
            return Err(format!("the value of header '{name}' has a control character"));
        }
        bytes += name.len() + value.len();
        out.push((name, Secret::new(value)));
    }
    if bytes > MAX_HEADER_BYTES {
        return Err(format!("they are over the limit of {MAX_HEADER_BYTES} bytes"));
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
    fn numbers_are_plain_digits() {
        assert_eq!(number("020"), Some(20));
        for text in ["", "+1", "-1", " 1", "1 ", "1.0", "0x1", "4294967296", "²"] {
            assert_eq!(number(text), None, "{text}");
        }
    }

    #[test]
    fn switches_take_the_words_of_freeswitch() {
        for (text, expected) in [("true", Some(true)), ("YES", Some(true)), ("off", Some(false)), ("0", Some(false))] {
            assert_eq!(flag(text), expected, "{text}");
        }
        assert_eq!(flag(""), None);
        assert_eq!(flag("maybe"), None);
    }

    #[test]
    fn headers_keep_their_order_and_their_values() {
        let read = headers(r#" {"X-B": "1, 2", "Authorization":"Bearer a b", "x-é-no": "" }"#);
        assert_eq!(read.unwrap_err(), "'x-é-no' is no header name");
        let read = headers(r#"{"X-B": "é 1, 2", "Authorization":"Bearer a b", "X-E": ""}"#).unwrap();
        let plain: Vec<_> = read.iter().map(|(name, value)| (name.as_str(), value.expose())).collect();
        assert_eq!(plain, [("X-B", "é 1, 2"), ("Authorization", "Bearer a b"), ("X-E", "")]);
    }

    #[test]
    fn header_injection_and_nonsense_are_refused_without_quoting_the_value() {
        let many = format!("{{{}}}", (0..65).map(|i| format!("\"X-{i}\":\"s3cret\"")).collect::<Vec<_>>().join(","));
        let long = format!(r#"{{"X-A":"{}"}}"#, "s".repeat(MAX_HEADER_BYTES));
        for (text, why) in [
            (r#"{"X-A":"s3cret\r\nX-B: 1"}"#, "the value of header 'X-A' has a line break"),
            (r#"{"X-A":"s3cret\n"}"#, "the value of header 'X-A' has a line break"),
            (r#"{"X-A":"s3cret\u0000"}"#, "the value of header 'X-A' has a control character"),
            (r#"{"X-A\r\nX-B":"s3cret"}"#, "'X-A??X-B' is no header name"),
            (r#"{"X A":"s3cret"}"#, "'X A' is no header name"),
            (r#"{"X-A:":"s3cret"}"#, "'X-A:' is no header name"),
            (r#"{"":"s3cret"}"#, "'' is no header name"),
            (r#"{"x-a":"s3cret","X-A":"s3cret"}"#, "header 'X-A' is given twice"),
            (r#"{"Host":"s3cret"}"#, "header 'Host' is set by the module itself"),
            (
                r#"{"Sec-WebSocket-Protocol":"s3cret"}"#,
                "header 'Sec-WebSocket-Protocol' is set by the module itself; use subprotocol=",
            ),
            (r#"{"X-A":17}"#, "give a JSON object of strings (it fails at column 9)"),
            (r#"["s3cret"]"#, "give a JSON object of strings (it fails at column 0)"),
            (r#"{"X-A":"s3cret"} x"#, "give a JSON object of strings (it fails at column 18)"),
            ("s3cret", "give a JSON object of strings (it fails at column 1)"),
            (&many, "give at most 64 headers"),
            (&long, "they are over the limit of 8192 bytes"),
        ] {
            let refusal = headers(text).unwrap_err();
            assert_eq!(refusal, why, "{text}");
            assert!(!refusal.contains("s3cret"));
        }
    }
}
