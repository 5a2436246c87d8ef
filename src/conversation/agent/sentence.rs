//! Cuts a text that arrives in pieces into sentences to be spoken.
//!
//! A sentence ends at `. ! ? …` and their like before a space and what may begin a sentence, at CJK full stops whatever
//! follows, and at a line's end. It does not end in decimals, abbreviations, initials, numbers of a list, ellipses that go
//! on, nor before its 10th character; after 250 it is cut at a comma, a space or, at worst, anywhere. Nothing but white
//! space is lost, and where the pieces are cut has no influence: a decision is made once the few characters it depends on
//! are there, never earlier. So the last sentence waits for [`SentenceSplitter::flush`].
//!
//! Pure; runs on the stream's worker. Holds at most one sentence; the cost is linear in the text.

/// The bounds of a sentence, in characters.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SentenceBounds {
    /// Shorter ones are joined with what follows.
    pub min: usize,
    /// Longer ones are cut.
    pub max: usize,
}

impl Default for SentenceBounds {
    /// 10 to 250: short enough to start soon, long enough to sound like speech.
    fn default() -> Self {
        Self { min: 10, max: 250 }
    }
}

/// Characters behind a sentence that may have to be seen: three closing quotes, a space, the next one, and slack.
const LOOK_AHEAD: usize = 8;
/// Most closing quotes or brackets that belong to a sentence's end.
const MAX_CLOSERS: usize = 3;

/// Words before a full stop that never end a sentence.
const ABBREVIATIONS: &[&str] = &[
    "mr", "mrs", "ms", "dr", "prof", "st", "rev", "hon", "gen", "col", "lt", "sgt", "capt", "gov", "sen", "rep", "mt",
    "ft", "vs", "eg", "ie", "fig", "figs", "vol", "approx", "dept", "cf", "bzw", "ca", "nr", "ggf", "inkl", "hr", "fr",
    "dipl", "sr", "sra", "srta", "mme", "mlle", "av", "bd", "art", "pp", "tel", "ext",
];
/// Words before a full stop that do not end a sentence when a number follows.
const BEFORE_NUMBERS: &[&str] =
    &["no", "jan", "feb", "mar", "apr", "jun", "jul", "aug", "sep", "sept", "oct", "nov", "dec", "p", "ch", "sec"];

/// The splitter of one text.
#[derive(Clone, Debug, Default)]
pub struct SentenceSplitter {
    bounds: SentenceBounds,
    /// What is not yet a sentence: no space in front, runs of white space as one character.
    buffer: Vec<char>,
    /// Up to here no end was found, and none will be.
    seen: usize,
}

enum Verdict {
    /// A sentence ends before this index.
    End(usize),
    No,
    /// More text is needed.
    Unknown,
}

impl SentenceSplitter {
    /// With bounds; `max` is at least `min` and 16.
    pub fn new(bounds: SentenceBounds) -> Self {
        let bounds = SentenceBounds { min: bounds.min, max: bounds.max.max(bounds.min).max(16) };
        Self { bounds, buffer: Vec::new(), seen: 0 }
    }

    /// Takes the next piece; hands each sentence it completes to `sentence`.
    pub fn push(&mut self, text: &str, mut sentence: impl FnMut(String)) {
        for c in text.chars() {
            self.append(c);
            // One at a time, so that the size of the pieces cannot matter.
            while let Some(end) = self.cut() {
                let text = self.take(end);
                if !text.is_empty() {
                    sentence(text);
                }
            }
        }
    }

    /// The rest, when the text is complete.
    pub fn flush(&mut self) -> Option<String> {
        let rest = self.take(self.buffer.len());
        self.clear();
        (!rest.is_empty()).then_some(rest)
    }

    /// Forgets what waits.
    pub fn clear(&mut self) {
        self.buffer = Vec::new();
        self.seen = 0;
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    fn append(&mut self, c: char) {
        if !c.is_whitespace() {
            return self.buffer.push(c);
        }
        let line_end = matches!(c, '\n' | '\r' | '\u{2028}' | '\u{2029}');
        match self.buffer.last_mut() {
            None => {}
            Some(last) if last.is_whitespace() && line_end => {
                *last = '\n';
                self.seen = self.seen.min(self.buffer.len() - 1);
            }
            Some(last) if last.is_whitespace() => {}
            Some(_) => self.buffer.push(if line_end { '\n' } else { ' ' }),
        }
    }

    fn take(&mut self, end: usize) -> String {
        let sentence: String = self.buffer.drain(..end).collect();
        while self.buffer.first().is_some_and(|c| c.is_whitespace()) {
            self.buffer.remove(0);
        }
        self.seen = 0;
        sentence.trim_end().to_owned()
    }

    /// Where the first sentence ends, if that is certain.
    fn cut(&mut self) -> Option<usize> {
        while self.seen < self.buffer.len().min(self.bounds.max) {
            match self.verdict(self.seen) {
                Verdict::End(end) if end <= self.bounds.max => return Some(end),
                Verdict::End(_) | Verdict::No => self.seen += 1,
                Verdict::Unknown => return None,
            }
        }
        (self.buffer.len() >= self.bounds.max + LOOK_AHEAD).then(|| self.forced_end())
    }

    /// Whether a sentence ends with the character at `at` and what closes behind it.
    fn verdict(&self, at: usize) -> Verdict {
        let Some(&c) = self.buffer.get(at) else { return Verdict::Unknown };
        if c == '\n' {
            return if at >= self.bounds.min { Verdict::End(at) } else { Verdict::No };
        }
        if !is_wide_stop(c) && !is_stop(c) {
            return Verdict::No;
        }
        let mut end = at + 1;
        match self.buffer.get(end) {
            None => return Verdict::Unknown,
            // The last of several decides: `?!`, `...`.
            Some(&next) if is_stop(next) || is_wide_stop(next) => return Verdict::No,
            Some(_) => {}
        }
        while end <= at + MAX_CLOSERS {
            match self.buffer.get(end) {
                None => return Verdict::Unknown,
                Some(&next) if is_closer(next) => end += 1,
                Some(_) => break,
            }
        }
        if end < self.bounds.min {
            return Verdict::No;
        }
        if is_wide_stop(c) {
            return Verdict::End(end);
        }
        let Some(space) = self.buffer.get(end) else { return Verdict::Unknown };
        if !space.is_whitespace() {
            return Verdict::No;
        }
        let Some(&next) = self.buffer.get(end + 1) else { return Verdict::Unknown };
        if next.is_lowercase() || (c == '.' && !self.stops(at, next)) { Verdict::No } else { Verdict::End(end) }
    }

    /// Whether the full stop at `at` can end a sentence, `next` being what follows the space.
    fn stops(&self, at: usize, next: char) -> bool {
        if at > 0 && self.buffer[at - 1] == '.' {
            // An ellipsis; what follows begins a sentence.
            return true;
        }
        let start = self.buffer[..at].iter().rposition(|c| c.is_whitespace()).map_or(0, |space| space + 1);
        let word: String = self.buffer[start..at].iter().skip_while(|c| !c.is_alphanumeric()).collect();
        if word.is_empty() {
            return true;
        }
        let mut parts = word.split('.');
        let initials = parts.all(|part| part.chars().count() == 1 && part.chars().all(char::is_alphabetic));
        let lower = word.to_lowercase();
        if initials {
            // J. Smith, U.S. Army, z. B.; but a.m. and p.m. do end sentences.
            return matches!(lower.as_str(), "a.m" | "p.m");
        }
        if word.chars().all(|c| c.is_ascii_digit()) {
            // The number of a list's item stands alone.
            return start > 0 && self.buffer[start - 1] != '\n';
        }
        let before_number = next.is_ascii_digit() && BEFORE_NUMBERS.contains(&lower.as_str());
        !before_number && !ABBREVIATIONS.contains(&lower.as_str())
    }

    /// Where a text without an end in sight is cut: behind a comma, at a space, or at the bound.
    fn forced_end(&self) -> usize {
        let max = self.bounds.max;
        let clause = (self.bounds.min..max).rev().find(|&at| {
            let c = self.buffer[at];
            let wide = matches!(c, '、' | '，' | '；' | '：');
            wide || (matches!(c, ',' | ';' | ':' | '–' | '—') && self.buffer[at + 1].is_whitespace())
        });
        // A comma near the beginning would leave a scrap.
        clause.filter(|&at| at >= max / 3).map(|at| at + 1).unwrap_or_else(|| {
            (self.bounds.min.max(1)..=max).rev().find(|&at| self.buffer[at].is_whitespace()).unwrap_or(max)
        })
    }
}

fn is_stop(c: char) -> bool {
    matches!(c, '.' | '!' | '?' | '…' | '؟' | '۔' | '।' | '॥')
}

fn is_wide_stop(c: char) -> bool {
    matches!(c, '。' | '！' | '？' | '｡' | '．')
}

fn is_closer(c: char) -> bool {
    matches!(c, '"' | '\'' | ')' | ']' | '}' | '”' | '’' | '»' | '」' | '』' | '）' | '】' | '》' | '〉' | '*' | '_')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn split_pieces<'a>(bounds: SentenceBounds, pieces: impl IntoIterator<Item = &'a str>) -> Vec<String> {
        let mut splitter = SentenceSplitter::new(bounds);
        let mut sentences = Vec::new();
        for piece in pieces {
            splitter.push(piece, |sentence| sentences.push(sentence));
        }
        sentences.extend(splitter.flush());
        assert!(splitter.is_empty());
        sentences
    }

    fn split(text: &str) -> Vec<String> {
        split_pieces(SentenceBounds::default(), [text])
    }

    #[test]
    fn sentences_are_cut_at_their_ends() {
        assert_eq!(
            split("Good morning, caller! How can I help you today? I am listening. "),
            ["Good morning, caller!", "How can I help you today?", "I am listening."]
        );
        assert_eq!(split("He said \"come here.\" Then he left."), ["He said \"come here.\"", "Then he left."]);
        assert_eq!(split("First line of it\nsecond line of it"), ["First line of it", "second line of it"]);
        assert_eq!(split("Is that so?! Indeed it is."), ["Is that so?!", "Indeed it is."]);
    }

    #[test]
    fn what_only_looks_like_an_end_is_none() {
        for text in [
            "The value is 3.14 and not 2.72 at all.",
            "Please ask Dr. Miller or Mrs. Jones about it.",
            "It was J. R. Smith who wrote that.",
            "Take fruit, e.g. apples, or nuts etc. if you like.",
            "The U.S. Army came by.",
            "See No. 5 on page 7 of the book.",
            "Come on Jan. 5 at noon.",
            "Well... perhaps not today.",
            "Well… perhaps not today.",
            "Go to example.com or write to a.b@c.org now.",
            "Das ist z. B. ein Satz.",
            "1. Open the door of the room.",
        ] {
            assert_eq!(split(text), [text]);
        }
    }

    #[test]
    fn an_end_before_a_capital_is_one_also_after_numbers_and_ellipses() {
        assert_eq!(split("It happened in 2024. Nobody knew."), ["It happened in 2024.", "Nobody knew."]);
        assert_eq!(split("I am not sure... Let me look."), ["I am not sure...", "Let me look."]);
        assert_eq!(split("We open at 9 a.m. Come early."), ["We open at 9 a.m.", "Come early."]);
    }

    #[test]
    fn short_ones_are_joined() {
        assert_eq!(split("Yes. No. I see. That is fine."), ["Yes. No. I see.", "That is fine."]);
        assert_eq!(split("Hi."), ["Hi."]);
        assert_eq!(split("  \n "), Vec::<String>::new());
    }

    #[test]
    fn chinese_and_japanese_need_no_space() {
        assert_eq!(
            split("今天的天气非常好我们出去走走吧。你觉得怎么样呢我的好朋友？好的"),
            ["今天的天气非常好我们出去走走吧。", "你觉得怎么样呢我的好朋友？", "好的"]
        );
        assert_eq!(
            split("「今日はとても良い天気ですね。」そうですね、本当に。"),
            ["「今日はとても良い天気ですね。」", "そうですね、本当に。"]
        );
    }

    #[test]
    fn endless_text_is_cut_at_a_comma_a_space_or_anywhere() {
        let bounds = SentenceBounds { min: 10, max: 40 };
        let cut = |text: &str| split_pieces(bounds, [text])[0].clone();
        assert_eq!(cut("one two three four five, six seven eight nine ten eleven"), "one two three four five,");
        assert_eq!(
            cut("one two three four five six seven eight nine ten eleven"),
            "one two three four five six seven eight"
        );
        assert_eq!(cut(&"x".repeat(100)), "x".repeat(40));
    }

    #[test]
    fn the_end_is_told_as_soon_as_the_next_word_begins() {
        let mut splitter = SentenceSplitter::default();
        let mut told = 0;
        splitter.push("This is a sentence.", |_| told += 1);
        assert_eq!(told, 0, "it could go on: .5, .com");
        splitter.push(" T", |_| told += 1);
        assert_eq!(told, 1);
    }

    /// Texts with everything that is hard about them.
    fn texts() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            4 => "[a-zA-Z]{1,12}",
            2 => Just(" ".to_owned()),
            1 => prop::sample::select(vec![
                ".", ". ", "... ", "… ", "! ", "?", "?! ", ".\" ", "。", "！", "」", "\n", "\n\n", ", ", "、", "3.14", "1. ",
                "Dr. ", "e.g. ", "U.S. ", " é", "日本語", "\u{1F600}", "\u{a0}", "\r\n", "))))", "''''''' ", "........ ",
            ]).prop_map(str::to_owned),
            1 => any::<char>().prop_map(String::from),
        ];
        proptest::collection::vec(piece, 0..120).prop_map(|pieces| pieces.concat())
    }

    fn words(text: &str) -> String {
        text.chars().filter(|c| !c.is_whitespace()).collect()
    }

    proptest! {
        #[test]
        fn nothing_but_white_space_is_lost_and_the_bounds_hold(text in texts(), max in 16usize..60) {
            let bounds = SentenceBounds { min: 10, max };
            let sentences = split_pieces(bounds, [text.as_str()]);
            prop_assert_eq!(words(&sentences.concat()), words(&text));
            for (at, sentence) in sentences.iter().enumerate() {
                prop_assert!(!sentence.is_empty() && sentence.trim() == sentence);
                // The last one may be what was still looked ahead at.
                let most = if at + 1 == sentences.len() { max + LOOK_AHEAD } else { max };
                prop_assert!(sentence.chars().count() <= most, "{:?}", sentence);
            }
        }

        #[test]
        fn how_the_text_is_cut_into_pieces_has_no_influence(
            text in texts(),
            cuts in proptest::collection::vec(1usize..9, 1..40),
        ) {
            let bounds = SentenceBounds { min: 10, max: 40 };
            let chars: Vec<char> = text.chars().collect();
            let mut pieces = Vec::new();
            let mut rest = chars.as_slice();
            for cut in cuts.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (piece, tail) = rest.split_at((*cut).min(rest.len()));
                pieces.push(piece.iter().collect::<String>());
                rest = tail;
            }
            let whole = split_pieces(bounds, [text.as_str()]);
            prop_assert_eq!(split_pieces(bounds, pieces.iter().map(String::as_str)), whole);
        }
    }
}
