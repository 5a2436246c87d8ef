//! Golden transcripts of the engine: what the service says, and what it means.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fmt::Write as _;
use std::path::Path;

use proptest::prelude::*;

use super::super::super::engine::Command;
use super::super::profile::Detection;
use super::super::setup::fuzzed;
use super::*;
use crate::conversation::functions::Function;
use crate::options::Options as _;
use crate::peer::Speaker;

/// The profiles that transcripts name.
fn engine(profile: &str) -> Gemini {
    let mut config = fuzzed();
    config.target.url = "wss://h/BidiGenerateContent".to_owned();
    config.profile.system = "Be brief.".to_owned();
    let parameters = serde_json::json!({"type": "object", "properties": {"id": {"type": "integer"}}});
    config.profile.tools = vec![Function::new("look_up", "Looks up.", parameters)];
    config.profile.turns = match profile {
        "service" | "no-interruption" => Turns::Service(Detection { silence_ms: Some(500), ..Detection::default() }),
        "module" => Turns::Module { streams: true },
        "module-waits" => Turns::Module { streams: false },
        other => panic!("no profile {other}"),
    };
    config.profile.interrupts = profile != "no-interruption";
    Gemini::new(config)
}

/// An output as text.
fn described(output: Output) -> String {
    match output {
        Output::Connect(target) => format!("connect {}", target.url),
        Output::Send(Message::Text(text)) => format!("send {text}"),
        Output::SendAudio { message: Message::Text(text), duration } => {
            let end = text.find("\"data\"").expect("there is audio");
            format!("audio {}ms {}…", duration.as_millis(), &text[..end])
        }
        Output::Event(event) => format!("event {event:?}"),
        Output::Fault(fault) => format!("fault {fault}"),
        Output::Close => "close".to_owned(),
        other => panic!("{other:?}"),
    }
}

/// What a transcript is if its inputs, the lines with `<`, are played; `=` names the profile.
fn played(name: &str, transcript: &str) -> String {
    let mut now = Instant::now();
    let (mut engine, mut made) = (None, String::new());
    for (number, line) in transcript.lines().enumerate().filter(|(_, line)| !line.starts_with('>')) {
        writeln!(made, "{line}").unwrap();
        let at = format!("{name}:{}", number + 1);
        let (mark, rest) = line.split_at(line.len().min(1));
        let rest = rest.trim_start();
        let (verb, argument) = rest.split_once(' ').unwrap_or((rest, ""));
        let words: Vec<_> = argument.split(' ').collect();
        let number = || words[0].parse::<u64>().unwrap();
        let after = |count: usize| words[count..].join(" ");
        let (options, bytes);
        let input = match (mark, verb) {
            ("" | "#", _) => continue,
            ("=", profile) => {
                engine = Some(self::engine(profile));
                continue;
            }
            (_, "connect") => Input::Command(Command::Connect { attempt: 0 }),
            (_, "opened") => Input::Opened { unix_seconds: 0 },
            (_, "text") => Input::Text(argument),
            (_, "json") => Input::Binary(argument.as_bytes()),
            (_, "binary") => Input::Binary(&[0xff, 0xfe]),
            (_, "closed") => {
                Input::Closed { code: number() as u16, reason: argument.split_once(' ').map_or("", |it| it.1) }
            }
            (_, "refused") => Input::Refused { status: words[0].parse().ok(), message: "no such thing" },
            (_, "speech") => Input::LocalSpeech(argument == "on"),
            (_, "audio") => {
                bytes = vec![1; FORMAT.bytes_in(Duration::from_millis(number()))];
                Input::Audio(&bytes)
            }
            (_, "pass") => {
                now += Duration::from_millis(number());
                Input::Timeout
            }
            (_, "prompt") => {
                let mut changed = AiOptions { system_prompt: argument.to_owned(), ..AiOptions::default() };
                for (key, value) in [("engine", "gemini"), ("gemini_api_key", "k"), ("gemini_model", "m")] {
                    AiOptions::rows().iter().find(|row| row.key == key).unwrap().set(&mut changed, value).unwrap();
                }
                options = changed;
                Input::Changed(&options)
            }
            (_, "begin") => {
                Input::Command(Command::BeginTurn { audio: vec![2; FORMAT.bytes_in(Duration::from_millis(number()))] })
            }
            (_, "commit") => Input::Command(Command::Commit),
            (_, "respond") => Input::Command(Command::Respond {
                request: number(),
                instructions: (words.len() > 1).then(|| after(1)),
            }),
            (_, "cancel") => Input::Command(Command::Cancel { response_id: words[0].into(), tell: words.len() == 1 }),
            (_, "message") => {
                let speaker = match words[0] {
                    "caller" => Speaker::Caller,
                    "agent" => Speaker::Agent,
                    _ => Speaker::System,
                };
                Input::Command(Command::Message { speaker, text: after(1), after: None, respond: false })
            }
            (_, "call") => {
                let (call_id, name) = (words[0].into(), words[1].into());
                Input::Command(Command::ToolCall { call_id, name, arguments: after(2) })
            }
            (_, "result") => Input::Command(Command::ToolOutput { call_id: words[0].into(), output: after(1) }),
            (_, "close") => Input::Command(Command::Close),
            _ => panic!("{at}: unknown input {verb}"),
        };
        let engine = engine.as_mut().expect("a transcript begins with a profile");
        engine.handle(now, input);
        while let Some(output) = engine.poll() {
            writeln!(made, "> {}", described(output)).unwrap();
        }
    }
    made
}

/// Every transcript of `tests/golden/gemini`; with `BLESS=1` what they say is what happens.
#[test]
fn the_engine_speaks_as_its_transcripts_say() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/gemini");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() > 10);
    for file in files {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        let transcript = std::fs::read_to_string(&file).unwrap();
        let made = played(&name, &transcript);
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(&file, &made).unwrap();
        } else {
            assert_eq!(made, transcript, "{name}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_message_of_the_service_breaks_anything(
        parts in proptest::collection::vec(prop_oneof![
            Just(r#"{"setupComplete":{}}"#.to_owned()),
            Just(r#"{"serverContent":{"interrupted":true}}"#.to_owned()),
            Just(r#"{"serverContent":{"turnComplete":true,"generationComplete":true}}"#.to_owned()),
            Just(r#"{"serverContent":{"modelTurn":{"parts":[{"inlineData":{"mimeType":"audio/pcm;rate=24000","data":"AAAA"}}]}}}"#.to_owned()),
            Just(r#"{"serverContent":{"outputTranscription":{"text":"a"},"inputTranscription":{"text":"b","finished":true}}}"#.to_owned()),
            Just(r#"{"toolCall":{"functionCalls":[{"id":"1","name":"f","args":{}}]}}"#.to_owned()),
            Just(r#"{"toolCallCancellation":{"ids":["1"]}}"#.to_owned()),
            Just(r#"{"goAway":{"timeLeft":"1s"}}"#.to_owned()),
            Just(r#"{"error":{"code":503,"status":"UNAVAILABLE"}}"#.to_owned()),
            "[ -~]{0,40}",
        ], 0..30)
    ) {
        super::super::fuzz_gemini_live(parts.join("\n").as_bytes());
    }
}
