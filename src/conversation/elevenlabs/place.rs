//! Where an agent is: the address of its conversations, and of the request for a signed one.
//!
//! Pure.

use super::super::address;
use super::super::ticket::address_of;
use crate::peer::Target;
use crate::units::Secret;

/// Where the service is, unless the operator says otherwise.
pub(super) const USUAL: &str = "https://api.elevenlabs.io";
/// The path of conversations, and behind it that of signed URLs.
const PATH: &str = "/v1/convai/conversation";
const SIGNED: &str = "/get-signed-url";

/// Both addresses of an agent; free of secrets.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Addresses {
    /// `ws` or `wss`.
    pub(super) conversation: String,
    /// `http` or `https`.
    pub(super) signed_url: String,
}

impl Addresses {
    /// Of this agent. `base`: a server, its `/v1`, or everything up to `/conversation`.
    pub(super) fn of(base: &str, agent_id: &str, environment: Option<&str>) -> Result<Self, String> {
        let mut url = address::parse(base, &address::ANY)?;
        let before = url.path().trim_end_matches('/').to_owned();
        let begins = PATH.strip_prefix(&before).is_some_and(|rest| rest.starts_with('/') || rest.is_empty());
        let path = match before.as_str() {
            _ if begins => PATH.to_owned(),
            before if before.ends_with(PATH) => before.to_owned(),
            before => format!("{}{PATH}", before.trim_end_matches("/v1")),
        };
        url.query_pairs_mut().append_pair("agent_id", agent_id.trim());
        if let Some(environment) = environment {
            url.query_pairs_mut().append_pair("environment", environment);
        }
        let whole = |socket: bool, path: &str| {
            let mut url = address::with_scheme(url.clone(), socket)?;
            url.set_path(path);
            Ok::<String, String>(url.into())
        };
        Ok(Self { conversation: whole(true, &path)?, signed_url: whole(false, &format!("{path}{SIGNED}"))? })
    }

    /// Whether what is sent there is encrypted.
    fn is_secure(&self) -> bool {
        self.conversation.starts_with("wss:")
    }

    /// A signed URL as a place to connect to; its query is the secret. The error says what is wrong, without it.
    pub(super) fn signed(&self, text: &str) -> Result<Target, String> {
        let mut url = address_of(text, self.is_secure()).map_err(|why| format!("the signed URL {why}"))?;
        let query = url.query().filter(|query| !query.is_empty()).map(Secret::new);
        url.set_query(None);
        Ok(Target { url: url.into(), headers: Vec::new(), secret: query })
    }

    /// Whether `target` is the server that the operator has named, so that the operator's headers are meant for it.
    pub(super) fn is_same_server(&self, target: &Target) -> bool {
        address::is_same_server(&self.conversation, &target.url)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn an_address_is_completed_whatever_part_of_it_is_given() {
        for (base, wanted) in [
            (USUAL, "wss://api.elevenlabs.io/v1/convai/conversation?agent_id=a+1"),
            ("ws://h:1/", "ws://h:1/v1/convai/conversation?agent_id=a+1"),
            ("https://h/v1", "wss://h/v1/convai/conversation?agent_id=a+1"),
            ("https://h/gate/v1/", "wss://h/gate/v1/convai/conversation?agent_id=a+1"),
            ("https://h/v1/convai/conversation?x=y#z", "wss://h/v1/convai/conversation?x=y&agent_id=a+1"),
        ] {
            assert_eq!(Addresses::of(base, "a 1", None).unwrap().conversation, wanted, "{base}");
        }
        let addresses = Addresses::of("wss://h", "a", Some("staging")).unwrap();
        let signed = "https://h/v1/convai/conversation/get-signed-url?agent_id=a&environment=staging";
        assert_eq!(addresses.signed_url, signed);
        for bad in ["ftp://h", "https://user:pw@h", "nonsense"] {
            assert!(Addresses::of(bad, "a", None).is_err(), "{bad}");
        }
    }

    #[test]
    fn of_a_signed_url_the_query_is_a_secret() {
        let addresses = Addresses::of(USUAL, "a", None).unwrap();
        let target = addresses.signed("wss://api.elevenlabs.io/v1/convai/conversation?agent_id=a&sig=s3cret").unwrap();
        assert_eq!(target.url, "wss://api.elevenlabs.io/v1/convai/conversation");
        assert_eq!(target.secret.as_ref().map(Secret::expose), Some("agent_id=a&sig=s3cret"));
        assert!(!format!("{target:?}").contains("s3cret") && addresses.is_same_server(&target));
        assert!(!addresses.is_same_server(&addresses.signed("wss://other.example/x").unwrap()));
        for (text, why) in [
            ("ws://api.elevenlabs.io/x?sig=s3cret", "the signed URL is not encrypted"),
            ("https://api.elevenlabs.io/x?sig=s3cret", "the signed URL is no WebSocket URL"),
            ("", "the signed URL is no WebSocket URL"),
        ] {
            assert_eq!(addresses.signed(text).map(|target| target.url), Err(why.to_owned()), "{text}");
        }
    }
}
