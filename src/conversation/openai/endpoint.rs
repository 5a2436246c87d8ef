//! Where a conversation connects to, and with which headers: a service of the table, or a base URL.
//!
//! Pure. Keys stay in [`Secret`]s: neither the URL nor a message here ever has one.

use url::Url;

use super::super::address::{self, HeaderName};
use super::dialect::{AZURE, Dialect, ModelPlace, OPENAI};
use crate::peer::Target;
use crate::units::Secret;

/// The dead protocol's header; sent, the server closes with 4000.
const BETA: &str = "openai-beta";

/// How the key is shown.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Auth {
    /// `Authorization: Bearer`: OpenAI's keys, Entra tokens at Azure.
    Bearer(Secret),
    /// `Authorization: Basic`, with the key as it is.
    Basic(Secret),
    /// `api-key`: Azure's keys.
    ApiKey(Secret),
    /// None is shown: servers of one's own.
    None,
}

/// Where the sessions are, and how the server knows us there.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Whose details apply.
    pub dialect: &'static Dialect,
    /// `ws`, `wss`, `http` or `https`, with or without a path; `None`: the service's own.
    pub base_url: Option<String>,
    /// The model; at Azure the deployment. No default here: models have end dates.
    pub model: String,
    /// The key.
    pub auth: Auth,
    /// `OpenAI-Organization`.
    pub organization: Option<String>,
    /// `OpenAI-Project`.
    pub project: Option<String>,
    /// `OpenAI-Safety-Identifier`: a hashed id of the caller.
    pub safety_identifier: Option<String>,
    /// More headers, for gateways.
    pub headers: Vec<(String, Secret)>,
}

/// The profile's server is unusable; the conversation is refused until it is changed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadEndpoint {
    /// No model.
    #[error("no model is configured: set the profile's model (at Azure: the name of the deployment)")]
    NoModel,
    /// No key.
    #[error("no API key is configured")]
    NoKey,
    /// The service has no common address.
    #[error("{0} needs the base URL of the resource: {1}")]
    NoResource(&'static str, &'static str),
    /// The base URL cannot be used.
    #[error("bad base URL: {0}")]
    Url(String),
    /// The beta protocol is asked for.
    #[error("{0} asks for the beta protocol, which is shut down: remove it")]
    Beta(&'static str),
    /// A header cannot be sent.
    #[error("header '{0}' has a character that a header cannot have")]
    Header(HeaderName),
}

impl Endpoint {
    /// OpenAI itself, or what is compatible with it when a base URL is set afterwards.
    pub fn openai(model: &str, key: Secret) -> Self {
        Self {
            dialect: &OPENAI,
            base_url: None,
            model: model.to_owned(),
            auth: Auth::Bearer(key),
            organization: None,
            project: None,
            safety_identifier: None,
            headers: Vec::new(),
        }
    }

    /// Azure's GA endpoint of a resource, with its key.
    pub fn azure(resource_url: &str, deployment: &str, key: Secret) -> Self {
        Self {
            dialect: &AZURE,
            base_url: Some(resource_url.to_owned()),
            auth: Auth::ApiKey(key.clone()),
            ..Self::openai(deployment, key)
        }
    }

    /// URL and headers of the handshake. No subprotocol and no compression are needed.
    ///
    /// Errors where the configuration is at fault: no attempt can succeed.
    pub fn handshake(&self) -> Result<Target, BadEndpoint> {
        Ok(Target { url: self.url()?.into(), headers: self.all_headers()?, ..Target::default() })
    }

    fn url(&self) -> Result<Url, BadEndpoint> {
        if self.model.trim().is_empty() {
            return Err(BadEndpoint::NoModel);
        }
        let dialect = self.dialect;
        let base = match (&self.base_url, dialect.usual) {
            (Some(base), _) if !base.trim().is_empty() => base.trim(),
            (_, Some(usual)) => usual,
            (_, None) => return Err(BadEndpoint::NoResource(dialect.vendor.name, dialect.vendor.address)),
        };
        let mut url = address::websocket(base).map_err(BadEndpoint::Url)?;
        address::complete(&mut url, dialect.path, dialect.tail);
        let has = |url: &Url, name: &str| url.query_pairs().any(|(key, _)| key == name);
        let beta = dialect.query.is_empty()
            && (has(&url, "deployment") || url.query_pairs().any(|(k, v)| k == "api-version" && v.contains("preview")));
        if beta {
            return Err(BadEndpoint::Beta("a preview api-version or deployment in the base URL"));
        }
        for (name, value) in dialect.query {
            if !has(&url, name) {
                url.query_pairs_mut().append_pair(name, value);
            }
        }
        if dialect.model == ModelPlace::Url && !has(&url, "model") {
            url.query_pairs_mut().append_pair("model", self.model.trim());
        }
        Ok(url)
    }

    fn all_headers(&self) -> Result<Vec<(String, Secret)>, BadEndpoint> {
        let mut headers = Vec::with_capacity(4 + self.headers.len());
        match &self.auth {
            Auth::None => {}
            Auth::Bearer(key) | Auth::Basic(key) | Auth::ApiKey(key) if key.expose().trim().is_empty() => {
                return Err(BadEndpoint::NoKey);
            }
            Auth::Bearer(key) | Auth::Basic(key) => {
                let scheme = if matches!(self.auth, Auth::Bearer(_)) { "Bearer" } else { "Basic" };
                let value = format!("{scheme} {}", key.expose().trim());
                headers.push(("Authorization".to_owned(), Secret::new(value)));
            }
            Auth::ApiKey(key) => headers.push(("api-key".to_owned(), Secret::new(key.expose().trim()))),
        }
        for (name, value) in [
            ("OpenAI-Organization", &self.organization),
            ("OpenAI-Project", &self.project),
            ("OpenAI-Safety-Identifier", &self.safety_identifier),
        ] {
            if let Some(value) = value.as_ref().filter(|value| !value.is_empty()) {
                headers.push((name.to_owned(), Secret::new(value.clone())));
            }
        }
        for (name, value) in &self.headers {
            if name.eq_ignore_ascii_case(BETA) {
                return Err(BadEndpoint::Beta("header OpenAI-Beta"));
            }
            headers.push((name.clone(), value.clone()));
        }
        if let Some(name) = address::unsendable(&headers) {
            return Err(BadEndpoint::Header(name));
        }
        Ok(headers)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::super::dialect::{INWORLD, VOICE_LIVE, XAI};
    use super::*;

    fn based(base: &str) -> Endpoint {
        Endpoint { base_url: Some(base.into()), ..Endpoint::openai("a model", Secret::new("sk-1")) }
    }

    fn shown(handshake: &Target) -> Vec<String> {
        handshake.headers.iter().map(|(name, value)| format!("{name}: {}", value.expose())).collect()
    }

    #[test]
    fn openai_is_the_default_and_the_key_is_a_bearer() {
        let mut endpoint = Endpoint::openai("some-model", Secret::new("sk-1"));
        endpoint.organization = Some("org".into());
        endpoint.project = Some("prj".into());
        endpoint.safety_identifier = Some("hash".into());
        let handshake = endpoint.handshake().unwrap();
        assert_eq!(handshake.url, "wss://api.openai.com/v1/realtime?model=some-model");
        assert_eq!(
            shown(&handshake),
            [
                "Authorization: Bearer sk-1",
                "OpenAI-Organization: org",
                "OpenAI-Project: prj",
                "OpenAI-Safety-Identifier: hash"
            ]
        );
        assert!(!format!("{endpoint:?} {handshake:?}").contains("sk-1"), "the key is in a debug text");
    }

    #[test]
    fn azure_has_its_path_and_its_header() {
        let endpoint = Endpoint::azure("https://res.openai.azure.com/", "dep", Secret::new("k"));
        let handshake = endpoint.handshake().unwrap();
        assert_eq!(handshake.url, "wss://res.openai.azure.com/openai/v1/realtime?model=dep");
        assert_eq!(shown(&handshake), ["api-key: k"]);
        let entra = Endpoint { auth: Auth::Bearer(Secret::new("token")), ..endpoint.clone() };
        assert_eq!(shown(&entra.handshake().unwrap()), ["Authorization: Bearer token"]);
        let nowhere = Endpoint { base_url: None, ..endpoint };
        assert!(matches!(nowhere.handshake(), Err(BadEndpoint::NoResource("Azure", _))));
    }

    #[test]
    fn a_base_url_is_completed_whatever_part_of_it_is_given() {
        for (base, url) in [
            ("http://localhost:8080", "ws://localhost:8080/v1/realtime?model=a+model"),
            ("ws://[::1]:9/", "ws://[::1]:9/v1/realtime?model=a+model"),
            ("https://my_gateway.example/v1", "wss://my_gateway.example/v1/realtime?model=a+model"),
            ("wss://g.example/x/realtime", "wss://g.example/x/realtime?model=a+model"),
            ("wss://g.example/v1/realtime?tenant=7", "wss://g.example/v1/realtime?tenant=7&model=a+model"),
            ("wss://g.example/v1/realtime?model=b#x", "wss://g.example/v1/realtime?model=b"),
        ] {
            assert_eq!(based(base).handshake().unwrap().url, url, "{base}");
        }
    }

    #[test]
    fn each_service_has_its_place_and_its_form_of_the_key() {
        let of = |dialect, auth, base: Option<&str>| {
            let endpoint =
                Endpoint { dialect, auth, base_url: base.map(str::to_owned), ..Endpoint::openai("m", Secret::new("")) };
            let target = endpoint.handshake().unwrap();
            (target.url.clone(), shown(&target))
        };
        let key = || Secret::new("k");
        assert_eq!(
            of(&XAI, Auth::Bearer(key()), None),
            ("wss://api.x.ai/v1/realtime?model=m".into(), vec!["Authorization: Bearer k".into()])
        );
        let resource = "https://r.services.ai.azure.com/";
        let live = "wss://r.services.ai.azure.com/voice-live/realtime?api-version=2026-07-15&model=m";
        assert_eq!(of(&VOICE_LIVE, Auth::ApiKey(key()), Some(resource)), (live.into(), vec!["api-key: k".into()]));
        let gateway = "https://g.example/x?api-version=2026-11-01-preview";
        let through = "wss://g.example/x/voice-live/realtime?api-version=2026-11-01-preview&model=m";
        assert_eq!(of(&VOICE_LIVE, Auth::ApiKey(key()), Some(gateway)).0, through);
        let nowhere = Endpoint { dialect: &VOICE_LIVE, ..Endpoint::openai("m", key()) };
        assert!(matches!(nowhere.handshake(), Err(BadEndpoint::NoResource("Azure Voice Live", _))));
        assert_eq!(
            of(&INWORLD, Auth::Basic(key()), None),
            (
                "wss://api.inworld.ai/api/v1/realtime/session?protocol=realtime".into(),
                vec!["Authorization: Basic k".into()]
            )
        );
        assert_eq!(of(&INWORLD, Auth::None, Some("ws://h:1")).0, "ws://h:1/api/v1/realtime/session?protocol=realtime");
    }

    #[test]
    fn what_cannot_work_is_refused_by_name() {
        for base in ["nonsense", "ftp://x/", "wss://user:pw@x/"] {
            assert!(matches!(based(base).handshake(), Err(BadEndpoint::Url(_))), "{base}");
        }
        for base in ["wss://r/openai/realtime?api-version=2025-04-01-preview", "wss://r/realtime?deployment=d"] {
            assert!(matches!(based(base).handshake(), Err(BadEndpoint::Beta(_))), "{base}");
        }
        let endpoint = Endpoint::openai("m", Secret::new("sk"));
        for (name, value) in [("a b", "x"), ("", "x"), ("a", "x\r\nb: c"), ("a\n", "x"), ("a", "é")] {
            let with = Endpoint { headers: vec![(name.into(), Secret::new(value))], ..endpoint.clone() };
            assert!(matches!(with.handshake(), Err(BadEndpoint::Header(_))), "{name} {value}");
        }
        let beta = Endpoint { headers: vec![("OPENAI-beta".into(), Secret::new("realtime=v1"))], ..endpoint.clone() };
        assert!(matches!(beta.handshake(), Err(BadEndpoint::Beta(_))));
        assert_eq!(Endpoint::openai(" ", Secret::new("sk")).handshake(), Err(BadEndpoint::NoModel));
        assert_eq!(Endpoint::openai("m", Secret::new(" ")).handshake(), Err(BadEndpoint::NoKey));
        assert_eq!(
            Endpoint::openai("m", Secret::new("sk\n-x y")).handshake().unwrap_err().to_string(),
            "header 'Authorization' has a character that a header cannot have"
        );
    }
}
