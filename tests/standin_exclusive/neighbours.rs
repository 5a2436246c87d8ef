//! What one server does to another call: nothing. Each flood has an innocent call beside it, whose audio, key and events are
//! compared with what was said.

use std::thread;
use std::time::{Duration, Instant};

use crate::calls::{CONFIGURATION, Stream, playing};
use crate::host::Host;
use crate::support::websocket_server::{Action, Play, Script};
use crate::support::{flood, signal};

fn loaded() -> Host {
    let host = Host::start(CONFIGURATION);
    host.load_module().unwrap();
    host
}

/// How often a flood is tried on a machine that is busy elsewhere: it starves the worker and this test alike.
const ATTEMPTS: u32 = 8;
/// A thread that only sleeps wakes within this time, unless others have the processors.
const LATE: Duration = Duration::from_millis(20);

/// A call that has nothing to do with the flood: it passes `frames` frames at their pace, says and hears something in all of
/// them, and presses a key; whatever was said and sent has to arrive whole. False where audio is missing and the machine was too busy
/// for the test itself.
#[track_caller]
fn innocent(host: &Host, frames: usize, what: &str, last_attempt: bool) -> bool {
    let call = host.call(playing());
    let texts: Vec<_> = (0..20).map(|number| format!(r#"{{"number":{number}}}"#)).collect();
    let stream = Stream::start_on(host, &call, "innocent", Script::default(), "mono 8k");
    let ms = 20 * frames as u32;
    let (said, answer) = (signal::speech(8_000, ms, 83), signal::speech(8_000, ms - 400, 89));
    stream.connection.order(Action::Play(Play::mono(answer.clone(), 8_000)));
    thread::sleep(Duration::from_millis(200));
    call.speak(&said);
    call.press("5", 120);
    let mut texts_left = texts.iter();
    let (mut due, mut latest) = (Instant::now(), Duration::ZERO);
    for passed in 0..frames {
        call.tick(1);
        if passed % (frames / 20) == 0 {
            texts_left.by_ref().take(1).for_each(|text| stream.connection.order(Action::Text(text.clone())));
        }
        // No faster than the audio, but slower where the machine is: the ticks of a starved test are as late as its shard.
        due = (due + Duration::from_millis(20)).max(Instant::now());
        thread::sleep(due.saturating_duration_since(Instant::now()));
        latest = latest.max(due.elapsed());
    }
    let health = stream.health();
    if health["inject"]["underrun_count"] != 0 && latest > LATE && !last_attempt {
        return false;
    }
    assert_eq!(health["capture"]["dropped_frames"], 0, "{what}: {health}");
    assert_eq!(health["inject"]["underrun_count"], 0, "{what}: {health}");
    let heard = call.heard();
    let start = heard.iter().position(|sample| *sample != 0).unwrap_or(heard.len());
    let first = answer.iter().position(|sample| *sample != 0).unwrap();
    assert!(start < 20 * 160, "{what}: the answer is heard from sample {start} on");
    assert_eq!(heard[start..start + answer.len() - first], answer[first..], "{what}: what the caller heard");
    assert_eq!(stream.heard()[..said.len()], said[..], "{what}: what the server heard");
    stream.heed();
    let bodies: Vec<_> = stream.events("json").into_iter().filter_map(|event| event.body).collect();
    assert_eq!(bodies[..texts.len().min(bodies.len())], texts[..], "{what}: the server's texts as events");
    assert_eq!(stream.events("dtmf").len(), 1, "{what}: the key as an event");
    true
}

/// A flood of `bytes` beside an innocent call: the server is reported, and disconnected with 1008.
#[track_caller]
fn flood_beside_an_innocent_call(what: &str, options: &str, bytes: Vec<u8>) {
    for attempt in 1.. {
        let host = loaded();
        let call = host.call(playing());
        let pour = Action::Pour(bytes.clone(), Duration::from_secs(30));
        let flooded = Stream::start_on(&host, &call, "flooded", Script::of([pour]), &format!("mono 8k {options}"));
        if innocent(&host, 150, what, attempt == ATTEMPTS) {
            is_disconnected(&flooded, what, options);
            return;
        }
    }
}

/// The server was reported, and disconnected with 1008.
#[track_caller]
fn is_disconnected(flooded: &Stream<'_>, what: &str, options: &str) {
    let error = flooded.wait_event("error").json();
    let told = error["message"]["error"].as_str().unwrap();
    assert!(told.contains("max_messages_per_s=1000") || options.contains("max_audio"), "{what}: {told}");
    let gone = flooded.wait_event("disconnect").json();
    assert_eq!(gone["message"]["code"], 1_008, "{what}: {gone}");
}

#[test]
fn a_flood_of_short_texts_costs_another_call_nothing() {
    flood_beside_an_innocent_call("short texts", "", flood::short_texts());
}

#[test]
fn a_flood_of_pings_costs_another_call_nothing() {
    flood_beside_an_innocent_call("pings", "", flood::pings());
}

#[test]
fn a_flood_of_fragments_costs_another_call_nothing() {
    flood_beside_an_innocent_call("fragments", "", flood::fragments());
}

#[test]
fn a_flood_of_long_messages_costs_another_call_nothing() {
    flood_beside_an_innocent_call("messages of 16 MB", "max_audio_base64_len=10000000", flood::long_message());
}
