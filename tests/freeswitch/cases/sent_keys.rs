//! Keys that FreeSWITCH sends to the caller while the server speaks: they cost no speech, and those that take no packets of audio
//! do not hold it up.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::harness::callee::{Callee, Manner};
use crate::harness::esl::Esl;
use crate::harness::rtp::Codec;
use crate::harness::server::{FreeSwitch, Launch};
use crate::harness::sip::{Dial, SipCall};
use crate::harness::stream::{LOUD, SOON, THERE, listen_to};
use crate::harness::{in_freeswitch, in_fresh_freeswitch};
use crate::support::websocket_server::{Action, Connection, Form, Handshake, Play, Script, WebSocketServer};
use crate::support::{audio, eventually, signal};

/// What the server says: a tone a second, each followed by a mark.
const TONES: [f64; 4] = [600.0, 770.0, 940.0, 1_110.0];

/// The same in ms.
const SAID: u64 = 1_000 * TONES.len() as u64;

/// A caller to whom a server speaks.
struct Talk<'f> {
    freeswitch: &'f FreeSwitch,
    call: SipCall,
    events: Esl,
    server: WebSocketServer,
}

impl<'f> Talk<'f> {
    fn start(freeswitch: &'f FreeSwitch, dial: &Dial) -> Self {
        let events = listen_to(freeswitch);
        let call = SipCall::place(freeswitch, dial);
        let handshake = Handshake::Subprotocol("audio.drachtio.org");
        let server = WebSocketServer::start(Script::default().with_handshake(handshake));
        freeswitch.start_stream(&call.uuid, &server, "mono 8k protocol=audio_fork binary_rate=8k");
        Self { freeswitch, call, events, server }
    }

    fn connection(&self) -> Arc<Connection> {
        self.server.connection(0)
    }

    /// The server says everything at once; returns when a second of it has been played.
    fn speak(&self) {
        for (second, hz) in TONES.into_iter().enumerate() {
            let tone = signal::tone(8_000, hz, 1_000, LOUD);
            self.connection().order(Action::Play(Play::mono(tone, 8_000).form(Form::Binary)));
            self.connection().order(Action::Text(format!(r#"{{"type":"mark","data":{{"name":"{second}"}}}}"#)));
        }
        self.freeswitch.wait_played(&self.call.uuid, 1_000);
    }

    /// A figure of the stream's playback in health, ms.
    fn figure(&self, name: &str) -> u64 {
        let health = self.freeswitch.json(&format!("{} health", self.call.uuid));
        health["inject"][name].as_u64().unwrap_or_else(|| panic!("no {name} in {health}"))
    }

    /// How much of each tone the caller has heard so far, ms.
    fn heard(&self) -> Vec<u32> {
        let (heard, rate) = (self.call.phone.heard(), self.call.phone.codec().rate());
        TONES.into_iter().map(|hz| audio::tone_ms(&heard, rate, hz, THERE)).collect()
    }

    fn marks_heard(&self) -> u64 {
        let marks = self.events.stream_events("playback", &self.call.uuid);
        marks.iter().filter(|event| event.json()["heard"] == true).count() as u64
    }

    /// Waits until all has been played, and compares at any time what counts as played with what was heard.
    fn listen(&self, what: &str) {
        let end = Instant::now() + 3 * SOON;
        while self.figure("played_ms") < SAID && Instant::now() < end {
            let (played, marks) = (self.figure("played_ms"), self.marks_heard());
            let heard = self.heard();
            let sum = u64::from(heard.iter().sum::<u32>());
            assert!(sum + 120 >= played, "{what}: {played} ms count as played, heard are {heard:?}");
            assert!(marks <= played / 1_000 + 1, "{what}: {marks} marks are answered after {played} ms");
            std::thread::sleep(Duration::from_millis(50));
        }
        std::thread::sleep(Duration::from_millis(500));
        let heard = self.heard();
        let whole = heard.iter().all(|tone| (1_000 - 20..=1_000 + 40).contains(tone));
        assert!(whole, "{what}: of 1000 ms of each tone are heard {heard:?}");
        assert_eq!((self.figure("played_ms"), self.marks_heard()), (SAID, TONES.len() as u64), "{what}");
    }

    /// The server speaks, keys are sent after a second of it, and all that it says is heard.
    fn costs_no_speech(&self, what: &str, keys: &str, least_ms: u64, send: impl FnOnce()) {
        self.speak();
        send();
        self.listen(what);
        let phone = &self.call.phone;
        assert!(eventually(SOON, || phone.keys_heard() == keys), "{what}: {}", phone.keys_heard());
        let withheld = self.figure("keys_ms");
        // Two packets until the first begins, a pause of 40 ms behind each, and none at all where no key is sent.
        let most_ms = least_ms + if keys.is_empty() { 0 } else { 60 + 80 * keys.len() as u64 };
        assert!((least_ms..=most_ms).contains(&withheld), "{what}: playback waited for {withheld} ms");
    }
}

#[test]
fn keys_sent_to_the_caller_cost_no_speech() {
    in_freeswitch(|freeswitch| {
        let commands = [
            ("uuid_send_dtmf UUID 123@1000", "123", 3_000, Codec::Pcmu),
            ("uuid_send_dtmf UUID ~123@1000", "123", 3_000, Codec::Pcmu),
            ("uuid_send_dtmf UUID 12345", "12345", 1_250, Codec::Pcmu),
            ("uuid_send_dtmf UUID 7@400", "7", 400, Codec::L16),
            ("uuid_send_dtmf UUID 1w2@200", "12", 900, Codec::Pcmu),
            ("uuid_broadcast UUID send_dtmf::9@500", "9", 500, Codec::Pcmu),
            ("uuid_audio_stream UUID dtmf 123", "", 0, Codec::Pcmu),
        ];
        for (command, keys, length, codec) in commands {
            let talk = Talk::start(freeswitch, &Dial::to("park").codec(codec));
            talk.costs_no_speech(command, keys, length, || {
                freeswitch.ok(&command.replace("UUID", &talk.call.uuid));
            });
            freeswitch.hang_up_all();
        }
    });
}

#[test]
fn keys_sent_under_a_prompt_cost_no_speech() {
    in_freeswitch(|freeswitch| {
        for extension in ["tone-2500", "echo", "sleep"] {
            let talk = Talk::start(freeswitch, &Dial::to(extension));
            talk.costs_no_speech(extension, "12", 1_000, || {
                freeswitch.ok(&format!("uuid_send_dtmf {} 12@500", talk.call.uuid));
            });
            freeswitch.hang_up_all();
        }
    });
}

#[test]
fn keys_that_a_server_asks_for_cost_no_speech() {
    in_freeswitch(|freeswitch| {
        let talk = Talk::start(freeswitch, &Dial::to("park"));
        let asks = WebSocketServer::start(Script::default());
        freeswitch
            .stream(&talk.call.uuid, &format!("start name=asks {} mono 8k protocol=plivo allow=dtmf", asks.url()));
        let order = r#"{"event":"sendDTMF","dtmf":"123"}"#;
        let press = || asks.connection(0).order(Action::Text(order.to_owned()));
        talk.costs_no_speech("asked for", "123", 750, press);
        freeswitch.hang_up_all();
    });
}

#[test]
fn keys_of_the_other_party_cost_no_speech() {
    in_freeswitch(|freeswitch| {
        let callee = Callee::new(Manner::default());
        let talk = Talk::start(freeswitch, &Dial::to(&format!("call-{}", callee.port())));
        talk.costs_no_speech("relayed", "9", 2_000, || callee.phone.press("9", 2_000));
        freeswitch.hang_up_all();
    });
}

#[test]
fn keys_that_take_no_packets_of_audio_hold_nothing_up() {
    in_freeswitch(|freeswitch| {
        // By SIP INFO to a phone that does not know events of RTP; not at all; and nothing that is a key.
        let dials = [
            (Dial::to("park").without_keys(), "", "12@1000"),
            (Dial::to("park"), "dtmf_type info", "12@1000"),
            (Dial::to("park"), "dtmf_type none", "12@1000"),
            (Dial::to("park"), "", "xyz@1000"),
        ];
        for (dial, variable, keys) in dials {
            let talk = Talk::start(freeswitch, &dial);
            if !variable.is_empty() {
                freeswitch.ok(&format!("uuid_setvar {} {variable}", talk.call.uuid));
            }
            let what = format!("{keys} {variable}");
            talk.costs_no_speech(&what, "", 0, || {
                freeswitch.api(&format!("uuid_send_dtmf {} {keys}", talk.call.uuid));
            });
            freeswitch.hang_up_all();
        }
    });
}

#[test]
fn keys_are_sent_though_either_module_is_reloaded() {
    in_fresh_freeswitch(Launch::default(), |freeswitch| {
        for reload in ["", "reload mod_audio_stream", "reload mod_sofia", "unload mod_audio_stream"] {
            if !freeswitch.loaded() {
                freeswitch.load();
            }
            if !reload.is_empty() {
                assert!(eventually(SOON, || freeswitch.channels() == 0));
                let answer = freeswitch.api(reload);
                assert!(answer.contains("+OK"), "{reload}: {answer}");
            }
            if freeswitch.loaded() {
                let talk = Talk::start(&freeswitch, &Dial::to("park"));
                let press = || drop(freeswitch.ok(&format!("uuid_send_dtmf {} 12@500", talk.call.uuid)));
                talk.costs_no_speech(reload, "12", 1_000, press);
            } else {
                let call = SipCall::place(&freeswitch, &Dial::to("park"));
                freeswitch.ok(&format!("uuid_send_dtmf {} 12@500", call.uuid));
                assert!(eventually(SOON, || call.phone.keys_heard() == "12"), "{}", call.phone.keys_heard());
            }
            freeswitch.hang_up_all();
        }
        assert_eq!(freeswitch.shutdown(), 0);
    });
}
