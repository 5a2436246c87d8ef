//! What the caller says, and what the other leg says, reaches the server in the form asked for.

use std::time::Duration;

use crate::harness::in_freeswitch;
use crate::harness::rtp::Codec;
use crate::harness::sip::{Dial, SipCall};
use crate::harness::stream::{ABSENT, CALLER, LOUD, OTHER, THERE};
use crate::support::farend::{FarEnd, Script};
use crate::support::{audio, signal};

/// The codec's noise is below this, dB.
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
                let far = FarEnd::start(Script::default());
                freeswitch.start_stream(&call.uuid, &far, &format!("mono {rate}"));
                let connection = far.connection(0);
                connection.wait_bytes(u64::from(rate) * 2 * 3 / 2);
                freeswitch.stream(&call.uuid, "stop");
                connection.wait_end();
                let messages = connection.binaries();
                let size = rate as usize / 50 * 2;
                // The last one may hold what the resampler still had.
                let odd = messages[..messages.len() - 1].iter().find(|message| message.len() != size);
                assert_eq!(odd.map(Vec::len), None, "{codec:?} at {rate} Hz: 20 ms have {size} bytes");
                let heard = connection.audio();
                let second = &heard[rate as usize / 4..rate as usize * 5 / 4];
                let snr = audio::snr_of_tone(second, rate, CALLER);
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
            let far = FarEnd::start(Script::default());
            freeswitch.start_stream(&call.uuid, &far, "stereo 16k");
            let connection = far.connection(0);
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
        let far = FarEnd::start(Script::default());
        freeswitch.start_stream(&call.uuid, &far, "mixed 8k");
        let connection = far.connection(0);
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
        let far = FarEnd::start(Script::default());
        freeswitch.start_stream(&call.uuid, &far, "mono 8k buffer_ms=100");
        far.connection(0).wait_bytes(16_000);
        let sizes: Vec<_> = far.connection(0).binaries().iter().map(Vec::len).collect();
        assert!(sizes.iter().all(|&size| size == 1_600), "{sizes:?}");
    });
}

#[test]
fn speech_arrives_sample_for_sample_and_without_a_gap() {
    in_freeswitch(|freeswitch| {
        let call = SipCall::place(freeswitch, &Dial::to("park").codec(Codec::L16));
        let far = FarEnd::start(Script::default());
        freeswitch.start_stream(&call.uuid, &far, "mono 16k");
        let connection = far.connection(0);
        connection.wait_bytes(3_200);
        let said = signal::speech(16_000, 2_000, 21);
        call.phone.say(&said);
        std::thread::sleep(Duration::from_secs(3));
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
        let far = FarEnd::start(Script::default());
        freeswitch.start_stream(&call.uuid, &far, "mono 8k");
        let connection = far.connection(0);
        call.phone.say_forever(&signal::tone(8_000, CALLER, 1_000, LOUD));
        connection.wait_bytes(16_000);
        freeswitch.stream(&call.uuid, "pause");
        std::thread::sleep(Duration::from_millis(200));
        let before = connection.audio_bytes();
        call.phone.say_forever(&signal::tone(8_000, OTHER, 1_000, LOUD));
        std::thread::sleep(Duration::from_secs(1));
        assert_eq!(connection.audio_bytes(), before, "nothing is sent during the pause");
        call.phone.say_forever(&signal::tone(8_000, CALLER, 1_000, LOUD));
        std::thread::sleep(Duration::from_millis(300));
        freeswitch.stream(&call.uuid, "resume");
        connection.wait_bytes(before + 8_000);
        let after = connection.audio().split_off(before as usize / 2);
        assert_eq!(audio::tone_ms(&after, 8_000, OTHER, ABSENT), 0);
        assert!(audio::tone_ms(&after, 8_000, CALLER, THERE) >= 400);
    });
}
