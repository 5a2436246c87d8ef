//! Interruptions with judgement on virtual time: the order of pause, words, continuation and flush.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::super::config::BargeIn;
use super::super::{Event, Remarks};
use super::tests::{World, ms};
use super::*;
use crate::conversation::engine::Event as EngineEvent;
use crate::peer::Output as Do;

/// Playback waits 2 s for words that are not of the list.
fn judged(speech: SpeechTrigger, transcribes: bool) -> AgentConfig {
    let turns = match speech {
        SpeechTrigger::Local => TurnTaking::Local,
        _ => TurnTaking::Engine { responds: false, interrupts: false },
    };
    let usual = AgentConfig::default();
    AgentConfig {
        turns,
        engine: engine::Capabilities { turns, transcribes, ..usual.engine },
        barge_in: BargeIn { speech, false_interruption: ms(2_000), ..BargeIn::default() },
        remarks: Remarks::parse("mm-hm, yeah, okay").unwrap(),
        ..usual
    }
}

/// The agent has been heard for a second of five.
fn speaking(config: AgentConfig) -> World {
    let mut world = World::ready(config);
    world.started("r1");
    world.audio("r1", ms(5_000));
    world.done("r1");
    world.pass(ms(1_000));
    world.take();
    world
}

/// The caller makes a sound of this length, which the engine hears, and 500 ms of silence.
fn sound(world: &mut World, item: &str, length: u64) {
    world.engine(EngineEvent::SpeechStarted { start_ms: None });
    world.pass(ms(length));
    world.pass(ms(500));
    world.engine(EngineEvent::SpeechStopped);
    world.engine(EngineEvent::Committed { item_id: item.into(), previous: None });
}

fn words(world: &mut World, item: &str, text: &str, whole: bool) {
    world.engine(EngineEvent::CallerTranscript { item_id: item.into(), text: text.into(), whole });
}

/// Pauses, continuations, flushes, interruptions and requests, in their order.
fn order(world: &mut World) -> Vec<String> {
    let name = |output: Output| match output {
        Output::Peer(Do::Hold(true)) => Some("pause".to_owned()),
        Output::Peer(Do::Hold(false)) => Some("go on".to_owned()),
        Output::Peer(Do::Flush { .. }) => Some("flush".to_owned()),
        Output::Peer(Do::Event(peer::Event::Ai(Event::BargeIn { heard_ms, .. }))) => Some(format!("heard {heard_ms}")),
        Output::Peer(Do::Event(peer::Event::Ai(Event::FalseInterruption { paused, text, .. }))) => {
            Some(format!("false after {} {text}", paused.as_millis()).trim().to_owned())
        }
        Output::Command(Command::Truncate { audio_end_ms, .. }) => Some(format!("truncate {audio_end_ms}")),
        Output::Command(Command::Respond { .. }) => Some("respond".to_owned()),
        Output::Command(Command::Commit) => Some("commit".to_owned()),
        _ => None,
    };
    world.take().into_iter().filter_map(name).collect()
}

#[test]
fn a_noise_pauses_and_playback_goes_on_where_it_stopped() {
    let mut world = speaking(judged(SpeechTrigger::Engine, true));
    sound(&mut world, "u2", 300);
    assert_eq!(order(&mut world), ["pause"]);
    assert_eq!(world.played, ms(1_000), "nothing is heard during the pause");
    world.pass(ms(1_980));
    assert_eq!(order(&mut world), [""; 0], "words may still come");
    world.pass(ms(4_020));
    assert_eq!(order(&mut world), ["go on", "false after 2800"]);
    assert_eq!(world.played, ms(5_000), "the whole message is heard, nothing twice");
    assert_eq!((world.agent.state(), world.agent.stats().barge_in_count), (State::Listening, 0));
    assert_eq!(world.agent.stats().talk.false_interruptions, 1);
}

#[test]
fn words_of_the_list_let_playback_go_on_at_once() {
    let mut world = speaking(judged(SpeechTrigger::Engine, true));
    sound(&mut world, "u2", 300);
    world.pass(ms(200));
    words(&mut world, "u2", "Mm-hm. ", false);
    assert_eq!(order(&mut world), ["pause"], "more may come");
    words(&mut world, "u2", "Mm-hm. Okay.", true);
    assert_eq!(order(&mut world), ["go on", "false after 1000 Mm-hm. Okay."]);
    world.pass(ms(6_000));
    assert_eq!(world.played, ms(5_000));
    assert_eq!(order(&mut world), [""; 0], "it is not answered");
}

#[test]
fn a_word_interrupts_at_what_was_heard_before_the_pause() {
    for (text, whole) in [("Wait, no.", true), ("Yeah, but wait", false)] {
        let mut world = speaking(judged(SpeechTrigger::Engine, true));
        sound(&mut world, "u2", 700);
        words(&mut world, "u2", text, whole);
        world.pass(ms(100));
        // The flush comes before the end of the pause, so that no frame of what is flushed is heard.
        assert_eq!(order(&mut world), ["pause", "flush", "go on", "truncate 1000", "heard 1000", "respond"], "{text}");
        assert_eq!(world.played, ms(1_000));
        assert_eq!(world.agent.stats().barge_in_count, 1);
    }
}

#[test]
fn words_that_come_after_playback_went_on_interrupt_it() {
    let mut world = speaking(judged(SpeechTrigger::Engine, true));
    sound(&mut world, "u2", 300);
    world.pass(ms(2_500));
    assert_eq!(order(&mut world), ["pause", "go on", "false after 2800"]);
    words(&mut world, "u2", "Stop.", true);
    world.pass(ms(40));
    let order = order(&mut world);
    assert_eq!((order[0].as_str(), order[3].as_str()), ("flush", "respond"), "{order:?}");
    assert!((1_480..=1_540).contains(&(world.played.as_millis() as u64)), "{:?}", world.played);
}

#[test]
fn a_transcript_of_an_earlier_turn_is_no_interruption() {
    let mut world = World::ready(judged(SpeechTrigger::Engine, true));
    sound(&mut world, "u1", 900);
    assert_eq!(order(&mut world), ["respond"], "what is said to a silent agent is answered without its words");
    world.started("r1");
    world.audio("r1", ms(5_000));
    world.pass(ms(500));
    world.engine(EngineEvent::SpeechStarted { start_ms: None });
    words(&mut world, "u1", "Where is my order?", true);
    assert_eq!(order(&mut world), ["pause"]);
    world.engine(EngineEvent::SpeechStopped);
    world.pass(ms(2_020));
    assert_eq!(order(&mut world), ["go on", "false after 2000"]);
}

#[test]
fn without_a_transcript_the_length_of_speech_decides() {
    let mut config = judged(SpeechTrigger::Engine, false);
    assert_eq!(config.barge_in.lasting(false), Some(ms(800)));
    config.barge_in.min_speech = ms(400);
    assert_eq!(config.barge_in.lasting(false), Some(ms(400)));
    assert_eq!(judged(SpeechTrigger::Engine, true).barge_in.lasting(true), None, "the words decide alone");
    for lasts in [false, true] {
        let mut world = speaking(judged(SpeechTrigger::Engine, false));
        world.engine(EngineEvent::SpeechStarted { start_ms: None });
        world.input(Input::LocalSpeech(true));
        world.pass(ms(800));
        assert_eq!(order(&mut world), ["pause"]);
        if lasts {
            world.input(Input::LocalLasting);
        }
        world.input(Input::LocalSpeech(false));
        world.engine(EngineEvent::SpeechStopped);
        world.engine(EngineEvent::Committed { item_id: "u2".into(), previous: None });
        world.pass(ms(2_100));
        let order = order(&mut world);
        if lasts {
            assert_eq!(order, ["flush", "go on", "truncate 1000", "heard 1000", "respond"]);
        } else {
            assert_eq!(order, ["go on", "false after 2800"], "a cough is not answered");
        }
    }
}

#[test]
fn a_local_turn_in_a_pause_is_written_down_before_it_counts() {
    for (text, expected) in [("Okay", "go on"), ("Cancel it", "flush")] {
        let mut world = speaking(judged(SpeechTrigger::Local, true));
        world.input(Input::LocalSpeech(true));
        world.pass(ms(600));
        world.input(Input::LocalSpeech(false));
        assert_eq!(order(&mut world), ["pause", "commit"]);
        world.engine(EngineEvent::Committed { item_id: "u2".into(), previous: None });
        words(&mut world, "u2", text, true);
        world.pass(ms(60));
        let order = order(&mut world);
        assert_eq!(order[0], expected, "{text}");
        assert_eq!(order.contains(&"respond".to_owned()), expected == "flush", "{text}: {order:?}");
    }
}

#[test]
fn a_turn_in_which_nothing_is_recognised_lets_playback_go_on() {
    let mut world = speaking(judged(SpeechTrigger::Local, true));
    world.input(Input::LocalSpeech(true));
    world.pass(ms(300));
    world.input(Input::LocalSpeech(false));
    let refuses = engine::Refuses::Commit;
    let (code, message) = ("no_words".into(), String::new());
    let failure = Failure { class: FailureClass::Harmless, refuses, retry_after: None, code, message };
    world.engine(EngineEvent::Failed(failure));
    assert_eq!(order(&mut world), ["pause", "commit", "go on", "false after 300"]);
}

#[test]
fn keys_the_operator_and_the_end_interrupt_a_pause_at_once() {
    type Act = fn(&mut World);
    let acts: [Act; 3] = [
        |world| world.input(Input::Dtmf { digit: '1', duration_ms: 100 }),
        |world| world.input(Input::Interrupt),
        |world| world.input(Input::Stop { text: None, call_ended: false }),
    ];
    for act in acts {
        let mut world = speaking(judged(SpeechTrigger::Engine, true));
        world.engine(EngineEvent::SpeechStarted { start_ms: None });
        act(&mut world);
        assert_eq!(order(&mut world)[..3], ["pause", "flush", "go on"]);
        assert!(!world.held);
    }
}

#[test]
fn a_session_that_is_lost_in_a_pause_lets_playback_go_on() {
    let mut world = speaking(judged(SpeechTrigger::Engine, true));
    world.engine(EngineEvent::SpeechStarted { start_ms: None });
    world.pass(ms(100));
    world.lost(false, 0);
    world.pass(ms(6_500));
    assert_eq!(world.played, ms(5_000));
    assert!(!world.held);
}

#[test]
fn an_answer_that_was_not_heard_yet_waits_for_the_judgement_too() {
    let mut world = World::ready(judged(SpeechTrigger::Engine, true));
    sound(&mut world, "u1", 900);
    world.started("r1");
    world.take();
    world.engine(EngineEvent::SpeechStarted { start_ms: None });
    world.audio("r1", ms(600));
    world.done("r1");
    world.pass(ms(400));
    assert_eq!(world.played, ms(0));
    world.engine(EngineEvent::SpeechStopped);
    world.pass(ms(2_700));
    assert_eq!(order(&mut world), ["pause", "go on", "false after 2400"]);
    assert_eq!(world.played, ms(600));
}

#[test]
fn an_engine_that_interrupts_itself_is_not_judged() {
    let mut config = judged(SpeechTrigger::Engine, true);
    config.turns = TurnTaking::Engine { responds: true, interrupts: true };
    config.barge_in.false_interruption = Duration::ZERO;
    let mut world = speaking(config);
    world.engine(EngineEvent::SpeechStarted { start_ms: None });
    world.pass(ms(40));
    assert_eq!(order(&mut world), ["flush", "truncate 1020", "heard 1020"]);
}
