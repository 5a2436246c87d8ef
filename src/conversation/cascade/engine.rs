//! The state machine of a cascade: requests for the turns before them wait for their words, and one answer is made at a time.
//!
//! ```text
//! hearing ─► Note::Turn ─► Committed, CallerTranscript
//! Respond ─► waits for the words ─► completion ─► ResponseStarted, Text…, ToolCall…, ResponseDone
//! hearing ─► Note::Words, stable ─► early completion ─► taken by Respond, or thrown away
//! ```
//! Owned by the stream's task. Bounded: what is heard (see `hearing`), one request for a response, one early answer.

use std::time::Instant;

use super::super::engine::{
    Capabilities, Command, Engine, Event, FailureClass, Input, InputFormat, Loss, Outcome, Output, Refuses, TurnTaking,
};
use super::answer::{Answer, News};
use super::completion::Model;
use super::dialogue::Dialogue;
use super::early::{Early, Taken};
use super::failure::Refused;
use super::hearing::Hearing;
use super::note::Note;
use super::out::Out;
use crate::peer::{Body, Fetch, Fetched, Speaker, Target, is_success};
use crate::protocol::Fault;
use crate::units::{Encoding, SampleRate};

/// Early answers to one turn: a caller who speaks with pauses costs no more.
const MOST_EARLY: u32 = 3;

/// How the caller's audio is coded: what recognitions expect.
pub(super) const FORMAT: InputFormat = InputFormat { rate: SampleRate::HZ_16000, encoding: Encoding::S16Le };

/// What the engine needs to know.
#[derive(Clone, Debug)]
pub(super) struct Config {
    /// The language model's completions.
    pub(super) llm: Target,
    pub(super) model: Model,
    pub(super) system_prompt: String,
    /// Who ends the caller's turn.
    pub(super) turns: TurnTaking,
    /// The model begins before the turn is over.
    pub(super) early: bool,
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
    out: Out,
    open: bool,
    hearing: Hearing,
    dialogue: Dialogue,
    wanted: Option<Wanted>,
    answer: Option<Answer>,
    early: Option<Early>,
    /// Early answers to the turn.
    earlier: u32,
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
                self.throw_away();
                self.out.event(Event::Changed(None));
            }
            _ if !self.open => {}
            Input::Fetched { id, piece } if !self.hearing.asked(id) => self.fetched(id, piece),
            input => {
                let mut notes = Vec::new();
                self.hearing.handle(now, input, &mut self.out, &mut notes);
                notes.into_iter().for_each(|note| self.noted(note));
            }
        }
    }

    fn poll(&mut self) -> Option<Output> {
        self.out.pop()
    }

    fn deadline(&self) -> Option<Instant> {
        self.hearing.deadline().filter(|_| self.open)
    }

    fn input(&self) -> InputFormat {
        FORMAT
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            turns: self.config.turns,
            full_duplex: false,
            truncates: true,
            takes_text: true,
            resumes: true,
            transcribes: true,
            says: false,
            greets: false,
        }
    }

    fn not_before(&mut self, at: Instant) {
        if let Hearing::Live(live) = &mut self.hearing {
            live.not_before(at);
        }
    }
}

impl Cascade {
    /// Waits for [`Command::Connect`].
    pub(super) fn new(config: Config, hearing: Hearing) -> Self {
        Self {
            config,
            out: Out::default(),
            open: false,
            hearing,
            dialogue: Dialogue::default(),
            wanted: None,
            answer: None,
            early: None,
            earlier: 0,
            ending: None,
        }
    }

    fn command(&mut self, now: Instant, command: Command) {
        match command {
            Command::Connect { .. } => {
                self.open = true;
                // Where each request makes its own connection, there is nothing to connect to.
                if self.hearing.connect(&mut self.out) {
                    self.out.event(Event::Ready);
                }
            }
            Command::Close => {
                self.give_up();
                if std::mem::take(&mut self.open) {
                    self.out.push(Output::Close);
                }
            }
            _ if !self.open => {}
            Command::Commit => self.hearing.commit(now, &mut self.out),
            Command::Respond { request, .. } if self.answer.is_some() || self.wanted.is_some() => {
                let refuses = Refuses::Response(Some(request));
                self.out.fail(FailureClass::Busy, refuses, "busy", "another answer is being made");
            }
            Command::Respond { request, instructions } => {
                self.wanted = Some(Wanted { request, instructions });
                self.respond();
            }
            Command::Cancel { response_id, .. } => self.cancel(&response_id),
            Command::Delete { item_id } => self.dialogue.delete(&item_id),
            Command::BeginTurn { audio } => self.hearing.begin_turn(audio.len()),
            // The model writes: what was heard replaces its words.
            Command::Truncate { .. } => {}
            // It has no service that takes events; the command is refused before.
            Command::Raw { .. } => {}
            Command::Message { speaker, text, after, .. } => {
                let id = format!("message_{}", self.out.next());
                self.dialogue.words(id, speaker, text, after.as_deref());
            }
            Command::ToolCall { call_id, name, arguments } => self.dialogue.call(call_id, name, arguments),
            Command::ToolOutput { call_id, output } => self.dialogue.output(&call_id, output),
            // No tool is called but by us, the voice is ours, and no session begins anew.
            Command::Approve { .. } | Command::Say { .. } | Command::Recall { .. } => {}
        }
    }

    /// Nothing that was asked for is wanted any more; whether there is a connection to close.
    fn give_up(&mut self) -> bool {
        let connected = self.hearing.close(&mut self.out);
        self.throw_away();
        let fetches = self.answer.take().map(|answer| answer.fetch).into_iter().chain(self.ending.take());
        fetches.for_each(|id| self.out.abort(id));
        self.wanted = None;
        connected
    }

    /// Of the caller.
    fn noted(&mut self, note: Note) {
        match note {
            _ if !self.open => {}
            Note::Turn { item_id, words } => {
                self.earlier = 0;
                self.unless_answered(&words);
                self.dialogue.words(item_id.clone(), Speaker::Caller, words.clone(), None);
                self.out.event(Event::Committed { item_id: item_id.clone(), previous: None });
                self.out.event(Event::CallerTranscript { item_id, text: words, whole: true });
                self.respond();
            }
            Note::NoWords | Note::Unknown => {
                if note == Note::NoWords {
                    // A noise is no turn.
                    self.out.no_words();
                }
                self.earlier = 0;
                self.throw_away();
                self.refuse();
                self.respond();
            }
            Note::Words { text, stable } => {
                self.unless_answered(&text);
                if stable && self.config.early {
                    self.begin_early(&text);
                }
            }
            Note::Resumed => self.throw_away(),
            Note::Gone(loss) => self.lost(loss),
        }
    }

    /// There is nothing to answer, if what was asked for is an answer to the caller.
    fn refuse(&mut self) {
        if let Some(wanted) = self.wanted.take_if(|wanted| wanted.instructions.is_none()) {
            let refuses = Refuses::Response(Some(wanted.request));
            self.out.fail(FailureClass::Harmless, refuses, "no_words", "the caller has said nothing");
        }
    }

    /// Nothing can work.
    fn lost(&mut self, loss: Loss) {
        if self.give_up() {
            self.out.push(Output::Close);
        }
        self.open = false;
        self.out.event(Event::Lost(loss));
    }

    /// The model answers what the caller seems to have said.
    fn begin_early(&mut self, words: &str) {
        let busy = self.early.is_some() || self.answer.is_some() || self.wanted.is_some() || self.hearing.is_behind();
        if busy || self.earlier == MOST_EARLY {
            return;
        }
        self.earlier += 1;
        let messages = self.dialogue.messages_and(&self.config.system_prompt, Some(words));
        let id = self.ask(&messages);
        self.early = Some(Early::new(words, messages, id));
    }

    /// An early answer to other words than these is of no use.
    fn unless_answered(&mut self, words: &str) {
        if self.early.as_ref().is_some_and(|early| !early.answers(words)) {
            self.throw_away();
        }
    }

    fn throw_away(&mut self) {
        if let Some(early) = self.early.take() {
            early.throw_away(&mut self.out);
        }
    }

    /// Asks the model.
    fn ask(&mut self, messages: &[serde_json::Value]) -> u64 {
        if let Some(id) = self.ending.take() {
            self.out.abort(id);
        }
        let body = self.config.model.body(messages).into_bytes();
        let id = self.out.next();
        let target = self.config.llm.clone();
        self.out.push(Output::Fetch(Fetch { id, target, body: Some(Body::json(body)) }));
        id
    }

    /// Asks for the response that is wanted, once every turn before it has its words.
    fn respond(&mut self) {
        if self.hearing.is_behind() || self.answer.is_some() || !self.open {
            return;
        }
        let Some(Wanted { request, instructions }) = self.wanted.take() else { return };
        let system = match (&self.config.system_prompt, instructions) {
            (prompt, None) => prompt.clone(),
            (prompt, Some(instructions)) if prompt.is_empty() => instructions,
            (prompt, Some(instructions)) => format!("{prompt}\n\n{instructions}"),
        };
        let messages = self.dialogue.messages(&system);
        if let Some(early) = self.early.take_if(|early| early.fits(&messages)) {
            return self.take_early(early.answer(request));
        }
        self.throw_away();
        let id = self.ask(&messages);
        self.answer = Some(Answer::new(id, request));
    }

    /// The early answer is the answer: what has come of it comes now.
    fn take_early(&mut self, Taken { answer, whole, ended }: Taken) {
        let (began, text) = (is_success(answer.status), answer.text.clone());
        self.answer = Some(answer);
        if began {
            self.news(News::Began);
        }
        if !text.is_empty() {
            self.news(News::Text { text, first: true });
        }
        if whole {
            self.news(News::Whole);
            self.ending = self.ending.filter(|_| !ended);
        }
    }

    fn fetched(&mut self, id: u64, piece: Fetched<'_>) {
        if self.ending == Some(id) {
            self.ending = self.ending.filter(|_| !matches!(piece, Fetched::End | Fetched::Failed(_)));
        } else if let Some(early) = self.early.as_mut().filter(|early| early.asked(id)) {
            early.take(piece, &mut self.out);
        } else if let Some(answer) = self.answer.as_mut().filter(|answer| answer.fetch == id) {
            let news = answer.read(piece);
            news.into_iter().for_each(|news| self.news(news));
        }
    }

    /// Something of the answer has come.
    fn news(&mut self, news: News) {
        let Some(answer) = &self.answer else { return };
        let (response_id, item_id) = (answer.response_id.clone(), answer.item_id.clone());
        match news {
            News::Began => {
                let request = Some(answer.request);
                self.out.event(Event::ResponseStarted { response_id, request });
            }
            News::Text { text, first } => {
                if first {
                    self.dialogue.words(item_id.clone(), Speaker::Agent, text.clone(), None);
                    let (response_id, item_id) = (response_id.clone(), item_id.clone());
                    self.out.event(Event::ItemStarted { response_id, item_id });
                } else {
                    self.dialogue.add(&item_id, &text);
                }
                self.out.event(Event::Text { response_id, item_id, text, whole: false });
            }
            News::Used(usage) => self.out.used(usage),
            News::Unusable => {
                let fault = Fault::new("the language model sent a line that is not part of an answer");
                self.out.push(Output::Fault(fault));
            }
            News::Whole => self.complete(),
            News::Broken(refused) => self.broken(refused),
        }
    }

    /// The answer is whole.
    fn complete(&mut self) {
        let Some(answer) = self.answer.take() else { return };
        self.ending = Some(answer.fetch);
        let (response_id, item_id) = (answer.response_id, answer.item_id);
        if !answer.text.is_empty() {
            self.out.event(Event::Text { response_id: response_id.clone(), item_id, text: answer.text, whole: true });
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
                self.out.event(Event::ToolCall { response_id: response_id.clone(), call_id, name, arguments });
            }
        }
        self.out.event(Event::ResponseDone { response_id, outcome });
    }

    /// There is no answer, or only the beginning of one.
    fn broken(&mut self, refused: Refused) {
        let Some(answer) = self.answer.take() else { return };
        self.out.abort(answer.fetch);
        if let Some(loss) = refused.is_fatal("llm") {
            return self.lost(loss);
        }
        let (response_id, request) = (answer.response_id, Some(answer.request));
        if !is_success(answer.status) {
            self.out.event(Event::ResponseStarted { response_id: response_id.clone(), request });
        }
        let outcome = Outcome::Failed(refused.failure(Refuses::Nothing));
        self.out.event(Event::ResponseDone { response_id, outcome });
    }

    fn cancel(&mut self, response_id: &str) {
        let Some(answer) = self.answer.take_if(|answer| answer.response_id == response_id) else { return };
        self.out.abort(answer.fetch);
        let response_id = answer.response_id;
        self.out.event(Event::ResponseDone { response_id, outcome: Outcome::Cancelled });
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
