//! Who speaks, with which voice: settings by name, checked where they enter, and what they come to for each provider.
//!
//! Pure; on the API or dialplan thread. `tts_voice=…` is for the first provider of the chain, `tts_openai_voice=…` for that one
//! wherever it stands, so that a fallback has its own voice and key. What is said of the sound (speed, language) holds for all that
//! have nothing of their own. Keys come from here or from the environment and never appear in an error.

use std::collections::BTreeMap;
use std::time::Duration;

use super::provider::{How, ROWS, Row};
use crate::transport::{Endpoint, TlsOptions, Trust};
use crate::units::{SampleRate, Secret};

/// Longest value of a setting, bytes.
const MOST_VALUE: usize = 4 * 1024;
/// Arguments of a command.
const MOST_ARGUMENTS: usize = 64;
/// The offline voice: text on its standard input, so that nothing in it is taken for an option.
pub const DEFAULT_COMMAND: &str = "espeak-ng --stdout --stdin -v {voice} -s {wpm}";
/// Words a minute of espeak-ng at speed 1.
const WORDS_PER_MINUTE: f32 = 175.0;

/// A setting that cannot be used. Its text never has the value of a key.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadSetting {
    /// There is no such setting.
    #[error("there is no setting '{0}' of speech synthesis")]
    Unknown(String),
    /// Out of range or not understood; `why` completes "bad value: …" and does not quote the value.
    #[error("bad value for {key}: {why}")]
    Value {
        /// The setting.
        key: String,
        /// What is allowed.
        why: String,
    },
    /// Needed by a provider of the chain.
    #[error("{provider} needs {key}{}", variable.map(|name| format!(" (or {name} in the environment)")).unwrap_or_default())]
    Missing {
        /// Who needs it.
        provider: &'static str,
        /// The setting.
        key: String,
        /// The variable of the environment that would do as well.
        variable: Option<&'static str>,
    },
}

/// A setting, for tables and documentation.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// Its name.
    pub key: &'static str,
    /// What it takes, as in "give …".
    pub allowed: &'static str,
    /// Its default, as it is written; empty for none.
    pub default: &'static str,
    /// Its value must not be shown.
    pub secret: bool,
    /// There is also one of each provider: `tts_<provider>_…`.
    pub each: bool,
    /// What it means.
    pub doc: &'static str,
    shared: bool,
    check: fn(&str) -> bool,
}

/// A [`Setting`] for every provider.
const fn each(
    key: &'static str,
    allowed: &'static str,
    default: &'static str,
    shared: bool,
    check: fn(&str) -> bool,
    doc: &'static str,
) -> Setting {
    Setting { key, allowed, default, secret: false, each: true, doc, shared, check }
}

/// A [`Setting`] of the whole.
const fn whole(
    key: &'static str,
    allowed: &'static str,
    default: &'static str,
    check: fn(&str) -> bool,
    doc: &'static str,
) -> Setting {
    Setting { key, allowed, default, secret: false, each: false, doc, shared: true, check }
}

/// All settings.
pub const SETTINGS: &[Setting] = &[
    whole(
        "tts_provider",
        "elevenlabs, openai, command, or several of them separated by commas, each once",
        "command",
        |text| chain(text).is_some(),
        "Who speaks; those after the first stand in for it.",
    ),
    each(
        "tts_voice",
        "1 to 128 letters, digits and _ - . + / : space",
        "",
        false,
        voice_like,
        "The voice, by the provider's own name or id.",
    ),
    each(
        "tts_model",
        "1 to 128 letters, digits and _ - . + / : space",
        "",
        false,
        voice_like,
        "The model, by the provider's own name.",
    ),
    each(
        "tts_url",
        "a URL that begins with http:// or https://, without query",
        "",
        false,
        base_url,
        "Where the provider is, if not at its usual place.",
    ),
    Setting {
        secret: true,
        ..each("tts_api_key", "1 to 1024 printable characters", "", false, key_like, "The key of the provider.")
    },
    each(
        "tts_language",
        "a language tag like en or pt-BR",
        "",
        true,
        language,
        "The language, where the provider takes one.",
    ),
    each(
        "tts_instructions",
        "at most 4096 bytes",
        "",
        false,
        |_| true,
        "How to speak, for models that take instructions.",
    ),
    each(
        "tts_speed",
        "0.25 to 4",
        "",
        true,
        |text| number(text, 0.25, 4.0).is_some(),
        "How fast, 1 being the voice's own.",
    ),
    each(
        "tts_stability",
        "0 to 1",
        "",
        false,
        |text| number(text, 0.0, 1.0).is_some(),
        "ElevenLabs: how much alike it sounds each time.",
    ),
    each(
        "tts_similarity_boost",
        "0 to 1",
        "",
        false,
        |text| number(text, 0.0, 1.0).is_some(),
        "ElevenLabs: how near to the original voice.",
    ),
    each(
        "tts_style",
        "0 to 1",
        "",
        false,
        |text| number(text, 0.0, 1.0).is_some(),
        "ElevenLabs: how much the style is exaggerated.",
    ),
    each(
        "tts_output_format",
        "auto, wav, ulaw_8000, or pcm_ and a rate of 8000 to 48000",
        "auto",
        false,
        |text| OutputFormat::read(text).is_some(),
        "The form in which audio is asked for. auto: by the call's rate.",
    ),
    each(
        "tts_ca_file",
        "SYSTEM, NONE or the path of a PEM file",
        "SYSTEM",
        true,
        |_| true,
        "Who vouches for the provider's certificate.",
    ),
    whole(
        "tts_command",
        "a program and its arguments, with {text} {voice} {language} {rate} {speed} {wpm}; quotes keep words together",
        DEFAULT_COMMAND,
        |text| arguments(text).is_some(),
        "The program of the provider `command`: writes WAV or raw 16 bit PCM to its output. Without {text} it reads the text from its input. No shell is involved.",
    ),
    whole(
        "tts_command_rate",
        "8000 to 48000, or call",
        "call",
        |text| text == "call" || pcm_rate(text).is_some(),
        "Sampling rate of the program's output where that is raw PCM.",
    ),
    whole(
        "tts_timeout_ms",
        "500 to 30000",
        "10000",
        |text| text.parse::<u32>().is_ok_and(|ms| (500..=30_000).contains(&ms)),
        "How long a provider may take to its first audio, and between two pieces of it.",
    ),
    whole(
        "tts_cache",
        "true or false",
        "true",
        |text| flag(text).is_some(),
        "Whether speech is taken from the module's cache and put there.",
    ),
];

/// Settings as they come: by name, each checked. Cheap to clone into a profile.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct SpeechOptions {
    values: BTreeMap<String, Secret>,
}

impl SpeechOptions {
    /// Sets `key` to `value`; an empty value takes it back. The error says what is allowed.
    pub fn set(&mut self, key: &str, value: &str) -> Result<(), BadSetting> {
        let setting = setting(key).ok_or_else(|| BadSetting::Unknown(key.chars().take(64).collect()))?;
        if value.is_empty() {
            self.values.remove(key);
            return Ok(());
        }
        if value.len() > MOST_VALUE || value.contains('\0') || !(setting.check)(value) {
            return Err(BadSetting::Value { key: key.to_owned(), why: format!("give {}", setting.allowed) });
        }
        self.values.insert(key.to_owned(), Secret::new(value));
        Ok(())
    }

    /// What is set in `over` wins.
    pub fn merge(&mut self, over: &Self) {
        self.values.extend(over.values.iter().map(|(key, value)| (key.clone(), value.clone())));
    }

    /// Whether a provider is said to be elsewhere than at its usual place.
    pub fn has_url(&self) -> bool {
        self.values.keys().any(|key| key.ends_with("_url"))
    }

    fn get(&self, key: &str) -> Option<&str> {
        self.values.get(key).map(Secret::expose)
    }

    /// What they come to. Keys that are not set are looked for in `environment`.
    ///
    /// The error names what a provider of the chain lacks.
    pub fn resolve(&self, environment: &dyn Fn(&str) -> Option<String>) -> Result<SpeechSettings, BadSetting> {
        let chain = self.get("tts_provider").and_then(chain).unwrap_or_else(|| chain("command").unwrap_or_default());
        let timeout = self.get("tts_timeout_ms").and_then(|ms| ms.parse().ok()).unwrap_or(10_000);
        let voices = chain.iter().enumerate().map(|(at, row)| self.voice(row, at == 0, environment));
        Ok(SpeechSettings {
            voices: voices.collect::<Result<_, _>>()?,
            timeout: Duration::from_millis(timeout),
            cache: self.get("tts_cache").and_then(flag).unwrap_or(true),
        })
    }

    fn voice(
        &self,
        row: &'static Row,
        first: bool,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Voice, BadSetting> {
        let get = |key: &str| {
            let own = self.get(&own_key(row, key));
            let shared = setting(key).is_some_and(|setting| setting.shared);
            own.or_else(|| self.get(key).filter(|_| first || shared))
        };
        let missing = |key: &str, variable| {
            let key = if first { key.to_owned() } else { own_key(row, key) };
            BadSetting::Missing { provider: row.name, key, variable }
        };
        let text = |key: &str| get(key).map(str::to_owned);
        let float = |key: &str| get(key).and_then(|text| number(text, 0.0, 4.0));
        let url = get("tts_url").unwrap_or(row.url);
        let api_key = get("tts_api_key").map(str::to_owned).or_else(|| {
            let variable = row.key_variable?;
            environment(variable).filter(|key| key_like(key))
        });
        // A server of the operator's own may want none.
        if api_key.is_none() && row.key_variable.is_some() && url == row.url {
            return Err(missing("tts_api_key", row.key_variable));
        }
        for (key, needed) in [("tts_voice", row.needs_voice), ("tts_model", row.needs_model)] {
            if needed && get(key).is_none() {
                return Err(missing(key, None));
            }
        }
        let argv = match row.how {
            How::Program => arguments(self.get("tts_command").unwrap_or(DEFAULT_COMMAND)).unwrap_or_default(),
            How::Http(_) => Vec::new(),
        };
        Ok(Voice {
            row,
            url: url.trim_end_matches('/').to_owned(),
            voice: text("tts_voice").unwrap_or_else(|| row.voice.to_owned()),
            model: text("tts_model"),
            language: text("tts_language"),
            instructions: text("tts_instructions"),
            speed: float("tts_speed"),
            stability: float("tts_stability"),
            similarity_boost: float("tts_similarity_boost"),
            style: float("tts_style"),
            format: get("tts_output_format").and_then(OutputFormat::read).unwrap_or_default(),
            api_key: api_key.map(Secret::new),
            tls: TlsOptions { trust: get("tts_ca_file").map(Trust::from).unwrap_or_default(), ..TlsOptions::default() },
            argv,
            raw_rate: self.get("tts_command_rate").and_then(pcm_rate),
        })
    }
}

/// What a stream's speech is made with.
#[derive(Clone, Debug)]
pub struct SpeechSettings {
    /// The chain, never empty.
    pub(super) voices: Vec<Voice>,
    /// To the first audio of one provider, and between two pieces of it.
    pub(super) timeout: Duration,
    pub(super) cache: bool,
}

impl SpeechSettings {
    /// The providers' names, the first choice first.
    pub fn providers(&self) -> impl Iterator<Item = &'static str> {
        self.voices.iter().map(|voice| voice.row.name)
    }
}

/// A provider with all it is told but the text.
#[derive(Clone, Debug)]
pub(super) struct Voice {
    pub(super) row: &'static Row,
    pub(super) url: String,
    pub(super) voice: String,
    pub(super) model: Option<String>,
    pub(super) language: Option<String>,
    pub(super) instructions: Option<String>,
    pub(super) speed: Option<f32>,
    pub(super) stability: Option<f32>,
    pub(super) similarity_boost: Option<f32>,
    pub(super) style: Option<f32>,
    pub(super) format: OutputFormat,
    pub(super) api_key: Option<Secret>,
    pub(super) tls: TlsOptions,
    /// Of the program; the text is not in it yet.
    pub(super) argv: Vec<String>,
    pub(super) raw_rate: Option<SampleRate>,
}

impl Voice {
    /// Everything that decides how `text` sounds, as one text: equal keys, equal speech. The key of the account is not in it.
    pub(super) fn cache_key(&self, text: &str, rate: SampleRate) -> String {
        // Debug prints quote, so that no two different lists look the same.
        format!(
            "{} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {} {text}",
            self.row.name,
            self.url,
            self.voice,
            self.model,
            self.language,
            self.instructions,
            self.speed,
            self.stability,
            self.similarity_boost,
            self.style,
            self.format,
            self.argv,
            self.raw_rate,
            rate.hz(),
        )
    }

    /// What its breaker is known by: the server, or the program.
    pub(super) fn place(&self) -> String {
        match self.row.how {
            How::Http(_) => {
                let endpoint = Endpoint::parse_http(&self.url);
                format!("{} {}", self.row.name, endpoint.map_or_else(|_| self.url.clone(), |at| at.authority()))
            }
            How::Program => format!("{} {}", self.row.name, self.argv.first().map_or("", String::as_str)),
        }
    }

    /// The program's arguments, and what it reads: the text, unless that is among them.
    pub(super) fn command_line(&self, text: &str, rate: SampleRate) -> (Vec<String>, Option<String>) {
        let speed = self.speed.unwrap_or(1.0);
        // A leading dash would make an option of it.
        let spoken = if text.starts_with('-') { format!(" {text}") } else { text.to_owned() };
        let values: [(&str, &str); 5] = [
            ("{voice}", &self.voice),
            ("{language}", self.language.as_deref().unwrap_or("en")),
            ("{rate}", &self.raw_rate.unwrap_or(rate).to_string()),
            ("{speed}", &speed.to_string()),
            ("{wpm}", &format!("{:.0}", WORDS_PER_MINUTE * speed)),
        ];
        let filled = self.argv.iter().map(|argument| {
            if argument == "{text}" {
                return spoken.clone();
            }
            values.iter().fold(argument.clone(), |filled, (name, value)| filled.replace(name, value))
        });
        let read = (!self.argv.iter().any(|argument| argument == "{text}")).then(|| text.to_owned());
        (filled.collect(), read)
    }
}

/// The form in which audio is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) enum OutputFormat {
    /// The provider's best for the call's rate.
    #[default]
    Auto,
    /// A WAV file.
    Wav,
    /// G.711 at 8 kHz.
    Mulaw,
    /// Linear, at this rate.
    Pcm(SampleRate),
}

impl OutputFormat {
    fn read(text: &str) -> Option<Self> {
        match text {
            "auto" => Some(Self::Auto),
            "wav" => Some(Self::Wav),
            "ulaw_8000" => Some(Self::Mulaw),
            other => other.strip_prefix("pcm_").and_then(pcm_rate).map(Self::Pcm),
        }
    }
}

/// The setting `key` names, itself or that of a provider.
fn setting(key: &str) -> Option<&'static Setting> {
    let named = |key: &str| SETTINGS.iter().find(|setting| setting.key == key);
    named(key).or_else(|| {
        let rest = key.strip_prefix("tts_")?;
        let own = ROWS.iter().find_map(|row| rest.strip_prefix(row.name)?.strip_prefix('_'))?;
        named(&format!("tts_{own}")).filter(|setting| setting.each)
    })
}

fn own_key(row: &Row, key: &str) -> String {
    format!("tts_{}_{}", row.name, key.trim_start_matches("tts_"))
}

fn chain(text: &str) -> Option<Vec<&'static Row>> {
    let mut chain: Vec<&'static Row> = Vec::new();
    for name in text.split(',') {
        let row = ROWS.iter().find(|row| row.name == name.trim())?;
        if chain.iter().any(|known| known.name == row.name) {
            return None;
        }
        chain.push(row);
    }
    Some(chain)
}

/// A template as words; quotes keep words together, and nothing else has a meaning.
fn arguments(text: &str) -> Option<Vec<String>> {
    let (mut words, mut word, mut quote): (Vec<String>, Option<String>, _) = (Vec::new(), None, None);
    for c in text.chars() {
        match quote {
            Some(open) if c == open => quote = None,
            None if c == '"' || c == '\'' => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            None if c.is_whitespace() => words.extend(word.take()),
            _ => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    let whole_text = words.iter().all(|word| word == "{text}" || !word.contains("{text}"));
    let program = words.first().is_some_and(|program| !program.is_empty() && !program.contains('{'));
    (quote.is_none() && whole_text && program && words.len() <= MOST_ARGUMENTS).then_some(words)
}

fn flag(text: &str) -> Option<bool> {
    match text {
        "true" | "on" | "yes" | "1" => Some(true),
        "false" | "off" | "no" | "0" => Some(false),
        _ => None,
    }
}

fn number(text: &str, min: f32, max: f32) -> Option<f32> {
    text.parse().ok().filter(|value| (min..=max).contains(value))
}

fn pcm_rate(text: &str) -> Option<SampleRate> {
    text.parse().ok().filter(|hz| (8_000..=48_000).contains(hz)).and_then(SampleRate::from_hz)
}

/// What may be part of a URL's path or an argument without being taken for anything else.
fn voice_like(text: &str) -> bool {
    let allowed = |c: char| c.is_alphanumeric() || "_-.+/: ".contains(c);
    text.chars().count() <= 128
        && text.chars().all(allowed)
        && !text.starts_with(['-', '/', '.'])
        && !text.contains("..")
}

fn key_like(text: &str) -> bool {
    (1..=1_024).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn language(text: &str) -> bool {
    (2..=16).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

fn base_url(text: &str) -> bool {
    !text.contains('?') && Endpoint::parse_http(text).is_ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn nothing(_: &str) -> Option<String> {
        None
    }

    fn options(pairs: &[(&str, &str)]) -> SpeechOptions {
        let mut options = SpeechOptions::default();
        for (key, value) in pairs {
            options.set(key, value).unwrap();
        }
        options
    }

    #[test]
    fn without_settings_the_offline_voice_speaks() {
        let settings = SpeechOptions::default().resolve(&nothing).unwrap();
        assert_eq!(settings.providers().collect::<Vec<_>>(), ["command"]);
        let (argv, input) = settings.voices[0].command_line("-f /etc/passwd", SampleRate::HZ_8000);
        assert_eq!(argv, ["espeak-ng", "--stdout", "--stdin", "-v", "en", "-s", "175"]);
        assert_eq!(input.as_deref(), Some("-f /etc/passwd"));
    }

    #[test]
    fn each_provider_of_a_chain_has_its_own_voice_and_key() {
        let environment = |name: &str| (name == "OPENAI_API_KEY").then(|| "from-environment".to_owned());
        let settings = options(&[
            ("tts_provider", "elevenlabs, openai,command"),
            ("tts_voice", "Rachel1"),
            ("tts_api_key", "eleven"),
            ("tts_speed", "1.2"),
            ("tts_openai_voice", "alloy"),
            ("tts_openai_model", "some-tts"),
            ("tts_command_voice", "de"),
        ])
        .resolve(&environment)
        .unwrap();
        let keys: Vec<_> =
            settings.voices.iter().map(|v| v.api_key.as_ref().map(|key| key.expose().to_owned())).collect();
        assert_eq!(keys, [Some("eleven".to_owned()), Some("from-environment".to_owned()), None]);
        let voices: Vec<_> = settings.voices.iter().map(|v| v.voice.as_str()).collect();
        assert_eq!(voices, ["Rachel1", "alloy", "de"]);
        assert!(settings.voices.iter().all(|v| v.speed == Some(1.2)));
        assert!(!format!("{settings:?}").contains("from-environment"));
    }

    #[test]
    fn what_is_missing_is_named_with_its_setting() {
        let missing = |pairs| options(pairs).resolve(&nothing).unwrap_err().to_string();
        assert_eq!(
            missing(&[("tts_provider", "elevenlabs"), ("tts_voice", "x")]),
            "elevenlabs needs tts_api_key (or ELEVENLABS_API_KEY in the environment)"
        );
        assert_eq!(missing(&[("tts_provider", "elevenlabs"), ("tts_api_key", "k")]), "elevenlabs needs tts_voice");
        assert_eq!(
            missing(&[("tts_provider", "command,openai"), ("tts_openai_api_key", "k"), ("tts_openai_voice", "v")]),
            "openai needs tts_openai_model"
        );
        let own =
            [("tts_provider", "openai"), ("tts_url", "http://127.0.0.1:1/v1"), ("tts_voice", "v"), ("tts_model", "m")];
        assert!(options(&own).resolve(&nothing).is_ok(), "a server of one's own may want no key");
    }

    #[test]
    fn settings_are_checked_where_they_enter_and_keys_never_shown() {
        let mut options = SpeechOptions::default();
        for (key, value) in [
            ("tts_provider", "polly"),
            ("tts_provider", "command,command"),
            ("tts_provider", ""),
            ("tts_voice", "../../v1/user"),
            ("tts_voice", "-f"),
            ("tts_voice", "a?b"),
            ("tts_url", "ftp://x/"),
            ("tts_url", "https://x/?y"),
            ("tts_api_key", "ge\r\nheim"),
            ("tts_openai_api_key", "geheim geheim"),
            ("tts_speed", "NaN"),
            ("tts_speed", "9"),
            ("tts_stability", "-1"),
            ("tts_command", "sh -c 'echo {text}'"),
            ("tts_command", "{voice}"),
            ("tts_command", "say 'x"),
            ("tts_command_rate", "4000"),
            ("tts_output_format", "mp3_44100_128"),
            ("tts_timeout_ms", "100"),
            ("tts_language", "e"),
        ] {
            if value.is_empty() {
                assert_eq!(options.set(key, value), Ok(()), "taken back");
                continue;
            }
            let error = options.set(key, value).unwrap_err();
            assert!(matches!(error, BadSetting::Value { .. }), "{key}={value}");
            assert!(!error.to_string().contains("heim"), "{error}");
        }
        for key in ["tts_x", "tts_openai_provider", "tts_openai_cache", "voice", "tts_polly_voice"] {
            assert_eq!(options.set(key, "1"), Err(BadSetting::Unknown(key.into())));
        }
        assert_eq!(options, SpeechOptions::default());
    }

    #[test]
    fn text_is_one_argument_or_the_input_whatever_is_in_it() {
        let settings = options(&[("tts_command", "say --voice={voice} \"two words\" {text} --rate {rate}")]);
        let settings = settings.resolve(&nothing).unwrap();
        for text in ["a; rm -rf / $(x) `y` \"z\"", "-o /etc/passwd", "{voice} {rate}"] {
            let (argv, input) = settings.voices[0].command_line(text, SampleRate::HZ_16000);
            let spoken = if text.starts_with('-') { format!(" {text}") } else { text.to_owned() };
            assert_eq!(argv, ["say", "--voice=en", "two words", &spoken, "--rate", "16000"]);
            assert_eq!(input, None);
        }
    }

    #[test]
    fn whatever_changes_the_sound_changes_the_key_of_the_cache() {
        let key = |pairs: &[(&str, &str)], text: &str, rate| {
            options(pairs).resolve(&nothing).unwrap().voices[0].cache_key(text, rate)
        };
        let base = key(&[], "a", SampleRate::HZ_8000);
        assert_eq!(base, key(&[("tts_timeout_ms", "500")], "a", SampleRate::HZ_8000));
        for (pairs, text, rate) in [
            (&[("tts_voice", "de")][..], "a", SampleRate::HZ_8000),
            (&[("tts_speed", "2")], "a", SampleRate::HZ_8000),
            (&[("tts_command", "say")], "a", SampleRate::HZ_8000),
            (&[], "b", SampleRate::HZ_8000),
            (&[], "a", SampleRate::HZ_16000),
        ] {
            assert_ne!(base, key(pairs, text, rate));
        }
    }

    #[test]
    fn every_default_is_a_value_that_is_allowed() {
        for setting in SETTINGS {
            assert!(setting.key.starts_with("tts_") && !setting.doc.is_empty());
            assert!(setting.default.is_empty() || (setting.check)(setting.default), "{}", setting.key);
        }
    }
}
