//! What the caller says, and what the other leg says, reaches the server in the form asked for.

use crate::harness::in_freeswitch;
use crate::harness::rtp::Codec;
use crate::harness::sip::{Dial, SipCall};
use crate::harness::stream::{ABSENT, CALLER, LOUD, OTHER, SOON, THERE};
use crate::support::websocket_server::{Script, WebSocketServer};
use crate::support::{audio, eventually, signal};

/// The codec's noise is this much below a tone, dB.
fn least_snr(codec: Codec) -> f64 {
    if codec == Codec::Pcmu { 30.0 } else { 45.0 }
}

#[test]
fn mono_carries_the_caller_alone_at_every_rate() {
    in_freeswitch(|freeswitch| {
        for codec in [Codec::Pcmu, Codec::L16] {
            let call = SipCall::place(freeswitch, &Dial::to("tone-700").codec(codec));
            call.phone.say_forever(&signal::tone(codec.rate(), CALLER, 1_000, LOUD));
            for rate in [8_000, 16_000, 24_000, 32_000, 48_000] {
                let server = WebSocketServer::start(Script::default());
                freeswitch.start_stream(&call.uuid, &server, &format!("mono {rate}"));
                let connection = server.connection(0);
                let lost_before = freeswitch.packets_lost(&call.uuid);
                connection.wait_bytes(u64::from(rate) * 2 * 3 / 2);
                let health = freeswitch.json(&format!("{} health", call.uuid));
                freeswitch.stream(&call.uuid, "stop");
                let lost = freeswitch.packets_lost(&call.uuid) - lost_before;
                assert_eq!(health["capture"]["dropped_frames"], 0, "{codec:?} at {rate} Hz: {health}");
                connection.wait_end();
                let messages = connection.binaries();
                let size = rate as usize / 50 * 2;
                // The last one may hold what the resampler still had.
                let odd = messages[..messages.len() - 1].iter().find(|message| message.len() != size);
                assert_eq!(odd.map(Vec::len), None, "{codec:?} at {rate} Hz: 20 ms have {size} bytes");
                let heard = connection.audio();
                let second = &heard[rate as usize / 4..rate as usize * 5 / 4];
                // One wave, except what FreeSWITCH has lost: where that begins and where it ends. Each piece is clean.
                let block = rate as usize / 100;
                let seams = audio::seams(second, rate, CALLER, block);
                assert!(
                    seams.len() as u64 <= 4 * lost,
                    "{codec:?} at {rate} Hz: seams at {seams:?}; FreeSWITCH lost {lost} packets; {health}"
                );
                let whole = |piece: &[i16]| lost == 0 || audio::amplitude(piece, rate, CALLER) > ABSENT;
                let bounds: Vec<_> = [0].into_iter().chain(seams).chain([second.len()]).collect();
                let pieces = bounds.windows(2).filter(|piece| piece[1] - piece[0] > 4 * block);
                let pieces: Vec<_> = pieces.map(|piece| &second[piece[0] + block..piece[1] - block]).collect();
                let pieces: Vec<_> = pieces.into_iter().filter(|piece| whole(piece)).collect();
                let length: usize = pieces.iter().map(|piece| piece.len()).sum();
                assert!(
                    length * 2 > second.len(),
                    "{codec:?} at {rate} Hz: {length} samples of {} are whole",
                    second.len()
                );
                let snr = pieces.iter().map(|piece| audio::snr_of_tone(piece, rate, CALLER)).fold(f64::MAX, f64::min);
                assert!(snr > least_snr(codec), "{codec:?} at {rate} Hz: the caller's tone has {snr:.1} dB");
                assert!(audio::amplitude(second, rate, OTHER) < ABSENT);
            }
            freeswitch.hang_up_all();
        }
    });
}

#[test]
fn stereo_has_the_caller_left_and_the_other_leg_right() {
    in_freeswitch(|freeswitch| {
        for (extension, codec) in [("bridge-tone-700", Codec::Pcmu), ("tone-700", Codec::L16)] {
            let call = SipCall::place(freeswitch, &Dial::to(extension).codec(codec));
            call.phone.say_forever(&signal::tone(codec.rate(), CALLER, 1_000, LOUD));
            let server = WebSocketServer::start(Script::default());
            freeswitch.start_stream(&call.uuid, &server, "stereo 16k");
            let connection = server.connection(0);
            connection.wait_bytes(2 * 64_000);
            let heard = connection.audio();
            let side = |index| audio::channel(&heard[32_000..], 2, index);
            let (left, right) = (side(0), side(1));
            let there = |samples: &[i16], hz| audio::amplitude(samples, 16_000, hz);
            let figures = [there(&left, CALLER), there(&left, OTHER), there(&right, CALLER), there(&right, OTHER)];
            let right_way = figures[0] > THERE && figures[1] < ABSENT && figures[2] < ABSENT && figures[3] > THERE;
            assert!(right_way, "{extension}: caller/other left {:.0?}, right {:.0?}", &figures[..2], &figures[2..]);
            freeswitch.hang_up_all();
        }
    });
}

#[test]
fn mixed_has_both_legs_in_one_channel() {
    in_freeswitch(|freeswitch| {
        let call = SipCall::place(freeswitch, &Dial::to("bridge-tone-700"));
        call.phone.say_forever(&signal::tone(8_000, CALLER, 1_000, LOUD));
        let server = WebSocketServer::start(Script::default());
        freeswitch.start_stream(&call.uuid, &server, "mixed 8k");
        let connection = server.connection(0);
        connection.wait_bytes(2 * 16_000);
        let heard = connection.audio().split_off(8_000);
        // FreeSWITCH halves nothing when it mixes; what matters is that both are there and nothing else is.
        let (caller, other) = (audio::amplitude(&heard, 8_000, CALLER), audio::amplitude(&heard, 8_000, OTHER));
        assert!(caller > THERE / 2.0 && other > THERE / 2.0, "caller {caller:.0}, other leg {other:.0}");
        let share = audio::share_of_tone(&heard, 8_000, CALLER) + audio::share_of_tone(&heard, 8_000, OTHER);
        assert!(share > 0.95, "the two tones have {share} of the energy");
    });
}

#[test]
fn buffer_ms_decides_how_much_one_message_holds() {
    in_freeswitch(|freeswitch| {
        let call = SipCall::place(freeswitch, &Dial::to("park"));
        let server = WebSocketServer::start(Script::default());
        freeswitch.start_stream(&call.uuid, &server, "mono 8k buffer_ms=100");
        server.connection(0).wait_bytes(16_000);
        let sizes: Vec<_> = server.connection(0).binaries().iter().map(Vec::len).collect();
        assert!(sizes.iter().all(|&size| size == 1_600), "{sizes:?}");
    });
}

#[test]
fn speech_arrives_sample_for_sample_and_without_a_gap() {
    in_freeswitch(|freeswitch| {
        let call = SipCall::place(freeswitch, &Dial::to("park").codec(Codec::L16));
        let server = WebSocketServer::start(Script::default());
        freeswitch.start_stream(&call.uuid, &server, "mono 16k");
        let connection = server.connection(0);
        connection.wait_bytes(3_200);
        let said = signal::speech(16_000, 2_000, 21);
        let before = connection.audio_bytes();
        call.phone.say(&said);
        // Half a second more than it lasts.
        connection.wait_bytes(before + 2 * 16_000 * 5 / 2);
        let heard = connection.audio();
        let (at, alike) = audio::find(&heard, &said);
        assert!(alike > 0.999, "what arrives is at best {alike} alike");
        assert_eq!(heard[at..at + said.len()], said[..]);
    });
}

#[test]
fn nothing_said_during_a_pause_is_ever_sent() {
    in_freeswitch(|freeswitch| {
        let call = SipCall::place(freeswitch, &Dial::to("park"));
        let server = WebSocketServer::start(Script::default());
        freeswitch.start_stream(&call.uuid, &server, "mono 8k");
        let connection = server.connection(0);
        call.phone.say_forever(&signal::tone(8_000, CALLER, 1_000, LOUD));
        connection.wait_bytes(16_000);
        freeswitch.stream(&call.uuid, "pause");
        // What was captured before goes before this.
        freeswitch.stream(&call.uuid, "send_text paused");
        connection.wait_text(|text| text == "paused");
        let before = connection.audio_bytes();
        // By what the phone has said, whenever that was.
        let say = |hz: f64, packets: usize| {
            call.phone.say_forever(&signal::tone(8_000, hz, 1_000, LOUD));
            let from = call.phone.said().len();
            assert!(eventually(SOON, || call.phone.said().len() >= from + packets), "the phone does not speak");
        };
        say(OTHER, 50);
        say(CALLER, 25);
        freeswitch.stream(&call.uuid, "send_text resuming");
        connection.wait_text(|text| text == "resuming");
        assert_eq!(connection.audio_bytes(), before, "nothing is sent during the pause");
        freeswitch.stream(&call.uuid, "resume");
        connection.wait_bytes(before + 8_000);
        let after = connection.audio().split_off(before as usize / 2);
        assert_eq!(audio::tone_ms(&after, 8_000, OTHER, ABSENT), 0);
        assert!(audio::tone_ms(&after, 8_000, CALLER, THERE) >= 400);
    });
}
