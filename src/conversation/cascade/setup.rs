//! From an operator's options to the engine of one call.
//!
//! Pure; on the API or dialplan thread.

use super::super::address;
use super::super::agent::{Builtin, ToolPolicy};
use super::super::engine::Engine;
use super::super::functions::Function;
use super::super::options::{AiOptions, Detection, WireAudio};
use super::super::refusal::{self, IDLE, MCP, NOISE_REDUCTION, Refusal};
use super::super::services::Part;
use super::super::setup::{HeaderList, Setup};
use super::completion::Model;
use super::engine::{Cascade, Config};
use super::recognition::Hints;
use crate::peer::{Place, Target};
use crate::units::Secret;

/// The options do not make a conversation. The text is the reply to the operator.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadOptions {
    /// A part has no place or no model.
    #[error("engine=cascade needs {0}")]
    Missing(&'static str),
    /// A part's URL cannot be used.
    #[error("{0}: {1}")]
    Url(&'static str, String),
    /// The option is for other engines.
    #[error("engine=cascade cannot do what is asked: {0}")]
    Refused(&'static str),
}

/// Where the language model is, for the log.
///
/// Errors where the options cannot make a conversation.
pub fn check(options: &AiOptions, headers: HeaderList) -> Result<Target, BadOptions> {
    config(options, headers).map(|config| config.llm)
}

/// Where both parts are said to be and what gives them a key, for the rule that a key stays with its server.
pub fn places(options: &AiOptions) -> Vec<Place> {
    let place = |prefix: &str, part: &Part| Place {
        url: part.url.clone(),
        url_option: format!("{prefix}_url"),
        usual: "",
        key_options: vec![format!("{prefix}_api_key")],
        has_key: part.api_key.is_some(),
    };
    vec![place("stt", &options.parts.stt), place("llm", &options.parts.llm)]
}

/// The engine of one call.
pub fn make(setup: Setup<'_>) -> Result<Box<dyn Engine>, BadOptions> {
    let mut config = config(setup.options, setup.headers)?;
    config.take(setup.options, &setup.policy.tools);
    Ok(Box::new(Cascade::new(config)))
}

impl Config {
    /// Takes what can be changed while a conversation runs; the model may call the built-in functions of `tools` too.
    pub(super) fn take(&mut self, options: &AiOptions, tools: &ToolPolicy) {
        self.system_prompt.clone_from(&options.system_prompt);
        self.model.max_tokens = options.max_response_tokens;
        self.model.tools.clone_from(&options.tools);
        self.model.tools.retain(|tool| Builtin::named(&tool.name).is_none());
        let builtin = tools.functions();
        self.model
            .tools
            .extend(builtin.map(|(name, description, parameters)| Function::new(name, description, parameters)));
    }
}

/// What only other engines have, and what to do instead.
const REFUSED: &[Refusal] = &[
    Refusal {
        asked: |options| options.turn_detection == Detection::Semantic,
        advice: "turn_detection: the module finds the turns, by silence",
    },
    IDLE,
    MCP,
    NOISE_REDUCTION,
    Refusal { asked: |options| options.voice.is_some(), advice: "voice: use tts_voice" },
    Refusal { asked: |options| options.speed.is_some(), advice: "speed: use tts_speed" },
    Refusal {
        asked: |options| options.audio != WireAudio::Auto,
        advice: "ai_audio: the recognition gets linear audio at 16 kHz",
    },
    Refusal { asked: |options| !options.transcription_model.is_empty(), advice: "transcription_model: use stt_model" },
    Refusal { asked: |options| options.raw_events.is_some(), advice: "raw_events: its parts have no events" },
];

fn config(options: &AiOptions, headers: HeaderList) -> Result<Config, BadOptions> {
    if let Some(advice) = refusal::first(REFUSED, options) {
        return Err(BadOptions::Refused(advice));
    }
    let (stt, llm) = (&options.parts.stt, &options.parts.llm);
    Ok(Config {
        stt: target(stt, ["stt_url", "stt_model"], "audio/transcriptions", headers.clone())?,
        hints: Hints {
            model: stt.model.clone(),
            language: options.transcription_language.clone(),
            prompt: options.transcription_prompt.clone(),
        },
        llm: target(llm, ["llm_url", "llm_model"], "chat/completions", headers)?,
        model: Model {
            name: llm.model.clone(),
            tools: options.tools.clone(),
            max_tokens: options.max_response_tokens,
            reasoning_effort: options.reasoning_effort.clone(),
        },
        system_prompt: options.system_prompt.clone(),
    })
}

/// Where a part is: its URL, completed by `path`, and its key before the operator's `headers`.
fn target(part: &Part, keys: [&'static str; 2], path: &str, mut headers: HeaderList) -> Result<Target, BadOptions> {
    let Some(base) = part.url.as_deref().filter(|url| !url.trim().is_empty()) else {
        return Err(BadOptions::Missing(keys[0]));
    };
    if part.model.trim().is_empty() {
        return Err(BadOptions::Missing(keys[1]));
    }
    let url = address::parse(base, &["http", "https"]);
    let mut url = url.map_err(|why| BadOptions::Url(keys[0], why))?;
    let before = url.path().trim_end_matches('/').to_owned();
    let whole = match before.as_str() {
        before if before.ends_with(path) => before.to_owned(),
        "" => format!("/v1/{path}"),
        before => format!("{before}/{path}"),
    };
    url.set_path(&whole);
    if let Some(key) = part.api_key.as_ref().filter(|key| !key.expose().trim().is_empty()) {
        let bearer = Secret::new(format!("Bearer {}", key.expose().trim()));
        headers.insert(0, ("Authorization".to_owned(), bearer));
    }
    Ok(Target { url: url.into(), headers, ..Target::default() })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::super::super::services::Parts;
    use super::*;

    fn with(stt: Part, llm: Part) -> AiOptions {
        AiOptions { parts: Parts { stt, llm }, ..AiOptions::default() }
    }

    fn options() -> AiOptions {
        let part = |url: &str| Part { url: Some(url.into()), model: "m".into(), api_key: None };
        with(part("http://127.0.0.1:1"), part("https://h/openai/v1/"))
    }

    #[test]
    fn a_url_is_completed_whatever_part_of_it_is_given() {
        let config = config(&options(), Vec::new()).unwrap();
        assert_eq!(config.stt.url, "http://127.0.0.1:1/v1/audio/transcriptions");
        assert_eq!(config.llm.url, "https://h/openai/v1/chat/completions");
        let key = Some(Secret::new("sk-1"));
        let whole = Part { url: Some("http://h/x/chat/completions?a=b".into()), api_key: key, ..options().parts.llm };
        let target = check(&with(options().parts.stt, whole), vec![("X-A".into(), Secret::new("b"))]).unwrap();
        assert_eq!(target.url, "http://h/x/chat/completions?a=b");
        let shown: Vec<_> = target.headers.iter().map(|(name, value)| (name.as_str(), value.expose())).collect();
        assert_eq!(shown, [("Authorization", "Bearer sk-1"), ("X-A", "b")]);
    }

    #[test]
    fn what_is_missing_or_for_other_engines_is_refused_by_name() {
        let refused = |options: AiOptions| check(&options, Vec::new()).unwrap_err().to_string();
        let without = Part::default();
        assert_eq!(refused(with(without, options().parts.llm)), "engine=cascade needs stt_url");
        let nameless = Part { model: String::new(), ..options().parts.llm };
        assert_eq!(refused(with(options().parts.stt, nameless)), "engine=cascade needs llm_model");
        let socket = Part { url: Some("ws://h".into()), ..options().parts.llm };
        assert_eq!(refused(with(options().parts.stt, socket)), "llm_url: scheme 'ws' is not http or https");
        for (refuse, advice) in [
            (AiOptions { voice: Some("marin".into()), ..options() }, "voice: use tts_voice"),
            (AiOptions { turn_detection: Detection::Semantic, ..options() }, "turn_detection: the module finds"),
            (AiOptions { audio: WireAudio::Pcmu, ..options() }, "ai_audio: the recognition gets"),
        ] {
            let said = refused(refuse);
            assert!(said.starts_with(&format!("engine=cascade cannot do what is asked: {advice}")), "{said}");
        }
    }
}
