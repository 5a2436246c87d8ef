//! The words of the caller's turn that is not over, as a recogniser gives them: final ones, and behind them some that may change.
//!
//! Pure. Positions are bytes of the caller's audio since the conversation began. At most [`MOST_WORDS`] bytes are kept.

use super::note::MOST_WORDS;
use super::out::Out;

/// Some words, and the audio in which they were spoken.
#[derive(Debug)]
struct Segment {
    text: String,
    from: u64,
    to: u64,
}

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct OpenTurn {
    item_id: Option<String>,
    finals: Vec<Segment>,
    partial: Option<Segment>,
    /// What was said when it was last looked at, without what may differ in writing, and how far had been listened to.
    last: (String, u64),
}

/// Letters and digits: what two writings of the same words have in common.
pub(super) fn essence(text: &str) -> String {
    text.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

impl OpenTurn {
    /// The id of its item.
    pub(super) fn item_id(&mut self, out: &mut Out) -> String {
        self.item_id.get_or_insert_with(|| format!("caller_{}", out.next())).clone()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.finals.is_empty() && self.partial.is_none()
    }

    /// Words that were spoken from one position to the other. They replace those that may change.
    pub(super) fn hear(&mut self, text: &str, from: u64, to: u64, is_final: bool) {
        let text = text.trim();
        let room = MOST_WORDS.saturating_sub(self.finals.iter().map(|segment| segment.text.len() + 1).sum());
        let end = (0..=text.len().min(room)).rev().find(|end| text.is_char_boundary(*end)).unwrap_or_default();
        let segment = (end > 0).then(|| Segment { text: text[..end].to_owned(), from, to });
        if is_final {
            self.partial = None;
            self.finals.extend(segment);
        } else {
            self.partial = segment;
        }
    }

    /// What was said so far.
    pub(super) fn text(&self) -> String {
        let words: Vec<_> = self.finals.iter().chain(&self.partial).map(|segment| segment.text.as_str()).collect();
        words.join(" ")
    }

    /// The last final words, as more of the words before.
    pub(super) fn last_final(&self) -> Option<String> {
        let before = if self.finals.len() > 1 { " " } else { "" };
        self.finals.last().map(|last| format!("{before}{}", last.text))
    }

    /// Whether nothing was added since the last look, although more was listened to: up to there now.
    pub(super) fn is_stable(&mut self, listened: u64) -> bool {
        let essence = essence(&self.text());
        let same = !essence.is_empty() && self.last.0 == essence && self.last.1 < listened;
        self.last = (essence, listened);
        same
    }

    /// What ended before this position is not of the turn.
    pub(super) fn forget_before(&mut self, position: u64) {
        self.finals.retain(|segment| segment.to > position);
        self.partial.take_if(|segment| segment.to <= position);
    }

    /// What may change is not known any more: the audio of it is sent again.
    pub(super) fn forget_partial(&mut self) {
        self.partial = None;
        self.last = Default::default();
    }

    /// The turn is over there: its words, which may be none, and its item.
    pub(super) fn take(&mut self, position: u64, out: &mut Out) -> (String, String) {
        let item_id = self.item_id(out);
        let partial = self.partial.take_if(|segment| segment.from < position);
        let (mut taken, left): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.finals).into_iter().partition(|segment| segment.from < position);
        taken.extend(partial);
        (self.finals, self.item_id, self.last) = (left, None, Default::default());
        let words: Vec<_> = taken.iter().map(|segment| segment.text.as_str()).collect();
        (item_id, words.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_that_may_change_are_replaced_and_final_ones_stay() {
        let (mut turn, mut out) = (OpenTurn::default(), Out::default());
        turn.hear("where", 0, 10, false);
        turn.hear(" Where is ", 0, 20, true);
        turn.hear("my", 25, 30, false);
        turn.hear("my order?", 25, 40, false);
        assert_eq!(turn.text(), "Where is my order?");
        assert_eq!(turn.last_final().as_deref(), Some("Where is"));
        turn.hear("", 40, 50, false);
        assert_eq!(turn.text(), "Where is");
        turn.hear("my order?", 25, 40, true);
        assert_eq!(turn.last_final().as_deref(), Some(" my order?"));
        turn.hear("Hello?", 60, 70, true);
        assert_eq!(turn.take(50, &mut out), ("caller_1".into(), "Where is my order?".into()));
        assert_eq!(turn.take(90, &mut out), ("caller_2".into(), "Hello?".into()));
        assert!(turn.is_empty());
    }

    #[test]
    fn words_are_stable_when_more_audio_adds_none() {
        let mut turn = OpenTurn::default();
        assert!(!turn.is_stable(5), "silence is not stable");
        turn.hear("yes please", 0, 10, false);
        assert!(!turn.is_stable(10) && !turn.is_stable(10));
        turn.hear("Yes, please.", 0, 10, true);
        assert!(turn.is_stable(20), "the same words in another writing");
        turn.hear("now", 20, 25, false);
        assert!(!turn.is_stable(30));
    }

    #[test]
    fn what_was_said_before_the_turn_is_not_of_it() {
        let (mut turn, mut out) = (OpenTurn::default(), Out::default());
        turn.hear("mm-hm", 0, 10, true);
        turn.hear("stop", 12, 20, false);
        turn.forget_before(10);
        assert_eq!(turn.text(), "stop");
        turn.forget_partial();
        assert!(turn.is_empty());
        turn.hear(&"ä".repeat(MOST_WORDS), 0, 1, true);
        turn.hear("more", 1, 2, true);
        assert_eq!(turn.take(9, &mut out).1.len(), MOST_WORDS);
    }
}
