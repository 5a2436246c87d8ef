//! The page of metrics, with streams that run and streams that have ended.

use std::collections::BTreeMap;

use crate::calls::{Stream, parked, pass_paced, playing, wait_detached};
use crate::host::Host;
use crate::monitoring::promtool;
use crate::support::websocket_server::{Handshake, PATIENCE, Play, Script, WebSocketServer};
use crate::support::{eventually, signal};

const CONFIGURATION: &str = r#"<configuration name="audio_stream.conf"><settings/>
    <profiles><profile name="bot"><param name="inject_min_buffer_ms" value="0"/></profile></profiles></configuration>"#;

fn loaded() -> Host {
    let host = Host::start(CONFIGURATION);
    host.load_module().unwrap();
    host
}

/// The samples of a page, by what stands before their value.
fn samples(page: &str) -> BTreeMap<String, f64> {
    let lines = page.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    lines
        .map(|line| {
            let (sample, value) = line.rsplit_once(' ').unwrap();
            (sample.to_owned(), value.parse().unwrap_or_else(|_| panic!("{line}")))
        })
        .collect()
}

pub(crate) fn scrape(host: &Host) -> BTreeMap<String, f64> {
    samples(&host.api("uuid_audio_stream metrics"))
}

/// The samples of one metric whose labels have all of `labels`, added up.
pub(crate) fn sum(samples: &BTreeMap<String, f64>, name: &str, labels: &[&str]) -> f64 {
    let name = format!("audio_stream_{name}");
    let fits = |sample: &str| {
        let rest = sample.strip_prefix(&name).filter(|rest| rest.is_empty() || rest.starts_with('{'));
        rest.is_some_and(|rest| labels.iter().all(|label| rest.contains(label)))
    };
    samples.iter().filter(|(sample, _)| fits(sample)).map(|(_, value)| value).sum()
}

#[test]
fn metrics_count_what_callers_and_servers_were_given() {
    let host = loaded();
    let call = host.call(playing());
    let stream =
        Stream::start_on(&host, &call, "default", Script::default(), "mono 8k profile=bot token-of-the-server");
    let server = format!(r#"server="ws://127.0.0.1:{}""#, stream.server.port());
    let labels = [r#"protocol="native""#, r#"profile="bot""#, server.as_str()];
    stream.play(Play::mono(signal::speech(8_000, 200, 3), 8_000));
    call.speak(&[1_000; 1_600]);
    pass_paced(&call, &[&stream], 15, 20);
    let running = scrape(&host);
    for (name, least, most) in [
        ("streams", 1.0, 1.0),
        ("streams_started_total", 1.0, 1.0),
        ("connects_total", 1.0, 1.0),
        ("connect_seconds_count", 1.0, 1.0),
        ("captured_frames_total", 15.0, 15.0),
        ("audio_messages_sent_total", 15.0, 15.0),
        ("played_seconds_total", 0.2, 0.2),
        ("playback_frames_total", 10.0, 11.0),
        ("playback_delay_seconds_count", 1.0, 1.0),
        ("capture_delay_seconds_count", 1.0, 15.0),
        ("messages_received_total", 2.0, 9.0),
        ("faults_total", 0.0, 0.0),
    ] {
        let value = sum(&running, name, &labels);
        assert!((least..=most).contains(&value), "{name} is {value}: {running:#?}");
    }
    let delay = sum(&running, "playback_delay_seconds_sum", &labels);
    assert!(delay > 0.0 && delay < 10.0, "{delay}");
    assert!(sum(&running, "callback_seconds_count", &[]) >= 30.0, "READ and WRITE_REPLACE of 15 packets");
    assert!(sum(&running, "worker_lateness_seconds_count", &[]) > 1.0);
    assert_eq!(sum(&running, "stream_states", &[r#"mode="ws""#, r#"state="STREAMING""#]), 1.0);

    stream.play(Play::mono(signal::speech(8_000, 2_000, 3), 8_000));
    pass_paced(&call, &[&stream], 5, 20);
    stream.ok("clear");
    pass_paced(&call, &[&stream], 5, 20);
    assert_eq!(sum(&scrape(&host), "interruption_to_silence_seconds_count", &labels), 1.0);

    stream.stop();
    wait_detached(&call);
    let ended = || sum(&scrape(&host), "streams_ended_total", &[r#"outcome="ok""#]) == 1.0;
    assert!(eventually(PATIENCE, ended), "{:#?}", scrape(&host));
    let after = scrape(&host);
    assert_eq!(sum(&after, "streams", &labels), 0.0);
    for name in ["captured_frames_total", "played_seconds_total", "callback_seconds_count", "audio_messages_sent_total"]
    {
        let labels = if name.starts_with("callback") { &[][..] } else { &labels[..] };
        let (before, after) = (sum(&running, name, labels), sum(&after, name, labels));
        assert!(after >= before && before > 0.0, "the end of a stream takes nothing from {name}: {before}, {after}");
    }
    let page = host.api("uuid_audio_stream metrics");
    assert!(!page.contains(call.uuid()) && !page.contains("token-of-the-server"), "{page}");
}

#[test]
fn metrics_count_refusals_and_failed_connections() {
    let host = loaded();
    let call = host.call(parked());
    let server = WebSocketServer::start(Script::default().with_handshake(Handshake::Refuse(503)));
    let api = |words: &str| host.api(&format!("uuid_audio_stream {} {words}", call.uuid()));
    assert_eq!(api(&format!("start {}?key=hunter2", server.url())), "+OK Success\n");
    assert!(api("start_ai").starts_with("-ERR"), "no key");
    let failed = || sum(&scrape(&host), "streams_ended_total", &[r#"outcome="error""#]) == 1.0;
    assert!(eventually(PATIENCE, failed), "{:#?}", scrape(&host));
    let now = scrape(&host);
    assert_eq!(sum(&now, "connects_total", &[r#"outcome="CONNECT_FAILED""#]), 1.0, "{now:#?}");
    assert_eq!(sum(&now, "starts_refused_total", &[r#"reason="options""#]), 1.0);
    assert_eq!(sum(&now, "breakers", &[r#"kind="websocket""#, r#"state="closed""#]), 1.0);
    assert!(!host.api("uuid_audio_stream metrics").contains("hunter2"));
}

#[test]
fn promtool_finds_no_fault_in_the_metrics() {
    let host = loaded();
    let call = host.call(playing());
    let stream = Stream::start_on(&host, &call, "default", Script::default(), "mono 8k");
    stream.play(Play::mono(signal::speech(8_000, 100, 3), 8_000));
    pass_paced(&call, &[&stream], 10, 20);
    let page = host.api("uuid_audio_stream metrics");
    let Some(output) = promtool(&["check", "metrics"], &page, "promtool_finds_no_fault_in_the_metrics") else { return };
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && said.is_empty(), "{said}\n{page}");
}
