//! What an operator says of speech synthesis, declared, and what it comes to for each provider.
//!
//! Pure; on the API or dialplan thread. `tts_voice=…` is for the first provider of the chain, `tts_openai_voice=…` for that one
//! in every place of the chain, so that a fallback has its own voice and key. Speed, language and CA hold for all providers
//! that have no value of their own. Keys come from here or from the environment and never appear in an error.

use std::time::Duration;

use super::provider::{ROWS, Row};
use super::voice::{How, OutputFormat, Voice, pcm_rate};
use crate::options::{
    FileKind, Form, Group, Options, Row as OptionRow, Variable, checked, decimal, in_words, number, options, switch,
    text, values,
};
use crate::peer::Place;
use crate::transport::{Endpoint, TlsOptions, Trust};
use crate::units::text::shown_url;
use crate::units::{SampleRate, Secret};

/// Longest value of a text, bytes.
const MOST_VALUE: usize = 4 * 1024;
/// Arguments of a command.
const MOST_ARGUMENTS: usize = 64;

/// A setting that a provider of the chain needs and nobody gave.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{provider} needs {key}{}", variable.map(|name| format!(" (or {name} in the environment)")).unwrap_or_default())]
pub struct MissingSetting {
    /// The provider.
    pub provider: &'static str,
    /// The setting.
    pub key: String,
    /// The variable of the environment that would do as well.
    pub variable: Option<&'static str>,
}

options! {
    /// What can be said of one provider's speech. `None`: nothing is said.
    #[derive(Clone, PartialEq, Debug)]
    pub struct VoiceOptions, variables "AUDIO_STREAM_AI_" {
        /// Voice, by the name or id that the provider uses. Deepgram's voices are models, such as `aura-2-thalia-en`.
        voice: Option<String> = checked(VOICE_LIKE, voice_like).optional().key("tts_voice");
        /// Model, by the name that the provider uses.
        model: Option<String> = checked(VOICE_LIKE, voice_like).optional().key("tts_model");
        /// Base URL of the provider, if it is not the usual one. With `openai`, any server that has OpenAI's `/audio/speech`.
        url: Option<String> = checked("a URL that begins with http:// or https://, without a query", base_url).optional().key("tts_url").shown_by(shown_url);
        /// API key. Keep it in this file or in FreeSWITCH's environment.
        api_key: Option<Secret> = checked("1 to 1024 printable characters", key_like).optional().key("tts_api_key").secret();
        /// Language of the text, for providers that accept one.
        language: Option<String> = checked("a language tag such as en or pt-BR", language).optional().key("tts_language");
        /// How to speak, for models that accept instructions.
        instructions: Option<String> = checked("at most 4096 bytes", instructions).optional().key("tts_instructions");
        /// Speed of the voice; 1 is its normal speed. A value that the provider does not accept is limited to the nearest one:
        /// ElevenLabs accepts 0.7 to 1.2, Deepgram 0.7 to 1.5, Cartesia 0.6 to 1.5.
        speed: Option<f32> = decimal(0.25..=4.0, "").optional().key("tts_speed");
        /// How consistent the voice sounds from sentence to sentence (ElevenLabs).
        stability: Option<f32> = decimal(0.0..=1.0, "").optional().key("tts_stability");
        /// How close the speech stays to the original voice (ElevenLabs).
        similarity_boost: Option<f32> = decimal(0.0..=1.0, "").optional().key("tts_similarity_boost");
        /// How much the style of the voice is exaggerated (ElevenLabs).
        style: Option<f32> = decimal(0.0..=1.0, "").optional().key("tts_style");
        /// Audio format that is requested; `auto` selects it by the call's rate.
        output_format: Option<OutputFormat> = checked("auto, wav, ulaw_8000, or pcm_ and a rate of 8000 to 48000", OutputFormat::read).optional().default("auto").key("tts_output_format");
        /// CA bundle that verifies the provider's certificate; `none` accepts any certificate.
        ca_file: Option<Trust> = text("system, none or the path of a PEM file", ca_file).optional().default("system").key("tts_ca_file").names(FileKind::File);
    }
}

options! {
    /// The options of speech synthesis.
    #[derive(Clone, PartialEq, Debug)]
    pub struct SpeechOptions, variables "AUDIO_STREAM_AI_" {
        /// Speech provider for `ai_output=tts`; `elevenlabs_ws` is ElevenLabs by WebSocket, which begins to speak before a sentence ends. If several are given, the next one is used when the one before it fails. The options
        /// without a provider's name apply to the first one.
        provider: Vec<&'static str> = checked(format!("{}, or several of them, separated by commas", in_words(ROWS.iter().map(|row| row.name), "or")), chain).default("command").or_empty().key("tts_provider").also("AI_TTS_PROVIDER");
        /// What is said without a provider's name.
        first: VoiceOptions = Group::default();
        /// What is said with one.
        own: OwnVoices = Group::default();
        /// The program of the provider `command`. It writes WAV or raw 16-bit PCM to its standard output. Without {text} it reads
        /// the text from its standard input. No shell is involved.
        command: Vec<String> = checked("a program and its arguments, with {text} {voice} {language} {rate} {speed} {wpm}", arguments).default("espeak-ng --stdout --stdin -v {voice} -s {wpm}").or_empty().key("tts_command");
        /// Sampling rate of the program's output if that is raw PCM; `call` is the call's rate.
        command_rate: Option<SampleRate> = checked("8000 to 48000", pcm_rate).or("call").default("call").or_empty().key("tts_command_rate");
        /// Longest wait for a provider's first audio, and between two pieces of audio.
        timeout_ms: u32 = number(500..=30_000, "ms").default("10000").or_empty().key("tts_timeout_ms");
        /// Whether spoken sentences are stored in the module's cache and reused.
        cache: bool = switch().default("true").or_empty().key("tts_cache").also("AUDIO_STREAM_AI_ENABLE_TTS_CACHE").also("AI_ENABLE_TTS_CACHE");
    }
}

/// What can be said of each provider by its name, in the order of [`ROWS`].
#[derive(Clone, PartialEq, Debug)]
pub struct OwnVoices(Vec<VoiceOptions>);

impl Default for OwnVoices {
    /// Nothing is said.
    fn default() -> Self {
        let mut nothing = VoiceOptions::default();
        (nothing.output_format, nothing.ca_file) = (None, None);
        Self(vec![nothing; ROWS.len()])
    }
}

impl Options for OwnVoices {
    /// `tts_<provider>_…` for every option of a voice.
    fn rows() -> Vec<OptionRow<Self>> {
        let of_provider = |(at, provider): (usize, &'static Row)| {
            VoiceOptions::rows().into_iter().map(move |row| {
                let setting = row.key.trim_start_matches("tts_").to_owned();
                let mut row = row.within(move |own: &mut Self| &mut own.0[at]);
                row.key = own_key(provider, &setting);
                row.default = "";
                row.doc = format!("Provider `{}` only: {}", provider.name, row.doc);
                if row.secret && provider.other_key.is_empty() {
                    row.environment = provider.key_variable;
                } else if row.secret {
                    row.doc = format!("{} {}", row.doc, provider.other_key);
                }
                let own = format!("AUDIO_STREAM_AI_{}", row.key.to_ascii_uppercase());
                let older = provider
                    .older_variables
                    .iter()
                    .filter(|(of, _)| *of == setting)
                    .map(|(_, name)| (*name).to_owned());
                row.variables =
                    std::iter::once(own).chain(older).map(|name| Variable { name, form: Form::Same }).collect();
                row
            })
        };
        ROWS.iter().enumerate().flat_map(of_provider).collect()
    }
}

impl SpeechOptions {
    /// Whether a provider is said to be elsewhere than at its usual place.
    pub fn has_url(&self) -> bool {
        self.first.url.is_some() || self.own.0.iter().any(|own| own.url.is_some())
    }

    /// What they come to. Keys that are not set are looked for in `environment`.
    ///
    /// The error names what a provider of the chain lacks.
    pub fn resolve(&self, environment: &dyn Fn(&str) -> Option<String>) -> Result<SpeechSettings, MissingSetting> {
        let rows = self.provider.iter().filter_map(|name| ROWS.iter().position(|row| row.name == *name));
        let voices = rows.enumerate().map(|(place, at)| self.voice(at, place == 0, environment));
        Ok(SpeechSettings {
            voices: voices.collect::<Result<_, _>>()?,
            timeout: Duration::from_millis(self.timeout_ms.into()),
            cache: self.cache,
        })
    }

    fn voice(
        &self,
        at: usize,
        first: bool,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Voice, MissingSetting> {
        let row = &ROWS[at];
        let said = Said { own: &self.own.0[at], general: &self.first, first };
        let missing = |setting: &str, variable| {
            let key = if first { format!("tts_{setting}") } else { own_key(row, setting) };
            MissingSetting { provider: row.name, key, variable }
        };
        let url = said.of_one(|voice| &voice.url).unwrap_or_else(|| row.url.to_owned());
        let api_key = said.of_one(|voice| &voice.api_key).or_else(|| key_like(&environment(row.key_variable?)?));
        // A server of the operator's own may want none.
        if api_key.is_none() && row.key_variable.is_some() && url == row.url {
            return Err(missing("api_key", row.key_variable));
        }
        let (voice, model) = (said.of_one(|voice| &voice.voice), said.of_one(|voice| &voice.model));
        for (setting, lacks) in
            [("voice", row.needs_voice && voice.is_none()), ("model", row.needs_model && model.is_none())]
        {
            if lacks {
                return Err(missing(setting, None));
            }
        }
        Ok(Voice {
            provider: row.name,
            how: row.how,
            url: url.trim_end_matches('/').to_owned(),
            voice: voice.unwrap_or_else(|| row.voice.to_owned()),
            takes_previous: (row.takes_previous)(model.as_deref()),
            model,
            language: said.of_all(|voice| &voice.language),
            instructions: said.of_one(|voice| &voice.instructions),
            speed: said.of_all(|voice| &voice.speed).map(|speed| row.nearest_speed(speed)),
            stability: said.of_one(|voice| &voice.stability),
            similarity_boost: said.of_one(|voice| &voice.similarity_boost),
            style: said.of_one(|voice| &voice.style),
            format: said.of_one(|voice| &voice.output_format).unwrap_or_default(),
            api_key,
            tls: TlsOptions { trust: said.of_all(|voice| &voice.ca_file).unwrap_or_default(), ..TlsOptions::default() },
            argv: match row.how {
                How::Program => self.command.clone(),
                How::Http(_) | How::Stream(_) => Vec::new(),
            },
            raw_rate: self.command_rate,
        })
    }
}

/// The places of the providers that are asked over HTTP.
pub fn places(speech: &SpeechOptions) -> Vec<Place> {
    let of = |(place, name): (usize, &&str)| {
        let at = ROWS.iter().position(|row| row.name == *name)?;
        let (row, own, first) = (ROWS.get(at)?, speech.own.0.get(at)?, place == 0);
        let general = |key: &str| first.then(|| format!("tts_{key}"));
        let url_option = match general("url").filter(|_| own.url.is_none()) {
            Some(general) => general,
            None => own_key(row, "url"),
        };
        let said = Said { own, general: &speech.first, first };
        Some(Place {
            url: said.of_one(|voice| &voice.url),
            url_option,
            usual: row.url,
            key_options: std::iter::once(own_key(row, "api_key")).chain(general("api_key")).collect(),
            has_key: said.of_one(|voice| &voice.api_key).is_some(),
        })
    };
    speech.provider.iter().enumerate().filter_map(of).filter(|place| !place.usual.is_empty()).collect()
}

/// What is said of one provider.
struct Said<'a> {
    own: &'a VoiceOptions,
    general: &'a VoiceOptions,
    /// It is the first of the chain.
    first: bool,
}

impl Said<'_> {
    /// A setting whose general value is the first provider's alone.
    fn of_one<V: Clone>(&self, setting: fn(&VoiceOptions) -> &Option<V>) -> Option<V> {
        let general = setting(self.general).as_ref().filter(|_| self.first);
        setting(self.own).as_ref().or(general).cloned()
    }

    /// A setting whose general value holds for every provider.
    fn of_all<V: Clone>(&self, setting: fn(&VoiceOptions) -> &Option<V>) -> Option<V> {
        setting(self.own).as_ref().or(setting(self.general).as_ref()).cloned()
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
    /// Whether the first choice speaks a turn as it is written, piece by piece.
    pub fn streams(&self) -> bool {
        self.voices.first().is_some_and(|voice| matches!(voice.how, How::Stream(_)))
    }

    /// The providers' names, the first choice first.
    pub fn providers(&self) -> impl Iterator<Item = &'static str> {
        self.voices.iter().map(|voice| voice.provider)
    }
}

/// The provider whose own option this is, such as `tts_openai_voice`; `None` for those of the first provider.
pub fn provider_of_option(key: &str) -> Option<&'static str> {
    let of = |row: &&Row| {
        let setting = key.strip_prefix("tts_").and_then(|key| key.strip_prefix(row.name)?.strip_prefix('_'));
        // `tts_command` is a program, and `tts_elevenlabs_ws_model` is not ElevenLabs' `ws_model`.
        setting.is_some_and(|setting| VoiceOptions::rows().iter().any(|row| row.key == format!("tts_{setting}")))
    };
    ROWS.iter().find(of).map(|row| row.name)
}

fn own_key(provider: &Row, setting: &str) -> String {
    format!("tts_{}_{setting}", provider.name)
}

/// Names of providers, each once.
fn chain(text: &str) -> Option<Vec<&'static str>> {
    let mut chain = Vec::new();
    for name in text.split(',') {
        let row = ROWS.iter().find(|row| row.name.eq_ignore_ascii_case(name.trim()))?;
        if chain.contains(&row.name) {
            return None;
        }
        chain.push(row.name);
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
    let short = text.len() <= MOST_VALUE && !text.contains('\0') && words.len() <= MOST_ARGUMENTS;
    (quote.is_none() && whole_text && program && short).then_some(words)
}

/// What [`voice_like`] takes.
const VOICE_LIKE: &str = "1 to 128 letters, digits and _ - . + / : space";

/// What may be part of a URL's path or an argument without being taken for anything else.
fn voice_like(text: &str) -> Option<String> {
    let allowed = |c: char| c.is_alphanumeric() || "_-.+/: ".contains(c);
    let plain = text.chars().count() <= 128
        && text.chars().all(allowed)
        && !text.starts_with(['-', '/', '.'])
        && !text.contains("..");
    plain.then(|| text.to_owned())
}

fn key_like(text: &str) -> Option<Secret> {
    let plain = (1..=1_024).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
    plain.then(|| Secret::new(text))
}

fn language(text: &str) -> Option<String> {
    let plain = (2..=16).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    plain.then(|| text.to_owned())
}

fn instructions(text: &str) -> Option<String> {
    (text.len() <= MOST_VALUE && !text.contains('\0')).then(|| text.to_owned())
}

fn base_url(text: &str) -> Option<String> {
    let plain = text.len() <= MOST_VALUE && !text.contains('?') && Endpoint::parse_http(text).is_ok();
    plain.then(|| text.to_owned())
}

fn ca_file(text: &str) -> Result<Trust, String> {
    values::plain(text).map(|text| Trust::read(text.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use super::*;

    fn nothing(_: &str) -> Option<String> {
        None
    }

    fn set(options: &mut SpeechOptions, key: &str, value: &str) -> Result<(), String> {
        SpeechOptions::rows().iter().find(|row| row.key == key).unwrap().set(options, value)
    }

    fn options(pairs: &[(&str, &str)]) -> SpeechOptions {
        let mut options = SpeechOptions::default();
        for (key, value) in pairs {
            set(&mut options, key, value).unwrap();
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
                assert_eq!(set(&mut options, key, value), Ok(()), "taken back");
                continue;
            }
            let why = set(&mut options, key, value).unwrap_err();
            assert!(!why.contains("heim"), "{why}");
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
    fn every_provider_has_a_name_of_its_own_for_each_setting() {
        let rows = SpeechOptions::rows();
        let general: Vec<_> = VoiceOptions::rows().into_iter().map(|row| row.key).collect();
        assert_eq!(general.len(), 12);
        for provider in ROWS {
            for key in &general {
                let own = key.replace("tts_", &format!("tts_{}_", provider.name));
                let row = rows.iter().find(|row| row.key == own).unwrap_or_else(|| panic!("no {own}"));
                assert_eq!(row.variables[0].name, format!("AUDIO_STREAM_AI_{}", own.to_uppercase()));
            }
        }
        assert_eq!(rows.len(), 5 + 12 * (1 + ROWS.len()));
        let fallback = options(&[
            ("tts_provider", "openai,command"),
            ("tts_openai_api_key", "k"),
            ("tts_openai_voice", "v"),
            ("tts_openai_model", "m"),
            ("tts_speed", "2"),
            ("tts_command_speed", "0.5"),
        ]);
        let speeds: Vec<_> = fallback.resolve(&nothing).unwrap().voices.iter().map(|voice| voice.speed).collect();
        assert_eq!(speeds, [Some(2.0), Some(0.5)]);
    }

    #[test]
    fn words_are_taken_in_capitals_too() {
        let spoken = options(&[
            ("tts_provider", "OpenAI,COMMAND"),
            ("tts_ca_file", "none"),
            ("tts_output_format", "WAV"),
            ("tts_command_rate", "CALL"),
            ("tts_voice", "v"),
            ("tts_model", "m"),
            ("tts_api_key", "k"),
        ]);
        let settings = spoken.resolve(&nothing).unwrap();
        assert_eq!(settings.providers().collect::<Vec<_>>(), ["openai", "command"]);
        assert!(settings.voices.iter().all(|voice| voice.tls.trust == Trust::Anything));
        assert_eq!((settings.voices[0].format, settings.voices[1].raw_rate), (OutputFormat::Wav, None));
    }

    #[test]
    fn every_default_is_a_value_that_is_allowed() {
        let mut options = SpeechOptions::default();
        for row in SpeechOptions::rows() {
            assert!(row.key.starts_with("tts_") && !row.doc.is_empty());
            row.set(&mut options, row.default).unwrap_or_else(|why| panic!("{}: {why}", row.key));
        }
        assert_eq!(options, SpeechOptions::default());
    }
}
