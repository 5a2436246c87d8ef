#![allow(clippy::unwrap_used, clippy::panic)]

use super::*;
use crate::protocol::{CallInfo, PROTOCOLS, ProtocolConfig, WallClock};
use crate::units::{PcmFormat, SampleRate};

/// A server that is connected to, on virtual time.
struct World {
    server: Server,
    now: Instant,
}

fn config(now: Instant) -> ProtocolConfig {
    let wire = PcmFormat { rate: SampleRate::HZ_8000, channels: 1 };
    let call = CallInfo { call_id: "call-1".into(), stream_id: "stream-1".into(), ..CallInfo::default() };
    let metadata = Some(r#"{"caller":"1000"}"#.into());
    ProtocolConfig { metadata, call, ..ProtocolConfig::new(wire, WallClock { at: now, since_epoch: Duration::ZERO }) }
}

impl World {
    /// Of `protocol`, with so many attempts.
    fn new(protocol: &str, attempts: u32) -> Self {
        let now = Instant::now();
        let retry = Retry { attempts, ..Retry::default() };
        let entry = protocol::find(protocol).unwrap();
        let mut world = Self { server: Server::new(entry.make(config(now)), retry, 1), now };
        assert_eq!(world.input(Input::Start), [connect(false)]);
        world
    }

    fn open(protocol: &str, attempts: u32) -> Self {
        let mut world = Self::new(protocol, attempts);
        world.opened();
        world
    }

    fn input(&mut self, input: Input<'_>) -> Vec<Output> {
        self.server.handle(self.now, input);
        std::iter::from_fn(|| self.server.poll()).collect()
    }

    fn opened(&mut self) -> Vec<Output> {
        self.input(Input::Opened { unix_seconds: 0 })
    }

    fn closed(&mut self, code: u16) -> Vec<Output> {
        self.input(Input::Closed { code, reason: "gone" })
    }

    /// Up to the next attempt.
    fn wait(&mut self) -> Vec<Output> {
        self.now = self.server.deadline().unwrap();
        self.input(Input::Timeout)
    }
}

fn connect(caller_waits: bool) -> Output {
    Output::Connect(Connect { target: None, caller_waits })
}

fn retrying(outputs: &[Output]) -> Option<&Retrying> {
    match outputs {
        [Output::Retry(retrying)] => Some(retrying),
        _ => None,
    }
}

fn ends(outputs: &[Output]) -> bool {
    outputs == [Output::End(End::WithConnection)]
}

#[test]
fn only_a_close_that_may_pass_is_followed_by_an_attempt() {
    for (code, again) in [
        (1_000, false),
        (1_001, true),
        (1_002, false),
        (1_003, false),
        (1_005, false),
        (1_006, true),
        (1_007, false),
        (1_008, false),
        (1_009, false),
        (1_010, false),
        (1_011, true),
        (1_012, true),
        (1_013, true),
        (4_000, true),
    ] {
        let mut world = World::open("native", 3);
        let outputs = world.closed(code);
        assert_eq!((retrying(&outputs).is_some(), ends(&outputs)), (again, !again), "{code}: {outputs:?}");
        assert_eq!(world.server.deadline().is_some(), again, "{code}");
        assert!(ends(&World::open("native", 0).closed(code)), "{code}: without the option the stream ends");
    }
    for (status, permanent) in [(None, false), (Some(503), false), (Some(429), false), (Some(401), true)] {
        let mut world = World::new("native", 3);
        let outputs = world.input(Input::Refused { status, permanent, after: Duration::ZERO, message: "refused" });
        assert_eq!(ends(&outputs), permanent, "{status:?}");
    }
}

#[test]
fn attempts_are_counted_in_a_row_and_then_the_stream_ends() {
    let mut world = World::open("native", 3);
    for attempt in 1..=3 {
        let outputs = if attempt == 1 {
            world.closed(1_006)
        } else {
            world.input(Input::Refused { status: None, permanent: false, after: Duration::ZERO, message: "refused" })
        };
        let retrying = retrying(&outputs).unwrap();
        assert_eq!((retrying.attempt, retrying.code), (attempt, 1_006));
        assert_eq!(world.server.deadline(), Some(world.now + retrying.wait));
        assert_eq!(world.wait(), [connect(true)]);
    }
    assert!(ends(&world.input(Input::NotAttempted { after: Duration::ZERO, message: "the breaker is open" })));

    let mut world = World::open("native", 1);
    for _ in 0..5 {
        world.now += Duration::from_secs(10);
        assert!(retrying(&world.closed(1_006)).is_some(), "a connection that lasted begins a new row");
        world.wait();
        world.opened();
    }
    world.now += Duration::from_secs(9);
    assert!(ends(&world.closed(1_006)));
}

#[test]
fn a_stop_in_the_wait_ends_at_once_and_after_it_is_no_attempt() {
    let stop = Input::Stop { text: None, call_ended: false };
    let mut world = World::open("native", 3);
    world.closed(1_006);
    assert!(ends(&world.input(stop.clone())));
    let mut world = World::open("native", 3);
    assert!(matches!(world.input(stop)[..], [Output::Close { .. }]));
    assert!(ends(&world.closed(1_006)), "the server is gone in the middle of our close");
}

#[test]
fn each_connection_begins_as_the_first_in_every_protocol() {
    for entry in PROTOCOLS {
        let mut world = World::new(entry.name, 9);
        let first = world.opened();
        assert!(
            first.iter().any(|output| matches!(output, Output::Send(_))) || entry.name == "native",
            "{}",
            entry.name
        );
        for _ in 0..3 {
            let audio = vec![0; world.server.capture().frame_bytes() * 160];
            assert!(world.server.listens());
            world.input(Input::Audio(&audio));
            world.closed(1_006);
            assert!(!world.server.listens(), "{}: what is captured waits", entry.name);
            // Those of a connection that does not last are attempts in a row; the time is in no message.
            assert!(world.input(Input::Timeout).is_empty() && world.wait().len() == 1);
            world.now -= Duration::from_secs(30);
            assert_eq!(world.opened(), first, "{}", entry.name);
        }
    }
}

#[test]
fn texts_and_keys_of_the_wait_come_behind_the_metadata() {
    let mut world = World::open("native", 3);
    world.closed(1_006);
    assert!(world.input(Input::SendText("hello")).is_empty());
    world.wait();
    let texts: Vec<_> = world.opened().into_iter().filter(|output| matches!(output, Output::Send(_))).collect();
    let text = |text: &str| Output::Send(Message::Text(text.into()));
    assert_eq!(texts, [text(r#"{"caller":"1000"}"#), text("hello")]);
}

#[test]
fn marks_of_the_lost_connection_are_the_operators_alone() {
    let mut world = World::open("twilio", 3);
    let mark = |name: &str| format!(r#"{{"event":"mark","mark":{{"name":"{name}"}}}}"#);
    let marked = |outputs: &[Output]| match outputs {
        [Output::Mark(id)] => *id,
        outputs => panic!("{outputs:?}"),
    };
    let heard = marked(&world.input(Input::Text(&mark("heard in the wait"))));
    let late = marked(&world.input(Input::Text(&mark("heard later"))));
    world.closed(1_006);
    assert_eq!(world.server.mark_name(heard), Some("heard in the wait"));
    assert!(world.input(Input::MarkHeard(heard)).is_empty());
    world.wait();
    world.opened();
    assert_eq!((world.server.mark_name(heard), world.server.mark_name(late)), (None, Some("heard later")));
    let own = marked(&world.input(Input::Text(&mark("own"))));
    assert!(own != heard && own != late);
    assert!(world.input(Input::MarkHeard(late)).is_empty(), "the server of this connection has not asked for it");
    assert_eq!(world.server.mark_name(late), None);
    assert!(
        matches!(&world.input(Input::MarkHeard(own))[..], [Output::Send(Message::Text(text))] if text.contains("own"))
    );
}
