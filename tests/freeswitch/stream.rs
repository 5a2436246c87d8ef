//! What the cases do with streams: start one on a call, wait for its events, know which tones are whose.

use std::time::Duration;

use serde_json::Value;

use super::esl::{Esl, Event};
use super::server::FreeSwitch;
use crate::support::eventually;
use crate::support::websocket_server::WebSocketServer;

/// The tone of the caller, Hz. None of these is a harmonic of another, so each is heard apart.
pub const CALLER: f64 = 440.0;
/// The tone of the other leg, or of what FreeSWITCH plays.
pub const OTHER: f64 = 700.0;
/// The tone of the server.
pub const SERVER: f64 = 1_030.0;
/// Another tone of the server.
pub const SERVER_AGAIN: f64 = 1_610.0;
/// Peak amplitude of the tones.
pub const LOUD: f64 = 8_000.0;
/// Above this amplitude a tone is there; a codec's noise and a neighbour's leakage stay below.
pub const THERE: f64 = 4_000.0;
/// Below this amplitude a tone is not there.
pub const ABSENT: f64 = 400.0;
/// How long an event may take to arrive.
pub const SOON: Duration = Duration::from_secs(10);

/// Every event of the module and the ends of calls.
pub fn listen_to(freeswitch: &FreeSwitch) -> Esl {
    freeswitch.subscribe(
        "plain CHANNEL_ANSWER CHANNEL_HANGUP_COMPLETE CHANNEL_DESTROY CUSTOM mod_audio_stream::connect \
         mod_audio_stream::disconnect mod_audio_stream::error mod_audio_stream::json mod_audio_stream::play \
         mod_audio_stream::overflow mod_audio_stream::reconnecting mod_audio_stream::playback mod_audio_stream::underrun \
         mod_audio_stream::dtmf mod_audio_stream::breaker mod_audio_stream::transcript \
         mod_audio_stream::hold mod_audio_stream::ready mod_audio_stream::stalled mod_audio_stream::health mod_audio_stream::record \
         mod_audio_stream::ai_state mod_audio_stream::ai_transcript \
         mod_audio_stream::ai_response mod_audio_stream::ai_action \
         mod_audio_stream::ai_barge_in mod_audio_stream::ai_false_interruption mod_audio_stream::ai_idle \
         mod_audio_stream::ai_turn mod_audio_stream::ai_summary mod_audio_stream::ai_raw mod_audio_stream::mask",
    )
}

impl Esl {
    /// Waits for the module's event `name` of this call.
    #[track_caller]
    pub fn wait_stream(&self, name: &str, uuid: &str) -> Event {
        let subclass = format!("mod_audio_stream::{name}");
        let found = self.wait_event(SOON, |event| event.subclass() == subclass && event.uuid() == uuid);
        found.unwrap_or_else(|| {
            let seen: Vec<_> =
                self.events().iter().map(|event| format!("{} {}", event.name(), event.subclass())).collect();
            panic!("no event {subclass} of {uuid}; there were: {}", seen.join(", "))
        })
    }

    /// The module's events `name` of this call so far.
    pub fn stream_events(&self, name: &str, uuid: &str) -> Vec<Event> {
        let subclass = format!("mod_audio_stream::{name}");
        self.events().into_iter().filter(|event| event.subclass() == subclass && event.uuid() == uuid).collect()
    }
}

impl FreeSwitch {
    /// Starts a stream of this call to `far` with `arguments` after the URL; it has to answer `+OK`.
    #[track_caller]
    pub fn start_stream(&self, uuid: &str, server: &WebSocketServer, arguments: &str) {
        self.stream(uuid, &format!("start {} {arguments}", server.url()));
    }

    /// A command about this call's stream; it has to answer `+OK`.
    #[track_caller]
    pub fn stream(&self, uuid: &str, command: &str) {
        self.ok(&format!("uuid_audio_stream {uuid} {command}"));
    }

    /// A command about this call's stream that has to be refused; gives the reason.
    #[track_caller]
    pub fn refused(&self, uuid: &str, command: &str) -> String {
        let answer = self.api(&format!("uuid_audio_stream {uuid} {command}"));
        assert!(answer.starts_with("-ERR"), "'{command}' answered: {answer}");
        answer.trim().to_owned()
    }

    /// A command of the module that prints JSON.
    #[track_caller]
    pub fn json(&self, command: &str) -> Value {
        let answer = self.api(&format!("uuid_audio_stream {command}"));
        serde_json::from_str(&answer).unwrap_or_else(|error| panic!("'{command}' prints no JSON ({error}): {answer}"))
    }

    /// Waits until the caller has been given so much of what the server sent.
    #[track_caller]
    pub fn wait_played(&self, uuid: &str, ms: u64) {
        let health = || self.json(&format!("{uuid} health"));
        let played = eventually(3 * SOON, || health()["inject"]["played_ms"].as_u64() >= Some(ms));
        assert!(played, "{ms} ms are not played: {}", health());
    }

    /// How many of the caller's packets this call has done without so far, as FreeSWITCH itself counts: those it filled up for
    /// because they came late, and those it threw away because too many had come. Only a starved machine has any.
    #[track_caller]
    pub fn packets_lost(&self, uuid: &str) -> u64 {
        self.ok(&format!("uuid_set_media_stats {uuid}"));
        let count = |name: &str| -> u64 {
            let name = format!("rtp_audio_in_{name}_packet_count");
            let value = self.variable(uuid, &name).unwrap_or_else(|| panic!("FreeSWITCH does not count {name}"));
            value.parse().unwrap_or_else(|_| panic!("{name} is '{value}'"))
        };
        count("skip") + count("flush")
    }

    /// How many streams the module says there are.
    #[track_caller]
    pub fn streams(&self) -> u64 {
        let health = self.json("global_health");
        health["active_ws_sessions"].as_u64().unwrap_or_else(|| panic!("no active_ws_sessions in {health}"))
    }
}
