//! What lets a server find a call in other systems: the call's ids, its trace, and channel variables that the operator names.
//!
//! Pure; on the API or dialplan thread. The headers are made once, when the stream starts, and are the same on every connection
//! of it. Values come from the call and so from callers: control characters are taken out, and each is cut at [`MOST_VALUE`]
//! bytes. A header for which there is no room is left out.

use crate::options::values;
use crate::transport::Headers;
use crate::units::Secret;
use crate::units::choice::choice;

/// Longest value, bytes.
const MOST_VALUE: usize = 1_024;
/// Longest name of a channel variable.
const MOST_NAME: usize = 128;

choice! {
    /// Which servers get the headers.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub enum Correlation {
        /// The operator's own.
        #[default]
        Servers = "servers",
        /// AI and transcription services too.
        All = "all",
        /// Nobody.
        Off = "off",
    }
}

/// A header whose value is a channel variable's.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HeaderFrom {
    /// The header.
    pub header: String,
    /// The variable.
    pub variable: String,
}

impl HeaderFrom {
    /// Reads `variable` or `Header:variable`. Without a name the header of a SIP header's variable is that SIP header; of any other
    /// it is `X-` and the variable's name, with dashes, since common servers drop headers with `_`.
    pub fn read(text: &str) -> Option<Self> {
        let (header, variable) = match text.split_once(':') {
            Some((header, variable)) => (header.trim().to_owned(), variable.trim()),
            None => (default_header(text), text),
        };
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        let is_name = (1..=MOST_NAME).contains(&variable.len()) && variable.chars().all(plain);
        let can_be_sent = Headers::default().insert(&header, &Secret::new("x")).is_ok();
        (is_name && can_be_sent && values::is_token(&header)).then(|| Self { header, variable: variable.to_owned() })
    }
}

fn default_header(variable: &str) -> String {
    match variable.strip_prefix("sip_h_") {
        Some(header) => header.to_owned(),
        None => format!("X-{}", variable.replace('_', "-")),
    }
}

/// A value as a header may have it; `None` where nothing is left.
pub fn header_value(text: &str) -> Option<String> {
    let text: String = text.chars().filter(|c| !c.is_control()).collect();
    let text = text.trim();
    let text = text[..text.floor_char_boundary(MOST_VALUE)].trim_end();
    (!text.is_empty()).then(|| text.to_owned())
}

/// The position of a call in a distributed trace, as W3C's Trace Context has it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TraceParent(String);

impl TraceParent {
    /// Reads a `traceparent`. Of a version that is not known yet the part that every version has is taken, as version 00.
    pub fn read(text: &str) -> Option<Self> {
        let text = text.trim();
        let known = text.get(..55)?;
        let (version, rest) = (known.get(..2)?, known.get(2..)?);
        let ends = text.len() == 55 || (version != "00" && text.as_bytes().get(55) == Some(&b'-'));
        let hex = |part: &str| part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let mut parts = rest.strip_prefix('-')?.split('-');
        let (trace, parent, flags) = (parts.next()?, parts.next()?, parts.next()?);
        let lengths = (trace.len(), parent.len(), flags.len()) == (32, 16, 2) && parts.next().is_none();
        let valid = lengths && [version, trace, parent, flags].into_iter().all(hex) && version != "ff";
        let said = |part: &str| part.bytes().any(|byte| byte != b'0');
        (ends && valid && said(trace) && said(parent)).then(|| Self(format!("00-{trace}-{parent}-{flags}")))
    }

    /// The beginning of a trace; `random` decides its ids.
    pub fn begin(random: [u64; 3]) -> Self {
        // An id of zeros is none.
        let [trace, rest, parent] = random.map(|part| part | 1);
        Self(format!("00-{trace:016x}{rest:016x}-{parent:016x}-01"))
    }

    /// As the header has it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The variables that may hold the trace of a call, the first that is valid counts: that of the dialplan, then what came by SIP.
pub const TRACE_VARIABLES: [&str; 4] = ["traceparent", "sip_h_traceparent", "sip_h_X-Traceparent", "sip_i_traceparent"];

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const VALID: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_trace_is_taken_over_if_it_is_one() {
        assert_eq!(TraceParent::read(VALID).unwrap().as_str(), VALID);
        assert_eq!(TraceParent::read(&format!(" {VALID}\t")).unwrap().as_str(), VALID);
        let later = VALID.replacen("00", "cc", 1);
        for text in [&later, &format!("{later}-what-is-to-come")] {
            assert_eq!(TraceParent::read(text).unwrap().as_str(), VALID, "{text}");
        }
        for text in [
            String::new(),
            VALID[..54].to_owned(),
            format!("{VALID}-x"),
            format!("{later}x"),
            VALID.to_uppercase(),
            VALID.replacen("00", "ff", 1),
            VALID.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            VALID.replace("00f067aa0ba902b7", &"0".repeat(16)),
            VALID.replace('-', "_"),
            VALID.replacen('b', "é", 1),
            VALID.replace("01", "\r\n"),
        ] {
            assert_eq!(TraceParent::read(&text), None, "{text}");
        }
    }

    #[test]
    fn a_trace_that_begins_here_is_a_valid_one() {
        for random in [[0, 0, 0], [u64::MAX; 3], [1, 2, 3]] {
            let begun = TraceParent::begin(random);
            assert_eq!(TraceParent::read(begun.as_str()), Some(begun));
        }
    }

    #[test]
    fn a_variable_is_named_with_its_header_or_has_one() {
        let read = |text: &str| HeaderFrom::read(text).map(|from| (from.header, from.variable));
        let pair = |header: &str, variable: &str| Some((header.to_owned(), variable.to_owned()));
        assert_eq!(read("X-Tenant:tenant_id"), pair("X-Tenant", "tenant_id"));
        assert_eq!(read("sip_h_X-Account"), pair("X-Account", "sip_h_X-Account"));
        assert_eq!(read("caller_id_number"), pair("X-caller-id-number", "caller_id_number"));
        for text in ["", ":", "X-A:", ":a", "Host:a", "X A:a", "a b", "X-A:${b}", "X-A\r\nX-B:a", "Upgrade:a"] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn values_are_one_bounded_line() {
        assert_eq!(header_value(" a\r\nX-Evil: 1\0 ").as_deref(), Some("aX-Evil: 1"));
        assert_eq!(header_value("\r\n"), None);
        let long = header_value(&"é".repeat(600)).unwrap();
        assert_eq!(long.len(), MOST_VALUE);
    }
}
