//! Sessions that are lost while a caller is being talked with: what the next one learns, and what the caller hears meanwhile.

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

/// A call whose model has one function.
fn with_function() -> Call {
    let mut engine = Call::telephone();
    engine.profile.tools.push(Function::new("look_up", "Looks up an order.", json!({"type": "object"})));
    let mut call = Call::new(engine, AgentConfig::default());
    call.input(Input::Start);
    call.connect();
    call
}

impl Call {
    /// A response that calls functions and is complete.
    fn calls(&mut self, response: &str, call_ids: &[&str]) {
        self.service(json!({"type": "response.created", "response": {"id": response}}));
        for call_id in call_ids {
            self.service(json!({"type": "response.output_item.done", "response_id": response, "item": {
                "type": "function_call", "status": "completed", "id": format!("f-{call_id}"), "call_id": call_id,
                "name": "look_up", "arguments": "{\"id\":7}"}}));
        }
        self.service(json!({"type": "response.done", "response": {"id": response, "status": "completed"}}));
    }

    fn answer(&mut self, call_id: &str) {
        self.input(Input::ToolResult { call_id: call_id.into(), output: "{\"x\":1}".into() });
    }

    /// The connection is reset, and there again after some time.
    fn reconnect(&mut self) {
        self.drop_connection(1006, "");
        self.wait_connection();
    }

    /// Lets time pass until a connection is wanted, and makes it.
    fn wait_connection(&mut self) {
        self.log.retain(|output| !matches!(output, Output::Connect(_)));
        while !self.log.iter().any(|output| matches!(output, Output::Connect(_))) {
            self.pass(1);
        }
        self.told.clear();
        self.connect();
    }

    /// Items and requests that the service received, in short.
    fn items(&self) -> Vec<String> {
        self.told
            .iter()
            .filter_map(|message| {
                let item = &message["item"];
                match message["type"].as_str().unwrap() {
                    "session.update" => None,
                    "conversation.item.create" => Some(match item["type"].as_str().unwrap() {
                        "message" => {
                            let content = &item["content"][0];
                            let kind = content["type"].as_str().unwrap().trim_end_matches("_text");
                            format!("{kind}: {}", content["text"].as_str().unwrap())
                        }
                        kind => format!("{kind} {}", item["call_id"].as_str().unwrap()),
                    }),
                    kind => Some(kind.to_owned()),
                }
            })
            .collect()
    }

    fn transcribed(&mut self, item: &str, text: &str) {
        self.service(json!({"type": "conversation.item.input_audio_transcription.completed", "item_id": item,
            "transcript": text}));
    }

    fn says(&mut self, response: &str, item: &str, text: &str) {
        self.service(
            json!({"type": "response.output_audio_transcript.delta", "response_id": response, "item_id": item,
            "delta": text}),
        );
    }
}

#[test]
fn a_call_outlives_its_session_and_its_result_is_answered_once() {
    let mut call = with_function();
    call.caller_turn("u1");
    call.calls("r1", &["c1"]);
    call.reconnect();
    assert_eq!(call.items(), ["function_call c1"]);
    assert_eq!(
        call.told[1]["item"],
        json!({"type": "function_call", "call_id": "c1", "name": "look_up", "arguments": "{\"id\":7}"})
    );
    call.pass(50);
    assert!(call.conversation.policy().awaits("c1"), "ai_result is still taken");
    call.answer("c1");
    call.pass(500);
    assert_eq!(call.items(), ["function_call c1", "function_call_output c1", "response.create"]);
}

#[test]
fn a_result_without_a_session_waits_for_the_next() {
    let mut call = with_function();
    call.calls("r1", &["c1", "c2"]);
    call.answer("c1");
    call.drop_connection(1006, "");
    call.pass(10);
    call.answer("c2");
    call.wait_connection();
    call.pass(500);
    assert_eq!(
        call.items(),
        [
            "function_call c1",
            "function_call c2",
            "function_call_output c1",
            "function_call_output c2",
            "response.create"
        ]
    );
}

#[test]
fn a_call_is_told_although_the_history_has_no_room_for_it() {
    let mut engine = Call::telephone();
    engine.profile.tools.push(Function::new("look_up", "Looks up an order.", json!({"type": "object"})));
    let mut agent = AgentConfig::default();
    agent.history.entries = 0;
    let mut call = Call::new(engine, agent);
    call.input(Input::Start);
    call.connect();
    call.calls("r1", &["c1"]);
    call.reconnect();
    assert_eq!(call.items(), ["function_call c1"]);
}

#[test]
fn transcripts_in_any_order_are_replayed_in_that_of_the_talk() {
    let mut call = with_function();
    for (caller, previous, agent) in [("u1", None, "a1"), ("u2", Some("a1"), "a2")] {
        call.service(json!({"type": "input_audio_buffer.speech_started", "item_id": caller}));
        call.service(json!({"type": "input_audio_buffer.speech_stopped", "item_id": caller}));
        call.service(json!({"type": "input_audio_buffer.committed", "item_id": caller, "previous_item_id": previous}));
        let response = format!("r-{agent}");
        call.service(json!({"type": "response.created", "response": {"id": response}}));
        call.says(&response, agent, agent);
        call.audio(&response, agent, 400);
        call.service(json!({"type": "response.done", "response": {"id": response, "status": "completed"}}));
        call.pass(30);
    }
    call.service(json!({"type": "input_audio_buffer.committed", "item_id": "u3", "previous_item_id": "a2"}));
    call.log.clear();
    call.transcribed("u2", "second");
    call.transcribed("u1", "first");
    call.service(json!({"type": "conversation.item.input_audio_transcription.failed", "item_id": "u3",
        "error": {"type": "transcription_error", "code": "audio_unintelligible", "message": "no words"}}));
    let told: Vec<_> = call
        .log
        .iter()
        .filter_map(|output| match output {
            Output::Event(Event::Ai(AiEvent::Transcript { item_id, previous_item_id, .. })) => {
                Some((item_id.as_str(), previous_item_id.as_deref()))
            }
            Output::Event(Event::Ai(AiEvent::TranscriptFailed { item_id, .. })) => Some((item_id.as_str(), None)),
            _ => None,
        })
        .collect();
    assert_eq!(told, [("u2", Some("a1")), ("u1", None), ("u3", None)]);
    call.service(json!({"type": "input_audio_buffer.committed", "item_id": "u4", "previous_item_id": "u3"}));
    call.transcribed("u4", "");
    call.service(json!({"type": "response.created", "response": {"id": "r9"}}));
    call.service(json!({"type": "response.done", "response": {"id": "r9", "status": "completed"}}));
    call.pass(10);
    call.reconnect();
    assert_eq!(call.items(), ["input: first", "output: a1", "input: second", "output: a2"]);
}

#[test]
fn an_answer_cut_off_by_a_loss_is_taken_up_where_it_was_heard() {
    let mut call = with_function();
    call.caller_turn("u1");
    call.service(json!({"type": "response.created", "response": {"id": "r1"}}));
    call.says("r1", "i1", "Your order of twelve red chairs was shipped on Monday and will");
    call.audio("r1", "i1", 1_500);
    call.pass(25);
    call.log.clear();
    call.drop_connection(1006, "");
    let told = call.log.iter().find_map(|output| match output {
        Output::Event(Event::Ai(AiEvent::Response { response_id, interrupted, .. })) => {
            Some((response_id, interrupted))
        }
        _ => None,
    });
    assert_eq!(told, Some((&"r1".to_owned(), &true)));
    call.wait_connection();
    // It is still being heard: neither told nor asked for again yet.
    assert!(call.played < Duration::from_millis(1_500));
    assert_eq!(call.items(), Vec::<String>::new());
    call.pass(50);
    assert_eq!(call.played, Duration::from_millis(1_500), "what was received is heard");
    let items = call.items();
    assert_eq!(items, ["output: Your order of twelve", "response.create"]);
    call.response("r2", "i2", 500);
    call.pass(500);
    assert_eq!(call.items().len(), 2, "asked once");
    assert_eq!(call.conversation.policy().state(), State::Listening);
}

#[test]
fn the_caller_may_interrupt_what_a_lost_session_said() {
    let mut call = with_function();
    call.service(json!({"type": "response.created", "response": {"id": "r1"}}));
    call.says("r1", "i1", "one two three four five six seven eight nine ten");
    call.audio("r1", "i1", 10_000);
    call.service(json!({"type": "response.done", "response": {"id": "r1", "status": "completed"}}));
    call.pass(25);
    call.reconnect();
    call.pass(100);
    let heard = call.played;
    call.caller_turn("u1");
    call.response("r2", "i2", 500);
    call.pass(500);
    // No truncation of what the new session never had; the words that were heard instead.
    assert!(heard > Duration::from_millis(2_500) && heard < Duration::from_millis(3_500), "{heard:?}");
    assert_eq!(call.items(), ["output: one two three"]);
}
