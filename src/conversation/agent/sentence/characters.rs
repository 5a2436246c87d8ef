//! What Unicode says about a character, as far as sentences and voices need it. Pure.

use icu_properties::props::{
    EastAsianWidth, EmojiModifier, ExtendedPictographic, GeneralCategory, RegionalIndicator, SentenceBreak,
};
use icu_properties::{CodePointMapData, CodePointMapDataBorrowed, CodePointSetData};

const SENTENCE_BREAK: CodePointMapDataBorrowed<'static, SentenceBreak> = CodePointMapData::<SentenceBreak>::new();
const CATEGORY: CodePointMapDataBorrowed<'static, GeneralCategory> = CodePointMapData::<GeneralCategory>::new();
const WIDTH: CodePointMapDataBorrowed<'static, EastAsianWidth> = CodePointMapData::<EastAsianWidth>::new();

/// How a character that ends sentences does it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stop {
    /// Also stands in numbers, abbreviations and names of hosts: `.`
    Full,
    /// A space or a capital letter must follow: `! ? …`
    Spaced,
    /// Whatever follows: the stops of scripts that have no other use for them, like `。`, `।` and `።`.
    Always,
}

/// Whether and how a character ends sentences.
pub(super) fn stop(c: char) -> Option<Stop> {
    if c.is_ascii() {
        return match c {
            '.' => Some(Stop::Full),
            '!' | '?' => Some(Stop::Spaced),
            _ => None,
        };
    }
    match SENTENCE_BREAK.get(c) {
        // Unicode leaves the ellipsis open.
        _ if c == '…' => Some(Stop::Spaced),
        SentenceBreak::STerm => Some(Stop::Always),
        SentenceBreak::ATerm if is_wide(c) => Some(Stop::Always),
        SentenceBreak::ATerm => Some(Stop::Full),
        _ => None,
    }
}

/// Whether a character directly behind a stop belongs to the sentence: closing quotes and brackets, combining marks, and
/// the marks of emphasis. Behind a stop of an East Asian script an initial quote opens the next sentence; elsewhere it
/// closes („so“, »so«).
pub(super) fn closes(c: char, stop: Stop) -> bool {
    match CATEGORY.get(c) {
        GeneralCategory::ClosePunctuation | GeneralCategory::FinalPunctuation => true,
        GeneralCategory::InitialPunctuation => stop != Stop::Always,
        _ => matches!(c, '"' | '\'' | '*' | '_' | '`') || extends(c),
    }
}

/// Whether a character can stand in front of a sentence's first word.
pub(super) fn opens(c: char) -> bool {
    SENTENCE_BREAK.get(c) == SentenceBreak::Close || matches!(c, '*' | '_' | '`' | '¿' | '¡')
}

/// A closing bracket.
pub(super) fn is_closing_bracket(c: char) -> bool {
    CATEGORY.get(c) == GeneralCategory::ClosePunctuation
}

/// Combining marks, joiners, variation selectors: nothing begins with one.
pub(super) fn extends(c: char) -> bool {
    !c.is_ascii() && matches!(SENTENCE_BREAK.get(c), SentenceBreak::Extend | SentenceBreak::Format)
}

/// A decimal digit of any script.
pub(super) fn is_digit(c: char) -> bool {
    c.is_ascii_digit() || (!c.is_ascii() && CATEGORY.get(c) == GeneralCategory::DecimalNumber)
}

/// A letter with an upper and a lower case.
pub(super) fn is_cased(c: char) -> bool {
    c.is_lowercase() || c.is_uppercase()
}

/// A character of East Asian typography, where words have no spaces.
pub(super) fn is_wide(c: char) -> bool {
    !c.is_ascii()
        && matches!(WIDTH.get(c), EastAsianWidth::Wide | EastAsianWidth::Fullwidth | EastAsianWidth::Halfwidth)
}

/// A mark behind which a clause ends: commas, semicolons, colons and long dashes, not the hyphen.
pub(super) fn ends_clause(c: char) -> bool {
    SENTENCE_BREAK.get(c) == SentenceBreak::SContinue
        && (CATEGORY.get(c) != GeneralCategory::DashPunctuation || c >= '–')
}

/// A pictograph that a voice would name: emoji with their modifiers and flags, stars, ticks and boxes. Signs that are read
/// as words stay, like © and ™.
pub(super) fn is_pictograph(c: char) -> bool {
    const SET: fn(char) -> bool = |c| CodePointSetData::new::<ExtendedPictographic>().contains(c);
    match c {
        ..'\u{2190}' | '\u{3000}'..='\u{32FF}' => false,
        '\u{2500}'..='\u{27BF}' => SET(c) || CATEGORY.get(c) == GeneralCategory::OtherSymbol,
        _ => {
            SET(c)
                || CodePointSetData::new::<EmojiModifier>().contains(c)
                || CodePointSetData::new::<RegionalIndicator>().contains(c)
        }
    }
}
