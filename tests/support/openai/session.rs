//! One session of the service, without input or output: given the time, it takes what the client says and gives what to send.
//!
//! [`Session::open`], [`Session::take`] and [`Session::order`] as things happen, [`Session::tick`] at [`Session::deadline`], and
//! after each of them [`Session::poll`] until `None`. Any clock will do, a virtual one too. What the client said and was
//! told is written to the [`Record`], with the times given.

#[path = "gemini.rs"]
mod gemini;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::dialects::Dialect;
use super::ear::{Ear, Heard};
use super::hosted::HostedSession;
use super::script::{Answer, Asked, Auth, Ending, Pace, Script, Trouble, What, When, WrongKey};
use super::shape::Complaint;
use super::voice::Coding;

/// Longest audio of one `append`, in base64.
const MAX_APPEND: usize = 15 << 20;
/// Least audio that can be committed.
const MIN_COMMIT: Duration = Duration::from_millis(100);
/// Between the deltas that come after a cancellation.
const LATE: Duration = Duration::from_millis(10);
/// What a session uses where its client leaves it open.
const SILENCE_MS: u64 = 500;
const PREFIX_MS: u64 = 300;

/// How a connection was asked for.
#[derive(Clone, Debug)]
pub struct Opening {
    /// When.
    pub now: Instant,
    /// The same as seconds since 1970.
    pub unix_seconds: u64,
    /// Which connection of the server, from 0.
    pub connection: usize,
    /// Path and query.
    pub uri: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
}

/// What is to be done, in order.
#[derive(Clone, PartialEq, Debug)]
pub enum Out {
    /// Send a text message.
    Text(String),
    /// Send a binary message.
    Binary(Vec<u8>),
    /// Send a close frame, and wait for the answer.
    Close(u16, String),
    /// Reset the connection.
    Drop,
    /// Stop reading and writing.
    Freeze,
    /// The same for a time.
    Stall(Duration),
}

/// A session of any service, on any clock.
pub trait Far: Send {
    /// A text message of the client's.
    fn take(&mut self, now: Instant, text: &str);
    /// A binary message of the client's.
    fn take_binary(&mut self, now: Instant, bytes: &[u8]);
    /// The service does something now.
    fn order(&mut self, now: Instant, order: Order);
    /// The time has come.
    fn tick(&mut self, now: Instant);
    /// When [`tick`](Self::tick) is wanted.
    fn deadline(&self) -> Option<Instant>;
    /// What is to be done next.
    fn poll(&mut self) -> Option<Out>;
    /// Whether it has ended the session.
    fn is_over(&self) -> bool;
}

/// A request over HTTP.
pub struct Request<'a> {
    pub method: &'a str,
    /// Path and query.
    pub uri: &'a str,
    /// Names in lower case.
    pub headers: &'a [(String, String)],
    pub body: &'a [u8],
}

impl Request<'_> {
    /// The value of a header, or nothing.
    pub fn header(&self, wanted: &str) -> Option<&str> {
        self.headers.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str())
    }

    /// Host and port of the server that is asked.
    pub fn server(&self) -> &str {
        self.header("host").unwrap_or_default()
    }
}

/// A service: who is let in, and their sessions.
pub trait Service: Send + Sync {
    /// Whether the upgrade succeeds; the HTTP status where not.
    fn admit(&self, uri: &str, headers: &[(String, String)]) -> Result<(), u16>;
    /// Whether a first line is of a request over HTTP that it answers, and not of one for a WebSocket.
    fn is_request(&self, _line: &str) -> bool {
        false
    }
    /// The answer to such a request: its status and its body.
    fn answer(&self, _request: &Request<'_>) -> (u16, String) {
        (404, String::new())
    }
    /// The session of a connection that was let in.
    fn open(self: Arc<Self>, opening: &Opening, record: Arc<Mutex<Record>>) -> Box<dyn Far>;
}

/// Lets in who asks for this path with this header; else the HTTP status: 404 or 401.
pub fn admit_by_header(
    (uri, path): (&str, &str),
    headers: &[(String, String)],
    (name, wanted): (&str, &str),
) -> Result<(), u16> {
    if uri != path {
        return Err(404);
    }
    if headers.iter().any(|(given, value)| given == name && value == wanted) { Ok(()) } else { Err(401) }
}

impl Service for Script {
    fn admit(&self, uri: &str, headers: &[(String, String)]) -> Result<(), u16> {
        Self::admit(self, uri, headers)
    }

    fn is_request(&self, line: &str) -> bool {
        self.hosted.is_some() && line.contains("/get-signed-url")
    }

    fn answer(&self, request: &Request<'_>) -> (u16, String) {
        let hosted = self.hosted.clone().unwrap_or_default();
        hosted.answer(request.method, request.uri, request.header("xi-api-key"), request.server())
    }

    fn open(self: Arc<Self>, opening: &Opening, record: Arc<Mutex<Record>>) -> Box<dyn Far> {
        match self.hosted {
            Some(_) => Box::new(HostedSession::open(self, opening, record)),
            None => Box::new(Session::open(self, opening, record)),
        }
    }
}

impl Far for Session {
    fn take(&mut self, now: Instant, text: &str) {
        Self::take(self, now, text);
    }

    fn take_binary(&mut self, now: Instant, _: &[u8]) {
        Self::take_binary(self, now);
    }

    fn order(&mut self, now: Instant, order: Order) {
        Self::order(self, now, order);
    }

    fn tick(&mut self, now: Instant) {
        Self::tick(self, now);
    }

    fn deadline(&self) -> Option<Instant> {
        Self::deadline(self)
    }

    fn poll(&mut self) -> Option<Out> {
        Self::poll(self)
    }

    fn is_over(&self) -> bool {
        Self::is_over(self)
    }
}

/// What a test has the service do.
#[derive(Clone, Debug)]
pub enum Order {
    /// Something goes wrong now.
    Trouble(What),
    /// It responds without being asked.
    Respond(Answer),
    /// It sends this event.
    Event(Value),
}

/// Everything a session has seen and said.
#[derive(Default, Debug)]
pub struct Record {
    /// The client's events without the audio, and when they came.
    pub told: Vec<(Instant, Value)>,
    /// The caller's audio, decoded, at the session's input rate.
    pub audio: Vec<i16>,
    /// When audio came, and how many samples there were then.
    pub audio_at: Vec<(Instant, u64)>,
    /// Samples of the caller's, kept or not.
    pub samples: u64,
    /// What was said to the client and when; audio replaced by its length in ms as `delta_ms`.
    pub said: Vec<(Instant, Value)>,
    /// What the client has done wrong.
    pub complaints: Vec<Complaint>,
    /// The audio of each committed turn, ms, silence included.
    pub turns_ms: Vec<u64>,
    /// The session's input format.
    pub format: Value,
    /// The answers that were given, by response id.
    pub answers: Vec<(String, Answer)>,
}

impl Record {
    /// Some of the caller's audio has come.
    pub fn hears(&mut self, now: Instant, samples: &[i16]) {
        self.samples += samples.len() as u64;
        self.audio_at.push((now, self.samples));
        self.audio.extend_from_slice(samples);
    }

    /// The client's events of one type.
    pub fn told(&self, kind: &str) -> Vec<Value> {
        self.told.iter().filter(|(_, event)| event["type"] == kind).map(|(_, event)| event.clone()).collect()
    }

    /// What was said of one type.
    pub fn said(&self, kind: &str) -> Vec<(Instant, Value)> {
        self.said.iter().filter(|(_, event)| event["type"] == kind).cloned().collect()
    }

    /// The types of the client's events.
    pub fn told_kinds(&self) -> Vec<String> {
        self.told.iter().map(|(_, event)| event["type"].as_str().unwrap_or("?").to_owned()).collect()
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Caller,
    Spoken,
    Written,
    Call,
    Other,
}

#[derive(Debug)]
struct Item {
    id: String,
    kind: Kind,
    text: String,
    /// Bytes of audio sent of it.
    bytes: usize,
    call_id: String,
}

/// A response in progress.
#[derive(Debug)]
struct Responding {
    id: String,
    item: Option<String>,
    answer: Answer,
    spoken: bool,
    /// Coded audio, and how much of it was sent.
    bytes: Vec<u8>,
    sent: usize,
    /// Text in pieces, and how many were sent.
    pieces: Vec<String>,
    told: usize,
    next: Option<Instant>,
    begun: bool,
    cancelled: bool,
    /// Items as `response.done` lists them.
    output: Vec<Value>,
}

#[derive(Debug)]
enum Due {
    Confirm(Value),
    Trouble(What),
    Late { response: String, item: String },
    Ended { reason: &'static str },
    Idle { generation: u64 },
    TurnComplete,
}

/// One session.
pub struct Session {
    script: Arc<Script>,
    connection: usize,
    record: Arc<Mutex<Record>>,
    out: VecDeque<Out>,
    due: Vec<(Instant, Due)>,
    troubles: Vec<Trouble>,
    id: String,
    ids: u64,
    config: Value,
    input: Coding,
    output: Coding,
    items: Vec<Item>,
    /// Approvals of tools that it waits for.
    approvals: Vec<String>,
    active: Option<Responding>,
    responses: usize,
    voiced: bool,
    ear: Ear,
    /// Samples since the last commit, and of the session.
    uncommitted: u64,
    received: u64,
    said_bytes: usize,
    /// The item of a turn that has begun.
    turn: Option<String>,
    turns: usize,
    idle: u64,
    over: bool,
    /// What the caller has said so far in this turn, for a service that repeats it.
    words: String,
    gemini: gemini::Gemini,
}

impl Script {
    /// Whether the upgrade succeeds; the HTTP status where not.
    pub fn admit(&self, uri: &str, headers: &[(String, String)]) -> Result<(), u16> {
        if let Some(hosted) = &self.hosted {
            return hosted.admit(uri, headers);
        }
        let (path, _) = uri.split_once('?').unwrap_or((uri, ""));
        if !path.ends_with(self.dialect.path()) {
            return Err(404);
        }
        if !self.has_key(uri, headers) && self.wrong_key == WrongKey::Status {
            return Err(401);
        }
        let wrong = |name: &&&str| match (query(uri, name), **name) {
            (Some(model), "model") => model != self.model,
            (value, _) => value.is_none(),
        };
        if self.dialect.queries().iter().any(|name| wrong(&name)) {
            return Err(400);
        }
        Ok(())
    }

    fn has_key(&self, uri: &str, headers: &[(String, String)]) -> bool {
        let header = |name: &str| headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str());
        match &self.auth {
            Auth::Bearer(key) => header("authorization") == Some(&format!("Bearer {key}")),
            Auth::Basic(key) => header("authorization") == Some(&format!("Basic {key}")),
            Auth::ApiKey(key) => header("api-key") == Some(key),
            Auth::GoogleKey(key) => header("x-goog-api-key") == Some(key) && query(uri, "key").is_none(),
        }
    }
}

fn query(uri: &str, name: &str) -> Option<String> {
    let url = url::Url::parse(&format!("ws://server{uri}")).ok()?;
    url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}

impl Session {
    /// The session of a connection that was let in.
    pub fn open(script: Arc<Script>, opening: &Opening, record: Arc<Mutex<Record>>) -> Self {
        let mine = |trouble: &&Trouble| trouble.connection.is_none_or(|index| index == opening.connection);
        let mut session = Self {
            connection: opening.connection,
            record,
            out: VecDeque::new(),
            due: Vec::new(),
            troubles: script.troubles.iter().filter(mine).cloned().collect(),
            id: format!("sess_{}", opening.connection),
            ids: 0,
            config: json!({
                "type": "realtime", "object": "realtime.session", "model": script.model, "output_modalities": ["audio"],
                "instructions": "", "max_output_tokens": "inf", "tools": [], "tool_choice": "auto",
                "audio": {
                    "input": {
                        "format": {"type": "audio/pcm", "rate": 24_000}, "noise_reduction": null,
                        "transcription": null,
                        "turn_detection": {"type": "server_vad", "threshold": 0.5, "prefix_padding_ms": PREFIX_MS,
                            "silence_duration_ms": SILENCE_MS, "create_response": true, "interrupt_response": true},
                    },
                    "output": {"format": {"type": "audio/pcm", "rate": 24_000}, "voice": "alloy", "speed": 1.0},
                },
            }),
            input: Coding::Pcm24k,
            output: Coding::Pcm24k,
            items: Vec::new(),
            approvals: Vec::new(),
            active: None,
            responses: 0,
            voiced: false,
            ear: Ear::new(24_000, 0.5, SILENCE_MS),
            uncommitted: 0,
            received: 0,
            said_bytes: 0,
            turn: None,
            turns: 0,
            idle: 0,
            over: false,
            words: String::new(),
            gemini: gemini::Gemini::default(),
            script,
        };
        session.config["id"] = json!(session.id);
        if opening.headers.iter().any(|(name, _)| name == "openai-beta") {
            let message = "The Realtime Beta API is no longer supported. Please use /v1/realtime for the GA API.";
            session.fatal(opening.now, "beta_api_shape_disabled", message, 4_000);
        } else if !session.script.has_key(&opening.uri, &opening.headers) {
            session.fatal(opening.now, "invalid_api_key", "Incorrect API key provided.", 3_000);
        } else {
            let mut described = session.config.clone();
            if let Some(after) = session.script.expires_after {
                described["expires_at"] = json!(opening.unix_seconds + after.as_secs());
            }
            session.happens(opening.now, |when| when == When::Opened);
            if !session.over {
                session.say(opening.now, json!({"type": "session.created", "session": described}));
                if session.script.dialect == Dialect::Xai {
                    let conversation = json!({"id": "conv_1", "object": "realtime.conversation"});
                    session.say(opening.now, json!({"type": "conversation.created", "conversation": conversation}));
                    session.say(opening.now, json!({"type": "ping", "timestamp": 1}));
                }
            }
            let timed = session.troubles.extract_if(.., |trouble| matches!(trouble.when, When::After(_)));
            for trouble in timed {
                if let When::After(after) = trouble.when {
                    session.due.push((opening.now + after, Due::Trouble(trouble.what)));
                }
            }
        }
        session
    }

    /// What is to be done next.
    pub fn poll(&mut self) -> Option<Out> {
        self.out.pop_front()
    }

    /// When [`tick`](Self::tick) is wanted.
    pub fn deadline(&self) -> Option<Instant> {
        if self.over {
            return None;
        }
        let speaking = self.active.as_ref().filter(|active| !active.cancelled).and_then(|active| active.next);
        self.due.iter().map(|(at, _)| *at).chain(speaking).min()
    }

    /// A text message of the client's.
    pub fn take(&mut self, now: Instant, text: &str) {
        if self.over {
            return;
        }
        if self.script.dialect == Dialect::Gemini {
            return self.take_gemini(now, text);
        }
        let mut event: Value = match serde_json::from_str(text) {
            Ok(event) => event,
            Err(error) => {
                let complaint = Complaint::plain("invalid_json", format!("We could not parse the JSON: {error}"));
                return self.complain(now, complaint, &Value::Null);
            }
        };
        let id = event.get("event_id").cloned().unwrap_or(Value::Null);
        let is_audio = event["type"] == "input_audio_buffer.append";
        if !is_audio {
            self.record.lock().told.push((now, event.clone()));
        }
        let dialect = self.script.dialect;
        let done =
            dialect.check(&event).and_then(|()| self.names_the_model(&event)).map(|()| event = dialect.as_ga(&event));
        let done =
            done.and_then(|()| if self.script.by_hand { self.note(now, &event) } else { self.obey(now, &event) });
        match done {
            Ok(()) => {}
            Err(complaint) if self.script.by_hand => self.record.lock().complaints.push(complaint),
            Err(complaint) => self.complain(now, complaint, &id),
        }
        self.tick(now);
    }

    /// A binary message of the client's: there are none.
    pub fn take_binary(&mut self, now: Instant) {
        self.complain(now, Complaint::plain("invalid_value", "Binary messages are not supported."), &Value::Null);
    }

    /// What a test wants.
    pub fn order(&mut self, now: Instant, order: Order) {
        if self.over {
            return;
        }
        match order {
            Order::Trouble(what) => self.trouble(now, what),
            Order::Respond(answer) if self.active.is_none() => self.respond(now, answer, None, Value::Null),
            Order::Respond(_) => {}
            Order::Event(event) => {
                let item = &event["item"];
                if event["type"] == "response.output_item.done" && item["type"] == "mcp_approval_request" {
                    self.approvals.extend(item["id"].as_str().map(str::to_owned));
                }
                self.say(now, event);
            }
        }
        self.tick(now);
    }

    /// Does what is due.
    pub fn tick(&mut self, now: Instant) {
        loop {
            let next = self.due.iter().enumerate().filter(|(_, (at, _))| *at <= now).min_by_key(|(_, (at, _))| *at);
            let Some(index) = next.map(|(index, _)| index).filter(|_| !self.over) else { break };
            let (_, due) = self.due.remove(index);
            self.fall_due(now, due);
        }
        while !self.over
            && self.active.as_ref().is_some_and(|active| !active.cancelled && active.next.is_some_and(|at| at <= now))
        {
            self.speak(now);
        }
    }

    /// Whether a response is in progress.
    pub fn is_responding(&self) -> bool {
        self.active.is_some()
    }

    /// Whether it has ended the session.
    pub fn is_over(&self) -> bool {
        self.over
    }

    fn fall_due(&mut self, now: Instant, due: Due) {
        match due {
            Due::Confirm(session) => {
                self.say(now, json!({"type": "session.updated", "session": session}));
                self.happens(now, |when| when == When::Configured);
            }
            Due::Trouble(what) => self.trouble(now, what),
            Due::Late { response, item } => self.late_delta(now, &response, &item),
            Due::Ended { reason } => self.end_cancelled(now, reason),
            Due::Idle { generation } if generation == self.idle && self.active.is_none() && self.turn.is_none() => {
                let item = self.new_id("item");
                let end = self.ms(self.received);
                let event = json!({"type": "input_audio_buffer.timeout_triggered", "audio_start_ms": end,
                    "audio_end_ms": end, "item_id": item});
                self.say(now, event);
                self.turn = Some(item);
                self.commit(now, true);
            }
            Due::Idle { .. } => {}
            Due::TurnComplete => self.turn_complete(now, None),
        }
    }

    fn new_id(&mut self, kind: &str) -> String {
        self.ids += 1;
        format!("{kind}_{}_{}", self.connection, self.ids)
    }

    fn ms(&self, samples: u64) -> u64 {
        samples * 1_000 / u64::from(self.input.rate())
    }

    fn say(&mut self, now: Instant, mut event: Value) {
        if self.over {
            return;
        }
        if self.script.dialect == Dialect::Gemini {
            return self.say_gemini(now, &event);
        }
        if event.get("event_id").is_none() {
            let id = self.new_id("event");
            event["event_id"] = json!(id);
        }
        let Some(text) = self.script.dialect.own(&event, &mut self.words).map(|own| own.to_string()) else { return };
        if event["type"] == "response.output_audio.delta" {
            let bytes = event["delta"].as_str().map_or(0, |delta| delta.len() / 4 * 3);
            event["delta"] = Value::Null;
            event["delta_ms"] = json!(self.output.ms(bytes));
        }
        if self.script.keep_audio || event["type"] != "response.output_audio.delta" {
            self.record.lock().said.push((now, event));
        }
        self.out.push_back(Out::Text(text));
    }

    fn error(&mut self, now: Instant, kind: &str, code: &str, message: &str) {
        let error = json!({"type": kind, "code": code, "message": message, "param": null, "event_id": null});
        self.say(now, json!({"type": "error", "error": error}));
    }

    fn complain(&mut self, now: Instant, complaint: Complaint, event_id: &Value) {
        let error = json!({"type": "invalid_request_error", "code": complaint.code, "message": complaint.message,
            "param": complaint.param, "event_id": event_id});
        self.record.lock().complaints.push(complaint);
        self.say(now, json!({"type": "error", "error": error}));
    }

    fn fatal(&mut self, now: Instant, code: &str, message: &str, close: u16) {
        self.error(now, "invalid_request_error", code, message);
        self.out.push_back(Out::Close(close, format!("invalid_request_error.{code}")));
        self.over = true;
    }

    /// The troubles of this moment.
    fn happens(&mut self, now: Instant, is_now: impl Fn(When) -> bool) {
        let troubles: Vec<_> = self.troubles.extract_if(.., |trouble| is_now(trouble.when)).collect();
        for trouble in troubles {
            self.trouble(now, trouble.what);
        }
    }

    fn trouble(&mut self, now: Instant, what: What) {
        if self.over {
            return;
        }
        match what {
            What::Error(kind, code) => self.error(now, kind, code, "The test wants it so."),
            What::GoAway(seconds) => self.go_away(now, seconds),
            What::Text(text) => self.out.push_back(Out::Text(text)),
            What::Binary(bytes) => self.out.push_back(Out::Binary(bytes)),
            What::Close(code, reason) => self.out.push_back(Out::Close(code, reason.to_owned())),
            What::Drop => self.out.push_back(Out::Drop),
            What::Freeze => self.out.push_back(Out::Freeze),
            What::Stall(time) => self.out.push_back(Out::Stall(time)),
        }
        self.over |= self.out.back().is_some_and(|out| matches!(out, Out::Close(..) | Out::Drop | Out::Freeze));
    }

    /// Takes note of what the session is and of the caller's audio, and answers nothing.
    fn note(&mut self, now: Instant, event: &Value) -> Result<(), Complaint> {
        match event["type"].as_str() {
            Some("session.update") => self.configure(now, &event["session"]),
            Some("input_audio_buffer.append") => self.append(now, event["audio"].as_str().unwrap_or_default()),
            Some("input_audio_buffer.clear") => {
                self.uncommitted = 0;
                Ok(())
            }
            Some("input_audio_buffer.commit") => {
                self.note_turn();
                Ok(())
            }
            Some("conversation.item.create") => self.decide(&event["item"]),
            _ => Ok(()),
        }
    }

    /// A decision on a tool is about one that waits for it.
    fn decide(&mut self, item: &Value) -> Result<(), Complaint> {
        if item["type"] != "mcp_approval_response" {
            return Ok(());
        }
        let id = item["approval_request_id"].as_str().unwrap_or_default();
        match self.approvals.iter().position(|waiting| waiting == id) {
            Some(at) => drop(self.approvals.remove(at)),
            None => {
                let message = format!("Approval request '{id}' not found in conversation.");
                return Err(Complaint::of("invalid_value", "item.approval_request_id", message));
            }
        }
        Ok(())
    }

    fn obey(&mut self, now: Instant, event: &Value) -> Result<(), Complaint> {
        let text = |name: &str| event[name].as_str().unwrap_or_default();
        match text("type") {
            "session.update" => self.configure(now, &event["session"]),
            "input_audio_buffer.append" => self.append(now, text("audio")),
            "input_audio_buffer.commit" => {
                if u128::from(self.ms(self.uncommitted)) < MIN_COMMIT.as_millis() {
                    let message = format!(
                        "Error committing input audio buffer: buffer too small. Expected at least 100ms of audio, but \
                         buffer only has {}ms of audio.",
                        self.ms(self.uncommitted)
                    );
                    return Err(Complaint::plain("input_audio_buffer_commit_empty", message));
                }
                self.commit(now, false);
                Ok(())
            }
            "input_audio_buffer.clear" => {
                self.uncommitted = 0;
                self.say(now, json!({"type": "input_audio_buffer.cleared"}));
                Ok(())
            }
            "conversation.item.create" => self.create(now, event),
            "conversation.item.delete" => {
                let at = self.position(text("item_id"), "item_delete_invalid_item_id")?;
                let item = self.items.remove(at);
                self.say(now, json!({"type": "conversation.item.deleted", "item_id": item.id}));
                Ok(())
            }
            "conversation.item.retrieve" => {
                let at = self.position(text("item_id"), "item_retrieve_invalid_item_id")?;
                let id = self.items[at].id.clone();
                self.say(now, json!({"type": "conversation.item.retrieved", "item": {"id": id, "type": "message"}}));
                Ok(())
            }
            "conversation.item.truncate" => self.truncate(now, event),
            "response.create" => {
                if self.active.is_some() {
                    let message = "Conversation already has an active response in progress.";
                    return Err(Complaint::plain("conversation_already_has_active_response", message));
                }
                let instructions = event["response"]["instructions"].as_str();
                let answer = self.ask(instructions);
                let metadata = event["response"]["metadata"].clone();
                self.respond(now, answer, event["response"]["output_modalities"][0].as_str(), metadata);
                Ok(())
            }
            "response.cancel" => {
                let wanted = event["response_id"].as_str();
                let active = self.active.as_ref().filter(|active| !active.cancelled);
                if active.is_none_or(|active| wanted.is_some_and(|id| id != active.id)) {
                    let message = "Cancellation failed: no active response found";
                    return Err(Complaint::plain("response_cancel_not_active", message));
                }
                self.cancel(now, "client_cancelled");
                Ok(())
            }
            other => {
                let message = format!("'{other}' is for WebRTC and SIP connections only.");
                Err(Complaint::of("invalid_value", "type", message))
            }
        }
    }

    /// Inworld is told the model in the session.
    fn names_the_model(&self, event: &Value) -> Result<(), Complaint> {
        let named = &event["session"]["model"];
        if self.script.dialect == Dialect::Inworld && !named.is_null() && *named != json!(self.script.model) {
            return Err(Complaint::of("model_not_found", "session.model", "There is no such model."));
        }
        Ok(())
    }

    fn configure(&mut self, now: Instant, update: &Value) -> Result<(), Complaint> {
        if update.get("model").is_some_and(|model| *model != self.config["model"]) {
            return Err(Complaint::of("invalid_value", "session.model", "The model cannot be changed."));
        }
        let voice = &update["audio"]["output"]["voice"];
        if self.voiced && !voice.is_null() && *voice != self.config["audio"]["output"]["voice"] {
            let message = "Cannot update a conversation's voice if assistant audio is present.";
            return Err(Complaint::of("cannot_update_voice", "session.audio.output.voice", message));
        }
        merge(&mut self.config, update);
        let audio = &self.config["audio"];
        self.input = Coding::of(&audio["input"]["format"]);
        self.output = Coding::of(&audio["output"]["format"]);
        self.record.lock().format = audio["input"]["format"].clone();
        let vad = &audio["input"]["turn_detection"];
        let silence = match vad["eagerness"].as_str() {
            // Meaning is beyond it: it waits as long as the model does at most, in tenths.
            Some("low") => 800,
            Some("medium" | "auto") => 400,
            Some("high") => 200,
            _ => vad["silence_duration_ms"].as_u64().unwrap_or(SILENCE_MS),
        };
        self.ear = Ear::new(self.input.rate(), vad["threshold"].as_f64().unwrap_or(0.5), silence);
        let session = self.config.clone();
        if !self.script.by_hand {
            self.due.push((now + self.script.confirm_after, Due::Confirm(session)));
        }
        Ok(())
    }

    fn append(&mut self, now: Instant, base64: &str) -> Result<(), Complaint> {
        if base64.len() > MAX_APPEND {
            return Err(Complaint::of("invalid_value", "audio", "The audio is longer than 15 MiB."));
        }
        let invalid = |_| Complaint::of("invalid_value", "audio", "Invalid 'audio': not base64.");
        let bytes = STANDARD.decode(base64).map_err(invalid)?;
        let samples = self.input.decode(&bytes);
        let samples = samples.ok_or_else(|| Complaint::of("invalid_value", "audio", "Half a sample of audio."))?;
        self.received += samples.len() as u64;
        self.uncommitted += samples.len() as u64;
        {
            let mut record = self.record.lock();
            if self.script.keep_audio {
                record.hears(now, &samples);
            } else {
                record.samples += samples.len() as u64;
            }
        }
        if !self.turn_detection().is_null() && !self.script.by_hand {
            for heard in self.ear.listen(&samples) {
                self.hear(now, heard);
            }
        }
        let heard = Duration::from_millis(self.ms(self.received));
        self.happens(now, |when| matches!(when, When::Heard(after) if heard >= after));
        Ok(())
    }

    fn turn_detection(&self) -> &Value {
        &self.config["audio"]["input"]["turn_detection"]
    }

    fn hear(&mut self, now: Instant, heard: Heard) {
        match heard {
            Heard::Started(at) => {
                self.idle += 1;
                let item = self.new_id("item");
                let prefix = self.turn_detection()["prefix_padding_ms"].as_u64().unwrap_or(PREFIX_MS);
                let start = self.ms(at).saturating_sub(prefix);
                self.say(
                    now,
                    json!({"type": "input_audio_buffer.speech_started", "audio_start_ms": start, "item_id": item}),
                );
                self.turn = Some(item);
                if self.turn_detection()["interrupt_response"] != json!(false) {
                    self.cancel(now, "turn_detected");
                }
            }
            Heard::Stopped(at) => {
                let item = self.turn.clone().unwrap_or_default();
                let end = self.ms(at);
                let event = json!({"type": "input_audio_buffer.speech_stopped", "audio_end_ms": end, "item_id": item});
                self.say(now, event);
                self.commit(now, true);
            }
        }
    }

    fn note_turn(&mut self) {
        let audio = self.ms(self.uncommitted);
        self.uncommitted = 0;
        self.record.lock().turns_ms.push(audio);
    }

    /// The caller's turn is over; `found`: the service has found that by itself.
    fn commit(&mut self, now: Instant, found: bool) {
        self.note_turn();
        self.idle += 1;
        let id = match self.turn.take() {
            Some(id) => id,
            None => self.new_id("item"),
        };
        let previous = self.items.last().map(|item| item.id.clone());
        let event = json!({"type": "input_audio_buffer.committed", "item_id": id, "previous_item_id": previous});
        self.say(now, event);
        let content = json!([{"type": "input_audio", "transcript": null}]);
        let described = json!({"id": id, "object": "realtime.item", "type": "message", "status": "completed",
            "role": "user", "content": content});
        let script = Arc::clone(&self.script);
        let words = script.caller.get(self.turns).or(script.caller.last()).cloned().flatten();
        self.turns += 1;
        let text = words.clone().unwrap_or_default();
        self.place(now, Item { id: id.clone(), kind: Kind::Caller, text, bytes: 0, call_id: String::new() }, described);
        if !self.config["audio"]["input"]["transcription"].is_null() {
            self.transcribe(now, &id, words);
        }
        if found && self.turn_detection()["create_response"] != json!(false) {
            if self.active.is_some() {
                let message = "Conversation already has an active response in progress.";
                self.error(now, "invalid_request_error", "conversation_already_has_active_response", message);
            } else {
                let answer = self.ask(None);
                self.respond(now, answer, None, Value::Null);
            }
        }
    }

    fn transcribe(&mut self, now: Instant, item: &str, words: Option<String>) {
        let kind = "conversation.item.input_audio_transcription";
        let Some(words) = words else {
            let error = json!({"type": "transcription_error", "code": "audio_unintelligible",
                "message": "The audio could not be transcribed.", "param": null});
            let event = json!({"type": format!("{kind}.failed"), "item_id": item, "content_index": 0, "error": error});
            return self.say(now, event);
        };
        for piece in pieces(&words) {
            let event = json!({"type": format!("{kind}.delta"), "item_id": item, "content_index": 0, "delta": piece});
            self.say(now, event);
        }
        let event = json!({"type": format!("{kind}.completed"), "item_id": item, "content_index": 0,
            "transcript": words, "usage": {"type": "duration", "seconds": 1}});
        self.say(now, event);
    }

    /// Puts an item at the end of the conversation, whole.
    fn place(&mut self, now: Instant, item: Item, described: Value) {
        let previous = self.items.last().map(|item| item.id.clone());
        self.items.push(item);
        for kind in ["conversation.item.added", "conversation.item.done"] {
            self.say(now, json!({"type": kind, "previous_item_id": previous, "item": described}));
        }
    }

    fn position(&self, id: &str, code: &'static str) -> Result<usize, Complaint> {
        self.items.iter().position(|item| item.id == id).ok_or_else(|| {
            let message = format!("Item with item_id '{id}' does not exist in the conversation.");
            Complaint::of(code, "item_id", message)
        })
    }

    fn create(&mut self, now: Instant, event: &Value) -> Result<(), Complaint> {
        let item = &event["item"];
        let text = |name: &str| item[name].as_str().unwrap_or_default().to_owned();
        let at = match event["previous_item_id"].as_str() {
            None => self.items.len(),
            Some("root") => 0,
            Some(id) => {
                let missing = |complaint: Complaint| Complaint { param: Some("previous_item_id".into()), ..complaint };
                self.position(id, "invalid_value").map_err(missing)? + 1
            }
        };
        let id = match item["id"].as_str() {
            Some(id) if self.items.iter().any(|item| item.id == id) => {
                let message = format!("Item with item_id '{id}' already exists.");
                return Err(Complaint::of("item_create_duplicate_item_id", "item.id", message));
            }
            Some(id) => id.to_owned(),
            None => self.new_id("item"),
        };
        let (kind, words) = match item["type"].as_str() {
            Some("function_call_output") => {
                let call_id = text("call_id");
                if !self.items.iter().any(|item| item.kind == Kind::Call && item.call_id == call_id) {
                    let message = format!("Tool call ID '{call_id}' not found in conversation.");
                    return Err(Complaint::of("invalid_tool_call_id", "item.call_id", message));
                }
                (Kind::Other, text("output"))
            }
            Some("function_call") => (Kind::Call, text("arguments")),
            _ => {
                let parts = item["content"].as_array().into_iter().flatten();
                let words: Vec<_> = parts.filter_map(|part| part["text"].as_str()).collect();
                (if item["role"] == "assistant" { Kind::Written } else { Kind::Other }, words.join(" "))
            }
        };
        let previous = at.checked_sub(1).map(|at| self.items[at].id.clone());
        let placed = Item { id: id.clone(), kind, text: words, bytes: 0, call_id: text("call_id") };
        self.items.insert(at, placed);
        let mut described = item.clone();
        described["id"] = json!(id);
        described["status"] = json!("completed");
        for kind in ["conversation.item.added", "conversation.item.done"] {
            self.say(now, json!({"type": kind, "previous_item_id": previous, "item": described}));
        }
        Ok(())
    }

    fn truncate(&mut self, now: Instant, event: &Value) -> Result<(), Complaint> {
        let id = event["item_id"].as_str().unwrap_or_default();
        let at = self.position(id, "item_truncate_invalid_item_id")?;
        if self.items[at].kind != Kind::Spoken {
            let message = "Only model output audio messages can be truncated.";
            return Err(Complaint::of("invalid_value", "item_id", message));
        }
        if event["content_index"] != json!(0) {
            let message = "The item has no such content.";
            return Err(Complaint::of("invalid_value", "content_index", message));
        }
        let end = event["audio_end_ms"].as_u64().unwrap_or_default();
        let length = self.output.ms(self.items[at].bytes);
        if end > length {
            let message = format!("Audio content of {length}ms is already shorter than {end}ms");
            return Err(Complaint::of("invalid_value", "audio_end_ms", message));
        }
        self.items[at].bytes = self.output.bytes(end);
        self.items[at].text.clear();
        let event = json!({"type": "conversation.item.truncated", "item_id": id, "content_index": 0,
            "audio_end_ms": end});
        self.say(now, event);
        Ok(())
    }

    fn ask(&self, instructions: Option<&str>) -> Answer {
        let last = self.items.last().map_or("", |item| item.text.as_str());
        self.script.answers.to(&Asked { connection: self.connection, response: self.responses, instructions, last })
    }

    fn respond(&mut self, now: Instant, answer: Answer, modality: Option<&str>, metadata: Value) {
        let id = self.new_id("resp");
        self.responses += 1;
        self.idle += 1;
        self.record.lock().answers.push((id.clone(), answer.clone()));
        let modality = modality.or(self.config["output_modalities"][0].as_str());
        let spoken = modality == Some("audio");
        let bytes = match &answer.voice {
            Some(voice) if spoken => self.output.encode(&voice.samples(self.output.rate())),
            _ => Vec::new(),
        };
        let described = json!({"id": id, "object": "realtime.response", "status": "in_progress", "output": [],
            "metadata": metadata});
        self.say(now, json!({"type": "response.created", "response": described}));
        if self.script.rate_limits {
            self.say(
                now,
                json!({"type": "rate_limits.updated", "rate_limits": [
                    {"name": "requests", "limit": 1_000, "remaining": 999, "reset_seconds": 0.06},
                    {"name": "tokens", "limit": 50_000, "remaining": 49_950, "reset_seconds": 0.06}]}),
            );
        }
        self.active = Some(Responding {
            id,
            item: None,
            next: Some(now + answer.thinking),
            spoken,
            bytes,
            sent: 0,
            pieces: pieces(&answer.text),
            told: 0,
            begun: false,
            cancelled: false,
            output: Vec::new(),
            answer,
        });
    }

    /// The next piece of the response that is due: its beginning, a delta, or its end.
    fn speak(&mut self, now: Instant) {
        let Some(active) = &mut self.active else { return };
        let is_message = if active.spoken { !active.bytes.is_empty() } else { !active.pieces.is_empty() };
        if is_message && !active.begun {
            active.begun = true;
            return self.begin_message(now);
        }
        let chunk = self.output.bytes(u64::from(active.answer.chunk_ms));
        let more = if active.spoken { active.sent < active.bytes.len() } else { active.told < active.pieces.len() };
        if !more {
            if active.answer.ending == Ending::Never {
                active.next = None;
                return;
            }
            return self.finish(now);
        }
        if let Pace::Times(times) = active.answer.pace {
            let wait = Duration::from_secs_f64(f64::from(active.answer.chunk_ms) / 1_000.0 / times);
            active.next = active.next.map(|at| at + wait);
        }
        if active.spoken {
            let (id, item) = (active.id.clone(), active.item.clone().unwrap_or_default());
            let end = (active.sent + chunk).min(active.bytes.len());
            // The words go with the sound.
            let told = active.pieces.len() * end / active.bytes.len();
            let words = active.pieces[active.told..told].concat();
            active.told = told;
            if !words.is_empty() {
                let event = json!({"type": "response.output_audio_transcript.delta", "response_id": id,
                    "item_id": item, "output_index": 0, "content_index": 0, "delta": words});
                self.say(now, event);
            }
            self.audio_delta(now, chunk);
        } else {
            let piece = active.pieces[active.told].clone();
            active.told += 1;
            let event = json!({"type": "response.output_text.delta", "response_id": active.id, "item_id": active.item,
                "output_index": 0, "content_index": 0, "delta": piece});
            self.say(now, event);
        }
    }

    fn begin_message(&mut self, now: Instant) {
        let item = self.new_id("item");
        let Some(active) = &mut self.active else { return };
        active.item = Some(item.clone());
        let (id, spoken, text) = (active.id.clone(), active.spoken, active.answer.text.clone());
        let described = json!({"id": item, "object": "realtime.item", "type": "message", "status": "in_progress",
            "role": "assistant", "content": []});
        let previous = self.items.last().map(|item| item.id.clone());
        let kind = if spoken { Kind::Spoken } else { Kind::Written };
        self.items.push(Item { id: item.clone(), kind, text, bytes: 0, call_id: String::new() });
        let event = json!({"type": "response.output_item.added", "response_id": id, "output_index": 0,
            "item": described});
        self.say(now, event);
        self.say(now, json!({"type": "conversation.item.added", "previous_item_id": previous, "item": described}));
        let part =
            if spoken { json!({"type": "audio", "transcript": ""}) } else { json!({"type": "text", "text": ""}) };
        let event = json!({"type": "response.content_part.added", "response_id": id, "item_id": item,
            "output_index": 0, "content_index": 0, "part": part});
        self.say(now, event);
    }

    /// Sends the next `chunk` bytes of audio of the response in progress.
    fn audio_delta(&mut self, now: Instant, chunk: usize) {
        let Some(active) = &mut self.active else { return };
        let end = (active.sent + chunk).min(active.bytes.len());
        let bytes = &active.bytes[active.sent..end];
        let length = bytes.len();
        let delta = STANDARD.encode(bytes);
        active.sent = end;
        let event = json!({"type": "response.output_audio.delta", "response_id": active.id, "item_id": active.item,
            "output_index": 0, "content_index": 0, "delta": delta});
        let id = active.item.clone();
        if let Some(item) = self.items.iter_mut().find(|item| Some(&item.id) == id.as_ref()) {
            item.bytes += length;
        }
        self.voiced = true;
        self.said_bytes += length;
        self.say(now, event);
        let said = Duration::from_millis(self.output.ms(self.said_bytes));
        self.happens(now, |when| matches!(when, When::Said(after) if said >= after));
    }

    /// A delta of a response that was cancelled, whether it still stands or not.
    fn late_delta(&mut self, now: Instant, response: &str, item: &str) {
        let length = self.output.bytes(100);
        let delta = STANDARD.encode(vec![0x55; length]);
        if let Some(item) = self.items.iter_mut().find(|known| known.id == item) {
            item.bytes += length;
        }
        self.say(
            now,
            json!({"type": "response.output_audio.delta", "response_id": response, "item_id": item, "output_index": 0,
                "content_index": 0, "delta": delta}),
        );
    }

    fn cancel(&mut self, now: Instant, reason: &'static str) {
        let Some(active) = self.active.as_mut().filter(|active| !active.cancelled) else { return };
        active.cancelled = true;
        let (late, spoken) = (active.answer.late, active.spoken);
        if let Some(item) = active.item.clone().filter(|_| spoken) {
            for n in 1..=late {
                let due = Due::Late { response: active.id.clone(), item: item.clone() };
                self.due.push((now + LATE * n, due));
            }
        }
        if late == 0 {
            self.end_cancelled(now, reason);
        } else {
            self.due.push((now + LATE * (late / 2) + LATE / 2, Due::Ended { reason }));
        }
    }

    fn end_cancelled(&mut self, now: Instant, reason: &'static str) {
        let Some(mut active) = self.active.take() else { return };
        if active.begun {
            self.end_message(now, &mut active, "incomplete");
        }
        let details = json!({"type": "cancelled", "reason": reason});
        self.done(now, &active, "cancelled", &details);
    }

    fn finish(&mut self, now: Instant) {
        let Some(mut active) = self.active.take() else { return };
        let (status, details) = match &active.answer.ending {
            Ending::Completed | Ending::Never => ("completed", Value::Null),
            Ending::Incomplete(reason) => ("incomplete", json!({"type": "incomplete", "reason": reason})),
            Ending::Failed(code) => {
                let error = json!({"type": "server_error", "code": code, "message": "The model has failed."});
                ("failed", json!({"type": "failed", "error": error}))
            }
        };
        if active.begun {
            self.end_message(now, &mut active, if status == "completed" { "completed" } else { "incomplete" });
        }
        let calls = if status == "completed" { std::mem::take(&mut active.answer.calls) } else { Vec::new() };
        for call in calls {
            let (item, call_id) = (self.new_id("item"), self.new_id("call"));
            let index = active.output.len();
            let described = |status: &str, arguments: &str| {
                json!({"id": item, "object": "realtime.item", "type": "function_call", "status": status,
                    "call_id": call_id, "name": call.name, "arguments": arguments})
            };
            let previous = self.items.last().map(|item| item.id.clone());
            self.items.push(Item {
                id: item.clone(),
                kind: Kind::Call,
                text: call.arguments.clone(),
                bytes: 0,
                call_id: call_id.clone(),
            });
            let with = |mut event: Value| {
                event["response_id"] = json!(active.id);
                event["output_index"] = json!(index);
                event
            };
            let begun = described("in_progress", "");
            let whole = described("completed", &call.arguments);
            self.say(now, with(json!({"type": "response.output_item.added", "item": begun})));
            self.say(now, json!({"type": "conversation.item.added", "previous_item_id": previous, "item": begun}));
            for delta in pieces(&call.arguments) {
                let event = json!({"type": "response.function_call_arguments.delta", "item_id": item,
                    "call_id": call_id, "delta": delta});
                self.say(now, with(event));
            }
            let event = json!({"type": "response.function_call_arguments.done", "item_id": item, "call_id": call_id,
                "name": call.name, "arguments": call.arguments});
            self.say(now, with(event));
            self.say(now, with(json!({"type": "response.output_item.done", "item": whole})));
            self.say(now, json!({"type": "conversation.item.done", "previous_item_id": previous, "item": whole}));
            active.output.push(whole);
        }
        self.done(now, &active, status, &details);
        self.await_idleness(now, &active);
    }

    fn end_message(&mut self, now: Instant, active: &mut Responding, status: &str) {
        let (id, item) = (active.id.clone(), active.item.clone().unwrap_or_default());
        let text = active.pieces[..active.told].concat();
        let with = |kind: &str, mut event: Value| {
            event["type"] = json!(kind);
            event["response_id"] = json!(id);
            event["item_id"] = json!(item);
            event["output_index"] = json!(0);
            event["content_index"] = json!(0);
            event
        };
        let (part, content) = if active.spoken {
            self.say(now, with("response.output_audio.done", json!({})));
            self.say(now, with("response.output_audio_transcript.done", json!({"transcript": text})));
            let part = json!({"type": "audio", "transcript": text});
            (part, json!([{"type": "output_audio", "transcript": text}]))
        } else {
            self.say(now, with("response.output_text.done", json!({"text": text})));
            (json!({"type": "text", "text": text}), json!([{"type": "output_text", "text": text}]))
        };
        self.say(now, with("response.content_part.done", json!({"part": part})));
        let whole = json!({"id": item, "object": "realtime.item", "type": "message", "status": status,
            "role": "assistant", "content": content});
        let event = json!({"type": "response.output_item.done", "response_id": id, "output_index": 0, "item": whole});
        self.say(now, event);
        self.say(now, json!({"type": "conversation.item.done", "item": whole}));
        active.output.push(whole);
    }

    fn done(&mut self, now: Instant, active: &Responding, status: &str, details: &Value) {
        let response = json!({"id": active.id, "object": "realtime.response", "status": status,
            "status_details": details, "output": active.output,
            "usage": {"total_tokens": 10, "input_tokens": 5, "output_tokens": 5}});
        self.say(now, json!({"type": "response.done", "response": response}));
    }

    /// The idle timeout runs from the end of what the caller is taken to hear.
    fn await_idleness(&mut self, now: Instant, active: &Responding) {
        if let Some(timeout) = self.turn_detection()["idle_timeout_ms"].as_u64() {
            let length = Duration::from_millis(self.output.ms(active.bytes.len()) + timeout);
            self.idle += 1;
            self.due.push((now + length, Due::Idle { generation: self.idle }));
        }
    }
}

/// Only what is named changes; `null` clears. Formats, voices, tools and turn detections are replaced as a whole where their
/// kind changes.
fn merge(config: &mut Value, update: &Value) {
    let same_kind = config.get("type") == update.get("type");
    match (config.as_object_mut(), update.as_object()) {
        (Some(config), Some(update)) if same_kind => {
            for (name, value) in update {
                merge(config.entry(name).or_insert(Value::Null), value);
            }
        }
        _ => *config = update.clone(),
    }
}

/// A text in the pieces a model sends: a word each, with the space before it.
fn pieces(text: &str) -> Vec<String> {
    let mut pieces: Vec<String> = Vec::new();
    for (at, word) in text.split(' ').enumerate() {
        pieces.push(if at == 0 { word.to_owned() } else { format!(" {word}") });
    }
    pieces.retain(|piece| !piece.is_empty());
    pieces
}
