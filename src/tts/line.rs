//! The line to a provider that speaks a turn over one WebSocket: pieces of its text in, their audio out, one after the other.
//!
//! A task on the stream's worker, with at most [`MOST_WAITING`] pieces before it. Each piece is a
//! [`SharedSynthesis`] that one stream listens to; when that gives the piece up, the task ends and with it the connection. The
//! connection is made for the first piece and serves the others of the turn, so that their melody goes on. It counts with the breaker of
//! its provider once. A piece is complete when every character of it has been spoken, as the provider says; if it says nothing of
//! characters, when no more comes for [`QUIET`].

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time::timeout_at;

use super::error::{Severity, SpeechError};
use super::shared::{Pour, SpeechShared};
use super::stream_input;
use super::synthesis::{Listener, SharedSynthesis};
use super::voice::{Ask, Voice};
use super::wav::Expected;
use crate::peer::SpeechMark;
use crate::transport::{
    Attempt, BreakerKind, ConnectError, ConnectOptions, Connection, HttpError, Incoming, NotNow, Outbox, OutboxLimits,
    Payload, connect,
};
use crate::units::SampleRate;

/// Pieces that wait: the agent sends one after the other.
const MOST_WAITING: usize = 16;
/// A pause after which a piece without marks is complete.
const QUIET: Duration = Duration::from_millis(700);
/// How long the provider may take to its side of the close.
const GOODBYE: Duration = Duration::from_secs(2);

/// See the [module](self). Dropping it closes the connection once what waits has been spoken.
#[derive(Debug)]
pub(super) struct Line {
    pieces: mpsc::Sender<Piece>,
    provider: &'static str,
    rate: SampleRate,
    task: tokio::task::AbortHandle,
}

#[derive(Debug)]
struct Piece {
    text: String,
    synthesis: Arc<SharedSynthesis>,
}

impl Line {
    /// Nothing is connected yet. Must be called on a worker. `rate` is the call's.
    pub(super) fn new(shared: &Arc<SpeechShared>, voice: &Voice, rate: SampleRate, timeout: Duration) -> Self {
        let (pieces, waiting) = mpsc::channel(MOST_WAITING);
        let (shared, provider) = (Arc::clone(shared), voice.provider);
        let work = Work { shared, voice: voice.clone(), rate, timeout, link: None };
        let task = Handle::current().spawn(work.run(waiting)).abort_handle();
        Self { pieces, provider, rate, task }
    }

    /// Whether its task has ended.
    pub(super) fn is_over(&self) -> bool {
        self.pieces.is_closed()
    }

    /// Has a piece spoken behind those before it; not if too many wait.
    pub(super) fn speak(&self, text: &str) -> Result<Listener, SpeechError> {
        let full = || SpeechError::new(self.provider, Severity::Retryable, "queue_full", "too many pieces wait", None);
        let synthesis = SharedSynthesis::new(self.provider, self.rate);
        let listener = synthesis.listen().ok_or_else(full)?;
        // Whoever gives this piece up wants none of those behind it either.
        synthesis.set_task(self.task.clone());
        let piece = Piece { text: text.to_owned(), synthesis };
        match self.pieces.try_send(piece) {
            Ok(()) => Ok(listener),
            Err(_) => Err(full()),
        }
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        // Nothing where it has ended; where the task was ended, nobody may wait without end.
        let message = "the connection was given up";
        let provider = self.synthesis.provider();
        self.synthesis.end(Err(SpeechError::new(provider, Severity::Retryable, "internal", message, None)));
    }
}

struct Work {
    shared: Arc<SpeechShared>,
    voice: Voice,
    rate: SampleRate,
    timeout: Duration,
    link: Option<Link>,
}

struct Link {
    connection: Connection,
    outbox: Outbox,
    expected: Expected,
    /// The outcome for the provider's breaker, until it has spoken.
    attempt: Option<Attempt>,
}

impl Work {
    async fn run(mut self, mut waiting: mpsc::Receiver<Piece>) {
        while let Some(piece) = waiting.recv().await {
            let how = self.speak(&piece).await;
            if let Err(error) = &how {
                self.failed(error);
            }
            piece.synthesis.end(how);
        }
        if let Some(mut link) = self.link.take() {
            // What it still says is not heard.
            let _ = link.outbox.push(Payload::Text(stream_input::LAST.to_owned()));
            link.connection.close(1_000, "");
            let closed = async {
                while !matches!(
                    link.connection.drive(&mut link.outbox).await,
                    Incoming::Closed(_) | Incoming::Failed(_)
                ) {}
            };
            let _ = tokio::time::timeout(GOODBYE, closed).await;
        }
    }

    /// The connection is of no use any more.
    fn failed(&mut self, error: &SpeechError) {
        let attempt = self.link.take().and_then(|link| link.attempt);
        if let Some(attempt) = attempt
            && error.severity == Severity::Retryable
            && !error.is_ours
        {
            attempt.failed(Instant::now());
        }
    }

    async fn speak(&mut self, piece: &Piece) -> Result<(), SpeechError> {
        let mut until = tokio::time::Instant::now() + self.timeout;
        if self.link.is_none() {
            self.link = Some(self.connect().await?);
        }
        let Self { voice, timeout, link: Some(link), .. } = self else { return Ok(()) };
        let (name, key) = (voice.provider, voice.api_key.as_ref());
        let lost = |reason: String| SpeechError::new(name, Severity::Retryable, "connection_lost", reason, key);
        let sent = link.outbox.push(Payload::Text(stream_input::piece(&piece.text)));
        sent.map_err(|full| lost(full.to_string()))?;
        let whole = piece.text.chars().filter(|c| !c.is_whitespace()).count();
        let (mut spoken, mut marked, mut last) = (Duration::ZERO, false, Duration::ZERO);
        let mut chars = 0;
        let mut pour = Pour::new(&piece.synthesis, name, link.expected);
        loop {
            let incoming = match timeout_at(until, link.connection.drive(&mut link.outbox)).await {
                Ok(incoming) => incoming,
                // Nothing more came: that was all of it.
                Err(_) if !spoken.is_zero() => break,
                Err(_) => {
                    let message = format!("no audio within {} ms", timeout.as_millis());
                    return Err(SpeechError::new(name, Severity::Retryable, "timeout", message, None));
                }
            };
            let text = match incoming {
                Incoming::Text(text) => text,
                Incoming::Binary(_) | Incoming::Rejected(_) | Incoming::Ahead(_) => continue,
                Incoming::Closed(closure) => return Err(lost(format!("it closed the connection: {}", closure.reason))),
                Incoming::Failed(error) => return Err(lost(error.to_string())),
            };
            let said = stream_input::read(text.as_str(), voice)?;
            let marks = said.ends.iter().map(|end| {
                chars += 1;
                // Times that run backwards would unsay what was heard.
                last = last.max(spoken + *end);
                SpeechMark { chars, end: last }
            });
            let marks: Vec<_> = marks.collect();
            marked |= !marks.is_empty();
            piece.synthesis.mark(&marks);
            if pour.push(&said.audio)? {
                if let Some(attempt) = link.attempt.take() {
                    attempt.succeeded(Instant::now());
                }
                spoken = piece.synthesis.length();
                until = tokio::time::Instant::now() + QUIET.min(*timeout);
            }
            if said.is_final || (marked && chars >= whole) {
                break;
            }
        }
        pour.finish()
    }

    async fn connect(&self) -> Result<Link, SpeechError> {
        let (voice, now) = (&self.voice, Instant::now());
        let (name, key) = (voice.provider, voice.api_key.as_ref());
        let attempt = self.shared.breakers().admit_to(now, BreakerKind::Speech, voice.place(), false);
        let attempt = attempt.map_err(|NotNow { wait, busy }| SpeechError::not_now(name, wait, busy))?;
        let ask = Ask { voice, text: "", previous: None, rate: self.rate, timeout: self.timeout };
        let (endpoint, headers, expected) = stream_input::target(&ask)?;
        let (profiles, servers) = self.shared.http().parts();
        let options = ConnectOptions {
            timeout: self.timeout,
            headers,
            servers: servers.clone(),
            tls: voice.tls.clone(),
            ..ConnectOptions::default()
        };
        match connect(&endpoint, &options, profiles, &AtomicBool::new(false)).await {
            Ok(connection) => {
                let mut outbox = Outbox::new(OutboxLimits::default());
                // The first message always has room.
                let _ = outbox.push(Payload::Text(stream_input::first(voice)));
                Ok(Link { connection, outbox, expected, attempt: Some(attempt) })
            }
            Err(error) => {
                match (error.pause(), error.blames_server()) {
                    (Some(pause), _) => drop(attempt.asked_to_wait(now, pause)),
                    (None, true) => drop(attempt.failed(now)),
                    (None, false) => drop(attempt),
                }
                Err(match error {
                    ConnectError::Refused { status, .. } => SpeechError::refused(name, status, "", key),
                    error => SpeechError::http(name, &HttpError::Connect(error), key),
                })
            }
        }
    }
}
