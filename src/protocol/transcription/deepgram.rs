//! Deepgram's live transcription: `v1/listen` with the Nova models, `v2/listen` with Flux, which also says when a turn ends.
//!
//! To the service: binary audio, linear or G.711; `KeepAlive` while there is none; `CloseStream` at the end, after which it sends
//! its last results and closes. With `stereo` each leg is a channel of its own (`multichannel`); Flux takes one channel, so it
//! gets both legs mixed.
//!
//! From the service: `Results` (interim, final, `speech_final` at the end of what somebody said), or Flux's `TurnInfo`;
//! `UtteranceEnd`; `Error`. Other messages are of no use here.

use std::time::Instant;

use serde::Deserialize;

use super::super::session::{CloseMode, Dialect, Outputs};
use super::super::{ProtocolConfig, WireFormat, excerpt};
use super::{
    Control, KeepAlive, LAST_RESULTS, Leg, Service, Transcript, Word, capture, leg, message, ms, no_binary, report,
};
use crate::units::{Encoding, Law, Mix};

/// Deepgram's own servers.
pub(in super::super) const SERVICE: Service = Service {
    url: "wss://api.deepgram.com/v1/listen",
    key_scheme: "Token ",
    takes_settings: false,
    query: |config| {
        let format = format(config);
        let encoding = match format.encoding {
            Encoding::G711(Law::Mu) => "mulaw",
            Encoding::G711(Law::A) => "alaw",
            Encoding::S16Le | Encoding::S16Be => "linear16",
        };
        let mut query = vec![
            ("encoding", encoding.to_owned()),
            ("sample_rate", format.pcm.rate.to_string()),
            ("interim_results", "true".to_owned()),
        ];
        if format.pcm.channels == 2 {
            query.extend([("channels", "2".to_owned()), ("multichannel", "true".to_owned())]);
        }
        query.extend(config.recognition.model.clone().map(|model| ("model", model)));
        query.extend(config.recognition.language.clone().map(|language| ("language", language)));
        query
    },
};

/// Of Flux, which takes neither G.711 of two channels nor two channels at all.
fn is_flux(config: &ProtocolConfig) -> bool {
    config.recognition.model.as_ref().is_some_and(|model| model.starts_with("flux"))
}

fn format(config: &ProtocolConfig) -> WireFormat {
    let channels = if is_flux(config) { 1 } else { config.wire.channels };
    capture(config, channels, &[8_000, 16_000, 24_000, 32_000, 48_000], true, 20)
}

/// Deepgram's side of a stream.
#[derive(Debug)]
pub(in super::super) struct Deepgram {
    mix: Mix,
    format: WireFormat,
    keep_alive: KeepAlive,
}

/// A message of the service, as far as it is of use.
#[derive(Deserialize)]
#[serde(tag = "type")]
enum Message {
    Results(Results),
    TurnInfo(TurnInfo),
    UtteranceEnd {
        channel: Vec<usize>,
    },
    Error {
        description: String,
        #[serde(default)]
        code: Option<String>,
    },
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
struct Results {
    #[serde(default)]
    channel_index: Vec<usize>,
    start: f64,
    duration: f64,
    #[serde(default)]
    is_final: Option<bool>,
    #[serde(default)]
    speech_final: Option<bool>,
    channel: Channel,
}

#[derive(Deserialize)]
struct Channel {
    alternatives: Vec<Alternative>,
}

#[derive(Deserialize)]
struct Alternative {
    transcript: String,
    confidence: f64,
    words: Vec<Heard>,
}

#[derive(Deserialize)]
struct TurnInfo {
    event: String,
    audio_window_start: f64,
    audio_window_end: f64,
    transcript: String,
    words: Vec<Heard>,
}

#[derive(Deserialize)]
struct Heard {
    word: String,
    #[serde(default)]
    punctuated_word: Option<String>,
    #[serde(default)]
    start: Option<f64>,
    #[serde(default)]
    end: Option<f64>,
    confidence: f64,
    #[serde(default)]
    speaker: Option<u32>,
}

impl From<Heard> for Word {
    fn from(heard: Heard) -> Self {
        Self {
            word: heard.punctuated_word.unwrap_or(heard.word),
            start_ms: ms(heard.start.unwrap_or_default()),
            end_ms: ms(heard.end.unwrap_or_default()),
            confidence: Some(heard.confidence.into()),
            speaker: heard.speaker.map(|speaker| speaker.to_string()),
        }
    }
}

impl Deepgram {
    pub(in super::super) fn new(config: ProtocolConfig) -> Self {
        Self { mix: config.mix, format: format(&config), keep_alive: KeepAlive::default() }
    }

    fn leg(&self, channel: Option<&usize>) -> Leg {
        leg(self.mix, self.format.pcm.channels, channel.copied().unwrap_or_default())
    }

    fn results(&self, results: Results, out: &mut Outputs) {
        let end_of_turn = results.speech_final == Some(true);
        let (text, confidence, words) = match results.channel.alternatives.into_iter().next() {
            Some(best) => (best.transcript, best.confidence, best.words),
            None => Default::default(),
        };
        report(
            Transcript {
                leg: self.leg(results.channel_index.first()),
                span_ms: Some((ms(results.start), ms(results.start + results.duration))),
                confidence: (!text.is_empty()).then(|| confidence.into()),
                text,
                is_final: results.is_final == Some(true),
                end_of_turn,
                words: words.into_iter().map(Word::from).collect(),
            },
            out,
        );
    }

    fn turn(&self, turn: TurnInfo, out: &mut Outputs) {
        let end_of_turn = turn.event == "EndOfTurn";
        report(
            Transcript {
                leg: self.leg(None),
                text: turn.transcript,
                is_final: end_of_turn,
                end_of_turn,
                span_ms: Some((ms(turn.audio_window_start), ms(turn.audio_window_end))),
                confidence: None,
                words: turn.words.into_iter().map(Word::from).collect(),
            },
            out,
        );
    }
}

impl Dialect for Deepgram {
    fn capture(&self) -> WireFormat {
        self.format
    }

    fn opened(&mut self, out: &mut Outputs) {
        self.keep_alive.sent(out);
    }

    fn audio(&mut self, bytes: &[u8], out: &mut Outputs) {
        out.send_binary(bytes.to_vec());
        self.keep_alive.sent(out);
    }

    fn text(&mut self, text: &str, out: &mut Outputs) {
        let Some(message) = message("Deepgram", text, out) else { return };
        match message {
            Message::Results(results) => self.results(results, out),
            Message::TurnInfo(turn) => self.turn(turn, out),
            Message::UtteranceEnd { channel } => report(
                Transcript {
                    leg: self.leg(channel.first()),
                    text: String::new(),
                    is_final: true,
                    end_of_turn: true,
                    span_ms: None,
                    confidence: None,
                    words: Vec::new(),
                },
                out,
            ),
            Message::Error { description, code } => {
                let code = code.map(|code| format!("{} ", excerpt(&code))).unwrap_or_default();
                out.fault(format!("Deepgram refuses: {code}{}", excerpt(&description)));
            }
            Message::Other => {}
        }
    }

    fn binary(&mut self, _bytes: &[u8], out: &mut Outputs) {
        no_binary("Deepgram's transcription", out);
    }

    fn deadline(&self) -> Option<Instant> {
        self.keep_alive.due
    }

    fn timeout(&mut self, out: &mut Outputs) {
        self.keep_alive.send("KeepAlive", out);
    }

    fn stop(&mut self, _call_ended: bool, out: &mut Outputs) -> CloseMode {
        out.send_json(&Control { kind: "CloseStream" });
        CloseMode::Await(LAST_RESULTS)
    }
}
