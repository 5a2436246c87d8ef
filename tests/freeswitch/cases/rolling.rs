//! A rolling upgrade of two FreeSWITCHes behind Kamailio, as docs/operations.md says how: no call is lost, and none reaches a server
//! that drains.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::balancer::Balancer;
use crate::harness::in_cluster;
use crate::harness::server::{FreeSwitch, Launch};
use crate::harness::sip::{Dial, SipCall};
use crate::harness::stream::{CALLER, LOUD, OTHER, SOON, THERE};
use crate::support::websocket_server::{Script, WebSocketServer};
use crate::support::{audio, eventually, signal};

/// Every call of the test.
struct Traffic<'a> {
    balancer: &'a Balancer,
    server: &'a WebSocketServer,
    number: AtomicU32,
}

/// A call that has been made: when it began, and which of the servers had it.
#[derive(Clone, Copy, Debug)]
struct Made {
    began: Instant,
    by: usize,
}

impl Traffic<'_> {
    /// A call with a stream to the server, which gets a text of its own at its begin, and whose caller hears FreeSWITCH's tone.
    #[track_caller]
    fn place(&self, servers: &[&FreeSwitch]) -> (Made, SipCall) {
        let began = Instant::now();
        let mark = format!("call-{}", self.number.fetch_add(1, Ordering::Relaxed));
        let dial = Dial::to("stream-700").header("X-Stream", format!("{} mono 8k {mark}", self.server.url()));
        let (by, call) = SipCall::place_through(self.balancer.sip, servers, &dial);
        call.phone.say_forever(&signal::tone(8_000, CALLER, 1_000, LOUD));
        let streams =
            || self.server.connections().iter().any(|one| one.texts().contains(&mark) && one.audio_bytes() > 0);
        assert!(eventually(SOON, streams), "{mark} on server {by} has no stream:\n{}", servers[by].last_words());
        let tone = || audio::amplitude(&call.phone.listen(Duration::from_millis(200)), 8_000, OTHER) > THERE;
        assert!(eventually(SOON, tone), "{mark} does not hear server {by}");
        (Made { began, by }, call)
    }

    /// So many calls, each hung up by its caller.
    #[track_caller]
    fn batch(&self, servers: &[&FreeSwitch], calls: usize) -> Vec<usize> {
        let one = || {
            let (made, call) = self.place(servers);
            call.hang_up();
            made.by
        };
        (0..calls).map(|_| one()).collect()
    }

    /// Calls one after the other, until told to stop.
    fn run(&self, servers: &[&FreeSwitch], stop: &AtomicBool) -> Vec<Made> {
        let mut made = Vec::new();
        while !stop.load(Ordering::Relaxed) {
            let (one, call) = self.place(servers);
            call.hang_up();
            made.push(one);
        }
        made
    }
}

/// Drains `servers[0]` by `take_out`, while calls come in and one on it goes on; gives it back when it is empty.
fn drain(traffic: &Traffic<'_>, servers: [&FreeSwitch; 2], take_out: impl Fn()) {
    let mut calls: Vec<_> = (0..2).map(|_| traffic.place(&servers)).collect();
    calls.sort_by_key(|(made, _)| made.by);
    let [(Made { by: 0, .. }, leaving), (Made { by: 1, .. }, staying)] = &calls[..] else {
        panic!("the two calls are not on two servers")
    };
    let draining = servers[0];
    let (stop, mut drained_at) = (AtomicBool::new(false), Instant::now());
    let made = thread::scope(|scope| {
        let calls = scope.spawn(|| traffic.run(&servers, &stop));
        thread::sleep(Duration::from_millis(500));
        take_out();
        draining.ok("uuid_audio_stream drain on 600");
        drained_at = Instant::now();
        thread::sleep(Duration::from_secs(3));
        stop.store(true, Ordering::Relaxed);
        calls.join().expect("no call is lost")
    });
    let late: Vec<_> = made.iter().filter(|made| made.began > drained_at).collect();
    assert!(late.len() >= 2, "{made:?}");
    assert!(late.iter().all(|made| made.by == 1), "a call reached the draining server: {late:?}");
    // What the draining server has goes on.
    let heard = audio::amplitude(&leaving.phone.listen(Duration::from_millis(500)), 8_000, OTHER);
    assert!(heard > THERE, "the call that was there hears its server no more: {heard}");
    let status = draining.json("drain status");
    assert_eq!((&status["draining"], &status["streams"]), (&true.into(), &1.into()), "{status}");
    assert!(draining.exists(&leaving.uuid));
    // It ends as it would without the upgrade: by its caller, through Kamailio.
    leaving.hang_up();
    let empty = || draining.channels() == 0 && draining.json("drain status")["streams"] == 0;
    assert!(eventually(SOON, empty), "{}", draining.api("show channels"));
    assert!(!staying.ended() && servers[1].exists(&staying.uuid), "the call on the other server notices nothing");
    staying.hang_up();
}

/// Stops a server and starts it again at its ports, which is what an upgrade of the module takes.
fn restart(server: FreeSwitch, meanwhile: impl FnOnce()) -> FreeSwitch {
    let (installation, ports) = (server.installation.clone(), server.ports);
    assert_eq!(server.shutdown(), 0, "it ends in order");
    meanwhile();
    // The module before the SIP endpoint, so that it is there for the first call.
    FreeSwitch::start(&installation, Launch { ports: Some(ports), loads_module: true, ..Launch::default() })
}

#[test]
fn a_rolling_upgrade_behind_kamailio_loses_no_call() {
    in_cluster(|[one, two], balancer| {
        let server = WebSocketServer::start(Script::default());
        let traffic = Traffic { balancer, server: &server, number: AtomicU32::new(0) };
        for server in [&one, &two] {
            server.load();
        }
        let by = traffic.batch(&[&one, &two], 4);
        assert_eq!(by.iter().sum::<usize>(), 2, "by turns: {by:?}");

        // The first is taken out by itself: it answers Kamailio's OPTIONS with 503.
        drain(&traffic, [&one, &two], || {
            one.ok("fsctl pause inbound");
        });
        balancer.wait_state(&one, 'I');
        let one = restart(one, || assert_eq!(traffic.batch(&[&two], 2), [0, 0]));
        balancer.wait_state(&one, 'A');
        let by = traffic.batch(&[&one, &two], 4);
        assert_eq!(by.iter().sum::<usize>(), 2, "by turns again: {by:?}");

        // The second by an operator of Kamailio.
        drain(&traffic, [&two, &one], || balancer.set_state("d", &two));
        let two = restart(two, || assert_eq!(traffic.batch(&[&one], 2), [0, 0]));
        assert_eq!(traffic.batch(&[&one, &two], 2), [0, 0], "disabled until the operator says otherwise");
        balancer.set_state("a", &two);
        let by = traffic.batch(&[&one, &two], 4);
        assert_eq!(by.iter().sum::<usize>(), 2, "by turns again: {by:?}");
        for server in [one, two] {
            assert_eq!(server.json("drain status")["draining"], false);
            assert_eq!(server.shutdown(), 0);
        }
    });
}
