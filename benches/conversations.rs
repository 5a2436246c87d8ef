//! What conversations with an AI cost: CPU and memory over the bare calls, and whether anything is missing from what is heard.
//!
//! `cargo bench --bench conversations`; `BENCH_CALLS` (300) calls in the stand-in FreeSWITCH of tests/standin/host, each figure over
//! `BENCH_SECONDS` (20). Callers speak, are answered by the scripted Realtime server, and interrupt every second answer. The server
//! is a process of its own. The figures are of the whole stand-in process, from /proc: its threads, one for each call, are in
//! both of those that are compared.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

#[path = "../tests/standin/host/mod.rs"]
mod host;
#[path = "../tests/freeswitch/process.rs"]
#[allow(dead_code, unreachable_pub)]
mod process;
#[path = "../tests/support/openai/mod.rs"]
mod realtime;
#[path = "../tests/support/mod.rs"]
mod support;

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use host::{Call, CallKind, CallOptions, Host};
use realtime::{Answer, Answers, Pace, RealtimeServer, Script, Voice};
use serde_json::Value;
use support::{eventually, signal};

const SERVE: &str = "--serve";
/// The most that a conversation may use.
const MOST_KB: f64 = 400.0;

fn main() {
    if std::env::args().any(|argument| argument == SERVE) {
        return serve();
    }
    let calls = number("BENCH_CALLS", 300);
    let seconds = number("BENCH_SECONDS", 20);
    measure(calls, seconds);
}

fn number(variable: &str, default: u64) -> u64 {
    match std::env::var(variable) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{variable} is '{text}'; give a number")),
        Err(_) => default,
    }
}

/// The service: answers of 2.5 s five times as fast as they are heard. Says its port, ends with its input.
fn serve() {
    let voice = Some(Voice::Tone { hz: 700.0, ms: 2_500 });
    let answer = Answer { voice, thinking: Duration::from_millis(150), pace: Pace::Times(5.0), ..Answer::default() };
    let server =
        RealtimeServer::start(Script { answers: Answers::always(answer), keep_audio: false, ..Script::default() });
    println!("{}", server.port());
    for _ in std::io::stdin().lock().lines() {}
}

/// What the process uses at one time.
struct Use {
    cpu_share: f64,
    rss_kb: f64,
}

impl Use {
    /// Callers speak meanwhile, another tenth of them each second: each says a second every five, and another one three seconds after
    /// every other of these, when they hear the answer.
    fn over(host: &Host, calls: &[Call<'_>], seconds: u64) -> Self {
        let pid = std::process::id();
        let speech = signal::speech(8_000, 1_000, 7);
        let (cpu, start) = (process::cpu_seconds(pid), Instant::now());
        for second in 0..seconds {
            for (number, call) in calls.iter().enumerate() {
                if [0, 3, 5].contains(&((second + number as u64) % 10)) {
                    call.speak(&speech);
                }
            }
            // What the stand-in keeps of the module is not the module's.
            host.forget_records();
            let due = start + Duration::from_secs(second + 1);
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
        }
        let cpu_share = (process::cpu_seconds(pid) - cpu) / start.elapsed().as_secs_f64();
        Self { cpu_share, rss_kb: process::rss_kb(pid) as f64 }
    }
}

fn measure(count: u64, seconds: u64) {
    let mut server = Command::new(std::env::current_exe().expect("we run"))
        .arg(SERVE)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("we can run twice");
    let mut port = String::new();
    BufReader::new(server.stdout.take().expect("piped")).read_line(&mut port).expect("it says its port");
    let url = format!("ws://127.0.0.1:{}", port.trim());

    let host = Host::start("");
    host.load_module().expect("the module loads");
    // Every call is given a frame for each of its own, with and without conversations.
    let options = || CallOptions { kind: CallKind::Playing, ..CallOptions::default() };
    let calls: Vec<_> = (0..count).map(|_| host.call(options())).collect();
    calls.iter().for_each(Call::keep_nothing);
    std::thread::sleep(Duration::from_secs(2));
    let bare = Use::over(&host, &calls, seconds);

    for call in &calls {
        let line = format!(
            "uuid_audio_stream {} start_ai openai_base_url={url} openai_api_key=sk-test openai_model=test-model \
             connect_timeout_ms=30000",
            call.uuid()
        );
        let answer = host.api(&line);
        assert!(answer.starts_with("+OK"), "{answer}");
    }
    let health = |call: &Call<'_>| -> Value {
        let text = host.api(&format!("uuid_audio_stream {} health", call.uuid()));
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    };
    let connected = || calls.iter().filter(|call| health(call)["ai"]["openai_connected"] == true).count();
    let open = eventually(Duration::from_secs(60), || connected() == calls.len());
    assert!(open, "{} of {count} conversations are connected: {}", connected(), health(&calls[0]));
    // A turn for all of them before anything is measured.
    Use::over(&host, &calls, 6);
    let talking = Use::over(&host, &calls, seconds);

    let all: Vec<Value> = calls.iter().map(health).collect();
    let sum = |group: &str, field: &str| all.iter().filter_map(|one| one[group][field].as_u64()).sum::<u64>();
    let sorted = |field: &str| {
        let mut values: Vec<_> = all.iter().filter_map(|one| one["callback"][field].as_f64()).collect();
        values.sort_by(f64::total_cmp);
        values
    };
    let (p50, p99) = (sorted("p50_us"), sorted("p99_us"));
    let streams = count as f64;
    let memory = (talking.rss_kb - bare.rss_kb) / streams;
    let cpu = (talking.cpu_share - bare.cpu_share) * 1e2;
    println!("{count} conversations, G.711, {seconds} s:");
    println!("  CPU       {:7.2} % of a core bare, {:.2} % talking", bare.cpu_share * 1e2, talking.cpu_share * 1e2);
    println!("            {:7.3} % of a core for one conversation, {cpu:.1} % for {count}", cpu / streams);
    println!("  memory    {memory:7.1} KB for one conversation (asked: at most {MOST_KB:.0})");
    println!("  callback  {:7.2} µs p50, {:.2} µs p99 of the middle call", p50[p50.len() / 2], p99[p99.len() / 2]);
    println!(
        "  heard     {:7.1} s of speech by each, {} underruns, {} overflows; {} interruptions",
        sum("inject", "played_ms") as f64 / 1e3 / streams,
        sum("inject", "underrun_count"),
        sum("inject", "overflow_count"),
        sum("ai", "barge_in_count"),
    );
    println!("  captured  {:7} frames dropped", sum("capture", "dropped_frames"));
    drop(calls);
    drop(server.stdin.take());
    let _ = server.wait();
}
