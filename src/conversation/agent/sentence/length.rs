//! Where a sentence that is too long is cut. Pure.

use unicode_segmentation::UnicodeSegmentation;

use super::boundary::{Tag, tag_at};
use super::characters::{ends_clause, extends, is_digit, is_wide};

/// The place of the cut, from `min` to `limit` characters: behind the last comma of the last two thirds; else at a space;
/// else between two grapheme clusters. A number stays in one piece, and a tag, if there is any other place.
pub(super) fn cut(chars: &[char], min: usize, limit: usize) -> usize {
    let whole = clusters(chars);
    let space = |at: &usize| chars.get(*at).is_some_and(|c| c.is_whitespace());
    // A space that carries a combining mark is none to cut at, since it would be left out.
    let carries = |at: &usize| space(at) && chars.get(at + 1).is_some_and(|c| extends(*c));
    let allowed = |at: &usize| whole.get(*at).copied().unwrap_or(true) && !carries(at);
    let number = |at: &usize| in_number(chars, *at);
    let places = || (min.max(1)..=limit).rev().filter(allowed);
    let clause = |at: &usize| ends_clause(chars[at - 1]) && (space(at) || is_wide(chars[at - 1]));
    places()
        .take_while(|at| *at > limit / 3)
        .find(|at| clause(at) && !number(at))
        .or_else(|| places().find(|at| space(at) && !number(at)))
        .or_else(|| places().find(space))
        .or_else(|| places().find(|at| !number(at)))
        .or_else(|| places().next())
        .unwrap_or(limit)
}

/// Which places are between two grapheme clusters and not in a tag.
fn clusters(chars: &[char]) -> Vec<bool> {
    let text: String = chars.iter().collect();
    let mut places = vec![false; chars.len() + 1];
    let mut at = 0;
    for cluster in text.graphemes(true) {
        places[at] = true;
        at += cluster.chars().count();
    }
    places[at] = true;
    for at in 0..chars.len() {
        if chars[at] == '<'
            && let Tag::Ends(end) = tag_at(chars, at, true)
        {
            places[at + 1..end].fill(false);
        }
    }
    places
}

/// Whether the place is in a number: `22|1`, `22,|1`, `22|,1`, `2 |3`.
fn in_number(chars: &[char], at: usize) -> bool {
    let digit = |at: usize| chars.get(at).is_some_and(|c| is_digit(*c));
    match (at > 0 && digit(at - 1), digit(at)) {
        (true, true) => true,
        (true, false) => digit(at + 1) && chars.get(at).is_some_and(|c| !c.is_alphabetic()),
        (false, true) => at > 1 && digit(at - 2) && !chars[at - 1].is_alphabetic(),
        (false, false) => false,
    }
}
