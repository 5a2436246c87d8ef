//! Tests of the native protocol: malformed messages, and bytes cut anywhere. Its transcripts are in `tests/golden/native`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;

use std::time::Instant;

use super::*;
use crate::protocol::session::Session;
use crate::protocol::{Input, Output, Protocol, transcript};

fn config() -> ProtocolConfig {
    transcript::config()
}

fn open(config: ProtocolConfig) -> Session<Native> {
    let mut native = Session::new(Native::new(config));
    native.handle(Instant::now(), Input::Opened);
    native
}

fn outputs(native: &mut Session<Native>, input: Input<'_>) -> Vec<Output> {
    native.handle(Instant::now(), input);
    std::iter::from_fn(|| native.poll()).collect()
}

fn to_bytes(samples: &[i16]) -> Vec<u8> {
    samples.iter().flat_map(|sample| sample.to_le_bytes()).collect()
}

/// What the server's `text` alone makes of a fresh connection.
fn reply(text: &str) -> Vec<Output> {
    outputs(&mut open(config()), Input::Text(text))
}

fn only_fault(outputs: &[Output]) -> &str {
    match outputs {
        [Output::Fault(fault)] => &fault.reason,
        other => panic!("wanted one fault, got {other:?}"),
    }
}

fn raw(rate: u32, bytes: &[u8], more: &str) -> String {
    format!(
        r#"{{"type":"streamAudio","data":{{"audioDataType":"raw","sampleRate":{rate},"audioData":"{}"{more}}}}}"#,
        STANDARD.encode(bytes)
    )
}

fn played(outputs: &[Output]) -> Vec<i16> {
    outputs
        .iter()
        .flat_map(|output| match output {
            Output::Play(Play { audio: Audio::Pcm { samples, .. }, .. }) => samples.clone(),
            _ => Vec::new(),
        })
        .collect()
}

#[test]
fn every_wire_rate_and_both_channel_counts_are_played() {
    for hz in [8_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 64_000] {
        for channels in [1, 2] {
            let text = raw(hz, &[1, 0, 2, 0, 3, 0, 4, 0], &format!(r#","channels":{channels}"#));
            let replies = reply(&text);
            let Some(Output::Play(Play { audio: Audio::Pcm { samples, format }, clear: false })) = replies.last()
            else {
                panic!("{hz} {channels}: {replies:?}")
            };
            assert_eq!((format.rate.hz(), format.channels), (hz, channels));
            assert_eq!(*samples, [1, 2, 3, 4]);
        }
    }
}

#[test]
fn a_sample_rate_out_of_range_is_a_fault_and_not_an_allocation() {
    for rate in ["0", "7999", "64001", "4294967296", "1e308", "-8000", "8000.5", "\"fast\"", "[8000]", "{}", "true"] {
        let text = format!(r#"{{"audioDataType":"raw","sampleRate":{rate},"audioData":"AAAA"}}"#);
        assert!(only_fault(&reply(&text)).contains("sampleRate"), "{rate}");
    }
}

#[test]
fn base64_cut_anywhere_never_becomes_wrong_audio() {
    let samples: Vec<i16> = (0..120).map(|n| n * 257).collect();
    let whole = STANDARD.encode(to_bytes(&samples));
    for cut in 0..whole.len() {
        let text = format!(r#"{{"audioDataType":"raw","sampleRate":8000,"audioData":"{}"}}"#, &whole[..cut]);
        let replies = reply(&text);
        match cut % 4 {
            0 => {
                let heard = played(&replies);
                assert_eq!(heard, samples[..heard.len()], "{cut}");
            }
            _ => assert!(only_fault(&replies).contains("base64"), "{cut}"),
        }
    }
}

#[test]
fn an_odd_byte_of_one_message_is_joined_with_the_next() {
    let samples: Vec<i16> = (0..100).map(|n| n * 300 - 15_000).collect();
    let bytes = to_bytes(&samples);
    let mut native = open(config());
    let mut heard = Vec::new();
    for piece in bytes.chunks(7) {
        heard.extend(played(&outputs(&mut native, Input::Text(&raw(8_000, piece, "")))));
    }
    assert_eq!(heard, samples);
}

#[test]
fn clear_a_new_format_and_a_reconnect_drop_an_odd_byte() {
    for forget in ["clear", "format", "reconnect"] {
        let mut native = open(config());
        outputs(&mut native, Input::Text(&raw(8_000, &[9], "")));
        let heard = match forget {
            "clear" => outputs(&mut native, Input::Text(&raw(8_000, &[1, 0], r#","clear":true"#))),
            "format" => outputs(&mut native, Input::Text(&raw(16_000, &[1, 0], ""))),
            _ => {
                outputs(&mut native, Input::Opened);
                outputs(&mut native, Input::Text(&raw(8_000, &[1, 0], "")))
            }
        };
        assert_eq!(played(&heard), [1], "{forget}");
    }
}

#[test]
fn audio_over_the_limit_is_refused_and_the_stream_goes_on() {
    let mut native = open(ProtocolConfig { max_audio_base64_len: 1_000, ..config() });
    assert_eq!(played(&outputs(&mut native, Input::Text(&raw(8_000, &[0; 750], "")))).len(), 375);
    let fault = outputs(&mut native, Input::Text(&raw(8_000, &[0; 753], "")));
    assert!(only_fault(&fault).contains("1004 characters is more than max_audio_base64_len=1000"));
    assert_eq!(played(&outputs(&mut native, Input::Text(&raw(8_000, &[7, 0], "")))), [7]);
}

#[test]
fn refused_audio_that_asks_to_clear_still_clears() {
    let replies = reply(r#"{"type":"streamAudio","data":{"clear":true,"audioDataType":"flac","audioData":"AAAA"}}"#);
    assert!(matches!(&replies[..], [Output::Clear, Output::Fault(_)]), "{replies:?}");
}

#[test]
fn text_of_the_server_in_a_fault_is_short_and_plain() {
    let text = format!("{{\"a\":\"%s%n\r\n\u{1b}[2J\u{7}{}", "x".repeat(100_000));
    let replies = reply(&text);
    let reason = only_fault(&replies);
    assert!(reason.len() < 300 && !reason.contains(|c: char| c.is_control()), "{reason:?}");
}

#[test]
fn nul_bytes_in_text_are_carried_or_refused_but_never_cut() {
    assert_eq!(reply("a\0b"), [Output::Event(ProtocolEvent::Json("a\0b".into()))]);
    let replies = reply("{\"type\":\"x\"}\0");
    assert!(only_fault(&replies).contains("not JSON"));
}

#[test]
fn binary_that_is_off_is_refused_once_per_connection() {
    let mut native = open(ProtocolConfig { binary_rate: BinaryRate::Off, ..config() });
    assert!(only_fault(&outputs(&mut native, Input::Binary(&[1, 2]))).contains("binary_rate"));
    assert_eq!(outputs(&mut native, Input::Binary(&[1, 2])), []);
    outputs(&mut native, Input::Opened);
    assert_eq!(outputs(&mut native, Input::Binary(&[1, 2])).len(), 1);
}

proptest! {
    #[test]
    fn any_value_in_any_field_is_played_or_named(
        field in prop_oneof![
            Just("type"), Just("data"), Just("audioDataType"), Just("sampleRate"), Just("channels"), Just("clear"),
            Just("file"), Just("audioData"), Just("unknown")
        ],
        value in prop_oneof![
            Just("null".to_owned()), Just("true".into()), Just("[]".into()), Just("{}".into()), Just("\"raw\"".into()),
            any::<i64>().prop_map(|n| n.to_string()), any::<f64>().prop_map(|n| format!("{n:e}")),
            "[a-zA-Z0-9+/=]{0,9}".prop_map(|text| format!("\"{text}\"")),
        ],
        wrapped in any::<bool>(),
    ) {
        let inner = [("audioDataType", "\"raw\""), ("sampleRate", "8000"), ("audioData", "\"AAAA\"")]
            .into_iter()
            .filter(|(name, _)| *name != field)
            .map(|(name, value)| format!("\"{name}\":{value}"))
            .chain([format!("\"{field}\":{value}")])
            .collect::<Vec<_>>()
            .join(",");
        let text =
            if wrapped { format!(r#"{{"type":"streamAudio","data":{{{inner}}}}}"#) } else { format!("{{{inner}}}") };
        let replies = reply(&text);
        prop_assert!(!replies.is_empty(), "{text} vanished");
    }

    #[test]
    fn metadata_and_texts_arrive_byte_for_byte(texts in proptest::collection::vec(".{1,40}", 1..8)) {
        let mut native = Session::new(Native::new(ProtocolConfig { metadata: Some(texts[0].clone()), ..config() }));
        let mut sent = outputs(&mut native, Input::Opened);
        for text in &texts[1..] {
            sent.extend(outputs(&mut native, Input::SendText(text)));
        }
        prop_assert_eq!(sent, texts.into_iter().map(Output::SendText).collect::<Vec<_>>());
    }
}

#[test]
fn g711_of_two_channels_may_be_cut_between_them() {
    let config = ProtocolConfig { codec: Codec::G711(Law::A), binary_channels: 2, ..config() };
    let mut native = open(config);
    let both = played(&outputs(&mut native, Input::Binary(&[0xd5, 0x55, 0xaa])));
    let rest = played(&outputs(&mut native, Input::Binary(&[0x2a])));
    assert_eq!((both, rest), (vec![8, -8], vec![32_256, -32_256]));
}

#[test]
fn too_many_marks_are_refused_and_the_others_answered() {
    let mut native = open(config());
    for number in 0..=MOST_MARKS {
        let text = format!(r#"{{"type":"mark","data":{{"name":"{number}"}}}}"#);
        let outputs = outputs(&mut native, Input::Text(&text));
        let marked = outputs.iter().any(|output| matches!(output, Output::Mark(_)));
        assert_eq!(marked, number < MOST_MARKS, "{number}: {outputs:?}");
    }
    let first = outputs(&mut native, Input::MarkHeard(MarkId(1)));
    assert_eq!(first, [Output::SendText(r#"{"type":"mark","data":{"name":"0","event":"playout"}}"#.into())]);
}
