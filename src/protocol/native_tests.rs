//! Tests of the native protocol: golden transcripts, malformed messages, fuzz seeds.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;

use super::*;

const MONO_8K: PcmFormat = PcmFormat { rate: SampleRate::HZ_8000, channels: 1 };

fn config() -> ProtocolConfig {
    ProtocolConfig { metadata: None, wire: MONO_8K, binary: None, max_audio_base64_len: 1_000_000 }
}

fn open(config: ProtocolConfig) -> Native {
    let mut native = Native::new(config);
    native.handle(Instant::now(), Input::Opened);
    native
}

fn outputs(native: &mut Native, input: Input<'_>) -> Vec<Output> {
    native.handle(Instant::now(), input);
    std::iter::from_fn(|| native.poll()).collect()
}

/// What the far end's `text` alone makes of a fresh connection.
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
        .flat_map(|output| if let Output::Play(play) = output { play.samples.clone() } else { Vec::new() })
        .collect()
}

/// Runs a transcript of `tests/golden/native`: `<` lines go in, `>` lines must come out, in order and nothing else.
fn run_transcript(name: &str, transcript: &str) {
    let mut setup = config();
    let mut native: Option<Native> = None;
    let mut waiting: VecDeque<String> = VecDeque::new();
    for (number, line) in transcript.lines().enumerate() {
        let at = format!("{name}:{}", number + 1);
        let (mark, rest) = line.split_at(line.len().min(1));
        let rest = rest.strip_prefix(' ').unwrap_or(rest);
        let (verb, argument) = rest.split_once(' ').unwrap_or((rest, ""));
        match mark {
            "" | "#" => {}
            "=" => match verb {
                "metadata" => setup.metadata = Some(argument.to_owned()),
                "binary" => {
                    let (rate, channels) = argument.split_once(' ').unwrap();
                    setup.binary = Some(PcmFormat {
                        rate: SampleRate::new(rate.parse().unwrap()).unwrap(),
                        channels: channels.parse().unwrap(),
                    });
                }
                "max_audio_base64_len" => setup.max_audio_base64_len = argument.parse().unwrap(),
                _ => panic!("{at}: unknown setting {verb}"),
            },
            "<" => {
                assert_eq!(waiting, VecDeque::<String>::new(), "{at}: not all outputs of the last input are listed");
                let native = native.get_or_insert_with(|| Native::new(setup.clone()));
                let samples: Vec<i16>;
                let bytes: Vec<u8>;
                let input = match verb {
                    "opened" => Input::Opened,
                    "text" => Input::Text(argument),
                    "send_text" => Input::SendText(argument),
                    "stop" => Input::Stop { text: (!argument.is_empty()).then_some(argument) },
                    "audio" => {
                        samples = argument.split(' ').map(|sample| sample.parse().unwrap()).collect();
                        Input::Audio(&samples)
                    }
                    "binary" => {
                        bytes = argument.split(' ').map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect();
                        Input::Binary(&bytes)
                    }
                    _ => panic!("{at}: unknown input {verb}"),
                };
                waiting = outputs(native, input).iter().map(describe).collect();
            }
            ">" => assert_eq!(waiting.pop_front().as_deref(), Some(rest), "{at}"),
            _ => panic!("{at}: a line begins with #, =, < or >"),
        }
    }
    assert_eq!(waiting, VecDeque::<String>::new(), "{name}: outputs at the end are not listed");
}

fn describe(output: &Output) -> String {
    match output {
        Output::SendText(text) => format!("send_text {text}"),
        Output::SendBinary(bytes) => {
            format!("send_binary {}", bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" "))
        }
        Output::Play(play) => format!(
            "play {} {} {}{}",
            play.format.rate,
            play.format.channels,
            if play.clear { "clear " } else { "" },
            play.samples.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
        )
        .trim_end()
        .to_owned(),
        Output::Clear => "clear".into(),
        Output::Event(ProtocolEvent::Json(text)) => format!("json {text}"),
        Output::Event(ProtocolEvent::Play(text)) => format!("play_event {text}"),
        Output::Fault(fault) => format!("fault {fault}"),
        Output::Close { code, reason } => format!("close {code} {reason}"),
    }
}

macro_rules! golden {
    ($($name:ident),+ $(,)?) => {$(
        #[test]
        fn $name() {
            run_transcript(
                stringify!($name),
                include_str!(concat!("../../tests/golden/native/", stringify!($name), ".txt")),
            );
        }
    )+};
}

mod golden {
    use super::run_transcript;
    golden!(
        metadata_is_the_first_text_of_every_connection,
        captured_audio_is_little_endian,
        texts_are_kept_verbatim_and_apart,
        stream_audio_is_played,
        other_text_is_a_json_event,
        binary_audio_keeps_odd_bytes,
        unusable_messages_are_faults,
        nothing_is_said_before_open_nor_after_stop,
    );
}

#[test]
fn every_wire_rate_and_both_channel_counts_are_played() {
    for hz in [8_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 64_000] {
        for channels in [1, 2] {
            let text = raw(hz, &[1, 0, 2, 0, 3, 0, 4, 0], &format!(r#","channels":{channels}"#));
            let replies = reply(&text);
            let Some(Output::Play(play)) = replies.last() else { panic!("{hz} {channels}: {replies:?}") };
            assert_eq!((play.format.rate.hz(), play.format.channels, play.clear), (hz, channels, false));
            assert_eq!(play.samples, [1, 2, 3, 4]);
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
fn base64_cut_anywhere_is_a_fault_or_shorter_audio_but_never_wrong_audio() {
    let samples: Vec<i16> = (0..120).map(|n| n * 257).collect();
    let whole = STANDARD.encode(pcm::to_bytes(&samples));
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
    let bytes = pcm::to_bytes(&samples);
    let mut native = open(config());
    let mut heard = Vec::new();
    for piece in bytes.chunks(7) {
        heard.extend(played(&outputs(&mut native, Input::Text(&raw(8_000, piece, "")))));
    }
    assert_eq!(heard, samples);
}

#[test]
fn an_odd_byte_is_forgotten_on_clear_on_another_format_and_on_reconnect() {
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
fn audio_longer_than_the_limit_is_refused_and_the_stream_goes_on() {
    let mut native = open(ProtocolConfig { max_audio_base64_len: 1_000, ..config() });
    assert_eq!(played(&outputs(&mut native, Input::Text(&raw(8_000, &[0; 750], "")))).len(), 375);
    let fault = outputs(&mut native, Input::Text(&raw(8_000, &[0; 753], "")));
    assert!(only_fault(&fault).contains("1004 characters is more than max_audio_base64_len=1000"));
    assert_eq!(played(&outputs(&mut native, Input::Text(&raw(8_000, &[7, 0], "")))), [7]);
}

#[test]
fn refused_audio_that_asks_to_clear_still_clears() {
    let replies = reply(r#"{"type":"streamAudio","data":{"clear":true,"audioDataType":"mp3","audioData":"AAAA"}}"#);
    assert!(matches!(&replies[..], [Output::Clear, Output::Fault(_)]), "{replies:?}");
}

#[test]
fn text_of_the_far_end_in_a_fault_is_short_and_plain() {
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
fn binary_without_a_format_is_refused_once_per_connection() {
    let mut native = open(config());
    assert!(only_fault(&outputs(&mut native, Input::Binary(&[1, 2]))).contains("binary_rate"));
    assert_eq!(outputs(&mut native, Input::Binary(&[1, 2])), []);
    outputs(&mut native, Input::Opened);
    assert_eq!(outputs(&mut native, Input::Binary(&[1, 2])).len(), 1);
}

#[test]
fn fuzz_seeds_hold() {
    let mut seeds: Vec<Vec<u8>> = vec![vec![], vec![0], vec![255; 40], vec![1, 3, 1, 1, 2, 3, 3, 1, 4, 5]];
    for text in [
        raw(8_000, b"abc", ""),
        raw(48_000, b"abcd", r#","channels":2,"clear":true"#),
        r#"{"type":"streamAudio"}"#.into(),
        r#"{"type":"streamAudio","data":null}"#.into(),
        r#"{"type":"streamAudio","data":[[[]]]}"#.into(),
        r#"{"audioData":"A","audioData":5,"audioDataType":null}"#.into(),
        r#"{"audioDataType":"raw","sampleRate":"8000","audioData":"\u0041AAA"}"#.into(),
        "\u{0}\u{feff}{}".into(),
    ] {
        for setup in [0, 1, 2, 0x80] {
            for kind in 0..8 {
                let mut seed = vec![setup, kind, 31];
                seed.extend(format!("{text:<248}").bytes());
                seed.extend([0, 31]);
                seed.extend(text.bytes());
                seeds.push(seed);
            }
        }
    }
    for seed in &seeds {
        for end in 0..=seed.len() {
            fuzz_native(&seed[..end]);
        }
    }
}

proptest! {
    #[test]
    fn no_session_of_any_bytes_breaks_an_invariant(data in proptest::collection::vec(any::<u8>(), 0..2_000)) {
        fuzz_native(&data);
    }

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
        let mut native = Native::new(ProtocolConfig { metadata: Some(texts[0].clone()), ..config() });
        let mut sent = outputs(&mut native, Input::Opened);
        for text in &texts[1..] {
            sent.extend(outputs(&mut native, Input::SendText(text)));
        }
        prop_assert_eq!(sent, texts.into_iter().map(Output::SendText).collect::<Vec<_>>());
    }
}
