//! Why a line is not a command.

use super::MAX_LINE;
use crate::control::options::{AI_OPTIONS, OptionError};
use crate::conversation::BadPlan;
use crate::dsp::gain::BadGain;
use crate::dsp::tone::BadDigits;
use crate::options::in_words;
use crate::protocol::PROTOCOLS;
use crate::transport::BadUrl;
use crate::units::{BadMix, BadName, BadRate, StreamName};

/// A line that is not a command. Its text is the reply: it begins with `-ERR` or `-USAGE:` and says what to do.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CommandError {
    /// Nothing was said.
    #[error("-USAGE: {0}")]
    Usage(String),
    /// Something the verb needs is missing.
    #[error("-USAGE: {syntax} ({missing} is missing)")]
    Missing {
        /// How the command is written.
        syntax: String,
        /// What is not there.
        missing: &'static str,
    },
    /// Too long to be looked at.
    #[error("-ERR the line has {0} bytes; give at most {MAX_LINE}")]
    TooLong(usize),
    /// Not text.
    #[error("-ERR the line is not UTF-8 (byte {0}); texts and metadata must be UTF-8")]
    NotUtf8(usize),
    /// No such verb.
    #[error("-ERR no command '{given}'; give one of {known}")]
    UnknownVerb {
        /// What was given.
        given: String,
        /// What there is.
        known: String,
    },
    /// More than the verb takes.
    #[error("-ERR {verb} takes no further argument, but got '{rest}'")]
    Surplus {
        /// The verb.
        verb: &'static str,
        /// What was too much.
        rest: String,
    },
    /// `name=` behind an argument.
    #[error("-ERR name=<id> comes right after the verb: '{0} name=<id> …'")]
    NamePlace(&'static str),
    /// A text that begins with the name of another stream.
    #[error(
        "-ERR the call has another stream '{name}': give '{verb} name={name} …' to address it, or '{verb} name={default} …' if the text \
         begins with that word",
        default = StreamName::DEFAULT
    )]
    Astray {
        /// The verb.
        verb: &'static str,
        /// The other stream.
        name: StreamName,
    },
    /// A word before a text for a model that is written like an option and is not one.
    #[error("-ERR send_text {given}: give {known}; if the text begins with it, give role=user before it")]
    TextOption {
        /// What was given.
        given: String,
        /// What there is.
        known: String,
    },
    /// A stream cannot be called so.
    #[error("-ERR {0}")]
    Name(#[from] BadName),
    /// The argument in the place of the URL is not a URL; shown is the part of it that cannot be a credential.
    #[error("-ERR {wanted}, but got '{0}'", wanted = BadUrl::Scheme)]
    NoUrl(String),
    /// The URL cannot be connected to. It is not quoted: it may hold a password.
    #[error("-ERR {0}")]
    Url(#[from] BadUrl),
    /// The word after the URL is no mix.
    #[error("-ERR {0}; metadata that is a single word goes after mix and rate")]
    Mix(BadMix),
    /// The number after the mix is no rate.
    #[error("-ERR {0}; metadata that is a single number goes after mix and rate")]
    Rate(BadRate),
    /// An option cannot be used.
    #[error("-ERR {0}")]
    Option(#[from] OptionError),
    /// Not a word that the verb takes.
    #[error("-ERR {verb} {given}: give {known}")]
    Word {
        /// The verb.
        verb: &'static str,
        /// What was given.
        given: String,
        /// What there is.
        known: String,
    },
    /// Out of range, or no number.
    #[error("-ERR {0}")]
    Gain(#[from] BadGain),
    /// No string of digits.
    #[error("-ERR {0}")]
    Digits(#[from] BadDigits),
    /// `transcribe` with a protocol that is no transcription service's.
    #[error("-ERR protocol={0} is not a transcription service; transcribe needs one of protocol={services}", services = services())]
    NoService(&'static str),
    /// `transcribe` without a key for the service's own servers.
    #[error(
        "-ERR no key for protocol={0}: set transcribe_key in a profile or the settings of audio_stream.conf.xml, or transcribe_url if the \
         service is a server of your own"
    )]
    NoServiceKey(&'static str),
    /// `transcribe` with settings that its service does not take.
    #[error(
        "-ERR protocol={0} takes no settings, but got '{1}'; mix and rate come first, options are key=value, the server is transcribe_url="
    )]
    NoSettings(&'static str, String),
    /// `transcribe` with settings that are not what a service takes.
    #[error("-ERR the settings for protocol={0} must be one JSON object: {1}")]
    BadSettings(&'static str, String),
    /// What would go to the server as metadata begins like an option that is secret.
    #[error(
        "-ERR '{0}=…' is not an option of this command and would go to the server as metadata; check its name, or leave it out"
    )]
    SecretMetadata(String),
    /// A word that is no option, where nothing else is taken.
    #[error("-ERR start_ai has no option '{0}'; it takes only options, key=value")]
    NoOption(String),
    /// An option that a conversation keeps from its start, or none.
    #[error("-ERR ai_update cannot change '{0}'; it changes {changes}", changes = changes())]
    NotLive(String),
    /// Not an event of a service's protocol.
    #[error("-ERR ai_send: give a JSON object with a type, such as {{\"type\": \"response.cancel\"}}; {0}")]
    NoEvent(String),
    /// The options make no conversation.
    #[error("-ERR {0}")]
    Plan(#[from] BadPlan),
}

/// The options that `ai_update` takes.
fn changes() -> String {
    in_words(AI_OPTIONS.iter().filter(|row| row.live).map(|row| row.key.as_str()), "and")
}

/// The protocols of transcription services.
fn services() -> String {
    let services = PROTOCOLS.iter().filter(|entry| entry.service.is_some());
    services.map(|entry| entry.name).collect::<Vec<_>>().join(", ")
}
