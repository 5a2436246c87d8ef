//! What the callbacks and the messages of a stream cost, in instructions and allocations: both are the same on a busy machine as on
//! an idle one, so a test can hold them. `costs.txt` has the figures, which may change by a tenth.
//!
//! The test runs this program once more for each figure, alone with one call in the stand-in: under callgrind for the instructions of
//! the callbacks (with all that they call, the stand-in's share included), without it for the allocations of the workers. The code is
//! that of the tests, not optimised, so the figures are no measure of a release; what they show is a change.
//!
//! Where valgrind is missing, the instructions are not counted, and the test says so. `BLESS=1` writes the figures anew.

use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::Ordering;

use crate::callbacks::{WATCH_WORKERS, WORKERS};
use crate::calls::{LOUD, SERVER, Stream, call, pass, playing};
use crate::support::module::scratch_folder;
use crate::support::signal;
use crate::support::websocket_server::Play;

/// Frames of the call that are counted.
const FRAMES: usize = 50;
/// Says in a child what it is run for.
const WANTED: &str = "COSTS_OF";
/// By how much a figure may differ from the committed one, in percent.
const TOLERANCE: f64 = 10.0;

/// One call whose caller speaks, to whom the switch plays, and whose server speaks: every frame is captured, sent, and played to.
#[test]
#[ignore = "run by the_costs_of_a_stream_are_as_committed, alone in its process"]
fn workload() {
    let Some(what) = std::env::var_os(WANTED) else { return };
    let call = call(playing());
    let stream = Stream::start(&call, "mono 8k");
    call.speak(&signal::tone(8_000, 440.0, 3_000, LOUD));
    call.play(&signal::tone(8_000, 700.0, 3_000, LOUD));
    stream.play(Play::mono(signal::tone(8_000, SERVER, 2_900, LOUD), 8_000));
    // Until buffers have their sizes.
    pass(&call, &[&stream], 20);
    WATCH_WORKERS.store(true, Ordering::Relaxed);
    let before = (WORKERS.load(Ordering::Relaxed), stream.connection.audio().len());
    for _ in 0..FRAMES {
        let expected = stream.connection.audio().len() + 160;
        call.tick(1);
        call.wait_until("the message", |_| stream.connection.audio().len() >= expected);
    }
    let messages = (stream.connection.audio().len() - before.1) / 160;
    let allocations = WORKERS.load(Ordering::Relaxed) - before.0;
    WATCH_WORKERS.store(false, Ordering::Relaxed);
    let _ = writeln!(std::io::stdout(), "\n{}: {allocations} in {messages}", what.display());
}

/// This program, for the workload alone.
fn workload_in(program: &mut Command, what: &str) -> String {
    let output = program
        .args(["--exact", "costs::workload", "--ignored", "--nocapture", "--test-threads=1"])
        .env(WANTED, what)
        .output()
        .expect("this program runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    said
}

/// Allocations of the workers for each message of 20 ms that is sent, with all else that they do in that time.
fn allocations() -> f64 {
    let said = workload_in(&mut Command::new(std::env::current_exe().unwrap()), "allocations");
    let counted = said.lines().find_map(|line| line.strip_prefix("allocations: ")).expect("it counts");
    let (allocations, messages) = counted.split_once(" in ").unwrap();
    allocations.parse::<f64>().unwrap() / messages.parse::<f64>().unwrap()
}

/// Instructions of each READ and of each WRITE_REPLACE; `None` where there is no valgrind.
fn instructions() -> Option<[(&'static str, f64); 2]> {
    Command::new("valgrind").arg("--version").output().ok()?;
    let file = scratch_folder().join(format!("callgrind.{}", std::process::id()));
    let mut callgrind = Command::new("valgrind");
    callgrind
        .args(["--tool=callgrind", "--compress-strings=no", "--compress-pos=no", "--error-exitcode=9", "-q"])
        .arg(format!("--callgrind-out-file={}", file.display()))
        .arg(std::env::current_exe().unwrap());
    workload_in(&mut callgrind, "instructions");
    let profile = std::fs::read_to_string(&file).unwrap();
    let _ = std::fs::remove_file(&file);
    Some([("read_instructions", "ffi::stream::Capture as"), ("write_instructions", "ffi::stream::Playout as")].map(
        |(name, callee)| {
            let (calls, cost) = cost_of(&profile, callee);
            assert!(calls >= FRAMES as u64, "{callee} was called {calls} times");
            (name, cost as f64 / calls as f64)
        },
    ))
}

/// How often callgrind saw `Half::run` of this type called, and the instructions of it and all that it called.
fn cost_of(profile: &str, callee: &str) -> (u64, u64) {
    let (mut calls, mut cost, mut wanted) = (0, 0, false);
    let mut lines = profile.lines();
    while let Some(line) = lines.next() {
        if let Some(name) = line.strip_prefix("cfn=") {
            wanted = name.contains(callee) && name.contains("run");
        } else if let Some(count) = line.strip_prefix("calls=").filter(|_| wanted) {
            calls += count.split(' ').next().and_then(|count| count.parse::<u64>().ok()).unwrap_or_default();
            let inclusive = lines.next().and_then(|line| line.split(' ').next_back()).unwrap_or_default();
            cost += inclusive.parse::<u64>().unwrap_or_default();
        }
    }
    (calls, cost)
}

#[test]
fn the_costs_of_a_stream_are_as_committed() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/media_thread/costs.txt");
    let mut found = vec![("message_allocations", allocations())];
    match instructions() {
        Some(instructions) => found.extend(instructions),
        None => {
            let why = "there is no valgrind, so the instructions of the callbacks are not counted";
            let test = "the_costs_of_a_stream_are_as_committed";
            let _ = writeln!(std::io::stderr(), "\n*** SKIPPED: {why}; '{test}' has tested only allocations. ***");
        }
    }
    if std::env::var_os("BLESS").is_some() {
        let text: String = found.iter().map(|(name, figure)| format!("{name} {figure:.2}\n")).collect();
        return std::fs::write(path, text).unwrap();
    }
    let committed = std::fs::read_to_string(path).unwrap();
    let figures = committed.lines().filter_map(|line| line.split_once(' '));
    let figures: Vec<(&str, f64)> = figures.map(|(name, figure)| (name, figure.parse().unwrap())).collect();
    let mut wrong = Vec::new();
    for (name, now) in found {
        let (_, before) = figures.iter().find(|(known, _)| *known == name).expect("it is committed");
        if (now - before).abs() > before * TOLERANCE / 100.0 {
            wrong.push(format!("{name}: {now:.2} instead of {before:.2}"));
        }
    }
    assert!(wrong.is_empty(), "{}; if that is meant, write the figures anew with BLESS=1", wrong.join(", "));
}
