//! A caller whose phone falls silent with comfort noise: pauses stay in their places, in both channels.

use std::time::Duration;

use crate::harness::callee::{Callee, Manner};
use crate::harness::in_freeswitch;
use crate::harness::sip::{Dial, SipCall};
use crate::harness::stream::{CALLER, LOUD, OTHER, THERE};
use crate::support::websocket_server::{Script, WebSocketServer};
use crate::support::{audio, signal};

#[test]
fn pauses_with_comfort_noise_stay_in_their_places() {
    in_freeswitch(|freeswitch| {
        for (every_ms, offered) in [(None, true), (Some(200), true), (None, false)] {
            let callee = Callee::new(Manner::default());
            callee.phone.say_forever(&signal::tone(8_000, OTHER, 1_000, LOUD));
            let dial = Dial::to(&format!("call-{}", callee.port()));
            let call = SipCall::place(freeswitch, &if offered { dial.comfort_noise() } else { dial });
            call.phone.say_forever(&signal::tone(8_000, CALLER, 1_000, LOUD));
            std::thread::sleep(Duration::from_millis(500));
            let server = WebSocketServer::start(Script::default());
            freeswitch.start_stream(&call.uuid, &server, "stereo 8k");
            let connection = server.connection(0);
            connection.wait_bytes(3_200);
            let codec = call.phone.codec();
            let from = connection.audio().len();
            std::thread::sleep(Duration::from_secs(2));
            call.phone.speak_as(codec, 20, true);
            match every_ms {
                Some(every) => (0..3_000 / every).for_each(|_| {
                    call.phone.send_comfort_noise();
                    std::thread::sleep(Duration::from_millis(every));
                }),
                None => {
                    if offered {
                        call.phone.send_comfort_noise();
                    }
                    std::thread::sleep(Duration::from_secs(3));
                }
            }
            call.phone.speak_as(codec, 20, false);
            std::thread::sleep(Duration::from_secs(2));
            let captured = connection.audio().split_off(from);
            let what = format!("noise every {every_ms:?} ms, offered: {offered}");
            let ms = captured.len() / 16;
            assert!((6_850..=7_200).contains(&ms), "{what}: in 7 s the server gets {ms} ms");
            let [left, right] = [0, 1].map(|index| audio::channel(&captured, 2, index));
            let spoken = audio::tone_stretches(&left, 8_000, CALLER, THERE, 80);
            let pause = spoken.windows(2).map(|pair| (pair[1].start - pair[0].end) / 8).max().unwrap_or_default();
            assert!((2_850..=3_150).contains(&pause), "{what}: a pause of 3 s has {pause} ms: {spoken:?}");
            let other = audio::tone_ms(&right, 8_000, OTHER, THERE);
            assert!(other as usize + 200 >= ms, "{what}: the other side is heard {other} of {ms} ms");
            freeswitch.hang_up_all();
        }
    });
}
