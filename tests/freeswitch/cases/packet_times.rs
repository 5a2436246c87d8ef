//! Packets of another length than agreed, without a word of signalling.

use std::time::Duration;

use crate::harness::in_freeswitch;
use crate::harness::sip::{Dial, SipCall};
use crate::harness::stream::{CALLER, LOUD, THERE};
use crate::support::websocket_server::{Script, WebSocketServer};
use crate::support::{audio, signal};

#[test]
fn packets_longer_than_agreed_keep_pitch_and_length() {
    in_freeswitch(|freeswitch| {
        // What is agreed, and what the phone sends from the first packet on.
        for (agreed, sent) in [(20, 40), (20, 30), (10, 10), (40, 40), (20, 20)] {
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
