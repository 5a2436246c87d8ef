//! What an operator bounds and watches: drain, limits, pages over HTTP, allowed servers, secrets in files, `config check`. Each FreeSWITCH
//! is fresh, with settings of its own.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use crate::harness::in_fresh_freeswitch;
use crate::harness::server::{FreeSwitch, Launch};
use crate::harness::sip::{Dial, SipCall};
use crate::harness::stream::{CALLER, LOUD, SOON, listen_to};
use crate::realtime::{RealtimeServer, Script as Service};
use crate::support::websocket_server::{Script, WebSocketServer};
use crate::support::{eventually, signal};

/// Status and body of a page.
fn page(address: &str, path: &str) -> (String, String) {
    let mut socket = TcpStream::connect(address).expect("it listens");
    socket.set_read_timeout(Some(SOON)).expect("a socket can");
    write!(socket, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n").expect("it reads");
    let mut reply = String::new();
    socket.read_to_string(&mut reply).expect("it answers");
    let (head, body) = reply.split_once("\r\n\r\n").expect("a whole reply");
    (head.split(' ').nth(1).unwrap_or_default().to_owned(), body.to_owned())
}

fn place(freeswitch: &FreeSwitch) -> SipCall {
    let call = SipCall::place(freeswitch, &Dial::to("park"));
    call.phone.say_forever(&signal::tone(8_000, CALLER, 1_000, LOUD));
    call
}

#[test]
fn limits_drain_and_pages_hold_and_live_streams_go_on() {
    in_fresh_freeswitch(Launch::default(), |freeswitch| {
        let port = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("bound").port();
        let address = format!("127.0.0.1:{port}");
        freeswitch.configure(&[("http_listen", &address), ("max_streams", "3"), ("max_streams_per_call", "2")]);
        freeswitch.load();
        let events = listen_to(&freeswitch);
        let [live, other] = [(); 2].map(|()| place(&freeswitch));
        let server = WebSocketServer::start(Script::default());
        freeswitch.start_stream(&live.uuid, &server, "mono 8k");
        let connection = server.connection(0);
        freeswitch.stream(&live.uuid, &format!("start name=two {}", server.url()));
        let refused = freeswitch.refused(&live.uuid, &format!("start name=three {}", server.url()));
        assert!(refused.contains("max_streams_per_call=2"), "{refused}");
        freeswitch.start_stream(&other.uuid, &server, "mono 8k max_duration_s=2");
        let refused = freeswitch.refused(&other.uuid, &format!("start name=two {}", server.url()));
        assert!(refused.contains("max_streams=3"), "{refused}");
        let ended = events.wait_stream("disconnect", &other.uuid).json();
        assert_eq!(ended["message"]["reason"], "max_duration_s", "{ended}");
        assert_eq!((page(&address, "/readyz").0, page(&address, "/healthz").0), ("200".to_owned(), "200".to_owned()));
        assert!(page(&address, "/metrics").1.contains("audio_stream_starts_refused_total{reason=\"max_streams\"} 1"));
        let shown = page(&address, "/status.json").1;
        assert!(shown.contains(&live.uuid), "{shown}");

        freeswitch.ok("uuid_audio_stream drain on");
        assert_eq!(page(&address, "/readyz").0, "503");
        assert_eq!(freeswitch.json("global_health")["draining"], true);
        let refused = freeswitch.refused(&other.uuid, &format!("start {}", server.url()));
        assert!(refused.contains("drains"), "{refused}");
        let before = connection.audio_bytes();
        assert!(eventually(SOON, || connection.audio_bytes() >= before + 16_000), "what lives goes on");
        assert_eq!(freeswitch.json("drain status")["streams"], 2);
        freeswitch.ok("uuid_audio_stream drain on 1");
        let ended = events.wait_stream("disconnect", &live.uuid).json();
        assert_eq!(ended["message"]["reason"], "drain", "{ended}");
        assert!(freeswitch.exists(&live.uuid), "the call itself goes on");
        freeswitch.ok("uuid_audio_stream drain off");
        assert_eq!(page(&address, "/readyz").0, "200");
        freeswitch.start_stream(&other.uuid, &server, "mono 8k");
        events.wait_stream("connect", &other.uuid);
        assert_eq!(freeswitch.shutdown(), 0);
    });
}

#[test]
fn allowed_servers_and_secrets_are_read_with_the_configuration() {
    in_fresh_freeswitch(Launch::default(), |freeswitch| {
        let service = RealtimeServer::start(Service::default());
        let key = freeswitch.folder.join("temp/openai.key");
        fs::write(&key, "sk-wrong\n").expect("our folder");
        let (secret, url) = (format!("file:{}", key.display()), service.base_url());
        let settings = [("openai_api_key", secret.as_str()), ("openai_base_url", &url), ("openai_model", "test-model")];
        freeswitch.configure(&[&settings[..], &[("allowed_servers", "127.0.0.1, localhost")]].concat());
        freeswitch.load();
        let events = listen_to(&freeswitch);
        let state = |call: &SipCall, state: &str| {
            let found = events
                .wait_event(SOON, |event| event.uuid() == call.uuid && event.get("Audio-Stream-State") == Some(state));
            assert!(found.is_some(), "{state} does not come");
        };
        let refused = place(&freeswitch);
        freeswitch.stream(&refused.uuid, "start_ai");
        state(&refused, "FAILED");
        fs::write(&key, "sk-test\n").expect("our folder");
        freeswitch.reload();
        let served = place(&freeswitch);
        freeswitch.stream(&served.uuid, "start_ai");
        state(&served, "LISTENING");
        let elsewhere = freeswitch.refused(&served.uuid, "start_ai name=other openai_base_url=http://127.0.0.1:1");
        assert!(elsewhere.contains("allow_key_to"), "{elsewhere}");

        // The phone's own network is not in the list, and a listed name does not open this machine.
        let server = WebSocketServer::start(Script::default());
        let denied = freeswitch.refused(&served.uuid, &format!("start name=a {}", server.url_for("127.0.0.2")));
        assert!(denied.contains("allowed_servers does not list 127.0.0.2"), "{denied}");
        freeswitch.configure(&[("allowed_servers", "localhost")]);
        freeswitch.stream(&served.uuid, &format!("start name=b {}", server.url_for("localhost")));
        let said = events.wait_stream("error", &served.uuid).json();
        assert!(said["message"]["error"].as_str().is_some_and(|said| said.contains("internal address")), "{said}");
        assert_eq!(server.accepted(), 0, "nobody has connected");
        freeswitch.configure(&[("allowed_servers", "127.0.0.0/8 ::1")]);
        freeswitch.stream(&served.uuid, &format!("start name=c {}", server.url_for("localhost")));
        server.connection(0);
        let log = freeswitch.log();
        assert!(!log.contains("sk-test") && !log.contains("sk-wrong"), "a key is in the log");
        std::thread::sleep(Duration::from_millis(100));
        assert_eq!(freeswitch.shutdown(), 0);
    });
}

#[test]
fn config_check_reads_a_file_as_freeswitch_would() {
    in_fresh_freeswitch(Launch::default(), |freeswitch| {
        freeswitch.load();
        let folder = freeswitch.folder.join("conf/autoload_configs");
        fs::create_dir_all(&folder).expect("our folder");
        let file = folder.join("audio_stream.conf.xml");
        let check = || freeswitch.api("uuid_audio_stream config check").trim().to_owned();
        assert!(check().contains("No such file"), "{}", check());
        fs::copy(concat!(env!("CARGO_MANIFEST_DIR"), "/conf/autoload_configs/audio_stream.conf.xml"), &file)
            .expect("our folder");
        assert!(check().starts_with("+OK"), "what is shipped is right: {}", check());
        let write = |settings: &str| {
            let text =
                format!(r#"<configuration name="audio_stream.conf"><settings>{settings}</settings></configuration>"#);
            fs::write(&file, text).expect("our folder");
        };
        // Directives have lines of their own.
        write(
            "\n<X-PRE-PROCESS cmd=\"set\" data=\"wanted_rate=9k\"/>\n<param name=\"rate\" value=\"$${wanted_rate}\"/>\n",
        );
        let said = check();
        assert!(said.starts_with("-ERR") && said.contains("bad value '9k' of setting rate"), "{said}");
        fs::write(&file, "<configuration name=\"audio_stream.conf\"><settings>").expect("our folder");
        let said = check();
        assert!(said.starts_with("-ERR"), "{said}");
        assert_eq!(freeswitch.json("config")["values"][0]["name"], "workers", "nothing has changed");
        assert_eq!(freeswitch.shutdown(), 0);
    });
}
