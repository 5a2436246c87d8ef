//! One session of the service, without input or output: given the time, it takes what the client says and gives what to send.
//!
//! The caller is heard by level. Their turn ends by silence, by `ForceEndTurn`, or by an injected text; then the service answers by its
//! script: words before their audio, sentence by sentence, functions behind them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde_json::{Value, json};

use super::shape;
use crate::realtime::ear::{Ear, Heard};
use crate::realtime::{
    Answer, Answers, Asked, Coding, Complaint, Far, Opening, Order, Out, Pace, Record, Service, What, admit_by_header,
    chord,
};

/// The key that is let in.
pub const KEY: &str = "dg-test";
/// The chord in which injected words are said.
pub const WORDS_SEED: u64 = 900;
/// How long a character of injected words lasts, ms.
const CHARACTER_MS: u32 = 50;
/// Without a sign of the client for longer, the session ends.
const TIMEOUT: Duration = Duration::from_secs(12);
/// A client that sends audio has no reason to say that it is there.
const IDLE: Duration = Duration::from_secs(5);
/// Audio in one message, ms.
const CHUNK_MS: u64 = 100;
/// Between messages that come after an interruption.
const LATE: Duration = Duration::from_millis(10);

/// What the service does.
#[derive(Clone)]
pub struct Agent {
    pub answers: Answers,
    /// What the caller says in each of their turns, over all connections; the last again and again.
    pub words: Vec<&'static str>,
    /// Silence that ends a turn.
    pub silence_ms: u64,
    /// Turns and answers so far, over all connections.
    pub turns: Arc<std::sync::atomic::AtomicUsize>,
    pub responses: Arc<std::sync::atomic::AtomicUsize>,
}

impl Agent {
    /// A service that answers so.
    pub fn answering(answers: impl Into<Vec<Answer>>) -> Self {
        Self {
            answers: Answers::each(answers.into()),
            words: vec!["What the caller says."],
            silence_ms: 300,
            turns: Arc::default(),
            responses: Arc::default(),
        }
    }

    fn next_words(&self) -> String {
        let at = self.turns.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        self.words[at.min(self.words.len() - 1)].to_owned()
    }
}

impl Service for Agent {
    fn admit(&self, uri: &str, headers: &[(String, String)]) -> Result<(), u16> {
        admit_by_header((uri, "/v1/agent/converse"), headers, ("authorization", &format!("Token {KEY}")))
    }

    fn open(self: Arc<Self>, opening: &Opening, record: Arc<Mutex<Record>>) -> Box<dyn Far> {
        Box::new(Session::open(self, opening, record))
    }
}

/// Something that is to be said, in its order.
#[derive(Debug)]
enum Piece {
    Text(Value),
    Audio(Vec<u8>),
}

struct Session {
    agent: Arc<Agent>,
    record: Arc<Mutex<Record>>,
    out: VecDeque<Out>,
    connection: usize,
    over: bool,
    configured: bool,
    flux: bool,
    manual: bool,
    coding: Coding,
    ear: Ear,
    /// The caller's turn is open.
    turn: bool,
    last_sign: Instant,
    last_audio: Option<Instant>,
    /// When it begins to answer, and the words that it answers.
    thinking: Option<(Instant, String)>,
    speaking: VecDeque<Piece>,
    next: Instant,
    pace: Pace,
    /// Chunks that still come once it is interrupted.
    late: u32,
    late_due: VecDeque<Instant>,
    /// Calls without a result.
    calls: Vec<String>,
    numbers: u64,
}

impl Session {
    fn open(agent: Arc<Agent>, opening: &Opening, record: Arc<Mutex<Record>>) -> Self {
        let silence = agent.silence_ms;
        let mut session = Self {
            agent,
            record,
            out: VecDeque::new(),
            connection: opening.connection,
            over: false,
            configured: false,
            flux: false,
            manual: false,
            coding: Coding::Pcm24k,
            ear: Ear::new(8_000, 0.5, silence),
            turn: false,
            last_sign: opening.now,
            last_audio: None,
            thinking: None,
            speaking: VecDeque::new(),
            next: opening.now,
            pace: Pace::Burst,
            late: 0,
            late_due: VecDeque::new(),
            calls: Vec::new(),
            numbers: 0,
        };
        session.say(opening.now, json!({"type": "Welcome", "request_id": format!("req-{}", opening.connection)}));
        session
    }

    fn say(&mut self, now: Instant, message: Value) {
        self.out.push_back(Out::Text(message.to_string()));
        self.record.lock().said.push((now, message));
    }

    fn fail(&mut self, now: Instant, code: &str, description: &str) {
        self.say(now, json!({"type": "Error", "code": code, "description": description}));
        self.out.push_back(Out::Close(1_011, code.to_owned()));
        self.over = true;
    }

    fn complain(&mut self, now: Instant, complaint: Complaint, error: &str) {
        let message = complaint.message.clone();
        self.record.lock().complaints.push(complaint);
        self.fail(now, error, &message);
    }

    fn configure(&mut self, now: Instant, settings: &Value) {
        let audio = &settings["audio"];
        let of = |format: &Value| match (format["encoding"].as_str(), format["sample_rate"].as_u64()) {
            (Some("mulaw"), Some(8_000)) => Some(Coding::Pcmu),
            (Some("alaw"), Some(8_000)) => Some(Coding::Pcma),
            (Some("linear16"), Some(16_000)) => Some(Coding::Pcm16k),
            (Some("linear16"), Some(24_000)) => Some(Coding::Pcm24k),
            _ => None,
        };
        let (Some(input), Some(output)) = (of(&audio["input"]), of(&audio["output"])) else {
            return self.fail(now, "INVALID_SETTINGS", "this service has another rate");
        };
        assert_eq!(input, output, "one format for both directions");
        let provider = &settings["agent"]["listen"]["provider"];
        self.flux = provider["version"] == "v2";
        self.manual = provider["eot_threshold"] == 1.0;
        self.coding = input;
        self.ear = Ear::new(input.rate(), 0.5, self.agent.silence_ms);
        self.configured = true;
        self.record.lock().format = audio["input"].clone();
        self.say(now, json!({"type": "SettingsApplied"}));
    }

    fn client_says(&mut self, now: Instant, message: &Value) {
        match message["type"].as_str().unwrap_or_default() {
            "Settings" if self.configured => {
                let complaint = Complaint::plain("settings", "a second Settings message");
                self.complain(now, complaint, "SETTINGS_ALREADY_APPLIED");
            }
            "Settings" => self.configure(now, message),
            _ if !self.configured => {
                let complaint = Complaint::plain("settings", "a message before the settings");
                self.complain(now, complaint, "NON_SETTINGS_MESSAGE_BEFORE_SETTINGS");
            }
            "KeepAlive" if self.last_audio.is_some_and(|at| now.saturating_duration_since(at) < IDLE) => {
                let complaint = Complaint::plain("keep_alive", "KeepAlive beside audio");
                self.record.lock().complaints.push(complaint);
            }
            "ForceEndTurn" if !self.flux => {
                let code = "FORCE_END_TURN_UNSUPPORTED";
                self.say(now, json!({"type": "Warning", "code": code, "description": "no Flux"}));
            }
            "ForceEndTurn" => self.turn_over(now),
            "UpdatePrompt" => self.say(now, json!({"type": "PromptUpdated"})),
            "UpdateThink" => self.say(now, json!({"type": "ThinkUpdated"})),
            "UpdateSpeak" => self.say(now, json!({"type": "SpeakUpdated"})),
            "UpdateListen" => self.say(now, json!({"type": "ListenUpdated"})),
            "InjectUserMessage" => {
                self.give_up(now, false);
                let words = message["content"].as_str().unwrap_or_default().to_owned();
                self.user(now, words);
            }
            "InjectAgentMessage" => self.inject(now, message),
            "FunctionCallResponse" => self.result(now, message),
            _ => {}
        }
    }

    fn inject(&mut self, now: Instant, message: &Value) {
        let behavior = message["behavior"].as_str().unwrap_or("default");
        let busy = self.thinking.is_some() || !self.speaking.is_empty() || !self.calls.is_empty();
        match behavior {
            "default" | "queue" if self.turn => return self.refuse(now, "the user is speaking"),
            "default" if busy => return self.refuse(now, "the agent is in its turn"),
            "interrupt" => self.give_up(now, false),
            _ => {}
        }
        let text = message["message"].as_str().unwrap_or_default().to_owned();
        let ms = CHARACTER_MS * text.chars().count() as u32;
        if self.speaking.is_empty() {
            self.next = now;
            self.pace = Pace::Burst;
        }
        self.sentence(&text, &chord(self.coding.rate(), ms, WORDS_SEED));
        // What was queued has an end of its own before that; one for all is what the service sends.
        self.speaking.retain(|piece| !matches!(piece, Piece::Text(text) if text["type"] == "AgentAudioDone"));
        self.speaking.push_back(Piece::Text(json!({"type": "AgentAudioDone"})));
    }

    fn refuse(&mut self, now: Instant, why: &str) {
        self.say(now, json!({"type": "InjectionRefused", "message": why}));
    }

    fn result(&mut self, now: Instant, message: &Value) {
        let id = message["id"].as_str().unwrap_or_default();
        // A late result of a call that was cancelled is dropped.
        let Some(at) = self.calls.iter().position(|call| call == id) else { return };
        self.calls.remove(at);
        if self.calls.is_empty() {
            self.thinking = Some((now, message["content"].as_str().unwrap_or_default().to_owned()));
        }
    }

    /// The caller's turn is over.
    fn turn_over(&mut self, now: Instant) {
        if std::mem::take(&mut self.turn) {
            let words = self.agent.next_words();
            if self.flux {
                self.say(now, json!({"type": "EndOfTurn", "trigger": "model"}));
            }
            self.user(now, words);
        }
    }

    /// Words of the caller, which are answered.
    fn user(&mut self, now: Instant, words: String) {
        self.say(now, json!({"type": "History", "role": "user", "content": words}));
        self.say(
            now,
            json!({"type": "ConversationText", "role": "user", "content": words, "conversational_behavior": "default"}),
        );
        self.say(now, json!({"type": "AgentThinking", "content": ""}));
        self.thinking = Some((now, words));
    }

    /// What is said or prepared is given up.
    fn give_up(&mut self, now: Instant, late: bool) {
        let said = !self.speaking.is_empty();
        self.thinking = None;
        self.speaking.clear();
        if late && said {
            self.late_due = (1..=self.late).map(|number| now + LATE * number).collect();
        }
        let calls = std::mem::take(&mut self.calls);
        if !calls.is_empty() {
            let functions: Vec<_> = calls.iter().map(|id| json!({"id": id, "name": "look_up"})).collect();
            self.say(now, json!({"type": "FunctionCallCancelled", "functions": functions}));
        }
    }

    fn answer(&mut self, now: Instant, words: &str) {
        let response = self.agent.responses.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let asked = Asked { connection: self.connection, response, instructions: None, last: words };
        let answer: Answer = self.agent.answers.to(&asked);
        self.next = now + answer.thinking;
        (self.pace, self.late) = (answer.pace, answer.late);
        if let Some(voice) = &answer.voice {
            let samples = voice.samples(self.coding.rate());
            self.record.lock().answers.push((response.to_string(), answer.clone()));
            // Sentence by sentence, as many as there are full stops.
            let sentences: Vec<&str> = answer.text.split_inclusive(". ").collect();
            let length = samples.len().div_ceil(sentences.len().max(1)).max(1);
            let mut parts = samples.chunks(length);
            for sentence in sentences {
                self.sentence(sentence.trim(), parts.next().unwrap_or_default());
            }
            let report = json!({"type": "LatencyReport", "tts_latency": 0.1});
            self.speaking.insert(1, Piece::Text(report));
        }
        if answer.calls.is_empty() {
            self.speaking.push_back(Piece::Text(json!({"type": "AgentAudioDone"})));
        } else {
            let mut functions = Vec::new();
            for call in &answer.calls {
                self.numbers += 1;
                let id = format!("fc_{}_{}", self.connection, self.numbers);
                functions.push(json!({"id": id, "name": call.name, "arguments": call.arguments, "client_side": true}));
                self.calls.push(id);
            }
            self.speaking.push_back(Piece::Text(json!({"type": "FunctionCallRequest", "functions": functions})));
        }
    }

    fn sentence(&mut self, text: &str, samples: &[i16]) {
        let words = json!({"type": "ConversationText", "role": "assistant", "content": text, "conversational_behavior": "default"});
        self.speaking.push_back(Piece::Text(words));
        let bytes = self.coding.encode(samples);
        for chunk in bytes.chunks(self.coding.bytes(CHUNK_MS)) {
            self.speaking.push_back(Piece::Audio(chunk.to_vec()));
        }
    }

    /// Says what is due of an answer.
    fn speak(&mut self, now: Instant) {
        while self.next <= now
            && let Some(piece) = self.speaking.pop_front()
        {
            match piece {
                Piece::Text(text) => self.say(now, text),
                Piece::Audio(bytes) => {
                    let ms = self.coding.ms(bytes.len());
                    self.record.lock().said.push((now, json!({"type": "audio", "delta_ms": ms})));
                    self.out.push_back(Out::Binary(bytes));
                    if let Pace::Times(times) = self.pace {
                        self.next += Duration::from_secs_f64(ms as f64 / 1_000.0 / times);
                    }
                }
            }
        }
    }
}

impl Far for Session {
    fn take(&mut self, now: Instant, text: &str) {
        if self.over {
            return;
        }
        self.last_sign = now;
        let message: Value = match serde_json::from_str(text) {
            Ok(message) => message,
            Err(error) => {
                let complaint = Complaint::plain("invalid_json", error.to_string());
                return self.complain(now, complaint, "UNPARSABLE_CLIENT_MESSAGE");
            }
        };
        self.record.lock().told.push((now, message.clone()));
        match shape::check(&message) {
            Ok(()) => self.client_says(now, &message),
            Err(complaint) => self.complain(now, complaint, "UNPARSABLE_CLIENT_MESSAGE"),
        }
        self.tick(now);
    }

    fn take_binary(&mut self, now: Instant, bytes: &[u8]) {
        if self.over {
            return;
        }
        let samples = self.coding.decode(bytes).filter(|_| self.configured && !bytes.is_empty());
        let Some(samples) = samples else {
            let complaint = Complaint::plain("audio", "audio before the settings, nothing, or half a sample");
            return self.complain(now, complaint, "USER_AUDIO_FORMAT");
        };
        (self.last_sign, self.last_audio) = (now, Some(now));
        self.record.lock().hears(now, &samples);
        for heard in self.ear.listen(&samples) {
            match heard {
                Heard::Started(_) => {
                    self.turn = true;
                    self.say(now, json!({"type": "UserStartedSpeaking"}));
                    self.give_up(now, true);
                }
                Heard::Stopped(_) if self.manual => {}
                Heard::Stopped(_) => self.turn_over(now),
            }
        }
        self.tick(now);
    }

    fn order(&mut self, now: Instant, order: Order) {
        match order {
            Order::Respond(_) if self.turn => {}
            Order::Respond(answer) => {
                self.give_up(now, false);
                let agent = Agent { answers: Answers::always(answer), ..(*self.agent).clone() };
                let before = std::mem::replace(&mut self.agent, Arc::new(agent));
                self.answer(now, "");
                self.agent = before;
            }
            Order::Event(event) => self.say(now, event),
            Order::Trouble(what) => match what {
                What::Error(_, code) => self.fail(now, code, "The test wants it so."),
                What::Text(text) => self.out.push_back(Out::Text(text)),
                What::Binary(bytes) => self.out.push_back(Out::Binary(bytes)),
                What::Close(code, reason) => self.out.push_back(Out::Close(code, reason.to_owned())),
                What::Drop => self.out.push_back(Out::Drop),
                What::Freeze => self.out.push_back(Out::Freeze),
                What::Stall(time) => self.out.push_back(Out::Stall(time)),
                What::GoAway(_) => {
                    let code = "MAXIMUM_SESSION_LENGTH_APPROACHING";
                    self.say(now, json!({"type": "Warning", "code": code, "description": "five minutes"}));
                }
            },
        }
        self.over |= self.out.back().is_some_and(|out| matches!(out, Out::Close(..) | Out::Drop | Out::Freeze));
        self.tick(now);
    }

    fn tick(&mut self, now: Instant) {
        while !self.over && self.late_due.front().is_some_and(|at| *at <= now) {
            self.late_due.pop_front();
            let silence = vec![0x55; self.coding.bytes(CHUNK_MS)];
            self.out.push_back(Out::Binary(silence));
        }
        if self.over {
            return;
        }
        if now.saturating_duration_since(self.last_sign) >= TIMEOUT {
            return self.fail(now, "CLIENT_MESSAGE_TIMEOUT", "nothing came for too long");
        }
        if let Some((_, words)) = self.thinking.take_if(|(at, _)| *at <= now) {
            self.answer(now, &words);
        }
        self.speak(now);
    }

    fn deadline(&self) -> Option<Instant> {
        if self.over {
            return None;
        }
        let speaking = (!self.speaking.is_empty()).then_some(self.next);
        let thinking = self.thinking.as_ref().map(|(at, _)| *at);
        [Some(self.last_sign + TIMEOUT), speaking, thinking, self.late_due.front().copied()].into_iter().flatten().min()
    }

    fn poll(&mut self) -> Option<Out> {
        self.out.pop_front()
    }

    fn is_over(&self) -> bool {
        self.over
    }
}
