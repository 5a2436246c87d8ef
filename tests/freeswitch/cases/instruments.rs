//! The instruments first: without the module a caller hears their own voice in echo, unharmed.

use std::time::Duration;

use crate::harness::in_fresh_freeswitch;
use crate::harness::rtp::Codec;
use crate::harness::server::Launch;
use crate::harness::sip::{Dial, SipCall};
use crate::harness::stream::{ABSENT, CALLER, LOUD, OTHER, THERE};
use crate::support::{audio, signal, wav};

#[test]
fn a_caller_in_echo_hears_himself_without_the_module() {
    in_fresh_freeswitch(Launch { without_module: true, ..Launch::default() }, |freeswitch| {
        for (codec, least_snr) in [(Codec::Pcmu, 30.0), (Codec::L16, 70.0)] {
            let call = SipCall::place(&freeswitch, &Dial::to("echo").codec(codec));
            let rate = codec.rate();
            call.phone.say_forever(&signal::tone(rate, CALLER, 1_000, LOUD));
            std::thread::sleep(Duration::from_secs(1));
            let heard = call.phone.listen(Duration::from_secs(2));
            let heard_ms = audio::tone_ms(&heard, rate, CALLER, THERE);
            assert!(heard_ms >= 1_800, "{codec:?}: heard {heard_ms} ms of 2000");
            let snr = audio::snr_of_tone(&heard[..rate as usize], rate, CALLER);
            assert!(snr > least_snr, "{codec:?}: {snr} dB");
            freeswitch.hang_up_all();
        }
        assert_eq!(freeswitch.shutdown(), 0);
    });
}

#[test]
fn calls_of_every_kind_sound_as_they_should_without_the_module() {
    in_fresh_freeswitch(Launch { without_module: true, ..Launch::default() }, |freeswitch| {
        for extension in ["tone-700", "bridge-tone-700"] {
            let call = SipCall::place(&freeswitch, &Dial::to(extension));
            let heard = call.phone.listen(Duration::from_millis(1_500));
            assert!(audio::tone_ms(&heard, 8_000, OTHER, THERE) >= 1_000, "{extension}");
            freeswitch.hang_up_all();
        }

        let one = SipCall::place(&freeswitch, &Dial::to("conference-pair"));
        let other = SipCall::place(&freeswitch, &Dial::to("conference-pair").codec(Codec::L16));
        one.phone.say_forever(&signal::tone(8_000, CALLER, 1_000, LOUD));
        let heard = other.phone.listen(Duration::from_millis(2_000));
        assert!(audio::tone_ms(&heard, 16_000, CALLER, THERE) >= 1_000);
        freeswitch.hang_up_all();

        let file = freeswitch.folder.join("recordings/session.wav");
        let call = SipCall::place(&freeswitch, &Dial::to("recorded").header("X-Record", file.display().to_string()));
        call.phone.say_forever(&signal::tone(8_000, CALLER, 1_000, LOUD));
        std::thread::sleep(Duration::from_secs(2));
        freeswitch.hang_up_all();
        let recorded = wav::read(&file).unwrap();
        assert_eq!(recorded.channels, 2);
        assert!(audio::tone_ms(&recorded.channel(0), recorded.rate, CALLER, THERE) >= 1_000);
        assert!(audio::amplitude(&recorded.channel(1), recorded.rate, CALLER) < ABSENT);
        assert_eq!(freeswitch.shutdown(), 0);
    });
}
