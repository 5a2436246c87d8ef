//! A server that is lost and comes back: what it got, what the caller heard, what was reported.

use std::time::Duration;

use crate::harness::in_freeswitch;
use crate::harness::sip::{Dial, SipCall};
use crate::harness::stream::{CALLER, LOUD, SERVER, SERVER_AGAIN, SOON, THERE, listen_to};
use crate::support::websocket_server::{Action, Form, Play, Script, WebSocketServer};
use crate::support::{audio, eventually, signal};

/// What the server plays before it is lost.
const ANSWER_MS: u32 = 3_000;

#[test]
fn a_server_that_comes_back_has_all_audio_and_is_heard_again() {
    in_freeswitch(|freeswitch| {
        let events = listen_to(freeswitch);
        let call = SipCall::place(freeswitch, &Dial::to("park"));
        call.phone.say_forever(&signal::tone(8_000, CALLER, 1_000, LOUD));
        let server = WebSocketServer::start(Script::default());
        let options = r#"mono 8k reconnect_max=3 reconnect_ms=1000 {"caller":"1000"}"#;
        freeswitch.start_stream(&call.uuid, &server, options);
        let first = server.connection(0);
        first.wait_bytes(16_000);
        let lost_before = freeswitch.packets_lost(&call.uuid);
        let from = first.audio().len();
        first.order(Action::Play(Play::mono(signal::tone(8_000, SERVER, ANSWER_MS, LOUD), 8_000).form(Form::Binary)));
        // The end of the answer has been received, and most of it is still to be heard.
        freeswitch.wait_played(&call.uuid, 500);
        first.order(Action::Drop);

        let lost = events.wait_stream("reconnecting", &call.uuid);
        assert_eq!(lost.get("Audio-Stream-Attempt"), Some("1"));
        let delay: u64 = lost.get("Audio-Stream-Delay-Ms").unwrap_or_default().parse().expect("a number");
        assert!((1_000..=1_250).contains(&delay), "{delay} ms");
        assert_eq!(freeswitch.json(&format!("{} health", call.uuid))["state"], "RECONNECTING");
        let second = server.connection(1);
        second.wait_bytes(32_000);
        freeswitch.wait_played(&call.uuid, ANSWER_MS.into());
        second
            .order(Action::Play(Play::mono(signal::tone(8_000, SERVER_AGAIN, 1_000, LOUD), 8_000).form(Form::Binary)));
        freeswitch.wait_played(&call.uuid, u64::from(ANSWER_MS) + 1_000);
        std::thread::sleep(Duration::from_millis(300));
        let health = freeswitch.json(&format!("{} health", call.uuid));
        let packets_lost = freeswitch.packets_lost(&call.uuid) - lost_before;

        // The caller: both tones whole, the first across the loss.
        let heard = call.phone.heard();
        for (hz, ms) in [(SERVER, ANSWER_MS), (SERVER_AGAIN, 1_000)] {
            let stretches = audio::tone_stretches(&heard, 8_000, hz, THERE, 80);
            let length = stretches.iter().map(|stretch| stretch.len() as u32 / 8).sum::<u32>();
            assert!(stretches.len() == 1 && length.abs_diff(ms) <= 40, "of {ms} ms {length} are heard: {stretches:?}");
        }
        // The server: each connection without a gap; together no less than was said, but for what was on its way when the
        // socket was closed.
        assert_eq!(second.texts(), [r#"{"caller":"1000"}"#]);
        let (before, after) = (first.audio(), second.audio());
        for (what, got) in [("before", &before[from..]), ("after", &after[..])] {
            let seams = audio::seams(got, 8_000, CALLER, 80);
            assert!(seams.len() as u64 <= 4 * packets_lost, "{what} the loss: {seams:?}; {packets_lost} packets lost");
        }
        let elapsed_ms = second.opened_at.elapsed().as_millis() as u32;
        let waited = after.len() as u32 / 8 - elapsed_ms;
        let bounds = delay as u32 - 60..=delay as u32 + 300;
        assert!(bounds.contains(&waited), "of {delay} ms without a server it got {waited}: {health}");
        assert_eq!((&health["reconnects"], &health["capture"]["send_dropped_ms"]), (&1.into(), &0.into()), "{health}");

        // And a stop in the next wait.
        second.order(Action::Drop);
        let told = || events.stream_events("reconnecting", &call.uuid).len();
        assert!(eventually(SOON, || told() == 2), "{} events", told());
        freeswitch.stream(&call.uuid, "stop");
        let gone = events.wait_stream("disconnect", &call.uuid).json();
        assert_eq!(gone["message"]["code"], 1_000, "{gone}");
        assert!(freeswitch.exists(&call.uuid));
    });
}
