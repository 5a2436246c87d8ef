//! From an operator's options to the engine of one call.
//!
//! Pure; on the API or dialplan thread. What the options' rows have checked one by one is checked here as a whole: what the service
//! cannot do is refused by name.

use super::super::address;
use super::super::agent::{AgentConfig, Builtin, VoiceMode};
use super::super::engine::Engine;
use super::super::functions::Function;
use super::super::options::{AiOptions, Detection, WireAudio};
use super::super::refusal::{self, IDLE, INTERRUPTS, MAX_TOKENS, MCP, NOISE_REDUCTION, Refusal, SPEED};
use super::super::setup::{HeaderList, Setup};
use super::call::Profile;
use super::engine::{Config, Ultravox};
use super::place::{USUAL, calls};
use crate::peer::{Place, Target};
use crate::units::{SampleRate, Secret};

/// Longest that the service waits for a function, s, and by how much it is to wait longer than the module.
const LONGEST_TOOL_S: u32 = 40;
const SPARE_S: u32 = 5;
/// Least threshold that it takes.
const LEAST_THRESHOLD: f32 = 0.1;

/// The options do not make a conversation. The text is the reply to the operator.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadOptions {
    /// Nobody gave a key.
    #[error(
        "no API key: set ultravox_api_key in audio_stream.conf.xml or ULTRAVOX_API_KEY in FreeSWITCH's environment"
    )]
    NoKey,
    /// The URL or a header cannot be used.
    #[error("{0}: {1}")]
    Address(&'static str, String),
    /// The service cannot do it, or not so.
    #[error("Ultravox cannot do what is asked: {0}")]
    Refused(&'static str),
}

/// What the service does not have, and what to do instead.
const REFUSED: &[Refusal] = &[
    INTERRUPTS,
    MCP,
    NOISE_REDUCTION,
    MAX_TOKENS,
    IDLE,
    SPEED,
    Refusal {
        asked: |options| options.output == VoiceMode::Synthesis,
        advice: "ai_output=tts: it speaks with a voice of its own; choose one by voice",
    },
    Refusal {
        asked: |options| options.turn_detection != Detection::Server,
        advice: "turn_detection: it finds the turns by itself",
    },
    Refusal {
        asked: |options| options.vad_prefix_padding_ms != AiOptions::default().vad_prefix_padding_ms,
        advice: "vad_prefix_padding_ms: it hears the caller all the time",
    },
    Refusal { asked: |options| options.vad_threshold < LEAST_THRESHOLD, advice: "vad_threshold: give 0.1 to 1" },
    Refusal {
        asked: |options| options.audio != WireAudio::Auto,
        advice: "ai_audio: remove it, its audio is linear, at the rate of the call",
    },
    Refusal {
        asked: |options| options.tool_choice.as_deref().is_some_and(|choice| choice != "auto"),
        advice: "tool_choice: its model chooses",
    },
    Refusal {
        asked: |options| options.parallel_tool_calls.is_some(),
        advice: "parallel_tool_calls: its model decides",
    },
    Refusal {
        asked: |options| options.reasoning_effort.is_some(),
        advice: "reasoning_effort: choose an ultravox_model",
    },
    Refusal {
        asked: |options| !options.transcription_model.is_empty(),
        advice: "transcription_model: remove it, it always writes down what the caller says",
    },
    Refusal {
        asked: |options| !options.transcription_prompt.is_empty(),
        advice: "transcription_prompt: put names and terms into system_prompt",
    },
    Refusal {
        asked: |options| options.tool_timeout_ms > (LONGEST_TOOL_S - SPARE_S) * 1_000,
        advice: "tool_timeout_ms: it waits for no function longer than 40 s, so give at most 35000",
    },
    Refusal { asked: |options| !options.session_fields.is_empty(), advice: "openai_session: use ultravox_call" },
    Refusal {
        asked: |options| options.ultravox.agent.is_some() && has_own_parts(options),
        advice: "ultravox_agent has its own instructions, model, language and turn detection: leave out system_prompt, ultravox_model, \
                 transcription_language, vad_threshold and vad_silence_duration_ms",
    },
];

/// Where calls are created, for the log. `headers` go with the module's own.
///
/// Errors where no attempt can succeed.
pub fn check(options: &AiOptions, headers: HeaderList) -> Result<Target, BadOptions> {
    let config = config(options, headers, &options.policy(), SampleRate::HZ_8000)?;
    Ok(Target { url: config.calls, headers: config.headers, secret: None })
}

/// Where the service is said to be and what gives it a key, for the rule that a key stays with its server.
pub fn place(options: &AiOptions) -> Place {
    let own = &options.ultravox;
    Place {
        url: own.base_url.clone().filter(|url| !url.trim().is_empty()),
        url_option: "ultravox_base_url".to_owned(),
        usual: USUAL,
        key_options: vec!["ultravox_api_key".to_owned()],
        has_key: key(options).is_some(),
    }
}

/// The engine of one call.
pub fn make(setup: Setup<'_>) -> Result<Box<dyn Engine>, BadOptions> {
    let Setup { options, headers, policy, rate, .. } = setup;
    config(options, headers, policy, rate).map(|config| Box::new(Ultravox::new(config)) as Box<dyn Engine>)
}

/// The key, if one is given.
fn key(options: &AiOptions) -> Option<&Secret> {
    options.ultravox.api_key.as_ref().filter(|key| !key.expose().trim().is_empty())
}

pub(super) fn config(
    options: &AiOptions,
    headers: HeaderList,
    policy: &AgentConfig,
    rate: SampleRate,
) -> Result<Config, BadOptions> {
    if let Some(advice) = refusal::first(REFUSED, options) {
        return Err(BadOptions::Refused(advice));
    }
    let key = key(options).map(|key| Secret::new(key.expose().trim())).ok_or(BadOptions::NoKey)?;
    let own = &options.ultravox;
    let base = own.base_url.as_deref().map(str::trim).filter(|url| !url.is_empty()).unwrap_or(USUAL);
    let calls = calls(base, own.agent.as_deref()).map_err(|why| BadOptions::Address("ultravox_base_url", why))?;
    address::check_headers(&headers).map_err(|why| BadOptions::Address("headers", why))?;
    let profile = profile(options, policy, rate);
    Ok(Config { calls, key, headers, profile, raw_events: options.raw_events, rate })
}

/// What of the turn detection is asked for: the silence, ms, and the threshold.
fn turns(options: &AiOptions) -> (Option<u32>, Option<f64>) {
    let usual = AiOptions::default();
    let silence = options.vad_silence_duration_ms;
    // As it was written, and not as the next number of twice the precision.
    let written = || (f64::from(options.vad_threshold) * 1e4).round() / 1e4;
    (
        (silence != usual.vad_silence_duration_ms).then_some(silence),
        (options.vad_threshold != usual.vad_threshold).then(written),
    )
}

fn has_own_parts(options: &AiOptions) -> bool {
    let texts = [&options.system_prompt, &options.ultravox.model, &options.transcription_language];
    texts.iter().any(|text| !text.is_empty()) || turns(options) != (None, None)
}

fn profile(options: &AiOptions, policy: &AgentConfig, rate: SampleRate) -> Profile {
    let own = &options.ultravox;
    let some = |text: &str| Some(text.trim()).filter(|text| !text.is_empty()).map(str::to_owned);
    let mut tools = options.tools.clone();
    tools.retain(|tool| Builtin::named(&tool.name).is_none());
    let builtin = policy.tools.functions();
    tools.extend(builtin.map(|(name, description, parameters)| Function::new(name, description, parameters)));
    let (silence_ms, threshold) = turns(options);
    Profile {
        rate: rate.hz(),
        stored: own.agent.is_some(),
        prompt: options.system_prompt.clone(),
        model: some(&own.model),
        voice: options.voice.as_deref().and_then(some),
        language: some(&options.transcription_language),
        tools,
        tool_timeout_s: options.tool_timeout_ms.div_ceil(1_000) + SPARE_S,
        silence_ms,
        threshold,
        greets: own.agent.is_some() && policy.greeting.is_none(),
        fields: own.call.clone(),
    }
}
