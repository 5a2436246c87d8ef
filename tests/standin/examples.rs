//! The servers of `examples/` on a call: each greets the caller, repeats what they say, and falls silent when they interrupt.
//!
//! `make examples` installs what they need. Without it a case says `SKIPPED` and passes; with `REQUIRE_EXAMPLES=1` it fails.
//! `EXAMPLES_PYTHON` is the Python that has the packages.

use std::ffi::OsString;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::calls::{ABSENT, api, call, command, playing};
use crate::host::Call;
use crate::support::{audio, eventually, signal};

/// Loading a bot's libraries takes seconds.
const PATIENCE: Duration = Duration::from_secs(60);
/// The greeting: 300 ms of each.
const GREETING: [f64; 2] = [660.0, 880.0];

/// A running server, ended with this value.
struct Server {
    process: Child,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Server {
    fn start(program: &OsString, file: &str) -> Self {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(file);
        let mut start = Command::new(program);
        start.arg(file).args(["--port", "0"]).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut process = start.spawn().unwrap_or_else(|error| panic!("{}: {error}", program.display()));
        let lines = Arc::new(Mutex::new(Vec::new()));
        let (output, seen) = (process.stdout.take().unwrap(), Arc::clone(&lines));
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                seen.lock().unwrap().push(line);
            }
        });
        Self { process, lines }
    }

    fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }

    #[track_caller]
    fn wait_line(&self, start: &str) -> String {
        let line = || self.lines().into_iter().find(|line| line.starts_with(start));
        assert!(eventually(PATIENCE, || line().is_some()), "it does not say '{start}': {:?}", self.lines());
        line().unwrap()
    }
}

/// Says so, past the capture of the test's output, where the packages are missing.
fn installed(program: &OsString, check: &[&str], test: &str) -> bool {
    let found = Command::new(program).args(check).output().is_ok_and(|output| output.status.success());
    if !found {
        assert!(std::env::var_os("REQUIRE_EXAMPLES").is_none(), "{}: {check:?} fails", program.display());
        let why = "its packages are not installed (`make examples` installs them)";
        let _ = writeln!(std::io::stderr(), "\n*** SKIPPED: {why}; '{test}' has tested nothing. ***");
    }
    found
}

fn python() -> OsString {
    std::env::var_os("EXAMPLES_PYTHON").unwrap_or_else(|| "python3".into())
}

/// Lets the call go on at its pace until `done`.
#[track_caller]
fn until(call: &Call<'_>, what: &str, mut done: impl FnMut() -> bool) {
    let limit = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < limit, "waited for {what}");
        call.tick(1);
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// How long a tone is heard, ms.
fn heard_ms(call: &Call<'_>, hz: f64) -> u32 {
    audio::tone_ms(&call.heard(), 8_000, hz, 4.0 * ABSENT)
}

fn converses(server: &Server, options: &str, exact: bool) {
    let url = server.wait_line("listening on ").split_off("listening on ".len());
    let call = call(playing());
    assert_eq!(api(&format!("{} start {url} {options}", call.uuid())), "+OK Success");
    until(&call, "the greeting", || GREETING.iter().all(|hz| heard_ms(&call, *hz) >= 280));

    // What they say comes back once they have said it, and nothing before.
    let said = signal::speech(8_000, 800, 11);
    let from = call.heard_count();
    call.speak(&said);
    let longest = said.len() + 8_000;
    until(&call, "the caller to be repeated", || call.heard_from(from).len() >= 2 * longest);
    let heard = call.heard_from(from);
    let (at, likeness) = audio::find(&heard, &said);
    assert!(at >= said.len(), "repeated from sample {at} on, while the caller speaks");
    assert!(likeness > 0.95, "what is repeated resembles what was said by {likeness:.3}");
    if exact {
        assert_eq!(heard[at..at + said.len()], said[..], "the same sample for sample");
    }

    // A long answer is cut when the caller speaks.
    let from = call.heard_count();
    call.speak(&signal::tone(8_000, 1_250.0, 3_000, 8_000.0));
    let repeated = || audio::tone_ms(&call.heard_from(from), 8_000, 1_250.0, 4.0 * ABSENT);
    until(&call, "the long answer", || repeated() >= 600);
    call.speak(&signal::tone(8_000, 440.0, 400, 8_000.0));
    until(&call, "the caller to have spoken", || call.unspoken() == 0);
    let cut = repeated();
    assert!(cut < 2_000, "{cut} ms of the long answer are heard, though the caller interrupts");
    until(&call, "the interruption to be repeated", || {
        audio::tone_ms(&call.heard_from(from), 8_000, 440.0, 4.0 * ABSENT) >= 340
    });
    let rest = repeated() - cut;
    assert!(rest <= 40, "{rest} ms more of what was cut are heard");

    assert_eq!(command(&call, "stop"), "+OK Success");
    server.wait_line("the call has ended");
}

fn marks(server: &Server) {
    server.wait_line("mark greeting: playout");
    server.wait_line("mark answer 1: playout");
    server.wait_line("mark answer 2: cleared");
    server.wait_line(r#"text {"who":"4711"}"#);
}

#[test]
fn the_python_server_converses_and_is_interrupted() {
    let python = python();
    if installed(&python, &["-c", "import websockets"], "the_python_server_converses_and_is_interrupted") {
        let server = Server::start(&python, "python/server.py");
        converses(&server, r#"mono 8k {"who":"4711"}"#, true);
        marks(&server);
    }
}

#[test]
fn the_node_server_converses_and_is_interrupted() {
    let node = "node".into();
    if installed(&node, &["-e", "require('ws')"], "the_node_server_converses_and_is_interrupted") {
        let server = Server::start(&node, "node/server.mjs");
        converses(&server, r#"mono 8k {"who":"4711"}"#, true);
        marks(&server);
    }
}

#[test]
fn the_pipecat_bot_converses_and_is_interrupted() {
    let python = python();
    let check = ["-c", "import fastapi, uvicorn, pipecat.serializers.protobuf"];
    if installed(&python, &check, "the_pipecat_bot_converses_and_is_interrupted") {
        let server = Server::start(&python, "pipecat/bot.py");
        converses(&server, r#"mono 16k protocol=pipecat {"who":"4711"}"#, false);
        assert!(server.wait_line("message ").contains("4711"), "{:?}", server.lines());
    }
}
