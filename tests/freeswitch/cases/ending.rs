//! However a stream ends, the other side learns it, the call goes on, and a final event is not lost.

use std::time::Duration;

use crate::harness::server::FreeSwitch;
use crate::harness::sip::{Dial, SipCall};
use crate::harness::stream::{ABSENT, CALLER, LOUD, OTHER, SERVER, THERE, listen_to};
use crate::harness::{in_freeswitch, process};
use crate::support::websocket_server::{Action, Handshake, Play, Received, Script, WebSocketServer};
use crate::support::{audio, eventually, signal};

/// The stream is detached, and the call takes another under the same name.
#[track_caller]
fn the_call_goes_on_and_streams_again(freeswitch: &FreeSwitch, uuid: &str) {
    let gone = eventually(Duration::from_secs(8), || freeswitch.streams() == 0);
    assert!(gone, "the stream stays: {}", freeswitch.api("uuid_audio_stream list"));
    assert!(freeswitch.exists(uuid));
    let server = WebSocketServer::start(Script::default());
    freeswitch.start_stream(uuid, &server, "mono 8k");
    server.connection(0).wait_bytes(3_200);
}

#[test]
fn stop_sends_what_was_captured_and_closes_with_1000() {
    in_freeswitch(|freeswitch| {
        let call = SipCall::place(freeswitch, &Dial::to("tone-700"));
        call.phone.say_forever(&signal::tone(8_000, CALLER, 1_000, LOUD));
        let events = listen_to(freeswitch);
        let server = WebSocketServer::start(Script::default());
        freeswitch.start_stream(&call.uuid, &server, "mono 8k inject_buffer_ms=20000");
        let connection = server.connection(0);
        connection.order(Action::Play(Play::mono(signal::tone(8_000, SERVER, 10_000, LOUD), 8_000)));
        connection.wait_bytes(16_000);
        freeswitch.stream(&call.uuid, "stop bye");
        assert!(matches!(connection.wait_end(), Received::Close(1_000, _)), "{:?}", connection.ended());
        assert_eq!(connection.texts(), ["bye"]);
        let event = events.wait_stream("disconnect", &call.uuid);
        let body = event.json();
        assert_eq!((&body["status"], &body["message"]["code"]), (&"disconnected".into(), &1_000.into()), "{body}");
        let heard = call.phone.listen(Duration::from_secs(1));
        assert!(audio::amplitude(&heard[1_600..], 8_000, SERVER) < ABSENT, "nothing of the server is heard after stop");
        assert!(audio::amplitude(&heard[1_600..], 8_000, OTHER) > THERE);
        the_call_goes_on_and_streams_again(freeswitch, &call.uuid);
    });
}

#[test]
fn a_hangup_closes_the_socket_and_the_final_event_comes() {
    in_freeswitch(|freeswitch| {
        for extension in ["park", "echo", "tone-700", "bridge-tone-700", "conference-leaving"] {
            let events = listen_to(freeswitch);
            let dial = Dial::to(extension).hangup_after(Duration::from_millis(1_500));
            let call = SipCall::place(freeswitch, &dial);
            let server = WebSocketServer::start(Script::default());
            freeswitch.start_stream(&call.uuid, &server, "stereo 8k");
            let connection = server.connection(0);
            let play = Play::mono(signal::tone(8_000, SERVER, 10_000, LOUD), 8_000);
            connection.order(Action::Play(play));
            let end = connection.wait_end();
            assert!(matches!(end, Received::Close(1_000..=1_001, _)), "{extension}: {end:?}");
            events.wait_stream("disconnect", &call.uuid);
            let gone = eventually(Duration::from_secs(5), || freeswitch.streams() == 0);
            assert!(gone, "{extension}: the stream stays");
        }
    });
}

#[test]
fn a_close_by_the_server_is_reported_with_its_code() {
    in_freeswitch(|freeswitch| {
        let call = SipCall::place(freeswitch, &Dial::to("park"));
        let events = listen_to(freeswitch);
        let server =
            WebSocketServer::start(Script::of([Action::AfterBytes(8_000), Action::Close(4_001, "enough said".into())]));
        freeswitch.start_stream(&call.uuid, &server, "mono 8k");
        let body = events.wait_stream("disconnect", &call.uuid).json();
        let expected = serde_json::json!({"status":"disconnected","message":{"code":4001,"reason":"enough said"}});
        assert_eq!(body, expected);
        the_call_goes_on_and_streams_again(freeswitch, &call.uuid);
    });
}

#[test]
fn a_server_that_vanishes_is_reported_and_the_call_goes_on() {
    in_freeswitch(|freeswitch| {
        for vanish in [Action::Reset, Action::Drop] {
            let call = SipCall::place(freeswitch, &Dial::to("park"));
            let events = listen_to(freeswitch);
            let server = WebSocketServer::start(Script::of([Action::AfterBytes(8_000), vanish]));
            freeswitch.start_stream(&call.uuid, &server, "mono 8k");
            let told = events.wait_event(Duration::from_secs(10), |event| {
                event.uuid() == call.uuid
                    && ["mod_audio_stream::disconnect", "mod_audio_stream::error"].contains(&event.subclass())
            });
            assert!(told.is_some(), "the loss of the server is not reported");
            the_call_goes_on_and_streams_again(freeswitch, &call.uuid);
            freeswitch.hang_up_all();
        }
    });
}

#[test]
fn a_server_gone_in_the_middle_of_a_frame_ends_the_stream_only() {
    in_freeswitch(|freeswitch| {
        let uuid = freeswitch.originate("null/x", "park()", "");
        // A text frame of 1000 bytes, of which 6 come.
        let begun = Action::Raw([&[0x81, 126, 0x03, 0xe8][..], b"{\"type"].concat());
        let server = WebSocketServer::start(Script::of([Action::AfterBytes(3_200), begun, Action::Reset]));
        freeswitch.start_stream(&uuid, &server, "mono 8k");
        server.connection(0).wait_bytes(3_200);
        the_call_goes_on_and_streams_again(freeswitch, &uuid);
    });
}

#[test]
fn a_protocol_violation_ends_the_stream_with_an_error() {
    in_freeswitch(|freeswitch| {
        let uuid = freeswitch.originate("null/x", "park()", "");
        let events = listen_to(freeswitch);
        let reserved_opcode = Action::Raw(vec![0x83, 0x01, 0x00]);
        let server = WebSocketServer::start(Script::of([Action::AfterBytes(3_200), reserved_opcode, Action::Freeze]));
        freeswitch.start_stream(&uuid, &server, "mono 8k");
        let error = events.wait_stream("error", &uuid).json();
        assert_eq!((&error["status"], &error["message"]["code"]), (&"error".into(), &11.into()), "{error}");
        the_call_goes_on_and_streams_again(freeswitch, &uuid);
    });
}

#[test]
fn an_unreachable_server_is_an_error_and_leaves_nothing_behind() {
    in_freeswitch(|freeswitch| {
        let closed =
            std::net::TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("bound").port();
        let refusing = WebSocketServer::start(Script::default().with_handshake(Handshake::Refuse(503)));
        let silent = WebSocketServer::start(Script::default().with_handshake(Handshake::Never));
        let slamming = WebSocketServer::start(Script::default().with_handshake(Handshake::Slam));
        let garbling = WebSocketServer::start(Script::default().with_handshake(Handshake::Garbage));
        for (url, code) in [
            (format!("ws://127.0.0.1:{closed}/"), Some(6)),
            (refusing.url(), None),
            (silent.url(), Some(10)),
            (slamming.url(), None),
            (garbling.url(), None),
        ] {
            let uuid = freeswitch.originate("null/x", "park()", "");
            let events = listen_to(freeswitch);
            freeswitch.stream(&uuid, &format!("start {url} mono 8k connect_timeout_ms=700"));
            let error = events.wait_stream("error", &uuid).json();
            let told = error["message"]["code"].as_i64();
            assert!(matches!(told, Some(1..=11)) && (code.is_none() || told == code), "{url}: {error}");
            assert!(events.stream_events("connect", &uuid).is_empty());
            the_call_goes_on_and_streams_again(freeswitch, &uuid);
            freeswitch.hang_up_all();
        }
    });
}

#[test]
fn stop_and_hangup_during_the_connect_are_safe() {
    in_freeswitch(|freeswitch| {
        let silent = WebSocketServer::start(Script::default().with_handshake(Handshake::Never));
        let stopped = freeswitch.originate("null/x", "park()", "");
        freeswitch.start_stream(&stopped, &silent, "mono 8k connect_timeout_ms=60000");
        freeswitch.stream(&stopped, "stop");
        the_call_goes_on_and_streams_again(freeswitch, &stopped);
        freeswitch.hang_up_all();
        let hung_up = freeswitch.originate("null/x", "park()", "");
        freeswitch.start_stream(&hung_up, &silent, "mono 8k connect_timeout_ms=60000");
        freeswitch.ok(&format!("uuid_kill {hung_up}"));
        assert!(eventually(Duration::from_secs(5), || freeswitch.streams() == 0), "the stream outlives its call");
    });
}

#[test]
fn a_server_that_never_reads_is_bounded_and_reported() {
    in_freeswitch(|freeswitch| {
        let uuid = freeswitch.originate("null/x", "park()", "");
        let events = listen_to(freeswitch);
        let server = WebSocketServer::start(Script { never_read: true, ..Script::default() });
        // Stereo at 48 kHz fills the kernel's buffers within seconds.
        freeswitch.start_stream(&uuid, &server, "stereo 48k max_queue_ms=1000");
        let overflow = events.wait_event(Duration::from_secs(60), |event| {
            event.subclass() == "mod_audio_stream::overflow" && event.uuid() == uuid
        });
        assert!(overflow.is_some(), "the server stopped reading and that is not reported");
        assert!(freeswitch.exists(&uuid));
        freeswitch.stream(&uuid, "stop");
        assert!(
            eventually(Duration::from_secs(10), || freeswitch.streams() == 0),
            "stop waits for a server that is deaf"
        );
    });
}

#[test]
fn a_server_that_floods_does_not_disturb_the_call() {
    in_freeswitch(|freeswitch| {
        let call = SipCall::place(freeswitch, &Dial::to("tone-700"));
        let server = WebSocketServer::start(Script::default());
        freeswitch.start_stream(&call.uuid, &server, "mono 8k");
        let connection = server.connection(0);
        connection.order(Action::Flood("{\"type\":\"streamAudio\",\"data\":{".into(), Duration::from_secs(2)));
        let heard = call.phone.listen(Duration::from_secs(2));
        // How much of it comes within two seconds is the machine's affair; that it is all tone is ours.
        let (ms, heard_ms) = (audio::tone_ms(&heard, 8_000, OTHER, THERE), heard.len() as u32 / 8);
        assert!(ms >= 1_000 && ms + 40 >= heard_ms, "under the flood {ms} ms of {heard_ms} are the other leg's tone");
        assert!(freeswitch.exists(&call.uuid));
        freeswitch.stream(&call.uuid, "stop");
        assert!(eventually(Duration::from_secs(10), || freeswitch.streams() == 0));
    });
}

#[test]
fn the_last_stereo_message_of_a_call_is_its_audio() {
    in_freeswitch(|freeswitch| {
        for (extension, killed) in
            [("tone-700", false), ("tone-700", true), ("bridge-tone-700", false), ("park", false)]
        {
            let call = SipCall::place(freeswitch, &Dial::to(extension));
            call.phone.say_forever(&signal::tone(8_000, CALLER, 1_000, LOUD));
            let server = WebSocketServer::start(Script::default());
            freeswitch.start_stream(&call.uuid, &server, "stereo 8k");
            let connection = server.connection(0);
            connection.wait_bytes(48_000);
            if killed {
                freeswitch.ok(&format!("uuid_kill {}", call.uuid));
            } else {
                call.hang_up();
            }
            connection.wait_end();
            let what = format!("{extension}, killed: {killed}");
            assert!(
                connection.binaries().iter().all(|message| message.len() % 4 == 0),
                "{what}: both channels in each"
            );
            let captured = connection.audio();
            for (index, hz) in [(0, CALLER), (1, OTHER)] {
                let side = audio::channel(&captured, 2, index);
                let (before, end) = side.split_at(side.len() - 800);
                // No wave of the call makes a larger step than those in the second before.
                let (usual, step) = (audio::max_step(&before[before.len() - 8_000..]), audio::max_step(end));
                assert!(
                    step <= usual + usual / 10 + 8,
                    "{what}: channel {index} ends with a step of {step}, else {usual}"
                );
                if index == 0 || extension != "park" {
                    let last = audio::amplitude(&end[end.len() - 160..], 8_000, hz);
                    assert!(last > THERE, "{what}: channel {index} ends with {last:.0} of its tone");
                }
            }
            assert!(eventually(Duration::from_secs(5), || freeswitch.streams() == 0));
        }
    });
}

#[test]
fn no_connection_of_an_ended_stream_stays_half_closed() {
    in_freeswitch(|freeswitch| {
        let closes = |action: Action| Script::of([Action::AfterBytes(3_200), action]);
        let scripts = [
            ("hung up", Script::default()),
            ("stopped", Script::default()),
            ("closed by the server", closes(Action::Close(1_000, String::new()))),
            ("left by the server", closes(Action::Drop)),
            ("refused", Script::default().with_handshake(Handshake::Refuse(503))),
            ("slammed", Script::default().with_handshake(Handshake::Slam)),
        ];
        for (what, script) in scripts {
            let call = SipCall::place(freeswitch, &Dial::to("park"));
            let server = WebSocketServer::start(script);
            freeswitch.start_stream(&call.uuid, &server, "stereo 8k");
            match what {
                "hung up" => {
                    server.connection(0).wait_bytes(3_200);
                    call.hang_up();
                }
                "stopped" => {
                    server.connection(0).wait_bytes(3_200);
                    freeswitch.stream(&call.uuid, "stop");
                }
                _ => {}
            }
            let gone = eventually(Duration::from_secs(10), || freeswitch.streams() == 0);
            assert!(gone, "{what}: {}", freeswitch.api("uuid_audio_stream list"));
            // While the call goes on, and the server listens still.
            let half_closed = || process::half_closed(freeswitch.pid());
            assert!(eventually(Duration::from_secs(5), || half_closed().is_empty()), "{what}: {:?}", half_closed());
            freeswitch.hang_up_all();
        }
    });
}
