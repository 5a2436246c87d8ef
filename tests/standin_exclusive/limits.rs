//! Limits and draining: what is refused and with which words, what goes on, and what ends.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::calls::{Stream, parked, pass, pass_paced, playing, wait_detached};
use crate::host::{Call, CallOptions, Host};
use crate::http::{get, serving_with};
use crate::metrics::{scrape, sum};
use crate::support::websocket_server::{PATIENCE, Play, Script, WebSocketServer};
use crate::support::{eventually, signal, wav};

fn settings(params: &[(&str, &str)]) -> String {
    let params: String =
        params.iter().map(|(name, value)| format!(r#"<param name="{name}" value="{value}"/>"#)).collect();
    format!(r#"<configuration name="audio_stream.conf"><settings>{params}</settings></configuration>"#)
}

fn loaded(configuration: &str) -> Host {
    let host = Host::start(configuration);
    host.load_module().unwrap();
    host
}

/// An empty folder for recordings.
fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// What a command about a call answers, on one line.
fn order(host: &Host, call: &Call<'_>, words: &str) -> String {
    host.api(&format!("uuid_audio_stream {} {words}", call.uuid())).trim_end().to_owned()
}

fn refused(host: &Host, reason: &str) -> f64 {
    sum(&scrape(host), "starts_refused_total", &[&format!(r#"reason="{reason}""#)])
}

fn parsed(host: &Host, command: &str) -> Value {
    serde_json::from_str(&host.api(&format!("uuid_audio_stream {command}"))).unwrap()
}

#[test]
fn each_limit_refuses_by_its_name_and_spares_the_rest() {
    let limits = [("max_streams", "4"), ("max_streams_per_call", "2"), ("max_streams_per_server", "3")];
    let host = loaded(&settings(&limits));
    let (first, second) = (host.call(parked()), host.call(parked()));
    let (server, other) = (WebSocketServer::start(Script::default()), WebSocketServer::start(Script::default()));
    let start = |call: &Call<'_>, name: &str, server: &WebSocketServer| {
        order(&host, call, &format!("start name={name} {} mono 8k", server.url()))
    };
    assert_eq!(start(&first, "a", &server), "+OK Success");
    assert_eq!(start(&first, "b", &server), "+OK Success");
    assert_eq!(
        start(&first, "c", &other),
        "-ERR max_streams_per_call=2: the call has that many streams; end one, or raise the setting"
    );
    assert_eq!(start(&second, "a", &server), "+OK Success");
    let origin = format!("ws://127.0.0.1:{}", server.port());
    assert_eq!(
        start(&second, "b", &server),
        format!("-ERR max_streams_per_server=3: {origin} has that many streams; end one, or raise the setting")
    );
    assert_eq!(start(&second, "b", &other), "+OK Success");
    let third = host.call(parked());
    let full = "-ERR max_streams=4: that many streams are running; end one, or raise the setting";
    assert_eq!(start(&third, "a", &other), full);
    for (reason, count) in [("max_streams", 1.0), ("max_streams_per_call", 1.0), ("max_streams_per_server", 1.0)] {
        assert_eq!(refused(&host, reason), count, "{reason}");
    }
    // A stream that is asked to end makes room at once.
    assert_eq!(order(&host, &first, "stop name=b"), "+OK Success");
    assert_eq!(start(&third, "a", &other), "+OK Success");
    assert_eq!(start(&third, "b", &other), full);
    // A reload applies to the next start.
    host.set_config("audio_stream.conf", Some(&settings(&[("max_streams", "5")])));
    host.reload_xml();
    assert_eq!(start(&third, "b", &other), "+OK Success");
}

#[test]
fn many_starts_at_once_do_not_pass_a_limit() {
    let host = loaded(&settings(&[("max_streams", "5")]));
    let server = WebSocketServer::start(Script::default());
    let calls: Vec<_> = (0..16).map(|_| host.call(parked())).collect();
    let lines: Vec<_> =
        calls.iter().map(|call| format!("uuid_audio_stream {} start {} mono 8k", call.uuid(), server.url())).collect();
    let started = std::thread::scope(|scope| {
        let threads: Vec<_> = lines.iter().map(|line| scope.spawn(|| host.api(line))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).filter(|reply| reply == "+OK Success\n").count()
    });
    assert_eq!((started, refused(&host, "max_streams")), (5, 11.0));
    assert_eq!(parsed(&host, "list")["count"], 5);
}

#[test]
fn memory_beyond_its_limit_refuses_new_streams_only() {
    let host = loaded(&settings(&[]));
    let call = host.call(parked());
    let stream = Stream::start_on(&host, &call, "default", Script::default(), "mono 8k");
    let kept: Vec<u8> = vec![1; 80 << 20];
    host.set_config("audio_stream.conf", Some(&settings(&[("max_memory_mib", "64")])));
    host.reload_xml();
    let reply = order(&host, &call, &format!("start name=b {} mono 8k", stream.server.url()));
    assert!(reply.starts_with("-ERR max_memory_mib=64: FreeSWITCH uses "), "{reply}");
    assert_eq!(refused(&host, "max_memory_mib"), 1.0);
    pass(&call, &[&stream], 5);
    assert_eq!(kept.iter().map(|byte| u64::from(*byte)).sum::<u64>(), 80 << 20);
}

#[test]
fn a_stream_ends_at_its_longest_duration_and_others_go_on() {
    let host = loaded(&settings(&[]));
    let call = host.call(playing());
    let brief = Stream::start_on(&host, &call, "brief", Script::default(), "mono 8k max_duration_s=1");
    let other = Stream::start_on(&host, &call, "other", Script::default(), "mono 8k");
    let begun = Instant::now();
    let ended = || !brief.events("disconnect").is_empty();
    while !ended() {
        pass_paced(&call, &[&other], 1, 20);
        assert!(begun.elapsed() < PATIENCE, "{}", brief.command("health"));
    }
    let end = brief.wait_event("disconnect");
    assert_eq!(end.json()["message"], json!({"code": 1000, "reason": "max_duration_s"}));
    brief.connection.wait_end();
    let counted = || sum(&scrape(&host), "streams_limited_total", &[r#"outcome="max_duration_s""#]) == 1.0;
    assert!(eventually(PATIENCE, counted));
    let before = other.heard().len();
    pass(&call, &[&other], 10);
    assert_eq!(other.heard().len(), before + 1_600, "the other stream of the call hears on");
    assert!(eventually(PATIENCE, || call.bugs() == 1), "its bug is off the call");
}

#[test]
fn draining_starts_nothing_new_and_lets_live_ones_go_on() {
    let (host, address) = serving_with("127.0.0.1:0", "");
    let folder = folder("draining");
    let call = host.call(playing());
    let stream = Stream::start_on(&host, &call, "default", Script::default(), "mono 8k");
    assert_eq!(order(&host, &call, &format!("record start {}/live.wav", folder.display())), "+OK Success");
    assert_eq!(host.api("uuid_audio_stream drain on"), "+OK Success\n");

    let refusal = "-ERR the module is draining and starts nothing new; 'drain off' ends that";
    for words in [
        &*format!("start name=b {} mono 8k", stream.server.url()),
        "start_ai name=b openai_api_key=k openai_model=m",
        &format!("record start name=b {}/new.wav", folder.display()),
    ] {
        assert_eq!(order(&host, &call, words), refusal, "{words}");
    }
    assert!(!folder.join("new.wav").exists());
    assert_eq!(refused(&host, "draining"), 2.0);
    assert_eq!(
        host.api("uuid_audio_stream drain status"),
        "{\"draining\":true,\"drain_ends_in_sec\":null,\"streams\":1,\"recordings\":1,\"waiting\":0}\n"
    );
    let ready = get(&address, "/readyz");
    assert_eq!((ready.status, ready.body.as_str()), (503, r#"{"ready":false,"reason":"draining"}"#));
    let health = get(&address, "/healthz");
    assert_eq!((health.status, &health.json()["draining"]), (200, &Value::from(true)));
    assert_eq!(parsed(&host, "global_health")["draining"], true);
    assert_eq!(sum(&scrape(&host), "draining", &[]), 1.0);

    // What is live works as before.
    let before = stream.heard().len();
    stream.play(Play::mono(signal::speech(8_000, 200, 3), 8_000));
    pass_paced(&call, &[&stream], 20, 20);
    assert_eq!(stream.heard().len(), before + 3_200);
    assert!(parsed(&host, &format!("{} health", call.uuid()))["inject"]["played_ms"].as_u64().unwrap() > 0);

    assert_eq!(host.api("uuid_audio_stream drain off"), "+OK Success\n");
    assert_eq!(get(&address, "/readyz").status, 200);
    assert_eq!(
        (parsed(&host, "drain status")["draining"].clone(), sum(&scrape(&host), "draining", &[])),
        (Value::from(false), 0.0)
    );
    let again = Stream::start_on(&host, &call, "b", Script::default(), "mono 8k");
    pass(&call, &[&stream, &again], 3);
    assert_eq!(order(&host, &call, "record stop"), "+OK Success");
}

#[test]
fn the_time_limit_of_draining_ends_streams_but_no_call() {
    let host = loaded(&settings(&[]));
    let folder = folder("drained");
    let (call, spared) = (host.call(playing()), host.call(playing()));
    let stream = Stream::start_on(&host, &call, "default", Script::default(), "mono 8k");
    assert_eq!(order(&host, &call, &format!("record start {}/live.wav", folder.display())), "+OK Success");
    pass(&call, &[&stream], 10);

    // A limit that is withdrawn ends nothing.
    assert_eq!(host.api("uuid_audio_stream drain on 1"), "+OK Success\n");
    assert_eq!(parsed(&host, "drain status")["drain_ends_in_sec"], 1);
    assert_eq!(host.api("uuid_audio_stream drain off"), "+OK Success\n");
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(1_500) {
        pass_paced(&call, &[&stream], 1, 20);
    }
    assert!(stream.events("disconnect").is_empty());

    let ringing = host.call(CallOptions { answered: false, ..parked() });
    let waits = order(&host, &ringing, &format!("start {} mono 8k", stream.server.url()));
    assert_eq!(waits, "+OK Success; waiting for the call's media");
    assert_eq!(host.api("uuid_audio_stream drain on 1"), "+OK Success\n");
    assert_eq!(parsed(&host, "drain status")["waiting"], 1);
    let end = stream.wait_event("disconnect");
    assert_eq!(end.json()["message"], json!({"code": 1000, "reason": "drain"}));
    wait_detached(&call);
    let none = || parsed(&host, "drain status")["streams"] == 0 && parsed(&host, "drain status")["recordings"] == 0;
    assert!(eventually(PATIENCE, none), "{}", parsed(&host, "drain status"));
    assert_eq!(sum(&scrape(&host), "streams_limited_total", &[r#"outcome="drain""#]), 1.0);
    let recording = wav::read(&folder.join("live.wav")).unwrap();
    assert!(recording.channel(0).len() >= 1_600, "the recording is whole");
    // Both calls go on.
    assert_eq!(parsed(&host, "drain status")["waiting"], 0);
    for call in [&call, &spared] {
        let before = call.frames_read();
        call.tick(5);
        assert!(call.frames_read() >= before + 5);
    }
}
