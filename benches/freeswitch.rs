//! What streams cost a real FreeSWITCH: CPU and memory over the bare calls, threads, time in the callbacks.
//!
//! `FREESWITCH_PREFIX=… cargo bench --bench freeswitch`; `BENCH_CALLS` (200) null/ calls, each figure over `BENCH_SECONDS`
//! (20). The server that takes the streams is a process of its own, so that its CPU time is not FreeSWITCH's. The figures
//! are of FreeSWITCH's whole process, from /proc: CPU time to 10 ms, memory as resident pages.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

#[path = "../tests/freeswitch/mod.rs"]
mod harness;
#[path = "../tests/support/mod.rs"]
mod support;

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use harness::server::{FreeSwitch, Launch};
use harness::{in_fresh_freeswitch, process};
use support::eventually;

const SERVE: &str = "--serve";

fn main() {
    if std::env::args().any(|argument| argument == SERVE) {
        serve();
        return;
    }
    let calls = number("BENCH_CALLS", 200);
    let seconds = number("BENCH_SECONDS", 20);
    in_fresh_freeswitch(Launch::default(), |freeswitch| measure(&freeswitch, calls, seconds));
}

fn number(variable: &str, default: u64) -> u64 {
    match std::env::var(variable) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{variable} is '{text}'; give a number")),
        Err(_) => default,
    }
}

/// What the process uses at one time.
struct Use {
    cpu_share: f64,
    rss_kb: u64,
    threads: usize,
}

impl Use {
    fn over(pid: u32, seconds: u64) -> Self {
        let (cpu, start) = (process::cpu_seconds(pid), Instant::now());
        std::thread::sleep(Duration::from_secs(seconds));
        let cpu_share = (process::cpu_seconds(pid) - cpu) / start.elapsed().as_secs_f64();
        Self { cpu_share, rss_kb: process::rss_kb(pid), threads: process::threads(pid).len() }
    }
}

fn measure(freeswitch: &FreeSwitch, calls: u64, seconds: u64) {
    freeswitch.load();
    freeswitch.api("fsctl loglevel warning");
    let uuids: Vec<_> = (0..calls).map(|_| freeswitch.originate("null/x", "park()", "")).collect();
    std::thread::sleep(Duration::from_secs(3));
    let bare = Use::over(freeswitch.pid(), seconds);

    let mut server = Server::start();
    for uuid in &uuids {
        freeswitch.stream(uuid, &format!("start ws://127.0.0.1:{}/ mono 8k", server.port));
    }
    let open = eventually(Duration::from_secs(30), || server.ask().0 == calls);
    assert!(open, "{} of {calls} streams are connected", server.ask().0);
    std::thread::sleep(Duration::from_secs(3));
    let (_, bytes) = server.ask();
    let from = Instant::now();
    let streaming = Use::over(freeswitch.pid(), seconds);
    let received = (server.ask().1 - bytes) as f64 / from.elapsed().as_secs_f64();

    let health: Vec<_> = uuids.iter().map(|uuid| freeswitch.json(&format!("{uuid} health"))).collect();
    let sorted = |field: &str| {
        let mut values: Vec<_> = health.iter().filter_map(|one| one["callback"][field].as_f64()).collect();
        values.sort_by(f64::total_cmp);
        values
    };
    let middle = |values: &[f64]| values.get(values.len() / 2).copied().unwrap_or(f64::NAN);
    let last = |values: &[f64]| values.last().copied().unwrap_or(f64::NAN);
    let (p50, p99, max) = (sorted("p50_us"), sorted("p99_us"), sorted("max_us"));
    let dropped: u64 = health.iter().filter_map(|one| one["capture"]["dropped_frames"].as_u64()).sum();

    let streams = calls as f64;
    let (cpu, memory) = ([&bare, &streaming].map(|u| u.cpu_share * 1e2), [&bare, &streaming].map(|u| u.rss_kb as f64));
    println!("FreeSWITCH {}, {calls} null/ calls, {seconds} s each, mono 8 kHz:", freeswitch.installation.version);
    println!("  CPU       {:7.2} % of a core bare, {:.2} % streaming", cpu[0], cpu[1]);
    println!("            {:7.3} % of a core for one stream", (cpu[1] - cpu[0]) / streams);
    println!("  memory    {:7.1} MB bare, {:.1} MB streaming", memory[0] / 1e3, memory[1] / 1e3);
    println!("            {:7.1} KB for one stream", (memory[1] - memory[0]) / streams);
    println!("  threads   {:7} bare, {} streaming", bare.threads, streaming.threads);
    println!("  callback  {:7.2} µs p50, {:.2} µs p99 of the middle stream", middle(&p50), middle(&p99));
    println!("            {:7.2} µs p99 of the worst stream, {:.1} µs the longest", last(&p99), last(&max));
    println!("  received  {:7.1} % of what was said, {dropped} frames dropped", received / (streams * 16_000.0) * 1e2);
    freeswitch.hang_up_all();
}

/// The counting server, in a process of its own; ends with us.
struct Server {
    port: u16,
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
    child: Child,
}

impl Server {
    fn start() -> Self {
        let mut child = Command::new(std::env::current_exe().expect("we run"))
            .arg(SERVE)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("we can run twice");
        let questions = child.stdin.take().expect("piped");
        let mut answers = BufReader::new(child.stdout.take().expect("piped"));
        let mut line = String::new();
        answers.read_line(&mut line).expect("it says its port");
        Self { port: line.trim().parse().expect("a port"), questions, answers, child }
    }

    /// Connections open so far and bytes of audio received.
    fn ask(&mut self) -> (u64, u64) {
        writeln!(self.questions).expect("it listens");
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("it answers");
        let mut numbers = line.split_whitespace().map(|number| number.parse().expect("a number"));
        (numbers.next().expect("connections"), numbers.next().expect("bytes"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Accepts, reads, counts; says its port, then for each line asked the counts. Ends with its input.
fn serve() {
    let connections = Arc::new(AtomicU64::new(0));
    let bytes = Arc::new(AtomicU64::new(0));
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    println!("{}", listener.local_addr().expect("bound").port());
    listener.set_nonblocking(true).expect("a socket can");
    let counters = (Arc::clone(&connections), Arc::clone(&bytes));
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(accept(listener, counters));
    });
    for _ in std::io::stdin().lock().lines() {
        println!("{} {}", connections.load(Ordering::Relaxed), bytes.load(Ordering::Relaxed));
    }
}

async fn accept(listener: std::net::TcpListener, (connections, bytes): (Arc<AtomicU64>, Arc<AtomicU64>)) {
    let listener = tokio::net::TcpListener::from_std(listener).expect("the runtime takes sockets");
    loop {
        let Ok((tcp, _)) = listener.accept().await else { continue };
        let (connections, bytes) = (Arc::clone(&connections), Arc::clone(&bytes));
        tokio::spawn(async move {
            let Ok(mut socket) = tokio_tungstenite::accept_async(tcp).await else { return };
            connections.fetch_add(1, Ordering::Relaxed);
            while let Some(Ok(message)) = socket.next().await {
                if message.is_binary() {
                    bytes.fetch_add(message.len() as u64, Ordering::Relaxed);
                }
            }
        });
    }
}
