//! When the caller speaks: voice activity in a stream of any rate.
//!
//! On the worker's thread, owned by the stream. One channel of `i16` in chunks of any size in, [`VadEvent`]s out, whose
//! positions are samples of the stream since its start and do not depend on the chunks. The judgement is earshot's: a small
//! recurrent network, its weights in the crate, on frames of 16 ms. 8 kB of state on the heap, 20 kB more for the resampler where
//! there is one, nothing allocated once it is made.
//!
//! The network wants 16 kHz. It gets the telephone's band, each sample of 8 kHz twice, whatever the stream's rate is; a
//! wider band is resampled to that first. Repeating mirrors the band above 4 kHz. Resampled as it should be, a telephone's
//! noise has nothing up there, as no noise the network has learnt, and it takes that for a voice: white noise 5 dB below the
//! voice counted as speech in 99 % of the frames, repeated in none, with as many frames of the voices found (98 %).
//!
//! A frame is speech from the threshold on. [`VadSettings::min_speech`] of it without a frame below starts speech;
//! `hangover` without any ends it. In between, [`VadEvent::Lasting`] tells of speech that goes on for a given time with no pause
//! longer than [`PAUSE`]: unlike the hangover, silence after a short word does not count. A second, lower threshold for going on is left out: the network remembers,
//! and in noise it would not come down to it for seconds.
//!
//! # What it does with voices and noise
//!
//! Four synthetic voices of the telephone's band (`tests/speech`, `tests/demo/voice.wav`), each after a second of noise and
//! in it, at the defaults; white noise, and babble of twelve voices on top of each other. Printed by
//! `cargo test --test speech -- --nocapture the_figures`:
//!
//! | noise | SNR | found | from the voice's first sample to the event, ms | noise alone for a minute |
//! |---|---|---|---|---|
//! | none | - | 4 of 4 | 80, 80, 100, 120 | no start |
//! | white | 20 dB | 4 of 4 | 100, 100, 120, 120 | no start |
//! | white | 10 dB | 4 of 4 | 100, 120, 120, 120 | no start |
//! | white | 5 dB | 4 of 4 | 100, 120, 120, 140 | no start |
//! | babble | 20 dB | 4 of 4 | 100, 120, 120, 120 | no start |
//! | babble | 10 dB | 4 of 4 | 120, 120, 120, 140 | 3 starts, 73 % of the time |
//! | babble | 5 dB | 4 of 4 | 100, 100, 120, 140 | 3 starts, 91 % of the time |
//!
//! Of the latency 64 ms are the minimum of speech and up to 20 the call's frame. Babble is speech, and where it is loud it is taken for it. In
//! white noise of 5 dB the end of speech can take seconds to be noticed: there, suppress the noise first.

use std::time::Duration;

use earshot::Detector;

use super::resample::Resampler;
use crate::units::SampleRate;

/// Samples of 8 kHz in a frame, which is 16 ms.
const FRAME: usize = 128;
/// Samples given to the resampler at once, which bounds what comes out of it.
const PORTION: usize = 1_024;

/// Silence between two words of one stretch of speech, at most.
pub const PAUSE: Duration = Duration::from_millis(208);

/// What counts as speech.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct VadSettings {
    threshold: f32,
    min_speech: Duration,
    hangover: Duration,
    lasting: Option<Duration>,
}

/// A setting out of range.
#[derive(Clone, Copy, PartialEq, Debug, thiserror::Error)]
pub enum BadVad {
    /// Not 0 to 1.
    #[error("bad vad_threshold {0}: give 0 to 1")]
    Threshold(f32),
    /// More than 2 s.
    #[error("bad minimum of speech {} ms: give 0 to 2000", .0.as_millis())]
    MinSpeech(Duration),
    /// More than 5 s.
    #[error("bad hangover {} ms: give 0 to 5000", .0.as_millis())]
    Hangover(Duration),
}

impl VadSettings {
    /// Speech is what is judged `threshold` or more (0 to 1) for `min_speech` (2 s at most), until it has not been for
    /// `hangover` (5 s at most). Both durations are rounded up to frames of 16 ms; the first is one frame at least.
    pub fn new(threshold: f32, min_speech: Duration, hangover: Duration) -> Result<Self, BadVad> {
        if !(0.0..=1.0).contains(&threshold) {
            return Err(BadVad::Threshold(threshold));
        }
        if min_speech > Duration::from_secs(2) {
            return Err(BadVad::MinSpeech(min_speech));
        }
        if hangover > Duration::from_secs(5) {
            return Err(BadVad::Hangover(hangover));
        }
        Ok(Self { threshold, min_speech, hangover, lasting: None })
    }

    /// The same, with [`VadEvent::Lasting`] after so much speech without a long pause, rounded up to frames of 16 ms.
    #[must_use]
    pub const fn telling_after(mut self, lasting: Duration) -> Self {
        self.lasting = Some(lasting);
        self
    }
}

impl Default for VadSettings {
    /// 0.5, 64 ms, 500 ms.
    fn default() -> Self {
        Self {
            threshold: 0.5,
            min_speech: Duration::from_millis(64),
            hangover: Duration::from_millis(500),
            lasting: None,
        }
    }
}

/// The caller begins or stops. Positions are samples at the stream's rate, counted from its start.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum VadEvent {
    /// Speech.
    Started {
        /// Where its first frame begins.
        at: u64,
        /// The end of the frame that was needed to know.
        known: u64,
    },
    /// Speech without a pause longer than [`PAUSE`], from `at` to `known`. Once for each such stretch.
    Lasting {
        /// Where its first frame begins.
        at: u64,
        /// The end of the frame that was needed to know.
        known: u64,
    },
    /// No longer.
    Stopped {
        /// Where its last frame ends.
        at: u64,
        /// The end of the frame that was needed to know.
        known: u64,
    },
}

/// Where the stream stands. Counts are frames.
#[derive(Clone, Copy, Debug)]
enum Phase {
    /// Nobody speaks; so many frames of what may become speech.
    Quiet { heard: u64 },
    /// Somebody speaks.
    Speech {
        /// Frames since the last that was speech.
        pause: u64,
        /// Where the stretch without a long pause begins; `None` once it was told that it lasts.
        since: Option<u64>,
    },
}

/// One stream's detector; see the [module](self).
pub struct Vad {
    detector: Box<Detector>,
    resampler: Resampler,
    rate: SampleRate,
    settings: VadSettings,
    /// At 8 kHz, less than a frame between two calls.
    waiting: Vec<i16>,
    /// Frames judged so far.
    frames: u64,
    phase: Phase,
    score: f32,
}

impl Vad {
    /// A detector for one channel at `rate`. Some 30 µs and 10 to 30 kB, on the heap.
    pub fn new(rate: SampleRate, settings: VadSettings) -> Self {
        Self {
            detector: Detector::default_boxed(),
            resampler: Resampler::new(rate, SampleRate::HZ_8000, 1),
            rate,
            settings,
            // A portion at its largest, and the block the resampler may have kept before it.
            waiting: Vec::with_capacity(FRAME + 2 * PORTION),
            frames: 0,
            phase: Phase::Quiet { heard: 0 },
            score: 0.0,
        }
    }

    /// The rate of its sound.
    pub const fn rate(&self) -> SampleRate {
        self.rate
    }

    /// Goes by other settings from the next frame on.
    pub const fn set(&mut self, settings: VadSettings) {
        self.settings = settings;
    }

    /// Whether the caller speaks, as the events have it.
    pub const fn is_speech(&self) -> bool {
        matches!(self.phase, Phase::Speech { .. })
    }

    /// The judgement of the last frame, 0 to 1.
    pub const fn score(&self) -> f32 {
        self.score
    }

    /// Listens on, and tells `on` what that shows. 6 to 9 µs for each 16 ms, more at higher rates; no allocation.
    pub fn process(&mut self, samples: &[i16], mut on: impl FnMut(VadEvent)) {
        for portion in samples.chunks(PORTION) {
            self.resampler.process(portion, &mut self.waiting);
            let (frames, _) = self.waiting.as_chunks::<FRAME>();
            let whole = frames.len() * FRAME;
            for frame in frames {
                let mut twice = [0; 2 * FRAME];
                for (pair, &sample) in twice.as_chunks_mut::<2>().0.iter_mut().zip(frame) {
                    *pair = [sample; 2];
                }
                self.score = self.detector.predict_i16(&twice);
                self.frames += 1;
                if let Some(event) = judge(self.score, &mut self.phase, self.settings, self.frames, self.rate) {
                    on(event);
                }
            }
            self.waiting.drain(..whole);
        }
    }

    /// Forgets everything: the next sample is the first of a new stream. Speech that was under way gives no event.
    pub fn reset(&mut self) {
        self.detector.reset();
        self.resampler.reset();
        self.waiting.clear();
        self.frames = 0;
        self.phase = Phase::Quiet { heard: 0 };
        self.score = 0.0;
    }
}

impl std::fmt::Debug for Vad {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Vad({} Hz, {:?}, {:.2})", self.rate, self.phase, self.score)
    }
}

/// What a frame's score does to the phase; `frames` with it.
fn judge(score: f32, phase: &mut Phase, settings: VadSettings, frames: u64, rate: SampleRate) -> Option<VadEvent> {
    let needed = frames_in(settings.min_speech).max(1);
    let allowed = frames_in(settings.hangover).max(1);
    let speech = score >= settings.threshold;
    let known = position(frames, rate);
    match phase {
        Phase::Quiet { heard } => {
            *heard = if speech { *heard + 1 } else { 0 };
            let started = frames - *heard;
            (*heard >= needed).then(|| {
                *phase = Phase::Speech { pause: 0, since: Some(started) };
                VadEvent::Started { at: position(started, rate), known }
            })
        }
        Phase::Speech { pause, since } if speech => {
            if *pause > frames_in(PAUSE) {
                *since = Some(frames - 1);
            }
            *pause = 0;
            let lasting = frames_in(settings.lasting?).max(1);
            let at = since.take_if(|since| frames - *since >= lasting)?;
            Some(VadEvent::Lasting { at: position(at, rate), known })
        }
        Phase::Speech { pause, .. } => {
            *pause += 1;
            let stopped = frames - *pause;
            (*pause >= allowed).then(|| {
                *phase = Phase::Quiet { heard: 0 };
                VadEvent::Stopped { at: position(stopped, rate), known }
            })
        }
    }
}

/// Whole frames of 16 ms that hold `duration`.
fn frames_in(duration: Duration) -> u64 {
    (duration.as_micros() as u64).div_ceil(16_000)
}

/// Where a frame begins, in samples of the stream.
fn position(frames: u64, rate: SampleRate) -> u64 {
    frames * FRAME as u64 * u64::from(rate.hz()) / 8_000
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use proptest::prelude::*;

    /// The events of a stream of 8 kHz whose frames have these scores.
    fn events(settings: VadSettings, scores: &[f32]) -> Vec<VadEvent> {
        let mut phase = Phase::Quiet { heard: 0 };
        let numbered = (1..).zip(scores);
        numbered.filter_map(|(n, &score)| judge(score, &mut phase, settings, n, SampleRate::HZ_8000)).collect()
    }

    fn settings(min_speech: u64, hangover: u64) -> VadSettings {
        VadSettings::new(0.5, Duration::from_millis(min_speech), Duration::from_millis(hangover)).unwrap()
    }

    #[test]
    fn speech_shorter_than_the_minimum_is_none() {
        assert_eq!(events(settings(48, 100), &[0.9, 0.9, 0.1, 0.9, 0.9, 0.2, 0.9]), []);
        assert_eq!(
            events(settings(48, 100), &[0.1, 0.9, 0.9, 0.9]),
            [VadEvent::Started { at: 128, known: 512 }],
            "three frames are 48 ms"
        );
        assert_eq!(events(settings(0, 100), &[0.9]), [VadEvent::Started { at: 0, known: 128 }]);
    }

    #[test]
    fn a_pause_shorter_than_the_hangover_belongs_to_the_speech() {
        let scores = [0.9, 0.0, 0.0, 0.9, 0.0, 0.0, 0.0, 0.0];
        assert_eq!(
            events(settings(16, 48), &scores),
            [VadEvent::Started { at: 0, known: 128 }, VadEvent::Stopped { at: 4 * 128, known: 7 * 128 }]
        );
    }

    #[test]
    fn speech_lasts_without_long_pauses_and_not_by_its_hangover() {
        let settings = settings(16, 500).telling_after(Duration::from_millis(96));
        let voice = |frames: usize| vec![0.9; frames];
        let silence = |frames: usize| vec![0.0; frames];
        let lasting = |scores: &[f32]| {
            let of = |event| match event {
                VadEvent::Lasting { at, known } => Some((at / 128, known / 128)),
                _ => None,
            };
            events(settings, scores).into_iter().filter_map(of).collect::<Vec<_>>()
        };
        assert_eq!(lasting(&[voice(5), silence(40)].concat()), [], "80 ms, and silence that the hangover bridges");
        assert_eq!(lasting(&voice(50)), [(0, 6)], "once");
        assert_eq!(lasting(&[voice(3), silence(13), voice(3)].concat()), [(0, 17)], "a pause between two words");
        assert_eq!(
            lasting(&[voice(5), silence(14), voice(5), silence(14), voice(5)].concat()),
            [],
            "three short words"
        );
        assert_eq!(lasting(&[voice(9), silence(14), voice(9)].concat()), [(0, 6), (23, 29)], "twice");
    }

    #[test]
    fn settings_out_of_range_are_refused_by_name() {
        let ms = Duration::from_millis;
        for bad in [-0.1, 1.1, f32::NAN] {
            assert!(VadSettings::new(bad, ms(64), ms(500)).unwrap_err().to_string().contains("vad_threshold"));
        }
        assert_eq!(VadSettings::new(0.5, ms(2_001), ms(0)), Err(BadVad::MinSpeech(ms(2_001))));
        assert_eq!(VadSettings::new(0.5, ms(0), ms(5_001)), Err(BadVad::Hangover(ms(5_001))));
        assert_eq!(VadSettings::new(0.5, ms(64), ms(500)), Ok(VadSettings::default()));
    }

    #[test]
    fn positions_are_those_of_the_stream_at_every_rate() {
        for hz in [8_000, 11_025, 24_000, 48_000] {
            let rate = SampleRate::new(hz).unwrap();
            // Five minutes of frames: 300 s at the rate, to a sample.
            assert_eq!(position(18_750, rate), 300 * u64::from(hz));
        }
    }

    proptest! {
        #[test]
        fn events_take_turns_and_positions_never_go_back(
            scores in prop::collection::vec(0.0_f32..=1.0, 0..300), min in 0_u64..200, hangover in 0_u64..200,
        ) {
            let (mut last, mut speaking) = (0, false);
            for event in events(settings(min, hangover).telling_after(Duration::from_millis(hangover)), &scores) {
                let (VadEvent::Started { at, known } | VadEvent::Stopped { at, known } | VadEvent::Lasting { at, known }) =
                    event;
                prop_assert!(known > at);
                prop_assert!(at >= last, "{at} after {last}");
                if matches!(event, VadEvent::Lasting { .. }) {
                    prop_assert!(speaking);
                    continue;
                }
                prop_assert_eq!(matches!(event, VadEvent::Started { .. }), !speaking);
                speaking = !speaking;
                last = at;
            }
        }
    }
}
