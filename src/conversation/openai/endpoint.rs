//! Where a conversation connects to, and with which headers: OpenAI, Azure (GA), or a compatible base URL.
//!
//! Pure. Keys stay in [`Secret`]s: neither the URL nor a message here ever has one.

use std::fmt;

use url::Url;

use super::super::options::Service;
use crate::peer::Target;
use crate::units::Secret;

/// Where OpenAI itself listens.
const OPENAI: &str = "wss://api.openai.com/v1/realtime";
/// The dead protocol's header; sent, the server closes with 4000.
const BETA: &str = "openai-beta";

/// How the key is shown.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Auth {
    /// `Authorization: Bearer`: OpenAI's keys, Entra tokens at Azure.
    Bearer(Secret),
    /// `api-key`: Azure's keys.
    ApiKey(Secret),
    /// None is shown: servers of one's own.
    None,
}

/// Where the sessions are, and how the server knows us there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Endpoint {
    /// Whose details apply.
    pub service: Service,
    /// `ws`, `wss`, `http` or `https`, with or without a path; `None`: OpenAI.
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
    /// Azure has no common address.
    #[error("Azure needs the base URL of the resource: https://<resource>.openai.azure.com")]
    NoResource,
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

/// A header's name, fit for a log line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HeaderName(String);

impl fmt::Display for HeaderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&crate::protocol::excerpt(&self.0))
    }
}

/// The server of a target, as `host:port`.
pub(super) fn authority(target: &Target) -> String {
    let Ok(url) = Url::parse(&target.url) else { return String::new() };
    format!("{}:{}", url.host_str().unwrap_or_default(), url.port_or_known_default().unwrap_or_default())
}

impl Endpoint {
    /// OpenAI itself, or what is compatible with it when a base URL is set afterwards.
    pub fn openai(model: &str, key: Secret) -> Self {
        Self {
            service: Service::OpenAi,
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
            service: Service::Azure,
            base_url: Some(resource_url.to_owned()),
            auth: Auth::ApiKey(key.clone()),
            ..Self::openai(deployment, key)
        }
    }

    /// URL and headers of the handshake. No subprotocol and no compression are needed.
    ///
    /// Errors where the configuration is at fault: no attempt can succeed.
    pub fn handshake(&self) -> Result<Target, BadEndpoint> {
        Ok(Target { url: self.url()?.into(), headers: self.all_headers()? })
    }

    fn url(&self) -> Result<Url, BadEndpoint> {
        if self.model.trim().is_empty() {
            return Err(BadEndpoint::NoModel);
        }
        let base = match (&self.base_url, self.service) {
            (Some(base), _) if !base.trim().is_empty() => base.trim(),
            (_, Service::OpenAi) => OPENAI,
            (_, Service::Azure) => return Err(BadEndpoint::NoResource),
        };
        let mut url = Url::parse(base).map_err(|error| BadEndpoint::Url(error.to_string()))?;
        let scheme = match url.scheme() {
            "wss" | "https" => "wss",
            "ws" | "http" => "ws",
            other => return Err(BadEndpoint::Url(format!("scheme '{other}' is none of ws, wss, http, https"))),
        };
        // All four schemes are of one kind to the URL standard, so that this cannot fail.
        url.set_scheme(scheme).map_err(|()| BadEndpoint::Url(format!("cannot use scheme {scheme}")))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(BadEndpoint::Url("a user or password in the URL would reach the log: use the key".into()));
        }
        url.set_fragment(None);
        self.set_path(&mut url);
        let has = |url: &Url, name: &str| url.query_pairs().any(|(key, _)| key == name);
        if has(&url, "deployment") || url.query_pairs().any(|(k, v)| k == "api-version" && v.contains("preview")) {
            return Err(BadEndpoint::Beta("a preview api-version or deployment in the base URL"));
        }
        if !has(&url, "model") {
            url.query_pairs_mut().append_pair("model", self.model.trim());
        }
        Ok(url)
    }

    /// Completes the path: operators give the server, its `/v1`, or everything.
    fn set_path(&self, url: &mut Url) {
        let path = url.path().trim_end_matches('/').to_owned();
        let full = match (self.service, path.as_str()) {
            (_, path) if path.ends_with("/realtime") => path.to_owned(),
            (Service::OpenAi, "") => "/v1/realtime".to_owned(),
            (Service::Azure, "") => "/openai/v1/realtime".to_owned(),
            (Service::Azure, "/openai") => "/openai/v1/realtime".to_owned(),
            (_, path) => format!("{path}/realtime"),
        };
        url.set_path(&full);
    }

    fn all_headers(&self) -> Result<Vec<(String, Secret)>, BadEndpoint> {
        let mut headers = Vec::with_capacity(4 + self.headers.len());
        match &self.auth {
            Auth::None => {}
            Auth::Bearer(key) | Auth::ApiKey(key) if key.expose().trim().is_empty() => return Err(BadEndpoint::NoKey),
            Auth::Bearer(key) => {
                let value = format!("Bearer {}", key.expose().trim());
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
        for (name, value) in &headers {
            let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
            if name.is_empty() || !name.bytes().all(token) || !value.expose().bytes().all(|b| matches!(b, b' '..=b'~'))
            {
                return Err(BadEndpoint::Header(HeaderName(name.clone())));
            }
        }
        Ok(headers)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

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
        assert_eq!(nowhere.handshake(), Err(BadEndpoint::NoResource));
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
