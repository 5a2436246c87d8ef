//! The table of engines: what a conversation can be held with.
//!
//! A new engine is one file or folder that implements [`Engine`], one row here, the rows of its options, and its golden
//! transcripts.

use super::assemblyai;
use super::cascade;
use super::deepgram;
use super::elevenlabs;
use super::engine::Engine;
use super::gemini;
use super::live;
use super::openai;
use super::options::{AiOptions, Service};
use super::setup::{HeaderList, Setup};
use super::ultravox;
use crate::peer::{Place, Target};

/// One row of the table.
#[derive(Clone, Copy)]
pub struct EngineEntry {
    /// The name of its protocol, in events and in health.
    pub name: &'static str,
    /// Its model only writes: the module's speech synthesis speaks, whatever `ai_output` says.
    pub writes: bool,
    /// It is sent events of the operator's, and tells those of its service.
    pub raw: bool,
    /// The options that a session of its service takes while it runs; `None`: all that can be changed at all.
    pub live: Option<&'static [&'static str]>,
    check: fn(&AiOptions, HeaderList) -> Result<Target, String>,
    make: fn(Setup<'_>) -> Result<Box<dyn Engine>, String>,
    places: fn(&AiOptions) -> Vec<Place>,
    finds_turns: fn(&AiOptions) -> bool,
}

impl EngineEntry {
    /// Where the conversation will connect to, for the log and the reply; the operator's `headers` go with the engine's own.
    ///
    /// Errors where the options cannot make a conversation; the text is the reply to the operator.
    pub fn check(&self, options: &AiOptions, headers: HeaderList) -> Result<Target, String> {
        (self.check)(options, headers)
    }

    /// Where each of its servers is said to be, and what gives it a key.
    pub fn places(&self, options: &AiOptions) -> Vec<Place> {
        (self.places)(options)
    }

    /// Whether the module finds the caller's turns by itself, and no service does.
    pub fn finds_turns(&self, options: &AiOptions) -> bool {
        (self.finds_turns)(options)
    }

    /// An engine for one call, waiting for its first command. Errors as [`check`](Self::check).
    pub fn make(&self, setup: Setup<'_>) -> Result<Box<dyn Engine>, String> {
        (self.make)(setup)
    }
}

/// The row of a service that speaks the Realtime protocol.
macro_rules! realtime {
    ($name:literal, $dialect:path) => {
        EngineEntry {
            name: $name,
            writes: false,
            raw: true,
            check: |options, headers| openai::check(&$dialect, options, headers).map_err(|error| error.to_string()),
            make: |setup| openai::make(&$dialect, setup).map_err(|error| error.to_string()),
            places: |options| vec![openai::place(&$dialect, options)],
            live: None,
            finds_turns: AiOptions::finds_turns,
        }
    };
}

/// Every engine. The first is the default.
pub const ENGINES: &[EngineEntry] = &[
    EngineEntry {
        name: "openai_realtime",
        writes: false,
        raw: true,
        check: |options, headers| {
            openai::check(openai_at(options), options, headers).map_err(|error| error.to_string())
        },
        make: |setup| openai::make(openai_at(setup.options), setup).map_err(|error| error.to_string()),
        places: |options| vec![openai::place(openai_at(options), options)],
        live: None,
        finds_turns: AiOptions::finds_turns,
    },
    realtime!("xai_realtime", openai::XAI),
    realtime!("voice_live", openai::VOICE_LIVE),
    realtime!("inworld_realtime", openai::INWORLD),
    EngineEntry {
        name: "cascade",
        writes: true,
        raw: false,
        check: |options, headers| cascade::check(options, headers).map_err(|error| error.to_string()),
        make: |setup| cascade::make(setup).map_err(|error| error.to_string()),
        places: cascade::places,
        live: None,
        finds_turns: cascade::finds_turns,
    },
    EngineEntry {
        name: "gemini",
        writes: false,
        raw: false,
        check: |options, headers| gemini::check(options, headers).map_err(|error| error.to_string()),
        make: |setup| gemini::make(setup).map_err(|error| error.to_string()),
        places: |options| vec![gemini::place(options)],
        live: Some(&["system_prompt", "tools"]),
        finds_turns: AiOptions::finds_turns,
    },
    EngineEntry {
        name: "deepgram",
        writes: false,
        raw: true,
        check: |options, headers| deepgram::check(options, headers).map_err(|error| error.to_string()),
        make: |setup| deepgram::make(setup).map_err(|error| error.to_string()),
        places: |options| vec![deepgram::place(options)],
        live: Some(&["system_prompt", "voice", "speed", "tools", "turn_detection", "vad_eagerness"]),
        finds_turns: AiOptions::finds_turns,
    },
    EngineEntry {
        name: "elevenlabs",
        writes: false,
        raw: true,
        live: Some(&[]),
        check: |options, headers| elevenlabs::check(options, headers).map_err(|error| error.to_string()),
        make: |setup| elevenlabs::make(setup).map_err(|error| error.to_string()),
        places: |options| vec![elevenlabs::place(options)],
        finds_turns: AiOptions::finds_turns,
    },
    EngineEntry {
        name: "assemblyai",
        writes: false,
        raw: true,
        live: Some(&[
            "system_prompt",
            "tools",
            "turn_detection",
            "vad_threshold",
            "vad_silence_duration_ms",
            "vad_eagerness",
        ]),
        check: |options, headers| assemblyai::check(options, headers).map_err(|error| error.to_string()),
        make: |setup| assemblyai::make(setup).map_err(|error| error.to_string()),
        places: |options| vec![assemblyai::place(options)],
        finds_turns: AiOptions::finds_turns,
    },
    EngineEntry {
        name: "openai_live",
        writes: false,
        raw: true,
        live: Some(&["tools", "tool_choice", "max_response_tokens"]),
        check: |options, headers| live::check(options, headers).map_err(|error| error.to_string()),
        make: |setup| live::make(setup).map_err(|error| error.to_string()),
        places: |options| vec![live::place(options)],
        finds_turns: AiOptions::finds_turns,
    },
    EngineEntry {
        name: "ultravox",
        writes: false,
        raw: true,
        live: Some(&[]),
        check: |options, headers| ultravox::check(options, headers).map_err(|error| error.to_string()),
        make: |setup| ultravox::make(setup).map_err(|error| error.to_string()),
        places: |options| vec![ultravox::place(options)],
        finds_turns: AiOptions::finds_turns,
    },
];

/// Whose OpenAI it is.
fn openai_at(options: &AiOptions) -> &'static openai::Dialect {
    match options.service {
        Service::OpenAi => &openai::OPENAI,
        Service::Azure => &openai::AZURE,
    }
}

/// The engine of that name.
pub fn find(name: &str) -> Option<&'static EngineEntry> {
    ENGINES.iter().find(|entry| entry.name == name)
}

/// The engine that `options` ask for.
pub fn of(options: &AiOptions) -> &'static EngineEntry {
    find(options.engine.as_str()).unwrap_or(&ENGINES[0])
}

#[cfg(test)]
mod tests {
    use super::super::services::EngineName;
    use super::*;
    use crate::units::choice::Choice as _;

    #[test]
    fn every_name_has_its_engine() {
        let names: Vec<_> = EngineName::WORDS.iter().map(|(word, _)| *word).collect();
        assert_eq!(names, ENGINES.iter().map(|entry| entry.name).collect::<Vec<_>>());
    }
}
