//! From an operator's options to the engine of one call.
//!
//! Pure; on the API or dialplan thread. What the options' rows have checked one by one is checked here as a whole: what the service
//! cannot do is refused by name.

use serde_json::{Map, Value};

use super::super::address;
use super::super::agent::{Builtin, SpeechTrigger, ToolPolicy, VoiceMode};
use super::super::engine::{Engine, InputFormat};
use super::super::functions::Function;
use super::super::openai::Account;
use super::super::options::{AiOptions, Detection, Eagerness, WireAudio};
use super::super::services::{DEEPGRAM, KeyUse};
use super::super::setup::{HeaderList, Setup};
use super::engine::{Config, Deepgram};
use super::profile::{Listen, Profile};
use crate::peer::{Place, Target};
use crate::protocol::transcription::deepgram::wire::is_flux;
use crate::units::{Encoding, Law, SampleRate, Secret};

/// Where the sessions are.
const USUAL: &str = "wss://agent.deepgram.com/v1/agent/converse";
/// Its path, and how the path of every base URL ends.
const PATH: (&str, &str) = ("/v1/agent/converse", "/agent/converse");
/// Providers of language models.
const PROVIDERS: [&str; 6] = ["open_ai", "anthropic", "google", "deepgram", "groq", "aws_bedrock"];
/// Those whose models can be told how much to reason.
const REASONERS: [&str; 3] = ["open_ai", "groq", "deepgram"];
/// What the service's models know of reasoning.
const REASONING: [&str; 5] = ["none", "minimal", "low", "medium", "high"];

/// The options do not make a conversation. The text is the reply to the operator.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadOptions {
    /// Nobody gave a key.
    #[error(
        "no API key: set deepgram_api_key in audio_stream.conf.xml or DEEPGRAM_API_KEY in FreeSWITCH's environment, or \
         deepgram_auth=none for a server of your own that wants none"
    )]
    NoKey,
    /// The URL or a header cannot be used.
    #[error("{0}: {1}")]
    Address(&'static str, String),
    /// The service cannot do it, or not so.
    #[error("Deepgram cannot do what is asked: {0}")]
    Refused(String),
}

/// Where the sessions are, for the log.
///
/// Errors where no attempt can succeed.
pub fn check(options: &AiOptions, headers: HeaderList) -> Result<Target, BadOptions> {
    if let Some((_, advice)) = REFUSED.iter().find(|(asked, _)| asked(options)) {
        return Err(BadOptions::Refused((*advice).to_owned()));
    }
    model_of(options).map_err(BadOptions::Refused)?;
    target(options, headers)
}

/// Where the sessions are said to be and what gives them a key, for the rule that a key stays with its server.
pub fn place(options: &AiOptions) -> Place {
    Account::of(DEEPGRAM, options).place(DEEPGRAM, USUAL)
}

/// The engine of one call.
pub fn make(setup: Setup<'_>) -> Result<Box<dyn Engine>, BadOptions> {
    Ok(Box::new(Deepgram::new(config(setup)?)))
}

pub(super) fn config(Setup { options, headers, policy, rate, codec }: Setup<'_>) -> Result<Config, BadOptions> {
    let target = check(options, headers)?;
    Ok(Config {
        target,
        profile: profile(options, wire(options.audio, rate, codec), &policy.tools),
        local: options.finds_turns(),
        raw_events: options.raw_events,
        profile_of: |options, audio| profile(options, audio, &options.policy().tools),
    })
}

/// Whether an option is asked for.
type Asked = fn(&AiOptions) -> bool;

/// What the service does not have, and what to do instead.
const REFUSED: &[(Asked, &str)] = &[
    (|options| options.output == VoiceMode::Synthesis, "ai_output=tts: its agent only speaks"),
    (
        |options| {
            let by_default = options.barge_in == SpeechTrigger::Engine;
            !by_default || options.barge_in_min_ms > 0 || options.false_interruption_ms > 0
        },
        "barge_in, barge_in_min_ms and false_interruption_ms: it always interrupts itself at once",
    ),
    (|options| options.noise_reduction.is_some(), "noise_reduction: use noise_suppression, which is the module's own"),
    (|options| options.vad_idle_timeout_ms > 0, "vad_idle_timeout_ms: use idle_timeout_ms, which is the module's own"),
    (|options| !options.mcp_servers.is_empty(), "mcp_servers: use tools and tool_url, which the module carries out"),
    (|options| !matches!(options.tool_choice.as_deref(), None | Some("auto")), "tool_choice: its model chooses"),
    (|options| options.parallel_tool_calls.is_some(), "parallel_tool_calls: its model decides"),
    (
        |options| options.max_response_tokens != AiOptions::default().max_response_tokens,
        "max_response_tokens: ask for short answers in system_prompt",
    ),
    (
        |options| {
            let usual = AiOptions::default();
            let same = options.vad_threshold == usual.vad_threshold
                && options.vad_silence_duration_ms == usual.vad_silence_duration_ms
                && options.vad_prefix_padding_ms == usual.vad_prefix_padding_ms;
            !same && !options.finds_turns()
        },
        "vad_threshold, vad_silence_duration_ms and vad_prefix_padding_ms: it finds turns by its own model; use \
         turn_detection=semantic_vad with vad_eagerness, or turn_detection=local",
    ),
    (
        |options| own_detection(options) && !is_flux(&options.transcription_model) && options.deepgram_agent.is_none(),
        "turn_detection: semantic_vad with vad_eagerness and local need a transcription_model that begins with flux",
    ),
    (
        |options| options.turn_detection == Detection::Semantic && options.deepgram_agent.is_some(),
        "turn_detection=semantic_vad: the agent of deepgram_agent has its own turn detection",
    ),
    (
        |options| options.reasoning_effort.as_deref().is_some_and(|effort| !REASONING.contains(&effort)),
        "reasoning_effort: give none, minimal, low, medium or high",
    ),
    (
        |options| {
            let provider = model_of(options).map(|(provider, _)| provider).unwrap_or_default();
            options.reasoning_effort.is_some() && !REASONERS.contains(&provider.as_str()) && !provider.is_empty()
        },
        "reasoning_effort: only models of open_ai, groq and deepgram take it",
    ),
    (|options| options.speed.is_some() && options.voice.is_none(), "speed: it needs a voice"),
    (|options| options.speed.is_some_and(|speed| !has_speed(options, speed)), SPEEDS),
    (
        |options| options.deepgram_agent.is_some() && has_own_parts(options),
        "deepgram_agent has its own model, voice, instructions and recognition: leave out deepgram_model, voice, speed, \
         system_prompt, reasoning_effort, transcription_model, transcription_language and transcription_prompt",
    ),
    (
        |options| OWN_FIELDS.iter().any(|path| has_field(&options.session_fields, path)),
        "openai_session: audio, and of the agent prompt, functions, context and greeting follow from options of their own",
    ),
];

const SPEEDS: &str = "speed: give 0.7 to 1.5, for a voice that begins with flux 0.5 to 1.5 in steps of 0.05";

/// Fields of the settings that options decide.
const OWN_FIELDS: [&[&str]; 5] = [
    &["audio"],
    &["agent", "think", "prompt"],
    &["agent", "think", "functions"],
    &["agent", "context"],
    &["agent", "greeting"],
];

fn has_field(fields: &Map<String, Value>, path: &[&str]) -> bool {
    let (first, rest) = (path.first().and_then(|name| fields.get(*name)), path.get(1..).unwrap_or_default());
    first.is_some_and(|first| rest.iter().try_fold(first, |value, name| value.get(*name)).is_some())
}

/// Whether the session states how the recognition finds the end of a turn.
fn own_detection(options: &AiOptions) -> bool {
    options.finds_turns() || eagerness_ms(options).is_some()
}

/// How long a turn may last in silence, for the eagerness that is asked for.
fn eagerness_ms(options: &AiOptions) -> Option<u32> {
    match options.vad_eagerness {
        _ if options.turn_detection != Detection::Semantic => None,
        Eagerness::Auto => None,
        Eagerness::Low => Some(8_000),
        Eagerness::Medium => Some(4_000),
        Eagerness::High => Some(2_000),
    }
}

fn has_speed(options: &AiOptions, speed: f32) -> bool {
    match options.voice.as_deref().is_some_and(is_flux) {
        true => (0.5..=1.5).contains(&speed) && ((speed * 20.0) - (speed * 20.0).round()).abs() < 0.001,
        false => (0.7..=1.5).contains(&speed),
    }
}

fn has_own_parts(options: &AiOptions) -> bool {
    let texts = [
        &options.system_prompt,
        &options.transcription_model,
        &options.transcription_language,
        &options.transcription_prompt,
        Account::of(DEEPGRAM, options).model,
    ];
    let words = [&options.voice, &options.reasoning_effort];
    texts.iter().any(|text| !text.is_empty()) || words.iter().any(|word| word.is_some()) || options.speed.is_some()
}

/// The language model's provider and its name; of a stored agent none.
fn model_of(options: &AiOptions) -> Result<(String, String), String> {
    if options.deepgram_agent.is_some() {
        return Ok(Default::default());
    }
    let model = Account::of(DEEPGRAM, options).model.trim();
    match model.split_once('/') {
        Some((provider, model)) if PROVIDERS.contains(&provider) && !model.is_empty() => {
            Ok((provider.to_owned(), model.to_owned()))
        }
        _ => Err(format!(
            "set deepgram_model to a provider and its model, such as open_ai/gpt-4.1-mini, or deepgram_agent; providers are {}",
            PROVIDERS.join(", ")
        )),
    }
}

fn target(options: &AiOptions, mut headers: HeaderList) -> Result<Target, BadOptions> {
    let account = Account::of(DEEPGRAM, options);
    let scheme = match (account.key_use, account.key) {
        (KeyUse::None, _) if account.base_url.is_some() => None,
        (KeyUse::None, _) => {
            let why = "needs deepgram_base_url, the server that wants no key";
            return Err(BadOptions::Address("deepgram_auth=none", why.to_owned()));
        }
        (_, None) => return Err(BadOptions::NoKey),
        (KeyUse::Auto, Some(key)) => Some(("Token", key)),
        (KeyUse::Bearer, Some(key)) => Some(("Bearer", key)),
        (KeyUse::ApiKey | KeyUse::Basic, Some(_)) => {
            let why = "give auto for a key, bearer for a temporary token, or none";
            return Err(BadOptions::Address("deepgram_auth", why.to_owned()));
        }
    };
    let base = account.base_url.map_or(USUAL, |url| url.trim());
    let mut url = address::websocket(base).map_err(|why| BadOptions::Address("deepgram_base_url", why))?;
    address::complete(&mut url, PATH.0, PATH.1);
    if let Some((scheme, key)) = scheme {
        let value = Secret::new(format!("{scheme} {}", key.expose().trim()));
        headers.insert(0, ("Authorization".to_owned(), value));
    }
    address::check_headers(&headers).map_err(|why| BadOptions::Address("headers", why))?;
    Ok(Target { url: url.into(), headers, secret: None })
}

/// The audio of both directions: a narrow-band call has nothing that G.711 would lose, and any other goes at its own rate, if the
/// service has it.
fn wire(audio: WireAudio, rate: SampleRate, codec: Option<&str>) -> InputFormat {
    let narrow = rate <= SampleRate::HZ_8000;
    let law = |law| InputFormat { rate: SampleRate::HZ_8000, encoding: Encoding::G711(law) };
    match audio {
        WireAudio::Pcmu => law(Law::Mu),
        WireAudio::Pcma => law(Law::A),
        WireAudio::Auto if narrow && codec.is_some_and(|codec| codec.eq_ignore_ascii_case("PCMA")) => law(Law::A),
        WireAudio::Auto if narrow => law(Law::Mu),
        WireAudio::Auto | WireAudio::Pcm => {
            let known = matches!(rate.hz(), 8_000 | 16_000 | 24_000 | 32_000 | 48_000);
            InputFormat { rate: if known { rate } else { SampleRate::HZ_24000 }, encoding: Encoding::S16Le }
        }
    }
}

fn profile(options: &AiOptions, audio: InputFormat, tools: &ToolPolicy) -> Profile {
    // Its error is the one of the check, which comes first.
    let (provider, model) = model_of(options).unwrap_or_default();
    let mut functions = options.tools.clone();
    functions.retain(|tool| Builtin::named(&tool.name).is_none());
    functions
        .extend(tools.functions().map(|(name, description, parameters)| Function::new(name, description, parameters)));
    let terms = options.transcription_prompt.split(',').map(str::trim).filter(|term| !term.is_empty());
    Profile {
        audio,
        agent: options.deepgram_agent.clone(),
        prompt: options.system_prompt.clone(),
        provider,
        model,
        reasoning: options.reasoning_effort.clone(),
        functions,
        voice: options.voice.clone(),
        speed: options.speed,
        listen: Listen {
            model: options.transcription_model.clone(),
            language: options.transcription_language.clone(),
            terms: terms.map(str::to_owned).collect(),
            timeout_ms: eagerness_ms(options),
            manual: options.finds_turns(),
        },
        fields: options.session_fields.clone(),
    }
}

#[cfg(test)]
#[path = "setup_tests.rs"]
mod tests;
