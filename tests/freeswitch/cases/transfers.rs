//! Transfers, by the phones and by command: a stream belongs to its leg and goes on or ends with it.

use std::time::Duration;

use crate::harness::callee::{Callee, Manner};
use crate::harness::esl::Esl;
use crate::harness::server::FreeSwitch;
use crate::harness::sip::{Dial, SipCall};
use crate::harness::stream::{CALLER, LOUD, OTHER, SOON, THERE, listen_to};
use crate::harness::{in_freeswitch, process};
use crate::support::websocket_server::{Received, Script, WebSocketServer};
use crate::support::{audio, eventually, signal, wav};

/// Above this amplitude a party is there in FreeSWITCH's mix of both.
const IN_A_MIX: f64 = 1_500.0;

/// A leg with a stereo stream: what its own party says is on the left, and what that party hears on the right.
struct Leg<'f> {
    freeswitch: &'f FreeSwitch,
    uuid: String,
    /// What its party says, Hz.
    says: f64,
    server: WebSocketServer,
}

impl<'f> Leg<'f> {
    fn stream(freeswitch: &'f FreeSwitch, uuid: &str, says: f64) -> Self {
        let server = WebSocketServer::start(Script::default());
        freeswitch.start_stream(uuid, &server, "stereo 8k");
        server.connection(0).wait_bytes(3_200);
        Self { freeswitch, uuid: uuid.to_owned(), says, server }
    }

    /// The stream goes on over its first connection: in the next second the server hears the party on the left, and on the right
    /// `other`, or silence of the same length.
    #[track_caller]
    fn goes_on(&self, what: &str, other: Option<f64>) {
        // What is under way from before.
        std::thread::sleep(Duration::from_millis(400));
        let connection = self.server.connection(0);
        let from = connection.audio().len();
        std::thread::sleep(Duration::from_secs(1));
        let captured = connection.audio().split_off(from);
        assert_eq!((self.server.accepted(), connection.ended()), (1, None), "{what}: the connection stays");
        let [left, right] = [0, 1].map(|index| audio::channel(&captured, 2, index));
        let length = left.len() / 8;
        assert!((850..=1_150).contains(&length) && right.len() == left.len(), "{what}: {length} ms of a second come");
        let ms = audio::tone_ms(&left, 8_000, self.says, THERE);
        assert!(ms >= 850, "{what}: of a second the party is heard {ms} ms");
        if let Some(hz) = other {
            let ms = audio::tone_ms(&right, 8_000, hz, THERE);
            assert!(ms >= 850, "{what}: of a second the other party is heard {ms} ms");
        } else {
            let loudest = right.iter().map(|sample| sample.unsigned_abs()).max();
            assert!(loudest <= Some(8), "{what}: where nobody speaks there is {loudest:?}");
        }
        let health = self.freeswitch.json(&format!("{} health", self.uuid));
        assert_eq!((&health["state"], &health["health"]), (&"STREAMING".into(), &"HEALTHY".into()), "{what}: {health}");
    }

    /// The stream ends with its leg, and says so on both sides.
    #[track_caller]
    fn ends(&self, what: &str, events: &Esl) {
        let end = self.server.connection(0).wait_end();
        assert!(matches!(end, Received::Close(1_000..=1_001, _)), "{what}: {end:?}");
        let told = events.wait_stream("disconnect", &self.uuid).json();
        assert_eq!(told["message"]["code"], 1_000, "{what}: {told}");
        assert!(eventually(SOON, || !self.freeswitch.exists(&self.uuid)), "{what}: the leg stays");
        assert_eq!(self.server.accepted(), 1, "{what}: no second connection");
    }
}

/// A caller in a call with a called phone, and a stream on either leg.
struct Bridge<'f> {
    events: Esl,
    caller: SipCall,
    callee: Callee,
    near: Leg<'f>,
    far: Leg<'f>,
}

impl<'f> Bridge<'f> {
    fn start(freeswitch: &'f FreeSwitch) -> Self {
        let events = listen_to(freeswitch);
        let callee = Callee::new(Manner::default());
        callee.phone.say_forever(&signal::tone(8_000, OTHER, 1_000, LOUD));
        let caller = SipCall::place(freeswitch, &Dial::to(&format!("call-{}", callee.port())));
        caller.phone.say_forever(&signal::tone(8_000, CALLER, 1_000, LOUD));
        let far = || freeswitch.variable(&caller.uuid, "bridge_uuid");
        assert!(eventually(SOON, || far().is_some()), "the caller is not connected");
        let far = far().expect("it came");
        let (near, far) = (Leg::stream(freeswitch, &caller.uuid, CALLER), Leg::stream(freeswitch, &far, OTHER));
        let bridge = Self { events, caller, callee, near, far };
        bridge.near.goes_on("bridged", Some(OTHER));
        bridge.far.goes_on("bridged", Some(CALLER));
        bridge
    }

    /// One of the phones has the other's leg transferred. Returns the leg that stays and the one that goes.
    fn refer(&self, by_callee: bool, extension: &str) -> (&Leg<'f>, &Leg<'f>) {
        if by_callee {
            self.callee.refer_to(extension);
            (&self.near, &self.far)
        } else {
            self.caller.refer_to(extension);
            (&self.far, &self.near)
        }
    }
}

#[test]
fn a_refer_by_either_phone_keeps_the_stream_of_the_other() {
    in_freeswitch(|freeswitch| {
        for by_callee in [true, false] {
            let bridge = Bridge::start(freeswitch);
            let what = format!("refer to park, by the callee: {by_callee}");
            let (stays, goes) = bridge.refer(by_callee, "park");
            goes.ends(&what, &bridge.events);
            stays.goes_on(&what, None);
            freeswitch.hang_up_all();
            stays.ends(&what, &bridge.events);
        }
    });
}

#[test]
fn a_refer_to_nowhere_ends_the_call_and_both_streams() {
    in_freeswitch(|freeswitch| {
        let innocent = SipCall::place(freeswitch, &Dial::to("park"));
        innocent.phone.say_forever(&signal::tone(8_000, CALLER, 1_000, LOUD));
        let beside = Leg::stream(freeswitch, &innocent.uuid, CALLER);
        for by_callee in [true, false] {
            let bridge = Bridge::start(freeswitch);
            let what = format!("refer to nowhere, by the callee: {by_callee}");
            let (stays, goes) = bridge.refer(by_callee, "nosuch");
            goes.ends(&what, &bridge.events);
            stays.ends(&what, &bridge.events);
            beside.goes_on(&what, None);
        }
        assert_eq!((freeswitch.channels(), freeswitch.streams()), (1, 1));
        freeswitch.hang_up_all();
    });
}

#[test]
fn transfers_and_bridges_by_command_keep_each_legs_stream() {
    in_freeswitch(|freeswitch| {
        let bridge = Bridge::start(freeswitch);
        let (near, far) = (&bridge.near, &bridge.far);
        freeswitch.ok(&format!("uuid_transfer {} -both park XML tests", near.uuid));
        near.goes_on("both parked", None);
        far.goes_on("both parked", None);
        freeswitch.ok(&format!("uuid_bridge {} {}", near.uuid, far.uuid));
        near.goes_on("two parked calls bridged", Some(OTHER));
        far.goes_on("two parked calls bridged", Some(CALLER));
        freeswitch.ok(&format!("uuid_transfer {} -bleg park XML tests", near.uuid));
        // The leg that is left ends, since nothing else is set for it.
        near.ends("the other leg transferred", &bridge.events);
        far.goes_on("the other leg transferred", None);
        freeswitch.hang_up_all();

        let bridge = Bridge::start(freeswitch);
        freeswitch.ok(&format!("uuid_transfer {} park XML tests", bridge.near.uuid));
        bridge.far.ends("transferred", &bridge.events);
        bridge.near.goes_on("transferred", None);
        freeswitch.hang_up_all();
    });
}

#[test]
fn a_transfer_and_a_start_in_one_write_are_both_carried_out() {
    in_freeswitch(|freeswitch| {
        let esl = listen_to(freeswitch);
        let call = SipCall::place(freeswitch, &Dial::to("park"));
        call.phone.say_forever(&signal::tone(8_000, CALLER, 1_000, LOUD));
        for extension in ["sleep", "tone-700", "park", "echo"] {
            let server = WebSocketServer::start(Script::default());
            let transfer = format!("api uuid_transfer {} {extension} XML tests", call.uuid);
            let start = format!("api uuid_audio_stream {} start {} mono 8k", call.uuid, server.url());
            let answers = esl.pipeline(&[transfer, start], || {});
            assert!(answers.iter().all(|answer| answer.starts_with("+OK")), "{extension}: {answers:?}");
            let connection = server.connection(0);
            connection.wait_bytes(32_000);
            let ms = audio::tone_ms(&connection.audio(), 8_000, CALLER, THERE);
            assert!(ms >= 1_800, "{extension}: of 2 s the server hears {ms} ms");
            assert_eq!((server.accepted(), connection.ended()), (1, None), "{extension}");
            freeswitch.stream(&call.uuid, "stop");
            connection.wait_end();
            assert!(eventually(SOON, || freeswitch.streams() == 0));
        }
    });
}

#[test]
fn recordings_that_follow_a_transfer_leave_the_streams_alone() {
    in_freeswitch(|freeswitch| {
        for by_callee in [true, false] {
            let bridge = Bridge::start(freeswitch);
            let what = format!("refer to park, by the callee: {by_callee}");
            let goes = if by_callee { &bridge.far } else { &bridge.near };
            let file = |of: &str| freeswitch.folder.join(format!("recordings/{of}-{by_callee}.wav"));
            for leg in [&bridge.near, &bridge.far] {
                freeswitch.ok(&format!("uuid_setvar {} recording_follow_transfer true", leg.uuid));
            }
            freeswitch.ok(&format!("uuid_record {} start {}", goes.uuid, file("switch").display()));
            freeswitch.stream(&goes.uuid, &format!("record start {}", file("module").display()));
            std::thread::sleep(Duration::from_secs(1));
            let (stays, goes) = bridge.refer(by_callee, "park");
            goes.ends(&what, &bridge.events);
            stays.goes_on(&what, None);
            freeswitch.hang_up_all();
            stays.ends(&what, &bridge.events);
            let stopped = bridge.events.wait_event(SOON, |event| {
                event.subclass() == "mod_audio_stream::record" && event.get("Audio-Stream-Status") == Some("stopped")
            });
            assert_eq!(stopped.expect("the recording ends with its leg").uuid(), goes.uuid);
            let [switch, module] = ["switch", "module"].map(|of| wav::read(&file(of)).expect("a whole file"));
            let says = audio::tone_ms(&module.channel(0), 8_000, goes.says, THERE);
            assert!(says >= 900, "{what}: the module's file has the leg that went for {says} ms");
            // FreeSWITCH's moves to the leg that stays, where it goes on.
            let says = audio::tone_ms(&switch.channel(0), switch.rate, stays.says, IN_A_MIX);
            assert!(says >= 2_000, "{what}: FreeSWITCH's file has the leg that stays for {says} ms");
        }
    });
}

#[test]
fn fifty_starts_transfers_and_stops_leave_nothing_behind() {
    in_freeswitch(|freeswitch| {
        let call = SipCall::place(freeswitch, &Dial::to("park"));
        call.phone.say_forever(&signal::tone(8_000, CALLER, 1_000, LOUD));
        let server = WebSocketServer::start(Script::default());
        let start = || freeswitch.start_stream(&call.uuid, &server, "mono 8k");
        for round in 0..50 {
            start();
            let extension = ["sleep", "park", "tone-700"][round % 3];
            freeswitch.ok(&format!("uuid_transfer {} {extension} XML tests", call.uuid));
            freeswitch.stream(&call.uuid, "stop");
            start();
            freeswitch.stream(&call.uuid, "stop");
        }
        start();
        let alone = eventually(SOON, || {
            let open = server.connections().iter().filter(|connection| connection.ended().is_none()).count();
            freeswitch.streams() == 1 && open == 1
        });
        assert!(alone, "{} streams: {}", freeswitch.streams(), freeswitch.api("uuid_audio_stream list"));
        let connections = server.connections();
        let last = connections.iter().find(|connection| connection.ended().is_none()).expect("one is open");
        let from = last.audio().len();
        last.wait_bytes(from as u64 * 2 + 16_000);
        let ms = audio::tone_ms(&last.audio().split_off(from), 8_000, CALLER, THERE);
        assert!(ms >= 900, "of a second the server hears {ms} ms");
        let clean = |end: &Received| matches!(end, Received::Close(1_000, _));
        let ends: Vec<_> = connections.iter().filter_map(|connection| connection.ended()).collect();
        assert!(ends.iter().all(clean), "{ends:?}");
        assert_eq!(process::half_closed(freeswitch.pid()), [""; 0]);
        freeswitch.hang_up_all();
        assert!(eventually(SOON, || freeswitch.streams() == 0));
    });
}
