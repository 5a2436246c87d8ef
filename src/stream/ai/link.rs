//! Between the stream's task and the conversation: what happens to the stream goes in, what is to be done comes out.
//!
//! Sans-IO like what it joins: an input, then [`AiLink::poll`] until `None`, and [`AiLink::timeout`] at
//! [`AiLink::deadline`]. Owned by the stream's task. It keeps what only the two together know: the playback position last
//! told, flushes that the media thread has not performed yet, and function calls without an answer. Nothing waits here but
//! the effects of one input.

use std::collections::VecDeque;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::super::conversation::{Conversation, Input, Output, Reached};
use super::super::event::StreamEvent;
use super::plan::AiPlan;
use super::status::AiStatus;
use super::voice::Voice;
use crate::agent::{self, Action, AgentConfig, Audio, Event, Greeting, State, TurnTaking};
use crate::dsp::g711::Law;
use crate::protocol::Fault;
use crate::protocol::openai_realtime::RateLimit;
use crate::tts::SpeechEvent;
use crate::units::SampleRate;

/// Texts for the model that wait for a session.
const EARLY_TEXTS: usize = 64;

/// What the stream's task is to do, in order.
#[derive(Clone, PartialEq, Debug)]
pub enum Effect {
    /// Make a connection; what the last one still has is of no interest. Answer with [`AiLink::opened`] or
    /// [`AiLink::refused`].
    Connect,
    /// Send what waits, then close with 1000, beside whatever comes next; or give up making the connection. No answer.
    Disconnect,
    /// Send a text message that must not be lost.
    Send(String),
    /// Send a message with caller's audio, which may be dropped under pressure.
    SendAudio {
        /// The message.
        message: String,
        /// How long its audio lasts.
        duration: Duration,
    },
    /// Queue audio for the caller; tell [`AiLink::not_played`] what did not fit.
    Play {
        /// Mono.
        samples: Vec<i16>,
        /// Their rate.
        rate: SampleRate,
    },
    /// Drop everything queued; tell [`AiLink::flushed`] when it is known how much was heard, at once where nothing was
    /// queued.
    Flush,
    /// Do something with the call; tell [`AiLink::tool_result`] how it went, unless the id is empty.
    Act {
        /// For the answer.
        call_id: String,
        /// What.
        action: Action,
    },
    /// Tell the operator.
    Event(StreamEvent),
    /// The far end's limits, for the log.
    RateLimits(Vec<RateLimit>),
    /// The far end sent something unusable.
    Fault(Fault),
    /// The conversation is over; the words are empty where it ended as it should.
    Over(String),
}

/// The conversation of a stream.
#[derive(Debug)]
pub struct AiLink {
    conversation: Conversation,
    effects: VecDeque<Effect>,
    /// Texts for the model that came before there was a session.
    early: Vec<String>,
    /// Who speaks what the model writes.
    voice: Option<Voice>,
    /// What is certain or likely to be said, made before it is needed: greeting and apology.
    expected: Vec<String>,
    /// The turns are ours, and so is what is told of them.
    local_turns: bool,
    transcript_deltas: bool,
    /// There was a session.
    begun: bool,
    /// The position last told.
    told: Option<(Duration, bool)>,
    /// Flushes that the media thread has not confirmed.
    flushing: VecDeque<u64>,
    /// Function calls told to the operator, as long as the policy waits for them.
    awaited: Vec<String>,
}

impl AiLink {
    /// A conversation that waits for [`start`](Self::start). `seed` tells it from others in its chances.
    pub fn new(plan: AiPlan, voice: Option<Voice>, transcript_deltas: bool, seed: u64) -> Self {
        Self {
            expected: expected(&plan.agent),
            local_turns: plan.agent.turns == TurnTaking::Local,
            voice,
            conversation: Conversation::new(plan.engine, plan.agent, seed),
            effects: VecDeque::new(),
            early: Vec::new(),
            transcript_deltas,
            begun: false,
            told: None,
            flushing: VecDeque::new(),
            awaited: Vec::new(),
        }
    }

    /// Begins. On a worker.
    pub fn start(&mut self, now: Instant) {
        if let Some(voice) = &mut self.voice {
            std::mem::take(&mut self.expected).iter().for_each(|text| voice.prepare(text));
        }
        self.agent(now, agent::Input::Start);
    }

    /// Ends it: the call is gone, or the operator wants it.
    pub fn stop(&mut self, now: Instant) {
        self.agent(now, agent::Input::Stop);
    }

    /// The connection asked for is up.
    pub fn opened(&mut self, now: Instant, unix_seconds: u64) {
        self.input(now, Input::Opened { unix_seconds });
    }

    /// The connection asked for could not be made; `status` is that of the HTTP answer, if there was one.
    pub fn refused(&mut self, now: Instant, status: Option<u16>, message: &str) {
        self.input(now, Input::Refused { status, message });
    }

    /// The connection asked for is not attempted, as its server is left alone at the moment. That ends a conversation that has
    /// not begun; one that has tries again.
    pub fn left_alone(&mut self, now: Instant, message: &str) {
        self.input(now, Input::LeftAlone { message, fatal: !self.begun });
    }

    /// Whether there was a session: somebody is being talked with.
    pub const fn has_begun(&self) -> bool {
        self.begun
    }

    /// What has become of the last attempt at a session, once.
    pub fn take_reached(&mut self) -> Option<Reached> {
        let reached = self.conversation.take_reached();
        self.begun |= reached == Some(Reached::Session);
        reached
    }

    /// The caller's audio that waits for the socket. To be told before [`text`](Self::text), [`closed`](Self::closed) and
    /// [`timeout`](Self::timeout): should they end the connection, that much is sent again with the next.
    pub fn set_unsent(&mut self, unsent: Duration) {
        self.conversation.set_unsent(unsent);
    }

    /// The connection has ended, not by [`Effect::Disconnect`].
    pub fn closed(&mut self, now: Instant, code: u16, reason: &str) {
        self.input(now, Input::Closed { code, reason });
    }

    /// A text message arrived.
    pub fn text(&mut self, now: Instant, text: &str) {
        self.input(now, Input::Text(text));
    }

    /// A binary message arrived.
    pub fn binary(&mut self, now: Instant) {
        self.input(now, Input::Binary);
    }

    /// [`deadline`](Self::deadline) has passed.
    pub fn timeout(&mut self, now: Instant) {
        self.input(now, Input::Timeout);
    }

    /// Captured audio in the wire's bytes, in order: for the far end, or kept until there is one.
    pub fn audio(&mut self, now: Instant, audio: &[u8]) {
        if let Some((message, duration)) = self.conversation.captured(now, audio) {
            let message = message.to_owned();
            self.effects.push_back(Effect::SendAudio { message, duration });
        }
    }

    /// Where playback stands: what the caller was given since the stream began, and whether nothing waits. Cheap where
    /// nothing has changed.
    pub fn playback(&mut self, now: Instant, played: Duration, idle: bool) {
        if self.told != Some((played, idle)) {
            self.told = Some((played, idle));
            self.agent(now, agent::Input::Playback { played, idle });
        }
    }

    /// Flushes that wait for [`flushed`](Self::flushed).
    pub fn flushes(&self) -> usize {
        self.flushing.len()
    }

    /// The media thread has performed every flush asked for; by the last cut the caller had been given `played`.
    pub fn flushed(&mut self, now: Instant, played: Duration) {
        while let Some(id) = self.flushing.pop_front() {
            self.agent(now, agent::Input::Flushed { id, played });
        }
    }

    /// The end of the last [`Effect::Play`] had no room.
    pub fn not_played(&mut self, now: Instant, length: Duration) {
        self.agent(now, agent::Input::NotPlayed(length));
    }

    /// Our own voice activity detection hears the caller begin (`true`) or stop.
    pub fn local_speech(&mut self, now: Instant, speaking: bool) {
        if self.local_turns {
            self.effects.push_back(Effect::Event(StreamEvent::Speech { speaking }));
        }
        self.agent(now, agent::Input::LocalSpeech(speaking));
    }

    /// Ready when something has come of the sentences to be spoken: for [`spoken`](Self::spoken). On a worker.
    pub fn poll_speech(&mut self, cx: &mut Context<'_>) -> Poll<SpeechEvent> {
        self.voice.as_mut().map_or(Poll::Pending, |voice| voice.poll_next(cx))
    }

    /// Something has come of them.
    pub fn spoken(&mut self, now: Instant, event: SpeechEvent) {
        let Some(voice) = &mut self.voice else { return };
        let rate = voice.rate();
        let (sentence, samples, then) = match event {
            SpeechEvent::Audio { id, samples, rate } => (id, voice.polish(&samples, rate), None),
            SpeechEvent::Done { id, .. } => (id, voice.tail(), Some(agent::Input::SpeechDone { sentence: id })),
            SpeechEvent::Failed { id, error, .. } => {
                let message = error.to_string();
                let failed = agent::Input::SpeechFailed { sentence: id, code: error.code, message };
                (id, voice.tail(), Some(failed))
            }
            SpeechEvent::Switched { .. } | SpeechEvent::Retried { .. } => return,
        };
        if !samples.is_empty() {
            self.agent(now, agent::Input::SpeechAudio { sentence, audio: Audio::Pcm { samples, rate } });
        }
        if let Some(then) = then {
            self.agent(now, then);
        }
    }

    /// The operator has the agent say something.
    pub fn say(&mut self, now: Instant, text: String) {
        self.agent(now, agent::Input::Say(text));
    }

    /// The operator tells the model something; kept until there is a session, up to `EARLY_TEXTS` of them.
    pub fn user_text(&mut self, now: Instant, text: String) {
        if self.conversation.policy().stats().connected {
            self.agent(now, agent::Input::UserText(text));
        } else if self.early.len() < EARLY_TEXTS {
            self.early.push(text);
        } else {
            let fault = "a text was dropped: too many wait for the connection".into();
            self.effects.push_back(Effect::Fault(Fault { reason: fault }));
        }
    }

    /// The operator interrupts.
    pub fn interrupt(&mut self, now: Instant) {
        self.agent(now, agent::Input::Interrupt);
    }

    /// The caller pressed a key.
    pub fn dtmf(&mut self, now: Instant, key: char) {
        self.agent(now, agent::Input::Dtmf(key));
    }

    /// The answer to a function call, or how an [`Effect::Act`] went. Whether somebody waits for it.
    pub fn tool_result(&mut self, now: Instant, call_id: String, output: String) -> bool {
        let awaited = self.conversation.policy().awaits(&call_id);
        if awaited {
            self.agent(now, agent::Input::ToolResult { call_id, output });
        }
        awaited
    }

    /// The next effect of the last input, in order; `None` when all are taken.
    pub fn poll(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// When [`timeout`](Self::timeout) is wanted; `None`: never.
    pub fn deadline(&self) -> Option<Instant> {
        self.conversation.deadline()
    }

    /// State and counts, for health.
    pub fn status(&self) -> AiStatus {
        let policy = self.conversation.policy();
        AiStatus { state: policy.state(), stats: policy.stats(), ..AiStatus::default() }
    }

    /// Function calls told to the operator that wait for their answer, oldest first.
    pub fn awaited(&self) -> &[String] {
        &self.awaited
    }

    /// Whether it has ended.
    pub const fn is_over(&self) -> bool {
        self.conversation.policy().is_over()
    }

    fn agent(&mut self, now: Instant, input: agent::Input) {
        self.input(now, Input::Agent(input));
    }

    fn input(&mut self, now: Instant, input: Input<'_>) {
        self.conversation.handle(now, input);
        while let Some(output) = self.conversation.poll() {
            self.output(output);
        }
        let policy = self.conversation.policy();
        self.awaited.retain(|call_id| policy.awaits(call_id));
        if !self.early.is_empty() && policy.stats().connected {
            // As one, so that there is one answer.
            let text = std::mem::take(&mut self.early).join("\n");
            self.agent(now, agent::Input::UserText(text));
        }
    }

    fn output(&mut self, output: Output) {
        let effect = match output {
            Output::Connect { .. } => Effect::Connect,
            Output::Disconnect => Effect::Disconnect,
            Output::Send(text) => Effect::Send(text),
            Output::SendAudio { message, duration } => Effect::SendAudio { message, duration },
            Output::CallerSpeech(speaking) => Effect::Event(StreamEvent::Speech { speaking }),
            Output::RateLimits(limits) => Effect::RateLimits(limits),
            Output::Fault(fault) => Effect::Fault(fault),
            Output::Agent(output) => return self.agent_output(output),
        };
        self.effects.push_back(effect);
    }

    fn agent_output(&mut self, output: agent::Output) {
        match output {
            // The conversation has translated these.
            agent::Output::Connect { .. } | agent::Output::Disconnect | agent::Output::Far(_) => {}
            agent::Output::Play { audio, .. } => {
                let (samples, rate) = linear(audio);
                self.effects.push_back(Effect::Play { samples, rate });
            }
            agent::Output::Flush { id } => {
                self.flushing.push_back(id);
                self.effects.push_back(Effect::Flush);
            }
            agent::Output::Synthesize { sentence, text } => {
                if let Some(voice) = &mut self.voice {
                    voice.request(sentence, &text);
                }
            }
            agent::Output::AbortSynthesis { sentence } => {
                if let Some(voice) = &mut self.voice {
                    voice.abort(sentence);
                }
            }
            agent::Output::Act { call_id, action } => self.effects.push_back(Effect::Act { call_id, action }),
            agent::Output::Event(Event::Transcript { whole: false, .. }) if !self.transcript_deltas => {}
            agent::Output::Event(event) => {
                if let Event::Action { call_id, builtin: false, .. } = &event {
                    self.awaited.push(call_id.clone());
                }
                let over = match &event {
                    Event::State { state: State::Failed, last: true, code, message } => Some(reason(code, message)),
                    Event::State { last: true, .. } => Some(String::new()),
                    _ => None,
                };
                self.effects.push_back(Effect::Event(StreamEvent::Ai(event)));
                self.effects.extend(over.map(Effect::Over));
            }
        }
    }
}

/// What an agent is going to say first, and when it is in trouble: as the voice is asked for it.
fn expected(policy: &AgentConfig) -> Vec<String> {
    let greeting = match &policy.greeting {
        Some(Greeting::Text(text)) => policy.sentences.sentences(text).into_iter().next(),
        _ => None,
    };
    let apology = policy.apology.iter().map(|text| policy.sentences.voiced(text).into_owned());
    greeting.into_iter().chain(apology).collect()
}

/// Why a conversation failed, in one line that is never empty.
fn reason(code: &str, message: &str) -> String {
    match (code, message) {
        ("", "") => "the conversation failed".to_owned(),
        ("", message) => message.to_owned(),
        (code, message) if message.is_empty() || message.contains(code) => {
            if message.is_empty() {
                code.to_owned()
            } else {
                message.to_owned()
            }
        }
        (code, message) => format!("{message} ({code})"),
    }
}

fn linear(audio: Audio) -> (Vec<i16>, SampleRate) {
    let (law, bytes) = match audio {
        Audio::Pcm { samples, rate } => return (samples, rate),
        Audio::Mulaw(bytes) => (Law::Mu, bytes),
        Audio::Alaw(bytes) => (Law::A, bytes),
    };
    let mut samples = Vec::with_capacity(bytes.len());
    law.decode(&bytes, &mut samples);
    (samples, SampleRate::HZ_8000)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::protocol::openai_realtime::Tool;
    use crate::stream::ai::AiOptions;

    fn link(options: AiOptions) -> AiLink {
        let plan = AiPlan::new(&options, SampleRate::HZ_8000, None).unwrap();
        AiLink::new(plan, None, false, 1)
    }

    fn effects(link: &mut AiLink) -> Vec<Effect> {
        std::iter::from_fn(|| link.poll()).collect()
    }

    /// The types of what is sent.
    fn sent(link: &mut AiLink) -> Vec<String> {
        let kind = |text: &str| serde_json::from_str::<Value>(text).unwrap()["type"].as_str().unwrap().to_owned();
        let texts = effects(link).into_iter().filter_map(|effect| match effect {
            Effect::Send(text) => Some(kind(&text)),
            _ => None,
        });
        texts.collect()
    }

    fn far(link: &mut AiLink, now: Instant, message: &Value) {
        link.text(now, &message.to_string());
    }

    fn connected(options: AiOptions, now: Instant) -> AiLink {
        let mut link = link(options);
        link.start(now);
        assert!(effects(&mut link).contains(&Effect::Connect));
        link.opened(now, 0);
        far(&mut link, now, &json!({"type": "session.updated", "session": {"id": "s"}}));
        link
    }

    #[test]
    fn what_the_model_is_told_before_there_is_a_session_waits_for_it_up_to_a_bound() {
        let now = Instant::now();
        let mut link = link(AiOptions::default());
        link.start(now);
        for number in 0..=EARLY_TEXTS {
            link.user_text(now, number.to_string());
        }
        let faults = effects(&mut link).into_iter().filter(|effect| matches!(effect, Effect::Fault(_)));
        assert_eq!(faults.count(), 1);
        link.opened(now, 0);
        assert_eq!(sent(&mut link), ["session.update"]);
        far(&mut link, now, &json!({"type": "session.updated", "session": {"id": "s"}}));
        let sent = sent(&mut link);
        assert_eq!(sent, ["conversation.item.create", "response.create"], "one answer to all of it");
    }

    #[test]
    fn a_flush_is_confirmed_once_for_all_that_were_asked_for_and_the_model_told_what_was_heard() {
        let now = Instant::now();
        let mut link = connected(AiOptions::default(), now);
        far(&mut link, now, &json!({"type": "response.created", "response": {"id": "r1"}}));
        let item = json!({"id": "a1", "type": "message", "role": "assistant"});
        far(&mut link, now, &json!({"type": "response.output_item.added", "response_id": "r1", "item": item}));
        far(
            &mut link,
            now,
            &json!({"type": "response.output_audio.delta", "response_id": "r1", "item_id": "a1",
            "output_index": 0, "content_index": 0, "delta": "/////////////////////w=="}),
        );
        let played: usize = effects(&mut link)
            .iter()
            .map(|e| if let Effect::Play { samples, .. } = e { samples.len() } else { 0 })
            .sum();
        assert_eq!(played, 16, "2 ms of G.711");
        link.playback(now, Duration::from_millis(1), false);
        link.interrupt(now);
        assert!(effects(&mut link).contains(&Effect::Flush));
        assert_eq!(link.flushes(), 1);
        link.flushed(now, Duration::from_millis(1));
        assert_eq!(link.flushes(), 0);
        assert_eq!(sent(&mut link), ["conversation.item.truncate"]);
        link.flushed(now, Duration::from_millis(1));
        assert_eq!(effects(&mut link), []);
    }

    #[test]
    fn a_function_call_is_awaited_until_it_is_answered_and_no_longer() {
        let now = Instant::now();
        let tool = Tool { name: "f".into(), description: String::new(), parameters: json!({"type": "object"}) };
        let mut link = connected(AiOptions { tools: vec![tool], ..AiOptions::default() }, now);
        far(&mut link, now, &json!({"type": "response.created", "response": {"id": "r1"}}));
        far(
            &mut link,
            now,
            &json!({"type": "response.output_item.done", "response_id": "r1", "item": {
            "type": "function_call", "status": "completed", "id": "i", "call_id": "c1", "name": "f", "arguments": "{}"}}),
        );
        assert_eq!(link.awaited(), ["c1"]);
        assert!(!link.tool_result(now, "c2".into(), "{}".into()));
        assert!(link.tool_result(now, "c1".into(), "{}".into()));
        assert!(link.awaited().is_empty());
        assert!(sent(&mut link).contains(&"conversation.item.create".to_owned()));
        assert!(!link.tool_result(now, "c1".into(), "{}".into()));
    }

    #[test]
    fn a_refused_key_is_one_event_and_the_end() {
        let now = Instant::now();
        let mut link = link(AiOptions::default());
        link.start(now);
        effects(&mut link);
        link.refused(now, Some(401), "HTTP 401");
        let told = effects(&mut link);
        assert!(matches!(
            &told[..],
            [Effect::Event(StreamEvent::Ai(Event::State { state: State::Failed, last: true, .. })), Effect::Over(why)]
                if why.contains("401")
        ));
        assert!(link.is_over() && link.deadline().is_none());
    }
}
