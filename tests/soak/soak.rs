//! Calls beside misbehaving servers, for minutes or hours: `cargo run --release --example soak`, or `make soak MINUTES=60`.
//!
//! Fifty streams and conversations start and end, ten a second, with servers that close, reset, refuse, stall, send garbage or
//! flood, and calls that hang up at any moment. Beside them are innocent calls, of which every frame has to arrive. All this runs in
//! rounds with a calm in between, in which what the process uses is compared. It runs in the FreeSWITCH that
//! `FREESWITCH_PREFIX`, pkg-config or PATH finds, else (or with `--standin`) in the stand-in of tests/standin/host.
//!
//! `SOAK_MINUTES` (3) is how long; `SOAK_SEED` (the time) decides what happens. It leaves `target/soak/report.html`, and fails when
//! descriptors or threads grow by more than 1 % after the first rounds, when memory does so in half an hour or longer, when an
//! innocent call has lost something, or when FreeSWITCH does not end in order. `MOD_AUDIO_STREAM_SO` names another module than the one built for this program.
#![allow(missing_docs, unreachable_pub)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

#[allow(dead_code)]
#[path = "../demo/drawing.rs"]
mod drawing;
mod figures;
mod guilty;
#[path = "../freeswitch/mod.rs"]
mod harness;
#[path = "../standin/host/mod.rs"]
mod host;
mod innocent;
#[allow(dead_code)]
#[path = "../demo/line.rs"]
mod line;
#[path = "../support/openai/mod.rs"]
mod realtime;
mod report;
#[path = "../support/mod.rs"]
mod support;
mod switch;

use std::fs;
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use figures::{Growth, Sample};
use guilty::{SLOTS, Servers, Slot, Tally};
use innocent::{Conversation, Outcome, Stream};
use support::module;
use support::signal::Random;
use switch::{Real, StandIn, Switch};

/// Growth of memory, descriptors and threads that is allowed, percent.
const MOST_GROWTH: f64 = 1.0;
/// Rounds after the warm-up from which on memory is judged: FreeSWITCH's heap grows with the most that was in use at a time, and
/// does not shrink.
const SETTLED: usize = 10;
/// Innocent streams that begin with each round.
const INNOCENT: u64 = 2;
/// Breakers of the servers that fail are closed so often: they are to be tried again.
const BREAKERS: Duration = Duration::from_secs(3);

/// What a soak has measured.
pub struct Soak {
    /// Where.
    pub name: String,
    /// The numbers drawn.
    pub seed: u64,
    /// When it began.
    pub began: Instant,
    /// Once a second.
    pub samples: Vec<Sample>,
    /// After each round.
    pub calms: Vec<Sample>,
    /// Of these so many, from the first on, are of the warm-up.
    pub warm_up: usize,
    /// What the slots did.
    pub tally: Tally,
    /// Time in rounds, without the calms.
    pub busy: Duration,
    /// The innocent calls, those of the conversations among them.
    pub outcomes: Vec<Outcome>,
    /// What is wrong.
    pub faults: Vec<String>,
}

fn main() -> ExitCode {
    let minutes = number("SOAK_MINUTES").unwrap_or(3);
    let seed = number("SOAK_SEED")
        .unwrap_or_else(|| SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |since| since.as_secs() % 1_000_000));
    let time = Duration::from_secs(60 * minutes.max(1));
    let standin = std::env::args().any(|argument| argument == "--standin");
    let installation = harness::installation::installations().into_iter().next().filter(|_| !standin);
    let soak = match installation {
        Some(installation) => {
            let switch = Real::start(&installation);
            let mut soak = soak(&switch, time, seed);
            let code = switch.shutdown();
            if code != 0 {
                soak.faults.push(format!("FreeSWITCH ended with {code}"));
            }
            soak
        }
        None => {
            let host = host::Host::start("");
            soak(&StandIn::load(&host, &module::built_module()), time, seed)
        }
    };
    let folder = module::scratch_folder().with_file_name("soak");
    let file = folder.join("report.html");
    fs::create_dir_all(&folder).and_then(|()| fs::write(&file, report::html(&soak))).expect("cargo's folder is ours");
    println!("{}", report::summary(&soak));
    println!("Open {} in a browser.", file.display());
    soak.faults.iter().take(20).for_each(|fault| eprintln!("{fault}"));
    if soak.faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok().filter(|text| !text.is_empty())?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is '{text}'; give a number")))
}

fn soak(switch: &dyn Switch, time: Duration, seed: u64) -> Soak {
    let began = Instant::now();
    let round = (time / 10).clamp(Duration::from_secs(20), Duration::from_secs(120));
    println!("{}, {} min in rounds of {} s, seed {seed}", switch.name(), time.as_secs() / 60, round.as_secs());
    let mut soak = Soak {
        name: switch.name().to_owned(),
        seed,
        began,
        samples: Vec::new(),
        calms: Vec::new(),
        warm_up: 0,
        tally: Tally::default(),
        busy: Duration::ZERO,
        outcomes: Vec::new(),
        faults: Vec::new(),
    };
    // Beside the innocent calls of each round, one that lasts from the first round to the last.
    let lasting = switch.keeps_nothing_of_a_call().then(|| Stream::begin(switch, time, seed));
    let still = if lasting.is_some() { (1, 1) } else { (0, 0) };
    for number in 0.. {
        let from = Instant::now();
        let innocent = lasting.iter().map(|stream| stream.uuid().to_owned()).collect();
        soak.round(switch, number, from + round, innocent);
        soak.busy += round;
        switch.forget();
        let before = soak.calms.get(soak.warm_up.saturating_sub(1)).copied();
        match Sample::at_rest(switch, still, before, began) {
            Ok(calm) => soak.calms.push(calm),
            Err(fault) => soak.faults.push(format!("after round {}: {fault}", number + 1)),
        }
        // A quarter of the time, but two rounds at least.
        if number < 2 || began.elapsed() < time / 4 {
            soak.warm_up = soak.calms.len();
        }
        soak.tell();
        if began.elapsed() + round > time && number > 2 {
            break;
        }
    }
    if let Some(lasting) = lasting {
        soak.take(lasting.finish());
    }
    soak.judge();
    soak
}

impl Soak {
    /// One round: the slots, the innocent calls, and a look once a second.
    fn round(&mut self, switch: &dyn Switch, number: u64, until: Instant, mut innocent: Vec<String>) {
        let servers = Servers::start();
        let folder = module::scratch_folder().join(format!("soak-{}-{number}", std::process::id()));
        fs::create_dir_all(&folder).expect("cargo's folder is ours");
        let seed = self.seed.wrapping_mul(1_000_003).wrapping_add(number);
        let time = until.saturating_duration_since(Instant::now());
        let mut outcomes = Vec::new();
        let tally = &self.tally;
        thread::scope(|scope| {
            for slot in 0..SLOTS {
                let random = Random::new(seed.wrapping_mul(SLOTS as u64).wrapping_add(slot as u64));
                let slot = Slot { switch, servers: &servers, tally, folder: &folder, number: slot, until };
                scope.spawn(move || slot.run(random));
            }
            let streams: Vec<_> =
                (0..INNOCENT).map(|index| Stream::begin(switch, time, seed.wrapping_add(index << 40))).collect();
            let mut conversation = Conversation::begin(switch, seed & 0xffff);
            innocent.extend(streams.iter().map(|stream| stream.uuid().to_owned()));
            innocent.push(conversation.uuid().to_owned());
            let mut next = (Instant::now(), Instant::now());
            // Long enough before the end that the caller hears the last answer beside the slots.
            while Instant::now() + Duration::from_secs(5) < until {
                conversation.go_on();
                if Instant::now() >= next.0 {
                    self.samples.push(Sample::take(switch, &innocent, self.began));
                    next.0 += Duration::from_secs(1);
                }
                if Instant::now() >= next.1 {
                    switch.api("uuid_audio_stream breakers reset");
                    next.1 += BREAKERS;
                }
                thread::sleep(Duration::from_millis(50));
            }
            outcomes.push(conversation.finish());
            outcomes.extend(streams.into_iter().map(Stream::finish));
        });
        outcomes.into_iter().for_each(|outcome| self.take(outcome));
        drop(servers);
        let _ = fs::remove_dir_all(folder);
    }

    fn take(&mut self, mut outcome: Outcome) {
        outcome.faults.iter().for_each(|fault| println!("FAULT {}", fault.split("; {").next().unwrap_or(fault)));
        self.faults.append(&mut outcome.faults);
        self.outcomes.push(outcome);
    }

    /// A line of what the last calm is like.
    fn tell(&self) {
        let Some(calm) = self.calms.last() else { return };
        println!(
            "{:6.0} s   {:6} starts, {:5} hang-ups; at rest {:7.1} MB, {} descriptors, {} threads and {} of the clock; {} faults; load {:.1}",
            calm.at,
            self.tally.starts.load(Ordering::Relaxed),
            self.tally.hangups.load(Ordering::Relaxed),
            calm.rss_kb as f64 / 1e3,
            calm.descriptors,
            calm.threads,
            calm.clock_threads,
            self.faults.len(),
            calm.load,
        );
    }

    /// The growth of each figure from the end of the warm-up on.
    pub fn growth(&self) -> [(&'static str, Growth); 3] {
        let calms = &self.calms[self.warm_up.saturating_sub(1).min(self.calms.len())..];
        [
            ("memory", Growth::of(calms, |calm| calm.rss_kb as f64)),
            ("descriptors", Growth::of(calms, |calm| calm.descriptors as f64)),
            ("threads", Growth::of(calms, |calm| calm.threads as f64)),
        ]
    }

    fn judge(&mut self) {
        self.faults.extend(self.tally.strange.lock().take());
        let clock = self.calms.iter().map(|calm| calm.clock_threads).max().unwrap_or(0);
        if clock > figures::clock_at_rest() {
            self.faults.push(format!("at rest the playout clock has {clock} threads"));
        }
        let settled = self.calms.len() - self.warm_up.min(self.calms.len()) >= SETTLED;
        for (what, growth) in self.growth().into_iter().filter(|(what, _)| settled || *what != "memory") {
            if growth.percent() > MOST_GROWTH {
                let Growth { before, after } = growth;
                self.faults.push(format!("{what} grew by {:.1} %: {before} before, {after} after", growth.percent()));
            }
        }
    }
}
