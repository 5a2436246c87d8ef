//! Soniox's real-time transcription.
//!
//! To the service: the configuration as the first text, to which the fields of the stream's metadata are added; binary audio,
//! linear or G.711, one channel (`stereo` is mixed); a keep-alive while there is none; an empty text at the end, after which it
//! sends its last results and closes.
//!
//! From the service: tokens, pieces of words. Final ones come once, the others again with each message. `<end>` is the end of what
//! somebody said. Translations are left out.

use std::collections::BTreeMap;
use std::time::Instant;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::super::call::parameters;
use super::super::session::{CloseMode, Dialect, Outputs};
use super::super::{ProtocolConfig, WireFormat, excerpt};
use super::{
    KeepAlive, LAST_RESULTS, Leg, MOST_TEXT, MOST_WORDS, Service, Transcript, Word, capture, leg, message, no_binary,
    report,
};
use crate::units::{Encoding, Law};

/// Soniox's own servers.
pub(in super::super) const SERVICE: Service = Service {
    url: "wss://stt-rt.soniox.com/transcribe-websocket",
    key_scheme: "Bearer ",
    takes_settings: true,
    query: |_| Vec::new(),
};

/// The model, unless the options name one.
const MODEL: &str = "stt-rt-v4";

/// Soniox's side of a stream.
#[derive(Debug)]
pub(in super::super) struct Soniox {
    config: ProtocolConfig,
    leg: Leg,
    format: WireFormat,
    keep_alive: KeepAlive,
    /// What is final of the present utterance.
    said: Said,
}

/// Tokens that belong together.
#[derive(Clone, Default, Debug)]
struct Said {
    text: String,
    words: Vec<Word>,
}

impl Said {
    fn add(&mut self, token: Token) {
        if self.text.len() + token.text.len() > MOST_TEXT {
            return;
        }
        self.text.push_str(&token.text);
        let word = token.text.trim();
        let (start_ms, end_ms) = (token.start_ms.unwrap_or_default(), token.end_ms.unwrap_or_default());
        let full = self.words.len() >= MOST_WORDS;
        match self.words.last_mut() {
            // A word begins with a space; what does not goes on with the word before.
            Some(last) if !token.text.starts_with(' ') && !word.is_empty() => {
                // Its confidence is that of its first piece.
                last.word.push_str(word);
                last.end_ms = end_ms;
            }
            _ if word.is_empty() || full => {}
            _ => self.words.push(Word {
                word: word.to_owned(),
                start_ms,
                end_ms,
                confidence: token.confidence.map(Into::into),
                speaker: token.speaker,
            }),
        }
    }
}

#[derive(Serialize)]
struct Configuration<'a> {
    model: &'a str,
    audio_format: &'static str,
    sample_rate: u32,
    num_channels: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    language_hints: Option<[&'a str; 1]>,
    enable_endpoint_detection: bool,
    #[serde(flatten)]
    more: BTreeMap<String, Box<RawValue>>,
}

#[derive(Deserialize)]
struct Message {
    #[serde(default)]
    tokens: Vec<Token>,
    #[serde(default)]
    finished: bool,
    #[serde(default)]
    error_code: Option<i64>,
    #[serde(default)]
    error_message: Option<String>,
}

#[derive(Deserialize)]
struct Token {
    text: String,
    #[serde(default)]
    start_ms: Option<u64>,
    #[serde(default)]
    end_ms: Option<u64>,
    #[serde(default)]
    confidence: Option<f64>,
    #[serde(default)]
    is_final: Option<bool>,
    #[serde(default)]
    speaker: Option<String>,
    #[serde(default)]
    translation_status: Option<String>,
}

impl Soniox {
    pub(in super::super) fn new(config: ProtocolConfig) -> Self {
        let format = capture(&config, 1, &[8_000, 16_000, 24_000, 32_000, 48_000], true, 20);
        let leg = leg(config.mix, 1, 0);
        Self { config, leg, format, keep_alive: KeepAlive::default(), said: Said::default() }
    }

    fn report(&self, said: Said, is_final: bool, out: &mut Outputs) {
        let span_ms = said.words.first().zip(said.words.last()).map(|(first, last)| (first.start_ms, last.end_ms));
        let text = said.text.trim().to_owned();
        let transcript = Transcript {
            leg: self.leg,
            text,
            is_final,
            end_of_turn: is_final,
            span_ms,
            confidence: None,
            words: said.words,
        };
        report(transcript, out);
    }

    fn tokens(&mut self, tokens: Vec<Token>, out: &mut Outputs) {
        let mut not_final = None;
        for token in tokens {
            if token.translation_status.as_deref() == Some("translation") {
                continue;
            }
            match (token.text.as_str(), token.is_final == Some(true)) {
                ("<end>", _) => {
                    let said = std::mem::take(&mut self.said);
                    self.report(said, true, out);
                    not_final = None;
                }
                // The answer to a request that is never made.
                ("<fin>", _) => {}
                (_, true) => self.said.add(token),
                (_, false) => not_final.get_or_insert_with(|| self.said.clone()).add(token),
            }
        }
        if let Some(said) = not_final {
            self.report(said, false, out);
        }
    }
}

impl Dialect for Soniox {
    fn capture(&self) -> WireFormat {
        self.format
    }

    fn opened(&mut self, out: &mut Outputs) {
        self.said = Said::default();
        let audio_format = match self.format.encoding {
            Encoding::G711(Law::Mu) => "mulaw",
            Encoding::G711(Law::A) => "alaw",
            Encoding::S16Le | Encoding::S16Be => "pcm_s16le",
        };
        let recognition = &self.config.recognition;
        let mut more = parameters(self.config.metadata.as_deref());
        // What the stream itself decides.
        for own in ["model", "audio_format", "sample_rate", "num_channels"] {
            more.remove(own);
        }
        let language_hints = recognition.language.as_deref().map(|language| [language]);
        let hinted = more.contains_key("language_hints");
        let enable_endpoint_detection = more.remove("enable_endpoint_detection").is_none_or(|it| it.get() != "false");
        out.send_json(&Configuration {
            model: recognition.model.as_deref().unwrap_or(MODEL),
            audio_format,
            sample_rate: self.format.pcm.rate.hz(),
            num_channels: self.format.pcm.channels,
            language_hints: language_hints.filter(|_| !hinted),
            enable_endpoint_detection,
            more,
        });
        self.keep_alive.sent(out);
    }

    fn audio(&mut self, bytes: &[u8], out: &mut Outputs) {
        out.send_binary(bytes.to_vec());
        self.keep_alive.sent(out);
    }

    fn text(&mut self, text: &str, out: &mut Outputs) {
        let Some(message) = message::<Message>("Soniox", text, out) else { return };
        if let Some(code) = message.error_code {
            let reason = message.error_message.unwrap_or_default();
            out.fault(format!("Soniox refuses: {code} {}", excerpt(&reason)));
        }
        self.tokens(message.tokens, out);
        if message.finished {
            let said = std::mem::take(&mut self.said);
            if !said.text.trim().is_empty() {
                self.report(said, true, out);
            }
        }
    }

    fn binary(&mut self, _bytes: &[u8], out: &mut Outputs) {
        no_binary("Soniox", out);
    }

    fn deadline(&self) -> Option<Instant> {
        self.keep_alive.due
    }

    fn timeout(&mut self, out: &mut Outputs) {
        self.keep_alive.send("keepalive", out);
    }

    fn stop(&mut self, _call_ended: bool, out: &mut Outputs) -> CloseMode {
        out.send_text(String::new());
        CloseMode::Await(LAST_RESULTS)
    }
}
