//! Every parser of what comes from outside, on mutated inputs: commands, options, URLs, headers, the servers' protocols, a
//! service's events, encoded audio, a model's text. Nothing may panic, and what each target states must hold.
#![allow(unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod coverage;
mod engine;

use std::time::{Duration, Instant};

use engine::{Seeds, folder, read_all, run};
use mod_audio_stream::control::command::{COMMANDS, fuzz_command};
use mod_audio_stream::conversation::agent::{SentenceRules, SentenceSplitter};
use mod_audio_stream::conversation::openai::fuzz_openai_realtime;
use mod_audio_stream::inject::{DecodeLimits, decode};
use mod_audio_stream::protocol::{
    Audio, AudioKind, BinaryRate, ByteOrder, CallInfo, Codec, ControlFormat, Input, MarkId, Output, PROTOCOLS,
    ProtocolConfig, ProtocolEntry, Recognition, Request, WallClock,
};
use mod_audio_stream::transport::{Endpoint, read_headers};
use mod_audio_stream::units::{Mix, PcmFormat, SampleRate};

/// Lines of the golden transcripts of a protocol that the server sends: text as it is, binary messages after a byte 0.
fn transcripts(protocol: &str) -> Vec<Vec<u8>> {
    let input_of = |file: Vec<u8>| {
        let text = String::from_utf8(file).expect("transcripts are UTF-8");
        let messages = text.lines().filter_map(|line| {
            if let Some(text) = line.strip_prefix("< text ") {
                return Some(text.as_bytes().to_vec());
            }
            let hex = line.strip_prefix("< binary ")?.as_bytes();
            let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
            Some(std::iter::once(0).chain(hex.chunks(2).filter_map(byte)).collect())
        });
        messages.collect::<Vec<_>>().join(&b'\n')
    };
    let files = read_all(&folder("tests/golden").join(protocol));
    files.into_iter().map(input_of).filter(|input| !input.is_empty()).collect()
}

fn config() -> ProtocolConfig {
    ProtocolConfig {
        metadata: None,
        wire: PcmFormat { rate: SampleRate::HZ_8000, channels: 1 },
        mix: Mix::Mono,
        buffer_ms: 20,
        codec: Codec::Auto,
        byte_order: ByteOrder::Little,
        binary_rate: BinaryRate::Auto,
        binary_channels: 1,
        control: ControlFormat::Plain,
        queue_ms: 120_000,
        max_audio_base64_len: 1 << 20,
        allow_files: true,
        recognition: Recognition::default(),
        call: CallInfo {
            call_id: "call-1".into(),
            stream_id: "stream-1".into(),
            account_id: "account-1".into(),
            from: "+15550001".into(),
            to: "1000".into(),
            channel: "sofia/internal/1000@host".into(),
            outbound: false,
        },
        clock: WallClock { at: Instant::now(), since_epoch: Duration::from_secs(1_795_000_000) },
    }
}

/// Lines: a byte 0 makes the rest a binary message, 1 answers the oldest mark as heard, 2 as cleared, 3 lets a second pass; all
/// else is a text.
fn talk(entry: &ProtocolEntry, data: &[u8]) {
    let mut protocol = entry.make(config());
    let mut now = Instant::now();
    let mut marks: Vec<MarkId> = Vec::new();
    let mut handle = |input: Input<'_>, now: Instant, marks: &mut Vec<MarkId>| {
        protocol.handle(now, input);
        let mut outputs = 0;
        while let Some(output) = protocol.poll() {
            outputs += 1;
            assert!(outputs < 10_000, "one input has ever more outputs");
            check(&output);
            if let Output::Mark(id) = output {
                assert!(marks.last().is_none_or(|last| *last < id), "marks are new and in order");
                marks.push(id);
            }
        }
        protocol.deadline().is_some_and(|due| due <= now)
    };
    handle(Input::Opened, now, &mut marks);
    for line in data.split(|byte| *byte == b'\n').take(256) {
        match line.first() {
            Some(0) => handle(Input::Binary(&line[1..]), now, &mut marks),
            Some(1) if !marks.is_empty() => handle(Input::MarkHeard(marks.remove(0)), now, &mut marks),
            Some(2) if !marks.is_empty() => handle(Input::MarkCleared(marks.remove(0)), now, &mut marks),
            Some(3) => {
                now += Duration::from_secs(1);
                handle(Input::Timeout, now, &mut marks)
            }
            _ => handle(Input::Text(&String::from_utf8_lossy(line)), now, &mut marks),
        };
    }
    handle(Input::Stop { text: None, call_ended: true }, now, &mut marks);
}

fn check(output: &Output) {
    match output {
        Output::Play(play) => match &play.audio {
            Audio::Pcm { samples, format } => {
                assert!(samples.len().is_multiple_of(usize::from(format.channels)), "whole frames only");
            }
            Audio::Encoded { kind, .. } => assert!(!matches!(kind, AudioKind::Raw(_)), "samples are decoded at once"),
            Audio::File { .. } => {}
        },
        Output::Fault(fault) => {
            assert!(!fault.reason.is_empty() && fault.reason.len() < 1_024, "{} bytes", fault.reason.len());
            assert!(!fault.reason.contains(char::is_control), "{:?}", fault.reason);
        }
        Output::Request(Request::Transfer { destination }) => {
            let refused = |c: char| !c.is_ascii_graphic() || "${}|,;<>&\"'`\\".contains(c);
            assert!(destination.len() <= 128 && !destination.contains(refused), "{destination:?}");
        }
        Output::Request(Request::SendDtmf { digits }) => {
            let is_key = |c: char| matches!(c, '0'..='9' | 'A'..='D' | 'a'..='d' | '*' | '#' | 'w' | 'W');
            assert!((1..=64).contains(&digits.len()) && digits.chars().all(is_key), "{digits:?}");
        }
        Output::Close { reason, .. } => assert!(reason.len() <= 123),
        _ => {}
    }
}

#[test]
fn commands_and_their_options() {
    let words = COMMANDS.iter().map(|row| format!("3a7c {} name=x", row.verb).into_bytes());
    run("command", Seeds::of("command").and(words), fuzz_command);
}

#[test]
fn messages_of_servers_in_every_protocol() {
    for entry in PROTOCOLS {
        let seeds = Seeds::of("protocol").and(transcripts(entry.name));
        run(&format!("protocol-{}", entry.name), seeds, |data| talk(entry, data));
    }
}

#[test]
fn events_of_a_realtime_service() {
    let seeds = Seeds::of("openai_realtime").and(transcripts("openai_realtime"));
    run("openai_realtime", seeds, fuzz_openai_realtime);
}

#[test]
fn encoded_audio() {
    let limits = DecodeLimits { ms: 5_000, ..DecodeLimits::default() };
    let seeds = Seeds::of("audio").and(read_all(&folder("tests/audio")).into_iter().map(|mut file| {
        file.truncate(8 << 10);
        file
    }));
    run("audio", seeds, |data| {
        for kind in [AudioKind::Wav, AudioKind::Mp3, AudioKind::Ogg] {
            if let Ok((samples, format)) = decode(kind, data, limits) {
                let frames = samples.len() / usize::from(format.channels);
                assert!(samples.len().is_multiple_of(usize::from(format.channels)));
                assert!(frames <= format.rate.samples_in_ms(limits.ms), "{frames} at {} Hz", format.rate.hz());
            }
        }
    });
}

#[test]
fn sentences_of_a_model() {
    run("sentence", Seeds::of("sentence"), |data| {
        let text = String::from_utf8_lossy(data);
        for clean in [false, true] {
            let rules = SentenceRules { clean, ..SentenceRules::default() };
            let whole = rules.sentences(&text);
            // A model writes in pieces of any length.
            let mut pieces = Vec::new();
            let mut splitter = SentenceSplitter::new(rules);
            let mut buffer = [0; 4];
            for letter in text.chars() {
                splitter.push(letter.encode_utf8(&mut buffer), |sentence| pieces.push(sentence));
            }
            splitter.finish(|sentence| pieces.push(sentence));
            assert_eq!(whole, pieces, "{text:?}");
            assert!(whole.iter().all(|sentence| !sentence.trim().is_empty()), "{whole:?}");
            if !clean {
                let letters = |text: &str| text.chars().filter(|c| c.is_alphanumeric()).collect::<String>();
                assert_eq!(letters(&whole.concat()), letters(&text), "no word is lost");
            }
        }
    });
}

#[test]
fn urls_and_headers() {
    run("url", Seeds::of("url"), |data| {
        let text = String::from_utf8_lossy(data);
        for parse in [Endpoint::parse, Endpoint::parse_http] {
            if let Ok(endpoint) = parse(&text) {
                let shown = endpoint.to_string();
                assert!(
                    !endpoint.target().contains(char::is_whitespace) && !endpoint.authority().is_empty(),
                    "{shown}"
                );
            }
        }
        if let Ok(headers) = read_headers(&text) {
            for (name, value) in headers {
                assert!(!name.contains([':', '\r', '\n']) && !value.expose().contains(['\r', '\n']), "{name}");
            }
        }
    });
}
