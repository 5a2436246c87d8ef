//! Gemini Live on top of the same session: what its client says is checked by Google's types and by order, and done; what the session
//! would say is said in its words. It assumes that an answer is played as fast as it is heard: its turn is complete then.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::super::gemini_shape;
use super::super::script::Script;
use super::super::shape::Complaint;
use super::super::voice::Coding;
use super::{Due, Ear, Item, Kind, Out, Session};

/// What a session of Gemini has besides.
#[derive(Debug, Default)]
pub(super) struct Gemini {
    configured: bool,
    ready: bool,
    /// It waits for the history.
    history: bool,
    /// The client finds the turns, and whether it has begun one.
    manual: bool,
    open: bool,
    interrupts: bool,
    /// The text of a turn, where the client finds the turns.
    text: Option<String>,
    /// Calls that it waits for: id, name.
    calls: Vec<(String, String)>,
    /// Calls that it has taken back, which the client may not know yet.
    taken_back: Vec<String>,
    /// Calls of the response in progress.
    calling: Vec<Value>,
    /// Until when the caller is taken to hear the answer.
    playing: Option<Instant>,
    /// It has generated an answer whose turn is not complete.
    whole: bool,
    /// Somebody waits for an answer until the one in progress is over.
    owed: bool,
    handles: u32,
}

impl Session {
    /// A message of the client's.
    pub(super) fn take_gemini(&mut self, now: Instant, text: &str) {
        let mut message: Value = serde_json::from_str(text).unwrap_or_default();
        let kinds: Vec<String> = message.as_object().into_iter().flat_map(|it| it.keys().cloned()).collect();
        let kind = match &kinds[..] {
            [kind] => kind.clone(),
            _ => String::new(),
        };
        message["type"] = json!(kind);
        if message["realtimeInput"]["audio"].is_null() {
            let mut told = message.clone();
            if let Some(part) = message["realtimeInput"].as_object().and_then(|input| input.keys().next()) {
                told["type"] = json!(part);
            }
            self.record.lock().told.push((now, told));
        }
        let done = gemini_shape::check(&message).and_then(|()| self.obey_gemini(now, &message));
        if let Err(complaint) = done {
            self.record.lock().complaints.push(complaint);
            self.out.push_back(Out::Close(1_007, "Request contains an invalid argument.".to_owned()));
            self.over = true;
        }
        self.tick(now);
    }

    fn obey_gemini(&mut self, now: Instant, message: &Value) -> Result<(), Complaint> {
        let wrong = |what: &str| Err(Complaint::plain("order", what.to_owned()));
        let kind = message["type"].as_str().unwrap_or_default();
        match (kind, self.gemini.configured, self.gemini.ready) {
            ("setup", false, _) => return self.setup(now, &message["setup"]),
            ("setup", true, _) => return wrong("setup comes once"),
            (_, _, false) => return wrong("nothing is said before setupComplete"),
            _ => {}
        }
        if self.gemini.history && kind != "clientContent" {
            return wrong("the history comes first");
        }
        match kind {
            "clientContent" => self.client_content(now, &message["clientContent"]),
            "toolResponse" => return self.tool_response(now, &message["toolResponse"]),
            "contextUpdate" => {}
            _ => return self.realtime_input(now, &message["realtimeInput"]),
        }
        Ok(())
    }

    fn setup(&mut self, now: Instant, setup: &Value) -> Result<(), Complaint> {
        self.gemini.configured = true;
        if setup["model"] != json!(format!("models/{}", self.script.model)) {
            self.out.push_back(Out::Close(1_008, "The model is not found for API version v1beta.".to_owned()));
            self.over = true;
            return Ok(());
        }
        if setup["generationConfig"]["responseModalities"] != json!(["AUDIO"]) {
            return Err(Complaint::of("invalid_value", "responseModalities", "The model only speaks."));
        }
        let handle = setup["sessionResumption"]["handle"].as_str();
        if handle.is_some_and(|handle| !handle.starts_with("handle_")) {
            return Err(Complaint::of("invalid_value", "handle", "There is no such session."));
        }
        let config = &setup["realtimeInputConfig"];
        self.gemini.manual = config["automaticActivityDetection"]["disabled"] == json!(true);
        self.gemini.interrupts = config["activityHandling"] != json!("NO_INTERRUPTION");
        self.gemini.history = setup["historyConfig"]["initialHistoryInClientContent"] == json!(true);
        (self.input, self.output) = (Coding::Pcm16k, Coding::Pcm24k);
        let silence = config["automaticActivityDetection"]["silenceDurationMs"].as_u64().unwrap_or(super::SILENCE_MS);
        self.ear = Ear::new(16_000, 0.5, silence);
        let detection = if self.gemini.manual {
            Value::Null
        } else {
            json!({"interrupt_response": self.gemini.interrupts, "create_response": true})
        };
        self.config["audio"]["input"]["turn_detection"] = detection;
        self.config["audio"]["input"]["transcription"] = setup["inputAudioTranscription"].clone();
        self.record.lock().format = json!({"type": "audio/pcm", "rate": 16_000});
        let session = self.config.clone();
        self.due.push((now + self.script.confirm_after, Due::Confirm(session)));
        Ok(())
    }

    fn client_content(&mut self, now: Instant, content: &Value) {
        for turn in content["turns"].as_array().into_iter().flatten() {
            let text = turn["parts"][0]["text"].as_str().unwrap_or_default().to_owned();
            let kind = if turn["role"] == "model" { Kind::Written } else { Kind::Other };
            let id = self.new_id("item");
            self.items.push(Item { id, kind, text, bytes: 0, call_id: String::new() });
        }
        let complete = content["turnComplete"] == json!(true);
        if self.gemini.history {
            self.gemini.history = !complete;
            return;
        }
        self.interrupt(now);
        if complete {
            self.answer(now, None);
        }
    }

    fn tool_response(&mut self, now: Instant, response: &Value) -> Result<(), Complaint> {
        for result in response["functionResponses"].as_array().into_iter().flatten() {
            let id = result["id"].as_str().unwrap_or_default();
            let known = self.gemini.calls.iter().position(|(call, name)| call == id && result["name"] == json!(name));
            if known.is_none() && self.gemini.taken_back.iter().any(|call| call == id) {
                return Ok(());
            }
            let Some(at) = known else {
                return Err(Complaint::of("invalid_value", "id", format!("There is no call {id}.")));
            };
            self.gemini.calls.remove(at);
        }
        if self.gemini.calls.is_empty() {
            let instructions = response["functionResponses"][0]["response"]["instructions"].as_str().map(str::to_owned);
            self.answer(now, instructions.as_deref());
        }
        Ok(())
    }

    fn realtime_input(&mut self, now: Instant, input: &Value) -> Result<(), Complaint> {
        let wrong = |what: &str| Err(Complaint::plain("order", what.to_owned()));
        let part = input.as_object().and_then(|input| input.keys().next()).map_or("", String::as_str);
        let (manual, open) = (self.gemini.manual, self.gemini.open);
        match part {
            "audio" if manual && !open => return wrong("audio outside of an activity"),
            "audio" => return self.append(now, input["audio"]["data"].as_str().unwrap_or_default()),
            "audioStreamEnd" if manual => return wrong("audioStreamEnd is for the service's own detection"),
            "activityStart" | "activityEnd" if !manual => return wrong("the service finds the activity"),
            "activityStart" if open => return wrong("an activity has begun already"),
            "activityEnd" if !open => return wrong("no activity has begun"),
            "activityStart" => {
                (self.gemini.open, self.uncommitted) = (true, 0);
                self.activity(now);
            }
            "activityEnd" => {
                self.gemini.open = false;
                match self.gemini.text.take() {
                    Some(text) => self.answer(now, Some(&text)),
                    None => {
                        self.commit(now, false);
                        self.answer(now, None);
                    }
                }
            }
            "text" if manual && !open => return wrong("a text outside of an activity"),
            "text" => {
                let text = input["text"].as_str().unwrap_or_default();
                if manual {
                    self.gemini.text = Some(text.to_owned());
                } else {
                    self.activity(now);
                    self.answer(now, Some(text));
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Somebody speaks or writes.
    fn activity(&mut self, now: Instant) {
        if self.gemini.interrupts {
            self.interrupt(now);
        }
    }

    fn interrupt(&mut self, now: Instant) {
        if !self.gemini.calls.is_empty() {
            let ids: Vec<_> = self.gemini.calls.drain(..).map(|(id, _)| id).collect();
            self.gemini.taken_back.extend(ids.iter().cloned());
            self.tell(now, json!({"toolCallCancellation": {"ids": ids}}));
        }
        let generating = self.active.as_ref().is_some_and(|active| !active.cancelled);
        if generating || self.gemini.whole {
            self.tell(now, json!({"serverContent": {"interrupted": true}}));
        }
        if generating {
            self.gemini.playing = None;
            self.cancel(now, "turn_detected");
        } else if self.gemini.whole {
            self.due.retain(|(_, due)| !matches!(due, Due::TurnComplete));
            self.turn_complete(now, None);
        }
    }

    fn answer(&mut self, now: Instant, text: Option<&str>) {
        if self.active.is_some() || self.gemini.whole {
            self.gemini.owed = true;
            return;
        }
        let answer = self.ask(text);
        self.respond(now, answer, None, Value::Null);
    }

    pub(super) fn turn_complete(&mut self, now: Instant, reason: Option<&str>) {
        (self.gemini.whole, self.gemini.playing) = (false, None);
        let mut content = json!({"turnComplete": true});
        if let Some(reason) = reason {
            content["turnCompleteReason"] = json!(reason);
        }
        let usage = json!({"promptTokenCount": 5, "responseTokenCount": 5, "totalTokenCount": 10,
            "responseTokensDetails": [{"modality": "AUDIO", "tokenCount": 5}]});
        self.tell(now, json!({"serverContent": content, "usageMetadata": usage}));
        self.saved(now, true);
        if std::mem::take(&mut self.gemini.owed) {
            self.answer(now, None);
        }
    }

    /// Whether another connection can go on from here.
    fn saved(&mut self, now: Instant, resumable: bool) {
        self.gemini.handles += 1;
        let update = match resumable {
            true => {
                json!({"newHandle": format!("handle_{}_{}", self.connection, self.gemini.handles), "resumable": true})
            }
            false => json!({"resumable": false}),
        };
        self.tell(now, json!({"sessionResumptionUpdate": update}));
    }

    /// The connection ends in so long.
    pub(super) fn go_away(&mut self, now: Instant, seconds: u64) {
        self.tell(now, json!({"goAway": {"timeLeft": format!("{seconds}s")}}));
    }

    /// The service writes its JSON as binary messages.
    fn tell(&mut self, now: Instant, message: Value) {
        let text = message.to_string();
        if message["serverContent"]["modelTurn"].is_null() {
            let kind = message.as_object().and_then(|message| message.keys().next()).cloned().unwrap_or_default();
            let mut said = message;
            said["type"] = json!(kind);
            self.record.lock().said.push((now, said));
        }
        self.out.push_back(Out::Binary(text.into_bytes()));
    }

    /// What the session has to say, as Gemini says it.
    pub(super) fn say_gemini(&mut self, now: Instant, event: &Value) {
        let text = |name: &str| event[name].as_str().unwrap_or_default().to_owned();
        match text("type").as_str() {
            "session.updated" => {
                self.gemini.ready = true;
                self.tell(now, json!({"setupComplete": {"sessionId": self.id}}));
                self.saved(now, true);
            }
            "input_audio_buffer.speech_started" => self.activity(now),
            "conversation.item.input_audio_transcription.delta" => {
                self.tell(now, json!({"serverContent": {"inputTranscription": {"text": text("delta")}}}));
            }
            "response.created" => {
                if self.gemini.whole {
                    self.due.retain(|(_, due)| !matches!(due, Due::TurnComplete));
                    self.turn_complete(now, None);
                }
                self.saved(now, false);
            }
            // It is not sent any more once the turn is complete.
            "response.output_audio.delta"
                if self.active.as_ref().is_none_or(|active| text("response_id") != active.id) => {}
            "response.output_audio.delta" => {
                let delta = text("delta");
                let length = Duration::from_millis(self.output.ms(delta.len() / 4 * 3));
                let from = self.gemini.playing.unwrap_or(now).max(now);
                self.gemini.playing = Some(from + length);
                let part = json!({"inlineData": {"mimeType": "audio/pcm;rate=24000", "data": delta}});
                self.tell(now, json!({"serverContent": {"modelTurn": {"role": "model", "parts": [part]}}}));
            }
            "response.output_audio_transcript.delta" => {
                self.tell(now, json!({"serverContent": {"outputTranscription": {"text": text("delta")}}}));
            }
            "response.function_call_arguments.done" => {
                let args: Value = serde_json::from_str(&text("arguments")).unwrap_or_default();
                self.gemini.calls.push((text("call_id"), text("name")));
                self.gemini.calling.push(json!({"id": text("call_id"), "name": text("name"), "args": args}));
            }
            "response.done" => self.generated(now, event["response"]["status"].as_str().unwrap_or_default()),
            // It answers when the answer in progress is over.
            "error" if event["error"]["code"] == "conversation_already_has_active_response" => self.gemini.owed = true,
            _ => {}
        }
    }

    fn generated(&mut self, now: Instant, status: &str) {
        let calls = std::mem::take(&mut self.gemini.calling);
        match status {
            "completed" if !calls.is_empty() => {
                // The model waits: there is no end of its turn.
                self.gemini.playing = None;
                self.tell(now, json!({"toolCall": {"functionCalls": calls}}));
            }
            "completed" => {
                self.gemini.whole = true;
                self.tell(now, json!({"serverContent": {"generationComplete": true}}));
                let at = self.gemini.playing.unwrap_or(now).max(now);
                self.due.push((at, Due::TurnComplete));
            }
            "cancelled" => self.turn_complete(now, None),
            "failed" => self.turn_complete(now, Some("MALFORMED_FUNCTION_CALL")),
            _ => self.turn_complete(now, Some("RESPONSE_REJECTED")),
        }
    }
}

impl Script {
    /// One of Gemini Live.
    pub fn gemini(answers: impl Into<Vec<super::super::script::Answer>>) -> Self {
        let answers = super::super::script::Answers::each(answers.into());
        Self { answers, ..Self::of(super::super::dialects::Dialect::Gemini) }
    }
}
