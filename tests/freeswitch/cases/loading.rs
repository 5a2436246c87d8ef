//! Loading, unloading and shutting down.

use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::harness::server::Launch;
use crate::harness::sip::{Dial, SipCall};
use crate::harness::stream::{OTHER, THERE, listen_to};
use crate::harness::{in_fresh_freeswitch, installation, process};
use crate::support::websocket_server::{Handshake, Received, Script, WebSocketServer};
use crate::support::{audio, eventually};

fn descriptors(pid: u32) -> usize {
    fs::read_dir(Path::new("/proc").join(pid.to_string()).join("fd")).map_or(0, Iterator::count)
}

#[test]
fn a_hundred_loads_and_unloads_leave_nothing_behind() {
    in_fresh_freeswitch(Launch::default(), |freeswitch| {
        let pid = freeswitch.pid();
        let server = WebSocketServer::start(Script::default());
        let uuid = freeswitch.originate("null/x", "park()", "");
        let cycle = |stream: bool| {
            freeswitch.load();
            if stream {
                let opened = server.connections().len();
                freeswitch.start_stream(&uuid, &server, "mono 8k");
                server.connection(opened).wait_bytes(640);
                freeswitch.stream(&uuid, "stop");
                server.connection(opened).wait_end();
                assert!(eventually(Duration::from_secs(5), || freeswitch.streams() == 0));
            }
            let answer = freeswitch.api("unload mod_audio_stream");
            assert!(answer.contains("+OK"), "unload answered: {answer}");
            assert!(!freeswitch.loaded());
        };
        let settled = |what: &dyn Fn() -> usize, bound: usize| eventually(Duration::from_secs(5), || what() <= bound);
        let threads = || process::threads(pid).len();
        let bare = threads();
        // The first few let FreeSWITCH's pools and the allocator's arenas grow.
        (0..10).for_each(|n| cycle(n % 2 == 0));
        assert!(settled(&threads, bare), "{bare} threads have become {:?}", process::threads(pid));
        let (files, memory) = (descriptors(pid), process::rss_kb(pid));
        (0..90).for_each(|n| cycle(n % 10 == 0));
        assert!(settled(&threads, bare), "{bare} threads have become {:?}", process::threads(pid));
        assert!(settled(&|| descriptors(pid), files), "{files} descriptors have become {}", descriptors(pid));
        let grown = process::rss_kb(pid).saturating_sub(memory);
        assert!(grown < 4_096, "90 cycles grew the process by {grown} KB");
        assert!(freeswitch.exists(&uuid));
        assert_eq!(freeswitch.shutdown(), 0);
    });
}

#[test]
fn unload_is_refused_while_a_stream_lives_and_safe_when_forced() {
    in_fresh_freeswitch(Launch::default(), |freeswitch| {
        freeswitch.load();
        let call = SipCall::place(&freeswitch, &Dial::to("tone-700"));
        let server = WebSocketServer::start(Script::default());
        freeswitch.start_stream(&call.uuid, &server, "mono 8k");
        let connection = server.connection(0);
        connection.wait_bytes(3_200);
        let answer = freeswitch.api("unload mod_audio_stream");
        assert!(answer.starts_with("-ERR"), "unload under a live stream answered: {answer}");
        let before = connection.audio_bytes();
        connection.wait_bytes(before + 8_000);

        let answer = freeswitch.api("unload -f mod_audio_stream");
        assert!(answer.contains("+OK"), "unload -f answered: {answer}");
        connection.wait_end();
        let heard = call.phone.listen(Duration::from_secs(1));
        assert!(audio::tone_ms(&heard, 8_000, OTHER, THERE) >= 900, "the call does not go on");
        freeswitch.load();
        freeswitch.start_stream(&call.uuid, &server, "mono 8k");
        server.connection(1).wait_bytes(3_200);
        freeswitch.hang_up_all();
        assert_eq!(freeswitch.shutdown(), 0);
    });
}

#[test]
fn a_forced_unload_with_a_hundred_streams_leaves_nothing() {
    in_fresh_freeswitch(Launch::default(), |mut freeswitch| {
        let pid = freeswitch.pid();
        let listening = WebSocketServer::start(Script::default());
        let connecting = WebSocketServer::start(Script::default().with_handshake(Handshake::Never));
        let deaf = WebSocketServer::start(Script { never_read: true, ..Script::default() });
        let threads = || process::threads(pid).len();
        let bare = threads();
        let round = |freeswitch: &mut crate::harness::server::FreeSwitch, number: usize| {
            // Calls of the round's own: FreeSWITCH keeps the memory of a media bug until its call ends.
            let calls: Vec<_> = (0..100).map(|_| freeswitch.originate("null/x", "park()", "")).collect();
            freeswitch.mark_log();
            freeswitch.load();
            for (index, uuid) in calls.iter().enumerate() {
                let server = [&listening, &connecting, &deaf, &listening][index % 4];
                // Long enough for a debug build on a busy machine; and those that connect still do at the unload.
                freeswitch.start_stream(uuid, server, "mono 8k connect_timeout_ms=60000");
                if index.is_multiple_of(5) {
                    let file = freeswitch.folder.join(format!("recordings/unload-{number}-{index}.wav"));
                    freeswitch.stream(uuid, &format!("record start {}", file.display()));
                }
            }
            let all = || listening.connections().len() == 50 * number + 50;
            assert!(eventually(Duration::from_secs(50), all), "{} connections", listening.connections().len());
            listening.connection(50 * number + 49).wait_bytes(3_200);
            let answer = freeswitch.api("unload -f mod_audio_stream");
            assert!(answer.contains("+OK"), "unload -f answered: {answer}");
            assert!(!freeswitch.log().contains("left_behind"), "{}", freeswitch.last_words());
            let ends = listening.connections().split_off(50 * number);
            assert_eq!(ends.len(), 50);
            for connection in ends {
                let end = connection.wait_end();
                assert!(matches!(end, Received::Close(1_000, _)), "{end:?}");
            }
            assert!(calls.iter().all(|uuid| freeswitch.exists(uuid)), "the calls go on");
            freeswitch.hang_up_all();
            assert!(eventually(Duration::from_secs(10), || threads() <= bare), "{:?}", process::threads(pid));
        };
        (0..2).for_each(|number| round(&mut freeswitch, number));
        let (files, memory) = (descriptors(pid), process::rss_kb(pid));
        (2..4).for_each(|number| round(&mut freeswitch, number));
        let same = eventually(Duration::from_secs(5), || descriptors(pid) <= files);
        assert!(same, "{files} descriptors have become {}", descriptors(pid));
        let grown = process::rss_kb(pid).saturating_sub(memory);
        assert!(grown < 8_192, "two rounds grew the process by {grown} KB");
        assert_eq!(freeswitch.shutdown(), 0);
    });
}

#[test]
fn a_shutdown_closes_live_streams_and_ends_in_order() {
    in_fresh_freeswitch(Launch::default(), |freeswitch| {
        freeswitch.load();
        let server = WebSocketServer::start(Script::default());
        for index in 0..5 {
            let uuid = freeswitch.originate("null/x", "park()", "");
            freeswitch.start_stream(&uuid, &server, "mono 8k");
            server.connection(index).wait_bytes(640);
        }
        assert_eq!(freeswitch.shutdown(), 0);
        server.connections().iter().for_each(|connection| drop(connection.wait_end()));
    });
}

#[test]
fn the_modules_workers_are_not_real_time_though_freeswitch_is() {
    in_fresh_freeswitch(Launch { realtime: true, ..Launch::default() }, |freeswitch| {
        let pid = freeswitch.pid();
        let before = process::threads(pid);
        if before.iter().all(|thread| thread.policy == 0) {
            installation::skip("FreeSWITCH may not take real-time priority here");
            return;
        }
        freeswitch.load();
        let new: Vec<_> =
            process::threads(pid).into_iter().filter(|thread| before.iter().all(|old| old.id != thread.id)).collect();
        assert!(!new.is_empty(), "the module has threads of its own");
        // The playout clock holds locks of calls that media threads wait for: it keeps their priority.
        let ordinary = |thread: &process::Thread| thread.policy == 0 || thread.name == "mas-clock";
        assert!(new.iter().all(|thread| ordinary(thread) && thread.name != "freeswitch"), "{new:?}");
    });
}

#[test]
fn two_listeners_see_the_streams_of_a_reloaded_module() {
    in_fresh_freeswitch(Launch::default(), |freeswitch| {
        freeswitch.load();
        assert!(freeswitch.api("unload mod_audio_stream").contains("+OK"));
        freeswitch.load();
        let (one, two) = (listen_to(&freeswitch), listen_to(&freeswitch));
        let uuid = freeswitch.originate("null/x", "park()", "");
        let server = WebSocketServer::start(Script::default());
        freeswitch.start_stream(&uuid, &server, "mono 8k");
        one.wait_stream("connect", &uuid);
        two.wait_stream("connect", &uuid);
        assert_eq!(one.stream_events("connect", &uuid).len(), 1);
    });
}

#[test]
fn the_shipped_configuration_and_dialplan_load_cleanly() {
    in_fresh_freeswitch(Launch::default(), |mut freeswitch| {
        freeswitch.mark_log();
        freeswitch.load();
        let warnings: Vec<_> = freeswitch
            .log()
            .lines()
            .filter(|line| line.contains("mod_audio_stream") && (line.contains("[WARNING]") || line.contains("[ERR]")))
            .map(str::to_owned)
            .collect();
        assert_eq!(warnings, [] as [&str; 0]);
        let configuration = freeswitch.api("xml_locate configuration configuration name audio_stream.conf");
        assert!(configuration.contains("inject_buffer_ms"), "{configuration}");
        let context = freeswitch.api("xml_locate dialplan context name tests");
        for extension in ["audio_stream_bot", "audio_stream_transcribe", "audio_stream_whisper", "audio_stream_pause"] {
            assert!(context.contains(extension), "{extension} is not in the dialplan");
        }
    });
}
