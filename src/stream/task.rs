//! The task of one stream: the one loop that drives peer, connection, capture, playback and speech synthesis.
//!
//! Runs on the stream's shard from start to end and owns everything of the stream but the media bug's halves. It sleeps until
//! its doorbell (a message captured, room for playback, the bug's end), its mailbox, its socket or a deadline wakes it, handles
//! that one thing, and passes on what follows from it. What is bounded: captured audio waiting for the socket
//! (`max_queue_ms`, oldest first out), playback waiting for the caller (`inject_buffer_ms`: beyond, the socket is not read), commands
//! (the mailbox).
//!
//! A stream ends in this order: capture is drained to its last sample, the connection is closed, what the server had sent is
//! played to its end, the media bug leaves the call. One event is the last of every stream.
//!
//! | file | job |
//! |---|---|
//! | here | the loop, the phases of the stream's life, commands, captured audio |
//! | `announce` | what the operator has said on a stream to a server |
//! | `connection` | connections made, lost, left behind; the circuit breaker |
//! | `gate`, `ready` | what the caller says before the server is ready |
//! | `hold` | the call is put on hold, and taken back |
//! | `mask` | the caller is masked, and not any more |
//! | `outputs` | what the peer wants done |
//! | `recordings` | recordings that an agent plays |
//! | `playback` | what becomes of what is played, and of speech being made |

mod announce;
mod connection;
mod dial;
mod fetches;
mod gate;
mod hold;
mod mask;
mod outputs;
mod playback;
mod ready;
mod recordings;

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::time::Sleep;

use super::backgrounds::Backgrounds;
use super::capture::Capture;
use super::files::Decoded;
use super::handle::{EventSink, StreamCommand, StreamHandle};
use super::playback::Playback;
use super::sounds::{Loaded, Sounds};
use super::state::{StreamMode, StreamState};
use crate::blocking::Blocking;
use crate::conversation::{CallerProcessor, Synthesis};
use crate::event::{Disconnect, Dtmf, Error, Event, Overflow, Queue, ServiceIds, Severity};
use crate::inject::{Injector, SoundLibrary};
use crate::media::link::MOST_BACKGROUNDS;
use crate::media::{self, CaptureReader};
use crate::peer::{Fetched, Input, Peer, Report, State, Tell, is_success};
use crate::telemetry::rate_limit::RateLimit;
use crate::transport::{
    ABNORMAL_CLOSE, Attempt, BreakerKind, Breakers, ConnectError, ConnectOptions, Connection, ErrorCode, Incoming,
    Outbox, OutboxLimits, TlsProfiles,
};
use crate::tts::{SpeechEvent, SpeechShared};
use crate::units::{fault, least};
use dial::{Connecting, Dial, Ending, Parting};
use fetches::{Fetches, Piece};
use gate::Gate;
use recordings::Recordings;

/// How long a stopped stream waits for the last captured frames, which the API thread's removal of the bug ends.
const BUG_CLOSE: Duration = Duration::from_millis(500);
/// How long the server has for its side of the close; the connection itself gives up after two seconds.
const CLOSE: Duration = Duration::from_secs(5);
/// How long the end of playback may take beyond what is buffered.
const PLAYOUT_SLACK: Duration = Duration::from_secs(1);
/// Characters of a received text that the log shows.
const LOGGED_TEXT: usize = 200;

/// What a stream's task is made of.
pub struct Parts {
    /// The stream as others see it.
    pub handle: Arc<StreamHandle>,
    /// The mailbox.
    pub commands: mpsc::Receiver<StreamCommand>,
    /// Where events go.
    pub sink: Arc<dyn EventSink>,
    /// What is captured.
    pub capture: CaptureReader,
    /// What the caller hears, where it is to be taken out of that.
    pub reference: Option<CaptureReader>,
    /// What is played.
    pub injector: Injector,
    /// What captured audio goes through first.
    pub caller: CallerProcessor,
    /// The other end.
    pub peer: Box<dyn Peer>,
    /// The voice of a model that writes.
    pub synthesis: Option<Synthesis>,
    /// What is played beside it.
    pub backgrounds: [Option<Injector>; MOST_BACKGROUNDS],
    /// Recordings and backgrounds of the operator's, shared by all streams.
    pub sounds: Arc<SoundLibrary>,
    /// Which breaker counts its failures.
    pub breaker: BreakerKind,
    /// How it is reached.
    pub connect: ConnectOptions,
    /// TLS configurations, shared by all streams.
    pub tls: TlsProfiles,
    /// Speech synthesis and its connections over HTTP, shared by all streams.
    pub speech: Arc<SpeechShared>,
    /// What keeps streams from servers that fail, shared by all.
    pub breakers: Arc<Breakers>,
    /// Where files are read and decoded, shared by all.
    pub blocking: Blocking,
}

/// Wake-ups that a stream handles before the other streams of its shard have their turn.
const TURN_WAKES: u32 = 32;
/// The same in time: wake-ups are not alike.
const TURN: Duration = Duration::from_millis(2);

/// Runs a stream from its connection to its end.
///
/// Boxed, since a future within a future would hold the task twice.
pub fn run(parts: Parts) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    let (handle, sink) = (parts.handle.clone(), parts.sink.clone());
    let task = Box::new(Task::new(parts));
    Box::pin(supervise(task, handle, sink))
}

/// Runs the task and, however it ends, takes the stream off its call.
async fn supervise(task: Box<Task>, handle: Arc<StreamHandle>, sink: Arc<dyn EventSink>) {
    let whole = futures_util::FutureExt::catch_unwind(std::panic::AssertUnwindSafe(task.run())).await;
    let error = whole.unwrap_or_else(|_| {
        let message = "the stream's task failed inside of the module; the call goes on without it".to_owned();
        handle.set_state(StreamState::Error);
        sink.emit(&handle, Error::new(ErrorCode::Protocol, &*message).into());
        if handle.begin_end() {
            sink.emit(&handle, handle.spec.options.mode.last_event(ABNORMAL_CLOSE, &message));
        }
        message
    });
    handle.media.leave();
    if !handle.is_bug_closed() {
        sink.detach(&handle);
    }
    handle.finish(error);
}

/// Where the stream's own life stands.
enum Phase {
    /// From its start, connected or not.
    Open,
    /// Asked to end; waits for the last captured frame.
    Draining {
        text: Option<String>,
        until: Instant,
    },
    /// The close has been sent; waits for the server's.
    Closing {
        until: Instant,
    },
    /// The connection is gone; what had been received is played.
    PlayingOut {
        until: Instant,
        /// How much had been played when `until` was set: a call that goes on playing is waited for.
        played_ms: u64,
    },
    Over,
}

/// What woke the task.
enum Wake {
    Command(Option<StreamCommand>),
    Doorbell,
    Connected(Box<Result<Connection, ConnectError>>),
    Incoming(Incoming),
    Decoded(Decoded),
    Spoken(SpeechEvent),
    Recited(u64, Loaded),
    /// A sound beside the voice is there, or in words why not.
    Background(Result<(), String>),
    Fetched(Piece),
    Parted,
    Deadline,
}

/// A line of the log with what a stream has done so far.
macro_rules! log_totals {
    ($task:expr, target: $target:literal, $($fixed:tt)*) => {{
        let media = &$task.handle.media;
        let (sent, inject) = ($task.outbox.stats(), $task.playback.status());
        let latency = media.latency.snapshot();
        tracing::info!(target: $target, $($fixed)*, call = %$task.handle.call(), stream = %$task.handle.name(),
            uptime_ms = $task.handle.started.elapsed().as_millis() as u64, frames = media.capture.frames(),
            dropped_frames = media.capture.dropped_frames(), messages = sent.audio_sent, bytes = sent.bytes_sent,
            waiting_ms = sent.waiting.as_millis() as u64, send_dropped_ms = $task.drops.total.as_millis() as u64,
            received = $task.handle.counters.received.load(Ordering::Relaxed), played_ms = inject.played_ms,
            buffered_ms = inject.buffered_ms, underruns = media.playout.underruns(), overflows = inject.overflow_count,
            faults = $task.handle.counters.faults.load(Ordering::Relaxed), callback_p99_us = latency.p99().as_micros() as u64);
    }};
}

struct Task {
    handle: Arc<StreamHandle>,
    commands: mpsc::Receiver<StreamCommand>,
    sink: Arc<dyn EventSink>,
    capture: Capture,
    playback: Playback,
    backgrounds: Backgrounds,
    peer: Box<dyn Peer>,
    synthesis: Option<Box<Synthesis>>,
    /// What a synthesis is made with, where an operator has something said.
    speech: Arc<SpeechShared>,
    /// Sentences that the operator has had said.
    said: u64,
    recordings: Recordings,
    fetches: Fetches,
    /// How to connect, and to connect again.
    dial: Arc<Dial>,
    breakers: Arc<Breakers>,
    breaker: BreakerKind,
    /// The outcome for the breaker, until the peer says whether the server serves us.
    attempt: Option<Attempt>,
    connecting: Option<Connecting>,
    /// When the attempt at a connection began.
    dialled: Option<Instant>,
    connection: Option<Connection>,
    outbox: Outbox,
    /// The last connection, on its way to its close beside the next one.
    parting: Option<Parting>,
    /// How the last connection, or the attempt at one, has ended.
    ending: Ending,
    /// What the server calls the connection and the session.
    ids: ServiceIds,
    /// Captured frames that had no room in the ring, as told.
    ring_drops: RingDrops,
    /// The newest flush that the media thread has not performed yet.
    flushing: Option<u64>,
    phase: Phase,
    /// Why the stream ends, for the final event.
    reason: &'static str,
    /// It ends at a limit, which the final event names whatever the server says.
    limited: bool,
    /// It ends because the call did.
    call_ended: bool,
    error: String,
    faults: RateLimit,
    restarts: RateLimit,
    drops: Drops,
    underruns: Underruns,
    /// The server has been slowed down since the queue was last below its bound.
    slowed: bool,
    /// Speech of an agent that had no room.
    unplayed: Drops,
    /// The conversation's last state.
    talk: State,
    /// When the caller's turn ended that the agent has not answered yet.
    turn_ended: Option<Instant>,
    summary_at: Option<Instant>,
    /// The call is on hold, as told.
    held: bool,
    /// Since when the caller is masked, as told, and how long they were before.
    masked: (Option<Instant>, Duration),
    /// When it has lasted as long as it may.
    expires_at: Option<Instant>,
    /// When its peer learns that it ends soon.
    warns_at: Option<Instant>,
    gate: Gate,
}

/// When a stream has lasted as long as it may.
fn expires_at(handle: &StreamHandle) -> Option<Instant> {
    let most = handle.spec.options.max_duration_s;
    (most > 0).then(|| handle.started + Duration::from_secs(most.into()))
}

/// When a conversation learns that it ends soon.
fn warns_at(handle: &StreamHandle) -> Option<Instant> {
    let options = &handle.spec.options;
    let before = Duration::from_secs(options.ai.wind_down_s.into());
    let warned = options.mode == StreamMode::Ai && options.ai.wind_down_instructions.is_some();
    let end = expires_at(handle).filter(|_| warned)?;
    Some(end.checked_sub(before).map_or(handle.started, |at| at.max(handle.started)))
}

impl Task {
    fn new(parts: Parts) -> Self {
        let Parts {
            handle,
            commands,
            sink,
            capture,
            reference,
            injector,
            caller,
            peer,
            synthesis,
            backgrounds,
            sounds,
            breaker,
            connect,
            tls,
            speech,
            breakers,
            blocking,
        } = parts;
        let options = &handle.spec.options;
        let limits = OutboxLimits {
            max_audio: Duration::from_millis(u64::from(options.max_queue_ms)),
            ..OutboxLimits::default()
        };
        let summary = (options.log_every_ms > 0).then(|| Duration::from_millis(u64::from(options.log_every_ms)));
        let dial = Arc::new(Dial { endpoint: handle.spec.endpoint.endpoint().clone(), how: connect, tls });
        let playback = Playback::new(injector, options, blocking.clone());
        let backgrounds = Backgrounds::new(backgrounds, options);
        let recordings = Recordings::new(Sounds::new(sounds, blocking), &options.ai);
        let capture = Capture::new(capture, handle.media.capture.clone(), options, peer.capture(), caller, reference);
        Self {
            outbox: Outbox::new(limits),
            summary_at: summary.map(|every| Instant::now() + every),
            expires_at: expires_at(&handle),
            warns_at: warns_at(&handle),
            handle,
            commands,
            sink,
            capture,
            playback,
            backgrounds,
            peer,
            synthesis: synthesis.map(Box::new),
            recordings,
            fetches: Fetches::new(speech.http().clone()),
            speech,
            said: 0,
            breakers,
            breaker,
            attempt: None,
            connecting: None,
            dialled: None,
            dial,
            connection: None,
            parting: None,
            ending: Ending::default(),
            ids: ServiceIds::default(),
            ring_drops: RingDrops::default(),
            flushing: None,
            phase: Phase::Open,
            reason: "",
            limited: false,
            call_ended: false,
            error: String::new(),
            faults: RateLimit::default(),
            restarts: RateLimit::default(),
            drops: Drops::default(),
            underruns: Underruns::default(),
            slowed: false,
            unplayed: Drops::default(),
            talk: State::Idle,
            turn_ended: None,
            held: false,
            masked: (None, Duration::ZERO),
            gate: Gate::default(),
        }
    }

    /// The loop. Returns the error the stream ended with, empty for none.
    async fn run(mut self: Box<Self>) -> String {
        let mut timer = pin!(tokio::time::sleep_until(Instant::now().into()));
        let mut timer_at = None;
        let mut turn = Turn::default();
        if let Some(synthesis) = &mut self.synthesis {
            synthesis.prepare();
        }
        self.backgrounds.begin(Instant::now(), self.recordings.sounds());
        self.tell(Input::Start, Instant::now());
        let mut now = Instant::now();
        loop {
            self.settle(now);
            if matches!(self.phase, Phase::Over) {
                self.log_end();
                return self.error;
            }
            set_timer(timer.as_mut(), &mut timer_at, self.deadline());
            let wake = {
                let mut sleep = pin!(self.sleep(timer.as_mut(), timer_at.is_some()));
                poll_fn(|cx| {
                    let woken = sleep.as_mut().poll(cx);
                    if woken.is_pending() {
                        turn = Turn::default();
                    }
                    woken
                })
                .await
            };
            if matches!(wake, Wake::Deadline) {
                timer_at = None;
            }
            // Read once for each wake: it is some 50 ns, and a long wake shows in the time of the next.
            now = Instant::now();
            turn.begin(now);
            self.take(wake, now);
            if turn.is_over(now) {
                turn = Turn::default();
                tokio::task::yield_now().await;
                now = Instant::now();
            }
        }
    }

    async fn sleep(&mut self, timer: Pin<&mut Sleep>, timed: bool) -> Wake {
        let Self { handle, commands, connecting, connection, outbox, playback, parting, .. } = self;
        let Self { backgrounds, synthesis, recordings, fetches, .. } = self;
        // What changes these comes as another wake.
        let (reads, speaks) = (playback.has_room(), playback.takes_announcement());
        tokio::select! {
            biased;
            command = commands.recv() => Wake::Command(command),
            () = handle.doorbell.notified() => Wake::Doorbell,
            result = poll_fn(|cx| match connecting {
                Some(connecting) => connecting.poll(cx),
                None => std::task::Poll::Pending,
            }) => Wake::Connected(Box::new(result)),
            incoming = poll_fn(|cx| match connection {
                Some(connection) => {
                    let driven =
                        if reads { connection.poll_drive(cx, outbox) } else { connection.poll_send(cx, outbox) };
                    handle.counters.sent(&outbox.stats());
                    driven
                }
                None => std::task::Poll::Pending,
            }) => Wake::Incoming(incoming),
            decoded = poll_fn(|cx| playback.poll_decoded(cx)) => Wake::Decoded(decoded),
            spoken = poll_fn(|cx| match synthesis {
                Some(synthesis) if speaks => synthesis.poll_next(cx),
                _ => std::task::Poll::Pending,
            }) => Wake::Spoken(spoken),
            (sentence, loaded) = poll_fn(|cx| recordings.poll_next(cx)) => Wake::Recited(sentence, loaded),
            loaded = poll_fn(|cx| backgrounds.poll_loaded(cx)) => Wake::Background(loaded),
            piece = poll_fn(|cx| fetches.poll_next(cx)) => Wake::Fetched(piece),
            () = poll_fn(|cx| match parting {
                Some(parting) => parting.as_mut().poll(cx),
                None => std::task::Poll::Pending,
            }) => Wake::Parted,
            () = timer, if timed => Wake::Deadline,
        }
    }

    fn deadline(&self) -> Option<Instant> {
        let phase = match &self.phase {
            Phase::Draining { until, .. } | Phase::Closing { until } => Some(*until),
            Phase::PlayingOut { until, .. } => Some(*until).filter(|_| !self.held),
            _ => None,
        };
        let peer = self.speaks().then(|| self.peer.deadline()).flatten();
        let (gate, backgrounds) = (self.gate.deadline(), self.backgrounds.deadline());
        least([
            phase,
            peer,
            self.playback.deadline(),
            backgrounds,
            self.summary_at,
            self.expires_at,
            self.warns_at,
            gate,
        ])
    }

    /// Whether the peer may still have something to say, if only the close.
    fn speaks(&self) -> bool {
        matches!(self.phase, Phase::Open | Phase::Draining { .. } | Phase::Closing { .. })
    }

    fn take(&mut self, wake: Wake, now: Instant) {
        match wake {
            Wake::Command(Some(command)) => self.obey(command, now),
            // The handle holds the sender and this task holds the handle.
            Wake::Command(None) | Wake::Doorbell => {}
            Wake::Connected(result) => match *result {
                Ok(connection) => self.connected(connection, now),
                Err(error) => self.not_connected(&error, now),
            },
            Wake::Incoming(incoming) => {
                fault::point(self.handle.name(), "task");
                self.received(incoming, now);
            }
            Wake::Decoded(decoded) => self.playback.decoded(now, decoded),
            Wake::Spoken(spoken) => self.spoken(spoken, now),
            Wake::Recited(sentence, loaded) => {
                self.recited(sentence, loaded, now);
                self.perform(now);
            }
            // The next look moves it on.
            Wake::Background(Ok(())) => {}
            Wake::Background(Err(reason)) => {
                tracing::warn!(target: "INJECT", call = %self.handle.call(), op = "background", outcome = "failed",
                    stream = %self.handle.name(), reason, advice = "the conversation goes on without this sound");
                let message = format!("a sound is not played: {reason}");
                self.emit(Error::new(ErrorCode::NotSupported, message));
            }
            Wake::Fetched(piece) => {
                let (id, piece) = piece.of();
                if let Fetched::Head { status, request_id } = piece {
                    tracing::info!(target: "AI_ENGINE", call = %self.handle.call(), op = "request",
                        outcome = if is_success(status) { "ok" } else { "refused" }, stream = %self.handle.name(), status, request_id);
                }
                self.tell(Input::Fetched { id, piece }, now);
            }
            Wake::Parted => self.parting = None,
            Wake::Deadline => {
                if self.speaks() && self.peer.deadline().is_some_and(|due| due <= now) {
                    self.peer.set_unsent(self.outbox.stats().waiting);
                    self.tell(Input::Timeout, now);
                }
                if self.summary_at.is_some_and(|due| due <= now) {
                    self.summarise(now);
                }
                if self.warns_at.is_some_and(|due| due <= now) {
                    self.warns_at = None;
                    self.tell(Input::EndsSoon, now);
                }
                if self.expires_at.is_some_and(|due| due <= now) {
                    self.expires_at = None;
                    self.expire("max_duration_s", now);
                }
                self.gate_due(now);
            }
        }
    }

    /// What has to be looked at after every turn: captured audio, playback, and the phases that wait for something.
    fn settle(&mut self, now: Instant) {
        if !matches!(self.phase, Phase::Open) {
            self.backgrounds.stop(now);
        }
        self.take_keys(now);
        self.send_captured(now);
        self.follow_hold(now);
        self.follow_mask(now);
        self.follow_playback(now);
        self.tell_position(now);
        if self.handle.media.panics() > 0 && self.error.is_empty() {
            let message =
                "a callback or an event of the stream failed inside of the module; the call goes on without it";
            self.fail(ErrorCode::Protocol, message.to_owned());
            self.reason = "internal error";
            // Nothing more comes from the callbacks; the call goes on without the bug.
            self.sink.detach(&self.handle);
            if matches!(self.phase, Phase::Open) {
                self.phase = Phase::Draining { text: None, until: now + BUG_CLOSE };
                self.set_state(StreamState::Closing);
            }
        }
        let bug_closed = self.handle.is_bug_closed();
        if bug_closed && matches!(self.phase, Phase::Open) {
            // A stop is ordered before it takes the bug off: without looking, this would be taken for the call's end.
            while let Ok(command) = self.commands.try_recv() {
                self.obey(command, now);
            }
        }
        match &mut self.phase {
            Phase::Open if bug_closed => {
                self.call_ended = self.error.is_empty();
                self.reason = if self.call_ended { "the call ended" } else { self.reason };
                self.phase = Phase::Draining { text: None, until: now };
                self.set_state(StreamState::Closing);
                self.settle(now);
            }
            Phase::Draining { text, until } if bug_closed || *until <= now => {
                let text = text.take();
                self.finish_capture(text, now);
            }
            // A peer that answers the stop with no close, or a connection that does not keep to its own time limit.
            Phase::Closing { until } if *until <= now => self.gone(ABNORMAL_CLOSE, "the server did not close", now),
            Phase::PlayingOut { .. } if self.parting.is_none() && (bug_closed || self.playback.is_idle()) => {
                self.phase = Phase::Over;
            }
            Phase::PlayingOut { until, played_ms } if *until <= now && !self.held => {
                let played_so_far = self.playback.played_ms();
                if played_so_far == *played_ms {
                    self.phase = Phase::Over;
                } else {
                    (*until, *played_ms) = (now + PLAYOUT_SLACK, played_so_far);
                }
            }
            _ => {}
        }
        self.publish();
    }

    fn obey(&mut self, command: StreamCommand, now: Instant) {
        let input = match &command {
            StreamCommand::Stop { text, reason } => return self.stop(text.clone(), reason, now),
            StreamCommand::Expire { limit } => return self.expire(limit, now),
            StreamCommand::Tones(steps) => {
                if let Err(error) = self.playback.play_tones(steps) {
                    self.fault(&error.to_string(), now);
                }
                return;
            }
            StreamCommand::SendText(text) => Input::SendText(text),
            StreamCommand::Tell { speaker, text, respond } => {
                Input::Tell(Tell { speaker: *speaker, text, respond: *respond })
            }
            StreamCommand::Change(changes) => Input::Change(changes),
            StreamCommand::Raw(event) => Input::Raw(event),
            StreamCommand::Clear => Input::Interrupt,
            StreamCommand::Say(text) => Input::Say(text.clone()),
            StreamCommand::ToolResult { call_id, output } => {
                Input::ToolResult { call_id: call_id.clone(), output: output.clone() }
            }
        };
        self.tell(input, now);
    }

    /// A limit ends the stream.
    fn expire(&mut self, limit: &'static str, now: Instant) {
        if !matches!(self.phase, Phase::Open | Phase::PlayingOut { .. }) {
            return;
        }
        tracing::info!(target: "LIFECYCLE", notice = true, call = %self.handle.call(), op = "stream_end", outcome = "limit",
            stream = %self.handle.name(), limit, seconds = self.handle.started.elapsed().as_secs());
        self.handle.series.limited.count(limit);
        self.limited = true;
        self.sink.detach(&self.handle);
        self.stop(None, limit, now);
    }

    /// The operator ends the stream.
    fn stop(&mut self, text: Option<String>, reason: &'static str, now: Instant) {
        match self.phase {
            Phase::Open => {
                self.reason = reason;
                self.phase = Phase::Draining { text, until: now + BUG_CLOSE };
                self.set_state(StreamState::Closing);
            }
            Phase::PlayingOut { .. } => self.phase = Phase::Over,
            Phase::Draining { .. } | Phase::Closing { .. } | Phase::Over => {}
        }
    }

    /// Hands complete messages of captured audio to the peer, as soon as that listens.
    fn send_captured(&mut self, now: Instant) {
        self.capture.collect();
        self.note_ring_drops(now);
        self.handle.capture_meter.passed(self.capture.take_peak(), now);
        match self.phase {
            Phase::Open | Phase::Draining { .. } if !self.gate_passes() => self.drop_captured(),
            Phase::Open | Phase::Draining { .. } if self.peer.listens() => {
                let waiting = self.outbox.stats().waiting;
                let mut sent = false;
                while let Some(message) = self.capture.next_message() {
                    self.peer.handle(now, Input::Audio(message));
                    self.perform(now);
                    sent = true;
                }
                // What has not left when the connection is lost goes with the next one.
                let unsent = if self.handle.spec.options.reconnect_max > 0 {
                    self.outbox.stats().waiting
                } else {
                    Duration::ZERO
                };
                self.capture.forget(unsent);
                if sent && let Some(age) = self.handle.media.capture.last_frame_ago(now) {
                    self.handle.series.capture_delay.record(age + waiting);
                    self.handle.capture_meter.delayed(age + waiting);
                }
                // What was said before has been sent.
                while let Some(heard) = self.capture.next_speech() {
                    self.tell(heard.input(), now);
                }
            }
            Phase::Open => {
                let lost = self.capture.trim_backlog();
                self.dropped(lost, now);
            }
            _ => self.capture.discard(),
        }
    }

    /// Tells of the keys that were pressed.
    fn take_keys(&mut self, now: Instant) {
        while let Some(media::Dtmf { digit, duration_ms }) = self.handle.media.dtmf.take() {
            self.emit(Dtmf { digit, duration_ms });
            self.tell(Input::Dtmf { digit, duration_ms }, now);
        }
    }

    /// Tells the peer where playback stands.
    fn tell_position(&mut self, now: Instant) {
        if !self.peer.follows_playback() {
            return;
        }
        // In this order: what is idle now has been heard by the count that is read after it.
        let idle = self.playback.is_silent();
        let waiting = self.playback.buffered();
        self.tell(Input::Playback { played: self.handle.media.playout.played_time(), idle, waiting }, now);
    }

    /// The last captured audio, the last text, the close.
    fn finish_capture(&mut self, text: Option<String>, now: Instant) {
        self.phase = Phase::Closing { until: now + CLOSE };
        if self.peer.listens() && self.gate_passes() {
            self.capture.finish();
            while let Some(message) = self.capture.next_message() {
                self.peer.handle(now, Input::Audio(message));
                self.perform(now);
            }
            if let Some(message) = self.capture.last_message() {
                self.tell(Input::Audio(&message), now);
            }
        }
        self.tell(Input::Stop { text: text.as_deref(), call_ended: self.call_ended }, now);
    }

    /// Tells the peer something, and does what it wants.
    fn tell(&mut self, input: Input<'_>, now: Instant) {
        self.peer.handle(now, input);
        self.perform(now);
    }

    /// Captured audio that the server was too slow for.
    fn dropped(&mut self, lost: Duration, now: Instant) {
        let Some(overflow) = self.drops.note(lost, now) else { return };
        tracing::warn!(target: "CAPTURE", call = %self.handle.call(), op = "send_queue", outcome = "dropped",
        stream = %self.handle.name(), dropped_ms = overflow.dropped_ms, total_dropped_ms = overflow.total_dropped_ms,
        advice = if self.connection.is_some() {
            "the server does not read fast enough"
        } else {
            "there was no connection for longer than max_queue_ms"
        });
        self.emit(overflow);
    }

    /// Captured frames that had no room, because this task came late.
    fn note_ring_drops(&mut self, now: Instant) {
        let total = self.handle.media.capture.dropped_frames();
        if let Some(dropped_frames) = self.ring_drops.note(total, now) {
            tracing::warn!(target: "RING_BUF", call = %self.handle.call(), op = "capture_ring", outcome = "overflow",
                stream = %self.handle.name(), dropped_frames, total, advice = "a worker is late: the machine is overloaded");
        }
    }

    /// `text` for the log, unless what the server says is to stay out of it.
    fn loggable<'a>(&self, text: &'a str) -> &'a str {
        if self.handle.spec.options.suppress_log { "(suppressed)" } else { text }
    }

    /// Something unusable from the server: counted, and reported at most once in five seconds.
    fn fault(&mut self, reason: &str, now: Instant) {
        self.handle.counters.faults.fetch_add(1, Ordering::Relaxed);
        if let Some(more) = self.faults.due(now) {
            tracing::warn!(target: "WS_STREAM", call = %self.handle.call(), op = "receive", outcome = "refused",
                stream = %self.handle.name(), reason = self.loggable(reason), more);
            let message = if more == 0 { reason.to_owned() } else { format!("{reason} (and {more} before)") };
            self.emit(Error::new(ErrorCode::Protocol, message));
        }
    }

    /// An error that ends the stream.
    fn fail(&mut self, code: ErrorCode, message: String) {
        tracing::error!(target: "WS_STREAM", call = %self.handle.call(), op = "connection", outcome = "failed",
            stream = %self.handle.name(), url = %self.handle.spec.endpoint, code = code.as_str(), reason = %message,
            request_id = self.ids.request_id);
        self.emit(Error::new(code, &*message));
        self.error = message;
    }

    /// The connection is gone, or never was: the final event, and playback to its end.
    fn gone(&mut self, code: u16, reason: &str, now: Instant) {
        self.connection = None;
        // Nobody is left to let the audio go on that the server has held.
        self.handle.media.playout.set_held(false);
        tracing::info!(target: "WS_STREAM", notice = true, call = %self.handle.call(), op = "disconnect", outcome = "ok",
            stream = %self.handle.name(), code, reason = self.loggable(reason));
        // Before the event, on which somebody may start the next stream of this name.
        let state = if self.error.is_empty() { StreamState::Disconnected } else { StreamState::Error };
        self.set_state(state);
        if self.handle.begin_end() {
            self.emit(Disconnect { code, reason: reason.into() });
        }
        let told_to_end = matches!(self.phase, Phase::Closing { .. } | Phase::Draining { .. });
        self.phase = if told_to_end && self.handle.is_bug_closed() { Phase::Over } else { self.playing_out(now) };
    }

    /// Playback to its end, from now on: until it is due, and longer while the call goes on playing. Time on hold does not count.
    fn playing_out(&self, now: Instant) -> Phase {
        let until = now + self.playback.buffered() + PLAYOUT_SLACK;
        Phase::PlayingOut { until, played_ms: self.playback.played_ms() }
    }

    fn emit(&self, event: impl Into<Event>) {
        self.sink.emit(&self.handle, event.into().of_connection(&self.ids));
    }

    fn set_state(&self, state: StreamState) {
        self.handle.set_state(state);
    }

    /// Lets others see how the queues stand.
    fn publish(&mut self) {
        let counters = &self.handle.counters;
        // Written by this task alone.
        counters.turns.store(counters.turns.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
        counters.send_dropped_ms.store(self.drops.total.as_millis() as u64, Ordering::Relaxed);
        if let Some(inject) = self.playback.news() {
            counters.inject_bytes.store(inject.inuse_bytes, Ordering::Relaxed);
            counters.inject_capacity.store(inject.capacity_bytes, Ordering::Relaxed);
            counters.inject_overflows.store(inject.overflow_count, Ordering::Relaxed);
        }
        if let Some(Report { status, awaited, changes }) = self.peer.report() {
            let mut shared = self.handle.ai.lock();
            shared.status = status;
            if shared.awaited != awaited {
                shared.awaited = awaited.to_vec();
            }
            if shared.changes != changes {
                shared.changes = changes.to_vec();
            }
        }
    }

    /// The periodic line of the log.
    fn summarise(&mut self, now: Instant) {
        let every = Duration::from_millis(u64::from(self.handle.spec.options.log_every_ms));
        self.summary_at = Some(now + every);
        log_totals!(self, target: "CAPTURE", op = "summary", outcome = "ok");
    }

    /// The last line of the log about this stream, however short it was.
    fn log_end(&self) {
        if self.error.is_empty() {
            log_totals!(self, target: "LIFECYCLE", notice = true, op = "stream_closed", outcome = "ok");
        } else {
            log_totals!(self, target: "LIFECYCLE", notice = true, op = "stream_closed", outcome = "failed");
        }
    }
}

/// What a stream has handled since it last waited or let the others of its shard go on.
#[derive(Default)]
struct Turn {
    until: Option<Instant>,
    wakes: u32,
}

impl Turn {
    /// One more thing is about to be handled.
    fn begin(&mut self, now: Instant) {
        self.until.get_or_insert_with(|| now + TURN);
        self.wakes += 1;
    }

    fn is_over(&self, now: Instant) -> bool {
        self.wakes >= TURN_WAKES || self.until.is_some_and(|until| now >= until)
    }
}

fn set_timer(timer: Pin<&mut Sleep>, set_to: &mut Option<Instant>, deadline: Option<Instant>) {
    if *set_to != deadline {
        if let Some(deadline) = deadline {
            timer.reset(deadline.into());
        }
        *set_to = deadline;
    }
}

/// Sums up gaps for one event in five seconds.
#[derive(Default)]
struct Underruns {
    limit: RateLimit,
    since_told: u64,
}

impl Underruns {
    fn note(&mut self, count: u64, now: Instant) -> Option<u64> {
        self.since_told += count;
        self.limit.due(now)?;
        Some(std::mem::take(&mut self.since_told))
    }
}

/// Sums up frames that had no room in the ring for one line in five seconds.
#[derive(Default)]
struct RingDrops {
    limit: RateLimit,
    told: u64,
}

impl RingDrops {
    /// How many there are since the last line, if another is due; `total` counts from the stream's start.
    fn note(&mut self, total: u64, now: Instant) -> Option<u64> {
        if total <= self.told {
            return None;
        }
        self.limit.due(now)?;
        Some(total - std::mem::replace(&mut self.told, total))
    }
}

/// Sums up dropped audio for one event in five seconds.
#[derive(Default)]
struct Drops {
    limit: RateLimit,
    total: Duration,
    told: Duration,
    since_told: u64,
}

impl Drops {
    fn note(&mut self, lost: Duration, now: Instant) -> Option<Overflow> {
        if lost.is_zero() {
            return None;
        }
        self.total += lost;
        self.since_told += 1;
        self.limit.due(now)?;
        let dropped = self.total.saturating_sub(self.told);
        self.told = self.total;
        Some(Overflow {
            queue: Queue::Send,
            severity: Severity::Warning,
            drops: std::mem::take(&mut self.since_told),
            dropped_ms: dropped.as_millis() as u64,
            total_dropped_ms: self.total.as_millis() as u64,
        })
    }
}
