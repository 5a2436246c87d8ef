//! From the options of a conversation to the configurations of its protocol and its policy, for one call.
//!
//! Pure; on the API or dialplan thread. What the options' rows have checked one by one is checked here as a whole.

use std::time::Duration;

use super::super::conversation::align;
use super::ears::EarSettings;
use super::options::{AiOptions, Detection, KeyUse, WireAudio};
use crate::agent::{
    AgentConfig, BargeIn, Greeting, Idle, Reconnect, SentenceRules, SpeechTrigger, ToolPolicy, TurnTaking, VoiceMode,
};
use crate::dsp::VadSettings;
use crate::protocol::CaptureFormat;
use crate::protocol::openai_realtime::{
    AudioFormat, Auth, BadEndpoint, BadProfile, Endpoint, EngineConfig, Handshake, NoiseReduction, SemanticVad,
    ServerVad, Service, SessionProfile, Transcription, TurnDetection, Voice,
};
use crate::tts::{BadSetting, SpeechSettings};
use crate::units::{Encoding, Law, PcmFormat, SampleRate, Secret};

/// The options do not make a conversation. The text is the reply to the operator.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadPlan {
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
    /// The far end cannot be reached so.
    #[error("openai_base_url: {0}")]
    Endpoint(BadEndpoint),
    /// Nobody can speak what the model writes.
    #[error("{0}")]
    Speech(#[from] BadSetting),
    /// The far end would not take it.
    #[error("{0}")]
    Profile(#[from] BadProfile),
}

impl AiOptions {
    /// URL and headers of the handshake; `headers` go with the module's own.
    pub fn handshake(&self, headers: Vec<(String, Secret)>) -> Result<Handshake, BadPlan> {
        let key = self.key.clone().filter(|key| !key.expose().trim().is_empty());
        let has_base = self.base_url.as_ref().is_some_and(|url| !url.trim().is_empty());
        let auth = match (self.key_use, key) {
            (KeyUse::None, _) if has_base && self.service == Service::OpenAi => Auth::None,
            (KeyUse::None, _) => return Err(BadPlan::KeyNeeded),
            (_, None) => return Err(BadPlan::NoKey),
            (KeyUse::Bearer, Some(key)) => Auth::Bearer(key),
            (KeyUse::ApiKey, Some(key)) => Auth::ApiKey(key),
            (KeyUse::Auto, Some(key)) => match self.service {
                Service::OpenAi => Auth::Bearer(key),
                Service::Azure => Auth::ApiKey(key),
            },
        };
        let endpoint = Endpoint {
            service: self.service,
            base_url: self.base_url.clone(),
            model: self.model.clone(),
            auth,
            organization: self.organization.clone(),
            project: self.project.clone(),
            safety_identifier: self.safety_identifier.clone(),
            headers,
        };
        endpoint.handshake().map_err(|error| match error {
            BadEndpoint::NoModel => BadPlan::NoModel,
            BadEndpoint::NoKey => BadPlan::NoKey,
            error => BadPlan::Endpoint(error),
        })
    }

    fn turn_detection(&self) -> TurnDetection {
        match self.turn_detection {
            Detection::Server => TurnDetection::Server(ServerVad {
                threshold: Some(self.vad_threshold),
                prefix_padding_ms: Some(self.vad_prefix_padding_ms),
                silence_duration_ms: Some(self.vad_silence_duration_ms),
                idle_timeout_ms: (self.vad_idle_timeout_ms > 0).then_some(self.vad_idle_timeout_ms),
                ..ServerVad::default()
            }),
            Detection::Semantic => {
                TurnDetection::Semantic(SemanticVad { eagerness: self.vad_eagerness, ..SemanticVad::default() })
            }
            Detection::Local => TurnDetection::Off,
        }
    }

    fn profile(&self, format: AudioFormat) -> SessionProfile {
        let some = |text: &String| (!text.is_empty()).then(|| text.clone());
        SessionProfile {
            instructions: self.system_prompt.clone(),
            voice: self.voice.clone().map(|voice| match voice.starts_with("voice_") {
                true => Voice::Custom(voice),
                false => Voice::Named(voice),
            }),
            speed: self.speed,
            input: format,
            output: format,
            turn_detection: self.turn_detection(),
            noise_reduction: self.noise_reduction.map(|kind| NoiseReduction { kind, strength: None }),
            transcription: some(&self.transcription_model).map(|model| Transcription {
                model,
                language: some(&self.transcription_language),
                prompt: some(&self.transcription_prompt),
            }),
            tools: self.tools.clone(),
            max_output_tokens: self.max_response_tokens,
            reasoning_effort: self.reasoning_effort.clone(),
            ..SessionProfile::default()
        }
    }

    /// Who speaks what the model writes. OpenAI's key of the conversation is also the one of its speech, but goes to nobody else.
    fn speech(&self) -> Result<SpeechSettings, BadSetting> {
        let elsewhere = self.service != Service::OpenAi || self.base_url.is_some() || self.speech.has_url();
        let key = self.key.as_ref().filter(|_| !elsewhere).map(|key| key.expose().to_owned());
        let resolved = self.speech.resolve(&|variable| key.clone().filter(|_| variable == "OPENAI_API_KEY"));
        match resolved {
            // That of the conversation is not for another server, wherever it was found.
            Err(BadSetting::Missing { provider: provider @ "openai", variable: Some(_), .. }) => {
                Err(BadSetting::Missing { provider, key: "tts_openai_api_key".to_owned(), variable: None })
            }
            resolved => resolved,
        }
    }

    fn policy(&self) -> AgentConfig {
        let ms = |ms: u32| Duration::from_millis(ms.into());
        let greeting = self.greeting.clone().map(Greeting::Text);
        AgentConfig {
            voice: self.output,
            barge_in: BargeIn { speech: self.barge_in, min_speech: ms(self.barge_in_min_ms), dtmf: self.barge_in_dtmf },
            greeting: greeting.or_else(|| self.greeting_instructions.clone().map(Greeting::Instructions)),
            idle: (self.idle_timeout_ms > 0).then(|| Idle {
                after: ms(self.idle_timeout_ms),
                instructions: self.idle_instructions.clone(),
                hang_up_at: self.idle_hang_up_at,
            }),
            dtmf_to_model: self.dtmf_to_model,
            tools: ToolPolicy {
                builtin: self.builtin_tools.clone(),
                custom: Vec::new(),
                destinations: self.transfer_destinations.clone(),
                variables: self.tool_variables.clone(),
            },
            tool_timeout: ms(self.tool_timeout_ms),
            response_timeout: ms(self.response_timeout_ms),
            sentences: SentenceRules {
                clean: self.clean,
                abbreviations: self.abbreviations.clone(),
                ..SentenceRules::default()
            },
            apology: self.apology.clone(),
            reconnect: Reconnect {
                attempts: self.reconnect_max,
                first_wait: ms(self.reconnect_ms),
                audio: ms(self.ring_buffer_ms),
                ..Reconnect::default()
            },
            ..AgentConfig::default()
        }
    }
}

/// A conversation for one call.
#[derive(Clone, Debug)]
pub struct AiPlan {
    /// Of the protocol.
    pub engine: EngineConfig,
    /// Of the policy.
    pub agent: AgentConfig,
    /// Of the voice, where the model writes.
    pub speech: Option<SpeechSettings>,
    /// What the caller's side goes through.
    pub ears: EarSettings,
}

impl AiPlan {
    /// What `options` make of a call whose caller is heard at `rate` by `codec`, FreeSWITCH's name for it, if known.
    pub fn new(options: &AiOptions, rate: SampleRate, codec: Option<&str>) -> Result<Self, BadPlan> {
        let mut engine = EngineConfig::new(options.profile(wire(options.audio, rate, codec)));
        let mut agent = options.policy();
        align(&mut engine, &mut agent);
        engine.profile.check()?;
        let speech = match options.output {
            VoiceMode::FarEnd => None,
            VoiceMode::Synthesis => Some(options.speech()?),
        };
        let local = agent.turns == TurnTaking::Local || agent.barge_in.speech == SpeechTrigger::Local;
        let ms = |ms: u32| Duration::from_millis(ms.into());
        let ears = EarSettings {
            caller: options.caller,
            // Out of range is nothing that its options have let pass.
            vad: if local {
                let vad = VadSettings::new(
                    options.ears_threshold,
                    ms(options.ears_min_speech_ms),
                    ms(options.ears_hangover_ms),
                );
                Some(vad.unwrap_or_default())
            } else {
                None
            },
        };
        Ok(Self { engine, agent, speech, ears })
    }

    /// The form captured audio must have, in messages of `message_ms`.
    pub const fn capture(&self, message_ms: u32) -> CaptureFormat {
        let format = self.engine.profile.input;
        let encoding = match format {
            AudioFormat::Pcm24k => Encoding::S16Le,
            AudioFormat::Pcmu => Encoding::G711(Law::Mu),
            AudioFormat::Pcma => Encoding::G711(Law::A),
        };
        CaptureFormat { pcm: PcmFormat { rate: format.rate(), channels: 1 }, encoding, message_ms }
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
    use super::*;
    use crate::agent::Builtin;
    use crate::protocol::openai_realtime::Modality;

    fn options() -> AiOptions {
        AiOptions { key: Some(Secret::new("sk-1")), model: "m".into(), ..AiOptions::default() }
    }

    #[test]
    fn a_conversation_without_key_or_model_is_refused_and_says_where_to_put_them() {
        let refused = |options: AiOptions| options.handshake(Vec::new()).unwrap_err();
        for key in [None, Some(Secret::new(" "))] {
            assert_eq!(refused(AiOptions { key, ..options() }), BadPlan::NoKey);
        }
        assert_eq!(refused(AiOptions { model: " ".into(), ..options() }), BadPlan::NoModel);
        let none = AiOptions { key_use: KeyUse::None, key: None, ..options() };
        assert_eq!(refused(none.clone()), BadPlan::KeyNeeded);
        assert_eq!(refused(AiOptions { service: Service::Azure, ..none.clone() }), BadPlan::KeyNeeded);
        let own = AiOptions { base_url: Some("ws://127.0.0.1:8000".into()), ..none };
        let handshake = own.handshake(Vec::new()).unwrap();
        assert_eq!((handshake.url.as_str(), handshake.headers.len()), ("ws://127.0.0.1:8000/v1/realtime?model=m", 0));
    }

    #[test]
    fn the_key_goes_as_the_service_wants_it() {
        let names = |options: AiOptions| {
            let headers = options.handshake(vec![("X-A".into(), Secret::new("b"))]).unwrap().headers;
            headers.into_iter().map(|(name, _)| name).collect::<Vec<_>>()
        };
        assert_eq!(names(options()), ["Authorization", "X-A"]);
        let azure =
            AiOptions { service: Service::Azure, base_url: Some("https://r.openai.azure.com".into()), ..options() };
        assert_eq!(names(azure.clone()), ["api-key", "X-A"]);
        assert_eq!(names(AiOptions { key_use: KeyUse::Bearer, ..azure }), ["Authorization", "X-A"]);
    }

    #[test]
    fn a_narrow_band_call_is_passed_through_and_a_wide_band_call_is_linear() {
        let format = |audio, rate, codec| {
            AiPlan::new(&AiOptions { audio, ..options() }, rate, codec).unwrap().engine.profile.input
        };
        let (narrow, wide) = (SampleRate::HZ_8000, SampleRate::HZ_16000);
        assert_eq!(format(WireAudio::Auto, narrow, None), AudioFormat::Pcmu);
        assert_eq!(format(WireAudio::Auto, narrow, Some("PCMA")), AudioFormat::Pcma);
        assert_eq!(format(WireAudio::Auto, wide, Some("G722")), AudioFormat::Pcm24k);
        assert_eq!(format(WireAudio::Pcm, narrow, Some("PCMU")), AudioFormat::Pcm24k);
        assert_eq!(format(WireAudio::Pcmu, wide, None), AudioFormat::Pcmu);
        let plan = AiPlan::new(&options(), narrow, Some("PCMA")).unwrap();
        assert_eq!((plan.agent.caller_bytes_per_second, plan.capture(40).encoding), (8_000, Encoding::G711(Law::A)));
    }

    #[test]
    fn options_become_the_session_and_the_policy() {
        let plan = AiPlan::new(
            &AiOptions {
                output: VoiceMode::Synthesis,
                voice: Some("voice_7".into()),
                barge_in_min_ms: 300,
                greeting_instructions: Some("Say hello.".into()),
                idle_timeout_ms: 9_000,
                builtin_tools: vec![Builtin::HangUp],
                transcription_model: "t".into(),
                reconnect_max: 2,
                ..options()
            },
            SampleRate::HZ_8000,
            None,
        )
        .unwrap();
        let profile = &plan.engine.profile;
        assert_eq!((profile.modality, &profile.voice), (Modality::Text, &Some(Voice::Custom("voice_7".into()))));
        assert_eq!(profile.tools[0].name, "hang_up");
        assert_eq!(profile.transcription.as_ref().unwrap().language, None);
        assert!(!profile.turn_detection.interrupts(), "the far end would interrupt before the 300 ms");
        assert_eq!(plan.agent.turns, TurnTaking::FarEnd { responds: true, interrupts: false });
        assert_eq!(plan.agent.greeting, Some(Greeting::Instructions("Say hello.".into())));
        assert_eq!(plan.agent.idle.as_ref().unwrap().after, Duration::from_secs(9));
        assert_eq!((plan.agent.reconnect.attempts, plan.agent.barge_in.speech), (2, SpeechTrigger::FarEnd));
        let silent = AiOptions { vad_threshold: 2.0, ..options() };
        assert!(matches!(AiPlan::new(&silent, SampleRate::HZ_8000, None), Err(BadPlan::Profile(_))));
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
