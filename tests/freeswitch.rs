//! The module in a real FreeSWITCH, end to end.

#[path = "freeswitch/mod.rs"]
mod harness;
mod support;

use std::time::Duration;

use harness::rtp::Codec;
use harness::server::Launch;
use harness::sip::{Dial, SipCall};
use harness::{in_fresh_freeswitch, sipp_or_skip};
use support::{audio, signal};

/// The instruments first: FreeSWITCH without the module gives a caller his own voice back, and they hear it.
#[test]
fn instruments_hear_an_echo_without_the_module() {
    if !sipp_or_skip() {
        return;
    }
    in_fresh_freeswitch(Launch { without_module: true, ..Launch::default() }, |freeswitch| {
        for codec in [Codec::Pcmu, Codec::L16] {
            let call = SipCall::place(&freeswitch, &Dial::to("echo").codec(codec));
            let rate = codec.rate();
            call.phone.say_forever(&signal::tone(rate, 500.0, 1_000, 8_000.0));
            std::thread::sleep(Duration::from_secs(1));
            let heard = call.phone.listen(Duration::from_secs(2));
            println!("{codec:?} heard {} read codec {:?}", heard.len(), freeswitch.variable(&call.uuid, "read_codec"));
            assert!(audio::tone_ms(&heard, rate, 500.0, 6_000.0) >= 1_800);
            let snr = audio::snr_of_tone(&heard[..rate as usize], rate, 500.0);
            println!("snr {snr}");
            assert!(snr > 30.0);
            freeswitch.hang_up_all();
        }
        assert_eq!(freeswitch.shutdown(), 0);
    });
}
