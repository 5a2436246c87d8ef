//! The table of services that speak the Realtime protocol, each with its differences from OpenAI's GA protocol.
//!
//! Pure values. The engine is the same for all; what differs is here: where the service is, how the key is sent, how the session's
//! fields are called, what events are called, and what the service cannot do. Sources: OpenAI's API reference; pipecat-ai 1.14.0
//! (`services/xai/realtime`, `services/inworld/realtime`, `services/azure/voice_live`); livekit-plugins-xai 1.8.9;
//! azure-ai-voicelive 1.3.1.

use std::time::Duration;

use serde_json::Value;

use super::super::options::{AiOptions, Detection, Eagerness, Service};
use super::super::refusal::{self, IDLE, INTERRUPTS, MAX_TOKENS, MCP, NOISE_REDUCTION, Refusal, SPEED, WRITES};
use super::super::services::{self, KeyUse, Vendor};
use super::profile::SessionProfile;
use super::reshape;

/// One service.
#[derive(Clone, Copy, Debug)]
pub struct Dialect {
    /// Its names and its options.
    pub vendor: Vendor,
    /// Where it is; `None`: each customer has an address of their own.
    pub(super) usual: Option<&'static str>,
    /// The whole path of its sessions, with which a base URL is completed.
    pub(super) path: &'static str,
    /// How the path of every base URL ends.
    pub(super) tail: &'static str,
    /// What its URL has besides the model.
    pub(super) query: &'static [(&'static str, &'static str)],
    /// The name of a session of one's own choice in its URL, new for each connection.
    pub(super) session_name: Option<&'static str>,
    /// Where the model is named.
    pub(super) model: ModelPlace,
    /// How the key is sent unless the operator says otherwise; never [`KeyUse::Auto`].
    pub(super) key_use: KeyUse,
    /// A voice `voice_…` is one of the account's own, and written as an object.
    pub(super) custom_voices: bool,
    /// Fields of the GA session and what they are called here, in this order; empty: there is no such field.
    pub(super) moves: &'static [(&'static str, &'static str)],
    /// What is left to be done with the session then.
    pub(super) finish: fn(&mut Value, &SessionProfile),
    /// What a response may be asked for with.
    pub(super) response: ResponseForm,
    /// It takes `response_id` in `response.cancel`.
    pub(super) cancels_by_id: bool,
    /// The type of the agent's text in a message.
    pub(super) assistant_text: &'static str,
    /// It has `conversation.item.truncate` and `.delete`.
    pub(super) truncates: bool,
    /// It can be told not to interrupt and not to respond by itself.
    pub(super) switches: bool,
    /// Its events that have another name in the GA protocol.
    pub(super) events: &'static [(&'static str, &'static str)],
    /// Events that only this service has and that are of no interest, by what they begin with.
    pub(super) ignored: &'static [&'static str],
    /// Errors that are known by their words alone, and the code of the GA protocol.
    pub(super) errors: &'static [(&'static str, &'static str)],
    /// How long a session lasts where the service does not say; `None`: unknown.
    pub(super) max_session: Option<Duration>,
    /// What it cannot do.
    pub(super) refusals: &'static [Refusal],
}

/// Where a service takes the model.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum ModelPlace {
    /// In the URL.
    Url,
    /// In the session.
    Session,
}

/// What a response may be asked for with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum ResponseForm {
    /// Instructions, and metadata that come back with the response.
    Whole,
    /// Instructions.
    Instructions,
    /// Nothing: instructions are a message of the system before it.
    Bare,
}

impl Dialect {
    /// The name in the GA protocol of an event of the service's.
    pub(super) fn event<'a>(&self, kind: &'a str) -> &'a str {
        self.events.iter().find(|(own, _)| *own == kind).map_or(kind, |(_, name)| name)
    }

    /// Whether an event that only this service has is of no interest.
    pub(super) fn ignores(&self, kind: &str) -> bool {
        self.ignored.iter().any(|prefix| kind.starts_with(prefix))
    }

    /// The code in the GA protocol of an error that has this code and these words.
    pub(super) fn error_code<'a>(&self, code: &'a str, message: &str) -> &'a str {
        let words = message.to_ascii_lowercase();
        self.errors.iter().find(|(known, _)| words.contains(known)).map_or(code, |(_, code)| code)
    }

    /// The session of the GA protocol as this service wants it.
    pub(super) fn session(&self, mut session: Value, profile: &SessionProfile) -> Value {
        for (from, to) in self.moves {
            reshape::rename(&mut session, from, to);
        }
        (self.finish)(&mut session, profile);
        session
    }

    /// Whether its session is the one of the GA protocol.
    pub(super) fn is_plain(&self) -> bool {
        self.moves.is_empty()
    }

    /// Why `options` cannot be had here; `None`: they can.
    pub(super) fn refuses(&self, options: &AiOptions) -> Option<&'static str> {
        refusal::first(self.refusals, options)
    }
}

/// What the differences are from.
const GA: Dialect = Dialect {
    vendor: Vendor { name: "OpenAI", prefix: "openai", key_variable: "OPENAI_API_KEY", address: "" },
    usual: Some("wss://api.openai.com/v1/realtime"),
    path: "/v1/realtime",
    tail: "/realtime",
    query: &[],
    session_name: None,
    model: ModelPlace::Url,
    key_use: KeyUse::Bearer,
    custom_voices: true,
    moves: &[],
    finish: |_, _| {},
    response: ResponseForm::Whole,
    cancels_by_id: true,
    assistant_text: "output_text",
    truncates: true,
    switches: true,
    events: &[],
    ignored: &[],
    errors: &[],
    max_session: Some(Duration::from_secs(3_600)),
    refusals: &[],
};

/// OpenAI, and servers that are compatible with it.
pub static OPENAI: Dialect = GA;

/// Azure OpenAI: the same, elsewhere.
pub static AZURE: Dialect = Dialect {
    vendor: Vendor { name: "Azure", address: "https://<resource>.openai.azure.com", ..GA.vendor },
    usual: None,
    path: "/openai/v1/realtime",
    key_use: KeyUse::ApiKey,
    ..GA
};

/// OpenAI's Live API: the same account elsewhere. It speaks a protocol of its own, which another engine has.
pub static LIVE: Dialect = Dialect {
    vendor: Vendor { name: "GPT-Live", ..GA.vendor },
    usual: Some("wss://api.openai.com/v1/live/sessions"),
    path: "/v1/live/sessions",
    tail: "/live/sessions",
    model: ModelPlace::Session,
    refusals: &[
        MCP,
        WRITES,
        NOISE_REDUCTION,
        IDLE,
        SPEED,
        Refusal {
            advice: "barge_in, barge_in_min_ms and false_interruption_ms: the model decides by itself when it stops",
            ..INTERRUPTS
        },
        Refusal {
            asked: |options| options.service == Service::Azure,
            advice: "openai_service: the Live API is OpenAI's own",
        },
        Refusal {
            asked: |options| options.turn_detection != Detection::Server,
            advice: "turn_detection: the model hears and speaks at the same time, and there are no turns",
        },
        Refusal {
            asked: |options| {
                let usual = AiOptions::default();
                (options.vad_threshold, options.vad_prefix_padding_ms, options.vad_silence_duration_ms)
                    != (usual.vad_threshold, usual.vad_prefix_padding_ms, usual.vad_silence_duration_ms)
            },
            advice: "vad_threshold, vad_prefix_padding_ms and vad_silence_duration_ms: remove them, there are no turns",
        },
        Refusal {
            asked: |options| {
                [&options.transcription_model, &options.transcription_language, &options.transcription_prompt]
                    .iter()
                    .any(|text| !text.is_empty())
            },
            advice: "transcription_model, transcription_language and transcription_prompt: remove them, both sides are \
                     always written down",
        },
        Refusal {
            asked: |options| {
                let known = ["none", "minimal", "low", "medium", "high", "xhigh"];
                options.reasoning_effort.as_deref().is_some_and(|effort| !known.contains(&effort))
            },
            advice: "reasoning_effort: give none, minimal, low, medium, high or xhigh",
        },
    ],
    ..GA
};

/// xAI Grok: GA's names, and a session in which voice and turn detection are at the top.
pub static XAI: Dialect = Dialect {
    vendor: services::XAI,
    usual: Some("wss://api.x.ai/v1/realtime"),
    custom_voices: false,
    moves: &[
        ("type", ""),
        ("output_modalities", ""),
        ("max_output_tokens", ""),
        ("tool_choice", ""),
        ("parallel_tool_calls", ""),
        ("audio.input.noise_reduction", ""),
        ("audio.input.turn_detection", "turn_detection"),
        ("turn_detection.create_response", ""),
        ("turn_detection.interrupt_response", ""),
        ("audio.output.voice", "voice"),
        ("audio.input.transcription.language", "audio.input.transcription.language_hint"),
        ("audio.input.transcription.prompt", "audio.input.transcription.keyterms"),
    ],
    finish: reshape::key_terms,
    response: ResponseForm::Instructions,
    cancels_by_id: false,
    switches: false,
    ignored: &["ping", "response.text."],
    errors: &[
        ("no active response", "response_cancel_not_active"),
        ("already has an active response", "conversation_already_has_active_response"),
        ("truncat", "item_already_truncated"),
    ],
    max_session: None,
    refusals: &[
        WRITES,
        INTERRUPTS,
        NOISE_REDUCTION,
        MAX_TOKENS,
        Refusal {
            asked: |options| options.turn_detection != Detection::Server,
            advice: "turn_detection: only server_vad works there",
        },
        Refusal {
            asked: |options| !(0.1..=0.9).contains(&options.vad_threshold),
            advice: "vad_threshold: give 0.1 to 0.9",
        },
        Refusal { asked: |options| options.speed.is_some_and(|speed| speed < 0.7), advice: "speed: give 0.7 to 1.5" },
        Refusal {
            asked: |options| !matches!(options.reasoning_effort.as_deref(), None | Some("high" | "none")),
            advice: "reasoning_effort: give high or none",
        },
    ],
    ..GA
};

/// Azure Voice Live: a flat session and the older names of events.
pub static VOICE_LIVE: Dialect = Dialect {
    vendor: services::VOICE_LIVE,
    usual: None,
    path: "/voice-live/realtime",
    tail: "/voice-live/realtime",
    query: &[("api-version", "2026-07-15")],
    key_use: KeyUse::ApiKey,
    custom_voices: false,
    moves: &[
        ("type", ""),
        ("output_modalities", "modalities"),
        ("max_output_tokens", "max_response_output_tokens"),
        ("audio.input.format", "input_audio_format"),
        ("audio.output.format", "output_audio_format"),
        ("audio.input.noise_reduction.strength", ""),
        ("audio.input.noise_reduction", "input_audio_noise_reduction"),
        ("audio.input.transcription", "input_audio_transcription"),
        ("audio.input.turn_detection.idle_timeout_ms", ""),
        ("audio.input.turn_detection", "turn_detection"),
        ("audio.output.voice", "voice"),
        ("reasoning.effort", "reasoning_effort"),
    ],
    finish: reshape::flat,
    assistant_text: "text",
    events: &[
        ("response.audio.delta", "response.output_audio.delta"),
        ("response.audio.done", "response.output_audio.done"),
        ("response.audio_transcript.delta", "response.output_audio_transcript.delta"),
        ("response.audio_transcript.done", "response.output_audio_transcript.done"),
        ("response.text.delta", "response.output_text.delta"),
        ("response.text.done", "response.output_text.done"),
    ],
    ignored: &["warning", "session.avatar.", "response.animation_", "response.audio_timestamp."],
    max_session: None,
    refusals: &[
        MCP,
        IDLE,
        SPEED,
        Refusal {
            asked: |options| {
                options.turn_detection == Detection::Semantic && options.vad_eagerness == Eagerness::Medium
            },
            advice: "vad_eagerness: give auto, low or high",
        },
    ],
    ..GA
};

/// Inworld: GA's session with fewer fields, and a model in it.
pub static INWORLD: Dialect = Dialect {
    vendor: services::INWORLD,
    usual: Some("wss://api.inworld.ai/api/v1/realtime/session"),
    path: "/api/v1/realtime/session",
    tail: "/realtime/session",
    query: &[("protocol", "realtime")],
    session_name: Some("key"),
    model: ModelPlace::Session,
    key_use: KeyUse::Basic,
    custom_voices: false,
    moves: &[
        ("max_output_tokens", ""),
        ("tool_choice", ""),
        ("parallel_tool_calls", ""),
        ("reasoning", ""),
        ("audio.input.noise_reduction", ""),
        ("audio.input.transcription.language", ""),
        ("audio.input.transcription.prompt", ""),
        ("audio.input.turn_detection.threshold", ""),
        ("audio.input.turn_detection.prefix_padding_ms", ""),
        ("audio.input.turn_detection.silence_duration_ms", ""),
        ("audio.input.turn_detection.idle_timeout_ms", ""),
        ("audio.output.speed", ""),
    ],
    finish: reshape::with_model,
    response: ResponseForm::Bare,
    cancels_by_id: false,
    truncates: false,
    ignored: &["ping"],
    max_session: None,
    refusals: &[
        MCP,
        WRITES,
        NOISE_REDUCTION,
        MAX_TOKENS,
        IDLE,
        SPEED,
        Refusal {
            asked: |options| {
                let usual = AiOptions::default();
                options.turn_detection == Detection::Server
                    && (options.vad_threshold, options.vad_prefix_padding_ms, options.vad_silence_duration_ms)
                        != (usual.vad_threshold, usual.vad_prefix_padding_ms, usual.vad_silence_duration_ms)
            },
            advice: "vad_threshold, vad_prefix_padding_ms and vad_silence_duration_ms: remove them, or use turn_detection=local",
        },
        Refusal {
            asked: |options| !options.transcription_language.is_empty() || !options.transcription_prompt.is_empty(),
            advice: "transcription_language and transcription_prompt: remove them",
        },
        Refusal { asked: |options| options.reasoning_effort.is_some(), advice: "reasoning_effort: remove it" },
    ],
    ..GA
};
