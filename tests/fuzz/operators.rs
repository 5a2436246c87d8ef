//! What operators write: commands, options, the configuration file and the secrets in files of their own, URLs, headers, lists of
//! servers.

use std::fs;

use http::HeaderMap;
use http::header::{HeaderValue, RETRY_AFTER};
use mod_audio_stream::control::command::{COMMANDS, fuzz_command};
use mod_audio_stream::control::{Config, ConfigDoc};
use mod_audio_stream::transport::{AllowedServers, Endpoint, ListenAddress, Pause, read_headers};

use crate::engine::{Seeds, folder, run};

#[test]
fn commands_and_their_options() {
    let words = COMMANDS.iter().map(|row| format!("3a7c {} name=x", row.verb).into_bytes());
    run("command", Seeds::of("command").and(words), fuzz_command);
}

/// In the seeds a secret.
const SECRET: &str = "s3cret";

/// Lines: `name value` is a setting, or a parameter of the last profile; `[name]` begins a profile; `$name value` is a variable of
/// the environment; `@name text` is a secret in a file, whose path takes the place of the value.
fn document(data: &[u8], file: &std::path::Path) -> ConfigDoc {
    let mut doc = ConfigDoc::default();
    for line in String::from_utf8_lossy(data).lines().take(200) {
        if let Some(name) = line.strip_prefix('[').filter(|name| !name.contains(SECRET)) {
            doc.profiles.push((name.trim_end_matches(']').to_owned(), Vec::new()));
            continue;
        }
        let (name, value) = line.split_once(' ').unwrap_or((line, ""));
        let name = name.replace(SECRET, "");
        if let Some(name) = name.strip_prefix('$') {
            doc.environment.push((name.to_owned(), value.to_owned()));
            continue;
        }
        let params = doc.profiles.last_mut().map_or(&mut doc.settings, |(_, params)| params);
        match name.strip_prefix('@') {
            Some(name) => {
                fs::write(file, value).expect("cargo's folder for tests is ours");
                params.push((name.to_owned(), format!("file:{}", file.display())));
            }
            // The fuzzer reads no file but its own.
            None if value.starts_with("file:") => {}
            // What is no secret is shown.
            None => params.push((name.to_owned(), value.replace(SECRET, ""))),
        }
    }
    doc
}

/// The shipped configuration file in that form.
fn shipped() -> Vec<u8> {
    let text =
        fs::read_to_string(folder("conf/autoload_configs/audio_stream.conf.xml")).expect("the configuration is there");
    let attribute = |line: &str, name: &str| {
        let (_, rest) = line.split_once(&format!("{name}=\""))?;
        Some(rest.split_once('"')?.0.to_owned())
    };
    let line = |line: &str| {
        if line.contains("<profile ") {
            return Some(format!("[{}]", attribute(line, "name")?));
        }
        Some(format!("{} {}", attribute(line, "name")?, attribute(line, "value")?))
    };
    text.lines().filter_map(line).collect::<Vec<_>>().join("\n").into_bytes()
}

#[test]
fn the_configuration_and_secrets_in_files() {
    let file = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("fuzz-secret-{}", std::process::id()));
    let whole = shipped();
    assert!(whole.len() > 1_000, "the reader of the configuration is blind");
    run("configuration", Seeds::of("configuration").and([whole]), |data| {
        let doc = document(data, &file);
        let (config, warnings) = Config::load(&doc);
        for warning in &warnings {
            assert!(warning.0.len() < 4_096 && !warning.0.contains(char::is_control), "{warning:?}");
        }
        // What a file holds is shown nowhere.
        let shown = format!("{config:?} {warnings:?} {doc:?}");
        assert!(!shown.contains(SECRET), "{shown}");
        for (name, _) in &doc.profiles {
            let _ = config.profile_or_default(Some(name));
        }
    });
    let _ = fs::remove_file(file);
}

#[test]
fn urls_headers_and_lists_of_servers() {
    run("url", Seeds::of("url"), |data| {
        let text = String::from_utf8_lossy(data);
        for parse in [Endpoint::parse, Endpoint::parse_http] {
            if let Ok(endpoint) = parse(&text) {
                let shown = endpoint.to_string();
                assert!(
                    !endpoint.target().contains(char::is_whitespace) && !endpoint.authority().is_empty(),
                    "{shown}"
                );
                let _ = AllowedServers::read(&text).check(endpoint.host());
            }
        }
        if let Ok(headers) = read_headers(&text) {
            for (name, value) in headers {
                assert!(!name.contains([':', '\r', '\n']) && !value.expose().contains(['\r', '\n']), "{name}");
            }
        }
        assert!(AllowedServers::read(&text).bad().all(|word| text.contains(word)));
        if let Some(address) = ListenAddress::read(&text) {
            assert_eq!(ListenAddress::read(&address.to_string()), Some(address));
        }
        let mut headers = HeaderMap::new();
        headers.extend(HeaderValue::from_bytes(data).map(|value| (RETRY_AFTER, value)));
        for status in [200, 429, 503] {
            if let Some(pause) = Pause::read(status, &headers, std::time::SystemTime::now()) {
                assert!(pause.at_least() <= std::time::Duration::from_secs(300));
            }
        }
    });
}
