//! The state machine of a call of Ultravox's, once for each connection.
//!
//! ```text
//! Idle ─Connect─► Recalling ─Recall─► Creating ─joinUrl─► Connecting ─Opened─► Joining ─first message─► Ready ─closed─► Ended
//! ```
//! Owned by the stream's task. An *answer* is what the agent says from its first audio, or its first words while the service is `speaking`,
//! until the service stops speaking, asks for a function without words, or gives it up. Numbers of answers are the engine's own. Bounded:
//! [`MOST_HELD`] texts wait for their response, [`REMEMBERED`] calls of functions are known again.

mod service;
mod telling;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::super::coding::Decoder;
use super::super::engine::{
    Capabilities, Command, Engine, Event, Failure, FailureClass, Input, InputFormat, Loss, Memory, Outcome, Output,
    Refuses, TurnTaking,
};
use super::super::expiry::{self, Expiry};
use super::super::growing::Growing;
use super::super::options::RawEvents;
use super::super::queue;
use super::super::setup::HeaderList;
use super::super::ticket::{Answered, Ticket};
use super::answer::{Answer, Words};
use super::call::Profile;
use super::failure::{self, End};
use super::message::ClientMessage;
use super::place::Created;
use crate::peer::{Body, Fetch, Fetched, Message, Speaker, Target, is_success};
use crate::protocol::Fault;
use crate::units::{Encoding, SampleRate, Secret, least};

/// How long the agent may take to say what the call has to know.
const RECALL: Duration = Duration::from_secs(5);
/// A call that is joined begins with the service's first message, or after this without one.
const JOIN: Duration = Duration::from_secs(2);
/// Longest call, unless the service says otherwise.
const LONGEST: Duration = Duration::from_secs(3_600);
/// After the service has stopped speaking, how long the last words of an answer may take.
const GRACE: Duration = Duration::from_millis(500);
/// How long the service may owe an answer. It was none then.
const OWED: Duration = Duration::from_secs(10);
/// Calls of functions that are remembered.
const REMEMBERED: usize = 64;
/// Texts that wait until a response to them is asked for.
const MOST_HELD: usize = 64;

/// What the engine needs to know.
#[derive(Clone, Debug)]
pub(super) struct Config {
    /// Where calls are created.
    pub(super) calls: String,
    pub(super) key: Secret,
    /// The operator's headers.
    pub(super) headers: HeaderList,
    pub(super) profile: Profile,
    /// Which messages of the service become events for the operator.
    pub(super) raw_events: Option<RawEvents>,
    /// The rate at which the caller is heard.
    pub(super) rate: SampleRate,
}

#[derive(Debug)]
enum Phase {
    /// No connection.
    Idle,
    /// The agent is asked for the past.
    Recalling(Instant),
    /// The service is asked for a call.
    Creating(Ticket),
    /// A connection is being made.
    Connecting,
    /// It is there.
    Joining(Instant),
    /// The conversation is held.
    Ready,
    /// The connection is of no use any more, or we ended it.
    Ended,
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Ultravox {
    config: Config,
    phase: Phase,
    outputs: VecDeque<Output>,
    /// Counts requests, answers and turns.
    number: u64,
    /// There has been a call.
    begun: bool,
    /// The service's name of the call, and how long it lasts.
    call_id: Option<String>,
    lasts: Duration,
    expiry: Expiry,
    decoder: Decoder,
    answer: Option<Answer>,
    /// The service is speaking, as it says.
    speaking: bool,
    /// The agent's words that came last.
    words: Option<Words>,
    /// Transcripts of the agent's up to this number are of what is over.
    past: Option<u64>,
    /// The last answer was given up before any of its words had come: the next that come are its.
    wordless: bool,
    /// The service was asked to stop, and has not done so.
    stopping: bool,
    /// Calls of functions that were reported.
    called: VecDeque<String>,
    /// Until when the service is believed to say something by itself: it has a turn of the caller, or a result.
    owes: Option<Instant>,
    /// Texts for which a response is going to be asked for.
    held: Vec<(Speaker, String)>,
    /// The caller's turn that is not over: its number and their words so far.
    turn: Option<(u64, Growing)>,
}

impl Engine for Ultravox {
    fn handle(&mut self, now: Instant, input: Input<'_>) {
        match input {
            Input::Command(command) => self.command(now, command),
            Input::Opened { .. } => self.opened(now),
            Input::Refused { status, message } if matches!(self.phase, Phase::Connecting) => {
                self.over(End::Lost(failure::not_joined(status, message)));
            }
            Input::Closed { code, reason } if self.is_open() => self.over(failure::of_close(code, reason)),
            Input::Fetched { id, piece } => self.fetched(id, piece),
            Input::Timeout => self.timeout(now),
            Input::Text(text) if self.is_open() => self.text(now, text),
            Input::Binary(bytes) if self.is_open() => self.audio(now, bytes),
            Input::Audio(audio) if self.is_ready() && !audio.is_empty() => {
                let duration = self.input().duration_of(audio.len());
                self.outputs.push_back(Output::SendAudio { message: Message::Binary(audio.to_vec()), duration });
            }
            // A call is what it was created as; the command is refused before.
            Input::Changed(_) => {
                let message = "nothing of a call can be changed while it lasts".to_owned();
                let (class, refuses) = (FailureClass::Permanent, Refuses::Nothing);
                let code = "unsupported".to_owned();
                self.event(Event::Changed(Some(Failure { class, refuses, retry_after: None, code, message })));
            }
            _ => {}
        }
    }

    fn poll(&mut self) -> Option<Output> {
        queue::pop(&mut self.outputs)
    }

    fn deadline(&self) -> Option<Instant> {
        match &self.phase {
            Phase::Recalling(until) | Phase::Joining(until) => Some(*until),
            Phase::Creating(ticket) => Some(ticket.until()),
            Phase::Ready => {
                let ends = self.answer.as_ref().and_then(|answer| answer.ends);
                least([self.expiry.deadline(), ends])
            }
            Phase::Idle | Phase::Connecting | Phase::Ended => None,
        }
    }

    fn input(&self) -> InputFormat {
        InputFormat { rate: self.config.rate, encoding: Encoding::S16Le }
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            turns: TurnTaking::Engine { responds: true, interrupts: true },
            full_duplex: false,
            truncates: false,
            takes_text: true,
            resumes: false,
            transcribes: true,
            says: true,
            greets: false,
        }
    }
}

impl Ultravox {
    /// Waits for [`Command::Connect`].
    pub(super) fn new(config: Config) -> Self {
        let decoder = Decoder::new(InputFormat { rate: config.rate, encoding: Encoding::S16Le });
        Self {
            config,
            phase: Phase::Idle,
            outputs: VecDeque::new(),
            number: 0,
            begun: false,
            call_id: None,
            lasts: LONGEST,
            expiry: Expiry::default(),
            decoder,
            answer: None,
            speaking: false,
            words: None,
            past: None,
            wordless: false,
            stopping: false,
            called: VecDeque::new(),
            owes: None,
            held: Vec::new(),
            turn: None,
        }
    }

    const fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Joining(_) | Phase::Ready)
    }

    const fn is_ready(&self) -> bool {
        matches!(self.phase, Phase::Ready)
    }

    fn next(&mut self) -> u64 {
        self.number += 1;
        self.number
    }

    fn event(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }

    fn fault(&mut self, reason: impl Into<std::borrow::Cow<'static, str>>) {
        self.outputs.push_back(Output::Fault(Fault::new(reason)));
    }

    fn send(&mut self, message: &ClientMessage<'_>) {
        self.outputs.push_back(Output::Send(Message::Text(message.to_json())));
    }

    /// The connection is gone, or never was.
    fn over(&mut self, end: End) {
        if matches!(self.phase, Phase::Idle | Phase::Ended) {
            return;
        }
        self.phase = Phase::Ended;
        self.event(match end {
            End::Ended(message) => Event::Ended { message },
            End::Lost(loss) => Event::Lost(loss),
        });
    }

    fn lost(&mut self, code: &str, message: impl Into<String>) {
        self.over(End::Lost(Loss { fatal: false, code: code.to_owned(), message: message.into() }));
    }

    /// Asks for a call that knows the past.
    fn create(&mut self, now: Instant, past: &[Memory]) {
        let id = self.next();
        self.phase = Phase::Creating(Ticket::new(now, id));
        let mut headers = self.config.headers.clone();
        headers.insert(0, ("X-API-Key".to_owned(), self.config.key.clone()));
        let target = Target { url: self.config.calls.clone(), headers, secret: None };
        let body = self.config.profile.body(past, !self.begun);
        self.outputs.push_back(Output::Fetch(Fetch { id, target, body: Some(Body::json(body)) }));
    }

    /// Something has come of the request for a call.
    fn fetched(&mut self, id: u64, piece: Fetched<'_>) {
        let Phase::Creating(ticket) = &mut self.phase else { return };
        match ticket.fetched(id, piece) {
            Some(Answered::With { status, body }) if is_success(status) => self.created(&body),
            Some(Answered::With { status, body }) => self.over(End::Lost(failure::not_created(status, &body))),
            Some(Answered::Nothing(message)) => self.lost("connect", format!("the call was not created: {message}")),
            None => {}
        }
    }

    fn created(&mut self, body: &[u8]) {
        let created: Created = serde_json::from_slice(body).unwrap_or_default();
        match created.target(&self.config.calls, &self.config.headers) {
            Err(why) => self.lost("join_url", why),
            Ok(target) => {
                self.lasts = created.lasts_s().map_or(LONGEST, Duration::from_secs).max(expiry::SHORTEST);
                self.call_id = created.call_id;
                self.phase = Phase::Connecting;
                self.outputs.push_back(Output::Connect(target));
            }
        }
    }

    fn opened(&mut self, now: Instant) {
        if !matches!(self.phase, Phase::Connecting) {
            return;
        }
        self.phase = Phase::Joining(now + JOIN);
        self.expiry = Expiry::of(now, self.lasts);
        self.decoder.reset();
        (self.answer, self.words, self.turn) = (None, None, None);
        (self.speaking, self.wordless, self.stopping) = (false, false, false);
        (self.past, self.owes) = (None, None);
        self.called.clear();
        self.held.clear();
    }

    /// The call has begun.
    fn begin(&mut self) {
        if !matches!(self.phase, Phase::Joining(_)) {
            return;
        }
        (self.phase, self.begun) = (Phase::Ready, true);
        if let Some(session_id) = self.call_id.take() {
            let session_id = super::super::json::short_id(&session_id).to_owned();
            self.event(Event::Named { session_id });
        }
        self.event(Event::Ready);
    }

    fn timeout(&mut self, now: Instant) {
        match &self.phase {
            Phase::Recalling(until) if now >= *until => self.create(now, &[]),
            Phase::Creating(ticket) if now >= ticket.until() => {
                let id = ticket.id();
                self.outputs.push_back(Output::AbortFetch { id });
                self.lost("timeout", "the call was not created in time");
            }
            Phase::Joining(until) if now >= *until => self.begin(),
            Phase::Ready => {
                if self.answer.as_ref().and_then(|answer| answer.ends).is_some_and(|at| now >= at) {
                    self.answer_over(Outcome::Completed);
                }
                if let Some(now) = self.expiry.due(now) {
                    self.event(Event::ExpiresSoon { now });
                }
            }
            _ => {}
        }
    }

    /// The answer in progress, which may begin with this; `None` where nobody wants it.
    fn answer(&mut self) -> Option<&mut Answer> {
        if self.answer.is_none() {
            let answer = Answer::new(self.next());
            (self.owes, self.stopping) = (None, false);
            let response_id = answer.response_id.clone();
            self.event(Event::ResponseStarted { response_id, request: None });
            self.answer = Some(answer);
            self.adopt();
        }
        self.answer.as_mut().filter(|answer| !answer.given_up)
    }

    /// The words that came last, unless they are of what is over.
    fn unclaimed(&self) -> Option<&Words> {
        self.words.as_ref().filter(|words| self.past.is_none_or(|past| words.ordinal > past))
    }

    /// The words that have come belong to the answer that begins, unless they are of one that is over.
    fn adopt(&mut self) {
        let Some(words) = self.unclaimed() else { return };
        let (ordinal, so_far) = (words.ordinal, words.so_far());
        let Some(answer) = &mut self.answer else { return };
        answer.ordinal = Some(ordinal);
        let (response_id, item_id) = (answer.response_id.clone(), answer.item_id.clone());
        if let Some((text, whole)) = so_far {
            self.event(Event::Transcript { response_id, item_id, text, whole });
        }
    }

    /// The answer in progress, if there is one, is over.
    fn answer_over(&mut self, outcome: Outcome) {
        self.decoder.reset();
        let Some(answer) = self.answer.take() else { return };
        match answer.ordinal {
            Some(ordinal) => self.past = self.past.max(Some(ordinal)),
            None => self.wordless = outcome == Outcome::Cancelled || answer.given_up,
        }
        // The agent learned of the end when it gave the answer up.
        if !answer.given_up {
            self.event(Event::ResponseDone { response_id: answer.response_id, outcome });
        }
    }

    fn command(&mut self, now: Instant, command: Command) {
        match command {
            Command::Connect { .. } => {
                self.phase = Phase::Recalling(now + RECALL);
                self.event(Event::Opening);
            }
            Command::Recall { past } if matches!(self.phase, Phase::Recalling(_)) => self.create(now, &past),
            Command::Close => self.close(),
            _ if !self.is_ready() => {}
            command => self.tell(now, command),
        }
    }

    /// Without its connection a call is over. One that was created and is not joined ends by itself.
    fn close(&mut self) {
        match &self.phase {
            Phase::Creating(ticket) => {
                let id = ticket.id();
                self.outputs.extend([Output::AbortFetch { id }, Output::Close]);
            }
            Phase::Joining(_) | Phase::Ready => self.outputs.push_back(Output::Close),
            Phase::Idle | Phase::Recalling(_) | Phase::Connecting | Phase::Ended => {}
        }
        self.phase = Phase::Ended;
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
