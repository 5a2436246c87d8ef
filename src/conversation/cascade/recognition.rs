//! A turn of the caller as a request to a recognition, and the words in its answer.
//!
//! Pure. `POST …/audio/transcriptions` with a form: the turn as a WAV file, the model, and what helps it.

use serde::Deserialize;

use super::super::engine::InputFormat;
use super::note::MOST_WORDS;
use crate::peer::Usage;

/// The boundary between the fields.
const BOUNDARY: &str = "mod-audio-stream-5f0c1a9be47d3286";
/// The form of the body.
pub(super) const CONTENT_TYPE: &str = "multipart/form-data; boundary=mod-audio-stream-5f0c1a9be47d3286";

/// What a recognition gets besides the audio.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Hints {
    pub(super) model: String,
    pub(super) language: String,
    pub(super) prompt: String,
}

/// The body of the request.
pub(super) fn body(audio: &[u8], format: InputFormat, hints: &Hints) -> Vec<u8> {
    let mut body = Vec::with_capacity(audio.len() + 1_024);
    for (name, value) in [
        ("model", hints.model.as_str()),
        ("language", &hints.language),
        ("prompt", &hints.prompt),
        ("response_format", "json"),
    ] {
        if !value.is_empty() {
            let field = format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
            body.extend_from_slice(field.as_bytes());
        }
    }
    let file = format!(
        "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"turn.wav\"\r\nContent-Type: \
         audio/wav\r\n\r\n"
    );
    body.extend_from_slice(file.as_bytes());
    body.extend_from_slice(&wav_header(audio.len(), format));
    body.extend_from_slice(audio);
    body.extend_from_slice(format!("\r\n--{BOUNDARY}--\r\n").as_bytes());
    body
}

/// The header of a WAV file with so many bytes of linear samples, mono.
fn wav_header(bytes: usize, format: InputFormat) -> [u8; 44] {
    let sample = format.encoding.sample_bytes() as u16;
    // A turn has at most a minute: far below 4 GiB.
    let (bytes, rate) = (bytes as u32, format.rate.hz());
    let mut header = [0; 44];
    let mut at = 0;
    let mut put = |part: &[u8]| {
        header[at..at + part.len()].copy_from_slice(part);
        at += part.len();
    };
    put(b"RIFF");
    put(&(36 + bytes).to_le_bytes());
    put(b"WAVEfmt ");
    put(&16_u32.to_le_bytes());
    put(&1_u16.to_le_bytes());
    put(&1_u16.to_le_bytes());
    put(&rate.to_le_bytes());
    put(&(rate * u32::from(sample)).to_le_bytes());
    put(&sample.to_le_bytes());
    put(&(sample * 8).to_le_bytes());
    put(b"data");
    put(&bytes.to_le_bytes());
    header
}

#[derive(Deserialize)]
struct Answer {
    text: String,
    #[serde(default)]
    usage: serde_json::Value,
}

/// The words of an answer, without space around them, and what they cost; `None`: it is no such answer.
pub(super) fn words(body: &[u8]) -> Option<(String, Usage)> {
    let answer: Answer = serde_json::from_slice(body).ok()?;
    let mut words = answer.text.trim().to_owned();
    let end = (0..=words.len().min(MOST_WORDS)).rev().find(|end| words.is_char_boundary(*end)).unwrap_or_default();
    words.truncate(end);
    let number =
        |name: &str| answer.usage[name].as_f64().filter(|number| (0.0..1e9).contains(number)).unwrap_or_default();
    let usage = Usage {
        transcription_tokens: (number("input_tokens") + number("output_tokens")) as u64,
        transcription_ms: (number("seconds") * 1_000.0) as u64,
        ..Usage::default()
    };
    Some((words, usage))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::{Encoding, SampleRate};

    #[test]
    fn the_turn_is_a_wav_file_in_a_form() {
        let format = InputFormat { rate: SampleRate::HZ_16000, encoding: Encoding::S16Le };
        let hints = Hints { model: "whisper-1".into(), language: "de".into(), ..Hints::default() };
        let body = body(&[1, 2, 3, 4], format, &hints);
        let text = String::from_utf8_lossy(&body);
        let end = format!("--{BOUNDARY}--\r\n");
        assert!(text.starts_with(&format!(
            "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nwhisper-1\r\n"
        )));
        assert!(
            text.contains("name=\"language\"\r\n\r\nde\r\n")
                && !text.contains("name=\"prompt\"")
                && text.ends_with(&end)
        );
        let at = text.find("RIFF").unwrap_or_default();
        let wav = &body[at..at + 48];
        assert_eq!(&wav[..4], b"RIFF");
        assert_eq!(wav[4..8], 40_u32.to_le_bytes());
        assert_eq!(wav[24..32], [0x80, 0x3e, 0, 0, 0, 0x7d, 0, 0]);
        assert_eq!(wav[32..], [2, 0, 16, 0, b'd', b'a', b't', b'a', 4, 0, 0, 0, 1, 2, 3, 4]);
    }

    #[test]
    fn the_words_of_an_answer_are_read_with_their_cost() {
        let read = |body: &str| words(body.as_bytes());
        let timed = Usage { transcription_ms: 1_500, ..Usage::default() };
        assert_eq!(
            read(r#"{"text":" Hi. \n","usage":{"type":"duration","seconds":1.5}}"#),
            Some(("Hi.".into(), timed))
        );
        assert_eq!(read(r#"{"text":""}"#), Some((String::new(), Usage::default())));
        for other in ["", "Hi.", "{}", r#"{"text":7}"#] {
            assert_eq!(read(other), None, "{other}");
        }
        let long = format!("{{\"text\":\"{}\"}}", "ä".repeat(MOST_WORDS));
        assert_eq!(read(&long).map(|(words, _)| words.len()), Some(MOST_WORDS));
    }
}
