//! What a stream needs to start: plain data, complete and validated before anything is allocated for the call.
//!
//! Made by `control` on the API or dialplan thread, owned by the stream from then on. Nothing here refers to FreeSWITCH.
//! Printing any of it shows no secret: not the password, not the values of headers, not the query of the URL.

use std::fmt;

pub use crate::media::InjectMode;
pub use crate::transport::{TlsOptions, Trust};
use crate::units::{CallId, Mix, PcmFormat, SampleRate, Secret, StreamName};

/// A stream as asked for, with every option resolved.
#[derive(Clone, PartialEq, Eq)]
pub struct StreamSpec {
    /// The call it is attached to.
    pub call: CallId,
    /// Its name on that call.
    pub name: StreamName,
    /// Where it connects to; not parsed yet.
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
}

impl fmt::Debug for StreamSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamSpec")
            .field("call", &self.call)
            .field("name", &self.name)
            .field("endpoint", &self.endpoint)
            .field("metadata_bytes", &self.metadata.as_ref().map(String::len))
            .field("options", &self.options)
            .finish()
    }
}

/// The options of one stream. What each means, its range and its default are the rows of `control::options`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StreamOptions {
    /// Which legs are captured.
    pub mix: Mix,
    /// Rate of captured audio on the wire.
    pub rate: SampleRate,
    /// Name of the wire protocol.
    pub protocol: &'static str,
    /// Captured audio in one message, ms; a multiple of the call's ptime, which is checked when it is attached.
    pub buffer_ms: u32,
    /// Ptime taken where FreeSWITCH reports none, ms.
    pub frame_ms: u32,
    /// Whether what the far end sends is played to the caller.
    pub playback: bool,
    /// How playback meets the other leg's audio.
    pub inject_mode: InjectMode,
    /// Bound of the playback queue, ms.
    pub inject_buffer_ms: u32,
    /// Audio gathered before an utterance starts to play, ms.
    pub inject_min_buffer_ms: u32,
    /// Format of raw binary messages from the far end; `None`: binary messages are not audio.
    pub binary_rate: Option<SampleRate>,
    /// Interleaved channels of raw binary messages, 1 or 2.
    pub binary_channels: u16,
    /// Longest base64 audio in one message, characters.
    pub max_audio_base64_len: u32,
    /// Bound of captured audio waiting for the socket, ms; beyond it the oldest goes.
    pub max_queue_ms: u32,
    /// Bound over name lookup, connect, TLS and upgrade together, ms.
    pub connect_timeout_ms: u32,
    /// Interval of WebSocket pings, s; 0 sends none.
    pub heartbeat_s: u32,
    /// Headers added to the upgrade request, in the order given.
    pub headers: Vec<(String, Secret)>,
    /// Value of `Sec-WebSocket-Protocol`; `None` leaves it to the protocol.
    pub subprotocol: Option<String>,
    /// User of HTTP basic authentication.
    pub username: Option<String>,
    /// Its password.
    pub password: Option<Secret>,
    /// How `wss://` is secured.
    pub tls: TlsOptions,
    /// Interval of the summary in the log, ms; 0 writes none.
    pub log_every_ms: u32,
    /// Keeps the text of messages out of the log.
    pub suppress_log: bool,
}

impl StreamOptions {
    /// The format of captured audio on the wire.
    pub const fn wire(&self) -> PcmFormat {
        PcmFormat { rate: self.rate, channels: self.mix.channels() }
    }

    /// The format of raw binary messages from the far end, where those are audio.
    pub fn binary(&self) -> Option<PcmFormat> {
        self.binary_rate.map(|rate| PcmFormat { rate, channels: self.binary_channels })
    }
}

impl Default for StreamOptions {
    fn default() -> Self {
        Self {
            mix: Mix::Mono,
            rate: SampleRate::HZ_8000,
            protocol: "native",
            buffer_ms: 20,
            frame_ms: 20,
            playback: true,
            inject_mode: InjectMode::Replace,
            inject_buffer_ms: 5_000,
            inject_min_buffer_ms: 40,
            binary_rate: None,
            binary_channels: 1,
            max_audio_base64_len: 1_000_000,
            max_queue_ms: 5_000,
            connect_timeout_ms: 5_000,
            heartbeat_s: 0,
            headers: Vec::new(),
            subprotocol: None,
            username: None,
            password: None,
            tls: TlsOptions::default(),
            log_every_ms: 10_000,
            suppress_log: false,
        }
    }
}

/// The text of a WebSocket URL. Printing it leaves out what may be secret: user, password and query.
#[derive(Clone, PartialEq, Eq)]
pub struct EndpointUrl(String);

impl EndpointUrl {
    /// Takes the text as it is; parsing it is the transport's.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The whole text, secrets included: for connecting, never for printing.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for EndpointUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((scheme, rest)) = self.0.split_once("://") else { return f.write_str("***") };
        let (authority, rest) = rest.split_at(rest.find(['/', '?', '#', '\\']).unwrap_or(rest.len()));
        let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        // A password with a '/' in it ends the authority early and would stand where the port is.
        let port = host.rsplit_once(']').map_or(host, |(_, port)| port).split_once(':').map_or("", |(_, port)| port);
        if !port.bytes().all(|byte| byte.is_ascii_digit()) {
            return write!(f, "{}://***", scheme.escape_debug());
        }
        let path = &rest[..rest.find(['?', '#']).unwrap_or(rest.len())];
        let hidden = if path.len() < rest.len() { "?***" } else { "" };
        write!(f, "{}://{}{}{hidden}", scheme.escape_debug(), host.escape_debug(), path.escape_debug())
    }
}

impl fmt::Debug for EndpointUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_prints_where_it_leads_and_nothing_secret() {
        for (text, shown) in [
            ("ws://host_a:8080/x", "ws://host_a:8080/x"),
            ("wss://user:hunter2@host/x?token=hunter2", "wss://host/x?***"),
            ("ws://user:p@ss:hunter2@host", "ws://host"),
            ("ws://[::1]:9000/a#hunter2", "ws://[::1]:9000/a?***"),
            ("ws://user:hunter2/x@host/", "ws://***"),
            ("hunter2", "***"),
            ("ws://h/a\nb", "ws://h/a\\nb"),
        ] {
            assert_eq!(EndpointUrl::new(text).to_string(), shown);
            assert_eq!(format!("{:?}", EndpointUrl::new(text)), shown);
        }
    }

    #[test]
    fn a_spec_prints_no_secret_and_no_metadata() {
        let spec = StreamSpec {
            call: CallId::new("abc"),
            name: StreamName::default(),
            endpoint: EndpointUrl::new("wss://u:hunter2@h/?k=hunter2"),
            metadata: Some("{\"card\":\"hunter2\"}".into()),
            options: StreamOptions {
                password: Some(Secret::new("hunter2")),
                headers: vec![("Authorization".into(), Secret::new("Bearer hunter2"))],
                ..StreamOptions::default()
            },
        };
        let shown = format!("{spec:?}");
        assert!(!shown.contains("hunter2"), "{shown}");
        assert!(shown.contains("Authorization") && shown.contains("abc"), "{shown}");
    }
}
