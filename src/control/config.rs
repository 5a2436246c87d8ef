//! The module's configuration, `audio_stream.conf.xml`, validated.
//!
//! Read at load and at `reloadxml` from a neutral tree, which the FreeSWITCH side fills from its XML. A [`Config`] is whole and
//! never changes; a reload makes a new one, for streams that start afterwards. Every bad value is named in a [`Warning`] and its
//! default used: no configuration keeps the module from loading.

use std::fmt;

use crate::control::options::{self, Kind, OptionValues, Row, Warning};
use crate::control::text::shown;
use crate::units::StreamName;

/// The configuration file as names and values.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ConfigDoc {
    /// `<settings>`: name and value of each `<param>`.
    pub settings: Vec<(String, String)>,
    /// `<profiles>`: name and params of each `<profile>`.
    pub profiles: Vec<(String, Vec<(String, String)>)>,
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

/// Settings of the module as a whole; read once, at load.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ModuleSettings {
    /// Worker threads; 0 leaves the number to the module.
    pub workers: u32,
}

impl Default for ModuleSettings {
    fn default() -> Self {
        Self { workers: 0 }
    }
}

/// Every setting that belongs to the module and not to a stream.
pub static MODULE_SETTINGS: &[Row<ModuleSettings>] = &[Row {
    key: "workers",
    kind: Kind::Number {
        min: 1,
        max: 64,
        zero: Some("as many as suit the machine"),
        unit: "",
        set: |m, v| m.workers = v,
    },
    default: "0",
    variables: &[],
    secret: false,
    doc: "Threads that serve all streams. Takes effect when the module is loaded.",
}];

/// The configuration. Printing it shows names, no values.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Config {
    module: ModuleSettings,
    settings: OptionValues,
    profiles: Vec<(String, OptionValues)>,
}

impl Config {
    /// Validates `doc`. Names may be written with `-` for `_`, as FreeSWITCH's own files do.
    pub fn load(doc: &ConfigDoc) -> (Self, Vec<Warning>) {
        let mut config = Self::default();
        let mut warnings = Vec::new();
        for (name, text) in &doc.settings {
            let key = name.replace('-', "_").to_ascii_lowercase();
            match MODULE_SETTINGS.iter().find(|row| row.key == key) {
                Some(row) => {
                    if let Err(why) = row.set(&mut config.module, text) {
                        warnings.push(bad("setting", row, text, &why));
                    }
                }
                None => option("setting", &key, text, &mut config.settings, &mut warnings),
            }
        }
        for (name, params) in &doc.profiles {
            if name.parse::<StreamName>().is_err() {
                warnings.push(Warning(format!(
                    "audio_stream.conf.xml: profile '{}' ignored: name it with 1 to 64 of A-Z a-z 0-9 _ . -",
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
                        "audio_stream.conf.xml: {place} {key} ignored: it belongs into <settings>"
                    )));
                    continue;
                }
                option(&place, &key, text, &mut values, &mut warnings);
            }
            if config.profile(name).is_some() {
                warnings.push(Warning(format!("audio_stream.conf.xml: profile {name} is there twice; using the last")));
                config.profiles.retain(|(other, _)| other != name);
            }
            config.profiles.push((name.clone(), values));
        }
        if let Some(name) =
            config.settings.get("profile").filter(|name| !name.is_empty() && config.profile(name).is_none())
        {
            warnings.push(Warning(format!(
                "audio_stream.conf.xml: setting profile={}: no such profile; there is {}",
                shown(name),
                config.profile_names()
            )));
        }
        (config, warnings)
    }

    /// What belongs to the module as a whole.
    pub const fn module(&self) -> ModuleSettings {
        self.module
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
        warnings
            .push(Warning(format!("audio_stream.conf.xml: {place} {} ignored: there is no such setting", shown(key))));
        return;
    };
    match values.replace(row, text) {
        Ok(false) => {}
        Ok(true) => {
            warnings.push(Warning(format!("audio_stream.conf.xml: {place} {key} is there twice; using the last")))
        }
        Err(options::OptionError::Value { why, .. }) => warnings.push(bad(place, row, text, &why)),
        Err(error) => warnings.push(Warning(format!("audio_stream.conf.xml: {place} {key} ignored: {error}"))),
    }
}

fn bad<T>(place: &str, row: &Row<T>, text: &str, why: &str) -> Warning {
    let instead = match (place, row.default) {
        ("setting", "") => "ignored".to_owned(),
        ("setting", default) => format!("using the default, {default}"),
        _ => "ignored".to_owned(),
    };
    Warning(format!("audio_stream.conf.xml: bad value '{}' of {place} {}: {why}; {instead}", row.shown(text), row.key))
}
