//! What the service states that a turn has used, as the conversation counts it.
//!
//! Pure. The statement is not trusted to add up: a part is never more than its whole, and what is missing is 0.

use super::super::json::Number;
use super::wire::{ModalityCount, UsageBody};
use crate::peer::Usage;

fn count(number: Number) -> u64 {
    number.whole().unwrap_or_default()
}

/// Text and audio of `whole` tokens; what is said to be neither is text.
fn parts(details: Option<&Vec<ModalityCount<'_>>>, whole: u64) -> (u64, u64) {
    let of = |audio: bool| {
        let wanted = details.into_iter().flatten().filter(|detail| (detail.modality.as_str() == "AUDIO") == audio);
        wanted.fold(0_u64, |sum, detail| sum.saturating_add(count(detail.token_count)))
    };
    let audio = of(true).min(whole);
    (of(false).min(whole - audio), audio)
}

/// Of one turn. Results of functions were read, thoughts were made.
pub(super) fn of_turn(body: &UsageBody<'_>) -> Usage {
    let results = count(body.tool_use_prompt_token_count);
    let input_tokens = count(body.prompt_token_count).saturating_add(results);
    let thoughts = count(body.thoughts_token_count);
    let output_tokens = count(body.response_token_count).saturating_add(thoughts);
    let (input_text, input_audio) = parts(body.prompt_tokens_details.as_ref(), input_tokens - results);
    let (output_text, output_audio) = parts(body.response_tokens_details.as_ref(), output_tokens - thoughts);
    let cached_tokens = count(body.cached_content_token_count).min(input_tokens);
    let (cached_text, cached_audio) = parts(body.cache_tokens_details.as_ref(), cached_tokens);
    let (input_text_tokens, output_text_tokens) = (input_text + results, output_text + thoughts);
    Usage {
        input_tokens,
        input_text_tokens,
        input_audio_tokens: input_audio,
        cached_tokens,
        cached_text_tokens: cached_text.min(input_text_tokens),
        cached_audio_tokens: cached_audio.min(input_audio),
        output_tokens,
        output_text_tokens,
        output_audio_tokens: output_audio,
        ..Usage::default()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::super::wire::ServerMessage;
    use super::*;

    fn stated(usage: &str) -> Usage {
        let text = format!(r#"{{"usageMetadata":{usage}}}"#);
        let message: ServerMessage<'_> = serde_json::from_str(&text).unwrap();
        of_turn(&message.usage_metadata.unwrap().0)
    }

    #[test]
    fn a_turn_is_counted_by_what_it_was_made_of() {
        let usage = stated(
            r#"{"promptTokenCount":100,"responseTokenCount":50,"thoughtsTokenCount":7,"toolUsePromptTokenCount":5,
            "cachedContentTokenCount":30,"totalTokenCount":162,
            "promptTokensDetails":[{"modality":"TEXT","tokenCount":40},{"modality":"AUDIO","tokenCount":60}],
            "responseTokensDetails":[{"modality":"AUDIO","tokenCount":50}],
            "cacheTokensDetails":[{"modality":"AUDIO","tokenCount":30}]}"#,
        );
        assert_eq!((usage.input_tokens, usage.input_text_tokens, usage.input_audio_tokens), (105, 45, 60));
        assert_eq!((usage.output_tokens, usage.output_text_tokens, usage.output_audio_tokens), (57, 7, 50));
        assert_eq!((usage.cached_tokens, usage.cached_text_tokens, usage.cached_audio_tokens), (30, 0, 30));
    }

    #[test]
    fn nonsense_counts_nothing_and_a_part_never_more_than_its_whole() {
        for nonsense in ["7", r#""x""#, r#"{"promptTokenCount":-5,"x":1}"#] {
            assert_eq!(stated(nonsense), Usage::default(), "{nonsense}");
        }
        let usage = stated(
            r#"{"promptTokenCount":10,"promptTokensDetails":[{"modality":"AUDIO","tokenCount":90},{"modality":"TEXT","tokenCount":9}]}"#,
        );
        assert_eq!((usage.input_text_tokens, usage.input_audio_tokens), (0, 10));
    }
}
