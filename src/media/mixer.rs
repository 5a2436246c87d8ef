//! Gains: as the operator sets them, as the media thread applies them.
//!
//! [`MixerControls`] is shared: any thread sets, the media thread reads one atomic each with every frame, so nothing is torn
//! and nothing waits. [`Ramp`] belongs to the media thread: a gain that changes goes over in a straight line, sample by
//! sample, and arrives exactly, so that a gain of 1 leaves every bit as it is.

use crate::dsp::gain::Gain;

use super::sync::{AtomicBool, AtomicU32, Ordering};

/// How far the other leg goes down while a stream that ducks speaks: a quarter of its level.
const DEFAULT_DUCK: Gain = Gain::from_linear(0.251_188_64);

/// One gain with its switch. Any thread; effective with the next frame.
#[derive(Debug)]
pub struct Fader {
    /// The bits of the factor: one store, so that no half of an old value is ever read.
    gain: AtomicU32,
    muted: AtomicBool,
}

impl Fader {
    /// At `gain`, not muted.
    pub fn new(gain: Gain) -> Self {
        Self { gain: AtomicU32::new(gain.linear().to_bits()), muted: AtomicBool::new(false) }
    }

    /// Sets the gain; a muted source stays muted.
    pub fn set_gain(&self, gain: Gain) {
        self.gain.store(gain.linear().to_bits(), Ordering::Relaxed);
    }

    /// The gain, muted or not.
    pub fn gain(&self) -> Gain {
        Gain::from_linear(f32::from_bits(self.gain.load(Ordering::Relaxed)))
    }

    /// Mutes, or lets be heard at the gain set last.
    pub fn set_muted(&self, muted: bool) {
        self.muted.store(muted, Ordering::Relaxed);
    }

    /// Whether it is muted.
    fn is_muted(&self) -> bool {
        self.muted.load(Ordering::Relaxed)
    }

    /// The factor to apply now: 0 while muted.
    pub fn level(&self) -> f32 {
        if self.is_muted() { 0.0 } else { self.gain().linear() }
    }
}

impl Default for Fader {
    fn default() -> Self {
        Self::new(Gain::UNITY)
    }
}

/// The gains of one stream. The other leg's, which all streams of a call share, is
/// [`CallMix::leg`](super::call_mix::CallMix::leg).
#[derive(Debug)]
pub struct MixerControls {
    /// The caller, on the way to the server; [`caller_level`](Self::caller_level) is what applies.
    pub caller: Fader,
    /// The server (the agent), on the way to the caller.
    pub agent: Fader,
    duck: AtomicU32,
    member_muted: AtomicBool,
}

impl MixerControls {
    /// The caller's conference has muted the caller, or hears them again. Independent of the fader.
    pub fn set_member_muted(&self, muted: bool) {
        self.member_muted.store(muted, Ordering::Relaxed);
    }

    /// The factor to apply to the caller now: 0 while the fader or the conference mutes them.
    pub fn caller_level(&self) -> f32 {
        if self.member_muted.load(Ordering::Relaxed) { 0.0 } else { self.caller.level() }
    }

    /// How much of the other leg is left while this stream speaks in the mode `duck`.
    pub fn set_duck(&self, left: Gain) {
        self.duck.store(left.linear().min(1.0).to_bits(), Ordering::Relaxed);
    }

    /// See [`set_duck`](Self::set_duck); -12 dB at first.
    pub fn duck(&self) -> f32 {
        f32::from_bits(self.duck.load(Ordering::Relaxed))
    }
}

impl Default for MixerControls {
    fn default() -> Self {
        Self {
            caller: Fader::default(),
            agent: Fader::default(),
            duck: AtomicU32::new(DEFAULT_DUCK.linear().to_bits()),
            member_muted: AtomicBool::new(false),
        }
    }
}

/// A gain on its way to another, in a straight line over samples. Media thread; plain data.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Ramp {
    value: f32,
    target: f32,
    step: f32,
    left: u32,
}

impl Ramp {
    /// Standing at `value`.
    pub const fn at(value: f32) -> Self {
        Self { value, target: value, step: 0.0, left: 0 }
    }

    /// Goes over to `target` within the next `length` samples, unless it is on its way there already. The first of them
    /// still has the old value; the one after the last has exactly `target`.
    pub fn toward(&mut self, target: f32, length: usize) {
        if target != self.target {
            let length = u32::try_from(length).unwrap_or(u32::MAX);
            *self =
                Self { value: self.value, target, step: (target - self.value) / length.max(1) as f32, left: length };
            if length == 0 {
                self.value = target;
            }
        }
    }

    /// Where it goes.
    pub const fn target(&self) -> f32 {
        self.target
    }

    /// Whether it stands, and at `value`.
    pub fn stands_at(&self, value: f32) -> bool {
        self.left == 0 && self.value == value
    }

    /// Whether it stands.
    pub const fn stands(&self) -> bool {
        self.left == 0
    }

    /// The gain of the next sample.
    pub fn advance(&mut self) -> f32 {
        let value = self.value;
        if self.left > 0 {
            self.left -= 1;
            self.value = if self.left == 0 { self.target } else { value + self.step };
        }
        value
    }

    /// Goes `count` samples on.
    pub fn skip(&mut self, count: usize) {
        let steps = u32::try_from(count).unwrap_or(u32::MAX).min(self.left);
        for _ in 0..steps {
            self.advance();
        }
    }

    pub(super) fn to_words(self) -> [u32; 4] {
        [self.value.to_bits(), self.target.to_bits(), self.step.to_bits(), self.left]
    }

    pub(super) fn from_words(words: [u32; 4]) -> Self {
        let [value, target, step] = [words[0], words[1], words[2]].map(f32::from_bits);
        Self { value, target, step, left: words[3] }
    }
}

/// Applies `gain` to `samples`, interleaved over `lanes`, saturating. Costs nothing at a standing gain of 1.
pub fn amplify(gain: &mut Ramp, lanes: usize, samples: &mut [i16]) {
    if gain.stands_at(1.0) {
        return;
    }
    if gain.stands() {
        let gain = gain.target();
        for sample in samples {
            *sample = scaled(*sample, gain);
        }
        return;
    }
    for instant in samples.chunks_mut(lanes.max(1)) {
        let gain = gain.advance();
        for sample in instant {
            *sample = scaled(*sample, gain);
        }
    }
}

/// `sample` times `gain`, rounded and saturated.
pub fn scaled(sample: i16, gain: f32) -> i16 {
    // In integers after a shift to positive numbers: `round` is a call per sample on processors without SSE 4.1.
    (((f32::from(sample) * gain).clamp(-32_768.0, 32_767.0) + 32_768.5) as i32 - 32_768) as i16
}

/// `sample` cut to 16 bits.
pub fn saturated(sample: i32) -> i16 {
    sample.clamp(i32::from(i16::MIN), i32::from(i16::MAX)) as i16
}

#[cfg(all(test, not(loom)))]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_ramp_begins_at_the_old_gain_and_arrives_exactly() {
        let mut ramp = Ramp::at(1.0);
        ramp.toward(0.1, 40);
        let gains: Vec<f32> = (0..42).map(|_| ramp.advance()).collect();
        assert_eq!((gains[0], gains[40], gains[41]), (1.0, 0.1, 0.1));
        assert!(gains[..41].windows(2).all(|pair| (pair[0] - pair[1] - 0.0225).abs() < 1e-4));
        assert!(ramp.stands_at(0.1));
        ramp.toward(0.7, 0);
        assert!(ramp.stands_at(0.7));
    }

    #[test]
    fn a_ramp_turned_round_in_the_middle_does_not_jump() {
        let mut ramp = Ramp::at(0.0);
        ramp.toward(1.0, 40);
        ramp.skip(20);
        ramp.toward(0.0, 40);
        assert!((ramp.advance() - 0.5).abs() < 1e-3);
        let back = Ramp::from_words(ramp.to_words());
        assert_eq!(back, ramp);
    }

    #[test]
    fn unity_changes_no_bit_and_full_scale_saturates() {
        let all: Vec<i16> = (i16::MIN..=i16::MAX).collect();
        let mut same = all.clone();
        amplify(&mut Ramp::at(1.0), 1, &mut same);
        assert!(same == all && all.iter().all(|sample| scaled(*sample, 1.0) == *sample));
        assert_eq!((scaled(i16::MAX, 10.0), scaled(i16::MIN, 10.0), scaled(i16::MIN, -1.0)), (32_767, -32_768, 32_767));
        assert_eq!((scaled(-3, 0.5), scaled(3, 0.5), scaled(1_000, f32::NAN)), (-1, 2, -32_768));
    }

    #[test]
    fn a_muted_source_comes_back_at_its_gain() {
        let fader = Fader::default();
        fader.set_gain(Gain::from_db(-20.0).unwrap());
        fader.set_muted(true);
        assert_eq!(fader.level(), 0.0);
        fader.set_muted(false);
        assert!((fader.level() - 0.1).abs() < 1e-6);
    }
}
