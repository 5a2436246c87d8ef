//! Vonage voice WebSockets: <https://developer.vonage.com/en/voice/voice-api/guides/websockets>.
//!
//! Audio is binary S16LE at 8, 16 or 24 kHz (the highest the options' rate reaches), mono, each message exactly 20 ms: a
//! shorter last one is filled with silence. Events are JSON texts. The first names the audio format and has the metadata's
//! fields beside its own, as they are.
//!
//! From the server: binary of any length is queued, though 20 ms is what the vendor asks for; `clear` drops what is queued
//! and is confirmed; `notify` comes back with its payload when the audio before it has been heard, and never when it was
//! cleared. Unknown actions are ignored.

use std::collections::BTreeMap;

use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use super::call::parameters;
use super::json::Field;
use super::marks::Marks;
use super::pcm::FrameReader;
use super::session::{Dialect, Outputs, message};
use super::{Audio, MarkId, ProtocolConfig, WireFormat, highest_rate};
use crate::units::{Encoding, PcmFormat};

/// Notifications that may wait: as many as the vendor buffers messages.
const MOST_NOTIFICATIONS: usize = 3_072;
/// Longest payload of a notification, bytes.
const MOST_PAYLOAD: usize = 16 * 1024;

/// Vonage's side of the conversation.
#[derive(Debug)]
pub(super) struct Vonage {
    headers: BTreeMap<String, Box<RawValue>>,
    format: WireFormat,
    notifications: Marks<Box<RawValue>>,
    reader: FrameReader,
}

/// The first message.
struct Connected<'a> {
    rate: u32,
    headers: &'a BTreeMap<String, Box<RawValue>>,
}

impl Serialize for Connected<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        const OWN: [&str; 2] = ["event", "content-type"];
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry(OWN[0], "websocket:connected")?;
        map.serialize_entry(OWN[1], &format_args!("audio/l16;rate={}", self.rate))?;
        for (name, value) in self.headers.iter().filter(|(name, _)| !OWN.contains(&name.as_str())) {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

#[derive(Serialize)]
struct Cleared {
    event: &'static str,
}

#[derive(Serialize)]
struct Dtmf {
    event: &'static str,
    digit: char,
    duration: u32,
}

#[derive(Serialize)]
struct Notify<'a> {
    event: &'static str,
    payload: &'a RawValue,
}

impl Vonage {
    pub(super) fn new(config: ProtocolConfig) -> Self {
        let pcm = PcmFormat { rate: highest_rate(config.wire.rate, &[8_000, 16_000, 24_000]), channels: 1 };
        Self {
            headers: parameters(config.metadata.as_deref()),
            format: WireFormat { pcm, encoding: Encoding::S16Le, message_ms: 20 },
            notifications: Marks::new(MOST_NOTIFICATIONS),
            reader: FrameReader::new(1),
        }
    }
}

impl Dialect for Vonage {
    fn capture(&self) -> WireFormat {
        self.format
    }

    fn opened(&mut self, out: &mut Outputs) {
        self.notifications.forget();
        self.reader.reset();
        out.send_json(&Connected { rate: self.format.pcm.rate.hz(), headers: &self.headers });
    }

    fn audio(&mut self, bytes: &[u8], out: &mut Outputs) {
        let whole = self.format.pcm.samples_in_ms(self.format.message_ms) * self.format.encoding.sample_bytes();
        for frame in bytes.chunks(whole) {
            let mut frame = frame.to_vec();
            frame.resize(whole, 0);
            out.send_binary(frame);
        }
    }

    fn text(&mut self, text: &str, out: &mut Outputs) {
        let Some([action, payload]) = message(text, ["action", "payload"], out) else { return };
        match Field::of(action).as_str() {
            Some("clear") => {
                self.reader.reset();
                out.clear();
                out.send_json(&Cleared { event: "websocket:cleared" });
            }
            Some("notify") => {
                let payload = payload.map_or_else(empty_object, ToOwned::to_owned);
                let bytes = payload.get().len();
                if bytes > MOST_PAYLOAD {
                    out.fault(format!("notify: a payload of {bytes} bytes is more than {MOST_PAYLOAD}"));
                } else if !self.notifications.add(payload, bytes, out) {
                    out.fault("notify: too many notifications are waiting; this one is not answered");
                }
            }
            Some(_) => {}
            None => out.fault("action is not a string"),
        }
    }

    fn binary(&mut self, bytes: &[u8], out: &mut Outputs) {
        let samples = self.reader.push(bytes);
        if !samples.is_empty() {
            out.play(Audio::Pcm { samples, format: self.format.pcm });
        }
    }

    fn dtmf(&mut self, digit: char, duration_ms: u32, out: &mut Outputs) {
        out.send_json(&Dtmf { event: "websocket:dtmf", digit, duration: duration_ms });
    }

    fn mark(&mut self, id: MarkId, heard: bool, out: &mut Outputs) {
        if let Some(payload) = self.notifications.take(id).filter(|_| heard) {
            out.send_json(&Notify { event: "websocket:notify", payload: &payload });
        }
    }
}

/// A notification without a payload comes back with an empty one.
fn empty_object() -> Box<RawValue> {
    // `{}` is JSON; the other arm is for the type.
    RawValue::from_string("{}".to_owned()).unwrap_or_default()
}
