//! The module's configuration, `audio_stream.conf.xml`, validated.
//!
//! Read at load and at `reloadxml` from a neutral tree, which the FreeSWITCH side fills from its XML, and with it the files of secrets. A [`Config`] is whole and
//! never changes; a reload makes a new one, for streams that start afterwards. Every bad value is named in a [`Warning`] and
//! ignored: no configuration keeps the module from loading.

use std::fmt;
use std::sync::LazyLock;

use crate::call::Limits;
use crate::control::keys::Origin;
use crate::control::options::{self, OptionError, OptionValues, Warning};
use crate::control::secret_file;
use crate::options::{Options as _, Row, checked, choice, list, number, options};
use crate::telemetry::log::LogFormat;
use crate::transport::{AllowedServers, ListenAddress};
use crate::units::StreamName;
use crate::units::text::{shown, shown_urls};

/// The configuration file as names and values.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ConfigDoc {
    /// `<settings>`: name and value of each `<param>`.
    pub settings: Vec<(String, String)>,
    /// `<profiles>`: name and params of each `<profile>`.
    pub profiles: Vec<(String, Vec<(String, String)>)>,
    /// Variables of the environment that options may come from, if they are set.
    pub environment: Vec<(String, String)>,
    /// Elements and attributes that have no meaning there, in words.
    pub strange: Vec<String>,
}

impl fmt::Debug for ConfigDoc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = |params: &[(String, String)]| params.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
        f.debug_struct("ConfigDoc")
            .field("settings", &names(&self.settings))
            .field("profiles", &self.profiles.iter().map(|(name, params)| (name, names(params))).collect::<Vec<_>>())
            .finish()
    }
}

options! {
    /// Settings of the module as a whole. Some are read at load alone.
    #[derive(Clone, PartialEq, Eq, Debug)]
    pub struct ModuleSettings, variables "" {
        /// Worker threads for all streams.
        workers: u32 = number(1..=64, "").or_zero("a number that suits the machine").default("0").at_load();
        /// Size limit of the speech cache, which all conversations share.
        tts_cache_mib: u32 = number(1..=4_096, "MiB").or_zero("no cache").default("64").at_load();
        /// How long a spoken sentence stays in the speech cache.
        tts_cache_age_s: u32 = number(1..=604_800, "s").default("3600").at_load();
        /// Limit for streams and conversations in all. `start` is refused when it is reached.
        max_streams: u32 = number(1..=100_000, "").or_zero("no limit").default("0");
        /// Limit for the streams of one call.
        max_streams_per_call: u32 = number(1..=1_000, "").or_zero("no limit").default("0");
        /// Limit for the streams to one server (scheme, host and port).
        max_streams_per_server: u32 = number(1..=100_000, "").or_zero("no limit").default("0");
        /// Limit for the resident memory of FreeSWITCH's process. `start` is refused while it uses more.
        max_memory_mib: u32 = number(64..=1_048_576, "MiB").or_zero("no limit").default("0");
        /// Servers that may be connected to: names, `*.` and a domain for all names below it, addresses, and networks such as
        /// 10.1.0.0/16. A name is checked by its addresses: a listed name may have public addresses, internal ones (this machine,
        /// private networks) only if their network is listed, too. Speech synthesis is included. If it is not set, every server is
        /// allowed.
        allowed_servers: AllowedServers = checked("names, addresses and networks, separated by commas", |text| Some(AllowedServers::read(text)));
        /// Servers that may get a key of this file or of the environment, if a command or a channel variable names them in
        /// `openai_base_url` or `tts_url`: URLs, of which scheme, host and port count. All other keys stay with the server that is
        /// configured.
        allow_key_to: Vec<Origin> = list("URLs, separated by commas", Origin::read).shown_by(shown_urls);
        /// Form of the module's lines in FreeSWITCH's log: text, or one JSON object each.
        log_format: LogFormat = choice().default("text");
        /// Where `/metrics`, `/healthz`, `/readyz` and a status page are served over HTTP, read-only and without a password. A port
        /// alone is one of 127.0.0.1. If it is not set, nothing is served.
        http_listen: Option<ListenAddress> = checked("an IP address with a port, or a port of 127.0.0.1", ListenAddress::read).optional().at_load();
    }
}

impl ModuleSettings {
    /// How many streams there may be.
    pub const fn limits(&self) -> Limits {
        Limits { total: self.max_streams, per_call: self.max_streams_per_call, per_server: self.max_streams_per_server }
    }
}

/// Every setting that belongs to the module and not to a stream.
pub static MODULE_SETTINGS: LazyLock<Vec<Row<ModuleSettings>>> = LazyLock::new(ModuleSettings::rows);

/// The configuration. Printing it shows names, no values.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Config {
    module: ModuleSettings,
    /// The texts of those that the file gives.
    module_texts: Vec<(&'static str, String)>,
    environment: OptionValues,
    settings: OptionValues,
    profiles: Vec<(String, OptionValues)>,
}

/// Variables of the process environment that give options where nothing else does.
pub fn environment_variables() -> impl Iterator<Item = &'static str> {
    options::all().filter_map(|row| row.environment)
}

impl Config {
    /// Validates `doc`. Names may be written with `-` for `_`, as FreeSWITCH's own files do.
    pub fn load(doc: &ConfigDoc) -> (Self, Vec<Warning>) {
        let mut config = Self::default();
        let strange = doc.strange.iter().map(|what| Warning(format!("audio_stream.conf.xml: {what}")));
        let mut warnings: Vec<_> = strange.collect();
        for (variable, text) in doc.environment.iter().filter(|(_, text)| !text.is_empty()) {
            // A service has one key for its voice and its conversations.
            for row in options::all().filter(|row| row.environment == Some(variable)) {
                if config.environment.replace(row, text).is_err() {
                    warnings.push(Warning(format!(
                        "environment variable {variable} is ignored: it cannot be used as {}",
                        row.key
                    )));
                }
            }
        }
        for (name, text) in &doc.settings {
            let key = name.replace('-', "_").to_ascii_lowercase();
            match MODULE_SETTINGS.iter().find(|row| row.key == key) {
                Some(row) => match row.set(&mut config.module, text) {
                    Ok(()) => {
                        if config.module_text(&row.key).is_some() {
                            warnings.push(given_twice("setting", &key));
                        }
                        config.module_texts.retain(|(key, _)| *key != row.key);
                        config.module_texts.push((&row.key, text.clone()));
                    }
                    Err(why) => warnings.push(bad("setting", row, text, &why)),
                },
                None => option("setting", &key, text, &mut config.settings, &mut warnings),
            }
        }
        for word in config.module.allowed_servers.bad() {
            warnings.push(Warning(format!(
                "audio_stream.conf.xml: setting allowed_servers: '{}' is not a name, address or network; it allows nothing",
                shown(word)
            )));
        }
        for (name, params) in &doc.profiles {
            if name.parse::<StreamName>().is_err() {
                warnings.push(Warning(format!(
                    "audio_stream.conf.xml: profile '{}' is ignored: its name must be 1 to 64 of A-Z a-z 0-9 _ . -",
                    shown(name)
                )));
                continue;
            }
            let place = format!("profile {name},");
            let mut values = OptionValues::default();
            for (name, text) in params {
                let key = name.replace('-', "_").to_ascii_lowercase();
                if key == "profile" || MODULE_SETTINGS.iter().any(|row| row.key == key) {
                    warnings.push(Warning(format!(
                        "audio_stream.conf.xml: {place} {key} is ignored: it belongs in <settings>"
                    )));
                    continue;
                }
                option(&place, &key, text, &mut values, &mut warnings);
            }
            if config.profile(name).is_some() {
                warnings
                    .push(Warning(format!("audio_stream.conf.xml: profile {name} is given twice; using the last one")));
                config.profiles.retain(|(other, _)| other != name);
            }
            config.profiles.push((name.clone(), values));
        }
        if let Some(name) =
            config.settings.get("profile").filter(|name| !name.is_empty() && config.profile(name).is_none())
        {
            warnings.push(Warning(format!(
                "audio_stream.conf.xml: setting profile={}: no such profile; known profiles: {}",
                shown(name),
                config.profile_names()
            )));
        }
        (config, warnings)
    }

    /// What belongs to the module as a whole.
    pub const fn module(&self) -> &ModuleSettings {
        &self.module
    }

    /// The text that the file gives for a setting of the module.
    pub fn module_text(&self, key: &str) -> Option<&str> {
        self.module_texts.iter().find(|(of, _)| *of == key).map(|(_, text)| text.as_str())
    }

    /// The profile `name` with its options; without a name that of the settings, and none for an empty name. Refuses a name that
    /// does not exist; such a name in the settings was warned about.
    pub fn profile_or_default(&self, name: Option<&str>) -> Result<Option<(String, &OptionValues)>, OptionError> {
        let known = |name: &str| self.profile(name).map(|options| (name.to_owned(), options));
        match name {
            None => Ok(self.settings.get("profile").and_then(known)),
            Some("") => Ok(None),
            Some(name) => known(name)
                .map(Some)
                .ok_or_else(|| OptionError::UnknownProfile { name: shown(name), known: self.profile_names() }),
        }
    }

    /// The names of the profiles.
    pub fn profiles(&self) -> impl Iterator<Item = &str> {
        self.profiles.iter().map(|(name, _)| name.as_str())
    }

    /// Stream options that the environment gives.
    pub const fn environment(&self) -> &OptionValues {
        &self.environment
    }

    /// Stream options of `<settings>`.
    pub const fn settings(&self) -> &OptionValues {
        &self.settings
    }

    /// Stream options of a profile.
    pub fn profile(&self, name: &str) -> Option<&OptionValues> {
        self.profiles.iter().find(|(other, _)| other == name).map(|(_, values)| values)
    }

    /// The profiles there are, for a message.
    pub fn profile_names(&self) -> String {
        if self.profiles.is_empty() {
            return "none".to_owned();
        }
        self.profiles.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ")
    }
}

/// Takes one stream option from the file.
fn option(place: &str, key: &str, text: &str, values: &mut OptionValues, warnings: &mut Vec<Warning>) {
    let Some(row) = options::row(key) else {
        warnings.push(Warning(format!(
            "audio_stream.conf.xml: {place} {} is ignored: there is no such setting",
            shown(key)
        )));
        return;
    };
    // The shipped file names every setting, keys without a value. An empty one must not hide the key of the environment.
    if row.environment.is_some() && text.trim().is_empty() {
        return;
    }
    let secret = match secret_file::read(row.secret, text) {
        Ok(secret) => secret,
        Err(why) => {
            return warnings.push(Warning(format!("audio_stream.conf.xml: {place} {key} is ignored: {why}")));
        }
    };
    match values.replace(row, secret.as_deref().unwrap_or(text)) {
        Ok(false) => {}
        Ok(true) => warnings.push(given_twice(place, key)),
        Err(options::OptionError::Value { why, .. }) => warnings.push(bad(place, row, text, &why)),
        Err(error) => warnings.push(Warning(format!("audio_stream.conf.xml: {place} {key} is ignored: {error}"))),
    }
}

fn given_twice(place: &str, key: &str) -> Warning {
    Warning(format!("audio_stream.conf.xml: {place} {key} is given twice; using the last value"))
}

fn bad<T>(place: &str, row: &Row<T>, text: &str, why: &str) -> Warning {
    let instead = match (place, row.default) {
        ("setting", "") => "ignored".to_owned(),
        ("setting", default) => format!("using the default, {default}"),
        _ => "ignored".to_owned(),
    };
    Warning(format!("audio_stream.conf.xml: bad value '{}' of {place} {}: {why}; {instead}", row.shown(text), row.key))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::control::resolve::resolve;
    use crate::control::variables::NoVariables;

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn load(settings: &[(&str, &str)], profiles: &[(&str, &[(&str, &str)])]) -> (Config, Vec<String>) {
        let profiles = profiles.iter().map(|(name, params)| ((*name).to_owned(), pairs(params))).collect();
        let (config, warnings) =
            Config::load(&ConfigDoc { settings: pairs(settings), profiles, ..ConfigDoc::default() });
        (config, warnings.into_iter().map(|warning| warning.0).collect())
    }

    #[test]
    fn no_file_is_all_defaults() {
        let (config, warnings) = load(&[], &[]);
        assert_eq!((config, warnings), (Config::default(), vec![]));
    }

    #[test]
    fn names_may_be_written_with_hyphens() {
        let (config, warnings) = load(&[("inject-buffer-ms", "200"), ("Workers", "3")], &[]);
        assert_eq!(warnings, Vec::<String>::new());
        assert_eq!(config.settings().get("inject_buffer_ms"), Some("200"));
        assert_eq!(config.module().workers, 3);
    }

    #[test]
    fn a_bad_value_is_named_and_its_default_used() {
        let bad = [
            ("frame_ms", "9", "bad value '9' of setting frame_ms: give 10 to 100 ms; using the default, 20"),
            ("frame_ms", "101", "bad value '101' of setting frame_ms: give 10 to 100 ms; using the default, 20"),
            (
                "inject_buffer_ms",
                "99",
                "bad value '99' of setting inject_buffer_ms: give 100 to 600000 ms; using the default, 120000",
            ),
            (
                "inject_min_buffer_ms",
                "5001",
                "bad value '5001' of setting inject_min_buffer_ms: give 0 to 5000 ms, or auto; using the default, 40",
            ),
            (
                "max_audio_base64_len",
                "999",
                "bad value '999' of setting max_audio_base64_len: give 1000 to 10000000 characters; using the default, 1000000",
            ),
            (
                "workers",
                "65",
                "bad value '65' of setting workers: give 1 to 64, or 0 for a number that suits the machine; using the default, 0",
            ),
            ("mix", "both", "bad value 'both' of setting mix: give mono, mixed or stereo; using the default, mono"),
            (
                "tls_verify_hostname",
                "",
                "bad value '' of setting tls_verify_hostname: give true or false; using the default, true",
            ),
            (
                "password",
                "hunter2\n",
                "bad value '***' of setting password: it has a control character; remove it; ignored",
            ),
        ];
        for (name, value, warning) in bad {
            let (config, warnings) = load(&[(name, value)], &[]);
            assert_eq!(warnings, [format!("audio_stream.conf.xml: {warning}")]);
            assert_eq!(config, Config::default());
        }
    }

    #[test]
    fn what_is_unknown_or_double_or_misplaced_is_named() {
        let (config, warnings) = load(
            &[
                ("frame-size", "20"),
                ("rate", "16k"),
                ("rate", "24k"),
                ("workers", "2"),
                ("Workers", "3"),
                ("profile", "c"),
            ],
            &[("a", &[("workers", "2"), ("rate", "9k")]), ("bad name", &[]), ("b", &[]), ("b", &[("rate", "32k")])],
        );
        assert_eq!(
            warnings,
            [
                "audio_stream.conf.xml: setting frame_size is ignored: there is no such setting",
                "audio_stream.conf.xml: setting rate is given twice; using the last value",
                "audio_stream.conf.xml: setting workers is given twice; using the last value",
                "audio_stream.conf.xml: profile a, workers is ignored: it belongs in <settings>",
                "audio_stream.conf.xml: bad value '9k' of profile a, rate: give 8k, 16k, 24k, 32k, 48k or the same in Hz; ignored",
                "audio_stream.conf.xml: profile 'bad name' is ignored: its name must be 1 to 64 of A-Z a-z 0-9 _ . -",
                "audio_stream.conf.xml: profile b is given twice; using the last one",
                "audio_stream.conf.xml: setting profile=c: no such profile; known profiles: a, b",
            ]
        );
        assert_eq!(config.settings().get("rate"), Some("24k"));
        assert_eq!(config.profile("b").unwrap().get("rate"), Some("32k"));
    }

    #[test]
    fn neither_the_file_nor_the_configuration_prints_a_secret() {
        let doc = ConfigDoc {
            settings: pairs(&[("username", "u"), ("password", "hunter2")]),
            profiles: vec![("p".into(), pairs(&[("headers", "{\"A\":\"hunter2\"}")]))],
            environment: pairs(&[("OPENAI_API_KEY", "hunter2")]),
            ..ConfigDoc::default()
        };
        let (config, _) = Config::load(&doc);
        let (options, warnings) = resolve(&OptionValues::default(), &NoVariables, &config).unwrap();
        let shown = format!("{doc:?} {config:?} {options:?} {warnings:?}");
        assert!(!shown.contains("hunter2"), "{shown}");
        assert_eq!(options.password.unwrap().expose(), "hunter2");
    }
}
