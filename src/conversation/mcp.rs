//! Servers of tools (MCP) that the service itself asks: the operator says which, and which calls need an approval.
//!
//! Pure. What is said of a server is passed on as it is; the module checks that the service can take it, and knows no more of it.

use serde_json::{Map, Value};

use crate::options::values::MAX_WORDS;
use crate::units::choice::choice;
use crate::units::text::shown;

/// Most servers of one conversation.
const MOST: usize = 16;

choice! {
    /// Who decides on a tool for which a server requires an approval.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub enum Approval {
        /// The operator, asked by an event.
        #[default]
        Ask = "ask",
        /// Every call is approved.
        Approve = "approve",
        /// Every call is rejected.
        Reject = "reject",
    }
}

/// A server as the service wants it, without its `type`.
#[derive(Clone, PartialEq, Debug)]
pub struct McpServer(Map<String, Value>);

impl McpServer {
    /// Its fields, for the session.
    pub const fn fields(&self) -> &Map<String, Value> {
        &self.0
    }

    fn label(&self) -> &str {
        self.0.get("server_label").and_then(Value::as_str).unwrap_or_default()
    }

    fn read(mut fields: Map<String, Value>) -> Result<Self, String> {
        if fields.remove("type").is_some_and(|kind| kind != "mcp") {
            return Err("the type of a server is 'mcp'".to_owned());
        }
        let server = Self(fields);
        let label = server.label();
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
        if !(1..=64).contains(&label.len()) || !label.chars().all(plain) {
            return Err(format!("the server_label '{}' is not 1 to 64 of A-Z a-z 0-9 _ -", shown(label)));
        }
        let places = ["server_url", "connector_id", "tunnel_id"];
        let said = places.into_iter().filter(|name| server.0.get(*name).is_some_and(Value::is_string)).count();
        match said {
            1 => Ok(server),
            _ => Err(format!("give one of {} for '{label}'", places.join(", "))),
        }
    }
}

/// Servers from a JSON array. Empty text is none. The refusal completes "bad value: …" and quotes no credential.
pub(super) fn read_servers(text: &str) -> Result<Vec<McpServer>, String> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    if text.len() > MAX_WORDS {
        return Err(format!("give at most {MAX_WORDS} bytes"));
    }
    let servers: Vec<Map<String, Value>> = serde_json::from_str(text)
        .map_err(|error| format!("give a JSON array of objects (it fails at column {})", error.column()))?;
    if servers.len() > MOST {
        return Err(format!("give at most {MOST} servers"));
    }
    let servers = servers.into_iter().map(McpServer::read).collect::<Result<Vec<_>, _>>()?;
    for (at, server) in servers.iter().enumerate() {
        if servers[..at].iter().any(|other| other.label() == server.label()) {
            return Err(format!("the server '{}' is given twice", server.label()));
        }
    }
    Ok(servers)
}

/// The operator's decision on an approval, as `ai_result` gives it: `approve`, or anything else to reject it. The words behind `reject` are
/// the reason.
pub(super) fn decision(text: &str) -> (bool, Option<String>) {
    const MOST_REASON: usize = 512;
    let text = text.trim();
    if text.eq_ignore_ascii_case("approve") {
        return (true, None);
    }
    let reason = match text.split_once(char::is_whitespace) {
        Some((word, reason)) if word.eq_ignore_ascii_case("reject") => reason.trim(),
        None if text.eq_ignore_ascii_case("reject") => "",
        _ => text,
    };
    let reason = &reason[..reason.floor_char_boundary(MOST_REASON)];
    (false, (!reason.is_empty()).then(|| reason.to_owned()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn what_is_said_of_a_server_is_passed_on() {
        let text = r#"[{"type":"mcp","server_label":"orders","server_url":"https://mcp.example","authorization":"s3cret",
            "allowed_tools":["find"],"require_approval":{"never":{"tool_names":["find"]}}}]"#;
        let servers = read_servers(text).unwrap();
        let fields: Vec<_> = servers[0].fields().keys().map(String::as_str).collect();
        let expected = ["server_label", "server_url", "authorization", "allowed_tools", "require_approval"];
        assert!(expected.iter().all(|name| fields.contains(name)) && fields.len() == expected.len(), "{fields:?}");
        assert_eq!(read_servers("").unwrap(), []);
    }

    #[test]
    fn an_unusable_server_is_refused_without_its_secrets() {
        for (text, why) in [
            (r#"[{"server_url":"https://s3cret"}]"#, "the server_label '' is not 1 to 64 of A-Z a-z 0-9 _ -"),
            (r#"[{"server_label":"a"}]"#, "give one of server_url, connector_id, tunnel_id for 'a'"),
            (
                r#"[{"server_label":"a","server_url":"s3cret","connector_id":"s3cret"}]"#,
                "give one of server_url, connector_id, tunnel_id for 'a'",
            ),
            (r#"[{"server_label":"a","server_url":"s3cret","type":"function"}]"#, "the type of a server is 'mcp'"),
            (
                r#"[{"server_label":"a","server_url":"x"},{"server_label":"a","server_url":"y"}]"#,
                "the server 'a' is given twice",
            ),
            (r#"{"authorization":"s3cret"}"#, "give a JSON array of objects (it fails at column 0)"),
        ] {
            let refusal = read_servers(text).unwrap_err();
            assert_eq!(refusal, why, "{text}");
        }
    }

    #[test]
    fn only_the_word_approves() {
        assert_eq!(decision(" Approve "), (true, None));
        assert_eq!(decision("reject"), (false, None));
        assert_eq!(decision("reject not today"), (false, Some("not today".into())));
        for text in ["approve it", "yes", "{\"approve\":true}"] {
            assert_eq!(decision(text), (false, Some(text.into())), "{text}");
        }
    }
}
