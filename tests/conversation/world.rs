//! A telephone call with the module's conversation in it, a network, and the scripted service, on virtual time.
//!
//! Frame by frame: what the caller says goes to the conversation and over the network, what the service answers is queued and
//! heard; a flush is seen by the media side with the next frame. Each sample heard is known by what it is of.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mod_audio_stream::conversation::agent::{AgentConfig, Event, Source, State};
use mod_audio_stream::conversation::openai::{AudioFormat, EngineConfig, OpenAi, SessionProfile, Transcription};
use mod_audio_stream::conversation::{AiOptions, CallerProcessing, CallerProcessor, Conversation, Engine};
use mod_audio_stream::peer::{self, Fetch, Fetched, Input, Message, MonoAudio, Output, Peer, Target};
use mod_audio_stream::units::{Encoding, Law, SampleRate, Secret};
use parking_lot::Mutex;
use serde_json::Value;

use crate::parts::Parts;
use crate::parts::recogniser::{Listening, Recogniser, Says};
use crate::realtime::*;
use crate::support::signal;

/// A frame of the call.
pub const FRAME: Duration = Duration::from_millis(20);

/// On the wire.
enum Packet {
    Text(String),
    Binary(Vec<u8>),
    /// The end, as the other side sees it.
    Closed(u16, String),
}

/// Some of an answer of a part.
enum Part {
    Head(u16),
    Body(Vec<u8>),
    End,
    Broken,
}

/// What is played: one piece of audio, whatever is left of it.
struct Piece {
    source: Source,
    samples: VecDeque<i16>,
}

/// A sentence being made: its audio comes in pieces.
struct Making {
    sentence: u64,
    next: Instant,
    left: u32,
}

/// The call.
pub struct World {
    pub now: Instant,
    pub conversation: Conversation,
    pub script: Arc<Script>,
    /// One way through the network.
    pub latency: Duration,
    /// The service can be reached.
    pub reachable: bool,
    pub records: Vec<Arc<Mutex<Record>>>,
    session: Option<Box<dyn Far>>,
    /// The service, if it is another than the script's.
    pub service: Option<Arc<dyn Service>>,
    /// The connection is up as the module sees it.
    open: bool,
    to_far: VecDeque<(Instant, Packet)>,
    to_us: VecDeque<(Instant, Packet)>,
    connecting: Option<Instant>,
    pub connects: u32,
    /// Where the module wants to connect, where it says so.
    target: Option<Target>,
    coding: Coding,
    /// What the caller is about to say, and has said.
    pub mouth: VecDeque<i16>,
    pub said: Vec<i16>,
    queue: VecDeque<Piece>,
    flushes: Vec<u64>,
    held: bool,
    /// The flush was asked for in a pause, so nothing of what is flushed is heard.
    flushed_in_pause: bool,
    /// What the caller has heard, at 8 kHz, and what of.
    pub heard: Vec<i16>,
    pub heard_of: Vec<(Source, usize)>,
    played: Duration,
    pub events: Vec<Event>,
    pub log: Vec<Output>,
    making: Option<Making>,
    /// Length of a synthesised sentence, ms, and how long each of its pieces of 200 ms takes to come.
    pub sentence_ms: u32,
    pub speech_latency: Duration,
    pub speech_fails: bool,
    pub spoken: Vec<(u64, String)>,
    /// Sources of which audio was queued before the last flush: nothing of them may come any more.
    stale: Vec<Source>,
    queued_since: Vec<Source>,
    /// Sources heard of, and the interruptions before their first audio.
    begun: Vec<(Source, u64)>,
    /// Messages of the service's that were unusable.
    pub faults: Vec<String>,
    /// Audio that came after its response was cancelled for an interruption, and was played nevertheless.
    pub late_played: u32,
    /// How long a frame lasts.
    pub frame: Duration,
    /// The parts of a cascade, whether they can be reached, and their answers on the way.
    pub parts: Option<Parts>,
    pub parts_reachable: bool,
    answers: Vec<(Instant, u64, Part)>,
    /// In place of the service: a recogniser, and the connection to it.
    pub recogniser: Option<Recogniser>,
    listening: Option<Listening>,
    /// Silence is not captured: for tests that need no end of speech from it.
    pub skips_silence: bool,
    /// The module's own voice activity detection; none: a test says what it hears.
    pub ears: Option<CallerProcessor>,
}

/// A telephone's profile: G.711 both ways, transcribed.
pub fn telephone() -> EngineConfig {
    EngineConfig::new(SessionProfile {
        input: AudioFormat::Pcmu,
        output: AudioFormat::Pcmu,
        transcription: Some(Transcription { model: "test".into(), ..Transcription::default() }),
        ..SessionProfile::default()
    })
}

impl World {
    pub fn new(mut engine: EngineConfig, mut agent: AgentConfig, script: Script) -> Self {
        agent.tools.custom = engine.profile.tools.iter().map(|tool| tool.name.clone()).collect();
        engine.fit(&agent);
        assert_eq!(engine.profile.check(), Ok(()));
        Self::with(Box::new(OpenAi::new(engine)), agent, script)
    }

    /// A call with this engine.
    pub fn with(engine: Box<dyn Engine>, agent: AgentConfig, script: Script) -> Self {
        let coding = match engine.input().encoding {
            Encoding::S16Le | Encoding::S16Be if engine.input().rate == SampleRate::HZ_16000 => Coding::Pcm16k,
            Encoding::S16Le | Encoding::S16Be if engine.input().rate == SampleRate::HZ_8000 => Coding::Pcm8k,
            Encoding::S16Le | Encoding::S16Be => Coding::Pcm24k,
            Encoding::G711(Law::Mu) => Coding::Pcmu,
            Encoding::G711(Law::A) => Coding::Pcma,
        };
        Self {
            now: Instant::now(),
            conversation: Conversation::new(engine, agent, 20, 1),
            script: Arc::new(script),
            latency: Duration::from_millis(30),
            reachable: true,
            records: Vec::new(),
            session: None,
            service: None,
            open: false,
            to_far: VecDeque::new(),
            to_us: VecDeque::new(),
            connecting: None,
            connects: 0,
            target: None,
            coding,
            mouth: VecDeque::new(),
            said: Vec::new(),
            queue: VecDeque::new(),
            flushes: Vec::new(),
            held: false,
            flushed_in_pause: false,
            heard: Vec::new(),
            heard_of: Vec::new(),
            played: Duration::ZERO,
            events: Vec::new(),
            log: Vec::new(),
            making: None,
            sentence_ms: 1_000,
            speech_latency: Duration::from_millis(100),
            speech_fails: false,
            spoken: Vec::new(),
            stale: Vec::new(),
            queued_since: Vec::new(),
            begun: Vec::new(),
            faults: Vec::new(),
            late_played: 0,
            frame: FRAME,
            parts: None,
            parts_reachable: true,
            answers: Vec::new(),
            recogniser: None,
            listening: None,
            skips_silence: false,
            ears: None,
        }
    }

    /// The same call, in which the module hears the caller by itself.
    pub fn with_ears(mut self, caller: CallerProcessing) -> Self {
        self.ears = Some(CallerProcessor::new(caller, SampleRate::new(self.coding.rate()).unwrap()));
        self
    }

    /// The same call, of a conversation that was made of these options.
    pub fn with_options(self, options: AiOptions) -> Self {
        Self { conversation: self.conversation.with_options(Arc::new(options)), ..self }
    }

    /// Started, connected, configured.
    pub fn ready(engine: EngineConfig, agent: AgentConfig, script: Script) -> Self {
        let mut world = Self::new(engine, agent, script);
        world.input(Input::Start);
        world.pass(Duration::from_millis(500));
        assert_eq!(world.state(), State::Listening);
        world
    }

    pub fn state(&self) -> State {
        self.conversation.policy().state()
    }

    /// The session in progress at the service.
    pub fn session(&mut self) -> Option<&mut Box<dyn Far>> {
        self.session.as_mut().filter(|session| !session.is_over())
    }

    /// The service does something now.
    pub fn order(&mut self, order: Order) {
        let now = self.now;
        if let Some(session) = self.session() {
            session.order(now, order);
        }
        self.service_says();
    }

    /// The service's record of a connection.
    pub fn record(&self, index: usize) -> parking_lot::MutexGuard<'_, Record> {
        self.records[index].lock()
    }

    /// The network is gone: both sides lose what was on its way. The module learns at once what had not arrived.
    pub fn cut(&mut self) {
        self.reachable = false;
        (self.session, self.listening) = (None, None);
        self.to_us.clear();
        let unsent = self.undelivered();
        if std::mem::take(&mut self.open) {
            self.conversation.set_unsent(unsent);
            self.input(Input::Closed { code: 1006, reason: "" });
        }
    }

    /// The network is gone for so long.
    pub fn cut_for(&mut self, time: Duration) {
        self.cut();
        self.pass(time);
        self.reachable = true;
    }

    /// The functions that the operator has been asked for so far, by the ids of the calls.
    pub fn calls(&self) -> Vec<String> {
        let call = |event: &Event| match event {
            Event::Action { call_id, .. } => Some(call_id.clone()),
            _ => None,
        };
        self.events.iter().filter_map(call).collect()
    }

    /// The operator answers every call, those once more that are answered.
    pub fn answer_calls(&mut self) {
        for call_id in self.calls() {
            self.input(Input::ToolResult { call_id, output: r#"{"done":true}"#.into() });
        }
    }

    /// A hundred turns of a caller who interrupts now and then, among losses, keys and texts of the operator's, all drawn from `seed`; then
    /// everything gets its time. `trouble` is what becomes of a service that ends a session by itself. Returns how many were lost.
    pub fn hundred_turns(&mut self, mut seed: u64, trouble: impl Fn(&mut u64) -> What) -> usize {
        let mut cuts = 0;
        for _ in 0..100 {
            self.until("a session", |world| !matches!(world.state(), State::Connecting | State::Reconnecting));
            self.mouth.extend(signal::tone(8_000, 300.0, 400 + chance(&mut seed, 600) as u32, 6_000.0));
            self.pass(Duration::from_millis(1_800 + chance(&mut seed, 1_200)));
            match chance(&mut seed, 14) {
                0 => {
                    cuts += 1;
                    self.cut_for(Duration::from_millis(100 + chance(&mut seed, 900)));
                }
                1 => self.input(Input::Interrupt),
                2 => self.input(Input::Say("The operator says a word.".into())),
                3 => self.input(Input::SendText("The caller is a good customer.")),
                4 => self.input(Input::Dtmf { digit: '7', duration_ms: 100 }),
                5 => {
                    cuts += 1;
                    self.order(Order::Trouble(trouble(&mut seed)));
                }
                // The next turn interrupts, if this one is being answered.
                6..=8 => {}
                _ => self.pass(Duration::from_secs(5)),
            }
            self.answer_calls();
        }
        for _ in 0..4 {
            self.pass(Duration::from_secs(25));
            self.answer_calls();
        }
        cuts
    }

    /// What the service has complained of, over all connections.
    pub fn complaints(&self) -> Vec<String> {
        let complaints = self.records.iter().flat_map(|record| record.lock().complaints.clone());
        complaints.map(|complaint| format!("{complaint:?}")).collect()
    }

    /// The errors that the operator has been told.
    pub fn errors(&self) -> Vec<String> {
        let error = |event: &Event| match event {
            Event::Error { code, message, .. } => Some(format!("{code}: {message}")),
            _ => None,
        };
        self.events.iter().filter_map(error).collect()
    }

    /// How often the caller has interrupted the agent, as the operator has been told.
    pub fn interruptions(&self) -> usize {
        self.events.iter().filter(|event| matches!(event, Event::BargeIn { .. })).count()
    }

    /// How much of the caller's audio is on its way, and will not arrive.
    fn undelivered(&mut self) -> Duration {
        let coding = self.script.hosted.as_ref().map_or(self.coding, |hosted| hosted.input_coding());
        let samples: usize = self.to_far.drain(..).map(|(_, packet)| samples_of(&packet, coding)).sum();
        Duration::from_micros(samples as u64 * 1_000_000 / u64::from(coding.rate()))
    }

    pub fn input(&mut self, input: Input<'_>) {
        self.conversation.handle(self.now, input);
        let mut outputs = Vec::new();
        while let Some(output) = self.conversation.poll() {
            outputs.push(output);
        }
        for output in outputs {
            self.output(&output);
            if !matches!(output, Output::SendAudio { .. } | Output::Speak { .. }) {
                self.log.push(output);
            }
        }
    }

    fn output(&mut self, output: &Output) {
        let arrives = self.now + self.latency;
        match output {
            Output::Connect(connect) => {
                self.target = connect.target.clone().filter(|target| !target.url.is_empty());
                self.connects += 1;
                self.disconnect(false);
                self.connecting = Some(self.now + self.latency * 3);
            }
            Output::Disconnect => {
                self.connecting = None;
                self.disconnect(true);
            }
            Output::Send(Message::Text(text)) | Output::SendAudio { message: Message::Text(text), .. } if self.open => {
                self.to_far.push_back((arrives, Packet::Text(text.clone())));
            }
            Output::SendAudio { message: Message::Binary(bytes), .. } if self.open => {
                self.to_far.push_back((arrives, Packet::Binary(bytes.clone())));
            }
            Output::Send(_) | Output::SendAudio { .. } => panic!("said without a connection: {output:?}"),
            Output::Speak { source, audio } => {
                assert!(!self.stale.contains(source), "{source:?} was flushed");
                if !self.queued_since.contains(source) {
                    self.queued_since.push(source.clone());
                }
                let interruptions = self.conversation.policy().stats().barge_in_count;
                if !self.begun.iter().any(|(known, _)| known == source) {
                    self.begun.push((source.clone(), interruptions));
                }
                let interrupted = self.begun.iter().any(|(known, before)| known == source && *before < interruptions);
                self.late_played += u32::from(interrupted && is_late(audio));
                self.queue.push_back(Piece { source: source.clone(), samples: telephone_samples(audio) });
            }
            Output::Flush { id } => {
                self.flushes.push(*id);
                self.flushed_in_pause = self.held;
                self.stale.append(&mut self.queued_since);
            }
            Output::Hold(held) => self.held = *held,
            Output::Synthesize { sentence, text, .. } => {
                assert!(self.making.is_none(), "one sentence is made at a time");
                self.spoken.push((*sentence, text.clone()));
                self.making = Some(Making {
                    sentence: *sentence,
                    next: self.now + self.speech_latency,
                    left: self.sentence_ms.div_ceil(200),
                });
            }
            Output::AbortSynthesis { sentence } => {
                assert!(self.making.take().is_some_and(|making| making.sentence == *sentence), "sentence {sentence}");
            }
            Output::Fetch(fetch) => self.ask(fetch),
            Output::AbortFetch { id } => self.answers.retain(|(_, of, _)| of != id),
            Output::Event(peer::Event::Ai(event)) => self.events.push(event.clone()),
            Output::Fault(fault) => self.faults.push(fault.reason.to_string()),
            _ => {}
        }
    }

    /// The module is done with its connection.
    fn disconnect(&mut self, politely: bool) {
        self.open = false;
        self.to_us.clear();
        // What it sent before the close still arrives.
        if politely {
            while let Some((_, packet)) = self.to_far.pop_front() {
                self.arrive(packet);
            }
        }
        self.to_far.clear();
        (self.session, self.listening) = (None, None);
    }

    /// What the service has to say goes on its way.
    fn service_says(&mut self) {
        while let Some(says) = self.listening.as_mut().and_then(Listening::poll) {
            let packet = match says {
                Says::Text(text) => Packet::Text(text),
                Says::Close(code) => Packet::Closed(code, String::new()),
            };
            self.to_us.push_back((self.now + self.latency, packet));
        }
        let Some(session) = &mut self.session else { return };
        let arrives = self.now + self.latency;
        while let Some(out) = session.poll() {
            let packet = match out {
                Out::Text(text) => Packet::Text(text),
                Out::Binary(bytes) => Packet::Binary(bytes),
                Out::Close(code, reason) => Packet::Closed(code, reason),
                Out::Drop => Packet::Closed(1_006, String::new()),
                Out::Freeze | Out::Stall(_) => continue,
            };
            self.to_us.push_back((arrives, packet));
        }
    }

    fn arrive(&mut self, packet: Packet) {
        match (&mut self.session, &mut self.listening, packet) {
            (Some(session), _, Packet::Text(text)) => session.take(self.now, &text),
            (Some(session), _, Packet::Binary(bytes)) => session.take_binary(self.now, &bytes),
            (_, Some(listening), Packet::Text(text)) => listening.read(self.now, &text),
            (_, Some(listening), Packet::Binary(audio)) => listening.hear(self.now, &audio),
            _ => {}
        }
        self.service_says();
    }

    fn service(&self) -> Arc<dyn Service> {
        self.service.clone().unwrap_or_else(|| Arc::clone(&self.script) as Arc<dyn Service>)
    }

    fn connect(&mut self) {
        self.connecting = None;
        let (uri, headers) = match &self.target {
            Some(target) => {
                let path = target.url.split('/').skip(3).collect::<Vec<_>>().join("/");
                let header = |(name, value): &(String, Secret)| (name.to_lowercase(), value.expose().to_owned());
                let uri = match target.secret.as_ref().map(Secret::expose) {
                    Some(secret) if secret.starts_with('/') => {
                        format!("/{path}").trim_end_matches('/').to_owned() + secret
                    }
                    Some(secret) => format!("/{path}?{secret}"),
                    None => format!("/{path}"),
                };
                (uri, target.headers.iter().map(header).collect())
            }
            None => {
                let headers = vec![("authorization".to_owned(), "Bearer sk-test".to_owned())];
                (format!("/v1/realtime?model={}", self.script.model), headers)
            }
        };
        if !self.reachable {
            return self.input(Input::Refused {
                status: None,
                permanent: false,
                after: Duration::ZERO,
                message: "no route to host",
            });
        }
        if let Some(recogniser) = &self.recogniser {
            let key = headers.iter().find(|(name, _)| name == "authorization").map(|(_, value)| value.as_str());
            let opened = recogniser.open(self.now, &uri, key);
            let status = opened.as_ref().err().copied();
            self.listening = opened.ok();
            self.open = status.is_none();
            return match status {
                None => self.input(Input::Opened { unix_seconds: 1_700_000_000 }),
                status => {
                    self.input(Input::Refused { status, permanent: false, after: Duration::ZERO, message: "refused" });
                }
            };
        }
        let service = self.service();
        if let Err(status) = service.admit(&uri, &headers) {
            return self.input(Input::Refused {
                status: Some(status),
                permanent: false,
                after: Duration::ZERO,
                message: "refused",
            });
        }
        let connection = self.records.len();
        let opening = Opening { now: self.now, unix_seconds: 1_700_000_000, connection, uri, headers };
        let record = Arc::new(Mutex::new(Record::default()));
        self.records.push(Arc::clone(&record));
        self.session = Some(service.open(&opening, record));
        self.open = true;
        self.input(Input::Opened { unix_seconds: 1_700_000_000 });
        self.service_says();
    }

    /// A request to a part: its answer goes on its way.
    fn ask(&mut self, fetch: &Fetch) {
        let mut at = self.now + self.latency * 2;
        let uri = format!("/{}", fetch.target.url.split('/').skip(3).collect::<Vec<_>>().join("/"));
        let method = if fetch.body.is_some() { "POST" } else { "GET" };
        let service = self.service();
        if self.reachable && service.is_request(&format!("{method} {uri} HTTP/1.1")) {
            let host = fetch.target.url.split('/').nth(2).unwrap_or_default();
            let of_body = fetch.body.as_ref().map(|body| ("content-type".to_owned(), body.content_type.to_owned()));
            let given =
                fetch.target.headers.iter().map(|(name, value)| (name.to_lowercase(), value.expose().to_owned()));
            let headers: Vec<_> = given.chain(of_body).chain([("host".to_owned(), host.to_owned())]).collect();
            let body = fetch.body.as_ref().map_or(&[][..], |body| &body.bytes);
            let (status, body) = service.answer(&Request { method, uri: &uri, headers: &headers, body });
            let pieces = [Part::Head(status), Part::Body(body.into_bytes()), Part::End];
            return self.answers.extend(pieces.map(|piece| (at, fetch.id, piece)));
        }
        let (Some(parts), true) = (&self.parts, self.parts_reachable) else {
            return self.answers.push((at, fetch.id, Part::Broken));
        };
        let key = fetch.target.headers.iter().find(|(name, _)| name == "Authorization");
        let key = key.map(|(_, value)| value.expose());
        let (content_type, body) = fetch.body.as_ref().map_or(("", &[][..]), |body| (body.content_type, &body.bytes));
        let answer = parts.answer(&uri, key, content_type, body);
        self.answers.push((at, fetch.id, Part::Head(answer.status)));
        let mut ends = Part::End;
        for (wait, piece) in answer.pieces {
            at += wait;
            match piece {
                Some(piece) => self.answers.push((at, fetch.id, Part::Body(piece))),
                None => ends = Part::Broken,
            }
        }
        self.answers.push((at, fetch.id, ends));
    }

    /// What has come of the requests by now.
    fn take_answers(&mut self) {
        while let Some(index) = self.answers.iter().position(|(at, ..)| *at <= self.now) {
            let (_, id, part) = self.answers.remove(index);
            let lost = !self.parts_reachable;
            if lost {
                self.answers.retain(|(_, of, _)| *of != id);
            }
            let piece = match &part {
                _ if lost => Fetched::Failed("the connection was reset"),
                Part::Head(status) => Fetched::Head { status: *status, request_id: None },
                Part::Body(bytes) => Fetched::Body(bytes),
                Part::End => Fetched::End,
                Part::Broken => Fetched::Failed("the connection was reset"),
            };
            self.input(Input::Fetched { id, piece });
        }
    }

    /// When the conversation wants to be woken.
    pub fn conversation_deadline(&self) -> Option<Instant> {
        self.conversation.deadline()
    }

    /// Lets time pass.
    pub fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.frame();
        }
    }

    /// Lets time pass until this holds; panics after a minute.
    #[track_caller]
    pub fn until(&mut self, what: &str, holds: impl Fn(&Self) -> bool) {
        let end = self.now + Duration::from_secs(60);
        while !holds(self) {
            assert!(self.now < end, "waited a minute for {what}; {}", self.state());
            self.frame();
        }
    }

    /// The next frame.
    pub fn frame(&mut self) {
        self.now += self.frame;
        self.network();
        self.capture();
        self.play();
        self.synthesise();
        self.take_answers();
        if self.connecting.is_some_and(|at| at <= self.now) {
            self.connect();
        }
        let now = self.now;
        if let Some(session) = &mut self.session {
            session.tick(now);
        }
        if let Some(listening) = &mut self.listening {
            listening.tick(now);
        }
        self.service_says();
        self.network();
        if self.conversation.deadline().is_some_and(|at| at <= self.now) {
            self.input(Input::Timeout);
        }
    }

    fn network(&mut self) {
        loop {
            if self.to_far.front().is_some_and(|(at, _)| *at <= self.now) {
                if let Some((_, packet)) = self.to_far.pop_front() {
                    self.arrive(packet);
                }
            } else if self.to_us.front().is_some_and(|(at, _)| *at <= self.now) {
                match self.to_us.pop_front() {
                    Some((_, Packet::Text(text))) => self.input(Input::Text(&text)),
                    Some((_, Packet::Binary(bytes))) => self.input(Input::Binary(&bytes)),
                    Some((_, Packet::Closed(code, reason))) => {
                        let unsent = self.undelivered();
                        self.open = false;
                        (self.session, self.listening) = (None, None);
                        self.conversation.set_unsent(unsent);
                        self.input(Input::Closed { code, reason: &reason });
                    }
                    None => {}
                }
            } else {
                return;
            }
        }
    }

    fn capture(&mut self) {
        if self.skips_silence && self.mouth.is_empty() {
            return;
        }
        let length = u128::from(self.coding.rate()) * self.frame.as_millis() / 1_000;
        let frame: Vec<i16> = (0..length).map(|_| self.mouth.pop_front().unwrap_or(0)).collect();
        self.said.extend(&frame);
        let bytes = self.coding.encode(&frame);
        self.input(Input::Audio(&bytes));
        let mut pcm = frame;
        if let Some(ears) = &mut self.ears {
            ears.process(&mut pcm, 0);
        }
        while let Some(heard) = self.ears.as_mut().and_then(CallerProcessor::take) {
            self.input(heard.input());
        }
    }

    fn play(&mut self) {
        let frame = self.frame.as_millis() as usize * 8;
        let mut wanted = frame;
        let silent = self.held || (self.flushed_in_pause && !self.flushes.is_empty());
        while wanted > 0 && !silent {
            let Some(piece) = self.queue.front_mut() else { break };
            let some = wanted.min(piece.samples.len());
            self.heard.extend(piece.samples.drain(..some));
            match self.heard_of.last_mut() {
                Some((source, heard)) if *source == piece.source => *heard += some,
                _ => self.heard_of.push((piece.source.clone(), some)),
            }
            wanted -= some;
            if piece.samples.is_empty() {
                self.queue.pop_front();
            }
        }
        self.heard.resize(self.heard.len() + wanted, 0);
        let given = Duration::from_micros((frame - wanted) as u64 * 125);
        self.played += given;
        for id in std::mem::take(&mut self.flushes) {
            self.queue.clear();
            self.input(Input::Flushed { id, played: self.played });
        }
        let waiting = Duration::from_micros(self.queue.len() as u64 * 125);
        self.input(Input::Playback { played: self.played, idle: waiting.is_zero(), waiting });
    }

    fn synthesise(&mut self) {
        let Some(making) = self.making.as_mut().filter(|making| making.next <= self.now) else { return };
        let sentence = making.sentence;
        if self.speech_fails {
            self.making = None;
            return self.input(Input::SpeechFailed { sentence, code: "500".into(), message: "no".into() });
        }
        if making.left == 0 {
            self.making = None;
            return self.input(Input::SpeechDone { sentence });
        }
        making.left -= 1;
        making.next += self.speech_latency;
        let audio = MonoAudio::Mulaw(Coding::Pcmu.encode(&vec![1_000 + sentence as i16; 1_600]));
        self.input(Input::SpeechAudio { sentence, audio });
    }

    /// How long the caller heard audio of this source.
    pub fn heard_of(&self, wanted: &Source) -> Duration {
        let samples: usize = self.heard_of.iter().filter(|(source, _)| source == wanted).map(|(_, n)| n).sum();
        Duration::from_micros(samples as u64 * 125)
    }

    /// Whether nothing waits to be heard.
    pub fn is_silent(&self) -> bool {
        self.queue.is_empty()
    }

    /// The states reported so far.
    pub fn states(&self) -> Vec<State> {
        let state = |event: &Event| match event {
            Event::State { state, .. } => Some(*state),
            _ => None,
        };
        self.events.iter().filter_map(state).collect()
    }

    /// The last events reported: more than one is a mistake.
    pub fn last_events(&self) -> usize {
        self.events.iter().filter(|event| matches!(event, Event::State { last: true, .. })).count()
    }

    /// What the caller's audio was, over all connections.
    pub fn service_heard(&self) -> Vec<i16> {
        self.records.iter().flat_map(|record| record.lock().audio.clone()).collect()
    }
}

fn samples_of(packet: &Packet, coding: Coding) -> usize {
    let text = match packet {
        Packet::Text(text) => text,
        Packet::Binary(bytes) => return bytes.len() / coding.sample_bytes(),
        Packet::Closed(..) => return 0,
    };
    let event: Value = serde_json::from_str(text).unwrap();
    let base64 = match event["type"].as_str() {
        Some("input_audio_buffer.append" | "input.audio" | "session.input_audio.append") => event["audio"].as_str(),
        Some(_) => None,
        None => event["user_audio_chunk"].as_str().or_else(|| event["realtimeInput"]["audio"]["data"].as_str()),
    };
    let Some(base64) = base64 else { return 0 };
    (base64.len() / 4 * 3 - base64.bytes().filter(|b| *b == b'=').count()) / coding.sample_bytes()
}

/// Whether it is what the service sends when a response was cancelled.
fn is_late(audio: &MonoAudio) -> bool {
    match audio {
        MonoAudio::Mulaw(bytes) | MonoAudio::Alaw(bytes) => bytes.iter().all(|byte| *byte == 0x55),
        MonoAudio::Pcm { samples, .. } => samples.iter().all(|sample| *sample == 0x5555),
    }
}

/// Audio for the caller as the telephone plays it.
fn telephone_samples(audio: &MonoAudio) -> VecDeque<i16> {
    match audio {
        MonoAudio::Mulaw(bytes) => Coding::Pcmu.decode(bytes).unwrap().into(),
        MonoAudio::Alaw(bytes) => Coding::Pcma.decode(bytes).unwrap().into(),
        // Every third sample, or second: these tests are about the protocol, and the service's speech has nothing above 3.4 kHz.
        MonoAudio::Pcm { samples, rate } => samples.iter().copied().step_by(rate.hz() as usize / 8_000).collect(),
    }
}

/// The next of the numbers below `below` that a seed gives: the same in every run.
pub fn chance(seed: &mut u64, below: u64) -> u64 {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*seed >> 33) % below
}
