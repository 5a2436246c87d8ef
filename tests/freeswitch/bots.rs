//! Bots of the vendors' protocols: what such a server makes of what a stream sends it, strictly, and what it sends back.
//!
//! Written from the vendors' documentation and knowing nothing of the module's own engines. A message that is not exactly as
//! documented (its place, its fields, their types, its numbers) panics. No state but the messages that have come: [`Vendor::read`]
//! reads all of them each time.

use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::rtp::{linear, mulaw};
use crate::support::websocket_server::{Action, Arrival, Handshake, Received, Script};

/// Whose protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vendor {
    /// mod_audio_stream's own.
    Native,
    /// The same with G.711 instead of linear samples in both directions.
    NativePcmu,
    /// drachtio's mod_audio_fork.
    AudioFork,
    /// jambonz' listen.
    Jambonz,
    /// Twilio Media Streams.
    Twilio,
    /// Telnyx media streaming.
    Telnyx,
    /// Plivo audio streaming.
    Plivo,
    /// Vonage voice WebSockets.
    Vonage,
    /// Exotel AgentStream.
    Exotel,
    /// A pipecat bot with its protobuf serializer.
    Pipecat,
    /// A media server of Asterisk's chan_websocket, which has chosen JSON.
    Asterisk,
}

/// What a bot has received.
#[derive(Debug, Default)]
pub struct Told {
    /// What identifies the stream in messages to it, where they need that.
    pub stream: String,
    /// Whether the messages that come before all audio have come.
    pub begun: bool,
    /// The caller's voice.
    pub heard: Vec<i16>,
    /// The keys pressed.
    pub digits: String,
    /// Marks that came back, in order, and when.
    pub marks: Vec<(String, Instant)>,
    /// Confirmations of a clear, and when.
    pub cleared: Vec<Instant>,
    /// Whether the protocol's own end has come.
    pub ended: bool,
    /// Messages with a number so far.
    numbered: u64,
    /// Messages of audio so far.
    chunks: u64,
}

/// What the stream is started with; it comes back in each protocol's own place.
pub const METADATA: &str = r#"{"who":"a \"b\""}"#;

/// What an Asterisk server calls the end of a file.
const BUFFERED: &str = "the file";

impl Vendor {
    /// The value of the option `protocol`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Native | Self::NativePcmu => "native",
            Self::AudioFork => "audio_fork",
            Self::Jambonz => "jambonz",
            Self::Twilio => "twilio",
            Self::Telnyx => "telnyx",
            Self::Plivo => "plivo",
            Self::Vonage => "vonage",
            Self::Exotel => "exotel",
            Self::Pipecat => "pipecat",
            Self::Asterisk => "asterisk",
        }
    }

    /// Options that the server needs besides the protocol.
    pub fn options(self) -> &'static str {
        match self {
            Self::Asterisk => "control_format=json",
            Self::NativePcmu => "codec=pcmu",
            _ => "",
        }
    }

    /// The rate of the audio both ways.
    pub fn rate(self) -> u32 {
        match self {
            Self::NativePcmu | Self::Twilio | Self::Telnyx | Self::Exotel => 8_000,
            _ => 16_000,
        }
    }

    /// A server of it, which insists on the subprotocol where the vendor's does.
    pub fn script(self) -> Script {
        match self {
            Self::AudioFork => Script::default().with_handshake(Handshake::Subprotocol("audio.drachtio.org")),
            Self::Jambonz => Script::default().with_handshake(Handshake::Subprotocol("audio.jambonz.org")),
            Self::Asterisk => Script::default().with_handshake(Handshake::Subprotocol("media")),
            _ => Script::default(),
        }
    }

    /// Whether it tells its server of keys.
    pub fn tells_keys(self) -> bool {
        !matches!(self, Self::Native | Self::NativePcmu)
    }

    /// What the messages so far say.
    pub fn read(self, arrivals: &[Arrival]) -> Told {
        let mut told = Told::default();
        for (index, arrival) in arrivals.iter().enumerate() {
            match &arrival.message {
                Received::Close(..) | Received::Gone(_) => {
                    assert_eq!(index + 1, arrivals.len(), "{self:?}: nothing follows the end");
                    continue;
                }
                _ => assert!(!told.ended, "{self:?}: after the protocol's end comes {arrival:?}"),
            }
            match (&arrival.message, self) {
                (
                    Received::Binary(bytes),
                    Self::Native | Self::AudioFork | Self::Jambonz | Self::Vonage | Self::Asterisk,
                ) => {
                    self.binary(bytes, &mut told);
                }
                (Received::Binary(bytes), Self::Pipecat) => pipecat(bytes, &mut told),
                (Received::Binary(bytes), Self::NativePcmu) => {
                    assert!(told.begun && bytes.len() <= 160, "{} bytes", bytes.len());
                    told.heard.extend(bytes.iter().map(|byte| linear(*byte)));
                }
                (Received::Text(text), Self::Native | Self::NativePcmu) if !told.begun => {
                    assert_eq!(text, METADATA);
                    told.begun = true;
                }
                (Received::Text(text), _) => {
                    let message =
                        serde_json::from_str(text).unwrap_or_else(|error| panic!("{self:?}: {error}: {text}"));
                    match self {
                        Self::AudioFork | Self::Jambonz | Self::Native | Self::NativePcmu => {
                            self.fork(&message, arrival.at, &mut told);
                        }
                        Self::Twilio => twilio(&message, arrival.at, &mut told),
                        Self::Telnyx => telnyx(&message, arrival.at, &mut told),
                        Self::Plivo => plivo(&message, arrival.at, &mut told),
                        Self::Exotel => exotel(&message, arrival.at, &mut told),
                        Self::Vonage => vonage(&message, arrival.at, &mut told),
                        Self::Asterisk => asterisk(&message, arrival.at, &mut told),
                        Self::Pipecat => panic!("{self:?} has no such messages: {text}"),
                    }
                }
                (message, _) => panic!("{self:?} has no such messages: {message:?}"),
            }
        }
        told
    }

    fn binary(self, bytes: &[u8], told: &mut Told) {
        assert!(told.begun, "{self:?}: audio before the first text");
        if bytes.is_empty() {
            assert!(matches!(self, Self::AudioFork | Self::Jambonz), "{self:?}: an empty message");
            told.ended = true;
            return;
        }
        // The last one before the end may be shorter.
        assert!(
            bytes.len() <= self.rate() as usize / 50 * 2 && bytes.len().is_multiple_of(2),
            "{self:?}: {} bytes",
            bytes.len()
        );
        let whole = matches!(self, Self::Vonage | Self::Asterisk);
        assert!(!whole || bytes.len() == 640, "{self:?}: {} bytes", bytes.len());
        told.heard.extend(bytes.chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]])));
    }

    fn fork(self, message: &Value, at: Instant, told: &mut Told) {
        if !told.begun {
            if self == Self::AudioFork {
                assert_eq!(message, &serde_json::from_str::<Value>(METADATA).unwrap());
            } else {
                assert_eq!(message["sampleRate"], 16_000);
                assert_eq!(message["mixType"], "mono");
                assert_eq!(message["who"], "a \"b\"", "metadata lies beside the call's attributes");
            }
            told.begun = true;
        } else if message.get("event").is_some() {
            fields(message, &["event", "dtmf", "duration"]);
            assert_eq!(message["event"], "dtmf");
            number(&message["duration"]);
            told.digits.push_str(text(&message["dtmf"]));
        } else {
            fields(message, &["type", "data"]);
            match text(&message["type"]) {
                "mark" => {
                    fields(&message["data"], &["name", "event"]);
                    assert!(["playout", "cleared"].contains(&text(&message["data"]["event"])), "{message}");
                    told.marks.push((text(&message["data"]["name"]).to_owned(), at));
                }
                "playDone" => assert_eq!(message["data"], json!({"id": "utterance"})),
                other => panic!("{self:?}: {other}"),
            }
        }
    }

    /// Messages that say this, at [`rate`](Self::rate).
    pub fn say(self, samples: &[i16], stream: &str) -> Vec<Action> {
        let little: Vec<u8> = samples.iter().flat_map(|sample| sample.to_le_bytes()).collect();
        let law: Vec<u8> = samples.iter().map(|sample| mulaw(*sample)).collect();
        let in_pieces = |bytes: &[u8], size: usize, make: &dyn Fn(String) -> Value| -> Vec<Action> {
            bytes.chunks(size).map(|piece| order(&make(STANDARD.encode(piece)))).collect()
        };
        let rate = self.rate();
        match self {
            Self::Native => in_pieces(
                &little,
                6_400,
                &|audio| json!({"type": "streamAudio", "data": {"audioDataType": "raw", "sampleRate": rate, "audioData": audio}}),
            ),
            Self::AudioFork | Self::Jambonz => in_pieces(
                &little,
                usize::MAX,
                &|audio| json!({"type": "playAudio", "data": {"audioContentType": "raw", "sampleRate": rate, "audioContent": audio, "id": "utterance"}}),
            ),
            Self::NativePcmu => law.chunks(1_111).map(|piece| Action::Binary(piece.to_vec())).collect(),
            // Of any size.
            Self::Twilio => in_pieces(
                &law,
                777,
                &|audio| json!({"event": "media", "streamSid": stream, "media": {"payload": audio}}),
            ),
            Self::Telnyx => in_pieces(&law, 1_600, &|audio| json!({"event": "media", "media": {"payload": audio}})),
            Self::Plivo => in_pieces(
                &little,
                6_400,
                &|audio| json!({"event": "playAudio", "media": {"contentType": "audio/x-l16", "sampleRate": rate, "payload": audio}}),
            ),
            Self::Exotel => in_pieces(
                &little,
                3_200,
                &|audio| json!({"event": "media", "stream_sid": stream, "media": {"payload": audio}}),
            ),
            Self::Vonage => little.chunks(640).map(|frame| Action::Binary(frame.to_vec())).collect(),
            // A file in pieces of any size, which may end in the middle of a sample.
            Self::Asterisk => [order(&json!({"command": "START_MEDIA_BUFFERING"}))]
                .into_iter()
                .chain(little.chunks(3_333).map(|piece| Action::Binary(piece.to_vec())))
                .chain([order(&json!({"command": "STOP_MEDIA_BUFFERING", "correlation_id": BUFFERED}))])
                .collect(),
            // What a bot sends: 40 ms at a time, with its number and its name.
            Self::Pipecat => little
                .chunks(1_280)
                .zip(1..)
                .map(|(audio, id)| {
                    let name = protobuf::bytes(2, b"OutputAudioRawFrame#0");
                    let body = [
                        protobuf::number(1, id),
                        name,
                        protobuf::bytes(3, audio),
                        protobuf::number(4, rate.into()),
                        protobuf::number(5, 1),
                    ];
                    Action::Binary(protobuf::bytes(2, &body.concat()))
                })
                .collect(),
        }
    }

    /// The message that asks for an answer once everything before it has been heard.
    pub fn mark(self, name: &str, stream: &str) -> Option<Action> {
        let message = match self {
            Self::Pipecat => return None,
            Self::Native | Self::NativePcmu | Self::AudioFork | Self::Jambonz => {
                json!({"type": "mark", "data": {"name": name}})
            }
            Self::Twilio => json!({"event": "mark", "streamSid": stream, "mark": {"name": name}}),
            Self::Telnyx => json!({"event": "mark", "mark": {"name": name}}),
            Self::Plivo => json!({"event": "checkpoint", "streamId": stream, "name": name}),
            Self::Exotel => json!({"event": "mark", "stream_sid": stream, "mark": {"name": name}}),
            Self::Vonage => json!({"action": "notify", "payload": {"name": name}}),
            Self::Asterisk => json!({"command": "MARK_MEDIA", "correlation_id": name}),
        };
        Some(order(&message))
    }

    /// The message that drops what is queued.
    pub fn clear(self, stream: &str) -> Action {
        order(&match self {
            Self::Pipecat => return Action::Binary(protobuf::bytes(5, &protobuf::number(1, 9))),
            Self::Native | Self::NativePcmu => json!({"type": "clear_playback"}),
            Self::AudioFork | Self::Jambonz => json!({"type": "killAudio"}),
            Self::Twilio => json!({"event": "clear", "streamSid": stream}),
            Self::Telnyx => json!({"event": "clear"}),
            Self::Plivo => json!({"event": "clearAudio", "streamId": stream}),
            Self::Exotel => json!({"event": "clear", "stream_sid": stream}),
            Self::Vonage => json!({"action": "clear"}),
            Self::Asterisk => json!({"command": "FLUSH_MEDIA"}),
        })
    }

    /// Whether its marks have names, which the module's events tell; Vonage's are whatever JSON its server likes.
    pub fn names_marks(self) -> bool {
        !matches!(self, Self::Vonage | Self::Pipecat)
    }

    /// Whether marks come back, and not only a confirmation, when they are cleared.
    pub fn returns_cleared_marks(self) -> bool {
        let native = matches!(self, Self::Native | Self::NativePcmu);
        native || matches!(self, Self::AudioFork | Self::Jambonz | Self::Twilio | Self::Telnyx | Self::Exotel)
    }

    /// The message that has keys pressed towards the caller.
    pub fn send_keys(self, digits: &str) -> Option<Action> {
        (self == Self::Plivo).then(|| order(&json!({"event": "sendDTMF", "dtmf": digits})))
    }
}

fn order(message: &Value) -> Action {
    Action::Text(message.to_string())
}

/// The object has these fields and no others.
#[track_caller]
fn fields(object: &Value, names: &[&str]) {
    let mut there: Vec<_> = object.as_object().expect("an object").keys().map(String::as_str).collect();
    let mut wanted = names.to_vec();
    there.sort_unstable();
    wanted.sort_unstable();
    assert_eq!(there, wanted, "{object}");
}

#[track_caller]
fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("a text, not {value}"))
}

/// A number that is written as a text.
#[track_caller]
fn number(value: &Value) -> u64 {
    text(value).parse().unwrap_or_else(|_| panic!("a number in a text, not {value}"))
}

#[track_caller]
fn bytes(value: &Value) -> Vec<u8> {
    STANDARD.decode(text(value)).unwrap_or_else(|error| panic!("{error}: {value}"))
}

impl Told {
    /// Numbers run from 1 without a gap.
    #[track_caller]
    fn numbered(&mut self, number: u64) {
        self.numbered += 1;
        assert_eq!(number, self.numbered, "the numbers of messages run on");
    }

    #[track_caller]
    fn chunk(&mut self, number: u64) {
        assert!(self.begun, "audio before the start");
        self.chunks += 1;
        assert_eq!(number, self.chunks, "the numbers of chunks run on");
    }

    /// How long all audio so far lasts.
    fn ms(&self, rate: u32) -> u64 {
        self.heard.len() as u64 * 1_000 / u64::from(rate)
    }

    fn hear_mulaw(&mut self, payload: &Value) {
        let bytes = bytes(payload);
        assert!(bytes.len() == 160 || self.heard.len() > 160, "20 ms");
        self.heard.extend(bytes.into_iter().map(linear));
    }
}

fn twilio(message: &Value, at: Instant, told: &mut Told) {
    let event = text(&message["event"]);
    if told.stream.is_empty() && event == "connected" {
        assert_eq!(message, &json!({"event": "connected", "protocol": "Call", "version": "1.0.0"}));
        told.stream = "?".to_owned();
        return;
    }
    assert!(!told.stream.is_empty(), "the first message is connected, not {message}");
    told.numbered(number(&message["sequenceNumber"]));
    let body = match event {
        "connected" => panic!("connected comes once"),
        "start" => "start",
        other => other,
    };
    fields(message, &["event", "sequenceNumber", "streamSid", body]);
    let body = &message[body];
    if event != "start" {
        assert_eq!(message["streamSid"], told.stream.as_str());
    }
    match event {
        "start" => {
            fields(body, &["accountSid", "streamSid", "callSid", "tracks", "mediaFormat", "customParameters"]);
            assert_eq!(body["tracks"], json!(["inbound"]));
            assert_eq!(body["mediaFormat"], json!({"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1}));
            assert_eq!(body["customParameters"], serde_json::from_str::<Value>(METADATA).unwrap());
            text(&message["streamSid"]).clone_into(&mut told.stream);
            assert_eq!(body["streamSid"], message["streamSid"]);
            told.begun = true;
        }
        "media" => {
            fields(body, &["track", "chunk", "timestamp", "payload"]);
            assert_eq!(body["track"], "inbound");
            told.chunk(number(&body["chunk"]));
            assert_eq!(number(&body["timestamp"]), told.ms(8_000));
            told.hear_mulaw(&body["payload"]);
        }
        "dtmf" => {
            fields(body, &["track", "digit"]);
            assert_eq!(body["track"], "inbound_track");
            told.digits.push_str(text(&body["digit"]));
        }
        "mark" => {
            fields(body, &["name"]);
            told.marks.push((text(&body["name"]).to_owned(), at));
        }
        "stop" => {
            fields(body, &["accountSid", "callSid"]);
            told.ended = true;
        }
        other => panic!("twilio has no {other}"),
    }
}

fn telnyx(message: &Value, at: Instant, told: &mut Told) {
    let event = text(&message["event"]);
    if told.numbered == 0 && event == "connected" {
        assert_eq!(message, &json!({"event": "connected", "version": "1.0.0"}));
        return;
    }
    told.numbered(number(&message["sequence_number"]));
    if event == "dtmf" {
        fields(message, &["event", "sequence_number", "stream_id", "occurred_at", "dtmf"]);
    } else {
        fields(message, &["event", "sequence_number", "stream_id", event]);
    }
    let body = &message[event];
    match event {
        "start" => {
            let known = ["user_id", "call_control_id", "call_session_id", "from", "to", "tags", "client_state"];
            fields(body, &[&known[..], &["custom_parameters", "media_format"]].concat());
            assert_eq!(body["media_format"], json!({"encoding": "PCMU", "sample_rate": 8000, "channels": 1}));
            assert_eq!(body["custom_parameters"], serde_json::from_str::<Value>(METADATA).unwrap());
            text(&message["stream_id"]).clone_into(&mut told.stream);
            told.begun = true;
        }
        "media" => {
            fields(body, &["track", "chunk", "timestamp", "payload"]);
            assert_eq!(body["track"], "inbound");
            told.chunk(number(&body["chunk"]));
            assert_eq!(number(&body["timestamp"]), told.ms(8_000));
            told.hear_mulaw(&body["payload"]);
        }
        "dtmf" => told.digits.push_str(text(&body["digit"])),
        "mark" => told.marks.push((text(&body["name"]).to_owned(), at)),
        "stop" => told.ended = true,
        other => panic!("telnyx: {other}: {message}"),
    }
}

fn plivo(message: &Value, at: Instant, told: &mut Told) {
    let number = |value: &Value| value.as_u64().unwrap_or_else(|| panic!("a number, not {value}"));
    told.numbered(number(&message["sequenceNumber"]));
    let event = text(&message["event"]);
    if event != "start" {
        assert_eq!(message["streamId"], told.stream.as_str(), "{message}");
    }
    match event {
        "start" => {
            fields(message, &["event", "sequenceNumber", "start", "extra_headers"]);
            let body = &message["start"];
            fields(body, &["callId", "streamId", "accountId", "tracks", "mediaFormat"]);
            assert_eq!(body["tracks"], json!(["inbound"]));
            assert_eq!(body["mediaFormat"], json!({"encoding": "audio/x-l16", "sampleRate": 16_000}));
            text(&body["streamId"]).clone_into(&mut told.stream);
            told.begun = true;
        }
        "media" => {
            fields(message, &["event", "sequenceNumber", "streamId", "media", "extra_headers"]);
            let body = &message["media"];
            fields(body, &["track", "timestamp", "chunk", "payload"]);
            assert!(text(&body["timestamp"]).len() == 13, "ms since 1970: {body}");
            told.chunk(number(&body["chunk"]));
            let payload = bytes(&body["payload"]);
            told.heard.extend(payload.chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]])));
        }
        "dtmf" => {
            fields(&message["dtmf"], &["track", "digit", "timestamp"]);
            told.digits.push_str(text(&message["dtmf"]["digit"]));
        }
        "playedStream" => {
            fields(message, &["event", "sequenceNumber", "streamId", "name"]);
            told.marks.push((text(&message["name"]).to_owned(), at));
        }
        "clearedAudio" => {
            fields(message, &["event", "sequenceNumber", "streamId"]);
            told.cleared.push(at);
        }
        other => panic!("plivo has no {other}"),
    }
}

fn exotel(message: &Value, at: Instant, told: &mut Told) {
    let event = text(&message["event"]);
    if told.numbered == 0 && event == "connected" {
        assert_eq!(message, &json!({"event": "connected"}));
        return;
    }
    told.numbered(number(&message["sequence_number"]));
    fields(message, &["event", "sequence_number", "stream_sid", event]);
    let body = &message[event];
    match event {
        "start" => {
            let known = ["stream_sid", "call_sid", "account_sid", "from", "to", "custom_parameters", "media_format"];
            fields(body, &known);
            assert_eq!(
                body["media_format"],
                json!({"encoding": "audio/x-raw", "sample_rate": "8000", "bit_rate": "16"})
            );
            text(&message["stream_sid"]).clone_into(&mut told.stream);
            told.begun = true;
        }
        "media" => {
            fields(body, &["chunk", "timestamp", "payload"]);
            told.chunk(number(&body["chunk"]));
            assert_eq!(number(&body["timestamp"]), told.ms(8_000));
            let payload = bytes(&body["payload"]);
            told.heard.extend(payload.chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]])));
        }
        "dtmf" => {
            fields(body, &["digit", "duration"]);
            number(&body["duration"]);
            told.digits.push_str(text(&body["digit"]));
        }
        "mark" => told.marks.push((text(&body["name"]).to_owned(), at)),
        "stop" => {
            fields(body, &["call_sid", "account_sid", "reason"]);
            told.ended = true;
        }
        other => panic!("exotel has no {other}"),
    }
}

fn vonage(message: &Value, at: Instant, told: &mut Told) {
    match text(&message["event"]) {
        "websocket:connected" => {
            assert!(!told.begun, "connected comes once, and first");
            assert_eq!(message["content-type"], "audio/l16;rate=16000");
            assert_eq!(message["who"], "a \"b\"", "custom headers lie beside the event");
            told.begun = true;
        }
        "websocket:dtmf" => {
            fields(message, &["event", "digit", "duration"]);
            assert!(message["duration"].is_u64(), "{message}");
            told.digits.push_str(text(&message["digit"]));
        }
        "websocket:cleared" => {
            fields(message, &["event"]);
            told.cleared.push(at);
        }
        "websocket:notify" => {
            fields(message, &["event", "payload"]);
            told.marks.push((text(&message["payload"]["name"]).to_owned(), at));
        }
        other => panic!("vonage has no {other}"),
    }
}

fn asterisk(message: &Value, at: Instant, told: &mut Told) {
    let event = text(&message["event"]);
    assert_eq!(event == "MEDIA_START", !told.begun, "MEDIA_START comes once, and first: {message}");
    match event {
        "MEDIA_START" => {
            let known = ["event", "connection_id", "channel", "channel_id", "format", "optimal_frame_size", "ptime"];
            fields(message, &[&known[..], &["channel_variables"]].concat());
            assert_eq!(
                (&message["format"], &message["optimal_frame_size"], &message["ptime"]),
                (&json!("slin16"), &json!(640), &json!(20))
            );
            assert_eq!(message["channel_variables"], serde_json::from_str::<Value>(METADATA).unwrap());
            assert!(text(&message["channel"]).starts_with("sofia/"), "{message}");
            text(&message["channel_id"]).clone_into(&mut told.stream);
            told.begun = true;
            return;
        }
        "DTMF_END" => {
            fields(message, &["event", "channel_id", "digit"]);
            told.digits.push_str(text(&message["digit"]));
        }
        "MEDIA_MARK_PROCESSED" => {
            fields(message, &["event", "channel_id", "correlation_id"]);
            told.marks.push((text(&message["correlation_id"]).to_owned(), at));
        }
        "MEDIA_BUFFERING_COMPLETED" => {
            fields(message, &["event", "channel_id", "correlation_id"]);
            assert_eq!(message["correlation_id"], BUFFERED);
        }
        other => panic!("an Asterisk server does not expect {other}: {message}"),
    }
    assert_eq!(message["channel_id"], told.stream.as_str());
}

/// One of pipecat's frames: 1 text, 2 audio, 3 transcription, 4 message, 5 interruption.
fn pipecat(bytes: &[u8], told: &mut Told) {
    let frame = protobuf::fields(bytes);
    let [(kind, protobuf::Value::Bytes(body))] = frame.as_slice() else { panic!("one frame, not {frame:?}") };
    let body = protobuf::fields(body);
    match (kind, body.as_slice()) {
        (
            2,
            [(3, protobuf::Value::Bytes(audio)), (4, protobuf::Value::Number(rate)), (5, protobuf::Value::Number(1))],
        ) => {
            assert!(told.begun, "pipecat: audio before the start");
            assert_eq!(*rate, 16_000);
            assert!(audio.len() <= 640 && audio.len().is_multiple_of(2), "pipecat: {} bytes", audio.len());
            told.heard.extend(audio.chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]])));
        }
        (4, [(1, protobuf::Value::Bytes(data))]) => {
            let message: Value = serde_json::from_slice(data).expect("a bot reads the data as JSON");
            fields(&message, &["label", "type", "data"]);
            assert_eq!(message["label"], "mod_audio_stream");
            let data = &message["data"];
            match text(&message["type"]) {
                "start" => {
                    assert!(!told.begun, "the start comes once, and first");
                    fields(data, &["call_id", "stream_id", "from", "to", "direction", "parameters"]);
                    assert_eq!(data["parameters"], serde_json::from_str::<Value>(METADATA).unwrap());
                    text(&data["stream_id"]).clone_into(&mut told.stream);
                    told.begun = true;
                }
                "dtmf" => {
                    fields(data, &["digit", "duration_ms"]);
                    assert!(data["duration_ms"].is_u64(), "{message}");
                    told.digits.push_str(text(&data["digit"]));
                }
                "stop" => {
                    assert_eq!(data, &json!({"call_ended": false}));
                    told.ended = true;
                }
                other => panic!("pipecat does not receive {other}"),
            }
        }
        other => panic!("pipecat: {other:?}"),
    }
}

/// As much of protobuf as pipecat's frames need.
mod protobuf {
    /// What a field holds.
    #[derive(Debug)]
    pub(super) enum Value<'a> {
        Number(u64),
        Bytes(&'a [u8]),
    }

    fn varint(mut value: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        while value >= 0x80 {
            bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        bytes.push(value as u8);
        bytes
    }

    fn take_varint(bytes: &mut &[u8]) -> u64 {
        let end = bytes.iter().position(|byte| byte & 0x80 == 0).expect("a number has an end") + 1;
        let (number, rest) = bytes.split_at(end);
        *bytes = rest;
        number.iter().rev().fold(0, |value, byte| value << 7 | u64::from(byte & 0x7f))
    }

    /// A number as a field.
    pub(super) fn number(tag: u64, value: u64) -> Vec<u8> {
        [varint(tag << 3), varint(value)].concat()
    }

    /// Bytes, a text or a message as a field.
    pub(super) fn bytes(tag: u64, value: &[u8]) -> Vec<u8> {
        [varint(tag << 3 | 2), varint(value.len() as u64), value.to_vec()].concat()
    }

    /// The fields of a message, in order.
    pub(super) fn fields(mut message: &[u8]) -> Vec<(u64, Value<'_>)> {
        let mut fields = Vec::new();
        while !message.is_empty() {
            let key = take_varint(&mut message);
            let value = match key & 7 {
                0 => Value::Number(take_varint(&mut message)),
                2 => {
                    let length = take_varint(&mut message) as usize;
                    let (value, rest) = message.split_at(length);
                    message = rest;
                    Value::Bytes(value)
                }
                other => panic!("pipecat's frames have no fields of type {other}"),
            };
            fields.push((key >> 3, value));
        }
        fields
    }
}
