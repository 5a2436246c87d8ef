//! What streams cost a real FreeSWITCH: CPU and memory over the bare calls, threads, time in the callbacks.
//!
//! `FREESWITCH_PREFIX=… cargo bench --bench freeswitch`; `BENCH_CALLS` (200) null/ calls, each figure over `BENCH_SECONDS`
//! (20); `BENCH_ONLY` names the parts to run, of `one,mixed,floods`. First one stream to a call, which captures; then, in a FreeSWITCH of its own, a quarter of the calls with three
//! streams each, whose servers speak all the time and are heard together. The server that takes the streams is a process of
//! its own, so that its CPU time is not FreeSWITCH's. The figures are of FreeSWITCH's whole process, from /proc: CPU time to
//! 10 ms, memory as resident pages.
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

use futures_util::{SinkExt, StreamExt};
use harness::server::{FreeSwitch, Launch};
use harness::{in_fresh_freeswitch, process};
use support::websocket_server::{Action, Script, WebSocketServer};
use support::{eventually, flood, signal};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};

const SERVE: &str = "--serve";
/// The path at which the server speaks, and how much it says at a time.
const SPEAK: &str = "/speak";
const SPOKEN_MS: u32 = 200;
/// Between two starts. Calls come at any time, so their frames are spread over the ptime; if they came as fast as a start returns,
/// the figures would tell how many frames fall into one turn of a worker.
const APART: Duration = Duration::from_millis(7);

fn main() {
    if std::env::args().any(|argument| argument == SERVE) {
        serve();
        return;
    }
    let calls = number("BENCH_CALLS", 200);
    let seconds = number("BENCH_SECONDS", 20);
    let parts = parts();
    if parts.contains(&Part::One) {
        in_fresh_freeswitch(Launch::default(), |freeswitch| {
            let name = format!("{calls} null/ calls, a stream each");
            measure(&freeswitch, (calls, 1), seconds, &name, "/ mono 8k");
        });
    }
    if parts.contains(&Part::Mixed) {
        let mixed = calls.div_ceil(4);
        in_fresh_freeswitch(Launch::default(), |freeswitch| {
            let name = format!("{mixed} null/ calls, three streams each that speak and are mixed");
            measure(&freeswitch, (mixed, 3), seconds, &name, "/speak mono 8k binary_rate=8k inject_mode=mix");
        });
    }
    if parts.contains(&Part::Floods) {
        in_fresh_freeswitch(Launch::default(), |freeswitch| beside_floods(&freeswitch));
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    One,
    Mixed,
    Floods,
}

/// What `BENCH_ONLY` names; all where it names nothing.
fn parts() -> Vec<Part> {
    let all = [("one", Part::One), ("mixed", Part::Mixed), ("floods", Part::Floods)];
    let Ok(names) = std::env::var("BENCH_ONLY") else { return all.map(|(_, part)| part).to_vec() };
    let part = |name: &str| all.iter().find(|(known, _)| *known == name.trim()).map(|(_, part)| *part);
    let of_name = |name| part(name).unwrap_or_else(|| panic!("BENCH_ONLY is '{names}'; give some of one,mixed,floods"));
    names.split(',').map(of_name).collect()
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

/// `each` streams on each of `calls`; `start` is the path of the server's URL and the options.
fn measure(freeswitch: &FreeSwitch, (calls, each): (u64, u64), seconds: u64, name: &str, start: &str) {
    freeswitch.load();
    freeswitch.api("fsctl loglevel warning");
    let uuids: Vec<_> = (0..calls).map(|_| freeswitch.originate("null/x", "park()", "")).collect();
    std::thread::sleep(Duration::from_secs(3));
    let bare = Use::over(freeswitch.pid(), seconds);

    let mut server = Server::start();
    let streams: Vec<_> = uuids.iter().flat_map(|uuid| (0..each).map(move |index| (uuid, index))).collect();
    let begin = Instant::now();
    for ((uuid, index), at) in streams.iter().zip(0..) {
        std::thread::sleep((begin + APART * at).saturating_duration_since(Instant::now()));
        freeswitch.stream(uuid, &format!("start name=s{index} ws://127.0.0.1:{}{start}", server.port));
    }
    let count = calls * each;
    let open = eventually(Duration::from_secs(30), || server.ask().0 == count);
    assert!(open, "{} of {count} streams are connected", server.ask().0);
    std::thread::sleep(Duration::from_secs(3));
    let (_, bytes) = server.ask();
    let from = Instant::now();
    let streaming = Use::over(freeswitch.pid(), seconds);
    let received = (server.ask().1 - bytes) as f64 / from.elapsed().as_secs_f64();

    let of_stream = |(uuid, index): &(&String, u64)| freeswitch.json(&format!("{uuid} health name=s{index}"));
    let health: Vec<_> = streams.iter().map(of_stream).collect();
    let sorted = |field: &str| {
        let mut values: Vec<_> = health.iter().filter_map(|one| one["callback"][field].as_f64()).collect();
        values.sort_by(f64::total_cmp);
        values
    };
    let middle = |values: &[f64]| values.get(values.len() / 2).copied().unwrap_or(f64::NAN);
    let last = |values: &[f64]| values.last().copied().unwrap_or(f64::NAN);
    let (p50, p99, max) = (sorted("p50_us"), sorted("p99_us"), sorted("max_us"));
    let sum = |part: &str, field: &str| health.iter().filter_map(|one| one[part][field].as_u64()).sum::<u64>();
    let dropped = sum("capture", "dropped_frames");
    let (played_ms, underruns) = (sum("inject", "played_ms") / count, sum("inject", "underrun_count"));
    let streams = count as f64;
    let (cpu, memory) = ([&bare, &streaming].map(|u| u.cpu_share * 1e2), [&bare, &streaming].map(|u| u.rss_kb as f64));
    println!("FreeSWITCH {}, {name}, {seconds} s, mono 8 kHz:", freeswitch.installation.version);
    println!("  CPU       {:7.2} % of a core bare, {:.2} % streaming", cpu[0], cpu[1]);
    println!("            {:7.3} % of a core for one stream", (cpu[1] - cpu[0]) / streams);
    println!("  memory    {:7.1} MB bare, {:.1} MB streaming", memory[0] / 1e3, memory[1] / 1e3);
    println!("            {:7.1} KB for one stream", (memory[1] - memory[0]) / streams);
    println!("  threads   {:7} bare, {} streaming", bare.threads, streaming.threads);
    println!("  callback  {:7.2} µs p50, {:.2} µs p99 of the middle stream", middle(&p50), middle(&p99));
    println!("            {:7.2} µs p99 of the worst stream, {:.1} µs the longest", last(&p99), last(&max));
    println!("  received  {:7.1} % of what was said, {dropped} frames dropped", received / (streams * 16_000.0) * 1e2);
    println!("  played    {played_ms:7} ms of each server, {underruns} underruns");
    freeswitch.hang_up_all();
}

/// What a flood costs the callbacks of another call, which captures and plays meanwhile; each over the ten seconds after which a
/// server that floods is disconnected.
fn beside_floods(freeswitch: &FreeSwitch) {
    freeswitch.load();
    freeswitch.api("fsctl loglevel warning");
    println!("FreeSWITCH {}, one call beside another whose server floods, 10 s each:", freeswitch.installation.version);
    let server = Server::start();
    let floods = [
        ("no flood", None),
        ("short texts", Some(flood::short_texts())),
        ("pings", Some(flood::pings())),
        ("fragments", Some(flood::fragments())),
        ("texts of 16 MB", Some(flood::long_message())),
    ];
    for (what, bytes) in floods {
        let flooding =
            bytes.map(|bytes| WebSocketServer::start(Script::of([Action::Pour(bytes, Duration::from_secs(60))])));
        let uuids = ["innocent", "flooded"].map(|_| freeswitch.originate("null/x", "park()", ""));
        if let Some(flooding) = &flooding {
            let start = format!("start {} mono 8k max_audio_base64_len=10000000", flooding.url());
            freeswitch.stream(&uuids[1], &start);
            flooding.connection(0);
        }
        let url = format!("ws://127.0.0.1:{}{SPEAK}", server.port);
        freeswitch.stream(&uuids[0], &format!("start {url} mono 8k binary_rate=8k"));
        std::thread::sleep(Duration::from_secs(10));
        let health = freeswitch.json(&format!("{} health", uuids[0]));
        let callback = |field: &str| health["callback"][field].as_f64().unwrap_or(f64::NAN);
        println!(
            "  {what:14} {:7.2} µs p50, {:.2} µs p99, {:.1} µs the longest; {} frames dropped, {} underruns",
            callback("p50_us"),
            callback("p99_us"),
            callback("max_us"),
            health["capture"]["dropped_frames"],
            health["inject"]["underrun_count"],
        );
        freeswitch.hang_up_all();
    }
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
            let mut speaks = false;
            #[expect(clippy::result_large_err, reason = "tungstenite's signature")]
            let look = |request: &Request, response: Response| {
                speaks = request.uri().path() == SPEAK;
                Ok::<_, ErrorResponse>(response)
            };
            let Ok(socket) = tokio_tungstenite::accept_hdr_async(tcp, look).await else { return };
            connections.fetch_add(1, Ordering::Relaxed);
            let (mut sink, mut source) = socket.split();
            let speak = async {
                let tone = signal::to_bytes(&signal::tone(8_000, 440.0, SPOKEN_MS, 8_000.0));
                let mut ticks = tokio::time::interval(Duration::from_millis(SPOKEN_MS.into()));
                // Twice at the begin, so that there is always something to be heard.
                let mut gone = sink.send(Message::binary(tone.clone())).await.is_err();
                while !gone {
                    ticks.tick().await;
                    gone = sink.send(Message::binary(tone.clone())).await.is_err();
                }
            };
            let listen = async {
                while let Some(Ok(message)) = source.next().await {
                    if message.is_binary() {
                        bytes.fetch_add(message.len() as u64, Ordering::Relaxed);
                    }
                }
            };
            if speaks {
                tokio::select! {
                    () = speak => {}
                    () = listen => {}
                }
            } else {
                listen.await;
            }
        });
    }
}
