//! Unloads by force, again and again, while streams, conversations and recordings are on calls: nothing grows.
//!
//! FreeSWITCH has one arena of the C library's here. With one for each thread, resident memory grows for a while though what is in use does
//! not: the threads of each load leave what they once had.

use std::time::Duration;

use crate::harness::installation::say;
use crate::harness::process::{descriptors, rss_kb, threads};
use crate::harness::server::{FreeSwitch, Launch};
use crate::harness::stream::{LOUD, SERVER, SOON};
use crate::harness::{in_fresh_freeswitch, repetitions};
use crate::realtime::{Answer, Answers, RealtimeServer, Script as Service, Voice};
use crate::support::websocket_server::{Action, Form, Play, Script, WebSocketServer};
use crate::support::{eventually, signal, wav};

/// What a round puts on calls, each on a call of its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    /// Nothing: what FreeSWITCH itself takes for loading, unloading and calling.
    Bare,
    /// A server listens.
    Stream,
    /// A server plays for as long as it may.
    Playing,
    /// An agent greets, and would go on.
    Conversation,
    /// A file is written.
    Recording,
}

/// The servers of all rounds.
struct Servers {
    listens: WebSocketServer,
    plays: WebSocketServer,
    agent: RealtimeServer,
}

impl Servers {
    fn start() -> Self {
        let play = Play::mono(signal::tone(8_000, SERVER, 20_000, LOUD), 8_000).form(Form::Binary);
        let answer = Answer { voice: Some(Voice::Chord { seed: 5, ms: 20_000 }), ..Answer::default() };
        let service = Service { answers: Answers::always(answer), keep_audio: false, ..Service::default() };
        Self {
            listens: WebSocketServer::start(Script::default()),
            plays: WebSocketServer::start(Script::of([Action::Play(play)])),
            agent: RealtimeServer::start(service),
        }
    }
}

/// Loads the module, begins each of `kinds` on a call of its own, and unloads the module by force in the middle of it.
#[track_caller]
fn round(freeswitch: &FreeSwitch, servers: &Servers, kinds: &[Kind], number: usize) {
    freeswitch.load();
    let calls: Vec<_> = kinds.iter().map(|_| freeswitch.originate("null/x", "park()", "")).collect();
    let file = |index: usize| freeswitch.folder.join(format!("recordings/unload-{number}-{index}.wav"));
    let of = |wanted: Kind| calls.iter().zip(kinds).filter(move |(_, kind)| **kind == wanted).map(|(uuid, _)| uuid);
    let (listening, playing) = (servers.listens.connections().len(), servers.plays.connections().len());
    for (index, (uuid, kind)) in calls.iter().zip(kinds).enumerate() {
        match kind {
            Kind::Bare => {}
            Kind::Stream => freeswitch.start_stream(uuid, &servers.listens, "mono 8k"),
            Kind::Playing => freeswitch.start_stream(uuid, &servers.plays, "mono 8k binary_rate=8k"),
            Kind::Conversation => {
                let options = "openai_api_key=sk-test openai_model=test-model greeting=Hello";
                let command = format!("start_ai openai_base_url={} {options}", servers.agent.base_url());
                freeswitch.stream(uuid, &command);
            }
            Kind::Recording => freeswitch.stream(uuid, &format!("record start {}", file(index).display())),
        }
    }
    // All of them are under way.
    (listening..listening + of(Kind::Stream).count()).for_each(|at| servers.listens.connection(at).wait_bytes(3_200));
    (playing..playing + of(Kind::Playing).count()).for_each(|at| servers.plays.connection(at).wait_bytes(3_200));
    let played = |uuid: &String| {
        let health = freeswitch.json(&format!("{uuid} health"));
        health["inject"]["played_ms"].as_u64() >= Some(100)
    };
    for uuid in of(Kind::Playing).chain(of(Kind::Conversation)) {
        assert!(eventually(SOON, || played(uuid)), "round {number}: {uuid} does not hear anything");
    }
    let answer = freeswitch.api("unload -f mod_audio_stream");
    assert!(answer.contains("+OK"), "round {number}: unload -f answered: {answer}");
    assert!(!freeswitch.loaded(), "round {number}");
    assert!(calls.iter().all(|uuid| freeswitch.exists(uuid)), "round {number}: a call has ended");
    for (index, kind) in kinds.iter().enumerate() {
        if *kind == Kind::Recording {
            assert!(wav::read(&file(index)).is_ok(), "round {number}: the recording is no whole file");
            std::fs::remove_file(file(index)).expect("our folder");
        }
    }
    freeswitch.hang_up_all();
}

#[test]
fn forced_unloads_with_live_calls_leave_nothing_behind() {
    const KINDS: [Kind; 5] = [Kind::Stream, Kind::Playing, Kind::Conversation, Kind::Recording, Kind::Bare];
    in_fresh_freeswitch(Launch { one_arena: true, ..Launch::default() }, |freeswitch| {
        let (pid, servers) = (freeswitch.pid(), Servers::start());
        let rounds = repetitions(20, 100);
        // The first ones let FreeSWITCH's pools grow.
        let warm_up = 5;
        (0..warm_up).for_each(|number| round(&freeswitch, &servers, &KINDS, number));
        let now = || (threads(pid).len(), descriptors(pid));
        let still = |before: (usize, usize)| {
            let left = || now().0 <= before.0 && now().1 <= before.1;
            assert!(eventually(2 * SOON, left), "{before:?} threads and descriptors have become {:?}", now());
        };
        // FreeSWITCH keeps the threads of calls for calls to come, some seconds.
        std::thread::sleep(Duration::from_secs(10));
        let (before, memory) = (now(), rss_kb(pid));
        freeswitch.api("fsctl loglevel warning");
        (warm_up..warm_up + rounds).for_each(|number| round(&freeswitch, &servers, &KINDS, number));
        still(before);
        let grown = rss_kb(pid).saturating_sub(memory);
        say(&format!("{rounds} rounds grew the process of {memory} KB by {grown} KB"));
        // Calls without the module grow FreeSWITCH by a part of it.
        assert!(grown < 2_048, "{rounds} unloads grew the process of {memory} KB by {grown} KB");
        assert_eq!(freeswitch.shutdown(), 0);
    });
}
