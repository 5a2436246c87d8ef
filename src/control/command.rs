//! The command language of `uuid_audio_stream` and of the dialplan application `audio_stream`.
//!
//! A line is read from left to right: uuid, verb, `name=<id>`, then what the verb takes. Words are separated by white space. A
//! text at the end (metadata, a message) is the rest of the line byte for byte; only the one separator before it is consumed.
//! So JSON with spaces and quotes arrives as it was typed.
//!
//! Pure; on the API or dialplan thread, in time linear in the line. [`COMMANDS`] drives the parser, the syntax FreeSWITCH shows,
//! tab completion and the documentation. Any bytes may come in: what is no command is a [`CommandError`], whose text is the reply.

use std::fmt;

use crate::control::config::Config;
use crate::control::options::{self, OptionError, OptionRow, OptionValues, Warning};
use crate::control::resolve::{resolve, resolve_for};
use crate::control::variables::Variables;
use crate::conversation::BadPlan;
use crate::conversation::engines::ENGINES;
use crate::dsp::gain::{BadGain, Gain};
use crate::dsp::tone::{BadDigits, DigitTiming, ToneStep, digits};
use crate::options::{in_words, values};
use crate::stream::spec::{EndpointUrl, StreamSpec};
use crate::stream::state::StreamMode;
use crate::transport::{BadUrl, Trust};
use crate::units::choice::{Choice, choice};
use crate::units::text::shown;
use crate::units::{BadMix, BadName, BadRate, CallId, Mix, SampleRate, StreamName};

/// Name of the API command.
pub const API: &str = "uuid_audio_stream";
/// Name of the dialplan application.
pub const APPLICATION: &str = "audio_stream";
/// Name of the dialplan application for conversations.
pub const AI_APPLICATION: &str = "audio_stream_ai";
/// Longest line, bytes.
pub const MAX_LINE: usize = 65_536;

/// A line of the API, understood.
#[derive(Clone, PartialEq, Debug)]
pub enum Command {
    /// About a stream of one call.
    Call {
        /// The call.
        call: CallId,
        /// Which of its streams.
        name: StreamName,
        /// What to do.
        action: Action,
    },
    /// Health of the module, as JSON.
    GlobalHealth,
    /// Every stream, as JSON.
    List,
    /// Every circuit breaker, as JSON.
    Breakers,
    /// Version and build, as JSON.
    Version,
}

/// The argument of the dialplan application, understood.
#[derive(Clone, PartialEq, Debug)]
pub struct AppCommand {
    /// Which stream of the call.
    pub name: StreamName,
    /// What to do.
    pub action: Action,
    /// Whether the application returns only when the stream has ended.
    pub wait: bool,
}

/// What to do with a stream.
#[derive(Clone, PartialEq)]
pub enum Action {
    /// Attach and connect.
    Start(Box<StartRequest>),
    /// Attach a conversation with an AI.
    StartAi(Box<StartAiRequest>),
    /// Send the text, close, detach.
    Stop {
        /// Last text message.
        text: Option<String>,
    },
    /// Hold back captured audio, or stop playback where it is.
    Pause(Direction),
    /// Let it go on.
    Resume(Direction),
    /// Send one text message.
    SendText(String),
    /// Drop queued playback.
    Clear,
    /// Make a source louder or softer.
    Gain(Source, Gain),
    /// Silence a source.
    Mute(Source),
    /// Let it be heard again.
    Unmute(Source),
    /// Mix DTMF tones into playback.
    Dtmf(Vec<ToneStep>),
    /// Record what the caller says and hears into this file.
    RecordStart {
        /// As given: relative to the folder for recordings, or absolute.
        file: String,
    },
    /// End the recording.
    RecordStop,
    /// Have the agent say something.
    Say(String),
    /// Answer a function call of the agent.
    AiResult {
        /// Which call.
        call_id: String,
        /// What the model is told.
        output: String,
    },
    /// Report, as JSON.
    Health,
}

choice! {
    /// Which way audio goes.
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
    pub enum Direction {
        /// From the call to the server.
        Capture = "capture",
        /// From the server to the caller.
        Playback = "playback",
    }
}

choice! {
    /// Whose audio.
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
    pub enum Source {
        /// The caller's, on the way to the server.
        Caller = "caller",
        /// The server's, on the way to the caller.
        Agent = "agent",
        /// The other leg's, on the way to the caller. One for all streams of the call.
        Leg = "leg",
    }
}

impl Action {
    /// The word for it.
    pub const fn verb(&self) -> &'static str {
        match self {
            Self::Start(_) => "start",
            Self::StartAi(_) => "start_ai",
            Self::Stop { .. } => "stop",
            Self::Pause(_) => "pause",
            Self::Resume(_) => "resume",
            Self::SendText(_) => "send_text",
            Self::Clear => "clear",
            Self::Gain(..) => "gain",
            Self::Mute(_) => "mute",
            Self::Unmute(_) => "unmute",
            Self::Dtmf(_) => "dtmf",
            Self::RecordStart { .. } | Self::RecordStop => "record",
            Self::Say(_) => "say",
            Self::AiResult { .. } => "ai_result",
            Self::Health => "health",
        }
    }
}

impl fmt::Debug for Action {
    /// What callers and servers say to each other stays out of logs: texts print as their length.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start(start) => fmt::Debug::fmt(start, f),
            Self::StartAi(start) => fmt::Debug::fmt(start, f),
            Self::Stop { text: Some(text) }
            | Self::SendText(text)
            | Self::Say(text)
            | Self::AiResult { output: text, .. } => {
                write!(f, "{}({} bytes)", self.verb(), text.len())
            }
            _ => f.write_str(self.verb()),
        }
    }
}

/// What `start` was given.
#[derive(Clone, PartialEq, Eq)]
pub struct StartRequest {
    /// Where to connect.
    pub endpoint: EndpointUrl,
    /// Options given explicitly; mix and rate among them.
    pub options: OptionValues,
    /// First text message.
    pub metadata: Option<String>,
}

impl fmt::Debug for StartRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("start")
            .field("endpoint", &self.endpoint)
            .field("options", &self.options)
            .field("metadata_bytes", &self.metadata.as_ref().map(String::len))
            .finish()
    }
}

impl StartRequest {
    /// A warning for the reply: the metadata begins with what is very probably a mistyped option.
    pub fn slip(&self) -> Option<Warning> {
        slip(self.metadata.as_deref()?).filter(|slip| slip.is_option).map(|slip| slip.warning)
    }

    /// Adds what variables and configuration say; the stream can be started with the result. The warnings are for the log, with
    /// the call's uuid. Refuses what [`resolve`] refuses.
    pub fn resolve(
        self,
        call: CallId,
        name: StreamName,
        config: &Config,
        variables: &dyn Variables,
    ) -> Result<(StreamSpec, Vec<Warning>), CommandError> {
        let (options, mut warnings) = resolve(&self.options, variables, config)?;
        warnings.extend(self.metadata.as_deref().and_then(slip).map(|slip| slip.warning));
        let spec = StreamSpec { call, name, endpoint: self.endpoint, metadata: self.metadata, options };
        warnings.extend(unchecked(&spec));
        Ok((spec, warnings))
    }
}

/// What `start_ai` was given.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct StartAiRequest {
    /// Options given explicitly.
    pub options: OptionValues,
}

impl StartAiRequest {
    /// Adds what variables and configuration say, as [`StartRequest::resolve`] does. Refuses a conversation without key or model.
    pub fn resolve(
        self,
        call: CallId,
        name: StreamName,
        config: &Config,
        variables: &dyn Variables,
    ) -> Result<(StreamSpec, Vec<Warning>), CommandError> {
        let (mut options, mut warnings) = resolve_for(StreamMode::Ai, &self.options, variables, config)?;
        let engine = &ENGINES[0];
        let target = engine.check(&options.ai, options.headers.clone()).map_err(BadPlan::Engine)?;
        // Settings made for streams to servers have nothing to say about the key.
        (options.username, options.password, options.subprotocol) = (None, None, None);
        (options.mix, options.protocol) = (Mix::Mono, engine.name);
        let endpoint = EndpointUrl::parse(&target.url)?;
        let spec = StreamSpec { call, name, endpoint, metadata: None, options };
        warnings.extend(unchecked(&spec));
        Ok((spec, warnings))
    }
}

/// A warning if another server could answer in place of the one that is meant.
fn unchecked(spec: &StreamSpec) -> Option<Warning> {
    let off = match (&spec.options.tls_ca, spec.options.tls_verify_hostname) {
        (Trust::Anything, _) => "tls_ca=none: the certificate is not verified",
        (_, false) => "tls_verify_hostname=false: the host name in the certificate is not verified",
        (_, true) => return None,
    };
    let text = || format!("{off}, so any server that answers at {} is trusted", spec.endpoint);
    spec.endpoint.endpoint().is_tls().then(|| Warning(text()))
}

/// A line that is no command. Its text is the reply: it begins with `-ERR` or `-USAGE:` and says what to do.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CommandError {
    /// Nothing was said.
    #[error("-USAGE: {0}")]
    Usage(String),
    /// Something the verb needs is missing.
    #[error("-USAGE: {syntax} ({missing} is missing)")]
    Missing {
        /// How the command is written.
        syntax: String,
        /// What is not there.
        missing: &'static str,
    },
    /// Too long to be looked at.
    #[error("-ERR the line has {0} bytes; give at most {MAX_LINE}")]
    TooLong(usize),
    /// Not text.
    #[error("-ERR the line is not UTF-8 (byte {0}); texts and metadata must be UTF-8")]
    NotUtf8(usize),
    /// No such verb.
    #[error("-ERR no command '{given}'; give one of {known}")]
    UnknownVerb {
        /// What was given.
        given: String,
        /// What there is.
        known: String,
    },
    /// More than the verb takes.
    #[error("-ERR {verb} takes no further argument, but got '{rest}'")]
    Surplus {
        /// The verb.
        verb: &'static str,
        /// What was too much.
        rest: String,
    },
    /// A stream cannot be called so.
    #[error("-ERR {0}")]
    Name(#[from] BadName),
    /// What stands in the URL's place is none; of it what cannot be a credential is shown.
    #[error("-ERR {wanted}, but got '{0}'", wanted = BadUrl::Scheme)]
    NoUrl(String),
    /// The URL cannot be connected to. It is not quoted: it may hold a password.
    #[error("-ERR {0}")]
    Url(#[from] BadUrl),
    /// The word after the URL is no mix.
    #[error("-ERR {0}; metadata that is a single word goes after mix and rate")]
    Mix(BadMix),
    /// The number after the mix is no rate.
    #[error("-ERR {0}; metadata that is a single number goes after mix and rate")]
    Rate(BadRate),
    /// An option cannot be used.
    #[error("-ERR {0}")]
    Option(#[from] OptionError),
    /// Not a word that the verb takes.
    #[error("-ERR {verb} {given}: give {known}")]
    Word {
        /// The verb.
        verb: &'static str,
        /// What was given.
        given: String,
        /// What there is.
        known: String,
    },
    /// Out of range, or no number.
    #[error("-ERR {0}")]
    Gain(#[from] BadGain),
    /// No string of digits.
    #[error("-ERR {0}")]
    Digits(#[from] BadDigits),
    /// A word that is no option, where nothing else is taken.
    #[error("-ERR start_ai has no option '{0}'; it takes only options, key=value")]
    NoOption(String),
    /// The options make no conversation.
    #[error("-ERR {0}")]
    Plan(#[from] BadPlan),
}

/// A command: its words and its reader.
pub struct CommandRow {
    /// The verb.
    pub verb: &'static str,
    /// What it takes, as in the syntax string.
    pub arguments: &'static str,
    /// What it does, for the documentation.
    pub doc: &'static str,
    read: Read,
}

/// How a command goes on after its verb, and with that to what it applies.
#[derive(Clone, Copy)]
enum Read {
    /// After a uuid and, in the dialplan, without.
    Call(fn(&CommandRow, Rest<'_>, &mut Context) -> Result<Action, CommandError>),
    /// Alone on the line.
    Module(fn() -> Command),
}

/// What reading a command knows and learns besides its action.
struct Context {
    /// How the line begins, for the syntax in a reply.
    prefix: &'static str,
    /// In the dialplan: the value of `wait=`.
    wait: Option<Option<bool>>,
}

/// Every command.
pub static COMMANDS: &[CommandRow] = &[
    CommandRow {
        verb: "start",
        arguments: "<ws-url> [mono|mixed|stereo] [8k|16k|24k|32k|48k|Hz] [key=value ...] [metadata]",
        doc: "Attaches a stream to the call and connects it to the server. The metadata begins with the first word that is not an \
              option. It is sent unchanged as the first text message.",
        read: Read::Call(start),
    },
    CommandRow {
        verb: "start_ai",
        arguments: "[key=value ...]",
        doc: "Attaches a conversation with an AI to the call and connects it to the service.",
        read: Read::Call(start_ai),
    },
    CommandRow {
        verb: "stop",
        arguments: "[text]",
        doc: "Sends the text, if one is given, closes the connection with code 1000 and detaches the stream.",
        read: Read::Call(|_, rest, _| Ok(Action::Stop { text: rest.text().map(str::to_owned) })),
    },
    CommandRow {
        verb: "pause",
        arguments: "[capture|playback]",
        doc: "Stops sending captured audio; audio of this time is never sent. Playback continues. With `playback`, stops playback \
              instead; audio from the server waits.",
        read: Read::Call(|row, rest, _| Ok(Action::Pause(rest.direction(row)?))),
    },
    CommandRow {
        verb: "resume",
        arguments: "[capture|playback]",
        doc: "Sends captured audio again. With `playback`, continues playback where it was paused.",
        read: Read::Call(|row, rest, _| Ok(Action::Resume(rest.direction(row)?))),
    },
    CommandRow {
        verb: "send_text",
        arguments: "<text>",
        doc: "Sends one text message; spaces and quotes are kept. In a conversation, the model receives the text as if the caller had \
              said it.",
        read: Read::Call(|row, rest, context| match rest.text() {
            Some(text) => Ok(Action::SendText(text.to_owned())),
            None => Err(context.missing(row, "the text")),
        }),
    },
    CommandRow {
        verb: "clear",
        arguments: "",
        doc: "Drops all queued playback at once. In a conversation, this interrupts the agent.",
        read: Read::Call(|row, rest, _| rest.end(row, Action::Clear)),
    },
    CommandRow {
        verb: "gain",
        arguments: "caller|agent|leg <dB>",
        doc: "Sets the gain of the caller for the server, or of the server (`agent`) or the other leg (`leg`, for all streams of \
              the call) for the caller: -60 to 20 dB, from the next packet on.",
        read: Read::Call(|row, rest, context| {
            let (source, rest) = rest.source(row, context)?;
            let (db, rest) = rest.word().ok_or_else(|| context.missing(row, "the gain in dB"))?;
            let db = db.parse::<Gain>().map_err(|_| BadGain(shown(db)))?;
            // As in `-6 dB`.
            let rest = rest.word().filter(|(word, _)| word.eq_ignore_ascii_case("dB")).map_or(rest, |(_, rest)| rest);
            rest.end(row, Action::Gain(source, db))
        }),
    },
    CommandRow {
        verb: "mute",
        arguments: "caller|agent|leg",
        doc: "Mutes the caller for the server, or the server (`agent`) or the other leg for the caller, from the next packet on.",
        read: Read::Call(|row, rest, context| {
            let (source, rest) = rest.source(row, context)?;
            rest.end(row, Action::Mute(source))
        }),
    },
    CommandRow {
        verb: "unmute",
        arguments: "caller|agent|leg",
        doc: "Undoes `mute`. The gain is unchanged.",
        read: Read::Call(|row, rest, context| {
            let (source, rest) = rest.source(row, context)?;
            rest.end(row, Action::Unmute(source))
        }),
    },
    CommandRow {
        verb: "dtmf",
        arguments: "<digits>[@ms]",
        doc: "Plays DTMF tones to the caller: 0-9 * # A-D; `w` is a pause of half a second, `W` of one second. `@ms` sets the \
              duration of each tone (default 100).",
        read: Read::Call(|row, rest, context| {
            let (text, rest) = rest.word().ok_or_else(|| context.missing(row, "a digit"))?;
            let steps = digits(text, DigitTiming::default())?;
            rest.end(row, Action::Dtmf(steps))
        }),
    },
    CommandRow {
        verb: "record",
        arguments: "start <file.wav> | stop",
        doc: "Records the call to a stereo file, with or without a stream: the caller on the left, and what they hear on the right. A \
              relative file name is below `record_dir`. An existing file is never overwritten. The recording does not end with a \
              stream of the same name.",
        read: Read::Call(record),
    },
    CommandRow {
        verb: "say",
        arguments: "<text>",
        doc: "Makes the agent of a conversation say the text.",
        read: Read::Call(|row, rest, context| match rest.text() {
            Some(text) => Ok(Action::Say(text.to_owned())),
            None => Err(context.missing(row, "the text")),
        }),
    },
    CommandRow {
        verb: "ai_result",
        arguments: "<call-id> <result>",
        doc: "Answers the function call announced by `ai_action`. The model receives the result, which is usually JSON.",
        read: Read::Call(|row, rest, context| {
            let (call_id, rest) = rest.word().ok_or_else(|| context.missing(row, "the call's id"))?;
            let output = rest.text().ok_or_else(|| context.missing(row, "the result"))?;
            Ok(Action::AiResult { call_id: call_id.to_owned(), output: output.to_owned() })
        }),
    },
    CommandRow {
        verb: "health",
        arguments: "",
        doc: "Prints the health of the stream and the recording of that name as JSON.",
        read: Read::Call(|row, rest, _| rest.end(row, Action::Health)),
    },
    CommandRow {
        verb: "global_health",
        arguments: "",
        doc: "Prints module health as JSON.",
        read: Read::Module(|| Command::GlobalHealth),
    },
    CommandRow {
        verb: "list",
        arguments: "",
        doc: "Prints all streams as JSON.",
        read: Read::Module(|| Command::List),
    },
    CommandRow {
        verb: "breakers",
        arguments: "",
        doc: "Prints the circuit breaker of every server that has failed as JSON.",
        read: Read::Module(|| Command::Breakers),
    },
    CommandRow {
        verb: "version",
        arguments: "",
        doc: "Prints the version and the origin of the build as JSON.",
        read: Read::Module(|| Command::Version),
    },
];

impl CommandRow {
    /// A word out of a few.
    fn choice<T: Choice>(&self, word: &str) -> Result<T, CommandError> {
        T::named(word).ok_or_else(|| CommandError::Word {
            verb: self.verb,
            given: shown(word),
            known: in_words(T::WORDS.iter().map(|(word, _)| *word), "or"),
        })
    }

    /// Whether it applies to a call, not to the module.
    pub const fn is_for_call(&self) -> bool {
        matches!(self.read, Read::Call(_))
    }

    /// How it is written after the name of the API command.
    pub fn syntax(&self) -> String {
        if self.is_for_call() { self.syntax_after("<uuid> ") } else { self.verb.to_owned() }
    }

    fn syntax_after(&self, prefix: &str) -> String {
        let space = if self.arguments.is_empty() { "" } else { " " };
        format!("{prefix}{} [name=<id>]{space}{}", self.verb, self.arguments)
    }
}

impl Context {
    fn missing(&self, row: &CommandRow, missing: &'static str) -> CommandError {
        CommandError::Missing { syntax: row.syntax_after(self.prefix), missing }
    }
}

/// The syntax of all commands on one line: what `show api` prints, and `-USAGE:`.
pub fn syntax() -> String {
    COMMANDS.iter().map(CommandRow::syntax).collect::<Vec<_>>().join(" | ")
}

/// The syntax of the dialplan application: what `show application` prints.
pub fn application_syntax() -> String {
    let start = COMMANDS.first().map_or("", |row| row.arguments).replace("[key=value", "[wait=true] [key=value");
    let others = COMMANDS.iter().skip(1).filter(|row| row.is_for_call()).map(|row| row.syntax_after(""));
    std::iter::once(format!("[name=<id>] {start}")).chain(others).collect::<Vec<_>>().join(" | ")
}

/// The syntax of the application for conversations.
pub fn ai_application_syntax() -> String {
    let others = COMMANDS.iter().filter(|row| row.is_for_call() && !row.verb.starts_with("start"));
    let others = others.map(|row| row.syntax_after(""));
    std::iter::once("[name=<id>] [wait=true] [key=value ...]".to_owned()).chain(others).collect::<Vec<_>>().join(" | ")
}

/// What to give to `switch_console_set_complete` at load, one line each.
pub fn completions() -> Vec<String> {
    let line = |row: &CommandRow| {
        let of_call = if row.is_for_call() { "::console::list_uuid " } else { "" };
        format!("add {API} {of_call}{}", row.verb)
    };
    COMMANDS.iter().map(line).collect()
}

/// What to give to `switch_console_set_complete` at unload.
pub fn completion_removal() -> String {
    format!("del {API}")
}

/// Reads a line of the API: what follows `uuid_audio_stream`. FreeSWITCH gives no line as NULL, which is the empty line here.
/// The error's text is the reply.
pub fn parse(line: &[u8]) -> Result<Command, CommandError> {
    let rest = text_of(line)?;
    let (first, rest) = rest.word().ok_or_else(|| CommandError::Usage(format!("{API} {}", syntax())))?;
    let module = COMMANDS.iter().find_map(|row| match row.read {
        Read::Module(command) if row.verb.eq_ignore_ascii_case(first) => Some((row.verb, command)),
        _ => None,
    });
    let Some((verb, rest)) = rest.word() else {
        return match module {
            Some((_, command)) => Ok(command()),
            None => Err(CommandError::Usage(format!("{API} {}", syntax()))),
        };
    };
    let Some((row, read)) = call_verb(verb) else {
        return Err(match module {
            Some((module, _)) => CommandError::Surplus { verb: module, rest: shown(verb) },
            None => CommandError::UnknownVerb { given: shown(verb), known: known(|_| true) },
        });
    };
    let (name, rest) = stream_name(rest)?;
    let mut context = Context { prefix: "<uuid> ", wait: None };
    let action = read(row, rest, &mut context)?;
    Ok(Command::Call { call: CallId::new(first), name: name.unwrap_or_default(), action })
}

/// Reads the data of the dialplan application: a URL and what else `start` takes, or a verb as in the API without the uuid.
/// The error's text is for the log and for `audio_stream_error`.
pub fn parse_application(data: &[u8]) -> Result<AppCommand, CommandError> {
    let usage = || CommandError::Usage(format!("{APPLICATION} {}", application_syntax()));
    let rest = text_of(data)?;
    let (before, rest) = stream_name(rest)?;
    let (first, after_first) = rest.word().ok_or_else(usage)?;
    let (row, read, rest) = match call_verb(first) {
        Some((row, read)) => (row, read, after_first),
        None if first.contains("://") => {
            let (row, read) = call_verb("start").ok_or_else(usage)?;
            (row, read, rest)
        }
        None => {
            let known = format!("a WebSocket URL, {}", known(CommandRow::is_for_call));
            return Err(CommandError::UnknownVerb { given: shown(first), known });
        }
    };
    let (after, rest) = if before.is_none() { stream_name(rest)? } else { (None, rest) };
    let mut context = Context { prefix: "", wait: Some(None) };
    let action = read(row, rest, &mut context)?;
    let wait = context.wait.flatten().unwrap_or(false);
    Ok(AppCommand { name: before.or(after).unwrap_or_default(), action, wait })
}

/// Reads the data of the dialplan application for conversations: what `start_ai` takes, or a verb as in the API without the
/// uuid. Nothing at all starts a conversation too.
pub fn parse_ai_application(data: &[u8]) -> Result<AppCommand, CommandError> {
    let rest = text_of(data)?;
    let (before, rest) = stream_name(rest)?;
    let verb = rest.word().and_then(|(word, after)| Some((call_verb(word)?, after)));
    let ((row, read), rest) = match verb {
        Some(found) => found,
        None => (call_verb("start_ai").ok_or_else(|| CommandError::Usage(ai_application_syntax()))?, rest),
    };
    let (after, rest) = if before.is_none() { stream_name(rest)? } else { (None, rest) };
    let mut context = Context { prefix: "", wait: Some(None) };
    let action = read(row, rest, &mut context)?;
    let wait = context.wait.flatten().unwrap_or(false);
    Ok(AppCommand { name: before.or(after).unwrap_or_default(), action, wait })
}

type FindRow = fn(&str) -> Option<&'static OptionRow>;
type ReadCall = fn(&CommandRow, Rest<'_>, &mut Context) -> Result<Action, CommandError>;

fn call_verb(word: &str) -> Option<(&'static CommandRow, ReadCall)> {
    COMMANDS.iter().find_map(|row| match row.read {
        Read::Call(read) if row.verb.eq_ignore_ascii_case(word) => Some((row, read)),
        _ => None,
    })
}

fn known(which: impl Fn(&CommandRow) -> bool) -> String {
    COMMANDS.iter().filter(|row| which(row)).map(|row| row.verb).collect::<Vec<_>>().join(", ")
}

fn text_of(line: &[u8]) -> Result<Rest<'_>, CommandError> {
    if line.len() > MAX_LINE {
        return Err(CommandError::TooLong(line.len()));
    }
    std::str::from_utf8(line).map(Rest).map_err(|error| CommandError::NotUtf8(error.valid_up_to()))
}

/// `name=<id>` if the next word is that.
fn stream_name(rest: Rest<'_>) -> Result<(Option<StreamName>, Rest<'_>), CommandError> {
    match rest.word() {
        Some((word, after)) => match word.strip_prefix("name=") {
            Some(name) => Ok((Some(name.parse().map_err(|_| BadName(shown(name)))?), after)),
            None => Ok((None, rest)),
        },
        None => Ok((None, rest)),
    }
}

/// What is left of a line: empty, or beginning with the white space after the last word (at the start of the line with the
/// first word).
#[derive(Clone, Copy)]
struct Rest<'a>(&'a str);

impl<'a> Rest<'a> {
    /// The next word and what follows it.
    fn word(self) -> Option<(&'a str, Self)> {
        let text = self.0.trim_ascii_start();
        let end = text.find(|c: char| c.is_ascii_whitespace()).unwrap_or(text.len());
        (end > 0).then(|| (&text[..end], Self(&text[end..])))
    }

    /// Everything after the one separator; none where that is nothing but white space.
    fn text(self) -> Option<&'a str> {
        let mut chars = self.0.chars();
        if chars.clone().next().is_some_and(|c| c.is_ascii_whitespace()) {
            chars.next();
        }
        let text = chars.as_str();
        (!text.trim_ascii().is_empty()).then_some(text)
    }

    fn end(self, row: &CommandRow, action: Action) -> Result<Action, CommandError> {
        match self.word() {
            Some((word, _)) => Err(CommandError::Surplus { verb: row.verb, rest: shown(word) }),
            None => Ok(action),
        }
    }

    /// Which way: capture if nothing is given.
    fn direction(self, row: &CommandRow) -> Result<Direction, CommandError> {
        let Some((word, rest)) = self.word() else { return Ok(Direction::Capture) };
        let direction = row.choice(word)?;
        match rest.word() {
            Some((word, _)) => Err(CommandError::Surplus { verb: row.verb, rest: shown(word) }),
            None => Ok(direction),
        }
    }

    /// Whose audio, and what follows.
    fn source(self, row: &CommandRow, context: &Context) -> Result<(Source, Self), CommandError> {
        let (word, rest) = self.word().ok_or_else(|| context.missing(row, "caller, agent or leg"))?;
        Ok((row.choice(word)?, rest))
    }

    /// The option that comes next, known to `find`, its value, and what follows.
    fn option(self, find: FindRow) -> Result<Option<(&'static OptionRow, &'a str, Self)>, OptionError> {
        let known = self.word().and_then(|(word, _)| word.split_once('=')).and_then(|(key, _)| find(key));
        let Some(row) = known else { return Ok(None) };
        let text = &self.0.trim_ascii_start()[row.key.len() + 1..];
        let (value, end) = if let Some(quoted) = text.strip_prefix('\'') {
            let length = quoted.find('\'').ok_or(OptionError::Unclosed(&row.key))?;
            (&quoted[..length], length + 2)
        } else if row.json && text.starts_with(['{', '[']) {
            let length = json_length(text).ok_or(OptionError::Unclosed(&row.key))?;
            (&text[..length], length)
        } else {
            let length = text.find(|c: char| c.is_ascii_whitespace()).unwrap_or(text.len());
            (&text[..length], length)
        };
        let rest = &text[end..];
        if rest.chars().next().is_some_and(|c| !c.is_ascii_whitespace()) {
            return Err(OptionError::Unclosed(&row.key));
        }
        Ok(Some((row, value, Self(rest))))
    }
}

/// Length of the JSON object or array at the beginning of `text`; none where its braces do not close.
fn json_length(text: &str) -> Option<usize> {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => depth += 1,
            b'}' | b']' if !in_string => {
                depth -= 1;
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            _ => {}
        }
    }
    None
}

fn start(row: &CommandRow, rest: Rest<'_>, context: &mut Context) -> Result<Action, CommandError> {
    let (url, mut rest) = rest.word().ok_or_else(|| context.missing(row, "the URL"))?;
    let endpoint = EndpointUrl::parse(url).map_err(|error| match error {
        BadUrl::Scheme => CommandError::NoUrl(beginning(url)),
        error => CommandError::Url(error),
    })?;
    let mut given = OptionValues::default();
    if let Some((word, after)) = rest.word() {
        if let Some(mix) = Mix::named(word) {
            add(&mut given, "mix", mix.as_str())?;
            rest = after;
        } else if looks_like_mix(word, after) {
            return Err(CommandError::Mix(BadMix(shown(word))));
        }
    }
    if let Some((word, after)) = rest.word().filter(|(word, _)| looks_like_rate(word)) {
        word.parse::<SampleRate>().map_err(|_| CommandError::Rate(BadRate(shown(word))))?;
        add(&mut given, "rate", word)?;
        rest = after;
    }
    loop {
        if let Some((wait, after)) = context.wait_option(rest)? {
            context.wait = Some(Some(wait));
            rest = after;
        } else if let Some((row, value, after)) = rest.option(options::server_row)? {
            given.add(row, value)?;
            rest = after;
        } else {
            break;
        }
    }
    let metadata = rest.text().map(str::to_owned);
    Ok(Action::Start(Box::new(StartRequest { endpoint, options: given, metadata })))
}

fn record(row: &CommandRow, rest: Rest<'_>, context: &mut Context) -> Result<Action, CommandError> {
    let (word, rest) = rest.word().ok_or_else(|| context.missing(row, "start or stop"))?;
    match word.to_ascii_lowercase().as_str() {
        "start" => match rest.text() {
            Some(file) => Ok(Action::RecordStart { file: file.trim_ascii().to_owned() }),
            None => Err(context.missing(row, "the file")),
        },
        "stop" => rest.end(row, Action::RecordStop),
        _ => Err(CommandError::UnknownVerb {
            given: format!("record {}", shown(word)),
            known: "record start, record stop".into(),
        }),
    }
}

fn start_ai(_row: &CommandRow, mut rest: Rest<'_>, context: &mut Context) -> Result<Action, CommandError> {
    let mut given = OptionValues::default();
    while let Some((word, _)) = rest.word() {
        if let Some((wait, after)) = context.wait_option(rest)? {
            context.wait = Some(Some(wait));
            rest = after;
        } else if let Some((row, value, after)) = rest.option(options::ai_row)? {
            given.add(row, value)?;
            rest = after;
        } else {
            // What stands behind the '=' may be secret.
            return Err(CommandError::NoOption(shown(word.split_once('=').map_or(word, |(key, _)| key))));
        }
    }
    Ok(Action::StartAi(Box::new(StartAiRequest { options: given })))
}

/// What shows an operator which word was taken for the URL, without what may be secret: scheme and host, 32 characters at most.
fn beginning(word: &str) -> String {
    const LONGEST: usize = 32;
    let scheme = match word.find(":/") {
        Some(colon) if word[..colon].bytes().all(|byte| byte.is_ascii_alphanumeric()) => {
            word[colon + 1..].find(|c| c != '/').map_or(word.len(), |slashes| colon + 1 + slashes)
        }
        _ => 0,
    };
    // A password may have any character, so everything up to the last '@' is taken for credentials.
    let host = word.rfind('@').map_or(scheme, |at| scheme.max(at + 1));
    let end = word[host..].find(['/', '?', '#', '=', ':']).map_or(word.len(), |length| host + length);
    let text = format!("{}{}", &word[..scheme], &word[host..end]);
    let cut = text.chars().nth(LONGEST).is_some() || end < word.len();
    let text: String = text.chars().take(LONGEST).collect();
    format!("{}{}", shown(&text), if cut { "…" } else { "" })
}

/// Metadata that begins like an argument that was mistyped or stands too late.
struct Slip {
    /// For the log. The value is not shown: metadata may be secret.
    warning: Warning,
    /// It has the name of an option, or one that is close to it or made like it.
    is_option: bool,
}

fn slip(metadata: &str) -> Option<Slip> {
    let word = metadata.split_ascii_whitespace().next()?;
    if Mix::named(word).is_some() || word.parse::<SampleRate>().is_ok() {
        let text =
            format!("'{word}' was sent as metadata; to be an argument, it must follow the URL, before all options");
        return Some(Slip { warning: Warning(text), is_option: false });
    }
    let (key, _) = word.split_once('=')?;
    let like_a_name = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let (advice, is_option) = match closest(key).filter(|_| like_a_name) {
        Some(known) => (format!("did you mean {known}?"), true),
        None if !like_a_name || key.bytes().any(|byte| byte.is_ascii_digit()) => return None,
        None if options::row(key).is_some() => ("it is an option of start_ai".to_owned(), true),
        None => ("options stand before the metadata".to_owned(), key.contains('_')),
    };
    let text = format!("'{}=…' is not an option and was sent as metadata; {advice}", shown(key));
    Some(Slip { warning: Warning(text), is_option })
}

/// The option of streams to servers that `key` was probably meant to be: at most two letters differ, or one in a short name.
fn closest(key: &str) -> Option<&'static str> {
    let key = key.to_ascii_lowercase();
    let near = options::OPTIONS.iter().map(|row| (distance(&key, &row.key), row.key.as_str()));
    near.filter(|(apart, known)| *apart <= known.len().min(8) / 4).min().map(|(_, known)| known)
}

/// How many letters must be added, removed or replaced to make `b` of `a`.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.bytes().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row.last().copied().unwrap_or_default()
}

fn add(given: &mut OptionValues, key: &str, text: &str) -> Result<(), OptionError> {
    options::row(key).map_or(Ok(()), |row| given.add(row, text))
}

impl Context {
    /// `wait=…`, which is an option in the dialplan only.
    fn wait_option<'a>(&self, rest: Rest<'a>) -> Result<Option<(bool, Rest<'a>)>, OptionError> {
        let Some(before) = self.wait else { return Ok(None) };
        let Some((text, after)) = rest.word().and_then(|(word, after)| Some((word.strip_prefix("wait=")?, after)))
        else {
            return Ok(None);
        };
        if before.is_some() {
            return Err(OptionError::Duplicate("wait"));
        }
        match values::flag(text) {
            Some(wait) => Ok(Some((wait, after))),
            None => Err(OptionError::Value { key: "wait", value: shown(text), why: "give true or false".to_owned() }),
        }
    }
}

/// Whether a word that is no mix was meant as one: letters alone, and then nothing, a rate, an option or JSON. Metadata is free to
/// begin with a word after the URL, so it takes that much to tell a slip from it.
fn looks_like_mix(word: &str, after: Rest<'_>) -> bool {
    let next_is_argument = after.word().is_none_or(|(next, _)| {
        looks_like_rate(next)
            || next.starts_with(['{', '['])
            || next.split_once('=').is_some_and(|(key, _)| options::server_row(key).is_some())
    });
    word.bytes().all(|byte| byte.is_ascii_alphabetic()) && next_is_argument
}

/// Whether a word was meant as a rate: a number, with or without `k`, `Hz` or `kHz`.
fn looks_like_rate(word: &str) -> bool {
    let lower = word.to_ascii_lowercase();
    let digits = lower.strip_suffix("hz").unwrap_or(&lower);
    let digits = digits.strip_suffix('k').unwrap_or(digits).trim_start_matches(['+', '-']);
    digits.bytes().next().is_some_and(|byte| byte.is_ascii_digit())
        && digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
}

/// Runs both parsers on any bytes, and what they understood through everything that prints. For fuzzing.
pub fn fuzz_command(data: &[u8]) {
    let replies = [
        parse(data).map(|command| format!("{command:?}")),
        parse_application(data).map(|app| format!("{app:?}")),
        parse_ai_application(data).map(|app| format!("{app:?}")),
    ];
    for reply in replies.into_iter().filter_map(Result::err) {
        let reply = reply.to_string();
        assert!(reply.starts_with("-ERR ") || reply.starts_with("-USAGE: "), "a reply begins otherwise: {reply}");
        assert!(!reply.contains(['\r', '\n']), "a reply has more than one line: {reply}");
    }
}

#[cfg(test)]
mod tests;
