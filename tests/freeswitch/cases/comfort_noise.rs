//! A caller whose phone falls silent with comfort noise: pauses stay in their places, in both channels and on both legs.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::harness::callee::{Callee, Manner};
use crate::harness::in_freeswitch;
use crate::harness::rtp::Phone;
use crate::harness::server::FreeSwitch;
use crate::harness::sip::{Dial, SipCall};
use crate::harness::stream::{ABSENT, CALLER, LOUD, OTHER, SOON, THERE};
use crate::support::websocket_server::{Connection, Script, WebSocketServer};
use crate::support::{audio, eventually};

/// What the phone sends while its owner is silent.
#[derive(Clone, Copy, Debug)]
enum Noise {
    Nothing,
    Once,
    Every200Ms,
}

/// A bridged call with a stereo stream on each leg.
struct Talk {
    what: String,
    noise: Noise,
    call: SipCall,
    callee: Callee,
    streams: [Arc<Connection>; 2],
    _servers: [WebSocketServer; 2],
}

impl Talk {
    fn start(freeswitch: &FreeSwitch, noise: Noise, offered: bool) -> Self {
        let callee = Callee::new(Manner::default());
        callee.phone.hum(OTHER, LOUD);
        let dial = Dial::to(&format!("call-{}", callee.port()));
        let call = SipCall::place(freeswitch, &if offered { dial.comfort_noise() } else { dial });
        call.phone.hum(CALLER, LOUD);
        let other = || freeswitch.variable(&call.uuid, "bridge_uuid");
        assert!(eventually(SOON, || other().is_some()));
        let legs = [call.uuid.clone(), other().expect("it is bridged")];
        let servers = legs.map(|uuid| {
            let server = WebSocketServer::start(Script::default());
            freeswitch.start_stream(&uuid, &server, "stereo 8k");
            server.connection(0).wait_bytes(3_200);
            server
        });
        let what = format!("noise: {noise:?}, offered: {offered}");
        let streams = servers.each_ref().map(|server| server.connection(0));
        Self { what, noise, call, callee, streams, _servers: servers }
    }

    /// The caller is silent for 3 s. The other party pauses where the caller stops, and again where the caller goes on.
    fn caller_pauses(&self) {
        let (caller, other) = (&self.call.phone, &self.callee.phone);
        let codec = caller.codec();
        caller.speak_as(codec, 20, true);
        other.hum(OTHER, 0.0);
        let pause = || std::thread::sleep(Duration::from_millis(200));
        if matches!(self.noise, Noise::Once) {
            caller.send_comfort_noise();
        }
        for round in 0..15 {
            if matches!(self.noise, Noise::Every200Ms) {
                caller.send_comfort_noise();
            }
            pause();
            if round == 2 {
                other.hum(OTHER, LOUD);
            }
        }
        caller.speak_as(codec, 20, false);
        other.hum(OTHER, 0.0);
        (0..3).for_each(|_| pause());
        other.hum(OTHER, LOUD);
    }

    /// `from` are the samples that each stream had sent so long ago.
    fn is_aligned(&self, from: [usize; 2], wall: usize) {
        // From the caller's last sound to the other's, and from the caller's next sound to the other's last, ms: a packet sounds
        // for 20 ms from when it was sent.
        let (sent, others) = (pauses_sent(&self.call.phone), pauses_sent(&self.callee.phone));
        let apart = |from: Instant, to: Instant| {
            let ms = |time: Duration| time.as_secs_f64() * 1_000.0;
            ms(to.saturating_duration_since(from)) - ms(from.saturating_duration_since(to))
        };
        let expected = [apart(sent[0].0, others[0].0), apart(sent[0].1, others[1].0) + 20.0];
        for (leg, (stream, from)) in ["near", "far"].into_iter().zip(self.streams.iter().zip(from)) {
            let what = format!("{}, {leg} leg", self.what);
            let captured = stream.audio().split_off(from);
            let ms = captured.len() / 16;
            assert!(ms.abs_diff(wall) <= 100, "{what}: in {wall} ms the server gets {ms} ms");
            let lanes = [0, 1].map(|index| audio::channel(&captured, 2, index));
            let (caller, other) = if leg == "near" { (&lanes[0], &lanes[1]) } else { (&lanes[1], &lanes[0]) };
            let pause = pauses(caller, CALLER, 2_000, &what)[0].clone();
            let length = pause.len() / 8;
            let wanted = (sent[0].1 - sent[0].0).as_millis() as usize;
            assert!(length.abs_diff(wanted) <= 60, "{what}: a pause of {wanted} ms has {length} ms");
            let silent = &caller[pause.start + 800..pause.end - 800];
            assert!(audio::rms(silent) < ABSENT, "{what}: the pause has {} of sound", audio::rms(silent));
            let others = pauses(other, OTHER, 400, &what);
            assert_eq!(others.len(), 2, "{what}: {others:?}");
            let ends = [(pause.start, others[0].start, expected[0]), (pause.end, others[1].start, expected[1])];
            for (caller, other, expected) in ends {
                let offset = (other as f64 - caller as f64) / 8.0;
                assert!(
                    (offset - expected).abs() <= 30.0,
                    "{what}: the legs are {offset} ms apart, {expected} as sent"
                );
            }
        }
    }
}

/// The instants of the packets before and behind each pause of at least 400 ms that this phone made.
fn pauses_sent(phone: &Phone) -> Vec<(Instant, Instant)> {
    let said = phone.said();
    let sounds: Vec<_> =
        said.iter().filter(|packet| audio::rms(&packet.samples) > 0.0).map(|packet| packet.at).collect();
    let pairs = sounds.windows(2).map(|pair| (pair[0], pair[1]));
    pairs.filter(|(before, behind)| *behind - *before >= Duration::from_millis(400)).collect()
}

/// Where this tone pauses for at least `least` ms.
fn pauses(samples: &[i16], hz: f64, least: usize, what: &str) -> Vec<std::ops::Range<usize>> {
    let spoken = audio::tone_stretches(samples, 8_000, hz, THERE, 40);
    let between = spoken.windows(2).map(|pair| pair[0].end..pair[1].start);
    let pauses: Vec<_> = between.filter(|pause| pause.len() >= 8 * least).collect();
    assert!(!pauses.is_empty(), "{what}: no pause of {hz} Hz in {spoken:?}");
    pauses
}

#[test]
fn pauses_with_comfort_noise_stay_in_their_places() {
    in_freeswitch(|freeswitch| {
        let talks = [
            (Noise::Once, true),
            (Noise::Every200Ms, true),
            (Noise::Nothing, true),
            (Noise::Once, false),
            (Noise::Every200Ms, false),
        ]
        .map(|(noise, offered)| Talk::start(freeswitch, noise, offered));
        std::thread::sleep(Duration::from_millis(500));
        let from = talks.each_ref().map(|talk| talk.streams.each_ref().map(|stream| stream.audio().len()));
        let began = Instant::now();
        std::thread::sleep(Duration::from_secs(2));
        std::thread::scope(|scope| {
            for talk in &talks {
                scope.spawn(|| talk.caller_pauses());
            }
        });
        std::thread::sleep(Duration::from_secs(2));
        let wall = began.elapsed().as_millis() as usize;
        for (talk, from) in talks.iter().zip(from) {
            talk.is_aligned(from, wall);
        }
        freeswitch.hang_up_all();
    });
}
