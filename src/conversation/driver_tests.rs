//! Whole conversations on virtual time: JSON of the service in, JSON for the service out.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::*;
use crate::conversation::agent::{BargeIn, Builtin, SpeechTrigger, VoiceMode};
use crate::conversation::functions::Function;
use crate::conversation::openai::{AudioFormat, EngineConfig, OpenAi, ServerVad, SessionProfile, TurnDetection};
use crate::peer::{Action, Message, MonoAudio};

#[path = "bounds_tests.rs"]
mod bounds;
#[path = "losses_tests.rs"]
mod losses;

const FRAME: Duration = Duration::from_millis(20);

/// A call with a conversation: the media side and a service that hears what it is sent.
struct Call {
    conversation: Conversation,
    now: Instant,
    log: Vec<Output>,
    /// What the service received, without the audio.
    told: Vec<Value>,
    heard: Vec<u8>,
    connected: bool,
    queued: Duration,
    /// Most that may be queued.
    most: Duration,
    played: Duration,
    flush: Option<u64>,
}

impl Call {
    fn new(mut engine: EngineConfig, mut agent: AgentConfig) -> Self {
        agent.tools.custom = engine.profile.tools.iter().map(|tool| tool.name.clone()).collect();
        engine.fit(&agent);
        assert_eq!(engine.profile.check(), Ok(()));
        Self {
            conversation: Conversation::new(Box::new(OpenAi::new(engine)), agent, 20, 1),
            now: Instant::now(),
            log: Vec::new(),
            told: Vec::new(),
            heard: Vec::new(),
            connected: false,
            queued: Duration::ZERO,
            most: Duration::MAX,
            played: Duration::ZERO,
            flush: None,
        }
    }

    /// On the telephone: G.711 both ways.
    fn telephone() -> EngineConfig {
        EngineConfig::new(SessionProfile {
            input: AudioFormat::Pcmu,
            output: AudioFormat::Pcmu,
            ..SessionProfile::default()
        })
    }

    fn input(&mut self, input: Input<'_>) {
        self.conversation.handle(self.now, input);
        while let Some(output) = self.conversation.poll() {
            match &output {
                Output::Send(Message::Text(text)) => self.told.push(serde_json::from_str(text).unwrap()),
                Output::SendAudio { message: Message::Text(text), .. } => {
                    assert!(self.connected);
                    self.hear(&text.clone());
                }
                Output::Speak { audio, .. } => {
                    let fits = audio.duration().min(self.most - self.queued);
                    self.queued += fits;
                    if fits < audio.duration() {
                        self.conversation.handle(self.now, Input::NotPlayed(audio.duration() - fits));
                    }
                }
                Output::Flush { id } => self.flush = Some(*id),
                Output::Disconnect => self.connected = false,
                _ => {}
            }
            self.log.push(output);
        }
    }

    fn hear(&mut self, message: &str) {
        let message: Value = serde_json::from_str(message).unwrap();
        assert_eq!(message["type"], "input_audio_buffer.append");
        self.heard.extend(STANDARD.decode(message["audio"].as_str().unwrap()).unwrap());
    }

    fn service(&mut self, message: Value) {
        self.input(Input::Text(&message.to_string()));
    }

    /// The service accepts the connection and confirms the session.
    fn connect(&mut self) {
        self.connected = true;
        self.input(Input::Opened { unix_seconds: 1_700_000_000 });
        assert_eq!(self.told.last().unwrap()["type"], "session.update");
        self.service(json!({"type": "session.created", "session": {"id": "s"}}));
        self.service(json!({"type": "session.updated", "session": {"id": "s"}}));
    }

    fn capture(&mut self, audio: &[u8]) {
        self.input(Input::Audio(audio));
    }

    fn pass(&mut self, frames: u32) {
        for _ in 0..frames {
            self.now += FRAME;
            let given = self.queued.min(FRAME);
            self.queued -= given;
            self.played += given;
            if let Some(id) = self.flush.take() {
                self.queued = Duration::ZERO;
                self.input(Input::Flushed { id, played: self.played });
            }
            self.input(Input::Playback { played: self.played, idle: self.queued.is_zero(), waiting: self.queued });
            if self.conversation.deadline().is_some_and(|at| at <= self.now) {
                self.input(Input::Timeout);
            }
        }
    }

    fn audio(&mut self, response: &str, item: &str, ms: usize) {
        let delta = STANDARD.encode(vec![0x7f; ms * 8]);
        self.service(json!({"type": "response.output_audio.delta", "response_id": response, "item_id": item,
            "output_index": 0, "content_index": 0, "delta": delta}));
    }

    fn caller_turn(&mut self, item: &str) {
        self.service(json!({"type": "input_audio_buffer.speech_started", "audio_start_ms": 0, "item_id": item}));
        self.pass(25);
        self.service(json!({"type": "input_audio_buffer.speech_stopped", "audio_end_ms": 500, "item_id": item}));
        self.service(json!({"type": "input_audio_buffer.committed", "item_id": item}));
    }

    /// A response that says something for so long and is complete.
    fn response(&mut self, response: &str, item: &str, ms: usize) {
        self.service(json!({"type": "response.created", "response": {"id": response}}));
        self.service(json!({"type": "response.output_item.added", "response_id": response,
            "item": {"id": item, "type": "message", "role": "assistant"}}));
        self.audio(response, item, ms);
        self.service(json!({"type": "response.done", "response": {"id": response, "status": "completed"}}));
    }

    fn drop_connection(&mut self, code: u16, reason: &str) {
        self.connected = false;
        self.input(Input::Closed { code, reason });
    }

    /// Whether a connection has been asked for since the last look.
    fn wants_connection(&mut self) -> bool {
        self.log.drain(..).any(|output| matches!(output, Output::Connect(_)))
    }

    fn states(&self) -> Vec<State> {
        self.log
            .iter()
            .filter_map(|output| match output {
                Output::Event(Event::Ai(AiEvent::State { state, .. })) => Some(*state),
                _ => None,
            })
            .collect()
    }

    fn told_kinds(&self) -> Vec<&str> {
        self.told.iter().map(|message| message["type"].as_str().unwrap()).collect()
    }
}

#[test]
fn two_turns_with_an_interruption_over_the_wire() {
    let mut call = Call::new(Call::telephone(), AgentConfig::default());
    call.input(Input::Start);
    call.connect();
    call.caller_turn("u1");
    call.service(json!({"type": "response.created", "response": {"id": "r1"}}));
    call.service(json!({"type": "response.output_item.added", "response_id": "r1",
        "item": {"id": "a1", "type": "message", "role": "assistant"}}));
    call.audio("r1", "a1", 2_000);
    call.audio("r1", "a1", 2_000);
    call.pass(60);
    // The caller interrupts after 1.2 s; the service cancels by itself, and is late with one delta.
    call.service(json!({"type": "input_audio_buffer.speech_started", "audio_start_ms": 4000, "item_id": "u2"}));
    assert!(call.flush.is_some(), "the flush is asked for at once");
    call.audio("r1", "a1", 2_000);
    call.pass(3);
    call.service(json!({"type": "response.done", "response": {"id": "r1", "status": "cancelled",
        "status_details": {"type": "cancelled", "reason": "turn_detected"}}}));
    assert_eq!(call.played.as_millis(), 1_220, "one more frame, and silence");
    assert_eq!(call.told_kinds(), ["session.update", "conversation.item.truncate"]);
    let truncate = &call.told[1];
    assert_eq!((&truncate["item_id"], &truncate["content_index"]), (&json!("a1"), &json!(0)));
    assert_eq!(truncate["audio_end_ms"], json!(1_220));
    call.service(json!({"type": "input_audio_buffer.speech_stopped", "audio_end_ms": 5000, "item_id": "u2"}));
    call.service(json!({"type": "input_audio_buffer.committed", "item_id": "u2"}));
    call.service(json!({"type": "response.created", "response": {"id": "r2"}}));
    call.audio("r2", "a2", 500);
    call.service(json!({"type": "response.done", "response": {"id": "r2", "status": "completed"}}));
    call.pass(40);
    assert_eq!(call.played.as_millis(), 1_720);
    assert_eq!(
        call.states(),
        [
            State::Connecting,
            State::Listening,
            State::Processing,
            State::Speaking,
            State::Listening,
            State::Processing,
            State::Speaking,
            State::Listening
        ]
    );
    call.input(Input::Stop { text: None, call_ended: true });
    let [
        Output::Disconnect,
        Output::Event(Event::Ai(AiEvent::Summary { reason: "call_ended", talk, .. })),
        Output::Event(Event::Ai(AiEvent::State { state: State::Idle, last: true, .. })),
        Output::End(_),
    ] = &call.log[call.log.len() - 4..]
    else {
        panic!("{:?}", call.log)
    };
    assert_eq!((talk.turns, talk.interruptions), (2, 1));
}

#[test]
fn a_network_outage_of_3_s_loses_and_doubles_nothing() {
    let mut call = Call::new(Call::telephone(), AgentConfig::default());
    call.input(Input::Start);
    call.connect();
    let mut captured: Vec<u8> = Vec::new();
    let mut gone = 0;
    for frame in 0..400_usize {
        let audio: Vec<u8> = (0..160).map(|n| ((frame * 160 + n) * 7 + (frame >> 3)) as u8).collect();
        captured.extend(&audio);
        call.capture(&audio);
        call.pass(1);
        if frame == 100 {
            // Three frames had not left: the outbox says so, and what it holds is discarded.
            call.heard.truncate(call.heard.len() - 3 * 160);
            call.connected = false;
            call.conversation.set_unsent(FRAME * 3);
            call.input(Input::Closed { code: 1006, reason: "" });
        }
        if frame > 100 && !call.connected && call.wants_connection() {
            if frame < 250 {
                call.input(Input::Refused {
                    status: None,
                    permanent: false,
                    after: Duration::ZERO,
                    message: "no route to host",
                });
                gone += 1;
            } else {
                call.connect();
            }
        }
    }
    assert!(gone >= 2 && call.connected, "{gone} attempts failed");
    assert_eq!(call.heard.len(), captured.len());
    assert!(call.heard == captured, "not the caller's audio");
    assert_eq!(call.conversation.policy().stats().ring_buffer_ms, 0);
    assert_eq!(call.conversation.policy().state(), State::Listening);
}

#[test]
fn a_key_that_is_refused_ends_the_conversation_in_one_event() {
    for refusal in 0..3 {
        let mut call = Call::new(Call::telephone(), AgentConfig::default());
        call.input(Input::Start);
        call.log.clear();
        match refusal {
            0 => call.input(Input::Refused {
                status: Some(401),
                permanent: true,
                after: Duration::ZERO,
                message: "HTTP 401",
            }),
            1 => {
                call.input(Input::Opened { unix_seconds: 0 });
                call.service(
                    json!({"type": "error", "error": {"type": "invalid_request_error", "code": "invalid_api_key",
                    "message": "Incorrect API key provided: sk-secret."}}),
                );
                call.input(Input::Closed { code: 3000, reason: "invalid_request_error.invalid_api_key" });
            }
            _ => {
                call.input(Input::Opened { unix_seconds: 0 });
                call.input(Input::Closed { code: 4000, reason: "invalid_request_error.beta_api_shape_disabled" });
            }
        }
        call.pass(3_000);
        assert_eq!(call.states(), [State::Failed], "{refusal}");
        assert!(!call.log.iter().any(|output| matches!(output, Output::Connect(_))), "{refusal}");
        assert!(!format!("{:?}", call.log).contains("sk-secret"));
        assert_eq!(call.conversation.deadline(), None);
    }
}

#[test]
fn a_text_conversation_is_spoken_and_the_service_knows_how_much() {
    let agent = AgentConfig { voice: VoiceMode::Synthesis, ..AgentConfig::default() };
    let mut call = Call::new(Call::telephone(), agent);
    call.input(Input::Start);
    call.connect();
    assert_eq!(call.told[0]["session"]["output_modalities"], json!(["text"]));
    call.service(json!({"type": "response.created", "response": {"id": "r1"}}));
    for delta in ["Your order", " is on its way. It", " will be there", " tomorrow."] {
        call.service(
            json!({"type": "response.output_text.delta", "response_id": "r1", "item_id": "a1", "delta": delta}),
        );
    }
    call.service(json!({"type": "response.output_text.done", "response_id": "r1", "item_id": "a1", "text": "…"}));
    call.service(json!({"type": "response.done", "response": {"id": "r1", "status": "completed"}}));
    let audio = MonoAudio::Mulaw(vec![0xff; 8_000]);
    call.input(Input::SpeechAudio { sentence: 1, audio });
    call.input(Input::SpeechDone { sentence: 1 });
    call.pass(1);
    assert!(call.log.iter().any(|output| matches!(output,
        Output::Synthesize { sentence: 2, text, first: false } if text == "It will be there tomorrow.")));
    call.service(json!({"type": "input_audio_buffer.speech_started", "audio_start_ms": 0, "item_id": "u2"}));
    call.pass(2);
    assert_eq!(call.told_kinds(), ["session.update", "conversation.item.delete"]);
}

#[test]
fn a_function_is_called_answered_and_followed_by_a_response() {
    let mut engine = Call::telephone();
    engine.profile.tools.push(Function::new("look_up", "Looks up an order.", json!({"type": "object"})));
    let mut agent = AgentConfig::default();
    agent.tools.builtin.push(Builtin::SendDtmf);
    let mut call = Call::new(engine, agent);
    call.input(Input::Start);
    call.connect();
    let tools = call.told[0]["session"]["tools"].as_array().unwrap();
    assert_eq!(tools.iter().map(|tool| tool["name"].as_str().unwrap()).collect::<Vec<_>>(), ["look_up", "send_dtmf"]);
    call.service(json!({"type": "response.created", "response": {"id": "r1"}}));
    for (call_id, name, arguments) in [("c1", "look_up", "{\"id\":7}"), ("c2", "send_dtmf", "{\"digits\":\"1\"}")] {
        call.service(
            json!({"type": "response.output_item.done", "response_id": "r1", "item": {"type": "function_call",
            "status": "completed", "id": name, "call_id": call_id, "name": name, "arguments": arguments}}),
        );
    }
    call.service(json!({"type": "response.done", "response": {"id": "r1", "status": "completed"}}));
    let digits = Action::SendDtmf { digits: "1".into() };
    assert!(call.log.contains(&Output::Act { call_id: "c2".into(), action: digits }));
    call.input(Input::ToolResult { call_id: "c2".into(), output: "{\"ok\":true}".into() });
    assert_eq!(call.told_kinds(), ["session.update", "conversation.item.create"]);
    call.input(Input::ToolResult { call_id: "c1".into(), output: "{\"name\":\"Ada\"}".into() });
    assert_eq!(
        call.told_kinds(),
        ["session.update", "conversation.item.create", "conversation.item.create", "response.create"]
    );
    assert_eq!(
        call.told[2]["item"],
        json!({"type": "function_call_output", "call_id": "c1", "output": "{\"name\":\"Ada\"}"})
    );
}

#[test]
fn the_hour_ends_in_a_pause_and_the_next_session_has_the_talk() {
    let mut engine = Call::telephone();
    engine.max_session = Some(Duration::from_secs(400));
    let mut call = Call::new(engine, AgentConfig::default());
    call.input(Input::Start);
    call.connect();
    call.caller_turn("u1");
    call.service(json!({"type": "conversation.item.input_audio_transcription.completed", "item_id": "u1",
        "transcript": "Good morning."}));
    call.service(json!({"type": "response.created", "response": {"id": "r1"}}));
    call.audio("r1", "a1", 500);
    call.service(json!({"type": "response.output_audio_transcript.done", "response_id": "r1", "item_id": "a1",
        "transcript": "Hello."}));
    call.service(json!({"type": "response.done", "response": {"id": "r1", "status": "completed"}}));
    call.pass(50 * 101);
    let at = call.log.iter().position(|output| *output == Output::Disconnect).unwrap();
    assert!(call.log[at..].iter().any(|output| matches!(output, Output::Connect(_))));
    call.told.clear();
    call.connect();
    assert_eq!(call.told_kinds(), ["session.update", "conversation.item.create", "conversation.item.create"]);
    let content = |at: usize| (&call.told[at]["item"]["role"], &call.told[at]["item"]["content"][0]["text"]);
    assert_eq!(content(1), (&json!("user"), &json!("Good morning.")));
    assert_eq!(content(2), (&json!("assistant"), &json!("Hello.")));
    // What the old connection says late is nobody's.
    assert_eq!(call.conversation.policy().state(), State::Listening);
}

#[test]
fn the_end_is_told_once_and_to_the_session_that_comes() {
    let wind_down = Some("Say goodbye.".to_owned());
    let mut call = Call::new(Call::telephone(), AgentConfig { wind_down, ..AgentConfig::default() });
    call.input(Input::Start);
    // There is no session yet.
    call.input(Input::EndsSoon);
    call.connect();
    call.pass(5);
    let told = |call: &Call| {
        let said = |event: &&Value| event["item"]["role"] == "system";
        call.told.iter().filter(said).map(|event| event["item"]["content"][0]["text"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(told(&call), ["Say goodbye."]);
    assert_eq!(call.told.last().unwrap()["type"], "response.create");
    call.input(Input::EndsSoon);
    call.pass(5);
    assert_eq!(told(&call).len(), 1);
}

#[test]
fn a_stop_while_connecting_gives_up_the_attempt() {
    let mut call = Call::new(Call::telephone(), AgentConfig::default());
    call.input(Input::Start);
    call.log.clear();
    call.input(Input::Stop { text: None, call_ended: true });
    assert_eq!(call.log[0], Output::Disconnect);
    assert_eq!(call.states(), [State::Idle]);
    call.input(Input::Opened { unix_seconds: 0 });
    call.input(Input::Closed { code: 1006, reason: "" });
    assert_eq!(call.states(), [State::Idle]);
}

#[test]
fn the_halves_of_a_profile_are_made_to_say_the_same() {
    let fit = |mut engine: EngineConfig, mut agent: AgentConfig| {
        engine.fit(&agent);
        let detection = engine.profile.turn_detection;
        agent.fit(&OpenAi::new(engine));
        (detection, agent)
    };
    let barge_in = BargeIn { min_speech: Duration::from_millis(300), ..BargeIn::default() };
    let (detection, agent) =
        fit(EngineConfig::new(SessionProfile::default()), AgentConfig { barge_in, ..AgentConfig::default() });
    assert!(!detection.interrupts(), "it would interrupt before the 300 ms");
    assert!(!detection.responds(), "it would answer what is no turn");
    assert_eq!(agent.turns, TurnTaking::Engine { responds: false, interrupts: false });
    assert_eq!((agent.caller_bytes_per_second, agent.caller_sample_bytes), (48_000, 2));
    let off = TurnDetection::Off;
    let engine = EngineConfig::new(SessionProfile { turn_detection: off, ..SessionProfile::default() });
    let (_, agent) = fit(engine, AgentConfig::default());
    assert_eq!((agent.turns, agent.barge_in.speech), (TurnTaking::Local, SpeechTrigger::Local));
    let vad = ServerVad { interrupt_response: false, ..ServerVad::default() };
    let engine =
        EngineConfig::new(SessionProfile { turn_detection: TurnDetection::Server(vad), ..SessionProfile::default() });
    assert!(!fit(engine, AgentConfig::default()).0.interrupts(), "what the profile switches off stays off");
}

#[test]
fn what_was_given_up_is_dropped_by_its_id() {
    let mut agent = AgentConfig::default();
    agent.tools.custom.push("look_up".into());
    let mut call = Call::new(Call::telephone(), agent);
    call.input(Input::Start);
    call.connect();
    call.service(json!({"type": "response.created", "response": {"id": "r1"}}));
    call.audio("r1", "a1", 1_000);
    call.pass(5);
    call.input(Input::Interrupt);
    call.pass(2);
    assert_eq!(call.told_kinds(), ["session.update", "response.cancel", "conversation.item.truncate"]);
    call.log.clear();
    call.audio("r1", "a1", 1_000);
    call.service(json!({"type": "response.output_text.delta", "response_id": "r1", "item_id": "a1", "delta": "x"}));
    call.service(json!({"type": "response.output_audio_transcript.done", "response_id": "r1", "item_id": "a1",
        "transcript": "x"}));
    call.service(json!({"type": "response.function_call_arguments.done", "response_id": "r1", "item_id": "a3",
        "call_id": "c1", "name": "look_up", "arguments": "{}"}));
    call.service(json!({"type": "response.done", "response": {"id": "r1", "status": "cancelled"}}));
    assert_eq!(call.log, []);
    call.audio("r2", "a4", 20);
    assert!(call.log.iter().any(|output| matches!(output, Output::Speak { .. })));
}

#[test]
fn everything_billed_is_summed_whatever_became_of_it() {
    let mut call = Call::new(Call::telephone(), AgentConfig::default());
    call.input(Input::Start);
    call.connect();
    let done = |call: &mut Call, id: &str, status: &str, usage: Value| {
        call.service(json!({"type": "response.created", "response": {"id": id}}));
        call.audio(id, "a", 100);
        call.service(json!({"type": "response.done", "response": {"id": id, "status": status, "usage": usage}}));
        call.pass(20);
    };
    let whole = json!({"input_tokens": 1459, "output_tokens": 396,
        "input_token_details": {"text_tokens": 1349, "audio_tokens": 110, "cached_tokens": 1408,
            "cached_tokens_details": {"text_tokens": 1344, "audio_tokens": 64}},
        "output_token_details": {"text_tokens": 97, "audio_tokens": 299}});
    done(&mut call, "r1", "completed", whole);
    done(&mut call, "r2", "cancelled", json!({"input_tokens": 100, "output_tokens": 20}));
    done(&mut call, "r3", "failed", json!({"input_tokens": 1}));
    done(&mut call, "r4", "incomplete", json!({"output_tokens": 2}));
    done(&mut call, "r5", "completed", json!(null));
    // Given up here, but still billed.
    call.service(json!({"type": "response.created", "response": {"id": "r6"}}));
    call.audio("r6", "a6", 1_000);
    call.input(Input::Interrupt);
    call.service(json!({"type": "response.done", "response": {"id": "r6", "status": "cancelled",
        "usage": {"input_tokens": 10}}}));
    for usage in
        [json!({"type": "tokens", "input_tokens": 30, "output_tokens": 4}), json!({"type": "duration", "seconds": 1.5})]
    {
        call.service(json!({"type": "conversation.item.input_audio_transcription.completed", "item_id": "u",
            "transcript": "Hello?", "usage": usage}));
    }
    let usage = call.conversation.policy().stats().usage;
    assert_eq!((usage.input_tokens, usage.cached_tokens, usage.output_tokens), (1_570, 1_408, 418));
    assert_eq!((usage.transcription_tokens, usage.transcription_ms), (34, 1_500));
    let kinds = usage.kinds();
    assert_eq!(kinds[..3], [("input_text", 5), ("input_audio", 46), ("input_other", 111)]);
    // The events of the ends tell the sum so far, and the stream counts each statement once.
    let told = call.log.iter().find_map(|output| match output {
        Output::Event(Event::Ai(AiEvent::Response { response_id, usage, .. })) if response_id == "r2" => Some(*usage),
        _ => None,
    });
    assert_eq!(told.map(|usage| (usage.input_tokens, usage.output_tokens)), Some((1_559, 416)));
    let counted = call.log.iter().filter(|output| matches!(output, Output::Used(_))).count();
    assert_eq!(counted, 7);
}
