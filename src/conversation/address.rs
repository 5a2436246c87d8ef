//! Where a service is reached: a base URL that an operator gives in part or whole, and the headers of the handshake.
//!
//! Pure. Keys stay in [`Secret`]s: neither the URL nor a message here ever has one.

use std::fmt;

use url::Url;

use crate::peer::Target;
use crate::units::Secret;

/// Reads an address with one of these schemes; what is behind `#` is dropped.
///
/// Errors where it is no URL of that kind, and where it has a user or a password, which would reach the log.
pub(super) fn parse(base: &str, schemes: &[&str]) -> Result<Url, String> {
    let mut url = Url::parse(base.trim()).map_err(|error| error.to_string())?;
    if !schemes.contains(&url.scheme()) {
        let known = if let [one, other] = schemes {
            format!("{one} or {other}")
        } else {
            format!("one of {}", schemes.join(", "))
        };
        return Err(format!("scheme '{}' is not {known}", url.scheme()));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("a user or password in the URL would reach the log: use the key".to_owned());
    }
    url.set_fragment(None);
    Ok(url)
}

/// The four schemes of a service that is spoken to over a WebSocket.
pub(super) const ANY: [&str; 4] = ["ws", "wss", "http", "https"];

/// The same address with `ws` or `wss` (`socket`), or with `http` or `https`, as secure as it was.
pub(super) fn with_scheme(mut url: Url, socket: bool) -> Result<Url, String> {
    let secure = matches!(url.scheme(), "wss" | "https");
    let scheme = match (socket, secure) {
        (true, true) => "wss",
        (true, false) => "ws",
        (false, true) => "https",
        (false, false) => "http",
    };
    // All four schemes are of one kind to the URL standard, so that this cannot fail.
    url.set_scheme(scheme).map_err(|()| format!("cannot use scheme {scheme}"))?;
    Ok(url)
}

/// The `ws` or `wss` URL of a base URL, without its fragment. The error is in words for the operator.
pub(super) fn websocket(base: &str) -> Result<Url, String> {
    with_scheme(parse(base, &ANY)?, true)
}

/// Completes the path to `whole`: operators give the server, a part of the path, or everything that ends with `tail`.
pub(super) fn complete(url: &mut Url, whole: &str, tail: &str) {
    let path = url.path().trim_end_matches('/').to_owned();
    let begins = whole.strip_prefix(&path).is_some_and(|rest| rest.starts_with('/'));
    let full = match path.as_str() {
        path if path.ends_with(tail) => path.to_owned(),
        _ if begins => whole.to_owned(),
        path => format!("{path}{tail}"),
    };
    url.set_path(&full);
}

/// Whether two addresses are of the same server, so that headers that are meant for one are meant for the other.
pub(super) fn is_same_server(one: &str, other: &str) -> bool {
    let origin = |url: &str| Url::parse(url).ok().map(|url| url.origin());
    origin(one).is_some_and(|one| Some(one) == origin(other))
}

/// The server of a target, as `host:port`.
pub(super) fn authority(target: &Target) -> String {
    let Ok(url) = Url::parse(&target.url) else { return String::new() };
    format!("{}:{}", url.host_str().unwrap_or_default(), url.port_or_known_default().unwrap_or_default())
}

/// A header's name, fit for a log line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HeaderName(String);

impl fmt::Display for HeaderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&crate::protocol::excerpt(&self.0))
    }
}

/// The first header that cannot be sent.
pub(super) fn unsendable(headers: &[(String, Secret)]) -> Option<HeaderName> {
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    let fits = |(name, value): &&(String, Secret)| {
        !name.is_empty() && name.bytes().all(token) && value.expose().bytes().all(|b| matches!(b, b' '..=b'~'))
    };
    headers.iter().find(|header| !fits(header)).map(|(name, _)| HeaderName(name.clone()))
}

/// Whether all headers can be sent; the error names the first that cannot.
pub(super) fn check_headers(headers: &[(String, Secret)]) -> Result<(), String> {
    match unsendable(headers) {
        Some(name) => Err(format!("'{name}' has a character that a header cannot have")),
        None => Ok(()),
    }
}

/// Why there is no connection to a service whose options begin with `prefix`, and which of them to look at.
pub(super) fn refusal(target: &Target, prefix: &str, status: Option<u16>, message: &str) -> String {
    match status {
        Some(status @ (401 | 403)) => {
            let server = authority(target);
            format!(
                "{server} refused the key: HTTP {status}; check {prefix}_api_key, {prefix}_auth and what the key may use"
            )
        }
        Some(404) => format!("{message}; check {prefix}_base_url and {prefix}_model"),
        _ => message.to_owned(),
    }
}
