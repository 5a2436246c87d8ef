//! What is written into FreeSWITCH's log depends on its level.

use crate::calls::{Stream, parked};
use crate::host::{Host, level};
use crate::support::websocket_server::{Action, Script};

#[test]
fn lines_that_freeswitch_throws_away_are_not_made() {
    let host = Host::start("");
    host.set_log_level(level::INFO);
    host.load_module().unwrap();
    let call = host.call(parked());
    let texts: Vec<_> =
        (0..20).map(|number| Action::Text(format!(r#"{{"type":"before","number":{number}}}"#))).collect();
    let stream = Stream::start_on(&host, &call, "default", Script::of(texts), "mono 8k");
    host.wait_event(|event| event.body.as_deref().is_some_and(|body| body.contains(r#""number":19"#)));
    stream.sync();
    assert_eq!(host.unwanted_lines(), 0, "lines of level DEBUG have been made");
    assert!(host.logs().iter().any(|log| log.level == level::INFO || log.level == level::NOTICE), "{:?}", host.logs());

    // Within a second of another level.
    host.set_log_level(level::DEBUG);
    let shown = |log: &crate::host::Log| log.level == level::DEBUG && log.text.contains("after");
    while !host.logs().iter().any(shown) {
        stream.connection.order(Action::Text(r#"{"type":"after"}"#.into()));
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    host.set_log_level(level::DEBUG);
}
