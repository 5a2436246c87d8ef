//! What a session is to be: the fields of the GA `session.update`, with their ranges.
//!
//! Pure values. [`SessionProfile::check`] is called once, when a profile is read; what it passes, the server takes as
//! far as this side can know. No model is named here: it is in the URL, and in the configuration.

use serde_json::{Map, Value};

use super::super::agent::TurnTaking;
use super::super::engine::InputFormat;
use super::super::functions::{Function, MAX_FUNCTIONS};
use super::super::mcp::McpServer;
use super::super::options::{Eagerness, NoiseKind};
use crate::protocol::excerpt;
use crate::units::{Encoding, Law, SampleRate};

/// How audio is coded on the wire, in both directions mono.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum AudioFormat {
    /// S16LE at 24 kHz, the only linear rate there is.
    #[default]
    Pcm24k,
    /// G.711 µ-law at 8 kHz.
    Pcmu,
    /// G.711 A-law at 8 kHz.
    Pcma,
}

impl AudioFormat {
    /// Samples a second.
    pub const fn rate(self) -> SampleRate {
        match self {
            Self::Pcm24k => SampleRate::HZ_24000,
            Self::Pcmu | Self::Pcma => SampleRate::HZ_8000,
        }
    }

    /// The same for the agent.
    pub const fn wire(self) -> InputFormat {
        let encoding = match self {
            Self::Pcm24k => Encoding::S16Le,
            Self::Pcmu => Encoding::G711(Law::Mu),
            Self::Pcma => Encoding::G711(Law::A),
        };
        InputFormat { rate: self.rate(), encoding }
    }
}

/// What the model answers with; never both.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Modality {
    /// Speech.
    #[default]
    Audio,
    /// Text, to be spoken by us.
    Text,
}

/// The voice of the model.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Voice {
    /// By name: alloy, marin, ….
    Named(String),
    /// A voice of the account's own, `voice_…`.
    Custom(String),
}

/// Noise reduction by the server, before its turn detection.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct NoiseReduction {
    /// Which microphone.
    pub kind: NoiseKind,
    /// 0 to 1; `None`: the server's default. Not every server knows it.
    pub strength: Option<f32>,
}

/// Transcription of what the caller says.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Transcription {
    /// The model; at Azure a deployment. No default here.
    pub model: String,
    /// ISO-639-1, such as `en`.
    pub language: Option<String>,
    /// Words to expect.
    pub prompt: Option<String>,
}

/// Turn detection by level and silence.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct ServerVad {
    /// 0 to 1: how sure it must be.
    pub threshold: Option<f32>,
    /// Audio kept before the start of speech, up to 10 s.
    pub prefix_padding_ms: Option<u32>,
    /// Silence that ends a turn, up to 10 s.
    pub silence_duration_ms: Option<u32>,
    /// Whether the end of a turn makes a response.
    pub create_response: bool,
    /// Whether the start of speech cancels the response.
    pub interrupt_response: bool,
    /// Silence after which the model speaks up, 5 to 30 s (OpenAI's API reference).
    pub idle_timeout_ms: Option<u32>,
}

impl Default for ServerVad {
    /// The server's own values; responds and interrupts by itself.
    fn default() -> Self {
        Self {
            threshold: None,
            prefix_padding_ms: None,
            silence_duration_ms: None,
            create_response: true,
            interrupt_response: true,
            idle_timeout_ms: None,
        }
    }
}

/// Turn detection by meaning.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SemanticVad {
    /// How soon it takes a turn as ended.
    pub eagerness: Eagerness,
    /// Whether the end of a turn makes a response.
    pub create_response: bool,
    /// Whether the start of speech cancels the response.
    pub interrupt_response: bool,
}

impl Default for SemanticVad {
    fn default() -> Self {
        Self { eagerness: Eagerness::Auto, create_response: true, interrupt_response: true }
    }
}

/// Who finds the caller's turns.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum TurnDetection {
    /// The server, by level.
    Server(ServerVad),
    /// The server, by meaning.
    Semantic(SemanticVad),
    /// We: `Commit` and `Respond`.
    Off,
}

impl TurnDetection {
    /// Whether the server cancels its response when the caller speaks.
    pub const fn interrupts(self) -> bool {
        match self {
            Self::Server(vad) => vad.interrupt_response,
            Self::Semantic(vad) => vad.interrupt_response,
            Self::Off => false,
        }
    }

    /// Whether the server responds when the caller's turn ends.
    pub const fn responds(self) -> bool {
        match self {
            Self::Server(vad) => vad.create_response,
            Self::Semantic(vad) => vad.create_response,
            Self::Off => false,
        }
    }

    /// The same for the agent.
    pub const fn turns(self) -> TurnTaking {
        match self {
            Self::Off => TurnTaking::Local,
            detection => TurnTaking::Engine { responds: detection.responds(), interrupts: detection.interrupts() },
        }
    }

    /// The same, but the server does nothing by itself.
    #[must_use]
    pub const fn passive(self) -> Self {
        let (create_response, interrupt_response) = (false, false);
        match self {
            Self::Server(vad) => Self::Server(ServerVad { create_response, interrupt_response, ..vad }),
            Self::Semantic(vad) => Self::Semantic(SemanticVad { create_response, interrupt_response, ..vad }),
            Self::Off => Self::Off,
        }
    }
}

/// Whether the model must call a function.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum ToolChoice {
    /// As it likes.
    #[default]
    Auto,
    /// Never.
    None,
    /// Always one.
    Required,
    /// This one.
    Function(String),
}

/// Bound of one response.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum MaxTokens {
    /// 1 to 4096.
    Count(u32),
    /// None.
    #[default]
    Unlimited,
}

/// What a session is to be.
#[derive(Clone, PartialEq, Debug)]
pub struct SessionProfile {
    /// The model, for services that take it in the session.
    pub model: String,
    /// The system prompt; empty: the server's own.
    pub instructions: String,
    /// Speech or text.
    pub modality: Modality,
    /// `None`: the server's own. Cannot change after the first audio.
    pub voice: Option<Voice>,
    /// 0.25 to 1.5.
    pub speed: Option<f32>,
    /// Of the caller's audio.
    pub input: AudioFormat,
    /// Of the model's.
    pub output: AudioFormat,
    /// Who finds the turns.
    pub turn_detection: TurnDetection,
    /// `None`: off.
    pub noise_reduction: Option<NoiseReduction>,
    /// `None`: off.
    pub transcription: Option<Transcription>,
    /// At most 128.
    pub tools: Vec<Function>,
    /// Servers of tools that the service asks.
    pub mcp_servers: Vec<McpServer>,
    /// Sent only where there are tools.
    pub tool_choice: ToolChoice,
    /// `None`: the server's own.
    pub parallel_tool_calls: Option<bool>,
    /// Bound of one response.
    pub max_output_tokens: MaxTokens,
    /// `low`, `medium`, … for models that reason.
    pub reasoning_effort: Option<String>,
    /// Merged into the session, last.
    pub fields: Map<String, Value>,
}

impl Default for SessionProfile {
    /// Speech at 24 kHz with the server's own voice and turn detection.
    fn default() -> Self {
        Self {
            model: String::new(),
            instructions: String::new(),
            modality: Modality::Audio,
            voice: None,
            speed: None,
            input: AudioFormat::Pcm24k,
            output: AudioFormat::Pcm24k,
            turn_detection: TurnDetection::Server(ServerVad::default()),
            noise_reduction: None,
            transcription: None,
            tools: Vec::new(),
            mcp_servers: Vec::new(),
            tool_choice: ToolChoice::Auto,
            parallel_tool_calls: None,
            max_output_tokens: MaxTokens::Unlimited,
            reasoning_effort: None,
            fields: Map::new(),
        }
    }
}

/// A field of the profile is out of its range.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct BadProfile {
    /// The field as the server calls it.
    pub field: &'static str,
    /// What is wrong and what is right.
    pub problem: String,
}

/// Longest instructions, in bytes: ours, far above what a session's context holds.
const MAX_INSTRUCTIONS: usize = 256 << 10;
/// Longest padding and silence, ms: ours.
const MAX_VAD_MS: u32 = 10_000;

impl SessionProfile {
    /// Whether the server can take this.
    ///
    /// Errors name the first field out of range; the profile is refused, or the field replaced by its default.
    pub fn check(&self) -> Result<(), BadProfile> {
        let bad = |field, problem: String| Err(BadProfile { field, problem });
        let within = |field, value: Option<f32>, low: f32, high: f32| match value {
            Some(value) if !(low..=high).contains(&value) => bad(field, format!("{value} is not from {low} to {high}")),
            _ => Ok(()),
        };
        let ms = |field, value: Option<u32>, low: u32, high: u32| match value {
            Some(value) if !(low..=high).contains(&value) => {
                bad(field, format!("{value} ms is not from {low} to {high}"))
            }
            _ => Ok(()),
        };
        if self.instructions.len() > MAX_INSTRUCTIONS {
            return bad("instructions", format!("longer than {MAX_INSTRUCTIONS} bytes"));
        }
        within("speed", self.speed, 0.25, 1.5)?;
        if let Some(Voice::Named(voice) | Voice::Custom(voice)) = &self.voice
            && voice.trim().is_empty()
        {
            return bad("voice", "is empty".into());
        }
        if let TurnDetection::Server(vad) = &self.turn_detection {
            within("turn_detection.threshold", vad.threshold, 0.0, 1.0)?;
            ms("turn_detection.prefix_padding_ms", vad.prefix_padding_ms, 0, MAX_VAD_MS)?;
            ms("turn_detection.silence_duration_ms", vad.silence_duration_ms, 0, MAX_VAD_MS)?;
            ms("turn_detection.idle_timeout_ms", vad.idle_timeout_ms, 5_000, 30_000)?;
        }
        within("noise_reduction.strength", self.noise_reduction.and_then(|noise| noise.strength), 0.0, 1.0)?;
        if self.transcription.as_ref().is_some_and(|transcription| transcription.model.trim().is_empty()) {
            return bad("transcription.model", "is not set".into());
        }
        if let MaxTokens::Count(count) = self.max_output_tokens
            && !(1..=4_096).contains(&count)
        {
            return bad("max_output_tokens", format!("{count} is not a number from 1 to 4096 or inf"));
        }
        self.check_tools()
    }

    fn check_tools(&self) -> Result<(), BadProfile> {
        let bad = |field, problem: String| Err(BadProfile { field, problem });
        if self.tools.len() > MAX_FUNCTIONS {
            return bad("tools", format!("{} are more than {MAX_FUNCTIONS}", self.tools.len()));
        }
        for (at, tool) in self.tools.iter().enumerate() {
            let name = excerpt(&tool.name);
            if !tool.has_valid_name() {
                return bad("tools.name", format!("'{name}' is not 1 to 64 of A-Z a-z 0-9 _ -"));
            }
            if tool.is_among(&self.tools[..at]) {
                return bad("tools.name", format!("'{name}' is given twice"));
            }
            if !tool.parameters.is_object() {
                return bad("tools.parameters", format!("of '{name}' are not a JSON object"));
            }
        }
        match &self.tool_choice {
            ToolChoice::Function(name) if !self.tools.iter().any(|tool| tool.name == *name) => {
                bad("tool_choice", format!("'{}' is not one of the functions in tools", excerpt(name)))
            }
            ToolChoice::Required if self.tools.is_empty() && self.mcp_servers.is_empty() => {
                bad("tool_choice", "required, but there is no tool".into())
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn refused(change: impl FnOnce(&mut SessionProfile)) -> &'static str {
        let mut profile = SessionProfile::default();
        change(&mut profile);
        profile.check().map_or_else(|bad| bad.field, |()| "")
    }

    fn vad(change: impl FnOnce(&mut ServerVad)) -> &'static str {
        let mut vad = ServerVad::default();
        change(&mut vad);
        refused(|profile| profile.turn_detection = TurnDetection::Server(vad))
    }

    fn tool(name: &str) -> Function {
        Function::new(name, "", serde_json::json!({}))
    }

    #[test]
    fn every_range_has_its_ends_inside_and_names_what_is_outside() {
        assert_eq!(SessionProfile::default().check(), Ok(()));
        for (speed, field) in [(0.25, ""), (1.5, ""), (0.24, "speed"), (1.51, "speed"), (f32::NAN, "speed")] {
            assert_eq!(refused(|profile| profile.speed = Some(speed)), field, "{speed}");
        }
        for (count, field) in [(1, ""), (4_096, ""), (0, "max_output_tokens"), (4_097, "max_output_tokens")] {
            assert_eq!(refused(|profile| profile.max_output_tokens = MaxTokens::Count(count)), field, "{count}");
        }
        for (value, field) in
            [(0.0, ""), (1.0, ""), (-0.1, "turn_detection.threshold"), (1.1, "turn_detection.threshold")]
        {
            assert_eq!(vad(|vad| vad.threshold = Some(value)), field, "{value}");
        }
        assert_eq!(vad(|vad| vad.prefix_padding_ms = Some(10_001)), "turn_detection.prefix_padding_ms");
        assert_eq!(vad(|vad| vad.silence_duration_ms = Some(10_001)), "turn_detection.silence_duration_ms");
        for (value, field) in [(5_000, ""), (30_000, ""), (4_999, "turn_detection.idle_timeout_ms")] {
            assert_eq!(vad(|vad| vad.idle_timeout_ms = Some(value)), field, "{value}");
        }
        let noise = |strength| Some(NoiseReduction { kind: NoiseKind::FarField, strength: Some(strength) });
        assert_eq!(refused(|profile| profile.noise_reduction = noise(1.0)), "");
        assert_eq!(refused(|profile| profile.noise_reduction = noise(1.5)), "noise_reduction.strength");
        assert_eq!(refused(|profile| profile.transcription = Some(Transcription::default())), "transcription.model");
        assert_eq!(refused(|profile| profile.voice = Some(Voice::Named(" ".into()))), "voice");
        assert_eq!(refused(|profile| profile.instructions = "x".repeat(MAX_INSTRUCTIONS + 1)), "instructions");
    }

    #[test]
    fn tools_have_plain_names_once_and_an_object_of_parameters() {
        for name in ["", "a b", "é", "a.b", &"x".repeat(65)] {
            assert_eq!(refused(|profile| profile.tools = vec![tool(name)]), "tools.name", "{name}");
        }
        assert_eq!(refused(|profile| profile.tools = vec![tool("a-B_1")]), "");
        assert_eq!(refused(|profile| profile.tools = vec![tool("a"), tool("a")]), "tools.name");
        let list = Function::new("a", "", serde_json::json!([]));
        assert_eq!(refused(|profile| profile.tools = vec![list]), "tools.parameters");
        assert_eq!(refused(|profile| profile.tool_choice = ToolChoice::Function("a".into())), "tool_choice");
        assert_eq!(refused(|profile| profile.tool_choice = ToolChoice::Required), "tool_choice");
    }
}
