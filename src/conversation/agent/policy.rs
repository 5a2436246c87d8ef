//! The agent: what an input, an event of the engine or a deadline means for which part, and the state that results.
//!
//! The state is not stored but derived from what is going on, after every input: so it cannot be stuck in what is over.

use std::time::{Duration, Instant};

use super::backlog::{CallerAudio, CallerBounds};
use super::choices::{SpeechTrigger, VoiceMode};
use super::config::{AgentConfig, Greeting};
use super::figures::Figures;
use super::filler::FillerTimer;
use super::hearing::{Hearing, LONGEST_TURN, Onset};
use super::history::{History, Past};
use super::idle::IdleTimer;
use super::interruption::{Interruptions, Told};
use super::judgement::{FalseInterruption, Judged, Judgement};
use super::keypad::Keypad;
use super::link::Link;
use super::memory;
use super::outputs::{Output, Outputs};
use super::pending::PendingInterruption;
use super::playback::{Owner, Playback, PlayedSegment};
use super::requests::{Askable, Purpose, Refused};
use super::speech::{Sentence, Speech, Spoken};
use super::tool_calls::ToolCalls;
use super::tools::{self, ToolPolicy};
use super::turns::{Begun, Response, Turns};
use super::utterance::{Utterance, Words};
use super::{AgentStats, BargeInCause, Component, Event, Recording, Source, Speaker, State};
use crate::conversation::engine::TurnTaking;
use crate::conversation::engine::{self, Command, Failure, FailureClass, Loss, Outcome, Refuses};
use crate::peer::{self, Input, MonoAudio, Tell};

/// Audio that has waited goes in pieces of this length.
const PIECE: Duration = Duration::from_millis(200);

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
    /// The service has failed for good; the conversation ends when the last words have been heard.
    parting: bool,
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
            parting: false,
            figures: Figures::new(config.caller_encoding, config.caller_bytes_per_second),
            early_ms: 0,
            trouble: false,
            spoken: false,
            held: false,
            masked: false,
            thinking: false,
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
            Input::Stop { .. } if self.parting => self.finish(now, State::Failed, "failed"),
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
            Input::Say(_) if self.parting => {}
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
        if let Some(state) = self.ended.or_else(|| self.link.state().filter(|_| !self.parting)) {
            return state;
        }
        let busy = self.parting || self.turns.is_busy() || self.tool_calls.is_waiting() || self.speech.is_busy();
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
        self.parting || self.tool_calls.hands_over()
    }

    fn engine_event(&mut self, now: Instant, event: engine::Event) {
        use engine::Event as E;
        match event {
            E::Ready | E::Named { .. } | E::Lost(_) | E::RateLimits(_) | E::Changed(_) | E::Raw(_) => {}
            E::Used(usage) => self.out.used(usage),
            E::ExpiresSoon { now } => self.link.expires(now),
            E::SpeechStarted { start_ms } => self.speech_started(now, start_ms),
            E::SpeechStopped => {
                self.figures.caller_stopped(now);
                // The turn is still to be committed: a session that is replaced in between would lose it.
                if self.hearing.engine_stopped()
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
        let Some(session) = self.link.ready(now, &mut self.out) else { return };
        if session.resumed && self.config.engine.resumes {
            self.tool_calls.tell_results(&mut self.out);
        } else {
            // Before the first session the caller may have heard a recording.
            self.tell_history();
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

    /// Tells a new session what the old one knew.
    fn tell_history(&mut self) {
        for past in self.history.entries() {
            self.out.command(match past {
                Past::Words(speaker, text) => Command::Message { speaker, text: text.to_owned(), after: None },
                Past::Call(call_id, name, arguments) => {
                    let (name, arguments) = (name.to_owned(), arguments.to_owned());
                    Command::ToolCall { call_id: call_id.to_owned(), name, arguments }
                }
                Past::Output(call_id, output) => {
                    Command::ToolOutput { call_id: call_id.to_owned(), output: output.to_owned() }
                }
            });
        }
        self.tool_calls.tell_open(&self.history, &mut self.out);
    }

    /// Tells the operator what somebody said.
    fn transcript(&mut self, speaker: Speaker, item_id: String, text: String, whole: bool) {
        let previous_item_id = self.history.before(&item_id).map(str::to_owned);
        self.out.event(Event::Transcript { speaker, item_id, previous_item_id, text, whole, heard_text: None });
    }

    /// The engine hears the caller begin.
    fn speech_started(&mut self, now: Instant, start_ms: Option<u64>) {
        self.trouble = false;
        self.idle.broken();
        self.turns.speech_started();
        if start_ms.is_some_and(|start| start < self.early_ms) {
            self.hearing.engine_began_early(now);
        } else {
            let onset = self.hearing.engine_began(now, self.is_saying());
            self.begin_speech(now, onset);
        }
    }

    /// The caller begins to speak, and this is what it means.
    fn begin_speech(&mut self, now: Instant, onset: Onset) {
        match onset {
            Onset::Nothing => {}
            Onset::Pauses(cause) => {
                if self.judgement.pause(now, cause) {
                    self.out.push(peer::Output::Hold(true));
                }
            }
            Onset::Interrupts(cause) => {
                self.interrupt(now, cause);
            }
        }
    }

    /// What the caller's words mean for a pause, or for playback that went on too soon.
    fn judged(&mut self, now: Instant, judged: Judged) {
        let Judged::Interrupts { cause, over } = judged else { return };
        self.interrupt(now, cause);
        if over {
            self.figures.turn_counts();
            self.turns.want_answer();
        } else {
            self.hearing.words();
        }
    }

    /// Playback that waits goes on, unless an interruption has ended it.
    fn go_on(&mut self, ended: Option<FalseInterruption>, tell: bool) {
        let Some(FalseInterruption { cause, paused, text }) = ended else { return };
        self.out.push(peer::Output::Hold(false));
        if tell {
            self.figures.went_on();
            self.out.event(Event::FalseInterruption { cause, paused, text });
        }
    }

    fn committed(&mut self, now: Instant, item_id: &str, previous: Option<&str>) {
        self.hearing.turn_over();
        let answer = self.turns.answer().and_then(|response| response.items.first());
        self.history.caller_turn(item_id, previous, answer.map(String::as_str));
        match self.config.turns {
            TurnTaking::Engine { responds, .. } => {
                let counts = self.turn_counts();
                self.judgement.committed(item_id, !counts && self.judgement.goes_by_words());
                if counts || responds {
                    self.figures.turn_counts();
                }
                if responds {
                    self.figures.asked(now);
                }
                self.turns.committed(now, item_id, responds, counts);
            }
            TurnTaking::Local => {
                let open = self.judgement.commit_settled();
                self.judgement.committed(item_id, open);
                self.turns.commit_settled(!open);
            }
        }
    }

    /// Whether the caller's turn, which ends now, is to be answered. A short remark during what the agent says is not: an answer
    /// to a "mm-hm" would come behind its words.
    fn turn_counts(&mut self) -> bool {
        self.hearing.take_counts() || !self.is_saying()
    }

    /// Whether the agent speaks, or is about to answer what the caller has said until now.
    fn is_saying(&self) -> bool {
        self.utterance.audible || self.speech.is_busy() || self.turns.is_answering()
    }

    fn response_started(&mut self, now: Instant, response_id: String, request: Option<u64>) {
        let mut begun = self.turns.started(now, response_id, request, &mut self.out);
        let by_itself = begun == Begun::Wanted && request.is_none();
        if by_itself && (self.tool_calls.hands_over() || self.idle.take_passed_over()) {
            self.turns.give_up(false, &mut self.out);
            begun = Begun::Cancelled;
        }
        if begun == Begun::Wanted && request.is_none() {
            // A service that commits no turns answers the last one.
            self.figures.turn_counts();
        }
        if begun != Begun::Past {
            self.hearing.turn_over();
            self.trouble &= begun == Begun::Cancelled;
        }
    }

    /// Whether something belongs to the response in progress. Where there is none, one that was not announced begins with it.
    fn is_wanted(&mut self, now: Instant, response_id: &str) -> bool {
        if self.turns.is_past(response_id) {
            return false;
        }
        if !self.turns.has_response() {
            self.response_started(now, response_id.to_owned(), None);
        }
        self.turns.sign_of(now, response_id)
    }

    /// The words of a message of the response in progress.
    fn words_of(&mut self, item_id: &str) -> &mut Words {
        self.turns.note_item(item_id);
        self.history.agent_turn(item_id);
        self.utterance.words_of(item_id)
    }

    fn text(&mut self, now: Instant, response_id: &str, item_id: &str, text: &str, whole: bool) {
        if !self.is_wanted(now, response_id) {
            return;
        }
        self.figures.model_came(now);
        let words = self.words_of(item_id);
        let news = if !whole || words.text.is_empty() { text } else { "" };
        words.text.push_str(news);
        if !news.is_empty() {
            self.transcript(Speaker::Agent, item_id.to_owned(), news.to_owned(), false);
        }
        if self.config.voice == VoiceMode::Synthesis {
            self.speech.text(Some(item_id), news);
            if whole {
                self.speech.text_end();
            }
        }
    }

    fn response_done(&mut self, now: Instant, response_id: String, outcome: Outcome) {
        if matches!(outcome, Outcome::Failed(_)) {
            self.tool_calls.response_failed(&response_id, &mut self.history, &mut self.out);
        }
        let Some(response) = self.turns.done(response_id) else { return };
        match &outcome {
            Outcome::Cancelled => self.speech.text_lost(),
            _ => self.speech.text_end(),
        }
        let interrupted = outcome == Outcome::Cancelled;
        let mute = !self.sounds(&response.items, false);
        match outcome {
            Outcome::Failed(failure) if !mute => {
                self.turn_failed(Some(&response.id), &failure.code, &failure.message);
            }
            Outcome::Failed(failure) => {
                if failure.class == FailureClass::Transient && self.turns.retry(now, failure.retry_after) {
                    self.failed(Some(&response.id), failure);
                } else {
                    self.answer_failed(Some(&response.id), &failure);
                }
            }
            // The service did it by itself. A response that the caller interrupted was given up before.
            Outcome::Cancelled if mute => self.turns.unheard(now, true),
            Outcome::Incomplete(reason) => {
                let message = format!("the response was cut short: {reason}");
                let response_id = Some(response.id.clone());
                self.out.event(Event::Error { component: Component::Engine, response_id, code: reason, message });
            }
            Outcome::Completed | Outcome::Cancelled => {}
        }
        if self.config.voice == VoiceMode::Engine {
            memory::correct_refused(self.playback.current(), &response.items, &mut self.out);
        }
        let text = self.utterance.text_of(&response.items);
        self.out.response(response.id, text, interrupted, None);
    }

    /// The turn failed; the conversation goes on with the next.
    fn turn_failed(&mut self, response_id: Option<&str>, code: &str, message: &str) {
        self.trouble = true;
        let response_id = response_id.map(str::to_owned);
        let (code, message) = (code.to_owned(), message.to_owned());
        self.out.event(Event::Error { component: Component::Engine, response_id, code, message });
    }

    /// There will be no answer, and the caller has heard nothing.
    fn answer_failed(&mut self, response_id: Option<&str>, failure: &Failure) {
        self.turn_failed(response_id, &failure.code, &failure.message);
        if self.config.voice == VoiceMode::Synthesis {
            self.apologise();
        }
    }

    /// Tells the operator of a failure that has no further consequence here.
    fn failed(&mut self, response_id: Option<&str>, Failure { class, code, message, .. }: Failure) {
        if class != FailureClass::Harmless {
            let response_id = response_id.map(str::to_owned);
            self.out.event(Event::Error { component: Component::Engine, response_id, code, message });
        }
    }

    fn apologise(&mut self) {
        if let Some(apology) = self.config.apology.as_deref().filter(|_| !self.utterance.apologised) {
            self.utterance.apologised = true;
            self.speech.say_next(apology);
        }
    }

    /// Whether the caller has heard some of these messages; with `begun` false, whether they have or will.
    fn sounds(&self, items: &[String], begun: bool) -> bool {
        let heard = |owner: &Owner| !begun || self.playback.has_begun(owner);
        match self.config.voice {
            VoiceMode::Engine => self.playback.current().owners().iter().any(|owner| match owner {
                Owner::Item { item_id, .. } => items.contains(item_id) && heard(owner),
                Owner::Sentence(_) => false,
            }),
            VoiceMode::Synthesis => self.speech.sentences_of(items).any(|id| heard(&Owner::Sentence(id))),
        }
    }

    /// Whether the caller has heard nothing of the last thing that the agent says or is about to say.
    fn is_unheard(&self) -> bool {
        match (self.turns.response(), self.utterance.last_item()) {
            (Some(response), _) => !self.sounds(&response.items, true),
            (None, Some(item_id)) => !self.sounds(&[item_id.to_owned()], true),
            (None, None) => false,
        }
    }

    /// Queues speech for the caller.
    fn speak(&mut self, owner: Owner, source: Source, audio: MonoAudio) {
        let length = audio.duration();
        if length.is_zero() {
            return;
        }
        self.trouble = false;
        if self.playback.has_no_room_for(&owner) {
            // A gap in the middle of a message cannot be told to the model.
            self.playback.refuse(owner, length);
            self.out.push(peer::Output::NoRoom(length));
            return;
        }
        self.playback.push(owner, length);
        self.utterance.audible = true;
        self.spoken = true;
        self.out.push(peer::Output::Speak { source, audio });
    }

    /// The agent says something of its own accord.
    fn say(&mut self, purpose: Purpose, text: &str) {
        match self.config.voice {
            VoiceMode::Synthesis => self.speech.say(text),
            VoiceMode::Engine => {
                let exactly = "Say exactly this to the caller, in these words, and nothing else";
                self.ask_for(purpose, format!("{exactly}: {text}"));
            }
        }
    }

    /// A function call has its result. Words in it for the caller are said at once, in place of an answer of the model.
    fn tool_result(&mut self, call_id: &str, output: String) {
        let Some(words) = tools::words_for_the_caller(&output) else {
            return self.tool_calls.answered(call_id, output, &mut self.history, &mut self.out);
        };
        if self.tool_calls.answered_for_the_caller(call_id, output, &mut self.history, &mut self.out) {
            self.turns.functions_returned();
            self.say(Purpose::Say, &words);
        }
    }

    /// The model is to say something by these instructions.
    fn ask_for(&mut self, purpose: Purpose, instructions: String) {
        if !self.turns.want(purpose, Some(instructions)) {
            let (code, message) =
                ("overflow".to_owned(), "too many texts wait to be spoken: one was dropped".to_owned());
            self.out.event(Event::Error { component: Component::Engine, response_id: None, code, message });
        }
    }

    /// Gives the model a message, and asks for an answer where one is wanted.
    fn told(&mut self, Tell { speaker, text, respond }: Tell<'_>) {
        if self.link.is_ready() {
            self.out.command(Command::Message { speaker, text: text.to_owned(), after: None });
            if respond {
                self.turns.want_answer();
            }
        }
        self.history.said(speaker, text);
    }

    fn local_speech(&mut self, now: Instant, speaking: bool) {
        if !self.hearing.local_changed(now, speaking) {
            return;
        }
        if speaking {
            self.idle.broken();
            if self.config.turns == TurnTaking::Local && self.link.is_ready() {
                // What came since the last turn is no part of this one: silence, echo, remarks.
                let most = self.config.pre_roll.as_millis() as usize * self.config.caller_bytes_per_second / 1_000;
                let audio = self.caller.begin_turn(most);
                self.out.command(Command::BeginTurn { audio });
            }
            let onset = self.hearing.local_began(self.is_saying());
            self.begin_speech(now, onset);
            return;
        }
        self.hearing.local_stopped();
        self.figures.caller_stopped(now);
        match self.config.turns {
            TurnTaking::Local => {
                let counts = self.turn_counts();
                if counts || self.judgement.goes_by_words() {
                    self.commit(now, counts);
                }
            }
            TurnTaking::Engine { .. } => self.turns.caller_silent(now),
        }
    }

    /// The caller has been heard without a pause for too long to be a turn. Nothing waits for its end any more: requests are made,
    /// and silence of the agent counts as idle. Where the module ends the turns, this one ends here.
    fn turn_too_long(&mut self, now: Instant, local: bool) {
        let seconds = LONGEST_TURN.as_secs();
        let message = format!("the caller has been heard for {seconds} s without a pause: music or noise?");
        self.out.event(Event::Error {
            component: Component::Engine,
            response_id: None,
            code: "endless_turn".into(),
            message,
        });
        if local {
            self.commit(now, true);
        }
    }

    /// The caller's turn is over, as the module finds. If it does not count by itself, its words decide.
    fn commit(&mut self, now: Instant, counts: bool) {
        if self.link.is_ready() {
            self.caller.turn_over();
            if counts {
                self.figures.turn_counts();
            }
            self.judgement.commit(!counts);
            self.turns.commit(now, &mut self.out);
        } else {
            self.link.owe_commit();
        }
    }

    fn dtmf(&mut self, now: Instant, digit: char) {
        if !Keypad::is_key(digit) {
            return;
        }
        self.idle.broken();
        let interrupts = self.hearing.keys_interrupt() && self.interrupt(now, BargeInCause::Dtmf);
        if !self.link.is_idle() {
            self.keypad.press(now, digit, interrupts);
        }
    }

    /// The caller or the operator interrupts: whether the agent was saying something, or about to. What was cut off before it
    /// was heard is asked for again.
    fn interrupt(&mut self, now: Instant, cause: BargeInCause) -> bool {
        match cause {
            BargeInCause::EngineVad | BargeInCause::LocalVad => self.turns.caller_speaks(),
            BargeInCause::Operator => self.turns.clear(),
            BargeInCause::Dtmf => {}
        }
        let unheard = self.is_unheard();
        let interrupts = self.cut_off(now, cause);
        // The operator knows what they do. The model learns of a key, and answers that.
        if interrupts && unheard && cause != BargeInCause::Operator {
            self.turns.unheard(now, cause != BargeInCause::Dtmf);
        }
        interrupts
    }

    /// Ends what the agent says: whether it said something, or was about to.
    fn cut_off(&mut self, now: Instant, cause: BargeInCause) -> bool {
        self.tool_calls.interrupted(&mut self.history, &mut self.out);
        let queued = !self.playback.current().owners().is_empty();
        let paused = self.judgement.end(now);
        if !self.utterance.audible && !self.turns.has_response() && !self.speech.is_busy() {
            self.go_on(paused, false);
            return false;
        }
        // The ear first.
        let flush = queued.then(|| self.playback.flush());
        if let Some(id) = flush {
            self.out.push(peer::Output::Flush { id });
        }
        // After the flush, so that nothing of what is flushed is heard.
        self.go_on(paused, false);
        let (sentence, spoken) = self.speech.abort();
        if let Some(sentence) = sentence {
            self.out.push(peer::Output::AbortSynthesis { sentence });
        }
        self.utterance.audible = false;
        let itself = matches!(self.config.turns, TurnTaking::Engine { interrupts: true, .. })
            && cause == BargeInCause::EngineVad;
        let interruption = PendingInterruption {
            flush,
            cause,
            figures: self.figures.interrupted(now),
            cancelled: self.turns.give_up(itself, &mut self.out),
            words: self.utterance.take_words(),
            spoken,
            stale: !self.link.is_ready(),
        };
        let told = Told { history: &mut self.history, figures: &mut self.figures, out: &mut self.out };
        self.interruptions.add(interruption, told);
        true
    }

    fn speech_failed(&mut self, now: Instant, sentence: u64, code: String, message: String) {
        let since = self.speech.since();
        let Some(Sentence { text, recording, .. }) = self.speech.complete(sentence, true).cloned() else { return };
        self.trouble = true;
        let latency = since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        match recording {
            // Said instead, once somebody can say it.
            Some(Recording::Greeting) if !text.is_empty() => {
                self.greeting = Some(Greeting::Text(text.clone()));
                if self.link.is_ready() {
                    self.greet();
                }
            }
            Some(Recording::Greeting | Recording::Fallback) => {}
            None if self.parting => {}
            None => self.apologise(),
        }
        self.out.event(Event::SpeechFailed { text, code, message, latency });
    }

    fn idle_elapsed(&mut self, ours: bool) {
        if let Some(instructions) = self.idle.elapsed(ours, &mut self.out) {
            self.ask_for(Purpose::Idle, instructions);
        }
    }

    /// The session and all that was in it are gone; what is being heard goes on.
    fn session_gone(&mut self, undelivered: usize) {
        self.caller.broken(undelivered);
        let cut_off = self.turns.session_gone();
        self.link.session_gone();
        self.hearing.session_gone();
        self.judgement.session_gone();
        // The messages are gone with their ids: nothing can be truncated any more.
        match self.config.voice {
            VoiceMode::Engine => {
                let unfinished = cut_off.as_ref().map_or(&[][..], |response| &response.items);
                self.utterance.session_gone(unfinished, self.config.engine.resumes);
            }
            VoiceMode::Synthesis => drop(self.utterance.take_words()),
        }
        if let Some(Response { id, items }) = cut_off {
            let text = self.utterance.text_of(&items);
            self.out.response(id, text, true, None);
        }
        self.speech.forget_items();
        self.interruptions.session_gone();
        self.history.forget_ids();
    }

    /// The service has failed for good: the last words, if there are any, and the end.
    fn part(&mut self, now: Instant) {
        match self.config.fallback.take() {
            Some(fallback) if fallback.recorded => self.speech.recite(Recording::Fallback, &fallback.words),
            Some(fallback) => self.speech.say(&fallback.words),
            None => return self.finish(now, State::Failed, "failed"),
        }
        self.parting = true;
    }

    /// The end, once: nothing more is heard, said or asked.
    fn finish(&mut self, now: Instant, state: State, reason: &'static str) {
        let (sentence, spoken) = self.speech.abort();
        if let Some(sentence) = sentence {
            self.out.push(peer::Output::AbortSynthesis { sentence });
        }
        if self.playback.is_playing() {
            let id = self.playback.flush();
            self.out.push(peer::Output::Flush { id });
        }
        let paused = self.judgement.end(now);
        self.go_on(paused, false);
        self.end_talk(spoken);
        self.link.end(&mut self.out);
        self.out.event(Event::Summary { reason, talk: self.figures.talk(), usage: self.out.usage() });
        self.caller.clear();
        self.ended = Some(state);
        self.tell_state(true);
    }

    /// Tells the operator what the caller has heard of the last words.
    fn end_talk(&mut self, spoken: Vec<Spoken>) {
        // No session is to learn of it any more.
        self.out.set_session(false);
        let unfinished = self.turns.response().map_or(&[][..], |response| &response.items);
        self.utterance.session_gone(unfinished, true);
        let (flushed, mut last) = self.playback.end();
        for (id, segment) in flushed {
            let told = Told { history: &mut self.history, figures: &mut self.figures, out: &mut self.out };
            if !self.interruptions.confirmed(id, &segment, None, told) {
                last = segment;
            }
        }
        if self.utterance.is_begun() {
            self.words_heard(&last, spoken);
        }
    }

    /// The agent's turn is over, and so much of it was heard.
    fn words_heard(&mut self, segment: &PlayedSegment, spoken: Vec<Spoken>) {
        let turn = self.figures.take();
        let words = self.utterance.end();
        match self.config.voice {
            VoiceMode::Engine => {
                memory::own_words(segment, &spoken, &mut self.history, &mut self.out);
                memory::turn_heard(segment, words, &mut self.history, &mut self.out);
            }
            VoiceMode::Synthesis => {
                // Where every sentence was spoken the engine's memory is right as it is.
                let failed = |item_id: &str| {
                    spoken.iter().any(|s: &Spoken| s.failed && s.sentence.item_id.as_deref() == Some(item_id))
                };
                let words = words.into_iter().map(|words| (failed(&words.item_id), words)).collect();
                let rules = &self.config.sentences;
                memory::correct_text(segment, &spoken, words, rules, &mut self.history, &mut self.out);
            }
        }
        self.figures.over(turn, segment.heard_in_all(), None, &mut self.out);
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
        if silent && self.parting {
            return self.finish(now, State::Failed, "failed");
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
