//! What services cannot do, of what an operator can ask for: each is refused with the option's name and what to do instead.
//!
//! Pure values.

use super::agent::{SpeechTrigger, VoiceMode};
use super::options::AiOptions;

/// Something that a service cannot do.
#[derive(Clone, Copy, Debug)]
pub(super) struct Refusal {
    /// Whether the operator asks for it.
    pub(super) asked: fn(&AiOptions) -> bool,
    /// The option, and what to do.
    pub(super) advice: &'static str,
}

/// The advice of the first of these that the operator asks for.
pub(super) fn first(refusals: &[Refusal], options: &AiOptions) -> Option<&'static str> {
    refusals.iter().find(|refusal| (refusal.asked)(options)).map(|refusal| refusal.advice)
}

/// Servers of tools that the service itself asks.
pub(super) const MCP: Refusal = Refusal {
    asked: |options| !options.mcp_servers.is_empty(),
    advice: "mcp_servers: use tools and tool_url, which the module carries out",
};

/// A model that writes, and a voice of the module.
pub(super) const WRITES: Refusal =
    Refusal { asked: |options| options.output == VoiceMode::Synthesis, advice: "ai_output=tts: its model only speaks" };

/// That the module decides what interrupts.
pub(super) const INTERRUPTS: Refusal = Refusal {
    asked: |options| {
        options.barge_in != SpeechTrigger::Engine || options.barge_in_min_ms > 0 || options.false_interruption_ms > 0
    },
    advice: "barge_in, barge_in_min_ms and false_interruption_ms: it always interrupts itself at once",
};

/// Noise reduction by the service.
pub(super) const NOISE_REDUCTION: Refusal = Refusal {
    asked: |options| options.noise_reduction.is_some(),
    advice: "noise_reduction: use noise_suppression, which is the module's own",
};

/// A bound of one response.
pub(super) const MAX_TOKENS: Refusal = Refusal {
    asked: |options| {
        options.max_response_tokens.is_some_and(|most| Some(most) != AiOptions::default().max_response_tokens)
    },
    advice: "max_response_tokens: remove it",
};

/// That the service finds when nobody speaks.
pub(super) const IDLE: Refusal = Refusal {
    asked: |options| options.vad_idle_timeout_ms > 0,
    advice: "vad_idle_timeout_ms: use idle_timeout_ms, which is the module's own",
};

/// Another speed of the voice.
pub(super) const SPEED: Refusal = Refusal { asked: |options| options.speed.is_some(), advice: "speed: remove it" };
