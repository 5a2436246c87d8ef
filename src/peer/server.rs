//! A server as a peer: a protocol's dialect, the one connection it lives with, and what waits for that.
//!
//! The connection is asked for at the start; the stream ends with it. Texts of the operator and keys of the caller that come
//! before the connection is up wait here, behind what the protocol says first: at most [`EARLY_TEXTS`] texts, further ones are
//! refused, and [`EARLY_KEYS`] keys, of which the oldest go. Runs on the stream's worker; owned by its task.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::{Connect, End, Event, Input, Message, Output, Peer, Session};
use crate::protocol::{self, Fault, MarkId, Protocol, ProtocolEvent, WireFormat};

/// Texts that wait for the connection.
const EARLY_TEXTS: usize = 64;
/// Keys that wait for the connection.
const EARLY_KEYS: usize = 32;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// The connection is being made.
    Connecting,
    /// It is up, or being closed.
    Open,
    /// It is gone, or will not be made.
    Ended,
}

/// A server.
pub struct Server {
    protocol: Box<dyn Protocol>,
    phase: Phase,
    outputs: VecDeque<Output>,
    /// How long the audio of one message lasts.
    message: Duration,
    early_texts: Vec<String>,
    early_keys: VecDeque<(char, u32)>,
}

impl Server {
    /// Speaks `protocol`; waits for [`Input::Start`].
    pub fn new(protocol: Box<dyn Protocol>) -> Self {
        let WireFormat { pcm, message_ms, .. } = protocol.capture();
        let samples = pcm.samples_in_ms(message_ms) / usize::from(pcm.channels);
        Self {
            protocol,
            phase: Phase::Connecting,
            outputs: VecDeque::new(),
            message: pcm.rate.duration_of(samples as u64),
            early_texts: Vec::new(),
            early_keys: VecDeque::new(),
        }
    }

    fn opened(&mut self, now: Instant) {
        self.phase = Phase::Open;
        self.outputs.push_back(Output::Session(Session::Up));
        self.outputs.push_back(Output::Event(Event::Connected));
        self.tell(now, protocol::Input::Opened, None);
        for text in std::mem::take(&mut self.early_texts) {
            self.tell(now, protocol::Input::SendText(&text), None);
        }
        for (digit, duration_ms) in std::mem::take(&mut self.early_keys) {
            self.tell(now, protocol::Input::Dtmf { digit, duration_ms }, None);
        }
    }

    /// What comes before the connection is up.
    fn wait(&mut self, input: &Input<'_>) {
        match input {
            Input::SendText(text) if self.early_texts.len() < EARLY_TEXTS => {
                self.early_texts.push((*text).to_owned());
            }
            Input::SendText(_) => {
                let reason = "a text was dropped: too many wait for the connection".into();
                self.outputs.push_back(Output::Fault(Fault { reason }));
            }
            Input::Dtmf { digit, duration_ms } => {
                if self.early_keys.len() == EARLY_KEYS {
                    self.early_keys.pop_front();
                }
                self.early_keys.push_back((*digit, *duration_ms));
            }
            // Nothing was said, so there is nobody to say good-bye to.
            Input::Stop { .. } => self.end(),
            _ => {}
        }
    }

    fn end(&mut self) {
        self.phase = Phase::Ended;
        self.outputs.push_back(Output::End(End::WithConnection));
    }

    /// Tells the protocol something and takes what it wants. A message of captured audio may become one for each leg:
    /// together they last no longer.
    fn tell(&mut self, now: Instant, input: protocol::Input<'_>, mut audio: Option<Duration>) {
        self.protocol.handle(now, input);
        while let Some(output) = self.protocol.poll() {
            let message = match output {
                protocol::Output::SendText(text) => Message::Text(text),
                protocol::Output::SendBinary(bytes) => Message::Binary(bytes),
                output => {
                    self.outputs.extend(other_output(output));
                    continue;
                }
            };
            self.outputs.push_back(match audio {
                Some(duration) => Output::SendAudio { message, duration },
                None => Output::Send(message),
            });
            audio = audio.map(|_| Duration::ZERO);
        }
    }
}

/// Whatever a protocol wants but sending.
fn other_output(output: protocol::Output) -> Option<Output> {
    Some(match output {
        protocol::Output::SendText(_) | protocol::Output::SendBinary(_) => return None,
        protocol::Output::Play(play) => Output::Play(play),
        protocol::Output::Clear => Output::Clear,
        protocol::Output::Hold(hold) => Output::Hold(hold),
        protocol::Output::Mark(id) => Output::Mark(id),
        protocol::Output::Request(request) => Output::Request(request),
        protocol::Output::Event(ProtocolEvent::Json(text)) => Output::Event(Event::Json(text)),
        protocol::Output::Event(ProtocolEvent::Play(text)) => Output::Event(Event::Play(text)),
        protocol::Output::Event(ProtocolEvent::Transcript(transcript)) => Output::Event(Event::Transcript(transcript)),
        protocol::Output::Fault(fault) => Output::Fault(fault),
        protocol::Output::Close { code, reason } => Output::Close { code, reason },
    })
}

impl Peer for Server {
    fn handle(&mut self, now: Instant, input: Input<'_>) {
        let input = match (self.phase, input) {
            (Phase::Ended, _) => return,
            (_, Input::Start) => {
                return self.outputs.push_back(Output::Connect(Connect { target: None, caller_waits: false }));
            }
            (_, Input::Opened { .. }) => return self.opened(now),
            (_, Input::Refused { .. } | Input::NotAttempted { .. } | Input::Closed { .. }) => return self.end(),
            // What waits to be heard is the stream's, connected or not.
            (_, Input::Interrupt) => return self.outputs.push_back(Output::Clear),
            (Phase::Connecting, input) => return self.wait(&input),
            (Phase::Open, Input::Audio(audio)) => {
                return self.tell(now, protocol::Input::Audio(audio), Some(self.message));
            }
            (Phase::Open, input) => input,
        };
        let input = match input {
            Input::Text(text) => protocol::Input::Text(text),
            Input::Binary(bytes) => protocol::Input::Binary(bytes),
            Input::Dtmf { digit, duration_ms } => protocol::Input::Dtmf { digit, duration_ms },
            Input::MarkHeard(id) => protocol::Input::MarkHeard(id),
            Input::MarkCleared(id) => protocol::Input::MarkCleared(id),
            Input::Playback { waiting, .. } => protocol::Input::Queued(waiting),
            Input::Denied(ref reason) => protocol::Input::Denied(reason),
            Input::SendText(text) => protocol::Input::SendText(text),
            Input::Stop { text, call_ended } => protocol::Input::Stop { text, call_ended },
            Input::Timeout => protocol::Input::Timeout,
            // No protocol has a use for the rest.
            _ => return,
        };
        self.tell(now, input, None);
    }

    fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn deadline(&self) -> Option<Instant> {
        self.protocol.deadline().filter(|_| self.phase == Phase::Open)
    }

    fn capture(&self) -> WireFormat {
        self.protocol.capture()
    }

    fn listens(&self) -> bool {
        self.phase == Phase::Open
    }

    fn mark_name(&self, id: MarkId) -> Option<&str> {
        self.protocol.mark_name(id)
    }
}
