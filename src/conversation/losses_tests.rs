//! Sessions that are lost while a caller is being talked with: what the next one is told, and what the caller hears meanwhile.

use super::*;
use crate::conversation::agent::Greeting;

/// A call that is talked with, whose first greeting is over.
fn greeted() -> Call {
    let greeting = Some(Greeting::Text("Welcome.".into()));
    let mut call = Call::new(Call::telephone(), AgentConfig { greeting, ..AgentConfig::default() });
    call.input(Input::Start);
    call.connect();
    call.response("r0", "a0", 500);
    call.pass(50);
    call.told.clear();
    call.log.clear();
    call
}

#[test]
fn any_close_code_but_a_refusal_is_followed_by_a_new_session() {
    for code in [1000, 1001, 1006, 1011, 1012] {
        let mut call = greeted();
        call.drop_connection(code, "");
        assert_eq!(call.states(), [State::Reconnecting], "{code}");
        call.pass(100);
        assert!(call.wants_connection(), "{code}");
        call.connect();
        call.pass(100);
        assert_eq!(call.conversation.policy().state(), State::Listening, "{code}");
        assert_eq!(call.told_kinds(), ["session.update"], "{code}: nothing is said again, nobody greeted twice");
    }
}

#[test]
fn a_close_with_a_final_reason_ends_the_conversation_at_once() {
    let mut call = greeted();
    call.drop_connection(1000, "invalid_request_error.insufficient_quota");
    call.pass(3_000);
    assert_eq!(call.states(), [State::Failed]);
    assert!(!call.wants_connection());
}

#[test]
fn a_service_that_always_closes_cleanly_is_given_up() {
    let mut call = greeted();
    call.drop_connection(1000, "");
    for _ in 0..20 {
        call.pass(2_000);
        if call.wants_connection() {
            call.connect();
            call.drop_connection(1000, "");
        }
    }
    assert_eq!(call.conversation.policy().state(), State::Failed);
    assert_eq!(call.conversation.policy().stats().reconnect_attempts, 5);
}
