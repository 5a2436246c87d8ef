//! What one stream has counted since its start, summed up with others for the metrics.
//!
//! Read from the atomics of the media thread and of the stream's task when the metrics are asked for, and once more when the stream
//! ends. To add a count, declare its metric, add a field here and read it in [`StreamTotals::of`].

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::handle::StreamHandle;
use crate::media::LatencySnapshot;
use crate::telemetry::metrics::list::{
    AI_AUDIO_DROPPED, AI_RECONNECTS, AUDIO_MESSAGES, BARGE_INS, BYTES_SENT, CALLBACK_PANICS, CALLBACK_TIME,
    CAPTURE_DROPPED_FRAMES, CAPTURED_FRAMES, FAULTS, FLOODS, OVERFLOWS, PLAYED, RECEIVED, RECONNECTS, SEND_DROPPED,
    SENTENCES, SLOWED, STARVED_FRAMES, UNDERRUNS, VOICED_FRAMES,
};
use crate::telemetry::metrics::{Distribution, Kind, Page, SeriesKey};

/// Counts of one stream, or of several added up.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct StreamTotals {
    captured_frames: u64,
    dropped_frames: u64,
    audio_messages: u64,
    bytes_sent: u64,
    send_dropped_ms: u64,
    received: u64,
    faults: u64,
    floods: u64,
    slowed: u64,
    voiced_frames: u64,
    starved_frames: u64,
    underruns: u64,
    overflows: u64,
    played: Duration,
    panics: u64,
    barge_ins: u64,
    reconnects: u64,
    ai_reconnects: u64,
    ai_dropped_ms: u64,
    sentences_dropped: u64,
    callbacks: LatencySnapshot,
}

impl StreamTotals {
    /// Of a stream until now.
    pub fn of(stream: &StreamHandle) -> Self {
        let (capture, playout, counters) = (&stream.media.capture, &stream.media.playout, &stream.counters);
        let ai = stream.ai.lock().status.stats;
        Self {
            captured_frames: capture.frames(),
            dropped_frames: capture.dropped_frames(),
            audio_messages: counters.audio_messages.load(Ordering::Relaxed),
            bytes_sent: counters.bytes_sent.load(Ordering::Relaxed),
            send_dropped_ms: counters.send_dropped_ms.load(Ordering::Relaxed),
            received: counters.received.load(Ordering::Relaxed),
            faults: counters.faults.load(Ordering::Relaxed),
            slowed: counters.slowed.load(Ordering::Relaxed),
            floods: counters.floods.load(Ordering::Relaxed),
            voiced_frames: playout.voiced_frames(),
            starved_frames: playout.starved_frames(),
            underruns: playout.underruns(),
            overflows: counters.inject_overflows.load(Ordering::Relaxed),
            played: playout.played_time(),
            panics: stream.media.panics(),
            barge_ins: ai.barge_in_count,
            reconnects: counters.reconnects.load(Ordering::Relaxed),
            ai_reconnects: ai.reconnect_attempts,
            ai_dropped_ms: ai.ring_dropped_ms,
            sentences_dropped: ai.sentences_dropped,
            callbacks: stream.media.latency.snapshot(),
        }
    }

    /// Adds those of another stream.
    pub fn add(&mut self, other: &Self) {
        self.captured_frames += other.captured_frames;
        self.dropped_frames += other.dropped_frames;
        self.audio_messages += other.audio_messages;
        self.bytes_sent += other.bytes_sent;
        self.send_dropped_ms += other.send_dropped_ms;
        self.received += other.received;
        self.faults += other.faults;
        self.floods += other.floods;
        self.slowed += other.slowed;
        self.voiced_frames += other.voiced_frames;
        self.starved_frames += other.starved_frames;
        self.underruns += other.underruns;
        self.overflows += other.overflows;
        self.played += other.played;
        self.panics += other.panics;
        self.barge_ins += other.barge_ins;
        self.reconnects += other.reconnects;
        self.ai_reconnects += other.ai_reconnects;
        self.ai_dropped_ms += other.ai_dropped_ms;
        self.sentences_dropped += other.sentences_dropped;
        self.callbacks.merge(&other.callbacks);
    }

    /// Writes them with the labels of `key`; callbacks have no labels.
    pub fn write(&self, key: &SeriesKey, page: &mut Page) {
        let labels = key.labels();
        for (metric, count) in [
            (&CAPTURED_FRAMES, self.captured_frames),
            (&CAPTURE_DROPPED_FRAMES, self.dropped_frames),
            (&AUDIO_MESSAGES, self.audio_messages),
            (&BYTES_SENT, self.bytes_sent),
            (&RECEIVED, self.received),
            (&FAULTS, self.faults),
            (&FLOODS, self.floods),
            (&SLOWED, self.slowed),
            (&VOICED_FRAMES, self.voiced_frames),
            (&STARVED_FRAMES, self.starved_frames),
            (&UNDERRUNS, self.underruns),
            (&OVERFLOWS, self.overflows),
            (&BARGE_INS, self.barge_ins),
            (&RECONNECTS, self.reconnects),
            (&AI_RECONNECTS, self.ai_reconnects),
        ] {
            page.count(metric, &labels, count);
        }
        page.value(&SEND_DROPPED, &labels, self.send_dropped_ms as f64 / 1_000.0);
        page.value(&PLAYED, &labels, self.played.as_secs_f64());
        page.value(&AI_AUDIO_DROPPED, &labels, self.ai_dropped_ms as f64 / 1_000.0);
        if self.sentences_dropped > 0 {
            page.count(&SENTENCES, &[&labels[..], &[("outcome", "dropped")]].concat(), self.sentences_dropped);
        }
        page.count(&CALLBACK_PANICS, &[], self.panics);
        if let Kind::Histogram(bounds) = CALLBACK_TIME.kind {
            let mut counts = vec![0; bounds.len() + 1];
            self.callbacks.add_within(bounds, &mut counts);
            let sum_ns = self.callbacks.sum_ns();
            page.distribution(&CALLBACK_TIME, &[], Distribution { bounds, counts, sum_ns });
        }
    }
}
