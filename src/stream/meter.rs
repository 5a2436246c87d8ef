//! The level and the delay of one direction of a stream, for `health`.
//!
//! Written by the stream's task, read by any thread. The level is that of a peak meter: up at once, down by [`FALL`] dB a second.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::units::two_decimals;

/// How fast the level falls, dB a second: as a peak programme meter's, 20 dB in 1.7 s.
const FALL: f64 = 11.8;
/// What is below is silence, dB of full scale.
const SILENCE: f64 = -90.0;
/// No delay yet.
const NONE: u32 = u32::MAX;

/// Level and delay of one direction.
#[derive(Debug)]
pub struct Meter {
    started: Instant,
    /// The level when it was written, 0 to 32 768, below the time of that, ms since the start. Together, so that neither is read
    /// with the other's predecessor.
    level: AtomicU64,
    delay_us: AtomicU32,
}

impl Meter {
    /// Silent, without a delay.
    pub(super) fn new(started: Instant) -> Self {
        Self { started, level: AtomicU64::new(0), delay_us: AtomicU32::new(NONE) }
    }

    /// Audio with this peak has passed. Only for the stream's task.
    pub(super) fn passed(&self, peak: u16, now: Instant) {
        // What was before goes on falling.
        if peak == 0 {
            return;
        }
        let at = now.saturating_duration_since(self.started).as_millis() as u64;
        let before = self.level.load(Ordering::Relaxed) & 0xffff;
        // What has fallen since is below what it was: mostly in silence, the power need not be calculated.
        let level =
            if u64::from(peak) >= before { peak.into() } else { f64::from(peak).max(self.level_at(now)) as u64 };
        self.level.store(at << 16 | level, Ordering::Relaxed);
    }

    /// Audio had this delay. Only for the stream's task.
    pub(super) fn delayed(&self, delay: Duration) {
        let us = u32::try_from(delay.as_micros()).unwrap_or(NONE).min(NONE - 1);
        self.delay_us.store(us, Ordering::Relaxed);
    }

    fn level_at(&self, now: Instant) -> f64 {
        let (at, level) = {
            let both = self.level.load(Ordering::Relaxed);
            (both >> 16, both & 0xffff)
        };
        let age = now.saturating_duration_since(self.started).saturating_sub(Duration::from_millis(at));
        level as f64 * 10_f64.powf(-FALL * age.as_secs_f64() / 20.0)
    }

    /// The level, dB of full scale with two decimals. `None`: silence.
    pub(super) fn level_dbfs(&self, now: Instant) -> Option<f64> {
        let dbfs = 20.0 * (self.level_at(now) / 32_768.0).log10();
        (dbfs > SILENCE).then(|| two_decimals(dbfs))
    }

    /// The latest delay, ms with two decimals. `None`: there was none yet.
    pub(super) fn delay_ms(&self) -> Option<f64> {
        let us = self.delay_us.load(Ordering::Relaxed);
        (us != NONE).then(|| two_decimals(f64::from(us) / 1_000.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_level_rises_at_once_and_falls_steadily() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let meter = Meter::new(start);
        assert_eq!(meter.level_dbfs(at(0)), None);
        meter.passed(32_768, at(100));
        assert_eq!(meter.level_dbfs(at(100)), Some(0.0));
        assert_eq!(meter.level_dbfs(at(1_100)), Some(-11.8));
        meter.passed(1, at(1_100));
        let kept = meter.level_dbfs(at(1_100)).map(f64::round);
        assert_eq!(kept, Some(-12.0), "what is softer does not lower it");
        meter.passed(16_384, at(1_200));
        assert_eq!(meter.level_dbfs(at(1_200)), Some(-6.02));
        assert_eq!(meter.level_dbfs(at(20_000)), None);
        // A reader may have looked at the clock before the task did.
        assert_eq!(meter.level_dbfs(at(0)), Some(-6.02));
    }

    #[test]
    fn the_delay_is_the_latest() {
        let meter = Meter::new(Instant::now());
        assert_eq!(meter.delay_ms(), None);
        meter.delayed(Duration::from_micros(12_345));
        assert_eq!(meter.delay_ms(), Some(12.35));
        meter.delayed(Duration::from_secs(1 << 20));
        assert!(meter.delay_ms().is_some());
    }
}
