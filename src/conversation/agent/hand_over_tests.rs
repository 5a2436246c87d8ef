//! The caller is handed over to a person who is called first: what the agent does meanwhile, and when nobody takes them.

use super::super::super::destinations::Destinations;
use super::*;

fn announced() -> AgentConfig {
    let tools = ToolPolicy {
        builtin: vec![Builtin::Transfer],
        destinations: Destinations::parse("sales=1001").unwrap(),
        announced: Some(ms(60_000)),
        ..ToolPolicy::default()
    };
    AgentConfig { tools, thinking_sound: true, ..AgentConfig::default() }
}

/// The agent has said that it transfers, and the person is called.
fn calling() -> World {
    let mut world = World::ready(announced());
    world.started("r1");
    world.audio("r1", ms(1_000));
    world.call("r1", "transfer", r#"{"destination":"sales","summary":"Wants a boat."}"#);
    world.done("r1");
    world.pass(ms(900));
    assert_eq!(world.acts(), [], "the announcement is not over");
    world.pass(ms(200));
    let (name, number) = ("sales".to_owned(), "1001".to_owned());
    assert_eq!(world.acts(), [Action::Transfer { name, number, summary: "Wants a boat.".into() }]);
    world.log.clear();
    world
}

#[test]
fn the_agent_is_deaf_and_silent_while_somebody_is_called() {
    let mut world = calling();
    assert!(!world.agent.captured(&[0; 160]), "the service does not hear the caller");
    world.input(Input::Dtmf { digit: '1', duration_ms: 100 });
    world.input(Input::LocalSpeech(true));
    world.input(Input::LocalSpeech(false));
    world.pass(ms(10_000));
    world.started("r2");
    world.audio("r2", ms(1_000));
    assert_eq!(world.commands(), [Command::Cancel { response_id: "r2".into(), tell: true }]);
    assert!(!world.has(|output| matches!(output, Output::Peer(Do::Speak { .. } | Do::Thinking(true)))));
    world.pass(ms(45_000));
    assert!(!world.has(|output| matches!(output, Output::Command(Command::ToolOutput { .. }))), "it may ring so long");
    world.input(Input::Stop { text: None, call_ended: false });
    assert!(world.has(|output| matches!(
        output,
        Output::Peer(Do::Event(peer::Event::Ai(Event::Summary { reason: "agent_transfer", .. })))
    )));
}

#[test]
fn a_caller_whom_nobody_takes_is_talked_with_again() {
    let mut world = calling();
    world.pass(ms(5_000));
    let output = r#"{"ok":false,"error":"nobody answered"}"#.to_owned();
    world.input(Input::ToolResult { call_id: "call-transfer".into(), output });
    assert!(matches!(world.commands()[..], [Command::ToolOutput { .. }, Command::Respond { .. }]));
    assert!(world.agent.captured(&[0; 160]), "and heard again");
    world.started("r2");
    world.audio("r2", ms(500));
    world.done("r2");
    world.pass(ms(600));
    assert_eq!((world.agent.state(), world.played), (State::Listening, ms(1_500)));
    world.input(Input::Stop { text: None, call_ended: true });
    assert!(world.has(|output| matches!(output, Output::Peer(Do::Event(peer::Event::Ai(Event::Summary { .. }))))));
}

#[test]
fn a_hand_over_of_which_nothing_is_heard_is_given_up_in_time() {
    let mut world = calling();
    world.pass(ms(60_100));
    assert!(matches!(&world.commands()[..], [Command::ToolOutput { output, .. }, Command::Respond { .. }]
        if output.contains("no answer in time")));
    assert!(world.agent.captured(&[0; 160]));
}

#[test]
fn a_blind_transfer_waits_for_no_answer_of_a_person() {
    let tools = ToolPolicy { announced: None, ..announced().tools };
    let mut world = World::ready(AgentConfig { tools, ..announced() });
    world.started("r1");
    world.call("r1", "transfer", r#"{"destination":"sales"}"#);
    world.done("r1");
    world.pass(FRAME);
    assert_eq!(world.acts().len(), 1);
    assert!(world.agent.captured(&[0; 160]), "the service goes on hearing the caller");
    for done in [false, true] {
        let output = if done { peer::DONE } else { r#"{"ok":false,"error":"the call is gone"}"# };
        let tools = ToolPolicy { announced: None, ..announced().tools };
        let mut world = World::ready(AgentConfig { tools, ..announced() });
        world.started("r1");
        world.call("r1", "transfer", r#"{"destination":"sales"}"#);
        world.done("r1");
        world.pass(FRAME);
        world.input(Input::ToolResult { call_id: "call-transfer".into(), output: output.into() });
        assert_eq!(world.agent.is_over(), done, "the conversation ends with the transfer");
    }
}
