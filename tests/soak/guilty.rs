//! The calls around the innocent ones: streams and conversations that start, meet a server that misbehaves, and end at any moment.
//!
//! Each slot is a thread that has one call with one stream at a time. What it does is drawn from the numbers of the seed, the
//! round and the slot; when it happens depends on the machine, too.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::realtime::{Answer, Answers, Auth, Pace, RealtimeServer, Script as Service, Trouble, Voice, What, When};
use crate::support::flood;
use crate::support::signal::{self, Random};
use crate::support::websocket_server::{Action, Echo, Handshake, Play, Script, WebSocketServer};
use crate::switch::Switch;

/// Calls with a stream at a time.
pub const SLOTS: usize = 50;
/// A stream lasts from 1 s to 9 s, 5 s in the mean: so 50 slots start and stop ten a second.
const LIFE_MS: (u32, u32) = (1_000, 9_000);
/// A server that floods is disconnected after 10 s; one that hangs is noticed within 30 s.
const FLOODED: Duration = Duration::from_secs(15);
const FROZEN: Duration = Duration::from_secs(35);
/// Why a start may be refused.
const EXPECTED: [&str; 2] = ["circuit breaker", "No such channel"];
const LOUD: f64 = 8_000.0;

/// What the slots have done.
#[derive(Default)]
pub struct Tally {
    /// Calls placed.
    pub calls: AtomicU64,
    /// Streams and conversations started.
    pub starts: AtomicU64,
    /// Starts that the module refused: an open breaker, a call that has gone.
    pub refused: AtomicU64,
    /// A refusal for another reason.
    pub strange: Mutex<Option<String>>,
    /// Calls hung up while their stream was there.
    pub hangups: AtomicU64,
    /// Streams stopped.
    pub stops: AtomicU64,
}

impl Tally {
    fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// The servers of a round, and with what a stream to each is started.
pub struct Servers {
    streams: Vec<(WebSocketServer, &'static str)>,
    conversations: Vec<RealtimeServer>,
    floods: Vec<WebSocketServer>,
    frozen: WebSocketServer,
}

impl Servers {
    /// Starts them all.
    pub fn start() -> Self {
        let after = |actions: Vec<Action>| Script::of([vec![Action::AfterBytes(16_000)], actions].concat());
        let opening = |handshake: Handshake| Script::default().with_handshake(handshake);
        let tone = |ms: u32| Play::mono(signal::tone(8_000, 700.0, ms, LOUD), 8_000);
        // A text frame of 1000 bytes, of which 6 come; and an opcode that is none.
        let half = Action::Raw([&[0x81, 126, 0x03, 0xe8][..], b"{\"type"].concat());
        let garbage = Action::Raw(vec![0x83, 0x01, 0x00]);
        let scripts = [
            (Script::echo(Echo::Binary), "mono 8k binary_rate=8k"),
            (Script::echo(Echo::StreamAudio { rate: 16_000, channels: 1 }), "mono 16k"),
            (Script::of([Action::Play(tone(60_000).paced())]), "mono 8k"),
            (Script::of([Action::Play(tone(5_000))]), "stereo 48k"),
            (Script::default(), "mixed 16k"),
            (after(vec![Action::Close(1_000, "enough".to_owned())]), "mono 8k"),
            (Script::of([Action::Close(1_011, "no".to_owned())]), "mono 8k"),
            (after(vec![Action::Reset]), "mono 8k"),
            (after(vec![Action::Drop]), "mono 8k reconnect=2"),
            (after(vec![half, Action::Reset]), "mono 8k"),
            (after(vec![garbage, Action::Freeze]), "mono 8k"),
            (after(vec![Action::Text("{\"type\":\"streamAudio\",\"data\":{".repeat(50))]), "mono 8k"),
            (after(vec![Action::FreezeThenReset(Duration::from_secs(2))]), "mono 8k"),
            (Script { never_read: true, ..Script::default() }, "stereo 48k max_queue_ms=1000"),
            (opening(Handshake::Refuse(503)), "mono 8k"),
            (opening(Handshake::Never), "mono 8k connect_timeout_ms=3000"),
            (opening(Handshake::Late(Duration::from_millis(500))), "mono 8k"),
            (opening(Handshake::Slam), "mono 8k"),
            (opening(Handshake::Garbage), "mono 8k"),
        ];
        let answer =
            |pace: Pace| Answer { voice: Some(Voice::Chord { seed: 9, ms: 3_000 }), pace, ..Answer::default() };
        let service =
            |pace| Service { answers: Answers::always(answer(pace)), keep_audio: false, ..Service::default() };
        let trouble = |what: What| {
            let when = When::Said(Duration::from_millis(500));
            Service { troubles: vec![Trouble { connection: None, when, what }], ..service(Pace::Times(2.0)) }
        };
        let services = [
            service(Pace::Burst),
            service(Pace::Times(1.0)),
            trouble(What::Drop),
            trouble(What::Close(1_011, "trouble")),
            trouble(What::Freeze),
            trouble(What::Stall(Duration::from_secs(2))),
            trouble(What::Error("server_error", "overloaded")),
            trouble(What::Text("{\"type\":".to_owned())),
            Service { auth: Auth::Bearer("another".to_owned()), ..service(Pace::Burst) },
        ];
        let floods = [flood::short_texts(), flood::pings(), flood::fragments(), flood::long_message()];
        let pour = |bytes| WebSocketServer::start(Script::of([Action::Pour(bytes, Duration::from_secs(60))]));
        Self {
            streams: scripts.map(|(script, options)| (WebSocketServer::start(script), options)).into(),
            conversations: services.map(RealtimeServer::start).into(),
            floods: floods.map(pour).into(),
            frozen: WebSocketServer::start(Script::of([Action::Freeze])),
        }
    }

    /// A command that starts something with this name: one in four is a conversation.
    fn draw(&self, random: &mut Random, name: &str) -> String {
        let mut one_of = |count: usize| random.below(count as u32) as usize;
        if one_of(4) == 0 {
            let url = self.conversations[one_of(self.conversations.len())].base_url();
            let options = "openai_api_key=sk-test openai_model=test-model greeting=Hello";
            return format!("start_ai name={name} openai_base_url={url} {options}");
        }
        let (server, options) = &self.streams[one_of(self.streams.len())];
        format!("start name={name} {} {options}", server.url())
    }
}

/// What a slot needs.
pub struct Slot<'s> {
    /// Where its calls are.
    pub switch: &'s dyn Switch,
    /// Whom its streams meet.
    pub servers: &'s Servers,
    /// Where it counts.
    pub tally: &'s Tally,
    /// Folder for recordings.
    pub folder: &'s std::path::Path,
    /// Which it is.
    pub number: usize,
    /// When it hangs up for good.
    pub until: Instant,
}

impl Slot<'_> {
    /// Starts and ends streams until its time is over. The first slot has the server that floods, the second the frozen one.
    pub fn run(&self, mut random: Random) {
        // Not all at once.
        self.pause(Duration::from_millis(random.below(LIFE_MS.1).into()));
        let mut call = None;
        let mut number = 0;
        while Instant::now() < self.until {
            let uuid = call.take().unwrap_or_else(|| {
                Tally::count(&self.tally.calls);
                self.switch.place()
            });
            call = match self.number {
                0 => {
                    let server = &self.servers.floods[number % self.servers.floods.len()];
                    let options = "mono 8k max_audio_base64_len=10000000";
                    self.start(&uuid, &format!("start {} {options}", server.url()));
                    self.pause(FLOODED);
                    self.hang_up(&uuid)
                }
                1 => {
                    self.start(&uuid, &format!("start {} mono 8k", self.servers.frozen.url()));
                    self.pause(FROZEN);
                    self.hang_up(&uuid)
                }
                _ => self.live(uuid, &mut random),
            };
            number += 1;
        }
        if let Some(uuid) = call {
            self.switch.kill(&uuid);
        }
    }

    /// One stream of the call; gives the call if it goes on.
    fn live(&self, uuid: String, random: &mut Random) -> Option<String> {
        // A stream that is ending still has its name.
        let name = format!("s{}", random.below(1_000_000));
        let command = self.servers.draw(random, &name);
        let (from, to) = LIFE_MS;
        let life = Duration::from_millis((from + random.below(to - from)).into());
        let end = random.below(10);
        let recorded = random.below(8) == 0;
        self.start(&uuid, &command);
        if end == 0 {
            // In the middle of the start.
            self.pause(Duration::from_millis(random.below(50).into()));
            self.hang_up(&uuid);
            self.pause(life);
            return None;
        }
        if recorded {
            let file = self.folder.join(format!("{uuid}-{name}.wav"));
            self.switch.api(&format!("uuid_audio_stream {uuid} record name={name} start {}", file.display()));
        }
        self.pause(life);
        if end <= 5 {
            return self.hang_up(&uuid);
        }
        let text = if end == 6 { " bye" } else { "" };
        self.switch.api(&format!("uuid_audio_stream {uuid} stop name={name}{text}"));
        Tally::count(&self.tally.stops);
        Some(uuid)
    }

    fn start(&self, uuid: &str, command: &str) {
        let answer = self.switch.api(&format!("uuid_audio_stream {uuid} {command}"));
        Tally::count(&self.tally.starts);
        if !answer.starts_with("+OK") {
            Tally::count(&self.tally.refused);
            if !EXPECTED.iter().any(|reason| answer.contains(reason)) {
                *self.tally.strange.lock() = Some(format!("'{command}' was answered: {answer}"));
            }
        }
    }

    fn hang_up(&self, uuid: &str) -> Option<String> {
        self.switch.kill(uuid);
        Tally::count(&self.tally.hangups);
        None
    }

    /// Waits so long, but not beyond the end.
    fn pause(&self, time: Duration) {
        thread::sleep(time.min(self.until.saturating_duration_since(Instant::now())));
    }
}
