//! The documentation says what the module does: its tables are those of the code, the module accepts the commands and
//! messages that it shows, and its links lead somewhere.
//!
//! `BLESS=1 cargo test --test documentation` writes the tables anew.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;
use std::time::{Duration, Instant};

use mod_audio_stream::control::docs;
use mod_audio_stream::control::{command, config, health, options};
use mod_audio_stream::protocol::{self, Audio, Input, Output, Play, ProtocolConfig, ProtocolEvent, WallClock};
use mod_audio_stream::transport::ErrorCode;
use mod_audio_stream::units::{PcmFormat, SampleRate};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(document: &str) -> String {
    std::fs::read_to_string(root().join(document)).unwrap_or_else(|error| panic!("{document}: {error}"))
}

/// The README and every page of `docs/`: what operators and authors of servers read.
fn pages() -> Vec<String> {
    let mut pages: Vec<_> = std::fs::read_dir(root().join("docs"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".md"))
        .map(|name| format!("docs/{name}"))
        .collect();
    pages.sort();
    pages.insert(0, "README.md".to_owned());
    pages
}

/// The page, the name and the content of each generated table.
fn tables() -> [(&'static str, &'static str, String); 9] {
    [
        ("docs/commands.md", "commands", docs::commands_markdown()),
        ("docs/options.md", "options", docs::options_markdown()),
        ("docs/options.md", "speech_options", docs::speech_options_markdown()),
        ("docs/options.md", "ai_options", docs::ai_options_markdown()),
        ("docs/options.md", "settings", docs::settings_markdown()),
        ("docs/options.md", "no_effect", docs::no_effect_markdown()),
        ("docs/events.md", "events", docs::events_markdown()),
        ("docs/operations.md", "metrics", docs::metrics_markdown()),
        ("docs/operations.md", "pages", docs::pages_markdown()),
    ]
}

/// `text` with `table` between the marks of `name`.
fn with_table(text: &str, name: &str, table: &str) -> String {
    let open = format!("<!-- table {name}: written by tests/documentation.rs -->\n");
    let (before, rest) = text.split_once(&open).unwrap_or_else(|| panic!("there is no place for the table {name}"));
    let (_, after) = rest.split_once("<!-- end -->").unwrap_or_else(|| panic!("the table {name} has no end"));
    format!("{before}{open}{table}<!-- end -->{after}")
}

/// The text of the section with this heading, up to the next heading of level two.
fn section<'a>(text: &'a str, heading: &str) -> &'a str {
    let (_, rest) = text.split_once(&format!("\n## {heading}\n")).unwrap_or_else(|| panic!("no section {heading}"));
    rest.split_once("\n## ").map_or(rest, |(section, _)| section)
}

/// The fenced blocks of a language.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut lines = text.lines().map(str::trim_start);
    while let Some(line) = lines.next() {
        if let Some(of) = line.strip_prefix("```").filter(|of| !of.is_empty()) {
            let block: Vec<_> = lines.by_ref().take_while(|line| *line != "```").collect();
            if of == language {
                blocks.push(block.join("\n"));
            }
        }
    }
    blocks
}

#[test]
fn the_documentation_has_the_tables_of_the_code() {
    for (page, name, table) in tables() {
        let text = read(page);
        let blessed = with_table(&text, name, &table);
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(root().join(page), &blessed).unwrap();
        } else {
            assert!(text == blessed, "the table {name} of {page} is not what the code gives; see BLESS");
        }
    }
}

#[test]
fn the_readme_is_short() {
    let bytes = read("README.md").len();
    assert!(bytes <= 10_240, "README.md has {bytes} bytes; details belong in docs/");
}

#[test]
fn every_command_the_documentation_shows_is_understood() {
    let mut shown: Vec<String> = Vec::new();
    for text in pages().iter().map(|page| read(page)) {
        for block in blocks(&text, "text").iter().chain(&blocks(&text, "sh")) {
            for line in block.lines() {
                if let Some(command) = line.strip_prefix("uuid_audio_stream ") {
                    shown.push(command.to_owned());
                } else if let Some((_, command)) = line.split_once("\"uuid_audio_stream ") {
                    shown.push(command.strip_suffix('"').unwrap().replace("\\\"", "\""));
                }
            }
        }
    }
    assert!(shown.len() > 10, "{shown:?}");
    for line in &shown {
        if let Err(error) = command::parse(line.as_bytes()) {
            panic!("{line}: {error}");
        }
    }
    // What looks like an option and is none would silently become metadata.
    for line in shown.iter().filter(|line| line.contains(" start ")) {
        let options = line.split(" {").next().unwrap().split_whitespace().filter_map(|word| word.split_once('='));
        for (key, _) in options.filter(|(key, _)| *key != "name") {
            assert!(options::row(key).is_some(), "{line}: there is no option {key}");
        }
    }
}

#[test]
fn every_application_and_profile_shown_is_understood() {
    let xml: Vec<_> = pages().iter().flat_map(|page| blocks(&read(page), "xml")).collect();
    let xml = xml.join("\n");
    let attribute = |tag: &str, name: &str| {
        let (_, rest) = tag.split_once(&format!(" {name}="))?;
        let quote = rest.chars().next()?;
        Some(rest[1..].split_once(quote)?.0.replace("&quot;", "\""))
    };
    let mut seen = (0, 0);
    for tag in xml.split('<') {
        if attribute(tag, "application").is_some_and(|name| name == command::APPLICATION) {
            let data = attribute(tag, "data").unwrap();
            command::parse_application(data.as_bytes()).unwrap_or_else(|error| panic!("{data}: {error}"));
            seen.0 += 1;
        }
        if attribute(tag, "application").is_some_and(|name| name == command::AI_APPLICATION) {
            let data = attribute(tag, "data").unwrap();
            command::parse_ai_application(data.as_bytes()).unwrap_or_else(|error| panic!("{data}: {error}"));
        }
        if tag.starts_with("param ") {
            let pair = (attribute(tag, "name").unwrap(), attribute(tag, "value").unwrap());
            let of_module = config::MODULE_SETTINGS.iter().any(|row| row.key == pair.0);
            let doc = if of_module {
                config::ConfigDoc { settings: vec![pair], ..Default::default() }
            } else {
                config::ConfigDoc { profiles: vec![("p".into(), vec![pair])], ..Default::default() }
            };
            assert_eq!(config::Config::load(&doc).1, []);
            seen.1 += 1;
        }
    }
    assert!(seen.0 > 0 && seen.1 > 0);
}

#[test]
fn every_message_the_documentation_shows_does_what_it_says() {
    let text = read("docs/protocols.md");
    let shown = blocks(section(&text, "Native protocol"), "json");
    // The answers to a mark are shown behind it.
    let (answers, messages): (Vec<_>, Vec<_>) = shown.into_iter().partition(|message| message.contains("\"event\""));
    let mut answered = Vec::new();
    let entry = protocol::find("native").unwrap();
    let done: Vec<_> = messages
        .iter()
        .map(|message| {
            let wire = PcmFormat { rate: SampleRate::HZ_8000, channels: 1 };
            let clock = WallClock { at: Instant::now(), since_epoch: Duration::ZERO };
            let mut native = entry.make(ProtocolConfig::new(wire, clock));
            native.handle(Instant::now(), Input::Opened);
            native.handle(Instant::now(), Input::Text(message));
            let outputs: Vec<_> = std::iter::from_fn(|| native.poll()).collect();
            outputs
                .into_iter()
                .map(|output| match output {
                    Output::Play(Play { audio: Audio::Pcm { samples, format }, clear }) => {
                        assert_eq!(samples, [0, 1, 2, 3]);
                        format!("play {} clear={clear}", format.rate.hz())
                    }
                    Output::Clear => "clear".to_owned(),
                    Output::Mark(id) => {
                        for input in [Input::MarkHeard(id), Input::MarkCleared(id)] {
                            let mut native = entry.make(ProtocolConfig::new(wire, clock));
                            native.handle(Instant::now(), Input::Opened);
                            native.handle(Instant::now(), Input::Text(message));
                            while native.poll().is_some() {}
                            native.handle(Instant::now(), input);
                            answered.extend(native.poll());
                        }
                        "mark".to_owned()
                    }
                    Output::Event(ProtocolEvent::Play(_)) => "event play".to_owned(),
                    Output::Event(ProtocolEvent::Json(text)) => {
                        assert_eq!(&text, message);
                        "event json".to_owned()
                    }
                    other => panic!("{message}: {other:?}"),
                })
                .collect::<Vec<_>>()
                .join(", ")
        })
        .collect();
    let expected = [
        "event play, play 16000 clear=false",
        "event play, play 8000 clear=true",
        "clear",
        "event json, mark",
        "event json",
    ];
    assert_eq!(done, expected);
    assert_eq!(answered, answers.into_iter().map(Output::SendText).collect::<Vec<_>>());
}

#[test]
fn the_health_shown_has_the_fields_of_the_code() {
    use mod_audio_stream::event::Health;
    use mod_audio_stream::stream::state::StreamMode;
    use mod_audio_stream::stream::status::{CallbackStatus, CaptureStatus, InjectStatus, StreamStatus};
    use mod_audio_stream::units::{CallId, StreamName};

    let status = StreamStatus {
        session_uuid: CallId::new("x"),
        name: StreamName::default(),
        mode: StreamMode::Ws,
        uptime_sec: 1,
        held: false,
        held_ms: 0,
        masked: false,
        reconnects: 0,
        state: "STREAMING",
        capture: CaptureStatus::default(),
        inject: InjectStatus::default(),
        ai: None,
        callback: CallbackStatus::default(),
        record: None,
        health: Health::Healthy,
        health_reasons: Vec::new(),
    };
    let keys = |json: &str| {
        let mut keys = Vec::new();
        let value: serde_json::Value = serde_json::from_str(json).unwrap();
        for (key, value) in value.as_object().unwrap() {
            keys.push(key.clone());
            keys.extend(value.as_object().into_iter().flatten().map(|(inner, _)| format!("{key}.{inner}")));
        }
        keys.sort();
        keys
    };
    let text = read("docs/operations.md");
    assert_eq!(keys(&blocks(section(&text, "Health"), "json")[0]), keys(&health::json(&status)));
}

#[test]
fn the_error_codes_explained_are_the_codes() {
    let text = read("docs/events.md");
    for code in ErrorCode::ALL {
        let name = code.as_str();
        let explained = format!("{} {name}", code.as_u8());
        assert!(text.contains(&explained), "docs/events.md does not have {explained}");
    }
}

/// The anchors of a document's headings, as GitHub makes them.
fn anchors(text: &str) -> Vec<String> {
    let mut in_code = false;
    text.lines()
        .filter(|line| {
            in_code ^= line.trim_start().starts_with("```");
            !in_code && line.starts_with('#')
        })
        .map(|line| {
            let title = line.trim_start_matches('#').trim().to_lowercase();
            let kept: String = title.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c)).collect();
            kept.replace(' ', "-")
        })
        .collect()
}

#[test]
fn links_of_the_documents_lead_somewhere() {
    let more = ["CONTRIBUTING.md", "CHANGELOG.md", "ROADMAP.md", "SECURITY.md", "tests/COVERAGE.md"].map(str::to_owned);
    for document in pages().into_iter().chain(more) {
        let path = root().join(&document);
        let text = read(&document);
        for link in text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(link, _)| link) {
            if link.contains("://") {
                continue;
            }
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() { path.clone() } else { path.parent().unwrap().join(file) };
            assert!(target.exists(), "{document}: {link} is not there");
            if !anchor.is_empty() {
                let there = anchors(&std::fs::read_to_string(&target).unwrap());
                assert!(there.iter().any(|of| of == anchor), "{document}: no section {link}");
            }
        }
    }
}

/// Architecture is part of the crate's documentation, where relative links lead nowhere.
#[test]
fn the_architecture_has_no_relative_links() {
    let text = read("docs/architecture.md");
    for link in text.split("](").skip(1) {
        assert!(link.starts_with("http"), "{link}");
    }
}
