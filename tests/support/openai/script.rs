//! What the service answers, and what goes wrong when. Plain values.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::Value;

use super::dialects::Dialect;
use super::hosted::Hosted;
use super::voice::Voice;

/// What a server does; the default admits a client with the key `sk-test` that asks for the model `test-model`, hears turns and
/// answers each with two seconds of speech, all at once.
#[derive(Clone)]
pub struct Script {
    /// Whose protocol it speaks.
    pub dialect: Dialect,
    /// How the client has to send the key.
    pub auth: Auth,
    /// What becomes of a wrong key, or none.
    pub wrong_key: WrongKey,
    /// The model that the client has to ask for.
    pub model: String,
    /// What is said.
    pub answers: Answers,
    /// What the caller's turns are transcribed as, in order; the last again and again. `None`: as failed.
    pub caller: Vec<Option<String>>,
    /// What goes wrong.
    pub troubles: Vec<Trouble>,
    /// `session.updated` comes this late.
    pub confirm_after: Duration,
    /// The session's end, as `session.created` tells it; `None`: it does not.
    pub expires_after: Option<Duration>,
    /// Limits are sent at the beginning of each response.
    pub rate_limits: bool,
    /// All audio is kept; without, it is only counted.
    pub keep_audio: bool,
    /// It says nothing by itself once the session is created: a test says every event, by [`super::Order::Event`]. What the
    /// client says is still checked and recorded.
    pub by_hand: bool,
    /// It is no Realtime service but has this agent, with a protocol of its own.
    pub hosted: Option<Hosted>,
}

impl Default for Script {
    fn default() -> Self {
        Self {
            dialect: Dialect::Ga,
            auth: Auth::Bearer("sk-test".to_owned()),
            wrong_key: WrongKey::Status,
            model: "test-model".to_owned(),
            answers: Answers::always(Answer::default()),
            caller: vec![Some("Hello there.".to_owned())],
            troubles: Vec::new(),
            confirm_after: Duration::ZERO,
            expires_after: None,
            rate_limits: true,
            keep_audio: true,
            by_hand: false,
            hosted: None,
        }
    }
}

impl Script {
    /// The default with these answers, one after the other whatever the connection; the last again and again.
    pub fn answering(answers: impl Into<Vec<Answer>>) -> Self {
        Self { answers: Answers::each(answers.into()), ..Self::default() }
    }

    /// The default of another service.
    pub fn of(dialect: Dialect) -> Self {
        let key = "sk-test".to_owned();
        let auth = match dialect {
            Dialect::Ga | Dialect::Xai => Auth::Bearer(key),
            Dialect::VoiceLive => Auth::ApiKey(key),
            Dialect::Inworld => Auth::Basic(key),
            Dialect::Gemini => Auth::GoogleKey(key),
        };
        Self { dialect, auth, ..Self::default() }
    }

    /// One that says what a test says.
    pub fn by_hand() -> Self {
        Self { by_hand: true, ..Self::default() }
    }

    /// The same with trouble.
    pub fn with(mut self, trouble: Trouble) -> Self {
        self.troubles.push(trouble);
        self
    }
}

/// How the client has to send the key.
#[derive(Clone, Debug)]
pub enum Auth {
    /// `Authorization: Bearer`.
    Bearer(String),
    /// `Authorization: Basic`.
    Basic(String),
    /// `api-key`.
    ApiKey(String),
    /// `x-goog-api-key`, and no key in the URL.
    GoogleKey(String),
}

/// What becomes of a wrong key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WrongKey {
    /// The upgrade is answered with 401.
    Status,
    /// The upgrade succeeds; then an error event, and a close with 3000.
    Event,
}

/// What a response is asked for with.
pub struct Asked<'a> {
    /// Which connection of the server, from 0.
    pub connection: usize,
    /// Which response of this connection, from 0.
    pub response: usize,
    /// `response.instructions` of the request, if it was one.
    pub instructions: Option<&'a str>,
    /// The text of the conversation's last item.
    pub last: &'a str,
}

type Decide = dyn Fn(&Asked<'_>) -> Answer + Send + Sync;

/// Where answers come from.
#[derive(Clone)]
pub struct Answers(Arc<Decide>);

impl Answers {
    /// One after the other, over all connections; the last again and again.
    pub fn each(answers: Vec<Answer>) -> Self {
        assert!(!answers.is_empty(), "there is something to answer");
        let next = AtomicUsize::new(0);
        Self::by(move |_| answers[next.fetch_add(1, Ordering::Relaxed).min(answers.len() - 1)].clone())
    }

    /// The same each time.
    pub fn always(answer: Answer) -> Self {
        Self::by(move |_| answer.clone())
    }

    /// What this says.
    pub fn by(decide: impl Fn(&Asked<'_>) -> Answer + Send + Sync + 'static) -> Self {
        Self(Arc::new(decide))
    }

    /// The answer to this.
    pub fn to(&self, asked: &Asked<'_>) -> Answer {
        (self.0)(asked)
    }
}

/// One response.
#[derive(Clone, Debug)]
pub struct Answer {
    /// In a session of speech; nothing: no message, only calls.
    pub voice: Option<Voice>,
    /// Its words, and all there is in a session of text.
    pub text: String,
    /// Functions called, after the message.
    pub calls: Vec<Call>,
    /// From `response.created` to the first delta.
    pub thinking: Duration,
    /// How fast the deltas come.
    pub pace: Pace,
    /// Audio in one delta, ms.
    pub chunk_ms: u32,
    /// Deltas that still come once it was cancelled, 10 ms apart; `response.done` among them.
    pub late: u32,
    /// How it ends when nobody cancels it.
    pub ending: Ending,
}

impl Default for Answer {
    fn default() -> Self {
        Self {
            voice: Some(Voice::Chord { seed: 1, ms: 2_000 }),
            text: "This is what there is to say.".to_owned(),
            calls: Vec::new(),
            thinking: Duration::ZERO,
            pace: Pace::Burst,
            chunk_ms: 100,
            late: 0,
            ending: Ending::Completed,
        }
    }
}

impl Answer {
    /// So many milliseconds of the chord with this seed.
    pub fn chord(seed: u64, ms: u32) -> Self {
        Self { voice: Some(Voice::Chord { seed, ms }), ..Self::default() }
    }

    /// These words, for a session of text.
    pub fn text(text: &str) -> Self {
        Self { text: text.to_owned(), ..Self::default() }
    }

    /// Only a function call.
    pub fn call(name: &str, arguments: &Value) -> Self {
        let call = Call { name: name.to_owned(), arguments: arguments.to_string() };
        Self { voice: None, text: String::new(), calls: vec![call], ..Self::default() }
    }
}

/// A function call.
#[derive(Clone, Debug)]
pub struct Call {
    /// The function.
    pub name: String,
    /// JSON, or what the model takes for it.
    pub arguments: String,
}

/// How fast deltas come.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Pace {
    /// All at once.
    Burst,
    /// So many times as fast as the audio.
    Times(f64),
}

/// How a response ends.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Ending {
    /// Whole.
    Completed,
    /// Cut short, for `max_output_tokens` or `content_filter`.
    Incomplete(&'static str),
    /// Failed, with this code.
    Failed(&'static str),
    /// Never: the deltas stop and nothing more follows.
    Never,
}

/// Something that goes wrong once.
#[derive(Clone, Debug)]
pub struct Trouble {
    /// On which connection, from 0; `None`: on each.
    pub connection: Option<usize>,
    /// When.
    pub when: When,
    /// What.
    pub what: What,
}

impl Trouble {
    /// On the first connection.
    pub fn at(when: When, what: What) -> Self {
        Self { connection: Some(0), when, what }
    }
}

/// A moment of a session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum When {
    /// The connection is open, nothing is said.
    Opened,
    /// `session.updated` was sent.
    Configured,
    /// So much of the caller's audio has come in.
    Heard(Duration),
    /// So much audio of the answers was sent.
    Said(Duration),
    /// So long after the connection was opened.
    After(Duration),
}

/// What goes wrong.
#[derive(Clone, PartialEq, Debug)]
pub enum What {
    /// An error event of this type and code.
    Error(&'static str, &'static str),
    /// Gemini says that the connection ends in so many seconds.
    GoAway(u64),
    /// A close frame.
    Close(u16, &'static str),
    /// The connection is reset.
    Drop,
    /// From here on the server does not read or write; the connection stays.
    Freeze,
    /// The server does not read or write for this long: what the client sends meanwhile waits in the network.
    Stall(Duration),
    /// This text, whatever it is.
    Text(String),
    /// A binary message, which this protocol does not have.
    Binary(Vec<u8>),
}
