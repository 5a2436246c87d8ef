//! Golden transcripts of engines: what goes in, and word for word what comes out.
//!
//! ```text
//! # a remark
//! < text {"type":"ping","ping_event":{"event_id":1}}
//! > send {"type":"pong","event_id":1}
//! ```
//! `<` lines go in, `>` lines must come out, in order and no others.

#![allow(clippy::panic)]

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::engine::{Command, Engine, Event, Input, Memory, Output};
use super::options::AiOptions;
use crate::options::Options as _;
use crate::peer::{Fetched, Message, Speaker};
use crate::units::Secret;

/// Audio that is written down sample by sample is shorter.
const SHORT: Duration = Duration::from_millis(10);

/// The options of an engine's tests: its `own`, and over them those of one test.
pub(super) fn options(own: &[(&str, &str)], given: &[(&str, &str)]) -> AiOptions {
    let mut options = AiOptions::default();
    let rows = AiOptions::rows();
    for (key, value) in own.iter().chain(given) {
        let row = rows.iter().find(|row| row.key == *key).unwrap_or_else(|| panic!("no option {key}"));
        row.set(&mut options, value).unwrap_or_else(|why| panic!("{key}: {why}"));
    }
    options
}

/// What an engine wants, each as one line.
pub(super) fn described(engine: &mut dyn Engine) -> Vec<String> {
    let mut all = Vec::new();
    while let Some(output) = engine.poll() {
        all.push(match output {
            Output::Connect(target) => {
                let headers: Vec<_> = target.headers.iter().map(|(name, _)| format!(" {name}")).collect();
                let address = match target.secret.as_ref().map(Secret::expose) {
                    Some(path) if path.starts_with('/') => format!("{}/***", target.url.trim_end_matches('/')),
                    Some(_) => format!("{}?***", target.url),
                    None => target.url.clone(),
                };
                format!("connect {address}{}", headers.concat())
            }
            Output::Fetch(fetch) => {
                let headers: Vec<_> = fetch.target.headers.iter().map(|(name, _)| format!(" {name}")).collect();
                let (verb, body) = match &fetch.body {
                    None => ("get", String::new()),
                    Some(body) => ("post", format!(" {}", String::from_utf8_lossy(&body.bytes))),
                };
                format!("{verb} {} {}{}{body}", fetch.id, fetch.target.url, headers.concat())
            }
            Output::AbortFetch { id } => format!("abort {id}"),
            Output::Send(Message::Text(text)) => format!("send {text}"),
            Output::SendAudio { message: Message::Text(text), duration } => {
                format!("audio {}ms {text}", duration.as_millis())
            }
            Output::Send(Message::Binary(bytes)) => format!("send {bytes:02x?}"),
            Output::SendAudio { message: Message::Binary(bytes), duration } => {
                format!("audio {}ms {bytes:02x?}", duration.as_millis())
            }
            // More audio than is read one by one.
            Output::Event(Event::Audio { response_id, item_id, audio, .. }) if audio.duration() >= SHORT => {
                format!("play {response_id} {item_id} {}ms", audio.duration().as_millis())
            }
            Output::Event(event) => format!("event {event:?}"),
            Output::Fault(fault) => format!("fault {fault}"),
            Output::Close => "close".to_owned(),
        });
    }
    all
}

/// The past as a transcript has it: `user: words | agent: words | system: words | call: id | output: id`.
fn past(at: &str, text: &str) -> Vec<Memory> {
    let memory = |entry: &str| match entry.split_once(": ") {
        Some(("user", text)) => Memory::Words { speaker: Speaker::Caller, text: text.into() },
        Some(("agent", text)) => Memory::Words { speaker: Speaker::Agent, text: text.into() },
        Some(("system", text)) => Memory::Words { speaker: Speaker::System, text: text.into() },
        Some(("call", id)) => Memory::Call { call_id: id.into(), name: "look_up".into(), arguments: "{}".into() },
        Some(("output", id)) => Memory::Output { call_id: id.into(), output: "7".into() },
        _ => panic!("{at}: {entry}"),
    };
    text.split(" | ").filter(|entry| !entry.is_empty()).map(memory).collect()
}

/// Runs a transcript of an engine whose options do not change.
#[track_caller]
pub(super) fn run(engine: &mut dyn Engine, name: &str, transcript: &str) {
    run_with(engine, name, transcript, &|change| panic!("{name}: {change}"));
}

/// Runs a transcript. `changed` makes the options of `< change name=value`.
#[track_caller]
pub(super) fn run_with(engine: &mut dyn Engine, name: &str, transcript: &str, changed: &dyn Fn(&str) -> AiOptions) {
    let mut now = Instant::now();
    let mut waiting: VecDeque<String> = described(engine).into();
    for (number, line) in transcript.lines().enumerate() {
        let at = format!("{name}:{}", number + 1);
        let (mark, rest) = line.split_at(line.len().min(1));
        let rest = rest.strip_prefix(' ').unwrap_or(rest);
        match mark {
            "" | "#" => continue,
            ">" => {
                assert_eq!(waiting.pop_front().as_deref(), Some(rest), "{at}");
                continue;
            }
            "<" => assert!(waiting.is_empty(), "{at}: not listed: {waiting:#?}"),
            _ => panic!("{at}: a line begins with #, < or >"),
        }
        let (verb, argument) = rest.split_once(' ').unwrap_or((rest, ""));
        let words = argument.split(' ').collect::<Vec<_>>();
        let number = |index: usize| words[index].parse::<u64>().unwrap_or_else(|_| panic!("{at}: a number"));
        let after = |count: usize| words.get(count..).unwrap_or_default().join(" ");
        let (text, bytes, options);
        let input = match verb {
            "opened" => Input::Opened { unix_seconds: 1_000_000 },
            "refused" => {
                text = after(1);
                Input::Refused { status: Some(number(0) as u16), message: &text }
            }
            "closed" => {
                text = after(1);
                Input::Closed { code: number(0) as u16, reason: &text }
            }
            "text" => Input::Text(argument),
            "audio" => {
                let byte = |byte: &&str| u8::from_str_radix(byte, 16).unwrap_or_else(|_| panic!("{at}: a byte"));
                bytes = words.iter().map(byte).collect::<Vec<_>>();
                Input::Audio(&bytes)
            }
            "pass" => {
                now += Duration::from_millis(number(0));
                Input::Timeout
            }
            "head" => {
                Input::Fetched { id: number(0), piece: Fetched::Head { status: number(1) as u16, request_id: None } }
            }
            "body" => {
                text = after(1);
                Input::Fetched { id: number(0), piece: Fetched::Body(text.as_bytes()) }
            }
            "end" => Input::Fetched { id: number(0), piece: Fetched::End },
            "fail" => {
                text = after(1);
                Input::Fetched { id: number(0), piece: Fetched::Failed(&text) }
            }
            "binary" => Input::Binary(argument.as_bytes()),
            "change" => {
                options = changed(argument);
                Input::Changed(&options)
            }
            "recall" => Input::Command(Command::Recall { past: past(&at, argument) }),
            "connect" => Input::Command(Command::Connect { attempt: 0 }),
            "respond" => {
                let instructions = (words.len() > 1).then(|| after(1));
                Input::Command(Command::Respond { request: number(0), instructions })
            }
            "cancel" => Input::Command(Command::Cancel { response_id: argument.to_owned(), tell: true }),
            "forget" => Input::Command(Command::Cancel { response_id: argument.to_owned(), tell: false }),
            "message" | "question" => {
                let speaker = match words[0] {
                    "user" => Speaker::Caller,
                    "system" => Speaker::System,
                    _ => Speaker::Agent,
                };
                let respond = verb == "question";
                Input::Command(Command::Message { speaker, text: after(1), after: None, respond })
            }
            "call" => Input::Command(Command::ToolCall {
                call_id: words[0].to_owned(),
                name: words[1].to_owned(),
                arguments: after(2),
            }),
            "result" => Input::Command(Command::ToolOutput { call_id: words[0].to_owned(), output: after(1) }),
            "approve" => {
                Input::Command(Command::Approve { request_id: argument.to_owned(), approve: true, reason: None })
            }
            "raw" => Input::Command(Command::Raw { event: argument.to_owned() }),
            "close" => Input::Command(Command::Close),
            _ => panic!("{at}: unknown input {verb}"),
        };
        engine.handle(now, input);
        waiting = described(engine).into();
    }
    assert!(waiting.is_empty(), "{name}: not listed at the end: {waiting:#?}");
}
