//! One session of the service, without input or output: given the time, it takes what the client says and gives what to send.
//!
//! The caller is heard by level. The model answers after a silence, and falls silent when the caller speaks over it for a while; a shorter
//! sound is a remark, over which it talks on. Tasks are handed on where an answer calls functions. Everything is by its script.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::shape;
use crate::realtime::ear::{Ear, Heard};
use crate::realtime::{
    Answer, Answers, Asked, Coding, Complaint, Far, Opening, Order, Out, Record, Service, What, admit_by_header,
};

/// The key that is let in.
pub const KEY: &str = "sk-test";
/// Audio of one delta, and of one fragment of a transcript, ms.
const CHUNK_MS: u64 = 100;
const FRAGMENT_MS: u64 = 200;
/// How long the caller speaks over the model before it falls silent.
const YIELDS: Duration = Duration::from_millis(450);
/// Silence between two things that the model says.
const PAUSE: Duration = Duration::from_millis(300);
/// How often the session says what it has cost.
const USAGE: Duration = Duration::from_secs(5);

/// What the service does.
#[derive(Clone)]
pub struct Model {
    pub answers: Answers,
    /// What the caller says in each of their turns, over all connections; the last again and again.
    pub words: Vec<&'static str>,
    /// Silence that ends what the caller says.
    pub silence_ms: u64,
    /// How far the stream is ahead of the clock.
    pub ahead: Duration,
    /// How long a session lasts.
    pub lasts: Duration,
    /// Turns and responses so far, over all connections.
    pub turns: Arc<AtomicUsize>,
    pub responses: Arc<AtomicUsize>,
}

impl Model {
    /// A service that answers so.
    pub fn answering(answers: impl Into<Vec<Answer>>) -> Self {
        Self {
            answers: Answers::each(answers.into()),
            words: vec!["What the caller says."],
            silence_ms: 300,
            ahead: Duration::ZERO,
            lasts: Duration::from_secs(3_600),
            turns: Arc::default(),
            responses: Arc::default(),
        }
    }
}

impl Service for Model {
    fn admit(&self, uri: &str, headers: &[(String, String)]) -> Result<(), u16> {
        admit_by_header((uri, "/v1/live/sessions"), headers, ("authorization", &format!("Bearer {KEY}")))
    }

    fn open(self: Arc<Self>, opening: &Opening, record: Arc<Mutex<Record>>) -> Box<dyn Far> {
        Box::new(Session::open(self, opening, record))
    }
}

/// Something that is being said.
struct Speaking {
    samples: Vec<i16>,
    at: usize,
    words: Vec<String>,
    /// Words of it that have been written down, and where in it the next fragment is due.
    written: usize,
    next_fragment: usize,
}

/// What the caller is saying.
struct Turn {
    words: Vec<String>,
    written: usize,
    next_fragment: Instant,
    /// When the model falls silent for it; it was speaking when the caller began.
    yields: Option<Instant>,
    /// The model has fallen silent for it, or was silent.
    counts: bool,
}

/// A task of the second model.
struct Task {
    id: String,
    calls: Vec<String>,
}

struct Session {
    model: Arc<Model>,
    record: Arc<Mutex<Record>>,
    out: VecDeque<Out>,
    connection: usize,
    opened_unix: u64,
    over: bool,
    /// When the session has started.
    started: Option<Instant>,
    backend: bool,
    coding: Coding,
    ear: Ear,
    turn: Option<Turn>,
    /// What is to be answered, and from when on.
    thinking: VecDeque<(Instant, Result<String, Answer>)>,
    speaking: Option<Speaking>,
    silent_since: Instant,
    /// Samples of the stream so far, and the caller's.
    sent: u64,
    received: u64,
    tasks: Vec<Task>,
    /// Tasks of the client's.
    delegated: Vec<String>,
    numbers: u64,
    next_usage: Instant,
}

fn words(text: &str) -> Vec<String> {
    text.split_inclusive(' ').map(str::to_owned).collect()
}

impl Session {
    fn open(model: Arc<Model>, opening: &Opening, record: Arc<Mutex<Record>>) -> Self {
        Self {
            model,
            record,
            out: VecDeque::new(),
            connection: opening.connection,
            opened_unix: opening.unix_seconds,
            over: false,
            started: None,
            backend: false,
            coding: Coding::Pcm24k,
            ear: Ear::new(8_000, 0.5, 300),
            turn: None,
            thinking: VecDeque::new(),
            speaking: None,
            silent_since: opening.now,
            sent: 0,
            received: 0,
            tasks: Vec::new(),
            delegated: Vec::new(),
            numbers: 0,
            next_usage: opening.now,
        }
    }

    fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    fn say(&mut self, now: Instant, mut event: Value) {
        if self.over {
            return;
        }
        if event["type"] != "session.output_audio.delta" {
            let number = self.number();
            event["event_id"] = json!(format!("event_{}_{number}", self.connection));
        }
        self.out.push_back(Out::Text(event.to_string()));
        if event["type"] != "session.output_audio.delta" {
            self.record.lock().said.push((now, event));
        }
    }

    fn complain(&mut self, now: Instant, complaint: Complaint, command: &Value) {
        let error = json!({"type": "invalid_request_error", "code": complaint.code, "message": complaint.message,
            "param": complaint.param, "client_event_id": command["event_id"]});
        self.record.lock().complaints.push(complaint);
        self.say(now, json!({"type": "error", "error": error}));
    }

    fn close(&mut self, code: u16, reason: &str) {
        if !self.over {
            self.out.push_back(Out::Close(code, reason.to_owned()));
            self.over = true;
        }
    }

    fn session(&self) -> Value {
        let expires = self.opened_unix + self.model.lasts.as_secs();
        json!({"id": format!("live_{}", self.connection), "expires_at": expires, "model": "gpt-live-1", "status": "active"})
    }

    fn seconds(&self, now: Instant) -> f64 {
        self.started.map_or(0.0, |started| now.saturating_duration_since(started).as_secs_f64())
    }

    /// The session's time, ms.
    fn at_ms(&self) -> u64 {
        self.received * 1_000 / u64::from(self.coding.rate())
    }

    fn start(&mut self, now: Instant, session: &Value) {
        let format = &session["audio"]["format"];
        self.coding = match (format["type"].as_str(), format["rate"].as_u64()) {
            (Some("audio/pcmu"), _) => Coding::Pcmu,
            (Some("audio/pcma"), _) => Coding::Pcma,
            (Some("audio/pcm"), Some(16_000)) => Coding::Pcm16k,
            _ => Coding::Pcm24k,
        };
        self.backend = session["delegation"]["type"] == "responses";
        self.ear = Ear::new(self.coding.rate(), 0.5, self.model.silence_ms);
        self.started = Some(now);
        (self.silent_since, self.next_usage) = (now, now + USAGE);
        self.record.lock().format = format.clone();
        let session = self.session();
        self.say(now, json!({"type": "session.started", "session": session}));
    }

    /// A command that fits its type.
    fn obey(&mut self, now: Instant, command: &Value) -> Result<(), Complaint> {
        let wrong = |message: &str| Err(Complaint::plain("invalid_command", message));
        let kind = command["type"].as_str().unwrap_or_default();
        if kind == "session.start" {
            if self.started.is_some() {
                return wrong("the session has started already");
            }
            self.start(now, &command["session"]);
            return Ok(());
        }
        if self.started.is_none() {
            return wrong("before session.start");
        }
        let content = command["content"].as_str().unwrap_or_default().to_owned();
        match kind {
            "session.input_audio.append" => self.append(now, command["audio"].as_str().unwrap_or_default())?,
            "session.update" => {
                let own = if self.backend { "responses" } else { "client" };
                if command["session"]["delegation"]["type"] != own {
                    return wrong("the type of delegation cannot change");
                }
                let session = self.session();
                self.say(now, json!({"type": "session.updated", "session": session}));
            }
            "session.close" => {
                let (session, seconds) = (self.session(), self.seconds(now));
                self.say(
                    now,
                    json!({"type": "session.closed", "reason": "close_requested", "session": session, "usage": {"seconds": seconds}}),
                );
                self.over = true;
            }
            "session.commentary.append" | "session.thinking.append" | "session.instructions.append" => {
                if let Some(task) = command["delegation_id"].as_str() {
                    if self.backend {
                        return wrong("the tasks are the second model's");
                    }
                    if !self.delegated.iter().any(|id| id == task) {
                        return wrong("there is no such task");
                    }
                    self.delegated.retain(|id| id != task);
                }
                let at = self.at_ms();
                let done = kind.replace(".append", ".appended");
                self.say(now, json!({"type": done, "start_ms": at, "end_ms": at}));
                if kind == "session.commentary.append" {
                    self.thinking.push_back((now, Ok(content)));
                }
            }
            "response.item.create" if !self.backend => return wrong("there is no second model"),
            "response.item.create" => {
                let call_id = command["item"]["call_id"].as_str().unwrap_or_default();
                let task = self.tasks.iter_mut().find(|task| task.calls.iter().any(|call| call == call_id));
                match task {
                    Some(task) => task.calls.retain(|call| call != call_id),
                    None => return wrong("a result of no call"),
                }
            }
            "response.create" => {
                let done = self.tasks.iter().position(|task| task.calls.is_empty());
                let Some(at) = done.filter(|_| self.backend) else {
                    return wrong("no task has all of its results");
                };
                let task = self.tasks.remove(at);
                self.respond(now, "", Some(task.id));
            }
            _ => {}
        }
        Ok(())
    }

    fn append(&mut self, now: Instant, base64: &str) -> Result<(), Complaint> {
        let wrong = |message: &str| Complaint::of("invalid_value", "audio", message);
        let bytes = STANDARD.decode(base64).map_err(|_| wrong("not base64"))?;
        let samples = self.coding.decode(&bytes).filter(|samples| !samples.is_empty());
        let samples = samples.ok_or_else(|| wrong("nothing, or half a sample"))?;
        self.received += samples.len() as u64;
        self.record.lock().hears(now, &samples);
        for heard in self.ear.listen(&samples) {
            match heard {
                Heard::Started(_) => {
                    let at = self.model.turns.fetch_add(1, Ordering::Relaxed);
                    let said = self.model.words[at.min(self.model.words.len() - 1)];
                    let speaks = self.speaking.is_some();
                    self.turn = Some(Turn {
                        words: words(said),
                        written: 0,
                        next_fragment: now + Duration::from_millis(FRAGMENT_MS),
                        yields: speaks.then(|| now + YIELDS),
                        counts: !speaks,
                    });
                }
                Heard::Stopped(_) => self.turn_over(now),
            }
        }
        Ok(())
    }

    fn turn_over(&mut self, now: Instant) {
        let Some(mut turn) = self.turn.take() else { return };
        let said = turn.words.concat();
        self.write_caller(now, &mut turn, usize::MAX);
        if turn.counts {
            self.thinking.push_back((now, Ok(said)));
        }
    }

    /// Fragments of what the caller says.
    fn write_caller(&mut self, now: Instant, turn: &mut Turn, words: usize) {
        let end = turn.written.saturating_add(words).min(turn.words.len());
        let delta = turn.words[turn.written..end].concat();
        turn.written = end;
        if !delta.is_empty() {
            let at = self.at_ms();
            let from = at.saturating_sub(FRAGMENT_MS);
            self.say(
                now,
                json!({"type": "session.input_transcript.delta", "delta": delta, "start_ms": from, "end_ms": at}),
            );
        }
    }

    /// The model answers this, or the second model goes on with a task.
    fn respond(&mut self, now: Instant, last: &str, task: Option<String>) {
        let response = self.model.responses.fetch_add(1, Ordering::Relaxed);
        let asked = Asked { connection: self.connection, response, instructions: None, last };
        let answer = self.model.answers.to(&asked);
        self.record.lock().answers.push((response.to_string(), answer.clone()));
        if answer.calls.is_empty() {
            if let Some(task) = task {
                self.second(now, &task, json!({"type": "response.created", "response": {"id": "r"}}));
                self.second_over(now, &task);
            }
            return self.thinking.push_front((now + answer.thinking, Err(answer)));
        }
        let number = self.number();
        let id = task.unwrap_or_else(|| format!("dlg_{}_{number}", self.connection));
        let target = if self.backend { "responses" } else { "client" };
        let delegation = json!({"id": id, "type": "delegation", "target": target});
        let at = self.at_ms();
        self.say(now, json!({"type": "session.delegation.created", "delegation": delegation, "offset_ms": at}));
        if !self.backend {
            return self.delegated.push(id);
        }
        self.second(now, &id, json!({"type": "response.created", "response": {"id": "r"}}));
        let mut calls = Vec::new();
        for call in &answer.calls {
            let number = self.number();
            let call_id = format!("call_{}_{number}", self.connection);
            let item = json!({"type": "function_call", "status": "completed", "call_id": call_id, "name": call.name,
                "arguments": call.arguments});
            self.second(now, &id, json!({"type": "response.output_item.done", "item": item}));
            calls.push(call_id);
        }
        self.tasks.push(Task { id: id.clone(), calls });
        self.second_over(now, &id);
    }

    /// An event of the second model.
    fn second(&mut self, now: Instant, task: &str, event: Value) {
        self.say(now, json!({"type": "response.event", "delegation_id": task, "event": event}));
    }

    fn second_over(&mut self, now: Instant, task: &str) {
        let usage = json!({"input_tokens": 100, "output_tokens": 20, "total_tokens": 120,
            "input_tokens_details": {"cached_tokens": 10}, "output_tokens_details": {"reasoning_tokens": 0}});
        let response = json!({"id": "r", "status": "completed", "output": [], "usage": usage});
        self.second(now, task, json!({"type": "response.completed", "response": response}));
    }

    fn speak(&mut self, answer: &Answer) {
        let samples = answer.voice.as_ref().map_or_else(Vec::new, |voice| voice.samples(self.coding.rate()));
        if !samples.is_empty() {
            self.speaking = Some(Speaking { samples, at: 0, words: words(&answer.text), written: 0, next_fragment: 0 });
        }
    }

    /// The next part of the stream.
    fn stream(&mut self, now: Instant) {
        let chunk = (u64::from(self.coding.rate()) * CHUNK_MS / 1_000) as usize;
        let mut samples = vec![0; chunk];
        let mut fragments = Vec::new();
        if let Some(speaking) = &mut self.speaking {
            let end = (speaking.at + chunk).min(speaking.samples.len());
            samples[..end - speaking.at].copy_from_slice(&speaking.samples[speaking.at..end]);
            speaking.at = end;
            let whole = end == speaking.samples.len();
            if end >= speaking.next_fragment || whole {
                speaking.next_fragment = end + chunk * (FRAGMENT_MS / CHUNK_MS) as usize;
                let to = speaking.words.len() * end / speaking.samples.len();
                fragments.push(speaking.words[speaking.written..to].concat());
                speaking.written = to;
            }
            if whole {
                self.speaking = None;
                self.silent_since = now;
            }
        }
        self.sent += chunk as u64;
        let delta = STANDARD.encode(self.coding.encode(&samples));
        self.say(now, json!({"type": "session.output_audio.delta", "delta": delta}));
        let end = self.sent * 1_000 / u64::from(self.coding.rate());
        for delta in fragments.into_iter().filter(|delta| !delta.is_empty()) {
            let start = end.saturating_sub(FRAGMENT_MS);
            self.say(
                now,
                json!({"type": "session.output_transcript.delta", "delta": delta, "start_ms": start, "end_ms": end}),
            );
        }
    }

    /// When the next part of the stream is due.
    fn stream_due(&self) -> Option<Instant> {
        let length = Duration::from_micros(self.sent * 1_000_000 / u64::from(self.coding.rate()));
        let due = self.started? + length;
        Some(due.checked_sub(self.model.ahead).unwrap_or(due))
    }

    /// When the model may begin to say something else.
    fn may_speak(&self) -> Option<Instant> {
        let free = self.speaking.is_none() && self.turn.is_none();
        let (at, _) = self.thinking.front().filter(|_| free)?;
        Some((*at).max(self.silent_since + PAUSE))
    }

    fn trouble(&mut self, now: Instant, what: What) {
        match what {
            What::Error(kind, code) => {
                let error = json!({"type": kind, "code": code, "message": "The test wants it so."});
                self.say(now, json!({"type": "error", "error": error}));
            }
            What::GoAway(_) => {
                let (session, seconds) = (self.session(), self.seconds(now));
                self.say(
                    now,
                    json!({"type": "session.closed", "reason": "expired", "session": session, "usage": {"seconds": seconds}}),
                );
                self.close(1_000, "");
            }
            What::Text(text) => self.out.push_back(Out::Text(text)),
            What::Binary(bytes) => self.out.push_back(Out::Binary(bytes)),
            What::Close(code, reason) => self.close(code, reason),
            What::Drop => self.out.push_back(Out::Drop),
            What::Freeze => self.out.push_back(Out::Freeze),
            What::Stall(time) => self.out.push_back(Out::Stall(time)),
        }
        self.over |= self.out.back().is_some_and(|out| matches!(out, Out::Close(..) | Out::Drop | Out::Freeze));
    }
}

impl Far for Session {
    fn take(&mut self, now: Instant, text: &str) {
        if self.over {
            return;
        }
        let command: Value = match serde_json::from_str(text) {
            Ok(command) => command,
            Err(error) => {
                let complaint = Complaint::plain("invalid_json", error.to_string());
                return self.complain(now, complaint, &Value::Null);
            }
        };
        if command["type"] != "session.input_audio.append" {
            self.record.lock().told.push((now, command.clone()));
        }
        if let Err(complaint) = shape::check(&command).and_then(|()| self.obey(now, &command)) {
            self.complain(now, complaint, &command);
        }
        self.tick(now);
    }

    fn take_binary(&mut self, now: Instant, _: &[u8]) {
        self.complain(now, Complaint::plain("invalid_command", "a binary message"), &Value::Null);
    }

    fn order(&mut self, now: Instant, order: Order) {
        if self.over {
            return;
        }
        match order {
            Order::Trouble(what) => self.trouble(now, what),
            Order::Respond(answer) => self.thinking.push_back((now, Err(answer))),
            Order::Event(event) => self.say(now, event),
        }
        self.tick(now);
    }

    fn tick(&mut self, now: Instant) {
        while !self.over && self.deadline().is_some_and(|at| at <= now) {
            if let Some(mut turn) = self.turn.take() {
                if turn.yields.take_if(|at| *at <= now).is_some() {
                    turn.counts = true;
                    self.speaking = None;
                    self.silent_since = now;
                }
                if turn.next_fragment <= now {
                    turn.next_fragment += Duration::from_millis(FRAGMENT_MS);
                    self.write_caller(now, &mut turn, 1);
                }
                self.turn = Some(turn);
            }
            if self.may_speak().is_some_and(|at| at <= now)
                && let Some((_, what)) = self.thinking.pop_front()
            {
                match what {
                    Ok(last) => self.respond(now, &last, None),
                    Err(answer) => self.speak(&answer),
                }
            }
            if self.stream_due().is_some_and(|at| at <= now) {
                self.stream(now);
            }
            if self.started.is_some() && self.next_usage <= now {
                self.next_usage += USAGE;
                let seconds = self.seconds(now);
                self.say(now, json!({"type": "session.usage.updated", "usage": {"seconds": seconds}}));
            }
        }
    }

    fn deadline(&self) -> Option<Instant> {
        if self.over {
            return None;
        }
        let turn =
            self.turn.as_ref().map(|turn| turn.yields.map_or(turn.next_fragment, |at| at.min(turn.next_fragment)));
        let usage = self.started.map(|_| self.next_usage);
        [self.stream_due(), self.may_speak(), turn, usage].into_iter().flatten().min()
    }

    fn poll(&mut self) -> Option<Out> {
        self.out.pop_front()
    }

    fn is_over(&self) -> bool {
        self.over
    }
}
