//! The shipped configuration and dialplan samples say what the module does: every setting is there with its default, and every
//! sample is understood.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::Path;

use mod_audio_stream::control::command::{StartAiRequest, parse_ai_application, parse_application};
use mod_audio_stream::control::config::{Config, ConfigDoc, MODULE_SETTINGS, ModuleSettings};
use mod_audio_stream::control::options::{self, OptionValues};
use mod_audio_stream::control::resolve::resolve;
use mod_audio_stream::control::variables::NoVariables;
use mod_audio_stream::control::{StreamOptions, docs};
use mod_audio_stream::conversation::engines::ENGINES;
use mod_audio_stream::units::{CallId, StreamName};

const CONFIGURATION: &str = "conf/autoload_configs/audio_stream.conf.xml";
const DIALPLAN: &str = "conf/dialplan/audio_stream.xml";

fn read(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// The file without its comments.
fn without_comments(xml: &str) -> String {
    let mut out = String::new();
    let mut rest = xml;
    while let Some((before, comment)) = rest.split_once("<!--") {
        let (inside, after) = comment.split_once("-->").unwrap();
        assert!(!inside.contains("--"), "XML allows no -- in a comment: {inside}");
        out += before;
        rest = after;
    }
    out + rest
}

/// The two quoted attributes `first` and `second` of every `<element`.
fn attributes(xml: &str, element: &str, first: &str, second: &str) -> Vec<(String, String)> {
    let attribute = |tag: &str, name: &str| {
        let (_, rest) = tag.split_once(&format!(" {name}=\""))?;
        let value = rest.split_once('"')?.0;
        Some(value.replace("&quot;", "\"").replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))
    };
    let opening = format!("<{element} ");
    let tags = xml.split(&opening).skip(1).map(|tag| format!(" {}", tag.split_once('>').unwrap().0));
    tags.filter_map(|tag| Some((attribute(&tag, first)?, attribute(&tag, second)?))).collect()
}

#[test]
fn the_configuration_file_names_every_setting_and_its_default() {
    let xml = without_comments(&read(CONFIGURATION));
    assert!(xml.contains("<configuration name=\"audio_stream.conf\""));
    let (settings, profiles) = xml.split_once("</settings>").unwrap();
    let settings = attributes(settings, "param", "name", "value");
    let expected: Vec<_> = MODULE_SETTINGS
        .iter()
        .map(|row| (row.key.to_owned(), row.default.to_owned()))
        .chain(options::all().map(|row| (row.key.to_owned(), row.default.to_owned())))
        .collect();
    assert_eq!(settings, expected);
    let (config, warnings) = Config::load(&ConfigDoc { settings, ..ConfigDoc::default() });
    assert_eq!(warnings, []);
    assert_eq!(*config.module(), ModuleSettings::default());
    let (options, warnings) = resolve(&OptionValues::default(), &NoVariables, &config).unwrap();
    assert_eq!((options, warnings), (StreamOptions::default(), vec![]));
    let profile = |text: &str| {
        let (name, rest) = text.split_once('"').unwrap();
        (name.to_owned(), attributes(rest.split_once("</profile>").unwrap().0, "param", "name", "value"))
    };
    let profiles: Vec<_> = profiles.split("<profile name=\"").skip(1).map(profile).collect();
    let names: Vec<_> = profiles.iter().map(|(name, _)| name.clone()).collect();
    let environment = [
        "OPENAI_API_KEY",
        "XAI_API_KEY",
        "AZURE_VOICELIVE_API_KEY",
        "INWORLD_API_KEY",
        "GEMINI_API_KEY",
        "DEEPGRAM_API_KEY",
        "ELEVENLABS_API_KEY",
        "ASSEMBLYAI_API_KEY",
        "ULTRAVOX_API_KEY",
    ];
    let environment = environment.map(|name| (name.to_owned(), "key".to_owned())).into();
    let (config, warnings) = Config::load(&ConfigDoc { profiles, environment, ..ConfigDoc::default() });
    assert_eq!(warnings, []);
    assert!(config.profile("openai").unwrap().get("openai_model").is_some());
    // Each engine has a profile, and each profile makes a conversation once there is a key.
    let mut engines: Vec<_> = names.iter().map(|name| engine_of(name, &config)).collect();
    engines.dedup();
    assert_eq!(engines, ENGINES.iter().map(|entry| entry.name).collect::<Vec<_>>());
}

/// The engine of a conversation that starts with this profile.
fn engine_of(profile: &str, config: &Config) -> &'static str {
    let mut given = OptionValues::default();
    given.add(options::row("profile").unwrap(), profile).unwrap();
    let (spec, warnings) = StartAiRequest { options: given }
        .resolve(CallId::new("u"), StreamName::default(), config, &NoVariables)
        .unwrap_or_else(|error| panic!("{profile}: {error}"));
    assert_eq!(warnings, [], "{profile}");
    spec.options.protocol
}

/// `BLESS=1 cargo test --test configuration` writes the file anew.
#[test]
fn the_configuration_file_is_the_one_the_tables_give() {
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(Path::new(env!("CARGO_MANIFEST_DIR")).join(CONFIGURATION), docs::configuration_file()).unwrap();
    }
    assert!(
        read(CONFIGURATION) == docs::configuration_file(),
        "{CONFIGURATION} is not what the tables give; see BLESS"
    );
}

#[test]
fn the_configuration_file_tells_the_range_of_every_setting() {
    let xml = read(CONFIGURATION);
    for (key, allowed) in MODULE_SETTINGS
        .iter()
        .map(|row| (row.key.clone(), row.allowed.clone()))
        .chain(options::all().map(|row| (row.key.clone(), row.allowed.clone())))
    {
        let (before, _) = xml.split_once(&format!("<param name=\"{key}\"")).unwrap();
        // A long one is wrapped.
        let comment = before.rsplit_once("<!--").unwrap().1.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(comment.contains(&format!("Value: {allowed}.")), "{key}");
    }
}

#[test]
fn the_example_profile_works_when_it_is_uncommented() {
    let xml = read(CONFIGURATION);
    let (_, profile) = xml.split_once("<profile name=\"assistant\">").unwrap();
    let params: Vec<_> = profile
        .split_once("</profile>")
        .unwrap()
        .0
        .split("<param name=\"")
        .skip(1)
        .map(|param| {
            let (name, rest) = param.split_once("\" value=").unwrap();
            let quote = rest.chars().next().unwrap();
            (name.to_owned(), rest[1..].split_once(quote).unwrap().0.to_owned())
        })
        .collect();
    assert_eq!(params.len(), 3);
    let (_, warnings) =
        Config::load(&ConfigDoc { profiles: vec![("assistant".into(), params)], ..ConfigDoc::default() });
    assert_eq!(warnings, []);
}

#[test]
fn every_dialplan_sample_is_understood() {
    let xml = without_comments(&read(DIALPLAN));
    let actions = attributes(&xml, "action", "application", "data");
    let streams: Vec<_> = actions.iter().filter(|(application, _)| application == "audio_stream").collect();
    assert_eq!(streams.len(), xml.matches("application=\"audio_stream\"").count());
    let conversations: Vec<_> = actions.iter().filter(|(application, _)| application == "audio_stream_ai").collect();
    assert_eq!(conversations.len(), xml.matches("application=\"audio_stream_ai\"").count());
    for (_, data) in conversations {
        parse_ai_application(data.as_bytes()).unwrap_or_else(|error| panic!("{data}: {error}"));
    }
    assert!(!streams.is_empty());
    for (_, data) in streams {
        parse_application(data.as_bytes()).unwrap_or_else(|error| panic!("{data}: {error}"));
    }
    let set =
        actions.iter().filter(|(application, _)| application == "set").map(|(_, data)| data.split_once('=').unwrap());
    for (name, value) in set.filter(|(name, _)| name.starts_with("AUDIO_STREAM_")) {
        let row = options::all().find(|row| row.variables.iter().any(|variable| variable.name == name));
        let row = row.unwrap_or_else(|| panic!("no option reads {name}"));
        row.set(&mut StreamOptions::default(), value).unwrap_or_else(|why| panic!("{name}={value}: {why}"));
    }
}

#[test]
fn the_tables_of_the_documentation_are_well_formed_markdown() {
    let tables = [
        docs::commands_markdown(),
        docs::options_markdown(),
        docs::no_effect_markdown(),
        docs::settings_markdown(),
        docs::events_markdown(),
    ];
    for table in tables {
        let columns = |line: &str| line.replace("\\|", "").matches('|').count();
        let expected = columns(table.lines().next().unwrap());
        assert!(table.lines().count() > 2);
        for line in table.lines() {
            assert_eq!(columns(line), expected, "{line}");
        }
    }
}
