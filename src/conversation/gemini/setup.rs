//! From an operator's options to the engine of one call.
//!
//! Pure; on the API or dialplan thread. The key goes with a header and never into the URL.

use serde_json::Map;
#[cfg(test)]
use serde_json::json;

use super::super::address::{self, HeaderName};
use super::super::agent::{AgentConfig, Builtin, Remarks, SpeechTrigger, VoiceMode};
use super::super::engine::Engine;
use super::super::functions::Function;
use super::super::options::{AiOptions, Detection, WireAudio};
use super::super::services::{GEMINI, KeyUse, ServiceOptions};
use super::super::setup::{HeaderList, Setup};
use super::engine::{Config, Gemini};
use super::profile::{self, Profile, Turns};
use super::schema;
use crate::peer::{Place, Target};
use crate::units::Secret;

/// Where the service is.
const USUAL: &str = "wss://generativelanguage.googleapis.com";
/// The whole path of its sessions.
const PATH: &str = "/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent";
/// How the path of every base URL ends.
const TAIL: &str = "BidiGenerateContent";
/// What the path has at Vertex AI.
const VERTEX: &str = "google.cloud.aiplatform";

/// The options do not make a conversation. The text is the reply to the operator.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadOptions {
    /// Nobody gave a key.
    #[error(
        "no API key: set gemini_api_key in audio_stream.conf.xml or GEMINI_API_KEY in FreeSWITCH's environment, or \
         gemini_auth=none for a server of your own that wants none"
    )]
    NoKey,
    /// The service wants one.
    #[error("gemini_auth=none needs gemini_base_url, the server that wants no key")]
    KeyNeeded,
    /// Nobody gave a model.
    #[error("no model: set gemini_model; models have end dates, so none is built in")]
    NoModel,
    /// There is no server of that address.
    #[error("gemini_base_url: {0}")]
    Url(String),
    /// A header cannot be sent.
    #[error("header '{0}' has a character that a header cannot have")]
    Header(HeaderName),
    /// The service cannot do it.
    #[error("Gemini cannot do what is asked: {0}")]
    Refused(&'static str),
    /// It does not take a function.
    #[error("tools: the parameters of '{0}': {1}")]
    Function(String, String),
}

/// Whether an option is asked for.
type Asked = fn(&AiOptions) -> bool;

const fn service_finds(options: &AiOptions) -> bool {
    !matches!(options.turn_detection, Detection::Local)
}

/// What it cannot do, and what to do instead.
const REFUSED: &[(Asked, &str)] = &[
    (|options| options.output == VoiceMode::Synthesis, "ai_output=tts: its models only speak"),
    (|options| options.turn_detection == Detection::Semantic, "turn_detection: give server_vad or local"),
    (
        |options| {
            service_finds(options) && options.vad_threshold.to_bits() != AiOptions::default().vad_threshold.to_bits()
        },
        "vad_threshold: use gemini_start_sensitivity and gemini_end_sensitivity",
    ),
    (
        |options| service_finds(options) && options.vad_prefix_padding_ms != AiOptions::default().vad_prefix_padding_ms,
        "vad_prefix_padding_ms: use gemini_speech_ms",
    ),
    (|options| options.vad_idle_timeout_ms > 0, "vad_idle_timeout_ms: use idle_timeout_ms, which is the module's own"),
    (
        |options| service_finds(options) && (options.barge_in_min_ms > 0 || options.false_interruption_ms > 0),
        "barge_in_min_ms and false_interruption_ms: it interrupts itself at once; use turn_detection=local with them",
    ),
    (
        |options| options.interruption_ignore != Remarks::default(),
        "interruption_ignore: it answers a turn before its words are known",
    ),
    (|options| options.noise_reduction.is_some(), "noise_reduction: use noise_suppression, which is the module's own"),
    (|options| options.audio != WireAudio::Auto, "ai_audio: it gets linear audio at 16 kHz and gives linear audio"),
    (|options| options.speed.is_some(), "speed: remove it"),
    (|options| !options.transcription_model.is_empty(), "transcription_model: it transcribes by itself; remove it"),
    (
        |options| options.tool_filler.is_some(),
        "tool_filler: it is silent until a function has returned; use thinking_sound",
    ),
    (|options| !options.mcp_servers.is_empty(), "mcp_servers: use tools and tool_url, which the module carries out"),
    (
        |options| !matches!(options.tool_choice.as_deref(), None | Some("auto" | "none")),
        "tool_choice: give auto or none",
    ),
    (|options| options.parallel_tool_calls.is_some(), "parallel_tool_calls: remove it"),
    (|options| !options.session_fields.is_empty(), "openai_session: use gemini_setup"),
    (|options| options.raw_events.is_some(), "raw_events: remove it"),
    (
        |options| options.reasoning_effort.as_deref().is_some_and(|effort| !EFFORTS.contains(&effort)),
        "reasoning_effort: give minimal, low, medium, high or xhigh",
    ),
];

/// How much a model may think.
const EFFORTS: [&str; 5] = ["minimal", "low", "medium", "high", "xhigh"];

fn account(options: &AiOptions) -> ServiceOptions {
    options.services.of(GEMINI).cloned().unwrap_or_default()
}

fn has_text(text: &Option<String>) -> Option<&str> {
    text.as_deref().map(str::trim).filter(|text| !text.is_empty())
}

/// Where the sessions are said to be and what gives them a key, for the rule that a key stays with its server.
pub fn place(options: &AiOptions) -> Place {
    let account = account(options);
    Place {
        url: has_text(&account.base_url).map(str::to_owned),
        url_option: "gemini_base_url".to_owned(),
        usual: USUAL,
        key_options: vec!["gemini_api_key".to_owned()],
        has_key: account.api_key.is_some() && account.auth != KeyUse::None,
    }
}

/// Where the sessions are. `headers` go with the module's own.
///
/// Errors where no attempt can succeed: without a key, a model or a usable URL, or if the service cannot do what is asked.
pub fn check(options: &AiOptions, headers: HeaderList) -> Result<Target, BadOptions> {
    if let Some((_, advice)) = REFUSED.iter().find(|(asked, _)| asked(options)) {
        return Err(BadOptions::Refused(advice));
    }
    for tool in &options.tools {
        schema::check(&tool.parameters).map_err(|why| BadOptions::Function(tool.name.clone(), why))?;
    }
    let account = account(options);
    let key = account.api_key.as_ref().map(|key| key.expose().trim()).filter(|key| !key.is_empty());
    let base = has_text(&account.base_url);
    let authorization = |scheme: &str, key: &str| ("Authorization".to_owned(), Secret::new(format!("{scheme} {key}")));
    let header = match (account.auth, key) {
        (KeyUse::None, _) if base.is_some() => None,
        (KeyUse::None, _) => return Err(BadOptions::KeyNeeded),
        (_, None) => return Err(BadOptions::NoKey),
        (KeyUse::Bearer, Some(key)) => Some(authorization("Bearer", key)),
        (KeyUse::Basic, Some(key)) => Some(authorization("Basic", key)),
        (KeyUse::Auto | KeyUse::ApiKey, Some(key)) => Some(("x-goog-api-key".to_owned(), Secret::new(key))),
    };
    if account.model.trim().is_empty() {
        return Err(BadOptions::NoModel);
    }
    let mut url = address::websocket(base.unwrap_or(USUAL)).map_err(BadOptions::Url)?;
    if url.query_pairs().any(|(name, _)| name == "key" || name == "access_token") {
        return Err(BadOptions::Url("a key in the URL would reach the log: use gemini_api_key".to_owned()));
    }
    address::complete(&mut url, PATH, TAIL);
    let headers: Vec<_> = header.into_iter().chain(headers).collect();
    match address::unsendable(&headers) {
        Some(name) => Err(BadOptions::Header(name)),
        None => Ok(Target { url: url.into(), headers, secret: None }),
    }
}

/// The engine of one call.
pub fn make(setup: Setup<'_>) -> Result<Box<dyn Engine>, BadOptions> {
    let target = check(setup.options, setup.headers)?;
    let profile = profile(setup.options, setup.policy, &target);
    Ok(Box::new(Gemini::new(Config { target, profile, ready_timeout: READY, profile_of })))
}

/// How long the service may take to confirm a session.
const READY: std::time::Duration = std::time::Duration::from_secs(10);

/// The profile of options that have been changed, which were checked.
fn profile_of(options: &AiOptions) -> Profile {
    let target = check(options, Vec::new()).unwrap_or_default();
    profile(options, &options.policy(), &target)
}

fn profile(options: &AiOptions, policy: &AgentConfig, target: &Target) -> Profile {
    let own = &options.gemini;
    let some = |ms: u32| (ms > 0).then_some(ms);
    let turns = match options.turn_detection {
        // Of turns that count by their length or by what the agent is doing, the service learns once they do.
        Detection::Local => {
            Turns::Module { streams: policy.barge_in.is_at_once() && policy.barge_in.speech != SpeechTrigger::Off }
        }
        Detection::Server | Detection::Semantic => Turns::Service(profile::Detection {
            start: own.start_sensitivity,
            end: own.end_sensitivity,
            speech_ms: some(own.speech_ms),
            silence_ms: Some(options.vad_silence_duration_ms),
        }),
    };
    let model = account(options).model.trim().to_owned();
    let model = if model.contains('/') { model } else { format!("models/{model}") };
    let mut tools = options.tools.clone();
    tools.retain(|tool| Builtin::named(&tool.name).is_none());
    let builtin = policy.tools.functions();
    tools.extend(builtin.map(|(name, description, parameters)| Function::new(name, description, parameters)));
    if options.tool_choice.as_deref() == Some("none") {
        tools.clear();
    }
    let words = options.transcription_prompt.split(',').map(str::trim).filter(|word| !word.is_empty());
    let developer = !target.url.contains(VERTEX);
    Profile {
        model,
        system: options.system_prompt.clone(),
        voice: options.voice.clone(),
        max_output_tokens: options.max_response_tokens,
        thinking_level: options.reasoning_effort.as_deref().map(str::to_uppercase),
        tools,
        turns,
        interrupts: policy.barge_in.speech != SpeechTrigger::Off,
        compression_tokens: some(own.compression_tokens),
        language: (!options.transcription_language.is_empty()).then(|| options.transcription_language.clone()),
        vocabulary: words.map(str::to_owned).collect(),
        developer,
        fields: own.setup.clone(),
    }
}

/// What the fuzzer's engine is made of.
pub(super) fn fuzzed() -> Config {
    let turns = Turns::Service(profile::Detection::default());
    let profile = Profile {
        model: "models/m".to_owned(),
        system: String::new(),
        voice: None,
        max_output_tokens: None,
        thinking_level: None,
        tools: Vec::new(),
        turns,
        interrupts: true,
        compression_tokens: None,
        language: None,
        vocabulary: Vec::new(),
        developer: true,
        fields: Map::new(),
    };
    Config { target: Target::default(), profile, ready_timeout: READY, profile_of }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use super::*;
    use crate::conversation::engine::TurnTaking;
    use crate::conversation::engines::find;
    use crate::conversation::plan::AiPlan;
    use crate::units::SampleRate;

    pub(crate) fn options(given: &[(&str, &str)]) -> AiOptions {
        let own = [("engine", "gemini"), ("gemini_api_key", "AIza-1"), ("gemini_model", "gemini-live")];
        crate::conversation::golden::options(&own, given)
    }

    fn target(given: &[(&str, &str)]) -> (String, Vec<String>) {
        let target = check(&options(given), vec![("X-A".into(), Secret::new("b"))]).unwrap();
        let shown = target.headers.iter().map(|(name, value)| format!("{name}: {}", value.expose()));
        (target.url.clone(), shown.collect())
    }

    #[test]
    fn the_key_is_in_a_header_and_never_in_the_url() {
        let google = "wss://generativelanguage.googleapis.com/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent";
        assert_eq!(target(&[]), (google.to_owned(), vec!["x-goog-api-key: AIza-1".into(), "X-A: b".into()]));
        let vertex = "https://us-central1-aiplatform.googleapis.com/ws/google.cloud.aiplatform.v1.LlmBidiService/BidiGenerateContent";
        let (url, headers) = target(&[("gemini_base_url", vertex), ("gemini_auth", "bearer")]);
        assert_eq!(
            (url.as_str(), headers[0].as_str()),
            (vertex.replace("https", "wss").as_str(), "Authorization: Bearer AIza-1")
        );
        let (url, headers) = target(&[("gemini_base_url", "ws://127.0.0.1:9"), ("gemini_auth", "none")]);
        assert!(url.starts_with("ws://127.0.0.1:9/ws/google.ai.") && headers == ["X-A: b"], "{url} {headers:?}");
        let refused = |given: &[(&str, &str)]| check(&options(given), Vec::new()).unwrap_err().to_string();
        for query in ["key", "access_token"] {
            let message = refused(&[("gemini_base_url", &format!("wss://h/?{query}=hunter2"))]);
            assert_eq!(message, "gemini_base_url: a key in the URL would reach the log: use gemini_api_key");
        }
        assert!(refused(&[("gemini_api_key", "")]).starts_with("no API key: set gemini_api_key in "));
        assert!(refused(&[("gemini_model", "")]).starts_with("no model: set gemini_model"));
        assert!(refused(&[("gemini_auth", "none")]).starts_with("gemini_auth=none needs gemini_base_url"));
        assert!(refused(&[("gemini_base_url", "ftp://h")]).contains("scheme 'ftp' is not one of"));
    }

    #[test]
    fn what_it_cannot_do_is_refused_with_advice() {
        for (key, value, advice) in [
            ("ai_output", "tts", "ai_output=tts: its models only speak"),
            ("turn_detection", "semantic_vad", "turn_detection: give server_vad or local"),
            ("vad_threshold", "0.4", "vad_threshold: use gemini_start_sensitivity"),
            ("vad_prefix_padding_ms", "200", "vad_prefix_padding_ms: use gemini_speech_ms"),
            ("vad_idle_timeout_ms", "6000", "vad_idle_timeout_ms: use idle_timeout_ms"),
            ("barge_in_min_ms", "300", "barge_in_min_ms and false_interruption_ms"),
            ("false_interruption_ms", "900", "barge_in_min_ms and false_interruption_ms"),
            ("interruption_ignore", "okay", "interruption_ignore: it answers"),
            ("noise_reduction", "near_field", "noise_reduction: use noise_suppression"),
            ("ai_audio", "pcmu", "ai_audio: it gets linear audio"),
            ("speed", "1.2", "speed: remove it"),
            ("transcription_model", "m", "transcription_model: it transcribes by itself"),
            ("tool_filler", "One moment.", "tool_filler: it is silent until"),
            ("mcp_servers", r#"[{"server_label":"s","server_url":"https://h"}]"#, "mcp_servers: use tools"),
            ("tool_choice", "required", "tool_choice: give auto or none"),
            ("parallel_tool_calls", "true", "parallel_tool_calls: remove it"),
            ("openai_session", r#"{"a":1}"#, "openai_session: use gemini_setup"),
            ("raw_events", "on", "raw_events: remove it"),
            ("reasoning_effort", "some", "reasoning_effort: give minimal"),
        ] {
            let message = check(&options(&[(key, value)]), Vec::new()).unwrap_err().to_string();
            assert!(message.starts_with(&format!("Gemini cannot do what is asked: {advice}")), "{key}: {message}");
        }
        let reference = r##"[{"name":"f","parameters":{"properties":{"a":{"$ref":"#/b"}}}}]"##;
        let message = check(&options(&[("tools", reference)]), Vec::new()).unwrap_err().to_string();
        assert_eq!(message, "tools: the parameters of 'f': has a $ref, which Gemini does not take");
        // With the module's own detection some of it can be.
        let local = [("turn_detection", "local"), ("barge_in_min_ms", "300"), ("vad_prefix_padding_ms", "200")];
        assert!(check(&options(&local), Vec::new()).is_ok());
    }

    #[test]
    fn options_become_the_session_and_the_policy() {
        let plan = |given: &[(&str, &str)]| {
            let options = options(given);
            AiPlan::new(find("gemini").unwrap(), &options, Vec::new(), SampleRate::HZ_8000, None).unwrap().agent
        };
        assert_eq!(plan(&[]).turns, TurnTaking::Engine { responds: true, interrupts: true });
        assert_eq!(plan(&[("barge_in", "off")]).turns, TurnTaking::Engine { responds: true, interrupts: false });
        let local = plan(&[("turn_detection", "local")]);
        assert_eq!((local.turns, local.barge_in.speech), (TurnTaking::Local, SpeechTrigger::Local));
        let made = |given: &[(&str, &str)]| {
            let options = options(given);
            profile(&options, &options.policy(), &check(&options, Vec::new()).unwrap())
        };
        assert_eq!(made(&[("turn_detection", "local")]).turns, Turns::Module { streams: true });
        for waits in [("barge_in_min_ms", "300"), ("false_interruption_ms", "900"), ("barge_in", "off")] {
            assert_eq!(
                made(&[("turn_detection", "local"), waits]).turns,
                Turns::Module { streams: false },
                "{waits:?}"
            );
        }
        let whole = made(&[
            ("system_prompt", "Be brief."),
            ("voice", "Puck"),
            ("max_response_tokens", "200"),
            ("reasoning_effort", "low"),
            ("builtin_tools", "hang_up"),
            (
                "tools",
                r#"[{"name":"look_up","description":"Looks up.","parameters":{"type":"object","properties":{"n":{"type":"integer"}}}}]"#,
            ),
            ("gemini_start_sensitivity", "low"),
            ("gemini_end_sensitivity", "high"),
            ("gemini_speech_ms", "100"),
            ("gemini_compression_tokens", "20000"),
            ("gemini_setup", r#"{"generationConfig":{"temperature":0.4},"labels":{"a":"b"}}"#),
            ("transcription_language", "de-DE"),
            ("transcription_prompt", "Müller, Meier"),
            ("barge_in", "off"),
        ]);
        let setup: serde_json::Value = serde_json::from_str(&whole.setup(None)).unwrap();
        let hang_up = &setup["setup"]["tools"][0]["functionDeclarations"][1];
        assert_eq!((&hang_up["name"], &hang_up["behavior"]), (&json!("hang_up"), &json!("BLOCKING")));
        let expected = json!({
            "model": "models/gemini-live",
            "generationConfig": {"responseModalities": ["AUDIO"], "maxOutputTokens": 200, "temperature": 0.4,
                "speechConfig": {"voiceConfig": {"prebuiltVoiceConfig": {"voiceName": "Puck"}}},
                "thinkingConfig": {"thinkingLevel": "LOW"}},
            "systemInstruction": {"parts": [{"text": "Be brief."}]},
            "tools": [{"functionDeclarations": [{"name": "look_up", "description": "Looks up.", "behavior": "BLOCKING",
                "parameters": {"type": "OBJECT", "properties": {"n": {"type": "INTEGER"}}}}, hang_up]}],
            "realtimeInputConfig": {"activityHandling": "NO_INTERRUPTION", "automaticActivityDetection": {
                "startOfSpeechSensitivity": "START_SENSITIVITY_LOW", "endOfSpeechSensitivity": "END_SENSITIVITY_HIGH",
                "prefixPaddingMs": 100, "silenceDurationMs": 500}},
            "inputAudioTranscription": {"languageCodes": ["de-DE"], "customVocabulary": ["Müller", "Meier"]},
            "outputAudioTranscription": {}, "sessionResumption": {}, "labels": {"a": "b"},
            "contextWindowCompression": {"triggerTokens": 20000, "slidingWindow": {}},
            "historyConfig": {"initialHistoryInClientContent": true}});
        assert_eq!(setup["setup"], expected);
        let again: serde_json::Value = serde_json::from_str(&whole.setup(Some("h"))).unwrap();
        assert_eq!(again["setup"]["sessionResumption"], json!({"handle": "h"}));
        assert!(again["setup"]["historyConfig"].is_null());
        assert_eq!(made(&[("gemini_model", "projects/p/models/m")]).model, "projects/p/models/m");
        assert!(made(&[("builtin_tools", "hang_up"), ("tool_choice", "none")]).tools.is_empty());
    }
}
