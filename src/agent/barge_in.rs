//! Interruptions: at once for the ear, exactly for the far end's memory.
//!
//! On the trigger: playback flushed, the sentence being made aborted, what waits forgotten, the response cancelled. When the
//! media side confirms the flush it is known how much was heard, and the far end is told: a message of speech is truncated to
//! the milliseconds that were heard (never more than were received), deleted when nothing was; a message of text is replaced
//! by the words that were spoken. No time is guessed.

use super::config::{TurnTaking, VoiceMode};
use super::conversation::{Agent, Request, Words};
use super::playback::{Owner, Stretch};
use super::speech::{Spoken, heard_words};
use super::{BargeInCause, Event, FarCommand, Output, Speaker, tools};

/// Characters a second of a voice, for a sentence of which the length is not known.
const CHARS_A_SECOND: f64 = 15.0;

/// An interruption of which the extent is not known yet.
#[derive(Debug)]
pub(super) struct Cut {
    /// The flush that tells; 0: none was needed.
    flush: u64,
    cause: BargeInCause,
    /// The messages of the turn.
    words: Vec<Words>,
    /// Those of the response that was cancelled, and its id.
    cancelled: Option<(String, Vec<String>)>,
    spoken: Vec<Spoken>,
    /// The session they are of is gone.
    pub(super) stale: bool,
}

impl Cut {
    fn is_cancelled(&self, item_id: &str) -> bool {
        self.cancelled.as_ref().is_some_and(|(_, items)| items.iter().any(|id| id == item_id))
    }
}

impl Agent {
    /// The caller interrupts. Nothing happens where there is nothing to interrupt.
    pub(super) fn interrupt(&mut self, cause: BargeInCause) {
        // A response that was asked for and has not begun will be unwanted.
        match &mut self.request {
            Request::Sent { cancel, .. } => *cancel = true,
            request => *request = Request::None,
        }
        self.respond_after_calls = false;
        if let Some((call_id, _)) = self.deferred.take() {
            let why = "the caller spoke before you had finished; it was not done";
            self.tool_result(&call_id, tools::failure(why));
            self.respond_after_calls = false;
        }
        let queued = !self.playback.current().owners().is_empty();
        if !self.uttering && self.response.is_none() && !self.speech.is_busy() {
            return;
        }
        self.barge_ins += 1;
        let mut cut = Cut {
            flush: 0,
            cause,
            words: Vec::new(),
            cancelled: None,
            spoken: Vec::new(),
            stale: !self.link.is_ready(),
        };
        // The ear first.
        if queued {
            cut.flush = self.playback.flush();
            self.outputs.push_back(Output::Flush { id: cut.flush });
        }
        let (sentence, spoken) = self.speech.abort();
        if let Some(sentence) = sentence {
            self.outputs.push_back(Output::AbortSynthesis { sentence });
        }
        cut.spoken = spoken;
        self.uttering = false;
        if let Some(response) = self.response.take() {
            let itself = matches!(self.config.turns, TurnTaking::FarEnd { interrupts: true, .. });
            let tell = !(itself && cause == BargeInCause::FarVad) && self.far_active.as_ref() == Some(&response.id);
            self.command(FarCommand::Cancel { response_id: response.id.clone(), tell });
            self.put_past(response.id.clone());
            cut.cancelled = Some((response.id, response.items));
        }
        cut.words = std::mem::take(&mut self.words);
        if cut.flush == 0 {
            self.resolve_cut(cut, &Stretch::default());
        } else {
            self.cuts.push_back(cut);
        }
    }

    /// The media side has confirmed a flush.
    pub(super) fn resolve(&mut self, flush: u64, stretch: &Stretch) {
        if let Some(at) = self.cuts.iter().position(|cut| cut.flush == flush)
            && let Some(cut) = self.cuts.remove(at)
        {
            self.resolve_cut(cut, stretch);
        }
    }

    fn resolve_cut(&mut self, mut cut: Cut, stretch: &Stretch) {
        if let Some((response_id, items)) = &cut.cancelled {
            let text = joined(cut.words.iter().filter(|words| items.contains(&words.item_id)).map(|w| w.text.as_str()));
            self.event(Event::Response { response_id: response_id.clone(), text, interrupted: true });
        }
        match self.config.voice {
            VoiceMode::FarEnd => self.cut_audio(&cut, stretch),
            VoiceMode::Synthesis => {
                let (mut heard, mut received) = (0, 0);
                for spoken in &cut.spoken {
                    let owner = Owner::Sentence(spoken.sentence.id);
                    heard += stretch.heard(&owner).as_millis() as u64;
                    received += stretch.received(&owner).as_millis() as u64;
                }
                let item_id = cut.words.last().map(|words| words.item_id.clone()).filter(|_| !cut.stale);
                self.event(Event::BargeIn { cause: cut.cause, item_id, heard_ms: heard, received_ms: received });
                let stale = cut.stale;
                let resync = std::mem::take(&mut cut.words).into_iter().map(|words| (!stale, words)).collect();
                self.remember_spoken(stretch, &cut.spoken, resync);
            }
        }
    }

    /// Truncates or deletes the messages that were not heard to their end.
    fn cut_audio(&mut self, cut: &Cut, stretch: &Stretch) {
        let owners = stretch.owners();
        let mut interrupted: Option<(String, u64, u64)> = None;
        for words in &cut.words {
            let contents: Vec<(&Owner, u32)> = owners
                .iter()
                .filter_map(|owner| match owner {
                    Owner::Item { item_id, content_index } if *item_id == words.item_id => {
                        Some((owner, *content_index))
                    }
                    _ => None,
                })
                .collect();
            let heard_ms = |owner| stretch.heard(owner).as_millis() as u64;
            let received_ms = |owner| stretch.received(owner).as_millis() as u64;
            let heard: u64 = contents.iter().map(|(owner, _)| heard_ms(owner)).sum();
            let received: u64 = contents.iter().map(|(owner, _)| received_ms(owner)).sum();
            self.history.agent(&if received == 0 {
                String::new()
            } else {
                heard_words(&words.text, heard as f64, received as f64)
            });
            let cancelled = cut.is_cancelled(&words.item_id);
            if heard >= received && !cancelled {
                continue;
            }
            if interrupted.is_none() {
                interrupted = Some((words.item_id.clone(), heard, received));
            }
            if cut.stale {
                continue;
            }
            let item_id = words.item_id.clone();
            if heard == 0 {
                self.command(FarCommand::Delete { item_id });
            } else {
                // The content at which it was cut; those before were heard whole, one is the rule.
                let at = contents.iter().find(|(owner, _)| heard_ms(owner) < received_ms(owner)).or(contents.last());
                if let Some((owner, content_index)) = at {
                    let audio_end_ms = heard_ms(owner).min(received_ms(owner));
                    self.command(FarCommand::Truncate { item_id, content_index: *content_index, audio_end_ms });
                }
            }
        }
        let (item_id, heard_ms, received_ms) = match interrupted {
            Some((item_id, heard, received)) => (Some(item_id), heard, received),
            None => (None, 0, 0),
        };
        self.event(Event::BargeIn { cause: cut.cause, item_id, heard_ms, received_ms });
    }

    /// Notes what was spoken of a turn of text and, where it is said so, has the far end replace its message by that. What
    /// the agent said of its own accord is news to the far end.
    pub(super) fn remember_spoken(&mut self, stretch: &Stretch, spoken: &[Spoken], items: Vec<(bool, Words)>) {
        let words_of = |item_id: Option<&str>| {
            joined_owned(
                spoken
                    .iter()
                    .filter(|spoken| spoken.sentence.item_id.as_deref() == item_id)
                    .map(|spoken| spoken_words(spoken, stretch)),
            )
        };
        for (resync, words) in items {
            let text = words_of(Some(&words.item_id));
            // What the voice said differs from what the model wrote by marks and emoji: the model's words count.
            let whole = same_words(&text, &self.config.sentences.voiced(&words.text));
            self.history.agent(if whole { &words.text } else { &text });
            if !resync || whole {
                continue;
            }
            if !text.is_empty() {
                let after = Some(words.item_id.clone());
                self.command(FarCommand::Message { speaker: Speaker::Agent, text, after });
            }
            self.command(FarCommand::Delete { item_id: words.item_id });
        }
        let own = words_of(None);
        if !own.is_empty() {
            self.history.agent(&own);
            self.command(FarCommand::Message { speaker: Speaker::Agent, text: own, after: None });
        }
    }
}

/// What was heard of a sentence.
fn spoken_words(spoken: &Spoken, stretch: &Stretch) -> String {
    let owner = Owner::Sentence(spoken.sentence.id);
    let (heard, received) = (stretch.heard(&owner).as_secs_f64(), stretch.received(&owner).as_secs_f64());
    let text = &spoken.sentence.text;
    let whole = if spoken.complete && !spoken.failed {
        received
    } else {
        received.max(text.chars().count() as f64 / CHARS_A_SECOND)
    };
    heard_words(text, heard, whole)
}

fn joined<'a>(texts: impl Iterator<Item = &'a str>) -> String {
    joined_owned(texts.map(str::to_owned))
}

fn joined_owned(texts: impl Iterator<Item = String>) -> String {
    texts.filter(|text| !text.is_empty()).collect::<Vec<_>>().join(" ")
}

/// Whether two texts have the same letters and digits: no more of a text is sure to be given to a voice.
fn same_words(one: &str, other: &str) -> bool {
    one.chars().filter(|c| c.is_alphanumeric()).eq(other.chars().filter(|c| c.is_alphanumeric()))
}
