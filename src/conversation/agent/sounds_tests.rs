//! What the caller hears besides answers: a recorded greeting, a sentence during a function, a sound of thinking, last words.

use super::super::super::config::{Fallback, Filler};
use super::*;

fn recited(world: &World) -> Vec<(u64, Recording)> {
    let of = |output: &Output| match output {
        Output::Peer(Do::Recite { sentence, recording }) => Some((*sentence, *recording)),
        _ => None,
    };
    world.log.iter().filter_map(of).collect()
}

fn thinking(world: &World) -> Vec<bool> {
    let of = |output: &Output| match output {
        Output::Peer(Do::Thinking(thinks)) => Some(*thinks),
        _ => None,
    };
    world.log.iter().filter_map(of).collect()
}

fn heard_words(world: &World) -> Vec<String> {
    let of = |output: &Output| match output {
        Output::Peer(Do::Event(peer::Event::Ai(Event::Transcript { heard_text: Some(heard), .. }))) => {
            Some(heard.clone())
        }
        _ => None,
    };
    world.log.iter().filter_map(of).collect()
}

/// A recording is there, at once and whole.
fn play(world: &mut World, sentence: u64, length: Duration) {
    world.input(Input::SpeechAudio { sentence, audio: speech_of(length) });
    world.input(Input::SpeechDone { sentence });
}

fn recorded(words: &str) -> AgentConfig {
    AgentConfig { greeting: Some(Greeting::Recorded { words: words.into() }), ..AgentConfig::default() }
}

fn agent_says(text: &str) -> Command {
    Command::Message { speaker: Speaker::Agent, text: text.into(), after: None, respond: false }
}

#[test]
fn a_recorded_greeting_begins_before_there_is_a_session() {
    for voice in [VoiceMode::Engine, VoiceMode::Synthesis] {
        let mut world = World::new(AgentConfig { voice, ..recorded("Welcome to the clinic.") });
        world.input(Input::Start);
        assert_eq!(recited(&world), [(1, Recording::Greeting)]);
        play(&mut world, 1, ms(2_000));
        world.pass(ms(1_000));
        world.engine(EngineEvent::Ready);
        assert_eq!(world.agent.state(), State::Speaking);
        assert_eq!(world.commands(), [], "the model learns of it when it was heard, and is asked for nothing");
        world.pass(ms(1_100));
        assert_eq!(world.commands(), [agent_says("Welcome to the clinic.")]);
        assert_eq!(heard_words(&world), ["Welcome to the clinic."]);
        assert_eq!((world.agent.state(), world.played), (State::Listening, ms(2_000)));
    }
}

#[test]
fn a_greeting_heard_before_the_session_is_told_with_it() {
    let mut world = World::new(recorded("Welcome."));
    world.input(Input::Start);
    play(&mut world, 1, ms(500));
    world.pass(ms(700));
    assert_eq!(world.commands(), []);
    world.lost(false, 0);
    world.pass(ms(2_000));
    world.engine(EngineEvent::Ready);
    assert_eq!(world.commands(), [agent_says("Welcome.")], "once, and the greeting is not repeated");
    assert_eq!(recited(&world).len(), 1);
}

#[test]
fn a_key_cuts_a_recorded_greeting_and_the_words_heard_are_known() {
    let mut world = World::new(recorded("One two three four five six seven eight"));
    world.input(Input::Start);
    play(&mut world, 1, ms(4_000));
    world.pass(ms(1_980));
    world.input(Input::Dtmf { digit: '1', duration_ms: 100 });
    world.pass(ms(100));
    assert_eq!(heard_words(&world), ["One two three four"]);
    let heard = world.has(|output| {
        matches!(
            output,
            Output::Peer(Do::Event(peer::Event::Ai(Event::BargeIn {
                heard_ms: 2_000,
                received_ms: 4_000,
                cause: BargeInCause::Dtmf,
                ..
            })))
        )
    });
    assert!(heard, "{:?}", world.log);
    world.engine(EngineEvent::Ready);
    assert_eq!(world.commands(), [agent_says("One two three four")]);
}

#[test]
fn a_greeting_that_cannot_be_played_is_said_instead() {
    for early in [true, false] {
        let mut world = World::new(recorded("Welcome."));
        world.input(Input::Start);
        let fails = |world: &mut World| {
            world.input(Input::SpeechFailed { sentence: 1, code: "recording".into(), message: "no file".into() });
        };
        if early {
            fails(&mut world);
            world.engine(EngineEvent::Ready);
        } else {
            world.engine(EngineEvent::Ready);
            fails(&mut world);
        }
        let [Command::Respond { instructions: Some(words), .. }] = &world.commands()[..] else {
            panic!("{:?}", world.commands())
        };
        assert!(words.ends_with("Welcome."), "{words}");
    }
}

fn with_filler(voice: VoiceMode) -> AgentConfig {
    AgentConfig { voice, filler: Some(Filler { after: ms(2_000), text: "One moment.".into() }), ..tools() }
}

#[test]
fn a_function_that_takes_its_time_is_bridged_by_a_sentence_once() {
    let mut world = World::ready(with_filler(VoiceMode::Synthesis));
    world.started("r1");
    world.text("r1", "Let me look. ");
    world.call("r1", "look_up", "{}");
    world.done("r1");
    play(&mut world, 1, ms(1_000));
    world.pass(ms(2_900));
    assert_eq!(world.synthesized().len(), 1, "the time counts from the end of the agent's words");
    world.pass(ms(200));
    assert_eq!(world.synthesized()[1], (2, "One moment.".into()));
    play(&mut world, 2, ms(600));
    world.pass(ms(6_000));
    assert_eq!(world.synthesized().len(), 2, "once");
    world.input(Input::ToolResult { call_id: "call-look_up".into(), output: "{}".into() });
    assert!(matches!(world.commands()[..], [.., Command::ToolOutput { .. }, Command::Respond { .. }]));
    world.started("r2");
    world.call("r2", "look_up", "{}");
    world.done("r2");
    world.pass(ms(2_100));
    assert_eq!(world.synthesized().len(), 3, "and once for the next");
}

#[test]
fn a_quick_function_has_no_filler_and_the_answer_is_not_held_up() {
    let mut world = World::ready(with_filler(VoiceMode::Engine));
    world.started("r1");
    world.call("r1", "look_up", "{}");
    world.done("r1");
    world.pass(ms(1_900));
    world.input(Input::ToolResult { call_id: "call-look_up".into(), output: "{}".into() });
    world.pass(ms(5_000));
    let responses = |world: &World| {
        let of = |command: &Command| matches!(command, Command::Respond { .. });
        world.commands().into_iter().filter(of).collect::<Vec<_>>()
    };
    assert!(matches!(&responses(&world)[..], [Command::Respond { instructions: None, .. }]));
    // The filler is asked of the model. While it is heard, the answer waits for its turn.
    let mut world = World::ready(with_filler(VoiceMode::Engine));
    world.started("r1");
    world.call("r1", "look_up", "{}");
    world.done("r1");
    world.pass(ms(2_100));
    let asked = responses(&world);
    assert!(
        matches!(&asked[..], [Command::Respond { instructions: Some(words), .. }] if words.ends_with("One moment."))
    );
    world.started("r2");
    world.audio("r2", ms(800));
    world.input(Input::ToolResult { call_id: "call-look_up".into(), output: "{}".into() });
    assert_eq!(responses(&world).len(), 1);
    world.done("r2");
    assert_eq!(responses(&world).len(), 2, "the answer is made while the filler is heard");
}

#[test]
fn a_caller_who_speaks_hears_no_filler() {
    let mut world = World::ready(with_filler(VoiceMode::Engine));
    world.started("r1");
    world.call("r1", "look_up", "{}");
    world.done("r1");
    world.pass(ms(1_000));
    world.engine(EngineEvent::SpeechStarted { start_ms: None });
    world.pass(ms(3_000));
    assert!(!world.has(|output| matches!(output, Output::Command(Command::Respond { .. }))));
}

#[test]
fn the_thinking_sound_yields_to_agent_and_caller() {
    let mut world = World::ready(AgentConfig { thinking_sound: true, ..tools() });
    world.caller_turn("u1");
    assert_eq!(thinking(&world), [true], "until the answer comes");
    world.started("r1");
    world.audio("r1", ms(500));
    assert_eq!(thinking(&world), [true, false]);
    world.call("r1", "look_up", "{}");
    world.done("r1");
    world.pass(ms(600));
    assert_eq!(thinking(&world), [true, false, true], "during the function");
    world.engine(EngineEvent::SpeechStarted { start_ms: None });
    assert_eq!(thinking(&world), [true, false, true, false], "the caller speaks");
    world.engine(EngineEvent::SpeechStopped);
    assert_eq!(thinking(&world).len(), 5);
    world.input(Input::Stop { text: None, call_ended: true });
    assert_eq!(thinking(&world), [true, false, true, false, true, false]);
}

#[test]
fn the_last_words_are_heard_before_the_conversation_fails() {
    for (recorded, voice) in [(true, VoiceMode::Engine), (false, VoiceMode::Engine), (false, VoiceMode::Synthesis)] {
        let fallback = Some(Fallback { recorded, words: "Please call again.".into() });
        let mut world = World::new(AgentConfig { fallback, voice, ..AgentConfig::default() });
        world.input(Input::Start);
        world.lost(true, 0);
        let asked = if recorded { recited(&world).len() } else { world.synthesized().len() };
        assert_eq!(asked, 1);
        assert!(!world.agent.is_over());
        play(&mut world, 1, ms(1_000));
        assert_eq!(world.agent.state(), State::Speaking);
        world.pass(ms(900));
        assert!(!world.agent.is_over());
        world.pass(ms(200));
        assert_eq!((world.agent.state(), world.played), (State::Failed, ms(1_000)));
        assert_eq!(world.states().last(), Some(&State::Failed));
        assert_eq!(heard_words(&world), ["Please call again."]);
        assert_eq!(world.agent.deadline(), None);
    }
}

#[test]
fn last_words_that_fail_or_are_cut_do_not_hold_up_the_end() {
    let failing = || {
        let fallback = Some(Fallback { recorded: true, words: String::new() });
        let mut world = World::new(AgentConfig { fallback, ..AgentConfig::default() });
        world.input(Input::Start);
        world.lost(true, 0);
        world
    };
    let mut world = failing();
    world.input(Input::SpeechFailed { sentence: 1, code: "recording".into(), message: "no file".into() });
    assert_eq!(world.agent.state(), State::Failed);
    let mut world = failing();
    play(&mut world, 1, ms(5_000));
    world.pass(ms(500));
    world.input(Input::Interrupt);
    world.pass(ms(100));
    assert_eq!(world.agent.state(), State::Failed);
    let mut world = failing();
    play(&mut world, 1, ms(5_000));
    world.input(Input::Stop { text: None, call_ended: true });
    assert_eq!(world.agent.state(), State::Failed);
    let mut world = failing();
    world.pass(ms(31_000));
    assert_eq!(world.agent.state(), State::Failed, "a recording that never comes");
}

#[test]
fn what_the_agent_was_saying_is_heard_before_the_last_words() {
    let fallback = Some(Fallback { recorded: true, words: String::new() });
    let mut world = World::ready(AgentConfig { fallback, ..AgentConfig::default() });
    world.started("r1");
    world.audio("r1", ms(2_000));
    world.pass(ms(500));
    world.lost(true, 0);
    assert_eq!(recited(&world).len(), 1);
    play(&mut world, 1, ms(1_000));
    assert!(!world.has(|output| matches!(output, Output::Peer(Do::Flush { .. }))));
    world.pass(ms(2_400));
    assert!(!world.agent.is_over());
    world.pass(ms(200));
    assert_eq!((world.agent.state(), world.played), (State::Failed, ms(3_000)));
}
