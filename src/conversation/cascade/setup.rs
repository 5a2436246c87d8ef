//! From an operator's options to the engine of one call.
//!
//! Pure; on the API or dialplan thread.

use std::time::Duration;

use url::Url;

use super::super::address;
use super::super::agent::{Builtin, ToolPolicy};
use super::super::engine::{Engine, TurnTaking};
use super::super::functions::Function;
use super::super::options::{AiOptions, Detection, WireAudio};
use super::super::refusal::{self, IDLE, MCP, NOISE_REDUCTION, Refusal};
use super::super::services::Part;
use super::super::setup::{HeaderList, Setup};
use super::completion::Model;
use super::engine::{Cascade, Config, FORMAT};
use super::hearing::Hearing;
use super::live::{self, Live};
use super::recogniser::Asked;
use super::recognisers::{self, Row};
use super::recognition::Hints;
use super::transcribing::Transcribing;
use crate::peer::{Place, Retry, Target};
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

/// Where the recogniser is that hears the caller all the time, or else the language model: for the log.
///
/// Errors where the options cannot make a conversation.
pub fn check(options: &AiOptions, headers: HeaderList) -> Result<Target, BadOptions> {
    let config = config(options, headers.clone())?;
    ear(options, headers).map(|ear| match ear {
        Ear::Written(..) => config.llm,
        Ear::Live(_, _, target) => target,
    })
}

/// Whether the module finds the caller's turns, and not the recogniser.
pub fn finds_turns(options: &AiOptions) -> bool {
    options.finds_turns() || recognisers::find(options.parts.recogniser.provider).is_none()
}

/// Where both parts are said to be and what gives them a key, for the rule that a key stays with its server.
pub fn places(options: &AiOptions) -> Vec<Place> {
    let place = |prefix: &str, part: &Part, usual: &'static str| Place {
        url: part.url.clone(),
        url_option: format!("{prefix}_url"),
        usual,
        key_options: vec![format!("{prefix}_api_key")],
        has_key: part.api_key.is_some(),
    };
    let (stt, llm) = (&options.parts.stt, &options.parts.llm);
    let usual = recognisers::find(options.parts.recogniser.provider).map_or("", |row| (row.url)(&stt.model));
    vec![place("stt", stt, usual), place("llm", llm, "")]
}

/// The engine of one call.
pub fn make(setup: Setup<'_>) -> Result<Box<dyn Engine>, BadOptions> {
    let mut config = config(setup.options, setup.headers.clone())?;
    config.take(setup.options, &setup.policy.tools);
    let hearing = ear(setup.options, setup.headers)?.hearing(setup.policy.reconnect.retry);
    Ok(Box::new(Cascade::new(config, hearing)))
}

/// A recogniser's connection that lasted so long was of use: the next loss begins a new row of attempts, for a caller waits.
const SERVED: Duration = Duration::from_secs(2);

/// How the caller is to be written down.
enum Ear {
    Written(Target, Hints),
    Live(&'static Row, Asked, Target),
}

impl Ear {
    fn hearing(self, retry: Retry) -> Hearing {
        match self {
            Self::Written(target, hints) => Hearing::Written(Box::new(Transcribing::new(target, hints, FORMAT))),
            Self::Live(row, asked, target) => {
                let (service, locally) = ((row.make)(&asked), asked.locally());
                let retry = Retry { stable_after: SERVED, ..retry };
                let parts = live::Parts { service, target, format: FORMAT, locally, retry };
                Hearing::Live(Box::new(Live::new(parts)))
            }
        }
    }
}

fn ear(options: &AiOptions, headers: HeaderList) -> Result<Ear, BadOptions> {
    let stt = &options.parts.stt;
    let Some(row) = recognisers::find(options.parts.recogniser.provider) else {
        let hints = Hints {
            model: stt.model.clone(),
            language: options.transcription_language.clone(),
            prompt: options.transcription_prompt.clone(),
        };
        return Ok(Ear::Written(target(stt, ["stt_url", "stt_model"], "audio/transcriptions", headers)?, hints));
    };
    let asked = Asked::of(options, FORMAT);
    if let Some(advice) = (row.refuses)(&asked) {
        return Err(BadOptions::Refused(advice));
    }
    let target = live_target(row, &asked, stt, headers)?;
    Ok(Ear::Live(row, asked, target))
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

/// Whether each turn is written down by a request of its own.
fn is_written(options: &AiOptions) -> bool {
    recognisers::find(options.parts.recogniser.provider).is_none()
}

/// What only other engines have, and what to do instead.
const REFUSED: &[Refusal] = &[
    Refusal {
        asked: |options| options.turn_detection == Detection::Semantic && is_written(options),
        advice: "turn_detection: the module finds the turns, by silence",
    },
    Refusal {
        asked: |options| options.parts.recogniser.early && is_written(options),
        advice: "early_answer: needs a recogniser that hears the caller all the time, stt_provider=deepgram",
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
    // What the recognition lacks is said first.
    ear(options, headers.clone())?;
    let llm = &options.parts.llm;
    let turns = match finds_turns(options) {
        true => TurnTaking::Local,
        false => TurnTaking::Engine { responds: false, interrupts: false },
    };
    Ok(Config {
        turns,
        early: options.parts.recogniser.early,
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
    let mut url = read_url(base, keys[0], &["http", "https"])?;
    let before = url.path().trim_end_matches('/').to_owned();
    let whole = match before.as_str() {
        before if before.ends_with(path) => before.to_owned(),
        "" => format!("/v1/{path}"),
        before => format!("{before}/{path}"),
    };
    url.set_path(&whole);
    authorise(&mut headers, "Bearer ", part);
    Ok(Target { url: url.into(), headers, ..Target::default() })
}

/// Where a recogniser is that hears the caller all the time: its URL with what it is asked for.
fn live_target(row: &Row, asked: &Asked, part: &Part, mut headers: HeaderList) -> Result<Target, BadOptions> {
    if part.model.trim().is_empty() {
        return Err(BadOptions::Missing("stt_model"));
    }
    let usual = (row.url)(&part.model);
    let own = part.url.as_deref().filter(|url| !url.trim().is_empty());
    let mut url = read_url(own.unwrap_or(usual), "stt_url", &["ws", "wss", "http", "https"])?;
    let scheme = if matches!(url.scheme(), "https" | "wss") { "wss" } else { "ws" };
    // Both are schemes that the other may become.
    url.set_scheme(scheme).map_err(|()| BadOptions::Url("stt_url", "this scheme is not possible".to_owned()))?;
    if url.path() == "/" {
        let path = usual.splitn(4, '/').nth(3).unwrap_or_default();
        url.set_path(path);
    }
    let there: Vec<_> = url.query_pairs().map(|(name, _)| name.into_owned()).collect();
    let asked = (row.query)(asked).into_iter().filter(|(name, _)| !there.iter().any(|known| known == name));
    url.query_pairs_mut().extend_pairs(asked);
    authorise(&mut headers, row.key_scheme, part);
    Ok(Target { url: url.into(), headers, ..Target::default() })
}

fn read_url(text: &str, option: &'static str, schemes: &[&str]) -> Result<Url, BadOptions> {
    address::parse(text, schemes).map_err(|why| BadOptions::Url(option, why))
}

/// The key of a part goes before the operator's headers.
fn authorise(headers: &mut HeaderList, scheme: &str, part: &Part) {
    if let Some(key) = part.api_key.as_ref().filter(|key| !key.expose().trim().is_empty()) {
        let value = Secret::new(format!("{scheme}{}", key.expose().trim()));
        headers.insert(0, ("Authorization".to_owned(), value));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::super::super::services::{Parts, RecogniserOptions, SttProvider};
    use super::*;

    fn with(stt: Part, llm: Part) -> AiOptions {
        AiOptions { parts: Parts { stt, llm, ..Parts::default() }, ..AiOptions::default() }
    }

    fn live(stt: Part) -> AiOptions {
        let recogniser = RecogniserOptions { provider: SttProvider::Deepgram, early: true };
        AiOptions { parts: Parts { stt, recogniser, llm: options().parts.llm }, ..AiOptions::default() }
    }

    fn options() -> AiOptions {
        let part = |url: &str| Part { url: Some(url.into()), model: "m".into(), api_key: None };
        with(part("http://127.0.0.1:1"), part("https://h/openai/v1/"))
    }

    #[test]
    fn a_url_is_completed_whatever_part_of_it_is_given() {
        let config = config(&options(), Vec::new()).unwrap();
        let Ok(Ear::Written(stt, _)) = ear(&options(), Vec::new()) else { unreachable!() };
        assert_eq!(stt.url, "http://127.0.0.1:1/v1/audio/transcriptions");
        assert_eq!(config.llm.url, "https://h/openai/v1/chat/completions");
        let key = Some(Secret::new("sk-1"));
        let whole = Part { url: Some("http://h/x/chat/completions?a=b".into()), api_key: key, ..options().parts.llm };
        let target = check(&with(options().parts.stt, whole), vec![("X-A".into(), Secret::new("b"))]).unwrap();
        assert_eq!(target.url, "http://h/x/chat/completions?a=b");
        let shown: Vec<_> = target.headers.iter().map(|(name, value)| (name.as_str(), value.expose())).collect();
        assert_eq!(shown, [("Authorization", "Bearer sk-1"), ("X-A", "b")]);
    }

    #[test]
    fn a_recogniser_that_hears_all_the_time_is_where_it_is_said() {
        let model = |url: Option<&str>, model: &str| Part {
            url: url.map(str::to_owned),
            model: model.to_owned(),
            api_key: Some(Secret::new(" k ")),
        };
        let target = check(&live(model(None, "nova-3")), vec![("X-A".into(), Secret::new("b"))]).unwrap();
        assert!(target.url.starts_with("wss://api.deepgram.com/v1/listen?encoding=linear16&sample_rate=16000&"));
        let shown: Vec<_> = target.headers.iter().map(|(name, value)| (name.as_str(), value.expose())).collect();
        assert_eq!(shown, [("Authorization", "Token k"), ("X-A", "b")]);
        let url = |url: &str, name: &str| check(&live(model(Some(url), name)), Vec::new()).unwrap().url;
        assert!(url("http://10.0.0.1:8", "flux-general-en").starts_with("ws://10.0.0.1:8/v2/listen?encoding="));
        let own = url("wss://h/stt?model=own&endpointing=50", "nova-3");
        assert!(own.starts_with("wss://h/stt?model=own&endpointing=50&encoding=linear16&"), "{own}");
        assert_eq!((own.matches("model=").count(), own.matches("endpointing=").count()), (1, 1));

        let turns =
            |detection| config(&AiOptions { turn_detection: detection, ..live(model(None, "nova-3")) }, Vec::new());
        assert_eq!(turns(Detection::Local).unwrap().turns, TurnTaking::Local);
        let by_service = TurnTaking::Engine { responds: false, interrupts: false };
        assert_eq!(turns(Detection::Server).unwrap().turns, by_service);
        let refused = turns(Detection::Semantic).unwrap_err().to_string();
        assert!(refused.contains("needs a stt_model of Flux"), "{refused}");
        let usual = |name: &str| places(&live(model(None, name)))[0].usual;
        assert_eq!(
            (usual("nova-3"), usual("flux-general-en")),
            ("wss://api.deepgram.com/v1/listen", "wss://api.deepgram.com/v2/listen")
        );
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
            (
                AiOptions {
                    parts: Parts {
                        recogniser: RecogniserOptions { early: true, ..RecogniserOptions::default() },
                        ..options().parts
                    },
                    ..options()
                },
                "early_answer: needs a recogniser",
            ),
        ] {
            let said = refused(refuse);
            assert!(said.starts_with(&format!("engine=cascade cannot do what is asked: {advice}")), "{said}");
        }
    }
}
