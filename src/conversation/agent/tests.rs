//! Conversations on virtual time: the agent against a service, a media side and a synthesis that are a few lines each.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use proptest::prelude::*;

use super::super::config::{BargeIn, Idle, Reconnect};
use super::super::{Action, Builtin, Keys, ToolPolicy};
use super::*;
use crate::conversation::engine::{Event as EngineEvent, Failure, FailureClass, Outcome, Refuses};
use crate::peer::{MonoAudio, Output as Do, Retry, TalkFigures, Usage};

#[path = "hand_over_tests.rs"]
mod hand_over;
#[path = "sounds_tests.rs"]
mod sounds;

const FRAME: Duration = Duration::from_millis(20);

pub(super) fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn speech_of(length: Duration) -> MonoAudio {
    MonoAudio::Mulaw(vec![0xff; (length.as_millis() * 8) as usize])
}

fn failure(class: FailureClass, code: &str) -> Failure {
    Failure { class, refuses: Refuses::Nothing, retry_after: None, code: code.into(), message: String::new() }
}

fn refusal(class: FailureClass) -> Failure {
    Failure { refuses: Refuses::Response(None), ..failure(class, "x") }
}

/// The agent and the world around it.
pub(super) struct World {
    pub(super) agent: Agent,
    now: Instant,
    log: Vec<Output>,
    /// The media side: what waits, what the caller was given, a flush it has not seen.
    queued: Duration,
    pub(super) played: Duration,
    flush: Option<u64>,
    pub(super) held: bool,
    /// The flush was asked for in a pause, so nothing of what is flushed is heard.
    flushed_in_pause: bool,
}

impl World {
    pub(super) fn new(config: AgentConfig) -> Self {
        let agent = Agent::new(config, 7);
        Self {
            agent,
            now: Instant::now(),
            log: Vec::new(),
            queued: Duration::ZERO,
            played: Duration::ZERO,
            flush: None,
            held: false,
            flushed_in_pause: false,
        }
    }

    /// Connected, nothing said.
    pub(super) fn ready(config: AgentConfig) -> Self {
        let mut world = Self::new(config);
        world.input(Input::Start);
        world.engine(EngineEvent::Ready);
        world.log.clear();
        world
    }

    pub(super) fn input(&mut self, input: Input<'_>) {
        self.agent.handle(self.now, input);
        self.follow();
    }

    pub(super) fn follow(&mut self) {
        while let Some(output) = self.agent.poll() {
            match &output {
                Output::Peer(Do::Speak { audio, .. }) => self.queued += audio.duration(),
                Output::Peer(Do::Flush { id }) => (self.flush, self.flushed_in_pause) = (Some(*id), self.held),
                Output::Peer(Do::Hold(held)) => self.held = *held,
                _ => {}
            }
            self.log.push(output);
        }
    }

    pub(super) fn engine(&mut self, event: EngineEvent) {
        self.agent.event(self.now, event);
        self.follow();
    }

    /// Lets time pass: a frame at a time the media side plays, sees flushes, tells; timers fire.
    pub(super) fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.now += FRAME;
            let silent = self.held || (self.flush.is_some() && self.flushed_in_pause);
            let given = if silent { Duration::ZERO } else { self.queued.min(FRAME) };
            self.queued -= given;
            self.played += given;
            if let Some(id) = self.flush.take() {
                self.queued = Duration::ZERO;
                self.input(Input::Flushed { id, played: self.played });
            }
            self.input(Input::Playback { played: self.played, idle: self.queued.is_zero(), waiting: self.queued });
            if self.agent.deadline().is_some_and(|at| at <= self.now) {
                self.input(Input::Timeout);
            }
        }
    }

    /// Lets the time pass until the next deadline.
    pub(super) fn wait(&mut self) {
        if let Some(at) = self.agent.deadline() {
            self.now = self.now.max(at);
            self.input(Input::Timeout);
        }
    }

    pub(super) fn started(&mut self, response: &str) {
        self.engine(EngineEvent::ResponseStarted { response_id: response.into(), request: None });
    }

    pub(super) fn audio(&mut self, response: &str, length: Duration) {
        self.engine(EngineEvent::Audio {
            response_id: response.into(),
            item_id: format!("{response}-item"),
            content_index: 0,
            audio: speech_of(length),
        });
    }

    pub(super) fn text(&mut self, response: &str, text: &str) {
        let item_id = format!("{response}-item");
        self.engine(EngineEvent::Text { response_id: response.into(), item_id, text: text.into(), whole: false });
    }

    pub(super) fn done(&mut self, response: &str) {
        self.engine(EngineEvent::ResponseDone { response_id: response.into(), outcome: Outcome::Completed });
    }

    /// The caller says something and the service notices the end of it.
    pub(super) fn caller_turn(&mut self, item: &str) {
        self.engine(EngineEvent::SpeechStarted { start_ms: None });
        self.pass(ms(500));
        self.engine(EngineEvent::SpeechStopped);
        self.engine(EngineEvent::Committed { item_id: item.into(), previous: None });
    }

    pub(super) fn call(&mut self, response: &str, name: &str, arguments: &str) {
        self.engine(EngineEvent::ToolCall {
            response_id: response.into(),
            call_id: format!("call-{name}"),
            name: name.into(),
            arguments: arguments.into(),
        });
    }

    pub(super) fn lost(&mut self, fatal: bool, undelivered: usize) {
        let loss = Loss { fatal, code: "1006".into(), message: "gone".into() };
        self.agent.lost(self.now, loss, undelivered);
        self.follow();
    }

    pub(super) fn take(&mut self) -> Vec<Output> {
        std::mem::take(&mut self.log)
    }

    pub(super) fn states(&self) -> Vec<State> {
        self.log
            .iter()
            .filter_map(|output| match output {
                Output::Peer(Do::Event(peer::Event::Ai(Event::State { state, .. }))) => Some(*state),
                _ => None,
            })
            .collect()
    }

    pub(super) fn commands(&self) -> Vec<Command> {
        self.log
            .iter()
            .filter_map(|output| match output {
                Output::Command(Command::Connect { .. } | Command::Close) => None,
                Output::Command(command) => Some(command.clone()),
                _ => None,
            })
            .collect()
    }

    pub(super) fn synthesized(&self) -> Vec<(u64, String)> {
        self.log
            .iter()
            .filter_map(|output| match output {
                Output::Peer(Do::Synthesize { sentence, text, .. }) => Some((*sentence, text.clone())),
                _ => None,
            })
            .collect()
    }

    pub(super) fn acts(&self) -> Vec<Action> {
        self.log
            .iter()
            .filter_map(|output| match output {
                Output::Peer(Do::Act { action, .. }) => Some(action.clone()),
                _ => None,
            })
            .collect()
    }

    pub(super) fn has(&self, wanted: impl Fn(&Output) -> bool) -> bool {
        self.log.iter().any(wanted)
    }
}

fn synthesis() -> AgentConfig {
    AgentConfig { voice: VoiceMode::Synthesis, ..AgentConfig::default() }
}

fn local_vad(min_speech: Duration) -> AgentConfig {
    AgentConfig {
        turns: TurnTaking::Engine { responds: false, interrupts: false },
        barge_in: BargeIn { speech: SpeechTrigger::Local, min_speech, dtmf: false, ..BargeIn::default() },
        ..AgentConfig::default()
    }
}

fn tools() -> AgentConfig {
    let tools = ToolPolicy {
        builtin: vec![Builtin::HangUp, Builtin::SendDtmf],
        custom: vec!["look_up".into()],
        ..ToolPolicy::default()
    };
    AgentConfig { tools, ..AgentConfig::default() }
}

#[test]
fn two_turns_with_an_interruption_go_through_their_states() {
    let mut world = World::new(AgentConfig::default());
    world.input(Input::Start);
    assert_eq!(
        world.take(),
        [
            Output::Command(Command::Connect { attempt: 0 }),
            Output::Peer(Do::Event(peer::Event::Ai(Event::State {
                state: State::Connecting,
                last: false,
                code: String::new(),
                message: String::new()
            }))),
        ]
    );
    world.engine(EngineEvent::Ready);
    world.caller_turn("u1");
    world.started("r1");
    world.audio("r1", ms(3_000));
    world.done("r1");
    world.pass(ms(1_000));
    world.engine(EngineEvent::SpeechStarted { start_ms: None });
    world.pass(ms(100));
    world.engine(EngineEvent::SpeechStopped);
    world.engine(EngineEvent::Committed { item_id: "u2".into(), previous: None });
    world.started("r2");
    world.audio("r2", ms(400));
    world.done("r2");
    world.pass(ms(600));
    assert_eq!(
        world.states(),
        [
            State::Listening,
            State::Processing,
            State::Speaking,
            State::Listening,
            State::Processing,
            State::Speaking,
            State::Listening
        ]
    );
    // The response was over already: nothing to cancel. 1 s was heard, and the frame in which the flush was seen.
    assert_eq!(
        world.commands(),
        [Command::Truncate { item_id: "r1-item".into(), content_index: 0, audio_end_ms: 1_020 }]
    );
    assert!(world.has(|output| matches!(
        output,
        Output::Peer(Do::Event(peer::Event::Ai(Event::BargeIn {
            cause: BargeInCause::EngineVad,
            heard_ms: 1_020,
            received_ms: 3_000,
            ..
        })))
    )));
    assert_eq!(world.played, ms(1_020 + 400));
    world.input(Input::Stop { text: None, call_ended: true });
    assert_eq!(world.agent.state(), State::Idle);
    assert!(world.agent.is_over());
}

#[test]
fn an_unheard_answer_is_deleted_and_its_late_audio_not_played() {
    let mut world = World::ready(AgentConfig::default());
    world.started("r1");
    world.audio("r1", ms(1_000));
    world.log.clear();
    // Before the media side has played a single frame.
    world.queued = Duration::ZERO;
    world.engine(EngineEvent::SpeechStarted { start_ms: None });
    world.audio("r1", ms(1_000));
    world.text("r1", "Late. ");
    world.pass(ms(100));
    let cancel = Command::Cancel { response_id: "r1".into(), tell: false };
    assert_eq!(world.commands(), [cancel, Command::Delete { item_id: "r1-item".into() }]);
    assert!(!world.has(|output| matches!(output, Output::Peer(Do::Speak { .. }))));
    assert!(matches!(world.log[0], Output::Peer(Do::Flush { .. })), "the ear comes first: {:?}", world.log);
}

#[test]
fn a_message_that_was_announced_and_never_sounded_is_deleted() {
    let mut world = World::ready(AgentConfig::default());
    world.started("r1");
    world.engine(EngineEvent::ItemStarted { response_id: "r1".into(), item_id: "r1-item".into() });
    world.engine(EngineEvent::SpeechStarted { start_ms: None });
    assert_eq!(
        world.commands(),
        [Command::Cancel { response_id: "r1".into(), tell: false }, Command::Delete { item_id: "r1-item".into() }]
    );
    assert!(!world.has(|output| matches!(output, Output::Peer(Do::Flush { .. }))), "nothing was queued");
}

#[test]
fn lasting_local_speech_interrupts_and_a_short_sound_does_not() {
    let mut world = World::ready(local_vad(ms(300)));
    world.started("r1");
    world.audio("r1", ms(5_000));
    world.pass(ms(500));
    world.input(Input::LocalSpeech(true));
    world.pass(ms(200));
    world.input(Input::LocalSpeech(false));
    world.engine(EngineEvent::SpeechStarted { start_ms: None });
    world.engine(EngineEvent::SpeechStopped);
    world.pass(ms(300));
    assert_eq!(world.agent.state(), State::Speaking);
    assert_eq!(world.commands(), []);
    world.input(Input::LocalSpeech(true));
    world.pass(ms(300));
    world.input(Input::LocalLasting);
    world.pass(ms(100));
    assert_eq!(
        world.commands(),
        [
            Command::Cancel { response_id: "r1".into(), tell: true },
            Command::Truncate { item_id: "r1-item".into(), content_index: 0, audio_end_ms: 1_320 }
        ]
    );
    assert_eq!(world.agent.stats().barge_in_count, 1);
}

#[test]
fn keys_interrupt_where_allowed_and_nothing_does_where_off() {
    for (dtmf, state) in [(true, State::Listening), (false, State::Speaking)] {
        let barge_in = BargeIn { speech: SpeechTrigger::Off, dtmf, ..BargeIn::default() };
        let turns = TurnTaking::Engine { responds: true, interrupts: false };
        let mut world = World::ready(AgentConfig { barge_in, turns, ..AgentConfig::default() });
        world.started("r1");
        world.audio("r1", ms(2_000));
        world.done("r1");
        world.pass(ms(100));
        world.engine(EngineEvent::SpeechStarted { start_ms: None });
        world.input(Input::LocalSpeech(true));
        world.pass(ms(100));
        assert_eq!(world.agent.state(), State::Speaking);
        world.input(Input::Dtmf { digit: '5', duration_ms: 100 });
        world.pass(ms(100));
        assert_eq!(world.agent.state(), state);
    }
}

#[test]
fn text_is_spoken_sentence_by_sentence_one_ahead() {
    let mut world = World::ready(synthesis());
    world.started("r1");
    world.text("r1", "The first sentence is here. The second");
    assert_eq!(world.synthesized(), [(1, "The first sentence is here.".into())]);
    assert_eq!(world.agent.state(), State::Processing);
    world.input(Input::SpeechAudio { sentence: 1, audio: speech_of(ms(500)) });
    assert_eq!(world.agent.state(), State::Speaking);
    world.text("r1", " one follows. And a third one");
    world.input(Input::SpeechAudio { sentence: 1, audio: speech_of(ms(500)) });
    world.input(Input::SpeechDone { sentence: 1 });
    assert_eq!(world.synthesized().len(), 1, "the first is not heard yet");
    world.pass(FRAME);
    assert_eq!(world.synthesized()[1], (2, "The second one follows.".into()));
    world.input(Input::SpeechAudio { sentence: 2, audio: speech_of(ms(600)) });
    world.input(Input::SpeechDone { sentence: 2 });
    world.done("r1");
    world.pass(ms(900));
    assert_eq!(world.synthesized().len(), 2);
    world.pass(ms(200));
    assert_eq!(world.synthesized()[2], (3, "And a third one".into()), "the rest is flushed with the response");
    world.input(Input::SpeechAudio { sentence: 3, audio: speech_of(ms(300)) });
    world.input(Input::SpeechDone { sentence: 3 });
    world.pass(ms(2_000));
    assert_eq!((world.agent.state(), world.played), (State::Listening, ms(1_900)));
    assert_eq!(world.commands(), [], "the service remembers what was said");
}

#[test]
fn an_interrupted_text_is_replaced_by_what_was_spoken() {
    let mut world = World::ready(synthesis());
    world.started("r1");
    world.text("r1", "The first sentence is here. The second one follows. A third one comes. ");
    world.done("r1");
    world.input(Input::SpeechAudio { sentence: 1, audio: speech_of(ms(1_000)) });
    world.input(Input::SpeechDone { sentence: 1 });
    world.pass(FRAME);
    world.input(Input::SpeechAudio { sentence: 2, audio: speech_of(ms(1_000)) });
    world.input(Input::SpeechDone { sentence: 2 });
    world.pass(ms(1_480));
    assert_eq!(world.synthesized().len(), 3);
    world.log.clear();
    world.engine(EngineEvent::SpeechStarted { start_ms: None });
    assert_eq!(world.log[0..2], [Output::Peer(Do::Flush { id: 1 }), Output::Peer(Do::AbortSynthesis { sentence: 3 })]);
    world.input(Input::SpeechAudio { sentence: 3, audio: speech_of(ms(1_000)) });
    world.pass(FRAME);
    assert_eq!(
        world.commands(),
        [
            Command::Message {
                speaker: Speaker::Agent,
                text: "The first sentence is here. The second".into(),
                after: Some("r1-item".into()),
                respond: false
            },
            Command::Delete { item_id: "r1-item".into() }
        ]
    );
    assert!(!world.has(|output| matches!(output, Output::Peer(Do::Speak { .. }))), "stale speech");
    assert_eq!(world.agent.state(), State::Listening);
}

#[test]
fn the_rest_is_spoken_at_the_texts_end_not_the_responses() {
    let mut world = World::ready(synthesis());
    world.started("r1");
    world.text("r1", "Hi.");
    assert_eq!(world.synthesized(), []);
    world.engine(EngineEvent::Text {
        response_id: "r1".into(),
        item_id: "r1-item".into(),
        text: "Hi.".into(),
        whole: true,
    });
    assert_eq!(world.synthesized(), [(1, "Hi.".into())]);
}

/// What the model writes, and the sentences of it that are spoken.
const MARKED: &str = "**Hello**, this is [our site](https://x.io). Have a *nice* day! 😊";
const UNMARKED: [&str; 2] = ["Hello, this is our site.", "Have a nice day!"];

/// A response with marks, of which both sentences of a second each are made.
fn marked_response() -> World {
    let mut world = World::ready(synthesis());
    world.started("r1");
    world.text("r1", MARKED);
    world.engine(EngineEvent::Text {
        response_id: "r1".into(),
        item_id: "r1-item".into(),
        text: MARKED.into(),
        whole: true,
    });
    for (sentence, text) in (1..).zip(UNMARKED) {
        assert_eq!(*world.synthesized().last().unwrap(), (sentence, text.into()));
        world.input(Input::SpeechAudio { sentence, audio: speech_of(ms(1_000)) });
        world.input(Input::SpeechDone { sentence });
        world.pass(FRAME);
    }
    world
}

#[test]
fn a_text_heard_whole_is_remembered_as_the_model_wrote_it() {
    let mut world = marked_response();
    world.done("r1");
    world.pass(ms(3_000));
    assert_eq!(world.synthesized().len(), 2, "an emoji alone is not spoken");
    assert_eq!(world.commands(), [], "the service remembers what was said");
    assert!(world.has(|output| matches!(output, Output::Peer(Do::Event(peer::Event::Ai(Event::Response { text, .. }))) if text == MARKED)));
    assert_eq!(world.agent.history.entries().collect::<Vec<_>>(), [Past::Words(Speaker::Agent, MARKED)]);
    // The same where the caller speaks after all was heard and before the response is over.
    let mut world = marked_response();
    world.pass(ms(3_000));
    world.engine(EngineEvent::SpeechStarted { start_ms: None });
    world.pass(FRAME);
    assert!(
        !world.commands().iter().any(|command| matches!(command, Command::Message { .. } | Command::Delete { .. }))
    );
    assert_eq!(world.agent.history.entries().collect::<Vec<_>>(), [Past::Words(Speaker::Agent, MARKED)]);
}

#[test]
fn a_marked_text_that_is_cut_is_remembered_as_it_was_heard() {
    let mut world = marked_response();
    world.done("r1");
    world.pass(ms(1_400));
    world.log.clear();
    world.engine(EngineEvent::SpeechStarted { start_ms: None });
    world.pass(FRAME);
    let heard = "Hello, this is our site. Have a";
    assert_eq!(
        world.commands(),
        [
            Command::Message {
                speaker: Speaker::Agent,
                text: heard.into(),
                after: Some("r1-item".into()),
                respond: false
            },
            Command::Delete { item_id: "r1-item".into() }
        ]
    );
    assert_eq!(world.agent.history.entries().collect::<Vec<_>>(), [Past::Words(Speaker::Agent, heard)]);
}

#[test]
fn what_the_agent_says_itself_is_cleaned_unless_switched_off() {
    for (clean, spoken) in [(true, "Hello to you and welcome!"), (false, "**Hello** to you and welcome!")] {
        let mut config =
            AgentConfig { greeting: Some(Greeting::Text("**Hello** to you and welcome!".into())), ..synthesis() };
        config.sentences.clean = clean;
        let mut world = World::new(config);
        world.input(Input::Start);
        world.engine(EngineEvent::Ready);
        assert_eq!(world.synthesized(), [(1, spoken.into())]);
    }
}

#[test]
fn a_failed_sentence_is_reported_and_removed_from_the_memory() {
    let mut world = World::ready(AgentConfig { apology: Some("Sorry about that.".into()), ..synthesis() });
    world.started("r1");
    world.text("r1", "The first sentence is here. The second one follows. ");
    world.done("r1");
    world.pass(ms(100));
    world.input(Input::SpeechFailed { sentence: 1, code: "429".into(), message: "busy".into() });
    assert!(world.has(|output| matches!(
        output,
        Output::Peer(Do::Event(peer::Event::Ai(Event::SpeechFailed { text, code, latency, .. })))
            if text == "The first sentence is here." && code == "429" && *latency == ms(100)
    )));
    for (sentence, text) in [(3, "Sorry about that."), (2, "The second one follows.")] {
        assert_eq!(*world.synthesized().last().unwrap(), (sentence, text.into()));
        world.input(Input::SpeechAudio { sentence, audio: speech_of(ms(200)) });
        world.input(Input::SpeechDone { sentence });
        world.pass(ms(220));
    }
    world.pass(ms(500));
    let message =
        |text: &str, after| Command::Message { speaker: Speaker::Agent, text: text.into(), after, respond: false };
    assert_eq!(
        world.commands(),
        [
            message("The second one follows.", Some("r1-item".into())),
            Command::Delete { item_id: "r1-item".into() },
            message("Sorry about that.", None),
        ]
    );
    assert_eq!(world.agent.state(), State::Listening);
}

#[test]
fn a_synthesis_that_hangs_is_aborted_and_the_state_says_error() {
    let mut world = World::ready(synthesis());
    world.started("r1");
    world.text("r1", "The only sentence is here. ");
    world.done("r1");
    world.pass(ms(31_000));
    assert!(world.has(|output| *output == Output::Peer(Do::AbortSynthesis { sentence: 1 })));
    assert_eq!(world.agent.state(), State::Error);
    world.engine(EngineEvent::SpeechStarted { start_ms: None });
    assert_eq!(world.agent.state(), State::Listening);
}

#[test]
fn the_agent_greets_first_in_either_voice() {
    let greeting = Some(Greeting::Text("Good morning to you. How can I help?".into()));
    let mut world = World::new(AgentConfig { greeting: greeting.clone(), ..synthesis() });
    world.input(Input::Start);
    world.engine(EngineEvent::Ready);
    assert_eq!(world.synthesized(), [(1, "Good morning to you.".into())]);
    let mut world = World::new(AgentConfig { greeting, ..AgentConfig::default() });
    world.input(Input::Start);
    world.engine(EngineEvent::Ready);
    let [Command::Respond { instructions: Some(instructions), .. }] = &world.commands()[..] else {
        panic!("{:?}", world.commands())
    };
    assert!(instructions.ends_with("Good morning to you. How can I help?"));
}

#[test]
fn silence_is_reported_then_broken_then_ended() {
    let idle = Idle { after: ms(5_000), instructions: Some("Ask whether the caller is there.".into()), hang_up_at: 2 };
    let mut world = World::ready(AgentConfig { idle: Some(idle), ..AgentConfig::default() });
    world.pass(ms(5_100));
    assert!(world.has(|output| *output == Output::Peer(Do::Event(peer::Event::Ai(Event::Idle { count: 1 })))));
    assert!(matches!(&world.commands()[..], [Command::Respond { instructions: Some(_), .. }]));
    world.started("r1");
    world.audio("r1", ms(1_000));
    world.done("r1");
    world.pass(ms(5_500));
    assert_eq!(world.acts(), [], "the silence begins when the agent has finished");
    world.pass(ms(700));
    assert_eq!(world.acts(), [Action::HangUp { reason: "nobody speaks".into() }]);
}

#[test]
fn a_hold_is_no_silence_of_the_caller() {
    let idle = Idle { after: ms(5_000), instructions: Some("Ask whether the caller is there.".into()), hang_up_at: 1 };
    let mut world = World::ready(AgentConfig { idle: Some(idle), ..AgentConfig::default() });
    world.pass(ms(4_000));
    world.input(Input::Held(true));
    world.pass(ms(90_000));
    // What the service counts as silence, and what it says then.
    world.engine(EngineEvent::IdleTimeout);
    world.started("r1");
    world.audio("r1", ms(500));
    assert_eq!(world.commands(), [Command::Cancel { response_id: "r1".into(), tell: true }]);
    assert!(world.queued.is_zero(), "nobody is to hear it after the hold");
    world.done("r1");
    world.input(Input::Held(false));
    world.pass(ms(4_900));
    let idle = |output: &Output| matches!(output, Output::Peer(Do::Event(peer::Event::Ai(Event::Idle { .. }))));
    assert!(!world.has(idle), "the time begins anew with the end of the hold");
    assert_eq!((world.acts(), world.agent.state()), (vec![], State::Listening));
    world.pass(ms(200));
    assert_eq!(world.acts(), [Action::HangUp { reason: "nobody speaks".into() }]);
}

#[test]
fn a_masked_caller_is_not_idle() {
    let idle = Idle { after: ms(5_000), instructions: None, hang_up_at: 1 };
    let mut world = World::ready(AgentConfig { idle: Some(idle), ..AgentConfig::default() });
    world.pass(ms(4_000));
    world.input(Input::Masked(true));
    world.pass(ms(60_000));
    // A hold meanwhile changes nothing.
    world.input(Input::Held(true));
    world.input(Input::Held(false));
    world.pass(ms(10_000));
    assert_eq!((world.acts(), world.agent.state()), (vec![], State::Listening));
    world.input(Input::Masked(false));
    world.pass(ms(4_900));
    assert_eq!(world.acts(), []);
    world.pass(ms(200));
    assert_eq!(world.acts(), [Action::HangUp { reason: "nobody speaks".into() }]);
}

#[test]
fn speech_that_a_hold_cuts_off_does_not_interrupt() {
    let barge_in = BargeIn { min_speech: ms(300), dtmf: false, ..BargeIn::default() };
    let mut world = World::ready(AgentConfig { barge_in, ..AgentConfig::default() });
    world.started("r1");
    world.audio("r1", ms(4_000));
    world.pass(ms(1_000));
    world.engine(EngineEvent::SpeechStarted { start_ms: None });
    world.pass(ms(100));
    world.input(Input::Held(true));
    world.pass(ms(2_000));
    assert_eq!((world.agent.stats().barge_in_count, world.agent.state()), (0, State::Speaking));
}

#[test]
fn an_operators_function_is_an_event_and_its_answer_is_used() {
    let mut world = World::ready(tools());
    world.started("r1");
    world.call("r1", "look_up", "{\"id\":7}");
    world.done("r1");
    assert!(world.has(|output| matches!(
        output,
        Output::Peer(Do::Event(peer::Event::Ai(Event::Action { call_id, name, arguments, builtin: false, webhook: false, mcp_server: None })))
            if call_id == "call-look_up" && name == "look_up" && arguments == "{\"id\":7}"
    )));
    assert!(world.agent.awaits("call-look_up"));
    assert_eq!(world.agent.state(), State::Processing);
    world.input(Input::ToolResult { call_id: "other".into(), output: "1".into() });
    assert_eq!(world.commands(), []);
    world.input(Input::ToolResult { call_id: "call-look_up".into(), output: "{\"name\":\"Ada\"}".into() });
    assert_eq!(
        world.commands(),
        [
            Command::ToolOutput { call_id: "call-look_up".into(), output: "{\"name\":\"Ada\"}".into() },
            Command::Respond { request: 1, instructions: None }
        ]
    );
}

#[test]
fn a_function_without_an_answer_does_not_stop_the_conversation() {
    let mut world = World::ready(tools());
    world.started("r1");
    world.call("r1", "look_up", "{}");
    world.done("r1");
    world.pass(ms(30_100));
    assert!(matches!(
        &world.commands()[..],
        [Command::ToolOutput { output, .. }, Command::Respond { .. }] if output.contains("no answer in time")
    ));
}

#[test]
fn what_a_profile_does_not_allow_is_refused_to_the_models_face() {
    let mut world = World::ready(tools());
    world.started("r1");
    world.call("r1", "transfer", "{\"destination\":\"1000\"}");
    world.call("r1", "send_dtmf", "{\"digits\":\"12\"}");
    assert_eq!(world.acts(), [Action::SendDtmf { digits: "12".into() }]);
    assert!(matches!(&world.commands()[..], [Command::ToolOutput { call_id, output }]
        if call_id == "call-transfer" && output.contains("no such function")));
    assert!(!world.has(|output| matches!(output, Output::Peer(Do::Event(peer::Event::Ai(Event::Action { name, .. }))) if name == "transfer")));
}

#[test]
fn the_call_ends_after_the_goodbye_unless_it_is_interrupted() {
    for interrupted in [false, true] {
        let mut world = World::ready(tools());
        world.started("r1");
        world.audio("r1", ms(1_000));
        world.call("r1", "hang_up", "{\"reason\":\"done\"}");
        world.done("r1");
        world.pass(ms(900));
        assert_eq!(world.acts(), [], "the goodbye is not over");
        if interrupted {
            world.engine(EngineEvent::SpeechStarted { start_ms: None });
        }
        world.pass(ms(200));
        if interrupted {
            assert_eq!(world.acts(), []);
            assert!(world.commands().iter().any(|command| matches!(command, Command::ToolOutput { .. })));
        } else {
            assert_eq!(world.acts(), [Action::HangUp { reason: "done".into() }]);
        }
    }
}

#[test]
fn a_response_that_stops_in_the_middle_is_given_up() {
    let mut world = World::ready(AgentConfig::default());
    world.started("r1");
    world.audio("r1", ms(100));
    world.pass(ms(30_100));
    assert_eq!(world.commands(), [Command::Cancel { response_id: "r1".into(), tell: true }]);
    assert_eq!(world.agent.state(), State::Error);
    world.audio("r1", ms(100));
    assert_eq!(world.agent.state(), State::Error, "it is too late");
}

#[test]
fn a_response_asked_for_while_another_runs_is_asked_for_again() {
    let mut world = World::ready(AgentConfig::default());
    world.input(Input::SendText("Where is my order?"));
    world.engine(EngineEvent::Failed(refusal(FailureClass::Busy)));
    world.started("r1");
    world.pass(ms(1_000));
    let asked =
        |world: &World| world.commands().iter().filter(|command| matches!(command, Command::Respond { .. })).count();
    assert_eq!(asked(&world), 1);
    world.done("r1");
    world.pass(ms(100));
    assert_eq!(asked(&world), 2);
}

#[test]
fn a_turn_is_answered_even_if_our_response_began_before_commit() {
    let barge_in = BargeIn { speech: SpeechTrigger::Off, ..BargeIn::default() };
    let turns = TurnTaking::Engine { responds: false, interrupts: false };
    let mut world = World::ready(AgentConfig { barge_in, turns, ..AgentConfig::default() });
    world.input(Input::Say("One moment, please.".into()));
    world.engine(EngineEvent::SpeechStarted { start_ms: None });
    world.engine(EngineEvent::SpeechStopped);
    world.started("r1");
    world.engine(EngineEvent::Committed { item_id: "u1".into(), previous: None });
    world.log.clear();
    world.audio("r1", ms(200));
    world.done("r1");
    assert_eq!(world.commands(), [Command::Respond { request: 2, instructions: None }]);
}

#[test]
fn a_commit_that_is_repeated_makes_no_second_turn() {
    let mut world = World::ready(AgentConfig::default());
    world.caller_turn("u1");
    world.started("r1");
    world.audio("r1", ms(200));
    world.done("r1");
    world.engine(EngineEvent::Committed { item_id: "u1".into(), previous: None });
    world.pass(ms(500));
    assert_eq!(world.agent.state(), State::Listening);
}

#[test]
fn a_response_that_is_announced_twice_is_still_heard() {
    let mut world = World::ready(AgentConfig::default());
    world.caller_turn("u1");
    world.audio("r1", ms(200));
    world.started("r1");
    world.audio("r1", ms(200));
    assert_eq!(world.queued, ms(400));
}

#[test]
fn a_cough_before_the_greeting_does_not_lose_it() {
    let greeting = Some(Greeting::Text("Welcome.".into()));
    let mut world = World::new(AgentConfig { greeting, ..AgentConfig::default() });
    world.input(Input::Start);
    world.engine(EngineEvent::Ready);
    world.started("g");
    world.pass(ms(200));
    world.engine(EngineEvent::SpeechStarted { start_ms: Some(200) });
    world.pass(ms(200));
    world.engine(EngineEvent::ResponseDone { response_id: "g".into(), outcome: Outcome::Cancelled });
    world.engine(EngineEvent::SpeechStopped);
    world.log.clear();
    world.pass(ms(3_000));
    let commands = world.commands();
    let [Command::Respond { instructions: Some(words), .. }] = &commands[..] else { panic!("{commands:?}") };
    assert!(words.ends_with("Welcome."), "{words}");
}

#[test]
fn an_unwanted_response_is_cancelled_when_it_begins() {
    let mut world = World::ready(AgentConfig::default());
    world.input(Input::SendText("Where is my order?"));
    world.engine(EngineEvent::SpeechStarted { start_ms: None });
    world.log.clear();
    world.started("r1");
    world.audio("r1", ms(100));
    assert_eq!(world.commands(), [Command::Cancel { response_id: "r1".into(), tell: true }]);
    assert!(!world.has(|output| matches!(output, Output::Peer(Do::Speak { .. }))));
}

#[test]
fn without_the_services_turn_detection_our_own_ends_the_turn() {
    let config = AgentConfig { turns: TurnTaking::Local, ..local_vad(Duration::ZERO) };
    let mut world = World::ready(config);
    world.input(Input::LocalSpeech(true));
    world.pass(ms(500));
    world.input(Input::LocalSpeech(false));
    let begin = Command::BeginTurn { audio: Vec::new() };
    assert_eq!(world.commands(), [begin, Command::Commit], "the turn is not part of the conversation yet");
    world.engine(EngineEvent::Committed { item_id: "u1".into(), previous: None });
    assert_eq!(world.commands()[2..], [Command::Respond { request: 1, instructions: None }]);
}

#[test]
fn keys_reach_the_model_as_one_entry() {
    let mut world =
        World::ready(AgentConfig { keys: Keys { named: true, ..Keys::default() }, ..AgentConfig::default() });
    for key in ['1', '2', 'x', '\n'] {
        world.input(Input::Dtmf { digit: key, duration_ms: 100 });
        world.pass(ms(500));
    }
    assert_eq!(world.commands(), []);
    world.pass(ms(2_000));
    assert!(matches!(&world.commands()[..],
        [Command::Message { speaker: Speaker::Caller, text, after: None, .. }, Command::Respond { .. }]
            if text == "(The caller pressed 12 on the telephone's keypad.)"));
}

#[test]
fn a_new_session_gets_the_conversation_and_the_audio_once() {
    let mut world =
        World::ready(AgentConfig { caller_bytes_per_second: 8_000, caller_sample_bytes: 1, ..Default::default() });
    world.caller_turn("u1");
    world.engine(EngineEvent::CallerTranscript { item_id: "u1".into(), text: "Hello?".into(), whole: true });
    world.started("r1");
    world.engine(EngineEvent::Transcript {
        response_id: "r1".into(),
        item_id: "r1-item".into(),
        text: "Good morning.".into(),
        whole: true,
    });
    world.audio("r1", ms(300));
    world.done("r1");
    world.pass(ms(1_000));
    let mut captured: Vec<u8> = Vec::new();
    let mut received: Vec<u8> = Vec::new();
    let mut capture = |world: &mut World, received: &mut Vec<u8>| {
        let frame: Vec<u8> = (0..160).map(|n| (captured.len() + n) as u8 ^ (captured.len() >> 8) as u8).collect();
        captured.extend(&frame);
        if world.agent.captured(&frame) {
            received.extend(&frame);
        }
    };
    for _ in 0..50 {
        capture(&mut world, &mut received);
    }
    // The last five frames never left.
    received.truncate(received.len() - 800);
    world.log.clear();
    world.lost(false, 800);
    assert_eq!(world.states(), [State::Reconnecting]);
    // 3 s without a network: attempts fail, the next one succeeds.
    for frame in 0.. {
        capture(&mut world, &mut received);
        world.pass(FRAME);
        let attempt = world.take().iter().any(|output| matches!(output, Output::Command(Command::Connect { .. })));
        match (attempt, frame) {
            (true, ..150) => world.lost(false, 0),
            (true, _) => break,
            (false, _) => assert!(frame < 500),
        }
    }
    world.engine(EngineEvent::Ready);
    let commands = world.commands();
    let said = |speaker, text: &str| Command::Message { speaker, text: text.into(), after: None, respond: false };
    assert_eq!(commands[..2], [said(Speaker::Caller, "Hello?"), said(Speaker::Agent, "Good morning.")]);
    assert_eq!(commands.len(), 2);
    for audio in appended(&mut world) {
        received.extend(audio);
    }
    capture(&mut world, &mut received);
    assert!(received == captured, "{} of {} bytes", received.len(), captured.len());
    assert_eq!(world.agent.stats().ring_dropped_ms, 0);
    assert_eq!(world.agent.state(), State::Listening);
}

#[test]
fn attempts_double_their_waits_and_end_in_one_last_event() {
    let mut world = World::ready(AgentConfig::default());
    world.lost(false, 0);
    for attempt in 0..5 {
        let full = ms(500) * 2u32.pow(attempt);
        let wait = world.agent.deadline().unwrap() - world.now;
        assert!((full..=full * 5 / 4).contains(&wait), "{attempt}: {wait:?}");
        world.pass(wait + FRAME);
        assert!(world.has(|output| *output == Output::Command(Command::Connect { attempt: attempt + 1 })));
        assert!(!world.agent.is_over());
        world.lost(false, 0);
    }
    assert_eq!(world.states(), [State::Reconnecting, State::Failed]);
    assert!(
        matches!(world.log.last(), Some(Output::Peer(Do::Event(peer::Event::Ai(Event::State { last: true, code, .. })))) if code == "1006")
    );
    assert_eq!(world.agent.deadline(), None);
    world.log.clear();
    world.input(Input::Stop { text: None, call_ended: true });
    world.lost(true, 0);
    assert_eq!(world.log, []);
}

#[test]
fn a_refused_key_fails_once_and_at_once() {
    let mut world = World::new(AgentConfig::default());
    world.input(Input::Start);
    world.log.clear();
    world.agent.lost(world.now, Loss { fatal: true, code: "401".into(), message: "bad key".into() }, 0);
    world.follow();
    world.pass(ms(60_000));
    assert_eq!(
        world.log,
        [
            Output::Peer(Do::Event(peer::Event::Ai(Event::Summary {
                reason: "failed",
                talk: TalkFigures::default(),
                usage: Usage::default()
            }))),
            Output::Peer(Do::Event(peer::Event::Ai(Event::State {
                state: State::Failed,
                last: true,
                code: "401".into(),
                message: "bad key".into()
            })))
        ]
    );
}

#[test]
fn a_session_that_ends_soon_is_replaced_in_a_pause() {
    let mut world = World::ready(AgentConfig::default());
    world.started("r1");
    world.audio("r1", ms(500));
    world.done("r1");
    world.engine(EngineEvent::ExpiresSoon { now: false });
    assert!(!world.has(|output| matches!(output, Output::Command(Command::Close))));
    world.pass(ms(600));
    let at = world.log.iter().position(|output| *output == Output::Command(Command::Close)).unwrap();
    assert_eq!(world.log[at + 1], Output::Command(Command::Connect { attempt: 0 }));
    assert_eq!(*world.states().last().unwrap(), State::Reconnecting);
    world.engine(EngineEvent::Ready);
    assert_eq!(world.agent.state(), State::Listening);
    // Without a pause when there is no time for one.
    world.started("r2");
    world.audio("r2", ms(5_000));
    world.log.clear();
    world.engine(EngineEvent::ExpiresSoon { now: true });
    assert!(world.has(|output| matches!(output, Output::Command(Command::Close))));
    assert!(
        !world.has(|output| matches!(output, Output::Peer(Do::Flush { .. }))),
        "what is being said is heard to its end"
    );
}

#[test]
fn no_session_is_replaced_between_the_end_of_a_turn_and_commit() {
    let mut world = World::ready(AgentConfig::default());
    world.engine(EngineEvent::SpeechStarted { start_ms: None });
    world.engine(EngineEvent::ExpiresSoon { now: false });
    world.pass(ms(500));
    world.engine(EngineEvent::SpeechStopped);
    world.engine(EngineEvent::Committed { item_id: "u1".into(), previous: None });
    assert!(!world.has(|output| matches!(output, Output::Command(Command::Close))), "the answer is still to come");
    world.started("r1");
    world.audio("r1", ms(500));
    world.done("r1");
    world.pass(ms(600));
    assert!(world.has(|output| matches!(output, Output::Command(Command::Close))));
}

#[test]
fn nothing_of_a_lost_session_is_truncated_in_the_next() {
    let mut world = World::ready(AgentConfig::default());
    world.started("r1");
    world.audio("r1", ms(5_000));
    world.lost(false, 0);
    world.pass(ms(600));
    world.engine(EngineEvent::Ready);
    world.log.clear();
    world.engine(EngineEvent::SpeechStarted { start_ms: None });
    world.pass(ms(100));
    assert!(world.has(|output| matches!(output, Output::Peer(Do::Flush { .. }))));
    assert_eq!(world.commands(), []);
}

#[test]
fn no_attempt_is_made_where_none_is_allowed() {
    let reconnect = Reconnect { retry: Retry { attempts: 0, ..Retry::default() }, ..Reconnect::default() };
    let mut world = World::ready(AgentConfig { reconnect, ..AgentConfig::default() });
    world.lost(false, 0);
    assert_eq!(world.states(), [State::Failed]);
}

/// One thing that may happen, in any order.
#[derive(Clone, Copy, Debug)]
enum Step {
    Audio { late: bool },
    Text,
    Start,
    Done { failed: bool },
    Call { name: usize },
    ToolResult,
    ServiceSpeech(bool),
    LocalSpeech(bool),
    Commit,
    Key,
    SynthesisAudio { stale: bool },
    SynthesisDone,
    SynthesisFailed,
    Lost,
    Ready,
    Expires { now: bool },
    Refused { running: bool },
    Say,
    Pass(u16),
    Stop,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => any::<bool>().prop_map(|late| Step::Audio { late }),
        4 => Just(Step::Text),
        4 => Just(Step::Start),
        4 => any::<bool>().prop_map(|failed| Step::Done { failed }),
        2 => (0usize..5).prop_map(|name| Step::Call { name }),
        2 => Just(Step::ToolResult),
        4 => any::<bool>().prop_map(Step::ServiceSpeech),
        4 => any::<bool>().prop_map(Step::LocalSpeech),
        2 => Just(Step::Commit),
        2 => Just(Step::Key),
        6 => any::<bool>().prop_map(|stale| Step::SynthesisAudio { stale }),
        3 => Just(Step::SynthesisDone),
        1 => Just(Step::SynthesisFailed),
        1 => Just(Step::Lost),
        3 => Just(Step::Ready),
        1 => any::<bool>().prop_map(|now| Step::Expires { now }),
        1 => any::<bool>().prop_map(|running| Step::Refused { running }),
        1 => Just(Step::Say),
        8 => (0u16..3_000).prop_map(Step::Pass),
        // One hangup in a few conversations.
        1 => Just(Step::Pass(40_000)),
    ]
}

/// A service and a synthesis for any order of things.
struct Chaos {
    world: World,
    responses: u32,
    active: bool,
    /// Responses of sessions before this one: nothing of them can arrive in it.
    before: u32,
    checked: usize,
    /// Responses begun and sentences requested before the last flush: never to be played again.
    stale_responses: u32,
    stale_sentence: u64,
    sentence: u64,
    last_events: usize,
}

impl Chaos {
    fn new(config: AgentConfig) -> Self {
        let mut world = World::new(config);
        world.input(Input::Start);
        Self {
            world,
            responses: 0,
            active: false,
            before: 0,
            checked: 0,
            stale_responses: 0,
            stale_sentence: 0,
            sentence: 0,
            last_events: 0,
        }
    }

    fn response(&self) -> String {
        format!("r{}", self.responses)
    }

    fn step(&mut self, step: Step) {
        let response = self.response();
        let world = &mut self.world;
        match step {
            Step::Start if world.agent.stats().connected => {
                self.responses += 1;
                self.active = true;
                let response = self.response();
                self.world.started(&response);
            }
            Step::Audio { late: true } if self.responses > self.before + 1 => {
                world.audio(&format!("r{}", self.responses - 1), ms(300));
            }
            // The service sends audio for what it is at, whether that was cancelled or not.
            Step::Audio { .. } if self.active => world.audio(&response, ms(700)),
            Step::Text if self.active => world.text(&response, "This is what there is to say. And this too, Sir. "),
            Step::Done { failed } if self.active => {
                self.active = false;
                let failure = Outcome::Failed(failure(FailureClass::Transient, "server_error"));
                let outcome = if failed { failure } else { Outcome::Completed };
                world.engine(EngineEvent::ResponseDone { response_id: response, outcome });
            }
            Step::Call { name } if self.active => {
                let name = ["look_up", "hang_up", "transfer", "send_dtmf", "set_variable"][name];
                world.call(&response, name, "{\"digits\":\"1\"}");
            }
            Step::ToolResult => {
                for name in ["look_up", "hang_up", "send_dtmf"] {
                    world.input(Input::ToolResult { call_id: format!("call-{name}"), output: "{}".into() });
                }
            }
            Step::ServiceSpeech(true) => world.engine(EngineEvent::SpeechStarted { start_ms: None }),
            Step::ServiceSpeech(false) => world.engine(EngineEvent::SpeechStopped),
            Step::LocalSpeech(speaking) => world.input(Input::LocalSpeech(speaking)),
            Step::Commit => world.engine(EngineEvent::Committed { item_id: "u".into(), previous: None }),
            Step::Key => world.input(Input::Dtmf { digit: '7', duration_ms: 100 }),
            Step::SynthesisAudio { stale } => {
                let sentence = if stale { self.sentence.saturating_sub(1) } else { self.sentence };
                world.input(Input::SpeechAudio { sentence, audio: speech_of(ms(400)) });
            }
            Step::SynthesisDone => world.input(Input::SpeechDone { sentence: self.sentence }),
            Step::SynthesisFailed => {
                world.input(Input::SpeechFailed { sentence: self.sentence, code: "500".into(), message: String::new() })
            }
            Step::Lost => world.lost(false, 100),
            Step::Ready => world.engine(EngineEvent::Ready),
            Step::Expires { now } => world.engine(EngineEvent::ExpiresSoon { now }),
            Step::Refused { running } => world.engine(EngineEvent::Failed(refusal(if running {
                FailureClass::Busy
            } else {
                FailureClass::Permanent
            }))),
            Step::Say => world.input(Input::Say("The operator says a word. Then another one.".into())),
            Step::Pass(time) => world.pass(ms(u64::from(time))),
            Step::Stop => world.input(Input::Stop { text: None, call_ended: true }),
            _ => {}
        }
        self.check();
    }

    /// What must hold for every output, in the order they came.
    fn check(&mut self) {
        for output in &self.world.log[self.checked..] {
            assert_eq!(self.last_events, 0, "an output after the last event: {output:?}");
            match output {
                Output::Peer(Do::Flush { .. }) => {
                    self.stale_responses = self.responses;
                    self.stale_sentence = self.sentence;
                }
                Output::Peer(Do::Synthesize { sentence, .. }) => self.sentence = *sentence,
                Output::Peer(Do::Speak { source: Source::Item(item), .. }) => {
                    let response: u32 = item[1..].split('-').next().unwrap().parse().unwrap();
                    assert!(response > self.stale_responses, "{item} was flushed");
                }
                Output::Peer(Do::Speak { source: Source::Sentence(sentence), .. }) => {
                    assert!(*sentence > self.stale_sentence, "sentence {sentence} was flushed");
                }
                Output::Peer(Do::Event(peer::Event::Ai(Event::State { last: true, .. }))) => self.last_events += 1,
                _ => {}
            }
        }
        self.checked = self.world.log.len();
        if !self.world.agent.stats().connected {
            self.active = false;
            self.before = self.responses;
        }
        let flushed = self.world.flush.is_some();
        assert!(flushed || self.world.agent.state() != State::Listening || self.world.queued.is_zero());
    }

    /// The service finishes what it is at, everything is played, all that is waited for comes or times out.
    fn settle(&mut self) {
        for _ in 0..60 {
            self.step(Step::Ready);
            self.step(Step::ServiceSpeech(false));
            self.step(Step::LocalSpeech(false));
            self.step(Step::Done { failed: false });
            self.step(Step::SynthesisDone);
            self.step(Step::ToolResult);
            self.step(Step::Pass(2_000));
            if self.world.commands().last().is_some_and(|command| matches!(command, Command::Respond { .. })) {
                self.step(Step::Start);
                self.step(Step::Done { failed: false });
            }
        }
    }
}

/// The kept audio that was handed on since the last look.
fn appended(world: &mut World) -> Vec<Vec<u8>> {
    let audio = |output| match output {
        Output::Append(audio) => Some(audio),
        _ => None,
    };
    world.take().into_iter().filter_map(audio).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn no_order_of_inputs_plays_stale_audio_or_gets_stuck(
        steps in proptest::collection::vec(step(), 1..80),
        mode in 0usize..5,
        hangup in proptest::option::of(0usize..80),
    ) {
        let mut config = match mode {
            0 => tools(),
            1 => synthesis(),
            2 => local_vad(ms(200)),
            3 => AgentConfig { turns: TurnTaking::Local, voice: VoiceMode::Synthesis, ..local_vad(Duration::ZERO) },
            _ => AgentConfig {
                keys: Keys { named: true, ..Keys::default() },
                greeting: Some(Greeting::Text("Hello to you.".into())),
                ..synthesis()
            },
        };
        config.tools = tools().tools;
        let mut chaos = Chaos::new(config);
        for (at, step) in steps.into_iter().enumerate() {
            if hangup == Some(at) {
                chaos.step(Step::Stop);
            }
            chaos.step(step);
        }
        chaos.settle();
        let state = chaos.world.agent.state();
        if chaos.world.agent.is_over() {
            prop_assert!(matches!(state, State::Idle | State::Failed));
        } else {
            prop_assert!(matches!(state, State::Listening | State::Error), "stuck in {}", state);
        }
        chaos.step(Step::Stop);
        prop_assert_eq!(chaos.last_events, 1);
        prop_assert_eq!(chaos.world.agent.deadline(), None);
        // No flush is needed for silence, and there is silence.
        chaos.world.pass(ms(100));
        prop_assert_eq!(chaos.world.queued, Duration::ZERO);
    }

    #[test]
    fn the_callers_audio_arrives_whole_and_once_on_any_network(
        steps in proptest::collection::vec((0usize..8, 1usize..20), 1..80),
    ) {
        let retry = Retry { attempts: 1_000, ..Retry::default() };
        let reconnect = Reconnect { retry, audio: ms(600_000), handed_on: ms(600_000) };
        let mut world = World::new(AgentConfig {
            reconnect, caller_bytes_per_second: 8_000, caller_sample_bytes: 1, ..AgentConfig::default()
        });
        world.input(Input::Start);
        let (mut captured, mut received, mut in_flight): (Vec<u8>, Vec<u8>, Vec<u8>) = Default::default();
        for (step, size) in steps {
            match step {
                0 if world.agent.stats().connected => {
                    world.lost(false, in_flight.len());
                    in_flight.clear();
                }
                // Ready has no effect before the first attempt.
                0 => {
                    world.engine(EngineEvent::Ready);
                    world.wait();
                }
                1 => received.extend(in_flight.drain(..(size * 100).min(in_flight.len()))),
                _ => {
                    let frame: Vec<u8> = (0..size * 40).map(|n| (captured.len() + n).wrapping_mul(31) as u8).collect();
                    captured.extend(&frame);
                    if world.agent.captured(&frame) {
                        in_flight.extend(frame);
                    }
                }
            }
            for command in appended(&mut world) {
                in_flight.extend(command);
            }
        }
        world.wait();
        world.engine(EngineEvent::Ready);
        for command in appended(&mut world) {
            in_flight.extend(command);
        }
        received.extend(in_flight);
        prop_assert!(received == captured, "{} of {} bytes", received.len(), captured.len());
    }
}

#[test]
fn a_call_that_the_service_takes_back_is_waited_for_no_more() {
    let tools = ToolPolicy { custom: vec!["book".into()], builtin: vec![Builtin::HangUp], ..ToolPolicy::default() };
    let mut world = World::ready(AgentConfig { tools, ..AgentConfig::default() });
    let called = |call_id: &str, name: &str| EngineEvent::ToolCall {
        response_id: "r".into(),
        call_id: call_id.into(),
        name: name.into(),
        arguments: "{}".into(),
    };
    world.engine(called("c1", "book"));
    world.engine(called("c2", "hang_up"));
    world.engine(EngineEvent::ToolCancelled { call_id: "c1".into() });
    world.engine(EngineEvent::ToolCancelled { call_id: "c2".into() });
    world.engine(EngineEvent::ResponseDone { response_id: "r".into(), outcome: Outcome::Completed });
    world.pass(ms(500));
    assert_eq!(world.agent.state(), State::Listening);
    let hung_up = world.log.iter().any(|output| matches!(output, Output::Peer(Do::Act { .. })));
    assert!(!hung_up, "what is taken back is not done");
    assert_eq!(world.commands(), [], "the service wants no results");
    // The operator's function has run nevertheless.
    assert!(world.agent.awaits("c1") && !world.agent.awaits("c2"));
    world.input(Input::ToolResult { call_id: "c1".into(), output: "booked".into() });
    let commands = world.commands();
    let told = |command: &Command| matches!(command, Command::Message { text, .. } if text.contains("booked"));
    assert!(commands.iter().any(told), "{commands:?}");
}

#[test]
fn a_session_that_goes_on_with_the_last_is_told_nothing_again() {
    for goes_on in [true, false] {
        let mut world = World::ready(AgentConfig::default());
        world.input(Input::SendText("The caller is a good customer."));
        world.pass(ms(100));
        world.agent.lost(world.now, Loss { fatal: false, code: String::new(), message: String::new() }, 0);
        world.follow();
        world.pass(ms(2_000));
        world.log.clear();
        if goes_on {
            world.engine(EngineEvent::Resumed);
        }
        world.engine(EngineEvent::Ready);
        let commands = world.commands();
        let messages = commands.iter().filter(|command| matches!(command, Command::Message { .. })).count();
        assert_eq!(messages, usize::from(!goes_on), "{commands:?}");
    }
}
