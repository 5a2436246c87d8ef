//! What every protocol has in common: the phases of a connection, and the outputs that wait to be taken.
//!
//! A protocol's own part is a [`Dialect`]; [`Session`] calls it only while something may be said, so that no dialect checks
//! for itself whether the connection is up. Runs on the stream's worker; owned by the stream's task.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::{Audio, Fault, Input, MarkId, Output, Play, Protocol, ProtocolEvent, Request, WireFormat, codec, json};

/// A protocol's own part.
pub(super) trait Dialect: Send {
    /// See [`Protocol::capture`].
    fn capture(&self) -> WireFormat;

    /// See [`Protocol::subprotocol`].
    fn subprotocol(&self) -> Option<&'static str> {
        None
    }

    /// The connection is up, perhaps again: begin afresh.
    fn opened(&mut self, out: &mut Outputs);

    /// Captured audio, never empty.
    fn audio(&mut self, bytes: &[u8], out: &mut Outputs);

    /// A text of the server.
    fn text(&mut self, text: &str, out: &mut Outputs);

    /// A binary message of the server.
    fn binary(&mut self, bytes: &[u8], out: &mut Outputs);

    /// A key that the caller pressed. Protocols without a message for keys send nothing.
    fn dtmf(&mut self, _digit: char, _duration_ms: u32, _out: &mut Outputs) {}

    /// A text of the operator, as a message of its own.
    fn send_text(&mut self, text: &str, out: &mut Outputs) {
        out.send_text(text.to_owned());
    }

    /// Whether [`queued`](Self::queued) does anything.
    const FOLLOWS_QUEUE: bool = false;

    /// How much audio waits to be heard.
    fn queued(&mut self, _waiting: Duration, _out: &mut Outputs) {}

    /// A request of the server is not done: why, in words for it.
    fn denied(&mut self, _reason: &str, _out: &mut Outputs) {}

    /// A mark was heard, or else cleared.
    fn mark(&mut self, _id: MarkId, _heard: bool, _out: &mut Outputs) {}

    /// See [`Protocol::mark_name`].
    fn mark_name(&self, _id: MarkId) -> Option<&str> {
        None
    }

    /// See [`Protocol::deadline`]; while the connection is open.
    fn deadline(&self) -> Option<Instant> {
        None
    }

    /// [`Self::deadline`] has passed.
    fn timeout(&mut self, _out: &mut Outputs) {}

    /// The last words before the close.
    fn stop(&mut self, _call_ended: bool, _out: &mut Outputs) -> CloseMode {
        CloseMode::Close
    }
}

/// How a connection ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum CloseMode {
    /// With our close.
    Close,
    /// With the server's close, or ours after that long.
    Await(Duration),
}

/// Where the conversation stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// No connection yet.
    Idle,
    /// Connected.
    Open,
    /// The last words are said; the server may still send what it likes, and closes.
    Ending { until: Instant },
    /// Over.
    Closed,
}

/// A [`Dialect`] as a [`Protocol`].
#[derive(Debug)]
pub(super) struct Session<D> {
    dialect: D,
    phase: Phase,
    out: Outputs,
}

impl<D: Dialect> Session<D> {
    /// Waits for [`Input::Opened`].
    pub(super) fn new(dialect: D) -> Self {
        Self { dialect, phase: Phase::Idle, out: Outputs::default() }
    }

    fn stop(&mut self, now: Instant, text: Option<&str>, call_ended: bool) {
        let mut mode = CloseMode::Close;
        if self.phase == Phase::Open {
            if let Some(text) = text {
                self.dialect.send_text(text, &mut self.out);
            }
            mode = self.dialect.stop(call_ended, &mut self.out);
        }
        match mode {
            CloseMode::Close => self.close(),
            CloseMode::Await(wait) => self.phase = Phase::Ending { until: now + wait },
        }
    }

    fn close(&mut self) {
        self.phase = Phase::Closed;
        self.out.close();
    }
}

impl<D: Dialect> Protocol for Session<D> {
    fn handle(&mut self, now: Instant, input: Input<'_>) {
        self.out.now = Some(now);
        let Self { dialect, phase, out } = self;
        match (*phase, input) {
            (Phase::Idle | Phase::Open, Input::Opened) => {
                *phase = Phase::Open;
                dialect.opened(out);
            }
            (Phase::Open, Input::Audio(bytes)) if !bytes.is_empty() => dialect.audio(bytes, out),
            (Phase::Open | Phase::Ending { .. }, Input::Text(text)) => dialect.text(text, out),
            (Phase::Open | Phase::Ending { .. }, Input::Binary(bytes)) => dialect.binary(bytes, out),
            (Phase::Open | Phase::Ending { .. }, Input::MarkHeard(id)) => dialect.mark(id, true, out),
            (Phase::Open | Phase::Ending { .. }, Input::MarkCleared(id)) => dialect.mark(id, false, out),
            (Phase::Open, Input::Queued(waiting)) => dialect.queued(waiting, out),
            (Phase::Open, Input::Denied(reason)) => dialect.denied(reason, out),
            (Phase::Open, Input::Dtmf { digit, duration_ms }) => dialect.dtmf(digit, duration_ms, out),
            (Phase::Open, Input::SendText(text)) => dialect.send_text(text, out),
            (Phase::Open, Input::Timeout) if dialect.deadline().is_some_and(|due| due <= now) => dialect.timeout(out),
            (Phase::Ending { until }, Input::Timeout) if until <= now => self.close(),
            (Phase::Idle | Phase::Open, Input::Stop { text, call_ended }) => self.stop(now, text, call_ended),
            // Nothing is sent before the connection is open or after it has ended.
            _ => {}
        }
        if self.out.closing && self.phase != Phase::Closed {
            self.close();
        }
    }

    fn poll(&mut self) -> Option<Output> {
        self.out.pop()
    }

    fn deadline(&self) -> Option<Instant> {
        match self.phase {
            Phase::Open => self.dialect.deadline(),
            Phase::Ending { until } => Some(until),
            Phase::Idle | Phase::Closed => None,
        }
    }

    fn follows_queue(&self) -> bool {
        D::FOLLOWS_QUEUE
    }

    fn subprotocol(&self) -> Option<&'static str> {
        self.dialect.subprotocol()
    }

    fn capture(&self) -> WireFormat {
        self.dialect.capture()
    }

    fn mark_name(&self, id: MarkId) -> Option<&str> {
        self.dialect.mark_name(id)
    }
}

/// The outputs of one input, in order.
#[derive(Debug, Default)]
pub(super) struct Outputs {
    queue: VecDeque<Output>,
    now: Option<Instant>,
    closing: bool,
}

impl Outputs {
    /// The time of the input that is being handled.
    pub(super) fn now(&self) -> Option<Instant> {
        self.now
    }

    pub(super) fn send_text(&mut self, text: String) {
        self.queue.push_back(Output::SendText(text));
    }

    /// `message` as JSON; whatever is in its strings is escaped.
    pub(super) fn send_json(&mut self, message: &impl Serialize) {
        if let Some(text) = self.json(message) {
            self.send_text(text);
        }
    }

    /// `message` as JSON, for a protocol that does not send it as a text of its own; `None`, and a fault, where it is none.
    pub(super) fn json(&mut self, message: &impl Serialize) -> Option<String> {
        // Only a map with keys that are no strings, or a number that is none, is no JSON; no message has either.
        let text = serde_json::to_string(message);
        text.map_err(|error| self.fault(format!("a message could not be written as JSON: {error}"))).ok()
    }

    pub(super) fn send_binary(&mut self, bytes: Vec<u8>) {
        self.queue.push_back(Output::SendBinary(bytes));
    }

    /// Queues `audio` behind what is queued.
    pub(super) fn play(&mut self, audio: Audio) {
        self.push_play(Play { audio, clear: false });
    }

    pub(super) fn push_play(&mut self, play: Play) {
        self.queue.push_back(Output::Play(play));
    }

    pub(super) fn clear(&mut self) {
        self.queue.push_back(Output::Clear);
    }

    pub(super) fn hold(&mut self, hold: bool) {
        self.queue.push_back(Output::Hold(hold));
    }

    /// See [`super::marks::Marks::add`], the only caller.
    pub(super) fn mark(&mut self, id: MarkId) {
        self.queue.push_back(Output::Mark(id));
    }

    pub(super) fn request(&mut self, request: Request) {
        self.queue.push_back(Output::Request(request));
    }

    pub(super) fn event(&mut self, event: ProtocolEvent) {
        self.queue.push_back(Output::Event(event));
    }

    pub(super) fn fault(&mut self, reason: impl Into<std::borrow::Cow<'static, str>>) {
        self.queue.push_back(Output::Fault(Fault::new(reason)));
    }

    /// The dialect itself ends the connection, after this input.
    pub(super) fn end(&mut self) {
        self.closing = true;
    }

    fn close(&mut self) {
        self.queue.push_back(Output::Close { code: 1_000, reason: "Normal closure" });
    }

    fn pop(&mut self) -> Option<Output> {
        let output = self.queue.pop_front();
        if self.queue.is_empty() && self.queue.capacity() > 8 {
            self.queue = VecDeque::new();
        }
        output
    }
}

/// The fields `names` of a server's JSON message, for the protocols in which every text must be an object; `None`, and a
/// fault, when it is none.
pub(super) fn message<'a, const N: usize>(
    text: &'a str,
    names: [&str; N],
    out: &mut Outputs,
) -> Option<json::Fields<'a, N>> {
    match json::object(text, names) {
        Ok(Some(fields)) => Some(fields),
        Ok(None) => {
            out.fault(format!("the text is JSON but no object: {}", super::excerpt(text)));
            None
        }
        Err(error) => {
            out.fault(format!("the text is not JSON ({error}): {}", super::excerpt(text)));
            None
        }
    }
}

/// Binary messages where the protocol has none: reported once per connection.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct NoBinary {
    reported: bool,
}

impl NoBinary {
    pub(super) fn refuse(&mut self, out: &mut Outputs) {
        if !self.reported {
            self.reported = true;
            out.fault("binary messages are ignored: this protocol has text messages only");
        }
    }
}

/// Bytes of the field `raw`, base64, at most `most` characters; `None`, and a fault that names it, when it is none.
pub(super) fn payload(
    raw: Option<&serde_json::value::RawValue>,
    name: &str,
    most: usize,
    out: &mut Outputs,
) -> Option<Vec<u8>> {
    match codec::decode(&json::Field::of(raw), name, most) {
        Ok(bytes) => Some(bytes),
        Err(reason) => {
            out.fault(reason);
            None
        }
    }
}
