//! How the sources of a stream's options combine.
//!
//! Arguments win over channel variables, variables over the profile, the profile over the settings, the settings over the
//! environment, and that over the defaults. A bad argument refuses the command. A bad variable or setting is named in a [`Warning`]
//! and ignored.
//!
//! Pure; on the API or dialplan thread.

use super::config::Config;
use super::keys::Keys;
use super::options::{AI_OPTIONS, NO_EFFECT, OPTIONS, OptionError, OptionRow, OptionValues, SPEECH_OPTIONS, Warning};
use super::secret_file;
use super::variables::Variables;
use crate::stream::options::StreamOptions;
use crate::stream::state::StreamMode;
use crate::units::Secret;
use crate::units::text::shown;

/// All sources of a stream's options combined. Refuses a profile named by an argument that is not there, and arguments in
/// combinations that cannot work; everything else that is wrong becomes a warning.
pub fn resolve(
    given: &OptionValues,
    variables: &dyn Variables,
    config: &Config,
) -> Result<(StreamOptions, Vec<Warning>), OptionError> {
    resolve_for(StreamMode::Ws, given, variables, config)
}

/// The same for a stream of that kind: variables of another kind's options are not looked at.
pub fn resolve_for(
    mode: StreamMode,
    given: &OptionValues,
    variables: &dyn Variables,
    config: &Config,
) -> Result<(StreamOptions, Vec<Warning>), OptionError> {
    let mut warnings = Vec::new();
    let (profile_name, profile) = pick_profile(given, variables, config, &mut warnings)?.unzip();
    let mut from_variables = Vec::new();
    let mut options = StreamOptions { mode, ..StreamOptions::default() };
    config.environment().apply(&mut options)?;
    config.settings().apply(&mut options)?;
    if let Some(profile) = profile {
        profile.apply(&mut options)?;
    }
    let conversation: &'static [OptionRow] = if mode == StreamMode::Ai { &AI_OPTIONS } else { &[] };
    let rows = OPTIONS.iter().chain(SPEECH_OPTIONS.iter()).chain(conversation);
    for row in rows.filter(|row| row.key != "profile" && given.get(&row.key).is_none()) {
        let below = || profile.and_then(|profile| profile.get(&row.key)).or_else(|| config.settings().get(&row.key));
        let set = row.variables.iter().find_map(|variable| Some((variable, present(variables, &variable.name)?)));
        let Some((variable, text)) = set else { continue };
        let read = match secret_file::is_named(row.secret, &text) {
            true => Err(secret_file::NOT_HERE.to_owned()),
            false => variable.form.convert(&text).and_then(|text| row.set(&mut options, &text)),
        };
        match read {
            Ok(()) => from_variables.push((row.key.as_str(), variable.name.as_str())),
            Err(why) => warnings.push(Warning(format!(
                "bad value '{}' of channel variable {}: {why}; using {}={}",
                row.shown(&text),
                variable.name,
                row.key,
                row.shown(below().unwrap_or(row.default)),
            ))),
        }
    }
    given.apply(&mut options)?;
    let source = |key: &str| {
        let variable = from_variables.iter().find(|(of, _)| *of == key).map(|(_, name)| *name);
        match (given.get(key), variable, profile.and_then(|profile| profile.get(key))) {
            (Some(_), ..) => Source::Argument,
            (_, Some(name), _) => Source::Variable(name),
            (.., Some(_)) => Source::Profile(profile_name.clone().unwrap_or_default()),
            _ => Source::Setting,
        }
    };
    check_pairs(&mut options, source, &mut warnings)?;
    let configured = |key: &str| profile.and_then(|profile| profile.get(key)).or_else(|| config.settings().get(key));
    let has_key =
        |key: &str| configured(key).or_else(|| config.environment().get(key)).is_some_and(|key| !key.is_empty());
    let keys = Keys {
        foreign: &|key| source(key).rank() >= 2,
        configured: &configured,
        has_key: &has_key,
        allowed: &config.module().allow_key_to,
    };
    match mode {
        StreamMode::Ai => keys.check(&mut options, &mut warnings)?,
        StreamMode::Ws => {
            keys.check_transcription(&options)?;
            keys.check_speech(&options)?;
        }
    }
    if let Some(least) = options.inject_min_buffer_ms.filter(|least| *least > options.inject_buffer_ms) {
        warnings.push(Warning(format!(
            "inject_min_buffer_ms={least} is more than inject_buffer_ms={}; using inject_min_buffer_ms={0}",
            options.inject_buffer_ms
        )));
        options.inject_min_buffer_ms = Some(options.inject_buffer_ms);
    }
    if options.allow_file_injection && options.file_injection_dir.is_none() {
        warnings.push(Warning(
            "allow_file_injection=true has no effect: set file_injection_dir to the folder of the files".to_owned(),
        ));
    }
    Ok((options, warnings))
}

/// The channel's variables that ask for what this module does not do, with the warning for each.
pub fn without_effect(mode: StreamMode, variables: &dyn Variables) -> Vec<(&'static str, Warning)> {
    let known = NO_EFFECT.iter().filter(|known| mode == StreamMode::Ai || !known.is_of_ai());
    let asked = known.filter_map(|known| {
        let value = present(variables, known.variable).filter(|value| !known.is_harmless(value))?;
        let (variable, why) = (known.variable, known.why);
        let text = format!("channel variable {variable}={} has no effect: {why}", shown(&value));
        Some((variable, Warning(text)))
    });
    asked.collect()
}

/// Where the value of an option comes from.
enum Source {
    Setting,
    Profile(String),
    Variable(&'static str),
    Argument,
}

impl Source {
    const fn is_argument(&self) -> bool {
        matches!(self, Self::Argument)
    }

    /// The greater wins.
    const fn rank(&self) -> u8 {
        match self {
            Self::Setting => 0,
            Self::Profile(_) => 1,
            Self::Variable(_) => 2,
            Self::Argument => 3,
        }
    }

    /// How to name it and the option in a warning.
    fn names(&self, key: &str) -> String {
        match self {
            Self::Setting => format!("setting {key}"),
            Self::Profile(name) => format!("{key} of profile {}", shown(name)),
            Self::Variable(name) => format!("channel variable {name} ({key})"),
            Self::Argument => format!("argument {key}"),
        }
    }
}

/// Options that only make sense together, or not together. If an argument gave one of them, the command is refused. If a setting
/// or a variable did, the half is dropped with a warning: it must not keep every call from being streamed.
fn check_pairs(
    options: &mut StreamOptions,
    source: impl Fn(&str) -> Source,
    warnings: &mut Vec<Warning>,
) -> Result<(), OptionError> {
    let (cert, key) = (options.tls_cert.is_some(), options.tls_key.is_some());
    let halves = [
        (cert && !key, "tls_cert", "tls_key", "tls_cert and tls_key need each other; give both or neither"),
        (key && !cert, "tls_key", "tls_cert", "tls_cert and tls_key need each other; give both or neither"),
        (
            options.password.is_some() && options.username.is_none(),
            "password",
            "username",
            "password needs username; give both or neither",
        ),
    ];
    for (is_half, half, other, refusal) in halves {
        if !is_half {
            continue;
        }
        let source = source(half);
        if source.is_argument() {
            return Err(OptionError::Combination(refusal));
        }
        warnings.push(Warning(format!("{} is ignored: {other} is not set", source.names(half))));
        match half {
            "tls_cert" => options.tls_cert = None,
            "tls_key" => options.tls_key = None,
            _ => options.password = None,
        }
    }
    let authorizes = |(name, _): &(String, Secret)| name.eq_ignore_ascii_case("authorization");
    if options.username.is_some() && options.headers.iter().any(authorizes) {
        let (user, headers) = (source("username"), source("headers"));
        if user.is_argument() || headers.is_argument() {
            return Err(OptionError::Combination(
                "username and an Authorization header exclude each other; give only one of them",
            ));
        }
        let (user_name, headers_name) = (user.names("username"), headers.names("headers"));
        if user.rank() > headers.rank() {
            options.headers.retain(|header| !authorizes(header));
            warnings.push(Warning(format!(
                "the Authorization header of {headers_name} is ignored: {user_name} overrides it"
            )));
        } else {
            options.username = None;
            options.password = None;
            warnings.push(Warning(format!(
                "{user_name} is ignored: the Authorization header of {headers_name} overrides it"
            )));
        }
    }
    Ok(())
}

/// A variable that is set to something.
fn present(variables: &dyn Variables, name: &str) -> Option<String> {
    variables.get(name).filter(|text| !text.is_empty())
}

/// The name of the profile that [`resolve`] applies.
pub fn applied_profile(given: &OptionValues, variables: &dyn Variables, config: &Config) -> Option<String> {
    // What is wrong is named by `resolve`.
    pick_profile(given, variables, config, &mut Vec::new()).ok().flatten().map(|(name, _)| name)
}

/// The profile that applies: the one the arguments name, else the variable's, else the settings'.
fn pick_profile<'a>(
    given: &OptionValues,
    variables: &dyn Variables,
    config: &'a Config,
    warnings: &mut Vec<Warning>,
) -> Result<Option<(String, &'a OptionValues)>, OptionError> {
    if let Some(name) = given.get("profile") {
        return config.profile_or_default(Some(name));
    }
    let variable =
        present(variables, "AUDIO_STREAM_PROFILE").map(|name| ("channel variable AUDIO_STREAM_PROFILE", name));
    let setting = config.settings().get("profile").filter(|name| !name.is_empty());
    let setting = setting.map(|name| ("setting profile", name.to_owned()));
    for (source, name) in variable.into_iter().chain(setting) {
        match config.profile(&name) {
            Some(profile) => return Ok(Some((name, profile))),
            None => warnings.push(Warning(format!(
                "{source}={}: no such profile in audio_stream.conf.xml; it has {}",
                shown(&name),
                config.profile_names()
            ))),
        }
    }
    Ok(None)
}
