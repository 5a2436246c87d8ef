//! Calls whose codec has two channels: the caller's two channels are mixed to one, and playback fills both.

use std::time::{Duration, Instant};

use crate::harness::callee::{Callee, Manner};
use crate::harness::in_freeswitch;
use crate::harness::rtp::Codec;
use crate::harness::server::FreeSwitch;
use crate::harness::sip::{Dial, SipCall};
use crate::harness::stream::{ABSENT, CALLER, LOUD, OTHER, SERVER, SERVER_AGAIN, THERE};
use crate::support::websocket_server::{Action, Form, Play, Script, WebSocketServer};
use crate::support::{audio, signal};

/// The tones of the caller's two channels, Hz.
const LEFT: f64 = CALLER;
const RIGHT: f64 = SERVER_AGAIN;

#[test]
fn a_call_of_two_channels_keeps_pitch_and_length_both_ways() {
    in_freeswitch(|freeswitch| {
        let callee = Callee::new(Manner::default());
        callee.phone.say_forever(&signal::tone(8_000, OTHER, 1_000, LOUD));
        let bridge = format!("call-{}", callee.port());
        // A caller with L16 of two channels is bridged at half speed by FreeSWITCH itself, whatever else is on the call.
        for (codec, extension) in
            [(Codec::L16Stereo, "park"), (Codec::OpusStereo, "park"), (Codec::OpusStereo, bridge.as_str())]
        {
            pitch_and_length_are_kept(freeswitch, codec, extension);
            freeswitch.hang_up_all();
        }
    });
}

/// A stream of each mix, at once on one call; the server of each speaks after the other.
fn pitch_and_length_are_kept(freeswitch: &FreeSwitch, codec: Codec, extension: &str) {
    let bridged = extension != "park";
    let call = SipCall::place(freeswitch, &Dial::to(extension).codec(codec));
    let [left, right] = [LEFT, RIGHT].map(|hz| signal::tone(codec.rate(), hz, 1_000, LOUD));
    call.phone.say_forever(&signal::interleave(&left, &right));
    for (mix, channels) in [("mono", 1), ("mixed", 1), ("stereo", 2)] {
        let what = format!("{codec:?}, {extension}, {mix}");
        let server = WebSocketServer::start(Script::default());
        freeswitch.start_stream(&call.uuid, &server, &format!("{mix} 16k binary_rate=16k"));
        let connection = server.connection(0);
        connection.wait_bytes(16_000);
        let (from, began) = (connection.audio().len(), Instant::now());
        let said = signal::tone(16_000, SERVER, 1_000, LOUD);
        connection.order(Action::Play(Play::mono(said, 16_000).form(Form::Binary)));
        let heard = call.phone.listen(Duration::from_secs(3));
        let captured = connection.audio().split_off(from);
        let wall = began.elapsed().as_millis() as usize;
        freeswitch.stream(&call.uuid, "stop");
        connection.wait_end();
        let ms = captured.len() * 1_000 / 16_000 / channels;
        assert!(ms.abs_diff(wall) <= 100, "{what}: in {wall} ms the server gets {ms} ms");
        let caller = audio::channel(&captured, channels, 0);
        for hz in [LEFT, RIGHT] {
            let ms = audio::tone_ms(&caller, 16_000, hz, THERE / 2.5) as usize;
            assert!(ms + 300 >= wall, "{what}: the server hears {ms} ms of {hz} Hz, one of the caller's channels");
        }
        let other = if channels == 2 { audio::channel(&captured, 2, 1) } else { caller.clone() };
        if channels == 2 {
            let ms = audio::tone_ms(&other, 16_000, LEFT, ABSENT);
            assert_eq!(ms, 0, "{what}: the caller is in the left channel alone");
        }
        if bridged && mix != "mono" {
            let ms = audio::tone_ms(&other, 16_000, OTHER, THERE / 2.5) as usize;
            assert!(ms + 300 >= wall, "{what}: the server hears {ms} ms of the other leg");
        }
        for index in 0..2 {
            let heard = audio::channel(&heard, 2, index);
            let ms = audio::tone_ms(&heard, codec.rate(), SERVER, THERE);
            let stretches = audio::tone_stretches(&heard, codec.rate(), SERVER, THERE, codec.rate() as usize / 100);
            assert!((960..=1_040).contains(&ms), "{what}: channel {index} hears {ms} ms of 1000: {stretches:?}");
        }
    }
}
