//! What a server or service calls what we have with it: operators give that to its support, and find it in its logs.

use serde::Serialize;

use super::Headers;

/// Ids of the server's, where it has said them.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct ServiceIds {
    /// The session of a conversation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_id: Option<String>,
    /// The handshake of the connection, or its refusal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// The response of the service that failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_id: Option<String>,
}

impl ServiceIds {
    pub(super) fn headers(&self, headers: &mut Headers) {
        for (name, id) in [
            ("Audio-Stream-Session-Id", &self.session_id),
            ("Audio-Stream-Request-Id", &self.request_id),
            ("Audio-Stream-Response-Id", &self.response_id),
        ] {
            if let Some(id) = id {
                headers.add(name, id);
            }
        }
    }
}
