//! OpenAI's realtime transcription, and servers compatible with it.
//!
//! To the service: `session.update` of a transcription session, whose `audio.input` gets the fields of the stream's metadata;
//! audio as base64, linear at 24 kHz or G.711, one channel (`stereo` is mixed). At the end what is left is committed, and the
//! connection closed once its transcript has come.
//!
//! From the service: pieces of a transcript and the whole of it, for each thing that somebody said; `error`. Other messages are of
//! no use here.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::super::call::parameters;
use super::super::session::{CloseMode, Dialect, Outputs};
use super::super::{ProtocolConfig, WireFormat, codec, excerpt};
use super::{LAST_RESULTS, Leg, MOST_TEXT, Service, Transcript, capture, leg, message, no_binary, report};
use crate::units::{Encoding, Law};

/// OpenAI's own servers.
pub(in super::super) const SERVICE: Service = Service {
    url: "wss://api.openai.com/v1/realtime",
    key_scheme: "Bearer ",
    takes_settings: true,
    query: |_| vec![("intent", "transcription".to_owned())],
};

/// The model, unless the options name one.
const MODEL: &str = "gpt-transcribe";
/// Things said whose transcript has not come; the oldest is forgotten.
const MOST_ITEMS: usize = 16;

/// OpenAI's side of a stream.
#[derive(Debug)]
pub(in super::super) struct OpenAi {
    config: ProtocolConfig,
    leg: Leg,
    format: WireFormat,
    items: VecDeque<Item>,
    ending: bool,
    /// What was left at the end is an item, or there was nothing left.
    all_committed: bool,
}

/// One thing said.
#[derive(Debug)]
struct Item {
    id: String,
    text: String,
    start_ms: Option<u64>,
    end_ms: Option<u64>,
}

#[derive(Serialize)]
struct Update<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    session: Session<'a>,
}

#[derive(Serialize)]
struct Session<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    audio: Audio<'a>,
}

#[derive(Serialize)]
struct Audio<'a> {
    input: InputAudio<'a>,
}

#[derive(Serialize)]
struct InputAudio<'a> {
    format: Format,
    #[serde(skip_serializing_if = "Option::is_none")]
    transcription: Option<Transcription<'a>>,
    #[serde(flatten)]
    more: BTreeMap<String, Box<RawValue>>,
}

#[derive(Serialize)]
struct Format {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    rate: Option<u32>,
}

#[derive(Serialize)]
struct Transcription<'a> {
    model: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    language: Option<&'a str>,
}

#[derive(Serialize)]
struct Append<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    audio: Option<&'a str>,
}

/// A message of the service, as far as it is of use.
#[derive(Deserialize)]
#[serde(tag = "type")]
enum Message {
    #[serde(rename = "input_audio_buffer.speech_started")]
    Started { item_id: String, audio_start_ms: u64 },
    #[serde(rename = "input_audio_buffer.speech_stopped")]
    Stopped { item_id: String, audio_end_ms: u64 },
    #[serde(rename = "input_audio_buffer.committed")]
    Committed { item_id: String },
    #[serde(rename = "conversation.item.input_audio_transcription.delta")]
    Delta {
        item_id: String,
        #[serde(default)]
        delta: Option<String>,
    },
    #[serde(rename = "conversation.item.input_audio_transcription.completed")]
    Completed { item_id: String, transcript: String },
    #[serde(rename = "conversation.item.input_audio_transcription.failed")]
    Failed { item_id: String, error: Reason },
    #[serde(rename = "error")]
    Error { error: Reason },
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
struct Reason {
    #[serde(default)]
    code: Option<String>,
    #[serde(default)]
    message: Option<String>,
}

impl Reason {
    fn words(&self) -> String {
        let part = |text: &Option<String>| excerpt(text.as_deref().unwrap_or_default());
        format!("{} {}", part(&self.code), part(&self.message)).trim().to_owned()
    }
}

impl OpenAi {
    pub(in super::super) fn new(config: ProtocolConfig) -> Self {
        // Linear audio has one rate.
        let format = capture(&config, 1, &[24_000], true, 20);
        let leg = leg(config.mix, 1, 0);
        Self { config, leg, format, items: VecDeque::new(), ending: false, all_committed: false }
    }

    fn item(&mut self, id: String) -> &mut Item {
        let at = self.items.iter().position(|item| item.id == id);
        let at = at.unwrap_or_else(|| {
            if self.items.len() == MOST_ITEMS {
                self.items.pop_front();
            }
            self.items.push_back(Item { id, text: String::new(), start_ms: None, end_ms: None });
            self.items.len() - 1
        });
        &mut self.items[at]
    }

    fn take(&mut self, id: &str) -> Option<Item> {
        let at = self.items.iter().position(|item| item.id == id)?;
        self.items.remove(at)
    }

    fn report(&self, text: String, span_ms: Option<(u64, u64)>, is_final: bool, out: &mut Outputs) {
        let (leg, end_of_turn, words) = (self.leg, is_final, Vec::new());
        report(Transcript { leg, text, is_final, end_of_turn, span_ms, confidence: None, words }, out);
    }

    /// The last transcript has come, or never will.
    fn settled(&mut self, out: &mut Outputs) {
        if self.all_committed && self.items.is_empty() {
            out.end();
        }
    }
}

impl Dialect for OpenAi {
    fn capture(&self) -> WireFormat {
        self.format
    }

    fn opened(&mut self, out: &mut Outputs) {
        self.items.clear();
        (self.ending, self.all_committed) = (false, false);
        let (kind, rate) = match self.format.encoding {
            Encoding::G711(Law::Mu) => ("audio/pcmu", None),
            Encoding::G711(Law::A) => ("audio/pcma", None),
            Encoding::S16Le | Encoding::S16Be => ("audio/pcm", Some(self.format.pcm.rate.hz())),
        };
        let mut more = parameters(self.config.metadata.as_deref());
        more.remove("format");
        let recognition = &self.config.recognition;
        let transcription = Transcription {
            model: recognition.model.as_deref().unwrap_or(MODEL),
            language: recognition.language.as_deref(),
        };
        let transcription = (!more.contains_key("transcription")).then_some(transcription);
        let input = InputAudio { format: Format { kind, rate }, transcription, more };
        let session = Session { kind: "transcription", audio: Audio { input } };
        out.send_json(&Update { kind: "session.update", session });
    }

    fn audio(&mut self, bytes: &[u8], out: &mut Outputs) {
        out.send_json(&Append { kind: "input_audio_buffer.append", audio: Some(&codec::encode(bytes)) });
    }

    fn text(&mut self, text: &str, out: &mut Outputs) {
        let Some(message) = message("OpenAI", text, out) else { return };
        match message {
            Message::Started { item_id, audio_start_ms } => self.item(item_id).start_ms = Some(audio_start_ms),
            Message::Stopped { item_id, audio_end_ms } => self.item(item_id).end_ms = Some(audio_end_ms),
            Message::Committed { item_id } => {
                self.item(item_id);
                self.all_committed = self.ending;
            }
            Message::Delta { item_id, delta } => {
                let item = self.item(item_id);
                let delta = delta.unwrap_or_default();
                if item.text.len() + delta.len() <= MOST_TEXT {
                    item.text.push_str(&delta);
                }
                let (text, span_ms) = (item.text.clone(), item.start_ms.zip(item.end_ms));
                self.report(text, span_ms, false, out);
            }
            Message::Completed { item_id, transcript } => {
                let span_ms = self.take(&item_id).and_then(|item| item.start_ms.zip(item.end_ms));
                self.report(transcript, span_ms, true, out);
                self.settled(out);
            }
            Message::Failed { item_id, error } => {
                self.take(&item_id);
                out.fault(format!("OpenAI could not transcribe: {}", error.words()));
                self.settled(out);
            }
            // Nothing was left to be committed.
            Message::Error { error }
                if self.ending && error.code.as_deref() == Some("input_audio_buffer_commit_empty") =>
            {
                self.all_committed = true;
                self.settled(out);
            }
            Message::Error { error } => out.fault(format!("OpenAI refuses: {}", error.words())),
            Message::Other => {}
        }
    }

    fn binary(&mut self, _bytes: &[u8], out: &mut Outputs) {
        no_binary("OpenAI", out);
    }

    fn stop(&mut self, _call_ended: bool, out: &mut Outputs) -> CloseMode {
        self.ending = true;
        out.send_json(&Append { kind: "input_audio_buffer.commit", audio: None });
        CloseMode::Await(LAST_RESULTS)
    }
}
