//! Calls whose codec has two channels: the caller's two channels are mixed to one, and playback fills both.

use std::time::Duration;

use crate::harness::in_freeswitch;
use crate::harness::rtp::Codec;
use crate::harness::sip::{Dial, SipCall};
use crate::harness::stream::{ABSENT, CALLER, LOUD, OTHER, SERVER, THERE};
use crate::support::websocket_server::{Action, Form, Play, Script, WebSocketServer};
use crate::support::{audio, signal};

#[test]
fn a_call_of_two_channels_keeps_pitch_and_length_both_ways() {
    in_freeswitch(|freeswitch| {
        for (mix, channels) in [("mono", 1), ("mixed", 1), ("stereo", 2)] {
            let call = SipCall::place(freeswitch, &Dial::to("park").codec(Codec::L16Stereo));
            let [left, right] = [CALLER, OTHER].map(|hz| signal::tone(8_000, hz, 1_000, LOUD));
            call.phone.say_forever(&signal::interleave(&left, &right));
            let server = WebSocketServer::start(Script::default());
            freeswitch.start_stream(&call.uuid, &server, &format!("{mix} 16k binary_rate=16k"));
            let connection = server.connection(0);
            connection.wait_bytes(16_000);
            let from = connection.audio().len();
            let said = signal::tone(16_000, SERVER, 1_000, LOUD);
            connection.order(Action::Play(Play::mono(said, 16_000).form(Form::Binary)));
            let heard = call.phone.listen(Duration::from_secs(3));
            let captured = connection.audio().split_off(from);
            let ms = captured.len() * 1_000 / 16_000 / channels;
            assert!((2_850..=3_150).contains(&ms), "{mix}: in 3 s the server gets {ms} ms");
            let caller = audio::channel(&captured, channels, 0);
            for hz in [CALLER, OTHER] {
                let ms = audio::tone_ms(&caller, 16_000, hz, THERE / 2.5);
                assert!(ms >= 2_700, "{mix}: the server hears {ms} ms of {hz} Hz, one of the caller's channels");
            }
            if channels == 2 {
                let other = audio::channel(&captured, 2, 1);
                assert_eq!(
                    audio::tone_ms(&other, 16_000, CALLER, ABSENT),
                    0,
                    "the caller is in the left channel alone"
                );
            }
            for index in 0..2 {
                let heard = audio::channel(&heard, 2, index);
                let ms = audio::tone_ms(&heard, 8_000, SERVER, THERE);
                assert!((960..=1_040).contains(&ms), "{mix}: channel {index} hears {ms} ms of 1000");
            }
            freeswitch.hang_up_all();
        }
    });
}
