//! What the server states that a response or a transcript has used, as the conversation counts it.
//!
//! Pure. The statement is not trusted to add up: a part is never more than its whole, and what is missing is 0.

use super::super::json::Number;
use super::wire::UsageBody;
use crate::peer::Usage;

/// Longest transcript that is believed, seconds: a day.
const LONGEST: f64 = 86_400.0;

fn count(number: Number) -> u64 {
    number.whole().unwrap_or_default()
}

/// Text and audio of `whole` tokens.
fn parts(text: Number, audio: Number, whole: u64) -> (u64, u64) {
    let text = count(text).min(whole);
    (text, count(audio).min(whole - text))
}

/// Of a response, whatever its status.
pub(super) fn of_response(body: &UsageBody) -> Usage {
    let (input, output) = (&body.input_token_details.0, &body.output_token_details.0);
    let (input_tokens, output_tokens) = (count(body.input_tokens), count(body.output_tokens));
    let (input_text_tokens, input_audio_tokens) = parts(input.text_tokens, input.audio_tokens, input_tokens);
    let (output_text_tokens, output_audio_tokens) = parts(output.text_tokens, output.audio_tokens, output_tokens);
    let cached_tokens = count(input.cached_tokens).min(input_tokens);
    let cached = &input.cached_tokens_details.0;
    let (cached_text, cached_audio) = parts(cached.text_tokens, cached.audio_tokens, cached_tokens);
    Usage {
        input_tokens,
        input_text_tokens,
        input_audio_tokens,
        cached_tokens,
        cached_text_tokens: cached_text.min(input_text_tokens),
        cached_audio_tokens: cached_audio.min(input_audio_tokens),
        output_tokens,
        output_text_tokens,
        output_audio_tokens,
        ..Usage::default()
    }
}

/// Of a transcript of the caller: tokens or time, as its model is billed.
pub(super) fn of_transcript(body: &UsageBody) -> Usage {
    let seconds = body.seconds.0.filter(|seconds| (0.0..=LONGEST).contains(seconds)).unwrap_or_default();
    Usage {
        transcription_tokens: count(body.input_tokens).saturating_add(count(body.output_tokens)),
        transcription_ms: (seconds * 1_000.0) as u64,
        ..Usage::default()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::super::wire::ServerEvent;
    use super::*;

    /// The usage of a response that states this.
    fn stated(usage: &str) -> Usage {
        let text = format!(r#"{{"type":"response.done","response":{{"id":"r1","usage":{usage}}}}}"#);
        let event: ServerEvent<'_> = serde_json::from_str(&text).unwrap();
        of_response(&event.response.unwrap().usage.0)
    }

    #[test]
    fn a_part_is_never_more_than_its_whole() {
        let usage = stated(
            r#"{"input_tokens":10,"output_tokens":3,
            "input_token_details":{"text_tokens":8,"audio_tokens":90,"cached_tokens":70,
                "cached_tokens_details":{"text_tokens":9,"audio_tokens":5}},
            "output_token_details":{"audio_tokens":4}}"#,
        );
        assert_eq!((usage.input_text_tokens, usage.input_audio_tokens), (8, 2));
        assert_eq!((usage.cached_tokens, usage.cached_text_tokens, usage.cached_audio_tokens), (10, 8, 1));
        assert_eq!((usage.output_text_tokens, usage.output_audio_tokens), (0, 3));
    }

    #[test]
    fn nonsense_counts_nothing_and_spoils_nothing() {
        for nonsense in ["null", "7", "\"x\"", "[1]", "true", r#"{"input_tokens":-5,"input_token_details":[],"x":1}"#] {
            assert_eq!(stated(nonsense), Usage::default(), "{nonsense}");
        }
        let kept = stated(r#"{"input_tokens":4,"input_token_details":"none","output_tokens":1e300}"#);
        assert_eq!(kept, Usage { input_tokens: 4, ..Usage::default() });
    }
}
