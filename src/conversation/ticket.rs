//! What is asked for over HTTP before a connection can be made: a service hands out the address of a conversation, with a secret in it.
//!
//! ```text
//! Connect ─► Fetch ─► head, body, end ─► the address ─► Connect
//! ```
//! Pure; owned by an engine, one for each attempt. Bounded: of an answer [`MOST_BODY`] bytes are kept, and nothing can be read of a longer one.

use std::time::{Duration, Instant};

use url::Url;

use super::address;
use crate::peer::Fetched;
use crate::protocol::excerpt;

/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Longest answer.
const MOST_BODY: usize = 64 << 10;

/// A request that has no whole answer yet.
#[derive(Debug)]
pub(super) struct Ticket {
    id: u64,
    status: u16,
    body: Vec<u8>,
    until: Instant,
}

/// What has come of a request.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Answered {
    /// The whole answer. Where the status is not of 200…299, what it says is for the operator.
    With {
        /// HTTP status.
        status: u16,
        /// What it says.
        body: Vec<u8>,
    },
    /// Nothing, and why, in words for the operator.
    Nothing(String),
}

impl Ticket {
    /// The request of this number, sent now.
    pub(super) fn new(now: Instant, id: u64) -> Self {
        Self { id, status: 0, body: Vec::new(), until: now + TIMEOUT }
    }

    /// The request's number.
    pub(super) const fn id(&self) -> u64 {
        self.id
    }

    /// When it is not waited for any longer.
    pub(super) const fn until(&self) -> Instant {
        self.until
    }

    /// Something has come of a request; `None` while more is to come of this one.
    pub(super) fn fetched(&mut self, id: u64, piece: Fetched<'_>) -> Option<Answered> {
        if id != self.id {
            return None;
        }
        match piece {
            Fetched::Head { status, .. } => self.status = status,
            Fetched::Body(bytes) => {
                let room = MOST_BODY.saturating_sub(self.body.len()).min(bytes.len());
                self.body.extend_from_slice(&bytes[..room]);
            }
            Fetched::End => {
                return Some(Answered::With { status: self.status, body: std::mem::take(&mut self.body) });
            }
            Fetched::Failed(message) => return Some(Answered::Nothing(message.to_owned())),
        }
        None
    }
}

/// The words of a refusal: `{"detail": {"message": …}}`, `{"detail": …}`, `{"message": …}`, or the beginning of the text.
pub(super) fn words_of(body: &[u8]) -> String {
    let parsed: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let words =
        [&parsed["detail"]["message"], &parsed["detail"], &parsed["message"]].into_iter().find_map(|v| v.as_str());
    words.map_or_else(|| excerpt(&String::from_utf8_lossy(body)), excerpt)
}

/// An address of a WebSocket that a service has handed out, encrypted if the service is. The error completes "the address …", without it.
pub(super) fn address_of(text: &str, is_secure: bool) -> Result<Url, &'static str> {
    let url = address::parse(text, &["ws", "wss"]).map_err(|_| "is no WebSocket URL")?;
    if is_secure && url.scheme() != "wss" {
        return Err("is not encrypted");
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_whole_at_its_end() {
        let mut ticket = Ticket::new(Instant::now(), 7);
        let mut tell = |id, piece| ticket.fetched(id, piece);
        assert!(tell(6, Fetched::End).is_none() && tell(6, Fetched::Failed("no")).is_none(), "of another request");
        assert!(tell(7, Fetched::Head { status: 201, request_id: None }).is_none());
        assert!(tell(7, Fetched::Body(b"{\"a\"")).is_none() && tell(7, Fetched::Body(b":1}")).is_none());
        let whole = Answered::With { status: 201, body: b"{\"a\":1}".to_vec() };
        assert!(tell(7, Fetched::End) == Some(whole));
        assert!(tell(7, Fetched::Failed("reset")) == Some(Answered::Nothing("reset".to_owned())));
    }

    #[test]
    fn of_an_endless_answer_a_part_is_kept() {
        let mut ticket = Ticket::new(Instant::now(), 7);
        for _ in 0..100 {
            assert!(ticket.fetched(7, Fetched::Body(&[b'x'; 1_000])).is_none());
        }
        let Some(Answered::With { body, .. }) = ticket.fetched(7, Fetched::End) else { unreachable!() };
        assert_eq!(body.len(), MOST_BODY);
    }

    #[test]
    fn the_words_of_a_refusal_are_found() {
        for (body, words) in [
            (r#"{"detail":{"message":"No such agent."}}"#, "No such agent."),
            (r#"{"detail":"Invalid key"}"#, "Invalid key"),
            (r#"{"message":"Slow down"}"#, "Slow down"),
            ("<html>\n502", "<html> 502"),
        ] {
            assert_eq!(words_of(body.as_bytes()), words, "{body}");
        }
    }

    #[test]
    fn an_address_that_is_handed_out_is_as_safe_as_the_service() {
        assert!(address_of("wss://h/x?s=1", true).is_ok() && address_of("ws://h/x", false).is_ok());
        assert_eq!(address_of("ws://h/s3cret", true), Err("is not encrypted"));
        for text in ["https://h/s3cret", "", "h"] {
            assert_eq!(address_of(text, false), Err("is no WebSocket URL"), "{text}");
        }
    }
}
