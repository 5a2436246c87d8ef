//! The form of an input that is more than one message: what a server sends, and what happens in the call meanwhile.
//!
//! A step begins with a byte below 32 that says what it is; byte 0 and byte 11 are followed by two bytes of length (little end first)
//! and so many bytes. Every other step is a text and ends with its line. So mutations change single messages, and the bytes of a
//! binary message, line feeds among them, stay together.

use std::borrow::Cow;

use crate::engine::{folder, read_all};

/// Steps of one input. More would be slow and no different.
const MOST: usize = 256;
/// A binary message.
pub const BINARY: u8 = 0;
/// Some of the body of an HTTP response.
pub const BODY: u8 = 11;

/// One step.
pub enum Step<'a> {
    /// A text message.
    Text(Cow<'a, str>),
    /// Bytes, and what they are: [`BINARY`] or [`BODY`].
    Bytes(u8, &'a [u8]),
    /// Anything else, by its number.
    Happens(u8),
}

/// The steps of `data`.
pub fn steps(mut data: &[u8]) -> impl Iterator<Item = Step<'_>> {
    let next = move || {
        let (&first, rest) = data.split_first()?;
        let step = match first {
            BINARY | BODY => {
                let (length, rest) = rest.split_at(rest.len().min(2));
                let length = length.iter().rev().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
                let (bytes, rest) = rest.split_at(rest.len().min(length));
                data = rest;
                Step::Bytes(first, bytes)
            }
            0x20.. => {
                let end = data.iter().position(|byte| *byte == b'\n').unwrap_or(data.len());
                let (line, rest) = data.split_at(end);
                data = rest;
                Step::Text(String::from_utf8_lossy(line))
            }
            other => {
                data = rest;
                Step::Happens(other)
            }
        };
        Some(step)
    };
    std::iter::from_fn(next).take(MOST)
}

/// Bytes as a step.
fn bytes(kind: u8, bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).expect("messages of transcripts are short");
    [&[kind], &length.to_le_bytes()[..], bytes].concat()
}

/// What comes in, of a line of a golden transcript.
fn step(line: &str) -> Option<Vec<u8>> {
    let (verb, argument) = line.strip_prefix("< ")?.split_once(' ').unwrap_or((&line[2..], ""));
    let hex = |pair: &str| u8::from_str_radix(pair, 16).ok();
    Some(match verb {
        "text" | "json" => argument.as_bytes().to_vec(),
        "binary" => bytes(BINARY, &argument.split_whitespace().filter_map(hex).collect::<Vec<_>>()),
        "body" => bytes(BODY, argument.split_once(' ')?.1.replace("\\n", "\n").as_bytes()),
        "head" => vec![if argument.ends_with(" 200") { HEAD_200 } else { HEAD_500 }],
        "end" => vec![END],
        "fail" => vec![FAIL],
        "heard" => vec![HEARD],
        "cleared" => vec![CLEARED],
        "wait" => vec![LATER],
        _ => return None,
    })
}

/// The golden transcripts of a protocol or engine as inputs, one each: what comes in.
pub fn transcripts(name: &str) -> Vec<Vec<u8>> {
    let input_of = |file: Vec<u8>| {
        let text = String::from_utf8(file).expect("transcripts are UTF-8");
        text.lines().filter_map(step).collect::<Vec<_>>().join(&b'\n')
    };
    let files = read_all(&folder("tests/golden").join(name));
    files.into_iter().map(input_of).filter(|input| !input.is_empty()).collect()
}

/// What happens, by its number.
pub const HEARD: u8 = 1;
pub const CLEARED: u8 = 2;
pub const LATER: u8 = 3;
pub const SPEAKS: u8 = 4;
pub const SILENT: u8 = 5;
pub const AUDIO: u8 = 6;
pub const CLOSED: u8 = 7;
pub const HEAD_200: u8 = 8;
pub const KEY: u8 = 12;
pub const HEAD_401: u8 = 14;
pub const HEAD_500: u8 = 15;
pub const END: u8 = 16;
pub const FAIL: u8 = 17;
pub const INTERRUPT: u8 = 18;
pub const FULL: u8 = 19;
pub const DENIED: u8 = 20;
