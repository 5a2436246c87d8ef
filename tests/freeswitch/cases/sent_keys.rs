//! Keys that FreeSWITCH sends to the caller while the server speaks: they cost no speech.

use std::time::Duration;

use crate::harness::callee::{Callee, Manner};
use crate::harness::in_freeswitch;
use crate::harness::rtp::Codec;
use crate::harness::server::FreeSwitch;
use crate::harness::sip::{Dial, SipCall};
use crate::harness::stream::{LOUD, SERVER, SOON, THERE};
use crate::support::websocket_server::{Action, Form, Play, Script, WebSocketServer};
use crate::support::{audio, eventually, signal};

/// What the server says, ms.
const SAID: u32 = 6_000;

/// The server speaks, keys are sent after a second of it, and all that it says is heard.
fn costs_no_speech(freeswitch: &FreeSwitch, call: &SipCall, what: &str, keys: &str, send: impl FnOnce()) {
    let server = WebSocketServer::start(Script::default());
    freeswitch.start_stream(&call.uuid, &server, "mono 8k binary_rate=8k");
    let said = signal::tone(8_000, SERVER, SAID, LOUD);
    server.connection(0).order(Action::Play(Play::mono(said, 8_000).form(Form::Binary)));
    freeswitch.wait_played(&call.uuid, 1_000);
    send();
    let rate = call.phone.codec().rate();
    let heard = || audio::tone_ms(&call.phone.heard(), rate, SERVER, THERE);
    let health = || freeswitch.json(&format!("{} health", call.uuid));
    assert!(
        eventually(2 * SOON, || heard() >= SAID - 100),
        "{what}: of {SAID} ms of speech the caller hears {}: {}",
        heard(),
        health()
    );
    if !keys.is_empty() {
        assert!(eventually(SOON, || call.phone.keys_heard() == keys), "{what}: {}", call.phone.keys_heard());
        assert!(health()["inject"]["keys_ms"].as_u64() > Some(0), "{what}: {}", health());
    }
    std::thread::sleep(Duration::from_millis(500));
    assert!(heard() <= SAID + 40, "{what}: {} ms of {SAID} are heard", heard());
    assert_eq!(health()["inject"]["played_ms"], SAID, "{what}");
}

#[test]
fn keys_sent_to_the_caller_cost_no_speech() {
    in_freeswitch(|freeswitch| {
        let commands = [
            ("uuid_send_dtmf UUID ~123@1000", "123", Codec::Pcmu),
            ("uuid_send_dtmf UUID ~12345", "12345", Codec::Pcmu),
            ("uuid_send_dtmf UUID ~7@400", "7", Codec::L16),
            ("uuid_audio_stream UUID dtmf 123", "", Codec::Pcmu),
        ];
        for (command, keys, codec) in commands {
            let call = SipCall::place(freeswitch, &Dial::to("park").codec(codec));
            costs_no_speech(freeswitch, &call, command, keys, || {
                freeswitch.ok(&command.replace("UUID", &call.uuid));
            });
            freeswitch.hang_up_all();
        }
    });
}

#[test]
fn keys_that_a_server_asks_for_cost_no_speech() {
    in_freeswitch(|freeswitch| {
        let call = SipCall::place(freeswitch, &Dial::to("park"));
        let asks = WebSocketServer::start(Script::default());
        freeswitch.stream(&call.uuid, &format!("start name=asks {} mono 8k protocol=plivo allow=dtmf", asks.url()));
        let order = r#"{"event":"sendDTMF","dtmf":"123"}"#;
        let press = || asks.connection(0).order(Action::Text(order.to_owned()));
        costs_no_speech(freeswitch, &call, "asked for", "123", press);
        freeswitch.hang_up_all();
    });
}

#[test]
fn keys_of_the_other_party_cost_no_speech() {
    in_freeswitch(|freeswitch| {
        let callee = Callee::new(Manner::default());
        let call = SipCall::place(freeswitch, &Dial::to(&format!("call-{}", callee.port())));
        costs_no_speech(freeswitch, &call, "relayed", "9", || callee.phone.press("9", 2_000));
        freeswitch.hang_up_all();
    });
}
