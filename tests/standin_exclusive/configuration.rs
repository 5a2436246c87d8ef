//! The configuration: what is in force before and after a reload, which servers it allows, secrets in files, `config check`.

use serde_json::Value;

use crate::calls::is;
use crate::host::{Call, CallOptions, Host, PATIENCE};
use crate::realtime::{RealtimeServer, Script as Service};
use crate::support::eventually;
use crate::support::websocket_server::{Script, WebSocketServer};

fn configuration(max_streams: u32, workers: u32, rate: &str) -> String {
    format!(
        r#"<configuration name="audio_stream.conf"><settings><param name="max-streams" value="{max_streams}"/>
        <param name="workers" value="{workers}"/><param name="rate" value="{rate}"/><param name="frame_ms" value="9"/></settings>
        <profiles><profile name="bot"><param name="rate" value="24k"/><param name="headers" value='{{"X-Key":"hunter2"}}'/></profile>
        </profiles></configuration>"#
    )
}

#[test]
fn config_prints_what_is_in_force_and_where_it_comes_from() {
    let host = Host::start(&configuration(7, 1, "8k"));
    host.load_module().unwrap();
    let print = |arguments: &str| host.api(&format!("uuid_audio_stream config{arguments}"));
    let value = |printed: &str, name: &str| {
        let printed: Value = serde_json::from_str(printed).unwrap_or_else(|error| panic!("{error}: {printed}"));
        let values = printed["values"].as_array().unwrap().clone();
        let found = values.into_iter().find(|value| value["name"] == name).unwrap();
        (found["value"].as_str().unwrap().to_owned(), found["source"].as_str().unwrap().to_owned())
    };
    let is = |value: &str, source: &str| (value.to_owned(), source.to_owned());
    let plain = print("");
    assert_eq!(value(&plain, "max_streams"), is("7", "settings"));
    assert_eq!(value(&plain, "rate"), is("8k", "settings"));
    assert_eq!(value(&plain, "frame_ms"), is("20", "default"), "a value that is not used is not shown");
    assert_eq!(value(&plain, "connect_timeout_ms"), is("5000", "default"));
    let bot = print(" profile=bot");
    assert_eq!(value(&bot, "rate"), is("24k", "profile bot"));
    assert_eq!(value(&bot, "headers"), is("***", "profile bot"));
    assert!(!bot.contains("hunter2"));
    assert_eq!(print(" profile=x"), "-ERR no profile 'x' in audio_stream.conf.xml; it has bot\n");

    host.set_config("audio_stream.conf", Some(&configuration(9, 2, "16k")));
    assert_eq!(print(""), plain, "before the reload");
    host.reload_xml();
    let reloaded = print("");
    assert_eq!(value(&reloaded, "max_streams"), is("9", "settings"));
    assert_eq!(value(&reloaded, "rate"), is("16k", "settings"));
    assert_eq!(value(&reloaded, "workers"), is("1", "settings"), "read at load alone");
}

/// A configuration file with these settings.
fn with(settings: &[(&str, &str)]) -> String {
    let params: Vec<_> =
        settings.iter().map(|(name, value)| format!(r#"<param name="{name}" value="{value}"/>"#)).collect();
    format!(r#"<configuration name="audio_stream.conf"><settings>{}</settings></configuration>"#, params.concat())
}

/// `reloadxml`, and the module has read the configuration.
fn reload(host: &Host) {
    let reloads = || host.logs().iter().filter(|log| log.text == "LIFECYCLE reloadxml ok").count();
    let before = reloads();
    host.reload_xml();
    assert!(eventually(PATIENCE, || reloads() > before), "the configuration is not read");
}

fn started(host: &Host, call: &Call<'_>, command: &str) -> String {
    host.api(&format!("uuid_audio_stream {} {command}", call.uuid())).trim().to_owned()
}

/// The words of the call's first `error` event.
fn error_of(host: &Host, call: &Call<'_>) -> String {
    let event = host.wait_event(|event| is(event, "error") && event.header("Audio-Stream-UUID") == Some(call.uuid()));
    event.json()["message"]["error"].as_str().unwrap().to_owned()
}

#[test]
fn only_listed_servers_are_connected_to_by_their_addresses() {
    let host = Host::start(&with(&[("allowed_servers", "localhost, 127.0.0.1, bot.example")]));
    host.load_module().unwrap();
    let call = host.call(CallOptions::default());
    let server = WebSocketServer::start(Script::default());
    let at = |host: &str| server.url_for(host);
    let refused = started(&host, &call, &format!("start {}", at("127.0.0.2")));
    assert_eq!(refused, "-ERR allowed_servers does not list 127.0.0.2");
    assert_eq!(started(&host, &call, &format!("start name=listed {}", at("127.0.0.1"))), "+OK Success");
    server.connection(0);
    // A listed name that leads to this machine, whose network is listed for one address only.
    host.set_config("audio_stream.conf", Some(&with(&[("allowed_servers", "localhost, 10.0.0.0/8")])));
    reload(&host);
    assert_eq!(started(&host, &call, &format!("start name=rebound {}", at("localhost"))), "+OK Success");
    let said = error_of(&host, &call);
    assert!(said.starts_with("localhost has the internal address"), "{said}");
    assert_eq!(server.connections().len(), 1, "nobody has connected");
    host.set_config("audio_stream.conf", Some(&with(&[("allowed_servers", "127.0.0.0/8 ::1")])));
    reload(&host);
    assert_eq!(started(&host, &call, &format!("start name=network {}", at("localhost"))), "+OK Success");
    server.connection(1);
    // Speech synthesis is no way around it.
    let service = RealtimeServer::start(Service::default());
    let speaks = host.call(CallOptions::default());
    let arguments = format!(
        "start_ai openai_base_url={} openai_api_key=sk-test openai_model=test-model ai_output=tts tts_provider=openai \
         tts_voice=v tts_model=m tts_url=http://10.0.0.1:9 tts_api_key=k greeting=Hello.",
        service.base_url()
    );
    assert_eq!(started(&host, &speaks, &arguments), "+OK Success");
    let said = error_of(&host, &speaks);
    assert!(said.contains("allowed_servers does not list 10.0.0.1"), "{said}");
}

#[test]
fn a_secret_in_a_file_is_read_again_with_the_configuration() {
    let folder = std::env::temp_dir().join(format!("mod_audio_stream_key_{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("openai.key");
    std::fs::write(&file, "sk-wrong\n").unwrap();
    let service = RealtimeServer::start(Service::default());
    let secret = format!("file:{}", file.display());
    let settings =
        [("openai_api_key", secret.as_str()), ("openai_base_url", &service.base_url()), ("openai_model", "test-model")];
    let host = Host::start(&with(&settings));
    host.load_module().unwrap();
    let state = |call: &Call<'_>, wanted: &str| {
        host.wait_event(|event| {
            event.header("Audio-Stream-UUID") == Some(call.uuid()) && event.header("Audio-Stream-State") == Some(wanted)
        })
    };
    let refused = host.call(CallOptions::default());
    assert_eq!(started(&host, &refused, "start_ai"), "+OK Success");
    state(&refused, "FAILED");
    std::fs::write(&file, "sk-test\n").unwrap();
    reload(&host);
    let served = host.call(CallOptions::default());
    assert_eq!(started(&host, &served, "start_ai"), "+OK Success");
    state(&served, "LISTENING");
    // The key does not go to a server that a command names, and nobody can read it.
    let elsewhere = RealtimeServer::start(Service::default());
    let named = format!("start_ai name=other openai_base_url={}", elsewhere.base_url());
    let reply = started(&host, &served, &named);
    assert!(reply.starts_with("-ERR openai_base_url") && reply.contains("allow_key_to"), "{reply}");
    assert_eq!(elsewhere.accepted(), 0);
    let printed = host.api("uuid_audio_stream config");
    let logs = host.look(|events, logs| format!("{events:?}{logs:?}"));
    for shown in [printed, logs] {
        assert!(!shown.contains("sk-test") && !shown.contains("sk-wrong"), "a key is shown");
    }
    let origin = elsewhere.base_url();
    host.set_config("audio_stream.conf", Some(&with(&[&settings[..], &[("allow_key_to", &origin)]].concat())));
    reload(&host);
    assert_eq!(started(&host, &served, &named), "+OK Success");
    elsewhere.connection(0);
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn a_variable_without_effect_is_warned_about_once_per_load() {
    let host = Host::start(&with(&[]));
    host.load_module().unwrap();
    let server = WebSocketServer::start(Script::default());
    let start = || {
        let call = host.call(CallOptions::default());
        call.set_variable("STREAM_MESSAGE_DEFLATE", "false");
        assert_eq!(started(&host, &call, &format!("start {}", server.url())), "+OK Success");
        host.look(|_, logs| logs.iter().filter(|log| log.text.contains("messages are never compressed")).count())
    };
    assert_eq!([start(), start(), start()], [1, 1, 1]);
    reload(&host);
    assert_eq!([start(), start()], [2, 2]);
}

#[test]
fn config_check_says_what_is_wrong_and_changes_nothing() {
    let host = Host::start(&with(&[("rate", "16k")]));
    host.load_module().unwrap();
    let folder = std::env::temp_dir().join(format!("mod_audio_stream_check_{}", std::process::id()));
    std::fs::create_dir_all(folder.join("autoload_configs")).unwrap();
    host.set_global("conf_dir", folder.to_str().unwrap());
    let file = folder.join("autoload_configs/audio_stream.conf.xml");
    let check = |arguments: &str| host.api(&format!("uuid_audio_stream config check{arguments}")).trim().to_owned();
    assert!(check("").starts_with("-ERR ") && check("").contains("No such file"), "{}", check(""));
    std::fs::write(&file, with(&[("rate", "24k")])).unwrap();
    let shown = file.display();
    assert_eq!(check(""), format!("+OK {shown}: nothing is wrong in 1 setting and 0 profiles"));
    let bad = with(&[
        ("rate", "9k"),
        ("frame-size", "20"),
        ("openai_api_key", "file:/nonexistent"),
        ("allowed_servers", "10.0.0.0/99"),
    ]);
    std::fs::write(folder.join("new file.xml"), bad).unwrap();
    let said = check(&format!(" {}", folder.join("new file.xml").display()));
    let lines: Vec<_> = said.lines().collect();
    assert!(lines[0].ends_with("4 warnings") && lines.len() == 5, "{said}");
    for wanted in [
        "bad value '9k' of setting rate",
        "frame_size is ignored",
        "/nonexistent: No such file",
        "'10.0.0.0/99' is not a name",
    ] {
        assert!(lines.iter().any(|line| line.contains(wanted)), "{wanted}: {said}");
    }
    let whole = r#"<configuration name="audio_stream.conf"><setting/><settings><param name="rate" value="8k"/>
        <parameter name="rate" value="24k"/><param name="tls_ca" value="/nonexistent/ca.pem"/><param name="rate"/></settings>
        <profiles><profile name="a"><param name="password" value="hunter2"/><param name="rate" value="8k"/>
        <param name="rate" value="16k"/></profile><profile name="a"><param name="username" value="u"/>
        <param name="headers" value="{&quot;Authorization&quot;: &quot;hunter2&quot;}"/></profile></profiles></configuration>"#;
    std::fs::write(folder.join("whole.xml"), whole).unwrap();
    let said = check(&format!(" {}", folder.join("whole.xml").display()));
    for wanted in [
        "<setting> is ignored: <configuration> takes <settings> and <profiles>",
        "<parameter> is ignored: <settings> takes <param>",
        "<param name=\"rate\"> in <settings> has no value=",
        "profile a, rate is given twice; using the last value",
        "profile a is given twice; using the last one",
        "profile a: username of profile a is ignored: the Authorization header of headers of profile a overrides it",
        "setting tls_ca: /nonexistent/ca.pem: No such file or directory",
    ] {
        assert!(said.lines().any(|line| line.contains(wanted)), "{wanted}: {said}");
    }
    assert!(!said.contains("hunter2"));
    let one = with(&[("tls_cert", "/etc/hostname")]);
    std::fs::write(folder.join("one.xml"), one).unwrap();
    let said = check(&format!(" {}", folder.join("one.xml").display()));
    assert!(
        said.contains(": 1 warning\n") && said.ends_with("setting tls_cert is ignored: tls_key is not set"),
        "{said}"
    );
    assert!(host.api("uuid_audio_stream config").contains(r#"{"name":"rate","value":"16k","source":"settings"}"#));
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn a_configuration_that_comes_late_holds_up_no_event() {
    let host = Host::start(&configuration(7, 1, "8k"));
    host.load_module().unwrap();
    let max_streams = || -> u64 {
        let printed: Value = serde_json::from_str(&host.api("uuid_audio_stream config")).unwrap();
        let values = printed["values"].as_array().unwrap().clone();
        values.iter().find(|value| value["name"] == "max_streams").unwrap()["value"].as_str().unwrap().parse().unwrap()
    };
    host.hold_config(true);
    for number in [8, 9, 10] {
        host.set_config("audio_stream.conf", Some(&configuration(number, 1, "8k")));
        // On the thread that delivers events to everybody.
        host.begin_to_reload_xml();
    }
    assert_eq!(max_streams(), 7);
    host.hold_config(false);
    // The first reading has an old text or the newest; after it one more is made for the others together.
    assert!(eventually(PATIENCE, || max_streams() == 10), "{} is in force", max_streams());
    let reloads = || host.logs().iter().filter(|log| log.text == "LIFECYCLE reloadxml ok").count();
    assert!(reloads() <= 2, "{} readings", reloads());
}
