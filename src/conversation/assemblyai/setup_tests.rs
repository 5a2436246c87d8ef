#![allow(clippy::unwrap_used, clippy::panic)]

use super::super::engine::tests::options;
use super::*;
use crate::conversation::engines;
use crate::units::SampleRate;

fn refusal(given: &[(&str, &str)]) -> String {
    check(&options(given), Vec::new()).unwrap_err().to_string()
}

#[test]
fn the_address_of_the_service_is_completed() {
    for (base, wanted) in [
        ("", "wss://agents.assemblyai.com/v1/ws"),
        ("wss://agents.eu.assemblyai.com", "wss://agents.eu.assemblyai.com/v1/ws"),
        ("http://h:1/v1/", "ws://h:1/v1/ws"),
        ("https://h/gate/v1/ws", "wss://h/gate/v1/ws"),
    ] {
        let target = check(&options(&[("assemblyai_base_url", base)]), Vec::new()).unwrap();
        assert_eq!(target.url, wanted, "{base}");
        assert_eq!(target.headers[0].1.expose(), "Bearer aai-1");
        assert!(!format!("{target:?}").contains("aai-1"));
    }
    assert!(refusal(&[("assemblyai_base_url", "ftp://h")]).starts_with("assemblyai_base_url: scheme 'ftp'"));
}

#[test]
fn without_a_key_there_is_no_conversation() {
    for key in ["", " "] {
        let mut options = options(&[]);
        options.assemblyai.api_key = Some(Secret::new(key));
        let refused = check(&options, Vec::new()).unwrap_err();
        assert_eq!((refused.clone(), place(&options).has_key), (BadOptions::NoKey, false));
        assert!(refused.to_string().contains("ASSEMBLYAI_API_KEY"));
    }
}

#[test]
fn what_the_service_cannot_do_is_refused_by_name() {
    for (given, named) in [
        (&[("ai_output", "tts")][..], "ai_output=tts"),
        (&[("barge_in", "off")], "barge_in"),
        (&[("barge_in_min_ms", "300")], "barge_in_min_ms"),
        (&[("false_interruption_ms", "500")], "false_interruption_ms"),
        (&[("mcp_servers", r#"[{"server_label":"s","server_url":"https://h"}]"#)], "mcp_servers"),
        (&[("noise_reduction", "near_field")], "noise_reduction"),
        (&[("max_response_tokens", "100")], "max_response_tokens"),
        (&[("vad_idle_timeout_ms", "6000")], "vad_idle_timeout_ms"),
        (&[("speed", "1.2")], "speed"),
        (&[("turn_detection", "local")], "turn_detection=local"),
        (&[("vad_prefix_padding_ms", "100")], "vad_prefix_padding_ms"),
        (&[("vad_silence_duration_ms", "20")], "vad_silence_duration_ms"),
        (&[("vad_silence_duration_ms", "10000")], "vad_silence_duration_ms"),
        (&[("tool_choice", "required")], "tool_choice"),
        (&[("parallel_tool_calls", "true")], "parallel_tool_calls"),
        (&[("reasoning_effort", "low")], "reasoning_effort"),
        (&[("transcription_model", "m")], "transcription_model"),
        (&[("transcription_language", "de")], "transcription_language"),
        (&[("tool_timeout_ms", "300000")], "tool_timeout_ms"),
        (&[("openai_session", r#"{"a":1}"#)], "openai_session: use assemblyai_session"),
        (&[("assemblyai_agent", "a"), ("voice", "ivy")], "assemblyai_agent"),
        (&[("assemblyai_agent", "a"), ("system_prompt", "Be brief.")], "assemblyai_agent"),
        (&[("assemblyai_agent", "a"), ("greeting", "Hello.")], "assemblyai_agent"),
        (&[("assemblyai_agent", "a"), ("ai_audio", "pcmu")], "assemblyai_agent"),
        (&[("assemblyai_agent", "a"), ("vad_threshold", "0.7")], "assemblyai_agent"),
        (&[("assemblyai_agent", "a"), ("assemblyai_session", r#"{"output":{"volume":5}}"#)], "assemblyai_agent"),
    ] {
        let refused = refusal(given);
        assert!(refused.starts_with("AssemblyAI cannot do what is asked: ") && refused.contains(named), "{refused}");
    }
    let terms = vec!["term"; 101].join(",");
    assert!(refusal(&[("transcription_prompt", &terms)]).contains("transcription_prompt"));
    for given in [
        &[("assemblyai_agent", "a"), ("tools", super::super::engine::tests::TOOLS), ("builtin_tools", "hang_up")][..],
        &[("tool_choice", "auto")],
        &[("vad_silence_duration_ms", "9999")],
        &[("barge_in", "far_end")],
    ] {
        assert!(check(&options(given), Vec::new()).is_ok(), "{given:?}");
    }
}

#[test]
fn fields_with_options_of_their_own_are_no_further_fields() {
    let rows = <AiOptions as crate::options::Options>::rows();
    let row = rows.iter().find(|row| row.key == "assemblyai_session").unwrap();
    for path in ["greeting", "output.voice", "input.turn_detection.min_silence"] {
        let mut value = serde_json::json!("x");
        for name in path.rsplit('.') {
            value = serde_json::json!({ name: value });
        }
        let why = row.set(&mut AiOptions::default(), &value.to_string()).unwrap_err();
        assert!(why.contains(path), "{why}");
    }
    let free = r#"{"input":{"turn_detection":{"max_silence":4000}},"output":{"volume":80}}"#;
    assert!(row.set(&mut AiOptions::default(), free).is_ok());
}

#[test]
fn a_long_silence_makes_the_longest_one_longer() {
    for (silence, wanted) in [("500", (None, None)), ("700", (Some(700), None)), ("2999", (Some(2_999), None))]
        .into_iter()
        .chain([("3000", (Some(3_000), Some(5_000))), ("9999", (Some(9_999), Some(10_000)))])
    {
        let turns = turns(&options(&[("vad_silence_duration_ms", silence)]));
        assert_eq!((turns.min_silence_ms, turns.max_silence_ms), wanted, "{silence}");
    }
    for (eagerness, wanted) in [("auto", None), ("low", Some(8_000)), ("medium", Some(4_000)), ("high", Some(2_000))] {
        let turns = turns(&options(&[("turn_detection", "semantic_vad"), ("vad_eagerness", eagerness)]));
        assert_eq!(turns, Turns { max_silence_ms: wanted, ..Turns::default() }, "{eagerness}");
    }
}

#[test]
fn a_narrow_band_call_is_not_coded_anew() {
    let made = |given: &[(&str, &str)], rate, codec| {
        let options = options(given);
        let policy = options.policy();
        let setup = Setup { options: &options, headers: Vec::new(), policy: &policy, rate, codec };
        engines::of(&options).make(setup).unwrap().input()
    };
    let law = |law| InputFormat { rate: SampleRate::HZ_8000, encoding: Encoding::G711(law) };
    let pcm = |rate| InputFormat { rate, encoding: Encoding::S16Le };
    assert_eq!(made(&[], SampleRate::HZ_8000, Some("PCMU")), law(crate::units::Law::Mu));
    assert_eq!(made(&[], SampleRate::HZ_8000, Some("PCMA")), law(crate::units::Law::A));
    assert_eq!(made(&[], SampleRate::HZ_16000, Some("G722")), pcm(SampleRate::HZ_24000));
    // What a stored agent is set to is known in the session only.
    assert_eq!(made(&[("assemblyai_agent", "a")], SampleRate::HZ_16000, None), pcm(SampleRate::HZ_16000));
}
