//! What every conversation engine is to the agent: a service that hears the caller and answers, over one WebSocket.
//!
//! ```text
//!                Input: connection, messages, the agent's commands
//! driver, agent ──────────────────────────────────────────────────► Engine (openai, …)
//!               ◄──────────────────────────────────────────────────
//!                Output: connect, send, and Events in the agent's words
//! ```
//! An engine speaks the service's protocol and decides nothing about the conversation. It is a state machine without socket,
//! clock or task: [`Engine::handle`], then [`Engine::poll`] until `None`, and [`Input::Timeout`] at [`Engine::deadline`]. One
//! value serves all connections of a conversation; [`Input::Opened`] starts it afresh.
//!
//! Services differ, so little is required. `Ready` and `Audio` or `Text` make a conversation. An engine that does not know when
//! the caller speaks sends no speech events, and the module's own voice activity detection interrupts. An engine whose service
//! has no ids for responses and items makes them up, new ones for each answer. [`Capabilities`] says what it can do beyond that;
//! the agent asks for nothing else.
//!
//! An engine does not remember what the agent has given up: it passes on all that arrives, and the agent drops what has no
//! response it wants.

use std::fmt;
use std::time::{Duration, Instant};

use super::options::AiOptions;
use crate::peer::{Fetch, Fetched, Message, MonoAudio, RateLimit, Speaker, SpeechMark, Target, Usage};
use crate::protocol::Fault;
use crate::units::{Encoding, SampleRate};

/// Who ends the caller's turn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TurnTaking {
    /// The engine.
    Engine {
        /// It responds by itself; else it is asked to.
        responds: bool,
        /// It cancels its response by itself when the caller speaks; otherwise the agent commands it.
        interrupts: bool,
    },
    /// Our own voice activity detection: the turn is committed and a response asked for.
    Local,
}

/// The service's side of one conversation.
pub trait Engine: fmt::Debug + Send {
    /// Takes one input at the time `now`. Drain [`poll`](Self::poll) before the next.
    fn handle(&mut self, now: Instant, input: Input<'_>);

    /// The next output of the last input, in order; `None` when all are taken.
    fn poll(&mut self) -> Option<Output>;

    /// When [`Input::Timeout`] is wanted; `None` when never.
    fn deadline(&self) -> Option<Instant>;

    /// How the engine takes the caller's audio. Never changes; where the service says only in the session how it wants the audio, the
    /// engine takes linear samples at the rate of the call and codes them anew.
    fn input(&self) -> InputFormat;

    /// What it can do. Never changes.
    fn capabilities(&self) -> Capabilities;

    /// The server asks for no connection before this. To be said before [`Input::Refused`]; for an engine that connects again by
    /// itself (see [`Event::Link`]).
    fn not_before(&mut self, _at: Instant) {}
}

/// How the caller's audio is coded for the engine, mono.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct InputFormat {
    /// Samples a second.
    pub rate: SampleRate,
    /// Bytes of a sample.
    pub encoding: Encoding,
}

impl InputFormat {
    /// Bytes a second.
    pub const fn bytes_per_second(self) -> usize {
        self.rate.hz() as usize * self.encoding.sample_bytes()
    }

    /// How long `bytes` last.
    pub fn duration_of(self, bytes: usize) -> Duration {
        self.rate.duration_of((bytes / self.encoding.sample_bytes()) as u64)
    }

    /// The bytes of audio that lasts `duration`, in whole samples.
    pub fn bytes_in(self, duration: Duration) -> usize {
        self.rate.samples_in_ms(duration.as_millis().min(60_000) as u32) * self.encoding.sample_bytes()
    }
}

/// What an engine can do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Capabilities {
    /// Who ends the caller's turn, and whether the service interrupts itself.
    pub turns: TurnTaking,
    /// It hears the caller while it speaks, and decides by itself what it answers and when it stops: the caller's speech interrupts nothing
    /// here, and no turn has to be answered.
    pub full_duplex: bool,
    /// It corrects its memory of what was said: [`Command::Truncate`] and [`Command::Delete`].
    pub truncates: bool,
    /// It takes messages of text: [`Command::Message`].
    pub takes_text: bool,
    /// A new connection continues the conversation of the last: nothing has to be sent again.
    pub resumes: bool,
    /// It writes down what the caller says: [`Event::CallerTranscript`] for each of their turns.
    pub transcribes: bool,
    /// It says words of ours exactly: [`Command::Say`].
    pub says: bool,
    /// It says the policy's greeting by itself, word for word, when the first session begins.
    pub greets: bool,
}

/// One thing of the conversation so far that a new session has to know.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Memory {
    /// Somebody said this; of the agent's words those that the caller has heard.
    Words {
        /// Who.
        speaker: Speaker,
        /// The words.
        text: String,
    },
    /// The model called a function.
    Call {
        /// The call.
        call_id: String,
        /// The function.
        name: String,
        /// As the model wrote them.
        arguments: String,
    },
    /// The result of a call.
    Output {
        /// Of the call.
        call_id: String,
        /// For the model, usually JSON.
        output: String,
    },
}

impl From<Memory> for Command {
    fn from(memory: Memory) -> Self {
        match memory {
            Memory::Words { speaker, text } => Self::Message { speaker, text, after: None, respond: false },
            Memory::Call { call_id, name, arguments } => Self::ToolCall { call_id, name, arguments },
            Memory::Output { call_id, output } => Self::ToolOutput { call_id, output },
        }
    }
}

/// An input of an engine.
#[derive(Clone, PartialEq, Debug)]
pub enum Input<'a> {
    /// The connection of [`Output::Connect`] is up.
    Opened {
        /// Seconds since 1970, for services that state an absolute end of the session.
        unix_seconds: u64,
    },
    /// The connection could not be made.
    Refused {
        /// HTTP status of the refusal, if there was an answer.
        status: Option<u16>,
        /// In words for the operator.
        message: &'a str,
    },
    /// A text message arrived.
    Text(&'a str),
    /// A binary message arrived.
    Binary(&'a [u8]),
    /// The connection has ended.
    Closed {
        /// WebSocket close code; 1006 where there was none.
        code: u16,
        /// The closing side's words.
        reason: &'a str,
    },
    /// Audio of the caller in the bytes of [`Engine::input`], up to a second. Never before [`Event::Ready`].
    Audio(&'a [u8]),
    /// The module's own voice activity detection, if it runs, hears the caller begin (`true`) or stop.
    LocalSpeech(bool),
    /// Something of the answer to [`Output::Fetch`].
    Fetched {
        /// Which.
        id: u64,
        /// What.
        piece: Fetched<'a>,
    },
    /// The operator has changed options of the conversation, which were checked: these are to be in force in the session there is,
    /// and in later ones. Answered by [`Event::Changed`]; until then there is no other.
    Changed(&'a AiOptions),
    /// The agent wants this.
    Command(Command),
    /// [`Engine::deadline`] has passed.
    Timeout,
}

/// What the agent wants of an engine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Command {
    /// Begin a session: answer with [`Output::Connect`], at once or, where something must be fetched first, later.
    Connect {
        /// 0, or the number of the reconnect attempt.
        attempt: u32,
    },
    /// Respond now. Only one request is outstanding: the next one comes after this one has begun, was refused or is given up.
    Respond {
        /// The request's own number, never used again. If the service repeats it, [`Event::ResponseStarted`] and
        /// [`Refuses::Response`] have it.
        request: u64,
        /// Instructions for this response, after those of the session.
        instructions: Option<String>,
    },
    /// Say exactly these words now; otherwise as [`Respond`](Self::Respond). Needs [`Capabilities::says`].
    Say {
        /// The request's own number.
        request: u64,
        /// The words.
        text: String,
    },
    /// The answer to [`Event::Opening`], at once: what the new session has to know, oldest first.
    Recall {
        /// What was said and done.
        past: Vec<Memory>,
    },
    /// Give up a response.
    Cancel {
        /// Which.
        response_id: String,
        /// The service does not know yet: its own turn detection has not cancelled it.
        tell: bool,
    },
    /// Forget the end of a message's audio. Needs [`Capabilities::truncates`].
    Truncate {
        /// Which message.
        item_id: String,
        /// Which of its contents.
        content_index: u32,
        /// Milliseconds that were heard; at most what was received.
        audio_end_ms: u64,
    },
    /// Forget an item. Needs [`Capabilities::truncates`].
    Delete {
        /// Which.
        item_id: String,
    },
    /// Add a message to the conversation. Needs [`Capabilities::takes_text`].
    Message {
        /// Whose words.
        speaker: Speaker,
        /// The words.
        text: String,
        /// Behind this item; `None`: at the end.
        after: Option<String>,
        /// An answer to it is asked for by [`Respond`](Self::Respond), as soon as one can be.
        respond: bool,
    },
    /// A function call of an earlier session, of which the service of this one does not know. Needs
    /// [`Capabilities::takes_text`].
    ToolCall {
        /// The call.
        call_id: String,
        /// The function.
        name: String,
        /// As the model wrote them.
        arguments: String,
    },
    /// The result of a function call.
    ToolOutput {
        /// Of the call.
        call_id: String,
        /// For the model, usually JSON.
        output: String,
    },
    /// The decision on [`Event::Approval`].
    Approve {
        /// Which.
        request_id: String,
        /// The tool may be called.
        approve: bool,
        /// Why not, for the model.
        reason: Option<String>,
    },
    /// The caller begins to speak (where the module finds the turns): forget the audio that belongs to no turn, and take this
    /// instead, which is the end of it. An engine whose service cannot forget ignores this.
    BeginTurn {
        /// In the bytes of [`Engine::input`].
        audio: Vec<u8>,
    },
    /// Send this event of the operator's, as it is. Needs [`EngineEntry::raw`](super::engines::EngineEntry::raw).
    Raw {
        /// JSON.
        event: String,
    },
    /// The caller's turn is over (where the module finds the turns). Answered by [`Event::Committed`] or [`Refuses::Commit`].
    Commit,
    /// End the session.
    Close,
}

/// What an engine wants done, in order.
#[derive(Clone, PartialEq, Debug)]
pub enum Output {
    /// Make a connection.
    Connect(Target),
    /// Send one message that must not be lost.
    Send(Message),
    /// Send one message that carries the caller's audio; under pressure the oldest of these are dropped.
    SendAudio {
        /// The message.
        message: Message,
        /// How long its audio lasts.
        duration: Duration,
    },
    /// Ask a server over HTTP.
    Fetch(Fetch),
    /// The answer is not wanted any more, if there is one.
    AbortFetch {
        /// Which.
        id: u64,
    },
    /// Tell the agent.
    Event(Event),
    /// The service sent something unusable; the session goes on. To be counted and logged.
    Fault(Fault),
    /// Close the connection with 1000, after everything sent before.
    Close,
}

/// What happens in a session. Ids are the service's, cut at 128 characters, or the engine's own.
#[derive(Clone, PartialEq, Debug)]
pub enum Event {
    /// The session that is about to be ready goes on with the last: nothing has to be sent again. For engines that do not know it
    /// beforehand; see [`Capabilities::resumes`].
    Resumed,
    /// The session is configured: audio and commands are taken from now on.
    Ready,
    /// The connection is up, and its service takes what was said so far only with its configuration. Answered by
    /// [`Command::Recall`]; after [`Ready`](Self::Ready) only what has been added is told.
    Opening,
    /// The service calls the session so.
    Named {
        /// For the service's own logs.
        session_id: String,
    },
    /// The session ends soon.
    ExpiresSoon {
        /// Do not wait for a pause any longer.
        now: bool,
    },
    /// The connection, or the attempt at one, is of no use any more. The last event of a connection, once.
    Lost(Loss),
    /// The service has ended the conversation, as it is meant to: what was said is still heard, and no other session follows. The last
    /// event of a connection, once.
    Ended {
        /// The service's words, if it gives any.
        message: String,
    },
    /// The connection is lost while the session goes on without it (with why), or is there again. The engine makes it again by
    /// itself, with [`Output::Connect`] at any time.
    Link(Option<Loss>),
    /// The service hears the caller begin to speak.
    SpeechStarted {
        /// Position in the session's audio, ms from its first sample; `None` if the service does not state it.
        start_ms: Option<u64>,
    },
    /// The service hears the caller stop.
    SpeechStopped,
    /// The caller's turn is over and part of the conversation.
    Committed {
        /// Its item.
        item_id: String,
        /// The item before it; `None` where there is none, or the service does not say.
        previous: Option<String>,
    },
    /// The caller has interrupted, as the service finds: it has given up its response, and what is queued is not wanted any more.
    Interrupted,
    /// The caller said nothing for the service's idle timeout; it responds by itself.
    IdleTimeout,
    /// A response begins. It may also begin unannounced, with any of the events that name it.
    ResponseStarted {
        /// Which.
        response_id: String,
        /// The request that it answers; `None` if the service does not repeat it, or began by itself.
        request: Option<u64>,
    },
    /// A response begins a message.
    ItemStarted {
        /// The response.
        response_id: String,
        /// The message.
        item_id: String,
    },
    /// Speech of the model.
    Audio {
        /// The response.
        response_id: String,
        /// The message.
        item_id: String,
        /// Which of its contents.
        content_index: u32,
        /// The audio, never empty.
        audio: MonoAudio,
    },
    /// Text of the model, to be spoken by us.
    Text {
        /// The response.
        response_id: String,
        /// The message.
        item_id: String,
        /// What comes next, or with `whole` everything again.
        text: String,
        /// The text is complete.
        whole: bool,
    },
    /// What the model's speech says.
    Transcript {
        /// The response.
        response_id: String,
        /// The message.
        item_id: String,
        /// What comes next, or with `whole` everything again.
        text: String,
        /// The text is complete.
        whole: bool,
    },
    /// What the caller said; at any time, in any order.
    CallerTranscript {
        /// The caller's item.
        item_id: String,
        /// What comes next, or with `whole` everything again.
        text: String,
        /// The text is complete.
        whole: bool,
    },
    /// What the caller said could not be written down; the conversation goes on.
    CallerTranscriptFailed {
        /// The caller's item.
        item_id: String,
        /// Why.
        failure: Failure,
    },
    /// The model calls a function. Once for each call.
    ToolCall {
        /// The response.
        response_id: String,
        /// To be given with the result.
        call_id: String,
        /// The function.
        name: String,
        /// Its arguments as the model wrote them: JSON, if all is well.
        arguments: String,
    },
    /// The model has called a function that the service itself carries out: nothing is to be done.
    CalledElsewhere {
        /// The response.
        response_id: String,
        /// The call.
        call_id: String,
        /// Who carries it out.
        server: String,
        /// The function.
        name: String,
        /// Its arguments as the model wrote them.
        arguments: String,
    },
    /// The service takes a function call back, since the caller has spoken: the model wants no result of it.
    ToolCancelled {
        /// Of the call.
        call_id: String,
    },
    /// The model wants to call a tool that the service itself asks for, and that needs an approval. Answered by
    /// [`Command::Approve`]; the model goes on with the next response.
    Approval {
        /// The response.
        response_id: String,
        /// For the answer.
        request_id: String,
        /// The server with the tool.
        server: String,
        /// The tool.
        name: String,
        /// Its arguments as the model wrote them.
        arguments: String,
    },
    /// A response, which is over now, has called tools that the service itself asks for, and the model has yet to speak of what
    /// came of them.
    ToolsRan {
        /// The response.
        response_id: String,
    },
    /// When which character of the model's speech is spoken, for audio that has come.
    Marks {
        /// The response.
        response_id: String,
        /// The message.
        item_id: String,
        /// In their order, from the beginning of the message's audio.
        marks: Vec<SpeechMark>,
    },
    /// What the service takes as said of a message that the caller interrupted; before or after [`Interrupted`](Self::Interrupted).
    Corrected {
        /// The message.
        item_id: String,
        /// What the model wrote.
        text: String,
        /// What of it counts.
        said: String,
    },
    /// A response has ended, also one that was given up.
    ResponseDone {
        /// Which.
        response_id: String,
        /// How.
        outcome: Outcome,
    },
    /// A request of ours failed; the session goes on.
    Failed(Failure),
    /// A response, however it ended, or a transcript of the caller has been billed; before the event of its end.
    Used(Usage),
    /// How long the service's voice took from the first word of the response to its first sound.
    SpeechTook(Duration),
    /// The limits of the account.
    RateLimits(Vec<RateLimit>),
    /// What [`Input::Changed`] asked for is in force, or the service refuses it and everything is as before.
    Changed(Option<Failure>),
    /// An event of the service, in its own words without what may be secret: only where the options ask for it.
    Raw(String),
}

/// How a response ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// Whole.
    Completed,
    /// Cancelled, by either side.
    Cancelled,
    /// Cut short by a limit or a filter, which is named.
    Incomplete(String),
    /// Failed; the session goes on.
    Failed(Failure),
}

/// Something failed, and the session goes on. What ends it is a [`Loss`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    /// What it means.
    pub class: FailureClass,
    /// What the service will not do because of it.
    pub refuses: Refuses,
    /// Time after which the same may work, if the service states it.
    pub retry_after: Option<Duration>,
    /// The service's code; may be empty.
    pub code: String,
    /// The service's words, fit for a log line.
    pub message: String,
}

/// What a service will not do because of a failure.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refuses {
    /// Nothing that the agent waits for.
    Nothing,
    /// The response to this request; `None` if the service does not say which.
    Response(Option<u64>),
    /// A commit of the caller's turn.
    Commit,
}

/// What a failure means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FailureClass {
    /// Nothing: what was asked for is already so. Not to be shown.
    Harmless,
    /// Another response is running: ask again when it is over.
    Busy,
    /// The service is busy or limits us: the same may work later.
    Transient,
    /// The same request would fail again.
    Permanent,
}

/// Why a connection is of no use any more.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Loss {
    /// No attempt can work until the configuration or the account changes: do not retry.
    pub fatal: bool,
    /// HTTP status, WebSocket close code or the service's own code.
    pub code: String,
    /// In words for the operator.
    pub message: String,
}
