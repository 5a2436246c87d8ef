//! Hold, by the phone and by command: playback waits, nothing is captured, an event says so, and both go on afterwards.

use std::time::{Duration, Instant};

use crate::harness::callee::{Callee, Manner};
use crate::harness::esl::Esl;
use crate::harness::in_freeswitch;
use crate::harness::rtp::{Codec, Packet, assemble};
use crate::harness::server::FreeSwitch;
use crate::harness::sip::{Dial, Direction, Offer, SipCall};
use crate::harness::stream::{ABSENT, CALLER, LOUD, OTHER, SERVER, SOON, THERE, listen_to};
use crate::support::websocket_server::{Action, Connection, Form, Handshake, Play, Script, WebSocketServer};
use crate::support::{audio, eventually, signal};

#[derive(Clone, Copy, Debug)]
enum Hold {
    Phone(Direction),
    Command,
}

const HOLDS: [Hold; 4] = [
    Hold::Phone(Direction::SendOnly),
    Hold::Phone(Direction::Inactive),
    Hold::Phone(Direction::NoAddress),
    Hold::Command,
];

/// What the server says: so many seconds, each with a mark behind it.
const SAID: u64 = 4;

fn hold(freeswitch: &FreeSwitch, call: &SipCall, how: Hold, on: bool) {
    match how {
        Hold::Phone(direction) => {
            let direction = if on { direction } else { Direction::SendRecv };
            call.reinvite(Offer { direction, ..Offer::of(Codec::Pcmu) });
        }
        Hold::Command => {
            let off = if on { "" } else { "off " };
            freeswitch.ok(&format!("uuid_hold {off}{}", call.uuid));
        }
    }
}

/// A caller, a stream on one of the call's legs, and what is heard there.
struct Talk<'f> {
    freeswitch: &'f FreeSwitch,
    call: SipCall,
    callee: Callee,
    /// Of the leg with the stream.
    uuid: String,
    far: bool,
    events: Esl,
    server: WebSocketServer,
}

impl<'f> Talk<'f> {
    /// `extension` is `near` or `far` for a bridged call with the stream on that leg.
    fn start(freeswitch: &'f FreeSwitch, extension: &str) -> Self {
        let callee = Callee::new(Manner::default());
        callee.phone.say_forever(&signal::tone(8_000, OTHER, 1_000, LOUD));
        let far = extension == "far";
        let to = if far || extension == "near" { format!("call-{}", callee.port()) } else { extension.to_owned() };
        let events = listen_to(freeswitch);
        let call = SipCall::place(freeswitch, &Dial::to(&to));
        call.phone.say_forever(&signal::tone(8_000, CALLER, 1_000, LOUD));
        let other = || freeswitch.variable(&call.uuid, "bridge_uuid");
        let uuid = if far { eventually_some(other) } else { call.uuid.clone() };
        let handshake = Handshake::Subprotocol("audio.drachtio.org");
        let server = WebSocketServer::start(Script::default().with_handshake(handshake));
        freeswitch.start_stream(&uuid, &server, "mono 8k protocol=audio_fork binary_rate=8k");
        Self { freeswitch, call, callee, uuid, far, events, server }
    }

    fn connection(&self) -> std::sync::Arc<Connection> {
        self.server.connection(0)
    }

    /// The server speaks, with a mark behind each second.
    fn speak(&self) {
        for second in 0..SAID {
            let said = signal::tone(8_000, SERVER, 1_000, LOUD);
            self.connection().order(Action::Play(Play::mono(said, 8_000).form(Form::Binary)));
            self.connection().order(Action::Text(format!(r#"{{"type":"mark","data":{{"name":"{second}"}}}}"#)));
        }
        self.freeswitch.wait_played(&self.uuid, 1_000);
    }

    fn health(&self) -> serde_json::Value {
        self.freeswitch.json(&format!("{} health", self.uuid))
    }

    fn played(&self) -> u64 {
        self.health()["inject"]["played_ms"].as_u64().expect("a number")
    }

    fn packets(&self) -> Vec<Packet> {
        if self.far { self.callee.phone.packets() } else { self.call.phone.packets() }
    }

    /// How much of the server's speech is heard so far, ms.
    fn heard_ms(&self) -> u64 {
        audio::tone_ms(&assemble(&self.packets(), Codec::Pcmu), 8_000, SERVER, THERE).into()
    }

    fn marks_heard(&self) -> usize {
        let marks = self.events.stream_events("playback", &self.uuid);
        marks.iter().filter(|event| event.json()["heard"] == true).count()
    }

    /// Waits for the event that says the same, and gives how long the call has been held by then.
    #[track_caller]
    fn wait_held(&self, held: bool, times: usize) -> u64 {
        let told = || {
            let events = self.events.stream_events("hold", &self.uuid);
            events.into_iter().filter(|event| event.json()["held"] == held).nth(times - 1)
        };
        assert!(eventually(SOON, || told().is_some()), "no event says that held is {held}, {times} times");
        told().expect("it came").json()["held_ms"].as_u64().expect("a number")
    }
}

fn eventually_some<T>(get: impl Fn() -> Option<T>) -> T {
    assert!(eventually(SOON, || get().is_some()));
    get().expect("it came")
}

#[test]
fn playback_and_capture_wait_for_the_end_of_any_hold() {
    in_freeswitch(|freeswitch| {
        for extension in ["park", "tone-700", "near"] {
            for how in HOLDS {
                let what = format!("{extension}, {how:?}");
                let talk = Talk::start(freeswitch, extension);
                talk.speak();
                waits(&talk, how, Duration::from_secs(1), &what);
                freeswitch.hang_up_all();
            }
        }
    });
}

#[test]
fn a_hold_of_ninety_seconds_ends_nothing() {
    in_freeswitch(|freeswitch| {
        let talk = Talk::start(freeswitch, "park");
        talk.speak();
        waits(&talk, Hold::Command, Duration::from_secs(90), "90 s");
        freeswitch.hang_up_all();
    });
}

fn waits(talk: &Talk<'_>, how: Hold, length: Duration, what: &str) {
    let connection = talk.connection();
    hold(talk.freeswitch, &talk.call, how, true);
    let began = Instant::now();
    talk.wait_held(true, 1);
    // What was on its way when the hold began is out.
    std::thread::sleep(Duration::from_millis(100));
    let before = (talk.played(), talk.marks_heard(), talk.packets().len(), connection.audio().len());
    std::thread::sleep(length);
    let health = talk.health();
    assert_eq!((&health["held"], &health["health"]), (&true.into(), &"HEALTHY".into()), "{what}: {health}");
    let during = (talk.played(), talk.marks_heard(), talk.packets().len(), connection.audio().len());
    assert_eq!(during, before, "{what}: played, marks, packets and captured samples in the hold");
    assert_eq!(before.1 as u64, before.0 / 1_000, "{what}: a mark for each second that was heard");
    assert!(connection.ended().is_none(), "{what}: the hold ended the stream");
    hold(talk.freeswitch, &talk.call, how, false);
    let (from, held_for) = (Instant::now(), began.elapsed());
    let goes_on =
        |captured: usize, packets: usize| connection.audio().len() > captured && talk.packets().len() > packets;
    assert!(eventually(SOON, || goes_on(before.3, before.2)), "{what}: one direction stays off");
    let first = talk.packets()[before.2].at.saturating_duration_since(from);
    assert!(first <= Duration::from_millis(100), "{what}: the first packet comes {first:?} after the hold");
    let told = talk.wait_held(false, 1);
    assert!(held_for.as_millis().abs_diff(told.into()) <= 500, "{what}: {told} ms of {held_for:?}");
    std::thread::sleep(Duration::from_secs(SAID));
    assert_eq!(talk.marks_heard() as u64, SAID, "{what}");
    let heard = talk.heard_ms();
    assert!((1_000 * SAID - 80..=1_000 * SAID + 20).contains(&heard), "{what}: of {SAID} s {heard} ms are heard");
    let sent = talk.packets().split_off(before.2);
    let (count, lasts) = (sent.len() as u64, sent[sent.len() - 1].at - sent[0].at);
    assert!(20 * count <= lasts.as_millis() as u64 + 200, "{what}: {count} packets within {lasts:?}");
    let captured = connection.audio().split_off(before.3);
    let ms = audio::tone_ms(&captured, 8_000, CALLER, THERE);
    assert!(ms >= 3_800, "{what}: in {SAID} s after the hold the server hears {ms} ms of the caller");
    let reported = ["stalled", "health"].map(|kind| talk.events.stream_events(kind, &talk.uuid));
    assert_eq!(reported, [vec![], vec![]], "{what}: a hold is no stall");
}

#[test]
fn the_other_leg_of_a_held_call_goes_on() {
    in_freeswitch(|freeswitch| {
        for how in HOLDS {
            let talk = Talk::start(freeswitch, "far");
            talk.speak();
            hold(freeswitch, &talk.call, how, true);
            std::thread::sleep(Duration::from_secs(1));
            let played = talk.played();
            std::thread::sleep(Duration::from_secs(1));
            assert!(talk.played() >= played + 800, "{how:?}: {} ms in 1 s", talk.played() - played);
            hold(freeswitch, &talk.call, how, false);
            std::thread::sleep(Duration::from_secs(SAID - 1));
            let heard = talk.heard_ms();
            assert!(heard >= 1_000 * SAID - 80, "{how:?}: {heard} ms are heard");
            assert_eq!(talk.events.stream_events("hold", &talk.uuid).len(), 0, "{how:?}: its own leg is not on hold");
            freeswitch.hang_up_all();
        }
    });
}

#[test]
fn speech_left_by_a_server_that_closes_waits_for_the_hold() {
    in_freeswitch(|freeswitch| {
        for how in [Hold::Command, Hold::Phone(Direction::SendOnly)] {
            let talk = Talk::start(freeswitch, "park");
            talk.speak();
            hold(freeswitch, &talk.call, how, true);
            talk.wait_held(true, 1);
            talk.connection().order(Action::Close(1_000, "done".into()));
            talk.events.wait_stream("disconnect", &talk.uuid);
            std::thread::sleep(Duration::from_secs(SAID + 3));
            hold(freeswitch, &talk.call, how, false);
            let whole = || talk.heard_ms() >= 1_000 * SAID - 80;
            assert!(eventually(SOON, whole), "{how:?}: {} ms are heard", talk.heard_ms());
            assert!(eventually(SOON, || freeswitch.streams() == 0), "{how:?}: the stream ends then");
            freeswitch.hang_up_all();
        }
    });
}

#[test]
fn a_stream_that_begins_on_hold_says_so_and_plays_after_it() {
    in_freeswitch(|freeswitch| {
        for how in [Hold::Command, Hold::Phone(Direction::Inactive)] {
            let call = SipCall::place(freeswitch, &Dial::to("park"));
            hold(freeswitch, &call, how, true);
            let events = listen_to(freeswitch);
            let server = WebSocketServer::start(Script::default());
            freeswitch.start_stream(&call.uuid, &server, "mono 8k binary_rate=8k");
            let said = signal::tone(8_000, SERVER, 1_000, LOUD);
            server.connection(0).order(Action::Play(Play::mono(said, 8_000).form(Form::Binary)));
            assert_eq!(events.wait_stream("hold", &call.uuid).json()["held"], true, "{how:?}");
            assert_eq!(audio::tone_ms(&call.phone.heard(), 8_000, SERVER, ABSENT), 0, "{how:?}");
            hold(freeswitch, &call, how, false);
            let heard = || audio::tone_ms(&call.phone.heard(), 8_000, SERVER, THERE);
            assert!(eventually(SOON, || heard() >= 960), "{how:?}: {} ms", heard());
            freeswitch.hang_up_all();
        }
    });
}
