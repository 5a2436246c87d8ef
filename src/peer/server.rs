//! A server as a peer: a protocol's dialect, its connection, and what waits for that.
//!
//! ```text
//! Connecting ─opened─► Open ─our close, or theirs for good─► Ended
//!     ▲  └─ failed ─┐   └─ lost ─┐                             ▲
//!     └── Waiting ◄─┴────────────┘─── no attempt left, or stop ┘
//! ```
//! The connection is asked for at the start. Where the options allow no attempt, the stream ends with it; otherwise it is made
//! again, and the protocol begins afresh on each. What was captured meanwhile waits with the stream, what is to be played goes on
//! playing. Texts of the operator and keys of the caller that come while there is no connection wait here, behind what the
//! protocol says first: at most [`EARLY_TEXTS`] texts, further ones are refused, and [`EARLY_KEYS`] keys, of which the oldest
//! go. Runs on the stream's worker; owned by its task.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::{Backoff, Connect, End, Event, Input, Message, Output, Peer, Retry, Retrying, Session};
use crate::protocol::{self, Fault, MarkId, Protocol, ProtocolEvent, WireFormat};

/// Texts that wait for the connection.
const EARLY_TEXTS: usize = 64;
/// Keys that wait for the connection.
const EARLY_KEYS: usize = 32;
/// Named marks of earlier connections whose end the operator still learns of.
const EARLIER_MARKS: usize = 1_024;
/// The close code where there was no close.
const ABNORMAL: u16 = 1_006;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// The connection is being made.
    Connecting,
    /// It is up since then.
    Open { since: Instant },
    /// It is up, and being closed by us.
    Closing,
    /// It is gone, and made again then.
    Waiting { until: Instant },
    /// It is gone, or will not be made.
    Ended,
}

/// A server.
pub struct Server {
    protocol: Box<dyn Protocol>,
    phase: Phase,
    backoff: Backoff,
    /// There was a connection.
    begun: bool,
    outputs: VecDeque<Output>,
    /// How long the audio of one message lasts.
    message: Duration,
    early_texts: Vec<String>,
    early_keys: VecDeque<(char, u32)>,
    /// Marks of this connection that were not answered yet.
    marks: VecDeque<MarkId>,
    /// The same of the connections before, which the protocol has forgotten, with the server's names for them.
    earlier_marks: VecDeque<(MarkId, String)>,
}

impl Server {
    /// Speaks `protocol`; waits for [`Input::Start`]. `seed` decides the jitter of the waits.
    pub fn new(protocol: Box<dyn Protocol>, retry: Retry, seed: u64) -> Self {
        let WireFormat { pcm, message_ms, .. } = protocol.capture();
        let samples = pcm.samples_in_ms(message_ms) / usize::from(pcm.channels);
        Self {
            protocol,
            phase: Phase::Connecting,
            backoff: Backoff::new(retry, seed),
            begun: false,
            outputs: VecDeque::new(),
            message: pcm.rate.duration_of(samples as u64),
            early_texts: Vec::new(),
            early_keys: VecDeque::new(),
            marks: VecDeque::new(),
            earlier_marks: VecDeque::new(),
        }
    }

    fn connect(&mut self) {
        self.phase = Phase::Connecting;
        self.outputs.push_back(Output::Connect(Connect { target: None, caller_waits: self.begun }));
    }

    fn opened(&mut self, now: Instant) {
        self.phase = Phase::Open { since: now };
        self.begun = true;
        self.keep_marks();
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

    /// The audio of the last connection may still play: its marks are nothing to the server any more, but to the operator.
    fn keep_marks(&mut self) {
        for id in std::mem::take(&mut self.marks) {
            if let Some(name) = self.protocol.mark_name(id) {
                if self.earlier_marks.len() == EARLIER_MARKS {
                    self.earlier_marks.pop_front();
                }
                self.earlier_marks.push_back((id, name.to_owned()));
            }
        }
    }

    /// A mark was heard or cleared. Marks are answered in order.
    fn answered(&mut self, id: MarkId) {
        if let Some(at) = self.marks.iter().position(|waiting| *waiting == id) {
            self.marks.remove(at);
        } else if let Some(at) = self.earlier_marks.iter().position(|(waiting, _)| *waiting == id) {
            self.earlier_marks.remove(at);
        }
    }

    /// What comes while there is no connection.
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

    /// There is no connection, or no more. `may_retry`: another attempt may have one.
    fn lost(&mut self, now: Instant, may_retry: bool, code: u16, reason: &str) {
        match self.phase {
            Phase::Open { since } => self.backoff.lost_after(now.saturating_duration_since(since)),
            Phase::Connecting => {}
            Phase::Closing | Phase::Waiting { .. } | Phase::Ended => return self.end(),
        }
        let Some(wait) = may_retry.then(|| self.backoff.next_wait(now)).flatten() else { return self.end() };
        self.phase = Phase::Waiting { until: now + wait };
        let attempt = self.backoff.attempts();
        self.outputs.push_back(Output::Retry(Retrying { attempt, wait, code, reason: reason.to_owned() }));
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
                    match output {
                        protocol::Output::Close { .. } => self.phase = Phase::Closing,
                        protocol::Output::Mark(id) if self.backoff.is_on() => self.marks.push_back(id),
                        _ => {}
                    }
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

/// Whether the server may be there again after it has closed, or we have, with this code: not where the session has ended as it
/// should (1000, or a close without a code), and not where one side takes the other for broken.
const fn may_return(code: u16) -> bool {
    !matches!(code, 1_000 | 1_005 | 1_002 | 1_003 | 1_007..=1_010)
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
        if let Input::MarkHeard(id) | Input::MarkCleared(id) = input {
            self.answered(id);
        }
        let input = match (self.phase, input) {
            (Phase::Ended, _) => return,
            (_, Input::Start) => return self.connect(),
            (_, Input::Opened { .. }) => return self.opened(now),
            (_, Input::Refused { status, permanent, after, message }) => {
                self.backoff.not_before(now + after);
                return self.lost(now, !permanent, status.unwrap_or(ABNORMAL), message);
            }
            (_, Input::NotAttempted { after, message }) => {
                self.backoff.not_before(now + after);
                return self.lost(now, true, ABNORMAL, message);
            }
            (_, Input::Closed { code, reason }) => return self.lost(now, may_return(code), code, reason),
            // What waits to be heard is the stream's, connected or not.
            (_, Input::Interrupt) => return self.outputs.push_back(Output::Clear),
            (_, Input::Say(text)) => return self.outputs.push_back(Output::Announce(text)),
            (Phase::Waiting { until }, Input::Timeout) if until <= now => return self.connect(),
            (Phase::Connecting | Phase::Waiting { .. }, input) => return self.wait(&input),
            (_, Input::Audio(audio)) => {
                return self.tell(now, protocol::Input::Audio(audio), Some(self.message));
            }
            (_, input) => input,
        };
        if matches!(input, Input::Stop { .. }) {
            self.phase = Phase::Closing;
        }
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
        match self.phase {
            Phase::Open { .. } | Phase::Closing => self.protocol.deadline(),
            Phase::Waiting { until } => Some(until),
            Phase::Connecting | Phase::Ended => None,
        }
    }

    fn capture(&self) -> WireFormat {
        self.protocol.capture()
    }

    fn listens(&self) -> bool {
        matches!(self.phase, Phase::Open { .. } | Phase::Closing)
    }

    fn follows_playback(&self) -> bool {
        self.protocol.follows_queue()
    }

    fn mark_name(&self, id: MarkId) -> Option<&str> {
        let earlier = || self.earlier_marks.iter().find(|(earlier, _)| *earlier == id).map(|(_, name)| name.as_str());
        self.protocol.mark_name(id).or_else(earlier)
    }
}

#[cfg(test)]
#[path = "server_tests.rs"]
mod tests;
