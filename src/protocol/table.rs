//! The table of protocols: the values of the option `protocol`, each with the code that speaks it.

use std::fmt;

use super::session::{Dialect, Session};
use super::transcription::{Service, assemblyai, deepgram, openai, soniox};
use super::{Protocol, ProtocolConfig, asterisk, audio_fork, exotel, native, pipecat, plivo, telnyx, twilio, vonage};

/// One line of the table of protocols.
#[derive(Clone, Copy)]
pub struct ProtocolEntry {
    /// The value of the option `protocol`.
    pub name: &'static str,
    /// One line for the documentation.
    pub summary: &'static str,
    /// The transcription service that it is made for; `None`: its servers play and are played to.
    pub service: Option<&'static Service>,
    make: fn(ProtocolConfig) -> Box<dyn Protocol>,
}

impl ProtocolEntry {
    /// A protocol in its initial state, waiting for [`Input::Opened`].
    pub fn make(&self, config: ProtocolConfig) -> Box<dyn Protocol> {
        (self.make)(config)
    }
}

impl fmt::Debug for ProtocolEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

fn session<D: Dialect + 'static>(dialect: D) -> Box<dyn Protocol> {
    Box::new(Session::new(dialect))
}

/// Every protocol this module speaks. The first is the default.
pub const PROTOCOLS: &[ProtocolEntry] = &[
    ProtocolEntry {
        name: "native",
        summary: "binary S16LE audio out; streamAudio JSON or raw binary audio in; any other text is an event",
        service: None,
        make: |config| session(native::Native::new(config)),
    },
    ProtocolEntry {
        name: "audio_fork",
        summary: "drachtio's mod_audio_fork: binary S16LE both ways, playAudio, killAudio and marks as JSON",
        service: None,
        make: |config| session(audio_fork::AudioFork::drachtio(config)),
    },
    ProtocolEntry {
        name: "jambonz",
        summary: "jambonz listen: audio_fork with the call's attributes first",
        service: None,
        make: |config| session(audio_fork::AudioFork::jambonz(config)),
    },
    ProtocolEntry {
        name: "twilio",
        summary: "Twilio Media Streams: JSON both ways, µ-law at 8 kHz",
        service: None,
        make: |config| session(twilio::Twilio::new(config)),
    },
    ProtocolEntry {
        name: "telnyx",
        summary: "Telnyx media streaming: JSON both ways; G.711, or L16 above 8 kHz",
        service: None,
        make: |config| session(telnyx::Telnyx::new(config)),
    },
    ProtocolEntry {
        name: "plivo",
        summary: "Plivo audio streaming: JSON both ways; L16 at 8 or 16 kHz, or µ-law",
        service: None,
        make: |config| session(plivo::Plivo::new(config)),
    },
    ProtocolEntry {
        name: "vonage",
        summary: "Vonage voice WebSockets: binary L16 at 8, 16 or 24 kHz in frames of 20 ms, JSON events",
        service: None,
        make: |config| session(vonage::Vonage::new(config)),
    },
    ProtocolEntry {
        name: "exotel",
        summary: "Exotel AgentStream: JSON both ways, L16 at 8, 16 or 24 kHz in messages of 100 ms",
        service: None,
        make: |config| session(exotel::Exotel::new(config)),
    },
    ProtocolEntry {
        name: "pipecat",
        summary: "pipecat's protobuf frames: audio, texts and interruptions as binary messages",
        service: None,
        make: |config| session(pipecat::Pipecat::new(config)),
    },
    ProtocolEntry {
        name: "asterisk",
        summary: "Asterisk's chan_websocket: binary G.711 or L16 in frames of 20 ms, commands and events as texts",
        service: None,
        make: |config| session(asterisk::Asterisk::new(config)),
    },
    ProtocolEntry {
        name: "deepgram",
        summary: "Deepgram's live transcription, Flux included: transcript events",
        service: Some(&deepgram::SERVICE),
        make: |config| session(deepgram::Deepgram::new(config)),
    },
    ProtocolEntry {
        name: "assemblyai",
        summary: "AssemblyAI's Universal Streaming: transcript events",
        service: Some(&assemblyai::SERVICE),
        make: |config| session(assemblyai::AssemblyAi::new(config)),
    },
    ProtocolEntry {
        name: "soniox",
        summary: "Soniox's real-time transcription: transcript events",
        service: Some(&soniox::SERVICE),
        make: |config| session(soniox::Soniox::new(config)),
    },
    ProtocolEntry {
        name: "openai_transcription",
        summary: "OpenAI's realtime transcription and compatible servers: transcript events",
        service: Some(&openai::SERVICE),
        make: |config| session(openai::OpenAi::new(config)),
    },
];

/// The names of all protocols.
pub fn names() -> impl Iterator<Item = &'static str> {
    PROTOCOLS.iter().map(|entry| entry.name)
}

/// The protocol of that name, in capitals or not; `None` when there is none.
pub fn find(name: &str) -> Option<&'static ProtocolEntry> {
    PROTOCOLS.iter().find(|entry| entry.name.eq_ignore_ascii_case(name))
}
