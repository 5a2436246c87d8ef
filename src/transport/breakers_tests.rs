#![allow(clippy::unwrap_used)]

use super::*;
use BreakerKind::{Ai, WebSocket};

fn at(url: &str) -> Endpoint {
    Endpoint::parse(url).unwrap()
}

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn fail(breakers: &Arc<Breakers>, kind: BreakerKind, endpoint: &Endpoint, now: Instant) -> bool {
    breakers.admit(now, kind, endpoint, false).unwrap().failed(now)
}

#[test]
fn five_failures_open_the_breaker_of_that_server_and_kind() {
    let (breakers, now) = (Arc::new(Breakers::default()), Instant::now());
    let down = at("wss://u:hunter2@down:8443/a?key=hunter2");
    for kind in [Ai, WebSocket] {
        assert!((1..5).all(|_| !fail(&breakers, kind, &down, now)) && fail(&breakers, kind, &down, now));
        let cool_down = if kind == Ai { 60 } else { 30 };
        let other_path = at("wss://down:8443/b");
        assert_eq!(breakers.admit(now, kind, &other_path, false).unwrap_err().wait, seconds(cool_down));
        for other in ["wss://up:8443/a", "wss://down:8444/a", "ws://down:8443/a"] {
            assert!(breakers.admit(now, kind, &at(other), false).is_ok(), "{other}");
        }
    }
    let report = breakers.report(now + seconds(10));
    let told: Vec<_> = report.iter().map(|r| (r.kind, r.state, r.failures, r.probe_in)).collect();
    let open = |kind, left| (kind, BreakerState::Open, 5, Some(seconds(left)));
    assert_eq!(told, [open(WebSocket, 20), open(Ai, 50)]);
    assert!(report.iter().all(|r| r.place == "wss://down:8443"), "{report:?}");
}

#[test]
fn conversations_count_failures_in_a_row_streams_per_minute() {
    let (breakers, now) = (Arc::new(Breakers::default()), Instant::now());
    let place = at("ws://h/");
    for kind in [Ai, WebSocket] {
        for n in 0..4 {
            assert!(!fail(&breakers, kind, &place, now + seconds(n)));
            breakers.admit(now, kind, &place, false).unwrap().succeeded(now);
        }
    }
    assert!(!fail(&breakers, Ai, &place, now + seconds(5)));
    assert!(!fail(&breakers, WebSocket, &place, now + seconds(63)), "the first three are over a minute old");
    for _ in 0..2 {
        assert!(!fail(&breakers, WebSocket, &place, now + seconds(63)));
    }
    assert!(fail(&breakers, WebSocket, &place, now + seconds(63)));
}

#[test]
fn one_probe_after_the_cool_down_decides() {
    let (breakers, start) = (Arc::new(Breakers::default()), Instant::now());
    let place = at("ws://h/");
    for _ in 0..5 {
        fail(&breakers, Ai, &place, start);
    }
    let later = start + seconds(60);
    let probe = breakers.admit(later, Ai, &place, false).unwrap();
    assert_eq!(breakers.admit(later, Ai, &place, false).unwrap_err().wait, seconds(60), "one at a time");
    assert_eq!(breakers.report(later)[0].state, BreakerState::HalfOpen);
    assert!(probe.failed(later), "open again");
    let later = later + seconds(60);
    assert!(breakers.admit(later, Ai, &place, false).unwrap().succeeded(later));
    let both = [breakers.admit(later, Ai, &place, false), breakers.admit(later, Ai, &place, false)];
    assert!(both.iter().all(Result::is_ok));
    let report = &breakers.report(later)[0];
    assert_eq!((report.state, report.failures, report.probe_in), (BreakerState::Closed, 0, None));
}

#[test]
fn an_attempt_without_a_verdict_gives_its_probe_back() {
    let (breakers, start) = (Arc::new(Breakers::default()), Instant::now());
    let place = at("ws://h/");
    for _ in 0..10 {
        drop(breakers.admit(start, Ai, &place, false).unwrap());
    }
    assert_eq!(breakers.report(start), []);
    for _ in 0..5 {
        fail(&breakers, Ai, &place, start);
    }
    let later = start + seconds(60);
    drop(breakers.admit(later, Ai, &place, false).unwrap());
    assert!(breakers.admit(later, Ai, &place, false).is_ok(), "the next one is the probe");
}

#[test]
fn one_waiting_caller_a_second_passes_an_open_breaker() {
    let (breakers, start) = (Arc::new(Breakers::default()), Instant::now());
    let place = at("ws://h/");
    for _ in 0..5 {
        fail(&breakers, Ai, &place, start);
    }
    let mut passed = 0;
    for ms in (0..50_000).step_by(10) {
        let now = start + Duration::from_millis(ms);
        if let Ok(attempt) = breakers.admit(now, Ai, &place, true) {
            passed += 1;
            assert!(!attempt.failed(now));
        }
        assert!(breakers.admit(now, Ai, &place, false).is_err(), "new conversations do not");
    }
    assert_eq!(passed, 50);
    let now = start + seconds(50);
    assert_eq!(breakers.admit(now, Ai, &place, false).unwrap_err().wait, seconds(10));
    assert!(breakers.admit(now, Ai, &place, true).unwrap().succeeded(now), "closed for all");
    assert!(breakers.admit(now, Ai, &place, false).is_ok());
}

#[test]
fn failures_of_earlier_attempts_do_not_replace_the_probes() {
    let (breakers, start) = (Arc::new(Breakers::default()), Instant::now());
    let place = at("ws://h/");
    let slow = breakers.admit(start, Ai, &place, false).unwrap();
    for _ in 0..5 {
        fail(&breakers, Ai, &place, start);
    }
    let later = start + seconds(60);
    let probe = breakers.admit(later, Ai, &place, false).unwrap();
    assert!(!slow.failed(later));
    assert_eq!(breakers.report(later)[0].state, BreakerState::HalfOpen);
    assert!(probe.succeeded(later));
}

#[test]
fn failed_servers_are_forgotten_after_a_minute() {
    let (breakers, now) = (Arc::new(Breakers::default()), Instant::now());
    let place = |n| at(&format!("ws://h{n}/"));
    for n in 0..MOST {
        fail(&breakers, WebSocket, &place(n), now);
    }
    fail(&breakers, WebSocket, &place(MOST), now);
    assert_eq!(breakers.report(now).len(), MOST, "no room");
    let later = now + seconds(61);
    fail(&breakers, WebSocket, &place(MOST), later);
    assert_eq!(breakers.report(later).len(), 1, "what is long past gives way");
}

/// Notes the changes that are told.
#[derive(Default)]
struct Told(Mutex<Vec<(&'static str, Cause)>>);

impl BreakerWatch for Told {
    fn changed(&self, change: BreakerChange) {
        assert_eq!((change.place.as_str(), change.kind), ("ws://h", WebSocket));
        self.0.lock().push((change.state.as_str(), change.cause));
    }
}

fn watched() -> (Arc<Breakers>, impl Fn() -> Vec<(&'static str, Cause)>) {
    let told = Arc::new(Told::default());
    (Arc::new(Breakers::watched_by(told.clone())), move || std::mem::take(&mut *told.0.lock()))
}

#[test]
fn each_change_is_told_once_and_not_for_each_call() {
    let ((breakers, told), start) = (watched(), Instant::now());
    let place = at("ws://h/");
    let admit = |now| breakers.admit(now, WebSocket, &place, false);
    // Twenty calls were on their way when the server went down.
    let attempts: Vec<_> = (0..20).map(|_| admit(start).unwrap()).collect();
    let opened = attempts.into_iter().filter_map(|attempt| attempt.failed(start).then_some(())).count();
    assert_eq!(opened, 1);
    assert_eq!(told(), [("open", Cause::Failures)]);
    assert!((0..20).all(|_| admit(start).is_err()) && told().is_empty());
    let later = start + seconds(30);
    let probe = admit(later).unwrap();
    assert!((0..20).all(|_| admit(later).is_err()));
    assert_eq!(told(), [("half_open", Cause::Probe)]);
    probe.failed(later);
    assert_eq!(told(), [("open", Cause::Failures)]);
    let later = later + seconds(30);
    // A probe without an outcome, and the next.
    drop(admit(later).unwrap());
    admit(later).unwrap().succeeded(later);
    assert_eq!(told(), [("half_open", Cause::Probe), ("closed", Cause::Success)]);
    for _ in 0..20 {
        admit(later).unwrap().succeeded(later);
    }
    assert!(told().is_empty());
}

#[test]
fn a_pause_is_kept_by_all_calls_and_lifted_by_the_first_success() {
    let ((breakers, told), start) = (watched(), Instant::now());
    let place = at("ws://h/");
    let admit = |now, caller_waits| breakers.admit(now, WebSocket, &place, caller_waits);
    let attempts: Vec<_> = (0..20).map(|_| admit(start, false).unwrap()).collect();
    for attempt in attempts {
        assert_eq!(attempt.asked_to_wait(start, Pause::Stated(seconds(7))), seconds(7));
    }
    assert_eq!(told(), [("busy", Cause::Busy)]);
    let report = &breakers.report(start)[0];
    assert_eq!((report.state, report.failures, report.probe_in), (BreakerState::Busy, 0, Some(seconds(7))));
    for caller_waits in [false, true] {
        let refused = admit(start + seconds(6), caller_waits).unwrap_err();
        assert_eq!(refused, NotNow { wait: seconds(1), busy: true });
    }
    // Then one each second.
    let later = start + seconds(7);
    let first = admit(later, false).unwrap();
    assert!(admit(later, true).unwrap_err().busy);
    first.asked_to_wait(later, Pause::Stated(seconds(2)));
    assert_eq!(admit(later, true).unwrap_err().wait, seconds(2));
    assert!(told().is_empty(), "it is as busy as before");
    let later = later + seconds(2);
    admit(later, false).unwrap().succeeded(later);
    assert_eq!(told(), [("closed", Cause::Success)]);
    assert!((0..20).all(|_| admit(later, false).is_ok()));
    // A server that asks for a pause has not failed.
    for n in 0..20 {
        let now = start + seconds(100 * n);
        admit(now, false).unwrap().asked_to_wait(now, Pause::Stated(seconds(1)));
    }
    assert_eq!(breakers.report(start)[0].failures, 0);
}

#[test]
fn a_reset_closes_those_that_are_meant() {
    let (breakers, now) = (Arc::new(Breakers::default()), Instant::now());
    let open = |breakers: &Arc<Breakers>, url: &str| {
        assert!((0..5).any(|_| fail(breakers, WebSocket, &at(url), now)), "{url}");
    };
    ["ws://a/", "wss://b:9/", "ws://c/"].iter().for_each(|url| open(&breakers, url));
    let speech = |now| breakers.admit_to(now, BreakerKind::Speech, "x api.x:443".into(), false);
    assert!((0..5).any(|_| speech(now).unwrap().failed(now)));
    assert!(speech(now).is_err());
    for (server, count) in [("ws://nobody/", 0), ("ws://a", 1), ("wss://b:9/path?key=1", 1), ("api.x:443", 1)] {
        assert_eq!(breakers.reset(now, Some(server)), count, "{server}");
    }
    assert!(breakers.admit(now, WebSocket, &at("ws://a/"), false).is_ok() && speech(now).is_ok());
    assert!(breakers.admit(now, WebSocket, &at("ws://c/"), false).is_err());
    assert_eq!((breakers.reset(now, None), breakers.report(now).len()), (1, 0));

    let (breakers, told) = watched();
    let slow = breakers.admit(now, WebSocket, &at("ws://h/"), false).unwrap();
    open(&breakers, "ws://h/");
    breakers.reset(now, None);
    assert_eq!(told(), [("open", Cause::Failures), ("closed", Cause::Reset)]);
    slow.failed(now);
    assert_eq!(breakers.report(now)[0].failures, 1, "an attempt of before counts from the start again");
}
