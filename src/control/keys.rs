//! A key of the configuration is for the server that the configuration names.
//!
//! Commands and channel variables may name another server. Who can set a variable could otherwise have the operator's key sent
//! anywhere. Pure; on the API or dialplan thread.

use url::Url;

use super::options::{OptionError, Warning};
use crate::conversation::{KeyUse, VoiceMode};
use crate::stream::options::StreamOptions;
use crate::tts;

/// Where conversations lead that name no server.
const OPENAI: &str = "https://api.openai.com";

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
        let ai = &options.ai;
        if self.leads_elsewhere("openai_base_url", ai.base_url.as_deref(), OPENAI) {
            if ai.key.is_some() && ai.key_use != KeyUse::None && !(self.foreign)("openai_api_key") {
                return Err(OptionError::Combination(
                    "openai_base_url of a command or channel variable needs an openai_api_key from there, too, or openai_auth=none: \
                     a key of audio_stream.conf.xml or the environment goes to the configured server alone; allow_key_to adds servers",
                ));
            }
            if !options.headers.is_empty() && !(self.foreign)("headers") {
                options.headers.clear();
                let text = "headers of audio_stream.conf.xml are not sent to the openai_base_url of a command or channel variable; \
                            allow_key_to adds servers";
                warnings.push(Warning(text.to_owned()));
            }
        }
        let ai = &options.ai;
        if ai.output == VoiceMode::Synthesis {
            for place in tts::places(&ai.speech) {
                let elsewhere = self.leads_elsewhere(&place.url_option, place.url.as_deref(), place.usual);
                if elsewhere && place.key_options.iter().any(|key| (self.has_key)(key) && !(self.foreign)(key)) {
                    return Err(OptionError::Combination(
                        "tts_url of a command or channel variable needs a tts_api_key from there, too: a key of \
                         audio_stream.conf.xml or the environment goes to the configured server alone; allow_key_to adds servers",
                    ));
                }
            }
        }
        Ok(())
    }

    /// Whether the URL of an option comes from a command or variable, and leads to a server of which the configuration knows
    /// nothing. `usual` is where it leads if nobody says anything.
    fn leads_elsewhere(&self, option: &str, url: Option<&str>, usual: &str) -> bool {
        let Some(url) = url.filter(|_| (self.foreign)(option)) else { return false };
        // What is no URL is refused elsewhere.
        let Some(origin) = Origin::read(url) else { return false };
        let home = Origin::read((self.configured)(option).filter(|url| !url.is_empty()).unwrap_or(usual));
        home.as_ref() != Some(&origin) && !self.allowed.contains(&origin)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
#[path = "keys_tests.rs"]
mod tests;
