//! The state machine of a cascade: turns wait for their words, requests for the turn before them, and one answer is made at a time.
//!
//! ```text
//! Commit ─► turn ─► transcription ─► words ─► Committed, CallerTranscript
//! Respond ─► waits for the words ─► completion ─► ResponseStarted, Text…, ToolCall…, ResponseDone
//! ```
//! Owned by the stream's task. Bounded: [`MOST_TURNS`] turns wait for their words, and one request for a response.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::super::engine::{
    Capabilities, Command, Engine, Event, Failure, FailureClass, Input, InputFormat, Loss, Outcome, Output, Refuses,
    TurnTaking,
};
use super::answer::Answer;
use super::completion::{Chunk, Data, Model};
use super::dialogue::Dialogue;
use super::failure::Refused;
use super::recognition::{self, Hints};
use super::turn::Turn;
use crate::peer::{Body, Fetch, Fetched, Speaker, Target, Usage};
use crate::protocol::Fault;
use crate::units::{Encoding, SampleRate};

/// Turns of the caller that wait for their words.
const MOST_TURNS: usize = 4;
/// How long a recognition may take for one turn.
const RECOGNITION: Duration = Duration::from_secs(15);
/// Attempts to have a turn written down.
const ATTEMPTS: u32 = 2;
/// Longest answer of a recognition.
const MOST_BODY: usize = 64 << 10;

/// How the caller's audio is coded: what recognitions expect.
const FORMAT: InputFormat = InputFormat { rate: SampleRate::HZ_16000, encoding: Encoding::S16Le };

/// What the engine needs to know.
#[derive(Clone, Debug)]
pub(super) struct Config {
    /// The recognition's transcriptions.
    pub(super) stt: Target,
    pub(super) hints: Hints,
    /// The language model's completions.
    pub(super) llm: Target,
    pub(super) model: Model,
    pub(super) system_prompt: String,
}

/// A turn that is being written down.
#[derive(Debug)]
struct Transcription {
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

/// A response that is wanted.
#[derive(Debug)]
struct Wanted {
    request: u64,
    instructions: Option<String>,
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Cascade {
    config: Config,
    outputs: VecDeque<Output>,
    open: bool,
    /// Counts requests and items.
    number: u64,
    turn: Turn,
    transcriptions: VecDeque<Transcription>,
    dialogue: Dialogue,
    wanted: Option<Wanted>,
    answer: Option<Answer>,
    /// The request of an answer that is whole: its connection can be used again if it ends by itself before the next.
    ending: Option<u64>,
}

impl Engine for Cascade {
    fn handle(&mut self, now: Instant, input: Input<'_>) {
        match input {
            Input::Command(command) => self.command(now, command),
            // From the next request on.
            Input::Changed(options) => {
                self.config.take(options, &options.policy().tools);
                self.event(Event::Changed(None));
            }
            _ if !self.open => {}
            Input::Audio(audio) => self.turn.push(audio),
            Input::LocalSpeech(speaking) => self.turn.speech(speaking),
            Input::Fetched { id, piece } => self.fetched(now, id, piece),
            Input::Timeout => self.timeout(now),
            _ => {}
        }
    }

    fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn deadline(&self) -> Option<Instant> {
        self.transcriptions.front().filter(|first| first.fetch != 0).map(|first| first.until)
    }

    fn input(&self) -> InputFormat {
        FORMAT
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            turns: TurnTaking::Local,
            truncates: true,
            takes_text: true,
            resumes: true,
            transcribes: true,
            says: false,
            greets: false,
        }
    }
}

impl Cascade {
    /// Waits for [`Command::Connect`].
    pub(super) fn new(config: Config) -> Self {
        Self {
            config,
            outputs: VecDeque::new(),
            open: false,
            number: 0,
            turn: Turn::new(FORMAT),
            transcriptions: VecDeque::new(),
            dialogue: Dialogue::default(),
            wanted: None,
            answer: None,
            ending: None,
        }
    }

    fn next(&mut self) -> u64 {
        self.number += 1;
        self.number
    }

    fn event(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }

    fn used(&mut self, usage: Usage) {
        if usage != Usage::default() {
            self.event(Event::Used(usage));
        }
    }

    fn command(&mut self, now: Instant, command: Command) {
        match command {
            // There is nothing to connect to: each request makes its own connection.
            Command::Connect { .. } => {
                self.open = true;
                self.event(Event::Ready);
            }
            Command::Close => {
                self.give_up();
                if std::mem::take(&mut self.open) {
                    self.outputs.push_back(Output::Close);
                }
            }
            _ if !self.open => {}
            Command::Commit => self.commit(now),
            Command::Respond { request, .. } if self.answer.is_some() || self.wanted.is_some() => {
                let refuses = Refuses::Response(Some(request));
                let message = "another answer is being made".to_owned();
                self.fail(FailureClass::Busy, refuses, "busy", message);
            }
            Command::Respond { request, instructions } => {
                self.wanted = Some(Wanted { request, instructions });
                self.respond();
            }
            Command::Cancel { response_id, .. } => self.cancel(&response_id),
            Command::Delete { item_id } => self.dialogue.delete(&item_id),
            // The model writes: what was heard replaces its words. And a turn has its beginning from the detection.
            Command::Truncate { .. } | Command::BeginTurn { .. } => {}
            // It has no service that takes events; the command is refused before.
            Command::Raw { .. } => {}
            Command::Message { speaker, text, after, .. } => {
                let id = format!("message_{}", self.next());
                self.dialogue.words(id, speaker, text, after.as_deref());
            }
            Command::ToolCall { call_id, name, arguments } => self.dialogue.call(call_id, name, arguments),
            Command::ToolOutput { call_id, output } => self.dialogue.output(&call_id, output),
            // No tool is called but by us, the voice is ours, and no session begins anew.
            Command::Approve { .. } | Command::Say { .. } | Command::Recall { .. } => {}
        }
    }

    /// Nothing that was asked for is wanted any more.
    fn give_up(&mut self) {
        let fetches = self.transcriptions.drain(..).map(|turn| turn.fetch).chain(self.answer.take().map(|it| it.fetch));
        let fetches = fetches.chain(self.ending.take());
        self.outputs.extend(fetches.filter(|id| *id != 0).map(|id| Output::AbortFetch { id }));
        self.wanted = None;
    }

    fn fail(&mut self, class: FailureClass, refuses: Refuses, code: &str, message: String) {
        let failure = Failure { class, refuses, retry_after: None, code: code.to_owned(), message };
        self.event(Event::Failed(failure));
    }

    fn commit(&mut self, now: Instant) {
        let Some(audio) = self.turn.take() else {
            let message = "there is no speech in the turn".to_owned();
            return self.fail(FailureClass::Harmless, Refuses::Commit, "empty_turn", message);
        };
        if self.transcriptions.len() == MOST_TURNS {
            let message = "too many turns wait for the recognition".to_owned();
            return self.fail(FailureClass::Transient, Refuses::Commit, "overflow", message);
        }
        let item_id = format!("caller_{}", self.next());
        let turn = Transcription {
            fetch: 0,
            item_id,
            audio,
            attempt: 0,
            status: 0,
            request_id: None,
            body: Vec::new(),
            until: now,
        };
        self.transcriptions.push_back(turn);
        self.transcribe(now);
    }

    /// Has the oldest turn written down, if that is not being done.
    fn transcribe(&mut self, now: Instant) {
        let id = self.number + 1;
        let Some(turn) = self.transcriptions.front_mut().filter(|turn| turn.fetch == 0) else { return };
        self.number = id;
        (turn.fetch, turn.status, turn.request_id, turn.until) = (id, 0, None, now + RECOGNITION);
        turn.attempt += 1;
        turn.body.clear();
        let body = recognition::body(&turn.audio, FORMAT, &self.config.hints);
        let target = self.config.stt.clone();
        let fetch = Fetch { id, target, body: Some(Body { content_type: recognition::CONTENT_TYPE, bytes: body }) };
        self.outputs.push_back(Output::Fetch(fetch));
    }

    fn fetched(&mut self, now: Instant, id: u64, piece: Fetched<'_>) {
        if self.transcriptions.front().is_some_and(|turn| turn.fetch == id) {
            self.recognised(now, piece);
        } else if self.ending == Some(id) {
            self.ending = self.ending.filter(|_| !matches!(piece, Fetched::End | Fetched::Failed(_)));
        } else if self.answer.as_ref().is_some_and(|answer| answer.fetch == id) {
            self.answered(piece);
        }
    }

    fn recognised(&mut self, now: Instant, piece: Fetched<'_>) {
        let Some(turn) = self.transcriptions.front_mut() else { return };
        let refused = match piece {
            Fetched::Head { status, request_id } => {
                (turn.status, turn.request_id) = (status, request_id.map(str::to_owned));
                return;
            }
            Fetched::Body(bytes) if turn.body.len() + bytes.len() <= MOST_BODY => {
                return turn.body.extend_from_slice(bytes);
            }
            Fetched::Body(_) => return,
            Fetched::End if turn.status == 200 => match recognition::words(&turn.body) {
                Some((words, usage)) => return self.understood(now, words, usage),
                None => Refused::answered(turn.status, &turn.body),
            },
            Fetched::End => Refused::answered(turn.status, &turn.body),
            Fetched::Failed(message) => Refused::broken(message),
        };
        let refused = refused.of_request(turn.request_id.as_deref());
        self.not_recognised(now, refused);
    }

    fn understood(&mut self, now: Instant, words: String, usage: Usage) {
        let Some(turn) = self.transcriptions.pop_front() else { return };
        self.used(usage);
        if words.is_empty() {
            // A noise is no turn.
            let message = "the recognition has found no words".to_owned();
            self.fail(FailureClass::Harmless, Refuses::Commit, "no_words", message);
            self.refuse();
        } else {
            let item_id = turn.item_id;
            self.dialogue.words(item_id.clone(), Speaker::Caller, words.clone(), None);
            self.event(Event::Committed { item_id: item_id.clone(), previous: None });
            self.event(Event::CallerTranscript { item_id, text: words, whole: true });
        }
        self.transcribe(now);
        self.respond();
    }

    fn not_recognised(&mut self, now: Instant, refused: Refused) {
        if let Some(loss) = refused.is_fatal("stt") {
            return self.lost(loss);
        }
        let Some(turn) = self.transcriptions.front_mut() else { return };
        if refused.passes() && turn.attempt < ATTEMPTS {
            turn.fetch = 0;
            return self.transcribe(now);
        }
        let item_id = turn.item_id.clone();
        self.transcriptions.pop_front();
        let failure = refused.failure(Refuses::Commit);
        self.event(Event::CallerTranscriptFailed { item_id, failure: failure.clone() });
        self.event(Event::Failed(failure));
        self.refuse();
        self.transcribe(now);
        self.respond();
    }

    /// There is nothing to answer, if what was asked for is an answer to the caller.
    fn refuse(&mut self) {
        if let Some(wanted) = self.wanted.take_if(|wanted| wanted.instructions.is_none()) {
            let message = "the caller has said nothing".to_owned();
            self.fail(FailureClass::Harmless, Refuses::Response(Some(wanted.request)), "no_words", message);
        }
    }

    fn timeout(&mut self, now: Instant) {
        let Some(turn) = self.transcriptions.front().filter(|turn| turn.fetch != 0 && turn.until <= now) else {
            return;
        };
        let id = turn.fetch;
        self.outputs.push_back(Output::AbortFetch { id });
        self.not_recognised(now, Refused::late());
    }

    /// No request can work.
    fn lost(&mut self, loss: Loss) {
        self.give_up();
        self.open = false;
        self.event(Event::Lost(loss));
    }

    /// Asks for the response that is wanted, once every turn before it has its words.
    fn respond(&mut self) {
        if !self.transcriptions.is_empty() || self.answer.is_some() || !self.open {
            return;
        }
        let Some(Wanted { request, instructions }) = self.wanted.take() else { return };
        let system = match (&self.config.system_prompt, instructions) {
            (prompt, None) => prompt.clone(),
            (prompt, Some(instructions)) if prompt.is_empty() => instructions,
            (prompt, Some(instructions)) => format!("{prompt}\n\n{instructions}"),
        };
        if let Some(id) = self.ending.take() {
            self.outputs.push_back(Output::AbortFetch { id });
        }
        let body = self.config.model.body(&self.dialogue.messages(&system)).into_bytes();
        let id = self.next();
        let target = self.config.llm.clone();
        self.outputs.push_back(Output::Fetch(Fetch { id, target, body: Some(Body::json(body)) }));
        self.answer = Some(Answer::new(id, request, id));
    }

    fn answered(&mut self, piece: Fetched<'_>) {
        let Some(answer) = &mut self.answer else { return };
        match piece {
            Fetched::Head { status, request_id } => {
                (answer.status, answer.request_id) = (status, request_id.map(str::to_owned));
                if status == 200 {
                    let (response_id, request) = (answer.response_id.clone(), Some(answer.request));
                    self.event(Event::ResponseStarted { response_id, request });
                }
            }
            Fetched::Body(bytes) if answer.status == 200 => {
                for data in answer.lines.push(bytes) {
                    match data {
                        Data::Chunk(chunk) => self.chunk(*chunk),
                        Data::Done => return self.complete(),
                        Data::Unusable => {
                            let fault = Fault::new("the language model sent a line that is not part of an answer");
                            self.outputs.push_back(Output::Fault(fault));
                        }
                    }
                    if self.answer.is_none() {
                        return;
                    }
                }
            }
            Fetched::Body(bytes) => answer.refuse(bytes),
            // Some servers end without saying so.
            Fetched::End if answer.status == 200 && !answer.finish.is_empty() => self.complete(),
            Fetched::End if answer.status == 200 => self.broken(Refused::broken("the answer has no end")),
            Fetched::End => {
                let refused = Refused::answered(answer.status, &answer.refusal);
                self.broken(refused);
            }
            Fetched::Failed(message) => self.broken(Refused::broken(message)),
        }
    }

    fn chunk(&mut self, chunk: Chunk) {
        if let Some(usage) = chunk.usage() {
            self.used(usage);
        }
        if let Some(error) = &chunk.error {
            return self.broken(Refused::told(error));
        }
        let Some(choice) = chunk.choices.into_iter().next() else { return };
        let Some(answer) = &mut self.answer else { return };
        if let Some(reason) = choice.finish_reason {
            answer.finish = reason.chars().take(64).collect();
        }
        for part in choice.delta.tool_calls.into_iter().flatten() {
            answer.call(part);
        }
        let Some(text) = choice.delta.content.filter(|text| !text.is_empty()) else { return };
        let (response_id, item_id) = (answer.response_id.clone(), answer.item_id.clone());
        let first = answer.text.is_empty();
        answer.text.push_str(&text);
        if first {
            self.dialogue.words(item_id.clone(), Speaker::Agent, text.clone(), None);
            self.event(Event::ItemStarted { response_id: response_id.clone(), item_id: item_id.clone() });
        } else {
            self.dialogue.add(&item_id, &text);
        }
        self.event(Event::Text { response_id, item_id, text, whole: false });
    }

    /// The answer is whole.
    fn complete(&mut self) {
        let Some(answer) = self.answer.take() else { return };
        self.ending = Some(answer.fetch);
        let (response_id, item_id) = (answer.response_id, answer.item_id);
        if !answer.text.is_empty() {
            self.event(Event::Text { response_id: response_id.clone(), item_id, text: answer.text, whole: true });
        }
        let outcome = match answer.finish.as_str() {
            "length" => Outcome::Incomplete("max_output_tokens".to_owned()),
            "content_filter" => Outcome::Incomplete("content_filter".to_owned()),
            _ => Outcome::Completed,
        };
        if outcome == Outcome::Completed {
            for (at, call) in answer.calls.into_iter().enumerate().filter(|(_, call)| !call.name.is_empty()) {
                // Ids are to be told apart in the whole conversation; some servers count anew in each answer, or have none.
                let call_id = format!("{response_id}_{at}{}{}", if call.id.is_empty() { "" } else { "_" }, call.id);
                let (name, arguments) = (call.name, call.arguments);
                self.dialogue.call(call_id.clone(), name.clone(), arguments.clone());
                self.event(Event::ToolCall { response_id: response_id.clone(), call_id, name, arguments });
            }
        }
        self.event(Event::ResponseDone { response_id, outcome });
    }

    /// There is no answer, or only the beginning of one.
    fn broken(&mut self, refused: Refused) {
        let Some(answer) = self.answer.take() else { return };
        let refused = refused.of_request(answer.request_id.as_deref());
        self.outputs.push_back(Output::AbortFetch { id: answer.fetch });
        if let Some(loss) = refused.is_fatal("llm") {
            return self.lost(loss);
        }
        let (response_id, request) = (answer.response_id, Some(answer.request));
        if answer.status != 200 {
            self.event(Event::ResponseStarted { response_id: response_id.clone(), request });
        }
        let outcome = Outcome::Failed(refused.failure(Refuses::Nothing));
        self.event(Event::ResponseDone { response_id, outcome });
    }

    fn cancel(&mut self, response_id: &str) {
        let Some(answer) = self.answer.take_if(|answer| answer.response_id == response_id) else { return };
        self.outputs.push_back(Output::AbortFetch { id: answer.fetch });
        let response_id = answer.response_id;
        self.event(Event::ResponseDone { response_id, outcome: Outcome::Cancelled });
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
