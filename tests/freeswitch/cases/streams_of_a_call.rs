//! Several streams of one call, and those of two calls: what is done to one is not noticed by the others.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::harness::callee::{Callee, Manner};
use crate::harness::in_freeswitch;
use crate::harness::rtp::Phone;
use crate::harness::server::FreeSwitch;
use crate::harness::sip::{Dial, SipCall};
use crate::harness::stream::{CALLER, LOUD, OTHER, SERVER, SERVER_AGAIN, SOON, THERE};
use crate::support::websocket_server::{Action, Connection, Form, Play, Script, WebSocketServer};
use crate::support::{audio, eventually, signal};

/// What the servers that are not meddled with say, ms.
const SAID: u32 = 6_000;

/// A stream that nothing is done to, and what its two ends hear meanwhile.
struct Innocent<'a> {
    uuid: String,
    phone: &'a Phone,
    /// What its party says, Hz.
    says: f64,
    server: WebSocketServer,
    from: Option<(usize, Instant)>,
}

impl<'a> Innocent<'a> {
    fn stream(freeswitch: &FreeSwitch, uuid: &str, phone: &'a Phone, says: f64) -> Self {
        let server = WebSocketServer::start(Script::default());
        let options = "mono 8k binary_rate=8k inject_mode=mix";
        freeswitch.stream(uuid, &format!("start name=innocent {} {options}", server.url()));
        server.connection(0).wait_bytes(8_000);
        Self { uuid: uuid.to_owned(), phone, says, server, from: None }
    }

    fn connection(&self) -> Arc<Connection> {
        self.server.connection(0)
    }

    fn begin(&mut self, freeswitch: &FreeSwitch) {
        let tone = signal::tone(8_000, SERVER, SAID, LOUD);
        self.connection().order(Action::Play(Play::mono(tone, 8_000).form(Form::Binary)));
        let health = || freeswitch.json(&format!("{} health name=innocent", self.uuid));
        assert!(eventually(SOON, || health()["inject"]["played_ms"].as_u64() > Some(0)), "{}", health());
        self.from = Some((self.connection().audio().len(), Instant::now()));
    }

    /// All that its server says is heard in one piece, and its server hears the party without a gap.
    fn noticed_nothing(&self, freeswitch: &FreeSwitch, what: &str) {
        let (from, since) = self.from.expect("it has begun");
        let captured = self.connection().audio().split_off(from);
        let (wall, length) = (since.elapsed().as_millis() as usize, captured.len() / 8);
        assert!(length.abs_diff(wall) <= 200, "{what}: in {wall} ms the server gets {length} ms");
        let lost = freeswitch.packets_lost(&self.uuid) as usize;
        let ms = audio::tone_ms(&captured, 8_000, self.says, THERE) as usize;
        assert!(ms + 40 + 20 * lost >= length, "{what}: of {length} ms the party is in {ms}; {lost} packets were lost");
        let seams = audio::seams(&captured, 8_000, self.says, 160);
        assert!(seams.len() <= 2 * lost, "{what}: {lost} packets were lost, seams at {seams:?}");
        let heard = self.phone.heard();
        let pieces = audio::tone_stretches(&heard, 8_000, SERVER, THERE / 2.0, 160);
        let ms = audio::tone_ms(&heard, 8_000, SERVER, THERE / 2.0);
        assert!(
            ms.abs_diff(SAID) <= 40 && pieces.len() == 1,
            "{what}: of {SAID} ms {ms} are heard in {}",
            pieces.len()
        );
        let health = freeswitch.json(&format!("{} health name=innocent", self.uuid));
        let figure = |name: &str| health["inject"][name].as_u64();
        let figures = (figure("played_ms"), figure("underrun_count"));
        assert_eq!(figures, (Some(SAID.into()), Some(0)), "{what}: {health}");
        assert_eq!(health["health"], "HEALTHY", "{what}: {health}");
    }
}

/// Everything that may be done to a stream, for some five seconds; it works in between.
fn meddle(freeswitch: &FreeSwitch, uuid: &str, says: f64) {
    let server = WebSocketServer::start(Script::default());
    let options = "mono 8k binary_rate=8k inject_mode=mix";
    let start = || freeswitch.stream(uuid, &format!("start name=meddled {} {options}", server.url()));
    start();
    let first = server.connection(0);
    let order = |verb: &str| freeswitch.stream(uuid, verb);
    first.order(Action::Play(
        Play::mono(signal::tone(8_000, SERVER_AGAIN, 10_000, LOUD / 4.0), 8_000).form(Form::Binary),
    ));
    first.wait_bytes(3_200);
    order("pause name=meddled");
    std::thread::sleep(Duration::from_millis(400));
    let paused = first.audio_bytes();
    std::thread::sleep(Duration::from_millis(400));
    assert_eq!(first.audio_bytes(), paused, "a paused stream captures nothing");
    order("resume name=meddled");
    let from = first.audio().len();
    first.wait_bytes(paused + 8_000);
    let ms = audio::tone_ms(&first.audio().split_off(from), 8_000, says, THERE);
    assert!(ms >= 400, "of half a second after the pause the server hears {ms} ms");
    for verb in ["pause name=meddled playback", "mute name=meddled caller", "gain name=meddled caller -20"] {
        order(verb);
        std::thread::sleep(Duration::from_millis(150));
    }
    for verb in ["resume name=meddled playback", "unmute name=meddled caller", "mute name=meddled agent"] {
        order(verb);
        std::thread::sleep(Duration::from_millis(150));
    }
    for verb in ["unmute name=meddled agent", "clear name=meddled", "stop name=meddled"] {
        order(verb);
        std::thread::sleep(Duration::from_millis(150));
    }
    first.wait_end();
    start();
    server.connection(1).wait_bytes(3_200);
    server.connection(1).order(Action::Reset);
    let gone = || !freeswitch.api("uuid_audio_stream list").contains("meddled");
    assert!(eventually(SOON, gone), "{}", freeswitch.api("uuid_audio_stream list"));
}

#[test]
fn what_is_done_to_one_stream_the_others_do_not_notice() {
    in_freeswitch(|freeswitch| {
        let callee = Callee::new(Manner::default());
        callee.phone.say_forever(&signal::tone(8_000, OTHER, 1_000, LOUD));
        let bridged = SipCall::place(freeswitch, &Dial::to(&format!("call-{}", callee.port())));
        let far = || freeswitch.variable(&bridged.uuid, "bridge_uuid");
        assert!(eventually(SOON, || far().is_some()));
        let far = far().expect("it came");
        let parked = SipCall::place(freeswitch, &Dial::to("park"));
        parked.phone.say_forever(&signal::tone(8_000, CALLER, 1_000, LOUD));
        for (what, uuid, phone, says) in
            [("a parked call", &parked.uuid, &parked.phone, CALLER), ("the called leg", &far, &*callee.phone, OTHER)]
        {
            let beside = SipCall::place(freeswitch, &Dial::to("park"));
            beside.phone.say_forever(&signal::tone(8_000, CALLER, 1_000, LOUD));
            let mut same = Innocent::stream(freeswitch, uuid, phone, says);
            let mut other = Innocent::stream(freeswitch, &beside.uuid, &beside.phone, CALLER);
            same.begin(freeswitch);
            other.begin(freeswitch);
            meddle(freeswitch, uuid, says);
            std::thread::sleep(Duration::from_millis(u64::from(SAID) / 2));
            same.noticed_nothing(freeswitch, what);
            other.noticed_nothing(freeswitch, &format!("beside {what}"));
        }
        freeswitch.hang_up_all();
    });
}
