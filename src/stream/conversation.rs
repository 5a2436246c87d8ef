//! One conversation as the stream drives it: the agent's policy over the Realtime protocol, both without input or output.
//!
//! ```text
//! socket, media side, synthesis, API ─► Conversation ─┬─ RealtimeEngine ── events ──► Agent ─┐
//!                                                     └──────────◄──────── commands ◄────────┘
//! ```
//! Translates between the two, which know nothing of each other, and hands on what both want of the world. Owned by the
//! stream's task, on its worker. Nothing waits here but the outputs of one input.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::agent::{self, Agent, AgentConfig, Builtin, FarCommand, FarEvent, Outcome, SpeechTrigger, TurnTaking};
use crate::protocol::Fault;
use crate::protocol::openai_realtime::{
    self as realtime, AudioFormat, Command, EngineConfig, ErrorClass, Modality, Operation, RateLimit, RealtimeEngine,
    ResponseStatus, Role, Tool, TurnDetection,
};

/// What happens to a conversation.
#[derive(Clone, PartialEq, Debug)]
pub enum Input<'a> {
    /// The connection asked for is up.
    Opened {
        /// Seconds since 1970.
        unix_seconds: u64,
    },
    /// The connection asked for could not be made.
    Refused {
        /// The HTTP status, if there was an answer.
        status: Option<u16>,
        /// In words.
        message: &'a str,
    },
    /// A text message arrived.
    Text(&'a str),
    /// A binary message arrived.
    Binary,
    /// The connection has ended, not by [`Output::Disconnect`].
    Closed {
        /// WebSocket close code; 1006 where there was none.
        code: u16,
        /// The closing side's words.
        reason: &'a str,
    },
    /// The connection asked for is not attempted: its server is left alone at the moment.
    LeftAlone {
        /// In words.
        message: &'a str,
        /// Nobody waits for it: the conversation ends instead of trying again.
        fatal: bool,
    },
    /// For the agent: everything but `Far` and `Lost`, which are made here.
    Agent(agent::Input),
    /// [`Conversation::deadline`] has passed.
    Timeout,
}

/// What is to be done, in order.
#[derive(Clone, PartialEq, Debug)]
pub enum Output {
    /// Make a connection, now; answer with `Opened` or `Refused`. Whatever the last one still has is of no interest.
    Connect {
        /// 0, or which of the attempts to come back.
        attempt: u32,
    },
    /// Send what waits, then close with 1000, or give up making the connection. No answer.
    Disconnect,
    /// Send a text message that must not be lost.
    Send(String),
    /// Send a text message with caller's audio, which may be dropped under pressure, the oldest first.
    SendAudio {
        /// The message.
        message: String,
        /// How long its audio lasts.
        duration: Duration,
    },
    /// For the media side, the synthesis, the call, the operator: never `Connect`, `Disconnect` or `Far`.
    Agent(agent::Output),
    /// The caller begins to speak (`true`) or stops, as the far end hears it.
    CallerSpeech(bool),
    /// The far end's limits, for the log and the metrics.
    RateLimits(Vec<RateLimit>),
    /// The far end sent something unusable: counted, logged.
    Fault(Fault),
}

/// What became of an attempt at a session, or of a session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reached {
    /// The session is there.
    Session,
    /// There is none, or no more.
    Lost {
        /// It was refused for what another attempt would not change: the key, the account, the configuration.
        fatal: bool,
    },
}

/// One conversation.
#[derive(Debug)]
pub struct Conversation {
    engine: RealtimeEngine,
    agent: Agent,
    outputs: VecDeque<Output>,
    input: AudioFormat,
    unsent: Duration,
    reached: Option<Reached>,
}

/// Makes the two halves of a profile say the same: who speaks, who finds the turns, which functions there are.
pub fn align(engine: &mut EngineConfig, agent: &mut AgentConfig) {
    let profile = &mut engine.profile;
    profile.modality = match agent.voice {
        agent::VoiceMode::FarEnd => Modality::Audio,
        agent::VoiceMode::Synthesis => Modality::Text,
    };
    // Where somebody else decides what interrupts, or not at the first sign, the far end must not.
    let at_once = agent.barge_in.speech == SpeechTrigger::FarEnd && agent.barge_in.min_speech.is_zero();
    profile.turn_detection = profile.turn_detection.interrupting(at_once && profile.turn_detection.interrupts());
    agent.turns = match profile.turn_detection {
        TurnDetection::Off => TurnTaking::Local,
        detection => TurnTaking::FarEnd { responds: detection.responds(), interrupts: detection.interrupts() },
    };
    if agent.turns == TurnTaking::Local && agent.barge_in.speech == SpeechTrigger::FarEnd {
        agent.barge_in.speech = SpeechTrigger::Local;
    }
    agent.caller_bytes_per_second = profile.input.bytes_per_second();
    agent.caller_sample_bytes = profile.input.sample_bytes();
    profile.tools.retain(|tool| Builtin::named(&tool.name).is_none());
    agent.tools.custom = profile.tools.iter().map(|tool| tool.name.clone()).collect();
    for builtin in &agent.tools.builtin {
        profile.tools.push(Tool {
            name: builtin.name().to_owned(),
            description: builtin.description().to_owned(),
            parameters: serde_json::from_str(builtin.parameters()).unwrap_or_default(),
        });
    }
}

impl Conversation {
    /// A conversation that waits for `Input::Agent(agent::Input::Start)`. The configurations should be [`align`]ed.
    pub fn new(engine: EngineConfig, agent: AgentConfig, seed: u64) -> Self {
        let input = engine.profile.input;
        Self {
            engine: RealtimeEngine::new(engine),
            agent: Agent::new(agent, seed),
            outputs: VecDeque::new(),
            input,
            unsent: Duration::ZERO,
            reached: None,
        }
    }

    /// How much of the caller's audio waits in the outbox of the connection: should this input end it, that much is sent
    /// again with the next. To be told before `Text`, `Closed` and `Timeout`; the outbox's audio is discarded with its
    /// connection.
    pub fn set_unsent(&mut self, unsent: Duration) {
        self.unsent = unsent;
    }

    /// Takes one input at the time `now`. Drain [`poll`](Self::poll) before the next.
    pub fn handle(&mut self, now: Instant, input: Input<'_>) {
        match input {
            Input::Opened { unix_seconds } => self.engine(now, realtime::Input::Opened { unix_seconds }),
            Input::Refused { status, message } => self.engine(now, realtime::Input::Refused { status, message }),
            Input::Text(text) => self.engine(now, realtime::Input::Text(text)),
            Input::Binary => self.engine(now, realtime::Input::Binary),
            Input::Closed { code, reason } => self.engine(now, realtime::Input::Closed { code, reason }),
            Input::LeftAlone { message, fatal } => {
                let code = "breaker_open".to_owned();
                self.agent(now, agent::Input::Lost { fatal, code, message: message.to_owned(), undelivered: 0 });
            }
            Input::Agent(agent::Input::Far(_) | agent::Input::Lost { .. }) => {}
            Input::Agent(input) => self.agent(now, input),
            Input::Timeout => {
                self.engine(now, realtime::Input::Timeout);
                self.agent(now, agent::Input::Timeout);
            }
        }
    }

    /// The next output of the last input, in order; `None` when all are taken.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// What has become of the last attempt, once.
    pub const fn take_reached(&mut self) -> Option<Reached> {
        self.reached.take()
    }

    /// Captured audio in the wire's bytes: the message to send now and how long its audio lasts, in the engine's buffer;
    /// `None` when there is nobody to send it to yet, and it is kept. No allocation.
    pub fn captured(&mut self, now: Instant, audio: &[u8]) -> Option<(&str, Duration)> {
        if !self.agent.captured(audio) {
            return None;
        }
        self.engine.handle(now, realtime::Input::Audio(audio));
        match self.engine.poll() {
            Some(realtime::Output::SendAudio { message, duration }) => Some((message, duration)),
            _ => None,
        }
    }

    /// When [`Input::Timeout`] is wanted; `None` when never.
    pub fn deadline(&self) -> Option<Instant> {
        [self.engine.deadline(), self.agent.deadline()].into_iter().flatten().min()
    }

    /// The policy, for its state and counts.
    pub const fn policy(&self) -> &Agent {
        &self.agent
    }

    /// The protocol, for its profile and counts.
    pub const fn protocol(&self) -> &RealtimeEngine {
        &self.engine
    }

    fn engine(&mut self, now: Instant, input: realtime::Input<'_>) {
        self.engine.handle(now, input);
        let mut events = Vec::new();
        while let Some(output) = self.engine.poll() {
            match output {
                realtime::Output::Send(text) => self.outputs.push_back(Output::Send(text)),
                realtime::Output::SendAudio { message, duration } => {
                    self.outputs.push_back(Output::SendAudio { message: message.to_owned(), duration });
                }
                realtime::Output::Event(event) => events.push(event),
                realtime::Output::Fault(fault) => self.outputs.push_back(Output::Fault(fault)),
                realtime::Output::Close { .. } => self.outputs.push_back(Output::Disconnect),
            }
        }
        for event in events {
            self.event(now, event);
        }
    }

    fn agent(&mut self, now: Instant, input: agent::Input) {
        self.agent.handle(now, input);
        while let Some(output) = self.agent.poll() {
            match output {
                agent::Output::Connect { attempt } => self.outputs.push_back(Output::Connect { attempt }),
                agent::Output::Disconnect => {
                    let before = self.outputs.len();
                    self.engine(now, realtime::Input::Command(Command::Close));
                    // An engine that has no connection yet says nothing: the attempt is given up.
                    if self.outputs.len() == before {
                        self.outputs.push_back(Output::Disconnect);
                    }
                }
                // A command makes no events, so that this goes no deeper.
                agent::Output::Far(FarCommand::Append(audio)) => self.engine(now, realtime::Input::Audio(&audio)),
                agent::Output::Far(command) => {
                    if let Some(command) = to_command(command) {
                        self.engine(now, realtime::Input::Command(command));
                    }
                }
                output => self.outputs.push_back(Output::Agent(output)),
            }
        }
    }

    fn event(&mut self, now: Instant, event: realtime::Event) {
        use realtime::Event;
        let far = match event {
            Event::Ready { .. } => {
                self.reached = Some(Reached::Session);
                FarEvent::Ready
            }
            Event::ExpiresSoon { now } => FarEvent::ExpiresSoon { now },
            Event::Lost(loss) => {
                let undelivered = self.input.rate().samples_in_ms(self.unsent.as_millis().min(60_000) as u32)
                    * self.input.sample_bytes();
                self.unsent = Duration::ZERO;
                self.reached = Some(Reached::Lost { fatal: loss.fatal });
                let input =
                    agent::Input::Lost { fatal: loss.fatal, code: loss.code, message: loss.message, undelivered };
                return self.agent(now, input);
            }
            Event::SpeechStarted { .. } => {
                self.outputs.push_back(Output::CallerSpeech(true));
                FarEvent::SpeechStarted
            }
            Event::SpeechStopped { .. } => {
                self.outputs.push_back(Output::CallerSpeech(false));
                FarEvent::SpeechStopped
            }
            Event::Committed { item_id } => FarEvent::Committed { item_id },
            Event::IdleTimeout => FarEvent::IdleTimeout,
            Event::ItemPlaced { .. } => return,
            Event::ResponseStarted { response_id } => FarEvent::ResponseStarted { response_id },
            Event::ItemStarted { response_id, item_id } => FarEvent::ItemStarted { response_id, item_id },
            Event::Audio { response_id, item_id, content_index, audio } => {
                let audio = match audio {
                    realtime::Audio::Pcm { samples, rate } => agent::Audio::Pcm { samples, rate },
                    realtime::Audio::Mulaw(bytes) => agent::Audio::Mulaw(bytes),
                    realtime::Audio::Alaw(bytes) => agent::Audio::Alaw(bytes),
                };
                FarEvent::Audio { response_id, item_id, content_index, audio }
            }
            Event::Text { response_id, item_id, text, whole } => FarEvent::Text { response_id, item_id, text, whole },
            Event::Transcript { response_id, item_id, text, whole } => {
                FarEvent::Transcript { response_id, item_id, text, whole }
            }
            Event::UserTranscript { item_id, text, whole } => FarEvent::CallerTranscript { item_id, text, whole },
            Event::UserTranscriptFailed { error, .. } => refused(error),
            Event::FunctionCall { response_id, call_id, name, arguments } => {
                FarEvent::FunctionCall { response_id, call_id, name, arguments }
            }
            Event::ResponseDone { response_id, status } => {
                let outcome = match status {
                    ResponseStatus::Completed => Outcome::Completed,
                    ResponseStatus::Cancelled { .. } => Outcome::Cancelled,
                    ResponseStatus::Incomplete { reason } => Outcome::Incomplete(reason),
                    ResponseStatus::Failed(error) => Outcome::Failed { code: error.code, message: error.message },
                };
                FarEvent::ResponseDone { response_id, outcome }
            }
            Event::RateLimits(limits) => return self.outputs.push_back(Output::RateLimits(limits)),
            Event::Error(error) if error.class == ErrorClass::Harmless => return,
            Event::Error(error) => refused(error),
        };
        self.agent(now, agent::Input::Far(far));
    }
}

fn refused(error: realtime::ApiError) -> FarEvent {
    FarEvent::Refused {
        response: error.operation == Some(Operation::Respond),
        response_running: error.code == "conversation_already_has_active_response",
        code: error.code,
        message: error.message,
    }
}

fn to_command(command: FarCommand) -> Option<Command> {
    Some(match command {
        FarCommand::Respond { instructions } => Command::Respond { instructions },
        FarCommand::Cancel { response_id, tell } => Command::Cancel { response_id, tell },
        FarCommand::Truncate { item_id, content_index, audio_end_ms } => {
            Command::Truncate { item_id, content_index, audio_end_ms }
        }
        FarCommand::Delete { item_id } => Command::Delete { item_id },
        FarCommand::Message { speaker, text, after } => {
            let role = match speaker {
                agent::Speaker::Caller => Role::User,
                agent::Speaker::Agent => Role::Assistant,
            };
            Command::Message { role, text, after }
        }
        FarCommand::FunctionOutput { call_id, output } => Command::FunctionOutput { call_id, output },
        FarCommand::Commit => Command::Commit,
        FarCommand::Append(_) => return None,
    })
}

#[cfg(test)]
#[path = "conversation_tests.rs"]
mod tests;
