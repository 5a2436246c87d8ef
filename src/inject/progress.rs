//! What has become of playback: utterances that start and finish, marks that are heard, clears that are done.
//!
//! On the worker's thread, owned by the [`Injector`](super::Injector). All progress is measured by positions in the ring, which
//! the media thread counts; nothing of it is in the audio. A mark stands behind a source sample; once that sample is on its
//! way, its position in the ring is known, and the mark is answered when the media thread has gone past it. What a clear cut
//! off is known when the media thread has performed it, a frame later; until then nothing is answered, so that the order holds.
//!
//! Bounded: [`MOST_MARKS`] marks and events together; beyond, marks are refused.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::protocol::MarkId;
use crate::units::{SampleRate, least};

/// Marks that wait and events that nobody has taken yet.
pub const MOST_MARKS: usize = 512;
/// Events beside them that are kept when nobody takes any.
const MOST_EVENTS: usize = 2 * MOST_MARKS;
/// How long after its last message the server may be late with more of an utterance before that is taken for finished.
const FINISHED_AFTER: Duration = Duration::from_millis(500);
/// How long a clear waits for the media thread, which may have no frames to go through.
const CLEARED_AFTER: Duration = Duration::from_millis(100);

/// More marks than are kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{MOST_MARKS} marks are waiting")]
pub struct TooManyMarks;

/// Something that happened to playback. `played_ms` is what the caller had been given by then, exact to the sample that it names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PlaybackEvent {
    /// The first sample of an utterance is heard.
    Started {
        /// Before it.
        played_ms: u64,
    },
    /// Everything queued has been heard, and the server sends no more.
    Finished {
        /// With it.
        played_ms: u64,
    },
    /// What was queued has been dropped; nothing of it is heard any more.
    Cleared {
        /// Up to the cut.
        played_ms: u64,
    },
    /// Everything queued before the mark has been heard.
    MarkHeard {
        /// The mark.
        id: MarkId,
        /// Up to the mark.
        played_ms: u64,
    },
    /// A clear dropped what was queued before the mark.
    MarkCleared {
        /// The mark.
        id: MarkId,
        /// Up to the cut.
        played_ms: u64,
    },
    /// The ring ran dry in the middle of an utterance, and audio came again.
    Underrun {
        /// Gaps since the last such event.
        count: u64,
        /// Now.
        played_ms: u64,
    },
}

/// The media thread's counts at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Heard {
    /// Ring position up to which samples have left.
    pub consumed: u64,
    /// Of these, flushed.
    pub flushed: u64,
    /// What the caller was given.
    pub played: Duration,
    /// Gaps so far.
    pub underruns: u64,
    /// The ring's rate.
    pub rate: SampleRate,
    /// The call is gone: the counts are final.
    pub closed: bool,
}

impl Heard {
    /// What had been played when the ring stood at `position`, not above `consumed` and after the last flush.
    fn played_ms_at(&self, position: u64) -> u64 {
        let since = self.rate.duration_of(self.consumed.saturating_sub(position));
        self.played.saturating_sub(since).as_millis() as u64
    }
}

#[derive(Clone, Copy, Debug)]
struct Mark {
    id: MarkId,
    /// Source samples before it, since the beginning.
    number: u64,
    /// Ring position behind which it is heard, once that is known.
    at: Option<u64>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Utterance {
    Quiet,
    /// Its first sample is at this ring position.
    Written(u64),
    Playing,
    /// Everything has been heard, but more may come until then.
    Starved(Instant),
}

/// A clear that the media thread may not have performed.
#[derive(Debug)]
struct Clearing {
    void_to: u64,
    flushed_before: u64,
    marks: Vec<Mark>,
    give_up: Option<Instant>,
}

/// See the [module](self).
#[derive(Debug)]
pub struct Progress {
    utterance: Utterance,
    marks: VecDeque<Mark>,
    clearing: Option<Clearing>,
    underruns: u64,
    events: VecDeque<PlaybackEvent>,
}

impl Default for Progress {
    fn default() -> Self {
        Self {
            utterance: Utterance::Quiet,
            marks: VecDeque::new(),
            clearing: None,
            underruns: 0,
            events: VecDeque::new(),
        }
    }
}

impl Progress {
    /// Sets a mark behind source sample `number`.
    pub fn mark(&mut self, id: MarkId, number: u64) -> Result<(), TooManyMarks> {
        let clearing = self.clearing.as_ref().map_or(0, |clearing| clearing.marks.len());
        if self.marks.len() + clearing + self.events.len() >= MOST_MARKS {
            return Err(TooManyMarks);
        }
        self.marks.push_back(Mark { id, number, at: None });
        Ok(())
    }

    /// Audio was written to the ring from position `from` on.
    pub fn wrote(&mut self, from: u64) {
        if self.utterance == Utterance::Quiet {
            self.utterance = Utterance::Written(from);
        }
    }

    /// The ring was flushed to be filled anew with what the media thread had not consumed.
    pub fn refilled(&mut self, consumed: u64) {
        for mark in &mut self.marks {
            mark.at = mark.at.filter(|at| *at <= consumed);
        }
        if matches!(self.utterance, Utterance::Written(from) if from >= consumed) {
            self.utterance = Utterance::Quiet;
        }
    }

    /// Source samples before number `taken` are on their way: `position_after` says up to where in the ring; `None` for what has
    /// been heard.
    pub fn place(&mut self, taken: u64, position_after: impl Fn(u64) -> Option<u64>) {
        for mark in self.marks.iter_mut().take_while(|mark| mark.number <= taken).filter(|mark| mark.at.is_none()) {
            mark.at = Some(position_after(mark.number).unwrap_or(0));
        }
    }

    /// Everything is dropped, the ring flushed up to `void_to`; `before` was read before that. `audio` says that there was any.
    pub fn cleared(&mut self, before: &Heard, void_to: u64, audio: bool) {
        // An earlier clear that the media thread has performed, and marks that were heard before this one.
        self.settle(None, before);
        if self.clearing.is_none() {
            self.start(before);
            self.answer(before);
        }
        if !audio && self.marks.is_empty() && self.clearing.is_none() {
            self.utterance = Utterance::Quiet;
            return;
        }
        self.utterance = Utterance::Quiet;
        let clearing = self.clearing.get_or_insert_with(|| Clearing {
            void_to,
            flushed_before: before.flushed,
            marks: Vec::new(),
            give_up: None,
        });
        clearing.void_to = void_to;
        clearing.marks.extend(self.marks.drain(..));
        // Nothing was in the ring: there is nothing to wait for.
        self.settle(None, before);
    }

    /// Looks at what the media thread has done. `idle` says that everything accepted has been heard, `arrived` when the last of
    /// it came.
    pub fn look(&mut self, now: Instant, heard: &Heard, idle: bool, arrived: Option<Instant>) {
        self.settle(Some(now), heard);
        if self.clearing.is_some() {
            return;
        }
        self.start(heard);
        self.answer(heard);
        if !matches!(self.utterance, Utterance::Playing | Utterance::Starved(_)) {
            return;
        }
        if heard.underruns > self.underruns {
            let played_ms = heard.played.as_millis() as u64;
            self.push(PlaybackEvent::Underrun { count: heard.underruns - self.underruns, played_ms });
            self.underruns = heard.underruns;
        }
        let until = arrived.map_or(now, |arrived| arrived + FINISHED_AFTER);
        self.utterance = match (idle, now >= until || heard.closed) {
            (false, _) => Utterance::Playing,
            (true, false) => Utterance::Starved(until),
            (true, true) => {
                self.push(PlaybackEvent::Finished { played_ms: heard.played.as_millis() as u64 });
                Utterance::Quiet
            }
        };
    }

    /// Ring position whose consumption makes a [`look`](Self::look) worth while; 0 for at once.
    pub fn wants(&self) -> Option<u64> {
        if let Some(clearing) = &self.clearing {
            return Some(clearing.void_to);
        }
        let started = match self.utterance {
            Utterance::Written(from) => Some(from + 1),
            _ => None,
        };
        // One that has no position yet gets it from the pump that brings its audio on its way.
        let marked = self.marks.front().and_then(|mark| mark.at);
        least([started, marked])
    }

    /// When to look whatever the ring says.
    pub fn deadline(&self) -> Option<Instant> {
        let starved = match self.utterance {
            Utterance::Starved(until) => Some(until),
            _ => None,
        };
        let give_up = self.clearing.as_ref().and_then(|clearing| clearing.give_up);
        least([starved, give_up])
    }

    /// Whether no mark is owed an answer.
    pub fn is_settled(&self) -> bool {
        self.marks.is_empty() && self.clearing.as_ref().is_none_or(|clearing| clearing.marks.is_empty())
    }

    /// Whether it is not known yet what a clear has cut off: a [`PlaybackEvent::Cleared`] will say.
    pub fn is_clearing(&self) -> bool {
        self.clearing.is_some()
    }

    /// What has happened, in order.
    pub fn take_events(&mut self) -> impl Iterator<Item = PlaybackEvent> + use<> {
        std::mem::take(&mut self.events).into_iter()
    }

    fn start(&mut self, heard: &Heard) {
        if let Utterance::Written(from) = self.utterance
            && heard.consumed > from
        {
            self.push(PlaybackEvent::Started { played_ms: heard.played_ms_at(from) });
            // The gap before an utterance is none within it.
            self.underruns = heard.underruns;
            self.utterance = Utterance::Playing;
        }
    }

    fn answer(&mut self, heard: &Heard) {
        while let Some(mark) = self.marks.front().copied()
            && let Some(at) = mark.at.filter(|at| *at <= heard.consumed)
        {
            self.marks.pop_front();
            let played_ms = if at == 0 { heard.played.as_millis() as u64 } else { heard.played_ms_at(at) };
            self.push(PlaybackEvent::MarkHeard { id: mark.id, played_ms });
        }
    }

    /// Reports a clear once it is known what it cut off.
    fn settle(&mut self, now: Option<Instant>, heard: &Heard) {
        let Some(clearing) = &mut self.clearing else { return };
        let performed = heard.consumed >= clearing.void_to;
        if let Some(now) = now {
            let given_up = now >= *clearing.give_up.get_or_insert(now + CLEARED_AFTER);
            if !performed && !given_up && !heard.closed {
                return;
            }
        } else if !performed {
            return;
        }
        let Some(Clearing { void_to, flushed_before, marks, .. }) = self.clearing.take() else { return };
        // Where the media thread stood when it flushed, and what had been played by then.
        let (cut_at, at_cut) = if performed {
            let flushed = heard.flushed.saturating_sub(flushed_before);
            let after = heard.rate.duration_of(heard.consumed.saturating_sub(void_to));
            (void_to.saturating_sub(flushed), heard.played.saturating_sub(after))
        } else {
            (heard.consumed, heard.played)
        };
        let up_to = |position: u64| {
            let before = heard.rate.duration_of(cut_at.saturating_sub(position));
            at_cut.saturating_sub(before).as_millis() as u64
        };
        for Mark { id, at, .. } in marks {
            self.push(match at {
                Some(at) if at <= cut_at => PlaybackEvent::MarkHeard { id, played_ms: up_to(at) },
                _ => PlaybackEvent::MarkCleared { id, played_ms: up_to(cut_at) },
            });
        }
        self.push(PlaybackEvent::Cleared { played_ms: up_to(cut_at) });
    }

    fn push(&mut self, event: PlaybackEvent) {
        if self.events.len() < MOST_EVENTS {
            self.events.push_back(event);
        }
    }
}
