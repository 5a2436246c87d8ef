//! The options of one stream: each is declared here, once.
//!
//! Plain data, validated; made by `control` on the API or dialplan thread, owned by the stream from then on. Printing them shows no
//! secret.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::action::Grant;
use super::correlation::{Correlation, HeaderFrom};
use super::state::{Ready, StreamMode};
use crate::conversation::AiOptions;
use crate::dsp::gain::Gain;
use crate::inject::WhenFull;
use crate::media::InjectMode;
use crate::options::{
    FileKind, Fixed, Form, checked, choice, choice_or, choices, list, number, optional, options, path, secret, switch,
    text, url, values,
};
use crate::peer::Retry;
use crate::protocol::{self, BinaryRate, ByteOrder, Codec, ControlFormat};
use crate::transport::{TlsOptions, Trust, read_headers};
use crate::units::text::shown;
use crate::units::{Mix, PcmFormat, SampleRate, Secret};

options! {
    /// The options of one stream.
    #[derive(Clone, PartialEq, Debug)]
    pub struct StreamOptions, variables "AUDIO_STREAM_" {
        /// What kind of stream it is.
        mode: StreamMode = Fixed(StreamMode::Ws);
        /// Profile whose options apply. Arguments and channel variables override it; it overrides the settings.
        profile: () = text("the name of a profile in audio_stream.conf.xml", |text| values::plain(text).map(drop));
        /// Captured audio: `mono` is the caller, `mixed` is both legs in one channel, `stereo` is the caller on the left and the other
        /// leg on the right. The word alone, directly after the URL, does the same.
        mix: Mix = choice().default("mono").older("AUDIO_STREAM_CHANNELS", Form::Channels).server_only();
        /// Sampling rate of the captured audio on the wire. It does not depend on the call's codec. The value alone, after the mix, does
        /// the same.
        rate: SampleRate = checked("8k, 16k, 24k, 32k, 48k or the same in Hz", |text| text.parse().ok()).default("8k").also("AUDIO_STREAM_SAMPLING").server_only();
        /// Protocol of the server: `native` for servers written for mod_audio_stream, otherwise the platform of that name. The other
        /// protocols set rate, codec and message length as their servers expect.
        protocol: &'static str = checked(format!("one of {}", protocol::names().collect::<Vec<_>>().join(", ")), |text| Some(protocol::find(text)?.name)).default("native").server_only();
        /// Codec in both directions, for protocols that have a choice: native (`auto` is L16; G.711 is at 8 kHz), telnyx and asterisk
        /// (`auto` is PCMU at 8 kHz, otherwise L16) and plivo (`auto` is L16; no PCMA).
        codec: Codec = choice().default("auto").server_only();
        /// Model of the transcription service, for the protocols deepgram, assemblyai, soniox and openai_transcription, in the service's
        /// own words.
        transcribe_model: Option<String> = optional("the service's name of a model").server_only();
        /// Language of the transcription, in the service's own words.
        transcribe_language: Option<String> = optional("the service's name of a language").server_only();
        /// URL of the transcription service for the command `transcribe`, if it is not the service's own.
        transcribe_url: Option<String> = url("a ws:// or wss:// URL", service_url).server_only();
        /// Key of the transcription service.
        transcribe_key: Option<Secret> = secret("the key of the transcription service").server_only();
        /// Byte order of L16 for the protocol telnyx, in both directions. Telnyx does not state it; servers that have tried report
        /// `little`. RTP's order would be `big`. If a server hears noise instead of the caller, it is the other one.
        l16_byte_order: ByteOrder = choice().default("little").server_only();
        /// Form of commands and events for the protocol asterisk, as `control_message_format` of Asterisk's chan_websocket.conf.
        control_format: ControlFormat = choice().default("plain").server_only();
        /// Length of one message of captured audio. It must be a multiple of the call's ptime. If no argument of the command sets it, it
        /// is rounded up to a multiple.
        buffer_ms: u32 = number(20..=1_000, "ms").default("20").older("AUDIO_STREAM_RTP_PACKETS", Form::Packets).also("STREAM_BUFFER_SIZE");
        /// Ptime of the call if FreeSWITCH reports none.
        frame_ms: u32 = number(10..=100, "ms").default("20").also("STREAM_FRAME_MS");
        /// Whether the caller hears the audio from the server.
        playback: bool = switch().default("true").also("STREAM_PLAYBACK");
        /// Whether the caller is sent silence while nobody else writes to the call, for example in `park`: one packet per ptime, from the
        /// start of the stream to its end. `auto`: for a conversation whose agent is heard. Some gateways and phones take a call without packets
        /// for dead, or send less themselves. It costs the coding of each packet. Nothing is written to a bridged call or a conference member.
        send_silence: Option<bool> = switch().or("auto").default("auto");
        /// What happens to the other leg's audio while the server's audio plays: `replace` mutes it, `mix` keeps it, `duck` lowers it
        /// by `duck_db`. The audio of several streams on one call is always mixed.
        inject_mode: InjectMode = choice().default("replace");
        /// Attenuation of the other leg for `inject_mode=duck`.
        duck_db: u32 = number(0..=60, "dB").default("12");
        /// Whether the server hears silence instead of the caller while a conference has muted the caller or put them on hold.
        follow_mute: bool = switch().default("true");
        /// Gain of the caller's audio on the way to the server, until the command `gain` changes it.
        caller_gain: Gain = checked("-60 to 20 dB", |text| text.parse().ok()).default("0");
        /// Gain of the server's audio on the way to the caller, until the command `gain` changes it.
        agent_gain: Gain = checked("-60 to 20 dB", |text| text.parse().ok()).default("0");
        /// Longest audio from the server that may wait for playback; `inject_full` says what becomes of more.
        inject_buffer_ms: u32 = number(100..=600_000, "ms").default("120000").also("STREAM_INJECT_BUFFER_MS").server_only();
        /// What is done when `inject_buffer_ms` of audio wait. `wait`: the module stops reading from the server, at most 1 MiB of
        /// audio and one message later, until there is room again. This slows the server down, and nothing is lost. `drop`: audio
        /// beyond is dropped and counted, and an `overflow` event is fired; for servers whose audio is of no use later.
        inject_full: WhenFull = choice().default("wait").server_only();
        /// Audio that is buffered before an utterance starts to play. More audio tolerates more network jitter. `auto` follows the
        /// measured jitter, 25 to 400 ms.
        inject_min_buffer_ms: Option<u32> = number(0..=5_000, "ms").or("auto").default("40").also("STREAM_INJECT_MIN_BUFFER_MS");
        /// What the server may do with the call, if its protocol can ask for it: `answer` answers the call, `hangup` ends it, `transfer`
        /// transfers the caller to an extension of the call's dialplan and context, `dtmf` sends DTMF to the caller.
        allow: Vec<Grant> = choices();
        /// Whether the server may play files from `file_injection_dir`, if its protocol can ask for it.
        allow_file_injection: bool = switch().default("false").also("STREAM_ALLOW_FILE_INJECTION");
        /// Folder of the files that the server may play; symbolic links are resolved first. `allow_file_injection` needs it.
        file_injection_dir: Option<PathBuf> = text("the absolute path of a folder", file_folder).names(FileKind::Folder);
        /// Rate of binary messages from the server, which are raw S16LE audio. For the protocol `native`, `auto` is the stream's own
        /// rate and `off` ignores binary messages. The other protocols have rules of their own.
        binary_rate: BinaryRate = checked("8000 to 64000 Hz, auto or off", binary_rate).default("auto").also("STREAM_SAMPLE_RATE").server_only();
        /// Interleaved channels of binary audio from the server.
        binary_channels: u32 = number(1..=2, "").default("1").server_only();
        /// Longest base64 audio in one message from the server. A longer message is dropped, and an `error` event is fired.
        max_audio_base64_len: u32 = number(1_000..=10_000_000, "characters").default("1000000").also("STREAM_MAX_AUDIO_BASE64_LEN");
        /// Messages that the server may send in a second; pings and fragments count too, and 8 KiB of a longer message count as one.
        /// Those of ten seconds may come at once. A server that sends faster is read more slowly; after a second of that an `error`
        /// event is fired, after 10 s the connection is closed with 1008.
        max_messages_per_s: u32 = number(50..=100_000, "").default("1000");
        /// Longest captured audio that may wait for the server, because it does not read or there is no connection. Beyond this the oldest audio is dropped and counted,
        /// and an `overflow` event is fired.
        max_queue_ms: u32 = number(1_000..=60_000, "ms").default("5000").also("STREAM_MAX_QUEUE_MS");
        /// Time limit for name lookup, TCP connection, TLS and WebSocket upgrade together.
        connect_timeout_ms: u32 = number(100..=60_000, "ms").default("5000");
        /// From when on the caller's audio is sent. `off`: from the start of the stream; what is said before the connection is made waits for it.
        /// `connect`: from the connection on, in a conversation from the moment the service has confirmed the session. `first_message`: from
        /// the server's first message on, of whatever kind; in a conversation the same as `connect`. What is said before is not sent. An event
        /// `ready` tells when; metadata, `start` messages and keys do not wait for it, and what the server sends is always played.
        ready: Option<Ready> = choice_or("off").default("off");
        /// How long the server may take to its first message with `ready=first_message`, from each connection on. After that, an `error`
        /// event ends the stream.
        ready_timeout_ms: u32 = number(100..=60_000, "ms").default("10000").server_only();
        /// Attempts to connect again after the connection is lost or cannot be made; `reconnecting` events tell of each. Captured audio
        /// waits meanwhile, within `max_queue_ms`, and what the server has sent plays on. There is no attempt after a close with 1000
        /// or without a code, with 1002, 1003 or 1007 to 1010, or after an answer of HTTP 4xx except 408 and 429. A connection of
        /// 10 s starts the count again. 0 ends the stream with its first connection.
        reconnect_max: u32 = number(0..=100, "").default("0").also("STREAM_RECONNECT_MAX").server_only();
        /// Delay before the first of these attempts. Each further delay is twice as long, up to 30 s, plus up to a quarter at random.
        reconnect_ms: u32 = number(10..=30_000, "ms").default("500").server_only();
        /// How long a `start` on a call without media waits for it: the call rings, or its codec is not negotiated yet. After that, an
        /// `error` event ends the start. 0 refuses the `start` at once.
        media_wait_s: u32 = number(1..=3_600, "s").or_zero("none").default("300");
        /// Interval of WebSocket pings. If nothing comes from the server within 10 s after a ping, a second one is sent; 4 s later the
        /// stream ends with error 5.
        heartbeat_s: u32 = number(1..=3_600, "s").or_zero("none").default("15").also("STREAM_HEART_BEAT");
        /// Headers that are added to the WebSocket upgrade, such as `headers={"Authorization": "Bearer …"}`.
        headers: Vec<(String, Secret)> = text("a JSON object of strings", |text| read_headers(text).map_err(|bad| bad.to_string())).secret().json().also("AUDIO_STREAM_EXTRA_HEADERS").also("STREAM_EXTRA_HEADERS");
        /// Which servers get headers by which they find the call: `X-Call-Id` (the channel's uuid), `X-SIP-Call-Id`, `traceparent` and those of
        /// `headers_from`. `servers`: the servers of streams. `all`: AI and transcription services too. `traceparent` is taken from the
        /// channel variable or SIP header of that name (or `X-Traceparent`), otherwise it is made; either way the variable has it afterwards.
        correlation: Correlation = choice().default("servers");
        /// Channel variables that are sent as headers of the WebSocket upgrade: `sip_h_X-Tenant` becomes the header `X-Tenant`, `customer_id`
        /// becomes `X-customer-id`, and `X-Customer:customer_id` says which header. See `correlation` for who gets them.
        headers_from: Vec<HeaderFrom> = list("names of channel variables, each alone or as Header:variable, separated by commas", HeaderFrom::read);
        /// WebSocket subprotocol to request instead of the protocol's own.
        subprotocol: Option<String> = checked("a name without spaces or separators", subprotocol).optional().server_only();
        /// User name for HTTP basic authentication. A user name in the URL overrides it.
        username: Option<String> = text("a user name without ':'", username).shown_by(|text| match text.split_once(':') {
            // What follows was meant to be the password.
            Some((name, _)) => format!("{}:***", shown(name)),
            None => shown(text),
        }).server_only();
        /// Password for HTTP basic authentication. Keep it in a profile: a channel variable is visible to event sockets and in call
        /// records.
        password: Option<Secret> = secret("the password that goes with username").server_only();
        /// CA bundle that verifies the server's certificate: the system's, or a PEM file. `none` accepts any certificate and logs a
        /// warning.
        tls_ca: Trust = text("system, none or the path of a PEM file", |text| Ok(Trust::read(values::plain(text)?.unwrap_or_default()))).names(FileKind::File).default("system").also("AUDIO_STREAM_TLS_CA_FILE").also("STREAM_TLS_CA_FILE");
        /// PEM file of the client certificate and its chain. It needs `tls_key`.
        tls_cert: Option<PathBuf> = path("the path of a PEM file").also("AUDIO_STREAM_TLS_CERT_FILE").also("STREAM_TLS_CERT_FILE");
        /// PEM file of the client certificate's private key. It needs `tls_cert`.
        tls_key: Option<PathBuf> = path("the path of a PEM file").also("AUDIO_STREAM_TLS_KEY_FILE").also("STREAM_TLS_KEY_FILE");
        /// Whether the server's certificate must match the host name. `false` logs a warning.
        tls_verify_hostname: bool = switch().default("true").older("STREAM_TLS_DISABLE_HOSTNAME_VALIDATION", Form::Inverted);
        /// Folder of recordings that have a relative file name. It must exist. If it is not set, FreeSWITCH's `recordings_dir` is used.
        record_dir: Option<PathBuf> = text("the absolute path of a folder, without '..'", record_folder).names(FileKind::Folder).also("wav_file_path");
        /// Longest duration of the stream. Then it ends as with `stop`; the call goes on.
        max_duration_s: u32 = number(1..=604_800, "s").or_zero("no limit").default("0");
        /// Interval of the stream's summary in the log.
        log_every_ms: u32 = number(1_000..=3_600_000, "ms").or_zero("none").default("10000").also("AUDIO_STREAM_INJECT_LOG_EVERY_MS").also("STREAM_INJECT_LOG_EVERY_MS");
        /// Whether the text of messages is kept out of the log.
        suppress_log: bool = switch().default("false").also("STREAM_SUPPRESS_LOG");
        /// What only a conversation has.
        ai: Arc<AiOptions> = Fixed(Arc::default());
    }
}

impl StreamOptions {
    /// The format of captured audio on the wire.
    pub const fn wire(&self) -> PcmFormat {
        PcmFormat { rate: self.rate, channels: self.mix.channels() }
    }

    /// How a lost connection is made again.
    pub fn retry(&self) -> Retry {
        let first_wait = Duration::from_millis(self.reconnect_ms.into());
        Retry { attempts: self.reconnect_max, first_wait, ..Retry::default() }
    }

    /// How `wss://` is secured.
    pub fn tls(&self) -> TlsOptions {
        TlsOptions {
            trust: self.tls_ca.clone(),
            cert_file: self.tls_cert.clone(),
            key_file: self.tls_key.clone(),
            verify_hostname: self.tls_verify_hostname,
        }
    }

    /// Whether the caller is sent silence while nobody else writes to the call.
    pub fn sends_silence(&self) -> bool {
        self.send_silence.unwrap_or(self.mode == StreamMode::Ai && self.playback)
    }

    /// Gain of the other leg under audio that ducks it.
    pub fn duck(&self) -> Gain {
        // In range, as every gain from 0 to -60 dB is.
        Gain::from_db(-(self.duck_db as f32)).unwrap_or_default()
    }
}

fn binary_rate(text: &str) -> Option<BinaryRate> {
    match text.to_ascii_lowercase().as_str() {
        "auto" => Some(BinaryRate::Auto),
        "" | "off" => Some(BinaryRate::Off),
        text => {
            let hz = match text.strip_suffix('k') {
                Some(kilo) => values::number(kilo)?.checked_mul(1_000)?,
                None => values::number(text)?,
            };
            SampleRate::from_hz(hz).map(BinaryRate::Rate)
        }
    }
}

fn service_url(url: &str) -> Result<(), String> {
    crate::transport::Endpoint::parse(url).map(drop).map_err(|error| error.to_string())
}

fn file_folder(text: &str) -> Result<Option<PathBuf>, String> {
    match values::plain(text)? {
        Some(path) if !path.starts_with('/') || path == "/" => Err("give the absolute path of a folder".into()),
        path => Ok(path.map(PathBuf::from)),
    }
}

fn record_folder(text: &str) -> Result<Option<PathBuf>, String> {
    match values::plain(text)? {
        Some(path) if !path.starts_with('/') || path.split('/').any(|part| part == "..") => {
            Err("give the absolute path of a folder, without '..'".into())
        }
        path => Ok(path.map(PathBuf::from)),
    }
}

fn subprotocol(text: &str) -> Option<String> {
    (text.len() <= values::MAX_TEXT && values::is_token(text)).then(|| text.to_owned())
}

fn username(text: &str) -> Result<Option<String>, String> {
    match values::plain(text)? {
        Some(name) if name.contains(':') => Err("give a user name without ':'".into()),
        name => Ok(name.map(str::to_owned)),
    }
}
