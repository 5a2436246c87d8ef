//! Golden transcripts of the engine: what is asked for, and what its answers mean.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::VecDeque;
use std::time::Duration;

use super::super::live::{Live, Parts};
use super::super::recogniser::Asked;
use super::super::recognisers;
use super::super::recognition::Hints;
use super::super::transcribing::Transcribing;
use super::*;
use crate::conversation::functions::Function;
use crate::conversation::options::{Detection, Eagerness};
use crate::conversation::services::SttProvider;
use crate::peer::{Message, Retry};

fn target(url: &str) -> Target {
    Target { url: url.to_owned(), ..Target::default() }
}

/// Without words a recognition that is asked for each turn, otherwise a recogniser: its model, who finds the turns, and whether the
/// language model begins early.
fn engine(words: &[&str]) -> Cascade {
    let early = words.contains(&"early");
    let (hearing, turns) = match words {
        [] => {
            let hints = Hints { model: "words".into(), ..Hints::default() };
            let turns = Transcribing::new(target("http://stt/v1/audio/transcriptions"), hints, FORMAT);
            (Hearing::Written(Box::new(turns)), TurnTaking::Local)
        }
        [model, ..] => {
            let locally = words.contains(&"local");
            let asked = Asked {
                model: (*model).to_owned(),
                language: String::new(),
                prompt: String::new(),
                format: FORMAT,
                turns: if locally { Detection::Local } else { Detection::Server },
                silence: Duration::from_millis(500),
                eagerness: Eagerness::Auto,
                early,
            };
            let service = (recognisers::find(SttProvider::Deepgram).unwrap().make)(&asked);
            let retry = Retry { attempts: 2, ..Retry::default() };
            let parts = Parts { service, target: target("wss://stt"), format: FORMAT, locally, retry };
            let by_service = TurnTaking::Engine { responds: false, interrupts: false };
            (Hearing::Live(Box::new(Live::new(parts))), if locally { TurnTaking::Local } else { by_service })
        }
    };
    let config = Config {
        llm: target("http://llm/v1/chat/completions"),
        model: Model {
            name: "m".into(),
            tools: vec![Function::new("look_up", "", serde_json::json!({"type": "object"}))],
            ..Model::default()
        },
        system_prompt: "Be brief.".into(),
        turns,
        early,
    };
    let mut engine = Cascade::new(config, hearing);
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
            Output::Connect(target) => format!("connect {}", target.url),
            Output::Send(Message::Text(text)) => format!("send {text}"),
            Output::SendAudio { message: Message::Binary(audio), duration } => {
                assert_eq!(FORMAT.duration_of(audio.len()), duration);
                format!("audio {}", duration.as_millis())
            }
            other => panic!("{other:?}"),
        });
    }
    all
}

/// Runs a transcript of `tests/golden/cascade`: `<` lines go in, `>` lines must come out, in order and no others. A first line with `=`
/// says how the caller is heard.
fn run_transcript(name: &str, transcript: &str) {
    let mut now = Instant::now();
    let asked = transcript.lines().next().and_then(|line| line.strip_prefix("= ")).unwrap_or_default();
    let mut engine = engine(&asked.split_whitespace().collect::<Vec<_>>());
    let mut waiting: VecDeque<String> = described(&mut engine).into();
    for (number, line) in transcript.lines().enumerate() {
        let at = format!("{name}:{}", number + 1);
        let (mark, rest) = line.split_at(line.len().min(1));
        let rest = rest.strip_prefix(' ').unwrap_or(rest);
        let (verb, argument) = rest.split_once(' ').unwrap_or((rest, ""));
        let words = argument.split(' ').collect::<Vec<_>>();
        let number = |at: usize| words[at].parse().unwrap();
        match mark {
            "" | "#" | "=" => continue,
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
            "connect" => Input::Command(Command::Connect { attempt: 1 }),
            "opened" => Input::Opened { unix_seconds: 0 },
            "refused" => Input::Refused { status: words[0].parse().ok(), message: "refused" },
            "closed" => Input::Closed { code: number(0) as u16, reason: "" },
            "text" => Input::Text(argument),
            "begin" => {
                let audio = vec![1; FORMAT.bytes_in(Duration::from_millis(number(0)))];
                Input::Command(Command::BeginTurn { audio })
            }
            "results" => {
                body = results(&words);
                Input::Text(&body)
            }
            "turn" => {
                body = turn(&words);
                Input::Text(&body)
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

/// Results of Deepgram's: beginning and end in seconds, `i` for interim, `f` for final, `s` for the end of speech or `z` for what was
/// asked to finish, the words.
fn results(words: &[&str]) -> String {
    let (start, end): (f64, f64) = (words[0].parse().unwrap(), words[1].parse().unwrap());
    let (kind, text) = (words[2], words[3..].join(" "));
    let word = serde_json::json!({"word": text, "start": start, "end": end, "confidence": 1});
    let words = if text.is_empty() { Vec::new() } else { vec![word] };
    let alternative = serde_json::json!({"transcript": text, "confidence": 1, "words": words});
    serde_json::json!({"type": "Results", "channel_index": [0, 1], "start": start, "duration": end - start,
        "is_final": kind != "i", "speech_final": kind == "s", "from_finalize": kind == "z",
        "channel": {"alternatives": [alternative]}})
    .to_string()
}

/// What Flux says of a turn: the event, beginning and end in seconds, the words.
fn turn(words: &[&str]) -> String {
    let (start, end): (f64, f64) = (words[1].parse().unwrap(), words[2].parse().unwrap());
    serde_json::json!({"type": "TurnInfo", "event": words[0], "turn_index": 0, "audio_window_start": start,
        "audio_window_end": end, "transcript": words[3..].join(" "), "words": [], "end_of_turn_confidence": 0.5})
    .to_string()
}

macro_rules! transcripts {
    ($($name:ident),* $(,)?) => {
        const NAMES: &[&str] = &[$(stringify!($name)),*];

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
    a_recogniser_ends_the_turn_and_it_is_answered,
    the_module_ends_the_turn_and_the_recogniser_finishes,
    an_early_answer_fits_or_is_thrown_away,
    flux_says_early_that_a_turn_may_be_over,
    a_lost_recogniser_is_called_again_with_its_audio,
    a_recogniser_that_refuses_ends_the_conversation,
);

/// Every transcript in the folder is run.
#[test]
fn no_transcript_of_a_cascade_is_forgotten() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/cascade");
    let mut found: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned())
        .collect();
    found.sort();
    let mut run: Vec<_> = NAMES.iter().map(|name| (*name).to_owned()).collect();
    run.sort();
    assert_eq!(found, run);
}
