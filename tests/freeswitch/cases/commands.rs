//! The command line as an operator types it.

use std::time::Duration;

use crate::harness::in_freeswitch;
use crate::harness::sip::{Dial, SipCall};
use crate::harness::stream::listen_to;
use crate::support::websocket_server::{Handshake, Received, Script, WebSocketServer};
use crate::support::{eventually, tls, wait_for};

const METADATA: &str = r#"{"who": "Jane  Doe",   "n": [1, 2], "quote": "a \"b\" \\ c", "ä": "✓ 100%"}"#;

#[test]
fn metadata_with_spaces_and_quotes_arrives_first_unchanged() {
    in_freeswitch(|freeswitch| {
        let server = WebSocketServer::start(Script::default());
        for (index, arguments) in ["", "mono 8k ", "mixed 16000 buffer_ms=40 "].into_iter().enumerate() {
            let uuid = freeswitch.originate("null/x", "park()", "");
            freeswitch.start_stream(&uuid, &server, &format!("{arguments}{METADATA}"));
            let connection = server.connection(index);
            connection.wait_bytes(640);
            assert_eq!(connection.arrivals()[0].message, Received::Text(METADATA.to_owned()));
        }
    });
}

#[test]
fn a_background_job_starts_a_stream_too() {
    in_freeswitch(|freeswitch| {
        let uuid = freeswitch.originate("null/x", "park()", "");
        let server = WebSocketServer::start(Script::default());
        let jobs = freeswitch.subscribe("plain BACKGROUND_JOB");
        let job = jobs.bgapi(&format!("uuid_audio_stream {uuid} start {} mono 8k {METADATA}", server.url()));
        let done = jobs.wait_event(Duration::from_secs(5), |event| event.get("Job-UUID") == Some(&job));
        assert!(done.expect("the job ends").body.unwrap_or_default().starts_with("+OK"));
        assert_eq!(server.connection(0).wait_text(|_| true), METADATA);
    });
}

#[test]
fn send_text_and_the_text_of_stop_keep_their_spaces() {
    in_freeswitch(|freeswitch| {
        let uuid = freeswitch.originate("null/x", "park()", "");
        let server = WebSocketServer::start(Script::default());
        freeswitch.start_stream(&uuid, &server, "");
        let connection = server.connection(0);
        freeswitch.stream(&uuid, r#"send_text {"a":  "b c"}"#);
        freeswitch.stream(&uuid, "send_text two  words");
        freeswitch.stream(&uuid, "stop good  bye");
        assert!(matches!(connection.wait_end(), Received::Close(1_000, _)), "{:?}", connection.ended());
        assert_eq!(connection.texts(), [r#"{"a":  "b c"}"#, "two  words", "good  bye"]);
    });
}

#[test]
fn every_refusal_says_why() {
    in_freeswitch(|freeswitch| {
        let uuid = freeswitch.originate("null/x", "park()", "");
        let server = WebSocketServer::start(Script::default());
        let url = server.url();
        let unknown = "11111111-2222-4333-8444-555555555555";
        assert_eq!(freeswitch.refused(unknown, &format!("start {url}")), "-ERR No such channel!");
        assert_eq!(freeswitch.refused(unknown, "stop"), "-ERR No such channel!");
        for (command, reason) in [
            (format!("start {url} quadro"), "mix"),
            (format!("start {url} mono 11025"), "rate"),
            (format!("start {url} mono 8k buffer_ms=7"), "buffer_ms"),
            ("start http://127.0.0.1:1/x mono".to_owned(), "ws"),
            ("start nonsense mono".to_owned(), ""),
            ("stop".to_owned(), ""),
            ("pause".to_owned(), ""),
            ("send_text hello".to_owned(), ""),
            ("dance".to_owned(), "dance"),
        ] {
            let answer = freeswitch.refused(&uuid, &command);
            assert!(answer.len() > 8 && answer.to_lowercase().contains(reason), "'{command}': {answer}");
        }
        assert_eq!(server.accepted(), 0);
        let usage = freeswitch.api("uuid_audio_stream");
        assert!(usage.starts_with("-USAGE:"), "{usage}");

        freeswitch.start_stream(&uuid, &server, "");
        let twice = freeswitch.refused(&uuid, &format!("start {url}"));
        assert!(twice.len() > 8, "{twice}");
        freeswitch.stream(&uuid, "stop");
        server.connection(0).wait_end();
        assert!(eventually(Duration::from_secs(5), || freeswitch.streams() == 0));
        freeswitch.refused(&uuid, "stop");
    });
}

#[test]
fn a_call_without_media_is_refused() {
    in_freeswitch(|freeswitch| {
        let events = freeswitch.subscribe("plain CHANNEL_PARK");
        let tag = freeswitch.new_uuid();
        let port = freeswitch.ports.sip;
        let dial = format!("{{sip_h_X-Tag={tag}}}sofia/tests/unanswered@127.0.0.1:{port} &park()");
        events.bgapi(&format!("originate {dial}"));
        let parked = events.wait_event(Duration::from_secs(5), |event| event.get("variable_sip_h_X-Tag") == Some(&tag));
        let ringing = parked.expect("the call arrives").uuid().to_owned();
        let server = WebSocketServer::start(Script::default());
        let answer = freeswitch.refused(&ringing, &format!("start {} mono 8k media_wait_s=0", server.url()));
        assert!(answer.contains("no audio yet"), "{answer}");
        assert_eq!(server.accepted(), 0);
    });
}

#[test]
fn several_streams_of_a_call_are_addressed_by_name() {
    in_freeswitch(|freeswitch| {
        let call = SipCall::place(freeswitch, &Dial::to("park"));
        let events = listen_to(freeswitch);
        let (one, two) = (WebSocketServer::start(Script::default()), WebSocketServer::start(Script::default()));
        freeswitch.stream(&call.uuid, &format!("start name=one {} mono 8k", one.url()));
        freeswitch.stream(&call.uuid, &format!("start name=two {} mono 16k", two.url()));
        one.connection(0).wait_bytes(3_200);
        two.connection(0).wait_bytes(6_400);
        let list = freeswitch.api("uuid_audio_stream list");
        assert!(list.contains("one") && list.contains("two") && list.contains(&call.uuid), "{list}");
        freeswitch.stream(&call.uuid, "stop name=one");
        one.connection(0).wait_end();
        let gone = events.wait_stream("disconnect", &call.uuid);
        assert!(gone.headers.iter().any(|(_, value)| value == "one"), "the event names its stream: {:?}", gone.headers);
        let before = two.connection(0).audio_bytes();
        two.connection(0).wait_bytes(before + 6_400);
        freeswitch.refused(&call.uuid, "health");
        assert_eq!(freeswitch.json(&format!("{} health name=two", call.uuid))["name"], "two");
    });
}

#[test]
fn health_version_and_list_print_json() {
    in_freeswitch(|freeswitch| {
        let call = SipCall::place(freeswitch, &Dial::to("park"));
        let server = WebSocketServer::start(Script::default());
        freeswitch.start_stream(&call.uuid, &server, "mono 8k");
        server.connection(0).wait_bytes(16_000);
        let health = freeswitch.json(&format!("{} health", call.uuid));
        assert_eq!((&health["session_uuid"], &health["health"]), (&call.uuid.as_str().into(), &"HEALTHY".into()));
        // The counters are brought up to date with the next tick.
        assert!(health["capture"]["frames_sent"].as_u64() >= Some(40), "{health}");
        assert_eq!(health["capture"]["dropped_frames"], 0, "{health}");
        assert!(health["callback"]["p99_us"].is_number(), "{health}");
        let global = freeswitch.json("global_health");
        assert_eq!((&global["active_ws_sessions"], &global["healthy"]), (&1.into(), &1.into()), "{global}");
        assert!(freeswitch.json("version").is_object());
        assert!(freeswitch.api("uuid_audio_stream list").contains(&call.uuid));
        let api = freeswitch.api("show api");
        assert!(api.lines().any(|line| line.starts_with("uuid_audio_stream,")), "show api lists the command");
    });
}

#[test]
fn headers_credentials_and_subprotocol_reach_the_server() {
    in_freeswitch(|freeswitch| {
        let uuid = freeswitch.originate("null/x", "park()", "");
        let server =
            WebSocketServer::start(Script::default().with_handshake(Handshake::Subprotocol("audio.example.org")));
        let options = r#"subprotocol=audio.example.org username=jane password=secret headers={"X-Tenant": "a b"}"#;
        freeswitch.start_stream(&uuid, &server, &format!("mono 8k {options} and metadata"));
        let connection = server.connection(0);
        assert_eq!(connection.wait_text(|_| true), "and metadata");
        assert_eq!(connection.header("authorization"), Some("Basic amFuZTpzZWNyZXQ="));
        assert_eq!(connection.header("x-tenant"), Some("a b"));
    });
}

#[test]
fn channel_variables_set_what_the_arguments_leave_open() {
    in_freeswitch(|freeswitch| {
        let variables = "STREAM_BUFFER_SIZE=60,AUDIO_STREAM_SUBPROTOCOL=from.variable";
        let uuid = freeswitch.originate("null/x", "park()", variables);
        let server = WebSocketServer::start(Script::default().with_handshake(Handshake::Subprotocol("from.variable")));
        freeswitch.start_stream(&uuid, &server, "mono 8k");
        server.connection(0).wait_bytes(4 * 960);
        assert!(server.connection(0).binaries().iter().all(|message| message.len() == 960));
    });
}

#[test]
fn wss_is_verified_against_the_ca_file() {
    in_freeswitch(|freeswitch| {
        let events = listen_to(freeswitch);
        let authority = tls::Authority::new();
        let ca = authority.write(&freeswitch.folder, "authority");
        let server = tls::server_config(&authority.server(&["127.0.0.1", "localhost"]), None);
        let peer = WebSocketServer::start_tls(Script::default(), server);

        let trusting = freeswitch.originate("null/x", "park()", "");
        freeswitch.start_stream(&trusting, &peer, &format!("mono 8k tls_ca={}", ca.display()));
        peer.connection(0).wait_bytes(3_200);

        let wary = freeswitch.originate("null/x", "park()", "");
        freeswitch.start_stream(&wary, &peer, "mono 8k");
        let error = events.wait_stream("error", &wary).json();
        assert_eq!(error["message"]["code"], 8, "{error}");
        assert_eq!(peer.connections().len(), 1);
        assert!(freeswitch.exists(&wary));
        wait_for("the refused stream to be gone", Duration::from_secs(5), || (freeswitch.streams() == 1).then_some(()));
    });
}
