//! Words of the caller that do not interrupt the agent, like "mm-hm", and how they are found in a transcript.
//!
//! Transcription services write the same sound in many ways, so texts are compared by their letters and digits alone, in lower
//! case, and a letter that is repeated counts once: `Mm-hm.`, `mhm` and `mm, hmm` are one. What a service writes in brackets, such
//! as `[laughter]`, are no words. Pure.

use std::sync::Arc;

/// The operator's list.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Remarks(Arc<[String]>);

/// What a transcript says about an interruption.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Said {
    /// Something that interrupts.
    Words,
    /// Nothing, or only words of the list.
    Remark,
    /// Not known yet: the text goes on.
    Unknown,
}

impl Remarks {
    /// Most entries of a list.
    pub const MOST: usize = 256;

    /// Reads entries separated by commas; one can have several words, like `I see`.
    ///
    /// # Errors
    /// What is wrong with the list, for its author.
    pub fn parse(list: &str) -> Result<Self, String> {
        let entries = list.split(',').map(str::trim).filter(|entry| !entry.is_empty());
        let entries = entries
            .map(|entry| match key(entry) {
                key if !key.is_empty() && entry.chars().count() <= 32 => Ok(key),
                _ => Err("give words of at most 32 characters, separated by commas".to_owned()),
            })
            .collect::<Result<Vec<_>, _>>()?;
        if entries.len() > Self::MOST {
            return Err(format!("give at most {} words", Self::MOST));
        }
        Ok(Self(entries.into()))
    }

    /// What `text` says; `whole`: nothing follows.
    pub(super) fn judge(&self, text: &str, whole: bool) -> Said {
        let words = words(text);
        let mut rest = &words[..];
        // The last word of a text that goes on may be the beginning of a longer one.
        while !rest.is_empty() {
            let taken = (1..=rest.len()).rev().find(|&count| self.0.contains(&key(&rest[..count].concat())));
            let last = taken.is_none_or(|count| count == rest.len());
            if !whole && last && (rest.len() == 1 || self.begins(&key(&rest.concat()))) {
                return Said::Unknown;
            }
            match taken {
                Some(count) => rest = &rest[count..],
                None => return Said::Words,
            }
        }
        if whole { Said::Remark } else { Said::Unknown }
    }

    /// Whether an entry begins like this.
    fn begins(&self, start: &str) -> bool {
        self.0.iter().any(|entry| entry.starts_with(start))
    }
}

/// Runs of letters and digits in lower case, without those in brackets.
fn words(text: &str) -> Vec<String> {
    let (mut words, mut depth, mut word) = (Vec::new(), 0_u32, String::new());
    for c in text.chars() {
        match c {
            '[' | '(' | '<' => depth += 1,
            ']' | ')' | '>' => depth = depth.saturating_sub(1),
            c if depth == 0 && c.is_alphanumeric() => {
                word.extend(c.to_lowercase());
                continue;
            }
            // Within a word.
            '\'' | '\u{2019}' => continue,
            _ => {}
        }
        if !word.is_empty() {
            words.push(std::mem::take(&mut word));
        }
    }
    words.extend(Some(word).filter(|word| !word.is_empty()));
    words
}

/// What is compared: letters and digits, each once where it is repeated.
fn key(text: &str) -> String {
    let mut key = words(text).concat();
    let mut before = None;
    key.retain(|c| before.replace(c) != Some(c));
    key
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn remarks() -> Remarks {
        Remarks::parse("mm-hm, uh-huh, yeah, okay, I see, ja genau").unwrap()
    }

    #[test]
    fn words_of_the_list_are_found_however_they_are_written() {
        for text in [
            "",
            " . ",
            "Mm-hm.",
            "Mhm",
            "mm, hmm",
            "Uh huh!",
            "Yeahhh",
            "Yeah, yeah. Okay?",
            "I see. Mm-hm",
            "[laughter]",
        ] {
            assert_eq!(remarks().judge(text, true), Said::Remark, "{text:?}");
        }
        for text in ["No.", "Yeah, but wait", "I", "see", "okay 7", "JA", "[noise] stop", "私"] {
            assert_eq!(remarks().judge(text, true), Said::Words, "{text:?}");
        }
        assert_eq!(Remarks::default().judge("yeah", true), Said::Words);
        assert_eq!(Remarks::default().judge("(coughs)", true), Said::Remark);
    }

    #[test]
    fn a_text_that_goes_on_is_judged_as_soon_as_it_is_certain() {
        for (text, said) in [
            ("ye", Said::Unknown),
            ("yeah", Said::Unknown),
            ("yeah ", Said::Unknown),
            ("I", Said::Unknown),
            ("I se", Said::Unknown),
            ("I want", Said::Words),
            ("yeah bu", Said::Unknown),
            ("yeah but wai", Said::Words),
            ("stop it", Said::Words),
        ] {
            assert_eq!(remarks().judge(text, false), said, "{text:?}");
        }
    }

    #[test]
    fn a_list_that_cannot_be_meant_is_refused() {
        assert!(Remarks::parse("").unwrap().0.is_empty());
        assert!(Remarks::parse("yeah, ,okay,").is_ok());
        for bad in ["yeah, ?!", &"a".repeat(33), &vec!["a"; 257].join(",")] {
            assert!(Remarks::parse(bad).is_err(), "{bad:.40}");
        }
    }
}
