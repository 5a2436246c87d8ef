//! From an operator's options to the engine of one call.
//!
//! Pure; on the API or dialplan thread. What the options' rows have checked one by one is checked here as a whole.

use serde_json::json;

use super::super::agent::{AgentConfig, Greeting};
use super::super::engine::Engine;
use super::super::options::{AiOptions, Detection, WireAudio};
use super::super::refusal::{self, IDLE, INTERRUPTS, MAX_TOKENS, MCP, NOISE_REDUCTION, Refusal, WRITES};
use super::super::setup::{HeaderList, Setup};
use super::config::Config;
use super::engine::ElevenLabs;
use super::message::Initiation;
use super::place::{Addresses, USUAL};
use crate::peer::{Place, Target};
use crate::units::{SampleRate, Secret};

/// The options do not make a conversation. The text is the reply to the operator.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadOptions {
    /// Nobody gave a key.
    #[error(
        "no API key: set elevenlabs_api_key in audio_stream.conf.xml or ELEVENLABS_API_KEY in FreeSWITCH's environment, or \
         elevenlabs_public=true for an agent that is public"
    )]
    NoKey,
    /// Nobody named an agent.
    #[error("no agent: set elevenlabs_agent_id")]
    NoAgent,
    /// There is no server of that address.
    #[error("elevenlabs_base_url: {0}")]
    Url(String),
    /// The service cannot do it.
    #[error("ElevenLabs cannot do what is asked: {0}")]
    Refused(&'static str),
}

/// What is an affair of the agent's settings, or of other services.
const REFUSED: &[Refusal] = &[
    WRITES,
    INTERRUPTS,
    MCP,
    NOISE_REDUCTION,
    MAX_TOKENS,
    IDLE,
    Refusal {
        asked: |options| options.turn_detection != Detection::Server,
        advice: "turn_detection: the agent finds the turns, as its settings say",
    },
    Refusal {
        asked: |options| {
            let usual = AiOptions::default();
            (options.vad_threshold, options.vad_prefix_padding_ms, options.vad_silence_duration_ms)
                != (usual.vad_threshold, usual.vad_prefix_padding_ms, usual.vad_silence_duration_ms)
        },
        advice: "vad_threshold, vad_prefix_padding_ms and vad_silence_duration_ms: the agent finds the turns, as its settings say",
    },
    Refusal {
        asked: |options| options.audio != WireAudio::Auto,
        advice: "ai_audio: the agent's settings say how its audio is coded, and the module does as they say",
    },
    Refusal {
        asked: |options| !options.transcription_model.is_empty(),
        advice: "transcription_model: remove it, the agent always writes down what the caller says",
    },
    Refusal {
        asked: |options| options.greeting_instructions.is_some(),
        advice: "greeting_instructions: use greeting, which becomes the agent's first message",
    },
    Refusal {
        asked: |options| options.tool_choice.is_some() || options.parallel_tool_calls.is_some(),
        advice: "tool_choice and parallel_tool_calls: remove them",
    },
    Refusal { asked: |options| !options.session_fields.is_empty(), advice: "openai_session: use elevenlabs_overrides" },
    Refusal {
        asked: |options| options.speed.is_some_and(|speed| !(0.7..=1.2).contains(&speed)),
        advice: "speed: give 0.7 to 1.2",
    },
];

/// Where the conversations are, for the log. `headers` go with the module's own.
///
/// Errors where no attempt can succeed: without an agent, a key or a usable URL, or if the service cannot do what is asked.
pub fn check(options: &AiOptions, headers: HeaderList) -> Result<Target, BadOptions> {
    let config = config(options, headers, &options.policy(), SampleRate::HZ_8000)?;
    Ok(Target { url: config.addresses.conversation, headers: config.headers, secret: None })
}

/// Where the service is said to be and what gives it a key, for the rule that a key stays with its server.
pub fn place(options: &AiOptions) -> Place {
    let hosted = &options.hosted;
    Place {
        url: hosted.base_url.clone().filter(|url| !url.trim().is_empty()),
        url_option: "elevenlabs_base_url".to_owned(),
        usual: USUAL,
        key_options: vec!["elevenlabs_api_key".to_owned()],
        has_key: key(options).is_some(),
    }
}

/// The engine of one call.
pub fn make(setup: Setup<'_>) -> Result<Box<dyn Engine>, BadOptions> {
    let Setup { options, headers, policy, rate, .. } = setup;
    config(options, headers, policy, rate).map(|config| Box::new(ElevenLabs::new(config)) as Box<dyn Engine>)
}

/// The key, where one is used.
fn key(options: &AiOptions) -> Option<&Secret> {
    let hosted = &options.hosted;
    hosted.api_key.as_ref().filter(|key| !hosted.public && !key.expose().trim().is_empty())
}

pub(super) fn config(
    options: &AiOptions,
    headers: HeaderList,
    policy: &AgentConfig,
    rate: SampleRate,
) -> Result<Config, BadOptions> {
    let hosted = &options.hosted;
    if hosted.agent_id.trim().is_empty() {
        return Err(BadOptions::NoAgent);
    }
    let key = key(options).map(|key| Secret::new(key.expose().trim()));
    if key.is_none() && !hosted.public {
        return Err(BadOptions::NoKey);
    }
    if let Some(advice) = refusal::first(REFUSED, options) {
        return Err(BadOptions::Refused(advice));
    }
    let base = hosted.base_url.as_deref().filter(|url| !url.trim().is_empty()).unwrap_or(USUAL);
    let addresses = Addresses::of(base, &hosted.agent_id, hosted.environment.as_deref()).map_err(BadOptions::Url)?;
    Ok(Config {
        addresses,
        key,
        headers,
        initiation: initiation(options),
        greeting: match &policy.greeting {
            Some(Greeting::Text(words)) => Some(words.clone()),
            // The caller hears the recording; the agent is not to greet them again.
            Some(Greeting::Recorded { .. }) => Some(String::new()),
            Some(Greeting::Instructions(_)) | None => None,
        },
        raw_events: options.raw_events,
        rate,
    })
}

fn initiation(options: &AiOptions) -> Initiation {
    let hosted = &options.hosted;
    let mut initiation = Initiation {
        overrides: hosted.overrides.clone(),
        variables: hosted.variables.clone(),
        llm_body: hosted.llm_body.clone(),
        user_id: hosted.user_id.clone(),
    };
    let some = |text: &String| Some(text.trim()).filter(|text| !text.is_empty()).map(|text| json!(text));
    let terms: Vec<&str> =
        options.transcription_prompt.split(',').map(str::trim).filter(|term| !term.is_empty()).collect();
    // As it was written: 1.1 and not the nearest number of twice the length.
    let speed = options.speed.map(|speed| json!((f64::from(speed) * 1_000.0).round() / 1_000.0));
    for (path, value) in [
        ("agent.prompt.prompt", some(&options.system_prompt)),
        ("agent.prompt.llm", some(&hosted.model)),
        ("agent.prompt.reasoning_effort", options.reasoning_effort.as_ref().and_then(some)),
        ("agent.language", some(&options.transcription_language)),
        ("tts.voice_id", options.voice.as_ref().and_then(some)),
        ("tts.speed", speed),
        ("asr.keywords", (!terms.is_empty()).then(|| json!(terms))),
    ] {
        if let Some(value) = value {
            initiation.set(path, value);
        }
    }
    initiation
}
