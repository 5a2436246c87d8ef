//! What is measured: the process and the innocent calls once a second, and the process in the calm between rounds.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::process;
use crate::innocent;
use crate::switch::Switch;

/// How long the process has to come to rest; FreeSWITCH keeps the threads of calls for calls to come, some seconds.
const REST: Duration = Duration::from_secs(40);
/// It rests when nothing has changed for so long.
const STILL: Duration = Duration::from_secs(6);

/// The process at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sample {
    /// Seconds since the soak began.
    pub at: f64,
    /// Resident memory, KB.
    pub rss_kb: u64,
    /// Open descriptors.
    pub descriptors: usize,
    /// Threads but those of the playout clock.
    pub threads: usize,
    /// Threads of the playout clock: one is added for each call that blocks at a time, and ends when it has had nothing to do for 10 s.
    pub clock_threads: usize,
    /// Streams.
    pub streams: u64,
    /// The worst of the innocent calls, ms: from the call to the server, and from the server to the call.
    pub capture_ms: f64,
    /// As above.
    pub playback_ms: f64,
    /// The worst of the innocent calls, µs: 99 of 100 callbacks took no longer.
    pub callback_us: f64,
    /// Processes that want to run, as the machine counts over a minute.
    pub load: f64,
}

impl Sample {
    /// Takes it.
    pub fn take(switch: &dyn Switch, innocent: &[String], began: Instant) -> Self {
        let pid = switch.pid();
        let health: Vec<_> = innocent.iter().map(|uuid| innocent::health(switch, uuid)).collect();
        let worst = |side: &str, field: &str| {
            health.iter().filter_map(|health| health[side][field].as_f64()).fold(0.0, f64::max)
        };
        let global: serde_json::Value =
            serde_json::from_str(&switch.api("uuid_audio_stream global_health")).unwrap_or_default();
        let (clock, threads): (Vec<_>, Vec<_>) =
            process::threads(pid).into_iter().partition(|thread| thread.name == "mas-clock");
        let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
        Self {
            at: began.elapsed().as_secs_f64(),
            rss_kb: process::rss_kb(pid),
            descriptors: process::descriptors(pid),
            threads: threads.len(),
            clock_threads: clock.len(),
            streams: global["active_ws_sessions"].as_u64().unwrap_or(0),
            capture_ms: worst("capture", "delay_ms"),
            playback_ms: worst("inject", "delay_ms"),
            callback_us: worst("callback", "p99_us"),
            load: load.split(' ').next().and_then(|load| load.parse().ok()).unwrap_or(0.0),
        }
    }

    /// Waits until the calls and streams of the round are gone and the process rests, with no more than `before` where it was
    /// that before; the error is what remains.
    pub fn at_rest(
        switch: &dyn Switch,
        (calls, streams): (usize, u64),
        before: Option<Self>,
        began: Instant,
    ) -> Result<Self, String> {
        let end = Instant::now() + REST;
        let mut sample = Self::take(switch, &[], began);
        let mut since = Instant::now();
        loop {
            thread::sleep(Duration::from_millis(200));
            let now = Self::take(switch, &[], began);
            if (now.descriptors, now.threads) != (sample.descriptors, sample.threads) {
                since = Instant::now();
            }
            sample = now;
            let gone = switch.calls() == calls && sample.streams == streams;
            let fits = |before: Self| sample.descriptors <= before.descriptors && sample.threads <= before.threads;
            let clock = sample.clock_threads <= clock_at_rest();
            if gone && since.elapsed() >= STILL && clock && before.is_none_or(fits) {
                return Ok(sample);
            }
            if Instant::now() > end {
                return match gone {
                    true => Ok(sample),
                    false => Err(format!("{} calls and {} streams remain", switch.calls(), sample.streams)),
                };
            }
        }
    }
}

/// Threads of the playout clock that stay: as many as may work at a time, and one that stands by.
pub fn clock_at_rest() -> usize {
    thread::available_parallelism().map_or(1, std::num::NonZero::get) + 1
}

/// The middle of some figures.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

/// How one figure has grown from the first third of the calms to the last.
#[derive(Clone, Copy, Debug)]
pub struct Growth {
    /// At first.
    pub before: f64,
    /// At last.
    pub after: f64,
}

impl Growth {
    /// Of what `figure` says of each.
    pub fn of(calms: &[Sample], figure: impl Fn(&Sample) -> f64) -> Self {
        let third = calms.len().div_ceil(3).min(calms.len());
        let of = |part: &[Sample]| median(part.iter().map(&figure).collect());
        Self { before: of(&calms[..third]), after: of(&calms[calms.len() - third..]) }
    }

    /// Percent; negative where it has become less.
    pub fn percent(&self) -> f64 {
        if self.before > 0.0 { (self.after / self.before - 1.0) * 1e2 } else { 0.0 }
    }
}
