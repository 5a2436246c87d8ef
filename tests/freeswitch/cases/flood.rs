//! A server that floods or hangs costs its own stream something, and another call nothing.

use std::time::Duration;

use crate::harness::esl::Esl;
use crate::harness::in_freeswitch_alone;
use crate::harness::installation::say;
use crate::harness::server::FreeSwitch;
use crate::harness::sip::{Dial, SipCall};
use crate::harness::stream::{CALLER, LOUD, SERVER, SOON, THERE, listen_to};
use crate::support::websocket_server::{Action, Form, Play, Script, WebSocketServer};
use crate::support::{audio, eventually, flood, signal};

/// What the server plays to the innocent caller.
const PLAYED_MS: u32 = 3_600;
/// How long the innocent caller is listened to.
const TALK: Duration = Duration::from_secs(5);

/// A call beside the flood: its server hears the caller without a gap, the caller hears all that its server sends, and the key
/// and every text of the server are events.
#[track_caller]
fn innocent(freeswitch: &FreeSwitch, events: &Esl, what: &str) {
    let call = SipCall::place(freeswitch, &Dial::to("park"));
    call.phone.say_forever(&signal::tone(8_000, CALLER, 1_000, LOUD));
    let server = WebSocketServer::start(Script::default());
    freeswitch.start_stream(&call.uuid, &server, "mono 8k binary_rate=8k");
    let connection = server.connection(0);
    connection.wait_bytes(3_200);
    let lost_before = freeswitch.packets_lost(&call.uuid);
    let from = connection.audio().len();
    // At once: whether all of it is heard depends on the module alone, and not on the server's pace.
    let play = Play::mono(signal::tone(8_000, SERVER, PLAYED_MS, LOUD), 8_000).form(Form::Binary).chunks(320);
    connection.order(Action::Play(play));
    let server_side = connection.clone();
    let texts = std::thread::spawn(move || {
        for number in 0..20 {
            server_side.order(Action::Text(format!("text {number}")));
            std::thread::sleep(Duration::from_millis(100));
        }
    });
    std::thread::sleep(Duration::from_millis(500));
    call.phone.press("5", 160);
    texts.join().expect("it only sends");
    std::thread::sleep(TALK - Duration::from_millis(2_500));
    let health = freeswitch.json(&format!("{} health", call.uuid));
    let lost = freeswitch.packets_lost(&call.uuid) - lost_before;
    let sent = connection.audio();
    say(&format!("beside {what} the callbacks take {}", health["callback"]));
    assert!(health["callback"]["p99_us"].is_number(), "{what}: the callbacks are not measured: {health}");
    assert_eq!(health["capture"]["dropped_frames"], 0, "{what}: {health}");
    assert_eq!(health["inject"]["underrun_count"], 0, "{what}: {health}");
    let seams = audio::seams(&sent[from..], 8_000, CALLER, 80);
    assert!(seams.len() as u64 <= 4 * lost, "{what}: seams at {seams:?}, FreeSWITCH lost {lost} packets");
    let heard = call.phone.heard();
    let ms = audio::tone_ms(&heard, 8_000, SERVER, THERE);
    assert!((PLAYED_MS - 40..=PLAYED_MS + 40).contains(&ms), "{what}: of {PLAYED_MS} ms {ms} are heard; {health}");
    let texts = || events.stream_events("json", &call.uuid);
    assert!(eventually(SOON, || texts().len() >= 20), "{what}: {} of 20 texts are events", texts().len());
    let told: Vec<_> = texts().into_iter().filter_map(|event| event.body).collect();
    assert_eq!(told, (0..20).map(|number| format!("text {number}")).collect::<Vec<_>>(), "{what}");
    events.wait_stream("dtmf", &call.uuid);
    call.hang_up();
}

#[test]
fn a_server_that_hangs_is_noticed_and_costs_no_other_call() {
    in_freeswitch_alone(|freeswitch| {
        let events = listen_to(freeswitch);
        let call = SipCall::place(freeswitch, &Dial::to("park"));
        let server = WebSocketServer::start(Script::of([Action::Freeze]));
        freeswitch.start_stream(&call.uuid, &server, "mono 8k");
        server.connection(0);
        innocent(freeswitch, &events, "a server that hangs");
        let error = "mod_audio_stream::error";
        let noticed = events.wait_event(3 * SOON, |event| event.subclass() == error && event.uuid() == call.uuid);
        let noticed = noticed.expect("a server that hangs is noticed within 30 s").json();
        assert_eq!(noticed["message"]["code"], 5, "{noticed}");
        events.wait_stream("disconnect", &call.uuid);
        assert!(freeswitch.exists(&call.uuid), "the call itself goes on");
    });
}

#[test]
fn floods_of_any_kind_cost_another_call_nothing() {
    in_freeswitch_alone(|freeswitch| {
        let floods = [
            ("texts", flood::short_texts(), ""),
            ("pings", flood::pings(), ""),
            ("fragments", flood::fragments(), ""),
            ("messages of 16 MB", flood::long_message(), "max_audio_base64_len=10000000"),
        ];
        for (what, bytes, options) in floods {
            let events = listen_to(freeswitch);
            let flooded = SipCall::place(freeswitch, &Dial::to("park"));
            let server = WebSocketServer::start(Script::of([Action::Pour(bytes, Duration::from_secs(60))]));
            freeswitch.start_stream(&flooded.uuid, &server, &format!("mono 8k {options}"));
            server.connection(0);
            innocent(freeswitch, &events, what);
            events.wait_stream("error", &flooded.uuid);
            let gone = events.wait_stream("disconnect", &flooded.uuid).json();
            assert_eq!(gone["message"]["code"], 1_008, "{what}: {gone}");
            assert!(freeswitch.exists(&flooded.uuid), "{what}: the call itself goes on");
            flooded.hang_up();
        }
    });
}
