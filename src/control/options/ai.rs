//! The options of a conversation: more rows of the table, for `start_ai`.
//!
//! Pure. No model is named here: those of the sample profile are the configuration's.

use super::{Kind, OptionRow, Row, same};
use crate::agent::{Builtin, SpeechTrigger, VoiceMode};
use crate::control::values;
use crate::protocol::openai_realtime::{Eagerness, MaxTokens, NoiseKind, Service};
use crate::stream::ai::{Detection, KeyUse, WireAudio};
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
            allowed: "server_vad or semantic_vad",
            set: |o, text| {
                o.ai.turn_detection = match text.to_ascii_lowercase().as_str() {
                    "server_vad" => Detection::Server,
                    "semantic_vad" => Detection::Semantic,
                    _ => return Err("give server_vad or semantic_vad".into()),
                };
                Ok(())
            },
        },
        default: "server_vad",
        variables: &[same("AUDIO_STREAM_AI_TURN_DETECTION")],
        secret: false,
        doc: "How the service finds the end of the caller's turn: by silence or by meaning.",
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
            allowed: "far_end, off, or true or false",
            set: |o, text| {
                o.ai.barge_in = match values::flag(text) {
                    Some(true) => SpeechTrigger::FarEnd,
                    Some(false) => SpeechTrigger::Off,
                    None if text.eq_ignore_ascii_case("far_end") => SpeechTrigger::FarEnd,
                    None => return Err("give far_end, off, or true or false".into()),
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
        doc: "Whether the caller's speech interrupts the agent, as the service hears it.",
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
];
