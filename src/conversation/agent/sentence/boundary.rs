//! Whether a sentence ends at a place, judged from what stands around it. Pure.

use super::abbreviations::{
    Abbreviations, Kind, Known, MONTHS, NOT_AFTER_A_TIME, ORDINAL_INTRODUCERS, STARTERS, TOP_LEVELS,
};
use super::characters::{Stop, closes, extends, is_cased, is_closing_bracket, is_digit, opens, stop};

/// Most closing quotes and brackets that belong to a sentence's end.
const MAX_CLOSERS: usize = 8;
/// Longest tag, in characters.
const MAX_TAG: usize = 200;
/// Longest number of a list's item, in digits.
const MAX_MARK: usize = 3;
/// Letters that are a word, for a sentence that follows without a space.
const ONE_LETTER_WORDS: &[char] = &['I', 'A', 'À', 'E', 'È', 'É', 'O', 'Ó', 'U', 'Y', 'Я', 'И', 'В', 'А', 'О'];

/// What is known of a place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    /// A sentence ends before this index.
    End(usize),
    /// None ends here.
    No,
    /// None ends before this index.
    NoneBefore(usize),
    /// More text is needed.
    Unknown,
}

/// What a `<` begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Tag {
    /// A tag that ends before this index.
    Ends(usize),
    No,
    /// More text is needed.
    Unknown,
}

/// The tag that begins with the `<` at `at`, `ended` saying that no more text comes.
pub(super) fn tag_at(chars: &[char], at: usize, ended: bool) -> Tag {
    let open = if ended { Tag::No } else { Tag::Unknown };
    match chars.get(at + 1) {
        None => return open,
        Some(c) if c.is_alphabetic() || *c == '/' => {}
        Some(_) => return Tag::No,
    }
    for (length, c) in chars[at + 1..].iter().enumerate() {
        match c {
            '>' => return Tag::Ends(at + length + 2),
            '<' | '\n' => return Tag::No,
            _ if length > MAX_TAG => return Tag::No,
            _ => {}
        }
    }
    open
}

/// The text behind the last sentence: no space in front, runs of white space as one character.
pub(super) struct Text<'a> {
    pub(super) chars: &'a [char],
    /// Shortest sentence, in characters.
    pub(super) min: usize,
    /// No more text comes.
    pub(super) ended: bool,
    pub(super) abbreviations: &'a Abbreviations,
}

impl Text<'_> {
    /// Whether a sentence ends with the character at `at` and what closes behind it.
    pub(super) fn verdict(&self, at: usize) -> Verdict {
        let c = self.chars[at];
        if c.is_ascii_alphanumeric() || c == ' ' {
            return Verdict::No;
        }
        if c == '\n' {
            return self.end(at);
        }
        if c == '<' {
            return match tag_at(self.chars, at, self.ended) {
                Tag::Ends(end) => Verdict::NoneBefore(end),
                Tag::No => Verdict::No,
                Tag::Unknown => Verdict::Unknown,
            };
        }
        let Some(kind) = stop(c) else { return Verdict::No };
        let Some(next) = self.get(at + 1) else { return self.unknown() };
        // The last of several decides: `?!`, `...`. Between digits it is a decimal point.
        let decimal = kind != Stop::Spaced && at > 0 && is_digit(self.chars[at - 1]) && is_digit(next);
        if stop(next).is_some() || decimal {
            return Verdict::No;
        }
        let Some(end) = self.closed(at + 1, kind) else { return self.unknown() };
        let Some(next) = self.get(end) else { return self.unknown() };
        match next {
            '\n' => self.end(end),
            _ if kind == Stop::Always => self.end(end),
            // A tag that opens belongs to what follows.
            '<' => self.and(self.full_stop(kind, at, end), end),
            next if next.is_whitespace() => self.and(self.spaced(kind, at, end + 1), end),
            next => self.and(self.glued(at, end, next), end),
        }
    }

    fn get(&self, at: usize) -> Option<char> {
        self.chars.get(at).copied()
    }

    fn unknown(&self) -> Verdict {
        if self.ended { Verdict::No } else { Verdict::Unknown }
    }

    /// An end, where the sentence is long enough and has something to say.
    fn end(&self, end: usize) -> Verdict {
        let says = || self.chars[..end].iter().any(|c| c.is_alphanumeric());
        if end >= self.min && says() { Verdict::End(end) } else { Verdict::No }
    }

    fn and(&self, known: Known, end: usize) -> Verdict {
        match known {
            Known::Yes => self.end(end),
            Known::No => Verdict::No,
            Known::NotYet => self.unknown(),
        }
    }

    /// Behind the quotes, brackets and closing tags at `at`; `None`: more text is needed.
    fn closed(&self, mut at: usize, kind: Stop) -> Option<usize> {
        for _ in 0..MAX_CLOSERS {
            match self.get(at) {
                None => return self.ended.then_some(at),
                Some('<') if self.get(at + 1).is_none() && !self.ended => return None,
                Some('<') if self.get(at + 1) == Some('/') => match tag_at(self.chars, at, self.ended) {
                    Tag::Ends(end) => at = end,
                    Tag::No => break,
                    Tag::Unknown => return None,
                },
                Some(c) if closes(c, kind) => at += 1,
                Some(_) => break,
            }
        }
        Some(at)
    }

    /// Whether the stop at `at` ends a sentence when a space and the character at `from` follow.
    fn spaced(&self, kind: Stop, at: usize, from: usize) -> Known {
        match self.get(from) {
            None => Known::NotYet,
            // What goes on in lower case, and a stop or bracket behind a space, belong to the same sentence.
            Some(next) if next.is_lowercase() || extends(next) || stop(next).is_some() || is_closing_bracket(next) => {
                Known::No
            }
            Some(_) => self.full_stop(kind, at, from),
        }
    }

    /// Whether the full stop at `at` ends a sentence when something that may begin one follows at `from`.
    fn full_stop(&self, kind: Stop, at: usize, from: usize) -> Known {
        // Behind an ellipsis it does.
        if kind != Stop::Full || at > 0 && self.chars[at - 1] == '.' {
            return Known::Yes;
        }
        let start = self.token_start(at);
        let word = self.word(start, at);
        if word.is_empty() {
            return Known::Yes;
        }
        if word.chars().all(is_digit) {
            return self.number(start, &word, from);
        }
        match self.kind(start, &word) {
            None => Known::Yes,
            Some(Kind::Never) => Known::No,
            Some(Kind::BeforeNumber) => match self.next_word(from) {
                (next, _) if next.starts_with(is_digit) => Known::No,
                (next, false) if next.is_empty() => Known::NotYet,
                _ => Known::Yes,
            },
            Some(Kind::MayEnd) => self.is_next(&STARTERS, from),
            Some(Kind::Time) => self.is_next(&NOT_AFTER_A_TIME, from).not(),
        }
    }

    /// What a word with a full stop is, in the tables or by its form; `None`: an ordinary one.
    fn kind(&self, start: usize, word: &str) -> Option<Kind> {
        let lower = word.to_lowercase();
        if let Some(kind) = self.abbreviations.kind(&lower) {
            return Some(kind);
        }
        let single = |part: &str| part.chars().count() == 1 && part.chars().all(is_cased);
        if !word.split('.').all(single) {
            return None;
        }
        match word {
            // The only letter that often ends a sentence.
            "I" => None,
            "m" if matches!(self.word_before(start).as_str(), "a" | "p") => Some(Kind::Time),
            _ if word.contains('.') => Some(Kind::MayEnd),
            _ => Some(Kind::Never),
        }
    }

    /// Whether a sentence ends behind a number with a full stop.
    fn number(&self, start: usize, digits: &str, from: usize) -> Known {
        let length = digits.chars().count();
        if length <= MAX_MARK && self.is_list_mark(start, digits) {
            return Known::No;
        }
        if length > 2 {
            return Known::Yes;
        }
        // A date or another ordinal: `am 3. Juli`, `3. 7. 2026`, `im 2. Stock`.
        let before = self.word_before(start);
        if self.is_number_before(start) {
            return Known::No;
        }
        if ORDINAL_INTRODUCERS.contains(&before) {
            return self.is_next(&STARTERS, from);
        }
        self.is_next(&MONTHS, from).not()
    }

    /// Whether a number begins a list's item: it stands first, behind a colon, or the one before it stands in the sentence.
    fn is_list_mark(&self, start: usize, digits: &str) -> bool {
        let before = self.chars[..start].iter().rev().find(|c| !matches!(c, ' '));
        if before.is_none_or(|c| matches!(c, '\n' | ':')) {
            return true;
        }
        let Ok(number) = digits.parse::<u32>() else { return false };
        let previous = format!("{}.", number.saturating_sub(1));
        self.chars[..start].split(|c| c.is_whitespace()).any(|token| token.iter().copied().eq(previous.chars()))
    }

    /// Whether the token before `start` is a number with a full stop.
    fn is_number_before(&self, start: usize) -> bool {
        let Some(end) = start.checked_sub(1) else { return false };
        let token = &self.chars[self.token_start(end)..end];
        matches!(token, [digits @ .., '.'] if !digits.is_empty() && digits.iter().all(|c| is_digit(*c)))
    }

    /// Whether a sentence ends at `end` though the next one begins there without a space: `that.Your`.
    fn glued(&self, at: usize, end: usize, next: char) -> Known {
        if !next.is_alphabetic() || next.is_lowercase() || extends(next) {
            return Known::No;
        }
        let token = self.word(self.token_start(at), at);
        let token = token.trim_end_matches('.');
        let plain = |c: char| c.is_alphabetic() || extends(c) || matches!(c, '\'' | '’' | '-');
        let ends_plainly = token.chars().next_back().is_some_and(|c| !c.is_uppercase());
        // Hosts, versions, file names, initials.
        if token.chars().nth(1).is_none() || !token.chars().all(plain) || !ends_plainly {
            return Known::No;
        }
        if self.abbreviations.kind(&token.to_lowercase()).is_some() {
            return Known::No;
        }
        if !is_cased(next) {
            return Known::Yes;
        }
        match self.get(end + 1) {
            None => Known::NotYet,
            Some(second) if second.is_lowercase() => self.is_next(&TOP_LEVELS, end).not(),
            Some(' ' | '\n' | '\'' | '’') if ONE_LETTER_WORDS.contains(&next) => Known::Yes,
            Some(_) => Known::No,
        }
    }

    /// Where the token that ends before `end` begins.
    fn token_start(&self, end: usize) -> usize {
        self.chars[..end].iter().rposition(|c| c.is_whitespace() || *c == '>').map_or(0, |at| at + 1)
    }

    /// The token without what opens it.
    fn word(&self, start: usize, end: usize) -> String {
        self.chars[start..end].iter().skip_while(|c| !c.is_alphanumeric()).collect()
    }

    /// The word before the one that begins at `start`, in lower case and without punctuation.
    fn word_before(&self, start: usize) -> String {
        let Some(end) = start.checked_sub(1) else { return String::new() };
        let letters = self.chars[self.token_start(end)..end].iter().filter(|c| c.is_alphanumeric());
        letters.flat_map(|c| c.to_lowercase()).collect()
    }

    /// The word that begins at `from`, behind quotes and brackets, in lower case, and whether it is whole.
    fn next_word(&self, from: usize) -> (String, bool) {
        let behind = self.chars.get(from..).unwrap_or_default();
        let opening = behind.iter().take_while(|c| opens(**c)).count();
        let letters = behind[opening..].iter().take_while(|c| c.is_alphanumeric());
        let length = letters.clone().count();
        let whole = self.ended || opening + length < behind.len();
        (letters.flat_map(|c| c.to_lowercase()).collect(), whole)
    }

    fn is_next(&self, words: &super::abbreviations::Words, from: usize) -> Known {
        let (word, whole) = self.next_word(from);
        words.knows(&word, whole)
    }
}
