//! Servers find the call in other systems, and services learn nothing of it that nobody has decided.

use crate::harness::in_freeswitch;
use crate::harness::sip::{Dial, SipCall};
use crate::realtime::{RealtimeServer, Script as Realtime};
use crate::support::websocket_server::{Connection, Script, WebSocketServer};

const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const OURS: [&str; 4] = ["x-call-id", "x-sip-call-id", "traceparent", "x-tenant"];

fn told(connection: &Connection) -> [Option<&str>; 4] {
    OURS.map(|name| connection.header(name))
}

#[test]
fn a_server_learns_which_call_it_is_and_a_service_does_not() {
    in_freeswitch(|freeswitch| {
        let traced = Dial::to("park").header("X-Traceparent", TRACE).header("X-Tenant", "Zoë & Söhne");
        let call = SipCall::place(freeswitch, &traced);
        let sip_call_id = freeswitch.variable(&call.uuid, "sip_call_id").expect("it is a SIP call");
        freeswitch.ok(&format!("uuid_setvar {} note one\ttwo", call.uuid));

        let server = WebSocketServer::start(Script::default());
        let options = "mono 8k headers_from=sip_h_X-Tenant,X-Note:note,missing";
        freeswitch.start_stream(&call.uuid, &server, options);
        let first = server.connection(0);
        assert_eq!(told(&first), [Some(call.uuid.as_str()), Some(&sip_call_id), Some(TRACE), Some("Zoë & Söhne")]);
        assert_eq!((first.header("x-note"), first.header("x-missing")), (Some("onetwo"), None));

        // A conversation of the same call: its service learns nothing, or all of it.
        for (name, option, knows) in [("quiet", "", false), ("open", "correlation=all", true)] {
            let service = RealtimeServer::start(Realtime::default());
            freeswitch.stream(
                &call.uuid,
                &format!(
                    "start_ai name={name} openai_base_url={} openai_api_key=sk-test openai_model=test-model headers_from=sip_h_X-Tenant {option}",
                    service.base_url()
                ),
            );
            let connection = service.connection(0);
            let headers = &connection.opening.headers;
            let header = |name: &str| headers.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str());
            // What a service cannot be sent is left out, and keeps nothing from starting.
            let ascii = |value: &&str| knows && value.is_ascii();
            assert_eq!(OURS.map(header), told(&first).map(|value| value.filter(ascii)), "{name}");
            assert_eq!(header("authorization"), Some("Bearer sk-test"));
            freeswitch.stream(&call.uuid, &format!("stop name={name}"));
        }
        let log = freeswitch.log();
        for warning in ["headers_from has no effect", "the header X-Tenant is not sent"] {
            assert_eq!(log.matches(warning).count(), 1, "{warning}: {log}");
        }
    });
}

#[test]
fn a_call_without_a_trace_begins_one_for_all_its_streams() {
    in_freeswitch(|freeswitch| {
        let calls = [Dial::to("park").header("X-Traceparent", "00-not-a-trace-01"), Dial::to("park")]
            .map(|dial| SipCall::place(freeswitch, &dial));
        let server = WebSocketServer::start(Script::default());
        let mut traces = Vec::new();
        for call in &calls {
            for name in ["one", "two"] {
                freeswitch.stream(&call.uuid, &format!("start name={name} {} mono 8k", server.url()));
                let connection = server.connection(traces.len());
                let trace = connection.header("traceparent").expect("there is one").to_owned();
                assert_eq!(freeswitch.variable(&call.uuid, "traceparent").as_deref(), Some(trace.as_str()));
                traces.push(trace);
            }
        }
        assert_eq!((&traces[0], &traces[2]), (&traces[1], &traces[3]), "one for each call");
        assert_ne!(traces[0], traces[2]);
        assert!(traces.iter().all(|trace| trace.len() == 55 && trace.starts_with("00-") && trace.ends_with("-01")));
        freeswitch.stream(&calls[0].uuid, &format!("start name=three {} mono 8k correlation=off", server.url()));
        assert_eq!(told(&server.connection(4)), [None; 4]);
    });
}
