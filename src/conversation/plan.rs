//! From the options of a conversation to its parts for one call: engine, policy, voice, and what the caller's audio goes through.
//!
//! Pure; on the API or dialplan thread.

use std::time::Duration;

use super::agent::{
    AgentConfig, BargeIn, Builtin, Fallback, Filler, Greeting, Idle, Keys, Reconnect, SpeechTrigger, ToolPolicy,
    TurnTaking, VoiceMode,
};
use super::caller::CallerProcessing;
use super::engine::Engine;
use super::engines::EngineEntry;
use super::options::{AiOptions, Service, TransferMode};
use super::setup::Setup;
use crate::dsp::VadSettings;
use crate::peer::Retry;
use crate::tts::{MissingSetting, SpeechSettings};
use crate::units::{SampleRate, Secret};

/// Longest piece of a text for a voice that goes on from piece to piece, characters: some three seconds.
const PIECE: usize = 48;

/// How long the person to whom a caller is handed over may take beyond the ringing: the announcement.
const ANNOUNCEMENT: Duration = Duration::from_secs(120);

/// The options do not make a conversation. The text is the reply to the operator.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadPlan {
    /// The engine cannot work with them.
    #[error("{0}")]
    Engine(String),
    /// Nobody can speak what the model writes.
    #[error("{0}")]
    Speech(#[from] MissingSetting),
}

impl AiOptions {
    /// Who speaks what the model writes, or what the operator has said. OpenAI's key of the conversation is also the one of its
    /// speech, but goes to nobody else.
    pub fn speech(&self) -> Result<SpeechSettings, MissingSetting> {
        let elsewhere = self.service != Service::OpenAi || self.base_url.is_some() || self.speaking.speech.has_url();
        let key = self.key.as_ref().filter(|_| !elsewhere).map(|key| key.expose().to_owned());
        let resolved = self.speaking.speech.resolve(&|variable| key.clone().filter(|_| variable == "OPENAI_API_KEY"));
        match resolved {
            // The conversation's key is not for another server, from any source.
            Err(MissingSetting { provider: provider @ "openai", variable: Some(_), .. }) => {
                Err(MissingSetting { provider, key: "tts_openai_api_key".to_owned(), variable: None })
            }
            resolved => resolved,
        }
    }

    pub(super) fn policy(&self) -> AgentConfig {
        let ms = |ms: u32| Duration::from_millis(ms.into());
        let words = |text: &Option<String>| text.clone().unwrap_or_default();
        let greeting = match &self.greeting_file {
            Some(_) => Some(Greeting::Recorded { words: words(&self.greeting) }),
            None => self.greeting.clone().map(Greeting::Text),
        };
        let recorded = self.fallback_file.is_some();
        AgentConfig {
            voice: self.output,
            barge_in: BargeIn {
                speech: self.barge_in,
                min_speech: ms(self.barge_in_min_ms),
                dtmf: self.barge_in_dtmf,
                false_interruption: ms(self.false_interruption_ms),
            },
            remarks: self.interruption_ignore.clone(),
            // The module is sure after the minimum, and a message of 20 ms or two later.
            pre_roll: ms(self.vad_prefix_padding_ms + self.ears_min_speech_ms + 40),
            greeting: greeting.or_else(|| self.greeting_instructions.clone().map(Greeting::Instructions)),
            idle: (self.idle_timeout_ms > 0).then(|| Idle {
                after: ms(self.idle_timeout_ms),
                instructions: self.idle_instructions.clone(),
                hang_up_at: self.idle_hang_up_at,
            }),
            wind_down: self.wind_down_instructions.clone(),
            keys: Keys {
                named: self.dtmf_to_model,
                length: (self.dtmf_length > 0).then_some(self.dtmf_length as usize),
                terminator: self.dtmf_terminator,
                pause: ms(self.dtmf_timeout_ms),
            },
            thinking_sound: self.thinking_sound.is_some(),
            filler: self.tool_filler.clone().map(|text| Filler { after: ms(self.tool_filler_ms), text }),
            fallback: (recorded || self.fallback.is_some())
                .then(|| Fallback { recorded, words: words(&self.fallback) }),
            tools: ToolPolicy {
                builtin: self.builtin_tools.clone(),
                custom: self
                    .tools
                    .iter()
                    .map(|tool| &tool.name)
                    .filter(|name| Builtin::named(name).is_none())
                    .cloned()
                    .collect(),
                destinations: self.transfer_destinations.clone(),
                announced: (self.transfer_mode == TransferMode::Announced)
                    .then(|| Duration::from_secs(self.transfer_timeout_s.into()) + ANNOUNCEMENT),
                variables: self.tool_variables.clone(),
                approval: self.mcp_approval,
            },
            tool_timeout: ms(self.tool_timeout_ms),
            response_timeout: ms(self.response_timeout_ms),
            sentences: self.speaking.sentences(),
            apology: self.apology.clone(),
            reconnect: Reconnect {
                retry: Retry { attempts: self.reconnect_max, first_wait: ms(self.reconnect_ms), ..Retry::default() },
                audio: ms(self.ring_buffer_ms),
                ..Reconnect::default()
            },
            ..AgentConfig::default()
        }
    }
}

/// A conversation for one call.
#[derive(Debug)]
pub struct AiPlan {
    /// The service.
    pub engine: Box<dyn Engine>,
    /// Of the policy.
    pub agent: AgentConfig,
    /// Of the voice, where the model writes or the last words are to be synthesised.
    pub speech: Option<SpeechSettings>,
    /// What the caller's audio goes through.
    pub caller: CallerProcessing,
}

impl AiPlan {
    /// What `options` make of a call whose caller is heard at `rate` by `codec`, FreeSWITCH's name for it, if known.
    pub fn new(
        entry: &EngineEntry,
        options: &AiOptions,
        headers: Vec<(String, Secret)>,
        rate: SampleRate,
        codec: Option<&str>,
    ) -> Result<Self, BadPlan> {
        let mut agent = options.policy();
        if entry.writes {
            agent.voice = VoiceMode::Synthesis;
        }
        if agent.tools.builtin.contains(&Builtin::Transfer) && agent.tools.destinations.is_empty() {
            let what = "builtin_tools has transfer: set transfer_destinations to names and numbers such as sales=1001";
            return Err(BadPlan::Engine(format!("{what}, or to any")));
        }
        if let (TransferMode::Announced, Some(room)) = (options.transfer_mode, agent.tools.destinations.conference()) {
            let what = format!("transfer_mode=announced calls a person, and '{}' is a conference", room.name);
            return Err(BadPlan::Engine(format!("{what}: set transfer_mode=blind, or give its people's number")));
        }
        let engine = entry.make(Setup { options, headers, policy: &agent, rate, codec }).map_err(BadPlan::Engine)?;
        agent.fit(engine.as_ref());
        let speech = match agent.voice {
            VoiceMode::Engine => agent.spoken_fallback().map(|_| options.speech()).transpose()?,
            VoiceMode::Synthesis => Some(options.speech()?),
        };
        if speech.as_ref().is_some_and(SpeechSettings::streams) {
            // A part of a sentence is enough to begin with: what follows goes on in the same melody.
            agent.sentences.bounds.max = PIECE;
        }
        let lasting = agent.barge_in.lasting(agent.engine.transcribes);
        let local = agent.turns == TurnTaking::Local || agent.barge_in.speech == SpeechTrigger::Local;
        let ms = |ms: u32| Duration::from_millis(ms.into());
        let vad = || {
            let (least, hangover) = (ms(options.ears_min_speech_ms), ms(options.ears_hangover_ms));
            // Out of range is nothing that its options have let pass.
            let settings = VadSettings::new(options.ears_threshold, least, hangover).unwrap_or_default();
            lasting.map_or(settings, |lasting| settings.telling_after(lasting))
        };
        let caller = CallerProcessing { cleaning: options.caller(), vad: (local || lasting.is_some()).then(vad) };
        Ok(Self { engine, agent, speech, caller })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::super::engines::ENGINES;
    use super::*;
    use crate::conversation::agent::Destinations;

    #[test]
    fn a_conference_is_not_called() {
        let plan = |transfer_mode, destinations: &str| {
            let options = AiOptions {
                key: Some(Secret::new("sk-1")),
                model: "m".into(),
                builtin_tools: vec![Builtin::Transfer],
                transfer_destinations: Destinations::parse(destinations).unwrap(),
                transfer_mode,
                ..AiOptions::default()
            };
            AiPlan::new(&ENGINES[0], &options, Vec::new(), SampleRate::HZ_8000, None).map(drop)
        };
        let rooms = "sales=1001,desk=conference:support";
        let refused = plan(TransferMode::Announced, rooms).unwrap_err().to_string();
        assert!(refused.contains("'desk' is a conference"), "{refused}");
        plan(TransferMode::Announced, "sales=1001").unwrap();
        plan(TransferMode::Blind, rooms).unwrap();
    }
}
