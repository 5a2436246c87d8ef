//! What `start` and `start_ai` were given, and how that becomes a stream's specification.
//!
//! Resolved on the API or dialplan thread, against the configuration and the channel's variables.

use std::fmt;

use super::error::CommandError;
use super::slip::slip;
use crate::control::config::Config;
use crate::control::options::{OptionValues, Warning};
use crate::control::resolve::{applied_profile, resolve, resolve_for};
use crate::control::variables::Variables;
use crate::conversation::BadPlan;
use crate::conversation::engines;
use crate::stream::spec::{EndpointUrl, StreamSpec};
use crate::stream::state::StreamMode;
use crate::transport::Trust;
use crate::units::{CallId, Mix, StreamName};

/// What `start` was given.
#[derive(Clone, PartialEq, Eq)]
pub struct StartRequest {
    /// Where to connect.
    pub endpoint: EndpointUrl,
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
    /// A warning for the reply: the metadata begins with what is very probably a mistyped option.
    pub fn slip(&self) -> Option<Warning> {
        slip(self.metadata.as_deref()?).filter(|slip| slip.is_option).map(|slip| slip.warning)
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
        let spec = StreamSpec { call, name, profile, endpoint: self.endpoint, metadata: self.metadata, options };
        warnings.extend(unchecked(&spec));
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
        let endpoint = EndpointUrl::parse_service(&target.url)?;
        let spec = StreamSpec { call, name, profile, endpoint, metadata: None, options };
        warnings.extend(unchecked(&spec));
        Ok((spec, warnings))
    }
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
