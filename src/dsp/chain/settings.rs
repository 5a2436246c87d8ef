//! Settings of the chain: the stages that are on, and their values, checked.
//!
//! Plain values; any thread. Constructors validate, so that a stage that exists is in range. The defaults are those of the
//! module's predecessor, except the low-pass: 7 500 Hz instead of 3 800, so that the call's rate decides.

/// The values a setting may have, and the one it has where nothing is said.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Bounds {
    /// Name of the setting, as operators write it.
    pub name: &'static str,
    /// Smallest value.
    pub min: f32,
    /// Largest value.
    pub max: f32,
    /// Where nothing is said.
    pub default: f32,
}

impl Bounds {
    const fn new(name: &'static str, min: f32, max: f32, default: f32) -> Self {
        Self { name, min, max, default }
    }

    /// `value` where it is in range.
    pub fn check(&'static self, value: f32) -> Result<f32, OutOfRange> {
        if (self.min..=self.max).contains(&value) { Ok(value) } else { Err(OutOfRange { bounds: self, value }) }
    }
}

/// A value outside of its range, or no number.
#[derive(Clone, Copy, PartialEq, Debug, thiserror::Error)]
#[error("bad {} {value}: give {} to {}", bounds.name, bounds.min, bounds.max)]
pub struct OutOfRange {
    /// The range.
    pub bounds: &'static Bounds,
    /// What was given.
    pub value: f32,
}

/// Level below which the noise gate closes, dBFS of the peak.
pub static GATE_THRESHOLD_DB: Bounds = Bounds::new("gate_threshold_db", -90.0, 0.0, -45.0);
/// Level above which the compressor works, dBFS of the peak.
pub static COMPRESSOR_THRESHOLD_DB: Bounds = Bounds::new("compressor_threshold_db", -60.0, 0.0, -20.0);
/// dB in for one dB out above the threshold.
pub static COMPRESSOR_RATIO: Bounds = Bounds::new("compressor_ratio", 1.0, 20.0, 3.0);
/// Gain after compression, dB.
pub static COMPRESSOR_MAKEUP_DB: Bounds = Bounds::new("compressor_makeup_db", 0.0, 24.0, 6.0);
/// Where the high shelf has half of its gain, Hz.
pub static HIGH_SHELF_HZ: Bounds = Bounds::new("high_shelf_hz", 500.0, 20_000.0, 3_000.0);
/// Gain of the high shelf, dB.
pub static HIGH_SHELF_GAIN_DB: Bounds = Bounds::new("high_shelf_gain_db", -12.0, 12.0, 3.0);
/// Where the low-pass is 3 dB down, Hz.
pub static LPF_CUTOFF_HZ: Bounds = Bounds::new("lpf_cutoff_hz", 100.0, 20_000.0, 7_500.0);
/// Above which part of full scale the clipper bends.
pub static SOFT_CLIP: Bounds = Bounds::new("soft_clip", 0.1, 1.0, 0.85);

/// Silences what lies below a level: the hiss between words.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Gate {
    threshold_db: f32,
}

impl Gate {
    /// A gate that opens at `threshold_db` (dBFS of the peak) and closes 6 dB below it.
    pub fn new(threshold_db: f32) -> Result<Self, OutOfRange> {
        Ok(Self { threshold_db: GATE_THRESHOLD_DB.check(threshold_db)? })
    }

    /// dBFS.
    pub const fn threshold_db(self) -> f32 {
        self.threshold_db
    }
}

/// Makes loud and soft more alike.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Compressor {
    threshold_db: f32,
    ratio: f32,
    makeup_db: f32,
}

impl Compressor {
    /// A compressor of `ratio` to one above `threshold_db` (dBFS of the peak), `makeup_db` louder behind.
    pub fn new(threshold_db: f32, ratio: f32, makeup_db: f32) -> Result<Self, OutOfRange> {
        Ok(Self {
            threshold_db: COMPRESSOR_THRESHOLD_DB.check(threshold_db)?,
            ratio: COMPRESSOR_RATIO.check(ratio)?,
            makeup_db: COMPRESSOR_MAKEUP_DB.check(makeup_db)?,
        })
    }

    /// dBFS.
    pub const fn threshold_db(self) -> f32 {
        self.threshold_db
    }

    /// dB in for one dB out.
    pub const fn ratio(self) -> f32 {
        self.ratio
    }

    /// dB.
    pub const fn makeup_db(self) -> f32 {
        self.makeup_db
    }
}

/// Lifts or lowers the treble.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct HighShelf {
    hz: f32,
    gain_db: f32,
}

impl HighShelf {
    /// `gain_db` well above `hz`, nothing well below. Clamped to below half of the rate it is used at.
    pub fn new(hz: f32, gain_db: f32) -> Result<Self, OutOfRange> {
        Ok(Self { hz: HIGH_SHELF_HZ.check(hz)?, gain_db: HIGH_SHELF_GAIN_DB.check(gain_db)? })
    }

    /// Hz.
    pub const fn hz(self) -> f32 {
        self.hz
    }

    /// dB.
    pub const fn gain_db(self) -> f32 {
        self.gain_db
    }
}

/// Takes the hiss of a wide-band voice off.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct LowPass {
    cutoff_hz: f32,
}

impl LowPass {
    /// Second order, 3 dB down at `cutoff_hz`. Clamped to below half of the rate it is used at, where it takes off next to
    /// nothing.
    pub fn new(cutoff_hz: f32) -> Result<Self, OutOfRange> {
        Ok(Self { cutoff_hz: LPF_CUTOFF_HZ.check(cutoff_hz)? })
    }

    /// Hz.
    pub const fn cutoff_hz(self) -> f32 {
        self.cutoff_hz
    }
}

/// Bends peaks instead of cutting them.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct SoftClip {
    knee: f32,
}

impl SoftClip {
    /// Straight up to `knee` (1 is full scale), bent above, full scale never exceeded.
    pub fn new(knee: f32) -> Result<Self, OutOfRange> {
        Ok(Self { knee: SOFT_CLIP.check(knee)? })
    }

    /// Part of full scale.
    pub const fn knee(self) -> f32 {
        self.knee
    }
}

/// The stages, in their order; one that is not there passes the sound on as it is.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct ChainSettings {
    /// Takes a constant offset off: 3 dB down at 20 Hz.
    pub dc_blocker: bool,
    /// Then the gate.
    pub gate: Option<Gate>,
    /// Then the compressor.
    pub compressor: Option<Compressor>,
    /// Then the treble.
    pub high_shelf: Option<HighShelf>,
    /// Then the low-pass.
    pub low_pass: Option<LowPass>,
    /// Last the clipper.
    pub soft_clip: Option<SoftClip>,
}

impl ChainSettings {
    /// Every stage off: the sound passes bit for bit.
    pub const BYPASS: Self =
        Self { dc_blocker: false, gate: None, compressor: None, high_shelf: None, low_pass: None, soft_clip: None };
}

impl Default for ChainSettings {
    /// Every stage on: -45 dB, 3:1 above -20 dB with 6 dB behind, 3 dB from 3 kHz, 7 500 Hz, 0.85.
    fn default() -> Self {
        Self {
            dc_blocker: true,
            gate: Some(Gate { threshold_db: GATE_THRESHOLD_DB.default }),
            compressor: Some(Compressor {
                threshold_db: COMPRESSOR_THRESHOLD_DB.default,
                ratio: COMPRESSOR_RATIO.default,
                makeup_db: COMPRESSOR_MAKEUP_DB.default,
            }),
            high_shelf: Some(HighShelf { hz: HIGH_SHELF_HZ.default, gain_db: HIGH_SHELF_GAIN_DB.default }),
            low_pass: Some(LowPass { cutoff_hz: LPF_CUTOFF_HZ.default }),
            soft_clip: Some(SoftClip { knee: SOFT_CLIP.default }),
        }
    }
}
