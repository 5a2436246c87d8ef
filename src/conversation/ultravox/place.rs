//! Where calls are created, and where one is joined.
//!
//! Pure.

use serde::Deserialize;

use super::super::address;
use super::super::setup::HeaderList;
use super::super::ticket::address_of;
use crate::peer::Target;
use crate::units::Secret;

/// Where the service is, unless the operator says otherwise.
pub(super) const USUAL: &str = "https://api.ultravox.ai";

/// Where calls are created, with `http` or `https`. `base`: a server, its `/api`, or everything up to `/calls`; `agent`: of which agent.
pub(super) fn calls(base: &str, agent: Option<&str>) -> Result<String, String> {
    let mut url = address::with_scheme(address::parse(base, &address::ANY)?, false)?;
    let tail = agent.map_or_else(|| "/calls".to_owned(), |agent| format!("/agents/{agent}/calls"));
    address::complete(&mut url, &format!("/api{tail}"), &tail);
    Ok(url.into())
}

/// A call that the service has created.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Created {
    pub(super) call_id: Option<String>,
    join_url: Option<String>,
    max_duration: Option<String>,
}

impl Created {
    /// Where it is joined: anybody who knows the path can join, so all of it is a secret. The operator's `headers` go with it where the
    /// server is that of `calls`. The error says what is wrong, without the address.
    pub(super) fn target(&self, calls: &str, headers: &HeaderList) -> Result<Target, String> {
        let text = self.join_url.as_deref().ok_or("the answer has no joinUrl")?;
        let wrong = |why: &str| format!("the joinUrl {why}");
        let mut url = address_of(text, calls.starts_with("https:")).map_err(wrong)?;
        let secret = match url.query() {
            Some(query) => format!("{}?{query}", url.path()),
            None => url.path().to_owned(),
        };
        url.set_query(None);
        url.set_path("");
        let same = address::is_same_server(calls, address::with_scheme(url.clone(), false)?.as_str());
        let headers = if same { headers.clone() } else { Vec::new() };
        Ok(Target { url: url.into(), headers, secret: Some(Secret::new(secret)) })
    }

    /// How long it lasts, s, if the service says so: `3600s`.
    pub(super) fn lasts_s(&self) -> Option<u64> {
        let seconds = self.max_duration.as_deref()?.strip_suffix('s')?.parse::<f64>().ok()?;
        (1.0..=1e6).contains(&seconds).then_some(seconds as u64)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn an_address_is_completed_whatever_part_of_it_is_given() {
        for (base, agent, wanted) in [
            (USUAL, None, "https://api.ultravox.ai/api/calls"),
            ("ws://h:1/", None, "http://h:1/api/calls"),
            ("wss://h/api", None, "https://h/api/calls"),
            ("https://h/gate/api/", None, "https://h/gate/api/calls"),
            ("https://h/api/calls?x=y#z", None, "https://h/api/calls?x=y"),
            ("https://h/api", Some("a-1"), "https://h/api/agents/a-1/calls"),
        ] {
            assert_eq!(calls(base, agent).as_deref(), Ok(wanted), "{base}");
        }
        for bad in ["ftp://h", "https://user:pw@h", "nonsense"] {
            assert!(calls(bad, None).is_err(), "{bad}");
        }
    }

    #[test]
    fn all_of_a_join_url_but_its_server_is_a_secret() {
        let headers = vec![("X-Tenant".to_owned(), Secret::new("7"))];
        let created = |join: &str| Created { join_url: Some(join.to_owned()), ..Created::default() };
        let join = |calls: &str, url: &str| created(url).target(calls, &headers);
        let target =
            join("https://api.ultravox.ai/api/calls", "wss://voice.ultravox.ai/calls/c4ll/in?a=s3cret").unwrap();
        assert_eq!((target.url.as_str(), target.headers.len()), ("wss://voice.ultravox.ai/", 0));
        assert_eq!(target.secret.as_ref().map(Secret::expose), Some("/calls/c4ll/in?a=s3cret"));
        assert!(!format!("{target:?}").contains("c4ll"));
        assert_eq!(
            join("http://h:1/api/calls", "ws://h:1/c4ll").unwrap().headers.len(),
            1,
            "it is the operator's server"
        );
        let why = |url| join("https://h/api/calls", url).unwrap_err();
        assert_eq!(why("ws://h/c4ll"), "the joinUrl is not encrypted");
        assert_eq!(why("https://h/c4ll"), "the joinUrl is no WebSocket URL");
        assert_eq!(Created::default().target("https://h", &headers).unwrap_err(), "the answer has no joinUrl");
    }

    #[test]
    fn a_length_is_read_where_it_is_one() {
        for (text, wanted) in
            [("3600s", Some(3_600)), ("90.5s", Some(90)), ("1h", None), ("-1s", None), ("NaNs", None), ("s", None)]
        {
            let created = Created { max_duration: Some(text.to_owned()), ..Created::default() };
            assert_eq!(created.lasts_s(), wanted, "{text}");
        }
    }
}
