//! Conceals a gap in the voice: the last period of what was heard goes on, and fades.
//!
//! Media thread, owned by [`PlayoutReader`](super::playout::PlayoutReader); its buffers are made with the ring. What has been
//! played is remembered, 40 ms of it. When the ring runs dry and more is on its way, the pitch period is searched in those
//! 40 ms (once a gap, 3 µs at 8 kHz to 6 µs at 48) and repeated for at most 60 ms: 10 ms as loud as it was, then falling to
//! silence. After ITU-T G.711 Appendix I, whose delay of 3.75 ms is spared: the seam at the begin is the caller's glide.
//!
//! What is made up here is not counted as played. A flush makes it forget.

/// What is remembered, ms.
const HISTORY_MS: u32 = 40;
/// The search compares this much of the past, ms, with what lies a period before it.
const WINDOW_MS: u32 = 20;
/// Shortest and longest period, ms: 200 to 66 Hz. A higher voice repeats within several of its periods.
const PERIOD_MS: (u32, u32) = (5, 15);
/// Longest gap that is concealed, ms.
const LONGEST_MS: u32 = 60;
/// The begin of it that is as loud as what was played last, ms.
const LOUD_MS: u32 = 10;
/// The search runs on a copy at this rate, Hz.
const COARSE_HZ: u32 = 4_000;
const COARSE_HISTORY: usize = (COARSE_HZ * HISTORY_MS / 1_000) as usize;
const HIGHEST_HZ: u32 = 64_000;
/// Points compared for each candidate of the fine search.
const FINE_POINTS: usize = 160;

/// The past of one voice and the current gap. See the [module](self).
#[expect(clippy::disallowed_types, reason = "its buffers are made and freed with the ring")]
#[derive(Debug)]
pub struct Conceal {
    rate_hz: u32,
    /// The newest sample is the last of the first `filled`.
    history: Box<[i16]>,
    filled: usize,
    /// One period, whose end runs into its begin.
    period: Box<[i16]>,
    period_len: usize,
    /// Samples made up in this gap, and how many there may be.
    done: usize,
    most: usize,
}

impl Default for Conceal {
    /// Remembers nothing yet. Allocates 7 KiB; not for the media thread.
    #[expect(clippy::disallowed_macros, reason = "made before the media thread has it")]
    fn default() -> Self {
        Self {
            rate_hz: 0,
            history: vec![0; in_ms(HIGHEST_HZ, HISTORY_MS)].into(),
            filled: 0,
            period: vec![0; in_ms(HIGHEST_HZ, PERIOD_MS.1)].into(),
            period_len: 0,
            done: 0,
            most: 0,
        }
    }
}

impl Conceal {
    /// Whether a gap is being concealed.
    pub const fn is_active(&self) -> bool {
        self.done < self.most
    }

    /// Samples that would still be made up.
    pub const fn left(&self) -> usize {
        self.most - self.done
    }

    /// Notes what is being played.
    pub fn remember(&mut self, rate_hz: u32, samples: &[i16]) {
        if rate_hz != self.rate_hz {
            self.forget();
            self.rate_hz = rate_hz;
        }
        let most = in_ms(rate_hz, HISTORY_MS).min(self.history.len());
        let samples = samples.get(samples.len().saturating_sub(most)..).unwrap_or_default();
        let kept = self.filled.min(most - samples.len());
        self.history.copy_within(self.filled - kept..self.filled, 0);
        self.filled = kept + samples.len();
        if let Some(room) = self.history.get_mut(kept..self.filled) {
            room.copy_from_slice(samples);
        }
    }

    /// Forgets what was played, and ends a gap.
    pub const fn forget(&mut self) {
        self.filled = 0;
        self.stop();
    }

    /// Ends a gap.
    pub const fn stop(&mut self) {
        (self.done, self.most) = (0, 0);
    }

    /// Samples that a gap would get after `more` samples of `rate_hz` have been remembered; 0 where too little is known then.
    pub fn would_make(&self, rate_hz: u32, more: usize) -> usize {
        let known = more + if rate_hz == self.rate_hz { self.filled } else { 0 };
        if known < shortest_past(rate_hz) { 0 } else { in_ms(rate_hz, LONGEST_MS) }
    }

    /// Begins a gap; false where too little is known of what was heard.
    pub fn start(&mut self) -> bool {
        self.stop();
        let past = self.history.get(..self.filled).unwrap_or_default();
        let Some(period) = period_of(past, self.rate_hz) else { return false };
        let (Some(last), Some(before)) =
            (past.get(past.len() - period..), past.get(past.len().saturating_sub(2 * period)..))
        else {
            return false;
        };
        let before = before.get(..before.len() - period).unwrap_or_default();
        let Some(pattern) = self.period.get_mut(..period) else { return false };
        pattern.copy_from_slice(last);
        // The last quarter goes over into what came before the period, so that its begin follows from its end.
        let blend = (period / 4).min(before.len());
        let tails = pattern.iter_mut().rev().zip(before.iter().rev()).take(blend);
        for (from_end, (sample, earlier)) in tails.enumerate() {
            let weight = 1.0 - (from_end as f32 + 0.5) / blend as f32;
            *sample = (f32::from(*sample) + weight * (f32::from(*earlier) - f32::from(*sample))) as i16;
        }
        (self.period_len, self.most) = (period, in_ms(self.rate_hz, LONGEST_MS));
        true
    }

    /// Makes up the next samples; returns how many; the rest of `out` stays unchanged.
    pub fn fill(&mut self, out: &mut [i16]) -> usize {
        let count = out.len().min(self.left());
        let loud = in_ms(self.rate_hz, LOUD_MS);
        let fading = (self.most - loud.min(self.most)).max(1) as f32;
        for sample in out.iter_mut().take(count) {
            let value = self.period.get(self.done % self.period_len.max(1)).copied().unwrap_or(0);
            let faded = self.done.saturating_sub(loud) as f32 / fading;
            *sample = (f32::from(value) * (1.0 - faded)) as i16;
            self.done += 1;
        }
        count
    }
}

const fn in_ms(rate_hz: u32, ms: u32) -> usize {
    (rate_hz as u64 * ms as u64 / 1_000) as usize
}

/// Samples without which no period is found.
const fn shortest_past(rate_hz: u32) -> usize {
    in_ms(rate_hz, PERIOD_MS.0) + in_ms(rate_hz, PERIOD_MS.1)
}

/// The length of the period at the end of `past`; `None` where `past` is too short to tell.
fn period_of(past: &[i16], rate_hz: u32) -> Option<usize> {
    let step = (rate_hz / COARSE_HZ).max(1) as usize;
    let (shortest, longest) = (in_ms(rate_hz, PERIOD_MS.0), in_ms(rate_hz, PERIOD_MS.1));
    if shortest == 0 || past.len() < shortest_past(rate_hz) {
        return None;
    }
    // Coarse: the mean of every `step` samples, aligned to the end.
    let mut coarse = [0.0_f32; COARSE_HISTORY];
    let mut count = 0;
    for (mean, samples) in coarse.iter_mut().rev().zip(past.rchunks_exact(step)) {
        *mean = samples.iter().map(|sample| f32::from(*sample)).sum();
        count += 1;
    }
    let coarse = coarse.get(COARSE_HISTORY - count..)?;
    let lags = (shortest / step).max(1)..=longest / step;
    let window = in_ms(COARSE_HZ, WINDOW_MS).min(count.checked_sub(longest / step)?);
    let best = best_lag(lags, |lag| {
        let recent = coarse.get(count - window..)?;
        let earlier = coarse.get(count - window - lag..count - lag)?;
        Some(likeness(recent.iter().copied(), earlier.iter().copied()))
    })?;
    // Fine: around it, sample by sample.
    let around = (best * step).saturating_sub(step).max(shortest)..=(best * step + step).min(longest);
    let window = in_ms(rate_hz, WINDOW_MS).min(past.len() - longest);
    let stride = window.div_ceil(FINE_POINTS).max(1);
    best_lag(around, |lag| {
        let end = past.len();
        let recent = past.get(end - window..)?.iter().step_by(stride).map(|sample| f32::from(*sample));
        let earlier = past.get(end - window - lag..end - lag)?.iter().step_by(stride).map(|sample| f32::from(*sample));
        Some(likeness(recent, earlier))
    })
}

fn best_lag(lags: impl Iterator<Item = usize>, likeness: impl Fn(usize) -> Option<f32>) -> Option<usize> {
    let mut best = None;
    for lag in lags {
        let value = likeness(lag)?;
        // The shortest of equals: its repetition is the least of a buzz.
        if best.is_none_or(|(_, known)| value > known * 1.001) {
            best = Some((lag, value));
        }
    }
    best.map(|(lag, _)| lag)
}

/// Cross-correlation, relative to the energy of `earlier`; never NaN.
fn likeness(recent: impl Iterator<Item = f32>, earlier: impl Iterator<Item = f32>) -> f32 {
    let (mut product, mut energy) = (0.0, 1.0);
    for (a, b) in recent.zip(earlier) {
        product += a * b;
        energy += b * b;
    }
    product.max(0.0) / f32::sqrt(energy)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::f64::consts::TAU;

    use super::*;

    /// A buzz like a voice's: harmonics of `hz` that fall off.
    fn voice(rate: u32, hz: f64, count: usize) -> Vec<i16> {
        (0..count)
            .map(|at| {
                let turn = TAU * hz * at as f64 / f64::from(rate);
                let sum: f64 = (1..=8).map(|n| (turn * f64::from(n)).sin() / f64::from(n)).sum();
                (6_000.0 * sum) as i16
            })
            .collect()
    }

    #[test]
    fn a_voice_goes_on_in_its_pitch_at_every_rate() {
        for rate in [8_000, 11_025, 16_000, 24_000, 44_100, 48_000, 64_000] {
            for hz in [70.0, 110.0, 180.0, 333.0] {
                let said = voice(rate, hz, rate as usize / 5);
                let (heard, lost) = said.split_at(rate as usize / 10);
                let mut conceal = Conceal::default();
                for part in heard.chunks(rate as usize / 50) {
                    conceal.remember(rate, part);
                }
                assert!(conceal.start());
                let mut made = vec![0; rate as usize / 100];
                assert_eq!(conceal.fill(&mut made), made.len());
                let (mut product, mut made_energy, mut lost_energy) = (0.0, 0.0, 0.0);
                for (made, lost) in made.iter().zip(lost) {
                    let (made, lost) = (f64::from(*made), f64::from(*lost));
                    product += made * lost;
                    made_energy += made * made;
                    lost_energy += lost * lost;
                }
                let alike = product / f64::sqrt(made_energy * lost_energy);
                assert!(alike > 0.9, "{hz} Hz at {rate}: {alike:.3} like what was lost");
            }
        }
    }

    #[test]
    fn it_fades_to_silence_within_sixty_milliseconds_and_stops() {
        let mut conceal = Conceal::default();
        conceal.remember(8_000, &voice(8_000, 120.0, 800));
        assert!(conceal.start());
        let mut made = vec![i16::MAX; 600];
        assert_eq!(conceal.fill(&mut made), 480);
        assert_eq!((conceal.is_active(), made[480]), (false, i16::MAX));
        let loudness = |part: &[i16]| part.iter().map(|s| f64::from(*s).powi(2)).sum::<f64>().sqrt();
        let parts: Vec<f64> = made[..480].chunks(80).map(loudness).collect();
        assert!(parts.is_sorted_by(|a, b| a >= b || (a - b).abs() < 0.1 * a), "{parts:?}");
        assert!(parts[5] < 0.15 * parts[0], "{parts:?}");
        // No step larger than the voice's own.
        let largest = |samples: &[i16]| samples.windows(2).map(|p| (i32::from(p[1]) - i32::from(p[0])).abs()).max();
        assert!(largest(&made[..480]) <= largest(&voice(8_000, 120.0, 800)).map(|step| step + 300));
    }

    #[test]
    fn too_little_past_silence_and_extremes_harm_nothing() {
        let mut conceal = Conceal::default();
        assert!(!conceal.start());
        conceal.remember(8_000, &[1; 100]);
        assert!(!conceal.start());
        for past in [vec![0; 400], vec![i16::MIN; 400], vec![i16::MAX; 5_000]] {
            conceal.remember(8_000, &past);
            assert!(conceal.start());
            let mut made = [0; 480];
            conceal.fill(&mut made);
            assert!(made[..79].iter().all(|sample| (sample - past[0]).abs() <= 1));
        }
        conceal.remember(0, &[1; 400]);
        assert!(!conceal.start());
        conceal.remember(48_000, &[5; 160]);
        assert!(!conceal.start(), "another rate is another past");
        conceal.remember(u32::MAX, &[5; 160]);
        conceal.start();
    }

    #[test]
    fn what_was_flushed_is_forgotten() {
        let mut conceal = Conceal::default();
        conceal.remember(8_000, &[9_000; 400]);
        assert!(conceal.start());
        conceal.forget();
        assert!(!conceal.is_active() && !conceal.start());
    }
}
