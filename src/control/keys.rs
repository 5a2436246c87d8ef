//! A key of the configuration is for the server that the configuration names.
//!
//! Commands and channel variables may name another server. Who can set a variable could otherwise have the operator's key sent
//! anywhere. Pure; on the API or dialplan thread.

use url::Url;

use super::options::{OptionError, Warning};
use crate::conversation::{VoiceMode, engines};
use crate::peer::Place;
use crate::protocol;
use crate::stream::options::StreamOptions;
use crate::tts;

/// A server: whether with TLS, host and port.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Origin {
    tls: bool,
    host: String,
    port: u16,
}

impl Origin {
    /// Of a URL; `None` if it is none of http, https, ws, wss.
    pub fn read(url: &str) -> Option<Self> {
        // Read as the conversation reads it, so that both see the same server.
        let url = Url::parse(url.trim()).ok()?;
        let tls = match url.scheme() {
            "https" | "wss" => true,
            "http" | "ws" => false,
            _ => return None,
        };
        Some(Self { tls, host: url.host_str()?.to_owned(), port: url.port_or_known_default()? })
    }
}

/// Where the options of one conversation come from.
pub(super) struct Keys<'a> {
    /// Whether an option comes from a command or a channel variable.
    pub(super) foreign: &'a dyn Fn(&str) -> bool,
    /// What the profile or the settings say of an option.
    pub(super) configured: &'a dyn Fn(&str) -> Option<&'a str>,
    /// Whether the profile, the settings or the environment have a key.
    pub(super) has_key: &'a dyn Fn(&str) -> bool,
    /// Servers that may get any key.
    pub(super) allowed: &'a [Origin],
}

impl Keys<'_> {
    /// Refuses a conversation that would send a key of the configuration to a server that it does not name. Headers of the
    /// configuration are left out.
    pub(super) fn check(&self, options: &mut StreamOptions, warnings: &mut Vec<Warning>) -> Result<(), OptionError> {
        let engine = engines::of(&options.ai);
        for service in engine.places(&options.ai) {
            if !self.leads_elsewhere(&service) {
                continue;
            }
            if service.has_key && !service.key_options.iter().any(|key| (self.foreign)(key)) {
                return Err(OptionError::KeyElsewhere(service.url_option));
            }
            if !options.headers.is_empty() && !(self.foreign)("headers") {
                options.headers.clear();
                let text = "headers of audio_stream.conf.xml are not sent to a server that a command or channel variable names; \
                            allow_key_to adds servers";
                warnings.push(Warning(text.to_owned()));
            }
        }
        // A signature by the operator's key would tell another server that the operator asks.
        if let Some(place) = options.ai.webhook_place()
            && self.leads_elsewhere(&place)
            && place.has_key
            && !(self.foreign)("tool_key")
        {
            return Err(OptionError::KeyElsewhere(place.url_option));
        }
        let speaks = options.ai.output == VoiceMode::Synthesis || engine.writes;
        if speaks { self.check_speech(options) } else { Ok(()) }
    }

    /// The same for the providers of speech.
    pub(super) fn check_speech(&self, options: &StreamOptions) -> Result<(), OptionError> {
        let configured = |key: &String| (self.has_key)(key) && !(self.foreign)(key);
        let places = tts::places(&options.ai.speaking.speech);
        let elsewhere =
            places.into_iter().find(|place| self.leads_elsewhere(place) && place.key_options.iter().any(configured));
        elsewhere.map_or(Ok(()), |place| Err(OptionError::KeyElsewhere(place.url_option)))
    }

    /// The same for a stream to a transcription service.
    pub(super) fn check_transcription(&self, options: &StreamOptions) -> Result<(), OptionError> {
        let service = protocol::find(options.protocol).and_then(|entry| entry.service);
        let place = Place {
            url: options.transcribe_url.clone(),
            url_option: "transcribe_url".to_owned(),
            usual: service.map_or("", |service| service.url),
            key_options: vec!["transcribe_key".to_owned()],
            has_key: options.transcribe_key.is_some(),
        };
        if self.leads_elsewhere(&place) && place.has_key && !(self.foreign)("transcribe_key") {
            return Err(OptionError::KeyElsewhere(place.url_option));
        }
        Ok(())
    }

    /// Whether a place is said by a command or variable, and is a server of which the configuration knows nothing.
    fn leads_elsewhere(&self, Place { url, url_option, usual, .. }: &Place) -> bool {
        let Some(url) = url.as_deref().filter(|_| (self.foreign)(url_option)) else { return false };
        // What is no URL is refused elsewhere.
        let Some(origin) = Origin::read(url) else { return false };
        let home = Origin::read((self.configured)(url_option).filter(|url| !url.is_empty()).unwrap_or(usual));
        home.as_ref() != Some(&origin) && !self.allowed.contains(&origin)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
#[path = "keys_tests.rs"]
mod tests;
