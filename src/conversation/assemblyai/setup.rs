//! From an operator's options to the engine of one call.
//!
//! Pure; on the API or dialplan thread. What the options' rows have checked one by one is checked here as a whole: what the service
//! cannot do is refused by name.

use super::super::address;
use super::super::agent::{Builtin, Greeting, ToolPolicy};
use super::super::engine::{Engine, InputFormat};
use super::super::functions::Function;
use super::super::openai::wire_format;
use super::super::options::{AiOptions, Detection, Eagerness};
use super::super::refusal::{self, IDLE, INTERRUPTS, MAX_TOKENS, MCP, NOISE_REDUCTION, Refusal, SPEED, WRITES};
use super::super::setup::{HeaderList, Setup};
use super::engine::{AssemblyAi, Config};
use super::profile::{Profile, Turns};
use crate::peer::{Place, Target};
use crate::units::{Encoding, Secret};

/// Where the sessions are.
const USUAL: &str = "wss://agents.assemblyai.com/v1/ws";
/// Its path, and how the path of every base URL ends.
const PATH: (&str, &str) = ("/v1/ws", "/ws");
/// Most words to expect.
const MOST_TERMS: usize = 100;
/// Longest that the service waits for a function, and how long it does by itself, s.
const LONGEST_TOOL_S: u32 = 300;
const USUAL_TOOL_S: u32 = 120;
/// By how much the service is to wait longer than the module, s.
const SPARE_S: u32 = 5;
/// Silences that the service takes, ms.
const SILENCE: std::ops::Range<u32> = 50..10_000;
/// From which silence on the longest has to be longer than the service's own, and by how much, ms.
const LONG_MS: u32 = 3_000;
const MORE_MS: u32 = 2_000;

/// The options do not make a conversation. The text is the reply to the operator.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadOptions {
    /// Nobody gave a key.
    #[error(
        "no API key: set assemblyai_api_key in audio_stream.conf.xml or ASSEMBLYAI_API_KEY in FreeSWITCH's environment"
    )]
    NoKey,
    /// The URL or a header cannot be used.
    #[error("{0}: {1}")]
    Address(&'static str, String),
    /// The service cannot do it, or not so.
    #[error("AssemblyAI cannot do what is asked: {0}")]
    Refused(&'static str),
}

/// What the service does not have, and what to do instead.
const REFUSED: &[Refusal] = &[
    WRITES,
    INTERRUPTS,
    MCP,
    NOISE_REDUCTION,
    MAX_TOKENS,
    IDLE,
    SPEED,
    Refusal { asked: AiOptions::finds_turns, advice: "turn_detection=local: it finds the turns by itself" },
    Refusal {
        asked: |options| options.vad_prefix_padding_ms != AiOptions::default().vad_prefix_padding_ms,
        advice: "vad_prefix_padding_ms: it hears the caller all the time",
    },
    Refusal {
        asked: |options| changes_silence(options) && !SILENCE.contains(&options.vad_silence_duration_ms),
        advice: "vad_silence_duration_ms: give 50 to 9999",
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
        advice: "reasoning_effort: choose a language model for an agent that is stored there (assemblyai_agent)",
    },
    Refusal {
        asked: |options| !options.transcription_model.is_empty(),
        advice: "transcription_model: remove it, it always writes down what the caller says",
    },
    Refusal {
        asked: |options| !options.transcription_language.is_empty(),
        advice: "transcription_language: remove it, it knows languages by itself",
    },
    Refusal {
        asked: |options| terms(options).count() > MOST_TERMS,
        advice: "transcription_prompt: give at most 100 names and terms",
    },
    Refusal {
        asked: |options| options.tool_timeout_ms > (LONGEST_TOOL_S - SPARE_S) * 1_000,
        advice: "tool_timeout_ms: it waits for no function longer than 300 s, so give at most 295000",
    },
    Refusal { asked: |options| !options.session_fields.is_empty(), advice: "openai_session: use assemblyai_session" },
    Refusal {
        asked: |options| options.assemblyai.agent.is_some() && has_own_parts(options),
        advice: "assemblyai_agent has its own instructions, greeting, voice, audio and recognition: leave out system_prompt, greeting, \
                 voice, ai_audio, transcription_prompt, vad_threshold, vad_silence_duration_ms, turn_detection and assemblyai_session",
    },
];

/// Where the sessions are, for the log. `headers` go with the module's own.
///
/// Errors where no attempt can succeed.
pub fn check(options: &AiOptions, headers: HeaderList) -> Result<Target, BadOptions> {
    if let Some(advice) = refusal::first(REFUSED, options) {
        return Err(BadOptions::Refused(advice));
    }
    target(options, headers)
}

/// Where the sessions are said to be and what gives them a key, for the rule that a key stays with its server.
pub fn place(options: &AiOptions) -> Place {
    let own = &options.assemblyai;
    Place {
        url: own.base_url.clone().filter(|url| !url.trim().is_empty()),
        url_option: "assemblyai_base_url".to_owned(),
        usual: USUAL,
        key_options: vec!["assemblyai_api_key".to_owned()],
        has_key: key(options).is_some(),
    }
}

/// The engine of one call.
pub fn make(setup: Setup<'_>) -> Result<Box<dyn Engine>, BadOptions> {
    Ok(Box::new(AssemblyAi::new(config(setup)?)))
}

pub(super) fn config(setup: Setup<'_>) -> Result<Config, BadOptions> {
    let Setup { options, headers, policy, rate, codec } = setup;
    let target = check(options, headers)?;
    // How a stored agent is set is known only in the session: the caller's audio is coded there.
    let audio = match options.assemblyai.agent {
        Some(_) => InputFormat { rate, encoding: Encoding::S16Le },
        None => wire_format(options.audio, rate, codec).wire(),
    };
    Ok(Config {
        target,
        profile: profile(options, audio, &policy.tools),
        greeting: match &policy.greeting {
            Some(Greeting::Text(words)) => Some(words.clone()),
            Some(Greeting::Recorded { .. } | Greeting::Instructions(_)) | None => None,
        },
        greeted: matches!(policy.greeting, Some(Greeting::Recorded { .. })),
        raw_events: options.raw_events,
        profile_of: |options, audio| profile(options, audio, &options.policy().tools),
    })
}

/// The key, if one is given.
fn key(options: &AiOptions) -> Option<&Secret> {
    options.assemblyai.api_key.as_ref().filter(|key| !key.expose().trim().is_empty())
}

fn target(options: &AiOptions, mut headers: HeaderList) -> Result<Target, BadOptions> {
    let key = key(options).ok_or(BadOptions::NoKey)?;
    let base = options.assemblyai.base_url.as_deref().map(str::trim).filter(|url| !url.is_empty()).unwrap_or(USUAL);
    let mut url = address::websocket(base).map_err(|why| BadOptions::Address("assemblyai_base_url", why))?;
    address::complete(&mut url, PATH.0, PATH.1);
    headers.insert(0, ("Authorization".to_owned(), Secret::new(format!("Bearer {}", key.expose().trim()))));
    address::check_headers(&headers).map_err(|why| BadOptions::Address("headers", why))?;
    Ok(Target { url: url.into(), headers, secret: None })
}

/// Names and terms that the recognition is to expect.
fn terms(options: &AiOptions) -> impl Iterator<Item = &str> {
    options.transcription_prompt.split(',').map(str::trim).filter(|term| !term.is_empty())
}

/// Whether the silence that ends a turn is asked for.
fn changes_silence(options: &AiOptions) -> bool {
    options.turn_detection == Detection::Server
        && options.vad_silence_duration_ms != AiOptions::default().vad_silence_duration_ms
}

fn turns(options: &AiOptions) -> Turns {
    let usual = AiOptions::default();
    match options.turn_detection {
        Detection::Server => {
            let min = changes_silence(options).then_some(options.vad_silence_duration_ms);
            // The longest silence has to be longer.
            let max = min.filter(|min| *min >= LONG_MS).map(|min| (min + MORE_MS).min(SILENCE.end));
            // As it was written, and not as the next number of twice the precision.
            let written = || (f64::from(options.vad_threshold) * 1e4).round() / 1e4;
            let threshold = (options.vad_threshold != usual.vad_threshold).then(written);
            Turns { threshold, min_silence_ms: min, max_silence_ms: max }
        }
        Detection::Semantic | Detection::Local => {
            let max = match options.vad_eagerness {
                Eagerness::Auto => None,
                Eagerness::Low => Some(8_000),
                Eagerness::Medium => Some(4_000),
                Eagerness::High => Some(2_000),
            };
            Turns { max_silence_ms: max, ..Turns::default() }
        }
    }
}

fn has_own_parts(options: &AiOptions) -> bool {
    let usual = AiOptions::default();
    let texts = [&options.system_prompt, &options.transcription_prompt];
    texts.iter().any(|text| !text.is_empty())
        || options.greeting.is_some() && options.greeting_file.is_none()
        || options.voice.is_some()
        || options.audio != usual.audio
        || options.turn_detection != usual.turn_detection
        || turns(options) != Turns::default()
        || !options.assemblyai.session.is_empty()
}

fn profile(options: &AiOptions, audio: InputFormat, tools: &ToolPolicy) -> Profile {
    let mut functions = options.tools.clone();
    functions.retain(|tool| Builtin::named(&tool.name).is_none());
    functions
        .extend(tools.functions().map(|(name, description, parameters)| Function::new(name, description, parameters)));
    let seconds = options.tool_timeout_ms.div_ceil(1_000) + SPARE_S;
    Profile {
        audio,
        agent: options.assemblyai.agent.clone(),
        prompt: options.system_prompt.clone(),
        tools: functions,
        tool_timeout_s: (seconds > USUAL_TOOL_S).then_some(seconds),
        voice: options.voice.clone(),
        terms: terms(options).map(str::to_owned).collect(),
        turns: turns(options),
        fields: options.assemblyai.session.clone(),
    }
}

#[cfg(test)]
#[path = "setup_tests.rs"]
mod tests;
