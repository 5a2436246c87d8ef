//! What a stream needs to start: plain data, complete and validated before anything is allocated for the call.
//!
//! Made by `control` on the API or dialplan thread, owned by the stream from then on. Nothing here refers to FreeSWITCH.
//! Printing any of it shows no secret: not the password, not the values of headers, not the query of the URL.

use std::fmt;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::action::Grants;
use super::status::StreamMode;
use crate::conversation::AiOptions;
use crate::dsp::gain::Gain;
use crate::media::InjectMode;
use crate::media::mixer::DEFAULT_DUCK;
use crate::protocol::{CallInfo, Codec, ProtocolConfig, WallClock};
use crate::transport::{BadHeader, BadUrl, ConnectOptions, Endpoint, Headers, Heartbeat, TlsOptions};
use crate::units::{CallId, Mix, PcmFormat, SampleRate, Secret, StreamName};

/// A stream as asked for, with every option resolved.
#[derive(Clone, PartialEq)]
pub struct StreamSpec {
    /// The call it is attached to.
    pub call: CallId,
    /// Its name on that call.
    pub name: StreamName,
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

    /// How to connect. Errors when a header cannot be sent, which `control` has refused already.
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
            tls: options.tls.clone(),
            heartbeat: (options.heartbeat_s > 0).then_some(heartbeat),
            max_message: options.max_audio_base64_len as usize + MESSAGE_BESIDES_AUDIO,
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
            binary: self.options.binary(),
            max_audio_base64_len: self.options.max_audio_base64_len as usize,
            allow_files: self.options.allow_file_injection,
            call: CallInfo { call_id: self.call.to_string(), stream_id, ..call },
            clock: WallClock {
                at: Instant::now(),
                // A clock set to before 1970 is as wrong as one set to 1970.
                since_epoch: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default(),
            },
        }
    }
}

/// A far end that is alive answers a ping well within this, whatever the interval.
const LONGEST_PONG: Duration = Duration::from_secs(10);

/// What a message may have besides its audio, bytes.
const MESSAGE_BESIDES_AUDIO: usize = 65_536;

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
#[derive(Clone, PartialEq, Debug)]
pub struct StreamOptions {
    /// What kind of stream it is.
    pub mode: StreamMode,
    /// Which legs are captured.
    pub mix: Mix,
    /// Rate of captured audio on the wire.
    pub rate: SampleRate,
    /// Name of the wire protocol.
    pub protocol: &'static str,
    /// How captured audio is coded, where the protocol leaves a choice.
    pub codec: Codec,
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
    /// It follows the measured jitter instead.
    pub adaptive_prebuffer: bool,
    /// How far the other leg goes down under a voice that ducks it.
    pub duck: Gain,
    /// Gain of the caller on the way to the far end, at first.
    pub caller_gain: Gain,
    /// Gain of the far end on the way to the caller, at first.
    pub agent_gain: Gain,
    /// What the far end may have done to the call.
    pub allow: Grants,
    /// Whether the far end may name files to be played.
    pub allow_file_injection: bool,
    /// The folder they must be in.
    pub file_injection_dir: Option<PathBuf>,
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
    /// Folder of recordings whose names are relative; `None` is the switch's own.
    pub record_dir: Option<PathBuf>,
    /// What only a conversation has.
    pub ai: AiOptions,
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
            mode: StreamMode::Ws,
            mix: Mix::Mono,
            rate: SampleRate::HZ_8000,
            protocol: "native",
            codec: Codec::Auto,
            buffer_ms: 20,
            frame_ms: 20,
            playback: true,
            inject_mode: InjectMode::Replace,
            inject_buffer_ms: 5_000,
            inject_min_buffer_ms: 40,
            adaptive_prebuffer: false,
            duck: DEFAULT_DUCK,
            caller_gain: Gain::UNITY,
            agent_gain: Gain::UNITY,
            allow: Grants::default(),
            allow_file_injection: false,
            file_injection_dir: None,
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
            record_dir: None,
            ai: AiOptions::default(),
        }
    }
}

/// A server to connect to. Printing it leaves out what may be secret: user, password and query.
#[derive(Clone, PartialEq, Eq)]
pub struct EndpointUrl(Endpoint);

impl EndpointUrl {
    /// Reads a URL; the error says what to change and does not quote it.
    pub fn parse(text: &str) -> Result<Self, BadUrl> {
        Endpoint::parse(text).map(Self)
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
        write!(f, "{}://{}{path}{hidden}", if self.0.is_tls() { "wss" } else { "ws" }, self.0.authority())
    }
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

    fn url(text: &str) -> EndpointUrl {
        EndpointUrl::parse(text).unwrap()
    }

    #[test]
    fn an_endpoint_prints_where_it_leads_and_nothing_secret() {
        for (text, shown) in [
            ("ws://host_a:8080/x", "ws://host_a:8080/x"),
            ("wss://user:hunter2@host/x?token=hunter2", "wss://host/x?***"),
            ("ws://[::1]:9000/a?hunter2", "ws://[::1]:9000/a?***"),
        ] {
            assert_eq!(url(text).to_string(), shown);
            assert_eq!(format!("{:?}", url(text)), shown);
        }
    }

    fn spec() -> StreamSpec {
        StreamSpec {
            call: CallId::new("abc"),
            name: StreamName::default(),
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
        assert_eq!((options.timeout, options.heartbeat), (Duration::from_millis(5_000), None));
        assert!(options.max_message > spec.options.max_audio_base64_len as usize);
        spec.options.heartbeat_s = 30;
        let heartbeat = spec.connect_options().unwrap().heartbeat.unwrap();
        assert_eq!((heartbeat.interval, heartbeat.timeout), (Duration::from_secs(30), Duration::from_secs(10)));
        spec.options.headers = vec![("bad name".into(), Secret::new("x"))];
        assert!(spec.connect_options().is_err());
    }
}
