//! Interruptions, from the trigger until it is known how much the caller had heard.
//!
//! On the trigger the playback is flushed, the sentence being made aborted, what waits forgotten, the response cancelled. When
//! the media side confirms the flush, the engine's memory is corrected to what was heard. No time is guessed.
//!
//! Pure; owned by the agent. Holds the words of interrupted turns until their flush is confirmed.

use std::collections::VecDeque;
use std::time::Instant;

use super::Event;
use super::choices::VoiceMode;
use super::figures::Figures;
use super::history::History;
use super::memory;
use super::outputs::Outputs;
use super::pending::PendingInterruption;
use super::playback::{Owner, PlayedSegment};
use super::sentence::SentenceRules;
use super::turns::Response;

/// Who learns of an interruption.
pub(super) struct Told<'a> {
    pub(super) history: &'a mut History,
    pub(super) figures: &'a mut Figures,
    pub(super) out: &'a mut Outputs,
}

/// The interruptions of one conversation.
#[derive(Debug)]
pub(super) struct Interruptions {
    voice: VoiceMode,
    rules: SentenceRules,
    pending: VecDeque<PendingInterruption>,
    count: u64,
}

impl Interruptions {
    pub(super) fn new(voice: VoiceMode, rules: SentenceRules) -> Self {
        Self { voice, rules, pending: VecDeque::new(), count: 0 }
    }

    /// The agent has been interrupted; settled at once where nothing was queued.
    pub(super) fn add(&mut self, interruption: PendingInterruption, told: Told<'_>) {
        self.count += 1;
        if interruption.flush.is_none() {
            self.settle(interruption, &PlayedSegment::default(), None, told);
        } else {
            self.pending.push_back(interruption);
        }
    }

    /// The media side has confirmed a flush, at this time, or never will; whether an interruption was waiting for that.
    pub(super) fn confirmed(
        &mut self,
        flush: u64,
        segment: &PlayedSegment,
        silent: Option<Instant>,
        told: Told<'_>,
    ) -> bool {
        if let Some(at) = self.pending.iter().position(|pending| pending.flush == Some(flush))
            && let Some(interruption) = self.pending.remove(at)
        {
            self.settle(interruption, segment, silent, told);
            return true;
        }
        false
    }

    fn settle(
        &self,
        mut interruption: PendingInterruption,
        segment: &PlayedSegment,
        silent: Option<Instant>,
        Told { history, figures, out }: Told<'_>,
    ) {
        let cancelled = interruption.cancelled.as_ref().map(|Response { id, items }| {
            let words = interruption.words.iter().filter(|words| items.contains(&words.item_id));
            (id.clone(), items.clone(), memory::joined(words.map(|words| words.text.clone())))
        });
        let heard = match self.voice {
            VoiceMode::Engine => {
                memory::own_words(segment, &interruption.spoken, history, out);
                memory::correct_audio(&interruption, segment, history, out)
            }
            VoiceMode::Synthesis => {
                let (mut heard, mut received) = (0, 0);
                for spoken in &interruption.spoken {
                    let owner = Owner::Sentence(spoken.sentence.id);
                    heard += segment.heard(&owner).as_millis() as u64;
                    received += segment.received(&owner).as_millis() as u64;
                }
                let current = !interruption.stale;
                let item_id = interruption.words.last().map(|words| words.item_id.clone()).filter(|_| current);
                out.event(Event::BargeIn {
                    cause: interruption.cause,
                    item_id,
                    heard_ms: heard,
                    received_ms: received,
                });
                let words = std::mem::take(&mut interruption.words).into_iter().map(|words| (current, words)).collect();
                memory::correct_text(segment, &interruption.spoken, words, &self.rules, history, out)
            }
        };
        if let Some((id, items, text)) = cancelled {
            let heard = heard.into_iter().filter(|(item_id, _)| items.contains(item_id));
            out.response(id, text, true, Some(memory::joined(heard.map(|(_, text)| text))));
        }
        figures.over(interruption.figures, segment.heard_in_all(), silent, out);
    }

    /// What the service takes as said of a message; whether its interruption is still to be settled.
    pub(super) fn corrected(&mut self, item_id: &str, said: &str) -> bool {
        let mut words = self.pending.iter_mut().flat_map(|pending| &mut pending.words);
        let known = words.find(|words| words.item_id == item_id);
        known.map(|words| words.corrected = Some(said.to_owned())).is_some()
    }

    /// The session is gone.
    pub(super) fn session_gone(&mut self) {
        for pending in &mut self.pending {
            pending.stale = true;
        }
    }

    /// Whether the extent of all is known.
    pub(super) fn is_settled(&self) -> bool {
        self.pending.is_empty()
    }

    /// How many there were.
    pub(super) fn count(&self) -> u64 {
        self.count
    }
}
