//! What the module leaves alone in FreeSWITCH's process, and what its threads cost it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::mem::MaybeUninit;
use std::time::Duration;

use crate::calls::{CONFIGURATION, LOUD, SERVER, Stream, parked, pass, playing};
use crate::host::Host;
use crate::support::signal;
use crate::support::websocket_server::{Play, Script};

/// What each signal does: handler and flags.
#[allow(unsafe_code)]
fn signals() -> Vec<(i32, usize, i32)> {
    let action = |signal| {
        let mut action = MaybeUninit::<libc::sigaction>::zeroed();
        // SAFETY: only reads, into a place of ours; a number that is no signal is refused.
        let known = unsafe { libc::sigaction(signal, std::ptr::null(), action.as_mut_ptr()) } == 0;
        // SAFETY: all zeroes are a valid one.
        let action = unsafe { action.assume_init() };
        known.then_some((signal, action.sa_sigaction, action.sa_flags))
    };
    (1..=64).filter_map(action).collect()
}

fn environment() -> BTreeMap<OsString, OsString> {
    std::env::vars_os().collect()
}

/// The reviewed module's program registered a handler of signals again with each start, and changed the environment beside threads.
#[test]
fn mixer_008_and_010_signals_and_environment_stay_as_they_are() {
    let host = Host::start(CONFIGURATION);
    let before = (signals(), environment());
    assert!(before.0.len() > 50 && !before.1.is_empty(), "the reader is blind");
    for _ in 0..3 {
        host.load_module().unwrap();
        assert_eq!((signals(), environment()), before, "loaded");
        let call = host.call(playing());
        let stream = Stream::start_on(&host, &call, "default", Script::default(), "stereo 16k");
        stream.play(Play::mono(signal::tone(8_000, SERVER, 200, LOUD), 8_000));
        pass(&call, &[&stream], 20);
        assert_eq!((signals(), environment()), before, "with a stream");
        stream.stop();
        drop(stream);
        drop(call);
        host.unload_module(true).unwrap();
        assert_eq!((signals(), environment()), before, "unloaded");
    }
}

/// Processor time of each of the module's threads so far, by thread.
fn busy() -> BTreeMap<String, Duration> {
    let tasks = fs::read_dir("/proc/self/task").unwrap().map(|task| task.unwrap().path());
    tasks
        .filter_map(|task| {
            let name = fs::read_to_string(task.join("comm")).ok()?.trim().to_owned();
            // Nanoseconds on a processor, nanoseconds in wait for one, turns.
            let spent = fs::read_to_string(task.join("schedstat")).ok()?;
            let spent = Duration::from_nanos(spent.split_whitespace().next()?.parse().ok()?);
            name.starts_with("mas-").then(|| (format!("{name} {}", task.display()), spent))
        })
        .collect()
}

/// The reviewed mixer asked for audio in a loop.
#[test]
fn mixer_011_threads_that_wait_for_audio_take_no_processor() {
    const TIME: Duration = Duration::from_secs(2);
    let host = Host::start(CONFIGURATION);
    host.load_module().unwrap();
    let calls: Vec<_> = (0..10).map(|_| host.call(parked())).collect();
    let streams: Vec<_> =
        calls.iter().map(|call| Stream::start_on(&host, call, "default", Script::default(), "mono 8k")).collect();
    for (call, stream) in calls.iter().zip(&streams) {
        pass(call, &[stream], 2);
    }
    // No frame comes: everybody waits for audio.
    let before = busy();
    std::thread::sleep(TIME);
    let after = busy();
    assert!(after.len() >= 6, "{after:?}");
    for (thread, spent) in &after {
        let spent = spent.saturating_sub(before.get(thread).copied().unwrap_or_default());
        assert!(spent < TIME / 10, "{thread} was busy for {spent:?} of {TIME:?}");
    }
}
