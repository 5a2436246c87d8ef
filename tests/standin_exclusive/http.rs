//! The pages that the module serves over HTTP: what they say, whom they are refused, and that nothing a client does holds up the
//! module.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

use serde_json::Value;

use crate::browser::Browser;
use crate::calls::{Stream, parked, pass, pass_paced, playing, wait_detached};
use crate::host::{Host, level};
use crate::support::websocket_server::{PATIENCE, Play, Script};
use crate::support::{eventually, signal};

fn configuration(listen: &str) -> String {
    configuration_with(listen, "")
}

fn configuration_with(listen: &str, params: &str) -> String {
    format!(
        r#"<configuration name="audio_stream.conf"><settings><param name="http_listen" value="{listen}"/>{params}</settings>
        <profiles><profile name="bot"><param name="inject_min_buffer_ms" value="0"/></profile></profiles></configuration>"#
    )
}

/// The host with the module loaded, and the address that the log names.
fn serving(listen: &str) -> (Host, String) {
    serving_with(listen, "")
}

/// The same with further settings.
pub(crate) fn serving_with(listen: &str, params: &str) -> (Host, String) {
    let host = Host::start(&configuration_with(listen, params));
    host.load_module().unwrap();
    let line = host.wait_log(|log| log.text.contains("LIFECYCLE http ok"));
    assert_eq!(line.level, level::NOTICE);
    let address = line.text.split("address=").nth(1).unwrap().trim().to_owned();
    (host, address)
}

/// A reply: status, head, body.
pub(crate) struct Reply {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: String,
}

impl Reply {
    fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.filter(|(of, _)| of.eq_ignore_ascii_case(name)).map(|(_, value)| value).next()
    }

    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.header("content-type"), Some("application/json"), "{}", self.head);
        serde_json::from_str(&self.body).unwrap()
    }
}

/// Sends bytes and reads to the end.
pub(crate) fn exchange(address: &str, request: &str) -> Reply {
    let mut socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.write_all(request.as_bytes()).unwrap();
    let mut reply = Vec::new();
    socket.read_to_end(&mut reply).unwrap();
    let reply = String::from_utf8(reply).unwrap();
    let (head, body) = reply.split_once("\r\n\r\n").unwrap_or((&reply, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    Reply { status, head: head.to_owned(), body: body.to_owned() }
}

pub(crate) fn get(address: &str, path: &str) -> Reply {
    exchange(address, &format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n"))
}

#[test]
fn the_pages_say_what_the_commands_say() {
    let (host, address) = serving("127.0.0.1:0");
    let call = host.call(playing());
    let stream =
        Stream::start_on(&host, &call, "default", Script::default(), "mono 8k profile=bot token-of-the-caller");
    stream.play(Play::mono(signal::speech(8_000, 1_000, 3), 8_000));
    call.speak(&[8_192; 3_200]);
    pass_paced(&call, &[&stream], 15, 20);

    let metrics = get(&address, "/metrics");
    assert_eq!(
        (metrics.status, metrics.header("content-type")),
        (200, Some("text/plain; version=0.0.4; charset=utf-8"))
    );
    let names =
        |page: &str| page.lines().filter(|line| line.starts_with("# TYPE")).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(names(&metrics.body), names(&host.api("uuid_audio_stream metrics")));
    assert!(metrics.body.contains("audio_stream_captured_frames_total{"));

    let health = get(&address, "/healthz");
    assert_eq!((health.status, &health.json()["active_ws_sessions"]), (200, &Value::from(1)));
    let ready = get(&address, "/readyz");
    assert_eq!((ready.status, ready.body.as_str()), (200, r#"{"ready":true}"#));

    let status = get(&address, "/status.json");
    let shown = &status.json()["streams"][0];
    let own: Value = serde_json::from_str(&stream.command("health")).unwrap();
    for field in ["session_uuid", "name", "state", "mode", "health"] {
        assert_eq!(shown[field], own[field], "{field}");
    }
    assert_eq!(shown["endpoint"], Value::from(stream.server.url().to_string()));
    assert_eq!((&shown["protocol"], &shown["profile"]), (&Value::from("native"), &Value::from("bot")));
    // A constant of a quarter of full scale, a while ago.
    let captured = shown["capture"]["level_dbfs"].as_f64().unwrap();
    assert!((-24.0..=-12.0).contains(&captured), "{captured}");
    assert!(shown["capture"]["delay_ms"].as_f64().unwrap() < 10_000.0, "{shown}");
    let played = shown["inject"]["level_dbfs"].as_f64().unwrap();
    assert!((-40.0..0.0).contains(&played), "{played}");
    assert!(shown["inject"]["delay_ms"].as_f64().unwrap() > 0.0, "{shown}");
    assert!(!status.body.contains("token-of-the-caller") && !metrics.body.contains("token-of-the-caller"));
    stream.stop();
    wait_detached(&call);
}

#[test]
fn every_reply_forbids_frames_foreign_loads_and_caches() {
    let (_host, address) = serving("127.0.0.1:0");
    for path in ["/", "/status.json", "/metrics", "/healthz", "/readyz", "/nowhere"] {
        let reply = get(&address, path);
        let policy = reply.header("content-security-policy").unwrap_or_else(|| panic!("{path}: {}", reply.head));
        assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{path}: {policy}");
        assert!(!policy.contains("unsafe"), "{policy}");
        for (name, value) in [
            ("cache-control", "no-store"),
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
            ("referrer-policy", "no-referrer"),
            ("cross-origin-resource-policy", "same-origin"),
        ] {
            assert_eq!(reply.header(name), Some(value), "{path}");
        }
        assert_eq!(reply.header("access-control-allow-origin"), None);
    }
    let nonce = |reply: &Reply| reply.head.split("'nonce-").nth(1).unwrap().split('\'').next().unwrap().to_owned();
    let (first, second) = (get(&address, "/"), get(&address, "/"));
    assert!(first.body.contains(&format!("<script nonce=\"{}\">", nonce(&first))));
    assert_ne!(nonce(&first), nonce(&second), "nobody can guess the next one");
}

#[test]
fn what_is_no_get_of_this_machine_is_refused() {
    let (_host, address) = serving("127.0.0.1:0");
    for method in ["POST", "PUT", "DELETE", "HEAD", "OPTIONS", "TRACE"] {
        let request = format!("{method} /metrics HTTP/1.1\r\nHost: {address}\r\nContent-Length: 0\r\n\r\n");
        let reply = exchange(&address, &request);
        assert_eq!((reply.status, reply.header("allow")), (405, Some("GET")), "{method}");
    }
    let stranger = |host: &str| exchange(&address, &format!("GET /metrics HTTP/1.1\r\nHost: {host}\r\n\r\n")).status;
    assert_eq!((stranger("rebound.example"), stranger("localhost"), stranger("[::1]:80")), (403, 200, 200));
    assert_eq!(exchange(&address, "GET /healthz HTTP/1.0\r\n\r\n").status, 200);
    assert_eq!(get(&address, "/../etc/passwd").status, 404);
    assert_eq!(exchange(&address, "nonsense\r\n\r\n").status, 400);
    let long = exchange(&address, &format!("GET / HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n", "x".repeat(15_000)));
    assert_eq!(long.status, 200);
}

#[test]
fn clients_that_send_nothing_are_ended_and_others_served() {
    let (host, address) = serving("127.0.0.1:0");
    let call = host.call(parked());
    let stream = Stream::start_on(&host, &call, "default", Script::default(), "mono 8k");
    // More than are served at once, each with half of a request.
    let mut idle: Vec<_> = (0..24).map(|_| TcpStream::connect(&address).unwrap()).collect();
    for socket in &mut idle {
        socket.write_all(b"GET / HTTP/1.1\r\nHost: loc").unwrap();
    }
    // The call notices nothing.
    pass(&call, &[&stream], 10);
    assert_eq!(host.api("uuid_audio_stream version").as_bytes()[0], b'{');
    // Those that came first are cut off; then this one is served, without a word of theirs.
    assert_eq!(get(&address, "/readyz").status, 200);
    let first = &mut idle[0];
    first.set_read_timeout(Some(PATIENCE)).unwrap();
    assert!(matches!(first.read(&mut [0; 64]), Ok(0) | Err(_)), "it was given no answer");
    stream.stop();
    wait_detached(&call);
}

#[test]
fn a_port_in_use_is_warned_about_and_all_else_works() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let host = Host::start(&configuration(&address));
    host.load_module().unwrap();
    let line = host.wait_log(|log| log.text.contains("LIFECYCLE http not_served"));
    assert_eq!(line.level, level::WARNING);
    assert!(line.text.contains(&address) && line.text.contains("in use"), "{}", line.text);
    let call = host.call(parked());
    let stream = Stream::start_on(&host, &call, "default", Script::default(), "mono 8k");
    pass(&call, &[&stream], 5);
    stream.stop();
    wait_detached(&call);
}

#[test]
fn an_unload_frees_the_port_and_the_next_load_has_it() {
    let (host, address) = serving("127.0.0.1:0");
    assert_eq!(get(&address, "/readyz").status, 200);
    host.unload_module(false).unwrap();
    assert!(TcpStream::connect(&address).is_err(), "nobody listens");
    host.set_config("audio_stream.conf", Some(&configuration(&address)));
    for _ in 0..3 {
        host.load_module().unwrap();
        assert!(eventually(PATIENCE, || TcpStream::connect(&address).is_ok()));
        assert_eq!(get(&address, "/readyz").status, 200);
        host.unload_module(false).unwrap();
    }
}

#[test]
fn nothing_listens_unless_asked_and_a_public_address_warns() {
    {
        let host = Host::start(r#"<configuration name="audio_stream.conf"><settings/></configuration>"#);
        host.load_module().unwrap();
        assert!(!host.logs().iter().any(|log| log.text.contains("LIFECYCLE http")));
    }
    let (host, address) = serving("0.0.0.0:0");
    let warned = host.wait_log(|log| log.text.contains("LIFECYCLE http public"));
    assert_eq!(warned.level, level::WARNING);
    let port = address.rsplit(':').next().unwrap();
    let reply = exchange(&format!("127.0.0.1:{port}"), "GET /readyz HTTP/1.1\r\nHost: voice.example\r\n\r\n");
    assert_eq!(reply.status, 200);
}

/// `STATUS_PAGE_PNG=<file>` keeps a picture of the page.
#[test]
fn a_real_browser_shows_the_streams_live() {
    let (host, address) = serving("127.0.0.1:0");
    let call = host.call(playing());
    let stream = Stream::start_on(&host, &call, "agent", Script::default(), "mono 16k profile=bot");
    let other_call = host.call(parked());
    let other = Stream::start_on(&host, &other_call, "default", Script::default(), "stereo 8k");
    pass(&other_call, &[&other], 3);
    let Some(mut browser) = Browser::open(&format!("http://{address}/")) else {
        // Past the capture of the test's output, so that it is seen.
        let why = "Chromium is not installed (Debian: chromium)";
        let _ = writeln!(
            std::io::stderr(),
            "\n*** SKIPPED: {why}; 'a_real_browser_shows_the_streams' has tested nothing. ***"
        );
        return;
    };
    stream.play(Play::mono(signal::speech(8_000, 20_000, 3), 8_000));
    call.speak(&signal::speech(8_000, 20_000, 5));
    pass_paced(&call, &[&stream], 25, 20);
    let own = |text: &str| text.contains(call.uuid()) && text.contains("STREAMING") && text.contains("KiB");
    let text = browser.wait_text(own);
    for shown in ["agent, ", "HEALTHY", "16 kHz", "native, mono", "bot", "dBFS", &stream.server.url().to_string()] {
        assert!(text.contains(shown), "{shown}: {text}");
    }
    let cell = format!("document.querySelector('[data-call=\"{}\"] td:nth-child(5)').innerText", call.uuid());
    let queue = |browser: &mut Browser| browser.evaluate(&cell);
    let before = queue(&mut browser);
    for _ in 0..100 {
        pass_paced(&call, &[&stream], 2, 20);
        if queue(&mut browser) != before {
            break;
        }
    }
    assert_ne!(queue(&mut browser), before, "the page goes with the stream");
    if let Some(file) = std::env::var_os("STATUS_PAGE_PNG") {
        std::fs::write(file, browser.picture()).unwrap();
    }
    host.api("uuid_audio_stream drain on");
    browser.wait_text(|text| text.contains("Draining: nothing new is started."));
    host.api("uuid_audio_stream drain off");
    browser.wait_text(|text| !text.contains("Draining"));
    stream.ok("pause");
    browser.wait_text(|text| text.contains("PAUSED"));
    assert!(browser.text().contains("STREAMING"), "the other stream is not paused");
    stream.stop();
    wait_detached(&call);
    let left = browser.wait_text(|text| !text.contains(call.uuid()));
    assert!(left.contains(other_call.uuid()) && left.contains("8 kHz"), "{left}");
    other.stop();
    wait_detached(&other_call);
    browser.wait_text(|text| text.contains("No streams.") && !text.contains(other_call.uuid()));
    assert_eq!(browser.complaints, Vec::<String>::new());
    host.unload_module(true).unwrap();
    browser.wait_text(|text| text.contains("does not answer"));
}
