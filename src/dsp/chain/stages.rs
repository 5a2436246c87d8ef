//! The single stages, sample by sample. Full scale is 1.
//!
//! Each keeps its state in plain numbers, set to 0 where it would decay into denormals, on which processors are slow.

use std::f32::consts::TAU;

/// Below this nothing is left of a 16 bit sample by any gain there is: states stop decaying here, far above denormals.
const NOTHING: f32 = 1e-12;

/// `value`, or 0 where it is next to nothing.
fn settled(value: f32) -> f32 {
    if value.abs() < NOTHING { 0.0 } else { value }
}

/// dB as a factor.
pub(super) fn from_db(db: f32) -> f32 {
    // exp2(db * log2(10) / 20)
    (db * 0.166_096_4).exp2()
}

/// A factor as dB.
fn to_db(factor: f32) -> f32 {
    // 20 * log10(2) * log2(factor)
    6.020_6 * factor.log2()
}

/// The part of the way to its goal that a smoothed value is left behind after one sample, for a time constant in ms.
fn decay(ms: f32, hz: f32) -> f32 {
    (-1_000.0 / (ms * hz)).exp()
}

/// A first order high-pass, 3 dB down at 20 Hz.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct DcBlocker {
    pole: f32,
    before: f32,
    out: f32,
}

impl DcBlocker {
    /// Hz.
    pub(super) const CORNER: f32 = 20.0;

    pub(super) fn tune(&mut self, hz: f32) {
        self.pole = (-TAU * Self::CORNER / hz).exp();
    }

    pub(super) fn sample(&mut self, x: f32) -> f32 {
        // The factor makes the gain at half of the rate exactly 1.
        let rise = (x - self.before) * (0.5 + 0.5 * self.pole);
        self.before = x;
        self.out = settled(rise + self.pole * self.out);
        self.out
    }

    /// Starts as if `x` had always been the input.
    pub(super) fn start(&mut self, x: f32) {
        (self.before, self.out) = (x, 0.0);
    }
}

/// Opens within 5 ms, stays open for 40 ms after the last loud sample, closes within 60 ms.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct NoiseGate {
    opening: f32,
    closing: f32,
    smoothing: f32,
    holding: u32,
    open_at: f32,
    close_at: f32,
    /// Samples until it closes.
    hold: u32,
    /// What the gain follows, itself smoothed: a gain that begins to move at full speed makes a small step.
    leading: f32,
    gain: f32,
}

impl NoiseGate {
    /// dB between opening and closing, so that it does not chatter.
    const HYSTERESIS_DB: f32 = 6.0;

    pub(super) fn tune(&mut self, hz: f32) {
        (self.opening, self.closing, self.smoothing) = (decay(1.0, hz), decay(20.0, hz), decay(1.0, hz));
        self.holding = (0.04 * hz) as u32;
    }

    pub(super) fn set(&mut self, threshold_db: f32) {
        self.open_at = from_db(threshold_db);
        self.close_at = from_db(threshold_db - Self::HYSTERESIS_DB);
    }

    pub(super) fn sample(&mut self, x: f32) -> f32 {
        let level = x.abs();
        if level >= self.open_at || (self.hold > 0 && level >= self.close_at) {
            self.hold = self.holding;
        } else {
            self.hold = self.hold.saturating_sub(1);
        }
        let (goal, behind) = if self.hold > 0 { (1.0, self.opening) } else { (0.0, self.closing) };
        self.leading = settled(goal + (self.leading - goal) * behind);
        self.gain = settled(self.leading + (self.gain - self.leading) * self.smoothing);
        x * self.gain
    }

    pub(super) fn start(&mut self) {
        (self.hold, self.leading, self.gain) = (self.holding, 1.0, 1.0);
    }
}

/// Feed-forward, on the peak: follows it up at once and down within 50 ms, moves its gain with 3 ms up, 80 ms down.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct PeakCompressor {
    falling: f32,
    attack: f32,
    release: f32,
    knee_starts: f32,
    threshold_db: f32,
    slope: f32,
    makeup: f32,
    peak: f32,
    /// dB taken off at present, 0 or more.
    reduction: f32,
}

impl PeakCompressor {
    /// dB around the threshold over which the curve bends.
    pub(super) const KNEE_DB: f32 = 6.0;

    pub(super) fn tune(&mut self, hz: f32) {
        (self.falling, self.attack, self.release) = (decay(50.0, hz), decay(3.0, hz), decay(80.0, hz));
    }

    pub(super) fn set(&mut self, threshold_db: f32, ratio: f32, makeup_db: f32) {
        self.threshold_db = threshold_db;
        self.knee_starts = from_db(threshold_db - Self::KNEE_DB / 2.0);
        self.slope = 1.0 - 1.0 / ratio;
        self.makeup = from_db(makeup_db);
    }

    pub(super) fn sample(&mut self, x: f32) -> f32 {
        self.peak = settled(x.abs().max(self.peak * self.falling));
        // The logarithm is for what is loud alone.
        let goal = if self.peak <= self.knee_starts { 0.0 } else { self.curve(to_db(self.peak)) };
        let behind = if goal > self.reduction { self.attack } else { self.release };
        self.reduction = settled(goal + (self.reduction - goal) * behind);
        let gain = if self.reduction < 1e-4 { self.makeup } else { self.makeup * from_db(-self.reduction) };
        x * gain
    }

    /// dB to take off at a level.
    fn curve(&self, level_db: f32) -> f32 {
        let over = level_db - self.threshold_db;
        let half = Self::KNEE_DB / 2.0;
        if over <= -half {
            0.0
        } else if over >= half {
            self.slope * over
        } else {
            self.slope * (over + half).powi(2) / (2.0 * Self::KNEE_DB)
        }
    }

    pub(super) fn start(&mut self) {
        (self.peak, self.reduction) = (0.0, 0.0);
    }
}

/// Second order, transposed direct form II: of all forms the one that takes a change of its coefficients most quietly. In
/// double precision, since at 100 Hz of 48 kHz a single's rounding is heard.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Biquad {
    /// b0, b1, b2, a1, a2; a0 is 1.
    c: [f64; 5],
    state: [f64; 2],
}

impl Biquad {
    pub(super) fn sample(&mut self, x: f32) -> f32 {
        let [b0, b1, b2, a1, a2] = self.c;
        let x = f64::from(x);
        let y = b0 * x + self.state[0];
        let settled = |value: f64| if value.abs() < f64::from(NOTHING) { 0.0 } else { value };
        self.state = [settled(b1 * x - a1 * y + self.state[1]), settled(b2 * x - a2 * y)];
        y as f32
    }

    /// A shelf of the audio EQ cookbook, slope 1. `hz` below half of `rate`.
    pub(super) fn set_high_shelf(&mut self, rate: f32, hz: f32, gain_db: f32) {
        let a = (f64::from(gain_db) * (std::f64::consts::LN_10 / 40.0)).exp();
        let (sin, cos) = turn(rate, hz);
        let root = a.sqrt() * sin * std::f64::consts::SQRT_2;
        let (up, down) = (a + 1.0, a - 1.0);
        self.normalise(
            [a * (up + down * cos + root), -2.0 * a * (down + up * cos), a * (up + down * cos - root)],
            [up - down * cos + root, 2.0 * (down - up * cos), up - down * cos - root],
        );
    }

    /// A Butterworth low-pass. `hz` below half of `rate`.
    pub(super) fn set_low_pass(&mut self, rate: f32, hz: f32) {
        let (sin, cos) = turn(rate, hz);
        let alpha = sin * std::f64::consts::FRAC_1_SQRT_2;
        let b = (1.0 - cos) / 2.0;
        self.normalise([b, 2.0 * b, b], [1.0 + alpha, -2.0 * cos, 1.0 - alpha]);
    }

    fn normalise(&mut self, b: [f64; 3], a: [f64; 3]) {
        self.c = [b[0] / a[0], b[1] / a[0], b[2] / a[0], a[1] / a[0], a[2] / a[0]];
    }

    pub(super) fn start(&mut self) {
        self.state = [0.0; 2];
    }
}

/// Sine and cosine of what a wave of `hz` turns in one sample.
fn turn(rate: f32, hz: f32) -> (f64, f64) {
    (std::f64::consts::TAU * f64::from(hz) / f64::from(rate)).sin_cos()
}

/// Straight up to `knee`, then a hyperbolic tangent that meets it without a corner and ends at full scale.
pub(super) fn soft_clip(x: f32, knee: f32) -> f32 {
    let over = x.abs() - knee;
    let room = 1.0 - knee;
    if over <= 0.0 {
        x
    } else if room < 1e-3 {
        x.clamp(-1.0, 1.0)
    } else {
        (knee + room * (over / room).tanh()).copysign(x)
    }
}

/// What the tests look for: a state that never comes to rest.
#[cfg(test)]
pub(super) trait AtRest {
    /// Every number of the state that decays.
    fn decaying(&self) -> Vec<f32>;
}

#[cfg(test)]
impl AtRest for DcBlocker {
    fn decaying(&self) -> Vec<f32> {
        vec![self.before, self.out]
    }
}

#[cfg(test)]
impl AtRest for NoiseGate {
    fn decaying(&self) -> Vec<f32> {
        vec![self.leading, self.gain]
    }
}

#[cfg(test)]
impl AtRest for PeakCompressor {
    fn decaying(&self) -> Vec<f32> {
        vec![self.peak, self.reduction]
    }
}

#[cfg(test)]
impl AtRest for Biquad {
    fn decaying(&self) -> Vec<f32> {
        self.state.map(|state| state as f32).to_vec()
    }
}
