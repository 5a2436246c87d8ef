//! Functions of the model that a server carries out: what it is asked, what the model gets, what the caller hears.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::conversation_turns::Telephone;
use crate::harness::in_freeswitch;
use crate::harness::sip::Dial;
use crate::harness::stream::{SOON, listen_to};
use crate::realtime::Stage;
use crate::support::audio;
use crate::support::hook_server::{HookServer, Reply};
use crate::support::speech_server::{Answer, Service, SpeechServer};

const KEY: &str = "shared-secret";
const TOOLS: &str = r#"[{"name":"look_up"},{"name":"book"},{"name":"broken"},{"name":"slow"}]"#;

fn functions() -> HookServer {
    let slow = Reply { wait: Duration::from_secs(3), ..Reply::ok("too late") };
    HookServer::start(
        KEY,
        vec![
            ("look_up", Reply::ok(r#"{"status":"shipped"}"#)),
            ("book", Reply::ok(r#"{"say":"It is booked for nine."}"#)),
            ("broken", Reply { status: 500, ..Reply::ok("a trace that is nobody's business") }),
            ("slow", slow),
        ],
    )
}

/// The model calls a function in a response of its own; what it is told of the result.
fn result_of(stage: &mut Stage<'_>, number: usize, name: &str, arguments: &str) -> Value {
    let (response, call) = (format!("r{number}"), format!("c{number}"));
    stage.speak(&format!("u{number}"), 300);
    stage.create(&response);
    stage.call(&response, &call, name, arguments);
    stage.end(&response);
    let told = stage.expect_within("conversation.item.create", 3_000);
    assert_eq!((&told["item"]["type"], &told["item"]["call_id"]), (&json!("function_call_output"), &json!(call)));
    let output = told["item"]["output"].as_str().unwrap_or_default();
    serde_json::from_str(output).unwrap_or_else(|_| panic!("{told}"))
}

#[test]
fn a_server_carries_out_the_functions_of_the_model() {
    in_freeswitch(|freeswitch| {
        let server = functions();
        let url = server.url();
        let options = [("tools", TOOLS), ("tool_url", url.as_str()), ("tool_key", KEY), ("tool_timeout_ms", "1000")];
        let place = Telephone::dial(freeswitch, &Dial::to("park"), &options);
        let (call, events) = (Arc::clone(&place.call), listen_to(freeswitch));
        let mut stage = Stage::new(place);
        stage.open();

        assert_eq!(result_of(&mut stage, 1, "look_up", r#"{"order": 7}"#), json!({"status": "shipped"}));
        let request = stage.expect("response.create");
        stage.answer(&request, "a1", "i1", 600);
        stage.await_state("SPEAKING", 1_000);
        stage.await_state("LISTENING", 2_000);
        stage.heard_whole("i1", 600);
        let asked = &server.wait_asked(1)[0];
        assert_eq!(asked.objection, None);
        let body = &asked.body;
        assert_eq!((&body["name"], &body["arguments"]), (&json!("look_up"), &json!({"order": 7})));
        assert_eq!((&body["uuid"], &body["stream"]), (&json!(call.uuid), &json!("default")));
        assert_eq!((asked.path.as_str(), asked.header("x-call-id")), ("/functions?of=tests", Some(call.uuid.as_str())));
        let trace = freeswitch.variable(&call.uuid, "traceparent");
        assert!(trace.is_some() && asked.header("traceparent") == trace.as_deref(), "{trace:?}");
        let action = events.wait_stream("ai_action", &call.uuid);
        assert_eq!(
            (action.get("Audio-Stream-Webhook"), action.get("Audio-Stream-Builtin")),
            (Some("true"), Some("false"))
        );

        // What fails is told to the model and to the operator, and no more of it than that.
        let failed = result_of(&mut stage, 2, "broken", "{}");
        assert_eq!(failed, json!({"ok": false, "error": "the function failed (http_500)"}));
        let request = stage.expect("response.create");
        stage.answer(&request, "a2", "i2", 400);
        stage.await_state("LISTENING", 3_000);
        let late = result_of(&mut stage, 3, "slow", "");
        assert_eq!(late, json!({"ok": false, "error": "no answer in time"}));
        let request = stage.expect("response.create");
        stage.answer(&request, "a3", "i3", 400);
        stage.await_state("LISTENING", 3_000);
        stage.within(1_500, "the events", |stage| stage.events("error") == ["http_500", "timeout"]);

        // A result with words for the caller needs no answer of the model's.
        assert_eq!(result_of(&mut stage, 4, "book", "{}"), json!({"say": "It is booked for nine."}));
        let request = stage.expect("response.create");
        let instructions = request["response"]["instructions"].as_str().unwrap_or_default();
        assert!(instructions.ends_with("It is booked for nine."), "{instructions}");
        stage.answer(&request, "a4", "i4", 700);
        stage.await_state("SPEAKING", 1_000);
        stage.await_state("LISTENING", 2_000);
        stage.heard_whole("i4", 700);
        stage.silent(2_000);
        assert_eq!(server.asked().len(), 4);
    });
}

#[test]
fn the_words_of_a_result_are_synthesised_at_once() {
    in_freeswitch(|freeswitch| {
        let server = functions();
        let voice = SpeechServer::start(Service::ElevenLabs("xi-test"), [Answer::default()]);
        let (url, voice_url) = (server.url(), voice.url(false));
        let options = [
            ("tools", TOOLS),
            ("tool_url", url.as_str()),
            ("tool_key", KEY),
            ("ai_output", "tts"),
            ("tts_provider", "elevenlabs"),
            ("tts_api_key", "xi-test"),
            ("tts_voice", "v1"),
            ("tts_url", voice_url.as_str()),
            ("dsp_enabled", "false"),
        ];
        let place = Telephone::place(freeswitch, &options);
        let call = Arc::clone(&place.call);
        let mut stage = Stage::new(place);
        stage.open();
        result_of(&mut stage, 1, "book", "{}");
        stage.await_state("SPEAKING", SOON.as_millis() as u64);
        stage.await_state("LISTENING", 5_000);
        let asked = voice.asked();
        assert_eq!((asked.len(), &asked[0].body["text"]), (1, &json!("It is booked for nine.")));
        let (_, alike) = audio::find(&call.phone.heard(), &asked[0].samples);
        assert!(alike > 0.97, "it is heard like it was made by {alike:.3}");
        assert_eq!(stage.told("response.create"), [] as [Value; 0], "the model was not waited for");
    });
}

#[test]
fn a_server_that_is_away_costs_a_function_and_no_more() {
    in_freeswitch(|freeswitch| {
        let gone = {
            let server = functions();
            server.url()
        };
        let away = [("tools", TOOLS), ("tool_url", gone.as_str()), ("tool_key", KEY)];
        let mut stage = Stage::new(Telephone::place(freeswitch, &away));
        let mut innocent = Stage::new(Telephone::place(freeswitch, &[]));
        for stage in [&mut stage, &mut innocent] {
            stage.open();
        }
        let failed = result_of(&mut stage, 1, "look_up", "{}");
        assert_eq!(failed, json!({"ok": false, "error": "the function failed (no_answer)"}));
        stage.within(1_500, "the event", |stage| stage.events("error") == ["no_answer"]);
        let request = stage.expect("response.create");
        innocent.speak("u1", 300);
        innocent.respond("r1", "j1", 500);
        stage.answer(&request, "a1", "i1", 500);
        for (stage, item) in [(&mut stage, "i1"), (&mut innocent, "j1")] {
            stage.await_state("LISTENING", 3_000);
            stage.heard_whole(item, 500);
        }
        assert_eq!(innocent.events("error"), [] as [&str; 0]);
    });
}
