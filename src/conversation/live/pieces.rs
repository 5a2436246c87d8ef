//! Texts in pieces that the service takes: at most 500 tokens each.
//!
//! Pure. Tokens are not counted but estimated, rather too many than too few: four letters of ASCII are one, any other character is one.

/// Most tokens of a piece, as estimated here.
const MOST: usize = 440;

/// A text in pieces, cut behind a sentence where there is one, or else at a space.
pub(super) fn pieces(text: &str) -> Vec<&str> {
    let mut rest = text.trim();
    let mut pieces = Vec::new();
    while !rest.is_empty() {
        let end = fits(rest);
        let cut = if end == rest.len() { end } else { seam(&rest[..end]) };
        pieces.push(rest[..cut].trim_end());
        rest = rest[cut..].trim_start();
    }
    pieces
}

/// The length of the longest beginning that fits.
fn fits(text: &str) -> usize {
    let mut quarters = 0;
    for (at, letter) in text.char_indices() {
        quarters += if letter.is_ascii() { 1 } else { 4 };
        if quarters > MOST * 4 {
            return at;
        }
    }
    text.len()
}

/// Where a text is best cut.
fn seam(text: &str) -> usize {
    let ends = |mark: &str| text.rfind(mark).map(|at| at + mark.len());
    let sentence = [". ", "! ", "? ", "\n", "。", "！", "？"].into_iter().filter_map(ends).max();
    // A sentence that ends early would make many small pieces.
    sentence.filter(|at| *at > text.len() / 2).or_else(|| ends(" ")).unwrap_or(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_behind_sentences_and_loses_nothing() {
        assert_eq!(pieces("  One. Two.  "), ["One. Two."]);
        assert_eq!(pieces(" \n"), [""; 0]);
        let long = "This is a sentence of some words. ".repeat(120);
        let cut = pieces(&long);
        assert!(cut.len() == 3 && cut.iter().all(|piece| piece.ends_with('.') && fits(piece) == piece.len()));
        assert_eq!(cut.join(" "), long.trim());
    }

    #[test]
    fn a_text_without_sentences_or_spaces_is_cut_where_it_must_be() {
        for text in ["x".repeat(5_000), "語".repeat(1_000), "word ".repeat(1_000).trim().to_owned()] {
            let cut = pieces(&text);
            assert!(cut.len() > 1 && cut.iter().all(|piece| fits(piece) == piece.len()), "{}", cut.len());
            assert_eq!(cut.concat().replace(' ', ""), text.replace(' ', ""));
        }
    }
}
