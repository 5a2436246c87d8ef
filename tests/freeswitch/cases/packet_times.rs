//! Packets of another length than agreed, without a word of signalling.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::harness::callee::{Callee, Manner};
use crate::harness::esl::Event;
use crate::harness::in_freeswitch;
use crate::harness::server::FreeSwitch;
use crate::harness::sip::{Dial, SipCall};
use crate::harness::stream::{CALLER, LOUD, OTHER, SOON, THERE, listen_to};
use crate::support::websocket_server::{Connection, Script, WebSocketServer};
use crate::support::{audio, signal, wav};

#[test]
fn packets_longer_than_agreed_keep_pitch_and_length() {
    in_freeswitch(|freeswitch| {
        // What is agreed, and what the phone sends from the first packet on.
        for (agreed, sent) in [(20, 40), (20, 30), (10, 10), (30, 30), (40, 40), (60, 60), (20, 20)] {
            let call = SipCall::place(freeswitch, &Dial::to("park").ptime(agreed));
            call.phone.speak_as(call.phone.codec(), sent, false);
            call.phone.say_forever(&signal::tone(8_000, CALLER, 1_000, LOUD));
            let server = WebSocketServer::start(Script::default());
            std::thread::sleep(Duration::from_secs(1));
            freeswitch.start_stream(&call.uuid, &server, "mono 8k");
            let connection = server.connection(0);
            connection.wait_bytes(1_600);
            let from = connection.audio().len();
            std::thread::sleep(Duration::from_secs(3));
            let captured = connection.audio().split_off(from);
            let what = format!("{agreed} ms agreed, {sent} ms sent");
            let ms = captured.len() / 8;
            assert!((2_900..=3_100).contains(&ms), "{what}: in 3 s the server gets {ms} ms");
            let ms = audio::tone_ms(&captured, 8_000, CALLER, THERE);
            assert!(ms >= 2_850, "{what}: of 3 s {ms} ms are the caller's tone");
            freeswitch.hang_up_all();
        }
    });
}

/// What a stream of each mix and a recording are given of a call whose phone changes the length of its packets.
struct Captured {
    mono: Arc<Connection>,
    stereo: Arc<Connection>,
    _servers: [WebSocketServer; 2],
}

impl Captured {
    fn of(freeswitch: &FreeSwitch, call: &SipCall) -> Self {
        let start = |mix: &str| {
            let server = WebSocketServer::start(Script::default());
            freeswitch.stream(&call.uuid, &format!("start name={mix} {} {mix} 8k", server.url()));
            server.connection(0).wait_bytes(16_000);
            server
        };
        let servers = [start("mono"), start("stereo")];
        Self { mono: servers[0].connection(0), stereo: servers[1].connection(0), _servers: servers }
    }

    /// The caller alone; the caller and the other leg, each of a stream that has both.
    fn samples(&self) -> [Vec<i16>; 3] {
        let stereo = self.stereo.audio();
        [self.mono.audio(), audio::channel(&stereo, 2, 0), audio::channel(&stereo, 2, 1)]
    }
}

#[test]
fn packets_that_grow_in_mid_call_build_up_no_delay() {
    in_freeswitch(|freeswitch| {
        let callee = Callee::new(Manner::default());
        callee.phone.say_forever(&signal::tone(8_000, OTHER, 1_000, LOUD));
        for extension in ["park".to_owned(), format!("call-{}", callee.port())] {
            let bridged = extension != "park";
            let events = listen_to(freeswitch);
            let call = SipCall::place(freeswitch, &Dial::to(&extension));
            let innocent = SipCall::place(freeswitch, &Dial::to("park"));
            let file = format!("growing-{bridged}.wav");
            freeswitch.stream(&call.uuid, &format!("record start {file}"));
            let began = Instant::now();
            for phone in [&call.phone, &innocent.phone] {
                phone.say_forever(&signal::tone(8_000, CALLER, 1_000, LOUD));
            }
            let captured = Captured::of(freeswitch, &call);
            let beside = Captured::of(freeswitch, &innocent);
            for (ptime, seconds) in [(40, 6), (60, 4), (30, 4), (20, 4)] {
                call.phone.speak_as(call.phone.codec(), ptime, false);
                std::thread::sleep(Duration::from_millis(500));
                let from = [&captured, &beside].map(|captured| captured.samples().map(|samples| samples.len()));
                let since = Instant::now();
                std::thread::sleep(Duration::from_secs(seconds));
                let until = [&captured, &beside].map(Captured::samples);
                let wall = since.elapsed().as_millis() as usize;
                let what = format!("{extension}, packets of {ptime} ms");
                for (whose, (samples, from)) in ["", "beside it, "].into_iter().zip(until.into_iter().zip(from)) {
                    for (lane, (samples, from)) in samples.into_iter().zip(from).enumerate() {
                        let samples = &samples[from..];
                        let ms = samples.len() / 8;
                        assert!(ms.abs_diff(wall) <= 100, "{whose}{what}: in {wall} ms lane {lane} gets {ms} ms");
                        let hz = if lane == 2 { OTHER } else { CALLER };
                        let tone = audio::tone_ms(samples, 8_000, hz, THERE) as usize;
                        let sounds = lane < 2 || (bridged && whose.is_empty());
                        assert!(
                            !sounds || tone + 150 >= wall,
                            "{whose}{what}: in lane {lane} {tone} of {wall} ms are the tone"
                        );
                    }
                }
                let messages = captured.mono.binaries();
                let odd = messages[..messages.len() - 1].iter().find(|message| message.len() != 320);
                assert_eq!(odd.map(Vec::len), None, "20 ms have 320 bytes");
            }
            // The delay is what a click takes: silence, then the tone again.
            call.phone.say_forever(&[]);
            std::thread::sleep(Duration::from_secs(1));
            let from = captured.samples().map(|samples| samples.len());
            call.phone.say(&signal::tone(8_000, CALLER, 100, LOUD));
            std::thread::sleep(Duration::from_secs(1));
            for (samples, from) in captured.samples().into_iter().zip(from).take(2) {
                let click = audio::tone_stretches(&samples[from..], 8_000, CALLER, THERE, 80);
                let at = click.first().expect("the click arrives").start / 8;
                assert!(at <= 300, "what the caller says arrives after {at} ms");
            }
            let wall = began.elapsed().as_millis() as usize;
            freeswitch.stream(&call.uuid, "record stop");
            let ended = |event: &Event| event.get("Audio-Stream-Status") == Some("stopped");
            events.wait_event(SOON, |event| event.uuid() == call.uuid && ended(event)).expect("the recording ends");
            let recorded = wav::read(&freeswitch.folder.join("recordings").join(&file)).expect("it is written");
            let ms = recorded.channel(0).len() / 8;
            assert!(ms.abs_diff(wall) <= 100, "{extension}: of {wall} ms {ms} ms are recorded");
            // All but the two seconds of the click.
            let tone = audio::tone_ms(&recorded.channel(0), recorded.rate, CALLER, THERE) as usize;
            assert!(tone + 2_300 >= ms, "{extension}: of {ms} ms recorded {tone} ms are the tone");
            freeswitch.hang_up_all();
        }
    });
}
