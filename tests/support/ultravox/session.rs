//! One call of the service, without input or output: given the time, it takes what the client says and gives what to send.
//!
//! The caller is heard by level, and their turn ends by silence. They interrupt whatever of the agent's they can still hear, sent or not. The
//! service knows how much of what it has sent has been heard by the clock, as a client plays it that was told to keep it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde_json::{Value, json};

use super::agent::{Agent, WORDS_SEED, words_ms};
use super::shape;
use crate::realtime::ear::{Ear, Heard};
use crate::realtime::{Answer, Asked, Coding, Complaint, Far, Opening, Order, Out, Pace, Record, What};

/// Audio in one message, ms.
const CHUNK_MS: u64 = 100;

/// What the service is going to say.
#[derive(Debug)]
enum Next {
    /// An answer to these words: of the caller, of a result, of a text.
    Answer(String),
    /// This.
    Ready(Answer),
}

/// An answer in progress.
struct Speaking {
    answer: Answer,
    ordinal: u64,
    bytes: Vec<u8>,
    sent: usize,
    /// Words that were told.
    told: usize,
    next: Instant,
}

pub struct Session {
    agent: Arc<Agent>,
    record: Arc<Mutex<Record>>,
    out: VecDeque<Out>,
    connection: usize,
    over: bool,
    coding: Coding,
    ends: Instant,
    ear: Ear,
    /// The caller's turn is open.
    turn: bool,
    state: &'static str,
    next: VecDeque<(Instant, Next)>,
    speaking: Option<Speaking>,
    /// Until when the caller hears what was sent.
    heard_until: Instant,
    /// Calls without a result.
    calls: Vec<String>,
    ordinal: u64,
    numbers: u64,
}

impl Session {
    pub fn open(agent: Arc<Agent>, opening: &Opening, record: Arc<Mutex<Record>>, call_id: &str, call: &Value) -> Self {
        let medium = &call["medium"]["serverWebSocket"];
        let coding = match medium["inputSampleRate"].as_u64() {
            Some(8_000) => Coding::Pcm8k,
            Some(16_000) => Coding::Pcm16k,
            Some(24_000) => Coding::Pcm24k,
            rate => panic!("{rate:?} is not scripted"),
        };
        let output = medium["outputSampleRate"].as_u64().unwrap_or(u64::from(coding.rate()));
        assert_eq!(output, u64::from(coding.rate()), "the same each way is scripted");
        record.lock().format = json!(coding.rate());
        let now = opening.now;
        let mut session = Self {
            ends: now + agent.lasts,
            ear: Ear::new(coding.rate(), 0.5, agent.silence_ms),
            agent,
            record,
            out: VecDeque::new(),
            connection: opening.connection,
            over: false,
            coding,
            turn: false,
            state: "",
            next: VecDeque::new(),
            speaking: None,
            heard_until: now,
            calls: Vec::new(),
            ordinal: 0,
            numbers: 0,
        };
        if session.agent.tells_beginning {
            session.say(now, json!({"type": "call_started", "callId": call_id}));
            session.turn_to(now, "idle");
        }
        if call["firstSpeakerSettings"]["user"].is_null()
            && let Some(greeting) = session.agent.greeting.clone()
        {
            session.next.push_back((now, Next::Ready(greeting)));
        } else if session.agent.tells_beginning {
            session.turn_to(now, "listening");
        }
        session
    }

    fn say(&mut self, now: Instant, message: Value) {
        self.out.push_back(Out::Text(message.to_string()));
        self.record.lock().said.push((now, message));
    }

    fn turn_to(&mut self, now: Instant, state: &'static str) {
        if self.state != state {
            self.state = state;
            self.say(now, json!({"type": "state", "state": state}));
        }
    }

    fn close(&mut self, code: u16, reason: &str) {
        self.out.push_back(Out::Close(code, reason.to_owned()));
        self.over = true;
    }

    fn complain(&mut self, complaint: Complaint) {
        let reason = complaint.message.chars().take(80).collect::<String>();
        self.record.lock().complaints.push(complaint);
        self.close(1_008, &reason);
    }

    fn next_ordinal(&mut self) -> u64 {
        self.ordinal += 1;
        self.ordinal - 1
    }

    fn transcript(
        &mut self,
        now: Instant,
        (role, medium): (&str, &str),
        words: (&str, &str),
        last: bool,
        ordinal: u64,
    ) {
        let (text, delta) = words;
        let given = |words: &str| if words.is_empty() { Value::Null } else { Value::from(words) };
        self.say(
            now,
            json!({"type": "transcript", "role": role, "medium": medium, "text": given(text), "delta": given(delta),
            "final": last, "ordinal": ordinal}),
        );
    }

    fn hears(&mut self, now: Instant, heard: Heard) {
        match heard {
            Heard::Started(_) => {
                self.turn = true;
                // The turn that begins is answered, and everything with it.
                self.next.clear();
                self.stop(now);
                self.turn_to(now, "listening");
            }
            Heard::Stopped(_) => {
                self.turn = false;
                let (words, ordinal) = (self.agent.next_words(), self.next_ordinal());
                if ordinal % 2 == 1 {
                    let half = words.len() / 2;
                    self.transcript(now, ("user", "voice"), ("", &words[..half]), false, ordinal);
                }
                self.transcript(now, ("user", "voice"), (&words, ""), true, ordinal);
                self.turn_to(now, "thinking");
                self.next.push_back((now, Next::Answer(words)));
            }
        }
    }

    /// The agent stops at once, if anything of it is still to be heard.
    fn stop(&mut self, now: Instant) {
        let speaking = self.speaking.take();
        if speaking.is_none() && self.heard_until <= now {
            return;
        }
        self.heard_until = now;
        self.say(now, json!({"type": "playback_clear_buffer"}));
        if let Some(Speaking { answer, ordinal, told, .. }) = speaking {
            let words: Vec<_> = answer.text.split_inclusive(' ').take(told).collect();
            self.transcript(now, ("agent", "voice"), (words.concat().trim(), ""), true, ordinal);
        }
    }

    fn client_says(&mut self, now: Instant, message: &Value) {
        let text = |name: &str| message[name].as_str().unwrap_or_default().to_owned();
        match message["type"].as_str().unwrap_or_default() {
            "user_text_message" => {
                let (words, urgency) = (text("text"), text("urgency"));
                let ordinal = self.next_ordinal();
                if !words.is_empty() {
                    self.transcript(now, ("user", "text"), (&words, ""), true, ordinal);
                }
                if urgency == "immediate" {
                    self.next.clear();
                    self.stop(now);
                    self.turn_to(now, "listening");
                }
                // A turn that is open takes it up.
                if urgency != "later" && message["deferResponse"] != true && !self.turn {
                    self.next.push_back((now, Next::Answer(words)));
                }
            }
            "forced_agent_message" => {
                let words = text("content");
                let said = Answer { text: words.clone(), ..Answer::chord(WORDS_SEED, words_ms(&words)) };
                if message["urgency"] == "immediate" {
                    self.stop(now);
                }
                self.next.push_back((now, Next::Ready(said)));
            }
            "client_tool_result" => {
                let id = text("invocationId");
                let Some(at) = self.calls.iter().position(|call| *call == id) else {
                    return self.complain(Complaint::of("invalid_value", "invocationId", "there is no such call"));
                };
                self.calls.remove(at);
                if self.calls.is_empty() && !self.turn {
                    self.next.push_back((now, Next::Answer(text("result"))));
                }
            }
            "hang_up" => self.close(1_000, "hang up"),
            "ping" => self.say(now, json!({"type": "pong", "timestamp": message["timestamp"]})),
            _ => {}
        }
    }

    /// Begins what is to be said next.
    fn answer(&mut self, now: Instant, next: Next) {
        let answer = match next {
            Next::Ready(answer) => answer,
            Next::Answer(words) => {
                let response = self.agent.responses.fetch_add(1, Ordering::Relaxed);
                let asked = Asked { connection: self.connection, response, instructions: None, last: &words };
                self.agent.answers.to(&asked)
            }
        };
        if !answer.thinking.is_zero() {
            let at = now + answer.thinking;
            return self.next.push_front((at, Next::Ready(Answer { thinking: Duration::ZERO, ..answer })));
        }
        let Some(voice) = &answer.voice else { return self.call(now, &answer) };
        let bytes = self.coding.encode(&voice.samples(self.coding.rate()));
        let ordinal = self.next_ordinal();
        self.record.lock().answers.push((format!("{}_{ordinal}", self.connection), answer.clone()));
        if self.agent.words_first {
            self.transcript(now, ("agent", "voice"), (&answer.text, ""), true, ordinal);
        }
        self.turn_to(now, "speaking");
        self.speaking = Some(Speaking { answer, ordinal, bytes, sent: 0, told: 0, next: now });
        self.heard_until = now;
    }

    /// The functions of an answer.
    fn call(&mut self, now: Instant, answer: &Answer) {
        for call in &answer.calls {
            self.numbers += 1;
            let id = format!("tool_{}_{}", self.connection, self.numbers);
            // A call and its result are messages of the conversation, too.
            self.next_ordinal();
            let parameters: Value = serde_json::from_str(&call.arguments).unwrap();
            self.calls.push(id.clone());
            self.say(
                now,
                json!({"type": "client_tool_invocation", "toolName": call.name, "invocationId": id,
                "parameters": parameters}),
            );
        }
    }

    /// Says what is due.
    fn speak(&mut self, now: Instant) {
        let words_first = self.agent.words_first;
        while let Some(speaking) = self.speaking.as_mut().filter(|speaking| speaking.next <= now) {
            let chunk = self.coding.bytes(CHUNK_MS);
            let piece = speaking.bytes[speaking.sent..].chunks(chunk).next().map(<[u8]>::to_vec);
            let Some(piece) = piece else {
                let Some(Speaking { answer, ordinal, .. }) = self.speaking.take() else { return };
                if !words_first {
                    self.transcript(now, ("agent", "voice"), (&answer.text, ""), true, ordinal);
                }
                self.call(now, &answer);
                if !answer.calls.is_empty() {
                    self.turn_to(now, "thinking");
                } else if !self.agent.speaks_while_heard {
                    self.turn_to(now, "listening");
                }
                return;
            };
            speaking.sent += piece.len();
            let ms = self.coding.ms(piece.len());
            if let Pace::Times(times) = speaking.answer.pace {
                speaking.next += Duration::from_secs_f64(ms as f64 / 1_000.0 / times);
            }
            // As many words as their audio has come.
            let words: Vec<String> = speaking.answer.text.split_inclusive(' ').map(str::to_owned).collect();
            let due = words.len() * speaking.sent / speaking.bytes.len();
            let (from, ordinal) = (speaking.told, speaking.ordinal);
            speaking.told = due;
            self.heard_until += Duration::from_millis(ms);
            self.record.lock().said.push((now, json!({"type": "audio", "delta_ms": ms})));
            self.out.push_back(Out::Binary(piece));
            if due > from && !words_first {
                self.transcript(now, ("agent", "voice"), ("", &words[from..due].concat()), false, ordinal);
            }
        }
    }

    /// What it has sent was heard.
    fn heard_out(&mut self, now: Instant) {
        if self.speaking.is_none() && self.state == "speaking" && self.heard_until <= now {
            self.turn_to(now, "listening");
        }
    }

    /// When the next thing is to be said: not while another one is heard.
    fn next_at(&self) -> Option<Instant> {
        let at = self.next.front().filter(|_| self.speaking.is_none() && !self.turn).map(|(at, _)| *at)?;
        Some(at.max(self.heard_until))
    }
}

impl Far for Session {
    fn take(&mut self, now: Instant, text: &str) {
        if self.over {
            return;
        }
        let message: Value = match serde_json::from_str(text) {
            Ok(message) => message,
            Err(error) => return self.complain(Complaint::plain("invalid_format", error.to_string())),
        };
        self.record.lock().told.push((now, message.clone()));
        match shape::check(&message) {
            Err(complaint) => self.complain(complaint),
            Ok(()) => self.client_says(now, &message),
        }
        self.tick(now);
    }

    fn take_binary(&mut self, now: Instant, bytes: &[u8]) {
        if self.over {
            return;
        }
        let Some(samples) = self.coding.decode(bytes).filter(|samples| !samples.is_empty()) else {
            return self.complain(Complaint::plain("invalid_audio", "nothing, or half a sample"));
        };
        self.record.lock().hears(now, &samples);
        for heard in self.ear.listen(&samples) {
            self.hears(now, heard);
        }
        self.tick(now);
    }

    fn order(&mut self, now: Instant, order: Order) {
        match order {
            Order::Respond(_) if self.turn || self.speaking.is_some() => {}
            Order::Respond(answer) => self.next.push_back((now, Next::Ready(answer))),
            Order::Event(event) => self.say(now, event),
            Order::Trouble(what) => match what {
                What::Text(text) => self.out.push_back(Out::Text(text)),
                What::Binary(bytes) => self.out.push_back(Out::Binary(bytes)),
                What::Close(code, reason) => self.out.push_back(Out::Close(code, reason.to_owned())),
                What::Drop => self.out.push_back(Out::Drop),
                What::Freeze => self.out.push_back(Out::Freeze),
                What::Stall(time) => self.out.push_back(Out::Stall(time)),
                What::Error(..) | What::GoAway(_) => {}
            },
        }
        self.over |= self.out.back().is_some_and(|out| matches!(out, Out::Close(..) | Out::Drop | Out::Freeze));
        self.tick(now);
    }

    fn tick(&mut self, now: Instant) {
        if !self.over && now >= self.ends {
            self.close(1_000, "the call is too long");
        }
        while !self.over {
            self.speak(now);
            if self.next_at().is_none_or(|at| at > now) {
                break;
            }
            if let Some((_, next)) = self.next.pop_front() {
                self.answer(now, next);
            }
        }
        if !self.over {
            self.heard_out(now);
        }
    }

    fn deadline(&self) -> Option<Instant> {
        if self.over {
            return None;
        }
        let speaking = self.speaking.as_ref().map(|speaking| speaking.next);
        let heard_out = (self.speaking.is_none() && self.state == "speaking").then_some(self.heard_until);
        [speaking, self.next_at(), heard_out, Some(self.ends)].into_iter().flatten().min()
    }

    fn poll(&mut self) -> Option<Out> {
        self.out.pop_front()
    }

    fn is_over(&self) -> bool {
        self.over
    }
}
