//! What streams count, by protocol, profile and server.
//!
//! Each stream has the [`Series`] of its labels, which it shares with its like; workers count into it. Labels are bounded: the first
//! [`SERVERS`] servers and [`PROFILES`] profiles have a label of their own, and of all combinations the first [`MOST`]; the rest is
//! `other`. Nothing of a call is a label. Series are kept until the module is unloaded: a counter must not vanish.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use super::list::{
    AI_FAILURES, AI_TOKENS, AI_TRANSCRIBED, ANSWER, CAPTURE_DELAY, CONNECT, CONNECTS, ENDED, FIRST_AUDIO, LIMITED,
    MODEL, PLAYBACK_DELAY, SENTENCES, SILENCE, SPEECH_FIRST_AUDIO, SPEECH_TROUBLE, STALLS, STARTED,
};
use super::page::Page;
use super::value::{Histogram, Outcomes};

/// Servers with a label of their own.
pub(super) const SERVERS: usize = 50;
/// Profiles with a label of their own.
pub(super) const PROFILES: usize = 20;
/// Combinations of labels.
pub(super) const MOST: usize = 200;
/// The label of what has none of its own.
pub(super) const OTHER: &str = "other";
/// The profile of streams that have none.
pub const NO_PROFILE: &str = "none";

/// What identifies a series.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct SeriesKey {
    /// The protocol of the server, or the engine of the conversation.
    pub protocol: &'static str,
    /// The profile that was applied.
    pub profile: String,
    /// Scheme, host and port of the server; never a path, a query or a user.
    pub server: String,
}

impl SeriesKey {
    /// As labels of a sample.
    pub fn labels(&self) -> [(&'static str, &str); 3] {
        [("protocol", self.protocol), ("profile", &self.profile), ("server", &self.server)]
    }
}

/// What the streams of one key have counted.
#[derive(Debug)]
pub struct Series {
    /// Whose.
    pub key: SeriesKey,
    /// Streams attached to a call.
    pub started: AtomicU64,
    /// Attempts to connect.
    pub connects: Outcomes,
    /// How long successful ones took.
    pub connect: Histogram,
    /// See the metric's declaration.
    pub capture_delay: Histogram,
    /// See the metric's declaration.
    pub playback_delay: Histogram,
    /// See the metric's declaration.
    pub first_audio: Histogram,
    /// See the metric's declaration.
    pub answer: Histogram,
    /// See the metric's declaration.
    pub model: Histogram,
    /// See the metric's declaration.
    pub silence: Histogram,
    /// Streams that have ended.
    pub ended: Outcomes,
    /// Streams that were ended at a limit.
    pub limited: Outcomes,
    /// Parts that stood still.
    pub stalls: Outcomes,
    /// Turns and conversations that failed.
    pub ai_failures: Outcomes,
    /// Tokens that services have billed, by kind.
    pub ai_tokens: Outcomes,
    /// Audio in transcripts that services bill by time, ms.
    pub ai_transcribed_ms: AtomicU64,
    /// Sentences that were to be spoken.
    pub sentences: Outcomes,
    /// Requests for speech that were repeated or went to the next provider.
    pub speech_trouble: Outcomes,
    /// How long synthesis took to its first audio.
    pub speech_first_audio: Histogram,
}

impl Series {
    fn new(key: SeriesKey) -> Self {
        Self {
            key,
            started: AtomicU64::new(0),
            connects: Outcomes::default(),
            connect: Histogram::new(&CONNECT),
            capture_delay: Histogram::new(&CAPTURE_DELAY),
            playback_delay: Histogram::new(&PLAYBACK_DELAY),
            first_audio: Histogram::new(&FIRST_AUDIO),
            answer: Histogram::new(&ANSWER),
            model: Histogram::new(&MODEL),
            silence: Histogram::new(&SILENCE),
            ended: Outcomes::default(),
            limited: Outcomes::default(),
            stalls: Outcomes::default(),
            ai_failures: Outcomes::default(),
            ai_tokens: Outcomes::default(),
            ai_transcribed_ms: AtomicU64::new(0),
            sentences: Outcomes::default(),
            speech_trouble: Outcomes::default(),
            speech_first_audio: Histogram::new(&SPEECH_FIRST_AUDIO),
        }
    }

    /// Writes it.
    pub fn write(&self, page: &mut Page) {
        let labels = self.key.labels();
        page.count(&STARTED, &labels, self.started.load(Ordering::Relaxed));
        for (metric, outcomes) in [
            (&CONNECTS, &self.connects),
            (&ENDED, &self.ended),
            (&LIMITED, &self.limited),
            (&AI_FAILURES, &self.ai_failures),
            (&SENTENCES, &self.sentences),
            (&SPEECH_TROUBLE, &self.speech_trouble),
        ] {
            for (outcome, count) in outcomes.snapshot() {
                page.count(metric, &[&labels[..], &[("outcome", outcome)]].concat(), count);
            }
        }
        for (kind, tokens) in self.ai_tokens.snapshot() {
            page.count(&AI_TOKENS, &[&labels[..], &[("kind", kind)]].concat(), tokens);
        }
        for (part, stalls) in self.stalls.snapshot() {
            page.count(&STALLS, &[&labels[..], &[("part", part)]].concat(), stalls);
        }
        let transcribed_ms = self.ai_transcribed_ms.load(Ordering::Relaxed);
        if transcribed_ms > 0 {
            page.value(&AI_TRANSCRIBED, &labels, transcribed_ms as f64 / 1_000.0);
        }
        for (metric, histogram) in [
            (&CONNECT, &self.connect),
            (&CAPTURE_DELAY, &self.capture_delay),
            (&PLAYBACK_DELAY, &self.playback_delay),
            (&FIRST_AUDIO, &self.first_audio),
            (&ANSWER, &self.answer),
            (&MODEL, &self.model),
            (&SILENCE, &self.silence),
            (&SPEECH_FIRST_AUDIO, &self.speech_first_audio),
        ] {
            let distribution = histogram.snapshot();
            if distribution.counts.iter().any(|count| *count > 0) {
                page.distribution(metric, &labels, distribution);
            }
        }
    }
}

/// All series.
#[derive(Debug, Default)]
pub struct AllSeries(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    servers: BTreeSet<String>,
    profiles: BTreeSet<String>,
    series: BTreeMap<SeriesKey, Arc<Series>>,
}

/// `text` while `known` has it or has room for it, else [`OTHER`].
fn bounded(known: &mut BTreeSet<String>, text: String, most: usize) -> String {
    if known.contains(&text) {
        return text;
    }
    if known.len() >= most {
        return OTHER.to_owned();
    }
    known.insert(text.clone());
    text
}

impl AllSeries {
    /// The series of a stream.
    pub fn of(&self, key: SeriesKey) -> Arc<Series> {
        let mut table = self.0.lock();
        let table = &mut *table;
        let server = bounded(&mut table.servers, key.server, SERVERS);
        let profile = bounded(&mut table.profiles, key.profile, PROFILES);
        let mut key = SeriesKey { protocol: key.protocol, profile, server };
        if table.series.len() >= MOST && !table.series.contains_key(&key) {
            (key.profile, key.server) = (OTHER.to_owned(), OTHER.to_owned());
        }
        table.series.entry(key.clone()).or_insert_with(|| Arc::new(Series::new(key))).clone()
    }

    /// The label of a server that streams use: its own if it has one.
    pub fn server_label<'a>(&self, server: &'a str) -> &'a str {
        if self.0.lock().servers.contains(server) { server } else { OTHER }
    }

    /// All of them.
    pub fn all(&self) -> Vec<Arc<Series>> {
        self.0.lock().series.values().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(profile: usize, server: usize) -> SeriesKey {
        SeriesKey { protocol: "native", profile: format!("p{profile}"), server: format!("wss://h{server}:443") }
    }

    #[test]
    fn a_thousand_servers_and_profiles_make_few_series() {
        let all = AllSeries::default();
        for server in 0..1_000 {
            all.of(key(server % 40, server));
            all.of(key(server, server % 60));
        }
        let series = all.all();
        assert!(series.len() <= MOST + 1, "{}", series.len());
        let servers: BTreeSet<_> = series.iter().map(|one| one.key.server.as_str()).collect();
        let profiles: BTreeSet<_> = series.iter().map(|one| one.key.profile.as_str()).collect();
        assert_eq!((servers.len(), profiles.len()), (SERVERS + 1, PROFILES + 1));
        assert!(Arc::ptr_eq(&all.of(key(0, 0)), &all.of(key(0, 0))), "the like share one");
        assert_eq!((all.server_label("wss://h0:443"), all.server_label("wss://h999:443")), ("wss://h0:443", OTHER));
    }
}
