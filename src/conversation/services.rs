//! The engines by name, and what an operator says of each service besides OpenAI: its key, where it is, which model.
//!
//! Plain data, validated. The options are declared once; each service has them with its own prefix, as `xai_api_key`.

use std::fmt;

use serde_json::{Map, Value};

use crate::options::{
    Form, Options, Row, Variable, choice, choice_or, name, number, optional, options, secret, switch, text, values,
};
use crate::units::Secret;
use crate::units::choice::choice;
use crate::units::text::{shown, shown_url};

choice! {
    /// An engine, by the protocol that it speaks.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub enum EngineName {
        /// OpenAI, Azure OpenAI, compatible servers.
        #[default]
        OpenAi = "openai_realtime",
        /// xAI Grok.
        Xai = "xai_realtime",
        /// Azure Voice Live.
        VoiceLive = "voice_live",
        /// Inworld.
        Inworld = "inworld_realtime",
        /// Recognition, language model and voice, each by itself.
        Cascade = "cascade",
        /// Google's Gemini Live.
        Gemini = "gemini",
        /// Deepgram Voice Agent.
        Deepgram = "deepgram",
        /// ElevenLabs Agents.
        ElevenLabs = "elevenlabs",
        /// AssemblyAI Voice Agent.
        AssemblyAi = "assemblyai",
        /// OpenAI's Live API: GPT-Live.
        OpenAiLive = "openai_live",
        /// Ultravox.
        Ultravox = "ultravox",
    }
}

choice! {
    /// How sensitive a detection is.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub enum Sensitivity {
        /// Sooner, and sometimes wrongly.
        High = "high",
        /// Later, and more surely.
        Low = "low",
    }
}

choice! {
    /// Which service writes down the caller of a cascade, by what it speaks.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub enum SttProvider {
        /// A server with OpenAI's `/audio/transcriptions`, asked for each turn.
        #[default]
        OpenAi = "openai",
        /// Deepgram's live transcription, which hears the caller all the time.
        Deepgram = "deepgram",
    }
}

choice! {
    /// How the key is sent to the service.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub enum KeyUse {
        /// As the service expects it: `api-key` at Azure, `x-goog-api-key` at Google, `Basic` at Inworld, `Token` at Deepgram,
        /// otherwise a bearer token.
        #[default]
        Auto = "auto",
        /// `Authorization: Bearer`.
        Bearer = "bearer",
        /// `api-key`; at Google `x-goog-api-key`.
        ApiKey = "api_key",
        /// `Authorization: Basic`.
        Basic = "basic",
        /// No key is sent.
        None = "none",
    }
}

options! {
    /// One part of a cascade: where it is and what it is asked for.
    #[derive(Clone, PartialEq, Debug)]
    pub struct Part, variables "AUDIO_STREAM_AI_" {
        /// URL of the server: its address, its `/v1`, or everything.
        url: Option<String> = optional("an http or https URL").shown_by(shown_url);
        /// Model that the server is asked for.
        model: String = name("the name of a model");
        /// API key, if the server wants one. Keep it in this file.
        api_key: Option<Secret> = secret("the API key of the server");
    }
}

options! {
    /// An agent of ElevenLabs: which, and what it is told when a conversation begins.
    #[derive(Clone, PartialEq)]
    pub struct HostedAgent, variables "AUDIO_STREAM_AI_" {
        /// ElevenLabs: API key, for agents that are not public. Keep it in this file or in FreeSWITCH's environment.
        api_key: Option<Secret> = secret("the API key of the service").key("elevenlabs_api_key").environment("ELEVENLABS_API_KEY");
        /// ElevenLabs: the agent.
        agent_id: String = name("an id such as agent_…").key("elevenlabs_agent_id");
        /// ElevenLabs: the agent is public, so that no key is used.
        public: bool = switch().default("false").key("elevenlabs_public");
        /// ElevenLabs: URL of the service, if it is not the usual one, such as `https://api.eu.residency.elevenlabs.io`.
        base_url: Option<String> = optional("a ws, wss, http or https URL").shown_by(shown_url).key("elevenlabs_base_url");
        /// ElevenLabs: environment of the agent, if it is not the usual one.
        environment: Option<String> = optional("a name such as staging").key("elevenlabs_environment");
        /// ElevenLabs: language model, in place of the agent's own.
        model: String = name("the name of a model").key("elevenlabs_model");
        /// ElevenLabs: values for the `{{variables}}` in the agent's texts: `{"name": "Ann", "orders": 2}`.
        variables: Map<String, Value> = text("a JSON object of texts, numbers and switches", scalars).json().key("elevenlabs_variables");
        /// ElevenLabs: further settings of the agent that this conversation overrides, such as `{"tts": {"stability": 0.5}}`. The agent has
        /// to allow each. Settings that have options of their own are refused.
        overrides: Map<String, Value> = text("a JSON object", overrides).json().key("elevenlabs_overrides");
        /// ElevenLabs: further fields for a language model of your own.
        llm_body: Map<String, Value> = text("a JSON object", |text| object(text, &[])).json().key("elevenlabs_llm_body");
        /// ElevenLabs: your id of the caller.
        user_id: Option<String> = optional("an id").key("elevenlabs_user_id");
    }
}

impl fmt::Debug for HostedAgent {
    /// What the caller is to the operator is not shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostedAgent")
            .field("agent_id", &self.agent_id)
            .field("public", &self.public)
            .finish_non_exhaustive()
    }
}

/// Values that a text can have in place of its variables.
fn scalars(text: &str) -> Result<Map<String, Value>, String> {
    let object = object(text, &[])?;
    match object.iter().find(|(_, value)| !(value.is_string() || value.is_number() || value.is_boolean())) {
        Some((name, _)) => Err(format!("'{}' is no text, number or switch", shown(name))),
        None => Ok(object),
    }
}

/// Settings of a hosted agent that options decide, by their paths.
const OWN_SETTINGS: [&str; 9] = [
    "agent.prompt.prompt",
    "agent.prompt.llm",
    "agent.prompt.reasoning_effort",
    "agent.first_message",
    "agent.language",
    "tts.voice_id",
    "tts.speed",
    "asr.keywords",
    "conversation.text_only",
];

fn overrides(text: &str) -> Result<Map<String, Value>, String> {
    object(text, &OWN_SETTINGS)
}

options! {
    /// What is said of AssemblyAI's Voice Agent.
    #[derive(Clone, PartialEq, Debug)]
    pub struct AssemblyAiOptions, variables "AUDIO_STREAM_AI_" {
        /// AssemblyAI: API key. Keep it in this file or in FreeSWITCH's environment.
        api_key: Option<Secret> = secret("the API key of the service").key("assemblyai_api_key").environment("ASSEMBLYAI_API_KEY");
        /// AssemblyAI: id of an agent that is stored there. It has the instructions, greeting, voice, language model and recognition, so the
        /// options for these are refused. If it is not set, the module configures an agent.
        agent: Option<String> = optional("the id of an agent").key("assemblyai_agent");
        /// AssemblyAI: URL of the service, if it is not the usual one, such as `wss://agents.eu.assemblyai.com`.
        base_url: Option<String> = optional("a ws, wss, http or https URL").shown_by(shown_url).key("assemblyai_base_url");
        /// AssemblyAI: further fields of the session, such as `{"input": {"turn_detection": {"max_silence": 4000}}, "output": {"volume": 80}}`.
        /// Fields that have options of their own are refused.
        session: Map<String, Value> = text("a JSON object", |text| object(text, &OWN_OF_ASSEMBLYAI)).json().key("assemblyai_session");
    }
}

/// Fields of AssemblyAI's session that options decide, by their paths.
const OWN_OF_ASSEMBLYAI: [&str; 11] = [
    "agent_id",
    "system_prompt",
    "greeting",
    "tools",
    "input.format",
    "input.keyterms",
    "input.turn_detection.vad_threshold",
    "input.turn_detection.min_silence",
    "input.turn_detection.interrupt_response",
    "output.format",
    "output.voice",
];

options! {
    /// What is said of Ultravox.
    #[derive(Clone, PartialEq, Debug)]
    pub struct UltravoxOptions, variables "AUDIO_STREAM_AI_" {
        /// Ultravox: API key. Keep it in this file or in FreeSWITCH's environment.
        api_key: Option<Secret> = secret("the API key of the service").key("ultravox_api_key").environment("ULTRAVOX_API_KEY");
        /// Ultravox: id of an agent that is stored there. It has the instructions, model, language and turn detection, so the options for these
        /// are refused. If it is not set, the module says what the agent is.
        agent: Option<String> = text("the id of an agent", agent_id).key("ultravox_agent");
        /// Ultravox: model of the conversation. If it is not set, the service selects one.
        model: String = name("the name of a model").key("ultravox_model");
        /// Ultravox: URL of the service, if it is not the usual one.
        base_url: Option<String> = optional("a ws, wss, http or https URL").shown_by(shown_url).key("ultravox_base_url");
        /// Ultravox: further fields of each call, such as `{"temperature": 0.4, "recordingEnabled": true}` or, for a stored agent,
        /// `{"templateContext": {"name": "Ann"}}`. `selectedTools` are added to the module's. Fields that have options of their own are
        /// refused.
        call: Map<String, Value> = text("a JSON object", |text| object(text, &OWN_OF_ULTRAVOX)).json().key("ultravox_call");
    }
}

fn agent_id(text: &str) -> Result<Option<String>, String> {
    match values::plain(text)? {
        Some(id) if !id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_')) => {
            Err("give an id of letters, digits, - and _".to_owned())
        }
        id => Ok(id.map(str::to_owned)),
    }
}

/// Fields of a call of Ultravox's that options decide, by their paths.
const OWN_OF_ULTRAVOX: [&str; 12] = [
    "systemPrompt",
    "model",
    "voice",
    "languageHint",
    "medium",
    "initialMessages",
    "initialOutputMedium",
    "firstSpeaker",
    "firstSpeakerSettings",
    "vadSettings.turnEndpointDelay",
    "vadSettings.frameActivationThreshold",
    "toolOverrides.add",
];

options! {
    /// How a cascade hears the caller.
    #[derive(Clone, PartialEq, Debug)]
    pub struct RecogniserOptions, variables "AUDIO_STREAM_AI_" {
        /// Recognition of `engine=cascade`: with `openai` a server that is sent each turn when it is over, with `deepgram` Deepgram's live
        /// transcription, which hears the caller all the time.
        provider: SttProvider = choice().default("openai").key("stt_provider");
        /// Whether the language model of `engine=cascade` begins when the caller seems to have said all, before the turn is over. If they go
        /// on, that answer is thrown away unheard, and its tokens count. Needs `stt_provider=deepgram`.
        early: bool = switch().default("false").key("early_answer");
    }
}

/// The parts of a cascade.
#[derive(Clone, PartialEq, Default, Debug)]
pub struct Parts {
    /// How the caller is heard.
    pub recogniser: RecogniserOptions,
    /// The recognition.
    pub stt: Part,
    /// The language model.
    pub llm: Part,
}

impl Options for Parts {
    /// `stt_…` and `llm_…` for every option of a part.
    fn rows() -> Vec<Row<Self>> {
        let recogniser =
            RecogniserOptions::rows().into_iter().map(|row| row.within(|parts: &mut Self| &mut parts.recogniser));
        let stt = Part::rows().into_iter().map(|row| {
            let row = row.within(|parts: &mut Self| &mut parts.stt);
            let mut row = named(row, "stt", "Recognition of `engine=cascade`");
            if row.key == "stt_url" {
                row.allowed = "an http, https, ws or wss URL".to_owned();
                row.doc.push_str(" Deepgram's own servers need none.");
            }
            row
        });
        let llm = Part::rows().into_iter().map(|row| {
            named(
                row.within(|parts: &mut Self| &mut parts.llm),
                "llm",
                "Language model of `engine=cascade`, a server with OpenAI's `/chat/completions`",
            )
        });
        recogniser.chain(stt).chain(llm).collect()
    }
}

/// The same option with a prefix before its name, and a word before its text.
fn named<T>(mut row: Row<T>, prefix: &str, of: &str) -> Row<T> {
    row.key = format!("{prefix}_{}", row.key);
    row.doc = format!("{of}: {}", row.doc);
    let name = format!("AUDIO_STREAM_AI_{}", row.key.to_ascii_uppercase());
    row.variables = vec![Variable { name, form: Form::Same }];
    row
}

/// A service, as its options and messages name it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Vendor {
    /// Its name in messages.
    pub name: &'static str,
    /// What the names of its options begin with.
    pub prefix: &'static str,
    /// The variable of the environment with its key.
    pub key_variable: &'static str,
    /// The address of a customer, where each has one of their own; empty where the service has one for all.
    pub address: &'static str,
}

/// xAI.
pub const XAI: Vendor = Vendor { name: "xAI", prefix: "xai", key_variable: "XAI_API_KEY", address: "" };

/// Azure Voice Live.
pub const VOICE_LIVE: Vendor = Vendor {
    name: "Azure Voice Live",
    prefix: "voice_live",
    key_variable: "AZURE_VOICELIVE_API_KEY",
    address: "https://<resource>.services.ai.azure.com",
};

/// Inworld.
pub const INWORLD: Vendor = Vendor { name: "Inworld", prefix: "inworld", key_variable: "INWORLD_API_KEY", address: "" };

/// Google.
pub const GEMINI: Vendor =
    Vendor { name: "Gemini Live", prefix: "gemini", key_variable: "GEMINI_API_KEY", address: "" };

/// Deepgram.
pub const DEEPGRAM: Vendor =
    Vendor { name: "Deepgram", prefix: "deepgram", key_variable: "DEEPGRAM_API_KEY", address: "" };

options! {
    /// What is said of one service.
    #[derive(Clone, PartialEq, Debug)]
    pub struct ServiceOptions, variables "AUDIO_STREAM_AI_" {
        /// API key. Keep it in this file or in FreeSWITCH's environment.
        api_key: Option<Secret> = secret("the API key of the service");
        /// How the key is sent, as with `openai_auth`.
        auth: KeyUse = choice().default("auto");
        /// Model of the conversation.
        model: String = name("the name of a model");
        /// URL of the service, if it is not the usual one.
        base_url: Option<String> = optional("a ws, wss, http or https URL").shown_by(shown_url);
    }
}

/// Services with options of their own.
const COUNT: usize = 5;

/// The services, in the order of the documentation.
const SERVICES: [Vendor; COUNT] = [XAI, VOICE_LIVE, INWORLD, GEMINI, DEEPGRAM];

/// How the language model of Deepgram's agent is named.
const MODEL_OF_DEEPGRAM: &str = "Deepgram: language model of the conversation, after its provider and a slash, such as \
     `open_ai/gpt-4.1-mini` or `anthropic/claude-sonnet-5`.";

/// What is said of each service, in the order of the table.
#[derive(Clone, PartialEq, Default, Debug)]
pub struct OwnServices([ServiceOptions; COUNT]);

impl OwnServices {
    /// What is said of this one; `None` for one that has its options elsewhere.
    pub fn of(&self, vendor: Vendor) -> Option<&ServiceOptions> {
        let at = SERVICES.iter().position(|service| *service == vendor)?;
        self.0.get(at)
    }
}

impl Options for OwnServices {
    /// `<prefix>_…` for every option of a service.
    fn rows() -> Vec<Row<Self>> {
        let of_service = |(at, service): (usize, Vendor)| {
            ServiceOptions::rows().into_iter().map(move |row| {
                let row = row.within(move |own: &mut Self| &mut own.0[at]);
                let mut row = named(row, service.prefix, service.name);
                if row.key.ends_with("_base_url") && !service.address.is_empty() {
                    row.doc = format!("{}: URL of your resource, {}.", service.name, service.address);
                }
                if service == DEEPGRAM && row.key.ends_with("_model") {
                    row.doc = MODEL_OF_DEEPGRAM.to_owned();
                }
                if row.secret {
                    row.environment = Some(service.key_variable);
                }
                row
            })
        };
        SERVICES.into_iter().enumerate().flat_map(of_service).collect()
    }
}

options! {
    /// What only Gemini Live has.
    #[derive(Clone, PartialEq, Debug)]
    pub struct GeminiOptions, variables "AUDIO_STREAM_AI_" {
        /// How likely the service takes a sound for the beginning of speech, with `turn_detection=server_vad`; `auto`: as it does by
        /// itself.
        start_sensitivity: Option<Sensitivity> = choice_or("auto").default("auto");
        /// How likely it takes a pause for the end of the caller's turn.
        end_sensitivity: Option<Sensitivity> = choice_or("auto").default("auto");
        /// Speech after which the caller's turn has begun, as the service hears it. A lower number interrupts sooner, and for noises,
        /// too.
        speech_ms: u32 = number(1..=2_000, "ms").or_zero("the service's own").default("0");
        /// Length of the talk at which the service forgets its older half, so that it can last longer than the model's context.
        compression_tokens: u32 = number(1_000..=2_000_000, "tokens").or_zero("the service's own").default("0");
        /// Further fields of the session's `setup`, as a JSON object that is merged into the setup that the module sends: for example
        /// `{"generationConfig": {"temperature": 0.4}}`. Fields that the module sets by options of its own are refused.
        setup: Map<String, Value> = text("a JSON object", |text| object(text, &GEMINI_OWN)).json();
    }
}

/// Fields of the setup that options decide, by their paths: another value would contradict what the module does.
const GEMINI_OWN: [&str; 12] = [
    "model",
    "systemInstruction",
    "tools",
    "sessionResumption",
    "historyConfig",
    "inputAudioTranscription",
    "outputAudioTranscription",
    "generationConfig.responseModalities",
    "generationConfig.maxOutputTokens",
    "generationConfig.speechConfig.voiceConfig",
    "realtimeInputConfig.automaticActivityDetection",
    "realtimeInputConfig.activityHandling",
];

/// The same options with the service's prefix and name.
#[derive(Clone, PartialEq, Default, Debug)]
pub struct OwnGemini(pub GeminiOptions);

impl Options for OwnGemini {
    fn rows() -> Vec<Row<Self>> {
        let own = |row: Row<GeminiOptions>| named(row.within(|own: &mut Self| &mut own.0), GEMINI.prefix, GEMINI.name);
        GeminiOptions::rows().into_iter().map(own).collect()
    }
}

impl std::ops::Deref for OwnGemini {
    type Target = GeminiOptions;

    fn deref(&self) -> &GeminiOptions {
        &self.0
    }
}

/// Longest object of further fields, bytes.
const MOST_FIELDS: usize = 16 << 10;

/// A JSON object of further fields, none of which may be at one of the paths in `own`: these follow from options.
pub(super) fn object(text: &str, own: &[&str]) -> Result<Map<String, Value>, String> {
    if text.is_empty() {
        return Ok(Map::new());
    }
    if text.len() > MOST_FIELDS {
        return Err(format!("give at most {MOST_FIELDS} bytes"));
    }
    let fields: Map<String, Value> =
        serde_json::from_str(text).map_err(|error| format!("give a JSON object: {}", values::json_fault(&error)))?;
    match own_field(&fields, own) {
        Some(path) => Err(format!("the field '{path}' follows from options of its own")),
        None => Ok(fields),
    }
}

/// The first of these paths at which there is a field.
pub(super) fn own_field<'a>(fields: &Map<String, Value>, own: &[&'a str]) -> Option<&'a str> {
    let has = |path: &str| {
        let mut names = path.split('.');
        let first = names.next().and_then(|name| fields.get(name));
        names.try_fold(first?, |value, name| value.get(name))
    };
    own.iter().copied().find(|path| has(path).is_some())
}
