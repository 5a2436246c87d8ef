//! `config`: the value of every setting and option that a stream without arguments and variables gets, and where it comes from.
//!
//! Pure; made on the API thread. Secrets are shown as `***`.

use serde::Serialize;

use super::config::{Config, MODULE_SETTINGS};
use super::options::{OptionError, OptionRow, all};
use crate::options::Row;

/// Every value in force.
#[derive(PartialEq, Eq, Debug, Serialize)]
pub struct InForce {
    /// The profile that applies where a stream names none, or the one that was asked for.
    profile: Option<String>,
    /// Profiles of the configuration.
    profiles: Vec<String>,
    values: Vec<Value>,
}

/// One value.
#[derive(PartialEq, Eq, Debug, Serialize)]
struct Value {
    name: String,
    value: String,
    source: String,
}

impl InForce {
    /// Of `config`; what is read at load alone is that of `at_load`. `profile` is the profile to look at, in place of the one that
    /// the settings name; one that does not exist is an error.
    pub fn of(config: &Config, at_load: &Config, profile: Option<&str>) -> Result<Self, OptionError> {
        let (profile, options) = config.profile_or_default(profile)?.unzip();
        let of_module = MODULE_SETTINGS.iter().map(|row| {
            let config = if row.at_load { at_load } else { config };
            value(row, [(config.module_text(&row.key), "settings".to_owned())])
        });
        let of_option = |row: &OptionRow| {
            let of_profile = options.and_then(|options| options.get(&row.key));
            let environment = row.environment.unwrap_or_default();
            let sources = [
                (of_profile, format!("profile {}", profile.as_deref().unwrap_or_default())),
                (config.settings().get(&row.key), "settings".to_owned()),
                (config.environment().get(&row.key), format!("environment {environment}")),
            ];
            value(row, sources)
        };
        let of_streams = all().filter(|row| row.key != "profile").map(of_option);
        let values = of_module.chain(of_streams).collect();
        let profiles = config.profiles().map(str::to_owned).collect();
        Ok(Self { profile, profiles, values })
    }
}

/// The first of `sources` that has a text, else the default.
fn value<'a, T>(row: &Row<T>, sources: impl IntoIterator<Item = (Option<&'a str>, String)>) -> Value {
    let found = sources.into_iter().find_map(|(text, source)| Some((text?, source)));
    let (text, source) = found.unwrap_or((row.default, "default".to_owned()));
    let value = if text.is_empty() { String::new() } else { row.shown(text) };
    Value { name: row.key.clone(), value, source }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::control::config::ConfigDoc;

    fn config(settings: &[(&str, &str)]) -> Config {
        let pairs = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect::<Vec<_>>()
        };
        let profiles = vec![("bot".to_owned(), pairs(&[("rate", "24k"), ("password", "hunter2"), ("username", "u")]))];
        let environment = pairs(&[("OPENAI_API_KEY", "hunter2")]);
        Config::load(&ConfigDoc { settings: pairs(settings), profiles, environment, ..ConfigDoc::default() }).0
    }

    fn of(values: &InForce, name: &str) -> (String, String) {
        let value = values.values.iter().find(|value| value.name == name).unwrap();
        (value.value.clone(), value.source.clone())
    }

    fn is(value: &str, source: &str) -> (String, String) {
        (value.to_owned(), source.to_owned())
    }

    #[test]
    fn each_value_has_its_source() {
        let at_load = config(&[("workers", "3"), ("max_streams", "5")]);
        let now =
            config(&[("workers", "4"), ("max_streams", "6"), ("frame_ms", "9"), ("rate", "8k"), ("profile", "bot")]);
        let values = InForce::of(&now, &at_load, Some("")).unwrap();
        assert_eq!((values.profile.as_deref(), values.profiles.len()), (None, 1));
        assert_eq!(of(&values, "workers"), is("3", "settings"), "read at load alone");
        assert_eq!(of(&values, "max_streams"), is("6", "settings"));
        assert_eq!(of(&values, "max_memory_mib"), is("0", "default"));
        assert_eq!(of(&values, "frame_ms"), is("20", "default"), "9 is no value for it");
        assert_eq!(of(&values, "rate"), is("8k", "settings"));
        assert_eq!(of(&values, "openai_api_key"), is("***", "environment OPENAI_API_KEY"));
        assert_eq!(of(&values, "password"), is("", "default"));
        assert_eq!(values.values.len(), MODULE_SETTINGS.len() + all().count() - 1, "each is there once");

        for profile in [None, Some("bot")] {
            let values = InForce::of(&now, &at_load, profile).unwrap();
            assert_eq!(of(&values, "rate"), is("24k", "profile bot"));
            assert_eq!(of(&values, "password"), is("***", "profile bot"));
            assert!(!format!("{values:?}").contains("hunter2"));
        }
        let unknown = InForce::of(&now, &at_load, Some("x")).unwrap_err().to_string();
        assert_eq!(unknown, "no profile 'x' in audio_stream.conf.xml; it has bot");
    }
}
