//! The echo of the agent in the caller's leg: how often it is taken for the caller, and how soon a caller is found who speaks while
//! the agent does. On lines of 15 to 30 dB echo return loss, with the voices of `tests/speech/README.md` as both.
//!
//! A line sends back what it is given later, spread over some ms as a hybrid does it, lower by the return loss, and coded in G.711 on
//! the way there and back. White noise 45 dB below the voices is on it.

use std::path::Path;

use mod_audio_stream::conversation::{CallerProcessing, CallerProcessor, Heard};
use mod_audio_stream::dsp::{CallerSettings, VadSettings};
use mod_audio_stream::units::{Law, SampleRate};

use crate::support::wav;

const VOICES: [&str; 4] = ["demo/voice.wav", "speech/appointment.wav", "speech/rechnung.wav", "speech/demain.wav"];
const RATE: usize = 8_000;
const FRAME: usize = RATE / 50;
/// Effective value of the voices.
const LEVEL: f64 = 2_000.0;
/// From the first sample that is played to the first of its echo, ms: a phone near by, a mobile network.
const DELAYS: [usize; 2] = [35, 180];

fn rms(samples: &[i16]) -> f64 {
    (samples.iter().map(|&s| f64::from(s).powi(2)).sum::<f64>() / samples.len() as f64).sqrt()
}

fn scaled(samples: &[i16], level: f64) -> Vec<i16> {
    let factor = level / rms(samples);
    samples.iter().map(|&s| (f64::from(s) * factor).clamp(-32_768.0, 32_767.0) as i16).collect()
}

fn voice(index: usize) -> Vec<i16> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(VOICES[index]);
    scaled(&wav::read(&path).unwrap().samples, LEVEL)
}

/// The agent's words: all voices, with half a second between them, for so many seconds.
fn agent(seconds: usize) -> Vec<i16> {
    let mut words = vec![0; RATE];
    for index in (0..VOICES.len()).cycle() {
        words.extend(voice(index));
        words.extend([0; RATE / 2]);
        if words.len() >= seconds * RATE {
            break;
        }
    }
    words.truncate(seconds * RATE);
    words
}

fn noise(len: usize, level: f64) -> Vec<i16> {
    let mut state = 1_u64;
    let mut uniform = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f64 / f64::from(1 << 24) - 0.5
    };
    let sound: Vec<i16> = (0..len).map(|_| ((0..6).map(|_| uniform()).sum::<f64>() * 4_000.0) as i16).collect();
    scaled(&sound, level)
}

/// What a line of this return loss sends back.
fn echo(played: &[i16], loss_db: f64, delay_ms: usize) -> Vec<i16> {
    // A hybrid: a few reflections within 6 ms, of both signs, that die away.
    let taps: Vec<f64> = (0..48).map(|n| (-(n as f64) / 12.0).exp() * (1.9 * n as f64 + 0.4).cos()).collect();
    let mut spread: Vec<f64> = vec![0.0; played.len()];
    for (n, out) in spread.iter_mut().enumerate() {
        let at = n as i64 - (delay_ms * RATE / 1_000) as i64;
        let heard = |tap: usize| usize::try_from(at - tap as i64).ok().and_then(|at| played.get(at)).copied();
        *out = taps.iter().enumerate().map(|(tap, gain)| gain * f64::from(heard(tap).unwrap_or(0))).sum();
    }
    let own = (spread.iter().map(|s| s * s).sum::<f64>() / spread.len() as f64).sqrt();
    let factor = rms(played) * 10f64.powf(-loss_db / 20.0) / own;
    spread.iter().map(|sample| (sample * factor) as i16).collect()
}

/// There or back over G.711.
fn coded(samples: &[i16]) -> Vec<i16> {
    let (mut bytes, mut out) = (Vec::new(), Vec::new());
    Law::Mu.encode(samples, &mut bytes);
    Law::Mu.decode(&bytes, &mut out);
    out
}

fn mixed(one: &[i16], other: &[i16]) -> Vec<i16> {
    one.iter().zip(other).map(|(&a, &b)| a.saturating_add(b)).collect()
}

/// What the module hears of a caller who says `said`, and the samples that had been captured by then.
struct Heard20Ms {
    events: Vec<(Heard, usize)>,
    /// What is sent to the service.
    sent: Vec<i16>,
}

fn listen(played: &[i16], said: &[i16], loss_db: f64, delay_ms: usize, cancels: bool) -> Heard20Ms {
    let played = coded(played);
    let line = mixed(&echo(&played, loss_db, delay_ms), &noise(played.len(), LEVEL * 10f64.powf(-45.0 / 20.0)));
    let captured = coded(&mixed(&line, said));
    let cleaning = CallerSettings { echo_cancellation: cancels, ..CallerSettings::OFF };
    let settings = CallerProcessing { cleaning, vad: Some(VadSettings::default()) };
    let mut ears = CallerProcessor::new(settings, SampleRate::HZ_8000);
    let (mut events, mut sent) = (Vec::new(), Vec::new());
    for (n, (played, captured)) in played.chunks(FRAME).zip(captured.chunks(FRAME)).enumerate() {
        ears.played(played);
        let from = sent.len();
        sent.extend_from_slice(captured);
        ears.process(&mut sent, from);
        while let Some(heard) = ears.take() {
            events.push((heard, (n + 1) * FRAME));
        }
    }
    Heard20Ms { events, sent }
}

/// Starts of speech, and the share of the time that counts as speech.
fn taken_for_speech(heard: &Heard20Ms, len: usize) -> (usize, f64) {
    let (mut starts, mut since, mut spoken) = (0, None, 0);
    for &(event, at) in &heard.events {
        match event {
            Heard::Began => (starts, since) = (starts + 1, Some(at)),
            Heard::Stopped => spoken += at - since.take().unwrap(),
            Heard::Lasting => {}
        }
    }
    spoken += since.map_or(0, |since| len - since);
    (starts, spoken as f64 / len as f64)
}

/// Prints the table of the documentation, and holds it to that: no echo is taken for speech, and a caller who speaks while the agent does
/// is found.
#[test]
fn the_agents_echo_is_not_taken_for_the_caller() {
    let documented = include_str!("../../docs/performance.md");
    let played = agent(16);
    let silence = vec![0; played.len()];
    let mut missing = Vec::new();
    for (index, loss_db) in [15, 20, 25, 30].into_iter().enumerate() {
        for delay_ms in DELAYS {
            let loss = f64::from(loss_db);
            let before = listen(&played, &silence, loss, delay_ms, false);
            let with = listen(&played, &silence, loss, delay_ms, true);
            assert_eq!(with.events, [], "{loss_db} dB, {delay_ms} ms");
            let (starts, part) = taken_for_speech(&before, played.len());
            let level = |heard: &Heard20Ms| 20.0 * (rms(&heard.sent[5 * RATE..]) / LEVEL).log10();
            // Another voice each time, in the midst of the agent's words.
            let begins = (8 + index) * RATE;
            let mut said = vec![0; begins];
            said.extend(voice(index));
            said.resize(played.len(), 0);
            let heard = listen(&played, &said, loss, delay_ms, true);
            let found = heard.events.iter().find(|(event, at)| *event == Heard::Began && *at > begins);
            let found = found.map_or(f64::INFINITY, |(_, at)| (at - begins) as f64 / 8.0);
            assert!(found <= 200.0, "{loss_db} dB, {delay_ms} ms: found after {found} ms");
            let row = format!(
                "| {loss_db} dB | {delay_ms} ms | {starts}, {:.0} % | none | {:.0} dB | {:.0} dB | {found:.0} ms |",
                part * 100.0,
                level(&before),
                level(&with),
            );
            println!("{row}");
            if !documented.contains(&row) {
                missing.push(row);
            }
        }
    }
    assert!(missing.is_empty(), "not in the documentation:\n{}", missing.join("\n"));
}
