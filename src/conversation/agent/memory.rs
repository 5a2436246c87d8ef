//! The engine's memory is corrected to what the caller has heard.
//!
//! A message of speech is truncated to the milliseconds that were heard (never more than were received), deleted when nothing
//! was; a message of text is replaced by the words that were spoken. What was heard goes into the history as well. Pure.

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

/// Truncates or deletes the messages that were not heard to their end.
pub(super) fn correct_audio(
    interruption: &PendingInterruption,
    segment: &PlayedSegment,
    history: &mut History,
    out: &mut Outputs,
) {
    let owners = segment.owners();
    let mut interrupted: Option<(String, u64, u64)> = None;
    for words in &interruption.words {
        let contents: Vec<(&Owner, u32)> = owners
            .iter()
            .filter_map(|owner| match owner {
                Owner::Item { item_id, content_index } if *item_id == words.item_id => Some((owner, *content_index)),
                _ => None,
            })
            .collect();
        let heard_ms = |owner| segment.heard(owner).as_millis() as u64;
        let received_ms = |owner| segment.received(owner).as_millis() as u64;
        let heard: u64 = contents.iter().map(|(owner, _)| heard_ms(owner)).sum();
        let received: u64 = contents.iter().map(|(owner, _)| received_ms(owner)).sum();
        history.agent(&if received == 0 {
            String::new()
        } else {
            heard_words(&words.text, heard as f64, received as f64)
        });
        let cancelled = interruption.is_cancelled(&words.item_id);
        if heard >= received && !cancelled {
            continue;
        }
        if interrupted.is_none() {
            interrupted = Some((words.item_id.clone(), heard, received));
        }
        if interruption.stale {
            continue;
        }
        let item_id = words.item_id.clone();
        if heard == 0 {
            out.command(Command::Delete { item_id });
        } else {
            // The content at which it was cut; those before were heard whole, one is the rule.
            let at = contents.iter().find(|(owner, _)| heard_ms(owner) < received_ms(owner)).or(contents.last());
            if let Some((owner, content_index)) = at {
                let audio_end_ms = heard_ms(owner).min(received_ms(owner));
                out.command(Command::Truncate { item_id, content_index: *content_index, audio_end_ms });
            }
        }
    }
    let (item_id, heard_ms, received_ms) = match interrupted {
        Some((item_id, heard, received)) => (Some(item_id), heard, received),
        None => (None, 0, 0),
    };
    out.event(Event::BargeIn { cause: interruption.cause, item_id, heard_ms, received_ms });
}

/// Notes what was spoken of a turn of text and, for the messages marked so, has the engine replace its message by that. The
/// engine does not know yet what the agent said of its own accord.
pub(super) fn correct_text(
    segment: &PlayedSegment,
    spoken: &[Spoken],
    items: Vec<(bool, Words)>,
    rules: &SentenceRules,
    history: &mut History,
    out: &mut Outputs,
) {
    let words_of = |item_id: Option<&str>| {
        joined(
            spoken
                .iter()
                .filter(|spoken| spoken.sentence.item_id.as_deref() == item_id)
                .map(|spoken| spoken_words(spoken, segment)),
        )
    };
    for (resync, words) in items {
        let text = words_of(Some(&words.item_id));
        // What the voice said differs from what the model wrote by marks and emoji: the model's words count.
        let whole = same_words(&text, &rules.voiced(&words.text));
        history.agent(if whole { &words.text } else { &text });
        if !resync || whole {
            continue;
        }
        if !text.is_empty() {
            let after = Some(words.item_id.clone());
            out.command(Command::Message { speaker: Speaker::Agent, text, after });
        }
        out.command(Command::Delete { item_id: words.item_id });
    }
    let own = words_of(None);
    if !own.is_empty() {
        history.agent(&own);
        out.command(Command::Message { speaker: Speaker::Agent, text: own, after: None });
    }
}

/// What was heard of a sentence.
fn spoken_words(spoken: &Spoken, segment: &PlayedSegment) -> String {
    let owner = Owner::Sentence(spoken.sentence.id);
    let (heard, received) = (segment.heard(&owner).as_secs_f64(), segment.received(&owner).as_secs_f64());
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
