//! The policy of a conversation: turns, barge-in, speech, tools, reconnects. It decides; others do.
//!
//! ```text
//!            far end (engine)      local VAD, DTMF      playback position      speech synthesis      API, timers
//!                  │                      │                     │                     │                  │
//!                  └──────────────────────┴────────► Agent ◄────┴─────────────────────┴──────────────────┘
//!                                                      │
//!           commands for the far end · play · flush · request or abort speech · actions on the call · events
//! ```
//! Sans-IO like the protocols: [`Agent::handle`], then [`Agent::poll`] until `None`; `Input::Timeout` at
//! [`Agent::deadline`]. No clock, no socket, no task, no lock; chance comes in as a seed. It knows no protocol either: what
//! the far end says comes as [`FarEvent`]s and leaves as [`FarCommand`]s, which the stream translates.
//!
//! Runs on the stream's worker; owned by the stream's task, one for each conversation, sharing nothing with others.
//! Bounded: the caller's audio in ms, sentences and history in number and bytes. Audio of the agent passes through.
//!
//! | file | job |
//! |---|---|
//! | `conversation` | the agent itself: inputs, timers, what follows from them, the state |
//! | `far_end` | what the far end does: responses, their text and audio, function calls |
//! | `barge_in` | interruptions, and what they mean for the far end's memory |
//! | `link` | connecting, losing, coming back, ending |
//! | `config` | what a profile says about all this |
//! | `playback` | what was heard of what |
//! | `speech`, `sentence` | text becomes sentences becomes requests for speech |
//! | `caller` | the caller's audio while the far end is away |
//! | `history` | what was said, for the next session |
//! | `tools` | what the model may do with the call |

// The agent is given the time and waits for nothing; the tests may.
#![cfg_attr(not(test), deny(clippy::disallowed_methods))]

mod barge_in;
mod caller;
mod config;
mod conversation;
mod far_end;
mod history;
mod link;
mod playback;
mod sentence;
mod speech;
mod tools;

use std::fmt;
use std::time::Duration;

use crate::units::SampleRate;

pub use config::{AgentConfig, BargeIn, Greeting, Idle, Reconnect, SpeechTrigger, TurnTaking, VoiceMode};
pub use conversation::Agent;
pub use history::HistoryBounds;
pub use sentence::{Abbreviations, SentenceBounds, SentenceRules, SentenceSplitter};
pub use tools::{Action, Builtin, ToolPolicy};

/// Where a conversation stands. Each change is an event.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum State {
    /// Not begun, or ended as it should.
    Idle,
    /// Waiting for the first session.
    Connecting,
    /// The caller's turn.
    Listening,
    /// The agent's turn, nothing to hear yet.
    Processing,
    /// The agent is heard.
    Speaking,
    /// The session is lost or renewed; the caller's audio is kept.
    Reconnecting,
    /// Ended, because it cannot go on. The dialplan decides.
    Failed,
    /// The last turn failed; the conversation goes on with the next.
    Error,
}

impl State {
    /// The word of the events.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "IDLE",
            Self::Connecting => "CONNECTING",
            Self::Listening => "LISTENING",
            Self::Processing => "PROCESSING",
            Self::Speaking => "SPEAKING",
            Self::Reconnecting => "RECONNECTING",
            Self::Failed => "FAILED",
            Self::Error => "ERROR",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Who said something.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Speaker {
    /// The caller.
    Caller,
    /// The agent.
    Agent,
}

/// Audio for the caller, mono.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Audio {
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

impl Audio {
    /// How long it lasts.
    pub fn duration(&self) -> Duration {
        match self {
            Self::Pcm { samples, rate } => rate.duration_of(samples.len() as u64),
            Self::Mulaw(bytes) | Self::Alaw(bytes) => SampleRate::HZ_8000.duration_of(bytes.len() as u64),
        }
    }
}

/// What the agent is told.
#[derive(Clone, PartialEq, Debug)]
pub enum Input {
    /// Begin: connect and talk.
    Start,
    /// End: the call is gone, or the operator wants it. Anything after this is ignored.
    Stop,
    /// The far end, through the protocol.
    Far(FarEvent),
    /// The connection, or the attempt at one, is gone. Once for each [`Output::Connect`], and not after
    /// [`Output::Disconnect`].
    Lost {
        /// Trying again is in vain.
        fatal: bool,
        /// HTTP status, close code or the far end's own code.
        code: String,
        /// In words.
        message: String,
        /// How many of the last bytes of caller's audio handed on never left this machine.
        undelivered: usize,
    },
    /// Our own voice activity detection hears the caller begin (`true`) or stop.
    LocalSpeech(bool),
    /// The caller pressed a key.
    Dtmf(char),
    /// The media side's position; to be told whenever it changed, at least every few frames while audio plays.
    Playback {
        /// Audio the caller was given since the start of the stream.
        played: Duration,
        /// Everything handed over in [`Output::Play`] so far has been played.
        idle: bool,
    },
    /// The media side has seen a flush: nothing queued before it is heard any more.
    Flushed {
        /// Of [`Output::Flush`].
        id: u64,
        /// Audio the caller had been given by then.
        played: Duration,
    },
    /// The media side had no room for the end of the last [`Output::Play`].
    NotPlayed(Duration),
    /// Synthesised speech, some of a sentence.
    SpeechAudio {
        /// Of [`Output::Synthesize`].
        sentence: u64,
        /// The audio.
        audio: Audio,
    },
    /// All of a sentence's speech was told.
    SpeechDone {
        /// Of [`Output::Synthesize`].
        sentence: u64,
    },
    /// A sentence could not be spoken, by no provider; perhaps after some of its audio.
    SpeechFailed {
        /// Of [`Output::Synthesize`].
        sentence: u64,
        /// The provider's code.
        code: String,
        /// In words.
        message: String,
    },
    /// The operator's answer to a function call, or how an [`Output::Act`] went.
    ToolResult {
        /// Of the event or the action.
        call_id: String,
        /// For the model, usually JSON.
        output: String,
    },
    /// The operator has the agent be quiet and listen.
    Interrupt,
    /// The operator has the agent say something.
    Say(String),
    /// The operator tells the model something, as if the caller had said it.
    UserText(String),
    /// [`Agent::deadline`] has passed.
    Timeout,
}

/// What the far end does, whatever its protocol.
#[derive(Clone, PartialEq, Debug)]
pub enum FarEvent {
    /// A session is there and configured.
    Ready,
    /// The session ends soon; `now`: do not wait for a pause.
    ExpiresSoon {
        /// At once.
        now: bool,
    },
    /// It hears the caller begin.
    SpeechStarted,
    /// It hears the caller stop.
    SpeechStopped,
    /// The caller's turn is over and part of the conversation.
    Committed {
        /// Its item.
        item_id: String,
    },
    /// The caller said nothing for its idle timeout.
    IdleTimeout,
    /// A response begins.
    ResponseStarted {
        /// Which.
        response_id: String,
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
        /// The audio.
        audio: Audio,
    },
    /// Text of the model, to be spoken.
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
    /// What the caller said.
    CallerTranscript {
        /// The caller's item.
        item_id: String,
        /// What comes next, or with `whole` everything again.
        text: String,
        /// The text is complete.
        whole: bool,
    },
    /// The model calls a function.
    FunctionCall {
        /// The response.
        response_id: String,
        /// To be given with the result.
        call_id: String,
        /// The function.
        name: String,
        /// As the model wrote them.
        arguments: String,
    },
    /// A response has ended.
    ResponseDone {
        /// Which.
        response_id: String,
        /// How.
        outcome: Outcome,
    },
    /// A request of ours failed; the session goes on.
    Refused {
        /// It was the request for a response, and another one was running.
        response_running: bool,
        /// It was the request for a response.
        response: bool,
        /// The far end's code.
        code: String,
        /// In words.
        message: String,
    },
}

/// How a response ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// Whole.
    Completed,
    /// Cancelled, by whichever side.
    Cancelled,
    /// Cut short by a limit or a filter, which is named.
    Incomplete(String),
    /// Failed.
    Failed {
        /// The far end's code.
        code: String,
        /// In words.
        message: String,
    },
}

/// What the far end is to do, whatever its protocol.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FarCommand {
    /// Respond now.
    Respond {
        /// Instead of the session's instructions, this time.
        instructions: Option<String>,
    },
    /// Give up a response; drop what still comes of it.
    Cancel {
        /// Which.
        response_id: String,
        /// It does not know yet.
        tell: bool,
    },
    /// Forget the end of a message's audio.
    Truncate {
        /// Which message.
        item_id: String,
        /// Which of its contents.
        content_index: u32,
        /// Milliseconds that were heard.
        audio_end_ms: u64,
    },
    /// Forget an item.
    Delete {
        /// Which.
        item_id: String,
    },
    /// Add a message to the conversation.
    Message {
        /// Whose words.
        speaker: Speaker,
        /// The words.
        text: String,
        /// Behind this item; `None`: at the end.
        after: Option<String>,
    },
    /// The result of a function call.
    FunctionOutput {
        /// Of the call.
        call_id: String,
        /// For the model.
        output: String,
    },
    /// The caller's turn is over.
    Commit,
    /// Caller's audio that had to wait.
    Append(Vec<u8>),
}

/// What a piece of speech is of.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Source {
    /// A message of the far end.
    Item(String),
    /// A sentence.
    Sentence(u64),
}

/// What the agent wants done, in order.
#[derive(Clone, PartialEq, Debug)]
pub enum Output {
    /// Make a connection, now. Answer with `Far(Ready)` or `Lost`.
    Connect {
        /// 0, or which of the attempts to come back.
        attempt: u32,
    },
    /// Close the connection, or give up making one, after everything said before. No answer.
    Disconnect,
    /// For the far end.
    Far(FarCommand),
    /// Queue audio for the caller.
    Play {
        /// What it is of.
        source: Source,
        /// The audio.
        audio: Audio,
    },
    /// Drop everything queued, at once: from now to silence at most a frame. Answer with `Flushed`.
    Flush {
        /// For the answer.
        id: u64,
    },
    /// Have a sentence spoken; its audio is wanted as it comes.
    Synthesize {
        /// For the answers.
        sentence: u64,
        /// What to say.
        text: String,
    },
    /// The sentence is not wanted any more: drop the request, and what came of it.
    AbortSynthesis {
        /// Which.
        sentence: u64,
    },
    /// Do something with the call, then tell how it went in a `ToolResult`.
    Act {
        /// For the answer; empty: none is wanted.
        call_id: String,
        /// What.
        action: Action,
    },
    /// Tell the operator.
    Event(Event),
}

/// What an operator listens for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// The state has changed.
    State {
        /// The new one.
        state: State,
        /// The last event of the conversation; there is exactly one.
        last: bool,
        /// Why, where there is a reason: HTTP status, close code, the far end's own code.
        code: String,
        /// In words.
        message: String,
    },
    /// What somebody said.
    Transcript {
        /// Who.
        speaker: Speaker,
        /// The item.
        item_id: String,
        /// The words.
        text: String,
        /// Complete.
        whole: bool,
    },
    /// The model has responded.
    Response {
        /// Which.
        response_id: String,
        /// Its words, as far as they came.
        text: String,
        /// It was cut off.
        interrupted: bool,
    },
    /// The caller interrupted; told when it is known how much was heard.
    BargeIn {
        /// What triggered it.
        cause: BargeInCause,
        /// The message that was interrupted, if it was one.
        item_id: Option<String>,
        /// Of it heard, ms.
        heard_ms: u64,
        /// Of it received, ms.
        received_ms: u64,
    },
    /// The model calls a function.
    Action {
        /// For the answer.
        call_id: String,
        /// The function.
        name: String,
        /// JSON, as the model wrote it.
        arguments: String,
        /// The module does it; no answer is wanted.
        builtin: bool,
    },
    /// Nobody said anything for the idle timeout.
    Idle {
        /// How often in a row.
        count: u32,
    },
    /// Something failed; the conversation goes on.
    Error {
        /// Who.
        component: Component,
        /// Their code.
        code: String,
        /// In words.
        message: String,
    },
    /// A sentence could not be spoken.
    SpeechFailed {
        /// The sentence.
        text: String,
        /// The provider's code.
        code: String,
        /// In words.
        message: String,
        /// From the request to the failure.
        latency: Duration,
    },
}

/// What triggered a barge-in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BargeInCause {
    /// The far end's turn detection.
    FarVad,
    /// Our own.
    LocalVad,
    /// A key.
    Dtmf,
    /// The operator.
    Operator,
}

impl BargeInCause {
    /// The word of the events.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::FarVad => "server_vad",
            Self::LocalVad => "local_vad",
            Self::Dtmf => "dtmf",
            Self::Operator => "operator",
        }
    }
}

/// Where something failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Component {
    /// The far end.
    FarEnd,
    /// A function call.
    Tool,
}

/// Counts since the start, and the present state, for health.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct AgentStats {
    /// A session is there.
    pub connected: bool,
    /// Sentences waiting or being made.
    pub tts_queue_depth: usize,
    /// Caller's audio waiting for the far end, ms.
    pub ring_buffer_ms: u64,
    /// Caller's audio lost because the far end was away for too long, ms.
    pub ring_dropped_ms: u64,
    /// Interruptions.
    pub barge_in_count: u64,
    /// Attempts to come back.
    pub reconnect_attempts: u64,
    /// Sentences lost because too many waited.
    pub sentences_dropped: u64,
}
