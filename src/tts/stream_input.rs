//! ElevenLabs' `stream-input`: a turn's text over one WebSocket, piece by piece, and its audio with the time of each character.
//!
//! Pure; the socket is elsewhere. Source of the messages: the provider's API reference and its own client (elevenlabs 2.78.0).

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::error::{Severity, SpeechError};
use super::provider::{VoiceSettings, in_url, raw};
use super::voice::{Ask, Voice};
use super::wav::Expected;
use crate::transport::{Endpoint, Headers};
use crate::units::Encoding;

/// Characters that must have come before the provider begins to speak by itself; the least it allows. Every piece is flushed anyway.
const SCHEDULE: [u32; 1] = [50];

/// Where to connect to, and what the audio will be.
pub(super) fn target(ask: &Ask<'_>) -> Result<(Endpoint, Headers, Expected), SpeechError> {
    let voice = ask.voice;
    let bad = |reason: String| {
        SpeechError::new(voice.provider, Severity::Fatal, "bad_request", reason, voice.api_key.as_ref())
    };
    let expected = raw(ask);
    let format = match expected.encoding {
        Encoding::G711(_) => "ulaw_8000".to_owned(),
        _ => format!("pcm_{}", expected.rate),
    };
    let more = [("model_id", &voice.model), ("language_code", &voice.language)];
    let more: String =
        more.iter().filter_map(|(name, value)| Some(format!("&{name}={}", in_url(value.as_deref()?)))).collect();
    // The same server as that of its requests, by another scheme.
    let base = voice.url.strip_prefix("http").map_or_else(|| voice.url.clone(), |rest| format!("ws{rest}"));
    let url = format!("{base}/v1/text-to-speech/{}/stream-input?output_format={format}{more}", in_url(&voice.voice));
    let mut headers = Headers::default();
    if let Some(key) = &voice.api_key {
        headers.insert("xi-api-key", key).map_err(|error| bad(error.to_string()))?;
    }
    Ok((Endpoint::parse(&url).map_err(|error| bad(error.to_string()))?, headers, expected))
}

#[derive(Serialize)]
struct First {
    text: &'static str,
    #[serde(skip_serializing_if = "VoiceSettings::is_empty")]
    voice_settings: VoiceSettings,
    generation_config: Schedule,
}

#[derive(Serialize)]
struct Schedule {
    chunk_length_schedule: [u32; 1],
}

#[derive(Serialize)]
struct Piece<'a> {
    text: &'a str,
    flush: bool,
}

/// What is said before any text.
pub(super) fn first(voice: &Voice) -> String {
    let generation_config = Schedule { chunk_length_schedule: SCHEDULE };
    json(&First { text: " ", voice_settings: VoiceSettings::of(voice), generation_config })
}

/// A piece of the text, to be spoken at once. Pieces follow each other with a space.
pub(super) fn piece(text: &str) -> String {
    json(&Piece { text: &format!("{} ", text.trim()), flush: true })
}

/// No more text.
pub(super) const LAST: &str = r#"{"text":""}"#;

fn json(message: &impl Serialize) -> String {
    // Serialising fails for maps with keys that are no strings only; there are none in these types.
    serde_json::to_string(message).unwrap_or_default()
}

/// What the provider says.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Said {
    /// In the form that was asked for.
    pub(super) audio: Vec<u8>,
    /// Of the characters in this message, white space apart, when each has been spoken: from the beginning of its audio.
    pub(super) ends: Vec<Duration>,
    /// There is no more of it.
    pub(super) is_final: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Message {
    audio: Option<String>,
    alignment: Option<Alignment>,
    #[serde(default)]
    is_final: Option<bool>,
    error: Option<String>,
    message: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Alignment {
    #[serde(default)]
    chars: Vec<String>,
    #[serde(default)]
    char_start_times_ms: Vec<u64>,
    #[serde(default)]
    char_durations_ms: Vec<u64>,
}

/// Reads a message. An error where the provider refuses, or cannot be understood.
pub(super) fn read(text: &str, voice: &Voice) -> Result<Said, SpeechError> {
    let key = voice.api_key.as_ref();
    let bad = |code: &str, message: String| SpeechError::new(voice.provider, Severity::Fatal, code, message, key);
    let message: Message = serde_json::from_str(text)
        .map_err(|error| bad("bad_answer", format!("it did not send a JSON object: {error}")))?;
    if let (Some(code), None) = (&message.error, &message.audio) {
        return Err(SpeechError::said(voice.provider, code, message.message.as_deref().unwrap_or(code), key));
    }
    let audio = match message.audio.as_deref() {
        None | Some("") => Vec::new(),
        Some(audio) => STANDARD.decode(audio).map_err(|error| bad("bad_audio", format!("no base64: {error}")))?,
    };
    let ends = message.alignment.map(|alignment| alignment.ends()).unwrap_or_default();
    Ok(Said { audio, ends, is_final: message.is_final == Some(true) })
}

impl Alignment {
    fn ends(&self) -> Vec<Duration> {
        let times = self.char_start_times_ms.iter().zip(&self.char_durations_ms);
        let spoken = self.chars.iter().zip(times).filter(|(text, _)| !text.trim().is_empty());
        spoken.map(|(_, (start, lasts))| Duration::from_millis(start.saturating_add(*lasts))).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::super::SpeechOptions;
    use super::*;
    use crate::options::Options as _;
    use crate::units::SampleRate;

    fn voice(pairs: &[(&str, &str)]) -> Voice {
        let mut options = SpeechOptions::default();
        let rows = SpeechOptions::rows();
        let own = [("tts_provider", "elevenlabs_ws"), ("tts_api_key", "geheim"), ("tts_voice", "Rachel")];
        for (key, value) in own.iter().chain(pairs) {
            rows.iter().find(|row| row.key == *key).unwrap().set(&mut options, value).unwrap();
        }
        options.resolve(&|_| None).unwrap().voices.remove(0)
    }

    #[test]
    fn the_connection_says_voice_model_and_format() {
        let voice = voice(&[("tts_model", "eleven_flash_v2_5"), ("tts_language", "de"), ("tts_speed", "1.125")]);
        let timeout = Duration::from_secs(1);
        let ask = Ask { voice: &voice, text: "", previous: None, rate: SampleRate::HZ_16000, timeout };
        let (endpoint, headers, expected) = target(&ask).unwrap();
        assert_eq!(
            endpoint.to_string(),
            "wss://api.elevenlabs.io/v1/text-to-speech/Rachel/stream-input?output_format=pcm_16000\
             &model_id=eleven_flash_v2_5&language_code=de"
        );
        assert_eq!((headers.names().collect::<Vec<_>>(), expected.rate), (vec!["xi-api-key"], SampleRate::HZ_16000));
        let settings =
            r#"{"text":" ","voice_settings":{"speed":1.125},"generation_config":{"chunk_length_schedule":[50]}}"#;
        assert_eq!(first(&voice), settings);
        assert_eq!(piece(" a \"b\" "), r#"{"text":"a \"b\" ","flush":true}"#);
    }

    #[test]
    fn each_character_has_the_time_at_which_it_ends() {
        let text = r#"{"audio":"AAAB","normalizedAlignment":null,"alignment":{"chars":["H","i"," ","."],
            "charStartTimesMs":[0,100,180,200],"charDurationsMs":[100,80,20,50]}}"#;
        let said = read(text, &voice(&[])).unwrap();
        assert_eq!(said.ends, [100, 180, 250].map(Duration::from_millis));
        assert_eq!((said.audio.len(), said.is_final), (3, false));
        assert_eq!(read(r#"{"isFinal":true}"#, &voice(&[])).unwrap(), Said { is_final: true, ..Said::default() });
        assert_eq!(read(r#"{"audio":null,"alignment":null,"isFinal":null}"#, &voice(&[])).unwrap(), Said::default());
    }

    #[test]
    fn what_it_refuses_has_its_own_words_and_not_the_key() {
        let text = r#"{"message":"geheim is wrong","error":"invalid_api_key","code":1008}"#;
        let error = read(text, &voice(&[])).unwrap_err();
        assert_eq!((error.code.as_str(), error.severity), ("invalid_api_key", Severity::Fatal));
        assert!(!format!("{error}").contains("geheim"), "{error}");
        let busy = read(r#"{"message":"later","error":"system_busy","code":1008}"#, &voice(&[])).unwrap_err();
        assert_eq!(busy.severity, Severity::Retryable);
        assert_eq!(read("no", &voice(&[])).unwrap_err().code, "bad_answer");
    }
}
