//! Recordings made by FreeSWITCH contain the server's voice; ours have what both ends heard.

use std::time::Duration;

use crate::harness::in_freeswitch;
use crate::harness::rtp::{Codec, Packet, linear, mulaw};
use crate::harness::sip::{Dial, SipCall};
use crate::harness::stream::{ABSENT, CALLER, LOUD, OTHER, SERVER, THERE, listen_to};
use crate::support::websocket_server::{Action, Play, Script, WebSocketServer};
use crate::support::{audio, eventually, signal, wav};

#[test]
fn record_session_has_the_caller_left_and_the_server_right() {
    in_freeswitch(|freeswitch| {
        let file = freeswitch.folder.join("recordings/session.wav");
        let call = SipCall::place(freeswitch, &Dial::to("recorded").header("X-Record", file.display().to_string()));
        call.phone.say_forever(&signal::tone(8_000, CALLER, 1_000, LOUD));
        let server = WebSocketServer::start(Script::default());
        freeswitch.start_stream(&call.uuid, &server, "mono 8k");
        server.connection(0).wait_bytes(8_000);
        server.connection(0).order(Action::Play(Play::mono(signal::tone(8_000, SERVER, 1_500, LOUD), 8_000)));
        freeswitch.wait_played(&call.uuid, 1_500);
        server.connection(0).wait_bytes(48_000);
        freeswitch.hang_up_all();
        let recorded = wav::read(&file).expect("FreeSWITCH wrote it");
        assert_eq!(recorded.channels, 2);
        let (caller, heard) = (recorded.channel(0), recorded.channel(1));
        assert!(audio::tone_ms(&caller, recorded.rate, CALLER, THERE) >= 2_000);
        assert_eq!(audio::tone_ms(&caller, recorded.rate, SERVER, ABSENT), 0);
        let ms = audio::tone_ms(&heard, recorded.rate, SERVER, THERE);
        assert!((1_400..=1_560).contains(&ms), "{ms} ms of the server's 1500 are in the recording");
    });
}

#[test]
fn uuid_record_begun_before_or_after_the_stream_has_the_server() {
    in_freeswitch(|freeswitch| {
        for recorder_first in [true, false] {
            let call = SipCall::place(freeswitch, &Dial::to("tone-700"));
            let file = freeswitch.folder.join(format!("recordings/first-{recorder_first}.wav"));
            let server = WebSocketServer::start(Script::default());
            let record = || freeswitch.ok(&format!("uuid_record {} start {}", call.uuid, file.display()));
            if recorder_first {
                record();
            }
            freeswitch.start_stream(&call.uuid, &server, "mono 8k");
            if !recorder_first {
                record();
            }
            server.connection(0).order(Action::Play(Play::mono(signal::tone(8_000, SERVER, 1_500, LOUD), 8_000)));
            freeswitch.wait_played(&call.uuid, 1_500);
            // FreeSWITCH writes with a thread of its own.
            server.connection(0).wait_bytes(40_000);
            freeswitch.hang_up_all();
            let recorded = wav::read(&file).expect("FreeSWITCH wrote it");
            let ms = audio::tone_ms(&recorded.channel(0), recorded.rate, SERVER, THERE);
            assert!(ms >= 1_400, "recorder first: {recorder_first}; {ms} ms of the server's 1500 are in the recording");
        }
    });
}

/// As PCMU carries it.
fn companded(samples: &[i16]) -> Vec<i16> {
    samples.iter().map(|&sample| linear(mulaw(sample))).collect()
}

/// Where `part` lies in `whole`, sample for sample.
#[track_caller]
fn exactly(what: &str, whole: &[i16], part: &[i16]) -> usize {
    let (at, alike) = audio::find(whole, part);
    let differs = whole[at..].iter().zip(part).position(|(a, b)| a != b);
    assert_eq!(differs, None, "{what}: from {at} on alike to {alike}, then another sample after so many");
    at
}

#[test]
fn an_8_khz_recording_and_what_both_ends_heard_agree() {
    in_freeswitch(|freeswitch| {
        for extension in ["park", "tone-700"] {
            let call = SipCall::place(freeswitch, &Dial::to(extension));
            let events = listen_to(freeswitch);
            let name = format!("exact-{extension}.wav");
            let file = freeswitch.folder.join("recordings").join(&name);
            // A relative name is below FreeSWITCH's own folder; the recorder is there before the stream.
            freeswitch.stream(&call.uuid, &format!("record start {name}"));
            let server = WebSocketServer::start(Script::default());
            freeswitch.start_stream(&call.uuid, &server, "mono 8k inject_buffer_ms=10000");
            server.connection(0).wait_bytes(8_000);
            let (said, answer) = (signal::speech(8_000, 2_000, 21), signal::speech(8_000, 2_000, 22));
            call.phone.say(&said);
            server.connection(0).order(Action::Play(Play::mono(answer.clone(), 8_000)));
            freeswitch.wait_played(&call.uuid, 2_000);
            std::thread::sleep(Duration::from_millis(500));
            freeswitch.stream(&call.uuid, "record stop");
            let wait = |status: &str| {
                let found = events.wait_event(Duration::from_secs(5), |event| {
                    event.subclass() == "mod_audio_stream::record" && event.get("Audio-Stream-Status") == Some(status)
                });
                found.unwrap_or_else(|| panic!("no event of a recording that has {status}"))
            };
            assert_eq!(wait("started").uuid(), call.uuid);
            let stopped = wait("stopped").json();
            let heard_by_the_phone = call.phone.heard();

            let recorded = wav::read(&file).expect("the module wrote it");
            assert_eq!((recorded.channels, recorded.rate), (2, 8_000));
            let (caller, heard) = (recorded.channel(0), recorded.channel(1));
            let got = server.connection(0).audio();
            // On a starved machine FreeSWITCH loses a packet of the phone's now and then, for the server and the recording alike.
            let (at, alike) = audio::find(&got, &companded(&said));
            assert!(alike > 0.5, "what the server got is {alike} alike to what the caller said");
            exactly("the server's copy, silence around it included", &caller, &got[at.saturating_sub(400)..][..16_800]);
            if extension == "park" {
                exactly("what was injected", &heard, &answer);
                exactly("what the phone heard", &heard_by_the_phone, &companded(&answer));
            } else {
                // From one voice to the other there is a glide of 5 ms, which the phone hears as it is recorded; and the tone
                // before and after.
                let at = exactly("what was injected", &heard, &answer[40..]);
                let there = exactly("the same in the phone", &heard_by_the_phone, &companded(&answer[40..]));
                let length = answer.len() + 3_200;
                let around = companded(&heard[at - 1_600..][..length]);
                assert!(heard_by_the_phone[there - 1_600..][..length] == around, "the tone before and after it");
            }
            assert_eq!(stopped["duration_ms"], caller.len() as u64 / 8, "{stopped}");
            assert_eq!(stopped["dropped_frames"], 0, "{stopped}");
            freeswitch.hang_up_all();
        }
    });
}

#[test]
fn a_call_without_a_stream_is_recorded_with_aligned_channels() {
    in_freeswitch(|freeswitch| {
        let call = SipCall::place(freeswitch, &Dial::to("echo").codec(Codec::L16));
        let events = listen_to(freeswitch);
        let file = freeswitch.folder.join("recordings/echoed.wav");
        freeswitch.stream(&call.uuid, &format!("record start {}", file.display()));
        let said = signal::speech(16_000, 1_500, 31);
        let lost_before = freeswitch.packets_lost(&call.uuid);
        call.phone.say(&said);
        // Where no packet has come FreeSWITCH fills up with samples of -1.
        let sounds = |samples: &[i16]| samples.iter().filter(|sample| **sample != 0 && **sample != -1).count();
        let sent = || sounding(&call.phone.said());
        let back = || sounding(&call.phone.packets());
        assert!(eventually(Duration::from_secs(20), || sounds(&sent().concat()) == sounds(&said)), "it is not said");
        // What FreeSWITCH lost of it, if the machine was starved, does not come any more.
        let _ = eventually(Duration::from_secs(3), || back().len() >= sent().len());
        let lost = freeswitch.packets_lost(&call.uuid) - lost_before;
        let busy = freeswitch.api("unload mod_audio_stream");
        assert!(busy.contains("in use"), "a recording keeps the module: {busy}");
        freeswitch.hang_up_all();
        let ended = events.wait_event(Duration::from_secs(5), |event| {
            event.subclass() == "mod_audio_stream::record" && event.get("Audio-Stream-Status") == Some("stopped")
        });
        let ended = ended.expect("the recording ends with the call");
        assert_eq!(ended.get("Audio-Stream-Reason"), Some("the call ended"));
        let dropped = ended.json()["dropped_frames"].as_u64();
        assert_eq!(dropped, Some(0), "{}", ended.json());
        let recorded = wav::read(&file).expect("the module wrote it");
        assert_eq!(recorded.rate, 16_000);
        let (sent, back) = (sent(), back());
        assert!(back.len() * 2 > sent.len(), "{} of {} frames come back", back.len(), sent.len());
        assert!(lost > 0 || back == sent, "FreeSWITCH lost nothing, and {} of {} come back", back.len(), sent.len());
        let channels = [0, 1].map(|index| recorded.channel(index));
        let places = channels.each_ref().map(|channel| {
            assert_eq!(
                sounds(channel),
                sounds(&call.phone.heard()),
                "what was echoed is recorded once, and nothing else is"
            );
            let mut from = 0;
            let place = |frame: &Vec<i16>| {
                let at = channel[from..].windows(frame.len()).position(|there| there == frame);
                let at = from + at.expect("each frame that was echoed is recorded, in order");
                from = at + frame.len();
                at
            };
            back.iter().map(place).collect::<Vec<_>>()
        });
        // A frame is echoed in the moment it is read, also where FreeSWITCH had to fill up or to throw packets away before.
        let moved = places[0].iter().zip(&places[1]).find(|(left, right)| left != right);
        assert_eq!(moved, None, "a frame's places in both channels; FreeSWITCH lost {lost} packets");
    });
}

/// What these packets carry, those of silence left out.
fn sounding(packets: &[Packet]) -> Vec<Vec<i16>> {
    packets.iter().filter(|packet| audio::rms(&packet.samples) > 0.0).map(|packet| packet.samples.clone()).collect()
}

#[test]
fn a_bridge_is_recorded_with_each_leg_on_its_side() {
    in_freeswitch(|freeswitch| {
        let call = SipCall::place(freeswitch, &Dial::to("bridge-tone-700"));
        call.phone.say_forever(&signal::tone(8_000, CALLER, 1_000, LOUD));
        let file = freeswitch.folder.join("recordings/bridged.wav");
        freeswitch.stream(&call.uuid, &format!("record start {}", file.display()));
        std::thread::sleep(Duration::from_millis(2_500));
        freeswitch.stream(&call.uuid, "record stop");
        let recorded = wav::read(&file).expect("the module wrote it");
        let (caller, heard) = (recorded.channel(0), recorded.channel(1));
        for (what, channel, hz, other) in [("caller", &caller, CALLER, OTHER), ("heard", &heard, OTHER, CALLER)] {
            let ms = audio::tone_ms(channel, 8_000, hz, THERE / 2.0);
            assert!(ms >= 2_000, "{what}: {hz} Hz for {ms} ms");
            assert_eq!(audio::tone_ms(channel, 8_000, other, ABSENT), 0, "{what}");
        }
    });
}

#[test]
fn an_unload_by_force_leaves_a_whole_recording() {
    in_freeswitch(|freeswitch| {
        let uuid = freeswitch.originate("null/x", "playback(tone_stream://v=-13;%(600000,0,700))", "");
        let file = freeswitch.folder.join("recordings/unloaded.wav");
        freeswitch.stream(&uuid, &format!("record start {}", file.display()));
        std::thread::sleep(Duration::from_millis(1_500));
        let unloaded = freeswitch.api("unload -f mod_audio_stream");
        assert!(unloaded.contains("+OK"), "{unloaded}");
        assert!(freeswitch.exists(&uuid), "the call goes on");
        let recorded = wav::read(&file).expect("the module wrote it");
        let ms = audio::tone_ms(&recorded.channel(1), recorded.rate, OTHER, THERE / 4.0);
        assert!(ms >= 1_000, "{ms} ms of what the channel was given are in the recording");
        freeswitch.load();
        let again = freeswitch.refused(&uuid, &format!("record start {}", file.display()));
        assert!(again.contains("already exists"), "{again}");
    });
}
