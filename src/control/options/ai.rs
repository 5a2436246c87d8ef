//! The options of a conversation: more rows of the table, for `start_ai`.
//!
//! Pure. No model is named here: those of the sample profile are the configuration's.

use super::{Kind, OptionRow, Row, same};
use crate::agent::{Abbreviations, Builtin, SpeechTrigger, VoiceMode};
use crate::control::values;
use crate::dsp::Suppression;
use crate::protocol::openai_realtime::{Eagerness, MaxTokens, NoiseKind, Service};
use crate::stream::ai::{Detection, KeyUse, WireAudio};
use crate::stream::spec::StreamOptions;
use crate::tts::BadSetting;
use crate::units::Secret;

/// Every option that only a conversation has.
pub static AI_OPTIONS: &[OptionRow] = &[
    Row {
        key: "openai_api_key",
        kind: Kind::Text {
            allowed: "the key of the AI service",
            set: |o, text| {
                o.ai.key = values::plain(text)?.map(Secret::new);
                Ok(())
            },
        },
        default: "",
        variables: &[same("AUDIO_STREAM_AI_OPENAI_API_KEY"), same("AI_OPENAI_API_KEY")],
        secret: true,
        doc: "Key of the AI service. Best in this file or, as `OPENAI_API_KEY`, in FreeSWITCH's environment; in a channel variable event sockets and call records show it.",
    },
    Row {
        key: "openai_auth",
        kind: Kind::Text {
            allowed: "auto, bearer, api_key or none",
            set: |o, text| {
                o.ai.key_use = match text.to_ascii_lowercase().as_str() {
                    "auto" => KeyUse::Auto,
                    "bearer" => KeyUse::Bearer,
                    "api_key" => KeyUse::ApiKey,
                    "none" => KeyUse::None,
                    _ => return Err("give auto, bearer, api_key or none".into()),
                };
                Ok(())
            },
        },
        default: "auto",
        variables: &[same("AUDIO_STREAM_AI_OPENAI_AUTH")],
        secret: false,
        doc: "How the key is shown: `auto` as the service wants it, `bearer` for OpenAI's keys and Entra tokens, `api_key` for Azure's. `none` sends none, for a server of your own that wants none; it needs `openai_base_url`.",
    },
    Row {
        key: "openai_model",
        kind: Kind::Text {
            allowed: "the name of a model",
            set: |o, text| {
                o.ai.model = values::plain(text)?.unwrap_or_default().to_owned();
                Ok(())
            },
        },
        default: "",
        variables: &[same("AUDIO_STREAM_AI_OPENAI_MODEL"), same("AUDIO_STREAM_AI_MODEL"), same("AI_OPENAI_MODEL")],
        secret: false,
        doc: "The conversation's model; at Azure the name of the deployment. Models have end dates, so none is built in.",
    },
    Row {
        key: "openai_base_url",
        kind: Kind::Text {
            allowed: "a ws, wss, http or https URL",
            set: |o, text| {
                o.ai.base_url = values::plain(text)?.map(str::to_owned);
                Ok(())
            },
        },
        default: "",
        variables: &[same("AUDIO_STREAM_AI_OPENAI_BASE_URL")],
        secret: false,
        doc: "Where the AI service is: a server, its `/v1`, or everything up to `/realtime`. Nothing: OpenAI. Azure: `https://<resource>.openai.azure.com`.",
    },
    Row {
        key: "openai_service",
        kind: Kind::Text {
            allowed: "openai or azure",
            set: |o, text| {
                o.ai.service = match text.to_ascii_lowercase().as_str() {
                    "openai" => Service::OpenAi,
                    "azure" => Service::Azure,
                    _ => return Err("give openai or azure".into()),
                };
                Ok(())
            },
        },
        default: "openai",
        variables: &[same("AUDIO_STREAM_AI_OPENAI_SERVICE")],
        secret: false,
        doc: "Whose details apply. Whatever speaks as OpenAI does is `openai`.",
    },
    Row {
        key: "openai_organization",
        kind: Kind::Text {
            allowed: "an organization",
            set: |o, text| {
                o.ai.organization = values::plain(text)?.map(str::to_owned);
                Ok(())
            },
        },
        default: "",
        variables: &[same("AUDIO_STREAM_AI_OPENAI_ORGANIZATION")],
        secret: false,
        doc: "Sent as `OpenAI-Organization`.",
    },
    Row {
        key: "openai_project",
        kind: Kind::Text {
            allowed: "a project",
            set: |o, text| {
                o.ai.project = values::plain(text)?.map(str::to_owned);
                Ok(())
            },
        },
        default: "",
        variables: &[same("AUDIO_STREAM_AI_OPENAI_PROJECT")],
        secret: false,
        doc: "Sent as `OpenAI-Project`.",
    },
    Row {
        key: "openai_safety_identifier",
        kind: Kind::Text {
            allowed: "a hashed id of the caller",
            set: |o, text| {
                o.ai.safety_identifier = values::plain(text)?.map(str::to_owned);
                Ok(())
            },
        },
        default: "",
        variables: &[same("AUDIO_STREAM_AI_OPENAI_SAFETY_IDENTIFIER")],
        secret: false,
        doc: "Sent as `OpenAI-Safety-Identifier`.",
    },
    Row {
        key: "system_prompt",
        kind: Kind::Text {
            allowed: "up to 32768 bytes of text",
            set: |o, text| {
                o.ai.system_prompt = values::words(text)?.unwrap_or_default().replace("\\n", "\n");
                Ok(())
            },
        },
        default: "",
        variables: &[same("AUDIO_STREAM_AI_SYSTEM_PROMPT"), same("AI_SYSTEM_PROMPT")],
        secret: false,
        doc: "Who the agent is and what it is to do. `\\n` stands for a line break.",
    },
    Row {
        key: "voice",
        kind: Kind::Text {
            allowed: "the name of a voice, or voice_… for one of one's own",
            set: |o, text| {
                o.ai.voice = values::plain(text)?.map(str::to_owned);
                Ok(())
            },
        },
        default: "",
        variables: &[same("AUDIO_STREAM_AI_VOICE")],
        secret: false,
        doc: "The model's voice; nothing: the service's own choice.",
    },
    Row {
        key: "speed",
        kind: Kind::Text {
            allowed: "0.25 to 1.5, or nothing",
            set: |o, text| {
                o.ai.speed = match text {
                    "" => None,
                    text => Some(
                        values::decimal(text)
                            .filter(|v| (0.25..=1.5).contains(v))
                            .ok_or("give 0.25 to 1.5, or nothing")?,
                    ),
                };
                Ok(())
            },
        },
        default: "",
        variables: &[same("AUDIO_STREAM_AI_SPEED")],
        secret: false,
        doc: "How fast the model's voice speaks; nothing: the service's own choice.",
    },
    Row {
        key: "ai_output",
        kind: Kind::Text {
            allowed: "audio or tts",
            set: |o, text| {
                o.ai.output = match text.to_ascii_lowercase().as_str() {
                    "audio" => VoiceMode::FarEnd,
                    "tts" => VoiceMode::Synthesis,
                    _ => return Err("give audio or tts".into()),
                };
                Ok(())
            },
        },
        default: "audio",
        variables: &[same("AUDIO_STREAM_AI_OUTPUT")],
        secret: false,
        doc: "`audio`: the model speaks. `tts`: it writes, and `tts_provider` speaks.",
    },
    Row {
        key: "ai_audio",
        kind: Kind::Text {
            allowed: "auto, pcm, pcmu or pcma",
            set: |o, text| {
                o.ai.audio = match text.to_ascii_lowercase().as_str() {
                    "auto" => WireAudio::Auto,
                    "pcm" => WireAudio::Pcm,
                    "pcmu" => WireAudio::Pcmu,
                    "pcma" => WireAudio::Pcma,
                    _ => return Err("give auto, pcm, pcmu or pcma".into()),
                };
                Ok(())
            },
        },
        default: "auto",
        variables: &[same("AUDIO_STREAM_AI_AUDIO")],
        secret: false,
        doc: "Audio both ways: `auto` is G.711 on calls at 8 kHz and linear at 24 kHz on all others.",
    },
    Row {
        key: "turn_detection",
        kind: Kind::Text {
            allowed: "server_vad, semantic_vad or local",
            set: |o, text| {
                o.ai.turn_detection = match text.to_ascii_lowercase().as_str() {
                    "server_vad" => Detection::Server,
                    "semantic_vad" => Detection::Semantic,
                    "local" => Detection::Local,
                    _ => return Err("give server_vad, semantic_vad or local".into()),
                };
                Ok(())
            },
        },
        default: "server_vad",
        variables: &[same("AUDIO_STREAM_AI_TURN_DETECTION")],
        secret: false,
        doc: "Who finds the end of the caller's turn: the service by silence or by meaning, or the module's own voice activity detection.",
    },
    Row {
        key: "vad_threshold",
        kind: Kind::Decimal { min: 0.0, max: 1.0, unit: "", set: |o, v| o.ai.vad_threshold = v },
        default: "0.5",
        variables: &[same("AUDIO_STREAM_AI_VAD_THRESHOLD"), same("AI_VAD_THRESHOLD")],
        secret: false,
        doc: "How sure `server_vad` must be that it hears speech.",
    },
    Row {
        key: "vad_prefix_padding_ms",
        kind: Kind::Number { min: 0, max: 10000, zero: None, unit: "ms", set: |o, v| o.ai.vad_prefix_padding_ms = v },
        default: "300",
        variables: &[same("AUDIO_STREAM_AI_VAD_PREFIX_PADDING_MS"), same("AI_VAD_PREFIX_PADDING_MS")],
        secret: false,
        doc: "Audio before the start of speech that belongs to it.",
    },
    Row {
        key: "vad_silence_duration_ms",
        kind: Kind::Number { min: 0, max: 10000, zero: None, unit: "ms", set: |o, v| o.ai.vad_silence_duration_ms = v },
        default: "500",
        variables: &[same("AUDIO_STREAM_AI_VAD_SILENCE_DURATION_MS"), same("AI_VAD_SILENCE_DURATION_MS")],
        secret: false,
        doc: "Silence that ends the caller's turn.",
    },
    Row {
        key: "vad_idle_timeout_ms",
        kind: Kind::Number {
            min: 5000,
            max: 30000,
            zero: Some("never"),
            unit: "ms",
            set: |o, v| o.ai.vad_idle_timeout_ms = v,
        },
        default: "0",
        variables: &[same("AUDIO_STREAM_AI_VAD_IDLE_TIMEOUT_MS")],
        secret: false,
        doc: "Silence after which the model speaks up, by the service's own clock.",
    },
    Row {
        key: "vad_eagerness",
        kind: Kind::Text {
            allowed: "low, medium, high or auto",
            set: |o, text| {
                o.ai.vad_eagerness = match text.to_ascii_lowercase().as_str() {
                    "low" => Eagerness::Low,
                    "medium" => Eagerness::Medium,
                    "high" => Eagerness::High,
                    "auto" => Eagerness::Auto,
                    _ => return Err("give low, medium, high or auto".into()),
                };
                Ok(())
            },
        },
        default: "auto",
        variables: &[same("AUDIO_STREAM_AI_VAD_EAGERNESS")],
        secret: false,
        doc: "How soon `semantic_vad` takes a turn as ended: 8, 4 or 2 s at most.",
    },
    Row {
        key: "noise_reduction",
        kind: Kind::Text {
            allowed: "off, near_field or far_field",
            set: |o, text| {
                o.ai.noise_reduction = match text.to_ascii_lowercase().as_str() {
                    "off" => None,
                    "near_field" => Some(NoiseKind::NearField),
                    "far_field" => Some(NoiseKind::FarField),
                    _ => return Err("give off, near_field or far_field".into()),
                };
                Ok(())
            },
        },
        default: "off",
        variables: &[same("AUDIO_STREAM_AI_NOISE_REDUCTION")],
        secret: false,
        doc: "Noise reduction by the service, for a handset or for a speakerphone.",
    },
    Row {
        key: "transcription_model",
        kind: Kind::Text {
            allowed: "the name of a model",
            set: |o, text| {
                o.ai.transcription_model = values::plain(text)?.unwrap_or_default().to_owned();
                Ok(())
            },
        },
        default: "",
        variables: &[same("AUDIO_STREAM_AI_TRANSCRIPTION_MODEL")],
        secret: false,
        doc: "Model that writes down what the caller says, for `ai_transcript` events and for what the next session is told after a reconnect. Nothing: the caller's words are not written down.",
    },
    Row {
        key: "transcription_language",
        kind: Kind::Text {
            allowed: "a language such as en",
            set: |o, text| {
                o.ai.transcription_language = values::plain(text)?.unwrap_or_default().to_owned();
                Ok(())
            },
        },
        default: "",
        variables: &[same("AUDIO_STREAM_AI_TRANSCRIPTION_LANGUAGE")],
        secret: false,
        doc: "The caller's language, where it is known.",
    },
    Row {
        key: "transcription_prompt",
        kind: Kind::Text {
            allowed: "words to expect",
            set: |o, text| {
                o.ai.transcription_prompt = values::plain(text)?.unwrap_or_default().to_owned();
                Ok(())
            },
        },
        default: "",
        variables: &[same("AUDIO_STREAM_AI_TRANSCRIPTION_PROMPT")],
        secret: false,
        doc: "Names and terms the transcription should know.",
    },
    Row {
        key: "transcript_deltas",
        kind: Kind::Switch { set: |o, v| o.ai.transcript_deltas = v },
        default: "false",
        variables: &[same("AUDIO_STREAM_AI_TRANSCRIPT_DELTAS")],
        secret: false,
        doc: "Whether `ai_transcript` is also fired for each piece of a text, as it comes.",
    },
    Row {
        key: "max_response_tokens",
        kind: Kind::Text {
            allowed: "1 to 4096, or inf",
            set: |o, text| {
                o.ai.max_response_tokens = match values::number(text) {
                    Some(count @ 1..=4_096) => MaxTokens::Count(count),
                    None if text.eq_ignore_ascii_case("inf") => MaxTokens::Unlimited,
                    _ => return Err("give 1 to 4096, or inf".into()),
                };
                Ok(())
            },
        },
        default: "4096",
        variables: &[same("AUDIO_STREAM_AI_MAX_RESPONSE_TOKENS"), same("AI_MAX_RESPONSE_TOKENS")],
        secret: false,
        doc: "Bound of one response.",
    },
    Row {
        key: "reasoning_effort",
        kind: Kind::Text {
            allowed: "a word of the service, such as low",
            set: |o, text| {
                o.ai.reasoning_effort = values::plain(text)?.map(str::to_owned);
                Ok(())
            },
        },
        default: "",
        variables: &[same("AUDIO_STREAM_AI_REASONING_EFFORT")],
        secret: false,
        doc: "For models that reason; nothing for all others.",
    },
    Row {
        key: "tools",
        kind: Kind::Text {
            allowed: "a JSON array of functions",
            set: |o, text| {
                o.ai.tools = values::tools(text)?;
                Ok(())
            },
        },
        default: "",
        variables: &[same("AUDIO_STREAM_AI_TOOLS")],
        secret: false,
        doc: "The operator's functions: `[{\"name\": \"look_up\", \"description\": \"…\", \"parameters\": {…}}]`. A call is an `ai_action` event, answered with `ai_result`.",
    },
    Row {
        key: "builtin_tools",
        kind: Kind::Text {
            allowed: "some of hang_up, transfer, send_dtmf, set_variable, with commas",
            set: |o, text| {
                o.ai.builtin_tools = values::list(text, Builtin::named)
                    .ok_or("give some of hang_up, transfer, send_dtmf, set_variable, with commas")?;
                Ok(())
            },
        },
        default: "",
        variables: &[same("AUDIO_STREAM_AI_BUILTIN_TOOLS")],
        secret: false,
        doc: "Functions the model may use on the call and the module carries out. What is not named here does not exist for it.",
    },
    Row {
        key: "transfer_destinations",
        kind: Kind::Text {
            allowed: "numbers or extensions, with commas",
            set: |o, text| {
                o.ai.transfer_destinations =
                    values::list(text, |number| values::is_number(number).then(|| number.to_owned()))
                        .ok_or("give numbers or extensions of A-Z a-z 0-9 + * # . _ -, with commas")?;
                Ok(())
            },
        },
        default: "",
        variables: &[same("AUDIO_STREAM_AI_TRANSFER_DESTINATIONS"), same("AI_CALL_TRANSFER_EXTENSION")],
        secret: false,
        doc: "Where the built-in `transfer` may lead; nothing: anywhere.",
    },
    Row {
        key: "tool_variables",
        kind: Kind::Text {
            allowed: "names of channel variables, with commas",
            set: |o, text| {
                o.ai.tool_variables = values::list(text, |name| values::is_variable(name).then(|| name.to_owned()))
                    .ok_or("give names of channel variables, with commas")?;
                Ok(())
            },
        },
        default: "",
        variables: &[same("AUDIO_STREAM_AI_TOOL_VARIABLES")],
        secret: false,
        doc: "What the built-in `set_variable` may set; nothing: variables whose names begin with `ai_`.",
    },
    Row {
        key: "tool_timeout_ms",
        kind: Kind::Number { min: 100, max: 600000, zero: None, unit: "ms", set: |o, v| o.ai.tool_timeout_ms = v },
        default: "30000",
        variables: &[same("AUDIO_STREAM_AI_TOOL_TIMEOUT_MS")],
        secret: false,
        doc: "How long a function may take; the model is told then that there was no answer.",
    },
    Row {
        key: "barge_in",
        kind: Kind::Text {
            allowed: "far_end, local, off, or true or false",
            set: |o, text| {
                o.ai.barge_in = match values::flag(text) {
                    Some(true) => SpeechTrigger::FarEnd,
                    Some(false) => SpeechTrigger::Off,
                    None if text.eq_ignore_ascii_case("far_end") => SpeechTrigger::FarEnd,
                    None if text.eq_ignore_ascii_case("local") => SpeechTrigger::Local,
                    None => return Err("give far_end, local, off, or true or false".into()),
                };
                Ok(())
            },
        },
        default: "far_end",
        variables: &[
            same("AUDIO_STREAM_AI_BARGE_IN"),
            same("AUDIO_STREAM_AI_ENABLE_BARGE_IN"),
            same("AI_ENABLE_BARGE_IN"),
        ],
        secret: false,
        doc: "Whether the caller's speech interrupts the agent: as the service hears it, or as the module's own voice activity detection does (`local`).",
    },
    Row {
        key: "barge_in_min_ms",
        kind: Kind::Number { min: 0, max: 5000, zero: None, unit: "ms", set: |o, v| o.ai.barge_in_min_ms = v },
        default: "0",
        variables: &[same("AUDIO_STREAM_AI_BARGE_IN_MIN_MS")],
        secret: false,
        doc: "How long the caller must speak without a pause to interrupt; 0: at the first sign. So a short yes need not interrupt.",
    },
    Row {
        key: "barge_in_dtmf",
        kind: Kind::Switch { set: |o, v| o.ai.barge_in_dtmf = v },
        default: "true",
        variables: &[same("AUDIO_STREAM_AI_BARGE_IN_DTMF")],
        secret: false,
        doc: "Whether a key interrupts.",
    },
    Row {
        key: "dtmf_to_model",
        kind: Kind::Switch { set: |o, v| o.ai.dtmf_to_model = v },
        default: "false",
        variables: &[same("AUDIO_STREAM_AI_DTMF_TO_MODEL")],
        secret: false,
        doc: "Whether the model is told the keys the caller presses.",
    },
    Row {
        key: "greeting",
        kind: Kind::Text {
            allowed: "a text",
            set: |o, text| {
                o.ai.greeting = values::words(text)?.map(str::to_owned);
                Ok(())
            },
        },
        default: "",
        variables: &[same("AUDIO_STREAM_AI_GREETING")],
        secret: false,
        doc: "What the agent says first, word for word.",
    },
    Row {
        key: "greeting_instructions",
        kind: Kind::Text {
            allowed: "instructions",
            set: |o, text| {
                o.ai.greeting_instructions = values::words(text)?.map(str::to_owned);
                Ok(())
            },
        },
        default: "",
        variables: &[same("AUDIO_STREAM_AI_GREETING_INSTRUCTIONS")],
        secret: false,
        doc: "By which instructions the model speaks first; `greeting` wins over it.",
    },
    Row {
        key: "idle_timeout_ms",
        kind: Kind::Number {
            min: 1000,
            max: 600000,
            zero: Some("never"),
            unit: "ms",
            set: |o, v| o.ai.idle_timeout_ms = v,
        },
        default: "0",
        variables: &[same("AUDIO_STREAM_AI_IDLE_TIMEOUT_MS")],
        secret: false,
        doc: "How long nobody may speak until `ai_idle` is fired.",
    },
    Row {
        key: "idle_instructions",
        kind: Kind::Text {
            allowed: "instructions",
            set: |o, text| {
                o.ai.idle_instructions = values::words(text)?.map(str::to_owned);
                Ok(())
            },
        },
        default: "",
        variables: &[same("AUDIO_STREAM_AI_IDLE_INSTRUCTIONS")],
        secret: false,
        doc: "By which instructions the model speaks then; nothing: it does not.",
    },
    Row {
        key: "idle_hang_up_at",
        kind: Kind::Number { min: 1, max: 100, zero: Some("never"), unit: "", set: |o, v| o.ai.idle_hang_up_at = v },
        default: "0",
        variables: &[same("AUDIO_STREAM_AI_IDLE_HANG_UP_AT")],
        secret: false,
        doc: "At how many such silences in a row the call is hung up.",
    },
    Row {
        key: "apology",
        kind: Kind::Text {
            allowed: "a text",
            set: |o, text| {
                o.ai.apology = values::words(text)?.map(str::to_owned);
                Ok(())
            },
        },
        default: "",
        variables: &[same("AUDIO_STREAM_AI_APOLOGY")],
        secret: false,
        doc: "Said once a turn when a sentence could not be spoken; best something that is in the cache.",
    },
    Row {
        key: "response_timeout_ms",
        kind: Kind::Number { min: 1000, max: 600000, zero: None, unit: "ms", set: |o, v| o.ai.response_timeout_ms = v },
        default: "30000",
        variables: &[same("AUDIO_STREAM_AI_RESPONSE_TIMEOUT_MS")],
        secret: false,
        doc: "How long a response may show no sign of life.",
    },
    Row {
        key: "ai_reconnect_max",
        kind: Kind::Number { min: 0, max: 100, zero: None, unit: "", set: |o, v| o.ai.reconnect_max = v },
        default: "5",
        variables: &[same("AUDIO_STREAM_AI_RECONNECT_MAX")],
        secret: false,
        doc: "Attempts to come back after a connection was lost; then the conversation has failed. A key that is refused is not tried again.",
    },
    Row {
        key: "ai_reconnect_ms",
        kind: Kind::Number { min: 10, max: 30000, zero: None, unit: "ms", set: |o, v| o.ai.reconnect_ms = v },
        default: "500",
        variables: &[same("AUDIO_STREAM_AI_RECONNECT_MS")],
        secret: false,
        doc: "The wait before the first of them; each next is twice as long, up to 30 s, and up to a quarter more.",
    },
    Row {
        key: "ai_ring_buffer_ms",
        kind: Kind::Number { min: 0, max: 30000, zero: None, unit: "ms", set: |o, v| o.ai.ring_buffer_ms = v },
        default: "5000",
        variables: &[same("AUDIO_STREAM_AI_RING_BUFFER_MS")],
        secret: false,
        doc: "What the caller says meanwhile is kept, this much of it, and sent once the connection is back.",
    },
    Row {
        key: "ai_playback_ms",
        kind: Kind::Number { min: 1000, max: 600000, zero: None, unit: "ms", set: |o, v| o.ai.playback_ms = v },
        default: "120000",
        variables: &[same("AUDIO_STREAM_AI_PLAYBACK_MS")],
        secret: false,
        doc: "Most speech of the agent that waits to be heard: models speak faster than one listens. In place of `inject_buffer_ms`.",
    },
    Row {
        key: "tts_provider",
        kind: Kind::Text {
            allowed: "elevenlabs, openai, command, or several of them with commas",
            set: |o, text| speech(o, "tts_provider", text),
        },
        default: "command",
        variables: &[same("AUDIO_STREAM_AI_TTS_PROVIDER"), same("AI_TTS_PROVIDER")],
        secret: false,
        doc: "Who speaks where `ai_output` is `tts`; those after the first stand in for it. What follows without a provider's name is the first one's.",
    },
    Row {
        key: "tts_voice",
        kind: Kind::Text {
            allowed: "1 to 128 letters, digits and _ - . + / : space",
            set: |o, text| speech(o, "tts_voice", text),
        },
        default: "",
        variables: &[same("AUDIO_STREAM_AI_TTS_VOICE")],
        secret: false,
        doc: "The voice, by the provider's own name or id.",
    },
    Row {
        key: "tts_model",
        kind: Kind::Text {
            allowed: "1 to 128 letters, digits and _ - . + / : space",
            set: |o, text| speech(o, "tts_model", text),
        },
        default: "",
        variables: &[same("AUDIO_STREAM_AI_TTS_MODEL")],
        secret: false,
        doc: "The model, by the provider's own name.",
    },
    Row {
        key: "tts_url",
        kind: Kind::Text {
            allowed: "a URL that begins with http:// or https://, without query",
            set: |o, text| speech(o, "tts_url", text),
        },
        default: "",
        variables: &[same("AUDIO_STREAM_AI_TTS_URL")],
        secret: false,
        doc: "Where the provider is, if not at its usual place.",
    },
    Row {
        key: "tts_api_key",
        kind: Kind::Text { allowed: "1 to 1024 printable characters", set: |o, text| speech(o, "tts_api_key", text) },
        default: "",
        variables: &[same("AUDIO_STREAM_AI_TTS_API_KEY")],
        secret: true,
        doc: "Key of the first provider. Best in this file or in FreeSWITCH's environment.",
    },
    Row {
        key: "tts_language",
        kind: Kind::Text { allowed: "a language tag like en or pt-BR", set: |o, text| speech(o, "tts_language", text) },
        default: "",
        variables: &[same("AUDIO_STREAM_AI_TTS_LANGUAGE")],
        secret: false,
        doc: "The language, where a provider takes one.",
    },
    Row {
        key: "tts_instructions",
        kind: Kind::Text { allowed: "at most 4096 bytes", set: |o, text| speech(o, "tts_instructions", text) },
        default: "",
        variables: &[same("AUDIO_STREAM_AI_TTS_INSTRUCTIONS")],
        secret: false,
        doc: "How to speak, for models that take instructions.",
    },
    Row {
        key: "tts_speed",
        kind: Kind::Text { allowed: "0.25 to 4", set: |o, text| speech(o, "tts_speed", text) },
        default: "",
        variables: &[same("AUDIO_STREAM_AI_TTS_SPEED")],
        secret: false,
        doc: "How fast, 1 being the voice's own.",
    },
    Row {
        key: "tts_output_format",
        kind: Kind::Text {
            allowed: "auto, wav, ulaw_8000, or pcm_ and a rate of 8000 to 48000",
            set: |o, text| speech(o, "tts_output_format", text),
        },
        default: "auto",
        variables: &[same("AUDIO_STREAM_AI_TTS_OUTPUT_FORMAT")],
        secret: false,
        doc: "The form in which audio is asked for; `auto`: by the call's rate.",
    },
    Row {
        key: "tts_ca_file",
        kind: Kind::Text {
            allowed: "SYSTEM, NONE or the path of a PEM file",
            set: |o, text| speech(o, "tts_ca_file", text),
        },
        default: "SYSTEM",
        variables: &[same("AUDIO_STREAM_AI_TTS_CA_FILE")],
        secret: false,
        doc: "Who vouches for a provider's certificate.",
    },
    Row {
        key: "tts_elevenlabs_api_key",
        kind: Kind::Text {
            allowed: "1 to 1024 printable characters",
            set: |o, text| speech(o, "tts_elevenlabs_api_key", text),
        },
        default: "",
        variables: &[same("AUDIO_STREAM_AI_TTS_ELEVENLABS_API_KEY"), same("AI_ELEVENLABS_API_KEY")],
        secret: true,
        doc: "ElevenLabs' key; `ELEVENLABS_API_KEY` in FreeSWITCH's environment does as well.",
    },
    Row {
        key: "tts_elevenlabs_voice",
        kind: Kind::Text {
            allowed: "1 to 128 letters, digits and _ - . + / : space",
            set: |o, text| speech(o, "tts_elevenlabs_voice", text),
        },
        default: "",
        variables: &[same("AUDIO_STREAM_AI_TTS_ELEVENLABS_VOICE"), same("AI_ELEVENLABS_VOICE_ID")],
        secret: false,
        doc: "ElevenLabs' voice, by its id.",
    },
    Row {
        key: "tts_elevenlabs_model",
        kind: Kind::Text {
            allowed: "1 to 128 letters, digits and _ - . + / : space",
            set: |o, text| speech(o, "tts_elevenlabs_model", text),
        },
        default: "",
        variables: &[same("AUDIO_STREAM_AI_TTS_ELEVENLABS_MODEL"), same("AI_ELEVENLABS_MODEL_ID")],
        secret: false,
        doc: "ElevenLabs' model; nothing: the voice's own.",
    },
    Row {
        key: "tts_elevenlabs_stability",
        kind: Kind::Text { allowed: "0 to 1", set: |o, text| speech(o, "tts_elevenlabs_stability", text) },
        default: "",
        variables: &[same("AUDIO_STREAM_AI_TTS_ELEVENLABS_STABILITY"), same("AI_ELEVENLABS_STABILITY")],
        secret: false,
        doc: "ElevenLabs: how much alike it sounds each time.",
    },
    Row {
        key: "tts_elevenlabs_similarity_boost",
        kind: Kind::Text { allowed: "0 to 1", set: |o, text| speech(o, "tts_elevenlabs_similarity_boost", text) },
        default: "",
        variables: &[same("AUDIO_STREAM_AI_TTS_ELEVENLABS_SIMILARITY_BOOST"), same("AI_ELEVENLABS_SIMILARITY_BOOST")],
        secret: false,
        doc: "ElevenLabs: how near to the original voice.",
    },
    Row {
        key: "tts_elevenlabs_style",
        kind: Kind::Text { allowed: "0 to 1", set: |o, text| speech(o, "tts_elevenlabs_style", text) },
        default: "",
        variables: &[same("AUDIO_STREAM_AI_TTS_ELEVENLABS_STYLE")],
        secret: false,
        doc: "ElevenLabs: how much the style is exaggerated.",
    },
    Row {
        key: "tts_elevenlabs_url",
        kind: Kind::Text {
            allowed: "a URL that begins with http:// or https://, without query",
            set: |o, text| speech(o, "tts_elevenlabs_url", text),
        },
        default: "",
        variables: &[same("AUDIO_STREAM_AI_TTS_ELEVENLABS_URL")],
        secret: false,
        doc: "Where ElevenLabs is, if not at its usual place.",
    },
    Row {
        key: "tts_openai_api_key",
        kind: Kind::Text {
            allowed: "1 to 1024 printable characters",
            set: |o, text| speech(o, "tts_openai_api_key", text),
        },
        default: "",
        variables: &[same("AUDIO_STREAM_AI_TTS_OPENAI_API_KEY")],
        secret: true,
        doc: "Key of the provider `openai`; at OpenAI itself `openai_api_key` does as well.",
    },
    Row {
        key: "tts_openai_voice",
        kind: Kind::Text {
            allowed: "1 to 128 letters, digits and _ - . + / : space",
            set: |o, text| speech(o, "tts_openai_voice", text),
        },
        default: "",
        variables: &[same("AUDIO_STREAM_AI_TTS_OPENAI_VOICE"), same("AI_OPENAI_TTS_VOICE")],
        secret: false,
        doc: "Voice of the provider `openai`.",
    },
    Row {
        key: "tts_openai_model",
        kind: Kind::Text {
            allowed: "1 to 128 letters, digits and _ - . + / : space",
            set: |o, text| speech(o, "tts_openai_model", text),
        },
        default: "",
        variables: &[same("AUDIO_STREAM_AI_TTS_OPENAI_MODEL")],
        secret: false,
        doc: "Model of the provider `openai`.",
    },
    Row {
        key: "tts_openai_url",
        kind: Kind::Text {
            allowed: "a URL that begins with http:// or https://, without query",
            set: |o, text| speech(o, "tts_openai_url", text),
        },
        default: "",
        variables: &[same("AUDIO_STREAM_AI_TTS_OPENAI_URL")],
        secret: false,
        doc: "Where the provider `openai` is: whatever has `/audio/speech` as OpenAI has it.",
    },
    Row {
        key: "tts_command",
        kind: Kind::Text {
            allowed: "a program and its arguments, with {text} {voice} {language} {rate} {speed} {wpm}",
            set: |o, text| speech(o, "tts_command", text),
        },
        default: "espeak-ng --stdout --stdin -v {voice} -s {wpm}",
        variables: &[same("AUDIO_STREAM_AI_TTS_COMMAND")],
        secret: false,
        doc: "The program of the provider `command`: writes WAV or raw 16 bit PCM to its output; without {text} it reads the text from its input. No shell is involved.",
    },
    Row {
        key: "tts_command_rate",
        kind: Kind::Text { allowed: "8000 to 48000, or call", set: |o, text| speech(o, "tts_command_rate", text) },
        default: "call",
        variables: &[same("AUDIO_STREAM_AI_TTS_COMMAND_RATE")],
        secret: false,
        doc: "Sampling rate of the program's output where that is raw PCM.",
    },
    Row {
        key: "tts_timeout_ms",
        kind: Kind::Text { allowed: "500 to 30000", set: |o, text| speech(o, "tts_timeout_ms", text) },
        default: "10000",
        variables: &[same("AUDIO_STREAM_AI_TTS_TIMEOUT_MS")],
        secret: false,
        doc: "How long a provider may take to its first audio, and between two pieces of it, ms.",
    },
    Row {
        key: "tts_clean",
        kind: Kind::Switch { set: |o, v| o.ai.clean = v },
        default: "true",
        variables: &[same("AUDIO_STREAM_AI_TTS_CLEAN")],
        secret: false,
        doc: "Whether Markdown and emoji are taken out of what is synthesised. Transcripts and responses keep what the model wrote.",
    },
    Row {
        key: "tts_abbreviations",
        kind: Kind::Text {
            allowed: "at most 256 words of at most 32 letters, separated by commas",
            set: |o, text| {
                o.ai.abbreviations = Abbreviations::parse(text)?;
                Ok(())
            },
        },
        default: "",
        variables: &[same("AUDIO_STREAM_AI_TTS_ABBREVIATIONS")],
        secret: false,
        doc: "Words of which the full stop does not end a sentence, besides those the module knows. `Bldg#`: unless a number follows; `GmbH?`: unless a word follows that begins sentences, like `The`; `-gasse`: any word that ends like this.",
    },
    Row {
        key: "tts_cache",
        kind: Kind::Text { allowed: "true or false", set: |o, text| speech(o, "tts_cache", text) },
        default: "true",
        variables: &[
            same("AUDIO_STREAM_AI_TTS_CACHE"),
            same("AUDIO_STREAM_AI_ENABLE_TTS_CACHE"),
            same("AI_ENABLE_TTS_CACHE"),
        ],
        secret: false,
        doc: "Whether speech is taken from the module's cache and put there.",
    },
    Row {
        key: "dsp_enabled",
        kind: Kind::Switch { set: |o, v| o.ai.polish.enabled = v },
        default: "true",
        variables: &[same("AUDIO_STREAM_AI_DSP_ENABLED"), same("AI_DSP_ENABLED")],
        secret: false,
        doc: "Whether synthesised speech is polished, by the stages below in their order.",
    },
    Row {
        key: "dc_blocker",
        kind: Kind::Switch { set: |o, v| o.ai.polish.dc_blocker = v },
        default: "true",
        variables: &[same("AUDIO_STREAM_AI_DC_BLOCKER")],
        secret: false,
        doc: "Takes a constant offset off.",
    },
    Row {
        key: "gate_threshold_db",
        kind: Kind::Text {
            allowed: "-90 to 0 dB, or off",
            set: |o, text| {
                o.ai.polish.gate = values::decimal_or_off(text, -90.0, 0.0).ok_or("give -90 to 0 dB, or off")?;
                Ok(())
            },
        },
        default: "-45",
        variables: &[same("AUDIO_STREAM_AI_GATE_THRESHOLD_DB")],
        secret: false,
        doc: "The noise gate closes below this level.",
    },
    Row {
        key: "compressor_threshold_db",
        kind: Kind::Text {
            allowed: "-60 to 0 dB, or off",
            set: |o, text| {
                o.ai.polish.compressor = values::decimal_or_off(text, -60.0, 0.0).ok_or("give -60 to 0 dB, or off")?;
                Ok(())
            },
        },
        default: "-20",
        variables: &[same("AUDIO_STREAM_AI_COMPRESSOR_THRESHOLD_DB"), same("AI_COMPRESSOR_THRESHOLD_DB")],
        secret: false,
        doc: "The compressor works above this level.",
    },
    Row {
        key: "compressor_ratio",
        kind: Kind::Decimal { min: 1.0, max: 20.0, unit: "", set: |o, v| o.ai.polish.ratio = v },
        default: "3",
        variables: &[same("AUDIO_STREAM_AI_COMPRESSOR_RATIO")],
        secret: false,
        doc: "dB in for one dB out above it.",
    },
    Row {
        key: "compressor_makeup_db",
        kind: Kind::Decimal { min: 0.0, max: 24.0, unit: "dB", set: |o, v| o.ai.polish.makeup = v },
        default: "6",
        variables: &[same("AUDIO_STREAM_AI_COMPRESSOR_MAKEUP_DB"), same("AI_COMPRESSOR_MAKEUP_DB")],
        secret: false,
        doc: "Gain behind the compressor.",
    },
    Row {
        key: "high_shelf_gain_db",
        kind: Kind::Text {
            allowed: "-12 to 12 dB, or off",
            set: |o, text| {
                o.ai.polish.shelf = values::decimal_or_off(text, -12.0, 12.0).ok_or("give -12 to 12 dB, or off")?;
                Ok(())
            },
        },
        default: "3",
        variables: &[same("AUDIO_STREAM_AI_HIGH_SHELF_GAIN_DB"), same("AI_HIGH_SHELF_GAIN_DB")],
        secret: false,
        doc: "Lifts or lowers the treble.",
    },
    Row {
        key: "high_shelf_hz",
        kind: Kind::Decimal { min: 500.0, max: 20000.0, unit: "Hz", set: |o, v| o.ai.polish.shelf_hz = v },
        default: "3000",
        variables: &[same("AUDIO_STREAM_AI_HIGH_SHELF_HZ")],
        secret: false,
        doc: "From where on, with half of the gain there.",
    },
    Row {
        key: "lpf_cutoff_hz",
        kind: Kind::Text {
            allowed: "100 to 20000 Hz, or off",
            set: |o, text| {
                o.ai.polish.low_pass =
                    values::decimal_or_off(text, 100.0, 20000.0).ok_or("give 100 to 20000 Hz, or off")?;
                Ok(())
            },
        },
        default: "7500",
        variables: &[same("AUDIO_STREAM_AI_LPF_CUTOFF_HZ"), same("AI_LPF_CUTOFF_HZ")],
        secret: false,
        doc: "The low-pass takes off what is above; clamped to below half of the call's rate.",
    },
    Row {
        key: "soft_clip",
        kind: Kind::Text {
            allowed: "0.1 to 1, or off",
            set: |o, text| {
                o.ai.polish.clip = values::decimal_or_off(text, 0.1, 1.0).ok_or("give 0.1 to 1, or off")?;
                Ok(())
            },
        },
        default: "0.85",
        variables: &[same("AUDIO_STREAM_AI_SOFT_CLIP")],
        secret: false,
        doc: "Peaks are bent from this part of full scale on.",
    },
    Row {
        key: "noise_suppression",
        kind: Kind::Text {
            allowed: "off, low, moderate, high or very_high",
            set: |o, text| {
                o.ai.caller.suppression = match text.to_ascii_lowercase().as_str() {
                    "off" => None,
                    "low" => Some(Suppression::Low),
                    "moderate" => Some(Suppression::Moderate),
                    "high" => Some(Suppression::High),
                    "very_high" => Some(Suppression::VeryHigh),
                    _ => return Err("give off, low, moderate, high or very_high".into()),
                };
                Ok(())
            },
        },
        default: "off",
        variables: &[same("AUDIO_STREAM_AI_NOISE_SUPPRESSION")],
        secret: false,
        doc: "Takes noise off the caller's side before the service hears it.",
    },
    Row {
        key: "caller_gain_control",
        kind: Kind::Switch { set: |o, v| o.ai.caller.gain_control = v },
        default: "false",
        variables: &[same("AUDIO_STREAM_AI_CALLER_GAIN_CONTROL")],
        secret: false,
        doc: "Makes soft callers louder and limits loud ones.",
    },
    Row {
        key: "local_vad_threshold",
        kind: Kind::Decimal { min: 0.0, max: 1.0, unit: "", set: |o, v| o.ai.ears_threshold = v },
        default: "0.5",
        variables: &[same("AUDIO_STREAM_AI_LOCAL_VAD_THRESHOLD")],
        secret: false,
        doc: "How sure the module's own voice activity detection must be that it hears speech.",
    },
    Row {
        key: "local_vad_min_speech_ms",
        kind: Kind::Number { min: 16, max: 2000, zero: None, unit: "ms", set: |o, v| o.ai.ears_min_speech_ms = v },
        default: "64",
        variables: &[same("AUDIO_STREAM_AI_LOCAL_VAD_MIN_SPEECH_MS")],
        secret: false,
        doc: "How long speech lasts at least for it.",
    },
    Row {
        key: "local_vad_hangover_ms",
        kind: Kind::Number { min: 0, max: 5000, zero: None, unit: "ms", set: |o, v| o.ai.ears_hangover_ms = v },
        default: "500",
        variables: &[same("AUDIO_STREAM_AI_LOCAL_VAD_HANGOVER_MS")],
        secret: false,
        doc: "How long a pause still belongs to the speech before it; with `turn_detection=local` the silence that ends a turn.",
    },
];

/// Sets an option of speech synthesis. Its default stands for nothing said, so that it leaves nothing behind.
fn speech(options: &mut StreamOptions, key: &str, text: &str) -> Result<(), String> {
    let default = AI_OPTIONS.iter().find(|row| row.key == key).map_or("", |row| row.default);
    let text = if text == default { "" } else { text };
    options.ai.speech.set(key, text).map_err(|bad| match bad {
        BadSetting::Value { why, .. } => why,
        bad => bad.to_string(),
    })
}
