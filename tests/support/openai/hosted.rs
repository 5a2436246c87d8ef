//! A hosted agent, as ElevenLabs has them: the same kind of service as [`Session`](super::Session), with a protocol of its own.
//!
//! Written from the vendor's types, not from the module: `agent.asyncapi.yaml` of its packages, and of its Python SDK 2.78
//! `types/conversation_initiation_client_data_request_input.py` with the types in it, `types/client_event.py` and
//! `conversational_ai/conversation.py`. Whatever these refuse is a complaint, and ends the conversation with 1008 as there.
//!
//! It hears the caller by itself, interrupts itself while what it has sent would still be heard, corrects what it has said, answers turns,
//! results and messages, and pings.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::ear::{Ear, Heard};
use super::script::{Answer, Asked, Pace, Script, Trouble, What, When};
use super::session::{Far, Opening, Order, Out, Record};
use super::shape::{ANY, Complaint, Field, Shape, check_events, may, must};
use super::voice::Coding;

/// The key that signs URLs, the agent, and the signature.
pub const AGENT_KEY: &str = "sk_test";
pub const AGENT: &str = "agent_test";
pub const SIGNATURE: &str = "s1gned";
/// Silence that ends a turn.
const SILENCE_MS: u64 = 300;

/// What an agent's settings say.
#[derive(Clone, Debug)]
pub struct Hosted {
    /// It is called by a signed URL only.
    pub private: bool,
    /// How the caller's audio is coded, and the agent's.
    pub input: &'static str,
    pub output: &'static str,
    /// What it says first.
    pub greeting: Option<Answer>,
    /// It tells the end of its answers.
    pub tells_ends: bool,
    /// It says when each character is spoken.
    pub aligns: bool,
    /// It corrects what it has said after an interruption.
    pub corrects: bool,
}

impl Default for Hosted {
    /// A private agent on the telephone that waits for the caller.
    fn default() -> Self {
        Self {
            private: true,
            input: "ulaw_8000",
            output: "ulaw_8000",
            greeting: None,
            tells_ends: true,
            aligns: false,
            corrects: true,
        }
    }
}

impl Hosted {
    /// How the caller's audio is coded.
    pub fn input_coding(&self) -> Coding {
        coding(self.input)
    }

    /// Whether the upgrade succeeds; the HTTP status where not.
    pub(super) fn admit(&self, uri: &str, headers: &[(String, String)]) -> Result<(), u16> {
        let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
        let given = |wanted: String| query.split('&').any(|pair| pair == wanted);
        if path != "/v1/convai/conversation" {
            return Err(404);
        }
        // The key is for the request that signs, and for nothing else.
        if headers.iter().any(|(name, value)| name == "xi-api-key" || value.contains(AGENT_KEY)) {
            return Err(400);
        }
        match (given(format!("agent_id={AGENT}")), self.private) {
            (false, _) => Err(404),
            (true, true) if !given(format!("conversation_signature={SIGNATURE}")) => Err(403),
            (true, _) => Ok(()),
        }
    }

    /// The answer to a request over HTTP: its status and its body. `server`: host and port.
    pub fn answer(&self, method: &str, uri: &str, key: Option<&str>, server: &str) -> (u16, String) {
        let error = |status: u16, message: &str| (status, json!({"detail": {"message": message}}).to_string());
        match (method, uri.split_once('?')) {
            ("GET", Some(("/v1/convai/conversation/get-signed-url", query))) => {
                if key != Some(AGENT_KEY) {
                    return error(401, "Invalid API key");
                }
                if query != format!("agent_id={AGENT}") {
                    return error(404, "There is no such agent.");
                }
                let path = format!("v1/convai/conversation?agent_id={AGENT}&conversation_signature={SIGNATURE}");
                (200, json!({"signed_url": format!("ws://{server}/{path}")}).to_string())
            }
            _ => error(404, "Not found"),
        }
    }
}

fn coding(format: &str) -> Coding {
    match format {
        "ulaw_8000" => Coding::Pcmu,
        "pcm_8000" => Coding::Pcm8k,
        "pcm_16000" => Coding::Pcm16k,
        "pcm_24000" => Coding::Pcm24k,
        other => panic!("{other} is not scripted"),
    }
}

const OVERRIDES: Shape = Shape::Object(&[
    may(
        "agent",
        Shape::Object(&[
            may("first_message", Shape::Text),
            may("language", Shape::Word(&["en", "de", "fr", "es", "it"])),
            may(
                "prompt",
                Shape::Object(&[
                    may("prompt", Shape::Text),
                    may("llm", Shape::Text),
                    may("reasoning_effort", Shape::Word(&["none", "minimal", "low", "medium", "high", "xhigh", "max"])),
                ]),
            ),
        ]),
    ),
    may("asr", Shape::Object(&[may("keywords", Shape::List(&Shape::Text))])),
    may(
        "tts",
        Shape::Object(&[
            may("voice_id", Shape::Text),
            may("stability", Shape::Number(0.0, 1.0)),
            may("speed", Shape::Number(0.7, 5.0)),
            may("similarity_boost", Shape::Number(0.0, 1.0)),
        ]),
    ),
    may(
        "conversation",
        Shape::Object(&[may("text_only", Shape::Flag), may("client_events", Shape::List(&Shape::Text))]),
    ),
]);

/// What a client may say, but audio, which has no type.
const EVENTS: &[(&str, &[Field])] = &[
    (
        "conversation_initiation_client_data",
        &[
            may("conversation_config_override", OVERRIDES),
            may("custom_llm_extra_body", Shape::AnyObject),
            may("dynamic_variables", Shape::AnyObject),
            may("user_id", Shape::Either(&[Shape::Null, Shape::Text])),
            may("source_info", Shape::Object(&[may("source", Shape::Text), may("version", Shape::Text)])),
        ],
    ),
    ("pong", &[must("event_id", Shape::Whole(0, ANY))]),
    ("user_message", &[may("text", Shape::Either(&[Shape::Null, Shape::Text])), may("rich_content_id", Shape::Text)]),
    ("user_activity", &[]),
    ("contextual_update", &[must("text", Shape::Text), may("context_id", Shape::Text)]),
    (
        "client_tool_result",
        &[must("tool_call_id", Shape::Text), must("result", Shape::Text), must("is_error", Shape::Flag)],
    ),
    ("mcp_tool_approval_result", &[must("tool_call_id", Shape::Text), must("is_approved", Shape::Flag)]),
];

/// Whether the vendor's types take a message.
pub fn check_message(message: &Value) -> Result<(), Complaint> {
    if message.get("type").is_some() {
        return check_events(message, EVENTS);
    }
    match message.as_object() {
        Some(fields) if fields.len() == 1 && message["user_audio_chunk"].is_string() => Ok(()),
        _ => Err(Complaint::plain("invalid_message", "a message without a type has user_audio_chunk and nothing else")),
    }
}

/// An answer in progress.
struct Speaking {
    answer: Answer,
    bytes: Vec<u8>,
    sent: usize,
    next: Instant,
    worded: bool,
}

enum Due {
    Trouble(What),
    Late(u64),
}

/// One conversation.
pub struct HostedSession {
    script: Arc<Script>,
    hosted: Hosted,
    connection: usize,
    record: Arc<Mutex<Record>>,
    out: VecDeque<Out>,
    due: Vec<(Instant, Due)>,
    troubles: Vec<Trouble>,
    begun: bool,
    over: bool,
    input: Coding,
    output: Coding,
    ear: Ear,
    event_id: u64,
    pings: Vec<u64>,
    calls: Vec<String>,
    responses: usize,
    turns: usize,
    last: String,
    speaking: Option<Speaking>,
    /// The words of the last answer, and from when to when it is heard.
    said: String,
    heard: (Instant, Instant),
    late: u32,
    received: u64,
    said_bytes: usize,
}

impl HostedSession {
    pub fn open(script: Arc<Script>, opening: &Opening, record: Arc<Mutex<Record>>) -> Self {
        let hosted = script.hosted.clone().unwrap_or_default();
        let mine = |trouble: &&Trouble| trouble.connection.is_none_or(|index| index == opening.connection);
        let (input, output) = (coding(hosted.input), coding(hosted.output));
        record.lock().format = json!(hosted.input);
        Self {
            connection: opening.connection,
            record,
            out: VecDeque::new(),
            due: Vec::new(),
            troubles: script.troubles.iter().filter(mine).cloned().collect(),
            begun: false,
            over: false,
            input,
            output,
            ear: Ear::new(input.rate(), 0.5, SILENCE_MS),
            event_id: 0,
            pings: Vec::new(),
            calls: Vec::new(),
            responses: 0,
            turns: 0,
            last: String::new(),
            speaking: None,
            said: String::new(),
            heard: (opening.now, opening.now),
            late: 0,
            received: 0,
            said_bytes: 0,
            hosted,
            script,
        }
    }

    fn next_id(&mut self) -> u64 {
        self.event_id += 1;
        self.event_id
    }

    fn say(&mut self, now: Instant, event: Value) {
        if self.over {
            return;
        }
        self.out.push_back(Out::Text(event.to_string()));
        let mut noted = event;
        if noted["type"] == "audio" {
            noted["audio_event"]["audio_base_64"] = Value::Null;
        }
        self.record.lock().said.push((now, noted));
    }

    fn complain(&mut self, now: Instant, complaint: Complaint) {
        let message = complaint.message.clone();
        self.record.lock().complaints.push(complaint);
        let error = json!({"code": 1008, "error_type": "invalid_message", "message": message});
        self.say(now, json!({"type": "error", "error_event": error}));
        self.close(1_008, "Invalid message");
    }

    fn close(&mut self, code: u16, reason: &str) {
        if !self.over {
            self.out.push_back(Out::Close(code, reason.to_owned()));
            self.over = true;
        }
    }

    fn trouble(&mut self, now: Instant, what: What) {
        if self.over {
            return;
        }
        match what {
            What::Error(kind, message) => {
                let error = json!({"code": 1002, "error_type": kind, "message": message});
                self.say(now, json!({"type": "error", "error_event": error}));
                self.close(1_002, message);
            }
            What::GoAway(_) => panic!("this service says no such thing"),
            What::Text(text) => self.out.push_back(Out::Text(text)),
            What::Binary(bytes) => self.out.push_back(Out::Binary(bytes)),
            What::Close(code, reason) => self.close(code, reason),
            What::Drop => self.out.push_back(Out::Drop),
            What::Freeze => self.out.push_back(Out::Freeze),
            What::Stall(time) => self.out.push_back(Out::Stall(time)),
        }
        self.over |= self.out.back().is_some_and(|out| matches!(out, Out::Close(..) | Out::Drop | Out::Freeze));
    }

    fn happens(&mut self, now: Instant, is_now: impl Fn(When) -> bool) {
        let troubles: Vec<_> = self.troubles.extract_if(.., |trouble| is_now(trouble.when)).collect();
        for trouble in troubles {
            self.trouble(now, trouble.what);
        }
    }

    fn obey(&mut self, now: Instant, message: &Value) -> Result<(), Complaint> {
        let wrong = |message: &str| Err(Complaint::plain("invalid_message", message));
        let text = |name: &str| message[name].as_str().unwrap_or_default().to_owned();
        let kind = text("type");
        if kind == "conversation_initiation_client_data" {
            if self.begun {
                return wrong("the conversation has begun already");
            }
            self.begin(now, message);
            return Ok(());
        }
        if !self.begun {
            return wrong("before the conversation has begun");
        }
        match kind.as_str() {
            "" => self.append(now, &text("user_audio_chunk"))?,
            "pong" => {
                let Some(at) = self.pings.iter().position(|id| message["event_id"] == json!(id)) else {
                    return wrong("a pong that answers no ping");
                };
                self.pings.remove(at);
            }
            "user_message" => {
                // What is being said is over with it.
                self.interrupt(now);
                self.last = text("text");
                self.respond(now);
            }
            "client_tool_result" => {
                let id = text("tool_call_id");
                let Some(at) = self.calls.iter().position(|call| *call == id) else {
                    return wrong("a result of no call");
                };
                self.calls.remove(at);
                self.last = text("result");
                if self.calls.is_empty() {
                    self.respond(now);
                }
            }
            "mcp_tool_approval_result" => return wrong("nothing is to be approved"),
            _ => {}
        }
        Ok(())
    }

    fn begin(&mut self, now: Instant, message: &Value) {
        self.begun = true;
        let metadata = json!({"conversation_id": format!("conv_{}", self.connection),
            "agent_output_audio_format": self.hosted.output, "user_input_audio_format": self.hosted.input});
        self.say(
            now,
            json!({"type": "conversation_initiation_metadata", "conversation_initiation_metadata_event": metadata}),
        );
        let id = self.next_id();
        self.pings.push(id);
        self.say(now, json!({"type": "ping", "ping_event": {"event_id": id, "ping_ms": null}}));
        self.happens(now, |when| when == When::Configured);
        let timed = self.troubles.extract_if(.., |trouble| matches!(trouble.when, When::After(_)));
        for trouble in timed {
            if let When::After(after) = trouble.when {
                self.due.push((now + after, Due::Trouble(trouble.what)));
            }
        }
        let first = message["conversation_config_override"]["agent"]["first_message"].as_str().map(str::to_owned);
        let greeting = match first {
            Some(words) if words.is_empty() => None,
            Some(text) => Some(Answer { text, ..self.hosted.greeting.clone().unwrap_or_default() }),
            None => self.hosted.greeting.clone(),
        };
        if let Some(greeting) = greeting {
            self.speak(now, greeting);
        }
    }

    fn append(&mut self, now: Instant, base64: &str) -> Result<(), Complaint> {
        let wrong = |message: &str| Complaint::of("invalid_message", "user_audio_chunk", message);
        let bytes = STANDARD.decode(base64).map_err(|_| wrong("not base64"))?;
        let samples = self.input.decode(&bytes).ok_or_else(|| wrong("half a sample"))?;
        self.received += samples.len() as u64;
        {
            let mut record = self.record.lock();
            record.samples += samples.len() as u64;
            if self.script.keep_audio {
                record.audio.extend_from_slice(&samples);
            }
        }
        for heard in self.ear.listen(&samples) {
            match heard {
                Heard::Started(_) => self.interrupt(now),
                Heard::Stopped(_) => self.turn_over(now),
            }
        }
        let heard = Duration::from_millis(self.received * 1_000 / u64::from(self.input.rate()));
        self.happens(now, |when| matches!(when, When::Heard(after) if heard >= after));
        Ok(())
    }

    fn turn_over(&mut self, now: Instant) {
        let script = Arc::clone(&self.script);
        let words = script.caller.get(self.turns).or(script.caller.last()).cloned().flatten();
        self.turns += 1;
        let words = words.unwrap_or_else(|| "...".to_owned());
        let id = self.next_id();
        let event = json!({"user_transcript": words, "event_id": id});
        self.say(now, json!({"type": "user_transcript", "user_transcription_event": event}));
        self.last = words;
        self.respond(now);
    }

    /// The caller speaks: what is being said, or would still be heard, is over.
    fn interrupt(&mut self, now: Instant) {
        if self.speaking.is_none() && now >= self.heard.1 {
            return;
        }
        let speaking = self.speaking.take();
        let id = self.next_id();
        self.say(now, json!({"type": "interruption", "interruption_event": {"event_id": id}}));
        let (begun, ends) = self.heard;
        if self.hosted.corrects && ends > begun {
            let part = now.saturating_duration_since(begun).as_secs_f64() / (ends - begun).as_secs_f64();
            let words: Vec<_> = self.said.split(' ').collect();
            let heard = words[..((words.len() as f64 * part) as usize).min(words.len())].join(" ");
            let event = json!({"original_agent_response": self.said, "corrected_agent_response": format!("{heard}..."),
                "event_id": id});
            self.say(now, json!({"type": "agent_response_correction", "agent_response_correction_event": event}));
        }
        self.heard = (now, now);
        if let Some(late) = speaking.map_or(Some(self.late), |speaking| Some(speaking.answer.late)) {
            self.due.extend((1..=late).map(|n| (now + Duration::from_millis(10) * n, Due::Late(id))));
        }
    }

    fn respond(&mut self, now: Instant) {
        let asked =
            Asked { connection: self.connection, response: self.responses, instructions: None, last: &self.last };
        let answer = self.script.answers.to(&asked);
        self.responses += 1;
        self.speak(now, answer);
    }

    fn speak(&mut self, now: Instant, answer: Answer) {
        self.record.lock().answers.push((format!("{}", self.responses), answer.clone()));
        let voice = answer.voice.as_ref();
        let bytes = voice.map_or_else(Vec::new, |voice| self.output.encode(&voice.samples(self.output.rate())));
        self.late = answer.late;
        self.speaking = Some(Speaking { next: now + answer.thinking, bytes, sent: 0, worded: false, answer });
    }

    /// The next piece of what is being said.
    fn go_on(&mut self, now: Instant) {
        let Some(speaking) = &mut self.speaking else { return };
        if !speaking.worded && !speaking.bytes.is_empty() {
            speaking.worded = true;
            let text = speaking.answer.text.clone();
            let length = Duration::from_millis(self.output.ms(speaking.bytes.len()));
            self.said.clone_from(&text);
            self.heard = (now, now + length);
            let id = self.next_id();
            let event = json!({"agent_response": text, "event_id": id});
            return self.say(now, json!({"type": "agent_response", "agent_response_event": event}));
        }
        if speaking.sent >= speaking.bytes.len() {
            return self.finish(now);
        }
        let chunk = self.output.bytes(u64::from(speaking.answer.chunk_ms));
        let end = (speaking.sent + chunk).min(speaking.bytes.len());
        let audio = STANDARD.encode(&speaking.bytes[speaking.sent..end]);
        if let Pace::Times(times) = speaking.answer.pace {
            speaking.next += Duration::from_secs_f64(f64::from(speaking.answer.chunk_ms) / 1_000.0 / times);
        }
        let chars: Vec<String> = speaking.answer.text.chars().map(String::from).collect();
        let part = |at: usize| chars.len() * at / speaking.bytes.len();
        let spoken = &chars[part(speaking.sent)..part(end)];
        let each = self.output.ms(end - speaking.sent) / (spoken.len() as u64).max(1);
        let alignment = json!({"chars": spoken, "char_start_times_ms": (0..spoken.len() as u64).map(|at| at * each).collect::<Vec<_>>(),
            "char_durations_ms": vec![each; spoken.len()]});
        self.said_bytes += end - speaking.sent;
        speaking.sent = end;
        let id = self.next_id();
        let mut event = json!({"audio_base_64": audio, "event_id": id});
        if self.hosted.aligns {
            event["alignment"] = alignment;
        }
        self.say(now, json!({"type": "audio", "audio_event": event}));
        let said = Duration::from_millis(self.output.ms(self.said_bytes));
        self.happens(now, |when| matches!(when, When::Said(after) if said >= after));
    }

    fn finish(&mut self, now: Instant) {
        let Some(speaking) = self.speaking.take() else { return };
        if self.hosted.tells_ends && !speaking.bytes.is_empty() {
            self.say(now, json!({"type": "agent_response_complete"}));
        }
        for call in speaking.answer.calls {
            let id = self.next_id();
            let call_id = format!("call_{}_{id}", self.connection);
            self.calls.push(call_id.clone());
            let parameters: Value = serde_json::from_str(&call.arguments).unwrap();
            let event =
                json!({"tool_name": call.name, "tool_call_id": call_id, "parameters": parameters, "event_id": id});
            self.say(now, json!({"type": "client_tool_call", "client_tool_call": event}));
        }
    }
}

impl Far for HostedSession {
    fn poll(&mut self) -> Option<Out> {
        self.out.pop_front()
    }

    fn deadline(&self) -> Option<Instant> {
        if self.over {
            return None;
        }
        self.due.iter().map(|(at, _)| *at).chain(self.speaking.as_ref().map(|speaking| speaking.next)).min()
    }

    fn take(&mut self, now: Instant, text: &str) {
        if self.over {
            return;
        }
        let message: Value = match serde_json::from_str(text) {
            Ok(message) => message,
            Err(error) => return self.complain(now, Complaint::plain("invalid_message", error.to_string())),
        };
        if message.get("type").is_some() {
            self.record.lock().told.push((now, message.clone()));
        }
        if let Err(complaint) = check_message(&message).and_then(|()| self.obey(now, &message)) {
            self.complain(now, complaint);
        }
        self.tick(now);
    }

    fn take_binary(&mut self, now: Instant, _: &[u8]) {
        self.complain(now, Complaint::plain("invalid_message", "Binary messages are not supported."));
    }

    fn order(&mut self, now: Instant, order: Order) {
        if self.over {
            return;
        }
        match order {
            Order::Trouble(what) => self.trouble(now, what),
            Order::Respond(answer) if self.speaking.is_none() => self.speak(now, answer),
            Order::Respond(_) => {}
            Order::Event(event) => self.say(now, event),
        }
        self.tick(now);
    }

    fn tick(&mut self, now: Instant) {
        loop {
            let next = self.due.iter().enumerate().filter(|(_, (at, _))| *at <= now).min_by_key(|(_, (at, _))| *at);
            let Some(index) = next.map(|(index, _)| index).filter(|_| !self.over) else { break };
            match self.due.remove(index).1 {
                Due::Trouble(what) => self.trouble(now, what),
                // Audio of what was interrupted: its number says that it is not to be heard.
                Due::Late(id) => {
                    let audio = STANDARD.encode(vec![0x55; self.output.bytes(100)]);
                    self.say(now, json!({"type": "audio", "audio_event": {"audio_base_64": audio, "event_id": id}}));
                }
            }
        }
        while !self.over && self.speaking.as_ref().is_some_and(|speaking| speaking.next <= now) {
            self.go_on(now);
        }
    }

    fn is_over(&self) -> bool {
        self.over
    }
}
