//! Silence for a caller to whom nobody writes: a packet per ptime, beside no other writer, until the stream ends.

use std::time::Duration;

use super::conversation_turns::Telephone;
use crate::harness::callee::{Callee, Manner};
use crate::harness::in_freeswitch;
use crate::harness::rtp::{Codec, Packet, assemble};
use crate::harness::server::FreeSwitch;
use crate::harness::sip::{Dial, Direction, Offer, SipCall};
use crate::harness::stream::{CALLER, LOUD, OTHER, SERVER, THERE};
use crate::realtime::Stage;
use crate::support::websocket_server::{Action, Play, Script, WebSocketServer};
use crate::support::{audio, signal, wav};

/// A call to this extension with a stream that sends silence or not.
fn place(freeswitch: &FreeSwitch, extension: &str, silence: bool) -> (SipCall, WebSocketServer) {
    let call = SipCall::place(freeswitch, &Dial::to(extension));
    call.phone.say_forever(&signal::tone(8_000, CALLER, 1_000, LOUD));
    let server = WebSocketServer::start(Script::default());
    freeswitch.start_stream(&call.uuid, &server, &format!("mono 8k send_silence={silence}"));
    server.connection(0).wait_bytes(8_000);
    (call, server)
}

/// The packets that come within `time` from now on.
fn packets(call: &SipCall, time: Duration) -> Vec<Packet> {
    let from = call.phone.packets().len();
    std::thread::sleep(time);
    call.phone.packets().split_off(from)
}

fn assert_in_order(packets: &[Packet], what: &str) {
    for pair in packets.windows(2) {
        let step = pair[1].timestamp.wrapping_sub(pair[0].timestamp);
        assert!((160..8_000 * 60).contains(&step), "{what}: two packets {step} samples apart");
    }
}

#[test]
fn silence_reaches_a_caller_to_whom_nobody_writes() {
    in_freeswitch(|freeswitch| {
        for extension in ["park", "sleep"] {
            let ((call, server), (innocent, _other)) =
                (place(freeswitch, extension, true), place(freeswitch, extension, false));
            let file = freeswitch.folder.join(format!("recordings/silence-{}.wav", call.uuid));
            freeswitch.stream(&call.uuid, &format!("record start {}", file.display()));
            let silent = packets(&call, Duration::from_secs(4));
            assert!((196..=204).contains(&silent.len()), "{extension}: {} packets in 4 s", silent.len());
            assert!(audio::rms(&assemble(&silent, Codec::Pcmu)) < 50.0, "{extension}");
            let tone = signal::tone(8_000, SERVER, 1_000, LOUD);
            server.connection(0).order(Action::Play(Play::mono(tone, 8_000)));
            let played = packets(&call, Duration::from_secs(3));
            assert!((147..=153).contains(&played.len()), "{extension}: {} packets in 3 s", played.len());
            assert_in_order(&[silent, played.clone()].concat(), extension);
            let heard = assemble(&played, Codec::Pcmu);
            let stretches = audio::tone_stretches(&heard, 8_000, SERVER, THERE, 80);
            assert_eq!(stretches.len(), 1, "{extension}: {stretches:?}");
            assert!(stretches[0].len().abs_diff(8_000) <= 320, "{extension}: {stretches:?}");
            freeswitch.stream(&call.uuid, "record stop");
            let recorded = wav::read(&file).expect("the module wrote it");
            let ms = audio::tone_ms(&recorded.channel(1), recorded.rate, SERVER, THERE);
            assert!((960..=1_020).contains(&ms), "{extension}: the recording has {ms} ms of the tone");
            let whole = recorded.channel(0).len() / 8;
            assert!((6_900..=7_600).contains(&whole), "{extension}: {whole} ms are recorded of 7 s");

            freeswitch.stream(&call.uuid, "stop");
            std::thread::sleep(Duration::from_millis(100));
            assert_eq!(packets(&call, Duration::from_secs(1)).len(), 0, "{extension}: the stream has ended");
            assert_eq!(innocent.phone.packets().len(), 0, "{extension}: none was asked for");
        }
    });
}

#[test]
fn a_stopped_conversation_sends_no_silence() {
    in_freeswitch(|freeswitch| {
        let place = Telephone::place(freeswitch, &[]);
        let call = place.call.clone();
        let mut stage = Stage::new(place);
        stage.open();
        std::thread::sleep(Duration::from_millis(400));
        let while_it_lasts = packets(&call, Duration::from_secs(2)).len();
        assert!((97..=103).contains(&while_it_lasts), "{while_it_lasts} packets in 2 s");
        freeswitch.stream(&call.uuid, "stop");
        std::thread::sleep(Duration::from_millis(100));
        assert_eq!(packets(&call, Duration::from_secs(2)).len(), 0);
        assert!(freeswitch.exists(&call.uuid));
    });
}

#[test]
fn silence_is_sent_beside_no_other_writer() {
    in_freeswitch(|freeswitch| {
        for extension in ["echo", "tone-700", "park-silent", "conference-alone", "call", "call-silent"] {
            let callees = [(); 2].map(|()| Callee::new(Manner::default()));
            let both: Vec<_> = [true, false]
                .into_iter()
                .zip(&callees)
                .map(|(silence, callee)| {
                    callee.phone.say_forever(&signal::tone(8_000, OTHER, 1_000, LOUD));
                    let to = match extension.strip_prefix("call") {
                        Some(_) => format!("call-{}", callee.port()),
                        None => extension.to_owned(),
                    };
                    let placed = place(freeswitch, &to, silence);
                    if extension == "call-silent" {
                        callee.phone.speak_as(Codec::Pcmu, 20, true);
                    }
                    placed
                })
                .collect();
            std::thread::sleep(Duration::from_secs(1));
            let from = both.iter().map(|(call, _)| call.phone.packets().len()).collect::<Vec<_>>();
            std::thread::sleep(Duration::from_secs(3));
            let [with, without] = [0, 1].map(|n| both[n].0.phone.packets().split_off(from[n]));
            assert_in_order(&with, extension);
            let (with, without) = (with.len(), without.len());
            assert!(with.abs_diff(without) <= 4, "{extension}: {with} packets, without the silence {without}");
            freeswitch.hang_up_all();
        }
    });
}

#[test]
fn silence_steps_back_while_freeswitch_plays() {
    in_freeswitch(|freeswitch| {
        let (call, _server) = place(freeswitch, "park", true);
        std::thread::sleep(Duration::from_millis(500));
        let from = call.phone.packets().len();
        freeswitch.ok(&format!("uuid_broadcast {} tone_stream://v=-13;%(2000,0,{OTHER}) aleg", call.uuid));
        std::thread::sleep(Duration::from_secs(5));
        let packets = call.phone.packets().split_off(from);
        assert_in_order(&packets, "a broadcast");
        let heard = assemble(&packets, Codec::Pcmu);
        let stretches = audio::tone_stretches(&heard, 8_000, OTHER, THERE, 80);
        assert_eq!(stretches.len(), 1, "{stretches:?}");
        assert!(stretches[0].len().abs_diff(16_000) <= 480, "{stretches:?}");
        let middle = &heard[stretches[0].start + 320..stretches[0].end - 320];
        assert_eq!(audio::seams(middle, 8_000, OTHER, 80), [] as [usize; 0], "the tone is in one piece");
        let after = &packets[packets.len() - 50..];
        assert!(audio::rms(&assemble(after, Codec::Pcmu)) < 50.0);
        let took = after[49].at.duration_since(after[0].at);
        assert!((940..=1_040).contains(&took.as_millis()), "50 packets of silence took {took:?}");
    });
}

#[test]
fn no_silence_is_sent_on_hold() {
    in_freeswitch(|freeswitch| {
        let (call, _server) = place(freeswitch, "park", true);
        for by_phone in [true, false] {
            let before = packets(&call, Duration::from_secs(1)).len();
            assert!((47..=53).contains(&before), "{before} packets in 1 s before the hold");
            let hold = |on: bool| {
                if by_phone {
                    let direction = if on { Direction::SendOnly } else { Direction::SendRecv };
                    call.reinvite(Offer { direction, ..Offer::of(Codec::Pcmu) });
                } else {
                    let off = if on { "" } else { "off " };
                    freeswitch.ok(&format!("uuid_hold {off}{}", call.uuid));
                }
            };
            hold(true);
            std::thread::sleep(Duration::from_millis(200));
            assert_eq!(packets(&call, Duration::from_secs(3)).len(), 0, "by phone: {by_phone}");
            hold(false);
            std::thread::sleep(Duration::from_millis(400));
            let after = packets(&call, Duration::from_secs(2)).len();
            assert!((96..=104).contains(&after), "by phone: {by_phone}: {after} packets in 2 s after it");
        }
    });
}
