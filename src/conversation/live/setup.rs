//! From an operator's options to the engine of one call.
//!
//! Pure; on the API or dialplan thread. What the options' rows have checked one by one is checked here as a whole. Account, address and most
//! refusals are those of OpenAI's table of services.

use super::super::agent::AgentConfig;
use super::super::engine::Engine;
use super::super::functions::Function;
use super::super::openai::{self, LIVE};
use super::super::options::{AiOptions, WireAudio};
use super::super::services::own_field;
use super::super::setup::{HeaderList, Setup};
use super::engine::{Config, Live};
use super::profile::{Backend, DELEGATE, Delegate, Format, Profile};
use crate::peer::{Place, Target};
use crate::units::SampleRate;

/// The options do not make a session. The text is the reply to the operator.
#[derive(Clone, Debug, thiserror::Error)]
pub enum BadOptions {
    /// There is no account, no address, or the service cannot do it.
    #[error(transparent)]
    Account(#[from] openai::BadOptions),
    /// Nobody would call the functions.
    #[error(
        "tools and builtin_tools need a second model that calls them: set openai_backend_model, or give no function but \
         'delegate', which gets the tasks themselves"
    )]
    NoBackend,
    /// The option is for the second model, and there is none.
    #[error("{0} is for the second model: set openai_backend_model")]
    NeedsBackend(&'static str),
    /// There is no such function.
    #[error("tool_choice: there is no function '{0}'")]
    Choice(String),
    /// The field contradicts an option.
    #[error("openai_session: the field '{0}' follows from options of its own")]
    Field(&'static str),
}

/// Fields of the session that options decide, by their paths.
const OWN_FIELDS: [&str; 14] = [
    "model",
    "instructions",
    "input",
    "safety_identifier",
    "audio.format",
    "audio.output.voice",
    "delegation.type",
    "delegation.responses.model",
    "delegation.responses.instructions",
    "delegation.responses.tools",
    "delegation.responses.tool_choice",
    "delegation.responses.parallel_tool_calls",
    "delegation.responses.max_output_tokens",
    "delegation.responses.reasoning.effort",
];

/// Where the sessions are. `headers` go with the module's own.
///
/// Errors where no attempt can succeed: without a key, a model or a usable URL, or if the service cannot do what is asked.
pub fn check(options: &AiOptions, headers: HeaderList) -> Result<Target, BadOptions> {
    config(options, headers, &options.policy(), Format::Pcmu).map(|config| config.target)
}

/// Where the service is said to be and what gives it a key, for the rule that a key stays with its server.
pub fn place(options: &AiOptions) -> Place {
    openai::place(&LIVE, options)
}

/// The engine of one call.
pub fn make(setup: Setup<'_>) -> Result<Box<dyn Engine>, BadOptions> {
    let Setup { options, headers, policy, rate, codec } = setup;
    let format = format(options.audio, rate, codec);
    config(options, headers, policy, format).map(|config| Box::new(Live::new(config)) as Box<dyn Engine>)
}

pub(super) fn config(
    options: &AiOptions,
    headers: HeaderList,
    policy: &AgentConfig,
    format: Format,
) -> Result<Config, BadOptions> {
    let target = openai::check(&LIVE, options, headers)?;
    if let Some(path) = own_field(&options.session_fields, &OWN_FIELDS) {
        return Err(BadOptions::Field(path));
    }
    let functions = functions(options, policy);
    if options.backend_model.trim().is_empty() {
        let operator = matches!(&functions[..], [only] if only.name == DELEGATE);
        if !functions.is_empty() && !operator {
            return Err(BadOptions::NoBackend);
        }
        let usual = AiOptions::default();
        for (name, asked) in [
            ("openai_backend_prompt", !options.backend_prompt.trim().is_empty()),
            ("reasoning_effort", options.reasoning_effort.is_some()),
            ("tool_choice", options.tool_choice.is_some()),
            ("parallel_tool_calls", options.parallel_tool_calls.is_some()),
            ("max_response_tokens", options.max_response_tokens != usual.max_response_tokens),
        ] {
            if asked {
                return Err(BadOptions::NeedsBackend(name));
            }
        }
    }
    match options.tool_choice.as_deref() {
        None | Some("auto" | "none" | "required") => {}
        Some(name) if functions.iter().any(|function| function.name == name) => {}
        Some(name) => return Err(BadOptions::Choice(crate::protocol::excerpt(name))),
    }
    let profile = profile(options, policy, format);
    Ok(Config { target, profile, raw_events: options.raw_events, profile_of })
}

/// The session of options that have been changed.
fn profile_of(options: &AiOptions, format: Format) -> Profile {
    profile(options, &options.policy(), format)
}

/// What may be called: the operator's functions and the module's own.
fn functions(options: &AiOptions, policy: &AgentConfig) -> Vec<Function> {
    let builtin = policy.tools.functions();
    let builtin = builtin.map(|(name, description, parameters)| Function::new(name, description, parameters));
    options.tools.iter().cloned().chain(builtin).collect()
}

fn profile(options: &AiOptions, policy: &AgentConfig, format: Format) -> Profile {
    let functions = functions(options, policy);
    let backend = options.backend_model.trim();
    let delegate = match (backend, &functions[..]) {
        ("", []) => Delegate::Nobody,
        ("", _) => Delegate::Operator,
        (model, _) => Delegate::Backend(Backend {
            model: model.to_owned(),
            instructions: Some(options.backend_prompt.clone()).filter(|text| !text.trim().is_empty()),
            functions,
            choice: options.tool_choice.clone(),
            parallel: options.parallel_tool_calls,
            max_output_tokens: options.max_response_tokens,
            effort: options.reasoning_effort.clone(),
        }),
    };
    Profile {
        model: options.model.trim().to_owned(),
        instructions: options.system_prompt.clone(),
        voice: options.voice.clone(),
        format,
        delegate,
        safety_identifier: options.safety_identifier.clone(),
        fields: options.session_fields.clone(),
    }
}

/// The wire's format: a narrow-band call has nothing that G.711 would lose, and one at 16 kHz nothing that 24 kHz would add.
fn format(audio: WireAudio, rate: SampleRate, codec: Option<&str>) -> Format {
    match audio {
        WireAudio::Pcmu => Format::Pcmu,
        WireAudio::Pcma => Format::Pcma,
        WireAudio::Pcm | WireAudio::Auto if rate == SampleRate::HZ_16000 => Format::Pcm16k,
        WireAudio::Pcm => Format::Pcm24k,
        WireAudio::Auto if rate > SampleRate::HZ_8000 => Format::Pcm24k,
        WireAudio::Auto if codec.is_some_and(|codec| codec.eq_ignore_ascii_case("PCMA")) => Format::Pcma,
        WireAudio::Auto => Format::Pcmu,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_coded_so_that_nothing_is_lost_or_made_up() {
        let (narrow, wide, full) = (SampleRate::HZ_8000, SampleRate::HZ_16000, SampleRate::HZ_48000);
        for (audio, rate, codec, wanted) in [
            (WireAudio::Auto, narrow, None, Format::Pcmu),
            (WireAudio::Auto, narrow, Some("PCMA"), Format::Pcma),
            (WireAudio::Auto, wide, Some("G722"), Format::Pcm16k),
            (WireAudio::Auto, full, Some("opus"), Format::Pcm24k),
            (WireAudio::Pcm, narrow, Some("PCMU"), Format::Pcm24k),
            (WireAudio::Pcm, wide, None, Format::Pcm16k),
            (WireAudio::Pcma, wide, None, Format::Pcma),
        ] {
            assert_eq!(format(audio, rate, codec), wanted, "{audio:?} {rate:?} {codec:?}");
        }
    }
}
