//! One session of the service, without input or output: given the time, it takes what the client says and gives what to send.
//!
//! The caller is heard by level, and their turn ends by silence. An answer that is being sent is interrupted by them; one that was sent
//! whole is not, though it may still be heard. A session that loses its connection is kept.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::agent::{Agent, Kept, STORED, WORDS_SEED};
use super::shape;
use super::speaking::{Piece, Speaking, call_of};
use crate::realtime::ear::{Ear, Heard};
use crate::realtime::{
    Answer, Answers, Asked, Coding, Complaint, Far, Opening, Order, Out, Record, Service, Voice, What,
};

/// How long a character of a greeting lasts, ms.
const CHARACTER_MS: u32 = 50;
/// Results and requests that come while an answer is said are too early, unless they crossed its beginning.
const CROSSED: Duration = Duration::from_millis(500);

/// What the service is going to say.
#[derive(Debug)]
enum Next {
    /// An answer to these words: of the caller, of a result.
    Answer(String),
    /// What it is asked for.
    Asked(Option<String>),
    /// This.
    Ready(Answer),
}

pub struct Session {
    agent: Arc<Agent>,
    record: Arc<Mutex<Record>>,
    out: VecDeque<Out>,
    connection: usize,
    opened: (Instant, u64),
    over: bool,
    id: Option<String>,
    coding: (Coding, Coding),
    ear: Ear,
    /// The caller's turn is open.
    turn: bool,
    next: VecDeque<(Instant, Next)>,
    speaking: Option<(Instant, Speaking)>,
    late_due: VecDeque<Instant>,
    /// Calls without a result.
    calls: Vec<String>,
    coded: (String, String),
    numbers: u64,
}

impl Session {
    pub fn open(agent: Arc<Agent>, opening: &Opening, record: Arc<Mutex<Record>>) -> Self {
        let silence = agent.silence_ms;
        Self {
            agent,
            record,
            out: VecDeque::new(),
            connection: opening.connection,
            opened: (opening.now, opening.unix_seconds),
            over: false,
            id: None,
            coding: (Coding::Pcm24k, Coding::Pcm24k),
            ear: Ear::new(24_000, 0.5, silence),
            turn: false,
            next: VecDeque::new(),
            speaking: None,
            late_due: VecDeque::new(),
            calls: Vec::new(),
            coded: ("audio/pcm".to_owned(), "audio/pcm".to_owned()),
            numbers: 0,
        }
    }

    fn say(&mut self, now: Instant, message: Value) {
        self.out.push_back(Out::Text(message.to_string()));
        self.record.lock().said.push((now, message));
    }

    fn fail(&mut self, now: Instant, code: &str, message: &str, close: u16) {
        self.say(now, json!({"type": "session.error", "code": code, "message": message}));
        self.out.push_back(Out::Close(close, code.to_owned()));
        self.over = true;
        self.forget();
    }

    fn complain(&mut self, now: Instant, complaint: Complaint) {
        let (code, message) = (complaint.code, complaint.message.clone());
        self.record.lock().complaints.push(complaint);
        self.fail(now, code, &message, 1_008);
    }

    fn forget(&mut self) {
        if let Some(id) = &self.id {
            self.agent.kept.lock().remove(id);
        }
    }

    /// The session as another connection would find it.
    fn keep(&self, now: Instant) {
        if let Some(id) = self.id.clone().filter(|_| !self.over) {
            let kept = Kept { alive: now, coded: self.coded.clone(), calls: self.calls.clone() };
            self.agent.kept.lock().insert(id, kept);
        }
    }

    fn code(&mut self, coded: (String, String)) {
        let of = |encoding: &str| Coding::of(&json!({ "type": encoding }));
        self.coding = (of(&coded.0), of(&coded.1));
        self.ear = Ear::new(self.coding.0.rate(), 0.5, self.agent.silence_ms);
        self.record.lock().format = json!({ "encoding": coded.0 });
        self.coded = coded;
    }

    fn begin(&mut self, now: Instant, session: &Value) {
        let encoding = |way: &str| session[way]["format"]["encoding"].as_str().unwrap_or("audio/pcm").to_owned();
        let (coded, greeting) = match session["agent_id"].as_str() {
            Some(STORED) => {
                let (input, output) = self.agent.coded;
                ((input.to_owned(), output.to_owned()), self.agent.greeting.clone())
            }
            Some(_) => return self.fail(now, "invalid_config", "There is no such agent.", 1_008),
            None => {
                let said = session["greeting"].as_str().filter(|text| !text.is_empty());
                let greeting = said.map(|text| {
                    let ms = CHARACTER_MS * text.chars().count() as u32;
                    Answer { text: text.to_owned(), ..Answer::chord(WORDS_SEED, ms) }
                });
                ((encoding("input"), encoding("output")), greeting)
            }
        };
        let id = format!("sess_{}", self.connection);
        self.id = Some(id.clone());
        let config = json!({"id": id, "greeting": greeting.as_ref().map(|answer| answer.text.clone()),
            "system_prompt": session["system_prompt"], "tools": session["tools"],
            "input": {"format": {"encoding": coded.0}}, "output": {"format": {"encoding": coded.1}}});
        self.code(coded);
        self.say(now, json!({"type": "session.updated", "config": config}));
        let expires = self.agent.lasts.map(|lasts| self.opened.1 + lasts.as_secs());
        self.say(now, json!({"type": "session.ready", "session_id": id, "config": config, "expires_at": expires}));
        if let Some(greeting) = greeting {
            self.next.push_back((now, Next::Ready(greeting)));
        }
    }

    fn resume(&mut self, now: Instant, session_id: &str) {
        let Some(kept) = self.agent.take_kept(now, session_id) else {
            return self.fail(now, "session_not_found", "There is no such session.", 1_008);
        };
        self.id = Some(session_id.to_owned());
        self.code(kept.coded);
        self.calls = kept.calls;
        self.say(now, json!({"type": "session.ready", "session_id": session_id}));
    }

    fn client_says(&mut self, now: Instant, message: &Value) {
        let kind = message["type"].as_str().unwrap_or_default();
        match (kind, self.id.is_some()) {
            ("session.update", false) => self.begin(now, &message["session"]),
            ("session.resume", false) => self.resume(now, message["session_id"].as_str().unwrap_or_default()),
            (_, false) => self.complain(now, Complaint::plain("early", format!("{kind} before the session"))),
            ("session.resume", true) => {
                self.complain(now, Complaint::plain("invalid_format", "there is a session already"));
            }
            ("session.update", true) => match shape::check_change(&message["session"]) {
                Ok(()) => self.say(now, json!({"type": "session.updated"})),
                Err(complaint) => self.complain(now, complaint),
            },
            ("session.end", true) => {
                let seconds = now.saturating_duration_since(self.opened.0).as_secs_f64();
                self.say(
                    now,
                    json!({"type": "session.ended", "session_duration_seconds": seconds,
                    "audio_duration_seconds": null}),
                );
                self.out.push_back(Out::Close(1_000, String::new()));
                self.over = true;
                self.forget();
            }
            ("reply.create", true) => {
                self.check_moment(now, "reply.create");
                let instructions = message["instructions"].as_str().map(str::to_owned);
                self.next.push_back((now, Next::Asked(instructions)));
            }
            ("tool.result", true) => self.result(now, message),
            _ => {}
        }
    }

    /// A client waits with this until nobody speaks.
    fn check_moment(&mut self, now: Instant, what: &str) {
        let since = self.speaking.as_ref().map(|(since, _)| *since);
        if since.is_some_and(|since| now.saturating_duration_since(since) > CROSSED) {
            let complaint = Complaint::plain("early", format!("{what} within an answer"));
            self.record.lock().complaints.push(complaint);
        }
    }

    fn result(&mut self, now: Instant, message: &Value) {
        let id = message["call_id"].as_str().unwrap_or_default();
        let Some(at) = self.calls.iter().position(|call| call == id) else {
            return self.complain(now, Complaint::of("invalid_value", "call_id", "there is no such call"));
        };
        self.check_moment(now, "tool.result");
        self.calls.remove(at);
        if self.calls.is_empty() && !self.turn {
            let words = message["result"].as_str().unwrap_or_default().to_owned();
            self.next.push_back((now, Next::Answer(words)));
        }
    }

    fn hears(&mut self, now: Instant, heard: Heard) {
        match heard {
            Heard::Started(_) => {
                self.turn = true;
                self.say(now, json!({"type": "input.speech.started"}));
                self.next.clear();
                let Some((_, speaking)) = self.speaking.take() else { return };
                let reply_id = speaking.reply_id.clone();
                let (said, late) = speaking.cut_off(now);
                self.late_due = late.into();
                self.say(
                    now,
                    json!({"type": "transcript.agent", "text": said, "reply_id": reply_id, "interrupted": true}),
                );
                self.say(now, json!({"type": "reply.done", "status": "interrupted"}));
            }
            Heard::Stopped(_) => {
                self.turn = false;
                let words = self.agent.next_words();
                self.numbers += 1;
                let item_id = format!("item_{}_{}", self.connection, self.numbers);
                self.say(now, json!({"type": "transcript.user.delta", "text": words, "item_id": item_id}));
                self.say(now, json!({"type": "input.speech.stopped"}));
                self.say(now, json!({"type": "transcript.user", "text": words, "item_id": item_id}));
                self.next.push_back((now, Next::Answer(words)));
            }
        }
    }

    /// Begins what is to be said next.
    fn answer(&mut self, now: Instant, next: Next) {
        let response = self.agent.responses.fetch_add(1, Ordering::Relaxed);
        let (last, instructions) = match &next {
            Next::Answer(words) => (words.as_str(), None),
            Next::Asked(instructions) => ("", instructions.as_deref()),
            Next::Ready(_) => ("", None),
        };
        let asked = Asked { connection: self.connection, response, instructions, last };
        let answer = match next {
            Next::Ready(answer) => answer,
            _ => self.agent.answers.to(&asked),
        };
        if !answer.thinking.is_zero() {
            let at = now + answer.thinking;
            return self.next.push_front((at, Next::Ready(Answer { thinking: Duration::ZERO, ..answer })));
        }
        let ids: Vec<_> = answer.calls.iter().map(|_| self.call_id()).collect();
        if answer.voice.is_none() {
            // A call without words; the service may bridge the wait for it.
            for (call, id) in answer.calls.iter().zip(&ids) {
                self.say(now, call_of(call, id));
            }
            self.calls.extend(ids);
            if let Some(bridge) = self.agent.bridge.clone() {
                self.next.push_back((now + Duration::from_millis(50), Next::Ready(bridge)));
            }
            return;
        }
        let reply_id = format!("reply_{}_{response}", self.connection);
        self.record.lock().answers.push((reply_id.clone(), answer.clone()));
        self.speaking = Some((now, Speaking::new(now, &reply_id, &answer, self.coding.1, &ids)));
    }

    fn call_id(&mut self) -> String {
        self.numbers += 1;
        format!("call_{}_{}", self.connection, self.numbers)
    }

    fn send_audio(&mut self, now: Instant, bytes: &[u8]) {
        let ms = self.coding.1.ms(bytes.len());
        self.record.lock().said.push((now, json!({"type": "reply.audio", "delta_ms": ms})));
        self.out.push_back(Out::Text(json!({"type": "reply.audio", "data": STANDARD.encode(bytes)}).to_string()));
    }

    /// Says what is due.
    fn speak(&mut self, now: Instant) {
        while let Some((_, speaking)) = &mut self.speaking
            && let Some(piece) = speaking.take(now, self.coding.1)
        {
            let over = speaking.is_over();
            match piece {
                Piece::Message(message) => self.say(now, message),
                Piece::Audio(bytes) => self.send_audio(now, &bytes),
                Piece::Done(calls) => self.calls.extend(calls),
            }
            if over {
                self.speaking = None;
            }
        }
    }
}

impl Far for Session {
    fn take(&mut self, now: Instant, text: &str) {
        if self.over {
            return;
        }
        let message: Value = match serde_json::from_str(text) {
            Ok(message) => message,
            Err(error) => return self.complain(now, Complaint::plain("invalid_format", error.to_string())),
        };
        if message["type"] != "input.audio" {
            self.record.lock().told.push((now, message.clone()));
        }
        match shape::check(&message) {
            Err(complaint) => self.complain(now, complaint),
            Ok(()) if message["type"] == "input.audio" => {
                self.audio(now, message["audio"].as_str().unwrap_or_default())
            }
            Ok(()) => self.client_says(now, &message),
        }
        self.tick(now);
    }

    fn take_binary(&mut self, now: Instant, _: &[u8]) {
        self.complain(now, Complaint::plain("invalid_format", "a binary message"));
    }

    fn order(&mut self, now: Instant, order: Order) {
        match order {
            Order::Respond(_) if self.turn || self.speaking.is_some() => {}
            Order::Respond(answer) => self.next.push_back((now, Next::Ready(answer))),
            Order::Event(event) => self.say(now, event),
            Order::Trouble(what) => match what {
                What::Error(_, code) => self.fail(now, code, "The test wants it so.", 1_008),
                What::Text(text) => self.out.push_back(Out::Text(text)),
                What::Binary(bytes) => self.out.push_back(Out::Binary(bytes)),
                What::Close(code, reason) => self.out.push_back(Out::Close(code, reason.to_owned())),
                What::Drop => self.out.push_back(Out::Drop),
                What::Freeze => self.out.push_back(Out::Freeze),
                What::Stall(time) => self.out.push_back(Out::Stall(time)),
                What::GoAway(_) => {}
            },
        }
        self.over |= self.out.back().is_some_and(|out| matches!(out, Out::Close(..) | Out::Drop | Out::Freeze));
        self.tick(now);
    }

    fn tick(&mut self, now: Instant) {
        while !self.over && self.late_due.front().is_some_and(|at| *at <= now) {
            self.late_due.pop_front();
            let silence = vec![0x55; self.coding.1.bytes(100)];
            self.send_audio(now, &silence);
        }
        loop {
            if self.over {
                return;
            }
            self.speak(now);
            let due = self.next.front().is_some_and(|(at, _)| *at <= now);
            if !due || self.speaking.is_some() || self.turn {
                break;
            }
            if let Some((_, next)) = self.next.pop_front() {
                self.answer(now, next);
            }
        }
        self.keep(now);
    }

    fn deadline(&self) -> Option<Instant> {
        if self.over {
            return None;
        }
        let speaking = self.speaking.as_ref().map(|(_, speaking)| speaking.next);
        let next = self.next.front().filter(|_| self.speaking.is_none() && !self.turn).map(|(at, _)| *at);
        [speaking, next, self.late_due.front().copied()].into_iter().flatten().min()
    }

    fn poll(&mut self) -> Option<Out> {
        self.out.pop_front()
    }

    fn is_over(&self) -> bool {
        self.over
    }
}

impl Session {
    /// Audio of the caller's.
    fn audio(&mut self, now: Instant, base64: &str) {
        let decoded = STANDARD.decode(base64).ok().filter(|bytes| !bytes.is_empty() && self.id.is_some());
        let Some(samples) = decoded.and_then(|bytes| self.coding.0.decode(&bytes)) else {
            let complaint = Complaint::plain("invalid_audio", "audio before the session, nothing, or half a sample");
            return self.complain(now, complaint);
        };
        self.record.lock().hears(now, &samples);
        for heard in self.ear.listen(&samples) {
            self.hears(now, heard);
        }
    }
}
