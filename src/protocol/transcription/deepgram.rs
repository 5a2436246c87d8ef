//! Deepgram's live transcription: `v1/listen` with the Nova models, `v2/listen` with Flux, which also says when a turn ends.
//!
//! To the service: binary audio, linear or G.711; while there is none `KeepAlive`, or to Flux a little silence; `CloseStream` at the
//! end, after which it sends its last results and closes. With `stereo` each leg is a channel of its own (`multichannel`); Flux takes one channel, so it
//! gets both legs mixed.
//!
//! From the service: `Results` (interim, final, `speech_final` at the end of what somebody said), or Flux's `TurnInfo`;
//! `UtteranceEnd`; `Error`. Other messages are of no use here.

pub mod wire;

use std::time::Instant;

use super::super::session::{CloseMode, Dialect, Outputs};
use super::super::{ProtocolConfig, WireFormat, excerpt};
use super::{KeepAlive, LAST_RESULTS, Leg, Service, Transcript, capture, leg, message, no_binary, report};
use crate::units::Mix;
use wire::{Message, Results, TurnInfo};

/// Deepgram's own servers.
pub(in super::super) const SERVICE: Service = Service {
    url: wire::URL,
    key_scheme: wire::KEY_SCHEME,
    takes_settings: false,
    query: |config| {
        let format = format(config);
        wire::query(format.encoding, format.pcm, &config.recognition)
    },
};

/// Of Flux, which takes neither G.711 of two channels nor two channels at all.
fn is_flux(config: &ProtocolConfig) -> bool {
    config.recognition.model.as_deref().is_some_and(wire::is_flux)
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
    /// What is sent in place of audio, where the service has no message for that.
    silence: Option<Vec<u8>>,
}

impl Deepgram {
    pub(in super::super) fn new(config: ProtocolConfig) -> Self {
        let format = format(&config);
        let silence = is_flux(&config).then(|| wire::silence(format.encoding, format.pcm));
        Self { mix: config.mix, format, keep_alive: KeepAlive::default(), silence }
    }

    fn leg(&self, channel: Option<&usize>) -> Leg {
        leg(self.mix, self.format.pcm.channels, channel.copied().unwrap_or_default())
    }

    fn results(&self, results: Results, out: &mut Outputs) {
        let leg = self.leg(results.channel_index.first());
        let (is_final, end_of_turn, span_ms) = (results.is_final(), results.speech_final(), Some(results.span_ms()));
        let (text, confidence, words) = results.best();
        let confidence = (!text.is_empty()).then(|| confidence.into());
        report(Transcript { leg, text, is_final, end_of_turn, span_ms, confidence, words }, out);
    }

    fn turn(&self, turn: TurnInfo, out: &mut Outputs) {
        let end_of_turn = turn.ends();
        report(
            Transcript {
                leg: self.leg(None),
                text: turn.transcript.clone(),
                is_final: end_of_turn,
                end_of_turn,
                span_ms: Some(turn.span_ms()),
                confidence: None,
                words: turn.words(),
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
            Message::SpeechStarted { .. } | Message::Connected | Message::Other => {}
        }
    }

    fn binary(&mut self, _bytes: &[u8], out: &mut Outputs) {
        no_binary("Deepgram's transcription", out);
    }

    fn deadline(&self) -> Option<Instant> {
        self.keep_alive.due
    }

    fn timeout(&mut self, out: &mut Outputs) {
        match &self.silence {
            Some(silence) => out.send_binary(silence.clone()),
            None => out.send_text(wire::KEEP_ALIVE.to_owned()),
        }
        self.keep_alive.sent(out);
    }

    fn stop(&mut self, _call_ended: bool, out: &mut Outputs) -> CloseMode {
        out.send_text(wire::CLOSE_STREAM.to_owned());
        CloseMode::Await(LAST_RESULTS)
    }
}
