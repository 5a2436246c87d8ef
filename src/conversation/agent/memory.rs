//! The engine's memory is corrected to what the caller has heard.
//!
//! A message of speech is truncated to the milliseconds that were heard (never more than were received), deleted when nothing
//! was; a message of text is replaced by the words that were spoken. What was heard goes into the history as well. Pure.

use std::time::Duration;

use super::history::History;
use super::outputs::Outputs;
use super::pending::PendingInterruption;
use super::playback::{Owner, PlayedSegment};
use super::sentence::SentenceRules;
use super::speech::{Spoken, heard_words};
use super::utterance::Words;
use super::{Event, Speaker};
use crate::conversation::engine::Command;

/// Characters a second of a voice, for a sentence of which the length is not known.
const CHARS_A_SECOND: f64 = 15.0;

/// What was heard of a message of speech.
struct Heard<'a> {
    /// Its contents that were queued.
    contents: Vec<(&'a Owner, u32)>,
    heard_ms: u64,
    received_ms: u64,
    /// What was received besides and had no room.
    refused_ms: u64,
}

impl<'a> Heard<'a> {
    fn of(item_id: &str, owners: &'a [Owner], segment: &PlayedSegment) -> Self {
        let contents: Vec<(&Owner, u32)> = owners
            .iter()
            .filter_map(|owner| match owner {
                Owner::Item { item_id: of, content_index } if of == item_id => Some((owner, *content_index)),
                _ => None,
            })
            .collect();
        let sum =
            |of: &dyn Fn(&Owner) -> Duration| contents.iter().map(|(owner, _)| of(owner).as_millis() as u64).sum();
        let heard_ms = sum(&|owner| segment.heard(owner));
        let received_ms = sum(&|owner| segment.received(owner));
        let refused_ms = sum(&|owner| segment.refused(owner));
        Self { contents, heard_ms, received_ms, refused_ms }
    }

    /// The words that were heard. `cut`: the end of the audio never came, and the text may be ahead of it.
    fn words(&self, words: &Words, cut: bool) -> String {
        let (text, whole_ms) = (&words.text, self.received_ms + self.refused_ms);
        let interrupted = cut || self.heard_ms < whole_ms;
        let known = || words.corrected.clone().or_else(|| words.until(Duration::from_millis(self.heard_ms)));
        if let Some(said) = interrupted.then(known).flatten() {
            return said;
        }
        let expected = if cut { text.chars().count() as f64 / CHARS_A_SECOND * 1_000.0 } else { 0.0 };
        heard_words(text, self.heard_ms as f64, expected.max(whole_ms as f64))
    }
}

/// Notes what was heard of a turn of speech that is over. What an earlier session said is sent to this one.
pub(super) fn turn_heard(segment: &PlayedSegment, words: Vec<Words>, history: &mut History, out: &mut Outputs) {
    let owners = segment.owners();
    for words in words {
        let heard = Heard::of(&words.item_id, &owners, segment);
        let all = heard.received_ms == 0 && heard.refused_ms == 0 && !words.cut;
        let text = if all { words.text.clone() } else { heard.words(&words, words.cut) };
        note(&words, &text, history, out);
    }
}

/// What was heard of a message goes into the history and to the operator, and to the next session where its own is gone.
fn note(words: &Words, heard: &str, history: &mut History, out: &mut Outputs) {
    tell(&words.item_id, &words.text, heard, history, out);
    if words.lost && !heard.is_empty() {
        out.command(Command::Message { speaker: Speaker::Agent, text: heard.to_owned(), after: None, respond: false });
    }
}

/// The same without a next session.
fn tell(item_id: &str, text: &str, heard: &str, history: &mut History, out: &mut Outputs) {
    let previous_item_id = history.before(item_id).map(str::to_owned);
    history.agent_words(item_id, heard);
    if !text.is_empty() {
        let (item_id, text) = (item_id.to_owned(), text.to_owned());
        let (speaker, heard_text) = (Speaker::Agent, Some(heard.to_owned()));
        out.event(Event::Transcript { speaker, item_id, previous_item_id, text, whole: true, heard_text });
    }
}

/// Of the messages of a response that is complete, those whose end had no room are truncated to what will be heard.
pub(super) fn correct_refused(segment: &PlayedSegment, items: &[String], out: &mut Outputs) {
    for owner in segment.owners() {
        let Owner::Item { item_id, content_index } = &owner else { continue };
        if !items.contains(item_id) || segment.refused(&owner).is_zero() {
            continue;
        }
        let (item_id, content_index) = (item_id.clone(), *content_index);
        out.command(match segment.received(&owner).as_millis() as u64 {
            0 => Command::Delete { item_id },
            audio_end_ms => Command::Truncate { item_id, content_index, audio_end_ms },
        });
    }
}

/// The service says late what counts as said of a message that was interrupted: so it stands in the history, and the operator learns of it.
pub(super) fn corrected(item_id: &str, text: &str, said: &str, history: &mut History, out: &mut Outputs) {
    if history.agent_text(item_id).is_some_and(|heard| !heard.is_empty() && heard != said) {
        tell(item_id, text, said, history, out);
    }
}

/// Truncates or deletes the messages that were not heard to their end. What was heard of each.
pub(super) fn correct_audio(
    interruption: &PendingInterruption,
    segment: &PlayedSegment,
    history: &mut History,
    out: &mut Outputs,
) -> Vec<(String, String)> {
    let owners = segment.owners();
    let mut texts = Vec::new();
    let mut interrupted: Option<(String, u64, u64)> = None;
    for words in &interruption.words {
        let part = Heard::of(&words.item_id, &owners, segment);
        let (heard, received) = (part.heard_ms, part.received_ms);
        let cancelled = words.cut || interruption.is_cancelled(&words.item_id);
        let text = part.words(words, cancelled);
        note(words, &text, history, out);
        texts.push((words.item_id.clone(), text));
        if heard >= received && !cancelled {
            continue;
        }
        if interrupted.is_none() {
            interrupted = Some((words.item_id.clone(), heard, received));
        }
        if interruption.stale || words.lost {
            continue;
        }
        let heard_ms = |owner| segment.heard(owner).as_millis() as u64;
        let received_ms = |owner| segment.received(owner).as_millis() as u64;
        let item_id = words.item_id.clone();
        if heard == 0 {
            out.command(Command::Delete { item_id });
        } else {
            // The content at which it was cut; those before were heard whole, one is the rule.
            let contents = &part.contents;
            let at = contents.iter().find(|(owner, _)| heard_ms(owner) < received_ms(owner)).or(contents.last());
            if let Some((owner, content_index)) = at {
                let audio_end_ms = heard_ms(owner).min(received_ms(owner));
                out.command(Command::Truncate { item_id, content_index: *content_index, audio_end_ms });
            }
        }
    }
    let (item_id, heard_ms, received_ms) = match interrupted {
        Some((item_id, heard, received)) => (Some(item_id), heard, received),
        None => {
            // Recordings and sentences of the agent's own are of no message.
            let own = || owners.iter().filter(|owner| matches!(owner, Owner::Sentence(_)));
            let ms = |of: &dyn Fn(&Owner) -> Duration| own().map(|owner| of(owner).as_millis() as u64).sum();
            (None, ms(&|owner| segment.heard(owner)), ms(&|owner| segment.received(owner)))
        }
    };
    out.event(Event::BargeIn { cause: interruption.cause, item_id, heard_ms, received_ms });
    texts
}

/// Notes what was spoken of a turn of text and, for the messages marked so, has the engine replace its message by that. The
/// engine does not know yet what the agent said of its own accord. What was heard of each message.
pub(super) fn correct_text(
    segment: &PlayedSegment,
    spoken: &[Spoken],
    items: Vec<(bool, Words)>,
    rules: &SentenceRules,
    history: &mut History,
    out: &mut Outputs,
) -> Vec<(String, String)> {
    let mut texts = Vec::new();
    for (resync, words) in items {
        let of_item = spoken.iter().filter(|spoken| spoken.sentence.item_id.as_ref() == Some(&words.item_id));
        let text = joined(of_item.map(|spoken| spoken_words(spoken, segment)));
        // What the voice said differs from what the model wrote by marks and emoji: the model's words count.
        let whole = same_words(&text, &rules.voiced(&words.text));
        let heard = if whole { words.text.clone() } else { text.clone() };
        tell(&words.item_id, &words.text, &heard, history, out);
        texts.push((words.item_id.clone(), heard));
        if !resync || whole {
            continue;
        }
        if !text.is_empty() {
            let after = Some(words.item_id.clone());
            out.command(Command::Message { speaker: Speaker::Agent, text, after, respond: false });
        }
        out.command(Command::Delete { item_id: words.item_id });
    }
    own_words(segment, spoken, history, out);
    texts
}

/// Notes what was heard of the sentences that are of no message of the model, and tells the engine.
pub(super) fn own_words(segment: &PlayedSegment, spoken: &[Spoken], history: &mut History, out: &mut Outputs) {
    let own = || spoken.iter().filter(|spoken| spoken.sentence.item_id.is_none());
    let heard = joined(own().map(|spoken| spoken_words(spoken, segment)));
    tell("", &joined(own().map(|spoken| spoken.sentence.text.clone())), &heard, history, out);
    if !heard.is_empty() {
        out.command(Command::Message { speaker: Speaker::Agent, text: heard, after: None, respond: false });
    }
}

/// What was heard of a sentence.
fn spoken_words(spoken: &Spoken, segment: &PlayedSegment) -> String {
    let owner = Owner::Sentence(spoken.sentence.id);
    let heard = segment.heard(&owner);
    let cut = !spoken.complete || spoken.failed || heard < segment.received(&owner) + segment.refused(&owner);
    if let Some(words) = spoken.words_until(heard).filter(|_| cut) {
        return words;
    }
    let heard = heard.as_secs_f64();
    let received = (segment.received(&owner) + segment.refused(&owner)).as_secs_f64();
    let text = &spoken.sentence.text;
    let whole = if spoken.complete && !spoken.failed {
        received
    } else {
        received.max(text.chars().count() as f64 / CHARS_A_SECOND)
    };
    heard_words(text, heard, whole)
}

/// Texts with spaces between, without the empty ones.
pub(super) fn joined(texts: impl Iterator<Item = String>) -> String {
    texts.filter(|text| !text.is_empty()).collect::<Vec<_>>().join(" ")
}

/// Whether two texts have the same letters and digits: no more of a text is sure to be given to a voice.
fn same_words(one: &str, other: &str) -> bool {
    one.chars().filter(|c| c.is_alphanumeric()).eq(other.chars().filter(|c| c.is_alphanumeric()))
}
