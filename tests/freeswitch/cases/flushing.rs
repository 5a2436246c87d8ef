//! Clears without number, tails without more data, pauses between packets, and names of marks of any kind.

use std::time::Duration;

use crate::harness::in_freeswitch;
use crate::harness::rtp::Codec;
use crate::harness::sip::{Dial, SipCall};
use crate::harness::stream::{LOUD, SERVER, SERVER_AGAIN, SOON, THERE};
use crate::support::websocket_server::{Action, Play, Script, WebSocketServer};
use crate::support::{audio, eventually, signal};

#[test]
fn after_fifty_clears_the_whole_capacity_is_there() {
    in_freeswitch(|freeswitch| {
        for codec in [Codec::Pcmu, Codec::Pcma, Codec::L16] {
            let call = SipCall::place(freeswitch, &Dial::to("park").codec(codec));
            let server = WebSocketServer::start(Script::default());
            freeswitch.start_stream(&call.uuid, &server, "mono 8k");
            let connection = server.connection(0);
            let say = |hz| Action::Play(Play::mono(signal::tone(8_000, hz, 4_000, LOUD), 8_000));
            for _ in 0..50 {
                connection.order(say(SERVER));
                std::thread::sleep(Duration::from_millis(20));
                freeswitch.stream(&call.uuid, "clear");
            }
            std::thread::sleep(Duration::from_millis(300));
            connection.order(say(SERVER_AGAIN));
            let heard = || audio::tone_ms(&call.phone.heard(), codec.rate(), SERVER_AGAIN, THERE);
            assert!(eventually(SOON, || heard() >= 3_960), "{codec:?}: of 4 s {} ms are heard", heard());
            freeswitch.hang_up_all();
        }
    });
}

#[test]
fn the_tail_of_an_answer_is_heard_without_more_data() {
    in_freeswitch(|freeswitch| {
        // A second and 37 bytes; in one message, and in messages that end in the midst of a sample.
        for chunk in [usize::MAX / 2, 333] {
            let call = SipCall::place(freeswitch, &Dial::to("park"));
            let server = WebSocketServer::start(Script::default());
            freeswitch.start_stream(&call.uuid, &server, "mono 8k binary_rate=8k");
            let mut bytes = signal::to_bytes(&signal::tone(8_000, SERVER, 1_000, LOUD));
            let more = bytes[..37].to_vec();
            bytes.extend(more);
            for piece in bytes.chunks(chunk) {
                server.connection(0).order(Action::Binary(piece.to_vec()));
            }
            let heard = call.phone.listen(Duration::from_millis(1_800));
            let ms = audio::tone_ms(&heard, 8_000, SERVER, THERE);
            assert!((980..=1_040).contains(&ms), "in pieces of {chunk} bytes: {ms} ms are heard");
            freeswitch.hang_up_all();
        }
    });
}

#[test]
fn pauses_between_pieces_of_an_answer_are_silent() {
    in_freeswitch(|freeswitch| {
        for codec in [Codec::Pcmu, Codec::Pcma, Codec::L16] {
            let call = SipCall::place(freeswitch, &Dial::to("park").codec(codec));
            let server = WebSocketServer::start(Script::default());
            freeswitch.start_stream(&call.uuid, &server, "mono 8k binary_rate=8k inject_min_buffer_ms=0");
            let piece = signal::to_bytes(&signal::tone(8_000, SERVER, 20, LOUD));
            // Longer than what is concealed of a gap, 60 ms.
            for _ in 0..20 {
                server.connection(0).order(Action::Binary(piece.clone()));
                server.connection(0).order(Action::Wait(Duration::from_millis(200)));
            }
            let heard = call.phone.listen(Duration::from_secs(5));
            // In the quietest 10 ms of each 250 there is nothing: 50 dB below full scale is an amplitude of 100.
            let tenth = codec.rate() as usize / 100;
            let loud = heard.samples[codec.rate() as usize..].chunks(tenth * 25).filter(|stretch| {
                let quietest = stretch.chunks(tenth).map(audio::rms).fold(f64::MAX, f64::min);
                quietest > 100.0
            });
            assert_eq!(loud.count(), 0, "{codec:?}: noise in the pauses");
            freeswitch.hang_up_all();
        }
    });
}

#[test]
fn marks_of_any_name_come_back_as_they_were() {
    in_freeswitch(|freeswitch| {
        let call = SipCall::place(freeswitch, &Dial::to("park"));
        let server = WebSocketServer::start(Script::default());
        freeswitch.start_stream(&call.uuid, &server, "mono 8k protocol=twilio");
        let connection = server.connection(0);
        let sid = connection.wait_text(|text| text.contains(r#""event":"start""#));
        let sid = serde_json::from_str::<serde_json::Value>(&sid).expect("JSON")["streamSid"].clone();
        let long = "x".repeat(4_000);
        let names =
            ["f", "foo", &"y".repeat(64), &long, "größer 你好 👍", r#"a "quote" \ and { brace"#, "", "twice", "twice"];
        for name in names {
            let mark = serde_json::json!({ "event": "mark", "streamSid": sid, "mark": { "name": name } });
            connection.order(Action::Text(mark.to_string()));
        }
        let back = || -> Vec<String> {
            let texts = connection.texts();
            let marks = texts.iter().filter_map(|text| serde_json::from_str::<serde_json::Value>(text).ok());
            let marks = marks.filter(|message| message["event"] == "mark");
            marks.map(|message| message["mark"]["name"].as_str().unwrap_or("?").to_owned()).collect()
        };
        assert!(eventually(SOON, || back().len() >= names.len()), "{:?}", back());
        assert_eq!(back(), names);
        // Hanging up with marks that wait is nothing special.
        let media = serde_json::json!({ "event": "media", "streamSid": sid, "media": { "payload": "/w==" } });
        connection.order(Action::Text(media.to_string()));
        freeswitch.api(&format!("uuid_kill {}", call.uuid));
        connection.wait_end();
    });
}
