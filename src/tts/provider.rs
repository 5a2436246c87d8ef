//! Who can speak: one row for each provider, and for those that are asked over HTTP the request.
//!
//! Pure; the requests are made elsewhere. Sources of the wire formats: the providers' API references.

use std::ops::RangeInclusive;

use bytes::Bytes;
use serde::Serialize;

use super::error::{Severity, SpeechError};
use super::voice::{Ask, How, OutputFormat, Voice};
use super::wav::Expected;
use crate::transport::{Endpoint, Headers, HttpRequest};
use crate::units::{Encoding, Law, SampleRate, Secret};

/// A provider.
#[derive(Debug)]
pub(super) struct Row {
    /// The word of the settings.
    pub(super) name: &'static str,
    /// Its usual place.
    pub(super) url: &'static str,
    /// The variable of the environment with its key; none: it takes no key.
    pub(super) key_variable: Option<&'static str>,
    /// Where else the key comes from, for the documentation; empty: from that variable.
    pub(super) other_key: &'static str,
    /// Channel variables of the older modules: the setting of the voice, and the name.
    pub(super) older_variables: &'static [(&'static str, &'static str)],
    /// The voice where none is set.
    pub(super) voice: &'static str,
    pub(super) needs_voice: bool,
    pub(super) needs_model: bool,
    /// The speeds it accepts.
    pub(super) speed: RangeInclusive<f32>,
    /// Whether a model can be given the text before a sentence.
    pub(super) takes_previous: fn(Option<&str>) -> bool,
    pub(super) how: How,
}

impl Row {
    /// The speed nearest to this one that it accepts.
    pub(super) fn nearest_speed(&self, speed: f32) -> f32 {
        speed.clamp(*self.speed.start(), *self.speed.end())
    }
}

/// The providers.
pub(super) const ROWS: &[Row] = &[
    Row {
        name: "elevenlabs",
        url: "https://api.elevenlabs.io",
        key_variable: Some("ELEVENLABS_API_KEY"),
        other_key: "",
        older_variables: &[
            ("api_key", "AI_ELEVENLABS_API_KEY"),
            ("voice", "AI_ELEVENLABS_VOICE_ID"),
            ("model", "AI_ELEVENLABS_MODEL_ID"),
            ("stability", "AI_ELEVENLABS_STABILITY"),
            ("similarity_boost", "AI_ELEVENLABS_SIMILARITY_BOOST"),
        ],
        voice: "",
        needs_voice: true,
        needs_model: false,
        speed: 0.7..=1.2,
        // The models of the third generation refuse the whole request.
        takes_previous: |model| model.is_none_or(|model| !model.starts_with("eleven_v3")),
        how: How::Http(elevenlabs),
    },
    Row {
        name: "elevenlabs_ws",
        url: "https://api.elevenlabs.io",
        key_variable: Some("ELEVENLABS_API_KEY"),
        other_key: "",
        older_variables: &[],
        voice: "",
        needs_voice: true,
        needs_model: false,
        speed: 0.7..=1.2,
        takes_previous: |_| false,
        // What is known beforehand, for the cache, is asked for like that of the row above.
        how: How::Stream(elevenlabs),
    },
    Row {
        name: "openai",
        url: "https://api.openai.com/v1",
        key_variable: Some("OPENAI_API_KEY"),
        other_key: "At OpenAI itself, `openai_api_key` is used if this is not set.",
        older_variables: &[("voice", "AI_OPENAI_TTS_VOICE")],
        voice: "",
        needs_voice: true,
        needs_model: true,
        speed: 0.25..=4.0,
        takes_previous: |_| false,
        how: How::Http(openai),
    },
    Row {
        name: "deepgram",
        url: "https://api.deepgram.com",
        key_variable: Some("DEEPGRAM_API_KEY"),
        other_key: "",
        older_variables: &[],
        voice: "",
        needs_voice: true,
        needs_model: false,
        speed: 0.7..=1.5,
        takes_previous: |_| false,
        how: How::Http(deepgram),
    },
    Row {
        name: "cartesia",
        url: "https://api.cartesia.ai",
        key_variable: Some("CARTESIA_API_KEY"),
        other_key: "",
        older_variables: &[],
        voice: "",
        needs_voice: true,
        needs_model: true,
        speed: 0.6..=1.5,
        takes_previous: |_| false,
        how: How::Http(cartesia),
    },
    Row {
        name: "command",
        url: "",
        key_variable: None,
        other_key: "",
        older_variables: &[],
        voice: "en",
        needs_voice: false,
        needs_model: false,
        speed: 0.25..=4.0,
        takes_previous: |_| false,
        how: How::Program,
    },
];

#[derive(Serialize)]
struct ElevenLabs<'a> {
    text: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    model_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    language_code: Option<&'a str>,
    #[serde(skip_serializing_if = "VoiceSettings::is_empty")]
    voice_settings: VoiceSettings,
    #[serde(skip_serializing_if = "Option::is_none")]
    previous_text: Option<&'a str>,
}

#[derive(Serialize)]
pub(super) struct VoiceSettings {
    #[serde(skip_serializing_if = "Option::is_none")]
    stability: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    similarity_boost: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    style: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    speed: Option<f32>,
}

impl VoiceSettings {
    pub(super) const fn of(voice: &Voice) -> Self {
        Self {
            stability: voice.stability,
            similarity_boost: voice.similarity_boost,
            style: voice.style,
            speed: voice.speed,
        }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.stability.is_none() && self.similarity_boost.is_none() && self.style.is_none() && self.speed.is_none()
    }
}

/// `POST /v1/text-to-speech/{voice}/stream`: raw audio in the format of the query, as it is made.
fn elevenlabs(ask: &Ask<'_>) -> Result<(HttpRequest, Expected), SpeechError> {
    let voice = ask.voice;
    let expected = raw(ask);
    let format = match expected.encoding {
        Encoding::G711(_) => "ulaw_8000".to_owned(),
        _ => format!("pcm_{}", expected.rate),
    };
    let id = in_url(&voice.voice);
    let url = format!("{}/v1/text-to-speech/{id}/stream?output_format={format}", voice.url);
    let body = ElevenLabs {
        text: ask.text,
        model_id: voice.model.as_deref(),
        language_code: voice.language.as_deref(),
        voice_settings: VoiceSettings::of(voice),
        previous_text: ask.previous,
    };
    let key = voice.api_key.as_ref().map(|key| ("xi-api-key", key.clone()));
    Ok((post(ask, &url, key, &body)?, expected))
}

/// Raw audio of a provider that has the usual rates and µ-law.
pub(super) fn raw(ask: &Ask<'_>) -> Expected {
    match ask.voice.format {
        OutputFormat::Mulaw => Expected { encoding: Encoding::G711(Law::Mu), rate: SampleRate::HZ_8000 },
        OutputFormat::Pcm(rate) => Expected { encoding: Encoding::S16Le, rate },
        // WAV is none of the streamed formats. Above 24 kHz speech gains nothing, and some accounts have no more.
        OutputFormat::Auto | OutputFormat::Wav => Expected {
            encoding: Encoding::S16Le,
            rate: match ask.rate.hz() {
                ..=8_000 => SampleRate::HZ_8000,
                8_001..=16_000 => SampleRate::HZ_16000,
                _ => SampleRate::HZ_24000,
            },
        },
    }
}

/// A name as a part of a path or a query.
pub(super) fn in_url(name: &str) -> String {
    let encoded: String = url::form_urlencoded::byte_serialize(name.as_bytes()).collect();
    encoded.replace('+', "%20")
}

#[derive(Serialize)]
struct Deepgram<'a> {
    text: &'a str,
}

/// `POST /v1/speak`: raw audio in the format of the query. A voice is a model here.
fn deepgram(ask: &Ask<'_>) -> Result<(HttpRequest, Expected), SpeechError> {
    let (voice, expected) = (ask.voice, raw(ask));
    let encoding = match expected.encoding {
        Encoding::G711(_) => "mulaw",
        _ => "linear16",
    };
    let speed = voice.speed.map(|speed| format!("&speed={speed}")).unwrap_or_default();
    let (model, rate) = (in_url(&voice.voice), expected.rate);
    let url =
        format!("{}/v1/speak?model={model}&encoding={encoding}&sample_rate={rate}&container=none{speed}", voice.url);
    let key = voice.api_key.as_ref().map(|key| ("authorization", Secret::new(format!("Token {}", key.expose()))));
    Ok((post(ask, &url, key, &Deepgram { text: ask.text })?, expected))
}

/// The version of Cartesia's interface that is spoken here.
const CARTESIA_VERSION: &str = "2026-03-01";

#[derive(Serialize)]
struct Cartesia<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    model_id: Option<&'a str>,
    transcript: &'a str,
    voice: CartesiaVoice<'a>,
    output_format: CartesiaFormat,
    #[serde(skip_serializing_if = "Option::is_none")]
    language: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    generation_config: Option<CartesiaSpeed>,
}

#[derive(Serialize)]
struct CartesiaVoice<'a> {
    mode: &'static str,
    id: &'a str,
}

#[derive(Serialize)]
struct CartesiaFormat {
    container: &'static str,
    encoding: &'static str,
    sample_rate: u32,
}

#[derive(Serialize)]
struct CartesiaSpeed {
    speed: f32,
}

/// `POST /tts/bytes`: raw audio in the format of the body.
fn cartesia(ask: &Ask<'_>) -> Result<(HttpRequest, Expected), SpeechError> {
    let (voice, expected) = (ask.voice, raw(ask));
    let encoding = match expected.encoding {
        Encoding::G711(_) => "pcm_mulaw",
        _ => "pcm_s16le",
    };
    let body = Cartesia {
        model_id: voice.model.as_deref(),
        transcript: ask.text,
        voice: CartesiaVoice { mode: "id", id: &voice.voice },
        output_format: CartesiaFormat { container: "raw", encoding, sample_rate: expected.rate.hz() },
        language: voice.language.as_deref(),
        generation_config: voice.speed.map(|speed| CartesiaSpeed { speed }),
    };
    let version = ("cartesia-version", Secret::new(CARTESIA_VERSION));
    let key = voice.api_key.as_ref().map(|key| ("x-api-key", key.clone()));
    Ok((post(ask, &format!("{}/tts/bytes", voice.url), key.into_iter().chain([version]), &body)?, expected))
}

#[derive(Serialize)]
struct OpenAi<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<&'a str>,
    voice: &'a str,
    input: &'a str,
    response_format: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    speed: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    instructions: Option<&'a str>,
}

/// `POST /audio/speech` below the base URL: headerless PCM at 24 kHz, or WAV; compatible servers may answer WAV to both.
fn openai(ask: &Ask<'_>) -> Result<(HttpRequest, Expected), SpeechError> {
    let voice = ask.voice;
    let (response_format, rate) = match voice.format {
        OutputFormat::Wav => ("wav", SampleRate::HZ_24000),
        OutputFormat::Pcm(rate) => ("pcm", rate),
        OutputFormat::Auto | OutputFormat::Mulaw => ("pcm", SampleRate::HZ_24000),
    };
    let whole = voice.url.ends_with("/audio/speech");
    let url = if whole { voice.url.clone() } else { format!("{}/audio/speech", voice.url) };
    let body = OpenAi {
        model: voice.model.as_deref(),
        voice: &voice.voice,
        input: ask.text,
        response_format,
        speed: voice.speed,
        instructions: voice.instructions.as_deref(),
    };
    let key = voice.api_key.as_ref().map(|key| ("authorization", Secret::new(format!("Bearer {}", key.expose()))));
    Ok((post(ask, &url, key, &body)?, Expected { encoding: Encoding::S16Le, rate }))
}

fn post(
    ask: &Ask<'_>,
    url: &str,
    with: impl IntoIterator<Item = (&'static str, Secret)>,
    body: &impl Serialize,
) -> Result<HttpRequest, SpeechError> {
    let bad = |reason: String| {
        SpeechError::new(ask.voice.provider, Severity::Fatal, "bad_request", reason, ask.voice.api_key.as_ref())
    };
    let mut headers = Headers::default();
    for (name, value) in with {
        headers.insert(name, &value).map_err(|error| bad(error.to_string()))?;
    }
    Ok(HttpRequest {
        endpoint: Endpoint::parse_http(url).map_err(|error| bad(error.to_string()))?,
        headers,
        body: Some((
            "application/json",
            Bytes::from(serde_json::to_vec(body).map_err(|error| bad(error.to_string()))?),
        )),
        tls: ask.voice.tls.clone(),
        connect_timeout: ask.timeout,
    })
}
