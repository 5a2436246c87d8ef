//! What a media bug captured, turned into what the wire carries.
//!
//! On the worker's thread, owned by the stream. In: frames of interleaved *lanes* at the codec's rate, as FreeSWITCH lays
//! them out. Out: the wire's rate and channels, which never change, whatever the call's codec does meanwhile: a change of
//! rate first drains the old resampler, so every segment keeps its length to within half a sample. Up to one block of the
//! [`Resampler`] waits inside until [`CaptureConverter::drain`].
//!
//! | lanes | layout | mono, mixed | stereo |
//! |---|---|---|---|
//! | 1 | caller, or both legs summed by FreeSWITCH | as it is | left as it is, right silent |
//! | 2 | stereo: caller, other leg; else the codec's two channels | mean of both | as they are |
//! | 4 | caller 0, other 0, caller 1, other 1: stereo on a codec of two channels | caller (mono) or sum of the legs (mixed) | mean of each leg's channels |

use super::pcm::mean;
use super::resample::Resampler;
use crate::units::{Mix, PcmFormat, SampleRate};

/// One stream's capture conversion; see the [module](self).
#[derive(Debug)]
pub struct CaptureConverter {
    mix: Mix,
    wire: PcmFormat,
    resampler: Option<Resampler>,
    /// Samples in the wire's channels at the codec's rate; kept for its capacity.
    mapped: Vec<i16>,
}

impl CaptureConverter {
    /// A converter to `wire`, whose channels should be those of `mix`.
    pub const fn new(mix: Mix, wire: PcmFormat) -> Self {
        Self { mix, wire, resampler: None, mapped: Vec::new() }
    }

    /// The format of everything this gives.
    pub const fn wire(&self) -> PcmFormat {
        self.wire
    }

    /// Appends to `out` what `samples` (whole frames of `lanes` at `rate`) complete. For 20 ms 10 ns where mono stays at
    /// its rate, else 1 µs (8 to 16 kHz) to 8 µs (48 kHz stereo to 16); a change of rate costs another 20 µs once.
    pub fn push(&mut self, rate: SampleRate, lanes: u8, samples: &[i16], out: &mut Vec<i16>) {
        let resampler = match &mut self.resampler {
            Some(resampler) if resampler.from() == rate => resampler,
            other => {
                if let Some(old) = other {
                    old.drain(out);
                }
                other.insert(Resampler::new(rate, self.wire.rate, self.wire.channels))
            }
        };
        if u16::from(lanes) == self.wire.channels {
            return resampler.process(samples, out);
        }
        self.mapped.clear();
        map_lanes(self.mix, self.wire.channels, lanes, samples, &mut self.mapped);
        resampler.process(&self.mapped, out);
    }

    /// Appends what still waits in the resampler: at stop, and before a pause. The next push starts a new segment.
    pub fn drain(&mut self, out: &mut Vec<i16>) {
        if let Some(resampler) = &mut self.resampler {
            resampler.drain(out);
        }
    }

    /// Forgets what waits inside.
    pub fn reset(&mut self) {
        if let Some(resampler) = &mut self.resampler {
            resampler.reset();
        }
    }
}

/// Lanes to the wire's channels, frame by frame, as the table of the [module](self) says.
fn map_lanes(mix: Mix, channels: u16, lanes: u8, samples: &[i16], out: &mut Vec<i16>) {
    match (channels, lanes) {
        (1, 4) => {
            let frames = samples.as_chunks::<4>().0.iter();
            out.extend(frames.map(|&[caller0, other0, caller1, other1]| {
                let caller = mean(caller0, caller1);
                if mix == Mix::Mixed { caller.saturating_add(mean(other0, other1)) } else { caller }
            }));
        }
        (1, 2) => out.extend(samples.as_chunks::<2>().0.iter().map(|&[a, b]| mean(a, b))),
        (_, 4) => out.extend(
            samples
                .as_chunks::<4>()
                .0
                .iter()
                .flat_map(|&[caller0, other0, caller1, other1]| [mean(caller0, caller1), mean(other0, other1)]),
        ),
        (1, _) => out.extend(samples.iter().step_by(usize::from(lanes.max(1)))),
        (_, lanes) => {
            let lanes = usize::from(lanes.max(1));
            out.extend(samples.chunks_exact(lanes).flat_map(|frame| [frame[0], frame.get(1).copied().unwrap_or(0)]));
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::dsp::probe::{amplitude_at, snr_db, tone};

    fn wire(rate: u32, mix: Mix) -> PcmFormat {
        PcmFormat { rate: SampleRate::new(rate).unwrap(), channels: mix.channels() }
    }

    fn convert(mix: Mix, rate: u32, lanes: u8, samples: &[i16], to: u32) -> Vec<i16> {
        let mut converter = CaptureConverter::new(mix, wire(to, mix));
        let mut out = Vec::new();
        converter.push(SampleRate::new(rate).unwrap(), lanes, samples, &mut out);
        converter.drain(&mut out);
        out
    }

    #[test]
    fn each_mix_takes_its_legs_from_any_lanes() {
        let cases: [(Mix, u8, &[i16], &[i16]); 9] = [
            (Mix::Mono, 1, &[100, -7], &[100, -7]),
            (Mix::Mono, 2, &[100, 200, -4, -8], &[150, -6]),
            (Mix::Mono, 4, &[100, 9_999, 300, 9_999], &[200]),
            (Mix::Mixed, 1, &[5, 6], &[5, 6]),
            (Mix::Mixed, 2, &[32_767, 32_767], &[32_767]),
            (Mix::Mixed, 4, &[30_000, 30_000, 30_000, 30_000, 10, 2, 20, 4], &[32_767, 18]),
            (Mix::Stereo, 2, &[1, 2, 3, 4], &[1, 2, 3, 4]),
            (Mix::Stereo, 4, &[10, 100, 20, 200, -1, 1, -3, 3], &[15, 150, -2, 2]),
            (Mix::Stereo, 1, &[7, 8], &[7, 0, 8, 0]),
        ];
        for (mix, lanes, given, expected) in cases {
            assert_eq!(convert(mix, 8_000, lanes, given, 8_000), expected, "{mix} from {lanes} lanes");
        }
    }

    #[test]
    fn both_legs_keep_their_tone_through_stereo_and_a_new_rate() {
        let (caller, other) = (tone(48_000, 500.0, 8_000.0, 48_000), tone(48_000, 1_200.0, 4_000.0, 48_000));
        let lanes: Vec<i16> = caller.iter().zip(&other).flat_map(|(&c, &o)| [c, o, c, o]).collect();
        let heard = convert(Mix::Stereo, 48_000, 4, &lanes, 16_000);
        assert_eq!(heard.len(), 32_000);
        for (channel, hz, level) in [(0, 500.0, 8_000.0), (1, 1_200.0, 4_000.0)] {
            let leg: Vec<i16> = heard.iter().skip(channel).step_by(2).copied().collect();
            let middle = &leg[4_000..12_000];
            assert!(snr_db(middle, 16_000, hz) >= 60.0);
            assert!((amplitude_at(middle, 16_000, hz) - level).abs() < level / 100.0);
        }
    }

    #[test]
    fn a_codec_change_in_mid_call_keeps_wire_rate_and_duration() {
        for mix in [Mix::Mono, Mix::Mixed, Mix::Stereo] {
            let mut converter = CaptureConverter::new(mix, wire(16_000, mix));
            let mut out = Vec::new();
            // Rate, lanes and frames of each segment: G.711, Opus stereo, G.722, G.711, L16 at 44.1 kHz.
            let per_leg = if mix == Mix::Stereo { 2 } else { 1 };
            let segments = [(8_000, 1, 50), (48_000, 2, 33), (16_000, 1, 7), (8_000, 1, 1), (44_100, 2, 20)];
            let mut seconds = 0.0;
            for (rate, codec_channels, count) in segments {
                let lanes = codec_channels * per_leg;
                let frame = vec![1_000_i16; rate / 50 * lanes];
                for _ in 0..count {
                    converter.push(SampleRate::new(rate as u32).unwrap(), lanes as u8, &frame, &mut out);
                }
                seconds += f64::from(count) * 0.02;
            }
            converter.drain(&mut out);
            let frames = out.len() / usize::from(mix.channels());
            let expected = (seconds * 16_000.0) as i64;
            assert!((frames as i64 - expected).abs() <= segments.len() as i64, "{mix}: {frames} of {expected}");
        }
    }

    #[test]
    fn a_change_of_lanes_alone_is_seamless() {
        let sound = tone(48_000, 800.0, 10_000.0, 9_600);
        let stereo: Vec<i16> = sound[4_801..].iter().flat_map(|&s| [s, s]).collect();
        let hz = SampleRate::HZ_48000;
        let (mut converter, mut out) = (CaptureConverter::new(Mix::Mono, wire(8_000, Mix::Mono)), Vec::new());
        converter.push(hz, 1, &sound[..4_801], &mut out);
        converter.push(hz, 2, &stereo, &mut out);
        converter.drain(&mut out);
        assert_eq!(out, convert(Mix::Mono, 48_000, 1, &sound, 8_000));
    }

    #[test]
    fn a_reset_lets_nothing_of_before_through() {
        let (mut converter, mut out) = (CaptureConverter::new(Mix::Mono, wire(16_000, Mix::Mono)), Vec::new());
        converter.push(SampleRate::HZ_8000, 1, &[20_000; 135], &mut out);
        converter.reset();
        out.clear();
        converter.push(SampleRate::HZ_8000, 1, &[0; 400], &mut out);
        converter.drain(&mut out);
        assert_eq!(out, [0; 800]);
    }

    /// The predecessor resampled into a scratch buffer shared between threads. Here each converter owns its own.
    #[test]
    fn finding_009_streams_share_no_scratch_buffer() {
        let (one, two) = (tone(8_000, 400.0, 9_000.0, 8_000), tone(8_000, 1_700.0, 3_000.0, 8_000));
        let mut converters = [(); 2].map(|()| CaptureConverter::new(Mix::Mono, wire(16_000, Mix::Mono)));
        let mut out = [Vec::new(), Vec::new()];
        for (a, b) in one.chunks(160).zip(two.chunks(160)) {
            for ((converter, out), frame) in converters.iter_mut().zip(&mut out).zip([a, b]) {
                converter.push(SampleRate::HZ_8000, 1, frame, out);
            }
        }
        for ((mut converter, mut out), alone) in converters.into_iter().zip(out).zip([one, two]) {
            converter.drain(&mut out);
            assert_eq!(out, convert(Mix::Mono, 8_000, 1, &alone, 16_000));
        }
    }
}
