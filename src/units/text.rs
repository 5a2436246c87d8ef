//! Text that is quoted in replies and warnings: cut to a length, without control characters.
//!
//! Pure. What an operator or a server wrote passes through here before a reply or a warning quotes it.

/// The beginning of `text` on one line, for a message: at most 64 characters, control characters replaced by `?`.
pub fn shown(text: &str) -> String {
    const LONGEST: usize = 64;
    let mut out: String = text.chars().take(LONGEST).map(|c| if c.is_control() { '?' } else { c }).collect();
    if text.chars().nth(LONGEST).is_some() {
        out.push('…');
    }
    out
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
}
