//! What an operator says of each service besides OpenAI: its key, where it is, which model.
//!
//! Plain data, validated. The options are declared once; each service has them with its own prefix, as `xai_api_key`.

use super::openai::{Dialect, INWORLD, VOICE_LIVE, XAI};
use super::options::KeyUse;
use crate::options::{Form, Options, Row, Variable, choice, name, optional, options, secret};
use crate::units::Secret;

options! {
    /// What is said of one service.
    #[derive(Clone, PartialEq, Debug)]
    pub struct ServiceOptions, variables "AUDIO_STREAM_AI_" {
        /// API key. Keep it in this file or in FreeSWITCH's environment.
        api_key: Option<Secret> = secret("the API key of the service");
        /// How the key is sent, as with `openai_auth`.
        auth: KeyUse = choice().default("auto");
        /// Model of the conversation.
        model: String = name("the name of a model");
        /// URL of the service, if it is not the usual one.
        base_url: Option<String> = optional("a ws, wss, http or https URL");
    }
}

/// Services with options of their own.
const COUNT: usize = 3;

/// The services, in the order of the documentation.
pub static SERVICES: [&Dialect; COUNT] = [&XAI, &VOICE_LIVE, &INWORLD];

/// What is said of each service, in the order of [`SERVICES`].
#[derive(Clone, PartialEq, Default, Debug)]
pub struct OwnServices([ServiceOptions; COUNT]);

impl OwnServices {
    /// What is said of this one; `None` for one that has its options elsewhere.
    pub fn of(&self, dialect: &Dialect) -> Option<&ServiceOptions> {
        let at = SERVICES.iter().position(|service| service.prefix == dialect.prefix)?;
        self.0.get(at)
    }
}

impl Options for OwnServices {
    /// `<prefix>_…` for every option of a service.
    fn rows() -> Vec<Row<Self>> {
        let of_service = |(at, service): (usize, &&'static Dialect)| {
            let service: &'static Dialect = service;
            ServiceOptions::rows().into_iter().map(move |row| {
                let mut row = row.within(move |own: &mut Self| &mut own.0[at]);
                row.key = format!("{}_{}", service.prefix, row.key);
                row.doc = format!("{}: {}", service.name, row.doc);
                if row.key.ends_with("_base_url") && service.needs_url() {
                    row.doc = format!("{}: URL of your resource, {}.", service.name, service.example);
                }
                if row.secret {
                    row.environment = Some(service.key_variable);
                }
                let name = format!("AUDIO_STREAM_AI_{}", row.key.to_ascii_uppercase());
                row.variables = vec![Variable { name, form: Form::Same }];
                row
            })
        };
        SERVICES.iter().enumerate().flat_map(of_service).collect()
    }
}
