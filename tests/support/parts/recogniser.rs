//! Deepgram's live transcription (`v1/listen`), scripted: strict about what it is asked and told, on any clock.
//!
//! Written from the types of deepgram-sdk 7.17 (`listen/v1`), not from the module. What it understands is in the audio: each word of
//! [`WORDS`] is a tone. So whatever is lost, sent twice or cut on the way is heard in its words.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde_json::{Value, json};

use super::KEY;
use crate::support::{audio, signal};

/// What can be said.
pub const WORDS: [&str; 12] =
    ["alpha", "bravo", "charlie", "delta", "echo", "foxtrot", "golf", "hotel", "india", "juliet", "kilo", "lima"];

/// The tone of the first word, and from each to the next.
const FIRST_HZ: f64 = 400.0;
const STEP_HZ: f64 = 125.0;
/// How long a word lasts, and the pause behind it.
const WORD_MS: u32 = 200;
const PAUSE_MS: u32 = 60;
/// Samples of a block, 20 ms at 16 kHz.
const BLOCK: usize = 320;
/// Blocks of one tone that are a word.
const LEAST: u32 = 5;
/// The service closes after so long without a word to it.
const PATIENCE: Duration = Duration::from_secs(10);

/// The parameters that its URL may have.
const PARAMETERS: [&str; 30] = [
    "callback",
    "callback_method",
    "channels",
    "detect_entities",
    "diarize",
    "diarize_model",
    "dictation",
    "encoding",
    "endpointing",
    "extra",
    "interim_results",
    "keyterm",
    "keywords",
    "language",
    "language_hint",
    "mip_opt_out",
    "model",
    "multichannel",
    "numerals",
    "profanity_filter",
    "punctuate",
    "redact",
    "replace",
    "sample_rate",
    "search",
    "smart_format",
    "tag",
    "utterance_end_ms",
    "vad_events",
    "version",
];

/// These words as a caller says them.
pub fn spoken(rate: u32, words: &[&str]) -> Vec<i16> {
    let mut samples = Vec::new();
    for word in words {
        let at = WORDS.iter().position(|known| known == word).unwrap_or_else(|| panic!("no word {word}"));
        samples.extend(signal::tone(rate, FIRST_HZ + STEP_HZ * at as f64, WORD_MS, 9_000.0));
        samples.extend(signal::silence(rate, PAUSE_MS));
    }
    samples
}

/// The service, and what it was asked. Cheap to clone.
#[derive(Clone, Default)]
pub struct Recogniser {
    record: Arc<Mutex<Heard>>,
}

/// What it heard.
#[derive(Default)]
pub struct Heard {
    /// The URIs of its connections.
    pub connections: Vec<String>,
    /// Its final words, over all connections.
    pub words: Vec<&'static str>,
    /// Times that it was asked to finish.
    pub finished: u32,
    /// Times that it was told that there is no audio.
    pub kept_alive: u32,
    /// Times that it was told that there is no more audio.
    pub closed: u32,
    /// What was wrong.
    pub complaints: Vec<String>,
}

impl Recogniser {
    /// What it heard so far.
    pub fn record(&self) -> parking_lot::MutexGuard<'_, Heard> {
        self.record.lock()
    }

    /// A connection, or the HTTP status of a refusal.
    pub fn open(&self, now: Instant, uri: &str, key: Option<&str>) -> Result<Listening, u16> {
        if key != Some(&format!("Token {KEY}")) {
            return Err(401);
        }
        let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
        if path != "/v1/listen" {
            return Err(404);
        }
        let mut record = self.record.lock();
        let asked: Vec<(&str, &str)> = query.split('&').filter_map(|pair| pair.split_once('=')).collect();
        let value = |name: &str| asked.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
        for (name, _) in &asked {
            if !PARAMETERS.contains(name) {
                record.complaints.push(format!("there is no parameter {name}"));
            }
        }
        let linear = value("encoding") == Some("linear16") && value("sample_rate") == Some("16000");
        if !linear || value("model") != Some("nova-3") {
            record.complaints.push(format!("another form of audio, or another model: {query}"));
            return Err(400);
        }
        let ms = |name: &str| value(name).and_then(|value| value.parse::<u64>().ok());
        if value("utterance_end_ms").is_some() && ms("utterance_end_ms").is_none_or(|ms| ms < 1_000) {
            return Err(400);
        }
        record.connections.push(uri.to_owned());
        Ok(Listening {
            service: self.clone(),
            interim: value("interim_results") == Some("true"),
            starts: value("vad_events") == Some("true"),
            endpointing: ms("endpointing").unwrap_or(10),
            utterance_end: ms("utterance_end_ms"),
            rest: Vec::new(),
            blocks: 0,
            tone: None,
            said: Vec::new(),
            final_to: 0,
            last_word: None,
            told: now,
            over: false,
            out: VecDeque::new(),
        })
    }
}

/// What a connection says.
#[derive(Clone, PartialEq, Debug)]
pub enum Says {
    Text(String),
    Close(u16),
}

/// A word in blocks of the connection's audio.
#[derive(Clone, Copy)]
struct Word {
    word: &'static str,
    from: u64,
    to: u64,
}

/// One connection.
pub struct Listening {
    service: Recogniser,
    interim: bool,
    starts: bool,
    endpointing: u64,
    utterance_end: Option<u64>,
    rest: Vec<i16>,
    /// Whole blocks heard.
    blocks: u64,
    /// The tone that is heard: which word, since which block.
    tone: Option<(usize, u64)>,
    /// Words that are not final.
    said: Vec<Word>,
    final_to: u64,
    /// Where the last word ended of which the end was not told.
    last_word: Option<u64>,
    told: Instant,
    over: bool,
    out: VecDeque<Says>,
}

impl Listening {
    /// Audio.
    pub fn hear(&mut self, now: Instant, bytes: &[u8]) {
        self.told = now;
        if self.over || !bytes.len().is_multiple_of(2) || bytes.is_empty() {
            return self.complain("audio after the end, of half a sample or of none");
        }
        self.rest.extend(signal::from_bytes(bytes));
        while self.rest.len() >= BLOCK {
            let block: Vec<i16> = self.rest.drain(..BLOCK).collect();
            self.block(&block);
        }
    }

    /// A text.
    pub fn read(&mut self, now: Instant, text: &str) {
        self.told = now;
        let message: Value = serde_json::from_str(text).unwrap_or_default();
        let alone = message.as_object().is_some_and(|fields| fields.len() == 1);
        match message["type"].as_str() {
            _ if self.over || !alone => self.complain(&format!("a text after the end, or no message: {text}")),
            Some("KeepAlive") => self.service.record.lock().kept_alive += 1,
            Some("Finalize") => {
                self.service.record.lock().finished += 1;
                self.end_word();
                // In most cases: where there is nothing, nothing is said.
                if !self.said.is_empty() {
                    self.finish(false, true);
                }
            }
            Some("CloseStream") => {
                self.service.record.lock().closed += 1;
                self.end_word();
                self.finish(false, false);
                let metadata = json!({"type": "Metadata", "transaction_key": "k", "request_id": "r", "sha256": "s",
                    "created": "c", "duration": 1.0, "channels": 1});
                self.out.push_back(Says::Text(metadata.to_string()));
                self.out.push_back(Says::Close(1_000));
                self.over = true;
            }
            _ => self.complain(&format!("there is no such message: {text}")),
        }
    }

    /// Time passes.
    pub fn tick(&mut self, now: Instant) {
        if !self.over && now.saturating_duration_since(self.told) >= PATIENCE {
            self.complain("neither audio nor KeepAlive for ten seconds");
            self.out.push_back(Says::Close(1_011));
            self.over = true;
        }
    }

    /// What it says next.
    pub fn poll(&mut self) -> Option<Says> {
        self.out.pop_front()
    }

    fn complain(&self, what: &str) {
        self.service.record.lock().complaints.push(what.to_owned());
    }

    fn block(&mut self, block: &[i16]) {
        let at = self.blocks;
        self.blocks += 1;
        let loudest = (0..WORDS.len())
            .map(|word| (word, audio::amplitude(block, 16_000, FIRST_HZ + STEP_HZ * word as f64)))
            .max_by(|one, other| one.1.total_cmp(&other.1))
            .filter(|(_, amplitude)| *amplitude > 2_000.0)
            .map(|(word, _)| word);
        match (self.tone, loudest) {
            (Some((word, _)), Some(heard)) if word == heard => {}
            _ => {
                self.end_word();
                self.tone = loudest.map(|word| (word, at));
            }
        }
        if self.starts && self.said.is_empty() && self.tone.is_some_and(|(_, from)| at == from + 2) {
            let started = json!({"type": "SpeechStarted", "channel": [0, 1], "timestamp": seconds(at - 2)});
            self.out.push_back(Says::Text(started.to_string()));
        }
        let silent = self.tone.is_none();
        let quiet = self.said.last().map_or(0, |word| (self.blocks - word.to) * 20);
        if silent && !self.said.is_empty() && quiet >= self.endpointing {
            self.finish(true, false);
        } else if !self.said.is_empty() && self.blocks.is_multiple_of(10) && self.interim {
            let interim = self.results(false, false, false);
            self.out.push_back(Says::Text(interim));
        } else if silent && self.said.is_empty() && (self.blocks - self.final_to) >= 150 {
            self.finish(false, false);
        }
        if let (Some(end), Some(after)) = (self.last_word, self.utterance_end)
            && silent
            && (self.blocks - end) * 20 >= after
        {
            self.last_word = None;
            let end = json!({"type": "UtteranceEnd", "channel": [0, 1], "last_word_end": seconds(end)});
            self.out.push_back(Says::Text(end.to_string()));
        }
    }

    /// The tone is over: a word, if it was long enough.
    fn end_word(&mut self) {
        if let Some((word, from)) = self.tone.take()
            && self.blocks - from >= u64::from(LEAST)
        {
            let to = self.blocks;
            self.said.push(Word { word: WORDS[word], from, to });
            self.last_word = Some(to);
        }
    }

    /// Everything so far is final.
    fn finish(&mut self, speech_final: bool, from_finalize: bool) {
        let results = self.results(true, speech_final, from_finalize);
        self.service.record.lock().words.extend(self.said.iter().map(|word| word.word));
        self.said.clear();
        self.final_to = self.blocks;
        self.out.push_back(Says::Text(results));
    }

    fn results(&self, is_final: bool, speech_final: bool, from_finalize: bool) -> String {
        let text = self.said.iter().map(|word| word.word).collect::<Vec<_>>().join(" ");
        let word = |word: &Word| {
            json!({"word": word.word, "start": seconds(word.from), "end": seconds(word.to), "confidence": 0.9,
                "punctuated_word": word.word})
        };
        let words: Vec<Value> = self.said.iter().map(word).collect();
        let alternative = json!({"transcript": text, "confidence": 0.9, "words": words});
        json!({"type": "Results", "channel_index": [0, 1], "start": seconds(self.final_to),
            "duration": seconds(self.blocks - self.final_to), "is_final": is_final, "speech_final": speech_final,
            "from_finalize": from_finalize, "channel": {"alternatives": [alternative]},
            "metadata": {"request_id": "r", "model_info": {"name": "n", "version": "v", "arch": "a"}, "model_uuid": "m"}})
        .to_string()
    }
}

fn seconds(blocks: u64) -> f64 {
    blocks as f64 * 0.02
}
