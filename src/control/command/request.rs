//! What `start`, `transcribe` and `start_ai` were given, and how that becomes a stream's specification.
//!
//! Resolved on the API or dialplan thread, against the configuration and the channel's variables.

use std::fmt;
use std::sync::Arc;

use super::error::CommandError;
use super::slip::slip;
use crate::control::config::Config;
use crate::control::options::{OptionValues, Warning};
use crate::control::resolve::{applied_profile, resolve, resolve_for};
use crate::control::variables::Variables;
use crate::conversation::{BadPlan, VoiceMode, engines};
use crate::options::values;
use crate::protocol::{self, CallInfo, Service};
use crate::stream::options::StreamOptions;
use crate::stream::spec::{EndpointUrl, StreamSpec};
use crate::stream::state::StreamMode;
use crate::transport::{Endpoint, Trust};
use crate::tts;
use crate::units::text::shown;
use crate::units::{CallId, Mix, Secret, StreamName};

/// What `start` or `transcribe` was given.
#[derive(Clone, PartialEq, Eq)]
pub struct StartRequest {
    /// Where to connect; `None`: to the transcription service that the protocol is made for.
    pub endpoint: Option<EndpointUrl>,
    /// Options given explicitly; mix and rate among them.
    pub options: OptionValues,
    /// First text message.
    pub metadata: Option<String>,
}

impl fmt::Debug for StartRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("start")
            .field("endpoint", &self.endpoint)
            .field("options", &self.options)
            .field("metadata_bytes", &self.metadata.as_ref().map(String::len))
            .finish()
    }
}

impl StartRequest {
    /// A warning for the reply: the metadata begins with what is probably an argument.
    pub fn slip(&self) -> Option<Warning> {
        slip(self.metadata.as_deref()?).filter(|slip| slip.is_argument).map(|slip| slip.warning)
    }

    /// Adds what variables and configuration say; the stream can be started with the result. The warnings are for the log, with
    /// the call's uuid. Refuses what [`resolve`] refuses.
    pub fn resolve(
        self,
        call: CallId,
        name: StreamName,
        config: &Config,
        variables: &dyn Variables,
    ) -> Result<(StreamSpec, Vec<Warning>), CommandError> {
        let profile = applied_profile(&self.options, variables, config);
        let (options, mut warnings) = resolve(&self.options, variables, config)?;
        warnings.extend(self.metadata.as_deref().and_then(slip).map(|slip| slip.warning));
        let service = protocol::find(options.protocol).and_then(|entry| entry.service);
        let endpoint = match (self.endpoint, service) {
            (Some(endpoint), _) => endpoint,
            (None, Some(service)) => {
                check_settings(options.protocol, service, self.metadata.as_deref())?;
                check_service_key(&options)?;
                EndpointUrl::parse(options.transcribe_url.as_deref().unwrap_or(service.url))?
            }
            (None, None) => return Err(CommandError::NoService(options.protocol)),
        };
        let mut spec = StreamSpec { call, name, profile, endpoint, metadata: self.metadata, options };
        if let Some(service) = service {
            warnings.extend(complete(&mut spec, service)?);
        }
        warnings.extend(unchecked(&spec).into_iter().chain(exposed(&spec)).chain(exposed_speech(&spec)));
        Ok((spec, warnings))
    }
}

/// What `start_ai` was given.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct StartAiRequest {
    /// Options given explicitly.
    pub options: OptionValues,
}

impl StartAiRequest {
    /// Adds what variables and configuration say, as [`StartRequest::resolve`] does. Refuses a conversation without key or model.
    pub fn resolve(
        self,
        call: CallId,
        name: StreamName,
        config: &Config,
        variables: &dyn Variables,
    ) -> Result<(StreamSpec, Vec<Warning>), CommandError> {
        let profile = applied_profile(&self.options, variables, config);
        let (mut options, mut warnings) = resolve_for(StreamMode::Ai, &self.options, variables, config)?;
        let engine = engines::of(&options.ai);
        let target = engine.check(&options.ai, options.headers.clone()).map_err(BadPlan::Engine)?;
        // Settings made for streams to servers have nothing to say about the key.
        (options.username, options.password, options.subprotocol) = (None, None, None);
        (options.mix, options.protocol) = (Mix::Mono, engine.name);
        if engine.finds_turns(&options.ai) {
            // A service that is not asked has nothing to say.
            Arc::make_mut(&mut options.ai).stalled_s = 0;
        }
        let endpoint = EndpointUrl::parse_service(&target.url)?;
        let spec = StreamSpec { call, name, profile, endpoint, metadata: None, options };
        warnings.extend(unchecked(&spec).into_iter().chain(exposed(&spec)).chain(exposed_speech(&spec)));
        Ok((spec, warnings))
    }
}

/// Refuses settings that the service would refuse later, or would not get at all.
fn check_settings(protocol: &'static str, service: &Service, settings: Option<&str>) -> Result<(), CommandError> {
    let Some(settings) = settings else { return Ok(()) };
    if !service.takes_settings {
        let word = settings.split_ascii_whitespace().next().unwrap_or_default();
        let word = word.split_once('=').filter(|_| !word.contains("://")).map_or(word, |(key, _)| key);
        return Err(CommandError::NoSettings(protocol, shown(word)));
    }
    let object = serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(settings);
    object.map(drop).map_err(|error| CommandError::BadSettings(protocol, values::json_fault(&error)))
}

/// Refuses a transcription that the service's own servers would refuse for want of a key.
fn check_service_key(options: &StreamOptions) -> Result<(), CommandError> {
    let has_header = options.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("Authorization"));
    if options.transcribe_key.is_none() && options.transcribe_url.is_none() && !has_header {
        return Err(CommandError::NoServiceKey(options.protocol));
    }
    Ok(())
}

/// What a transcription service wants besides: its parameters, its key, and nothing to play. The key goes to the service's own
/// servers and to `transcribe_url` alone; elsewhere a warning says that it is not sent.
fn complete(spec: &mut StreamSpec, service: &Service) -> Result<Option<Warning>, CommandError> {
    spec.options.playback = false;
    let query = (service.query)(&spec.protocol_config(CallInfo::default()));
    let endpoint = spec.endpoint.clone().with_query(&query);
    let own = [Some(service.url), spec.options.transcribe_url.as_deref()];
    let own: Result<Vec<_>, _> = own.into_iter().flatten().map(EndpointUrl::parse).collect();
    let trusted = own?.iter().any(|own| own.endpoint().origin() == endpoint.endpoint().origin());
    spec.endpoint = endpoint;
    let has_header = spec.options.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("Authorization"));
    match &spec.options.transcribe_key {
        Some(_) if has_header => {}
        Some(key) if trusted => {
            let key = Secret::new(format!("{}{}", service.key_scheme, key.expose()));
            spec.options.headers.push(("Authorization".to_owned(), key));
        }
        Some(_) => {
            let text = format!("transcribe_key is not sent to {}: set transcribe_url to it", spec.endpoint);
            return Ok(Some(Warning(text)));
        }
        None => {}
    }
    Ok(None)
}

/// A warning if another server could answer in place of the one that is meant.
fn unchecked(spec: &StreamSpec) -> Option<Warning> {
    let off = match (&spec.options.tls_ca, spec.options.tls_verify_hostname) {
        (Trust::Anything, _) => "tls_ca=none: the certificate is not verified",
        (_, false) => "tls_verify_hostname=false: the host name in the certificate is not verified",
        (_, true) => return None,
    };
    let text = || format!("{off}, so any server that answers at {} is trusted", spec.endpoint);
    spec.endpoint.endpoint().is_tls().then(|| Warning(text()))
}

/// A warning if credentials can be read on their way to the server.
fn exposed(spec: &StreamSpec) -> Option<Warning> {
    let (endpoint, options) = (spec.endpoint.endpoint(), &spec.options);
    let key = options.mode == StreamMode::Ai
        && engines::of(&options.ai).places(&options.ai).iter().any(|place| place.has_key);
    let header = options.headers.iter().map(|(name, _)| name).find(|name| may_be_secret(name));
    let what = match header {
        Some(name) => format!("the header {}", shown(name)),
        None if key => "the API key".to_owned(),
        None if options.username.is_some() || endpoint.authorization().is_some() => "user name and password".to_owned(),
        None => return None,
    };
    readable(endpoint).then(|| Warning(in_the_clear(&what, &spec.endpoint, "wss")))
}

/// The same on their way to a provider of speech.
fn exposed_speech(spec: &StreamSpec) -> Option<Warning> {
    let places = tts::places(&spec.options.ai.speaking.speech);
    let exposed = places.iter().filter(|place| place.has_key).find_map(|place| {
        let endpoint = Endpoint::parse_http(place.url.as_deref()?).ok()?;
        readable(&endpoint).then(|| endpoint.origin())
    })?;
    let speaks = spec.options.mode == StreamMode::Ws || spec.options.ai.output == VoiceMode::Synthesis;
    speaks.then(|| Warning(in_the_clear("the key for speech synthesis", &exposed, "https")))
}

/// Whether what is sent there can be read on the way.
fn readable(endpoint: &Endpoint) -> bool {
    !endpoint.is_tls() && !endpoint.host().is_loopback()
}

fn in_the_clear(what: &str, server: &dyn fmt::Display, scheme: &str) -> String {
    format!("{what} can be read by everybody on the way to {server}: use {scheme}://")
}

/// Whether a header's name says that its value lets somebody in.
fn may_be_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ["authorization", "cookie", "key", "token", "secret", "password", "signature"]
        .iter()
        .any(|word| name.contains(word))
}
