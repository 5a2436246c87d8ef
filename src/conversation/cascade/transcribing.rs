//! The caller's turns as the module finds them, each written down by one request.
//!
//! Owned by the engine. Bounded: [`MOST_TURNS`] turns wait for their words. One is written down at a time, so they stay in order.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::super::engine::{Event, FailureClass, Input, InputFormat, Output, Refuses};
use super::failure::Refused;
use super::note::{MOST_TURNS, Note};
use super::out::Out;
use super::recognition::{self, Hints};
use super::turn::Turn;
use crate::peer::{Body, Fetch, Fetched, Target, Usage, is_success};

/// How long a recognition may take for one turn.
const RECOGNITION: Duration = Duration::from_secs(15);
/// Attempts to have a turn written down.
const ATTEMPTS: u32 = 2;
/// Longest answer of a recognition.
const MOST_BODY: usize = 64 << 10;

/// A turn that is being written down.
#[derive(Debug)]
struct Transcription {
    /// The request; 0: none.
    fetch: u64,
    item_id: String,
    audio: Vec<u8>,
    attempt: u32,
    status: u16,
    /// What the service calls the request.
    request_id: Option<String>,
    body: Vec<u8>,
    until: Instant,
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Transcribing {
    target: Target,
    hints: Hints,
    format: InputFormat,
    turn: Turn,
    waiting: VecDeque<Transcription>,
}

impl Transcribing {
    pub(super) const fn new(target: Target, hints: Hints, format: InputFormat) -> Self {
        Self { target, hints, format, turn: Turn::new(format), waiting: VecDeque::new() }
    }

    pub(super) fn handle(&mut self, now: Instant, input: Input<'_>, out: &mut Out, notes: &mut Vec<Note>) {
        match input {
            Input::Audio(audio) => self.turn.push(audio),
            Input::LocalSpeech(speaking) => self.turn.speech(speaking),
            Input::Fetched { id, piece } if self.asked(id) => self.answered(now, piece, out, notes),
            Input::Timeout => self.timeout(now, out, notes),
            _ => {}
        }
    }

    pub(super) fn commit(&mut self, now: Instant, out: &mut Out) {
        let Some(audio) = self.turn.take() else {
            let message = "there is no speech in the turn";
            return out.fail(FailureClass::Harmless, Refuses::Commit, "empty_turn", message);
        };
        if self.waiting.len() == MOST_TURNS {
            return out.too_many_turns();
        }
        self.waiting.push_back(Transcription {
            fetch: 0,
            item_id: format!("caller_{}", out.next()),
            audio,
            attempt: 0,
            status: 0,
            request_id: None,
            body: Vec::new(),
            until: now,
        });
        self.ask(now, out);
    }

    pub(super) fn asked(&self, id: u64) -> bool {
        self.waiting.front().is_some_and(|turn| turn.fetch == id)
    }

    pub(super) fn is_behind(&self) -> bool {
        !self.waiting.is_empty()
    }

    pub(super) fn give_up(&mut self, out: &mut Out) {
        for turn in self.waiting.drain(..).filter(|turn| turn.fetch != 0) {
            out.abort(turn.fetch);
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.waiting.front().filter(|first| first.fetch != 0).map(|first| first.until)
    }

    /// Has the oldest turn written down, if that is not being done.
    fn ask(&mut self, now: Instant, out: &mut Out) {
        let Some(turn) = self.waiting.front_mut().filter(|turn| turn.fetch == 0) else { return };
        let id = out.next();
        (turn.fetch, turn.status, turn.request_id, turn.until) = (id, 0, None, now + RECOGNITION);
        turn.attempt += 1;
        turn.body.clear();
        let body = recognition::body(&turn.audio, self.format, &self.hints);
        let target = self.target.clone();
        out.push(Output::Fetch(Fetch {
            id,
            target,
            body: Some(Body { content_type: recognition::CONTENT_TYPE, bytes: body }),
        }));
    }

    fn answered(&mut self, now: Instant, piece: Fetched<'_>, out: &mut Out, notes: &mut Vec<Note>) {
        let Some(turn) = self.waiting.front_mut() else { return };
        let refused = match piece {
            Fetched::Head { status, request_id } => {
                (turn.status, turn.request_id) = (status, request_id.map(str::to_owned));
                return;
            }
            Fetched::Body(bytes) if turn.body.len() + bytes.len() <= MOST_BODY => {
                return turn.body.extend_from_slice(bytes);
            }
            Fetched::Body(_) => return,
            Fetched::End if is_success(turn.status) => match recognition::words(&turn.body) {
                Some((words, usage)) => return self.understood(now, words, usage, out, notes),
                None => Refused::answered(turn.status, &turn.body),
            },
            Fetched::End => Refused::answered(turn.status, &turn.body),
            Fetched::Failed(message) => Refused::broken(message),
        };
        let refused = refused.of_request(turn.request_id.as_deref());
        self.not_understood(now, refused, out, notes);
    }

    fn understood(&mut self, now: Instant, words: String, usage: Usage, out: &mut Out, notes: &mut Vec<Note>) {
        let Some(turn) = self.waiting.pop_front() else { return };
        out.used(usage);
        if words.is_empty() {
            // A noise is no turn.
            notes.push(Note::NoWords);
        } else {
            notes.push(Note::Turn { item_id: turn.item_id, words });
        }
        self.ask(now, out);
    }

    fn not_understood(&mut self, now: Instant, refused: Refused, out: &mut Out, notes: &mut Vec<Note>) {
        if let Some(loss) = refused.is_fatal("stt") {
            return notes.push(Note::Gone(loss));
        }
        let Some(turn) = self.waiting.front_mut() else { return };
        if refused.passes() && turn.attempt < ATTEMPTS {
            turn.fetch = 0;
            return self.ask(now, out);
        }
        let item_id = turn.item_id.clone();
        self.waiting.pop_front();
        let failure = refused.failure(Refuses::Commit);
        out.event(Event::CallerTranscriptFailed { item_id, failure: failure.clone() });
        out.event(Event::Failed(failure));
        notes.push(Note::Unknown);
        self.ask(now, out);
    }

    fn timeout(&mut self, now: Instant, out: &mut Out, notes: &mut Vec<Note>) {
        let Some(turn) = self.waiting.front().filter(|turn| turn.fetch != 0 && turn.until <= now) else { return };
        out.abort(turn.fetch);
        self.not_understood(now, Refused::late(), out, notes);
    }
}
