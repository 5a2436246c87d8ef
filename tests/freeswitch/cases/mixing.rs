//! What the caller hears is mixed, levelled, paused and cleared as ordered, to the sample, and told in events.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::harness::esl::{Esl, Event};
use crate::harness::in_freeswitch;
use crate::harness::rtp::{Codec, linear, mulaw};
use crate::harness::server::FreeSwitch;
use crate::harness::sip::{Dial, SipCall};
use crate::harness::stream::{ABSENT, CALLER, LOUD, OTHER, SERVER, SERVER_AGAIN, SOON, THERE, listen_to};
use crate::support::websocket_server::{Action, Form, Handshake, Play, Script, WebSocketServer};
use crate::support::{audio, eventually, signal, wav};

/// -6 dB below full scale.
const MINUS_6_DBFS: f64 = 16_384.0;
/// The tones of three servers, Hz. With 100 ms to look at, neither these nor the other leg's leak into each other.
const VOICES: [f64; 3] = [1_030.0, 1_850.0, 2_450.0];
/// The keys of the string that is sent, and what each sounds like. None is near a voice, or the other leg.
const DIGITS: [(char, f64, f64); 4] =
    [('5', 770.0, 1_336.0), ('8', 852.0, 1_336.0), ('0', 941.0, 1_336.0), ('D', 941.0, 1_633.0)];
/// Peak amplitudes of a key's two tones, -11 and -9 dBm0.
const KEY_LEVELS: (f64, f64) = (6_432.0, 8_100.0);

/// As PCMU carries it.
fn companded(samples: &[i16]) -> Vec<i16> {
    samples.iter().map(|&sample| linear(mulaw(sample))).collect()
}

/// The part of what was heard that is kept for a look.
fn keep(freeswitch: &FreeSwitch, rate: u32, heard: &[i16]) -> String {
    let file = freeswitch.folder.join("recordings/heard.wav");
    let _ = wav::write(&file, rate, 1, heard);
    format!("heard: {}", file.display())
}

/// The largest change of slope from one sample to the next: what a click has and a wave has not.
fn sharpest(samples: &[i16]) -> f64 {
    let bend = |three: &[i16]| (f64::from(three[0]) - 2.0 * f64::from(three[1]) + f64::from(three[2])).abs();
    samples.windows(3).map(bend).fold(0.0, f64::max)
}

/// The largest change of slope a sine has.
fn bend_of(rate: u32, hz: f64, amplitude: f64) -> f64 {
    amplitude * (std::f64::consts::TAU * hz / f64::from(rate)).powi(2)
}

#[track_caller]
fn assert_level(what: &str, samples: &[i16], rate: u32, hz: f64, expected: f64) {
    let level = audio::amplitude(samples, rate, hz);
    let off = (level - expected).abs();
    assert!(off <= expected * 0.04 + 40.0, "{what}: {hz} Hz is heard at {level:.0}, not {expected:.0}");
}

/// The headroom as it is documented: up to two sources as they are, n at 2/n of their level each.
fn share(sources: usize) -> f64 {
    (2.0 / sources as f64).min(1.0)
}

#[test]
fn three_servers_and_digits_are_heard_together_without_clipping() {
    in_freeswitch(|freeswitch| {
        for (extension, leg) in [("park", false), ("bridge-tone-700", true)] {
            let rate = Codec::L16.rate();
            let call = SipCall::place(freeswitch, &Dial::to(extension).codec(Codec::L16));
            std::thread::sleep(Duration::from_millis(500));
            let alone = call.phone.listen(Duration::from_millis(700));
            let leg_alone = if leg { audio::amplitude(&alone[alone.len() - 8_000..], rate, OTHER) } else { 0.0 };
            assert_eq!(leg_alone > THERE, leg, "{extension}: the other leg alone has {leg_alone:.0}");

            let servers: Vec<_> = VOICES.iter().map(|_| WebSocketServer::start(Script::default())).collect();
            for (index, server) in servers.iter().enumerate() {
                let arguments = format!("{} mono 16k inject_mode=mix inject_buffer_ms=20000", server.url());
                freeswitch.stream(&call.uuid, &format!("start name=voice{index} {arguments}"));
                server.connection(0).wait_bytes(640);
            }
            let begin = call.phone.packets().len();
            for (server, hz) in servers.iter().zip(VOICES) {
                let tone = signal::tone(rate, hz, 6_000, MINUS_6_DBFS);
                server.connection(0).order(Action::Play(Play::mono(tone, rate)));
            }
            std::thread::sleep(Duration::from_millis(1_800));
            let refused = freeswitch.refused(&call.uuid, "dtmf name=voice1 12x");
            assert!(refused.contains("bad digit 'x'"), "{refused}");
            let keys: String = DIGITS.iter().map(|(key, ..)| *key).collect();
            freeswitch.stream(&call.uuid, &format!("dtmf name=voice1 {keys}@400"));
            std::thread::sleep(Duration::from_millis(5_500));
            let heard = crate::harness::rtp::assemble(&call.phone.packets()[begin..], Codec::L16);
            let told = keep(freeswitch, rate, &heard);

            // The voices, once all are there, and before the keys.
            let block = rate as usize / 20;
            let sounding = |hz: f64| audio::tone_stretches(&heard, rate, hz, 2_000.0, block);
            let stretches: Vec<_> = VOICES.iter().map(|hz| sounding(*hz)).collect();
            for (hz, found) in VOICES.iter().zip(&stretches) {
                assert_eq!(found.len(), 1, "{extension}: {hz} Hz is heard in pieces: {found:?}; {told}");
                let ms = found[0].len() as u32 / (rate / 1_000);
                assert!((5_900..=6_100).contains(&ms), "{extension}: {hz} Hz for {ms} ms; {told}");
            }
            let together = stretches.iter().map(|found| found[0].start).max().expect("three");
            let sources = VOICES.len() + usize::from(leg);
            let voices = &heard[together + 3 * block..][..rate as usize];
            for hz in VOICES {
                assert_level(extension, voices, rate, hz, MINUS_6_DBFS * share(sources));
            }
            if leg {
                assert_level(extension, voices, rate, OTHER, leg_alone * share(sources));
            }
            let known = VOICES.into_iter().chain([OTHER]);
            let clean: f64 = known.map(|hz| audio::share_of_tone(voices, rate, hz)).sum();
            assert!(clean > 0.9995, "{extension}: of what is heard {clean:.6} are the tones; {told}");

            // The keys, in their order.
            let mut from = together;
            for (key, low, high) in DIGITS {
                let there = |at: &usize| {
                    let piece = &heard[*at..*at + 2 * block];
                    [low, high].iter().all(|hz| audio::amplitude(piece, rate, *hz) > 1_500.0)
                };
                let at = (from..heard.len() - 10 * block).step_by(block).find(there);
                let at = at.unwrap_or_else(|| panic!("{extension}: key {key} is not heard; {told}"));
                // 300 ms inside of its 400.
                let inside = &heard[at + 2 * block..][..5 * block];
                for (hz, level) in [(low, KEY_LEVELS.0), (high, KEY_LEVELS.1)] {
                    assert_level(&format!("{extension}, key {key}"), inside, rate, hz, level * share(sources + 1));
                }
                for hz in VOICES {
                    let expected = MINUS_6_DBFS * share(sources + 1);
                    assert_level(&format!("{extension}, beside key {key}"), inside, rate, hz, expected);
                }
                from = at + 8 * block;
            }
            let loudest = heard.iter().map(|sample| sample.unsigned_abs()).max().unwrap_or_default();
            assert!(loudest < 32_700, "{extension}: the sum reaches {loudest}; {told}");
            freeswitch.hang_up_all();
        }
    });
}

#[test]
fn a_minute_cleared_at_ten_seconds_was_heard_for_played_ms() {
    in_freeswitch(|freeswitch| {
        let call = SipCall::place(freeswitch, &Dial::to("park"));
        let events = listen_to(freeswitch);
        events.subscribe("plain CUSTOM mod_audio_stream::playback mod_audio_stream::underrun");
        let server = WebSocketServer::start(Script::default());
        freeswitch.start_stream(&call.uuid, &server, "mono 8k inject_buffer_ms=30000");
        let said = signal::speech(8_000, 60_000, 41);
        server.connection(0).order(Action::Play(Play::mono(said.clone(), 8_000)));
        let inject = |field: &str| freeswitch.json(&format!("{} health", call.uuid))["inject"][field].as_u64();
        assert!(eventually(SOON, || inject("played_ms") > Some(1_000)), "nothing is heard");
        // All of it is kept: what may wait, and what is read ahead.
        let kept = inject("buffer_inuse_bytes").unwrap_or_default() / 16;
        assert!((55_000..=60_000).contains(&kept), "{kept} ms are kept");
        assert!(eventually(Duration::from_secs(20), || inject("played_ms") >= Some(10_000)), "it stops before 10 s");
        freeswitch.stream(&call.uuid, "clear");
        let cleared = wait_playback(&events, &call.uuid, "cleared");
        std::thread::sleep(Duration::from_millis(600));

        let played_ms = played_ms(&cleared);
        assert!((10_000..=11_500).contains(&played_ms), "cleared after {played_ms} ms");
        assert_eq!(inject("played_ms"), Some(played_ms), "nothing is played after the clear");
        assert_eq!(inject("buffer_inuse_bytes"), Some(0));
        let heard = call.phone.heard();
        let told = keep(freeswitch, 8_000, &heard);
        let expected = companded(&said[..played_ms as usize * 8]);
        // Where it begins: speech does not repeat.
        let at = heard.windows(400).position(|window| *window == expected[2_000..2_400]);
        let at = at.unwrap_or_else(|| panic!("the speech is not heard; {told}")) - 2_000;
        let differs = heard[at..].iter().zip(&expected).position(|(a, b)| a != b);
        assert_eq!(differs, None, "of {played_ms} ms this sample is another; {told}");
        let after = &heard[at + expected.len()..];
        assert!(after.len() >= 160, "{} samples after the clear; {told}", after.len());
        let level = said[expected.len() - 1].unsigned_abs();
        assert!(after[..40].iter().all(|sample| sample.unsigned_abs() <= level + level / 16 + 8), "{told}");
        assert!(after[40..].iter().all(|sample| *sample == 0), "silence follows the glide; {told}");

        assert!(events.stream_events("overflow", &call.uuid).is_empty());
        let names: Vec<_> = playback(&events, &call.uuid).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["started", "cleared"]);
        assert!(events.stream_events("underrun", &call.uuid).is_empty());
    });
}

/// The `playback` events of a call so far: status, a mark's name after a space, and `played_ms`.
fn playback(events: &Esl, uuid: &str) -> Vec<(String, u64)> {
    let named = |event: &Event| {
        let status = event.get("Audio-Stream-Status").unwrap_or_default();
        let heard = if event.get("Audio-Stream-Heard") == Some("false") { " dropped" } else { "" };
        event.get("Audio-Stream-Mark").map_or_else(|| status.to_owned(), |mark| format!("{status} {mark}{heard}"))
    };
    let events = events.stream_events("playback", uuid);
    events.iter().map(|event| (named(event), played_ms(event))).collect()
}

#[track_caller]
fn wait_playback(events: &Esl, uuid: &str, status: &str) -> Event {
    let found = events.wait_event(SOON, |event| {
        event.subclass() == "mod_audio_stream::playback"
            && event.uuid() == uuid
            && event.get("Audio-Stream-Status") == Some(status)
    });
    found.unwrap_or_else(|| panic!("no playback event {status}: {:?}", playback(events, uuid)))
}

#[track_caller]
fn played_ms(event: &Event) -> u64 {
    let text = event.get("Audio-Stream-Played-Ms").expect("a playback event says how much was played");
    assert_eq!(event.json()["played_ms"].to_string(), text);
    text.parse().expect("a number")
}

/// A call that hears `OTHER` from FreeSWITCH and `SERVER` from a server, both at 16 kHz, until told otherwise.
struct Levels<'a> {
    freeswitch: &'a FreeSwitch,
    call: SipCall,
    server: WebSocketServer,
    /// The other leg's level.
    leg: f64,
}

const LEVELS: Codec = Codec::L16;

impl<'a> Levels<'a> {
    fn new(freeswitch: &'a FreeSwitch, arguments: &str) -> Self {
        let call = SipCall::place(freeswitch, &Dial::to("tone-700").codec(LEVELS));
        call.phone.say_forever(&signal::tone(LEVELS.rate(), CALLER, 1_000, LOUD));
        std::thread::sleep(Duration::from_millis(300));
        let alone = call.phone.listen(Duration::from_millis(600));
        let leg = audio::amplitude(&alone[alone.len() - 4_800..], LEVELS.rate(), OTHER);
        let server = WebSocketServer::start(Script::default());
        freeswitch.start_stream(&call.uuid, &server, &format!("mono 16k inject_buffer_ms=30000 {arguments}"));
        server.connection(0).wait_bytes(16_000);
        Self { freeswitch, call, server, leg }
    }

    fn play(&self, ms: u32) {
        let mut tone = signal::tone(LEVELS.rate(), SERVER, ms, LOUD);
        // It swells and fades: what is sharp is not of the server's making.
        const EDGE: usize = 320;
        let end = tone.len() - 1;
        for at in 0..EDGE {
            let part = at as f64 / EDGE as f64;
            for sample in [at, end - at] {
                tone[sample] = (f64::from(tone[sample]) * part).round() as i16;
            }
        }
        self.server.connection(0).order(Action::Play(Play::mono(tone, LEVELS.rate())));
    }

    /// Orders, and half a second later looks at 200 ms of what the caller hears.
    #[track_caller]
    fn after(&self, command: &str, agent: f64, leg: f64) {
        if !command.is_empty() {
            self.freeswitch.stream(&self.call.uuid, command);
        }
        std::thread::sleep(Duration::from_millis(300));
        let heard = self.call.phone.listen(Duration::from_millis(300));
        let heard = &heard[heard.len() - 3_200..];
        assert_level(command, heard, LEVELS.rate(), SERVER, LOUD * agent);
        assert_level(command, heard, LEVELS.rate(), OTHER, self.leg * leg);
    }

    /// No step in all the caller has heard from packet `from` on.
    #[track_caller]
    fn no_click(&self, from: usize) {
        let heard = crate::harness::rtp::assemble(&self.call.phone.packets()[from..], LEVELS);
        let told = keep(self.freeswitch, LEVELS.rate(), &heard);
        let most = bend_of(LEVELS.rate(), SERVER, LOUD) + bend_of(LEVELS.rate(), OTHER, self.leg);
        // Where a glide begins or ends, a loud sample over its 5 ms.
        let most = most + 2.0 * (LOUD + self.leg) / 80.0;
        let sharpest = sharpest(&heard);
        assert!(sharpest <= most, "a step of {sharpest:.0} among waves that have {most:.0}; {told}");
    }

    /// The caller's level in the last 200 ms that the server has.
    fn captured(&self) -> f64 {
        std::thread::sleep(Duration::from_millis(500));
        let audio = self.server.connection(0).audio();
        audio::amplitude(&audio[audio.len() - 3_200..], LEVELS.rate(), CALLER)
    }
}

/// The factor of a gain in dB.
fn db(db: f64) -> f64 {
    10_f64.powf(db / 20.0)
}

#[test]
fn gains_and_mutes_of_agent_and_leg_are_heard_without_clicks() {
    in_freeswitch(|freeswitch| {
        let call = Levels::new(freeswitch, "inject_mode=mix");
        let from = call.call.phone.packets().len();
        call.play(20_000);
        std::thread::sleep(Duration::from_millis(300));
        call.after("", 1.0, 1.0);
        call.after("gain agent -6", db(-6.0), 1.0);
        call.after("mute agent", 0.0, 1.0);
        call.after("gain agent -3", 0.0, 1.0);
        call.after("unmute agent", db(-3.0), 1.0);
        call.after("gain agent 0", 1.0, 1.0);
        call.after("gain leg -12", 1.0, db(-12.0));
        call.after("mute leg", 1.0, 0.0);
        call.after("unmute leg", 1.0, db(-12.0));
        call.after("gain leg 0", 1.0, 1.0);
        call.after("mute leg", 1.0, 0.0);
        call.after("mute agent", 0.0, 0.0);
        call.after("unmute leg", 0.0, 1.0);
        call.after("unmute agent", 1.0, 1.0);
        let health = freeswitch.json(&format!("{} health", call.call.uuid));
        let played = health["inject"]["played_ms"].as_u64().unwrap_or_default();
        assert!(played > 5_000, "a muted server plays on: {health}");
        call.no_click(from);
        freeswitch.hang_up_all();
    });
}

#[test]
fn gain_and_mute_of_the_caller_reach_the_server_without_clicks() {
    in_freeswitch(|freeswitch| {
        let call = Levels::new(freeswitch, "caller_gain=-3");
        let connection = call.server.connection(0);
        let from = connection.audio().len();
        for (command, level) in [
            ("gain caller -9", db(-9.0)),
            ("mute caller", 0.0),
            ("gain caller 3", 0.0),
            ("unmute caller", db(3.0)),
            ("mute caller", 0.0),
            ("unmute caller", db(3.0)),
            ("gain caller 0", 1.0),
        ] {
            freeswitch.stream(&call.call.uuid, command);
            let captured = call.captured();
            assert!((captured - LOUD * level).abs() < 400.0, "{command}: the server gets {captured:.0}");
        }
        let captured = &connection.audio()[from..];
        let told = keep(freeswitch, LEVELS.rate(), captured);
        // Where the machine is starved FreeSWITCH loses a packet of the phone's, and there is a seam that is none of ours:
        // looked at is what has none for 20 ms around.
        let most = bend_of(LEVELS.rate(), CALLER, LOUD * db(3.0)) + 4.0 * LOUD / 80.0;
        let steps: Vec<_> =
            captured.windows(3).enumerate().filter(|(_, three)| sharpest(three) > most).map(|(at, _)| at).collect();
        let lost = freeswitch.json(&format!("{} health", call.call.uuid))["capture"].clone();
        assert!(steps.len() <= 2, "steps at {steps:?} of {}; {lost}; {told}", captured.len());
        freeswitch.hang_up_all();
    });
}

#[test]
fn ducking_lowers_the_other_leg_while_the_server_speaks() {
    in_freeswitch(|freeswitch| {
        for duck_db in [12.0, 20.0] {
            let call = Levels::new(freeswitch, &format!("inject_mode=duck duck_db={duck_db}"));
            let from = call.call.phone.packets().len();
            for _ in 0..2 {
                call.after("", 0.0, 1.0);
                call.play(1_500);
                std::thread::sleep(Duration::from_millis(300));
                call.after("", 1.0, db(-duck_db));
                std::thread::sleep(Duration::from_millis(1_200));
            }
            call.after("", 0.0, 1.0);
            call.no_click(from);
            freeswitch.hang_up_all();
        }
    });
}

#[test]
fn a_pause_of_playback_loses_nothing() {
    in_freeswitch(|freeswitch| {
        let call = SipCall::place(freeswitch, &Dial::to("park").codec(Codec::L16));
        let server = WebSocketServer::start(Script::default());
        freeswitch.start_stream(&call.uuid, &server, "mono 16k inject_buffer_ms=10000");
        let said = signal::speech(16_000, 4_000, 51);
        let half = said.len() / 2;
        let play = |samples: &[i16]| {
            server.connection(0).order(Action::Play(Play::mono(samples.to_vec(), 16_000)));
        };
        let played = || freeswitch.json(&format!("{} health", call.uuid))["inject"]["played_ms"].as_u64();
        play(&said[..half]);
        assert!(eventually(SOON, || played() >= Some(700)), "nothing is heard");
        freeswitch.stream(&call.uuid, "pause playback");
        std::thread::sleep(Duration::from_millis(300));
        let paused_at = played().unwrap_or_default();
        // What comes during the pause waits.
        play(&said[half..]);
        let silence = call.phone.listen(Duration::from_millis(600));
        assert!(silence.iter().all(|sample| *sample == 0), "a pause is silence");
        assert_eq!(played(), Some(paused_at));
        freeswitch.stream(&call.uuid, "resume playback");
        assert!(eventually(SOON, || played() == Some(4_000)), "{:?} ms of 4000 are heard", played());
        std::thread::sleep(Duration::from_millis(300));

        let heard = call.phone.heard();
        let told = keep(freeswitch, 16_000, &heard);
        let cut = paused_at as usize * 16;
        let find = |part: &[i16]| heard.windows(part.len()).position(|window| window == part);
        let before = find(&said[cut - 4_000..cut]).unwrap_or_else(|| panic!("not heard before the pause; {told}"));
        let first = before + 4_000 - cut;
        assert!(heard[first..first + cut] == said[..cut], "until the pause, {cut} samples; {told}");
        // It comes back in a glide of 5 ms.
        let after = find(&said[cut + 80..]).unwrap_or_else(|| panic!("not all is heard after the pause; {told}"));
        let between = &heard[first + cut + 80..after - 80];
        assert!(between.iter().all(|sample| *sample == 0), "{told}");
        freeswitch.hang_up_all();
    });
}

/// Lateness of the message with this number, ms: 60 before to 60 after its moment.
fn jitter(index: u64) -> u64 {
    let mut state = (index + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (state ^ (state >> 27)) % 121
}

#[test]
fn a_minute_with_60_ms_of_jitter_has_no_seam_once_auto_learnt() {
    in_freeswitch(|freeswitch| {
        const LEARNT_AFTER: u64 = 12_000;
        let call = SipCall::place(freeswitch, &Dial::to("park"));
        let events = listen_to(freeswitch);
        events.subscribe("plain CUSTOM mod_audio_stream::playback mod_audio_stream::underrun");
        let server = WebSocketServer::start(Script::default());
        freeswitch.start_stream(&call.uuid, &server, "mono 8k inject_min_buffer_ms=auto");
        let connection = server.connection(0);
        // It comes back to the same place of its wave after a second only.
        let said = signal::tone(8_000, 1_013.0, 60_000, LOUD);
        let (begin, mut due) = (Instant::now(), 0);
        let mut at_learnt = None;
        for (index, chunk) in (0..).zip(said.chunks(160)) {
            due = due.max(index * 20 + jitter(index));
            std::thread::sleep((begin + Duration::from_millis(due)).saturating_duration_since(Instant::now()));
            if index * 20 >= LEARNT_AFTER && at_learnt.is_none() {
                at_learnt = Some(freeswitch.json(&format!("{} health", call.uuid)));
            }
            let message = Play::mono(chunk.to_vec(), 8_000);
            connection.order(Action::Play(message));
        }
        wait_playback(&events, &call.uuid, "finished");
        std::thread::sleep(Duration::from_millis(300));
        let heard = call.phone.heard();
        let told = keep(freeswitch, 8_000, &heard);
        let (learnt, health) =
            (at_learnt.expect("a minute is longer"), freeswitch.json(&format!("{} health", call.uuid)));
        assert_eq!(health["inject"]["played_ms"], 60_000, "{health}");
        assert_eq!(health["inject"]["overflow_count"], 0, "{health}");
        assert_eq!(health["inject"]["underrun_count"], learnt["inject"]["underrun_count"], "{learnt} {health}");

        // From the end backwards: the tone as it was sent, sample for sample, to where it had learnt.
        let expected = companded(&said);
        let last = expected.iter().rposition(|sample| *sample != 0).expect("it is a tone") + 1;
        // Of a server that speaks in real time more is expected: behind the last sample the tone is carried on, and fades.
        let end = heard.windows(400).rposition(|window| *window == expected[last - 400..last]);
        let end = end.unwrap_or_else(|| panic!("the end of the tone is not heard; {told}")) + 400;
        let alike = heard[..end].iter().rev().zip(expected[..last].iter().rev()).take_while(|(a, b)| a == b).count();
        let least = (60_000 - LEARNT_AFTER as usize) * 8;
        assert!(alike >= least, "a seam {} ms before the end; {health}; {told}", alike / 8);
        freeswitch.hang_up_all();
    });
}

fn encoded(kind: &str, bytes: &[u8]) -> Action {
    let audio = STANDARD.encode(bytes);
    Action::Text(format!(r#"{{"type":"streamAudio","data":{{"audioDataType":"{kind}","audioData":"{audio}"}}}}"#))
}

fn golden(name: &str) -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/audio").join(name)).expect("it is in the repository")
}

#[test]
fn wav_mp3_ogg_and_g711_of_the_server_are_heard() {
    in_freeswitch(|freeswitch| {
        let call = SipCall::place(freeswitch, &Dial::to("park"));
        let server = WebSocketServer::start(Script::default());
        freeswitch.start_stream(&call.uuid, &server, "mono 8k");
        let long = freeswitch.folder.join("temp/long.wav");
        wav::write(&long, 24_000, 1, &signal::tone(24_000, 1_000.0, 1_500, 13_000.0)).expect("our folder");
        let mulaw: Vec<u8> = signal::tone(8_000, 1_000.0, 500, 13_000.0).into_iter().map(mulaw).collect();
        for (kind, bytes, ms, level) in [
            ("wav", golden("tone-1000hz-16k-24bit.wav"), 80, 13_107.0),
            ("wav", golden("tone-1000hz-8k-pcmu.wav"), 80, 13_107.0),
            ("wav", fs::read(&long).expect("just written"), 1_480, 13_000.0),
            ("mp3", golden("tone-1000hz-16k-mono.mp3"), 80, 13_107.0),
            ("mp3", golden("tones-24k-stereo-id3.mp3"), 80, 6_553.0),
            ("ogg", golden("tone-1000hz-8k-mono.ogg"), 80, 13_107.0),
            ("ogg", golden("tones-44k-stereo.ogg"), 80, 6_553.0),
            ("pcmu", mulaw, 480, 13_000.0),
        ] {
            let from = call.phone.packets().len();
            server.connection(0).order(encoded(kind, &bytes));
            let listen = || crate::harness::rtp::assemble(&call.phone.packets()[from..], Codec::Pcmu);
            let stretches = || audio::tone_stretches(&listen(), 8_000, 1_000.0, level * 0.7, 80);
            let sounding = || stretches().iter().map(|stretch| stretch.len() / 8).max().unwrap_or_default();
            assert!(eventually(SOON, || sounding() >= ms), "{kind}: the tone is heard for {} ms, not {ms}", sounding());
            let health = freeswitch.json(&format!("{} health", call.uuid));
            std::thread::sleep(Duration::from_millis(400));
            let heard = listen();
            let longest = stretches().into_iter().max_by_key(ExactSizeIterator::len).expect("it was there");
            let middle = &heard[longest.start + longest.len() / 4..longest.end - longest.len() / 4];
            let amplitude = audio::amplitude(middle, 8_000, 1_000.0);
            assert!((amplitude - level).abs() < level * 0.12, "{kind}: {amplitude:.0} instead of {level}; {health}");
        }
    });
}

#[test]
fn a_named_file_is_heard_only_if_allowed_and_below_its_folder() {
    in_freeswitch(|freeswitch| {
        let folder = freeswitch.folder.join("temp/sounds");
        fs::create_dir_all(folder.join("deep")).expect("our folder");
        let tone = |hz: f64| signal::tone(8_000, hz, 800, LOUD);
        wav::write(&folder.join("deep/hello.wav"), 8_000, 1, &tone(SERVER)).expect("our folder");
        let outside = freeswitch.folder.join("temp/secret.wav");
        wav::write(&outside, 8_000, 1, &tone(SERVER_AGAIN)).expect("our folder");
        let _ = std::os::unix::fs::symlink(&outside, folder.join("link.wav"));
        let named = |file: &str| {
            let data = serde_json::json!({"audioDataType": "wav", "file": file});
            Action::Text(serde_json::json!({"type": "streamAudio", "data": data}).to_string())
        };
        let dir = folder.display();
        for (arguments, hello) in [
            ("".to_owned(), false),
            (format!("file_injection_dir={dir}"), false),
            (format!("allow_file_injection=true file_injection_dir={dir}"), true),
        ] {
            let call = SipCall::place(freeswitch, &Dial::to("park"));
            let events = listen_to(freeswitch);
            let server = WebSocketServer::start(Script::default());
            freeswitch.start_stream(&call.uuid, &server, &format!("mono 8k {arguments}"));
            let connection = server.connection(0);
            for outside in ["../secret.wav", "link.wav", &outside.display().to_string(), "/etc/passwd"] {
                connection.order(named(outside));
            }
            connection.order(named("deep/hello.wav"));
            let heard = call.phone.listen(Duration::from_millis(2_500));
            let ms = audio::tone_ms(&heard, 8_000, SERVER, THERE);
            let expected = if hello { 740..=840 } else { 0..=0 };
            assert!(expected.contains(&ms), "'{arguments}': the file is heard for {ms} ms");
            assert_eq!(audio::tone_ms(&heard, 8_000, SERVER_AGAIN, ABSENT), 0, "'{arguments}'");
            events.wait_stream("error", &call.uuid);
            assert!(freeswitch.exists(&call.uuid));
            freeswitch.hang_up_all();
        }
    });
}

#[test]
fn recordings_have_the_sum_of_all_the_caller_heard() {
    in_freeswitch(|freeswitch| {
        let file = freeswitch.folder.join("recordings/sum.wav");
        let own = freeswitch.folder.join("recordings/sum-own.wav");
        let call = SipCall::place(freeswitch, &Dial::to("recorded").header("X-Record", file.display().to_string()));
        freeswitch.stream(&call.uuid, &format!("record start {}", own.display()));
        let tones = [SERVER, SERVER_AGAIN, 2_300.0];
        let servers = tones.map(|_| WebSocketServer::start(Script::default()));
        for (index, server) in servers.iter().enumerate() {
            freeswitch.stream(&call.uuid, &format!("start name=s{index} {} mono 8k inject_mode=mix", server.url()));
            server.connection(0).wait_bytes(320);
        }
        for (server, hz) in servers.iter().zip(tones) {
            server.connection(0).order(Action::Play(Play::mono(signal::tone(8_000, hz, 2_500, 12_000.0), 8_000)));
        }
        let heard = call.phone.listen(Duration::from_millis(4_000));
        freeswitch.hang_up_all();
        let level = 12_000.0 * share(3);
        let (session, ours) = (wav::read(&file).expect("FreeSWITCH wrote it"), wav::read(&own).expect("we wrote it"));
        let ears = [
            ("the phone", heard.samples),
            ("record_session", session.channel(1)),
            ("the module's recording", ours.channel(1)),
        ];
        for (what, samples) in ears {
            let there = tones.map(|hz| audio::tone_stretches(&samples, 8_000, hz, 4_000.0, 160));
            let begin = there.iter().map(|found| found[0].start).max().expect("three") + 1_600;
            for hz in tones {
                assert_level(what, &samples[begin..begin + 8_000], 8_000, hz, level);
            }
        }
        let silent = audio::rms(&session.channel(0));
        assert!(silent < 50.0, "the caller said nothing: {silent:.0}");
    });
}

#[test]
fn playback_events_are_in_order_and_exact_to_the_millisecond() {
    in_freeswitch(|freeswitch| {
        let call = SipCall::place(freeswitch, &Dial::to("park"));
        let events = listen_to(freeswitch);
        events.subscribe("plain CUSTOM mod_audio_stream::playback");
        let server =
            WebSocketServer::start(Script::default().with_handshake(Handshake::Subprotocol("audio.drachtio.org")));
        freeswitch.start_stream(&call.uuid, &server, "mono 8k protocol=audio_fork inject_buffer_ms=20000");
        let connection = server.connection(0);
        let say = |ms: u32| {
            let audio = Play::mono(signal::tone(8_000, SERVER, ms, LOUD), 8_000).form(Form::Binary);
            connection.order(Action::Play(audio));
        };
        let order = |message: serde_json::Value| connection.order(Action::Text(message.to_string()));
        let mark = |name: &str| order(serde_json::json!({"type": "mark", "data": {"name": name}}));
        let names = || playback(&events, &call.uuid);

        say(600);
        mark("half");
        say(600);
        mark("whole");
        assert!(eventually(SOON, || names().len() >= 4), "{:?}", names());
        let expected = [("started", 0), ("mark half", 600), ("mark whole", 1_200), ("finished", 1_200)];
        let as_text = |(name, ms): &(String, u64)| (name.clone(), *ms);
        assert_eq!(names(), expected.map(|(name, ms)| (name.to_owned(), ms)));

        say(500);
        mark("heard");
        say(8_000);
        mark("never");
        assert!(eventually(SOON, || names().iter().any(|(name, _)| name == "mark heard")), "{:?}", names());
        std::thread::sleep(Duration::from_millis(300));
        order(serde_json::json!({"type": "killAudio"}));
        assert!(eventually(SOON, || names().len() >= 8), "{:?}", names());
        let health = freeswitch.json(&format!("{} health", call.uuid));
        let cut = health["inject"]["played_ms"].as_u64().expect("a number");
        assert!((1_900..9_000).contains(&cut), "{health}");
        let expected = [("started", 1_200), ("mark heard", 1_700), ("mark never dropped", cut), ("cleared", cut)];
        let told: Vec<_> = names()[4..].iter().map(as_text).collect();
        assert_eq!(told, expected.map(|(name, ms)| (name.to_owned(), ms)));

        // A new utterance after a clear begins where that had cut.
        say(400);
        assert!(eventually(SOON, || names().len() >= 10), "{:?}", names());
        assert_eq!(names()[8..], [("started".to_owned(), cut), ("finished".to_owned(), cut + 400)]);
        freeswitch.stream(&call.uuid, "clear");
        std::thread::sleep(Duration::from_millis(300));
        assert_eq!(names().len(), 10, "a clear of nothing fires no event: {:?}", names());
    });
}
