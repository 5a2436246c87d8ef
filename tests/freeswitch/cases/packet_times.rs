//! Packets of another length than agreed, without a word of signalling.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::harness::callee::{Callee, Manner};
use crate::harness::esl::Event;
use crate::harness::in_freeswitch;
use crate::harness::server::FreeSwitch;
use crate::harness::sip::{Dial, SipCall};
use crate::harness::stream::{CALLER, LOUD, OTHER, SERVER_AGAIN, SOON, THERE, listen_to};
use crate::support::websocket_server::{Connection, Received, Script, WebSocketServer};
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

/// The caller's tone with a click in it once a second, of so many ms: a multiple of each packet.
const CLICK_MS: u32 = 120;

/// A call whose delay is watched.
struct Clicking {
    what: String,
    call: SipCall,
    server: WebSocketServer,
    from: usize,
    began: Instant,
}

impl Clicking {
    fn start(freeswitch: &FreeSwitch, extension: &str) -> Self {
        let call = SipCall::place(freeswitch, &Dial::to(extension));
        call.phone.hum(CALLER, LOUD);
        let server = WebSocketServer::start(Script::default());
        freeswitch.start_stream(&call.uuid, &server, "mono 8k");
        server.connection(0).wait_bytes(1_600);
        let from = server.connection(0).audio().len();
        Self { what: extension.to_owned(), call, server, from, began: Instant::now() }
    }

    /// How long each click took from the phone to the server, ms, in the order they were sent.
    fn delays(&self) -> Vec<i128> {
        let said = self.call.phone.said();
        let clicks = |samples: &[i16]| audio::amplitude(samples, 8_000, SERVER_AGAIN) > THERE / 2.0;
        let sent: Vec<_> = said.iter().map(|packet| (packet.at, clicks(&packet.samples))).collect();
        let sent: Vec<_> = sent.windows(2).filter(|pair| pair[1].1 && !pair[0].1).map(|pair| pair[1].0).collect();
        let (mut samples, mut came) = (Vec::new(), Vec::new());
        for arrival in self.server.connection(0).arrivals() {
            if let Received::Binary(bytes) = arrival.message {
                samples.extend(signal::from_bytes(&bytes));
                came.push((samples.len(), arrival.at));
            }
        }
        let stretches = audio::tone_stretches(&samples, 8_000, SERVER_AGAIN, THERE / 2.0, 80);
        // A packet that FreeSWITCH lost tears a click in two.
        let mut starts: Vec<_> = stretches.iter().map(|stretch| stretch.start).collect();
        starts.dedup_by(|next, before| *next - *before < 4_000);
        assert_eq!(starts.len(), sent.len(), "{}: clicks that arrive, and clicks sent; {stretches:?}", self.what);
        let delay = |(start, sent): (usize, Instant)| {
            let (_, at) = came.iter().find(|(end, _)| *end > start).expect("it came");
            at.saturating_duration_since(sent).as_millis() as i128
        };
        starts.into_iter().zip(sent).map(delay).collect()
    }
}

#[test]
fn the_delay_does_not_grow_while_packets_are_long() {
    in_freeswitch(|freeswitch| {
        let callee = Callee::new(Manner::default());
        callee.phone.hum(OTHER, LOUD);
        let extensions = ["park".to_owned(), format!("call-{}", callee.port())];
        let calls = extensions.map(|extension| Clicking::start(freeswitch, &extension));
        let click = signal::tone(8_000, SERVER_AGAIN, CLICK_MS, LOUD);
        let phases = [(20, 4), (40, 20), (60, 5), (20, 5)];
        for (ptime, seconds) in phases {
            for clicking in &calls {
                clicking.call.phone.speak_as(clicking.call.phone.codec(), ptime, false);
            }
            std::thread::sleep(Duration::from_millis(500));
            for _ in 0..seconds {
                calls.iter().for_each(|clicking| clicking.call.phone.say(&click));
                std::thread::sleep(Duration::from_secs(1));
            }
        }
        for clicking in &calls {
            let what = &clicking.what;
            let captured = clicking.server.connection(0).audio();
            let wall = clicking.began.elapsed().as_millis() as usize;
            let ms = (captured.len() - clicking.from) / 8;
            assert!(ms.abs_diff(wall) <= 100, "{what}: in {wall} ms the server gets {ms} ms");
            let clicked = phases.iter().map(|(_, seconds)| seconds).sum::<usize>() * CLICK_MS as usize;
            let tone = audio::tone_ms(&captured, 8_000, CALLER, THERE) as usize;
            assert!(tone + clicked + 40 * 34 >= wall, "{what}: of {wall} ms {tone} ms are the tone");
            let messages = clicking.server.connection(0).binaries();
            let odd = messages[..messages.len() - 1].iter().find(|message| message.len() != 320);
            assert_eq!(odd.map(Vec::len), None, "{what}: 20 ms have 320 bytes");
            let delays = clicking.delays();
            let median = |delays: &[i128]| {
                let mut sorted = delays.to_vec();
                sorted.sort_unstable();
                sorted[sorted.len() / 2]
            };
            let mut from = 0;
            let of_phases = phases.map(|(ptime, seconds)| {
                let of_phase = &delays[from..from + seconds];
                from += seconds;
                let (first, last) = (median(&of_phase[..3]), median(&of_phase[seconds - 3..]));
                assert!(last <= first + 40, "{what}, {ptime} ms: the delay grows: {of_phase:?}");
                last
            });
            assert!(of_phases[3] <= of_phases[0] + 40, "{what}: long packets leave a delay: {delays:?}");
        }
        freeswitch.hang_up_all();
    });
}
