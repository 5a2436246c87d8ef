//! Enums whose values an operator writes as words: one table for each, read by the parser, the replies and the documentation.
//!
//! Pure; any thread. [`choice!`] declares such an enum with the words beside the variants. An enum whose variants carry data
//! implements [`Choice`] itself.

/// A value out of a few, each with its word.
pub trait Choice: Copy + PartialEq + 'static {
    /// Every word with its value, in the order of the documentation.
    const WORDS: &'static [(&'static str, Self)];

    /// The word for this value; empty for a value that has none.
    fn word(self) -> &'static str {
        Self::WORDS.iter().find(|(_, value)| *value == self).map_or("", |(word, _)| word)
    }

    /// The value of a word in capitals or not; `None` for any other text.
    fn named(text: &str) -> Option<Self> {
        Self::WORDS.iter().find(|(word, _)| word.eq_ignore_ascii_case(text)).map(|(_, value)| *value)
    }
}

/// Declares an enum with the word of each variant: `Mono = "mono"`. It gets [`Choice`], `as_str` and `Display`.
macro_rules! choice {
    (
        $(#[$meta:meta])*
        $vis:vis enum $name:ident {
            $($(#[$doc:meta])* $variant:ident = $word:literal),+ $(,)?
        }
    ) => {
        $(#[$meta])*
        $vis enum $name {
            $($(#[$doc])* $variant),+
        }

        impl $name {
            /// The word for it.
            $vis const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word),+
                }
            }
        }

        impl $crate::units::choice::Choice for $name {
            const WORDS: &'static [(&'static str, Self)] = &[$(($word, Self::$variant)),+];
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

pub(crate) use choice;

#[cfg(test)]
mod tests {
    use super::Choice;

    choice! {
        #[derive(Clone, Copy, PartialEq, Debug)]
        enum Fruit {
            Apple = "apple",
            Pear = "pear",
        }
    }

    #[test]
    fn a_word_is_read_in_capitals_too_and_printed_as_declared() {
        assert_eq!(Fruit::named("PEAR"), Some(Fruit::Pear));
        assert_eq!((Fruit::named(""), Fruit::named("pears")), (None, None));
        assert_eq!((Fruit::Apple.word(), Fruit::Apple.to_string().as_str()), ("apple", "apple"));
    }
}
