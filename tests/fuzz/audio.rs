//! Audio that comes in containers, the refusals of who should make it, and the text that is to become audio.

use mod_audio_stream::conversation::agent::{SentenceRules, SentenceSplitter};
use mod_audio_stream::inject::{DecodeLimits, decode};
use mod_audio_stream::protocol::AudioKind;
use mod_audio_stream::tts::{fuzz_refusal, fuzz_speech};

use crate::engine::{Seeds, folder, read_all, run};

/// The audio files of the tests, cut to a length that the fuzzer keeps.
fn files() -> impl Iterator<Item = Vec<u8>> {
    read_all(&folder("tests/audio")).into_iter().map(|mut file| {
        file.truncate(8 << 10);
        file
    })
}

#[test]
fn encoded_audio() {
    let limits = DecodeLimits { ms: 5_000, ..DecodeLimits::default() };
    run("audio", Seeds::of("audio").and(files()), |data| {
        for kind in [AudioKind::Wav, AudioKind::Mp3, AudioKind::Ogg] {
            if let Ok((samples, format)) = decode(kind, data, limits) {
                let frames = samples.len() / usize::from(format.channels);
                assert!(samples.len().is_multiple_of(usize::from(format.channels)));
                assert!(frames <= format.rate.samples_in_ms(limits.ms), "{frames} at {} Hz", format.rate.hz());
            }
        }
    });
}

#[test]
fn speech_of_providers_and_programs() {
    run("speech", Seeds::of("audio").and(files()), fuzz_speech);
}

#[test]
fn refusals_of_providers() {
    run("refusal", Seeds::of("refusal"), fuzz_refusal);
}

#[test]
fn sentences_of_a_model() {
    run("sentence", Seeds::of("sentence"), |data| {
        let text = String::from_utf8_lossy(data);
        for clean in [false, true] {
            let rules = SentenceRules { clean, ..SentenceRules::default() };
            let whole = rules.sentences(&text);
            // A model writes in pieces of any length.
            let mut pieces = Vec::new();
            let mut splitter = SentenceSplitter::new(rules);
            let mut buffer = [0; 4];
            for letter in text.chars() {
                splitter.push(letter.encode_utf8(&mut buffer), |sentence| pieces.push(sentence));
            }
            splitter.finish(|sentence| pieces.push(sentence));
            assert_eq!(whole, pieces, "{text:?}");
            assert!(whole.iter().all(|sentence| !sentence.trim().is_empty()), "{whole:?}");
            if !clean {
                let letters = |text: &str| text.chars().filter(|c| c.is_alphanumeric()).collect::<String>();
                assert_eq!(letters(&whole.concat()), letters(&text), "no word is lost");
            }
        }
    });
}
