//! Voice activity detection on voices in noise: how soon speech is found, how often noise is taken for it.
//!
//! The voices are synthetic (`tests/speech/README.md`), 8 kHz, of the telephone's band. Noise is at the stated ratio of the
//! effective values, the voice's taken over its whole length with the pauses in it.

use std::path::Path;
use std::time::Duration;

use crate::support::wav;
use mod_audio_stream::dsp::{Resampler, Vad, VadEvent, VadSettings};
use mod_audio_stream::units::SampleRate;

const VOICES: [&str; 4] = ["demo/voice.wav", "speech/appointment.wav", "speech/rechnung.wav", "speech/demain.wav"];
const RATE: usize = 8_000;
/// What a phone's microphone gives: the voices' effective value.
const LEVEL: f64 = 2_000.0;

/// The voices, at one volume.
fn voices() -> Vec<Vec<i16>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    VOICES.iter().map(|name| scaled(&wav::read(&root.join(name)).unwrap().samples, LEVEL)).collect()
}

fn rms(samples: &[i16]) -> f64 {
    (samples.iter().map(|&s| f64::from(s).powi(2)).sum::<f64>() / samples.len() as f64).sqrt()
}

fn scaled(samples: &[i16], level: f64) -> Vec<i16> {
    let factor = level / rms(samples);
    samples.iter().map(|&s| (f64::from(s) * factor).clamp(-32_768.0, 32_767.0) as i16).collect()
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Noise {
    White,
    /// Twelve voices on top of each other.
    Babble,
}

impl Noise {
    fn samples(self, len: usize, level: f64) -> Vec<i16> {
        let sum: Vec<i16> = match self {
            Self::White => {
                let mut state = 1_u64;
                let mut uniform = || {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    (state >> 40) as f64 / f64::from(1 << 24) - 0.5
                };
                (0..len).map(|_| ((0..6).map(|_| uniform()).sum::<f64>() * 4_000.0) as i16).collect()
            }
            Self::Babble => {
                let voices = voices();
                let talkers: Vec<_> = (0..12).map(|n| (&voices[n % 4], n * 4_513, n / 4)).collect();
                let heard = |n: usize| -> i32 {
                    let each = talkers.iter().map(|&(voice, offset, turn)| {
                        let at = (n + offset) % (voice.len() + 1_000 * turn);
                        voice.get(at).copied().map_or(0, i32::from)
                    });
                    each.sum()
                };
                (0..len).map(|n| (heard(n) / 8) as i16).collect()
            }
        };
        scaled(&sum, level)
    }
}

/// The effective value of noise that lies `snr_db` below the voices.
fn below(snr_db: f64) -> f64 {
    LEVEL * 10f64.powf(-snr_db / 20.0)
}

fn mixed(one: &[i16], other: &[i16]) -> Vec<i16> {
    one.iter().zip(other).map(|(&a, &b)| a.saturating_add(b)).collect()
}

/// Each event with how much of the stream had been given when it came, in frames of 20 ms as a call gives it.
fn listen(vad: &mut Vad, samples: &[i16]) -> Vec<(VadEvent, usize)> {
    let mut events = Vec::new();
    let mut given = 0;
    for frame in samples.chunks(vad.rate().samples_in_ms(20)) {
        given += frame.len();
        vad.process(frame, |event| events.push((event, given)));
    }
    events
}

fn vad(rate: SampleRate) -> Vad {
    Vad::new(rate, VadSettings::default())
}

/// How one voice is found in noise: a second of noise, the voice in it, three seconds of noise.
#[derive(Debug)]
struct Found {
    /// From the voice's first sample to the event, ms; `None`: never.
    latency_ms: Option<f64>,
    /// From the voice's last sample to the last `Stopped`, ms.
    ended_ms: Option<f64>,
    /// Starts in the second before.
    early: usize,
}

fn find(voice: &[i16], noise: Option<(Noise, f64)>) -> Found {
    let mut speech = vec![0; RATE];
    speech.extend(voice);
    let end = speech.len();
    speech.resize(end + 3 * RATE, 0);
    if let Some((noise, snr_db)) = noise {
        speech = mixed(&speech, &noise.samples(speech.len(), below(snr_db)));
    }
    let events = listen(&mut vad(SampleRate::HZ_8000), &speech);
    let ms = |samples: usize| samples as f64 / 8.0;
    let started = |event: &VadEvent| matches!(event, VadEvent::Started { .. });
    let latency = events.iter().find(|(event, given)| started(event) && (RATE..end).contains(given));
    let stopped = events.iter().rfind(|(event, given)| !started(event) && *given > end);
    Found {
        latency_ms: latency.map(|(_, given)| ms(given - RATE)),
        ended_ms: stopped.map(|(_, given)| ms(given - end)),
        early: events.iter().filter(|(event, given)| started(event) && *given < RATE).count(),
    }
}

/// How often a minute noise alone counts as speech, and for which part of it.
fn false_triggers(noise: Noise, level: f64) -> (usize, f64) {
    let sound = noise.samples(60 * RATE, level);
    let (mut starts, mut speaking_since, mut spoken) = (0, None, 0);
    for (event, _) in listen(&mut vad(SampleRate::HZ_8000), &sound) {
        match event {
            VadEvent::Started { at, .. } => (starts, speaking_since) = (starts + 1, Some(at)),
            VadEvent::Stopped { at, .. } => spoken += at - speaking_since.take().unwrap(),
            VadEvent::Lasting { .. } => {}
        }
    }
    spoken += speaking_since.map_or(0, |since| sound.len() as u64 - since);
    (starts, spoken as f64 / sound.len() as f64)
}

/// Prints the table of the documentation, and holds it to that.
#[test]
fn the_figures() {
    let documented = include_str!("../../src/dsp/vad.rs");
    let cases =
        [Noise::White, Noise::Babble].into_iter().flat_map(|noise| [20.0, 10.0, 5.0].map(|snr| Some((noise, snr))));
    for case in std::iter::once(None).chain(cases) {
        let found: Vec<_> = voices().iter().map(|voice| find(voice, case)).collect();
        let mut latencies: Vec<_> = found.iter().filter_map(|found| found.latency_ms).collect();
        latencies.sort_by(f64::total_cmp);
        let (name, snr, alone) = match case {
            None => {
                assert_eq!(listen(&mut vad(SampleRate::HZ_8000), &vec![0; 60 * RATE]), []);
                ("none".to_owned(), "-".to_owned(), "no start".to_owned())
            }
            Some((noise, snr)) => {
                let (starts, part) = false_triggers(noise, below(snr));
                let alone = match starts {
                    0 => "no start".to_owned(),
                    starts => format!("{starts} starts, {:.0} % of the time", part * 100.0),
                };
                (format!("{noise:?}").to_lowercase(), format!("{snr:.0} dB"), alone)
            }
        };
        let each = latencies.iter().map(|ms| format!("{ms:.0}")).collect::<Vec<_>>().join(", ");
        let row = format!("//! | {name} | {snr} | {} of {} | {each} | {alone} |", latencies.len(), found.len());
        println!("{row}");
        assert!(documented.contains(&row), "not in the documentation: {row}");
    }
}

/// In which a voice must be found, and the noise must not be taken for one.
const EASY: [Option<(Noise, f64)>; 5] = [
    None,
    Some((Noise::White, 20.0)),
    Some((Noise::White, 10.0)),
    Some((Noise::White, 5.0)),
    Some((Noise::Babble, 20.0)),
];

#[test]
fn a_voice_is_found_within_160_ms_and_not_before_it_speaks() {
    for case in EASY {
        for (voice, name) in voices().iter().zip(VOICES) {
            let found = find(voice, case);
            let latency = found.latency_ms.unwrap_or(f64::INFINITY);
            assert!((60.0..=160.0).contains(&latency) && found.early == 0, "{name} in {case:?}: {found:?}");
        }
    }
}

#[test]
fn the_end_of_a_voice_is_found_after_the_hangover() {
    for case in [None, Some((Noise::White, 20.0)), Some((Noise::White, 10.0)), Some((Noise::Babble, 20.0))] {
        for (voice, name) in voices().iter().zip(VOICES) {
            // A voice dies away before its last sample, and the network forgets it slowly in noise.
            let ended = find(voice, case).ended_ms.unwrap_or(f64::INFINITY);
            assert!((400.0..=1_200.0).contains(&ended), "{name} in {case:?}: {ended} ms");
        }
    }
}

#[test]
fn a_minute_of_noise_alone_is_no_speech() {
    for (noise, snr) in EASY.into_iter().flatten() {
        assert_eq!(false_triggers(noise, below(snr)), (0, 0.0), "{noise:?}, {snr} dB below the voices");
    }
    let silence = vec![0; 60 * RATE];
    assert_eq!(listen(&mut vad(SampleRate::HZ_8000), &silence), []);
}

#[test]
fn a_voice_is_found_at_every_rate_at_the_same_place() {
    let mut speech = vec![0; RATE];
    speech.extend(&voices()[0]);
    speech.resize(speech.len() + RATE, 0);
    let seconds = |events: &[(VadEvent, usize)], hz: u32| -> Vec<f64> {
        let at = |event: &VadEvent| match *event {
            VadEvent::Started { at, .. } | VadEvent::Lasting { at, .. } | VadEvent::Stopped { at, .. } => {
                at as f64 / f64::from(hz)
            }
        };
        events.iter().map(|(event, _)| at(event)).collect()
    };
    let expected = seconds(&listen(&mut vad(SampleRate::HZ_8000), &speech), 8_000);
    assert!(expected.len() >= 2);
    assert!((expected[0] - 1.0).abs() < 0.1, "it begins after a second: {expected:?}");
    for hz in [11_025, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000] {
        let rate = SampleRate::new(hz).unwrap();
        let (mut resampler, mut wide) = (Resampler::new(SampleRate::HZ_8000, rate, 1), Vec::new());
        resampler.process(&speech, &mut wide);
        resampler.drain(&mut wide);
        let found = seconds(&listen(&mut vad(rate), &wide), hz);
        assert_eq!(found.len(), expected.len(), "{hz} Hz: {found:?} for {expected:?}");
        for (found, expected) in found.iter().zip(&expected) {
            assert!((found - expected).abs() <= 0.033, "{hz} Hz: {found} for {expected} s");
        }
    }
}

#[test]
fn how_the_stream_is_cut_makes_no_difference() {
    let mut speech = Noise::White.samples(RATE, below(20.0));
    speech.extend(&voices()[1]);
    speech.resize(speech.len() + RATE, 0);
    let events = |chunk: usize| {
        let (mut vad, mut events) = (vad(SampleRate::HZ_8000), Vec::new());
        speech.chunks(chunk).for_each(|chunk| vad.process(chunk, |event| events.push(event)));
        events
    };
    let whole = events(usize::MAX);
    assert!(whole.len() >= 2);
    for chunk in [1, 7, 127, 160, 240, 4_000] {
        assert_eq!(events(chunk), whole, "{chunk}");
    }
}

#[test]
fn speech_must_last_as_long_as_it_is_said() {
    let ms = Duration::from_millis;
    let settings = VadSettings::new(0.5, ms(400), ms(200)).unwrap();
    let heard = |len: usize| {
        let mut speech = vec![0; RATE];
        speech.extend(&voices()[0][..len]);
        speech.resize(3 * RATE, 0);
        listen(&mut Vad::new(SampleRate::HZ_8000, settings), &speech)
    };
    assert_eq!(heard(RATE / 8), [], "a mere sound does not interrupt");
    let (first, given) = heard(RATE * 3 / 2)[0];
    assert!(matches!(first, VadEvent::Started { .. }) && given >= RATE + RATE * 2 / 5, "{first:?} at {given}");
}

#[test]
fn a_reset_begins_a_new_stream() {
    let mut vad = vad(SampleRate::HZ_8000);
    listen(&mut vad, &voices()[0]);
    assert!(vad.is_speech());
    vad.reset();
    assert!(!vad.is_speech() && vad.score() == 0.0);
    let mut fresh = self::vad(SampleRate::HZ_8000);
    assert_eq!(listen(&mut vad, &voices()[2]), listen(&mut fresh, &voices()[2]));
}
