//! Calls that have done nothing: every frame of theirs has to arrive, whatever the calls beside them go through.
//!
//! One is a stream whose server listens and speaks; what both sides get is compared with what was said, sample by sample. Where the
//! machine is too busy, FreeSWITCH itself loses packets of the caller: its own recorder notes what it has delivered to those who
//! listen on the call, and of that nothing may be missing at the server. The other is a conversation, whose turns are counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::realtime::{Answer, Answers, RealtimeServer, Script as Service, Voice};
use crate::support::passage::{Passage, RATE, follow, missing, noise, trace};
use crate::support::websocket_server::{Action, Connection, Form, Play, Script, WebSocketServer};
use crate::support::{eventually, signal, wait_for};
use crate::switch::{Phone, Switch};

/// The server speaks so long, all at once, in every period; and the caller of a conversation gets such an answer.
const SPEECH: Duration = Duration::from_secs(4);
const PERIOD: Duration = Duration::from_secs(6);
/// The longest that a server may be behind the caller, packets.
const BEHIND: u64 = 20;
/// FreeSWITCH makes up a packet where one comes late. More than this share of what was captured must not be the caller's.
const MADE_UP: usize = 100;
/// Silence before and after what the server says: the module fades in and out.
const EDGE: usize = RATE / 50;
/// The agent's answer, ms.
const ANSWER_MS: u32 = 2_000;

/// What became of an innocent call.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// What the caller said, at the server.
    pub captured: Passage,
    /// Samples that FreeSWITCH delivered and that did not come to the server.
    pub lost_by_module: usize,
    /// What the server said, at the caller.
    pub played: Passage,
    /// Packets that FreeSWITCH, and not the module, has lost or made up.
    pub lost_by_switch: u64,
    /// Turns of a conversation.
    pub turns: u64,
    /// What is wrong.
    pub faults: Vec<String>,
}

/// Asks for the health of a call's stream.
pub fn health(switch: &dyn Switch, uuid: &str) -> Value {
    let text = switch.api(&format!("uuid_audio_stream {uuid} health"));
    serde_json::from_str(&text).unwrap_or(Value::Null)
}

fn start(switch: &dyn Switch, uuid: &str, command: &str) {
    let answer = switch.api(&format!("uuid_audio_stream {uuid} {command}"));
    assert!(answer.starts_with("+OK"), "'{command}' of an innocent call was answered: {answer}");
}

fn end(switch: &dyn Switch, phone: &dyn Phone) {
    switch.api(&format!("uuid_audio_stream {} stop", phone.uuid()));
    phone.hang_up();
}

/// A loss of the module's shows in its counters, too.
fn counters(health: &Value, faults: &mut Vec<String>, what: &str) {
    let counters = [
        ("capture", "dropped_frames"),
        ("capture", "send_dropped_ms"),
        ("inject", "underrun_count"),
        ("inject", "overflow_count"),
    ];
    for (side, counter) in counters {
        if health[side][counter] != 0 {
            faults.push(format!("{what}: {side}.{counter} is {}", health[side][counter]));
        }
    }
}

/// A call with a stream.
pub struct Stream<'s> {
    switch: &'s dyn Switch,
    phone: Box<dyn Phone + 's>,
    connection: Arc<Connection>,
    _server: WebSocketServer,
    said: Vec<i16>,
    seed: u64,
    said_before: u64,
    lost_before: u64,
    over: Arc<AtomicBool>,
    speaker: JoinHandle<usize>,
}

impl<'s> Stream<'s> {
    /// Places the call, which has something to say for `time`.
    pub fn begin(switch: &'s dyn Switch, time: Duration, seed: u64) -> Self {
        let phone = switch.phone();
        let server = WebSocketServer::start(Script::default());
        start(switch, phone.uuid(), &format!("start {} mono 8k binary_rate=8k", server.url()));
        let connection = server.connection(0);
        connection.wait_bytes(1_600);
        // A machine that is late makes a round longer.
        let said = noise(seed, (2 * time.as_secs() as usize + 120) * RATE);
        phone.witness();
        let (said_before, lost_before) = (phone.said(), phone.lost());
        phone.say(&said);
        let over = Arc::new(AtomicBool::new(false));
        let speaker = {
            let (connection, over) = (Arc::clone(&connection), Arc::clone(&over));
            thread::spawn(move || speak(&connection, &over, seed))
        };
        Self { switch, phone, connection, _server: server, said, seed, said_before, lost_before, over, speaker }
    }

    /// The call.
    pub fn uuid(&self) -> &str {
        self.phone.uuid()
    }

    /// Ends the call, and compares.
    pub fn finish(self) -> Outcome {
        self.over.store(true, Ordering::Relaxed);
        let bursts = self.speaker.join().expect("it only sends");
        let spoken: Vec<i16> = (0..bursts).flat_map(|number| burst(self.seed, number)).collect();
        let mut played = Passage::default();
        let whole = || {
            played = follow(&spoken, &self.phone.heard());
            played.to() == spoken.len()
        };
        // The last of it may still wait to be heard; then the pause before it is over.
        thread::sleep(SPEECH);
        eventually(PERIOD, whole);
        let name = format!("call {}", self.phone.uuid());
        let mut faults = Vec::new();
        let health = health(self.switch, self.phone.uuid());
        counters(&health, &mut faults, &name);
        let lost_by_switch = self.phone.lost() - self.lost_before;
        let packets = self.phone.said() - self.said_before;
        let disordered = self.phone.disordered();
        // What FreeSWITCH delivered; where nothing notes that, all but what it counts as lost.
        let delivered = self.phone.delivered().map(|noted| trace(&self.said, &noted).1);
        let until = match &delivered {
            Some(stretches) => stretches.last().map_or(0, |last| last.end) as u64 / 160,
            None => packets.saturating_sub(lost_by_switch),
        };
        let (mut captured, mut at_server) = Default::default();
        let enough = || {
            (captured, at_server) = trace(&self.said, &self.connection.audio());
            captured.to() as u64 / 160 + BEHIND >= until
        };
        if !eventually(Duration::from_secs(2), enough) {
            faults.push(format!("{name}: of {until} packets its server got {} ms", captured.arrived / 8));
        }
        let Passage { arrived, lost, foreign, from, .. } = captured;
        let lost_by_module = match &delivered {
            Some(stretches) => missing(stretches, &at_server),
            None => from + lost,
        };
        if lost_by_module > 0 || foreign > arrived / MADE_UP {
            faults.push(format!(
                "{name}: its server got {arrived} samples from the caller's {from}th on, {lost} are missing, \
                 {lost_by_module} of which FreeSWITCH delivered, and {foreign} are not the caller's; FreeSWITCH lost \
                 {lost_by_switch} packets"
            ));
        }
        if self.connection.ended().is_some() {
            faults.push(format!("{name}: its connection ended with {:?}", self.connection.ended()));
        }
        if played != (Passage { arrived: spoken.len(), ..Passage::default() }) && disordered == 0 {
            faults.push(format!("{name}: of {} samples played the caller heard {played:?}; {health}", spoken.len()));
        }
        end(self.switch, &*self.phone);
        Outcome { captured, lost_by_module, played, lost_by_switch, turns: 0, faults }
    }
}

/// What the server says in its `number`th period.
fn burst(seed: u64, number: usize) -> Vec<i16> {
    noise(seed ^ ((number as u64 + 1) << 20), SPEECH.as_secs() as usize * RATE)
}

/// The server's part: gives how many times it has spoken.
fn speak(connection: &Connection, over: &AtomicBool, seed: u64) -> usize {
    for number in 0.. {
        // All at once: whether it is heard depends on the module alone, and not on the server's pace.
        let samples = [vec![0; EDGE], burst(seed, number), vec![0; EDGE]].concat();
        connection.order(Action::Play(Play::mono(samples, 8_000).form(Form::Binary).chunks(320)));
        let next = Instant::now() + PERIOD;
        while Instant::now() < next {
            if over.load(Ordering::Relaxed) {
                return number + 1;
            }
            thread::sleep(Duration::from_millis(50));
        }
    }
    unreachable!("it ends when it is told")
}

/// A call with a conversation.
pub struct Conversation<'s> {
    switch: &'s dyn Switch,
    phone: Box<dyn Phone + 's>,
    server: RealtimeServer,
    seed: u64,
    said_before: u64,
    lost_before: u64,
    spoken: u64,
    next: Instant,
}

impl<'s> Conversation<'s> {
    /// Places the call and waits until the agent listens.
    pub fn begin(switch: &'s dyn Switch, seed: u64) -> Self {
        let answer = Answer { voice: Some(Voice::Chord { seed, ms: ANSWER_MS }), ..Answer::default() };
        let server = RealtimeServer::start(Service {
            answers: Answers::always(answer),
            keep_audio: false,
            ..Service::default()
        });
        let phone = switch.phone();
        let options = "openai_api_key=sk-test openai_model=test-model vad_silence_duration_ms=300";
        start(switch, phone.uuid(), &format!("start_ai openai_base_url={} {options}", server.base_url()));
        let listens = || (health(switch, phone.uuid())["state"] == "LISTENING").then_some(());
        wait_for("the innocent conversation", Duration::from_secs(15), listens);
        let (said_before, lost_before) = (phone.said(), phone.lost());
        Self { switch, phone, server, seed, said_before, lost_before, spoken: 0, next: Instant::now() }
    }

    /// The call.
    pub fn uuid(&self) -> &str {
        self.phone.uuid()
    }

    /// Has the caller speak when it is time.
    pub fn go_on(&mut self) {
        if Instant::now() >= self.next {
            self.phone.say(&signal::speech(RATE as u32, 900, self.seed + self.spoken));
            self.spoken += 1;
            self.next = Instant::now() + PERIOD;
        }
    }

    /// Ends the call, and counts.
    pub fn finish(self) -> Outcome {
        let asked = || health(self.switch, self.phone.uuid());
        let answered = || {
            let health = asked();
            let played = u64::from(ANSWER_MS) * self.spoken;
            health["ai"]["turns"].as_u64() >= Some(self.spoken)
                && health["inject"]["played_ms"].as_u64() >= Some(played)
        };
        eventually(Duration::from_secs(10), answered);
        let health = asked();
        let name = format!("conversation {}", self.phone.uuid());
        let mut faults = Vec::new();
        counters(&health, &mut faults, &name);
        let lost_by_switch = self.phone.lost() - self.lost_before;
        let (turns, played) = (health["ai"]["turns"].as_u64(), health["inject"]["played_ms"].as_u64());
        if turns != Some(self.spoken) || played != Some(u64::from(ANSWER_MS) * self.spoken) {
            faults
                .push(format!("{name}: of {} turns it has {turns:?}, {played:?} ms were heard; {health}", self.spoken));
        }
        let packets = self.phone.said() - self.said_before;
        let connection = self.server.connection(0);
        let record = connection.record();
        let heard_ms = record.samples * 1_000 / if record.format["type"] == "audio/pcm" { 24_000 } else { 8_000 };
        if heard_ms / 20 + lost_by_switch + BEHIND < packets {
            faults.push(format!("{name}: of {packets} packets its service got {heard_ms} ms"));
        }
        if !record.complaints.is_empty() || connection.ended().is_some() {
            faults.push(format!("{name}: {:?}, ended {:?}", record.complaints, connection.ended()));
        }
        drop(record);
        end(self.switch, &*self.phone);
        Outcome { lost_by_switch, turns: self.spoken, faults, ..Outcome::default() }
    }
}
