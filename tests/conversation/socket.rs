//! The same over a real socket, at the pace of a call: the server's thread, the module's transport, real time.

use std::sync::atomic::AtomicBool;
use std::task::Poll;
use std::time::{Duration, Instant};

use mod_audio_stream::conversation::Conversation;
use mod_audio_stream::conversation::agent::{AgentConfig, State};
use mod_audio_stream::conversation::openai::{Endpoint, EngineConfig, OpenAi};
use mod_audio_stream::peer::{Connect, Input, Message, MonoAudio, Output, Peer, Target};
use mod_audio_stream::transport::{
    self, ConnectError, ConnectOptions, Connection, Headers, Incoming, Outbox, OutboxLimits, Payload, TlsProfiles,
};
use mod_audio_stream::units::Secret;
use serde_json::json;

use crate::realtime::*;
use crate::support::signal;
use crate::world::telephone;

const FRAME: Duration = Duration::from_millis(20);

/// A phone, and the conversation of its call.
struct Phone {
    conversation: Conversation,
    link: Option<(Connection, Outbox)>,
    mouth: Vec<i16>,
    said: usize,
    heard: Vec<i16>,
    queue: Vec<i16>,
    played: Duration,
    flush: Option<u64>,
    wants: Option<Target>,
    /// What was heard when the last flush was asked for.
    flushed_at: usize,
}

impl Phone {
    fn new(mut engine: EngineConfig, server: &RealtimeServer, key: &str) -> Self {
        let agent = AgentConfig::default();
        engine.fit(&agent);
        let base_url = Some(server.base_url());
        let endpoint = Endpoint { base_url, ..Endpoint::openai("test-model", Secret::new(key)) };
        engine.target = endpoint.handshake().unwrap();
        Self {
            conversation: Conversation::new(Box::new(OpenAi::new(engine)), agent, 20, 7),
            link: None,
            mouth: Vec::new(),
            said: 0,
            heard: Vec::new(),
            queue: Vec::new(),
            played: Duration::ZERO,
            flush: None,
            wants: None,
            flushed_at: 0,
        }
    }

    fn input(&mut self, input: Input<'_>) {
        self.conversation.handle(Instant::now(), input);
        while let Some(output) = self.conversation.poll() {
            match output {
                Output::Connect(Connect { target, .. }) => self.wants = target,
                Output::Disconnect => {
                    if let Some((connection, _)) = &mut self.link {
                        connection.close(1000, "");
                    }
                }
                Output::Send(Message::Text(text)) => self.link.as_mut().unwrap().1.push(Payload::Text(text)).unwrap(),
                Output::SendAudio { message: Message::Text(text), duration } => {
                    self.link.as_mut().unwrap().1.push_audio(Payload::Text(text), duration);
                }
                Output::Speak { audio: MonoAudio::Mulaw(bytes), .. } => {
                    self.queue.extend(Coding::Pcmu.decode(&bytes).unwrap());
                }
                Output::Flush { id } => {
                    self.flush = Some(id);
                    self.flushed_at = self.heard.len();
                }
                Output::Fault(fault) => panic!("{fault:?}"),
                _ => {}
            }
        }
    }

    /// A frame each way, and what follows from it.
    fn frame(&mut self) {
        let mut frame: Vec<i16> = self.mouth.iter().skip(self.said).take(160).copied().collect();
        self.said += frame.len();
        frame.resize(160, 0);
        let audio = Coding::Pcmu.encode(&frame);
        self.input(Input::Audio(&audio));
        if let Some(id) = self.flush.take() {
            self.queue.clear();
            self.input(Input::Flushed { id, played: self.played });
        }
        let some = self.queue.len().min(160);
        self.heard.extend(self.queue.drain(..some));
        self.heard.resize(self.heard.len() + 160 - some, 0);
        self.played += Duration::from_micros(some as u64 * 125);
        let waiting = Duration::from_micros(self.queue.len() as u64 * 125);
        self.input(Input::Playback { played: self.played, idle: waiting.is_zero(), waiting });
        if self.conversation.deadline().is_some_and(|at| at <= Instant::now()) {
            self.input(Input::Timeout);
        }
    }

    async fn connect(&mut self, target: Target) {
        let address = transport::Endpoint::parse(&target.url).unwrap();
        let mut headers = Headers::default();
        for (name, value) in &target.headers {
            headers.insert(name, value).unwrap();
        }
        let options = ConnectOptions { headers, ..ConnectOptions::default() };
        match transport::connect(&address, &options, &TlsProfiles::default(), &AtomicBool::new(false)).await {
            Ok(connection) => {
                self.link = Some((connection, Outbox::new(OutboxLimits::default())));
                self.input(Input::Opened { unix_seconds: 1_700_000_000 });
            }
            Err(error) => {
                let status = match &error {
                    ConnectError::Refused { status, .. } => Some(*status),
                    _ => None,
                };
                self.input(Input::Refused {
                    status,
                    permanent: error.is_permanent(),
                    after: Duration::ZERO,
                    message: &error.to_string(),
                });
            }
        }
    }

    /// Talks until `done`, at most for so long.
    async fn talk(&mut self, limit: Duration, mut done: impl FnMut(&mut Self) -> bool) {
        let mut next = tokio::time::Instant::now();
        let end = next + limit;
        while !done(self) {
            assert!(next < end, "{limit:?} were not enough: {}", self.conversation.policy().state());
            if let Some(target) = self.wants.take() {
                self.connect(target).await;
            }
            next += FRAME;
            loop {
                let incoming = std::future::poll_fn(|cx| match &mut self.link {
                    Some((connection, outbox)) => connection.poll_drive(cx, outbox),
                    None => Poll::Pending,
                });
                match tokio::time::timeout_at(next, incoming).await {
                    Err(_) => break,
                    Ok(Incoming::Text(text)) => self.input(Input::Text(&text)),
                    Ok(Incoming::Closed(closure)) => {
                        let unsent = self.link.take().unwrap().1.stats().waiting;
                        self.conversation.set_unsent(unsent);
                        self.input(Input::Closed { code: closure.code, reason: &closure.reason });
                    }
                    Ok(other) => panic!("{other:?}"),
                }
            }
            self.frame();
        }
    }

    fn state(&self) -> State {
        self.conversation.policy().state()
    }

    fn say(&mut self, ms: u32, seed: u64) {
        self.mouth.truncate(self.said);
        self.mouth.extend(signal::speech(8_000, ms, seed));
    }
}

#[tokio::test]
async fn two_turns_with_an_interruption_over_a_real_socket() {
    let answers = [Answer { late: 4, ..Answer::chord(41, 8_000) }, Answer::chord(42, 600)];
    let server = RealtimeServer::start(Script::answering(answers));
    let mut phone = Phone::new(telephone(), &server, "sk-test");
    let patience = Duration::from_secs(60);
    phone.input(Input::Start);
    phone.talk(patience, |phone| phone.state() == State::Listening).await;
    phone.say(900, 3);
    phone.talk(patience, |phone| phone.state() == State::Speaking).await;
    let from = phone.heard.len();
    phone.talk(patience, |phone| phone.heard.len() > from + 8_000).await;
    phone.say(900, 4);
    phone.talk(patience, |phone| phone.state() != State::Speaking).await;
    phone.talk(patience, |phone| phone.state() == State::Speaking).await;
    phone.talk(patience, |phone| phone.state() == State::Listening).await;
    phone.input(Input::Stop { text: None, call_ended: true });
    let connection = server.connection(0);
    phone.talk(patience, |_| connection.ended().is_some()).await;
    assert_eq!(connection.wait_end().1, "1000 ");

    let (start, first) = heard_ms(&phone.heard, &chord(8_000, 8_000, 41), 8_000).unwrap();
    assert!(heard_ms(&phone.heard, &chord(8_000, 600, 42), 8_000).unwrap().1 > 590.0);
    let trigger = (phone.flushed_at - start) as f64 / 8.0;
    assert!(first <= trigger + 22.0, "flush at {trigger}, heard {first}");
    let record = connection.record();
    assert_eq!(record.complaints, []);
    let session = &record.told("session.update")[0]["session"];
    assert_eq!(session["audio"]["input"]["format"], json!({"type": "audio/pcmu"}));
    let told = record.told("conversation.item.truncate")[0]["audio_end_ms"].as_f64().unwrap();
    assert!((told - first).abs() <= 20.0, "told {told}, heard {first}");
    assert!(connection.opening.headers.iter().all(|(name, _)| name != "openai-beta"));
}

#[tokio::test]
async fn a_wrong_key_is_refused_once_by_the_socket_too() {
    let server = RealtimeServer::start(Script::default());
    let mut phone = Phone::new(telephone(), &server, "sk-wrong");
    phone.input(Input::Start);
    phone.talk(Duration::from_secs(60), |phone| phone.state() == State::Failed).await;
    let from = Instant::now();
    phone.talk(Duration::from_secs(60), |_| from.elapsed() > Duration::from_secs(2)).await;
    assert_eq!(server.refused().iter().map(|(_, status)| *status).collect::<Vec<_>>(), [401]);
    assert_eq!((server.accepted(), server.connections().len()), (1, 0));
}
