//! An engine that has nothing of any vendor's: the proof that another service is one implementation of `Engine`.
//!
//! Its service speaks a JSON of its own beside binary audio, says two things before it is ready, has no ids, tells neither when the
//! caller speaks or what a response is, interrupts by itself, cannot truncate, and continues after a reconnect where it was.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use mod_audio_stream::conversation::Conversation;
use mod_audio_stream::conversation::agent::{AgentConfig, Event as AiEvent, Greeting, State, TurnTaking};
use mod_audio_stream::conversation::engine::{
    Capabilities, Command, Engine, Event, Input as EngineInput, InputFormat, Loss, Outcome, Output as EngineOutput,
};
use mod_audio_stream::peer::{self, Input, Message, MonoAudio, Output, Peer, Target};
use mod_audio_stream::protocol::Fault;
use mod_audio_stream::units::{Encoding, Law, SampleRate, Secret};
use serde_json::{Value, json};

#[derive(Debug, Default)]
struct Parrot {
    outputs: VecDeque<EngineOutput>,
    ready: bool,
    answers: u32,
}

impl Parrot {
    fn send(&mut self, message: &Value) {
        self.outputs.push_back(EngineOutput::Send(Message::Text(message.to_string())));
    }

    fn event(&mut self, event: Event) {
        self.outputs.push_back(EngineOutput::Event(event));
    }

    /// The service has no ids: the engine makes them up.
    fn ids(&self) -> (String, String) {
        (format!("answer-{}", self.answers), format!("words-{}", self.answers))
    }

    fn lost(&mut self, code: &str, message: &str) {
        self.ready = false;
        self.event(Event::Lost(Loss { fatal: false, code: code.into(), message: message.into() }));
    }

    fn text(&mut self, text: &str) {
        let (response_id, item_id) = self.ids();
        match serde_json::from_str::<Value>(text) {
            Ok(message) if message["welcome"].is_string() => self.send(&json!({"voice": "parrot"})),
            Ok(message) if message["go"] == true => {
                self.ready = true;
                self.event(Event::Ready);
            }
            Ok(message) if message["heard"].is_string() => {
                let text = message["heard"].as_str().unwrap().to_owned();
                self.event(Event::CallerTranscript { item_id: String::new(), text, whole: true });
            }
            Ok(message) if message["say"].is_string() => {
                let text = message["say"].as_str().unwrap().to_owned();
                self.event(Event::Transcript { response_id, item_id, text, whole: true });
            }
            Ok(message) if message["stop"] == true => {
                self.answers += 1;
                self.event(Event::Interrupted);
            }
            Ok(message) if message["end"] == true => {
                self.answers += 1;
                self.event(Event::ResponseDone { response_id, outcome: Outcome::Completed });
            }
            Ok(message) if message["call"].is_object() => {
                let word = |key: &str| message["call"][key].as_str().unwrap().to_owned();
                let (call_id, name, arguments) = (word("id"), word("name"), word("with"));
                self.event(Event::ToolCall { response_id, call_id, name, arguments });
            }
            _ => self.outputs.push_back(EngineOutput::Fault(Fault { reason: "not a parrot's words".into() })),
        }
    }
}

impl Engine for Parrot {
    fn handle(&mut self, _now: Instant, input: EngineInput<'_>) {
        match input {
            EngineInput::Opened { .. } => self.send(&json!({"hello": 1})),
            EngineInput::Text(text) => self.text(text),
            EngineInput::Binary(bytes) => {
                let (response_id, item_id) = self.ids();
                let audio = MonoAudio::Mulaw(bytes.to_vec());
                self.event(Event::Audio { response_id, item_id, content_index: 0, audio });
            }
            EngineInput::Audio(audio) if self.ready => {
                let duration = self.input().duration_of(audio.len());
                self.outputs.push_back(EngineOutput::SendAudio { message: Message::Binary(audio.to_vec()), duration });
            }
            EngineInput::Audio(_)
            | EngineInput::LocalSpeech(_)
            | EngineInput::Fetched { .. }
            | EngineInput::Timeout => {}
            EngineInput::Refused { message, .. } => self.lost("connect", message),
            EngineInput::Closed { code, reason } => self.lost(&code.to_string(), reason),
            // It is not told how to be.
            EngineInput::Changed(_) => self.event(Event::Changed(None)),
            EngineInput::Command(command) => match command {
                Command::Connect { .. } => {
                    let headers = vec![("X-Seed".to_owned(), Secret::new("sunflower"))];
                    let url = "ws://parrot.example/perch".to_owned();
                    self.outputs.push_back(EngineOutput::Connect(Target { url, headers, secret: None }));
                }
                Command::Respond { instructions, .. } => self.send(&json!({"answer": instructions})),
                Command::Message { text, .. } => self.send(&json!({"told": text})),
                Command::ToolCall { .. } => panic!("a parrot remembers what it asked: {command:?}"),
                Command::ToolOutput { call_id, output } => self.send(&json!({"result": call_id, "is": output})),
                Command::Raw { event } => self.outputs.push_back(EngineOutput::Send(Message::Text(event))),
                Command::Approve { .. } => panic!("a parrot has no tools of its own: {command:?}"),
                Command::Close => {
                    self.ready = false;
                    self.outputs.push_back(EngineOutput::Close);
                }
                Command::Cancel { tell: false, .. } | Command::BeginTurn { .. } | Command::Commit => {}
                Command::Cancel { .. } => self.send(&json!({"quiet": true})),
                Command::Truncate { .. } | Command::Delete { .. } => panic!("a parrot cannot forget: {command:?}"),
                Command::Say { .. } | Command::Recall { .. } => panic!("a parrot has no such words: {command:?}"),
            },
        }
    }

    fn poll(&mut self) -> Option<EngineOutput> {
        self.outputs.pop_front()
    }

    fn deadline(&self) -> Option<Instant> {
        None
    }

    fn input(&self) -> InputFormat {
        InputFormat { rate: SampleRate::HZ_8000, encoding: Encoding::G711(Law::Mu) }
    }

    fn capabilities(&self) -> Capabilities {
        let turns = TurnTaking::Engine { responds: true, interrupts: true };
        Capabilities {
            turns,
            full_duplex: false,
            truncates: false,
            takes_text: true,
            resumes: true,
            transcribes: false,
            says: false,
            greets: false,
        }
    }
}

/// A call with it: the texts and the audio that are sent, what is queued and heard, and the operator's events.
struct Perch {
    now: Instant,
    conversation: Conversation,
    connects: Vec<Target>,
    sent: Vec<Value>,
    audio: Vec<u8>,
    queued: Duration,
    played: Duration,
    flushes: Vec<u64>,
    events: Vec<AiEvent>,
}

impl Perch {
    fn new(policy: AgentConfig) -> Self {
        Self {
            now: Instant::now(),
            conversation: Conversation::new(Box::<Parrot>::default(), policy, 20, 5),
            connects: Vec::new(),
            sent: Vec::new(),
            audio: Vec::new(),
            queued: Duration::ZERO,
            played: Duration::ZERO,
            flushes: Vec::new(),
            events: Vec::new(),
        }
    }

    fn input(&mut self, input: Input<'_>) {
        self.conversation.handle(self.now, input);
        while let Some(output) = self.conversation.poll() {
            match output {
                Output::Connect(connect) => self.connects.extend(connect.target),
                Output::Send(Message::Text(text)) => self.sent.push(serde_json::from_str(&text).unwrap()),
                Output::SendAudio { message: Message::Binary(bytes), .. } => self.audio.extend(bytes),
                Output::Speak { audio, .. } => self.queued += audio.duration(),
                Output::Flush { id } => self.flushes.push(id),
                Output::Event(peer::Event::Ai(event)) => self.events.push(event),
                Output::Fault(fault) => panic!("{fault}"),
                _ => {}
            }
        }
    }

    fn says(&mut self, message: Value) {
        self.input(Input::Text(&message.to_string()));
    }

    fn connect(&mut self) {
        self.input(Input::Opened { unix_seconds: 0 });
        self.says(json!({"welcome": "to the cage"}));
        self.says(json!({"go": true}));
        assert_eq!(self.sent.drain(..2).collect::<Vec<_>>(), [json!({"hello": 1}), json!({"voice": "parrot"})]);
    }

    fn pass(&mut self, ms: u64) {
        for _ in 0..ms / 20 {
            self.now += Duration::from_millis(20);
            let given = self.queued.min(Duration::from_millis(20));
            self.queued -= given;
            self.played += given;
            for id in std::mem::take(&mut self.flushes) {
                self.queued = Duration::ZERO;
                self.input(Input::Flushed { id, played: self.played });
            }
            self.input(Input::Playback { played: self.played, idle: self.queued.is_zero(), waiting: self.queued });
            if self.conversation.deadline().is_some_and(|at| at <= self.now) {
                self.input(Input::Timeout);
            }
        }
    }

    fn state(&self) -> State {
        self.conversation.policy().state()
    }
}

#[test]
fn an_engine_of_another_kind_holds_a_whole_conversation() {
    let mut policy = AgentConfig { greeting: Some(Greeting::Text("Good day.".into())), ..AgentConfig::default() };
    policy.tools.custom.push("weather".into());
    let mut perch = Perch::new(policy);
    perch.input(Input::Start);
    assert_eq!(perch.connects.len(), 1);
    assert_eq!(perch.connects[0].url, "ws://parrot.example/perch");
    perch.connect();

    // The greeting.
    assert!(perch.sent.remove(0)["answer"].as_str().unwrap().ends_with("Good day."));
    perch.says(json!({"say": "Good day."}));
    perch.input(Input::Binary(&[0xff; 800]));
    perch.says(json!({"end": true}));
    assert_eq!(perch.state(), State::Speaking);
    perch.pass(200);
    assert_eq!((perch.state(), perch.played.as_millis()), (State::Listening, 100));

    // A turn of the caller's, and an answer that they interrupt: nothing is truncated, what still comes is not played.
    perch.input(Input::Audio(&[1; 160]));
    assert_eq!(perch.audio, [1; 160]);
    perch.says(json!({"heard": "How is the weather?"}));
    perch.says(json!({"say": "It is a long story, and I like to tell it."}));
    perch.input(Input::Binary(&[0xff; 16_000]));
    perch.pass(1_000);
    perch.says(json!({"stop": true}));
    assert_eq!(perch.flushes.len(), 1);
    perch.pass(40);
    let interrupted = |event: &AiEvent| matches!(event, AiEvent::BargeIn { heard_ms: 1_020, received_ms: 2_000, .. });
    assert!(perch.events.iter().any(interrupted), "{:?}", perch.events);
    assert_eq!((perch.state(), perch.queued, perch.sent.len()), (State::Listening, Duration::ZERO, 0));

    // A function, and the answer that follows from it.
    perch.says(json!({"call": {"id": "c1", "name": "weather", "with": "{\"at\":\"home\"}"}}));
    perch.says(json!({"end": true}));
    assert_eq!(perch.conversation.report().unwrap().awaited, ["c1"]);
    perch.input(Input::ToolResult { call_id: "c1".into(), output: "rain".into() });
    assert_eq!(perch.sent, [json!({"result": "c1", "is": "rain"}), json!({"answer": null})]);
    perch.says(json!({"say": "Rain."}));
    perch.input(Input::Binary(&[0xff; 160]));
    perch.says(json!({"end": true}));
    perch.pass(100);
    assert_eq!(perch.state(), State::Listening);

    // The connection breaks: the caller's words wait, and the service is not told again what it knows.
    perch.sent.clear();
    perch.audio.clear();
    perch.input(Input::Closed { code: 1006, reason: "" });
    assert_eq!(perch.state(), State::Reconnecting);
    perch.input(Input::Audio(&[2; 160]));
    perch.pass(1_000);
    assert_eq!(perch.connects.len(), 2);
    perch.connect();
    assert_eq!((perch.audio.as_slice(), perch.sent.len()), (&[2; 160][..], 0));
    assert_eq!(perch.state(), State::Listening);

    // It breaks again during a function: the service knows the call, and gets the result that came meanwhile.
    perch.says(json!({"call": {"id": "c2", "name": "weather", "with": "{}"}}));
    perch.says(json!({"end": true}));
    perch.input(Input::Closed { code: 1006, reason: "" });
    perch.input(Input::ToolResult { call_id: "c2".into(), output: "sun".into() });
    perch.pass(2_000);
    perch.sent.clear();
    perch.connect();
    assert_eq!(perch.sent, [json!({"result": "c2", "is": "sun"}), json!({"answer": null})]);
    perch.says(json!({"say": "Sun."}));
    perch.says(json!({"end": true}));

    perch.input(Input::Stop { text: None, call_ended: true });
    let last = perch.events.iter().filter(|event| matches!(event, AiEvent::State { last: true, .. })).count();
    assert_eq!((last, perch.state()), (1, State::Idle));
}
