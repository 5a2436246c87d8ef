//! Commands as an operator gives them to the loaded module: what they do, what they answer, what they refuse.

use std::time::Duration;

use crate::calls::{LOUD, Stream, api, call, parked, pass, playing, switch};
use crate::host::{CallOptions, flag, level};
use crate::support::websocket_server::{Gate, Handshake, PATIENCE, Received, Script, WebSocketServer};
use crate::support::{eventually, signal};
use serde_json::{Value, json};

fn json_of(line: &str) -> Value {
    let reply = api(line);
    serde_json::from_str(&reply).unwrap_or_else(|error| panic!("{error}: {reply}"))
}

/// Waits until the module knows no stream of the call any more.
fn wait_forgotten(uuid: &str) {
    let gone = || json_of("list")["streams"].as_array().unwrap().iter().all(|one| one["session_uuid"] != uuid);
    assert!(eventually(PATIENCE, gone), "{}", json_of("list"));
}

#[test]
fn start_attaches_and_stop_closes_with_1000_and_detaches() {
    let call = call(parked());
    let stream = Stream::start(&call, "");
    assert_eq!(call.bugs(), 1);
    let connected = stream.wait_event("connect");
    assert_eq!(connected.json(), json!({"status": "connected"}));
    assert_eq!(connected.header("Unique-ID"), Some(call.uuid()), "an event has its channel's data");
    stream.ok("stop");
    assert_eq!(call.bugs(), 0, "the bug is off the call when stop answers");
    assert_eq!(stream.connection.wait_end(), Received::Close(1000, "Normal closure".into()));
    let gone = stream.wait_event("disconnect").json();
    assert_eq!((&gone["status"], &gone["message"]["code"]), (&json!("disconnected"), &json!(1000)));
    assert_eq!(stream.command("health"), "-ERR no stream 'default' on this call; start one first");
}

#[test]
fn pauses_mutes_and_gains_are_logged_and_digits_are_not() {
    let call = call(parked());
    let stream = Stream::start(&call, "");
    let words = ["pause", "resume playback", "gain leg -6", "mute agent", "unmute agent", "dtmf 4711@50", "clear"];
    words.iter().for_each(|words| stream.ok(words));
    assert!(stream.command("gain agent 99").starts_with("-ERR"));
    let expected = [
        "pause ok stream=default what=capture",
        "resume ok stream=default what=playback",
        "gain ok stream=default what=\"leg -6.0 dB\"",
        "mute ok stream=default what=agent",
        "unmute ok stream=default what=agent",
        "dtmf ok stream=default what=\"4 tones\"",
        "clear ok stream=default what=playback",
    ];
    let told = || {
        let mark = format!("[{}] LIFECYCLE ", call.uuid());
        let lines =
            switch().logs().into_iter().filter_map(|log| Some(log.text.split_once(&mark)?.1.trim_end().to_owned()));
        lines.filter(|line| line.contains(" what=")).collect::<Vec<_>>()
    };
    assert!(eventually(PATIENCE, || told().len() >= expected.len()), "{:?}", told());
    assert_eq!(told(), expected.map(|line| format!("{line} by=freeswitch")));
}

#[test]
fn the_log_says_who_gave_a_command_and_what_came_of_it() {
    let call = call(parked());
    let stream = Stream::start(&call, "");
    let uuid = call.uuid();
    let line = |text: &str| {
        let wanted = format!("[{uuid}] LIFECYCLE {text}");
        switch().wait_log(|log| log.text.trim_end() == wanted);
    };
    line("start ok stream=default by=freeswitch");
    stream.ok("send_text my PIN is 4711");
    line("send_text ok stream=default what=\"14 bytes\" by=freeswitch");
    assert!(api(&format!("{uuid} stop name=other")).starts_with("-ERR"));
    line("stop refused stream=other reason=\"no stream 'other' on this call; it has default\" by=freeswitch");
    let reply = switch().api_over_http("alice", &format!("uuid_audio_stream {uuid} mute agent"));
    assert_eq!(reply.trim(), "+OK Success");
    line("mute ok stream=default what=agent by=freeswitch by_user=alice");
    call.execute("audio_stream", "stop");
    line("stop ok stream=default by=dialplan");
    // What cannot be read has its call and verb all the same.
    assert!(api(&format!("{uuid} pause now")).starts_with("-ERR"));
    line("pause refused reason=\"pause now: give capture or playback\" by=freeswitch");
    assert!(api(&format!("{uuid} start ftp://bob:hunter2@h/")).starts_with("-ERR"));
    line("start refused reason=\"the URL must begin with ws:// or wss://, but got 'ftp://h…'\" by=freeswitch");
    call.execute("audio_stream", "clear all");
    line("clear refused reason=\"clear takes no further argument, but got 'all'\" by=dialplan");
}

#[test]
fn a_text_that_names_another_stream_reaches_none() {
    let call = call(parked());
    let default = Stream::start(&call, "");
    let leg = Stream::start_as(&call, "leg", Script::default(), "");
    let uuid = call.uuid();
    for line in ["stop leg", "send_text leg hello", "say LEG hello", "stop nmae=leg"] {
        let reply = api(&format!("{uuid} {line}"));
        assert!(reply.starts_with("-ERR the call has another stream 'leg': give '"), "{line}: {reply}");
        assert!(reply.contains("name=leg …") && reply.contains("name=default …"), "{reply}");
    }
    call.execute("audio_stream", "stop leg");
    default.sync();
    leg.sync();
    assert_eq!((call.bugs(), default.texts().len(), leg.texts().len()), (2, 0, 0), "nothing was done");
    let mark = |text: &str| format!("[{uuid}] LIFECYCLE stop refused stream=default {text}");
    switch().wait_log(|log| log.text.starts_with(&mark("what=\"3 bytes\" reason=\"the call has another stream 'leg'")));

    // The same text by intent, another one, and the other stream.
    default.ok("send_text leg hello");
    default.connection.wait_text(|text| text == "leg hello");
    assert_eq!(api(&format!("{uuid} send_text legs")), "+OK Success");
    default.connection.wait_text(|text| text == "legs");
    leg.ok("stop");
    assert_eq!(
        api(&format!("{uuid} stop leg")),
        "+OK Success; stream 'default' ends with the text as its last message",
        "there is no such stream any more"
    );
    default.connection.wait_text(|text| text == "leg");
}

#[test]
fn what_changes_nothing_is_said_in_the_reply_and_the_log() {
    let call = call(parked());
    let server = WebSocketServer::start(Script::default());
    let line = format!("{} start {} mono 8k duck_db=20 reconnect_ms=100 name=leg", call.uuid(), server.url());
    let warnings = [
        "'name=…' is not an option here and counts as metadata; name=<id> comes right after the verb",
        "duck_db has no effect here: it needs inject_mode=duck",
        "reconnect_ms has no effect here: it needs reconnect_max",
    ];
    let expected: String = warnings.iter().map(|warning| format!("; warning: {warning}")).collect();
    assert_eq!(api(&line), format!("+OK Success{expected}"));
    for warning in warnings {
        let mark = format!("[{}] LIFECYCLE options adjusted stream=default ", call.uuid());
        switch().wait_log(|log| log.text.starts_with(&mark) && log.text.contains(warning));
    }
}

#[test]
fn credentials_of_urls_are_in_no_reply_and_no_log() {
    let call = call(parked());
    let uuid = call.uuid();
    for line in [
        format!("{uuid} start wss://bob:s3cretpw@h:x/"),
        format!("{uuid} wss://bob:s3cretpw@127.0.0.1/"),
        format!("{uuid} start_ai https://bob:s3cretpw@h/s3cretpw"),
        format!("{uuid} start_ai openai_model=m openai_api_key=k openai_base_url=https://bob:s3cretpw@h/s3cretpw"),
        format!("{uuid} start_ai tts_url=https://bob:s3cretpw@h/?s3cretpw"),
        format!("{uuid} transcribe protocol=soniox transcribe_url=https://bob:s3cretpw@h/s3cretpw"),
        format!("{uuid} start ws://127.0.0.1:1/ username=bob:s3cretpw"),
        "breakers reset wss://bob:s3cretpw@nowhere.example/s3cretpw".to_owned(),
        "breakers reset bob:s3cretpw@nowhere.example".to_owned(),
        "start wss://bob:s3cretpw@h/".to_owned(),
    ] {
        let reply = api(&line);
        assert!(reply.starts_with("-ERR") || reply.starts_with("-USAGE"), "{line}: {reply}");
        assert!(!reply.contains("s3cretpw"), "{reply}");
    }
    // Where the stream leads is shown without the token of its path.
    let server = WebSocketServer::start(Script::default());
    let path = "token/s3cretpw/in?key=s3cretpw";
    let url = server.url();
    let origin = url.rsplit_once('/').unwrap().0;
    assert_eq!(api(&format!("{uuid} start {origin}/{path}")), "+OK Success");
    server.connection(0);
    let list = json_of("list");
    assert!(list.to_string().contains(&format!("{origin}/token/***/in?***")), "{list}");
    assert!(!list.to_string().contains("s3cretpw"));
    assert_eq!(api(&format!("{uuid} stop")), "+OK Success");
    wait_forgotten(uuid);
    assert!(switch().logs().iter().all(|log| !log.text.contains("s3cretpw")));
}

#[test]
fn a_flood_of_commands_fills_no_log() {
    let call = call(parked());
    let stream = Stream::start(&call, "");
    std::thread::sleep(Duration::from_millis(1_100));
    let began = std::time::Instant::now();
    for number in 0..60 {
        stream.ok(&format!("send_text {number}"));
    }
    let seconds = began.elapsed().as_secs_f64();
    stream.ok("stop");
    let ours = |log: &crate::host::Log| log.text.starts_with(&format!("[{}]", call.uuid()));
    let last = switch().wait_log(|log| ours(log) && log.text.contains("LIFECYCLE stream_closed ok"));
    let texts = |of: &dyn Fn(i32) -> bool| {
        let logs = switch().logs();
        logs.iter().filter(|log| ours(log) && of(log.level) && log.text.contains("LIFECYCLE send_text ok")).count()
    };
    let shown = texts(&|level| level <= level::INFO);
    // Of a machine so busy that it takes a command a second nothing has to be held back.
    assert_eq!(last.text.contains(" held_back="), shown < 60, "{}", last.text);
    assert!(shown >= 1 && shown as f64 <= 9.0 * (seconds + 1.0), "{shown} lines in {seconds} s");
    assert_eq!(texts(&|_| true), 60, "at DEBUG each of them is there");
}

#[test]
fn stop_sends_its_text_last() {
    let call = call(parked());
    let stream = Stream::start(&call, "mono 8k hello");
    call.speak(&[1; 800]);
    call.tick(5);
    stream.ok(r#"stop {"bye":  "now"}"#);
    stream.connection.wait_end();
    let messages: Vec<_> = stream.connection.arrivals().into_iter().map(|arrival| arrival.message).collect();
    let (first, last) = (messages.first().unwrap(), &messages[messages.len() - 2]);
    assert_eq!(first, &Received::Text("hello".into()));
    assert_eq!(last, &Received::Text(r#"{"bye":  "now"}"#.into()));
    assert_eq!(stream.connection.audio(), [1; 800], "what was captured comes before the text");
}

#[test]
fn a_second_stop_is_refused_and_harmless() {
    let call = call(parked());
    let stream = Stream::start(&call, "");
    stream.ok("stop");
    assert_eq!(stream.command("stop"), "-ERR no stream 'default' on this call; start one first");
    stream.wait_event("disconnect");
    wait_forgotten(call.uuid());
    assert_eq!(stream.events("disconnect").len(), 1);
}

#[test]
fn a_name_is_free_again_as_soon_as_its_stream_was_stopped() {
    let call = call(parked());
    let frozen = Stream::start_as(&call, "default", Script::of([crate::support::websocket_server::Action::Freeze]), "");
    frozen.ok("stop");
    let next = Stream::start(&call, "");
    call.speak(&[3; 160]);
    pass(&call, &[&next], 1);
    assert_eq!(next.stop(), [3; 160]);
}

#[test]
fn what_is_said_while_paused_is_never_sent() {
    let call = call(parked());
    let stream = Stream::start(&call, "mono 8k");
    let said = signal::speech(8_000, 300, 5);
    let (before, rest) = said.split_at(800);
    let (during, after) = rest.split_at(800);
    call.speak(before);
    pass(&call, &[&stream], 5);
    stream.ok("pause");
    assert_eq!(stream.health()["state"], "PAUSED");
    call.speak(during);
    pass(&call, &[&stream], 5);
    stream.ok("resume");
    assert_eq!(stream.health()["state"], "STREAMING");
    call.speak(after);
    pass(&call, &[&stream], 5);
    assert_eq!(stream.stop(), [before, after].concat());
}

#[test]
fn a_paused_stream_still_knows_that_the_call_is_alive() {
    let call = call(CallOptions::default());
    let stream = Stream::start(&call, "");
    stream.ok("pause");
    std::thread::sleep(Duration::from_millis(1_200));
    let ago = || stream.health()["capture"]["last_frame_ms_ago"].as_u64().unwrap();
    assert!(eventually(PATIENCE, || ago() < 1_000), "frames come every 20 ms, paused or not: {}", stream.health());
}

#[test]
fn send_text_keeps_spaces_quotes_and_percent_signs() {
    let call = call(parked());
    let stream = Stream::start(&call, "");
    let texts = [r#"{"a":  "b  c"}"#, "two  words", "100%s %n ${uuid} \\ ' \" ✓", " leading space"];
    for text in texts {
        stream.ok(&format!("send_text {text}"));
    }
    assert!(eventually(PATIENCE, || stream.texts() == texts), "{:?}", stream.texts());
}

#[test]
fn a_text_sent_before_connecting_arrives_after_the_metadata() {
    let call = call(parked());
    let gate = Gate::after(0);
    let server = WebSocketServer::start(Script::default().with_handshake(Handshake::Gate(gate.clone())));
    assert_eq!(api(&format!("{} start {} mono 8k metadata", call.uuid(), server.url())), "+OK Success");
    assert_eq!(api(&format!("{} send_text one", call.uuid())), "+OK Success");
    assert_eq!(api(&format!("{} send_text two", call.uuid())), "+OK Success");
    gate.open();
    let connection = server.connection(0);
    assert!(eventually(PATIENCE, || connection.texts().len() == 3));
    assert_eq!(connection.texts(), ["metadata", "one", "two"]);
}

#[test]
fn a_mistyped_option_is_named_in_the_reply_and_sent() {
    let reply = |metadata: &str| {
        let call = call(parked());
        let server = WebSocketServer::start(Script::default());
        let reply = api(&format!("{} start {} mono 8k {metadata}", call.uuid(), server.url()));
        let connection = server.connection(0);
        assert!(eventually(PATIENCE, || connection.texts() == [metadata]));
        reply
    };
    assert_eq!(
        reply("bufer_ms=40"),
        "+OK Success; warning: 'bufer_ms=…' is not an option here and counts as metadata; did you mean buffer_ms?"
    );
    assert_eq!(
        reply("noise_gate=1"),
        "+OK Success; warning: 'noise_gate=…' is not an option here and counts as metadata; options stand before the metadata"
    );
    assert_eq!(reply(r#"{"bufer_ms=40": "bufer_ms=40"}"#), "+OK Success");
    assert_eq!(reply("token=1"), "+OK Success");
    assert_eq!(reply("hello bufer_ms=40"), "+OK Success");
}

#[test]
fn metadata_arrives_first_and_byte_for_byte() {
    let long = format!(r#"{{"long":"{}"}}"#, "x".repeat(60_000));
    let metadata = [
        r#"{"who": "Jane  Doe",   "n": [1, 2], "quote": "a \"b\" \\ c", "ä": "✓ 100%", "v": "${uuid} %s%n"}"#,
        "plain words, no JSON",
        "{\"tab\":\t1}",
        "tomono=1 not=an-option mono 8k",
        &long,
    ];
    for (number, metadata) in metadata.into_iter().enumerate() {
        for arguments in ["", "mono 8k ", "stereo 16000 buffer_ms=40 "] {
            let call = call(playing());
            let stream = Stream::start(&call, &format!("{arguments}{metadata}"));
            pass(&call, &[&stream], 2);
            let first = stream.connection.arrivals()[0].message.clone();
            assert!(first == Received::Text(metadata.to_owned()), "{number} after '{arguments}': {first:?}");
        }
    }
}

#[test]
fn without_metadata_audio_is_the_first_message() {
    let call = call(parked());
    let stream = Stream::start(&call, "mono 8k");
    call.tick(2);
    stream.connection.wait_bytes(320);
    assert!(matches!(stream.connection.arrivals()[0].message, Received::Binary(_)));
}

#[test]
fn every_refusal_says_why_and_attaches_nothing() {
    let call = call(parked());
    let uuid = call.uuid();
    let server = WebSocketServer::start(Script::default());
    let url = server.url();
    let unclosed = format!("{uuid} start {url} mono 8k headers={{\"a\": \"b\"");
    for (line, reply) in [
        (format!("{uuid} start {url} quadro"), "-ERR bad mix type 'quadro': give mono, mixed or stereo"),
        (format!("{uuid} start {url} mono 11025"), "-ERR bad sampling rate '11025'"),
        (format!("{uuid} start {url} mono 7k"), "-ERR bad sampling rate '7k'"),
        (format!("{uuid} start {url} buffer_ms=7"), "-ERR bad value '7' for buffer_ms: give 20 to 1000 ms"),
        (
            format!("{uuid} start {url} buffer_ms=30"),
            "-ERR buffer_ms=30 is not a multiple of the call's ptime of 20 ms",
        ),
        (format!("{uuid} start {url} buffer_ms=20 buffer_ms=40"), "-ERR buffer_ms is given twice"),
        (
            format!("{uuid} start {url} inject_mode=loud"),
            "-ERR bad value 'loud' for inject_mode: give replace, mix or duck",
        ),
        (format!("{uuid} start {url} protocol=morse"), "-ERR bad value 'morse' for protocol"),
        (format!("{uuid} start {url} profile=nobody"), "-ERR no profile 'nobody'"),
        (format!("{uuid} start {url} password=hunter2"), "-ERR password needs username"),
        (format!("{uuid} start {url} tls_cert=/c.pem"), "-ERR tls_cert and tls_key need each other"),
        (unclosed, "-ERR the value of headers has no end"),
        (format!("{uuid} start http://127.0.0.1:1/x"), "-ERR the URL must begin with ws:// or wss://"),
        (format!("{uuid} start nonsense mono"), "-ERR the URL must begin with ws:// or wss://"),
        (format!("{uuid} start ws://host:99999/"), "-ERR bad URL"),
        (format!("{uuid} start ws://host:0/"), "-ERR the URL has port 0"),
        (format!("{uuid} start ws://host/#a"), "-ERR the URL has a fragment"),
        (format!("{uuid} start name=a/b {url}"), "-ERR bad stream name 'a/b'"),
        (format!("{uuid} start"), "-USAGE: <uuid> start"),
        (format!("{uuid} send_text"), "-USAGE: <uuid> send_text"),
        (format!("{uuid} send_text hello"), "-ERR no stream 'default' on this call; start one first"),
        (format!("{uuid} stop"), "-ERR no stream 'default' on this call; start one first"),
        (format!("{uuid} pause"), "-ERR no stream 'default' on this call"),
        (format!("{uuid} resume"), "-ERR no stream 'default' on this call"),
        (format!("{uuid} clear"), "-ERR no stream 'default' on this call"),
        (format!("{uuid} health"), "-ERR no stream 'default' on this call"),
        (format!("{uuid} pause now"), "-ERR pause now: give capture or playback"),
        (format!("{uuid} dance"), "-ERR no command 'dance'; give one of start, transcribe, start_ai, stop, pause"),
        (uuid.to_owned(), "-USAGE: uuid_audio_stream <uuid> start"),
        ("stop".to_owned(), "-USAGE: <uuid> stop [name=<id>] [text] (the call's uuid is missing)"),
        (format!("start {url}"), "-USAGE: <uuid> start "),
        (String::new(), "-USAGE: uuid_audio_stream <uuid> start"),
        ("list more".to_owned(), "-ERR list takes no further argument, but got 'more'"),
        (format!("{uuid} send_text {}", "x".repeat(70_000)), "-ERR the line has 70"),
    ] {
        let answer = api(&line);
        assert!(answer.starts_with(reply), "'{}' answered: {answer}", &line[..line.len().min(200)]);
        assert!(!answer.contains('\n') && !answer.contains("hunter2"), "{answer}");
    }
    assert_eq!((call.bugs(), server.accepted()), (0, 0));
}

#[test]
fn bytes_that_are_no_utf_8_are_refused() {
    let call = call(parked());
    let stream = Stream::start(&call, "");
    let line = [format!("{} send_text caf", call.uuid()).as_bytes(), b"\xe9 au lait"].concat();
    let answer = switch().api_bytes("uuid_audio_stream", &line);
    let place = line.len() - 9;
    assert_eq!(answer, format!("-ERR the line is not UTF-8 (byte {place}); texts and metadata must be UTF-8\n"));
    stream.sync();
    assert!(stream.texts().is_empty());
}

#[test]
fn an_unknown_call_is_refused() {
    for command in ["start ws://127.0.0.1:1/", "stop", "pause", "resume", "send_text x", "clear", "health"] {
        assert_eq!(api(&format!("11111111-2222-4333-8444-555555555555 {command}")), "-ERR No such channel!");
        assert_eq!(api(&format!("%s%n%s {command}")), "-ERR No such channel!");
    }
}

#[test]
fn a_call_that_cannot_be_captured_is_refused() {
    let server = WebSocketServer::start(Script::default());
    let refused = |options: CallOptions, set: &[i32]| {
        let call = call(options);
        set.iter().for_each(|&flag| call.set_flag(flag, true));
        let answer = api(&format!("{} start {}", call.uuid(), server.url()));
        assert_eq!(call.bugs(), 0);
        answer
    };
    assert!(refused(parked(), &[flag::PROXY_MODE]).starts_with("-ERR the call's media does not pass"));
    assert!(refused(parked(), &[flag::PROXY_MEDIA]).starts_with("-ERR the call's media passes through undecoded"));
    assert_eq!(server.accepted(), 0);
}

#[test]
fn a_call_with_early_media_streams() {
    let call = call(CallOptions { answered: false, ..parked() });
    call.set_flag(flag::EARLY_MEDIA, true);
    let stream = Stream::start(&call, "");
    call.speak(&[9; 320]);
    pass(&call, &[&stream], 2);
    assert_eq!(stream.stop(), [9; 320]);
}

#[test]
fn a_second_stream_needs_another_name() {
    let call = call(parked());
    let one = Stream::start(&call, "");
    let again = format!("{} start {}", call.uuid(), one.server.url());
    assert_eq!(
        api(&again),
        "-ERR stream 'default' is already running on this call; stop it first or start this one with name=<other>"
    );
    assert_eq!(call.bugs(), 1);
    one.sync();
    assert_eq!(one.server.accepted(), 1);
}

#[test]
fn two_streams_of_a_call_are_addressed_by_name() {
    let call = call(parked());
    let one = Stream::start_as(&call, "one", Script::default(), "mono 8k");
    let two = Stream::start_as(&call, "two", Script::default(), "mono 16k");
    let tone = signal::tone(8_000, 440.0, 200, LOUD);
    call.speak(&tone);
    pass(&call, &[&one, &two], 10);
    assert_eq!(api(&format!("{} stop", call.uuid())), "-ERR no stream 'default' on this call; it has one, two");
    assert_eq!(one.stop(), tone);
    one.wait_event("disconnect");
    assert!(two.events("disconnect").is_empty(), "the other stream goes on");
    call.speak(&tone);
    pass(&call, &[&two], 10);
    assert_eq!(two.health()["name"], "two");
    assert_eq!(two.stop().len(), 2 * 2 * tone.len());
}

#[test]
fn health_tells_how_the_stream_does() {
    let call = call(playing());
    let stream = Stream::start(&call, "mono 8k");
    pass(&call, &[&stream], 50);
    // Messages are counted when the socket has taken them.
    stream.connection.wait_bytes(50 * 320);
    stream.sync();
    let health = stream.health();
    assert_eq!((&health["session_uuid"], &health["name"]), (&json!(call.uuid()), &json!("default")));
    assert_eq!(
        (&health["mode"], &health["state"], &health["health"]),
        (&json!("ws"), &json!("STREAMING"), &json!("HEALTHY"))
    );
    assert_eq!(health["capture"]["frames_sent"], 50, "{health}");
    assert_eq!((&health["capture"]["dropped_frames"], &health["capture"]["drop_pct"]), (&json!(0), &json!(0.0)));
    assert_eq!((&health["inject"]["played_ms"], &health["inject"]["buffer_inuse_bytes"]), (&json!(0), &json!(0)));
    assert_eq!((&health["inject"]["underrun_pct"], &health["inject"]["overflow_count"]), (&json!(0.0), &json!(0)));
    assert_eq!(health["inject"]["buffer_capacity_bytes"], 120_000 * 16, "120 s of 8 kHz: {health}");
    for key in ["p50_us", "p99_us", "max_us"] {
        assert!(health["callback"][key].as_f64().is_some_and(|us| us > 0.0), "{health}");
    }
    assert!(health["uptime_sec"].is_u64());
}

#[test]
fn list_shows_each_stream_and_no_secret() {
    let call = call(parked());
    let stream = Stream::start_as(&call, "listed", Script::default(), "stereo 16k username=jane password=hunter2");
    stream.wait_event("connect");
    let list = json_of("list");
    let streams = list["streams"].as_array().unwrap();
    assert_eq!(list["count"], streams.len());
    let mine = streams.iter().find(|one| one["session_uuid"] == call.uuid()).unwrap();
    assert_eq!(
        (&mine["name"], &mine["mix"], &mine["rate"], &mine["protocol"], &mine["state"], &mine["endpoint"]),
        (
            &json!("listed"),
            &json!("stereo"),
            &json!(16_000),
            &json!("native"),
            &json!("STREAMING"),
            &json!(stream.server.url())
        )
    );
    let health = stream.health().to_string();
    assert!(!format!("{list}{health}").contains("hunter2"));
    assert!(switch().logs().iter().all(|log| !log.text.contains("hunter2")));
}

#[test]
fn version_and_global_health_tell_what_is_loaded() {
    let call = call(parked());
    let _stream = Stream::start(&call, "");
    let version = json_of("version");
    assert_eq!(version["version"], env!("CARGO_PKG_VERSION"));
    for key in ["commit", "date", "profile", "rustc", "freeswitch_abi"] {
        assert!(version["build"][key].as_str().is_some_and(|text| !text.is_empty()), "{version}");
    }
    let global = json_of("global_health");
    assert_eq!((&global["version"], &global["build"]), (&version["version"], &version["build"]));
    let number = |key: &str| global[key].as_u64().unwrap_or_else(|| panic!("{key} in {global}"));
    // Other tests have streams, too.
    assert!(number("active_ws_sessions") >= 1 && number("total_sessions_created") >= 1);
    assert_eq!(
        number("active_ws_sessions") + number("active_ai_sessions"),
        number("healthy") + number("degraded") + number("unhealthy")
    );
}

#[test]
fn headers_credentials_and_subprotocol_reach_the_server() {
    let call = call(parked());
    let script = Script::default().with_handshake(Handshake::Subprotocol("audio.example.org"));
    let options = r#"subprotocol=audio.example.org username=jane password=secret headers={"X-Tenant": "a b"}"#;
    let stream = Stream::start_as(&call, "default", script, &format!("mono 8k {options} and metadata"));
    assert_eq!(stream.connection.wait_text(|_| true), "and metadata");
    assert_eq!(stream.connection.header("authorization"), Some("Basic amFuZTpzZWNyZXQ="));
    assert_eq!(stream.connection.header("x-tenant"), Some("a b"));
}

#[test]
fn an_option_nobody_gave_never_refuses_a_call_for_its_ptime() {
    for (ptime_ms, message_ms) in [(10, 20), (20, 20), (30, 30), (40, 40), (60, 60)] {
        let call = call(CallOptions { ptime_ms, ..parked() });
        let stream = Stream::start(&call, "mono 8k");
        pass(&call, &[&stream], 120 / ptime_ms as usize);
        assert!(stream.connection.binaries().iter().all(|message| message.len() == message_ms * 16), "{ptime_ms} ms");
        assert_eq!(stream.stop().len(), 960);
    }
}

#[test]
fn the_command_is_registered_with_syntax_and_completion() {
    let (_, syntax) = switch().apis().into_iter().find(|(name, _)| name == "uuid_audio_stream").unwrap();
    let completions = switch().completions();
    for verb in ["start", "stop", "pause", "resume", "send_text", "clear", "health"] {
        assert!(syntax.contains(&format!("<uuid> {verb} [name=<id>]")), "{syntax}");
        assert!(completions.contains(&format!("uuid_audio_stream ::console::list_uuid {verb}")), "{completions:?}");
    }
    for verb in ["global_health", "list", "breakers", "version"] {
        assert!(syntax.contains(verb) && completions.contains(&format!("uuid_audio_stream {verb}")));
    }
}

#[test]
fn a_stopped_stream_is_forgotten() {
    let call = call(parked());
    let stream = Stream::start(&call, "");
    stream.stop();
    wait_forgotten(call.uuid());
}
