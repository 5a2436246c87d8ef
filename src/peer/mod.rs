//! The other end of a stream, whatever it is: a server that speaks one of the protocols, or a conversation with a model.
//!
//! ```text
//!                    Input: connection, captured audio, keys, playback, operator
//! the stream's task ────────────────────────────────────────────────► Peer ── Server (a protocol's dialect)
//!                   ◄────────────────────────────────────────────────      └─ conversation::Conversation
//!                    Output: connect, send, play, flush, events
//! ```
//! The task drives every peer in the same way and never asks which kind it is. A peer is a state machine without socket, clock
//! or task: [`Peer::handle`], then [`Peer::poll`] until `None`, and [`Input::Timeout`] at [`Peer::deadline`]. An output may
//! itself be answered by an input before the rest of the outputs is taken ([`Output::Speak`] by [`Input::NotPlayed`], for
//! example); the outputs of that input come behind the rest.
//!
//! Runs on the stream's worker; owned by the stream's task. Nothing waits here but the outputs of one input and, in a server's
//! case, what is meant for a connection that is still being made.

// A peer is given the time and waits for nothing; the tests may.
#![cfg_attr(not(test), deny(clippy::disallowed_methods))]

mod backoff;
mod figures;
mod report;
mod server;
mod usage;

use std::time::{Duration, Instant};

use crate::protocol::{Fault, MarkId, Play, Request, Transcript, WireFormat};
use crate::units::{SampleRate, Secret};

pub use backoff::{Backoff, Retry};
pub use figures::{TalkFigures, TurnFigures, TurnReport};
pub use report::{AgentStats, AiEvent, AiShared, AiStatus, BargeInCause, Change, Component, Report, Speaker, State};
pub use server::Server;
pub use usage::Usage;

/// The other end of a stream.
pub trait Peer: Send {
    /// Takes one input at the time `now`. Drain [`poll`](Self::poll) afterwards.
    fn handle(&mut self, now: Instant, input: Input<'_>);

    /// The next output, in order; `None` when all are taken.
    fn poll(&mut self) -> Option<Output>;

    /// When [`Input::Timeout`] is wanted; `None` when never.
    fn deadline(&self) -> Option<Instant>;

    /// The form captured audio must have in [`Input::Audio`]. Never changes.
    fn capture(&self) -> WireFormat;

    /// Whether captured audio is taken now. While it is not, the audio waits with the stream, within its bound.
    fn listens(&self) -> bool;

    /// Whether it wants [`Input::Playback`].
    fn follows_playback(&self) -> bool {
        true
    }

    /// How much captured audio waits in the outbox. To be set before [`Input::Text`], [`Input::Closed`] and
    /// [`Input::Timeout`]: if that input ends the connection, a peer that connects again sends that much once more.
    fn set_unsent(&mut self, _unsent: Duration) {}

    /// The server's name for a mark that has not been answered yet; `None` where it gave none.
    fn mark_name(&self, _id: MarkId) -> Option<&str> {
        None
    }

    /// Whether a received text is worth a line in the log; a text that carries audio is not.
    fn is_readable(&self, _text: &str) -> bool {
        true
    }

    /// How a conversation stands.
    fn report(&self) -> Option<Report<'_>> {
        None
    }
}

/// What happens to a peer.
#[derive(Clone, PartialEq, Debug)]
pub enum Input<'a> {
    /// The stream begins.
    Start,
    /// The connection asked for is up.
    Opened {
        /// Seconds since 1970, for protocols that state an absolute end.
        unix_seconds: u64,
    },
    /// The connection asked for could not be made.
    Refused {
        /// HTTP status of the refusal, if there was an answer.
        status: Option<u16>,
        /// Another attempt would be refused as well.
        permanent: bool,
        /// The server asks for a pause: no other attempt before.
        after: Duration,
        /// In words for the operator.
        message: &'a str,
    },
    /// The connection asked for is not attempted: the server's circuit breaker is open, or it has asked for a pause.
    NotAttempted {
        /// No other attempt before.
        after: Duration,
        /// In words for the operator.
        message: &'a str,
    },
    /// The connection has ended, and not by [`Output::Disconnect`].
    Closed {
        /// WebSocket close code; 1006 where there was none.
        code: u16,
        /// The closing side's words.
        reason: &'a str,
    },
    /// Something of the answer to [`Output::Fetch`].
    Fetched {
        /// Which.
        id: u64,
        /// What.
        piece: Fetched<'a>,
    },
    /// A text message arrived.
    Text(&'a str),
    /// A binary message arrived.
    Binary(&'a [u8]),
    /// Captured audio for one message, in the form of [`Peer::capture`].
    Audio(&'a [u8]),
    /// The module's own voice activity detection hears the caller begin (`true`) or stop.
    LocalSpeech(bool),
    /// It has heard the caller speak without a long pause for the time that was asked for.
    LocalLasting,
    /// The caller pressed a key.
    Dtmf {
        /// One of `0-9 A-D * #`.
        digit: char,
        /// How long, ms.
        duration_ms: u32,
    },
    /// The call is on hold, or is not any more: meanwhile nothing is captured, and playback waits.
    Held(bool),
    /// The caller is masked, or is not any more: meanwhile silence is captured in their place, and no keys come.
    Masked(bool),
    /// Everything queued before [`Output::Mark`] has been heard by the caller.
    MarkHeard(MarkId),
    /// Some of what was queued before [`Output::Mark`] has been dropped.
    MarkCleared(MarkId),
    /// The position of the playback, whenever it may have changed.
    Playback {
        /// Audio the caller was given since the start of the stream.
        played: Duration,
        /// Everything queued so far has been played.
        idle: bool,
        /// Audio that waits to be played.
        waiting: Duration,
    },
    /// A flush has taken effect, and with it every earlier one: nothing queued before it is heard any more.
    Flushed {
        /// Of [`Output::Flush`].
        id: u64,
        /// Audio the caller had been given by then.
        played: Duration,
    },
    /// The end of the last [`Output::Speak`] had no room in the queue.
    NotPlayed(Duration),
    /// Synthesised speech, some of a sentence.
    SpeechAudio {
        /// Of [`Output::Synthesize`].
        sentence: u64,
        /// The audio.
        audio: MonoAudio,
    },
    /// When which of a sentence's characters are spoken, before the audio of it.
    SpeechMarks {
        /// Of [`Output::Synthesize`].
        sentence: u64,
        /// In their order, behind those before.
        marks: &'a [SpeechMark],
    },
    /// A sentence's speech is complete.
    SpeechDone {
        /// Of [`Output::Synthesize`].
        sentence: u64,
    },
    /// No provider could speak a sentence; some of its audio may have come before.
    SpeechFailed {
        /// Of [`Output::Synthesize`].
        sentence: u64,
        /// The provider's code.
        code: String,
        /// In words.
        message: String,
    },
    /// An [`Output::Request`] is not done: why, in words for the server.
    Denied(String),
    /// The operator sends a text: to a server as it is, to a model as if the caller had said it.
    SendText(&'a str),
    /// The operator tells a model something.
    Tell(Tell<'a>),
    /// The stream will soon have lasted as long as it may.
    EndsSoon,
    /// The operator changes options of a conversation, which were checked.
    Change(&'a [Change]),
    /// The operator sends an event to the service of a conversation, as it is.
    Raw(&'a str),
    /// The operator has something said to the caller.
    Say(String),
    /// The operator's answer to a function call, or the result of an [`Output::Act`].
    ToolResult {
        /// Of the event or the action.
        call_id: String,
        /// For the model, usually JSON.
        output: String,
    },
    /// The operator has queued playback dropped; an agent is quiet and listens.
    Interrupt,
    /// The stream ends. A conversation ignores whatever comes afterwards.
    Stop {
        /// The operator's last text, before everything else.
        text: Option<&'a str>,
        /// The call has ended, and the stream because of it; otherwise the operator ends the stream.
        call_ended: bool,
    },
    /// [`Peer::deadline`] has passed.
    Timeout,
}

/// What an operator tells a model.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tell<'a> {
    /// In whose words: as if the caller or the agent had said it, or as instructions.
    pub speaker: Speaker,
    /// The words.
    pub text: &'a str,
    /// The model is to answer.
    pub respond: bool,
}

impl<'a> Tell<'a> {
    /// As if the caller had said it, to be answered.
    pub const fn by_caller(text: &'a str) -> Self {
        Self { speaker: Speaker::Caller, text, respond: true }
    }
}

/// What a peer wants done, in order.
#[derive(Clone, PartialEq, Debug)]
pub enum Output {
    /// Make a connection now, dropping the last one with everything that waits for it. Answer with [`Input::Opened`],
    /// [`Input::Refused`] or [`Input::NotAttempted`].
    Connect(Connect),
    /// Send what waits, then close with 1000, beside whatever comes next; or give up the attempt to connect. No answer.
    Disconnect,
    /// Close the connection after everything sent before. The answer is [`Input::Closed`].
    Close {
        /// The WebSocket close code.
        code: u16,
        /// The reason sent with it, at most 123 bytes.
        reason: &'static str,
    },
    /// Send a message that must not be lost.
    Send(Message),
    /// Send a message of captured audio; under pressure the oldest of these are dropped.
    SendAudio {
        /// The message.
        message: Message,
        /// How long its audio lasts.
        duration: Duration,
    },
    /// Ask a server over HTTP, beside any connection. Answer with [`Input::Fetched`] until its end.
    Fetch(Fetch),
    /// The answer is not wanted any more, if there is one: drop the request and what comes of it.
    AbortFetch {
        /// Which.
        id: u64,
    },
    /// Whether the server fulfils its purpose, for the circuit breaker and the log.
    Session(Session),
    /// Queue audio of a server as its message has it.
    Play(Play),
    /// Queue speech of an agent. Answer with [`Input::NotPlayed`] where the end of it has no room.
    Speak {
        /// What it is of.
        source: Source,
        /// The audio.
        audio: MonoAudio,
    },
    /// Drop all audio of a server that is queued. Every mark that waits is then answered by [`Input::MarkCleared`], in order.
    Clear,
    /// Hold what is queued, and what is queued later, back from the caller (`true`), or let it go on: with the next frame, at the
    /// sample where it stopped. The end of a server's connection ends it.
    Hold(bool),
    /// Drop everything queued at once: silence within a frame. Answer with [`Input::Flushed`] when it has taken effect.
    Flush {
        /// For the answer.
        id: u64,
    },
    /// Answer with [`Input::MarkHeard`] or [`Input::MarkCleared`] when everything queued before this has been heard or
    /// dropped.
    Mark(MarkId),
    /// Have a sentence spoken; its audio is wanted as it comes.
    Synthesize {
        /// For the answers.
        sentence: u64,
        /// What to say.
        text: String,
        /// It begins a turn: its melody does not follow that of the sentence before.
        first: bool,
    },
    /// Have a text spoken and queued, behind what is queued already; the server's audio waits meanwhile. No answer: it is the
    /// operator's.
    Announce(String),
    /// Play a recording in place of a sentence. Answered as [`Output::Synthesize`] is.
    Recite {
        /// For the answers.
        sentence: u64,
        /// Which.
        recording: Recording,
    },
    /// The agent thinks, so that the caller may hear a sound that says so (`true`), or it does so no more.
    Thinking(bool),
    /// The sentence is not wanted any more: drop the request, and what came of it.
    AbortSynthesis {
        /// Which.
        sentence: u64,
    },
    /// A server wants this done to the call: only where the stream's options allow it, else answered by [`Input::Denied`].
    Request(Request),
    /// Do something to the call that the conversation's profile allows, then answer with [`Input::ToolResult`].
    Act {
        /// For the answer; empty: none is wanted.
        call_id: String,
        /// What.
        action: Action,
    },
    /// The connection, or the attempt at one, is lost; another is made after the wait. What had not been sent of the captured
    /// audio goes with the next one.
    Retry(Retrying),
    /// Tell the operator.
    Event(Event),
    /// So much of an agent's speech is not even queued, because what came before it had no room.
    NoRoom(Duration),
    /// A service has billed this, to be counted.
    Used(Usage),
    /// The limits of the account, for the log.
    RateLimits(Vec<RateLimit>),
    /// The server sent something unusable; the stream goes on. To be counted and logged.
    Fault(Fault),
    /// The stream ends, after what is queued has been played.
    End(End),
}

/// A connection to be made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Connect {
    /// Where to; `None`: where the stream's command says.
    pub target: Option<Target>,
    /// A caller is in the middle of a conversation: the attempt is made although the server fails for others.
    pub caller_waits: bool,
}

/// The next attempt to connect.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Retrying {
    /// Which attempt it is, from 1; a connection that lasts begins a new row.
    pub attempt: u32,
    /// How long until it is made.
    pub wait: Duration,
    /// HTTP status or close code; 1006 where there was neither.
    pub code: u16,
    /// Why there is no connection.
    pub reason: String,
}

/// Where a connection leads, and how the server knows us there.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Target {
    /// `ws` or `wss`; free of secrets.
    pub url: String,
    /// Sent with the handshake, in this order.
    pub headers: Vec<(String, Secret)>,
    /// What follows the URL, percent-encoded: the rest of its path and its query where it begins with `/`, otherwise parameters of its
    /// query. Sent, and never shown.
    pub secret: Option<Secret>,
}

/// A request over HTTP.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fetch {
    /// Its own number, never used again.
    pub id: u64,
    /// Where to, with `http` or `https`.
    pub target: Target,
    /// What is sent, by POST; `None`: the request is a GET.
    pub body: Option<Body>,
}

/// What a request sends.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Body {
    /// Its form.
    pub content_type: &'static str,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

impl Body {
    /// JSON.
    pub const fn json(bytes: Vec<u8>) -> Self {
        Self { content_type: "application/json", bytes }
    }
}

/// Something of an answer, in this order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fetched<'a> {
    /// Its head.
    Head {
        /// HTTP status.
        status: u16,
        /// What the server calls the request, if it says so.
        request_id: Option<&'a str>,
    },
    /// A piece of its body.
    Body(&'a [u8]),
    /// Its end. The last of a request.
    End,
    /// There is no answer, or no more of it: why, in words. The last of a request.
    Failed(&'a str),
}

/// Whether a server that answers with this HTTP status has done what it was asked for.
pub const fn is_success(status: u16) -> bool {
    matches!(status, 200..=299)
}

/// Where a server is said to be, and which options give it a key: for the rule that a key stays with its server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Place {
    /// The URL, if one is said.
    pub url: Option<String>,
    /// The option that says it.
    pub url_option: String,
    /// Where the server is otherwise; empty: nowhere.
    pub usual: &'static str,
    /// Options that give its key.
    pub key_options: Vec<String>,
    /// A key would be sent.
    pub has_key: bool,
}

/// One message on the wire.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Message {
    /// A text message.
    Text(String),
    /// A binary message.
    Binary(Vec<u8>),
}

/// What has become of an attempt at a session, or of a session.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Session {
    /// The server serves us.
    Up,
    /// The service calls its session so.
    Named(String),
    /// There is no session, or no more; the stream goes on.
    Lost {
        /// Another attempt would change nothing: the key, the account or the configuration is refused. It does not count
        /// against the server, which may serve others.
        fatal: bool,
        /// Whether there was a connection.
        connected: bool,
        /// HTTP status, close code or the server's own code.
        code: String,
        /// In words for the operator.
        message: String,
    },
}

/// How a stream ends.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum End {
    /// With its connection, and for the reason for which that ended or was never made.
    WithConnection,
    /// By itself; the words are empty where it ended as it should.
    ByItself(String),
}

/// What a piece of an agent's speech is of.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Source {
    /// A message of the model.
    Item(String),
    /// A synthesised sentence.
    Sentence(u64),
}

/// A recording that the operator has made for an agent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Recording {
    /// The first words.
    Greeting,
    /// The last words, when the service has failed.
    Fallback,
}

/// Audio of an agent for the caller, mono.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum MonoAudio {
    /// Linear samples.
    Pcm {
        /// Whole samples.
        samples: Vec<i16>,
        /// Their rate.
        rate: SampleRate,
    },
    /// G.711 µ-law, 8 kHz.
    Mulaw(Vec<u8>),
    /// G.711 A-law, 8 kHz.
    Alaw(Vec<u8>),
}

impl MonoAudio {
    /// How long it lasts.
    pub fn duration(&self) -> Duration {
        match self {
            Self::Pcm { samples, rate } => rate.duration_of(samples.len() as u64),
            Self::Mulaw(bytes) | Self::Alaw(bytes) => SampleRate::HZ_8000.duration_of(bytes.len() as u64),
        }
    }
}

/// How far a sentence has been spoken at a moment of its audio.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SpeechMark {
    /// Characters of the sentence that have been spoken, white space apart.
    pub chars: usize,
    /// From the beginning of the sentence's audio.
    pub end: Duration,
}

/// The result of an [`Output::Act`] that was done.
pub const DONE: &str = r#"{"ok":true}"#;

/// Something an agent does to the call. All values are checked, and are data: never expanded, never a command line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Action {
    /// End it.
    HangUp {
        /// The model's words; printable, at most 128 characters.
        reason: String,
    },
    /// Send the caller elsewhere; context and dialplan are the profile's.
    Transfer {
        /// What the operator calls the destination; printable, at most 64 characters.
        name: String,
        /// 1 to 64 of `A-Z a-z 0-9 + * # . _ -`.
        number: String,
        /// For the person who takes the call; printable, at most 1024 characters, without `${`. May be empty.
        summary: String,
    },
    /// Tones to the caller.
    SendDtmf {
        /// 1 to 32 of `0-9 A-D * # w`.
        digits: String,
    },
    /// A channel variable.
    SetVariable {
        /// A letter or `_`, then up to 63 of `A-Z a-z 0-9 _`.
        name: String,
        /// Printable, at most 1024 characters, without `${`.
        value: String,
    },
}

/// What an operator listens for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// The server accepted the connection.
    Connected,
    /// A text of the server that is no command of its protocol; verbatim.
    Json(String),
    /// A playback message of the server without its audio.
    Play(String),
    /// What a transcription service has understood.
    Transcript(Box<Transcript>),
    /// The caller begins to speak (`true`) or stops.
    Speech(bool),
    /// Something happened in a conversation.
    Ai(AiEvent),
}

/// One of the limits of an account.
#[derive(Clone, PartialEq, Debug)]
pub struct RateLimit {
    /// `requests` or `tokens`, for example.
    pub name: String,
    /// How many there are.
    pub limit: f64,
    /// How many are left.
    pub remaining: f64,
    /// Until all are there again.
    pub reset_seconds: f64,
}
