//! The list of all metrics: each is declared here, once.
//!
//! To add a metric, add its declaration; then count it where it happens and write it to the page. The command, the documentation
//! and the test of the dashboard follow from the list.

/// What a metric's values mean.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A count that only grows.
    Counter,
    /// A value of the moment.
    Gauge,
    /// How many observations were at most so large. The bounds are in ns; Prometheus reads seconds.
    Histogram(&'static [u64]),
}

impl Kind {
    /// The word in the text format.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram(_) => "histogram",
        }
    }
}

/// The declaration of a metric.
#[derive(PartialEq, Eq, Debug)]
pub struct Metric {
    /// Its name, which ends with its unit.
    pub name: &'static str,
    /// What it means, for operators.
    pub help: &'static str,
    /// What its values mean.
    pub kind: Kind,
}

const US: u64 = 1_000;
const MS: u64 = 1_000_000;

/// Time in a callback of the media thread: the ends of octaves of the callbacks' own histogram, 1 µs to 17 ms.
pub(super) const CALLBACK: &[u64] = &[
    1 << 10,
    1 << 11,
    1 << 12,
    1 << 13,
    1 << 14,
    1 << 15,
    1 << 16,
    1 << 17,
    1 << 18,
    1 << 19,
    1 << 20,
    1 << 22,
    1 << 24,
];
/// How late a thread is: 0.5 ms to half a second.
const LATENESS: &[u64] =
    &[500 * US, MS, 2 * MS, 4 * MS, 8 * MS, 16 * MS, 32 * MS, 64 * MS, 128 * MS, 256 * MS, 512 * MS];
/// Delay of audio: 5 ms to 5 s.
const AUDIO: &[u64] = &[
    5 * MS,
    10 * MS,
    20 * MS,
    40 * MS,
    60 * MS,
    80 * MS,
    100 * MS,
    150 * MS,
    200 * MS,
    300 * MS,
    500 * MS,
    1_000 * MS,
    2_000 * MS,
    5_000 * MS,
];
/// How long a server takes: 5 ms to 30 s.
const SERVER: &[u64] = &[
    5 * MS,
    10 * MS,
    25 * MS,
    50 * MS,
    100 * MS,
    250 * MS,
    500 * MS,
    750 * MS,
    1_000 * MS,
    1_500 * MS,
    2_500 * MS,
    5_000 * MS,
    10_000 * MS,
    30_000 * MS,
];

macro_rules! metrics {
    ($($(#[doc = $doc:literal])* $ident:ident: $kind:expr, $name:literal;)*) => {
        $(
            $(#[doc = $doc])*
            pub static $ident: Metric =
                Metric { name: concat!("audio_stream_", $name), help: concat!($($doc),*).trim_ascii(), kind: $kind };
        )*

        /// Every metric, in the order of the page.
        pub static METRICS: &[&Metric] = &[$(&$ident),*];
    };
}

metrics! {
    /// The running build; always 1.
    BUILD_INFO: Kind::Gauge, "build_info";
    /// Time since the module was loaded.
    UPTIME: Kind::Gauge, "uptime_seconds";
    /// Resident memory of FreeSWITCH's process.
    PROCESS_MEMORY: Kind::Gauge, "process_resident_bytes";
    /// Whether the module drains: 1 if it starts nothing new.
    DRAINING: Kind::Gauge, "draining";
    /// Streams that exist now.
    STREAMS: Kind::Gauge, "streams";
    /// Streams that exist now, by their health.
    STREAM_HEALTH: Kind::Gauge, "stream_health";
    /// Streams that exist now, by their state.
    STREAM_STATES: Kind::Gauge, "stream_states";
    /// Recordings that run now.
    RECORDINGS: Kind::Gauge, "recordings";
    /// Streams that were attached to a call.
    STARTED: Kind::Counter, "streams_started_total";
    /// Streams that have ended; outcome error: by a fault.
    ENDED: Kind::Counter, "streams_ended_total";
    /// Streams that were ended at a limit, by outcome: max_duration_s or drain.
    LIMITED: Kind::Counter, "streams_limited_total";
    /// Times that something stood still that should move, by part: capture, playback, worker or service.
    STALLS: Kind::Counter, "stalls_total";
    /// Starts that were refused, by reason.
    REFUSED: Kind::Counter, "starts_refused_total";
    /// Attempts to connect, by outcome; breaker_open, busy: not made, because the server had failed or asked for a pause.
    CONNECTS: Kind::Counter, "connects_total";
    /// Times that a stream lost its connection to a server, or had none, and tried again.
    RECONNECTS: Kind::Counter, "reconnect_attempts_total";
    /// Time from the begin of an attempt to the established connection: name, TCP, TLS, upgrade.
    CONNECT: Kind::Histogram(SERVER), "connect_seconds";
    /// Packets captured from calls.
    CAPTURED_FRAMES: Kind::Counter, "captured_frames_total";
    /// Captured packets lost because a worker was late.
    CAPTURE_DROPPED_FRAMES: Kind::Counter, "capture_dropped_frames_total";
    /// Messages of captured audio given to sockets.
    AUDIO_MESSAGES: Kind::Counter, "audio_messages_sent_total";
    /// Bytes of all messages given to sockets.
    BYTES_SENT: Kind::Counter, "sent_bytes_total";
    /// Captured audio lost because a server read too slowly.
    SEND_DROPPED: Kind::Counter, "send_dropped_seconds_total";
    /// Age of the newest captured packet when its message is queued, and the audio that waits before it for the socket.
    CAPTURE_DELAY: Kind::Histogram(AUDIO), "capture_delay_seconds";
    /// Messages received from servers.
    RECEIVED: Kind::Counter, "messages_received_total";
    /// Messages of servers that could not be used, and other faults of theirs.
    FAULTS: Kind::Counter, "faults_total";
    /// Times that a server sent faster than max_messages_per_s for a second.
    FLOODS: Kind::Counter, "floods_total";
    /// Times that a server was slowed down because inject_buffer_ms of its audio waited; nothing is lost by it.
    SLOWED: Kind::Counter, "servers_slowed_total";
    /// Packets of playback that callers were given.
    VOICED_FRAMES: Kind::Counter, "playback_frames_total";
    /// Packets that should have had playback and had none, because it came too late.
    STARVED_FRAMES: Kind::Counter, "playback_starved_frames_total";
    /// Gaps within an utterance.
    UNDERRUNS: Kind::Counter, "playback_underruns_total";
    /// Times that playback was dropped because its queue was full.
    OVERFLOWS: Kind::Counter, "playback_overflows_total";
    /// Playback that callers were given.
    PLAYED: Kind::Counter, "played_seconds_total";
    /// Playback that waits now, all streams together.
    PLAYBACK_WAITING: Kind::Gauge, "playback_waiting_bytes";
    /// Time from the first audio of an utterance to its first sample at the caller, prebuffering included.
    PLAYBACK_DELAY: Kind::Histogram(AUDIO), "playback_delay_seconds";
    /// Time from the end of the caller's turn to the first audio of the agent's answer at the caller.
    FIRST_AUDIO: Kind::Histogram(SERVER), "ai_first_audio_seconds";
    /// Time from the caller's last sound to the first sound of the answer that they hear.
    ANSWER: Kind::Histogram(SERVER), "ai_answer_seconds";
    /// Time from the request for a response, or the end of the caller's turn if the service responds by itself, to the model's first
    /// word or sound.
    MODEL: Kind::Histogram(SERVER), "ai_model_first_byte_seconds";
    /// Time from an interruption or a clear to the moment at which nothing queued before it is heard any more.
    SILENCE: Kind::Histogram(AUDIO), "interruption_to_silence_seconds";
    /// Interruptions of agents.
    BARGE_INS: Kind::Counter, "ai_barge_ins_total";
    /// Attempts of conversations to reconnect to their service.
    AI_RECONNECTS: Kind::Counter, "ai_reconnect_attempts_total";
    /// Turns of conversations that failed, and conversations that ended FAILED, by outcome.
    AI_FAILURES: Kind::Counter, "ai_failures_total";
    /// Tokens that services have billed, by kind. Each token is in one kind: what was cached is not in the input's.
    AI_TOKENS: Kind::Counter, "ai_tokens_total";
    /// Audio of callers in transcripts that services bill by time.
    AI_TRANSCRIBED: Kind::Counter, "ai_transcribed_seconds_total";
    /// Caller's audio lost because a service was away for too long.
    AI_AUDIO_DROPPED: Kind::Counter, "ai_audio_dropped_seconds_total";
    /// Sentences that were to be spoken, by outcome: made, cached, failed, or dropped because too many waited.
    SENTENCES: Kind::Counter, "tts_sentences_total";
    /// Changes to the next provider of the chain, and requests made again, by outcome.
    SPEECH_TROUBLE: Kind::Counter, "tts_trouble_total";
    /// Time from the request for a sentence to its first audio.
    SPEECH_FIRST_AUDIO: Kind::Histogram(SERVER), "tts_first_audio_seconds";
    /// Sentences asked of the speech cache; outcome hit, joined (another caller had the same one made) or miss.
    TTS_CACHE: Kind::Counter, "tts_cache_requests_total";
    /// Memory of the speech cache in use.
    TTS_CACHE_BYTES: Kind::Gauge, "tts_cache_bytes";
    /// Sentences in the speech cache.
    TTS_CACHE_ENTRIES: Kind::Gauge, "tts_cache_entries";
    /// Time in a callback of FreeSWITCH's media threads.
    CALLBACK_TIME: Kind::Histogram(CALLBACK), "callback_seconds";
    /// Callbacks and events that failed inside of the module; each has ended its stream.
    CALLBACK_PANICS: Kind::Counter, "callback_panics_total";
    /// How late the playout clock writes a packet.
    CLOCK_LATENESS: Kind::Histogram(LATENESS), "playout_clock_lateness_seconds";
    /// Packets of the playout clock whose call held the write up, by its locks or its timer; no other call waits for it.
    CLOCK_HELD_UP: Kind::Counter, "playout_clock_held_up_total";
    /// How late the ticks of the workers are.
    WORKER_LATENESS: Kind::Histogram(LATENESS), "worker_lateness_seconds";
    /// Work that blocks, by kind (names, certificates, files, decoding, programs, ends) and state: it runs, or waits because all places
    /// of its kind are taken.
    BLOCKING_JOBS: Kind::Gauge, "blocking_jobs";
    /// Work that had to wait because all places of its kind were taken, by kind.
    BLOCKING_WAITED: Kind::Counter, "blocking_waited_total";
    /// Circuit breakers of servers that have failed, by kind and state.
    BREAKERS: Kind::Gauge, "breakers";
    /// State of a server's circuit breaker: 0 closed, 1 half open, 2 open, 3 busy (it has asked for a pause).
    BREAKER_STATE: Kind::Gauge, "breaker_state";
    /// Events and actions on calls that were dropped because their stream's or call's share of the queue was full.
    EVENTS_DROPPED: Kind::Counter, "events_dropped_total";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_say_their_unit() {
        let mut names: Vec<_> = METRICS.iter().map(|metric| metric.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), METRICS.len());
        for Metric { name, help, kind } in METRICS {
            assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{name}");
            assert!(help.ends_with('.') && !help.contains(['\n', '\\']), "{name}: {help}");
            assert_eq!(name.ends_with("_total"), *kind == Kind::Counter, "{name}");
            if let Kind::Histogram(bounds) = kind {
                assert!(name.ends_with("_seconds"), "{name}");
                assert!(bounds.is_sorted_by(|a, b| a < b), "{name}");
            }
        }
    }
}
