//! What the caller says, as far as it has come: fragments of a transcript, which are one turn until there is a gap.
//!
//! Pure; owned by the engine. A turn that goes on is cut after [`MOST_WORDS`] bytes.

use std::time::Instant;

use super::super::engine::Event;
use super::answer::GAP;

/// Longest words of one turn.
const MOST_WORDS: usize = 16 << 10;

/// A turn of the caller that is not over.
#[derive(Debug)]
struct Turn {
    item_id: String,
    words: String,
    /// Its place in the conversation is known: the model has begun to answer it, or it is over.
    committed: bool,
    /// Where its last fragment ends, ms of the session.
    end_ms: u64,
    /// When it is over if nothing more of it comes.
    until: Instant,
}

/// The caller's words.
#[derive(Debug, Default)]
pub(super) struct Caller {
    number: u64,
    turn: Option<Turn>,
}

impl Caller {
    /// A fragment of what the caller says, from when to when if the service states it, and what follows from it. The `bool`: they speak in a
    /// turn that nobody has begun to answer.
    pub(super) fn heard(&mut self, now: Instant, text: &str, span: (Option<u64>, Option<u64>)) -> (Vec<Event>, bool) {
        let mut events = Vec::new();
        let after_a_gap = |turn: &Turn| {
            span.0.is_some_and(|start| start > turn.end_ms + GAP.as_millis() as u64) || turn.words.len() > MOST_WORDS
        };
        if self.turn.as_ref().is_some_and(after_a_gap) {
            events = self.over();
        }
        if self.turn.is_none() {
            self.number += 1;
            events.push(Event::SpeechStarted { start_ms: span.0 });
        }
        let turn = self.turn.get_or_insert_with(|| Turn {
            item_id: format!("caller_{}", self.number),
            words: String::new(),
            committed: false,
            end_ms: 0,
            until: now,
        });
        turn.words.push_str(text);
        turn.end_ms = span.1.or(span.0).unwrap_or_default().max(turn.end_ms);
        turn.until = now + GAP;
        events.push(Event::CallerTranscript { item_id: turn.item_id.clone(), text: text.to_owned(), whole: false });
        (events, !turn.committed)
    }

    /// The model begins to answer: what the caller has said stands before that, though its last words may still come.
    pub(super) fn answered(&mut self) -> Vec<Event> {
        self.turn.as_mut().map(commit).unwrap_or_default()
    }

    /// The turn in progress, if there is one, is over.
    pub(super) fn over(&mut self) -> Vec<Event> {
        let Some(mut turn) = self.turn.take() else { return Vec::new() };
        let mut events = commit(&mut turn);
        let text = turn.words.trim().to_owned();
        events.push(Event::CallerTranscript { item_id: turn.item_id, text, whole: true });
        events
    }

    /// What is over by now.
    pub(super) fn due(&mut self, now: Instant) -> Vec<Event> {
        if self.deadline().is_some_and(|at| now >= at) { self.over() } else { Vec::new() }
    }

    /// When the turn in progress is over.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.turn.as_ref().map(|turn| turn.until)
    }
}

/// The place of a turn is known.
fn commit(turn: &mut Turn) -> Vec<Event> {
    if std::mem::replace(&mut turn.committed, true) {
        return Vec::new();
    }
    vec![Event::SpeechStopped, Event::Committed { item_id: turn.item_id.clone(), previous: None }]
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn told(events: Vec<Event>) -> Vec<String> {
        let line = |event| match event {
            Event::SpeechStarted { start_ms } => format!("begins {start_ms:?}"),
            Event::SpeechStopped => "stops".to_owned(),
            Event::Committed { item_id, .. } => format!("{item_id} stands"),
            Event::CallerTranscript { item_id, text, whole } => {
                format!("{item_id} {} {text}", if whole { "=" } else { "+" })
            }
            other => format!("{other:?}"),
        };
        events.into_iter().map(line).collect()
    }

    #[test]
    fn a_turn_is_over_after_a_gap_of_the_session_or_of_the_clock() {
        let mut now = Instant::now();
        let mut caller = Caller::default();
        let (events, unanswered) = caller.heard(now, " Where", (Some(1_000), Some(1_200)));
        assert_eq!((told(events), unanswered), (vec!["begins Some(1000)".into(), "caller_1 +  Where".into()], true));
        assert_eq!(told(caller.heard(now, " is it?", (Some(1_600), Some(1_800))).0), ["caller_1 +  is it?"]);
        let events = told(caller.heard(now, " Hello?", (Some(4_000), Some(4_200))).0);
        assert_eq!(events[..3], ["stops", "caller_1 stands", "caller_1 = Where is it?"]);
        assert_eq!(events[3..], ["begins Some(4000)", "caller_2 +  Hello?"]);
        now += GAP;
        assert_eq!(told(caller.due(now - Duration::from_millis(1))), [""; 0]);
        assert_eq!(told(caller.due(now)), ["stops", "caller_2 stands", "caller_2 = Hello?"]);
        assert_eq!((caller.deadline(), caller.over().len()), (None, 0));
    }

    #[test]
    fn last_words_during_the_answer_belong_to_the_turn() {
        let now = Instant::now();
        let mut caller = Caller::default();
        caller.heard(now, "Where is", (None, None));
        assert_eq!(told(caller.answered()), ["stops", "caller_1 stands"]);
        let (events, unanswered) = caller.heard(now, " it?", (None, None));
        assert_eq!((told(events), unanswered), (vec!["caller_1 +  it?".to_owned()], false));
        assert_eq!(
            (told(caller.answered()), told(caller.over())),
            (vec![], vec!["caller_1 = Where is it?".to_owned()])
        );
    }
}
