#![allow(clippy::unwrap_used)]

use std::collections::HashSet;

use super::*;
use crate::peer::{AiEvent, Component, State};
use crate::transport::ErrorCode;

fn rendered(event: impl Into<Event>) -> FsEvent {
    event.into().render(&CallId::new("abc-1"), &StreamName::default())
}

fn header<'a>(event: &'a FsEvent, name: &str) -> Option<&'a str> {
    event.headers.iter().find(|(other, _)| *other == name).map(|(_, value)| value.as_str())
}

#[test]
fn bodies_are_those_of_the_predecessor() {
    let disconnect = |code, reason: &str| Event::from(Disconnect { code, reason: reason.into() });
    for (event, subclass, body) in [
        (Event::from(Connect {}), "mod_audio_stream::connect", r#"{"status":"connected"}"#),
        (
            disconnect(1000, "a \"b\"\n\\"),
            "mod_audio_stream::disconnect",
            r#"{"status":"disconnected","message":{"code":1000,"reason":"a \"b\"\n\\"}}"#,
        ),
        (
            disconnect(1006, ""),
            "mod_audio_stream::disconnect",
            r#"{"status":"disconnected","message":{"code":1006,"reason":""}}"#,
        ),
        (
            Error::new(ErrorCode::Timeout, "no answer in 5000 ms").into(),
            "mod_audio_stream::error",
            r#"{"status":"error","message":{"code":10,"error":"no answer in 5000 ms"}}"#,
        ),
        (Json("{\"a\": 1}".into()).into(), "mod_audio_stream::json", "{\"a\": 1}"),
        (Json("not json".into()).into(), "mod_audio_stream::json", "not json"),
        (Play("{\"b\":2}".into()).into(), "mod_audio_stream::play", "{\"b\":2}"),
        (
            Dtmf { digit: '#', duration_ms: 90 }.into(),
            "mod_audio_stream::dtmf",
            r##"{"status":"dtmf","digit":"#","duration_ms":90}"##,
        ),
    ] {
        let rendered = rendered(event);
        assert_eq!((rendered.subclass, rendered.body.as_deref()), (subclass, Some(body)));
    }
}

#[test]
fn errors_of_a_conversation_name_their_component() {
    let (code, message) = ("rate_limit".to_owned(), "slow down".to_owned());
    let event = rendered(AiEvent::Error { component: Component::Tool, response_id: None, code, message });
    assert_eq!(
        event.body.as_deref(),
        Some(concat!(
            r#"{"status":"error","message":{"code":11,"error":"slow down","component":"tool","#,
            r#""provider_code":"rate_limit"}}"#
        ))
    );
    assert_eq!(header(&event, "Audio-Stream-Error"), Some("PROTOCOL"));
    assert_eq!(header(&event, "Audio-Stream-Provider-Code"), Some("rate_limit"));
    let event = rendered(AiEvent::SpeechFailed {
        text: "Hello.".into(),
        code: "quota".into(),
        message: "no credit".into(),
        latency: std::time::Duration::from_millis(1_234),
    });
    assert_eq!(
        event.body.as_deref(),
        Some(concat!(
            r#"{"status":"error","message":{"code":11,"error":"no credit","component":"tts","provider_code":"quota","#,
            r#""sentence":"Hello.","latency_ms":1234}}"#
        ))
    );
}

#[test]
fn an_error_has_the_ids_of_the_service() {
    let (code, message) = ("server_error".to_owned(), "oops".to_owned());
    let response_id = Some("resp_1".to_owned());
    let failed = AiEvent::Error { component: Component::Engine, response_id, code, message };
    let [session_id, request_id] = ["sess_1", "req_1"].map(|id| Some(id.to_owned()));
    let event = rendered(Event::from(failed).of_connection(&ServiceIds { session_id, request_id, response_id: None }));
    assert_eq!(
        event.body.as_deref(),
        Some(concat!(
            r#"{"status":"error","message":{"code":11,"error":"oops","component":"openai","provider_code":"server_error","#,
            r#""session_id":"sess_1","request_id":"req_1","response_id":"resp_1"}}"#
        ))
    );
    for (name, id) in [("Session", "sess_1"), ("Request", "req_1"), ("Response", "resp_1")] {
        assert_eq!(header(&event, &format!("Audio-Stream-{name}-Id")), Some(id));
    }
    assert_eq!(header(&rendered(Error::new(ErrorCode::Io, "")), "Audio-Stream-Session-Id"), None);
}

#[test]
fn only_what_ends_something_is_final() {
    let state =
        |last| AiState { state: State::Idle, last, code: "".into(), message: "".into(), ids: ServiceIds::default() };
    let failed =
        AiEvent::Error { component: Component::Engine, response_id: None, code: "".into(), message: "".into() };
    for (event, is_final) in [
        (Event::from(Connect {}), false),
        (Disconnect { code: 1000, reason: "".into() }.into(), true),
        (Error::new(ErrorCode::Io, "").into(), true),
        (failed.into(), false),
        (state(false).into(), false),
        (state(true).into(), true),
        (Record::Started { file: "/r/a.wav".into(), rate: crate::units::SampleRate::HZ_8000 }.into(), false),
        (Record::example().into(), true),
    ] {
        assert_eq!(event.is_final(), is_final, "{event:?}");
    }
}

#[test]
fn the_end_of_a_recording_gives_its_length_and_levels() {
    let mut record = Record::example();
    if let Record::Stopped { status, .. } = &mut record {
        status.heard = ChannelLevel::default();
    }
    let event = rendered(record);
    let body: serde_json::Value = serde_json::from_str(event.body.as_deref().unwrap()).unwrap();
    assert_eq!((&body["status"], &body["reason"]), (&"stopped".into(), &"stopped".into()));
    assert_eq!((&body["duration_ms"], &body["rate"]), (&61_500.into(), &8_000.into()));
    assert_eq!(body["caller"], serde_json::json!({"peak_dbfs": -6.0, "rms_dbfs": -30.0}));
    assert_eq!(body["heard"], serde_json::json!({"peak_dbfs": null, "rms_dbfs": null}));
    assert_eq!(header(&event, "Audio-Stream-Caller-Peak-Dbfs"), Some("-6"));
    assert_eq!(header(&event, "Audio-Stream-Caller-Rms-Dbfs"), Some("-30"));
    assert_eq!(header(&event, "Audio-Stream-Heard-Peak-Dbfs"), None, "silence has no level");
    assert_eq!(header(&event, "Audio-Stream-Duration-Ms"), Some("61500"));
}

#[test]
fn what_the_body_says_stands_in_headers_too() {
    let event = rendered(Error::new(ErrorCode::ConnectFailed, "refused\r\nX: y"));
    assert_eq!(header(&event, "Audio-Stream-UUID"), Some("abc-1"));
    assert_eq!(header(&event, "Audio-Stream-Name"), Some("default"));
    assert_eq!(header(&event, "Audio-Stream-Status"), Some("error"));
    assert_eq!(header(&event, "Audio-Stream-Code"), Some("6"));
    assert_eq!(header(&event, "Audio-Stream-Error"), Some("CONNECT_FAILED"));
    assert_eq!(header(&event, "Audio-Stream-Reason"), Some("refused  X: y"));
    let event = rendered(Json("ARRAY::a|:b".into()));
    assert_eq!(header(&event, "Audio-Stream-Message"), Some(" ARRAY::a|:b"));
    assert_eq!(event.body.as_deref(), Some("ARRAY::a|:b"));
    let event = rendered(Disconnect { code: 1000, reason: "".into() });
    assert_eq!(header(&event, "Audio-Stream-Reason"), None, "FreeSWITCH deletes a header that is empty");
}

#[test]
fn texts_of_a_server_are_bounded() {
    let event = rendered(Json("é".repeat(MAX_BODY).into()));
    assert_eq!(event.body.unwrap().len(), MAX_BODY);
    let lengths: Vec<_> = event.headers.iter().map(|(name, value)| (*name, value.len())).collect();
    assert!(lengths.iter().all(|(_, length)| *length < 64), "{lengths:?}");
    assert!(event.headers.contains(&("Audio-Stream-Truncated", "true".into())));
    assert!(event.headers.contains(&("Audio-Stream-Length", (2 * MAX_BODY).to_string())));
    let event = rendered(Disconnect { code: 1011, reason: "é".repeat(MAX_BODY).into() });
    assert!(event.body.unwrap().len() < 2 * MAX_REASON);
    let event = rendered(Json("a\0b".into()));
    assert_eq!(event.body.as_deref(), Some("a\u{fffd}b"), "a NUL would end the text in C");
}

#[test]
fn every_event_has_a_subclass_of_its_own() {
    let subclasses: HashSet<_> = EVENTS.iter().map(|row| row.subclass).collect();
    assert_eq!(subclasses.len(), EVENTS.len());
    for row in EVENTS {
        assert_eq!(rendered((row.example)()).subclass, row.subclass);
        assert!(row.subclass.starts_with("mod_audio_stream::"));
    }
}

#[test]
fn error_codes_in_the_documentation_are_the_codes() {
    for code in ErrorCode::ALL {
        assert!(Error::DOC.contains(&format!("{} {}", code.as_u8(), code.as_str())), "{code:?}");
    }
}
