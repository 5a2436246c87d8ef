//! Takes out of a text what a voice would name: the marks of Markdown, and emoji.
//!
//! The text comes in pieces. A character is handed on as soon as what follows cannot change its meaning; where the pieces
//! are cut has no influence. Words are never taken out, except the addresses of links; the names of keys, `#` and `*`,
//! stay where they stand alone or with digits. What is code, and what is in a tag, stays as it is. At most a link's address
//! of 2,048 characters is held back.
//!
//! Pure; runs on the stream's worker.

use super::boundary::{Tag, tag_at};
use super::characters::{extends, is_closing_bracket, is_digit, is_pictograph, is_wide};

/// Longest text of a link, in characters.
const MAX_LINK: usize = 200;
/// Longest address of a link, in characters.
const MAX_ADDRESS: usize = 2_048;

/// The cleaner of one text.
#[derive(Clone, Debug, Default)]
pub(super) struct Cleaner {
    /// What is not decided yet.
    held: Vec<char>,
    /// The last character handed on of this line.
    before: Option<char>,
    /// A space waits for what follows.
    space: bool,
    /// A pictograph was left out since the last character.
    gap: bool,
    /// An emphasis is open: `*`, `_`.
    star: bool,
    underscore: bool,
    code: Code,
    table: bool,
    skip: Skip,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Code {
    #[default]
    None,
    /// Up to a backtick or the line's end.
    Span,
    /// Up to a fence.
    Block,
}

/// What is being left out.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
enum Skip {
    #[default]
    Nothing,
    /// The rest of the line.
    Line,
    /// A link's address with its opening bracket, and how many brackets are open.
    Address(String, usize),
}

/// What a `[` begins.
enum Link {
    /// A link of which the text ends before the first index and all that is known of it before the second, and whether its
    /// address follows.
    Text(usize, usize, bool),
    /// Something to be left out, up to this index.
    Nothing(usize),
    No,
    /// More text is needed.
    Unknown,
}

/// The text as a voice is to have it.
pub(super) fn clean(text: &str) -> String {
    let mut cleaner = Cleaner::default();
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        cleaner.push(c, &mut out);
    }
    cleaner.finish(&mut out);
    out
}

impl Cleaner {
    /// Takes the next character; adds what is decided to `out`.
    pub(super) fn push(&mut self, c: char, out: &mut String) {
        // Most characters are letters and digits, of which only the blocks of symbols have pictographs.
        let symbol = matches!(c, '\u{2190}'..='\u{2FFF}' | '\u{1F000}'..);
        let plain = c.is_ascii_alphanumeric() || !symbol && !self.gap && c.is_alphanumeric();
        if plain && self.held.is_empty() && self.before.is_some() && self.skip == Skip::Nothing {
            return self.put(c, out);
        }
        self.held.push(c);
        self.work(false, out);
    }

    /// The text is complete: adds what was held back, and is as new.
    pub(super) fn finish(&mut self, out: &mut String) {
        self.work(true, out);
        *self = Self::default();
    }

    fn work(&mut self, ended: bool, out: &mut String) {
        while !self.held.is_empty() {
            match self.step(ended, out) {
                0 => return,
                done => drop(self.held.drain(..done.min(self.held.len()))),
            }
        }
    }

    /// Handles what stands first; returns how many characters that were, 0 where more text is needed.
    fn step(&mut self, ended: bool, out: &mut String) -> usize {
        let c = self.held[0];
        if self.skip != Skip::Nothing {
            self.left_out(c, out);
            // The end of a line counts also where the line was left out.
            if self.skip != Skip::Nothing || !is_line_end(c) {
                return 1;
            }
        }
        if is_line_end(c) {
            out.push('\n');
            (self.before, self.space, self.gap, self.star, self.underscore, self.table) =
                (None, false, false, false, false, false);
            if self.code == Code::Span {
                self.code = Code::None;
            }
            return 1;
        }
        if c.is_whitespace() {
            self.space = self.before.is_some();
            return 1;
        }
        if self.before.is_none()
            && let Some(done) = self.line_start(c, ended)
        {
            return done;
        }
        if c == '`' {
            return self.backticks(ended, out);
        }
        if self.code != Code::None {
            return self.keep(1, out);
        }
        if self.left_out_of_cluster(c) {
            self.gap |= is_pictograph(c);
            return 1;
        }
        match c {
            '*' | '_' | '~' => self.emphasis(c, ended, out),
            '[' => self.link(0, ended, out),
            '!' => match self.held.get(1) {
                None if !ended => 0,
                Some('[') => self.link(1, ended, out),
                _ => self.keep(1, out),
            },
            '<' => self.tag(ended, out),
            '\\' => match self.held.get(1).copied() {
                None if !ended => 0,
                Some(next) if next.is_ascii_punctuation() => {
                    self.put(next, out);
                    2
                }
                Some(next) if is_line_end(next) => 1,
                _ => self.keep(1, out),
            },
            '|' if self.table => self.cell(ended, out),
            _ => self.keep(1, out),
        }
    }

    /// Passes the first part on unchanged.
    fn keep(&mut self, count: usize, out: &mut String) -> usize {
        for at in 0..count {
            self.put(self.held[at], out);
        }
        count
    }

    fn put(&mut self, c: char, out: &mut String) {
        // Where a pictograph stood there is a space, unless punctuation follows.
        let joins = self.gap && (is_closing_bracket(c) || matches!(c, '.' | ',' | '!' | '?' | ';' | ':' | '…'));
        let parts = self.space || self.gap && self.before.is_some() && c.is_alphanumeric();
        if parts && !joins {
            out.push(' ');
        }
        out.push(c);
        (self.space, self.gap, self.before) = (false, false, Some(c));
    }

    /// Pictographs, what modifies them, and the frame of a key (`1️⃣` is 1).
    fn left_out_of_cluster(&self, c: char) -> bool {
        let frame = matches!(c, '\u{FE0E}' | '\u{FE0F}' | '\u{20E3}');
        frame || is_pictograph(c) || self.gap && extends(c)
    }

    /// What stands before the next character: nothing at a line's start or behind a space.
    fn previous(&self) -> Option<char> {
        self.before.filter(|_| !self.space)
    }

    /// The marks of headings, lists, quotations, rules, tables and code at a line's start; `None`: it is none of them.
    fn line_start(&mut self, c: char, ended: bool) -> Option<usize> {
        if self.code == Code::Block && c != '`' {
            return None;
        }
        let run = self.held.iter().take_while(|next| **next == c).count();
        let text = self.held[run..].iter().position(|next| !next.is_whitespace() || is_line_end(*next));
        let next = text.map(|at| self.held[run + at]);
        let spaced = self.held.get(run).is_some_and(|next| next.is_whitespace());
        let more = next.is_none() && !ended;
        match c {
            '#' if more => Some(0),
            // `# to finish` names the key: headings begin with a capital letter.
            '#' if spaced && run <= 6 && !(run == 1 && next.is_none_or(|c| c.is_lowercase() || is_line_end(c))) => {
                Some(run + text.unwrap_or(0))
            }
            '`' if run >= 3 || !ended && run == self.held.len() => {
                if run == self.held.len() && !ended {
                    return Some(0);
                }
                self.code = if self.code == Code::Block { Code::None } else { Code::Block };
                self.skip = Skip::Line;
                Some(run)
            }
            '-' | '*' | '_' | '=' if more => Some(0),
            // A rule.
            '-' | '*' | '_' | '=' if run >= 3 && next.is_none_or(is_line_end) => Some(run + text.unwrap_or(0)),
            '+' | '•' | '‣' | '◦' | '▪' | '>' if more => Some(0),
            '>' if spaced => Some(run),
            '-' | '*' | '+' | '•' | '‣' | '◦' | '▪' if run == 1 && spaced && next.is_some_and(begins_item) => {
                Some(run + text.unwrap_or(0))
            }
            '|' => {
                self.table = true;
                None
            }
            _ => None,
        }
    }

    /// `*`, `**`, `_`, `__` and `~~`, where they stand at a word.
    fn emphasis(&mut self, mark: char, ended: bool, out: &mut String) -> usize {
        let run = self.held.iter().take_while(|next| **next == mark).count();
        let next = self.held.get(run).copied();
        if next.is_none() && !ended {
            return 0;
        }
        let (previous, next) = (self.previous(), next.filter(|next| !next.is_whitespace()));
        let in_word = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() && !is_wide(c));
        let inside = in_word(previous) && in_word(next);
        let numbers = previous.is_some_and(is_digit) && next.is_some_and(is_digit);
        let left_out = match mark {
            _ if previous.is_none() && next.is_none() || numbers => false,
            '_' if inside => false,
            '~' => run == 2,
            _ if run > 1 => true,
            _ => {
                let open = if mark == '*' { &mut self.star } else { &mut self.underscore };
                let closes = *open && previous.is_some();
                let quoted = |c: char| matches!(c, '"' | '“' | '„' | '«' | '‘' | '¿' | '¡' | '[' | '`' | '_' | '*');
                let begins =
                    |c: char| c.is_alphabetic() || mark == '_' && is_digit(c) || quoted(c) && previous.is_none();
                let opens = !in_word(previous) && next.is_some_and(begins);
                *open = !closes && (*open || opens);
                closes || opens
            }
        };
        if left_out { run } else { self.keep(run, out) }
    }

    /// The marks of code; a backtick within a word is a poor apostrophe.
    fn backticks(&mut self, ended: bool, out: &mut String) -> usize {
        let run = self.held.iter().take_while(|next| **next == '`').count();
        let next = self.held.get(run);
        if next.is_none() && !ended {
            return 0;
        }
        let inside = self.previous().is_some_and(char::is_alphanumeric) && next.is_some_and(|c| c.is_alphanumeric());
        match self.code {
            Code::Block => return self.keep(run, out),
            Code::None if inside => return self.keep(run, out),
            Code::None => self.code = Code::Span,
            Code::Span => self.code = Code::None,
        }
        run
    }

    /// A link or an image, of which the text stays.
    fn link(&mut self, at: usize, ended: bool, out: &mut String) -> usize {
        match self.link_at(at, ended) {
            Link::Unknown => 0,
            Link::No => self.keep(at + 1, out),
            Link::Nothing(end) => end,
            Link::Text(text_end, end, address) => {
                // The text has marks of its own.
                let mut inner = Self { before: self.before, space: self.space, gap: self.gap, ..Self::default() };
                for c in &self.held[at + 1..text_end] {
                    inner.push(*c, out);
                }
                inner.work(true, out);
                (self.before, self.space, self.gap) = (inner.before, inner.space, inner.gap);
                self.skip = if address { Skip::Address("(".into(), 1) } else { Skip::Nothing };
                end
            }
        }
    }

    fn link_at(&self, at: usize, ended: bool) -> Link {
        let bracket = |from: usize, most: usize| {
            let mut open = 0;
            for (length, c) in self.held[from..].iter().enumerate() {
                match c {
                    '[' => open += 1,
                    ']' if open == 1 => return Ok(from + length),
                    ']' => open -= 1,
                    _ if is_line_end(*c) || length > most => return Err(Link::No),
                    _ => {}
                }
            }
            Err(if ended { Link::No } else { Link::Unknown })
        };
        let end = match bracket(at, MAX_LINK) {
            Ok(end) => end,
            Err(none) => return none,
        };
        let text = &self.held[at + 1..end];
        // A footnote's mark; the box of a task.
        if text.first() == Some(&'^') || self.before.is_none() && matches!(text, [' ' | 'x' | 'X']) {
            return Link::Nothing(end + 1);
        }
        match self.held.get(end + 1) {
            None if !ended => Link::Unknown,
            Some('(') => Link::Text(end, end + 2, true),
            Some('[') => match bracket(end + 1, MAX_LINK / 4) {
                Ok(reference) => Link::Text(end, reference + 1, false),
                Err(none) => none,
            },
            _ => Link::No,
        }
    }

    /// A character of what is left out. An address that the line's end breaks off was none.
    fn left_out(&mut self, c: char, out: &mut String) {
        match std::mem::take(&mut self.skip) {
            Skip::Address(mut address, open) => {
                address.push(c);
                let open = match c {
                    '(' => open + 1,
                    ')' => open - 1,
                    _ => open,
                };
                if is_line_end(c) || address.len() > MAX_ADDRESS {
                    address.trim_end().chars().for_each(|c| self.put(c, out));
                } else if open > 0 {
                    self.skip = Skip::Address(address, open);
                }
            }
            Skip::Line if !is_line_end(c) => self.skip = Skip::Line,
            _ => {}
        }
    }

    /// A tag, which is the voice's, or an address in angle brackets.
    fn tag(&mut self, ended: bool, out: &mut String) -> usize {
        match tag_at(&self.held, 0, ended) {
            Tag::Unknown => 0,
            Tag::No => self.keep(1, out),
            Tag::Ends(end) => {
                let inner: String = self.held[1..end - 1].iter().collect();
                if ["http://", "https://", "mailto:"].iter().any(|scheme| inner.starts_with(scheme)) {
                    inner.chars().for_each(|c| self.put(c, out));
                    return end;
                }
                self.keep(end, out)
            }
        }
    }

    /// The border of a table's cell: a comma between two of them. A row of nothing but borders is left out.
    fn cell(&mut self, ended: bool, out: &mut String) -> usize {
        let border = |c: &char| matches!(c, '|' | ':' | '-') || c.is_whitespace() && !is_line_end(*c);
        let Some(text) = self.held.iter().position(|c| !border(c)) else {
            return if ended { self.held.len() } else { 0 };
        };
        if is_line_end(self.held[text]) {
            return text;
        }
        if self.before.is_some_and(|c| c.is_alphanumeric()) {
            self.space = false;
            self.put(',', out);
            self.space = true;
        }
        let last = self.held[..text].iter().rposition(|c| *c == '|').unwrap_or(0);
        self.held[last + 1..text].iter().take_while(|c| c.is_whitespace()).count() + last + 1
    }
}

fn is_line_end(c: char) -> bool {
    matches!(c, '\n' | '\r' | '\u{2028}' | '\u{2029}')
}

/// Whether an item of a list can begin with it. `* = back` names a key.
fn begins_item(c: char) -> bool {
    c.is_alphanumeric()
        || matches!(c, '*' | '_' | '`' | '[' | '"' | '“' | '„' | '(' | '<' | '¿' | '¡' | '~' | '$' | '€' | '£')
        || is_pictograph(c)
}
