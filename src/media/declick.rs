//! Joins of audio without a click: where the sound jumps, the output starts from what was heard last and glides onto the
//! new sound within 5 ms.
//!
//! Media thread, owned by [`PlayoutReader`](super::playout::PlayoutReader). Output = target + residual, where the residual
//! is the size of the jump and falls to 0 in a straight line. No sample from before the jump is used again, so nothing of
//! flushed audio is heard but the level at which it was cut. Where nothing jumps the residual is 0 and the output is the
//! target, bit for bit: a start from silence whose first sample is 0 is untouched.

/// Interleaved channels a frame may have; FreeSWITCH itself mixes at most 2.
pub const MAX_CHANNELS: usize = 8;

/// Length of the glide in ms: short enough to be heard as an end, long enough not to be heard as a click.
pub const GLIDE_MS: u32 = 5;

/// Fraction bits of the residual.
const FRACTION: u32 = 12;
/// Largest jump kept: a jump out of a glide out of a jump; what is above would be cut by saturation anyway.
const LARGEST: i32 = (1 << 17) - 1;

/// The residuals of one output, one to a channel.
#[derive(Debug, Default)]
pub struct Declick {
    left: usize,
    value: [i32; MAX_CHANNELS],
    step: [i32; MAX_CHANNELS],
}

impl Declick {
    /// Whether a glide is under way.
    pub fn is_active(&self) -> bool {
        self.left > 0
    }

    /// The residual that the next sample of `channel` would get.
    pub fn residual(&self, channel: usize) -> i32 {
        if self.left == 0 { 0 } else { self.value.get(channel).copied().map_or(0, rounded) }
    }

    /// Starts glides over `length` samples of each channel, from `jumps[channel]` (old level − new level) to 0.
    ///
    /// Replaces a glide under way: its rest must be part of the jump.
    pub fn start(&mut self, length: usize, jumps: &[i32; MAX_CHANNELS]) {
        self.left = if jumps.iter().all(|jump| *jump == 0) { 0 } else { length };
        let length = i32::try_from(length).unwrap_or(i32::MAX).max(1);
        for ((value, step), jump) in self.value.iter_mut().zip(&mut self.step).zip(jumps) {
            *value = jump.clamp(&-LARGEST, &LARGEST) << FRACTION;
            *step = *value / length;
        }
    }

    /// Adds the residuals to `frame`, interleaved over `channels`, saturating. Costs nothing when no glide is under way.
    pub fn apply(&mut self, channels: usize, frame: &mut [i16]) {
        for samples in frame.chunks_exact_mut(channels.max(1)).take(self.left) {
            for ((sample, value), step) in samples.iter_mut().zip(&mut self.value).zip(&self.step) {
                *sample = saturated(i32::from(*sample) + rounded(*value));
                *value -= step;
            }
            self.left -= 1;
        }
    }
}

const fn rounded(value: i32) -> i32 {
    (value + (1 << (FRACTION - 1))) >> FRACTION
}

/// `sample` cut to 16 bits.
fn saturated(sample: i32) -> i16 {
    sample.clamp(i32::from(i16::MIN), i32::from(i16::MAX)) as i16
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn jumps(first: i32, second: i32) -> [i32; MAX_CHANNELS] {
        let mut jumps = [0; MAX_CHANNELS];
        (jumps[0], jumps[1]) = (first, second);
        jumps
    }

    #[test]
    fn the_glide_starts_at_the_old_level_and_ends_on_the_target() {
        let mut declick = Declick::default();
        declick.start(40, &jumps(10_000 - 200, 0));
        let mut frame = [200_i16; 100];
        declick.apply(1, &mut frame);
        assert_eq!(frame[0], 10_000);
        assert_eq!(frame[40..], [200; 60]);
        assert!(
            frame.windows(2).all(|pair| (0..=246).contains(&(i32::from(pair[0]) - i32::from(pair[1])))),
            "{frame:?}"
        );
        assert!(!declick.is_active());
    }

    #[test]
    fn a_glide_goes_on_from_one_frame_to_the_next() {
        let (mut whole, mut parts) = ([0_i16; 60], [0_i16; 60]);
        let mut declick = Declick::default();
        declick.start(40, &jumps(-32_768, 0));
        declick.apply(1, &mut whole);
        declick.start(40, &jumps(-32_768, 0));
        for part in parts.chunks_mut(7) {
            declick.apply(1, part);
        }
        assert_eq!(whole, parts);
    }

    #[test]
    fn channels_glide_each_from_their_own_jump_and_saturate() {
        let mut declick = Declick::default();
        declick.start(4, &jumps(65_535, -8));
        let mut frame = [-32_768_i16, 8, 32_767, 8, 32_767, 8, 0, 8, 0, 8];
        declick.apply(2, &mut frame);
        assert_eq!(frame, [32_767, 0, 32_767, 2, 32_767, 4, 16_384, 6, 0, 8]);
    }

    #[test]
    fn no_jump_changes_no_bit() {
        let mut declick = Declick::default();
        declick.start(40, &jumps(0, 0));
        assert!(!declick.is_active());
        let mut frame = [1_i16, -2, 3];
        declick.apply(1, &mut frame);
        assert_eq!(frame, [1, -2, 3]);
    }
}
