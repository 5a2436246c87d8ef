//! AssemblyAI's Universal Streaming, version 3.
//!
//! To the service: binary audio in messages of 50 ms to 1 s, linear or µ-law, one channel (`stereo` is mixed); `Terminate` at the
//! end, after which it sends its last turn and `Termination`, and closes.
//!
//! From the service: `Turn` again and again while somebody speaks, with `end_of_turn` when they have finished; `Error`. Other
//! messages are of no use here.

use std::time::Instant;

use serde::Deserialize;

use super::super::session::{CloseMode, Dialect, Outputs};
use super::super::{ProtocolConfig, WireFormat, excerpt};
use super::{
    Control, KeepAlive, LAST_RESULTS, Leg, Service, Transcript, Word, capture, leg, message, no_binary, report,
};
use crate::units::{Encoding, Law};

/// Shortest message that the service takes, ms.
const LEAST_MS: u32 = 50;

/// AssemblyAI's own servers.
pub(in super::super) const SERVICE: Service = Service {
    url: "wss://streaming.assemblyai.com/v3/ws",
    key_scheme: "",
    takes_settings: false,
    query: |config| {
        let format = format(config);
        let encoding = if matches!(format.encoding, Encoding::G711(_)) { "pcm_mulaw" } else { "pcm_s16le" };
        let mut query = vec![("encoding", encoding.to_owned()), ("sample_rate", format.pcm.rate.to_string())];
        query.extend(config.recognition.model.clone().map(|model| ("speech_model", model)));
        // A list, as JSON.
        query.extend(
            config.recognition.language.as_ref().map(|language| ("language_codes", format!("[\"{language}\"]"))),
        );
        query
    },
};

fn format(config: &ProtocolConfig) -> WireFormat {
    // It knows no A-law.
    let laws = config.codec == super::Codec::G711(Law::Mu);
    capture(config, 1, &[8_000, 16_000, 24_000, 48_000], laws, LEAST_MS)
}

/// AssemblyAI's side of a stream.
#[derive(Debug)]
pub(in super::super) struct AssemblyAi {
    leg: Leg,
    format: WireFormat,
    keep_alive: KeepAlive,
}

/// A message of the service, as far as it is of use.
#[derive(Deserialize)]
#[serde(tag = "type")]
enum Message {
    Turn(Turn),
    Error {
        #[serde(default)]
        error_code: Option<i64>,
        error: String,
    },
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
struct Turn {
    end_of_turn: bool,
    transcript: String,
    words: Vec<Heard>,
}

#[derive(Deserialize)]
struct Heard {
    text: String,
    start: u64,
    end: u64,
    confidence: f64,
    #[serde(default)]
    word_is_final: bool,
    #[serde(default)]
    speaker: Option<String>,
}

impl AssemblyAi {
    pub(in super::super) fn new(config: ProtocolConfig) -> Self {
        Self { leg: leg(config.mix, 1, 0), format: format(&config), keep_alive: KeepAlive::default() }
    }

    fn turn(&self, turn: Turn, out: &mut Outputs) {
        // While the turn lasts, `transcript` has only what will not change; the words have the rest too.
        let pending = turn.words.iter().any(|word| !word.word_is_final);
        let text = if pending {
            turn.words.iter().map(|word| word.text.as_str()).collect::<Vec<_>>().join(" ")
        } else {
            turn.transcript
        };
        let span_ms = turn.words.first().zip(turn.words.last()).map(|(first, last)| (first.start, last.end));
        report(
            Transcript {
                leg: self.leg,
                text,
                is_final: turn.end_of_turn,
                end_of_turn: turn.end_of_turn,
                span_ms,
                confidence: None,
                words: turn
                    .words
                    .into_iter()
                    .map(|word| Word {
                        word: word.text,
                        start_ms: word.start,
                        end_ms: word.end,
                        confidence: Some(word.confidence.into()),
                        speaker: word.speaker,
                    })
                    .collect(),
            },
            out,
        );
    }
}

impl Dialect for AssemblyAi {
    fn capture(&self) -> WireFormat {
        self.format
    }

    fn opened(&mut self, out: &mut Outputs) {
        self.keep_alive.sent(out);
    }

    fn audio(&mut self, bytes: &[u8], out: &mut Outputs) {
        let least = self.format.pcm.samples_in_ms(LEAST_MS) * self.format.encoding.sample_bytes();
        let mut message = bytes.to_vec();
        if message.len() < least {
            // The last one may be shorter than the service takes.
            let silence = if let Encoding::G711(law) = self.format.encoding { law.silence() } else { 0 };
            message.resize(least, silence);
        }
        out.send_binary(message);
        self.keep_alive.sent(out);
    }

    fn text(&mut self, text: &str, out: &mut Outputs) {
        let Some(message) = message("AssemblyAI", text, out) else { return };
        match message {
            Message::Turn(turn) => self.turn(turn, out),
            Message::Error { error_code, error } => {
                let code = error_code.map(|code| format!("{code} ")).unwrap_or_default();
                out.fault(format!("AssemblyAI refuses: {code}{}", excerpt(&error)));
            }
            Message::Other => {}
        }
    }

    fn binary(&mut self, _bytes: &[u8], out: &mut Outputs) {
        no_binary("AssemblyAI", out);
    }

    fn deadline(&self) -> Option<Instant> {
        self.keep_alive.due
    }

    fn timeout(&mut self, out: &mut Outputs) {
        self.keep_alive.send("KeepAlive", out);
    }

    fn stop(&mut self, _call_ended: bool, out: &mut Outputs) -> CloseMode {
        out.send_json(&Control { kind: "Terminate" });
        CloseMode::Await(LAST_RESULTS)
    }
}
