//! The agent: what an input, an event of the engine or a deadline means for which part, and the state that results.
//!
//! The state is not stored but derived from what is going on, after every input: so it cannot be stuck in what is over.
//!
//! | file | job |
//! |---|---|
//! | here | inputs, engine events, deadlines, and what follows from all of them |
//! | `caller` | speech and keys of the caller, turns, interruptions |
//! | `answer` | responses of the model, what is spoken of them and asked for |
//! | `ending` | the end of what was being said, of a session, of the conversation |

mod answer;
mod caller;
mod ending;

use std::time::{Duration, Instant};

use super::backlog::{CallerAudio, CallerBounds};
use super::choices::{SpeechTrigger, VoiceMode};
use super::config::{AgentConfig, Greeting};
use super::figures::Figures;
use super::filler::FillerTimer;
use super::hearing::Hearing;
use super::history::{History, Past};
use super::idle::IdleTimer;
use super::interruption::{Interruptions, Told};
use super::judgement::Judgement;
use super::keypad::Keypad;
use super::link::Link;
use super::outputs::{Output, Outputs};
use super::playback::{Owner, Playback};
use super::requests::{Askable, Purpose, Refused};
use super::speech::Speech;
use super::tool_calls::ToolCalls;
use super::tools::ToolPolicy;
use super::turns::Turns;
use super::utterance::Utterance;
use super::{AgentStats, BargeInCause, Event, Recording, Source, Speaker, State};
use crate::conversation::engine::TurnTaking;
use crate::conversation::engine::{self, Command, Failure, FailureClass, Loss, Memory, Refuses};
use crate::peer::{self, Input, Tell};

/// Audio that has waited goes in pieces of this length.
const PIECE: Duration = Duration::from_millis(200);

/// How a conversation ends whose service is gone for good.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Parting {
    /// It has failed.
    Failed,
    /// The service has ended it.
    Ended,
}

/// The policy of one conversation.
#[derive(Debug)]
pub struct Agent {
    config: AgentConfig,
    out: Outputs,
    told: State,
    ended: Option<State>,
    link: Link,
    caller: CallerAudio,
    history: History,
    turns: Turns,
    tool_calls: ToolCalls,
    hearing: Hearing,
    judgement: Judgement,
    interruptions: Interruptions,
    playback: Playback,
    speech: Speech,
    utterance: Utterance,
    keypad: Keypad,
    idle: IdleTimer,
    filler: FillerTimer,
    figures: Figures,
    /// What is to be said first in the first session.
    greeting: Option<Greeting>,
    /// The service is gone for good; the conversation ends, so, when the last words have been heard.
    parting: Option<Parting>,
    /// Length of the caller's audio from before the session, ms. It is the first audio of the session.
    early_ms: u64,
    /// The last turn failed.
    trouble: bool,
    /// It has said something.
    spoken: bool,
    /// The call is on hold.
    held: bool,
    /// The caller is masked.
    masked: bool,
    /// The caller hears that the agent thinks.
    thinking: bool,
    /// The session that is about to be ready goes on with the last.
    goes_on: bool,
    /// What the session that is being configured has been told.
    recalled: Option<Vec<Memory>>,
}

impl Agent {
    /// A conversation that waits for [`Input::Start`]. `seed` decides the jitter of its reconnects: any number, another for
    /// each conversation.
    pub fn new(config: AgentConfig, seed: u64) -> Self {
        let bytes = |time: Duration| (time.as_secs_f64() * config.caller_bytes_per_second as f64) as usize;
        let bounds = CallerBounds {
            backlog: bytes(config.reconnect.audio),
            tail: bytes(config.reconnect.handed_on.max(config.pre_roll)),
            sample: config.caller_sample_bytes,
        };
        Self {
            out: Outputs::new(config.engine),
            told: State::Idle,
            ended: None,
            link: Link::new(config.reconnect.retry, seed),
            caller: CallerAudio::new(bounds),
            history: History::new(config.history),
            turns: Turns::new(config.response_timeout),
            tool_calls: ToolCalls::new(config.tools.clone(), config.tool_timeout),
            hearing: Hearing::new(config.barge_in),
            judgement: Judgement::new(
                config.barge_in.false_interruption,
                config.remarks.clone(),
                config.engine.transcribes,
            ),
            interruptions: Interruptions::new(config.voice, config.sentences.clone()),
            playback: Playback::default(),
            speech: Speech::new(config.sentences.clone()),
            utterance: Utterance::default(),
            keypad: Keypad::new(config.keys),
            idle: IdleTimer::new(config.idle.clone()),
            filler: FillerTimer::new(config.filler.clone()),
            greeting: config.greeting.clone(),
            parting: None,
            figures: Figures::new(config.caller_encoding, config.caller_bytes_per_second),
            early_ms: 0,
            trouble: false,
            spoken: false,
            held: false,
            masked: false,
            thinking: false,
            goes_on: false,
            recalled: None,
            config,
        }
    }

    /// Takes one input at the time `now`; those of the connection are the engine's and mean nothing here. Drain
    /// [`poll`](Self::poll) before the next.
    pub fn handle(&mut self, now: Instant, input: Input<'_>) {
        if self.ended.is_some() {
            return;
        }
        match input {
            Input::Start => {
                self.link.start(&mut self.out);
                // It waits for no service.
                if let Some(Greeting::Recorded { words }) = &self.greeting {
                    self.speech.recite(Recording::Greeting, words);
                    self.greeting = None;
                }
            }
            Input::Stop { .. } if self.parting.is_some() => self.part_now(now),
            Input::Stop { call_ended, .. } => {
                let reason = self.out.ending().filter(|_| call_ended || self.tool_calls.hands_over());
                self.finish(now, State::Idle, reason.unwrap_or(if call_ended { "call_ended" } else { "stopped" }));
            }
            Input::LocalSpeech(_) | Input::LocalLasting | Input::Dtmf { .. } if self.tool_calls.hands_over() => {}
            Input::LocalSpeech(speaking) => self.local_speech(now, speaking),
            Input::LocalLasting => {
                if let Some(cause) = self.hearing.local_lasting() {
                    self.interrupt(now, cause);
                }
            }
            Input::Dtmf { digit, .. } => self.dtmf(now, digit),
            Input::Interrupt => {
                self.interrupt(now, BargeInCause::Operator);
            }
            Input::Held(held) => {
                self.held = held;
                self.idle.hold(self.held || self.masked);
            }
            // A caller who gives a card number is silent to the agent, and not idle.
            Input::Masked(masked) => {
                self.masked = masked;
                self.idle.hold(self.held || self.masked);
            }
            Input::Playback { played, idle, .. } => {
                self.playback.position(played, idle);
                self.figures.heard(now, self.playback.current().heard_in_all());
            }
            Input::Flushed { id, played } => {
                for (id, segment) in self.playback.flushed(id, played) {
                    let told = Told { history: &mut self.history, figures: &mut self.figures, out: &mut self.out };
                    self.interruptions.confirmed(id, &segment, Some(now), told);
                }
            }
            Input::NotPlayed(length) => self.playback.not_queued(length),
            Input::SpeechAudio { sentence, audio } if self.speech.audio(now, sentence) => {
                self.figures.speech_came(now);
                self.speak(Owner::Sentence(sentence), Source::Sentence(sentence), audio);
            }
            Input::SpeechMarks { sentence, marks } => self.speech.marks(sentence, marks),
            Input::SpeechDone { sentence } => {
                self.speech.complete(sentence, false);
            }
            Input::SpeechFailed { sentence, code, message } => self.speech_failed(now, sentence, code, message),
            Input::ToolResult { call_id, output } if self.tool_calls.has_transferred(&call_id, &output) => {
                self.finish(now, State::Idle, "agent_transfer");
            }
            Input::ToolResult { call_id, output } => self.tool_result(&call_id, output),
            Input::Say(_) if self.parting.is_some() => {}
            Input::Say(text) => self.say(Purpose::Say, &text),
            Input::SendText(text) => self.told(Tell::by_caller(text)),
            Input::Tell(tell) => self.told(tell),
            _ => {}
        }
        self.follow(now);
    }

    /// Takes one event of the engine but [`engine::Event::Lost`]. Ignored without a session, of which `Ready` tells.
    pub fn event(&mut self, now: Instant, event: engine::Event) {
        if self.ended.is_some() {
            return;
        }
        if event == engine::Event::Ready {
            self.ready(now);
        } else if event == engine::Event::Resumed {
            self.goes_on = true;
        } else if event == engine::Event::Opening {
            let past = self.past();
            self.out.recall(past.clone());
            self.recalled = Some(past);
        } else if self.link.is_ready() {
            self.engine_event(now, event);
        }
        self.follow(now);
    }

    /// The connection, or the attempt at one, is gone; `undelivered` of the last bytes of caller's audio handed on never left
    /// this machine.
    pub fn lost(&mut self, now: Instant, loss: Loss, undelivered: usize) {
        if self.ended.is_some() {
            return;
        }
        match self.link.lost(now, (loss.code, loss.message), &mut self.out) {
            None => {}
            Some(session) => {
                if session {
                    self.session_gone(undelivered);
                }
                if loss.fatal || !self.link.retry(now, &mut self.out) {
                    self.part(now);
                }
            }
        }
        self.follow(now);
    }

    /// The service asks for no other attempt to connect before this. To be said before [`lost`](Self::lost).
    pub fn not_before(&mut self, at: Instant) {
        self.link.not_before(at);
    }

    /// The caller's audio in the wire's bytes, in order: `true` when it is for the engine now, `false` when it is kept here
    /// until there is a session. One copy; a few hundred bytes each time.
    pub fn captured(&mut self, audio: &[u8]) -> bool {
        if self.ended.is_none() {
            self.figures.captured(audio);
        }
        if self.tool_calls.hands_over() {
            return false;
        }
        if self.link.is_ready() && self.ended.is_none() {
            self.caller.sent(audio);
            return true;
        }
        if self.ended.is_none() && !self.link.is_idle() {
            self.caller.keep(audio);
        }
        false
    }

    /// What the model may do from now on.
    pub fn set_tools(&mut self, tools: ToolPolicy) {
        self.tool_calls.set_policy(tools);
    }

    /// An event of the operator's is sent to the service as it is; nothing happens without a session.
    pub fn send_raw(&mut self, event: &str) {
        if self.link.is_ready() && self.ended.is_none() {
            self.out.command(Command::Raw { event: event.to_owned() });
        }
    }

    /// The next output of the last input, in order; `None` when all are taken.
    pub fn poll(&mut self) -> Option<Output> {
        self.out.pop()
    }

    /// When [`Input::Timeout`] is wanted; `None` when never.
    pub fn deadline(&self) -> Option<Instant> {
        if self.ended.is_some() {
            return None;
        }
        let session = self.link.is_ready();
        [
            self.link.deadline(),
            self.hearing.deadline(),
            self.judgement.deadline(),
            self.turns.deadline(session),
            self.tool_calls.deadline(),
            self.speech.since().map(|since| since + self.config.speech_timeout),
            self.keypad.deadline().filter(|_| session),
            self.idle.deadline(),
            self.filler.deadline(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Where the conversation stands.
    pub fn state(&self) -> State {
        if let Some(state) = self.ended.or_else(|| self.link.state().filter(|_| self.parting.is_none())) {
            return state;
        }
        let busy =
            self.parting.is_some() || self.turns.is_busy() || self.tool_calls.is_waiting() || self.speech.is_busy();
        match () {
            () if self.utterance.audible => State::Speaking,
            () if busy => State::Processing,
            () if self.trouble => State::Error,
            () => State::Listening,
        }
    }

    /// Whether the last event was reported.
    pub const fn is_over(&self) -> bool {
        self.ended.is_some()
    }

    /// Whether a function call with this id waits for its answer.
    pub fn awaits(&self, call_id: &str) -> bool {
        self.tool_calls.awaits(call_id)
    }

    /// Counts and state, for health.
    pub fn stats(&self) -> AgentStats {
        let ms = |bytes: u64| bytes * 1_000 / (self.config.caller_bytes_per_second as u64).max(1);
        AgentStats {
            connected: self.link.is_ready() && self.ended.is_none(),
            tts_queue_depth: self.speech.depth(),
            ring_buffer_ms: ms(self.caller.waiting() as u64),
            ring_dropped_ms: ms(self.caller.dropped()),
            barge_in_count: self.interruptions.count(),
            reconnect_attempts: self.link.total_attempts(),
            usage: self.out.usage(),
            talk: self.figures.talk(),
            sentences_dropped: self.speech.overflowed(),
            spoken: self.spoken,
        }
    }

    /// Whether the caller listens to something else, or the service is gone for good.
    fn is_away(&self) -> bool {
        self.parting.is_some() || self.tool_calls.hands_over()
    }

    fn engine_event(&mut self, now: Instant, event: engine::Event) {
        use engine::Event as E;
        match event {
            E::Ready | E::Resumed | E::Opening | E::Named { .. } => {}
            E::Lost(_) | E::Link(_) | E::RateLimits(_) | E::Changed(_) | E::Raw(_) => {}
            E::Used(usage) => self.out.used(usage),
            E::SpeechTook(time) => self.figures.speech_took(time),
            E::ExpiresSoon { now } => self.link.expires(now),
            E::SpeechStarted { start_ms } => self.speech_started(now, start_ms),
            E::SpeechStopped => {
                self.figures.caller_stopped(now);
                // The turn is still to be committed: a session that is replaced in between would lose it.
                if self.hearing.engine_stopped()
                    && !self.config.engine.full_duplex
                    && let TurnTaking::Engine { responds, .. } = self.config.turns
                {
                    self.turns.speech_stopped(now, responds);
                    if responds {
                        self.figures.asked(now);
                    }
                }
            }
            E::Committed { item_id, previous } => self.committed(now, &item_id, previous.as_deref()),
            E::Interrupted => {
                // What follows is the service's own affair.
                self.cut_off(now, BargeInCause::EngineVad);
                self.turns.service_is_free();
            }
            E::IdleTimeout => self.idle_elapsed(false),
            E::ResponseStarted { response_id, request } => self.response_started(now, response_id, request),
            E::ItemStarted { response_id, item_id } => {
                if self.is_wanted(now, &response_id) {
                    self.words_of(&item_id);
                }
            }
            E::Audio { response_id, item_id, content_index, audio } => {
                // In text mode the voice is ours: two at once are none.
                if self.config.voice == VoiceMode::Engine && self.is_wanted(now, &response_id) {
                    self.figures.model_came(now);
                    self.words_of(&item_id);
                    self.speak(Owner::Item { item_id: item_id.clone(), content_index }, Source::Item(item_id), audio);
                }
            }
            E::Text { response_id, item_id, text, whole } => self.text(now, &response_id, &item_id, &text, whole),
            E::Transcript { response_id, item_id, text, whole } => {
                if self.is_wanted(now, &response_id) {
                    self.figures.model_came(now);
                    let words = self.words_of(&item_id);
                    // The operator gets the whole text when it is known how much of it was heard.
                    if whole {
                        words.text = text;
                    } else {
                        words.text.push_str(&text);
                        self.transcript(Speaker::Agent, item_id, text, false);
                    }
                }
            }
            E::Marks { response_id, item_id, marks } => {
                if self.is_wanted(now, &response_id) {
                    self.words_of(&item_id).mark(marks);
                }
            }
            E::Corrected { item_id, text, said } => self.corrected(&item_id, &text, said),
            E::Ended { message } => self.service_ended(message),
            E::CallerTranscript { item_id, text, whole } => {
                if whole {
                    self.history.caller_words(&item_id, &text);
                }
                let judged = self.judgement.words(&item_id, &text, whole);
                self.transcript(Speaker::Caller, item_id, text, whole);
                self.judged(now, judged);
            }
            E::CallerTranscriptFailed { item_id, failure: Failure { code, message, .. } } => {
                let judged = self.judgement.words_unknown(&item_id);
                self.judged(now, judged);
                self.out.event(Event::TranscriptFailed { item_id, code, message });
            }
            E::ToolCall { response_id, call_id, name, arguments } => {
                if self.is_wanted(now, &response_id) {
                    self.figures.called();
                    let memory = (&mut self.history, &mut self.out);
                    self.tool_calls.called(now, &response_id, (call_id, name, arguments), memory);
                }
            }
            E::CalledElsewhere { response_id, call_id, server, name, arguments } => {
                if self.is_wanted(now, &response_id) {
                    self.figures.called();
                    self.tool_calls.called_elsewhere(server, (call_id, name, arguments), &mut self.out);
                }
            }
            E::ToolCancelled { call_id } => {
                self.tool_calls.cancelled(&call_id, &mut self.history, &mut self.out);
            }
            E::Approval { response_id, request_id, server, name, arguments } => {
                if self.is_wanted(now, &response_id) {
                    self.figures.called();
                    let memory = (&mut self.history, &mut self.out);
                    self.tool_calls.approval_asked(now, &response_id, (request_id, server, name, arguments), memory);
                }
            }
            E::ToolsRan { response_id } => {
                if self.is_wanted(now, &response_id) {
                    self.tool_calls.ran_elsewhere();
                }
            }
            E::ResponseDone { response_id, outcome } => self.response_done(now, response_id, outcome),
            E::Failed(failure) => self.engine_failed(now, failure),
        }
    }

    /// A request of ours failed.
    fn engine_failed(&mut self, now: Instant, failure: Failure) {
        match failure.refuses {
            Refuses::Response(_) => match self.turns.refused(now, &failure) {
                Refused::Settled | Refused::Busy => {}
                Refused::Unknown if failure.class == FailureClass::Busy => {}
                Refused::Unknown | Refused::Retried => self.failed(None, failure),
                // What was asked for has been said already.
                Refused::GivenUp if failure.class == FailureClass::Harmless => {}
                Refused::GivenUp => self.answer_failed(None, &failure),
            },
            Refuses::Commit => {
                if self.judgement.commit_settled() {
                    self.judgement.no_words();
                }
                self.turns.commit_settled(false);
                self.failed(None, failure);
            }
            Refuses::Nothing => self.failed(None, failure),
        }
    }

    /// A session is there.
    fn ready(&mut self, now: Instant) {
        let goes_on = std::mem::take(&mut self.goes_on) || self.config.engine.resumes;
        let Some(session) = self.link.ready(now, &mut self.out) else { return };
        if session.resumed && goes_on {
            self.utterance.session_kept();
            self.tool_calls.tell_results(&mut self.out);
        } else {
            // Before the first session the caller may have heard a recording.
            let known = self.recalled.take().unwrap_or_default();
            let past = self.past();
            let same = known.iter().zip(&past).take_while(|(known, past)| known == past).count();
            past.into_iter().skip(same).for_each(|memory| self.out.command(memory.into()));
        }
        if !session.resumed {
            let rate = (self.config.caller_bytes_per_second as u64).max(1);
            self.early_ms = self.caller.waiting() as u64 * 1_000 / rate;
        } else {
            self.early_ms = 0;
        }
        let piece = (PIECE.as_secs_f64() * self.config.caller_bytes_per_second as f64) as usize;
        while let Some(audio) = self.caller.take(piece) {
            self.out.append(audio);
        }
        if session.commit_owed {
            self.judgement.commit(false);
            self.turns.commit(now, &mut self.out);
        }
        if !session.resumed {
            self.greet();
        }
    }

    /// Says what is to be said first, if that has not been said.
    fn greet(&mut self) {
        match self.greeting.take() {
            Some(Greeting::Text(text)) => self.say(Purpose::Greeting, &text),
            Some(Greeting::Instructions(instructions)) => self.ask_for(Purpose::Greeting, instructions),
            Some(Greeting::Recorded { .. }) | None => {}
        }
    }

    /// What a new session has to know of the old one.
    fn past(&mut self) -> Vec<Memory> {
        let memory = |past| match past {
            Past::Words(speaker, text) => Memory::Words { speaker, text: text.to_owned() },
            Past::Call(call_id, name, arguments) => {
                let (name, arguments) = (name.to_owned(), arguments.to_owned());
                Memory::Call { call_id: call_id.to_owned(), name, arguments }
            }
            Past::Output(call_id, output) => Memory::Output { call_id: call_id.to_owned(), output: output.to_owned() },
        };
        let mut past: Vec<_> = self.history.entries().map(memory).collect();
        past.extend(self.tool_calls.open_calls(&self.history));
        past
    }

    /// What is due, and what follows from the input, whatever it was.
    fn follow(&mut self, now: Instant) {
        if self.ended.is_none() {
            self.timers(now);
        }
        if self.ended.is_none() {
            self.settle(now);
        }
    }

    fn timers(&mut self, now: Instant) {
        self.link.timer(now, &mut self.out);
        let local = self.config.turns == TurnTaking::Local;
        if self.hearing.too_long(now, local) {
            self.turn_too_long(now, local);
        }
        if self.turns.owed_too_long(now) {
            self.turn_failed(None, "timeout", "the service did not respond to the caller in time");
        }
        if self.turns.stalled(now, &mut self.out) {
            self.speech.text_lost();
            self.turn_failed(None, "timeout", "the service's response stopped in the middle");
        }
        if self.turns.asked_too_long(now) {
            self.turn_failed(None, "timeout", "the service did not begin the response asked for in time");
        }
        self.tool_calls.give_up_late(now, &mut self.history, &mut self.out);
        let speech_due = self.speech.since().is_some_and(|since| now >= since + self.config.speech_timeout);
        if speech_due && let Some(sentence) = self.speech.being_made().map(|sentence| sentence.id) {
            self.out.push(peer::Output::AbortSynthesis { sentence });
            self.speech_failed(now, sentence, "timeout".into(), "no speech in time".into());
        }
        while self.link.is_ready()
            && let Some(text) = self.keypad.take(now)
        {
            self.told(Tell::by_caller(&text));
        }
        if self.idle.is_due(now) {
            self.idle_elapsed(true);
        }
        if let Some(text) = self.filler.take_due(now) {
            self.say(Purpose::Filler, &text);
        }
    }

    fn settle(&mut self, now: Instant) {
        while let Some(sentence) = self.speech.next(now, &self.playback) {
            let (sentence, text) = (sentence.id, sentence.text.clone());
            if let Some(recording) = self.speech.being_made().and_then(|sentence| sentence.recording) {
                self.out.push(peer::Output::Recite { sentence, recording });
                continue;
            }
            let first = self.speech.is_first();
            self.figures.speech_asked(now);
            self.out.push(peer::Output::Synthesize { sentence, text, first });
        }
        if self.judgement.is_paused() && !self.is_saying() {
            // Nothing is left that could go on.
            let paused = self.judgement.end(now);
            self.go_on(paused, false);
        }
        let ended = self.judgement.follow(now, self.hearing.hears());
        self.go_on(ended, true);
        self.end_turn();
        let silent = !self.utterance.audible && !self.turns.has_response() && !self.speech.is_busy();
        if silent && self.parting.is_some() {
            return self.part_now(now);
        }
        if silent {
            self.tool_calls.act_deferred(now, &mut self.out);
        }
        if self.tool_calls.take_respond() {
            self.turns.functions_returned();
            self.turns.want_answer();
        }
        self.filler.follow(now, self.tool_calls.runs(), silent && !self.hearing.hears());
        let hears = match self.config.turns {
            TurnTaking::Engine { .. } => self.hearing.engine_hears(),
            TurnTaking::Local => self.hearing.hears(),
        };
        // Where an answer to words is asked for with the interruption, the model first learns what of its own was heard.
        let settled = !self.config.barge_in.pauses() || self.interruptions.is_settled();
        if self.link.is_ready() && self.turns.is_free() && !hears && settled {
            let quiet = !self.hearing.hears() && !self.utterance.audible && !self.speech.is_busy();
            let askable = Askable { answers: !self.tool_calls.is_waiting(), patient: quiet };
            if self.turns.ask(askable, now, &mut self.out) {
                self.figures.asked(now);
            }
        }
        let quiet = self.state() == State::Listening && !self.hearing.hears();
        if self.link.should_renew(quiet && self.interruptions.is_settled()) {
            // Everything handed on goes before the close.
            self.session_gone(0);
            self.link.renew(&mut self.out);
        }
        let quiet = self.state() == State::Listening && !self.hearing.hears();
        self.idle.quiet(now, quiet);
        self.tell_state(false);
    }

    /// When everything of the agent's turn was said and heard.
    fn end_turn(&mut self) {
        if self.turns.has_response() || self.speech.is_busy() || self.playback.is_playing() {
            return;
        }
        if !self.utterance.is_begun() {
            return;
        }
        let segment = self.playback.turn_over();
        let spoken = self.speech.turn_over();
        self.words_heard(&segment, spoken);
    }

    fn tell_state(&mut self, last: bool) {
        let state = self.state();
        // Not over the caller's own words, and not before the last words.
        let thinks =
            self.config.thinking_sound && state == State::Processing && !self.hearing.hears() && !self.is_away();
        if std::mem::replace(&mut self.thinking, thinks) != thinks {
            self.out.push(peer::Output::Thinking(thinks));
        }
        if state == self.told && !last {
            return;
        }
        self.told = state;
        // The reason belongs to what went wrong.
        let (code, message) = match state {
            State::Reconnecting | State::Failed => self.link.take_why(),
            State::Idle if last && self.parting == Some(Parting::Ended) => self.link.take_why(),
            _ => Default::default(),
        };
        self.out.event(Event::State { state, last, code, message });
    }
}

impl AgentConfig {
    /// Makes the policy what the engine can do.
    pub fn fit(&mut self, engine: &dyn engine::Engine) {
        self.engine = engine.capabilities();
        self.turns = self.engine.turns;
        if self.turns == TurnTaking::Local && self.barge_in.speech == SpeechTrigger::Engine {
            self.barge_in.speech = SpeechTrigger::Local;
        }
        if matches!(self.turns, TurnTaking::Engine { interrupts: true, .. }) {
            // What the service has cut off cannot go on.
            self.barge_in.false_interruption = Duration::ZERO;
        }
        if self.engine.greets {
            self.greeting.take_if(|greeting| matches!(greeting, Greeting::Text(_)));
        }
        let input = engine.input();
        self.caller_bytes_per_second = input.bytes_per_second();
        self.caller_sample_bytes = input.encoding.sample_bytes();
        self.caller_encoding = input.encoding;
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;

#[cfg(test)]
#[path = "judgement_tests.rs"]
mod judgement_tests;
