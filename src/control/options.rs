//! The options of a stream: one row each, and the rules by which their sources combine.
//!
//! A row of [`OPTIONS`] drives the `key=value` arguments of `start`, the channel variables, the settings and profiles of
//! `audio_stream.conf.xml`, the range check, the default and the documentation. Arguments win over variables, variables over the
//! profile, the profile over the settings, the settings over the defaults. A bad argument refuses the command; a bad variable or
//! setting is named in a [`Warning`] and what would hold without it is used.
//!
//! Pure; on the API or dialplan thread. Secrets never stand in an error, a warning or a debug print.

mod ai;

use std::fmt;
use std::path::PathBuf;

use crate::control::config::Config;
use crate::control::text::shown;
use crate::control::values;
use crate::control::variables::Variables;
use crate::dsp::gain::Gain;
use crate::media::InjectMode;
use crate::protocol::{self, Codec};
use crate::stream::action::Grants;
use crate::stream::spec::StreamOptions;
use crate::stream::state::StreamMode;
use crate::transport::Trust;
use crate::units::{Law, Mix, SampleRate, Secret};

pub use ai::AI_OPTIONS;

/// An option: its name, what it takes and what it changes in a `T`.
pub struct Row<T: 'static> {
    /// Name as an argument and as a setting.
    pub key: &'static str,
    /// What it takes.
    pub kind: Kind<T>,
    /// Its default, in the form it is written in.
    pub default: &'static str,
    /// Channel variables that set it; the first that is set counts.
    pub variables: &'static [Variable],
    /// Whether its value must not be shown.
    pub secret: bool,
    /// What it means, one or two sentences, for the documentation.
    pub doc: &'static str,
}

/// What an option takes.
pub enum Kind<T: 'static> {
    /// A whole number within bounds.
    Number {
        /// Least.
        min: u32,
        /// Greatest.
        max: u32,
        /// What 0 stands for, where it is allowed besides the bounds.
        zero: Option<&'static str>,
        /// The unit, empty for a bare count.
        unit: &'static str,
        /// Stores it.
        set: fn(&mut T, u32),
    },
    /// A number with a fraction within bounds.
    Decimal {
        /// Least.
        min: f32,
        /// Greatest.
        max: f32,
        /// The unit, empty for none.
        unit: &'static str,
        /// Stores it.
        set: fn(&mut T, f32),
    },
    /// On or off.
    Switch {
        /// Stores it.
        set: fn(&mut T, bool),
    },
    /// Anything else, checked by `set`.
    Text {
        /// What is allowed, as in "give …".
        allowed: &'static str,
        /// Stores it, or says what is wrong in words that complete "bad value: …", without quoting it.
        set: fn(&mut T, &str) -> Result<(), String>,
    },
}

/// A channel variable.
pub struct Variable {
    /// Its name.
    pub name: &'static str,
    /// How its value is to be understood.
    pub form: Form,
}

/// How a variable's value becomes an option's: most of the older modules' variables differ in name only.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    /// As it is.
    Same,
    /// A switch with the opposite sense.
    Inverted,
    /// A number of packets of 20 ms.
    Packets,
    /// 1 or 2 channels: mono or stereo.
    Channels,
}

impl Form {
    /// The option's text for a variable's.
    fn convert(self, text: &str) -> Result<String, String> {
        match self {
            Self::Same => Ok(text.to_owned()),
            Self::Inverted => {
                values::flag(text).map(|on| (!on).to_string()).ok_or_else(|| "give true or false".to_owned())
            }
            Self::Packets => values::number(text)
                .filter(|packets| (1..=50).contains(packets))
                .map(|packets| (packets * 20).to_string())
                .ok_or_else(|| "give 1 to 50 packets of 20 ms".to_owned()),
            Self::Channels => match text {
                "1" => Ok("mono".to_owned()),
                "2" => Ok("stereo".to_owned()),
                _ => Err("give 1 or 2".to_owned()),
            },
        }
    }

    /// What differs, for the documentation.
    pub const fn note(self) -> &'static str {
        match self {
            Self::Same => "",
            Self::Inverted => " (the opposite)",
            Self::Packets => " (packets of 20 ms)",
            Self::Channels => " (1 or 2 channels)",
        }
    }
}

/// A row of [`OPTIONS`].
pub type OptionRow = Row<StreamOptions>;

/// An argument that cannot be used. The command is refused with it.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum OptionError {
    /// Out of range or not understood; `value` is `***` for a secret.
    #[error("bad value '{value}' for {key}: {why}")]
    Value {
        /// The option.
        key: &'static str,
        /// What was given, cut and on one line.
        value: String,
        /// What is wrong or allowed.
        why: String,
    },
    /// Given twice, positions included.
    #[error("{0} is given twice; give it once")]
    Duplicate(&'static str),
    /// A quote or brace without its end.
    #[error("the value of {0} does not end: close its quote or brace and leave a space after it")]
    Unclosed(&'static str),
    /// No such profile.
    #[error("no profile '{name}' in audio_stream.conf.xml; it has {known}")]
    UnknownProfile {
        /// What was given.
        name: String,
        /// What there is.
        known: String,
    },
    /// Two options that only make sense together.
    #[error("{0}")]
    Combination(&'static str),
}

/// Something an operator should know that does not stop anything. Its text names the source, the value and what is used instead.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Warning(pub String);

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<T> Row<T> {
    /// Reads `text` into `target`; the refusal says what is allowed and never quotes the text.
    pub fn set(&self, target: &mut T, text: &str) -> Result<(), String> {
        match &self.kind {
            Kind::Number { min, max, zero, set, .. } => match values::number(text) {
                Some(value) if (*min..=*max).contains(&value) || (value == 0 && zero.is_some()) => {
                    set(target, value);
                    Ok(())
                }
                _ => Err(format!("give {}", self.allowed())),
            },
            Kind::Decimal { min, max, set, .. } => match values::decimal(text) {
                Some(value) if (*min..=*max).contains(&value) => {
                    set(target, value);
                    Ok(())
                }
                _ => Err(format!("give {}", self.allowed())),
            },
            Kind::Switch { set } => {
                set(target, values::flag(text).ok_or("give true or false")?);
                Ok(())
            }
            Kind::Text { set, .. } => set(target, text),
        }
    }

    /// What it takes, for replies and the documentation.
    pub fn allowed(&self) -> String {
        match &self.kind {
            Kind::Number { min, max, zero, unit, .. } => {
                let space = if unit.is_empty() { "" } else { " " };
                let zero = zero.map(|zero| format!(", or 0 for {zero}")).unwrap_or_default();
                format!("{min} to {max}{space}{unit}{zero}")
            }
            Kind::Decimal { min, max, unit, .. } => {
                let space = if unit.is_empty() { "" } else { " " };
                format!("{min} to {max}{space}{unit}")
            }
            Kind::Switch { .. } => "true or false".to_owned(),
            Kind::Text { allowed, .. } => (*allowed).to_owned(),
        }
    }

    /// `text` as it may be shown.
    pub fn shown(&self, text: &str) -> String {
        if self.secret { "***".to_owned() } else { shown(text) }
    }
}

impl<T> fmt::Debug for Row<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.key)
    }
}

const fn same(name: &'static str) -> Variable {
    Variable { name, form: Form::Same }
}

const fn form(name: &'static str, form: Form) -> Variable {
    Variable { name, form }
}

/// Every option that any stream has; those of conversations go on in [`AI_OPTIONS`].
pub static OPTIONS: &[OptionRow] = &[
    Row {
        key: "profile",
        kind: Kind::Text {
            allowed: "the name of a profile in audio_stream.conf.xml",
            // Which profile applies is decided by `resolve`; here only its form can be wrong.
            set: |_, text| values::plain(text).map(drop),
        },
        default: "",
        variables: &[same("AUDIO_STREAM_PROFILE")],
        secret: false,
        doc: "Takes the options of this profile, below arguments and variables, above the settings.",
    },
    Row {
        key: "mix",
        kind: Kind::Text {
            allowed: "mono, mixed or stereo",
            set: |o, text| {
                o.mix = text.to_ascii_lowercase().parse::<Mix>().map_err(|_| "give mono, mixed or stereo")?;
                Ok(())
            },
        },
        default: "mono",
        variables: &[same("AUDIO_STREAM_MIX"), form("AUDIO_STREAM_CHANNELS", Form::Channels)],
        secret: false,
        doc: "Which legs are captured: `mono` the caller, `mixed` both in one channel, `stereo` left the caller and right the \
              other leg. The word alone, right after the URL, does the same.",
    },
    Row {
        key: "rate",
        kind: Kind::Text {
            allowed: "8k, 16k, 24k, 32k, 48k or the same in Hz",
            set: |o, text| {
                o.rate = text.parse::<SampleRate>().map_err(|_| "give 8k, 16k, 24k, 32k, 48k or the same in Hz")?;
                Ok(())
            },
        },
        default: "8k",
        variables: &[same("AUDIO_STREAM_RATE"), same("AUDIO_STREAM_SAMPLING")],
        secret: false,
        doc: "Rate of captured audio on the wire, whatever the call's codec. The number alone, after the mix, does the same.",
    },
    Row {
        key: "protocol",
        kind: Kind::Text {
            allowed: protocol::NAMES,
            set: |o, text| {
                let known = || format!("give one of {}", protocol::NAMES);
                let found = protocol::find(&text.to_ascii_lowercase());
                o.protocol = found.map(|entry| entry.name).ok_or_else(known)?;
                Ok(())
            },
        },
        default: "native",
        variables: &[same("AUDIO_STREAM_PROTOCOL")],
        secret: false,
        doc: "How the server is spoken to: `native` as existing mod_audio_stream servers are, otherwise as the platform of that \
              name does. Those dictate rate, codec and message length as their servers expect it.",
    },
    Row {
        key: "codec",
        kind: Kind::Text {
            allowed: "auto, l16, pcmu or pcma",
            set: |o, text| {
                o.codec = match text {
                    "auto" => Codec::Auto,
                    "l16" => Codec::L16,
                    "pcmu" => Codec::G711(Law::Mu),
                    "pcma" => Codec::G711(Law::A),
                    _ => return Err("give auto, l16, pcmu or pcma".into()),
                };
                Ok(())
            },
        },
        default: "auto",
        variables: &[same("AUDIO_STREAM_CODEC")],
        secret: false,
        doc: "Codec of audio both ways where the protocol leaves a choice: telnyx (`auto` is PCMU at 8k, else L16), plivo \
              (`auto` is L16; no PCMA).",
    },
    Row {
        key: "buffer_ms",
        kind: Kind::Number { min: 20, max: 1_000, zero: None, unit: "ms", set: |o, v| o.buffer_ms = v },
        default: "20",
        variables: &[
            same("AUDIO_STREAM_BUFFER_MS"),
            form("AUDIO_STREAM_RTP_PACKETS", Form::Packets),
            same("STREAM_BUFFER_SIZE"),
        ],
        secret: false,
        doc: "Captured audio in one message; a multiple of the call's ptime. Where no argument of the command gives it, it is \
              rounded up to one.",
    },
    Row {
        key: "frame_ms",
        kind: Kind::Number { min: 10, max: 100, zero: None, unit: "ms", set: |o, v| o.frame_ms = v },
        default: "20",
        variables: &[same("AUDIO_STREAM_FRAME_MS"), same("STREAM_FRAME_MS")],
        secret: false,
        doc: "The ptime taken where FreeSWITCH reports none for the call.",
    },
    Row {
        key: "playback",
        kind: Kind::Switch { set: |o, v| o.playback = v },
        default: "true",
        variables: &[same("AUDIO_STREAM_PLAYBACK"), same("STREAM_PLAYBACK")],
        secret: false,
        doc: "Whether the caller hears the audio the server sends.",
    },
    Row {
        key: "inject_mode",
        kind: Kind::Text {
            allowed: "replace, mix or duck",
            set: |o, text| {
                o.inject_mode = match text {
                    _ if text.eq_ignore_ascii_case("replace") => InjectMode::Replace,
                    _ if text.eq_ignore_ascii_case("mix") => InjectMode::Mix,
                    _ if text.eq_ignore_ascii_case("duck") => InjectMode::Duck,
                    _ => return Err("give replace, mix or duck".into()),
                };
                Ok(())
            },
        },
        default: "replace",
        variables: &[same("AUDIO_STREAM_INJECT_MODE")],
        secret: false,
        doc: "While the server's audio plays, the other leg is replaced by it, mixed with it, or mixed with it and lowered by \
              `duck_db`. Voices of several streams on one call are always mixed with each other.",
    },
    Row {
        key: "duck_db",
        kind: Kind::Number {
            min: 0,
            max: 60,
            zero: None,
            unit: "dB",
            // In range, as every gain from 0 to -60 dB is.
            set: |o, v| o.duck = Gain::from_db(-(v as f32)).unwrap_or(o.duck),
        },
        default: "12",
        variables: &[same("AUDIO_STREAM_DUCK_DB")],
        secret: false,
        doc: "How much the other leg is lowered under the server's audio with `inject_mode=duck`.",
    },
    Row {
        key: "caller_gain",
        kind: Kind::Text {
            allowed: "-60 to 20 dB",
            set: |o, text| {
                o.caller_gain = text.parse().map_err(|_| "give -60 to 20 dB")?;
                Ok(())
            },
        },
        default: "0",
        variables: &[same("AUDIO_STREAM_CALLER_GAIN")],
        secret: false,
        doc: "Gain of the caller on the way to the server, until the command `gain` changes it.",
    },
    Row {
        key: "agent_gain",
        kind: Kind::Text {
            allowed: "-60 to 20 dB",
            set: |o, text| {
                o.agent_gain = text.parse().map_err(|_| "give -60 to 20 dB")?;
                Ok(())
            },
        },
        default: "0",
        variables: &[same("AUDIO_STREAM_AGENT_GAIN")],
        secret: false,
        doc: "Gain of the server's audio on the way to the caller, until the command `gain` changes it.",
    },
    Row {
        key: "inject_buffer_ms",
        kind: Kind::Number { min: 100, max: 30_000, zero: None, unit: "ms", set: |o, v| o.inject_buffer_ms = v },
        default: "5000",
        variables: &[same("AUDIO_STREAM_INJECT_BUFFER_MS"), same("STREAM_INJECT_BUFFER_MS")],
        secret: false,
        doc: "Most audio from the server that waits to be heard. What does not fit is dropped, counted and told by an \
              `overflow` event.",
    },
    Row {
        key: "inject_min_buffer_ms",
        kind: Kind::Text {
            allowed: "0 to 5000 ms, or auto",
            set: |o, text| {
                o.adaptive_prebuffer = text.eq_ignore_ascii_case("auto");
                if !o.adaptive_prebuffer {
                    let ms = values::number(text).filter(|ms| *ms <= 5_000);
                    o.inject_min_buffer_ms = ms.ok_or("give 0 to 5000 ms, or auto")?;
                }
                Ok(())
            },
        },
        default: "40",
        variables: &[same("AUDIO_STREAM_INJECT_MIN_BUFFER_MS"), same("STREAM_INJECT_MIN_BUFFER_MS")],
        secret: false,
        doc: "Audio gathered before an utterance starts to play; more of it rides out a less even network. `auto` follows the \
              jitter that is measured, 25 to 400 ms.",
    },
    Row {
        key: "allow",
        kind: Kind::Text {
            allowed: "any of hangup, transfer and dtmf, with commas between",
            set: |o, text| {
                o.allow = Grants::parse(text)?;
                Ok(())
            },
        },
        default: "",
        variables: &[same("AUDIO_STREAM_ALLOW")],
        secret: false,
        doc: "What the server may have done to the call, where its protocol can ask for it: `hangup` ends it, `transfer` sends the \
              caller to an extension of its dialplan and context, `dtmf` sends DTMF to the caller.",
    },
    Row {
        key: "allow_file_injection",
        kind: Kind::Switch { set: |o, v| o.allow_file_injection = v },
        default: "false",
        variables: &[same("AUDIO_STREAM_ALLOW_FILE_INJECTION"), same("STREAM_ALLOW_FILE_INJECTION")],
        secret: false,
        doc: "Whether the server may name files to be played, where its protocol can: those below `file_injection_dir`.",
    },
    Row {
        key: "file_injection_dir",
        kind: Kind::Text {
            allowed: "the path of a folder, from the root",
            set: |o, text| {
                o.file_injection_dir = match values::plain(text)? {
                    None => None,
                    Some(path) if path.starts_with('/') && path != "/" => Some(PathBuf::from(path)),
                    Some(_) => return Err("give the path of a folder, from the root".into()),
                };
                Ok(())
            },
        },
        default: "",
        variables: &[same("AUDIO_STREAM_FILE_INJECTION_DIR")],
        secret: false,
        doc: "The folder that files named by the server must be below, links followed. Needed by `allow_file_injection`.",
    },
    Row {
        key: "binary_rate",
        kind: Kind::Text {
            allowed: "8000 to 64000 Hz, or off",
            set: |o, text| {
                o.binary_rate = values::binary_rate(text)?;
                Ok(())
            },
        },
        default: "off",
        variables: &[same("AUDIO_STREAM_BINARY_RATE"), same("STREAM_SAMPLE_RATE")],
        secret: false,
        doc: "Binary messages from the server are raw S16LE audio of this rate; `off`: they are not audio and are ignored.",
    },
    Row {
        key: "binary_channels",
        kind: Kind::Number {
            min: 1,
            max: 2,
            zero: None,
            unit: "",
            set: |o, v| o.binary_channels = if v == 2 { 2 } else { 1 },
        },
        default: "1",
        variables: &[same("AUDIO_STREAM_BINARY_CHANNELS")],
        secret: false,
        doc: "Interleaved channels of binary audio from the server.",
    },
    Row {
        key: "max_audio_base64_len",
        kind: Kind::Number {
            min: 1_000,
            max: 10_000_000,
            zero: None,
            unit: "characters",
            set: |o, v| o.max_audio_base64_len = v,
        },
        default: "1000000",
        variables: &[same("AUDIO_STREAM_MAX_AUDIO_BASE64_LEN"), same("STREAM_MAX_AUDIO_BASE64_LEN")],
        secret: false,
        doc: "Longest base64 audio in one message from the server; a longer one is dropped with an `error` event.",
    },
    Row {
        key: "max_queue_ms",
        kind: Kind::Number { min: 1_000, max: 60_000, zero: None, unit: "ms", set: |o, v| o.max_queue_ms = v },
        default: "5000",
        variables: &[same("AUDIO_STREAM_MAX_QUEUE_MS"), same("STREAM_MAX_QUEUE_MS")],
        secret: false,
        doc: "Most captured audio that waits for a server that does not read. Beyond it the oldest is dropped, counted and \
              told by an `overflow` event.",
    },
    Row {
        key: "connect_timeout_ms",
        kind: Kind::Number { min: 100, max: 60_000, zero: None, unit: "ms", set: |o, v| o.connect_timeout_ms = v },
        default: "5000",
        variables: &[same("AUDIO_STREAM_CONNECT_TIMEOUT_MS")],
        secret: false,
        doc: "Longest time for name lookup, connecting, TLS and the WebSocket upgrade together.",
    },
    Row {
        key: "heartbeat_s",
        kind: Kind::Number { min: 1, max: 3_600, zero: Some("none"), unit: "s", set: |o, v| o.heartbeat_s = v },
        default: "0",
        variables: &[same("AUDIO_STREAM_HEARTBEAT_S"), same("STREAM_HEART_BEAT")],
        secret: false,
        doc: "Interval of WebSocket pings; a ping without an answer ends the stream with error 5.",
    },
    Row {
        key: "headers",
        kind: Kind::Text {
            allowed: "a JSON object of strings",
            set: |o, text| {
                o.headers = values::headers(text)?;
                Ok(())
            },
        },
        default: "",
        variables: &[same("AUDIO_STREAM_HEADERS"), same("AUDIO_STREAM_EXTRA_HEADERS"), same("STREAM_EXTRA_HEADERS")],
        secret: true,
        doc: "Headers added to the WebSocket upgrade, such as `headers={\"Authorization\": \"Bearer …\"}`.",
    },
    Row {
        key: "subprotocol",
        kind: Kind::Text {
            allowed: "a name without spaces or separators",
            set: |o, text| {
                if !text.is_empty() && (text.len() > values::MAX_TEXT || !values::is_token(text)) {
                    return Err("give a name without spaces or separators".into());
                }
                o.subprotocol = (!text.is_empty()).then(|| text.to_owned());
                Ok(())
            },
        },
        default: "",
        variables: &[same("AUDIO_STREAM_SUBPROTOCOL")],
        secret: false,
        doc: "WebSocket subprotocol asked for, instead of the protocol's own.",
    },
    Row {
        key: "username",
        kind: Kind::Text {
            allowed: "a user name without ':'",
            set: |o, text| {
                let text = values::plain(text)?;
                if text.is_some_and(|text| text.contains(':')) {
                    return Err("give a user name without ':'".into());
                }
                o.username = text.map(str::to_owned);
                Ok(())
            },
        },
        default: "",
        variables: &[same("AUDIO_STREAM_USERNAME")],
        secret: false,
        doc: "User of HTTP basic authentication. A user in the URL itself wins.",
    },
    Row {
        key: "password",
        kind: Kind::Text {
            allowed: "the password that goes with username",
            set: |o, text| {
                o.password = values::plain(text)?.map(Secret::new);
                Ok(())
            },
        },
        default: "",
        variables: &[same("AUDIO_STREAM_PASSWORD")],
        secret: true,
        doc: "Password of HTTP basic authentication. Keep it in a profile rather than in a channel variable, where event \
              sockets and call records show it.",
    },
    Row {
        key: "tls_ca",
        kind: Kind::Text {
            allowed: "system, none or the path of a PEM file",
            set: |o, text| {
                let text = values::plain(text)?.unwrap_or("system");
                o.tls.trust = match text {
                    _ if text.eq_ignore_ascii_case("system") => Trust::System,
                    _ if text.eq_ignore_ascii_case("none") => Trust::Anything,
                    path => Trust::File(PathBuf::from(path)),
                };
                Ok(())
            },
        },
        default: "system",
        variables: &[same("AUDIO_STREAM_TLS_CA"), same("AUDIO_STREAM_TLS_CA_FILE"), same("STREAM_TLS_CA_FILE")],
        secret: false,
        doc: "Who may sign the server's certificate: the authorities the system trusts, or those of a PEM file. `none` accepts \
              any certificate, with a warning.",
    },
    Row {
        key: "tls_cert",
        kind: Kind::Text {
            allowed: "the path of a PEM file",
            set: |o, text| {
                o.tls.cert_file = values::plain(text)?.map(PathBuf::from);
                Ok(())
            },
        },
        default: "",
        variables: &[same("AUDIO_STREAM_TLS_CERT"), same("AUDIO_STREAM_TLS_CERT_FILE"), same("STREAM_TLS_CERT_FILE")],
        secret: false,
        doc: "Client certificate chain; goes with `tls_key`.",
    },
    Row {
        key: "tls_key",
        kind: Kind::Text {
            allowed: "the path of a PEM file",
            set: |o, text| {
                o.tls.key_file = values::plain(text)?.map(PathBuf::from);
                Ok(())
            },
        },
        default: "",
        variables: &[same("AUDIO_STREAM_TLS_KEY"), same("AUDIO_STREAM_TLS_KEY_FILE"), same("STREAM_TLS_KEY_FILE")],
        secret: false,
        doc: "Private key of the client certificate.",
    },
    Row {
        key: "tls_verify_hostname",
        kind: Kind::Switch { set: |o, v| o.tls.verify_hostname = v },
        default: "true",
        variables: &[
            same("AUDIO_STREAM_TLS_VERIFY_HOSTNAME"),
            form("STREAM_TLS_DISABLE_HOSTNAME_VALIDATION", Form::Inverted),
        ],
        secret: false,
        doc: "Whether the server's certificate must name the host; `false` is used with a warning.",
    },
    Row {
        key: "record_dir",
        kind: Kind::Text {
            allowed: "the absolute path of a folder",
            set: |o, text| {
                o.record_dir = match values::plain(text)? {
                    None => None,
                    Some(path) if path.starts_with('/') && !path.split('/').any(|part| part == "..") => {
                        Some(PathBuf::from(path))
                    }
                    Some(_) => return Err("give the absolute path of a folder, without '..'".into()),
                };
                Ok(())
            },
        },
        default: "",
        variables: &[same("AUDIO_STREAM_RECORD_DIR"), same("wav_file_path")],
        secret: false,
        doc: "Folder of recordings whose names are relative; it must exist. Without it FreeSWITCH's own, `recordings_dir`.",
    },
    Row {
        key: "log_every_ms",
        kind: Kind::Number {
            min: 1_000,
            max: 3_600_000,
            zero: Some("none"),
            unit: "ms",
            set: |o, v| o.log_every_ms = v,
        },
        default: "10000",
        variables: &[
            same("AUDIO_STREAM_LOG_EVERY_MS"),
            same("AUDIO_STREAM_INJECT_LOG_EVERY_MS"),
            same("STREAM_INJECT_LOG_EVERY_MS"),
        ],
        secret: false,
        doc: "Interval of the stream's summary in the log.",
    },
    Row {
        key: "suppress_log",
        kind: Kind::Switch { set: |o, v| o.suppress_log = v },
        default: "false",
        variables: &[same("AUDIO_STREAM_SUPPRESS_LOG"), same("STREAM_SUPPRESS_LOG")],
        secret: false,
        doc: "Keeps the text of messages out of the log.",
    },
];

/// A variable of the older modules that asks for something this module does not do.
pub struct NoEffect {
    /// Its name.
    pub variable: &'static str,
    /// The value that asks for what happens anyway, in the words of the older module.
    pub harmless: &'static str,
    /// What happens instead.
    pub why: &'static str,
}

/// Accepted, and warned about where the value asks for more than this version does.
pub static NO_EFFECT: &[NoEffect] = &[
    NoEffect { variable: "STREAM_MESSAGE_DEFLATE", harmless: "true", why: "messages are never compressed" },
    NoEffect { variable: "STREAM_NO_RECONNECT", harmless: "true", why: "a stream is not reconnected" },
    NoEffect { variable: "STREAM_RECONNECT_MAX", harmless: "0", why: "a stream is not reconnected" },
    NoEffect { variable: "AUDIO_STREAM_RECONNECT_MAX", harmless: "0", why: "a stream is not reconnected" },
    NoEffect { variable: "AUDIO_STREAM_AI_TEMPERATURE", harmless: "0.8", why: "the GA protocol has no temperature" },
    NoEffect { variable: "AI_TEMPERATURE", harmless: "0.8", why: "the GA protocol has no temperature" },
    NoEffect {
        variable: "AI_CALL_TRANSFER_HOST",
        harmless: "",
        why: "a transfer goes through the dialplan, which knows the host",
    },
    NoEffect { variable: "STREAM_DEBUG_JSON", harmless: "false", why: "messages are logged at level DEBUG" },
];

impl NoEffect {
    /// Whether it is a conversation's.
    fn is_of_ai(&self) -> bool {
        self.variable.starts_with("AI_") || self.variable.starts_with("AUDIO_STREAM_AI_")
    }

    /// Whether `value` asks for what happens anyway.
    fn is_harmless(&self, value: &str) -> bool {
        value.is_empty()
            || value.eq_ignore_ascii_case(self.harmless)
            || values::flag(value).is_some_and(|on| values::flag(self.harmless) == Some(on))
    }
}

/// Options that a conversation has no use for: what they choose, it chooses itself.
pub const NOT_OF_AI: &[&str] = &[
    "mix",
    "rate",
    "protocol",
    "codec",
    "inject_buffer_ms",
    "binary_rate",
    "binary_channels",
    "subprotocol",
    "username",
    "password",
];

/// Where a setting that nobody made comes from, when it is in the environment: option and variable.
pub const ENVIRONMENT: &[(&str, &str)] =
    &[("openai_api_key", "OPENAI_API_KEY"), ("tts_elevenlabs_api_key", "ELEVENLABS_API_KEY")];

/// Every option there is.
pub fn all() -> impl Iterator<Item = &'static OptionRow> {
    OPTIONS.iter().chain(AI_OPTIONS)
}

/// The row of `key`, whatever it is an option of.
pub fn row(key: &str) -> Option<&'static OptionRow> {
    all().find(|row| row.key == key)
}

/// The row of `key`, where it is an option of streams to servers.
pub fn server_row(key: &str) -> Option<&'static OptionRow> {
    OPTIONS.iter().find(|row| row.key == key)
}

/// The row of `key`, where it is an option of conversations.
pub fn ai_row(key: &str) -> Option<&'static OptionRow> {
    row(key).filter(|row| !NOT_OF_AI.contains(&row.key))
}

/// Options with their texts, each checked when it was added and there once. Printing it shows the names alone.
#[derive(Clone, Default)]
pub struct OptionValues(Vec<(&'static OptionRow, String)>);

impl OptionValues {
    /// Adds an option; refuses a bad value and one that is there already.
    pub fn add(&mut self, row: &'static OptionRow, text: &str) -> Result<(), OptionError> {
        if self.get(row.key).is_some() {
            return Err(OptionError::Duplicate(row.key));
        }
        check(row, text)?;
        self.0.push((row, text.to_owned()));
        Ok(())
    }

    /// Puts an option in place of what was there; refuses a bad value. Whether something was there.
    pub fn replace(&mut self, row: &'static OptionRow, text: &str) -> Result<bool, OptionError> {
        check(row, text)?;
        let before = self.0.len();
        self.0.retain(|(other, _)| other.key != row.key);
        let replaced = self.0.len() < before;
        self.0.push((row, text.to_owned()));
        Ok(replaced)
    }

    /// The text of an option.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(row, _)| row.key == key).map(|(_, text)| text.as_str())
    }

    /// Names and texts, secrets included, in the order they were added.
    pub fn iter(&self) -> impl Iterator<Item = (&'static OptionRow, &str)> {
        self.0.iter().map(|(row, text)| (*row, text.as_str()))
    }

    fn apply(&self, options: &mut StreamOptions) -> Result<(), OptionError> {
        self.0.iter().try_for_each(|(row, text)| set(row, options, text))
    }
}

impl PartialEq for OptionValues {
    fn eq(&self, other: &Self) -> bool {
        self.0.len() == other.0.len() && self.iter().all(|(row, text)| other.get(row.key) == Some(text))
    }
}

impl Eq for OptionValues {}

impl fmt::Debug for OptionValues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(row, _)| row.key)).finish()
    }
}

fn set(row: &'static OptionRow, options: &mut StreamOptions, text: &str) -> Result<(), OptionError> {
    row.set(options, text).map_err(|why| OptionError::Value { key: row.key, value: row.shown(text), why })
}

fn check(row: &'static OptionRow, text: &str) -> Result<(), OptionError> {
    set(row, &mut StreamOptions::default(), text)
}

/// All sources of a stream's options combined. Refuses a profile named by an argument that is not there, and arguments in
/// combinations that cannot work; everything else that is wrong becomes a warning.
pub fn resolve(
    given: &OptionValues,
    variables: &dyn Variables,
    config: &Config,
) -> Result<(StreamOptions, Vec<Warning>), OptionError> {
    resolve_for(StreamMode::Ws, given, variables, config)
}

/// The same for a stream of that kind: variables of another kind's options are not looked at.
pub fn resolve_for(
    mode: StreamMode,
    given: &OptionValues,
    variables: &dyn Variables,
    config: &Config,
) -> Result<(StreamOptions, Vec<Warning>), OptionError> {
    let mut warnings = Vec::new();
    let (profile_name, profile) = pick_profile(given, variables, config, &mut warnings)?.unzip();
    let mut from_variables = Vec::new();
    let mut options = StreamOptions { mode, ..StreamOptions::default() };
    config.environment().apply(&mut options)?;
    config.settings().apply(&mut options)?;
    if let Some(profile) = profile {
        profile.apply(&mut options)?;
    }
    let conversation = if mode == StreamMode::Ai { AI_OPTIONS } else { &[] };
    let rows = OPTIONS.iter().chain(conversation);
    for row in rows.filter(|row| row.key != "profile" && given.get(row.key).is_none()) {
        let below = || profile.and_then(|profile| profile.get(row.key)).or_else(|| config.settings().get(row.key));
        let set = row.variables.iter().find_map(|variable| Some((variable, present(variables, variable.name)?)));
        let Some((variable, text)) = set else { continue };
        match variable.form.convert(&text).and_then(|text| row.set(&mut options, &text)) {
            Ok(()) => from_variables.push((row.key, variable.name)),
            Err(why) => warnings.push(Warning(format!(
                "bad value '{}' of channel variable {}: {why}; using {}={}",
                row.shown(&text),
                variable.name,
                row.key,
                row.shown(below().unwrap_or(row.default)),
            ))),
        }
    }
    given.apply(&mut options)?;
    for known in NO_EFFECT.iter().filter(|known| mode == StreamMode::Ai || !known.is_of_ai()) {
        if let Some(value) = present(variables, known.variable).filter(|value| !known.is_harmless(value)) {
            warnings.push(Warning(format!(
                "channel variable {}={} has no effect: {}",
                known.variable,
                shown(&value),
                known.why
            )));
        }
    }
    let source = |key: &str| {
        let variable = from_variables.iter().find(|(of, _)| *of == key).map(|(_, name)| *name);
        match (given.get(key), variable, profile.and_then(|profile| profile.get(key))) {
            (Some(_), ..) => Source::Argument,
            (_, Some(name), _) => Source::Variable(name),
            (.., Some(_)) => Source::Profile(profile_name.clone().unwrap_or_default()),
            _ => Source::Setting,
        }
    };
    check_pairs(&mut options, source, &mut warnings)?;
    if options.inject_min_buffer_ms > options.inject_buffer_ms {
        warnings.push(Warning(format!(
            "inject_min_buffer_ms={} is more than inject_buffer_ms={}; using inject_min_buffer_ms={1}",
            options.inject_min_buffer_ms, options.inject_buffer_ms
        )));
        options.inject_min_buffer_ms = options.inject_buffer_ms;
    }
    if options.allow_file_injection && options.file_injection_dir.is_none() {
        warnings.push(Warning(
            "allow_file_injection=true plays no file: set file_injection_dir to the folder they may be in".to_owned(),
        ));
    }
    Ok((options, warnings))
}

/// Where the value of an option comes from.
enum Source {
    Setting,
    Profile(String),
    Variable(&'static str),
    Argument,
}

impl Source {
    const fn is_argument(&self) -> bool {
        matches!(self, Self::Argument)
    }

    /// The greater wins.
    const fn rank(&self) -> u8 {
        match self {
            Self::Setting => 0,
            Self::Profile(_) => 1,
            Self::Variable(_) => 2,
            Self::Argument => 3,
        }
    }

    /// How to name it and the option in a warning.
    fn names(&self, key: &str) -> String {
        match self {
            Self::Setting => format!("setting {key}"),
            Self::Profile(name) => format!("{key} of profile {}", shown(name)),
            Self::Variable(name) => format!("channel variable {name} ({key})"),
            Self::Argument => format!("argument {key}"),
        }
    }
}

/// Options that only make sense together, or not together. The operator who typed one of them is told at once; what was set up
/// elsewhere must not keep every call from being streamed, so there the half is dropped with a warning.
fn check_pairs(
    options: &mut StreamOptions,
    source: impl Fn(&str) -> Source,
    warnings: &mut Vec<Warning>,
) -> Result<(), OptionError> {
    let (cert, key) = (options.tls.cert_file.is_some(), options.tls.key_file.is_some());
    let halves = [
        (cert && !key, "tls_cert", "tls_key", "tls_cert and tls_key go together; give both or neither"),
        (key && !cert, "tls_key", "tls_cert", "tls_cert and tls_key go together; give both or neither"),
        (
            options.password.is_some() && options.username.is_none(),
            "password",
            "username",
            "password needs username; give both or neither",
        ),
    ];
    for (is_half, half, other, refusal) in halves {
        if !is_half {
            continue;
        }
        let source = source(half);
        if source.is_argument() {
            return Err(OptionError::Combination(refusal));
        }
        warnings.push(Warning(format!("{} is not used: there is no {other}", source.names(half))));
        match half {
            "tls_cert" => options.tls.cert_file = None,
            "tls_key" => options.tls.key_file = None,
            _ => options.password = None,
        }
    }
    let authorizes = |(name, _): &(String, Secret)| name.eq_ignore_ascii_case("authorization");
    if options.username.is_some() && options.headers.iter().any(authorizes) {
        let (user, headers) = (source("username"), source("headers"));
        if user.is_argument() || headers.is_argument() {
            return Err(OptionError::Combination(
                "username and an Authorization header exclude each other; give one of them",
            ));
        }
        let (user_name, headers_name) = (user.names("username"), headers.names("headers"));
        if user.rank() > headers.rank() {
            options.headers.retain(|header| !authorizes(header));
            warnings.push(Warning(format!("Authorization of {headers_name} is not used: {user_name} wins over it")));
        } else {
            options.username = None;
            options.password = None;
            warnings.push(Warning(format!("{user_name} is not used: Authorization of {headers_name} wins over it")));
        }
    }
    Ok(())
}

/// A variable that is set to something.
fn present(variables: &dyn Variables, name: &str) -> Option<String> {
    variables.get(name).filter(|text| !text.is_empty())
}

/// The profile that applies: the one the arguments name, else the variable's, else the settings'.
fn pick_profile<'a>(
    given: &OptionValues,
    variables: &dyn Variables,
    config: &'a Config,
    warnings: &mut Vec<Warning>,
) -> Result<Option<(String, &'a OptionValues)>, OptionError> {
    if let Some(name) = given.get("profile") {
        if name.is_empty() {
            return Ok(None);
        }
        return config
            .profile(name)
            .map(|profile| Some((name.to_owned(), profile)))
            .ok_or_else(|| OptionError::UnknownProfile { name: shown(name), known: config.profile_names() });
    }
    let variable =
        present(variables, "AUDIO_STREAM_PROFILE").map(|name| ("channel variable AUDIO_STREAM_PROFILE", name));
    let setting = config.settings().get("profile").filter(|name| !name.is_empty());
    let setting = setting.map(|name| ("setting profile", name.to_owned()));
    for (source, name) in variable.into_iter().chain(setting) {
        match config.profile(&name) {
            Some(profile) => return Ok(Some((name, profile))),
            None => warnings.push(Warning(format!(
                "{source}={}: no such profile in audio_stream.conf.xml; it has {}",
                shown(&name),
                config.profile_names()
            ))),
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests;
