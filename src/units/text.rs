//! Text that is shown to people or put into an event: cut to a length and freed of what would break a line.
//!
//! Pure. Whatever an operator or a far end wrote passes through here before it stands in a reply, a warning or a header.

/// The beginning of `text` on one line, for a message: at most 64 characters, control characters replaced by `?`.
pub fn shown(text: &str) -> String {
    const LONGEST: usize = 64;
    let mut out: String = text.chars().take(LONGEST).map(|c| if c.is_control() { '?' } else { c }).collect();
    if text.chars().nth(LONGEST).is_some() {
        out.push('…');
    }
    out
}

/// The longest beginning of `text` of at most `bytes` bytes that ends between characters.
pub fn cut(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_is_one_short_line() {
        assert_eq!(shown("a'b\"\\é"), "a'b\"\\é");
        assert_eq!(shown("a\r\n\u{7f}b"), "a???b");
        assert_eq!(shown(&"é".repeat(65)), format!("{}…", "é".repeat(64)));
    }

    #[test]
    fn a_cut_never_splits_a_character() {
        assert_eq!(cut("aé", 2), "a");
        assert_eq!(cut("aé", 3), "aé");
        assert_eq!(cut("aé", 99), "aé");
    }
}
