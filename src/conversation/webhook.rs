//! Functions over HTTP: a function call of the model becomes a request to the operator's server, and the answer its result.
//!
//! ```text
//! POST tool_url
//! X-Audio-Stream-Timestamp: <seconds since 1970>
//! X-Audio-Stream-Signature: sha256=<HMAC-SHA256 of "<timestamp>.<body>", hexadecimal>
//! {"call_id": "…", "name": "…", "arguments": {…}, "uuid": "…", "stream": "…", "from": "…", "to": "…"}
//! ```
//! Sans-IO, owned by the driver: it gives requests and takes what has come of them. As many requests run as the stream allows at
//! once; one more fails. An answer is bounded by [`MOST_ANSWER`]; a longer one fails. After the time limit the request is dropped, and
//! the agent has told the model by then. The operator may answer first with `ai_result`; the request is dropped then, too.

use std::time::{Duration, Instant};

use ring::hmac;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::peer::{self, DONE, Fetch, Fetched, Target, is_success};
use crate::protocol::{CallInfo, WallClock};
use crate::units::Secret;

/// Longest answer, bytes.
const MOST_ANSWER: usize = 64 << 10;
/// The numbers of these requests, apart from those of the engines.
const NUMBERS: u64 = 1 << 63;

/// Where the functions of a conversation are carried out.
#[derive(Clone, Debug)]
pub struct WebhookConfig {
    /// `http` or `https`.
    pub url: String,
    /// What the requests are signed with; `None`: they are not.
    pub key: Option<Secret>,
    /// Headers by which the server finds the call in other systems.
    pub headers: Vec<(String, Secret)>,
    /// How long an answer may take.
    pub timeout: Duration,
    /// Whose functions they are.
    pub call: CallInfo,
    /// The stream's name on the call.
    pub stream: String,
    /// The time of day.
    pub clock: WallClock,
}

/// A function call that has its answer, or will have none.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Answer {
    /// Of the function call.
    pub(super) call_id: String,
    /// The result, or why there is none: a code, and words for the operator.
    pub(super) result: Result<String, (String, String)>,
    /// The rest of the answer is not wanted: the request is to be dropped.
    pub(super) abort: Option<u64>,
}

/// The requests of one conversation.
#[derive(Debug)]
pub struct Webhook {
    config: WebhookConfig,
    requests: u64,
    running: Vec<Running>,
}

#[derive(Debug)]
struct Running {
    id: u64,
    call_id: String,
    until: Instant,
    status: u16,
    body: Vec<u8>,
}

#[derive(Serialize)]
struct Body<'a> {
    call_id: &'a str,
    name: &'a str,
    arguments: &'a RawValue,
    uuid: &'a str,
    stream: &'a str,
    from: &'a str,
    to: &'a str,
}

impl Webhook {
    /// No request yet.
    pub const fn new(config: WebhookConfig) -> Self {
        Self { config, requests: 0, running: Vec::new() }
    }

    /// The request for a function call; `arguments` is a JSON object, or empty.
    pub(super) fn call(&mut self, now: Instant, call_id: &str, name: &str, arguments: &str) -> Fetch {
        let config = &self.config;
        let arguments = if arguments.trim().is_empty() { "{}" } else { arguments };
        // The agent has read it as an object.
        let arguments = serde_json::from_str::<&RawValue>(arguments).unwrap_or(RawValue::NULL);
        let CallInfo { call_id: uuid, from, to, .. } = &config.call;
        let body = Body { call_id, name, arguments, uuid, stream: &config.stream, from, to };
        // Serialising fails for maps with keys that are no strings only; there are none in this type.
        let body = serde_json::to_vec(&body).unwrap_or_default();
        let timestamp = (config.clock.unix_ms(now) / 1_000).to_string();
        let mut headers = config.headers.clone();
        if let Some(key) = &config.key {
            let signature = format!("sha256={}", sign(key, &timestamp, &body));
            headers.push(("X-Audio-Stream-Signature".to_owned(), Secret::new(signature)));
        }
        headers.push(("X-Audio-Stream-Timestamp".to_owned(), Secret::new(timestamp)));
        let id = NUMBERS | self.requests;
        self.requests += 1;
        let until = now + config.timeout;
        self.running.push(Running { id, call_id: call_id.to_owned(), until, status: 0, body: Vec::new() });
        let target = Target { url: config.url.clone(), headers, ..Target::default() };
        Fetch { id, target, body: Some(peer::Body::json(body)) }
    }

    /// Whether a request is one of these.
    pub(super) const fn owns(id: u64) -> bool {
        id & NUMBERS != 0
    }

    /// Something has come of a request.
    pub(super) fn fetched(&mut self, id: u64, piece: Fetched<'_>) -> Option<Answer> {
        let at = self.running.iter().position(|running| running.id == id)?;
        let running = &mut self.running[at];
        let (result, abort) = match piece {
            Fetched::Head { status, .. } => {
                running.status = status;
                return None;
            }
            Fetched::Body(bytes) if running.body.len() + bytes.len() <= MOST_ANSWER => {
                running.body.extend_from_slice(bytes);
                return None;
            }
            Fetched::Body(_) => {
                let message = format!("the answer is longer than {MOST_ANSWER} bytes");
                (Err(("too_long".to_owned(), message)), Some(id))
            }
            Fetched::End => (running.result(), None),
            Fetched::Failed(message) => (Err(("no_answer".to_owned(), message.to_owned())), None),
        };
        let Running { call_id, .. } = self.running.remove(at);
        Some(Answer { call_id, result, abort })
    }

    /// The requests that nobody waits for any more: their time is over, or their function call has its answer. To be dropped.
    pub(super) fn settled(&mut self, now: Instant, awaits: impl Fn(&str) -> bool) -> Vec<u64> {
        let mut settled = Vec::new();
        self.running.retain(|running| {
            let waits = running.until > now && awaits(&running.call_id);
            if !waits {
                settled.push(running.id);
            }
            waits
        });
        settled
    }

    /// When the time of the first request is over.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.running.iter().map(|running| running.until).min()
    }
}

impl Running {
    /// What the whole answer says.
    fn result(&mut self) -> Result<String, (String, String)> {
        if !is_success(self.status) {
            let status = self.status;
            return Err((format!("http_{status}"), format!("the server answered HTTP {status}")));
        }
        match String::from_utf8(std::mem::take(&mut self.body)) {
            Ok(text) if text.trim().is_empty() => Ok(DONE.to_owned()),
            Ok(text) => Ok(text),
            Err(_) => Err(("bad_answer".to_owned(), "the answer is not text".to_owned())),
        }
    }
}

/// The signature of a request, hexadecimal.
fn sign(key: &Secret, timestamp: &str, body: &[u8]) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key.expose().as_bytes());
    let mut context = hmac::Context::with_key(&key);
    context.update(timestamp.as_bytes());
    context.update(b".");
    context.update(body);
    context.sign().as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn webhook(key: Option<&str>) -> (Webhook, Instant) {
        let now = Instant::now();
        let call =
            CallInfo { call_id: "uuid-1".into(), from: "100\"0".into(), to: "600".into(), ..CallInfo::default() };
        let config = WebhookConfig {
            url: "https://tools.example/call".into(),
            key: key.map(Secret::new),
            headers: vec![("X-Call-Id".into(), Secret::new("uuid-1"))],
            timeout: Duration::from_secs(5),
            call,
            stream: "default".into(),
            clock: WallClock { at: now, since_epoch: Duration::from_millis(1_700_000_000_999) },
        };
        (Webhook::new(config), now)
    }

    fn header<'a>(fetch: &'a Fetch, name: &str) -> Option<&'a str> {
        fetch.target.headers.iter().find(|(other, _)| other == name).map(|(_, value)| value.expose())
    }

    #[test]
    fn a_function_call_is_a_signed_request() {
        let (mut webhook, now) = webhook(Some("k"));
        let fetch = webhook.call(now, "call_1", "look_up", r#"{"order": 12345678901234567890123}"#);
        let body = concat!(
            r#"{"call_id":"call_1","name":"look_up","arguments":{"order": 12345678901234567890123},"#,
            r#""uuid":"uuid-1","stream":"default","from":"100\"0","to":"600"}"#
        );
        let sent = fetch.body.as_ref().unwrap();
        assert_eq!(String::from_utf8(sent.bytes.clone()).unwrap(), body, "what the model wrote stays as it is");
        assert_eq!((fetch.target.url.as_str(), sent.content_type), ("https://tools.example/call", "application/json"));
        assert_eq!(header(&fetch, "X-Audio-Stream-Timestamp"), Some("1700000000"));
        assert_eq!(header(&fetch, "X-Call-Id"), Some("uuid-1"));
        // What any other implementation makes of the same.
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"k");
        let tag = hmac::sign(&key, format!("1700000000.{body}").as_bytes());
        let tag: String = tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(header(&fetch, "X-Audio-Stream-Signature"), Some(format!("sha256={tag}").as_str()));
        let (mut plain, now) = self::webhook(None);
        let unsigned = plain.call(now, "call_2", "look_up", " ");
        assert_eq!(header(&unsigned, "X-Audio-Stream-Signature"), None);
        assert!(String::from_utf8(unsigned.body.unwrap().bytes).unwrap().contains(r#""arguments":{},"#));
    }

    #[test]
    fn an_answer_is_the_result_and_anything_else_a_failure() {
        let (mut webhook, now) = webhook(None);
        let mut answer = |status: u16, pieces: &[&[u8]]| {
            let Fetch { id, .. } = webhook.call(now, "c", "f", "{}");
            assert!(Webhook::owns(id) && !Webhook::owns(id & !NUMBERS));
            assert_eq!(webhook.fetched(id, Fetched::Head { status, request_id: None }), None);
            for piece in pieces {
                if let Some(answer) = webhook.fetched(id, Fetched::Body(piece)) {
                    return answer;
                }
            }
            webhook.fetched(id, Fetched::End).unwrap()
        };
        assert_eq!(answer(200, &[b"{\"a\"", b":1}"]).result.unwrap(), r#"{"a":1}"#);
        assert_eq!(answer(204, &[]).result.unwrap(), DONE);
        assert_eq!(answer(201, &["fünf".as_bytes()]).result.unwrap(), "fünf");
        assert_eq!(answer(500, &[b"secret trace"]).result.unwrap_err().0, "http_500");
        assert_eq!(answer(302, &[]).result.unwrap_err().1, "the server answered HTTP 302");
        assert_eq!(answer(200, &[b"\xff"]).result.unwrap_err().0, "bad_answer");
        let long = answer(200, &[&vec![b'x'; MOST_ANSWER], b"x"]);
        assert!(long.abort.is_some() && long.result.unwrap_err().0 == "too_long");
        let Fetch { id, .. } = webhook.call(now, "c", "f", "{}");
        let failed = webhook.fetched(id, Fetched::Failed("connection refused")).unwrap();
        assert_eq!(failed.result, Err(("no_answer".into(), "connection refused".into())));
        assert_eq!(webhook.fetched(id, Fetched::End), None, "the last was the last");
    }

    #[test]
    fn a_request_is_dropped_when_nobody_waits_for_it() {
        let (mut webhook, now) = webhook(None);
        let first = webhook.call(now, "a", "f", "{}").id;
        let second = webhook.call(now + Duration::from_secs(1), "b", "f", "{}").id;
        assert_eq!(webhook.deadline(), Some(now + Duration::from_secs(5)));
        assert!(webhook.settled(now, |_| true).is_empty());
        assert_eq!(webhook.settled(now, |call_id| call_id != "b"), [second]);
        assert_eq!(webhook.settled(now + Duration::from_secs(5), |_| true), [first]);
        assert_eq!((webhook.deadline(), webhook.fetched(first, Fetched::End)), (None, None));
    }
}
