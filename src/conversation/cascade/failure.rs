//! What a refusal of a service, or a request that broke, means.
//!
//! Pure. The service's words are cut short and freed of control characters.

use serde_json::Value;

use super::super::engine::{Failure, FailureClass, Loss, Refuses};
use crate::protocol::excerpt;

/// Why a request has failed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Refused {
    /// HTTP status; 0: there was no whole answer.
    pub(super) status: u16,
    pub(super) code: String,
    pub(super) message: String,
}

impl Refused {
    /// No answer, or only some of one.
    pub(super) fn broken(message: &str) -> Self {
        Self { status: 0, code: "connection_lost".to_owned(), message: excerpt(message) }
    }

    /// It took too long.
    pub(super) fn late() -> Self {
        Self { status: 0, code: "timeout".to_owned(), message: "the service did not answer in time".to_owned() }
    }

    /// An answer with this status, whose body says why.
    pub(super) fn answered(status: u16, body: &[u8]) -> Self {
        let body = String::from_utf8_lossy(body);
        let json: Value = serde_json::from_str(&body).unwrap_or_default();
        let error = if json["error"].is_null() { &json } else { &json["error"] };
        let word = |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(excerpt);
        let message = word(&error["message"]).or_else(|| word(error)).or_else(|| word(&json["detail"]));
        let code = word(&error["code"]).or_else(|| word(&error["type"])).unwrap_or_else(|| format!("http_{status}"));
        Self { status, code, message: format!("HTTP {status}: {}", message.unwrap_or_else(|| excerpt(&body))) }
    }

    /// An error in the middle of an answer.
    pub(super) fn told(error: &Value) -> Self {
        let word = |value: &Value| value.as_str().map(excerpt);
        let message = word(&error["message"]).unwrap_or_else(|| excerpt(&error.to_string()));
        Self { status: 0, code: word(&error["type"]).unwrap_or_else(|| "error".to_owned()), message }
    }

    /// The same, with what the service calls the request.
    pub(super) fn of_request(mut self, request_id: Option<&str>) -> Self {
        if let Some(id) = request_id {
            self.message = format!("{} (request id {id})", self.message);
        }
        self
    }

    /// Whether the same may work without anybody changing anything.
    pub(super) const fn passes(&self) -> bool {
        matches!(self.status, 0 | 408 | 409 | 425 | 429 | 500..)
    }

    /// The end of the conversation, where no request can work: the key, the place or the model is wrong. `service` begins the
    /// names of its options.
    pub(super) fn is_fatal(&self, service: &str) -> Option<Loss> {
        let look_at = match self.status {
            401 | 403 => format!("{service}_api_key"),
            404 => format!("{service}_url and {service}_model"),
            _ => return None,
        };
        let message = format!("{}; check {look_at}", self.message);
        Some(Loss { fatal: true, code: self.status.to_string(), message })
    }

    /// The same for the agent.
    pub(super) fn failure(self, refuses: Refuses) -> Failure {
        let class = if self.passes() { FailureClass::Transient } else { FailureClass::Permanent };
        Failure { class, refuses, retry_after: None, code: self.code, message: self.message }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_tells_what_to_do_next() {
        let refused = |status, body: &str| Refused::answered(status, body.as_bytes());
        let busy = refused(503, r#"{"error":{"message":"Loading model","type":"unavailable_error","code":503}}"#);
        assert_eq!((busy.code.as_str(), busy.message.as_str()), ("unavailable_error", "HTTP 503: Loading model"));
        assert!(busy.passes() && busy.is_fatal("llm").is_none());
        let wrong = refused(401, r#"{"error":"invalid key"}"#).is_fatal("llm").map(|loss| loss.message);
        assert_eq!(wrong.as_deref(), Some("HTTP 401: invalid key; check llm_api_key"));
        let gone = refused(404, "Not Found").is_fatal("stt").map(|loss| loss.message);
        assert_eq!(gone.as_deref(), Some("HTTP 404: Not Found; check stt_url and stt_model"));
        let bad = refused(400, r#"{"detail":"no such field"}"#);
        assert_eq!((bad.passes(), bad.message.as_str()), (false, "HTTP 400: no such field"));
        assert!(Refused::broken("reset").passes());
    }
}
