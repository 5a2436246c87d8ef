//! A notation for conversations in which the test sends every event of the service.
//!
//! A conversation runs on any [`Place`]: on virtual time, or on a call in FreeSWITCH. The methods of [`Stage`] are what the service
//! sends (`open`, `speak`, `begin`, `audio`, `end`, …), what it must receive (`expect`, `silent`), what the operator and the
//! caller do (`operate`, `caller_says`), and the result (`state`, `heard`, `events`).
//!
//! Each item of the agent has a sound of its own, so a recording shows how much of which item was heard.

use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::script::What;
use super::session::Order;
use super::shape::Complaint;
use super::voice::{Coding, chord, heard_ms};

/// How long something may take that has no time of its own.
const SOON: u64 = 1_500;
/// How much audio is in one delta.
const DELTA_MS: usize = 200;

/// What an operator or a caller does beside speaking.
#[derive(Clone, Copy, Debug)]
pub enum Command<'a> {
    /// `say`.
    Say(&'a str),
    /// `ai_result` for a call.
    Result(&'a str, &'a str),
    /// `send_text`.
    Text(&'a str),
    /// `send_text` with a role, and whether the model is to answer.
    Tell(&'a str, bool, &'a str),
    /// `ai_update`.
    Update(&'a [(&'a str, &'a str)]),
    /// `ai_send`.
    Raw(&'a str),
    /// `clear`.
    Clear,
    /// The caller presses a key.
    Key(char),
}

/// Where a conversation takes place.
pub trait Place {
    /// The time.
    fn now(&self) -> Instant;
    /// Lets time pass.
    fn pass(&mut self, time: Duration);
    /// Has the service of a connection do something.
    fn order(&mut self, connection: usize, order: Order);
    /// Connections so far.
    fn connections(&self) -> usize;
    /// What the service of a connection received without the audio, and when.
    fn told(&self, connection: usize) -> Vec<(Instant, Value)>;
    /// Milliseconds of the caller's audio that the service of a connection was given.
    fn appended_ms(&self, connection: usize) -> u64;
    /// Milliseconds of audio of each turn that the client of a connection has committed.
    fn turns_ms(&self, connection: usize) -> Vec<u64>;
    /// What the client did wrong.
    fn complaints(&self, connection: usize) -> Vec<Complaint>;
    /// The operator or the caller does this.
    fn operate(&mut self, command: Command<'_>);
    /// The caller speaks for so long; time passes meanwhile.
    fn caller_says(&mut self, ms: u32);
    /// The operator's events of the conversation: kind, and state, code or text.
    fn events(&self) -> Vec<(String, String)>;
    /// What the service has billed so far, as `health` shows it.
    fn usage(&self) -> Value;
    /// What the caller has heard, at 8 kHz.
    fn heard(&self) -> Vec<i16>;
    /// Whether time costs nothing here.
    fn is_fast(&self) -> bool;
}

/// Starts a conversation with these options.
pub type Start<'a> = &'a dyn Fn(&[(&str, &str)]) -> Stage<'a>;

/// A conversation in progress.
pub struct Stage<'a> {
    place: Box<dyn Place + 'a>,
    connection: usize,
    /// Events of the client that a test has seen.
    read: usize,
}

impl<'a> Stage<'a> {
    /// A conversation that is about to connect.
    pub fn new(place: impl Place + 'a) -> Self {
        Self { place: Box::new(place), connection: 0, read: 0 }
    }

    /// Lets time pass.
    pub fn pass(&mut self, ms: u64) {
        self.place.pass(Duration::from_millis(ms));
    }

    /// The service says this.
    pub fn send(&mut self, event: Value) {
        self.place.order(self.connection, Order::Event(event));
    }

    /// The connection is there; the session is not.
    #[track_caller]
    pub fn connected(&mut self) {
        let index = self.connection;
        self.within(10_000, "a connection", |stage| stage.place.connections() > index);
        self.expect("session.update");
    }

    /// The session is ready.
    pub fn confirm(&mut self) {
        self.send(json!({"type": "session.updated", "session": {"id": "sess"}}));
    }

    /// Connected and ready.
    #[track_caller]
    pub fn open(&mut self) {
        self.connected();
        self.confirm();
        self.await_state("LISTENING", SOON);
    }

    /// The connection breaks, and the next one is there; its session is not.
    #[track_caller]
    pub fn reconnect(&mut self) {
        self.lose(What::Drop);
    }

    /// The same, with another end of the connection.
    #[track_caller]
    pub fn lose(&mut self, how: What) {
        self.place.order(self.connection, Order::Trouble(how));
        self.connection += 1;
        self.read = 0;
        self.connected();
    }

    /// The service hears the caller begin.
    pub fn speech_started(&mut self, item: &str, start_ms: u64) {
        self.send(json!({"type": "input_audio_buffer.speech_started", "item_id": item, "audio_start_ms": start_ms}));
    }

    /// It hears them stop.
    pub fn speech_stopped(&mut self, item: &str, end_ms: u64) {
        self.send(json!({"type": "input_audio_buffer.speech_stopped", "item_id": item, "audio_end_ms": end_ms}));
    }

    /// Their turn is over and part of the conversation.
    pub fn committed(&mut self, item: &str) {
        self.send(json!({"type": "input_audio_buffer.committed", "item_id": item, "previous_item_id": null}));
        self.send(json!({"type": "conversation.item.added", "previous_item_id": null,
            "item": {"id": item, "type": "message", "role": "user"}}));
    }

    /// A turn of the caller's of so many milliseconds, from now on.
    pub fn speak(&mut self, item: &str, ms: u64) {
        // The service counts from the first audio it was given.
        let start = self.place.appended_ms(self.connection);
        self.speech_started(item, start);
        self.pass(ms);
        self.speech_stopped(item, start + ms);
        self.committed(item);
    }

    /// A response begins, of which the service does not say who asked for it.
    pub fn create(&mut self, response: &str) {
        self.send(json!({"type": "response.created", "response": {"id": response, "status": "in_progress"}}));
    }

    /// A response begins that this request of the client's has asked for.
    pub fn create_for(&mut self, response: &str, request: &Value) {
        let metadata = &request["response"]["metadata"];
        self.send(json!({"type": "response.created",
            "response": {"id": response, "status": "in_progress", "metadata": metadata}}));
    }

    /// The response begins a message.
    pub fn message(&mut self, response: &str, item: &str) {
        self.send(json!({"type": "response.output_item.added", "response_id": response, "output_index": 0,
            "item": {"id": item, "type": "message", "role": "assistant", "content": []}}));
        self.send(json!({"type": "response.content_part.added", "response_id": response, "item_id": item,
            "output_index": 0, "content_index": 0, "part": {"type": "audio"}}));
    }

    /// Both.
    pub fn begin(&mut self, response: &str, item: &str) {
        self.create(response);
        self.message(response, item);
    }

    /// Audio of the message, all at once.
    pub fn audio(&mut self, response: &str, item: &str, ms: u32) {
        let bytes = Coding::Pcmu.encode(&sound(item, ms));
        for piece in bytes.chunks(DELTA_MS * 8) {
            self.send(json!({"type": "response.output_audio.delta", "response_id": response, "item_id": item,
                "output_index": 0, "content_index": 0, "delta": STANDARD.encode(piece)}));
        }
    }

    /// What a session of text has instead.
    pub fn text(&mut self, response: &str, item: &str, text: &str) {
        self.send(json!({"type": "response.output_text.delta", "response_id": response, "item_id": item,
            "output_index": 0, "content_index": 0, "delta": text}));
        self.send(json!({"type": "response.output_text.done", "response_id": response, "item_id": item,
            "output_index": 0, "content_index": 0, "text": text}));
    }

    /// The response calls a function.
    pub fn call(&mut self, response: &str, call: &str, name: &str, arguments: &str) {
        let item = format!("f_{call}");
        self.send(json!({"type": "response.output_item.added", "response_id": response, "output_index": 1,
            "item": {"id": item, "type": "function_call", "call_id": call, "name": name}}));
        self.send(json!({"type": "response.function_call_arguments.done", "response_id": response, "item_id": item,
            "call_id": call, "name": name, "arguments": arguments}));
        self.send(json!({"type": "response.output_item.done", "response_id": response, "output_index": 1,
            "item": {"id": item, "type": "function_call", "status": "completed", "call_id": call, "name": name,
                "arguments": arguments}}));
    }

    /// The response asks whether a tool of an MCP server may be called.
    pub fn asks_approval(&mut self, response: &str, request: &str, name: &str, arguments: &str) {
        let item = json!({"id": request, "type": "mcp_approval_request", "server_label": "orders", "name": name,
            "arguments": arguments});
        self.send(
            json!({"type": "response.output_item.added", "response_id": response, "output_index": 1, "item": item}),
        );
        self.send(
            json!({"type": "response.output_item.done", "response_id": response, "output_index": 1, "item": item}),
        );
    }

    /// The response ends with the call of such a tool, which the service has carried out.
    pub fn ends_with_tool(&mut self, response: &str, call: &str, name: &str) {
        let item = json!({"id": call, "type": "mcp_call", "server_label": "orders", "name": name, "arguments": "{}",
            "output": "shipped"});
        for kind in ["in_progress", "completed"] {
            self.send(json!({"type": format!("response.mcp_call.{kind}"), "item_id": call, "output_index": 0}));
        }
        self.send(
            json!({"type": "response.output_item.done", "response_id": response, "output_index": 0, "item": item}),
        );
        self.send(json!({"type": "response.done",
            "response": {"id": response, "status": "completed", "output": [item]}}));
    }

    /// The response is complete.
    pub fn end(&mut self, response: &str) {
        self.done(response, "completed", &Value::Null);
    }

    /// The service has cancelled the response for the caller's speech.
    pub fn cancelled(&mut self, response: &str) {
        self.done(response, "cancelled", &json!({"type": "cancelled", "reason": "turn_detected"}));
    }

    /// The response has failed.
    pub fn failed(&mut self, response: &str, code: &str, message: &str) {
        let error = json!({"type": "tokens", "code": code, "message": message});
        self.done(response, "failed", &json!({"type": "failed", "error": error}));
    }

    /// The response ends so.
    pub fn done(&mut self, response: &str, status: &str, details: &Value) {
        self.send(json!({"type": "response.done",
            "response": {"id": response, "status": status, "status_details": details, "output": []}}));
    }

    /// A whole response of one message.
    pub fn respond(&mut self, response: &str, item: &str, ms: u32) {
        self.begin(response, item);
        self.audio(response, item, ms);
        self.end(response);
    }

    /// The same, with its words.
    pub fn respond_saying(&mut self, response: &str, item: &str, ms: u32, words: &str) {
        self.begin(response, item);
        self.words(response, item, words);
        self.audio(response, item, ms);
        self.send(json!({"type": "response.output_audio_transcript.done", "response_id": response, "item_id": item,
            "output_index": 0, "content_index": 0, "transcript": words}));
        self.end(response);
    }

    /// What the message's audio says, all that the service has written so far.
    pub fn words(&mut self, response: &str, item: &str, words: &str) {
        self.send(json!({"type": "response.output_audio_transcript.delta", "response_id": response, "item_id": item,
            "output_index": 0, "content_index": 0, "delta": words}));
    }

    /// The service confirms its session, and the caller hears the greeting, item `ig`, to its end.
    pub fn greets(&mut self) {
        self.confirm();
        let greeting = self.expect("response.create");
        self.answer(&greeting, "g", "ig", 500);
        self.await_state("SPEAKING", 500);
        self.await_state("LISTENING", 1_000);
    }

    /// The same, for this request of the client's.
    pub fn answer(&mut self, request: &Value, response: &str, item: &str, ms: u32) {
        self.create_for(response, request);
        self.message(response, item);
        self.audio(response, item, ms);
        self.end(response);
    }

    /// The service refuses this request for a response, because another one is running.
    pub fn refuse(&mut self, request: &Value) {
        self.error("conversation_already_has_active_response", "An active response is in progress.", request);
    }

    /// An error about this event of the client's.
    pub fn error(&mut self, code: &str, message: &str, about: &Value) {
        self.send(json!({"type": "error", "error": {"type": "invalid_request_error", "code": code, "message": message,
            "event_id": about["event_id"]}}));
    }

    /// The operator or the caller does this.
    pub fn operate(&mut self, command: Command<'_>) {
        self.place.operate(command);
    }

    /// The caller speaks, and the module hears it by itself.
    pub fn caller_says(&mut self, ms: u32) {
        self.place.caller_says(ms);
    }

    /// The next event of the client, audio apart, which must be of this kind and come soon.
    #[track_caller]
    pub fn expect(&mut self, kind: &str) -> Value {
        self.expect_within(kind, SOON)
    }

    /// The same with a time limit.
    #[track_caller]
    pub fn expect_within(&mut self, kind: &str, ms: u64) -> Value {
        self.within(ms, kind, |stage| stage.unread().next().is_some());
        let event = self.unread().next().expect("it has come");
        assert_eq!(event["type"], kind, "{event}");
        self.read += 1;
        event
    }

    /// Lets time pass, in which the service must not receive anything.
    #[track_caller]
    pub fn silent(&mut self, ms: u64) {
        self.pass(ms);
        let told: Vec<_> = self.unread().collect();
        assert!(told.is_empty(), "the service was told {told:#?}");
    }

    /// Everything the client has said of a kind on this connection.
    pub fn told(&self, kind: &str) -> Vec<Value> {
        let told = self.place.told(self.connection);
        told.into_iter().map(|(_, event)| event).filter(|event| event["type"] == kind).collect()
    }

    /// The client's events are seen, whatever they are.
    pub fn skip(&mut self) {
        self.read = self.place.told(self.connection).len();
    }

    fn unread(&self) -> impl Iterator<Item = Value> {
        self.place.told(self.connection).into_iter().skip(self.read).map(|(_, event)| event)
    }

    /// Whether time costs nothing here.
    pub fn is_fast(&self) -> bool {
        self.place.is_fast()
    }

    /// Milliseconds of the caller's audio that the service was given on this connection.
    pub fn appended_ms(&self) -> u64 {
        self.place.appended_ms(self.connection)
    }

    /// Milliseconds of audio of each turn that the client has committed on this connection.
    pub fn turns_ms(&self) -> Vec<u64> {
        self.place.turns_ms(self.connection)
    }

    /// Lets time pass until this holds, within the limit; how long it took, ms.
    #[track_caller]
    pub fn within(&mut self, ms: u64, what: &str, holds: impl Fn(&Self) -> bool) -> u64 {
        let start = self.place.now();
        let waited = |stage: &Self| stage.place.now().duration_since(start).as_millis() as u64;
        while !holds(self) {
            let (state, events) = (self.state(), self.place.events());
            assert!(waited(self) < ms, "{what} did not come within {ms} ms; {state}, of {events:?}");
            self.pass(10);
        }
        waited(self)
    }

    /// The state that was reported last.
    pub fn state(&self) -> String {
        self.events("state").pop().unwrap_or_default()
    }

    /// Lets time pass until the state is this, within the limit; how long it took, ms.
    #[track_caller]
    pub fn await_state(&mut self, state: &str, ms: u64) -> u64 {
        self.within(ms, state, |stage| stage.state() == state)
    }

    /// The operator's events of a kind: their states, codes or texts.
    pub fn events(&self, kind: &str) -> Vec<String> {
        self.place.events().into_iter().filter(|(name, _)| name == kind).map(|(_, detail)| detail).collect()
    }

    /// What the service has billed so far, as `health` shows it.
    pub fn usage(&self) -> Value {
        self.place.usage()
    }

    /// How much of a message that lasts `ms` the caller has heard, from its beginning on: from when, and how long, ms. `None`:
    /// nothing.
    pub fn heard(&self, item: &str, ms: u32) -> Option<(u64, u64)> {
        let (at, length) = heard_ms(&self.place.heard(), &sound(item, ms), 8_000)?;
        Some((at as u64 / 8, length as u64))
    }

    /// The caller has heard all of a message of `ms` with one pause in it, sample for sample but for the glides of 5 ms into the
    /// pause and out of it: how much of it before the pause, and how long that was, ms.
    #[track_caller]
    pub fn heard_in_two(&self, item: &str, ms: u32) -> (u64, u64) {
        let (said, heard) = (on_the_line(item, ms), self.place.heard());
        let (first, last) = (&said[..OPENING], &said[said.len() - OPENING..]);
        let (start, end) = (place_of(&heard, first, item), place_of(&heard, last, item));
        let pause = end - start - (said.len() - OPENING);
        let before = same(&heard[start..], &said);
        let after = before + GLIDE;
        assert!(before < said.len() && pause > 0, "{item} was heard without a pause");
        let silence = &heard[start + after..start + before + pause];
        assert!(silence.iter().all(|sample| sample.abs() <= 8), "{item}: the pause of {pause} is not silent");
        assert_eq!(pause % 160, 0, "{item}: frames were lost or made in the pause");
        let rest = same(&heard[start + pause + before..], &said[before..]);
        assert_eq!(before + rest, said.len(), "{item}: not the same behind the pause after {before} samples");
        (before as u64 / 8, pause as u64 / 8)
    }

    /// How much of the beginning of a message of `ms` the caller has heard, sample for sample, before silence; ms.
    #[track_caller]
    pub fn heard_until(&self, item: &str, ms: u32) -> u64 {
        let (said, heard) = (on_the_line(item, ms), self.place.heard());
        let start = place_of(&heard, &said[..OPENING], item);
        let until = same(&heard[start..], &said);
        let silence = &heard[start + until + GLIDE..][..800];
        assert!(silence.iter().all(|sample| sample.abs() <= 8), "{item}: something follows after {until} samples");
        until as u64 / 8
    }

    /// The caller has heard all of a message of `ms`; from when on, ms.
    #[track_caller]
    pub fn heard_whole(&self, item: &str, ms: u32) -> u64 {
        let heard = self.heard(item, ms);
        assert!(heard.is_some_and(|(_, length)| length + 20 >= u64::from(ms)), "{item}: {heard:?} of {ms} ms");
        heard.map_or(0, |(at, _)| at)
    }
}

impl Drop for Stage<'_> {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            for connection in 0..self.place.connections() {
                assert_eq!(self.place.complaints(connection), [], "what the client said is wrong");
            }
        }
    }
}

/// Samples by which a place in a message is found.
const OPENING: usize = 800;
/// Samples in which sound goes over into silence, or back.
const GLIDE: usize = 48;

/// What a message sounds like on a line with G.711.
fn on_the_line(item: &str, ms: u32) -> Vec<i16> {
    let bytes = Coding::Pcmu.encode(&sound(item, ms));
    Coding::Pcmu.decode(&bytes).expect("whole samples")
}

/// Where these samples are.
#[track_caller]
fn place_of(heard: &[i16], wanted: &[i16], item: &str) -> usize {
    let middle = &wanted[GLIDE..wanted.len() - GLIDE];
    let at = heard.windows(middle.len()).position(|window| alike(window, middle));
    at.unwrap_or_else(|| panic!("{item} is not there")) - GLIDE
}

/// Whether two sounds are the same on a line: silence has two codes.
fn alike(one: &[i16], other: &[i16]) -> bool {
    one.iter().zip(other).all(|(a, b)| a.abs_diff(*b) <= 8)
}

/// For how many samples one sound is the other, which may begin with a glide.
fn same(heard: &[i16], said: &[i16]) -> usize {
    let behind = heard.iter().zip(said).skip(GLIDE);
    GLIDE + behind.take_while(|(a, b)| a.abs_diff(**b) <= 8).count()
}

/// What a message sounds like.
pub fn sound(item: &str, ms: u32) -> Vec<i16> {
    let seed = item.bytes().fold(7_u64, |seed, byte| seed.wrapping_mul(131).wrapping_add(u64::from(byte)));
    chord(8_000, ms, seed)
}
