//! Reports of playback to the peer and the operator; and speech that has been made.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::super::playback::PlaybackUpdate;
use super::super::state::StreamMode;
use super::Task;
use crate::event::{Overflow, Playback as Played, Queue, Severity, Underrun};
use crate::inject::{OverflowAlarm, PlayOutcome, PlaybackEvent};
use crate::peer::{Input, MonoAudio, Recording};
use crate::protocol::MarkId;
use crate::stream::sounds::Loaded;
use crate::tts::SpeechEvent;

impl Task {
    /// Moves playback on, and reports its progress to the peer and the operator.
    pub(super) fn follow_playback(&mut self, now: Instant) {
        self.playback.pump(now);
        self.backgrounds.pump(now);
        self.handle.playback_meter.passed(self.playback.take_peak(), now);
        while let Some(update) = self.playback.next() {
            match update {
                PlaybackUpdate::Event(event) => self.played(event, now),
                PlaybackUpdate::Overflowed(outcome) => self.overflowed(outcome, now),
                PlaybackUpdate::Refused(reason) => self.fault(&reason, now),
            }
        }
        self.note_slowing();
    }

    /// Counts and logs that the server is slowed down, once until the queue is below its bound.
    fn note_slowing(&mut self) {
        if self.playback.has_room() {
            self.slowed &= self.playback.is_full();
        } else if !std::mem::replace(&mut self.slowed, true) {
            self.handle.counters.slowed.fetch_add(1, Ordering::Relaxed);
            tracing::info!(target: "INJECT", call = %self.handle.call(), op = "buffer_full", outcome = "server_slowed",
                stream = %self.handle.name(), buffered_ms = self.playback.status().buffered_ms,
                advice = "the server sends faster than real time and is read as the caller hears; nothing is lost");
        }
    }

    fn played(&mut self, event: PlaybackEvent, now: Instant) {
        let event = match event {
            PlaybackEvent::Started { played_ms } => {
                if let Some(arrived) = self.playback.take_arrival() {
                    let delay = now.saturating_duration_since(arrived);
                    self.handle.series.playback_delay.record(delay);
                    self.handle.playback_meter.delayed(delay);
                }
                Played::Started { played_ms }
            }
            PlaybackEvent::Finished { played_ms } => Played::Finished { played_ms },
            PlaybackEvent::Cleared { played_ms } => {
                if let Some(asked) = self.playback.take_clearing() {
                    self.handle.series.silence.record(now.saturating_duration_since(asked));
                }
                self.flushed(Duration::from_millis(played_ms), now);
                self.perform(now);
                Played::Cleared { played_ms }
            }
            PlaybackEvent::MarkHeard { id, played_ms } => return self.marked(id, true, played_ms, now),
            PlaybackEvent::MarkCleared { id, played_ms } => return self.marked(id, false, played_ms, now),
            PlaybackEvent::Underrun { count, played_ms } => return self.underran(count, played_ms, now),
        };
        self.emit(event);
    }

    /// Answers a mark, and tells of one that has a name.
    fn marked(&mut self, id: MarkId, heard: bool, played_ms: u64, now: Instant) {
        let name = self.peer.mark_name(id).map(str::to_owned);
        self.tell(if heard { Input::MarkHeard(id) } else { Input::MarkCleared(id) }, now);
        if let Some(name) = name {
            self.emit(Played::Mark { name: name.into(), heard, played_ms });
        }
    }

    /// Gaps in the midst of what the server sent.
    fn underran(&mut self, count: u64, played_ms: u64, now: Instant) {
        let Some(count) = self.underruns.note(count, now) else { return };
        let prebuffer_ms = self.playback.status().prebuffer_ms;
        tracing::warn!(target: "INJECT", call = %self.handle.call(), op = "playback", outcome = "underrun",
            stream = %self.handle.name(), count, played_ms, prebuffer_ms,
            advice = "the server sent too late; a larger inject_min_buffer_ms, or auto, rides that out");
        self.emit(Underrun { count, played_ms });
    }

    /// Playback that did not fit.
    fn overflowed(&mut self, outcome: PlayOutcome, now: Instant) {
        let status = self.playback.status();
        if let Some(dropped_ms) = outcome.restarted_ms
            && self.restarts.due(now).is_some()
        {
            tracing::warn!(target: "INJECT", call = %self.handle.call(), op = "buffer_overflow", outcome = "restarted",
                stream = %self.handle.name(), overflows = status.overflow_count, dropped_ms,
                advice = "the server sends faster than real time; what waited was too old to be heard");
        }
        let Some(alarm) = outcome.alarm else { return };
        let severity = match alarm {
            OverflowAlarm::Warning => Severity::Warning,
            OverflowAlarm::Persistent => Severity::Error,
        };
        let dropped_ms = outcome.dropped_ms + outcome.restarted_ms.unwrap_or(0);
        match severity {
            Severity::Warning => tracing::warn!(target: "INJECT", call = %self.handle.call(), op = "buffer_overflow",
                outcome = "dropped", stream = %self.handle.name(), overflows = status.overflow_count, dropped_ms,
                total_dropped_ms = status.dropped_ms, advice = "raise inject_buffer_ms or send slower"),
            Severity::Error => tracing::error!(target: "INJECT", call = %self.handle.call(), op = "buffer_overflow",
                outcome = "persists", stream = %self.handle.name(), overflows = status.overflow_count, dropped_ms,
                total_dropped_ms = status.dropped_ms, advice = "the server sends faster than real time"),
        }
        let overflow = Overflow {
            queue: Queue::Inject,
            severity,
            drops: status.overflow_count,
            dropped_ms,
            total_dropped_ms: status.dropped_ms,
        };
        self.emit(overflow);
    }

    /// Something has come of a sentence that was to be spoken.
    pub(super) fn spoken(&mut self, event: SpeechEvent, now: Instant) {
        let (call, stream) = (self.handle.call(), self.handle.name());
        match &event {
            SpeechEvent::Done { id, report } => tracing::info!(target: "TTS", call = %call, op = "synthesize",
                outcome = "ok", stream = %stream, sentence = id, provider = report.provider, cached = report.cached,
                first_audio_ms = report.first_audio.as_millis() as u64, spoken_ms = report.spoken.as_millis() as u64,
                request_id = report.request_id),
            SpeechEvent::Retried { id, error } => tracing::warn!(target: "TTS", call = %call, op = "synthesize",
                outcome = "retried", stream = %stream, sentence = id, reason = %error),
            SpeechEvent::Switched { id, from, to } => tracing::warn!(target: "TTS", call = %call, op = "fallback",
                outcome = "switched", stream = %stream, sentence = id, from, to),
            // It becomes an event, which is logged.
            SpeechEvent::Audio { .. } | SpeechEvent::Failed { .. } => {}
        }
        self.count_speech(&event);
        if self.handle.spec.options.mode == StreamMode::Ws {
            return self.announced(event, now);
        }
        let Some(synthesis) = &mut self.synthesis else { return };
        let rate = synthesis.rate();
        let mut marks = Vec::new();
        let (sentence, samples, then) = match event {
            SpeechEvent::Audio { id, samples, rate, marks: known } => {
                marks = known;
                (id, synthesis.polish(&samples, rate), None)
            }
            SpeechEvent::Done { id, .. } => (id, synthesis.tail(), Some(Input::SpeechDone { sentence: id })),
            SpeechEvent::Failed { id, error, .. } => {
                let message = error.to_string();
                let failed = Input::SpeechFailed { sentence: id, code: error.code, message };
                (id, synthesis.tail(), Some(failed))
            }
            SpeechEvent::Switched { .. } | SpeechEvent::Retried { .. } => return,
        };
        if !marks.is_empty() {
            self.tell(Input::SpeechMarks { sentence, marks: &marks }, now);
        }
        if !samples.is_empty() {
            self.tell(Input::SpeechAudio { sentence, audio: MonoAudio::Pcm { samples, rate } }, now);
        }
        if let Some(then) = then {
            self.tell(then, now);
        }
    }

    /// The agent plays a recording.
    pub(super) fn recite(&mut self, sentence: u64, recording: Recording, now: Instant) {
        if let Some(loaded) = self.recordings.begin(sentence, recording) {
            self.recited(sentence, loaded, now);
        }
    }

    /// A recording is there. What follows from it is still to be performed.
    pub(super) fn recited(&mut self, sentence: u64, loaded: Loaded, now: Instant) {
        let then = match loaded {
            Ok(sound) => {
                let audio = MonoAudio::Pcm { samples: sound.samples.to_vec(), rate: sound.rate };
                self.peer.handle(now, Input::SpeechAudio { sentence, audio });
                Input::SpeechDone { sentence }
            }
            Err(message) => Input::SpeechFailed { sentence, code: "recording".to_owned(), message },
        };
        self.peer.handle(now, then);
    }

    fn count_speech(&self, event: &SpeechEvent) {
        let series = &self.handle.series;
        match event {
            SpeechEvent::Done { report, .. } if report.cached => series.sentences.count("cached"),
            SpeechEvent::Done { report, .. } => {
                series.sentences.count("made");
                series.speech_first_audio.record(report.first_audio);
            }
            SpeechEvent::Failed { .. } => series.sentences.count("failed"),
            SpeechEvent::Retried { .. } => series.speech_trouble.count("retried"),
            SpeechEvent::Switched { .. } => series.speech_trouble.count("switched"),
            SpeechEvent::Audio { .. } => {}
        }
    }
}
