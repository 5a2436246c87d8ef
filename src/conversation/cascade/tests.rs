//! Golden transcripts of the engine: what is asked for, and what its answers mean.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use crate::conversation::functions::Function;

fn engine() -> Cascade {
    let target = |url: &str| Target { url: url.to_owned(), ..Target::default() };
    let mut engine = Cascade::new(Config {
        stt: target("http://stt/v1/audio/transcriptions"),
        hints: Hints { model: "words".into(), ..Hints::default() },
        llm: target("http://llm/v1/chat/completions"),
        model: Model {
            name: "m".into(),
            tools: vec![Function::new("look_up", "", serde_json::json!({"type": "object"}))],
            ..Model::default()
        },
        system_prompt: "Be brief.".into(),
    });
    engine.handle(Instant::now(), Input::Command(Command::Connect { attempt: 0 }));
    engine
}

/// An output as text: what golden transcripts are written in.
fn described(engine: &mut Cascade) -> Vec<String> {
    let mut all = Vec::new();
    while let Some(output) = engine.poll() {
        all.push(match output {
            Output::Fetch(Fetch { id, target, body: Some(Body { content_type, bytes }) }) => match content_type {
                "application/json" => format!("post {id} {} {}", target.url, String::from_utf8(bytes).unwrap()),
                _ => format!("post {id} {} {} bytes", target.url, bytes.len()),
            },
            Output::AbortFetch { id } => format!("abort {id}"),
            Output::Event(event) => format!("event {event:?}"),
            Output::Fault(fault) => format!("fault {fault}"),
            Output::Close => "close".to_owned(),
            other => panic!("{other:?}"),
        });
    }
    all
}

/// Runs a transcript of `tests/golden/cascade`: `<` lines go in, `>` lines must come out, in order and no others.
fn run_transcript(name: &str, transcript: &str) {
    let mut now = Instant::now();
    let mut engine = engine();
    let mut waiting: VecDeque<String> = described(&mut engine).into();
    for (number, line) in transcript.lines().enumerate() {
        let at = format!("{name}:{}", number + 1);
        let (mark, rest) = line.split_at(line.len().min(1));
        let rest = rest.strip_prefix(' ').unwrap_or(rest);
        let (verb, argument) = rest.split_once(' ').unwrap_or((rest, ""));
        let words = argument.split(' ').collect::<Vec<_>>();
        let number = |at: usize| words[at].parse().unwrap();
        match mark {
            "" | "#" => continue,
            ">" => {
                assert_eq!(waiting.pop_front().as_deref(), Some(rest), "{at}");
                continue;
            }
            "<" => assert!(waiting.is_empty(), "{at}: not listed: {waiting:#?}"),
            _ => panic!("{at}: a line begins with #, < or >"),
        }
        let body: String;
        let audio: Vec<u8>;
        let input = match verb {
            "speech" => Input::LocalSpeech(argument == "on"),
            "audio" => {
                audio = vec![1; FORMAT.bytes_in(Duration::from_millis(number(0)))];
                Input::Audio(&audio)
            }
            "pass" => {
                now += Duration::from_millis(number(0));
                Input::Timeout
            }
            "head" => {
                let head = Fetched::Head { status: number(1) as u16, request_id: words.get(2).copied() };
                Input::Fetched { id: number(0), piece: head }
            }
            "body" => {
                body = words[1..].join(" ").replace("\\n", "\n");
                Input::Fetched { id: number(0), piece: Fetched::Body(body.as_bytes()) }
            }
            "end" => Input::Fetched { id: number(0), piece: Fetched::End },
            "fail" => {
                body = words[1..].join(" ");
                Input::Fetched { id: number(0), piece: Fetched::Failed(&body) }
            }
            "commit" => Input::Command(Command::Commit),
            "respond" => Input::Command(Command::Respond {
                request: number(0),
                instructions: (words.len() > 1).then(|| words[1..].join(" ")),
            }),
            "cancel" => Input::Command(Command::Cancel { response_id: argument.to_owned(), tell: true }),
            "delete" => Input::Command(Command::Delete { item_id: argument.to_owned() }),
            "message" => Input::Command(Command::Message {
                speaker: if words[0] == "user" { Speaker::Caller } else { Speaker::Agent },
                after: (words[1] != "-").then(|| words[1].to_owned()),
                text: words[2..].join(" "),
                respond: false,
            }),
            "result" => Input::Command(Command::ToolOutput { call_id: words[0].into(), output: words[1..].join(" ") }),
            "close" => Input::Command(Command::Close),
            _ => panic!("{at}: unknown input {verb}"),
        };
        engine.handle(now, input);
        waiting = described(&mut engine).into();
    }
    assert!(waiting.is_empty(), "{name}: not listed at the end: {waiting:#?}");
}

macro_rules! transcripts {
    ($($name:ident),* $(,)?) => {
        $(#[test]
        fn $name() {
            run_transcript(
                stringify!($name),
                include_str!(concat!("../../../tests/golden/cascade/", stringify!($name), ".txt")),
            );
        })*
    };
}

transcripts!(
    a_turn_is_written_down_and_answered,
    what_was_heard_takes_the_place_of_what_was_written,
    a_function_is_called_and_talked_about,
    a_noise_is_no_turn,
    a_recognition_that_fails_is_asked_twice,
    a_model_that_fails_fails_its_response,
    a_refused_key_ends_the_conversation,
);
