//! The messages of the service, as events in the agent's words.
//!
//! They are read leniently: an unknown type is ignored, a field of another type than it should have is taken as absent.

use std::time::{Duration, Instant};

use base64::Engine as _;

use super::super::super::coding::{Coder, Decoder};
use super::super::super::engine::{Event, InputFormat, Loss, Outcome, Refuses};
use super::super::super::expiry::{self, Expiry};
use super::super::super::growing::Growing;
use super::super::super::json::KindOnly;
use super::super::super::raw;
use super::super::failure;
use super::super::reply::Reply;
use super::super::texts::Texts;
use super::super::wire::{Format, ServerMessage};
use super::{Asked, AssemblyAi, How, OWED, Owed, Phase};
use crate::peer::Speaker;
use crate::protocol::codec::BASE64;
use crate::protocol::excerpt;
use crate::units::{Encoding, Law, SampleRate};

/// Longest arguments of a function call: far beyond any sense.
const MAX_ARGUMENTS: usize = 64 << 10;
/// Longest words of a turn: an hour's.
const MAX_WORDS: usize = 64 << 10;
/// Ends of a session that are believed: neither over already nor beyond its longest.
const LIVES: std::ops::RangeInclusive<u64> = 60..=3 * 3_600;

/// What carries audio, for events that the operator sees.
fn is_audio(kind: &str) -> bool {
    kind == "reply.audio"
}

impl AssemblyAi {
    pub(super) fn text(&mut self, now: Instant, text: &str) {
        if let Some(told) = self.config.raw_events.and_then(|which| raw::told(which, is_audio, text)) {
            self.event(Event::Raw(told));
        }
        match serde_json::from_str::<ServerMessage<'_>>(text) {
            Ok(message) => self.message(now, &message),
            Err(error) => match serde_json::from_str::<KindOnly<'_>>(text) {
                Ok(KindOnly { kind }) => self.fault(format!("{}: {error}", excerpt(kind.as_str()))),
                Err(_) => self.fault(format!("the text is no JSON object ({error}): {}", excerpt(text))),
            },
        }
    }

    fn message(&mut self, now: Instant, message: &ServerMessage<'_>) {
        match message.kind.as_str() {
            "" => self.fault("a message without a type"),
            "session.ready" => self.ready(now, message),
            "session.error" | "error" => self.error(message),
            "session.ended" => {
                self.kept.forget();
                let message = "the service has ended the session".to_owned();
                self.end(Loss { fatal: false, code: "session.ended".to_owned(), message });
            }
            // The service confirms a new session twice.
            "session.updated" if self.phase == Phase::Ready => self.change_settled(None),
            _ if self.phase != Phase::Ready => {}
            "input.speech.started" => {
                self.speaking = true;
                self.unasked();
                self.owed = None;
                self.event(Event::SpeechStarted { start_ms: None });
            }
            "input.speech.stopped" => self.stopped(),
            "transcript.user.delta" => self.caller_says(message),
            "transcript.user" => self.caller_said(now, message),
            "reply.started" => self.started(message),
            "reply.audio" => self.audio(message),
            "transcript.agent.delta" => self.word(message),
            "transcript.agent" => self.words(message),
            "reply.done" if message.is_interrupted() => self.interrupted(),
            "reply.done" => {
                self.answered(Outcome::Completed);
                self.muted = true;
            }
            "tool.call" => self.tool_call(now, message),
            // What is new, and what is of no interest.
            _ => {}
        }
    }

    fn ready(&mut self, now: Instant, message: &ServerMessage<'_>) {
        let resumed = match self.phase {
            Phase::Beginning(_) => false,
            Phase::Resuming(_) => true,
            _ => return self.fault("session.ready: no session is to begin"),
        };
        let config = &message.config.0;
        if self.config.profile.agent.is_some() {
            let (input, output) = (config.input.0.format.0.read(), config.output.0.format.0.read());
            let (Some(input), Some(output)) = (input, output) else {
                let message =
                    "the agent's audio format is not supported: set it to audio/pcm, audio/pcmu or audio/pcma"
                        .to_owned();
                return self.end(Loss { fatal: true, code: "audio_format".to_owned(), message });
            };
            self.coder = Some(Coder::new(self.config.profile.audio.rate, input));
            self.decoder = Decoder::new(output);
        }
        if !resumed {
            let greets = !config.greeting.as_str().is_empty();
            self.owed = (greets && (self.begun || self.config.greeted)).then_some(Owed::Greeting(now + OWED));
            self.elsewhere = config.elsewhere();
        }
        let lives = message.expires_at.whole().map(|at| at.saturating_sub(self.opened_at));
        if let Some(seconds) = lives.filter(|seconds| LIVES.contains(seconds)) {
            self.expiry = Expiry::of(now, Duration::from_secs(seconds).max(expiry::SHORTEST));
        }
        let session_id = message.session_id.id();
        self.kept.held(session_id.clone());
        (self.phase, self.begun) = (Phase::Ready, true);
        if let Some(session_id) = session_id {
            self.event(Event::Named { session_id });
        }
        if resumed {
            self.event(Event::Resumed);
        }
        self.event(Event::Ready);
        self.session_has_changes(now);
    }

    fn error(&mut self, message: &ServerMessage<'_>) {
        let code = message.code.as_str();
        let words = match message.param.as_str() {
            "" => message.message.as_str().to_owned(),
            param => format!("{} ({param})", message.message.as_str()),
        };
        let held = self.phase == Phase::Ready;
        let Some(loss) = failure::loss(code, &words, held) else {
            return self.refused(code, &words);
        };
        self.kept.forget();
        let resuming = matches!(self.phase, Phase::Resuming(_)) && !failure::is_of_the_key(code);
        self.end(if resuming { Loss { fatal: false, ..loss } } else { loss });
    }

    /// Something that we have sent is refused, and the session goes on.
    fn refused(&mut self, code: &str, words: &str) {
        if failure::is_of_a_change(code) && self.change.as_ref().is_some_and(|change| change.until.is_some()) {
            return self.change_settled(Some((code, words)));
        }
        let is_sent = |asked: &mut Asked| asked.how == How::Sent;
        let asked = if code == "invalid_audio" { None } else { self.asked.take_if(is_sent) };
        let refuses = asked.map_or(Refuses::Nothing, |asked| Refuses::Response(Some(asked.request)));
        self.failed(failure::failure(code, words, refuses));
    }

    /// The caller has stopped.
    fn stopped(&mut self) {
        if std::mem::take(&mut self.speaking) {
            self.event(Event::SpeechStopped);
        }
    }

    fn item_id(&mut self, message: &ServerMessage<'_>) -> String {
        message.item_id.id().unwrap_or_else(|| self.next("caller"))
    }

    /// What the caller has said so far.
    fn caller_says(&mut self, message: &ServerMessage<'_>) {
        if self.turn.is_none() {
            self.turn = Some(Growing::new(self.item_id(message)));
        }
        if let Some(turn) = &mut self.turn
            && let Some(text) = turn.more(message.text.as_str())
        {
            let item_id = turn.item_id().to_owned();
            self.event(Event::CallerTranscript { item_id, text, whole: false });
        }
    }

    /// A turn of the caller is over, and these are its words. The service answers it.
    fn caller_said(&mut self, now: Instant, message: &ServerMessage<'_>) {
        let words = message.text.as_str().trim();
        let turn = self.turn.take();
        self.stopped();
        if words.is_empty() {
            return;
        }
        let text = words[..words.floor_char_boundary(MAX_WORDS)].to_owned();
        let item_id = turn.map_or_else(|| self.item_id(message), Growing::into_item_id);
        self.owed = Some(Owed::Turn(now + OWED));
        self.turn_is_answered();
        self.event(Event::Committed { item_id: item_id.clone(), previous: None });
        self.event(Event::CallerTranscript { item_id, text, whole: true });
    }

    fn started(&mut self, message: &ServerMessage<'_>) {
        // The end of the one before was lost.
        self.answered(Outcome::Completed);
        self.stopped();
        self.begin_reply(message);
    }

    fn begin_reply(&mut self, message: &ServerMessage<'_>) {
        let response_id = message.reply_id.id().unwrap_or_else(|| self.next("answer"));
        let unwanted = matches!(self.owed.take(), Some(Owed::Greeting(_)));
        let reply = Reply::new(response_id.clone(), unwanted);
        let item_id = reply.item_id.clone();
        (self.reply, self.muted) = (Some(reply), false);
        self.calls.bridged();
        if !unwanted {
            // One that waits for its moment is for another answer.
            self.asked.take_if(|asked| !matches!(asked.how, How::Waits(_)));
            self.event(Event::ResponseStarted { response_id: response_id.clone(), request: None });
            self.event(Event::ItemStarted { response_id, item_id });
        }
    }

    /// The answer that a message is of, which may begin with it: its response and its item. `None` where nobody wants it.
    fn reply_of(&mut self, message: &ServerMessage<'_>) -> Option<(String, String)> {
        if self.reply.is_none() {
            if self.muted {
                return None;
            }
            self.begin_reply(message);
        }
        let of = message.reply_id.as_str();
        let reply = self.reply.as_ref().filter(|reply| !reply.unwanted && reply.is(of))?;
        Some((reply.response_id.clone(), reply.item_id.clone()))
    }

    fn audio(&mut self, message: &ServerMessage<'_>) {
        let bytes = match BASE64.decode(message.data.as_str()) {
            Ok(bytes) => bytes,
            Err(error) => return self.fault(format!("reply.audio: data is not base64: {error}")),
        };
        let Some((response_id, item_id)) = self.reply_of(message) else { return };
        let audio = self.decoder.push(bytes);
        if !audio.duration().is_zero() {
            self.event(Event::Audio { response_id, item_id, content_index: 0, audio });
        }
    }

    /// The next word of an answer.
    fn word(&mut self, message: &ServerMessage<'_>) {
        let word = message.delta.as_str();
        if word.is_empty() {
            return;
        }
        let Some((response_id, item_id)) = self.reply_of(message) else { return };
        let Some(reply) = &mut self.reply else { return };
        let (text, mark) = reply.word(word, message.end_ms.whole());
        if let Some(mark) = mark {
            let (response_id, item_id) = (response_id.clone(), item_id.clone());
            self.event(Event::Marks { response_id, item_id, marks: vec![mark] });
        }
        self.event(Event::Transcript { response_id, item_id, text, whole: false });
    }

    /// All words of an answer. Of one that was interrupted they are those that count as said, which matters where nobody knows better: the
    /// module has played the answer, and knows to the word what was heard, if it knows when each is spoken.
    fn words(&mut self, message: &ServerMessage<'_>) {
        let text = message.text.as_str().trim();
        let text = text[..text.floor_char_boundary(MAX_WORDS)].to_owned();
        if text.is_empty() {
            return;
        }
        let cut_off = message.is_interrupted();
        if let Some((response_id, item_id)) = self.reply_of(message) {
            let reply = self.reply.as_ref().filter(|_| cut_off);
            let wrote = reply.map(Reply::text).filter(|wrote| wrote.len() > text.len()).unwrap_or(&text).to_owned();
            let timed = reply.is_some_and(Reply::is_timed);
            let (of, whole) = (item_id.clone(), wrote.clone());
            self.event(Event::Transcript { response_id, item_id, text: whole, whole: true });
            if cut_off && !timed {
                self.event(Event::Corrected { item_id: of, text: wrote, said: text });
            }
            return;
        }
        let is_of = |last: &&Reply| !last.unwanted && !last.is_timed() && last.is(message.reply_id.as_str());
        if let Some(last) = self.last.as_ref().filter(|_| cut_off).filter(is_of) {
            let wrote = if last.text().len() > text.len() { last.text().to_owned() } else { text.clone() };
            let item_id = last.item_id.clone();
            self.event(Event::Corrected { item_id, text: wrote, said: text });
        }
    }

    /// The service has given up what it says, since the caller speaks. It wants no result any more that has not come.
    fn interrupted(&mut self) {
        if self.reply.as_ref().is_some_and(|reply| !reply.unwanted) {
            self.event(Event::Interrupted);
        }
        self.answered(Outcome::Cancelled);
        self.muted = true;
        for (name, output) in self.calls.interrupted() {
            self.send_message(Speaker::System, &Texts::result(&name, &output));
        }
    }

    fn tool_call(&mut self, now: Instant, message: &ServerMessage<'_>) {
        let (Some(call_id), Some(name)) = (message.call_id.id(), message.name.id()) else {
            return self.fault("tool.call: no call_id or no name");
        };
        if !self.calls.is_new(&call_id) {
            return;
        }
        // What is too long to be meant is handed on empty, so that it is refused.
        let arguments = message.arguments(MAX_ARGUMENTS).unwrap_or_default();
        if self.reply.as_ref().is_some_and(|reply| reply.unwanted) {
            self.answered(Outcome::Completed);
        }
        let alone = self.reply.is_none();
        if alone {
            // Between two answers it is one without words.
            let muted = self.muted;
            self.owed.take_if(|owed| matches!(owed, Owed::Greeting(_)));
            self.begin_reply(&ServerMessage::default());
            self.muted = muted;
        }
        let Some(reply) = &self.reply else { return };
        let response_id = reply.response_id.clone();
        if self.elsewhere.contains(&name) {
            let server = "assemblyai".to_owned();
            self.event(Event::CalledElsewhere { response_id, call_id, server, name, arguments });
        } else {
            self.calls.called(now, &call_id, &name);
            self.event(Event::ToolCall { response_id, call_id, name, arguments });
        }
        if alone {
            self.answered(Outcome::Completed);
        }
    }
}

impl Format<'_> {
    /// The audio that it names; where it names none, the service's usual.
    fn read(&self) -> Option<InputFormat> {
        let law = |law| InputFormat { rate: SampleRate::HZ_8000, encoding: Encoding::G711(law) };
        match self.encoding.as_str() {
            "" | "audio/pcm" => Some(InputFormat { rate: SampleRate::HZ_24000, encoding: Encoding::S16Le }),
            "audio/pcmu" => Some(law(Law::Mu)),
            "audio/pcma" => Some(law(Law::A)),
            _ => None,
        }
    }
}
