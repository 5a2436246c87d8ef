//! Options of conversations with Deepgram: where it connects, how audio is coded, what is refused.

#![allow(clippy::unwrap_used)]

use super::super::engine::tests::options;
use super::*;

fn shown(target: &Target) -> Vec<String> {
    target.headers.iter().map(|(name, value)| format!("{name}: {}", value.expose())).collect()
}

#[test]
fn the_key_is_a_token_and_the_address_is_completed() {
    let target = check(&options(&[]), vec![("X-A".into(), Secret::new("b"))]).unwrap();
    assert_eq!(target.url, USUAL);
    assert_eq!(shown(&target), ["Authorization: Token dg-1", "X-A: b"]);
    for (base, url) in [
        ("http://127.0.0.1:8080", "ws://127.0.0.1:8080/v1/agent/converse"),
        ("wss://h/v1/", "wss://h/v1/agent/converse"),
        ("wss://h/x/v2/agent/converse?a=b", "wss://h/x/v2/agent/converse?a=b"),
    ] {
        let own = options(&[("deepgram_base_url", base), ("deepgram_auth", "bearer")]);
        let target = check(&own, Vec::new()).unwrap();
        assert_eq!((target.url.as_str(), shown(&target)), (url, vec!["Authorization: Bearer dg-1".to_owned()]));
    }
    let none = options(&[("deepgram_base_url", "ws://h"), ("deepgram_auth", "none")]);
    assert_eq!(shown(&check(&none, Vec::new()).unwrap()), [""; 0]);
}

#[test]
fn audio_goes_as_the_call_has_it() {
    let format = |audio, rate, codec| {
        let InputFormat { rate, encoding } = wire(audio, rate, codec);
        (rate.hz(), encoding)
    };
    let (narrow, wide) = (SampleRate::HZ_8000, SampleRate::HZ_16000);
    assert_eq!(format(WireAudio::Auto, narrow, None), (8_000, Encoding::G711(Law::Mu)));
    assert_eq!(format(WireAudio::Auto, narrow, Some("PCMA")), (8_000, Encoding::G711(Law::A)));
    assert_eq!(format(WireAudio::Auto, wide, Some("G722")), (16_000, Encoding::S16Le));
    assert_eq!(format(WireAudio::Pcm, narrow, Some("PCMU")), (8_000, Encoding::S16Le));
    assert_eq!(format(WireAudio::Pcmu, wide, None), (8_000, Encoding::G711(Law::Mu)));
    assert_eq!(format(WireAudio::Auto, SampleRate::new(48_000).unwrap(), None), (48_000, Encoding::S16Le));
    assert_eq!(format(WireAudio::Auto, SampleRate::new(44_100).unwrap(), None), (24_000, Encoding::S16Le));
}

#[test]
fn what_cannot_be_is_refused_by_name() {
    let refused = |given: &[(&str, &str)]| check(&options(given), Vec::new()).unwrap_err().to_string();
    let cannot = |given: &[(&str, &str)], advice: &str| {
        let said = refused(given);
        assert!(said.starts_with(&format!("Deepgram cannot do what is asked: {advice}")), "{said}");
    };
    for (key, value, advice) in [
        ("deepgram_model", "", "set deepgram_model to a provider and its model"),
        ("deepgram_model", "gpt-4.1", "set deepgram_model to a provider and its model"),
        ("ai_output", "tts", "ai_output=tts"),
        ("barge_in", "local", "barge_in"),
        ("barge_in_min_ms", "300", "barge_in"),
        ("false_interruption_ms", "500", "barge_in"),
        ("noise_reduction", "near_field", "noise_reduction: use noise_suppression"),
        ("vad_idle_timeout_ms", "6000", "vad_idle_timeout_ms: use idle_timeout_ms"),
        ("vad_threshold", "0.7", "vad_threshold"),
        ("vad_silence_duration_ms", "900", "vad_threshold"),
        ("mcp_servers", r#"[{"server_label":"a","server_url":"https://a.example"}]"#, "mcp_servers"),
        ("tool_choice", "required", "tool_choice"),
        ("parallel_tool_calls", "true", "parallel_tool_calls"),
        ("max_response_tokens", "100", "max_response_tokens"),
        ("turn_detection", "local", "turn_detection: semantic_vad with vad_eagerness and local need"),
        ("reasoning_effort", "xhigh", "reasoning_effort: give none"),
        ("speed", "1.1", "speed: it needs a voice"),
        ("deepgram_agent", "a1b2", "deepgram_agent has its own model"),
        ("openai_session", r#"{"audio":{}}"#, "openai_session: audio"),
        ("openai_session", r#"{"agent":{"think":{"prompt":"x"}}}"#, "openai_session: audio"),
    ] {
        cannot(&[(key, value)], advice);
    }
    cannot(&[("deepgram_model", "google/m"), ("reasoning_effort", "low")], "reasoning_effort: only models of");
    cannot(&[("voice", "aura-2-thalia-en"), ("speed", "0.6")], "speed: give 0.7 to 1.5");
    cannot(&[("voice", "flux-kit-en"), ("speed", "1.03")], "speed: give 0.7 to 1.5");
    assert_eq!(
        refused(&[("deepgram_auth", "basic")]),
        "deepgram_auth: give auto for a key, bearer for a temporary token, or none"
    );
    assert!(refused(&[("deepgram_auth", "none")]).contains("needs deepgram_base_url"));
    assert!(refused(&[("deepgram_base_url", "ftp://h")]).starts_with("deepgram_base_url: scheme 'ftp'"));
    assert!(
        check(&AiOptions { services: Default::default(), ..options(&[("deepgram_agent", "a")]) }, Vec::new())
            .is_err_and(|error| error == BadOptions::NoKey)
    );
    for fits in [
        &[("voice", "flux-kit-en"), ("speed", "0.65")][..],
        &[("openai_session", r#"{"mip_opt_out":true,"agent":{"think":{"endpoint":{"url":"https://x"}}}}"#)],
        &[("turn_detection", "local"), ("transcription_model", "flux-general-en"), ("vad_prefix_padding_ms", "500")],
        &[("deepgram_agent", "a1b2"), ("deepgram_model", "")],
        &[("tool_choice", "auto")],
    ] {
        assert!(check(&options(fits), Vec::new()).is_ok(), "{fits:?}");
    }
}
