//! Clears without number, tails without more data, pauses between packets, and names of marks of any kind.
//!
//! Each on calls of several codecs at once.

use std::f64::consts::TAU;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;

use crate::harness::in_freeswitch;
use crate::harness::rtp::Codec;
use crate::harness::server::FreeSwitch;
use crate::harness::sip::{Dial, SipCall};
use crate::harness::staircase;
use crate::harness::stream::{ABSENT, LOUD, SERVER, SOON, THERE, listen_to};
use crate::support::websocket_server::{Action, Connection, Play, Script, WebSocketServer};
use crate::support::{audio, eventually, signal};

const CODECS: [Codec; 5] = [Codec::Pcmu, Codec::Pcma, Codec::L16, Codec::Opus, Codec::OpusStereo];

/// 50 dB below full scale.
const NOISE: f64 = 103.6;

/// A parked call of each codec, each with a stream and a server of its own.
struct Talk {
    codec: Codec,
    call: SipCall,
    connection: Arc<Connection>,
    _server: WebSocketServer,
}

impl Talk {
    fn of_each_codec(freeswitch: &FreeSwitch, arguments: &str) -> Vec<Self> {
        let talk = |codec| {
            let call = SipCall::place(freeswitch, &Dial::to("park").codec(codec));
            let server = WebSocketServer::start(Script::default());
            freeswitch.start_stream(&call.uuid, &server, arguments);
            Self { codec, call, connection: server.connection(0), _server: server }
        };
        CODECS.into_iter().map(talk).collect()
    }

    /// What was heard so far in each of the phone's channels.
    fn heard(&self) -> Vec<Vec<i16>> {
        let (heard, channels) = (self.call.phone.heard(), self.codec.channels() as usize);
        (0..channels).map(|index| audio::channel(&heard, channels, index)).collect()
    }
}

#[test]
fn after_fifty_clears_the_whole_capacity_is_there() {
    in_freeswitch(|freeswitch| {
        let events = listen_to(freeswitch);
        let talks = Talk::of_each_codec(freeswitch, "mono 8k");
        // Half a step beside the staircase.
        let cleared = signal::tone(8_000, 950.0, 4_000, LOUD);
        for round in 1..=50 {
            for talk in &talks {
                talk.connection.order(Action::Play(Play::mono(cleared.clone(), 8_000)));
            }
            std::thread::sleep(Duration::from_millis(20));
            for talk in &talks {
                if round == 50 {
                    // What a clear drops is what has arrived.
                    talk.connection.order(Action::Text(r#"{"sent":"everything"}"#.to_owned()));
                    events.wait_stream("json", &talk.call.uuid);
                }
                freeswitch.stream(&talk.call.uuid, "clear");
            }
        }
        std::thread::sleep(Duration::from_millis(300));
        let before: Vec<_> = talks.iter().map(|talk| talk.heard()[0].len()).collect();
        for talk in &talks {
            talk.connection.order(Action::Play(Play::mono(staircase::of(8_000, 4), 8_000)));
        }
        std::thread::sleep(Duration::from_millis(5_000));
        for (talk, from) in talks.iter().zip(before) {
            for (channel, heard) in talk.heard().into_iter().enumerate() {
                let what = format!("{:?}, channel {channel}", talk.codec);
                staircase::assert_heard(&heard[from..], talk.codec.rate(), 4, &what);
            }
        }
    });
}

#[test]
fn the_tail_of_an_answer_is_heard_without_more_data() {
    in_freeswitch(|freeswitch| {
        // A second and 37 bytes; in one message, and in messages that end in the midst of a sample.
        let mut bytes = signal::to_bytes(&signal::tone(8_000, SERVER, 1_000, LOUD));
        bytes.extend_from_within(..37);
        for chunk in [usize::MAX / 2, 333] {
            let talks = Talk::of_each_codec(freeswitch, "mono 8k binary_rate=8k");
            for talk in &talks {
                for piece in bytes.chunks(chunk) {
                    talk.connection.order(Action::Binary(piece.to_vec()));
                }
            }
            std::thread::sleep(Duration::from_millis(2_000));
            for talk in &talks {
                for heard in talk.heard() {
                    let sounds = |sample: &i16| f64::from(*sample).abs() > ABSENT;
                    let first = heard.iter().position(sounds).expect("it is heard");
                    let last = heard.iter().rposition(sounds).expect("it is heard");
                    let ms = (last - first) * 1_000 / talk.codec.rate() as usize;
                    assert!((1_000..=1_040).contains(&ms), "{:?}, in pieces of {chunk}: {ms} ms", talk.codec);
                    let tone = audio::tone_ms(&heard[first..], talk.codec.rate(), SERVER, THERE);
                    assert!((960..=1_040).contains(&tone), "{:?}, in pieces of {chunk}: {tone} ms of tone", talk.codec);
                }
            }
            freeswitch.hang_up_all();
        }
    });
}

#[test]
fn pauses_between_pieces_of_an_answer_are_silent() {
    in_freeswitch(|freeswitch| {
        // Up to 60 ms of a pause may be concealed: the tone goes on and fades.
        for pause in [60, 200] {
            let talks = Talk::of_each_codec(freeswitch, "mono 8k binary_rate=8k inject_min_buffer_ms=0");
            let piece = signal::to_bytes(&signal::tone(8_000, SERVER, 20, LOUD));
            for talk in &talks {
                for _ in 0..10_000 / (20 + pause) {
                    talk.connection.order(Action::Binary(piece.clone()));
                    talk.connection.order(Action::Wait(Duration::from_millis(20 + pause)));
                }
            }
            std::thread::sleep(Duration::from_millis(10_500));
            for talk in &talks {
                let rate = talk.codec.rate();
                let what = format!("{:?}, pauses of {pause} ms", talk.codec);
                let block = rate as usize / 100;
                for heard in talk.heard() {
                    let (heard, period) = (&heard[rate as usize..][..8 * rate as usize], (20 + pause) as usize / 10);
                    // The piece itself, and both of its ends.
                    let pieces = 4 * heard.len() / block / period;
                    let noisy = heard.chunks(block).filter(|block| beside_tone(block, rate) > NOISE).count();
                    assert!(noisy <= pieces, "{what}: noise in {noisy} blocks of 10 ms, around {pieces} of pieces");
                    let quietest = |stretch: &[i16]| stretch.chunks(block).map(audio::rms).fold(f64::MAX, f64::min);
                    let loud = heard.chunks(block * (period + 3)).filter(|stretch| quietest(stretch) > NOISE);
                    if pause > 60 {
                        assert_eq!(loud.count(), 0, "{what}: pauses without silence");
                    }
                }
            }
            freeswitch.hang_up_all();
        }
    });
}

/// What there is beside the server's tone, root mean square: x[n] = 2 cos(w) x[n-1] - x[n-2] holds for a sine, and nearly so for
/// one that fades. White noise comes out as loud as it is.
fn beside_tone(samples: &[i16], rate: u32) -> f64 {
    let turn = 2.0 * (TAU * SERVER / f64::from(rate)).cos();
    let rest = samples.windows(3).map(|x| {
        let [a, b, c] = [x[0], x[1], x[2]].map(f64::from);
        (c - turn * b + a).powi(2)
    });
    let power = rest.sum::<f64>() / (samples.len() - 2) as f64;
    (power / (2.0 + turn * turn)).sqrt()
}

#[test]
fn marks_of_any_name_come_back_as_they_were() {
    in_freeswitch(|freeswitch| {
        for talk in Talk::of_each_codec(freeswitch, "mono 8k protocol=twilio") {
            let connection = &talk.connection;
            let sid = connection.wait_text(|text| text.contains(r#""event":"start""#));
            let sid = serde_json::from_str::<serde_json::Value>(&sid).expect("JSON")["streamSid"].clone();
            let long = "x".repeat(4_000);
            let names = [
                "f",
                "foo",
                &"y".repeat(64),
                &long,
                "größer 你好 👍",
                r#"a "quote" \ and { brace"#,
                "",
                "twice",
                "twice",
            ];
            let mark_all = || {
                for name in names {
                    let mark = serde_json::json!({ "event": "mark", "streamSid": sid, "mark": { "name": name } });
                    connection.order(Action::Text(mark.to_string()));
                }
            };
            let speak = |ms: usize| {
                let payload = base64::engine::general_purpose::STANDARD.encode(vec![0x2a_u8; 8 * ms]);
                let media = serde_json::json!({ "event": "media", "streamSid": sid, "media": { "payload": payload } });
                connection.order(Action::Text(media.to_string()));
            };
            let back = || -> Vec<String> {
                let texts = connection.texts();
                let marks = texts.iter().filter_map(|text| serde_json::from_str::<serde_json::Value>(text).ok());
                let marks = marks.filter(|message| message["event"] == "mark");
                marks.map(|message| message["mark"]["name"].as_str().unwrap_or("?").to_owned()).collect()
            };
            // With nothing to wait for, and behind speech.
            for (time, ms) in [0, 300].into_iter().enumerate() {
                speak(ms);
                mark_all();
                assert!(eventually(SOON, || back().len() >= names.len() * (time + 1)), "{:?}", back());
                assert_eq!(back().split_off(names.len() * time), names, "{:?}", talk.codec);
            }
            // Hanging up with marks that wait is nothing special.
            speak(20_000);
            mark_all();
            freeswitch.wait_played(&talk.call.uuid, 500);
            freeswitch.api(&format!("uuid_kill {}", talk.call.uuid));
            connection.wait_end();
        }
        assert!(eventually(SOON, || freeswitch.streams() == 0), "{} streams remain", freeswitch.streams());
    });
}
