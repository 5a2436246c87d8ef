//! What a stream needs to start: plain data, complete and validated before anything is allocated for the call.
//!
//! Made by `control` on the API or dialplan thread, owned by the stream from then on. Nothing here refers to FreeSWITCH.
//! Printing any of it shows no secret: not the password, not the values of headers, not the query of the URL.

use std::fmt;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::options::StreamOptions;
use crate::protocol::{CallInfo, ProtocolConfig, Recognition, WallClock};
use crate::transport::{BadHeader, BadUrl, ConnectOptions, Endpoint, Headers, Heartbeat, ServerGate};
use crate::units::text::looks_like_token;
use crate::units::{CallId, PcmFormat, Secret, StreamName};

/// A stream as asked for, with every option resolved.
#[derive(Clone, PartialEq)]
pub struct StreamSpec {
    /// The call it is attached to.
    pub call: CallId,
    /// Its name on that call.
    pub name: StreamName,
    /// The profile of the configuration that was applied.
    pub profile: Option<String>,
    /// Where it connects to.
    pub endpoint: EndpointUrl,
    /// First text message, sent byte for byte; `None` sends none.
    pub metadata: Option<String>,
    /// Everything else.
    pub options: StreamOptions,
}

impl StreamSpec {
    /// The format of captured audio on the wire.
    pub const fn wire(&self) -> PcmFormat {
        self.options.wire()
    }

    /// How to connect, to any server. Errors when a header cannot be sent, which `control` has refused already.
    pub fn connect_options(&self) -> Result<ConnectOptions, BadHeader> {
        let options = &self.options;
        let mut headers = Headers::default();
        if let Some(username) = &options.username {
            let password = options.password.as_ref().map_or("", Secret::expose);
            let credentials = STANDARD.encode(format!("{username}:{password}"));
            headers.insert("Authorization", &Secret::new(format!("Basic {credentials}")))?;
        }
        for (name, value) in &options.headers {
            headers.insert(name, value)?;
        }
        let interval = Duration::from_secs(options.heartbeat_s.into());
        let heartbeat = Heartbeat { interval, timeout: interval.min(LONGEST_PONG) };
        Ok(ConnectOptions {
            timeout: Duration::from_millis(options.connect_timeout_ms.into()),
            headers,
            subprotocol: options.subprotocol.clone(),
            preferred_subprotocol: None,
            servers: ServerGate::default(),
            tls: options.tls(),
            heartbeat: (options.heartbeat_s > 0).then_some(heartbeat),
            max_message: options.max_audio_base64_len as usize + MESSAGE_BESIDES_AUDIO,
            max_messages_per_s: options.max_messages_per_s,
        })
    }

    /// What the protocol needs to know, of a `call` whose identities are this stream's.
    pub fn protocol_config(&self, call: CallInfo) -> ProtocolConfig {
        let stream_id = match self.name.as_str() {
            StreamName::DEFAULT => self.call.to_string(),
            name => format!("{}-{name}", self.call),
        };
        ProtocolConfig {
            metadata: self.metadata.clone(),
            wire: self.wire(),
            mix: self.options.mix,
            buffer_ms: self.options.buffer_ms,
            codec: self.options.codec,
            byte_order: self.options.l16_byte_order,
            binary_rate: self.options.binary_rate,
            binary_channels: self.options.binary_channels as u16,
            control: self.options.control_format,
            queue_ms: self.options.inject_buffer_ms,
            max_audio_base64_len: self.options.max_audio_base64_len as usize,
            allow_files: self.options.allow_file_injection,
            recognition: Recognition {
                model: self.options.transcribe_model.clone(),
                language: self.options.transcribe_language.clone(),
            },
            call: CallInfo { call_id: self.call.to_string(), stream_id, ..call },
            clock: wall_clock(),
        }
    }
}

/// The time of day.
pub fn wall_clock() -> WallClock {
    WallClock {
        at: Instant::now(),
        // A clock set to before 1970 is as wrong as one set to 1970.
        since_epoch: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default(),
    }
}

/// A server that is alive answers a ping well within this, whatever the interval.
const LONGEST_PONG: Duration = Duration::from_secs(10);

/// What a message may have besides its audio, bytes.
const MESSAGE_BESIDES_AUDIO: usize = 65_536;

impl fmt::Debug for StreamSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamSpec")
            .field("call", &self.call)
            .field("name", &self.name)
            .field("profile", &self.profile)
            .field("endpoint", &self.endpoint)
            .field("metadata_bytes", &self.metadata.as_ref().map(String::len))
            .field("options", &self.options)
            .finish()
    }
}

/// A server to connect to. Printing it leaves out what may be secret: user, password, query, and tokens in the path.
#[derive(Clone, PartialEq, Eq)]
pub struct EndpointUrl(Endpoint);

impl EndpointUrl {
    /// Reads a URL; the error says what to change and does not quote it.
    pub fn parse(text: &str) -> Result<Self, BadUrl> {
        Endpoint::parse(text).map(Self)
    }

    /// Reads the URL of a conversation's service, which may be asked over HTTP.
    pub fn parse_service(text: &str) -> Result<Self, BadUrl> {
        Endpoint::parse(text).or_else(|error| Endpoint::parse_http(text).map_err(|_| error)).map(Self)
    }

    /// With what a service wants in the query, unless it is there already.
    #[must_use]
    pub fn with_query(self, parameters: &[(&str, String)]) -> Self {
        Self(self.0.with_query(parameters))
    }

    /// For connecting, never for printing.
    pub const fn endpoint(&self) -> &Endpoint {
        &self.0
    }
}

impl fmt::Display for EndpointUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let target = self.0.target();
        let path = target.split_once('?').map_or(target, |(path, _)| path);
        let hidden = if path.len() < target.len() { "?***" } else { "" };
        f.write_str(&self.0.origin())?;
        let mut before = "";
        for segment in path.split('/').skip(1) {
            let secret = looks_like_token(segment) || segment.contains('=') || announces_token(before);
            write!(f, "/{}", if secret && !segment.is_empty() { "***" } else { segment })?;
            before = segment;
        }
        f.write_str(hidden)
    }
}

/// Whether the part of a path behind this one is a credential, however short.
fn announces_token(segment: &str) -> bool {
    ["key", "token", "secret", "password", "auth"].iter().any(|word| segment.to_ascii_lowercase().ends_with(word))
}

impl fmt::Debug for EndpointUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    fn url(text: &str) -> EndpointUrl {
        EndpointUrl::parse(text).unwrap()
    }

    #[test]
    fn an_endpoint_prints_where_it_leads_and_nothing_secret() {
        for (text, shown) in [
            ("ws://host_a:8080/x", "ws://host_a:8080/x"),
            ("wss://user:hunter2@host/x?token=hunter2", "wss://host/x?***"),
            ("ws://[::1]:9000/a?hunter2", "ws://[::1]:9000/a?***"),
            ("wss://host/v1/hunter2f00dc0ffee123abc9/in", "wss://host/v1/***/in"),
            ("wss://host/customer-service-stream/8000/", "wss://host/customer-service-stream/8000/"),
            ("wss://host/token/hunter2/in", "wss://host/token/***/in"),
            ("wss://host/api_key/hunter2", "wss://host/api_key/***"),
            ("wss://host/in/key=hunter2/", "wss://host/in/***/"),
            ("wss://host/token/", "wss://host/token/"),
        ] {
            assert_eq!(url(text).to_string(), shown);
            assert_eq!(format!("{:?}", url(text)), shown);
        }
    }

    fn spec() -> StreamSpec {
        StreamSpec {
            call: CallId::new("abc"),
            name: StreamName::default(),
            profile: None,
            endpoint: url("wss://u:hunter2@h/?k=hunter2"),
            metadata: Some("{\"card\":\"hunter2\"}".into()),
            options: StreamOptions {
                username: Some("bob".into()),
                password: Some(Secret::new("hunter2")),
                headers: vec![("X-Key".into(), Secret::new("Bearer hunter2"))],
                ..StreamOptions::default()
            },
        }
    }

    #[test]
    fn a_spec_prints_no_secret_and_no_metadata() {
        let shown = format!("{:?}", spec());
        assert!(!shown.contains("hunter2"), "{shown}");
        assert!(shown.contains("X-Key") && shown.contains("abc"), "{shown}");
    }

    #[test]
    fn the_connection_gets_what_the_options_say() {
        let mut spec = spec();
        let options = spec.connect_options().unwrap();
        assert_eq!(options.headers.names().collect::<Vec<_>>(), ["authorization", "x-key"]);
        assert_eq!(
            (options.timeout, options.heartbeat),
            (Duration::from_millis(5_000), Some(Heartbeat { interval: 15 * S, timeout: 10 * S }))
        );
        assert!(options.max_message > spec.options.max_audio_base64_len as usize);
        spec.options.heartbeat_s = 4;
        assert_eq!(spec.connect_options().unwrap().heartbeat, Some(Heartbeat { interval: 4 * S, timeout: 4 * S }));
        spec.options.heartbeat_s = 0;
        assert_eq!(spec.connect_options().unwrap().heartbeat, None);
        spec.options.headers = vec![("bad name".into(), Secret::new("x"))];
        assert!(spec.connect_options().is_err());
    }
}
