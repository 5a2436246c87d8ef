//! What a conversation has cost: the tokens that its service states. Plain values; sums saturate.

use serde::Serialize;

macro_rules! usage {
    ($($(#[$doc:meta])* $field:ident,)*) => {
        /// What a service states it has used, for one response or for a conversation so far. What it leaves out is 0.
        #[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize)]
        pub struct Usage {
            $($(#[$doc])* pub $field: u64,)*
        }

        impl Usage {
            /// Adds what was used meanwhile.
            pub fn add(&mut self, other: &Self) {
                $(self.$field = self.$field.saturating_add(other.$field);)*
            }

            /// What was used since it was `before`.
            #[must_use]
            pub fn since(&self, before: &Self) -> Self {
                Self { $($field: self.$field.saturating_sub(before.$field),)* }
            }
        }
    };
}

usage! {
    /// Tokens that the model read, those from the service's cache included. The talk so far counts again with each response.
    input_tokens,
    /// Of `input_tokens`, text.
    input_text_tokens,
    /// Of `input_tokens`, audio.
    input_audio_tokens,
    /// Of `input_tokens`, those that came from the service's cache, at a lower price.
    cached_tokens,
    /// Of `cached_tokens`, text.
    cached_text_tokens,
    /// Of `cached_tokens`, audio.
    cached_audio_tokens,
    /// Tokens that the model made.
    output_tokens,
    /// Of `output_tokens`, text.
    output_text_tokens,
    /// Of `output_tokens`, audio.
    output_audio_tokens,
    /// Tokens of the transcripts of the caller's words, input and output. They are part of nothing above.
    transcription_tokens,
    /// Audio of the caller in transcripts that are billed by time, ms.
    transcription_ms,
    /// Length of sessions that are billed by time, ms.
    session_ms,
}

impl Usage {
    /// The tokens by what they cost: each token is in one kind.
    pub fn kinds(&self) -> [(&'static str, u64); 10] {
        let cached_other =
            self.cached_tokens.saturating_sub(self.cached_text_tokens.saturating_add(self.cached_audio_tokens));
        let stated = self.input_text_tokens.saturating_add(self.input_audio_tokens);
        let other = self.input_tokens.saturating_sub(stated).saturating_sub(cached_other);
        let made = self.output_text_tokens.saturating_add(self.output_audio_tokens);
        [
            ("input_text", self.input_text_tokens.saturating_sub(self.cached_text_tokens)),
            ("input_audio", self.input_audio_tokens.saturating_sub(self.cached_audio_tokens)),
            ("input_other", other),
            ("cached_text", self.cached_text_tokens),
            ("cached_audio", self.cached_audio_tokens),
            ("cached_other", cached_other),
            ("output_text", self.output_text_tokens),
            ("output_audio", self.output_audio_tokens),
            ("output_other", self.output_tokens.saturating_sub(made)),
            ("transcription", self.transcription_tokens),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_token_has_one_kind_whether_details_are_stated_or_not() {
        let mut usage = Usage {
            input_tokens: 1_459,
            input_text_tokens: 1_349,
            input_audio_tokens: 110,
            cached_tokens: 1_408,
            cached_text_tokens: 1_344,
            cached_audio_tokens: 64,
            output_tokens: 396,
            output_text_tokens: 97,
            output_audio_tokens: 299,
            ..Usage::default()
        };
        usage.add(&Usage { input_tokens: 100, output_tokens: 20, transcription_tokens: 7, ..Usage::default() });
        let kinds = usage.kinds();
        assert_eq!(kinds.map(|(_, count)| count), [5, 46, 100, 1_344, 64, 0, 97, 299, 20, 7], "{kinds:?}");
        let undetailed = Usage { input_tokens: 50, cached_tokens: 30, ..Usage::default() };
        assert_eq!(undetailed.kinds()[..6].iter().map(|(_, count)| count).sum::<u64>(), 50);
    }

    #[test]
    fn sums_end_at_the_largest_number() {
        let mut usage = Usage { input_tokens: u64::MAX, ..Usage::default() };
        usage.add(&Usage { input_tokens: 1, ..Usage::default() });
        assert_eq!(usage.input_tokens, u64::MAX);
        assert_eq!(usage.kinds()[2].1, u64::MAX);
    }
}
