//! The agent: inputs, timers, what follows from them, and the state they amount to.
//!
//! The state is not stored but derived from what is going on, after every input: so it cannot be stuck in what is over.
//! Whatever is waited for has a time by which it is given up.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::barge_in::Cut;
use super::caller::{CallerAudio, CallerBounds};
use super::config::{AgentConfig, Greeting, SpeechTrigger, TurnTaking, VoiceMode};
use super::history::History;
use super::link::Link;
use super::playback::{Owner, Playback};
use super::speech::{Speech, Spoken};
use super::tools::{self, Action};
use super::{AgentStats, Audio, BargeInCause, Component, Event, FarCommand, Input, Output, Source, Speaker, State};

/// How long the keys of one entry may be apart.
const DTMF_PAUSE: Duration = Duration::from_secs(2);
/// Most keys of one entry.
const MAX_DTMF: usize = 32;
/// Ids of responses that are over or given up.
const REMEMBERED: usize = 32;
/// Before a response is asked for again.
pub(super) const RESPOND_AGAIN: Duration = Duration::from_millis(500);

/// A response of the far end that is wanted.
#[derive(Debug)]
pub(super) struct Response {
    pub(super) id: String,
    /// Its messages.
    pub(super) items: Vec<String>,
}

/// The words of one message.
#[derive(Clone, Debug)]
pub(super) struct Words {
    pub(super) item_id: String,
    pub(super) text: String,
}

/// A response we want the far end to make.
#[derive(Debug)]
pub(super) enum Request {
    None,
    /// As soon as it can be asked for.
    Wanted {
        instructions: Option<String>,
        not_before: Option<Instant>,
    },
    /// It is asked for; `cancel`: and not wanted any more.
    Sent {
        until: Instant,
        cancel: bool,
    },
}

/// A function call without an answer.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) id: String,
    pub(super) until: Instant,
}

/// The policy of one conversation.
#[derive(Debug)]
pub struct Agent {
    pub(super) config: AgentConfig,
    pub(super) outputs: VecDeque<Output>,
    /// State of the generator behind the jitter.
    pub(super) random: u64,
    told: State,
    pub(super) ended: Option<State>,
    /// Why the state will change.
    pub(super) why: (String, String),

    pub(super) link: Link,
    pub(super) caller: CallerAudio,
    pub(super) history: History,

    pub(super) response: Option<Response>,
    /// The response the far end is at, wanted or not.
    pub(super) far_active: Option<String>,
    /// Responses over or given up.
    pub(super) past: VecDeque<String>,
    pub(super) request: Request,
    pub(super) refusals: u32,
    /// The far end owes a response by then.
    pub(super) turn_until: Option<Instant>,
    /// The last sign of life of a response.
    pub(super) far_since: Option<Instant>,
    pub(super) calls: Vec<Call>,
    pub(super) respond_after_calls: bool,
    /// An action that waits until all is said.
    pub(super) deferred: Option<(String, Action)>,

    pub(super) far_hears: bool,
    pub(super) local_hears: bool,
    /// When speech has lasted long enough to interrupt.
    pub(super) barge_in_at: Option<Instant>,
    pub(super) cuts: VecDeque<Cut>,
    pub(super) barge_ins: u64,

    pub(super) playback: Playback,
    pub(super) speech: Speech,
    /// The agent is being heard: from the first audio of a turn to the end of its last.
    pub(super) uttering: bool,
    pub(super) words: Vec<Words>,
    apologised: bool,

    dtmf: String,
    dtmf_until: Option<Instant>,
    quiet_since: Option<Instant>,
    idle_count: u32,
    /// The last turn failed.
    pub(super) trouble: bool,
}

impl Agent {
    /// A conversation that waits for [`Input::Start`]. `seed` decides the jitter of its reconnects: any number, another for
    /// each conversation.
    pub fn new(config: AgentConfig, seed: u64) -> Self {
        let bytes = |time: Duration| (time.as_secs_f64() * config.caller_bytes_per_second as f64) as usize;
        let bounds = CallerBounds {
            backlog: bytes(config.reconnect.audio),
            tail: bytes(config.reconnect.handed_on),
            sample: config.caller_sample_bytes,
        };
        Self {
            outputs: VecDeque::new(),
            random: seed,
            told: State::Idle,
            ended: None,
            why: Default::default(),
            link: Link::default(),
            caller: CallerAudio::new(bounds),
            history: History::new(config.history),
            response: None,
            far_active: None,
            past: VecDeque::new(),
            request: Request::None,
            refusals: 0,
            turn_until: None,
            far_since: None,
            calls: Vec::new(),
            respond_after_calls: false,
            deferred: None,
            far_hears: false,
            local_hears: false,
            barge_in_at: None,
            cuts: VecDeque::new(),
            barge_ins: 0,
            playback: Playback::default(),
            speech: Speech::new(config.sentences.clone()),
            uttering: false,
            words: Vec::new(),
            apologised: false,
            dtmf: String::new(),
            dtmf_until: None,
            quiet_since: None,
            idle_count: 0,
            trouble: false,
            config,
        }
    }

    /// Takes one input at the time `now`. Drain [`poll`](Self::poll) before the next.
    pub fn handle(&mut self, now: Instant, input: Input) {
        if self.ended.is_some() {
            return;
        }
        match input {
            Input::Start => self.start(now),
            Input::Stop => self.finish(State::Idle),
            Input::Far(event) => self.far(now, event),
            Input::Lost { fatal, code, message, undelivered } => self.lost(now, fatal, (code, message), undelivered),
            Input::LocalSpeech(speaking) => self.local_speech(now, speaking),
            Input::Dtmf(key) => self.dtmf(now, key),
            Input::Interrupt => self.interrupt(BargeInCause::Operator),
            Input::Playback { played, idle } => self.playback.position(played, idle),
            Input::Flushed { id, played } => {
                for (id, stretch) in self.playback.flushed(id, played) {
                    self.resolve(id, &stretch);
                }
            }
            Input::NotPlayed(length) => self.playback.not_queued(length),
            Input::SpeechAudio { sentence, audio } => {
                if self.speech.audio(now, sentence) {
                    self.play(Owner::Sentence(sentence), Source::Sentence(sentence), audio);
                }
            }
            Input::SpeechDone { sentence } => {
                self.speech.complete(sentence, false);
            }
            Input::SpeechFailed { sentence, code, message } => self.speech_failed(now, sentence, code, message),
            Input::ToolResult { call_id, output } => self.tool_result(&call_id, output),
            Input::Say(text) => self.say(&text),
            Input::UserText(text) => {
                if self.link.is_ready() {
                    self.command(FarCommand::Message { speaker: Speaker::Caller, text: text.clone(), after: None });
                    self.want_response(None);
                }
                self.history.caller_words("", &text);
            }
            Input::Timeout => {}
        }
        if self.ended.is_none() {
            self.timers(now);
        }
        if self.ended.is_none() {
            self.settle(now);
        }
    }

    /// The caller's audio in the wire's bytes, in order: `true` when it is for the far end now, `false` when it is kept here
    /// until there is one, and comes as a command then. One copy; a few hundred bytes each time.
    pub fn captured(&mut self, audio: &[u8]) -> bool {
        if self.link.is_ready() && self.ended.is_none() {
            self.caller.sent(audio);
            return true;
        }
        if self.ended.is_none() && !self.link.is_idle() {
            self.caller.keep(audio);
        }
        false
    }

    /// The next output of the last input, in order; `None` when all are taken.
    pub fn poll(&mut self) -> Option<Output> {
        let output = self.outputs.pop_front();
        if output.is_none() && self.outputs.capacity() > 32 {
            self.outputs = VecDeque::new();
        }
        output
    }

    /// When [`Input::Timeout`] is wanted; `None` when never.
    pub fn deadline(&self) -> Option<Instant> {
        if self.ended.is_some() {
            return None;
        }
        let ready = self.link.is_ready();
        let not_before = match &self.request {
            Request::Wanted { not_before, .. } => not_before.filter(|_| ready),
            Request::Sent { until, .. } => Some(*until),
            Request::None => None,
        };
        [
            self.link.deadline(),
            self.barge_in_at,
            self.turn_until,
            not_before,
            self.response_deadline(),
            self.calls.iter().map(|call| call.until).min(),
            self.speech.since().map(|since| since + self.config.speech_timeout),
            self.dtmf_until.filter(|_| ready),
            self.idle_deadline(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Where the conversation stands.
    pub fn state(&self) -> State {
        if let Some(state) = self.ended {
            return state;
        }
        if let Some(state) = self.link.state() {
            return state;
        }
        let busy = self.response.is_some()
            || !matches!(self.request, Request::None)
            || self.turn_until.is_some()
            || !self.calls.is_empty()
            || self.speech.is_busy();
        match () {
            () if self.uttering => State::Speaking,
            () if busy => State::Processing,
            () if self.trouble => State::Error,
            () => State::Listening,
        }
    }

    /// Whether the last event was told.
    pub const fn is_over(&self) -> bool {
        self.ended.is_some()
    }

    /// Whether a function call with this id waits for its answer.
    pub fn awaits(&self, call_id: &str) -> bool {
        self.calls.iter().any(|call| call.id == call_id)
    }

    /// Counts and state, for health.
    pub fn stats(&self) -> AgentStats {
        let ms = |bytes: u64| bytes * 1_000 / (self.config.caller_bytes_per_second as u64).max(1);
        AgentStats {
            connected: self.link.is_ready() && self.ended.is_none(),
            tts_queue_depth: self.speech.depth(),
            ring_buffer_ms: ms(self.caller.waiting() as u64),
            ring_dropped_ms: ms(self.caller.dropped()),
            barge_in_count: self.barge_ins,
            reconnect_attempts: self.link.total_attempts(),
            sentences_dropped: self.speech.overflowed(),
        }
    }

    pub(super) fn event(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }

    pub(super) fn command(&mut self, command: FarCommand) {
        if self.link.is_ready() {
            self.outputs.push_back(Output::Far(command));
        }
    }

    pub(super) fn play(&mut self, owner: Owner, source: Source, audio: Audio) {
        let length = audio.duration();
        if length.is_zero() {
            return;
        }
        self.playback.push(owner, length);
        self.uttering = true;
        self.trouble = false;
        self.outputs.push_back(Output::Play { source, audio });
    }

    pub(super) fn is_past(&self, response_id: &str) -> bool {
        self.past.iter().any(|id| id == response_id)
    }

    pub(super) fn put_past(&mut self, response_id: String) {
        if !self.is_past(&response_id) {
            if self.past.len() == REMEMBERED {
                self.past.pop_front();
            }
            self.past.push_back(response_id);
        }
    }

    pub(super) fn want_response(&mut self, instructions: Option<String>) {
        // One that is asked for already answers everything said before it; its instructions are its own.
        let not_before = match &self.request {
            Request::Wanted { not_before, .. } => *not_before,
            _ => None,
        };
        self.request = Request::Wanted { instructions, not_before };
    }

    /// The agent says something of its own accord.
    pub(super) fn say(&mut self, text: &str) {
        match self.config.voice {
            VoiceMode::Synthesis => self.speech.say(text),
            VoiceMode::FarEnd => self.want_response(Some(format!(
                "Say exactly this to the caller, in these words, and nothing else: {text}"
            ))),
        }
    }

    pub(super) fn greet(&mut self) {
        match self.config.greeting.clone() {
            Some(Greeting::Text(text)) => self.say(&text),
            Some(Greeting::Instructions(instructions)) => self.want_response(Some(instructions)),
            None => {}
        }
    }

    /// Somebody hears the caller begin.
    pub(super) fn caller_began(&mut self, now: Instant, trigger: SpeechTrigger) {
        self.idle_count = 0;
        self.quiet_since = None;
        if self.config.barge_in.speech != trigger {
            return;
        }
        if self.config.barge_in.min_speech.is_zero() {
            self.interrupt(trigger_cause(trigger));
        } else {
            self.barge_in_at = Some(now + self.config.barge_in.min_speech);
        }
    }

    /// Somebody hears the caller stop.
    pub(super) fn caller_stopped(&mut self, trigger: SpeechTrigger) {
        if self.config.barge_in.speech == trigger {
            self.barge_in_at = None;
        }
    }

    fn local_speech(&mut self, now: Instant, speaking: bool) {
        if self.local_hears == speaking {
            return;
        }
        self.local_hears = speaking;
        if speaking {
            return self.caller_began(now, SpeechTrigger::Local);
        }
        self.caller_stopped(SpeechTrigger::Local);
        if self.config.turns == TurnTaking::Local {
            if self.link.is_ready() {
                self.command(FarCommand::Commit);
                self.want_response(None);
            } else {
                self.link.owe_commit();
            }
        }
    }

    fn dtmf(&mut self, now: Instant, key: char) {
        if !matches!(key, '0'..='9' | 'A'..='D' | 'a'..='d' | '*' | '#') {
            return;
        }
        self.idle_count = 0;
        self.quiet_since = None;
        if self.config.barge_in.dtmf {
            self.interrupt(BargeInCause::Dtmf);
        }
        if self.config.dtmf_to_model && !self.link.is_idle() {
            if self.dtmf.len() < MAX_DTMF {
                self.dtmf.push(key.to_ascii_uppercase());
            }
            self.dtmf_until = Some(if key == '#' { now } else { now + DTMF_PAUSE });
        }
    }

    fn speech_failed(&mut self, now: Instant, sentence: u64, code: String, message: String) {
        let since = self.speech.since();
        let Some(text) = self.speech.complete(sentence, true).map(|sentence| sentence.text.clone()) else { return };
        self.trouble = true;
        let latency = since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        self.event(Event::SpeechFailed { text, code, message, latency });
        if let Some(apology) = self.config.apology.clone().filter(|_| !self.apologised) {
            self.apologised = true;
            self.speech.say_next(&apology);
        }
    }

    pub(super) fn tool_result(&mut self, call_id: &str, output: String) {
        let Some(at) = self.calls.iter().position(|call| call.id == call_id) else { return };
        self.calls.remove(at);
        self.command(FarCommand::FunctionOutput { call_id: call_id.to_owned(), output });
        self.respond_after_calls = true;
    }

    fn response_deadline(&self) -> Option<Instant> {
        let since = self.far_since.filter(|_| self.response.is_some() || self.far_active.is_some())?;
        Some(since + self.config.response_timeout)
    }

    fn idle_deadline(&self) -> Option<Instant> {
        Some(self.quiet_since? + self.config.idle.as_ref()?.after)
    }

    /// Does what is due.
    fn timers(&mut self, now: Instant) {
        let due = |at: Option<Instant>| at.is_some_and(|at| now >= at);
        self.link_timer(now);
        if due(self.barge_in_at) {
            self.barge_in_at = None;
            self.interrupt(trigger_cause(self.config.barge_in.speech));
        }
        if due(self.turn_until) {
            self.turn_until = None;
            self.far_end_failed("timeout", "the far end did not respond to the caller in time");
        }
        if due(self.response_deadline()) {
            self.response_stalled();
        }
        if let Request::Sent { until, cancel } = self.request
            && now >= until
        {
            self.request = Request::None;
            if !cancel {
                self.far_end_failed("timeout", "the far end did not begin the response asked for in time");
            }
        }
        let late: Vec<String> =
            self.calls.iter().filter(|call| now >= call.until).map(|call| call.id.clone()).collect();
        for call_id in late {
            let message = format!("no answer to function call {call_id} in time");
            self.event(Event::Error { component: Component::Tool, code: "timeout".into(), message });
            self.deferred.take_if(|(id, _)| *id == call_id);
            self.tool_result(&call_id, tools::failure("no answer in time"));
        }
        if due(self.speech.since().map(|since| since + self.config.speech_timeout))
            && let Some(sentence) = self.speech.being_made().map(|sentence| sentence.id)
        {
            self.outputs.push_back(Output::AbortSynthesis { sentence });
            self.speech_failed(now, sentence, "timeout".into(), "no speech in time".into());
        }
        if self.link.is_ready() && due(self.dtmf_until) {
            self.dtmf_until = None;
            let keys = std::mem::take(&mut self.dtmf);
            let text = format!("(The caller pressed {keys} on the telephone's keypad.)");
            self.history.caller_words("", &text);
            self.command(FarCommand::Message { speaker: Speaker::Caller, text, after: None });
            self.want_response(None);
        }
        if due(self.idle_deadline()) {
            self.quiet_since = Some(now);
            self.idle(true);
        }
    }

    /// Nobody said anything for the idle timeout; `ours`: the one that is counted here.
    pub(super) fn idle(&mut self, ours: bool) {
        self.idle_count += 1;
        self.event(Event::Idle { count: self.idle_count });
        let Some(idle) = &self.config.idle else { return };
        if idle.hang_up_at > 0 && self.idle_count >= idle.hang_up_at {
            let action = Action::HangUp { reason: "nobody speaks".into() };
            self.outputs.push_back(Output::Act { call_id: String::new(), action });
        } else if let (true, Some(instructions)) = (ours, idle.instructions.clone()) {
            self.want_response(Some(instructions));
        }
    }

    pub(super) fn far_end_failed(&mut self, code: &str, message: &str) {
        self.trouble = true;
        self.event(Event::Error { component: Component::FarEnd, code: code.to_owned(), message: message.to_owned() });
    }

    /// What follows from the input, whatever it was.
    fn settle(&mut self, now: Instant) {
        while let Some(sentence) = self.speech.next(now, &self.playback) {
            let (sentence, text) = (sentence.id, sentence.text.clone());
            self.outputs.push_back(Output::Synthesize { sentence, text });
        }
        self.end_turn();
        self.act_deferred();
        self.ask_for_response(now);
        self.renew();
        let quiet = self.state() == State::Listening && !self.far_hears && !self.local_hears;
        self.quiet_since = if quiet { self.quiet_since.or(Some(now)) } else { None };
        self.tell_state(false);
    }

    /// When everything of the agent's turn was said and heard.
    fn end_turn(&mut self) {
        if self.response.is_some() || self.speech.is_busy() || self.playback.is_playing() {
            return;
        }
        if !self.uttering && self.words.is_empty() {
            return;
        }
        self.uttering = false;
        self.apologised = false;
        let stretch = self.playback.turn_over();
        let spoken = self.speech.turn_over();
        let words = std::mem::take(&mut self.words);
        match self.config.voice {
            VoiceMode::FarEnd => {
                for words in words {
                    self.history.agent(&words.text);
                }
            }
            VoiceMode::Synthesis => {
                // Where every sentence was spoken the far end's memory is right as it is.
                let failed = |item_id: &str| {
                    spoken.iter().any(|s: &Spoken| s.failed && s.sentence.item_id.as_deref() == Some(item_id))
                };
                let resync = words.into_iter().map(|words| (failed(&words.item_id), words)).collect();
                self.remember_spoken(&stretch, &spoken, resync);
            }
        }
    }

    fn act_deferred(&mut self) {
        let over = !self.uttering && self.response.is_none() && !self.speech.is_busy();
        if over && let Some((call_id, action)) = self.deferred.take() {
            self.outputs.push_back(Output::Act { call_id, action });
        }
    }

    fn ask_for_response(&mut self, now: Instant) {
        if self.respond_after_calls && self.calls.is_empty() {
            self.respond_after_calls = false;
            self.want_response(None);
        }
        let free = self.link.is_ready() && self.far_active.is_none() && !self.far_hears && self.calls.is_empty();
        if !free {
            return;
        }
        match &mut self.request {
            Request::Wanted { instructions, not_before } if not_before.is_none_or(|at| now >= at) => {
                let instructions = instructions.take();
                let until = now + self.config.response_timeout;
                self.request = Request::Sent { until, cancel: false };
                self.command(FarCommand::Respond { instructions });
            }
            _ => {}
        }
    }

    pub(super) fn tell_state(&mut self, last: bool) {
        let state = self.state();
        if state == self.told && !last {
            return;
        }
        self.told = state;
        // The reason belongs to what went wrong.
        let (code, message) = match state {
            State::Reconnecting | State::Failed => std::mem::take(&mut self.why),
            _ => Default::default(),
        };
        self.event(Event::State { state, last, code, message });
    }
}

fn trigger_cause(trigger: SpeechTrigger) -> BargeInCause {
    match trigger {
        SpeechTrigger::Local => BargeInCause::LocalVad,
        SpeechTrigger::FarEnd | SpeechTrigger::Off => BargeInCause::FarVad,
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
