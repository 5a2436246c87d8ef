//! What is wrong in a configuration beyond its single values: for `config check`.
//!
//! A start would warn of options that exclude or need each other, and a stream would fail with a file that is not there; both are found
//! before there is a call. Waits for the disk; on the API thread.

use std::collections::BTreeSet;
use std::fs::{self, File};

use super::config::Config;
use super::options::{self, OptionValues, Warning};
use super::resolve::resolve_for;
use super::variables::NoVariables;
use crate::options::FileKind;
use crate::stream::state::StreamMode;

/// Everything that a start with the settings alone, or with one of the profiles, would warn of, and paths that lead nowhere.
pub fn review(config: &Config) -> Vec<Warning> {
    let mut found = combinations(config);
    found.extend(files("setting", config.settings()));
    for name in config.profiles() {
        let values = config.profile(name).into_iter();
        found.extend(values.flat_map(|values| files(&format!("profile {name},"), values)));
    }
    found.into_iter().map(|text| Warning(format!("audio_stream.conf.xml: {text}"))).collect()
}

fn combinations(config: &Config) -> Vec<String> {
    let mut found = Vec::new();
    // What the settings have is found again with every profile.
    let mut seen = BTreeSet::new();
    for profile in std::iter::once("").chain(config.profiles()) {
        let mut given = OptionValues::default();
        let named = options::row("profile").map(|row| given.replace(row, profile));
        if !matches!(named, Some(Ok(_))) {
            continue;
        }
        for mode in [StreamMode::Ws, StreamMode::Ai] {
            let texts: Vec<_> = match resolve_for(mode, &given, &NoVariables, config) {
                Ok((_, warnings)) => warnings.into_iter().map(|warning| warning.0).collect(),
                Err(error) => vec![error.to_string()],
            };
            for text in texts {
                if seen.insert(text.clone()) {
                    let place = if profile.is_empty() { String::new() } else { format!("profile {profile}: ") };
                    found.push(format!("{place}{text}"));
                }
            }
        }
    }
    found
}

/// The paths of `values` that lead nowhere.
fn files(place: &str, values: &OptionValues) -> Vec<String> {
    let named = values.iter().filter_map(|(row, text)| Some((row, row.file?, text)));
    // What is not an absolute path is a word, such as `system`, or was refused.
    let named = named.filter(|(_, _, text)| text.starts_with('/'));
    let missing = named.filter_map(|(row, kind, path)| {
        let why = unusable(kind, path)?;
        Some(format!("{place} {}: {}: {why}", row.key, row.shown(path)))
    });
    missing.collect()
}

fn unusable(kind: FileKind, path: &str) -> Option<String> {
    let wrong = match kind {
        FileKind::File => File::open(path).and_then(|file| file.metadata()).map(|about| (!about.is_file(), "a file")),
        FileKind::Folder => fs::metadata(path).map(|about| (!about.is_dir(), "a folder")),
    };
    match wrong {
        Ok((true, what)) => Some(format!("it is not {what}")),
        Ok((false, _)) => None,
        Err(error) => Some(error.to_string()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::control::config::ConfigDoc;

    fn reviewed(settings: &[(&str, &str)], profiles: &[(&str, &[(&str, &str)])]) -> Vec<String> {
        let owned = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let profiles = profiles.iter().map(|(name, params)| ((*name).to_owned(), owned(params))).collect();
        let (config, warnings) =
            Config::load(&ConfigDoc { settings: owned(settings), profiles, ..ConfigDoc::default() });
        assert_eq!(warnings, []);
        let texts = review(&config).into_iter();
        texts.map(|warning| warning.0.strip_prefix("audio_stream.conf.xml: ").unwrap().to_owned()).collect()
    }

    #[test]
    fn options_that_exclude_or_need_each_other_are_found_once() {
        let header = r#"{"Authorization": "Bearer hunter2"}"#;
        assert_eq!(reviewed(&[], &[("a", &[("rate", "16k")])]), Vec::<String>::new());
        assert_eq!(
            reviewed(
                &[("password", "hunter2"), ("allow_file_injection", "true")],
                &[("a", &[("rate", "16k")]), ("b", &[("username", "u"), ("headers", header)])]
            ),
            [
                "setting password is ignored: username is not set",
                "allow_file_injection=true has no effect: set file_injection_dir to the folder of the files",
                "profile b: username of profile b is ignored: the Authorization header of headers of profile b overrides it",
            ]
        );
        let queue = [("inject_buffer_ms", "100"), ("inject_min_buffer_ms", "200")];
        assert_eq!(
            reviewed(&[], &[("c", &queue)]),
            ["profile c: inject_min_buffer_ms=200 is more than inject_buffer_ms=100; using inject_min_buffer_ms=100"]
        );
    }

    #[test]
    fn paths_that_lead_nowhere_are_found() {
        let folder = std::env::temp_dir().join(format!("mod_audio_stream_review_{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let file = folder.join("ca.pem");
        fs::write(&file, "x").unwrap();
        let (folder, file) = (folder.to_str().unwrap(), file.to_str().unwrap());
        assert_eq!(
            reviewed(
                &[
                    ("tls_ca", file),
                    ("record_dir", folder),
                    ("tts_ca_file", "none"),
                    ("ambient_sound", "comfort_noise")
                ],
                &[]
            ),
            Vec::<String>::new()
        );
        let gone = format!("{folder}/gone.wav");
        assert_eq!(
            reviewed(&[("tls_ca", folder), ("record_dir", file)], &[("a", &[("greeting_file", &gone)])]),
            [
                format!("setting tls_ca: {folder}: it is not a file"),
                format!("setting record_dir: {file}: it is not a folder"),
                format!("profile a, greeting_file: {gone}: No such file or directory (os error 2)"),
            ]
        );
        fs::remove_dir_all(folder).unwrap();
    }
}
