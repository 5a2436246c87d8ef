//! The stages that synthesised speech passes, one by one, on a real call: what the caller hears of a voice that is known.

use std::sync::Arc;

use super::conversation_turns::Telephone;
use crate::harness::in_freeswitch;
use crate::harness::server::FreeSwitch;
use crate::realtime::Stage;
use crate::support::speech_server::{Answer, Service, SpeechServer};
use crate::support::{audio, signal};

/// The two tones of the voice, Hz: below and above every corner of the test.
const LOW: f64 = 400.0;
const HIGH: f64 = 3_000.0;
/// Everything off; a case turns one stage on.
const OFF: [(&str, &str); 7] = [
    ("dc_blocker", "false"),
    ("gate_threshold_db", "off"),
    ("compressor_threshold_db", "off"),
    ("compressor_makeup_db", "0"),
    ("high_shelf_gain_db", "off"),
    ("lpf_cutoff_hz", "off"),
    ("soft_clip", "off"),
];

/// The voice: the tones with these amplitudes, for 1.2 s, and a constant.
fn voice(low: f64, high: f64, constant: i16) -> Vec<i16> {
    let (low, high) = (signal::tone(8_000, LOW, 1_200, low), signal::tone(8_000, HIGH, 1_200, high));
    low.iter().zip(&high).map(|(low, high)| low.saturating_add(*high).saturating_add(constant)).collect()
}

/// What the caller hears of the voice with these options: the loudest half second.
fn heard(freeswitch: &FreeSwitch, name: &str, stages: &[(&str, &str)], voice: &[i16]) -> Vec<i16> {
    let bytes = voice.iter().flat_map(|sample| sample.to_le_bytes()).collect();
    let answer = Answer { instead: Some(("audio/pcm", bytes)), ..Answer::default() };
    let server = SpeechServer::start(Service::ElevenLabs("xi-test"), [answer]);
    let url = server.url(false);
    let mut options = vec![
        ("ai_output", "tts"),
        ("tts_provider", "elevenlabs"),
        ("tts_elevenlabs_api_key", "xi-test"),
        ("tts_voice", "v1"),
        ("tts_url", url.as_str()),
        ("tts_output_format", "pcm_8000"),
    ];
    let of_stage = |key: &str| stages.iter().find(|(stage, _)| *stage == key);
    options.extend(OFF.iter().map(|off| *of_stage(off.0).unwrap_or(off)));
    options.extend(stages.iter().filter(|(key, _)| !OFF.iter().any(|(off, _)| off == key)));
    let place = Telephone::place(freeswitch, &options);
    let call = Arc::clone(&place.call);
    let mut stage = Stage::new(place);
    stage.open();
    stage.speak("u1", 300);
    stage.create("r1");
    // Another text in each case: nothing comes from the cache.
    stage.text("r1", "i1", &format!("This is heard with {name}."));
    stage.end("r1");
    stage.await_state("SPEAKING", 3_000);
    stage.await_state("LISTENING", 4_000);
    stage.pass(200);
    assert_eq!(stage.events("error"), [] as [&str; 0], "{name}");
    let heard = call.phone.heard();
    let energy = |part: &&[i16]| part.iter().map(|sample| i64::from(*sample).pow(2)).sum::<i64>();
    let loudest = heard.windows(4_000).step_by(160).max_by_key(energy);
    loudest.expect("the call lasts longer").to_vec()
}

/// The level of a tone after against before, dB.
fn change_db(heard: &[i16], hz: f64, amplitude: f64) -> f64 {
    20.0 * (audio::amplitude(heard, 8_000, hz).max(1.0) / amplitude).log10()
}

#[track_caller]
fn about(name: &str, db: f64, expected: f64, tolerance: f64) {
    assert!((db - expected).abs() <= tolerance, "{name}: {db:.2} dB, not {expected} dB");
}

#[test]
fn each_stage_does_to_a_voice_what_it_says() {
    in_freeswitch(|freeswitch| {
        let both = voice(6_000.0, 6_000.0, 0);
        let case = |name: &str, stages: &[(&str, &str)], low_db: f64, high_db: std::ops::RangeInclusive<f64>| {
            let heard = heard(freeswitch, name, stages, &both);
            about(&format!("{name}, {LOW} Hz"), change_db(&heard, LOW, 6_000.0), low_db, 1.0);
            let high = change_db(&heard, HIGH, 6_000.0);
            assert!(high_db.contains(&high), "{name}, {HIGH} Hz: {high:.2} dB is not in {high_db:?}");
        };
        case("no processing", &[("dsp_enabled", "false"), ("lpf_cutoff_hz", "500")], 0.0, -1.0..=1.0);
        case("every stage off", &[], 0.0, -1.0..=1.0);
        case("less treble", &[("high_shelf_gain_db", "-12"), ("high_shelf_hz", "1200")], 0.0, -13.0..=-9.5);
        case("more treble", &[("high_shelf_gain_db", "6"), ("high_shelf_hz", "1200")], 0.0, 4.5..=6.5);
        case("a low pass", &[("lpf_cutoff_hz", "1200")], 0.0, -60.0..=-20.0);

        // 14 dB above the threshold become 3.5 at 4:1.
        let loud = voice(16_384.0, 0.0, 0);
        let stages = [("compressor_threshold_db", "-20"), ("compressor_ratio", "4")];
        let heard_loud = heard(freeswitch, "a compressor", &stages, &loud);
        about("a compressor", change_db(&heard_loud, LOW, 16_384.0), -10.5, 1.0);
        let stages = [("compressor_threshold_db", "-20"), ("compressor_ratio", "4"), ("compressor_makeup_db", "6")];
        let heard_loud = heard(freeswitch, "a compressor with makeup", &stages, &loud);
        about("a compressor with makeup", change_db(&heard_loud, LOW, 16_384.0), -4.5, 1.0);

        // 55 dB below full scale is below the gate, and 35 above it.
        for (level, db, there) in [(58.0, "-55", false), (583.0, "-35", true)] {
            let name = format!("a gate and a voice of {db} decibels");
            let soft = heard(freeswitch, &name, &[("gate_threshold_db", "-45")], &voice(level, 0.0, 0));
            let left = audio::amplitude(&soft, 8_000, LOW) / level;
            // The gate is open first, and closed within 100 ms: a fifth of the half second.
            assert!(if there { left > 0.9 } else { left < 0.2 }, "{name}: {left:.2} of it are heard");
        }

        let offset = voice(3_000.0, 0.0, 4_000);
        let mean =
            |samples: &[i16]| samples.iter().map(|sample| f64::from(*sample)).sum::<f64>() / samples.len() as f64;
        let (with, without) = (
            heard(freeswitch, "a blocker of constants", &[("dc_blocker", "true")], &offset),
            heard(freeswitch, "no blocker of constants", &[], &offset),
        );
        assert!(mean(&with).abs() < 100.0 && mean(&without) > 3_500.0, "{:.0} and {:.0}", mean(&with), mean(&without));

        // Straight below half of full scale, bent above: a loud sine gets a third harmonic, and no wrap.
        let clipped = heard(freeswitch, "a soft clipper", &[("soft_clip", "0.5")], &voice(32_000.0, 0.0, 0));
        let third = audio::amplitude(&clipped, 8_000, 3.0 * LOW);
        let straight = heard(freeswitch, "no clipper", &[], &voice(32_000.0, 0.0, 0));
        let third_before = audio::amplitude(&straight, 8_000, 3.0 * LOW);
        assert!(third > 1_000.0 && third_before < 300.0, "{third:.0} and {third_before:.0}");
        let peak = clipped.iter().map(|sample| sample.unsigned_abs()).max().unwrap_or_default();
        assert!((20_000..32_000).contains(&peak), "{peak}");
        let quiet =
            heard(freeswitch, "a soft clipper for a soft voice", &[("soft_clip", "0.5")], &voice(9_000.0, 0.0, 0));
        about("a soft clipper for a soft voice", change_db(&quiet, LOW, 9_000.0), 0.0, 0.3);
    });
}
