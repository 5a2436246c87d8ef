//! The options of a conversation: each is declared here, once.
//!
//! Plain data, validated. Printing them shows no key and nothing that was written for the model. No model is named here: the models
//! of the sample profile are in the configuration file.

use std::fmt;

use serde_json::{Map, Value};

use super::agent::{Builtin, Destinations, MOST_KEYS, Remarks, SpeechTrigger, VoiceMode};
use super::functions::{Function, read_functions};
use super::mcp::{Approval, McpServer, read_servers};
use super::services::{
    AssemblyAiOptions, EngineName, HostedAgent, KeyUse, OwnGemini, OwnServices, Parts, UltravoxOptions, object,
};
use super::speaking::Speaking;
use crate::dsp::gain::Gain;
use crate::dsp::{CallerSettings, Suppression};
use crate::options::{
    FileKind, Fixed, Group, checked, choice, choice_or, choices, decimal, list, name, number, optional, options,
    secret, switch, text, url, values, words,
};
use crate::peer::Place;
use crate::units::Secret;
use crate::units::choice::{Choice as _, choice};
use crate::units::sound::SoundSource;
use crate::units::text::shown_url;

choice! {
    /// Which service's URL and authentication apply.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub enum Service {
        /// OpenAI and compatible servers.
        #[default]
        OpenAi = "openai",
        /// Azure OpenAI.
        Azure = "azure",
    }
}

choice! {
    /// How audio is coded on the wire.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub enum WireAudio {
        /// G.711 where the call is narrow-band, else linear at 24 kHz.
        #[default]
        Auto = "auto",
        /// Linear at 24 kHz.
        Pcm = "pcm",
        /// µ-law at 8 kHz.
        Pcmu = "pcmu",
        /// A-law at 8 kHz.
        Pcma = "pcma",
    }
}

choice! {
    /// Who finds the caller's turns.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub enum Detection {
        /// The service, by level and silence.
        #[default]
        Server = "server_vad",
        /// The service, by meaning.
        Semantic = "semantic_vad",
        /// Our own voice activity detection.
        Local = "local",
    }
}

choice! {
    /// How soon semantic detection takes a turn as ended.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub enum Eagerness {
        /// Within 8 s.
        Low = "low",
        /// Within 4 s.
        Medium = "medium",
        /// Within 2 s.
        High = "high",
        /// As the service does by default.
        #[default]
        Auto = "auto",
    }
}

choice! {
    /// Which microphone the service's noise reduction expects.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub enum NoiseKind {
        /// A handset or headset.
        NearField = "near_field",
        /// A speakerphone or a room.
        FarField = "far_field",
    }
}

choice! {
    /// Which events of the service become events for the operator.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub enum RawEvents {
        /// All but those with audio.
        On = "on",
        /// All.
        WithAudio = "with_audio",
    }
}

choice! {
    /// How an agent transfers its caller.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub enum TransferMode {
        /// The caller is sent to the extension.
        #[default]
        Blind = "blind",
        /// The person is called while the caller waits.
        Announced = "announced",
    }
}

options! {
    /// The options of a conversation.
    #[derive(Clone, PartialEq)]
    pub struct AiOptions, variables "AUDIO_STREAM_AI_" {
        /// Service that holds the conversation, by the protocol that it speaks.
        engine: EngineName = choice().default("openai_realtime");
        /// API key of the AI service. Keep it in this file or in FreeSWITCH's environment: a channel variable is visible to event
        /// sockets and in call records.
        key: Option<Secret> = secret("the API key of the AI service").key("openai_api_key").also("AI_OPENAI_API_KEY").environment("OPENAI_API_KEY");
        /// How the key is sent: `auto` as the service expects it, `bearer` for OpenAI keys and Entra tokens, `api_key` for Azure keys,
        /// `basic` as `Authorization: Basic`. `none` sends no key, for your own server; it needs `openai_base_url`.
        key_use: KeyUse = choice().default("auto").key("openai_auth");
        /// Model of the conversation; at Azure the name of the deployment. Models have end dates, so there is no default.
        model: String = name("the name of a model").key("openai_model").also("AUDIO_STREAM_AI_MODEL").also("AI_OPENAI_MODEL");
        /// URL of the AI service: a server, its `/v1`, or everything up to `/realtime`. If it is not set, OpenAI is used. Azure:
        /// `https://<resource>.openai.azure.com`.
        base_url: Option<String> = optional("a ws, wss, http or https URL").key("openai_base_url").shown_by(shown_url);
        /// Service whose URL and authentication apply. Use `openai` for every compatible server.
        service: Service = choice().default("openai").key("openai_service");
        /// Value of the header `OpenAI-Organization`.
        organization: Option<String> = optional("an organization").key("openai_organization");
        /// Value of the header `OpenAI-Project`.
        project: Option<String> = optional("a project").key("openai_project");
        /// Value of the header `OpenAI-Safety-Identifier`.
        safety_identifier: Option<String> = optional("a hashed id of the caller").key("openai_safety_identifier");
        /// With `engine=openai_live`: model that carries out the tasks which the speaking model hands on. It calls the functions of `tools` and
        /// `builtin_tools`, which need it.
        backend_model: String = name("the name of a model").key("openai_backend_model");
        /// Instructions for it: rules and procedures, which the speaking model does not need. `\n` is a line break.
        backend_prompt: String = text("up to 32768 bytes of text", |text| Ok(values::words(text)?.unwrap_or_default().replace("\\n", "\n"))).key("openai_backend_prompt");
        /// The key and the place of each other service.
        services: OwnServices = Group::default();
        /// What only Gemini Live has.
        gemini: OwnGemini = Group::default();
        /// Id of an agent that is stored at Deepgram. It has the instructions, models, functions and the voice, so the options for these
        /// are refused. If it is not set, the module configures an agent.
        deepgram_agent: Option<String> = optional("the id of an agent");
        /// The recognition and the language model of a cascade.
        parts: Parts = Group::default();
        /// The agent of ElevenLabs.
        hosted: HostedAgent = Group::default();
        /// What is said of AssemblyAI's Voice Agent.
        assemblyai: AssemblyAiOptions = Group::default();
        /// What is said of Ultravox.
        ultravox: UltravoxOptions = Group::default();
        /// Instructions for the model: who it is and what it does. `\n` is a line break.
        system_prompt: String = text("up to 32768 bytes of text", |text| Ok(values::words(text)?.unwrap_or_default().replace("\\n", "\n"))).also("AI_SYSTEM_PROMPT").live();
        /// Voice of the model. If it is not set, the service selects one.
        voice: Option<String> = optional("the name of a voice, or voice_… for a custom voice").live();
        /// Speed of the model's voice. If it is not set, the service's default is used.
        speed: Option<f32> = decimal(0.25..=1.5, "").optional().live();
        /// Who speaks: with `audio` the model, with `tts` the `tts_provider`, which speaks the text that the model writes.
        output: VoiceMode = choice().default("audio").key("ai_output").variable("output");
        /// Audio format in both directions: `auto` is G.711 for calls at 8 kHz and linear at 24 kHz for all others.
        audio: WireAudio = choice().default("auto").key("ai_audio").variable("audio");
        /// What detects the end of the caller's turn: the service by silence (`server_vad`) or by meaning (`semantic_vad`), or the
        /// module's own voice activity detection (`local`). With `engine=cascade` the service is the recogniser, if it can.
        turn_detection: Detection = choice().default("server_vad").live();
        /// Speech probability above which `server_vad` detects speech.
        vad_threshold: f32 = decimal(0.0..=1.0, "").default("0.5").also("AI_VAD_THRESHOLD").live();
        /// Audio before the detected start of speech that is included.
        vad_prefix_padding_ms: u32 = number(0..=10_000, "ms").default("300").also("AI_VAD_PREFIX_PADDING_MS").live();
        /// Silence that ends the caller's turn.
        vad_silence_duration_ms: u32 = number(0..=10_000, "ms").default("500").also("AI_VAD_SILENCE_DURATION_MS").live();
        /// Silence after which the model speaks by itself, measured by the service.
        vad_idle_timeout_ms: u32 = number(5_000..=30_000, "ms").or_zero("never").default("0");
        /// How soon `semantic_vad` ends a turn: `low` waits up to 8 s, `medium` 4 s, `high` 2 s.
        vad_eagerness: Eagerness = choice().default("auto").live();
        /// Noise reduction by the service: `near_field` for a handset, `far_field` for a speakerphone.
        noise_reduction: Option<NoiseKind> = choice_or("off").default("off");
        /// Model that transcribes the caller, for `ai_transcript` events and for the history that a session receives after a
        /// reconnect. If it is not set, the caller is not transcribed.
        transcription_model: String = name("the name of a model");
        /// Language of the caller, if it is known.
        transcription_language: String = name("a language such as en");
        /// Names and terms that the transcription should recognize.
        transcription_prompt: String = name("words to expect");
        /// Whether `ai_transcript` is also fired for every partial transcript.
        transcript_deltas: bool = switch().default("false");
        /// Longest response, in tokens.
        max_response_tokens: Option<u32> = number(1..=4_096, "").or("inf").default("4096").also("AI_MAX_RESPONSE_TOKENS").live();
        /// Reasoning effort, for models that reason. Leave it empty for all others.
        reasoning_effort: Option<String> = optional("a word that the service knows, such as low");
        /// Your own functions: `[{"name": "look_up", "description": "…", "parameters": {…}}]`. A call fires `ai_action` and is
        /// answered with the command `ai_result`.
        tools: Vec<Function> = text("a JSON array of functions", read_functions).json().live();
        /// URL of an HTTP server of yours that carries out the functions of `tools`: each call is a POST there, and its answer is the result.
        tool_url: Option<String> = url("an http or https URL", http_url);
        /// Key that signs these requests with HMAC-SHA256, so that the server knows who asks.
        tool_key: Option<Secret> = secret("1 to 1024 printable characters");
        /// Servers of tools (MCP) that the service itself asks, as OpenAI's session has them: `[{"server_label": "orders", "server_url":
        /// "https://…", "authorization": "…"}]`. For OpenAI, Azure OpenAI and xAI.
        mcp_servers: Vec<McpServer> = text("a JSON array of objects with server_label and server_url", read_servers).secret().json();
        /// Who approves a call of such a tool if the server's `require_approval` asks for it: you, by `ai_result` to an `ai_action` event that
        /// has `mcp_server` (`ask`), or nobody (`approve` and `reject` apply to every call).
        mcp_approval: Approval = choice().default("ask");
        /// Whether the model calls functions: as it likes (`auto`), never (`none`), one in each response (`required`), or always the
        /// function of this name.
        tool_choice: Option<String> = optional("auto, none, required or the name of a function").live();
        /// Whether the model may call several functions in one response; `auto` leaves it to the service. Only models that reason
        /// accept it.
        parallel_tool_calls: Option<bool> = switch().or("auto").default("auto");
        /// Further fields of the service's session, as a JSON object that is merged into the session that the module sends: for example
        /// `{"truncation": "disabled"}`. Objects are merged, other values replaced; `null` clears a field. Fields that the module sets
        /// by options of its own are refused.
        session_fields: Map<String, Value> = text("a JSON object", |text| object(text, &OWN_FIELDS)).json().key("openai_session");
        /// Whether every event of the service is fired as an `ai_raw` event: those without audio (`on`), or all of them (`with_audio`).
        /// Keys and tokens in them are `***`.
        raw_events: Option<RawEvents> = choice_or("off").default("off");
        /// Functions that the model may call and the module carries out. The model cannot call a function that is not listed.
        builtin_tools: Vec<Builtin> = choices();
        /// Destinations that the function `transfer` may use: names with their numbers or extensions, such as `sales=1001,support=1002`. The
        /// model is offered the names alone. A number without a name is its own name. With `any` the model may also say a number itself.
        /// `desk=conference:support` is a room of mod_conference, in which the caller meets those who are there or come later; its
        /// profile may follow, as in `conference:support@wideband`.
        transfer_destinations: Destinations = text("names and numbers such as sales=1001 or desk=conference:support, separated by commas, or any", Destinations::parse).also("AI_CALL_TRANSFER_EXTENSION");
        /// How the function `transfer` transfers. `blind` sends the caller to the extension. With `announced` the person is called first
        /// while the caller hears music; if nobody takes the call, the caller is back with the agent. The conversation ends with the
        /// transfer.
        transfer_mode: TransferMode = choice().default("blind");
        /// For `transfer_mode=announced`: what is dialled; `{}` is the destination's number. `user/{}` calls a registered phone,
        /// `sofia/gateway/<name>/{}` goes through a gateway. The default calls the extension of the dialplan.
        transfer_dial_string: String = text("a dial string with {} for the number", dial_string).default("loopback/{}/${context}");
        /// For `transfer_mode=announced`: how long the person's phone rings.
        transfer_timeout_s: u32 = number(1..=300, "s").default("30");
        /// For `transfer_mode=announced`: what the caller hears meanwhile, as FreeSWITCH plays it: a file, `local_stream://…` or
        /// `tone_stream://…`. If it is not set, the channel's `transfer_ringback` or `ringback` is heard, if there is one.
        transfer_hold_music: Option<String> = optional("what FreeSWITCH can play");
        /// For `transfer_mode=announced`: what the person hears before the caller is connected, as FreeSWITCH plays it. If they hang up
        /// meanwhile, nobody has taken the call.
        transfer_announcement: Option<String> = optional("what FreeSWITCH can play");
        /// Channel variables that the function `set_variable` may set. If it is empty, every name that begins with `ai_` is allowed.
        tool_variables: Vec<String> = list("names of channel variables, separated by commas", |text| values::is_variable(text).then(|| text.to_owned()));
        /// Sentence that the agent says while one of `tools` takes its time: after `tool_filler_ms` of silence, once until all have
        /// returned.
        tool_filler: Option<String> = words("a text");
        /// Silence during a function after which `tool_filler` is said.
        tool_filler_ms: u32 = number(100..=60_000, "ms").default("2000");
        /// Time limit for a function. After this the model receives a result that says so.
        tool_timeout_ms: u32 = number(100..=600_000, "ms").default("30000");
        /// Whether the caller's speech interrupts the agent, and what detects it: the service (`far_end` or `true`) or the module's own
        /// voice activity detection (`local`). With `off`, the agent finishes, then answers what lasted longer than
        /// `barge_in_min_ms`, or 800 ms.
        barge_in: SpeechTrigger = checked("far_end, local, off, true or false", barge_in).default("far_end").also("AUDIO_STREAM_AI_ENABLE_BARGE_IN").also("AI_ENABLE_BARGE_IN");
        /// Minimum speech before the caller interrupts the agent, with pauses of at most 200 ms, as the module's own voice activity
        /// detection hears it; 0 interrupts at once. Shorter speech during the agent's words, like "mm-hm", is not answered.
        barge_in_min_ms: u32 = number(0..=5_000, "ms").default("0");
        /// Playback only pauses when the caller begins to speak, and goes on where it stopped unless words follow within this time after
        /// their speech; 0 interrupts for good. Words are those of the caller's transcript, or without `transcription_model` speech
        /// of `barge_in_min_ms`, or 800 ms. With a transcript and `barge_in_min_ms`, speech of that length interrupts, too.
        false_interruption_ms: u32 = number(100..=10_000, "ms").or_zero("never pause").default("0");
        /// Words of the caller that do not interrupt, such as `mm-hm, uh-huh, yeah, okay, I see`. Needs `false_interruption_ms` and
        /// a transcript of the caller. Case, punctuation and repeated letters do not matter.
        interruption_ignore: Remarks = text("at most 256 words of at most 32 characters, separated by commas", Remarks::parse);
        /// Whether a DTMF digit interrupts the agent.
        barge_in_dtmf: bool = switch().default("true");
        /// Whether the model receives the caller's DTMF digits. If not, it learns only that a key was pressed, and only when
        /// the key interrupted it.
        dtmf_to_model: bool = switch().default("false");
        /// Number of digits that complete an entry, so that the model receives it at once; 0: only `dtmf_terminator` and
        /// `dtmf_timeout_ms` do. An entry holds at most 32 digits.
        dtmf_length: u32 = number(1..=MOST_KEYS as u32, "digits").or_zero("any").default("0");
        /// Digit that completes an entry. It is part of the entry.
        dtmf_terminator: Option<char> = checked("one of 0-9 A-D * #", key).or("none").default("#");
        /// Time without a further digit that completes an entry.
        dtmf_timeout_ms: u32 = number(100..=60_000, "ms").default("2000");
        /// Audio file (WAV, MP3 or Ogg Vorbis) that the caller hears first, from the first frame of the conversation on, while the
        /// connection is being made. `greeting` says what it says: the model learns that, and the agent says it if the file cannot be
        /// played.
        greeting_file: Option<SoundSource> = text("the absolute path of a wav, mp3 or ogg file", sound_file).names(FileKind::File);
        /// Text that the agent says first, word for word. The model receives it after `system_prompt`.
        greeting: Option<String> = words("a text");
        /// Instructions for the model's first words, after `system_prompt`. `greeting` overrides them.
        greeting_instructions: Option<String> = words("instructions");
        /// Silence of both sides after which `ai_idle` is fired.
        idle_timeout_ms: u32 = number(1_000..=600_000, "ms").or_zero("never").default("0");
        /// Instructions for what the model says after this silence, after `system_prompt`. If it is empty, the model says
        /// nothing.
        idle_instructions: Option<String> = words("instructions");
        /// Number of such silences in a row after which the call is hung up.
        idle_hang_up_at: u32 = number(1..=100, "").or_zero("never").default("0");
        /// Instructions for the model to bring the conversation to an end, `wind_down_s` before `max_duration_s` ends it. The model
        /// receives them as a message of the system, keeps them in mind and says something; a new session after a reconnect gets
        /// them too.
        wind_down_instructions: Option<String> = words("instructions");
        /// How long before the end by `max_duration_s` the model receives `wind_down_instructions`; at once if the conversation may not
        /// last so long.
        wind_down_s: u32 = number(1..=3_600, "s").default("30");
        /// What the caller hears while the agent thinks or a function runs: an audio file (WAV, MP3 or Ogg Vorbis), which repeats, or
        /// `comfort_noise`. It ends when the agent or the caller speaks.
        thinking_sound: Option<SoundSource> = text("comfort_noise or the absolute path of a wav, mp3 or ogg file", background).names(FileKind::File);
        /// Gain of `thinking_sound`.
        thinking_gain: Gain = checked("-60 to 20 dB", |text| text.parse().ok()).default("0");
        /// What the caller hears throughout the conversation: an audio file (WAV, MP3 or Ogg Vorbis), which repeats, or `comfort_noise`. It
        /// is lowered by 12 dB while the agent speaks. Interruptions and `clear` do not stop it.
        ambient_sound: Option<SoundSource> = text("comfort_noise or the absolute path of a wav, mp3 or ogg file", background).names(FileKind::File);
        /// Gain of `ambient_sound`.
        ambient_gain: Gain = checked("-60 to 20 dB", |text| text.parse().ok()).default("0");
        /// Text that is spoken if speech synthesis or the response fails, once a turn. Needs `ai_output=tts`. Use a sentence that is already in the speech cache.
        apology: Option<String> = words("a text");
        /// Audio file that the caller hears when the service has failed for good, before the conversation ends and the dialplan
        /// continues. `fallback` says what it says.
        fallback_file: Option<SoundSource> = text("the absolute path of a wav, mp3 or ogg file", sound_file).names(FileKind::File);
        /// Sentence that the caller hears when the service has failed for good, if there is no `fallback_file`. `tts_provider` speaks
        /// it, with `ai_output=audio` too.
        fallback: Option<String> = words("a text");
        /// Time limit for a response that shows no progress.
        response_timeout_ms: u32 = number(1_000..=600_000, "ms").default("30000");
        /// How long the service may say nothing while the caller speaks, before the event `stalled` is fired. Silence, hold and a muted
        /// caller do not count. With `turn_detection=local`, and with `engine=cascade` unless its recogniser finds the turns, the module
        /// itself does, so the service may be silent for longer and is not watched.
        stalled_s: u32 = number(5..=600, "s").or_zero("never").default("20").key("ai_stalled_s").variable("stalled_s");
        /// Reconnect attempts after a lost connection. After the last one the conversation fails. A rejected key is not retried.
        reconnect_max: u32 = number(0..=100, "").default("5").key("ai_reconnect_max").variable("reconnect_max");
        /// Delay before the first reconnect attempt. Each further delay is twice as long, up to 30 s, plus up to a quarter at random.
        reconnect_ms: u32 = number(10..=30_000, "ms").default("500").key("ai_reconnect_ms").variable("reconnect_ms");
        /// Caller's audio that is kept while the connection is lost. It is sent after the reconnect.
        ring_buffer_ms: u32 = number(0..=30_000, "ms").default("5000").key("ai_ring_buffer_ms").variable("ring_buffer_ms");
        /// Longest speech of the agent that may wait for playback. Models generate speech faster than it plays. It replaces
        /// `inject_buffer_ms`.
        playback_ms: u32 = number(1_000..=600_000, "ms").default("120000").key("ai_playback_ms").variable("playback_ms");
        /// How what the model writes is spoken.
        speaking: Speaking = Fixed(Speaking::default());
        /// Takes the echo of the agent out of the caller's audio before it is sent to the service and before the module listens to it,
        /// so that the agent does not hear itself.
        echo_cancellation: bool = switch().default("false");
        /// Noise suppression on the caller's audio before it is sent to the service.
        noise_suppression: Option<Suppression> = choice_or("off").default("off");
        /// Automatic gain control: raises quiet callers and limits loud ones.
        caller_gain_control: bool = switch().default("false");
        /// Speech probability above which the module's own voice activity detection detects speech.
        ears_threshold: f32 = decimal(0.0..=1.0, "").default("0.5").key("local_vad_threshold");
        /// Minimum duration of speech before the module's own voice activity detection triggers.
        ears_min_speech_ms: u32 = number(16..=2_000, "ms").default("64").key("local_vad_min_speech_ms");
        /// Longest pause within speech. With `turn_detection=local`, longer silence ends the turn.
        ears_hangover_ms: u32 = number(0..=5_000, "ms").default("500").key("local_vad_hangover_ms");
    }
}

/// Fields of the session that options decide, by their paths: another value would contradict what the module does.
const OWN_FIELDS: [&str; 13] = [
    "type",
    "model",
    "instructions",
    "tools",
    "output_modalities",
    "modalities",
    "audio.input.format",
    "audio.input.turn_detection",
    "audio.output.format",
    "input_audio_format",
    "input_audio_sampling_rate",
    "output_audio_format",
    "turn_detection",
];

fn key(text: &str) -> Option<char> {
    let mut chars = text.chars();
    let key = chars.next()?.to_ascii_uppercase();
    (chars.next().is_none() && matches!(key, '0'..='9' | 'A'..='D' | '*' | '#')).then_some(key)
}

fn background(text: &str) -> Result<Option<SoundSource>, String> {
    match values::plain(text)? {
        Some("comfort_noise") => Ok(Some(SoundSource::ComfortNoise)),
        path => path.map(SoundSource::file).transpose(),
    }
}

fn dial_string(text: &str) -> Result<String, String> {
    match values::plain(text)? {
        Some(dial) if dial.contains("{}") => Ok(dial.to_owned()),
        _ => Err("give a dial string with {} for the number".into()),
    }
}

fn sound_file(text: &str) -> Result<Option<SoundSource>, String> {
    values::plain(text)?.map(SoundSource::file).transpose()
}

fn http_url(url: &str) -> Result<(), String> {
    let parsed = ::url::Url::parse(url).map_err(|error| error.to_string())?;
    let known = matches!(parsed.scheme(), "http" | "https") && parsed.has_host();
    if known { Ok(()) } else { Err("give a URL that begins with http:// or https://".to_owned()) }
}

fn barge_in(text: &str) -> Option<SpeechTrigger> {
    match values::flag(text) {
        Some(true) => Some(SpeechTrigger::Engine),
        Some(false) => Some(SpeechTrigger::Off),
        None => SpeechTrigger::named(text),
    }
}

impl AiOptions {
    /// Where the functions are carried out, for the rule that a key stays with its server.
    pub fn webhook_place(&self) -> Option<Place> {
        self.tool_url.is_some().then(|| Place {
            url: self.tool_url.clone(),
            url_option: "tool_url".to_owned(),
            usual: "",
            key_options: vec!["tool_key".to_owned()],
            has_key: self.tool_key.is_some(),
        })
    }

    /// Whether the module finds the caller's turns, and not the service.
    pub fn finds_turns(&self) -> bool {
        self.turn_detection == Detection::Local
    }

    /// What is done to the caller's side.
    pub const fn caller(&self) -> CallerSettings {
        CallerSettings {
            suppression: self.noise_suppression,
            gain_control: self.caller_gain_control,
            echo_cancellation: self.echo_cancellation,
        }
    }
}

impl fmt::Debug for AiOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AiOptions")
            .field("engine", &self.engine)
            .field("model", &self.model)
            .field("service", &self.service)
            .field("key", &self.key)
            .field("output", &self.output)
            .field("turn_detection", &self.turn_detection)
            .field("tools", &self.tools.iter().map(|tool| tool.name.as_str()).collect::<Vec<_>>())
            .field("builtin_tools", &self.builtin_tools)
            .finish_non_exhaustive()
    }
}
