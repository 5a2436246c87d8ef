//! The command `config`: what is in force, and where it comes from, before and after a reload.

use serde_json::Value;

use crate::host::{Host, PATIENCE};
use crate::support::eventually;

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
