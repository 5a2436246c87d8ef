//! A caller who is masked while they give a card number: nothing of it reaches a server, a recording or an event, and nothing shifts.

use std::time::Duration;

use super::conversation_audio::noise;
use crate::harness::esl::{Esl, Event};
use crate::harness::in_freeswitch;
use crate::harness::rtp::{linear, mulaw};
use crate::harness::sip::{Dial, SipCall};
use crate::harness::stream::{ABSENT, CALLER, LOUD, OTHER, SERVER, SOON, THERE, listen_to};
use crate::realtime::{Answer, RealtimeServer, Script};
use crate::support::websocket_server::{Action, Play, Script as ServerScript, WebSocketServer};
use crate::support::{audio, eventually, signal, wav};

/// As PCMU carries it.
fn companded(samples: &[i16]) -> Vec<i16> {
    samples.iter().map(|&sample| linear(mulaw(sample))).collect()
}

/// Milliseconds of exact silence in the longest stretch of it.
fn silence_ms(samples: &[i16]) -> usize {
    samples.split(|sample| *sample != 0).map(<[i16]>::len).max().unwrap_or_default() / 8
}

/// Where half a second of what the caller said from sample `from` on lies, in samples.
#[track_caller]
fn place(what: &str, heard: &[i16], said: &[i16], from: usize) -> usize {
    let (at, alike) = audio::find(heard, &companded(&said[from..from + 4_000]));
    // On a starved machine a packet may be missing in it.
    assert!(alike > 0.5, "{what}: what was said from sample {from} on is only {alike} alike");
    at
}

/// The digits of the module's events of one stream.
fn digits(events: &Esl, uuid: &str, name: &str) -> String {
    let of_name = |event: &&Event| event.get("Audio-Stream-Name") == Some(name);
    let events = events.stream_events("dtmf", uuid);
    events.iter().filter(of_name).filter_map(|event| event.get("Audio-Stream-Digit").map(str::to_owned)).collect()
}

/// Waits for so many changes of the mask of a stream.
#[track_caller]
fn wait_masks(events: &Esl, uuid: &str, name: &str, count: usize) -> Vec<Event> {
    let of_name = |event: &Event| event.get("Audio-Stream-Name") == Some(name);
    let told = || events.stream_events("mask", uuid).into_iter().filter(of_name).collect::<Vec<_>>();
    assert!(eventually(SOON, || told().len() >= count), "{name}: {} events of a mask", told().len());
    told()
}

/// Waits until the server has so much more of the caller.
fn wait_for_more(server: &WebSocketServer, ms: u64) {
    let bytes = server.connection(0).audio_bytes();
    server.connection(0).wait_bytes(bytes + ms * 16);
}

#[test]
fn a_masked_caller_is_silence_of_full_length_everywhere() {
    in_freeswitch(|freeswitch| {
        let events = listen_to(freeswitch);
        let [call, other] = [(); 2].map(|()| SipCall::place(freeswitch, &Dial::to("park")));
        let servers = [(); 3].map(|()| WebSocketServer::start(ServerScript::default()));
        let [mono, stereo, innocent] = &servers;
        freeswitch.stream(&call.uuid, &format!("start name=mono {} mono 8k protocol=native", mono.url()));
        freeswitch.stream(&call.uuid, &format!("start name=stereo {} stereo 8k", stereo.url()));
        freeswitch.stream(&other.uuid, &format!("start name=mono {} mono 8k", innocent.url()));
        let folder = freeswitch.folder.join("recordings");
        freeswitch.stream(&call.uuid, "record name=whole start masked-whole.wav");
        servers.iter().for_each(|server| server.connection(0).wait_bytes(3_200));

        // Noise: no part of it is like another, and none is silent.
        let said = noise(8_000, 3_000.0);
        let lost_before = freeswitch.packets_lost(&call.uuid);
        call.phone.say(&said);
        other.phone.say(&said);
        wait_for_more(mono, 2_000);
        freeswitch.stream(&call.uuid, "mask on");
        wait_masks(&events, &call.uuid, "mono", 1);
        wait_masks(&events, &call.uuid, "stereo", 1);
        assert_eq!(freeswitch.json(&format!("{} health name=mono", call.uuid))["masked"], true);
        // What begins meanwhile is masked too. And the caller still hears the server.
        freeswitch.stream(&call.uuid, "record name=late start masked-late.wav");
        mono.connection(0).order(Action::Play(Play::mono(signal::tone(8_000, SERVER, 600, LOUD), 8_000)));
        wait_for_more(mono, 2_000);
        freeswitch.stream(&call.uuid, "mask off");
        let masks = wait_masks(&events, &call.uuid, "mono", 2);
        wait_for_more(mono, 4_500);
        for name in ["whole", "late"] {
            freeswitch.stream(&call.uuid, &format!("record name={name} stop"));
        }
        let lost = (freeswitch.packets_lost(&call.uuid) - lost_before) as usize;

        let (whole, late) = ("masked-whole.wav", "masked-late.wav");
        let read = |file: &str| wav::read(&folder.join(file)).expect("the module wrote it");
        let both = stereo.connection(0).audio();
        let copies = [
            ("mono", mono.connection(0).audio()),
            ("stereo", audio::channel(&both, 2, 0)),
            ("recording", read(whole).channel(0)),
        ];
        let masked_ms = masks[1].json()["masked_ms"].as_u64().expect("a number");
        assert!(masked_ms >= 1_900, "{masked_ms}");
        // Half a second behind the beginning, the last second, and what was said in between.
        let (before, after, withheld) = (4_000, said.len() - 8_000, 28_000);
        for (what, heard) in &copies {
            let (first, last) = (place(what, heard, &said, before), place(what, heard, &said, after));
            let silence = silence_ms(&heard[first..last]) as u64;
            assert!(silence.abs_diff(masked_ms) <= 60, "{what}: {silence} ms are silent in one piece of {masked_ms}");
            let shift = (last - first).abs_diff(after - before);
            assert!(shift <= lost * 160, "{what}: {shift} samples have shifted, and FreeSWITCH lost {lost} packets");
            // Each lost packet moves what follows it.
            let place = &heard[first + withheld - before + lost * 160..][..3_000];
            assert!(place.iter().all(|sample| *sample == 0), "{what}: something is where the caller was withheld");
        }
        let late = read(late).channel(0);
        let silence = late.iter().position(|sample| *sample != 0).unwrap_or_default() / 8;
        assert!(silence >= 1_500, "a recording begun behind the mask has {silence} ms of silence first");
        let heard = call.phone.heard();
        assert!(audio::tone_ms(&heard, 8_000, SERVER, THERE) >= 550, "the caller hears the server meanwhile");
        assert!(audio::tone_ms(&read(whole).channel(1), 8_000, SERVER, THERE) >= 550, "and the recording has that");
        assert_eq!(masks.iter().map(|event| event.json()["masked"] == true).collect::<Vec<_>>(), [true, false]);

        // The other call notices nothing.
        place("the other call", &innocent.connection(0).audio(), &said, withheld);
        assert!(events.stream_events("mask", &other.uuid).is_empty());
    });
}

#[test]
fn keys_pressed_behind_the_mask_are_nowhere_but_in_the_call() {
    in_freeswitch(|freeswitch| {
        let events = listen_to(freeswitch);
        events.subscribe("plain DTMF");
        let call = SipCall::place(freeswitch, &Dial::to("park"));
        let server = WebSocketServer::start(ServerScript::default());
        freeswitch.stream(&call.uuid, &format!("start name=bot {} protocol=twilio", server.url()));
        let connection = server.connection(0);
        connection.wait_text(|text| text.contains("start"));
        let pressed = |keys: &str| {
            call.phone.press(keys, 100);
            let got = || {
                let of_call = |event: &Event| event.name() == "DTMF" && event.uuid() == call.uuid;
                events
                    .events()
                    .into_iter()
                    .filter(of_call)
                    .filter_map(|event| event.get("DTMF-Digit").map(str::to_owned))
            };
            let last = keys.chars().last().map(String::from);
            assert!(eventually(SOON, || got().next_back() == last), "FreeSWITCH has not got {keys}");
            call.phone.listen(Duration::from_millis(200));
        };
        pressed("12");
        freeswitch.stream(&call.uuid, "mask on");
        pressed("8675309");
        freeswitch.stream(&call.uuid, "mask off");
        pressed("4");
        assert!(eventually(SOON, || digits(&events, &call.uuid, "bot").ends_with('4')));
        assert_eq!(digits(&events, &call.uuid, "bot"), "124");
        let told: String = connection
            .texts()
            .iter()
            .filter_map(|text| serde_json::from_str::<serde_json::Value>(text).ok())
            .filter_map(|text| text["dtmf"]["digit"].as_str().map(str::to_owned))
            .collect();
        assert_eq!(told, "124");
        assert!(freeswitch.refused(&call.uuid, "mask maybe").contains("give on or off"));
    });
}

#[test]
fn a_conversation_waits_for_a_masked_caller_and_goes_on() {
    in_freeswitch(|freeswitch| {
        let events = listen_to(freeswitch);
        let server = RealtimeServer::start(Script::answering([Answer::chord(81, 800)]));
        let call = SipCall::place(freeswitch, &Dial::to("park"));
        let arguments = format!(
            "start_ai openai_base_url={} openai_api_key=sk-test openai_model=test-model transcription_model=words \
             vad_silence_duration_ms=300 idle_timeout_ms=2000 dtmf_to_model=true",
            server.base_url()
        );
        freeswitch.stream(&call.uuid, &arguments);
        let connection = server.connection(0);
        super::conversation::wait_state(&events, &call.uuid, "LISTENING", 1);
        freeswitch.stream(&call.uuid, "mask on");
        wait_masks(&events, &call.uuid, "default", 1);
        let from = connection.record().audio.len();
        call.phone.say(&signal::speech(8_000, 2_500, 7));
        call.phone.press("4111", 100);
        call.phone.listen(Duration::from_millis(4_500));
        assert!(events.stream_events("ai_idle", &call.uuid).is_empty(), "a masked caller is not idle");
        {
            let record = connection.record();
            let since = &record.audio[from..];
            assert!(since.len() > 4 * 8_000 && since.iter().all(|sample| *sample == 0), "the service hears silence");
            assert!(record.said("input_audio_buffer.speech_started").is_empty());
            assert!(record.told("conversation.item.create").is_empty(), "no keys");
        }
        freeswitch.stream(&call.uuid, "mask off");
        wait_masks(&events, &call.uuid, "default", 2);
        call.phone.say(&signal::speech(8_000, 900, 8));
        super::conversation::wait_state(&events, &call.uuid, "SPEAKING", 1);
        super::conversation::wait_state(&events, &call.uuid, "LISTENING", 2);
        call.phone.listen(Duration::from_millis(300));
        let heard = call.phone.heard();
        let (_, ms) =
            crate::realtime::heard_ms(&heard, &crate::realtime::chord(8_000, 800, 81), 8_000).expect("an answer");
        assert!((780.0..=820.0).contains(&ms), "{ms}");
        assert_eq!(connection.record().said("input_audio_buffer.speech_started").len(), 1);
        assert_eq!(connection.record().complaints, []);
        assert!(events.wait_event(SOON, |event| event.subclass() == "mod_audio_stream::ai_idle").is_some());
    });
}

#[test]
fn the_other_leg_of_a_bridge_withholds_a_masked_caller() {
    in_freeswitch(|freeswitch| {
        let events = listen_to(freeswitch);
        let [masked, other] = [(); 2].map(|()| SipCall::place(freeswitch, &Dial::to("park")));
        masked.phone.hum(CALLER, LOUD);
        other.phone.hum(OTHER, LOUD);
        let server = WebSocketServer::start(ServerScript::default());
        freeswitch.stream(&other.uuid, &format!("start {} stereo 8k", server.url()));
        let connection = server.connection(0);
        connection.wait_bytes(3_200);
        // Of the next 700 ms, tones of the masked caller and of the other leg's own.
        let listen = || {
            let from = connection.audio_bytes();
            connection.wait_bytes(from + 700 * 32);
            let audio = connection.audio();
            let since = &audio[from as usize / 2..];
            let (own, heard) = (audio::channel(since, 2, 0), audio::channel(since, 2, 1));
            assert!(audio::amplitude(&own, 8_000, OTHER) > THERE, "the leg's own voice goes on");
            audio::tone_ms(&heard, 8_000, CALLER, ABSENT)
        };
        let is_masked = || freeswitch.json(&format!("{} health", other.uuid))["masked"] == true;

        // The mask before the bridge.
        freeswitch.stream(&masked.uuid, "mask on");
        freeswitch.ok(&format!("uuid_bridge {} {}", masked.uuid, other.uuid));
        wait_masks(&events, &other.uuid, "default", 1);
        assert!(eventually(SOON, || audio::amplitude(&other.phone.listen(Duration::from_millis(200)), 8_000, CALLER)
            > THERE));
        assert_eq!(listen(), 0, "what was masked before the bridge is heard by the stream of the other leg");
        assert!(is_masked());
        let file = freeswitch.folder.join("recordings/other-leg.wav");
        freeswitch.stream(&other.uuid, "record name=late start other-leg.wav");
        listen();
        freeswitch.stream(&other.uuid, "record name=late stop");
        assert!(eventually(SOON, || wav::read(&file).is_ok_and(|wav| wav.channel(0).len() > 4_000)));
        let recorded = wav::read(&file).expect("the module wrote it");
        assert_eq!(audio::tone_ms(&recorded.channel(1), 8_000, CALLER, ABSENT), 0, "nor is it recorded there");
        assert!(audio::tone_ms(&recorded.channel(0), 8_000, OTHER, THERE) > 300, "the other leg's own voice is");

        // The mask off and on again during the bridge.
        freeswitch.stream(&masked.uuid, "mask off");
        wait_masks(&events, &other.uuid, "default", 2);
        assert!(listen() > 500, "behind the mask the caller is heard again");
        freeswitch.stream(&masked.uuid, "mask on");
        wait_masks(&events, &other.uuid, "default", 3);
        assert_eq!(listen(), 0);

        // The end of the bridge.
        freeswitch.ok(&format!("uuid_transfer {} -both park XML tests", masked.uuid));
        wait_masks(&events, &other.uuid, "default", 4);
        assert!(eventually(SOON, || !is_masked()), "nothing of the masked call is heard there any more");
    });
}
