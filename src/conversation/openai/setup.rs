//! From an operator's options to the engine of one call.
//!
//! Pure; on the API or dialplan thread. What the options' rows have checked one by one is checked here as a whole.

use std::hash::{BuildHasher as _, RandomState};

use super::super::agent::{AgentConfig, Builtin, VoiceMode};
use super::super::engine::Engine;
use super::super::functions::Function;
use super::super::options::{AiOptions, Detection, WireAudio};
use super::super::services::{KeyUse, Vendor};
use super::super::setup::Setup;
use super::dialect::Dialect;
use super::endpoint::{Auth, BadEndpoint, Endpoint};
use super::engine::{EngineConfig, OpenAi};
use super::profile::{
    AudioFormat, BadProfile, MaxTokens, Modality, NoiseReduction, SemanticVad, ServerVad, SessionProfile, ToolChoice,
    Transcription, TurnDetection, Voice,
};
use crate::peer::{Place, Target};
use crate::units::{SampleRate, Secret};

/// The options do not make a session. The text is the reply to the operator.
#[derive(Clone, Debug, thiserror::Error)]
pub enum BadOptions {
    /// Nobody gave a key.
    #[error(
        "no API key: set {}_api_key in audio_stream.conf.xml or {} in FreeSWITCH's environment, or {}_auth=none for a \
         server of your own that wants none", .0.prefix, .0.key_variable, .0.prefix
    )]
    NoKey(Vendor),
    /// The service wants one.
    #[error("{prefix}_auth=none needs {prefix}_base_url, the server that wants no key", prefix = .0.prefix)]
    KeyNeeded(Vendor),
    /// Nobody gave a model.
    #[error(
        "no model: set {}_model, at Azure to the name of the deployment; models have end dates, so none is built in",
        .0.prefix
    )]
    NoModel(Vendor),
    /// There is no server of that address.
    #[error("{prefix}_base_url: {1}", prefix = .0.prefix)]
    Endpoint(Vendor, BadEndpoint),
    /// The service cannot do it.
    #[error("{name} cannot do what is asked: {1}", name = .0.name)]
    Refused(Vendor, &'static str),
    /// The server would not take it.
    #[error("{0}")]
    Profile(#[from] BadProfile),
}

/// What is said of the service: its key, and what [`Endpoint`] needs.
pub(in crate::conversation) struct Account<'a> {
    pub(in crate::conversation) key: Option<&'a Secret>,
    pub(in crate::conversation) key_use: KeyUse,
    pub(in crate::conversation) base_url: Option<&'a String>,
    pub(in crate::conversation) model: &'a String,
}

impl<'a> Account<'a> {
    pub(in crate::conversation) fn of(vendor: Vendor, options: &'a AiOptions) -> Self {
        let filled = |url: &&String| !url.trim().is_empty();
        let (key, key_use, base_url, model) = match options.services.of(vendor) {
            Some(own) => (&own.api_key, own.auth, &own.base_url, &own.model),
            None => (&options.key, options.key_use, &options.base_url, &options.model),
        };
        let key = key.as_ref().filter(|key| !key.expose().trim().is_empty());
        Self { key, key_use, base_url: base_url.as_ref().filter(filled), model }
    }

    /// Where the service is said to be and what gives it a key; `usual`: where it is otherwise.
    pub(in crate::conversation) fn place(&self, vendor: Vendor, usual: &'static str) -> Place {
        let prefix = vendor.prefix;
        Place {
            url: self.base_url.cloned(),
            url_option: format!("{prefix}_base_url"),
            usual,
            key_options: vec![format!("{prefix}_api_key")],
            has_key: self.key.is_some() && self.key_use != KeyUse::None,
        }
    }
}

/// Where the sessions are said to be and what gives them a key, for the rule that a key stays with its server.
pub fn place(dialect: &'static Dialect, options: &AiOptions) -> Place {
    Account::of(dialect.vendor, options).place(dialect.vendor, dialect.usual.unwrap_or_default())
}

/// Where the sessions are. `headers` go with the module's own.
///
/// Errors where no attempt can succeed: without a key, a model or a usable URL, or if the service cannot do what is asked.
pub fn check(
    dialect: &'static Dialect,
    options: &AiOptions,
    headers: Vec<(String, Secret)>,
) -> Result<Target, BadOptions> {
    let Account { key, key_use, base_url, model } = Account::of(dialect.vendor, options);
    let key_use = if key_use == KeyUse::Auto { dialect.key_use } else { key_use };
    let auth = match (key_use, key.cloned()) {
        (KeyUse::None, _) if base_url.is_some() => Auth::None,
        (KeyUse::None, _) => return Err(BadOptions::KeyNeeded(dialect.vendor)),
        (_, None) => return Err(BadOptions::NoKey(dialect.vendor)),
        (KeyUse::ApiKey, Some(key)) => Auth::ApiKey(key),
        (KeyUse::Basic, Some(key)) => Auth::Basic(key),
        (KeyUse::Bearer | KeyUse::Auto, Some(key)) => Auth::Bearer(key),
    };
    let of_openai = |value: &Option<String>| value.clone().filter(|_| options.services.of(dialect.vendor).is_none());
    let endpoint = Endpoint {
        dialect,
        base_url: base_url.cloned(),
        model: model.clone(),
        auth,
        organization: of_openai(&options.organization),
        project: of_openai(&options.project),
        safety_identifier: of_openai(&options.safety_identifier),
        headers,
    };
    let target = endpoint.handshake().map_err(|error| match error {
        BadEndpoint::NoModel => BadOptions::NoModel(dialect.vendor),
        BadEndpoint::NoKey => BadOptions::NoKey(dialect.vendor),
        error => BadOptions::Endpoint(dialect.vendor, error),
    })?;
    match dialect.refuses(options) {
        Some(advice) => Err(BadOptions::Refused(dialect.vendor, advice)),
        None => Ok(target),
    }
}

/// The engine of one call.
pub fn make(dialect: &'static Dialect, setup: Setup<'_>) -> Result<Box<dyn Engine>, BadOptions> {
    let mut config = config(dialect, setup)?;
    // Randomly keyed, so that no two calls have the same name of a session.
    config.seed = RandomState::new().hash_one(0_u8);
    Ok(Box::new(OpenAi::new(config)))
}

fn config(
    dialect: &'static Dialect,
    Setup { options, headers, policy, rate, codec }: Setup<'_>,
) -> Result<EngineConfig, BadOptions> {
    let mut config = EngineConfig::of(dialect, profile(dialect, options, wire_format(options.audio, rate, codec)));
    config.target = check(dialect, options, headers)?;
    config.raw_events = options.raw_events;
    config.profile_of = Some(profile_of);
    config.fit(policy);
    config.profile.check()?;
    Ok(config)
}

/// The session of options that have been changed.
fn profile_of(dialect: &'static Dialect, options: &AiOptions, format: AudioFormat) -> SessionProfile {
    let mut config = EngineConfig::of(dialect, profile(dialect, options, format));
    config.fit(&options.policy());
    config.profile
}

impl EngineConfig {
    /// Makes the session what the policy expects: who speaks, what interrupts, which functions there are.
    pub fn fit(&mut self, policy: &AgentConfig) {
        let profile = &mut self.profile;
        profile.modality = match policy.voice {
            VoiceMode::Engine => Modality::Audio,
            VoiceMode::Synthesis => Modality::Text,
        };
        // Where the module decides what interrupts, the server must not interrupt, nor answer what does not count.
        if self.dialect.switches && !policy.barge_in.is_the_engines() {
            profile.turn_detection = profile.turn_detection.passive();
        }
        profile.tools.retain(|tool| Builtin::named(&tool.name).is_none());
        let builtin = policy.tools.functions();
        profile
            .tools
            .extend(builtin.map(|(name, description, parameters)| Function::new(name, description, parameters)));
    }
}

fn turn_detection(options: &AiOptions) -> TurnDetection {
    match options.turn_detection {
        Detection::Server => TurnDetection::Server(ServerVad {
            threshold: Some(options.vad_threshold),
            prefix_padding_ms: Some(options.vad_prefix_padding_ms),
            silence_duration_ms: Some(options.vad_silence_duration_ms),
            idle_timeout_ms: (options.vad_idle_timeout_ms > 0).then_some(options.vad_idle_timeout_ms),
            ..ServerVad::default()
        }),
        Detection::Semantic => {
            TurnDetection::Semantic(SemanticVad { eagerness: options.vad_eagerness, ..SemanticVad::default() })
        }
        Detection::Local => TurnDetection::Off,
    }
}

fn profile(dialect: &Dialect, options: &AiOptions, format: AudioFormat) -> SessionProfile {
    let some = |text: &String| (!text.is_empty()).then(|| text.clone());
    SessionProfile {
        model: Account::of(dialect.vendor, options).model.clone(),
        instructions: options.system_prompt.clone(),
        voice: options.voice.clone().map(|voice| match dialect.custom_voices && voice.starts_with("voice_") {
            true => Voice::Custom(voice),
            false => Voice::Named(voice),
        }),
        speed: options.speed,
        input: format,
        output: format,
        turn_detection: turn_detection(options),
        noise_reduction: options.noise_reduction.map(|kind| NoiseReduction { kind, strength: None }),
        transcription: some(&options.transcription_model).map(|model| Transcription {
            model,
            language: some(&options.transcription_language),
            prompt: some(&options.transcription_prompt),
        }),
        tools: options.tools.clone(),
        mcp_servers: options.mcp_servers.clone(),
        max_output_tokens: options.max_response_tokens.map_or(MaxTokens::Unlimited, MaxTokens::Count),
        reasoning_effort: options.reasoning_effort.clone(),
        tool_choice: match options.tool_choice.as_deref() {
            None | Some("auto") => ToolChoice::Auto,
            Some("none") => ToolChoice::None,
            Some("required") => ToolChoice::Required,
            Some(name) => ToolChoice::Function(name.to_owned()),
        },
        parallel_tool_calls: options.parallel_tool_calls,
        fields: options.session_fields.clone(),
        ..SessionProfile::default()
    }
}

/// The wire's format: a narrow-band call has nothing that G.711 would lose, and what was A-law stays it, bit for bit.
pub(in crate::conversation) fn wire_format(audio: WireAudio, rate: SampleRate, codec: Option<&str>) -> AudioFormat {
    match audio {
        WireAudio::Pcm => AudioFormat::Pcm24k,
        WireAudio::Pcmu => AudioFormat::Pcmu,
        WireAudio::Pcma => AudioFormat::Pcma,
        WireAudio::Auto if rate > SampleRate::HZ_8000 => AudioFormat::Pcm24k,
        WireAudio::Auto if codec.is_some_and(|codec| codec.eq_ignore_ascii_case("PCMA")) => AudioFormat::Pcma,
        WireAudio::Auto => AudioFormat::Pcmu,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use super::super::dialect::OPENAI;
    use super::*;
    use crate::conversation::agent::{Greeting, SpeechTrigger, TurnTaking};
    use crate::conversation::engines::ENGINES;
    use crate::conversation::options::Service;
    use crate::conversation::plan::AiPlan;
    use crate::units::{Encoding, Law};

    fn configured(options: &AiOptions, rate: SampleRate, codec: Option<&str>) -> Result<EngineConfig, BadOptions> {
        config(&OPENAI, Setup { options, headers: Vec::new(), policy: &options.policy(), rate, codec })
    }

    fn options() -> AiOptions {
        AiOptions { key: Some(Secret::new("sk-1")), model: "m".into(), ..AiOptions::default() }
    }

    #[test]
    fn a_conversation_without_key_or_model_is_refused_with_advice() {
        let refused = |options: AiOptions| ENGINES[0].check(&options, Vec::new()).unwrap_err();
        for key in [None, Some(Secret::new(" "))] {
            assert!(refused(AiOptions { key, ..options() }).starts_with("no API key: set openai_api_key in "));
        }
        assert!(refused(AiOptions { model: " ".into(), ..options() }).starts_with("no model: set openai_model, "));
        let none = AiOptions { key_use: KeyUse::None, key: None, ..options() };
        let needed = "openai_auth=none needs openai_base_url, the server that wants no key";
        assert_eq!(refused(none.clone()), needed);
        assert_eq!(refused(AiOptions { service: Service::Azure, ..none.clone() }), needed);
        let own = AiOptions { base_url: Some("ws://127.0.0.1:8000".into()), ..none };
        let target = ENGINES[0].check(&own, Vec::new()).unwrap();
        assert_eq!((target.url.as_str(), target.headers.len()), ("ws://127.0.0.1:8000/v1/realtime?model=m", 0));
    }

    #[test]
    fn the_key_goes_as_the_service_wants_it() {
        let names = |options: AiOptions| {
            let headers = ENGINES[0].check(&options, vec![("X-A".into(), Secret::new("b"))]).unwrap().headers;
            headers.into_iter().map(|(name, _)| name).collect::<Vec<_>>()
        };
        assert_eq!(names(options()), ["Authorization", "X-A"]);
        let azure =
            AiOptions { service: Service::Azure, base_url: Some("https://r.openai.azure.com".into()), ..options() };
        assert_eq!(names(azure.clone()), ["api-key", "X-A"]);
        assert_eq!(names(AiOptions { key_use: KeyUse::Bearer, ..azure }), ["Authorization", "X-A"]);
    }

    #[test]
    fn a_narrow_band_call_passes_as_it_is_and_a_wide_band_is_linear() {
        let format =
            |audio, rate, codec| configured(&AiOptions { audio, ..options() }, rate, codec).unwrap().profile.input;
        let (narrow, wide) = (SampleRate::HZ_8000, SampleRate::HZ_16000);
        assert_eq!(format(WireAudio::Auto, narrow, None), AudioFormat::Pcmu);
        assert_eq!(format(WireAudio::Auto, narrow, Some("PCMA")), AudioFormat::Pcma);
        assert_eq!(format(WireAudio::Auto, wide, Some("G722")), AudioFormat::Pcm24k);
        assert_eq!(format(WireAudio::Pcm, narrow, Some("PCMU")), AudioFormat::Pcm24k);
        assert_eq!(format(WireAudio::Pcmu, wide, None), AudioFormat::Pcmu);
        let wire = format(WireAudio::Auto, narrow, Some("PCMA")).wire();
        assert_eq!((wire.bytes_per_second(), wire.encoding), (8_000, Encoding::G711(Law::A)));
    }

    #[test]
    fn options_become_the_session_and_the_policy() {
        let options = AiOptions {
            output: VoiceMode::Synthesis,
            voice: Some("voice_7".into()),
            barge_in_min_ms: 300,
            greeting_instructions: Some("Say hello.".into()),
            idle_timeout_ms: 9_000,
            builtin_tools: vec![Builtin::HangUp],
            transcription_model: "t".into(),
            reconnect_max: 2,
            ..options()
        };
        let profile = configured(&options, SampleRate::HZ_8000, None).unwrap().profile;
        assert_eq!((profile.modality, &profile.voice), (Modality::Text, &Some(Voice::Custom("voice_7".into()))));
        assert_eq!(profile.tools[0].name, "hang_up");
        assert_eq!(profile.transcription.as_ref().unwrap().language, None);
        assert!(!profile.turn_detection.interrupts(), "the server would interrupt before the 300 ms");
        let plan = AiPlan::new(&ENGINES[0], &options, Vec::new(), SampleRate::HZ_8000, None).unwrap();
        assert_eq!(plan.agent.turns, TurnTaking::Engine { responds: false, interrupts: false });
        assert_eq!(plan.agent.greeting, Some(Greeting::Instructions("Say hello.".into())));
        assert_eq!(plan.agent.idle.as_ref().unwrap().after, Duration::from_secs(9));
        assert_eq!((plan.agent.reconnect.retry.attempts, plan.agent.barge_in.speech), (2, SpeechTrigger::Engine));
        let silent = AiOptions { vad_threshold: 2.0, ..self::options() };
        let refused = configured(&silent, SampleRate::HZ_8000, None);
        assert!(matches!(refused, Err(BadOptions::Profile(_))));
    }

    #[test]
    fn options_print_neither_key_nor_prompt() {
        let shown = format!(
            "{:?}",
            AiOptions { system_prompt: "hunter2".into(), key: Some(Secret::new("hunter2")), ..options() }
        );
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}
