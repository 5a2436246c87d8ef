//! Where a connection goes: a `ws://` or `wss://` URL, for requests an `http://` or `https://` one, taken apart and checked.
//!
//! Pure; any thread. IPv6 literals, host names with underscores and international names are accepted. User name and
//! password of the URL become basic authentication and are never printed; nor is an end of the URL that is a secret.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use url::Url;

use crate::units::Secret;

/// Longest URL taken, in bytes: what common servers accept as a request line.
const MAX_LEN: usize = 8 * 1024;

/// A server to connect to. Its `Display` is the URL without user name, password and secret end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Endpoint {
    kind: Kind,
    tls: bool,
    host: Host,
    port: u16,
    target: String,
    authorization: Option<Secret>,
    /// The end of the path and query, or of the query alone.
    secret: Option<Secret>,
}

/// What is spoken with an [`Endpoint`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    WebSocket,
    Http,
}

impl Kind {
    const fn scheme(self, tls: bool) -> &'static str {
        match (self, tls) {
            (Self::WebSocket, false) => "ws",
            (Self::WebSocket, true) => "wss",
            (Self::Http, false) => "http",
            (Self::Http, true) => "https",
        }
    }
}

/// The host of an [`Endpoint`].
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Host {
    /// A name to resolve, in ASCII.
    Name(String),
    /// A literal address.
    Address(IpAddr),
}

impl Host {
    /// Whether it is this machine, whatever the network is.
    pub fn is_loopback(&self) -> bool {
        match self {
            Self::Address(address) => address.to_canonical().is_loopback(),
            Self::Name(name) => {
                let name = name.trim_end_matches('.').to_ascii_lowercase();
                name == "localhost" || name.ends_with(".localhost")
            }
        }
    }
}

/// The text is no WebSocket URL this module can connect to.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadUrl {
    /// Longer than 8 KiB.
    #[error("the URL has {0} bytes: give at most {MAX_LEN}")]
    TooLong(usize),
    /// Neither `ws://` nor `wss://`.
    #[error("the URL must begin with ws:// or wss://")]
    Scheme,
    /// Neither `http://` nor `https://`, where a request is to go.
    #[error("the URL must begin with http:// or https://")]
    HttpScheme,
    /// A space or a control character, which a browser would drop silently.
    #[error("the URL has a space or a control character at byte {0}: write it percent-encoded")]
    Character(usize),
    /// A `#fragment`, which WebSocket URLs must not have.
    #[error("the URL has a fragment (#...), which is never sent: remove it or write %23")]
    Fragment,
    /// Port 0.
    #[error("the URL has port 0, which no server can have")]
    Port,
    /// Anything else the URL syntax does not allow.
    #[error("bad URL: {0}")]
    Syntax(String),
}

impl Endpoint {
    /// Reads `url`; the error says what to change.
    pub fn parse(url: &str) -> Result<Self, BadUrl> {
        Self::parse_as(Kind::WebSocket, url)
    }

    /// Reads the `http://` or `https://` URL of requests; the error says what to change.
    pub fn parse_http(url: &str) -> Result<Self, BadUrl> {
        Self::parse_as(Kind::Http, url)
    }

    fn parse_as(kind: Kind, url: &str) -> Result<Self, BadUrl> {
        if url.len() > MAX_LEN {
            return Err(BadUrl::TooLong(url.len()));
        }
        let after = |tls| {
            let (scheme, rest) = url.split_once("://")?;
            scheme.eq_ignore_ascii_case(kind.scheme(tls)).then_some((tls, rest))
        };
        let Some((tls, rest)) = after(true).or_else(|| after(false)) else {
            return Err(if kind == Kind::Http { BadUrl::HttpScheme } else { BadUrl::Scheme });
        };
        if let Some(at) = url.find(|c: char| c.is_whitespace() || c.is_control()) {
            return Err(BadUrl::Character(at));
        }
        // The URL standard would silently take the next part of the path for the host.
        if rest.starts_with(['/', '\\']) {
            return Err(BadUrl::Syntax("no host".into()));
        }
        let parsed = Url::parse(url).map_err(|error| BadUrl::Syntax(error.to_string()))?;
        if parsed.fragment().is_some() {
            return Err(BadUrl::Fragment);
        }
        let host = match parsed.host() {
            Some(url::Host::Domain(name)) => Host::Name(name.to_owned()),
            Some(url::Host::Ipv4(address)) => Host::Address(address.into()),
            Some(url::Host::Ipv6(address)) => Host::Address(address.into()),
            None => return Err(BadUrl::Syntax("no host".into())),
        };
        let port = parsed.port().unwrap_or(if tls { 443 } else { 80 });
        if port == 0 {
            return Err(BadUrl::Port);
        }
        let target = match parsed.query() {
            Some(query) => format!("{}?{query}", parsed.path()),
            None => parsed.path().to_owned(),
        };
        if let Err(error) = target.parse::<http::uri::PathAndQuery>() {
            return Err(BadUrl::Syntax(error.to_string()));
        }
        Ok(Self { kind, tls, host, port, target, authorization: authorization(&parsed), secret: None })
    }

    /// With these parameters at the end of the query, unless they are in it already.
    #[must_use]
    pub fn with_query(mut self, parameters: &[(&str, String)]) -> Self {
        let query = self.target.split_once('?').map_or("", |(_, query)| query);
        let there: Vec<_> = url::form_urlencoded::parse(query.as_bytes()).map(|(name, _)| name.into_owned()).collect();
        let mut more = url::form_urlencoded::Serializer::new(String::new());
        more.extend_pairs(parameters.iter().filter(|(name, _)| !there.iter().any(|known| known == name)));
        let more = more.finish();
        if !more.is_empty() {
            let join = match self.target.split_once('?') {
                None => "?",
                Some((_, "")) => "",
                Some(_) => "&",
            };
            self.target += join;
            self.target += &more;
        }
        self
    }

    /// With this at the end: of the path if it begins with `/`, otherwise of the query. It is sent, and never printed. The error does not
    /// name it either.
    pub fn with_secret(mut self, secret: Secret) -> Result<Self, BadUrl> {
        let whole = self.target.len() + 1 + secret.expose().len();
        if whole > MAX_LEN {
            return Err(BadUrl::TooLong(whole));
        }
        self.secret = Some(secret);
        match self.whole_target().parse::<http::uri::PathAndQuery>() {
            Ok(_) => Ok(self),
            Err(_) => Err(BadUrl::Syntax("an end with characters that a URL cannot have".into())),
        }
    }

    /// Path and query, as sent in the request.
    pub(super) fn whole_target(&self) -> String {
        let Some(secret) = &self.secret else { return self.target.clone() };
        if secret.expose().starts_with('/') {
            return format!("{}{}", self.target.trim_end_matches('/'), secret.expose());
        }
        let join = if self.target.contains('?') { '&' } else { '?' };
        format!("{}{join}{}", self.target, secret.expose())
    }

    /// The whole URL, with what is secret: for the request, and for nothing that is shown.
    pub(super) fn request_url(&self) -> String {
        format!("{}{}", self.origin(), self.whole_target())
    }

    /// Whether the connection is encrypted (`wss`, `https`).
    pub fn is_tls(&self) -> bool {
        self.tls
    }

    /// The host.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The port, 80 or 443 where the URL has none.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Path and query, without what is secret.
    pub fn target(&self) -> &str {
        &self.target
    }

    /// The value of the `Authorization` header that user name and password of the URL ask for.
    pub fn authorization(&self) -> Option<&Secret> {
        self.authorization.as_ref()
    }

    /// Host and, unless it is the scheme's own, port: the value of the `Host` header.
    pub fn authority(&self) -> String {
        let default = if self.tls { 443 } else { 80 };
        if self.port == default { self.host.to_string() } else { format!("{}:{}", self.host, self.port) }
    }

    /// Scheme, host and port, as in a URL: the server without anything that may be secret.
    pub fn origin(&self) -> String {
        format!("{}://{}", self.kind.scheme(self.tls), self.authority())
    }
}

impl std::str::FromStr for Endpoint {
    type Err = BadUrl;

    fn from_str(url: &str) -> Result<Self, BadUrl> {
        Self::parse(url)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", self.kind.scheme(self.tls), self.authority(), self.target)
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Address(IpAddr::V4(address)) => Ipv4Addr::fmt(address, f),
            Self::Address(IpAddr::V6(address)) => {
                f.write_str("[")?;
                Ipv6Addr::fmt(address, f)?;
                f.write_str("]")
            }
        }
    }
}

fn authorization(url: &Url) -> Option<Secret> {
    if url.username().is_empty() && url.password().is_none() {
        return None;
    }
    let mut credentials = percent_decode(url.username());
    credentials.push(b':');
    credentials.extend(percent_decode(url.password().unwrap_or_default()));
    Some(Secret::new(format!("Basic {}", STANDARD.encode(credentials))))
}

fn percent_decode(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let escaped = (byte == b'%').then(|| text.get(at + 1..at + 3)).flatten();
        match escaped.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(value) => {
                decoded.push(value);
                at += 3;
            }
            None => {
                decoded.push(byte);
                at += 1;
            }
        }
    }
    decoded
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use super::*;
    use proptest::prelude::*;

    #[test]
    fn parameters_are_added_unless_they_are_there() {
        let with = |url: &str| {
            let parameters = [("a", "1 &".to_owned()), ("b", "2".to_owned())];
            Endpoint::parse(url).unwrap().with_query(&parameters).target().to_owned()
        };
        for (url, target) in [
            ("ws://h", "/?a=1+%26&b=2"),
            ("ws://h/x?", "/x?a=1+%26&b=2"),
            ("ws://h/x?b=7", "/x?b=7&a=1+%26"),
            ("ws://h/x?b=7&a", "/x?b=7&a"),
        ] {
            assert_eq!(with(url), target, "{url}");
        }
    }

    #[test]
    fn a_secret_end_is_sent_and_never_shown() {
        for (url, secret, sent) in [
            ("wss://h/x?a=b", "sig=s3cret", "wss://h/x?a=b&sig=s3cret"),
            ("wss://h", "sig=s3cret", "wss://h/?sig=s3cret"),
            ("wss://h", "/s3cret/in?a=b", "wss://h/s3cret/in?a=b"),
            ("wss://h/x", "/s3cret", "wss://h/x/s3cret"),
        ] {
            let endpoint = Endpoint::parse(url).unwrap().with_secret(Secret::new(secret)).unwrap();
            assert_eq!(endpoint.request_url(), sent);
            assert!(!format!("{endpoint} {endpoint:?} {}", endpoint.target()).contains("s3cret"));
        }
        for bad in ["a b\u{1}".to_owned(), "x".repeat(MAX_LEN)] {
            let refused = Endpoint::parse("wss://h").unwrap().with_secret(Secret::new(&bad));
            assert!(refused.is_err_and(|error| !error.to_string().contains(&bad)), "{}", bad.len());
        }
    }

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        let same = |a: &str, b: &str| Endpoint::parse(a).unwrap().origin() == Endpoint::parse(b).unwrap().origin();
        assert!(same("wss://H:443/x?y", "wss://h/z"));
        assert!(!same("wss://h/", "ws://h:443/"));
        assert!(!same("wss://h/", "wss://h:444/"));
        assert!(!same("wss://h/", "wss://h.evil/"));
    }

    #[test]
    fn finding_020_underscore_and_ipv6_hosts_are_accepted() {
        for (url, host, port, shown) in [
            ("ws://my_bot.internal_net:8080/x", "my_bot.internal_net", 8080, "ws://my_bot.internal_net:8080/x"),
            ("ws://_srv/", "_srv", 80, "ws://_srv/"),
            ("wss://[2001:db8::1]:9443/a?b=c", "[2001:db8::1]", 9443, "wss://[2001:db8::1]:9443/a?b=c"),
            ("ws://[::1]", "[::1]", 80, "ws://[::1]/"),
            ("ws://192.0.2.7:80", "192.0.2.7", 80, "ws://192.0.2.7/"),
            ("WSS://Example.COM:443", "example.com", 443, "wss://example.com/"),
            ("ws://bücher.example/", "xn--bcher-kva.example", 80, "ws://xn--bcher-kva.example/"),
        ] {
            let endpoint = Endpoint::parse(url).unwrap_or_else(|error| panic!("{url}: {error}"));
            assert_eq!((endpoint.host().to_string().as_str(), endpoint.port()), (host, port), "{url}");
            assert_eq!(endpoint.to_string(), shown, "{url}");
        }
    }

    #[test]
    fn refusals_say_why() {
        for (url, error) in [
            ("", BadUrl::Scheme),
            ("http://host/", BadUrl::Scheme),
            ("ws:host", BadUrl::Scheme),
            ("ws:/host", BadUrl::Scheme),
            (" ws://host", BadUrl::Scheme),
            ("ws://ho st/", BadUrl::Character(7)),
            ("ws://host/\r\nX-Evil: 1", BadUrl::Character(10)),
            ("ws://host/\0", BadUrl::Character(10)),
            ("ws://host/#x", BadUrl::Fragment),
            ("ws://host:0/", BadUrl::Port),
            (&format!("ws://host/{}", "x".repeat(9_000)), BadUrl::TooLong(9_010)),
        ] {
            assert_eq!(Endpoint::parse(url), Err(error), "{url}");
        }
        for url in
            ["ws://", "ws:///path", "ws://host:99999/", "ws://[::1", "ws://[::g]/", "ws://host:x/", "ws://a%00b/"]
        {
            assert!(matches!(Endpoint::parse(url), Err(BadUrl::Syntax(_))), "{url}: {:?}", Endpoint::parse(url));
        }
    }

    #[test]
    fn requests_go_to_http_urls_and_to_nothing_else() {
        for (url, tls, port, shown) in [
            ("https://api.example/v1?x=y", true, 443, "https://api.example/v1?x=y"),
            ("HTTP://[::1]:8080", false, 8080, "http://[::1]:8080/"),
        ] {
            let endpoint = Endpoint::parse_http(url).unwrap();
            assert_eq!((endpoint.is_tls(), endpoint.port(), endpoint.to_string().as_str()), (tls, port, shown));
        }
        for url in ["", "ws://host/", "wss://host/", "file:///etc/passwd", "http:/host", "https:"] {
            assert_eq!(Endpoint::parse_http(url), Err(BadUrl::HttpScheme), "{url}");
        }
        assert!(matches!(Endpoint::parse_http("http:///x"), Err(BadUrl::Syntax(_))));
        assert_eq!(Endpoint::parse("https://host/"), Err(BadUrl::Scheme));
    }

    #[test]
    fn credentials_become_basic_authentication_and_stay_unprinted() {
        let endpoint = Endpoint::parse("wss://us%40er:pa%3Ass%@host/p").unwrap();
        let sent = endpoint.authorization().map(|value| value.expose().to_owned());
        assert_eq!(sent, Some(format!("Basic {}", STANDARD.encode("us@er:pa:ss%"))));
        let printed = format!("{endpoint} {endpoint:?} {}", endpoint.authority());
        for secret in ["us@er", "us%40er", "pa:ss", "pa%3Ass", "Basic"] {
            assert!(!printed.contains(secret), "{printed}");
        }
        assert!(Endpoint::parse("ws://host/").unwrap().authorization().is_none());
    }

    proptest! {
        #[test]
        fn what_is_accepted_is_accepted_again_as_printed(rest in "[!-~]{0,40}") {
            if let Ok(endpoint) = Endpoint::parse(&format!("ws://{rest}")) {
                let printed = endpoint.to_string();
                let again = Endpoint::parse(&printed).map(|endpoint| endpoint.to_string());
                prop_assert_eq!(again, Ok(printed));
            }
        }

        #[test]
        fn no_text_breaks_the_parser(text in any::<String>()) {
            let _ = Endpoint::parse(&text);
            let _ = Endpoint::parse(&format!("ws://{text}"));
        }
    }
}
