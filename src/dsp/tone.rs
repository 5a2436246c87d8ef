//! Tones: DTMF digits and plain tones, as steps that are checked where they enter and sounded sample by sample.
//!
//! [`digits`] is for the thread that takes the operator's or the server's order; it allocates. A [`ToneGenerator`] is pure
//! state of some 50 bytes and allocates nothing: the media thread owns one and pulls its steps from a ring. Samples are mono
//! `i16` at whatever rate the call has; a change of rate in mid-tone goes on in the same place.
//!
//! The phase is a 32-bit number that a whole turn wraps to 0, so it is as exact after a day as at the start, and the
//! frequency is exact to half of rate / 2³² (6 µHz at 48 kHz). Sources: ITU-T Q.23 for the frequencies; ETSI ES 201 235-1 for the
//! levels (-9 for the high tones, -11 for the low ones), taken as dBm0, where a sine at full scale has 3.14 dBm0 (G.711).

/// Digits and pauses of one order.
pub const MOST_DIGITS: usize = 64;
/// Shortest tone and shortest silence after it, ms: what Q.24 asks a receiver to understand.
const SHORTEST_MS: u32 = 40;
/// Longest tone and longest silence after it, ms.
pub const LONGEST_MS: u32 = 10_000;

/// Each tone swells and fades this long, in ms, so that it begins and ends without a click.
const EDGE_MS: f32 = 2.5;
/// Pauses in a string of digits, ms, as FreeSWITCH's own `send_dtmf` has them.
const PAUSES: [(char, u16); 2] = [('w', 500), ('W', 1_000)];
/// Amplitudes of the two groups: -11 and -9 dBm0.
const LOW_AMPLITUDE: f32 = 32_768.0 * 0.196_3;
const HIGH_AMPLITUDE: f32 = 32_768.0 * 0.247_2;
const LOW_HZ: [f32; 4] = [697.0, 770.0, 852.0, 941.0];
const HIGH_HZ: [f32; 4] = [1_209.0, 1_336.0, 1_477.0, 1_633.0];
const KEYS: [&str; 4] = ["123A", "456B", "789C", "*0#D"];

/// How long digits sound.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DigitTiming {
    on_ms: u16,
    off_ms: u16,
}

impl DigitTiming {
    /// Each digit `on_ms`, then silence for `off_ms`. An error names the one that is out of range
    /// ([`SHORTEST_MS`] to [`LONGEST_MS`]).
    pub fn new(on_ms: u32, off_ms: u32) -> Result<Self, BadDigits> {
        let checked = |ms: u32| {
            let fits = (SHORTEST_MS..=LONGEST_MS).contains(&ms);
            u16::try_from(ms).ok().filter(|_| fits).ok_or_else(|| BadDigits::Duration(ms.to_string()))
        };
        Ok(Self { on_ms: checked(on_ms)?, off_ms: checked(off_ms)? })
    }
}

impl Default for DigitTiming {
    fn default() -> Self {
        Self { on_ms: 100, off_ms: 100 }
    }
}

/// The text is no string of digits. The message is for the operator.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadDigits {
    /// Nothing to send.
    #[error("no digits: give some of 0-9 * # A-D, w or W for a pause of half a second or a second")]
    Empty,
    /// Neither a key of the telephone nor a pause.
    #[error("bad digit '{0}': give 0-9 * # A-D, w or W for a pause")]
    Digit(char),
    /// More than one order may have.
    #[error("{0} digits: give at most {MOST_DIGITS} at once")]
    TooMany(usize),
    /// Not a number of milliseconds a tone or its silence may last.
    #[error("bad duration '{0}' of a tone: give {SHORTEST_MS} to {LONGEST_MS} ms")]
    Duration(String),
}

/// One tone, of up to two frequencies, and the silence after it. Made by [`digits`] or [`ToneStep::tone`].
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct ToneStep {
    hz: [f32; 2],
    amplitude: [f32; 2],
    on_ms: u16,
    off_ms: u16,
}

impl ToneStep {
    /// A plain tone: 1 to 3 999 Hz and -60 to -6 dB below full scale, both clamped to that; then silence.
    pub fn tone(hz: f32, dbfs: f32, on_ms: u16, off_ms: u16) -> Self {
        let amplitude = 32_768.0 * 10_f32.powf(dbfs.clamp(-60.0, -6.0) / 20.0);
        Self { hz: [hz.clamp(1.0, 3_999.0), 0.0], amplitude: [amplitude, 0.0], on_ms, off_ms }
    }

    /// Nothing for `ms`.
    pub const fn pause(ms: u16) -> Self {
        Self { hz: [0.0; 2], amplitude: [0.0; 2], on_ms: 0, off_ms: ms }
    }

    /// The tone of one key; `None` where the telephone has no such key.
    pub fn digit(digit: char, timing: DigitTiming) -> Option<Self> {
        let digit = digit.to_ascii_uppercase();
        let (row, column) =
            KEYS.iter().enumerate().find_map(|(row, keys)| keys.find(digit).map(|column| (row, column)))?;
        Some(Self {
            hz: [LOW_HZ[row], HIGH_HZ[column]],
            amplitude: [LOW_AMPLITUDE, HIGH_AMPLITUDE],
            on_ms: timing.on_ms,
            off_ms: timing.off_ms,
        })
    }
}

/// The steps of `text`: 0-9 * # A-D (or a-d), `w` for half a second of silence, `W` for a second; `@ms` at the end sets how
/// long each tone sounds instead of `timing`.
///
/// An error names the first bad digit, the empty string, the number of digits or the duration; then nothing is sent.
pub fn digits(text: &str, timing: DigitTiming) -> Result<Vec<ToneStep>, BadDigits> {
    let (keys, timing) = match text.split_once('@') {
        None => (text, timing),
        Some((keys, ms)) => {
            let on_ms = ms.parse().map_err(|_| BadDigits::Duration(ms.chars().take(16).collect()))?;
            (keys, DigitTiming::new(on_ms, timing.off_ms.into())?)
        }
    };
    let step = |key: char| {
        let pause = PAUSES.iter().find(|(name, _)| *name == key).map(|(_, ms)| ToneStep::pause(*ms));
        pause.or_else(|| ToneStep::digit(key, timing)).ok_or(BadDigits::Digit(key))
    };
    let steps = keys.chars().take(MOST_DIGITS + 1).map(step).collect::<Result<Vec<_>, _>>()?;
    match steps.len() {
        0 => Err(BadDigits::Empty),
        1..=MOST_DIGITS => Ok(steps),
        _ => Err(BadDigits::TooMany(keys.chars().count())),
    }
}

/// Sounds steps one after the other; see the [module](self).
#[derive(Clone, Debug, Default)]
pub struct ToneGenerator {
    rate_hz: u32,
    hz: [f32; 2],
    amplitude: [f32; 2],
    phase: [u32; 2],
    /// Samples of the tone in all, how many of them have sounded, and samples of silence that follow.
    on: u32,
    at: u32,
    off: u32,
}

impl ToneGenerator {
    /// Whether a step is under way.
    pub const fn is_active(&self) -> bool {
        self.at < self.on || self.off > 0
    }

    /// Writes the next samples at `rate_hz` to `out`, taking steps from `next` until that has none; returns how many there
    /// were: the rest of `out` stays unchanged. Real-time safe if `next` is: some 3 ns a sample, no allocation.
    pub fn fill(&mut self, rate_hz: u32, out: &mut [i16], mut next: impl FnMut() -> Option<ToneStep>) -> usize {
        self.follow(rate_hz);
        let mut done = 0;
        while let Some(rest) = out.get_mut(done..).filter(|rest| !rest.is_empty()) {
            if self.at < self.on {
                let count = rest.len().min((self.on - self.at) as usize);
                self.sound(rest.get_mut(..count).unwrap_or_default());
                done += count;
            } else if self.off > 0 {
                let count = rest.len().min(self.off as usize);
                rest.get_mut(..count).unwrap_or_default().fill(0);
                self.off -= count as u32;
                done += count;
            } else if let Some(step) = next() {
                self.start(step);
            } else {
                break;
            }
        }
        done
    }

    /// Forgets the step under way at once; the caller of this function must fade it out.
    pub const fn stop(&mut self) {
        (self.on, self.at, self.off) = (0, 0, 0);
    }

    fn start(&mut self, step: ToneStep) {
        let samples = |ms: u16| (u64::from(ms) * u64::from(self.rate_hz) / 1_000) as u32;
        (self.on, self.at, self.off) = (samples(step.on_ms), 0, samples(step.off_ms));
        (self.hz, self.amplitude, self.phase) = (step.hz, step.amplitude, [0; 2]);
    }

    /// What is left of the step goes on at the new rate.
    fn follow(&mut self, rate_hz: u32) {
        if rate_hz == self.rate_hz {
            return;
        }
        let (new, old) = (u64::from(rate_hz), u64::from(self.rate_hz.max(1)));
        let scaled = |samples: u32| u32::try_from(u64::from(samples) * new / old).unwrap_or(u32::MAX);
        (self.on, self.at, self.off) = (scaled(self.on), scaled(self.at), scaled(self.off));
        self.rate_hz = rate_hz;
    }

    fn sound(&mut self, out: &mut [i16]) {
        let rate = f64::from(self.rate_hz.max(1));
        let turns = self.hz.map(|hz| (f64::from(hz) / rate * 4_294_967_296.0) as u32);
        let edge = 1_000.0 / (EDGE_MS * rate as f32);
        for sample in out {
            let until_end = (self.on - self.at) as f32;
            let swell = (self.at as f32).min(until_end) * edge;
            let value = self.amplitude[0] * sine(self.phase[0]) + self.amplitude[1] * sine(self.phase[1]);
            // A float turns into an integer by saturation, never by wrapping.
            *sample = (value * swell.min(1.0)) as i16;
            for (phase, turn) in self.phase.iter_mut().zip(turns) {
                *phase = phase.wrapping_add(turn);
            }
            self.at += 1;
        }
    }
}

/// The sine of a phase whose 2³² are a turn; 110 dB exact.
fn sine(phase: u32) -> f32 {
    // Half turns, -1 to 1, folded onto the quarter around 0 where the series is exact.
    let x = phase as i32 as f32 * (1.0 / 2_147_483_648.0);
    let x = if x.abs() > 0.5 { 1.0_f32.copysign(x) - x } else { x };
    let y = x * x;
    // The Taylor series of sin πx.
    x * (std::f32::consts::PI + y * (-5.167_713 + y * (2.550_164 + y * (-0.599_264_5 + y * 0.082_145_9))))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::dsp::probe::{amplitude_at, snr_db};
    use proptest::prelude::*;

    fn sounded(rate: u32, steps: &[ToneStep], chunk: usize) -> Vec<i16> {
        let mut generator = ToneGenerator::default();
        let mut steps = steps.iter().copied();
        let mut heard = Vec::new();
        loop {
            let mut out = vec![0; chunk];
            let count = generator.fill(rate, &mut out, || steps.next());
            heard.extend(&out[..count]);
            if count < chunk {
                assert!(!generator.is_active());
                return heard;
            }
        }
    }

    /// The strongest of `candidates` in `samples`, and how far the next one lies below it in dB.
    fn strongest(samples: &[i16], rate: u32, candidates: &[f32]) -> (f32, f64) {
        let mut levels: Vec<(f64, f32)> =
            candidates.iter().map(|&hz| (amplitude_at(samples, rate, hz.into()), hz)).collect();
        levels.sort_by(|a, b| b.0.total_cmp(&a.0));
        (levels[0].1, 20.0 * (levels[0].0 / levels[1].0).log10())
    }

    #[test]
    fn every_digit_is_recognised_by_its_two_tones_at_every_rate() {
        for rate in [8_000, 11_025, 16_000, 24_000, 32_000, 44_100, 48_000] {
            for (row, keys) in KEYS.iter().enumerate() {
                for (column, key) in keys.chars().enumerate() {
                    let steps = digits(&key.to_string(), DigitTiming::default()).unwrap();
                    let heard = sounded(rate, &steps, 160);
                    assert_eq!(heard.len(), rate as usize / 10 * 2, "100 ms of tone, 100 of silence");
                    let (tone, silence) = heard.split_at(heard.len() / 2);
                    let tone = &tone[tone.len() / 8..tone.len() * 7 / 8];
                    let (low, high) = (strongest(tone, rate, &LOW_HZ), strongest(tone, rate, &HIGH_HZ));
                    assert_eq!((low.0, high.0), (LOW_HZ[row], HIGH_HZ[column]), "{key} at {rate} Hz");
                    assert!(low.1 > 12.0 && high.1 > 12.0, "{key} at {rate} Hz: {low:?} {high:?}");
                    assert!(silence.iter().all(|sample| *sample == 0));
                }
            }
        }
    }

    #[test]
    fn the_levels_are_9_and_11_db_below_the_telephones_reference() {
        let step = ToneStep::digit('5', DigitTiming::new(1_000, 40).unwrap()).unwrap();
        let heard = sounded(8_000, &[step], 8_000);
        for (hz, dbm0) in [(770.0, -11.0), (1_336.0, -9.0)] {
            // A whole number of periods of neither: long enough that they do not disturb each other.
            let level = 20.0 * (amplitude_at(&heard[100..7_900], 8_000, hz) / 32_768.0).log10() - dbm0;
            // A sine at full scale has 3.14 dBm0.
            assert!((-3.19..=-3.09).contains(&level), "{hz} Hz: {level:.2} dB");
        }
        assert!(heard.iter().all(|sample| sample.unsigned_abs() < 16_384), "less than half of full scale");
    }

    /// Frequency by counting the turns of ten seconds: to 0.1 Hz, far below the 0.1 % asked for.
    #[test]
    fn the_frequencies_are_exact() {
        for rate in [8_000, 44_100, 48_000] {
            for hz in LOW_HZ.iter().chain(&HIGH_HZ) {
                let heard = sounded(rate, &[ToneStep::tone(*hz, -10.0, 10_000, 40)], 480);
                let rising = heard.windows(2).filter(|pair| pair[0] < 0 && pair[1] >= 0).count();
                assert!((rising as f32 - hz * 10.0).abs() <= 1.0, "{hz} Hz at {rate}: {rising} turns in 10 s");
                let inside = rate as usize / 10..rate as usize * 10 - rate as usize / 10;
                let snr = snr_db(&heard[inside], rate, f64::from(*hz));
                assert!(snr > 70.0, "{hz} Hz at {rate}: {snr:.1} dB");
            }
        }
    }

    /// The reviewed mixer let its phase grow with each sample and took off one turn at most.
    #[test]
    fn mixer_016_the_phase_is_as_exact_after_hours_as_at_the_start() {
        let mut generator = ToneGenerator::default();
        let mut heard = vec![0; 8_000];
        // Three hours of a tone at the highest frequency and the lowest rate.
        for _ in 0..1_080 {
            let count = generator.fill(8_000, &mut heard, || Some(ToneStep::tone(3_999.0, -6.0, 10_000, 0)));
            assert_eq!(count, 8_000);
        }
        let (amplitude, snr) =
            (amplitude_at(&heard[1_000..7_000], 8_000, 3_999.0), snr_db(&heard[1_000..7_000], 8_000, 3_999.0));
        assert!((amplitude - 16_422.0).abs() < 10.0 && snr > 70.0, "{amplitude:.0}, {snr:.1} dB");
        // A rate or a frequency that nobody has makes no noise and no endless loop.
        for (rate, hz) in [(0, 1_000.0), (1, 1_000.0), (u32::MAX, 1_000.0), (8_000, f32::INFINITY), (8_000, f32::NAN)] {
            let mut step = Some(ToneStep::tone(hz, -6.0, 100, 0));
            ToneGenerator::default().fill(rate, &mut heard, || step.take());
        }
    }

    #[test]
    fn a_tone_begins_and_ends_without_a_click() {
        let heard = sounded(8_000, &digits("1", DigitTiming::default()).unwrap(), 160);
        let largest = heard.windows(2).map(|pair| (i32::from(pair[1]) - i32::from(pair[0])).abs()).max().unwrap();
        let within = heard[100..700].windows(2).map(|pair| (i32::from(pair[1]) - i32::from(pair[0])).abs()).max();
        assert!(largest <= within.unwrap() + 400, "{largest}");
        assert_eq!(heard[0], 0);
    }

    #[test]
    fn a_change_of_rate_goes_on_in_the_middle_of_the_tone() {
        let mut step = Some(ToneStep::digit('7', DigitTiming::default()).unwrap());
        let mut generator = ToneGenerator::default();
        let (mut narrow, mut wide) = ([0; 400], [0; 8_000]);
        assert_eq!(generator.fill(8_000, &mut narrow, || step.take()), 400);
        let rest = generator.fill(48_000, &mut wide, || None);
        assert_eq!(rest, 48 * 150, "50 ms of tone and 100 of silence");
        assert_eq!(strongest(&wide[100..2_300], 48_000, &HIGH_HZ).0, 1_209.0);
    }

    /// The reviewed mixer divided by the length of whatever it was given.
    #[test]
    fn mixer_002_an_empty_string_of_digits_is_an_error() {
        assert_eq!(digits("", DigitTiming::default()), Err(BadDigits::Empty));
        assert_eq!(digits("@100", DigitTiming::default()), Err(BadDigits::Empty));
        let mut out = [7; 160];
        assert_eq!(ToneGenerator::default().fill(8_000, &mut out, || None), 0);
        assert_eq!(out, [7; 160]);
    }

    /// The reviewed mixer left bad digits out without a word.
    #[test]
    fn mixer_021_a_bad_digit_or_duration_is_named_where_it_enters() {
        for (text, bad) in [("12x4", 'x'), ("1 2", ' '), ("é", 'é'), ("\0", '\0'), ("1,2", ',')] {
            assert_eq!(digits(text, DigitTiming::default()), Err(BadDigits::Digit(bad)), "{text:?}");
        }
        assert!(BadDigits::Digit('x').to_string().contains("'x'"));
        for (text, bad) in [("1@", ""), ("1@x", "x"), ("1@39", "39"), ("1@10001", "10001"), ("1@-5", "-5")] {
            assert_eq!(digits(text, DigitTiming::default()), Err(BadDigits::Duration(bad.into())), "{text:?}");
        }
        let long = "1".repeat(100_000);
        assert_eq!(digits(&long, DigitTiming::default()), Err(BadDigits::TooMany(100_000)));
        assert_eq!(digits(&long[..MOST_DIGITS], DigitTiming::default()).map(|steps| steps.len()), Ok(MOST_DIGITS));
    }

    #[test]
    fn pauses_and_durations_are_as_asked_for() {
        let steps = digits("1wW2@250", DigitTiming::new(100, 50).unwrap()).unwrap();
        assert_eq!(sounded(8_000, &steps, 333).len(), 8 * (250 + 50 + 500 + 1_000 + 250 + 50));
        assert_eq!(digits("aBcD", DigitTiming::default()), digits("ABCD", DigitTiming::default()));
        assert!(DigitTiming::new(39, 100).is_err() && DigitTiming::new(100, 10_001).is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_steps_or_an_error_and_cutting_is_not_heard(text in ".{0,20}|[0-9A-Dw*#]{1,5}(@[0-9]{1,4})?", chunk in 1_usize..500) {
            if let Ok(steps) = digits(&text, DigitTiming::default()) {
                prop_assert!((1..=MOST_DIGITS).contains(&steps.len()));
                let steps = &steps[..steps.len().min(3)];
                prop_assert_eq!(sounded(8_000, steps, chunk), sounded(8_000, steps, 100_000));
            }
        }
    }
}
