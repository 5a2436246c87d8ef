//! Starts, hang-ups and answers in the same instant: nothing is left behind, and first things come first.

use std::collections::BTreeSet;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::esl::Esl;
use crate::harness::process::{connections_to, descriptors, threads};
use crate::harness::server::FreeSwitch;
use crate::harness::sip::{Dial, SipCall};
use crate::harness::stream::{CALLER, LOUD, SERVER, SOON, THERE, listen_to};
use crate::harness::{in_freeswitch, in_freeswitch_alone, repetitions};
use crate::realtime::{RealtimeServer, Script as Service};
use crate::support::signal::Random;
use crate::support::websocket_server::{
    Action, Connection, Echo, Form, Handshake, Play, Received, Script, WebSocketServer,
};
use crate::support::{audio, eventually, signal};

/// What the FreeSWITCH process had before the races, and a call that has to notice nothing of them.
struct Calm<'f> {
    freeswitch: &'f FreeSwitch,
    descriptors: usize,
    threads: usize,
    innocent: SipCall,
    server: WebSocketServer,
    began: Instant,
    lost: u64,
}

impl<'f> Calm<'f> {
    fn before(freeswitch: &'f FreeSwitch) -> Self {
        let innocent = SipCall::place(freeswitch, &Dial::to("park"));
        innocent.phone.hum(CALLER, LOUD);
        let server = WebSocketServer::start(Script::default());
        freeswitch.start_stream(&innocent.uuid, &server, "mono 8k");
        server.connection(0).wait_bytes(16_000);
        let lost = freeswitch.packets_lost(&innocent.uuid);
        let pid = freeswitch.pid();
        let (descriptors, threads) = (descriptors(pid), threads(pid).len());
        Self { freeswitch, descriptors, threads, innocent, server, began: Instant::now(), lost }
    }

    /// Nothing is left but what there was; the connections of `servers` have ended.
    #[track_caller]
    fn is_restored(&self, servers: &[&WebSocketServer], what: &str) {
        let freeswitch = self.freeswitch;
        let calls = || (freeswitch.channels(), freeswitch.streams());
        assert!(eventually(2 * SOON, || calls() == (1, 1)), "{what}: {:?} calls and streams", calls());
        for server in servers {
            let open = || connections_to(server.port());
            assert!(eventually(SOON, || open() == 0), "{what}: {} sockets remain", open());
            for connection in server.connections() {
                let end = connection.ended();
                assert!(matches!(end, Some(Received::Close(..))), "{what}: a connection ended with {end:?}");
            }
        }
        // FreeSWITCH keeps the threads of calls for calls to come, some seconds.
        let pid = freeswitch.pid();
        let left = || (descriptors(pid), threads(pid).len());
        let restored = || left().0 <= self.descriptors && left().1 <= self.threads;
        assert!(
            eventually(3 * SOON, restored),
            "{what}: {:?} descriptors and threads, before {:?}",
            left(),
            (self.descriptors, self.threads)
        );
        let connection = self.server.connection(0);
        assert_eq!(connection.ended(), None, "{what}: the call beside it goes on");
        let wall = self.began.elapsed().as_millis() as usize;
        let captured = || connection.audio()[8_000..].to_vec();
        let lost = 20 * (freeswitch.packets_lost(&self.innocent.uuid) - self.lost) as usize;
        let whole = || captured().len() / 8 + lost + 100 >= wall;
        assert!(eventually(SOON, whole), "{what}: in {wall} ms the call beside it gets {} ms", captured().len() / 8);
        // What is lost is heard in the blocks on both of its sides.
        let tone = audio::tone_ms(&captured(), 8_000, CALLER, THERE) as usize;
        assert!(tone + 3 * lost + 200 >= wall, "{what}: of {wall} ms {tone} ms are the caller's, {lost} ms were lost");
    }
}

#[test]
fn a_call_killed_while_its_stream_starts_leaves_nothing_behind() {
    in_freeswitch(|freeswitch| {
        let second = freeswitch.subscribe("plain HEARTBEAT");
        let race = |server: &WebSocketServer, times: usize| {
            for round in 0..times as u64 {
                let uuid = freeswitch.new_uuid();
                let commands = [
                    format!("api originate {{origination_uuid={uuid}}}loopback/park/tests &park"),
                    format!("bgapi uuid_audio_stream {uuid} start {} mono 8k", server.url()),
                ];
                let kill = || {
                    thread::sleep(Duration::from_micros(round % 51 * 100));
                    second.bgapi(&format!("uuid_kill {uuid}"));
                };
                let replies = freeswitch.pipeline(&commands, kill);
                if replies[0].starts_with("+OK") {
                    // The kill was too early.
                    second.bgapi(&format!("uuid_kill {uuid}"));
                }
            }
        };
        let scripts = [
            ("accepts", Script::default()),
            ("never answers", Script::default().with_handshake(Handshake::Never)),
            ("refuses", Script::default().with_handshake(Handshake::Refuse(503))),
        ];
        race(&WebSocketServer::start(Script::default()), 20);
        thread::sleep(Duration::from_secs(1));
        let calm = Calm::before(freeswitch);
        for (what, script) in scripts {
            let server = WebSocketServer::start(script);
            race(&server, repetitions(60, 500));
            calm.is_restored(&[&server], what);
        }
    });
}

/// One start on a call of its own, which is hung up at any moment of the first 400 ms: by the caller, or by a command.
fn start_and_hang_up(freeswitch: &FreeSwitch, connection: &Esl, starts: &[String], number: usize) {
    let mut random = Random::new(number as u64);
    let start = &starts[number % starts.len()];
    let time = Duration::from_millis(random.below(400).into());
    let stream = |uuid: &str, command: &str| connection.api(&format!("uuid_audio_stream {uuid} {command}"));
    // Refused for no other reasons.
    let begin = |uuid: &str| {
        let answer = stream(uuid, start);
        let expected = ["+OK", "-ERR No such channel", "-ERR the call is hanging up", "circuit breaker"];
        let expected = expected.iter().any(|reason| answer.contains(reason));
        assert!(expected, "call {number}: '{start}' was answered: {answer}");
    };
    if random.below(4) == 0 {
        let call = SipCall::place(freeswitch, &Dial::to("park").hangup_after(time));
        begin(&call.uuid);
        assert!(eventually(SOON, || call.ended()), "call {number} stays");
        return;
    }
    let uuid = freeswitch.new_uuid();
    let endpoint = ["null/x", "loopback/park/tests"][random.below(2) as usize];
    let application = ["park", "playback(tone_stream://%(60000,0,440))"][random.below(2) as usize];
    let answer = connection.api(&format!("originate {{origination_uuid={uuid}}}{endpoint} &{application}"));
    assert!(answer.starts_with("+OK"), "call {number}: {answer}");
    begin(&uuid);
    if random.below(5) == 0 {
        let file = freeswitch.folder.join(format!("recordings/race-{uuid}.wav"));
        stream(&uuid, &format!("record start {}", file.display()));
    }
    thread::sleep(time);
    if random.below(5) == 0 {
        stream(&uuid, "stop");
    }
    connection.api(&format!("uuid_kill {uuid}"));
}

#[test]
fn starts_with_random_hangups_leave_nothing_behind() {
    in_freeswitch_alone(|freeswitch| {
        let play = Play::mono(signal::tone(8_000, SERVER, 20_000, LOUD), 8_000);
        let opening = |handshake| WebSocketServer::start(Script::default().with_handshake(handshake));
        let heed = [
            WebSocketServer::start(Script::of([Action::Play(play)])),
            WebSocketServer::start(Script::echo(Echo::Binary)),
            opening(Handshake::Late(Duration::from_millis(100))),
        ];
        let misbehave = [
            WebSocketServer::start(Script::of([Action::AfterBytes(1_600), Action::Reset])),
            WebSocketServer::start(Script::of([Action::Close(1_011, "no".to_owned())])),
            WebSocketServer::start(Script { never_read: true, ..Script::default() }),
            opening(Handshake::Never),
            opening(Handshake::Refuse(503)),
            opening(Handshake::Slam),
        ];
        let service = RealtimeServer::start(Service { keep_audio: false, ..Service::default() });
        let servers: Vec<_> = heed.iter().chain(&misbehave).collect();
        let mut starts: Vec<_> =
            servers.iter().map(|server| format!("start {} mono 8k binary_rate=8k", server.url())).collect();
        let options = "openai_api_key=sk-test openai_model=test-model greeting=Hello";
        starts.push(format!("start_ai openai_base_url={} {options}", service.base_url()));
        let race = |times: usize| {
            let next = AtomicUsize::new(0);
            let run = || {
                let connection = freeswitch.subscribe("plain HEARTBEAT");
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= times {
                        return;
                    }
                    // What fails is tried again and again.
                    connection.api("uuid_audio_stream breakers reset");
                    start_and_hang_up(freeswitch, &connection, &starts, number);
                }
            };
            thread::scope(|scope| (0..8).for_each(|_| drop(scope.spawn(run))));
        };
        race(40);
        thread::sleep(Duration::from_secs(1));
        let calm = Calm::before(freeswitch);
        race(repetitions(100, 1_000));
        let ports = misbehave.iter().map(WebSocketServer::port).chain([service.port()]);
        for port in ports {
            assert!(eventually(SOON, || connections_to(port) == 0), "{} sockets remain", connections_to(port));
        }
        calm.is_restored(&heed.each_ref(), "hung up");
    });
}

#[test]
fn a_call_cancelled_while_it_is_answered_leaves_nothing_behind() {
    in_freeswitch(|freeswitch| {
        let second = freeswitch.subscribe("plain HEARTBEAT");
        let server = WebSocketServer::start(Script::default());
        let race = |times: usize| {
            let mut answers = BTreeSet::new();
            for round in 0..times as u64 {
                let call = SipCall::ring(freeswitch, &Dial::to("early-700"));
                let index = server.connections().len();
                freeswitch.start_stream(&call.uuid, &server, "mono 8k");
                server.connection(index);
                second.bgapi(&format!("uuid_answer {}", call.uuid));
                thread::sleep(Duration::from_micros(round % 11 * 200));
                answers.insert(call.cancel());
            }
            answers
        };
        race(5);
        let calm = Calm::before(freeswitch);
        let answers = race(repetitions(20, 100));
        assert!(answers.is_subset(&BTreeSet::from([200, 487])), "{answers:?}");
        calm.is_restored(&[&server], &format!("answered with {answers:?}"));
    });
}

#[test]
fn a_playing_call_killed_while_the_server_floods_is_gone() {
    in_freeswitch(|freeswitch| {
        let flood = Action::Flood("{}".to_owned(), Duration::from_secs(20));
        let server = WebSocketServer::start(Script::of([flood]));
        let race = |times: usize| {
            for round in 0..times as u64 {
                let uuid = freeswitch.originate("null/x", "playback(tone_stream://%(60000,0,440))", "");
                freeswitch.bgapi(&format!("uuid_audio_stream {uuid} start {} mono 8k", server.url()));
                thread::sleep(Duration::from_millis(round % 4 * 20));
                freeswitch.ok(&format!("uuid_kill {uuid}"));
                assert!(eventually(SOON, || !freeswitch.exists(&uuid)), "the call stays");
            }
        };
        race(5);
        let calm = Calm::before(freeswitch);
        race(repetitions(20, 50));
        calm.is_restored(&[&server], "flooded");
    });
}

#[test]
fn the_metadata_comes_first_and_a_hasty_server_loses_nothing() {
    in_freeswitch_alone(|freeswitch| {
        let events = listen_to(freeswitch);
        let hasty = |close: bool| {
            let said = Play::mono(signal::tone(8_000, SERVER, 1_000, LOUD), 8_000).form(Form::Binary);
            let mut actions = vec![
                Action::Text(r#"{"hello":1}"#.to_owned()),
                Action::Play(said),
                Action::Text(r#"{"type":"mark","data":{"name":"said"}}"#.to_owned()),
            ];
            if close {
                actions.push(Action::Close(1_000, "done".to_owned()));
            }
            let handshake = Handshake::Subprotocol("audio.drachtio.org");
            WebSocketServer::start(Script::of(actions).with_handshake(handshake))
        };
        let servers = [hasty(false), hasty(false), hasty(true)];
        let total = repetitions(100, 300);
        let (next, busy) = (AtomicUsize::new(0), AtomicBool::new(true));
        let started = thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while busy.load(Ordering::Relaxed) {
                        std::hint::spin_loop()
                    }
                });
            }
            let begin = || {
                let connection = freeswitch.subscribe("plain HEARTBEAT");
                let mut started = Vec::new();
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= total {
                        return started;
                    }
                    let uuid = freeswitch.new_uuid();
                    let originate = format!("originate {{origination_uuid={uuid}}}loopback/park/tests &park");
                    assert!(connection.api(&originate).starts_with("+OK"), "call {number}");
                    let url = servers[number % 3].url();
                    let arguments = "mono 8k protocol=audio_fork binary_rate=8k";
                    let start = format!(r#"uuid_audio_stream {uuid} start {url} {arguments} {{"n":{number}}}"#);
                    let answer = connection.api(&start);
                    assert!(answer.starts_with("+OK"), "call {number}: {answer}");
                    started.push((number, uuid));
                }
            };
            let starters: Vec<_> = (0..20).map(|_| scope.spawn(begin)).collect();
            let started: Vec<_> = starters.into_iter().flat_map(|starter| starter.join().expect("it ends")).collect();
            thread::sleep(Duration::from_secs(1));
            busy.store(false, Ordering::Relaxed);
            started
        });
        assert_eq!(started.len(), total);
        let heard = |uuid: &str| -> Vec<_> {
            let playback = events.stream_events("playback", uuid).into_iter().map(|event| event.json());
            playback.filter(|event| event["mark"] == "said").collect()
        };
        for (number, uuid) in &started {
            assert!(eventually(2 * SOON, || !heard(uuid).is_empty()), "call {number}: the mark is not reported");
        }
        let mut seen = BTreeSet::new();
        for connection in servers.iter().flat_map(WebSocketServer::connections) {
            let first = first_of(&connection);
            let metadata = connection.texts().iter().filter(|text| text.contains(r#"{"n":"#)).count();
            assert_eq!(metadata, 1, "the metadata comes once");
            assert!(seen.insert(first.clone()), "{first} came twice");
        }
        let wanted: BTreeSet<_> = (0..total).map(|number| format!(r#"{{"n":{number}}}"#)).collect();
        assert_eq!(seen, wanted);
        for (number, uuid) in &started {
            let mark = heard(uuid);
            assert_eq!(mark.len(), 1, "call {number}: its mark is reported once");
            assert_eq!(mark[0]["heard"], true, "call {number}: the second before the mark is heard");
            assert_eq!(events.stream_events("json", uuid).len(), 1, "call {number}: the server's text is an event");
            let ended = || events.stream_events("disconnect", uuid).len();
            let wanted = usize::from(number % 3 == 2);
            assert!(eventually(SOON, || ended() == wanted), "call {number}: {} of {wanted} ends", ended());
        }
        freeswitch.hang_up_all();
    });
}

/// The first message of a connection, which is a text.
#[track_caller]
fn first_of(connection: &Connection) -> String {
    let arrivals = connection.arrivals();
    match arrivals.first().map(|arrival| &arrival.message) {
        Some(Received::Text(text)) => text.clone(),
        first => panic!("first comes {first:?}"),
    }
}
