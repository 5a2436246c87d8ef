//! A recogniser that hears the caller all the time: its connection, the caller's turns in what it says, and a connection that is lost.
//!
//! ```text
//! audio ─► kept ─► recogniser ─► words ─► open turn ─► Note::Words …, Note::Turn
//! ```
//! Turns end where the recogniser says so, or where the module finds the end: then the recogniser is asked to finish, and the words
//! until there are the turn's. A lost connection is made again beside the conversation, which goes on. What has no final words yet is
//! sent again, so that no turn is lost with it.
//!
//! Owned by the engine. Bounded: the audio kept, [`MOST_TURNS`] turns that wait for their words, the words of one turn.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::super::engine::{Event, Failure, FailureClass, Input, InputFormat, Loss, Output, Refuses};
use super::failure::Refused;
use super::kept::Kept;
use super::note::{MOST_TURNS, Note};
use super::open_turn::OpenTurn;
use super::out::Out;
use super::recogniser::{Recogniser, Said, Words};
use crate::peer::{Backoff, Message, Retry, Target, Usage};
use crate::protocol::Fault;
use crate::units::least;

/// How long a recogniser may take for the last words of a turn, once it was asked to finish. Some do not answer when there are none.
const FINISH: Duration = Duration::from_millis(1_500);
/// How long it may take to listen, once the connection is open.
const SETUP: Duration = Duration::from_secs(10);
/// It hears at least so often from a call without audio. Deepgram closes after 10 s of nothing.
const KEEP_ALIVE: Duration = Duration::from_secs(5);
/// Silence that stands for audio, where a recogniser wants some.
const SILENCE: Duration = Duration::from_millis(100);
/// Kept of a silence: a recogniser is behind by less.
const BEFORE: Duration = Duration::from_secs(5);
/// One message of audio that is sent again.
const PIECE: Duration = Duration::from_millis(200);
/// As much as is sent at once: the stream's queue holds more.
const BURST: Duration = Duration::from_millis(800);
/// The next so much later.
const PAUSE: Duration = Duration::from_millis(100);
/// Usage is reported after so much audio.
const REPORT: Duration = Duration::from_secs(5);

/// The connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Link {
    /// None is wanted.
    Down,
    Connecting,
    /// Open, until then without a word.
    Opening {
        until: Instant,
    },
    Up {
        since: Instant,
    },
    /// Lost; made again then.
    Waiting {
        until: Instant,
    },
}

/// A turn that the module has ended, and whose words are not all there.
#[derive(Debug)]
struct Commit {
    /// The end of the caller's audio at that moment.
    at: u64,
    /// The recogniser was asked to finish, and has so long.
    until: Option<Instant>,
}

/// What it is made of.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) service: Box<dyn Recogniser>,
    pub(super) target: Target,
    pub(super) format: InputFormat,
    /// The module finds the turns.
    pub(super) locally: bool,
    pub(super) retry: Retry,
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Live {
    parts: Parts,
    link: Link,
    /// It has been up.
    begun: bool,
    backoff: Option<Backoff>,
    not_before: Option<Instant>,
    kept: Kept,
    /// The position at which the connection's audio begins: less by what it was sent beside the caller's.
    origin: i64,
    /// Up to where the caller's audio was sent.
    sent: u64,
    pump_at: Option<Instant>,
    keep_alive: Option<Instant>,
    turn: OpenTurn,
    /// Words from before are no part of the turn.
    turn_from: u64,
    /// The caller speaks, as the module finds.
    in_turn: bool,
    /// The agent knows that the caller speaks.
    speaking: bool,
    /// The end of the turn is taken for granted then.
    patience: Option<Instant>,
    commits: VecDeque<Commit>,
    /// Bytes sent and not yet reported as used.
    unreported: u64,
}

impl Live {
    pub(super) fn new(parts: Parts) -> Self {
        Self {
            parts,
            link: Link::Down,
            begun: false,
            backoff: None,
            not_before: None,
            kept: Kept::default(),
            origin: 0,
            sent: 0,
            pump_at: None,
            keep_alive: None,
            turn: OpenTurn::default(),
            turn_from: 0,
            in_turn: false,
            speaking: false,
            patience: None,
            commits: VecDeque::new(),
            unreported: 0,
        }
    }

    pub(super) fn connect(&mut self, out: &mut Out) {
        self.link = Link::Connecting;
        out.push(Output::Connect(self.parts.target.clone()));
    }

    /// The server asks for no attempt before this.
    pub(super) const fn not_before(&mut self, at: Instant) {
        self.not_before = Some(at);
    }

    pub(super) fn handle(&mut self, now: Instant, input: Input<'_>, out: &mut Out, notes: &mut Vec<Note>) {
        match input {
            Input::Opened { .. } if self.link == Link::Connecting => {
                self.link = Link::Opening { until: now + SETUP };
                if self.parts.service.listens_at_once() {
                    self.up(now, out);
                }
            }
            Input::Refused { status, message } if self.link == Link::Connecting => {
                let loss = refused(status, message);
                self.lost(now, loss, out, notes);
            }
            Input::Closed { code, reason } if matches!(self.link, Link::Opening { .. } | Link::Up { .. }) => {
                let why = if reason.is_empty() { "no reason was given" } else { reason };
                let message = format!("the recogniser closed the connection with {code}: {why}");
                self.lost(now, Loss { fatal: false, code: code.to_string(), message }, out, notes);
            }
            Input::Audio(audio) => {
                self.kept.push(audio);
                self.pump(now, out);
                self.forget_silence();
            }
            Input::LocalSpeech(false) => self.in_turn = false,
            Input::Text(text) if matches!(self.link, Link::Opening { .. } | Link::Up { .. }) => {
                match self.parts.service.read(text) {
                    Ok(Some(said)) => self.said(now, said, out, notes),
                    Ok(None) => {}
                    Err(reason) => out.push(Output::Fault(Fault::new(reason))),
                }
            }
            Input::Binary(_) => out.push(Output::Fault(Fault::new("a binary message: the recogniser has none"))),
            Input::Timeout => self.timeout(now, out, notes),
            _ => {}
        }
    }

    /// See [`Hearing::begin_turn`](super::hearing::Hearing::begin_turn).
    pub(super) fn begin_turn(&mut self, bytes: usize) {
        self.in_turn = true;
        self.turn_from = self.kept.end().saturating_sub(bytes as u64);
        if self.commits.is_empty() {
            self.turn.forget_before(self.turn_from);
        }
    }

    /// See [`Hearing::commit`](super::hearing::Hearing::commit).
    pub(super) fn commit(&mut self, now: Instant, out: &mut Out) {
        self.in_turn = false;
        if self.commits.len() == MOST_TURNS {
            return match self.commits.back_mut().filter(|last| last.until.is_none()) {
                // What was said while nobody listened is one turn in the end.
                Some(last) => {
                    last.at = self.kept.end();
                    out.fail(FailureClass::Harmless, Refuses::Commit, "joined", "the turn is part of the one before");
                }
                None => out.too_many_turns(),
            };
        }
        self.commits.push_back(Commit { at: self.kept.end(), until: None });
        self.pump(now, out);
    }

    pub(super) fn is_behind(&self) -> bool {
        !self.commits.is_empty()
    }

    /// The last words to the recogniser; whether there is a connection to close.
    pub(super) fn close(&mut self, out: &mut Out) -> bool {
        if let Link::Up { .. } = self.link {
            out.push(Output::Send(Message::Text(self.parts.service.goodbye().to_owned())));
        }
        self.report(0, out);
        self.commits.clear();
        let link = std::mem::replace(&mut self.link, Link::Down);
        matches!(link, Link::Connecting | Link::Opening { .. } | Link::Up { .. })
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        match self.link {
            Link::Opening { until } | Link::Waiting { until } => Some(until),
            Link::Up { .. } => {
                let finish = self.commits.front().and_then(|commit| commit.until);
                least([self.pump_at, self.keep_alive, self.patience, finish])
            }
            Link::Down | Link::Connecting => None,
        }
    }

    fn timeout(&mut self, now: Instant, out: &mut Out, notes: &mut Vec<Note>) {
        match self.link {
            Link::Waiting { until } if until <= now => self.connect(out),
            Link::Opening { until } if until <= now => {
                let message = "the recogniser did not begin to listen in time".to_owned();
                self.lost(now, Loss { fatal: false, code: "timeout".to_owned(), message }, out, notes);
            }
            Link::Up { .. } => {
                if self.pump_at.take_if(|at| *at <= now).is_some() {
                    self.pump(now, out);
                }
                if self.keep_alive.is_some_and(|at| at <= now) {
                    self.stay(now, out);
                }
                // There is nothing more to come.
                while self.commits.front().is_some_and(|commit| commit.until.is_some_and(|until| until <= now)) {
                    self.settle(out, notes);
                }
                if self.patience.is_some_and(|until| until <= now) {
                    self.end_turn(out, notes);
                }
            }
            _ => {}
        }
    }

    /// The recogniser listens.
    fn up(&mut self, now: Instant, out: &mut Out) {
        self.link = Link::Up { since: now };
        (self.origin, self.sent) = (self.kept.start() as i64, self.kept.start());
        self.keep_alive = Some(now + KEEP_ALIVE);
        if !std::mem::replace(&mut self.begun, true) {
            return out.event(Event::Ready);
        }
        out.event(Event::Link(None));
        self.watch(now);
        self.pump(now, out);
    }

    /// The connection, or the attempt at one, is gone. The conversation goes on without it, unless there never was one.
    fn lost(&mut self, now: Instant, loss: Loss, out: &mut Out, notes: &mut Vec<Note>) {
        let lasted = match self.link {
            Link::Up { since } => Some(now.saturating_duration_since(since)),
            _ => None,
        };
        self.link = Link::Down;
        self.turn.forget_partial();
        (self.pump_at, self.keep_alive) = (None, None);
        for commit in &mut self.commits {
            commit.until = None;
        }
        if loss.fatal || !self.begun {
            return notes.push(Note::Gone(loss));
        }
        // Conversations are cut off at positions of their own: that tells their jitter apart.
        let seed = self.kept.end();
        let backoff = self.backoff.get_or_insert_with(|| Backoff::new(self.parts.retry, seed));
        if let Some(lasted) = lasted {
            backoff.lost_after(lasted);
        }
        if let Some(at) = self.not_before.take() {
            backoff.not_before(at);
        }
        match backoff.next_wait(now) {
            Some(wait) => {
                self.link = Link::Waiting { until: now + wait };
                let again = format!("the connection to the recogniser is made again in {} ms", wait.as_millis());
                out.event(Event::Link(Some(Loss { message: format!("{}; {again}", loss.message), ..loss })));
            }
            None => notes.push(Note::Gone(Loss { fatal: true, ..loss })),
        }
    }

    /// Sends what was not sent of the caller's audio, within the burst, and asks for the words of the turns that are over.
    fn pump(&mut self, now: Instant, out: &mut Out) {
        if !matches!(self.link, Link::Up { .. }) {
            return;
        }
        if self.sent < self.kept.start() {
            // The bound has taken some before it was sent.
            self.origin += (self.kept.start() - self.sent) as i64;
            self.sent = self.kept.start();
        }
        if self.pump_at.is_some() {
            return;
        }
        let end = self.kept.end().min(self.sent + self.parts.format.bytes_in(BURST) as u64);
        loop {
            let commit = self.commits.iter_mut().find(|commit| commit.until.is_none());
            let to = commit.as_ref().map_or(end, |commit| commit.at.clamp(self.sent, end));
            let piece = self.parts.format.bytes_in(PIECE) as u64;
            while self.sent < to {
                let audio = self.kept.between(self.sent, to.min(self.sent + piece));
                self.sent += audio.len() as u64;
                self.unreported += audio.len() as u64;
                let duration = self.parts.format.duration_of(audio.len());
                out.push(Output::SendAudio { message: Message::Binary(audio), duration });
                self.keep_alive = Some(now + KEEP_ALIVE);
            }
            match commit {
                Some(commit) if commit.at <= self.sent => {
                    out.push(Output::Send(Message::Text(self.parts.service.finish().to_owned())));
                    commit.until = Some(now + FINISH);
                }
                _ => break,
            }
        }
        self.report(self.parts.format.bytes_in(REPORT) as u64, out);
        if self.sent < self.kept.end() {
            self.pump_at = Some(now + PAUSE);
        }
    }

    /// Nobody speaks: only a little is kept, in which the next words may begin.
    fn forget_silence(&mut self) {
        if self.turn.is_empty() && !self.speaking && self.commits.is_empty() {
            let before = self.parts.format.bytes_in(BEFORE) as u64;
            self.kept.forget_before(self.kept.end().saturating_sub(before).min(self.sent));
        }
    }

    /// There is no audio, and the connection is to stay.
    fn stay(&mut self, now: Instant, out: &mut Out) {
        match self.parts.service.keep_alive() {
            Some(text) => out.push(Output::Send(Message::Text(text.to_owned()))),
            None => {
                let silence = vec![0; self.parts.format.bytes_in(SILENCE)];
                self.origin -= silence.len() as i64;
                self.unreported += silence.len() as u64;
                out.push(Output::SendAudio { message: Message::Binary(silence), duration: SILENCE });
            }
        }
        self.keep_alive = Some(now + KEEP_ALIVE);
    }

    /// Recognisers bill the audio that they are sent.
    fn report(&mut self, least: u64, out: &mut Out) {
        if self.unreported >= least {
            let bytes = std::mem::take(&mut self.unreported);
            let transcription_ms = self.parts.format.duration_of(bytes as usize).as_millis() as u64;
            out.used(Usage { transcription_ms, ..Usage::default() });
        }
    }

    fn said(&mut self, now: Instant, said: Said, out: &mut Out, notes: &mut Vec<Note>) {
        match said {
            Said::Listens if matches!(self.link, Link::Opening { .. }) => self.up(now, out),
            Said::Listens => {}
            Said::Began { at_ms } => {
                let at = self.position(at_ms);
                self.begins(at, out);
                self.watch(now);
            }
            Said::Words(words) => self.words(now, words, out, notes),
            Said::Silence if !self.parts.locally => self.end_turn(out, notes),
            Said::Silence => {}
            Said::Refuses { code, message } => {
                let message = format!("the recogniser: {message}");
                let class = FailureClass::Permanent;
                let failure = Failure { class, refuses: Refuses::Nothing, retry_after: None, code, message };
                out.event(Event::Failed(failure));
            }
        }
    }

    /// Where in the caller's audio this moment of the connection's is.
    fn position(&self, ms: u64) -> u64 {
        let per_ms = self.parts.format.bytes_per_second() as u64 / 1_000;
        let bytes = i64::try_from(ms.saturating_mul(per_ms)).unwrap_or(i64::MAX);
        u64::try_from(self.origin.saturating_add(bytes)).unwrap_or_default().min(self.kept.end())
    }

    fn words(&mut self, now: Instant, words: Words, out: &mut Out, notes: &mut Vec<Note>) {
        let listened = self.position(words.span_ms.1);
        let (from, to) = (self.position(words.spoken_ms.0), self.position(words.spoken_ms.1));
        // Words behind the end of a turn: that has no more of them.
        while !words.text.is_empty()
            && self.commits.front().is_some_and(|commit| commit.until.is_some() && from >= commit.at)
        {
            self.settle(out, notes);
        }
        let of_turn = !self.commits.is_empty() || to > self.turn_from || words.text.is_empty();
        if of_turn {
            self.turn.hear(&words.text, from, to, words.is_final);
            if !words.text.is_empty() {
                self.heard(now, &words, from, out);
            }
            let same = self.turn.is_stable(listened) && !self.parts.service.tells_early();
            // What is over is answered anyway, if it is to be answered; what is said between the turns of the module is not.
            let answerable = if self.parts.locally { self.in_turn } else { !words.is_over };
            let stable = answerable && !self.turn.is_empty() && (same || words.seems_over);
            if words.resumed {
                notes.push(Note::Resumed);
            }
            if !words.text.is_empty() || stable {
                notes.push(Note::Words { text: self.turn.text(), stable });
            }
        }
        if words.is_final {
            self.kept.forget_before(listened);
        }
        match self.parts.locally {
            true if words.finished && self.commits.front().is_some_and(|commit| commit.until.is_some()) => {
                self.settle(out, notes);
            }
            false if words.is_over => self.end_turn(out, notes),
            _ => {}
        }
    }

    /// There are words of the turn, from this position on.
    fn heard(&mut self, now: Instant, words: &Words, from: u64, out: &mut Out) {
        self.begins(from, out);
        self.watch(now);
        if words.is_final
            && let Some(text) = self.turn.last_final()
        {
            let item_id = self.turn.item_id(out);
            out.event(Event::CallerTranscript { item_id, text, whole: false });
        }
    }

    /// The caller speaks, if the recogniser finds the turns.
    fn begins(&mut self, at: u64, out: &mut Out) {
        if !self.parts.locally && !std::mem::replace(&mut self.speaking, true) {
            let start_ms = Some(self.parts.format.duration_of(at as usize).as_millis() as u64);
            out.event(Event::SpeechStarted { start_ms });
        }
    }

    /// A turn whose end the recogniser does not tell in time is over then.
    fn watch(&mut self, now: Instant) {
        let open = !self.parts.locally && (self.speaking || !self.turn.is_empty());
        self.patience = open.then(|| now + self.parts.service.patience());
    }

    /// The turn is over, as the recogniser finds.
    fn end_turn(&mut self, out: &mut Out, notes: &mut Vec<Note>) {
        self.patience = None;
        if std::mem::take(&mut self.speaking) {
            out.event(Event::SpeechStopped);
        }
        if !self.turn.is_empty() {
            let (item_id, words) = self.turn.take(u64::MAX, out);
            self.report(0, out);
            notes.push(Note::Turn { item_id, words });
        }
    }

    /// The oldest turn that the module has ended has all its words.
    fn settle(&mut self, out: &mut Out, notes: &mut Vec<Note>) {
        let Some(commit) = self.commits.pop_front() else { return };
        let (item_id, words) = self.turn.take(commit.at, out);
        if self.commits.is_empty() {
            self.turn.forget_before(self.turn_from);
        }
        self.report(0, out);
        if words.is_empty() {
            notes.push(Note::NoWords);
        } else {
            notes.push(Note::Turn { item_id, words });
        }
    }
}

/// What it means that the recogniser refuses the connection.
fn refused(status: Option<u16>, message: &str) -> Loss {
    let refused = Refused { status: status.unwrap_or_default(), ..Refused::broken(message) };
    let code = status.map_or_else(|| "connect_failed".to_owned(), |status| status.to_string());
    match (refused.is_fatal("stt"), status) {
        (Some(loss), _) => loss,
        // It understands what it is asked for, and cannot do it.
        (None, Some(400)) => {
            let message =
                format!("{}; check stt_model, transcription_language and transcription_prompt", refused.message);
            Loss { fatal: true, code, message }
        }
        (None, Some(402)) => {
            Loss { fatal: true, code, message: format!("{}; the account has no credit", refused.message) }
        }
        (None, _) => Loss { fatal: false, code, message: refused.message },
    }
}
