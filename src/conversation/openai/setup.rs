//! From an operator's options to the engine of one call.
//!
//! Pure; on the API or dialplan thread. What the options' rows have checked one by one is checked here as a whole.

use super::super::agent::{AgentConfig, Builtin, VoiceMode};
use super::super::engine::Engine;
use super::super::functions::Function;
use super::super::options::{AiOptions, Detection, KeyUse, Service, WireAudio};
use super::super::setup::Setup;
use super::endpoint::{Auth, BadEndpoint, Endpoint};
use super::engine::{EngineConfig, OpenAi};
use super::profile::{
    AudioFormat, BadProfile, MaxTokens, Modality, NoiseReduction, SemanticVad, ServerVad, SessionProfile,
    Transcription, TurnDetection, Voice,
};
use crate::peer::Target;
use crate::units::{SampleRate, Secret};

/// The options do not make a session. The text is the reply to the operator.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadOptions {
    /// Nobody gave a key.
    #[error(
        "no API key: set openai_api_key in audio_stream.conf.xml or OPENAI_API_KEY in FreeSWITCH's environment, or \
         openai_auth=none for a server of your own that wants none"
    )]
    NoKey,
    /// OpenAI and Azure want one.
    #[error("openai_auth=none needs openai_base_url, the server that wants no key")]
    KeyNeeded,
    /// Nobody gave a model.
    #[error(
        "no model: set openai_model, at Azure to the name of the deployment; models have end dates, so none is built in"
    )]
    NoModel,
    /// There is no server of that address.
    #[error("openai_base_url: {0}")]
    Endpoint(BadEndpoint),
    /// The server would not take it.
    #[error("{0}")]
    Profile(#[from] BadProfile),
}

/// Where the sessions are. `headers` go with the module's own.
///
/// Errors where no attempt can succeed: without a key, a model or a usable URL.
pub fn check(options: &AiOptions, headers: Vec<(String, Secret)>) -> Result<Target, BadOptions> {
    let key = options.key.clone().filter(|key| !key.expose().trim().is_empty());
    let has_base = options.base_url.as_ref().is_some_and(|url| !url.trim().is_empty());
    let auth = match (options.key_use, key) {
        (KeyUse::None, _) if has_base && options.service == Service::OpenAi => Auth::None,
        (KeyUse::None, _) => return Err(BadOptions::KeyNeeded),
        (_, None) => return Err(BadOptions::NoKey),
        (KeyUse::Bearer, Some(key)) => Auth::Bearer(key),
        (KeyUse::ApiKey, Some(key)) => Auth::ApiKey(key),
        (KeyUse::Auto, Some(key)) => match options.service {
            Service::OpenAi => Auth::Bearer(key),
            Service::Azure => Auth::ApiKey(key),
        },
    };
    let endpoint = Endpoint {
        service: options.service,
        base_url: options.base_url.clone(),
        model: options.model.clone(),
        auth,
        organization: options.organization.clone(),
        project: options.project.clone(),
        safety_identifier: options.safety_identifier.clone(),
        headers,
    };
    endpoint.handshake().map_err(|error| match error {
        BadEndpoint::NoModel => BadOptions::NoModel,
        BadEndpoint::NoKey => BadOptions::NoKey,
        error => BadOptions::Endpoint(error),
    })
}

/// The engine of one call.
pub fn make(setup: Setup<'_>) -> Result<Box<dyn Engine>, BadOptions> {
    Ok(Box::new(OpenAi::new(config(setup)?)))
}

fn config(Setup { options, headers, policy, rate, codec }: Setup<'_>) -> Result<EngineConfig, BadOptions> {
    let mut config = EngineConfig::new(profile(options, wire(options.audio, rate, codec)));
    config.target = check(options, headers)?;
    config.fit(policy);
    config.profile.check()?;
    Ok(config)
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
        if !policy.barge_in.is_the_engines() {
            profile.turn_detection = profile.turn_detection.passive();
        }
        profile.tools.retain(|tool| Builtin::named(&tool.name).is_none());
        for builtin in &policy.tools.builtin {
            let parameters = serde_json::from_str(builtin.parameters()).unwrap_or_default();
            profile.tools.push(Function::new(builtin.name(), builtin.description(), parameters));
        }
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

fn profile(options: &AiOptions, format: AudioFormat) -> SessionProfile {
    let some = |text: &String| (!text.is_empty()).then(|| text.clone());
    SessionProfile {
        instructions: options.system_prompt.clone(),
        voice: options.voice.clone().map(|voice| match voice.starts_with("voice_") {
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
        max_output_tokens: options.max_response_tokens.map_or(MaxTokens::Unlimited, MaxTokens::Count),
        reasoning_effort: options.reasoning_effort.clone(),
        ..SessionProfile::default()
    }
}

/// The wire's format: a narrow-band call has nothing that G.711 would lose, and what was A-law stays it, bit for bit.
fn wire(audio: WireAudio, rate: SampleRate, codec: Option<&str>) -> AudioFormat {
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

    use super::*;
    use crate::conversation::agent::{Greeting, SpeechTrigger, TurnTaking};
    use crate::conversation::engines::ENGINES;
    use crate::conversation::plan::AiPlan;
    use crate::units::{Encoding, Law};

    fn configured(options: &AiOptions, rate: SampleRate, codec: Option<&str>) -> Result<EngineConfig, BadOptions> {
        config(Setup { options, headers: Vec::new(), policy: &options.policy(), rate, codec })
    }

    fn options() -> AiOptions {
        AiOptions { key: Some(Secret::new("sk-1")), model: "m".into(), ..AiOptions::default() }
    }

    #[test]
    fn a_conversation_without_key_or_model_is_refused_with_advice() {
        let refused = |options: AiOptions| check(&options, Vec::new()).unwrap_err();
        for key in [None, Some(Secret::new(" "))] {
            assert_eq!(refused(AiOptions { key, ..options() }), BadOptions::NoKey);
        }
        assert_eq!(refused(AiOptions { model: " ".into(), ..options() }), BadOptions::NoModel);
        let none = AiOptions { key_use: KeyUse::None, key: None, ..options() };
        assert_eq!(refused(none.clone()), BadOptions::KeyNeeded);
        assert_eq!(refused(AiOptions { service: Service::Azure, ..none.clone() }), BadOptions::KeyNeeded);
        let own = AiOptions { base_url: Some("ws://127.0.0.1:8000".into()), ..none };
        let target = check(&own, Vec::new()).unwrap();
        assert_eq!((target.url.as_str(), target.headers.len()), ("ws://127.0.0.1:8000/v1/realtime?model=m", 0));
    }

    #[test]
    fn the_key_goes_as_the_service_wants_it() {
        let names = |options: AiOptions| {
            let headers = check(&options, vec![("X-A".into(), Secret::new("b"))]).unwrap().headers;
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
