//! What can be asked of a conversation: plain values, each a row of `control::options`, where its range and meaning stand.
//!
//! Printing them shows no key and nothing that was written for the model.

use std::fmt;

use crate::agent::{Abbreviations, Builtin, SpeechTrigger, VoiceMode};
use crate::dsp::chain::{Compressor, Gate, HighShelf, LowPass, SoftClip};
use crate::dsp::{CallerSettings, ChainSettings};
use crate::protocol::openai_realtime::{Eagerness, MaxTokens, NoiseKind, Service, Tool};
use crate::tts::SpeechOptions;
use crate::units::Secret;

/// How the key is shown to the far end.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum KeyUse {
    /// As the service wants it: `api-key` at Azure, else a bearer token.
    #[default]
    Auto,
    /// `Authorization: Bearer`.
    Bearer,
    /// `api-key`.
    ApiKey,
    /// The server wants none, and none is sent.
    None,
}

/// How audio is coded on the wire.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum WireAudio {
    /// G.711 where the call is narrow-band, else linear at 24 kHz.
    #[default]
    Auto,
    /// Linear at 24 kHz.
    Pcm,
    /// µ-law at 8 kHz.
    Pcmu,
    /// A-law at 8 kHz.
    Pcma,
}

/// Who finds the caller's turns.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Detection {
    /// The far end, by level and silence.
    #[default]
    Server,
    /// The far end, by meaning.
    Semantic,
    /// Our own voice activity detection.
    Local,
}

/// The stages of the polish on synthesised speech; `None`: off. In range, as the options' rows have checked.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Polish {
    /// Any of them.
    pub enabled: bool,
    /// The first.
    pub dc_blocker: bool,
    /// dB.
    pub gate: Option<f32>,
    /// dB.
    pub compressor: Option<f32>,
    /// dB in for one dB out.
    pub ratio: f32,
    /// dB.
    pub makeup: f32,
    /// dB.
    pub shelf: Option<f32>,
    /// Hz.
    pub shelf_hz: f32,
    /// Hz.
    pub low_pass: Option<f32>,
    /// Part of full scale.
    pub clip: Option<f32>,
}

impl Default for Polish {
    fn default() -> Self {
        Self {
            enabled: true,
            dc_blocker: true,
            gate: Some(-45.0),
            compressor: Some(-20.0),
            ratio: 3.0,
            makeup: 6.0,
            shelf: Some(3.0),
            shelf_hz: 3_000.0,
            low_pass: Some(7_500.0),
            clip: Some(0.85),
        }
    }
}

impl Polish {
    /// The same for the chain. A value out of range, which there is none, turns its stage off.
    pub fn settings(self) -> ChainSettings {
        if !self.enabled {
            return ChainSettings::BYPASS;
        }
        ChainSettings {
            dc_blocker: self.dc_blocker,
            gate: self.gate.and_then(|db| Gate::new(db).ok()),
            compressor: self.compressor.and_then(|db| Compressor::new(db, self.ratio, self.makeup).ok()),
            high_shelf: self.shelf.and_then(|db| HighShelf::new(self.shelf_hz, db).ok()),
            low_pass: self.low_pass.and_then(|hz| LowPass::new(hz).ok()),
            soft_clip: self.clip.and_then(|knee| SoftClip::new(knee).ok()),
        }
    }
}

/// The options of a conversation.
#[derive(Clone, PartialEq)]
pub struct AiOptions {
    /// The far end's key.
    pub key: Option<Secret>,
    /// How it is shown.
    pub key_use: KeyUse,
    /// The model; at Azure the deployment.
    pub model: String,
    /// Where the far end is; `None`: OpenAI.
    pub base_url: Option<String>,
    /// Whose details apply.
    pub service: Service,
    /// `OpenAI-Organization`.
    pub organization: Option<String>,
    /// `OpenAI-Project`.
    pub project: Option<String>,
    /// `OpenAI-Safety-Identifier`.
    pub safety_identifier: Option<String>,
    /// The system prompt; empty: the far end's own.
    pub system_prompt: String,
    /// The model's voice; `None`: the far end's own.
    pub voice: Option<String>,
    /// How fast it speaks; `None`: the far end's own.
    pub speed: Option<f32>,
    /// Who speaks for the model.
    pub output: VoiceMode,
    /// How audio is coded on the wire.
    pub audio: WireAudio,
    /// Who finds the turns.
    pub turn_detection: Detection,
    /// How sure the far end must be that it hears speech.
    pub vad_threshold: f32,
    /// Audio kept before the start of speech, ms.
    pub vad_prefix_padding_ms: u32,
    /// Silence that ends a turn, ms.
    pub vad_silence_duration_ms: u32,
    /// Silence after which the model speaks up, ms; 0: never.
    pub vad_idle_timeout_ms: u32,
    /// How soon semantic detection takes a turn as ended.
    pub vad_eagerness: Eagerness,
    /// Noise reduction by the far end.
    pub noise_reduction: Option<NoiseKind>,
    /// Model that writes down what the caller says; empty: none.
    pub transcription_model: String,
    /// Its language; empty: any.
    pub transcription_language: String,
    /// Words it should expect.
    pub transcription_prompt: String,
    /// Whether texts are told piece by piece, too.
    pub transcript_deltas: bool,
    /// Bound of one response.
    pub max_response_tokens: MaxTokens,
    /// For models that reason; `None`: the far end's own.
    pub reasoning_effort: Option<String>,
    /// The operator's functions.
    pub tools: Vec<Tool>,
    /// Functions that the module carries out.
    pub builtin_tools: Vec<Builtin>,
    /// Where the model may transfer to; empty: anywhere.
    pub transfer_destinations: Vec<String>,
    /// Variables it may set; empty: those that begin with `ai_`.
    pub tool_variables: Vec<String>,
    /// How long a function may take, ms.
    pub tool_timeout_ms: u32,
    /// Whose ears a barge-in listens with.
    pub barge_in: SpeechTrigger,
    /// How long the caller must speak to interrupt, ms.
    pub barge_in_min_ms: u32,
    /// A key interrupts.
    pub barge_in_dtmf: bool,
    /// Keys are told to the model.
    pub dtmf_to_model: bool,
    /// What the agent says first.
    pub greeting: Option<String>,
    /// By which instructions the model speaks first.
    pub greeting_instructions: Option<String>,
    /// How long nobody may speak, ms; 0: for ever.
    pub idle_timeout_ms: u32,
    /// By which instructions the model then speaks.
    pub idle_instructions: Option<String>,
    /// At how many such timeouts in a row the call is ended; 0: never.
    pub idle_hang_up_at: u32,
    /// Said when a sentence could not be spoken.
    pub apology: Option<String>,
    /// How long a response may show no sign of life, ms.
    pub response_timeout_ms: u32,
    /// Attempts to come back.
    pub reconnect_max: u32,
    /// The wait before the first of them, ms.
    pub reconnect_ms: u32,
    /// Caller's audio kept meanwhile, ms.
    pub ring_buffer_ms: u32,
    /// Bound of the agent's speech that waits to be heard, ms.
    pub playback_ms: u32,
    /// Markdown and emoji are taken out of what is spoken.
    pub clean: bool,
    /// Abbreviations besides those that are known.
    pub abbreviations: Abbreviations,
    /// Who speaks what the model writes.
    pub speech: SpeechOptions,
    /// What is done to that.
    pub polish: Polish,
    /// What is done to the caller's side.
    pub caller: CallerSettings,
    /// How sure our own voice activity detection must be.
    pub ears_threshold: f32,
    /// How long speech lasts at least for it, ms.
    pub ears_min_speech_ms: u32,
    /// How long a pause belongs to the speech before it, ms.
    pub ears_hangover_ms: u32,
}

impl Default for AiOptions {
    fn default() -> Self {
        Self {
            key: None,
            key_use: KeyUse::Auto,
            model: String::new(),
            base_url: None,
            service: Service::OpenAi,
            organization: None,
            project: None,
            safety_identifier: None,
            system_prompt: String::new(),
            voice: None,
            speed: None,
            output: VoiceMode::FarEnd,
            audio: WireAudio::Auto,
            turn_detection: Detection::Server,
            vad_threshold: 0.5,
            vad_prefix_padding_ms: 300,
            vad_silence_duration_ms: 500,
            vad_idle_timeout_ms: 0,
            vad_eagerness: Eagerness::Auto,
            noise_reduction: None,
            transcription_model: String::new(),
            transcription_language: String::new(),
            transcription_prompt: String::new(),
            transcript_deltas: false,
            max_response_tokens: MaxTokens::Count(4_096),
            reasoning_effort: None,
            tools: Vec::new(),
            builtin_tools: Vec::new(),
            transfer_destinations: Vec::new(),
            tool_variables: Vec::new(),
            tool_timeout_ms: 30_000,
            barge_in: SpeechTrigger::FarEnd,
            barge_in_min_ms: 0,
            barge_in_dtmf: true,
            dtmf_to_model: false,
            greeting: None,
            greeting_instructions: None,
            idle_timeout_ms: 0,
            idle_instructions: None,
            idle_hang_up_at: 0,
            apology: None,
            response_timeout_ms: 30_000,
            reconnect_max: 5,
            reconnect_ms: 500,
            ring_buffer_ms: 5_000,
            playback_ms: 120_000,
            clean: true,
            abbreviations: Abbreviations::default(),
            speech: SpeechOptions::default(),
            polish: Polish::default(),
            caller: CallerSettings::OFF,
            ears_threshold: 0.5,
            ears_min_speech_ms: 64,
            ears_hangover_ms: 500,
        }
    }
}

impl fmt::Debug for AiOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AiOptions")
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
