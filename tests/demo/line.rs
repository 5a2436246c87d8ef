//! The caller's phone and the FreeSWITCH that it has called, the real one or the stand-in.
//!
//! A call is parked and answered when it is given to the demonstration. Both directions are 8 kHz mono in packets of 20 ms, kept
//! with the time each crossed between phone and FreeSWITCH until the call is dropped.

use std::time::Instant;

/// Samples a second at the phone.
pub const RATE: u32 = 8_000;

/// Audio that crossed at once.
#[derive(Clone, Debug)]
pub struct Packet {
    /// When.
    pub at: Instant,
    /// S16.
    pub samples: Vec<i16>,
}

/// An event of the module's.
#[derive(Clone, Debug)]
pub struct Event {
    /// When it came to a subscriber.
    pub at: Instant,
    /// The subclass after `mod_audio_stream::`.
    pub name: String,
    /// The headers the module has added, in order.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Option<String>,
}

/// A call in progress.
pub trait Line {
    /// What runs the module, e.g. `FreeSWITCH 1.11.2`.
    fn host(&self) -> &str;
    /// How the audio crosses, for the report.
    fn medium(&self) -> &str;
    /// The call's uuid.
    fn uuid(&self) -> &str;
    /// Runs an API command and gives its answer.
    fn api(&self, command: &str) -> String;
    /// The caller says this, after what is still to be said.
    fn say(&self, samples: &[i16]);
    /// What the phone has sent so far.
    fn said(&self) -> Vec<Packet>;
    /// What the phone was given so far.
    fn heard(&self) -> Vec<Packet>;
    /// The module's events about this call so far.
    fn events(&self) -> Vec<Event>;
    /// Ends the call.
    fn hang_up(&self);
}

/// Keeps of an event's headers the module's own.
pub fn own_headers(headers: &[(String, String)]) -> Vec<(String, String)> {
    headers.iter().filter(|(name, _)| name.starts_with("Audio-Stream-")).cloned().collect()
}
