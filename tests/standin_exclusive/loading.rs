//! Loading, unloading and configuring the module. Each test has the switch for itself.

use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use crate::calls::{CONFIGURATION, LOUD, SERVER, Stream, is, parked, pass, playing, wait_detached};
use crate::host::{CallKind, CallOptions, Host, level};
use crate::realtime::{Answer, RealtimeServer, Script as Service};
use crate::support::websocket_server::{Action, Handshake, PATIENCE, Play, Received, Script, WebSocketServer};
use crate::support::{audio, eventually, signal, wav};

fn loaded(configuration: &str) -> Host {
    let host = Host::start(configuration);
    host.load_module().unwrap();
    host
}

fn settings(params: &str) -> String {
    format!(r#"<configuration name="audio_stream.conf"><settings>{params}</settings></configuration>"#)
}

fn param(name: &str, value: &str) -> String {
    format!(r#"<param name="{name}" value="{value}"/>"#)
}

/// The module's threads: name and scheduling policy.
fn threads() -> Vec<(String, i32)> {
    let tasks = fs::read_dir("/proc/self/task").unwrap().map(|task| task.unwrap().path());
    tasks
        .filter_map(|task| {
            let name = fs::read_to_string(task.join("comm")).ok()?.trim().to_owned();
            // Fields after the name in parentheses; the policy is the 41st of all.
            let stat = fs::read_to_string(task.join("stat")).ok()?;
            let policy = stat.rsplit(')').next()?.split_whitespace().nth(38)?.parse().ok()?;
            name.starts_with("mas-").then_some((name, policy))
        })
        .collect()
}

fn all_threads() -> usize {
    fs::read_dir("/proc/self/task").unwrap().count()
}

fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

fn resident_kb() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn load_registers_everything_and_unload_takes_all_of_it_back() {
    let host = Host::start(CONFIGURATION);
    let ours = |host: &Host| {
        let of = |list: Vec<(String, String)>| list.into_iter().map(|(name, _)| name).collect::<Vec<_>>();
        (of(host.apis()), of(host.applications()), host.completions(), host.subclasses(), threads().len())
    };
    let before = ours(&host);
    for _ in 0..3 {
        host.load_module().unwrap();
        assert_eq!(host.load_module(), Err("Module already loaded".to_owned()));
        let (apis, applications, completions, subclasses, threads) = ours(&host);
        let expected = ["audio_stream", "audio_stream_ai", "audio_stream_transfer"].map(str::to_owned).to_vec();
        assert_eq!((apis, applications), (vec!["uuid_audio_stream".to_owned()], expected));
        assert!(completions.len() >= 10, "{completions:?}");
        // A thread has its name from the moment it first runs, which may be after the load.
        assert!(threads >= 3 || eventually(PATIENCE, || self::threads().len() >= 3));
        for name in ["connect", "disconnect", "error", "json", "play", "overflow", "dtmf"] {
            let row = (format!("mod_audio_stream::{name}"), "mod_audio_stream".to_owned());
            assert!(subclasses.contains(&row), "{subclasses:?}");
        }
        host.unload_module(false).unwrap();
        assert_eq!(ours(&host), before);
        assert_eq!(host.api("uuid_audio_stream version"), "INVALID COMMAND!\n");
    }
}

#[test]
fn thread_count_does_not_depend_on_the_number_of_streams() {
    let host = loaded(CONFIGURATION);
    let named = |name: &str| threads().iter().any(|(thread, _)| thread == name);
    for name in ["mas-shard-0", "mas-clock", "mas-recorder", "mas-events", "mas-calls", "mas-starts", "mas-watch"] {
        // A thread has its name from the moment it first runs, which may be after the load.
        assert!(eventually(PATIENCE, || named(name)), "{:?}", threads());
    }
    let few = threads();
    assert!(few.iter().all(|(_, policy)| *policy == 0), "{few:?}");
    let server = WebSocketServer::start(Script::default());
    let calls: Vec<_> = (0..40).map(|_| host.call(parked())).collect();
    for (index, call) in calls.iter().enumerate() {
        host.api(&format!("uuid_audio_stream {} start {} mono 16k", call.uuid(), server.url()));
        server.connection(index);
        call.tick(2);
    }
    // Name look-ups have threads of their own for a while; addresses need none.
    assert_eq!(threads().len(), few.len());
}

#[test]
fn digits_after_an_unload_are_harmless_after_a_reload_single() {
    let host = loaded(CONFIGURATION);
    let call = host.call(parked());
    let told = |stream: &Stream<'_>| stream.wait_events("dtmf", 1).len();
    let stream = Stream::start_on(&host, &call, "first", Script::default(), "mono 8k");
    call.press("1", 100);
    pass(&call, &[&stream], 1);
    assert_eq!(told(&stream), 1);
    stream.stop();
    wait_detached(&call);
    // FreeSWITCH has no end of a hook but the session's.
    host.unload_module(true).unwrap();
    call.press("2", 100);
    call.tick(1);
    call.press_by_signalling("3", 100);
    host.load_module().unwrap();
    let stream = Stream::start_on(&host, &call, "second", Script::default(), "mono 8k");
    call.press("4", 100);
    pass(&call, &[&stream], 1);
    assert_eq!(told(&stream), 1);
    assert_eq!(stream.events("dtmf")[0].header("Audio-Stream-Digit"), Some("4"));
    assert_eq!(call.digits(), "1234");
}

#[test]
fn a_module_in_use_is_not_unloaded() {
    let host = loaded(CONFIGURATION);
    let call = host.call(playing());
    let stream = Stream::start_on(&host, &call, "default", Script::default(), "mono 8k");
    assert_eq!(host.unload_module(false), Err("Module in use.".to_owned()));
    let said = signal::speech(8_000, 200, 131);
    call.speak(&said);
    pass(&call, &[&stream], 10);
    assert_eq!(stream.stop(), said, "the stream does not notice");
    wait_detached(&call);
    assert_eq!(host.unload_module(false), Ok(()));
}

#[test]
fn a_forced_unload_ends_every_stream_and_no_call() {
    let host = loaded(CONFIGURATION);
    let (listening, waiting) = (
        WebSocketServer::start(Script::of([Action::Play(Play::mono(signal::tone(8_000, SERVER, 4_000, LOUD), 8_000))])),
        WebSocketServer::start(Script::default().with_handshake(Handshake::Never)),
    );
    let deaf = WebSocketServer::start(Script { never_read: true, ..Script::default() });
    let kinds = [CallKind::Parked, CallKind::Playing, CallKind::Echo];
    let calls: Vec<_> =
        (0..24).map(|number| host.call(CallOptions { kind: kinds[number % 3], ..CallOptions::default() })).collect();
    for (number, call) in calls.iter().enumerate() {
        call.speak(&signal::tone(8_000, 440.0, 3_000, LOUD));
        let server = [&listening, &waiting, &deaf, &listening][number % 4];
        let reply = host.api(&format!("uuid_audio_stream {} start {} stereo 16k", call.uuid(), server.url()));
        assert_eq!(reply, "+OK Success\n");
    }
    // Of four, one is never connected.
    let connected = || host.events().iter().filter(|event| is(event, "connect")).count() == calls.len() * 3 / 4;
    assert!(eventually(PATIENCE, connected), "they are connected");
    for connection in listening.connections() {
        connection.wait_bytes(1_280);
    }
    assert_eq!(host.unload_module(true), Ok(()));
    assert!(threads().is_empty(), "{:?}", threads());
    for (number, connection) in listening.connections().iter().enumerate() {
        let end = connection.wait_end();
        assert!(matches!(end, Received::Close(1000, _)), "{number}: {end:?}");
    }
    for call in &calls {
        call.wait_until("the bug is off the call", |call| call.bugs() == 0);
        let from = call.frames_read();
        call.wait_until("the call goes on", |call| call.frames_read() > from + 3);
    }
    let disconnected = host.events().iter().filter(|event| is(event, "disconnect")).count();
    assert_eq!(disconnected, calls.len(), "each stream has its final event");

    host.load_module().unwrap();
    let stream = Stream::start_on(&host, &calls[1], "default", Script::default(), "mono 8k");
    stream.connection.wait_bytes(3_200);
    stream.stop();
}

#[test]
fn an_unload_with_any_streams_is_bounded_and_leaves_nothing() {
    let host = Host::start(CONFIGURATION);
    let folder = std::env::temp_dir().join(format!("mas-unload-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let round = |number: usize, streams: usize| {
        host.load_module().unwrap();
        // Their sockets are this process's, too: they end with the round.
        let listening = WebSocketServer::start(Script::default());
        let connecting = WebSocketServer::start(Script::default().with_handshake(Handshake::Never));
        let refusing = WebSocketServer::start(Script::default().with_handshake(Handshake::Refuse(503)));
        let deaf = WebSocketServer::start(Script { never_read: true, ..Script::default() });
        let calls: Vec<_> = (0..streams).map(|_| host.call(playing())).collect();
        for (index, call) in calls.iter().enumerate() {
            let server = [&listening, &connecting, &deaf, &listening, &refusing][index % 5];
            let options = "stereo 16k reconnect_max=9 reconnect_ms=30000";
            let reply = host.api(&format!("uuid_audio_stream {} start {} {options}", call.uuid(), server.url()));
            assert_eq!(reply, "+OK Success\n");
            if index.is_multiple_of(4) {
                let file = folder.join(format!("{number}-{index}.wav"));
                let reply = host.api(&format!("uuid_audio_stream {} record start {}", call.uuid(), file.display()));
                assert_eq!(reply, "+OK Success\n");
            }
            call.tick(3);
        }
        assert_eq!(host.unload_module(true), Ok(()));
        let left = host.logs().into_iter().find(|log| log.text.contains("left_behind"));
        assert!(left.is_none(), "{left:?}");
        assert!(calls.iter().all(|call| call.bugs() == 0));
        let files = fs::read_dir(&folder).unwrap().map(|file| file.unwrap().path());
        for file in files.filter(|file| file.to_string_lossy().contains(&format!("/{number}-"))) {
            assert!(wav::read(&file).is_ok(), "{}", file.display());
        }
        host.forget_records();
    };
    // The first rounds let the allocator's arenas grow.
    (0..3).for_each(|number| round(number, 100));
    let settled = |what: &dyn Fn() -> usize, bound: usize| eventually(PATIENCE, || what() <= bound);
    assert!(settled(&|| threads().len(), 0), "{:?}", threads());
    let (threads_before, descriptors_before, memory) = (all_threads(), descriptors(), resident_kb());
    for (number, streams) in [(3, 0), (4, 1), (5, 100)] {
        round(number, streams);
        assert!(settled(&all_threads, threads_before), "{streams}: {threads_before} threads are {}", all_threads());
        let same = settled(&descriptors, descriptors_before);
        assert!(same, "{streams}: {descriptors_before} descriptors are {}", descriptors());
    }
    let grown = resident_kb().saturating_sub(memory);
    assert!(grown < 8_000, "the rounds grew the process by {grown} KB");
    fs::remove_dir_all(&folder).unwrap();
}

/// FreeSWITCH runs the module's application on the caller's call for as long as the two people talk.
#[test]
fn a_forced_unload_leaves_a_caller_with_whom_they_talk() {
    let host = loaded(CONFIGURATION);
    let transfer = Answer::call("transfer", &serde_json::json!({"destination": "front desk"}));
    let service = RealtimeServer::start(Service::answering([transfer]));
    let call = host.call(playing());
    let start = format!(
        "start_ai openai_base_url={} openai_api_key=sk-test openai_model=test-model greeting=Hello builtin_tools=transfer \
         transfer_destinations='front desk=1' transfer_mode=announced",
        service.base_url()
    );
    assert_eq!(host.api(&format!("uuid_audio_stream {} {start}", call.uuid())), "+OK Success\n");
    call.wait_until("the transfer is asked for", |call| {
        call.tick(1);
        call.variable("host_application").as_deref() == Some("audio_stream_transfer")
    });
    call.set_variable("host_bridge", "lasts");
    call.execute("audio_stream_transfer", "default");
    host.wait_log(|log| log.text.contains("AI_ENGINE transfer calling"));
    assert_eq!(host.unload_module(false), Err("Module in use.".to_owned()));
    assert_eq!(host.unload_module(true), Ok(()));
    let said = |text: &str| host.logs().iter().any(|log| log.text.contains(text));
    assert!(said("unload interface_kept") && !said("Giving up"), "{:?}", host.logs());
    assert_eq!((call.bugs(), call.executed()), (0, 0), "the conversation is over, and the two people talk");
    assert_eq!(host.api("uuid_audio_stream version"), "INVALID COMMAND!\n");
    // The application returns while the module is loaded again, and nothing of that load is touched.
    host.load_module().unwrap();
    call.set_variable("host_bridge", "over");
    call.wait_until("the application has returned", |call| call.executed() == 1);
    let stream = Stream::start_on(&host, &call, "next", Script::default(), "mono 8k");
    pass(&call, &[&stream], 3);
    stream.stop();
    wait_detached(&call);
    host.forget_records();
    assert_eq!(host.unload_module(false), Ok(()));
    assert!(!said("interface_kept"), "nobody is inside any more");
}

/// The reviewed mixer removed its legs in a loop that did not end while others came.
#[test]
fn mixer_013_an_unload_ends_though_streams_keep_starting() {
    let host = Host::start(CONFIGURATION);
    let server = WebSocketServer::start(Script::default());
    let calls: Vec<_> = (0..8).map(|_| host.call(playing())).collect();
    for _ in 0..10 {
        host.load_module().unwrap();
        let (starting, host) = (AtomicUsize::new(0), &host);
        thread::scope(|scope| {
            for call in &calls {
                let (server, starting) = (&server, &starting);
                scope.spawn(move || {
                    for number in 0.. {
                        let line = format!("{} start name=s{number} {} mono 8k", call.uuid(), server.url());
                        let reply = host.api(&format!("uuid_audio_stream {line}"));
                        starting.fetch_add(1, Ordering::Relaxed);
                        if reply != "+OK Success\n" {
                            break;
                        }
                        host.api(&format!("uuid_audio_stream {} stop name=s{number}", call.uuid()));
                    }
                });
            }
            assert!(eventually(PATIENCE, || starting.load(Ordering::Relaxed) > 40));
            assert_eq!(host.unload_module(true), Ok(()));
        });
        assert!(threads().is_empty(), "{:?}", threads());
        assert!(calls.iter().all(|call| call.bugs() == 0), "a stream was left on its call");
        let left = host.logs().into_iter().find(|log| log.text.contains("left_behind"));
        assert!(left.is_none(), "{left:?}");
        host.forget_records();
    }
    for call in &calls {
        let from = call.frames_read();
        call.tick(3);
        assert_eq!(call.frames_read(), from + 3, "the call goes on");
    }
}

#[test]
fn a_hundred_loads_with_streams_leave_nothing_behind() {
    let host = Host::start(CONFIGURATION);
    let server = WebSocketServer::start(Script::default());
    let call = host.call(playing());
    let mut opened = 0;
    let mut cycle = |number: usize| {
        host.load_module().unwrap();
        if number.is_multiple_of(5) {
            let reply = host.api(&format!("uuid_audio_stream {} start {} stereo 16k", call.uuid(), server.url()));
            assert_eq!(reply, "+OK Success\n");
            let connection = server.connection(opened);
            opened += 1;
            call.tick(4);
            connection.wait_bytes(1_280);
            if number.is_multiple_of(2) {
                host.api(&format!("uuid_audio_stream {} stop", call.uuid()));
                connection.wait_end();
                assert!(eventually(PATIENCE, || host.unload_module(false).is_ok()));
            } else {
                assert_eq!(host.unload_module(true), Ok(()));
            }
        } else {
            assert_eq!(host.unload_module(false), Ok(()));
        }
        assert_eq!(call.bugs(), 0);
        host.forget_records();
    };
    // The first few let the allocator's arenas grow.
    (0..20).for_each(&mut cycle);
    let settled = |what: &dyn Fn() -> usize, bound: usize| eventually(PATIENCE, || what() <= bound);
    assert!(settled(&|| threads().len(), 0), "{:?}", threads());
    let (threads_before, descriptors_before, memory) = (all_threads(), descriptors(), resident_kb());
    (20..120).for_each(&mut cycle);
    assert!(settled(&all_threads, threads_before), "{threads_before} threads have become {}", all_threads());
    assert!(settled(&descriptors, descriptors_before), "{descriptors_before} descriptors are {}", descriptors());
    let grown = resident_kb().saturating_sub(memory);
    assert!(grown < 3_000, "a hundred cycles grew the process by {grown} KB");
}

#[test]
fn many_streams_one_after_another_leave_nothing_behind() {
    let host = loaded(CONFIGURATION);
    let server = WebSocketServer::start(Script::default());
    let round = |number: usize| {
        let call = host.call(playing());
        host.api(&format!("uuid_audio_stream {} start {} stereo 48k", call.uuid(), server.url()));
        let connection = server.connection(number);
        call.tick(3);
        if number.is_multiple_of(2) {
            host.api(&format!("uuid_audio_stream {} stop", call.uuid()));
        } else {
            call.hangup();
        }
        connection.wait_end();
        host.forget_records();
    };
    (0..40).for_each(round);
    let settled = |what: &dyn Fn() -> usize, bound: usize| eventually(PATIENCE, || what() <= bound);
    let descriptors_before = descriptors();
    let memory = resident_kb();
    (40..340).for_each(round);
    assert!(settled(&descriptors, descriptors_before + 2), "{descriptors_before} descriptors are {}", descriptors());
    let grown = resident_kb().saturating_sub(memory);
    assert!(grown < 6_000, "300 streams grew the process by {grown} KB");
    let health =
        || -> serde_json::Value { serde_json::from_str(&host.api("uuid_audio_stream global_health")).unwrap() };
    // A stream leaves after its connection has ended.
    eventually(PATIENCE, || health()["total_sessions_destroyed"] == 340);
    let health = health();
    assert_eq!((&health["total_sessions_created"], &health["total_sessions_destroyed"]), (&340.into(), &340.into()));
}

#[test]
fn without_a_configuration_file_everything_has_its_default() {
    let host = loaded("");
    let warning = host.wait_log(|log| log.text.contains("audio_stream.conf.xml"));
    assert_eq!(warning.level, level::WARNING);
    let call = host.call(parked());
    let stream = Stream::start_on(&host, &call, "default", Script::default(), "");
    pass(&call, &[&stream], 3);
    assert_eq!(stream.stop().len(), 480);
}

#[test]
fn the_installed_configuration_file_draws_no_warning() {
    let host = loaded(CONFIGURATION);
    let worries: Vec<_> = host.logs().into_iter().filter(|log| log.level <= level::WARNING).collect();
    assert!(worries.is_empty(), "{worries:?}");
}

#[test]
fn a_bad_value_is_named_in_a_warning_and_its_default_used() {
    let bad = [
        ("buffer_ms", "7"),
        ("frame_ms", "101"),
        ("inject_buffer_ms", "600001"),
        ("inject_min_buffer_ms", "-1"),
        ("max_audio_base64_len", "lots"),
        ("max_queue_ms", "%s%n"),
        ("mix", "quadro"),
        ("rate", "11025"),
        ("workers", "1000"),
        ("heartbeat_s", "1e3"),
        ("no_such_setting", "1"),
    ];
    let params: String = bad.iter().map(|(name, value)| param(name, value)).collect();
    let host = loaded(&settings(&params));
    for (name, value) in bad {
        let warning = host.wait_log(|log| log.level == level::WARNING && log.text.contains(name));
        assert!(name == "no_such_setting" || warning.text.contains(value), "{warning:?}");
    }
    let call = host.call(parked());
    let stream = Stream::start_on(&host, &call, "default", Script::default(), "");
    pass(&call, &[&stream], 3);
    assert_eq!(stream.stop().len(), 480, "mono 8k");
    assert!(stream.connection.binaries().iter().all(|message| message.len() == 320), "in messages of 20 ms");
}

#[test]
fn arguments_win_over_variables_profile_and_settings_in_a_call() {
    let configuration = format!(
        r#"<configuration name="audio_stream.conf"><settings>{}{}{}{}</settings>
           <profiles><profile name="bot">{}{}{}</profile></profiles></configuration>"#,
        param("buffer_ms", "100"),
        param("rate", "48k"),
        param("mix", "stereo"),
        param("max-queue-ms", "2000"),
        param("buffer_ms", "200"),
        param("rate", "32k"),
        param("mix", "mixed"),
    );
    let host = loaded(&configuration);
    // Bytes of a message say all: the rate times the channels times the length.
    for (profile, variable, argument, bytes) in [
        ("", "", "", 48 * 4 * 100),
        ("profile=bot", "", "", 32 * 2 * 200),
        ("profile=bot", "16k", "", 16 * 2 * 200),
        ("", "16k", "", 16 * 4 * 100),
        ("profile=bot", "16k", "mono 8k buffer_ms=60", 8 * 2 * 60),
    ] {
        let call = host.call(playing());
        if !variable.is_empty() {
            call.set_variable("AUDIO_STREAM_RATE", variable);
        }
        let stream = Stream::start_on(&host, &call, "default", Script::default(), &format!("{argument} {profile}"));
        pass(&call, &[&stream], 25);
        stream.sync();
        let first = stream.connection.binaries().first().map(Vec::len);
        assert_eq!(first, Some(bytes), "{profile} {variable} {argument}");
    }
}

#[test]
fn reloadxml_applies_to_streams_that_start_afterwards() {
    let host = loaded(&settings(&param("buffer_ms", "40")));
    let (one, two) = (host.call(parked()), host.call(parked()));
    let before = Stream::start_on(&host, &one, "default", Script::default(), "mono 8k");
    host.set_config("audio_stream.conf", Some(&settings(&(param("buffer_ms", "60") + &param("frame_ms", "7")))));
    host.reload_xml();
    let warning = host.wait_log(|log| log.level == level::WARNING && log.text.contains("frame_ms"));
    assert!(warning.text.contains("'7'"), "{warning:?}");
    let after = Stream::start_on(&host, &two, "default", Script::default(), "mono 8k");
    for (call, stream, bytes) in [(&one, &before, 640), (&two, &after, 960)] {
        pass(call, &[stream], 12);
        stream.stop();
        assert!(stream.connection.binaries().iter().all(|message| message.len() == bytes));
    }
}

#[test]
fn a_global_variable_is_a_channel_variable_nobody_set() {
    let host = loaded(CONFIGURATION);
    host.set_global("AUDIO_STREAM_BUFFER_MS", "80");
    let call = host.call(parked());
    let stream = Stream::start_on(&host, &call, "default", Script::default(), "mono 8k");
    pass(&call, &[&stream], 8);
    stream.sync();
    assert!(stream.connection.binaries().iter().all(|message| message.len() == 1_280));
    host.set_global("AUDIO_STREAM_BUFFER_MS", "");
}

#[test]
fn a_forced_unload_leaves_the_recorded_file_whole() {
    // By the clock: once more where a busy machine is so late that a frame loses its place in time.
    for attempt in 1.. {
        let host = loaded(CONFIGURATION);
        let call = host.call(CallOptions { kind: CallKind::Echo, ..CallOptions::default() });
        let file = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("unloaded-{}.wav", call.uuid()));
        let start = format!("uuid_audio_stream {} record start {}", call.uuid(), file.display());
        assert_eq!(host.api(&start), "+OK Success\n");
        let said = signal::speech(8_000, 700, 12);
        call.speak(&said);
        call.wait_until("all is said", |call| call.unspoken() == 0);
        assert!(host.unload_module(false).is_err(), "a recording keeps the module in use");
        host.unload_module(true).unwrap();
        assert_eq!(call.bugs(), 0, "the call goes on without the bug");
        let event = host.wait_event(|event| event.header("Audio-Stream-Reason") == Some("module unloaded"));
        assert_eq!(event.header("Audio-Stream-Status"), Some("stopped"));
        let recorded = wav::read(&file).unwrap();
        fs::remove_file(&file).unwrap();
        if attempt < 8 && call.latest() > Duration::from_millis(150) {
            continue;
        }
        let kept = &said[..said.len() - 160];
        let (at, _) = audio::find(&recorded.channel(0), kept);
        assert_eq!(recorded.channel(0)[at..][..kept.len()], *kept, "all but what was under way");
        return;
    }
}

#[test]
fn log_lines_are_json_objects_where_that_is_set() {
    let host = loaded(&settings(&param("log_format", "json")));
    let call = host.call(parked());
    let stream = Stream::start_on(&host, &call, "default", Script::default(), "mono 8k");
    pass(&call, &[&stream], 5);
    stream.stop();
    let closed = host.wait_log(|log| log.text.contains("stream_closed"));
    let line: serde_json::Value = serde_json::from_str(&closed.text).unwrap();
    assert_eq!((&line["session_uuid"], &line["component"]), (&call.uuid().into(), &"LIFECYCLE".into()), "{line}");
    assert_eq!((&line["frames"], &line["outcome"]), (&5.into(), &"ok".into()), "{line}");
    // From the next reload on.
    host.set_config("audio_stream.conf", Some(&settings(&param("log_format", "text"))));
    host.reload_xml();
    host.wait_log(|log| log.text == "LIFECYCLE reloadxml ok");
}
